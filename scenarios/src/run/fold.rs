//! A sweep's outcomes folded into what its report needs, in bounded memory. Folds of shards merge into the fold of the
//! whole: everything here is a sum, a smallest or an earliest.

use std::collections::{BTreeMap, BTreeSet};

use sanbench_reports::store::Store;
use sanbench_reports::{
    Case, Coverage, Ending, Extras, Failure, Finding, Leftover, Report, Requirement, Run, Verdict,
};
use sanbench_runner::CaseOutcome;
use sanbench_runner::generate::SWARM;
use serde::{Deserialize, Serialize};

use crate::coverage::NIGHTLY;
use crate::register;

/// Schema of a fold on disk.
pub(crate) const SCHEMA: &str = "sanbench.sweep/1";

/// Leftovers that are told; further ones are only counted.
const LEFTOVERS: usize = 100;

/// What the checkers did about one requirement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    compared: u64,
    undecided: u64,
    findings: u64,
}

/// A failed case with what is needed to see it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    /// The sweep's number of the case: its seed, or its place in an enumeration.
    pub(crate) number: u64,
    /// What happened.
    pub(crate) case: Case,
    /// Its plan.
    pub(crate) plan: String,
}

impl Failed {
    /// Cases of one number differ in what their ids end with: place 4 comes before place 10.
    fn earliness(&self) -> (u64, usize, &str) {
        (self.number, self.case.id.len(), &self.case.id)
    }

    fn smallness(&self) -> (usize, (u64, usize, &str)) {
        (self.case.steps.len(), self.earliness())
    }
}

/// All failures of one signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// How many cases failed so.
    pub(crate) count: u64,
    /// The first of them.
    pub(crate) earliest: Failed,
    /// The one with the fewest steps.
    pub(crate) smallest: Failed,
}

/// Everything that a sweep has found out so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fold {
    schema: String,
    /// Head of the report.
    pub(crate) run: Run,
    /// First seed, and the one after the last.
    pub(crate) seeds: (u64, u64),
    /// Shards that are in it, as index and number of shards.
    pub(crate) shards: BTreeSet<(u64, u64)>,
    required: BTreeSet<String>,
    tallies: BTreeMap<String, Tally>,
    points: BTreeMap<String, u64>,
    #[serde(default)]
    marks: BTreeMap<String, u64>,
    /// Failures by requirement and signature.
    pub(crate) failures: BTreeMap<String, Kept>,
    unfinished: u64,
    first_unfinished: Option<(u64, String)>,
    broken: Option<(u64, String)>,
    leftovers: Vec<Leftover>,
    /// Virtual microseconds of all cases.
    pub(crate) virtual_us: u64,
    /// A signal stopped it.
    pub(crate) interrupted: bool,
}

impl Fold {
    /// Nothing yet.
    pub(crate) fn new(run: Run, seeds: (u64, u64), shard: (u64, u64), required: BTreeSet<String>) -> Self {
        let shards = BTreeSet::from([shard]);
        Self { schema: SCHEMA.into(), run, seeds, shards, required, ..Self::default() }
    }

    /// Takes an outcome in; `number` is its place in the sweep.
    pub(crate) fn add(&mut self, number: u64, outcome: CaseOutcome) {
        self.run.plans += 1;
        self.run.steps += outcome.case.steps.len() as u64;
        self.run.faults_injected += outcome.faults;
        self.virtual_us += outcome.case.duration_us;
        for (id, tally) in outcome.ledger.tallies() {
            let sum = self.tallies.entry(id.to_owned()).or_default();
            sum.compared += tally.compared;
            sum.undecided += tally.undecided;
            sum.findings += tally.findings;
        }
        for (point, hits) in outcome.points {
            *self.points.entry(point).or_default() += hits;
        }
        for (mark, hits) in outcome.marks {
            *self.marks.entry(mark).or_default() += hits;
        }
        self.leftovers.extend(outcome.leftovers);
        self.leftovers.truncate(LEFTOVERS);
        if let Some(message) = outcome.broken {
            earliest(&mut self.broken, (number, format!("{}: {message}", outcome.case.id)));
        }
        if !matches!(outcome.case.verdict, Verdict::Passed | Verdict::Failed) {
            self.unfinished += 1;
            let text = format!("{}: {}", outcome.case.id, outcome.case.reason);
            earliest(&mut self.first_unfinished, (number, text));
        }
        if let Some(first) = outcome.case.findings.first() {
            let key = key_of(first);
            let failed = Failed { number, case: outcome.case, plan: outcome.plan_text };
            let kept = Kept { count: 1, earliest: failed.clone(), smallest: failed };
            merge_kept(&mut self.failures, key, kept);
        }
    }

    /// Takes another part of the same sweep in.
    ///
    /// # Errors
    /// Why the two do not belong together.
    pub(crate) fn merge(&mut self, other: Self) -> Result<(), String> {
        let same = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
            let (a, b) = (format!("{a:?}"), format!("{b:?}"));
            if a == b { Ok(()) } else { Err(format!("{what} differs: {a} and {b}")) }
        };
        same("schema", &self.schema, &other.schema)?;
        same("version", &self.run.version, &other.run.version)?;
        same("suite", &self.run.suite, &other.run.suite)?;
        same("faults", &self.run.faults, &other.run.faults)?;
        same("seeds", &self.seeds, &other.seeds)?;
        same("planted defects", &self.run.planted, &other.run.planted)?;
        let both = self.shards.intersection(&other.shards).next();
        if let Some((index, of)) = both {
            return Err(format!("shard {index}/{of} is in both"));
        }
        if let (Some((_, of)), Some((_, other_of))) = (self.shards.first(), other.shards.first())
            && of != other_of
        {
            return Err(format!("one is of {of} shards, the other of {other_of}"));
        }
        self.shards.extend(other.shards);
        self.run.plans += other.run.plans;
        self.run.steps += other.run.steps;
        self.run.faults_injected += other.run.faults_injected;
        self.run.duration_ms = self.run.duration_ms.max(other.run.duration_ms);
        self.virtual_us += other.virtual_us;
        self.required.extend(other.required);
        for (id, tally) in other.tallies {
            let sum = self.tallies.entry(id).or_default();
            sum.compared += tally.compared;
            sum.undecided += tally.undecided;
            sum.findings += tally.findings;
        }
        for (point, hits) in other.points {
            *self.points.entry(point).or_default() += hits;
        }
        for (mark, hits) in other.marks {
            *self.marks.entry(mark).or_default() += hits;
        }
        for (key, kept) in other.failures {
            merge_kept(&mut self.failures, key, kept);
        }
        self.unfinished += other.unfinished;
        other.first_unfinished.into_iter().for_each(|one| earliest(&mut self.first_unfinished, one));
        other.broken.into_iter().for_each(|one| earliest(&mut self.broken, one));
        self.leftovers.extend(other.leftovers);
        self.leftovers.sort_by(|a, b| (&a.place, &a.name).cmp(&(&b.place, &b.name)));
        self.leftovers.truncate(LEFTOVERS);
        self.interrupted |= other.interrupted;
        Ok(())
    }

    /// Head of the run that shows a failure as its first case: its seed is the one that `run --seed` takes, or the place in
    /// an enumeration.
    pub(crate) fn run_of(&self, failed: &Failed) -> Run {
        Run { seed: failed.number, ..self.run.clone() }
    }

    /// The failure of this kind that a case has shown.
    fn failure(&self, key: &str, failed: &Failed) -> Option<Failure> {
        let finding = failed.case.findings.iter().find(|f| key_of(f) == key)?.clone();
        Some(Failure { finding, run: self.run_of(failed), plan: failed.plan.clone(), ..Failure::default() })
    }

    /// Puts the earliest and the smallest failure of each kind into a store, as they were played.
    ///
    /// # Errors
    /// A file of the store cannot be read or written; it is named.
    pub(crate) fn keep(&self, store: &Store, scan: bool) -> std::io::Result<()> {
        for (key, kept) in &self.failures {
            // Each is counted once.
            for (failed, count) in [(&kept.earliest, kept.count), (&kept.smallest, 0)] {
                if let Some(failure) = self.failure(key, failed) {
                    store.put(&Failure { scan, ..failure }, count)?;
                }
            }
        }
        Ok(())
    }

    /// Every shard is in it.
    pub(crate) fn is_whole(&self) -> bool {
        self.shards.first().is_none_or(|(_, of)| self.shards.len() as u64 == *of)
    }

    /// The report, and what goes beside it.
    pub(crate) fn report(&self, hash: Option<String>) -> (Report, Extras) {
        let mut run = self.run.clone();
        run.history_sha256 = hash.filter(|_| !self.interrupted);
        let mut marks = self.marks.clone();
        // Generated plans under faults can meet everything; other sweeps list what they have met.
        let all = self.run.suite == SWARM && self.run.faults != "none";
        if all {
            crate::coverage::universe().into_iter().for_each(|mark| _ = marks.entry(mark).or_default());
        }
        let coverage = Coverage { points: self.points.clone(), marks };
        let mut report = Report { run, coverage, leftovers: self.leftovers.clone(), ..Report::default() };
        let mut extras = Extras::default();
        if !self.is_whole() {
            let (missing, of) = (self.shards.len(), self.shards.first().map_or(1, |(_, of)| *of));
            report.notes.push(format!("{missing} of {of} shards"));
        }
        if let Some((_, message)) = &self.broken {
            report.ending = Ending::BenchError(message.clone());
        }
        if self.interrupted {
            report.ending = Ending::Interrupted;
        }
        for (key, kept) in &self.failures {
            report.notes.push(format!(
                "{} cases failed by {}; the first is {}, the shortest {}",
                kept.count,
                kept.earliest.case.findings.first().map_or("", |f| &f.signature),
                kept.earliest.case.id,
                kept.smallest.case.id
            ));
            for failed in [&kept.earliest, &kept.smallest] {
                if let Some(failure) = self.failure(key, failed) {
                    extras.failures.insert(failure.finding.id.clone(), failure);
                }
                if extras.plans.insert(failed.case.id.clone(), failed.plan.clone()).is_none() {
                    report.cases.push(failed.case.clone());
                }
            }
        }
        let ids: BTreeSet<&String> = self.required.iter().chain(self.tallies.keys()).collect();
        report.requirements = ids.into_iter().map(|id| self.requirement(id)).collect();
        if all && self.run.plans >= NIGHTLY {
            report.requirements.push(self.met_everything(&report.coverage.marks));
        }
        report.settle();
        (report, extras)
    }

    /// A sweep of the size of a night must have met everything now and then, or it proves less than it seems to.
    fn met_everything(&self, marks: &BTreeMap<String, u64>) -> Requirement {
        let id = "BEN-002";
        let (level, title) = register::requirement_by_id(id)
            .map_or((sanbench_reports::Level::Must, ""), |known| (known.level, known.statement));
        let mut entry = Requirement::new(id, level, title);
        entry.required = true;
        let missed: Vec<&str> =
            marks.iter().filter(|(_, n)| **n == 0).map(|(mark, _)| mark.as_str()).collect();
        entry.evidence = vec![format!("{} of {} marks hit", marks.len() - missed.len(), marks.len())];
        match missed.first() {
            None => entry.with(Verdict::Passed, String::new()),
            Some(first) => entry.with(
                Verdict::Unknown,
                format!("{} marks were never hit, the first `{first}`; `report steer` helps", missed.len()),
            ),
        }
    }

    fn requirement(&self, id: &str) -> Requirement {
        let (level, title) = match register::requirement_by_id(id) {
            Some(known) => (known.level, known.statement),
            None => (sanbench_reports::Level::Must, ""),
        };
        let mut entry = Requirement::new(id, level, title);
        let tally = self.tallies.get(id).cloned().unwrap_or_default();
        entry.required = self.required.contains(id) || tally.findings > 0;
        entry.evidence = vec![format!("{} plans", self.run.plans), format!("{} comparisons", tally.compared)];
        let unfinished = self.first_unfinished.as_ref().filter(|_| entry.required);
        let (verdict, reason) = match tally {
            Tally { findings: 1.., .. } => (Verdict::Failed, String::new()),
            Tally { undecided: 1.., .. } => {
                (Verdict::Unknown, "a comparison could not be decided".to_owned())
            }
            _ if unfinished.is_some() => {
                let first = unfinished.map_or("", |(_, text)| text);
                (Verdict::Unknown, format!("{} cases did not end, the first {first}", self.unfinished))
            }
            Tally { compared: 1.., .. } => (Verdict::Passed, String::new()),
            _ => (Verdict::NotRun, "no checker compared anything for it".to_owned()),
        };
        entry.with(verdict, reason)
    }
}

/// Requirement and signature.
fn key_of(finding: &Finding) -> String {
    format!("{} {}", finding.requirement, finding.signature)
}

fn earliest(slot: &mut Option<(u64, String)>, one: (u64, String)) {
    if slot.as_ref().is_none_or(|known| one < *known) {
        *slot = Some(one);
    }
}

fn merge_kept(failures: &mut BTreeMap<String, Kept>, key: String, new: Kept) {
    match failures.get_mut(&key) {
        None => {
            failures.insert(key, new);
        }
        Some(kept) => {
            kept.count += new.count;
            if new.earliest.earliness() < kept.earliest.earliness() {
                kept.earliest = new.earliest;
            }
            if new.smallest.smallness() < kept.smallest.smallness() {
                kept.smallest = new.smallest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sanbench_reports::Step;

    fn outcome(n: u64) -> CaseOutcome {
        let steps = (n * 7 % 11) as usize;
        let plan_text = format!("# {n}\n{}", "census\n".repeat(steps));
        let mut outcome = CaseOutcome { faults: n % 3, plan_text, ..CaseOutcome::default() };
        outcome.case.id = format!("swarm/{n}");
        outcome.case.steps = vec![Step::default(); steps];
        outcome.case.verdict = Verdict::Passed;
        outcome.ledger.compared("CRE-001", n + 1);
        outcome.points.insert(format!("p{}", n % 2), 1);
        if n.is_multiple_of(5) {
            outcome.case.verdict = Verdict::Failed;
            outcome.case.findings = vec![Finding {
                requirement: "CLN-001".into(),
                signature: format!("data:volume:{}", n % 10),
                ..Finding::default()
            }];
        }
        if n == 13 {
            outcome.case.verdict = Verdict::Unknown;
            outcome.case.reason = "lost".into();
        }
        outcome
    }

    #[test]
    fn the_earliest_and_the_smallest_are_kept_by_the_seeds_that_show_them() {
        let mut fold = Fold::new(Run { seed: 1, ..Run::default() }, (1, 60), (0, 1), BTreeSet::new());
        // Of 5, 15, 25, ... the one with the fewest steps is 55.
        (1..60).rev().for_each(|n| fold.add(n, outcome(n)));
        let dir = tempfile::tempdir().unwrap();
        let store = Store::in_state(dir.path());
        fold.keep(&store, false).unwrap();
        let seen = store.list().unwrap();
        let [_, fives] = &seen[..] else { panic!("two kinds: {seen:?}") };
        assert_eq!((fives.earliest_seed, fives.count()), (5, 6));
        let place = store.place("CLN-001", "data:volume:5");
        let read = |name: &str| sanbench_reports::write::read_failure(&place.join(name)).unwrap();
        assert_eq!((read("earliest.json").run.seed, read("smallest.json").run.seed), (5, 55));
        assert_eq!(read("earliest.json").plan, "# 5\ncensus\ncensus\n");
        assert_eq!(read("smallest.json").plan, "# 55\n");
    }

    #[test]
    fn shards_merge_into_the_whole_in_any_order() {
        let whole = |numbers: &mut dyn Iterator<Item = u64>, shard| {
            let mut fold = Fold::new(Run::default(), (0, 40), shard, ["CRE-001".to_owned()].into());
            numbers.for_each(|n| fold.add(n, outcome(n)));
            fold
        };
        let all = whole(&mut (0..40), (0, 1)).report(Some("h".into()));
        let part = |index: u64| whole(&mut (0..40).rev().filter(|n| n % 4 == index), (index, 4));
        let mut merged = part(2);
        for index in [0, 3, 1] {
            assert!(!merged.is_whole());
            merged.merge(part(index)).unwrap();
        }
        assert!(merged.is_whole());
        assert_eq!(merged.report(Some("h".into())).0, all.0);
        assert!(merged.merge(part(1)).unwrap_err().contains("1/4 is in both"));
        let text = serde_json::to_string(&merged).unwrap();
        assert_eq!(serde_json::from_str::<Fold>(&text).unwrap(), merged);
    }
}
