//! Simulated cases on all cores. Each case is a world of its own on one thread, so their order cannot matter.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Runs every item with `run` on up to `jobs` threads and hands the outcomes to `seen` in the order of the items.
/// Stops starting items once `stop` is set; items that were not started are missing from the answer.
pub(crate) fn run_all<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    stop: &AtomicBool,
    run: impl Fn(&T) -> R + Sync,
    mut seen: impl FnMut(&mut R),
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let mut outcomes = Vec::with_capacity(items.len());
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            let sender = sender.clone();
            let (next, run) = (&next, &run);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    if sender.send((index, run(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        // Outcomes arrive in any order and are told in the order of the items.
        let mut waiting = BTreeMap::new();
        for (index, outcome) in receiver {
            waiting.insert(index, outcome);
            while let Some(mut outcome) = waiting.remove(&outcomes.len()) {
                seen(&mut outcome);
                outcomes.push(outcome);
            }
        }
        for mut outcome in waiting.into_values() {
            seen(&mut outcome);
            outcomes.push(outcome);
        }
    });
    outcomes
}

/// Runs tasks `0..count` with `run` on up to `jobs` threads and hands what they give to `seen` as it comes, on this
/// thread. Nothing is kept. `idle` is called about once a second while nothing comes. Stops starting tasks once `stop` is
/// set.
pub(crate) fn run_each<T: Send>(
    count: u64,
    jobs: usize,
    stop: &AtomicBool,
    run: impl Fn(u64) -> T + Sync,
    mut seen: impl FnMut(T),
    mut idle: impl FnMut(),
) {
    let next = AtomicU64::new(0);
    let jobs = jobs.clamp(1, usize::try_from(count.max(1)).unwrap_or(usize::MAX));
    std::thread::scope(|scope| {
        // Bounded, so that outcomes never pile up before a slow reader.
        let (sender, receiver) = mpsc::sync_channel(2 * jobs);
        for _ in 0..jobs {
            let sender = sender.clone();
            let (next, run) = (&next, &run);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || sender.send(run(index)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        loop {
            match receiver.recv_timeout(Duration::from_secs(1)) {
                Ok(outcome) => seen(outcome),
                Err(mpsc::RecvTimeoutError::Timeout) => idle(),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
    });
}
