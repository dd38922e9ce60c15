//! The report in short, for a merge request or a ticket.

use std::fmt::Write as _;

use crate::group;
use crate::model::{Ending, Report, Verdict};

/// The document as text.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = document(&mut out, report);
    out
}

fn document(out: &mut String, report: &Report) -> std::fmt::Result {
    let counts = &report.counts;
    writeln!(out, "# sanbench: {}\n", report.verdict_words())?;
    writeln!(
        out,
        "{} of {} required passed, {} failed, {} unknown, {} waived, {} not run; {} not applicable, {} advisory failed.\n",
        counts.passed,
        counts.required,
        counts.failed,
        counts.unknown,
        counts.waived,
        counts.not_run,
        counts.not_applicable,
        counts.advisory_failed
    )?;
    match &report.ending {
        Ending::Finished => {}
        Ending::Interrupted => writeln!(out, "**The run was interrupted; clean-up was done.**\n")?,
        Ending::Unreachable(why) => writeln!(out, "**The array failed us:** {}\n", cell(why))?,
        Ending::BenchError(why) => writeln!(out, "**The bench itself failed:** {}\n", cell(why))?,
    }
    for note in &report.notes {
        writeln!(out, "> {}\n", cell(note))?;
    }
    failures(out, report)?;
    requirements(out, report)?;
    cases(out, report)?;
    rest(out, report)?;
    provenance(out, report)
}

fn failures(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.findings().next().is_none() {
        return Ok(());
    }
    writeln!(out, "## Failures\n")?;
    for (case, finding) in report.findings() {
        writeln!(out, "### {}: {}\n", finding.requirement, cell(&finding.message))?;
        let step = finding.step.map_or(String::new(), |step| format!(", step {step}"));
        writeln!(
            out,
            "Case `{}`{step}, seed {}, checker *{}*, signature `{}`.\n",
            code(&case.id),
            finding.seed,
            cell(&finding.checker),
            code(&finding.signature)
        )?;
        for (label, text) in [("expected", &finding.expected), ("observed", &finding.observed)] {
            writeln!(out, "    {label}:")?;
            for line in text.lines() {
                writeln!(out, "      {line}")?;
            }
        }
        writeln!(out)?;
        if !finding.replay.is_empty() {
            writeln!(out, "    {}\n", finding.replay)?;
        }
    }
    Ok(())
}

fn requirements(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.requirements.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Requirements\n")?;
    write!(out, "| group |")?;
    for verdict in Verdict::ALL {
        write!(out, " {} |", verdict.label())?;
    }
    writeln!(out, "\n|---|--:|--:|--:|--:|--:|--:|")?;
    for (title, entries) in group::sorted(&report.requirements, |entry| &entry.id) {
        write!(out, "| {title} |")?;
        for verdict in Verdict::ALL {
            let count = entries.iter().filter(|entry| entry.verdict == verdict).count();
            if count == 0 { write!(out, "  |")? } else { write!(out, " {count} |")? }
        }
        writeln!(out)?;
    }
    writeln!(out)?;
    if report.requirements.iter().any(|entry| entry.verdict != Verdict::Passed) {
        writeln!(out, "| requirement | level | verdict | reason |\n|---|---|---|---|")?;
        for entry in report.requirements.iter().filter(|entry| entry.verdict != Verdict::Passed) {
            let advisory =
                if entry.verdict == Verdict::Failed && !entry.required { " (advisory)" } else { "" };
            writeln!(
                out,
                "| {} {} | {} | {}{advisory} | {} |",
                entry.id,
                cell(&entry.title),
                entry.level.word(),
                entry.verdict.label(),
                cell(&entry.reason)
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn cases(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.cases.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "## Cases\n\n| case | verdict | steps | findings | time | reason |\n|---|---|--:|--:|--:|---|"
    )?;
    for case in &report.cases {
        writeln!(
            out,
            "| `{}` {} | {} | {} | {} | {} | {} |",
            code(&case.id),
            cell(&case.title),
            case.verdict.label(),
            case.steps.len(),
            case.findings.len(),
            crate::text::duration(case.duration_us),
            cell(&case.reason)
        )?;
    }
    writeln!(out)
}

fn rest(out: &mut String, report: &Report) -> std::fmt::Result {
    if !report.leftovers.is_empty() {
        writeln!(out, "## Left behind\n\n| what | id | name | where | why |\n|---|---|---|---|---|")?;
        for left in &report.leftovers {
            let cells = [&left.kind, &left.id, &left.name, &left.place, &left.reason].map(|text| cell(text));
            writeln!(out, "| {} |", cells.join(" | "))?;
        }
        writeln!(out)?;
    }
    if !report.defects.is_empty() {
        let caught = report.defects.iter().filter(|defect| defect.caught).count();
        let planted = report.defects.iter().filter(|defect| defect.waits_for.is_empty()).count();
        writeln!(out, "## Planted defects: {caught} of {planted} caught\n")?;
        writeln!(
            out,
            "| defect | planted as | caught | by | mode | runs | ms |\n|---|---|---|---|---|--:|--:|"
        )?;
        for defect in &report.defects {
            let (caught, by) = match (defect.caught, defect.missed()) {
                (true, _) => ("yes", cell(&defect.by)),
                (_, true) => ("**no**", cell(&format!("expected {}", defect.expected.join(" or ")))),
                _ => ("waits", cell(&format!("for {}", defect.waits_for))),
            };
            let mode = defect.mode.word();
            writeln!(
                out,
                "| {} | {} | {caught} | {by} | {mode} | {} | {} |",
                cell(&defect.id),
                cell(&defect.switch),
                defect.runs,
                defect.ms
            )?;
        }
        writeln!(out)?;
    }
    if !report.waivers.is_empty() {
        writeln!(
            out,
            "## Waivers\n\n| requirement | state | reason | link | owner | expires |\n|---|---|---|---|---|---|"
        )?;
        for waiver in &report.waivers {
            let cells = [&waiver.reason, &waiver.link, &waiver.owner, &waiver.expires].map(|text| cell(text));
            writeln!(
                out,
                "| {} | {} | {} |",
                cell(&waiver.requirement),
                waiver.state.label(),
                cells.join(" | ")
            )?;
        }
        writeln!(out)?;
    }
    let missed: Vec<String> =
        report.coverage.marks.iter().filter(|(_, hits)| **hits == 0).map(|(mark, _)| cell(mark)).collect();
    if !missed.is_empty() {
        writeln!(out, "Marks never hit: {}.\n", missed.join(", "))?;
    }
    Ok(())
}

fn provenance(out: &mut String, report: &Report) -> std::fmt::Result {
    let run = &report.run;
    writeln!(out, "## Provenance\n")?;
    writeln!(out, "- sanbench {}, environment {}, suite {}", run.version, cell(&run.env), cell(&run.suite))?;
    writeln!(out, "- seed {}, faults {}", run.seed, cell(&run.faults))?;
    writeln!(
        out,
        "- {} plans, {} steps, {} faults injected, {} ms",
        run.plans, run.steps, run.faults_injected, run.duration_ms
    )?;
    if let Some(started) = &run.started {
        writeln!(out, "- started {}", cell(started))?;
    }
    if let Some(hash) = &run.history_sha256 {
        writeln!(out, "- history SHA-256 `{hash}`")?;
    }
    if !run.command.is_empty() {
        writeln!(out, "- `{}`", code(&run.command))?;
    }
    Ok(())
}

/// Text for a table cell or a sentence: one line, with everything escaped that Markdown or HTML would read.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Text between back-ticks.
fn code(text: &str) -> String {
    text.replace(['`', '\n', '\r', '|'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_document() {
        insta::assert_snapshot!(render(&sample::report()));
    }

    #[test]
    fn a_hostile_message_stays_in_its_cell() {
        let mut report = sample::report();
        report.cases[0].reason = "a | b\n# c <script>".into();
        let text = render(&report);
        assert!(text.contains("a \\| b \\# c &lt;script&gt;"), "{text}");
    }
}
