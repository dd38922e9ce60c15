//! `sanbench run`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sanbench_reports::store::Store;
use sanbench_reports::text::Start;
use sanbench_reports::{Ending, Leftover, Run, write_dir};
use sanbench_runner::{CaseOutcome, CaseSpec};
use sanbench_world::Segment;

use super::lab::{checked_options, driver_of, fresh_tag, tidy, usable};
use crate::cli::{Format, RunArgs};
use crate::compose::{
    ImageInput, LiveSetup, SimSetup, Target, load_image, run_live_case, run_sim_case, unreached,
};
use crate::config::Profile;
use crate::defects::{self, Planted};
use crate::failure::Refusal;
use crate::interrupt;
use crate::registry::Registry;
use crate::run::{Facts, Files, Output, Workshop, assemble, cases, run_all, wall_clock};
use crate::safety::Journal;
use crate::targets::{Selection, resolve};

/// Cases of one run: each stands in the report, and all are kept until it is written.
const MOST_CASES: u64 = 100_000;
/// Fewest cases at once over loopback, where a case mostly waits.
const LOOPBACK_JOBS: usize = 16;

/// Where to run.
pub(super) enum Where {
    /// In simulation.
    Sim,
    /// Real sockets, simulated array.
    Loopback,
    /// A profile.
    Profile(Box<Profile>),
}

/// Runs and judges; answers the exit code.
pub(super) fn run(registry: &Registry, args: &RunArgs) -> Result<u8, Refusal> {
    let mut selection = resolve(registry, &args.targets)?;
    let faults = super::faults(&args.faults)?;
    let planted = Planted::from_words(registry, &args.defect).map_err(|word| {
        let known = defects::waiting().iter().find(|w| w.id == word);
        let hint = match known {
            Some(waiting) => format!("{word} waits for {}", waiting.waits_for),
            None => "`sanbench list defects` names them".to_owned(),
        };
        Refusal::new(format!("no defect `{word}` can be planted")).hint(hint)
    })?;
    let place = place(&args.env)?;
    if matches!(place, Where::Profile(_)) && !args.defect.is_empty() {
        return Err(Refusal::new("--defect is refused with a profile")
            .hint("defects are planted in the bench's own parts; use sim or loopback"));
    }
    if !matches!(place, Where::Sim) && !args.slow {
        selection.shorten();
    }
    let image = args.image.as_deref().map(load_image).transpose()?;
    check_image_fits(&selection, image.as_ref())?;
    if let Some(dir) = &args.report {
        prepare_dir("--report", dir)?;
    }
    if let Some(file) = &args.pcap {
        prepare_file("--pcap", file)?;
    }
    let many =
        args.cases.saturating_mul(selection.stories.len() as u64) / args.shard.map_or(1, |s| s.of.max(1));
    if many > MOST_CASES {
        return Err(Refusal::new(format!("{many} cases are more than a report can hold ({MOST_CASES})"))
            .hint("`sanbench sweep` goes through millions and keeps what fails; or share a run out with --shard I/N"));
    }
    let specs = cases(&selection, args.seed, args.cases, args.shard, &faults);
    let plan = RunPlan { registry, args, selection, planted, image, specs };
    match place {
        Where::Sim => plan.simulated(),
        Where::Loopback => plan.live(None),
        Where::Profile(profile) => plan.live(Some(*profile)),
    }
}

/// The environment of `--env`.
pub(super) fn place(env: &str) -> Result<Where, Refusal> {
    match env {
        "sim" => Ok(Where::Sim),
        "loopback" => Ok(Where::Loopback),
        file => {
            if !(file.contains('/') || file.ends_with(".toml")) {
                let shown: String = file.chars().filter(|c| !c.is_control()).take(80).collect();
                return Err(Refusal::new(format!("--env {shown}: neither sim, loopback nor a profile file"))
                    .hint("a profile is a file ending in .toml"));
            }
            let text =
                std::fs::read_to_string(file).map_err(|e| Refusal::new(format!("--env {file}: {e}")))?;
            Ok(Where::Profile(Box::new(Profile::parse(file, &text)?)))
        }
    }
}

/// Every story that uses the image must have room for it.
fn check_image_fits(selection: &Selection, image: Option<&ImageInput>) -> Result<(), Refusal> {
    use sanbench_runner::plan::{Source, Step};
    let Some(image) = image else { return Ok(()) };
    for story in &selection.stories {
        let samples: Vec<_> = story
            .plan
            .site
            .images
            .iter()
            .filter(|(_, kind, _)| *kind == sanbench_runner::plan::ImageKind::Sample)
            .map(|(name, ..)| name)
            .collect();
        for step in &story.plan.steps {
            if let Step::Create { source: Source::Image(name), size, refused: None, .. } = &step.step
                && samples.contains(&name)
                && size.whole_gib().unwrap_or(0) < image.gib()
            {
                return Err(Refusal::new(format!(
                    "--image needs {}GiB, and story {} makes a volume of {size} from it",
                    image.gib(),
                    story.name
                ))
                .hint("use a smaller image, or a story file of your own with larger volumes"));
            }
        }
    }
    Ok(())
}

/// The folder exists or can be made, and can be written. What was made to find out is removed again: a run that is
/// refused later must leave nothing.
pub(super) fn prepare_dir(option: &str, dir: &Path) -> Result<(), Refusal> {
    let fail = |e: std::io::Error| {
        Refusal::new(format!("{option} {}: {e}", dir.display())).hint("name a folder that can be written")
    };
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
    let probed = std::fs::create_dir_all(dir).and_then(|()| {
        let probe = dir.join(format!(".probe-{}", std::process::id()));
        std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe))
    });
    for made in missing {
        // One that was not made, or that somebody else uses by now, stays as it is.
        let _ = std::fs::remove_dir(made);
    }
    probed.map_err(fail)
}

/// The file can be written; it is not created yet.
fn prepare_file(option: &str, file: &Path) -> Result<(), Refusal> {
    let parent = match file.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    if !parent.is_dir() || file.is_dir() || file.file_name().is_none() {
        return Err(Refusal::new(format!("{option} {}: not a file in an existing folder", file.display())));
    }
    Ok(())
}

/// A run whose words have been understood.
struct RunPlan<'a> {
    registry: &'a Registry,
    args: &'a RunArgs,
    selection: Selection,
    planted: Planted,
    image: Option<ImageInput>,
    specs: Vec<CaseSpec>,
}

impl RunPlan<'_> {
    fn head(&self, env: &str) -> Run {
        let mut command = format!("sanbench run {} --seed {}", self.selection.name, self.args.seed);
        for defect in &self.args.defect {
            command += &format!(" --defect {defect}");
        }
        if self.args.cases > 1 {
            command += &format!(" --cases {}", self.args.cases);
        }
        if self.args.faults != "none" {
            command += &format!(" --faults {}", self.args.faults);
        }
        if env != "sim" {
            command += &format!(" --env {env}");
        }
        if self.args.slow {
            command += " --slow";
        }
        Run {
            seed: self.args.seed,
            env: env.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            suite: self.selection.name.clone(),
            faults: self.args.faults.clone(),
            planted: self.args.defect.clone(),
            command,
            ..Run::default()
        }
    }

    fn start(&self, run: &Run, target: &str, journal: &str) -> Start {
        Start {
            suite: run.suite.clone(),
            env: run.env.clone(),
            target: target.to_owned(),
            seed: run.seed,
            cases: self.specs.len() as u64,
            faults: run.faults.clone(),
            consent: String::new(),
            left_out: self
                .selection
                .left_out
                .iter()
                .map(|story| story.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
            journal: journal.to_owned(),
            report: self.args.report.as_ref().map(|d| d.display().to_string()).unwrap_or_default(),
        }
    }

    fn output(&self) -> Output {
        Output::new(self.args.format, self.args.quiet, self.args.trace, self.specs.len() as u64)
    }

    /// Every case in a virtual world of its own, on all cores.
    fn simulated(&self) -> Result<u8, Refusal> {
        let clock = wall_clock();
        let default = self.registry.judged(&self.planted.driver);
        let setup = SimSetup {
            driver: default.ok_or_else(|| Refusal::new("no driver is built in"))?,
            planted: self.planted.clone(),
            image: self.image.clone(),
            keep_history: self.args.report.is_some() || self.args.trace,
            capture: self.args.pcap.is_some(),
        };
        let run = self.head("sim");
        let mut output = self.output();
        interrupt::listen();
        let _ = output.start(&self.start(&run, "simulated array", ""), &run);
        let mut files = Files::default();
        let (outcomes, captures) =
            self.side_by_side(self.jobs(), &mut output, &mut files, |spec| run_sim_case(&setup, spec));
        let ended = Ended {
            run,
            sim: true,
            outcomes,
            captures,
            files,
            notes: Vec::new(),
            close: &|_| Vec::new(),
            again: None,
        };
        self.finish(ended, setup, clock, output)
    }

    /// Cases on so many threads, told in their order.
    fn side_by_side(
        &self,
        jobs: usize,
        output: &mut Output,
        files: &mut Files,
        run: impl Fn(&CaseSpec) -> (CaseOutcome, Vec<Segment>) + Sync,
    ) -> (Vec<CaseOutcome>, Vec<Vec<Segment>>) {
        let captures = std::sync::Mutex::new(Vec::<(String, Vec<Segment>)>::new());
        let keep = self.args.pcap.is_some();
        let outcomes = run_all(
            &self.specs,
            jobs,
            interrupt::flag(),
            |spec| {
                let (outcome, segments) = run(spec);
                if keep {
                    let mut all = captures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    all.push((spec.id.clone(), segments));
                }
                outcome
            },
            |outcome| {
                self.with_replays(outcome, files);
                let _ = output.case(outcome);
            },
        );
        let mut captures = captures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        captures.sort_by_key(|(id, _)| self.specs.iter().position(|s| s.id == *id));
        (outcomes, captures.into_iter().map(|(_, segments)| segments).collect())
    }

    /// Cases on real sockets: against arrays of their own side by side, against somebody's array one after the other.
    fn live(&self, profile: Option<Profile>) -> Result<u8, Refusal> {
        let clock = wall_clock();
        let mut notes = Vec::new();
        let state = self.args.state.clone().unwrap_or_else(super::state_dir);
        let tag = fresh_tag()?;
        let scratch =
            tempfile::tempdir().map_err(|e| Refusal::new(format!("cannot make a temporary folder: {e}")))?;
        let (driver, target, name, address, journal_path) = match profile {
            None => {
                let driver = self.registry.judged(&self.planted.driver);
                let driver = driver.ok_or_else(|| Refusal::new("no driver is built in"))?;
                (driver, Target::Loopback, "loopback".to_owned(), "simulated array".to_owned(), String::new())
            }
            Some(profile) => {
                let driver = driver_of(self.registry, &profile)?;
                let address = checked_options(driver, &profile, &mut notes)?;
                let journal =
                    Journal::create(&state, tag, &address).map_err(|e| Refusal::new(e.to_string()))?;
                let path = journal.path().display().to_string();
                let limits = profile.limits;
                let name = profile.file.clone();
                let target =
                    Target::Profile { profile: Arc::new(profile), journal: Arc::new(journal), limits };
                (driver, target, name, address, path)
            }
        };
        let setup = LiveSetup {
            driver,
            planted: self.planted.clone(),
            image: self.image.clone(),
            trace: true,
            capture: self.args.pcap.is_some(),
            state_dir: scratch.path().to_path_buf(),
            target,
            tag,
        };
        let mut run = self.head(&name);
        run.started = Some(now());
        let mut output = self.output();
        interrupt::listen();
        let _ = output.start(&self.start(&run, &address, &journal_path), &run);
        let runtime = super::runtime()?;
        let mut outcomes = Vec::new();
        let mut captures = Vec::new();
        let deadline = match &setup.target {
            Target::Profile { limits, .. } => Some(Duration::from_secs(limits.duration_s)),
            Target::Loopback => None,
        };
        let ready = match &setup.target {
            Target::Loopback => Ok(()),
            Target::Profile { profile, .. } => runtime.block_on(usable(&setup, profile)),
        };
        let mut files = Files::default();
        if let (Err(message), Some(first)) = (&ready, self.specs.first()) {
            let mut outcome = unreached(first, message.clone());
            self.with_replays(&mut outcome, &mut files);
            let _ = output.case(&outcome);
            outcomes.push(outcome);
        }
        if matches!(setup.target, Target::Loopback) {
            // A case waits for sessions, jobs and time limits most of its time.
            let jobs = if self.args.jobs.is_some() { self.jobs() } else { self.jobs().max(LOOPBACK_JOBS) };
            let run = |spec: &CaseSpec| runtime.block_on(run_live_case(&setup, spec));
            (outcomes, captures) = self.side_by_side(jobs, &mut output, &mut files, run);
        }
        let one_by_one = ready.is_ok() && !matches!(setup.target, Target::Loopback);
        for spec in self.specs.iter().filter(|_| one_by_one) {
            if interrupt::stopped() {
                break;
            }
            if deadline.is_some_and(|d| clock.elapsed() > d) {
                notes.push("limit duration_s is over: the remaining cases did not run".to_owned());
                break;
            }
            let (mut outcome, segments) = runtime.block_on(run_live_case(&setup, spec));
            self.with_replays(&mut outcome, &mut files);
            let _ = output.case(&outcome);
            let gone = outcome.unreachable.is_some();
            outcomes.push(outcome);
            captures.push(segments);
            if gone {
                break;
            }
        }
        let sim = SimSetup {
            driver,
            planted: self.planted.clone(),
            image: self.image.clone(),
            keep_history: false,
            capture: false,
        };
        // A real array is only troubled again when that was asked for.
        let again = |spec: &CaseSpec| runtime.block_on(run_live_case(&setup, spec)).0;
        let allowed = matches!(setup.target, Target::Loopback) || self.args.shrink.is_some();
        let again: Option<&dyn Fn(&CaseSpec) -> CaseOutcome> = if allowed { Some(&again) } else { None };
        let tidied = |notes: &mut Vec<String>| match &setup.target {
            Target::Loopback => Vec::new(),
            Target::Profile { profile, journal, .. } => {
                // Where no case began there is nothing to tidy, and nobody who would answer.
                let left = match ready {
                    Ok(()) => runtime.block_on(tidy(&setup, profile, tag, notes)),
                    Err(_) => Vec::new(),
                };
                if left.is_empty() {
                    let _ = Journal::close(journal.path());
                }
                left
            }
        };
        let ended = Ended { run, sim: false, outcomes, captures, files, notes, close: &tidied, again };
        self.finish(ended, sim, clock, output)
    }

    /// Gives every finding its id and the command that shows it again. Call it in the order of the cases.
    fn with_replays(&self, outcome: &mut CaseOutcome, files: &mut Files) {
        let case = &mut outcome.case;
        for (finding, n) in case.findings.iter_mut().zip(1..) {
            finding.id = format!("{}-{n}", case.id.replace('/', "-"));
            finding.case.clone_from(&case.id);
            let shown_by = files.id_for(finding);
            finding.replay = match &self.args.report {
                Some(dir) => {
                    let file = format!("{}.json", sanbench_reports::write::file_stem(&shown_by));
                    format!("sanbench replay {}", dir.join("failures").join(file).display())
                }
                None => self.head(&self.args.env).command,
            };
        }
    }

    /// Time for shrinking: what was asked for, else a little for people who wait at a terminal.
    fn shrink_time(&self) -> Option<Duration> {
        match self.args.shrink {
            Some(time) => time.duration(),
            None if self.args.quiet || self.args.format == Format::Json => None,
            None => Some(SHRINK),
        }
    }

    fn finish(
        &self,
        ended: Ended<'_>,
        setup: SimSetup,
        clock: std::time::Instant,
        mut output: Output,
    ) -> Result<u8, Refusal> {
        let Ended { run, sim, mut outcomes, captures, files, mut notes, close, again } = ended;
        for note in outcomes.iter().flat_map(|o| &o.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        let kept = self.args.report.is_some() || self.args.state.is_some();
        let state = || self.args.state.clone().unwrap_or_else(super::state_dir);
        let workshop = Workshop {
            registry: self.registry,
            setup,
            jobs: self.jobs(),
            time: self.shrink_time(),
            enough: 0,
            again,
            store: kept.then(|| Store::in_state(&state())),
            run: &run,
            stop: interrupt::flag(),
            terminal: output.shows_progress(),
        };
        let (failures, anatomies) = workshop.all(&outcomes, &self.specs, &files, |examined| {
            let _ = output.examined(examined);
        });
        let others = files.others();
        let left = close(&mut notes);
        if let Some(last) = outcomes.last_mut() {
            last.leftovers.extend(left);
        }
        let facts = Facts {
            run: run.clone(),
            sim,
            interrupted: interrupt::stopped(),
            notes,
            planned: self.specs.iter().map(|s| (s.id.clone(), s.story.clone())).collect(),
            not_applicable: Default::default(),
            histories: self.args.report.is_some(),
            defects: self.planted.bench,
        };
        let (mut report, mut extras) = assemble(&self.selection, facts, outcomes);
        report.run.duration_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        (extras.failures, extras.anatomies) = (failures, anatomies);
        let mut files: Vec<PathBuf> = Vec::new();
        let mut broken = None;
        if let Some(file) = &self.args.pcap {
            let bytes = sanbench_reports::pcap::write(&segments(captures));
            match std::fs::write(file, &bytes) {
                Ok(()) => files.push(file.clone()),
                Err(e) => broken = Some(format!("--pcap {}: {e}", file.display())),
            }
        }
        if let Some(dir) = &self.args.report {
            extras.captures.clear();
            if others > 0 {
                let note = format!("{others} more findings are in the report without a file in failures/");
                report.notes.push(note);
            }
            match write_dir(&report, &extras, dir) {
                Ok(written) => files.extend(written),
                Err(e) => broken = Some(format!("--report {}: {e}", dir.display())),
            }
        }
        if let Some(message) = broken {
            // The run is over; that its papers could not be written is the bench's failure, not the array's.
            eprintln!("sanbench: {message}");
            report.ending = Ending::BenchError(message);
            report.settle();
        }
        let _ = output.end(&report, &files);
        Ok(report.exit_code())
    }

    fn jobs(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.args.jobs.map_or(cores, |n| usize::try_from(n).unwrap_or(cores))
    }
}

/// What both ways to run end with.
struct Ended<'a> {
    run: Run,
    sim: bool,
    outcomes: Vec<CaseOutcome>,
    captures: Vec<Vec<Segment>>,
    files: Files,
    notes: Vec<String>,
    /// Removes what is still on the array, once nothing runs any more; answers what stayed.
    close: &'a dyn Fn(&mut Vec<String>) -> Vec<Leftover>,
    /// Plays a case again where it was played.
    again: Option<&'a dyn Fn(&CaseSpec) -> CaseOutcome>,
}

/// Seconds for shrinking when nobody said.
pub(super) const SHRINK: Duration = Duration::from_secs(10);

/// Captured payload of all cases, one after the other, connections kept apart.
fn segments(captures: Vec<Vec<Segment>>) -> Vec<sanbench_reports::pcap::Segment> {
    let mut all = Vec::new();
    let (mut start, mut connections) = (Duration::ZERO, 0);
    for case in captures {
        let (mut end, mut most) = (Duration::ZERO, 0);
        for s in case {
            end = end.max(s.at);
            most = most.max(s.conn + 1);
            all.push(crate::run::segment(s, start, connections));
        }
        start += end + Duration::from_secs(1);
        connections += most;
    }
    all
}

/// The wall clock as RFC 3339, for the head of a report outside the simulation.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
