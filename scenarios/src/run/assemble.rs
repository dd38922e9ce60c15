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
    let mut left_out: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for story in &selection.left_out {
        for id in &story.plan.requires {
            left_out.entry(id).or_default().push(&story.name);
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
    let mut not_judged = Vec::new();
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
        // What only a story that was left out could show is not asked for in the short form. A story that was to run and
        // did not is another matter.
        if let Some(slow) = left_out.get(id.as_str())
            && entry.verdict == Verdict::NotRun
            && !stories.iter().any(|story| missing.contains(story.as_str()))
        {
            entry.reason = format!("the short form leaves out {}, see --slow", slow.join(", "));
            not_judged.extend(std::mem::take(&mut entry.required).then_some(id.as_str()));
        }
        report.requirements.push(entry);
    }
    report.run.left_out = selection.left_out.iter().map(|story| story.name.clone()).collect();
    if !selection.left_out.is_empty() {
        let judged = match not_judged.is_empty() {
            true => "every required id is judged all the same".to_owned(),
            false => format!("not judged here and not required: {}", not_judged.join(", ")),
        };
        report.notes.push(format!(
            "short form, --slow plays the whole: left out {}; {judged}",
            report.run.left_out.join(", ")
        ));
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

#[cfg(test)]
mod tests {
    use sanbench_reports::RunVerdict;
    use sanbench_runner::plan::Plan;

    use super::*;
    use crate::targets::Selected;

    const IDS: [&str; 2] = ["CRE-001", "MPX-001"];

    fn story(name: &str, ids: &[&str]) -> Selected {
        let requires = ids.iter().map(|id| (*id).to_owned()).collect();
        Selected { name: name.to_owned(), plan: Plan { requires, ..Plan::default() }, named: false }
    }

    /// A run of `fast`, which compares CRE-001 alone; `slow` was left out.
    fn short(fast: &[&str], ran: bool) -> Report {
        let selection = Selection {
            stories: vec![story("fast", fast)],
            left_out: vec![story("slow", &IDS)],
            required: IDS.map(str::to_owned).into(),
            ..Selection::default()
        };
        let facts = Facts {
            run: Run::default(),
            sim: false,
            interrupted: false,
            notes: Vec::new(),
            planned: vec![("fast/0".to_owned(), "fast".to_owned())],
            not_applicable: BTreeMap::new(),
            histories: false,
            defects: BenchDefects::default(),
        };
        let mut outcome = CaseOutcome::default();
        outcome.case.id = "fast/0".to_owned();
        outcome.case.story = "fast".to_owned();
        outcome.case.verdict = Verdict::Passed;
        outcome.ledger.compared("CRE-001", 1);
        assemble(&selection, facts, if ran { vec![outcome] } else { Vec::new() }).0
    }

    #[test]
    fn the_short_form_asks_for_nothing_that_only_a_slow_story_shows_and_says_so() {
        let report = short(&["CRE-001"], true);
        assert_eq!(report.verdict_words(), "conformant (short form: 1 slow story left out, see --slow)");
        assert_eq!((report.counts.required, report.counts.passed), (1, 1));
        let left = report.requirement("MPX-001").unwrap();
        assert_eq!((left.verdict, left.required), (Verdict::NotRun, false));
        assert!(report.notes[0].ends_with("left out slow; not judged here and not required: MPX-001"));
    }

    #[test]
    fn the_short_form_excuses_no_story_that_was_to_run() {
        let report = short(&IDS, false);
        assert_eq!(report.verdict, RunVerdict::Incomplete);
        assert_eq!((report.counts.required, report.counts.not_run), (2, 2));
    }
}
