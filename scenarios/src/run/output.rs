//! What is printed while a run goes on and at its end.

use std::io::{self, IsTerminal, Write};

use sanbench_reports::event::{Event, EventStream};
use sanbench_reports::text::{self, Start, Style};
use sanbench_reports::{Failure, Finding, Report, Requirement, Verdict};
use sanbench_runner::CaseOutcome;

use crate::cli::Format;
use crate::register;
use crate::run::Examined;

/// Results go to stdout, progress to stderr.
pub(crate) struct Output {
    quiet: bool,
    trace: bool,
    style: Style,
    events: Option<EventStream<io::Stdout>>,
    progress: bool,
    done: u64,
    failed: u64,
    total: u64,
    /// Findings shown so far; after a few, repeated signatures are only counted.
    shown: std::collections::BTreeMap<String, u64>,
}

impl Output {
    /// Decides on colour and progress by what stdout and stderr are.
    pub(crate) fn new(format: Format, quiet: bool, trace: bool, total: u64) -> Self {
        let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self {
            quiet,
            trace,
            style: Style { color },
            events: (format == Format::Json).then(|| EventStream::new(io::stdout())),
            progress: io::stderr().is_terminal() && !quiet && format == Format::Human,
            done: 0,
            failed: 0,
            total,
            shown: std::collections::BTreeMap::new(),
        }
    }

    /// The first thing said.
    pub(crate) fn start(&mut self, start: &Start, run: &sanbench_reports::Run) -> io::Result<()> {
        if let Some(events) = &mut self.events {
            return events.emit(&Event::RunStarted { run, cases: start.cases });
        }
        if !self.quiet {
            print(&format!("{}\n", text::start_block(start, self.style)))?;
        }
        Ok(())
    }

    /// A case is over.
    pub(crate) fn case(&mut self, outcome: &CaseOutcome) -> io::Result<()> {
        self.done += 1;
        self.failed += u64::from(outcome.case.verdict == Verdict::Failed);
        if let Some(events) = &mut self.events {
            events.emit(&Event::CaseStarted { case: &outcome.case.id, seed: outcome.case.seed })?;
            for step in &outcome.case.steps {
                events.emit(&Event::Step { case: &outcome.case.id, step })?;
            }
            for finding in &outcome.case.findings {
                events.emit(&Event::Finding { finding })?;
            }
            return events.emit(&Event::case_finished(&outcome.case));
        }
        self.clear_progress()?;
        if !self.quiet || outcome.case.verdict != Verdict::Passed {
            self.case_line(outcome)?;
        }
        if self.trace {
            print(&outcome.history)?;
        }
        for finding in &outcome.case.findings {
            let count = self.shown.entry(finding.signature.clone()).or_default();
            *count += 1;
            if *count <= 3 {
                print(&format!(
                    "{}\n",
                    text::failure_block(finding, requirement(finding).as_ref(), self.style)
                ))?;
            }
        }
        if self.progress {
            let line = text::progress_line(self.done, self.total, self.failed, &outcome.case.id, 0);
            eprint!("\r\u{1b}[K{line}");
        }
        Ok(())
    }

    fn case_line(&self, outcome: &CaseOutcome) -> io::Result<()> {
        let case = &outcome.case;
        let reason = if case.reason.is_empty() { String::new() } else { format!("  ({})", case.reason) };
        print(&format!(
            "  {:<7} {:<26} {:>3} steps {:>9}  {}{reason}\n",
            case.verdict.label(),
            case.id,
            case.steps.len(),
            text::duration(case.duration_us),
            case.title
        ))?;
        if self.trace || case.verdict == Verdict::Failed {
            for step in &case.steps {
                let note = if step.note.is_empty() { String::new() } else { format!("  -> {}", step.note) };
                print(&format!(
                    "          {:>3} {:<8} {:>9}  {}{note}\n",
                    step.number,
                    step.status.word(),
                    text::duration(step.duration_us),
                    step.text
                ))?;
            }
        }
        Ok(())
    }

    fn clear_progress(&self) -> io::Result<()> {
        if self.progress {
            eprint!("\r\u{1b}[K");
            io::stderr().flush()?;
        }
        Ok(())
    }

    /// Whether progress is shown by overwriting a line.
    pub(crate) fn shows_progress(&self) -> bool {
        self.progress
    }

    /// A failure was looked into: its shrunk plan as a story, and the line that replays it.
    pub(crate) fn examined(&mut self, examined: &Examined) -> io::Result<()> {
        let failure = &examined.failure;
        let Some(head) = shrunk(failure) else { return Ok(()) };
        if let Some(events) = &mut self.events {
            return events.emit(&Event::Note { message: &head });
        }
        self.clear_progress()?;
        print(&format!("{head}\n{}", text::shrunk_block(failure, self.style)))
    }

    /// The last thing said.
    pub(crate) fn end(&mut self, report: &Report, files: &[std::path::PathBuf]) -> io::Result<()> {
        if let Some(events) = &mut self.events {
            for note in &report.notes {
                events.emit(&Event::Note { message: note })?;
            }
            for leftover in &report.leftovers {
                events.emit(&Event::Leftover { leftover })?;
            }
            return events.emit(&Event::run_finished(report));
        }
        self.clear_progress()?;
        for (signature, count) in self.shown.iter().filter(|(_, count)| **count > 3) {
            print(&format!("  ... and {} more findings of {signature}\n", count - 3))?;
        }
        let table = text::end_table(report, None, self.style);
        if self.quiet {
            // The verdict and the line of the run's figures.
            let lines: Vec<&str> = table.lines().collect();
            let last = &lines[lines.len().saturating_sub(2)..];
            print(&format!("{}\n", last.join("\n")))?;
        } else {
            print(&format!("\n{table}"))?;
        }
        if let (Some(file), false) = (files.iter().find(|f| f.ends_with("report.html")), self.quiet) {
            print(&format!("\nreport: {}\n", file.display()))?;
        }
        Ok(())
    }
}

/// What shrinking did, in a line; nothing when the plan was not shrunk.
pub(crate) fn shrunk(failure: &Failure) -> Option<String> {
    let (shrunk, finding) = (failure.shrunk.as_ref()?, &failure.finding);
    Some(format!(
        "shrunk {} {}: {} -> {} steps ({} plans, {}{})",
        finding.requirement,
        finding.case,
        shrunk.from,
        shrunk.to,
        shrunk.runs,
        text::duration(shrunk.ms.saturating_mul(1000)),
        if shrunk.complete { "" } else { "; not finished" }
    ))
}

/// The requirement of a finding with the register's words.
fn requirement(finding: &Finding) -> Option<Requirement> {
    let known = register::requirement_by_id(&finding.requirement)?;
    Some(Requirement::new(known.id, known.level, known.statement))
}

/// Prints without panicking on a closed pipe.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
