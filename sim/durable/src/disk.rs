//! What a keeper writes to. Two traits instead of files, so that tests put a disk underneath that loses its power.

use std::fmt;
use std::io;

use sanbench_array::{Changes, Saved};
use thiserror::Error;

/// Pages of 4 KiB by number. Page 0 is the file's own.
pub trait PageFile: fmt::Debug + Send + Sync {
    /// Pages that have space on the disk, page 0 included.
    fn pages(&self) -> u32;
    /// Reserves space up to so many pages. Cheap; the reservation itself need not be durable.
    ///
    /// # Errors
    /// The disk is full, or fails.
    fn grow(&self, pages: u32) -> io::Result<()>;
    /// Writes whole pages from `first` on. Durable after [`PageFile::sync`]; until then any part of it may be lost.
    ///
    /// # Errors
    /// The disk fails.
    fn write(&self, first: u32, data: &[u8]) -> io::Result<()>;
    /// Makes everything written durable.
    ///
    /// # Errors
    /// The disk fails; what is durable is unknown then.
    fn sync(&self) -> io::Result<()>;
    /// Reads whole pages.
    ///
    /// # Errors
    /// The disk fails, or the file ends before them.
    fn read(&self, first: u32, out: &mut [u8]) -> io::Result<()>;
    /// No state that is durable, or will be, needs this page any more. A hint.
    fn discard(&self, _place: u32) {}
}

/// What one commit changes in the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// Objects, nodes and extents.
    pub changes: &'a Changes,
    /// The checksum of each place of each extent, in the order of `changes.extents`.
    pub sums: &'a [[u32; sanbench_array::EXTENT_PAGES]],
    /// Digest of all objects that there are afterwards.
    pub digest: u64,
}

/// Why the catalogue did not commit.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// The disk is full. Nothing has changed; with what [`Catalogue::give_up_ballast`] frees the commit may succeed.
    #[error("the disk is full")]
    Full,
    /// Anything else. What is durable is unknown.
    #[error("{0}")]
    Failed(String),
}

/// Objects, nodes and extents. A commit is atomic, and durable when it returns.
pub trait Catalogue: Send {
    /// Commits.
    ///
    /// # Errors
    /// It did not.
    fn commit(&mut self, commit: Commit<'_>) -> Result<(), CatalogueError>;
    /// Frees the space that was put aside for bad times; false when there is none any more.
    fn give_up_ballast(&mut self) -> bool;
    /// Puts space aside again, if the disk has it: true when all of it is there.
    fn regain_ballast(&mut self) -> bool;
}

/// What a catalogue holds when it is opened.
#[derive(Debug, Default)]
pub struct Contents {
    /// For the array.
    pub saved: Saved,
    /// Place and checksum of each page that an extent names. A page that several name is here several times.
    pub pages: Vec<(u32, u32)>,
}
