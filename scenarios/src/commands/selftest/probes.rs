//! The bench under test: what it says of a run that proves nothing, and what its clean-up leaves alone.
//!
//! These are no stories, since nothing is asked of an array; each looks at the bench from outside, as a user would.

use std::sync::{Mutex, PoisonError};

use sanbench_api::{
    ArrayInventory, DriverError, Inventory, LunEntry, ObjectRef, SnapshotId, VolumeId, Wwn, async_trait,
};
use sanbench_reports::{Case, Finding, Run, RunVerdict, Verdict};
use sanbench_runner::CaseOutcome;
use sanbench_runner::plan::Plan;

use super::Selftest;
use crate::compose::run_sim_case;
use crate::defects::{BenchDefects, Planted};
use crate::run::{Facts, assemble};
use crate::safety::{Tag, clean_with};
use crate::targets::{Selected, Selection};

/// A look at the bench.
pub(super) struct Probe {
    /// Name in `directed.tsv`.
    pub(super) name: &'static str,
    /// What it shows.
    title: &'static str,
    /// Requirement that it is about.
    requirement: &'static str,
    /// What is wrong, if anything is: expected and observed.
    look: fn(&Selftest<'_>, BenchDefects) -> Option<(String, String)>,
}

/// Every probe.
pub(super) const ALL: &[Probe] = &[
    Probe {
        name: "probe:nothing-compared",
        title: "A requirement for which no checker compared anything is not run, and the run incomplete",
        requirement: "BEN-001",
        look: |_, defects| nothing_compared(defects),
    },
    Probe {
        name: "probe:case-missing",
        title: "A planned case that did not run makes the run incomplete",
        requirement: "BEN-002",
        look: |_, defects| case_missing(defects),
    },
    Probe {
        name: "probe:foreign-objects",
        title: "Clean-up removes what carries the tag of a run, and nothing else",
        requirement: "CLU-002",
        look: |_, defects| foreign_objects(defects),
    },
    Probe {
        name: "probe:same-twice",
        title: "A case that is run twice has the same history twice",
        requirement: "BEN-003",
        look: same_twice,
    },
];

/// The probe of that name.
pub(super) fn by_name(name: &str) -> Option<&'static Probe> {
    ALL.iter().find(|probe| probe.name == name)
}

impl Probe {
    /// Looks at a bench with these defects.
    pub(super) fn look(&self, test: &Selftest<'_>, defects: BenchDefects) -> Option<Finding> {
        let (expected, observed) = (self.look)(test, defects)?;
        Some(Finding {
            requirement: self.requirement.to_owned(),
            checker: "probe".to_owned(),
            signature: self.name.to_owned(),
            message: format!("not so: {}", self.title),
            expected,
            observed,
            ..Finding::default()
        })
    }

    /// The bench as it is.
    pub(super) fn clean_case(&self, test: &Selftest<'_>) -> Case {
        let findings: Vec<Finding> = self.look(test, BenchDefects::default()).into_iter().collect();
        Case {
            id: self.name.to_owned(),
            title: self.title.to_owned(),
            story: self.name.to_owned(),
            verdict: if findings.is_empty() { Verdict::Passed } else { Verdict::Failed },
            reason: findings.first().map(|f| f.message.clone()).unwrap_or_default(),
            findings,
            ..Case::default()
        }
    }
}

/// The verdict of a run of stories that require these ids; of the planned cases, those named in `ran` passed, and each has
/// compared something for the ids in `compared`.
fn verdict(stories: &[(&str, &str)], ran: &[&str], compared: &[&str], defects: BenchDefects) -> RunVerdict {
    let selection = Selection {
        name: "probe".to_owned(),
        stories: stories
            .iter()
            .map(|(name, id)| Selected {
                name: (*name).to_owned(),
                plan: Plan { requires: vec![(*id).to_owned()], ..Plan::default() },
                named: true,
            })
            .collect(),
        required: stories.iter().map(|(_, id)| (*id).to_owned()).collect(),
        ..Selection::default()
    };
    let outcomes = ran.iter().map(|name| {
        let mut outcome = CaseOutcome::default();
        outcome.case.id = format!("{name}/0");
        (*name).clone_into(&mut outcome.case.story);
        outcome.case.verdict = Verdict::Passed;
        compared.iter().for_each(|id| outcome.ledger.compared(id, 1));
        outcome
    });
    let facts = Facts {
        run: Run::default(),
        sim: true,
        interrupted: false,
        notes: Vec::new(),
        planned: stories.iter().map(|(name, _)| (format!("{name}/0"), (*name).to_owned())).collect(),
        not_applicable: Default::default(),
        histories: false,
        defects,
    };
    assemble(&selection, facts, outcomes.collect()).0.verdict
}

fn wanted(verdict: RunVerdict) -> Option<(String, String)> {
    let wanted = RunVerdict::Incomplete;
    (verdict != wanted).then(|| (wanted.word().to_owned(), verdict.word().to_owned()))
}

fn nothing_compared(defects: BenchDefects) -> Option<(String, String)> {
    wanted(verdict(&[("one", "CRE-001"), ("two", "CLN-001")], &["one", "two"], &["CRE-001"], defects))
}

fn case_missing(defects: BenchDefects) -> Option<(String, String)> {
    let stories = [("one", "CRE-001"), ("two", "CRE-001")];
    wanted(verdict(&stories, &["one"], &["CRE-001"], defects))
}

/// An array that remembers what was removed from it.
struct Shelf {
    objects: ArrayInventory,
    removed: Mutex<Vec<String>>,
}

#[async_trait]
impl Inventory for Shelf {
    async fn list(&self) -> Result<ArrayInventory, DriverError> {
        let removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self.objects.clone();
        left.luns.retain(|lun| !removed.contains(&lun.name));
        Ok(left)
    }

    fn lun_name(&self, name_id: &VolumeId) -> String {
        name_id.to_string()
    }

    fn snapshot_name(&self, id: &SnapshotId) -> String {
        id.to_string()
    }

    fn host_name(&self, host: &str) -> String {
        host.to_owned()
    }

    async fn remove(&self, object: &ObjectRef) -> Result<(), DriverError> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).push(object.name.clone());
        Ok(())
    }
}

fn same_twice(test: &Selftest<'_>, bench: BenchDefects) -> Option<(String, String)> {
    let setup = test.setup(Planted { bench, ..Planted::default() });
    let (Ok(setup), Ok(spec)) = (setup, test.case("lifecycle", 0)) else {
        return Some(("a case".to_owned(), "none could be made".to_owned()));
    };
    let [one, two] = [(); 2].map(|()| run_sim_case(&setup, &spec).0.case.history_sha256);
    (one.is_none() || one != two).then(|| (format!("{one:?} again"), format!("{two:?}")))
}

fn foreign_objects(defects: BenchDefects) -> Option<(String, String)> {
    let tag = Tag([0x00, 0xc0, 0xff, 0xee]);
    let ours = "00c0ffee-0123456789abcdef012345";
    let names = [ours, "00c0ffef-0123456789abcdef012345", "volume-00c0ffee", "payroll"];
    let luns = names.iter().zip(1u8..).map(|(name, n)| LunEntry {
        id: n.to_string(),
        name: (*name).to_owned(),
        wwn: Wwn([n; 16]),
        blocks: 1 << 21,
        pool: "pool0".to_owned(),
        parent: None,
        mapped: false,
        description: String::new(),
    });
    let objects = ArrayInventory { luns: luns.collect(), ..ArrayInventory::default() };
    let shelf = Shelf { objects, removed: Mutex::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    match runtime {
        Ok(runtime) => {
            let _ = runtime.block_on(clean_with(&shelf, &[tag], defects));
        }
        Err(e) => return Some(("a runtime".to_owned(), e.to_string())),
    }
    let removed = shelf.removed.into_inner().unwrap_or_else(PoisonError::into_inner);
    (removed != [ours]).then(|| (format!("removed: {ours}"), format!("removed: {}", removed.join(", "))))
}
