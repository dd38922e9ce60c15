//! What the blocks of one layer hold, as runs; and layers shared in constant time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use sanbench_api::VolumeId;

use super::data::ImageDigests;

/// What a block holds; the block's own address is implied.
#[derive(Debug, Clone)]
pub enum Cell {
    /// Zeroes.
    Zero,
    /// A stamp of this write.
    Stamped {
        /// The volume that was written.
        volume: VolumeId,
        /// Sequence number.
        seq: u64,
        /// Writer.
        writer: u32,
    },
    /// The image's block at the same offset.
    Image(Arc<ImageDigests>),
    /// One of several, after operations whose outcome is unknown. Never nested, never empty.
    AnyOf(Arc<[Cell]>),
    /// Nothing can be said any more.
    Anything,
}

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Zero, Self::Zero) | (Self::Anything, Self::Anything) => true,
            (
                Self::Stamped { volume, seq, writer },
                Self::Stamped { volume: volume2, seq: seq2, writer: writer2 },
            ) => (volume, seq, writer) == (volume2, seq2, writer2),
            // The same image given twice may be two values; that costs a run, not correctness.
            (Self::Image(a), Self::Image(b)) => Arc::ptr_eq(a, b),
            (Self::AnyOf(a), Self::AnyOf(b)) => a == b,
            _ => false,
        }
    }
}

impl Cell {
    /// Both this and `other` are possible. More than `cap` possibilities become [`Cell::Anything`].
    #[must_use]
    pub fn or(&self, other: &Self, cap: usize) -> Self {
        let mut all: Vec<Self> = Vec::new();
        for cell in [self, other] {
            match cell {
                Self::AnyOf(several) => {
                    for one in several.iter() {
                        if !all.contains(one) {
                            all.push(one.clone());
                        }
                    }
                }
                Self::Anything => return Self::Anything,
                one if all.contains(one) => {}
                one => all.push(one.clone()),
            }
        }
        match all.len() {
            1 => all.swap_remove(0),
            n if n > cap => Self::Anything,
            _ => Self::AnyOf(all.into()),
        }
    }
}

/// Runs that do not overlap, by first block.
#[derive(Debug, Clone, Default)]
pub struct Runs(BTreeMap<u64, (u64, Cell)>);

impl Runs {
    /// Sets a range; what stood there is cut away.
    pub fn set(&mut self, range: Range<u64>, cell: Cell) {
        if range.is_empty() {
            return;
        }
        self.clear(range.clone());
        let mut range = range;
        // Equal neighbours are joined, so that small sequential writes do not make many runs.
        let before =
            self.0.range(..range.start).next_back().map(|(start, (end, cell))| (*start, *end, cell.clone()));
        if let Some((start, end, neighbour)) = before
            && end == range.start
            && neighbour == cell
        {
            self.0.remove(&start);
            range.start = start;
        }
        let after = self.0.get(&range.end).map(|(end, cell)| (*end, cell.clone()));
        if let Some((end, neighbour)) = after
            && neighbour == cell
        {
            self.0.remove(&range.end);
            range.end = end;
        }
        self.0.insert(range.start, (range.end, cell));
    }

    fn clear(&mut self, range: Range<u64>) {
        let first = self.0.range(..range.start).next_back().map_or(range.start, |(start, _)| *start);
        let touched: Vec<u64> = self
            .0
            .range(first..range.end)
            .filter(|(_, (end, _))| *end > range.start)
            .map(|(start, _)| *start)
            .collect();
        for start in touched {
            if let Some((end, cell)) = self.0.remove(&start) {
                if start < range.start {
                    self.0.insert(start, (range.start, cell.clone()));
                }
                if end > range.end {
                    self.0.insert(range.end, (end, cell));
                }
            }
        }
    }

    /// Splits a range into runs that are set here (into `found`) and gaps (into `gaps`), both in order.
    fn look(&self, range: Range<u64>, found: &mut Vec<(Range<u64>, Cell)>, gaps: &mut Vec<Range<u64>>) {
        let mut at = range.start;
        let first = self.0.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        for (start, (end, cell)) in self.0.range(first..range.end) {
            let (start, end) = ((*start).max(at), (*end).min(range.end));
            if start >= end {
                continue;
            }
            if at < start {
                gaps.push(at..start);
            }
            found.push((start..end, cell.clone()));
            at = end;
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
    }

    /// Every range that is set.
    pub fn ranges(&self) -> impl Iterator<Item = (Range<u64>, &Cell)> {
        self.0.iter().map(|(start, (end, cell))| (*start..*end, cell))
    }
}

/// A frozen layer on top of others, shared by whatever was made from it.
#[derive(Debug, Default)]
pub struct Layer {
    runs: Runs,
    below: Option<Arc<Layer>>,
}

impl Drop for Layer {
    /// Takes a long chain down link by link instead of by recursion.
    fn drop(&mut self) {
        let mut below = self.below.take();
        while let Some(layer) = below {
            below = Arc::into_inner(layer).and_then(|mut layer| layer.below.take());
        }
    }
}

/// A writable top over shared frozen layers.
#[derive(Debug, Default)]
pub struct Stack {
    top: Runs,
    below: Option<Arc<Layer>>,
}

impl Stack {
    /// Another stack with the same content; both go on alone. Constant time.
    pub fn share(&mut self) -> Self {
        if self.top.0.is_empty() {
            return Self { top: Runs::default(), below: self.below.clone() };
        }
        let frozen = Layer { runs: std::mem::take(&mut self.top), below: self.below.take() };
        let frozen = Arc::new(frozen);
        self.below = Some(Arc::clone(&frozen));
        Self { top: Runs::default(), below: Some(frozen) }
    }

    /// Sets a range.
    pub fn set(&mut self, range: Range<u64>, cell: Cell) {
        self.top.set(range, cell);
    }

    /// What a range holds: adjoining runs in order, zero where nothing was ever written.
    #[must_use]
    pub fn look(&self, range: Range<u64>) -> Vec<(Range<u64>, Cell)> {
        let mut found = Vec::new();
        let mut gaps = vec![range];
        for runs in self.layers() {
            let mut rest = Vec::new();
            for gap in gaps {
                runs.look(gap, &mut found, &mut rest);
            }
            gaps = rest;
            if gaps.is_empty() {
                break;
            }
        }
        found.extend(gaps.into_iter().filter(|gap| !gap.is_empty()).map(|gap| (gap, Cell::Zero)));
        found.sort_by_key(|(range, _)| range.start);
        found
    }

    /// True if the block is set in the top, that is, since the last time that the stack was shared.
    #[must_use]
    pub fn is_own(&self, lba: u64) -> bool {
        self.top.0.range(..=lba).next_back().is_some_and(|(_, (end, _))| *end > lba)
    }

    /// The layers from top to bottom.
    pub fn layers(&self) -> impl Iterator<Item = &Runs> {
        let mut next = self.below.as_deref();
        let below = std::iter::from_fn(move || {
            let layer = next?;
            next = layer.below.as_deref();
            Some(&layer.runs)
        });
        std::iter::once(&self.top).chain(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(seq: u64) -> Cell {
        Cell::Stamped { volume: VolumeId(uuid::Uuid::nil()), seq, writer: 0 }
    }

    #[test]
    fn equal_neighbours_become_one_run_and_cuts_are_exact() {
        let mut runs = Runs::default();
        for lba in [5, 4, 6] {
            runs.set(lba..lba + 1, cell(1));
        }
        assert_eq!(runs.ranges().count(), 1);
        runs.set(5..6, cell(2));
        let got: Vec<_> = runs.ranges().map(|(range, _)| range).collect();
        assert_eq!(got, [4..5, 5..6, 6..7]);
    }

    #[test]
    fn alternatives_are_bounded() {
        let mut cell = cell(0);
        for seq in 1..10 {
            cell = cell.or(&self::cell(seq), 8);
        }
        assert_eq!(cell, Cell::Anything);
        assert_eq!(self::cell(1).or(&self::cell(1), 8), self::cell(1));
    }

    #[test]
    fn a_hundred_thousand_layers_are_dropped_without_recursion() {
        let mut stack = Stack::default();
        for seq in 0..100_000 {
            stack.set(0..1, cell(seq));
            drop(stack.share());
        }
        assert_eq!(stack.look(0..2), [(0..1, cell(99_999)), (1..2, Cell::Zero)]);
        drop(stack);
    }
}
