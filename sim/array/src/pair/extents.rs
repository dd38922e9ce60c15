//! A set of extent numbers, kept as runs: the difference log of a pair, and what a synchronisation still has to copy.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Extent numbers. Memory goes with the number of runs, not of extents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExtentSet {
    /// First extent of a run -> the one behind its last. Runs neither touch nor overlap.
    runs: BTreeMap<u64, u64>,
}

impl ExtentSet {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Extents in it.
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|(from, to)| to - from).sum()
    }

    /// Whether this extent is in it.
    pub fn contains(&self, index: u64) -> bool {
        self.runs.range(..=index).next_back().is_some_and(|(_, to)| index < *to)
    }

    /// Its runs in ascending order.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        self.runs.iter().map(|(from, to)| *from..*to)
    }

    /// Adds a run.
    pub fn insert(&mut self, run: Range<u64>) {
        if run.is_empty() {
            return;
        }
        let (mut from, mut to) = (run.start, run.end);
        // Runs that touch the new one become part of it.
        while let Some((start, end)) = self.runs.range(..=to).next_back().map(|(s, e)| (*s, *e)) {
            if end < from {
                break;
            }
            self.runs.remove(&start);
            (from, to) = (from.min(start), to.max(end));
        }
        self.runs.insert(from, to);
    }

    /// Adds everything that is in another one.
    pub fn union(&mut self, other: &Self) {
        other.runs().for_each(|run| self.insert(run));
    }

    /// Takes the lowest extent out.
    pub fn pop_first(&mut self) -> Option<u64> {
        let (from, to) = self.runs.pop_first()?;
        if from + 1 < to {
            self.runs.insert(from + 1, to);
        }
        Some(from)
    }

    /// Takes the odd extents out: what the planted defect of a forgetful difference log loses.
    pub(crate) fn forget_odd(&mut self) {
        let even: Vec<u64> = self.runs().flatten().filter(|index| index % 2 == 0).collect();
        self.runs.clear();
        even.into_iter().for_each(|index| self.insert(index..index + 1));
    }
}

impl FromIterator<Range<u64>> for ExtentSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(runs: I) -> Self {
        let mut set = Self::default();
        runs.into_iter().for_each(|run| set.insert(run));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_that_a_tree_of_numbers_is(runs in prop::collection::vec((0..60_u64, 0..9_u64), 0..20), pops in 0..9_usize) {
            let mut set = ExtentSet::default();
            let mut naive = BTreeSet::new();
            for (from, len) in runs {
                set.insert(from..from + len);
                naive.extend(from..from + len);
            }
            for _ in 0..pops {
                prop_assert_eq!(set.pop_first(), naive.pop_first());
            }
            prop_assert_eq!(set.len(), naive.len() as u64);
            prop_assert_eq!(set.runs().flatten().collect::<Vec<_>>(), naive.iter().copied().collect::<Vec<_>>());
            prop_assert!((0..80).all(|index| set.contains(index) == naive.contains(&index)));
            let runs: Vec<_> = set.runs().collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "runs touch");
        }
    }
}
