//! Work that the unit does by itself: third-party copies and their results, sanitizing.

use super::blocks::{fill, offered, reads};
use super::nexus::{extended_copy, naa};
use super::{cases, difference, pattern};
use crate::cdb::{self, be};
use crate::lab::Lab;
use crate::outcome::{Checked, Stop, must, not_claimed};
use crate::raw::{Answer, Client, Cmd};

cases! {
    copy "copy-blocks" ["SCS-022"] "EXTENDED COPY moves just the blocks that it is asked for";
    results "copy-results" ["SCS-022"] "RECEIVE COPY RESULTS tells what a copy did, where the list wanted that kept";
    copy_limit "copy-limit" ["SCS-022" "SCS-004"] "A segment may be as long as the unit says, and no longer";
    bad_lists "copy-bad-lists" ["SCS-022" "SCS-028"] "Lists that are cut short or point nowhere move nothing";
    sanitize_overwrite "sanitize-overwrite" ["SCS-026"] "SANITIZE overwrites every block with the pattern";
    sanitize_lists "sanitize-bad-lists" ["SCS-026" "SCS-028"] "SANITIZE refuses what it cannot follow, and changes nothing";
    sanitize_erase "sanitize-block-erase" ["SCS-026"] "SANITIZE erases every block where the unit offers it";
    log_pages "log-sense" ["SCS-028"] "LOG SENSE lists its pages, and gives each that it lists";
}

const LBA: u64 = 60_000;

/// EXTENDED COPY with that list; the list identifier and how results are kept stand in its first two bytes.
pub(super) async fn run_copy(c: &mut Client, list: &[u8]) -> Checked<Answer> {
    let mut cdb = [0u8; 16];
    cdb[0] = 0x83;
    cdb[10..14].copy_from_slice(&(list.len() as u32).to_be_bytes());
    let a = c.run(&Cmd::write(cdb, list.to_vec())).await?;
    if a.is(5, 0x2000) {
        return Err(not_claimed("EXTENDED COPY is not offered"));
    }
    Ok(a)
}

/// The same for a case that is about something else: `None` where it is not offered, or only other service actions are.
pub(super) async fn copy_if_offered(c: &mut Client, list: &[u8]) -> Checked<Option<Answer>> {
    match run_copy(c, list).await {
        Ok(a) => Ok(Some(a).filter(|a| !a.unsupported())),
        Err(Stop::NotApplicable(_)) => Ok(None),
        Err(stop) => Err(stop),
    }
}

/// RECEIVE COPY RESULTS.
fn receive(action: u8, list: u8, allocation: u32) -> Cmd {
    let mut cdb = [0u8; 16];
    (cdb[0], cdb[1], cdb[2]) = (0x84, action, list);
    cdb[10..14].copy_from_slice(&allocation.to_be_bytes());
    Cmd::read(cdb, allocation)
}

pub(super) async fn own_name(c: &mut Client) -> Checked<Vec<u8>> {
    let lun = c.lun;
    naa(c, lun).await
}

async fn copy(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let id = own_name(&mut c).await?;
    for (from, to, blocks) in [(0u64, 500u64, 3u16), (1, 513, 130), (7, 640, 256)] {
        let source = fill(&mut c, LBA, 300, 71).await?;
        let mut wanted = vec![0x2c; 900 * 512];
        for (n, part) in wanted.chunks(100 * 512).enumerate() {
            let lba = LBA + 300 + n as u64 * 100;
            c.good(&Cmd::write(cdb::write(lba, (part.len() / 512) as u32), part.to_vec()), "SBC-3 5.32")
                .await?;
        }
        let a = run_copy(&mut c, &extended_copy(&id, &id, [LBA + from, LBA + to], blocks)).await?;
        must!(a.good(), "SPC-4 6.4", format!("GOOD for {blocks} blocks"), "{}", a.words());
        let at = (to - 300) as usize * 512;
        let moved = &source[from as usize * 512..(from as usize + usize::from(blocks)) * 512];
        wanted[at..at + moved.len()].copy_from_slice(moved);
        let mut seen = Vec::new();
        for n in 0..9 {
            let part = c.good(&Cmd::read(cdb::read(LBA + 300 + n * 100, 100), 51_200), "SBC-3 5.11").await?;
            seen.extend_from_slice(&part);
        }
        must!(
            seen == wanted,
            "SPC-4 6.4",
            "the copied blocks, and the others as they were",
            "{}",
            difference(&wanted, &seen)
        );
        reads(&mut c, LBA, &source, "SPC-4 6.4").await?;
    }
    // Far apart, and with another offset within whatever piece the unit allocates at once.
    let source = fill(&mut c, LBA, 300, 78).await?;
    let mut wanted = fill(&mut c, 600, 300, 79).await?;
    let a = run_copy(&mut c, &extended_copy(&id, &id, [LBA + 37, 640], 200)).await?;
    must!(a.good(), "SPC-4 6.4", "GOOD for 200 blocks", "{}", a.words());
    wanted[40 * 512..240 * 512].copy_from_slice(&source[37 * 512..237 * 512]);
    reads(&mut c, 600, &wanted, "SPC-4 6.4").await?;
    c.bye().await
}

async fn results(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let id = own_name(&mut c).await?;
    fill(&mut c, LBA, 64, 72).await?;
    // What the unit can do.
    let a = c.run(&receive(3, 0, 1024)).await?;
    if a.unsupported() {
        return Err(not_claimed("RECEIVE COPY RESULTS is not offered"));
    }
    must!(a.good() && a.data.len() > 43, "SPC-4 6.21", "operating parameters", "{}", a.words());
    let (keeps, cscds, segments) = (a.data[4] & 1 == 0, be(&a.data, 8, 2), be(&a.data, 10, 2));
    must!(
        cscds >= 1 && segments >= 1,
        "SPC-4 6.21",
        "at least one descriptor of each kind",
        "{cscds} and {segments}"
    );
    let mut list = extended_copy(&id, &id, [LBA, LBA + 100], 5);
    (list[0], list[1]) = (0x42, 0);
    let a = run_copy(&mut c, &list).await?;
    must!(a.good(), "SPC-4 6.4", "GOOD", "{}", a.words());
    let a = c.run(&receive(0, 0x42, 64)).await?;
    must!(a.good() && a.data.len() >= 12, "SPC-4 6.24", "the status of the copy just done", "{}", a.words());
    must!(
        a.data[4] & 0x7f == 1 && be(&a.data, 5, 2) == 1,
        "SPC-4 6.24",
        "completed without errors, one segment",
        "status {}, {} segments",
        a.data[4] & 0x7f,
        be(&a.data, 5, 2)
    );
    let unit = match a.data[7] {
        n @ 0..=8 => 1u64 << (10 * u32::from(n.min(6))),
        _ => 0,
    };
    must!(
        unit * be(&a.data, 8, 4) == 5 * 512,
        "SPC-4 6.24",
        "2,560 bytes",
        "{} of {unit}",
        be(&a.data, 8, 4)
    );
    let a = c.run(&receive(0, 0x43, 64)).await?;
    must!(
        a.is(5, 0x2400),
        "SPC-4 6.24",
        "ILLEGAL REQUEST 24h/00h for a list that never was",
        "{}",
        a.words()
    );
    // LIST ID USAGE 10b: nothing needs to be kept of a copy without errors.
    (list[0], list[1]) = (0x44, 0x10);
    let a = run_copy(&mut c, &list).await?;
    must!(a.good(), "SPC-4 6.4", "GOOD", "{}", a.words());
    if keeps {
        let a = c.run(&receive(0, 0x44, 64)).await?;
        must!(
            a.is(5, 0x2400),
            "SPC-4 6.4.3.2",
            "nothing kept of a list that did not want it",
            "{}",
            a.words()
        );
    }
    // LIST ID USAGE 11b has no identifier.
    (list[0], list[1]) = (0x45, 0x18);
    let a = run_copy(&mut c, &list).await?;
    must!(a.is(5, 0x2600), "SPC-4 6.4.3.2", "26h/00h for an identifier without use", "{}", a.words());
    if !keeps {
        (list[0], list[1]) = (0, 0x18);
        let a = run_copy(&mut c, &list).await?;
        must!(a.good(), "SPC-4 6.4", "GOOD without an identifier", "{}", a.words());
        let a = c.run(&receive(0, 0, 64)).await?;
        must!(a.is(5, 0x2400), "SPC-4 6.4.3.2", "nothing kept of a list without identifier", "{}", a.words());
    }
    c.bye().await
}

async fn copy_limit(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let id = own_name(&mut c).await?;
    let a = c.run(&receive(3, 0, 1024)).await?;
    if a.unsupported() {
        return Err(not_claimed("RECEIVE COPY RESULTS is not offered"));
    }
    must!(a.good() && a.data.len() > 43, "SPC-4 6.21", "operating parameters", "{}", a.words());
    // MAXIMUM SEGMENT LENGTH, bytes; 0 states no limit.
    let most = be(&a.data, 16, 4) / 512;
    let (from, to) = (LBA, 2 * LBA);
    if !(16..u64::from(u16::MAX)).contains(&most) || to + most + 8 > lab.blocks() || from + most >= to {
        return Err(not_claimed("no length of a segment is claimed that could be tried"));
    }
    let head = fill(&mut c, from, 8, 75).await?;
    let tail = fill(&mut c, from + most - 8, 8, 76).await?;
    let beyond = fill(&mut c, to + most - 8, 16, 77).await?;
    // Too long is refused before a block is moved.
    let a = run_copy(&mut c, &extended_copy(&id, &id, [from, to], most as u16 + 1)).await?;
    must!(
        a.key(5) || a.key(0x0a),
        "SPC-4 6.4",
        format!("a refusal of {} blocks where {most} are the most", most + 1),
        "{}",
        a.words()
    );
    reads(&mut c, to + most - 8, &beyond, "SPC-4 6.4").await?;
    let a = run_copy(&mut c, &extended_copy(&id, &id, [from, to], most as u16)).await?;
    must!(a.good(), "SPC-4 6.21", format!("GOOD for the {most} blocks that are told"), "{}", a.words());
    reads(&mut c, to, &head, "SPC-4 6.4").await?;
    reads(&mut c, to + most - 8, &tail, "SPC-4 6.4").await?;
    reads(&mut c, to + most, &beyond[8 * 512..], "SPC-4 6.4").await?;
    c.bye().await
}

async fn bad_lists(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let id = own_name(&mut c).await?;
    fill(&mut c, LBA, 16, 73).await?;
    let kept = fill(&mut c, LBA + 100, 16, 74).await?;
    let list = extended_copy(&id, &id, [LBA, LBA + 100], 8);
    for length in [1usize, 15, 40, 79, list.len() - 28, list.len() - 1] {
        let a = run_copy(&mut c, &list[..length]).await?;
        must!(
            a.is(5, 0x1a00) || a.is(5, 0x2600),
            "SPC-4 6.4",
            format!("ILLEGAL REQUEST 1Ah/00h for {length} of {} bytes", list.len()),
            "{}",
            a.words()
        );
    }
    let end = lab.blocks();
    for (lbas, what) in [
        ([LBA, end - 7], "a destination past the end"),
        ([end - 7, LBA + 100], "a source past the end"),
        ([LBA, u64::MAX - 3], "a destination that overflows"),
    ] {
        let a = run_copy(&mut c, &extended_copy(&id, &id, lbas, 8)).await?;
        must!(a.key(0x0a), "SPC-4 6.4", format!("COPY ABORTED for {what}"), "{}", a.words());
    }
    let mut strange = list.clone();
    strange[16 + 64] = 0x7f;
    let a = run_copy(&mut c, &strange).await?;
    must!(a.is(5, 0x2609), "SPC-4 6.4", "UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE", "{}", a.words());
    let mut nowhere = list.clone();
    nowhere[16 + 64 + 7] = 9;
    let a = run_copy(&mut c, &nowhere).await?;
    must!(a.key(0x0a), "SPC-4 6.4", "COPY ABORTED for a descriptor that is not there", "{}", a.words());
    reads(&mut c, LBA + 100, &kept, "SPC-4 6.4").await?;
    c.bye().await
}

/// SANITIZE.
fn sanitize(action: u8, length: u16) -> [u8; 10] {
    let mut cdb = [0u8; 10];
    (cdb[0], cdb[1]) = (0x48, action);
    cdb[7..9].copy_from_slice(&length.to_be_bytes());
    cdb
}

/// The parameter list of an overwrite: passes, INVERT, the pattern.
fn overwrite(count: u8, invert: bool, pattern: &[u8]) -> Vec<u8> {
    let mut list = vec![count | u8::from(invert) << 7, 0];
    list.extend_from_slice(&(pattern.len() as u16).to_be_bytes());
    list.extend_from_slice(pattern);
    list
}

/// Places that an overwrite of the whole unit has to reach.
fn places(lab: &Lab) -> [u64; 4] {
    [0, LBA, 3 << 15, lab.blocks() - 8]
}

async fn sanitize_overwrite(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    for (count, invert, one) in
        [(1u8, false, pattern(75, 512)), (2, true, vec![0xa5, 0x0f]), (3, true, vec![0x3c])]
    {
        for lba in places(lab) {
            fill(&mut c, lba, 8, 76).await?;
        }
        let list = overwrite(count, invert, &one);
        let a = c.run(&Cmd::write(sanitize(1, list.len() as u16), list)).await?;
        if a.unsupported() {
            return Err(not_claimed("SANITIZE with OVERWRITE is not offered"));
        }
        must!(a.good(), "SBC-3 5.24", "GOOD", "{}", a.words());
        let flips = invert && count % 2 == 0;
        let pattern: Vec<u8> = one.iter().map(|b| if flips { !b } else { *b }).collect();
        let wanted: Vec<u8> = pattern.iter().copied().cycle().take(512).collect::<Vec<_>>().repeat(8);
        for lba in places(lab) {
            reads(&mut c, lba, &wanted, "SBC-3 5.24").await?;
        }
    }
    c.bye().await
}

async fn sanitize_lists(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let kept = fill(&mut c, LBA, 8, 77).await?;
    let good = overwrite(1, false, &[0x11; 512]);
    let lists = [
        (overwrite(0, false, &[0x11; 512]), "no pass at all"),
        ([&good[..2], &[0, 0], &good[4..]].concat(), "a pattern of no bytes"),
        ([&good[..2], &[2, 1], &good[4..]].concat(), "a pattern longer than a block"),
        ([&good[..2], &[1, 255], &good[4..]].concat(), "a pattern shorter than what came"),
        (good[..3].to_vec(), "a list without its header"),
        (overwrite(1, false, &[0x11; 513]), "a list longer than any pattern"),
    ];
    for (list, what) in lists {
        let a = c.run(&Cmd::write(sanitize(1, list.len() as u16), list)).await?;
        offered(&a, "SANITIZE")?;
        must!(a.key(5), "SBC-3 5.24", format!("ILLEGAL REQUEST for {what}"), "{}", a.words());
    }
    let a = c.run(&Cmd::none(sanitize(1, 0))).await?;
    must!(a.key(5), "SBC-3 5.24", "ILLEGAL REQUEST for an overwrite without a list", "{}", a.words());
    let a = c.run(&Cmd::write(sanitize(2, 8), vec![0; 8])).await?;
    must!(a.key(5), "SBC-3 5.24", "ILLEGAL REQUEST for a block erase with a list", "{}", a.words());
    reads(&mut c, LBA, &kept, "SBC-3 5.24").await?;
    c.bye().await
}

async fn sanitize_erase(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    for lba in places(lab) {
        fill(&mut c, lba, 8, 78).await?;
    }
    let a = c.run(&Cmd::none(sanitize(2, 0))).await?;
    if a.unsupported() {
        return Err(not_claimed("SANITIZE with BLOCK ERASE is not offered"));
    }
    must!(a.good(), "SBC-3 5.24", "GOOD", "{}", a.words());
    let old = pattern(78, 8 * 512);
    for lba in places(lab) {
        let seen = c.good(&Cmd::read(cdb::read(lba, 8), 4096), "SBC-3 5.11").await?;
        let left = seen.chunks(512).zip(old.chunks(512)).any(|(s, o)| s == o);
        must!(!left, "SBC-3 5.24", format!("nothing of what was in blocks {lba}+8"), "it is still there");
    }
    c.bye().await
}

/// LOG SENSE: cumulative values of a page.
fn log_sense(page: u8, allocation: u16) -> Cmd {
    let [a, b] = allocation.to_be_bytes();
    Cmd::read([0x4d, 0, 0x40 | page, 0, 0, 0, 0, a, b, 0], u32::from(allocation))
}

async fn log_pages(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let a = c.run(&log_sense(0, 256)).await?;
    offered(&a, "LOG SENSE")?;
    must!(a.good() && a.data.len() > 4, "SPC-4 7.3.18", "a list of pages", "{}", a.words());
    must!(a.data[0] & 0x3f == 0, "SPC-4 7.3.18", "page 00h", "{:02x}", a.data[0]);
    let pages = a.data[4..].to_vec();
    must!(
        be(&a.data, 2, 2) as usize == pages.len() && pages.contains(&0),
        "SPC-4 7.3.18",
        "a page length that fits, and page 00h among the pages",
        "{:02x?}",
        a.data
    );
    for page in pages {
        let d = c.good(&log_sense(page, 1024), "SPC-4 6.6").await?;
        must!(
            d.len() >= 4 && d[0] & 0x3f == page && be(&d, 2, 2) as usize == d.len() - 4,
            "SPC-4 7.3",
            format!("page {page:02x}h with the length of what follows"),
            "{:02x?}",
            d.get(..8)
        );
        let short = c.good(&log_sense(page, 4), "SPC-4 4.2.5.6").await?;
        must!(short[..] == d[..4], "SPC-4 4.2.5.6", "the first four bytes of the page", "{short:02x?}");
    }
    let a = c.run(&log_sense(0x3e, 256)).await?;
    must!(
        a.is(5, 0x2400),
        "SPC-4 6.6",
        "ILLEGAL REQUEST 24h/00h for a page that is not listed",
        "{}",
        a.words()
    );
    c.bye().await
}
