//! A volume that becomes what a snapshot of it has frozen.

use sanbench_api::{SnapshotId, VolumeId};

use super::data::{Change, DataModel, ModelError};

impl DataModel {
    /// The volume was put back to a snapshot of it while nothing else was going on: all that was written since is gone, and what
    /// an extend has added since reads zero. It stays as large as it is (SNP-008).
    ///
    /// # Errors
    /// One of them is unknown.
    pub fn put_back(&mut self, volume: VolumeId, snapshot: SnapshotId) -> Result<(), ModelError> {
        let view = self.view(volume.into())?;
        let written: Vec<_> =
            view.stack.layers().flat_map(|runs| runs.ranges()).map(|(range, _)| range).collect();
        let frozen = self.view_mut(snapshot.into())?;
        // Nothing lies behind its end.
        let mut stack = frozen.stack.share();
        let (unmapped, unsynced, durable) =
            (frozen.unmapped.clone(), frozen.unsynced.clone(), frozen.durable);
        // Where something was written since is where something else may be found.
        for range in written {
            for (part, cell) in stack.look(range) {
                stack.set(part, cell);
            }
        }
        self.changes += 1;
        let view = self.view_mut(volume.into())?;
        (view.stack, view.unmapped, view.unsynced, view.durable) = (stack, unmapped, unsynced, durable);
        view.change = Some(Change::PutBack);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::data::Certainty;
    use super::*;
    use crate::stamp::{RunTag, Stamp};

    fn block(stamp: &Stamp) -> Vec<u8> {
        let mut data = vec![0; 512];
        stamp.fill(&mut data);
        data
    }

    #[test]
    fn a_volume_that_is_put_back_holds_what_it_held_then_and_nothing_behind_it() {
        let (volume, monday) = (VolumeId::from_random([1; 16]), SnapshotId::from_random([2; 16]));
        let mut model = DataModel::new(RunTag(7));
        model.create(volume, 64).unwrap();
        let old = model.next_stamp(volume, 3, 1);
        model.write(&old, 1, Certainty::Done).unwrap();
        model.snapshot(monday, volume).unwrap();
        model.extend(volume, 128).unwrap();
        for lba in [3, 9, 100] {
            let new = model.next_stamp(volume, lba, 1);
            model.write(&new, 1, Certainty::Done).unwrap();
            assert!(model.check_read(volume, lba, &block(&new)).unwrap().is_empty());
        }
        model.put_back(volume, monday).unwrap();
        assert_eq!(model.blocks(volume).unwrap(), 128);
        assert!(model.check_read(volume, 3, &block(&old)).unwrap().is_empty());
        for lba in [9, 100] {
            assert!(model.check_read(volume, lba, &[0; 512]).unwrap().is_empty());
            let stale = Stamp { lba, ..old };
            let findings = model.check_read(volume, lba, &block(&stale)).unwrap();
            assert_eq!(findings[0].requirement, "SNP-008");
        }
        // Whoever reads it back reads there as well.
        let ranges = model.written_ranges(volume).unwrap();
        assert!([9, 100].iter().all(|lba| ranges.iter().any(|range| range.contains(lba))));
        // Both go on alone.
        let later = model.next_stamp(volume, 3, 1);
        model.write(&later, 1, Certainty::Done).unwrap();
        assert!(model.check_read(monday, 3, &block(&old)).unwrap().is_empty());
    }
}
