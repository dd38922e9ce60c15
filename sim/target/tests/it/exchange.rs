//! Write data, residuals, shapes of commands, limits, task sets: each rule with a PDU that breaks it.

use crate::bench::*;
use bytes::Bytes;
use sanbench_array::DeviceId;
use sanbench_target::TargetConfig;
use sanbench_wire::Pdu;
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Width};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;

fn ready_with(config: TargetConfig) -> (Bench, u16, Conn) {
    let mut bench = Bench::with(config);
    let lun = bench.map(DeviceId::Lun(bench.lun("d", 4096)));
    let conn = bench.ready(lun);
    (bench, lun, conn)
}

fn write(lba: u64, blocks: u32) -> Cdb {
    Cdb::Write(Transfer::new(Width::Ten, lba, blocks))
}

fn read(lba: u64, blocks: u32) -> Cdb {
    Cdb::Read(Transfer::new(Width::Ten, lba, blocks))
}

/// The sense of the one SCSI Response among the answers.
fn sense_of(answers: &[Pdu]) -> Sense {
    let mut found = answers.iter().filter_map(|pdu| match pdu {
        Pdu::ScsiResponse(r) => Sense::parse(&r.sense),
        _ => None,
    });
    let sense = found.next().unwrap_or_else(|| panic!("no sense in {answers:?}"));
    assert!(found.next().is_none(), "answered twice");
    sense
}

/// Every way in which solicited data may be wrong: the command ends at once, nothing is written, the session goes on.
#[test]
fn solicited_data_that_breaks_a_rule() {
    type Twist = fn(&mut DataOut);
    let twists: [(&str, Twist, usize); 9] = [
        ("DataSN ahead", |d| d.data_sn = 1, 0),
        ("DataSN far", |d| d.data_sn = u32::MAX, 0),
        ("offset before the burst", |d| d.offset = 0, 0),
        ("offset in the burst", |d| d.offset += 512, 0),
        ("ends early", |d| d.data.truncate(512), 0),
        ("does not end", |d| d.last = false, 0),
        ("too long", |d| d.data = Bytes::from(vec![1; 4608]), 0),
        ("another unit", |d| d.lun = Lun::from_number(99).unwrap(), 0),
        ("unknown transfer tag", |d| d.ttt ^= 0x1000, 1),
    ];
    for (what, twist, rejects) in twists {
        let (_bench, lun, mut conn) = ready_with(TargetConfig::default());
        let data = pattern(8, 1);
        let mut command = conn.command(lun, write(0, 9), 0, Some(4608));
        command.data = Bytes::from(vec![9; 512]);
        conn.send(command);
        let Some(Pdu::R2t(r2t)) = conn.next() else { panic!() };
        let mut wrong = conn.unsolicited(r2t.offset, 0, true, &data);
        (wrong.ttt, wrong.lun) = (r2t.ttt, r2t.lun);
        twist(&mut wrong);
        conn.send(wrong);
        let answers = conn.rest();
        assert_eq!(answers.iter().filter(|p| matches!(p, Pdu::Reject(_))).count(), rejects, "{what}");
        let sense = sense_of(&answers);
        let expected = (SenseKey::ABORTED_COMMAND, Asc::PROTOCOL_SERVICE_CRC_ERROR);
        assert_eq!((sense.key, sense.asc), expected, "{what}");
        // What still comes for it is dropped without a word.
        conn.answer(&r2t, &pattern(9, 1), 4096);
        assert!(conn.rest().is_empty(), "{what}");
        assert_eq!(conn.read(lun, 0, 9), vec![0; 4608], "{what}");
    }
}

#[test]
fn unsolicited_data_that_breaks_a_rule() {
    let keys = |r2t: &'static str, immediate: &'static str| {
        let mut keys = OPERATIONAL.to_vec();
        keys[5].1 = r2t;
        keys[6].1 = immediate;
        keys
    };
    // Which settings allow what (sections 13.10 and 13.11): immediate data, unsolicited Data-Out.
    for (r2t, immediate) in [("Yes", "Yes"), ("Yes", "No"), ("No", "Yes"), ("No", "No")] {
        for (immediate_bytes, announced) in [(0, false), (512, false), (0, true), (512, true)] {
            let mut bench = Bench::new();
            let lun = bench.map(DeviceId::Lun(bench.lun("d", 4096)));
            let target = bench.target();
            let mut conn = bench.connect();
            conn.log_in(HOST, Some(&target), &keys(r2t, immediate));
            conn.fails(lun, Cdb::TestUnitReady);
            let data = pattern(2, 1);
            let mut command = conn.command(lun, write(0, 2), 0, Some(1024));
            command.data = Bytes::copy_from_slice(&data[..immediate_bytes]);
            command.last = !announced;
            conn.send(command);
            let allowed = (immediate_bytes == 0 || immediate == "Yes") && (!announced || r2t == "No");
            let what = format!("R2T={r2t} immediate={immediate} {immediate_bytes} {announced}");
            if !allowed {
                assert_eq!(sense_of(&conn.rest()).asc, Asc::UNEXPECTED_UNSOLICITED_DATA, "{what}");
                continue;
            }
            if announced {
                let rest = conn.unsolicited(immediate_bytes as u32, 0, true, &data[immediate_bytes..]);
                conn.send(rest);
            } else {
                let Some(Pdu::R2t(r2t)) = conn.next() else { panic!("{what}") };
                assert_eq!(r2t.offset as usize, immediate_bytes, "{what}");
                conn.answer(&r2t, &data, 512);
            }
            assert_eq!(conn.finish(4096, 8192).0, Status::GOOD, "{what}");
            assert!(conn.read(lun, 0, 2) == data, "{what}");
        }
    }
    // Not announced; beyond the first burst; for nobody.
    let (_bench, lun, mut conn) = ready_with(TargetConfig::default());
    let command = conn.command(lun, write(0, 2), 0, Some(1024));
    conn.send(command);
    assert!(matches!(conn.next(), Some(Pdu::R2t(_))));
    let late = conn.unsolicited(0, 0, true, &pattern(2, 1));
    conn.send(late);
    assert_eq!(sense_of(&conn.rest()).asc, Asc::UNEXPECTED_UNSOLICITED_DATA);
    let mut command = conn.command(lun, write(0, 20), 0, Some(10_240));
    command.last = false;
    conn.send(command);
    for (sn, last) in [(0, false), (1, true)] {
        let pdu = conn.unsolicited(sn * 2560, sn, last, &pattern(5, 1));
        conn.send(pdu);
    }
    assert_eq!(sense_of(&conn.rest()).asc, Asc::UNEXPECTED_UNSOLICITED_DATA, "5120 bytes, 4096 agreed");
    conn.itt += 1000;
    let stray = conn.unsolicited(0, 0, true, &pattern(1, 1));
    conn.itt -= 1000;
    conn.send(stray);
    assert!(conn.rest().is_empty());
    assert_eq!(conn.read(lun, 0, 20), vec![0; 10_240]);
}

/// RFC 7143 section 11.4.5: expected length against what the command moves, both ways.
#[test]
fn residuals_are_exact() {
    use Residual::{None, Overflow, Underflow};
    let (_bench, lun, mut conn) = ready_with(TargetConfig::default());
    conn.put(lun, write(0, 20), &pattern(20, 2));
    for (blocks, expected, residual) in [
        (2, 1024, None),
        (2, 1000, Overflow(24)),
        (2, 512, Overflow(512)),
        (2, 1030, Underflow(6)),
        (20, 20_000, Underflow(9760)),
        (20, 1, Overflow(10_239)),
        (0, 512, Underflow(512)),
        (0, 0, None),
    ] {
        let (status, data, _, told) = conn.run(lun, read(0, blocks), expected);
        assert_eq!((status, told), (Status::GOOD, residual), "read {blocks} expected {expected}");
        assert!(data == pattern(20, 2)[..data.len()] && data.len() as u32 == expected.min(blocks * 512));
    }
    // A command that reads without saying so gets no data, and the overflow is told.
    let mut command = conn.command(lun, read(0, 2), 0, Option::None);
    command.expected_length = 1024;
    conn.send(command);
    let (status, data, _, told) = conn.finish(4096, 8192);
    assert_eq!((status, data.len(), told), (Status::GOOD, 0, Overflow(1024)));
    for (blocks, expected, residual) in
        [(2, 1024, None), (2, 512, Overflow(512)), (2, 2048, Underflow(1024)), (20, 12_000, Underflow(1760))]
    {
        let (_, _, told) = conn.put(lun, write(100, blocks), &vec![5; expected]);
        assert_eq!(told, residual, "write {blocks} expected {expected}");
    }
    // An error moves nothing.
    let (status, _, _, told) = conn.run(lun, read(5000, 2), 1024);
    assert_eq!((status, told), (Status::CHECK_CONDITION, Underflow(1024)));
}

/// Additional headers and data in both directions are refused, and the stream stays in step (section 11.2.2).
#[test]
fn shapes_that_nobody_serves() {
    let (_bench, lun, mut conn) = ready_with(TargetConfig::default());
    let long_cdb = [&[0, 17, 1, 0][..], &[0xee; 16]].concat();
    let read_length = [0, 5, 2, 0, 0, 0, 2, 0];
    let whole = [&long_cdb[..], &read_length].concat();
    for (ahs, asc) in [
        (long_cdb.clone(), Some(Asc::INVALID_OPERATION_CODE)),
        (read_length.to_vec(), Some(Asc::INVALID_FIELD_IN_CDB)),
        (whole, Some(Asc::INVALID_OPERATION_CODE)),
        (vec![3, 0xf9, 9, 0], None),
    ] {
        let mut command = conn.command(lun, read(0, 1), 512, None);
        command.ahs = Bytes::from(ahs);
        conn.send(command);
        match &conn.rest()[..] {
            [Pdu::Reject(r)] => assert_eq!((r.reason, asc), (RejectReason::INVALID_FIELD, None)),
            answers => assert_eq!(Some(sense_of(answers).asc), asc),
        }
        assert_eq!(conn.read(lun, 0, 1), [0; 512], "the next command is understood");
    }
    // The longest header that the length field can tell.
    let mut command = conn.command(lun, read(0, 1), 512, None);
    let mut ahs = vec![0; 1020];
    ahs[..3].copy_from_slice(&[3, 0xf9, 1]);
    command.ahs = Bytes::from(ahs);
    conn.send(command);
    assert_eq!(sense_of(&conn.rest()).asc, Asc::INVALID_OPERATION_CODE);
    let mut both = conn.command(lun, read(0, 1), 512, None);
    both.write = true;
    conn.send(both);
    assert_eq!(sense_of(&conn.rest()).asc, Asc::INVALID_FIELD_IN_CDB);
    assert_eq!(conn.read(lun, 0, 1), [0; 512]);
}

#[test]
fn limits_are_told_as_busy_or_full() {
    let (mut bench, lun, mut conn) = ready_with(TargetConfig { max_tasks: 1, ..TargetConfig::default() });
    let mut other = bench.ready(lun);
    let begin = |conn: &mut Conn| {
        let command = conn.command(lun, write(0, 8), 0, Some(4096));
        conn.send(command);
        conn.next()
    };
    let Some(Pdu::R2t(r2t)) = begin(&mut conn) else { panic!() };
    let Some(Pdu::ScsiResponse(full)) = begin(&mut conn) else { panic!() };
    assert_eq!(full.status, Status::TASK_SET_FULL);
    let Some(Pdu::ScsiResponse(busy)) = begin(&mut other) else { panic!() };
    assert_eq!(busy.status, Status::BUSY, "it has no part in it");
    let notes = bench.script.notes();
    for status in ["TASK SET FULL", "BUSY"] {
        let told =
            |note: &&String| note.contains("opcode") && note.contains(&format!("\"status\":\"{status}\""));
        assert_eq!(notes.iter().filter(told).count(), 1, "{status}: {notes:?}");
    }
    conn.answer(&r2t, &pattern(8, 1), 4096);
    assert!(matches!(conn.next(), Some(Pdu::ScsiResponse(r)) if r.status == Status::GOOD));
    assert!(matches!(begin(&mut other), Some(Pdu::R2t(_))), "there is room again");
    // A session that ends gives its places back.
    drop(other);
    assert!(matches!(begin(&mut conn), Some(Pdu::R2t(_))));
    // One connection may not hold more write data than the buffer.
    let (_bench, lun, mut conn) =
        ready_with(TargetConfig { write_buffer: 10_000, ..TargetConfig::default() });
    let unsolicited = |conn: &mut Conn| {
        let mut command = conn.command(lun, write(0, 8), 0, Some(4096));
        command.last = false;
        conn.send(command);
        conn.rest()
    };
    assert!(unsolicited(&mut conn).is_empty() && unsolicited(&mut conn).is_empty());
    let answers = unsolicited(&mut conn);
    let full = |p: &&Pdu| matches!(p, Pdu::ScsiResponse(r) if r.status == Status::TASK_SET_FULL);
    assert!(answers.len() == 1 && answers.iter().all(|p| full(&p)), "{answers:?}");
}

fn manage(conn: &mut Conn, function: TaskFunction, lun: u16) -> TaskResponse {
    let cmd_sn = conn.cmd_sn;
    conn.send(TaskManagementRequest {
        immediate: true,
        function,
        lun: Lun::from_number(lun).unwrap(),
        itt: 0x5555,
        referenced_itt: u32::MAX,
        cmd_sn,
        exp_stat_sn: 0,
        ref_cmd_sn: 0,
        exp_data_sn: 0,
    });
    match &conn.rest()[..] {
        [Pdu::TaskManagementResponse(r)] => r.response,
        other => panic!("{other:?}"),
    }
}

/// Section 4.2.3.3: an immediate function also ends the commands before it that have not come or wait for their turn.
#[test]
fn aborted_before_they_came() {
    for function in
        [TaskFunction::ABORT_TASK_SET, TaskFunction::LOGICAL_UNIT_RESET, TaskFunction::TARGET_WARM_RESET]
    {
        let (_bench, lun, mut conn) = ready_with(TargetConfig::default());
        let one = |conn: &mut Conn, lba| {
            let mut command = conn.command(lun, write(lba, 1), 0, Some(512));
            command.data = Bytes::from(pattern(1, 1));
            command
        };
        let (late, waiting) = (one(&mut conn, 0), one(&mut conn, 1));
        conn.send(waiting);
        assert!(conn.rest().is_empty(), "its turn has not come");
        assert_eq!(manage(&mut conn, function, lun), TaskResponse::COMPLETE);
        conn.send(late);
        assert!(conn.rest().is_empty(), "{}: both are gone", function.name());
        if function != TaskFunction::ABORT_TASK_SET {
            conn.fails(lun, Cdb::TestUnitReady);
        }
        assert_eq!(conn.read(lun, 0, 2), [0; 1024], "and the numbers go on");
    }
    let (_bench, lun, mut conn) = ready_with(TargetConfig::default());
    assert_eq!(manage(&mut conn, TaskFunction(0x33), lun), TaskResponse::REJECTED);
}

#[test]
fn a_cold_reset_ends_every_session() {
    let (mut bench, lun, mut conn) = ready_with(TargetConfig::default());
    let mut other = bench.ready(lun);
    assert_eq!(manage(&mut conn, TaskFunction::TARGET_COLD_RESET, lun), TaskResponse::COMPLETE);
    assert_eq!(conn.session.closed(), Some("target cold reset"));
    let command = other.command(lun, Cdb::TestUnitReady, 0, None);
    other.send(command);
    assert!(other.rest().is_empty() && other.session.closed().is_some(), "even before its pump looked");
}

#[test]
fn power_loss_and_lost_portals_end_sessions() {
    let (mut bench, lun, mut conn) = ready_with(TargetConfig::default());
    bench.parts.array.lock().power_loss(NOW, &mut |_| 0);
    let command = conn.command(lun, Cdb::TestUnitReady, 0, None);
    conn.send(command);
    assert!(conn.rest().is_empty());
    assert_eq!(conn.session.closed(), Some("power loss"));
    let mut conn = bench.ready(lun);
    let controller = bench.parts.array.lock().portals()[0].controller;
    bench.parts.array.lock().fail_controller(NOW, controller).unwrap();
    let command = conn.command(lun, Cdb::TestUnitReady, 0, None);
    conn.send(command);
    assert!(conn.rest().is_empty());
    assert_eq!(conn.session.closed(), Some("portal is down"));
}

/// Section 7.12: a key twice is an error, and nothing of a failed exchange takes effect.
#[test]
fn failed_negotiations_change_nothing() {
    let (_bench, lun, mut conn) = ready_with(TargetConfig::default());
    let request = |conn: &mut Conn, text: &[(&str, &str)], last| {
        let cmd_sn = conn.cmd_sn;
        conn.send(TextRequest {
            immediate: true,
            last,
            continues: false,
            lun: Lun::ZERO,
            itt: 0x4444,
            ttt: u32::MAX,
            cmd_sn,
            exp_stat_sn: 0,
            text: sanbench_wire::keys::encode(text.iter().copied()).into(),
        });
        conn.next()
    };
    let key = ("MaxRecvDataSegmentLength", "512");
    assert!(matches!(request(&mut conn, &[key, key], true), Some(Pdu::Reject(_))));
    assert_eq!(conn.run(lun, read(0, 4), 2048).0, Status::GOOD, "in one piece: finish checks up to 4096");
    // Open, not finished: the new length does not hold yet.
    assert!(matches!(request(&mut conn, &[key], false), Some(Pdu::TextResponse(r)) if !r.last));
    let command = conn.command(lun, read(0, 4), 2048, None);
    conn.send(command);
    assert_eq!(conn.rest().len(), 1);
    assert!(matches!(request(&mut conn, &[key], true), Some(Pdu::TextResponse(r)) if r.last));
    let command = conn.command(lun, read(0, 4), 2048, None);
    conn.send(command);
    assert_eq!(conn.rest().len(), 4, "now it does");
}

/// Hostile input: what waits for its turn and text without end are bounded.
#[test]
fn memory_is_bounded() {
    let config = TargetConfig { write_buffer: 20_000, ..TargetConfig::default() };
    let (_bench, lun, mut conn) = ready_with(config);
    conn.cmd_sn += 1;
    let mut sent = 0;
    while conn.session.closed().is_none() {
        let mut command = conn.command(lun, write(0, 8), 0, Some(4096));
        command.data = Bytes::from(pattern(8, 1));
        conn.send(command);
        sent += 1;
    }
    assert_eq!((sent, conn.session.closed()), (5, Some("too much data before its turn")));
    let (_bench, _, mut conn) = ready_with(TargetConfig::default());
    let mut ttt = u32::MAX;
    for n in 0.. {
        let cmd_sn = conn.cmd_sn;
        conn.send(TextRequest {
            immediate: true,
            last: false,
            continues: true,
            lun: Lun::ZERO,
            itt: 0x4444,
            ttt,
            cmd_sn,
            exp_stat_sn: 0,
            text: Bytes::from(vec![b'a'; 8192]),
        });
        match conn.next() {
            Some(Pdu::TextResponse(r)) => ttt = r.ttt,
            Some(Pdu::Reject(_)) => {
                assert_eq!(n, 8, "64 KiB");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What a logout leaves behind: nothing is applied after its answer.
#[test]
fn logout_ends_tasks() {
    let (mut bench, lun, mut conn) = ready_with(TargetConfig::default());
    let command = conn.command(lun, write(0, 8), 0, Some(4096));
    conn.send(command);
    let Some(Pdu::R2t(r2t)) = conn.next() else { panic!() };
    let cmd_sn = conn.cmd_sn;
    let mut logout = LogoutRequest {
        immediate: true,
        reason: LogoutReason(0x55),
        itt: 0x4444,
        cid: 1,
        cmd_sn,
        exp_stat_sn: 0,
    };
    conn.send(logout.clone());
    assert!(matches!(conn.next(), Some(Pdu::Reject(r)) if r.reason == RejectReason::INVALID_FIELD));
    logout.reason = LogoutReason::CLOSE_CONNECTION;
    conn.send(logout);
    assert!(matches!(conn.next(), Some(Pdu::LogoutResponse(r)) if r.response == LogoutResponseCode::SUCCESS));
    conn.answer(&r2t, &pattern(8, 1), 4096);
    assert!(conn.rest().is_empty());
    assert_eq!(bench.ready(lun).read(lun, 0, 8), vec![0; 4096]);
}
