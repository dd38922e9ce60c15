//! The sparse map: a three-level radix tree of 256-way nodes under a root that grows with the size. Nodes are shared by
//! reference count; a write copies the shared ones on its path only.

use std::sync::Arc;

use super::extent::Extent;
use super::mark::Node;

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
pub(crate) type Leaf = Node<Slot>;
pub(crate) type Mid = Node<Option<Arc<Leaf>>>;
pub(crate) type Root = Node<Option<Arc<Mid>>>;

/// Extent number -> slot. Cloning is O(1).
#[derive(Debug, Clone, Default)]
pub(crate) struct Map {
    root: Arc<Root>,
}

fn split(index: u64) -> (usize, usize, usize) {
    ((index / (FAN * FAN)) as usize, (index / FAN % FAN) as usize, (index % FAN) as usize)
}

fn child<T: Clone + Default>(node: &mut Node<Option<Arc<Node<T>>>>, at: usize) -> &mut Node<T> {
    if node.slots.len() <= at {
        node.slots.resize(at + 1, None);
    }
    node.touch(at);
    Arc::make_mut(node.slots[at].get_or_insert_default())
}

/// A child that nobody else reaches.
fn own_child<T>(node: &mut Node<Option<Arc<Node<T>>>>, at: usize) -> Option<&mut Node<T>> {
    node.touch(at);
    Arc::get_mut(node.slots.get_mut(at)?.as_mut()?)
}

impl Map {
    /// A map that comes from disk.
    pub(crate) fn adopted(root: Arc<Root>) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    fn leaf(&self, index: u64) -> Option<&Arc<Leaf>> {
        let (top, mid, _) = split(index);
        self.root.slots.get(top)?.as_ref()?.slots.get(mid)?.as_ref()
    }

    /// The slot of an extent; none means absent.
    pub(crate) fn get(&self, index: u64) -> Option<&Slot> {
        self.leaf(index)?.slots.get(split(index).2)
    }

    /// The slot to change. Makes the path, copying what is shared.
    pub(crate) fn slot_mut(&mut self, index: u64) -> &mut Slot {
        let (top, mid, low) = split(index);
        let leaf = child(child(Arc::make_mut(&mut self.root), top), mid);
        if leaf.slots.len() <= low {
            leaf.slots.resize(low + 1, Slot::Absent);
        }
        leaf.touch(low);
        leaf.reshape();
        &mut leaf.slots[low]
    }

    /// The extent to change in place: one with data that no other map reaches.
    pub(crate) fn own_extent_mut(&mut self, index: u64) -> Option<&mut Extent> {
        let (top, mid, low) = split(index);
        let leaf = own_child(own_child(Arc::get_mut(&mut self.root)?, top)?, mid)?;
        leaf.touch(low);
        match leaf.slots.get_mut(low)? {
            Slot::Data(extent) => Arc::get_mut(extent),
            Slot::Absent | Slot::Zero => None,
        }
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
            let mids = self.root.slots.get(top)?.as_ref()?;
            let leaf = mids.slots.get(mid)?.as_ref()?;
            let Slot::Data(extent) = leaf.slots.get(low)? else { return None };
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
        for (top, mids) in self.root.slots.iter().enumerate().skip(top0) {
            let Some(mids) = mids else { continue };
            let mid_start = if top == top0 { mid0 } else { 0 };
            for (mid, leaf) in mids.slots.iter().enumerate().skip(mid_start) {
                let Some(leaf) = leaf else { continue };
                let low_start = if (top, mid) == (top0, mid0) { low0 } else { 0 };
                for (low, slot) in leaf.slots.iter().enumerate().skip(low_start) {
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
        self.root.slots.iter().enumerate().flat_map(|(top, mids)| {
            mids.iter().flat_map(|mids| mids.slots.iter().enumerate()).flat_map(move |(mid, leaf)| {
                leaf.iter().flat_map(|leaf| leaf.slots.iter().enumerate()).filter_map(move |(low, slot)| {
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
