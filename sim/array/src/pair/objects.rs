//! Pairs, groups, domains and remote devices as everybody may read them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ExtentSet, PeerGroup, Ticket};
use crate::store::Content;

/// How a replication pair copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// A change is acknowledged when both sides have it.
    Sync,
    /// Points of time, one after the other.
    Async,
}

/// What a pair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PairKind {
    /// HyperMetro: both LUNs are one to hosts, which may use either.
    Metro {
        /// Id of its domain.
        domain: u64,
    },
    /// Remote replication: the secondary is a copy.
    Replication {
        /// How it copies.
        mode: Mode,
    },
}

/// Which end of a pair this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Orders the changes; in a split of a HyperMetro pair it goes on.
    Primary,
    /// Follows.
    Secondary,
}

impl Role {
    /// The role of the other end.
    pub fn other(self) -> Self {
        match self {
            Self::Primary => Self::Secondary,
            Self::Secondary => Self::Primary,
        }
    }
}

/// What the secondary of a replication pair lets hosts do while nothing is copied to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Access {
    /// Secondary protection: hosts may read.
    ReadOnly,
    /// The protection is lifted.
    ReadWrite,
}

/// State of a pair, the same on both ends while they hear each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PairState {
    /// Somebody has paused or split it.
    Paused,
    /// It waits for a synchronisation: new, or the link or the other end failed.
    Interrupted,
    /// Differences are being copied.
    Syncing,
    /// The secondary follows.
    Normal,
    /// The other end does not know it (any more).
    Invalid,
}

/// An array at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteDevice {
    /// Id.
    pub id: u64,
    /// Name.
    pub name: String,
    /// Its serial number, once it has been heard.
    pub serial: Option<String>,
    /// It can be heard now.
    #[serde(skip)]
    pub is_up: bool,
}

/// A HyperMetro domain: two arrays between which HyperMetro pairs may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Id, the same on both arrays.
    pub id: u64,
    /// Name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// The other array.
    pub remote: u64,
}

/// A consistency group of pairs, which are synchronised, paused and switched together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairGroup {
    /// Id, the same on both arrays.
    pub id: u64,
    /// Name, unique among groups.
    pub name: String,
    /// Free text.
    pub description: String,
    /// The other array.
    pub remote: u64,
    /// What it holds.
    pub kind: PairKind,
    /// Speed 1..=4.
    pub speed: u8,
    /// Whether its pairs recover by themselves.
    pub auto_recovery: bool,
    /// Time between two points when it is asynchronous.
    pub interval: Duration,
}

/// A change that was said and not answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Its extents.
    pub(crate) span: std::ops::Range<u64>,
    /// Who waits for it.
    #[serde(skip)]
    pub(crate) ticket: Option<Ticket>,
}

/// One end of a pair.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pair {
    /// Id, the same on both arrays.
    pub id: u64,
    /// What it is.
    pub kind: PairKind,
    /// The other array.
    pub remote: u64,
    /// The LUN on this array.
    pub lun: u64,
    /// The LUN on the other array.
    pub remote_lun: u64,
    /// Its name when the pair was made.
    pub remote_lun_name: String,
    /// Which end this is.
    pub role: Role,
    /// State.
    pub state: PairState,
    /// What a replication secondary lets hosts do.
    pub access: Access,
    /// Whether it recovers by itself when the link is back.
    pub auto_recovery: bool,
    /// Speed 1..=4.
    pub speed: u8,
    /// Time between two points of an asynchronous pair.
    pub interval: Duration,
    /// Its consistency group.
    pub group: Option<u64>,
    /// The secondary holds a consistent point of the primary, however old.
    pub complete: bool,
    /// The secondary could not follow.
    pub faulty: bool,
    /// Progress of the synchronisation in percent.
    pub progress: u8,
    /// The instant of which the secondary holds the primary's content, on the clock of the primary; none before the first.
    pub synced_at: Option<Duration>,
    /// How often the roles were changed; the higher one is right.
    pub epoch: u64,
    /// Extents that the other end may lack.
    pub(crate) diff: ExtentSet,
    /// Extents that a synchronisation has taken out of that, until its commit is answered.
    pub(crate) taken: ExtentSet,
    /// Said and not answered, by number: the intent log.
    pub(crate) sent: BTreeMap<u64, Sent>,
    pub(crate) last_seq: u64,
    /// Tickets of a HyperMetro primary that is alone, until the last lease it gave has run out.
    #[serde(skip)]
    pub(crate) held: Vec<Ticket>,
    #[serde(skip)]
    pub(crate) hold_until: Option<Duration>,
    /// A HyperMetro primary that must not serve before it has heard the other end.
    pub(crate) unsure: bool,
    /// What a synchronisation has brought so far, on the secondary.
    #[serde(skip)]
    pub(crate) staging: Option<Content>,
    /// Identity that hosts see instead of the LUN's own.
    pub(crate) identity: Option<([u8; 16], String)>,
    /// Target port groups of the other array, as told.
    #[serde(skip)]
    pub(crate) peer_groups: Vec<PeerGroup>,
    /// When the next point of an asynchronous pair is due.
    #[serde(skip)]
    pub(crate) next_point: Duration,
}

impl Pair {
    /// Whether changes reach the secondary one by one at present.
    pub fn is_mirroring(&self) -> bool {
        self.kind.is_synchronous() && self.state == PairState::Normal
    }

    /// Blocks that the other end may lack, whole extents.
    pub fn different_blocks(&self) -> u64 {
        self.diff.len() * crate::EXTENT_BLOCKS
    }

    /// Whether it is HyperMetro.
    pub fn is_metro(&self) -> bool {
        matches!(self.kind, PairKind::Metro { .. })
    }

    /// What a synchronisation had taken is different again.
    pub(crate) fn give_back(&mut self, forgets: bool) {
        let mut taken = std::mem::take(&mut self.taken);
        // D23, planted: a synchronisation that breaks loses part of what it had taken.
        if forgets {
            taken.forget_odd();
        }
        self.diff.union(&taken);
    }

    /// Everything that was said and not answered is different from now on. Gives those who wait for it.
    pub(crate) fn recall(&mut self, forgets: bool) -> Vec<Ticket> {
        let sent = std::mem::take(&mut self.sent);
        let mut tickets = Vec::new();
        for Sent { span, ticket } in sent.into_values() {
            // D23, planted: what was under way when the link went is not written down.
            if !forgets {
                self.diff.insert(span);
            }
            tickets.extend(ticket);
        }
        tickets
    }
}
