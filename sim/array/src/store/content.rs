//! The content of a device: its own map over a frozen parent.

use std::sync::Arc;

use bytes::Bytes;

use super::extent::{Body, Extent, Space, Unreadable, push_zeros};
use super::map::{Map, Slot};
use super::mark::Mark;
use super::{BLOCK_BYTES, EXTENT_BLOCKS, EXTENT_BYTES};
use crate::IoError;

/// Frozen content that links point to. Never changes.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) id: u64,
    pub(crate) content: Content,
    /// Set once the journal keeps it.
    pub(crate) mark: Mark,
}

/// Blocks, sparse, over an optional parent. Cloning freezes it in O(1): the maps part at the next write.
///
/// Invariant: nothing but zeros lies behind the size, so that growing shows zeros. A link therefore needs no end of its own:
/// whatever lies behind the parent's size falls through to nothing.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    map: Map,
    link: Option<Arc<Layer>>,
    blocks: u64,
}

/// Extents that `blocks` blocks take.
pub(crate) fn extents(blocks: u64) -> u64 {
    blocks.div_ceil(EXTENT_BLOCKS)
}

/// The part of a block range that lies in one extent: extent number, byte offset in it, bytes.
pub(crate) fn pieces(lba: u64, blocks: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = lba + blocks;
    let mut at = lba;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let index = at / EXTENT_BLOCKS;
        let stop = end.min((index + 1) * EXTENT_BLOCKS);
        let piece =
            (index, ((at % EXTENT_BLOCKS) * BLOCK_BYTES) as usize, ((stop - at) * BLOCK_BYTES) as usize);
        at = stop;
        Some(piece)
    })
}

/// An unreadable page by its block.
fn at_extent(index: u64) -> impl Fn(Unreadable) -> IoError {
    move |Unreadable(offset)| IoError::Unreadable { lba: index * EXTENT_BLOCKS + offset as u64 / BLOCK_BYTES }
}

impl Default for Content {
    fn default() -> Self {
        Self::empty(0)
    }
}

impl Content {
    /// Content that comes from disk.
    pub(crate) fn adopted(map: Map, link: Option<Arc<Layer>>, blocks: u64) -> Self {
        Self { map, link, blocks }
    }

    /// Empty content: reads zero.
    pub(crate) fn empty(blocks: u64) -> Self {
        Self { map: Map::default(), link: None, blocks }
    }

    /// Content of the layer's size that falls through to the layer everywhere.
    pub(crate) fn over(layer: Arc<Layer>) -> Self {
        let blocks = layer.content.blocks;
        Self { map: Map::default(), link: Some(layer), blocks }
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }
    /// The parent.
    pub(crate) fn link(&self) -> Option<&Arc<Layer>> {
        self.link.as_ref()
    }
    pub(crate) fn map(&self) -> &Map {
        &self.map
    }
    /// Changes the size; the caller only grows it.
    pub(crate) fn grow(&mut self, blocks: u64) {
        self.blocks = blocks;
    }
    /// Cuts the parent off. What was not copied up reads zero from now on.
    pub(crate) fn drop_link(&mut self) {
        self.link = None;
    }
    /// Number of parent links down to the root.
    pub(crate) fn chain(&self) -> u32 {
        let mut chain = 0;
        let mut link = self.link.as_ref();
        while let Some(up) = link {
            chain += 1;
            link = up.content.link.as_ref();
        }
        chain
    }
    /// Extents with data in its own map.
    pub(crate) fn own_extents(&self) -> u64 {
        self.map.occupied().filter(|(_, slot)| matches!(slot, Slot::Data(_))).count() as u64
    }

    /// What the parent shows of an extent.
    fn inherited(&self, index: u64) -> Option<&Arc<Extent>> {
        let mut link = self.link.as_ref();
        while let Some(up) = link {
            match up.content.map.get(index) {
                Some(Slot::Data(extent)) => return Some(extent),
                Some(Slot::Zero) => return None,
                Some(Slot::Absent) | None => link = up.content.link.as_ref(),
            }
        }
        None
    }

    /// Whether a reader sees this extent, and only because the parent has it.
    pub(crate) fn is_inherited(&self, index: u64) -> bool {
        matches!(self.map.get(index), None | Some(Slot::Absent)) && self.inherited(index).is_some()
    }

    /// Whether a write there has to copy from the parent first.
    pub(crate) fn copies_up(&self, lba: u64, blocks: u64) -> bool {
        self.link.is_some() && pieces(lba, blocks).any(|(index, ..)| self.is_inherited(index))
    }

    /// The extent that a reader sees; none reads zero.
    pub(crate) fn visible(&self, index: u64) -> Option<&Arc<Extent>> {
        match self.map.get(index) {
            Some(Slot::Data(extent)) => Some(extent),
            Some(Slot::Zero) => None,
            Some(Slot::Absent) | None => self.inherited(index),
        }
    }

    /// The first extent at or after `from` that a reader sees data in.
    pub(crate) fn next_visible(&self, mut from: u64) -> Option<u64> {
        loop {
            let own = self.map.next_occupied(from);
            let inherited = self.link.as_ref().and_then(|up| up.content.next_visible(from));
            match (own, inherited) {
                (Some((index, _)), Some(up)) if up < index => return Some(up),
                (None, up) => return up,
                (Some((index, Slot::Data(_))), _) => return Some(index),
                (Some((index, _)), _) => from = index + 1,
            }
        }
    }

    /// Appends the bytes of a range. The caller keeps within the size. Only content on a medium can be unreadable.
    pub(crate) fn read(&self, lba: u64, blocks: u64, out: &mut Vec<Bytes>) -> Result<(), IoError> {
        for (index, offset, len) in pieces(lba, blocks) {
            match self.visible(index) {
                Some(extent) => extent.body.read(offset, len, out).map_err(at_extent(index))?,
                None => push_zeros(len, out),
            }
        }
        Ok(())
    }

    /// Whether the space suffices to make every extent of the range writable.
    fn affordable(&self, lba: u64, blocks: u64, space: &Space<'_>) -> Result<(), IoError> {
        let available = space.available();
        let (first, last) = (lba / EXTENT_BLOCKS, (lba + blocks - 1) / EXTENT_BLOCKS);
        if available > last - first {
            return Ok(());
        }
        let needed = (first..=last).filter(|index| !self.map.is_exclusive(*index)).count() as u64;
        if needed > available { Err(IoError::NoSpace) } else { Ok(()) }
    }

    /// Changes one extent in place, or in a copy when it is shared or the parent's. `edit` hears whether it edits a copy.
    fn edit(
        &mut self,
        index: u64,
        space: &Space<'_>,
        edit: impl FnOnce(&mut Body, bool) -> Result<(), Unreadable>,
    ) -> Result<(), IoError> {
        if let Some(extent) = self.map.own_extent_mut(index) {
            return edit(&mut extent.body, false).map_err(at_extent(index));
        }
        let base = self.visible(index).map(|extent| extent.body.clone());
        let token = space.take().ok_or(IoError::NoSpace)?;
        let copied = base.is_some();
        let mut body = base.unwrap_or_else(|| space.blank());
        edit(&mut body, copied).map_err(at_extent(index))?;
        *self.map.slot_mut(index) = Slot::Data(Arc::new(Extent::new(token, body)));
        Ok(())
    }

    /// Writes whole blocks; all or, when space is out, nothing. The caller keeps within the size, and `data` is not empty.
    ///
    /// `loses_neighbours` is the planted defect D22: the rest of an 8 KiB grain is lost when a partial write copies up.
    pub(crate) fn write(
        &mut self,
        lba: u64,
        data: &[u8],
        space: &Space<'_>,
        loses_neighbours: bool,
    ) -> Result<(), IoError> {
        const GRAIN: usize = 8_192;
        let blocks = data.len() as u64 / BLOCK_BYTES;
        self.affordable(lba, blocks, space)?;
        if !space.fits(blocks / EXTENT_BLOCKS + 2) {
            return Err(IoError::NoSpace);
        }
        let mut rest = data;
        for (index, offset, len) in pieces(lba, blocks) {
            let (head, tail) = rest.split_at(len);
            rest = tail;
            self.edit(index, space, |body, copied| {
                if loses_neighbours && copied {
                    let start = offset / GRAIN * GRAIN;
                    body.zero(start, (offset + len).next_multiple_of(GRAIN) - start)?;
                }
                body.write(offset, head)
            })?;
        }
        Ok(())
    }

    /// Deallocates a range: whole extents are freed, parts of extents become zero. All or nothing. The caller keeps within
    /// the size. An extent that reaches behind the size is whole when the range reaches the size.
    pub(crate) fn unmap(&mut self, lba: u64, blocks: u64, space: &Space<'_>) -> Result<(), IoError> {
        let end = lba + blocks;
        let whole_from = lba.div_ceil(EXTENT_BLOCKS);
        let whole_to = if end == self.blocks { extents(end) } else { end / EXTENT_BLOCKS };
        let edges = [lba / EXTENT_BLOCKS, (end - 1) / EXTENT_BLOCKS];
        let edges = if edges[0] == edges[1] { &edges[..1] } else { &edges[..] };
        let partial = |index: &&u64| **index < whole_from || **index >= whole_to;
        let needed = edges
            .iter()
            .filter(partial)
            .filter(|index| self.visible(**index).is_some() && !self.map.is_exclusive(**index))
            .count() as u64;
        let edited = edges.iter().filter(partial).count() as u64;
        if needed > space.available() || !space.fits(edited) {
            return Err(IoError::NoSpace);
        }
        for index in edges.iter().filter(partial) {
            if self.visible(*index).is_none() {
                continue;
            }
            let from = lba.max(index * EXTENT_BLOCKS) - index * EXTENT_BLOCKS;
            let to = end.min((index + 1) * EXTENT_BLOCKS) - index * EXTENT_BLOCKS;
            let (offset, len) = ((from * BLOCK_BYTES) as usize, ((to - from) * BLOCK_BYTES) as usize);
            let mut emptied = false;
            self.edit(*index, space, |body, _| {
                body.zero(offset, len)?;
                emptied = body.is_empty();
                Ok(())
            })?;
            if emptied {
                self.clear(*index);
            }
        }
        let mut at = whole_from;
        while let Some(index) = self.next_visible(at).filter(|index| *index < whole_to) {
            self.clear(index);
            at = index + 1;
        }
        Ok(())
    }

    /// Makes one extent read zero without space.
    pub(crate) fn clear(&mut self, index: u64) {
        let slot = if self.inherited(index).is_some() { Slot::Zero } else { Slot::Absent };
        self.map.set(index, slot);
    }

    /// Makes byte runs of one extent what they were in `old`, which reads zero when there is none; all or nothing.
    pub(crate) fn revert(
        &mut self,
        index: u64,
        runs: impl Iterator<Item = (usize, usize)>,
        old: Option<&Body>,
        space: &Space<'_>,
    ) -> Result<(), IoError> {
        if old.is_none() && self.visible(index).is_none() {
            return Ok(());
        }
        let mut emptied = false;
        self.edit(index, space, |body, _| {
            body.take_over(old, runs)?;
            emptied = body.is_empty();
            Ok(())
        })?;
        if emptied {
            self.clear(index);
        }
        Ok(())
    }

    /// Makes one whole extent share another's content and claim on space; none makes it read zero.
    pub(crate) fn share(&mut self, index: u64, extent: Option<Arc<Extent>>) {
        match extent {
            Some(extent) => *self.map.slot_mut(index) = Slot::Data(extent),
            None => self.clear(index),
        }
    }

    /// Fills the whole content with copies of one extent of bytes, which share their memory. All or nothing.
    pub(crate) fn fill(&mut self, bytes: &[u8; EXTENT_BYTES], space: &Space<'_>) -> Result<(), IoError> {
        if self.blocks == 0 {
            return Ok(());
        }
        self.affordable(0, self.blocks, space)?;
        if !space.fits(2) {
            return Err(IoError::NoSpace);
        }
        let mut whole = space.blank();
        whole.write(0, bytes).map_err(at_extent(0))?;
        for index in 0..extents(self.blocks) {
            let used = (self.blocks - index * EXTENT_BLOCKS).min(EXTENT_BLOCKS) * BLOCK_BYTES;
            self.edit(index, space, |body, _| {
                *body = whole.clone();
                if used < EXTENT_BYTES as u64 {
                    body.zero(used as usize, EXTENT_BYTES - used as usize)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The next extent at or after `from` that only the parent has, for a split.
    pub(crate) fn next_inherited(&self, mut from: u64) -> Option<u64> {
        let link = self.link.as_ref()?;
        loop {
            let index = link.content.next_visible(from)?;
            if matches!(self.map.get(index), None | Some(Slot::Absent)) {
                return Some(index);
            }
            from = index + 1;
        }
    }

    /// Copies an extent that only the parent has into the own map. Whatever the own map says meanwhile is newer and stays.
    pub(crate) fn copy_up(&mut self, index: u64, space: &Space<'_>) -> Result<(), IoError> {
        if !matches!(self.map.get(index), None | Some(Slot::Absent)) {
            return Ok(());
        }
        let Some(extent) = self.inherited(index) else { return Ok(()) };
        let body = extent.body.clone();
        let token = space.take().ok_or(IoError::NoSpace)?;
        *self.map.slot_mut(index) = Slot::Data(Arc::new(Extent::new(token, body)));
        Ok(())
    }

    /// Makes one extent equal to that of a source of `source.blocks()` blocks, for full copies. What lies behind the
    /// source's size stays.
    pub(crate) fn copy_extent(
        &mut self,
        index: u64,
        source: &Self,
        space: &Space<'_>,
    ) -> Result<(), IoError> {
        let start = index * EXTENT_BLOCKS;
        let blocks = source.blocks.saturating_sub(start).min(EXTENT_BLOCKS);
        if blocks == 0 {
            return Ok(());
        }
        let Some(extent) = source.visible(index) else { return self.unmap(start, blocks, space) };
        if blocks < EXTENT_BLOCKS && self.blocks > source.blocks {
            let mut slices = Vec::new();
            extent.body.read(0, (blocks * BLOCK_BYTES) as usize, &mut slices).map_err(at_extent(index))?;
            let mut data = Vec::with_capacity(EXTENT_BYTES);
            slices.iter().for_each(|slice| data.extend_from_slice(slice));
            return self.write(start, &data, space, false);
        }
        let body = extent.body.clone();
        self.edit(index, space, |old, _| {
            *old = body;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::extent::Counter;
    use super::*;

    fn bytes(content: &Content) -> Vec<u8> {
        let mut out = Vec::new();
        content.read(0, content.blocks(), &mut out).unwrap();
        out.concat()
    }

    #[test]
    fn a_shared_extent_is_copied_once_and_counted_once() {
        let pool = Counter::new(0);
        let space = Space { pool: &pool, limit: 100, quota: None, medium: None };
        let used = || pool.load(std::sync::atomic::Ordering::Relaxed);
        let mut content = Content::empty(300);
        content.write(0, &[1; 512 * 300], &space, false).unwrap();
        assert_eq!(used(), 3);
        let frozen = content.clone();
        assert_eq!(used(), 3);
        content.write(5, &[2; 512], &space, false).unwrap();
        content.write(6, &[2; 512], &space, false).unwrap();
        assert_eq!(used(), 4);
        assert_eq!(bytes(&frozen), vec![1; 512 * 300]);
        drop(frozen);
        assert_eq!(used(), 3);
        content.unmap(0, 300, &space).unwrap();
        assert_eq!(used(), 0);
    }

    #[test]
    fn sparse_walks_find_far_extents() {
        let pool = Counter::new(0);
        let space = Space { pool: &pool, limit: 100, quota: None, medium: None };
        let mut content = Content::empty(1 << 40);
        for extent in [3, 700, 70_000, 20_000_000] {
            content.write(extent * EXTENT_BLOCKS, &[1; 512], &space, false).unwrap();
        }
        let layer = Layer { id: 1, content: content.clone(), mark: Mark::default() };
        let child = Content::over(Arc::new(layer));
        let mut seen = Vec::new();
        let mut at = 0;
        while let Some(index) = child.next_visible(at) {
            seen.push(index);
            at = index + 1;
        }
        assert_eq!(seen, [3, 700, 70_000, 20_000_000]);
        assert_eq!(content.map().occupied().map(|(index, _)| index).collect::<Vec<_>>(), seen);
    }
}
