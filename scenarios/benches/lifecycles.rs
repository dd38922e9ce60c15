//! How many whole volume lifecycles a second one core simulates: `cargo bench -p sanbench --bench lifecycles`.
//!
//! A lifecycle is the story `lifecycle` with all of its checks. The floor is 1,000 a minute; the direction is 200 a
//! second. Then lifecycles with faults woven in (floor: 1,000 a core-minute with the default profile) and generated plans:
//! their rates, and how much faster than the wall clock virtual time goes with the heavy profile (floor: 1,000 times).
//! Prints rates, decides nothing: machines differ.

use std::process::{Command, ExitCode};
use std::time::Instant;

/// Cases of one measurement.
const CASES: u32 = 200;
/// Measurements; the best one is the machine's least disturbed one.
const ROUNDS: u32 = 3;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the wall clock")]
fn main() -> ExitCode {
    let cases = CASES.to_string();
    let run = |cases: &str| {
        let begun = Instant::now();
        let status = Command::new(env!("CARGO_BIN_EXE_sanbench"))
            .args(["run", "lifecycle", "--quiet", "--jobs", "1", "--cases", cases])
            .status();
        (begun.elapsed().as_secs_f64(), status.is_ok_and(|s| s.success()))
    };
    let (start_up, ok) = run("1");
    if !ok {
        eprintln!("the lifecycle story does not pass; a rate would mean nothing");
        return ExitCode::FAILURE;
    }
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let (seconds, ok) = run(&cases);
        if !ok {
            eprintln!("the lifecycle story does not pass; a rate would mean nothing");
            return ExitCode::FAILURE;
        }
        rates.push(f64::from(CASES) / seconds);
    }
    rates.sort_by(f64::total_cmp);
    let (least, best) = (rates[0], rates[rates.len() - 1]);
    println!(
        "lifecycles on one core: {least:.1} to {best:.1} a second ({:.0} a minute), one alone {start_up:.3} s",
        best * 60.0
    );
    let lifecycles = ["none", "default", "heavy"].map(|faults| (Some("lifecycle"), faults));
    let generated = ["none", "default", "heavy"].map(|faults| (None, faults));
    for (story, faults) in lifecycles.into_iter().chain(generated) {
        let mut words = vec!["sweep", "--seeds", "0..400", "--faults", faults, "--quiet", "--jobs", "1"];
        words.extend(story);
        let ran = Command::new(env!("CARGO_BIN_EXE_sanbench")).args(words).output();
        let Ok(ran) = ran else { return ExitCode::FAILURE };
        let text = String::from_utf8_lossy(&ran.stdout);
        let failed = if ran.status.success() { "" } else { " (some failed)" };
        let plans = story.map_or("generated plans", |_| "whole lifecycles");
        println!("{plans}, faults {faults}: {}{failed}", text.lines().last().unwrap_or_default());
    }
    ExitCode::SUCCESS
}
