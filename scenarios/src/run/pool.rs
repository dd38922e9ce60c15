//! Simulated cases on all cores. Each case is a world of its own on one thread, so their order cannot matter.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use sanbench_runner::{CaseOutcome, CaseSpec};

/// Runs every case with `run` on up to `jobs` threads and hands the outcomes to `seen` in the order of the cases.
/// Stops starting cases once `stop` is set; cases that were not started are missing from the answer.
pub(crate) fn run_all(
    specs: &[CaseSpec],
    jobs: usize,
    stop: &AtomicBool,
    run: impl Fn(&CaseSpec) -> CaseOutcome + Sync,
    mut seen: impl FnMut(&CaseOutcome),
) -> Vec<CaseOutcome> {
    let next = AtomicUsize::new(0);
    let mut outcomes = Vec::with_capacity(specs.len());
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..jobs.clamp(1, specs.len().max(1)) {
            let sender = sender.clone();
            let (next, run) = (&next, &run);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(spec) = specs.get(index) else { break };
                    if sender.send((index, run(spec))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        // Outcomes arrive in any order and are told in the order of the cases.
        let mut waiting = BTreeMap::new();
        for (index, outcome) in receiver {
            waiting.insert(index, outcome);
            while let Some(outcome) = waiting.remove(&outcomes.len()) {
                seen(&outcome);
                outcomes.push(outcome);
            }
        }
        for outcome in waiting.into_values() {
            seen(&outcome);
            outcomes.push(outcome);
        }
    });
    outcomes
}
