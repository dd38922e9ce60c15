//! HyperMetro and replication pairs: one LUN on two arrays.
//!
//! Each array holds its end of a pair; the two ends talk over a link that somebody else carries (`Array::link_up`,
//! `Array::receive`, `Array::poll_link`, `Array::link_down`). There is no third party, so everything that two ends could
//! disagree about is decided by one of them, the **primary**: the order of changes, what is synchronised, who goes on alone.
//!
//! # How changes travel
//!
//! The primary makes a change, says it ([`Message::Op`]) and acknowledges the host when the secondary has it. The secondary of a
//! HyperMetro pair, which serves hosts too, has its hosts' changes made by the primary ([`Message::Propose`]) and sees them come
//! back in the primary's order, so that both sides show the same. An asynchronous pair says nothing at once: at times it
//! freezes all LUNs of the pair or group at one instant and copies what has changed since the last time.
//!
//! # What is kept when something breaks
//!
//! Each end remembers the extents that the other one may lack (its *difference log*, part of the control plane and so
//! durable). A change that is said and not answered is among them as soon as the connection is lost. A
//! synchronisation copies the differences of both ends into a *staging* content of the secondary and shows it at its end, for all
//! pairs of a group at once: until then, and when it breaks, the secondary has the consistent point that it had before.
//!
//! # Who goes on when the link is cut
//!
//! Replication: the primary, at once; the secondary stays write-protected until somebody lifts the protection.
//! HyperMetro: the primary (the preferred site, a static priority). The secondary serves only while its *lease* lasts, which each
//! answered ping renews, and the primary acknowledges nothing alone before the last lease that it gave has run out. A
//! primary that comes back from a power loss serves nobody before it has heard the other end, for somebody may have
//! forced that one to go on ([`PairCommand::Force`]).
//!
//! | module | what lives there |
//! |---|---|
//! | `extents` | sets of extents |
//! | `message` | what the arrays say |
//! | `objects` | pairs, groups, domains, remote devices |
//! | `commands` | management |
//! | `changes` | commands of hosts on a LUN in a pair |
//! | `link` | connections: greeting, lease, loss; messages in and out |
//! | `sets` | groups and domains, told to the other array |
//! | `sync` | synchronisation runs |
//! | `ticket` | what an acknowledgement waits for |

mod changes;
mod commands;
mod extents;
mod link;
mod message;
mod objects;
mod sets;
mod sync;
mod ticket;

use std::collections::BTreeMap;
use std::time::Duration;

pub use commands::PairCommand;
pub use extents::ExtentSet;
pub use message::{
    Change, MESSAGE_DATA, MESSAGE_RUNS, Message, NewPair, NewSet, Order, PairGreeting, PeerGroup, RemoteLun,
    Request, Verdict,
};
pub use objects::{Access, Domain, Mode, Pair, PairGroup, PairKind, PairState, RemoteDevice, Role};
pub use ticket::Ticket;

pub(crate) use changes::Path;
use link::Connection;
pub use link::LinkError;
use sync::Run;

use crate::durable::Tracked;

/// How long the secondary of a HyperMetro pair may serve hosts after the ping that it was promised for.
pub const LEASE: Duration = Duration::from_secs(3);
/// Time between two pings.
pub const PING: Duration = Duration::from_millis(500);
/// Silence after which a connection counts as lost.
pub const SILENCE: Duration = Duration::from_secs(3);
/// Bytes of data that may wait for a connection; a link that is slower than that is as good as cut.
pub const OUTBOX_BYTES: usize = 256 << 20;
/// Messages that may wait for a connection.
pub const OUTBOX_MESSAGES: usize = 1 << 16;

/// A request of a host of this end that the primary has not answered.
#[derive(Debug)]
pub(crate) struct Proposal {
    pair: u64,
    ticket: Ticket,
}

/// Everything that an array knows about pairs.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    pub(crate) remotes: Tracked<u64, RemoteDevice>,
    connections: BTreeMap<u64, Connection>,
    pub(crate) domains: Tracked<u64, Domain>,
    pub(crate) groups: Tracked<u64, PairGroup>,
    pub(crate) pairs: Tracked<u64, Pair>,
    /// LUN -> its pair.
    by_lun: BTreeMap<u64, u64>,
    /// Synchronisations that this end leads, by pair or group.
    runs: BTreeMap<u64, Run>,
    proposals: BTreeMap<u64, Proposal>,
    /// What the command that is being carried out waits for.
    issued: Vec<Ticket>,
    /// Questions to the other array: none while it has not answered.
    asked: BTreeMap<u64, Option<Option<RemoteLun>>>,
    last_number: u64,
    /// There is something new for whoever waits outside: messages, answers, settled tickets.
    stirred: bool,
}

impl Mirror {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// The pair that a LUN is in.
    pub(crate) fn pair_of(&self, lun: u64) -> Option<u64> {
        self.by_lun.get(&lun).copied()
    }

    /// Whether nothing was ever set up.
    pub(crate) fn is_idle(&self) -> bool {
        self.remotes.is_empty()
    }

    /// Pair ids of a unit: the members of a group, or a pair that is in none.
    fn members(&self, unit: u64) -> Vec<u64> {
        if self.groups.contains_key(&unit) {
            return self.pairs.values().filter(|pair| pair.group == Some(unit)).map(|pair| pair.id).collect();
        }
        self.pairs.get(&unit).filter(|pair| pair.group.is_none()).map(|pair| pair.id).into_iter().collect()
    }

    /// Pair or group by which a pair is synchronised and paused.
    fn unit_of(&self, pair: u64) -> u64 {
        self.pairs.get(&pair).and_then(|pair| pair.group).unwrap_or(pair)
    }

    /// Says something to the other array, if it can be heard.
    fn say(&mut self, remote: u64, message: Message) {
        if let Some(connection) = self.connections.get_mut(&remote) {
            connection.push(message);
            self.stirred = true;
        }
    }
}

impl crate::Array {
    /// Whether there is something new for whoever waits outside of the array, since the last time that this was asked: a
    /// message to send, an answer, a settled ticket.
    pub fn take_stir(&mut self) -> bool {
        std::mem::take(&mut self.mirror.stirred)
    }

    /// What the acknowledgement of the commands since the last call has to wait for.
    pub fn take_tickets(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.mirror.issued)
    }
}
