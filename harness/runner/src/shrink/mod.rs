//! From a long plan that fails to a short one that fails in the same way.
//!
//! What it is for: [`shrink`] takes a failing plan and its [`Goal`] and asks an oracle about ever simpler candidates. It
//! plays nothing itself and has no clock: the caller runs candidates, on as many cores as there are, and says when to stop.
//!
//! | module | what it is for |
//! |---|---|
//! | `goal` | what "the same failure" means |
//! | `draft` | a plan whose steps remember where they came from |
//! | `mention` | which objects a step names |
//! | `sense` | whether a step makes sense where it stands; its `repair` drops those that no longer do |
//! | `pins` | what must stay because the failure is a broken expectation of the plan itself |
//! | `search` | candidates in batches, each asked once, the first success taken |
//! | `passes` | what is made simpler, in order |
//! | `number` | sizes, offsets, counts, delays and fault kinds |
//!
//! The answer does not depend on how many candidates are asked at once: a batch is a guess that all before fail, and the
//! first success in order wins.

mod draft;
mod goal;
mod mention;
mod number;
mod passes;
mod pins;
mod search;
mod sense;
#[cfg(test)]
mod tests;

pub use goal::{Goal, Seen};

use crate::plan::Plan;
use draft::Draft;
use search::Search;

/// How far a shrinking is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Steps of the plan that it began with.
    pub from: usize,
    /// The best plan so far.
    pub best: &'a Plan,
    /// Candidates played so far.
    pub runs: u64,
    /// What is being tried, in a word or two.
    pub pass: &'static str,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// The simplest plan that was seen to fail in the same way.
    pub plan: Plan,
    /// Candidates played.
    pub runs: u64,
    /// Nothing simpler was found; false when it was stopped before.
    pub complete: bool,
}

/// What was seen of each candidate of a batch, in its order; `None` says that it is time to stop.
pub type Answers = Option<Vec<Vec<Seen>>>;

/// Looks for the simplest plan that fails as `goal` says. `ask` plays a batch of at most `width` candidates with the seed of
/// the failing case; `told` hears about every batch. The start plan is asked too: `None` if it does not fail so.
pub fn shrink(
    plan: &Plan,
    goal: &Goal,
    width: usize,
    ask: &mut dyn FnMut(&[Plan]) -> Answers,
    told: &mut dyn FnMut(&Progress<'_>),
) -> Option<Shrunk> {
    let mut search = Search::new(Draft::of(plan), goal, width.max(1), ask, told);
    if !search.confirm() {
        return None;
    }
    passes::all(&mut search);
    Some(search.done())
}
