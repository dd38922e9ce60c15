//! One seed, one history: in two processes, with one job or two. Another seed, another history.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{Bench, json};

/// Stories that between them use images, clones, two paths, CHAP and placed faults.
const STORIES: &[&str] = &["lifecycle", "clone-chain", "lost-replies", "unmap"];

/// What one run leaves for comparison: the hash, the histories, the report without what the wall clock decides.
struct Trace {
    hash: String,
    histories: BTreeMap<String, Vec<u8>>,
    report: Value,
}

fn trace(name: &str, more: &[&str]) -> Trace {
    let bench = Bench::new();
    let mut words = vec!["run"];
    words.extend(STORIES);
    words.extend(["--report", name]);
    words.extend(more);
    let ran = bench.run(&words);
    assert_ne!(ran.code, 64, "{ran}");
    let dir = bench.path().join(name);
    let mut report = json(&dir.join("report.json"));
    report["run"]["duration_ms"] = Value::Null;
    let hash = report["run"]["history_sha256"].as_str().unwrap().to_owned();
    Trace { hash, histories: files(&dir.join("history")), report }
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

#[track_caller]
fn assert_same(one: &Trace, two: &Trace) {
    assert_eq!(one.histories.keys().collect::<Vec<_>>(), two.histories.keys().collect::<Vec<_>>());
    for (name, bytes) in &one.histories {
        let lines =
            |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
        if *bytes != two.histories[name] {
            let (a, b) = (lines(bytes), lines(&two.histories[name]));
            let at = a.iter().zip(&b).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()));
            panic!("{name} differs from line {}:\n{:?}\n{:?}", at + 1, a.get(at), b.get(at));
        }
    }
    assert_eq!(one.hash, two.hash);
}

#[test]
fn the_same_seed_gives_byte_identical_histories_in_two_processes() {
    let (one, two) = (trace("out", &["--seed", "7"]), trace("out", &["--seed", "7"]));
    assert_same(&one, &two);
    assert_eq!(one.histories.len(), STORIES.len());
    assert!(one.histories.values().all(|h| h.len() > 1000), "a history of a whole story is not empty");
    assert_eq!(one.report, two.report, "the report too, but for wall-clock time");
}

#[test]
fn another_seed_gives_another_history() {
    let (one, two) = (trace("out", &["--seed", "7"]), trace("out", &["--seed", "8"]));
    assert_ne!(one.hash, two.hash);
    for (name, bytes) in &one.histories {
        assert_ne!(*bytes, two.histories[name], "{name}");
    }
}

#[test]
fn the_number_of_jobs_changes_nothing() {
    let one = trace("out", &["--seed", "3", "--cases", "2", "--jobs", "1"]);
    let two = trace("out", &["--seed", "3", "--cases", "2", "--jobs", "2"]);
    assert_eq!(one.histories.len(), 2 * STORIES.len());
    assert_same(&one, &two);
}

#[test]
fn a_shard_plays_its_cases_as_the_whole_run_does() {
    let whole = trace("out", &["--seed", "3", "--cases", "3"]);
    let part = trace("out", &["--seed", "3", "--cases", "3", "--shard", "1/3"]);
    assert_eq!(part.histories.len(), STORIES.len());
    for (name, bytes) in &part.histories {
        assert_eq!(whole.histories.get(name), Some(bytes), "{name}");
    }
}

/// The report of a sweep, and its histories by its own account.
fn swept(more: &[&str]) -> (Value, String) {
    let bench = Bench::new();
    let mut words = vec!["sweep", "--seeds", "100..130", "--faults", "heavy", "--report", "out"];
    words.extend(more);
    let ran = bench.run(&words);
    assert!(ran.code != 64 && ran.code != 4, "{ran}");
    let report = json(&bench.path().join("out/report.json"));
    let lines = fs::read_to_string(bench.path().join("out/histories.sha256")).unwrap();
    (report, lines)
}

fn hash(report: &Value) -> String {
    report["run"]["history_sha256"].as_str().unwrap().to_owned()
}

fn sweep(more: &[&str]) -> (String, String) {
    let (report, lines) = swept(more);
    (hash(&report), lines)
}

#[test]
fn generated_plans_with_faults_and_lanes_have_one_history_each() {
    let (report, lines) = swept(&["--jobs", "1"]);
    let one = hash(&report);
    // Marks look for words of the history; those of what happens all the time are found there.
    let marks = report["coverage"]["marks"].as_object().unwrap();
    for often in [
        "sometimes a connection ends without logout",
        "sometimes a flow fails half-way",
        "sometimes a host hears a unit attention",
        "sometimes a host logs in again after it lost its session",
        "sometimes a path fails under I/O",
        "sometimes a step is passed over because what it needs is in doubt",
        "sometimes an operation is refused as it must be",
    ] {
        assert!(marks[often].as_u64() > Some(0), "{often}");
    }
    let (two, again) = sweep(&["--jobs", "2"]);
    assert_eq!(lines.lines().count(), 30);
    assert_eq!(lines, again);
    assert_eq!(one, two);
}

#[test]
fn a_planted_hash_order_is_found_by_the_comparison_of_two_processes() {
    let leak = ["--defect", "leak_hash_order"];
    let (one, two) = (sweep(&leak), sweep(&leak));
    assert_ne!(one, two, "two processes agree on the order of a hash map: the comparison sees nothing");
}

/// A report without what the wall clock decides and without its own folder's name.
fn timeless(dir: &Path) -> Value {
    let mut report = json(&dir.join("report.json"));
    report["run"]["duration_ms"] = Value::Null;
    for case in report["cases"].as_array_mut().unwrap() {
        for finding in case["findings"].as_array_mut().unwrap() {
            finding["replay"] = Value::Null;
        }
    }
    report
}

#[test]
fn merged_shards_are_the_whole_sweep() {
    let bench = Bench::new();
    // A defect, so that there are failures to merge.
    let words =
        ["sweep", "--seeds", "7..43", "--faults", "none", "--defect", "clone_shares_writes", "--quiet"];
    let run = |more: &[&str]| bench.run(&[&words[..], more].concat());
    let whole = run(&["--report", "whole"]);
    assert_eq!(whole.code, 1, "{whole}");
    for index in ["0", "1", "2"] {
        let ran = run(&["--report", index, "--shard", &format!("{index}/3")]);
        assert!(ran.code == 0 || ran.code == 1, "{ran}");
    }
    // One task of an array job is the same shard.
    let mut task = bench.command(&[&words[..], &["--report", "task"]].concat());
    for (name, value) in [("ID", "5"), ("MIN", "1"), ("STEP", "2"), ("COUNT", "3")] {
        task.env(format!("SLURM_ARRAY_TASK_{name}"), value);
    }
    support::finish(task, std::time::Duration::from_secs(120));
    assert_eq!(timeless(&bench.path().join("task")), timeless(&bench.path().join("2")));

    let part = bench.run(&["report", "merge", "2", "0", "--report", "some"]);
    assert!(part.out.contains("not-conformant") || part.code == 1 || part.code == 0, "{part}");
    let merged = bench.run(&["report", "merge", "2", "0", "1", "--report", "merged"]);
    assert_eq!(merged.code, 1, "{merged}");
    let (one, two) = (timeless(&bench.path().join("whole")), timeless(&bench.path().join("merged")));
    assert!(one["run"]["history_sha256"].is_string());
    assert_eq!(one, two);
    assert_eq!(bench.run(&["report", "merge", "0", "0", "--report", "twice"]).code, 64);
}

/// A sweep without end gets these signals at once after a while, and ends with its report, which is answered.
fn interrupted(signals: &[&str]) -> Value {
    let bench = Bench::new();
    let words = ["sweep", "--seeds", "0..100000000", "--faults", "none", "--report", "out", "--quiet"];
    let mut process = support::Process(bench.command(&words).spawn().unwrap());
    let ended = || process.0.try_wait().unwrap().is_some();
    assert!(!support::wait_until(std::time::Duration::from_secs(2), ended));
    signals.iter().for_each(|signal| process.signal(signal));
    assert_eq!(process.wait(std::time::Duration::from_secs(60)), Some(130));
    let report = json(&bench.path().join("out/report.json"));
    assert_eq!(report["verdict"], "incomplete");
    report
}

#[test]
fn an_interrupted_sweep_reports_what_it_has_found() {
    let report = interrupted(&["INT"]);
    assert!(report["run"]["plans"].as_u64().unwrap() > 0);
    assert!(report["run"]["history_sha256"].is_null());
}

/// One wish for an end may come as several signals: `timeout` sends one to the process and one to its group.
#[test]
fn signals_that_come_together_are_one() {
    interrupted(&["INT", "INT", "TERM"]);
}
