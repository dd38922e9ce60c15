//! Sequences about the two halves of a mirrored volume, each step in a state that allows it.

use sanbench_world::Dice;

use super::belief::Volume;
use super::rare::write;
use super::workload::extent;
use crate::plan::{FaultAction, Mirroring, PairAct, PlacedFault, Refused, SecondaryAccess, Step, SyncEnd};
use crate::story::{Name, Size};

/// From `mirror` to `unmirror`, with the halves equal in between from time to time; with `quiet` nothing is broken.
pub(super) fn sequence(d: &mut Dice, quiet: bool, volume: &Name, known: &mut Volume) -> Option<Vec<Step>> {
    let how = [Mirroring::Metro, Mirroring::Sync, Mirroring::Async][d.below(3) as usize];
    let mut pair = Pair { d, volume, known, how, steps: Vec::new() };
    pair.write();
    pair.act(PairAct::Mirror { how });
    pair.sync();
    for _ in 0..=pair.d.below(4) {
        match quiet {
            true => pair.pause(),
            false => pair.episode(),
        }
    }
    pair.act(PairAct::Unmirror);
    Some(pair.steps)
}

struct Pair<'a> {
    d: &'a mut Dice,
    volume: &'a Name,
    known: &'a mut Volume,
    how: Mirroring,
    steps: Vec<Step>,
}

impl Pair<'_> {
    fn act(&mut self, act: PairAct) {
        self.steps.push(Step::Pair { volume: self.volume.clone(), act });
    }

    fn write(&mut self) {
        let step = write(self.d, self.volume, self.known);
        self.steps.push(step);
    }

    fn write_remote(&mut self, refused: Option<Refused>) {
        let (at, length) = extent(self.d, self.known, false);
        self.act(PairAct::WriteRemote { at, length, refused });
    }

    /// Complete, and looked at.
    fn sync(&mut self) {
        self.act(PairAct::Sync { ends: SyncEnd::Normal });
        self.look();
    }

    fn look(&mut self) {
        self.act(match self.how {
            Mirroring::Async => PairAct::VerifyRemote,
            Mirroring::Metro | Mirroring::Sync => PairAct::Alike,
        });
    }

    fn arm(&mut self, point: &str, nth: u64, action: FaultAction) {
        let fault = PlacedFault { point: point.to_owned(), nth, action, masked: false, most: None };
        self.steps.push(Step::Arm { fault });
    }

    /// Something that begins and ends with halves that are in step.
    fn episode(&mut self) {
        match (self.d.below(5), self.how) {
            (0, _) => self.pause(),
            (1, Mirroring::Metro) => self.split(),
            (1, Mirroring::Sync) => self.lost_on_its_way(),
            (2, _) => self.broken_off(),
            (3, Mirroring::Async) => self.take_over(),
            (3, Mirroring::Sync) => {
                self.write_remote(Some(Refused::Io));
                self.look();
            }
            (_, how) => {
                self.write();
                if how == Mirroring::Metro {
                    self.write_remote(None);
                }
                match how {
                    Mirroring::Async => self.sync(),
                    Mirroring::Metro | Mirroring::Sync => self.look(),
                }
            }
        }
    }

    fn pause(&mut self) {
        self.act(PairAct::Pause);
        self.write();
        if self.how == Mirroring::Sync {
            self.write_remote(Some(Refused::Io));
            if self.d.chance(1, 2) {
                self.act(PairAct::Secondary { access: SecondaryAccess::ReadWrite });
                self.write_remote(None);
            }
        }
        if self.how != Mirroring::Metro {
            self.act(PairAct::VerifyRemote);
        }
        self.sync();
    }

    /// The arrays do not hear of each other, and the far half serves nobody.
    fn split(&mut self) {
        self.steps.push(Step::Link { up: false });
        self.write();
        self.write_remote(Some(Refused::Io));
        self.steps.push(Step::Link { up: true });
        self.sync();
    }

    /// A write, or the word that it is done, does not get through.
    fn lost_on_its_way(&mut self) {
        let point = if self.d.chance(1, 2) { "link.send:Op" } else { "link.send:OpDone" };
        self.arm(point, 1, FaultAction::Fail);
        self.write();
        self.act(PairAct::VerifyRemote);
        self.sync();
    }

    /// A synchronisation that does not get to its end leaves the point before it.
    fn broken_off(&mut self) {
        if self.how != Mirroring::Async {
            self.act(PairAct::Pause);
        }
        self.write();
        // What is newer is of several extents, of which some get through.
        let (at, extents) = (Size(self.d.below(16) << 16), 2 + self.d.below(6));
        let length = Size(extents << 16);
        self.steps.push(Step::Write { volume: self.volume.clone(), at, length });
        let action = if self.d.chance(1, 2) { FaultAction::Fail } else { FaultAction::DropReply };
        let nth = 1 + self.d.below(extents);
        self.arm("link.send:Extent", nth, action);
        self.act(PairAct::Sync { ends: SyncEnd::Interrupted });
        if self.how != Mirroring::Metro {
            self.act(PairAct::VerifyRemote);
        }
        self.sync();
    }

    /// The near array is lost; the far half goes on with the last point, and later the near one takes over again.
    fn take_over(&mut self) {
        self.write();
        self.steps.push(Step::Link { up: false });
        self.act(PairAct::FailOver);
        self.act(PairAct::VerifyRemote);
        self.write_remote(None);
        self.act(PairAct::VerifyRemote);
        self.steps.push(Step::Link { up: true });
        self.act(PairAct::Sync { ends: SyncEnd::Normal });
        self.steps.push(Step::Verify { volume: self.volume.clone() });
        self.act(PairAct::Pause);
        self.act(PairAct::FailOver);
        self.sync();
    }
}
