//! Sense data, fixed and descriptor format (SPC-4 clause 4.5).

use super::{u16_at, u32_at, u64_at};
use crate::codes::codes;

codes! {
    /// Sense key; four bits.
    SenseKey(u8) {
        NO_SENSE = 0x0, "NO SENSE";
        RECOVERED_ERROR = 0x1, "RECOVERED ERROR";
        NOT_READY = 0x2, "NOT READY";
        MEDIUM_ERROR = 0x3, "MEDIUM ERROR";
        HARDWARE_ERROR = 0x4, "HARDWARE ERROR";
        ILLEGAL_REQUEST = 0x5, "ILLEGAL REQUEST";
        UNIT_ATTENTION = 0x6, "UNIT ATTENTION";
        DATA_PROTECT = 0x7, "DATA PROTECT";
        BLANK_CHECK = 0x8, "BLANK CHECK";
        COPY_ABORTED = 0xa, "COPY ABORTED";
        ABORTED_COMMAND = 0xb, "ABORTED COMMAND";
        MISCOMPARE = 0xe, "MISCOMPARE";
        COMPLETED = 0xf, "COMPLETED";
    }
}

codes! {
    /// Additional sense code (high byte) and its qualifier (low byte).
    Asc(u16) {
        NO_ADDITIONAL_SENSE = 0x0000, "NO ADDITIONAL SENSE INFORMATION";
        NOT_READY_BECOMING_READY = 0x0401, "LOGICAL UNIT IS IN PROCESS OF BECOMING READY";
        NOT_READY_CAUSE_NOT_REPORTABLE = 0x0400, "LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE";
        NOT_READY_INITIALIZING_COMMAND_REQUIRED = 0x0402, "LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED";
        NOT_READY_MANUAL_INTERVENTION = 0x0403, "LOGICAL UNIT NOT READY, MANUAL INTERVENTION REQUIRED";
        ACCESS_STATE_TRANSITION = 0x040a, "LOGICAL UNIT NOT ACCESSIBLE, ASYMMETRIC ACCESS STATE TRANSITION";
        PORT_IN_STANDBY_STATE = 0x040b, "LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN STANDBY STATE";
        PORT_IN_UNAVAILABLE_STATE = 0x040c, "LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN UNAVAILABLE STATE";
        PORT_OFFLINE = 0x0412, "LOGICAL UNIT NOT READY, OFFLINE";
        COPY_TARGET_NOT_REACHABLE = 0x0d02, "COPY TARGET DEVICE NOT REACHABLE";
        INCORRECT_COPY_TARGET_TYPE = 0x0d03, "INCORRECT COPY TARGET DEVICE TYPE";
        COPY_TARGET_UNDERRUN = 0x0d04, "COPY TARGET DEVICE DATA UNDERRUN";
        UNREACHABLE_COPY_TARGET = 0x0804, "UNREACHABLE COPY TARGET";
        WRITE_ERROR = 0x0c00, "WRITE ERROR";
        UNEXPECTED_UNSOLICITED_DATA = 0x0c0c, "WRITE ERROR - UNEXPECTED UNSOLICITED DATA";
        NOT_ENOUGH_UNSOLICITED_DATA = 0x0c0d, "WRITE ERROR - NOT ENOUGH UNSOLICITED DATA";
        UNRECOVERED_READ_ERROR = 0x1100, "UNRECOVERED READ ERROR";
        PARAMETER_LIST_LENGTH_ERROR = 0x1a00, "PARAMETER LIST LENGTH ERROR";
        MISCOMPARE_DURING_VERIFY = 0x1d00, "MISCOMPARE DURING VERIFY OPERATION";
        INVALID_OPERATION_CODE = 0x2000, "INVALID COMMAND OPERATION CODE";
        LBA_OUT_OF_RANGE = 0x2100, "LOGICAL BLOCK ADDRESS OUT OF RANGE";
        INVALID_FIELD_IN_CDB = 0x2400, "INVALID FIELD IN CDB";
        LOGICAL_UNIT_NOT_SUPPORTED = 0x2500, "LOGICAL UNIT NOT SUPPORTED";
        INVALID_FIELD_IN_PARAMETER_LIST = 0x2600, "INVALID FIELD IN PARAMETER LIST";
        PARAMETER_NOT_SUPPORTED = 0x2601, "PARAMETER NOT SUPPORTED";
        PARAMETER_VALUE_INVALID = 0x2602, "PARAMETER VALUE INVALID";
        INVALID_RELEASE = 0x2604, "INVALID RELEASE OF PERSISTENT RESERVATION";
        TOO_MANY_TARGET_DESCRIPTORS = 0x2606, "TOO MANY TARGET DESCRIPTORS";
        UNSUPPORTED_TARGET_DESCRIPTOR = 0x2607, "UNSUPPORTED TARGET DESCRIPTOR TYPE CODE";
        TOO_MANY_SEGMENT_DESCRIPTORS = 0x2608, "TOO MANY SEGMENT DESCRIPTORS";
        UNSUPPORTED_SEGMENT_DESCRIPTOR = 0x2609, "UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE";
        INLINE_DATA_TOO_LONG = 0x260b, "INLINE DATA LENGTH EXCEEDED";
        WRITE_PROTECTED = 0x2700, "WRITE PROTECTED";
        SOFTWARE_WRITE_PROTECTED = 0x2702, "LOGICAL UNIT SOFTWARE WRITE PROTECTED";
        SPACE_ALLOCATION_FAILED = 0x2707, "SPACE ALLOCATION FAILED WRITE PROTECT";
        SOFT_THRESHOLD_REACHED = 0x3807, "THIN PROVISIONING SOFT THRESHOLD REACHED";
        POWER_ON_RESET = 0x2900, "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED";
        POWER_ON = 0x2901, "POWER ON OCCURRED";
        BUS_DEVICE_RESET = 0x2903, "BUS DEVICE RESET FUNCTION OCCURRED";
        NEXUS_LOSS = 0x2907, "I_T NEXUS LOSS OCCURRED";
        MODE_PARAMETERS_CHANGED = 0x2a01, "MODE PARAMETERS CHANGED";
        RESERVATIONS_PREEMPTED = 0x2a03, "RESERVATIONS PREEMPTED";
        RESERVATIONS_RELEASED = 0x2a04, "RESERVATIONS RELEASED";
        REGISTRATIONS_PREEMPTED = 0x2a05, "REGISTRATIONS PREEMPTED";
        ASYMMETRIC_ACCESS_STATE_CHANGED = 0x2a06, "ASYMMETRIC ACCESS STATE CHANGED";
        IMPLICIT_TRANSITION_FAILED = 0x2a07, "IMPLICIT ASYMMETRIC ACCESS STATE TRANSITION FAILED";
        CAPACITY_DATA_HAS_CHANGED = 0x2a09, "CAPACITY DATA HAS CHANGED";
        COMMANDS_CLEARED = 0x2f00, "COMMANDS CLEARED BY ANOTHER INITIATOR";
        COMMAND_SEQUENCE_ERROR = 0x2c00, "COMMAND SEQUENCE ERROR";
        SAVING_NOT_SUPPORTED = 0x3900, "SAVING PARAMETERS NOT SUPPORTED";
        INQUIRY_DATA_HAS_CHANGED = 0x3f03, "INQUIRY DATA HAS CHANGED";
        REPORTED_LUNS_DATA_HAS_CHANGED = 0x3f0e, "REPORTED LUNS DATA HAS CHANGED";
        INTERNAL_TARGET_FAILURE = 0x4400, "INTERNAL TARGET FAILURE";
        PROTOCOL_SERVICE_CRC_ERROR = 0x4705, "PROTOCOL SERVICE CRC ERROR";
        OVERLAPPED_COMMANDS = 0x4e00, "OVERLAPPED COMMANDS ATTEMPTED";
        MEDIUM_REMOVAL_PREVENTED = 0x5302, "MEDIUM REMOVAL PREVENTED";
        INSUFFICIENT_RESOURCES = 0x5503, "INSUFFICIENT RESOURCES";
        INSUFFICIENT_REGISTRATION_RESOURCES = 0x5504, "INSUFFICIENT REGISTRATION RESOURCES";
        SET_PORT_GROUPS_FAILED = 0x670a, "SET TARGET PORT GROUPS COMMAND FAILED";
    }
}

impl Asc {
    /// Additional sense code.
    pub fn code(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Additional sense code qualifier.
    pub fn qualifier(self) -> u8 {
        self.0 as u8
    }
}

/// Sense-key specific pointer to the offending field (SPC-4 clause 4.5.2.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPointer {
    /// C/D bit: the field is in the CDB, else in the parameter list.
    pub in_cdb: bool,
    /// Bit within the byte, 0 to 7, when the standard knows it.
    pub bit: Option<u8>,
    /// Byte number.
    pub byte: u16,
}

impl FieldPointer {
    fn build(self) -> [u8; 3] {
        let bit = self.bit.map_or(0, |b| 0x08 | b & 7);
        let [high, low] = self.byte.to_be_bytes();
        [0x80 | u8::from(self.in_cdb) << 6 | bit, high, low]
    }

    fn parse(raw: &[u8]) -> Option<FieldPointer> {
        let flags = *raw.first()?;
        if flags & 0x80 == 0 {
            return None;
        }
        Some(FieldPointer {
            in_cdb: flags & 0x40 != 0,
            bit: (flags & 0x08 != 0).then_some(flags & 7),
            byte: u16_at(raw, 1)?,
        })
    }
}

/// Decoded sense data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code and qualifier.
    pub asc: Asc,
    /// Response code 71h/73h: the error belongs to an earlier command.
    pub deferred: bool,
    /// INFORMATION field (an LBA, or a miscompare offset in bytes) when valid.
    pub information: Option<u64>,
    /// Field pointer, for ILLEGAL REQUEST.
    pub field: Option<FieldPointer>,
}

impl Sense {
    /// Current sense with key and code alone.
    pub const fn new(key: SenseKey, asc: Asc) -> Sense {
        Sense { key, asc, deferred: false, information: None, field: None }
    }

    /// The 18 bytes of fixed format. An information value over 32 bits cannot be told here and is left out.
    pub fn build_fixed(&self) -> [u8; 18] {
        let mut data = [0; 18];
        data[0] = 0x70 | u8::from(self.deferred);
        if let Some(info) = self.information.and_then(|i| u32::try_from(i).ok()) {
            data[0] |= 0x80;
            data[3..7].copy_from_slice(&info.to_be_bytes());
        }
        data[2] = self.key.0 & 0x0f;
        data[7] = 10;
        data[12] = self.asc.code();
        data[13] = self.asc.qualifier();
        if let Some(field) = self.field {
            data[15..18].copy_from_slice(&field.build());
        }
        data
    }

    /// Descriptor format.
    pub fn build_descriptor(&self) -> Vec<u8> {
        let mut data = vec![
            0x72 | u8::from(self.deferred),
            self.key.0 & 0x0f,
            self.asc.code(),
            self.asc.qualifier(),
            0,
            0,
            0,
            0,
        ];
        if let Some(info) = self.information {
            data.extend_from_slice(&[0x00, 0x0a, 0x80, 0]);
            data.extend_from_slice(&info.to_be_bytes());
        }
        if let Some(field) = self.field {
            data.extend_from_slice(&[0x02, 0x06, 0, 0]);
            data.extend_from_slice(&field.build());
            data.push(0);
        }
        data[7] = (data.len() - 8) as u8;
        data
    }

    /// Reads either format; `None` when it is neither or too short for key and code.
    pub fn parse(data: &[u8]) -> Option<Sense> {
        let response = *data.first()? & 0x7f;
        match response {
            0x70 | 0x71 => {
                let key = SenseKey(*data.get(2)? & 0x0f);
                let available = 8 + usize::from(data.get(7).copied().unwrap_or(0));
                let data_in = &data[..data.len().min(available)];
                Some(Sense {
                    key,
                    asc: Asc(u16_at(data_in, 12).unwrap_or(0)),
                    deferred: response == 0x71,
                    information: (data[0] & 0x80 != 0).then(|| u32_at(data, 3).map(u64::from)).flatten(),
                    field: data_in.get(15..18).and_then(FieldPointer::parse),
                })
            }
            0x72 | 0x73 => {
                let mut sense = Sense {
                    key: SenseKey(*data.get(1)? & 0x0f),
                    asc: Asc(u16_at(data, 2)?),
                    deferred: response == 0x73,
                    information: None,
                    field: None,
                };
                let total = 8 + usize::from(data.get(7).copied().unwrap_or(0));
                let mut rest = data.get(8..data.len().min(total)).unwrap_or(&[]);
                while let [kind, len, ..] = *rest {
                    let end = 2 + usize::from(len);
                    let Some(one) = rest.get(..end) else { break };
                    match kind {
                        0x00 if len >= 10 && one[2] & 0x80 != 0 => sense.information = u64_at(one, 4),
                        0x02 if len >= 6 => sense.field = FieldPointer::parse(&one[4..7]),
                        _ => {}
                    }
                    rest = &rest[end..];
                }
                Some(sense)
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Sense {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:02X}h/{:02X}h ({})", self.key, self.asc.code(), self.asc.qualifier(), self.asc)
    }
}
