//! A driver's conformance as tests of `cargo test`: every story, every required requirement and a fixed budget of generated
//! plans under faults, each a test of its own name, for any registry.
//!
//! [`conformance_tests!`](crate::conformance_tests) makes a test target of them. Each test is a run of the whole command in a
//! process of its own, so that a hang or a crash of what is judged fails one test and no more. The process is this test
//! program itself, which answers the command line when a variable of its environment says so.

use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use crate::Registry;
use crate::compose::needs_simulated_array;
use crate::targets::resolve;

/// Environment variable: the test program is asked to be the command.
const COMMAND: &str = "SANBENCH_CONFORMANCE_COMMAND";
/// Environment variable: a profile file. The tests then judge the array that it names, in one run of the default suite.
const PROFILE: &str = "SANBENCH_PROFILE";
/// Environment variable: how many generated plans are played.
const PLANS: &str = "SANBENCH_PLANS";
/// Environment variable: how many cases of each story are played in simulation.
const CASES: &str = "SANBENCH_CASES";
/// Cases of each story without [`CASES`] and where the macro says nothing; each case has its own choices.
const DEFAULT_CASES: u64 = 3;
/// Most cases of a story: a test run is no sweep.
const MOST_CASES: u64 = 1_000;
/// Generated plans that are played without [`PLANS`].
const DEFAULT_PLANS: u64 = 64;
/// Most generated plans: a test run is no sweep.
const MOST_PLANS: u64 = 100_000;
/// Generated plans in one test.
const PLANS_PER_TEST: u64 = 8;
/// Longest that a run in simulation may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Longest that the suite may take on real hardware.
const LIMIT_LIVE: Duration = Duration::from_secs(4 * 3600);

/// Makes a test target of every story, requirement and a budget of generated plans. Its `Cargo.toml` says
/// `harness = false` of the target. The argument is a `fn() -> Registry` whose first driver is the one to judge; `cases = N`
/// behind it plays N cases of each story (1 to 1,000; 3 when it is not said).
///
/// | environment | meaning |
/// |---|---|
/// | `SANBENCH_PROFILE=FILE` | judge the array of this profile instead of a simulated one |
/// | `SANBENCH_CASES=N` | play N cases of each story in simulation, whatever the macro says |
/// | `SANBENCH_PLANS=N` | play the generated plans of seeds 0 to N-1 (64; 0 is none) |
///
/// ```no_run
/// fn registry() -> sanbench::Registry {
///     sanbench::Registry::builtin().with_default_driver(sanbench::tengling_entry())
/// }
///
/// sanbench::conformance_tests!(registry);
/// ```
#[macro_export]
macro_rules! conformance_tests {
    ($registry:expr) => {
        fn main() -> ::std::process::ExitCode {
            $crate::conformance::main($registry, ::std::option::Option::None)
        }
    };
    ($registry:expr,cases = $cases:expr) => {
        fn main() -> ::std::process::ExitCode {
            $crate::conformance::main($registry, ::std::option::Option::Some($cases))
        }
    };
}

/// What [`conformance_tests!`](crate::conformance_tests) calls: the tests, or the command when a test asks for it.
pub fn main(registry: fn() -> Registry, cases: Option<u64>) -> ExitCode {
    if let Some(code) = as_command(registry) {
        return code;
    }
    let arguments = Arguments::from_args();
    match tests(&registry(), cases) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(64)
        }
    }
}

/// Answers the command line when one of the tests has started this program as the command. A test program that puts
/// [`tests`] among its own calls this before anything else.
pub fn as_command(registry: fn() -> Registry) -> Option<ExitCode> {
    std::env::var_os(COMMAND).map(|_| crate::cli(registry()))
}

/// The tests of a registry, by the environment of the process, with so many cases of each story where that says nothing; see
/// [`as_command`].
///
/// # Errors
/// A variable cannot be understood, or the registry has no suite `default`.
pub fn tests(registry: &Registry, cases: Option<u64>) -> Result<Vec<Trial>, String> {
    let profile = std::env::var_os(PROFILE).filter(|p| !p.is_empty());
    let profile = match profile {
        None => None,
        Some(path) => {
            let file = Path::new(&path);
            let full = file.canonicalize().map_err(|e| format!("{PROFILE}={}: {e}", file.display()))?;
            Some(full.to_str().ok_or_else(|| format!("{PROFILE} is not UTF-8"))?.to_owned())
        }
    };
    let cases = number(CASES, cases.unwrap_or(DEFAULT_CASES), 1..=MOST_CASES)?;
    let selection = resolve(registry, &[]).map_err(|e| e.to_string())?;
    let mut trials = Vec::new();
    for story in &selection.stories {
        let name = story.name.clone();
        // A chapter of the protocol cases has no steps.
        let kind = if story.plan.steps.is_empty() { "chapter" } else { "story" };
        let id = format!("{kind}::{name}");
        trials.push(match &profile {
            None => Trial::test(id, move || story_holds(&name, cases)),
            Some(file) => match needs_simulated_array(&story.plan) {
                None => {
                    let file = file.clone();
                    Trial::test(id, move || case_holds(&file, &name))
                }
                // Ignored, never passed.
                Some(why) => Trial::test(id, || Ok(())).with_kind(why).with_ignored_flag(true),
            },
        });
    }
    for id in selection.required {
        let file = profile.clone();
        trials
            .push(Trial::test(format!("requirement::{id}"), move || requirement_holds(file.as_deref(), &id)));
    }
    if profile.is_none() {
        let plans = number(PLANS, DEFAULT_PLANS, 0..=MOST_PLANS)?;
        let firsts = (0..plans).step_by(PLANS_PER_TEST as usize);
        trials.extend(firsts.map(|first| {
            let end = plans.min(first + PLANS_PER_TEST);
            Trial::test(format!("plans::{first}..{end}"), move || plans_hold(first, end))
        }));
    }
    Ok(trials)
}

/// The number that the environment gives, or `usual`.
fn number(variable: &str, usual: u64, range: RangeInclusive<u64>) -> Result<u64, String> {
    let value = match std::env::var_os(variable).filter(|v| !v.is_empty()) {
        None => Some(usual),
        Some(value) => value.to_str().and_then(|v| v.parse().ok()),
    };
    value
        .filter(|n| range.contains(n))
        .ok_or_else(|| format!("{variable}: a number from {} to {} is wanted", range.start(), range.end()))
}

fn story_holds(name: &str, cases: u64) -> Result<(), Failed> {
    let ran = run(&["run", name, "--cases", &cases.to_string()], LIMIT)?;
    ran.well()?;
    if ran.left.is_empty() { Ok(()) } else { Err(format!("files were left behind: {:?}", ran.left).into()) }
}

fn plans_hold(first: u64, end: u64) -> Result<(), Failed> {
    let ran = run(&["sweep", "--seeds", &format!("{first}..{end}"), "--jobs", "1"], LIMIT)?;
    ran.well()
}

/// The default suite, run once for all tests that look at its report.
fn suite(profile: Option<&str>) -> Result<&'static (Ran, Value), Failed> {
    static SUITE: OnceLock<Result<(Ran, Value), String>> = OnceLock::new();
    let made = SUITE.get_or_init(|| {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let out = dir.path().join("report");
        let path = out.to_str().ok_or("the temporary folder is not UTF-8")?;
        let mut words = vec!["run", "--report", path];
        words.extend(profile.iter().flat_map(|file| ["--env", file, "--slow"]));
        let limit = if profile.is_some() { LIMIT_LIVE } else { LIMIT };
        let ran =
            run(&words, limit).map_err(|e| e.message().unwrap_or("the command does not run").to_owned())?;
        let report = fs::read(out.join("report.json")).map_err(|e| format!("no report: {e}\n{ran}"))?;
        Ok((ran, serde_json::from_slice(&report).map_err(|e| e.to_string())?))
    });
    made.as_ref().map_err(|e| Failed::from(e.as_str()))
}

fn rows<'a>(report: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    report[list].as_array().into_iter().flatten()
}

/// A story's case in the one run on real hardware.
fn case_holds(profile: &str, story: &str) -> Result<(), Failed> {
    let (ran, report) = suite(Some(profile))?;
    let mut cases = rows(report, "cases").filter(|case| case["story"] == story).peekable();
    if cases.peek().is_none() {
        return Err(format!("the report has no case of it\n{ran}").into());
    }
    match cases.find(|case| case["verdict"] != "passed") {
        None => Ok(()),
        Some(case) => Err(format!("{case:#}").into()),
    }
}

fn requirement_holds(profile: Option<&str>, id: &str) -> Result<(), Failed> {
    let (ran, report) = suite(profile)?;
    let Some(entry) = rows(report, "requirements").find(|r| r["id"] == id) else {
        return Err(format!("the report says nothing about it\n{ran}").into());
    };
    if entry["verdict"] == "passed" && entry["required"] == true {
        return Ok(());
    }
    let findings: Vec<&Value> = rows(report, "cases")
        .flat_map(|case| rows(case, "findings"))
        .filter(|finding| finding["requirement"] == id)
        .collect();
    Err(format!("{entry:#}\n{findings:#?}").into())
}

/// What a finished command left behind.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
    /// What it has left in its folder.
    left: Vec<PathBuf>,
}

impl Ran {
    fn well(&self) -> Result<(), Failed> {
        if self.code == Some(0) { Ok(()) } else { Err(self.to_string().into()) }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            Some(code) => write!(f, "exit code {code}")?,
            None => write!(f, "ended by a signal or by the time limit")?,
        }
        write!(f, "\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err)
    }
}

/// Runs this program as the command, in a folder of its own, and ends it after `limit`.
fn run(words: &[&str], limit: Duration) -> Result<Ran, Failed> {
    let dir = tempfile::tempdir()?;
    let (out, err) = (dir.path().join("out"), dir.path().join("err"));
    let mut command = Command::new(std::env::current_exe()?);
    command.args(words).env(COMMAND, "1").current_dir(dir.path()).stdin(Stdio::null());
    command.stdout(File::create(&out)?).stderr(File::create(&err)?);
    if !words.contains(&"--env") {
        // In simulation nothing is worth keeping; with real hardware the journal stays where `clean` looks for it.
        command.env("XDG_STATE_HOME", dir.path().join("state"));
    }
    let mut process = command.spawn()?;
    let code = wait(&mut process, limit)?;
    let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let (text, errors) = (read(&out)?, read(&err)?);
    fs::remove_file(out)?;
    fs::remove_file(err)?;
    let left = fs::read_dir(dir.path())?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    Ok(Ran { code, out: text, err: errors, left })
}

#[expect(clippy::disallowed_methods, reason = "waits for a process of its own on the wall clock")]
fn wait(process: &mut std::process::Child, limit: Duration) -> std::io::Result<Option<i32>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(status.code());
        }
        if begun.elapsed() > limit {
            process.kill()?;
            process.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod unit {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_number_out_of_range_is_refused() {
        let wanted = |usual| number("SANBENCH_NOBODY_SETS_THIS", usual, 1..=3);
        assert_eq!(wanted(3), Ok(3));
        assert_eq!(wanted(0), Err("SANBENCH_NOBODY_SETS_THIS: a number from 1 to 3 is wanted".to_owned()));
        assert!(wanted(4).is_err());
    }

    #[test]
    fn every_story_and_requirement_is_a_test_of_its_name() {
        let registry = Registry::builtin();
        let trials = tests(&registry, None).expect("nothing in the environment");
        let mut kinds = BTreeMap::<&str, usize>::new();
        for trial in &trials {
            let (kind, _) = trial.name().split_once("::").expect("kind::name");
            *kinds.entry(kind).or_default() += 1;
        }
        assert_eq!(kinds["story"], registry.stories.len());
        assert_eq!(kinds["chapter"], sanbench_protocol::CHAPTERS.len());
        assert!(kinds["requirement"] > 120 && kinds["plans"] == 8, "{kinds:?}");
    }
}
