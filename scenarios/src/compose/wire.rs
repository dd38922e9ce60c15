//! What targets send is followed on every connection of a case, whatever the case is about.

use std::sync::{Arc, Mutex, PoisonError};

use sanbench_check::Finding;
use sanbench_protocol::passive::{Follower, UPHELD};
use sanbench_runner::{CaseOutcome, CaseSpec};
use sanbench_world::SegmentTap;

use super::protocol;

/// The monitors of a case.
#[derive(Clone, Default)]
pub(super) struct Wire(Arc<Mutex<Follower>>);

impl Wire {
    /// Shows them what is sent, unless the case is a chapter of the protocol cases: the raw client breaks rules on purpose, and
    /// has monitors of its own that know where.
    pub(super) fn tap(&self, spec: &CaseSpec) -> Option<SegmentTap> {
        let follower = Arc::clone(&self.0);
        protocol::chapter(spec).is_none().then(|| {
            SegmentTap::new(move |segment| {
                follower.lock().unwrap_or_else(PoisonError::into_inner).segment(segment);
            })
        })
    }

    /// Says what they saw, and that the rules were upheld where the story asks for that.
    pub(super) fn judge(&self, spec: &CaseSpec, outcome: &mut CaseOutcome) {
        let follower = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let (breaches, answers) = follower.end();
        for id in UPHELD.iter().filter(|id| spec.plan.requires.iter().any(|required| required == *id)) {
            outcome.ledger.compared(id, answers);
        }
        for breach in breaches {
            let finding = Finding::new(breach.requirement, "wire", "pdu", breach.clause)
                .says(format!("the target does not keep to {}", breach.clause))
                .compared(breach.expected, breach.observed);
            outcome.find_at_end(finding);
        }
    }
}
