//! A small model of one disk: what every block may hold, while operations overlap and answers get lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use sanbench_api::Outcome;

pub const BLOCK: usize = 512;

/// The number of a write; 0 is a block of zeroes (never written, or unmapped).
pub type Stamp = u64;

/// One block.
#[derive(Clone, Default)]
struct Block {
    /// What it may hold now.
    now: BTreeSet<Stamp>,
    /// Changes without an answer: they may still be applied, until a later change of the block is acknowledged.
    lost: BTreeSet<Stamp>,
    /// The change that is under way; changes of one block never overlap here.
    under_way: Option<Stamp>,
    /// Power was lost since that change began: its answer may be older than the loss, and its data gone.
    crossed: bool,
    /// What it may hold after a power loss beside `now`: everything since its last flush.
    unsynced: BTreeSet<Stamp>,
}

impl Block {
    fn possible(&self) -> BTreeSet<Stamp> {
        self.now.iter().chain(&self.lost).chain(&self.under_way).copied().collect()
    }
}

/// A read that is under way: what each of its blocks may answer.
struct Reading {
    range: Range<u64>,
    allowed: Vec<BTreeSet<Stamp>>,
    /// A change overlapped it, so that it decides nothing.
    disturbed: bool,
}

/// A flush that is under way: blocks that were changed meanwhile are not covered.
struct Flushing {
    touched: BTreeSet<u64>,
}

/// What was wrong, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong(pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The disk.
pub struct Model {
    blocks: Vec<Block>,
    readings: BTreeMap<u64, Reading>,
    flushings: BTreeMap<u64, Flushing>,
    next: u64,
    /// Blocks compared.
    pub compared: u64,
    /// Changes of which the answer was lost.
    pub lost: u64,
}

impl Model {
    pub fn new(blocks: u64) -> Model {
        let fresh = Block { now: BTreeSet::from([0]), ..Block::default() };
        Model {
            blocks: vec![fresh; blocks as usize],
            readings: BTreeMap::new(),
            flushings: BTreeMap::new(),
            next: 1,
            compared: 0,
            lost: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn slice(&mut self, range: &Range<u64>) -> &mut [Block] {
        &mut self.blocks[range.start as usize..range.end as usize]
    }

    pub fn is_busy(&self, range: &Range<u64>) -> bool {
        self.blocks[range.start as usize..range.end as usize].iter().any(|b| b.under_way.is_some())
    }

    /// A change begins: a write with a stamp of its own, or an unmap.
    pub fn begin_change(&mut self, range: &Range<u64>, zero: bool) -> Stamp {
        let stamp = if zero { 0 } else { self.number() };
        for block in self.slice(range) {
            block.under_way = Some(stamp);
            block.crossed = false;
        }
        for reading in self.readings.values_mut() {
            for (lba, allowed) in reading.range.clone().zip(&mut reading.allowed) {
                if range.contains(&lba) {
                    allowed.insert(stamp);
                    reading.disturbed = true;
                }
            }
        }
        for flushing in self.flushings.values_mut() {
            flushing.touched.extend(range.clone());
        }
        stamp
    }

    /// The change ended; `None` is success.
    pub fn end_change(&mut self, range: &Range<u64>, stamp: Stamp, failed: Option<Outcome>) {
        self.lost += u64::from(failed == Some(Outcome::Unknown));
        for block in self.slice(range) {
            block.under_way = None;
            match failed {
                None if std::mem::take(&mut block.crossed) => {
                    block.now.insert(stamp);
                }
                None => {
                    let before = std::mem::take(&mut block.now);
                    block.unsynced.extend(before);
                    block.unsynced.extend(std::mem::take(&mut block.lost));
                    block.now = BTreeSet::from([stamp]);
                }
                Some(Outcome::Unknown) => {
                    block.lost.insert(stamp);
                }
                Some(_) => {}
            }
        }
    }

    pub fn begin_read(&mut self, range: Range<u64>) -> u64 {
        let id = self.number();
        let allowed = self.slice(&range).iter().map(Block::possible).collect();
        let disturbed = self.is_busy(&range);
        self.readings.insert(id, Reading { range, allowed, disturbed });
        id
    }

    /// The read ended; judges what it gave.
    pub fn end_read(&mut self, id: u64, data: Option<&[u8]>) -> Result<(), Wrong> {
        let Some(reading) = self.readings.remove(&id) else { return Ok(()) };
        let Some(data) = data else { return Ok(()) };
        let expected = reading.allowed.len() * BLOCK;
        if data.len() != expected {
            return Err(Wrong(format!(
                "a read of {:?} gave {} of {expected} bytes",
                reading.range,
                data.len()
            )));
        }
        for ((lba, allowed), bytes) in reading.range.clone().zip(&reading.allowed).zip(data.chunks(BLOCK)) {
            let seen = stamp_of(lba, bytes)?;
            if !allowed.contains(&seen) {
                return Err(Wrong(format!("block {lba} holds write {seen}, possible were {allowed:?}")));
            }
            self.compared += 1;
            if !reading.disturbed {
                let block = &mut self.blocks[lba as usize];
                if block.under_way.is_none() {
                    let before = std::mem::replace(&mut block.now, BTreeSet::from([seen]));
                    block.unsynced.extend(before);
                    // A lost unmap may be one of several.
                    if seen != 0 {
                        block.lost.remove(&seen);
                    }
                }
            }
        }
        Ok(())
    }

    pub fn begin_flush(&mut self) -> u64 {
        let id = self.number();
        let touched =
            (0..).zip(&self.blocks).filter(|(_, b)| b.under_way.is_some()).map(|(n, _)| n).collect();
        self.flushings.insert(id, Flushing { touched });
        id
    }

    pub fn end_flush(&mut self, id: u64, done: bool) {
        let Some(flushing) = self.flushings.remove(&id) else { return };
        if !done {
            return;
        }
        for (lba, block) in (0u64..).zip(&mut self.blocks) {
            if !flushing.touched.contains(&lba) {
                block.unsynced.clear();
            }
        }
    }

    /// The array lost power with its volatile caches: every block holds what it held at, or was given since, its last
    /// flush.
    pub fn power_loss(&mut self) {
        for flushing in self.flushings.values_mut() {
            flushing.touched.extend(0..self.blocks.len() as u64);
        }
        for block in &mut self.blocks {
            let unsynced = block.unsynced.clone();
            block.now.extend(unsynced);
            block.crossed = true;
        }
        for reading in self.readings.values_mut() {
            reading.disturbed = true;
            for (lba, allowed) in reading.range.clone().zip(&mut reading.allowed) {
                allowed.extend(self.blocks[lba as usize].possible());
            }
        }
    }
}

/// Blocks that say which write they are of, and where they belong.
pub fn fill(range: &Range<u64>, stamp: Stamp) -> Bytes {
    let mut bytes = Vec::with_capacity((range.end - range.start) as usize * BLOCK);
    for lba in range.clone() {
        for word in 0..32u64 {
            bytes.extend_from_slice(&(lba ^ word.rotate_right(8)).to_be_bytes());
            bytes.extend_from_slice(&stamp.to_be_bytes());
        }
    }
    bytes.into()
}

fn stamp_of(lba: u64, block: &[u8]) -> Result<Stamp, Wrong> {
    if block.iter().all(|b| *b == 0) {
        return Ok(0);
    }
    let word = |at: usize| block[at..at + 8].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let stamp = word(8);
    if block == fill(&(lba..lba + 1), stamp) {
        return Ok(stamp);
    }
    let of = word(0);
    Err(Wrong(match block == fill(&(of..of + 1), stamp) {
        true => format!("block {lba} holds write {stamp} of block {of}"),
        false => format!("block {lba} is torn: begins with write {stamp} of block {of}"),
    }))
}

#[test]
fn the_model_knows_what_may_be_read() {
    let mut model = Model::new(8);
    let whole = 0..4u64;
    let read = |model: &mut Model, stamp: Stamp| {
        let id = model.begin_read(0..4);
        let data = if stamp == 0 { vec![0; 2048].into() } else { fill(&(0..4), stamp) };
        model.end_read(id, Some(&data))
    };
    let one = model.begin_change(&whole, false);
    assert!(read(&mut model, 0).is_ok() && read(&mut model, one).is_ok(), "either, while it is under way");
    model.end_change(&whole, one, None);
    assert!(read(&mut model, 0).is_err(), "lost an acknowledged write");
    // A lost write may come late, and may not come back once something newer was acknowledged.
    let two = model.begin_change(&whole, false);
    model.end_change(&whole, two, Some(Outcome::Unknown));
    assert!(read(&mut model, one).is_ok() && read(&mut model, two).is_ok());
    assert!(read(&mut model, one).is_err(), "went back in time");
    let three = model.begin_change(&whole, false);
    model.end_change(&whole, three, Some(Outcome::Unknown));
    let four = model.begin_change(&whole, false);
    model.end_change(&whole, four, None);
    assert!(read(&mut model, three).is_err(), "overtaken (MPX-002)");
    // Power: what was flushed stays, what was not may be anything since.
    let flush = model.begin_flush();
    model.end_flush(flush, true);
    let five = model.begin_change(&whole, false);
    model.end_change(&whole, five, None);
    model.power_loss();
    assert!(read(&mut model, three).is_err());
    assert!(read(&mut model, four).is_ok());
    assert!(read(&mut model, five).is_err(), "the read decided");
    // Misplaced and torn blocks are named.
    let id = model.begin_read(0..1);
    assert!(model.end_read(id, Some(&fill(&(3..4), four))).unwrap_err().0.contains("of block 3"));
    let id = model.begin_read(0..1);
    let mut torn = fill(&(0..1), four).to_vec();
    torn[500] ^= 1;
    assert!(model.end_read(id, Some(&torn)).unwrap_err().0.contains("torn"));
}
