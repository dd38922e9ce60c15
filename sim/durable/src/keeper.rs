//! The order of a commit, without threads: take, write, sync, commit, settle.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use sanbench_array::{Array, Changes, MEDIUM_PAGE, SavedObject};
use thiserror::Error;

use crate::Defects;
use crate::disk::{Catalogue, CatalogueError, Commit, PageFile};
use crate::pages::Pages;

/// Longest single write to the page file, in pages.
const LONGEST_WRITE: usize = 256;
/// The kind of object that says how late it is. It alone is no reason for a commit.
const CLOCK: &str = "clock";

/// Changes and pages of one commit.
#[derive(Debug)]
pub struct Batch {
    changes: Changes,
    pages: Vec<(u32, Bytes)>,
    /// Places that the state before this commit needs, and this one not.
    free: Vec<u32>,
}

impl Batch {
    /// Promises that are kept once the batch is committed.
    pub fn promises(&self) -> u64 {
        self.changes.promises
    }
    /// Pages that it writes.
    pub fn pages(&self) -> u64 {
        self.pages.len() as u64
    }
}

/// A commit failed: the keeper must not be used any more, and what was promised since the last commit is not kept.
#[derive(Debug, Error)]
pub enum CommitError {
    /// The page file.
    #[error("cannot write the pages: {0}")]
    Pages(#[source] io::Error),
    /// The catalogue.
    #[error("cannot commit the catalogue: {0}")]
    Catalogue(#[source] CatalogueError),
}

/// Commits batches, one after the other.
pub struct Keeper {
    file: Arc<dyn PageFile>,
    pages: Arc<Pages>,
    catalogue: Box<dyn Catalogue>,
    /// What each object was when it was committed last.
    seen: BTreeMap<(String, String), u64>,
    digest: u64,
    starved: bool,
    defects: Defects,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("objects", &self.seen.len())
            .field("starved", &self.starved)
            .finish_non_exhaustive()
    }
}

/// A digest of one object. Digests of a set of objects are joined by exclusive or.
pub(crate) fn digest(kind: &str, key: &str, value: &[u8]) -> u64 {
    // Keyed with zeros by its contract: the same in every process.
    let mut hasher = DefaultHasher::new();
    (kind, key, value).hash(&mut hasher);
    hasher.finish()
}

impl Keeper {
    /// A keeper whose catalogue holds `objects`.
    pub fn new(
        file: Arc<dyn PageFile>,
        pages: Arc<Pages>,
        catalogue: Box<dyn Catalogue>,
        objects: &[SavedObject],
        defects: Defects,
    ) -> Keeper {
        let seen: BTreeMap<_, _> = objects
            .iter()
            .map(|object| {
                let sum = digest(&object.kind, &object.key, &object.value);
                ((object.kind.clone(), object.key.clone()), sum)
            })
            .collect();
        let digest = seen.values().fold(0, |all, one| all ^ one);
        Keeper { file, pages, catalogue, seen, digest, starved: false, defects }
    }

    /// The pages that it commits.
    pub fn pages(&self) -> &Arc<Pages> {
        &self.pages
    }

    /// Planted: answers go out when their commit begins.
    pub fn answers_early(&self) -> bool {
        self.defects.answers_before_commit
    }

    /// Takes what has changed. Call it under the array's lock; the rest needs none.
    pub fn collect(&self, array: &mut Array) -> Batch {
        let changes = array.take_changes();
        let (pages, free) = self.pages.seal();
        Batch { changes, pages, free }
    }

    /// Makes a batch durable; answers whether there was anything to write.
    ///
    /// # Errors
    /// It is not, or nobody knows: this is the end of the keeper.
    pub fn commit(&mut self, batch: Batch) -> Result<bool, CommitError> {
        let Batch { mut changes, pages, free } = batch;
        let digest = self.forget_equal(&mut changes);
        let only_time = changes.objects.iter().all(|object| object.kind == CLOCK);
        let graph = changes.nodes.len()
            + changes.extents.len()
            + changes.nodes_gone.len()
            + changes.extents_gone.len();
        if only_time && graph == 0 && pages.is_empty() && free.is_empty() {
            return Ok(false);
        }
        if self.defects.catalogue_before_pages {
            self.note_sums(&pages);
            self.commit_catalogue(&changes, digest)?;
            self.write_pages(&pages)?;
        } else {
            self.note_sums(&pages);
            self.write_pages(&pages)?;
            self.commit_catalogue(&changes, digest)?;
        }
        for object in changes.objects {
            let key = (object.kind.to_owned(), object.key);
            match object.value {
                Some(value) => drop(self.seen.insert(key.clone(), digest_of(&key, &value))),
                None => drop(self.seen.remove(&key)),
            }
        }
        self.digest = digest;
        self.pages.settle(&free);
        self.pages.grow_ahead().map_err(CommitError::Pages)?;
        Ok(true)
    }

    /// Drops objects that are as they were; answers the digest of all objects with the rest.
    fn forget_equal(&self, changes: &mut Changes) -> u64 {
        let mut all = self.digest;
        changes.objects.retain(|object| {
            let before = self.seen.get(&(object.kind.to_owned(), object.key.clone())).copied();
            let after = object.value.as_deref().map(|value| digest(object.kind, &object.key, value));
            all ^= before.unwrap_or(0) ^ after.unwrap_or(0);
            before != after
        });
        all
    }

    fn note_sums(&self, pages: &[(u32, Bytes)]) {
        self.pages.note_sums(pages.iter().map(|(place, page)| (*place, crc_fast::crc32_iscsi(page))));
    }

    fn write_pages(&self, pages: &[(u32, Bytes)]) -> Result<(), CommitError> {
        let Some((last, _)) = pages.last() else { return Ok(()) };
        if *last >= self.file.pages() {
            self.file.grow(last + 1).map_err(CommitError::Pages)?;
        }
        let mut buffer = Vec::new();
        let mut rest = pages;
        while let Some((first, _)) = rest.first() {
            let run =
                (0..rest.len().min(LONGEST_WRITE)).take_while(|n| rest[*n].0 == first + *n as u32).count();
            buffer.clear();
            buffer.reserve(run * MEDIUM_PAGE);
            rest[..run].iter().for_each(|(_, page)| buffer.extend_from_slice(page));
            self.file.write(*first, &buffer).map_err(CommitError::Pages)?;
            rest = &rest[run..];
        }
        self.file.sync().map_err(CommitError::Pages)
    }

    fn commit_catalogue(&mut self, changes: &Changes, digest: u64) -> Result<(), CommitError> {
        let sums: Vec<_> = changes.extents.iter().map(|extent| self.pages.sums(&extent.places)).collect();
        let commit = Commit { changes, sums: &sums, digest };
        let mut done = self.catalogue.commit(commit);
        if matches!(done, Err(CatalogueError::Full)) && self.catalogue.give_up_ballast() {
            self.starved = true;
            self.pages.set_starved(true);
            done = self.catalogue.commit(commit);
        } else if self.starved && self.catalogue.regain_ballast() {
            self.starved = false;
            self.pages.set_starved(false);
        }
        done.map_err(CommitError::Catalogue)
    }
}

fn digest_of((kind, key): &(String, String), value: &[u8]) -> u64 {
    digest(kind, key, value)
}
