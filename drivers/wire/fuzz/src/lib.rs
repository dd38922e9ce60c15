//! What the fuzz targets of the wire crate do with one input. `tests/fuzz_corpus.rs` includes this file too and replays the
//! corpora, so that a finding stays found without libFuzzer.
//!
//! No input may panic, and what can be read can be written and read again with the same meaning.
#![allow(unreachable_pub, dead_code, reason = "a library to libFuzzer, a module to the test that replays")]

use bytes::{Buf, BytesMut};
use sanbench_wire::frame::{Broken, Decoded, Digests, FrameLimits, Outbox, RawPdu, crc32c, decode};
use sanbench_wire::keys::{self, KeyLimits};
use sanbench_wire::scsi::capacity::{Capacity10, Capacity16};
use sanbench_wire::scsi::cdb::{self, Cdb};
use sanbench_wire::scsi::inquiry::StandardInquiry;
use sanbench_wire::scsi::luns::{self, Lun};
use sanbench_wire::scsi::mode::ModeData;
use sanbench_wire::scsi::sense::Sense;
use sanbench_wire::scsi::vpd::Vpd;
use sanbench_wire::scsi::{alua, copy, lba_status, opcodes, reservation, unmap};
use sanbench_wire::{Opcode, Pdu};

/// A byte stream: the first byte says which digests are on and how the stream is cut, the second bounds the lengths.
pub fn frame(data: &[u8]) {
    let [how, bound, stream @ ..] = data else { return };
    let digests = Digests { header: how & 1 != 0, data: how & 2 != 0 };
    let limits =
        FrameLimits { max_data_segment: usize::from(*bound) * 64, max_ahs: usize::from(how >> 2 & 3) * 340 };
    let whole = decode_in_pieces(stream, stream.len(), limits, digests);
    let pieces = decode_in_pieces(stream, usize::from(how >> 4) * 7 + 1, limits, digests);
    assert_eq!(whole, pieces, "how a stream is cut is nobody's business");
    for raw in &whole.0 {
        reread(raw, digests);
    }
    // The same PDUs with digests come back as they were, and a flipped bit never goes by unseen.
    let (plain, _) = decode_in_pieces(stream, stream.len(), limits, Digests::default());
    let mut out = Outbox::new();
    let both = Digests { header: true, data: true };
    plain.iter().for_each(|raw| out.push(raw, both));
    let sent = out.take_all();
    let (back, broken) = decode_in_pieces(&sent, sent.len(), limits, both);
    assert_eq!((&back, broken), (&plain, None));
    if !sent.is_empty() {
        let mut damaged = sent.to_vec();
        let at = usize::from(*how) * 31 % damaged.len();
        damaged[at] ^= 1 << (bound & 7);
        let (seen, broken) = decode_in_pieces(&damaged, damaged.len(), limits, both);
        let noticed =
            broken.is_some() || seen.len() < plain.len() || seen.iter().any(|raw| !raw.data_digest_ok);
        // Padding is covered by the data digest as well.
        assert!(noticed, "a flipped bit at {at} went by");
    }
}

fn decode_in_pieces(
    stream: &[u8],
    piece: usize,
    limits: FrameLimits,
    digests: Digests,
) -> (Vec<RawPdu>, Option<Broken>) {
    let (mut buffer, mut pdus) = (BytesMut::new(), Vec::new());
    for part in stream.chunks(piece.max(1)) {
        buffer.extend_from_slice(part);
        loop {
            let before = buffer.len();
            match decode(&mut buffer, limits, digests) {
                Ok(Decoded::Pdu(raw)) => {
                    assert!(buffer.len() + 48 <= before && raw.data.len() <= limits.max_data_segment);
                    pdus.push(raw);
                }
                Ok(Decoded::NeedMore(more)) => {
                    assert!(more > 0 && buffer.len() == before);
                    break;
                }
                Err(broken) => return (pdus, Some(broken)),
            }
        }
    }
    (pdus, None)
}

/// A PDU that parses has one meaning, however often it is written and read.
fn reread(raw: &RawPdu, digests: Digests) {
    assert_eq!(raw.bhs.opcode().is_some(), Opcode::from_byte(raw.bhs.opcode_bits()).is_some());
    let Ok(pdu) = Pdu::parse(raw) else { return };
    let mut out = Outbox::new();
    pdu.push_to(&mut out, digests);
    assert_eq!(out.remaining(), out.len());
    let mut bytes = BytesMut::from(&out.take_all()[..]);
    let limits = FrameLimits { max_data_segment: 1 << 24, max_ahs: 1020 };
    let Ok(Decoded::Pdu(again)) = decode(&mut bytes, limits, digests) else {
        panic!("what was written is not one whole PDU: {pdu:?}");
    };
    assert!(bytes.is_empty() && again.data_digest_ok);
    assert_eq!(Pdu::parse(&again), Ok(pdu));
}

/// Login and text negotiation: pairs, and each value as a binary value.
pub fn keys(text: &[u8]) {
    let tight = KeyLimits { max_pairs: 4, max_key: 16, max_value: 32 };
    if let Ok(pairs) = keys::decode(text, tight) {
        assert!(pairs.len() <= 4 && pairs.iter().all(|(k, v)| k.len() <= 16 && v.len() <= 32));
        assert_eq!(keys::decode(text, KeyLimits::RFC), Ok(pairs), "wider limits read the same");
    }
    if let Ok(pairs) = keys::decode(text, KeyLimits::RFC) {
        let again = keys::encode(pairs.iter().map(|(k, v)| (k, v)));
        assert_eq!(keys::decode(&again, KeyLimits::RFC).as_ref(), Ok(&pairs));
        pairs.iter().for_each(|(_, value)| binary(value));
    }
    if let Ok(value) = std::str::from_utf8(text) {
        binary(value);
    }
}

fn binary(value: &str) {
    for max in [0, 1, 16, 1024, 65_536] {
        if let Some(bytes) = keys::decode_binary(value, max) {
            assert!(bytes.len() <= max);
            if !bytes.is_empty() {
                assert_eq!(keys::decode_binary(&keys::encode_hex(&bytes), max).as_deref(), Some(&bytes[..]));
                assert_eq!(
                    keys::decode_binary(&keys::encode_base64(&bytes), max).as_deref(),
                    Some(&bytes[..])
                );
            }
        }
    }
}

/// A CDB or parameter data: the first byte chooses which.
pub fn scsi(data: &[u8]) {
    let [which, body @ ..] = data else { return };
    match which % 26 {
        0 => cdb(body),
        1 => {
            if let Some(sense) = Sense::parse(body) {
                let again = Sense::parse(&sense.build_descriptor());
                assert_eq!(again, Some(sense));
                let fixed = Sense::parse(&sense.build_fixed()).expect("it was just built");
                assert_eq!((fixed.key, fixed.asc, fixed.deferred), (sense.key, sense.asc, sense.deferred));
            }
        }
        2 => settles(body, |d| Vpd::parse(d).ok(), |(p, vpd)| vpd.build(*p)),
        3 => same(body, |d| ModeData::parse6(d).ok(), ModeData::build6),
        4 => same(body, |d| ModeData::parse10(d).ok(), ModeData::build10),
        5 => drop(ModeData::parse_select6(body)),
        6 => drop(ModeData::parse_select10(body)),
        7 => settles(body, |d| StandardInquiry::parse(d).ok(), StandardInquiry::build),
        8 => same(body, |d| Capacity10::parse(d).ok(), |c| c.build().to_vec()),
        9 => same(body, |d| Capacity16::parse(d).ok(), |c| c.build().to_vec()),
        10 => {
            if let Ok(found) = luns::parse(body) {
                found.luns.iter().filter_map(|lun| lun.number()).for_each(|number| {
                    assert!(Lun::from_number(number).is_some());
                });
            }
        }
        11 => same(body, |d| unmap::parse(d).ok(), |ranges| unmap::build(ranges)),
        12 => same(body, |d| lba_status::parse(d).ok(), |runs| lba_status::build(runs)),
        13 => same(body, |d| alua::PortGroups::parse(d, false).ok(), |groups| groups.build()),
        14 => drop(alua::PortGroups::parse(body, true)),
        15 => same(body, |d| alua::parse_set(d).ok(), |groups| alua::build_set(groups)),
        16 => same(body, |d| opcodes::parse_all(d).ok(), |list| opcodes::build_all(list)),
        17 => same(
            body,
            |d| opcodes::parse_one(d).ok().flatten(),
            |(usage, times)| opcodes::build_one(Some(usage), *times),
        ),
        18 => same(body, |d| reservation::parse_keys(d).ok(), |(g, keys)| reservation::build_keys(*g, keys)),
        19 => same(
            body,
            |d| reservation::parse_reservation(d).ok(),
            |(g, held)| reservation::build_reservation(*g, *held),
        ),
        20 => same(body, |d| reservation::Capabilities::parse(d).ok(), |c| c.build().to_vec()),
        21 => same(
            body,
            |d| reservation::parse_full_status(d).ok(),
            |(g, all)| reservation::build_full_status(*g, all),
        ),
        22 => {
            if let Ok((id, used)) = reservation::TransportId::parse(body) {
                assert!(used <= body.len());
                assert_eq!(reservation::TransportId::parse(&id.build()).map(|(id, _)| id), Ok(id));
            }
            drop(reservation::MoveList::parse(body));
            same(body, reservation::OutList::parse, |list| list.build().to_vec());
        }
        23 => {
            same(body, |d| copy::Header::parse(d).ok(), |header| header.build().to_vec());
            same(body, |d| copy::Cscd::parse(d).ok(), |unit| unit.build().to_vec());
            same(body, |d| copy::Segment::parse(d).ok(), |segment| segment.build().to_vec());
        }
        24 => {
            same(body, |d| copy::OperatingParameters::parse(d).ok(), |p| p.build());
            same(body, |d| copy::CopyStatus::parse(d).ok(), |s| s.build().to_vec());
        }
        _ => assert!(crc32c(body) == crc32c(body) && body.first().is_none_or(|b| cdb::length(*b) <= 16)),
    }
}

fn cdb(body: &[u8]) {
    let mut raw = [0; 16];
    let length = body.len().min(16);
    raw[..length].copy_from_slice(&body[..length]);
    let cdb = Cdb::parse(&raw);
    cdb::control(&raw);
    let built = cdb.build().unwrap_or_else(|error| panic!("{cdb:?} was read from a CDB, yet: {error}"));
    assert_eq!(Cdb::parse(&built), cdb);
}

/// What `parse` reads, `build` writes so that it is read the same.
fn same<T: PartialEq + std::fmt::Debug>(
    body: &[u8],
    parse: impl Fn(&[u8]) -> Option<T>,
    build: impl Fn(&T) -> Vec<u8>,
) {
    if let Some(value) = parse(body) {
        let built = build(&value);
        assert_eq!(parse(&built).as_ref(), Some(&value), "built: {built:02x?}");
    }
}

/// As [`same`], where text of foreign devices is read more liberally than it is written: once written, it stays.
fn settles<T: PartialEq + std::fmt::Debug>(
    body: &[u8],
    parse: impl Fn(&[u8]) -> Option<T>,
    build: impl Fn(&T) -> Vec<u8>,
) {
    if let Some(value) = parse(body) {
        let written = build(&value);
        assert!(parse(&written).is_some(), "built: {written:02x?}");
        same(&written, parse, build);
    }
}
