//! Standard INQUIRY data (SPC-4 clause 6.6.2).

use super::{BadData, ascii, put_ascii, u16_at};

/// Peripheral qualifier and device type (byte 0 of INQUIRY data and of every VPD page).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peripheral {
    /// Peripheral qualifier, three bits: 0 connected, 1 possible but not connected, 3 no such logical unit.
    pub qualifier: u8,
    /// Peripheral device type, five bits: 00h direct access block device, 1Fh unknown or none.
    pub device_type: u8,
}

impl Peripheral {
    /// A connected direct access block device.
    pub const DISK: Peripheral = Peripheral { qualifier: 0, device_type: 0 };
    /// No logical unit can be here (byte 7Fh).
    pub const NONE: Peripheral = Peripheral { qualifier: 3, device_type: 0x1f };

    /// Packs the byte.
    pub fn byte(self) -> u8 {
        self.qualifier << 5 | self.device_type & 0x1f
    }

    /// Unpacks the byte.
    pub fn from_byte(byte: u8) -> Peripheral {
        Peripheral { qualifier: byte >> 5, device_type: byte & 0x1f }
    }
}

/// Version codes for `version`.
pub mod version {
    /// SPC-3.
    pub const SPC3: u8 = 0x05;
    /// SPC-4.
    pub const SPC4: u8 = 0x06;
}

/// Standard INQUIRY data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandardInquiry {
    /// Qualifier and device type.
    pub peripheral: Peripheral,
    /// Version of SPC claimed.
    pub version: u8,
    /// HISUP: hierarchical LUN addressing is supported.
    pub hierarchical: bool,
    /// TPGS, two bits: 1 implicit, 2 explicit ALUA.
    pub tpgs: u8,
    /// 3PC: third-party copy.
    pub third_party_copy: bool,
    /// PROTECT: protection information is supported.
    pub protect: bool,
    /// CMDQUE: command queuing.
    pub command_queue: bool,
    /// T10 vendor identification, at most 8 characters.
    pub vendor: String,
    /// Product identification, at most 16 characters.
    pub product: String,
    /// Product revision level, at most 4 characters.
    pub revision: String,
    /// Version descriptors, at most eight; zero entries are not kept.
    pub version_descriptors: Vec<u16>,
}

impl StandardInquiry {
    /// Writes 74 bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut data = vec![0; 74];
        data[0] = self.peripheral.byte();
        data[2] = self.version;
        data[3] = u8::from(self.hierarchical) << 4 | 2;
        data[4] = (74 - 5) as u8;
        data[5] = (self.tpgs & 3) << 4 | u8::from(self.third_party_copy) << 3 | u8::from(self.protect);
        data[7] = u8::from(self.command_queue) << 1;
        put_ascii(&mut data[8..16], &self.vendor);
        put_ascii(&mut data[16..32], &self.product);
        put_ascii(&mut data[32..36], &self.revision);
        for (slot, v) in data[58..74].chunks_exact_mut(2).zip(&self.version_descriptors) {
            slot.copy_from_slice(&v.to_be_bytes());
        }
        data
    }

    /// Reads at least 36 bytes.
    pub fn parse(data: &[u8]) -> Result<StandardInquiry, BadData> {
        const WHAT: BadData = BadData("standard INQUIRY data");
        let fixed = data.first_chunk::<36>().ok_or(WHAT)?;
        Ok(StandardInquiry {
            peripheral: Peripheral::from_byte(fixed[0]),
            version: fixed[2],
            hierarchical: fixed[3] & 0x10 != 0,
            tpgs: fixed[5] >> 4 & 3,
            third_party_copy: fixed[5] & 0x08 != 0,
            protect: fixed[5] & 0x01 != 0,
            command_queue: fixed[7] & 0x02 != 0,
            vendor: ascii(&fixed[8..16]),
            product: ascii(&fixed[16..32]),
            revision: ascii(&fixed[32..36]),
            version_descriptors: (0..8)
                .filter_map(|i| u16_at(data, 58 + 2 * i))
                .filter(|v| *v != 0)
                .collect(),
        })
    }
}
