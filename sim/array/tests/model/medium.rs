//! The part of the bench that deals with caches, power, copies and controllers.

use sanbench_array::{AccessError, AccessState, DeviceId, IoError, NexusId, Refusal};

use crate::bench::{Bench, ensure};
use crate::op::Op;

fn nexus() -> NexusId {
    NexusId { initiator: "iqn.2026-01.example:host0".to_owned(), isid: [0; 6], port: 1 }
}

fn pattern(blocks: u64, fill: u8) -> Vec<u8> {
    (0..blocks).flat_map(|block| [fill.wrapping_add(block as u8); 512]).collect()
}

impl Bench {
    /// The newest content of a range; none when the range leaves the LUN.
    fn newest(&self, pick: usize, lba: u64, blocks: u64) -> Option<Vec<u8>> {
        let lun = &self.luns[&self.pick_lun(pick)?];
        lun.bytes.get(lba as usize * 512..(lba + blocks) as usize * 512).map(<[u8]>::to_vec)
    }

    /// A successful write with force unit access leaves no doubt about its blocks.
    fn forced(&mut self, pick: usize, lba: u64, blocks: u64) {
        if self.newest(pick, lba, blocks).is_some()
            && let Some(lun) = self.pick_lun(pick)
        {
            self.luns.get_mut(&lun).unwrap().durable(lba, blocks);
        }
    }

    pub(crate) fn act_on_medium(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::Fua { pick, lba, blocks, fill } => {
                let mut done = false;
                self.change(pick, lba, blocks, pattern(blocks, fill), |array, now, id, data| {
                    array.write_through(now, id, lba, data).inspect(|()| done = true)
                })?;
                if done {
                    self.forced(pick, lba, blocks);
                }
            }
            Op::Flush { pick, lba, blocks } => {
                if let Some(id) = self.pick_lun(pick) {
                    let lun = self.luns.get_mut(&id).unwrap();
                    let size = lun.bytes.len() as u64 / 512;
                    let done = self.array.flush(self.now, DeviceId::Lun(id), lba, blocks);
                    if lba + blocks > size {
                        ensure!(done == Err(IoError::OutOfRange), "flush behind the end gave {done:?}");
                    } else {
                        ensure!(done == Ok(()), "flush gave {done:?}");
                        lun.durable(lba, if blocks == 0 { size - lba } else { blocks });
                    }
                }
            }
            Op::SwitchCache { pick, on } => {
                if let Some(id) = self.pick_lun(pick) {
                    let done = self.array.set_write_cache(self.now, DeviceId::Lun(id), on);
                    ensure!(done == Ok(()), "switching the cache gave {done:?}");
                    let lun = self.luns.get_mut(&id).unwrap();
                    lun.cached = on;
                    lun.doubt.clear();
                }
            }
            Op::CompareWrite { pick, lba, blocks, fill, wrong, fua } => {
                let newest = self.newest(pick, lba, blocks);
                let mut expected = newest.clone().unwrap_or_else(|| pattern(blocks, 0));
                let differs = wrong.map(|block| (block % blocks) as usize * 512 + 77);
                if let Some(at) = differs {
                    expected[at] ^= 1;
                }
                let (mut answer, data) = (None, pattern(blocks, fill));
                if let Some(at) = differs {
                    // Nothing changes: it must not even cast doubt.
                    let Some(id) = self.pick_lun(pick).map(DeviceId::Lun) else { return Ok(()) };
                    let done = self.array.compare_and_write(self.now, id, lba, &expected, &data, fua);
                    let want = newest.map(|_| Err(at)).ok_or(IoError::OutOfRange);
                    ensure!(done == want, "compare and write gave {done:?}, model says {want:?}");
                    return Ok(());
                }
                self.change(pick, lba, blocks, data.clone(), |array, now, id, _| {
                    let done = array.compare_and_write(now, id, lba, &expected, &data, fua);
                    answer = Some(done);
                    done.map(|_| ())
                })?;
                if let Some(Ok(compared)) = answer {
                    ensure!(compared == Ok(()), "equal blocks differ at {compared:?}");
                    if fua {
                        self.forced(pick, lba, blocks);
                    }
                }
            }
            Op::OrWrite { pick, lba, blocks, fill, fua } => {
                let data = pattern(blocks, fill);
                let mut sum = data.clone();
                if let Some(old) = self.newest(pick, lba, blocks) {
                    sum.iter_mut().zip(old).for_each(|(byte, old)| *byte |= old);
                }
                let mut done = false;
                self.change(pick, lba, blocks, sum, |array, now, id, _| {
                    array.or_write(now, id, lba, &data, fua).inspect(|()| done = true)
                })?;
                if done && fua {
                    self.forced(pick, lba, blocks);
                }
            }
            Op::CopyBlocks { from, from_lba, to, to_lba, blocks } if self.roomy => {
                self.copy_blocks(from, from_lba, to, to_lba, blocks)?;
            }
            Op::Sanitize { pick, pattern } => {
                let Some(id) = self.pick_lun(pick) else { return Ok(()) };
                let size = self.luns[&id].bytes.len() as u64 / 512;
                let block: Vec<u8> =
                    pattern.map_or(vec![0; 512], |fill| [fill, 1, 2].into_iter().cycle().take(512).collect());
                let mut done = false;
                self.change(pick, 0, size, block.repeat(size as usize), |array, now, id, _| {
                    let pattern = pattern.map(|fill| [fill, 1, 2]);
                    array
                        .sanitize(now, id, pattern.as_ref().map(|pattern| &pattern[..]))
                        .inspect(|()| done = true)
                })?;
                if done {
                    self.luns.get_mut(&id).unwrap().doubt.clear();
                }
            }
            Op::Register { pick, persist } => {
                if let Some(id) = self.pick_lun(pick) {
                    let reservations =
                        self.array.reservations_mut(DeviceId::Lun(id)).ok_or("no reservations")?;
                    reservations.register(&nexus(), 0, 9, persist, true).map_err(|e| e.to_string())?;
                    self.luns.get_mut(&id).unwrap().registered = Some(persist);
                }
            }
            Op::PowerLoss { seed } => self.lose_power(seed)?,
            Op::Fail { controller } => {
                let done = self.array.fail_controller(self.now, controller);
                ensure!(done == Ok(()), "fail gave {done:?}");
                self.plant.advance(self.now);
                self.plant.fail(controller);
            }
            Op::Restore { controller } => {
                let done = self.array.restore_controller(self.now, controller);
                ensure!(done == Ok(()), "restore gave {done:?}");
                self.plant.restore(controller, self.now);
            }
            Op::Own { pick, controller } => {
                if let Some(id) = self.pick_lun(pick) {
                    let up = self.plant.up[usize::from(controller)];
                    let want = if up { Ok(()) } else { Err(Refusal::ControllerDown) };
                    let done = self.array.set_owner(self.now, id, controller);
                    ensure!(done == want, "set_owner gave {done:?}");
                    if up {
                        self.plant.moved(DeviceId::Lun(id), controller);
                    }
                }
            }
            Op::SetState { pick, group, state } => {
                use AccessState as S;
                let all = [S::ActiveOptimized, S::ActiveNonOptimized, S::Standby, S::Unavailable, S::Offline];
                let state = all[state % all.len()];
                if let Some(id) = self.pick_device(pick) {
                    let down = self.plant.up.get(usize::from(group).wrapping_sub(1)).is_some_and(|up| !up);
                    let want = match group {
                        0 | 3.. => Err(AccessError::NoSuchGroup),
                        _ if state == S::Offline => Err(AccessError::NotSupported),
                        _ if down => Err(AccessError::ControllerDown),
                        _ => Ok(()),
                    };
                    let done = self.array.set_access_state(self.now, id, group, state);
                    ensure!(
                        done == want,
                        "setting group {group} to {state:?} gave {done:?}, model says {want:?}"
                    );
                    if done.is_ok() {
                        self.plant.set(id, group as u8 - 1, state);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn copy_blocks(
        &mut self,
        from: usize,
        from_lba: u64,
        to: usize,
        to_lba: u64,
        blocks: u64,
    ) -> Result<(), String> {
        let (Some(source), Some(target)) = (self.pick_device(from), self.pick_lun(to)) else { return Ok(()) };
        let there;
        let bytes = match source {
            // A copy is writing it: what is copied on is what stands there at this moment, old or new.
            DeviceId::Lun(id) if self.in_flux(id) => {
                there = self.array.peek(id);
                Some(&there)
            }
            DeviceId::Lun(id) => Some(&self.luns[&id].bytes),
            DeviceId::Snapshot(id) => self.snapshots[&id].bytes.as_ref(),
        };
        let range = from_lba as usize * 512..(from_lba + blocks) as usize * 512;
        let want = match bytes {
            None => Err(IoError::Offline),
            Some(bytes) => bytes.get(range).map(<[u8]>::to_vec).ok_or(IoError::OutOfRange),
        };
        let want = want.and_then(|data| {
            let fits = (to_lba + blocks) as usize * 512 <= self.luns[&target].bytes.len();
            if fits { Ok(data) } else { Err(IoError::OutOfRange) }
        });
        let done = self.array.copy_blocks(self.now, source, from_lba, DeviceId::Lun(target), to_lba, blocks);
        ensure!(done == want.clone().map(|_| ()), "copy gave {done:?}, model says {:?}", want.err());
        if let Ok(data) = want {
            if source == DeviceId::Lun(target) && from_lba == to_lba {
                return Ok(());
            }
            if let DeviceId::Lun(source) = source {
                self.luns.get_mut(&source).unwrap().durable(from_lba, blocks);
            }
            self.luns.get_mut(&target).unwrap().overwrite(to_lba, &data);
        }
        Ok(())
    }

    /// Takes over what the array has after a power loss, block by block, where it is one of the legal values.
    fn lose_power(&mut self, seed: u64) -> Result<(), String> {
        let in_cache: u64 =
            self.luns.keys().map(|id| self.array.unsynchronised_blocks(DeviceId::Lun(*id))).sum();
        let generation = self.array.power_generation();
        let mut state = seed;
        let report = self.array.power_loss(self.now, &mut |n| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        });
        ensure!(self.array.power_generation() == generation + 1, "the power generation did not move by one");
        ensure!(report.blocks_lost + report.blocks_kept == in_cache, "{report:?} of {in_cache} blocks");
        let flux: Vec<u64> = self.luns.keys().copied().filter(|id| self.in_flux(*id)).collect();
        for (id, lun) in &mut self.luns {
            let device = DeviceId::Lun(*id);
            ensure!(self.array.unsynchronised_blocks(device) == 0, "the cache outlives the power");
            ensure!(self.array.write_cache(device) == lun.cached, "LUN {id}: WCE changed");
            let blocks = lun.bytes.len() as u64 / 512;
            let read =
                self.array.read(self.now, device, 0, blocks as u32).map_err(|e| e.to_string())?.concat();
            for (block, (old, new)) in lun.bytes.chunks_exact_mut(512).zip(read.chunks_exact(512)).enumerate()
            {
                if flux.contains(id) {
                    break; // what a copy is writing is looked at when it ends
                }
                let legal =
                    old == new || lun.doubt.get(&(block as u64)).is_some_and(|values| values.contains(new));
                ensure!(legal, "LUN {id}: block {block} is illegal after the power loss");
                old.copy_from_slice(new);
            }
            lun.doubt.clear();
            lun.registered = lun.registered.filter(|persist| *persist);
            let registrations = self.array.reservations(device).map_or(9, |r| r.registrants().count());
            ensure!(
                registrations == usize::from(lun.registered.is_some()),
                "LUN {id}: {registrations} registrations after the power loss, model says {:?}",
                lun.registered
            );
        }
        Ok(())
    }

    /// The pool's accounts against the volumes of the model; what they are the sum of inside, the array's own audit says.
    pub(crate) fn compare_pool(&self) -> Result<(), String> {
        let pool = self.array.pool(0).ok_or("the pool is missing")?;
        let provisioned: u64 = self.luns.values().map(|lun| lun.bytes.len() as u64 / 512).sum();
        let seen = pool.provisioned_blocks();
        ensure!(seen == provisioned, "the pool has {seen} blocks provisioned, model says {provisioned}");
        // Nothing is used beyond what there is, and what is not used is free.
        let (used, free, all) = (pool.used_blocks(), pool.free_blocks(), pool.capacity_blocks());
        ensure!(used + free == all, "the pool has {used} blocks used and {free} free of {all}");
        Ok(())
    }

    /// Controllers, owners, states, identities, and that each visible change moves the generation.
    pub(crate) fn compare_plant(&mut self) -> Result<(), String> {
        self.plant.advance(self.now);
        let up: Vec<bool> = self.array.controllers().iter().map(|controller| controller.up).collect();
        ensure!(up == self.plant.up, "controllers {up:?}, model says {:?}", self.plant.up);
        let mut seen = Vec::new();
        for (id, place) in &self.plant.places {
            let owner = match id {
                DeviceId::Lun(id) => self.array.lun(*id).map(|lun| (lun.owner, lun.wwn)),
                DeviceId::Snapshot(id) => self.array.snapshot(*id).map(|snap| (snap.owner, snap.wwn)),
            };
            let (owner, wwn) = owner.ok_or("a device is missing")?;
            ensure!(owner == place.owner, "{id:?}: owner {owner}, model says {place:?}");
            let shown = self.array.device(*id).map(|info| info.wwn);
            ensure!(shown == Some(wwn), "{id:?}: identity is {shown:02x?} through the target");
            let groups = self.array.target_port_groups(*id);
            ensure!(groups.len() == 2, "{id:?}: {} groups", groups.len());
            for (group, state) in groups {
                let want = self.plant.state(*id, group.controller);
                ensure!(state == want, "{id:?}: group {} is {state:?}, model says {want:?}", group.id);
                ensure!(self.array.access_state(*id, group.id) == state, "{id:?}: two states of one group");
                ensure!(group.preferred == (group.controller == place.home), "{id:?}: wrong preference");
                ensure!(group.ports == [group.id], "group {} has ports {:?}", group.id, group.ports);
                seen.push(state);
            }
        }
        let generation = self.array.access_generation();
        // Within several steps devices may come and go.
        let same_devices = self.every == 1 && self.plant.seen.0.len() == seen.len();
        ensure!(
            !same_devices || seen == self.plant.seen.0 || generation != self.plant.seen.1,
            "access states changed, the generation did not"
        );
        self.plant.seen = (seen, generation);
        Ok(())
    }
}
