//! Faults at named points, and the one table of what may happen there.

use serde::{Deserialize, Serialize};

/// What happens at a fault point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultAction {
    /// The point fails.
    Fail,
    /// The point is delayed by so many milliseconds.
    Delay(u64),
    /// The work is done, its answer is lost.
    DropReply,
    /// The answer is this HTTP status.
    Http(u16),
    /// The answer is this error code.
    Code(i64),
    /// The answer is cut in the middle.
    Truncate,
    /// The answer is no answer of the protocol.
    Garbage,
    /// The answer's values are of other types than promised.
    Mistype,
    /// The answer's texts are empty.
    Blank,
    /// The answer's texts are longer than any that the protocol has.
    Overlong,
    /// The answer is longer than any reader should take.
    Oversize,
    /// The answer has fields and values of a later version besides.
    Newer,
    /// The answer is what the same question got the last time.
    Stale,
    /// The connection closes under the request after this one.
    Close,
    /// The session is over.
    ExpireSession,
    /// The command is answered with BUSY and does nothing.
    ScsiBusy,
    /// The command is answered with TASK SET FULL and does nothing.
    TaskSetFull,
    /// The command is answered with RESERVATION CONFLICT and does nothing.
    ReservationConflict,
    /// The command is answered with NOT READY, manual intervention required (04h/03h), and does nothing.
    NotReady,
    /// The command meets a unit attention: power on, reset, or bus device reset occurred (29h/00h).
    UnitAttention,
    /// Somebody else has just reset the command's logical unit.
    LunReset,
    /// The message that carries the workflow on is lost: it stands still until somebody looks after it.
    Lose,
    /// The message that carries the workflow on arrives twice.
    Twice,
    /// The volume service crashes; at a point of background work, the controller that does it.
    Crash,
}

impl FaultAction {
    /// Every action without a number of its own: it, its word in stories, what happens.
    pub const PLAIN: &[(Self, &'static str, &'static str)] = &[
        (Self::Fail, "fail", "it fails"),
        (Self::DropReply, "drop-reply", "the work is done and the answer is lost"),
        (Self::Truncate, "truncate", "the answer is cut short"),
        (Self::Garbage, "garbage", "the answer is garbage"),
        (Self::Mistype, "mistype", "values of the answer have other types than promised"),
        (Self::Blank, "blank", "the texts of the answer are empty"),
        (Self::Overlong, "overlong", "the texts of the answer are longer than any that the protocol has"),
        (Self::Oversize, "oversize", "the answer is too long for any reader"),
        (Self::Newer, "newer", "the answer has fields of a later version besides"),
        (Self::Stale, "stale", "the answer is what the same question got the last time"),
        (Self::Close, "close", "the connection closes under the next request"),
        (Self::ExpireSession, "expire-session", "the session is over"),
        (Self::ScsiBusy, "scsi-busy", "the command is answered with BUSY"),
        (Self::TaskSetFull, "task-set-full", "the command is answered with TASK SET FULL"),
        (
            Self::ReservationConflict,
            "reservation-conflict",
            "the command is answered with RESERVATION CONFLICT",
        ),
        (Self::NotReady, "not-ready", "the logical unit is not ready, 04h/03h"),
        (Self::UnitAttention, "unit-attention", "the command meets a unit attention, 29h/00h"),
        (Self::LunReset, "lun-reset", "somebody else resets the logical unit first"),
        (Self::Lose, "lose", "the message that carries the workflow on is lost"),
        (Self::Twice, "twice", "the message that carries the workflow on arrives twice"),
        (Self::Crash, "crash", "the volume service crashes"),
    ];

    /// Words of those with a number, in stories.
    pub const NUMBERED: &[&'static str] = &["delay", "http", "code"];

    /// Its word in stories and what happens; none for actions with a number.
    pub fn words(self) -> Option<(&'static str, &'static str)> {
        Self::PLAIN.iter().find(|(action, _, _)| *action == self).map(|(_, word, what)| (*word, *what))
    }

    /// The action without a number that stories call so.
    pub fn plain(word: &str) -> Option<Self> {
        Self::PLAIN.iter().find(|(_, known, _)| *known == word).map(|(action, _, _)| *action)
    }

    /// Whether it makes the answer of a management call wrong; points of other kinds have no such answers.
    pub fn is_answer(self) -> bool {
        let of_any_point = matches!(self, Self::Fail | Self::Delay(_) | Self::DropReply | Self::Crash);
        !of_any_point && !self.is_scsi() && !self.is_of_message()
    }

    /// Whether a device server does it to a command that arrives; points of other kinds have no commands.
    pub fn is_scsi(self) -> bool {
        matches!(
            self,
            Self::ScsiBusy
                | Self::TaskSetFull
                | Self::ReservationConflict
                | Self::NotReady
                | Self::UnitAttention
                | Self::LunReset
        )
    }

    /// Whether a host gives a command up to which it happens, instead of sending it again.
    pub fn ends_command(self) -> bool {
        matches!(self, Self::ReservationConflict | Self::NotReady)
    }

    /// Whether it happens to the message between two steps of a workflow.
    pub fn is_of_message(self) -> bool {
        matches!(self, Self::Lose | Self::Twice)
    }

    /// Whether the answer says that the session is over, which it is not.
    pub fn calls_session_over(self) -> bool {
        matches!(self, Self::Http(401 | 403) | Self::Code(-401 | -403 | 1_077_949_069))
    }

    /// Whether it needs the true answer, so that it makes sense only once the work is done.
    pub fn alters_answer(self) -> bool {
        matches!(
            self,
            Self::Truncate
                | Self::Mistype
                | Self::Blank
                | Self::Overlong
                | Self::Newer
                | Self::Stale
                | Self::Close
        )
    }
}

/// A fault at a named point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedFault {
    /// Point name; a trailing `*` matches any ending.
    pub point: String,
    /// Which occurrence, from 1; 0 is every one.
    pub nth: u64,
    /// What happens.
    pub action: FaultAction,
    /// Armed, it excuses nobody: who meets it has to succeed all the same, unless another armed fault at its point may be why
    /// not. Faults of the header excuse nobody anyway.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
    /// How often it may be met before it is taken away, where the story says so: whoever tries again more often than that, or
    /// without a pause, has no bounded back-off (API-006).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u64>,
}

impl PlacedFault {
    /// Whether it speaks of this point.
    pub fn covers(&self, point: &str) -> bool {
        sanbench_world::covers(&self.point, point)
    }

    /// Whether it meets background work of the array.
    pub fn is_of_job(&self) -> bool {
        self.point.starts_with("job.")
    }
}
