//! Error recovery level 1: what was sent is sent again on request, what was lost is asked for again (RFC 7143 section 7).

use bytes::Bytes;
use sanbench_wire::Pdu;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::pdu::{DataIn, DataOut, RejectReason, Snack, SnackType};

use super::blocks::{fill, reads};
use super::{cases, pattern};
use crate::cdb;
use crate::lab::{Lab, settle};
use crate::outcome::{Checked, fail, must, not_claimed};
use crate::raw::{Client, Cmd, Got};
use crate::tape::describe;

cases! {
    status_again "snack-status" ["ISC-016"] "Answers that were not acknowledged are given again, and those that were are not";
    data_again "snack-data" ["ISC-016"] "Read data is given again, from any number on";
    data_done "snack-data-acknowledged" ["ISC-016"] "Read data that was acknowledged need not be kept";
    r2t_again "snack-r2t" ["ISC-016"] "An R2T is given again as it was";
    long_session "snack-long-session" ["ISC-016"] "A session that moved much data still gives its last answers again";
    lost_out "recovery-lost-data-out" ["ISC-016" "DAT-001"] "Write data that got lost is asked for again and lands whole";
    twice_out "recovery-data-out-twice" ["ISC-016" "DAT-001"] "Write data that comes twice is taken once";
    damaged_out "recovery-damaged-data-out" ["ISC-016" "ISC-006" "DAT-001"] "Damaged write data is asked for again";
}

const LBA: u64 = 20_000;
/// Longest data segment of a Data-In PDU here, bytes.
const SEGMENT: usize = 1024;

/// A session of recovery level 1, or why there is none.
async fn session(lab: &Lab, keys: &[(&str, &str)]) -> Checked<Client> {
    let mut c = lab.connect(0, 0).await?;
    let plan = keys.iter().fold(lab.plan(0, 0)?.key("ErrorRecoveryLevel", "1"), |p, (k, v)| p.key(k, v));
    let end = c.login(&plan).await?;
    must!(end.full, "RFC 7143 6.3", "a login that reaches full feature phase", "{}", end.words());
    if end.value("ErrorRecoveryLevel") != Some("1") {
        return Err(not_claimed("error recovery level 1 is not offered"));
    }
    c.monitor.recovers = true;
    settle(&mut c).await?;
    Ok(c)
}

fn snack(c: &Client, kind: SnackType, itt: u32, begin: u32, run_length: u32) -> Snack {
    let exp_stat_sn = c.exp_stat_sn();
    Snack { kind, lun: c.lun, itt, ttt: RESERVED_TAG, exp_stat_sn, begin, run_length }
}

/// Sends a SNACK and gives what comes of it until nothing more does. The monitors look away: numbers repeat.
async fn ask(lab: &Lab, c: &mut Client, snack: Snack) -> Checked<Vec<Pdu>> {
    c.monitor.repeating = true;
    c.send_raw(&snack.emit()).await;
    let mut came = Vec::new();
    let end = loop {
        match c.poll(lab.quiet()).await? {
            Got::Pdu(pdu) => came.push(pdu),
            Got::Silence => break Ok(came),
            Got::Closed(why) => break Err(fail("RFC 7143 11.16", "an answer to a SNACK", why)),
        }
    };
    c.monitor.repeating = false;
    // A Reject has a number of its own.
    if let Ok(came) = &end {
        let rejects = came.iter().filter(|pdu| matches!(pdu, Pdu::Reject(_))).count() as u32;
        c.monitor.stat_sn = c.monitor.stat_sn.map(|sn| sn.wrapping_add(rejects));
    }
    end
}

fn words(came: &[Pdu]) -> String {
    match came {
        [] => "nothing".to_owned(),
        came => came.iter().map(|pdu| describe(&pdu.emit())).collect::<Vec<_>>().join("; "),
    }
}

async fn refused(lab: &Lab, c: &mut Client, snack: Snack, reason: RejectReason, what: &str) -> Checked {
    let came = ask(lab, c, snack).await?;
    let right = matches!(&came[..], [Pdu::Reject(p)] if p.reason == reason);
    must!(right, "RFC 7143 11.16.1", format!("a Reject ({reason}) for {what}"), "{}", words(&came));
    Ok(())
}

async fn status_again(lab: &Lab) -> Checked {
    let mut c = session(lab, &[]).await?;
    let first = c.exp_stat_sn();
    // All at once, so that no command acknowledges the answer of the one before.
    let mut tags = Vec::new();
    for _ in 0..3 {
        tags.push(c.start(&Cmd::none(cdb::test_unit_ready())).await);
    }
    for itt in &tags {
        c.finish(*itt).await?;
    }
    for (begin, run, wanted) in [(0u32, 2u32, 0..2usize), (1, 0, 1..3), (2, 1, 2..3), (0, 0, 0..3)] {
        let mut again = snack(&c, SnackType::STATUS, RESERVED_TAG, first.wrapping_add(begin), run);
        // What is asked for again has not been acknowledged.
        (again.exp_stat_sn, again.lun) = (first, Default::default());
        let came = ask(lab, &mut c, again).await?;
        let seen: Vec<(u32, u32)> = came
            .iter()
            .filter_map(|pdu| match pdu {
                Pdu::ScsiResponse(p) => Some((p.itt, p.stat_sn)),
                _ => None,
            })
            .collect();
        let wanted: Vec<(u32, u32)> = wanted.map(|n| (tags[n], first.wrapping_add(n as u32))).collect();
        must!(
            seen == wanted && came.len() == seen.len(),
            "RFC 7143 11.16",
            format!("the responses {wanted:x?} (task, StatSN) again"),
            "{}",
            words(&came)
        );
    }
    c.alive("a SNACK").await?;
    let mut late = snack(&c, SnackType::STATUS, RESERVED_TAG, first, 3);
    late.lun = Default::default();
    refused(lab, &mut c, late, RejectReason::PROTOCOL_ERROR, "answers that were acknowledged").await?;
    c.alive("a SNACK that was rejected").await?;
    c.bye().await
}

/// Reads some blocks in pieces; the tag, the bytes, and the StatSN that the answer had.
async fn read_in_pieces(c: &mut Client, blocks: u32) -> Checked<(u32, Vec<u8>, u32)> {
    let wanted = fill(c, LBA, blocks, 51).await?;
    let unacknowledged = c.exp_stat_sn();
    let itt = c.start(&Cmd::read(cdb::read(LBA, blocks), blocks * 512)).await;
    let a = c.finish(itt).await?;
    must!(a.good() && a.data == wanted, "SBC-3 5.11", "the right bytes", "{}", a.words());
    Ok((itt, wanted, unacknowledged))
}

fn pieces(came: &[Pdu]) -> Vec<&DataIn> {
    came.iter()
        .filter_map(|pdu| match pdu {
            Pdu::DataIn(p) => Some(p),
            _ => None,
        })
        .collect()
}

async fn data_again(lab: &Lab) -> Checked {
    let mut c = session(lab, &[("MaxRecvDataSegmentLength", "1024")]).await?;
    let (itt, wanted, unacknowledged) = read_in_pieces(&mut c, 16).await?;
    let all = (wanted.len() / SEGMENT) as u32;
    for (begin, run) in [(0u32, 0u32), (2, 3), (all - 1, 0), (0, 1), (all - 2, 2)] {
        let mut again = snack(&c, SnackType::DATA_OR_R2T, itt, begin, run);
        again.exp_stat_sn = unacknowledged;
        let came = ask(lab, &mut c, again).await?;
        let seen = pieces(&came);
        let end = if run == 0 { all } else { begin + run };
        let right = seen.len() == (end - begin) as usize
            && came.len() == seen.len()
            && seen.iter().zip(begin..).all(|(p, n)| {
                let at = n as usize * SEGMENT;
                p.itt == itt
                    && p.data_sn == n
                    && p.offset as usize == at
                    && p.data[..] == wanted[at..at + SEGMENT]
            });
        must!(
            right,
            "RFC 7143 11.16",
            format!("Data-In {begin}..{end} of task {itt:x} again, as they were"),
            "{}",
            words(&came)
        );
    }
    let mut more = snack(&c, SnackType::DATA_OR_R2T, itt, all - 1, 5);
    more.exp_stat_sn = unacknowledged;
    refused(lab, &mut c, more, RejectReason::SNACK, "data that never was").await?;
    let mut other = snack(&c, SnackType::DATA_OR_R2T, itt.wrapping_add(1000), 0, 0);
    other.exp_stat_sn = unacknowledged;
    refused(lab, &mut c, other, RejectReason::SNACK, "data of an unknown task").await?;
    c.alive("SNACKs for data").await?;
    c.bye().await
}

async fn data_done(lab: &Lab) -> Checked {
    let keys =
        [("MaxRecvDataSegmentLength", "1024"), ("MaxBurstLength", "4096"), ("FirstBurstLength", "4096")];
    let mut c = session(lab, &keys).await?;
    fill(&mut c, LBA, 32, 52).await?;
    let unacknowledged = c.exp_stat_sn();
    let itt = c.start(&Cmd::read(cdb::read(LBA, 32), 32 * 512)).await;
    // The sequences of a read; all but the last ask for an acknowledgement of their data (A bit).
    let mut asked = None;
    let mut seen = 0;
    while seen < 16 {
        match c.next("Data-In").await? {
            Pdu::DataIn(p) => {
                seen += 1;
                if p.acknowledge {
                    asked = Some((p.ttt, p.data_sn));
                }
            }
            other => {
                return Err(fail("RFC 7143 11.7", "Data-In", describe(&other.emit())));
            }
        }
    }
    let Some((ttt, data_sn)) = asked else {
        return Err(not_claimed("the target asks for no acknowledgement of data"));
    };
    let a = c.finish(itt).await?;
    must!(a.good(), "SBC-3 5.11", "GOOD", "{}", a.words());
    let mut thanks = snack(&c, SnackType::DATA_ACK, RESERVED_TAG, data_sn + 1, 0);
    (thanks.ttt, thanks.exp_stat_sn) = (ttt, unacknowledged);
    let came = ask(lab, &mut c, thanks).await?;
    must!(came.is_empty(), "RFC 7143 11.16.3", "no answer to a DataACK", "{}", words(&came));
    // The last sequence was not acknowledged.
    let mut again = snack(&c, SnackType::DATA_OR_R2T, itt, data_sn + 1, 0);
    again.exp_stat_sn = unacknowledged;
    let came = ask(lab, &mut c, again).await?;
    let numbers: Vec<u32> = pieces(&came).iter().map(|p| p.data_sn).collect();
    let wanted: Vec<u32> = (data_sn + 1..16).collect();
    must!(numbers == wanted, "RFC 7143 11.16", format!("Data-In {wanted:?} again"), "{}", words(&came));
    let mut stranger = snack(&c, SnackType::DATA_ACK, RESERVED_TAG, 1, 0);
    (stranger.ttt, stranger.exp_stat_sn) = (ttt.wrapping_add(7777), unacknowledged);
    refused(lab, &mut c, stranger, RejectReason::INVALID_DATA_ACK, "a DataACK of an unknown tag").await?;
    c.alive("a DataACK").await?;
    c.bye().await
}

async fn r2t_again(lab: &Lab) -> Checked {
    let mut c = session(lab, &[("InitialR2T", "Yes"), ("ImmediateData", "No")]).await?;
    let data = pattern(53, 4096);
    let itt = c.start(&Cmd::write(cdb::write(LBA, 8), data.clone()).held()).await;
    let first = c.r2t_of(itt).await?;
    let came = {
        let again = snack(&c, SnackType::DATA_OR_R2T, itt, first.r2t_sn, 1);
        ask(lab, &mut c, again).await?
    };
    let right = matches!(&came[..], [Pdu::R2t(p)]
        if (p.itt, p.ttt, p.r2t_sn, p.offset, p.length)
            == (first.itt, first.ttt, first.r2t_sn, first.offset, first.length));
    must!(right, "RFC 7143 11.16", "the same R2T again", "{}", words(&came));
    let missing = snack(&c, SnackType::DATA_OR_R2T, itt, first.r2t_sn + 5, 1);
    refused(lab, &mut c, missing, RejectReason::SNACK, "an R2T that never was").await?;
    let lun = c.lun;
    c.serve(&first, &Bytes::from(data.clone()), lun).await;
    let a = c.finish(itt).await?;
    must!(a.good(), "RFC 7143 11.8", "GOOD", "{}", a.words());
    reads(&mut c, LBA, &data, "SBC-3 5.32").await?;
    c.bye().await
}

async fn long_session(lab: &Lab) -> Checked {
    let mut c = session(lab, &[]).await?;
    // More than any target keeps, all of it acknowledged.
    fill(&mut c, LBA, 256, 54).await?;
    for _ in 0..80 {
        c.good(&Cmd::read(cdb::read(LBA, 256), 256 * 512), "SBC-3 5.11").await?;
    }
    let unacknowledged = c.exp_stat_sn();
    let itt = c.start(&Cmd::none(cdb::test_unit_ready())).await;
    c.finish(itt).await?;
    let mut again = snack(&c, SnackType::STATUS, RESERVED_TAG, unacknowledged, 1);
    (again.exp_stat_sn, again.lun) = (unacknowledged, Default::default());
    let came = ask(lab, &mut c, again).await?;
    let right = matches!(&came[..], [Pdu::ScsiResponse(p)] if p.itt == itt && p.stat_sn == unacknowledged);
    must!(right, "RFC 7143 11.16", "the last response again", "{}", words(&came));
    // However much room is left in the store, eight answers need more: the oldest have to go, never the newest.
    for _ in 0..8 {
        let unacknowledged = c.exp_stat_sn();
        let itt = c.start(&Cmd::read(cdb::read(LBA, 64), 64 * 512)).await;
        c.finish(itt).await?;
        let mut again = snack(&c, SnackType::DATA_OR_R2T, itt, 0, 0);
        again.exp_stat_sn = unacknowledged;
        let came = ask(lab, &mut c, again).await?;
        must!(!pieces(&came).is_empty(), "RFC 7143 11.16", "the last data again", "{}", words(&came));
    }
    c.bye().await
}

/// A write whose data is to come in four Data-Out PDUs: its tag and those PDUs.
async fn four_pieces(c: &mut Client, data: &[u8]) -> Checked<(u32, Vec<DataOut>)> {
    let itt = c.start(&Cmd::write(cdb::write(LBA, 8), data.to_vec()).held()).await;
    let r2t = c.r2t_of(itt).await?;
    must!(r2t.length == 4096, "RFC 7143 11.8", "an R2T for all 4,096 bytes", "{}", r2t.length);
    let piece = |n: u32| DataOut {
        last: n == 3,
        lun: c.lun,
        itt,
        ttt: r2t.ttt,
        exp_stat_sn: c.exp_stat_sn(),
        data_sn: n,
        offset: n * 1024,
        data: Bytes::copy_from_slice(&data[n as usize * 1024..(n as usize + 1) * 1024]),
    };
    Ok((itt, (0..4).map(piece).collect()))
}

const NO_UNSOLICITED: [(&str, &str); 2] = [("InitialR2T", "Yes"), ("ImmediateData", "No")];

/// Waits for the recovery R2T and serves it; gives where it begins.
async fn served_again(c: &mut Client, itt: u32, data: &[u8]) -> Checked<u32> {
    let again = c.r2t_of(itt).await?;
    let lun = c.lun;
    c.serve(&again, &Bytes::copy_from_slice(data), lun).await;
    let a = c.finish(itt).await?;
    must!(a.good(), "RFC 7143 7.2", "GOOD once the data came", "{}", a.words());
    reads(c, LBA, data, "SBC-3 5.32").await?;
    Ok(again.offset)
}

async fn lost_out(lab: &Lab) -> Checked {
    for lost in [0u32, 1, 2] {
        let mut c = session(lab, &NO_UNSOLICITED).await?;
        fill(&mut c, LBA, 8, 55).await?;
        let data = pattern(56 + lost as u8, 4096);
        let (itt, outs) = four_pieces(&mut c, &data).await?;
        for out in outs.into_iter().filter(|out| out.data_sn != lost) {
            c.send(out).await;
        }
        let from = served_again(&mut c, itt, &data).await?;
        must!(
            from <= lost * 1024,
            "RFC 7143 7.9",
            format!("an R2T from byte {} on", lost * 1024),
            "from byte {from} on"
        );
        c.bye().await?;
    }
    Ok(())
}

async fn twice_out(lab: &Lab) -> Checked {
    let mut c = session(lab, &NO_UNSOLICITED).await?;
    let data = pattern(60, 4096);
    let (itt, outs) = four_pieces(&mut c, &data).await?;
    for out in outs {
        // The last one ends the task; what came behind it would be nobody's.
        if !out.last {
            c.send(out.clone()).await;
        }
        c.send(out).await;
    }
    let a = c.finish(itt).await?;
    must!(a.good(), "RFC 7143 7.9", "GOOD although PDUs came twice", "{}", a.words());
    reads(&mut c, LBA, &data, "SBC-3 5.32").await?;
    c.bye().await
}

async fn damaged_out(lab: &Lab) -> Checked {
    let keys = [&NO_UNSOLICITED[..], &[("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")]].concat();
    for damaged in [1u32, 3] {
        let mut c = session(lab, &keys).await?;
        fill(&mut c, LBA, 8, 61).await?;
        let data = pattern(62 + damaged as u8, 4096);
        let (itt, outs) = four_pieces(&mut c, &data).await?;
        for out in outs {
            let broken = out.data_sn == damaged;
            let raw = out.emit();
            let mut bytes = c.bytes_of(&raw).to_vec();
            if broken {
                bytes[52 + 100] ^= 0x10;
            }
            c.note_sent(&raw);
            c.send_bytes(&bytes).await;
        }
        // A Reject tells of the damage (section 7.8), an R2T asks for the data.
        match c.next("a Reject").await? {
            Pdu::Reject(p) => must!(
                p.reason == RejectReason::DATA_DIGEST,
                "RFC 7143 7.8",
                "a Reject (data digest error)",
                "{}",
                p.reason
            ),
            other => return Err(fail("RFC 7143 7.8", "a Reject", describe(&other.emit()))),
        }
        served_again(&mut c, itt, &data).await?;
        c.bye().await?;
    }
    Ok(())
}
