//! What two arrays say to each other over their link. Values only: the link's pump turns them into bytes.
//!
//! A connection is a stream in order in each direction. Nothing of an old connection is heard on a new one: both ends
//! begin with a [`Message::Greeting`] and say everything that matters anew. The order of messages is part of the meaning: an
//! [`Message::Op`] that was said before a [`Message::Commit`] or [`Message::Pause`] takes effect before it.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Access, Mode, PairKind, Role};
use crate::IoError;
use crate::access::AccessState;

/// Most bytes of data in one message.
pub const MESSAGE_DATA: usize = 1 << 20;
/// Most runs in one [`Message::Differences`].
pub const MESSAGE_RUNS: usize = 4_096;

/// A change of blocks that is decided already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// These bytes, whole blocks, from this block on.
    Write {
        /// First block.
        lba: u64,
        /// Whole blocks, at most [`MESSAGE_DATA`] bytes.
        data: Bytes,
    },
    /// These blocks read zero.
    Unmap {
        /// First block.
        lba: u64,
        /// Blocks.
        blocks: u64,
    },
}

impl Change {
    /// First block and number of blocks.
    pub fn range(&self) -> (u64, u64) {
        match self {
            Self::Write { lba, data } => (*lba, data.len() as u64 / crate::BLOCK_BYTES),
            Self::Unmap { lba, blocks } => (*lba, *blocks),
        }
    }
}

/// What the secondary of a HyperMetro pair asks the primary to do for one of its hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A change without a condition.
    Change(Change),
    /// COMPARE AND WRITE.
    CompareWrite {
        /// First block.
        lba: u64,
        /// What must be there.
        expected: Bytes,
        /// What is written then.
        data: Bytes,
    },
    /// ORWRITE.
    Or {
        /// First block.
        lba: u64,
        /// The bits to set.
        data: Bytes,
    },
}

/// How a mirrored command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is where it must be.
    Done,
    /// It was refused, and nothing has changed.
    Failed(IoError),
    /// COMPARE AND WRITE found another byte at this offset.
    Miscompare(u64),
}

/// What an array tells about a LUN of its own that the other one wants to pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteLun {
    /// Its id there.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Size in blocks.
    pub blocks: u64,
    /// It is in a pair already, or cannot be in one.
    pub busy: bool,
}

/// A new pair as the array that makes it tells the other one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPair {
    /// Its id on both arrays.
    pub id: u64,
    /// What it is.
    pub kind: PairKind,
    /// The LUN of the primary, on the array that makes the pair.
    pub primary: RemoteLun,
    /// The LUN of the secondary.
    pub secondary: u64,
    /// NAA identifier and serial number of the primary's LUN, which the secondary of a HyperMetro pair shows as well.
    pub identity: ([u8; 16], String),
    /// Speed 1..=4.
    pub speed: u8,
    /// Whether an interrupted pair synchronises by itself when the link is back.
    pub auto_recovery: bool,
    /// Time between two points of an asynchronous pair.
    pub interval: Duration,
}

/// A consistency group or HyperMetro domain as one array tells the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSet {
    /// Its id on both arrays.
    pub id: u64,
    /// Name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// What it holds; none for a domain.
    pub kind: Option<PairKind>,
    /// Speed 1..=4.
    pub speed: u8,
    /// Whether its pairs recover by themselves.
    pub auto_recovery: bool,
    /// Time between two points of an asynchronous group.
    pub interval: Duration,
}

/// A pair in a greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairGreeting {
    /// Which.
    pub id: u64,
    /// How often its roles were changed.
    pub epoch: u64,
    /// The sender's role.
    pub role: Role,
    /// The sender's side was paused by somebody, rather than interrupted.
    pub paused: bool,
    /// What the sender's secondary lets hosts do.
    pub access: Access,
    /// The sender, as a secondary, holds a consistent point.
    pub complete: bool,
}

/// A target port group of the other array for one LUN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerGroup {
    /// Target port group id.
    pub id: u16,
    /// Relative target port ids.
    pub ports: Vec<u16>,
    /// Whether the LUN's home is there.
    pub preferred: bool,
    /// Its state for the LUN.
    pub state: AccessState,
}

/// What somebody at one array wants the primary at the other one to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Synchronise.
    Sync,
    /// Pause or split.
    Pause,
    /// Exchange the roles.
    Switch,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The first one of a connection.
    Greeting {
        /// Serial number of the sender.
        serial: String,
        /// All its pairs with the receiver.
        pairs: Vec<PairGreeting>,
    },
    /// I am alive; say so too.
    Ping {
        /// The sender's clock.
        stamp: Duration,
    },
    /// The answer to a ping. Whoever answers promises not to go on alone for the time of the lease.
    Pong {
        /// The stamp of the ping.
        stamp: Duration,
    },
    /// What do you know about this LUN?
    Ask {
        /// Number of the question.
        ask: u64,
        /// The LUN.
        lun: u64,
    },
    /// This.
    Answer {
        /// Number of the question.
        ask: u64,
        /// None: no such LUN.
        lun: Option<RemoteLun>,
    },
    /// A pair was made.
    CreatePair(NewPair),
    /// The pair cannot be.
    PairRefused {
        /// Which.
        pair: u64,
    },
    /// The pair was deleted.
    DeletePair {
        /// Which.
        pair: u64,
    },
    /// A group or domain that the sender has: said when it is made, and at the beginning of each connection.
    CreateSet(NewSet),
    /// A group or domain was deleted.
    DeleteSet {
        /// Which.
        set: u64,
    },
    /// A pair has joined a group, or left it; said by its primary at the beginning of each connection, too.
    Member {
        /// The pair.
        pair: u64,
        /// Its group from now on.
        group: Option<u64>,
    },
    /// What the secondary of a pair or group lets hosts do.
    SetAccess {
        /// Pair or group.
        unit: u64,
        /// That.
        access: Access,
    },
    /// Somebody asked here for what only the primary can do.
    Order {
        /// Pair or group.
        unit: u64,
        /// What.
        order: Order,
    },
    /// A change that the primary has made, in its order.
    Op {
        /// The pair.
        pair: u64,
        /// Number, ascending for each pair.
        seq: u64,
        /// What has changed.
        change: Change,
    },
    /// The change is on the secondary.
    OpDone {
        /// The pair.
        pair: u64,
        /// Its number.
        seq: u64,
    },
    /// The secondary cannot follow any more (its pool is full).
    Fault {
        /// The pair.
        pair: u64,
    },
    /// A host of a HyperMetro secondary wants this.
    Propose {
        /// The pair.
        pair: u64,
        /// Number of the request.
        token: u64,
        /// What.
        request: Request,
    },
    /// The request has ended so; its effect was said before.
    Proposed {
        /// Number of the request.
        token: u64,
        /// How.
        verdict: Verdict,
    },
    /// A synchronisation begins: hold a consistent point, and say what differs.
    SyncBegin {
        /// Pair or group.
        unit: u64,
        /// Number of the synchronisation.
        run: u64,
        /// Its pairs, and their sizes in blocks.
        pairs: Vec<(u64, u64)>,
    },
    /// What has changed on the secondary.
    Differences {
        /// Pair or group.
        unit: u64,
        /// Number of the synchronisation.
        run: u64,
        /// The pair.
        pair: u64,
        /// Runs of extents, at most [`MESSAGE_RUNS`].
        runs: Vec<Range<u64>>,
        /// More of the same pair follows.
        more: bool,
    },
    /// The synchronisation cannot be, or is over before its end.
    SyncStop {
        /// Pair or group.
        unit: u64,
        /// Number of the synchronisation.
        run: u64,
    },
    /// An extent as the primary has it.
    Extent {
        /// The pair.
        pair: u64,
        /// Which.
        index: u64,
        /// Its bytes; none reads zero.
        data: Option<Bytes>,
    },
    /// Everything is there: show it, all pairs at once.
    Commit {
        /// Pair or group.
        unit: u64,
        /// Number of the synchronisation.
        run: u64,
    },
    /// It is shown.
    Committed {
        /// Pair or group.
        unit: u64,
        /// Number of the synchronisation.
        run: u64,
    },
    /// Changes do not come any more until the next synchronisation.
    Pause {
        /// Pair or group.
        unit: u64,
    },
    /// The secondary of a pair or group has heard that it is paused, and serves nobody.
    Paused {
        /// Pair or group.
        unit: u64,
    },
    /// The sender is the secondary from now on.
    Switched {
        /// Pair or group.
        unit: u64,
        /// How often the roles were changed.
        epoch: u64,
    },
    /// Target port groups of the sender for the LUN of a HyperMetro pair.
    Groups {
        /// The pair.
        pair: u64,
        /// They.
        groups: Vec<PeerGroup>,
    },
}

/// Names of the kinds of messages, in one list: a kind that is not in it does not compile.
macro_rules! kinds {
    ($($kind:ident),* $(,)?) => {
        impl Message {
            /// The names of all kinds.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($kind)),*];

            /// Name of its kind, one of [`Message::NAMES`].
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$kind { .. } => stringify!($kind),)*
                }
            }
        }
    };
}

kinds!(
    Greeting,
    Ping,
    Pong,
    Ask,
    Answer,
    CreatePair,
    PairRefused,
    DeletePair,
    CreateSet,
    DeleteSet,
    Member,
    SetAccess,
    Order,
    Op,
    OpDone,
    Fault,
    Propose,
    Proposed,
    SyncBegin,
    Differences,
    SyncStop,
    Extent,
    Commit,
    Committed,
    Pause,
    Paused,
    Switched,
    Groups,
);

impl Message {
    /// Puts a number outside of its range, as only an array says it that has lost its mind. False: whatever is said so has a
    /// meaning.
    pub fn distort(&mut self) -> bool {
        const BEYOND: u64 = 1 << 48;
        match self {
            Self::Differences { runs, .. } => runs.push(BEYOND..BEYOND + 1),
            Self::Extent { index, .. } => *index = BEYOND,
            Self::Op { change: Change::Write { lba, .. } | Change::Unmap { lba, .. }, .. } => *lba = BEYOND,
            Self::Pong { stamp } => *stamp = Duration::MAX,
            _ => return false,
        }
        true
    }

    /// Bytes of data that it carries, for bounds.
    pub fn weight(&self) -> usize {
        match self {
            Self::Op { change: Change::Write { data, .. }, .. }
            | Self::Propose {
                request: Request::Change(Change::Write { data, .. }) | Request::Or { data, .. },
                ..
            }
            | Self::Extent { data: Some(data), .. } => data.len(),
            Self::Propose { request: Request::CompareWrite { expected, data, .. }, .. } => {
                expected.len() + data.len()
            }
            _ => 0,
        }
    }
}

impl PairKind {
    /// Whether its changes go to the other array one by one, before they are acknowledged.
    pub fn is_synchronous(self) -> bool {
        !matches!(self, Self::Replication { mode: Mode::Async })
    }
}
