//! Random commands that change blocks, from several sessions at once, against a model of the bytes.
//!
//! Directed cases ask for what somebody thought of. Here the lengths and places are nobody's choice: parts of pages and of
//! extents, seams between them, the last blocks of the unit, zeros over data and data over zeros. The seed of the run
//! decides, so a failure comes again.

use bytes::Bytes;
use sanbench_world::Dice;

use super::blocks::reads;
use super::cases;
use super::nexus::{extended_copy, naa};
use super::provisioning::{thin, unmap_run};
use super::truth::limits;
use crate::cdb::{self, be};
use crate::lab::{Lab, settle};
use crate::outcome::{Checked, Stop, must};
use crate::raw::{Answer, Client, Cmd};

cases! {
    mixed "random-mixed" ["DAT-001" "DAT-003" "DAT-008" "SCS-006"] "What random commands of all kinds wrote is what every session reads";
    small "random-small" ["DAT-001" "DAT-008" "SCS-006"] "Random writes of a few blocks leave their neighbours alone";
    emptied "random-unmap" ["DAT-003" "SCS-007" "SCS-009"] "Random unmapping leaves zeros where it was, and only there";
    in_flight "random-in-flight" ["DAT-001" "DAT-008"] "Several writes under way at once land whole, each in its place";
}

/// Blocks of a window: more than five extents of 64 KiB, and no whole number of them.
const WINDOW: u64 = 700;

/// A range of blocks and what they hold.
struct Window {
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn part(&mut self, from: u64, blocks: u64) -> &mut [u8] {
        &mut self.bytes[from as usize * 512..(from + blocks) as usize * 512]
    }
}

/// What may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Write,
    WriteVerify,
    Zeros,
    Read,
    Verify,
    Unmap,
    Same,
    SameNone,
    Compare,
    Or,
    Copy,
    Status,
    Sync,
    Together,
}

/// Sessions, windows, and what the unit claims.
struct Ground {
    clients: Vec<Client>,
    windows: Vec<Window>,
    dice: Dice,
    naa: Option<Vec<u8>>,
    /// Blocks of one transfer, of one COMPARE AND WRITE, of one UNMAP.
    most: [u64; 3],
    /// Kinds that turned out not to be offered.
    missing: Vec<Kind>,
}

/// Sessions that negotiate differently, over every path that there is.
async fn sessions(lab: &Lab) -> Checked<Vec<Client>> {
    let ways: [&[(&str, &str)]; 4] = [
        &[],
        &[("InitialR2T", "Yes"), ("ImmediateData", "No")],
        &[("MaxBurstLength", "4096"), ("FirstBurstLength", "1024"), ("MaxRecvDataSegmentLength", "1024")],
        &[("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C"), ("InitialR2T", "No")],
    ];
    let mut clients = Vec::new();
    for way in ways {
        clients.push(lab.with_keys(way).await?);
    }
    for (host, setup) in lab.setup.hosts.iter().enumerate() {
        for path in 0..setup.paths.len() {
            if (host, path) != (0, 0) && clients.len() < 8 {
                clients.push(lab.session_of(host, path).await?);
            }
        }
    }
    Ok(clients)
}

impl Ground {
    async fn new(lab: &Lab, purpose: &str) -> Checked<Ground> {
        let mut clients = sessions(lab).await?;
        let dice = lab.host(0)?.env.rng(purpose);
        let Some(c) = clients.first_mut() else { return Err(Stop::Unknown("no session".to_owned())) };
        let mut missing = Vec::new();
        if !matches!(thin(c).await, Ok(true)) {
            // What a read shows behind an unmap is nobody's promise then.
            missing.extend([Kind::Unmap, Kind::Status]);
        }
        let l = limits(c).await?;
        let most = |at: usize, bytes: usize| match be(&l, at, bytes) {
            0 => WINDOW,
            limit => limit.min(WINDOW),
        };
        let compares = be(&l, 5, 1);
        if compares == 0 {
            missing.push(Kind::Compare);
        }
        let lun = c.lun;
        let naa = naa(c, lun).await.ok();
        let mut ground = Ground {
            most: [most(8, 4), compares, most(20, 4)],
            clients,
            windows: Vec::new(),
            dice,
            naa,
            missing,
        };
        let end = lab.blocks();
        // The beginning, a seam between two 16 MiB parts, and the end.
        for at in [0, (1 << 15) * 3 - WINDOW / 2, end - WINDOW] {
            let mut bytes = vec![0; WINDOW as usize * 512];
            ground.dice.fill(&mut bytes);
            let mut done = 0;
            while done < WINDOW {
                let n = (WINDOW - done).min(ground.most[0]).min(256);
                let part = bytes[done as usize * 512..(done + n) as usize * 512].to_vec();
                let cmd = Cmd::write(cdb::write(at + done, n as u32), part);
                ground.clients[0].good(&cmd, "SBC-3 5.32").await?;
                done += n;
            }
            ground.windows.push(Window { at, bytes });
        }
        Ok(ground)
    }

    /// A window, and a range in it: first block from the window's, and how many.
    fn range(&mut self, most: u64) -> (usize, u64, u64) {
        let window = self.dice.below(self.windows.len() as u64) as usize;
        let most = most.clamp(1, WINDOW);
        let mut blocks = match self.dice.below(4) {
            0 => 1 + self.dice.below(7),
            1 => 8 * (1 + self.dice.below(16)),
            2 => 128 * (1 + self.dice.below(3)),
            _ => 1 + self.dice.below(300),
        };
        blocks = blocks.min(most);
        let mut from = self.dice.below(WINDOW - blocks + 1);
        match self.dice.below(6) {
            0 => from = WINDOW - blocks,
            1 => from = 0,
            // On the seams of pages and extents.
            2 => from = from / 8 * 8,
            3 => from = (from / 128 * 128).min(WINDOW - blocks),
            _ => {}
        }
        (window, from, blocks)
    }

    fn bytes(&mut self, blocks: u64) -> Vec<u8> {
        let mut bytes = vec![0; blocks as usize * 512];
        self.dice.fill(&mut bytes);
        // Some blocks of zeros among the others.
        if self.dice.chance(1, 4) {
            let from = self.dice.below(blocks);
            let to = from + 1 + self.dice.below(blocks - from);
            bytes[from as usize * 512..to as usize * 512].fill(0);
        }
        bytes
    }

    fn client(&mut self) -> &mut Client {
        let n = self.dice.below(self.clients.len() as u64) as usize;
        &mut self.clients[n]
    }

    /// Whether the answer says GOOD; a kind that is not offered is never drawn again.
    fn taken(&mut self, kind: Kind, a: &Answer) -> Checked<bool> {
        if a.unsupported() && !matches!(kind, Kind::Write | Kind::Read) {
            self.missing.push(kind);
            return Ok(false);
        }
        must!(a.good(), "SBC-3 5", format!("GOOD for {kind:?}"), "{}", a.words());
        Ok(true)
    }

    async fn step(&mut self, kind: Kind) -> Checked {
        let most = self.most[0];
        match kind {
            Kind::Write | Kind::WriteVerify | Kind::Zeros => {
                let (w, from, n) = self.range(most);
                let data = if kind == Kind::Zeros { vec![0; n as usize * 512] } else { self.bytes(n) };
                let lba = self.windows[w].at + from;
                let narrow = self.dice.chance(1, 3);
                let cmd = match kind {
                    Kind::WriteVerify => Cmd::write(cdb::sixteen(0x8e, 0, lba, n as u32), data.clone()),
                    _ if narrow => Cmd::write(cdb::ten(0x2a, 0, lba as u32, n as u16), data.clone()),
                    _ => Cmd::write(cdb::write(lba, n as u32), data.clone()),
                };
                let a = self.client().run(&cmd).await?;
                if self.taken(kind, &a)? {
                    self.windows[w].part(from, n).copy_from_slice(&data);
                }
            }
            Kind::Read => {
                let (w, from, n) = self.range(most);
                let (lba, wanted) = (self.windows[w].at + from, self.windows[w].part(from, n).to_vec());
                reads(self.client(), lba, &wanted, "SBC-3 5.11").await?;
            }
            Kind::Verify => {
                let (w, from, n) = self.range(most.min(64));
                let (lba, mut data) = (self.windows[w].at + from, self.windows[w].part(from, n).to_vec());
                let differs = self.dice.chance(1, 2);
                if differs {
                    let at = self.dice.below(data.len() as u64) as usize;
                    data[at] ^= 1 << self.dice.below(8);
                }
                let a = self.client().run(&Cmd::write(cdb::sixteen(0x8f, 2, lba, n as u32), data)).await?;
                if differs && !a.unsupported() {
                    must!(a.is(0x0e, 0x1d00), "SBC-3 5.36", "MISCOMPARE", "{}", a.words());
                } else {
                    self.taken(kind, &a)?;
                }
            }
            Kind::Unmap => self.unmap().await?,
            Kind::Same | Kind::SameNone => {
                let (w, from, n) = self.range(WINDOW);
                let lba = self.windows[w].at + from;
                let zero = kind == Kind::SameNone || self.dice.chance(1, 3);
                let one = if zero { vec![0; 512] } else { self.bytes(1) };
                let flags = 8 * self.dice.below(2) as u8;
                let cmd = match kind {
                    Kind::SameNone => Cmd::none(cdb::sixteen(0x93, flags | 1, lba, n as u32)),
                    _ => Cmd::write(cdb::sixteen(0x93, flags, lba, n as u32), one.clone()),
                };
                let a = self.client().run(&cmd).await?;
                if self.taken(kind, &a)? {
                    self.windows[w].part(from, n).chunks_mut(512).for_each(|b| b.copy_from_slice(&one));
                }
            }
            Kind::Compare => self.compare().await?,
            Kind::Or => {
                let (w, from, n) = self.range(most);
                let (lba, data) = (self.windows[w].at + from, self.bytes(n));
                let a = self
                    .client()
                    .run(&Cmd::write(cdb::sixteen(0x8b, 0, lba, n as u32), data.clone()))
                    .await?;
                if self.taken(kind, &a)? {
                    self.windows[w].part(from, n).iter_mut().zip(&data).for_each(|(b, d)| *b |= d);
                }
            }
            Kind::Copy => self.copy().await?,
            Kind::Status => self.status().await?,
            Kind::Sync => {
                let a = self.client().run(&Cmd::none(cdb::sixteen(0x91, 0, 0, 0))).await?;
                self.taken(kind, &a)?;
            }
            Kind::Together => self.together().await?,
        }
        Ok(())
    }

    async fn unmap(&mut self) -> Checked {
        let count = 1 + self.dice.below(3);
        let most = self.most[2] / count;
        let ranges: Vec<(usize, u64, u64)> = (0..count).map(|_| self.range(most)).collect();
        let list: Vec<(u64, u32)> =
            ranges.iter().map(|(w, from, n)| (self.windows[*w].at + from, *n as u32)).collect();
        let a = unmap_run(self.client(), &list).await?;
        if self.taken(Kind::Unmap, &a)? {
            for (w, from, n) in ranges {
                self.windows[w].part(from, n).fill(0);
            }
        }
        Ok(())
    }

    async fn compare(&mut self) -> Checked {
        let (w, from, n) = self.range(self.most[1]);
        let (lba, mut old) = (self.windows[w].at + from, self.windows[w].part(from, n).to_vec());
        let new = self.bytes(n);
        let differs = self.dice.chance(1, 2).then(|| self.dice.below(old.len() as u64) as usize);
        if let Some(at) = differs {
            old[at] ^= 1 << self.dice.below(8);
        }
        let list = [&old[..], &new[..]].concat();
        let a = self.client().run(&Cmd::write(cdb::compare_and_write(lba, n as u8), list)).await?;
        match differs {
            None => {
                if self.taken(Kind::Compare, &a)? {
                    self.windows[w].part(from, n).copy_from_slice(&new);
                }
            }
            Some(_) if a.unsupported() => self.missing.push(Kind::Compare),
            Some(at) => {
                must!(a.is(0x0e, 0x1d00), "SBC-3 5.2", "MISCOMPARE", "{}", a.words());
                let said = a.sense.and_then(|s| s.information);
                must!(
                    said == Some(at as u64),
                    "SBC-3 5.2",
                    format!("the first byte that differs, {at}, in INFORMATION"),
                    "{said:?}"
                );
            }
        }
        Ok(())
    }

    async fn copy(&mut self) -> Checked {
        let Some(naa) = self.naa.clone() else {
            self.missing.push(Kind::Copy);
            return Ok(());
        };
        let (from_window, from, n) = self.range(200);
        let (to_window, to, _) = self.range(n);
        let to = to.min(WINDOW - n);
        if from_window == to_window && from.abs_diff(to) < n {
            return Ok(());
        }
        let (source, target) = (self.windows[from_window].at + from, self.windows[to_window].at + to);
        let list = extended_copy(&naa, &naa, [source, target], n as u16);
        let mut cdb = [0u8; 16];
        (cdb[0], cdb[13]) = (0x83, list.len() as u8);
        let a = self.client().run(&Cmd::write(cdb, list)).await?;
        if self.taken(Kind::Copy, &a)? {
            let data = self.windows[from_window].part(from, n).to_vec();
            self.windows[to_window].part(to, n).copy_from_slice(&data);
        }
        Ok(())
    }

    /// What GET LBA STATUS calls deallocated reads zero (LBPRZ).
    async fn status(&mut self) -> Checked {
        let (w, from, _) = self.range(1);
        let lba = self.windows[w].at + from;
        let a = self.client().run(&Cmd::read(cdb::get_lba_status(lba, 1024), 1024)).await?;
        if !self.taken(Kind::Status, &a)? {
            return Ok(());
        }
        let mut at = lba;
        for d in a.data.get(8..).unwrap_or_default().chunks_exact(16) {
            let (first, blocks, status) = (be(d, 0, 8), be(d, 8, 4), d[12] & 15);
            must!(first == at && blocks > 0, "SBC-3 5.5", format!("a descriptor from {at}"), "{d:02x?}");
            at = first.saturating_add(blocks);
            let window = &mut self.windows[w];
            let (from, to) = (first.max(window.at), at.min(window.at + WINDOW));
            if status != 1 || from >= to {
                continue;
            }
            let held = window.part(from - window.at, to - from).iter().position(|b| *b != 0);
            must!(
                held.is_none(),
                "SBC-3 4.7.3.5",
                "data in mapped blocks only",
                "blocks {first}+{blocks} are called deallocated, and hold data"
            );
        }
        must!(at > lba, "SBC-3 5.5", "at least one descriptor", "{} bytes", a.data.len());
        Ok(())
    }

    /// Several writes that do not meet, under way at the same time.
    async fn together(&mut self) -> Checked {
        let window = self.dice.below(self.windows.len() as u64) as usize;
        let count = 2 + self.dice.below(6);
        let (room, mut at) = (WINDOW / count, 0);
        let mut under_way = Vec::new();
        for n in 0..count {
            let blocks = (1 + self.dice.below(room)).min(self.most[0]);
            let data = self.bytes(blocks);
            let client = ((self.dice.below(2) + n) % self.clients.len() as u64) as usize;
            let cmd = Cmd::write(cdb::write(self.windows[window].at + at, blocks as u32), data.clone());
            let itt = self.clients[client].start(&cmd).await;
            under_way.push((client, itt, at, Bytes::from(data)));
            at += room;
        }
        for (client, itt, from, data) in under_way {
            let a = self.clients[client].finish(itt).await?;
            self.taken(Kind::Write, &a)?;
            self.windows[window].part(from, data.len() as u64 / 512).copy_from_slice(&data);
        }
        Ok(())
    }

    /// Draws so many commands, then has every session read everything.
    async fn play(mut self, steps: u32, weights: &[(Kind, u64)]) -> Checked {
        for step in 0..steps {
            let offered: Vec<_> = weights.iter().filter(|(k, _)| !self.missing.contains(k)).collect();
            let mut drawn = self.dice.below(offered.iter().map(|(_, w)| w).sum());
            let kind = offered.iter().find(|(_, w)| match drawn.checked_sub(*w) {
                Some(rest) => {
                    drawn = rest;
                    false
                }
                None => true,
            });
            let Some((kind, _)) = kind else { break };
            self.step(*kind).await.map_err(|stop| told(stop, step, *kind))?;
        }
        for client in 0..self.clients.len() {
            for Window { at, bytes } in &self.windows {
                let mut lba = *at;
                for part in bytes.chunks(self.most[0].min(100) as usize * 512) {
                    reads(&mut self.clients[client], lba, part, "SBC-3 5.11").await?;
                    lba += part.len() as u64 / 512;
                }
            }
        }
        for mut client in self.clients {
            settle(&mut client).await?;
            client.bye().await?;
        }
        Ok(())
    }
}

/// A breach with the number of the command that showed it.
fn told(mut stop: Stop, step: u32, kind: Kind) -> Stop {
    if let Stop::Failed(failure) = &mut stop {
        failure.observed = format!("{} (random command {}, {kind:?})", failure.observed, step + 1);
    }
    stop
}

async fn mixed(lab: &Lab) -> Checked {
    let weights = [
        (Kind::Write, 5),
        (Kind::WriteVerify, 1),
        (Kind::Zeros, 1),
        (Kind::Read, 6),
        (Kind::Verify, 2),
        (Kind::Unmap, 3),
        (Kind::Same, 2),
        (Kind::SameNone, 1),
        (Kind::Compare, 2),
        (Kind::Or, 1),
        (Kind::Copy, 2),
        (Kind::Status, 2),
        (Kind::Sync, 1),
        (Kind::Together, 2),
    ];
    Ground::new(lab, "random-mixed").await?.play(300, &weights).await
}

async fn small(lab: &Lab) -> Checked {
    let mut ground = Ground::new(lab, "random-small").await?;
    ground.most[0] = ground.most[0].min(11);
    let weights = [(Kind::Write, 6), (Kind::Zeros, 2), (Kind::Read, 3), (Kind::Compare, 2), (Kind::Or, 1)];
    ground.play(300, &weights).await
}

async fn emptied(lab: &Lab) -> Checked {
    let ground = Ground::new(lab, "random-unmap").await?;
    if ground.missing.contains(&Kind::Unmap) {
        return Err(crate::outcome::not_claimed("LBPU and LBPRZ are not claimed"));
    }
    let weights = [
        (Kind::Unmap, 6),
        (Kind::Same, 2),
        (Kind::SameNone, 2),
        (Kind::Write, 3),
        (Kind::Status, 3),
        (Kind::Read, 3),
    ];
    ground.play(200, &weights).await
}

async fn in_flight(lab: &Lab) -> Checked {
    let weights = [(Kind::Together, 6), (Kind::Read, 2), (Kind::Unmap, 1)];
    Ground::new(lab, "random-in-flight").await?.play(60, &weights).await
}

#[cfg(test)]
mod tests {
    use super::super::difference;
    use super::*;

    #[test]
    fn a_breach_says_which_random_command_showed_it() {
        let stop = crate::outcome::fail("SBC-3 5.11", "the right bytes", difference(&[1], &[2]));
        let Stop::Failed(failure) = told(stop, 6, Kind::Read) else { panic!("it was a breach") };
        assert_eq!(failure.observed, "byte 0 is 02 instead of 01 (random command 7, Read)");
    }
}
