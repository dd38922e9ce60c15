//! Units beyond reads and writes: access states, mode pages, copies, atomic commands, sanitize, supported opcodes; and each
//! planted defect of the device server with the one probe that it fails.

use crate::bench::*;
use sanbench_array::{ChapUpdate, Command, DeviceId, EXTENT_BLOCKS, EventKind, HostAccess, InitiatorPaths};
use sanbench_target::{MAX_WRITE_SAME_BLOCKS, TargetConfig, TargetDefects};
use sanbench_wire::scsi::alua::{AccessState, PortGroups, build_set};
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Width, WriteSame};
use sanbench_wire::scsi::copy::{self, CopyStatus, Cscd, OperatingParameters, Segment, results};
use sanbench_wire::scsi::mode::{Caching, Control, ModeData, ModePage, PageControl, page};
use sanbench_wire::scsi::opcodes::{self, option};
use sanbench_wire::scsi::reservation::{OutList, action};
use sanbench_wire::scsi::sense::{Asc, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_wire::scsi::unmap::{self, UnmapRange};

const GOOD: Status = Status::GOOD;

fn one_lun(config: TargetConfig) -> (Bench, u64, u16, Conn) {
    let mut bench = Bench::with(config);
    let id = bench.lun("d", 4096);
    let lun = bench.map(DeviceId::Lun(id));
    let conn = bench.ready(lun);
    (bench, id, lun, conn)
}

fn write(lba: u64, blocks: u32) -> Cdb {
    Cdb::Write(Transfer::new(Width::Sixteen, lba, blocks))
}

fn mode_select(conn: &mut Conn, lun: u16, page: ModePage, save: bool) -> (Status, Option<Asc>) {
    let mut list =
        ModeData { write_protected: false, dpofua: false, descriptor: None, pages: vec![page] }.build6();
    list[0] = 0;
    let parameter_length = list.len() as u16;
    let cdb = Cdb::ModeSelect { width: Width::Six, page_format: true, save, parameter_length };
    let (status, sense, _) = conn.put(lun, cdb, &list);
    (status, sense.map(|sense| sense.asc))
}

fn mode_page(conn: &mut Conn, lun: u16, code: u8, control: PageControl) -> ModePage {
    let (width, no_descriptors, long_lba, subpage, allocation) = (Width::Six, true, false, 0, 255);
    let cdb = Cdb::ModeSense { width, no_descriptors, long_lba, control, page: code, subpage, allocation };
    let (status, data, sense, _) = conn.run(lun, cdb, 255);
    assert_eq!(status, GOOD, "{sense:?}");
    ModeData::parse6(&data).unwrap().pages.remove(0)
}

fn caching(write_cache: bool) -> ModePage {
    ModePage::Caching(Caching { write_cache, read_cache_disabled: false })
}

fn control(write_protect: bool, descriptor_sense: bool) -> ModePage {
    ModePage::Control(Control { write_protect, descriptor_sense, queue_algorithm: 1, ..Control::default() })
}

#[test]
fn mode_parameters_are_the_units_and_others_hear_of_changes() {
    let (mut bench, id, lun, mut one) = one_lun(TargetConfig::default());
    let mut two = bench.ready(lun);
    assert_eq!(mode_select(&mut one, lun, caching(true), false), (GOOD, None));
    assert!(bench.parts.array.lock().write_cache(DeviceId::Lun(id)), "the cache is really on");
    assert_eq!(one.run(lun, Cdb::TestUnitReady, 0).0, GOOD);
    assert_eq!(two.fails(lun, Cdb::TestUnitReady).asc, Asc::MODE_PARAMETERS_CHANGED);
    assert_eq!(mode_page(&mut two, lun, page::CACHING, PageControl::Current), caching(true));
    // SWP and D_SENSE.
    assert_eq!(mode_select(&mut one, lun, control(true, true), false), (GOOD, None));
    two.fails(lun, Cdb::TestUnitReady);
    let command = two.command(lun, write(0, 1), 0, Some(512));
    two.send(command);
    let Some(sanbench_wire::Pdu::ScsiResponse(response)) = two.next() else { panic!() };
    assert_eq!(response.sense[0] & 0x7f, 0x72, "descriptor format");
    let sense = sanbench_wire::scsi::sense::Sense::parse(&response.sense).unwrap();
    assert_eq!((sense.key, sense.asc), (SenseKey::DATA_PROTECT, Asc::SOFTWARE_WRITE_PROTECTED));
    assert_eq!(mode_page(&mut one, lun, page::CONTROL, PageControl::Saved), control(false, false));
    let mask =
        ModePage::Control(Control { write_protect: true, descriptor_sense: true, ..Control::default() });
    assert_eq!(mode_page(&mut one, lun, page::CONTROL, PageControl::Changeable), mask);
    // What cannot be changed is refused, with nothing changed.
    let fixed = ModePage::Control(Control { task_set_type: 1, queue_algorithm: 1, ..Control::default() });
    let refused = (Status::CHECK_CONDITION, Some(Asc::INVALID_FIELD_IN_PARAMETER_LIST));
    assert_eq!(mode_select(&mut one, lun, fixed, false), refused);
    assert_eq!(mode_page(&mut one, lun, page::CONTROL, PageControl::Current), control(true, true));
    // A loss of power brings the saved values back.
    assert_eq!(mode_select(&mut one, lun, control(false, true), true), (GOOD, None));
    assert_eq!(mode_select(&mut one, lun, control(true, false), false), (GOOD, None));
    bench.parts.array.lock().power_loss(NOW, &mut |_| 0);
    let mut back = bench.ready(lun);
    assert_eq!(mode_page(&mut back, lun, page::CONTROL, PageControl::Current), control(false, true));
}

#[test]
fn access_states_are_told_and_obeyed() {
    let mut bench = Bench::new();
    let id = bench.lun("d", 4096);
    let lun = bench.map(DeviceId::Lun(id));
    let target = bench.target();
    let [mut a, mut b] = [1, 2].map(|portal| {
        let mut conn = bench.connect_to(portal);
        conn.log_in(HOST, Some(&target), OPERATIONAL);
        conn.fails(lun, Cdb::TestUnitReady);
        conn
    });
    let states = |conn: &mut Conn| {
        let cdb = Cdb::ReportTargetPortGroups { extended: true, allocation: 512 };
        let (status, data, ..) = conn.run(lun, cdb, 512);
        assert_eq!(status, GOOD);
        let groups = PortGroups::parse(&data, true).unwrap();
        groups.groups.iter().map(|group| (group.id, group.state)).collect::<Vec<_>>()
    };
    let before = states(&mut a);
    assert_eq!(before.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
    // Explicitly: the second group becomes standby, and only the other nexus has to be told.
    let set = |conn: &mut Conn, list: &[(u16, AccessState)]| {
        let list = build_set(list);
        let cdb = Cdb::SetTargetPortGroups { parameter_length: list.len() as u32 };
        let (status, sense, _) = conn.put(lun, cdb, &list);
        (status, sense.map(|sense| sense.asc))
    };
    assert_eq!(set(&mut a, &[(2, AccessState::STANDBY)]), (GOOD, None));
    assert_eq!(a.run(lun, Cdb::TestUnitReady, 0).0, GOOD);
    assert_eq!(b.fails(lun, Cdb::TestUnitReady).asc, Asc::ASYMMETRIC_ACCESS_STATE_CHANGED);
    assert_eq!(b.fails(lun, Cdb::TestUnitReady).asc, Asc::PORT_IN_STANDBY_STATE);
    assert_eq!(b.fails(lun, Cdb::Read(Transfer::new(Width::Ten, 0, 1))).asc, Asc::PORT_IN_STANDBY_STATE);
    assert_eq!(states(&mut b)[1], (2, AccessState::STANDBY), "asking is allowed");
    let refused = (Status::CHECK_CONDITION, Some(Asc::INVALID_FIELD_IN_PARAMETER_LIST));
    assert_eq!(set(&mut a, &[(9, AccessState::STANDBY)]), refused);
    assert_eq!(set(&mut a, &[(1, AccessState::OFFLINE)]), refused);
    assert_eq!(set(&mut a, &[(2, AccessState::ACTIVE_OPTIMIZED)]), (GOOD, None));
    assert_eq!(b.fails(lun, Cdb::TestUnitReady).asc, Asc::ASYMMETRIC_ACCESS_STATE_CHANGED);
    assert_eq!(b.run(lun, Cdb::TestUnitReady, 0).0, GOOD);
}

#[test]
fn initiators_see_paths_as_they_are_set_up() {
    let mut bench = Bench::new();
    let id = bench.lun("d", 4096);
    let lun = bench.map(DeviceId::Lun(id));
    let mut conn = bench.ready(lun);
    let states = |conn: &mut Conn| {
        let cdb = Cdb::ReportTargetPortGroups { extended: true, allocation: 512 };
        let (status, data, ..) = conn.run(lun, cdb, 512);
        assert_eq!(status, GOOD);
        PortGroups::parse(&data, true).unwrap().groups.iter().map(|group| group.state).collect::<Vec<_>>()
    };
    let tpgs = |conn: &mut Conn| {
        let (status, data, ..) = conn.run(lun, Cdb::Inquiry { evpd: false, page: 0, allocation: 255 }, 255);
        assert_eq!(status, GOOD);
        data[5] >> 4 & 3
    };
    const AO: AccessState = AccessState::ACTIVE_OPTIMIZED;
    const AN: AccessState = AccessState::ACTIVE_NON_OPTIMIZED;
    let natural = states(&mut conn);
    assert!(natural.contains(&AO) && natural.contains(&AN), "{natural:?}");
    assert_eq!(tpgs(&mut conn), 3);
    let iqn = || HOST.to_owned();
    let third_party = |multipath| Command::UpdateInitiator {
        iqn: iqn(),
        chap: ChapUpdate::Keep,
        multipath: Some(multipath),
    };
    let paths = |failover_mode, preferred| Command::SetInitiatorPaths {
        iqn: iqn(),
        paths: InitiatorPaths { failover_mode, special_mode: 0, preferred },
    };
    // Settings count only with third-party multipathing.
    bench.apply(paths(1, false));
    assert_eq!(states(&mut conn), natural);
    bench.apply(third_party(1));
    assert_eq!(conn.fails(lun, Cdb::TestUnitReady).asc, Asc::ASYMMETRIC_ACCESS_STATE_CHANGED);
    assert_eq!(states(&mut conn), [AN, AN], "the paths to this array are not the preferred ones");
    bench.apply(paths(2, true));
    assert_eq!(conn.fails(lun, Cdb::TestUnitReady).asc, Asc::ASYMMETRIC_ACCESS_STATE_CHANGED);
    assert_eq!((states(&mut conn), tpgs(&mut conn)), (vec![AO, AO], 0), "no ALUA");
    let host = bench.parts.array.lock().hosts().next().unwrap().id;
    let access = |access| Command::SetHostAccess { host, access };
    bench.apply(access(HostAccess::Balanced));
    assert_eq!((states(&mut conn), tpgs(&mut conn)), (vec![AO, AO], 3));
    bench.apply(access(HostAccess::Asymmetric { preferred: true }));
    assert_eq!(conn.fails(lun, Cdb::TestUnitReady).asc, Asc::ASYMMETRIC_ACCESS_STATE_CHANGED);
    assert_eq!(states(&mut conn), natural);
    // A failed controller is that for everybody.
    bench.apply(access(HostAccess::Balanced));
    bench.parts.array.lock().fail_controller(NOW, 1).unwrap();
    assert_eq!(conn.fails(lun, Cdb::TestUnitReady).asc, Asc::ASYMMETRIC_ACCESS_STATE_CHANGED);
    assert!(states(&mut conn).contains(&AccessState::UNAVAILABLE));
}

#[test]
fn a_pool_that_becomes_too_full_raises_an_attention_each_time() {
    let (bench, id, lun, mut conn) = one_lun(TargetConfig::default());
    bench.apply(Command::SetPoolThreshold { pool: 0, percent: 1 });
    let extents = bench.parts.array.lock().pool(0).unwrap().capacity_blocks() / EXTENT_BLOCKS;
    let wanted = extents / 100 + 1;
    let mut crossings = 0;
    for _ in 0..2 {
        for at in 0..wanted {
            let data = vec![7; EXTENT_BLOCKS as usize * 512];
            bench.parts.array.lock().write(NOW, DeviceId::Lun(id), at * EXTENT_BLOCKS, &data).unwrap();
        }
        assert_eq!(conn.fails(lun, Cdb::TestUnitReady).asc, Asc::SOFT_THRESHOLD_REACHED);
        assert_eq!(conn.run(lun, Cdb::TestUnitReady, 0).0, GOOD, "told once");
        crossings += 1;
        bench.parts.array.lock().unmap(NOW, DeviceId::Lun(id), 0, wanted * EXTENT_BLOCKS).unwrap();
        assert_eq!(conn.run(lun, Cdb::TestUnitReady, 0).0, GOOD);
    }
    let array = bench.parts.array.lock();
    let above = array.events().filter(|event| event.kind == EventKind::PoolAboveThreshold).count();
    assert_eq!(above, crossings, "each crossing is an event");
}

#[test]
fn supported_opcodes_are_the_truth() {
    let (_bench, _, lun, mut conn) = one_lun(TargetConfig::default());
    let ask = |option, opcode, action, timeouts| Cdb::ReportSupportedOpcodes {
        timeouts,
        option,
        opcode,
        action,
        allocation: 4096,
    };
    let (_, data, ..) = conn.run(lun, ask(option::ALL, 0, 0, true), 4096);
    let all = opcodes::parse_all(&data).unwrap();
    assert!(all.len() > 50 && all.iter().all(|one| one.timeouts.is_some_and(|t| t.recommended > 0)));
    for opcode in 0..=255u8 {
        let listed: Vec<_> = all.iter().filter(|one| one.opcode == opcode).collect();
        for one in &listed {
            let option = if one.action.is_some() { option::SERVICE_ACTION } else { option::OPCODE };
            let (status, data, ..) = conn.run(lun, ask(option, opcode, one.action.unwrap_or(0), false), 4096);
            assert_eq!(status, GOOD);
            let (usage, _) = opcodes::parse_one(&data).unwrap().expect("supported");
            assert_eq!((usage.len(), usage[0]), (usize::from(one.length), opcode));
        }
        // An operation code that is not listed is refused as such.
        let mut raw = [0; 16];
        raw[0] = opcode;
        if listed.is_empty() {
            assert_eq!(conn.fails(lun, Cdb::Unknown(raw)).asc, Asc::INVALID_OPERATION_CODE, "{opcode:02x}");
            let (_, data, ..) = conn.run(lun, ask(option::OPCODE, opcode, 0, false), 4096);
            assert_eq!(opcodes::parse_one(&data).unwrap(), None);
        }
    }
    // One with service actions has to be asked for one of them.
    assert_eq!(conn.fails(lun, ask(option::OPCODE, 0x5e, 0, false)).asc, Asc::INVALID_FIELD_IN_CDB);
    assert_eq!(conn.fails(lun, ask(option::SERVICE_ACTION, 0x28, 0, false)).asc, Asc::INVALID_FIELD_IN_CDB);
}

fn extended_copy(conn: &mut Conn, lun: u16, list: &[u8]) -> (Status, Option<(SenseKey, Asc)>) {
    let (status, sense, _) = conn.put(lun, Cdb::ExtendedCopy { parameter_length: list.len() as u32 }, list);
    (status, sense.map(|sense| (sense.key, sense.asc)))
}

#[test]
fn copies_move_blocks_between_units_and_keep_their_results() {
    let (bench, a, lun, mut conn) = one_lun(TargetConfig::default());
    let b = bench.lun("e", 1024);
    let other = bench.map(DeviceId::Lun(b));
    for _ in 0..2 {
        conn.fails(other, Cdb::TestUnitReady);
    }
    let wwn = |id| bench.parts.array.lock().device(DeviceId::Lun(id)).unwrap().wwn;
    let units = [Cscd::naa(&wwn(a)), Cscd::naa(&wwn(b))];
    let data = pattern(300, 9);
    assert_eq!(conn.put(lun, write(100, 300), &data).0, GOOD);
    let segment = |destination, source_lba, destination_lba, blocks| Segment {
        destination,
        source_lba,
        destination_lba,
        blocks,
        ..Segment::default()
    };
    let segments = [segment(1, 100, 0, 200), segment(1, 300, 500, 100), segment(0, 100, 2000, 10)];
    let list = copy::build_list(7, 0, &units, &segments);
    assert_eq!(extended_copy(&mut conn, lun, &list), (GOOD, None));
    assert!(conn.read(other, 0, 200) == data[..200 * 512] && conn.read(other, 500, 100) == data[200 * 512..]);
    assert!(conn.read(lun, 2000, 10) == data[..5120]);
    let ask = |action, list| Cdb::ReceiveCopyResults { action, list, allocation: 512 };
    let (_, status, ..) = conn.run(lun, ask(results::COPY_STATUS, 7), 512);
    assert_eq!(CopyStatus::parse(&status), Ok(CopyStatus { status: 1, segments: 3, bytes: 310 * 512 }));
    assert_eq!(conn.fails(lun, ask(results::COPY_STATUS, 8)).asc, Asc::INVALID_FIELD_IN_CDB);
    let (_, limits, ..) = conn.run(lun, ask(results::OPERATING_PARAMETERS, 0), 512);
    let limits = OperatingParameters::parse(&limits).unwrap();
    // At the limits and one beyond.
    let many = |units: usize, segments: usize| {
        copy::build_list(1, 0, &vec![Cscd::naa(&wwn(a)); units], &vec![segment(0, 0, 1000, 1); segments])
    };
    let (most, runs) = (usize::from(limits.cscds), usize::from(limits.segments));
    assert_eq!(extended_copy(&mut conn, lun, &many(most, runs)), (GOOD, None));
    let refused = |asc| (Status::CHECK_CONDITION, Some((SenseKey::ILLEGAL_REQUEST, asc)));
    assert_eq!(extended_copy(&mut conn, lun, &many(most + 1, 1)), refused(Asc::TOO_MANY_TARGET_DESCRIPTORS));
    assert_eq!(extended_copy(&mut conn, lun, &many(1, runs + 1)), refused(Asc::TOO_MANY_SEGMENT_DESCRIPTORS));
    // The second segment fails: the first is done, and the details say so.
    let list = copy::build_list(9, 0, &units, &[segment(1, 100, 900, 1), segment(1, 0, 1000, 100)]);
    let (status, sense) = extended_copy(&mut conn, lun, &list);
    assert_eq!((status, sense.map(|(key, _)| key)), (Status::CHECK_CONDITION, Some(SenseKey::COPY_ABORTED)));
    let (_, status, ..) = conn.run(lun, ask(results::COPY_STATUS, 9), 512);
    assert_eq!(CopyStatus::parse(&status), Ok(CopyStatus { status: 2, segments: 1, bytes: 512 }));
    assert_eq!(conn.run(lun, ask(results::FAILED_SEGMENT_DETAILS, 9), 512).1.len(), 78);
}

#[test]
fn compare_and_write_and_its_relatives() {
    let (_bench, _, lun, mut conn) = one_lun(TargetConfig::default());
    let lba = EXTENT_BLOCKS - 1;
    let caw = |blocks| Cdb::CompareAndWrite(Transfer::new(Width::Sixteen, lba, blocks));
    let (zero, new) = (vec![0; 1024], pattern(2, 3));
    assert_eq!(conn.put(lun, caw(2), &[&zero[..], &new].concat()).0, GOOD);
    let mut wrong = new.clone();
    wrong[700] ^= 1;
    let (status, sense, _) = conn.put(lun, caw(2), &[&wrong[..], &zero].concat());
    let sense = sense.unwrap();
    assert_eq!(
        (status, sense.key, sense.information),
        (Status::CHECK_CONDITION, SenseKey::MISCOMPARE, Some(700))
    );
    assert!(conn.read(lun, lba, 2) == new);
    assert_eq!(conn.put(lun, caw(0), &zero).1.unwrap().asc, Asc::INVALID_FIELD_IN_CDB);
    assert_eq!(conn.run(lun, caw(0), 0).0, GOOD);
    // ORWRITE, WRITE ATOMIC and its limits.
    let or = Cdb::OrWrite(Transfer::new(Width::Sixteen, lba, 2));
    assert_eq!(conn.put(lun, or, &[0x0f; 1024]).0, GOOD);
    let merged: Vec<u8> = new.iter().map(|byte| byte | 0x0f).collect();
    assert!(conn.read(lun, lba, 2) == merged);
    let atomic =
        |blocks, boundary| Cdb::WriteAtomic { transfer: Transfer::new(Width::Sixteen, 0, blocks), boundary };
    assert_eq!(conn.put(lun, atomic(4, 0), &pattern(4, 8)).0, GOOD);
    assert!(conn.read(lun, 0, 4) == pattern(4, 8));
    assert_eq!(conn.put(lun, atomic(4, 0), &pattern(2, 9)).1.unwrap().asc, Asc::INVALID_FIELD_IN_CDB);
    assert!(conn.read(lun, 0, 4) == pattern(4, 8), "half of an atomic write is none");
    assert_eq!(conn.fails(lun, atomic(2049, 0)).asc, Asc::INVALID_FIELD_IN_CDB);
}

#[test]
fn sanitize_is_there_only_when_allowed() {
    let sanitize = |action, parameter_length| Cdb::Sanitize {
        immediate: false,
        unrestricted: false,
        action,
        parameter_length,
    };
    let (_bench, _, lun, mut conn) = one_lun(TargetConfig::default());
    assert_eq!(conn.fails(lun, sanitize(2, 0)).asc, Asc::INVALID_OPERATION_CODE);
    let (_bench, _, lun, mut conn) =
        one_lun(TargetConfig { allow_sanitize: true, ..TargetConfig::default() });
    assert_eq!(conn.put(lun, write(0, 8), &pattern(8, 1)).0, GOOD);
    assert_eq!(conn.run(lun, sanitize(2, 0), 0).0, GOOD);
    assert_eq!(conn.read(lun, 0, 8), vec![0; 4096]);
    assert_eq!(conn.put(lun, sanitize(1, 6), &[0x82, 0, 0, 2, 0xaa, 0x55]).0, GOOD);
    assert_eq!(conn.read(lun, 4095, 1), [0x55, 0xaa].repeat(256), "inverted an odd number of times");
    assert_eq!(conn.fails(lun, sanitize(9, 0)).asc, Asc::INVALID_FIELD_IN_CDB);
}

// ---- planted defects

/// A probe is true when the target is right.
type Probe = fn(TargetConfig) -> bool;

const PROBES: [(&str, Probe); 10] = [
    ("unmap_answers_twice", |config| {
        let (_bench, _, lun, mut conn) = one_lun(config);
        let list = unmap::build(&[UnmapRange { lba: 0, blocks: 8 }, UnmapRange { lba: 4096, blocks: 8 }]);
        let cdb = Cdb::Unmap { anchor: false, parameter_length: list.len() as u16 };
        assert_eq!(conn.put(lun, cdb, &list).0, Status::CHECK_CONDITION);
        conn.rest().is_empty()
    }),
    ("unmap_hides_failure", |config| {
        // A part of an extent that a snapshot shares needs space, which the full pool has not.
        let mut bench = Bench::with(config);
        let id = bench.lun("big", 1 << 17);
        let lun = bench.map(DeviceId::Lun(id));
        let mut conn = bench.ready(lun);
        for lba in (0..1u64 << 16).step_by(MAX_WRITE_SAME_BLOCKS as usize) {
            let (protect, anchor, unmap, no_data_out) = (0, false, false, false);
            let (width, blocks) = (Width::Sixteen, MAX_WRITE_SAME_BLOCKS as u32);
            let same = WriteSame { width, lba, blocks, protect, anchor, unmap, no_data_out };
            assert_eq!(conn.put(lun, Cdb::WriteSame(same), &pattern(1, 1)).0, GOOD);
        }
        let (name, description) = ("s".to_owned(), String::new());
        let snapshot = bench.apply(Command::CreateSnapshot { name, description, parent: id });
        bench.apply(Command::ActivateSnapshots { ids: vec![snapshot] });
        let list = unmap::build(&[UnmapRange { lba: 1, blocks: 1 }, UnmapRange { lba: 100_000, blocks: 8 }]);
        let cdb = Cdb::Unmap { anchor: false, parameter_length: list.len() as u16 };
        let (status, ..) = conn.put(lun, cdb, &list);
        status == Status::CHECK_CONDITION
    }),
    ("compare_and_write_not_atomic", |config| {
        let (_bench, _, lun, mut conn) = one_lun(config);
        let lba = EXTENT_BLOCKS - 1;
        let cdb = Cdb::CompareAndWrite(Transfer::new(Width::Sixteen, lba, 2));
        let expected = [vec![0; 512], vec![1; 512]].concat();
        assert_eq!(conn.put(lun, cdb, &[expected, pattern(2, 1)].concat()).0, Status::CHECK_CONDITION);
        conn.read(lun, lba, 2) == vec![0; 1024]
    }),
    ("write_cache_hidden", |config| {
        let (bench, id, lun, mut conn) = one_lun(config);
        bench.parts.array.lock().set_write_cache(NOW, DeviceId::Lun(id), true).unwrap();
        mode_page(&mut conn, lun, page::CACHING, PageControl::Current) == caching(true)
    }),
    ("resize_not_told", |config| {
        let (bench, id, lun, mut conn) = one_lun(config);
        bench.apply(Command::ExpandLun { lun: id, blocks: 8192 });
        let (_, _, sense, _) = conn.run(lun, Cdb::TestUnitReady, 0);
        sense.is_some_and(|sense| sense.asc == Asc::CAPACITY_DATA_HAS_CHANGED)
    }),
    ("unmap_claimed_not_done", |config| {
        let (_bench, _, lun, mut conn) = one_lun(config);
        assert_eq!(conn.put(lun, write(0, 8), &pattern(8, 1)).0, GOOD);
        let list = unmap::build(&[UnmapRange { lba: 0, blocks: 8 }]);
        let cdb = Cdb::Unmap { anchor: false, parameter_length: list.len() as u16 };
        assert_eq!(conn.put(lun, cdb, &list).0, GOOD);
        conn.read(lun, 0, 8) == vec![0; 4096]
    }),
    ("copy_unchecked", |config| {
        let (bench, a, lun, mut conn) = one_lun(config);
        let secret = bench.lun("secret", 1024);
        bench.parts.array.lock().write(NOW, DeviceId::Lun(secret), 0, &pattern(1, 7)).unwrap();
        let wwn = |id| bench.parts.array.lock().device(DeviceId::Lun(id)).unwrap().wwn;
        let segment = Segment { destination: 1, blocks: 1, ..Segment::default() };
        let list = copy::build_list(1, 0, &[Cscd::naa(&wwn(secret)), Cscd::naa(&wwn(a))], &[segment]);
        let (_, sense) = extended_copy(&mut conn, lun, &list);
        sense == Some((SenseKey::COPY_ABORTED, Asc::COPY_TARGET_NOT_REACHABLE))
            && conn.read(lun, 0, 1) == vec![0; 512]
    }),
    ("attention_to_wrong_nexus", |config| {
        let (mut bench, _, lun, mut one) = one_lun(config);
        let mut two = bench.ready(lun);
        assert_eq!(mode_select(&mut one, lun, control(true, false), false), (GOOD, None));
        let heard = |conn: &mut Conn| conn.run(lun, Cdb::TestUnitReady, 0).0 == Status::CHECK_CONDITION;
        !heard(&mut one) && heard(&mut two)
    }),
    ("attention_on_inquiry", |config| {
        let (mut bench, _, lun, _) = one_lun(config);
        // The attention of the power on waits.
        let mut conn = bench.session();
        let inquiry = Cdb::Inquiry { evpd: false, page: 0, allocation: 96 };
        conn.run(lun, inquiry, 96).0 == GOOD
    }),
    ("conflict_not_reported", |config| {
        let (mut bench, _, lun, mut one) = one_lun(config);
        let mut two = bench.ready(lun);
        let out = |action| Cdb::PersistentReserveOut { action, scope: 0, kind: 3, parameter_length: 24 };
        let list = OutList { service_key: 1, ..OutList::default() };
        assert_eq!(one.put(lun, out(action::REGISTER), &list.build()).0, GOOD);
        let list = OutList { key: 1, ..OutList::default() };
        assert_eq!(one.put(lun, out(action::RESERVE), &list.build()).0, GOOD);
        let read = Cdb::Read(Transfer::new(Width::Ten, 0, 1));
        two.run(lun, read, 512).0 == Status::RESERVATION_CONFLICT
    }),
];

#[test]
fn each_defect_fails_its_own_probe_and_no_other() {
    for (probe_of, probe) in PROBES {
        assert!(probe(TargetConfig::default()), "{probe_of}: the right target passes");
        for (planted, _) in PROBES {
            let mut defects = TargetDefects::default();
            assert!(defects.set(planted));
            let passes = probe(TargetConfig { defects, ..TargetConfig::default() });
            // What is not done at all cannot fail in part.
            let masked = (probe_of, planted) == ("unmap_hides_failure", "unmap_claimed_not_done");
            assert_eq!(passes, planted != probe_of && !masked, "probe of {probe_of} with {planted}");
        }
    }
}
