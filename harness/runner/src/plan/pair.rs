//! What is done with the two halves of a mirrored volume. The site's own array is the near one, `remote` gives it a far one.

use serde::{Deserialize, Serialize};

use super::{Refused, Step};
use crate::story::Size;

/// How a volume is mirrored on the far array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mirroring {
    /// Both halves are one volume to hosts, which may use either (HyperMetro).
    Metro,
    /// The far half is a copy; a write is acknowledged when both have it.
    Sync,
    /// The far half is a copy of points in time.
    Async,
}

/// How a synchronisation must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncEnd {
    /// Complete.
    #[default]
    Normal,
    /// Broken off, by what the story does to the link.
    Interrupted,
}

impl SyncEnd {
    fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// What the half that does not lead lets hosts do while nothing is copied to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecondaryAccess {
    /// It is protected.
    ReadOnly,
    /// The protection is lifted.
    ReadWrite,
}

/// One thing that is done with the halves of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "act")]
pub enum PairAct {
    /// The volume gets a far half, of which nothing is copied yet.
    Mirror {
        /// How.
        how: Mirroring,
    },
    /// What differs is copied.
    Sync {
        /// How that must end.
        #[serde(default, skip_serializing_if = "SyncEnd::is_normal")]
        ends: SyncEnd,
    },
    /// Nothing is copied any more until the next synchronisation.
    Pause,
    /// The other half leads from now on.
    FailOver,
    /// The half that does not lead is protected, or opened.
    Secondary {
        /// What hosts may do.
        access: SecondaryAccess,
    },
    /// A host writes stamped blocks on the far half.
    WriteRemote {
        /// Offset.
        at: Size,
        /// Length.
        length: Size,
        /// Expected refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Refused>,
    },
    /// The far half is read back.
    VerifyRemote,
    /// Both halves are read and compared with each other.
    Alike,
    /// The far half is taken away.
    Unmirror,
}

impl Step {
    /// Whether it is about the far array or the link to it.
    pub fn is_of_two_arrays(&self) -> bool {
        matches!(self, Self::Pair { .. } | Self::Link { .. })
    }
}
