//! Which requirements an operation exercises: those that are charged when it fails, and those that a clean
//! verification of the volumes it touched upholds.

use sanbench_api::{DriverError, RefusalKind};
use sanbench_flows::{Cause, FlowError, Refusal};

use crate::plan::{FaultAction, Refused, Source, Step};

/// A delay of a management call of at least so many milliseconds is no answer at all.
pub(crate) const NO_ANSWER_MS: u64 = 600_000;

/// The refusal class of a failed operation, in the words of the story language; `None` for failures that are no
/// refusal.
pub(crate) fn refusal_class(error: &FlowError) -> Option<Refused> {
    match error {
        FlowError::Refused(refusal) => match refusal {
            Refusal::Conflict { .. } | Refusal::AlreadyAttached { .. } | Refusal::NotAttached { .. } => {
                Some(Refused::State)
            }
            Refusal::HasSnapshots { .. } => Some(Refused::Busy),
            Refusal::Quota { .. } => Some(Refused::Quota),
            Refusal::Size { .. } | Refusal::Unacceptable(_) => Some(Refused::Invalid),
            Refusal::NotFound { .. } | Refusal::Exists { .. } | Refusal::ServiceDown(_) => None,
        },
        FlowError::Failed(failure) => match &failure.cause {
            Cause::NoValidBackend(_) => Some(Refused::NoBackend),
            Cause::Image(_) => Some(Refused::UnsafeImage),
            Cause::Block(_) | Cause::Connector(_) => Some(Refused::Io),
            Cause::Driver(DriverError::Refused { kind, .. }) => match kind {
                RefusalKind::Busy => Some(Refused::Busy),
                RefusalKind::NoSpace => Some(Refused::NoSpace),
                RefusalKind::InvalidInput => Some(Refused::Invalid),
                RefusalKind::Exists => Some(Refused::Exists),
                RefusalKind::LimitReached => Some(Refused::Limit),
                RefusalKind::JobFailed => Some(Refused::Job),
                _ => None,
            },
            _ => None,
        },
        FlowError::Crashed | FlowError::Unanswered | FlowError::Internal(_) => None,
    }
}

/// The host was given another volume's device.
pub(crate) fn is_wrong_device(error: &FlowError) -> bool {
    use sanbench_api::ConnectorError;
    matches!(error.cause(), Some(Cause::Connector(ConnectorError::WrongDevice { .. })))
}

/// Refused before anything was changed.
pub(crate) fn is_clean(error: &FlowError) -> bool {
    matches!(error, FlowError::Refused(_))
}

/// Failed because something that it relied on went away or changed its status meanwhile.
pub(crate) fn is_race(error: &FlowError) -> bool {
    matches!(error.cause(), Some(Cause::Gone(_)))
}

/// Failed, and what it had begun is not all undone.
pub(crate) fn left_open(error: &FlowError) -> bool {
    matches!(error, FlowError::Failed(failure) if !failure.undo_failures.is_empty())
}

/// Whether the operation failed because nobody answered: then nothing is known about the array's conformance.
pub(crate) fn is_unreachable(error: &FlowError) -> bool {
    matches!(error.cause(), Some(Cause::Driver(DriverError::Unreachable { .. })))
}

/// The requirement that is broken when a step that must succeed fails.
pub(crate) fn must_succeed(step: &Step) -> &'static str {
    match step {
        Step::Create { source, .. } => match source {
            Source::Blank => "CRE-001",
            Source::Image(_) => "IMG-001",
            Source::Snapshot(_) => "SNP-006",
            Source::Volume(_) => "CLN-001",
        },
        Step::Attach { .. } | Step::Intrude { .. } => "ATT-001",
        Step::Detach { .. } => "ATT-003",
        Step::Write { .. } | Step::Flush { .. } => "DAT-001",
        Step::Unmap { .. } => "SCS-007",
        Step::Extend { .. } => "EXT-001",
        Step::Snapshot { .. } => "SNP-001",
        Step::Flatten { .. } => "FLT-001",
        Step::Delete { .. } | Step::DeleteSnapshot { .. } => "CRE-007",
        Step::PutBack { .. } => "SNP-008",
        Step::Restart { .. } => "DUR-006",
        Step::Depth { .. } => "CLN-002",
        Step::Verify { .. } | Step::Scan { .. } => "DAT-001",
        Step::Census => "CLU-005",
        Step::Reimage { .. } => "IMG-001",
        // Or what the story says: see `charged`.
        Step::Manage { .. } | Step::Inspect { .. } => "DUR-005",
        Step::Squat { .. } | Step::Wait { .. } | Step::Arm { .. } | Step::Disarm => "BEN-001",
        Step::Settle => "CON-004",
        Step::Repeat { .. } => "CRE-002",
        Step::Revoke { .. } => "ATT-003",
        Step::Forge { .. } => "DAT-001",
        Step::Reserve { .. } | Step::Reserved { .. } | Step::Unreserve { .. } => "SCS-012",
        Step::Fill { .. } | Step::Drain { .. } => "BEN-001",
        Step::OutOfSpace { .. } => "CAP-005",
        Step::Spoil { .. } => "DAT-006",
        // Until it is told otherwise, what is mirrored is the same on both arrays.
        Step::Pair { .. } => "DAT-009",
        Step::Link { .. } => "BEN-001",
        Step::Portal { .. } => "ATT-017",
        Step::Limit { .. } => "QOS-001",
        Step::Clean => "CLU-001",
        Step::PowerLoss => "DUR-005",
        Step::Reboot { .. } | Step::RestartInitiator { .. } => "DUR-007",
        Step::FailController { .. } | Step::RestoreController { .. } => "MPX-005",
        Step::Cut { .. } | Step::Heal { .. } => "MPX-001",
        Step::Slow { .. } => "ISC-023",
        Step::Reset { .. } => "ISC-015",
        Step::HalfOpen { .. } => "ISC-024",
    }
}

/// The requirement that is broken when a step that must be refused is not, or is refused in another class; upheld when
/// it is refused as expected and nothing has changed.
pub(crate) fn must_be_refused(
    step: &Step,
    refused: Refused,
    image: Option<crate::plan::ImageKind>,
) -> Vec<&'static str> {
    use crate::plan::ImageKind;
    match (step, refused) {
        (Step::Create { .. }, Refused::UnsafeImage) => {
            let id = match image {
                Some(ImageKind::BackingFile) => "IMG-004",
                Some(ImageKind::DataFile) => "IMG-005",
                // An honest image that was refused was cut on its way.
                Some(ImageKind::Truncated | ImageKind::Sample | ImageKind::Raw | ImageKind::Iso) => "IMG-003",
                Some(ImageKind::AbsurdSize | ImageKind::HugeTable) => "IMG-008",
                Some(ImageKind::ForeignExtent) => "IMG-006",
                _ => "IMG-007",
            };
            if image == Some(ImageKind::AbsurdSize) {
                vec![id, "IMG-009", "CRE-009"]
            } else {
                vec![id, "CRE-009"]
            }
        }
        // What background work leaves behind when it fails.
        (Step::Flatten { .. }, Refused::Job) => vec!["FLT-004", "API-014"],
        (Step::Create { .. }, Refused::Job) => vec!["API-014", "CRE-009"],
        (Step::Create { .. }, Refused::Io) => vec!["IMG-010", "CRE-009"],
        (Step::Create { source: Source::Volume(_), .. }, Refused::Limit) => vec!["CLN-008"],
        (Step::Create { .. } | Step::Snapshot { .. }, Refused::Limit) => vec!["CAP-011"],
        (Step::Create { source: Source::Volume(_), .. }, Refused::Invalid) => vec!["CLN-005"],
        (Step::Create { source: Source::Snapshot(_), .. }, Refused::Invalid) => vec!["SNP-006"],
        (Step::Create { .. }, Refused::Busy) => vec!["CRE-009"],
        (Step::Create { .. }, Refused::Exists) => vec!["API-016", "CLU-002"],
        (Step::Create { .. }, Refused::Quota) | (Step::Extend { .. }, Refused::Quota) => vec!["QTA-002"],
        (Step::Create { .. }, Refused::NoBackend | Refused::NoSpace) => vec!["SCH-001", "CAP-004"],
        (Step::Extend { .. }, _) => vec!["EXT-002"],
        (Step::PutBack { .. }, _) => vec!["SNP-008"],
        (Step::Delete { .. } | Step::DeleteSnapshot { .. }, _) => vec!["CRE-008"],
        (Step::Attach { .. }, Refused::Busy | Refused::Io) => vec!["ATT-012"],
        (Step::Detach { .. }, Refused::Busy) => vec!["ATT-003"],
        // What could not be flushed would be lost.
        (Step::Detach { .. }, Refused::Io) => vec!["ATT-007"],
        (Step::Attach { .. }, _) => vec!["ATT-009"],
        (Step::Create { .. }, _) => vec!["CRE-004"],
        // Two halves of one volume that both take writes.
        (Step::Pair { .. }, _) => vec!["MPX-013"],
        _ => vec!["CRE-008"],
    }
}

/// Requirements that a step upholds which ended well although this fault fired.
pub(crate) fn overcome(step: &Step, point: &str) -> &'static [&'static str] {
    match (step, point) {
        (Step::Attach { .. }, "target.login") => &["MPX-012"],
        (_, "target.login") => &["ISC-015", "ISC-024"],
        _ => &[],
    }
}

/// The requirement that a fault at this point puts to the test, for a step that it makes fail.
pub(crate) fn under_fault(step: &Step, point: &str) -> Option<&'static str> {
    match (step, point) {
        (Step::Attach { .. }, "target.login") => Some("MPX-012"),
        (_, "target.login") => Some("ISC-015"),
        (Step::Flatten { .. }, "rest.before:GET lun") => Some("API-013"),
        _ => None,
    }
}

/// The requirement that something which is done to a SCSI command puts to the test, whatever the command.
pub(crate) fn under_action(action: FaultAction) -> Option<&'static str> {
    match action {
        FaultAction::ScsiBusy | FaultAction::TaskSetFull => Some("SCS-019"),
        FaultAction::LunReset => Some("MPX-011"),
        _ => None,
    }
}

/// Requirements that a fault of this kind at this point puts to the test, whatever the call.
pub(crate) fn withstood(step: &Step, point: &str, action: FaultAction) -> Vec<&'static str> {
    use FaultAction::*;
    if action.is_scsi() {
        return under_action(action).into_iter().collect();
    }
    if point.starts_with("job.split.") && matches!((step, action), (Step::Flatten { .. }, Fail | Crash)) {
        return vec!["FLT-004", "API-014"];
    }
    // The step itself fails; that what it had begun is brought to an end is seen once the service is back.
    if action == Crash {
        return Vec::new();
    }
    if action == Twice {
        return vec!["CON-001"];
    }
    if !point.starts_with("rest.") {
        return Vec::new();
    }
    let mut ids = match action {
        _ if action == ExpireSession || action.calls_session_over() => vec!["API-002"],
        Http(429 | 500..=599) | Code(1_077_948_995 | 1_077_949_006) => vec!["API-006"],
        Truncate | Garbage | Mistype | Blank | Overlong | Oversize => vec!["API-007"],
        Newer => vec!["API-015"],
        Delay(ms) if ms >= NO_ANSWER_MS => vec!["API-003"],
        _ => Vec::new(),
    };
    let copies = matches!(
        step,
        Step::Flatten { .. } | Step::Create { source: Source::Snapshot(_) | Source::Volume(_), .. }
    );
    let looks = matches!(point, "rest.before:GET lun" | "rest.after:GET lun");
    if copies && looks && !matches!(action, Delay(ms) if ms < NO_ANSWER_MS) {
        ids.push("API-013");
    }
    ids
}

/// Requirements that a lost answer at this fault point puts to the test.
pub(crate) fn lost_answer(point: &str) -> &'static [&'static str] {
    match point.strip_prefix("rest.after:") {
        Some("POST lun") => &["API-004", "CRE-002"],
        Some(p) if p.starts_with("POST ") => &["API-004"],
        Some("DELETE lun") => &["API-005", "CRE-007"],
        Some(p) if p.starts_with("DELETE ") => &["API-005"],
        Some("PUT lun/expand") => &["EXT-007"],
        _ => &[],
    }
}
