//! Second halves of volumes: what another array must hold of a volume that is mirrored there.
//!
//! A replica is a view of its own. Who plays the story knows which half a change was made on and whether the other one follows
//! just then; the model only keeps what each half holds. Both halves carry the stamps of the one volume that they are.

use std::ops::Range;

use sanbench_api::VolumeId;

use super::data::{Certainty, DataModel, ModelError, Subject, View};
use super::runs::Cell;
use crate::stamp::Stamp;

impl DataModel {
    /// A volume gets a second half, as large and empty as yet.
    ///
    /// # Errors
    /// The volume is unknown or the replica exists.
    pub fn add_replica(&mut self, replica: VolumeId, of: VolumeId) -> Result<(), ModelError> {
        let blocks = self.view(of.into())?.blocks;
        // Stamps of the volume from before there were two halves are the half's own.
        self.insert(replica.into(), View::blank(of, blocks, 0))
    }

    /// A synchronisation has ended: one half holds what the other one does.
    ///
    /// # Errors
    /// One of them is unknown.
    pub fn replicate(&mut self, from: VolumeId, to: VolumeId) -> Result<(), ModelError> {
        let source = self.view_mut(from.into())?;
        let (stack, unmapped) = (source.stack.share(), source.unmapped.clone());
        let half = self.view_mut(to.into())?;
        half.stack = stack;
        half.unmapped = unmapped;
        // An array makes durable what it says to another one.
        half.unsynced.clear();
        Ok(())
    }

    /// What was written with this stamp on one half has reached the other one, or may have.
    ///
    /// # Errors
    /// The half is unknown or the range lies outside.
    pub fn reach(
        &mut self,
        half: VolumeId,
        stamp: &Stamp,
        blocks: u64,
        certainty: Certainty,
    ) -> Result<(), ModelError> {
        let cell = Cell::Stamped { volume: stamp.volume, seq: stamp.seq, writer: stamp.writer };
        self.reach_with(half, stamp.lba..stamp.lba.saturating_add(blocks), &cell, certainty)
    }

    /// As [`DataModel::reach`], for blocks that were unmapped.
    ///
    /// # Errors
    /// The half is unknown or the range lies outside.
    pub fn reach_unmapped(
        &mut self,
        half: VolumeId,
        range: Range<u64>,
        certainty: Certainty,
    ) -> Result<(), ModelError> {
        self.reach_with(half, range.clone(), &Cell::Zero, certainty)?;
        self.view_mut(Subject::Volume(half))?.unmapped.push(range);
        Ok(())
    }

    fn reach_with(
        &mut self,
        half: VolumeId,
        range: Range<u64>,
        cell: &Cell,
        certainty: Certainty,
    ) -> Result<(), ModelError> {
        let before = self.view(half.into())?.unsynced.len();
        self.change_content(half, range, cell, certainty)?;
        self.view_mut(half.into())?.unsynced.truncate(before);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::RunTag;

    fn id(n: u8) -> VolumeId {
        VolumeId::from_random([n; 16])
    }

    fn block(stamp: &Stamp) -> Vec<u8> {
        let mut data = vec![0; 512];
        stamp.fill(&mut data);
        data
    }

    #[test]
    fn a_half_holds_what_has_reached_it_and_nothing_else() {
        let (volume, replica) = (id(1), id(2));
        let mut model = DataModel::new(RunTag(7));
        model.create(volume, 64).unwrap();
        let first = model.next_stamp(volume, 3, 1);
        model.write(&first, 1, Certainty::Done).unwrap();
        model.add_replica(replica, volume).unwrap();
        assert!(model.check_read(replica, 3, &[0; 512]).unwrap().is_empty());
        model.replicate(volume, replica).unwrap();
        assert!(model.check_read(replica, 3, &block(&first)).unwrap().is_empty());
        // One half alone.
        let second = model.next_stamp(volume, 3, 1);
        model.write(&second, 1, Certainty::Done).unwrap();
        assert!(model.check_read(volume, 3, &block(&second)).unwrap().is_empty());
        assert!(!model.check_read(replica, 3, &block(&second)).unwrap().is_empty());
        // Both may be there, until a reading decides.
        model.reach(replica, &second, 1, Certainty::Unknown).unwrap();
        assert!(model.check_read(replica, 3, &block(&first)).unwrap().is_empty());
        assert!(!model.check_read(replica, 3, &block(&second)).unwrap().is_empty());
        model.reach_unmapped(replica, 0..8, Certainty::Done).unwrap();
        assert!(model.check_read(replica, 3, &[0; 512]).unwrap().is_empty());
    }

    #[test]
    fn what_another_array_holds_does_not_go_with_the_power_of_this_one() {
        let (volume, replica) = (id(1), id(2));
        let mut model = DataModel::new(RunTag(7));
        model.set_volatile(true);
        model.create(volume, 64).unwrap();
        model.add_replica(replica, volume).unwrap();
        let stamp = model.next_stamp(volume, 3, 1);
        model.write(&stamp, 1, Certainty::Done).unwrap();
        model.reach(replica, &stamp, 1, Certainty::Done).unwrap();
        model.power_loss();
        assert!(!model.check_read(replica, 3, &[0; 512]).unwrap().is_empty());
        assert!(model.check_read(replica, 3, &block(&stamp)).unwrap().is_empty());
        assert!(model.check_read(volume, 3, &[0; 512]).unwrap().is_empty());
    }
}
