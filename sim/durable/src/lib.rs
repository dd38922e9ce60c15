//! Keeps a simulated array in a directory, so that it outlasts its process.
//!
//! The array is a value that notes what changes ([`sanbench_array::Changes`]) and counts what it promises. This crate makes
//! that durable. What is on disk is at every moment **one whole state that the array has been in**: a commit moves it on to
//! a newer one, or does not happen. So nothing can be torn, and whatever was promised before a commit began is in it.
//!
//! | module | what lives there |
//! |---|---|
//! | `disk` | the two things that are written: the page file and the catalogue, as traits, so that tests can cut the power between any two calls |
//! | `file` | the page file on a file system: preallocated, a header page, pages of 4 KiB |
//! | `sqlite` | the catalogue in SQLite: objects, nodes and extents, each row with its checksum |
//! | `pages` | which page is free, referenced, waiting: the array's [`sanbench_array::Medium`] |
//! | `keeper` | the order of a commit |
//! | `rows`, `memory` | the sum of all commits, and a disk made of it, in memory: for arrays of virtual worlds |
//! | `committer` | the thread that commits: many answers wait for one `fsync` (group commit) |
//! | `folder` | a directory of ours: lock, versions, what is refused |
//!
//! # The order of a commit
//!
//! 1. Under the array's lock the changes and the pages written since the last commit are taken; this costs as much as there
//!    is of them, and waits for nothing.
//! 2. The pages go to free places of the page file, then `fdatasync`.
//! 3. One SQLite transaction replaces the rows of what has changed (WAL, `synchronous = FULL`: one `fsync`).
//! 4. Only now may places that the old state needed be used again, and answers go out that waited for this commit.
//!
//! A commit that changes no content costs one `fsync`, others two. What changes meanwhile waits for the next commit, all of
//! it together. If a commit fails, no answer goes out any more, and the process has to end: what is in memory is ahead of
//! the disk, and nobody can say what a second `fsync` would be worth.
//!
//! # A full disk
//!
//! Writes are admitted only while the page file has free places, which it allocates ahead of need; beyond that they get
//! SPACE ALLOCATION FAILED, and commands that make the array grow *pool full*. The catalogue has a ballast file to give up, so
//! that what was admitted can be committed, and deletions, too.
//!
//! # Memory
//!
//! Content lives on disk. In memory are: for each extent of 64 KiB that holds data about 250 bytes (its places, its node's
//! slot), for each page of 4 KiB 8 bytes (references and checksum), the pages that wait for a commit (beyond
//! [`CONGESTED_BYTES`] writers wait, too), and a cache of [`CACHE_BYTES`] for pages that were read or written lately.

mod committer;
mod disk;
mod file;
mod folder;
mod keeper;
mod memory;
mod pages;
mod rows;
mod sqlite;

pub use committer::Committer;
pub use disk::{Catalogue, CatalogueError, Commit, Contents, PageFile};
pub use file::FilePages;
pub use folder::{Folder, OpenError, Opened, revive};
pub use keeper::{Batch, CommitError, Keeper};
pub use memory::{MemoryDisk, Spoil};
pub use pages::{CACHE_BYTES, CONGESTED_BYTES, Pages};
pub use rows::Rows;
pub use sqlite::SqliteCatalogue;

use sanbench_array::JournalDefects;

/// Planted defects: each must be seen by the tests of this crate. The default keeps what is promised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defects {
    /// Answers go out when their commit begins instead of when it is over.
    pub answers_before_commit: bool,
    /// The catalogue is committed before the pages that it names are durable.
    pub catalogue_before_pages: bool,
    /// A place that a snapshot or the state on disk still needs is used again at once.
    pub places_reused_early: bool,
    /// What is read is given out without a look at its checksum.
    pub checksums_ignored: bool,
    /// Those that the array plants itself.
    pub journal: JournalDefects,
}

impl Defects {
    /// Every switch: name, catalogue id or the requirement that it breaks, what it does.
    pub const ALL: &'static [(&'static str, &'static str, &'static str)] = &[
        ("answers_before_commit", "DUR-004", "answers go out before what they acknowledge is durable"),
        ("catalogue_before_pages", "DUR-001", "the catalogue names pages that are not durable yet"),
        ("places_reused_early", "DUR-010", "a place that the state on disk still needs is used again"),
        ("checksums_ignored", "D24", "rotten content is given out as good"),
        ("map_update_forgotten", "DUR-010", "a changed extent map is not written"),
        ("counters_go_back", "CRE-012", "ids and WWNs of deleted objects are given again after a restart"),
    ];

    /// Switches on the defect called `name`; false if there is none of that name.
    pub fn set(&mut self, name: &str) -> bool {
        let switch = match name {
            "answers_before_commit" => &mut self.answers_before_commit,
            "catalogue_before_pages" => &mut self.catalogue_before_pages,
            "places_reused_early" => &mut self.places_reused_early,
            "checksums_ignored" => &mut self.checksums_ignored,
            "map_update_forgotten" => &mut self.journal.map_update_forgotten,
            "counters_go_back" => &mut self.journal.counters_go_back,
            _ => return false,
        };
        *switch = true;
        true
    }
}
