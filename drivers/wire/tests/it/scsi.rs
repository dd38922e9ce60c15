//! CDBs and parameter data of reservations, access states, copies and opcodes: what is built is parsed back, and no parser
//! panics on arbitrary bytes.

use proptest::prelude::*;
use sanbench_wire::scsi::alua::{self, AccessState, PortGroup, PortGroups, StatusCode, Supported};
use sanbench_wire::scsi::cdb::Cdb;
use sanbench_wire::scsi::copy::{self, CopyStatus, Cscd, Header, OperatingParameters, Segment};
use sanbench_wire::scsi::mode::ModeData;
use sanbench_wire::scsi::opcodes::{self, Timeouts};
use sanbench_wire::scsi::reservation::{
    self as pr, Capabilities, FullStatus, Kind, MoveList, OutList, TransportId,
};

fn name() -> impl Strategy<Value = TransportId> {
    ("iqn\\.2026-01\\.org:[a-z0-9.-]{1,60}", prop::option::of(any::<[u8; 6]>()))
        .prop_map(|(initiator, isid)| TransportId { initiator, isid })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is parsed is built again so that it parses to the same.
    #[test]
    fn every_cdb_that_parses_can_be_built(raw in any::<[u8; 16]>()) {
        let cdb = Cdb::parse(&raw);
        let built = cdb.build().expect("every parsed value fits its field");
        prop_assert_eq!(Cdb::parse(&built), cdb);
    }

    #[test]
    fn reservations(generation in any::<u32>(), key in any::<u64>(), kind in 0..16u8, id in name(), bits in any::<[bool; 5]>(), port in any::<u16>()) {
        let keys = vec![key, !key, 1];
        prop_assert_eq!(pr::parse_keys(&pr::build_keys(generation, &keys)), Ok((generation, keys)));
        let held = bits[0].then_some((key, Kind(kind)));
        prop_assert_eq!(pr::parse_reservation(&pr::build_reservation(generation, held)), Ok((generation, held)));
        let all = vec![FullStatus { key, holds: bits[1].then_some(Kind(kind)), port, initiator: id.clone() }; 3];
        prop_assert_eq!(pr::parse_full_status(&pr::build_full_status(generation, &all)), Ok((generation, all)));
        let list = OutList { key, service_key: !key, specify_initiators: bits[0], all_target_ports: bits[1], persist: bits[2] };
        prop_assert_eq!(OutList::parse(&list.build()), Some(list));
        let list = MoveList { key, service_key: !key, unregister: bits[3], persist: bits[4], port, initiator: id };
        prop_assert_eq!(MoveList::parse(&list.build()), Ok(list));
        let [compatible_reservations, specify_initiators, all_target_ports, persist, persist_active] = bits;
        let all = Capabilities { compatible_reservations, specify_initiators, all_target_ports, persist, persist_active };
        prop_assert_eq!(Capabilities::parse(&all.build()), Ok(all));
    }

    #[test]
    fn port_groups(id in any::<u16>(), state in 0..16u8, ports in prop::collection::vec(any::<u16>(), 0..9), bits in any::<[bool; 6]>(), seconds in prop::option::of(any::<u8>())) {
        let [transitioning, offline, unavailable, standby, non_optimized, optimized] = bits;
        let supported = Supported { transitioning, offline, unavailable, standby, non_optimized, optimized };
        let group = PortGroup { preferred: bits[0], state: AccessState(state), supported, id, status: StatusCode(2), ports };
        let groups = PortGroups { transition_time: seconds, groups: vec![group.clone(), group] };
        prop_assert_eq!(PortGroups::parse(&groups.build(), seconds.is_some()), Ok(groups));
        let set = vec![(id, AccessState(state)), (!id, AccessState(0))];
        prop_assert_eq!(alua::parse_set(&alua::build_set(&set)), Ok(set));
    }

    #[test]
    fn copies(n in any::<[u16; 4]>(), big in any::<[u32; 3]>(), lba in any::<u64>(), bits in any::<[bool; 2]>(), wwn in any::<[u8; 16]>()) {
        let header = Header { list: n[0] as u8, striped: bits[0], usage: n[1] as u8 & 3, priority: n[2] as u8 & 7, cscd_bytes: n[3], segment_bytes: big[0], inline_bytes: big[1] };
        prop_assert_eq!(Header::parse(&header.build()), Ok(header));
        let unit = Cscd::naa(&wwn);
        prop_assert_eq!(Cscd::parse(&unit.build()), Ok(unit));
        let segment = Segment { destination_count: bits[0], residual: bits[1], source: n[0], destination: n[1], blocks: n[2], source_lba: lba, destination_lba: !lba };
        prop_assert_eq!(Segment::parse(&segment.build()), Ok(segment));
        let status = CopyStatus { status: n[0] as u8 & 0x7f, segments: n[1], bytes: big[0] };
        prop_assert_eq!(CopyStatus::parse(&status.build()), Ok(status));
        let limits = OperatingParameters { no_list: bits[0], cscds: n[0], segments: n[1], list_bytes: big[0], segment_bytes: big[1], concurrent: n[2] as u8, granularity: n[3] as u8 };
        prop_assert_eq!(OperatingParameters::parse(&limits.build()), Ok(limits));
    }

    #[test]
    fn supported_opcodes(opcode in any::<u8>(), action in prop::option::of(any::<u16>()), times in prop::option::of(any::<[u32; 2]>())) {
        let timeouts = times.map(|[nominal, recommended]| Timeouts { nominal, recommended });
        let one = opcodes::Supported { opcode, action, length: 12, timeouts };
        prop_assert_eq!(opcodes::parse_all(&opcodes::build_all(&[one; 3])), Ok(vec![one; 3]));
        let usage = vec![opcode; 12];
        prop_assert_eq!(opcodes::parse_one(&opcodes::build_one(Some(&usage), timeouts)), Ok(Some((usage, timeouts))));
        prop_assert_eq!(opcodes::parse_one(&opcodes::build_one(None, timeouts)), Ok(None));
    }

    #[test]
    fn nothing_panics_on_arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = pr::parse_keys(&bytes);
        let _ = pr::parse_reservation(&bytes);
        let _ = pr::parse_full_status(&bytes);
        let _ = OutList::parse(&bytes);
        let _ = MoveList::parse(&bytes);
        let _ = TransportId::parse(&bytes);
        let _ = Capabilities::parse(&bytes);
        let _ = PortGroups::parse(&bytes, true);
        let _ = PortGroups::parse(&bytes, false);
        let _ = alua::parse_set(&bytes);
        let _ = Header::parse(&bytes);
        let _ = Cscd::parse(&bytes);
        let _ = Segment::parse(&bytes);
        let _ = copy::CopyStatus::parse(&bytes);
        let _ = OperatingParameters::parse(&bytes);
        let _ = opcodes::parse_all(&bytes);
        let _ = opcodes::parse_one(&bytes);
        let _ = ModeData::parse_select6(&bytes);
        let _ = ModeData::parse_select10(&bytes);
    }
}
