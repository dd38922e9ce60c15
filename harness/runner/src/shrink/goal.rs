//! What "the same failure" means.

use std::collections::BTreeSet;

use crate::plan::Plan;

/// One thing that a checker found in a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The broken requirement.
    pub requirement: String,
    /// Checker, object role and first divergent field.
    pub signature: String,
    /// What was observed.
    pub observed: String,
    /// The step that showed it, from 1.
    pub step: Option<u32>,
}

/// The failure that every candidate must show.
///
/// Requirement and signature must be the same. Where the checker is the step itself (it failed, or was not refused), the
/// signature says little; then the kind of the error counts as well: the words of what was observed, without names and
/// numbers. Otherwise a plan that asks for too much would pass for a plan that meets a bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    pub(super) requirement: String,
    pub(super) signature: String,
    words: Option<BTreeSet<String>>,
    pub(super) step: Option<u32>,
}

/// The checker of steps that should have succeeded, or should have been refused.
const OPERATION: &str = "operation:";

impl Goal {
    /// The failure that this finding tells of, seen in a run of this plan.
    #[must_use]
    pub fn of(seen: &Seen, plan: &Plan) -> Self {
        let words = seen.signature.starts_with(OPERATION).then(|| words(&seen.observed, plan));
        Self {
            requirement: seen.requirement.clone(),
            signature: seen.signature.clone(),
            words,
            step: seen.step,
        }
    }

    /// The finding among these that is this failure.
    pub fn among<'s>(&self, seen: &'s [Seen], plan: &Plan) -> Option<&'s Seen> {
        seen.iter().find(|seen| {
            seen.requirement == self.requirement
                && seen.signature == self.signature
                && self.words.as_ref().is_none_or(|words| *words == self::words(&seen.observed, plan))
        })
    }
}

/// Words of a text that are no numbers, no ids and no names of the plan.
fn words(text: &str, plan: &Plan) -> BTreeSet<String> {
    let hosts = plan.site.hosts.iter().map(|(name, _)| name.as_str());
    let pools = plan.site.pools.iter().map(|(name, _)| name.as_str());
    let types = plan.site.types.iter().map(|(name, _)| name.as_str());
    let mut names: BTreeSet<&str> = hosts.chain(pools).chain(types).collect();
    for step in &plan.steps {
        let mentions = super::mention::of(step);
        names.extend(mentions.volumes.iter().map(|n| n.as_str()));
        names.extend(mentions.snapshots.iter().map(|n| n.as_str()));
    }
    text.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_')
        .filter(|word| {
            !word.is_empty() && !word.contains(|c: char| c.is_ascii_digit()) && !names.contains(word)
        })
        .map(str::to_owned)
        .collect()
}
