//! What all parts of a session share: sequence numbers, output, what it reaches beyond itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sanbench_array::{Array, ArrayHandle};
use sanbench_wire::Bhs;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::{Digests, Outbox, RawPdu};
use sanbench_wire::pdu::{AsyncEvent, AsyncMessage, Pdu, Reject, RejectReason};
use sanbench_wire::scsi::luns::Lun;

use crate::config::TargetConfig;
use crate::login::PortalContext;
use crate::recovery::Replay;
use crate::registry::{Mailbox, Registry};
use crate::surroundings::Surroundings;

/// Data segments up to this many bytes count as short answers.
const SHORT: usize = 512;

/// StatSN, ExpCmdSN, MaxCmdSN (RFC 7143 section 4.2.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// The next StatSN to give.
    pub(crate) stat_sn: u32,
    pub(crate) exp_cmd_sn: u32,
    pub(crate) max_cmd_sn: u32,
}

impl Numbers {
    /// The StatSN of an answer; the next one is one higher.
    pub(crate) fn take_stat(&mut self) -> u32 {
        let now = self.stat_sn;
        self.stat_sn = now.wrapping_add(1);
        now
    }

    /// Opens the command window as far as `busy` tasks allow. It never shrinks, as RFC 7143 section 4.2.2.1 asks.
    pub(crate) fn open_window(&mut self, depth: u16, busy: usize) {
        let room = usize::from(depth).saturating_sub(busy) as u32;
        let wanted = self.exp_cmd_sn.wrapping_add(room).wrapping_sub(1);
        if serial_less(self.max_cmd_sn, wanted) {
            self.max_cmd_sn = wanted;
        }
    }
}

/// Serial number comparison (RFC 1982, 32 bits).
pub(crate) fn serial_less(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// What all parts of a session share.
pub(crate) struct Common {
    pub(crate) config: Arc<TargetConfig>,
    pub(crate) array: ArrayHandle,
    pub(crate) registry: Registry,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) around: Box<dyn Surroundings>,
    pub(crate) portal: PortalContext,
    pub(crate) out: Outbox,
    pub(crate) digests: Digests,
    pub(crate) numbers: Numbers,
    /// Kept for retransmission, at recovery level 1.
    pub(crate) replay: Option<Box<Replay>>,
    /// Power cycles of the array when the session began.
    pub(crate) power_generation: u64,
    /// Output waits until then (a fault delayed an answer).
    pub(crate) hold_output: Option<Duration>,
    pub(crate) closed: Option<&'static str>,
}

/// How the array went away under a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The portal was disabled; there is time for a word of farewell.
    Disabled,
    /// The controller behind the portal has failed.
    PortalDown,
    /// The power was off.
    Power,
}

impl Loss {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Disabled => "portal is disabled",
            Self::PortalDown => "portal is down",
            Self::Power => "power loss",
        }
    }
}

impl Common {
    pub(crate) fn send(&mut self, pdu: impl Into<Pdu>) {
        let pdu = pdu.into();
        let raw = pdu.emit();
        self.put(raw.bhs, std::slice::from_ref(&raw.data));
        if let Some(replay) = &mut self.replay
            && bears_status(&pdu)
        {
            replay.keep_answer(&raw);
        }
    }

    /// Queues one PDU whose data segment is the concatenation of `parts`.
    pub(crate) fn put(&mut self, header: Bhs, parts: &[Bytes]) {
        if self.digests.data && self.config.defects.digest_wrong_on_short_answers {
            return self.put_with_wrong_digest(header, parts);
        }
        self.out.push_parts(header, &[], parts, self.digests);
    }

    /// Planted: the data digest of a short answer is not that of its bytes.
    fn put_with_wrong_digest(&mut self, header: Bhs, parts: &[Bytes]) {
        let mut whole = Outbox::new();
        whole.push_parts(header, &[], parts, self.digests);
        let mut bytes = whole.take_all().to_vec();
        let length: usize = parts.iter().map(Bytes::len).sum();
        if (1..SHORT).contains(&length)
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 0xff;
        }
        self.out.push_encoded(&bytes);
    }

    /// Sends an answer once more, with the window as it is now.
    pub(crate) fn send_again(&mut self, mut raw: RawPdu) {
        raw.bhs.put_u32(28, self.numbers.exp_cmd_sn);
        raw.bhs.put_u32(32, self.numbers.max_cmd_sn);
        self.put(raw.bhs, std::slice::from_ref(&raw.data));
    }

    /// Rejects a PDU by its header (RFC 7143 section 11.17).
    pub(crate) fn reject(&mut self, reason: RejectReason, header: &Bhs) {
        let stat_sn = self.numbers.take_stat();
        self.send(Reject {
            reason,
            stat_sn,
            exp_cmd_sn: self.numbers.exp_cmd_sn,
            max_cmd_sn: self.numbers.max_cmd_sn,
            data_sn: 0,
            header: Bytes::copy_from_slice(&header.0),
        });
    }

    /// Tells the initiator something without being asked (RFC 7143 section 11.9).
    pub(crate) fn announce(&mut self, event: AsyncEvent, lun: Lun, parameters: [u16; 3], data: Bytes) {
        let stat_sn = self.numbers.take_stat();
        self.send(AsyncMessage {
            lun,
            stat_sn,
            exp_cmd_sn: self.numbers.exp_cmd_sn,
            max_cmd_sn: self.numbers.max_cmd_sn,
            event,
            vendor_code: 0,
            parameters,
            data,
        });
    }

    /// Whether the array went away under this session: its portal is down, or the power was off meanwhile.
    pub(crate) fn lost(&self, array: &Array) -> Option<Loss> {
        let at = usize::from(self.portal.relative_port).wrapping_sub(1);
        if !array.portal_is_up(at) {
            let disabled = array.portals().get(at).is_some_and(|portal| !portal.enabled);
            return Some(if disabled { Loss::Disabled } else { Loss::PortalDown });
        }
        (array.power_generation() != self.power_generation).then_some(Loss::Power)
    }

    /// Ends the connection when the queued output is gone.
    pub(crate) fn close(&mut self, why: &'static str) {
        self.closed.get_or_insert(why);
    }

    /// Ends the connection without another word.
    pub(crate) fn cut(&mut self, why: &'static str) {
        self.out = Outbox::new();
        self.hold_output = None;
        self.close(why);
    }

    /// The node crashes: nothing more is said, not even what was queued.
    pub(crate) fn crash(&mut self) {
        self.around.crash();
        self.cut("crash");
    }
}

/// Whether a PDU of ours carries a StatSN of its own, which the initiator acknowledges.
fn bears_status(pdu: &Pdu) -> bool {
    match pdu {
        Pdu::ScsiResponse(_)
        | Pdu::TaskManagementResponse(_)
        | Pdu::TextResponse(_)
        | Pdu::LogoutResponse(_)
        | Pdu::Reject(_)
        | Pdu::AsyncMessage(_) => true,
        Pdu::NopIn(nop) => nop.itt != RESERVED_TAG,
        _ => false,
    }
}
