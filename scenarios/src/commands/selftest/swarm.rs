//! Each defect by random plans: a budget of seeds, and a state file with which an interrupted night goes on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sanbench_reports::{Defect, DefectMode};
use sanbench_runner::CaseSpec;
use sanbench_runner::generate::{Profile, SWARM, generate};
use serde::{Deserialize, Serialize};

use super::directed::row;
use super::{Selftest, Told, wall_clock};
use crate::compose::run_sim_case;
use crate::defects::{Plantable, Planted};
use crate::failure::Refusal;

/// Seeds that one round of all threads takes.
const ROUND: u64 = 64;
/// Name of the state file.
const FILE: &str = "selftest-swarm.json";

/// The case of a seed; pure.
fn case(seed: u64, profile: &Profile) -> CaseSpec {
    CaseSpec {
        id: format!("{SWARM}/{seed}"),
        story: SWARM.to_owned(),
        plan: generate(seed, profile),
        seed,
        scan: false,
    }
}

/// A search that can be stopped and gone on with.
pub(super) struct Swarm {
    file: PathBuf,
    state: State,
}

/// What is known so far.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Version of the bench that searched: another one makes other plans.
    version: String,
    /// First seed.
    seed: u64,
    /// Progress by switch.
    defects: BTreeMap<String, Progress>,
}

/// How far the search for one defect is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// Seeds tried without it.
    tried: u64,
    /// Milliseconds so far.
    ms: u64,
    /// What caught it; empty while nothing has.
    by: String,
}

impl Swarm {
    /// Reads the state file, if there is one of this version and seed.
    ///
    /// # Errors
    /// This version makes no plans, or the state folder cannot be used.
    pub(super) fn open(test: &Selftest<'_>) -> Result<Self, Refusal> {
        let dir = test.args.state.clone().unwrap_or_else(super::super::state_dir);
        let fail = |e: std::io::Error| {
            Refusal::new(format!("--state {}: {e}", dir.display())).hint("name a folder that can be written")
        };
        std::fs::create_dir_all(&dir).map_err(fail)?;
        let file = dir.join(FILE);
        let fresh = State {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: test.args.seed,
            defects: BTreeMap::new(),
        };
        let state = match std::fs::read(&file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => fresh,
            Err(e) => return Err(fail(e)),
            Ok(bytes) => match serde_json::from_slice::<State>(&bytes) {
                Ok(old) if (&old.version, old.seed) == (&fresh.version, fresh.seed) => old,
                Ok(_) => fresh,
                Err(e) => {
                    return Err(Refusal::new(format!("{}: {e}", file.display()))
                        .hint("remove the file to begin anew"));
                }
            },
        };
        Ok(Self { file, state })
    }

    /// One row for each chosen defect that was decided, one after the other: each has all threads.
    pub(super) fn judge(mut self, test: &Selftest<'_>, told: &mut Told) -> Vec<Defect> {
        let mut rows = Vec::new();
        for defect in &test.chosen {
            if test.stopped() {
                break;
            }
            let Some(row) = self.judge_one(test, defect, told) else { break };
            told.defect(&row);
            rows.push(row);
        }
        rows
    }

    /// `None` when the user stopped it.
    fn judge_one(&mut self, test: &Selftest<'_>, defect: &Plantable, told: &Told) -> Option<Defect> {
        let setup = test.setup(Planted::only(defect)).ok()?;
        let profile = Profile::by_name("default")?;
        let mut so_far = self.state.defects.get(defect.name).cloned().unwrap_or_default();
        while so_far.by.is_empty() && so_far.tried < test.args.seeds {
            if test.stopped() {
                return None;
            }
            let clock = wall_clock();
            let from = test.args.seed.saturating_add(so_far.tried);
            let seeds: Vec<u64> =
                (from..from.saturating_add(ROUND.min(test.args.seeds - so_far.tried))).collect();
            let found = crate::run::run_all(
                &seeds,
                test.jobs,
                &test.stop,
                |seed| {
                    let (outcome, _) = run_sim_case(&setup, &case(*seed, &profile));
                    outcome.case.findings.first().map(|f| format!("{} ({})", f.requirement, f.checker))
                },
                |_| {},
            );
            // The first seed that shows it counts, whichever thread was quicker.
            let complete = found.len() == seeds.len();
            match found.into_iter().enumerate().find_map(|(n, by)| Some((n, by?))) {
                Some((n, by)) => {
                    so_far.tried += n as u64 + 1;
                    so_far.by = by;
                }
                None if !complete => return None,
                None => so_far.tried += seeds.len() as u64,
            }
            so_far.ms += u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.state.defects.insert(defect.name.to_owned(), so_far.clone());
            self.save();
            told.doing(&format!("{} {}: {} seeds", defect.catalogue, defect.name, so_far.tried));
        }
        let mut row = row(defect, DefectMode::Swarm);
        row.caught = !so_far.by.is_empty();
        (row.by, row.runs, row.ms) = (so_far.by, so_far.tried, so_far.ms);
        Some(row)
    }

    /// Writes the state beside the old one and exchanges them, so that no moment has none.
    fn save(&self) {
        let beside = self.file.with_extension("json.new");
        let text = serde_json::to_vec_pretty(&self.state).unwrap_or_default();
        if let Err(e) = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &self.file)) {
            eprintln!("sanbench: {}: {e}", self.file.display());
        }
    }
}
