//! `sanbench sweep`: many seeds, on all cores, for as long as one likes.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use sanbench_reports::event::{Event, EventStream};
use sanbench_reports::store::Store;
use sanbench_reports::text::{self, Start, Style};
use sanbench_reports::{Report, Run, Verdict, write_dir};
use sanbench_runner::generate::{Profile, exhaustive};
use sanbench_runner::{CaseOutcome, CaseSpec};
use sanbench_world::dice;

use super::run::{SHRINK, prepare_dir};
use crate::cli::{Format, Shard, SweepArgs};
use crate::compose::{SimSetup, run_sim_case};
use crate::defects::{self, Planted};
use crate::failure::Refusal;
use crate::interrupt;
use crate::registry::Registry;
use crate::run::{
    EXAMINED, Examined, Fold, Lines, Workshop, one_case, print, run_each, shard, shrunk, wall_clock,
};
use crate::targets::{self, Selected, Selection, resolve};

/// Name of the file from which reports of shards are merged.
pub(super) const FOLD: &str = "sweep.json";
/// Name of the file of the histories' hashes.
pub(super) const LINES: &str = "histories.sha256";
/// The word for all short plans.
const EXHAUSTIVE: &str = "exhaustive";

/// What a sweep goes through.
enum Work {
    /// Stories, each with every seed.
    Seeds(Selection),
    /// All short plans, each with one fault at every place.
    Short(Vec<sanbench_runner::plan::Plan>),
}

/// Outcomes of one task.
type Outcomes = Vec<(u64, CaseOutcome)>;

/// Runs and judges; answers the exit code.
pub(super) fn sweep(registry: &Registry, args: &SweepArgs) -> Result<u8, Refusal> {
    let profile = super::faults(&args.faults)?;
    let part = shard(args.shard, |name| std::env::var(name).ok())?;
    let planted = Planted::from_words(registry, &args.defect).map_err(|word| {
        let names = defects::all(registry).iter().map(|d| d.name).collect::<Vec<_>>().join(", ");
        Refusal::new(format!("no defect `{word}` can be planted")).hint(format!("defects: {names}"))
    })?;
    let (work, name, required, numbers) = match &args.targets[..] {
        [word] if word == EXHAUSTIVE => {
            let plans = exhaustive::plans(args.depth.unwrap_or(exhaustive::DEPTH as u64) as usize);
            let numbers = (0, plans.len() as u64 * exhaustive::FAULTS.len() as u64);
            let required = ["CLU-001", "CLU-005", "CRE-001"].map(str::to_owned).into();
            (Work::Short(plans), EXHAUSTIVE.to_owned(), required, numbers)
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
    args.defect.iter().for_each(|defect| command += &format!(" --defect {defect}"));
    let run = Run {
        seed: numbers.0,
        env: "sim".into(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        suite: name,
        faults: profile.name.clone(),
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
        let mut said = Said::new(self.args, count);
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
                    Work::Short(plans) => short_cases(setup, plans, number),
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
        let kept = self.args.report.is_some() || self.args.state.is_some();
        let state = || self.args.state.clone().unwrap_or_else(super::state_dir);
        let workshop = Workshop {
            registry: self.registry,
            setup: self.setup.clone(),
            jobs,
            time,
            again: None,
            store: kept.then(|| Store::in_state(&state())),
            run: &fold.run,
            stop: interrupt::flag(),
            terminal: std::io::stderr().is_terminal() && !self.args.quiet,
        };
        let scan = matches!(&self.work, Work::Seeds(selection) if selection.scan);
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
            let one = workshop.examine(&spec, &outcome, found, kept.count, share);
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
                // In the report: by the file of the failure.
                Work::Short(_) => "sanbench sweep exhaustive --report DIR".to_owned(),
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

/// One short plan with one kind of fault, at its first place, its second, and so on until there is none.
fn short_cases(setup: &SimSetup, plans: &[sanbench_runner::plan::Plan], number: u64) -> Outcomes {
    let kinds = exhaustive::FAULTS.len() as u64;
    let (plan, kind) = (number / kinds, (number % kinds) as usize);
    let (word, point, action) = exhaustive::FAULTS[kind];
    let Some(plan) = plans.get(plan as usize) else { return Vec::new() };
    let mut outcomes = Vec::new();
    for nth in 1.. {
        let id = format!("exhaustive/{}-{word}-{nth}", number / kinds);
        let seed = dice(number, EXHAUSTIVE, word).u64();
        let plan = exhaustive::with_fault(plan, point, action, nth);
        let spec = CaseSpec { id, story: EXHAUSTIVE.into(), plan, seed, scan: false, directed: false };
        let (outcome, _) = run_sim_case(setup, &spec);
        let fired = outcome.faults > 0;
        outcomes.push((number, outcome));
        if !fired || nth >= 1000 {
            break;
        }
    }
    outcomes
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
        let command = |id: &str| {
            let file = format!("{}.json", sanbench_reports::write::file_stem(id));
            format!("sanbench replay {}", dir.join("failures").join(file).display())
        };
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

/// What is printed.
struct Said<'a> {
    args: &'a SweepArgs,
    style: Style,
    events: Option<EventStream<std::io::Stdout>>,
    count: u64,
    done: u64,
    failed: u64,
    /// Seconds at which progress was last told.
    told: u64,
    shown: std::collections::BTreeMap<String, u64>,
    line: String,
}

impl<'a> Said<'a> {
    fn new(args: &'a SweepArgs, count: u64) -> Self {
        let color =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self {
            args,
            style: Style { color },
            events: (args.format == Format::Json).then(|| EventStream::new(std::io::stdout())),
            count,
            done: 0,
            failed: 0,
            told: 0,
            shown: Default::default(),
            line: String::new(),
        }
    }

    fn start(&mut self, run: &Run, part: Shard) {
        if let Some(events) = &mut self.events {
            let _ = events.emit(&Event::RunStarted { run, cases: self.count });
            return;
        }
        if self.args.quiet {
            return;
        }
        let of = if part.of == 1 { String::new() } else { format!(", shard {}/{}", part.index, part.of) };
        let start = Start {
            suite: format!("{}{of}", run.suite),
            env: "sim".into(),
            target: "simulated array".into(),
            seed: run.seed,
            cases: self.count,
            faults: run.faults.clone(),
            report: self.args.report.as_ref().map(|d| d.display().to_string()).unwrap_or_default(),
            ..Start::default()
        };
        let _ = print(&format!("{}\n", text::start_block(&start, self.style)));
    }

    fn outcome(&mut self, outcome: &CaseOutcome) {
        self.done += 1;
        self.failed += u64::from(outcome.case.verdict == Verdict::Failed);
        if let Some(events) = &mut self.events {
            for finding in &outcome.case.findings {
                let _ = events.emit(&Event::Finding { finding });
            }
            return;
        }
        let unfinished = !matches!(outcome.case.verdict, Verdict::Passed | Verdict::Failed);
        if unfinished {
            self.clear();
            let case = &outcome.case;
            let _ = print(&format!("  {:<7} {}  ({})\n", case.verdict.label(), case.id, case.reason));
        }
        if let Some(finding) = outcome.case.findings.first() {
            let count = self.shown.entry(finding.signature.clone()).or_default();
            *count += 1;
            if *count == 1 {
                let known = crate::register::requirement_by_id(&finding.requirement)
                    .map(|r| sanbench_reports::Requirement::new(r.id, r.level, r.statement));
                self.clear();
                let _ = print(&format!("{}\n", text::failure_block(finding, known.as_ref(), self.style)));
            }
        }
    }

    /// A failure was looked into.
    fn examined(&mut self, examined: &Examined) {
        let Some(head) = shrunk(&examined.failure) else { return };
        if let Some(events) = &mut self.events {
            let _ = events.emit(&Event::Note { message: &head });
            return;
        }
        self.clear();
        let _ = print(&format!("{head}\n{}\n", text::shrunk_block(&examined.failure, self.style)));
    }

    fn clear(&self) {
        if std::io::stderr().is_terminal() && !self.args.quiet {
            eprint!("\r\u{1b}[K");
        }
    }

    fn progress(&mut self, clock: &std::time::Instant, virtual_us: u64) {
        let seconds = clock.elapsed().as_secs();
        let terminal = std::io::stderr().is_terminal();
        if self.args.quiet || seconds < self.told + if terminal { 1 } else { 10 } {
            return;
        }
        self.told = seconds;
        let rate = self.done / seconds.max(1);
        let speed = virtual_us / 1_000_000 / seconds.max(1);
        self.line = format!(
            "{} of {} cases, {} failed, {rate} a second, virtual time {speed} x wall time",
            self.done, self.count, self.failed
        );
        if terminal {
            eprint!("\r\u{1b}[K{}", self.line);
        } else {
            eprintln!("{}", self.line);
        }
    }

    fn idle(&mut self) {
        if std::io::stderr().is_terminal() && !self.args.quiet && !self.line.is_empty() {
            eprint!("\r\u{1b}[K{} ...", self.line);
        }
    }

    fn end(&mut self, report: &Report, fold: &Fold) {
        if let Some(events) = &mut self.events {
            let _ = events.emit(&Event::run_finished(report));
            return;
        }
        self.clear();
        let table = text::end_table(report, None, self.style);
        let lines: Vec<&str> = table.lines().collect();
        let last = if self.args.quiet { &lines[lines.len().saturating_sub(2)..] } else { &lines[..] };
        let seconds = (report.run.duration_ms as f64 / 1000.0).max(0.001);
        let figures = format!(
            "{:.0} cases a minute, virtual time {:.0} x wall time",
            report.run.plans as f64 / seconds * 60.0,
            fold.virtual_us as f64 / 1e6 / seconds
        );
        let _ = print(&format!("{}\n{figures}\n", last.join("\n")));
    }
}
