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
    outcome.find_at_end(found);
}

fn is_disturbed(plan: &Plan) -> bool {
    let of_session = |fault: &PlacedFault| {
        ["before:POST", "after:POST", "before:DELETE", "after:DELETE"]
            .iter()
            .any(|call| fault.covers(&format!("rest.{call} sessions")))
    };
    plan.placed_faults()
        .any(|f| f.action == FaultAction::Crash || f.action.calls_session_over() || of_session(f))
        || plan.steps.iter().any(|step| {
            matches!(
                step.step,
                Step::PowerLoss | Step::FailController { .. } | Step::RestoreController { .. }
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disturbed(lines: &str) -> bool {
        let text = format!("story \"x\"\nhost h\n{lines}\n");
        is_disturbed(&sanbench_runner::story::parse(&text).unwrap())
    }

    #[test]
    fn only_what_may_leave_a_session_by_itself_disturbs() {
        for quiet in [
            "create v size=1GiB",
            "fault \"rest.before:POST lun\" do=expire-session\ncreate v size=1GiB",
            "arm \"rest.after:GET lun*\" do=drop-reply",
            "arm \"rest.before:POST lun\" do=http status=503",
            "cut h",
        ] {
            assert!(!disturbed(quiet), "{quiet}");
        }
        for loud in [
            "power-loss",
            "fail-controller 1",
            "arm \"rest.after:POST sessions\" do=drop-reply",
            "arm \"rest.after:*\" do=truncate",
            "arm \"rest.before:DELETE *\" do=fail",
            "arm \"flow.build_volume.make.after\" do=crash",
            "fault \"rest.before:POST lun\" do=http status=401\ncreate v size=1GiB",
            "arm \"rest.before:GET lun\" do=code code=-401",
        ] {
            assert!(disturbed(loud), "{loud}");
        }
    }
}
