//! One extent of content and its space accounting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

use super::{EXTENT_BYTES, PAGE_BYTES, PAGES};

static ZEROS: [u8; EXTENT_BYTES] = [0; EXTENT_BYTES];

/// Appends `len` zero bytes without allocating them.
pub(crate) fn push_zeros(mut len: usize, out: &mut Vec<Bytes>) {
    while len > 0 {
        let run = len.min(EXTENT_BYTES);
        out.push(Bytes::from_static(&ZEROS[..run]));
        len -= run;
    }
}

/// The claim of one extent on a counter; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct SpaceToken(Arc<AtomicU64>);

impl SpaceToken {
    fn take(counter: &Arc<AtomicU64>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
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
    pub(crate) used: Arc<AtomicU64>,
    pub(crate) extents: u64,
}

/// Where new extents of a LUN come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space<'a> {
    /// Counter of the pool.
    pub(crate) pool: &'a Arc<AtomicU64>,
    /// Value that the counter must not exceed.
    pub(crate) limit: u64,
    /// Reservation of the LUN, used first.
    pub(crate) quota: Option<&'a Quota>,
}

impl Space<'_> {
    /// Extents that could be taken now.
    pub(crate) fn available(&self) -> u64 {
        let quota = self.quota.map_or(0, |q| q.extents.saturating_sub(q.used.load(Ordering::Relaxed)));
        quota + self.limit.saturating_sub(self.pool.load(Ordering::Relaxed))
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
}

/// An extent: content and the claim on space that it stands for.
#[derive(Debug)]
pub(crate) struct Extent {
    pub(crate) token: SpaceToken,
    pub(crate) body: Body,
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
            Self::Whole(_) => unreachable!("a whole body was made into pages just above"),
        }
    }

    /// Writes `data` at byte `offset`. The caller keeps within the extent.
    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) {
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

    /// Makes `len` bytes at byte `offset` zero. The caller keeps within the extent.
    pub(crate) fn zero(&mut self, offset: usize, len: usize) {
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
    pub(crate) fn take_over(&mut self, from: Option<&Self>, runs: impl Iterator<Item = (usize, usize)>) {
        let mut slices = Vec::new();
        for (offset, len) in runs {
            self.zero(offset, len);
            let Some(from) = from else { continue };
            from.read(offset, len, &mut slices);
            let mut at = offset;
            for slice in slices.drain(..) {
                // Zeros stay holes, so that an extent that has become empty shows it.
                if !is_zero(&slice) {
                    self.write(at, &slice);
                }
                at += slice.len();
            }
        }
    }

    /// Whether both are made of the same pages in memory. Equal pages in two places count as different.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let page = |body: &Self, index: usize| match body {
            Self::Whole(whole) => Some(whole[index * PAGE_BYTES..].as_ptr()),
            Self::Pages(pages) => pages[index].as_ref().map(|page| page.as_ptr()),
        };
        (0..PAGES).all(|index| page(self, index) == page(other, index))
    }

    /// Whether no page is left.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Pages(pages) if pages.iter().all(Option::is_none))
    }

    /// Appends `len` bytes from byte `offset`, as slices of the pages.
    pub(crate) fn read(&self, offset: usize, len: usize, out: &mut Vec<Bytes>) {
        let pages = match self {
            Self::Whole(whole) => return out.push(whole.slice(offset..offset + len)),
            Self::Pages(pages) => pages,
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
    }
}

fn is_zero(bytes: &[u8]) -> bool {
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
