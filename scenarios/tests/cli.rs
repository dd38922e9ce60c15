//! The command line as its users meet it: what is refused, with which words and which exit code, and that a refusal
//! leaves nothing behind.

#[path = "support/killed.rs"]
mod killed;
mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;
use support::images::Qcow2;
use support::{Bench, Process, Ran, finish};

/// Calls that must be refused, each with its words; answers what stderr says, for a snapshot.
#[track_caller]
fn refusals(bench: &Bench, calls: &[&[&str]]) -> String {
    let mut said = String::new();
    for words in calls {
        let before = bench.everything();
        let ran = bench.run(words);
        let shown = format!("$ sanbench {}", words.join(" "));
        assert_eq!(ran.code, 64, "{shown}\n{ran}");
        assert_eq!(ran.out, "", "{shown}: stdout belongs to results\n{ran}");
        assert!(!ran.err.contains("panicked"), "{shown}\n{ran}");
        assert_eq!(bench.everything(), before, "{shown}: something was left behind");
        said += &format!("{shown}\n{}\n", bench.redact(&ran.err));
    }
    said
}

#[test]
fn unknown_words_are_refused() {
    let bench = Bench::new();
    insta::assert_snapshot!(refusals(
        &bench,
        &[
            &["--frobnicate"],
            &["run", "--frobnicate"],
            &["frobnicate"],
            &["array"],
            &["array", "frobnicate"],
            &["list", "unicorns"],
            &["explain", "nope"],
            &["run", "lifecicle"],
            &["run", "something-else-entirely"],
            &["run", "ABC-123"],
            &["run", "API-009"],
            &["run", "--env", "nope"],
            &["run", "--defect", "nope"],
        ],
    ));
}

#[test]
fn values_out_of_range_are_refused() {
    let bench = Bench::new();
    insta::assert_snapshot!(refusals(
        &bench,
        &[
            &["run", "--seed", "x"],
            &["run", "--seed", "18446744073709551616"],
            &["run", "--cases", "0"],
            &["run", "--jobs", "0"],
            &["run", "--cases", "1000000"],
            &["run", "--shard", "4/4"],
            &["run", "--shard", "1"],
            &["run", "--faults", "gremlins"],
            &["sweep"],
            &["sweep", "--seeds", "5..5"],
            &["sweep", "--seeds", "0..5", "--plan", "11-lost-reply-2"],
            &["sweep", "--plan", "11-lost-reply-2"],
            &["sweep", "exhaustive", "--plan", "11-flood-2"],
            &["sweep", "exhaustive", "--plan", "11-crash-2-1"],
            &["sweep", "exhaustive", "--plan", "99999-failure-1"],
            &["sweep", "exhaustive", "--faults", "heavy"],
            &["run", "--format", "xml"],
            &["replay", "failure.json", "--tries", "0"],
            &["clean"],
            &["clean", "--cinder-conf", "cinder.conf"],
        ],
    ));
}

#[test]
fn a_malformed_story_is_shown_with_its_place() {
    let bench = Bench::new();
    bench.write("verb.story", "story \"x\"\nhost compute-1\ncreate v size=1GiB\natach v compute-1\n");
    bench.write("quote.story", "story \"x\nhost compute-1\n");
    bench.write("size.story", "story \"x\"\ncreate v size=1.5GiB\n");
    bench.write("name.story", "story \"x\"\ncreate v size=1GiB\nextend w size=2GiB\n");
    bench.write("late.story", "story \"x\"\ncreate v size=1GiB\nhost compute-1\n");
    bench.write("word.story", "story \"x\"\ncreate v size=1GiB refused=perhaps\n");
    bench.write("twice.story", "story \"x\"\ncreate v size=1GiB size=2GiB\n");
    bench.write("unknown.story", "story \"x\"\nrequires CLN-001 CLN-999\ncreate v size=1GiB\ndelete v\n");
    bench.write("point.story", "story \"x\"\nfault \"rest.before:POST lum\" do=fail\ncreate v size=1GiB\n");
    bench.write("empty.story", "");
    bench.write("latin.story", b"story \"caf\xe9\"\n");
    bench.write("steer.story", "story \"x\"\n\x1b[2Jcreate v size=1GiB\n");
    fs::create_dir(bench.path().join("folder.story")).unwrap();
    let words = [
        "verb.story",
        "quote.story",
        "size.story",
        "name.story",
        "late.story",
        "word.story",
        "twice.story",
        "unknown.story",
        "point.story",
        "empty.story",
        "latin.story",
        "steer.story",
        "folder.story",
        "missing.story",
    ];
    let calls: Vec<Vec<&str>> = words.iter().map(|w| vec!["run", *w]).collect();
    let calls: Vec<&[&str]> = calls.iter().map(Vec::as_slice).collect();
    let said = refusals(&bench, &calls);
    assert!(!said.contains('\u{1b}'), "a file must not steer the terminal: {said:?}");
    insta::assert_snapshot!(said);
}

#[test]
fn a_malformed_profile_is_shown_with_its_place_and_without_its_secrets() {
    let bench = Bench::new();
    let good = "tengling_sanip = \"http://127.0.0.1:9/deviceManager/rest/\"\ntengling_username = \"admin\"\ntengling_password = \"hunter2hunter2\"\ntengling_storagepool = \"pool0\"\n";
    bench.write("syntax.toml", "[backend\n");
    bench.write("open.toml", "[backend]\ntengling_password = \"hunter2hunter2\n");
    bench.write("bare.toml", "[backend]\ntengling_password = hunter2hunter2\n");
    bench.write("list.toml", "[backend]\ntengling_password = [\"hunter2hunter2\"]\n");
    bench.write("key.toml", format!("[backend]\n{good}tengling_colour = \"green\"\n"));
    bench.write("secret-key.toml", format!("[backend]\n{good}tengling_secret_colour = \"hunter2hunter2\"\n"));
    bench.write("depth.toml", format!("[backend]\n{good}tengling_max_clone_depth = \"deep\"\n"));
    bench.write("ip.toml", format!("[backend]\n{}", good.replace("http://", "gopher://")));
    bench.write("missing.toml", "[backend]\ntengling_username = \"admin\"\n");
    bench.write("table.toml", format!("[backend]\n{good}[colours]\ngreen = 1\n"));
    bench.write("limit.toml", format!("[backend]\n{good}[limits]\ncapacity_gib = 0\n"));
    bench.write(
        "driver.toml",
        format!("[backend]\nvolume_driver = \"cinder.volume.drivers.lvm.LVMVolumeDriver\"\n{good}"),
    );
    bench.write("fine.toml", format!("[backend]\n{good}"));
    bench.write("latin.toml", b"[backend]\nname = \"caf\xe9\"\n");
    let words = [
        "syntax.toml",
        "open.toml",
        "bare.toml",
        "list.toml",
        "key.toml",
        "secret-key.toml",
        "depth.toml",
        "ip.toml",
        "missing.toml",
        "table.toml",
        "limit.toml",
        "driver.toml",
        "latin.toml",
        "absent.toml",
    ];
    let mut calls: Vec<Vec<&str>> = words.iter().map(|w| vec!["run", "unmap", "--env", *w]).collect();
    // Nothing may be left by the options that make files either.
    calls.push(vec![
        "run",
        "unmap",
        "--env",
        "key.toml",
        "--report",
        "out/deep",
        "--pcap",
        "run.pcapng",
        "--state",
        "state",
    ]);
    calls.push(vec!["run", "unmap", "--env", "fine.toml", "--defect", "masking_ignored"]);
    calls.push(vec!["clean", "--profile", "key.toml"]);
    calls.push(vec!["clean", "--profile", "absent.toml"]);
    let calls: Vec<&[&str]> = calls.iter().map(Vec::as_slice).collect();
    let said = refusals(&bench, &calls);
    assert!(!said.contains("hunter2"), "a secret was shown:\n{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn a_malformed_cinder_conf_is_shown_with_its_place() {
    let bench = Bench::new();
    bench.write("good.conf", "[tldriver]\ntengling_sanip = 127.0.0.1:9\ntengling_username = a\ntengling_password = hunter2hunter2\ntengling_storagepool = pool0\n");
    bench.write("bad.conf", "[tldriver]\ntengling_password hunter2hunter2\n");
    bench.write("key.conf", "[tldriver]\ntengling_sanip = 127.0.0.1:9\ntengling_username = a\ntengling_password = hunter2hunter2\ntengling_storagepool = pool0\ntengling_clone_depth = 3\n");
    let said = refusals(
        &bench,
        &[
            &["clean", "--cinder-conf", "bad.conf", "--backend", "tldriver"],
            &["clean", "--cinder-conf", "key.conf", "--backend", "tldriver"],
            &["clean", "--cinder-conf", "good.conf", "--backend", "other"],
            &["clean", "--cinder-conf", "absent.conf", "--backend", "tldriver"],
        ],
    );
    assert!(!said.contains("hunter2"), "a secret was shown:\n{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn a_hostile_image_is_refused_by_name() {
    let bench = Bench::new();
    let good = Qcow2::default();
    bench.write("good.qcow2", good.bytes());
    bench.write("empty.img", b"");
    bench.write("backing.qcow2", Qcow2 { backing: true, ..good }.bytes());
    bench.write("data-file.qcow2", Qcow2 { incompatible: 1 << 2, ..good }.bytes());
    bench.write("zstd.qcow2", Qcow2 { incompatible: 1 << 3, compression: 1, ..good }.bytes());
    bench.write("extended-l2.qcow2", Qcow2 { incompatible: 1 << 4, ..good }.bytes());
    bench.write("dirty.qcow2", Qcow2 { incompatible: 1, ..good }.bytes());
    bench.write("future.qcow2", Qcow2 { incompatible: 1 << 40, ..good }.bytes());
    bench.write("absurd.qcow2", Qcow2 { size: 1 << 62, ..good }.bytes());
    bench.write("greedy.qcow2", Qcow2 { l1_entries: u32::MAX, ..good }.bytes());
    bench.write("large.qcow2", Qcow2 { size: 20 << 30, l1_entries: 40, ..good }.bytes());
    let whole = good.bytes();
    bench.write("truncated.qcow2", &whole[..whole.len() / 2]);
    bench.write("cut.qcow2", &whole[..5 * whole.len() / 6]);
    bench.write("header-only.qcow2", &whole[..60]);
    let wrong_table = {
        let mut bytes = whole.clone();
        // The L1 table is said to lie far behind the end of the file.
        bytes[40..48].copy_from_slice(&(1u64 << 50).to_be_bytes());
        bytes
    };
    bench.write("wild-table.qcow2", wrong_table);
    fs::create_dir(bench.path().join("folder.img")).unwrap();
    let words = [
        "empty.img",
        "backing.qcow2",
        "data-file.qcow2",
        "zstd.qcow2",
        "extended-l2.qcow2",
        "dirty.qcow2",
        "future.qcow2",
        "absurd.qcow2",
        "greedy.qcow2",
        "large.qcow2",
        "truncated.qcow2",
        "cut.qcow2",
        "header-only.qcow2",
        "wild-table.qcow2",
        "folder.img",
        "missing.img",
    ];
    let calls: Vec<Vec<&str>> = words.iter().map(|w| vec!["run", "images", "--image", *w]).collect();
    let calls: Vec<&[&str]> = calls.iter().map(Vec::as_slice).collect();
    insta::assert_snapshot!(refusals(&bench, &calls));
    // The image that all of them were made from is fine, so each was refused for its own flaw.
    let ran = bench.run(&["run", "images", "--image", "good.qcow2"]);
    assert_eq!(ran.code, 0, "{ran}");
}

#[test]
fn places_that_cannot_be_written_are_refused() {
    let bench = Bench::new();
    bench.write("file", b"x");
    fs::create_dir(bench.path().join("folder")).unwrap();
    insta::assert_snapshot!(refusals(
        &bench,
        &[
            &["run", "unmap", "--report", "file"],
            &["run", "unmap", "--report", "file/below"],
            &["run", "unmap", "--report", "/proc/sanbench"],
            &["run", "unmap", "--pcap", "missing/run.pcapng"],
            &["run", "unmap", "--pcap", "folder"],
            &["run", "unmap", "--report", "new/report", "--pcap", "missing/run.pcapng"],
        ],
    ));
}

#[test]
fn an_array_that_cannot_listen_is_refused() {
    let bench = Bench::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refusals(
        &bench,
        &[
            &["array", "serve", "--rest", &address],
            &["array", "serve", "--iscsi", "127.0.0.1:0", "--iscsi", &address],
            &["array", "serve", "--control", "--rest", "192.0.2.1:0"],
            &["array", "serve", "--control", "--rest", "0.0.0.0:0"],
            &["array", "serve", "--rest", "localhost"],
            &["array", "serve", "--product", "a b"],
            &["array", "serve", "--export", "disk0"],
            &["array", "serve", "--export", "disk0=100B"],
            &["array", "serve", "--pool", "p=0"],
        ],
    );
    insta::assert_snapshot!(said.replace(&taken.local_addr().unwrap().port().to_string(), "[taken]"));
}

#[test]
fn what_is_no_recorded_failure_is_not_replayed() {
    let bench = Bench::new();
    bench.write("garbage.json", b"\x00\xff garbage");
    bench.write("empty.json", b"");
    bench.write("plain.json", b"{}");
    bench.write("list.json", b"[1,2,3]");
    insta::assert_snapshot!(refusals(
        &bench,
        &[
            &["replay", "garbage.json"],
            &["replay", "empty.json"],
            &["replay", "plain.json"],
            &["replay", "list.json"],
            &["replay", "missing.json"],
            &["replay", "."],
        ],
    ));
}

#[test]
fn a_failure_of_another_schema_or_with_a_wrong_plan_is_not_replayed() {
    let bench = Bench::new();
    let ran =
        bench.run(&["run", "unmap", "--defect", "unmap_out_of_bounds", "--report", "out", "--shrink", "off"]);
    assert_eq!(ran.code, 1, "{ran}");
    let folder = bench.path().join("out/failures");
    let file = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "json"));
    let failure: Value = serde_json::from_slice(&fs::read(file.unwrap()).unwrap()).unwrap();
    let change = |name: &str, pointer: &str, to: Value| {
        let mut failure = failure.clone();
        *failure.pointer_mut(pointer).unwrap() = to;
        bench.write(name, failure.to_string());
    };
    change("schema.json", "/schema", "sanbench.failure/99".into());
    change("plan.json", "/plan", "story \"x\"\nnonsense\n".into());
    change("defect.json", "/run/planted", serde_json::json!(["nope"]));
    change("env.json", "/run/env", "nowhere".into());
    let said = refusals(
        &bench,
        &[
            &["replay", "schema.json"],
            &["replay", "plan.json"],
            &["replay", "defect.json"],
            &["replay", "env.json"],
        ],
    );
    insta::assert_snapshot!(said);
}

/// Ended in an orderly way, whatever the code.
#[track_caller]
fn orderly(ran: &Ran) {
    assert!(ran.code != 101 && !ran.err.contains("panicked"), "{ran}");
}

#[test]
fn a_closed_pipe_is_the_readers_right() {
    let bench = Bench::new();
    for words in [
        ["list", "requirements", "--format", "json"].as_slice(),
        ["run", "unmap", "--cases", "3", "--format", "json"].as_slice(),
        ["run", "unmap", "--cases", "3", "--trace"].as_slice(),
        ["run", "--help"].as_slice(),
    ] {
        let mut command = bench.command(words);
        let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut reader = BufReader::new(process.0.stdout.take().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        drop(reader);
        let code = process.wait(Duration::from_secs(60));
        let mut err = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        orderly(&Ran { code: code.unwrap(), out: line, err });
    }
}

/// The commands, as words.
const COMMANDS: &[&[&str]] =
    &[&[], &["run"], &["list"], &["explain"], &["replay"], &["array", "serve"], &["clean"], &["doctor"]];

#[test]
fn every_help_ends_with_two_worked_examples() {
    let bench = Bench::new();
    for words in COMMANDS {
        let mut words = words.to_vec();
        words.push("--help");
        let ran = bench.run(&words);
        assert_eq!(ran.code, 0, "{ran}");
        let (_, examples) =
            ran.out.rsplit_once("Examples:\n").unwrap_or_else(|| panic!("no examples: {ran}"));
        let examples: Vec<&str> = examples.lines().filter(|l| !l.trim().is_empty()).collect();
        assert_eq!(examples.len(), 2, "{ran}");
        assert!(examples.iter().all(|e| e.starts_with("  sanbench")), "{ran}");
    }
}

#[test]
fn the_examples_of_the_help_are_understood() {
    // What an example names may be missing here, but its words must be words of the command line.
    let bench = Bench::new();
    for words in COMMANDS {
        let mut words = words.to_vec();
        words.push("--help");
        let help = bench.run(&words).out;
        for example in help.lines().filter_map(|l| l.strip_prefix("  sanbench ")) {
            let example = example.split("   ").next().unwrap();
            let mut words: Vec<&str> = example.split_whitespace().collect();
            if words.first() == Some(&"array") || words.is_empty() {
                continue;
            }
            if words[0] == "run" {
                // The words are read before the image is looked for.
                words.extend(["--image", "missing.img"]);
                words.retain(|w| !w.ends_with(".qcow2"));
                let ran = finish(bench.command(&words), Duration::from_secs(60));
                assert!(!ran.err.contains("unexpected argument"), "{example}: {ran}");
                continue;
            }
            let ran = bench.run(&words);
            orderly(&ran);
            assert!(!ran.err.contains("Usage:"), "{example}: {ran}");
        }
    }
}

#[test]
fn the_json_stream_is_numbered_and_ends_with_the_verdict() {
    let bench = Bench::new();
    for (words, exit) in [
        (vec!["run", "unmap", "masking", "--format", "json"], 0),
        (vec!["run", "unmap", "--defect", "unmap_out_of_bounds", "--format", "json"], 1),
    ] {
        let ran = bench.run(&words);
        assert_eq!(ran.code, exit, "{ran}");
        let events = ran.events();
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event["schema"], "sanbench.event/1", "{event}");
            assert_eq!(event["seq"], n, "{event}");
            assert!(event["type"].is_string(), "{event}");
        }
        let count = |kind: &str| events.iter().filter(|e| e["type"] == kind).count();
        assert_eq!(events[0]["type"], "run-started");
        let last = events.last().unwrap();
        assert_eq!(last["type"], "run-finished");
        assert_eq!(last["exit"], exit);
        assert_eq!((count("run-started"), count("run-finished")), (1, 1));
        assert_eq!(count("case-started"), count("case-finished"));
        assert_eq!(events[0]["cases"], count("case-finished"));
        assert!(count("step") > 0);
        assert_eq!(count("finding") > 0, exit == 1);
    }
}

#[test]
fn nothing_is_coloured_where_nobody_looks() {
    let bench = Bench::new();
    for no_color in ["", "1"] {
        let mut command =
            bench.command(&["run", "unmap", "--defect", "unmap_out_of_bounds", "--shrink", "1"]);
        let ran = finish(
            std::mem::replace(command.env("NO_COLOR", no_color), bench.command(&[])),
            Duration::from_secs(60),
        );
        assert_eq!(ran.code, 1, "{ran}");
        assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "{ran}");
    }
}

#[test]
fn quiet_says_the_verdict_alone() {
    let bench = Bench::new();
    let ran = bench.run(&["run", "unmap", "--quiet"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran}");
    // The verdict, and the figures of the run with its seed and hash.
    assert_eq!(ran.out.lines().count(), 2, "{ran}");
    assert!(ran.out.starts_with("CONFORMANT: "), "{ran}");
}

#[test]
fn an_interrupt_ends_a_long_run_with_130() {
    let bench = Bench::new();
    for signal in ["INT", "TERM"] {
        let mut command =
            bench.command(&["run", "unmap", "--cases", "100000", "--format", "json", "--report", "out"]);
        let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        assert!(lines.any(|l| l.unwrap().contains("case-finished")), "no case ended");
        process.signal(signal);
        let last = lines.map(|l| l.unwrap()).last().unwrap();
        assert_eq!(process.wait(Duration::from_secs(60)), Some(130));
        let last: Value = serde_json::from_str(&last).unwrap();
        assert_eq!((&last["type"], &last["exit"]), (&"run-finished".into(), &130.into()));
        let report = support::json(&bench.path().join("out/report.json"));
        assert_eq!(report["verdict"], "incomplete");
        assert_eq!(report["run"]["history_sha256"], Value::Null, "a part of a run has no hash");
        let mut err = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert!(err.contains("interrupted"), "{err}");
    }
}

/// Interrupts a call once its stdout shows `at`; answers what it said. A case at work ends at its next step.
#[expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]
fn interrupted(bench: &Bench, words: &[&str], at: &str) -> Ran {
    let mut command = bench.command(words);
    let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let mut out = String::new();
    assert!(lines.any(|l| l.unwrap().contains(at)), "never said {at}");
    process.signal("INT");
    lines.for_each(|l| out += &(l.unwrap() + "\n"));
    let code = process.wait(Duration::from_secs(60)).unwrap();
    let mut err = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    Ran { code, out, err }
}

#[test]
fn an_interrupt_ends_every_command_that_plays_stories_and_leaves_nothing() {
    let bench = Bench::new();
    // Over real sockets, in the middle of a story.
    let words = ["run", "lifecycle", "clone-chain", "snapshots", "--env", "loopback", "--report", "out"];
    let ran = interrupted(&bench, &words, "report");
    assert_eq!(ran.code, 130, "{ran}");
    let report = support::json(&bench.path().join("out/report.json"));
    assert_eq!(report["verdict"], "incomplete");
    assert_eq!(report["leftovers"], serde_json::json!([]));
    // While a plan is shrunk: what was reached is written, and the code is 130 all the same.
    let words =
        ["run", "clone-chain", "--defect", "flatten_skips_hole", "--report", "shrinking", "--shrink", "600"];
    let ran = interrupted(&bench, &words, "FAILED");
    assert_eq!(ran.code, 130, "{ran}");
    let file = bench.path().join("shrinking/failures/clone-chain-0-1.json");
    assert!(file.is_file(), "{ran}");
    // Outside the simulation a replay is tried often.
    let words = ["replay", file.to_str().unwrap(), "--env", "loopback", "--tries", "1000"];
    let ran = interrupted(&bench, &words, "clone-chain/0");
    assert_eq!(ran.code, 130, "{ran}");
    assert!(ran.out.contains("interrupted; reproduced") && ran.out.contains("replay "), "{ran}");
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let bench = Bench::new();
    let mut command = bench.command(&["run", "--cases", "300", "--format", "json"]);
    let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().contains("case-finished")), "no case ended");
    // Nobody reads on: the pipe fills up and the first signal alone cannot end it.
    support::wait_until(Duration::from_millis(500), || false);
    process.signal("INT");
    // Sooner it would be an echo of the first.
    support::wait_until(Duration::from_secs(1), || false);
    process.signal("INT");
    assert_eq!(process.wait(Duration::from_secs(10)), Some(130));
}

#[test]
fn a_served_array_says_when_it_is_ready_and_ends_on_a_signal() {
    let bench = Bench::new();
    let shape = Regex::new(r"^iscsi://127\.0\.0\.1:\d+/iqn\.[^/]+/\d+$").unwrap();
    for signal in ["INT", "TERM"] {
        let mut array = support::array::Served::start(
            &bench,
            &["--export", "disk0=1GiB", "--export", "disk1=512MiB", "--pool", "gold=10GiB"],
        );
        let ready = &array.ready;
        let keys: Vec<&String> = ready.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["exports", "password", "pools", "portals", "rest", "target_iqn", "user"]);
        assert_eq!(ready["pools"], serde_json::json!(["gold"]));
        assert_eq!(ready["portals"].as_array().unwrap().len(), 2);
        assert_eq!(ready["exports"].as_array().unwrap().len(), 2);
        let url = ready["exports"][0]["url"].as_str().unwrap();
        assert!(shape.is_match(url), "{url}");
        array.process.signal(signal);
        assert_eq!(array.process.wait(Duration::from_secs(20)), Some(0), "ends on {signal}");
    }
    assert_eq!(bench.everything(), Vec::<String>::new(), "it leaves nothing");
}

#[test]
fn lists_and_explanations_read_well() {
    let bench = Bench::new();
    let mut all = String::new();
    for words in [
        ["list", "drivers"].as_slice(),
        ["list", "suites"].as_slice(),
        ["list", "faults"].as_slice(),
        ["list", "defects"].as_slice(),
        ["explain", "create"].as_slice(),
        ["explain", "CLN-005"].as_slice(),
        ["explain", "D17"].as_slice(),
        ["explain", "target.login"].as_slice(),
        ["explain", "unmap"].as_slice(),
    ] {
        let ran = bench.run(words);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran}");
        all += &format!("$ sanbench {}\n{}\n", words.join(" "), ran.out);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn every_list_is_json_when_asked() {
    let bench = Bench::new();
    for what in ["stories", "suites", "requirements", "faults", "defects", "drivers"] {
        let ran = bench.run(&["list", what, "--format", "json"]);
        assert_eq!(ran.code, 0, "{ran}");
        let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            let id = row["id"].as_str().unwrap();
            assert!(!row["title"].as_str().unwrap().is_empty(), "{row}");
            // Whatever is listed can be explained, but for drivers, which have no page of their own.
            if what == "stories" || what == "suites" || what == "faults" || what == "defects" {
                assert_eq!(bench.run(&["explain", id]).code, 0, "explain {id}");
            }
        }
    }
}

#[test]
fn doctor_says_what_this_machine_can_run() {
    let bench = Bench::new();
    let ran = bench.run(&["doctor", "--state", "state"]);
    assert_eq!(ran.code, 0, "{ran}");
    for word in ["sim", "loopback", "profiles", "qemu-img", "tshark"] {
        assert!(ran.out.contains(word), "{ran}");
    }
    let blocked = bench.run(&["doctor", "--state", "/proc/sanbench"]);
    assert_eq!(blocked.code, 2, "{blocked}");
}
