//! One extent of content and its space accounting.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

use super::kept::Kept;
use super::mark::Mark;
use super::{EXTENT_BYTES, PAGE_BYTES, PAGES};
use crate::durable::{Medium, Places};

/// The first page of an extent that could not be read: its byte offset in the extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) usize);

static ZEROS: [u8; EXTENT_BYTES] = [0; EXTENT_BYTES];

/// Appends `len` zero bytes without allocating them.
pub(crate) fn push_zeros(mut len: usize, out: &mut Vec<Bytes>) {
    while len > 0 {
        let run = len.min(EXTENT_BYTES);
        out.push(Bytes::from_static(&ZEROS[..run]));
        len -= run;
    }
}

/// Counts the extents that claim on a pool, or on the reservation of a thick LUN.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    /// Which one it is, for the journal: the pool's id, or [`Counter::of_quota`].
    pub(crate) number: u64,
    count: AtomicU64,
}

impl Counter {
    pub(crate) fn new(number: u64) -> Arc<Self> {
        Arc::new(Self { number, count: AtomicU64::new(0) })
    }

    /// The number of a thick LUN's counter: LUN ids are never reused, and the counter keeps it wherever it goes.
    pub(crate) fn of_quota(lun: u64) -> Arc<Self> {
        Self::new((1 << 40) + lun)
    }
}

impl Deref for Counter {
    type Target = AtomicU64;
    fn deref(&self) -> &AtomicU64 {
        &self.count
    }
}

/// The claim of one extent on a counter; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct SpaceToken(Arc<Counter>);

impl SpaceToken {
    pub(crate) fn take(counter: &Arc<Counter>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
    /// Which counter it is, for the journal.
    pub(crate) fn counter_number(&self) -> u64 {
        self.0.number
    }
    /// Identity of the counter, for the audit.
    pub(crate) fn counter_id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

impl Drop for SpaceToken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The reservation of a thick LUN: so many extents are paid for already.
#[derive(Debug)]
pub(crate) struct Quota {
    pub(crate) used: Arc<Counter>,
    pub(crate) extents: u64,
}

/// Where new extents of a LUN come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space<'a> {
    /// Counter of the pool.
    pub(crate) pool: &'a Arc<Counter>,
    /// Value that the counter must not exceed.
    pub(crate) limit: u64,
    /// Reservation of the LUN, used first.
    pub(crate) quota: Option<&'a Quota>,
    /// What keeps the content; none keeps it in memory.
    pub(crate) medium: Option<&'a Arc<dyn Medium>>,
}

impl Space<'_> {
    /// Extents that could be taken now.
    pub(crate) fn available(&self) -> u64 {
        let quota = self.quota.map_or(0, |q| q.extents.saturating_sub(q.used.load(Ordering::Relaxed)));
        quota + self.limit.saturating_sub(self.pool.load(Ordering::Relaxed))
    }

    /// Whether the medium has room for whatever a change of `extents` extents may write.
    pub(crate) fn fits(&self, extents: u64) -> bool {
        self.medium.is_none_or(|medium| medium.room() / PAGES as u64 >= extents)
    }

    /// Content that reads zero.
    pub(crate) fn blank(&self) -> Body {
        match self.medium {
            None => Body::empty(),
            Some(medium) => Body::Kept(Kept::blank(medium)),
        }
    }

    /// Takes one extent; none when the space is out.
    pub(crate) fn take(&self) -> Option<SpaceToken> {
        if let Some(quota) = self.quota
            && quota.used.load(Ordering::Relaxed) < quota.extents
        {
            return Some(SpaceToken::take(&quota.used));
        }
        (self.pool.load(Ordering::Relaxed) < self.limit).then(|| SpaceToken::take(self.pool))
    }
}

/// Content of an extent. Cloning shares the pages.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Written as a whole: one buffer of 64 KiB, so that reads give one slice.
    Whole(Bytes),
    /// Page by page; none reads zero.
    Pages(Box<[Option<Bytes>; PAGES]>),
    /// On the medium of an array with a journal.
    Kept(Kept),
}

/// An extent: content and the claim on space that it stands for.
#[derive(Debug)]
pub(crate) struct Extent {
    pub(crate) token: SpaceToken,
    pub(crate) body: Body,
    pub(crate) mark: Mark,
}

impl Extent {
    pub(crate) fn new(token: SpaceToken, body: Body) -> Self {
        Self { token, body, mark: Mark::default() }
    }
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Pages(Box::new([const { None }; PAGES]))
    }

    fn pages(&mut self) -> &mut [Option<Bytes>; PAGES] {
        if let Self::Whole(whole) = self {
            let whole = std::mem::take(whole);
            *self = Self::Pages(Box::new(std::array::from_fn(|i| {
                Some(whole.slice(i * PAGE_BYTES..(i + 1) * PAGE_BYTES))
            })));
        }
        match self {
            Self::Pages(pages) => pages,
            Self::Whole(_) | Self::Kept(_) => {
                unreachable!(
                    "a whole body was made into pages just above, and what is kept has none in memory"
                )
            }
        }
    }

    /// Writes `data` at byte `offset`. The caller keeps within the extent. Only a body on a medium can fail.
    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Unreadable> {
        match self {
            Self::Kept(kept) => kept.write(offset, data),
            Self::Whole(_) | Self::Pages(_) => {
                self.write_here(offset, data);
                Ok(())
            }
        }
    }

    fn write_here(&mut self, offset: usize, data: &[u8]) {
        if data.len() == EXTENT_BYTES {
            *self = Self::Whole(Bytes::copy_from_slice(data));
            return;
        }
        if let Self::Whole(whole) = self {
            // In place when nobody else holds the buffer; otherwise the pages part from it.
            match std::mem::take(whole).try_into_mut() {
                Ok(mut own) => {
                    own[offset..offset + data.len()].copy_from_slice(data);
                    *whole = own.freeze();
                    return;
                }
                Err(shared) => *whole = shared,
            }
        }
        let pages = self.pages();
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let (index, start) = (at / PAGE_BYTES, at % PAGE_BYTES);
            let (head, tail) = rest.split_at(rest.len().min(PAGE_BYTES - start));
            pages[index] = Some(match pages[index].take().map(Bytes::try_into_mut) {
                Some(Ok(mut own)) => {
                    own[start..start + head.len()].copy_from_slice(head);
                    own.freeze()
                }
                None | Some(Err(_)) if head.len() == PAGE_BYTES => Bytes::copy_from_slice(head),
                None => over(&[0; PAGE_BYTES], start, head),
                Some(Err(shared)) => over(&shared, start, head),
            });
            at += head.len();
            rest = tail;
        }
    }

    /// Makes `len` bytes at byte `offset` zero. The caller keeps within the extent. Only a body on a medium can fail.
    pub(crate) fn zero(&mut self, offset: usize, len: usize) -> Result<(), Unreadable> {
        match self {
            Self::Kept(kept) => kept.zero(offset, len),
            Self::Whole(_) | Self::Pages(_) => {
                self.zero_here(offset, len);
                Ok(())
            }
        }
    }

    fn zero_here(&mut self, offset: usize, len: usize) {
        let pages = self.pages();
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let (index, start) = (at / PAGE_BYTES, at % PAGE_BYTES);
            let run = (end - at).min(PAGE_BYTES - start);
            if run == PAGE_BYTES {
                pages[index] = None;
            } else if let Some(old) = pages[index].take() {
                let mut page = writable(Some(old));
                page[start..start + run].fill(0);
                // A page that reads zero throughout is given up, so that an extent of such pages can be.
                pages[index] = page.iter().any(|byte| *byte != 0).then(|| page.freeze());
            }
            at += run;
        }
    }

    /// Makes byte runs what they are in another body, or zero when there is none.
    pub(crate) fn take_over(
        &mut self,
        from: Option<&Self>,
        runs: impl Iterator<Item = (usize, usize)>,
    ) -> Result<(), Unreadable> {
        let mut slices = Vec::new();
        for (offset, len) in runs {
            self.zero(offset, len)?;
            let Some(from) = from else { continue };
            from.read(offset, len, &mut slices)?;
            let mut at = offset;
            for slice in slices.drain(..) {
                // Zeros stay holes, so that an extent that has become empty shows it.
                if !is_zero(&slice) {
                    self.write(at, &slice)?;
                }
                at += slice.len();
            }
        }
        Ok(())
    }

    /// Where it is on the medium; all holes for what is in memory.
    pub(crate) fn places(&self) -> &Places {
        static NOWHERE: Places = [0; PAGES];
        match self {
            Self::Kept(kept) => kept.places(),
            Self::Whole(_) | Self::Pages(_) => &NOWHERE,
        }
    }

    /// Whether both are made of the same pages in memory. Equal pages in two places count as different.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        if let (Self::Kept(one), Self::Kept(two)) = (self, other) {
            return one.places() == two.places();
        }
        let page = |body: &Self, index: usize| match body {
            Self::Whole(whole) => Some(whole[index * PAGE_BYTES..].as_ptr()),
            Self::Pages(pages) => pages[index].as_ref().map(|page| page.as_ptr()),
            // Never the same as what is in memory, except for holes.
            Self::Kept(kept) => kept.places().get(index).filter(|place| **place != 0).map(|_| ZEROS.as_ptr()),
        };
        (0..PAGES).all(|index| page(self, index) == page(other, index))
    }

    /// Whether no page is left.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Whole(_) => false,
            Self::Pages(pages) => pages.iter().all(Option::is_none),
            Self::Kept(kept) => kept.places().iter().all(|place| *place == 0),
        }
    }

    /// Appends `len` bytes from byte `offset`, as slices of the pages. Only a body on a medium can fail.
    pub(crate) fn read(&self, offset: usize, len: usize, out: &mut Vec<Bytes>) -> Result<(), Unreadable> {
        let pages = match self {
            Self::Whole(whole) => {
                out.push(whole.slice(offset..offset + len));
                return Ok(());
            }
            Self::Pages(pages) => pages,
            Self::Kept(kept) => return kept.read(offset, len, out),
        };
        let (mut at, end, mut hole) = (offset, offset + len, 0);
        while at < end {
            let (index, start) = (at / PAGE_BYTES, at % PAGE_BYTES);
            let run = (end - at).min(PAGE_BYTES - start);
            match &pages[index] {
                Some(page) => {
                    push_zeros(std::mem::take(&mut hole), out);
                    out.push(page.slice(start..start + run));
                }
                None => hole += run,
            }
            at += run;
        }
        push_zeros(hole, out);
        Ok(())
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// A copy of a page with `data` over it.
fn over(page: &[u8], start: usize, data: &[u8]) -> Bytes {
    let mut copy = page.to_vec();
    copy[start..start + data.len()].copy_from_slice(data);
    copy.into()
}

/// A page to write into: the old one itself when nobody else holds it, else a copy.
fn writable(page: Option<Bytes>) -> BytesMut {
    match page {
        None => BytesMut::zeroed(PAGE_BYTES),
        Some(page) => page.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..])),
    }
}
