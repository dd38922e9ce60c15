//! What keeps the content of an array with a journal: pages of 4 KiB by number.

use std::fmt;

use bytes::Bytes;

/// Bytes in a page of a medium.
pub const MEDIUM_PAGE: usize = crate::store::PAGE_BYTES;
/// Pages in an extent of a medium.
pub const EXTENT_PAGES: usize = crate::store::PAGES;

/// The pages of an extent on a medium; page number 0 is a hole, which reads zero.
pub type Places = [u32; EXTENT_PAGES];

/// A page cannot be read, or is not what was written: the place of the first such page in what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotten(pub usize);

/// Keeps pages. A page never changes: what is written goes to a new one, and the old one stays as it is until a state of
/// the array that does not need it is durable. Pages are counted by reference, so that extents share them.
///
/// All calls are short; none waits for anything but a read.
pub trait Medium: fmt::Debug + Send + Sync {
    /// Pages that can still be written. The array refuses to write what might not fit.
    fn room(&self) -> u64;
    /// Whether so much waits to be made durable that whoever writes on has to wait, too.
    fn is_congested(&self) -> bool;
    /// Stores whole pages; `places` gets their numbers (as many as there are pages), each with one reference.
    fn put(&self, data: &[u8], places: &mut [u32]);
    /// The bytes of pages, none of which is a hole.
    ///
    /// # Errors
    /// Which page is unreadable.
    fn get(&self, places: &[u32]) -> Result<Bytes, Rotten>;
    /// One more reference to each page; holes are left out.
    fn keep(&self, places: &[u32]);
    /// One reference less to each page; holes are left out.
    fn release(&self, places: &[u32]);
}
