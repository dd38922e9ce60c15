//! Unmapping, repeating, and what GET LBA STATUS says of it.

use super::blocks::{fill, offered, reads};
use super::truth::limits;
use super::{cases, difference, pattern};
use crate::cdb::{self, be};
use crate::lab::Lab;
use crate::outcome::{Checked, must, not_claimed};
use crate::raw::{Answer, Client, Cmd};

const AT: u64 = 10_000;

cases! {
    unmap "unmap-neighbours" ["SCS-007" "DAT-003"] "UNMAP zeroes its own blocks and no others";
    unmap_many "unmap-many" ["SCS-007"] "Several descriptors are all unmapped, empty ones do nothing";
    unmap_partly "unmap-partly-wrong" ["SCS-007" "ISC-008"] "A descriptor past the end fails the command, once";
    unmap_lists "unmap-bad-lists" ["SCS-007" "SCS-028"] "Parameter lists that are too short are refused or do nothing";
    unmap_claims "unmap-claims" ["SCS-002" "SCS-007"] "LBPU, the block limits, the list of commands and UNMAP agree, thin or not";
    same "write-same" ["SCS-008"] "WRITE SAME (10) and (16) repeat one block";
    same_none "write-same-no-data" ["SCS-008"] "NDOB writes zeros";
    same_unmap "write-same-unmap" ["SCS-008" "DAT-003"] "WRITE SAME with UNMAP leaves what a read must show";
    same_claims "write-same-claims" ["SCS-002" "SCS-008"] "WRITE SAME unmaps in the forms that are claimed, and only in those, thin or not";
    same_end "write-same-to-the-end" ["SCS-008" "SCS-004"] "A length of zero means to the end, or is refused as claimed";
    status "lba-status" ["SCS-009"] "GET LBA STATUS follows writes and unmaps";
}

pub(super) async fn unmap_run(c: &mut Client, ranges: &[(u64, u32)]) -> Checked<Answer> {
    let list = cdb::unmap_list(ranges);
    c.run(&Cmd::write(cdb::unmap(list.len() as u16), list)).await
}

/// Does the unit claim UNMAP (LBPU) and zeros after it (LBPRZ)?
pub(super) async fn thin(c: &mut Client) -> Checked<bool> {
    let a = c.run(&Cmd::read(cdb::vpd(0xb2, 64), 64)).await?;
    if !a.good() || a.data.get(5).is_none_or(|b| b & 0x80 == 0) {
        return Err(not_claimed("LBPU is not claimed"));
    }
    let d = c.good(&Cmd::read(cdb::read_capacity_16(32), 32), "SBC-3 5.16").await?;
    Ok(d.get(14).is_some_and(|b| b & 0x40 != 0))
}

/// Whether REPORT SUPPORTED OPERATION CODES lists a command without service actions; `None` where it is not offered.
async fn supported(c: &mut Client, op: u8) -> Checked<Option<bool>> {
    let a = c.run(&Cmd::read(cdb::maintenance_in(0x0c, 1, op, 0, 512), 512)).await?;
    if a.unsupported() {
        return Ok(None);
    }
    must!(a.good(), "SPC-4 6.35", "GOOD", "{}", a.words());
    let support = a.data.get(1).copied().unwrap_or(0) & 7;
    must!(matches!(support, 1 | 3 | 5), "SPC-4 6.35", "SUPPORT 1, 3 or 5", "{support}");
    Ok(Some(support != 1))
}

async fn unmap(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let zeros = thin(&mut c).await?;
    for (at, n) in [(8u64, 8u32), (3, 1), (1, 14), (7, 9), (9, 40), (0, 64)] {
        let data = fill(&mut c, AT, 128, 25).await?;
        let a = unmap_run(&mut c, &[(AT + at, n)]).await?;
        must!(a.good(), "SBC-3 5.28", "GOOD", "{}", a.words());
        let seen = c.good(&Cmd::read(cdb::read(AT, 128), 65_536), "SBC-3 5.11").await?;
        let (from, to) = (at as usize * 512, (at as usize + n as usize) * 512);
        must!(
            seen[..from] == data[..from] && seen[to..] == data[to..],
            "SBC-3 5.28",
            "the neighbours as they were",
            "{}",
            difference(&[&data[..from], &seen[from..to], &data[to..]].concat(), &seen)
        );
        // Deallocated or not is the unit's choice; with LBPRZ the read is zeros in the former case.
        let gone = &seen[from..to];
        let each = gone.chunks(512).zip(data[from..to].chunks(512));
        if zeros {
            must!(
                each.clone().all(|(s, _)| s.iter().all(|b| *b == 0)),
                "SBC-3 4.7.3.5",
                "zeros in unmapped blocks (LBPRZ)",
                "others in blocks {at}+{n}"
            );
        }
    }
    c.bye().await
}

async fn unmap_many(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let zeros = thin(&mut c).await?;
    let data = fill(&mut c, AT, 64, 26).await?;
    let a = unmap_run(&mut c, &[(AT, 8), (AT + 16, 0), (AT + 24, 8), (AT + 56, 8)]).await?;
    must!(a.good(), "SBC-3 5.28", "GOOD", "{}", a.words());
    let mut wanted = data;
    if zeros {
        for at in [0usize, 24, 56] {
            wanted[at * 512..(at + 8) * 512].fill(0);
        }
        reads(&mut c, AT, &wanted, "SBC-3 5.28").await?;
    }
    let a = unmap_run(&mut c, &[]).await?;
    must!(a.good(), "SBC-3 5.28", "GOOD for no descriptor", "{}", a.words());
    c.good(&Cmd::none(cdb::unmap(0)), "SBC-3 5.28").await?;
    c.bye().await
}

async fn unmap_partly(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    thin(&mut c).await?;
    let end = lab.blocks();
    let lists: [&[(u64, u32)]; 4] = [
        &[(AT, 8), (end, 1)],
        &[(end - 1, 2), (AT, 8)],
        &[(end, 8), (AT, 8), (AT + 8, 8)],
        &[(AT, 8), (u64::MAX - 4, 8), (AT + 8, 8)],
    ];
    for list in lists {
        let a = unmap_run(&mut c, list).await?;
        must!(
            a.is(5, 0x2100),
            "SBC-3 5.28",
            format!("ILLEGAL REQUEST 21h/00h for descriptors {list:?} of {end} blocks"),
            "{}",
            a.words()
        );
        c.quiet(lab.quiet(), "RFC 7143 11.4", "one response and no second one").await?;
        c.alive("an UNMAP that failed").await?;
    }
    c.bye().await
}

async fn unmap_lists(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    thin(&mut c).await?;
    let data = fill(&mut c, AT, 8, 27).await?;
    // One byte to seven: no whole header (SBC-3 lets 0 mean nothing).
    for n in [1u16, 4, 7] {
        let a = c.run(&Cmd::write(cdb::unmap(n), vec![0; usize::from(n)])).await?;
        must!(
            a.is(5, 0x1a00),
            "SBC-3 5.28.1",
            format!("PARAMETER LIST LENGTH ERROR for {n} bytes"),
            "{}",
            a.words()
        );
    }
    // More descriptors promised than sent.
    let mut list = cdb::unmap_list(&[(AT, 8)]);
    list[3] = 32;
    let a = c.run(&Cmd::write(cdb::unmap(24), list)).await?;
    must!(
        a.good() || a.key(5),
        "SBC-3 5.28.2",
        "GOOD for what is there, or ILLEGAL REQUEST",
        "{}",
        a.words()
    );
    if !a.good() {
        reads(&mut c, AT, &data, "SPC-4 4.5").await?;
    }
    c.bye().await
}

async fn unmap_claims(lab: &Lab) -> Checked {
    for mut c in lab.units().await? {
        let p = c.run(&Cmd::read(cdb::vpd(0xb2, 64), 64)).await?;
        let claimed = p.good() && p.data.get(5).is_some_and(|b| b & 0x80 != 0);
        let kept = fill(&mut c, AT, 8, 36).await?;
        let a = unmap_run(&mut c, &[(AT, 8)]).await?;
        let d = c.good(&Cmd::read(cdb::read_capacity_16(32), 32), "SBC-3 5.16").await?;
        let managed = d.get(14).is_some_and(|b| b & 0x80 != 0);
        if claimed {
            must!(a.good(), "SBC-3 6.5.4", "GOOD: LBPU is claimed", "{}", a.words());
            let l = limits(&mut c).await?;
            must!(
                be(&l, 20, 4) > 0 && be(&l, 24, 4) > 0,
                "SBC-3 6.5.3",
                "UNMAP limits other than 0",
                "{} blocks, {} descriptors",
                be(&l, 20, 4),
                be(&l, 24, 4)
            );
            must!(managed, "SBC-3 5.16", "LBPME together with LBPU", "0");
        } else {
            must!(a.key(5), "SBC-3 6.5.4", "ILLEGAL REQUEST: LBPU is not claimed", "{}", a.words());
            reads(&mut c, AT, &kept, "SPC-4 4.5").await?;
        }
        if let Some(listed) = supported(&mut c, 0x42).await? {
            let words =
                ["UNMAP not to be listed: LBPU is not claimed", "UNMAP to be listed: LBPU is claimed"];
            must!(listed == claimed, "SPC-4 6.35", words[usize::from(claimed)], "the contrary");
        }
        c.bye().await?;
    }
    Ok(())
}

async fn same(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let one = pattern(28, 512);
    for (n, cmd) in [
        Cmd::write(cdb::ten(0x41, 0, AT as u32 + 2, 20), one.clone()),
        Cmd::write(cdb::sixteen(0x93, 0, AT + 2, 20), one.clone()),
    ]
    .into_iter()
    .enumerate()
    {
        let mut wanted = fill(&mut c, AT, 24, n as u8).await?;
        let a = c.run(&cmd).await?;
        offered(&a, "WRITE SAME")?;
        must!(a.good(), "SBC-3 5.39", "GOOD", "{}", a.words());
        wanted[1024..22 * 512].chunks_mut(512).for_each(|b| b.copy_from_slice(&one));
        reads(&mut c, AT, &wanted, "SBC-3 5.39").await?;
    }
    c.bye().await
}

async fn same_none(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let mut wanted = fill(&mut c, AT, 16, 29).await?;
    let a = c.run(&Cmd::none(cdb::sixteen(0x93, 0x01, AT + 1, 9))).await?;
    if a.unsupported() {
        return Err(not_claimed("NDOB is not offered"));
    }
    must!(a.good(), "SBC-3 5.40", "GOOD", "{}", a.words());
    wanted[512..10 * 512].fill(0);
    reads(&mut c, AT, &wanted, "SBC-3 5.40").await?;
    c.bye().await
}

async fn same_unmap(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let p = c.run(&Cmd::read(cdb::vpd(0xb2, 64), 64)).await?;
    if !p.good() || p.data.get(5).is_none_or(|b| b & 0x40 == 0) {
        return Err(not_claimed("LBPWS is not claimed"));
    }
    for (at, n, data) in [(8u64, 8u32, vec![0; 512]), (3, 7, vec![0; 512]), (5, 9, pattern(30, 512))] {
        let mut wanted = fill(&mut c, AT, 32, 31).await?;
        c.good(&Cmd::write(cdb::sixteen(0x93, 0x08, AT + at, n), data.clone()), "SBC-3 5.40").await?;
        let (from, to) = (at as usize * 512, (at as usize + n as usize) * 512);
        // Blocks that cannot be unmapped as if they held the data are written (SBC-3 table on UNMAP and ANCHOR).
        wanted[from..to].chunks_mut(512).for_each(|b| b.copy_from_slice(&data));
        reads(&mut c, AT, &wanted, "SBC-3 5.40").await?;
    }
    c.bye().await
}

async fn same_claims(lab: &Lab) -> Checked {
    for c in lab.units().await? {
        same_as_claimed(c).await?;
    }
    Ok(())
}

async fn same_as_claimed(mut c: Client) -> Checked {
    let p = c.run(&Cmd::read(cdb::vpd(0xb2, 64), 64)).await?;
    let claims = if p.good() { p.data.get(5).copied().unwrap_or(0) } else { 0 };
    let zeros = vec![0; 512];
    let (sixteen, ten) = (cdb::sixteen(0x93, 0x08, AT + 8, 8), cdb::ten(0x41, 0x08, AT as u32 + 8, 8));
    for (name, bit, cmd) in [
        ("LBPWS", 0x40, Cmd::write(sixteen, zeros.clone())),
        ("LBPWS10", 0x20, Cmd::write(ten, zeros.clone())),
    ] {
        let mut wanted = fill(&mut c, AT, 32, 35).await?;
        let a = c.run(&cmd).await?;
        if claims & bit != 0 {
            must!(a.good(), "SBC-3 6.5.4", format!("GOOD: {name} is claimed"), "{}", a.words());
            wanted[8 * 512..16 * 512].fill(0);
        } else {
            must!(
                a.is(5, 0x2400) || a.is(5, 0x2000),
                "SBC-3 6.5.4",
                format!("ILLEGAL REQUEST 24h/00h: {name} is not claimed"),
                "{}",
                a.words()
            );
        }
        reads(&mut c, AT, &wanted, "SBC-3 6.5.4").await?;
    }
    c.bye().await
}

async fn same_end(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let l = limits(&mut c).await?;
    let refuses = l.get(4).is_some_and(|b| b & 1 != 0);
    let at = lab.blocks() - 64;
    fill(&mut c, at - 1, 65, 32).await?;
    let a = c.run(&Cmd::write(cdb::sixteen(0x93, 0, at, 0), pattern(33, 512))).await?;
    offered(&a, "WRITE SAME (16)")?;
    if refuses {
        must!(a.is(5, 0x2400), "SBC-3 6.5.3", "ILLEGAL REQUEST 24h/00h: WSNZ is 1", "{}", a.words());
    } else {
        must!(a.good(), "SBC-3 5.40", "GOOD for a length of zero: WSNZ is 0", "{}", a.words());
        let wanted: Vec<u8> = pattern(33, 512).repeat(64);
        reads(&mut c, at, &wanted, "SBC-3 5.40").await?;
    }
    c.bye().await
}

async fn status(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    thin(&mut c).await?;
    let probe = c.run(&Cmd::read(cdb::get_lba_status(0, 24), 24)).await?;
    if probe.unsupported() {
        return Err(not_claimed("GET LBA STATUS is not offered"));
    }
    let at = 1u64 << 15;
    fill(&mut c, at, 64, 34).await?;
    let d = c.good(&Cmd::read(cdb::get_lba_status(at, 24), 24), "SBC-3 5.5").await?;
    must!(d.len() >= 24, "SBC-3 5.5", "at least one descriptor", "{} bytes", d.len());
    must!(
        be(&d, 8, 8) == at,
        "SBC-3 5.5",
        format!("a first descriptor that begins at {at}"),
        "{}",
        be(&d, 8, 8)
    );
    must!(
        be(&d, 16, 4) >= 64 && d[20] & 15 == 0,
        "SBC-3 5.5",
        "64 mapped blocks",
        "{} of status {}",
        be(&d, 16, 4),
        d[20]
    );
    let a = unmap_run(&mut c, &[(at, 64)]).await?;
    must!(a.good(), "SBC-3 5.28", "GOOD", "{}", a.words());
    let d = c.good(&Cmd::read(cdb::get_lba_status(at, 24), 24), "SBC-3 5.5").await?;
    must!(be(&d, 8, 8) == at && be(&d, 16, 4) > 0, "SBC-3 5.5", "a descriptor from there", "{d:02x?}");
    let a = c.run(&Cmd::read(cdb::get_lba_status(lab.blocks(), 24), 24)).await?;
    must!(a.is(5, 0x2100), "SBC-3 5.5", "ILLEGAL REQUEST 21h/00h past the end", "{}", a.words());
    c.bye().await
}
