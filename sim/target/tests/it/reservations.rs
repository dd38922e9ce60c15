//! Persistent reservations, RESERVE and RELEASE through sessions: conflicts, alerts, what survives.

use crate::bench::*;
use sanbench_array::DeviceId;
use sanbench_wire::Pdu;
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Width};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::reservation::{self as pr, Kind, MoveList, OutList, TransportId, action, read};
use sanbench_wire::scsi::sense::{Asc, SenseKey};
use sanbench_wire::scsi::status::Status;

const KINDS: [Kind; 6] = [
    Kind::WRITE_EXCLUSIVE,
    Kind::EXCLUSIVE_ACCESS,
    Kind::WRITE_EXCLUSIVE_REGISTRANTS,
    Kind::EXCLUSIVE_ACCESS_REGISTRANTS,
    Kind::WRITE_EXCLUSIVE_ALL,
    Kind::EXCLUSIVE_ACCESS_ALL,
];

fn out(conn: &mut Conn, lun: u16, action: u8, kind: Kind, list: OutList) -> Status {
    let cdb = Cdb::PersistentReserveOut { action, scope: 0, kind: kind.0, parameter_length: 24 };
    conn.put(lun, cdb, &list.build()).0
}

fn register(conn: &mut Conn, lun: u16, key: u64) {
    let list = OutList { service_key: key, ..OutList::default() };
    assert_eq!(out(conn, lun, action::REGISTER, Kind(0), list), Status::GOOD);
}

fn with_key(key: u64) -> OutList {
    OutList { key, ..OutList::default() }
}

fn look(conn: &mut Conn, lun: u16, action: u8) -> Vec<u8> {
    let (status, data, sense, _) = conn.run(lun, Cdb::PersistentReserveIn { action, allocation: 1024 }, 1024);
    assert_eq!(status, Status::GOOD, "{sense:?}");
    data
}

/// A LUN with three nexuses: two of the host through portals 1 and 2, and a third.
fn three() -> (Bench, u16, [Conn; 3]) {
    let mut bench = Bench::new();
    let lun = bench.map(DeviceId::Lun(bench.lun("d", 4096)));
    let target = bench.target();
    let mut conns = [1, 2, 1].map(|portal| {
        let mut conn = bench.connect_to(portal);
        conn.log_in(HOST, Some(&target), OPERATIONAL);
        conn
    });
    for conn in &mut conns {
        assert_eq!(conn.fails(lun, Cdb::TestUnitReady).asc, Asc::POWER_ON_RESET);
    }
    (bench, lun, conns)
}

/// Status of a read, of a write, and of a command that only asks.
fn access(conn: &mut Conn, lun: u16) -> [bool; 3] {
    let good = |status| match status {
        Status::GOOD => true,
        Status::RESERVATION_CONFLICT => false,
        other => panic!("{other}"),
    };
    let read = conn.run(lun, Cdb::Read(Transfer::new(Width::Ten, 0, 1)), 512).0;
    let write = conn.put(lun, Cdb::Write(Transfer::new(Width::Ten, 0, 1)), &[7; 512]).0;
    let ask = conn.run(lun, Cdb::TestUnitReady, 0).0;
    [good(read), good(write), good(ask)]
}

#[test]
fn every_type_lets_in_whom_it_should() {
    for kind in KINDS {
        let (_bench, lun, [mut a, mut b, mut c]) = three();
        register(&mut a, lun, 1);
        register(&mut b, lun, 2);
        assert_eq!(out(&mut a, lun, action::RESERVE, kind, with_key(1)), Status::GOOD);
        let exclusive = matches!(kind.0, 3 | 6 | 8);
        let registrants = kind.0 >= 5;
        assert_eq!(access(&mut a, lun), [true; 3], "{kind}: holder");
        assert_eq!(access(&mut b, lun), [!exclusive || registrants, registrants, true], "{kind}: registrant");
        assert_eq!(access(&mut c, lun), [!exclusive, false, true], "{kind}: stranger");
        // What is always allowed, and what is never without a registration.
        assert_eq!(c.run(lun, Cdb::ReadCapacity10, 8).0, Status::GOOD);
        assert_eq!(c.run(lun, Cdb::Inquiry { evpd: false, page: 0, allocation: 96 }, 96).0, Status::GOOD);
        assert_eq!(out(&mut c, lun, action::RESERVE, kind, with_key(0)), Status::RESERVATION_CONFLICT);
        let (generation, held) = pr::parse_reservation(&look(&mut c, lun, read::RESERVATION)).unwrap();
        assert_eq!((generation, held), (2, Some((if kind.0 >= 7 { 0 } else { 1 }, kind))));
        let (_, full) = pr::parse_full_status(&look(&mut c, lun, read::FULL_STATUS)).unwrap();
        let holders: Vec<_> = full.iter().map(|one| (one.key, one.port, one.holds.is_some())).collect();
        assert_eq!(holders, [(1, 1, true), (2, 2, kind.0 >= 7)]);
        assert_eq!(full[0].initiator, TransportId { initiator: HOST.into(), isid: Some(a.isid) });
        // Release tells the other registrants when they had a part in it.
        assert_eq!(out(&mut a, lun, action::RELEASE, kind, with_key(1)), Status::GOOD);
        let (status, _, sense, _) = b.run(lun, Cdb::TestUnitReady, 0);
        if registrants {
            assert_eq!(sense.unwrap().asc, Asc::RESERVATIONS_RELEASED);
        } else {
            assert_eq!(status, Status::GOOD);
        }
        assert_eq!(access(&mut c, lun), [true; 3]);
    }
}

#[test]
fn preempt_takes_over_and_tells_who_lost() {
    let (_bench, lun, [mut a, mut b, mut c]) = three();
    register(&mut a, lun, 1);
    register(&mut b, lun, 2);
    register(&mut c, lun, 3);
    let kind = Kind::WRITE_EXCLUSIVE_REGISTRANTS;
    assert_eq!(out(&mut a, lun, action::RESERVE, kind, with_key(1)), Status::GOOD);
    // A write of the one who will be fenced is under way; PREEMPT AND ABORT ends it, and its data changes nothing.
    let command = a.command(lun, Cdb::Write(Transfer::new(Width::Ten, 100, 16)), 0, Some(8192));
    a.send(command);
    let Some(Pdu::R2t(r2t)) = a.next() else { panic!("an R2T") };
    let list = OutList { key: 2, service_key: 1, ..OutList::default() };
    let narrower = Kind::WRITE_EXCLUSIVE;
    assert_eq!(out(&mut b, lun, action::PREEMPT_AND_ABORT, narrower, list), Status::GOOD);
    a.answer(&r2t, &pattern(16, 1), 4096);
    assert!(a.rest().is_empty(), "the aborted write has no answer");
    assert_eq!(b.read(lun, 100, 16), vec![0; 8192]);
    let mut told = Vec::new();
    for _ in 0..3 {
        let (_, _, sense, _) = a.run(lun, Cdb::TestUnitReady, 0);
        told.extend(sense.map(|sense| sense.asc));
    }
    told.sort();
    assert_eq!(told, [Asc::REGISTRATIONS_PREEMPTED, Asc::COMMANDS_CLEARED]);
    // The reservation changed its type, which concerns the third.
    assert_eq!(c.fails(lun, Cdb::TestUnitReady).asc, Asc::RESERVATIONS_RELEASED);
    assert_eq!(access(&mut a, lun), [true, false, true]);
    let (generation, keys) = pr::parse_keys(&look(&mut b, lun, read::KEYS)).unwrap();
    assert_eq!((generation, keys), (4, vec![2, 3]));
    // A key that nobody has, a wrong key of one's own, key 0.
    let try_key = |b: &mut Conn, key, service_key| {
        let list = OutList { key, service_key, ..OutList::default() };
        let cdb =
            Cdb::PersistentReserveOut { action: action::PREEMPT, scope: 0, kind: 1, parameter_length: 24 };
        let (status, sense, _) = b.put(lun, cdb, &list.build());
        (status, sense.map(|sense| sense.asc))
    };
    assert_eq!(try_key(&mut b, 2, 77), (Status::RESERVATION_CONFLICT, None));
    assert_eq!(try_key(&mut b, 9, 3), (Status::RESERVATION_CONFLICT, None));
    let bad = Some(Asc::INVALID_FIELD_IN_PARAMETER_LIST);
    assert_eq!(try_key(&mut b, 2, 0), (Status::CHECK_CONDITION, bad));
    // Clear.
    assert_eq!(out(&mut b, lun, action::CLEAR, Kind(0), with_key(2)), Status::GOOD);
    assert_eq!(c.fails(lun, Cdb::TestUnitReady).asc, Asc::RESERVATIONS_PREEMPTED);
    assert_eq!(access(&mut a, lun), [true; 3]);
}

#[test]
fn move_needs_a_holder_and_an_initiator_port() {
    let (_bench, lun, [mut a, mut b, mut c]) = three();
    register(&mut a, lun, 1);
    let kind = Kind::EXCLUSIVE_ACCESS;
    let list = |isid, port| MoveList {
        key: 1,
        service_key: 5,
        unregister: true,
        persist: false,
        port,
        initiator: TransportId { initiator: HOST.into(), isid },
    };
    let go = |conn: &mut Conn, list: MoveList| {
        let data = list.build();
        let parameter_length = data.len() as u32;
        let cdb = Cdb::PersistentReserveOut {
            action: action::REGISTER_AND_MOVE,
            scope: 0,
            kind: 0,
            parameter_length,
        };
        let (status, sense, _) = conn.put(lun, cdb, &data);
        (status, sense.map(|sense| sense.asc))
    };
    assert_eq!(go(&mut a, list(Some(b.isid), 2)), (Status::RESERVATION_CONFLICT, None), "nothing is held");
    assert_eq!(out(&mut a, lun, action::RESERVE, kind, with_key(1)), Status::GOOD);
    let bad = (Status::CHECK_CONDITION, Some(Asc::INVALID_FIELD_IN_PARAMETER_LIST));
    assert_eq!(go(&mut a, list(None, 2)), bad);
    assert_eq!(go(&mut a, list(Some(b.isid), 9)), bad);
    let own = list(Some(a.isid), 1);
    assert_eq!(go(&mut a, own), bad);
    assert_eq!(go(&mut a, list(Some(b.isid), 2)), (Status::GOOD, None));
    assert_eq!(access(&mut b, lun), [true; 3]);
    assert_eq!(access(&mut a, lun), [false, false, true]);
    assert_eq!(access(&mut c, lun), [false, false, true]);
    let (_, keys) = pr::parse_keys(&look(&mut c, lun, read::KEYS)).unwrap();
    assert_eq!(keys, [5]);
}

#[test]
fn persistence_is_for_those_who_asked() {
    for persist in [false, true] {
        let (mut bench, lun, [mut a, ..]) = three();
        let list = OutList { service_key: 1, persist, ..OutList::default() };
        assert_eq!(out(&mut a, lun, action::REGISTER, Kind(0), list), Status::GOOD);
        assert_eq!(out(&mut a, lun, action::RESERVE, Kind::WRITE_EXCLUSIVE, with_key(1)), Status::GOOD);
        let capabilities = pr::Capabilities::parse(&look(&mut a, lun, read::CAPABILITIES)).unwrap();
        assert!(capabilities.persist && capabilities.persist_active == persist);
        bench.parts.array.lock().power_loss(NOW, &mut |_| 0);
        let target = bench.target();
        let mut other = bench.connect_to(2);
        other.log_in(HOST, Some(&target), OPERATIONAL);
        assert_eq!(other.fails(lun, Cdb::TestUnitReady).asc, Asc::POWER_ON);
        assert_eq!(access(&mut other, lun), [true, !persist, true]);
        // The same initiator port through the same target port is the same nexus again.
        let mut back = bench.connect_to(1);
        back.isid = a.isid;
        back.log_in(HOST, Some(&target), OPERATIONAL);
        back.fails(lun, Cdb::TestUnitReady);
        assert_eq!(access(&mut back, lun), [true, true, true]);
    }
}

#[test]
fn reserve_of_old_keeps_others_out_until_its_nexus_ends() {
    let (mut bench, lun, [mut a, mut b, mut c]) = three();
    let reserve = Cdb::Reserve { width: Width::Six };
    assert_eq!(a.run(lun, reserve, 0).0, Status::GOOD);
    assert_eq!(a.run(lun, reserve, 0).0, Status::GOOD);
    assert_eq!(b.run(lun, Cdb::Reserve { width: Width::Ten }, 0).0, Status::RESERVATION_CONFLICT);
    assert_eq!(access(&mut a, lun), [true; 3]);
    assert_eq!(access(&mut b, lun), [false; 3]);
    assert_eq!(b.run(lun, Cdb::Inquiry { evpd: false, page: 0, allocation: 96 }, 96).0, Status::GOOD);
    assert_eq!(b.run(lun, Cdb::Release { width: Width::Six }, 0).0, Status::GOOD);
    assert_eq!(access(&mut b, lun), [false; 3], "a release by another releases nothing");
    // PERSISTENT RESERVE and RESERVE shut each other out.
    let list = OutList { service_key: 1, ..OutList::default() };
    assert_eq!(out(&mut a, lun, action::REGISTER, Kind(0), list), Status::RESERVATION_CONFLICT);
    // Reinstatement ends what the old session had, and the old session's late end does not touch the new one's.
    let target = bench.target();
    let mut again = bench.connect_to(1);
    again.isid = a.isid;
    again.log_in(HOST, Some(&target), OPERATIONAL);
    assert_eq!(again.fails(lun, Cdb::TestUnitReady).asc, Asc::NEXUS_LOSS);
    assert_eq!(access(&mut b, lun), [true; 3]);
    assert_eq!(again.run(lun, reserve, 0).0, Status::GOOD);
    drop(a);
    assert_eq!(access(&mut b, lun), [false; 3]);
    drop(again);
    assert_eq!(access(&mut b, lun), [true; 3]);
    // A LUN reset ends it too; registrations stay and shut a stranger's RESERVE out.
    assert_eq!(b.run(lun, reserve, 0).0, Status::GOOD);
    c.itt += 1;
    c.send(TaskManagementRequest {
        immediate: true,
        function: TaskFunction::LOGICAL_UNIT_RESET,
        lun: Lun::from_number(lun).unwrap(),
        itt: c.itt,
        referenced_itt: 0xffff_ffff,
        cmd_sn: c.cmd_sn,
        exp_stat_sn: 0,
        ref_cmd_sn: 0,
        exp_data_sn: 0,
    });
    assert!(matches!(c.next(), Some(Pdu::TaskManagementResponse(r)) if r.response == TaskResponse::COMPLETE));
    let sense = c.fails(lun, Cdb::TestUnitReady);
    assert_eq!((sense.key, sense.asc), (SenseKey::UNIT_ATTENTION, Asc::BUS_DEVICE_RESET));
    assert_eq!(access(&mut c, lun), [true; 3]);
    b.fails(lun, Cdb::TestUnitReady);
    register(&mut c, lun, 3);
    assert_eq!(b.run(lun, reserve, 0).0, Status::RESERVATION_CONFLICT);
    assert_eq!(c.run(lun, reserve, 0).0, Status::GOOD);
    assert_eq!(access(&mut b, lun), [true; 3], "a registrant's RESERVE reserves nothing");
}
