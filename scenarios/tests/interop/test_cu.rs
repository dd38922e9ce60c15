//! libiscsi's conformance suite, `iscsi-test-cu`, at the target through two portals: no test may fail, and a test may skip
//! only where `iscsi-test-cu-skips.txt` names it with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command as Process;
use std::sync::mpsc;

use libtest_mimic::{Failed, Trial};
use regex::Regex;
use sanbench_array::{
    Array, ArrayConfig, ArrayHandle, Command, DeviceId, GroupRef, PoolConfig, PortalConfig,
};
use sanbench_target::{TargetConfig, serve};
use sanbench_world::{LiveConfig, LiveWorld};

use super::live::HERE;
use super::tools::{Checked, Foreign, ensure, run};

/// The reviewed list: a test and its reason on each line.
const REVIEWED: &str = include_str!("iscsi-test-cu-skips.txt");
/// The tool's own initiator name.
const INITIATOR: &str = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test";
/// Blocks of the unit under test (128 MiB).
const BLOCKS: u64 = 1 << 18;

pub(crate) fn trials(foreign: &Foreign, all: &mut Vec<Trial>) {
    let tool = &["iscsi-test-cu"];
    all.push(foreign.trial("test_cu::all_families_through_two_portals", tool, families));
    all.push(foreign.trial("test_cu::sanitize_where_it_is_allowed", tool, sanitize));
    all.push(foreign.trial("test_cu::a_snapshot_is_read_only", tool, snapshot));
}

fn families() -> Checked {
    let urls = target(false, false)?;
    let ran = suite("ALL", &[], &urls)?;
    ensure!(ran.passed.len() >= 200, "only {} tests passed", ran.passed.len());
    let reviewed = reviewed()?;
    let unknown: Vec<_> =
        ran.skipped.iter().filter(|(test, _)| !reviewed.contains_key(test.as_str())).collect();
    ensure!(unknown.is_empty(), "skipped without a reviewed reason: {unknown:#?}");
    let stale: Vec<_> = reviewed
        .iter()
        .filter(|(test, reason)| !ran.skipped.contains_key(**test) && !reason.starts_with("not run:"))
        .collect();
    ensure!(stale.is_empty(), "on the reviewed list, but not skipped: {stale:#?}");
    Ok(())
}

fn sanitize() -> Checked {
    let urls = target(true, false)?;
    let reviewed = reviewed()?;
    let tests = [
        "BlockErase",
        "BlockEraseReserved",
        "CryptoErase",
        "CryptoEraseReserved",
        "ExitFailureMode",
        "InvalidServiceAction",
        "Overwrite",
        "OverwriteReserved",
        "Readonly",
        "Reservations",
        "Reset",
    ];
    for test in tests {
        if reviewed.get(format!("Sanitize.{test}").as_str()).is_some_and(|why| why.starts_with("not run:")) {
            continue;
        }
        let ran = suite(&format!("ALL.Sanitize.{test}"), &["--allow-sanitize"], &urls[..1])?;
        ensure!(ran.skipped.is_empty() && ran.passed.len() == 1, "{test}: {:?}", ran.skipped);
    }
    Ok(())
}

fn snapshot() -> Checked {
    let urls = target(false, true)?;
    let ran = suite("ALL.ReadOnly", &[], &urls)?;
    ensure!(ran.skipped.is_empty() && ran.passed.len() == 1, "{:?}", ran.skipped);
    Ok(())
}

/// The reviewed list by test.
fn reviewed() -> Result<BTreeMap<&'static str, &'static str>, Failed> {
    let lines = REVIEWED.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (test, reason) = line.split_once(": ").ok_or_else(|| format!("no reason: {line:?}"))?;
            if reason.len() < 10 {
                Err(format!("no real reason: {line:?}").into())
            } else {
                Ok((test, reason))
            }
        })
        .collect()
}

/// What became of each test, as `Suite.Test`.
struct Ran {
    passed: BTreeSet<String>,
    skipped: BTreeMap<String, String>,
}

/// Runs tests of the tool; fails when one of them does.
fn suite(what: &str, more: &[&str], urls: &[String]) -> Result<Ran, Failed> {
    let mut tool = Process::new("iscsi-test-cu");
    tool.args(["--dataloss", "--verbose", "-t", what]).args(more).args(urls);
    let done = run(&mut tool, 55);
    ensure!(done.code.is_some_and(|code| code <= 1), "{what}: exit {:?}\n{}", done.code, done.err);
    let text = done.out;
    let (heading, test) = (Regex::new(r"^Suite: (\S+)")?, Regex::new(r"^\s+Test: (\S+) \.\.\.")?);
    let verdict = Regex::new(r"(passed|FAILED)(\s*$|\s{4}\[)")?;
    let mut ran = Ran { passed: BTreeSet::new(), skipped: BTreeMap::new() };
    let (mut suite, mut name) = (String::new(), String::new());
    let mut failed = Vec::new();
    for line in text.lines() {
        if let Some(found) = heading.captures(line) {
            suite = found[1].to_owned();
        } else if let Some(found) = test.captures(line) {
            name = format!("{suite}.{}", &found[1]);
        }
        if let Some((_, why)) = line.split_once("[SKIPPED]") {
            ran.skipped.insert(name.clone(), why.trim().to_owned());
        }
        match verdict.captures(line).map(|found| found[1].to_owned()).as_deref() {
            Some("FAILED") => failed.push(name.clone()),
            Some(_) => drop(ran.passed.insert(name.clone())),
            None => {}
        }
    }
    // The tool's own count, so that nothing gets lost in its talk.
    let counts = Regex::new(r"(?m)^\s+tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)")?;
    let counts = counts.captures(&text).ok_or_else(|| format!("{what}: no summary in\n{text}"))?;
    ensure!(
        failed.is_empty() && &counts[4] == "0",
        "{what}: failed {failed:?}, {} in all\n{text}",
        &counts[4]
    );
    ensure!(counts[2] == counts[3], "{what}: {} ran, {} passed", &counts[2], &counts[3]);
    ran.passed.retain(|test| !ran.skipped.contains_key(test));
    Ok(ran)
}

/// Starts a target with two portals, one on each controller, in a thread that lives as long as this process; the unit's
/// URL through each. With `frozen` the unit is a snapshot.
fn target(allow_sanitize: bool, frozen: bool) -> Result<Vec<String>, Failed> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let dir = tempfile::tempdir().unwrap();
            let state_dir = dir.path().to_owned();
            let config =
                LiveConfig { seed: 1, trace: false, state_dir, faults: Default::default(), capture: false };
            let world = LiveWorld::new(config).unwrap();
            let env = world.node("array", &[HERE]);
            let mut listeners = Vec::new();
            let mut portals = Vec::new();
            for controller in 0..2u8 {
                let listener = env.listen((HERE, 0).into()).await.unwrap();
                let (address, tpgt) = (listener.local_addr(), u16::from(controller) + 1);
                portals.push(PortalConfig { address, port_no: u32::from(tpgt), tpgt, controller });
                listeners.push(listener);
            }
            let pools = vec![PoolConfig::new("pool0", BLOCKS * 3)];
            let array: ArrayHandle =
                Array::new(ArrayConfig { pools, portals: portals.clone(), ..ArrayConfig::default() }).into();
            let lun = unit(&array, frozen);
            let name = array.lock().target_iqn().to_owned();
            let urls = portals.iter().map(|portal| format!("iscsi://{}/{name}/{lun}", portal.address));
            tell.send(urls.collect::<Vec<_>>()).unwrap();
            serve(env, array, listeners, TargetConfig { allow_sanitize, ..TargetConfig::default() }).await;
        });
    });
    Ok(told.recv()?)
}

/// Makes the unit under test and shows it to the tool; its LUN.
fn unit(array: &ArrayHandle, frozen: bool) -> u16 {
    let mut array = array.lock();
    let mut apply =
        |command: Command| array.apply(Default::default(), command).unwrap().id().unwrap_or_default();
    let text = || ("unit".to_owned(), String::new());
    let (name, description) = text();
    let lun = apply(Command::CreateLun { name, description, pool: 0, blocks: BLOCKS, thin: true });
    if !frozen {
        apply(Command::OpenExport { lun });
        return 0;
    }
    let (name, description) = text();
    let snapshot = apply(Command::CreateSnapshot { name, description, parent: lun });
    apply(Command::ActivateSnapshots { ids: vec![snapshot] });
    let (name, description) = text();
    let host = apply(Command::CreateHost { name, description });
    let (name, description) = text();
    let hosts = apply(Command::CreateHostGroup { name, description });
    apply(Command::AddHostToGroup { group: hosts, host });
    let (name, description) = text();
    let luns = apply(Command::CreateLunGroup { name, description });
    let (name, description) = text();
    let view = apply(Command::CreateView { name, description });
    apply(Command::AddToView { view, group: GroupRef::Host(hosts) });
    apply(Command::AddToView { view, group: GroupRef::Lun(luns) });
    for iqn in [INITIATOR.to_owned(), format!("{INITIATOR}-2")] {
        apply(Command::AddInitiator { iqn: iqn.clone() });
        apply(Command::BindInitiator { iqn, host });
    }
    apply(Command::AddToLunGroup { group: luns, object: DeviceId::Snapshot(snapshot) });
    array.view(INITIATOR)[0].0
}
