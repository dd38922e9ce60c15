//! Full feature phase around SCSI commands: numbers, digests, task management, faults, hostile bytes.

use std::time::Duration;

use crate::bench::*;
use bytes::Bytes;
use proptest::prelude::*;
use sanbench_array::DeviceId;
use sanbench_wire::Pdu;
use sanbench_wire::frame::Outbox;
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Width};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::{Asc, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_world::Fault;

fn ready() -> (Bench, u64, u16, Conn) {
    let mut bench = Bench::new();
    let id = bench.lun("d", 4096);
    let lun = bench.map(DeviceId::Lun(id));
    let conn = bench.ready(lun);
    (bench, id, lun, conn)
}

fn write(lba: u64, blocks: u32) -> Cdb {
    Cdb::Write(Transfer::new(Width::Ten, lba, blocks))
}

fn manage(conn: &mut Conn, function: TaskFunction, lun: u16, referenced: u32, sn: u32) -> TaskResponse {
    conn.itt += 1;
    let (itt, cmd_sn) = (conn.itt, conn.cmd_sn);
    conn.send(TaskManagementRequest {
        immediate: true,
        function,
        lun: Lun::from_number(lun).unwrap(),
        itt,
        referenced_itt: referenced,
        cmd_sn,
        exp_stat_sn: 0,
        ref_cmd_sn: sn,
        exp_data_sn: 0,
    });
    match conn.next() {
        Some(Pdu::TaskManagementResponse(r)) => r.response,
        other => panic!("{other:?}"),
    }
}

/// Too low and too high are ignored without a word, early ones wait, a gap that closes releases them in order.
#[test]
fn command_order() {
    let (_bench, _, lun, mut conn) = ready();
    let first = conn.command(lun, Cdb::TestUnitReady, 0, None);
    let second = conn.command(lun, Cdb::TestUnitReady, 0, None);
    let third = conn.command(lun, Cdb::TestUnitReady, 0, None);
    let mut low = first.clone();
    low.cmd_sn = first.cmd_sn.wrapping_sub(1);
    low.itt = 900;
    conn.send(low);
    let mut high = first.clone();
    high.cmd_sn = first.cmd_sn + 128;
    high.itt = 901;
    conn.send(high);
    assert!(conn.rest().is_empty());
    conn.send(third.clone());
    conn.send(third.clone());
    assert!(conn.rest().is_empty(), "waits for the two before it, and only once");
    let mut now = first.clone();
    now.immediate = true;
    now.itt = 902;
    conn.send(now);
    assert_eq!(conn.rest().len(), 1, "immediate commands do not wait");
    conn.send(first.clone());
    assert_eq!(conn.rest().len(), 1);
    conn.send(second.clone());
    let done: Vec<_> = conn
        .rest()
        .iter()
        .map(|p| if let Pdu::ScsiResponse(r) = p { (r.itt, r.exp_cmd_sn) } else { panic!() })
        .collect();
    let last = third.cmd_sn.wrapping_add(1);
    assert_eq!(done.iter().map(|(itt, _)| *itt).collect::<Vec<_>>(), [second.itt, third.itt]);
    assert_eq!(done[1].1, last);
}

#[test]
fn numbers_wrap() {
    let mut bench = Bench::new();
    let lun = bench.map(DeviceId::Lun(bench.lun("d", 128)));
    let target = bench.target();
    let mut conn = bench.connect();
    conn.cmd_sn = u32::MAX - 2;
    conn.log_in(HOST, Some(&target), OPERATIONAL);
    for n in 0..10 {
        conn.itt += 1;
        let mut command = conn.command(lun, Cdb::TestUnitReady, 0, None);
        command.cmd_sn = (u32::MAX - 2).wrapping_add(n);
        conn.cmd_sn = 0;
        conn.send(command);
        assert_eq!(conn.rest().len(), 1, "command {n}");
    }
}

#[test]
fn the_window_closes_with_waiting_writes_and_opens_again() {
    let (_bench, _, lun, mut conn) = ready();
    let mut asked = Vec::new();
    for n in 0..200 {
        let command = conn.command(lun, write(n, 1), 0, Some(512));
        conn.send(command);
        asked.extend(conn.rest());
    }
    assert_eq!(asked.len(), 128, "queue depth");
    let Pdu::R2t(first) = &asked[0] else { panic!() };
    conn.answer(first, &[1; 512], 512);
    let Some(Pdu::ScsiResponse(done)) = conn.next() else { panic!() };
    assert_eq!(done.max_cmd_sn, done.exp_cmd_sn, "room for exactly one more");
}

#[test]
fn ping_with_data() {
    let (_bench, _, _, mut conn) = ready();
    let data = Bytes::from(vec![7; 5000]);
    let ping = NopOut {
        immediate: true,
        lun: Lun::ZERO,
        itt: 77,
        ttt: u32::MAX,
        cmd_sn: conn.cmd_sn,
        exp_stat_sn: 0,
        data: data.clone(),
    };
    conn.send(ping.clone());
    let Some(Pdu::NopIn(pong)) = conn.next() else { panic!() };
    assert_eq!((pong.itt, pong.ttt, &pong.data[..]), (77, u32::MAX, &data[..4096]));
    conn.send(NopOut { itt: u32::MAX, ..ping });
    assert!(conn.rest().is_empty());
}

#[test]
fn logout() {
    let (bench, _, _, mut conn) = ready();
    let request = |conn: &Conn, reason, cid| LogoutRequest {
        immediate: true,
        reason,
        itt: 5,
        cid,
        cmd_sn: conn.cmd_sn,
        exp_stat_sn: 0,
    };
    let cases = [
        (LogoutReason::RECOVERY, 1, LogoutResponseCode::RECOVERY_NOT_SUPPORTED),
        (LogoutReason::CLOSE_CONNECTION, 9, LogoutResponseCode::CID_NOT_FOUND),
        (LogoutReason::CLOSE_SESSION, 9, LogoutResponseCode::SUCCESS),
    ];
    for (reason, cid, expected) in cases {
        assert!(conn.session.closed().is_none());
        let pdu = request(&conn, reason, cid);
        conn.send(pdu);
        let Some(Pdu::LogoutResponse(r)) = conn.next() else { panic!() };
        assert_eq!(r.response, expected);
    }
    assert_eq!(conn.session.closed(), Some("logout"));
    drop(conn);
    assert!(bench.parts.registry.is_empty());
}

#[test]
fn task_management() {
    let (mut bench, _, lun, mut conn) = ready();
    let mut other = bench.ready(lun);
    let data = pattern(16, 1);
    let begin = |conn: &mut Conn| {
        let command = conn.command(lun, write(0, 16), 0, Some(8192));
        let itt = command.itt;
        conn.send(command);
        match conn.next() {
            Some(Pdu::R2t(r2t)) => (itt, r2t),
            other => panic!("{other:?}"),
        }
    };
    // ABORT TASK: only that task, and its data is not written.
    let (itt, r2t) = begin(&mut conn);
    assert_eq!(manage(&mut conn, TaskFunction::ABORT_TASK, lun, 0xdead, 0), TaskResponse::NO_SUCH_TASK);
    assert_eq!(manage(&mut conn, TaskFunction::ABORT_TASK, lun, itt, 0), TaskResponse::COMPLETE);
    conn.answer(&r2t, &data, 4096);
    assert!(conn.rest().is_empty());
    assert_eq!(conn.read(lun, 0, 16), vec![0; 8192]);
    // A command that has not come yet is aborted by its number and never runs.
    let early = conn.command(lun, Cdb::TestUnitReady, 0, None);
    assert_eq!(
        manage(&mut conn, TaskFunction::ABORT_TASK, lun, early.itt, early.cmd_sn),
        TaskResponse::COMPLETE
    );
    conn.send(early);
    assert!(conn.rest().is_empty());
    // ABORT TASK SET: this nexus only.
    let (_, mine) = begin(&mut conn);
    let (_, theirs) = begin(&mut other);
    assert_eq!(manage(&mut conn, TaskFunction::ABORT_TASK_SET, lun, 0, 0), TaskResponse::COMPLETE);
    conn.answer(&mine, &data, 4096);
    assert!(conn.rest().is_empty());
    other.answer(&theirs, &data, 4096);
    assert_eq!(other.rest().len(), 1);
    // CLEAR TASK SET: everybody's, and they hear of it.
    begin(&mut other);
    assert_eq!(manage(&mut conn, TaskFunction::CLEAR_TASK_SET, lun, 0, 0), TaskResponse::COMPLETE);
    other.session.handle_events();
    assert_eq!(other.fails(lun, Cdb::TestUnitReady).asc, Asc::COMMANDS_CLEARED);
    assert_eq!(conn.run(lun, Cdb::TestUnitReady, 0).0, Status::GOOD);
    // LUN reset and target reset: tasks gone, unit attention on each nexus.
    for function in [TaskFunction::LOGICAL_UNIT_RESET, TaskFunction::TARGET_WARM_RESET] {
        let (_, r2t) = begin(&mut other);
        assert_eq!(manage(&mut conn, function, lun, 0, 0), TaskResponse::COMPLETE);
        other.session.handle_events();
        other.answer(&r2t, &data, 4096);
        assert!(other.rest().is_empty());
        for conn in [&mut conn, &mut other] {
            assert_eq!(conn.fails(lun, Cdb::TestUnitReady).asc, Asc::BUS_DEVICE_RESET);
            assert_eq!(conn.run(lun, Cdb::TestUnitReady, 0).0, Status::GOOD);
        }
    }
    assert_eq!(manage(&mut conn, TaskFunction::LOGICAL_UNIT_RESET, 99, 0, 0), TaskResponse::NO_SUCH_LUN);
    assert_eq!(manage(&mut conn, TaskFunction::CLEAR_ACA, lun, 0, 0), TaskResponse::NOT_SUPPORTED);
    assert_eq!(
        manage(&mut conn, TaskFunction::TASK_REASSIGN, lun, 0, 0),
        TaskResponse::REASSIGNMENT_NOT_SUPPORTED
    );
}

fn with_digests() -> (Bench, u16, Conn) {
    let mut bench = Bench::new();
    let lun = bench.map(DeviceId::Lun(bench.lun("d", 4096)));
    let target = bench.target();
    let mut conn = bench.connect();
    let mut keys = OPERATIONAL.to_vec();
    keys[0].1 = "CRC32C";
    keys[1].1 = "CRC32C,None";
    conn.log_in(HOST, Some(&target), &keys);
    assert!(conn.digests.header && conn.digests.data);
    conn.fails(lun, Cdb::TestUnitReady);
    (bench, lun, conn)
}

#[test]
fn digests() {
    let (_bench, lun, mut conn) = with_digests();
    // Lengths that are no multiple of four travel right in both directions.
    let data = pattern(40, 6);
    assert_eq!(conn.put(lun, write(0, 40), &data).0, Status::GOOD);
    assert!(conn.read(lun, 0, 40) == data);
    let (_, inquiry, ..) = conn.run(lun, Cdb::Inquiry { evpd: false, page: 0, allocation: 37 }, 37);
    assert_eq!(inquiry.len(), 37);
    // Write data damaged: Reject, and the command ends with 47h/05h; nothing is written.
    let command = conn.command(lun, write(100, 16), 0, Some(8192));
    conn.send(command);
    let Some(Pdu::R2t(r2t)) = conn.next() else { panic!() };
    let mut out = Outbox::new();
    let mut pdu = conn.unsolicited(0, 0, true, &pattern(16, 1));
    pdu.ttt = r2t.ttt;
    Pdu::from(pdu).push_to(&mut out, conn.digests);
    let mut bytes = out.take_all().to_vec();
    bytes[60] ^= 1;
    conn.raw(&bytes);
    let Some(Pdu::Reject(reject)) = conn.next() else { panic!() };
    assert_eq!((reject.reason, &reject.header[..]), (RejectReason::DATA_DIGEST, &bytes[..48]));
    let (_, _, sense, _) = conn.finish(4096, 8192);
    assert_eq!(
        sense.map(|s| (s.key, s.asc)),
        Some((SenseKey::ABORTED_COMMAND, Asc::PROTOCOL_SERVICE_CRC_ERROR))
    );
    assert_eq!(conn.read(lun, 100, 16), vec![0; 8192]);
    // Immediate data damaged: Reject alone; the number is not used up, so the command can come again.
    let mut command = conn.command(lun, write(200, 1), 0, Some(512));
    command.data = Bytes::from(pattern(1, 2));
    Pdu::from(command.clone()).push_to(&mut out, conn.digests);
    let mut bytes = out.take_all().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    conn.raw(&bytes);
    assert!(matches!(&conn.rest()[..], [Pdu::Reject(_)]));
    conn.send(command);
    assert_eq!(conn.finish(4096, 8192).0, Status::GOOD);
    // A damaged header ends the connection.
    let command = conn.command(lun, Cdb::TestUnitReady, 0, None);
    Pdu::from(command).push_to(&mut out, conn.digests);
    let mut bytes = out.take_all().to_vec();
    bytes[20] ^= 1;
    conn.raw(&bytes);
    assert_eq!(conn.session.closed(), Some("header digest error"));
    assert!(conn.rest().is_empty());
}

#[test]
fn what_does_not_belong_is_rejected() {
    let (_bench, _, _, mut conn) = ready();
    let mut reasons = Vec::new();
    conn.send(Snack {
        kind: SnackType::STATUS,
        lun: Lun::ZERO,
        itt: 1,
        ttt: 1,
        exp_stat_sn: 0,
        begin: 0,
        run_length: 0,
    });
    let login = conn.login_request(Stage::Operational, None, &[]);
    conn.send(login);
    let mut unknown = [0u8; 48];
    unknown[0] = 0x1c;
    conn.raw(&unknown);
    for pdu in conn.rest() {
        let Pdu::Reject(r) = pdu else { panic!("{pdu:?}") };
        reasons.push(r.reason);
    }
    assert_eq!(reasons, [RejectReason::SNACK, RejectReason::PROTOCOL_ERROR, RejectReason::NOT_SUPPORTED]);
    assert!(conn.session.closed().is_none());
    // More data than we said we take.
    let mut long = [0u8; 48];
    long[0] = 0x40;
    long[5..8].copy_from_slice(&[0x04, 0, 1]);
    conn.raw(&long);
    assert!(matches!(conn.next(), Some(Pdu::Reject(_))));
    assert!(conn.session.closed().is_some());
}

#[test]
fn faults_at_commands() {
    let (bench, _, lun, mut conn) = ready();
    let script = bench.script.clone();
    let data = pattern(1, 1);
    script.fault_once("target.command.before", Fault::Fail);
    let (status, sense, _) = conn.put(lun, write(0, 1), &data);
    assert_eq!((status, sense.unwrap().asc), (Status::CHECK_CONDITION, Asc::INTERNAL_TARGET_FAILURE));
    assert_eq!(conn.read(lun, 0, 1), [0; 512], "not done");
    script.fault_once("target.command.after", Fault::Fail);
    assert_eq!(conn.put(lun, write(0, 1), &data).0, Status::CHECK_CONDITION);
    assert_eq!(conn.read(lun, 0, 1), data, "done, and told as failed");
    for (n, point) in [(1, "target.command.before"), (2, "target.command.after")] {
        script.fault_once(point, Fault::DropReply);
        let mut command = conn.command(lun, write(n, 1), 0, Some(512));
        command.data = Bytes::copy_from_slice(&data);
        conn.send(command);
        assert!(conn.rest().is_empty(), "{point}: no answer");
        assert_eq!(conn.read(lun, n, 1), data, "{point}: done");
    }
    for (n, point) in [(3, "target.command.before"), (4, "target.command.after")] {
        script.fault_once(point, Fault::Delay(Duration::from_secs(2)));
        let mut command = conn.command(lun, write(n, 1), 0, Some(512));
        command.data = Bytes::copy_from_slice(&data);
        conn.send(command);
        assert!(conn.rest().is_empty());
        let due = conn.session.next_timer().unwrap();
        assert_eq!(due, conn.now + Duration::from_secs(2), "{point}");
        let resolve = bench.parts.array.lock().resolve(HOST, lun).unwrap();
        let now = bench.parts.array.lock().read(conn.now, resolve, n, 1).unwrap().concat();
        assert_eq!(now == data, point.ends_with("after"), "{point}: work is done before or after the wait");
        conn.now = due;
        conn.session.handle_timer(due);
        conn.collect();
        assert_eq!(conn.finish(4096, 8192).0, Status::GOOD);
    }
    script.fault_once("target.command.before", Fault::CrashNode);
    let command = conn.command(lun, Cdb::TestUnitReady, 0, None);
    conn.send(command);
    assert!(conn.rest().is_empty() && conn.session.closed() == Some("crash"));
}

/// A small conversation as bytes: writes of all kinds, reads, a ping, a text, a bad command.
fn conversation(lun: u16) -> Vec<u8> {
    let mut bench = Bench::new();
    bench.map(DeviceId::Lun(bench.lun("d", 4096)));
    let target = bench.target();
    let mut conn = bench.connect();
    let mut out = Outbox::new();
    let mut keys = vec![("InitiatorName", HOST), ("TargetName", target.as_str())];
    keys.extend(OPERATIONAL);
    let mut push = |pdu: Pdu| pdu.push_to(&mut out, Default::default());
    push(conn.login_request(Stage::Operational, Some(Stage::FullFeature), &keys).into());
    push(conn.command(lun, Cdb::TestUnitReady, 0, None).into());
    let data = pattern(8, 3);
    let mut command = conn.command(lun, write(5, 8), 0, Some(4096));
    command.data = Bytes::copy_from_slice(&data[..2048]);
    command.last = false;
    push(command.into());
    push(conn.unsolicited(2048, 0, true, &data[2048..]).into());
    push(conn.command(lun, Cdb::Read(Transfer::new(Width::Ten, 0, 20)), 20 * 512, None).into());
    push(conn.command(lun, Cdb::Read(Transfer::new(Width::Ten, 5000, 20)), 20 * 512, None).into());
    push(conn.command(lun, Cdb::Inquiry { evpd: true, page: 0x83, allocation: 255 }, 255, None).into());
    out.take_all().to_vec()
}

fn answers(bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut bench = Bench::new();
    bench.map(DeviceId::Lun(bench.lun("d", 4096)));
    let mut conn = bench.connect();
    conn.piece = piece;
    conn.raw(bytes);
    conn.incoming.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the bytes are cut, the answers are the same bytes.
    #[test]
    fn segmentation_does_not_matter(piece in 1..700usize) {
        let bytes = conversation(1);
        prop_assert_eq!(answers(&bytes, piece), answers(&bytes, usize::MAX));
    }

    /// Arbitrary bytes before and after login, and a conversation with damaged bytes: the session answers or closes.
    #[test]
    fn hostile_bytes(noise in prop::collection::vec(any::<u8>(), 0..600), hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bench = Bench::new();
        let lun = bench.map(DeviceId::Lun(bench.lun("d", 4096)));
        let mut conn = bench.connect();
        conn.raw(&noise);
        let mut conn = bench.ready(lun);
        conn.raw(&noise);
        let mut bytes = conversation(lun);
        for (at, value) in hits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let mut conn = bench.connect();
        conn.raw(&bytes);
        let _ = conn.session.next_timer();
        conn.session.handle_timer(Duration::from_secs(1000));
        prop_assert!(conn.session.closed().is_some() || conn.session.next_timer().is_some());
    }

    /// Structured noise: any PDU kind with any fields in full feature phase.
    #[test]
    fn hostile_pdus(headers in prop::collection::vec(any::<[u8; 32]>(), 1..30)) {
        let mut bench = Bench::new();
        let lun = bench.map(DeviceId::Lun(bench.lun("d", 4096)));
        let mut conn = bench.ready(lun);
        for raw in headers {
            let mut head = [0u8; 48];
            head[..4].copy_from_slice(&raw[..4]);
            head[0] &= 0x7f;
            head[7] = raw[4] & 0x3f;
            head[9] = raw[5] & 3;
            head[16..48].copy_from_slice(&raw);
            head[16..24].copy_from_slice(&[0, 0, 0, raw[6] & 3, 0, 0, raw[7] & 0x3f, 0]);
            head[24..28].copy_from_slice(&(conn.cmd_sn.wrapping_add(u32::from(raw[8] & 1))).to_be_bytes());
            let mut bytes = head.to_vec();
            bytes.resize(48 + usize::from(head[7]).next_multiple_of(4), 0x5a);
            conn.raw(&bytes);
            conn.cmd_sn = conn.cmd_sn.wrapping_add(u32::from(raw[9] & 1));
        }
    }
}
