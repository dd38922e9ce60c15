//! Errors of the protocol machines: whose fault it was, in a type.

use sanbench_wire::pdu::{LoginStatus, RejectReason};
use sanbench_wire::{Broken, Malformed};

/// A rule of RFC 7143 about one PDU or one sequence of PDUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What the target did, in words.
    pub broken: &'static str,
    /// Section of RFC 7143 that forbids it.
    pub section: &'static str,
}

impl Rule {
    /// A rule.
    pub const fn new(broken: &'static str, section: &'static str) -> Self {
        Self { broken, section }
    }
}

/// The target broke RFC 7143. The connection has to end (error recovery level 0, section 7.1.5). What is let pass in spite of
/// the RFC is listed in [`crate::tolerance`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The byte stream cannot be followed.
    #[error("{0} (RFC 7143 {section})", section = self.section())]
    Stream(#[from] Broken),
    /// A PDU does not follow its layout.
    #[error("{0} (RFC 7143 {section})", section = self.section())]
    Malformed(#[from] Malformed),
    /// A data digest does not match.
    #[error("data digest error (RFC 7143 {section})", section = self.section())]
    DataDigest,
    /// A PDU that a target never sends, or not in this phase, or not for this task.
    #[error("unexpected PDU: {0} (RFC 7143 {section})", section = self.section())]
    Unexpected(&'static str),
    /// A task tag that is not outstanding.
    #[error("unknown task tag {0:#010x} (RFC 7143 {section})", section = self.section())]
    UnknownTask(u32),
    /// StatSN is not the next one.
    #[error("StatSN {received}, expected {expected} (RFC 7143 {section})", section = self.section())]
    StatSn {
        /// Number wanted.
        expected: u32,
        /// Number received.
        received: u32,
    },
    /// DataSN, R2TSN, offset or length rules are broken.
    #[error("{} (RFC 7143 {})", .0.broken, .0.section)]
    Sequence(Rule),
    /// The target rejected a PDU in a way that leaves no common state.
    #[error("rejected: {0} (RFC 7143 {section})", section = self.section())]
    Rejected(RejectReason),
    /// No answer to a ping, or to a logout, in time.
    #[error("no answer to a ping (RFC 7143 {section})", section = self.section())]
    PingTimeout,
    /// A bound of ours on what a peer may make us hold.
    #[error("limit: {0}")]
    Limit(&'static str),
}

impl ProtocolError {
    /// Section of RFC 7143 that the target broke, or that ends the connection here. Empty for a bound of ours.
    pub fn section(&self) -> &'static str {
        match self {
            Self::Stream(Broken::HeaderDigest { .. }) | Self::DataDigest => "7.8",
            Self::Stream(Broken::DataTooLong { .. }) => "13.12",
            Self::Stream(Broken::AhsTooLong { .. }) => "11.2.2",
            Self::Malformed(Malformed::Opcode(_)) | Self::Unexpected(_) => "7.13",
            Self::Malformed(_) => "7.7",
            Self::UnknownTask(_) => "11.2.1.8",
            Self::StatSn { .. } => "4.2.2.2",
            Self::Sequence(rule) => rule.section,
            Self::Rejected(_) => "11.17",
            Self::PingTimeout => "11.18",
            Self::Limit(_) => "",
        }
    }
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
