//! `sanbench selftest`: clean runs must be clean, and every planted defect must be caught by a requirement that names it.
//!
//! `directed` plays each defect's own stories; `swarm` gives it random plans until one of them shows it. Both answer one row
//! for each defect; this file chooses, tells and reports.

mod directed;
mod probes;
mod swarm;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use sanbench_reports::event::{Event, EventStream};
use sanbench_reports::text::{self, Style};
use sanbench_reports::{Case, Defect, Ending, Extras, Finding, Report, Run, Verdict, write_dir};
use sanbench_runner::CaseSpec;
use sanbench_runner::generate::Profile;

use super::run::prepare_dir;
use crate::cli::{Format, SelftestArgs};
use crate::compose::{SimSetup, run_sim_case};
use crate::defects::{self, Plantable, Planted, Waiting};
use crate::failure::Refusal;
use crate::interrupt;
use crate::registry::Registry;
use crate::run::{Workshop, one_case, print, wall_clock};
use crate::targets;

/// What a selftest is about.
struct Selftest<'a> {
    registry: &'a Registry,
    args: &'a SelftestArgs,
    chosen: Vec<Plantable>,
    waiting: Vec<Waiting>,
    jobs: usize,
}

/// Runs and judges; answers the exit code.
pub(super) fn selftest(registry: &Registry, args: &SelftestArgs) -> Result<u8, Refusal> {
    let (chosen, waiting) = choose(registry, &args.defects)?;
    if let Some(dir) = &args.report {
        prepare_dir("--report", dir)?;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(cores, |n| usize::try_from(n).unwrap_or(cores));
    let test = Selftest { registry, args, chosen, waiting, jobs };
    // What is wrong with the words, the stories or the state folder is said before anything runs.
    let stories = test.stories()?;
    let nightly = args.swarm.then(|| swarm::Swarm::open(&test)).transpose()?;
    interrupt::listen();
    let clock = wall_clock();
    let mut told = Told::new(args);
    let mut report = Report { run: test.head(), ..Report::default() };
    told.start(&test, &report.run, stories.len());
    report.cases = test.clean(&stories, &mut told);
    report.defects = match nightly {
        None => directed::judge(&test, &mut told),
        Some(nightly) => {
            let (rows, alarms) = nightly.judge(&test, &mut told);
            report.cases.extend(alarms);
            rows
        }
    };
    report.defects.extend(test.waiting.iter().map(waits));
    report.defects.sort_by(|a, b| (order(&a.id), &a.switch).cmp(&(order(&b.id), &b.switch)));
    if interrupt::stopped() {
        report.ending = Ending::Interrupted;
    }
    report.run.duration_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    report.settle();
    let mut files = Vec::new();
    if let Some(dir) = &args.report {
        match write_dir(&report, &Extras::default(), dir) {
            Ok(written) => files.extend(written),
            Err(e) => {
                report.ending = Ending::BenchError(format!("--report {}: {e}", dir.display()));
                report.settle();
            }
        }
    }
    told.end(&report, &files);
    Ok(report.exit_code())
}

/// The catalogue in its order, then the rest.
fn order(id: &str) -> (u8, String) {
    match id.as_bytes() {
        [b'D', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => (0, id.to_owned()),
        [b'B', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => (1, id.to_owned()),
        _ => (2, id.to_owned()),
    }
}

/// The defects that the words name: by switch, by catalogue id, by home; none means all.
fn choose(registry: &Registry, words: &[String]) -> Result<(Vec<Plantable>, Vec<Waiting>), Refusal> {
    // What no story shows yet is in the other list.
    let all: Vec<Plantable> = defects::all(registry).into_iter().filter(|d| d.directed().is_some()).collect();
    let waiting = defects::waiting();
    if words.is_empty() {
        return Ok((all, waiting.to_vec()));
    }
    let names = |d: &Plantable, word: &str| d.name == word || d.catalogue == word || d.home == word;
    for word in words {
        if !all.iter().any(|d| names(d, word)) && !waiting.iter().any(|w| w.id == word) {
            let shown: String = word.chars().filter(|c| !c.is_control()).take(80).collect();
            return Err(Refusal::new(format!("no defect is called `{shown}`"))
                .hint("a switch, an id of the catalogue or a part: see `sanbench list defects`"));
        }
    }
    let named = |d: &Plantable| words.iter().any(|word| names(d, word));
    let waits = |w: &&Waiting| words.iter().any(|word| w.id == word);
    Ok((all.into_iter().filter(named).collect(), waiting.iter().filter(waits).copied().collect()))
}

/// A row for a defect that nothing can be planted in yet.
fn waits(waiting: &Waiting) -> Defect {
    let known = crate::register::defects().iter().find(|d| d.id == waiting.id);
    Defect {
        id: waiting.id.to_owned(),
        home: known.map(|d| d.home.to_owned()).unwrap_or_default(),
        expected: known.map(|d| d.caught_by.iter().map(|id| (*id).to_owned()).collect()).unwrap_or_default(),
        waits_for: waiting.waits_for.to_owned(),
        ..Defect::default()
    }
}

/// The finding among these that names the defect, as `requirement (checker)`.
fn named<'f>(findings: &'f [Finding], by: &[&str]) -> Option<&'f Finding> {
    findings.iter().find(|f| by.contains(&f.requirement.as_str()))
}

/// Steps of the shortest plan that shows the defect in the same way, found in so long or once it has so few steps; nothing
/// where the case did not fail again.
fn shrunk(
    test: &Selftest<'_>,
    defect: &Plantable,
    setup: &SimSetup,
    spec: &CaseSpec,
    finding: &Finding,
    (time, enough): (Duration, usize),
) -> Option<u64> {
    let run = Run { planted: vec![defect.name.to_owned()], ..test.head() };
    let workshop = Workshop {
        registry: test.registry,
        setup: setup.clone(),
        // Directed stories are shrunk beside each other already.
        jobs: if test.args.swarm { test.jobs } else { 1 },
        time: Some(time),
        enough,
        again: None,
        store: None,
        run: &run,
        stop: interrupt::flag(),
        terminal: test.args.swarm
            && io::stderr().is_terminal()
            && !test.args.quiet
            && test.args.format == Format::Human,
    };
    workshop.shrink(spec, finding, time).map(|shorter| shorter.shrinking.to)
}

impl Selftest<'_> {
    fn head(&self) -> Run {
        let mut command = "sanbench selftest".to_owned();
        for word in &self.args.defects {
            command += &format!(" {word}");
        }
        if self.args.swarm {
            command += &format!(" --swarm --seeds {}", self.args.seeds);
        }
        if self.args.seed != 1 {
            command += &format!(" --seed {}", self.args.seed);
        }
        Run {
            seed: self.args.seed,
            env: "sim".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            suite: "selftest".to_owned(),
            faults: "none".to_owned(),
            command,
            ..Run::default()
        }
    }

    /// A bench with these defects.
    fn setup(&self, planted: Planted) -> Result<SimSetup, Refusal> {
        let driver = self.registry.judged(&planted.driver);
        Ok(SimSetup {
            driver: driver.ok_or_else(|| Refusal::new("no driver is built in"))?,
            planted,
            image: None,
            keep_history: false,
            capture: false,
        })
    }

    /// Case `k` of a story or chapter; the same one as `run` has under that seed.
    fn case(&self, story: &str, k: u64) -> Result<CaseSpec, Refusal> {
        let selection = targets::resolve(self.registry, &[story.to_owned()])?;
        let quiet = Profile::by_name("none").unwrap_or_default();
        let chosen = selection.stories.first();
        let chosen = chosen.ok_or_else(|| Refusal::new(format!("{story} is no story")))?;
        let spec = one_case(chosen, self.args.seed, k, &quiet, false);
        Ok(CaseSpec { id: format!("{story}/{k}"), ..spec })
    }

    /// The stories of the chosen defects, each once; they are read here, so that a broken one is refused before any runs.
    fn stories(&self) -> Result<Vec<CaseSpec>, Refusal> {
        let names: BTreeSet<&str> =
            self.chosen.iter().filter_map(Plantable::directed).flat_map(|d| d.stories.clone()).collect();
        names
            .into_iter()
            .filter(|name| probes::by_name(name).is_none())
            .map(|name| self.case(name, 0))
            .collect()
    }

    /// Without defects nobody may raise an alarm.
    fn clean(&self, stories: &[CaseSpec], told: &mut Told) -> Vec<Case> {
        let Ok(setup) = self.setup(Planted::default()) else { return Vec::new() };
        let cases = crate::run::run_all(
            stories,
            self.jobs,
            interrupt::flag(),
            |spec| {
                let (outcome, _) = run_sim_case(&setup, spec);
                let mut case = outcome.case;
                for finding in &mut case.findings {
                    finding.replay = format!("sanbench run {} --seed {}", spec.story, self.args.seed);
                }
                // A case that the user stopped is no alarm.
                let cut_off = interrupt::stopped() && case.verdict == Verdict::Unknown;
                (!cut_off).then_some(case)
            },
            |case| case.iter().for_each(|case| told.clean(case)),
        );
        let mut cases: Vec<Case> = cases.into_iter().flatten().collect();
        if interrupt::stopped() {
            return cases;
        }
        if self.chosen.iter().any(|d| d.home == "bench") {
            for probe in probes::ALL {
                let case = probe.clean_case(self);
                told.clean(&case);
                cases.push(case);
            }
        }
        cases
    }
}

/// What is said while it goes on: results on stdout, progress on stderr.
struct Told {
    quiet: bool,
    style: Style,
    events: Option<EventStream<io::Stdout>>,
    progress: bool,
    alarms: u64,
    missed: u64,
    done: u64,
    total: u64,
}

impl Told {
    fn new(args: &SelftestArgs) -> Self {
        let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self {
            quiet: args.quiet,
            style: Style { color },
            events: (args.format == Format::Json).then(|| EventStream::new(io::stdout())),
            progress: io::stderr().is_terminal() && !args.quiet && args.format == Format::Human,
            alarms: 0,
            missed: 0,
            done: 0,
            total: 0,
        }
    }

    fn start(&mut self, test: &Selftest<'_>, run: &Run, stories: usize) {
        self.total = stories as u64 + test.chosen.len() as u64;
        if let Some(events) = &mut self.events {
            let _ = events.emit(&Event::RunStarted { run, cases: self.total });
        } else if !self.quiet {
            let mode = if test.args.swarm { "random plans" } else { "their own stories" };
            let _ = print(&format!(
                "sanbench {} selftest: {stories} stories without a defect, then {} defects by {mode}\n\n",
                run.version,
                test.chosen.len()
            ));
        }
    }

    /// A clean case is over.
    fn clean(&mut self, case: &Case) {
        self.alarms += u64::from(case.verdict != Verdict::Passed);
        if let Some(events) = &mut self.events {
            for finding in &case.findings {
                let _ = events.emit(&Event::Finding { finding });
            }
            let _ = events.emit(&Event::case_finished(case));
        } else if case.verdict != Verdict::Passed {
            self.clear();
            let _ = print(&format!("  FALSE ALARM {}: {}\n", case.id, case.reason));
        }
        self.step(&case.id);
    }

    /// A case beside those that were planned has failed without a defect.
    fn alarm(&mut self, case: &Case) {
        self.total += 1;
        self.clean(case);
    }

    /// A defect has been looked for.
    fn defect(&mut self, defect: &Defect) {
        self.missed += u64::from(defect.missed());
        if let Some(events) = &mut self.events {
            let _ = events.emit(&Event::Defect { defect });
        } else if defect.missed() {
            self.clear();
            let _ = print(&format!(
                "  MISSED {} {}: expected {}{}\n",
                defect.id,
                defect.switch,
                defect.expected.join(" or "),
                if defect.note.is_empty() { String::new() } else { format!(", {}", defect.note) }
            ));
        }
        self.step(&defect.switch);
    }

    fn step(&mut self, what: &str) {
        self.done += 1;
        if self.progress {
            let line = text::progress_line(self.done, self.total, self.alarms + self.missed, what, 0);
            eprint!("\r\u{1b}[K{line}");
        }
    }

    /// What a long search is doing.
    fn doing(&self, what: &str) {
        if self.progress {
            eprint!("\r\u{1b}[K{what}");
        }
    }

    fn clear(&self) {
        if self.progress {
            eprint!("\r\u{1b}[K");
            let _ = io::stderr().flush();
        }
    }

    fn end(&mut self, report: &Report, files: &[std::path::PathBuf]) {
        if let Some(events) = &mut self.events {
            let _ = events.emit(&Event::run_finished(report));
            return;
        }
        self.clear();
        let table = text::end_table(report, None, self.style);
        if self.quiet {
            let lines: Vec<&str> = table.lines().collect();
            let last = &lines[lines.len().saturating_sub(2)..];
            let _ = print(&format!("{}\n", last.join("\n")));
            return;
        }
        let _ = print(&format!("\n{table}"));
        if let Some(file) = files.iter().find(|f| f.ends_with("report.html")) {
            let _ = print(&format!("\nreport: {}\n", file.display()));
        }
    }
}
