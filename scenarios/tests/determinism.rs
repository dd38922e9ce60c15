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
