//! What a plan does: its steps, and the words that they are made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{PairAct, PlacedFault};
use crate::story::{Name, Size};

/// A call that is made once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repeated {
    /// `create_volume` of one that exists.
    Create,
    /// `terminate_connection` of one that is not mapped.
    Detach,
    /// `delete_volume` of one that is gone.
    Delete,
    /// `connect_volume` on a host that has it.
    Connect,
}

/// A call that needs space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Starved {
    /// WRITE.
    Write,
    /// UNMAP of parts of shared extents, and of a range beside them that needs no space.
    Unmap,
}

/// How a page of the array's disk comes to hold what was not written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spoiled {
    /// A bit flips.
    Rot,
    /// Only the first part of a write arrived.
    Torn,
    /// What was meant for another page went there.
    Misdirected,
}

/// What a guest writes that means something to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forged {
    /// The header of a qcow2 image.
    Qcow2,
    /// A partition table.
    Partitions,
}

/// Which direction of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Both.
    #[default]
    Both,
    /// What the host sends.
    ToArray,
    /// What the array sends.
    ToHost,
}

impl Way {
    fn is_both(&self) -> bool {
        *self == Self::Both
    }
}

/// An end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The array's.
    #[default]
    Array,
    /// The host's.
    Host,
}

/// A refusal that a step expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// Dependents or mappings forbid it.
    Busy,
    /// A parameter is out of range.
    Invalid,
    /// The pool cannot hold it.
    NoSpace,
    /// The scheduler finds no back end.
    NoBackend,
    /// The image was found unsafe or unacceptable.
    UnsafeImage,
    /// The project's quota forbids it.
    Quota,
    /// The volume's status forbids it.
    State,
    /// Something else of that name is there.
    Exists,
    /// The array allows no more objects of this kind.
    Limit,
    /// The data path failed: the device answered an error or was gone.
    Io,
    /// The array's background work failed.
    Job,
}

/// Where a new volume's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Empty.
    #[default]
    Blank,
    /// An image.
    Image(Name),
    /// A snapshot.
    Snapshot(Name),
    /// A volume.
    Volume(Name),
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verb")]
pub enum Step {
    /// Create a volume.
    Create {
        /// New name.
        volume: Name,
        /// Size.
        size: Size,
        /// Volume type.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        volume_type: Option<Name>,
        /// Content.
        source: Source,
        /// Pool it must land in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pool: Option<Name>,
        /// Expected refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Refused>,
    },
    /// Attach.
    Attach {
        /// Volume.
        volume: Name,
        /// Host.
        host: Name,
        /// Expected refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Refused>,
    },
    /// Write stamped blocks.
    Write {
        /// Volume.
        volume: Name,
        /// Offset.
        at: Size,
        /// Length.
        length: Size,
    },
    /// Unmap.
    Unmap {
        /// Volume.
        volume: Name,
        /// Offset.
        at: Size,
        /// Length.
        length: Size,
    },
    /// Flush.
    Flush {
        /// Volume.
        volume: Name,
    },
    /// Extend.
    Extend {
        /// Volume.
        volume: Name,
        /// New absolute size.
        size: Size,
        /// Expected refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Refused>,
    },
    /// Snapshot.
    Snapshot {
        /// New snapshot.
        snapshot: Name,
        /// Volume.
        volume: Name,
        /// Expected refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Refused>,
    },
    /// Flatten.
    Flatten {
        /// Volume.
        volume: Name,
        /// Expected refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Refused>,
    },
    /// Detach.
    Detach {
        /// Volume.
        volume: Name,
        /// Host.
        host: Name,
        /// Nothing may be left on the host, even if data is lost that was not flushed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
        /// Expected refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Refused>,
    },
    /// Delete a volume.
    Delete {
        /// Volume.
        volume: Name,
        /// Expected refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Refused>,
    },
    /// Delete a snapshot.
    DeleteSnapshot {
        /// Snapshot.
        snapshot: Name,
        /// Expected refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Refused>,
    },
    /// The array's own management puts a volume back to a snapshot of it.
    PutBack {
        /// Snapshot.
        snapshot: Name,
        /// Expected refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Refused>,
    },
    /// Restart the volume service with changed options.
    Restart {
        /// Options to change.
        options: BTreeMap<String, String>,
    },
    /// Expect a clone depth.
    Depth {
        /// Volume.
        volume: Name,
        /// Links to the root.
        depth: u64,
    },
    /// Let another host try.
    Intrude {
        /// Volume.
        volume: Name,
        /// The other host.
        host: Name,
    },
    /// Read back.
    Verify {
        /// Volume.
        volume: Name,
    },
    /// Read back the whole volume.
    Scan {
        /// Volume.
        volume: Name,
    },
    /// Compare inventories.
    Census,
    /// Write an image over a volume.
    Reimage {
        /// Volume.
        volume: Name,
        /// Image.
        image: Name,
    },
    /// Somebody else takes the name that a volume would get on the array.
    Squat {
        /// Volume that does not exist.
        volume: Name,
    },
    /// An administrator asks something of an array.
    Manage {
        /// Method and path of the call, below the device id.
        call: String,
        /// The far array, where there are two.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        far: bool,
        /// The code that it must be answered with; 0 is success.
        #[serde(default, skip_serializing_if = "is_success")]
        code: i64,
        /// What it makes is as an earlier run of the driver left it: the driver's from its next call on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ours: bool,
        /// What the id in the (first) answer is called from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remember: Option<Name>,
        /// How often it is asked, one after another: `{n}` in path and values is then which time it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        times: Option<u64>,
        /// The body.
        fields: BTreeMap<String, String>,
    },
    /// An administrator looks at what an array says of itself.
    Inspect {
        /// Path of the objects, or of the one object, below the device id.
        path: String,
        /// The far array, where there are two.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        far: bool,
        /// How many objects there must be with these values; none is at least one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        /// What the id of the first of them is called from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remember: Option<Name>,
        /// Values that they have.
        fields: BTreeMap<String, String>,
    },
    /// A call whose work is done is made once more.
    Repeat {
        /// Which.
        what: Repeated,
        /// Volume.
        volume: Name,
        /// Host, for `detach`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<Name>,
    },
    /// A mapping is taken away behind the host's back.
    Revoke {
        /// Volume.
        volume: Name,
        /// Host.
        host: Name,
        /// The driver is not told which host: it takes the volume away from all.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        everywhere: bool,
    },
    /// A host takes the volume's persistent reservation.
    Reserve {
        /// Volume.
        volume: Name,
        /// Host.
        host: Name,
    },
    /// The reservation is still that host's.
    Reserved {
        /// Volume.
        volume: Name,
        /// Host.
        host: Name,
    },
    /// A host gives the volume's persistent reservation up.
    Unreserve {
        /// Volume.
        volume: Name,
        /// Host.
        host: Name,
    },
    /// The guest writes what means something to others.
    Forge {
        /// Volume.
        volume: Name,
        /// What.
        what: Forged,
    },
    /// Somebody else fills a pool.
    Fill {
        /// Pool.
        pool: Name,
        /// Bytes that stay free.
        leave: Size,
    },
    /// A call that needs space which is not there.
    OutOfSpace {
        /// Which.
        what: Starved,
        /// Volume.
        volume: Name,
        /// Offset.
        at: Size,
        /// Length.
        length: Size,
    },
    /// The array's disk spoils what a volume has at an offset: whoever reads it must be told, and gets no wrong data.
    Spoil {
        /// Volume.
        volume: Name,
        /// Offset.
        at: Size,
        /// How.
        how: Spoiled,
    },
    /// What filled a pool is taken away.
    Drain {
        /// Pool.
        pool: Name,
    },
    /// The volume service and its database are lost, hosts lose their power; what the run has left on the array is removed by its
    /// inventory.
    Clean,
    /// The array loses its power, and gets it back.
    PowerLoss,
    /// A controller of the array fails.
    FailController {
        /// Which, from 0.
        controller: u64,
    },
    /// A portal of the array is switched off or on.
    Portal {
        /// Which, from 1; path n leads to portal n.
        portal: u64,
        /// On.
        enabled: bool,
    },
    /// A failed controller comes back.
    RestoreController {
        /// Which, from 0.
        controller: u64,
    },
    /// The array slows the writes of a volume down.
    Limit {
        /// Volume.
        volume: Name,
        /// Write commands a second; 0 takes the limit away.
        iops: u64,
    },
    /// Paths of a host swallow everything.
    Cut {
        /// Host.
        host: Name,
        /// Which path, from 1; 0 is all.
        path: u64,
        /// In which direction.
        #[serde(default, skip_serializing_if = "Way::is_both")]
        way: Way,
    },
    /// Paths of a host become slow.
    Slow {
        /// Host.
        host: Name,
        /// Which path, from 1; 0 is all.
        path: u64,
        /// Milliseconds that every segment takes longer, in each direction.
        ms: u64,
        /// Bytes that one read gets at most; 0 is as many as there are.
        #[serde(default, skip_serializing_if = "is_zero")]
        segment: u64,
        /// Of a hundred segments so many are lost and sent again, 0 to [`MOST_LOSS`].
        #[serde(default, skip_serializing_if = "is_zero")]
        loss: u64,
    },
    /// Connections over paths of a host are reset.
    Reset {
        /// Host.
        host: Name,
        /// Which path, from 1; 0 is all.
        path: u64,
    },
    /// One side forgets its connections over paths of a host, without a word to the other.
    HalfOpen {
        /// Host.
        host: Name,
        /// Which path, from 1; 0 is all.
        path: u64,
        /// Who forgets.
        #[serde(default)]
        side: Side,
    },
    /// A host loses its power, and starts again.
    Reboot {
        /// Host.
        host: Name,
        /// Seconds that it is off.
        off: u64,
    },
    /// The initiator of a host is killed and started again; the host goes on.
    RestartInitiator {
        /// Host.
        host: Name,
    },
    /// Paths of a host work again.
    Heal {
        /// Host.
        host: Name,
        /// Which path, from 1; 0 is all.
        path: u64,
    },
    /// Something is done with the two halves of a volume.
    Pair {
        /// Volume.
        volume: Name,
        /// What.
        #[serde(flatten)]
        act: PairAct,
    },
    /// The link between the two arrays swallows everything, or works again.
    Link {
        /// It works.
        up: bool,
    },
    /// Let time pass.
    Wait {
        /// Seconds.
        seconds: u64,
    },
    /// A fault that waits for its point from now on.
    Arm {
        /// Which, counted from now.
        #[serde(flatten)]
        fault: PlacedFault,
    },
    /// Faults that have not fired are taken away.
    Disarm,
    /// Everything is healed; what failed is tried again and must work; everything is looked at.
    Settle,
}

/// Of a hundred segments so many are lost at most: what loses more is a path that is cut.
pub const MOST_LOSS: u64 = 50;

impl Step {
    /// Whether only a simulated site can do it.
    pub fn needs_simulation(&self) -> bool {
        matches!(
            self,
            Self::Squat { .. }
                | Self::PutBack { .. }
                | Self::Clean
                | Self::Manage { .. }
                | Self::Inspect { .. }
                | Self::Fill { .. }
                | Self::Drain { .. }
                | Self::Revoke { .. }
                | Self::OutOfSpace { .. }
                | Self::Spoil { .. }
                | Self::PowerLoss
                | Self::FailController { .. }
                | Self::RestoreController { .. }
                | Self::Reboot { .. }
                | Self::RestartInitiator { .. }
                | Self::Portal { .. }
                | Self::Limit { .. }
        ) || self.is_of_network()
            || self.is_of_two_arrays()
    }

    /// Whether nothing may go on beside it.
    pub fn runs_alone(&self) -> bool {
        self.is_of_two_arrays()
            || matches!(
                self,
                Self::Clean
                    | Self::Repeat { what: Repeated::Connect, .. }
                    | Self::Reboot { .. }
                    | Self::RestartInitiator { .. }
                    | Self::Spoil { .. }
                    | Self::PutBack { .. }
            )
    }

    /// Whether it changes how paths of a host carry bytes.
    pub fn is_of_network(&self) -> bool {
        matches!(
            self,
            Self::Cut { .. }
                | Self::Slow { .. }
                | Self::Reset { .. }
                | Self::HalfOpen { .. }
                | Self::Heal { .. }
        )
    }
}

fn is_success(code: &i64) -> bool {
    *code == 0
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
