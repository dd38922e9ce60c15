//! Each story, each requirement and each planted defect as a test of its own, named at run time.
//!
//! Stories must pass; every requirement of the default suite must be judged and held; every planted defect must be
//! caught, by a requirement that says what is wrong.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod support;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::OnceLock;

use libtest_mimic::{Arguments, Failed, Trial};
use sanbench::Registry;
use sanbench::registry::STORIES;
use serde_json::Value;
use support::{Bench, Ran, json, requirements};

/// Seeds that each story is run with.
const SEEDS: &[&str] = &["1", "2", "20261122"];

/// How a planted defect shows itself.
struct Catch {
    defect: &'static str,
    /// Stories of the default suite that show it; enough to be quick.
    stories: &'static [&'static str],
    /// Requirements of which at least one must fail.
    by: &'static [&'static str],
}

/// Defects that no story of this version can show, and why: reported as ignored, never as passed.
const BLIND: &[(&str, &str)] = &[
    ("leak_hash_order", "a defect of the bench itself; the determinism test shows it"),
    ("aptpl_forgotten", "no story holds a reservation; the array's own model test shows it"),
    (
        "vstore_leak",
        "no story has two vStores; the array's model test and a test of the management API show it",
    ),
    ("disabled_portal_serves", "no story disables a portal; tests of array and target show it"),
    ("failed_job_wipes_source", "no story fails a job half-way yet; the array's model test shows it"),
    ("job_lost_on_failover", "no story fails a controller under a job yet; the array's model test shows it"),
    ("group_snapshot_torn", "no verb snapshots a group; the array's model test shows it"),
    ("qos_per_host", "no verb sets limits; the array's model test shows it"),
    (
        "skip_flush_after_image",
        "the disconnect that follows flushes as well, so nothing is lost: it takes both defects to lose data",
    ),
    ("skip_wwn_check", "no verb leaves a stale device on a host, so no wrong device is ever found"),
    (
        "overtake_on_failover",
        "in a story the new login ends the old session before the held write arrives; the test of transport faults \
         shows unfenced writes overtaking, tests of the initiator show the defect",
    ),
    ("fresh_isid", "no story holds a reservation over a new login yet; tests of the initiator show it"),
    ("disconnect_by_lun", "a test of the initiator shows it"),
    ("trust_daemon_list", "no story delays device events yet; a test of the initiator shows it"),
    (
        "first_session_only",
        "no story gives a host several sessions to a portal; a test of the initiator shows it",
    ),
    ("lost_portal_failure", "no story has a dead portal yet; a test of the initiator shows it"),
    ("no_login_retry", "a test of the initiator shows it"),
    ("process_local_lock", "no story runs two processes on one host; a test of the initiator shows it"),
    ("give_up_relogin", "a test of the initiator shows it"),
    ("return_partition", "no story writes a partition table; a test of the initiator shows it"),
    ("assume_unmap", "no site has a device without UNMAP; a test of the initiator shows it"),
    (
        "chap_accepts_reflection",
        "no driver sets up mutual CHAP, so the target never answers; a test of the target shows it",
    ),
    ("unmap_hides_failure", "needs an UNMAP that fails in a full pool; a test of the target shows it"),
];

/// Any one of the requirements is right: which comparison meets the damage first depends on the story's steps.
const CATCHES: &[Catch] = &[
    Catch { defect: "stale_tail_after_extend", stories: &["extend"], by: &["EXT-001"] },
    Catch {
        defect: "stale_read_after_extend",
        stories: &["lifecycle", "image-cache"],
        by: &["DAT-002", "DAT-003", "EXT-001"],
    },
    Catch { defect: "clone_shares_writes", stories: &["clone-chain"], by: &["CLN-001"] },
    Catch { defect: "flatten_skips_hole", stories: &["lifecycle", "silent-parents"], by: &["FLT-001"] },
    Catch { defect: "snapshot_not_frozen", stories: &["snapshots"], by: &["SNP-001", "SNP-002", "SNP-006"] },
    Catch { defect: "masking_ignored", stories: &["masking"], by: &["ATT-001"] },
    Catch { defect: "unmap_out_of_bounds", stories: &["unmap"], by: &["SCS-007"] },
    Catch { defect: "lun_left_after_failed_create", stories: &["failed-creates"], by: &["CRE-009"] },
    Catch { defect: "duplicate_wwn", stories: &["masking"], by: &["CRE-012"] },
    Catch { defect: "lost_write_on_cow", stories: &["clone-chain"], by: &["DAT-001", "SCS-011"] },
    Catch { defect: "leave_control_attachment", stories: &["images"], by: &["ATT-001", "CLU-001"] },
    Catch { defect: "wrong_status_edge", stories: &["refusals"], by: &["OBS-005"] },
    Catch { defect: "leak_temp_file", stories: &["images"], by: &["CLU-001"] },
    Catch { defect: "extend_one_path_only", stories: &["two-paths"], by: &["EXT-004"] },
    // The create fails because the control host keeps a device that it was told to drop.
    Catch {
        defect: "leave_devices_on_force",
        stories: &["forced-disconnect"],
        by: &["ATT-008", "IMG-001", "CLU-001"],
    },
    Catch { defect: "adopt_foreign", stories: &["foreign-name"], by: &["API-016", "CLU-002"] },
    Catch { defect: "sparse_over_dirty", stories: &["reimage"], by: &["IMG-002"] },
    Catch { defect: "skip_flush_on_disconnect", stories: &["power-cut"], by: &["ATT-007"] },
    Catch { defect: "sync_cache_ignored", stories: &["power-cut"], by: &["DUR-001", "IMG-011"] },
    // The host refuses the device, which shows another identity than its volume has.
    Catch {
        defect: "identity_changes_on_failover",
        stories: &["controller-failover"],
        by: &["ATT-001", "MPX-003", "MPX-005"],
    },
    Catch { defect: "first_device_of_session", stories: &["two-paths"], by: &["ATT-001", "ATT-006"] },
    Catch { defect: "skip_map_resize", stories: &["two-paths", "extend"], by: &["EXT-004"] },
    Catch { defect: "logout_shared_session", stories: &["two-paths"], by: &["DAT-001", "ATT-004"] },
    Catch { defect: "no_depth_limit", stories: &["clone-chain"], by: &["CLN-002", "CLN-003"] },
    // Of the target: each by the chapter and the requirement that it is about.
    Catch { defect: "stat_sn_skips", stories: &["protocol-login"], by: &["ISC-008"] },
    Catch { defect: "cmd_sn_window_ignored", stories: &["protocol-session"], by: &["ISC-007"] },
    Catch { defect: "reinstatement_keeps_tasks", stories: &["protocol-login"], by: &["ISC-014"] },
    Catch { defect: "abort_then_apply", stories: &["protocol-tasks"], by: &["ISC-013"] },
    Catch { defect: "digest_wrong_on_short_answers", stories: &["protocol-session"], by: &["ISC-006"] },
    Catch { defect: "residual_on_short_write", stories: &["protocol-data"], by: &["ISC-010"] },
    Catch { defect: "data_sn_unchecked", stories: &["protocol-data"], by: &["ISC-009"] },
    Catch { defect: "reject_hangs", stories: &["protocol-data"], by: &["ISC-009"] },
    Catch { defect: "first_burst_ignored", stories: &["protocol-data"], by: &["ISC-004"] },
    Catch { defect: "clamps_silently", stories: &["protocol-keys"], by: &["ISC-003"] },
    Catch { defect: "unmap_answers_twice", stories: &["protocol-provisioning"], by: &["SCS-007"] },
    Catch { defect: "compare_and_write_not_atomic", stories: &["protocol-blocks"], by: &["SCS-010"] },
    Catch { defect: "write_cache_hidden", stories: &["protocol-blocks"], by: &["SCS-017"] },
    Catch { defect: "resize_not_told", stories: &["protocol-nexus"], by: &["EXT-003"] },
    Catch { defect: "unmap_claimed_not_done", stories: &["protocol-provisioning"], by: &["SCS-007"] },
    Catch { defect: "copy_unchecked", stories: &["protocol-nexus"], by: &["ATT-001"] },
    Catch { defect: "attention_to_wrong_nexus", stories: &["protocol-nexus"], by: &["SCS-015"] },
    Catch { defect: "conflict_not_reported", stories: &["protocol-nexus"], by: &["SCS-014"] },
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for story in STORIES {
        trials.push(Trial::test(format!("story::{}", story.name), || story_holds(story.name)));
    }
    let registry = Registry::builtin();
    let default = registry.suite("default").unwrap();
    for id in default.required() {
        trials.push(Trial::test(format!("requirement::{id}"), move || requirement_holds(id)));
    }
    for defect in planted() {
        trials.push(defect_trial(defect));
    }
    trials.push(Trial::test("protocol::everything_passes", protocol_holds));
    trials.push(Trial::test("defects::the_table_is_complete", table_is_complete));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn story_holds(name: &str) -> Result<(), Failed> {
    let bench = Bench::new();
    for seed in SEEDS {
        let ran = bench.run(&["run", name, "--seed", seed]);
        if ran.code != 0 {
            return Err(format!("seed {seed}\n{ran}").into());
        }
    }
    let left = bench.everything();
    if left.is_empty() { Ok(()) } else { Err(format!("files were left behind: {left:?}").into()) }
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

/// The default suite, run once for all requirements.
fn default_suite() -> &'static (Ran, Value) {
    static SUITE: OnceLock<(Ran, Value)> = OnceLock::new();
    SUITE.get_or_init(|| {
        let bench = Bench::new();
        let ran = bench.run(&["run", "--report", "out"]);
        let report = json(&bench.path().join("out/report.json"));
        (ran, report)
    })
}

fn requirement_holds(id: &str) -> Result<(), Failed> {
    let (ran, report) = default_suite();
    let entry = report["requirements"].as_array().unwrap().iter().find(|r| r["id"] == id);
    let Some(entry) = entry else { return Err(format!("the report says nothing about it\n{ran}").into()) };
    if entry["verdict"] == "passed" && entry["required"] == true {
        return Ok(());
    }
    let findings: Vec<&Value> = report["cases"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|c| c["findings"].as_array().unwrap())
        .filter(|f| f["requirement"] == id)
        .collect();
    Err(format!("{entry:#}\n{findings:#?}").into())
}

/// Every defect that this command can plant.
fn planted() -> Vec<String> {
    let bench = Bench::new();
    let ran = bench.run(&["list", "defects", "--format", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

fn defect_trial(defect: String) -> Trial {
    let name = format!("defect::{defect}");
    if let Some((_, why)) = BLIND.iter().find(|(name, _)| *name == defect) {
        return Trial::test(name, || Ok(())).with_kind(*why).with_ignored_flag(true);
    }
    Trial::test(name, move || match CATCHES.iter().find(|c| c.defect == defect) {
        Some(catch) => is_caught(catch),
        None => Err("no line in CATCHES: which story shows it, and by which requirement?".into()),
    })
}

fn is_caught(catch: &Catch) -> Result<(), Failed> {
    let bench = Bench::new();
    let mut words = vec!["run"];
    words.extend(catch.stories);
    words.extend(["--defect", catch.defect, "--report", "out"]);
    let ran = bench.run(&words);
    if ran.code != 1 {
        return Err(format!("not caught\n{ran}").into());
    }
    let report = json(&bench.path().join("out/report.json"));
    let failed = requirements(&report, "failed");
    if failed.iter().any(|id| catch.by.contains(&id.as_str())) {
        return Ok(());
    }
    Err(format!("caught, but not by name: {failed:?} failed, expected one of {:?}\n{ran}", catch.by).into())
}

/// The two tables name what exists, each defect once, and only stories that the suites `default` and `protocol` play.
fn table_is_complete() -> Result<(), Failed> {
    let planted: BTreeSet<String> = planted().into_iter().collect();
    let mut named = BTreeSet::new();
    for name in CATCHES.iter().map(|c| c.defect).chain(BLIND.iter().map(|(name, _)| *name)) {
        if !named.insert(name.to_owned()) {
            return Err(format!("{name} stands in the tables twice").into());
        }
    }
    if planted != named {
        return Err(format!("planted: {planted:?}\nin the tables: {named:?}").into());
    }
    let registry = Registry::builtin();
    let played: Vec<&str> =
        ["default", "protocol"].iter().flat_map(|s| registry.suite(s).unwrap().stories).copied().collect();
    for catch in CATCHES {
        if let Some(story) = catch.stories.iter().find(|s| !played.contains(s)) {
            return Err(format!("{}: {story} is in no suite that CI plays", catch.defect).into());
        }
        for id in catch.by {
            if sanbench::register::requirement_by_id(id).is_none() {
                return Err(format!("{}: {id} is not in the register", catch.defect).into());
            }
        }
    }
    Ok(())
}
