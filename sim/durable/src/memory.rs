//! A disk in memory, for arrays of virtual worlds: no file is touched, and what was committed is what is left when the power
//! goes.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sanbench_array::{Array, ArrayConfig, Damage, MEDIUM_PAGE, Medium};

use crate::Defects;
use crate::disk::{Catalogue, CatalogueError, Commit, PageFile};
use crate::keeper::{CommitError, Keeper};
use crate::pages::Pages;
use crate::rows::Rows;

#[derive(Debug)]
struct State {
    /// Pages that have space, page 0 included.
    len: u32,
    /// Pages that there is space for at most.
    most: u32,
    pages: BTreeMap<u32, Bytes>,
    /// What was written to pages that hold something else now.
    spoilt: BTreeMap<u32, Bytes>,
    rows: Rows,
}

/// How a page comes to hold what was not written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// A bit flips.
    Rot,
    /// Only the first part of a write arrives.
    Torn,
    /// It was overwritten by what was meant for another page.
    Misdirected,
}

/// The disk. Clones are the same one.
#[derive(Debug, Clone)]
pub struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    /// An empty disk for at most so many pages of 4 KiB. It takes memory for those that hold something.
    pub fn new(most: u32) -> MemoryDisk {
        let state = State {
            len: 1,
            most: most.max(1),
            pages: BTreeMap::new(),
            spoilt: BTreeMap::new(),
            rows: Rows::default(),
        };
        MemoryDisk(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pages that hold something.
    pub fn used(&self) -> u64 {
        self.state().pages.len() as u64
    }

    /// Has a page hold something else from the given byte on than what was written to it, as a worn or a lying disk does, until
    /// it is written again or [mended](MemoryDisk::mend). False: it holds nothing, or no page of the disk holds anything else.
    pub fn spoil(&self, place: u32, from: usize, how: Spoil) -> bool {
        let mut state = self.state();
        let Some(right) = state.pages.get(&place).cloned().filter(|page| from < page.len()) else {
            return false;
        };
        let mut page = right.to_vec();
        match how {
            Spoil::Rot => page[from] ^= 1,
            Spoil::Torn => page[from..].fill(0xa5),
            Spoil::Misdirected => {
                let differs = |other: &&Bytes| other[from..] != right[from..];
                let Some(other) = state.pages.values().find(differs) else { return false };
                page.copy_from_slice(other);
            }
        }
        state.pages.insert(place, page.into());
        state.spoilt.entry(place).or_insert(right);
        true
    }

    /// Has all spoilt pages hold again what was written to them; answers which.
    pub fn mend(&self) -> Vec<u32> {
        let mut state = self.state();
        let spoilt = std::mem::take(&mut state.spoilt);
        let places = spoilt.keys().copied().collect();
        state.pages.extend(spoilt);
        places
    }

    /// Makes a new array here, and commits it.
    ///
    /// # Errors
    /// There is no space even for that.
    pub fn create(&self, config: ArrayConfig, defects: Defects) -> Result<(Array, Keeper), CommitError> {
        let file: Arc<dyn PageFile> = Arc::new(self.clone());
        let pages = Arc::new(Pages::new(Arc::clone(&file), &[], defects));
        pages.sweep();
        let mut array = Array::new(config);
        array.keep(Arc::clone(&pages) as Arc<dyn Medium>, defects.journal);
        let mut keeper = Keeper::new(file, pages, Box::new(self.clone()), &[], defects);
        let first = keeper.collect(&mut array);
        keeper.commit(first)?;
        Ok((array, keeper))
    }

    /// Makes the array again that was committed last.
    ///
    /// # Errors
    /// No array can be made of it.
    pub fn revive(&self, config: ArrayConfig, defects: Defects) -> Result<(Array, Keeper), Damage> {
        let contents = self.state().rows.contents();
        crate::revive(Arc::new(self.clone()), Box::new(self.clone()), contents, config, defects)
    }
}

impl PageFile for MemoryDisk {
    fn pages(&self) -> u32 {
        self.state().len
    }

    fn grow(&self, pages: u32) -> io::Result<()> {
        let mut state = self.state();
        if pages > state.most {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.len = state.len.max(pages);
        Ok(())
    }

    fn write(&self, first: u32, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        for (place, page) in (first..).zip(data.chunks_exact(MEDIUM_PAGE)) {
            if place == 0 || place >= state.len {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            state.spoilt.remove(&place);
            state.pages.insert(place, Bytes::copy_from_slice(page));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, first: u32, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        for (place, page) in (first..).zip(out.chunks_exact_mut(MEDIUM_PAGE)) {
            match state.pages.get(&place) {
                Some(bytes) => page.copy_from_slice(bytes),
                // Never written, or freed: whoever asks for it has lost count.
                None => return Err(io::ErrorKind::NotFound.into()),
            }
        }
        Ok(())
    }

    fn discard(&self, place: u32) {
        let mut state = self.state();
        state.pages.remove(&place);
        state.spoilt.remove(&place);
    }
}

impl Catalogue for MemoryDisk {
    fn commit(&mut self, commit: Commit<'_>) -> Result<(), CatalogueError> {
        self.state().rows.apply(commit);
        Ok(())
    }

    fn give_up_ballast(&mut self) -> bool {
        false
    }

    fn regain_ballast(&mut self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sanbench_array::{Command, DeviceId, PoolConfig};

    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn config() -> ArrayConfig {
        ArrayConfig { pools: vec![PoolConfig::new("pool0", 1 << 21)], ..ArrayConfig::default() }
    }

    fn commit(array: &mut Array, keeper: &mut Keeper) {
        let batch = keeper.collect(array);
        keeper.commit(batch).unwrap();
    }

    fn lun(array: &mut Array, name: &str) -> u64 {
        let (name, description) = (name.to_owned(), String::new());
        let command = Command::CreateLun { name, description, pool: 0, blocks: 1 << 12, thin: true };
        array.apply(NOW, command).unwrap().id().unwrap()
    }

    fn read(array: &mut Array, lun: u64, lba: u64, blocks: u32) -> Vec<u8> {
        array.read(NOW, DeviceId::Lun(lun), lba, blocks).unwrap().concat()
    }

    #[test]
    fn what_was_committed_comes_back_and_nothing_else() {
        let disk = MemoryDisk::new(1 << 20);
        let (mut array, mut keeper) = disk.create(config(), Defects::default()).unwrap();
        let kept = lun(&mut array, "kept");
        array.write(NOW, DeviceId::Lun(kept), 3, &[7; 512 * 9]).unwrap();
        commit(&mut array, &mut keeper);
        array.write(NOW, DeviceId::Lun(kept), 5, &[8; 512]).unwrap();
        lun(&mut array, "lost");
        let (mut array, mut keeper) = disk.revive(config(), Defects::default()).unwrap();
        assert!(array.lun_by_name("lost").is_none());
        assert_eq!(read(&mut array, kept, 3, 9), [7; 512 * 9]);
        let next = lun(&mut array, "next");
        array.write(NOW, DeviceId::Lun(kept), 4, &[9; 512]).unwrap();
        commit(&mut array, &mut keeper);
        let (mut array, _) = disk.revive(config(), Defects::default()).unwrap();
        assert_eq!(array.lun_by_name("next").map(|lun| lun.id), Some(next));
        let mut want = [7; 512 * 9];
        want[512..1024].fill(9);
        assert_eq!(read(&mut array, kept, 3, 9), want);
        assert_eq!(array.power_generation(), 2);
    }

    #[test]
    fn a_spoilt_page_is_whole_again_when_it_is_mended_or_written() {
        let disk = MemoryDisk::new(1 << 20);
        PageFile::grow(&disk, 4).unwrap();
        let written =
            |first, fill: u8, pages: usize| disk.write(first, &vec![fill; pages * MEDIUM_PAGE]).unwrap();
        let held = |place| {
            let mut page = vec![0; MEDIUM_PAGE];
            PageFile::read(&disk, place, &mut page).unwrap();
            page
        };
        written(1, 7, 2);
        for how in [Spoil::Rot, Spoil::Torn] {
            assert!(disk.spoil(1, 512, how));
            assert_eq!(held(1)[..512], [7; 512], "{how:?}");
            assert_ne!(held(1)[512], 7, "{how:?}");
        }
        assert!(!disk.spoil(2, 0, Spoil::Misdirected) || held(2) != [7; MEDIUM_PAGE]);
        written(3, 9, 1);
        assert!(disk.spoil(3, 0, Spoil::Misdirected));
        assert_ne!(held(3), [9; MEDIUM_PAGE]);
        assert!(!disk.spoil(0, 0, Spoil::Rot) && !disk.spoil(1, MEDIUM_PAGE, Spoil::Rot));
        // What was written since is not undone.
        written(3, 5, 1);
        assert_eq!(disk.mend()[..1], [1]);
        assert_eq!(
            (held(1), held(2), held(3)),
            (vec![7; MEDIUM_PAGE], vec![7; MEDIUM_PAGE], vec![5; MEDIUM_PAGE])
        );
        assert!(disk.mend().is_empty());
    }

    #[test]
    fn pages_that_no_state_needs_are_freed() {
        let disk = MemoryDisk::new(1 << 20);
        let (mut array, mut keeper) = disk.create(config(), Defects::default()).unwrap();
        let id = DeviceId::Lun(lun(&mut array, "l"));
        array.write(NOW, id, 0, &[1; 4096 * 4]).unwrap();
        commit(&mut array, &mut keeper);
        assert_eq!(disk.used(), 4);
        for fill in 2..10 {
            array.write(NOW, id, 0, &[fill; 4096 * 2]).unwrap();
            commit(&mut array, &mut keeper);
            assert_eq!(disk.used(), 4, "two of them anew, in other places");
        }
        array.unmap(NOW, id, 8, 8).unwrap();
        commit(&mut array, &mut keeper);
        assert_eq!(disk.used(), 3);
        assert_eq!(keeper.pages().strays(), 0);
    }

    #[test]
    fn a_page_that_nobody_holds_is_a_stray_when_it_is_released() {
        let disk = MemoryDisk::new(1 << 20);
        let (_, keeper) = disk.create(config(), Defects::default()).unwrap();
        let pages = keeper.pages();
        let mut place = [0];
        pages.put(&[1; MEDIUM_PAGE], &mut place);
        pages.keep(&place);
        pages.release(&place);
        pages.release(&place);
        assert_eq!(pages.strays(), 0);
        pages.release(&place);
        pages.release(&[1 << 30]);
        pages.keep(&[1 << 30]);
        assert_eq!(pages.strays(), 3);
    }

    #[test]
    fn a_full_disk_refuses_what_grows() {
        // Less than the file grows by: there is no space from the beginning.
        let disk = MemoryDisk::new(8);
        let (mut array, mut keeper) = disk.create(config(), Defects::default()).unwrap();
        let command = Command::CreateLun {
            name: "l".to_owned(),
            description: String::new(),
            pool: 0,
            blocks: 1 << 12,
            thin: true,
        };
        assert!(array.apply(NOW, command).is_err(), "there is no room");
        commit(&mut array, &mut keeper);
        assert_eq!(disk.used(), 0);
    }
}
