//! What is said while a sweep goes on and at its end: results on stdout, progress on stderr.

use std::io::IsTerminal as _;

use sanbench_reports::event::{Event, EventStream};
use sanbench_reports::text::{self, Start, Style};
use sanbench_reports::{Report, Run, Verdict};
use sanbench_runner::CaseOutcome;

use crate::cli::{Format, Shard, SweepArgs};
use crate::run::{Examined, Fold, print, shrunk};

/// What is printed.
pub(super) struct Said<'a> {
    args: &'a SweepArgs,
    style: Style,
    events: Option<EventStream<std::io::Stdout>>,
    /// Tasks of the sweep, and how many of them are done.
    tasks: u64,
    ended: u64,
    /// Cases that there are, where that is known before they are played.
    cases: Option<u64>,
    done: u64,
    failed: u64,
    /// Seconds at which progress was last told.
    told: u64,
    shown: std::collections::BTreeMap<String, u64>,
    line: String,
}

impl<'a> Said<'a> {
    pub(super) fn new(args: &'a SweepArgs, tasks: u64, cases: Option<u64>) -> Self {
        let color =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self {
            args,
            style: Style { color },
            events: (args.format == Format::Json).then(|| EventStream::new(std::io::stdout())),
            tasks,
            ended: 0,
            cases,
            done: 0,
            failed: 0,
            told: 0,
            shown: Default::default(),
            line: String::new(),
        }
    }

    pub(super) fn start(&mut self, run: &Run, part: Shard) {
        if let Some(events) = &mut self.events {
            let _ = events.emit(&Event::RunStarted { run, cases: self.cases.unwrap_or_default() });
            return;
        }
        if self.args.quiet {
            return;
        }
        let of = if part.of == 1 { String::new() } else { format!(", shard {}/{}", part.index, part.of) };
        let start = Start {
            suite: format!("{}{of}", run.suite),
            env: "sim".into(),
            target: "simulated array".into(),
            seed: run.seed,
            cases: self.cases.unwrap_or_default(),
            faults: run.faults.clone(),
            report: self.args.report.as_ref().map(|d| d.display().to_string()).unwrap_or_default(),
            ..Start::default()
        };
        let _ = print(&format!("{}\n", text::start_block(&start, self.style)));
    }

    pub(super) fn outcome(&mut self, outcome: &CaseOutcome) {
        self.done += 1;
        self.failed += u64::from(outcome.case.verdict == Verdict::Failed);
        if let Some(events) = &mut self.events {
            for finding in &outcome.case.findings {
                let _ = events.emit(&Event::Finding { finding });
            }
            return;
        }
        let unfinished = !matches!(outcome.case.verdict, Verdict::Passed | Verdict::Failed);
        if unfinished {
            self.clear();
            let case = &outcome.case;
            let _ = print(&format!("  {:<7} {}  ({})\n", case.verdict.label(), case.id, case.reason));
        }
        if let Some(finding) = outcome.case.findings.first() {
            let count = self.shown.entry(finding.signature.clone()).or_default();
            *count += 1;
            if *count == 1 {
                let known = crate::register::requirement_by_id(&finding.requirement)
                    .map(|r| sanbench_reports::Requirement::new(r.id, r.level, r.statement));
                self.clear();
                let _ = print(&format!("{}\n", text::failure_block(finding, known.as_ref(), self.style)));
            }
        }
    }

    /// A failure was looked into.
    pub(super) fn examined(&mut self, examined: &Examined) {
        let Some(head) = shrunk(&examined.failure) else { return };
        if let Some(events) = &mut self.events {
            let _ = events.emit(&Event::Note { message: &head });
            return;
        }
        self.clear();
        let _ = print(&format!("{head}\n{}\n", text::shrunk_block(&examined.failure, self.style)));
    }

    fn clear(&self) {
        if std::io::stderr().is_terminal() && !self.args.quiet {
            eprint!("\r\u{1b}[K");
        }
    }

    /// A task is over, with all its cases.
    pub(super) fn progress(&mut self, clock: &std::time::Instant, virtual_us: u64) {
        self.ended += 1;
        let seconds = clock.elapsed().as_secs();
        let terminal = std::io::stderr().is_terminal();
        if self.args.quiet || seconds < self.told + if terminal { 1 } else { 10 } {
            return;
        }
        self.told = seconds;
        let rate = self.done / seconds.max(1);
        let speed = virtual_us / 1_000_000 / seconds.max(1);
        let done = match self.cases {
            Some(cases) => format!("{} of {cases} cases", self.done),
            // One task is a plan with a kind of fault at each of its places.
            None => {
                format!("{} of {} plans with a kind of fault, {} cases", self.ended, self.tasks, self.done)
            }
        };
        self.line =
            format!("{done}, {} failed, {rate} a second, virtual time {speed} x wall time", self.failed);
        if terminal {
            eprint!("\r\u{1b}[K{}", self.line);
        } else {
            eprintln!("{}", self.line);
        }
    }

    pub(super) fn idle(&mut self) {
        if std::io::stderr().is_terminal() && !self.args.quiet && !self.line.is_empty() {
            eprint!("\r\u{1b}[K{} ...", self.line);
        }
    }

    pub(super) fn end(&mut self, report: &Report, fold: &Fold) {
        if let Some(events) = &mut self.events {
            let _ = events.emit(&Event::run_finished(report));
            return;
        }
        self.clear();
        let table = text::end_table(report, None, self.style);
        let lines: Vec<&str> = table.lines().collect();
        let last = if self.args.quiet { &lines[lines.len().saturating_sub(2)..] } else { &lines[..] };
        let seconds = (report.run.duration_ms as f64 / 1000.0).max(0.001);
        let figures = format!(
            "{:.0} cases a minute, virtual time {:.0} x wall time",
            report.run.plans as f64 / seconds * 60.0,
            fold.virtual_us as f64 / 1e6 / seconds
        );
        let _ = print(&format!("{}\n{figures}\n", last.join("\n")));
    }
}
