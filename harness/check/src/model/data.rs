//! What every block of every volume and snapshot must hold.
//!
//! The model is told each operation *once it is answered* (and also when it begins, where others may be under way: see
//! `overlap`) and is asked about each read. It knows nothing of the array: content follows from operations and answers alone.
//!
//! Snapshots and clones share frozen layers, so that they cost the same at any size. A write whose outcome is unknown
//! leaves both contents possible until a read decides.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use sanbench_api::{SnapshotId, VolumeId};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::blame::{self, Wrong, role, write_up};
use super::overlap::Flight;
use super::runs::{Cell, Stack};
use crate::stamp::{self, BLOCK, Expected, Relation, RunTag, Stamp};
use crate::verdict::Finding;

/// Possible contents of one block before the model gives up on it.
pub(super) const MOST_ALTERNATIVES: usize = 64;

/// A volume or a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A volume.
    Volume(VolumeId),
    /// A snapshot.
    Snapshot(SnapshotId),
}

impl From<VolumeId> for Subject {
    fn from(id: VolumeId) -> Self {
        Self::Volume(id)
    }
}

impl From<SnapshotId> for Subject {
    fn from(id: SnapshotId) -> Self {
        Self::Snapshot(id)
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Volume(id) => write!(f, "volume {id}"),
            Self::Snapshot(id) => write!(f, "snapshot {id}"),
        }
    }
}

/// What an image holds, by digest of each 512-byte block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageDigests {
    /// Bytes of raw content; the last block is padded with zeroes.
    pub virtual_size: u64,
    /// Byte offset of each block that is not all zeroes, and the first 16 bytes of its SHA-256.
    pub blocks: BTreeMap<u64, [u8; 16]>,
}

impl ImageDigests {
    /// Digests of raw content.
    #[must_use]
    pub fn of_raw(raw: &[u8]) -> Self {
        let mut blocks = BTreeMap::new();
        for (index, piece) in raw.chunks(BLOCK).enumerate() {
            if !stamp::is_zero(piece) {
                let mut block = [0; BLOCK];
                block[..piece.len()].copy_from_slice(piece);
                blocks.insert((index * BLOCK) as u64, digest(&block));
            }
        }
        Self { virtual_size: raw.len() as u64, blocks }
    }

    fn blocks_covered(&self) -> u64 {
        self.virtual_size.div_ceil(BLOCK as u64)
    }
}

fn digest(block: &[u8]) -> [u8; 16] {
    let full = Sha256::digest(block);
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    short
}

/// Why the model cannot take an operation: the caller's mistake, never the array's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// Never created, or deleted.
    #[error("the model has no {0}")]
    Unknown(Subject),
    /// Created before.
    #[error("the model already has {0}")]
    Exists(Subject),
    /// Blocks outside.
    #[error("blocks {start}..{end} are outside {subject} of {blocks} blocks")]
    OutOfRange {
        /// What was addressed.
        subject: Subject,
        /// First block.
        start: u64,
        /// Block after the last one.
        end: u64,
        /// Size in blocks.
        blocks: u64,
    },
    /// The operation changes content, and this is a snapshot.
    #[error("{0} cannot be written")]
    ReadOnly(Subject),
}

/// Whether an operation was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// It was.
    Done,
    /// It is under way, or its answer was lost: old and new are both possible.
    Unknown,
}

/// How a view came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Empty.
    Blank,
    /// Cloned from a volume.
    Clone,
    /// Made from a snapshot.
    FromSnapshot,
    /// It is a snapshot.
    Snapshot,
}

/// The latest control operation on a view; a wrong block found after it is charged to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Extend,
    Flatten,
    Image,
    /// It was put back to a snapshot.
    PutBack,
    /// The array lost power; the requirement is the one under which its content was durable.
    PowerLoss(&'static str),
}

/// One volume or snapshot.
#[derive(Debug)]
pub(super) struct View {
    pub(super) stack: Stack,
    pub(super) blocks: u64,
    pub(super) origin: Origin,
    /// Blocks that were taken over from the source.
    pub(super) inherited: u64,
    /// Blocks at creation; what lies beyond came by extending.
    pub(super) born: u64,
    /// Sequence number at creation: what is newer can only be written to the view itself.
    pub(super) born_seq: u64,
    pub(super) change: Option<Change>,
    /// Ranges that were unmapped and not written since are zero for that reason; kept as told, for neighbourhood.
    pub(super) unmapped: Vec<Range<u64>>,
    /// The volume whose stamps are its own.
    pub(super) owner: VolumeId,
    /// Volumes that it descends from, nearest first.
    pub(super) sources: Vec<VolumeId>,
    /// What blocks held before each change since the last flush, while the array's cache is volatile.
    pub(super) unsynced: Vec<Unsynced>,
    /// The requirement under which its content is durable; nothing before its first change.
    pub(super) durable: Option<&'static str>,
}

/// A change that is not durable yet.
#[derive(Debug, Clone)]
pub(super) struct Unsynced {
    /// Place in the order of all changes.
    pub(super) order: u64,
    pub(super) range: Range<u64>,
    /// What was there before.
    pub(super) old: Cell,
}

impl View {
    /// Nothing but holes, which stamps of `owner` will fill.
    pub(super) fn blank(owner: VolumeId, blocks: u64, born_seq: u64) -> Self {
        Self {
            stack: Stack::default(),
            blocks,
            origin: Origin::Blank,
            inherited: 0,
            born: blocks,
            born_seq,
            change: None,
            unmapped: Vec::new(),
            owner,
            sources: Vec::new(),
            unsynced: Vec::new(),
            durable: None,
        }
    }

    /// The block was taken over from the source and not written since.
    pub(super) fn inherits(&self, expected: &Expected, lba: u64) -> bool {
        match expected {
            Expected::Stamp(stamp) => stamp.volume != self.owner,
            _ => !self.stack.is_own(lba),
        }
    }
}

/// The model of all contents of a run.
#[derive(Debug)]
pub struct DataModel {
    run: RunTag,
    pub(super) seq: u64,
    pub(super) views: BTreeMap<Subject, View>,
    deleted: BTreeSet<VolumeId>,
    /// Direct source of each volume ever made, for telling a clone's write.
    pub(super) parents: BTreeMap<VolumeId, VolumeId>,
    pub(super) compared: u64,
    pub(super) undecided: u64,
    pub(super) volatile: bool,
    /// Counts changes of content.
    pub(super) changes: u64,
    /// What has begun and not ended.
    pub(super) flights: BTreeMap<u64, Flight>,
    pub(super) tickets: u64,
}

impl DataModel {
    /// The model of a run that has made nothing yet.
    #[must_use]
    pub fn new(run: RunTag) -> Self {
        Self {
            run,
            seq: 0,
            views: BTreeMap::new(),
            deleted: BTreeSet::new(),
            parents: BTreeMap::new(),
            compared: 0,
            undecided: 0,
            volatile: false,
            changes: 0,
            flights: BTreeMap::new(),
            tickets: 0,
        }
    }

    /// Whether acknowledged writes may be lost with the array's power until they are flushed (WCE).
    pub fn set_volatile(&mut self, volatile: bool) {
        self.volatile = volatile;
    }

    /// All that was written to the volume before is durable from now on, because of `requirement`: a flush was
    /// acknowledged, or something ended that must flush.
    ///
    /// # Errors
    /// The volume is unknown.
    pub fn flush(&mut self, volume: VolumeId, requirement: &'static str) -> Result<(), ModelError> {
        let view = self.view_mut(volume.into())?;
        view.unsynced.clear();
        if view.durable.is_some() {
            view.durable = Some(requirement);
        }
        Ok(())
    }

    /// The array lost its power. Blocks that were changed since the last flush hold what they held at that time, or any
    /// of what they were given since. Gives the requirements that the next right reading of each volume upholds.
    pub fn power_loss(&mut self) -> Vec<(VolumeId, Vec<&'static str>)> {
        self.cross_power_loss();
        let mut upheld = Vec::new();
        for (subject, view) in &mut self.views {
            let Some(durable) = view.durable else { continue };
            let unsynced = std::mem::take(&mut view.unsynced);
            let mut ids = vec![durable];
            if !unsynced.is_empty() {
                ids.push("DUR-002");
            }
            for Unsynced { range, old, .. } in unsynced {
                for (part, now) in view.stack.look(range) {
                    view.stack.set(part, now.or(&old, MOST_ALTERNATIVES));
                }
            }
            view.change = Some(Change::PowerLoss(durable));
            if let Subject::Volume(id) = subject {
                upheld.push((*id, ids));
            }
        }
        upheld
    }

    /// The stamp for the next write: give it to [`Stamp::fill`] and then to [`DataModel::write`].
    pub fn next_stamp(&mut self, volume: VolumeId, lba: u64, writer: u32) -> Stamp {
        self.seq += 1;
        Stamp { run: self.run, volume, lba, seq: self.seq, writer }
    }

    /// A new empty volume.
    ///
    /// # Errors
    /// It exists.
    pub fn create(&mut self, volume: VolumeId, blocks: u64) -> Result<(), ModelError> {
        self.insert(volume.into(), View::blank(volume, blocks, self.seq))
    }

    /// A snapshot of a volume, as of now.
    ///
    /// # Errors
    /// The volume is unknown or the snapshot exists.
    pub fn snapshot(&mut self, snapshot: SnapshotId, volume: VolumeId) -> Result<(), ModelError> {
        let ticket = self.begin_copy(volume)?;
        self.end_snapshot(ticket, snapshot)
    }

    /// A volume with the content of another volume or of a snapshot, as of now, zero beyond the source's end.
    ///
    /// # Errors
    /// The source is unknown or the volume exists.
    pub fn clone_from(
        &mut self,
        volume: VolumeId,
        source: impl Into<Subject>,
        blocks: u64,
    ) -> Result<(), ModelError> {
        let ticket = self.begin_copy(source)?;
        self.end_clone(ticket, volume, blocks)
    }

    /// Blocks written with this stamp while nothing else was going on; else see [`DataModel::begin_write`].
    ///
    /// # Errors
    /// The volume is unknown or the range lies outside.
    pub fn write(&mut self, stamp: &Stamp, blocks: u64, certainty: Certainty) -> Result<(), ModelError> {
        let range = stamp.lba..stamp.lba.saturating_add(blocks);
        let cell = Cell::Stamped { volume: stamp.volume, seq: stamp.seq, writer: stamp.writer };
        self.seq = self.seq.max(stamp.seq);
        self.change_content(stamp.volume, range, &cell, certainty)
    }

    /// Blocks that must read as zeroes from now on (UNMAP with LBPRZ, WRITE SAME of zeroes).
    ///
    /// # Errors
    /// The volume is unknown or the range lies outside.
    pub fn unmap(
        &mut self,
        volume: VolumeId,
        lba: u64,
        blocks: u64,
        certainty: Certainty,
    ) -> Result<(), ModelError> {
        let range = lba..lba.saturating_add(blocks);
        self.change_content(volume, range.clone(), &Cell::Zero, certainty)?;
        let view = self.view_mut(volume.into())?;
        view.unmapped.push(range);
        Ok(())
    }

    /// An image written from the first block on; what lies behind its end stays as it was.
    ///
    /// # Errors
    /// The volume is unknown or smaller than the image.
    pub fn write_image(
        &mut self,
        volume: VolumeId,
        image: &Arc<ImageDigests>,
        certainty: Certainty,
    ) -> Result<(), ModelError> {
        let cell = Cell::Image(Arc::clone(image));
        self.change_content(volume, 0..image.blocks_covered(), &cell, certainty)?;
        self.view_mut(volume.into())?.change = Some(Change::Image);
        Ok(())
    }

    /// The volume grew to `blocks` blocks; a smaller number changes nothing (that is the control model's affair).
    ///
    /// # Errors
    /// The volume is unknown.
    pub fn extend(&mut self, volume: VolumeId, blocks: u64) -> Result<(), ModelError> {
        let view = self.view_mut(volume.into())?;
        view.blocks = view.blocks.max(blocks);
        view.change = Some(Change::Extend);
        Ok(())
    }

    /// The volume was flattened: no content changes, but what is wrong from now on is charged to it.
    ///
    /// # Errors
    /// The volume is unknown.
    pub fn flatten(&mut self, volume: VolumeId) -> Result<(), ModelError> {
        self.view_mut(volume.into())?.change = Some(Change::Flatten);
        Ok(())
    }

    /// The subject was read right as a whole: a fault found later has a later cause.
    ///
    /// # Errors
    /// The subject is unknown.
    pub fn verified(&mut self, subject: impl Into<Subject>) -> Result<(), ModelError> {
        self.view_mut(subject.into())?.change = None;
        Ok(())
    }

    /// The subject is gone; volumes and snapshots made from it keep their content.
    ///
    /// # Errors
    /// The subject is unknown.
    pub fn delete(&mut self, subject: impl Into<Subject>) -> Result<(), ModelError> {
        let subject = subject.into();
        self.views.remove(&subject).ok_or(ModelError::Unknown(subject))?;
        if let Subject::Volume(id) = subject {
            self.deleted.insert(id);
        }
        Ok(())
    }

    /// Size in blocks.
    ///
    /// # Errors
    /// The subject is unknown.
    pub fn blocks(&self, subject: impl Into<Subject>) -> Result<u64, ModelError> {
        self.view(subject.into()).map(|view| view.blocks)
    }

    /// What one block must hold; `None` when nothing can be said.
    ///
    /// # Errors
    /// The subject is unknown or the block lies outside.
    pub fn expected(&self, subject: impl Into<Subject>, lba: u64) -> Result<Option<Expected>, ModelError> {
        let subject = subject.into();
        self.in_range(subject, lba..lba.saturating_add(1))?;
        let cell = self.view(subject)?.stack.look(lba..lba + 1).swap_remove(0).1;
        Ok(self.expectation(&cell, lba))
    }

    /// Judges what was read from `lba` on. Where several contents were possible, the one that is observed becomes the
    /// only one. A rest shorter than a block is a finding.
    ///
    /// # Errors
    /// The subject is unknown or the range lies outside.
    pub fn check_read(
        &mut self,
        subject: impl Into<Subject>,
        lba: u64,
        data: &[u8],
    ) -> Result<Vec<Finding>, ModelError> {
        let subject = subject.into();
        let range = lba..lba.saturating_add((data.len() / BLOCK) as u64);
        self.in_range(subject, range.clone())?;
        if !data.len().is_multiple_of(BLOCK) {
            let finding = Finding::new("DAT-008", blame::CHECKER, role(subject), "length")
                .says(format!("a read of {subject} at LBA {lba} answered part of a block"))
                .compared("whole blocks of 512 bytes", format!("{} bytes", data.len()));
            return Ok(vec![finding]);
        }
        let mut wrong = Vec::new();
        let mut decided: Vec<(Range<u64>, Cell)> = Vec::new();
        for (run, cell) in self.view(subject)?.stack.look(range) {
            if cell == Cell::Anything {
                self.undecided += run.end - run.start;
                continue;
            }
            self.compared += run.end - run.start;
            for at in run {
                let index = (at - lba) as usize * BLOCK;
                let block = &data[index..index + BLOCK];
                match self.fits(&cell, at, block) {
                    Fit::Yes => {}
                    Fit::One(cell) => decided.push((at..at + 1, cell)),
                    Fit::No => wrong.extend(self.name(subject, &cell, at, block)),
                }
            }
        }
        let view = self.view_mut(subject)?;
        decided.into_iter().for_each(|(range, cell)| view.stack.set(range, cell));
        Ok(write_up(subject, wrong))
    }

    /// Blocks that were compared, and blocks about which nothing could be said, over the whole run.
    #[must_use]
    pub fn compared(&self) -> (u64, u64) {
        (self.compared, self.undecided)
    }

    pub(super) fn insert(&mut self, subject: Subject, view: View) -> Result<(), ModelError> {
        if self.views.contains_key(&subject) {
            return Err(ModelError::Exists(subject));
        }
        self.views.insert(subject, view);
        Ok(())
    }

    pub(super) fn view(&self, subject: Subject) -> Result<&View, ModelError> {
        self.views.get(&subject).ok_or(ModelError::Unknown(subject))
    }

    pub(super) fn view_mut(&mut self, subject: Subject) -> Result<&mut View, ModelError> {
        self.views.get_mut(&subject).ok_or(ModelError::Unknown(subject))
    }

    pub(super) fn in_range(&self, subject: Subject, range: Range<u64>) -> Result<(), ModelError> {
        let blocks = self.view(subject)?.blocks;
        if range.end <= blocks {
            return Ok(());
        }
        Err(ModelError::OutOfRange { subject, start: range.start, end: range.end, blocks })
    }

    pub(super) fn change_content(
        &mut self,
        volume: VolumeId,
        range: Range<u64>,
        cell: &Cell,
        certainty: Certainty,
    ) -> Result<(), ModelError> {
        self.in_range(volume.into(), range.clone())?;
        self.witness(volume, &range, cell)?;
        self.changes += 1;
        let (volatile, order) = (self.volatile, self.changes);
        let view = self.view_mut(volume.into())?;
        if volatile {
            let before = view.stack.look(range.clone()).into_iter();
            view.unsynced.extend(before.map(|(range, old)| Unsynced { order, range, old }));
        }
        view.durable = Some(if volatile { view.durable.unwrap_or("DUR-002") } else { "DUR-004" });
        match certainty {
            Certainty::Done => view.stack.set(range, cell.clone()),
            Certainty::Unknown => {
                for (part, old) in view.stack.look(range) {
                    view.stack.set(part, old.or(cell, MOST_ALTERNATIVES));
                }
            }
        }
        Ok(())
    }

    pub(super) fn fits(&self, cell: &Cell, lba: u64, block: &[u8]) -> Fit {
        match cell {
            Cell::AnyOf(several) => several
                .iter()
                .find(|one| matches!(self.fits(one, lba, block), Fit::Yes))
                .map_or(Fit::No, |one| Fit::One(one.clone())),
            Cell::Zero => Fit::from(stamp::is_zero(block)),
            Cell::Stamped { volume, seq, writer } => {
                let stamp = Stamp { run: self.run, volume: *volume, lba, seq: *seq, writer: *writer };
                Fit::from(stamp.block() == block)
            }
            Cell::Image(image) => Fit::from(match image.blocks.get(&(lba * BLOCK as u64)) {
                Some(wanted) => digest(block) == *wanted,
                None => stamp::is_zero(block),
            }),
            Cell::Anything => Fit::Yes,
        }
    }

    fn expectation(&self, cell: &Cell, lba: u64) -> Option<Expected> {
        Some(match cell {
            Cell::Anything => return None,
            Cell::Zero => Expected::Zero,
            Cell::Stamped { volume, seq, writer } => {
                Expected::Stamp(Stamp { run: self.run, volume: *volume, lba, seq: *seq, writer: *writer })
            }
            Cell::Image(image) => image
                .blocks
                .get(&(lba * BLOCK as u64))
                .map_or(Expected::Zero, |digest| Expected::Image(*digest)),
            Cell::AnyOf(several) => {
                Expected::AnyOf(several.iter().filter_map(|one| self.expectation(one, lba)).collect())
            }
        })
    }

    pub(super) fn name(&self, subject: Subject, cell: &Cell, lba: u64, block: &[u8]) -> Option<Wrong> {
        let view = self.view(subject).ok()?;
        let expected = self.expectation(cell, lba)?;
        let diagnosis =
            stamp::diagnose(&expected, block, lba, self.run, |volume| self.relation(view, volume));
        let of_image = matches!(cell, Cell::Image(_));
        let requirement = blame::requirement(view, &expected, of_image, &diagnosis, lba);
        Some(Wrong { lba, requirement, diagnosis, expected })
    }

    fn relation(&self, view: &View, volume: VolumeId) -> Relation {
        if volume == view.owner {
            return Relation::Own;
        }
        if view.sources.contains(&volume) {
            return Relation::Source;
        }
        let mut at = volume;
        // A chain is never longer than the number of volumes that have a source.
        for _ in 0..=self.parents.len() {
            match self.parents.get(&at) {
                Some(parent) if *parent == view.owner => return Relation::Clone,
                Some(parent) => at = *parent,
                None => break,
            }
        }
        if self.deleted.contains(&volume) { Relation::Deleted } else { Relation::Stranger }
    }
}

pub(super) enum Fit {
    Yes,
    /// One of several fits, and is the truth from now on.
    One(Cell),
    No,
}

impl From<bool> for Fit {
    fn from(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }
}
