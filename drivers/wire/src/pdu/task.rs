//! Task Management Function Request and Response (RFC 7143 sections 11.5 and 11.6).

use bytes::Bytes;

use super::{Malformed, expect_opcode};
use crate::bhs::{Bhs, Opcode};
use crate::codes::codes;
use crate::frame::RawPdu;
use crate::scsi::luns::Lun;

codes! {
    /// The function asked for.
    TaskFunction(u8) {
        ABORT_TASK = 1, "ABORT TASK";
        ABORT_TASK_SET = 2, "ABORT TASK SET";
        CLEAR_ACA = 3, "CLEAR ACA";
        CLEAR_TASK_SET = 4, "CLEAR TASK SET";
        LOGICAL_UNIT_RESET = 5, "LOGICAL UNIT RESET";
        TARGET_WARM_RESET = 6, "TARGET WARM RESET";
        TARGET_COLD_RESET = 7, "TARGET COLD RESET";
        TASK_REASSIGN = 8, "TASK REASSIGN";
    }
}

codes! {
    /// How the function ended.
    TaskResponse(u8) {
        COMPLETE = 0, "function complete";
        NO_SUCH_TASK = 1, "task does not exist";
        NO_SUCH_LUN = 2, "LUN does not exist";
        STILL_ALLEGIANT = 3, "task still allegiant";
        REASSIGNMENT_NOT_SUPPORTED = 4, "task allegiance reassignment not supported";
        NOT_SUPPORTED = 5, "function not supported";
        NOT_AUTHORIZED = 6, "function authorization failed";
        REJECTED = 255, "function rejected";
    }
}

/// Task Management Function Request, opcode `02h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagementRequest {
    /// I bit.
    pub immediate: bool,
    /// Function, seven bits.
    pub function: TaskFunction,
    /// Logical unit, for all functions but the target resets.
    pub lun: Lun,
    /// Initiator task tag of this request.
    pub itt: u32,
    /// Tag of the task to abort or reassign, else reserved.
    pub referenced_itt: u32,
    /// Command sequence number.
    pub cmd_sn: u32,
    /// Next StatSN expected.
    pub exp_stat_sn: u32,
    /// CmdSN of the task to abort.
    pub ref_cmd_sn: u32,
    /// Next DataSN expected, for reassignment.
    pub exp_data_sn: u32,
}

impl TaskManagementRequest {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<TaskManagementRequest, Malformed> {
        expect_opcode(raw, Opcode::TaskManagementRequest)?;
        let b = &raw.bhs;
        Ok(TaskManagementRequest {
            immediate: b.immediate(),
            function: TaskFunction(b.flags() & 0x7f),
            lun: b.lun(),
            itt: b.itt(),
            referenced_itt: b.u32(20),
            cmd_sn: b.u32(24),
            exp_stat_sn: b.u32(28),
            ref_cmd_sn: b.u32(32),
            exp_data_sn: b.u32(36),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::TaskManagementRequest, self.immediate, 0x80 | self.function.0 & 0x7f);
        b.set_lun(self.lun);
        b.put_u32(16, self.itt);
        b.put_u32(20, self.referenced_itt);
        b.put_u32(24, self.cmd_sn);
        b.put_u32(28, self.exp_stat_sn);
        b.put_u32(32, self.ref_cmd_sn);
        b.put_u32(36, self.exp_data_sn);
        RawPdu::new(b, Bytes::new(), Bytes::new())
    }
}

/// Task Management Function Response, opcode `22h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagementResponse {
    /// Outcome.
    pub response: TaskResponse,
    /// Tag of the request.
    pub itt: u32,
    /// Status sequence number.
    pub stat_sn: u32,
    /// Next CmdSN expected.
    pub exp_cmd_sn: u32,
    /// Last CmdSN acceptable.
    pub max_cmd_sn: u32,
}

impl TaskManagementResponse {
    /// Reads the PDU.
    pub fn parse(raw: &RawPdu) -> Result<TaskManagementResponse, Malformed> {
        expect_opcode(raw, Opcode::TaskManagementResponse)?;
        let b = &raw.bhs;
        Ok(TaskManagementResponse {
            response: TaskResponse(b.0[2]),
            itt: b.itt(),
            stat_sn: b.u32(24),
            exp_cmd_sn: b.u32(28),
            max_cmd_sn: b.u32(32),
        })
    }

    /// Writes the PDU.
    pub fn emit(&self) -> RawPdu {
        let mut b = Bhs::new(Opcode::TaskManagementResponse, false, 0x80);
        b.0[2] = self.response.0;
        b.put_u32(16, self.itt);
        b.put_u32(24, self.stat_sn);
        b.put_u32(28, self.exp_cmd_sn);
        b.put_u32(32, self.max_cmd_sn);
        RawPdu::new(b, Bytes::new(), Bytes::new())
    }
}
