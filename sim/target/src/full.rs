//! The full feature phase: command order, dispatch, and the PDUs around SCSI commands (RFC 7143 sections 4.2 and 11).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sanbench_array::DeviceId;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::RawPdu;
use sanbench_wire::pdu::{
    LogoutReason, LogoutRequest, LogoutResponse, LogoutResponseCode, NopIn, NopOut, Pdu, RejectReason,
    TaskFunction, TaskManagementRequest, TaskManagementResponse, TaskResponse,
};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Asc;
use serde_json::json;

use crate::login::Agreed;
use crate::negotiate::Params;
use crate::registry::Event;
use crate::scsi::{self, Nexus};
use crate::session::{Common, serial_less};
use crate::tasks::WriteTask;
use crate::text::TextExchange;

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
    /// Commands that came before their turn; `None` is a command that was aborted before it arrived.
    held: BTreeMap<u32, Option<RawPdu>>,
    pub(crate) text: Option<TextExchange>,
    next_ttt: u32,
}

/// Whether a PDU's turn has come.
enum Admit {
    Now,
    Later,
    Never,
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
            held: BTreeMap::new(),
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
            return self.damaged(common, &raw);
        }
        let pdu = match Pdu::parse(&raw) {
            Ok(pdu) => pdu,
            Err(_) => return common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs),
        };
        match self.admit(common, &pdu) {
            Admit::Now => self.act(common, now, pdu, &raw, mute),
            Admit::Later => {
                self.held.insert(raw.bhs.u32(24), Some(raw));
                return;
            }
            Admit::Never => return,
        }
        self.go_on(common, now);
    }

    /// Acts on the commands held back whose turn has come, and opens the window.
    pub(crate) fn go_on(&mut self, common: &mut Common, now: Duration) {
        while common.closed.is_none()
            && let Some(next) = self.held.remove(&common.numbers.exp_cmd_sn)
        {
            common.numbers.exp_cmd_sn = common.numbers.exp_cmd_sn.wrapping_add(1);
            if let Some(raw) = next
                && let Ok(pdu) = Pdu::parse(&raw)
            {
                self.act(common, now, pdu, &raw, false);
            }
        }
        common.numbers.open_window(common.config.queue_depth, self.tasks.len());
    }

    /// CmdSN rules (RFC 7143 section 4.2.2.1): in order, within the window, immediate PDUs outside of it.
    fn admit(&self, common: &mut Common, pdu: &Pdu) -> Admit {
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
        if cmd_sn == numbers.exp_cmd_sn && !serial_less(numbers.max_cmd_sn, cmd_sn) {
            numbers.exp_cmd_sn = cmd_sn.wrapping_add(1);
            return Admit::Now;
        }
        let outside = serial_less(cmd_sn, numbers.exp_cmd_sn) || serial_less(numbers.max_cmd_sn, cmd_sn);
        if outside || self.held.contains_key(&cmd_sn) { Admit::Never } else { Admit::Later }
    }

    fn act(&mut self, common: &mut Common, now: Duration, pdu: Pdu, raw: &RawPdu, mute: bool) {
        let discovery = self.nexus.is_none();
        match pdu {
            Pdu::ScsiCommand(_) | Pdu::DataOut(_) | Pdu::TaskManagementRequest(_) if discovery => {
                common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs);
            }
            Pdu::ScsiCommand(command) => {
                let busy = self.tasks.len() >= usize::from(common.config.queue_depth) + IMMEDIATE_TASKS;
                if command.immediate && busy {
                    common.reject(RejectReason::TOO_MANY_IMMEDIATE, &raw.bhs);
                } else if self.tasks.iter().any(|task| task.itt == command.itt) {
                    common.reject(RejectReason::TASK_IN_PROGRESS, &raw.bhs);
                } else {
                    self.command(common, now, command, mute);
                }
            }
            Pdu::DataOut(data) => self.data_out(common, now, data, raw),
            Pdu::NopOut(nop) => self.nop(common, nop),
            Pdu::TextRequest(request) => self.text_request(common, request, raw),
            Pdu::LogoutRequest(request) => self.log_out(common, &request),
            Pdu::TaskManagementRequest(request) => self.manage(common, &request),
            Pdu::Snack(_) => common.reject(RejectReason::SNACK, &raw.bhs),
            // A second login, or a PDU that only targets send.
            _ => common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs),
        }
    }

    /// A data digest error (RFC 7143 section 7.8): Reject, and the task ends when the PDU was write data.
    fn damaged(&mut self, common: &mut Common, raw: &RawPdu) {
        common.reject(RejectReason::DATA_DIGEST, &raw.bhs);
        if let Ok(Pdu::DataOut(data)) = Pdu::parse(raw) {
            self.break_task(common, data.itt, Asc::PROTOCOL_SERVICE_CRC_ERROR);
        }
    }

    fn nop(&mut self, common: &mut Common, nop: NopOut) {
        // Without a tag it is the answer to our ping, or just numbers.
        if nop.itt == RESERVED_TAG {
            return;
        }
        let keep = nop.data.len().min(self.params.send_segment as usize);
        let stat_sn = common.numbers.take_stat();
        common.numbers.open_window(common.config.queue_depth, self.tasks.len());
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
            let (initiator, tsih) = (&self.initiator, self.tsih);
            common.around.note("iscsi", &|| json!({"event": "logout", "initiator": initiator, "tsih": tsih}));
            common.close("logout");
        }
    }

    /// Task management (RFC 7143 section 11.5). Only commands that wait for data can still be aborted: all others are
    /// done when they have arrived.
    fn manage(&mut self, common: &mut Common, request: &TaskManagementRequest) {
        let response = self.manage_tasks(common, request);
        let (initiator, function) = (&self.initiator, request.function);
        common.around.note("iscsi", &|| {
            json!({"event": "task_management", "initiator": initiator, "function": function.name(),
                "response": response.name()})
        });
        common.numbers.open_window(common.config.queue_depth, self.tasks.len());
        let stat_sn = common.numbers.take_stat();
        common.send(TaskManagementResponse {
            response,
            itt: request.itt,
            stat_sn,
            exp_cmd_sn: common.numbers.exp_cmd_sn,
            max_cmd_sn: common.numbers.max_cmd_sn,
        });
    }

    fn manage_tasks(&mut self, common: &mut Common, request: &TaskManagementRequest) -> TaskResponse {
        let device = || -> Option<DeviceId> {
            let array = common.array.lock();
            scsi::resolve(&array, self.nexus.as_ref()?, request.lun).map(|unit| unit.device)
        };
        match request.function {
            TaskFunction::ABORT_TASK => self.abort_task(common, request),
            TaskFunction::ABORT_TASK_SET
            | TaskFunction::CLEAR_TASK_SET
            | TaskFunction::LOGICAL_UNIT_RESET => {
                let Some(device) = device() else { return TaskResponse::NO_SUCH_LUN };
                self.tasks.retain(|task| task.device != device);
                match request.function {
                    TaskFunction::CLEAR_TASK_SET => {
                        common.registry.tell_others(&common.mailbox, Event::TasksCleared(device));
                    }
                    TaskFunction::LOGICAL_UNIT_RESET => {
                        common.registry.tell_others(&common.mailbox, Event::DeviceReset(device));
                        self.event(common, Event::DeviceReset(device));
                    }
                    _ => {}
                }
                TaskResponse::COMPLETE
            }
            TaskFunction::TARGET_WARM_RESET => {
                common.registry.tell_others(&common.mailbox, Event::TargetReset);
                self.event(common, Event::TargetReset);
                TaskResponse::COMPLETE
            }
            TaskFunction::TASK_REASSIGN => TaskResponse::REASSIGNMENT_NOT_SUPPORTED,
            _ => TaskResponse::NOT_SUPPORTED,
        }
    }

    fn abort_task(&mut self, common: &mut Common, request: &TaskManagementRequest) -> TaskResponse {
        if let Some(at) = self.tasks.iter().position(|task| task.itt == request.referenced_itt) {
            if self.tasks[at].lun != request.lun {
                return TaskResponse::NO_SUCH_TASK;
            }
            self.tasks.remove(at);
            return TaskResponse::COMPLETE;
        }
        // A command that has not arrived yet, or waits for its turn, is aborted by its number (section 11.5.5).
        let sn = request.ref_cmd_sn;
        let ahead = !serial_less(sn, common.numbers.exp_cmd_sn)
            && !serial_less(common.numbers.max_cmd_sn, sn)
            && serial_less(sn, request.cmd_sn);
        if !ahead {
            return TaskResponse::NO_SUCH_TASK;
        }
        self.held.insert(sn, None);
        TaskResponse::COMPLETE
    }

    /// Something that another session, or a reset through this one, did.
    pub(crate) fn event(&mut self, common: &mut Common, event: Event) {
        let Some(nexus) = &mut self.nexus else { return };
        match event {
            Event::Close => common.close("closed by the target"),
            Event::DeviceReset(device) => {
                self.tasks.retain(|task| task.device != device);
                nexus.alert(device, Asc::BUS_DEVICE_RESET);
            }
            Event::TasksCleared(device) => {
                let before = self.tasks.len();
                self.tasks.retain(|task| task.device != device);
                if self.tasks.len() != before {
                    nexus.alert(device, Asc::COMMANDS_CLEARED);
                }
            }
            Event::TargetReset => {
                self.tasks.clear();
                nexus.alert_all(Asc::BUS_DEVICE_RESET);
            }
        }
    }
}
