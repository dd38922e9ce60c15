//! SCSI commands through a session: data transfer, masking, unit attentions, sense.

use crate::bench::*;
use bytes::Bytes;
use sanbench_array::{Command, DeviceId};
use sanbench_target::{MAX_WRITE_SAME_BLOCKS, TargetConfig};
use sanbench_wire::Pdu;
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::capacity::{Capacity10, Capacity16};
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Verify, Width, WriteSame};
use sanbench_wire::scsi::inquiry::{Peripheral, StandardInquiry};
use sanbench_wire::scsi::lba_status::{self, Provisioning};
use sanbench_wire::scsi::luns;
use sanbench_wire::scsi::mode::{ModeData, ModePage, PageControl};
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_wire::scsi::unmap::{self, UnmapRange};
use sanbench_wire::scsi::vpd::{Identifier, Vpd};

const GOOD: (Status, Option<Sense>, Residual) = (Status::GOOD, None, Residual::None);

fn one_lun(blocks: u64) -> (Bench, u64, u16, Conn) {
    let mut bench = Bench::new();
    let id = bench.lun("d", blocks);
    let lun = bench.map(DeviceId::Lun(id));
    let conn = bench.ready(lun);
    (bench, id, lun, conn)
}

fn write(width: Width, lba: u64, blocks: u32) -> Cdb {
    Cdb::Write(Transfer::new(width, lba, blocks))
}

#[test]
fn all_widths_write_and_read() {
    let (_bench, _, lun, mut conn) = one_lun(4096);
    for (width, lba, blocks) in
        [(Width::Six, 3, 1), (Width::Ten, 130, 30), (Width::Twelve, 1000, 64), (Width::Sixteen, 4000, 96)]
    {
        let data = pattern(blocks as usize, lba as u8);
        assert_eq!(conn.put(lun, write(width, lba, blocks), &data), GOOD);
        let (status, back, _, _) = conn.run(lun, Cdb::Read(Transfer::new(width, lba, blocks)), blocks * 512);
        assert_eq!(status, Status::GOOD);
        assert!(back == data, "{width:?}");
    }
    // 256 blocks in a 6-byte CDB, and what was never written reads zero.
    let (status, zeros, ..) = conn.run(lun, Cdb::Read(Transfer::new(Width::Six, 2000, 256)), 256 * 512);
    assert_eq!((status, zeros), (Status::GOOD, vec![0; 256 * 512]));
    let sync = Cdb::SynchronizeCache { width: Width::Ten, lba: 0, blocks: 0, immediate: false };
    assert_eq!(conn.run(lun, sync, 0).0, Status::GOOD);
}

/// Immediate, unsolicited and solicited data in one command, with two R2Ts out at a time.
#[test]
fn three_kinds_of_write_data() {
    let (_bench, _, lun, mut conn) = one_lun(4096);
    let data = pattern(64, 7); // 32 KiB: 4 KiB first burst, then bursts of 8 KiB
    let mut command = conn.command(lun, write(Width::Ten, 8, 64), 0, Some(32_768));
    command.last = false;
    command.data = Bytes::copy_from_slice(&data[..1024]);
    conn.send(command);
    assert!(conn.rest().is_empty(), "no R2T before the unsolicited data ends");
    let first = conn.unsolicited(1024, 0, false, &data[1024..2048]);
    conn.send(first);
    let second = conn.unsolicited(2048, 1, true, &data[2048..4096]);
    conn.send(second);
    let asked: Vec<R2t> =
        conn.rest().into_iter().map(|p| if let Pdu::R2t(r) = p { r } else { panic!("{p:?}") }).collect();
    let ranges: Vec<_> = asked.iter().map(|r| (r.r2t_sn, r.offset, r.length)).collect();
    assert_eq!(ranges, [(0, 4096, 8192), (1, 12_288, 8192)]);
    conn.answer(&asked[0], &data, 1500);
    let Some(Pdu::R2t(third)) = conn.next() else { panic!("a place is free for the next R2T") };
    assert_eq!((third.r2t_sn, third.offset, third.length), (2, 20_480, 8192));
    conn.answer(&asked[1], &data, 4096);
    let Some(Pdu::R2t(fourth)) = conn.next() else { panic!() };
    conn.answer(&third, &data, 4096);
    conn.answer(&fourth, &data, 4096);
    let Some(Pdu::ScsiResponse(done)) = conn.next() else { panic!() };
    assert_eq!((done.status, done.residual, done.exp_data_sn), (Status::GOOD, Residual::None, 4));
    assert!(conn.read(lun, 8, 64) == data);
}

#[test]
fn several_writes_interleave() {
    let (_bench, _, lun, mut conn) = one_lun(4096);
    let (a, b) = (pattern(16, 1), pattern(16, 2));
    let first = conn.command(lun, write(Width::Ten, 0, 16), 0, Some(8192));
    let second = conn.command(lun, write(Width::Ten, 100, 16), 0, Some(8192));
    conn.send(first);
    conn.send(second);
    let Some(Pdu::R2t(ra)) = conn.next() else { panic!() };
    let Some(Pdu::R2t(rb)) = conn.next() else { panic!() };
    conn.answer(&rb, &b, 4096);
    conn.answer(&ra, &a, 4096);
    assert_eq!(conn.rest().len(), 2);
    assert!(conn.read(lun, 0, 16) == a && conn.read(lun, 100, 16) == b);
}

#[test]
fn write_data_that_breaks_the_rules() {
    let (_bench, _, lun, mut conn) = one_lun(4096);
    let data = pattern(16, 3);
    let sense_of = |conn: &mut Conn| {
        let (status, _, sense, _) = conn.finish(4096, 8192);
        assert_eq!(status, Status::CHECK_CONDITION);
        let sense = sense.unwrap();
        assert_eq!(sense.key, SenseKey::ABORTED_COMMAND);
        sense.asc
    };
    // Wrong DataSN, wrong offset, too much, F too early, second burst before the first.
    let twists: [fn(&mut DataOut); 4] = [
        |d| d.data_sn = 1,
        |d| d.offset += 512,
        |d| d.data = Bytes::from(vec![0; 8704]),
        |d| {
            d.data = Bytes::from(vec![0; 512]);
        },
    ];
    for twist in twists {
        let command = conn.command(lun, write(Width::Ten, 0, 16), 0, Some(8192));
        conn.send(command);
        let Some(Pdu::R2t(r2t)) = conn.next() else { panic!() };
        let mut out = conn.unsolicited(0, 0, true, &data);
        out.ttt = r2t.ttt;
        twist(&mut out);
        conn.send(out);
        assert_eq!(sense_of(&mut conn), Asc::PROTOCOL_SERVICE_CRC_ERROR);
        // What still comes for it is thrown away.
        conn.answer(&r2t, &data, 4096);
        assert!(conn.rest().is_empty());
    }
    // Unsolicited data beyond FirstBurstLength, and where none was announced.
    let mut command = conn.command(lun, write(Width::Ten, 0, 16), 0, Some(8192));
    command.last = false;
    conn.send(command);
    let out = conn.unsolicited(0, 0, true, &data[..5120]);
    conn.send(out);
    assert_eq!(sense_of(&mut conn), Asc::UNEXPECTED_UNSOLICITED_DATA);
    let mut command = conn.command(lun, write(Width::Ten, 0, 16), 0, Some(8192));
    command.data = Bytes::copy_from_slice(&data[..5120]);
    conn.send(command);
    assert_eq!(sense_of(&mut conn), Asc::UNEXPECTED_UNSOLICITED_DATA);
    // A transfer tag that nobody gave.
    let command = conn.command(lun, write(Width::Ten, 0, 16), 0, Some(8192));
    conn.send(command);
    assert!(matches!(conn.next(), Some(Pdu::R2t(_))));
    let mut out = conn.unsolicited(0, 0, true, &data);
    out.ttt = 0x7777;
    conn.send(out);
    assert!(matches!(conn.next(), Some(Pdu::Reject(r)) if r.reason == RejectReason::INVALID_FIELD));
    sense_of(&mut conn);
    assert_eq!(conn.read(lun, 0, 16), vec![0; 8192], "none of it was written");
}

#[test]
fn negotiated_limits_on_data_hold() {
    let mut bench = Bench::new();
    let lun = bench.map(DeviceId::Lun(bench.lun("d", 4096)));
    let target = bench.target();
    let mut conn = bench.connect();
    conn.log_in(HOST, Some(&target), &[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    conn.run(lun, Cdb::TestUnitReady, 0);
    let data = pattern(1, 1);
    let mut command = conn.command(lun, write(Width::Ten, 0, 1), 0, Some(512));
    command.data = Bytes::copy_from_slice(&data);
    conn.send(command.clone());
    assert_eq!(conn.finish(512, 512).2.unwrap().asc, Asc::UNEXPECTED_UNSOLICITED_DATA);
    let mut command = conn.command(lun, write(Width::Ten, 0, 1), 0, Some(512));
    command.last = false;
    conn.send(command);
    assert_eq!(conn.finish(512, 512).2.unwrap().asc, Asc::UNEXPECTED_UNSOLICITED_DATA);
    let command = conn.command(lun, write(Width::Ten, 0, 1), 0, Some(512));
    conn.send(command);
    let Some(Pdu::R2t(r2t)) = conn.next() else { panic!() };
    conn.answer(&r2t, &data, 512);
    assert!(matches!(conn.next(), Some(Pdu::ScsiResponse(r)) if r.status == Status::GOOD));
}

#[test]
fn residuals() {
    let (_bench, _, lun, mut conn) = one_lun(4096);
    let data = pattern(2, 9);
    let read = Cdb::Read(Transfer::new(Width::Ten, 0, 2));
    assert_eq!(conn.put(lun, write(Width::Ten, 0, 2), &data), GOOD);
    assert_eq!(conn.run(lun, read, 2048).3, Residual::Underflow(1024));
    let (status, part, _, residual) = conn.run(lun, read, 512);
    assert_eq!((status, residual), (Status::GOOD, Residual::Overflow(512)));
    assert_eq!(part, data[..512]);
    // A command that fails moves nothing.
    let beyond = Cdb::Read(Transfer::new(Width::Ten, 4096, 1));
    assert_eq!(conn.run(lun, beyond, 512).3, Residual::Underflow(512));
    // A write of less than the CDB says writes only that; of more, only the CDB's blocks.
    let other = pattern(4, 0x55);
    let short = conn.put(lun, write(Width::Ten, 0, 2), &other[..512]);
    assert_eq!(short, (Status::GOOD, None, Residual::Overflow(512)));
    assert_eq!(conn.read(lun, 0, 2), [&other[..512], &data[512..]].concat());
    let long = conn.put(lun, write(Width::Ten, 10, 1), &other);
    assert_eq!(long, (Status::GOOD, None, Residual::Underflow(1536)));
    assert_eq!(conn.read(lun, 10, 2), [&other[..512], &[0; 512]].concat());
}

#[test]
fn capacity() {
    let (bench, _, lun, mut conn) = one_lun(4096);
    let (_, data, ..) = conn.run(lun, Cdb::ReadCapacity10, 8);
    assert_eq!(Capacity10::parse(&data), Ok(Capacity10 { last_lba: 4095, block_length: 512 }));
    let (_, data, ..) = conn.run(lun, Cdb::ReadCapacity16 { allocation: 32 }, 32);
    let small = Capacity16::parse(&data).unwrap();
    assert!(small.thin && small.unmapped_reads_zero && small.last_lba == 4095);
    // Over 2 TiB the short form saturates.
    let big = bench.map(DeviceId::Lun(bench.lun("big", (1 << 32) + 1)));
    conn.fails(big, Cdb::TestUnitReady);
    conn.fails(big, Cdb::TestUnitReady);
    let (_, data, ..) = conn.run(big, Cdb::ReadCapacity10, 8);
    assert_eq!(Capacity10::parse(&data).unwrap().last_lba, u32::MAX);
    let (_, data, ..) = conn.run(big, Cdb::ReadCapacity16 { allocation: 32 }, 32);
    assert_eq!(Capacity16::parse(&data).unwrap().last_lba, 1 << 32);
}

#[test]
fn unit_attentions_come_once_in_order() {
    let mut bench = Bench::new();
    let id = bench.lun("d", 4096);
    let lun = bench.map(DeviceId::Lun(id));
    let mut one = bench.session();
    let mut two = bench.session();
    // INQUIRY, REPORT LUNS do not take the power-on attention away; REQUEST SENSE tells it as data.
    let inquiry = Cdb::Inquiry { evpd: false, page: 0, allocation: 96 };
    assert_eq!(one.run(lun, inquiry, 96).0, Status::GOOD);
    assert_eq!(one.run(lun, Cdb::ReportLuns { select: 0, allocation: 256 }, 256).0, Status::GOOD);
    assert_eq!(one.fails(lun, Cdb::TestUnitReady).asc, Asc::POWER_ON_RESET);
    assert_eq!(one.run(lun, Cdb::TestUnitReady, 0).0, Status::GOOD);
    let sense = |conn: &mut Conn| {
        let (status, data, ..) = conn.run(lun, Cdb::RequestSense { descriptor: false, allocation: 18 }, 18);
        assert_eq!(status, Status::GOOD);
        Sense::parse(&data).unwrap().asc
    };
    assert_eq!(sense(&mut two), Asc::POWER_ON_RESET);
    assert_eq!(sense(&mut two), Asc::NO_ADDITIONAL_SENSE);
    // Growth and a new LUN: each nexus hears both, once.
    bench.apply(Command::ExpandLun { lun: id, blocks: 8192 });
    let new = bench.map(DeviceId::Lun(bench.lun("e", 128)));
    for conn in [&mut one, &mut two] {
        assert_eq!(conn.fails(lun, Cdb::TestUnitReady).asc, Asc::CAPACITY_DATA_HAS_CHANGED);
        assert_eq!(conn.fails(lun, Cdb::TestUnitReady).asc, Asc::REPORTED_LUNS_DATA_HAS_CHANGED);
        assert_eq!(conn.run(lun, Cdb::TestUnitReady, 0).0, Status::GOOD);
        let (_, data, ..) = conn.run(lun, Cdb::ReadCapacity10, 8);
        assert_eq!(Capacity10::parse(&data).unwrap().last_lba, 8191);
        assert_eq!(conn.fails(new, Cdb::TestUnitReady).asc, Asc::POWER_ON_RESET);
        assert_eq!(conn.run(new, Cdb::TestUnitReady, 0).0, Status::GOOD);
    }
    // REPORT LUNS tells the news itself.
    bench.map(DeviceId::Lun(bench.lun("f", 128)));
    one.run(lun, Cdb::ReportLuns { select: 0, allocation: 256 }, 256);
    assert_eq!(one.run(lun, Cdb::TestUnitReady, 0).0, Status::GOOD);
    let notes = bench.script.notes();
    assert!(notes.iter().any(|n| n.contains("unit_attention") && n.contains("2a/09")), "{notes:?}");
    // Each answer that is not GOOD is told with its sense, and no other.
    let answers: Vec<&String> = notes.iter().filter(|n| n.contains("opcode")).collect();
    assert_eq!(answers.len(), 7, "{answers:?}");
    assert!(answers.iter().any(|n| n.contains("CHECK CONDITION") && n.contains("6/2a/09")), "{answers:?}");
}

#[test]
fn masking_holds_for_every_command() {
    let mut bench = Bench::new();
    let id = bench.lun("d", 4096);
    let device = DeviceId::Lun(id);
    let lun = bench.map(device);
    let target = bench.target();
    let mut stranger = bench.connect();
    stranger.log_in(OTHER, Some(&target), OPERATIONAL);
    let list = |conn: &mut Conn| {
        let (_, data, ..) = conn.run(0, Cdb::ReportLuns { select: 0, allocation: 1024 }, 1024);
        luns::parse(&data).unwrap().luns.iter().map(|l| l.number().unwrap()).collect::<Vec<_>>()
    };
    assert!(list(&mut stranger).is_empty());
    let commands = [
        Cdb::TestUnitReady,
        Cdb::Read(Transfer::new(Width::Ten, 0, 1)),
        write(Width::Ten, 0, 1),
        Cdb::ReadCapacity16 { allocation: 32 },
        Cdb::Unmap { anchor: false, parameter_length: 24 },
        Cdb::GetLbaStatus { lba: 0, allocation: 24 },
        Cdb::Unknown([0xc0; 16]),
    ];
    for cdb in commands {
        assert_eq!(stranger.fails(lun, cdb).asc, Asc::LOGICAL_UNIT_NOT_SUPPORTED, "{cdb:?}");
    }
    let (_, data, ..) = stranger.run(lun, Cdb::Inquiry { evpd: false, page: 0, allocation: 96 }, 96);
    assert_eq!(StandardInquiry::parse(&data).unwrap().peripheral, Peripheral::NONE);
    assert_eq!(
        stranger.fails(lun, Cdb::Inquiry { evpd: true, page: 0x83, allocation: 96 }).asc,
        Asc::INVALID_FIELD_IN_CDB
    );

    // The owner, until the mapping goes while a write is under way: nothing of it may land.
    let mut conn = bench.ready(lun);
    assert_eq!(list(&mut conn), [lun]);
    let command = conn.command(lun, write(Width::Ten, 0, 16), 0, Some(8192));
    conn.send(command);
    let Some(Pdu::R2t(r2t)) = conn.next() else { panic!() };
    bench.unmap(device);
    conn.answer(&r2t, &pattern(16, 1), 4096);
    let (_, _, sense, _) = conn.finish(4096, 8192);
    assert_eq!(sense.unwrap().asc, Asc::LOGICAL_UNIT_NOT_SUPPORTED);
    assert_eq!(conn.fails(lun, Cdb::TestUnitReady).asc, Asc::LOGICAL_UNIT_NOT_SUPPORTED);
    assert_eq!(bench.map(device), lun);
    conn.fails(lun, Cdb::TestUnitReady); // power on: to this nexus the unit is new again
    conn.fails(lun, Cdb::TestUnitReady); // reported LUNs
    assert_eq!(conn.read(lun, 0, 16), vec![0; 8192]);
}

#[test]
fn a_reused_number_is_a_new_unit() {
    let mut bench = Bench::new();
    let (a, b) = (DeviceId::Lun(bench.lun("a", 128)), DeviceId::Lun(bench.lun("b", 128)));
    let lun = bench.map(a);
    let mut conn = bench.ready(lun);
    let command = conn.command(lun, write(Width::Ten, 0, 16), 0, Some(8192));
    conn.send(command);
    let Some(Pdu::R2t(r2t)) = conn.next() else { panic!() };
    bench.unmap(a);
    assert_eq!(bench.map(b), lun, "the array gives the smallest free number");
    conn.answer(&r2t, &pattern(16, 1), 4096);
    assert_eq!(conn.finish(4096, 8192).2.unwrap().asc, Asc::LOGICAL_UNIT_NOT_SUPPORTED);
    assert_eq!(conn.fails(lun, Cdb::TestUnitReady).asc, Asc::POWER_ON_RESET);
    assert_eq!(conn.fails(lun, Cdb::TestUnitReady).asc, Asc::REPORTED_LUNS_DATA_HAS_CHANGED);
    assert_eq!(conn.read(lun, 0, 16), vec![0; 8192], "the write was for the other device");
}

#[test]
fn sense_table() {
    use std::fmt::Write;
    let (bench, id, lun, mut conn) = one_lun(4096);
    let read = |lba, blocks| Cdb::Read(Transfer::new(Width::Sixteen, lba, blocks));
    let same = |lba, blocks, no_data_out| {
        Cdb::WriteSame(WriteSame {
            width: Width::Sixteen,
            lba,
            blocks,
            protect: 0,
            anchor: false,
            unmap: false,
            no_data_out,
        })
    };
    let verify = |byte_check, lba| {
        Cdb::Verify(Verify { width: Width::Ten, lba, blocks: 1, dpo: false, byte_check, protect: 0 })
    };
    let mode = |page, control| Cdb::ModeSense {
        width: Width::Six,
        no_descriptors: true,
        long_lba: false,
        control,
        page,
        subpage: 0,
        allocation: 255,
    };
    let mut naca = [0; 16];
    naca[5] = 4;
    let cases: Vec<(&str, Cdb)> = vec![
        ("READ past the end", read(4096, 1)),
        ("READ across the end", read(4095, 2)),
        ("READ nothing past the end", read(4096, 0)),
        ("READ nothing", read(4095, 0)),
        ("READ at the last possible LBA", read(u64::MAX, 2)),
        ("READ with protection", Cdb::Read(Transfer { protect: 1, ..Transfer::new(Width::Ten, 0, 1) })),
        ("WRITE past the end", write(Width::Ten, 4096, 1)),
        ("WRITE nothing", write(Width::Ten, 0, 0)),
        ("VERIFY past the end", verify(0, 4096)),
        ("VERIFY BYTCHK 2", verify(2, 0)),
        ("VERIFY medium", verify(0, 0)),
        ("WRITE SAME past the end", same(4000, 97, true)),
        ("WRITE SAME to the end", same(4000, 0, true)),
        ("UNMAP with ANCHOR", Cdb::Unmap { anchor: true, parameter_length: 24 }),
        ("UNMAP nothing", Cdb::Unmap { anchor: false, parameter_length: 0 }),
        ("GET LBA STATUS past the end", Cdb::GetLbaStatus { lba: 4096, allocation: 24 }),
        (
            "SYNCHRONIZE CACHE past the end",
            Cdb::SynchronizeCache { width: Width::Ten, lba: 4096, blocks: 1, immediate: false },
        ),
        ("REPORT LUNS too small", Cdb::ReportLuns { select: 0, allocation: 8 }),
        ("REPORT LUNS select 3", Cdb::ReportLuns { select: 3, allocation: 64 }),
        ("INQUIRY page without EVPD", Cdb::Inquiry { evpd: false, page: 0x80, allocation: 64 }),
        ("INQUIRY unknown page", Cdb::Inquiry { evpd: true, page: 0xb9, allocation: 64 }),
        ("MODE SENSE saved", mode(0x3f, PageControl::Saved)),
        ("MODE SENSE unknown page", mode(0x1d, PageControl::Current)),
        (
            "START STOP UNIT start",
            Cdb::StartStopUnit {
                immediate: false,
                power_condition: 0,
                no_flush: false,
                load_eject: false,
                start: true,
            },
        ),
        (
            "START STOP UNIT eject",
            Cdb::StartStopUnit {
                immediate: false,
                power_condition: 0,
                no_flush: false,
                load_eject: true,
                start: false,
            },
        ),
        ("PERSISTENT RESERVE IN", Cdb::Unknown([0x5e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("unknown service action", Cdb::Unknown([0x9e, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("NACA", Cdb::Unknown(naca)),
    ];
    let mut table = String::new();
    let mut row = |what: &str, (status, _, sense, _): (Status, Vec<u8>, Option<Sense>, Residual)| {
        let sense = sense.map_or(String::new(), |s| {
            let at = s.field.map_or(String::new(), |f| format!(" byte {} bit {:?}", f.byte, f.bit));
            let info = s.information.map_or(String::new(), |i| format!(" info {i}"));
            format!("{s}{at}{info}")
        });
        let _ = writeln!(table, "{what:<32} {status:<16} {sense}");
    };
    for (what, cdb) in cases {
        row(what, conn.run(lun, cdb, 0));
    }
    // A snapshot: offline until it is activated, then read only.
    let (name, description) = ("s".to_owned(), String::new());
    let snapshot = bench.apply(Command::CreateSnapshot { name, description, parent: id });
    bench.apply(Command::ActivateSnapshots { ids: vec![snapshot] });
    let snap = bench.map(DeviceId::Snapshot(snapshot));
    conn.fails(snap, Cdb::TestUnitReady);
    conn.fails(snap, Cdb::TestUnitReady);
    row("snapshot: READ", conn.run(snap, read(0, 1), 512));
    row("snapshot: WRITE", conn.run(snap, write(Width::Ten, 0, 1), 0));
    row("snapshot: UNMAP", conn.run(snap, Cdb::Unmap { anchor: false, parameter_length: 24 }, 0));
    insta::assert_snapshot!("sense", table);
    // All 256 opcodes answer something, and none of the unknown ones changes anything.
    for opcode in 0..=255u8 {
        let mut raw = [0u8; 16];
        raw[0] = opcode;
        let mut command = conn.command(lun, Cdb::Unknown(raw), 0, None);
        command.cdb = raw;
        conn.send(command);
        assert_eq!(conn.rest().len(), 1, "opcode {opcode:#x}");
    }
}

#[test]
fn identity() {
    let (bench, id, lun, mut conn) = one_lun(4096);
    let info = bench.parts.array.lock().device(DeviceId::Lun(id)).unwrap();
    let mut page = |code| {
        let (status, data, ..) =
            conn.run(lun, Cdb::Inquiry { evpd: true, page: code, allocation: 1024 }, 1024);
        assert_eq!(status, Status::GOOD);
        Vpd::parse(&data).unwrap().1
    };
    let Vpd::Supported(codes) = page(0) else { panic!() };
    assert!(codes.is_sorted());
    for code in &codes {
        assert_eq!(page(*code).code(), *code);
    }
    assert_eq!(page(0x80), Vpd::Serial(info.serial.clone()));
    let Vpd::DeviceId(designators) = page(0x83) else { panic!() };
    assert!(designators.iter().any(|d| d.id == Identifier::Naa(info.wwn.to_vec())));
    assert!(designators.iter().any(|d| d.id == Identifier::RelativePort(1)));
    assert!(designators.iter().any(|d| matches!(&d.id, Identifier::Name(n) if n.ends_with(",t,0x0001"))));
    // Allocation length cuts, and never invents.
    for allocation in [0u16, 1, 4, 5, 36, 74, 255] {
        let (status, data, ..) = conn.run(lun, Cdb::Inquiry { evpd: false, page: 0, allocation }, 255);
        assert_eq!((status, data.len()), (Status::GOOD, usize::from(allocation).min(74)));
    }
    let mode = |width| Cdb::ModeSense {
        width,
        no_descriptors: false,
        long_lba: false,
        control: PageControl::Current,
        page: 0x3f,
        subpage: 0,
        allocation: 255,
    };
    let (_, six, ..) = conn.run(lun, mode(Width::Six), 255);
    let (_, ten, ..) = conn.run(lun, mode(Width::Ten), 255);
    let data = ModeData::parse6(&six).unwrap();
    assert_eq!(ModeData::parse10(&ten).unwrap(), data);
    assert!(data.dpofua && !data.write_protected && data.pages.len() == 2);
    assert!(matches!(data.pages[0], ModePage::Caching(c) if !c.write_cache));
}

#[test]
fn provisioning_commands() {
    let (bench, id, lun, mut conn) = one_lun(4096);
    let data = pattern(384, 4);
    assert_eq!(conn.put(lun, write(Width::Sixteen, 0, 384), &data), GOOD);
    let unmap = |ranges: &[(u64, u32)]| {
        let list = unmap::build(
            &ranges.iter().map(|(lba, blocks)| UnmapRange { lba: *lba, blocks: *blocks }).collect::<Vec<_>>(),
        );
        (Cdb::Unmap { anchor: false, parameter_length: list.len() as u16 }, list)
    };
    // One bad descriptor: nothing happens at all.
    let (cdb, list) = unmap(&[(0, 128), (4090, 7)]);
    let (_, sense, _) = conn.put(lun, cdb, &list);
    assert_eq!(sense.unwrap().asc, Asc::LBA_OUT_OF_RANGE);
    assert!(conn.read(lun, 0, 384) == data);
    let (cdb, list) = unmap(&[(0, u32::MAX)]);
    assert!(conn.put(lun, cdb, &list).1.is_some());
    let (_, list) = unmap(&[(0, 1)]);
    let cdb = Cdb::Unmap { anchor: false, parameter_length: 7 };
    assert_eq!(conn.put(lun, cdb, &list[..7]).1.unwrap().asc, Asc::PARAMETER_LIST_LENGTH_ERROR);
    // Exactly the asked blocks become zero; whole extents are deallocated.
    let (cdb, list) = unmap(&[(128, 128), (3, 2), (4096, 0)]);
    assert_eq!(conn.put(lun, cdb, &list), GOOD);
    let mut expected = data.clone();
    expected[128 * 512..256 * 512].fill(0);
    expected[3 * 512..5 * 512].fill(0);
    assert!(conn.read(lun, 0, 384) == expected);
    let (_, status, ..) = conn.run(lun, Cdb::GetLbaStatus { lba: 0, allocation: 1024 }, 1024);
    let runs: Vec<_> =
        lba_status::parse(&status).unwrap().iter().map(|r| (r.lba, r.blocks, r.status)).collect();
    assert_eq!(
        runs,
        [
            (0, 128, Provisioning::MAPPED),
            (128, 128, Provisioning::DEALLOCATED),
            (256, 128, Provisioning::MAPPED),
            (384, 3712, Provisioning::DEALLOCATED)
        ]
    );
    // WRITE SAME: pattern, zeros by NDOB, deallocation by UNMAP.
    let same = |width, lba, blocks, unmap, no_data_out| {
        Cdb::WriteSame(WriteSame { width, lba, blocks, protect: 0, anchor: false, unmap, no_data_out })
    };
    let block = pattern(1, 0x33);
    assert_eq!(conn.put(lun, same(Width::Ten, 2000, 1500, false, false), &block), GOOD);
    assert!(conn.read(lun, 2000, 1500) == block.repeat(1500));
    assert_eq!(conn.run(lun, same(Width::Sixteen, 2001, 2, false, true), 0).0, Status::GOOD);
    assert_eq!(conn.read(lun, 2000, 4), [&block[..], &[0; 1024], &block[..]].concat());
    assert_eq!(conn.put(lun, same(Width::Sixteen, 2048, 128, true, false), &[0; 512]), GOOD);
    let (_, status, ..) = conn.run(lun, Cdb::GetLbaStatus { lba: 2048, allocation: 24 }, 24);
    assert_eq!(lba_status::parse(&status).unwrap()[0].status, Provisioning::DEALLOCATED);
    // UNMAP with a pattern that is not zero writes the pattern.
    assert_eq!(conn.put(lun, same(Width::Sixteen, 2048, 1, true, false), &block), GOOD);
    assert_eq!(conn.read(lun, 2048, 1), block);
    // VERIFY.
    let verify = |byte_check, lba, blocks| {
        Cdb::Verify(Verify { width: Width::Sixteen, lba, blocks, dpo: false, byte_check, protect: 0 })
    };
    assert_eq!(conn.put(lun, verify(1, 256, 8), &data[256 * 512..264 * 512]), GOOD);
    assert_eq!(conn.put(lun, verify(3, 2100, 0), &block).0, Status::GOOD);
    assert_eq!(conn.put(lun, verify(3, 2200, 100), &block), GOOD);
    let mut wrong = data[256 * 512..264 * 512].to_vec();
    wrong[1000] ^= 1;
    let (_, sense, residual) = conn.put(lun, verify(1, 256, 8), &wrong);
    let sense = sense.unwrap();
    assert_eq!((sense.key, sense.information, residual), (SenseKey::MISCOMPARE, Some(1000), Residual::None));
    // Thick LUNs have no UNMAP.
    let thick = bench.apply(Command::CreateLun {
        name: "t".into(),
        description: String::new(),
        pool: 0,
        blocks: 128,
        thin: false,
    });
    let thick = bench.map(DeviceId::Lun(thick));
    conn.fails(thick, Cdb::TestUnitReady);
    conn.fails(thick, Cdb::TestUnitReady);
    assert_eq!(
        conn.fails(thick, Cdb::Unmap { anchor: false, parameter_length: 24 }).asc,
        Asc::INVALID_OPERATION_CODE
    );
    let _ = id;
}

#[test]
fn a_full_pool_is_told() {
    let mut bench = Bench::new();
    let lun = bench.map(DeviceId::Lun(bench.lun("big", 1 << 18)));
    let mut conn = bench.ready(lun);
    let block = pattern(1, 1);
    let same = |lba| {
        let blocks = MAX_WRITE_SAME_BLOCKS as u32;
        let (protect, anchor, unmap, no_data_out) = (0, false, false, false);
        Cdb::WriteSame(WriteSame { width: Width::Sixteen, lba, blocks, protect, anchor, unmap, no_data_out })
    };
    for lba in (0..1 << 16).step_by(MAX_WRITE_SAME_BLOCKS as usize) {
        assert_eq!(conn.put(lun, same(lba), &block), GOOD);
    }
    let (_, sense, _) = conn.put(lun, same(1 << 16), &block);
    let sense = sense.unwrap();
    assert_eq!((sense.key, sense.asc), (SenseKey::DATA_PROTECT, Asc::SPACE_ALLOCATION_FAILED));
}

#[test]
fn the_write_buffer_is_bounded_and_every_write_ends() {
    let mut bench = Bench::with(TargetConfig { write_buffer: 16_384, ..TargetConfig::default() });
    let lun = bench.map(DeviceId::Lun(bench.lun("d", 4096)));
    let mut conn = bench.ready(lun);
    let data = pattern(16, 5);
    for n in 0..10 {
        let command = conn.command(lun, write(Width::Ten, n * 16, 16), 0, Some(8192));
        conn.send(command);
    }
    let mut waiting: Vec<R2t> = Vec::new();
    let mut done = 0;
    loop {
        for pdu in conn.rest() {
            match pdu {
                Pdu::R2t(r2t) => waiting.push(r2t),
                Pdu::ScsiResponse(r) => {
                    assert_eq!(r.status, Status::GOOD);
                    done += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(waiting.len() <= 2, "16 KiB are two bursts");
        if waiting.is_empty() {
            break;
        }
        let r2t = waiting.remove(0);
        conn.answer(&r2t, &data, 4096);
    }
    assert_eq!(done, 10);
}
