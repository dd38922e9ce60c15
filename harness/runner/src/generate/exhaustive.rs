//! Every short plan over a small alphabet, each with one fault at each place where there can be one.
//!
//! A plan stands on a small prelude: a written volume on a host, with a snapshot and a clone. Then come up to
//! [`DEPTH`] operations, all of them legal. Places are found by trying: the fault waits for its first, second, third ...
//! occurrence after the prelude, until a run ends in which it did not fire.
//!
//! After a crash nothing works until the service is back. So a crash is placed in one operation after the other; the service
//! is restarted at once behind it, everything is settled, and the operations that follow are played on what came of it.

use crate::plan::{FaultAction, PlacedFault, Plan, PlanStep, Step};
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

/// A kind of fault.
#[derive(Debug)]
pub struct Kind {
    /// Its word in the name of a plan.
    pub word: &'static str,
    /// Where it can be, in the words of a fault step.
    point: &'static str,
    /// What happens there.
    action: FaultAction,
    /// It stops the volume service: places are counted in each operation by itself.
    stops: bool,
}

/// What is broken.
pub const KINDS: &[Kind] = &[
    Kind { word: "lost-reply", point: "rest.after:*", action: FaultAction::DropReply, stops: false },
    Kind { word: "failure", point: "flow.*", action: FaultAction::Fail, stops: false },
    Kind { word: "crash", point: "flow.*", action: FaultAction::Crash, stops: true },
];

/// Operations of one plan, as places in the alphabet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short(Vec<usize>);

/// One fault at one place of one plan. Its name says all of it: `11-lost-reply-2` is the second reply after the prelude of
/// plan 11, `40-crash-2-5` the fifth point of the second operation of plan 40.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the plan. The shortest come first, so that it is the same for every depth.
    pub plan: usize,
    /// Which of [`KINDS`].
    pub kind: usize,
    /// The operation, from 0, where the places of each are counted by themselves.
    pub operation: usize,
    /// Which occurrence, from 1.
    pub nth: u64,
}

impl Place {
    /// The kind of fault.
    #[must_use]
    pub fn kind(&self) -> &'static Kind {
        &KINDS[self.kind]
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-", self.plan, self.kind().word)?;
        if self.kind().stops {
            write!(f, "{}-", self.operation + 1)?;
        }
        write!(f, "{}", self.nth)
    }
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().ok().filter(|n| *n > 0 && n.to_string() == text);
        let parsed = text.split_once('-').and_then(|(plan, rest)| {
            let plan: usize = plan.parse().ok()?;
            let (kind, rest) = KINDS
                .iter()
                .enumerate()
                .find_map(|(n, kind)| Some((n, rest.strip_prefix(kind.word)?.strip_prefix('-')?)))?;
            let (operation, nth) = match KINDS[kind].stops {
                true => rest.split_once('-')?,
                false => ("1", rest),
            };
            let operation = usize::try_from(number(operation)? - 1).ok()?;
            Some(Self { plan, kind, operation, nth: number(nth)? })
        });
        // What is printed is what is read, and nothing else.
        parsed.filter(|place| place.to_string() == text).ok_or_else(|| {
            "write the number of a plan, a kind of fault and its place, such as 11-lost-reply-2 or 11-crash-1-3"
                .to_owned()
        })
    }
}

/// All plans of at most so many operations, the shortest first.
#[must_use]
pub fn plans(depth: usize) -> Vec<Short> {
    let mut all = Vec::new();
    let mut open = vec![Short(Vec::new())];
    for _ in 0..depth {
        open = open
            .iter()
            .flat_map(|Short(before)| {
                let there = state(before);
                (0..ALPHABET.len()).filter(move |op| possible(&there, *op)).map(|op| {
                    let mut next = before.clone();
                    next.push(op);
                    Short(next)
                })
            })
            .collect();
        all.extend(open.iter().cloned());
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

impl Short {
    /// The plan without a fault.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut text = String::from(
            "story \"exhaustive\"\nrequires CLU-001 CLU-005 CRE-001\npool pool0 64GiB\nhost h1 paths=2\nhost h2\nimage small kind=sample size=1MiB\n",
        );
        let lines = PRELUDE.iter().copied().chain(self.0.iter().map(|op| ALPHABET[*op].0));
        for line in lines {
            text += line;
            text.push('\n');
        }
        text += "settle\n";
        parse(&text).expect("the alphabet is legal; a test parses every plan")
    }

    /// In which operations the places of a kind of fault are counted by themselves: the first alone stands for all of them
    /// when the fault waits through the whole plan.
    #[must_use]
    pub fn operations(&self, kind: &Kind) -> std::ops::Range<usize> {
        0..if kind.stops { self.0.len() } else { 1 }
    }

    /// The plan with the fault; nothing when it has no such operation.
    #[must_use]
    pub fn with_fault(&self, place: Place) -> Option<Plan> {
        let kind = place.kind();
        if !self.operations(kind).contains(&place.operation) {
            return None;
        }
        let mut plan = self.plan();
        let at = PRELUDE.len() + place.operation;
        if kind.stops {
            // At once, while the array is still busy with what was begun; then whatever is left must come to its end.
            let behind = [Step::Restart { options: Default::default() }, Step::Settle];
            plan.steps.splice(at + 1..at + 1, behind.map(PlanStep::from));
        }
        let fault = PlacedFault {
            point: kind.point.to_owned(),
            nth: place.nth,
            action: kind.action,
            masked: false,
            most: None,
        };
        plan.steps.insert(at, PlanStep::from(Step::Arm { fault }));
        Some(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_short_plans_are_legal_stories() {
        let counts: Vec<usize> = (1..=DEPTH).map(|depth| plans(depth).len()).collect();
        assert_eq!(counts, [12, 141, 1394]);
        for (number, short) in plans(2).iter().enumerate() {
            let faulty = KINDS.iter().enumerate().flat_map(|(kind, k)| {
                short.operations(k).map(move |operation| Place { plan: number, kind, operation, nth: 3 })
            });
            let faulty = faulty.map(|place| short.with_fault(place).unwrap());
            for plan in faulty.chain([short.plan()]) {
                let text = crate::story::print(&plan);
                assert_eq!(parse(&text).unwrap(), plan);
            }
        }
        assert_eq!(plans(3)[..141], plans(2), "a number means the same plan for every depth");
    }

    #[test]
    fn after_a_crash_the_service_is_back_before_the_next_operation() {
        let place: Place = "12-crash-1-5".parse().unwrap();
        let text = crate::story::print(&plans(2)[12].with_fault(place).unwrap());
        let end = "arm flow.* nth=5 do=crash\ndetach v h1\nrestart\nsettle\nattach v h2\nsettle\n";
        assert!(text.ends_with(end), "{text}");
        let place: Place = "12-crash-2-1".parse().unwrap();
        let text = crate::story::print(&plans(2)[12].with_fault(place).unwrap());
        assert!(text.contains("detach v h1\narm flow.*"), "{text}");
        assert_eq!(plans(2)[11].with_fault(place), None, "a plan of one operation has no second");
    }

    #[test]
    fn the_name_of_a_place_is_read_as_it_is_printed() {
        for name in ["11-lost-reply-2", "0-failure-1", "140-crash-2-17"] {
            assert_eq!(name.parse::<Place>().map(|place| place.to_string()), Ok(name.to_owned()));
        }
        for bad in [
            "",
            "11",
            "11-lost-reply",
            "11-lost-reply-0",
            "11-crash-3",
            "-failure-1",
            "1-failure-1-1",
            "01-failure-1",
            "1-failure-+1",
            "1-crash-0-1",
            "1-flood-1",
            "exhaustive/1-failure-1",
        ] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
