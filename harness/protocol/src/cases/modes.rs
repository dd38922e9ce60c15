//! Mode pages, sense data, target port groups, protection fields.

use super::access::{of_one_unit, port_groups as groups_of, switched};
use super::cases;
use super::nexus::extended_copy;
use super::offload::{copy_if_offered, own_name};
use super::truth::device_ids;
use crate::cdb::{self, be};
use crate::lab::Lab;
use crate::outcome::{Checked, Stop, must, not_claimed};
use crate::raw::{Client, Cmd};

cases! {
    mode_pages "mode-pages" ["SCS-017"] "Mode pages have the right shape; 6 and 10 bytes agree";
    mode_changeable "mode-changeable" ["SCS-017"] "Only what is changeable can be changed";
    mode_descriptor "mode-block-descriptor" ["SCS-017"] "The block descriptor is taken as it was told, and no other";
    mode_swp "mode-write-protect" ["SCS-017"] "SWP refuses writes and nothing else";
    mode_d_sense "mode-descriptor-sense" ["SCS-016" "SCS-017"] "D_SENSE chooses the format of sense data";
    sense_format "sense-fixed" ["SCS-016"] "Fixed-format sense data are well-formed and point at the field";
    request_sense "request-sense" ["SCS-016"] "REQUEST SENSE answers in the format that was asked for";
    port_groups "target-port-groups" ["SCS-024" "MPX-003"] "REPORT TARGET PORT GROUPS has both formats and agrees with page 83h";
    port_groups_set "target-port-groups-set" ["SCS-024"] "SET TARGET PORT GROUPS exactly when it is claimed";
    switched "target-port-group-standby" ["SCS-024"] "A group set to standby refuses the medium, and everybody else is told";
    of_one_unit "target-port-group-of-one-unit" ["SCS-024"] "A change of one unit leaves the others alone, and copies keep out";
    protection "protection-fields" ["SCS-028"] "RDPROTECT and WRPROTECT are refused on a unit without protection";
}

/// A mode page (without the header) of the given kind of values.
pub(super) async fn mode_page(c: &mut Client, page: u8, control: u8) -> Checked<Vec<u8>> {
    let a = c.run(&Cmd::read(cdb::mode_sense_6(page, control, 255), 255)).await?;
    if a.key(5) {
        return Err(not_claimed(format!("mode page {page:02x}h, values {control}, is not offered")));
    }
    must!(a.good() && a.data.len() > 4, "SPC-4 6.11", "a mode page", "{}", a.words());
    let at = 4 + usize::from(a.data[3]);
    must!(
        usize::from(a.data[0]) + 1 == a.data.len(),
        "SPC-4 7.5.4",
        format!("MODE DATA LENGTH {}", a.data.len() - 1),
        "{}",
        a.data[0]
    );
    let p = a.data.get(at..).unwrap_or_default().to_vec();
    must!(
        p.len() >= 2 && p[0] & 0x3f == page && p.len() == 2 + usize::from(p[1]),
        "SPC-4 7.5.7",
        format!("page {page:02x}h as long as it says"),
        "{p:02x?}"
    );
    Ok(p)
}

/// MODE SELECT (6) of one page; PS is cleared as SPC-4 asks.
async fn select(c: &mut Client, page: &[u8]) -> Checked<crate::raw::Answer> {
    let mut list = vec![0; 4];
    list.extend_from_slice(page);
    list[4] &= 0x7f;
    c.run(&Cmd::write(cdb::mode_select_6(list.len() as u8), list)).await
}

async fn mode_pages(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    for (page, length) in [(0x08u8, 18usize), (0x0a, 10)] {
        let p = mode_page(&mut c, page, 0).await?;
        must!(
            p.len() == 2 + length,
            "SPC-4 7.5.7",
            format!("{length} bytes in page {page:02x}h"),
            "{}",
            p.len() - 2
        );
        let d = c.good(&Cmd::read(cdb::mode_sense_10(page, 0, 255), 255), "SPC-4 6.12").await?;
        let at = 8 + be(&d, 6, 2) as usize;
        must!(d.get(at..) == Some(&p[..]), "SPC-4 6.12", "the same page by 10 bytes", "{d:02x?}");
        must!(
            be(&d, 0, 2) as usize + 2 == d.len(),
            "SPC-4 7.5.4",
            "MODE DATA LENGTH that fits",
            "{}",
            be(&d, 0, 2)
        );
        let mask = mode_page(&mut c, page, 1).await?;
        must!(mask.len() == p.len(), "SPC-4 6.11.3", "a mask as long as the page", "{}", mask.len());
        let default = mode_page(&mut c, page, 2).await?;
        let fixed = p.iter().zip(&default).zip(&mask).skip(2).all(|((p, d), m)| (p ^ d) & !m == 0);
        must!(
            fixed,
            "SPC-4 6.11.4",
            "default values that differ only where the mask allows",
            "{p:02x?} {default:02x?} {mask:02x?}"
        );
    }
    let a = c.run(&Cmd::read(cdb::mode_sense_6(0x2a, 0, 255), 255)).await?;
    must!(
        a.is(5, 0x2400),
        "SPC-4 6.11.1",
        "ILLEGAL REQUEST 24h/00h for a page that is not there",
        "{}",
        a.words()
    );
    let all = c.good(&Cmd::read(cdb::mode_sense_6(0x3f, 0, 255), 255), "SPC-4 6.11").await?;
    must!(all.len() >= 36, "SPC-4 6.11.1", "all pages for page code 3Fh", "{} bytes", all.len());
    c.bye().await
}

async fn mode_changeable(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    for page in [0x08u8, 0x0a] {
        let (p, mask) = (mode_page(&mut c, page, 0).await?, mode_page(&mut c, page, 1).await?);
        let fixed = (2..p.len()).find(|i| mask[*i] != 0xff);
        let Some(at) = fixed else { continue };
        let bit = 1 << (!mask[at]).trailing_zeros();
        let mut wrong = p.clone();
        wrong[at] ^= bit;
        let a = select(&mut c, &wrong).await?;
        if a.is(5, 0x2000) {
            return Err(not_claimed("MODE SELECT (6) is not offered"));
        }
        must!(
            a.key(5),
            "SPC-4 6.9",
            format!("a refusal of a change of byte {at} of page {page:02x}h"),
            "{}",
            a.words()
        );
        let after = mode_page(&mut c, page, 0).await?;
        must!(after == p, "SPC-4 6.9", "the page as before", "{after:02x?}");
    }
    c.bye().await
}

/// Where the answer says which byte of the parameter list it is about, it is one of these.
fn points_at(a: &crate::raw::Answer, bytes: std::ops::Range<usize>) -> Checked {
    if let Some(field) = a.sense.and_then(|s| s.field) {
        must!(
            !field.in_cdb && bytes.contains(&usize::from(field.byte)),
            "SPC-4 4.5.2.4.2",
            format!("a field pointer to one of the bytes {bytes:?} of the parameter list"),
            "{field:?}"
        );
    }
    Ok(())
}

async fn mode_swp(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let (p, mask) = (mode_page(&mut c, 0x0a, 0).await?, mode_page(&mut c, 0x0a, 1).await?);
    if mask[4] & 0x08 == 0 {
        return Err(not_claimed("SWP is not changeable"));
    }
    let mut on = p.clone();
    on[4] |= 0x08;
    let a = select(&mut c, &on).await?;
    must!(a.good(), "SPC-4 7.5.8", "GOOD for SWP=1", "{}", a.words());
    let refused = c.run(&Cmd::write(cdb::write(8600, 1), vec![0xbd; 512])).await?;
    let read = c.run(&Cmd::read(cdb::read(8600, 1), 512)).await?;
    let header = c.run(&Cmd::read(cdb::mode_sense_6(0x0a, 0, 255), 255)).await?;
    let copied = async {
        let id = own_name(&mut c).await?;
        copy_if_offered(&mut c, &extended_copy(&id, &id, [8500, 8600], 1)).await
    }
    .await;
    let back = select(&mut c, &p).await?;
    must!(back.good(), "SPC-4 7.5.8", "GOOD for SWP=0", "{}", back.words());
    must!(
        refused.is(7, 0x2700) || refused.is(7, 0x2702),
        "SBC-3 4.13",
        "DATA PROTECT 27h/0xh for a write",
        "{}",
        refused.words()
    );
    must!(read.good(), "SBC-3 4.13", "GOOD for a read", "{}", read.words());
    match copied {
        // Found before the first segment, or by it.
        Ok(Some(copied)) => {
            must!(
                copied.key(0x0a) || copied.key(7),
                "SPC-4 6.4",
                "COPY ABORTED or DATA PROTECT for a copy to it",
                "{}",
                copied.words()
            );
        }
        Ok(None) | Err(Stop::NotApplicable(_)) => {}
        Err(stop) => return Err(stop),
    }
    must!(
        header.data.get(2).is_some_and(|b| b & 0x80 != 0),
        "SBC-3 6.4.1",
        "WP in the mode parameter header",
        "{:02x?}",
        header.data.get(2)
    );
    c.good(&Cmd::write(cdb::write(8600, 1), vec![1; 512]), "SBC-3 4.13").await?;
    c.bye().await
}

async fn mode_d_sense(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let (p, mask) = (mode_page(&mut c, 0x0a, 0).await?, mode_page(&mut c, 0x0a, 1).await?);
    if mask[2] & 0x04 == 0 {
        return Err(not_claimed("D_SENSE is not changeable"));
    }
    let mut seen = Vec::new();
    for descriptor in [true, false] {
        let mut wanted = p.clone();
        wanted[2] = wanted[2] & !0x04 | if descriptor { 0x04 } else { 0 };
        let a = select(&mut c, &wanted).await?;
        must!(a.good(), "SPC-4 7.5.8", "GOOD for a change of D_SENSE", "{}", a.words());
        let a = c.run(&Cmd::read(cdb::read(lab.blocks(), 1), 512)).await?;
        seen.push((descriptor, a.raw_sense.first().copied().unwrap_or(0) & 0x7f, a));
    }
    for (descriptor, code, a) in seen {
        let wanted = if descriptor { 0x72 } else { 0x70 };
        must!(code == wanted, "SPC-4 4.5.1", format!("response code {wanted:02x}h"), "{code:02x}h");
        must!(a.is(5, 0x2100), "SBC-3 5.11", "ILLEGAL REQUEST 21h/00h", "{}", a.words());
    }
    c.bye().await
}

async fn sense_format(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    for (cmd, asc) in [
        (Cmd::none(cdb::ten(0xff, 0, 0, 0)), 0x2000),
        (Cmd::read(cdb::read(lab.blocks(), 1), 512), 0x2100),
        (Cmd::read([0x12, 0, 9, 0, 255, 0], 255), 0x2400),
    ] {
        let a = c.run(&cmd).await?;
        must!(
            a.is(5, asc),
            "SPC-4 4.5",
            format!("ILLEGAL REQUEST {:02x}h/{:02x}h", asc >> 8, asc & 0xff),
            "{}",
            a.words()
        );
        let s = &a.raw_sense;
        let code = s.first().copied().unwrap_or(0) & 0x7f;
        must!(matches!(code, 0x70 | 0x72), "SPC-4 4.5.1", "current errors", "{code:02x}h");
        must!(
            s.len() >= 8 && usize::from(s[7]) + 8 <= s.len(),
            "SPC-4 4.5.3",
            "an additional length within the sense data",
            "{:02x?}",
            &s[..]
        );
        if code == 0x70 {
            must!(
                s.len() >= 18,
                "SPC-4 4.5.3",
                "at least 18 bytes of fixed-format sense data",
                "{}",
                s.len()
            );
        }
        if let Some(field) = a.sense.and_then(|s| s.field)
            && asc == 0x2400
        {
            must!(
                field.in_cdb && field.byte == 2,
                "SPC-4 4.5.2.4.2",
                "a field pointer to byte 2 of the CDB",
                "{field:?}"
            );
        }
    }
    // Nobody has to look at reserved bits (SPC-4 clause 4.2.5); who does says where they are.
    let mut reserved = cdb::ten(0x28, 0, 0, 1);
    reserved[6] = 0x20;
    let a = c.run(&Cmd::read(reserved, 512)).await?;
    if let Some(field) = a.sense.and_then(|s| s.field)
        && !a.good()
    {
        must!(
            field.in_cdb && field.byte == 6 && field.bit.is_none_or(|bit| (5..=7).contains(&bit)),
            "SPC-4 4.5.2.4.2",
            "a field pointer to the three high bits of byte 6",
            "{field:?}"
        );
    }
    c.bye().await
}

async fn request_sense(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    for (descriptor, code) in [(false, 0x70), (true, 0x72)] {
        let a = c.run(&Cmd::read(cdb::request_sense(descriptor, 252), 252)).await?;
        if descriptor && a.key(5) {
            continue;
        }
        must!(a.good(), "SPC-4 6.39", "GOOD", "{}", a.words());
        let got = a.data.first().copied().unwrap_or(0) & 0x7f;
        must!(got == code, "SPC-4 6.39", format!("response code {code:02x}h"), "{got:02x}h");
        let key = if descriptor { a.data.get(1) } else { a.data.get(2) };
        must!(
            key.is_some_and(|k| k & 0x0f == 0),
            "SPC-4 6.39",
            "NO SENSE when there is nothing to tell",
            "{key:02x?}"
        );
    }
    c.bye().await
}

async fn port_groups(lab: &Lab) -> Checked {
    let mut seen = Vec::new();
    for path in 0..lab.host(0)?.paths.len() {
        let mut c = lab.session_of(0, path).await?;
        let inquiry = c.good(&Cmd::read(cdb::inquiry(36), 36), "SPC-4 6.6").await?;
        if inquiry[5] & 0x30 == 0 {
            return Err(not_claimed("TPGS is 0"));
        }
        let d = c.good(&Cmd::read(cdb::report_target_port_groups(false, 4096), 4096), "SPC-4 6.37").await?;
        must!(
            be(&d, 0, 4) as usize + 4 == d.len(),
            "SPC-4 6.37",
            "RETURN DATA LENGTH that fits",
            "{}",
            be(&d, 0, 4)
        );
        let e = c.run(&Cmd::read(cdb::report_target_port_groups(true, 4096), 4096)).await?;
        if e.good() {
            must!(
                e.data.get(4).is_some_and(|b| b >> 4 & 7 == 1),
                "SPC-4 6.37",
                "format type 1",
                "{:02x?}",
                e.data.get(4)
            );
            must!(e.data.get(8..) == d.get(4..), "SPC-4 6.37", "the same groups in both formats", "others");
        }
        let short = c.good(&Cmd::read(cdb::report_target_port_groups(false, 6), 6), "SPC-4 4.2.5.6").await?;
        must!(short == d[..6], "SPC-4 4.2.5.6", "the same data, cut", "{short:02x?}");
        let mine = device_ids(&mut c).await?;
        let of =
            |kind: u8| mine.iter().find(|(a, k, _)| (*a, *k) == (1, kind)).map(|(_, _, id)| be(id, 2, 2));
        let (group, port) = (of(5).unwrap_or(0), of(4).unwrap_or(0));
        let found = groups_of(&d)
            .any(|g| be(g, 2, 2) == group && g[8..].chunks_exact(4).any(|p| be(p, 2, 2) == port));
        must!(found, "SPC-4 6.37", format!("port {port} in group {group}, as page 83h says"), "{d:02x?}");
        seen.push(d);
        c.bye().await?;
    }
    must!(
        seen.windows(2).all(|w| w[0] == w[1]),
        "SPC-4 5.15.2",
        "the same groups seen over every path",
        "others"
    );
    Ok(())
}

async fn port_groups_set(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let inquiry = c.good(&Cmd::read(cdb::inquiry(36), 36), "SPC-4 6.6").await?;
    let explicit = inquiry[5] & 0x20 != 0;
    // A list without a group changes nothing.
    let mut cdb = [0; 12];
    (cdb[0], cdb[1], cdb[9]) = (0xa4, 0x0a, 4);
    let a = c.run(&Cmd::write(cdb, vec![0; 4])).await?;
    if explicit {
        must!(
            !a.is(5, 0x2000),
            "SPC-4 6.45",
            "SET TARGET PORT GROUPS to be known: TPGS claims it",
            "{}",
            a.words()
        );
    } else {
        must!(
            a.unsupported(),
            "SPC-4 6.45",
            "a refusal: TPGS does not claim explicit changes",
            "{}",
            a.words()
        );
    }
    c.bye().await
}

async fn protection(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let inquiry = c.good(&Cmd::read(cdb::inquiry(36), 36), "SPC-4 6.6").await?;
    if inquiry[5] & 1 != 0 {
        return Err(not_claimed("the unit has protection information"));
    }
    for protect in 1..=5u8 {
        for cmd in [
            Cmd::read(cdb::ten(0x28, protect << 5, 0, 1), 512),
            Cmd::read(cdb::sixteen(0x88, protect << 5, 0, 1), 512),
            Cmd::write(cdb::ten(0x2a, protect << 5, 0, 1), vec![0; 512]),
            Cmd::write(cdb::sixteen(0x8a, protect << 5, 0, 1), vec![0; 512]),
        ] {
            let a = c.run(&cmd).await?;
            must!(
                a.is(5, 0x2400),
                "SBC-3 5.11",
                "ILLEGAL REQUEST 24h/00h",
                "{} for protect {protect}",
                a.words()
            );
        }
    }
    c.bye().await
}

async fn mode_descriptor(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    // DBD is 0: the block descriptor comes too.
    let d = c.good(&Cmd::read([0x1a, 0, 0x0a, 0, 255, 0], 255), "SPC-4 6.11").await?;
    if d.len() < 12 || d[3] != 8 {
        return Err(not_claimed("MODE SENSE (6) gives no short block descriptor"));
    }
    let blocks = lab.blocks().min(u64::from(u32::MAX));
    must!(
        be(&d, 9, 3) == 512 && (be(&d, 4, 4) == blocks || be(&d, 5, 3) == blocks.min(0xff_ffff)),
        "SBC-3 6.4.2",
        format!("{blocks} blocks of 512 bytes in the descriptor"),
        "{} of {}",
        be(&d, 4, 4),
        be(&d, 9, 3)
    );
    let page = mode_page(&mut c, 0x0a, 0).await?;
    let select = |descriptor: &[u8]| {
        let mut list = vec![0, 0, 0, 8];
        list.extend_from_slice(descriptor);
        list.extend_from_slice(&page);
        list[12] &= 0x7f;
        Cmd::write(cdb::mode_select_6(list.len() as u8), list)
    };
    let told = d[4..12].to_vec();
    for (number, what) in [(be(&told, 0, 4) as u32, "as it was told"), (0, "with 0 for as it is")] {
        let mut same = told.clone();
        same[..4].copy_from_slice(&number.to_be_bytes());
        let a = c.run(&select(&same)).await?;
        must!(a.good(), "SPC-4 6.9", format!("GOOD for the block descriptor {what}"), "{}", a.words());
    }
    for (at, value, field, what) in
        [(6usize, 0x10u8, 9..12, "blocks of 4,096 bytes"), (3, told[3] ^ 5, 4..8, "another number of blocks")]
    {
        let mut other = told.clone();
        other[at] = value;
        let a = c.run(&select(&other)).await?;
        must!(a.is(5, 0x2600), "SPC-4 6.9", format!("ILLEGAL REQUEST 26h/00h for {what}"), "{}", a.words());
        points_at(&a, field)?;
    }
    // A page behind the descriptor: what may not be changed in it is found behind it, too.
    let mask = mode_page(&mut c, 0x0a, 1).await?;
    if let Some(at) = (2..page.len()).find(|at| mask[*at] != 0xff) {
        let mut list = vec![0, 0, 0, 8];
        list.extend_from_slice(&told);
        list.extend_from_slice(&page);
        list[12] &= 0x7f;
        list[12 + at] ^= 1 << (!mask[at]).trailing_zeros();
        let a = c.run(&Cmd::write(cdb::mode_select_6(list.len() as u8), list)).await?;
        must!(
            a.key(5),
            "SPC-4 6.9",
            format!("a refusal of a change of byte {at} of page 0Ah"),
            "{}",
            a.words()
        );
        // From byte 8 on there are fields of two bytes: the first of them stands for both.
        points_at(&a, 12 + if at < 8 { at } else { at & !1 }..13 + at)?;
    }
    let after = c.good(&Cmd::read([0x1a, 0, 0x0a, 0, 255, 0], 255), "SPC-4 6.11").await?;
    must!(after == d, "SPC-4 6.9", "mode data as before", "{after:02x?}");
    c.bye().await
}
