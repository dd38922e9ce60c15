//! What an ended command means for whoever sent it: the retry policy, as a table (SAM-5 clause 5.3, SPC-4 clause 4.5).
//!
//! A command that ended with a status is over at the target, so sending it again is safe. What is not decided here is a command
//! that never ended: see [`crate::device`] and [`crate::multipath`].

use std::ops::RangeInclusive;
use std::time::Duration;

use sanbench_api::BlockError;
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;

use crate::scsi::sense_error;
use crate::session::Completion;

/// Why a command is worth another send after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// BUSY.
    Busy,
    /// TASK SET FULL; the session lowers its queue depth besides.
    Full,
    /// NOT READY, becoming ready.
    BecomingReady,
    /// NOT READY, the port group's access state is in transition.
    Transition,
    /// ABORTED COMMAND or TASK ABORTED: ended without a fault of its own.
    Aborted,
}

impl Wait {
    /// First pause, longest pause (each is twice the one before), and how long to go on in all.
    pub fn pauses(self) -> (Duration, Duration, Duration) {
        let ms = Duration::from_millis;
        match self {
            Self::Busy => (ms(50), ms(2_000), ms(40_000)),
            Self::Full => (ms(10), ms(1_000), ms(40_000)),
            Self::BecomingReady => (ms(200), ms(2_000), ms(60_000)),
            Self::Transition => (ms(100), ms(1_000), ms(60_000)),
            Self::Aborted => (ms(50), ms(200), ms(1_000)),
        }
    }
}

/// What to do after a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did what was asked.
    Good,
    /// It was not executed, because the device server had news first (unit attention): note them, send it again at once.
    Attention(Asc),
    /// Send it again after a pause, within bounds.
    Again(Wait, BlockError),
    /// It failed for good.
    Failed(BlockError),
}

/// What a row of the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See [`Verdict::Good`].
    Good,
    /// See [`Verdict::Attention`].
    Attention,
    /// See [`Verdict::Again`].
    Again(Wait),
    /// See [`Verdict::Failed`].
    Fail,
}

/// Statuses but CHECK CONDITION.
pub const STATUSES: &[(Status, Action)] = &[
    (Status::GOOD, Action::Good),
    (Status::CONDITION_MET, Action::Good),
    (Status::BUSY, Action::Again(Wait::Busy)),
    (Status::TASK_SET_FULL, Action::Again(Wait::Full)),
    (Status::TASK_ABORTED, Action::Again(Wait::Aborted)),
    // Somebody else holds the unit: only its owner can cure that.
    (Status::RESERVATION_CONFLICT, Action::Fail),
    (Status::ACA_ACTIVE, Action::Fail),
];

const ANY: RangeInclusive<u16> = 0..=0xffff;

/// Sense data of CHECK CONDITION: the first row that fits decides; what no row knows fails. Columns: sense key, ASC and ASCQ,
/// action, meaning.
pub const SENSE: &[(SenseKey, RangeInclusive<u16>, Action, &str)] = &[
    (SenseKey::NO_SENSE, ANY, Action::Good, "nothing to tell"),
    (SenseKey::RECOVERED_ERROR, ANY, Action::Good, "done, with effort"),
    (SenseKey::COMPLETED, ANY, Action::Good, "done"),
    (SenseKey::UNIT_ATTENTION, ANY, Action::Attention, "news first"),
    (SenseKey::NOT_READY, 0x0401..=0x0401, Action::Again(Wait::BecomingReady), "becoming ready"),
    (SenseKey::NOT_READY, 0x040a..=0x040a, Action::Again(Wait::Transition), "access state in transition"),
    (
        SenseKey::NOT_READY,
        ANY,
        Action::Fail,
        "standby, unavailable, stopped, offline: another path may serve",
    ),
    (SenseKey::ABORTED_COMMAND, 0x1000..=0x10ff, Action::Fail, "protection information does not match"),
    (SenseKey::ABORTED_COMMAND, ANY, Action::Again(Wait::Aborted), "ended without a fault of its own"),
    (SenseKey::MEDIUM_ERROR, ANY, Action::Fail, "the data are gone or cannot be written"),
    (SenseKey::HARDWARE_ERROR, ANY, Action::Fail, "the device is broken"),
    (SenseKey::ILLEGAL_REQUEST, ANY, Action::Fail, "would fail again"),
    (SenseKey::DATA_PROTECT, 0x2707..=0x2707, Action::Fail, "no space in the pool"),
    (SenseKey::DATA_PROTECT, ANY, Action::Fail, "write protected"),
    (SenseKey::MISCOMPARE, ANY, Action::Fail, "the data differ"),
];

/// Judges how a command ended.
pub fn judge(completion: &Completion) -> Verdict {
    let status = completion.status;
    if status == Status::CHECK_CONDITION {
        return match completion.sense {
            None => Verdict::Failed(BlockError::Protocol {
                message: "CHECK CONDITION without sense data that can be read".to_owned(),
            }),
            Some(sense) => judge_sense(sense),
        };
    }
    let error = BlockError::Status { status: status.0 };
    match STATUSES.iter().find(|(s, _)| *s == status).map(|(_, action)| *action) {
        Some(Action::Good) => Verdict::Good,
        Some(Action::Again(wait)) => Verdict::Again(wait, error),
        _ => Verdict::Failed(error),
    }
}

fn judge_sense(sense: Sense) -> Verdict {
    if sense.deferred {
        // It belongs to an earlier command that was answered with GOOD: what that one wrote may be lost. Nothing that
        // this command could do again would tell its owner so.
        return Verdict::Failed(sense_error(sense));
    }
    let row = SENSE.iter().find(|(key, codes, ..)| *key == sense.key && codes.contains(&sense.asc.0));
    match row.map(|(_, _, action, _)| *action) {
        Some(Action::Good) => Verdict::Good,
        Some(Action::Attention) => Verdict::Attention(sense.asc),
        Some(Action::Again(wait)) => Verdict::Again(wait, sense_error(sense)),
        Some(Action::Fail) | None => Verdict::Failed(sense_error(sense)),
    }
}

/// Aborted tries of one command before it fails.
const MAX_ABORTS: u32 = 3;

/// Whether a command that was aborted after its time-out so many times fails; `late` is beyond the time that its path may be
/// away. Once it is sent again in any case: a reset of the unit by somebody else takes its answer away (SPC-4 clause 7.5.8, TAS
/// 0), and what was aborted cannot be carried out any more.
pub(crate) fn gives_up(aborts: u32, late: bool) -> bool {
    aborts >= MAX_ABORTS || (late && aborts > 1)
}

/// How long a command is still worth sending again.
#[derive(Debug, Default)]
pub struct Patience {
    attentions: u32,
    waits: Vec<(Wait, Duration, Duration)>,
}

/// Unit attentions of one command at most; a device has one queue of them for each nexus, and it ends.
const MAX_ATTENTIONS: u32 = 24;

impl Patience {
    /// Another unit attention came. `false`: there were too many.
    pub fn attention(&mut self) -> bool {
        self.attentions += 1;
        self.attentions <= MAX_ATTENTIONS
    }

    /// The pause before the next send, at `now`. `None`: it was tried for long enough.
    pub fn pause(&mut self, wait: Wait, now: Duration) -> Option<Duration> {
        let (first, longest, whole) = wait.pauses();
        let index = match self.waits.iter().position(|(w, ..)| *w == wait) {
            Some(index) => index,
            None => {
                self.waits.push((wait, first, now.saturating_add(whole)));
                self.waits.len() - 1
            }
        };
        let (_, pause, end) = self.waits.get_mut(index)?;
        let now_pause = *pause;
        *pause = (now_pause * 2).min(longest);
        (now.saturating_add(now_pause) <= *end).then_some(now_pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: Status, sense: Option<Sense>) -> Completion {
        Completion { status, sense, data: Vec::new(), residual: sanbench_wire::pdu::Residual::None }
    }

    #[test]
    fn an_aborted_command_is_sent_again_once_however_late_it_is() {
        assert!(!gives_up(1, true) && gives_up(2, true));
        assert!(!gives_up(2, false) && gives_up(3, false));
    }

    #[test]
    fn the_table_decides() {
        let check = |key, asc| {
            let verdict = judge(&ended(Status::CHECK_CONDITION, Some(Sense::new(key, Asc(asc)))));
            match verdict {
                Verdict::Good => "good",
                Verdict::Attention(_) => "attention",
                Verdict::Again(..) => "again",
                Verdict::Failed(_) => "failed",
            }
        };
        for (key, asc, wanted) in [
            (SenseKey::RECOVERED_ERROR, 0x1700, "good"),
            (SenseKey::UNIT_ATTENTION, 0x2900, "attention"),
            (SenseKey::NOT_READY, 0x0401, "again"),
            (SenseKey::NOT_READY, 0x040a, "again"),
            (SenseKey::NOT_READY, 0x040b, "failed"),
            (SenseKey::NOT_READY, 0x0402, "failed"),
            (SenseKey::ABORTED_COMMAND, 0x4705, "again"),
            (SenseKey::ABORTED_COMMAND, 0x1001, "failed"),
            (SenseKey::MEDIUM_ERROR, 0x1100, "failed"),
            (SenseKey::HARDWARE_ERROR, 0x4400, "failed"),
            (SenseKey::DATA_PROTECT, 0x2707, "failed"),
            (SenseKey(0x9), 0x0000, "failed"),
        ] {
            assert_eq!(check(key, asc), wanted, "{key} {asc:04x}");
        }
        let again = |status| matches!(judge(&ended(status, None)), Verdict::Again(..));
        assert!(again(Status::BUSY) && again(Status::TASK_SET_FULL) && again(Status::TASK_ABORTED));
        assert!(!again(Status::RESERVATION_CONFLICT) && !again(Status(0x7e)));
        let deferred = Sense { deferred: true, ..Sense::new(SenseKey::RECOVERED_ERROR, Asc(0x0c00)) };
        assert!(matches!(judge(&ended(Status::CHECK_CONDITION, Some(deferred))), Verdict::Failed(_)));
        assert!(matches!(judge(&ended(Status::CHECK_CONDITION, None)), Verdict::Failed(_)));
    }

    #[test]
    fn every_wait_ends() {
        for wait in [Wait::Busy, Wait::Full, Wait::BecomingReady, Wait::Transition, Wait::Aborted] {
            let mut patience = Patience::default();
            let (mut now, mut sends) = (Duration::ZERO, 0);
            while let Some(pause) = patience.pause(wait, now) {
                now += pause;
                sends += 1;
            }
            assert!(sends > 3 && sends < 100 && now <= wait.pauses().2, "{wait:?}: {sends} sends in {now:?}");
        }
        let mut patience = Patience::default();
        assert_eq!((0..100).take_while(|_| patience.attention()).count(), 24);
    }
}
