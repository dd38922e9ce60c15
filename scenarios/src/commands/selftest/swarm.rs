//! Each defect by random plans: a budget of seeds, and a state file with which an interrupted night goes on.
//!
//! What no workflow does on the wire is in no plan: one seed in [`CHAPTER_EVERY`] plays a chapter of the protocol cases, whichever
//! the dice choose. The bench's own defects are in no plan either; their probes look for them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sanbench_reports::{Case, Defect, DefectMode, Verdict};
use sanbench_runner::CaseSpec;
use sanbench_runner::generate::{Profile, SWARM, generate};
use sanbench_world::dice;
use serde::{Deserialize, Serialize};

use super::directed::{self, row};
use super::{Selftest, Told, probes, shrunk};
use crate::cli::ShrinkTime;
use crate::compose::run_sim_case;
use crate::defects::{Plantable, Planted};
use crate::failure::Refusal;
use crate::interrupt;
use crate::run::{run_all, wall_clock};
use crate::targets;

/// Seeds that one round of all threads takes.
const ROUND: u64 = 64;
/// One seed in so many plays a chapter of the protocol cases instead of a generated plan.
const CHAPTER_EVERY: u64 = 12;
/// Counts changes of what a seed gives: what was tried before one proves nothing about the plans after it.
const PLANS: u32 = 5;
/// Name of the state file.
const FILE: &str = "selftest-swarm.json";

/// Longest time for shrinking the plan that shows one defect, where the user has named none.
const SHRINK: Duration = Duration::from_secs(20);

fn millis(clock: Instant) -> u64 {
    u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The case of a seed; pure. It is the one that `run swarm`, or `run` with the chapter's name, has under that seed.
fn case(seed: u64, profile: &Profile) -> CaseSpec {
    let id = format!("{SWARM}/{seed}");
    let mut d = dice(seed, "selftest", "chapter");
    if d.chance(1, CHAPTER_EVERY) {
        let chapter =
            &sanbench_protocol::CHAPTERS[d.below(sanbench_protocol::CHAPTERS.len() as u64) as usize];
        let id = format!("{}/{seed}", chapter.name);
        let plan = targets::chapter_plan(chapter);
        let seed = dice(seed, chapter.name, "case 0").u64();
        return CaseSpec { id, story: chapter.name.to_owned(), plan, seed, scan: false, directed: false };
    }
    let seed = dice(seed, SWARM, "case 0").u64();
    let plan = generate(seed, profile);
    CaseSpec { id, story: SWARM.to_owned(), plan, seed, scan: false, directed: false }
}

/// A search that can be stopped and gone on with.
pub(super) struct Swarm {
    file: PathBuf,
    state: State,
    /// Cases that fail without a defect.
    alarms: Vec<Case>,
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
    /// Seeds that raised an alarm without a defect.
    #[serde(default)]
    alarms: BTreeSet<u64>,
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
    /// Steps of the shrunk plan that shows it.
    #[serde(default)]
    steps: Option<u64>,
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
            version: format!("{} plans {PLANS}", env!("CARGO_PKG_VERSION")),
            seed: test.args.seed,
            defects: BTreeMap::new(),
            alarms: BTreeSet::new(),
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
        Ok(Self { file, state, alarms: Vec::new() })
    }

    /// One row for each chosen defect that was decided, one after the other: each has all threads. Beside them the cases that
    /// raised an alarm without any defect, too.
    pub(super) fn judge(mut self, test: &Selftest<'_>, told: &mut Told) -> (Vec<Defect>, Vec<Case>) {
        let profile = Profile::by_name("default").unwrap_or_default();
        // What was found before an interruption is told again.
        for seed in self.state.alarms.clone() {
            self.is_false_alarm(test, seed, &case(seed, &profile), told);
        }
        let mut rows = Vec::new();
        for defect in &test.chosen {
            if interrupt::stopped() {
                break;
            }
            let Some(row) = self.judge_one(test, defect, told) else { break };
            told.defect(&row);
            rows.push(row);
        }
        (rows, self.alarms)
    }

    /// Whether the case fails without a defect, too: then it shows none.
    fn is_false_alarm(&mut self, test: &Selftest<'_>, seed: u64, spec: &CaseSpec, told: &mut Told) -> bool {
        if self.alarms.iter().any(|case| case.id == spec.id) {
            return true;
        }
        let Ok(setup) = test.setup(Planted::default()) else { return false };
        let (outcome, _) = run_sim_case(&setup, spec);
        let mut case = outcome.case;
        if case.verdict == Verdict::Passed || (interrupt::stopped() && case.verdict == Verdict::Unknown) {
            return false;
        }
        self.state.alarms.insert(seed);
        self.save();
        let faults = if spec.story == SWARM { " --faults default" } else { "" };
        for finding in &mut case.findings {
            finding.replay = format!("sanbench run {} --seed {seed}{faults}", spec.story);
        }
        told.alarm(&case);
        self.alarms.push(case);
        true
    }

    /// `None` when the user stopped it.
    fn judge_one(&mut self, test: &Selftest<'_>, defect: &Plantable, told: &mut Told) -> Option<Defect> {
        let stories = defect.directed().map(|d| d.stories.clone()).unwrap_or_default();
        if !stories.is_empty() && stories.iter().all(|story| probes::by_name(story).is_some()) {
            return directed::judge_one(test, defect).map(|row| Defect { mode: DefectMode::Swarm, ..row });
        }
        let setup = test.setup(Planted::only(defect)).ok()?;
        let profile = Profile::by_name("default")?;
        let mut so_far = self.state.defects.get(defect.name).cloned().unwrap_or_default();
        while so_far.by.is_empty() && so_far.tried < test.args.seeds {
            if interrupt::stopped() {
                return None;
            }
            let clock = wall_clock();
            let from = test.args.seed.saturating_add(so_far.tried);
            let seeds: Vec<u64> =
                (from..from.saturating_add(ROUND.min(test.args.seeds - so_far.tried))).collect();
            let found = run_all(
                &seeds,
                test.jobs,
                interrupt::flag(),
                |seed| {
                    let (outcome, _) = run_sim_case(&setup, &case(*seed, &profile));
                    outcome.case.findings.into_iter().next()
                },
                |_| {},
            );
            // The first seed that shows it counts, whichever thread was quicker.
            if interrupt::stopped() {
                // Some of these cases were cut off: the round is played again.
                return None;
            }
            match found.into_iter().zip(&seeds).enumerate().find_map(|(n, (f, seed))| Some((n, f?, *seed))) {
                Some((n, _, seed)) if self.is_false_alarm(test, seed, &case(seed, &profile), told) => {
                    so_far.tried += n as u64 + 1;
                }
                Some((n, finding, seed)) => {
                    so_far.tried += n as u64 + 1;
                    so_far.by = format!("{} ({})", finding.requirement, finding.checker);
                    // How long shrinking takes is not how long the search took.
                    so_far.ms += millis(clock);
                    let spec = case(seed, &profile);
                    // A chapter has no steps to take away.
                    let plan = !spec.plan.steps.is_empty();
                    let time = test.args.shrink.map_or(Some(SHRINK), ShrinkTime::duration);
                    so_far.steps = time
                        .filter(|_| plan)
                        .and_then(|time| shrunk(test, defect, &setup, &spec, &finding, (time, 0)));
                    if interrupt::stopped() {
                        return None;
                    }
                    self.keep(defect, &so_far);
                    break;
                }
                None => so_far.tried += seeds.len() as u64,
            }
            so_far.ms += millis(clock);
            self.keep(defect, &so_far);
            told.doing(&format!("{} {}: {} seeds", defect.catalogue, defect.name, so_far.tried));
        }
        let mut row = row(defect, DefectMode::Swarm);
        row.caught = !so_far.by.is_empty();
        (row.by, row.runs, row.ms, row.steps) = (so_far.by, so_far.tried, so_far.ms, so_far.steps);
        Some(row)
    }

    fn keep(&mut self, defect: &Plantable, so_far: &Progress) {
        self.state.defects.insert(defect.name.to_owned(), so_far.clone());
        self.save();
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
