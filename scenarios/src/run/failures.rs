//! What is done about a failure once the run is over: it is shrunk, played once more with everything recorded, told step by
//! step, and kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sanbench_reports::anatomy::Anatomy;
use sanbench_reports::store::{Best, Store};
use sanbench_reports::{Failure, Finding, Run, Shrinking, Verdict};
use sanbench_runner::plan::Plan;
use sanbench_runner::shrink::{Answers, Goal, Progress, Seen, Shrunk, shrink};
use sanbench_runner::{CaseOutcome, CaseSpec, story};
use sha2::{Digest, Sha256};

use super::{hex, run_all, wall_clock};
use crate::anatomy::{self, Recorded};
use crate::compose::{SimSetup, run_sim_case, sim_addresses};
use crate::defects::Planted;
use crate::registry::Registry;
use crate::targets;

/// Failures of one run that are looked into; the others are only listed.
pub(crate) const EXAMINED: usize = 20;
/// Failure files for each requirement and signature, and for each case.
const FILES_OF_ONE: usize = 3;
const FILES_OF_CASE: usize = 5;
/// Failure files of a run, besides the first of each requirement.
const FILES: usize = 64;
/// Runs that shrinking may cost outside the simulation.
const REAL_RUNS: usize = 30;
/// How often the best plan so far is written while it is shrunk.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// Requirement and signature.
type Key = (String, String);

/// Which findings get a file of their own: the first of each requirement, and some more. Hundreds of findings of one cause
/// would bury the folder; the others are in the report all the same and point to the file of the first of their kind.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Files by what they show, with the id of the first.
    of_key: BTreeMap<Key, (usize, String)>,
    /// The first file of each requirement.
    of_requirement: BTreeMap<String, String>,
    of_case: BTreeMap<String, usize>,
    kept: BTreeSet<String>,
    others: usize,
}

impl Files {
    /// The id of the finding whose file shows this one; call in the order of the run.
    pub(crate) fn id_for(&mut self, finding: &Finding) -> String {
        let key = key(finding);
        let alike = self.of_key.get(&key);
        let of_requirement = self.of_requirement.get(&finding.requirement);
        let of_case = self.of_case.get(&finding.case).copied().unwrap_or(0);
        let room = self.kept.len() < FILES
            && of_case < FILES_OF_CASE
            && alike.is_none_or(|(files, _)| *files < FILES_OF_ONE);
        if let Some(first) = of_requirement.filter(|_| !room) {
            self.others += 1;
            return alike.map_or(first, |(_, id)| id).clone();
        }
        let id = finding.id.clone();
        self.of_key.entry(key).or_insert_with(|| (0, id.clone())).0 += 1;
        self.of_requirement.entry(finding.requirement.clone()).or_insert_with(|| id.clone());
        *self.of_case.entry(finding.case.clone()).or_default() += 1;
        self.kept.insert(id.clone());
        id
    }

    /// Whether the finding has a file of its own.
    pub(crate) fn keep(&self, finding: &Finding) -> bool {
        self.kept.contains(&finding.id)
    }

    /// Findings without one.
    pub(crate) fn others(&self) -> usize {
        self.others
    }
}

fn key(finding: &Finding) -> Key {
    (finding.requirement.clone(), finding.signature.clone())
}

/// Where failures are looked into.
pub(crate) struct Workshop<'a> {
    /// Drivers, stories and defects.
    pub(crate) registry: &'a Registry,
    /// The simulated bench that the failures were seen on, or the one that they are taken to.
    pub(crate) setup: SimSetup,
    /// Candidates at once.
    pub(crate) jobs: usize,
    /// Time for all shrinking together; none shrinks nothing.
    pub(crate) time: Option<Duration>,
    /// Steps that are few enough: a plan with no more of them is not shrunk further.
    pub(crate) enough: usize,
    /// Plays a case where the failure was seen, when that was not the simulation and it may be played again.
    pub(crate) again: Option<&'a dyn Fn(&CaseSpec) -> CaseOutcome>,
    /// Where what was reached is kept.
    pub(crate) store: Option<Store>,
    /// Head of the run.
    pub(crate) run: &'a Run,
    /// Set when the user wants an end.
    pub(crate) stop: &'a AtomicBool,
    /// Show progress on stderr by overwriting one line.
    pub(crate) terminal: bool,
}

/// A failure that was looked into.
pub(crate) struct Examined {
    /// Ready to be written.
    pub(crate) failure: Failure,
    /// How it came about; nothing when it did not come again.
    pub(crate) anatomy: Option<Anatomy>,
}

/// A plan that was shrunk.
pub(crate) struct Shorter {
    /// The plan.
    pub(crate) plan: Plan,
    /// How it was reached.
    pub(crate) shrinking: Shrinking,
}

impl Workshop<'_> {
    /// Looks into the findings of a run: the first of each requirement and signature, the others keep their plans. `said`
    /// hears about each that was shrunk.
    pub(crate) fn all(
        &self,
        outcomes: &[CaseOutcome],
        specs: &[CaseSpec],
        files: &Files,
        mut said: impl FnMut(&Examined),
    ) -> (BTreeMap<String, Failure>, BTreeMap<String, Anatomy>) {
        let (mut failures, mut anatomies) = (BTreeMap::new(), BTreeMap::new());
        let mut first: BTreeMap<Key, (&CaseSpec, &CaseOutcome, usize)> = BTreeMap::new();
        let mut counts: BTreeMap<Key, u64> = BTreeMap::new();
        for outcome in outcomes {
            let Some(spec) = specs.iter().find(|s| s.id == outcome.case.id) else { continue };
            for (n, finding) in outcome.case.findings.iter().enumerate() {
                *counts.entry(key(finding)).or_default() += 1;
                if files.keep(finding) {
                    failures.insert(finding.id.clone(), as_it_was(spec, finding, self.run));
                }
                // Of one cause the plan that shows it soonest is the easiest to shrink.
                let sooner = first.get(&key(finding)).is_none_or(|(_, other, m)| {
                    finding.step.unwrap_or(u32::MAX) < other.case.findings[*m].step.unwrap_or(u32::MAX)
                });
                if sooner && files.keep(finding) {
                    first.insert(key(finding), (spec, outcome, n));
                }
            }
        }
        let clock = wall_clock();
        let count = first.len().min(EXAMINED);
        for (n, (key, (spec, outcome, finding))) in first.into_iter().take(EXAMINED).enumerate() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let left = self
                .time
                .map(|time| time.saturating_sub(clock.elapsed()) / u32::try_from(count - n).unwrap_or(1));
            let examined = self.examine(spec, outcome, finding, counts.get(&key).copied().unwrap_or(1), left);
            said(&examined);
            let id = examined.failure.finding.id.clone();
            anatomies.extend(examined.anatomy.map(|a| (id.clone(), a)));
            failures.insert(id, examined.failure);
        }
        (failures, anatomies)
    }

    /// Shrinks one failure, seen `count` times, in the time given and tells how it comes about.
    pub(crate) fn examine(
        &self,
        spec: &CaseSpec,
        outcome: &CaseOutcome,
        finding: usize,
        count: u64,
        time: Option<Duration>,
    ) -> Examined {
        let found = &outcome.case.findings[finding];
        let mut failure = as_it_was(spec, found, self.run);
        // A chapter of the protocol cases has no steps to take away.
        if spec.plan.steps.is_empty() {
            self.keep(&failure, count);
            return Examined { failure, anatomy: None };
        }
        let goal = Goal::of(&seen(found), &spec.plan);
        let shorter = time.filter(|t| !t.is_zero()).and_then(|time| self.shrink(spec, found, time));
        failure.transferred = self.run.env != "sim" && shorter.is_some();
        if let Some(shorter) = &shorter {
            failure = with_plan(failure, &shorter.plan);
            failure.shrunk = Some(shorter.shrinking.clone());
        }
        if self.stop.load(Ordering::Relaxed) {
            // What was reached counts; there is no time left to look at it.
            failure.finding.step = failure.finding.step.filter(|_| failure.shrunk.is_none());
            self.keep(&failure, count);
            return Examined { failure, anatomy: None };
        }
        let plan = shorter.as_ref().map_or(&spec.plan, |s| &s.plan);
        let again = CaseSpec { plan: plan.clone(), directed: false, ..spec.clone() };
        let setup = SimSetup { keep_history: true, capture: true, ..self.setup.clone() };
        let (played, segments) = run_sim_case(&setup, &again);
        let shown: Vec<Seen> = played.case.findings.iter().map(seen).collect();
        let Some(place) = goal.among(&shown, plan).and_then(|s| shown.iter().position(|o| o == s)) else {
            // It does not come again in the simulation: only where it was seen can it be shrunk.
            failure.transferred = false;
            if let Some(shorter) =
                time.filter(|t| !t.is_zero()).and_then(|time| self.shrink_there(spec, found, time))
            {
                failure = with_plan(failure, &shorter.plan);
                failure.shrunk = Some(shorter.shrinking);
            }
            self.keep(&failure, count);
            return Examined { failure, anatomy: None };
        };
        let shown = &played.case.findings[place];
        failure.finding = Finding {
            message: shown.message.clone(),
            expected: shown.expected.clone(),
            observed: shown.observed.clone(),
            step: shown.step,
            ..failure.finding
        };
        failure.transferred = self.run.env != "sim";
        failure.history = line_hashes(&played.history);
        let names = sim_addresses(plan);
        let recorded =
            Recorded { plan, outcome: &played, segments: &segments, finding: place, names: &names };
        let mut anatomy = anatomy::tell(self.registry, &recorded);
        anatomy.shrunk_from = failure.shrunk.as_ref().map_or(0, |s| s.from);
        self.keep(&failure, count);
        Examined { failure, anatomy: Some(anatomy) }
    }

    fn keep(&self, failure: &Failure, count: u64) {
        if let Some(Err(e)) = self.store.as_ref().map(|store| store.put(failure, count)) {
            eprintln!("sanbench: the failure store cannot be written: {e}");
        }
    }

    /// Shrinks the plan of a failing case in the simulation; `None` when the failure does not come again there.
    pub(crate) fn shrink(&self, spec: &CaseSpec, found: &Finding, time: Duration) -> Option<Shorter> {
        let setup = SimSetup { keep_history: false, capture: false, ..self.setup.clone() };
        let clean = self.clean(&setup, spec);
        let play = |specs: &[CaseSpec]| {
            let outcomes = run_all(specs, self.jobs, self.stop, |spec| run_sim_case(&setup, spec).0, |_| {});
            (outcomes.len() == specs.len()).then_some(outcomes)
        };
        self.shrink_by(spec, found, time, self.jobs, &play, clean.as_ref())
    }

    /// Shrinks it where it was seen, with a bounded number of runs.
    fn shrink_there(&self, spec: &CaseSpec, found: &Finding, time: Duration) -> Option<Shorter> {
        let again = self.again?;
        let runs = std::cell::Cell::new(0);
        let play = |specs: &[CaseSpec]| {
            runs.set(runs.get() + specs.len());
            (runs.get() <= REAL_RUNS).then(|| specs.iter().map(again).collect::<Vec<_>>())
        };
        self.shrink_by(spec, found, time, 1, &play, None)
    }

    fn shrink_by(
        &self,
        spec: &CaseSpec,
        found: &Finding,
        time: Duration,
        width: usize,
        play: &dyn Fn(&[CaseSpec]) -> Option<Vec<CaseOutcome>>,
        clean: Option<&SimSetup>,
    ) -> Option<Shorter> {
        let clock = wall_clock();
        let original = story::print(&spec.plan);
        let fresh = Best {
            original: original.clone(),
            seed: spec.seed,
            planted: self.run.planted.clone(),
            version: self.run.version.clone(),
            plan: original.clone(),
            ..Best::default()
        };
        let known = self.store.as_ref().and_then(|s| s.best(&found.requirement, &found.signature, &fresh));
        // What another build has reached may not show it in this one; then it begins anew.
        for before in known.into_iter().chain([fresh]) {
            let Ok(start) = targets::parse("the best plan so far", &before.plan) else { continue };
            let step = if before.runs == 0 { found.step } else { None };
            let goal = Goal::of(&Seen { step, ..seen(found) }, &spec.plan);
            let mut first = true;
            // Of those that have shown it: what the shrinker calls the best may be a guess still.
            let mut fewest = start.steps.len();
            let mut ask = |plans: &[Plan]| -> Answers {
                // The start is always asked: without it nothing is known.
                let begun = !std::mem::take(&mut first);
                let over = begun && (clock.elapsed() >= time || fewest <= self.enough);
                if over || self.stop.load(Ordering::Relaxed) {
                    return None;
                }
                let specs: Vec<CaseSpec> = plans
                    .iter()
                    .map(|plan| CaseSpec { plan: plan.clone(), directed: false, ..spec.clone() })
                    .collect();
                let outcomes = play(&specs)?;
                let answers = outcomes.iter().zip(&specs).map(|(outcome, spec)| {
                    let shown: Vec<Seen> = outcome.case.findings.iter().map(seen).collect();
                    if goal.among(&shown, &spec.plan).is_some() {
                        // A candidate that fails without the defects as well fails for another reason.
                        if clean.is_some_and(|clean| !passes(clean, spec)) {
                            return Vec::new();
                        }
                        fewest = fewest.min(spec.plan.steps.len());
                    }
                    shown
                });
                Some(answers.collect())
            };
            let mut kept = clock;
            let mut told = |progress: &Progress<'_>| {
                self.progress(spec, progress);
                if kept.elapsed() >= KEEP_EVERY {
                    kept = wall_clock();
                    self.keep_best(found, &before, progress.best, progress.runs, clock, false);
                }
            };
            let shrunk = match before.complete {
                // Only to see that it still shows it.
                true => ask(std::slice::from_ref(&start))
                    .filter(|all| all.first().is_some_and(|shown| goal.among(shown, &start).is_some()))
                    .map(|_| Shrunk { plan: start.clone(), runs: 0, complete: true }),
                false => shrink(&start, &goal, width, &mut ask, &mut told),
            };
            if self.terminal {
                eprint!("\r\u{1b}[K");
            }
            let Some(mut shrunk) = shrunk else { continue };
            self.keep_best(found, &before, &shrunk.plan, shrunk.runs, clock, shrunk.complete);
            let shrinking = Shrinking {
                from: spec.plan.steps.len() as u64,
                to: shrunk.plan.steps.len() as u64,
                runs: before.runs + shrunk.runs,
                ms: before.ms + millis(clock),
                complete: shrunk.complete,
                original,
            };
            // It says what it shows, and claims nothing else.
            shrunk.plan.requires = vec![found.requirement.clone()];
            shrunk.plan.title =
                format!("{} breaks ({}); shrunk from {}", found.requirement, found.signature, spec.id);
            return Some(Shorter { plan: shrunk.plan, shrinking });
        }
        None
    }

    fn progress(&self, spec: &CaseSpec, progress: &Progress<'_>) {
        if self.terminal {
            let (from, to) = (spec.plan.steps.len(), progress.best.steps.len());
            eprint!("\r\u{1b}[Kshrinking {from} -> {to} steps ({} plans, {})", progress.runs, progress.pass);
            let _ = std::io::stderr().flush();
        }
    }

    /// The same bench without its defects, when there are any and the case passes there: a candidate that fails there too
    /// fails for another reason.
    fn clean(&self, setup: &SimSetup, spec: &CaseSpec) -> Option<SimSetup> {
        if self.run.planted.is_empty() {
            return None;
        }
        let clean = SimSetup { planted: Planted::default(), ..setup.clone() };
        passes(&clean, spec).then_some(clean)
    }

    fn keep_best(
        &self,
        found: &Finding,
        before: &Best,
        plan: &Plan,
        runs: u64,
        clock: Instant,
        complete: bool,
    ) {
        let Some(store) = &self.store else { return };
        let best = Best {
            plan: story::print(plan),
            runs: before.runs + runs,
            ms: before.ms + millis(clock),
            complete,
            ..before.clone()
        };
        if let Err(e) = store.keep_best(&found.requirement, &found.signature, &best) {
            eprintln!("sanbench: the failure store cannot be written: {e}");
        }
    }
}

/// The failure with the plan that was run. A chapter of the protocol cases has none.
fn as_it_was(spec: &CaseSpec, finding: &Finding, run: &Run) -> Failure {
    let failure =
        Failure { finding: finding.clone(), run: run.clone(), scan: spec.scan, ..Failure::default() };
    if spec.plan.steps.is_empty() { failure } else { with_plan(failure, &spec.plan) }
}

/// The failure with this plan, as text and as data.
pub(crate) fn with_plan(failure: Failure, plan: &Plan) -> Failure {
    Failure { plan: story::print(plan), steps: serde_json::to_value(plan).unwrap_or_default(), ..failure }
}

/// A finding as the shrinker takes it.
pub(crate) fn seen(finding: &Finding) -> Seen {
    Seen {
        requirement: finding.requirement.clone(),
        signature: finding.signature.clone(),
        observed: finding.observed.clone(),
        step: finding.step,
    }
}

fn passes(setup: &SimSetup, spec: &CaseSpec) -> bool {
    let (outcome, _) = run_sim_case(setup, spec);
    outcome.case.verdict == Verdict::Passed && outcome.broken.is_none()
}

/// Eight hexadecimal digits for each line of a history.
pub(crate) fn line_hashes(history: &str) -> String {
    history.lines().map(|line| hex(&Sha256::digest(line.as_bytes())[..4])).collect()
}

fn millis(clock: Instant) -> u64 {
    u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: String, case: &str, requirement: String, signature: String) -> Finding {
        Finding { id, case: case.into(), requirement, signature, ..Finding::default() }
    }

    /// The store counts steps of a story without reading it.
    #[test]
    fn the_store_knows_a_head_from_a_step() {
        for verb in sanbench_runner::story::verbs::VERBS {
            let steps = sanbench_reports::store::steps_in(&format!("{}\n", verb.example));
            let wanted = u64::from(verb.place == sanbench_runner::story::verbs::Place::Step);
            assert_eq!(steps, wanted, "{}", verb.name);
        }
        assert_eq!(sanbench_reports::store::steps_in("@one flush a\n# flush b\n\n"), 1);
    }

    #[test]
    fn hundreds_of_findings_make_a_few_files_and_all_name_one() {
        let mut files = Files::default();
        let mut named = BTreeSet::new();
        for n in 0..400 {
            let signature = format!("protocol:case {}:x", n % 100);
            named.insert(files.id_for(&found(
                format!("nexus-0-{n}"),
                "nexus/0",
                "ISC-001".into(),
                signature,
            )));
        }
        assert_eq!((named.len(), files.others()), (FILES_OF_CASE, 400 - FILES_OF_CASE));
        let again = found("other".into(), "other/0", String::new(), String::new());
        assert_eq!(files.id_for(&again), "other");
        assert!(files.keep(&again));
    }

    #[test]
    fn what_breaks_everywhere_is_shown_a_few_times_and_each_requirement_once() {
        let mut files = Files::default();
        let mut shown_by = BTreeMap::new();
        for case in 0..100 {
            for requirement in 0..100 {
                let (id, name) = (format!("{case}-{requirement}"), format!("REQ-{requirement:03}"));
                let finding = found(id.clone(), &format!("swarm/{case}"), name.clone(), "a:b:c".into());
                shown_by.insert(id, (name, files.id_for(&finding)));
            }
        }
        let kept: BTreeSet<&String> = shown_by.values().map(|(_, file)| file).collect();
        assert!(kept.len() <= 100 + FILES, "{} files", kept.len());
        let names: BTreeSet<&String> = kept.iter().map(|id| &shown_by[*id].0).collect();
        assert_eq!(names.len(), 100, "each requirement has one");
        assert!(shown_by.values().all(|(name, file)| shown_by[file].0 == *name), "and shows no other");
    }
}
