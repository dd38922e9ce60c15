//! The journal of an array in a world of its own: a disk in memory, a committer that is a task of the array's node, and the
//! array made again of what was committed when the power is back.
//!
//! What the array owes by then: whoever was answered waited at the gate, so that it was committed. Everything else may be
//! there or not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sanbench_array::{Array, ArrayConfig, ArrayHandle, Damage, Gate, LostWrites, MEDIUM_PAGE};
use sanbench_durable::{CommitError, Defects, Keeper, MemoryDisk, Spoil};
use sanbench_world::{Dice, Env};
use thiserror::Error;

/// Room on the disk: 16 GiB, in pages of 4 KiB.
const ROOM: u32 = 1 << 22;
/// How long what nobody waits for (volatile writes, progress of jobs) may stay in memory, as in the live make.
const IDLE: Duration = Duration::from_secs(1);
/// How long a commit of the planted defect takes that answers before it.
const LAZY: Duration = Duration::from_secs(1);
/// Losses of power while the array comes back from one, at most.
const AGAIN: u32 = 2;

/// Why an array did not come back.
#[derive(Debug, Error)]
pub(crate) enum NotRestored {
    /// What was committed makes no array.
    #[error("what was committed is damaged: {0}")]
    Damaged(#[from] Damage),
    /// The disk fails.
    #[error(transparent)]
    Disk(#[from] CommitError),
}

/// What outlasts an array of a virtual world.
#[derive(Debug)]
pub(crate) struct Vault {
    disk: MemoryDisk,
    config: ArrayConfig,
    defects: Defects,
    gate: Arc<Gate>,
    /// That of the array that runs now.
    keeper: Mutex<Keeper>,
}

impl Vault {
    /// Makes an array, and what keeps it.
    ///
    /// # Errors
    /// The first commit fails.
    pub(crate) fn make(
        config: ArrayConfig,
        defects: Defects,
    ) -> Result<(Arc<Vault>, ArrayHandle), CommitError> {
        let disk = MemoryDisk::new(ROOM);
        let (array, keeper) = disk.create(config.clone(), defects)?;
        let gate = Arc::new(Gate::default());
        let handle = ArrayHandle::with_gate(array, Arc::clone(&gate));
        Ok((Arc::new(Vault { disk, config, defects, gate, keeper: Mutex::new(keeper) }), handle))
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits whenever somebody wants it, as long as the node has power. A commit takes its time, and is nothing if the
    /// power goes meanwhile.
    pub(crate) async fn commit(self: Arc<Self>, env: Env, handle: ArrayHandle) {
        let mut dice = env.rng(&format!("journal {}", handle.lock().power_generation()));
        loop {
            // Idle or not: there may be something to write.
            let _ = env.timeout(IDLE, self.gate.work()).await;
            let (batch, early) = {
                let keeper = self.keeper();
                let mut array = handle.lock();
                (keeper.collect(&mut array), keeper.answers_early())
            };
            let promises = batch.promises();
            let took = if early { LAZY } else { sync_time(&mut dice) };
            if early {
                self.gate.publish(promises);
            }
            env.sleep(took).await;
            let pages = batch.pages();
            let done = self.keeper().commit(batch);
            match done {
                Ok(wrote) => {
                    if wrote {
                        self.gate.count_commit(promises, pages, took);
                    }
                    self.gate.publish(promises);
                }
                Err(error) => return self.gate.fail(error.to_string()),
            }
        }
    }

    /// The power is back: puts an array into the handle that is made of what was committed. Of the unsynchronised blocks of
    /// volatile caches any may be lost. Now and then the power goes again before the array has come back.
    ///
    /// # Errors
    /// It does not come back; the handle keeps the old one.
    pub(crate) fn restore(&self, env: &Env, handle: &ArrayHandle) -> Result<(), NotRestored> {
        let mut old = handle.lock();
        let mut dice = env.rng(&format!("power loss {}", old.power_generation()));
        let lost = old.lost_writes(env.now(), &mut |n| dice.below(n));
        drop(old);
        let mut cuts = 0;
        loop {
            let (mut array, mut keeper) = self.revive(&lost)?;
            if cuts == AGAIN || dice.chance(2, 3) {
                let (generation, blocks) = (array.power_generation(), lost.blocks());
                *self.keeper() = keeper;
                handle.replace(array);
                env.note("power", || {
                    serde_json::json!({
                        "journal": "restored", "generation": generation, "lost": blocks, "cuts": cuts,
                    })
                });
                return Ok(());
            }
            cuts += 1;
            // Before its first commit, or behind it.
            let batch = keeper.collect(&mut array);
            if dice.chance(1, 2) {
                keeper.commit(batch)?;
            }
        }
    }

    fn revive(&self, lost: &LostWrites) -> Result<(Array, Keeper), NotRestored> {
        let (mut array, keeper) = self.disk.revive(self.config.clone(), self.defects)?;
        array.undo_lost(lost);
        Ok((array, keeper))
    }

    /// Spoils the page that a block of a LUN is read from, on disk. False: no data are on disk there, or background work might
    /// meet them.
    pub(crate) fn spoil(&self, handle: &ArrayHandle, lun: &str, lba: u64, how: Spoil) -> bool {
        // In the order of whoever commits.
        let keeper = self.keeper();
        let array = handle.lock();
        let place = array.lun_by_name(lun).and_then(|lun| array.place_of(lun.id, lba));
        let from = (lba % (MEDIUM_PAGE as u64 / 512)) as usize * 512;
        let spoils = |place| keeper.pages().forget(place) && self.disk.spoil(place, from, how);
        !array.has_jobs() && place.is_some_and(spoils)
    }

    /// Has spoilt pages hold again what was written to them.
    pub(crate) fn mend(&self) {
        let keeper = self.keeper();
        for place in self.disk.mend() {
            keeper.pages().forget(place);
        }
    }

    /// What is wrong with what is kept: an array that is made of it now must be the one that runs.
    pub(crate) fn audit(&self, handle: &ArrayHandle) -> Option<String> {
        let mut keeper = self.keeper();
        let mut array = handle.lock();
        let batch = keeper.collect(&mut array);
        if let Err(error) = keeper.commit(batch) {
            return Some(error.to_string());
        }
        match keeper.pages().strays() {
            0 => {}
            strays => return Some(format!("{strays} references to pages of the journal were never taken")),
        }
        match self.disk.revive(self.config.clone(), self.defects) {
            Err(damage) => Some(format!("the journal makes no array: {damage}")),
            Ok((kept, _)) => {
                let (kept, runs) = (kept.census(), array.census());
                (kept != runs).then(|| format!("the journal holds {kept:?}, the array {runs:?}"))
            }
        }
    }
}

/// How long a commit takes: a few milliseconds, and sometimes as long as a disk takes that is busy.
fn sync_time(dice: &mut Dice) -> Duration {
    let most = if dice.chance(1, 8) { 20 } else { 3 };
    Duration::from_millis(1 + dice.below(most))
}
