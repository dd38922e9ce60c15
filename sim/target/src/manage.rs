//! Task management with its effects, and what other sessions and the target's owner do to this one
//! (RFC 7143 sections 4.2.3, 11.5, 11.6 and 11.9).

use bytes::{BufMut, Bytes, BytesMut};
use sanbench_array::DeviceId;
use sanbench_wire::pdu::{
    AsyncEvent, Pdu, TaskFunction, TaskManagementRequest, TaskManagementResponse, TaskResponse,
};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use serde_json::json;

use crate::common::{Common, Loss, serial_less};
use crate::full::Full;
use crate::registry::Event;
use crate::scsi;

/// A task set that was aborted: commands of it that come late are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    /// One logical unit, or all of them.
    lun: Option<Lun>,
    /// CmdSN of the function; the commands before it are aborted.
    pub(crate) before: u32,
}

impl Fence {
    /// Whether a command with this number, which arrives now, was aborted before it came.
    pub(crate) fn stops(&self, cmd_sn: u32, lun: Lun) -> bool {
        serial_less(cmd_sn, self.before) && self.lun.is_none_or(|own| own == lun)
    }
}

impl Full {
    /// Task management (RFC 7143 section 11.5). Only commands that wait for data or for their turn can still be aborted: all
    /// others are done when they have arrived.
    pub(crate) fn manage(&mut self, common: &mut Common, request: &TaskManagementRequest) {
        let response = self.manage_tasks(common, request);
        let (initiator, function) = (&self.initiator, request.function);
        common.around.note("iscsi", &|| {
            json!({"event": "task_management", "initiator": initiator, "function": function.name(),
                "response": response.name()})
        });
        common.numbers.open_window(common.config.queue_depth, self.outstanding());
        let stat_sn = common.numbers.take_stat();
        common.send(TaskManagementResponse {
            response,
            itt: request.itt,
            stat_sn,
            exp_cmd_sn: common.numbers.exp_cmd_sn,
            max_cmd_sn: common.numbers.max_cmd_sn,
        });
        if request.function == TaskFunction::TARGET_COLD_RESET {
            common.close("target cold reset");
        }
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
                self.limited.forget_device(device);
                self.fence(common, Some(request.lun), request.cmd_sn);
                match request.function {
                    TaskFunction::CLEAR_TASK_SET => {
                        common.registry.tell_others(&common.mailbox, Event::TasksCleared(device));
                    }
                    TaskFunction::LOGICAL_UNIT_RESET => self.reset_device(common, device),
                    _ => {}
                }
                settle(common);
                TaskResponse::COMPLETE
            }
            TaskFunction::TARGET_WARM_RESET | TaskFunction::TARGET_COLD_RESET => {
                if let Some(nexus) = &self.nexus {
                    scsi::reset_all(&mut common.array.lock(), nexus);
                }
                common.registry.tell_others(&common.mailbox, Event::TargetReset);
                self.event(common, Event::TargetReset);
                self.fence(common, None, request.cmd_sn);
                if request.function == TaskFunction::TARGET_COLD_RESET {
                    common.registry.tell_others(&common.mailbox, Event::Close);
                }
                settle(common);
                TaskResponse::COMPLETE
            }
            TaskFunction::TASK_REASSIGN => TaskResponse::REASSIGNMENT_NOT_SUPPORTED,
            // There is no ACA to clear: NORMACA is zero.
            TaskFunction::CLEAR_ACA => TaskResponse::NOT_SUPPORTED,
            _ => TaskResponse::REJECTED,
        }
    }

    /// A logical unit is reset: what hangs on it returns to its beginnings, its tasks are gone, and every nexus is told.
    pub(crate) fn reset_device(&mut self, common: &mut Common, device: DeviceId) {
        scsi::reset_unit(&mut common.array.lock(), device);
        common.registry.tell_others(&common.mailbox, Event::DeviceReset(device));
        self.event(common, Event::DeviceReset(device));
    }

    /// Aborts the commands that wait for their turn, and those that are still under way, up to the function's number.
    fn fence(&mut self, common: &Common, lun: Option<Lun>, before: u32) {
        let fence = Fence { lun, before };
        for (sn, held) in &mut self.held {
            if let Some(raw) = held
                && let Ok(Pdu::ScsiCommand(command)) = Pdu::parse(raw)
                && fence.stops(*sn, command.lun)
            {
                self.held_bytes -= raw.data.len() + raw.ahs.len();
                *held = None;
            }
        }
        // The window bounds how many numbers are missing, and so how many fences can matter.
        let ahead = before.wrapping_sub(common.numbers.exp_cmd_sn);
        if serial_less(common.numbers.exp_cmd_sn, before)
            && ahead <= u32::from(common.config.queue_depth)
            && !self.fences.contains(&fence)
            && self.fences.len() < usize::from(common.config.queue_depth)
        {
            self.fences.push(fence);
        }
    }

    fn abort_task(&mut self, common: &mut Common, request: &TaskManagementRequest) -> TaskResponse {
        if let Some(at) = self.tasks.iter().position(|task| task.itt == request.referenced_itt) {
            if self.tasks[at].lun != request.lun {
                return TaskResponse::NO_SUCH_TASK;
            }
            if common.config.defects.abort_then_apply {
                self.tasks[at].mute = true;
                return TaskResponse::COMPLETE;
            }
            self.tasks.remove(at);
            return TaskResponse::COMPLETE;
        }
        if self.limited.forget_task(request.referenced_itt, request.lun) {
            return TaskResponse::COMPLETE;
        }
        // A command that has not arrived yet, or waits for its turn, is aborted by its number (section 11.5.5).
        let sn = request.ref_cmd_sn;
        let ahead = !serial_less(sn, common.numbers.exp_cmd_sn)
            && !serial_less(common.numbers.max_cmd_sn, sn)
            && serial_less(sn, request.cmd_sn);
        match self.held.get(&sn) {
            Some(Some(raw)) if raw.bhs.itt() != request.referenced_itt => return TaskResponse::NO_SUCH_TASK,
            Some(Some(raw)) => self.held_bytes -= raw.data.len() + raw.ahs.len(),
            _ => {}
        }
        if !ahead {
            return TaskResponse::NO_SUCH_TASK;
        }
        self.held.insert(sn, None);
        TaskResponse::COMPLETE
    }

    /// Acts on everything that was posted to this session.
    pub(crate) fn absorb(&mut self, common: &mut Common) {
        for event in common.mailbox.take() {
            self.event(common, event);
        }
    }

    /// Something that another session, or a reset through this one, did.
    fn event(&mut self, common: &mut Common, event: Event) {
        match event {
            Event::Close => {
                self.tasks.clear();
                self.limited.clear();
                common.cut("closed by the target");
            }
            Event::RequestLogout(within) => {
                self.leave_within = Some(self.leave_within.map_or(within, |before| before.min(within)));
                common.announce(
                    AsyncEvent::LOGOUT_REQUESTED,
                    Lun::ZERO,
                    [0, 0, seconds(within)],
                    Bytes::new(),
                );
            }
            Event::RequestNegotiation(within) => {
                let parameters = [0, 0, seconds(within)];
                common.announce(AsyncEvent::NEGOTIATION_REQUESTED, Lun::ZERO, parameters, Bytes::new());
            }
            Event::Farewell(how) => self.farewell(common, how),
            Event::Announce(device, asc) => self.announce(common, device, asc),
            Event::Attention(device, asc) => self.alert(|nexus| nexus.alert(device, asc)),
            Event::DeviceReset(device) => {
                self.tasks.retain(|task| task.device != device);
                self.limited.forget_device(device);
                self.alert(|nexus| nexus.alert(device, Asc::BUS_DEVICE_RESET));
            }
            Event::TasksCleared(device) => {
                let before = self.tasks.len();
                self.tasks.retain(|task| task.device != device);
                if self.limited.forget_device(device) || self.tasks.len() != before {
                    self.alert(|nexus| nexus.alert(device, Asc::COMMANDS_CLEARED));
                }
            }
            Event::TargetReset => {
                self.tasks.clear();
                self.limited.clear();
                self.alert(|nexus| nexus.alert_all(Asc::BUS_DEVICE_RESET));
            }
        }
    }

    fn alert(&mut self, tell: impl FnOnce(&mut scsi::Nexus)) {
        if let Some(nexus) = &mut self.nexus {
            tell(nexus);
        }
    }

    /// Ends the session because the array went away under it.
    pub(crate) fn part(&mut self, common: &mut Common, how: Loss) {
        match how {
            Loss::Disabled => self.farewell(common, AsyncEvent::SESSION_DROPPED),
            Loss::PortalDown | Loss::Power => common.cut(how.text()),
        }
    }

    /// Says that the connection or session is dropped (events 2 and 3), then drops it.
    pub(crate) fn farewell(&mut self, common: &mut Common, how: AsyncEvent) {
        let cid = if how == AsyncEvent::CONNECTION_DROPPED { self.cid } else { 0 };
        let parameters = [cid, self.params.time2wait, self.params.time2retain];
        common.announce(how, Lun::ZERO, parameters, Bytes::new());
        self.tasks.clear();
        self.limited.clear();
        common.close("dropped by the target");
    }

    /// A unit attention as an asynchronous message (event 0): sense data with its length before it.
    fn announce(&mut self, common: &mut Common, device: DeviceId, asc: Asc) {
        let Some(nexus) = &self.nexus else { return };
        let view = common.array.lock().view(&nexus.iqn);
        let lun =
            view.into_iter().find(|(_, seen)| *seen == device).and_then(|(lun, _)| Lun::from_number(lun));
        let Some(lun) = lun else { return };
        let sense = Sense::new(SenseKey::UNIT_ATTENTION, asc).build_fixed();
        let mut data = BytesMut::new();
        data.put_u16(sense.len() as u16);
        data.put_slice(&sense);
        common.announce(AsyncEvent::SCSI, lun, [0; 3], data.freeze());
    }
}

/// Waits until no other session is in the middle of a command: what was posted is looked at before the next one.
fn settle(common: &Common) {
    drop(common.array.lock());
}

fn seconds(time: std::time::Duration) -> u16 {
    u16::try_from(time.as_secs()).unwrap_or(u16::MAX)
}
