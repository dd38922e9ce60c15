//! From a command to sixteen bytes.

use super::{Cdb, DoesNotFit, Transfer, Verify, Width, op};

impl Cdb {
    /// Writes the CDB, padded with zeros to sixteen bytes.
    pub fn build(&self) -> Result<[u8; 16], DoesNotFit> {
        let mut b = [0u8; 16];
        match *self {
            Cdb::TestUnitReady => b[0] = op::TEST_UNIT_READY,
            Cdb::RequestSense { descriptor, allocation } => {
                b[0] = op::REQUEST_SENSE;
                b[1] = u8::from(descriptor);
                b[4] = allocation;
            }
            Cdb::Inquiry { evpd, page, allocation } => {
                b[0] = op::INQUIRY;
                b[1] = u8::from(evpd);
                b[2] = page;
                b[3..5].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::ModeSense { width, no_descriptors, long_lba, control, page, subpage, allocation } => {
                b[1] = u8::from(no_descriptors) << 3;
                b[2] = control.bits() << 6 | bits(page, 6, "page code")?;
                b[3] = subpage;
                match width {
                    Width::Six => {
                        b[0] = op::MODE_SENSE_6;
                        b[4] = u8::try_from(allocation).map_err(|_| DoesNotFit("allocation length"))?;
                        if long_lba {
                            return Err(DoesNotFit("LLBAA"));
                        }
                    }
                    Width::Ten => {
                        b[0] = op::MODE_SENSE_10;
                        b[1] |= u8::from(long_lba) << 4;
                        b[7..9].copy_from_slice(&allocation.to_be_bytes());
                    }
                    Width::Twelve | Width::Sixteen => return Err(DoesNotFit("MODE SENSE width")),
                }
            }
            Cdb::StartStopUnit { immediate, power_condition, no_flush, load_eject, start } => {
                b[0] = op::START_STOP_UNIT;
                b[1] = u8::from(immediate);
                b[4] = bits(power_condition, 4, "power condition")? << 4
                    | u8::from(no_flush) << 2
                    | u8::from(load_eject) << 1
                    | u8::from(start);
            }
            Cdb::ReadCapacity10 => b[0] = op::READ_CAPACITY_10,
            Cdb::ReadCapacity16 { allocation } => {
                b[0] = op::SERVICE_ACTION_IN_16;
                b[1] = op::SA_READ_CAPACITY_16;
                b[10..14].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::GetLbaStatus { lba, allocation } => {
                b[0] = op::SERVICE_ACTION_IN_16;
                b[1] = op::SA_GET_LBA_STATUS;
                b[2..10].copy_from_slice(&lba.to_be_bytes());
                b[10..14].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::ReportLuns { select, allocation } => {
                b[0] = op::REPORT_LUNS;
                b[2] = select;
                b[6..10].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::Read(t) => {
                put_transfer(&mut b, t, [op::READ_6, op::READ_10, op::READ_12, op::READ_16])?;
            }
            Cdb::Write(t) => {
                put_transfer(&mut b, t, [op::WRITE_6, op::WRITE_10, op::WRITE_12, op::WRITE_16])?;
            }
            Cdb::Verify(v) => put_verify(&mut b, v, [op::VERIFY_10, op::VERIFY_12, op::VERIFY_16])?,
            Cdb::SynchronizeCache { width, lba, blocks, immediate } => {
                b[0] = match width {
                    Width::Ten => op::SYNCHRONIZE_CACHE_10,
                    Width::Sixteen => op::SYNCHRONIZE_CACHE_16,
                    Width::Six | Width::Twelve => return Err(DoesNotFit("SYNCHRONIZE CACHE width")),
                };
                put_range(&mut b, width, lba, blocks)?;
                b[1] = u8::from(immediate) << 1;
            }
            Cdb::WriteSame(w) => {
                b[0] = match w.width {
                    Width::Ten => op::WRITE_SAME_10,
                    Width::Sixteen => op::WRITE_SAME_16,
                    Width::Six | Width::Twelve => return Err(DoesNotFit("WRITE SAME width")),
                };
                if w.no_data_out && w.width == Width::Ten {
                    return Err(DoesNotFit("NDOB"));
                }
                put_range(&mut b, w.width, w.lba, w.blocks)?;
                b[1] = bits(w.protect, 3, "WRPROTECT")? << 5
                    | u8::from(w.anchor) << 4
                    | u8::from(w.unmap) << 3
                    | u8::from(w.no_data_out);
            }
            Cdb::Unmap { anchor, parameter_length } => {
                b[0] = op::UNMAP;
                b[1] = u8::from(anchor);
                b[7..9].copy_from_slice(&parameter_length.to_be_bytes());
            }
            Cdb::WriteAndVerify(v) => {
                let ops = [op::WRITE_AND_VERIFY_10, op::WRITE_AND_VERIFY_12, op::WRITE_AND_VERIFY_16];
                put_verify(&mut b, v, ops)?;
            }
            Cdb::OrWrite(t) => put_long(&mut b, op::OR_WRITE_16, t)?,
            Cdb::CompareAndWrite(t) => {
                let blocks = u8::try_from(t.blocks).map_err(|_| DoesNotFit("transfer length"))?;
                put_long(&mut b, op::COMPARE_AND_WRITE, Transfer { blocks: 0, ..t })?;
                b[13] = blocks;
            }
            Cdb::WriteAtomic { transfer, boundary } => {
                let blocks = u16::try_from(transfer.blocks).map_err(|_| DoesNotFit("transfer length"))?;
                put_long(&mut b, op::WRITE_ATOMIC_16, Transfer { blocks: 0, ..transfer })?;
                b[10..12].copy_from_slice(&boundary.to_be_bytes());
                b[12..14].copy_from_slice(&blocks.to_be_bytes());
            }
            Cdb::PreFetch { width, lba, blocks, immediate } => {
                b[0] = match width {
                    Width::Ten => op::PRE_FETCH_10,
                    Width::Sixteen => op::PRE_FETCH_16,
                    Width::Six | Width::Twelve => return Err(DoesNotFit("PRE-FETCH width")),
                };
                put_range(&mut b, width, lba, blocks)?;
                b[1] = u8::from(immediate) << 1;
            }
            Cdb::ModeSelect { width, page_format, save, parameter_length } => {
                b[1] = u8::from(page_format) << 4 | u8::from(save);
                match width {
                    Width::Six => {
                        b[0] = op::MODE_SELECT_6;
                        b[4] = u8::try_from(parameter_length)
                            .map_err(|_| DoesNotFit("parameter list length"))?;
                    }
                    Width::Ten => {
                        b[0] = op::MODE_SELECT_10;
                        b[7..9].copy_from_slice(&parameter_length.to_be_bytes());
                    }
                    Width::Twelve | Width::Sixteen => return Err(DoesNotFit("MODE SELECT width")),
                }
            }
            Cdb::LogSense { save, control, page, subpage, pointer, allocation } => {
                b[0] = op::LOG_SENSE;
                b[1] = u8::from(save);
                b[2] = bits(control, 2, "page control")? << 6 | bits(page, 6, "page code")?;
                b[3] = subpage;
                b[5..7].copy_from_slice(&pointer.to_be_bytes());
                b[7..9].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::PersistentReserveIn { action, allocation } => {
                b[0] = op::PERSISTENT_RESERVE_IN;
                b[1] = bits(action, 5, "service action")?;
                b[7..9].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::PersistentReserveOut { action, scope, kind, parameter_length } => {
                b[0] = op::PERSISTENT_RESERVE_OUT;
                b[1] = bits(action, 5, "service action")?;
                b[2] = bits(scope, 4, "scope")? << 4 | bits(kind, 4, "type")?;
                b[5..9].copy_from_slice(&parameter_length.to_be_bytes());
            }
            Cdb::Reserve { width } => {
                b[0] = short(width, op::RESERVE_6, op::RESERVE_10, "RESERVE width")?;
            }
            Cdb::Release { width } => {
                b[0] = short(width, op::RELEASE_6, op::RELEASE_10, "RELEASE width")?;
            }
            Cdb::ReportTargetPortGroups { extended, allocation } => {
                b[0] = op::MAINTENANCE_IN;
                b[1] = u8::from(extended) << 5 | op::SA_REPORT_TARGET_PORT_GROUPS;
                b[6..10].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::SetTargetPortGroups { parameter_length } => {
                b[0] = op::MAINTENANCE_OUT;
                b[1] = op::SA_SET_TARGET_PORT_GROUPS;
                b[6..10].copy_from_slice(&parameter_length.to_be_bytes());
            }
            Cdb::ReportSupportedOpcodes { timeouts, option, opcode, action, allocation } => {
                b[0] = op::MAINTENANCE_IN;
                b[1] = op::SA_REPORT_SUPPORTED_OPERATION_CODES;
                b[2] = u8::from(timeouts) << 7 | bits(option, 3, "reporting options")?;
                b[3] = opcode;
                b[4..6].copy_from_slice(&action.to_be_bytes());
                b[6..10].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::ReportTaskFunctions { extended, allocation } => {
                b[0] = op::MAINTENANCE_IN;
                b[1] = op::SA_REPORT_SUPPORTED_TASK_FUNCTIONS;
                b[2] = u8::from(extended) << 7;
                b[6..10].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::ExtendedCopy { parameter_length } => {
                b[0] = op::EXTENDED_COPY;
                b[10..14].copy_from_slice(&parameter_length.to_be_bytes());
            }
            Cdb::ReceiveCopyResults { action, list, allocation } => {
                b[0] = op::RECEIVE_COPY_RESULTS;
                b[1] = bits(action, 5, "service action")?;
                b[2] = list;
                b[10..14].copy_from_slice(&allocation.to_be_bytes());
            }
            Cdb::Sanitize { immediate, unrestricted, action, parameter_length } => {
                b[0] = op::SANITIZE;
                b[1] = u8::from(immediate) << 7
                    | u8::from(unrestricted) << 5
                    | bits(action, 5, "service action")?;
                b[7..9].copy_from_slice(&parameter_length.to_be_bytes());
            }
            Cdb::PreventAllow { prevent } => {
                b[0] = op::PREVENT_ALLOW;
                b[4] = bits(prevent, 2, "PREVENT")?;
            }
            Cdb::ReadDefectData { width, primary, grown, format, allocation } => {
                let flags =
                    u8::from(primary) << 4 | u8::from(grown) << 3 | bits(format, 3, "defect list format")?;
                match width {
                    Width::Ten => {
                        b[0] = op::READ_DEFECT_DATA_10;
                        b[2] = flags;
                        let allocation =
                            u16::try_from(allocation).map_err(|_| DoesNotFit("allocation length"))?;
                        b[7..9].copy_from_slice(&allocation.to_be_bytes());
                    }
                    Width::Twelve => {
                        b[0] = op::READ_DEFECT_DATA_12;
                        b[1] = flags;
                        b[6..10].copy_from_slice(&allocation.to_be_bytes());
                    }
                    Width::Six | Width::Sixteen => return Err(DoesNotFit("READ DEFECT DATA width")),
                }
            }
            Cdb::Unknown(raw) => b = raw,
        }
        Ok(b)
    }
}

fn bits(value: u8, count: u32, what: &'static str) -> Result<u8, DoesNotFit> {
    if u32::from(value) < 1 << count { Ok(value) } else { Err(DoesNotFit(what)) }
}

fn short(width: Width, six: u8, ten: u8, what: &'static str) -> Result<u8, DoesNotFit> {
    match width {
        Width::Six => Ok(six),
        Width::Ten => Ok(ten),
        Width::Twelve | Width::Sixteen => Err(DoesNotFit(what)),
    }
}

/// A transfer that has the 16-byte form alone.
fn put_long(b: &mut [u8; 16], opcode: u8, t: Transfer) -> Result<(), DoesNotFit> {
    if t.width != Width::Sixteen {
        return Err(DoesNotFit("width"));
    }
    put_transfer(b, t, [opcode; 4])
}

fn put_verify(b: &mut [u8; 16], v: Verify, ops: [u8; 3]) -> Result<(), DoesNotFit> {
    b[0] = match v.width {
        Width::Six => return Err(DoesNotFit("VERIFY width")),
        Width::Ten => ops[0],
        Width::Twelve => ops[1],
        Width::Sixteen => ops[2],
    };
    put_range(b, v.width, v.lba, v.blocks)?;
    b[1] =
        bits(v.protect, 3, "VRPROTECT")? << 5 | u8::from(v.dpo) << 4 | bits(v.byte_check, 2, "BYTCHK")? << 1;
    Ok(())
}

fn put_transfer(b: &mut [u8; 16], t: Transfer, ops: [u8; 4]) -> Result<(), DoesNotFit> {
    put_range(b, t.width, t.lba, t.blocks)?;
    b[0] = ops[t.width as usize];
    if t.width == Width::Six {
        if t.dpo || t.fua || t.protect != 0 {
            return Err(DoesNotFit("DPO, FUA or protection in a 6-byte CDB"));
        }
    } else {
        b[1] = bits(t.protect, 3, "protection")? << 5 | u8::from(t.dpo) << 4 | u8::from(t.fua) << 3;
    }
    Ok(())
}

fn put_range(b: &mut [u8; 16], width: Width, lba: u64, blocks: u32) -> Result<(), DoesNotFit> {
    const LBA: DoesNotFit = DoesNotFit("LBA");
    const LENGTH: DoesNotFit = DoesNotFit("transfer length");
    match width {
        Width::Six => {
            if lba > 0x1f_ffff {
                return Err(LBA);
            }
            if blocks == 0 || blocks > 256 {
                return Err(LENGTH);
            }
            b[1..4].copy_from_slice(&(lba as u32).to_be_bytes()[1..]);
            b[4] = blocks as u8; // 256 becomes 0, as the standard has it
        }
        Width::Ten => {
            b[2..6].copy_from_slice(&u32::try_from(lba).map_err(|_| LBA)?.to_be_bytes());
            b[7..9].copy_from_slice(&u16::try_from(blocks).map_err(|_| LENGTH)?.to_be_bytes());
        }
        Width::Twelve => {
            b[2..6].copy_from_slice(&u32::try_from(lba).map_err(|_| LBA)?.to_be_bytes());
            b[6..10].copy_from_slice(&blocks.to_be_bytes());
        }
        Width::Sixteen => {
            b[2..10].copy_from_slice(&lba.to_be_bytes());
            b[10..14].copy_from_slice(&blocks.to_be_bytes());
        }
    }
    Ok(())
}
