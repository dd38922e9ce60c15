//! `sanbench replay`: a recorded failure again.

use sanbench_protocol::Chapter;
use sanbench_reports::{Verdict, write::read_failure};
use sanbench_runner::CaseSpec;

use super::run::{Where, place};
use crate::cli::{Format, ReplayArgs};
use crate::compose::{LiveSetup, SimSetup, Target, run_live_case, run_sim_case};
use crate::defects::Planted;
use crate::failure::Refusal;
use crate::registry::Registry;
use crate::run::{Output, print};
use crate::safety::Tag;
use crate::targets;

/// Exit code 1 for the same signature, 2 for another outcome, 0 when it passes.
pub(super) fn replay(registry: &Registry, args: &ReplayArgs) -> Result<u8, Refusal> {
    let shown = args.failure.display().to_string();
    let failure = read_failure(&args.failure).map_err(|e| {
        Refusal::new(e.to_string()).hint("a file from the failures folder of a report directory")
    })?;
    let planted = Planted::from_words(registry, &failure.run.planted)
        .map_err(|word| Refusal::new(format!("{shown}: this version has no defect `{word}`")))?;
    let story = failure.finding.case.split('/').next().unwrap_or("replay").to_owned();
    // A chapter of the protocol cases is no story; its name says it all.
    let plan = match Chapter::by_name(&story).filter(|_| failure.plan.is_empty()) {
        Some(chapter) => targets::chapter_plan(chapter),
        None => targets::parse(&format!("{shown} (plan)"), &failure.plan)?,
    };
    let spec =
        CaseSpec { id: failure.finding.case.clone(), story, plan, seed: failure.finding.seed, scan: false };
    let driver = registry.drivers.first().copied().ok_or_else(|| Refusal::new("no driver is built in"))?;
    let env = args.env.clone().unwrap_or_else(|| failure.run.env.clone());
    let mut output = Output::new(Format::Human, false, args.trace, args.tries);
    let mut same = 0;
    let mut other = 0;
    let tries = if env == "sim" { 1 } else { args.tries };
    for _ in 0..tries {
        let (outcome, segments) = match place(&env)? {
            Where::Sim => {
                let capture = args.pcap.is_some();
                let setup = SimSetup {
                    driver,
                    planted: planted.clone(),
                    image: None,
                    keep_history: args.trace,
                    capture,
                };
                run_sim_case(&setup, &spec)
            }
            Where::Loopback => {
                let scratch = tempfile::tempdir()
                    .map_err(|e| Refusal::new(format!("cannot make a temporary folder: {e}")))?;
                let setup = LiveSetup {
                    driver,
                    planted: planted.clone(),
                    image: None,
                    trace: true,
                    capture: args.pcap.is_some(),
                    state_dir: scratch.path().to_path_buf(),
                    target: Target::Loopback,
                    tag: Tag([0x5a; 4]),
                };
                super::runtime()?.block_on(run_live_case(&setup, &spec))
            }
            Where::Profile(_) => {
                return Err(Refusal::new("replay on a profile: run its story with `run --env PROFILE.toml`")
                    .hint(format!(
                        "the story is beside the file: {}",
                        args.failure.with_extension("story").display()
                    )));
            }
        };
        if let Some(file) = &args.pcap {
            let list = segments
                .into_iter()
                .map(|s| crate::run::segment(s, std::time::Duration::ZERO, 0))
                .collect::<Vec<_>>();
            std::fs::write(file, sanbench_reports::pcap::write(&list))
                .map_err(|e| Refusal::new(format!("--pcap {}: {e}", file.display())))?;
        }
        let mut outcome = outcome;
        for finding in &mut outcome.case.findings {
            finding.case.clone_from(&outcome.case.id);
            finding.seed = outcome.case.seed;
        }
        let _ = output.case(&outcome);
        if outcome.case.findings.iter().any(|f| f.signature == failure.finding.signature) {
            same += 1;
        } else if outcome.case.verdict != Verdict::Passed {
            other += 1;
        }
    }
    let signature = &failure.finding.signature;
    let text = match (env.as_str(), same, other) {
        ("sim", 1.., _) => format!("\nthe same failure: {signature}\n"),
        ("sim", _, 1..) => format!("\nanother outcome; recorded was {signature}\n"),
        ("sim", ..) => format!("\npassed; recorded was {signature}\n"),
        _ => format!("\nreproduced {same} of {tries}: {signature}\n"),
    };
    let _ = print(&text);
    Ok(match (same, other) {
        (1.., _) => 1,
        (_, 1..) => 2,
        _ => 0,
    })
}
