//! `sanbench replay`: a recorded failure again.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use sanbench_protocol::Chapter;
use sanbench_reports::anatomy::text as told;
use sanbench_reports::text::Style;
use sanbench_reports::{Failure, Run, Verdict, write::read_failure};
use sanbench_runner::shrink::Goal;
use sanbench_runner::{CaseOutcome, CaseSpec};
use sanbench_world::Segment;

use super::run::{Where, place};
use crate::anatomy::{self, Recorded};
use crate::cli::{Format, ReplayArgs};
use crate::compose::{LiveSetup, SimSetup, Target, run_live_case, run_sim_case, sim_addresses};
use crate::defects::Planted;
use crate::failure::Refusal;
use crate::interrupt;
use crate::registry::Registry;
use crate::run::{Output, Workshop, line_hashes, print, seen, with_plan};
use crate::safety::Tag;
use crate::targets;

/// A failure file that has been understood.
struct Replay<'a> {
    registry: &'a Registry,
    args: &'a ReplayArgs,
    failure: Failure,
    spec: CaseSpec,
    setup: SimSetup,
}

/// Exit code 1 for the same signature, 2 for another outcome, 0 when it passes, 130 when it was interrupted.
pub(super) fn replay(registry: &Registry, args: &ReplayArgs) -> Result<u8, Refusal> {
    let shown = args.failure.display().to_string();
    let failure = read_failure(&args.failure).map_err(|e| {
        Refusal::new(e.to_string()).hint("a file from the failures folder of a report directory")
    })?;
    let planted = Planted::from_words(registry, &failure.run.planted)
        .map_err(|word| Refusal::new(format!("{shown}: this version has no defect `{word}`")))?;
    let story = failure.finding.case.split('/').next().unwrap_or("replay").to_owned();
    // A chapter of the protocol cases is no story; its name says it all.
    let plan = match Chapter::by_name(&story).filter(|_| failure.plan.is_empty()) {
        Some(chapter) => targets::chapter_plan(chapter),
        None => targets::parse(&format!("{shown} (plan)"), &failure.plan)?,
    };
    let (id, seed, scan) = (failure.finding.case.clone(), failure.finding.seed, failure.scan);
    let spec = CaseSpec { id, story, plan, seed, scan, directed: false };
    let driver = registry.judged(&planted.driver).ok_or_else(|| Refusal::new("no driver is built in"))?;
    let setup = SimSetup {
        driver,
        planted,
        image: None,
        keep_history: true,
        capture: args.trace || args.pcap.is_some(),
    };
    interrupt::listen();
    Replay { registry, args, failure, spec, setup }.play()
}

impl Replay<'_> {
    fn play(mut self) -> Result<u8, Refusal> {
        // What was shrunk in the simulation is at home there.
        let found_in = if self.failure.transferred { "sim" } else { self.failure.run.env.as_str() };
        let env = self.args.env.clone().unwrap_or_else(|| found_in.to_owned());
        let place = place(&env)?;
        if let Where::Profile(_) = place {
            return Err(Refusal::new("replay on a profile: run its story with `run --env PROFILE.toml`")
                .hint(format!(
                    "the story is beside the file: {}",
                    self.args.failure.with_extension("story").display()
                )));
        }
        let sim = matches!(place, Where::Sim);
        if sim && let Some(time) = self.args.shrink.and_then(crate::cli::ShrinkTime::duration) {
            self.shrink(time)?;
        }
        let tries = if sim { 1 } else { self.args.tries };
        let mut output = Output::new(Format::Human, false, false, tries);
        let goal = Goal::of(&seen(&self.failure.finding), &self.spec.plan);
        let (mut same, mut other, mut played) = (0, 0, 0);
        for _ in 0..tries {
            if interrupt::stopped() {
                break;
            }
            let (mut outcome, segments) =
                if sim { run_sim_case(&self.setup, &self.spec) } else { self.loopback()? };
            if interrupt::stopped() && outcome.case.verdict == Verdict::Unknown {
                break;
            }
            played += 1;
            self.capture(&segments)?;
            for finding in &mut outcome.case.findings {
                finding.case.clone_from(&outcome.case.id);
                finding.seed = outcome.case.seed;
            }
            let _ = output.case(&outcome);
            let shown: Vec<_> = outcome.case.findings.iter().map(seen).collect();
            // Another build may put the error in other words; the signature decides.
            let place = goal
                .among(&shown, &self.spec.plan)
                .and_then(|s| shown.iter().position(|o| o == s))
                .or_else(|| shown.iter().position(|s| s.signature == self.failure.finding.signature));
            match place {
                Some(_) => same += 1,
                None if outcome.case.verdict != Verdict::Passed => other += 1,
                None => {}
            }
            if self.args.trace {
                self.tell(&outcome, &segments, place.unwrap_or(0));
            }
            if sim {
                self.drift(&outcome);
            }
        }
        Ok(self.conclude(sim, played, same, other))
    }

    fn loopback(&self) -> Result<(CaseOutcome, Vec<Segment>), Refusal> {
        let scratch =
            tempfile::tempdir().map_err(|e| Refusal::new(format!("cannot make a temporary folder: {e}")))?;
        let setup = LiveSetup {
            driver: self.setup.driver,
            planted: self.setup.planted.clone(),
            image: None,
            trace: true,
            capture: self.setup.capture,
            state_dir: scratch.path().to_path_buf(),
            target: Target::Loopback,
            tag: Tag([0x5a; 4]),
        };
        Ok(super::runtime()?.block_on(run_live_case(&setup, &self.spec)))
    }

    fn capture(&self, segments: &[Segment]) -> Result<(), Refusal> {
        let Some(file) = &self.args.pcap else { return Ok(()) };
        let list = segments.iter().cloned().map(|s| crate::run::segment(s, Duration::ZERO, 0));
        std::fs::write(file, sanbench_reports::pcap::write(&list.collect::<Vec<_>>()))
            .map_err(|e| Refusal::new(format!("--pcap {}: {e}", file.display())))
    }

    /// The failing run step by step.
    fn tell(&self, outcome: &CaseOutcome, segments: &[Segment], finding: usize) {
        let names = sim_addresses(&self.spec.plan);
        let recorded = Recorded { plan: &self.spec.plan, outcome, segments, finding, names: &names };
        let mut anatomy = anatomy::tell(self.registry, &recorded);
        anatomy.shrunk_from = self.failure.shrunk.as_ref().map_or(0, |s| s.from);
        let color =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let _ = print(&told::render(&anatomy, Style { color }));
    }

    /// Where this build's history leaves the one that was recorded.
    fn drift(&self, outcome: &CaseOutcome) {
        let recorded = &self.failure.history;
        let now = line_hashes(&outcome.history);
        if recorded.is_empty() || *recorded == now {
            return;
        }
        let pieces = |text: &str| text.as_bytes().chunks(8).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let (before, after) = (pieces(recorded), pieces(&now));
        let at = before.iter().zip(&after).position(|(a, b)| a != b).unwrap_or(before.len().min(after.len()));
        let line = outcome.history.lines().nth(at).unwrap_or("(the history ends here)");
        let _ = print(&format!(
            "\nthis build goes another way than {} did: first difference in line {} of {} of the history\n  {line}\n",
            self.failure.run.version,
            at + 1,
            before.len().max(after.len()),
        ));
    }

    /// Shrinks the plan further and writes the file anew.
    fn shrink(&mut self, time: Duration) -> Result<(), Refusal> {
        if self.spec.plan.steps.is_empty() {
            return Err(Refusal::new("a chapter of the protocol cases has no steps to take away"));
        }
        let run: Run = self.failure.run.clone();
        let workshop = Workshop {
            registry: self.registry,
            setup: self.setup.clone(),
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            time: Some(time),
            enough: 0,
            again: None,
            store: None,
            run: &run,
            stop: interrupt::flag(),
            terminal: std::io::stderr().is_terminal(),
        };
        let Some(shorter) = workshop.shrink(&self.spec, &self.failure.finding, time) else { return Ok(()) };
        let before = self.failure.shrunk.take();
        let mut shrinking = shorter.shrinking;
        if let Some(before) = before {
            shrinking.from = before.from;
            shrinking.runs += before.runs;
            shrinking.ms += before.ms;
            shrinking.original = before.original;
        }
        let _ = print(&format!(
            "shrunk: {} -> {} steps ({} plans in all)\n",
            shrinking.from, shrinking.to, shrinking.runs
        ));
        self.failure.shrunk = Some(shrinking);
        self.spec.plan = shorter.plan;
        self.failure = with_plan(std::mem::take(&mut self.failure), &self.spec.plan);
        let (outcome, _) = run_sim_case(&self.setup, &self.spec);
        self.failure.history = line_hashes(&outcome.history);
        if let Some(shown) =
            outcome.case.findings.iter().find(|f| f.signature == self.failure.finding.signature)
        {
            let finding = &mut self.failure.finding;
            (finding.message, finding.step) = (shown.message.clone(), shown.step);
            (finding.expected, finding.observed) = (shown.expected.clone(), shown.observed.clone());
        }
        let wrote = sanbench_reports::write::write_failure(&self.failure, &self.args.failure);
        wrote.map_err(|e| Refusal::new(e.to_string()))
    }

    fn conclude(&self, sim: bool, played: u64, same: u64, other: u64) -> u8 {
        let signature = &self.failure.finding.signature;
        let interrupted = interrupt::stopped();
        let text = match (sim, same, other) {
            _ if interrupted => format!("interrupted; reproduced {same} of {played}: {signature}"),
            (true, 1.., _) => format!("the same failure: {signature}"),
            (true, _, 1..) => format!("another outcome; recorded was {signature}"),
            (true, ..) => format!("passed; recorded was {signature}"),
            (false, ..) => format!("reproduced {same} of {played}: {signature}"),
        };
        let _ = print(&format!("\n{text}\n"));
        if same + other > 0 || interrupted {
            let _ = print(&format!("replay    {}\n", command(&self.args.failure)));
        }
        match (same, other) {
            _ if interrupted => 130,
            (1.., _) => 1,
            (_, 1..) => 2,
            _ => 0,
        }
    }
}

/// The one line that shows it step by step.
fn command(file: &Path) -> String {
    format!("sanbench replay {} --trace", file.display())
}
