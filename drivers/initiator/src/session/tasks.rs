//! Open tasks under their initiator task tags.
//!
//! A tag is a place in a table and the generation of that place, so a look-up is an index and a comparison, and an answer
//! that comes for an earlier user of the place never meets the present one. The place of an aborted task rests for a while: what
//! still comes for it can be told from what belongs to nobody.

use std::collections::VecDeque;

use super::Open;

/// Bits of a tag that number the place.
const PLACE_BITS: u32 = 20;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;
/// Places of aborted tasks that rest at most; then the oldest is used again.
const RESTING: usize = 64;

#[derive(Debug)]
struct Place {
    tag: u32,
    open: Option<Open>,
    aborted: bool,
}

/// The open tasks of one session.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    places: Vec<Place>,
    free: Vec<u32>,
    resting: VecDeque<u32>,
}

impl Tasks {
    /// A tag that no open task has. It must be given to [`Tasks::put`] before the next call.
    pub(super) fn tag(&mut self) -> u32 {
        if self.resting.len() > RESTING
            && let Some(oldest) = self.resting.pop_front()
        {
            self.free.push(oldest);
        }
        if let Some(index) = self.free.pop()
            && let Some(place) = self.places.get_mut(index as usize)
        {
            // The place part is never all ones (see below), so no generation makes the reserved tag.
            place.tag = place.tag.wrapping_add(1 << PLACE_BITS);
            place.aborted = false;
            return place.tag;
        }
        // As many places as tasks were ever open at once: the queue depth and a few. 20 bits are never exhausted.
        let tag = (self.places.len() as u32 + 1) & PLACE_MASK;
        self.places.push(Place { tag, open: None, aborted: false });
        tag
    }

    /// Opens a task under a tag of [`Tasks::tag`].
    pub(super) fn put(&mut self, tag: u32, open: Open) {
        if let Some(place) = self.place(tag) {
            place.open = Some(open);
        }
    }

    fn place(&mut self, tag: u32) -> Option<&mut Place> {
        let index = (tag & PLACE_MASK).checked_sub(1)?;
        self.places.get_mut(index as usize).filter(|p| p.tag == tag)
    }

    /// The open task of a tag.
    pub(super) fn get_mut(&mut self, tag: u32) -> Option<&mut Open> {
        self.place(tag)?.open.as_mut()
    }

    /// Closes a task.
    pub(super) fn remove(&mut self, tag: u32) -> Option<Open> {
        let open = self.place(tag)?.open.take()?;
        self.free.push((tag & PLACE_MASK) - 1);
        Some(open)
    }

    /// Opens a task again that [`Tasks::remove`] has just closed.
    pub(super) fn put_back(&mut self, tag: u32, open: Open) {
        self.free.retain(|index| *index + 1 != tag & PLACE_MASK);
        self.put(tag, open);
    }

    /// Closes a task that was aborted: late answers may come.
    pub(super) fn abort(&mut self, tag: u32) -> Option<Open> {
        let place = self.place(tag)?;
        let open = place.open.take()?;
        place.aborted = true;
        self.resting.push_back((tag & PLACE_MASK) - 1);
        Some(open)
    }

    /// True for the tag of a task that was aborted not long ago.
    pub(super) fn was_aborted(&mut self, tag: u32) -> bool {
        self.place(tag).is_some_and(|p| p.aborted)
    }

    /// All open tasks, by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Open)> {
        self.places.iter().filter_map(|p| p.open.as_ref().map(|open| (p.tag, open)))
    }

    /// Closes all tasks, by place.
    pub(super) fn drain(&mut self) -> Vec<Open> {
        self.free.clear();
        self.resting.clear();
        std::mem::take(&mut self.places).into_iter().filter_map(|p| p.open).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_aborted_tasks_rest() {
        let mut tasks = Tasks::default();
        let mut open = || {
            let tag = tasks.tag();
            tasks.put(tag, Open::Ping);
            tag
        };
        let (a, b) = (open(), open());
        assert_eq!((a, b), (1, 2));
        assert!(tasks.abort(a).is_some() && tasks.remove(b).is_some());
        assert!(tasks.was_aborted(a) && !tasks.was_aborted(b) && tasks.remove(a).is_none());
        // The place of `b` is used again under another tag, the one of `a` is not.
        for _ in 0..5000 {
            let tag = tasks.tag();
            assert!(tag & PLACE_MASK == 2 && tag != b + 3 && tasks.get_mut(a).is_none());
            tasks.put(tag, Open::Ping);
            assert!(tasks.remove(tag).is_some());
        }
        for n in 0..200 {
            let tag = tasks.tag();
            assert_ne!(tag, u32::MAX);
            tasks.put(tag, Open::Ping);
            assert!(tasks.abort(tag).is_some() && tasks.was_aborted(tag), "{n}");
        }
        assert!(tasks.places.len() < 80, "{}", tasks.places.len());
        assert!(!tasks.was_aborted(0) && !tasks.was_aborted(u32::MAX));
    }
}
