//! An extent's content on a medium: sixteen places, each a page or a hole.

use std::sync::Arc;

use bytes::Bytes;

use super::extent::{Unreadable, is_zero, push_zeros};
use super::{PAGE_BYTES, PAGES};
use crate::durable::{Medium, Places, Rotten};

/// Content on a medium. A clone shares the pages.
#[derive(Debug)]
pub(crate) struct Kept {
    medium: Arc<dyn Medium>,
    places: Places,
}

impl Clone for Kept {
    fn clone(&self) -> Self {
        Self::adopted(&self.medium, self.places)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.medium.release(&self.places);
    }
}

/// What a byte range takes of each page that it meets: page, byte offset in it, bytes.
fn parts(offset: usize, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let (mut at, end) = (offset, offset + len);
    std::iter::from_fn(move || {
        let (page, start) = (at / PAGE_BYTES, at % PAGE_BYTES);
        let run = (end - at).min(PAGE_BYTES - start);
        at += run;
        (run > 0).then_some((page, start, run))
    })
}

impl Kept {
    /// Content that reads zero.
    pub(crate) fn blank(medium: &Arc<dyn Medium>) -> Self {
        Self { medium: Arc::clone(medium), places: [0; PAGES] }
    }

    /// Content in pages that others refer to as well.
    pub(crate) fn adopted(medium: &Arc<dyn Medium>, places: Places) -> Self {
        medium.keep(&places);
        Self { medium: Arc::clone(medium), places }
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// One page.
    fn page(&self, page: usize) -> Result<Option<Bytes>, Unreadable> {
        match self.places[page] {
            0 => Ok(None),
            place => self.medium.get(&[place]).map(Some).map_err(|_| Unreadable(page * PAGE_BYTES)),
        }
    }

    fn set(&mut self, page: usize, data: &[u8]) {
        let mut place = [0];
        self.medium.put(data, &mut place);
        self.medium.release(&self.places[page..=page]);
        self.places[page] = place[0];
    }

    pub(crate) fn read(&self, offset: usize, len: usize, out: &mut Vec<Bytes>) -> Result<(), Unreadable> {
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let first = at / PAGE_BYTES;
            let is_hole = self.places[first] == 0;
            let pages = self.places[first..end.div_ceil(PAGE_BYTES)].iter();
            let count = pages.take_while(|place| (**place == 0) == is_hole).count();
            let stop = end.min((first + count) * PAGE_BYTES);
            if is_hole {
                push_zeros(stop - at, out);
            } else {
                let places = &self.places[first..first + count];
                let bytes = self
                    .medium
                    .get(places)
                    .map_err(|Rotten(n)| Unreadable(((first + n) * PAGE_BYTES).max(at)))?;
                let start = at - first * PAGE_BYTES;
                out.push(bytes.slice(start..start + (stop - at)));
            }
            at = stop;
        }
        Ok(())
    }

    /// Changes nothing when it fails.
    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Unreadable> {
        // Pages written in part first: only they can fail, and there are two at most.
        let mut edges = Vec::new();
        let mut done = 0;
        for (page, start, run) in parts(offset, data.len()) {
            if run < PAGE_BYTES {
                let mut bytes = match self.page(page)? {
                    Some(old) => old.to_vec(),
                    None => vec![0; PAGE_BYTES],
                };
                bytes[start..start + run].copy_from_slice(&data[done..done + run]);
                edges.push((page, bytes));
            }
            done += run;
        }
        for (page, bytes) in edges {
            self.set(page, &bytes);
        }
        let (first, last) = (offset.div_ceil(PAGE_BYTES), (offset + data.len()) / PAGE_BYTES);
        if first < last {
            let from = first * PAGE_BYTES - offset;
            let mut places = [0; PAGES];
            self.medium.put(&data[from..from + (last - first) * PAGE_BYTES], &mut places[..last - first]);
            self.medium.release(&self.places[first..last]);
            self.places[first..last].copy_from_slice(&places[..last - first]);
        }
        Ok(())
    }

    /// Changes nothing of a page that it fails at.
    pub(crate) fn zero(&mut self, offset: usize, len: usize) -> Result<(), Unreadable> {
        for (page, start, run) in parts(offset, len) {
            let rest = if run == PAGE_BYTES { None } else { self.page(page)? };
            let mut rest = rest.map(|old| old.to_vec());
            if let Some(bytes) = &mut rest {
                bytes[start..start + run].fill(0);
            }
            match rest.filter(|bytes| !is_zero(bytes)) {
                Some(bytes) => self.set(page, &bytes),
                None => {
                    self.medium.release(&self.places[page..=page]);
                    self.places[page] = 0;
                }
            }
        }
        Ok(())
    }
}
