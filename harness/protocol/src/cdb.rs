//! CDBs and parameter lists by hand, so that an error in the shared syntax crate does not hide one in the target.

use bytes::Bytes;

pub(crate) fn test_unit_ready() -> [u8; 6] {
    [0; 6]
}

pub(crate) fn inquiry(allocation: u16) -> [u8; 6] {
    let [a, b] = allocation.to_be_bytes();
    [0x12, 0, 0, a, b, 0]
}

pub(crate) fn vpd(page: u8, allocation: u16) -> [u8; 6] {
    let [a, b] = allocation.to_be_bytes();
    [0x12, 1, page, a, b, 0]
}

pub(crate) fn read_capacity_10() -> [u8; 10] {
    [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

pub(crate) fn read_capacity_16(allocation: u32) -> [u8; 16] {
    service_in(0x10, 0, allocation)
}

pub(crate) fn get_lba_status(lba: u64, allocation: u32) -> [u8; 16] {
    service_in(0x12, lba, allocation)
}

fn service_in(action: u8, lba: u64, allocation: u32) -> [u8; 16] {
    let mut c = [0; 16];
    c[0] = 0x9e;
    c[1] = action;
    c[2..10].copy_from_slice(&lba.to_be_bytes());
    c[10..14].copy_from_slice(&allocation.to_be_bytes());
    c
}

/// 6-byte form: `blocks` 0 stands for 256.
pub(crate) fn six(op: u8, lba: u32, blocks: u8) -> [u8; 6] {
    let [_, a, b, c] = lba.to_be_bytes();
    [op, a & 0x1f, b, c, blocks, 0]
}

pub(crate) fn ten(op: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let mut c = [0; 10];
    c[0] = op;
    c[1] = flags;
    c[2..6].copy_from_slice(&lba.to_be_bytes());
    c[7..9].copy_from_slice(&blocks.to_be_bytes());
    c
}

pub(crate) fn twelve(op: u8, flags: u8, lba: u32, blocks: u32) -> [u8; 12] {
    let mut c = [0; 12];
    c[0] = op;
    c[1] = flags;
    c[2..6].copy_from_slice(&lba.to_be_bytes());
    c[6..10].copy_from_slice(&blocks.to_be_bytes());
    c
}

pub(crate) fn sixteen(op: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut c = [0; 16];
    c[0] = op;
    c[1] = flags;
    c[2..10].copy_from_slice(&lba.to_be_bytes());
    c[10..14].copy_from_slice(&blocks.to_be_bytes());
    c
}

/// READ (16).
pub(crate) fn read(lba: u64, blocks: u32) -> [u8; 16] {
    sixteen(0x88, 0, lba, blocks)
}

/// WRITE (16).
pub(crate) fn write(lba: u64, blocks: u32) -> [u8; 16] {
    sixteen(0x8a, 0, lba, blocks)
}

pub(crate) fn compare_and_write(lba: u64, blocks: u8) -> [u8; 16] {
    let mut c = [0; 16];
    c[0] = 0x89;
    c[2..10].copy_from_slice(&lba.to_be_bytes());
    c[13] = blocks;
    c
}

pub(crate) fn unmap(list: u16) -> [u8; 10] {
    let mut c = [0; 10];
    c[0] = 0x42;
    c[7..9].copy_from_slice(&list.to_be_bytes());
    c
}

/// UNMAP parameter list.
pub(crate) fn unmap_list(ranges: &[(u64, u32)]) -> Vec<u8> {
    let n = (ranges.len() * 16) as u16;
    let mut data = Vec::new();
    data.extend_from_slice(&(n + 6).to_be_bytes());
    data.extend_from_slice(&n.to_be_bytes());
    data.extend_from_slice(&[0; 4]);
    for (lba, blocks) in ranges {
        data.extend_from_slice(&lba.to_be_bytes());
        data.extend_from_slice(&blocks.to_be_bytes());
        data.extend_from_slice(&[0; 4]);
    }
    data
}

pub(crate) fn report_luns(select: u8, allocation: u32) -> [u8; 12] {
    let mut c = [0; 12];
    c[0] = 0xa0;
    c[2] = select;
    c[6..10].copy_from_slice(&allocation.to_be_bytes());
    c
}

pub(crate) fn mode_sense_6(page: u8, control: u8, allocation: u8) -> [u8; 6] {
    [0x1a, 0x08, control << 6 | page, 0, allocation, 0]
}

pub(crate) fn mode_sense_10(page: u8, control: u8, allocation: u16) -> [u8; 10] {
    let [a, b] = allocation.to_be_bytes();
    [0x5a, 0x08, control << 6 | page, 0, 0, 0, 0, a, b, 0]
}

pub(crate) fn mode_select_6(list: u8) -> [u8; 6] {
    [0x15, 0x10, 0, 0, list, 0]
}

pub(crate) fn request_sense(descriptor: bool, allocation: u8) -> [u8; 6] {
    [0x03, u8::from(descriptor), 0, 0, allocation, 0]
}

/// MAINTENANCE IN.
pub(crate) fn maintenance_in(action: u8, byte2: u8, byte3: u8, sa: u16, allocation: u32) -> [u8; 12] {
    let mut c = [0; 12];
    c[0] = 0xa3;
    c[1] = action;
    c[2] = byte2;
    c[3] = byte3;
    c[4..6].copy_from_slice(&sa.to_be_bytes());
    c[6..10].copy_from_slice(&allocation.to_be_bytes());
    c
}

/// REPORT TARGET PORT GROUPS; the parameter data format is in the high bits of byte 1.
pub(crate) fn report_target_port_groups(extended: bool, allocation: u32) -> [u8; 12] {
    let mut c = maintenance_in(0x0a, 0, 0, 0, allocation);
    c[1] |= u8::from(extended) << 5;
    c
}

pub(crate) fn pr_in(action: u8, allocation: u16) -> [u8; 10] {
    let [a, b] = allocation.to_be_bytes();
    [0x5e, action, 0, 0, 0, 0, 0, a, b, 0]
}

pub(crate) fn pr_out(action: u8, scope: u8, kind: u8) -> [u8; 10] {
    [0x5f, action, scope << 4 | kind, 0, 0, 0, 0, 0, 24, 0]
}

/// The 24-byte parameter list of PERSISTENT RESERVE OUT.
pub(crate) fn pr_out_data(key: u64, action_key: u64, aptpl: bool) -> Bytes {
    let mut data = vec![0; 24];
    data[..8].copy_from_slice(&key.to_be_bytes());
    data[8..16].copy_from_slice(&action_key.to_be_bytes());
    data[20] = u8::from(aptpl);
    Bytes::from(data)
}

/// Big-endian number at a place; 0 when the data end before.
pub(crate) fn be(data: &[u8], at: usize, bytes: usize) -> u64 {
    data.get(at..at + bytes).map_or(0, |part| part.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
}
