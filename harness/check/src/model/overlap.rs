//! Operations that are under way at the same time.
//!
//! What may meet others is told twice: when it begins, against a ticket, and when it ends. In between
//! - a read may see the old or the new content of a block that is being written; once one has seen the new content, reads
//!   that begin later see nothing older (each block is a linearizable register);
//! - of writes that overlap in time and in blocks any may be the last one, and the first quiet read decides;
//! - a snapshot or clone holds the source as it was at some instant, so each block of a write that it met is old or new;
//! - a flush vouches for what was acknowledged before it began;
//! - a power loss leaves what it met in doubt.

use std::ops::Range;

use sanbench_api::{SnapshotId, VolumeId};

use super::blame::{self, Wrong, role, write_up};
use super::data::{
    Certainty, DataModel, Fit, MOST_ALTERNATIVES, ModelError, Origin, Subject, Unsynced, View,
};
use super::runs::{Cell, Stack};
use crate::stamp::{BLOCK, Stamp};
use crate::verdict::Finding;

/// An operation that has begun and not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "what has begun must end or be cancelled"]
pub struct Ticket(u64);

/// One operation under way.
#[derive(Debug)]
pub(super) struct Flight {
    subject: Subject,
    what: What,
}

#[derive(Debug)]
enum What {
    Change {
        range: Range<u64>,
        cell: Cell,
        /// The view holds it as a possibility already.
        shown: bool,
        /// Changes that it met, in time and in blocks.
        rivals: Vec<(Range<u64>, Cell)>,
        /// The array lost power meanwhile.
        crossed: bool,
    },
    Read {
        /// What blocks held at some time since it began.
        others: Vec<(Range<u64>, Cell)>,
    },
    Copy(Box<View>),
    Flush {
        /// The last change that had been acknowledged when it began.
        upto: u64,
        crossed: bool,
    },
}

impl DataModel {
    fn take_off(&mut self, subject: Subject, what: What) -> Ticket {
        self.tickets += 1;
        self.flights.insert(self.tickets, Flight { subject, what });
        Ticket(self.tickets)
    }

    /// Shows changes under way as possibilities, now that somebody looks.
    fn show(&mut self, subject: Subject) -> Result<(), ModelError> {
        let hidden: Vec<(Range<u64>, Cell)> = self
            .flights
            .values_mut()
            .filter(|flight| flight.subject == subject)
            .filter_map(|flight| match &mut flight.what {
                What::Change { range, cell, shown, .. } => {
                    (!std::mem::replace(shown, true)).then(|| (range.clone(), cell.clone()))
                }
                _ => None,
            })
            .collect();
        let Subject::Volume(volume) = subject else { return Ok(()) };
        for (range, cell) in hidden {
            self.change_content(volume, range, &cell, Certainty::Unknown)?;
        }
        Ok(())
    }

    /// Reads and copies under way learn of a change before it is made.
    pub(super) fn witness(
        &mut self,
        volume: VolumeId,
        range: &Range<u64>,
        cell: &Cell,
    ) -> Result<(), ModelError> {
        let subject = Subject::Volume(volume);
        if !self.flights.values().any(|f| f.subject == subject && !matches!(f.what, What::Change { .. })) {
            return Ok(());
        }
        let before = self.view(subject)?.stack.look(range.clone());
        let (volatile, order) = (self.volatile, self.changes + 1);
        for flight in self.flights.values_mut().filter(|f| f.subject == subject) {
            match &mut flight.what {
                What::Read { others } => others.extend(before.iter().cloned()),
                What::Copy(copy) => {
                    let part = range.start..range.end.min(copy.blocks);
                    if part.is_empty() {
                        continue;
                    }
                    for (part, old) in copy.stack.look(part) {
                        if volatile {
                            copy.unsynced.push(Unsynced { order, range: part.clone(), old: old.clone() });
                        }
                        copy.stack.set(part, old.or(cell, MOST_ALTERNATIVES));
                    }
                }
                What::Change { .. } | What::Flush { .. } => {}
            }
        }
        Ok(())
    }

    fn begin_change(
        &mut self,
        volume: VolumeId,
        range: Range<u64>,
        cell: Cell,
    ) -> Result<Ticket, ModelError> {
        let subject = Subject::Volume(volume);
        self.in_range(subject, range.clone())?;
        self.show(subject)?;
        let mut rivals = Vec::new();
        let mut alone = true;
        for flight in self.flights.values_mut().filter(|f| f.subject == subject) {
            alone = false;
            if let What::Change { range: theirs, cell: other, rivals: met, .. } = &mut flight.what {
                let common = theirs.start.max(range.start)..theirs.end.min(range.end);
                if !common.is_empty() {
                    met.push((common.clone(), cell.clone()));
                    rivals.push((common, other.clone()));
                }
            }
        }
        let ticket =
            self.take_off(subject, What::Change { range, cell, shown: false, rivals, crossed: false });
        if !alone {
            self.show(subject)?;
        }
        Ok(ticket)
    }

    /// Blocks that are about to be written with this stamp.
    ///
    /// # Errors
    /// The volume is unknown or the range lies outside.
    pub fn begin_write(&mut self, stamp: &Stamp, blocks: u64) -> Result<Ticket, ModelError> {
        let range = stamp.lba..stamp.lba.saturating_add(blocks);
        self.seq = self.seq.max(stamp.seq);
        let cell = Cell::Stamped { volume: stamp.volume, seq: stamp.seq, writer: stamp.writer };
        self.begin_change(stamp.volume, range, cell)
    }

    /// Blocks that are about to be unmapped.
    ///
    /// # Errors
    /// The volume is unknown or the range lies outside.
    pub fn begin_unmap(&mut self, volume: VolumeId, lba: u64, blocks: u64) -> Result<Ticket, ModelError> {
        self.begin_change(volume, lba..lba.saturating_add(blocks), Cell::Zero)
    }

    /// A write or unmap has ended: acknowledged, or failed, with its effect still possible.
    ///
    /// # Errors
    /// The range lies outside by now. A volume that is gone meanwhile is no error.
    pub fn end_change(&mut self, ticket: Ticket, certainty: Certainty) -> Result<(), ModelError> {
        let Some(Flight { subject, what }) = self.flights.remove(&ticket.0) else { return Ok(()) };
        let (Subject::Volume(volume), What::Change { range, cell, shown, rivals, crossed }) = (subject, what)
        else {
            return Ok(());
        };
        if !self.views.contains_key(&subject) {
            return Ok(());
        }
        let lost = crossed && self.volatile;
        let certainty = if lost { Certainty::Unknown } else { certainty };
        if shown && certainty == Certainty::Unknown {
            // It may have been overwritten by one that it met, or not.
            self.change_content(volume, range.clone(), &cell, Certainty::Unknown)?;
        } else {
            self.change_content(volume, range.clone(), &cell, certainty)?;
        }
        for (part, rival) in rivals {
            self.change_content(volume, part, &rival, Certainty::Unknown)?;
        }
        if cell == Cell::Zero {
            self.view_mut(subject)?.unmapped.push(range);
        }
        Ok(())
    }

    /// A read is about to be issued.
    ///
    /// # Errors
    /// The subject is unknown.
    pub fn begin_read(&mut self, subject: impl Into<Subject>) -> Result<Ticket, ModelError> {
        let subject = subject.into();
        self.view(subject)?;
        self.show(subject)?;
        Ok(self.take_off(subject, What::Read { others: Vec::new() }))
    }

    /// Judges what a read has given, see [`DataModel::check_read`]. Blocks that were being changed may hold any of what
    /// they held since the read began. Of those that a single change was at work on, the read decides: it has seen that
    /// change, so nobody sees the content before it any more. Changes that met each other stay undecided, as a host may
    /// have sent one again after the other.
    ///
    /// # Errors
    /// The range lies outside. A subject that is gone meanwhile is no error.
    pub fn end_read(&mut self, ticket: Ticket, lba: u64, data: &[u8]) -> Result<Vec<Finding>, ModelError> {
        let Some(Flight { subject, what: What::Read { others } }) = self.flights.remove(&ticket.0) else {
            return Ok(Vec::new());
        };
        if !self.views.contains_key(&subject) {
            return Ok(Vec::new());
        }
        let changing =
            self.flights.values().any(|f| f.subject == subject && matches!(f.what, What::Change { .. }));
        if others.is_empty() && !changing {
            return self.check_read(subject, lba, data);
        }
        let range = lba..lba.saturating_add((data.len() / BLOCK) as u64);
        self.in_range(subject, range.clone())?;
        if !data.len().is_multiple_of(BLOCK) {
            let finding = Finding::new("DAT-008", blame::CHECKER, role(subject), "length")
                .says(format!("a read of {subject} at LBA {lba} answered part of a block"))
                .compared("whole blocks of 512 bytes", format!("{} bytes", data.len()));
            return Ok(vec![finding]);
        }
        let mut wrong: Vec<Wrong> = Vec::new();
        let mut seen: Vec<(Range<u64>, Cell)> = Vec::new();
        for (run, cell) in self.view(subject)?.stack.look(range) {
            for at in run {
                let mut legal = cell.clone();
                for (_, other) in others.iter().filter(|(part, _)| part.contains(&at)) {
                    legal = legal.or(other, MOST_ALTERNATIVES);
                }
                let index = (at - lba) as usize * BLOCK;
                let block = &data[index..index + BLOCK];
                if legal == Cell::Anything {
                    self.undecided += 1;
                    continue;
                }
                self.compared += 1;
                if matches!(self.fits(&legal, at, block), Fit::No) {
                    wrong.extend(self.name(subject, &legal, at, block));
                } else if let Some(new) = self.only_change(subject, at)
                    && *new != cell
                    && matches!(self.fits(new, at, block), Fit::Yes)
                {
                    match seen.last_mut() {
                        Some((run, last)) if run.end == at && last == new => run.end = at + 1,
                        _ => seen.push((at..at + 1, new.clone())),
                    }
                }
            }
        }
        for (blocks, new) in seen {
            self.has_been_seen(subject, blocks, new)?;
        }
        Ok(write_up(subject, wrong))
    }

    /// What the only change that is under way at a block makes of it; none where there is none, or where several met.
    fn only_change(&self, subject: Subject, at: u64) -> Option<&Cell> {
        let mut there =
            self.flights.values().filter(|f| f.subject == subject).filter_map(|f| match &f.what {
                What::Change { range, cell, rivals, .. } if range.contains(&at) => Some((cell, rivals)),
                _ => None,
            });
        let (cell, rivals) = there.next()?;
        let alone = there.next().is_none() && !rivals.iter().any(|(part, _)| part.contains(&at));
        alone.then_some(cell)
    }

    /// A change under way has been seen: what was there before is gone, but for reads that have begun already.
    fn has_been_seen(&mut self, subject: Subject, blocks: Range<u64>, new: Cell) -> Result<(), ModelError> {
        let before = self.view(subject)?.stack.look(blocks.clone());
        for flight in self.flights.values_mut().filter(|f| f.subject == subject) {
            if let What::Read { others } = &mut flight.what {
                others.extend(before.iter().cloned());
            }
        }
        self.view_mut(subject)?.stack.set(blocks, new);
        Ok(())
    }

    /// A snapshot or clone of the subject is about to be taken.
    ///
    /// # Errors
    /// The subject is unknown.
    pub fn begin_copy(&mut self, source: impl Into<Subject>) -> Result<Ticket, ModelError> {
        let source = source.into();
        self.show(source)?;
        let seq = self.seq;
        let from = self.view_mut(source)?;
        let copy = View {
            stack: from.stack.share(),
            blocks: from.blocks,
            origin: Origin::Snapshot,
            inherited: from.blocks,
            born: from.blocks,
            born_seq: seq,
            change: None,
            unmapped: from.unmapped.clone(),
            owner: from.owner,
            sources: from.sources.clone(),
            unsynced: from.unsynced.clone(),
            durable: from.durable,
        };
        Ok(self.take_off(source, What::Copy(Box::new(copy))))
    }

    fn landed(&mut self, ticket: Ticket) -> Option<(Subject, View)> {
        match self.flights.remove(&ticket.0) {
            Some(Flight { subject, what: What::Copy(copy) }) => Some((subject, *copy)),
            _ => None,
        }
    }

    /// The snapshot is taken.
    ///
    /// # Errors
    /// It exists.
    pub fn end_snapshot(&mut self, ticket: Ticket, snapshot: SnapshotId) -> Result<(), ModelError> {
        let Some((_, mut view)) = self.landed(ticket) else { return Ok(()) };
        view.born_seq = self.seq;
        self.insert(snapshot.into(), view)
    }

    /// The clone is made, `blocks` large: zero beyond the source's end.
    ///
    /// # Errors
    /// It exists.
    pub fn end_clone(&mut self, ticket: Ticket, volume: VolumeId, blocks: u64) -> Result<(), ModelError> {
        let Some((source, copy)) = self.landed(ticket) else { return Ok(()) };
        let owner = copy.owner;
        let mut sources = vec![owner];
        sources.extend(&copy.sources);
        let mut stack: Stack = copy.stack;
        // Should it be smaller, a later extend must not bring the source's tail back.
        stack.set(blocks..copy.blocks.max(blocks), Cell::Zero);
        let view = View {
            stack,
            blocks,
            origin: if matches!(source, Subject::Volume(_)) { Origin::Clone } else { Origin::FromSnapshot },
            inherited: copy.blocks.min(blocks),
            born: blocks,
            born_seq: self.seq,
            change: None,
            unmapped: Vec::new(),
            owner: volume,
            sources,
            unsynced: copy.unsynced,
            durable: copy.durable,
        };
        self.insert(volume.into(), view)?;
        self.parents.insert(volume, owner);
        Ok(())
    }

    /// A flush is about to be issued.
    ///
    /// # Errors
    /// The volume is unknown.
    pub fn begin_flush(&mut self, volume: VolumeId) -> Result<Ticket, ModelError> {
        self.view(volume.into())?;
        let upto = self.changes;
        Ok(self.take_off(volume.into(), What::Flush { upto, crossed: false }))
    }

    /// The flush is acknowledged: what was acknowledged before it began is durable, because of `requirement`.
    ///
    /// # Errors
    /// None today; a volume that is gone meanwhile is no error.
    pub fn end_flush(&mut self, ticket: Ticket, requirement: &'static str) -> Result<(), ModelError> {
        let Some(Flight { subject, what: What::Flush { upto, crossed } }) = self.flights.remove(&ticket.0)
        else {
            return Ok(());
        };
        let Some(view) = self.views.get_mut(&subject).filter(|_| !crossed) else { return Ok(()) };
        view.unsynced.retain(|change| change.order > upto);
        if view.durable.is_some() && view.unsynced.is_empty() {
            view.durable = Some(requirement);
        }
        Ok(())
    }

    /// What began has come to nothing that the model must know.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.flights.remove(&ticket.0);
    }

    /// Everything under way meets a power loss.
    pub(super) fn cross_power_loss(&mut self) {
        let subjects: Vec<Subject> = self.flights.values().map(|f| f.subject).collect();
        for subject in subjects {
            // A subject that is gone has nothing to show.
            let _ = self.show(subject);
        }
        for flight in self.flights.values_mut() {
            match &mut flight.what {
                What::Change { crossed, .. } | What::Flush { crossed, .. } => *crossed = true,
                What::Read { .. } | What::Copy(_) => {}
            }
        }
    }
}
