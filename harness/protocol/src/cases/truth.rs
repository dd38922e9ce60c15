//! What the unit says about itself, and whether it is true.

use super::{cases, pattern};
use crate::cdb::{self, be};
use crate::lab::{Lab, settle};
use crate::outcome::{Checked, fail, must, not_claimed};
use crate::raw::{Client, Cmd};
use sanbench_wire::scsi::luns::Lun;

cases! {
    inquiry "inquiry" ["SCS-001"] "Standard INQUIRY data are whole and consistent";
    inquiry_cut "inquiry-allocation-length" ["SCS-001"] "INQUIRY data are cut at the allocation length and nowhere else";
    inquiry_evpd "inquiry-page-without-evpd" ["SCS-001" "SCS-028"] "A page code without EVPD is refused";
    inquiry_absent "inquiry-absent-unit" ["SCS-001"] "INQUIRY of a LUN without a unit says so, other commands are refused";
    vpd_list "vpd-list" ["SCS-002"] "The list of VPD pages is sorted, and every listed page can be read";
    vpd_others "vpd-unlisted" ["SCS-002" "SCS-028"] "Every page that is not listed is refused";
    designators "vpd-device-identification" ["SCS-003"] "Page 83h names unit, target port and port group";
    identity "identity-on-all-paths" ["MPX-003" "SCS-003"] "All paths and hosts see the same identity and size";
    serial "vpd-serial" ["SCS-002"] "Page 80h has a serial number that does not change";
    capacity "read-capacity" ["SCS-005"] "READ CAPACITY (10) and (16) agree with each other and with what was asked for";
    capacity_cut "read-capacity-allocation-length" ["SCS-005"] "READ CAPACITY (16) is cut at the allocation length";
    limit_transfer "limit-transfer" ["SCS-004"] "The largest transfer works, one block more is refused";
    limit_unmap "limit-unmap" ["SCS-004" "SCS-007"] "UNMAP at its limits works, beyond them it is refused";
    limit_write_same "limit-write-same" ["SCS-004" "SCS-008"] "WRITE SAME at its limit works, beyond it is refused";
    limit_caw "limit-compare-and-write" ["SCS-004" "SCS-010"] "COMPARE AND WRITE at its limit works, beyond it is refused";
    luns "report-luns" ["SCS-020"] "REPORT LUNS lists the unit, once, for each kind of report";
    luns_cut "report-luns-allocation-length" ["SCS-020"] "The LUN list length does not depend on the allocation length";
    hidden "report-luns-masking" ["SCS-020"] "A unit of another host is neither listed nor reachable";
    every_opcode "opcodes-all" ["SCS-028" "ISC-026"] "All 256 operation codes get an answer, and the stream goes on";
    reserved_bits "cdb-reserved-bits" ["SCS-028"] "A reserved bit in a CDB is refused without effect";
    opcode_truth "supported-opcodes" ["SCS-021"] "Every command that is claimed is known, and each one known is claimed";
}

async fn inquiry(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let d = c.good(&Cmd::read(cdb::inquiry(255), 255), "SPC-4 6.6").await?;
    must!(d.len() >= 36, "SPC-4 6.6.2", "at least 36 bytes", "{}", d.len());
    must!(d[0] == 0, "SPC-4 6.6.2", "a connected block device (00h)", "{:02x}", d[0]);
    must!(d[2] >= 4, "SPC-4 6.6.2", "a version of SPC-2 or later", "{:02x}", d[2]);
    must!(d[3] & 0x0f == 2, "SPC-4 6.6.2", "RESPONSE DATA FORMAT 2", "{}", d[3] & 0x0f);
    must!(
        usize::from(d[4]) + 5 == d.len(),
        "SPC-4 6.6.2",
        format!("ADDITIONAL LENGTH {}", d.len() - 5),
        "{}",
        d[4]
    );
    must!(d[7] & 0x02 != 0, "SPC-4 6.6.2", "CMDQUE", "0");
    must!(
        d[8..36].iter().all(|b| (0x20..0x7f).contains(b)),
        "SPC-4 4.4.1",
        "printable, space-padded vendor, product and revision",
        "{:02x?}",
        &d[8..36]
    );
    c.bye().await
}

async fn inquiry_cut(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let whole = c.good(&Cmd::read(cdb::inquiry(512), 512), "SPC-4 6.6").await?;
    for allocation in [0u16, 1, 4, 5, 35, 36, 37, 255, 511] {
        let seen =
            c.good(&Cmd::read(cdb::inquiry(allocation), u32::from(allocation)), "SPC-4 4.2.5.6").await?;
        let wanted = &whole[..whole.len().min(usize::from(allocation))];
        must!(
            seen == wanted,
            "SPC-4 4.2.5.6",
            format!("the first {} bytes", wanted.len()),
            "{} bytes",
            seen.len()
        );
    }
    c.bye().await
}

async fn inquiry_evpd(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    for page in [0x01, 0x80, 0xff] {
        let a = c.run(&Cmd::read([0x12, 0, page, 0, 255, 0], 255)).await?;
        must!(a.is(5, 0x2400), "SPC-4 6.6.1", "ILLEGAL REQUEST 24h/00h", "{}", a.words());
    }
    c.bye().await
}

async fn inquiry_absent(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let lun = Lun::from_number(222).unwrap_or(Lun::ZERO);
    let a = c.run(&Cmd::read(cdb::inquiry(36), 36).to(lun)).await?;
    let qualifier = a.data.first().copied().unwrap_or(0);
    must!(
        a.good() && qualifier >> 5 != 0,
        "SPC-4 6.6.2",
        "GOOD with a peripheral qualifier of 1 or 3 (7Fh)",
        "{}, first byte {qualifier:02x}",
        a.words()
    );
    for cmd in [Cmd::none(cdb::test_unit_ready()), Cmd::read(cdb::read(0, 1), 512)] {
        let a = c.run(&cmd.to(lun)).await?;
        must!(a.is(5, 0x2500), "SAM-5 5.9.2", "LOGICAL UNIT NOT SUPPORTED (5h, 25h/00h)", "{}", a.words());
    }
    c.bye().await
}

async fn pages(c: &mut Client) -> Checked<Vec<u8>> {
    let list = c.good(&Cmd::read(cdb::vpd(0, 255), 255), "SPC-4 7.8.15").await?;
    must!(list.len() >= 4 && list[1] == 0, "SPC-4 7.8.15", "page 00h", "{:02x?}", list);
    let n = be(&list, 2, 2) as usize;
    must!(list.len() == 4 + n, "SPC-4 7.8.15", format!("{} bytes", 4 + n), "{}", list.len());
    Ok(list[4..].to_vec())
}

async fn vpd_list(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let pages = pages(&mut c).await?;
    must!(pages.windows(2).all(|w| w[0] < w[1]), "SPC-4 7.8.15", "ascending order", "{pages:02x?}");
    for needed in [0x00, 0x83] {
        must!(pages.contains(&needed), "SPC-4 7.8.1", format!("page {needed:02x}h"), "{pages:02x?}");
    }
    for page in pages {
        let d = c.good(&Cmd::read(cdb::vpd(page, 4096), 4096), "SPC-4 7.8").await?;
        must!(
            d.len() >= 4 && d[1] == page,
            "SPC-4 7.8.1",
            format!("page {page:02x}h"),
            "{:02x?}",
            &d[..d.len().min(8)]
        );
        must!(
            d.len() == 4 + be(&d, 2, 2) as usize,
            "SPC-4 7.8.1",
            format!("PAGE LENGTH {} of page {page:02x}h", d.len() - 4),
            "{}",
            be(&d, 2, 2)
        );
        let short = c.good(&Cmd::read(cdb::vpd(page, 5), 5), "SPC-4 4.2.5.6").await?;
        must!(short == d[..d.len().min(5)], "SPC-4 4.2.5.6", "the same bytes, cut", "{short:02x?}");
    }
    c.bye().await
}

async fn vpd_others(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let listed = pages(&mut c).await?;
    for page in (0..=255u8).filter(|p| !listed.contains(p)) {
        let a = c.run(&Cmd::read(cdb::vpd(page, 255), 255)).await?;
        must!(
            a.is(5, 0x2400),
            "SPC-4 6.6.1",
            format!("ILLEGAL REQUEST 24h/00h for page {page:02x}h, which is not listed"),
            "{}",
            a.words()
        );
    }
    c.bye().await
}

/// Association, type and bytes of each designator of page 83h.
pub(super) async fn device_ids(c: &mut Client) -> Checked<Vec<(u8, u8, Vec<u8>)>> {
    let d = c.good(&Cmd::read(cdb::vpd(0x83, 4096), 4096), "SPC-4 7.8.5").await?;
    let (mut rest, mut all) = (d.get(4..).unwrap_or_default(), Vec::new());
    while let [_, kind, _, length, ..] = *rest {
        let end = 4 + usize::from(length);
        let Some(id) = rest.get(4..end) else {
            return Err(fail(
                "SPC-4 7.8.5",
                "designators that fit the page",
                format!("{} bytes left", rest.len()),
            ));
        };
        all.push((kind >> 4 & 3, kind & 0x0f, id.to_vec()));
        rest = &rest[end..];
    }
    must!(rest.is_empty(), "SPC-4 7.8.5", "designators that fill the page", "{} bytes left", rest.len());
    Ok(all)
}

async fn designators(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let ids = device_ids(&mut c).await?;
    let naa = ids.iter().find(|(association, kind, _)| (*association, *kind) == (0, 3));
    let right = naa.is_some_and(|(_, _, id)| {
        matches!((id.first().map(|b| b >> 4), id.len()), (Some(2 | 3 | 5), 8) | (Some(6), 16))
    });
    must!(
        right,
        "SPC-4 7.8.5.6",
        "an NAA designator of the unit, 8 or 16 bytes as its type says",
        "{naa:02x?}"
    );
    must!(
        naa.is_some_and(|(_, _, id)| id.iter().any(|b| *b != 0)),
        "SPC-4 7.8.5.6",
        "an NAA that is not all zeros",
        "{naa:02x?}"
    );
    must!(
        ids.iter().any(|(association, kind, id)| (*association, *kind, id.len()) == (1, 4, 4)),
        "SPC-4 7.8.5.7",
        "a relative target port identifier",
        "{ids:02x?}"
    );
    must!(
        ids.iter().any(|(association, kind, id)| (*association, *kind, id.len()) == (1, 5, 4)),
        "SPC-4 7.8.5.8",
        "a target port group designator",
        "{ids:02x?}"
    );
    c.bye().await
}

async fn identity(lab: &Lab) -> Checked {
    let mut seen: Vec<(String, Vec<u8>, u64)> = Vec::new();
    let mut ports = Vec::new();
    for host in 0..lab.setup.hosts.len() {
        for path in 0..lab.host(host)?.paths.len() {
            let mut c = lab.session_of(host, path).await?;
            let ids = device_ids(&mut c).await?;
            let unit = ids
                .iter()
                .find(|(a, k, _)| (*a, *k) == (0, 3))
                .map(|(_, _, id)| id.clone())
                .unwrap_or_default();
            let d = c.good(&Cmd::read(cdb::read_capacity_16(32), 32), "SBC-3 5.16").await?;
            seen.push((format!("host {host} path {path}"), unit, be(&d, 0, 8)));
            if host == 0 {
                ports.extend(ids.iter().filter(|(a, k, _)| (*a, *k) == (1, 4)).map(|(_, _, id)| id.clone()));
            }
            c.bye().await?;
        }
    }
    for other in &seen[1..] {
        must!(
            other.1 == seen[0].1 && other.2 == seen[0].2,
            "SPC-4 7.8.5",
            format!("the identity and size of {}: {:02x?}, {}", seen[0].0, seen[0].1, seen[0].2),
            "{}: {:02x?}, {}",
            other.0,
            other.1,
            other.2
        );
    }
    if ports.len() < 2 {
        return Err(not_claimed("one path only"));
    }
    must!(
        ports[0] != ports[1],
        "SPC-4 7.8.5.7",
        "another relative target port on each path",
        "{:02x?} twice",
        ports[0]
    );
    Ok(())
}

async fn serial(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    if !pages(&mut c).await?.contains(&0x80) {
        return Err(not_claimed("page 80h is not listed"));
    }
    let a = c.good(&Cmd::read(cdb::vpd(0x80, 255), 255), "SPC-4 7.8.14").await?;
    let mut d = lab.session_of(0, lab.host(0)?.paths.len() - 1).await?;
    let b = d.good(&Cmd::read(cdb::vpd(0x80, 255), 255), "SPC-4 7.8.14").await?;
    must!(a == b, "SPC-4 7.8.14", "one serial number on all paths", "two");
    must!(
        a[4..].iter().any(|b| *b > 0x20),
        "SPC-4 7.8.14",
        "a serial number that is not blank",
        "{:02x?}",
        &a[4..]
    );
    d.bye().await?;
    c.bye().await
}

async fn capacity(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let ten = c.good(&Cmd::read(cdb::read_capacity_10(), 8), "SBC-3 5.15").await?;
    let sixteen = c.good(&Cmd::read(cdb::read_capacity_16(32), 32), "SBC-3 5.16").await?;
    must!(ten.len() == 8, "SBC-3 5.15", "8 bytes", "{}", ten.len());
    must!(sixteen.len() == 32, "SBC-3 5.16", "32 bytes", "{}", sixteen.len());
    let (last, block) = (be(&sixteen, 0, 8), be(&sixteen, 8, 4));
    must!(block == 512, "SBC-3 5.16", "512-byte blocks, as the setup says", "{block}");
    must!(
        last + 1 == lab.blocks(),
        "SBC-3 5.16",
        format!("{} blocks, as made", lab.blocks()),
        "{}",
        last + 1
    );
    let wanted = last.min(0xffff_ffff);
    must!(be(&ten, 0, 4) == wanted, "SBC-3 5.15", format!("last LBA {wanted}"), "{}", be(&ten, 0, 4));
    must!(be(&ten, 4, 4) == block, "SBC-3 5.15", "the same block length", "{}", be(&ten, 4, 4));
    c.bye().await
}

async fn capacity_cut(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let whole = c.good(&Cmd::read(cdb::read_capacity_16(32), 32), "SBC-3 5.16").await?;
    for allocation in [0u32, 1, 8, 12, 31, 64] {
        let seen = c.good(&Cmd::read(cdb::read_capacity_16(allocation), allocation), "SPC-4 4.2.5.6").await?;
        let wanted = &whole[..whole.len().min(allocation as usize)];
        must!(seen == wanted, "SPC-4 4.2.5.6", format!("{} bytes", wanted.len()), "{}", seen.len());
    }
    c.bye().await
}

/// The block limits page.
pub(super) async fn limits(c: &mut Client) -> Checked<Vec<u8>> {
    if !pages(c).await?.contains(&0xb0) {
        return Err(not_claimed("page B0h is not listed"));
    }
    c.good(&Cmd::read(cdb::vpd(0xb0, 255), 255), "SBC-3 6.5.3").await
}

async fn limit_transfer(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let most = be(&limits(&mut c).await?, 8, 4);
    if most == 0 || most > 65_536 || most >= lab.blocks() {
        return Err(not_claimed("no maximum transfer length up to 32 MiB is claimed"));
    }
    let n = most as u32;
    c.good(&Cmd::read(cdb::read(0, n), n * 512), "SBC-3 6.5.3").await?;
    for cmd in [
        Cmd::read(cdb::read(0, n + 1), (n + 1) * 512),
        Cmd::read(cdb::twelve(0xa8, 0, 0, n + 1), (n + 1) * 512),
        Cmd::write(cdb::write(0, n + 1), vec![0; (n as usize + 1) * 512]),
    ] {
        let a = c.run(&cmd).await?;
        must!(a.key(5), "SBC-3 6.5.3", format!("ILLEGAL REQUEST for {} blocks", n + 1), "{}", a.words());
    }
    c.bye().await
}

async fn limit_unmap(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let l = limits(&mut c).await?;
    let (blocks, descriptors) = (be(&l, 20, 4), be(&l, 24, 4));
    if blocks == 0 || descriptors == 0 {
        return Err(not_claimed("UNMAP is not claimed"));
    }
    if descriptors <= 2048 {
        let n = descriptors as usize;
        let list = cdb::unmap_list(&vec![(8, 1); n]);
        c.good(&Cmd::write(cdb::unmap(list.len() as u16), list), "SBC-3 5.28").await?;
        let list = cdb::unmap_list(&vec![(8, 1); n + 1]);
        let a = c.run(&Cmd::write(cdb::unmap(list.len() as u16), list)).await?;
        must!(a.key(5), "SBC-3 5.28", format!("ILLEGAL REQUEST for {} descriptors", n + 1), "{}", a.words());
    }
    if blocks < lab.blocks() {
        let list = cdb::unmap_list(&[(0, blocks as u32 + 1)]);
        let a = c.run(&Cmd::write(cdb::unmap(list.len() as u16), list)).await?;
        must!(a.key(5), "SBC-3 5.28", format!("ILLEGAL REQUEST for {} blocks", blocks + 1), "{}", a.words());
    }
    c.bye().await
}

async fn limit_write_same(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let most = be(&limits(&mut c).await?, 36, 8);
    if most == 0 || most >= lab.blocks() {
        return Err(not_claimed("no maximum WRITE SAME length below the unit's size is claimed"));
    }
    let ws = |n: u64| Cmd::write(cdb::sixteen(0x93, 0, 8192, n as u32), pattern(1, 512));
    c.good(&ws(most.min(lab.blocks() - 8192)), "SBC-3 5.40").await?;
    let a = c.run(&ws(most + 1)).await?;
    must!(a.key(5), "SBC-3 5.40", format!("ILLEGAL REQUEST for {} blocks", most + 1), "{}", a.words());
    c.bye().await
}

async fn limit_caw(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let most = be(&limits(&mut c).await?, 5, 1) as usize;
    if most == 0 {
        let a = c.run(&Cmd::write(cdb::compare_and_write(0, 1), vec![0; 1024])).await?;
        must!(a.key(5), "SBC-3 6.5.3", "ILLEGAL REQUEST: COMPARE AND WRITE is not claimed", "{}", a.words());
        return Err(not_claimed("COMPARE AND WRITE is not claimed"));
    }
    c.good(&Cmd::write(cdb::write(9000, 256), vec![5; 256 * 512]), "SBC-3 5.32").await?;
    let both = |n: usize| [vec![5; n * 512], vec![6; n * 512]].concat();
    c.good(&Cmd::write(cdb::compare_and_write(9000, most as u8), both(most)), "SBC-3 5.2").await?;
    if most < 255 {
        let a = c.run(&Cmd::write(cdb::compare_and_write(9000, most as u8 + 1), both(most + 1))).await?;
        must!(a.key(5), "SBC-3 5.2", format!("ILLEGAL REQUEST for {} blocks", most + 1), "{}", a.words());
    }
    c.bye().await
}

async fn lun_list(c: &mut Client, select: u8) -> Checked<Option<Vec<[u8; 8]>>> {
    let a = c.run(&Cmd::read(cdb::report_luns(select, 65_536), 65_536)).await?;
    if a.key(5) {
        return Ok(None);
    }
    must!(a.good(), "SPC-4 6.33", "GOOD", "{}", a.words());
    let n = be(&a.data, 0, 4) as usize;
    must!(
        a.data.len() == 8 + n && n.is_multiple_of(8),
        "SPC-4 6.33",
        "a list as long as it says",
        "{n} of {}",
        a.data.len()
    );
    Ok(Some(
        a.data[8..]
            .chunks_exact(8)
            .map(|c| {
                let mut lun = [0; 8];
                lun.copy_from_slice(c);
                lun
            })
            .collect(),
    ))
}

async fn luns(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let mine = c.lun.0;
    for select in [0, 2] {
        let list = lun_list(&mut c, select).await?.unwrap_or_default();
        let times = list.iter().filter(|l| **l == mine).count();
        must!(
            times == 1,
            "SPC-4 6.33",
            format!("the unit once in report {select}"),
            "{times} times in {list:02x?}"
        );
    }
    let known = lun_list(&mut c, 1).await?;
    must!(
        known.as_ref().is_none_or(|l| l.iter().all(|l| l[0] == 0xc1)),
        "SPC-4 6.33",
        "well-known units only in report 1",
        "{known:02x?}"
    );
    let a = c.run(&Cmd::read(cdb::report_luns(0x55, 4096), 4096)).await?;
    must!(a.is(5, 0x2400), "SPC-4 6.33", "ILLEGAL REQUEST 24h/00h for SELECT REPORT 55h", "{}", a.words());
    c.bye().await
}

async fn luns_cut(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let whole = c.good(&Cmd::read(cdb::report_luns(0, 4096), 4096), "SPC-4 6.33").await?;
    for allocation in [16u32, 17, 24] {
        let seen = c.good(&Cmd::read(cdb::report_luns(0, allocation), allocation), "SPC-4 6.33").await?;
        let wanted = &whole[..whole.len().min(allocation as usize)];
        must!(seen == wanted, "SPC-4 6.33", "the same list, cut", "{seen:02x?}");
    }
    c.bye().await
}

async fn hidden(lab: &Lab) -> Checked {
    let Some(number) = lab.setup.hidden else {
        return Err(not_claimed("the setup has no unit of another host"));
    };
    let theirs = Lun::from_number(number).unwrap_or(Lun::ZERO);
    let mut owner = lab.session_of(1, 0).await?;
    let list = lun_list(&mut owner, 0).await?.unwrap_or_default();
    must!(list.contains(&theirs.0), "SPC-4 6.33", "the unit in its owner's list", "{list:02x?}");
    let mut c = lab.session().await?;
    let list = lun_list(&mut c, 2).await?.unwrap_or_default();
    must!(list.len() <= 2, "SPC-4 6.33", "no unit of another host", "{list:02x?}");
    if theirs != c.lun {
        let a = c.run(&Cmd::read(cdb::read(0, 1), 512).to(theirs)).await?;
        must!(a.is(5, 0x2500), "SPC-4 6.33", "LOGICAL UNIT NOT SUPPORTED", "{}", a.words());
    }
    owner.bye().await?;
    c.bye().await
}

/// Operation codes that are not tried with all-zero CDBs because they would change the unit for good.
const HARMFUL: &[u8] = &[0x04, 0x07, 0x48, 0x1d, 0x5f, 0x16, 0x17, 0x56, 0x57, 0xa4, 0x15, 0x55, 0x1b];

async fn every_opcode(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let mut known = 0;
    for op in (0..=255u8).filter(|op| !HARMFUL.contains(op)) {
        let mut cdb = [0; 16];
        cdb[0] = op;
        // No data either way: whatever wants some sees an overflow.
        let a = c.run(&Cmd::none(cdb)).await?;
        if a.is(5, 0x2000) {
            continue;
        }
        known += 1;
        must!(
            a.good() || a.key(5) || a.key(6) || a.key(0xe),
            "SPC-4 4.2.5.1",
            format!("an answer to operation code {op:02x}h that fits an empty CDB"),
            "{}",
            a.words()
        );
        if op % 16 == 0 {
            c.alive("an operation code").await?;
        }
    }
    must!(known >= 8, "SBC-3 5.1", "at least the mandatory commands", "{known}");
    settle(&mut c).await?;
    c.bye().await
}

async fn reserved_bits(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    c.good(&Cmd::write(cdb::write(8500, 1), vec![0x5a; 512]), "SBC-3 5.32").await?;
    for (at, bit, mut cdb, what) in [
        (1usize, 0x80u8, Cmd::read(cdb::report_luns(0, 256), 256), "REPORT LUNS"),
        (1, 0x80, Cmd::read(cdb::inquiry(36), 36), "INQUIRY"),
        (1, 0x02, Cmd::none(cdb::test_unit_ready()), "TEST UNIT READY"),
        (3, 0x01, Cmd::read(cdb::read_capacity_10(), 8), "READ CAPACITY (10)"),
    ] {
        cdb.cdb[at] |= bit;
        let a = c.run(&cdb).await?;
        // A device server may ignore reserved fields of commands that change nothing (SPC-4 3.3.10 lets it check them).
        must!(
            a.good() || a.is(5, 0x2400),
            "SPC-4 3.3.10",
            format!("GOOD or ILLEGAL REQUEST 24h/00h for {what} with a reserved bit"),
            "{}",
            a.words()
        );
    }
    let mut bad = Cmd::write(cdb::write(8500, 1), vec![0xbd; 512]);
    bad.cdb[15] = 0x04;
    let a = c.run(&bad).await?;
    must!(a.is(5, 0x2400), "SAM-5 5.2", "ILLEGAL REQUEST 24h/00h for NACA", "{}", a.words());
    let seen = c.good(&Cmd::read(cdb::read(8500, 1), 512), "SBC-3 5.11").await?;
    must!(seen == vec![0x5a; 512], "SPC-4 4.5", "a refused write to have no effect", "{:02x}..", seen[0]);
    c.bye().await
}

async fn opcode_truth(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let a = c.run(&Cmd::read(cdb::maintenance_in(0x0c, 0, 0, 0, 65_536), 65_536)).await?;
    if a.unsupported() {
        return Err(not_claimed("REPORT SUPPORTED OPERATION CODES is not offered"));
    }
    must!(a.good(), "SPC-4 6.35", "GOOD", "{}", a.words());
    let n = be(&a.data, 0, 4) as usize;
    must!(a.data.len() == 4 + n, "SPC-4 6.35", format!("{} bytes", 4 + n), "{}", a.data.len());
    let (mut rest, mut claimed) = (&a.data[4..], Vec::new());
    while rest.len() >= 8 {
        let action = (rest[5] & 1 != 0).then(|| be(rest, 2, 2) as u16);
        claimed.push((rest[0], action, be(rest, 6, 2) as usize));
        rest = &rest[if rest[5] & 2 != 0 { 20.min(rest.len()) } else { 8 }..];
    }
    for needed in [0x00, 0x12, 0x25, 0xa0] {
        must!(
            claimed.iter().any(|(op, ..)| *op == needed),
            "SPC-4 6.35",
            format!("{needed:02x}h in the list"),
            "absent"
        );
    }
    for (op, action, length) in &claimed {
        let option = if action.is_some() { 2 } else { 1 };
        let ask = cdb::maintenance_in(0x0c, option, *op, action.unwrap_or(0), 512);
        let d = c.good(&Cmd::read(ask, 512), "SPC-4 6.35").await?;
        let support = d.get(1).copied().unwrap_or(0) & 7;
        must!(
            matches!(support, 3 | 5),
            "SPC-4 6.35",
            format!("SUPPORT 3 for {op:02x}h {action:x?}"),
            "{support}"
        );
        must!(
            be(&d, 2, 2) as usize == *length && d.get(4) == Some(op),
            "SPC-4 6.35",
            format!("a usage map of {length} bytes that begins with {op:02x}h"),
            "{:02x?}",
            d
        );
        if HARMFUL.contains(op) || *length > 16 {
            continue;
        }
        let mut cdb = [0; 16];
        cdb[0] = *op;
        if let Some(sa) = action {
            cdb[1] = (*sa & 0x1f) as u8;
        }
        let a = c.run(&Cmd::none(cdb)).await?;
        must!(
            !a.is(5, 0x2000),
            "SPC-4 6.35",
            format!("{op:02x}h, which is claimed, to be known"),
            "{}",
            a.words()
        );
    }
    for op in (0..=255u8).filter(|op| !HARMFUL.contains(op) && !claimed.iter().any(|(o, ..)| o == op)) {
        let mut cdb = [0; 16];
        cdb[0] = op;
        let a = c.run(&Cmd::none(cdb)).await?;
        must!(
            a.is(5, 0x2000),
            "SPC-4 6.35",
            format!("{op:02x}h, which is not claimed, to be refused with 20h/00h"),
            "{}",
            a.words()
        );
    }
    settle(&mut c).await?;
    c.bye().await
}
