//! Each story, each requirement, generated plans and each planted defect as a test of its own, named at run time.
//!
//! Stories, requirements and plans are the tests that a vendor's crate gets with `sanbench::conformance_tests!`. Every planted
//! defect must be caught by the stories that are directed at it (`scenarios/data/directed.tsv`), by a requirement that says what
//! is wrong.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod support;

use std::collections::BTreeSet;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use sanbench::{Registry, conformance};
use serde_json::Value;
use support::{Bench, json};

fn main() -> ExitCode {
    if let Some(code) = conformance::as_command(Registry::builtin) {
        return code;
    }
    let arguments = Arguments::from_args();
    let mut trials = conformance::tests(&Registry::builtin(), None).unwrap();
    for (defect, reason) in planted() {
        trials.push(match reason {
            None => Trial::test(format!("defect::{defect}"), move || is_caught(&defect)),
            // Ignored, never passed: what it would be planted in is not built.
            Some(reason) => {
                Trial::test(format!("defect::{defect}"), || Ok(())).with_kind(reason).with_ignored_flag(true)
            }
        });
    }
    trials.push(Trial::test("protocol::everything_passes", protocol_holds));
    trials.push(Trial::test("faults::none_of_a_story_is_idle", faults_fire));
    trials.push(Trial::test("faults::a_call_that_hangs_is_no_flattens_doing", told_apart));
    trials.push(Trial::test("protocol::is_followed_in_every_story", followed));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A story whose fault never fires shows nothing of it and is told; none of the built-in ones is such a story.
fn faults_fire() -> Result<(), Failed> {
    const IDLE: &str = "ever fired";
    let bench = Bench::new();
    let lines = "story \"idle\"\narm \"link.send:Op\" do=fail\ncreate v size=1GiB\ndelete v\n";
    bench.write("idle.story", lines);
    let idle = bench.run(&["run", "idle.story"]);
    if !idle.out.contains("idle: no fault at \"link.send:Op\" ever fired") {
        return Err(idle.to_string().into());
    }
    let all = bench.run(&["run", "default", "--quiet"]);
    if all.code == 0 && !all.out.contains(IDLE) { Ok(()) } else { Err(all.to_string().into()) }
}

/// An operation that waited for a call that hung did not wait for the flatten beside it, also when an earlier fault at the same
/// point was taken away.
fn told_apart() -> Result<(), Failed> {
    let bench = Bench::new();
    let lines = "story \"hung\"\nrequires FLT-001\nhost h\n\ncreate a size=1GiB\ncreate c size=1GiB volume=a\n\
        arm \"rest.before:POST lun\" nth=1 do=delay ms=1000000\ncreate b size=1GiB\ndisarm\n\
        arm job.* nth=1 do=delay ms=30000 masked=yes\n@a flatten c\n@b wait 2\n\
        @b arm \"rest.before:POST lun\" nth=1 do=delay ms=1000000\n@b create d size=1GiB\ndisarm\nverify c\nsettle\n";
    bench.write("hung.story", lines);
    let ran = bench.run(&["run", "hung.story"]);
    if ran.code == 0 { Ok(()) } else { Err(ran.to_string().into()) }
}

/// What a target sends is followed on every connection, whatever a story is about: a StatSN that skips a number is seen in one
/// about paths.
fn followed() -> Result<(), Failed> {
    let bench = Bench::new();
    let ran = bench.run(&["run", "two-paths", "--defect", "stat_sn_skips", "--shrink", "off"]);
    let seen = ran.out.contains("FAILED ISC-008") && ran.out.contains("checker wire");
    if ran.code == 1 && seen { Ok(()) } else { Err(ran.to_string().into()) }
}

/// The protocol cases against our own target: all pass, and two runs say the same.
fn protocol_holds() -> Result<(), Failed> {
    let bench = Bench::new();
    let mut hashes = BTreeSet::new();
    for dir in ["one", "two"] {
        let ran = bench.run(&["run", "protocol", "--report", dir]);
        if ran.code != 0 {
            return Err(ran.to_string().into());
        }
        let report = json(&bench.path().join(dir).join("report.json"));
        hashes.insert(report["run"]["history_sha256"].as_str().unwrap().to_owned());
    }
    if hashes.len() == 1 { Ok(()) } else { Err(format!("two histories: {hashes:?}").into()) }
}

/// Every defect of the register: its switch; or its catalogue id, and what it waits for.
fn planted() -> Vec<(String, Option<String>)> {
    let bench = Bench::new();
    let ran = bench.run(&["list", "defects", "--format", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.iter()
        .map(|row| match row["built"] == true {
            true => (text(row, "id"), None),
            false => (text(row, "mark"), Some(format!("waits for {}", text(row, "waits_for")))),
        })
        .collect()
}

/// The stories of the defect pass without it, and with it a requirement fails that names it.
fn is_caught(defect: &str) -> Result<(), Failed> {
    let bench = Bench::new();
    let ran = bench.run(&["selftest", defect, "--shrink", "off", "--report", "out"]);
    let report = json(&bench.path().join("out/report.json"));
    let rows = report["defects"].as_array().unwrap();
    let caught = !rows.is_empty() && rows.iter().all(|row| row["caught"] == true && row["switch"] == defect);
    if ran.code == 0 && caught { Ok(()) } else { Err(ran.to_string().into()) }
}
