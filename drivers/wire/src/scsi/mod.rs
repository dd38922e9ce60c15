//! SCSI syntax: CDBs, sense data, VPD and mode pages, parameter data (SAM-5, SPC-4, SBC-3).
//!
//! Everything is built *and* parsed here: the target builds what the initiator parses and the other way round.
//! All multi-byte fields are big-endian. A builder gives the whole parameter data; cutting it to the allocation
//! length is the device server's business, and parsers accept data that was cut where the standard allows it.

pub mod alua;
pub mod capacity;
pub mod cdb;
pub mod copy;
pub mod inquiry;
pub mod lba_status;
pub mod luns;
pub mod mode;
pub mod opcodes;
pub mod reservation;
pub mod sense;
pub mod status;
pub mod unmap;
pub mod vpd;

/// Parameter data that is too short for its layout or contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct BadData(pub &'static str);

pub(crate) fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..)?.first_chunk::<2>().map(|b| u16::from_be_bytes(*b))
}

pub(crate) fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b))
}

pub(crate) fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    data.get(at..)?.first_chunk::<8>().map(|b| u64::from_be_bytes(*b))
}

/// Copies text into a fixed field: left-aligned, cut or padded with spaces; bytes outside printable ASCII become `?`.
pub(crate) fn put_ascii(field: &mut [u8], text: &str) {
    let mut bytes = text.bytes();
    for slot in field {
        *slot = match bytes.next() {
            Some(b) if (0x20..0x7f).contains(&b) => b,
            Some(_) => b'?',
            None => b' ',
        };
    }
}

/// Reads a fixed text field: trailing spaces and NULs dropped.
pub(crate) fn ascii(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim_end_matches([' ', '\0']).to_owned()
}
