//! Which blocks are worth reading when a volume is verified.

use std::ops::Range;

use super::data::{DataModel, ImageDigests, ModelError, Subject};
use super::runs::Cell;
use crate::stamp::BLOCK;

/// Holes of an image up to this many blocks are read along with its data.
const IMAGE_GAP: u64 = 64;

impl DataModel {
    /// Every range that was ever written or unmapped, in the subject or in what it was made from; joined, in order.
    ///
    /// # Errors
    /// The subject is unknown.
    pub fn written_ranges(&self, subject: impl Into<Subject>) -> Result<Vec<Range<u64>>, ModelError> {
        let view = self.view(subject.into())?;
        let mut ranges = Vec::new();
        for (range, cell) in view.stack.layers().flat_map(|runs| runs.ranges()) {
            if range.start >= view.blocks {
                continue;
            }
            match cell {
                Cell::Image(image) => ranges.extend(image_ranges(image, &range)),
                _ => ranges.push(range.start..range.end.min(view.blocks)),
            }
        }
        Ok(join(ranges))
    }

    /// The written ranges with `margin` blocks on each side, and as much around every place where a fault likes to sit:
    /// both ends, the end of the source, the ends before each extend. For a verification walk; joined, in order.
    ///
    /// # Errors
    /// The subject is unknown.
    pub fn interesting_ranges(
        &self,
        subject: impl Into<Subject>,
        margin: u64,
    ) -> Result<Vec<Range<u64>>, ModelError> {
        let subject = subject.into();
        let mut ranges = self.written_ranges(subject)?;
        let view = self.view(subject)?;
        ranges.extend(view.unmapped.iter().cloned());
        ranges.extend([0, view.inherited, view.born, view.blocks].map(|edge| edge..edge));
        let around = ranges.into_iter().map(|range| {
            range.start.saturating_sub(margin)..range.end.saturating_add(margin).min(view.blocks)
        });
        Ok(join(around.collect()))
    }
}

fn image_ranges(image: &ImageDigests, within: &Range<u64>) -> Vec<Range<u64>> {
    let (start, end) = (within.start * BLOCK as u64, within.end.saturating_mul(BLOCK as u64));
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (offset, _) in image.blocks.range(start..end) {
        let lba = offset / BLOCK as u64;
        match ranges.last_mut() {
            Some(last) if lba <= last.end + IMAGE_GAP => last.end = lba + 1,
            _ => ranges.push(lba..lba + 1),
        }
    }
    ranges
}

fn join(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
