//! From the outcomes of the cases to the report.

use std::collections::{BTreeMap, BTreeSet};

use sanbench_check::{Ledger, Verdict as Judged};
use sanbench_reports::{Coverage, Ending, Extras, Report, Requirement, Run, Verdict};
use sanbench_runner::CaseOutcome;
use sha2::{Digest, Sha256};

use crate::defects::BenchDefects;
use crate::register;
use crate::targets::Selection;

/// What the command knows about the run as a whole.
pub(crate) struct Facts {
    /// Head of the report; plans, steps, faults and hash are filled in here.
    pub(crate) run: Run,
    /// The run is a simulation, so histories have a hash.
    pub(crate) sim: bool,
    /// A signal stopped it.
    pub(crate) interrupted: bool,
    /// What the reader must know.
    pub(crate) notes: Vec<String>,
    /// Every case that was to run: id, story.
    pub(crate) planned: Vec<(String, String)>,
    /// Requirements that cannot be judged here, with the reason.
    pub(crate) not_applicable: BTreeMap<String, String>,
    /// Keep histories for the report directory.
    pub(crate) histories: bool,
    /// What is wrong with the bench on purpose.
    pub(crate) defects: BenchDefects,
}

/// Puts the report together and settles it.
pub(crate) fn assemble(selection: &Selection, facts: Facts, outcomes: Vec<CaseOutcome>) -> (Report, Extras) {
    let mut report = Report { run: facts.run, notes: facts.notes, ..Report::default() };
    let mut extras = Extras::default();
    let mut ledger = Ledger::default();
    let mut coverage = Coverage::default();
    let mut lines = BTreeSet::new();
    let mut evidence: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut not_applicable = facts.not_applicable;
    let mut exercised: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let ran: BTreeSet<String> = outcomes.iter().map(|o| o.case.id.clone()).collect();
    for story in &selection.stories {
        for id in &story.plan.requires {
            exercised.entry(id.clone()).or_default().push(story.name.clone());
        }
    }
    for outcome in outcomes {
        if let Some(hash) = &outcome.case.history_sha256 {
            lines.insert(format!("{} {hash}\n", outcome.case.id));
        }
        report.run.plans += 1;
        report.run.steps += outcome.case.steps.len() as u64;
        report.run.faults_injected += outcome.faults;
        ledger.absorb(outcome.ledger);
        for (id, lines) in outcome.evidence {
            evidence.entry(id).or_default().extend(lines);
        }
        not_applicable.extend(outcome.not_applicable);
        for (point, hits) in outcome.points {
            *coverage.points.entry(point).or_default() += hits;
        }
        for (mark, hits) in outcome.marks {
            *coverage.marks.entry(mark).or_default() += hits;
        }
        if let Some(message) = outcome.broken {
            report.ending = Ending::BenchError(format!("{}: {message}", outcome.case.id));
        } else if let (Some(message), Ending::Finished) = (outcome.unreachable, &report.ending) {
            report.ending = Ending::Unreachable(message);
        }
        report.leftovers.extend(outcome.leftovers);
        extras.plans.insert(outcome.case.id.clone(), outcome.plan_text);
        if facts.histories {
            extras.histories.insert(outcome.case.id.clone(), outcome.history);
        }
        report.cases.push(outcome.case);
    }
    if facts.interrupted {
        report.ending = Ending::Interrupted;
    }
    if facts.sim && !facts.interrupted {
        let mut hasher = Sha256::new();
        lines.iter().for_each(|line| hasher.update(line.as_bytes()));
        report.run.history_sha256 = Some(hex(&hasher.finalize()));
    }
    let missing: BTreeSet<&str> =
        facts.planned.iter().filter(|(id, _)| !ran.contains(id)).map(|(_, story)| story.as_str()).collect();
    let ids: BTreeSet<&String> = selection.required.iter().chain(exercised.keys()).collect();
    for id in ids {
        let stories = exercised.get(id).cloned().unwrap_or_default();
        let mut entry = judge(id, &ledger, &stories, &missing, &report, facts.defects);
        entry.required = selection.required.contains(id);
        entry.evidence.extend(evidence.remove(id).unwrap_or_default());
        // What some case did judge is judged, whatever others could not apply.
        if let Some(reason) = not_applicable.get(id)
            && !matches!(entry.verdict, Verdict::Failed | Verdict::Passed)
        {
            entry = entry.with(Verdict::NotApplicable, reason.clone());
        }
        report.requirements.push(entry);
    }
    report.coverage = coverage;
    report.settle();
    // A failed requirement that the register knows but no list named gets its words.
    for entry in report.requirements.iter_mut().filter(|r| r.title.is_empty()) {
        if let Some(known) = register::requirement_by_id(&entry.id) {
            entry.title = known.statement.to_owned();
        }
    }
    (report, extras)
}

/// A requirement passes only when every story that names it ran whole and some checker compared something for it.
fn judge(
    id: &str,
    ledger: &Ledger,
    stories: &[String],
    missing: &BTreeSet<&str>,
    report: &Report,
    defects: BenchDefects,
) -> Requirement {
    let (level, title) = match register::requirement_by_id(id) {
        Some(known) => (known.level, known.statement),
        None => (sanbench_reports::Level::Must, ""),
    };
    let mut entry = Requirement::new(id, level, title);
    let compared = ledger.tallies().find(|(known, _)| *known == id).map_or(0, |(_, tally)| tally.compared);
    entry.evidence = stories.iter().map(|s| format!("story {s}")).collect();
    entry.evidence.push(format!("{compared} comparisons"));
    let unfinished = report
        .cases
        .iter()
        .filter(|c| stories.contains(&c.story) && !matches!(c.verdict, Verdict::Passed | Verdict::Failed))
        .map(|c| format!("{}: {}", c.id, c.reason))
        .next();
    let not_started = stories.iter().find(|s| missing.contains(s.as_str()));
    let (verdict, reason) = match ledger.verdict(id) {
        Judged::Failed => (Verdict::Failed, String::new()),
        Judged::Unknown => (Verdict::Unknown, "a comparison could not be decided".to_owned()),
        _ if not_started.is_some() && !defects.missing_case_accepted => {
            (Verdict::NotRun, format!("story {} did not run", not_started.map_or("", String::as_str)))
        }
        _ if unfinished.is_some() => (Verdict::Unknown, unfinished.unwrap_or_default()),
        Judged::Passed => (Verdict::Passed, String::new()),
        Judged::NotRun if defects.not_run_counts_as_passed => (Verdict::Passed, String::new()),
        Judged::NotRun => (Verdict::NotRun, "no checker compared anything for it".to_owned()),
    };
    entry.with(verdict, reason)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
