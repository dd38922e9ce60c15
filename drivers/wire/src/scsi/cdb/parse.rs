//! From sixteen bytes to a command.

use super::{Cdb, Transfer, Verify, Width, WriteSame, op};
use crate::scsi::mode::PageControl;
use crate::scsi::{u16_at, u32_at, u64_at};

impl Cdb {
    /// Reads a CDB as it stands in the SCSI Command PDU.
    pub fn parse(cdb: &[u8; 16]) -> Cdb {
        let b = cdb;
        // Offsets below are constants within the 16 bytes, so the defaults are never taken.
        let u16 = |at| u16_at(b, at).unwrap_or(0);
        let u32 = |at| u32_at(b, at).unwrap_or(0);
        let u64 = |at| u64_at(b, at).unwrap_or(0);
        let range = |width| match width {
            Width::Six => {
                let lba = u32(0) & 0x001f_ffff;
                (u64::from(lba), if b[4] == 0 { 256 } else { u32::from(b[4]) })
            }
            Width::Ten => (u64::from(u32(2)), u32::from(u16(7))),
            Width::Twelve => (u64::from(u32(2)), u32(6)),
            Width::Sixteen => (u64(2), u32(10)),
        };
        let transfer = |width| {
            let (lba, blocks) = range(width);
            let flags = if width == Width::Six { 0 } else { b[1] };
            Transfer {
                width,
                lba,
                blocks,
                dpo: flags & 0x10 != 0,
                fua: flags & 0x08 != 0,
                protect: flags >> 5,
            }
        };
        let verify = |width| {
            let (lba, blocks) = range(width);
            let byte_check = b[1] >> 1 & 3;
            Verify { width, lba, blocks, dpo: b[1] & 0x10 != 0, byte_check, protect: b[1] >> 5 }
        };
        let pre_fetch = |width| {
            let (lba, blocks) = range(width);
            Cdb::PreFetch { width, lba, blocks, immediate: b[1] & 0x02 != 0 }
        };
        let mode_select = |width, parameter_length| Cdb::ModeSelect {
            width,
            page_format: b[1] & 0x10 != 0,
            save: b[1] & 0x01 != 0,
            parameter_length,
        };
        let defects = |width, flags: u8, allocation| Cdb::ReadDefectData {
            width,
            primary: flags & 0x10 != 0,
            grown: flags & 0x08 != 0,
            format: flags & 7,
            allocation,
        };
        let synchronize = |width| {
            let (lba, blocks) = range(width);
            Cdb::SynchronizeCache { width, lba, blocks, immediate: b[1] & 0x02 != 0 }
        };
        let write_same = |width| {
            let (lba, blocks) = range(width);
            Cdb::WriteSame(WriteSame {
                width,
                lba,
                blocks,
                protect: b[1] >> 5,
                anchor: b[1] & 0x10 != 0,
                unmap: b[1] & 0x08 != 0,
                no_data_out: width == Width::Sixteen && b[1] & 0x01 != 0,
            })
        };
        let mode_sense = |width, long_lba, allocation| Cdb::ModeSense {
            width,
            no_descriptors: b[1] & 0x08 != 0,
            long_lba,
            control: PageControl::from_bits(b[2] >> 6),
            page: b[2] & 0x3f,
            subpage: b[3],
            allocation,
        };
        match b[0] {
            op::TEST_UNIT_READY => Cdb::TestUnitReady,
            op::REQUEST_SENSE => Cdb::RequestSense { descriptor: b[1] & 1 != 0, allocation: b[4] },
            op::INQUIRY => Cdb::Inquiry { evpd: b[1] & 1 != 0, page: b[2], allocation: u16(3) },
            op::MODE_SENSE_6 => mode_sense(Width::Six, false, u16::from(b[4])),
            op::MODE_SENSE_10 => mode_sense(Width::Ten, b[1] & 0x10 != 0, u16(7)),
            op::START_STOP_UNIT => Cdb::StartStopUnit {
                immediate: b[1] & 1 != 0,
                power_condition: b[4] >> 4,
                no_flush: b[4] & 4 != 0,
                load_eject: b[4] & 2 != 0,
                start: b[4] & 1 != 0,
            },
            op::READ_CAPACITY_10 => Cdb::ReadCapacity10,
            op::SERVICE_ACTION_IN_16 => match b[1] & 0x1f {
                op::SA_READ_CAPACITY_16 => Cdb::ReadCapacity16 { allocation: u32(10) },
                op::SA_GET_LBA_STATUS => Cdb::GetLbaStatus { lba: u64(2), allocation: u32(10) },
                _ => Cdb::Unknown(*b),
            },
            op::REPORT_LUNS => Cdb::ReportLuns { select: b[2], allocation: u32(6) },
            op::READ_6 => Cdb::Read(transfer(Width::Six)),
            op::READ_10 => Cdb::Read(transfer(Width::Ten)),
            op::READ_12 => Cdb::Read(transfer(Width::Twelve)),
            op::READ_16 => Cdb::Read(transfer(Width::Sixteen)),
            op::WRITE_6 => Cdb::Write(transfer(Width::Six)),
            op::WRITE_10 => Cdb::Write(transfer(Width::Ten)),
            op::WRITE_12 => Cdb::Write(transfer(Width::Twelve)),
            op::WRITE_16 => Cdb::Write(transfer(Width::Sixteen)),
            op::VERIFY_10 => Cdb::Verify(verify(Width::Ten)),
            op::VERIFY_12 => Cdb::Verify(verify(Width::Twelve)),
            op::VERIFY_16 => Cdb::Verify(verify(Width::Sixteen)),
            op::SYNCHRONIZE_CACHE_10 => synchronize(Width::Ten),
            op::SYNCHRONIZE_CACHE_16 => synchronize(Width::Sixteen),
            op::WRITE_SAME_10 => write_same(Width::Ten),
            op::WRITE_SAME_16 => write_same(Width::Sixteen),
            op::WRITE_AND_VERIFY_10 => Cdb::WriteAndVerify(verify(Width::Ten)),
            op::WRITE_AND_VERIFY_12 => Cdb::WriteAndVerify(verify(Width::Twelve)),
            op::WRITE_AND_VERIFY_16 => Cdb::WriteAndVerify(verify(Width::Sixteen)),
            op::OR_WRITE_16 => Cdb::OrWrite(transfer(Width::Sixteen)),
            op::COMPARE_AND_WRITE => {
                Cdb::CompareAndWrite(Transfer { blocks: u32::from(b[13]), ..transfer(Width::Sixteen) })
            }
            op::WRITE_ATOMIC_16 => Cdb::WriteAtomic {
                transfer: Transfer { blocks: u32::from(u16(12)), ..transfer(Width::Sixteen) },
                boundary: u16(10),
            },
            op::PRE_FETCH_10 => pre_fetch(Width::Ten),
            op::PRE_FETCH_16 => pre_fetch(Width::Sixteen),
            op::MODE_SELECT_6 => mode_select(Width::Six, u16::from(b[4])),
            op::MODE_SELECT_10 => mode_select(Width::Ten, u16(7)),
            op::RESERVE_6 => Cdb::Reserve { width: Width::Six },
            op::RESERVE_10 => Cdb::Reserve { width: Width::Ten },
            op::RELEASE_6 => Cdb::Release { width: Width::Six },
            op::RELEASE_10 => Cdb::Release { width: Width::Ten },
            op::PREVENT_ALLOW => Cdb::PreventAllow { prevent: b[4] & 3 },
            op::READ_DEFECT_DATA_10 => defects(Width::Ten, b[2], u32::from(u16(7))),
            op::READ_DEFECT_DATA_12 => defects(Width::Twelve, b[1], u32(6)),
            op::SANITIZE => Cdb::Sanitize {
                immediate: b[1] & 0x80 != 0,
                unrestricted: b[1] & 0x20 != 0,
                action: b[1] & 0x1f,
                parameter_length: u16(7),
            },
            op::LOG_SENSE => Cdb::LogSense {
                save: b[1] & 1 != 0,
                control: b[2] >> 6,
                page: b[2] & 0x3f,
                subpage: b[3],
                pointer: u16(5),
                allocation: u16(7),
            },
            op::PERSISTENT_RESERVE_IN => Cdb::PersistentReserveIn { action: b[1] & 0x1f, allocation: u16(7) },
            op::PERSISTENT_RESERVE_OUT => Cdb::PersistentReserveOut {
                action: b[1] & 0x1f,
                scope: b[2] >> 4,
                kind: b[2] & 0x0f,
                parameter_length: u32(5),
            },
            op::EXTENDED_COPY if b[1] & 0x1f == 0 => Cdb::ExtendedCopy { parameter_length: u32(10) },
            op::RECEIVE_COPY_RESULTS => {
                Cdb::ReceiveCopyResults { action: b[1] & 0x1f, list: b[2], allocation: u32(10) }
            }
            op::MAINTENANCE_IN => match b[1] & 0x1f {
                op::SA_REPORT_TARGET_PORT_GROUPS => {
                    Cdb::ReportTargetPortGroups { extended: b[1] >> 5 == 1, allocation: u32(6) }
                }
                op::SA_REPORT_SUPPORTED_OPERATION_CODES => Cdb::ReportSupportedOpcodes {
                    timeouts: b[2] & 0x80 != 0,
                    option: b[2] & 7,
                    opcode: b[3],
                    action: u16(4),
                    allocation: u32(6),
                },
                op::SA_REPORT_SUPPORTED_TASK_FUNCTIONS => {
                    Cdb::ReportTaskFunctions { extended: b[2] & 0x80 != 0, allocation: u32(6) }
                }
                _ => Cdb::Unknown(*b),
            },
            op::MAINTENANCE_OUT if b[1] & 0x1f == op::SA_SET_TARGET_PORT_GROUPS => {
                Cdb::SetTargetPortGroups { parameter_length: u32(6) }
            }
            op::UNMAP => Cdb::Unmap { anchor: b[1] & 1 != 0, parameter_length: u16(7) },
            _ => Cdb::Unknown(*b),
        }
    }
}
