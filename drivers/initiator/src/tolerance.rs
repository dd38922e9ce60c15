//! What this initiator lets pass although RFC 7143 does not. Everything else that breaks a rule ends the connection with a
//! [`crate::ProtocolError`] (error recovery level 0, section 7.1.5).
//!
//! The list is short on purpose. A departure is tolerated only when nothing that a command's caller relies on can go wrong by
//! it, and when a real target is known to do it or the RFC itself tells an initiator to bear it. Each one is counted for its
//! session ([`crate::session::Session::tolerated`]), so that a report can name it.
//!
//! Three rules of the RFC look like tolerances and are none: a MaxCmdSN below ExpCmdSN - 1 is ignored together with its
//! ExpCmdSN, numbers that go back are ignored (both section 4.2.2.1), and a DataSN need not be told in ExpDataSN when it is
//! zero (section 11.4.8).

/// A departure from RFC 7143 that is let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Tolerance {
    /// A Data-In sequence is longer than MaxBurstLength (section 13.13). tgt 1.0 sends all data of a command as one
    /// sequence, whatever was agreed. The data stays within the command's expected length, which bounds it; at error recovery
    /// level 0 the end of a Data-In sequence means nothing to an initiator.
    LongDataIn,
    /// A Data-In asks for an acknowledgement (A bit), which it must not below error recovery level 1 (section 11.7.2). There is
    /// no SNACK to send at level 0.
    AcknowledgeAsked,
    /// A ping of the target carries data (section 11.19 forbids it). It is echoed as far as the target can take it.
    PingWithData,
    /// An answer, a Data-In or an R2T for a task that a task management function has ended (section 11.6 forbids it). It is
    /// dropped: its tag is not given to another task while such answers may come.
    LateAnswer,
    /// An asynchronous message with an event code that RFC 7143 does not define (section 11.9.1). There is nothing to do.
    UnknownEvent,
}

impl Tolerance {
    /// All of them.
    pub const ALL: [Tolerance; 5] = [
        Tolerance::LongDataIn,
        Tolerance::AcknowledgeAsked,
        Tolerance::PingWithData,
        Tolerance::LateAnswer,
        Tolerance::UnknownEvent,
    ];

    /// Section of RFC 7143 that the target departs from.
    pub fn section(self) -> &'static str {
        match self {
            Self::LongDataIn => "13.13",
            Self::AcknowledgeAsked => "11.7.2",
            Self::PingWithData => "11.19",
            Self::LateAnswer => "11.6",
            Self::UnknownEvent => "11.9.1",
        }
    }
}

/// How often each [`Tolerance`] was needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerated([u64; Tolerance::ALL.len()]);

impl Tolerated {
    pub(crate) fn note(&mut self, what: Tolerance) {
        self.0[what as usize] += 1;
    }

    /// How often `what` was needed.
    pub fn count(&self, what: Tolerance) -> u64 {
        self.0[what as usize]
    }

    /// What was needed at least once, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Tolerance, u64)> + '_ {
        Tolerance::ALL.into_iter().map(|t| (t, self.count(t))).filter(|(_, n)| *n > 0)
    }
}
