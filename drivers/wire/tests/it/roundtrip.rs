//! `parse(emit(x)) == x` for generated values, and no parser panics on arbitrary bytes.

use bytes::{Buf, Bytes, BytesMut};
use proptest::prelude::*;
use sanbench_wire::frame::{Decoded, Digests, FrameLimits, Outbox, RawPdu, decode};
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::capacity::{Capacity10, Capacity16};
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Verify, Width, WriteSame};
use sanbench_wire::scsi::inquiry::{Peripheral, StandardInquiry};
use sanbench_wire::scsi::lba_status::{self, LbaStatus};
use sanbench_wire::scsi::luns::{self, Lun};
use sanbench_wire::scsi::mode::{BlockDescriptor, Caching, Control, ModeData, ModePage, PageControl};
use sanbench_wire::scsi::sense::{Asc, FieldPointer, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_wire::scsi::unmap::{self, UnmapRange};
use sanbench_wire::scsi::vpd::{self, Association, Designator, Identifier, Vpd};
use sanbench_wire::{Bhs, Pdu, keys};

fn data() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..1500).prop_map(Bytes::from)
}

fn stages() -> impl Strategy<Value = Stages> {
    let stage = || prop_oneof![Just(Stage::Security), Just(Stage::Operational), Just(Stage::FullFeature)];
    (any::<bool>(), stage(), prop::option::of(stage())).prop_map(|(continues, current, next)| Stages {
        continues,
        current,
        next,
    })
}

fn residual() -> impl Strategy<Value = Residual> {
    prop_oneof![
        Just(Residual::None),
        any::<u32>().prop_map(Residual::Underflow),
        any::<u32>().prop_map(Residual::Overflow)
    ]
}

/// One strategy for every PDU: a pool of numbers and flags, and the variant to fill from it.
fn pdu() -> impl Strategy<Value = Pdu> {
    (0..18u8, any::<[u32; 10]>(), any::<[bool; 4]>(), any::<[u8; 16]>(), stages(), residual(), data(), data())
        .prop_map(|(which, n, b, raw, stages, residual, data, more)| {
            let lun = Lun([raw[0], raw[1], raw[2], raw[3], raw[4], raw[5], raw[6], raw[7]]);
            let isid = [raw[0], raw[1], raw[2], raw[3], raw[4], raw[5]];
            let (s, e, m) = (n[5], n[6], n[7]);
            match which {
                0 => NopOut { immediate: b[0], lun, itt: n[0], ttt: n[1], cmd_sn: s, exp_stat_sn: e, data }
                    .into(),
                1 => {
                    NopIn { lun, itt: n[0], ttt: n[1], stat_sn: s, exp_cmd_sn: e, max_cmd_sn: m, data }.into()
                }
                2 => ScsiCommand {
                    immediate: b[0],
                    last: b[1],
                    read: b[2],
                    write: b[3],
                    attribute: TaskAttribute(raw[0] & 7),
                    lun,
                    itt: n[0],
                    expected_length: n[1],
                    cmd_sn: s,
                    exp_stat_sn: e,
                    cdb: raw,
                    ahs: more.slice(..more.len().min(60) / 4 * 4),
                    data,
                }
                .into(),
                3 => {
                    let response_data = data.slice(..data.len() / 2);
                    ScsiResponse {
                        response: ResponseCode(raw[0]),
                        status: Status(raw[1]),
                        residual,
                        itt: n[0],
                        snack_tag: n[1],
                        stat_sn: s,
                        exp_cmd_sn: e,
                        max_cmd_sn: m,
                        exp_data_sn: n[2],
                        sense: more,
                        response_data,
                    }
                    .into()
                }
                4 => TaskManagementRequest {
                    immediate: b[0],
                    function: TaskFunction(raw[0] & 0x7f),
                    lun,
                    itt: n[0],
                    referenced_itt: n[1],
                    cmd_sn: s,
                    exp_stat_sn: e,
                    ref_cmd_sn: n[2],
                    exp_data_sn: n[3],
                }
                .into(),
                5 => TaskManagementResponse {
                    response: TaskResponse(raw[0]),
                    itt: n[0],
                    stat_sn: s,
                    exp_cmd_sn: e,
                    max_cmd_sn: m,
                }
                .into(),
                6 => LoginRequest {
                    stages,
                    version_max: raw[6],
                    version_min: raw[7],
                    isid,
                    tsih: n[1] as u16,
                    itt: n[0],
                    cid: n[2] as u16,
                    cmd_sn: s,
                    exp_stat_sn: e,
                    text: data,
                }
                .into(),
                7 => LoginResponse {
                    stages,
                    version_max: raw[6],
                    version_active: raw[7],
                    isid,
                    tsih: n[1] as u16,
                    itt: n[0],
                    stat_sn: s,
                    exp_cmd_sn: e,
                    max_cmd_sn: m,
                    status: LoginStatus(n[2] as u16),
                    text: data,
                }
                .into(),
                8 => TextRequest {
                    immediate: b[0],
                    last: b[1],
                    continues: b[2],
                    lun,
                    itt: n[0],
                    ttt: n[1],
                    cmd_sn: s,
                    exp_stat_sn: e,
                    text: data,
                }
                .into(),
                9 => TextResponse {
                    last: b[1],
                    continues: b[2],
                    lun,
                    itt: n[0],
                    ttt: n[1],
                    stat_sn: s,
                    exp_cmd_sn: e,
                    max_cmd_sn: m,
                    text: data,
                }
                .into(),
                10 => DataOut {
                    last: b[0],
                    lun,
                    itt: n[0],
                    ttt: n[1],
                    exp_stat_sn: e,
                    data_sn: n[2],
                    offset: n[3],
                    data,
                }
                .into(),
                11 => DataIn {
                    last: b[0],
                    acknowledge: b[1],
                    status: b[2].then_some(DataInStatus { status: Status(raw[0]), stat_sn: s, residual }),
                    lun,
                    itt: n[0],
                    ttt: n[1],
                    exp_cmd_sn: e,
                    max_cmd_sn: m,
                    data_sn: n[2],
                    offset: n[3],
                    data,
                }
                .into(),
                12 => R2t {
                    lun,
                    itt: n[0],
                    ttt: n[1].min(u32::MAX - 1),
                    stat_sn: s,
                    exp_cmd_sn: e,
                    max_cmd_sn: m,
                    r2t_sn: n[2],
                    offset: n[3],
                    length: n[4].max(1),
                }
                .into(),
                13 => LogoutRequest {
                    immediate: b[0],
                    reason: LogoutReason(raw[0] & 0x7f),
                    itt: n[0],
                    cid: n[1] as u16,
                    cmd_sn: s,
                    exp_stat_sn: e,
                }
                .into(),
                14 => LogoutResponse {
                    response: LogoutResponseCode(raw[0]),
                    itt: n[0],
                    stat_sn: s,
                    exp_cmd_sn: e,
                    max_cmd_sn: m,
                    time2wait: n[1] as u16,
                    time2retain: n[2] as u16,
                }
                .into(),
                15 => AsyncMessage {
                    lun,
                    stat_sn: s,
                    exp_cmd_sn: e,
                    max_cmd_sn: m,
                    event: AsyncEvent(raw[9]),
                    vendor_code: raw[10],
                    parameters: [n[0] as u16, n[1] as u16, n[2] as u16],
                    data,
                }
                .into(),
                16 => Reject {
                    reason: RejectReason(raw[0]),
                    stat_sn: s,
                    exp_cmd_sn: e,
                    max_cmd_sn: m,
                    data_sn: n[0],
                    header: data,
                }
                .into(),
                _ => Snack {
                    kind: SnackType(raw[0] & 0x0f),
                    lun,
                    itt: n[0],
                    ttt: n[1],
                    exp_stat_sn: e,
                    begin: n[2],
                    run_length: n[3],
                }
                .into(),
            }
        })
}

fn cdb() -> impl Strategy<Value = Cdb> {
    let width = prop_oneof![Just(Width::Six), Just(Width::Ten), Just(Width::Twelve), Just(Width::Sixteen)];
    (0..16u8, width, any::<u64>(), any::<u32>(), any::<[bool; 3]>(), any::<[u8; 4]>()).prop_map(
        |(which, width, lba, blocks, b, raw)| {
            let (lba, blocks) = match width {
                Width::Six => (lba & 0x1f_ffff, blocks % 256 + 1),
                Width::Ten => (lba & 0xffff_ffff, blocks & 0xffff),
                Width::Twelve => (lba & 0xffff_ffff, blocks),
                Width::Sixteen => (lba, blocks),
            };
            let six = width == Width::Six;
            let wide = if width == Width::Sixteen { Width::Sixteen } else { Width::Ten };
            let (lba10, blocks10) =
                if wide == Width::Ten { (lba & 0xffff_ffff, blocks & 0xffff) } else { (lba, blocks) };
            let transfer = Transfer {
                width,
                lba,
                blocks,
                dpo: b[0] && !six,
                fua: b[1] && !six,
                protect: if six { 0 } else { raw[0] & 7 },
            };
            match which {
                0 => Cdb::TestUnitReady,
                1 => Cdb::RequestSense { descriptor: b[0], allocation: raw[0] },
                2 => Cdb::Inquiry { evpd: b[0], page: raw[0], allocation: blocks as u16 },
                3 => Cdb::ModeSense {
                    width: if six { Width::Six } else { Width::Ten },
                    no_descriptors: b[0],
                    long_lba: b[1] && !six,
                    control: PageControl::from_bits(raw[0]),
                    page: raw[1] & 0x3f,
                    subpage: raw[2],
                    allocation: u16::from(raw[3]) << if six { 0 } else { 8 },
                },
                4 => Cdb::StartStopUnit {
                    immediate: b[0],
                    power_condition: raw[0] & 15,
                    no_flush: b[1],
                    load_eject: b[2],
                    start: raw[1] & 1 != 0,
                },
                5 => Cdb::ReadCapacity10,
                6 => Cdb::ReadCapacity16 { allocation: blocks },
                7 => Cdb::GetLbaStatus { lba, allocation: blocks },
                8 => Cdb::ReportLuns { select: raw[0], allocation: blocks },
                9 => Cdb::Read(transfer),
                10 => Cdb::Write(transfer),
                11 => {
                    let width = if six { Width::Ten } else { width };
                    let dpo = b[0];
                    Cdb::Verify(Verify {
                        width,
                        lba,
                        blocks,
                        dpo,
                        byte_check: raw[0] & 3,
                        protect: raw[1] & 7,
                    })
                }
                12 => Cdb::SynchronizeCache { width: wide, lba: lba10, blocks: blocks10, immediate: b[0] },
                13 => Cdb::WriteSame(WriteSame {
                    width: wide,
                    lba: lba10,
                    blocks: blocks10,
                    protect: raw[0] & 7,
                    anchor: b[0],
                    unmap: b[1],
                    no_data_out: b[2] && wide == Width::Sixteen,
                }),
                14 => Cdb::Unmap { anchor: b[0], parameter_length: blocks as u16 },
                _ => Cdb::Unknown([0xc1; 16]),
            }
        },
    )
}

proptest! {
    #[test]
    fn pdus(pdu in pdu()) {
        prop_assert_eq!(Pdu::parse(&pdu.emit()), Ok(pdu));
    }

    /// Several PDUs, with any digests, cut anywhere: the same PDUs come out.
    #[test]
    fn streams(pdus in prop::collection::vec(pdu(), 1..6), header: bool, data: bool, piece in 1..400usize) {
        let digests = Digests { header, data };
        let limits = FrameLimits { max_data_segment: 4096, max_ahs: 1020 };
        let mut out = Outbox::new();
        for pdu in &pdus {
            pdu.push_to(&mut out, digests);
        }
        let total = out.len();
        let mut buf = BytesMut::new();
        let mut seen = Vec::new();
        let mut sent = 0;
        while !out.is_empty() {
            let mut slices = [std::io::IoSlice::new(&[]); 8];
            let used = out.chunks_vectored(&mut slices);
            prop_assert!(used > 0);
            prop_assert_eq!(&slices[0][..], out.chunk());
            let n = out.chunk().len().min(piece);
            buf.extend_from_slice(&out.chunk()[..n]);
            out.advance(n);
            sent += n;
            while let Decoded::Pdu(raw) = decode(&mut buf, limits, digests).unwrap() {
                prop_assert!(raw.data_digest_ok);
                seen.push(Pdu::parse(&raw).unwrap());
            }
        }
        prop_assert_eq!(sent, total);
        prop_assert_eq!(seen, pdus);
        prop_assert!(buf.is_empty());
    }

    /// A data segment in parts is on the wire what it is in one piece.
    #[test]
    fn parts(parts in prop::collection::vec(data(), 0..5), header: bool, data: bool) {
        let digests = Digests { header, data };
        let bhs = Bhs::new(sanbench_wire::Opcode::DataIn, false, 0x80);
        let whole: Bytes = parts.iter().flat_map(|p| p.to_vec()).collect::<Vec<u8>>().into();
        let (mut a, mut b) = (Outbox::new(), Outbox::new());
        a.push_parts(bhs, &[], &parts, digests);
        b.push(&RawPdu::new(bhs, Bytes::new(), whole), digests);
        prop_assert_eq!(a.take_all(), b.take_all());
    }

    #[test]
    fn cdbs(cdb in cdb()) {
        prop_assert_eq!(Cdb::parse(&cdb.build().unwrap()), cdb);
    }

    #[test]
    fn binary_values(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        prop_assert_eq!(keys::decode_binary(&keys::encode_hex(&bytes), bytes.len()), Some(bytes.clone()));
        prop_assert_eq!(keys::decode_binary(&keys::encode_base64(&bytes), bytes.len()), Some(bytes.clone()));
        prop_assert_eq!(keys::decode_binary(&keys::encode_hex(&bytes), bytes.len() - 1), None);
        prop_assert_eq!(keys::decode_binary(&keys::encode_base64(&bytes), bytes.len() - 1), None);
    }

    #[test]
    fn text(pairs in prop::collection::vec(("[A-Za-z][A-Za-z0-9.]{0,20}", "[ -~]{0,40}"), 0..10)) {
        prop_assert_eq!(keys::decode(&keys::encode(pairs.clone()), keys::KeyLimits::RFC), Ok(pairs));
    }

    #[test]
    fn sense(key in 0..16u8, asc: u16, deferred: bool, info: Option<u64>, field: Option<(bool, Option<u8>, u16)>) {
        let sense = Sense {
            key: SenseKey(key),
            asc: Asc(asc),
            deferred,
            information: info,
            field: field.map(|(in_cdb, bit, byte)| FieldPointer { in_cdb, bit: bit.map(|b| b & 7), byte }),
        };
        prop_assert_eq!(Sense::parse(&sense.build_descriptor()), Some(sense));
        let fixed = Sense { information: info.filter(|i| *i <= u64::from(u32::MAX)), ..sense };
        prop_assert_eq!(Sense::parse(&fixed.build_fixed()), Some(fixed));
    }

    #[test]
    fn parameter_data(lbas in prop::collection::vec(any::<(u64, u32, u8)>(), 0..20), n: [u32; 8], b: [bool; 6], t in "[!-~]{0,8}") {
        let ranges: Vec<_> = lbas.iter().map(|(lba, blocks, _)| UnmapRange { lba: *lba, blocks: *blocks }).collect();
        prop_assert_eq!(unmap::parse(&unmap::build(&ranges)), Ok(ranges));
        let runs: Vec<_> = lbas.iter()
            .map(|(lba, blocks, s)| LbaStatus { lba: *lba, blocks: *blocks, status: lba_status::Provisioning(s & 15) })
            .collect();
        prop_assert_eq!(lba_status::parse(&lba_status::build(&runs)), Ok(runs));
        let list: Vec<_> = lbas.iter().map(|(lba, ..)| Lun(lba.to_be_bytes())).collect();
        prop_assert_eq!(luns::parse(&luns::build(&list)).unwrap().luns, list);
        let c10 = Capacity10 { last_lba: n[0], block_length: n[1] };
        prop_assert_eq!(Capacity10::parse(&c10.build()), Ok(c10));
        let c16 = Capacity16 {
            last_lba: u64::from(n[0]) << 32 | u64::from(n[1]),
            block_length: n[2],
            protection: b[0],
            protection_type: n[3] as u8 & 7,
            physical_exponent: n[4] as u8 & 15,
            thin: b[1],
            unmapped_reads_zero: b[2],
            lowest_aligned: n[5] as u16 & 0x3fff,
        };
        prop_assert_eq!(Capacity16::parse(&c16.build()), Ok(c16));
        let inquiry = StandardInquiry {
            peripheral: Peripheral::from_byte(n[0] as u8),
            version: 6,
            hierarchical: b[0],
            tpgs: n[1] as u8 & 3,
            third_party_copy: b[1],
            protect: b[2],
            command_queue: b[3],
            vendor: t.clone(),
            product: t.clone(),
            revision: t.chars().take(4).collect(),
            version_descriptors: vec![n[2] as u16 | 1, n[3] as u16 | 1],
        };
        prop_assert_eq!(StandardInquiry::parse(&inquiry.build()), Ok(inquiry));
        let mode = ModeData {
            write_protected: b[0],
            dpofua: b[1],
            descriptor: b[2].then_some(BlockDescriptor { blocks: n[0], block_length: n[1] & 0xff_ffff }),
            pages: vec![
                ModePage::Caching(Caching { write_cache: b[3], read_cache_disabled: b[4] }),
                ModePage::Control(Control {
                    descriptor_sense: b[5],
                    write_protect: b[0],
                    task_set_type: n[2] as u8 & 7,
                    queue_algorithm: n[3] as u8 & 15,
                    task_aborted_status: b[1],
                }),
                ModePage::Other { code: 0x1c, subpage: n[4] as u8, body: t.as_bytes().to_vec() },
            ],
        };
        prop_assert_eq!(ModeData::parse6(&mode.build6()), Ok(mode.clone()));
        prop_assert_eq!(ModeData::parse10(&mode.build10()), Ok(mode));
    }

    #[test]
    fn vpd_pages(n: [u32; 9], w: u64, b: [bool; 5], t in "[!-~]{1,30}", codes in prop::collection::vec(any::<u8>(), 0..20)) {
        let lu = |id| Designator { association: Association::LogicalUnit, protocol: None, id };
        let port = |id| Designator { association: Association::TargetPort, protocol: Some(5), id };
        let pages = [
            Vpd::Supported(codes),
            Vpd::Serial(t.clone()),
            Vpd::DeviceId(vec![
                lu(Identifier::Naa(w.to_be_bytes().to_vec())),
                lu(Identifier::T10(t.clone())),
                port(Identifier::RelativePort(n[0] as u16)),
                port(Identifier::PortGroup(n[1] as u16)),
                port(Identifier::Name(t)),
                lu(Identifier::Other { kind: 0, code_set: 1, value: vec![1, 2, 3] }),
            ]),
            Vpd::BlockLimits(vpd::BlockLimits {
                write_same_non_zero: b[0],
                max_compare_and_write: n[0] as u8,
                optimal_granularity: n[1] as u16,
                max_transfer: n[2],
                optimal_transfer: n[3],
                max_prefetch: n[4],
                max_unmap_blocks: n[5],
                max_unmap_descriptors: n[6],
                unmap_granularity: n[7],
                unmap_alignment: b[1].then_some(n[8] >> 1),
                max_write_same: w,
                max_atomic: n[0],
                atomic_alignment: n[1],
                atomic_granularity: n[2],
                max_atomic_with_boundary: n[3],
                max_atomic_boundary: n[4],
            }),
            Vpd::Extended(vpd::Extended {
                head_of_queue: b[0],
                ordered: b[1],
                simple: b[0] != b[1],
                volatile_cache: b[0] && b[1],
                luns_changed_together: b[1],
            }),
            Vpd::Characteristics(vpd::Characteristics {
                rotation_rate: n[0] as u16,
                product_type: n[1] as u8,
                after_block_erase: n[3] as u8 & 3,
                after_crypto_erase: n[4] as u8 & 3,
                form_factor: n[2] as u8 & 15,
            }),
            Vpd::Provisioning(vpd::Provisioning {
                threshold_exponent: n[0] as u8,
                unmap: b[0],
                write_same_16: b[1],
                write_same_10: b[2],
                unmapped_reads_zero: b[3],
                anchor: b[4],
                kind: n[1] as u8 & 7,
            }),
        ];
        for page in pages {
            prop_assert_eq!(Vpd::parse(&page.build(Peripheral::DISK)), Ok((Peripheral::DISK, page)));
        }
    }

    /// Whatever arrives, a parser answers; what it accepts, it can write again.
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), opcode in 0..64u8, head: bool, tail: bool) {
        let mut bytes = bytes;
        let limits = FrameLimits { max_data_segment: 200, max_ahs: 40 };
        let mut buf = BytesMut::from(&bytes[..]);
        while let Ok(Decoded::Pdu(_)) = decode(&mut buf, limits, Digests { header: head, data: tail }) {}
        if bytes.len() >= 48 {
            bytes[0] = opcode;
            let bhs = Bhs(bytes[..48].try_into().unwrap());
            let raw = RawPdu::new(bhs, Bytes::new(), Bytes::copy_from_slice(&bytes[48..]));
            if let Ok(pdu) = Pdu::parse(&raw) {
                prop_assert_eq!(Pdu::parse(&pdu.emit()), Ok(pdu));
            }
            let raw: [u8; 16] = bytes[..16].try_into().unwrap();
            let cdb = Cdb::parse(&raw);
            prop_assert_eq!(Cdb::parse(&cdb.build().unwrap()), cdb);
        }
        let _ = keys::decode(&bytes, keys::KeyLimits::RFC);
        let _ = keys::decode_binary(&String::from_utf8_lossy(&bytes), 64);
        let _ = Sense::parse(&bytes);
        let _ = Vpd::parse(&bytes);
        let _ = StandardInquiry::parse(&bytes);
        let _ = ModeData::parse6(&bytes);
        let _ = ModeData::parse10(&bytes);
        let _ = unmap::parse(&bytes);
        let _ = luns::parse(&bytes);
        let _ = lba_status::parse(&bytes);
        let _ = Capacity10::parse(&bytes);
        let _ = Capacity16::parse(&bytes);
    }
}
