//! What a plan stands on: arrays, pools, hosts, types and images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::PlacedFault;
use crate::story::{Name, Size};

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

fn is_zero(number: &u64) -> bool {
    *number == 0
}
