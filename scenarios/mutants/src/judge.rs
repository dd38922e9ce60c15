//! The bench judges: the default suite first, then a sweep.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::build::Tree;
use crate::ledger::{Ledger, Verdict};
use crate::list::Mutant;

/// Longest that the default suite may take before a mutant counts as one that hangs it.
const SUITE: Duration = Duration::from_secs(120);
/// A sweep may take so many times as long as without a mutant.
const PATIENCE: u64 = 5;
/// Seeds by which the length of a sweep is measured.
const TRIAL: u64 = 200;
/// Address space of a judged process: a mutant may allocate without end.
const MEMORY_KIB: u64 = 12 << 20;

/// How long to go on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// No mutant is begun after so long.
    pub minutes: Duration,
    /// Length of a sweep without a mutant. Its seeds are counted once, so that verdicts do not hang on the clock.
    pub sweep_s: u64,
    /// Only the default suite judges; what it lets pass waits for the sweep of a later call.
    pub suite_only: bool,
}

/// A sweep, the same for every mutant.
#[derive(Debug, Clone, Copy)]
struct Sweep {
    seeds: u64,
    most: Duration,
}

/// Judges mutants and keeps the ledger on disk after each.
///
/// # Errors
/// The unchanged sources do not pass, or something cannot be built or written.
pub fn judge(
    tree: &Tree,
    mutants: &[Mutant],
    ledger: &mut Ledger,
    file: &Path,
    limits: Limits,
) -> Result<(), String> {
    let begun = Instant::now();
    if mutants.is_empty() {
        return Ok(());
    }
    let woven = tree.weave(mutants)?;
    let sweep = if limits.suite_only {
        None
    } else {
        let sweep = measured(tree, limits.sweep_s)?;
        eprintln!("a sweep has {} seeds", sweep.seeds);
        ledger.seeds = sweep.seeds;
        Some(sweep)
    };
    if let Some((_, by)) = verdict(tree, None, sweep)? {
        return Err(format!("the bench does not pass without a mutant: {by}"));
    }
    for n in &woven {
        if begun.elapsed() >= limits.minutes {
            return Ok(());
        }
        let found = verdict(tree, Some(*n), sweep)?;
        note(ledger, file, &mutants[*n], found, sweep)?;
    }
    // The rest does not compile at all, was taken out for an error near by, or cannot stand behind a switch.
    let mut rest = Vec::new();
    for (n, mutant) in mutants.iter().enumerate().filter(|(n, _)| !woven.contains(n)) {
        if begun.elapsed() >= limits.minutes {
            return Ok(());
        }
        if tree.compiles_alone(mutant)? {
            rest.push(n);
        } else {
            note(ledger, file, mutant, Some((Verdict::Unviable, String::new())), sweep)?;
        }
    }
    if !woven.is_empty() && !rest.is_empty() {
        let again: Vec<Mutant> = rest.iter().map(|n| mutants[*n].clone()).collect();
        return judge(
            tree,
            &again,
            ledger,
            file,
            Limits { minutes: limits.minutes.saturating_sub(begun.elapsed()), ..limits },
        );
    }
    for mutant in rest.into_iter().map(|n| &mutants[n]) {
        if begun.elapsed() >= limits.minutes {
            return Ok(());
        }
        if tree.build_alone(mutant)? {
            let found = verdict(tree, None, sweep)?;
            note(ledger, file, mutant, found, sweep)?;
        } else {
            note(ledger, file, mutant, Some((Verdict::Unviable, String::new())), sweep)?;
        }
    }
    Ok(())
}

/// Sorts out what does not compile, and judges nothing.
///
/// # Errors
/// The sources or the ledger cannot be written.
pub fn check(tree: &Tree, mutants: &[Mutant], ledger: &mut Ledger, file: &Path) -> Result<(), String> {
    for mutant in mutants {
        let found = (!tree.compiles_alone(mutant)?).then(|| (Verdict::Unviable, String::new()));
        note(ledger, file, mutant, found, None)?;
    }
    Ok(())
}

fn note(
    ledger: &mut Ledger,
    file: &Path,
    mutant: &Mutant,
    found: Option<(Verdict, String)>,
    sweep: Option<Sweep>,
) -> Result<(), String> {
    let row = &mut ledger.rows[mutant.row];
    let passed = if sweep.is_some() { Verdict::Survived } else { Verdict::Pending };
    (row.verdict, row.by) = found.unwrap_or((passed, String::new()));
    eprintln!("{:?} {} {}", row.verdict, row.by, row.name);
    ledger.save(file)
}

/// How many seeds the unchanged bench sweeps in that time.
fn measured(tree: &Tree, seconds: u64) -> Result<Sweep, String> {
    let begun = Instant::now();
    if let Some(by) = noticed(
        tree,
        None,
        &["sweep", "--quiet", "--shrink", "off", "--seeds", &format!("0..{TRIAL}")],
        SUITE,
    )? {
        return Err(format!("a sweep without a mutant does not pass: {by}"));
    }
    let took = begun.elapsed().as_secs_f64().max(0.001);
    let seeds = (TRIAL as f64 * seconds as f64 / took) as u64;
    Ok(Sweep { seeds: seeds.max(1), most: Duration::from_secs(seconds * PATIENCE) })
}

/// Who notices the mutant, and by what; none when nobody does.
fn verdict(
    tree: &Tree,
    number: Option<usize>,
    sweep: Option<Sweep>,
) -> Result<Option<(Verdict, String)>, String> {
    if let Some(by) = noticed(tree, number, &["run", "--quiet", "--shrink", "off"], SUITE)? {
        return Ok(Some((Verdict::Suite, by)));
    }
    let Some(sweep) = sweep else { return Ok(None) };
    let seeds = format!("0..{}", sweep.seeds);
    let found =
        noticed(tree, number, &["sweep", "--quiet", "--shrink", "off", "--seeds", &seeds], sweep.most)?;
    Ok(found.map(|by| (Verdict::Sweep, by)))
}

/// Runs the program; answers what was noticed.
fn noticed(
    tree: &Tree,
    number: Option<usize>,
    args: &[&str],
    most: Duration,
) -> Result<Option<String>, String> {
    let out = std::env::temp_dir().join(format!("sanbench-mutants-{}", std::process::id()));
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"")])
        .arg(tree.program())
        .args(args)
        .arg("--report")
        .arg(out.join("report"))
        .env("XDG_STATE_HOME", &out)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match number {
        Some(n) => command.env("SANBENCH_MUTANT", n.to_string()),
        None => command.env_remove("SANBENCH_MUTANT"),
    };
    let mut child = command.spawn().map_err(|e| format!("sh: {e}"))?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| format!("wait: {e}"))? {
            break Some(status);
        }
        if begun.elapsed() > most {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        sleep(Duration::from_millis(20));
    };
    let by = match status.map(|s| s.code()) {
        // A failed SHOULD is noticed too: it stands in the report.
        Some(Some(0)) => first_failed(&out.join("report")),
        None => Some("hangs".to_owned()),
        Some(None) => Some("dies".to_owned()),
        Some(Some(code)) => Some(first_failed(&out.join("report")).unwrap_or_else(|| format!("exit {code}"))),
    };
    let _ = fs::remove_dir_all(&out);
    Ok(by)
}

/// The first requirement that a report calls failed.
fn first_failed(dir: &Path) -> Option<String> {
    let report: Value = serde_json::from_slice(&fs::read(dir.join("report.json")).ok()?).ok()?;
    let failed = report["requirements"].as_array()?.iter().find(|r| r["verdict"] == "failed")?;
    failed["id"].as_str().map(str::to_owned)
}
