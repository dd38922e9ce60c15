//! Recovery level 1: lost answers, lost data in both directions, damaged headers (RFC 7143 sections 7.2, 7.7 to 7.9, 11.16).

use crate::bench::*;
use bytes::Bytes;
use sanbench_array::DeviceId;
use sanbench_target::TargetConfig;
use sanbench_wire::Pdu;
use sanbench_wire::frame::Outbox;
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Width};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::status::Status;

fn ready(config: TargetConfig, digests: bool) -> (Bench, u16, Conn) {
    let mut bench = Bench::with(config);
    let lun = bench.map(DeviceId::Lun(bench.lun("d", 4096)));
    let target = bench.target();
    let mut conn = bench.connect();
    let mut keys = OPERATIONAL.to_vec();
    if digests {
        keys[0].1 = "CRC32C";
        keys[1].1 = "CRC32C";
    }
    keys.push(("ErrorRecoveryLevel", "1"));
    conn.log_in(HOST, Some(&target), &keys);
    conn.fails(lun, Cdb::TestUnitReady);
    (bench, lun, conn)
}

fn write(lba: u64, blocks: u32) -> Cdb {
    Cdb::Write(Transfer::new(Width::Ten, lba, blocks))
}

fn snack(kind: SnackType, itt: u32, ttt: u32, begin: u32, run_length: u32) -> Snack {
    Snack { kind, lun: Lun::ZERO, itt, ttt, exp_stat_sn: 0, begin, run_length }
}

fn rejected(conn: &mut Conn) -> RejectReason {
    match &conn.rest()[..] {
        [Pdu::Reject(r)] => r.reason,
        other => panic!("{other:?}"),
    }
}

fn bytes_of(conn: &Conn, pdu: impl Into<Pdu>) -> Vec<u8> {
    let mut out = Outbox::new();
    pdu.into().push_to(&mut out, conn.digests);
    out.take_all().to_vec()
}

#[test]
fn answers_can_be_asked_for_until_they_are_acknowledged() {
    let (_bench, lun, mut conn) = ready(TargetConfig::default(), false);
    let command = conn.command(lun, Cdb::TestUnitReady, 0, None);
    conn.send(command);
    let Some(Pdu::ScsiResponse(first)) = conn.next() else { panic!() };
    for run in [1, 0] {
        conn.send(snack(SnackType::STATUS, u32::MAX, u32::MAX, first.stat_sn, run));
        assert_eq!(conn.rest(), [Pdu::ScsiResponse(first.clone())], "run of {run}");
    }
    conn.send(snack(SnackType::STATUS, u32::MAX, u32::MAX, first.stat_sn, 7));
    assert_eq!(rejected(&mut conn), RejectReason::PROTOCOL_ERROR, "numbers that were never given");
    let mut command = conn.command(lun, Cdb::TestUnitReady, 0, None);
    command.exp_stat_sn = first.stat_sn + 1;
    conn.send(command);
    conn.rest();
    conn.send(snack(SnackType::STATUS, u32::MAX, u32::MAX, first.stat_sn, 1));
    assert_eq!(rejected(&mut conn), RejectReason::PROTOCOL_ERROR, "acknowledged");
}

#[test]
fn read_data_can_be_asked_for() {
    let (_bench, lun, mut conn) = ready(TargetConfig::default(), false);
    let data = pattern(20, 4);
    assert_eq!(conn.put(lun, write(0, 20), &data).0, Status::GOOD);
    let command = conn.command(lun, Cdb::Read(Transfer::new(Width::Ten, 0, 20)), 20 * 512, None);
    let itt = command.itt;
    conn.send(command);
    let sent = conn.rest();
    let [Pdu::DataIn(a), Pdu::DataIn(b), Pdu::DataIn(c), Pdu::ScsiResponse(status)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert!(a.status.is_none() && c.status.is_none(), "the status has a number of its own");
    assert_eq!((status.exp_data_sn, status.residual), (3, Residual::None));
    assert!(b.acknowledge && b.ttt != u32::MAX && b.last && !c.acknowledge);
    conn.send(snack(SnackType::DATA_OR_R2T, itt, u32::MAX, 1, 1));
    assert_eq!(conn.rest(), sent[1..2]);
    conn.send(snack(SnackType::DATA_OR_R2T, itt, u32::MAX, 0, 0));
    assert_eq!(conn.rest(), sent[..3]);
    for (begin, run) in [(1, 5), (3, 1)] {
        conn.send(snack(SnackType::DATA_OR_R2T, itt, u32::MAX, begin, run));
        assert_eq!(rejected(&mut conn), RejectReason::SNACK);
    }
    // Acknowledged data is gone, the rest is there.
    conn.send(snack(SnackType::DATA_ACK, u32::MAX, b.ttt, 2, 0));
    assert!(conn.rest().is_empty());
    conn.send(snack(SnackType::DATA_OR_R2T, itt, u32::MAX, 0, 1));
    assert_eq!(rejected(&mut conn), RejectReason::SNACK);
    conn.send(snack(SnackType::DATA_OR_R2T, itt, u32::MAX, 2, 1));
    assert_eq!(conn.rest(), sent[2..3]);
    conn.send(snack(SnackType::DATA_ACK, u32::MAX, 0x7777, 2, 0));
    assert_eq!(rejected(&mut conn), RejectReason::INVALID_DATA_ACK);
    conn.send(snack(SnackType::R_DATA, itt, 1, 0, 0));
    assert_eq!(rejected(&mut conn), RejectReason::SNACK);
}

#[test]
fn what_is_kept_is_bounded() {
    let config = TargetConfig { replay_buffer: 6000, ..TargetConfig::default() };
    let (_bench, lun, mut conn) = ready(config, false);
    let command = conn.command(lun, Cdb::Read(Transfer::new(Width::Ten, 0, 20)), 20 * 512, None);
    let itt = command.itt;
    conn.send(command);
    let sent = conn.rest();
    conn.send(snack(SnackType::DATA_OR_R2T, itt, u32::MAX, 0, 1));
    assert_eq!(rejected(&mut conn), RejectReason::SNACK, "the oldest went first");
    conn.send(snack(SnackType::DATA_OR_R2T, itt, u32::MAX, 2, 1));
    assert_eq!(conn.rest(), sent[2..3]);
}

#[test]
fn requests_for_data_can_be_asked_for() {
    let (_bench, lun, mut conn) = ready(TargetConfig::default(), false);
    let command = conn.command(lun, write(0, 40), 0, Some(40 * 512));
    let itt = command.itt;
    conn.send(command);
    let asked = conn.rest();
    assert_eq!(asked.len(), 2, "two bursts may be asked for at a time");
    conn.send(snack(SnackType::DATA_OR_R2T, itt, u32::MAX, 1, 1));
    assert_eq!(conn.rest(), asked[1..]);
    let Pdu::R2t(first) = &asked[0] else { panic!() };
    conn.answer(first, &pattern(40, 1), 4096);
    conn.rest();
    conn.send(snack(SnackType::DATA_OR_R2T, itt, u32::MAX, 0, 1));
    assert_eq!(rejected(&mut conn), RejectReason::SNACK, "answered already");
}

#[test]
fn lost_write_data_is_asked_for_again() {
    let (_bench, lun, mut conn) = ready(TargetConfig::default(), true);
    let data = pattern(16, 7);
    let begin = |conn: &mut Conn| {
        let command = conn.command(lun, write(0, 16), 0, Some(8192));
        conn.send(command);
        let Some(Pdu::R2t(r2t)) = conn.next() else { panic!() };
        r2t
    };
    let piece = |conn: &Conn, r2t: &R2t, sn: u32| {
        let at = sn * 4096;
        let mut out = conn.unsolicited(at, sn, sn == 1, &data[at as usize..][..4096]);
        (out.ttt, out.lun) = (r2t.ttt, r2t.lun);
        out
    };
    // Damaged in the middle: rejected; the rest of the sequence is dropped, then asked for with its lost part.
    let r2t = begin(&mut conn);
    let pdu = piece(&conn, &r2t, 0);
    let mut bytes = bytes_of(&conn, pdu);
    *bytes.last_mut().expect("a PDU has bytes") ^= 1;
    conn.raw(&bytes);
    assert_eq!(rejected(&mut conn), RejectReason::DATA_DIGEST);
    let pdu = piece(&conn, &r2t, 1);
    conn.send(pdu);
    let Some(Pdu::R2t(again)) = conn.next() else { panic!() };
    assert_eq!((again.offset, again.length, again.r2t_sn), (0, 8192, 1));
    conn.answer(&again, &data, 4096);
    assert_eq!(conn.finish(4096, 8192).0, Status::GOOD);
    assert!(conn.read(lun, 0, 16) == data);
    // Missing: noticed by the number of the next one; what came before is not asked for again.
    let r2t = begin(&mut conn);
    let pdu = piece(&conn, &r2t, 1);
    conn.send(pdu);
    let Some(Pdu::R2t(again)) = conn.next() else { panic!() };
    assert_eq!((again.offset, again.length), (0, 8192));
    // Twice is once.
    let pdu = piece(&conn, &again, 0);
    conn.send(pdu.clone());
    conn.send(pdu);
    let pdu = piece(&conn, &again, 1);
    conn.send(pdu);
    assert_eq!(conn.finish(4096, 8192).0, Status::GOOD);
}

#[test]
fn lost_unsolicited_data_is_asked_for() {
    let (_bench, lun, mut conn) = ready(TargetConfig::default(), true);
    let data = pattern(8, 7);
    let mut command = conn.command(lun, write(0, 8), 0, Some(4096));
    command.data = Bytes::copy_from_slice(&data[..1024]);
    command.last = false;
    conn.send(command);
    let pdu = conn.unsolicited(1024, 0, false, &data[1024..2048]);
    let mut bytes = bytes_of(&conn, pdu);
    *bytes.last_mut().expect("a PDU has bytes") ^= 1;
    conn.raw(&bytes);
    assert_eq!(rejected(&mut conn), RejectReason::DATA_DIGEST);
    let pdu = conn.unsolicited(2048, 1, true, &data[2048..]);
    conn.send(pdu);
    let Some(Pdu::R2t(r2t)) = conn.next() else { panic!() };
    assert_eq!((r2t.offset, r2t.length), (1024, 3072));
    conn.answer(&r2t, &data, 4096);
    assert_eq!(conn.finish(4096, 8192).0, Status::GOOD);
    assert!(conn.read(lun, 0, 8) == data);
}

#[test]
fn a_damaged_header_costs_its_pdu_only() {
    let (_bench, lun, mut conn) = ready(TargetConfig::default(), true);
    let mut command = conn.command(lun, write(0, 2), 0, Some(1024));
    command.data = Bytes::from(pattern(2, 3));
    let mut bytes = bytes_of(&conn, command.clone());
    bytes[20] ^= 1;
    conn.piece = 7;
    conn.raw(&bytes);
    assert!(conn.rest().is_empty() && conn.session.closed().is_none());
    // The number was not used; the initiator sends the command again.
    conn.send(command);
    assert_eq!(conn.finish(4096, 8192).0, Status::GOOD);
    assert!(conn.read(lun, 0, 2) == pattern(2, 3));
    // Two in a row: the stream is lost.
    conn.raw(&bytes);
    assert!(conn.session.closed().is_none());
    conn.raw(&bytes);
    assert_eq!(conn.session.closed(), Some("header digest error"));
}
