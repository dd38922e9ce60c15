//! Errors that say what the caller must think of the array's state afterwards.

use serde::{Deserialize, Serialize};

/// What is known about the effect of a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was changed.
    NotDone,
    /// The call may or may not have taken effect; only an observation can decide.
    Unknown,
}

/// Why an array or driver said no. Workflow branches on this, never on texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The object does not exist. Deletes treat it as success.
    NotFound,
    /// An object of that name exists and is not ours or not what was asked for.
    Exists,
    /// Dependents or mappings forbid it now (Cinder VolumeIsBusy, SnapshotIsBusy).
    Busy,
    /// The pool cannot hold it.
    NoSpace,
    /// The connector lacks what the protocol needs (Cinder InvalidConnectorException).
    InvalidConnector,
    /// A parameter is out of its range (for example a shrinking extend or a clone smaller than its source).
    InvalidInput,
    /// Credentials, session or licence.
    Unauthorized,
    /// The array's limit for objects of that kind is reached.
    LimitReached,
    /// The back end does not offer it.
    Unsupported,
    /// A background job of the array ended in failure; what it made was removed.
    JobFailed,
    /// Anything else that the array refused with a code.
    Other,
}

/// An error of a [`crate::VolumeDriver`] or [`crate::Inventory`] call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// The array (or the driver, before asking it) said no. Nothing was changed, partial work was undone.
    #[error("refused ({kind:?}): {message}")]
    Refused {
        /// The class the workflow branches on.
        kind: RefusalKind,
        /// The array's own error code, when it gave one.
        code: Option<i64>,
        /// For people; carries no secret.
        message: String,
    },
    /// The array could not be reached at all; the call had no effect.
    #[error("array unreachable: {message}")]
    Unreachable {
        /// For people; carries no secret.
        message: String,
    },
    /// The request may have been executed, but its answer was lost and looking did not settle it.
    #[error("outcome unknown: {message}")]
    OutcomeUnknown {
        /// For people; carries no secret.
        message: String,
    },
    /// The array answered something the driver cannot understand, or the driver broke its own rules.
    #[error("driver fault: {message}")]
    Fault {
        /// For people; carries no secret.
        message: String,
    },
}

impl DriverError {
    /// A refusal without an array code.
    pub fn refused(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self::Refused { kind, code: None, message: message.into() }
    }

    /// The refusal class, if it is a refusal.
    pub fn kind(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// What the caller must think of the array's state.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused { .. } | Self::Unreachable { .. } => Outcome::NotDone,
            Self::OutcomeUnknown { .. } | Self::Fault { .. } => Outcome::Unknown,
        }
    }
}
