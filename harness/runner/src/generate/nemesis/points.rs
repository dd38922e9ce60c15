//! Where a fault is placed, so that it hits what comes next: hosts, commands, management calls, steps of flows.

use sanbench_world::Dice;

use crate::plan::{FaultAction, PlacedFault, Plan, Source, Step};
use crate::story::Name;

pub(super) fn fault(point: &str, nth: u64, action: FaultAction) -> Vec<Step> {
    vec![Step::Arm { fault: PlacedFault { point: point.to_owned(), nth, action, masked: false, most: None } }]
}

pub(super) fn one(d: &mut Dice, points: &[&str], action: FaultAction, most: u64) -> Vec<Step> {
    let point = points[d.below(points.len() as u64) as usize];
    fault(point, 1 + d.below(most), action)
}

/// Where a command arrives: any, or one whose loss a guest would feel.
pub(super) fn arrival(d: &mut Dice) -> &'static str {
    match d.below(4) {
        0 => "target.command.before:WRITE",
        1 => "target.command.before:SYNCHRONIZE CACHE",
        _ => "target.command.before",
    }
}

/// A host of the plan.
pub(super) fn any_host(d: &mut Dice, plan: &Plan) -> Option<Name> {
    let n = plan.site.hosts.len() as u64;
    (n > 0).then(|| plan.site.hosts[d.below(n) as usize].0.clone())
}

/// A host of the plan that has more than one path.
pub(super) fn several_paths(d: &mut Dice, plan: &Plan) -> Option<Name> {
    let hosts: Vec<&Name> =
        plan.site.hosts.iter().filter(|(_, paths)| *paths > 1).map(|(name, _)| name).collect();
    (!hosts.is_empty()).then(|| hosts[d.below(hosts.len() as u64) as usize].clone())
}

/// A management call of the step that comes next, or any.
pub(super) fn arm(d: &mut Dice, when: &str, next: &Step, action: FaultAction) -> Vec<Step> {
    let calls = calls(next);
    let (point, most) = match d.below(3) {
        0 => (format!("{when}*"), 12),
        _ if calls.is_empty() => (format!("{when}*"), 6),
        _ => (format!("{when}{}", calls[d.below(calls.len() as u64) as usize]), 2),
    };
    fault(&point, 1 + d.below(most), action)
}

/// A management call that is refused once, a few times, or more often than a driver is patient.
pub(super) fn refusals(d: &mut Dice, next: &Step) -> Vec<Step> {
    let mut once = arm(d, "rest.before:", next, FaultAction::Fail);
    if let [Step::Arm { fault }] = &once[..]
        && d.chance(1, 3)
    {
        let times = if d.chance(1, 2) { 3 } else { OUTLASTS };
        let more = |by| PlacedFault { nth: fault.nth + by, ..fault.clone() };
        let more: Vec<Step> = (1..times).map(|by| Step::Arm { fault: more(by) }).collect();
        once.extend(more);
    }
    once
}

/// Refusals in a row of which a driver that tries a call again a few times sees nothing else.
pub(in super::super) const OUTLASTS: u64 = 8;

/// Where the state database is asked for a transaction.
pub(super) const DATABASE: &str = "db.transaction";

/// Whether the operation is likely to begin background work.
pub(super) fn copies(step: &Step) -> bool {
    matches!(
        step,
        Step::Flatten { .. }
            | Step::DeleteSnapshot { .. }
            | Step::Create { source: Source::Snapshot(_) | Source::Volume(_), .. }
    )
}

/// Lookups of which an operation is likely to believe the answer.
pub(super) fn looks(step: &Step) -> &'static [&'static str] {
    match step {
        Step::Create { source: Source::Volume(_) | Source::Snapshot(_), .. } => &["GET lun", "GET snapshot"],
        Step::Create { .. } | Step::Delete { .. } | Step::Extend { .. } | Step::Flatten { .. } => {
            &["GET lun"]
        }
        Step::Attach { .. } | Step::Detach { .. } => &[
            "GET lun",
            "GET host",
            "GET iscsi_initiator",
            "GET hostgroup",
            "GET lungroup",
            "GET mappingview",
        ],
        Step::Snapshot { .. } | Step::DeleteSnapshot { .. } => &["GET lun", "GET snapshot"],
        _ => &[],
    }
}

/// Management calls that an operation is likely to make.
fn calls(step: &Step) -> &'static [&'static str] {
    match step {
        Step::Create { source: Source::Volume(_) | Source::Snapshot(_), .. } => {
            &["POST *", "PUT *", "POST lun", "POST snapshot", "PUT lun/expand", "DELETE snapshot"]
        }
        Step::Create { .. } => &["POST lun", "POST *"],
        Step::Attach { .. } => &[
            "POST *",
            "PUT *",
            "POST host",
            "POST mappingview",
            "POST lungroup",
            "PUT mappingview/create_associate",
        ],
        Step::Detach { .. } => &["DELETE *", "PUT *"],
        Step::Delete { .. } => &["DELETE lun", "DELETE *", "GET lun*"],
        Step::Extend { .. } => &["PUT lun/expand"],
        Step::Snapshot { .. } => &["POST snapshot", "POST *"],
        Step::DeleteSnapshot { .. } => &["DELETE snapshot", "DELETE *", "PUT *"],
        Step::Flatten { .. } => &["POST *", "PUT *"],
        _ => &[],
    }
}

/// A step of the flow that the operation which comes next will run.
pub(super) fn flow(d: &mut Dice, next: &Step, action: FaultAction) -> Vec<Step> {
    at_flow(d, flows(next), action)
}

/// The message to a step that the volume service does, or the compute service: what the API does itself needs none.
pub(super) fn message(d: &mut Dice, next: &Step, action: FaultAction) -> Vec<Step> {
    let far: Vec<&str> = flows(next).iter().copied().filter(|flow| *flow != "create_volume").collect();
    at_flow(d, &far, action)
}

/// The flows that an operation runs.
fn flows(step: &Step) -> &'static [&'static str] {
    match step {
        Step::Create { source: Source::Image(_), .. } => &["build_volume_from_image", "create_volume"],
        Step::Create { .. } => &["build_volume", "create_volume"],
        Step::Attach { .. } => &["attach_volume"],
        Step::Detach { .. } => &["detach_volume"],
        Step::Delete { .. } => &["delete_volume"],
        Step::Extend { .. } => &["extend_volume"],
        Step::Snapshot { .. } => &["create_snapshot"],
        Step::DeleteSnapshot { .. } => &["delete_snapshot"],
        Step::Flatten { .. } => &["flatten_volume"],
        Step::Reimage { .. } => &["reimage_volume"],
        _ => &[],
    }
}

/// A crash at a step of the flow that the operation runs, and a failure at that step or one before it, when the flow comes there
/// for the second time.
pub(in super::super) fn relapsing(d: &mut Dice, step: &Step) -> Option<(Step, Step)> {
    let points = flow_points(flows(step));
    if points.is_empty() {
        return None;
    }
    let crash = d.below(points.len() as u64) as usize;
    let failure = d.below(crash as u64 + 1) as usize;
    let at = |at: usize, nth, action| fault(points.get(at)?, nth, action).pop();
    Some((at(crash, 1, FaultAction::Crash)?, at(failure, 2, FaultAction::Fail)?))
}

/// The points of all steps of these flows, in their order.
fn flow_points(flows: &[&str]) -> Vec<String> {
    let all = sanbench_flows::flow_catalogue();
    let mut points = Vec::new();
    for info in all.iter().filter(|info| flows.contains(&info.name)) {
        for step in &info.steps {
            for side in ["before", "after"] {
                points.push(format!("flow.{}.{step}.{side}", info.name));
            }
        }
    }
    points
}

fn at_flow(d: &mut Dice, flows: &[&str], action: FaultAction) -> Vec<Step> {
    let points = flow_points(flows);
    match points.len() as u64 {
        0 => Vec::new(),
        n => fault(&points[d.below(n) as usize], 1, action),
    }
}
