//! Access states that a host sets itself: SET TARGET PORT GROUPS (SPC-4 clauses 5.15.2.8 and 6.45).

use sanbench_wire::scsi::luns::Lun;

use super::difference;
use super::nexus::{extended_copy, naa};
use super::offload::copy_if_offered;
use super::truth::device_ids;
use crate::cdb::{self, be};
use crate::lab::{Lab, settle, settle_at};
use crate::outcome::{Checked, must, not_claimed};
use crate::raw::{Answer, Client, Cmd};

/// *Active/optimized*, *active/non-optimized* and *standby*, as both commands write them.
const OPTIMIZED: u8 = 0;
const NON_OPTIMIZED: u8 = 1;
const STANDBY: u8 = 2;
/// Only reported, never set.
const TRANSITIONING: u8 = 0x0f;
/// ASYMMETRIC ACCESS STATE CHANGED.
const CHANGED: u16 = 0x2a06;
/// TARGET PORT IN STANDBY STATE.
const IN_STANDBY: u16 = 0x040b;

/// Where these cases write.
const LBA: u64 = 63_000;
/// Looks at a state that is still changing.
const LOOKS: usize = 50;

/// The target port group that a session arrives at, as page 83h of its unit says.
async fn group_of(c: &mut Client) -> Checked<u16> {
    let ids = device_ids(c).await?;
    let found = ids.iter().find(|(association, kind, _)| (*association, *kind) == (1, 5));
    found
        .map(|(_, _, id)| be(id, 2, 2) as u16)
        .ok_or_else(|| not_claimed("page 83h names no target port group"))
}

/// The access state of a group as a unit reports it, and which states it supports.
async fn state_of(c: &mut Client, lun: Lun, group: u16) -> Checked<(u8, u8)> {
    let report = Cmd::read(cdb::report_target_port_groups(false, 4096), 4096).to(lun);
    let d = c.good(&report, "SPC-4 6.37").await?;
    let found = port_groups(&d).find(|g| be(g, 2, 2) == u64::from(group)).map(|g| (g[0] & 0x0f, g[1]));
    found.ok_or_else(|| not_claimed(format!("REPORT TARGET PORT GROUPS does not list group {group}")))
}

/// The descriptors of REPORT TARGET PORT GROUPS data with the short header: each is 8 bytes at least, and its ports are whole
/// unless the data are cut.
pub(super) fn port_groups(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data.get(4..).unwrap_or_default();
    std::iter::from_fn(move || {
        let ports = rest.get(7)?;
        let (one, more) = rest.split_at((8 + 4 * usize::from(*ports)).min(rest.len()));
        rest = more;
        Some(one)
    })
}

/// The state once it has settled: SET TARGET PORT GROUPS may end before the change does (SPC-4 clause 6.45).
async fn settled_state_of(c: &mut Client, lun: Lun, group: u16) -> Checked<u8> {
    for _ in 0..LOOKS {
        let (state, _) = state_of(c, lun, group).await?;
        if state != TRANSITIONING {
            return Ok(state);
        }
    }
    Ok(TRANSITIONING)
}

/// A state that the unit has to take on, or to say that this combination is none of its own.
async fn take_on(c: &mut Client, lun: Lun, group: u16, to: u8) -> Checked {
    let r = set(c, lun, &[(group, to)]).await?;
    if r.is(5, 0x2600) {
        return Err(not_claimed(format!("the unit does not let hosts set state {to}")));
    }
    must!(r.good(), "SPC-4 6.45", format!("GOOD for group {group} to state {to}"), "{}", r.words());
    Ok(())
}

/// Puts a group back, whatever a case came to; the case itself is told first.
async fn put_back(c: &mut Client, lun: Lun, group: u16, before: u8, came_to: Checked) -> Checked {
    let back = set(c, lun, &[(group, before)]).await;
    came_to?;
    let r = back?;
    must!(r.good(), "SPC-4 6.45", "GOOD for the way back", "{}", r.words());
    Ok(())
}

/// SET TARGET PORT GROUPS.
async fn set(c: &mut Client, lun: Lun, groups: &[(u16, u8)]) -> Checked<Answer> {
    let mut list = vec![0; 4];
    for (group, state) in groups {
        list.extend_from_slice(&[*state, 0]);
        list.extend_from_slice(&group.to_be_bytes());
    }
    let mut cdb = [0; 12];
    (cdb[0], cdb[1]) = (0xa4, 0x0a);
    cdb[6..10].copy_from_slice(&(list.len() as u32).to_be_bytes());
    c.run(&Cmd::write(cdb, list).to(lun)).await
}

/// Not claimed unless the unit lets hosts set states, *standby* among them.
async fn explicit(c: &mut Client, lun: Lun, supported: u8) -> Checked {
    let inquiry = c.good(&Cmd::read(cdb::inquiry(36), 36).to(lun), "SPC-4 6.6").await?;
    if inquiry.get(5).is_none_or(|byte| byte & 0x20 == 0) || supported & 0x04 == 0 {
        return Err(not_claimed("hosts cannot set target port groups to standby"));
    }
    Ok(())
}

/// One group to standby and back: who set it is not told, everybody else is, and commands go by the state.
pub(super) async fn switched(lab: &Lab) -> Checked {
    let (mut a, mut b) = (lab.session().await?, lab.session_of(0, 1).await?);
    let lun = a.lun;
    let (near, far) = (group_of(&mut a).await?, group_of(&mut b).await?);
    if near == far {
        return Err(not_claimed("both paths of the host lead to one target port group"));
    }
    let (before, supported) = state_of(&mut a, lun, far).await?;
    explicit(&mut a, lun, supported).await?;
    if before > NON_OPTIMIZED {
        return Err(not_claimed("the far group is not active to begin with"));
    }
    let data = super::blocks::fill(&mut a, LBA, 8, 81).await?;
    let states: &[u8] = if supported & 0x02 != 0 { &[STANDBY, NON_OPTIMIZED] } else { &[STANDBY] };
    let came_to = there(&mut a, &mut b, [near, far], states, &data).await;
    put_back(&mut a, lun, far, before, came_to).await?;
    settled_state_of(&mut b, lun, far).await?;
    settle(&mut b).await?;
    let r = b.run(&Cmd::read(cdb::read(LBA, 8), 4096)).await?;
    must!(
        r.good() && r.data == data,
        "SPC-4 5.15.2.4.2",
        "the blocks once it is active again",
        "{}",
        r.words()
    );
    a.bye().await?;
    b.bye().await
}

async fn there(a: &mut Client, b: &mut Client, [near, far]: [u16; 2], states: &[u8], data: &[u8]) -> Checked {
    let lun = a.lun;
    let read = Cmd::read(cdb::read(LBA, 8), 4096);
    for &to in states {
        take_on(a, lun, far, to).await?;
        let state = settled_state_of(a, lun, far).await?;
        must!(state == to, "SPC-4 6.37", format!("state {to} over the near path"), "{state}");
        // Groups that the list does not name may change with it.
        let active = settled_state_of(a, lun, near).await? <= NON_OPTIMIZED;
        if active {
            let r = a.run(&Cmd::none(cdb::test_unit_ready())).await?;
            must!(r.good(), "SPC-4 5.15.2.8", "nothing said to the one who set it", "{}", r.words());
        }
        let r = b.run(&Cmd::none(cdb::test_unit_ready())).await?;
        must!(
            r.is(6, CHANGED),
            "SPC-4 5.15.2.8",
            "unit attention 2Ah/06h for another nexus",
            "{}",
            r.words()
        );
        let state = settled_state_of(b, lun, far).await?;
        must!(state == to, "SPC-4 6.37", format!("state {to} over the far path"), "{state}");
        let r = b.run(&read).await?;
        if to == STANDBY {
            must!(r.is(2, IN_STANDBY), "SPC-4 5.15.2.4.4", "NOT READY 04h/0Bh for a READ", "{}", r.words());
            let r = b.run(&Cmd::read(cdb::inquiry(36), 36)).await?;
            must!(r.good(), "SPC-4 5.15.2.4.4", "GOOD for an INQUIRY", "{}", r.words());
        } else {
            must!(r.good() && r.data == data, "SPC-4 5.15.2.4.3", "the blocks", "{}", r.words());
        }
        if active {
            let r = a.run(&read).await?;
            must!(r.good() && r.data == data, "SPC-4 6.45", "the blocks over the near path", "{}", r.words());
        }
    }
    for (group, state, what) in
        [(far, TRANSITIONING, "a state of transition"), (0xfffe, OPTIMIZED, "a group that is not there")]
    {
        let r = set(a, lun, &[(group, state)]).await?;
        must!(r.key(5), "SPC-4 6.45", format!("ILLEGAL REQUEST for {what}"), "{}", r.words());
    }
    Ok(())
}

/// A change of one unit is no business of another, and a copy to a unit whose port stands by copies all or nothing.
pub(super) async fn of_one_unit(lab: &Lab) -> Checked {
    let Some(number) = lab.setup.hidden else {
        return Err(not_claimed("the setup has no second unit"));
    };
    let other = Lun::from_number(number).unwrap_or(Lun::ZERO);
    let (mut c, mut d) = (lab.session_of(1, 0).await?, lab.session_of(1, 0).await?);
    for client in [&mut c, &mut d] {
        settle_at(client, other).await?;
    }
    let group = group_of(&mut c).await?;
    let (before, supported) = state_of(&mut c, other, group).await?;
    explicit(&mut c, other, supported).await?;
    if before > NON_OPTIMIZED {
        return Err(not_claimed("the group is not active to begin with"));
    }
    let (public, kept) = (vec![0x71; 4096], vec![0x5f; 4096]);
    c.good(&Cmd::write(cdb::write(LBA, 8), public.clone()), "SBC-3 5.32").await?;
    c.good(&Cmd::write(cdb::write(LBA, 8), kept.clone()).to(other), "SBC-3 5.32").await?;
    let mut copied = None;
    let came_to = aside(&mut c, &mut d, other, group, &mut copied).await;
    put_back(&mut c, other, group, before, came_to).await?;
    settled_state_of(&mut c, other, group).await?;
    settle_at(&mut c, other).await?;
    let seen = c.good(&Cmd::read(cdb::read(LBA, 8), 4096).to(other), "SBC-3 5.11").await?;
    // The copy manager may have another way to the unit.
    let wanted = if copied == Some(true) { public } else { kept };
    must!(
        seen == wanted,
        "SPC-4 6.4",
        "all copied after GOOD, else nothing",
        "{}",
        difference(&wanted, &seen)
    );
    c.bye().await?;
    d.bye().await
}

async fn aside(c: &mut Client, d: &mut Client, other: Lun, group: u16, copied: &mut Option<bool>) -> Checked {
    let lun = c.lun;
    let (from, to) = (naa(c, lun).await?, naa(c, other).await?);
    take_on(c, other, group, STANDBY).await?;
    let state = settled_state_of(c, other, group).await?;
    must!(state == STANDBY, "SPC-4 6.37", "the second unit in standby", "{state}");
    let own = c.run(&Cmd::none(cdb::test_unit_ready())).await?;
    let others = d.run(&Cmd::none(cdb::test_unit_ready())).await?;
    for r in [own, others] {
        must!(r.good(), "SPC-4 5.15.2.8", "GOOD for the first unit", "{}", r.words());
    }
    let r = d.run(&Cmd::none(cdb::test_unit_ready()).to(other)).await?;
    must!(r.is(6, CHANGED), "SPC-4 5.15.2.8", "unit attention 2Ah/06h for its other nexus", "{}", r.words());
    let r = c.run(&Cmd::none(cdb::test_unit_ready()).to(other)).await?;
    must!(
        r.is(2, IN_STANDBY),
        "SPC-4 5.15.2.4.4",
        "NOT READY 04h/0Bh, and no unit attention",
        "{}",
        r.words()
    );
    let list = extended_copy(&from, &to, [LBA; 2], 8);
    if let Some(r) = copy_if_offered(c, &list).await? {
        must!(
            r.good() || r.key(0x0a),
            "SPC-4 6.4",
            "GOOD, or COPY ABORTED for a unit that cannot be reached",
            "{}",
            r.words()
        );
        *copied = Some(r.good());
    }
    Ok(())
}
