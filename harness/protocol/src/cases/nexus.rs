//! What passes between nexuses: reservations, unit attentions.

use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::pdu::TaskFunction;
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::status::Status;

use super::modes::mode_page;
use super::moves::moved;
use super::offload::run_copy;
use super::{cases, difference, pattern};
use crate::cdb::{self, be};
use crate::lab::{Lab, settle, settle_at};
use crate::outcome::{Checked, Stop, fail, must, not_claimed};
use crate::raw::{Answer, Client, Cmd};

cases! {
    register "reservation-register" ["SCS-012"] "Keys are registered, replaced, read and removed, and the generation counts";
    refused "reservation-wrong-key" ["SCS-012"] "A wrong key is a conflict; no registration, no reservation";
    matrix "reservation-matrix" ["SCS-014" "SCS-012"] "Type by type: who may read and write, and who may always ask";
    release "reservation-release" ["SCS-012"] "Only the holder releases, and only what it holds";
    preempt "reservation-preempt" ["SCS-012" "SCS-015"] "PREEMPT takes the reservation and tells the loser once";
    clear "reservation-clear" ["SCS-012" "SCS-015"] "CLEAR removes everything and tells the others";
    full_status "reservation-full-status" ["SCS-012"] "READ FULL STATUS names the registrants";
    capabilities "reservation-capabilities" ["SCS-012"] "REPORT CAPABILITIES is well-formed";
    moved "reservation-move" ["SCS-012" "SCS-015"] "REGISTER AND MOVE makes another nexus the holder, whether it has a session or not";
    across_paths "reservation-other-path" ["MPX-009" "SCS-012"] "A reservation binds the other path of the same host too";
    relogin "reservation-relogin" ["SCS-012" "ISC-014"] "The same ISID on the same path is the same nexus after a new login";
    legacy "reserve-6" ["SCS-014" "SCS-012"] "RESERVE (6) keeps others out until released";
    once "attention-once" ["SCS-015"] "A unit attention is reported once to each nexus";
    silent "attention-not-on-inquiry" ["SCS-015"] "INQUIRY, REPORT LUNS and REQUEST SENSE do not fail for a unit attention";
    modes "attention-mode-change" ["SCS-015" "SCS-017"] "A mode change is told to the others, not to who made it";
    copy_hidden "copy-from-hidden-unit" ["ATT-001" "SCS-022" "SCS-020"] "EXTENDED COPY reaches no unit that the nexus may not";
    hidden_reset "reset-of-hidden-unit" ["SCS-020" "ISC-012"] "A unit of another host cannot be reset";
    resized "attention-resize" ["EXT-003" "SCS-015"] "A resize is told to every nexus once, and every path shows the new size";
}

const AT: u64 = 12_000;
pub(super) const A: u64 = 0xa11c_e000_0000_0001;
pub(super) const B: u64 = 0xb0b0_0000_0000_0002;

pub(super) async fn out(c: &mut Client, action: u8, kind: u8, key: u64, action_key: u64) -> Checked<Answer> {
    c.run(&Cmd::write(cdb::pr_out(action, 0, kind), cdb::pr_out_data(key, action_key, false))).await
}

pub(super) async fn good(c: &mut Client, action: u8, kind: u8, key: u64, action_key: u64) -> Checked {
    let a = out(c, action, kind, key, action_key).await?;
    if a.is(5, 0x2000) {
        return Err(not_claimed("PERSISTENT RESERVE OUT is not offered"));
    }
    must!(a.good(), "SPC-4 6.16", format!("GOOD for service action {action}, type {kind}"), "{}", a.words());
    Ok(())
}

pub(super) async fn keys(c: &mut Client) -> Checked<(u64, Vec<u64>)> {
    let d = c.good(&Cmd::read(cdb::pr_in(0, 1024), 1024), "SPC-4 6.15.2").await?;
    let n = be(&d, 4, 4) as usize;
    must!(d.len() == 8 + n, "SPC-4 6.15.2", format!("{} bytes", 8 + n), "{}", d.len());
    Ok((be(&d, 0, 4), d[8..].chunks_exact(8).map(|k| be(k, 0, 8)).collect()))
}

/// The holder's key and type, if there is a reservation.
pub(super) async fn reservation(c: &mut Client) -> Checked<Option<(u64, u8)>> {
    let d = c.good(&Cmd::read(cdb::pr_in(1, 64), 64), "SPC-4 6.15.3").await?;
    Ok((be(&d, 4, 4) == 16).then(|| (be(&d, 8, 8), d[21] & 15)))
}

pub(super) fn conflict(a: &Answer, what: &str) -> Checked {
    must!(
        a.status == Status::RESERVATION_CONFLICT,
        "SPC-4 5.14",
        format!("RESERVATION CONFLICT for {what}"),
        "{}",
        a.words()
    );
    Ok(())
}

/// Two hosts' sessions, with no registration left of anything before.
pub(super) async fn pair(lab: &Lab) -> Checked<(Client, Client)> {
    let mut a = lab.session_of(0, 0).await?;
    let mut b = lab.session_of(1, 0).await?;
    wipe(&mut a, A).await?;
    settle(&mut b).await?;
    settle(&mut a).await?;
    Ok((a, b))
}

pub(super) async fn wipe(c: &mut Client, key: u64) -> Checked {
    good(c, 6, 0, 0, key).await?;
    good(c, 3, 0, key, 0).await
}

pub(super) async fn done(mut a: Client, mut b: Client) -> Checked {
    settle(&mut a).await?;
    wipe(&mut a, A).await?;
    settle(&mut b).await?;
    a.bye().await?;
    b.bye().await
}

async fn register(lab: &Lab) -> Checked {
    let (mut a, mut b) = pair(lab).await?;
    let (before, none) = keys(&mut a).await?;
    must!(none.is_empty(), "SPC-4 5.14.11", "no key after CLEAR", "{none:x?}");
    good(&mut a, 0, 0, 0, A).await?;
    good(&mut b, 0, 0, 0, B).await?;
    let (after, mut all) = keys(&mut a).await?;
    all.sort_unstable();
    must!(all == [A, B], "SPC-4 6.15.2", "both keys", "{all:x?}");
    must!(after == before + 2, "SPC-4 6.15.2", format!("PRGENERATION {}", before + 2), "{after}");
    good(&mut b, 0, 0, B, B + 1).await?;
    let (_, all) = keys(&mut a).await?;
    must!(all.contains(&(B + 1)) && !all.contains(&B), "SPC-4 5.14.7", "the replaced key", "{all:x?}");
    good(&mut b, 0, 0, B + 1, 0).await?;
    let (_, all) = keys(&mut a).await?;
    must!(all == [A], "SPC-4 5.14.11.3", "one key after unregistering", "{all:x?}");
    done(a, b).await
}

async fn refused(lab: &Lab) -> Checked {
    let (mut a, mut b) = pair(lab).await?;
    conflict(&out(&mut b, 1, 1, B, 0).await?, "RESERVE without a registration")?;
    good(&mut a, 0, 0, 0, A).await?;
    conflict(&out(&mut a, 0, 0, A + 7, A).await?, "REGISTER with a wrong key")?;
    conflict(&out(&mut a, 1, 1, A + 7, 0).await?, "RESERVE with a wrong key")?;
    conflict(&out(&mut b, 0, 0, 1, B).await?, "REGISTER of a newcomer with a key")?;
    let held = reservation(&mut a).await?;
    must!(held.is_none(), "SPC-4 5.14", "no reservation", "{held:x?}");
    let bad = out(&mut a, 1, 2, A, 0).await?;
    must!(bad.is(5, 0x2400), "SPC-4 6.15.3.3", "ILLEGAL REQUEST 24h/00h for type 2", "{}", bad.words());
    let bad = out(&mut a, 0x1e, 0, A, 0).await?;
    must!(
        bad.is(5, 0x2400),
        "SPC-4 6.16",
        "ILLEGAL REQUEST 24h/00h for service action 1Eh",
        "{}",
        bad.words()
    );
    let list = a.run(&Cmd::write(cdb::ten(0x5f, 0, 0, 8), vec![0; 8])).await?;
    must!(list.is(5, 0x1a00), "SPC-4 6.16.3", "PARAMETER LIST LENGTH ERROR for 8 bytes", "{}", list.words());
    done(a, b).await
}

async fn matrix(lab: &Lab) -> Checked {
    let (mut a, mut b) = pair(lab).await?;
    for (kind, exclusive, registrants) in [
        (1u8, false, false),
        (3, true, false),
        (5, false, true),
        (6, true, true),
        (7, false, true),
        (8, true, true),
    ] {
        for registered in [false, true] {
            good(&mut a, 6, 0, 0, A).await?;
            if registered {
                good(&mut b, 6, 0, 0, B).await?;
            }
            good(&mut a, 1, kind, A, 0).await?;
            let held = reservation(&mut b).await?;
            must!(held.is_some_and(|(_, t)| t == kind), "SPC-4 6.15.3", format!("type {kind}"), "{held:x?}");
            let free = registrants && registered;
            let write = b.run(&Cmd::write(cdb::write(AT, 1), vec![3; 512])).await?;
            let read = b.run(&Cmd::read(cdb::read(AT, 1), 512)).await?;
            let what = format!(
                "a host that is{} registered under type {kind}",
                if registered { "" } else { " not" }
            );
            if free {
                must!(
                    write.good(),
                    "SPC-4 5.14 table",
                    format!("GOOD for a write of {what}"),
                    "{}",
                    write.words()
                );
            } else {
                conflict(&write, &format!("a write of {what}"))?;
            }
            if exclusive && !free {
                conflict(&read, &format!("a read of {what}"))?;
            } else {
                must!(
                    read.good(),
                    "SPC-4 5.14 table",
                    format!("GOOD for a read of {what}"),
                    "{}",
                    read.words()
                );
            }
            for (name, cmd) in [
                ("INQUIRY", Cmd::read(cdb::inquiry(36), 36)),
                ("REPORT LUNS", Cmd::read(cdb::report_luns(0, 256), 256)),
                ("TEST UNIT READY", Cmd::none(cdb::test_unit_ready())),
                ("READ CAPACITY (16)", Cmd::read(cdb::read_capacity_16(32), 32)),
                ("PERSISTENT RESERVE IN", Cmd::read(cdb::pr_in(0, 64), 64)),
            ] {
                let r = b.run(&cmd).await?;
                must!(r.good(), "SPC-4 5.14 table", format!("GOOD for {name} of {what}"), "{}", r.words());
            }
            if !free {
                let r = b.run(&Cmd::write(cdb::unmap(24), cdb::unmap_list(&[(AT, 1)]))).await?;
                if !r.is(5, 0x2000) {
                    conflict(&r, &format!("UNMAP of {what}"))?;
                }
            }
            let own = a.run(&Cmd::write(cdb::write(AT, 1), vec![4; 512])).await?;
            must!(
                own.good(),
                "SPC-4 5.14 table",
                format!("GOOD for the holder under type {kind}"),
                "{}",
                own.words()
            );
            wipe(&mut a, A).await?;
            settle(&mut b).await?;
        }
    }
    done(a, b).await
}

async fn release(lab: &Lab) -> Checked {
    let (mut a, mut b) = pair(lab).await?;
    good(&mut a, 0, 0, 0, A).await?;
    good(&mut b, 0, 0, 0, B).await?;
    good(&mut a, 1, 3, A, 0).await?;
    good(&mut a, 1, 3, A, 0).await?;
    conflict(&out(&mut a, 1, 1, A, 0).await?, "RESERVE of another type by the holder")?;
    conflict(&out(&mut b, 1, 3, B, 0).await?, "RESERVE by another host")?;
    good(&mut b, 2, 3, B, 0).await?;
    let held = reservation(&mut a).await?;
    must!(
        held == Some((A, 3)),
        "SPC-4 5.14.11.2",
        "the reservation to outlive a release of somebody else",
        "{held:x?}"
    );
    let wrong = out(&mut a, 2, 1, A, 0).await?;
    must!(
        wrong.is(5, 0x2604),
        "SPC-4 5.14.11.2.2",
        "INVALID RELEASE OF PERSISTENT RESERVATION (26h/04h)",
        "{}",
        wrong.words()
    );
    good(&mut a, 2, 3, A, 0).await?;
    let held = reservation(&mut a).await?;
    must!(held.is_none(), "SPC-4 5.14.11.2", "no reservation after the release", "{held:x?}");
    done(a, b).await
}

async fn preempt(lab: &Lab) -> Checked {
    let (mut a, mut b) = pair(lab).await?;
    good(&mut a, 0, 0, 0, A).await?;
    good(&mut b, 0, 0, 0, B).await?;
    good(&mut a, 1, 3, A, 0).await?;
    good(&mut b, 4, 3, B, A).await?;
    let held = reservation(&mut b).await?;
    must!(
        held == Some((B, 3)),
        "SPC-4 5.14.11.4",
        "the preempting host to hold the reservation",
        "{held:x?}"
    );
    let (_, all) = keys(&mut b).await?;
    must!(all == [B], "SPC-4 5.14.11.4", "the loser's registration to be gone", "{all:x?}");
    let first = a.run(&Cmd::none(cdb::test_unit_ready())).await?;
    must!(
        first.is(6, 0x2a05) || first.is(6, 0x2a03),
        "SPC-4 5.14.11.4",
        "a unit attention REGISTRATIONS PREEMPTED (2Ah/05h) for the loser",
        "{}",
        first.words()
    );
    let second = a.run(&Cmd::none(cdb::test_unit_ready())).await?;
    must!(!second.key(6), "SAM-5 5.14", "the unit attention once", "{}", second.words());
    let own = b.run(&Cmd::none(cdb::test_unit_ready())).await?;
    must!(own.good(), "SPC-4 5.14.11.4", "no unit attention for who preempted", "{}", own.words());
    conflict(&a.run(&Cmd::read(cdb::read(AT, 1), 512)).await?, "a read of the loser")?;
    good(&mut b, 3, 0, B, 0).await?;
    settle(&mut a).await?;
    done(a, b).await
}

async fn clear(lab: &Lab) -> Checked {
    let (mut a, mut b) = pair(lab).await?;
    good(&mut a, 0, 0, 0, A).await?;
    good(&mut b, 0, 0, 0, B).await?;
    good(&mut a, 1, 1, A, 0).await?;
    good(&mut b, 3, 0, B, 0).await?;
    let first = a.run(&Cmd::none(cdb::test_unit_ready())).await?;
    must!(
        first.is(6, 0x2a03),
        "SPC-4 5.14.11.6",
        "a unit attention RESERVATIONS PREEMPTED (2Ah/03h)",
        "{}",
        first.words()
    );
    let (_, all) = keys(&mut a).await?;
    let held = reservation(&mut a).await?;
    must!(
        all.is_empty() && held.is_none(),
        "SPC-4 5.14.11.6",
        "no key and no reservation",
        "{all:x?} {held:x?}"
    );
    done(a, b).await
}

async fn full_status(lab: &Lab) -> Checked {
    let (mut a, b) = pair(lab).await?;
    good(&mut a, 0, 0, 0, A).await?;
    good(&mut a, 1, 5, A, 0).await?;
    let r = a.run(&Cmd::read(cdb::pr_in(3, 4096), 4096)).await?;
    if r.key(5) {
        done(a, b).await?;
        return Err(not_claimed("READ FULL STATUS is not offered"));
    }
    must!(r.good() && r.data.len() >= 32, "SPC-4 6.15.5", "a descriptor", "{}", r.words());
    must!(
        be(&r.data, 4, 4) as usize + 8 == r.data.len(),
        "SPC-4 6.15.5",
        "ADDITIONAL LENGTH that fits",
        "{}",
        be(&r.data, 4, 4)
    );
    let d = &r.data[8..];
    must!(be(d, 0, 8) == A, "SPC-4 6.15.5", format!("key {A:x}"), "{:x}", be(d, 0, 8));
    must!(
        d[12] & 1 == 1 && d[13] & 15 == 5,
        "SPC-4 6.15.5",
        "R_HOLDER and type 5",
        "{:02x} {:02x}",
        d[12],
        d[13]
    );
    let name = lab.host(0)?.initiator.clone();
    let text = String::from_utf8_lossy(&d[24..]).into_owned();
    must!(text.contains(&name), "SPC-4 7.6.4", format!("a TransportID with {name}"), "{text:?}");
    done(a, b).await
}

async fn capabilities(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let a = c.run(&Cmd::read(cdb::pr_in(2, 64), 64)).await?;
    if a.unsupported() {
        return Err(not_claimed("REPORT CAPABILITIES is not offered"));
    }
    must!(
        a.good() && a.data.len() == 8 && be(&a.data, 0, 2) == 8,
        "SPC-4 6.15.4",
        "8 bytes that say so",
        "{:02x?}",
        a.data
    );
    if a.data[3] & 0x80 != 0 {
        must!(a.data[4..6] != [0, 0], "SPC-4 6.15.4", "a type mask when TMV is set", "none");
    }
    c.bye().await
}

async fn across_paths(lab: &Lab) -> Checked {
    lab.path(0, 1)?;
    let (mut a, b) = pair(lab).await?;
    let mut other = lab.session_of(0, 1).await?;
    good(&mut a, 0, 0, 0, A).await?;
    good(&mut a, 1, 3, A, 0).await?;
    conflict(
        &other.run(&Cmd::write(cdb::write(AT, 1), pattern(1, 512))).await?,
        "the same host over the other path",
    )?;
    let (_, all) = keys(&mut other).await?;
    must!(all == [A], "SPC-4 5.14", "the same registrations over every path", "{all:x?}");
    other.bye().await?;
    done(a, b).await
}

async fn relogin(lab: &Lab) -> Checked {
    let (a, b) = pair(lab).await?;
    a.bye().await?;
    let isid = lab.isid();
    let open = async || {
        let mut c = lab
            .open(0, 0, |mut login| {
                login.isid = isid;
                login
            })
            .await?;
        settle(&mut c).await?;
        Checked::Ok(c)
    };
    let mut c = open().await?;
    good(&mut c, 0, 0, 0, A).await?;
    good(&mut c, 1, 3, A, 0).await?;
    c.bye().await?;
    let mut c = open().await?;
    let w = c.run(&Cmd::write(cdb::write(AT, 1), pattern(2, 512))).await?;
    must!(w.good(), "SPC-4 5.14.3", "the holder's reservation to hold after a new login", "{}", w.words());
    let mut b = b;
    conflict(&b.run(&Cmd::write(cdb::write(AT, 1), pattern(2, 512))).await?, "the other host")?;
    good(&mut c, 2, 3, A, 0).await?;
    done(c, b).await
}

async fn legacy(lab: &Lab) -> Checked {
    let (mut a, mut b) = pair(lab).await?;
    let (reserve, release) = (Cmd::none([0x16, 0, 0, 0, 0, 0]), Cmd::none([0x17, 0, 0, 0, 0, 0]));
    let r = a.run(&reserve).await?;
    if r.unsupported() {
        return Err(not_claimed("RESERVE (6) is not offered"));
    }
    must!(r.good(), "SPC-2 7.21", "GOOD", "{}", r.words());
    conflict(&b.run(&reserve).await?, "RESERVE (6) of another host")?;
    conflict(&b.run(&Cmd::read(cdb::read(AT, 1), 512)).await?, "a read of another host")?;
    must!(
        b.run(&Cmd::read(cdb::inquiry(36), 36)).await?.good(),
        "SPC-2 5.5.1",
        "GOOD for INQUIRY",
        "a refusal"
    );
    let r = b.run(&release).await?;
    must!(r.good(), "SPC-2 7.17", "GOOD for a release of nothing", "{}", r.words());
    conflict(&b.run(&Cmd::none(cdb::test_unit_ready())).await?, "TEST UNIT READY of another host")?;
    let r = a.run(&release).await?;
    must!(r.good(), "SPC-2 7.17", "GOOD", "{}", r.words());
    let r = b.run(&Cmd::read(cdb::read(AT, 1), 512)).await?;
    must!(r.good(), "SPC-2 5.5", "GOOD after the release", "{}", r.words());
    done(a, b).await
}

async fn once(lab: &Lab) -> Checked {
    let mut a = lab.session().await?;
    let mut b = lab.session_of(1, 0).await?;
    let mut c = lab.session_of(1, lab.host(1)?.paths.len() - 1).await?;
    a.manage(TaskFunction::LOGICAL_UNIT_RESET, a.lun, RESERVED_TAG, 0).await?;
    for (name, other) in [("the first other nexus", &mut b), ("the second other nexus", &mut c)] {
        let first = other.run(&Cmd::none(cdb::test_unit_ready())).await?;
        must!(first.key(6), "SAM-5 5.14", format!("a unit attention for {name}"), "{}", first.words());
        let second = other.run(&Cmd::none(cdb::test_unit_ready())).await?;
        must!(second.good(), "SAM-5 5.14", format!("one unit attention for {name}"), "{}", second.words());
    }
    settle(&mut a).await?;
    a.bye().await?;
    b.bye().await?;
    c.bye().await
}

async fn silent(lab: &Lab) -> Checked {
    let mut a = lab.session().await?;
    let mut b = lab.session_of(1, 0).await?;
    a.manage(TaskFunction::LOGICAL_UNIT_RESET, a.lun, RESERVED_TAG, 0).await?;
    for (name, cmd) in [
        ("INQUIRY", Cmd::read(cdb::inquiry(36), 36)),
        ("REPORT LUNS", Cmd::read(cdb::report_luns(0, 256), 256)),
    ] {
        let r = b.run(&cmd).await?;
        must!(
            r.good(),
            "SPC-4 6.6",
            format!("GOOD for {name} while a unit attention is pending"),
            "{}",
            r.words()
        );
    }
    let r = b.run(&Cmd::none(cdb::test_unit_ready())).await?;
    must!(r.key(6), "SAM-5 5.14", "the unit attention still there", "{}", r.words());
    settle(&mut a).await?;
    a.bye().await?;
    b.bye().await
}

async fn modes(lab: &Lab) -> Checked {
    let (mut a, mut b) = (lab.session().await?, lab.session_of(1, 0).await?);
    let (p, mask) = (mode_page(&mut a, 0x0a, 0).await?, mode_page(&mut a, 0x0a, 1).await?);
    if mask[2] & 0x04 == 0 {
        return Err(not_claimed("D_SENSE is not changeable"));
    }
    for bit in [0x04u8, 0] {
        let mut page = p.clone();
        page[0] &= 0x7f;
        page[2] ^= bit;
        let list = [vec![0; 4], page].concat();
        let done = a.run(&Cmd::write(cdb::mode_select_6(list.len() as u8), list)).await?;
        must!(done.good(), "SPC-4 6.9", "GOOD", "{}", done.words());
        let own = a.run(&Cmd::none(cdb::test_unit_ready())).await?;
        let other = b.run(&Cmd::none(cdb::test_unit_ready())).await?;
        let again = b.run(&Cmd::none(cdb::test_unit_ready())).await?;
        must!(own.good(), "SPC-4 6.9", "no unit attention for who changed the page", "{}", own.words());
        must!(
            other.is(6, 0x2a01) || (bit == 0 && other.good()),
            "SPC-4 6.9",
            "MODE PARAMETERS CHANGED (2Ah/01h) for the other nexus",
            "{}",
            other.words()
        );
        must!(again.good(), "SAM-5 5.14", "the unit attention once", "{}", again.words());
    }
    a.bye().await?;
    b.bye().await
}

/// The NAA of the unit at that LUN.
pub(super) async fn naa(c: &mut Client, lun: Lun) -> Checked<Vec<u8>> {
    let d = c.good(&Cmd::read(cdb::vpd(0x83, 4096), 4096).to(lun), "SPC-4 7.8.5").await?;
    let mut rest = d.get(4..).unwrap_or_default();
    while let [_, kind, _, length, ..] = *rest {
        let end = (4 + usize::from(length)).min(rest.len());
        if kind & 0x3f == 3 {
            return Ok(rest[4..end].to_vec());
        }
        rest = &rest[end..];
    }
    Err(not_claimed("the unit has no NAA designator"))
}

fn cscd(id: &[u8]) -> Vec<u8> {
    let mut d = vec![0; 32];
    (d[0], d[4], d[5], d[7]) = (0xe4, 1, 3, id.len() as u8);
    d[8..8 + id.len().min(20)].copy_from_slice(&id[..id.len().min(20)]);
    d[29..32].copy_from_slice(&[0, 2, 0]);
    d
}

/// EXTENDED COPY (LID1) of blocks from one unit to another; first their LBA at the source, then at the destination.
pub(super) fn extended_copy(from: &[u8], to: &[u8], lbas: [u64; 2], blocks: u16) -> Vec<u8> {
    let mut segment = vec![0; 28];
    (segment[0], segment[3], segment[7]) = (0x02, 24, 1);
    segment[10..12].copy_from_slice(&blocks.to_be_bytes());
    segment[12..20].copy_from_slice(&lbas[0].to_be_bytes());
    segment[20..28].copy_from_slice(&lbas[1].to_be_bytes());
    let mut list = vec![0; 16];
    (list[0], list[3], list[11]) = (1, 64, 28);
    [list, cscd(from), cscd(to), segment].concat()
}

async fn copy_hidden(lab: &Lab) -> Checked {
    let Some(number) = lab.setup.hidden else {
        return Err(not_claimed("the setup has no unit of another host"));
    };
    let theirs = Lun::from_number(number).unwrap_or(Lun::ZERO);
    let (mut a, mut b) = (lab.session().await?, lab.session_of(1, 0).await?);
    let lun = a.lun;
    let (mine, hidden) = (naa(&mut a, lun).await?, naa(&mut b, theirs).await?);
    let other = hidden != mine;
    if !other {
        let why = fail("SPC-4 7.8.5.6", "another NAA for another unit", format!("{mine:02x?} for both"));
        return Err(why.of("SCS-003"));
    }
    let lba = 16_384;
    let (secret, public) = (vec![0x5e; 4096], vec![0x70; 4096]);
    settle_at(&mut b, theirs).await?;
    b.good(&Cmd::write(cdb::write(lba, 8), secret.clone()).to(theirs), "SBC-3 5.32").await?;
    a.good(&Cmd::write(cdb::write(lba, 8), public.clone()), "SBC-3 5.32").await?;
    for (from, to, what) in [(&hidden, &mine, "from"), (&mine, &hidden, "to")] {
        let r = run_copy(&mut a, &extended_copy(from, to, [lba; 2], 8)).await?;
        must!(
            !r.good(),
            "SPC-4 6.4",
            format!("a refusal of a copy {what} a unit of another host"),
            "{}",
            r.words()
        );
    }
    let seen = a.good(&Cmd::read(cdb::read(lba, 8), 4096), "SBC-3 5.11").await?;
    must!(seen == public, "SPC-4 6.4", "nothing of the other host's unit", "{}", difference(&public, &seen));
    let seen = b.good(&Cmd::read(cdb::read(lba, 8), 4096).to(theirs), "SBC-3 5.11").await?;
    must!(seen == secret, "SPC-4 6.4", "the other host's unit as it was", "{}", difference(&secret, &seen));
    a.bye().await?;
    b.bye().await
}

async fn hidden_reset(lab: &Lab) -> Checked {
    let Some(number) = lab.setup.hidden else {
        return Err(not_claimed("the setup has no unit of another host"));
    };
    let theirs = Lun::from_number(number).unwrap_or(Lun::ZERO);
    let mut a = lab.session().await?;
    if theirs == a.lun {
        return Err(not_claimed("both hosts have a unit of that number"));
    }
    let p = a.manage(TaskFunction::LOGICAL_UNIT_RESET, theirs, RESERVED_TAG, 0).await?;
    must!(p.response.0 != 0, "RFC 7143 11.6.1", "LUN does not exist", "{}", p.response);
    a.bye().await
}

async fn resized(lab: &Lab) -> Checked {
    let Some(grow) = &lab.setup.grow else { return Err(not_claimed("the setup cannot resize the unit")) };
    let mut all = Vec::new();
    for host in 0..lab.setup.hosts.len() {
        for path in 0..lab.host(host)?.paths.len() {
            all.push((format!("host {host} path {path}"), lab.session_of(host, path).await?));
        }
    }
    let blocks = grow().await.map_err(|e| Stop::Unknown(format!("the unit was not resized: {e}")))?;
    for (name, c) in &mut all {
        let first = c.run(&Cmd::none(cdb::test_unit_ready())).await?;
        must!(
            first.is(6, 0x2a09),
            "SBC-3 4.10",
            format!("CAPACITY DATA HAS CHANGED (2Ah/09h) for {name}"),
            "{}",
            first.words()
        );
        let second = c.run(&Cmd::none(cdb::test_unit_ready())).await?;
        must!(
            second.good(),
            "SAM-5 5.14",
            format!("the unit attention once for {name}"),
            "{}",
            second.words()
        );
        let d = c.good(&Cmd::read(cdb::read_capacity_16(32), 32), "SBC-3 5.16").await?;
        must!(
            be(&d, 0, 8) + 1 == blocks,
            "SBC-3 5.16",
            format!("{blocks} blocks on {name}"),
            "{}",
            be(&d, 0, 8) + 1
        );
        c.good(&Cmd::read(cdb::read(blocks - 1, 1), 512), "SBC-3 5.11").await?;
    }
    for (_, c) in all {
        c.bye().await?;
    }
    Ok(())
}
