//! Random persistent reservations of three nexuses against a model of SPC-4 clause 5.13.
//!
//! The model is written from the standard and knows nothing of any implementation: registrations by nexus, at most one
//! reservation, and which unit attentions each service action owes to whom. After each command the unit is asked for what
//! it shows (keys, reservation, generation), every nexus for its unit attentions, and one of them reads and writes.

use std::collections::BTreeMap;

use sanbench_wire::scsi::status::Status;
use sanbench_world::Dice;

use super::nexus::{good, keys, out, reservation, wipe};
use super::{cases, pattern};
use crate::cdb;
use crate::lab::{Lab, settle};
use crate::outcome::{Checked, Stop, must, not_claimed};
use crate::raw::{Client, Cmd};

cases! {
    random "random-reservations" ["SCS-012" "SCS-014" "SCS-015"] "Random service actions of several nexuses end as SPC-4 says";
}

const LBA: u64 = 40_000;
const KEY: u64 = 0x5eed_0000_0000_0001;
/// RESERVATIONS PREEMPTED.
const PREEMPTED: u16 = 0x2a03;
/// RESERVATIONS RELEASED.
const RELEASED: u16 = 0x2a04;
/// REGISTRATIONS PREEMPTED.
const UNREGISTERED: u16 = 0x2a05;
const TYPES: [u8; 6] = [1, 3, 5, 6, 7, 8];

/// Types that let every registered nexus in.
fn registrants(kind: u8) -> bool {
    kind >= 5
}

/// Types whose reservation every registered nexus holds.
fn everyones(kind: u8) -> bool {
    kind >= 7
}

/// Types that keep readers out.
fn exclusive(kind: u8) -> bool {
    matches!(kind, 3 | 6 | 8)
}

/// How a service action has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Good,
    Conflict,
    /// CHECK CONDITION, ILLEGAL REQUEST, with that code.
    Illegal(u16),
}

/// What SPC-4 says of one unit.
#[derive(Clone, Debug, Default)]
struct Model {
    keys: BTreeMap<usize, u64>,
    /// Holder and type.
    held: Option<(usize, u8)>,
    generation: u32,
    /// The last service action was a REGISTER that changed nothing: whether it counts the standard leaves open.
    may_count: bool,
    /// Unit attentions owed.
    owed: BTreeMap<usize, Vec<u16>>,
}

impl Model {
    fn holds(&self, nexus: usize) -> bool {
        self.held.is_some_and(|(holder, kind)| match everyones(kind) {
            true => self.keys.contains_key(&nexus),
            false => holder == nexus,
        })
    }

    fn owe(&mut self, to: usize, what: u16) {
        let owed = self.owed.entry(to).or_default();
        if !owed.contains(&what) {
            owed.push(what);
        }
    }

    fn owe_others(&mut self, but: usize, what: u16) {
        let others: Vec<usize> = self.keys.keys().copied().filter(|n| *n != but).collect();
        others.into_iter().for_each(|n| self.owe(n, what));
    }

    fn may(&self, nexus: usize, write: bool) -> bool {
        let Some((_, kind)) = self.held else { return true };
        let inside = if registrants(kind) { self.keys.contains_key(&nexus) } else { self.holds(nexus) };
        inside || (!write && !exclusive(kind))
    }

    /// REGISTER (SPC-4 table 62), and REGISTER AND IGNORE EXISTING KEY.
    fn register(&mut self, nexus: usize, key: u64, new: u64, ignore: bool) -> End {
        let own = self.keys.get(&nexus).copied();
        if !ignore && own.unwrap_or(0) != key {
            return End::Conflict;
        }
        if own.is_none() && new == 0 {
            self.may_count = true;
            return End::Good;
        }
        self.generation = self.generation.wrapping_add(1);
        if new != 0 {
            self.keys.insert(nexus, new);
            return End::Good;
        }
        let held = self.holds(nexus);
        self.keys.remove(&nexus);
        if let Some((_, kind)) = self.held.filter(|_| held)
            && (!everyones(kind) || self.keys.is_empty())
        {
            self.held = None;
            if registrants(kind) {
                self.owe_others(nexus, RELEASED);
            }
        }
        End::Good
    }

    fn reserve(&mut self, nexus: usize, kind: u8) -> End {
        match self.held {
            None => self.held = Some((nexus, kind)),
            Some((_, other)) if other == kind && self.holds(nexus) => {}
            Some(_) => return End::Conflict,
        }
        End::Good
    }

    fn release(&mut self, nexus: usize, kind: u8) -> End {
        let Some((_, held)) = self.held.filter(|_| self.holds(nexus)) else { return End::Good };
        if held != kind {
            return End::Illegal(0x2604);
        }
        self.held = None;
        if registrants(kind) {
            self.owe_others(nexus, RELEASED);
        }
        End::Good
    }

    fn clear(&mut self, nexus: usize) -> End {
        self.owe_others(nexus, PREEMPTED);
        self.held = None;
        self.keys.clear();
        self.generation = self.generation.wrapping_add(1);
        End::Good
    }

    /// PREEMPT (SPC-4 clause 5.13.11.4).
    fn preempt(&mut self, nexus: usize, victim: u64, kind: u8) -> End {
        let takes = match self.held {
            Some((_, held)) if everyones(held) => victim == 0,
            Some((holder, _)) => victim != 0 && self.keys.get(&holder) == Some(&victim),
            None => false,
        };
        if victim == 0 && !takes {
            return End::Illegal(0x2600);
        }
        let hit = |n: usize, key: u64| (victim == 0 || key == victim) && !(takes && n == nexus);
        let gone: Vec<usize> = self.keys.iter().filter(|(n, k)| hit(**n, **k)).map(|(n, _)| *n).collect();
        if gone.is_empty() && !takes {
            return End::Conflict;
        }
        for n in gone {
            self.keys.remove(&n);
            if n != nexus {
                self.owe(n, UNREGISTERED);
            }
        }
        if takes {
            let before = self.held.replace((nexus, kind));
            if before.map(|(_, kind)| kind) != Some(kind) {
                self.owe_others(nexus, RELEASED);
            }
        } else if self.keys.is_empty() {
            self.held = None;
        }
        self.generation = self.generation.wrapping_add(1);
        End::Good
    }

    /// Any service action; all but the two registering ones need the own key first.
    fn act(&mut self, nexus: usize, action: u8, kind: u8, key: u64, other: u64) -> End {
        match action {
            0 => return self.register(nexus, key, other, false),
            6 => return self.register(nexus, key, other, true),
            _ if self.keys.get(&nexus) != Some(&key) => return End::Conflict,
            _ => {}
        }
        match action {
            1 => self.reserve(nexus, kind),
            2 => self.release(nexus, kind),
            3 => self.clear(nexus),
            _ => self.preempt(nexus, other, kind),
        }
    }
}

/// Names of service actions.
fn name(action: u8) -> &'static str {
    match action {
        0 => "REGISTER",
        1 => "RESERVE",
        2 => "RELEASE",
        3 => "CLEAR",
        4 => "PREEMPT",
        5 => "PREEMPT AND ABORT",
        _ => "REGISTER AND IGNORE EXISTING KEY",
    }
}

/// Draws a service action, type and keys for a nexus: mostly ones that make sense.
fn draw(dice: &mut Dice, model: &Model, nexus: usize) -> (u8, u8, u64, u64) {
    let own = model.keys.get(&nexus).copied();
    let action = match dice.below(if own.is_some() { 20 } else { 6 }) {
        0..=3 => 0,
        4 => 6,
        5..=9 => 1,
        10..=13 => 2,
        14 => 3,
        15..=17 => 4,
        _ => 5,
    };
    let held = model.held.map(|(_, kind)| kind);
    let kind = match held {
        Some(kind) if dice.chance(1, 2) => kind,
        _ => TYPES[dice.below(6) as usize],
    };
    let key = if dice.chance(1, 12) { KEY + 77 } else { own.unwrap_or(0) };
    // Few keys, so that nexuses share some.
    let other = match dice.below(8) {
        0 => 0,
        _ => KEY + dice.below(3),
    };
    (action, kind, key, other)
}

/// Compares what the unit shows with the model.
async fn compare(clients: &mut [Client], model: &mut Model, dice: &mut Dice, step: u32) -> Checked {
    for (n, c) in clients.iter_mut().enumerate() {
        let mut owed = model.owed.remove(&n).unwrap_or_default();
        loop {
            let a = c.run(&Cmd::none(cdb::test_unit_ready())).await?;
            if a.good() {
                break;
            }
            let code = a.sense.filter(|s| s.key.0 == 6).map(|s| s.asc.0);
            let Some(at) = owed.iter().position(|o| Some(*o) == code) else {
                let wanted = format!("unit attentions {owed:04x?} for nexus {n} behind command {step}");
                return Err(crate::outcome::fail("SPC-4 5.13", wanted, a.words()).of("SCS-015"));
            };
            owed.remove(at);
        }
        if !owed.is_empty() {
            let wanted = format!("unit attentions {owed:04x?} more for nexus {n} behind command {step}");
            return Err(crate::outcome::fail("SPC-4 5.13", wanted, "none").of("SCS-015"));
        }
    }
    let asker = dice.below(clients.len() as u64) as usize;
    let (generation, mut seen) = keys(&mut clients[asker]).await?;
    if std::mem::take(&mut model.may_count) && generation == u64::from(model.generation.wrapping_add(1)) {
        model.generation = generation as u32;
    }
    let mut wanted: Vec<u64> = model.keys.values().copied().collect();
    seen.sort_unstable();
    wanted.sort_unstable();
    must!(seen == wanted, "SPC-4 6.15.2", format!("the keys {wanted:x?} behind command {step}"), "{seen:x?}");
    must!(
        generation == u64::from(model.generation),
        "SPC-4 6.15.2",
        format!("PRGENERATION {} behind command {step}", model.generation),
        "{generation}"
    );
    let wanted = model.held.map(|(holder, kind)| match everyones(kind) {
        true => (0, kind),
        false => (model.keys.get(&holder).copied().unwrap_or(0), kind),
    });
    let seen = reservation(&mut clients[asker]).await?;
    must!(
        seen == wanted,
        "SPC-4 6.15.3",
        format!("the reservation {wanted:x?} behind command {step}"),
        "{seen:x?}"
    );
    let (nexus, write) = (dice.below(clients.len() as u64) as usize, dice.chance(1, 2));
    let cmd = match write {
        true => Cmd::write(cdb::write(LBA + nexus as u64, 1), pattern(nexus as u8, 512)),
        false => Cmd::read(cdb::read(LBA, 1), 512),
    };
    let a = clients[nexus].run(&cmd).await?;
    let (wanted, right) = match model.may(nexus, write) {
        true => ("GOOD", a.good()),
        false => ("RESERVATION CONFLICT", a.status == Status::RESERVATION_CONFLICT),
    };
    if !right {
        let what = if write { "a write" } else { "a read" };
        let wanted =
            format!("{wanted} for {what} of nexus {nexus} behind command {step}, with {:x?}", model.held);
        return Err(crate::outcome::fail("SPC-4 5.13.1", wanted, a.words()).of("SCS-014"));
    }
    Ok(())
}

async fn random(lab: &Lab) -> Checked {
    let mut clients = vec![lab.session().await?];
    for (host, setup) in lab.setup.hosts.iter().enumerate() {
        for path in 0..setup.paths.len() {
            if (host, path) != (0, 0) && clients.len() < 4 {
                clients.push(lab.session_of(host, path).await?);
            }
        }
    }
    if clients.len() < 2 {
        return Err(not_claimed("this needs a second nexus"));
    }
    wipe(&mut clients[0], KEY).await?;
    for c in &mut clients {
        settle(c).await?;
    }
    let mut dice = lab.host(0)?.env.rng("random-reservations");
    let (generation, none) = keys(&mut clients[0]).await?;
    must!(none.is_empty(), "SPC-4 5.13.11", "no key after CLEAR", "{none:x?}");
    let mut model = Model { generation: generation as u32, ..Model::default() };
    for step in 1..=250u32 {
        let nexus = dice.below(clients.len() as u64) as usize;
        let (action, kind, key, other) = draw(&mut dice, &model, nexus);
        let wanted = model.act(nexus, action, kind, key, other);
        let a = out(&mut clients[nexus], action, kind, key, other).await?;
        let right = match wanted {
            End::Good => a.good(),
            End::Conflict => a.status == Status::RESERVATION_CONFLICT,
            End::Illegal(code) => a.is(5, code),
        };
        let what = name(action);
        must!(
            right,
            "SPC-4 6.16",
            format!(
                "{wanted:x?} for command {step}: {what} by nexus {nexus}, type {kind}, keys {key:x} and {other:x}"
            ),
            "{}",
            a.words()
        );
        compare(&mut clients, &mut model, &mut dice, step).await.map_err(|stop| told(stop, what))?;
    }
    good(&mut clients[0], 6, 0, 0, KEY).await?;
    good(&mut clients[0], 3, 0, KEY, 0).await?;
    for mut c in clients {
        settle(&mut c).await?;
        c.bye().await?;
    }
    Ok(())
}

fn told(mut stop: Stop, what: &str) -> Stop {
    if let Stop::Failed(failure) = &mut stop {
        failure.expected = format!("{} ({what})", failure.expected);
    }
    stop
}
