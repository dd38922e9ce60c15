//! A disk in memory that loses its power: what was not synced is lost, kept or torn, page by page; a commit of the catalogue
//! that was under way is over or not.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sanbench_array::MEDIUM_PAGE;
use sanbench_durable::{Catalogue, CatalogueError, Commit, Contents, PageFile, Rows};

#[derive(Debug, Default)]
struct State {
    len: u32,
    synced: BTreeMap<u32, Vec<u8>>,
    written: BTreeMap<u32, Vec<u8>>,
    rows: Rows,
    /// What a commit that the power cut off would have made of the rows.
    doubtful: Option<Rows>,
    calls: u64,
    /// Calls that the power lasts for; none is for ever.
    budget: Option<u64>,
    dead: bool,
    /// The file cannot grow.
    full: bool,
    /// The catalogue has no space, its ballast apart.
    starved: bool,
    ballast: bool,
}

/// The disk. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct CrashDisk(Arc<Mutex<State>>);

impl Default for CrashDisk {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { len: 1, ballast: true, ..State::default() })))
    }
}

fn next(seed: &mut u64) -> u64 {
    // SplitMix64.
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl CrashDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Counts a call that changes something; an error once the power is off. The call at which it goes off has its effect
    /// in doubt.
    fn call(state: &mut State) -> io::Result<bool> {
        if state.dead {
            return Err(io::Error::other("no power"));
        }
        state.calls += 1;
        match &mut state.budget {
            Some(0) => {
                state.dead = true;
                Ok(false)
            }
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None => Ok(true),
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The power lasts for so many calls from now on.
    pub(crate) fn power_for(&self, calls: Option<u64>) {
        self.state().budget = calls;
    }

    pub(crate) fn power_comes_back(&self, mut seed: u64) {
        let mut state = self.state();
        state.dead = false;
        state.budget = None;
        for (place, new) in std::mem::take(&mut state.written) {
            match next(&mut seed) % 3 {
                0 => {}
                1 => drop(state.synced.insert(place, new)),
                _ => {
                    let torn = 512 * (1 + next(&mut seed) as usize % 7);
                    let old = state.synced.entry(place).or_insert_with(|| vec![0xee; MEDIUM_PAGE]);
                    old[..torn].copy_from_slice(&new[..torn]);
                }
            }
        }
        if let Some(rows) = state.doubtful.take()
            && next(&mut seed).is_multiple_of(2)
        {
            state.rows = rows;
        }
    }

    pub(crate) fn fill_up(&self) {
        self.state().full = true;
    }
    pub(crate) fn starve(&self) {
        self.state().starved = true;
    }
    pub(crate) fn feed(&self) {
        let mut state = self.state();
        (state.full, state.starved) = (false, false);
    }

    /// Changes a byte of the first page that holds this.
    pub(crate) fn rot(&self, page: &[u8], at: usize) {
        let mut state = self.state();
        let found = state.synced.values_mut().find(|have| have[..] == *page).unwrap();
        found[at] ^= 0x10;
    }

    /// How late the array on the disk takes it to be.
    pub(crate) fn clock(&self) -> Duration {
        let state = self.state();
        let clock = state.rows.object("clock", "").unwrap();
        let clock: serde_json::Value = serde_json::from_slice(clock).unwrap();
        Duration::new(clock["secs"].as_u64().unwrap(), clock["nanos"].as_u64().unwrap() as u32)
    }

    /// What is in the catalogue.
    pub(crate) fn contents(&self) -> Contents {
        self.state().rows.contents()
    }
}

impl PageFile for CrashDisk {
    fn pages(&self) -> u32 {
        self.state().len
    }
    fn grow(&self, len: u32) -> io::Result<()> {
        let mut state = self.state();
        if state.full {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        state.len = state.len.max(len);
        Ok(())
    }
    fn write(&self, first: u32, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let live = Self::call(&mut state)?;
        assert!(
            first > 0 && first as usize + data.len() / MEDIUM_PAGE <= state.len as usize,
            "outside of the file"
        );
        for (place, page) in (first..).zip(data.chunks_exact(MEDIUM_PAGE)) {
            state.written.insert(place, page.to_vec());
        }
        if live { Ok(()) } else { Err(io::Error::other("no power")) }
    }
    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        if !Self::call(&mut state)? {
            return Err(io::Error::other("no power"));
        }
        let written = std::mem::take(&mut state.written);
        state.synced.extend(written);
        Ok(())
    }
    fn read(&self, first: u32, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        for (place, page) in (first..).zip(out.chunks_exact_mut(MEDIUM_PAGE)) {
            match state.written.get(&place).or_else(|| state.synced.get(&place)) {
                Some(bytes) => page.copy_from_slice(bytes),
                None => page.fill(0xee),
            }
        }
        Ok(())
    }
}

impl Catalogue for CrashDisk {
    fn commit(&mut self, commit: Commit<'_>) -> Result<(), CatalogueError> {
        let mut state = self.state();
        let live = Self::call(&mut state).map_err(|error| CatalogueError::Failed(error.to_string()))?;
        if state.starved && state.ballast {
            return Err(CatalogueError::Full);
        }
        let mut rows = state.rows.clone();
        rows.apply(commit);
        if live {
            state.rows = rows;
            Ok(())
        } else {
            state.doubtful = Some(rows);
            Err(CatalogueError::Failed("no power".to_owned()))
        }
    }
    fn give_up_ballast(&mut self) -> bool {
        std::mem::take(&mut self.state().ballast)
    }
    fn regain_ballast(&mut self) -> bool {
        let mut state = self.state();
        state.ballast = !state.starved;
        state.ballast
    }
}
