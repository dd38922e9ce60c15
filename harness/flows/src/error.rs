//! Why an operation did not do what was asked.

use sanbench_api::{BlockError, ConnectorError, DriverError, Outcome, RefusalKind};

use crate::image::ImageError;

/// The API's no: nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such object.
    #[error("{kind} {id} does not exist")]
    NotFound {
        /// volume, snapshot, instance, image, volume type, host.
        kind: &'static str,
        /// What was asked for.
        id: String,
    },
    /// The object exists already.
    #[error("{kind} {id} exists already")]
    Exists {
        /// Kind.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// The status does not allow it now.
    #[error("{kind} {id} is {status}, must be {wanted}")]
    Conflict {
        /// Kind.
        kind: &'static str,
        /// Its id.
        id: String,
        /// Status found.
        status: String,
        /// Statuses that would do.
        wanted: &'static str,
    },
    /// A limit would be passed.
    #[error("quota of {resource}: {in_use} in use, {asked} asked, limit {limit}")]
    Quota {
        /// Resource.
        resource: &'static str,
        /// In use and reserved.
        in_use: u64,
        /// Asked for in addition.
        asked: u64,
        /// Limit.
        limit: u64,
    },
    /// A size that cannot be.
    #[error("size {asked} GiB: {reason}")]
    Size {
        /// GiB asked for.
        asked: u64,
        /// What is wrong.
        reason: String,
    },
    /// The volume has snapshots.
    #[error("volume {volume} has {count} snapshot(s)")]
    HasSnapshots {
        /// The volume.
        volume: String,
        /// How many.
        count: u64,
    },
    /// Already attached to this instance, or to another without multiattach.
    #[error("volume {volume} is attached already")]
    AlreadyAttached {
        /// The volume.
        volume: String,
    },
    /// Not attached there.
    #[error("volume {volume} is not attached to {to}")]
    NotAttached {
        /// The volume.
        volume: String,
        /// Instance or host.
        to: String,
    },
    /// Volume and snapshot or image do not fit together.
    #[error("{0}")]
    Unacceptable(String),
    /// The service does not run (not started, or its back end failed its setup).
    #[error("service {0} is down")]
    ServiceDown(String),
}

/// What made a step fail.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Cause {
    /// The driver.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The connector of a host.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    /// The data plane.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The scheduler found no place.
    #[error("no valid back end: {0}")]
    NoValidBackend(String),
    /// Something that the flow relied on has gone.
    #[error("{0}")]
    Gone(String),
    /// The fault plan asked for it.
    #[error("injected fault")]
    Injected,
}

impl Cause {
    /// What the caller must think of the effect of the failed step.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Driver(e) => e.outcome(),
            Self::Connector(e) => e.outcome(),
            Self::Block(e) => e.outcome(),
            Self::Image(_) | Self::NoValidBackend(_) | Self::Gone(_) => Outcome::NotDone,
            Self::Injected => Outcome::Unknown,
        }
    }

    /// The driver's refusal class, if it is one.
    pub fn refusal_kind(&self) -> Option<RefusalKind> {
        match self {
            Self::Driver(e) => e.kind(),
            _ => None,
        }
    }
}

/// A flow that began and did not reach its end.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{flow} of {subject} failed at step {step}: {cause}")]
pub struct Failure {
    /// Flow.
    pub flow: &'static str,
    /// Step that failed.
    pub step: &'static str,
    /// Volume, snapshot or attachment that the flow was about.
    pub subject: String,
    /// Why.
    pub cause: Cause,
    /// What is known about the effect of the failed step (the steps before it were undone).
    pub outcome: Outcome,
    /// Undos that failed as well and stay open, as `step: reason`; `ControlPlane::reconcile` tries them again.
    pub undo_failures: Vec<String>,
}

/// Why an operation of the control plane failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FlowError {
    /// Refused before anything was changed.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Begun and failed; what could be undone was undone.
    #[error(transparent)]
    Failed(Box<Failure>),
    /// The control node went down under the operation; a restart decides what becomes of it.
    #[error("the control service went down")]
    Crashed,
    /// A message between two parts of the control plane is lost: the operation stands still until
    /// [`reconcile`](crate::ControlPlane::reconcile), or a restart, brings it to an end.
    #[error("nobody answers: a message of the control plane is lost")]
    Unanswered,
    /// The control plane itself is broken (state database, corrupt log).
    #[error("internal: {0}")]
    Internal(String),
}

impl FlowError {
    /// What the caller must think of the effect.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(_) => Outcome::NotDone,
            Self::Failed(f) => f.outcome,
            Self::Crashed | Self::Unanswered | Self::Internal(_) => Outcome::Unknown,
        }
    }

    /// The cause inside a failed flow.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Failed(f) => Some(&f.cause),
            _ => None,
        }
    }
}

impl From<Refusal> for FlowError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<rusqlite::Error> for FlowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Internal(format!("state database: {error}"))
    }
}

/// What a step answers: a cause, or the end of the whole attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StepError {
    /// The step failed.
    Failed(Cause),
    /// The API's no, found inside a flow's first steps; the flow unwinds and answers it.
    Refused(Refusal),
    /// The node goes down here: no undo, no log.
    Crash,
    /// The message that carries the flow on is lost: it stands still here, its log open.
    Lost,
    /// The control plane is broken.
    Internal(String),
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(cause) => cause.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Crash => f.write_str("crash"),
            Self::Lost => f.write_str("a message of the control plane is lost"),
            Self::Internal(message) => f.write_str(message),
        }
    }
}

impl<E: Into<Cause>> From<E> for StepError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Refusal> for StepError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<rusqlite::Error> for StepError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Internal(format!("state database: {error}"))
    }
}

impl From<FlowError> for StepError {
    fn from(error: FlowError) -> Self {
        match error {
            FlowError::Refused(refusal) => Self::Refused(refusal),
            FlowError::Failed(failure) => Self::Failed(failure.cause),
            FlowError::Crashed => Self::Crash,
            FlowError::Unanswered => Self::Lost,
            FlowError::Internal(message) => Self::Internal(message),
        }
    }
}
