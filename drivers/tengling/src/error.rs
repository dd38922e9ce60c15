//! Why one management call failed, and how that becomes a [`DriverError`].

use sanbench_api::{DriverError, RefusalKind};

use crate::codes;
use crate::value::BadAnswer;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// No endpoint took the request.
    #[error("{0}")]
    NotSent(String),
    /// The request may have been executed.
    #[error("{0}")]
    Lost(String),
    /// The array answered a code.
    #[error("{what}: {message} (code {code})")]
    Refused {
        /// Method and path.
        what: String,
        /// The code.
        code: i64,
        /// The array's text.
        message: String,
    },
    /// The array answered an HTTP error, without having done anything.
    #[error("{what}: HTTP status {status}")]
    Http {
        /// Method and path.
        what: String,
        /// Status.
        status: u16,
    },
    /// The answer cannot be understood.
    #[error("{0}")]
    Malformed(String),
}

impl CallError {
    /// The refusal class.
    pub(crate) fn kind(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused { code, .. } => Some(codes::kind(*code)),
            Self::Http { status: 401 | 403, .. } => Some(RefusalKind::Unauthorized),
            Self::Http { status: 404 | 405 | 501, .. } => Some(RefusalKind::Unsupported),
            Self::Http { status: 429 | 503, .. } => Some(RefusalKind::Busy),
            Self::Http { .. } => Some(RefusalKind::Other),
            _ => None,
        }
    }

    /// The array's code.
    pub(crate) fn code(&self) -> Option<i64> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The object of the call does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        self.kind() == Some(RefusalKind::NotFound)
    }

    /// An object of that name or id exists.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self.code(), Some(codes::NAME_EXISTS | codes::ID_EXISTS))
    }

    /// Whether the work was done can only be found by looking.
    pub(crate) fn is_doubtful(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Malformed(_)) || self.code() == Some(codes::TIMED_OUT)
    }
}

impl From<CallError> for DriverError {
    fn from(error: CallError) -> Self {
        let kind = error.kind();
        match error {
            CallError::NotSent(message) => Self::Unreachable { message },
            CallError::Lost(message) => Self::OutcomeUnknown { message },
            CallError::Refused { code: codes::TIMED_OUT, what, message } => {
                Self::OutcomeUnknown { message: format!("{what}: {message}") }
            }
            CallError::Refused { what, code, message } => {
                let message = match codes::meaning(code) {
                    Some(meaning) => format!("{what}: {meaning} ({message})"),
                    None => format!("{what}: {message}"),
                };
                Self::Refused { kind: kind.unwrap_or(RefusalKind::Other), code: Some(code), message }
            }
            e @ CallError::Http { .. } => {
                Self::Refused { kind: kind.unwrap_or(RefusalKind::Other), code: None, message: e.to_string() }
            }
            CallError::Malformed(message) => Self::Fault { message },
        }
    }
}

impl From<BadAnswer> for CallError {
    fn from(bad: BadAnswer) -> Self {
        Self::Malformed(bad.to_string())
    }
}

/// The error of a call whose partial work was (or was not) taken back. The first error is never hidden.
pub(crate) fn after_undo(error: DriverError, undo: Result<(), DriverError>) -> DriverError {
    match (undo, error) {
        // Whatever happened in between, nothing of it is left: the caller may try again.
        (Ok(()), DriverError::OutcomeUnknown { message }) => {
            DriverError::Unreachable { message: format!("undone after: {message}") }
        }
        (Ok(()), error) => error,
        (Err(undo), error) => {
            DriverError::OutcomeUnknown { message: format!("{error}; undo failed: {undo}") }
        }
    }
}

/// An error found while looking for the outcome of a lost call: the call stays undecided.
pub(crate) fn undecided(lost: &CallError, looking: &CallError) -> DriverError {
    DriverError::OutcomeUnknown { message: format!("{lost}; looking failed: {looking}") }
}

/// A refusal of the driver itself.
pub(crate) fn refuse<T>(kind: RefusalKind, message: impl Into<String>) -> Result<T, DriverError> {
    Err(DriverError::refused(kind, message))
}
