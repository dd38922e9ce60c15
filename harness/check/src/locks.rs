//! The order in which operations take locks.
//!
//! Two operations that take the same two locks in different orders need only the right moment to wait for each other for ever.
//! So whoever asks for a lock while he has another one says in which order they are taken, and orders that contradict each other
//! are a finding although nobody waited: CON-004.

use std::collections::{BTreeMap, BTreeSet};

use crate::verdict::Finding;

/// A lock: its kind, and the object that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// What it is for, in one word.
    pub kind: &'static str,
    /// The object.
    pub of: String,
}

/// Every order that was seen.
///
/// Kinds have one order, whatever the objects: which of them meet is a matter of chance. Locks of one kind have an order of
/// their own.
#[derive(Debug, Default)]
pub struct LockOrder {
    after: BTreeMap<String, BTreeSet<String>>,
}

impl LockOrder {
    /// An operation asked for a lock while it had another one.
    #[must_use]
    pub fn take(&mut self, held: &Lock, asked: &Lock) -> Option<Finding> {
        let name = |lock: &Lock| match held.kind == asked.kind {
            true => format!("{} of {}", lock.kind, lock.of),
            false => lock.kind.to_owned(),
        };
        let (first, second) = (name(held), name(asked));
        // Told once is enough.
        if !self.after.entry(first.clone()).or_default().insert(second.clone()) {
            return None;
        }
        let back = self.way(&second, &first)?;
        let finding = Finding::new("CON-004", "locks", "lock", "order")
            .says("locks were taken in orders that contradict each other: at the wrong moment nobody goes on")
            .compared(format!("the order {}", back.join(", ")), format!("{first}, then {second}"));
        Some(finding)
    }

    /// From a lock to one that is taken after it, in the order in which they are taken.
    fn way(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut ways = vec![vec![from.to_owned()]];
        let mut seen = BTreeSet::from([from.to_owned()]);
        while let Some(way) = ways.pop() {
            let last = way.last()?;
            if last == to {
                return Some(way);
            }
            for next in self.after.get(last).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    ways.push([&way[..], std::slice::from_ref(next)].concat());
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(kind: &'static str, of: &str) -> Lock {
        Lock { kind, of: of.to_owned() }
    }

    /// Kind and object.
    type Named = (&'static str, &'static str);

    fn fires(pairs: &[(Named, Named)]) -> Vec<String> {
        let mut order = LockOrder::default();
        let take = |((kind, of), (other, its)): &(Named, Named)| {
            order
                .take(&lock(kind, of), &lock(other, its))
                .map(|f| format!("{} {}", f.requirement, f.expected))
        };
        pairs.iter().filter_map(take).collect()
    }

    #[test]
    fn one_order_of_kinds_is_right() {
        let right = [(("image", "i"), ("delete", "a")), (("delete", "a"), ("control", "a"))];
        assert_eq!(fires(&[right, right].concat()), [""; 0]);
        assert_eq!(fires(&[(("image", "i"), ("control", "b")), right[0], right[1]]), [""; 0]);
    }

    #[test]
    fn a_circle_fires_once_whatever_the_objects() {
        let pairs = [
            (("image", "i"), ("delete", "a")),
            (("delete", "b"), ("control", "b")),
            (("control", "c"), ("image", "j")),
            (("control", "d"), ("image", "j")),
        ];
        assert_eq!(fires(&pairs), ["CON-004 the order image, delete, control"]);
    }

    #[test]
    fn locks_of_one_kind_have_an_order_by_object() {
        let (ab, bc) = ((("delete", "a"), ("delete", "b")), (("delete", "b"), ("delete", "c")));
        assert_eq!(fires(&[ab, bc]), [""; 0]);
        let back = fires(&[ab, bc, (("delete", "c"), ("delete", "a"))]);
        assert_eq!(back, ["CON-004 the order delete of a, delete of b, delete of c"]);
        assert_eq!(fires(&[(("delete", "a"), ("delete", "a"))]), ["CON-004 the order delete of a"]);
    }
}
