//! The sparse map: a three-level radix tree of 256-way nodes under a root that grows with the size. Nodes are shared by
//! reference count; a write copies the shared ones on its path only.

use std::sync::Arc;

use super::extent::Extent;

const FAN: u64 = 256;

/// What a map knows of one extent.
#[derive(Debug, Clone, Default)]
pub(crate) enum Slot {
    /// Nothing: the parent decides.
    #[default]
    Absent,
    /// Reads zero, whatever the parent holds.
    Zero,
    /// Content.
    Data(Arc<Extent>),
}

// Nodes are vectors as long as their highest used index, so that small LUNs stay small.
type Leaf = Vec<Slot>;
type Mid = Vec<Option<Arc<Leaf>>>;
type Root = Vec<Option<Arc<Mid>>>;

/// Extent number -> slot. Cloning is O(1).
#[derive(Debug, Clone, Default)]
pub(crate) struct Map {
    root: Arc<Root>,
}

fn split(index: u64) -> (usize, usize, usize) {
    ((index / (FAN * FAN)) as usize, (index / FAN % FAN) as usize, (index % FAN) as usize)
}

fn child<T: Clone + Default>(node: &mut Vec<Option<Arc<Vec<T>>>>, at: usize) -> &mut Vec<T> {
    if node.len() <= at {
        node.resize(at + 1, None);
    }
    Arc::make_mut(node[at].get_or_insert_default())
}

impl Map {
    fn leaf(&self, index: u64) -> Option<&Arc<Leaf>> {
        let (top, mid, _) = split(index);
        self.root.get(top)?.as_ref()?.get(mid)?.as_ref()
    }

    /// The slot of an extent; none means absent.
    pub(crate) fn get(&self, index: u64) -> Option<&Slot> {
        self.leaf(index)?.get(split(index).2)
    }

    /// The slot to change. Makes the path, copying what is shared.
    pub(crate) fn slot_mut(&mut self, index: u64) -> &mut Slot {
        let (top, mid, low) = split(index);
        let leaf = child(child(Arc::make_mut(&mut self.root), top), mid);
        if leaf.len() <= low {
            leaf.resize(low + 1, Slot::Absent);
        }
        &mut leaf[low]
    }

    /// Sets a slot; leaves the tree alone if it is absent and shall be.
    pub(crate) fn set(&mut self, index: u64, slot: Slot) {
        if matches!(slot, Slot::Absent) && matches!(self.get(index), None | Some(Slot::Absent)) {
            return;
        }
        *self.slot_mut(index) = slot;
    }

    /// Whether the extent can be written in place: it has data that no other map reaches.
    pub(crate) fn is_exclusive(&self, index: u64) -> bool {
        let (top, mid, low) = split(index);
        let path = || {
            let mids = self.root.get(top)?.as_ref()?;
            let leaf = mids.get(mid)?.as_ref()?;
            let Slot::Data(extent) = leaf.get(low)? else { return None };
            Some([
                Arc::strong_count(&self.root),
                Arc::strong_count(mids),
                Arc::strong_count(leaf),
                Arc::strong_count(extent),
            ])
        };
        path().is_some_and(|counts| counts == [1; 4])
    }

    /// The first slot at or after `from` that is not absent.
    pub(crate) fn next_occupied(&self, from: u64) -> Option<(u64, &Slot)> {
        let (top0, mid0, low0) = split(from);
        for (top, mids) in self.root.iter().enumerate().skip(top0) {
            let Some(mids) = mids else { continue };
            let mid_start = if top == top0 { mid0 } else { 0 };
            for (mid, leaf) in mids.iter().enumerate().skip(mid_start) {
                let Some(leaf) = leaf else { continue };
                let low_start = if (top, mid) == (top0, mid0) { low0 } else { 0 };
                for (low, slot) in leaf.iter().enumerate().skip(low_start) {
                    if !matches!(slot, Slot::Absent) {
                        return Some(((top as u64 * FAN + mid as u64) * FAN + low as u64, slot));
                    }
                }
            }
        }
        None
    }

    /// All slots that are not absent, by extent number.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = (u64, &Slot)> {
        self.root.iter().enumerate().flat_map(|(top, mids)| {
            mids.iter().flat_map(move |mids| mids.iter().enumerate()).flat_map(move |(mid, leaf)| {
                leaf.iter().flat_map(move |leaf| leaf.iter().enumerate()).filter_map(move |(low, slot)| {
                    (!matches!(slot, Slot::Absent))
                        .then_some(((top as u64 * FAN + mid as u64) * FAN + low as u64, slot))
                })
            })
        })
    }

    /// Identity of the root node, so that an audit need not walk a shared tree twice.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.root) as usize
    }
}
