//! A plan: the story as data. The seed chooses contents and delays; the plan alone says what is done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::story::{Name, Size};

mod fault;
mod pair;

pub use fault::{FaultAction, PlacedFault};
pub use pair::{Mirroring, PairAct, SecondaryAccess, SyncEnd};

/// A whole story.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// One sentence.
    pub title: String,
    /// Requirement ids that the story exercises, in the order named.
    pub requires: Vec<String>,
    /// The site it needs.
    pub site: SitePlan,
    /// What is done, in order.
    pub steps: Vec<PlanStep>,
}

/// A step and the lane that it belongs to.
///
/// Steps without a lane run alone, in order. Steps with lanes that follow each other form a *group*: those of one lane run
/// in order, lanes run side by side, and the next step without a lane waits for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Its lane; `None` runs alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Name>,
    /// What is done.
    #[serde(flatten)]
    pub step: Step,
}

impl From<Step> for PlanStep {
    fn from(step: Step) -> Self {
        Self { lane: None, step }
    }
}

impl std::ops::Deref for PlanStep {
    type Target = Step;
    fn deref(&self) -> &Step {
        &self.step
    }
}

impl Plan {
    /// Faults of the header, and those that steps arm.
    pub fn placed_faults(&self) -> impl Iterator<Item = &PlacedFault> {
        let armed = self.steps.iter().filter_map(|step| match &step.step {
            Step::Arm { fault } => Some(fault),
            _ => None,
        });
        self.site.faults.iter().chain(armed)
    }

    /// Index ranges of the groups: a step without a lane is one alone.
    pub fn groups(&self) -> Vec<std::ops::Range<usize>> {
        let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
        let mut open = false;
        for (index, step) in self.steps.iter().enumerate() {
            match groups.last_mut() {
                Some(last) if open && step.lane.is_some() => last.end = index + 1,
                _ => groups.push(index..index + 1),
            }
            open = step.lane.is_some();
        }
        groups
    }
}

/// What the story needs to stand on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SitePlan {
    /// Back-end options by key.
    pub options: BTreeMap<String, String>,
    /// Pools of the simulated array, in order; empty means the default two.
    pub pools: Vec<(Name, Size)>,
    /// What disks those of them are made of that are not of the usual ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<Name, Disks>,
    /// Compute hosts and their number of paths.
    pub hosts: Vec<(Name, u64)>,
    /// Volume types and their extra specs.
    pub types: Vec<(Name, BTreeMap<String, String>)>,
    /// Images.
    pub images: Vec<(Name, ImageKind, Size)>,
    /// Placed faults.
    pub faults: Vec<PlacedFault>,
    /// New LUNs of the simulated array have a volatile write cache.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub write_cache: bool,
    /// The simulated array has a journal, and comes back from a loss of power by what is in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub journal: bool,
    /// Linked clones that the simulated array allows of one source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clones: Option<u64>,
    /// Linked clones that the simulated array allows one behind another, if not its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<u64>,
    /// LUNs and snapshots together that the simulated array takes, if not its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<u64>,
    /// Bytes of the longest name that the target of a simulated array has at a portal, if not as it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_name: Option<u64>,
    /// PRODUCTVERSION of the simulated arrays; none is the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// What is unusual about a host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tunes: BTreeMap<Name, Tune>,
    /// In which order ready tasks of a simulated world run.
    #[serde(default, skip_serializing_if = "Schedule::is_fifo")]
    pub schedule: Schedule,
    /// There is a second simulated array, linked to the first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remote: bool,
}

/// In which order ready tasks of a simulated world run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// First come, first served.
    #[default]
    Fifo,
    /// Every turn may be passed on.
    Random,
    /// Priorities that seldom change.
    Priorities,
}

impl Schedule {
    fn is_fifo(&self) -> bool {
        *self == Self::Fifo
    }
}

/// What disks a pool is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disks {
    /// Solid-state disks.
    Ssd,
    /// SAS disks.
    Sas,
    /// Near-line SAS disks.
    NlSas,
    /// Some of these and some of those.
    Mix,
    /// The pool does not say.
    Untold,
}

/// What is unusual about a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tune {
    /// Sessions to every portal; 0 is one.
    pub interfaces: u64,
    /// Seconds by which device events come late.
    pub events: u64,
    /// Characters of its name; 0 leaves it as short as it is.
    pub name_length: u64,
    /// It prefers digests of headers and data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub digests: bool,
    /// Bytes that it offers as burst lengths; 0 leaves its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub burst: u64,
    /// It sends no data unasked: none with a command, and none before an R2T.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub solicited: bool,
}

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

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageKind {
    /// What `--image` gives, or the small qcow2 that sanbench makes.
    Sample,
    /// Raw bytes.
    Raw,
    /// qcow2 that names a backing file.
    BackingFile,
    /// qcow2 that names an external data file.
    DataFile,
    /// qcow2 cut short.
    Truncated,
    /// qcow2 that claims an absurd virtual size.
    AbsurdSize,
    /// Declared raw, but its header is another format's.
    Mislabelled,
    /// ISO 9660, used as it is.
    Iso,
    /// qcow2 that is ISO 9660 too.
    TwoFormats,
    /// VMDK that names a file of the host as its extent.
    ForeignExtent,
    /// qcow2 with a first-level table of absurd length.
    HugeTable,
    /// qcow2 with a first-level table too short for its size.
    ShortTable,
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
