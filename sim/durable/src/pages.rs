//! Which page is free, referenced, or waits to be written: the medium of an array.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sanbench_array::{MEDIUM_PAGE, Medium, Rotten};

use crate::Defects;
use crate::disk::PageFile;

/// Bytes of pages that were read or written lately and stay in memory.
pub const CACHE_BYTES: usize = 64 << 20;
/// Bytes that may wait for a commit before everybody who writes has to wait for one.
pub const CONGESTED_BYTES: usize = 16 << 20;
/// Pages by which the file grows.
const GROWTH: u32 = 16_384; // 64 MiB
/// Free pages below which the committer has the file grow ahead of need.
const LOW: u64 = 16_384;
/// Free pages below which whoever wants to write has it grow himself.
const VERY_LOW: u64 = 8_192;
/// Runs of free pages that are looked at for one that is long enough.
const LOOKS: usize = 32;

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    references: u32,
    sum: u32,
}

#[derive(Debug, Default)]
struct Inner {
    /// By place.
    slots: Vec<Slot>,
    /// Runs of free places: start -> length. Neighbours are one run.
    free: BTreeMap<u32, u32>,
    /// Where the search for a free run goes on.
    cursor: u32,
    /// Places that the file has space for; more than that are never given.
    len: u32,
    /// Written since the last commit began.
    fresh: BTreeMap<u32, Bytes>,
    /// What the commit under way writes.
    sealed: BTreeMap<u32, Bytes>,
    /// Not referenced any more, but by the state on disk.
    limbo: Vec<u32>,
    cache: Cache,
}

/// Pages that are on disk and in memory, first in first out.
#[derive(Debug, Default)]
struct Cache {
    pages: BTreeMap<u32, Bytes>,
    /// Places in the order in which they came; one that left early may be here twice.
    order: VecDeque<u32>,
}

impl Cache {
    fn insert(&mut self, place: u32, page: Bytes, most: usize) {
        if self.pages.insert(place, page).is_none() {
            self.order.push_back(place);
        }
        while self.pages.len() > most || self.order.len() > 2 * most {
            let Some(oldest) = self.order.pop_front() else { break };
            self.pages.remove(&oldest);
        }
    }
}

/// Pages in a file, counted by reference.
#[derive(Debug)]
pub struct Pages {
    file: Arc<dyn PageFile>,
    defects: Defects,
    inner: Mutex<Inner>,
    /// Sum of the free runs.
    free: AtomicU64,
    /// Pages that wait for a commit to begin.
    waiting: AtomicU64,
    /// The catalogue has no space left: nothing may grow.
    starved: AtomicBool,
    /// References that were taken or given back and that there cannot be: whoever counts has lost count.
    strays: AtomicU64,
    cache_pages: usize,
}

impl Pages {
    /// The pages of a file, all of them free but for those that `known` gives a checksum: these the array takes
    /// references to before anything else happens, and [`Pages::sweep`] frees what it did not take.
    pub fn new(file: Arc<dyn PageFile>, known: &[(u32, u32)], defects: Defects) -> Pages {
        let len = file.pages();
        let mut slots = vec![Slot::default(); len as usize];
        for (place, sum) in known {
            if let Some(slot) = slots.get_mut(*place as usize) {
                slot.sum = *sum;
            }
        }
        Pages {
            inner: Mutex::new(Inner { slots, len, ..Inner::default() }),
            file,
            defects,
            free: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            starved: AtomicBool::new(false),
            strays: AtomicU64::new(0),
            cache_pages: CACHE_BYTES / MEDIUM_PAGE,
        }
    }

    /// Everything that nobody has taken a reference to is free.
    pub fn sweep(&self) {
        let mut inner = self.inner();
        inner.free.clear();
        let (mut count, mut run): (u64, Option<u32>) = (0, None);
        for place in 1..=inner.len {
            let taken = place == inner.len || inner.slots[place as usize].references > 0;
            match (taken, run) {
                (false, None) => run = Some(place),
                (true, Some(start)) => {
                    inner.free.insert(start, place - start);
                    count += u64::from(place - start);
                    run = None;
                }
                _ => {}
            }
        }
        self.free.store(count, Ordering::Relaxed);
    }

    /// Says that nothing may grow any more, or that it may again.
    pub fn set_starved(&self, starved: bool) {
        self.starved.store(starved, Ordering::Relaxed);
    }

    /// References that were taken to places that there are not, or given back without having been taken; always 0 unless
    /// somebody has lost count.
    pub fn strays(&self) -> u64 {
        self.strays.load(Ordering::Relaxed)
    }

    /// Pages that can be written without the file growing.
    pub fn free_pages(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Lets the file grow ahead of need. A full disk is no error here: whoever writes will see.
    ///
    /// # Errors
    /// The disk fails.
    pub fn grow_ahead(&self) -> io::Result<()> {
        if self.free_pages() < LOW { self.grow() } else { Ok(()) }
    }

    fn grow(&self) -> io::Result<()> {
        let len = self.file.pages();
        let Some(to) = len.checked_add(GROWTH) else { return Ok(()) };
        match self.file.grow(to) {
            Ok(()) => {}
            Err(error) if is_full(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut inner = self.inner();
        if to > inner.len {
            let from = inner.len.max(1);
            inner.slots.resize(to as usize, Slot::default());
            inner.len = to;
            self.give_back(&mut inner, from, to - from);
        }
        Ok(())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a commit: the pages written since the last one, by place. Taken together with the array's changes, under the
    /// array's lock.
    pub fn seal(&self) -> (Vec<(u32, Bytes)>, Vec<u32>) {
        let mut inner = self.inner();
        inner.sealed = std::mem::take(&mut inner.fresh);
        self.waiting.store(0, Ordering::Relaxed);
        let pages = inner.sealed.iter().map(|(place, page)| (*place, page.clone())).collect();
        (pages, std::mem::take(&mut inner.limbo))
    }

    /// Notes the checksums of pages that are being written.
    pub fn note_sums(&self, sums: impl Iterator<Item = (u32, u32)>) {
        let mut inner = self.inner();
        for (place, sum) in sums {
            if let Some(slot) = inner.slots.get_mut(place as usize) {
                slot.sum = sum;
            }
        }
    }

    /// The checksums of places.
    pub fn sums<const N: usize>(&self, places: &[u32; N]) -> [u32; N] {
        let inner = self.inner();
        places.map(|place| match place {
            0 => 0,
            place => inner.slots.get(place as usize).map_or(0, |slot| slot.sum),
        })
    }

    /// Takes a page out of memory, so that the next reader has it from the file; false if it is not there yet.
    pub fn forget(&self, place: u32) -> bool {
        let mut inner = self.inner();
        inner.cache.pages.remove(&place);
        !inner.fresh.contains_key(&place) && !inner.sealed.contains_key(&place)
    }

    /// Ends a commit: what was written can be read from the file, and what only the older state needed is free.
    pub fn settle(&self, free: &[u32]) {
        let mut inner = self.inner();
        for (place, page) in std::mem::take(&mut inner.sealed) {
            inner.cache.insert(place, page, self.cache_pages);
        }
        for place in free {
            inner.cache.pages.remove(place);
            self.file.discard(*place);
            self.give_back(&mut inner, *place, 1);
        }
    }

    fn give_back(&self, inner: &mut Inner, start: u32, count: u32) {
        let (mut start, mut len) = (start, count);
        if let Some((before, run)) = inner.free.range(..start).next_back()
            && before + run == start
        {
            (start, len) = (*before, len + run);
        }
        if let Some(behind) = inner.free.remove(&(start + len)) {
            len += behind;
        }
        inner.free.insert(start, len);
        self.free.fetch_add(u64::from(count), Ordering::Relaxed);
    }

    /// A run of at most `count` free places; none when there is not one.
    fn take(&self, inner: &mut Inner, count: u32) -> Option<(u32, u32)> {
        let ahead = inner.free.range(inner.cursor..).chain(inner.free.range(..inner.cursor)).take(LOOKS);
        let run = ahead.max_by_key(|(start, len)| ((**len).min(count), std::cmp::Reverse(**start)));
        let (start, len) = run.map(|(start, len)| (*start, *len))?;
        inner.free.remove(&start);
        let taken = len.min(count);
        if taken < len {
            inner.free.insert(start + taken, len - taken);
        }
        inner.cursor = start + taken;
        self.free.fetch_sub(u64::from(taken), Ordering::Relaxed);
        Some((start, taken))
    }
}

/// Whether an error says that the disk, or what its owner may use of it, is used up.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl Medium for Pages {
    fn room(&self) -> u64 {
        if self.starved.load(Ordering::Relaxed) {
            return 0;
        }
        // A disk that fails here fails the next commit, too, and that one is heard.
        if self.free_pages() < VERY_LOW {
            let _ = self.grow();
        }
        self.free_pages()
    }

    fn is_congested(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > (CONGESTED_BYTES / MEDIUM_PAGE) as u64
    }

    fn put(&self, data: &[u8], places: &mut [u32]) {
        let mut inner = self.inner();
        let mut done = 0;
        while done < places.len() {
            let run = self.take(&mut inner, (places.len() - done) as u32);
            let run = run.or_else(|| {
                // Work that asked for no room, behind the end of the file: the commit makes it longer, or fails.
                let start = inner.len.max(1);
                let count = (places.len() - done) as u32;
                inner.len = start + count;
                let len = inner.len as usize;
                inner.slots.resize(len, Slot::default());
                Some((start, count))
            });
            let Some((start, count)) = run else { return };
            for place in start..start + count {
                let page = &data[done * MEDIUM_PAGE..(done + 1) * MEDIUM_PAGE];
                inner.fresh.insert(place, Bytes::copy_from_slice(page));
                inner.slots[place as usize].references = 1;
                places[done] = place;
                done += 1;
            }
        }
        self.waiting.store(inner.fresh.len() as u64, Ordering::Relaxed);
    }

    fn get(&self, places: &[u32]) -> Result<Bytes, Rotten> {
        let mut found: Vec<Option<Bytes>> = Vec::with_capacity(places.len());
        let mut sums = Vec::with_capacity(places.len());
        {
            let inner = self.inner();
            for place in places {
                let here = inner.fresh.get(place).or_else(|| inner.sealed.get(place));
                found.push(here.or_else(|| inner.cache.pages.get(place)).cloned());
                sums.push(inner.slots.get(*place as usize).map_or(0, |slot| slot.sum));
            }
        }
        if let [Some(page)] = &found[..] {
            return Ok(page.clone());
        }
        let mut out = vec![0; places.len() * MEDIUM_PAGE];
        let mut at = 0;
        while at < places.len() {
            let target = |from: usize, count: usize| from * MEDIUM_PAGE..(from + count) * MEDIUM_PAGE;
            if let Some(page) = &found[at] {
                out[target(at, 1)].copy_from_slice(page);
                at += 1;
                continue;
            }
            let absent = |n: &usize| found[*n].is_none() && places[*n] == places[at] + (*n - at) as u32;
            let count = (at..places.len()).take_while(absent).count();
            let bytes = &mut out[target(at, count)];
            self.file.read(places[at], bytes).map_err(|_| Rotten(at))?;
            if !self.defects.checksums_ignored
                && let Some(rotten) = bytes
                    .chunks_exact(MEDIUM_PAGE)
                    .zip(&sums[at..])
                    .position(|(page, sum)| crc_fast::crc32_iscsi(page) != *sum)
            {
                return Err(Rotten(at + rotten));
            }
            at += count;
        }
        let out = Bytes::from(out);
        let mut inner = self.inner();
        for (at, place) in places.iter().enumerate().filter(|(at, _)| found[*at].is_none()) {
            // A copy of its own, so that a page in the cache keeps no neighbours alive.
            let page = Bytes::copy_from_slice(&out[at * MEDIUM_PAGE..(at + 1) * MEDIUM_PAGE]);
            inner.cache.insert(*place, page, self.cache_pages);
        }
        Ok(out)
    }

    fn keep(&self, places: &[u32]) {
        let mut inner = self.inner();
        for place in places.iter().filter(|place| **place != 0) {
            match inner.slots.get_mut(*place as usize) {
                Some(slot) => slot.references += 1,
                None => drop(self.strays.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    fn release(&self, places: &[u32]) {
        if places.iter().all(|place| *place == 0) {
            return;
        }
        let mut inner = self.inner();
        for place in places.iter().filter(|place| **place != 0) {
            let held = inner.slots.get_mut(*place as usize).filter(|slot| slot.references > 0);
            let Some(slot) = held else {
                self.strays.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            slot.references -= 1;
            if slot.references > 0 {
                continue;
            }
            if inner.fresh.remove(place).is_some() || self.defects.places_reused_early {
                // No state on disk has ever named it.
                self.give_back(&mut inner, *place, 1);
            } else {
                inner.limbo.push(*place);
            }
        }
        self.waiting.store(inner.fresh.len() as u64, Ordering::Relaxed);
    }
}
