//! Management sessions that nobody ended (API-001).

use sanbench_runner::CaseOutcome;
use sanbench_runner::plan::{FaultAction, PlacedFault, Plan, Step};

/// Judges how many sessions of the driver the array still has once the driver was shut down, where nothing but the driver
/// decides that: a service that crashes, a controller that fails, a login or log-out whose answer is wrong or lost, and an
/// array that calls a live session over leave sessions that only the array can end.
pub(super) fn judge(left: usize, plan: &Plan, outcome: &mut CaseOutcome) {
    // What goes wrong before hides why a session is left.
    let over = outcome.broken.is_some() || !outcome.case.findings.is_empty();
    if over || outcome.case.verdict == sanbench_reports::Verdict::Unknown || is_disturbed(plan) {
        return;
    }
    if left == 0 {
        outcome.ledger.compared("API-001", 1);
        return;
    }
    let found = sanbench_check::Finding::new("API-001", "sessions", "array", "left")
        .says(format!("{left} management session(s) outlive the driver that opened them"))
        .compared("no session once the driver has shut down", format!("{left} live"));
    super::redact::add(found, outcome);
}

fn is_disturbed(plan: &Plan) -> bool {
    let armed = plan.steps.iter().filter_map(|step| match &step.step {
        Step::Arm { fault } => Some(fault),
        _ => None,
    });
    let of_session = |fault: &PlacedFault| {
        let (prefix, any) =
            fault.point.strip_suffix('*').map_or((fault.point.as_str(), false), |p| (p, true));
        [
            "rest.before:POST sessions",
            "rest.after:POST sessions",
            "rest.before:DELETE sessions",
            "rest.after:DELETE sessions",
        ]
        .iter()
        .any(|point| if any { point.starts_with(prefix) } else { *point == prefix })
    };
    let called_over = |fault: &PlacedFault| {
        matches!(fault.action, FaultAction::Http(401 | 403) | FaultAction::Code(-401 | -403 | 1_077_949_069))
    };
    plan.site
        .faults
        .iter()
        .chain(armed)
        .any(|f| f.action == FaultAction::Crash || of_session(f) || called_over(f))
        || plan.steps.iter().any(|step| {
            matches!(
                step.step,
                Step::PowerLoss | Step::FailController { .. } | Step::RestoreController { .. }
            )
        })
}
