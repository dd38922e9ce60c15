//! Byte vectors: digests from RFC 7143 appendix A.4, headers laid out by hand from the tables of RFC 7143 section 11,
//! CDBs and parameter data laid out by hand from the tables of SPC-4 and SBC-3.

use bytes::{Bytes, BytesMut};
use sanbench_wire::frame::{Decoded, Digests, FrameLimits, Outbox, RawPdu, crc32c, decode};
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::capacity::Capacity16;
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Width, WriteSame};
use sanbench_wire::scsi::inquiry::Peripheral;
use sanbench_wire::scsi::luns::{self, Lun};
use sanbench_wire::scsi::sense::{Asc, FieldPointer, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_wire::scsi::unmap::{self, UnmapRange};
use sanbench_wire::scsi::vpd::{Association, Designator, Identifier, Vpd};
use sanbench_wire::{Bhs, Pdu, keys};

/// RFC 7143 appendix A.4: byte order of the digests as they travel.
#[test]
fn digests_of_the_rfc() {
    let read10: [u8; 48] = [
        0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0, 0x14, 0,
        0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
    ];
    let up: Vec<u8> = (0..32).collect();
    let down: Vec<u8> = (0..32).rev().collect();
    for (input, wire) in [
        (&[0u8; 32][..], [0xaa, 0x36, 0x91, 0x8a]),
        (&[0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
        (&up, [0x4e, 0x79, 0xdd, 0x46]),
        (&down, [0x5c, 0xdb, 0x3f, 0x11]),
        (&read10, [0x56, 0x3a, 0x96, 0xd9]),
    ] {
        assert_eq!(crc32c(input).to_le_bytes(), wire);
    }
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    // The last vector is a whole PDU: the outbox must put exactly these four bytes behind the header.
    let raw = RawPdu::new(Bhs(read10), Bytes::new(), Bytes::new());
    let mut out = Outbox::new();
    out.push(&raw, Digests { header: true, data: true });
    let wire = out.take_all();
    assert_eq!(&wire[..48], &read10);
    assert_eq!(&wire[48..], &[0x56, 0x3a, 0x96, 0xd9]);
    // And it is a READ (10) of the RFC's example: expected length 400h, CmdSN 14h, ExpStatSN 18h.
    let Ok(Pdu::ScsiCommand(command)) = Pdu::parse(&raw) else { panic!("not a command") };
    assert_eq!((command.itt, command.expected_length), (0x1400_0000, 0x400));
    assert_eq!((command.cmd_sn, command.exp_stat_sn), (0x14, 0x18));
    assert!(command.read && command.last && !command.write && !command.immediate);
    assert_eq!(Cdb::parse(&command.cdb), Cdb::Read(Transfer::new(Width::Ten, 0, 2)));
}

fn header(fields: &[(usize, &[u8])]) -> Bhs {
    let mut raw = [0; 48];
    for (at, bytes) in fields {
        raw[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    Bhs(raw)
}

/// Layouts of RFC 7143 sections 11.3 to 11.19, field offsets taken from the tables there.
#[test]
fn headers_by_the_tables() {
    let cases: Vec<(Pdu, Bhs)> = vec![
        (
            LoginRequest {
                stages: Stages { continues: false, current: Stage::Security, next: Some(Stage::Operational) },
                version_max: 0,
                version_min: 0,
                isid: [0x80, 1, 2, 3, 4, 5],
                tsih: 0x0607,
                itt: 0x0809_0a0b,
                cid: 0x0c0d,
                cmd_sn: 1,
                exp_stat_sn: 2,
                text: Bytes::new(),
            }
            .into(),
            header(&[
                (0, &[0x43, 0x81]),
                (8, &[0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0, 0]),
                (24, &[0, 0, 0, 1, 0, 0, 0, 2]),
            ]),
        ),
        (
            LoginResponse {
                stages: Stages {
                    continues: false,
                    current: Stage::Operational,
                    next: Some(Stage::FullFeature),
                },
                version_max: 0,
                version_active: 0,
                isid: [0; 6],
                tsih: 9,
                itt: 7,
                stat_sn: 1,
                exp_cmd_sn: 2,
                max_cmd_sn: 3,
                status: LoginStatus::AUTHENTICATION_FAILURE,
                text: Bytes::new(),
            }
            .into(),
            header(&[
                (0, &[0x23, 0x87]),
                (14, &[0, 9, 0, 0, 0, 7]),
                (24, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 2, 1]),
            ]),
        ),
        (
            DataOut {
                last: true,
                lun: Lun::from_number(1).unwrap(),
                itt: 2,
                ttt: 3,
                exp_stat_sn: 4,
                data_sn: 5,
                offset: 0x1_0000,
                data: Bytes::new(),
            }
            .into(),
            header(&[
                (0, &[0x05, 0x80]),
                (9, &[1]),
                (16, &[0, 0, 0, 2, 0, 0, 0, 3]),
                (28, &[0, 0, 0, 4]),
                (36, &[0, 0, 0, 5, 0, 1, 0, 0]),
            ]),
        ),
        (
            DataIn {
                last: true,
                acknowledge: false,
                status: Some(DataInStatus {
                    status: Status::GOOD,
                    stat_sn: 6,
                    residual: Residual::Underflow(512),
                }),
                lun: Lun::ZERO,
                itt: 2,
                ttt: 0xffff_ffff,
                exp_cmd_sn: 7,
                max_cmd_sn: 8,
                data_sn: 1,
                offset: 8192,
                data: Bytes::new(),
            }
            .into(),
            header(&[
                (0, &[0x25, 0x83]),
                (16, &[0, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0, 8]),
                (36, &[0, 0, 0, 1, 0, 0, 0x20, 0, 0, 0, 2, 0]),
            ]),
        ),
        (
            R2t {
                lun: Lun::from_number(300).unwrap(),
                itt: 1,
                ttt: 2,
                stat_sn: 3,
                exp_cmd_sn: 4,
                max_cmd_sn: 5,
                r2t_sn: 6,
                offset: 7,
                length: 8,
            }
            .into(),
            header(&[
                (0, &[0x31, 0x80]),
                (8, &[0x41, 0x2c]),
                (
                    16,
                    &[
                        0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7,
                        0, 0, 0, 8,
                    ],
                ),
            ]),
        ),
        (
            TaskManagementRequest {
                immediate: true,
                function: TaskFunction::ABORT_TASK,
                lun: Lun::ZERO,
                itt: 1,
                referenced_itt: 2,
                cmd_sn: 3,
                exp_stat_sn: 4,
                ref_cmd_sn: 5,
                exp_data_sn: 6,
            }
            .into(),
            header(&[
                (0, &[0x42, 0x81]),
                (16, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6]),
            ]),
        ),
        (
            LogoutResponse {
                response: LogoutResponseCode::CID_NOT_FOUND,
                itt: 1,
                stat_sn: 2,
                exp_cmd_sn: 3,
                max_cmd_sn: 4,
                time2wait: 5,
                time2retain: 6,
            }
            .into(),
            header(&[
                (0, &[0x26, 0x80, 0x01]),
                (16, &[0, 0, 0, 1]),
                (24, &[0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]),
                (40, &[0, 5, 0, 6]),
            ]),
        ),
        (
            AsyncMessage {
                lun: Lun::ZERO,
                stat_sn: 1,
                exp_cmd_sn: 2,
                max_cmd_sn: 3,
                event: AsyncEvent::LOGOUT_REQUESTED,
                vendor_code: 0,
                parameters: [0, 0, 10],
                data: Bytes::new(),
            }
            .into(),
            header(&[
                (0, &[0x32, 0x80]),
                (16, &[255, 255, 255, 255]),
                (24, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 10]),
            ]),
        ),
    ];
    for (pdu, bhs) in cases {
        assert_eq!(pdu.emit().bhs.0, bhs.0, "{pdu:?}");
        assert_eq!(Pdu::parse(&pdu.emit()), Ok(pdu));
    }
}

#[test]
fn sense_travels_behind_its_length() {
    let sense = Sense::new(SenseKey::ILLEGAL_REQUEST, Asc::LBA_OUT_OF_RANGE).build_fixed();
    let raw = ScsiResponse {
        response: ResponseCode::COMPLETED,
        status: Status::CHECK_CONDITION,
        residual: Residual::None,
        itt: 1,
        snack_tag: 0,
        stat_sn: 1,
        exp_cmd_sn: 2,
        max_cmd_sn: 3,
        exp_data_sn: 0,
        sense: Bytes::copy_from_slice(&sense),
        response_data: Bytes::new(),
    }
    .emit();
    // RFC 7143 section 11.4.7: SenseLength, then sense data; SPC-4 clause 4.5.3: fixed format.
    assert_eq!(raw.data[..], [0, 18, 0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0]);
    let mut cut = raw.clone();
    cut.data = raw.data.slice(..10);
    assert!(ScsiResponse::parse(&cut).is_err(), "sense length beyond the data segment");
}

#[test]
fn cdbs_by_the_tables() {
    let rows: &[(Cdb, &[u8])] = &[
        (Cdb::Read(Transfer::new(Width::Six, 0x1f_0203, 256)), &[0x08, 0x1f, 2, 3, 0, 0]),
        (
            Cdb::Write(Transfer { fua: true, ..Transfer::new(Width::Ten, 0x0102_0304, 0x0506) }),
            &[0x2a, 0x08, 1, 2, 3, 4, 0, 5, 6, 0],
        ),
        (
            Cdb::Read(Transfer::new(Width::Twelve, 0x0102_0304, 0x0506_0708)),
            &[0xa8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0],
        ),
        (
            Cdb::Write(Transfer { protect: 1, ..Transfer::new(Width::Sixteen, 0x0102_0304_0506_0708, 9) }),
            &[0x8a, 0x20, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 0, 0],
        ),
        (
            Cdb::WriteSame(WriteSame {
                width: Width::Sixteen,
                lba: 1,
                blocks: 2,
                protect: 0,
                anchor: false,
                unmap: true,
                no_data_out: true,
            }),
            &[0x93, 0x09, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0],
        ),
        (
            Cdb::GetLbaStatus { lba: 5, allocation: 24 },
            &[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 24, 0, 0],
        ),
        (Cdb::ReadCapacity16 { allocation: 32 }, &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]),
        (Cdb::ReportLuns { select: 2, allocation: 0x1000 }, &[0xa0, 0, 2, 0, 0, 0, 0, 0, 0x10, 0, 0, 0]),
        (Cdb::Unmap { anchor: false, parameter_length: 24 }, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]),
        (Cdb::Inquiry { evpd: true, page: 0x83, allocation: 0x00fc }, &[0x12, 1, 0x83, 0, 0xfc, 0]),
    ];
    for (cdb, bytes) in rows {
        let mut full = [0; 16];
        full[..bytes.len()].copy_from_slice(bytes);
        assert_eq!(cdb.build(), Ok(full), "{cdb:?}");
        assert_eq!(Cdb::parse(&full), *cdb);
    }
    assert!(Cdb::Read(Transfer::new(Width::Six, 0x20_0000, 1)).build().is_err());
    assert!(Cdb::Read(Transfer::new(Width::Six, 0, 0)).build().is_err());
    assert!(Cdb::Read(Transfer::new(Width::Ten, 0, 0x1_0000)).build().is_err());
}

#[test]
fn parameter_data_by_the_tables() {
    // SBC-3 table of READ CAPACITY (16): LBPME and LBPRZ are bits 7 and 6 of byte 14.
    let capacity = Capacity16 {
        last_lba: 0x1_0000_0001,
        block_length: 512,
        protection: false,
        protection_type: 0,
        physical_exponent: 3,
        thin: true,
        unmapped_reads_zero: true,
        lowest_aligned: 0,
    };
    assert_eq!(capacity.build()[..16], [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 2, 0, 0, 3, 0xc0, 0]);
    // SBC-3 UNMAP parameter list: 6 more than the descriptors, descriptors, reserved, LBA, count, reserved.
    assert_eq!(
        unmap::build(&[UnmapRange { lba: 0x10, blocks: 0x20 }]),
        [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0x20, 0, 0, 0, 0]
    );
    assert!(unmap::parse(&[0, 22, 0, 16, 0, 0, 0, 0, 0]).is_err());
    // SAM-5 LUN formats.
    assert_eq!(Lun::from_number(255).unwrap().0[..2], [0, 255]);
    assert_eq!(Lun::from_number(256).unwrap().0[..2], [0x41, 0]);
    assert_eq!(Lun::from_number(0x4000), None);
    assert_eq!(Lun([0, 1, 0, 1, 0, 0, 0, 0]).number(), None, "two-level");
    assert_eq!(luns::build(&[Lun::ZERO]), [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // SPC-4 device identification page, one NAA designator of the logical unit.
    let naa = [0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let page = Vpd::DeviceId(vec![Designator {
        association: Association::LogicalUnit,
        protocol: None,
        id: Identifier::Naa(naa.to_vec()),
    }]);
    let bytes = page.build(Peripheral::DISK);
    assert_eq!(bytes[..8], [0, 0x83, 0, 20, 0x01, 0x03, 0, 16]);
    assert_eq!(bytes[8..], naa);
    // Field pointer: INVALID FIELD IN CDB, byte 2 bit 7 (SPC-4 table of the field pointer).
    let sense = Sense {
        field: Some(FieldPointer { in_cdb: true, bit: Some(7), byte: 2 }),
        ..Sense::new(SenseKey::ILLEGAL_REQUEST, Asc::INVALID_FIELD_IN_CDB)
    };
    assert_eq!(sense.build_fixed()[15..], [0xcf, 0, 2]);
    assert_eq!(sense.to_string(), "ILLEGAL REQUEST 24h/00h (INVALID FIELD IN CDB)");
}

#[test]
fn text_keys() {
    let limits = keys::KeyLimits::RFC;
    let pairs = keys::decode(b"HeaderDigest=CRC32C,None\0X-com.example=\0\0\0", limits).unwrap();
    assert_eq!(pairs[0], ("HeaderDigest".into(), "CRC32C,None".into()));
    assert_eq!(pairs[1].1, "");
    assert_eq!(keys::encode([("a", "b"), ("c", "")]), b"a=b\0c=\0");
    assert_eq!(keys::decode(b"a=b", limits), Err(keys::KeyError::Unterminated));
    assert_eq!(keys::decode(b"ab\0", limits), Err(keys::KeyError::NoEquals));
    assert_eq!(keys::decode(b"=b\0", limits), Err(keys::KeyError::BadKey));
    assert_eq!(keys::decode(b"a=\x01\0", limits), Err(keys::KeyError::BadValue));
    let tight = keys::KeyLimits { max_pairs: 1, max_key: 1, max_value: 1 };
    assert_eq!(keys::decode(b"a=b\0c=d\0", tight), Err(keys::KeyError::TooMany { limit: 1 }));
    assert_eq!(keys::decode(b"a=bb\0", tight), Err(keys::KeyError::ValueTooLong { limit: 1 }));
    // RFC 4648 section 10 test vectors.
    for (plain, text) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
        assert_eq!(keys::encode_base64(plain.as_bytes()), format!("0b{text}"));
        assert_eq!(keys::decode_binary(&format!("0b{text}"), 6).unwrap(), plain.as_bytes());
    }
    assert_eq!(keys::decode_binary("0xABc", 2), Some(vec![0x0a, 0xbc]));
    assert_eq!(keys::decode_binary("0xabcd", 1), None, "over the bound");
    for bad in ["", "0", "0x", "0xzz", "0b", "0bZg=", "0bZh==", "zz", "0b=="] {
        assert_eq!(keys::decode_binary(bad, 100), None, "{bad}");
    }
}

#[test]
fn frames_wait_break_and_tell_digest_errors() {
    let digests = Digests { header: true, data: true };
    let limits = FrameLimits { max_data_segment: 64, max_ahs: 16 };
    let nop = NopOut {
        immediate: true,
        lun: Lun::ZERO,
        itt: 1,
        ttt: 0xffff_ffff,
        cmd_sn: 1,
        exp_stat_sn: 1,
        data: Bytes::from_static(b"hello"),
    };
    let mut out = Outbox::new();
    Pdu::from(nop.clone()).push_to(&mut out, digests);
    let wire = out.take_all();
    assert_eq!(wire.len(), 48 + 4 + 8 + 4);
    for cut in 0..wire.len() {
        let mut buf = BytesMut::from(&wire[..cut]);
        let Ok(Decoded::NeedMore(n)) = decode(&mut buf, limits, digests) else { panic!("cut at {cut}") };
        assert!(n >= 1 && cut + n <= wire.len(), "asks for no more than it needs");
        assert_eq!(buf.len(), cut);
    }
    let mut buf = BytesMut::from(&wire[..]);
    let Ok(Decoded::Pdu(raw)) = decode(&mut buf, limits, digests) else { panic!() };
    assert_eq!(Pdu::parse(&raw), Ok(nop.into()));
    // Every single damaged byte is found: in the header it breaks the stream, in data or padding it marks the data.
    for at in 0..wire.len() {
        let mut damaged = BytesMut::from(&wire[..]);
        damaged[at] ^= 0x10;
        match decode(&mut damaged, limits, digests) {
            Err(_) => assert!(at < 52, "byte {at}"),
            Ok(Decoded::Pdu(raw)) => assert!(at >= 52 && !raw.data_digest_ok, "byte {at}"),
            // A damaged AHS length within the limit makes the header longer than what has arrived.
            Ok(Decoded::NeedMore(_)) => assert_eq!(at, 4),
        }
    }
    let mut long = BytesMut::from(&[0u8; 48][..]);
    long[7] = 65;
    assert!(decode(&mut long, limits, Digests::default()).is_err());
}
