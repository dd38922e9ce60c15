//! Real sockets and a real clock: paths are really cut there, and slow stories are left out unless they are asked for.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod support;

use serde_json::{Value, json};
use support::Bench;

/// Cuts that sessions survive, one direction and both, one path and all, and a way that is slow.
const CUTS: &str = "story \"Short cuts cost time and nothing else\"
requires MPX-001 MPX-006
host compute-1 paths=2

create v size=1GiB
attach v compute-1
write v at=0 length=64KiB
cut compute-1 path=1
write v at=0 length=64KiB
heal compute-1 path=1
cut compute-1 path=2 way=to-host
write v at=64KiB length=64KiB
heal compute-1
verify v
@io write v at=32KiB length=64KiB
@net cut compute-1
@net wait 2
@net heal compute-1
slow compute-1 ms=20 segment=1000
write v at=16KiB length=4KiB
verify v
detach v compute-1
delete v
census
";

fn report(bench: &Bench) -> Value {
    support::json(&bench.path().join("out/report.json"))
}

fn verdict_of(report: &Value, id: &str) -> Value {
    let all = report["requirements"].as_array().unwrap();
    all.iter().find(|entry| entry["id"] == id).map_or(Value::Null, |entry| entry["verdict"].clone())
}

#[test]
fn paths_over_loopback_are_really_cut_and_judged() {
    let bench = Bench::new();
    bench.write("cuts.story", CUTS);
    let ran = bench.run(&["run", "cuts.story", "--env", "loopback", "--report", "out"]);
    assert_eq!(ran.code, 0, "{ran}");
    let report = report(&bench);
    assert_eq!(report["verdict"], "conformant", "{ran}");
    for id in ["MPX-001", "MPX-006"] {
        assert_eq!(verdict_of(&report, id), "passed", "{ran}");
    }
    assert_eq!(report["run"]["left_out"], json!([]), "a story that is named is played");
    assert!(!ran.out.contains("short form"), "{ran}");
    // Each cut and each heal is a line of the history: the network was really asked for it.
    let history = std::fs::read_to_string(bench.path().join("out/history/cuts-0.jsonl")).unwrap();
    let events = |word: &str| history.matches(&format!("\"event\":\"{word}\"")).count();
    assert_eq!((events("cut"), events("heal")), (4, 5), "{ran}");
}

#[test]
fn the_short_form_is_said_and_what_it_leaves_out_is_named() {
    let bench = Bench::new();
    // No case of the suite is in this shard, so that nothing is played and everything is said.
    let words = ["run", "default", "--env", "loopback", "--shard", "1/2", "--report", "out"];
    let ran = bench.run(&words);
    assert_eq!(ran.code, 2, "{ran}");
    assert!(ran.out.contains("INCOMPLETE (short form: "), "{ran}");
    assert!(ran.out.contains(" slow stories left out, see --slow): "), "{ran}");
    assert!(ran.out.contains("not judged here and not required: "), "{ran}");
    let short = report(&bench);
    let left_out = short["run"]["left_out"].as_array().unwrap().clone();
    for name in ["path-loss", "relogin", "reservation"] {
        assert!(left_out.contains(&json!(name)) && ran.out.contains(name), "{name}\n{ran}");
    }
    let markdown = std::fs::read_to_string(bench.path().join("out/report.md")).unwrap();
    assert!(markdown.contains("incomplete (short form: "), "{markdown}");

    let whole = bench.run(&[&words[..], &["--slow"]].concat());
    assert_eq!(whole.code, 2, "{whole}");
    assert!(!whole.out.contains("short form"), "{whole}");
    let whole = report(&bench);
    assert_eq!(whole["run"]["left_out"], json!([]));
    let required = |report: &Value| report["counts"]["required"].as_u64().unwrap();
    assert!(required(&short) < required(&whole), "{short}");
    // The simulation has no slow stories.
    let ran = bench.run(&["run", "default", "--shard", "1/2"]);
    assert!(!ran.out.contains("short form"), "{ran}");
}
