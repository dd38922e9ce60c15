//! Errors of the protocol machines: whose fault it was, in a type.

use sanbench_wire::pdu::{LoginStatus, RejectReason};
use sanbench_wire::{Broken, Malformed};

/// The target broke RFC 7143. The connection has to end (error recovery level 0, section 7.1.5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The byte stream cannot be followed.
    #[error(transparent)]
    Stream(#[from] Broken),
    /// A PDU does not follow its layout.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A data digest does not match (section 7.8).
    #[error("data digest error")]
    DataDigest,
    /// A PDU that a target never sends, or not in this phase.
    #[error("unexpected PDU {0}")]
    Unexpected(&'static str),
    /// A task tag that is not outstanding.
    #[error("unknown task tag {0:#010x}")]
    UnknownTask(u32),
    /// StatSN is not the next one (section 4.2.2.2).
    #[error("StatSN {received}, expected {expected}")]
    StatSn {
        /// Number wanted.
        expected: u32,
        /// Number received.
        received: u32,
    },
    /// DataSN, R2TSN, offset or length rules are broken (section 4.2.2.4, 11.7, 11.8).
    #[error("data sequence: {0}")]
    Sequence(&'static str),
    /// The target rejected a PDU in a way that leaves no common state.
    #[error("rejected: {0}")]
    Rejected(RejectReason),
    /// No answer to a ping in time (section 11.18).
    #[error("no answer to a ping")]
    PingTimeout,
    /// A bound of ours on what a peer may make us hold.
    #[error("limit: {0}")]
    Limit(&'static str),
}

/// Why a login failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The portal could not be reached or the connection broke.
    #[error("connection: {0}")]
    Io(String),
    /// The whole login took too long.
    #[error("login timed out")]
    Timeout,
    /// Status class 2: the target will not have us.
    #[error("login refused: {0}")]
    Refused(LoginStatus),
    /// Status class 3: the target cannot serve us now.
    #[error("target error: {0}")]
    TargetError(LoginStatus),
    /// Redirected too often, or to something that is no address.
    #[error("redirection: {0}")]
    Redirect(String),
    /// The target did not prove who it is, or attacked the exchange.
    #[error("target authentication: {0}")]
    Authentication(&'static str),
    /// A key was answered against its rule.
    #[error("negotiation of {key}: {problem}")]
    Negotiation {
        /// The key.
        key: String,
        /// What was wrong.
        problem: &'static str,
    },
    /// The exchange broke the protocol.
    #[error("protocol: {0}")]
    Protocol(String),
}

impl LoginError {
    /// Whether another try can be expected to help.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Io(_) | Self::Timeout | Self::TargetError(_) | Self::Protocol(_) => true,
            // "Not found" and "removed" may be a target that is being set up; open-iscsi retries them too.
            Self::Refused(status) => {
                matches!(*status, LoginStatus::NOT_FOUND | LoginStatus::TOO_MANY_CONNECTIONS)
            }
            Self::Redirect(_) | Self::Authentication(_) | Self::Negotiation { .. } => false,
        }
    }
}

impl From<ProtocolError> for LoginError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<std::io::Error> for LoginError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}
