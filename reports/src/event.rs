//! The machine's view of a run: one JSON object a line, each with `schema`, `seq` and `type`.

use std::io::{self, Write};

use serde::Serialize;

use crate::model::{Case, Counts, Defect, Finding, Leftover, Report, Run, RunVerdict, Step, Verdict};

/// The schema name that every line carries.
pub const SCHEMA: &str = "sanbench.event/1";

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// The first line: what is going to run.
    RunStarted {
        /// Where and with what; duration and hash are not known yet.
        run: &'a Run,
        /// Number of cases planned; 0 when only playing them tells.
        cases: u64,
    },
    /// A case begins.
    CaseStarted {
        /// Its id.
        case: &'a str,
        /// Its seed.
        seed: u64,
    },
    /// A step is over.
    Step {
        /// The case's id.
        case: &'a str,
        /// The step with its status.
        step: &'a Step,
    },
    /// A checker found something.
    Finding {
        /// What it found.
        finding: &'a Finding,
    },
    /// A case is over.
    CaseFinished {
        /// Its id.
        case: &'a str,
        /// What became of it.
        verdict: Verdict,
        /// Why, when it did not pass.
        reason: &'a str,
        /// Time on the world's clock, in microseconds.
        duration_us: u64,
        /// Number of findings.
        findings: u64,
    },
    /// Something that the reader should know (waiver expired, inventory missing, shrinking done).
    Note {
        /// One sentence.
        message: &'a str,
    },
    /// A planted defect was looked for (`selftest`).
    Defect {
        /// Whether it was caught, by what and how fast.
        defect: &'a Defect,
    },
    /// Clean-up left something.
    Leftover {
        /// What it left.
        leftover: &'a Leftover,
    },
    /// The last line.
    RunFinished {
        /// The verdict.
        verdict: RunVerdict,
        /// Slow stories that the short form left out.
        left_out: &'a [String],
        /// The sums.
        counts: Counts,
        /// The process's exit code.
        exit: u8,
        /// See [`Run::history_sha256`].
        history_sha256: Option<&'a str>,
        /// Wall-clock milliseconds.
        duration_ms: u64,
    },
}

impl<'a> Event<'a> {
    /// The line that ends a case.
    #[must_use]
    pub fn case_finished(case: &'a Case) -> Self {
        Self::CaseFinished {
            case: &case.id,
            verdict: case.verdict,
            reason: &case.reason,
            duration_us: case.duration_us,
            findings: case.findings.len() as u64,
        }
    }

    /// The line that ends a settled run.
    #[must_use]
    pub fn run_finished(report: &'a Report) -> Self {
        Self::RunFinished {
            verdict: report.verdict,
            left_out: &report.run.left_out,
            counts: report.counts,
            exit: report.exit_code(),
            history_sha256: report.run.history_sha256.as_deref(),
            duration_ms: report.run.duration_ms,
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    seq: u64,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

/// Numbers events from 0 and writes each as one line, flushed, so that a reader sees it at once.
#[derive(Debug)]
pub struct EventStream<W> {
    out: W,
    next: u64,
}

impl<W: Write> EventStream<W> {
    /// A stream on `out` that begins with number 0.
    pub fn new(out: W) -> Self {
        Self { out, next: 0 }
    }

    /// Writes one event.
    ///
    /// # Errors
    /// Those of the writer (a closed pipe, for example).
    pub fn emit(&mut self, event: &Event<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { schema: SCHEMA, seq: self.next, event })?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()?;
        self.next += 1;
        Ok(())
    }

    /// The writer, for a test to look at.
    pub fn into_inner(self) -> W {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_stream() {
        let report = sample::report();
        let mut stream = EventStream::new(Vec::new());
        stream.emit(&Event::RunStarted { run: &report.run, cases: 3 }).unwrap();
        let case = &report.cases[0];
        stream.emit(&Event::CaseStarted { case: &case.id, seed: case.seed }).unwrap();
        stream.emit(&Event::Step { case: &case.id, step: &case.steps[1] }).unwrap();
        stream.emit(&Event::Finding { finding: &case.findings[0] }).unwrap();
        stream.emit(&Event::case_finished(case)).unwrap();
        stream.emit(&Event::Note { message: "array inventory not checked" }).unwrap();
        stream
            .emit(&Event::Leftover { leftover: &Leftover { kind: "lun".into(), ..Leftover::default() } })
            .unwrap();
        stream.emit(&Event::run_finished(&report)).unwrap();
        let text = String::from_utf8(stream.into_inner()).unwrap();
        for (index, line) in text.lines().enumerate() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((&value["schema"], &value["seq"]), (&SCHEMA.into(), &index.into()));
            assert!(value["type"].is_string());
        }
        insta::assert_snapshot!(text);
    }
}
