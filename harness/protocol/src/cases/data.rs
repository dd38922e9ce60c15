//! Data transfer: bursts, numbering, segment lengths, residuals.

use bytes::Bytes;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::pdu::{DataOut, R2t, Residual};

use super::{cases, difference, pattern};
use crate::cdb;
use crate::lab::Lab;
use crate::outcome::{Checked, must, not_claimed};
use crate::raw::{Client, Cmd, End};

cases! {
    matrix "write-matrix" ["ISC-004" "ISC-009" "DAT-008"] "InitialR2T x ImmediateData x burst lengths x sizes: every byte lands where it belongs";
    first_burst "write-beyond-first-burst" ["ISC-004"] "Unsolicited data beyond FirstBurstLength are refused";
    immediate_beyond "immediate-beyond-first-burst" ["ISC-004"] "Immediate data beyond FirstBurstLength are refused";
    no_immediate "immediate-not-agreed" ["ISC-004"] "Immediate data are refused when ImmediateData=No";
    no_unsolicited "unsolicited-not-agreed" ["ISC-004"] "Unsolicited data are refused when InitialR2T=Yes";
    wrong_sn "datasn-wrong" ["ISC-009"] "Data-Out with a wrong DataSN is answered and not written";
    missing_sn "datasn-missing" ["ISC-009"] "A missing Data-Out is noticed, and nothing waits for ever";
    twice_sn "datasn-twice" ["ISC-009"] "A Data-Out that comes twice is noticed";
    wrong_offset "data-out-offset" ["ISC-009"] "Data-Out at another offset than asked for is refused";
    too_much "data-out-beyond-r2t" ["ISC-009"] "Data-Out beyond what was asked for is refused";
    too_little "data-out-ends-early" ["ISC-009"] "An F bit before the end of what was asked for is noticed";
    wrong_ttt "data-out-transfer-tag" ["ISC-009"] "Data-Out with another transfer tag does not feed the write";
    sequences "r2t-sequences" ["ISC-009" "ISC-004"] "Long writes are asked for in order, a burst at a time";
    many_r2t "r2t-outstanding" ["ISC-009"] "No more R2Ts are outstanding than agreed";
    tiny_segments "segments-tiny" ["ISC-005"] "512-byte segments carry long reads";
    large_segments "segments-large" ["ISC-005"] "The largest segment length is fine";
    segment_exceeded "segment-exceeded" ["ISC-005"] "A segment above the target's declared length is refused";
    bursts_in "data-in-bursts" ["ISC-004" "ISC-009"] "Read data keep to MaxBurstLength";
    residual_read "residual-read" ["ISC-010"] "Reads tell exactly by how much the expected length was off";
    residual_write "residual-write" ["ISC-010"] "Writes tell exactly by how much the expected length was off";
    residual_burst "residual-long-write" ["ISC-010"] "A write longer than the first burst that fits has no residual";
    residual_inquiry "residual-inquiry" ["ISC-010"] "Shorter answers than expected are underflows";
    residual_wrong_way "residual-no-direction" ["ISC-010"] "A command without R or W whose CDB transfers data overflows";
    neighbours "write-neighbours" ["DAT-008"] "A write changes no block beside its own";
    never_written "never-written" ["DAT-003"] "Blocks that were never written read zeros";
}

async fn check(c: &mut Client, lba: u64, data: &[u8], clause: &str) -> Checked {
    let blocks = (data.len() / 512) as u32;
    let seen = c.good(&Cmd::read(cdb::read(lba, blocks), data.len() as u32), "SBC-3 5.11").await?;
    must!(seen == data, clause, "the bytes that were written", "{}", difference(data, &seen));
    Ok(())
}

async fn matrix(lab: &Lab) -> Checked {
    for (initial_r2t, immediate) in [("No", "Yes"), ("No", "No"), ("Yes", "Yes"), ("Yes", "No")] {
        for (first, max, segment) in [(512, 512, 8192), (4096, 8192, 512), (65_536, 262_144, 262_144)] {
            let (first, max, segment) = (first.to_string(), max.to_string(), segment.to_string());
            let mut c = lab
                .with_keys(&[
                    ("InitialR2T", initial_r2t),
                    ("ImmediateData", immediate),
                    ("FirstBurstLength", &first),
                    ("MaxBurstLength", &max),
                    ("MaxRecvDataSegmentLength", &segment),
                ])
                .await?;
            for blocks in [1u32, 2, 8, 9, 17, 129] {
                let lba = 4096 + u64::from(blocks);
                let data = pattern(blocks as u8 ^ first.len() as u8, blocks as usize * 512);
                c.good(&Cmd::write(cdb::write(lba, blocks), data.clone()), "RFC 7143 13.10").await?;
                check(&mut c, lba, &data, "RFC 7143 13.10").await?;
            }
            c.bye().await?;
        }
    }
    Ok(())
}

const MARK: u8 = 0x51;
const AT: u64 = 6000;

/// A session with those keys over a region that is marked.
async fn marked(lab: &Lab, keys: &[(&str, &str)], blocks: u32) -> Checked<Client> {
    let mut c = lab.with_keys(keys).await?;
    let bytes = vec![MARK; blocks as usize * 512];
    c.good(&Cmd::write(cdb::write(AT, blocks), bytes), "SBC-3 5.32").await?;
    Ok(c)
}

/// The command was refused in some way, nothing hangs, and the blocks are as they were.
async fn untouched(lab: &Lab, c: &mut Client, itt: u32, blocks: u32, clause: &str, what: &str) -> Checked {
    let end = c.end_of(itt).await?;
    must!(end.refused(), clause, format!("a refusal of {what}"), "{}", end.words());
    let mut d = lab.session().await?;
    let bytes = blocks * 512;
    let seen = d.good(&Cmd::read(cdb::read(AT, blocks), bytes), "SBC-3 5.11").await?;
    // Data that came rightly before the error may have been written; what was wrong may not.
    let wrong = seen.iter().filter(|b| **b == 0xbd).count();
    must!(wrong == 0, clause, format!("{what} not to be written"), "{wrong} bytes of it are on the medium");
    d.bye().await
}

async fn first_burst(lab: &Lab) -> Checked {
    let keys = [
        ("InitialR2T", "No"),
        ("ImmediateData", "No"),
        ("FirstBurstLength", "4096"),
        ("MaxBurstLength", "16384"),
    ];
    let mut c = marked(lab, &keys, 32).await?;
    if c.params.initial_r2t {
        return Err(not_claimed("the target asks for InitialR2T=Yes"));
    }
    let (mut command, _) = c.compose(&Cmd::write(cdb::write(AT, 32), vec![0xbd; 16_384]).held());
    (command.last, command.data) = (false, Bytes::new());
    let itt = command.itt;
    let lun = command.lun;
    c.send(command).await;
    for n in 0..4u32 {
        let out = DataOut {
            last: n == 3,
            lun,
            itt,
            ttt: RESERVED_TAG,
            exp_stat_sn: c.exp_stat_sn(),
            data_sn: n,
            offset: n * 4096,
            data: Bytes::from(vec![0xbd; 4096]),
        };
        c.send(out).await;
    }
    // The first 4,096 bytes are within the burst and may be written: mark them as such for the check.
    let end = c.end_of(itt).await?;
    must!(
        end.refused(),
        "RFC 7143 13.14",
        format!(
            "a refusal of {} bytes of unsolicited data with FirstBurstLength {}",
            16_384, c.params.first_burst
        ),
        "{}",
        end.words()
    );
    let mut d = lab.session().await?;
    let seen = d.good(&Cmd::read(cdb::read(AT + 8, 24), 24 * 512), "SBC-3 5.11").await?;
    must!(!seen.contains(&0xbd), "RFC 7143 13.14", "nothing beyond the first burst to be written", "it was");
    d.bye().await
}

async fn immediate_beyond(lab: &Lab) -> Checked {
    let keys = [("ImmediateData", "Yes"), ("InitialR2T", "Yes"), ("FirstBurstLength", "1024")];
    let mut c = marked(lab, &keys, 8).await?;
    if !c.params.immediate_data {
        return Err(not_claimed("the target takes no immediate data"));
    }
    let (mut command, _) = c.compose(&Cmd::write(cdb::write(AT, 8), vec![0xbd; 4096]).held());
    (command.last, command.data) = (true, Bytes::from(vec![0xbd; 4096]));
    let itt = command.itt;
    c.send(command).await;
    untouched(
        lab,
        &mut c,
        itt,
        8,
        "RFC 7143 13.14",
        "4096 bytes of immediate data with FirstBurstLength 1024",
    )
    .await
}

async fn no_immediate(lab: &Lab) -> Checked {
    let mut c = marked(lab, &[("ImmediateData", "No"), ("InitialR2T", "Yes")], 2).await?;
    let (mut command, _) = c.compose(&Cmd::write(cdb::write(AT, 2), vec![0xbd; 1024]).held());
    (command.last, command.data) = (true, Bytes::from(vec![0xbd; 1024]));
    let itt = command.itt;
    c.send(command).await;
    untouched(lab, &mut c, itt, 2, "RFC 7143 13.11", "immediate data after ImmediateData=No").await
}

async fn no_unsolicited(lab: &Lab) -> Checked {
    let mut c = marked(lab, &[("ImmediateData", "No"), ("InitialR2T", "Yes")], 2).await?;
    let (mut command, _) = c.compose(&Cmd::write(cdb::write(AT, 2), vec![0xbd; 1024]).held());
    command.last = false;
    let (itt, lun) = (command.itt, command.lun);
    c.send(command).await;
    let out = DataOut {
        last: true,
        lun,
        itt,
        ttt: RESERVED_TAG,
        exp_stat_sn: c.exp_stat_sn(),
        data_sn: 0,
        offset: 0,
        data: Bytes::from(vec![0xbd; 1024]),
    };
    c.send(out).await;
    untouched(lab, &mut c, itt, 2, "RFC 7143 13.10", "unsolicited data after InitialR2T=Yes").await
}

/// A write of 4 KiB of which nothing was sent: its tag and the first R2T.
async fn solicited(lab: &Lab) -> Checked<(Client, u32, R2t)> {
    let mut c = marked(lab, &[("ImmediateData", "No"), ("InitialR2T", "Yes")], 8).await?;
    let itt = c.start(&Cmd::write(cdb::write(AT, 8), vec![0xbd; 4096]).held()).await;
    let r2t = c.r2t_of(itt).await?;
    Ok((c, itt, r2t))
}

async fn out(c: &mut Client, r2t: &R2t, sn: u32, at: u32, length: u32, last: bool) {
    let out = DataOut {
        last,
        lun: c.lun,
        itt: r2t.itt,
        ttt: r2t.ttt,
        exp_stat_sn: c.exp_stat_sn(),
        data_sn: sn,
        offset: r2t.offset + at,
        data: Bytes::from(vec![0xbd; length as usize]),
    };
    c.send(out).await;
}

/// After a breach of the data rules: an answer of some kind, and no GOOD.
async fn answered(c: &mut Client, itt: u32, clause: &str, what: &str) -> Checked {
    let end = c.end_of(itt).await?;
    must!(end.refused(), clause, format!("an error for {what}"), "{}", end.words());
    Ok(())
}

async fn wrong_sn(lab: &Lab) -> Checked {
    for sn in [1, 27, u32::MAX] {
        let (mut c, itt, r2t) = solicited(lab).await?;
        out(&mut c, &r2t, sn, 0, r2t.length, true).await;
        untouched(lab, &mut c, itt, 8, "RFC 7143 11.7.5", &format!("DataSN {sn} instead of 0")).await?;
    }
    Ok(())
}

async fn missing_sn(lab: &Lab) -> Checked {
    let (mut c, itt, r2t) = solicited(lab).await?;
    if r2t.length < 2048 {
        return Err(not_claimed("the target asks for less than four blocks at a time"));
    }
    out(&mut c, &r2t, 0, 0, 512, false).await;
    out(&mut c, &r2t, 2, 1024, r2t.length - 1024, true).await;
    answered(&mut c, itt, "RFC 7143 7.9", "DataSN 2 after 0").await
}

async fn twice_sn(lab: &Lab) -> Checked {
    let (mut c, itt, r2t) = solicited(lab).await?;
    if r2t.length < 2048 {
        return Err(not_claimed("the target asks for less than four blocks at a time"));
    }
    out(&mut c, &r2t, 0, 0, 512, false).await;
    out(&mut c, &r2t, 0, 0, 512, false).await;
    out(&mut c, &r2t, 1, 512, r2t.length - 512, true).await;
    answered(&mut c, itt, "RFC 7143 7.9", "DataSN 0 twice").await
}

async fn wrong_offset(lab: &Lab) -> Checked {
    let (mut c, itt, r2t) = solicited(lab).await?;
    out(&mut c, &r2t, 0, 512, r2t.length - 512, true).await;
    answered(&mut c, itt, "RFC 7143 11.7.4", "data at offset 512 instead of 0").await
}

async fn too_much(lab: &Lab) -> Checked {
    let (mut c, itt, r2t) = solicited(lab).await?;
    out(&mut c, &r2t, 0, 0, r2t.length + 512, true).await;
    answered(&mut c, itt, "RFC 7143 11.8.4", "512 bytes more than asked for").await
}

async fn too_little(lab: &Lab) -> Checked {
    let (mut c, itt, r2t) = solicited(lab).await?;
    out(&mut c, &r2t, 0, 0, r2t.length - 512, true).await;
    // Asking again for the rest would be fine as well.
    match c.end_within(itt, lab.setup.quiet * 3).await? {
        End::Answer(a) => must!(!a.good(), "RFC 7143 7.9", "no GOOD for a part of the data", "{}", a.words()),
        End::Rejected(_) | End::Closed(_) => {}
        End::Silence => {
            c.r2t_of(itt).await?;
        }
    }
    Ok(())
}

async fn wrong_ttt(lab: &Lab) -> Checked {
    let (mut c, itt, r2t) = solicited(lab).await?;
    let other = R2t { ttt: r2t.ttt ^ 0x0100, ..r2t.clone() };
    out(&mut c, &other, 0, 0, r2t.length, true).await;
    match c.end_within(itt, lab.setup.quiet * 2).await? {
        End::Answer(a) => {
            must!(!a.good(), "RFC 7143 11.7.3", "no GOOD for data of another transfer", "{}", a.words())
        }
        End::Rejected(_) | End::Closed(_) | End::Silence => {}
    }
    Ok(())
}

async fn sequences(lab: &Lab) -> Checked {
    let keys = [
        ("InitialR2T", "Yes"),
        ("ImmediateData", "No"),
        ("MaxBurstLength", "4096"),
        ("FirstBurstLength", "4096"),
    ];
    let mut c = lab.with_keys(&keys).await?;
    let data = pattern(77, 128 * 512);
    c.good(&Cmd::write(cdb::write(AT, 128), data.clone()), "RFC 7143 11.8").await?;
    check(&mut c, AT, &data, "RFC 7143 11.8").await?;
    c.bye().await
}

async fn many_r2t(lab: &Lab) -> Checked {
    let keys = [
        ("InitialR2T", "Yes"),
        ("ImmediateData", "No"),
        ("MaxBurstLength", "4096"),
        ("FirstBurstLength", "4096"),
        ("MaxOutstandingR2T", "3"),
    ];
    let mut c = lab.with_keys(&keys).await?;
    let data = pattern(78, 64 * 512);
    c.good(&Cmd::write(cdb::write(AT, 64), data.clone()), "RFC 7143 13.17").await?;
    check(&mut c, AT, &data, "RFC 7143 13.17").await?;
    c.bye().await
}

async fn tiny_segments(lab: &Lab) -> Checked {
    let mut c = lab.with_keys(&[("MaxRecvDataSegmentLength", "512")]).await?;
    let data = pattern(79, 64 * 512);
    c.good(&Cmd::write(cdb::write(AT, 64), data.clone()), "RFC 7143 13.12").await?;
    check(&mut c, AT, &data, "RFC 7143 13.12").await?;
    c.bye().await
}

async fn large_segments(lab: &Lab) -> Checked {
    let mut c =
        lab.with_keys(&[("MaxRecvDataSegmentLength", "16777215"), ("MaxBurstLength", "16777215")]).await?;
    let data = pattern(80, 1024 * 512);
    c.good(&Cmd::write(cdb::write(AT, 1024), data.clone()), "RFC 7143 13.12").await?;
    check(&mut c, AT, &data, "RFC 7143 13.12").await?;
    c.bye().await
}

async fn segment_exceeded(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let length = c.params.target_max_recv as usize + 512;
    if length > 1 << 20 {
        return Err(not_claimed("the target takes segments of 1 MiB and more"));
    }
    let itt = c.ping(Bytes::from(vec![0; length]), true).await;
    match c.poll(c.patience).await? {
        crate::raw::Got::Closed(_) | crate::raw::Got::Pdu(sanbench_wire::Pdu::Reject(_)) => Ok(()),
        crate::raw::Got::Silence => Err(crate::outcome::fail(
            "RFC 7143 13.12",
            "a Reject, or the end of the connection",
            "nothing (a hang)",
        )),
        crate::raw::Got::Pdu(other) => Err(crate::outcome::fail(
            "RFC 7143 13.12",
            format!("a refusal of {length} bytes in a segment (ping {itt:x})"),
            crate::tape::describe(&other.emit()),
        )),
    }
}

async fn bursts_in(lab: &Lab) -> Checked {
    let mut c = lab.with_keys(&[("MaxBurstLength", "8192"), ("FirstBurstLength", "8192")]).await?;
    let data = pattern(81, 128 * 512);
    c.good(&Cmd::write(cdb::write(AT, 128), data.clone()), "SBC-3 5.32").await?;
    check(&mut c, AT, &data, "RFC 7143 13.13").await?;
    c.bye().await
}

fn residual(got: Residual, wanted: Residual, what: &str) -> Checked {
    must!(got == wanted, "RFC 7143 11.4.5", format!("{wanted:?} for {what}"), "{got:?}");
    Ok(())
}

async fn residual_read(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let data = pattern(82, 8 * 512);
    c.good(&Cmd::write(cdb::write(AT, 8), data.clone()), "SBC-3 5.32").await?;
    for expected in [8 * 512, 8 * 512 + 1, 16 * 512, 8 * 512 - 1, 512, 1, 0] {
        let cmd = Cmd::read(cdb::read(AT, 8), expected);
        let answer = c.run(&cmd).await?;
        let what = format!("a read of 4096 bytes with {expected} expected");
        // A device server may also refuse a command whose lengths contradict each other, without transferring.
        if answer.good() {
            residual(answer.residual, Residual::between(expected, 4096), &what)?;
            let all = (expected as usize).min(4096);
            must!(
                answer.data == data[..all],
                "RFC 7143 11.4.5",
                format!("the first {all} bytes"),
                "{}",
                difference(&data[..all], &answer.data)
            );
        } else {
            must!(expected != 4096, "SBC-3 5.11", "GOOD", "{}", answer.words());
        }
    }
    c.bye().await
}

async fn residual_write(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    for expected in [8 * 512u32, 8 * 512 + 512, 16 * 512, 8 * 512 - 512, 512] {
        let blank = vec![0; 16 * 512];
        c.good(&Cmd::write(cdb::write(AT, 16), blank), "SBC-3 5.32").await?;
        let data = pattern(83, expected as usize);
        let answer = c.run(&Cmd::write(cdb::write(AT, 8), data.clone())).await?;
        let what = format!("a write of 4096 bytes with {expected} expected");
        if answer.good() {
            residual(answer.residual, Residual::between(expected, 4096), &what)?;
        } else {
            must!(expected != 4096, "SBC-3 5.32", "GOOD", "{}", answer.words());
        }
        let seen = c.good(&Cmd::read(cdb::read(AT + 8, 8), 4096), "SBC-3 5.11").await?;
        must!(
            seen.iter().all(|b| *b == 0),
            "RFC 7143 11.4.5",
            "no write beyond what the CDB says",
            "blocks after the eighth changed with {expected} bytes expected"
        );
    }
    c.bye().await
}

async fn residual_burst(lab: &Lab) -> Checked {
    for initial_r2t in ["No", "Yes"] {
        let keys = [
            ("FirstBurstLength", "1024"),
            ("MaxBurstLength", "4096"),
            ("InitialR2T", initial_r2t),
            ("ImmediateData", "Yes"),
        ];
        let mut c = lab.with_keys(&keys).await?;
        for blocks in [1u32, 2, 3, 8, 64] {
            let data = pattern(84, blocks as usize * 512);
            let answer = c.run(&Cmd::write(cdb::write(AT, blocks), data)).await?;
            must!(answer.good(), "SBC-3 5.32", "GOOD", "{}", answer.words());
            residual(answer.residual, Residual::None, &format!("a write of {blocks} blocks that fits"))?;
        }
        c.bye().await?;
    }
    Ok(())
}

async fn residual_inquiry(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let whole = c.good(&Cmd::read(cdb::inquiry(255), 255), "SPC-4 6.6").await?.len() as u32;
    for allocation in [5u32, 36, whole, 255] {
        let answer = c.run(&Cmd::read(cdb::inquiry(allocation as u16), 255)).await?;
        let told = whole.min(allocation);
        must!(
            answer.data.len() as u32 == told,
            "SPC-4 4.2.5.6",
            format!("{told} bytes"),
            "{}",
            answer.data.len()
        );
        let wanted = Residual::between(255, u64::from(told));
        residual(answer.residual, wanted, "INQUIRY with 255 bytes expected")?;
    }
    c.bye().await
}

async fn residual_wrong_way(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let answer = c.run(&Cmd::none(cdb::read(AT, 2))).await?;
    if answer.good() {
        residual(answer.residual, Residual::Overflow(1024), "a read without the R bit")?;
    }
    must!(
        answer.data.is_empty(),
        "RFC 7143 11.3",
        "no data without the R bit",
        "{} bytes",
        answer.data.len()
    );
    c.bye().await
}

async fn neighbours(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    for (lba, blocks) in [(AT + 3, 1u32), (AT + 7, 2), (AT + 1, 15), (lab.blocks() - 9, 3)] {
        let around = 24usize;
        let first = lba - 1;
        let span = around.min((lab.blocks() - first) as usize);
        let before = pattern(11, span * 512);
        c.good(&Cmd::write(cdb::write(first, span as u32), before.clone()), "SBC-3 5.32").await?;
        let data = pattern(99, blocks as usize * 512);
        c.good(&Cmd::write(cdb::write(lba, blocks), data.clone()), "SBC-3 5.32").await?;
        let mut wanted = before;
        wanted[512..512 + data.len()].copy_from_slice(&data);
        check(&mut c, first, &wanted, "SBC-3 5.32").await?;
    }
    c.bye().await
}

async fn never_written(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let capacity = c.good(&Cmd::read(cdb::read_capacity_16(32), 32), "SBC-3 5.16").await?;
    let flags = capacity.get(14).copied().unwrap_or(0);
    if flags & 0xc0 != 0xc0 {
        return Err(not_claimed("the unit does not claim LBPME and LBPRZ"));
    }
    // Far from what any case writes.
    for lba in [lab.blocks() / 2, lab.blocks() / 3 * 2 + 1] {
        let seen = c.good(&Cmd::read(cdb::read(lba, 128), 65_536), "SBC-3 5.11").await?;
        must!(
            seen.iter().all(|b| *b == 0),
            "SBC-3 4.7.3",
            "zeros in blocks never written",
            "others at {lba}"
        );
    }
    c.bye().await
}
