//! What a person sees in the terminal: a start block, a failure block at once, an end table.
//!
//! The functions answer text; the caller decides where it goes (results to stdout, progress to stderr) and whether the
//! place understands colour.

use std::fmt::Write as _;

use crate::group;
use crate::model::{
    Counts, Defect, Ending, Failure, Finding, Report, Requirement, RunVerdict, Verdict, WaiverState,
};

/// How many of the slowest cases the end table names.
const SLOWEST: usize = 10;

/// How many leftovers, never-hit marks or changes a list shows before it says how many more there are.
const LISTED: usize = 20;

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Write ANSI colour sequences.
    pub color: bool,
}

#[derive(Clone, Copy)]
enum Ink {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

impl Style {
    /// Plain text.
    pub const PLAIN: Self = Self { color: false };
    /// Coloured text.
    pub const COLOR: Self = Self { color: true };

    fn paint(self, ink: Ink, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Red => "1;31",
            Ink::Green => "32",
            Ink::Yellow => "33",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint(Ink::Bold, text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint(Ink::Dim, text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint(Ink::Red, text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint(Ink::Yellow, text)
    }
}

/// What is known before the first case runs.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Story, suite or requirement names that were asked for.
    pub suite: String,
    /// `sim`, `loopback` or the profile.
    pub env: String,
    /// Product, address or "simulated array".
    pub target: String,
    /// The seed.
    pub seed: u64,
    /// Number of cases; 0 when only playing them tells.
    pub cases: u64,
    /// Fault profile.
    pub faults: String,
    /// Slow stories that the short form leaves out; empty when everything is played.
    pub left_out: String,
    /// Consent to destructive steps, in words; empty when none is needed.
    pub consent: String,
    /// Path of the clean-up journal; empty in `sim`.
    pub journal: String,
    /// Where the report goes; empty when none is written.
    pub report: String,
}

/// The block before the first case.
#[must_use]
pub fn start_block(start: &Start, style: Style) -> String {
    let mut out = String::new();
    let head = format!("sanbench {} on {}", clean(&start.suite), clean(&start.env));
    push(&mut out, &style.paint(Ink::Bold, &head));
    let cases = if start.cases == 0 { String::new() } else { start.cases.to_string() };
    let seed = start.seed.to_string();
    let left_out = match start.left_out.as_str() {
        "" => String::new(),
        stories => format!("{stories} (they take long; --slow plays them)"),
    };
    for (label, value) in [
        ("target", start.target.as_str()),
        ("seed", &seed),
        ("cases", &cases),
        ("left out", &left_out),
        ("faults", &start.faults),
        ("consent", &start.consent),
        ("journal", &start.journal),
        ("report", &start.report),
    ] {
        if !value.is_empty() {
            push(&mut out, &format!("  {} {}", style.paint(Ink::Dim, &format!("{label:<8}")), clean(value)));
        }
    }
    out
}

/// The block that a failure prints at once.
#[must_use]
pub fn failure_block(finding: &Finding, requirement: Option<&Requirement>, style: Style) -> String {
    let mut out = String::new();
    let title = requirement.map_or("", |entry| entry.title.as_str());
    push(
        &mut out,
        &format!("{} {}", style.paint(Ink::Red, &format!("FAILED {}", finding.requirement)), clean(title)),
    );
    push(&mut out, &format!("  {}", clean(&finding.message)));
    let step = finding.step.map_or(String::new(), |step| format!(", step {step}"));
    let place = format!(
        "case {}{step}, seed {}, checker {} ({})",
        clean(&finding.case),
        finding.seed,
        clean(&finding.checker),
        clean(&finding.signature)
    );
    push(&mut out, &format!("  {}", style.paint(Ink::Dim, &place)));
    for (label, text) in [("expected", &finding.expected), ("observed", &finding.observed)] {
        let mut lines = text.lines();
        push(&mut out, &format!("  {label}  {}", clean(lines.next().unwrap_or("-"))));
        for line in lines {
            push(&mut out, &format!("            {}", clean(line)));
        }
    }
    if !finding.replay.is_empty() {
        push(&mut out, &format!("  replay    {}", clean(&finding.replay)));
    }
    out
}

/// The shrunk plan of a failure as a story, and the command that replays it.
#[must_use]
pub fn shrunk_block(failure: &Failure, style: Style) -> String {
    let mut out = String::new();
    failure.plan.lines().for_each(|line| push(&mut out, &format!("  {}", clean(line))));
    if !failure.finding.replay.is_empty() {
        push(&mut out, &format!("  {} {}", style.paint(Ink::Dim, "replay"), clean(&failure.finding.replay)));
    }
    out
}

/// One line of progress, for a terminal to overwrite or a log to keep.
#[must_use]
pub fn progress_line(done: u64, total: u64, failed: u64, current: &str, elapsed_us: u64) -> String {
    let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    format!("{done}/{total} cases{failed}  {}  {}", clean(current), duration(elapsed_us))
}

/// The table after the last case. `baseline` is an earlier report to compare with.
#[must_use]
pub fn end_table(report: &Report, baseline: Option<&Report>, style: Style) -> String {
    let mut out = String::new();
    group_table(&mut out, report, style);
    not_passed(&mut out, report, style);
    slowest(&mut out, report, style);
    if let Some(baseline) = baseline {
        changes(&mut out, report, baseline, style);
    }
    marks(&mut out, report, style);
    waivers(&mut out, report, style);
    defects(&mut out, report, style);
    clean_up(&mut out, report, style);
    for note in &report.notes {
        push(&mut out, &format!("{} {}", style.paint(Ink::Yellow, "note"), clean(note)));
    }
    verdict(&mut out, report, style);
    out
}

/// The counts in one sentence.
#[must_use]
pub fn counts_line(counts: &Counts) -> String {
    let mut parts = vec![format!("{} of {} required passed", counts.passed, counts.required)];
    for (count, label) in [
        (counts.failed, "failed"),
        (counts.unknown, "unknown"),
        (counts.waived, "waived"),
        (counts.not_run, "not run"),
        (counts.not_applicable, "not applicable"),
        (counts.advisory_failed, "advisory failed"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {label}"));
        }
    }
    parts.join(", ")
}

/// A duration in three significant figures: `850 us`, `12.5 ms`, `3.20 s`, `2 min 5 s`.
#[must_use]
pub fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..10_000_000 => format!("{:.2} s", us as f64 / 1e6),
        10_000_000..120_000_000 => format!("{:.1} s", us as f64 / 1e6),
        _ => format!("{} min {} s", us / 60_000_000, us / 1_000_000 % 60),
    }
}

fn group_table(out: &mut String, report: &Report, style: Style) {
    if report.requirements.is_empty() {
        return;
    }
    let groups = group::sorted(&report.requirements, |entry| &entry.id);
    let width = groups.iter().map(|(title, _)| title.chars().count()).max().unwrap_or(0).max(5);
    let mut head = format!("{:<width$}", "group");
    for verdict in Verdict::ALL {
        let _ = write!(head, "  {:>w$}", verdict.label(), w = verdict.label().len().max(3));
    }
    push(out, &style.paint(Ink::Bold, &head));
    for (title, entries) in groups {
        let mut line = format!("{title:<width$}");
        for verdict in Verdict::ALL {
            let count = entries.iter().filter(|entry| entry.verdict == verdict).count();
            let text = if count == 0 { ".".to_owned() } else { count.to_string() };
            let cell = format!("{text:>w$}", w = verdict.label().len().max(3));
            let cell =
                if count == 0 { style.paint(Ink::Dim, &cell) } else { style.paint(ink(verdict), &cell) };
            let _ = write!(line, "  {cell}");
        }
        push(out, &line);
    }
}

fn ink(verdict: Verdict) -> Ink {
    match verdict {
        Verdict::Passed => Ink::Green,
        Verdict::Failed => Ink::Red,
        Verdict::Unknown | Verdict::Waived | Verdict::NotRun => Ink::Yellow,
        Verdict::NotApplicable => Ink::Dim,
    }
}

fn not_passed(out: &mut String, report: &Report, style: Style) {
    let wanted = [Verdict::Failed, Verdict::Unknown, Verdict::NotRun];
    for entry in report.requirements.iter().filter(|entry| wanted.contains(&entry.verdict)) {
        let advisory = if entry.verdict == Verdict::Failed && !entry.required { "advisory " } else { "" };
        let head = style.paint(ink(entry.verdict), &format!("{advisory}{:<8}", entry.verdict.label()));
        let reason =
            if entry.reason.is_empty() { String::new() } else { format!(": {}", clean(&entry.reason)) };
        let title = clean(&entry.title);
        push(out, &format!("{head} {} {}{reason}", entry.id, title.trim_end_matches('.')));
    }
}

fn slowest(out: &mut String, report: &Report, style: Style) {
    let mut cases: Vec<_> = report.cases.iter().filter(|case| case.duration_us > 0).collect();
    // A tie keeps the order of the run.
    cases.sort_by_key(|case| std::cmp::Reverse(case.duration_us));
    if cases.len() < 2 {
        return;
    }
    push(out, &style.paint(Ink::Bold, "slowest cases"));
    for case in cases.iter().take(SLOWEST) {
        push(out, &format!("  {:>10}  {}", duration(case.duration_us), clean(&case.id)));
    }
}

fn changes(out: &mut String, report: &Report, baseline: &Report, style: Style) {
    let failed = |entry: Option<&Requirement>| entry.is_some_and(|entry| entry.verdict == Verdict::Failed);
    let new: Vec<&str> = report
        .requirements
        .iter()
        .filter(|entry| entry.verdict == Verdict::Failed && !failed(baseline.requirement(&entry.id)))
        .map(|entry| entry.id.as_str())
        .collect();
    let repaired: Vec<&str> = report
        .requirements
        .iter()
        .filter(|entry| entry.verdict == Verdict::Passed && failed(baseline.requirement(&entry.id)))
        .map(|entry| entry.id.as_str())
        .collect();
    for (label, ids, ink) in [("new failures", new, Ink::Red), ("repaired", repaired, Ink::Green)] {
        let text = if ids.is_empty() { "none".to_owned() } else { listed(&ids) };
        push(out, &format!("{} {text}", style.paint(ink, label)));
    }
}

fn marks(out: &mut String, report: &Report, style: Style) {
    let missed: Vec<&str> =
        report.coverage.marks.iter().filter(|(_, hits)| **hits == 0).map(|(mark, _)| mark.as_str()).collect();
    if !missed.is_empty() {
        push(out, &format!("{} {}", style.paint(Ink::Yellow, "marks never hit"), listed(&missed)));
    }
}

fn waivers(out: &mut String, report: &Report, style: Style) {
    for waiver in report.waivers.iter().filter(|waiver| waiver.state != WaiverState::Applied) {
        let label = style.paint(Ink::Yellow, &format!("waiver {}", waiver.state.label()));
        push(
            out,
            &format!("{label} {} ({}, {})", clean(&waiver.requirement), clean(&waiver.owner), waiver.expires),
        );
    }
}

fn defects(out: &mut String, report: &Report, style: Style) {
    if report.defects.is_empty() {
        return;
    }
    let caught = report.defects.iter().filter(|defect| defect.caught).count();
    let planted = report.defects.iter().filter(|defect| defect.waits_for.is_empty()).count();
    push(out, &style.paint(Ink::Bold, &format!("planted defects: {caught} of {planted} caught")));
    let width =
        |text: fn(&Defect) -> &str| report.defects.iter().map(|d| text(d).chars().count()).max().unwrap_or(0);
    let (ids, switches, bys) = (width(|d| &d.id), width(|d| &d.switch), width(|d| &d.by));
    for defect in report.defects.iter().filter(|d| d.waits_for.is_empty()) {
        push(out, &format!("  {}", defect_line(defect, (ids, switches, bys), style)));
    }
    let waiting: Vec<_> = report.defects.iter().filter(|d| !d.waits_for.is_empty()).collect();
    if !waiting.is_empty() {
        push(out, &style.paint(Ink::Bold, &format!("{} cannot be planted yet", waiting.len())));
    }
    for defect in waiting {
        push(out, &format!("  {:ids$}  waits for {}", clean(&defect.id), clean(&defect.waits_for)));
    }
}

/// One planted defect: verdict, ids, what caught it and how fast.
fn defect_line(defect: &Defect, (ids, switches, bys): (usize, usize, usize), style: Style) -> String {
    let word = match defect.caught {
        true => style.paint(Ink::Green, "caught"),
        false => style.paint(Ink::Red, "MISSED"),
    };
    let (id, switch, by) = (clean(&defect.id), clean(&defect.switch), clean(&defect.by));
    let mut line = format!("{word} {id:ids$}  {switch:switches$}  {by:bys$}  {}", defect.mode.word());
    line.push_str(&format!("  {} runs {:>6} ms", defect.runs, defect.ms));
    match defect.steps {
        Some(steps) => line.push_str(&format!("  {steps:>2} steps")),
        // Cases of a protocol chapter and looks at the bench itself have no steps.
        None if defect.caught => line.push_str("   - steps"),
        None => {}
    }
    if defect.missed() {
        line.push_str(&format!("  expected {}", clean(&defect.expected.join(" or "))));
    }
    if !defect.note.is_empty() {
        line.push_str(&format!("  ({})", clean(&defect.note)));
    }
    line
}

fn clean_up(out: &mut String, report: &Report, style: Style) {
    if report.leftovers.is_empty() {
        return;
    }
    let plural = if report.leftovers.len() == 1 { "" } else { "s" };
    let head = format!("clean-up left {} object{plural}", report.leftovers.len());
    push(out, &style.paint(Ink::Red, &head));
    for left in report.leftovers.iter().take(LISTED) {
        let (kind, id, name) = (clean(&left.kind), clean(&left.id), clean(&left.name));
        push(out, &format!("  {kind} {id} {name} on {}: {}", clean(&left.place), clean(&left.reason)));
    }
    if report.leftovers.len() > LISTED {
        push(out, &format!("  and {} more", report.leftovers.len() - LISTED));
    }
}

fn verdict(out: &mut String, report: &Report, style: Style) {
    match &report.ending {
        Ending::Finished => {}
        Ending::Interrupted => push(out, &style.paint(Ink::Yellow, "interrupted; clean-up done")),
        Ending::Unreachable(why) => {
            push(out, &style.paint(Ink::Yellow, &format!("the array failed us: {}", clean(why))))
        }
        Ending::BenchError(why) => {
            push(out, &style.paint(Ink::Red, &format!("the bench failed: {}", clean(why))))
        }
    }
    let ink = match report.verdict {
        RunVerdict::Conformant => Ink::Green,
        RunVerdict::NotConformant | RunVerdict::Error => Ink::Red,
        RunVerdict::Incomplete => Ink::Yellow,
    };
    let word = report.verdict.word().to_uppercase();
    let short = report.run.short_form().map_or(String::new(), |short| format!(" ({short})"));
    push(out, &format!("{}{short}: {}", style.paint(ink, &word), counts_line(&report.counts)));
    let run = &report.run;
    let mut facts = format!(
        "seed {}, {} plans, {} steps, {} faults injected, {}",
        run.seed,
        run.plans,
        run.steps,
        run.faults_injected,
        duration(run.duration_ms.saturating_mul(1_000))
    );
    if let Some(hash) = &run.history_sha256 {
        let _ = write!(facts, ", history {}", hash.get(..16).unwrap_or(hash));
    }
    push(out, &style.paint(Ink::Dim, &facts));
}

fn listed(items: &[&str]) -> String {
    let mut text = items.iter().take(LISTED).map(|item| clean(item)).collect::<Vec<_>>().join(", ");
    if items.len() > LISTED {
        let _ = write!(text, " and {} more", items.len() - LISTED);
    }
    text
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

/// Foreign text without control characters: an array's answer must not move the cursor or forge a verdict line.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_start() {
        let start = Start {
            suite: "default".into(),
            env: "sim".into(),
            target: "simulated array V600R003C00".into(),
            seed: 42,
            cases: 3,
            faults: "none".into(),
            report: "out".into(),
            ..Start::default()
        };
        insta::assert_snapshot!(start_block(&start, Style::PLAIN));
    }

    #[test]
    fn a_failure() {
        let report = sample::report();
        let finding = &report.cases[0].findings[0];
        insta::assert_snapshot!(failure_block(finding, report.requirement("DAT-002"), Style::PLAIN));
    }

    #[test]
    fn the_end() {
        insta::assert_snapshot!(end_table(&sample::report(), None, Style::PLAIN));
    }

    #[test]
    fn the_end_in_colour_against_a_baseline() {
        let mut baseline = sample::report();
        for entry in &mut baseline.requirements {
            entry.verdict = if entry.id == "CRE-001" { Verdict::Failed } else { Verdict::Passed };
        }
        let mut report = sample::report();
        report.leftovers.push(crate::model::Leftover {
            kind: "lun".into(),
            id: "17".into(),
            name: "ab".into(),
            place: "array".into(),
            reason: "refused \u{1b}[2Jwith 1077936870".into(),
        });
        report.settle();
        insta::assert_snapshot!(end_table(&report, Some(&baseline), Style::COLOR).replace('\u{1b}', "<ESC>"));
    }

    #[test]
    fn durations_read_well() {
        let got = [0, 999, 1_500, 12_345, 850_000, 3_200_000, 30_000_000, 125_000_000].map(duration);
        assert_eq!(got, ["0 us", "999 us", "1.50 ms", "12.3 ms", "850 ms", "3.20 s", "30.0 s", "2 min 5 s"]);
    }
}
