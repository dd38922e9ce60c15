//! Sweeps as their users meet them: every short plan, the lines that replay what they find, and what is kept of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod support;

use std::time::Duration;

use regex::Regex;
use serde_json::Value;
use support::{Bench, Ran, finish, json};

/// Lines that play a failure again, as they were printed, without the name of the program.
fn replays(ran: &Ran) -> Vec<Vec<String>> {
    let lines = ran.out.lines().filter_map(|line| line.trim().strip_prefix("replay"));
    lines
        .map(|line| line.trim().strip_prefix("sanbench ").unwrap_or_else(|| panic!("{ran}")))
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

fn run(bench: &Bench, words: &[String]) -> Ran {
    bench.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Plays plans of one operation, all of them or a share, and nothing may fail.
fn one_operation(more: &[&str], tasks: u64) {
    let bench = Bench::new();
    let words = [&["sweep", "exhaustive", "--depth", "1", "--report", "out"], more].concat();
    let ran = finish(bench.command(&words), Duration::from_secs(600));
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.out.contains("one at each place of 12 plans: lost-reply, failure, crash"), "{ran}");
    // How many cases there are nobody knows before; progress counts what is known.
    let progress = Regex::new(r"(\d+) of (\d+) plans with a kind of fault, \d+ cases").unwrap();
    for told in progress.captures_iter(&ran.err) {
        let [done, of] = [1, 2].map(|n| told[n].parse::<u64>().unwrap());
        assert!(done <= of && of == tasks, "{ran}");
    }
    let report = json(&bench.path().join("out/report.json"));
    assert_eq!(report["verdict"], "conformant");
    // Each plan with each kind is played once more than there are places, to see that there is none left.
    let (plans, faults) = (report["run"]["plans"].as_u64(), report["run"]["faults_injected"].as_u64());
    assert_eq!(plans, faults.map(|faults| faults + tasks));
}

/// A share of them, with plans of every kind of fault: all would take a minute of every test run.
#[test]
fn no_single_fault_breaks_a_short_plan() {
    one_operation(&["--shard", "2/7"], 5);
}

#[test]
#[ignore = "966 cases, over a minute of CPU, too long for every run: CI runs it with --ignored"]
fn no_single_fault_breaks_any_plan_of_one_operation() {
    one_operation(&[], 36);
}

#[test]
fn a_failing_short_plan_ends_with_the_line_that_plays_it_again() {
    let bench = Bench::new();
    // Plan 4 extends the clone; its crashes are task 14.
    let words =
        ["sweep", "exhaustive", "--depth", "1", "--shard", "14/36", "--defect", "open_flows_forgotten"];
    let finding = |ran: &Ran| {
        let text = ran.out.split("FAILED ").nth(1).unwrap_or_else(|| panic!("{ran}"));
        text.split("  replay").next().unwrap().to_owned()
    };
    let ran = bench.run(&words);
    assert_eq!(ran.code, 1, "{ran}");
    let lines = replays(&ran);
    let line = &lines[0];
    assert_eq!(line[..3], ["sweep", "exhaustive", "--plan"]);
    let again = run(&bench, line);
    assert_eq!(again.code, 1, "{again}");
    assert_eq!(finding(&again), finding(&ran), "{again}");
    assert_eq!(replays(&again)[0], *line);
    let figures = again.out.lines().find(|line| line.starts_with("seed ")).unwrap();
    assert!(figures.contains(", 1 plans,") && figures.contains(", 1 faults injected,"), "it alone: {again}");

    // With a report the last line names the file of the shrunk plan, and that one shows it too.
    let ran = bench.run(&[&words[..], &["--report", "out"]].concat());
    let last = replays(&ran).pop().unwrap();
    assert!(last[1].starts_with("out/failures/exhaustive-4-crash-1-"), "{ran}");
    let again = run(&bench, &last);
    assert_eq!(again.code, 1, "{again}");
    assert!(again.out.contains("the same failure: settle:volume:extending"), "{again}");
}

#[test]
fn a_sweep_keeps_the_earliest_and_the_smallest_failure_by_their_own_seeds() {
    let bench = Bench::new();
    let words =
        ["sweep", "--seeds", "80..116", "--faults", "none", "--defect", "clone_shares_writes", "--quiet"];
    let run = |more: &[&str]| {
        let ran = bench.run(&[&words[..], more].concat());
        assert!(ran.code == 0 || ran.code == 1, "{ran}");
    };
    run(&["--state", "whole"]);
    let kinds = support::listing(&bench.path().join("whole/failures"));
    let kinds: Vec<&String> = kinds.iter().filter(|name| !name.contains('/')).collect();
    let read = |state: &str, name: &str, kind: &str| {
        json(&bench.path().join(state).join("failures").join(kind).join(name))
    };
    let seed = |failure: &Value| failure["run"]["seed"].as_u64().unwrap();
    let mut apart = None;
    for kind in &kinds {
        let seen = read("whole", "seen.json", kind);
        let (earliest, smallest) =
            (read("whole", "earliest.json", kind), read("whole", "smallest.json", kind));
        assert_eq!(seen["earliest_seed"], earliest["run"]["seed"]);
        assert!(seed(&earliest) <= seed(&smallest));
        for failure in [&earliest, &smallest] {
            assert_eq!(failure["finding"]["case"], format!("swarm/{}", seed(failure)));
        }
        if seed(&earliest) < seed(&smallest) {
            let steps = |name: &str| {
                let story = bench.path().join("whole/failures").join(kind).join(name);
                sanbench_reports::store::steps_in(&std::fs::read_to_string(story).unwrap())
            };
            assert!(steps("smallest.story") < steps("earliest.story"));
            apart = Some(earliest);
        }
    }
    // The seed is the one that plays it.
    let earliest = apart.expect("some failure is seen with a long plan before a short one");
    let number = seed(&earliest).to_string();
    let ran =
        bench.run(&["run", "swarm", "--seed", &number, "--defect", "clone_shares_writes", "--shrink", "off"]);
    assert!(ran.out.contains(earliest["finding"]["signature"].as_str().unwrap()), "{ran}");

    // Stores of shards lie in their reports, and merge with them.
    for index in ["0", "1", "2"] {
        let (shard, state) = (format!("{index}/3"), format!("{index}/state"));
        run(&["--shard", &shard, "--report", index, "--state", &state]);
    }
    let merge = ["report", "merge", "2", "0", "1", "--report", "merged"];
    assert_eq!(bench.run(&merge).code, 1);
    for kind in &kinds {
        for name in ["seen.json", "earliest.json", "smallest.json"] {
            // How long a shard took, and what it was called by, is its own.
            let timeless = |state: &str| {
                let mut failure = read(state, name, kind);
                if let Some(run) = failure.get_mut("run") {
                    *run = run["seed"].take();
                }
                failure
            };
            assert_eq!(timeless("whole"), timeless("merged/state"), "{kind}/{name}");
        }
    }
    let again = bench.run(&merge);
    assert_eq!(again.code, 64, "counted twice: {again}");
}

#[test]
fn the_ten_hardest_defects_are_caught_and_shrunk_to_a_dozen_steps() {
    let bench = Bench::new();
    let ten = ["D29", "D17", "D18", "D36", "D45", "D16", "D01", "D30", "D22", "D28"];
    let words = [&["selftest"], &ten[..], &["--shrink", "60", "--report", "out"]].concat();
    let ran = finish(bench.command(&words), Duration::from_secs(600));
    assert_eq!(ran.code, 0, "{ran}");
    let report = json(&bench.path().join("out/report.json"));
    let rows = report["defects"].as_array().unwrap();
    for id in ten {
        assert!(rows.iter().any(|row| row["id"] == id), "{id} has no row");
    }
    for row in rows {
        assert_eq!(row["caught"], true, "{row}");
        // Cases of the protocol chapters have no steps to take away.
        let case = row["story"].as_str().unwrap().starts_with("protocol-");
        match row["steps"].as_u64() {
            Some(steps) => assert!(!case && steps <= 12, "{row}"),
            None => assert!(case, "{row}"),
        }
    }
    assert!(ran.out.lines().any(|line| line.contains("overtake_on_failover") && line.ends_with(" steps")));
}
