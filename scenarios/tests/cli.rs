#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
//! The command line as its users meet it: what is refused, with which words and which exit code, and that a refusal
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
//! leaves nothing behind.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[path = "support/killed.rs"]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
mod killed;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
mod support;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
use std::fs;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
use std::io::{BufRead as _, BufReader, Read as _};
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
use std::net::TcpListener;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
use std::process::Stdio;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
use std::time::Duration;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
use regex::Regex;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
use serde_json::Value;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
use support::images::Qcow2;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
use support::{Bench, Process, Ran, finish};
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
/// Calls that must be refused, each with its words; answers what stderr says, for a snapshot.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[track_caller]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn refusals(bench: &Bench, calls: &[&[&str]]) -> String {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let mut said = String::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    for words in calls {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let before = bench.everything();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let ran = bench.run(words);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let shown = format!("$ sanbench {}", words.join(" "));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(ran.code, 64, "{shown}\n{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(ran.out, "", "{shown}: stdout belongs to results\n{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert!(!ran.err.contains("panicked"), "{shown}\n{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(bench.everything(), before, "{shown}: something was left behind");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        said += &format!("{shown}\n{}\n", bench.redact(&ran.err));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    said
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn unknown_words_are_refused() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    insta::assert_snapshot!(refusals(
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &bench,
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &[
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["--frobnicate"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "--frobnicate"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["frobnicate"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["array"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["array", "frobnicate"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["list", "unicorns"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["explain", "nope"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "lifecicle"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "something-else-entirely"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "ABC-123"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "API-009"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "--env", "nope"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "--defect", "nope"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    ));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn values_out_of_range_are_refused() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    insta::assert_snapshot!(refusals(
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &bench,
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &[
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "--seed", "x"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "--seed", "18446744073709551616"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "--cases", "0"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "--jobs", "0"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "--shard", "4/4"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "--shard", "1"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "--faults", "gremlins"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["sweep"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["sweep", "--seeds", "5..5"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "--format", "xml"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["replay", "failure.json", "--tries", "0"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["clean"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["clean", "--cinder-conf", "cinder.conf"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    ));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn a_malformed_story_is_shown_with_its_place() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("verb.story", "story \"x\"\nhost compute-1\ncreate v size=1GiB\natach v compute-1\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("quote.story", "story \"x\nhost compute-1\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("size.story", "story \"x\"\ncreate v size=1.5GiB\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("name.story", "story \"x\"\ncreate v size=1GiB\nextend w size=2GiB\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("late.story", "story \"x\"\ncreate v size=1GiB\nhost compute-1\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("word.story", "story \"x\"\ncreate v size=1GiB refused=perhaps\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("twice.story", "story \"x\"\ncreate v size=1GiB size=2GiB\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("unknown.story", "story \"x\"\nrequires CLN-001 CLN-999\ncreate v size=1GiB\ndelete v\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("empty.story", "");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("latin.story", b"story \"caf\xe9\"\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("steer.story", "story \"x\"\n\x1b[2Jcreate v size=1GiB\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    fs::create_dir(bench.path().join("folder.story")).unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let words = [
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "verb.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "quote.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "size.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "name.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "late.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "word.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "twice.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "unknown.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "empty.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "latin.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "steer.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "folder.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "missing.story",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    ];
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let calls: Vec<Vec<&str>> = words.iter().map(|w| vec!["run", *w]).collect();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let calls: Vec<&[&str]> = calls.iter().map(Vec::as_slice).collect();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let said = refusals(&bench, &calls);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert!(!said.contains('\u{1b}'), "a file must not steer the terminal: {said:?}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    insta::assert_snapshot!(said);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn a_malformed_profile_is_shown_with_its_place_and_without_its_secrets() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let good = "tengling_sanip = \"http://127.0.0.1:9/deviceManager/rest/\"\ntengling_username = \"admin\"\ntengling_password = \"hunter2hunter2\"\ntengling_storagepool = \"pool0\"\n";
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("syntax.toml", "[backend\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("open.toml", "[backend]\ntengling_password = \"hunter2hunter2\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("bare.toml", "[backend]\ntengling_password = hunter2hunter2\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("list.toml", "[backend]\ntengling_password = [\"hunter2hunter2\"]\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("key.toml", format!("[backend]\n{good}tengling_colour = \"green\"\n"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("secret-key.toml", format!("[backend]\n{good}tengling_secret_colour = \"hunter2hunter2\"\n"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("depth.toml", format!("[backend]\n{good}tengling_max_clone_depth = \"deep\"\n"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("ip.toml", format!("[backend]\n{}", good.replace("http://", "gopher://")));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("missing.toml", "[backend]\ntengling_username = \"admin\"\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("table.toml", format!("[backend]\n{good}[colours]\ngreen = 1\n"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("limit.toml", format!("[backend]\n{good}[limits]\ncapacity_gib = 0\n"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write(
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "driver.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        format!("[backend]\nvolume_driver = \"cinder.volume.drivers.lvm.LVMVolumeDriver\"\n{good}"),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    );
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("fine.toml", format!("[backend]\n{good}"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("latin.toml", b"[backend]\nname = \"caf\xe9\"\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let words = [
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "syntax.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "open.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "bare.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "list.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "key.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "secret-key.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "depth.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "ip.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "missing.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "table.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "limit.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "driver.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "latin.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "absent.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    ];
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let mut calls: Vec<Vec<&str>> = words.iter().map(|w| vec!["run", "unmap", "--env", *w]).collect();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    // Nothing may be left by the options that make files either.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    calls.push(vec![
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "run",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "unmap",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "--env",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "key.toml",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "--report",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "out/deep",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "--pcap",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "run.pcapng",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "--state",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "state",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    ]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    calls.push(vec!["run", "unmap", "--env", "fine.toml", "--defect", "masking_ignored"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    calls.push(vec!["clean", "--profile", "key.toml"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    calls.push(vec!["clean", "--profile", "absent.toml"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let calls: Vec<&[&str]> = calls.iter().map(Vec::as_slice).collect();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let said = refusals(&bench, &calls);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert!(!said.contains("hunter2"), "a secret was shown:\n{said}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    insta::assert_snapshot!(said);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn a_malformed_cinder_conf_is_shown_with_its_place() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("good.conf", "[tldriver]\ntengling_sanip = 127.0.0.1:9\ntengling_username = a\ntengling_password = hunter2hunter2\ntengling_storagepool = pool0\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("bad.conf", "[tldriver]\ntengling_password hunter2hunter2\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("key.conf", "[tldriver]\ntengling_sanip = 127.0.0.1:9\ntengling_username = a\ntengling_password = hunter2hunter2\ntengling_storagepool = pool0\ntengling_clone_depth = 3\n");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let said = refusals(
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &bench,
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &[
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["clean", "--cinder-conf", "bad.conf", "--backend", "tldriver"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["clean", "--cinder-conf", "key.conf", "--backend", "tldriver"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["clean", "--cinder-conf", "good.conf", "--backend", "other"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["clean", "--cinder-conf", "absent.conf", "--backend", "tldriver"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    );
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert!(!said.contains("hunter2"), "a secret was shown:\n{said}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    insta::assert_snapshot!(said);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn a_hostile_image_is_refused_by_name() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let good = Qcow2::default();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("good.qcow2", good.bytes());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("empty.img", b"");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("backing.qcow2", Qcow2 { backing: true, ..good }.bytes());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("data-file.qcow2", Qcow2 { incompatible: 1 << 2, ..good }.bytes());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("zstd.qcow2", Qcow2 { incompatible: 1 << 3, compression: 1, ..good }.bytes());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("extended-l2.qcow2", Qcow2 { incompatible: 1 << 4, ..good }.bytes());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("dirty.qcow2", Qcow2 { incompatible: 1, ..good }.bytes());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("future.qcow2", Qcow2 { incompatible: 1 << 40, ..good }.bytes());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("absurd.qcow2", Qcow2 { size: 1 << 62, ..good }.bytes());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("greedy.qcow2", Qcow2 { l1_entries: u32::MAX, ..good }.bytes());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("large.qcow2", Qcow2 { size: 20 << 30, l1_entries: 40, ..good }.bytes());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let whole = good.bytes();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("truncated.qcow2", &whole[..whole.len() / 2]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("cut.qcow2", &whole[..5 * whole.len() / 6]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("header-only.qcow2", &whole[..60]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let wrong_table = {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut bytes = whole.clone();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        // The L1 table is said to lie far behind the end of the file.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        bytes[40..48].copy_from_slice(&(1u64 << 50).to_be_bytes());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        bytes
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    };
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("wild-table.qcow2", wrong_table);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    fs::create_dir(bench.path().join("folder.img")).unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let words = [
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "empty.img",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "backing.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "data-file.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "zstd.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "extended-l2.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "dirty.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "future.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "absurd.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "greedy.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "large.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "truncated.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "cut.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "header-only.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "wild-table.qcow2",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "folder.img",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        "missing.img",
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    ];
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let calls: Vec<Vec<&str>> = words.iter().map(|w| vec!["run", "images", "--image", *w]).collect();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let calls: Vec<&[&str]> = calls.iter().map(Vec::as_slice).collect();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    insta::assert_snapshot!(refusals(&bench, &calls));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    // The image that all of them were made from is fine, so each was refused for its own flaw.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let ran = bench.run(&["run", "images", "--image", "good.qcow2"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!(ran.code, 0, "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn places_that_cannot_be_written_are_refused() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("file", b"x");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    fs::create_dir(bench.path().join("folder")).unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    insta::assert_snapshot!(refusals(
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &bench,
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &[
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "unmap", "--report", "file"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "unmap", "--report", "file/below"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "unmap", "--report", "/proc/sanbench"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "unmap", "--pcap", "missing/run.pcapng"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "unmap", "--pcap", "folder"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["run", "unmap", "--report", "new/report", "--pcap", "missing/run.pcapng"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    ));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn an_array_that_cannot_listen_is_refused() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let address = taken.local_addr().unwrap().to_string();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let said = refusals(
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &bench,
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &[
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["array", "serve", "--rest", &address],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["array", "serve", "--iscsi", "127.0.0.1:0", "--iscsi", &address],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["array", "serve", "--control", "--rest", "192.0.2.1:0"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["array", "serve", "--control", "--rest", "0.0.0.0:0"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["array", "serve", "--rest", "localhost"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["array", "serve", "--product", "a b"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["array", "serve", "--export", "disk0"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["array", "serve", "--export", "disk0=100B"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["array", "serve", "--pool", "p=0"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    );
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    insta::assert_snapshot!(said.replace(&taken.local_addr().unwrap().port().to_string(), "[taken]"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn what_is_no_recorded_failure_is_not_replayed() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("garbage.json", b"\x00\xff garbage");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("empty.json", b"");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("plain.json", b"{}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    bench.write("list.json", b"[1,2,3]");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    insta::assert_snapshot!(refusals(
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &bench,
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &[
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["replay", "garbage.json"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["replay", "empty.json"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["replay", "plain.json"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["replay", "list.json"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["replay", "missing.json"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["replay", "."],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    ));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn a_failure_of_another_schema_or_with_a_wrong_plan_is_not_replayed() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let ran =
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        bench.run(&["run", "unmap", "--defect", "unmap_out_of_bounds", "--report", "out", "--shrink", "off"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!(ran.code, 1, "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let folder = bench.path().join("out/failures");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let file = fs::read_dir(folder)
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        .unwrap()
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        .map(|e| e.unwrap().path())
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        .find(|p| p.extension().is_some_and(|e| e == "json"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let failure: Value = serde_json::from_slice(&fs::read(file.unwrap()).unwrap()).unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let change = |name: &str, pointer: &str, to: Value| {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut failure = failure.clone();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        *failure.pointer_mut(pointer).unwrap() = to;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        bench.write(name, failure.to_string());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    };
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    change("schema.json", "/schema", "sanbench.failure/99".into());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    change("plan.json", "/plan", "story \"x\"\nnonsense\n".into());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    change("defect.json", "/run/planted", serde_json::json!(["nope"]));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    change("env.json", "/run/env", "nowhere".into());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let said = refusals(
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &bench,
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        &[
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["replay", "schema.json"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["replay", "plan.json"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["replay", "defect.json"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["replay", "env.json"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    );
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    insta::assert_snapshot!(said);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
/// Ended in an orderly way, whatever the code.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[track_caller]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn orderly(ran: &Ran) {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert!(ran.code != 101 && !ran.err.contains("panicked"), "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn a_closed_pipe_is_the_readers_right() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    for words in [
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["list", "requirements", "--format", "json"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["run", "unmap", "--cases", "3", "--format", "json"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["run", "unmap", "--cases", "3", "--trace"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["run", "--help"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    ] {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut command = bench.command(words);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut reader = BufReader::new(process.0.stdout.take().unwrap());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut line = String::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        reader.read_line(&mut line).unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert!(!line.is_empty());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        drop(reader);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let code = process.wait(Duration::from_secs(60));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut err = String::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        process.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        orderly(&Ran { code: code.unwrap(), out: line, err });
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
/// The commands, as words.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
const COMMANDS: &[&[&str]] =
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    &[&[], &["run"], &["list"], &["explain"], &["replay"], &["array", "serve"], &["clean"], &["doctor"]];
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn every_help_ends_with_two_worked_examples() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    for words in COMMANDS {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut words = words.to_vec();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        words.push("--help");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let ran = bench.run(&words);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(ran.code, 0, "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let (_, examples) =
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            ran.out.rsplit_once("Examples:\n").unwrap_or_else(|| panic!("no examples: {ran}"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let examples: Vec<&str> = examples.lines().filter(|l| !l.trim().is_empty()).collect();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(examples.len(), 2, "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert!(examples.iter().all(|e| e.starts_with("  sanbench")), "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn the_examples_of_the_help_are_understood() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    // What an example names may be missing here, but its words must be words of the command line.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    for words in COMMANDS {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut words = words.to_vec();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        words.push("--help");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let help = bench.run(&words).out;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        for example in help.lines().filter_map(|l| l.strip_prefix("  sanbench ")) {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            let example = example.split("   ").next().unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            let mut words: Vec<&str> = example.split_whitespace().collect();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            if words.first() == Some(&"array") || words.is_empty() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
                continue;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            if words[0] == "run" {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
                // The words are read before the image is looked for.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
                words.extend(["--image", "missing.img"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
                words.retain(|w| !w.ends_with(".qcow2"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
                let ran = finish(bench.command(&words), Duration::from_secs(60));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
                assert!(!ran.err.contains("unexpected argument"), "{example}: {ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
                continue;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            let ran = bench.run(&words);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            orderly(&ran);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            assert!(!ran.err.contains("Usage:"), "{example}: {ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn the_json_stream_is_numbered_and_ends_with_the_verdict() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    for (words, exit) in [
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        (vec!["run", "unmap", "masking", "--format", "json"], 0),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        (vec!["run", "unmap", "--defect", "unmap_out_of_bounds", "--format", "json"], 1),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    ] {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let ran = bench.run(&words);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(ran.code, exit, "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let events = ran.events();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        for (n, event) in events.iter().enumerate() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            assert_eq!(event["schema"], "sanbench.event/1", "{event}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            assert_eq!(event["seq"], n, "{event}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            assert!(event["type"].is_string(), "{event}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let count = |kind: &str| events.iter().filter(|e| e["type"] == kind).count();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(events[0]["type"], "run-started");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let last = events.last().unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(last["type"], "run-finished");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(last["exit"], exit);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!((count("run-started"), count("run-finished")), (1, 1));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(count("case-started"), count("case-finished"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(events[0]["cases"], count("case-finished"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert!(count("step") > 0);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(count("finding") > 0, exit == 1);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn nothing_is_coloured_where_nobody_looks() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    for no_color in ["", "1"] {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut command =
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            bench.command(&["run", "unmap", "--defect", "unmap_out_of_bounds", "--shrink", "1"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let ran = finish(
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            std::mem::replace(command.env("NO_COLOR", no_color), bench.command(&[])),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            Duration::from_secs(60),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        );
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(ran.code, 1, "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn quiet_says_the_verdict_alone() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let ran = bench.run(&["run", "unmap", "--quiet"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    // The verdict, and the figures of the run with its seed and hash.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!(ran.out.lines().count(), 2, "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert!(ran.out.starts_with("CONFORMANT: "), "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn an_interrupt_ends_a_long_run_with_130() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    for signal in ["INT", "TERM"] {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut command =
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            bench.command(&["run", "unmap", "--cases", "100000", "--format", "json", "--report", "out"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert!(lines.any(|l| l.unwrap().contains("case-finished")), "no case ended");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        process.signal(signal);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let last = lines.map(|l| l.unwrap()).last().unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(process.wait(Duration::from_secs(60)), Some(130));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let last: Value = serde_json::from_str(&last).unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!((&last["type"], &last["exit"]), (&"run-finished".into(), &130.into()));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let report = support::json(&bench.path().join("out/report.json"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(report["verdict"], "incomplete");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(report["run"]["history_sha256"], Value::Null, "a part of a run has no hash");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut err = String::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        process.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert!(err.contains("interrupted"), "{err}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
/// Interrupts a call once its stdout shows `at`; answers what it said. A case at work ends at its next step.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn interrupted(bench: &Bench, words: &[&str], at: &str) -> Ran {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let mut command = bench.command(words);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let mut out = String::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert!(lines.any(|l| l.unwrap().contains(at)), "never said {at}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    process.signal("INT");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    lines.for_each(|l| out += &(l.unwrap() + "\n"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let code = process.wait(Duration::from_secs(60)).unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let mut err = String::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    process.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    Ran { code, out, err }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn an_interrupt_ends_every_command_that_plays_stories_and_leaves_nothing() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    // Over real sockets, in the middle of a story.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let words = ["run", "lifecycle", "clone-chain", "snapshots", "--env", "loopback", "--report", "out"];
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let ran = interrupted(&bench, &words, "report");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!(ran.code, 130, "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let report = support::json(&bench.path().join("out/report.json"));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!(report["verdict"], "incomplete");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!(report["leftovers"], serde_json::json!([]));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    // While a plan is shrunk: what was reached is written, and the code is 130 all the same.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let words =
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["run", "clone-chain", "--defect", "flatten_skips_hole", "--report", "shrinking", "--shrink", "600"];
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let ran = interrupted(&bench, &words, "FAILED");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!(ran.code, 130, "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let file = bench.path().join("shrinking/failures/clone-chain-0-1.json");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert!(file.is_file(), "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    // Outside the simulation a replay is tried often.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let words = ["replay", file.to_str().unwrap(), "--env", "loopback", "--tries", "1000"];
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let ran = interrupted(&bench, &words, "clone-chain/0");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!(ran.code, 130, "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert!(ran.out.contains("interrupted; reproduced") && ran.out.contains("replay "), "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn a_second_interrupt_ends_at_once() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let mut command = bench.command(&["run", "--cases", "100000", "--format", "json"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert!(lines.any(|l| l.unwrap().contains("case-finished")), "no case ended");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    // Nobody reads on: the pipe fills up and the first signal alone cannot end it.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    support::wait_until(Duration::from_millis(500), || false);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    process.signal("INT");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    support::wait_until(Duration::from_millis(500), || false);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    process.signal("INT");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!(process.wait(Duration::from_secs(10)), Some(130));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn a_served_array_says_when_it_is_ready_and_ends_on_a_signal() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let shape = Regex::new(r"^iscsi://127\.0\.0\.1:\d+/iqn\.[^/]+/\d+$").unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    for signal in ["INT", "TERM"] {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let mut array = support::array::Served::start(
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &bench,
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            &["--export", "disk0=1GiB", "--export", "disk1=512MiB", "--pool", "gold=10GiB"],
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        );
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let ready = &array.ready;
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let keys: Vec<&String> = ready.as_object().unwrap().keys().collect();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(keys, ["exports", "password", "pools", "portals", "rest", "target_iqn", "user"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(ready["pools"], serde_json::json!(["gold"]));
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(ready["portals"].as_array().unwrap().len(), 2);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(ready["exports"].as_array().unwrap().len(), 2);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let url = ready["exports"][0]["url"].as_str().unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert!(shape.is_match(url), "{url}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        array.process.signal(signal);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(array.process.wait(Duration::from_secs(20)), Some(0), "ends on {signal}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!(bench.everything(), Vec::<String>::new(), "it leaves nothing");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn lists_and_explanations_read_well() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let mut all = String::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    for words in [
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["list", "drivers"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["list", "suites"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["list", "faults"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["list", "defects"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["explain", "create"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["explain", "CLN-005"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["explain", "D17"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["explain", "target.login"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        ["explain", "unmap"].as_slice(),
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    ] {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let ran = bench.run(words);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        all += &format!("$ sanbench {}\n{}\n", words.join(" "), ran.out);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    insta::assert_snapshot!(all);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn every_list_is_json_when_asked() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    for what in ["stories", "suites", "requirements", "faults", "defects", "drivers"] {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let ran = bench.run(&["list", what, "--format", "json"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert_eq!(ran.code, 0, "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert!(!rows.is_empty());
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        for row in rows {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            let id = row["id"].as_str().unwrap();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            assert!(!row["title"].as_str().unwrap().is_empty(), "{row}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            // Whatever is listed can be explained, but for drivers, which have no page of their own.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            if what == "stories" || what == "suites" || what == "faults" || what == "defects" {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
                assert_eq!(bench.run(&["explain", id]).code, 0, "explain {id}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
            }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
#[test]
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn doctor_says_what_this_machine_can_run() {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let bench = Bench::new();
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let ran = bench.run(&["doctor", "--state", "state"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!(ran.code, 0, "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    for word in ["sim", "loopback", "profiles", "qemu-img", "tshark"] {
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
        assert!(ran.out.contains(word), "{ran}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    }
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    let blocked = bench.run(&["doctor", "--state", "/proc/sanbench"]);
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
    assert_eq!(blocked.code, 2, "{blocked}");
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
}
