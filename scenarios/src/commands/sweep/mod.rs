//! `sanbench sweep`: many seeds, on all cores, for as long as one likes.
//!
//! `short` goes through all short plans, `said` is what is printed; this file runs, judges and reports.

mod said;
mod short;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use sanbench_reports::store::Store;
use sanbench_reports::{Report, Run, write_dir};
use sanbench_runner::generate::Profile;
use sanbench_runner::{CaseOutcome, CaseSpec};

use self::said::Said;
use self::short::Short;
use super::run::{SHRINK, prepare_dir};
use crate::cli::{Format, Shard, SweepArgs};
use crate::compose::{SimSetup, run_sim_case};
use crate::defects::{self, Planted};
use crate::failure::Refusal;
use crate::interrupt;
use crate::registry::Registry;
use crate::run::{EXAMINED, Examined, Fold, Lines, Workshop, one_case, run_each, shard, wall_clock};
use crate::targets::{self, Selected, Selection, resolve};

/// Name of the file from which reports of shards are merged.
pub(super) const FOLD: &str = "sweep.json";
/// Name of the file of the histories' hashes.
pub(super) const LINES: &str = "histories.sha256";

/// What a sweep goes through.
enum Work {
    /// Stories, each with every seed.
    Seeds(Selection),
    /// All short plans, each with one fault at every place, or one of them.
    Short(Short),
}

/// Outcomes of one task.
type Outcomes = Vec<(u64, CaseOutcome)>;

/// Runs and judges; answers the exit code.
pub(super) fn sweep(registry: &Registry, args: &SweepArgs) -> Result<u8, Refusal> {
    let profile = super::faults(&args.faults)?;
    // One plan is no share of a sweep, wherever it is played.
    let part = shard(args.shard, |name| std::env::var(name).ok().filter(|_| args.plan.is_none()))?;
    let planted = Planted::from_words(registry, &args.defect).map_err(|word| {
        let names = defects::all(registry).iter().map(|d| d.name).collect::<Vec<_>>().join(", ");
        Refusal::new(format!("no defect `{word}` can be planted")).hint(format!("defects: {names}"))
    })?;
    let (work, name, required, numbers) = match &args.targets[..] {
        [word] if word == short::WORD => {
            let short = Short::of(args)?;
            let numbers = (0, short.tasks());
            (Work::Short(short), short::WORD.to_owned(), short::required(), numbers)
        }
        _ if args.plan.is_some() || args.depth.is_some() => {
            return Err(
                Refusal::new("--plan and --depth are for short plans").hint("sanbench sweep exhaustive")
            );
        }
        words => {
            let swarm = ["swarm".to_owned()];
            let selection = resolve(registry, if words.is_empty() { &swarm } else { words })?;
            let Some(seeds) = args.seeds else {
                return Err(
                    Refusal::new("which seeds?").hint("--seeds A..B, B excluded, such as --seeds 0..1000")
                );
            };
            let (name, required) = (selection.name.clone(), selection.required.clone());
            (Work::Seeds(selection), name, required, (seeds.from, seeds.to))
        }
    };
    if let Some(dir) = &args.report {
        prepare_dir("--report", dir)?;
    }
    let driver = registry.judged(&planted.driver).ok_or_else(|| Refusal::new("no driver is built in"))?;
    let setup = SimSetup { driver, planted, image: None, keep_history: false, capture: false };
    let mut command = format!("sanbench sweep {name}");
    if matches!(work, Work::Seeds(_)) {
        command += &format!(" --seeds {}..{}", numbers.0, numbers.1);
    }
    if args.faults != "default" {
        command += &format!(" --faults {}", args.faults);
    }
    let faults = match &work {
        Work::Seeds(_) => profile.name.clone(),
        Work::Short(short) => {
            command += &short.option();
            short.faults()
        }
    };
    args.defect.iter().for_each(|defect| command += &format!(" --defect {defect}"));
    let run = Run {
        seed: numbers.0,
        env: "sim".into(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        suite: name,
        faults,
        planted: args.defect.clone(),
        command,
        ..Run::default()
    };
    let fold = Fold::new(run, numbers, (part.index, part.of), required);
    Sweep { registry, args, work, profile, part, setup, fold }.run()
}

struct Sweep<'a> {
    registry: &'a Registry,
    args: &'a SweepArgs,
    work: Work,
    profile: Profile,
    part: Shard,
    setup: SimSetup,
    fold: Fold,
}

impl Sweep<'_> {
    /// Seeds or plans of this part: number n is A + I + n * N.
    fn numbers(&self) -> u64 {
        let (from, to) = self.fold.seeds;
        to.saturating_sub(from).saturating_sub(self.part.index).div_ceil(self.part.of)
    }

    fn run(mut self) -> Result<u8, Refusal> {
        let clock = wall_clock();
        let stories = match &self.work {
            Work::Seeds(selection) => selection.stories.len() as u64,
            Work::Short(_) => 1,
        };
        let count = self.numbers() * stories;
        interrupt::listen();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.args.jobs.map_or(cores, |n| usize::try_from(n).unwrap_or(cores));
        // How many cases there are, only playing them tells where places are found by trying.
        let cases = matches!(self.work, Work::Seeds(_)).then_some(count);
        let mut said = Said::new(self.args, count, cases);
        said.start(&self.fold.run, self.part);
        let mut lines = Lines::default();
        let mut disk = None;
        let mut fold = std::mem::take(&mut self.fold);
        let from = fold.seeds.0;
        {
            let (work, profile, setup, part) = (&self.work, &self.profile, &self.setup, self.part);
            let replay = |outcome: &mut CaseOutcome, number| self.with_replays(outcome, number);
            let task = |index: u64| -> Outcomes {
                let number = from + part.index + (index / stories) * part.of;
                let mut outcomes = match work {
                    Work::Seeds(selection) => {
                        let story = &selection.stories[(index % stories) as usize];
                        let spec = seed_case(story, number, profile, selection.scan);
                        vec![(number, run_sim_case(setup, &spec).0)]
                    }
                    Work::Short(short) => short.cases(setup, number),
                };
                outcomes.iter_mut().for_each(|(number, outcome)| replay(outcome, *number));
                outcomes
            };
            let said = std::cell::RefCell::new(&mut said);
            run_each(
                count,
                jobs,
                interrupt::flag(),
                task,
                |outcomes: Outcomes| {
                    for (number, outcome) in outcomes {
                        if let Some(hash) = &outcome.case.history_sha256 {
                            disk = disk.take().or(lines.add(&outcome.case.id, hash).err());
                        }
                        said.borrow_mut().outcome(&outcome);
                        fold.add(number, outcome);
                    }
                    said.borrow_mut().progress(&clock, fold.virtual_us);
                },
                || said.borrow_mut().idle(),
            );
        }
        fold.interrupted = interrupt::stopped();
        let examined = self.examine(&fold, jobs, &mut said);
        fold.interrupted |= interrupt::stopped();
        fold.run.duration_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(e) = disk {
            return Err(Refusal::new(format!("a temporary file cannot be written: {e}")));
        }
        let report = finish(&fold, lines, self.args.report.as_deref(), examined);
        said.end(&report, &fold);
        Ok(report.exit_code())
    }

    /// Shrinks the smallest failure of each kind, of so many kinds, in the time that is given, and tells how it comes about.
    fn examine(&self, fold: &Fold, jobs: usize, said: &mut Said<'_>) -> Vec<Examined> {
        let time = match self.args.shrink {
            Some(time) => time.duration(),
            None if self.args.quiet || self.args.format == Format::Json => None,
            None => Some(SHRINK),
        };
        let scan = matches!(&self.work, Work::Seeds(selection) if selection.scan);
        let kept = self.args.report.is_some() || self.args.state.is_some();
        let state = || self.args.state.clone().unwrap_or_else(super::state_dir);
        let store = kept.then(|| Store::in_state(&state()));
        // Before anything is looked into: what was found is kept, whatever comes of that.
        if let Some(Err(e)) = store.as_ref().map(|store| fold.keep(store, scan)) {
            eprintln!("sanbench: the failure store cannot be written: {e}");
        }
        let clock = wall_clock();
        let mut examined = Vec::new();
        let count = fold.failures.len().min(EXAMINED);
        for (n, (key, kept)) in fold.failures.iter().take(EXAMINED).enumerate() {
            if interrupt::stopped() {
                break;
            }
            let case = &kept.smallest.case;
            let found =
                case.findings.iter().position(|f| format!("{} {}", f.requirement, f.signature) == *key);
            let plan = targets::parse(&case.id, &kept.smallest.plan);
            let (Some(found), Ok(plan)) = (found, plan) else { continue };
            let spec = CaseSpec {
                id: case.id.clone(),
                story: case.story.clone(),
                plan,
                seed: case.seed,
                scan,
                directed: false,
            };
            let outcome = CaseOutcome { case: case.clone(), ..CaseOutcome::default() };
            let left = u32::try_from(count - n).unwrap_or(1);
            let share = time.map(|time: Duration| time.saturating_sub(clock.elapsed()) / left);
            let run = fold.run_of(&kept.smallest);
            let workshop = Workshop {
                registry: self.registry,
                setup: self.setup.clone(),
                jobs,
                time,
                enough: 0,
                again: None,
                store: store.clone(),
                run: &run,
                stop: interrupt::flag(),
                terminal: std::io::stderr().is_terminal() && !self.args.quiet,
            };
            // How often it was seen is in the store already.
            let mut one = workshop.examine(&spec, &outcome, found, 0, share);
            if let Some(dir) = &self.args.report {
                // The seed plays the whole plan, the file the shrunk one.
                let finding = &mut one.failure.finding;
                finding.replay = file_command(dir, &finding.id);
            }
            said.examined(&one);
            examined.push(one);
        }
        examined
    }

    fn with_replays(&self, outcome: &mut CaseOutcome, number: u64) {
        let case = &mut outcome.case;
        for (finding, n) in case.findings.iter_mut().zip(1..) {
            finding.id = format!("{}-{n}", case.id.replace('/', "-"));
            finding.replay = match &self.work {
                Work::Short(_) => short::replay(&case.id, &self.args.defect),
                Work::Seeds(_) => {
                    let mut text = format!("sanbench run {} --seed {number}", case.story);
                    if !self.profile.is_quiet() {
                        text += &format!(" --faults {}", self.args.faults);
                    }
                    self.args.defect.iter().for_each(|defect| text += &format!(" --defect {defect}"));
                    text
                }
            };
        }
    }
}

/// The case of one seed: that which `run` plays as its first with this seed.
fn seed_case(story: &Selected, seed: u64, profile: &Profile, scan: bool) -> CaseSpec {
    CaseSpec { id: format!("{}/{seed}", story.name), ..one_case(story, seed, 0, profile, scan) }
}

/// The line that plays the failure of this id again, from its file in the report.
fn file_command(dir: &Path, id: &str) -> String {
    let file = format!("{}.json", sanbench_reports::write::file_stem(id));
    format!("sanbench replay {}", dir.join("failures").join(file).display())
}

/// Makes the report of a fold and writes its papers; what cannot be written makes it an error of the bench.
pub(super) fn finish(fold: &Fold, lines: Lines, dir: Option<&Path>, examined: Vec<Examined>) -> Report {
    let written = (|| -> std::io::Result<Report> {
        let Some(dir) = dir else {
            let hash = lines.finish(|_| Ok(()))?;
            return Ok(fold.report(Some(hash)).0);
        };
        std::fs::create_dir_all(dir)?;
        let mut out = std::io::BufWriter::new(std::fs::File::create(dir.join(LINES))?);
        let hash = lines.finish(|line| writeln!(out, "{line}"))?;
        out.flush()?;
        let (mut report, mut extras) = fold.report(Some(hash));
        for Examined { failure, anatomy } in examined {
            let id = failure.finding.id.clone();
            extras.anatomies.extend(anatomy.map(|a| (id.clone(), a)));
            extras.failures.insert(id, failure);
        }
        let command = |id: &str| file_command(dir, id);
        // A finding without a file of its own is shown by that of its case.
        for case in &mut report.cases {
            let of_case = extras.failures.values().find(|f| f.finding.case == case.id);
            let of_case = of_case.map(|f| f.finding.id.clone());
            for finding in &mut case.findings {
                let own = extras.failures.contains_key(&finding.id).then(|| finding.id.clone());
                if let Some(id) = own.or_else(|| of_case.clone()) {
                    finding.replay = command(&id);
                }
            }
        }
        extras.failures.iter_mut().for_each(|(id, failure)| failure.finding.replay = command(id));
        std::fs::write(dir.join(FOLD), serde_json::to_vec(fold)?)?;
        write_dir(&report, &extras, dir)?;
        Ok(report)
    })();
    written.unwrap_or_else(|e| {
        eprintln!("sanbench: the report cannot be written: {e}");
        let mut report = fold.report(None).0;
        report.ending = sanbench_reports::Ending::BenchError(e.to_string());
        report.settle();
        report
    })
}
