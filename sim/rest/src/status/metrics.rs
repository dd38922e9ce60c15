//! `GET /metrics`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::jobs::{jobs, state_name};
use super::{BLOCK, faults};
use crate::RestState;

/// A family of samples: name, help and type once, then each sample.
fn family(out: &mut String, name: &str, kind: &str, help: &str, samples: &[(String, u64)]) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP sanbench_array_{name} {help}\n# TYPE sanbench_array_{name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(out, "sanbench_array_{name}{labels} {value}");
    }
}

/// A label in braces, its value escaped as the format asks.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{{name}=\"{value}\"}}")
}

pub(super) fn metrics(state: &RestState) -> String {
    let inner = state.inner();
    let mut out = String::new();
    let one = |value: u64| vec![(String::new(), value)];
    let counts = state.counts().into_iter().map(|(kind, n)| (label("kind", kind), n)).collect::<Vec<_>>();
    family(&mut out, "objects", "gauge", "Objects by kind.", &counts);
    let sessions = one(state.sessions() as u64);
    family(&mut out, "management_sessions", "gauge", "Open sessions of the management API.", &sessions);
    let tally = &inner.tally;
    let calls = one(tally.calls.load(Ordering::Relaxed));
    family(&mut out, "management_calls_total", "counter", "Management calls answered.", &calls);
    let refused = one(tally.refused.load(Ordering::Relaxed));
    family(&mut out, "management_refusals_total", "counter", "Calls answered with an error code.", &refused);
    let handshakes = one(tally.handshakes_failed.load(Ordering::Relaxed));
    family(
        &mut out,
        "tls_handshakes_failed_total",
        "counter",
        "TLS handshakes that came to nothing.",
        &handshakes,
    );
    let faults = one(faults(state).len() as u64);
    family(&mut out, "injected_faults", "gauge", "Fault rules in force.", &faults);

    if let Some(gate) = inner.array.gate() {
        let stats = gate.stats();
        let micros = |time: std::time::Duration| one(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let commits = one(stats.commits);
        family(&mut out, "commits_total", "counter", "Commits to the directory of the array.", &commits);
        let help = "Changes that these commits have made durable; divided by them: how many share one.";
        family(&mut out, "promises_kept_total", "counter", help, &one(stats.promises));
        let help = "Pages of 4 KiB written by commits.";
        family(&mut out, "pages_written_total", "counter", help, &one(stats.pages));
        let busy = micros(stats.busy);
        family(&mut out, "commit_microseconds_total", "counter", "Time that commits took.", &busy);
        let longest = micros(stats.longest);
        family(&mut out, "longest_commit_microseconds", "gauge", "The longest commit.", &longest);
    }
    let mut array = inner.array.lock();
    array.advance(inner.env.now());
    let pools = |blocks: &dyn Fn(&sanbench_array::Pool) -> u64| -> Vec<(String, u64)> {
        array.pools().map(|pool| (label("pool", &pool.name), blocks(pool) * BLOCK)).collect()
    };
    let capacity = pools(&|pool| pool.capacity_blocks());
    family(&mut out, "pool_capacity_bytes", "gauge", "Physical capacity.", &capacity);
    let used = pools(&|pool| pool.used_blocks());
    family(&mut out, "pool_used_bytes", "gauge", "Physical space in use, shared extents once.", &used);
    let provisioned = pools(&|pool| pool.provisioned_blocks());
    family(&mut out, "pool_provisioned_bytes", "gauge", "Sum of the sizes of all LUNs.", &provisioned);
    let up: Vec<_> = array
        .controllers()
        .iter()
        .map(|controller| (label("controller", &controller.name), u64::from(controller.up)))
        .collect();
    family(&mut out, "controller_up", "gauge", "1 while the controller works.", &up);
    let online = one(array.initiators().map(|initiator| u64::from(initiator.sessions)).sum());
    family(&mut out, "initiator_sessions", "gauge", "iSCSI sessions of registered initiators.", &online);
    let mut by_state: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, _, status, _) in jobs(&array) {
        *by_state.entry(state_name(status)).or_default() += 1;
    }
    let by_state: Vec<_> = by_state.into_iter().map(|(state, n)| (label("state", state), n)).collect();
    family(&mut out, "jobs", "gauge", "Copies, splits, migrations and rollbacks by state.", &by_state);
    let power = one(array.power_generation());
    family(&mut out, "power_losses_total", "counter", "Times that power was lost.", &power);
    out
}
