//! Every short plan over a small alphabet, each with one fault at each place where there can be one.
//!
//! A plan stands on a small prelude: a written volume on a host, with a snapshot and a clone. Then come up to
//! [`DEPTH`] operations, all of them legal. Places are found by trying: the fault waits for its first, second, third ...
//! occurrence after the prelude, until a run ends in which it did not fire.

use crate::plan::{FaultAction, PlacedFault, Plan, PlanStep};
use crate::story::parse;

/// Operations after the prelude.
pub const DEPTH: usize = 3;

/// What stands before the operations.
const PRELUDE: &[&str] = &[
    "create v size=1GiB",
    "attach v h1",
    "write v at=0 length=8KiB",
    "snapshot s v",
    "write v at=4KiB length=8KiB",
    "create c size=1GiB volume=v",
];

/// Operations, each with what it needs and what it brings: words that must be there, and `!word` that must not; then words
/// that come, and `!word` that go.
const ALPHABET: &[(&str, &str, &str)] = &[
    ("detach v h1", "v-attached", "!v-attached"),
    ("attach v h2", "v !v-attached", "v-elsewhere v-attached"),
    ("attach c h1", "c !c-attached", "c-attached"),
    ("detach c h1", "c-attached", "!c-attached"),
    ("write v at=2KiB length=4KiB", "v-attached", ""),
    ("extend v size=2GiB", "v !v-large", "v-large"),
    ("extend c size=2GiB", "c !c-large", "c-large"),
    ("snapshot t v", "v !t", "t"),
    ("create d size=3GiB volume=c", "c !d", "d"),
    ("create e size=2GiB snapshot=s", "s !e", "e"),
    ("flatten c", "c", ""),
    ("delete c", "c !c-attached", "!c"),
    ("delete-snapshot s", "s", "!s"),
    ("create f size=1GiB image=small", "!f", "f"),
];

/// What is broken, in the words of a fault step.
pub const FAULTS: &[(&str, &str, FaultAction)] =
    &[("lost-reply", "rest.after:*", FaultAction::DropReply), ("failure", "flow.*", FaultAction::Fail)];

/// All plans of at most so many operations, the shortest first.
#[must_use]
pub fn plans(depth: usize) -> Vec<Plan> {
    let mut all = Vec::new();
    let mut open: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..depth {
        open = open
            .iter()
            .flat_map(|before| {
                let there = state(before);
                (0..ALPHABET.len()).filter(move |op| possible(&there, *op)).map(|op| {
                    let mut next = before.clone();
                    next.push(op);
                    next
                })
            })
            .collect();
        all.extend(open.iter().map(|operations| plan(operations)));
    }
    all
}

fn state(operations: &[usize]) -> Vec<&'static str> {
    let mut there = vec!["v", "v-attached", "s", "c"];
    for op in operations {
        for word in ALPHABET[*op].2.split_whitespace() {
            match word.strip_prefix('!') {
                Some(gone) => there.retain(|w| *w != gone),
                None => there.push(word),
            }
        }
    }
    there
}

fn possible(there: &[&str], op: usize) -> bool {
    let (text, needs, _) = ALPHABET[op];
    // Attached elsewhere, the volume is not on the first host any more.
    let moved = there.contains(&"v-elsewhere") && text == "detach v h1";
    !moved
        && needs.split_whitespace().all(|word| match word.strip_prefix('!') {
            Some(absent) => !there.contains(&absent),
            None => there.contains(&word),
        })
}

fn plan(operations: &[usize]) -> Plan {
    let mut text = String::from(
        "story \"exhaustive\"\nrequires CLU-001 CLU-005 CRE-001\npool pool0 64GiB\nhost h1 paths=2\nhost h2\nimage small kind=sample size=1MiB\n",
    );
    let lines = PRELUDE.iter().copied().chain(operations.iter().map(|op| ALPHABET[*op].0));
    for line in lines {
        text += line;
        text.push('\n');
    }
    text += "settle\n";
    parse(&text).expect("the alphabet is legal; a test parses every plan")
}

/// The plan with a fault that waits for the `nth` occurrence of its point after the prelude.
#[must_use]
pub fn with_fault(plan: &Plan, point: &str, action: FaultAction, nth: u64) -> Plan {
    let mut plan = plan.clone();
    let fault = PlacedFault { point: point.to_owned(), nth, action, masked: false };
    plan.steps.insert(PRELUDE.len(), PlanStep::from(crate::plan::Step::Arm { fault }));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_short_plans_are_legal_stories() {
        let counts: Vec<usize> = (1..=DEPTH).map(|depth| plans(depth).len()).collect();
        assert_eq!(counts, [12, 141, 1394]);
        for plan in plans(2) {
            let text = crate::story::print(&plan);
            assert_eq!(parse(&text).unwrap(), plan);
        }
    }
}
