//! What a failing run writes, and that a recorded failure can be played again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::{Value, json as value};
use support::{Bench, Ran, json};

/// Plants what makes it fail.
const FAILING: &[&str] = &["run", "lifecycle", "--defect", "flatten_skips_hole", "--seed", "5"];

/// A run that fails, since an array that forgets extents while it flattens cannot keep FLT-001.
fn failing(bench: &Bench) -> Ran {
    let ran = bench.run(&[FAILING, &["--report", "out", "--shrink", "off"]].concat());
    assert_eq!(ran.code, 1, "{ran}");
    ran
}

fn failure_files(bench: &Bench) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(bench.path().join("out/failures")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "json"));
    files.sort();
    assert!(!files.is_empty(), "a failing run records its failures");
    files
}

#[test]
fn report_json_keeps_its_schema_whether_the_run_passed_or_failed() {
    let bench = Bench::new();
    failing(&bench);
    let passed = bench.run(&["run", "unmap", "--report", "good"]);
    assert_eq!(passed.code, 0, "{passed}");
    for dir in ["out", "good"] {
        let dir = bench.path().join(dir);
        let schema = json(&dir.join("report.schema.json"));
        let report = json(&dir.join("report.json"));
        let validator = jsonschema::validator_for(&schema).unwrap();
        let wrong: Vec<String> =
            validator.iter_errors(&report).map(|e| format!("{}: {e}", e.instance_path)).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let mut broken = report;
        broken["verdict"] = value!("splendid");
        assert!(!validator.is_valid(&broken), "the schema must be able to say no");
    }
}

#[test]
fn the_sums_of_a_report_add_up() {
    let bench = Bench::new();
    failing(&bench);
    let report = json(&bench.path().join("out/report.json"));
    assert_eq!(report["schema"], "sanbench.report/1");
    assert_eq!(report["verdict"], "not-conformant");
    assert_eq!(report["run"]["planted"], value!(["flatten_skips_hole"]));
    let count = |key: &str| report["counts"][key].as_u64().unwrap();
    let parts = ["passed", "failed", "unknown", "waived", "not_run"].map(count);
    assert_eq!(count("required"), parts.iter().sum::<u64>());
    assert!(count("failed") > 0);
    let required = report["requirements"].as_array().unwrap().iter().filter(|r| r["required"] == true);
    let failed = required.clone().filter(|r| r["verdict"] == "failed").count() as u64;
    let left_out = required.clone().filter(|r| r["verdict"] == "not_applicable").count() as u64;
    assert_eq!((failed, required.count() as u64 - left_out), (count("failed"), count("required")));
    assert_eq!(report["run"]["history_sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn junit_xml_is_well_formed_and_names_every_case() {
    use quick_xml::events::Event;
    let bench = Bench::new();
    failing(&bench);
    let text = fs::read_to_string(bench.path().join("out/junit.xml")).unwrap();
    let mut reader = quick_xml::Reader::from_str(&text);
    let (mut open, mut cases, mut failures) = (Vec::new(), 0, 0);
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => break,
            Event::Start(tag) => open.push(tag.name().as_ref().to_vec()),
            Event::End(tag) => assert_eq!(open.pop().as_deref(), Some(tag.name().as_ref())),
            _ => continue,
        }
        match open.last().map(Vec::as_slice) {
            Some(b"testcase") => cases += 1,
            Some(b"failure") => failures += 1,
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?} is not closed");
    assert!(cases > 0 && failures > 0, "{cases} cases and {failures} failures in\n{text}");
    assert!(text.contains("lifecycle/0"), "{text}");
}

#[test]
fn report_html_needs_nothing_from_elsewhere() {
    let bench = Bench::new();
    failing(&bench);
    let page = fs::read_to_string(bench.path().join("out/report.html")).unwrap();
    assert!(page.contains("<!DOCTYPE html>") && page.contains("FLT-001"), "{page}");
    let foreign = Regex::new(r#"https?://[^\s"'<>]+"#).unwrap();
    let found: Vec<&str> = foreign
        .find_iter(&page)
        .map(|m| m.as_str())
        .filter(|u| !u.starts_with("http://www.w3.org/"))
        .collect();
    assert!(found.is_empty(), "references to other places: {found:?}");
    let loads =
        Regex::new(r#"(?i)<(script|link|img|iframe|object|embed)[^>]+(src|href)\s*=|@import|url\("#).unwrap();
    assert!(!loads.is_match(&page), "loads something: {:?}", loads.find(&page));
}

#[test]
fn a_recorded_failure_is_found_again() {
    let bench = Bench::new();
    let ran = failing(&bench);
    for file in failure_files(&bench) {
        let failure = json(&file);
        assert_eq!(failure["schema"], "sanbench.failure/1");
        let signature = failure["finding"]["signature"].as_str().unwrap();
        assert!(ran.out.contains(failure["finding"]["replay"].as_str().unwrap()), "{ran}");
        let again = bench.run(&["replay", file.to_str().unwrap()]);
        assert_eq!(again.code, 1, "{again}");
        assert!(again.out.contains(&format!("the same failure: {signature}")), "{again}");
    }
}

/// The file with one change, beside the original.
fn changed(bench: &Bench, file: &Path, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut failure = json(file);
    change(&mut failure);
    bench.write(name, serde_json::to_vec_pretty(&failure).unwrap())
}

#[test]
fn a_repaired_array_passes_the_replay_and_another_failure_is_told_apart() {
    let bench = Bench::new();
    failing(&bench);
    let file = failure_files(&bench).remove(0);
    let repaired = changed(&bench, &file, "repaired.json", |f| f["run"]["planted"] = value!([]));
    let ran = bench.run(&["replay", repaired.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran}");
    let other =
        changed(&bench, &file, "other.json", |f| f["finding"]["signature"] = value!("data:lun:something"));
    let ran = bench.run(&["replay", other.to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{ran}");
}

#[test]
fn a_failed_protocol_case_is_replayed_from_its_file() {
    let bench = Bench::new();
    let ran = bench.run(&["run", "protocol-session", "--defect", "stat_sn_skips", "--report", "out"]);
    assert_eq!(ran.code, 1, "{ran}");
    let file = failure_files(&bench).remove(0);
    let again = bench.run(&["replay", file.to_str().unwrap()]);
    assert_eq!(again.code, 1, "{again}");
    let repaired = changed(&bench, &file, "repaired.json", |f| f["run"]["planted"] = value!([]));
    let ran = bench.run(&["replay", repaired.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran}");
}

#[test]
fn the_plan_beside_a_failure_is_a_story_that_runs() {
    let bench = Bench::new();
    failing(&bench);
    let story = failure_files(&bench).remove(0).with_extension("story");
    let story = story.to_str().unwrap();
    let healthy = bench.run(&["run", story, "--seed", "5"]);
    assert_eq!(healthy.code, 0, "{healthy}");
    let defective = bench.run(&["run", story, "--seed", "5", "--defect", "flatten_skips_hole"]);
    assert_eq!(defective.code, 1, "{defective}");
}

#[test]
fn a_capture_is_written_where_it_was_asked_for() {
    let bench = Bench::new();
    let ran = bench.run(&["run", "unmap", "--pcap", "run.pcapng"]);
    assert_eq!(ran.code, 0, "{ran}");
    let bytes = fs::read(bench.path().join("run.pcapng")).unwrap();
    assert!(bytes.len() > 10_000 && bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "a pcapng section header");
    assert_eq!(bench.everything(), ["run.pcapng"], "nothing else was left");
}

/// The commands that README.md shows for a planted defect and its replay do what it says.
#[test]
fn the_newcomers_planted_defect_is_caught_and_replayed() {
    let readme = fs::read_to_string(support::workspace().join("README.md")).unwrap();
    let commands: Vec<Vec<&str>> = readme
        .split('`')
        .filter_map(|code| code.strip_prefix("sanbench "))
        .map(|words| words.split_whitespace().collect())
        .collect();
    let planted = commands.iter().position(|words| words.contains(&"--defect"));
    let at = planted.expect("README.md plants a defect in the first ten minutes");
    let bench = Bench::new();
    let run = bench.run(&commands[at]);
    assert_eq!(run.code, 1, "sanbench {}: {run}", commands[at].join(" "));
    let replay = commands[at..].iter().find(|words| words[0] == "replay").expect("and replays it");
    let again = bench.run(replay);
    assert_eq!(again.code, 1, "sanbench {}: {again}", replay.join(" "));
}

/// Copies of the clone chain one after the other, under names of their own, with waits between them.
fn long_story(bench: &Bench, copies: usize) -> PathBuf {
    let chain = fs::read_to_string(support::workspace().join("scenarios/stories/clone-chain.story")).unwrap();
    let (head, steps): (Vec<&str>, Vec<&str>) = chain
        .lines()
        .filter(|l| !l.is_empty())
        .partition(|l| ["story", "requires", "option", "host"].iter().any(|verb| l.starts_with(verb)));
    let names = Regex::new(r"\bc([0-9])\b").unwrap();
    let mut text = head.join("\n");
    for copy in 0..copies {
        for step in &steps {
            text += &format!("\n{}", names.replace_all(step, format!("x{copy}c$1").as_str()));
        }
        text += "\nwait 20";
    }
    bench.write("long.story", text + "\n")
}

fn steps_of(story: &Path) -> Vec<String> {
    let head = ["story", "requires", "option", "pool", "host", "type", "image", "fault", "write-cache"];
    let text = fs::read_to_string(story).unwrap();
    text.lines().filter(|l| !head.iter().any(|verb| l.starts_with(verb))).map(str::to_owned).collect()
}

#[test]
fn a_long_plan_is_shrunk_to_a_story_that_fails_alone() {
    let bench = Bench::new();
    let story = long_story(&bench, 4);
    assert!(steps_of(&story).len() > 100);
    let story = story.to_str().unwrap();
    let defect = ["--defect", "flatten_skips_hole"];
    let ran = bench.run(&[&["run", story, "--report", "out", "--shrink", "100"][..], &defect].concat());
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.out.contains("shrunk "), "{ran}");
    let file = failure_files(&bench).remove(0);
    let failure = json(&file);
    let (from, to) = (&failure["shrunk"]["from"], failure["shrunk"]["to"].as_u64().unwrap());
    assert_eq!((from.as_u64().unwrap() > 100, to <= 8), (true, true), "{from} -> {to}\n{ran}");
    assert_eq!(steps_of(&file.with_extension("story")).len() as u64, to);
    // The file replays alone, tells what happened, and needs the defect.
    let again = bench.run(&["replay", file.to_str().unwrap(), "--trace"]);
    assert_eq!(again.code, 1, "{again}");
    for wanted in [
        "step by step",
        "first divergent event",
        "expected and observed",
        "management calls of the failing step",
        "iSCSI PDUs of the failing step",
        "READ LBA",
        "by writer 1",
        "the same failure: data:volume:zeroed",
    ] {
        assert!(again.out.contains(wanted), "{wanted}: {again}");
    }
    assert!(!again.out.contains("goes another way"), "the history is the recorded one: {again}");
    let healthy = changed(&bench, &file, "healthy.json", |f| f["run"]["planted"] = value!([]));
    let ran = bench.run(&["replay", healthy.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.out.contains("goes another way"), "without the defect the history differs: {ran}");
    // The page has it all in itself.
    let page = fs::read_to_string(bench.path().join("out/report.html")).unwrap();
    for wanted in ["<svg class=\"timeline\"", "First divergent event", "shrunk from", "sanbench replay"] {
        assert!(page.contains(wanted), "{wanted}");
    }
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "nothing from elsewhere");
    // A second run knows what the first has found out.
    let store = bench.everything();
    for name in ["earliest.json", "smallest.story", "seen.json", "best.json"] {
        assert!(
            store.iter().any(|p| p.starts_with("~/state/sanbench/failures/") && p.ends_with(name)),
            "{store:?}"
        );
    }
    let plans = failure["shrunk"]["runs"].as_u64().unwrap();
    let ran = bench.run(&[&["run", story, "--report", "out", "--shrink", "100"][..], &defect].concat());
    assert_eq!(ran.code, 1, "{ran}");
    let after = json(&failure_files(&bench)[0]);
    if failure["shrunk"]["complete"] == true {
        assert_eq!(after["shrunk"]["runs"].as_u64().unwrap(), plans, "nothing is tried twice");
    }
}

#[test]
fn hundreds_of_findings_are_a_few_files() {
    let bench = Bench::new();
    let ran = bench.run(&["run", "protocol", "--defect", "stat_sn_skips", "--report", "out"]);
    assert_eq!(ran.code, 1, "{ran}");
    let report = json(&bench.path().join("out/report.json"));
    let cases = report["cases"].as_array().unwrap();
    let failed = cases.iter().filter(|c| c["verdict"] == "failed").count();
    let files = failure_files(&bench);
    let findings = || cases.iter().flat_map(|c| c["findings"].as_array().unwrap());
    let broken = findings().map(|f| f["requirement"].as_str().unwrap()).collect::<BTreeSet<_>>().len();
    assert!(files.len() <= 5 * failed + broken, "{} files for {failed} failed cases", files.len());
    // Every finding names a file that is there.
    for finding in findings() {
        let replay = finding["replay"].as_str().unwrap();
        let file = replay.strip_prefix("sanbench replay ").unwrap();
        assert!(bench.path().join(file).is_file(), "{replay}");
    }
}
