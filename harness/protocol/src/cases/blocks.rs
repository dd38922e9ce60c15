//! Reading, writing, unmapping, comparing.

use super::modes::mode_page;
use super::truth::limits;
use super::{cases, difference, pattern};
use crate::cdb::{self, be};
use crate::lab::Lab;
use crate::outcome::{Checked, must, not_claimed};
use crate::raw::{Answer, Client, Cmd};

cases! {
    widths "read-write-widths" ["SCS-006" "DAT-008"] "6, 10, 12 and 16-byte reads and writes reach the same blocks";
    last_block "last-block" ["SCS-006"] "The last block can be read and written by every width";
    beyond "beyond-the-end" ["SCS-006"] "Transfers past the last block are refused whole";
    zero_blocks "zero-blocks" ["SCS-006"] "A transfer length of zero transfers nothing (256 blocks in six bytes)";
    fua "force-unit-access" ["SCS-018" "SCS-006"] "FUA and DPO are taken as claimed";
    sync "synchronize-cache" ["SCS-018"] "SYNCHRONIZE CACHE takes ranges, and refuses those past the end";
    wce "write-cache" ["SCS-017" "SCS-018"] "WCE may be switched where it is changeable, and data stay";
    caw "compare-and-write" ["SCS-010"] "COMPARE AND WRITE writes on equality and names the first difference otherwise";
    caw_counter "compare-and-write-counter" ["SCS-010" "MPX-009"] "A counter that four nexuses raise loses no step";
    caw_counter_blocks "compare-and-write-blocks" ["SCS-010" "MPX-009"] "The same over several blocks at once";
    verify "verify" ["SCS-025"] "VERIFY compares when BYTCHK says so";
    write_verify "write-and-verify" ["SCS-025"] "WRITE AND VERIFY writes";
    orwrite "or-write" ["SCS-006"] "ORWRITE ors";
    atomic_block "block-atomicity" ["SCS-011"] "A reader never sees a part of a block's write";
    write_atomic "write-atomic" ["SCS-011" "SCS-004"] "WRITE ATOMIC writes what it is given, and refuses more than the unit claims";
    prefetch "pre-fetch" ["SCS-006"] "PRE-FETCH answers and refuses ranges past the end";
    start_stop "start-stop" ["SCS-026"] "START STOP UNIT and PREVENT ALLOW answer";
    sequence "read-after-write" ["DAT-001" "DAT-008"] "What was acknowledged is read, over every path";
}

const AT: u64 = 10_000;

pub(super) async fn fill(c: &mut Client, lba: u64, blocks: u32, seed: u8) -> Checked<Vec<u8>> {
    let data = pattern(seed, blocks as usize * 512);
    c.good(&Cmd::write(cdb::write(lba, blocks), data.clone()), "SBC-3 5.32").await?;
    Ok(data)
}

pub(super) async fn reads(c: &mut Client, lba: u64, wanted: &[u8], clause: &str) -> Checked {
    let blocks = (wanted.len() / 512) as u32;
    let seen = c.good(&Cmd::read(cdb::read(lba, blocks), wanted.len() as u32), "SBC-3 5.11").await?;
    must!(seen == wanted, clause, "the right bytes", "{}", difference(wanted, &seen));
    Ok(())
}

/// Not offered at all?
pub(super) fn offered(a: &Answer, what: &str) -> Checked {
    if a.is(5, 0x2000) { Err(not_claimed(format!("{what} is not offered"))) } else { Ok(()) }
}

/// The forms of READ (even) and WRITE (odd) for a small LBA.
fn forms(lba: u64, blocks: u16, write: bool) -> Vec<(&'static str, Cmd)> {
    let n = u32::from(blocks) * 512;
    let (six, ten, twelve, sixteen) = if write { (0x0a, 0x2a, 0xaa, 0x8a) } else { (0x08, 0x28, 0xa8, 0x88) };
    let mut all = Vec::new();
    let cmd = |cdb: &[u8]| {
        if write { Cmd::write(cdb, pattern(cdb[0], n as usize)) } else { Cmd::read(cdb, n) }
    };
    if lba < 1 << 21 && (1..=255).contains(&blocks) {
        all.push(("6", cmd(&cdb::six(six, lba as u32, blocks as u8))));
    }
    if lba < 1 << 32 {
        all.push(("10", cmd(&cdb::ten(ten, 0, lba as u32, blocks))));
        all.push(("12", cmd(&cdb::twelve(twelve, 0, lba as u32, u32::from(blocks)))));
    }
    all.push(("16", cmd(&cdb::sixteen(sixteen, 0, lba, u32::from(blocks)))));
    all
}

/// Widths that the unit has: 6 and 12 bytes are optional.
async fn run_form(c: &mut Client, width: &str, cmd: &Cmd) -> Checked<Option<Answer>> {
    let a = c.run(cmd).await?;
    Ok(if a.is(5, 0x2000) && matches!(width, "6" | "12") { None } else { Some(a) })
}

async fn widths(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    for (width, cmd) in forms(AT, 3, true) {
        let Some(a) = run_form(&mut c, width, &cmd).await? else { continue };
        must!(a.good(), "SBC-3 5.29", format!("GOOD for WRITE ({width})"), "{}", a.words());
        let wanted = cmd.write.clone().unwrap_or_default();
        for (other, read) in forms(AT, 3, false) {
            let Some(a) = run_form(&mut c, other, &read).await? else { continue };
            must!(
                a.good() && a.data[..] == wanted[..],
                "SBC-3 5.8",
                format!("what WRITE ({width}) wrote, by READ ({other})"),
                "{}, {}",
                a.words(),
                difference(&wanted, &a.data)
            );
        }
    }
    c.bye().await
}

async fn last_block(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let last = lab.blocks() - 1;
    for (width, cmd) in forms(last, 1, true) {
        let Some(a) = run_form(&mut c, width, &cmd).await? else { continue };
        must!(a.good(), "SBC-3 5.29", format!("GOOD for WRITE ({width}) of the last block"), "{}", a.words());
        let wanted = cmd.write.clone().unwrap_or_default();
        reads(&mut c, last, &wanted, "SBC-3 5.29").await?;
    }
    for (width, cmd) in forms(last, 1, false) {
        let Some(a) = run_form(&mut c, width, &cmd).await? else { continue };
        must!(a.good(), "SBC-3 5.8", format!("GOOD for READ ({width}) of the last block"), "{}", a.words());
    }
    c.bye().await
}

async fn beyond(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let end = lab.blocks();
    let kept = fill(&mut c, end - 2, 2, 21).await?;
    for write in [false, true] {
        for (lba, blocks) in [(end - 1, 2u16), (end, 1), (end + 1, 1), (end - 2, 256), (0xffff_ffff, 2)] {
            if lba < end && lba + u64::from(blocks) <= end {
                continue;
            }
            for (width, cmd) in forms(lba, blocks, write) {
                let Some(a) = run_form(&mut c, width, &cmd).await? else { continue };
                must!(
                    a.is(5, 0x2100),
                    "SBC-3 5.8",
                    format!("ILLEGAL REQUEST 21h/00h for blocks {lba}+{blocks} of {end} by {width} bytes"),
                    "{}",
                    a.words()
                );
            }
        }
    }
    for lba in [u64::MAX, u64::MAX - 1, 1 << 63] {
        let a = c.run(&Cmd::read(cdb::read(lba, 2), 1024)).await?;
        must!(
            a.is(5, 0x2100),
            "SBC-3 5.11",
            format!("ILLEGAL REQUEST 21h/00h for LBA {lba}"),
            "{}",
            a.words()
        );
    }
    // Refused whole: not even the part that lies on the unit was written.
    reads(&mut c, end - 2, &kept, "SBC-3 5.29").await?;
    c.bye().await
}

async fn zero_blocks(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let kept = fill(&mut c, AT, 1, 22).await?;
    for write in [false, true] {
        for (width, cmd) in forms(AT, 0, write) {
            let Some(a) = run_form(&mut c, width, &cmd).await? else { continue };
            must!(
                a.good() && a.data.is_empty(),
                "SBC-3 5.8",
                format!("GOOD and no data for {width} bytes"),
                "{}",
                a.words()
            );
        }
    }
    reads(&mut c, AT, &kept, "SBC-3 5.29").await?;
    let a = c.run(&Cmd::read(cdb::six(0x08, AT as u32, 0), 256 * 512)).await?;
    if !a.is(5, 0x2000) {
        must!(
            a.good() && a.data.len() == 256 * 512,
            "SBC-3 5.8",
            "256 blocks for a length of 0 in READ (6)",
            "{}",
            a.words()
        );
    }
    c.bye().await
}

async fn fua(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let header = c.good(&Cmd::read(cdb::mode_sense_6(0x3f, 0, 255), 255), "SPC-4 6.11").await?;
    let claimed = header.get(2).is_some_and(|b| b & 0x10 != 0);
    for (flags, what) in [(0x08u8, "FUA"), (0x10, "DPO"), (0x18, "DPO and FUA")] {
        let data = pattern(flags, 1024);
        let w = c.run(&Cmd::write(cdb::sixteen(0x8a, flags, AT, 2), data.clone())).await?;
        let r = c.run(&Cmd::read(cdb::sixteen(0x88, flags, AT, 2), 1024)).await?;
        if claimed {
            must!(
                w.good() && r.good(),
                "SBC-3 6.4.1",
                format!("GOOD with {what}: DPOFUA is claimed"),
                "{} and {}",
                w.words(),
                r.words()
            );
            must!(r.data == data, "SBC-3 5.32", "what was written", "{}", difference(&data, &r.data));
        } else {
            must!(w.good() || w.is(5, 0x2400), "SBC-3 6.4.1", "GOOD or 24h/00h", "{}", w.words());
        }
    }
    c.bye().await
}

async fn sync(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let data = fill(&mut c, AT, 8, 23).await?;
    for (lba, blocks) in [(0u64, 0u32), (AT, 8), (lab.blocks() - 1, 1), (lab.blocks() - 1, 0)] {
        c.good(&Cmd::none(cdb::ten(0x35, 0, lba as u32, blocks as u16)), "SBC-3 5.24").await?;
        let a = c.run(&Cmd::none(cdb::sixteen(0x91, 0, lba, blocks))).await?;
        must!(a.good() || a.is(5, 0x2000), "SBC-3 5.25", "GOOD", "{}", a.words());
    }
    for (lba, blocks) in [(lab.blocks(), 1u32), (lab.blocks() - 1, 2)] {
        let a = c.run(&Cmd::none(cdb::ten(0x35, 0, lba as u32, blocks as u16))).await?;
        must!(
            a.is(5, 0x2100),
            "SBC-3 5.24",
            format!("ILLEGAL REQUEST 21h/00h for {lba}+{blocks}"),
            "{}",
            a.words()
        );
    }
    reads(&mut c, AT, &data, "SBC-3 5.24").await?;
    c.bye().await
}

async fn wce(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let (p, mask) = (mode_page(&mut c, 0x08, 0).await?, mode_page(&mut c, 0x08, 1).await?);
    if mask[2] & 0x04 == 0 {
        return Err(not_claimed("WCE is not changeable"));
    }
    let data = fill(&mut c, AT, 8, 24).await?;
    for flip in [true, false] {
        let mut page = p.clone();
        page[0] &= 0x7f;
        if flip {
            page[2] ^= 0x04;
        }
        let list = [vec![0; 4], page.clone()].concat();
        c.good(&Cmd::write(cdb::mode_select_6(list.len() as u8), list), "SBC-3 6.4.5").await?;
        let now = mode_page(&mut c, 0x08, 0).await?;
        must!(
            now[2] & 4 == page[2] & 4,
            "SBC-3 6.4.5",
            format!("WCE {}", page[2] >> 2 & 1),
            "{}",
            now[2] >> 2 & 1
        );
        reads(&mut c, AT, &data, "SBC-3 4.15").await?;
    }
    c.bye().await
}

async fn caw_run(c: &mut Client, lba: u64, old: &[u8], new: &[u8]) -> Checked<Answer> {
    let blocks = (old.len() / 512) as u8;
    c.run(&Cmd::write(cdb::compare_and_write(lba, blocks), [old, new].concat())).await
}

async fn caw(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let old = fill(&mut c, AT, 1, 35).await?;
    let new = pattern(36, 512);
    let a = caw_run(&mut c, AT, &old, &new).await?;
    offered(&a, "COMPARE AND WRITE")?;
    must!(a.good(), "SBC-3 5.2", "GOOD for equal data", "{}", a.words());
    reads(&mut c, AT, &new, "SBC-3 5.2").await?;
    for at in [0usize, 1, 255, 511] {
        let mut wrong = new.clone();
        wrong[at] ^= 0x40;
        let a = caw_run(&mut c, AT, &wrong, &old).await?;
        must!(a.is(0xe, 0x1d00), "SBC-3 5.2", "MISCOMPARE 1Dh/00h", "{}", a.words());
        let told = a.sense.and_then(|s| s.information);
        must!(told == Some(at as u64), "SBC-3 5.2", format!("{at} in the INFORMATION field"), "{told:?}");
        reads(&mut c, AT, &new, "SBC-3 5.2").await?;
    }
    let most = be(&limits(&mut c).await?, 5, 1);
    // All or nothing, also where a store may be divided: the first block is equal, the second is not.
    for power in (3..13).filter(|_| most >= 2) {
        let lba = (1u64 << power) - 1;
        let old = fill(&mut c, lba, 2, 43).await?;
        let mut wrong = old.clone();
        wrong[700] ^= 1;
        let a = caw_run(&mut c, lba, &wrong, &pattern(44, 1024)).await?;
        must!(a.is(0xe, 0x1d00), "SBC-3 5.2", "MISCOMPARE 1Dh/00h", "{}", a.words());
        reads(&mut c, lba, &old, "SBC-3 5.2").await?;
    }
    let a = caw_run(&mut c, lab.blocks(), &old, &new).await?;
    must!(a.is(5, 0x2100), "SBC-3 5.2", "ILLEGAL REQUEST 21h/00h past the end", "{}", a.words());
    c.bye().await
}

/// Raises a counter in `blocks` blocks from several nexuses at once; every step must be there at the end.
async fn count_up(lab: &Lab, lba: u64, blocks: usize) -> Checked {
    let mut all = Vec::new();
    for host in 0..lab.setup.hosts.len() {
        for path in 0..lab.host(host)?.paths.len() {
            all.push(lab.session_of(host, path).await?);
        }
    }
    while all.len() < 4 {
        all.push(lab.session().await?);
    }
    let image = |n: u64| n.to_be_bytes().repeat(64 * blocks);
    all[0].good(&Cmd::write(cdb::write(lba, blocks as u32), image(0)), "SBC-3 5.32").await?;
    let (mut won, rounds) = (0u64, 25);
    for _ in 0..rounds {
        // Every nexus reads, then all try to raise what they read, with their commands in flight together.
        let mut tries = Vec::new();
        for c in &mut all {
            let seen =
                c.good(&Cmd::read(cdb::read(lba, blocks as u32), blocks as u32 * 512), "SBC-3 5.11").await?;
            tries.push(be(&seen, 0, 8));
        }
        let mut tags = Vec::new();
        for (c, n) in all.iter_mut().zip(&tries) {
            let data = [image(*n), image(n + 1)].concat();
            tags.push(c.start(&Cmd::write(cdb::compare_and_write(lba, blocks as u8), data)).await);
        }
        for (c, itt) in all.iter_mut().zip(tags) {
            let a = c.finish(itt).await?;
            offered(&a, "COMPARE AND WRITE")?;
            if a.good() {
                won += 1;
            } else {
                must!(
                    a.key(0xe) || a.status.0 == 0x08 || a.status.0 == 0x28,
                    "SBC-3 5.2",
                    "GOOD or MISCOMPARE",
                    "{}",
                    a.words()
                );
            }
        }
    }
    let seen =
        all[0].good(&Cmd::read(cdb::read(lba, blocks as u32), blocks as u32 * 512), "SBC-3 5.11").await?;
    must!(
        seen == image(won),
        "SBC-3 5.2",
        format!("{won}, one step for each success, in every block"),
        "{} in the first, {} in the last",
        be(&seen, 0, 8),
        be(&seen, seen.len() - 8, 8)
    );
    must!(won >= rounds, "SBC-3 5.2", "at least one success a round", "{won} in {rounds} rounds");
    for c in all {
        c.bye().await?;
    }
    Ok(())
}

async fn caw_counter(lab: &Lab) -> Checked {
    count_up(lab, AT + 5, 1).await
}

async fn caw_counter_blocks(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let most = be(&limits(&mut c).await?, 5, 1) as usize;
    c.bye().await?;
    if most < 2 {
        return Err(not_claimed("COMPARE AND WRITE of several blocks is not claimed"));
    }
    // Across the places where stores split: 4 KiB to 1 MiB.
    count_up(lab, 2048 - 3, most.min(8)).await
}

async fn verify(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let data = fill(&mut c, AT, 4, 37).await?;
    let mut wrong = data.clone();
    wrong[1300] ^= 1;
    for (op, name) in [(0x2fu8, "VERIFY (10)"), (0xaf, "VERIFY (12)"), (0x8f, "VERIFY (16)")] {
        let build = |flags: u8, lba: u64, n: u32| match op {
            0x2f => cdb::ten(op, flags, lba as u32, n as u16).to_vec(),
            0xaf => cdb::twelve(op, flags, lba as u32, n).to_vec(),
            _ => cdb::sixteen(op, flags, lba, n).to_vec(),
        };
        let a = c.run(&Cmd::none(build(0, AT, 4))).await?;
        if a.is(5, 0x2000) {
            continue;
        }
        must!(a.good(), "SBC-3 5.33", format!("GOOD for {name} without BYTCHK"), "{}", a.words());
        let a = c.run(&Cmd::write(build(2, AT, 4), data.clone())).await?;
        must!(a.good(), "SBC-3 5.33", format!("GOOD for {name} of equal data"), "{}", a.words());
        let a = c.run(&Cmd::write(build(2, AT, 4), wrong.clone())).await?;
        must!(
            a.is(0xe, 0x1d00),
            "SBC-3 5.33",
            format!("MISCOMPARE 1Dh/00h for {name} of other data"),
            "{}",
            a.words()
        );
        let a = c.run(&Cmd::write(build(2, AT + 2, 1), wrong[1024..1536].to_vec())).await?;
        must!(
            a.is(0xe, 0x1d00),
            "SBC-3 5.33",
            format!("MISCOMPARE 1Dh/00h for {name} of one other block"),
            "{}",
            a.words()
        );
        let a = c.run(&Cmd::none(build(0, lab.blocks(), 1))).await?;
        must!(
            a.is(5, 0x2100),
            "SBC-3 5.33",
            format!("ILLEGAL REQUEST 21h/00h for {name} past the end"),
            "{}",
            a.words()
        );
        let a = c.run(&Cmd::write(build(6, AT, 1), data[..512].to_vec())).await?;
        must!(
            a.good() || a.is(5, 0x2400),
            "SBC-3 5.33",
            format!("GOOD or 24h/00h for {name} with BYTCHK 3"),
            "{}",
            a.words()
        );
        if a.good() {
            let a = c.run(&Cmd::write(build(6, AT, 1), data[512..1024].to_vec())).await?;
            must!(
                a.is(0xe, 0x1d00),
                "SBC-3 5.33",
                format!("MISCOMPARE 1Dh/00h for {name} with BYTCHK 3 of another block"),
                "{}",
                a.words()
            );
        }
    }
    reads(&mut c, AT, &data, "SBC-3 5.33").await?;
    c.bye().await
}

async fn write_verify(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let mut any = false;
    for (op, seed) in [(0x2eu8, 38u8), (0xae, 39), (0x8e, 40)] {
        let data = pattern(seed, 1024);
        let cdb = match op {
            0x2e => cdb::ten(op, 2, AT as u32, 2).to_vec(),
            0xae => cdb::twelve(op, 2, AT as u32, 2).to_vec(),
            _ => cdb::sixteen(op, 2, AT, 2).to_vec(),
        };
        let a = c.run(&Cmd::write(cdb, data.clone())).await?;
        if a.is(5, 0x2000) {
            continue;
        }
        any = true;
        must!(a.good(), "SBC-3 5.36", "GOOD", "{}", a.words());
        reads(&mut c, AT, &data, "SBC-3 5.36").await?;
    }
    if !any {
        return Err(not_claimed("WRITE AND VERIFY is not offered"));
    }
    c.bye().await
}

async fn orwrite(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let old = fill(&mut c, AT, 2, 41).await?;
    let mask = pattern(42, 1024);
    let a = c.run(&Cmd::write(cdb::sixteen(0x8b, 0, AT, 2), mask.clone())).await?;
    offered(&a, "ORWRITE (16)")?;
    must!(a.good(), "SBC-3 5.7", "GOOD", "{}", a.words());
    let wanted: Vec<u8> = old.iter().zip(&mask).map(|(a, b)| a | b).collect();
    reads(&mut c, AT, &wanted, "SBC-3 5.7").await?;
    c.bye().await
}

async fn atomic_block(lab: &Lab) -> Checked {
    let mut writer = lab
        .with_keys(&[
            ("InitialR2T", "Yes"),
            ("ImmediateData", "No"),
            ("MaxBurstLength", "512"),
            ("FirstBurstLength", "512"),
        ])
        .await?;
    let mut reader = lab.session().await?;
    writer.good(&Cmd::write(cdb::write(AT, 4), vec![1; 2048]), "SBC-3 5.32").await?;
    for round in 2..20u8 {
        let w = writer.start(&Cmd::write(cdb::write(AT, 4), vec![round; 2048])).await;
        let r = reader.start(&Cmd::read(cdb::read(AT, 4), 2048)).await;
        let seen = reader.finish(r).await?;
        writer.finish(w).await?;
        for (n, block) in seen.data.chunks(512).enumerate() {
            must!(
                block.iter().all(|b| *b == block[0]),
                "SBC-3 4.2",
                "each block whole, old or new",
                "block {n} has {:02x} and {:02x}",
                block[0],
                block[511]
            );
        }
    }
    reader.bye().await?;
    writer.bye().await
}

/// WRITE ATOMIC (16) of SBC-4: `boundary` is a length in blocks, 0 for none.
fn atomically(lba: u64, blocks: u16, boundary: u16, data: Vec<u8>) -> Cmd {
    let mut cdb = cdb::sixteen(0x9c, 0, lba, 0);
    cdb[10..12].copy_from_slice(&boundary.to_be_bytes());
    cdb[12..14].copy_from_slice(&blocks.to_be_bytes());
    Cmd::write(cdb, data)
}

async fn write_atomic(lab: &Lab) -> Checked {
    const CLAUSE: &str = "SBC-4 WRITE ATOMIC (16)";
    let mut c = lab.session().await?;
    let l = limits(&mut c).await?;
    // Older pages are shorter and claim nothing.
    let claim = |at: usize| if l.len() >= at + 4 { be(&l, at, 4) } else { 0 };
    let (most, alignment, granularity) = (claim(44), claim(48).max(1), claim(52).max(1));
    let (with_boundary, boundary) = (claim(56), claim(60));
    let mut wanted = fill(&mut c, AT, 64, 43).await?;
    let whole = |blocks: u64| blocks / granularity * granularity;
    let n = whole(most.clamp(1, 4).max(granularity));
    let lba = (AT + 8).next_multiple_of(alignment);
    if most == 0 || most < n || lba + n > AT + 56 {
        return Err(not_claimed("no atomic write of a few blocks is claimed"));
    }
    let at = (lba - AT) as usize * 512;
    let mut written = |seed: u8| {
        let data = pattern(seed, n as usize * 512);
        wanted[at..at + data.len()].copy_from_slice(&data);
        (data, wanted.clone())
    };
    let (data, mut wanted) = written(44);
    let a = c.run(&atomically(lba, n as u16, 0, data)).await?;
    must!(a.good(), CLAUSE, format!("GOOD for {n} blocks of at most {most}"), "{}", a.words());
    reads(&mut c, AT, &wanted, CLAUSE).await?;
    if with_boundary >= n && (n..u64::from(u16::MAX)).contains(&boundary) {
        let (data, then) = written(45);
        wanted = then;
        let a = c.run(&atomically(lba, n as u16, boundary as u16, data)).await?;
        must!(a.good(), CLAUSE, format!("GOOD with a boundary of {boundary}"), "{}", a.words());
        reads(&mut c, AT, &wanted, CLAUSE).await?;
        let beyond = boundary as u16 + 1;
        let a = c.run(&atomically(lba, n as u16, beyond, vec![0x5d; n as usize * 512])).await?;
        must!(
            a.is(5, 0x2400),
            CLAUSE,
            format!("ILLEGAL REQUEST 24h/00h for a boundary of {beyond} blocks"),
            "{}",
            a.words()
        );
    }
    // More than is claimed writes nothing.
    let more = whole(most) + granularity;
    if more < 4096 {
        let a = c.run(&atomically(lba, more as u16, 0, vec![0x5d; more as usize * 512])).await?;
        must!(a.is(5, 0x2400), CLAUSE, format!("ILLEGAL REQUEST 24h/00h for {more} blocks"), "{}", a.words());
    }
    let last = (lab.blocks() - 1) / alignment * alignment;
    let past = whole(lab.blocks() - last) + granularity;
    if past <= most {
        let a = c.run(&atomically(last, past as u16, 0, vec![0x5d; past as usize * 512])).await?;
        must!(a.is(5, 0x2100), CLAUSE, "ILLEGAL REQUEST 21h/00h past the end", "{}", a.words());
    }
    reads(&mut c, AT, &wanted, CLAUSE).await?;
    c.bye().await
}

async fn prefetch(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let a = c.run(&Cmd::none(cdb::ten(0x34, 0, AT as u32, 8))).await?;
    offered(&a, "PRE-FETCH (10)")?;
    must!(a.good() || a.status.0 == 0x04, "SBC-3 5.8", "GOOD or CONDITION MET", "{}", a.words());
    let a = c.run(&Cmd::none(cdb::ten(0x34, 0, lab.blocks() as u32, 8))).await?;
    must!(a.is(5, 0x2100), "SBC-3 5.8", "ILLEGAL REQUEST 21h/00h past the end", "{}", a.words());
    c.bye().await
}

async fn start_stop(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    // Starting what runs changes nothing; stopping is left alone.
    let a = c.run(&Cmd::none([0x1b, 0, 0, 0, 1, 0])).await?;
    offered(&a, "START STOP UNIT")?;
    must!(a.good(), "SBC-3 5.20", "GOOD for START=1", "{}", a.words());
    c.good(&Cmd::none(cdb::test_unit_ready()), "SBC-3 5.20").await?;
    let a = c.run(&Cmd::none([0x1e, 0, 0, 0, 0, 0])).await?;
    must!(a.good() || a.is(5, 0x2000), "SBC-3 5.8", "GOOD, or not offered", "{}", a.words());
    c.bye().await
}

async fn sequence(lab: &Lab) -> Checked {
    let mut all = Vec::new();
    for host in 0..lab.setup.hosts.len() {
        for path in 0..lab.host(host)?.paths.len() {
            all.push(lab.session_of(host, path).await?);
        }
    }
    let n = all.len();
    for round in 0..12u8 {
        let data = pattern(round, 9 * 512);
        let writer = usize::from(round) % n;
        all[writer].good(&Cmd::write(cdb::write(AT + 3, 9), data.clone()), "SBC-3 5.32").await?;
        for (i, c) in all.iter_mut().enumerate() {
            let seen = c.good(&Cmd::read(cdb::read(AT + 3, 9), 9 * 512), "SBC-3 5.11").await?;
            must!(
                seen == data,
                "SAM-5 5.3",
                format!("what path {writer} wrote in round {round}, over path {i}"),
                "{}",
                difference(&data, &seen)
            );
        }
    }
    for c in all {
        c.bye().await?;
    }
    Ok(())
}
