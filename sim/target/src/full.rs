//! The full feature phase: command order, dispatch, and the PDUs around SCSI commands (RFC 7143 sections 4.2 and 11).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::RawPdu;
use sanbench_wire::pdu::{
    LogoutReason, LogoutRequest, LogoutResponse, LogoutResponseCode, Malformed, NopIn, NopOut, Pdu,
    RejectReason,
};
use sanbench_wire::scsi::luns::Lun;
use serde_json::json;

use crate::ahs;
use crate::common::{Common, serial_less};
use crate::limit::Limited;
use crate::login::Agreed;
use crate::manage::Fence;
use crate::negotiate::Params;
use crate::scsi::Nexus;
use crate::text::TextExchange;
use crate::writes::WriteTask;

/// Immediate commands beyond the window that may wait for data.
const IMMEDIATE_TASKS: usize = 8;

/// A session in full feature phase.
pub(crate) struct Full {
    pub(crate) params: Params,
    pub(crate) initiator: String,
    /// The target's name; none in a discovery session.
    pub(crate) target: Option<String>,
    pub(crate) cid: u16,
    pub(crate) tsih: u16,
    /// None in a discovery session.
    pub(crate) nexus: Option<Nexus>,
    /// Commands that wait for write data, in order of arrival.
    pub(crate) tasks: Vec<WriteTask>,
    /// Answers that a traffic policy holds back.
    pub(crate) limited: Limited,
    /// Commands that came before their turn; `None` is a command that was aborted before it arrived.
    pub(crate) held: BTreeMap<u32, Option<RawPdu>>,
    /// Bytes in `held`.
    pub(crate) held_bytes: usize,
    /// Task sets that were aborted while commands of theirs were still under way.
    pub(crate) fences: Vec<Fence>,
    /// The time that the initiator has to log out, when it was just told so.
    pub(crate) leave_within: Option<Duration>,
    pub(crate) text: Option<TextExchange>,
    next_ttt: u32,
}

/// Whether a PDU's turn has come.
enum Admit {
    Now,
    Later,
    Never,
    /// Its number counts, the command does not.
    Aborted,
}

impl Full {
    pub(crate) fn new(agreed: Agreed, nexus: Option<Nexus>, tsih: u16) -> Full {
        Full {
            params: agreed.params,
            initiator: agreed.initiator,
            target: agreed.target,
            cid: agreed.cid,
            tsih,
            nexus,
            tasks: Vec::new(),
            limited: Limited::default(),
            held: BTreeMap::new(),
            held_bytes: 0,
            fences: Vec::new(),
            leave_within: None,
            text: None,
            next_ttt: 1,
        }
    }

    /// A transfer tag that is not in use soon again.
    pub(crate) fn new_ttt(&mut self) -> u32 {
        let tag = self.next_ttt;
        self.next_ttt = if tag >= 0xffff_fff0 { 1 } else { tag + 1 };
        tag
    }

    /// Takes one PDU, and those held back that follow it.
    pub(crate) fn receive(&mut self, common: &mut Common, now: Duration, raw: RawPdu, mute: bool) {
        if !raw.data_digest_ok {
            return self.damaged(common, now, &raw);
        }
        let pdu = match Pdu::parse(&raw) {
            Ok(pdu) => pdu,
            Err(Malformed::Opcode(_)) => return common.reject(RejectReason::NOT_SUPPORTED, &raw.bhs),
            Err(_) => return common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs),
        };
        if let Some(replay) = &mut common.replay {
            replay.acknowledge(raw.bhs.u32(28));
        }
        match self.admit(common, &pdu) {
            Admit::Now => self.act(common, now, pdu, &raw, mute),
            Admit::Later => return self.hold(common, raw),
            Admit::Never => return,
            Admit::Aborted => {}
        }
        self.go_on(common, now);
    }

    /// Keeps a command until its turn has come. Its bytes are copied, so that the read buffer is not kept with it.
    fn hold(&mut self, common: &mut Common, mut raw: RawPdu) {
        raw.data = Bytes::copy_from_slice(&raw.data);
        raw.ahs = Bytes::copy_from_slice(&raw.ahs);
        self.held_bytes += raw.data.len() + raw.ahs.len();
        if self.held_bytes > common.config.write_buffer {
            return common.close("too much data before its turn");
        }
        self.held.insert(raw.bhs.u32(24), Some(raw));
    }

    /// Acts on the commands held back whose turn has come, and opens the window.
    pub(crate) fn go_on(&mut self, common: &mut Common, now: Duration) {
        while common.closed.is_none()
            && let Some(next) = self.held.remove(&common.numbers.exp_cmd_sn)
        {
            common.numbers.exp_cmd_sn = common.numbers.exp_cmd_sn.wrapping_add(1);
            let Some(raw) = next else { continue };
            self.held_bytes -= raw.data.len() + raw.ahs.len();
            if let Ok(pdu) = Pdu::parse(&raw) {
                self.act(common, now, pdu, &raw, false);
            }
        }
        if !self.fences.is_empty() {
            let expected = common.numbers.exp_cmd_sn;
            self.fences.retain(|fence| serial_less(expected, fence.before));
        }
        common.numbers.open_window(common.config.queue_depth, self.outstanding());
    }

    /// CmdSN rules (RFC 7143 section 4.2.2.1): in order, within the window, immediate PDUs outside of it.
    fn admit(&mut self, common: &mut Common, pdu: &Pdu) -> Admit {
        let (immediate, cmd_sn) = match pdu {
            Pdu::ScsiCommand(p) => (p.immediate, p.cmd_sn),
            Pdu::TaskManagementRequest(p) => (p.immediate, p.cmd_sn),
            Pdu::TextRequest(p) => (p.immediate, p.cmd_sn),
            Pdu::LogoutRequest(p) => (p.immediate, p.cmd_sn),
            Pdu::NopOut(p) => (p.immediate || p.itt == RESERVED_TAG, p.cmd_sn),
            _ => return Admit::Now,
        };
        let numbers = &mut common.numbers;
        if immediate {
            return Admit::Now;
        }
        if let Pdu::ScsiCommand(command) = pdu
            && self.fences.iter().any(|fence| fence.stops(cmd_sn, command.lun))
        {
            // Aborted before it came (section 4.2.3.3): its number is used up, nothing else happens.
            if !serial_less(cmd_sn, numbers.exp_cmd_sn) && !serial_less(numbers.max_cmd_sn, cmd_sn) {
                self.held.entry(cmd_sn).or_insert(None);
            }
            return Admit::Aborted;
        }
        if cmd_sn == numbers.exp_cmd_sn && !serial_less(numbers.max_cmd_sn, cmd_sn) {
            numbers.exp_cmd_sn = cmd_sn.wrapping_add(1);
            return Admit::Now;
        }
        let outside = serial_less(cmd_sn, numbers.exp_cmd_sn) || serial_less(numbers.max_cmd_sn, cmd_sn);
        if outside && common.config.defects.cmd_sn_window_ignored {
            return Admit::Now;
        }
        if outside || self.held.contains_key(&cmd_sn) { Admit::Never } else { Admit::Later }
    }

    fn act(&mut self, common: &mut Common, now: Duration, pdu: Pdu, raw: &RawPdu, mute: bool) {
        let discovery = self.nexus.is_none();
        match pdu {
            Pdu::ScsiCommand(_) | Pdu::DataOut(_) | Pdu::TaskManagementRequest(_) if discovery => {
                common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs);
            }
            Pdu::ScsiCommand(command) => {
                let busy = self.outstanding() >= usize::from(common.config.queue_depth) + IMMEDIATE_TASKS;
                if command.immediate && busy {
                    common.reject(RejectReason::TOO_MANY_IMMEDIATE, &raw.bhs);
                } else if !raw.ahs.is_empty() && ahs::walk(&raw.ahs).is_none() {
                    common.reject(RejectReason::INVALID_FIELD, &raw.bhs);
                } else if self.tasks.iter().any(|task| task.itt == command.itt)
                    || self.limited.has(command.itt)
                {
                    common.reject(RejectReason::TASK_IN_PROGRESS, &raw.bhs);
                } else {
                    self.command(common, now, command, mute);
                }
            }
            Pdu::DataOut(data) => self.data_out(common, now, data, raw),
            Pdu::NopOut(nop) => self.nop(common, nop),
            Pdu::TextRequest(request) => self.text_request(common, request, raw),
            Pdu::LogoutRequest(request) if request.reason.0 > 2 => {
                common.reject(RejectReason::INVALID_FIELD, &raw.bhs);
            }
            Pdu::LogoutRequest(request) => self.log_out(common, &request),
            Pdu::TaskManagementRequest(request) => self.manage(common, &request),
            Pdu::Snack(snack) => self.snack(common, &snack, raw),
            // A second login, or a PDU that only targets send.
            _ => common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs),
        }
    }

    /// A data digest error (RFC 7143 section 7.8): Reject. A command whose immediate data is damaged never came; write data
    /// is asked for anew at recovery level 1, else its task ends.
    fn damaged(&mut self, common: &mut Common, now: Duration, raw: &RawPdu) {
        common.reject(RejectReason::DATA_DIGEST, &raw.bhs);
        if let Ok(Pdu::DataOut(data)) = Pdu::parse(raw) {
            self.lost_data(common, now, &data);
        }
    }

    fn nop(&mut self, common: &mut Common, nop: NopOut) {
        // Without a tag it is the answer to our ping, or just numbers.
        if nop.itt == RESERVED_TAG {
            return;
        }
        let keep = nop.data.len().min(self.params.send_segment as usize);
        let stat_sn = common.numbers.take_stat();
        common.numbers.open_window(common.config.queue_depth, self.outstanding());
        common.send(NopIn {
            lun: Lun::ZERO,
            itt: nop.itt,
            ttt: RESERVED_TAG,
            stat_sn,
            exp_cmd_sn: common.numbers.exp_cmd_sn,
            max_cmd_sn: common.numbers.max_cmd_sn,
            data: nop.data.slice(..keep),
        });
    }

    /// Asks the initiator for a sign of life.
    pub(crate) fn ping(&mut self, common: &mut Common) {
        let ttt = self.new_ttt();
        common.send(NopIn {
            lun: Lun::ZERO,
            itt: RESERVED_TAG,
            ttt,
            stat_sn: common.numbers.stat_sn,
            exp_cmd_sn: common.numbers.exp_cmd_sn,
            max_cmd_sn: common.numbers.max_cmd_sn,
            data: Bytes::new(),
        });
    }

    fn log_out(&mut self, common: &mut Common, request: &LogoutRequest) {
        let response = match request.reason {
            LogoutReason::CLOSE_SESSION => LogoutResponseCode::SUCCESS,
            LogoutReason::CLOSE_CONNECTION if request.cid == self.cid => LogoutResponseCode::SUCCESS,
            LogoutReason::CLOSE_CONNECTION => LogoutResponseCode::CID_NOT_FOUND,
            _ => LogoutResponseCode::RECOVERY_NOT_SUPPORTED,
        };
        let stat_sn = common.numbers.take_stat();
        common.send(LogoutResponse {
            response,
            itt: request.itt,
            stat_sn,
            exp_cmd_sn: common.numbers.exp_cmd_sn,
            max_cmd_sn: common.numbers.max_cmd_sn,
            time2wait: self.params.time2wait,
            time2retain: self.params.time2retain,
        });
        if response == LogoutResponseCode::SUCCESS {
            self.tasks.clear();
            self.limited.clear();
            let (initiator, tsih) = (&self.initiator, self.tsih);
            common.around.note("iscsi", &|| json!({"event": "logout", "initiator": initiator, "tsih": tsih}));
            common.close("logout");
        }
    }
}
