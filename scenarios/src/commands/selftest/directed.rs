//! Each defect by the stories that are directed at it.

use std::time::Duration;

use sanbench_reports::{Defect, DefectMode};

use super::{Selftest, Told, named, probes, shrunk};
use crate::cli::ShrinkTime;
use crate::compose::run_sim_case;
use crate::defects::{Plantable, Planted};
use crate::interrupt;
use crate::run::{run_all, wall_clock};

/// Cases of each story that are tried; all but stories with lanes need one.
const TRIES: u64 = 12;

/// Longest time for shrinking the story that shows one defect, where the user has named none.
const SHRINK: Duration = Duration::from_secs(2);
/// A plan of so many steps is short enough to be read: its story is not shrunk further.
const ENOUGH: usize = 12;

/// One row for each chosen defect, in their order; those not reached when the user stopped it are left out.
pub(super) fn judge(test: &Selftest<'_>, told: &mut Told) -> Vec<Defect> {
    let rows = run_all(
        &test.chosen,
        test.jobs,
        interrupt::flag(),
        |defect| judge_one(test, defect),
        |row| row.iter().for_each(|row| told.defect(row)),
    );
    rows.into_iter().flatten().collect()
}

/// `None` when the user stopped it before it was decided.
pub(super) fn judge_one(test: &Selftest<'_>, defect: &Plantable) -> Option<Defect> {
    let clock = wall_clock();
    let mut shows = None;
    let mut row = row(defect, DefectMode::Directed);
    let (Some(directed), Ok(setup)) = (defect.directed(), test.setup(Planted::only(defect))) else {
        row.note = "no story is directed at it".to_owned();
        return Some(row);
    };
    'tries: for k in 0..TRIES {
        for story in &directed.stories {
            if let Some(probe) = probes::by_name(story) {
                row.runs += 1;
                (*story).clone_into(&mut row.story);
                match probe.look(test, Planted::only(defect).bench) {
                    Some(finding) if directed.by.contains(&finding.requirement.as_str()) => {
                        row.caught = true;
                        row.by = format!("{} ({})", finding.requirement, finding.checker);
                        break 'tries;
                    }
                    other => row.note = other.map_or("nothing failed".to_owned(), |f| f.message),
                }
                continue;
            }
            let spec = match test.case(story, k) {
                Ok(spec) => spec,
                Err(refusal) => {
                    row.note = refusal.to_string();
                    break 'tries;
                }
            };
            let (outcome, _) = run_sim_case(&setup, &spec);
            if interrupt::stopped() && outcome.case.findings.is_empty() {
                return None;
            }
            row.runs += 1;
            (*story).clone_into(&mut row.story);
            if let Some(finding) = named(&outcome.case.findings, &directed.by) {
                row.caught = true;
                row.by = format!("{} ({})", finding.requirement, finding.checker);
                row.note.clear();
                shows = Some((spec, finding.clone()));
                break 'tries;
            }
            row.note = instead(&outcome);
        }
    }
    // How long shrinking takes is not how long it took to catch it. A chapter of the protocol cases has no steps to take away.
    row.ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    if let Some((spec, finding)) = shows.filter(|(spec, _)| !spec.plan.steps.is_empty()) {
        let time = test.args.shrink.map_or(Some(SHRINK), ShrinkTime::duration);
        row.steps = time.and_then(|time| shrunk(test, defect, &setup, &spec, &finding, (time, ENOUGH)));
    }
    Some(row)
}

/// What came of a run that did not catch its defect by name.
fn instead(outcome: &sanbench_runner::CaseOutcome) -> String {
    match (outcome.case.findings.first(), &outcome.broken, &outcome.unreachable) {
        (Some(found), ..) => format!("{} failed instead: {}", found.requirement, found.message),
        (None, Some(broken), _) => format!("the run broke: {broken}"),
        (None, None, Some(unreachable)) => format!("undecided: {unreachable}"),
        _ => "nothing failed".to_owned(),
    }
}

/// The row of a defect before anything has run.
pub(super) fn row(defect: &Plantable, mode: DefectMode) -> Defect {
    let by = defect.directed().map(|d| d.by.clone()).unwrap_or_default();
    Defect {
        id: defect.catalogue.to_owned(),
        switch: defect.name.to_owned(),
        home: defect.home.to_owned(),
        expected: by.iter().map(|id| (*id).to_owned()).collect(),
        mode,
        ..Defect::default()
    }
}
