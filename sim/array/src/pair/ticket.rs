//! What an acknowledgement waits for.

use std::sync::{Arc, OnceLock};

use super::Verdict;

/// A command of a host that is on its way to the other array. Clones are the same ticket.
#[derive(Debug, Clone, Default)]
pub struct Ticket(Arc<OnceLock<Verdict>>);

impl Ticket {
    /// How the command ended; none while it goes on.
    pub fn verdict(&self) -> Option<Verdict> {
        self.0.get().copied()
    }

    /// The command has ended. The first verdict stands.
    pub(crate) fn settle(&self, verdict: Verdict) {
        let _ = self.0.set(verdict);
    }
}
