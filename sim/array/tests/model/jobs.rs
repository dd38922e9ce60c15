//! The part of the bench that deals with full copies that take their time, with faults on the way, with snapshots of one
//! instant and with QoS policies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sanbench_array::{Array, Command, CopyStatus, DeviceId, JobFault, Refusal, TrafficLimits};

use crate::bench::{Bench, ensure};
use crate::op::Op;

/// A copy task: what it copies, and whether that goes on.
pub(crate) struct Copy {
    pair: bool,
    source: DeviceId,
    target: u64,
    /// Content of source and target when it was started.
    new: Vec<u8>,
    old: Vec<u8>,
    pub(crate) running: bool,
    complete: bool,
}

#[derive(Default)]
struct Orders {
    /// Point at which a fault waits.
    armed: Option<(String, JobFault)>,
    fired: Option<(String, JobFault)>,
}

/// The faults that wait for jobs.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Orders>>);

impl Faults {
    /// Watches the jobs of an array.
    pub(crate) fn watch(&self, array: &mut Array) {
        let orders = Arc::clone(&self.0);
        array.watch_jobs(move |point| {
            let mut orders = orders.lock().unwrap();
            let hit = orders.armed.take_if(|(armed, _)| armed == point)?;
            let fault = hit.1;
            orders.fired = Some(hit);
            Some(fault)
        });
    }

    fn arm(&self, order: Option<(String, JobFault)>) {
        self.0.lock().unwrap().armed = order;
    }

    pub(crate) fn disarm(&self) {
        self.arm(None);
    }

    /// What has happened since the last time.
    pub(crate) fn take_fired(&self) -> Option<(String, JobFault)> {
        self.0.lock().unwrap().fired.take()
    }
}

impl Bench {
    /// Whether a copy is writing this LUN.
    pub(crate) fn in_flux(&self, lun: u64) -> bool {
        self.copies.values().any(|copy| copy.running && copy.target == lun)
    }

    /// Whether a copy task refers to the device.
    pub(crate) fn in_copy(&self, device: DeviceId) -> bool {
        self.copies.values().any(|copy| copy.source == device || DeviceId::Lun(copy.target) == device)
    }

    fn content_of(&self, device: DeviceId) -> Option<Vec<u8>> {
        match device {
            DeviceId::Lun(id) => (!self.in_flux(id)).then(|| self.luns[&id].bytes.clone()),
            DeviceId::Snapshot(id) => self.snapshots[&id].bytes.clone(),
        }
    }

    fn pick_copy(&self, pick: usize) -> Option<u64> {
        self.copies.keys().nth(pick % self.copies.len().max(1)).copied()
    }

    pub(crate) fn act_on_jobs(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::StartCopy { from, to, pair, speed } => {
                let (Some(source), Some(target)) = (self.pick_device(from), self.pick_lun(to)) else {
                    return Ok(());
                };
                let Some(new) = self.content_of(source).filter(|_| self.roomy) else { return Ok(()) };
                let small = new.len() > self.luns[&target].bytes.len() || source == DeviceId::Lun(target);
                let command = match pair {
                    true => Command::CreateClonePair { source, target, rate: speed },
                    false => Command::CreateLunCopy { name: self.name(), source, target, speed },
                };
                let Some(made) = self.send(command, &[(small, Refusal::BadCopyTarget)])? else {
                    return Ok(());
                };
                let old = self.luns[&target].bytes.clone();
                let copy = Copy { pair, source, target, new, old, running: false, complete: false };
                self.copies.insert(made.id().unwrap(), copy);
                self.start_copy(made.id().unwrap())
            }
            Op::AgainCopy { pick } => match self.pick_copy(pick) {
                Some(id) => self.start_copy(id),
                None => Ok(()),
            },
            Op::StopCopy { pick } => {
                let Some(id) = self.pick_copy(pick) else { return Ok(()) };
                let (pair, idle) = (self.copies[&id].pair, !self.copies[&id].running);
                let command = if pair {
                    Command::StopClonePair { pair: id }
                } else {
                    Command::StopLunCopy { copy: id }
                };
                if self.send(command, &[(idle, Refusal::CopyNotRunning)])?.is_some() {
                    self.settle_copy(id, false)?;
                }
                Ok(())
            }
            Op::EndCopy { pick } => {
                let Some(id) = self.pick_copy(pick) else { return Ok(()) };
                let command = match self.copies[&id].pair {
                    true => Command::DeleteClonePair { pair: id },
                    false => Command::DeleteLunCopy { copy: id },
                };
                self.send(command, &[])?;
                if self.copies[&id].running {
                    self.settle_copy(id, false)?;
                }
                self.copies.remove(&id);
                Ok(())
            }
            Op::FaultJob { kind, percent, what } => {
                let kinds = ["split", "luncopy", "clonepair"];
                let fault = match what % 3 {
                    0 => JobFault::Fail,
                    1 => JobFault::Stall(Duration::from_millis(15)),
                    _ => JobFault::ControllerFails,
                };
                self.faults.arm(Some((format!("job.{}.{percent}", kinds[kind % kinds.len()]), fault)));
                Ok(())
            }
            Op::ActivateMany { mask } => {
                let all = self.snapshots.iter().zip(0..).filter(|(_, n)| mask >> n & 1 == 1);
                let ids: Vec<u64> =
                    all.filter(|((_, s), _)| !self.in_flux(s.parent)).map(|((id, _), _)| *id).collect();
                self.send(Command::ActivateSnapshots { ids: ids.clone() }, &[])?;
                for id in ids {
                    self.activated(id);
                }
                Ok(())
            }
            Op::Limit { pick, on } => {
                let Some(lun) = self.pick_lun(pick) else { return Ok(()) };
                match (self.limited.get(&lun).copied(), on) {
                    (None, true) => {
                        let limits = TrafficLimits {
                            commands: 1.try_into().ok(),
                            bytes: None,
                            reads: true,
                            writes: true,
                        };
                        let (name, labels) = (self.name(), Vec::new());
                        let made =
                            self.send(Command::CreateQos { name, luns: vec![lun], limits, labels }, &[])?;
                        let qos = made.unwrap().id().unwrap();
                        self.send(Command::ActivateQos { qos, active: true }, &[])?;
                        self.limited.insert(lun, qos);
                    }
                    (Some(qos), false) => {
                        self.send(Command::ActivateQos { qos, active: false }, &[])?;
                        self.send(Command::DeleteQos { qos }, &[])?;
                        self.limited.remove(&lun);
                    }
                    _ => {}
                }
                Ok(())
            }
            _ => unreachable!("{op:?} is not of this part"),
        }
    }

    /// A snapshot freezes its LUN, unless it has done so before.
    pub(crate) fn activated(&mut self, id: u64) {
        let snapshot = self.snapshots.get_mut(&id).unwrap();
        if snapshot.bytes.is_none() {
            let parent = self.luns.get_mut(&snapshot.parent).unwrap();
            snapshot.bytes = Some(parent.bytes.clone());
            parent.doubt.clear();
        }
    }

    fn start_copy(&mut self, id: u64) -> Result<(), String> {
        let copy = &self.copies[&id];
        let (pair, source, target) = (copy.pair, copy.source, copy.target);
        let (busy, over) = (copy.running, copy.complete && !pair);
        let others = self.copies.iter().any(|(other, c)| *other != id && c.running && c.target == target);
        let Some(new) = self.content_of(source).filter(|_| !others) else { return Ok(()) };
        // Nothing of the target is in doubt while it is copied over.
        self.array.flush(self.now, DeviceId::Lun(target), 0, 0).map_err(|e| e.to_string())?;
        self.sync()?;
        self.luns.get_mut(&target).unwrap().doubt.clear();
        let old = self.luns[&target].bytes.clone();
        let small = new.len() > old.len();
        let command =
            if pair { Command::SyncClonePair { pair: id } } else { Command::StartLunCopy { copy: id } };
        let rules = [(busy || over, Refusal::CopyStarted), (small, Refusal::BadCopyTarget)];
        if self.send(command, &rules)?.is_some() {
            if let DeviceId::Lun(source) = source {
                self.all_durable(source);
            }
            let copy = self.copies.get_mut(&id).unwrap();
            (copy.new, copy.old, copy.running, copy.complete) = (new, old, true, false);
        }
        Ok(())
    }

    /// A copy has come to its end: the target is what it must be, and that is taken over.
    fn settle_copy(&mut self, id: u64, complete: bool) -> Result<(), String> {
        let copy = self.copies.get_mut(&id).unwrap();
        (copy.running, copy.complete) = (false, complete);
        let target = copy.target;
        let blocks = copy.old.len() as u64 / 512;
        let read = self.array.read(self.now, DeviceId::Lun(target), 0, blocks as u32);
        let bytes = read.map_err(|error| format!("target {target}: {error}"))?.concat();
        let mut done = copy.old.clone();
        done[..copy.new.len()].copy_from_slice(&copy.new);
        for (at, extent) in bytes.chunks(65_536).enumerate() {
            let range = at * 65_536..at * 65_536 + extent.len();
            let fine = extent == &done[range.clone()] || (!complete && extent == &copy.old[range]);
            ensure!(fine, "copy {id}: extent {at} of the target reads wrong");
        }
        self.luns.get_mut(&target).unwrap().bytes = bytes;
        Ok(())
    }

    /// Takes over which copies have ended, and how.
    pub(crate) fn sync_copies(&mut self) -> Result<(), String> {
        let fired = self.faults.take_fired();
        let running: Vec<u64> =
            self.copies.iter().filter(|(_, copy)| copy.running).map(|(id, _)| *id).collect();
        let mut failed = 0;
        for id in &running {
            let status = match self.copies[id].pair {
                true => self.array.clone_pair(*id).map(|pair| pair.status),
                false => self.array.lun_copy(*id).map(|copy| copy.status),
            };
            match status {
                Some(CopyStatus::Running) => {}
                Some(CopyStatus::Complete) => self.settle_copy(*id, true)?,
                Some(CopyStatus::Failed) => {
                    failed += 1;
                    self.settle_copy(*id, false)?;
                }
                other => return Err(format!("copy {id} is {other:?}")),
            }
        }
        match fired {
            Some((point, JobFault::Fail)) if !point.starts_with("job.split") => {
                ensure!(failed == 1, "{point} failed, and {failed} copies did");
            }
            Some((_, JobFault::Fail)) => self.split_failed = true,
            Some((point, JobFault::ControllerFails)) => self.controllers_differ(&point)?,
            _ => ensure!(failed == 0, "{failed} copies have failed by themselves"),
        }
        Ok(())
    }

    /// A controller has failed under a job: the model takes over which one.
    fn controllers_differ(&mut self, point: &str) -> Result<(), String> {
        let up: Vec<bool> = self.array.controllers().iter().map(|controller| controller.up).collect();
        let gone: Vec<u8> =
            (0..2).filter(|c| self.plant.up[usize::from(*c)] && !up[usize::from(*c)]).collect();
        ensure!(gone.len() <= 1, "{point}: controllers {gone:?} have failed");
        for controller in gone {
            self.plant.fail(controller);
        }
        Ok(())
    }

    /// Policies act on their LUN, and on no other.
    pub(crate) fn compare_limits(&mut self) -> Result<(), String> {
        let limited: BTreeMap<u64, u64> = self.limited.clone();
        ensure!(self.array.limits_traffic() != limited.is_empty(), "policies {limited:?} do not show");
        if limited.is_empty() {
            return Ok(());
        }
        for lun in self.luns.keys() {
            let wait =
                (0..2).filter_map(|_| self.array.admit(self.now, DeviceId::Lun(*lun), 512, true)).max();
            ensure!(
                wait.is_some() == limited.contains_key(lun),
                "LUN {lun} waits {wait:?}, policies {limited:?}"
            );
        }
        Ok(())
    }
}
