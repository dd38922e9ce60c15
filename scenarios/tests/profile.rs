//! The third environment: an array of which the bench knows addresses and credentials and nothing else. Here it is a
//! process of its own; on it lives a LUN of somebody else, which no run may touch.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod linked;
mod support;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::{Value, json};
use support::array::Served;
use support::{Bench, Process, Ran};

/// An array with a canary on it, and a profile that names it.
struct Lab {
    bench: Bench,
    array: Served,
    canary: Value,
    before: Value,
}

impl Lab {
    fn new(profile: &str) -> Self {
        let bench = Bench::new();
        let array = Served::start(&bench, &["--control"]);
        let foreigner = array.foreigner();
        let canary = foreigner.make_lun("canary");
        foreigner.leave();
        bench.write("lab.toml", array.profile(profile));
        let before = array.counts();
        Self { bench, array, canary, before }
    }

    fn run(&self, stories: &[&str], more: &[&str]) -> Ran {
        let mut words = vec!["run"];
        words.extend(stories);
        words.extend(["--env", "lab.toml", "--state", "state"]);
        words.extend(more);
        self.bench.run(&words)
    }

    /// Nothing of the bench is on the array, and the canary is as it was.
    #[track_caller]
    fn assert_clean(&self) {
        let state = self.array.state();
        assert_eq!(state["counts"], self.before, "something is left on the array");
        assert_eq!(state["sessions"], 0, "a management session is left");
        self.assert_canary();
    }

    #[track_caller]
    fn assert_canary(&self) {
        let foreigner = self.array.foreigner();
        let now = foreigner.lun(self.canary["ID"].as_str().unwrap());
        foreigner.leave();
        for key in ["NAME", "WWN", "CAPACITY", "DESCRIPTION"] {
            assert_eq!(now[key], self.canary[key], "the canary was touched: {now}");
        }
    }

    /// Journals that are not closed.
    fn open_journals(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(self.bench.path().join("state")) else { return 0 };
        let texts = entries.map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap());
        texts.filter(|text| !text.lines().any(|l| l == r#"{"entry":"closed"}"#)).count()
    }
}

#[test]
fn stories_hold_on_an_array_that_the_bench_does_not_know() {
    let lab = Lab::new("");
    let ran = lab.run(&["clone-chain", "masking", "two-paths", "unmap"], &["--report", "out"]);
    assert_eq!(ran.code, 0, "{ran}");
    lab.assert_clean();
    assert_eq!(lab.open_journals(), 0);
    let report = support::json(&lab.bench.path().join("out/report.json"));
    assert_eq!(report["verdict"], "conformant");
    assert_eq!(report["run"]["history_sha256"], Value::Null, "only a simulation has a hash");
    assert_eq!(report["leftovers"], json!([]));
    // Neither the report nor what was printed carries the credentials.
    let password = lab.array.ready["password"].as_str().unwrap();
    for file in ["report.json", "report.html", "report.md", "junit.xml"] {
        let text = std::fs::read_to_string(lab.bench.path().join("out").join(file)).unwrap();
        assert!(!text.contains(password), "{file} shows the password");
    }
    assert!(!ran.out.contains(password) && !ran.err.contains(password), "{ran}");
    for entry in support::listing(&lab.bench.path().join("out/history")) {
        let text = std::fs::read_to_string(lab.bench.path().join("out/history").join(&entry)).unwrap();
        assert!(!text.contains(password), "history {entry} shows the password");
    }
}

#[test]
fn chap_and_a_cinder_section_hold_there_too() {
    let lab = Lab::new(
        "use_chap_auth = true\nchap_username = \"bench\"\nchap_password = \"Secret-12-chars!\"\ntengling_max_clone_depth = 2\n",
    );
    let ran = lab.run(&["chap", "silent-parents"], &["--trace"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(!ran.out.contains("Secret-12-chars!"), "the trace shows a CHAP secret:\n{}", ran.out);
    lab.assert_clean();
}

#[test]
fn what_cannot_be_played_there_was_not_run() {
    let lab = Lab::new("");
    let ran = lab.run(&["scheduling", "lost-replies", "masking"], &["--report", "out"]);
    assert_eq!(ran.code, 2, "{ran}");
    let report = support::json(&lab.bench.path().join("out/report.json"));
    assert_eq!(report["verdict"], "incomplete");
    for case in report["cases"].as_array().unwrap() {
        let expected = if case["story"] == "masking" { "passed" } else { "not_run" };
        assert_eq!(case["verdict"], expected, "{case}");
        assert_eq!(case["reason"] == "", expected == "passed", "a reason is given: {case}");
    }
    assert!(
        !support::requirements(&report, "passed").contains(&"SCH-005".to_owned()),
        "a skip is never a pass"
    );
    lab.assert_clean();
}

#[test]
fn clean_removes_what_a_killed_run_left_and_nothing_else() {
    let lab = Lab::new("");
    let words =
        ["run", "clone-chain", "--env", "lab.toml", "--state", "state", "--cases", "50", "--format", "json"];
    let mut command = lab.bench.command(&words);
    let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    // Events come when a case is over; the array itself says when the next is in full swing.
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().contains("case-finished")), "no case ended");
    let luns = |state: &Value| state["counts"]["lun"].as_u64().unwrap_or(0);
    let busy = support::wait_until(std::time::Duration::from_secs(30), || {
        let state = lab.array.state();
        luns(&state) >= 3 && state["counts"]["mappingview"].as_u64().unwrap_or(0) > 0
    });
    assert!(busy, "{}", lab.array.state());
    process.signal("KILL");
    process.wait(std::time::Duration::from_secs(10)).unwrap();
    let left = lab.array.state();
    assert!(luns(&left) >= 2 && left["counts"] != lab.before, "the killed run left something: {left}");
    assert_eq!(lab.open_journals(), 1);

    let clean = || lab.bench.run(&["clean", "--profile", "lab.toml", "--state", "state"]);
    let first = clean();
    assert_eq!(first.code, 0, "{first}");
    assert!(first.out.contains("removed lun ") && first.out.contains(", 0 left"), "{first}");
    assert_eq!(lab.array.counts(), lab.before, "{first}");
    lab.assert_canary();
    assert_eq!(lab.open_journals(), 0);
    let second = clean();
    assert_eq!(second.code, 0, "{second}");
    assert!(second.out.starts_with("nothing to clean"), "{second}");
    assert_eq!(lab.array.counts(), lab.before);
}

#[test]
fn clean_leaves_the_objects_of_another_array_and_another_journal_alone() {
    let lab = Lab::new("");
    // A journal of a run against some other array: its tag must not be used here.
    std::fs::create_dir(lab.bench.path().join("state")).unwrap();
    let journal =
        "{\"entry\":\"run\",\"tag\":\"0badcafe\",\"array\":\"http://192.0.2.1/deviceManager/rest/\"}\n";
    lab.bench.write("state/run-0badcafe.jsonl", journal);
    let foreigner = lab.array.foreigner();
    foreigner.make_lun("0badcafe-0123456789abcdef012345");
    foreigner.leave();
    let before = lab.array.counts();
    let ran = lab.bench.run(&["clean", "--profile", "lab.toml", "--state", "state"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.out.starts_with("nothing to clean"), "{ran}");
    assert_eq!(lab.array.counts(), before);
    lab.assert_canary();
}

#[test]
fn limits_hold_before_the_first_write() {
    for (limits, says) in [
        // clone-chain has several volumes of 1 GiB at once.
        ("[limits]\ncapacity_gib = 1\n", "limit capacity_gib = 1: the story needs"),
        ("[limits]\nobjects = 2\n", "limit objects = 2: the story needs"),
    ] {
        let lab = Lab::new(limits);
        let ran = lab.run(&["clone-chain"], &["--report", "out"]);
        assert_eq!(ran.code, 2, "what did not run is not passed: {ran}");
        let report = support::json(&lab.bench.path().join("out/report.json"));
        let case = &report["cases"][0];
        assert_eq!(case["verdict"], "not_run", "{ran}");
        assert!(case["reason"].as_str().unwrap().starts_with(says), "{ran}");
        lab.assert_clean();
        let journal = std::fs::read_dir(lab.bench.path().join("state")).unwrap().next().unwrap().unwrap();
        let journal = std::fs::read_to_string(journal.path()).unwrap();
        assert!(!journal.contains("intend"), "nothing was even meant to be made: {journal}");
    }
    // One that fits is played.
    let lab = Lab::new("[limits]\ncapacity_gib = 2\nobjects = 4\n");
    let ran = lab.run(&["unmap"], &[]);
    assert_eq!(ran.code, 0, "{ran}");
    lab.assert_clean();
}

#[test]
fn an_array_that_is_not_there_makes_the_run_incomplete() {
    let bench = Bench::new();
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    bench.write(
        "lab.toml",
        format!("[backend]\ntengling_sanip = \"http://127.0.0.1:{port}/deviceManager/rest/\"\ntengling_username = \"a\"\ntengling_password = \"b\"\ntengling_storagepool = \"pool0\"\n"),
    );
    let ran = bench.run(&["run", "unmap", "--env", "lab.toml", "--state", "state", "--report", "out"]);
    assert_eq!(ran.code, 2, "{ran}");
    let report = support::json(&bench.path().join("out/report.json"));
    assert_eq!(report["verdict"], "incomplete");
    let reasons: Vec<&str> =
        report["cases"].as_array().unwrap().iter().filter_map(|c| c["reason"].as_str()).collect();
    assert!(reasons.iter().any(|r| r.contains("127.0.0.1")), "the reason names the address: {reasons:?}");
    let cleaned = bench.run(&["clean", "--profile", "lab.toml", "--state", "state"]);
    assert!(matches!(cleaned.code, 0 | 2), "{cleaned}");
}

#[test]
fn wrong_credentials_make_the_run_incomplete_and_are_not_shown() {
    let lab = Lab::new("");
    let right = lab.array.ready["password"].as_str().unwrap();
    let profile = lab.array.profile("").replace(right, "not-the-pass-word");
    lab.bench.write("lab.toml", profile);
    let ran = lab.run(&["unmap"], &[]);
    assert_eq!(ran.code, 2, "{ran}");
    assert!(!ran.out.contains("not-the-pass-word") && !ran.err.contains("not-the-pass-word"), "{ran}");
    assert_eq!(lab.array.counts(), lab.before);
}

#[test]
fn an_interrupted_run_cleans_up_behind_itself() {
    let lab = Lab::new("");
    let words =
        ["run", "unmap", "--env", "lab.toml", "--state", "state", "--cases", "1000", "--format", "json"];
    let mut command = lab.bench.command(&words);
    let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().contains("case-finished")), "no case ended");
    process.signal("INT");
    for line in lines {
        line.unwrap();
    }
    assert_eq!(process.wait(std::time::Duration::from_secs(30)), Some(130));
    lab.assert_clean();
    assert_eq!(lab.open_journals(), 0);
}
