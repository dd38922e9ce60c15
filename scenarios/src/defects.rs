//! Planted defects: values given at construction, never on by default; and what each must be caught by.
//!
//! A switch lives in the part that it makes wrong, and that part lists it with its id in the catalogue. `directed.tsv` says
//! which stories show it and which requirements must then fail; `waiting.tsv` says of the catalogue's other defects what they
//! wait for. A test holds the three together.

use std::sync::OnceLock;

use sanbench_initiator::ConnectorDefects;

use crate::register;
use crate::registry::Registry;

/// A defect that can be planted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plantable {
    /// Name for `--defect`.
    pub(crate) name: &'static str,
    /// Id in the catalogue; `B` and a number for another public bug; else the requirement that it breaks.
    pub(crate) catalogue: &'static str,
    /// Where it lives.
    pub(crate) home: &'static str,
    /// What it does.
    pub(crate) text: &'static str,
}

/// How a planted defect shows itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directed {
    /// Its switch.
    pub(crate) switch: &'static str,
    /// Stories, protocol chapters or probes of the bench itself (`probe:...`) that show it, the quickest first.
    pub(crate) stories: Vec<&'static str>,
    /// Requirements of which at least one must fail.
    pub(crate) by: Vec<&'static str>,
}

/// A defect that cannot be planted yet, or that nothing can show yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Id in the catalogue, or a switch.
    pub(crate) id: &'static str,
    /// What has to be built.
    pub(crate) waits_for: &'static str,
}

/// The defects of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Planted {
    /// In the simulated array.
    pub(crate) array: sanbench_array::Defects,
    /// In the target.
    pub(crate) target: sanbench_target::TargetDefects,
    /// In the workflow.
    pub(crate) flows: sanbench_flows::FlowDefects,
    /// In the connectors.
    pub(crate) connector: ConnectorDefects,
    /// In the journal of the array, where it has one.
    pub(crate) journal: sanbench_durable::Defects,
    /// In the driver, by name.
    pub(crate) driver: Vec<String>,
    /// In the bench itself.
    pub(crate) bench: BenchDefects,
}

/// Planted defects of the bench's own verdict and clean-up; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BenchDefects {
    /// D74: clean-up takes objects that carry no tag of ours.
    pub(crate) clean_takes_foreign: bool,
    /// D75: a requirement that nothing was compared for counts as passed.
    pub(crate) not_run_counts_as_passed: bool,
    /// D75: a case that did not run is not missed.
    pub(crate) missing_case_accepted: bool,
    /// What must not depend on the process does.
    pub(crate) leak_hash_order: bool,
}

impl BenchDefects {
    /// Every switch: name, id in the catalogue of defects, what it does.
    pub(crate) const ALL: &'static [(&'static str, &'static str, &'static str)] = &[
        ("clean_takes_foreign", "D74", "clean-up removes objects that carry no tag of the bench"),
        ("not_run_counts_as_passed", "D75", "a requirement that nothing was compared for counts as passed"),
        ("missing_case_accepted", "D75", "a case that was planned and did not run is not missed"),
        ("leak_hash_order", "BEN-003", "the order of a hash map of the process gets into every history"),
    ];

    /// Switches on the defect called `name`; false if there is none of that name.
    pub(crate) fn set(&mut self, name: &str) -> bool {
        let switch = match name {
            "clean_takes_foreign" => &mut self.clean_takes_foreign,
            "not_run_counts_as_passed" => &mut self.not_run_counts_as_passed,
            "missing_case_accepted" => &mut self.missing_case_accepted,
            "leak_hash_order" => &mut self.leak_hash_order,
            _ => return false,
        };
        *switch = true;
        true
    }
}

/// Every defect of every home, ordered by catalogue id.
pub(crate) fn all(registry: &Registry) -> Vec<Plantable> {
    let mut all = Vec::new();
    let mut add = |home, list: &[(&'static str, &'static str, &'static str)]| {
        all.extend(list.iter().map(|(name, catalogue, text)| Plantable { name, catalogue, home, text }));
    };
    add("array", sanbench_array::Defects::ALL);
    add("journal", sanbench_durable::Defects::ALL);
    add("target", sanbench_target::TargetDefects::ALL);
    add("workflow", sanbench_flows::FlowDefects::ALL);
    add("connector", ConnectorDefects::ALL);
    add("bench", BenchDefects::ALL);
    for driver in &registry.drivers {
        add("driver", driver.defects);
    }
    all.sort_by_key(|d| (rank(d.catalogue), d.catalogue, d.name));
    all
}

/// The catalogue first, then other public bugs, then what only a requirement names.
fn rank(id: &str) -> u8 {
    let number = |letter| id.strip_prefix(letter).is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    if number('D') {
        0
    } else if number('B') {
        1
    } else {
        2
    }
}

fn words(cell: &'static str) -> Vec<&'static str> {
    cell.split(' ').filter(|word| !word.is_empty()).collect()
}

/// How each planted defect shows itself.
pub(crate) fn directed() -> &'static [Directed] {
    static ALL: OnceLock<Vec<Directed>> = OnceLock::new();
    ALL.get_or_init(|| {
        register::rows(include_str!("../data/directed.tsv"))
            .filter_map(|cells| match cells[..] {
                [switch, stories, by] => Some(Directed { switch, stories: words(stories), by: words(by) }),
                _ => None,
            })
            .collect()
    })
}

/// Defects that wait for their home.
pub(crate) fn waiting() -> &'static [Waiting] {
    static ALL: OnceLock<Vec<Waiting>> = OnceLock::new();
    ALL.get_or_init(|| {
        register::rows(include_str!("../data/waiting.tsv"))
            .filter_map(|cells| match cells[..] {
                [id, waits_for] => Some(Waiting { id, waits_for }),
                _ => None,
            })
            .collect()
    })
}

impl Plantable {
    /// How it shows itself.
    pub(crate) fn directed(&self) -> Option<&'static Directed> {
        directed().iter().find(|d| d.switch == self.name)
    }

    /// Where the defect was seen in the wild.
    pub(crate) fn reference(&self) -> String {
        reference(self.catalogue)
    }
}

/// Where a defect was seen in the wild; public bugs only.
pub(crate) fn reference(id: &str) -> String {
    match (register::defects().iter().find(|d| d.id == id), rank(id)) {
        (Some(known), _) => known.reference.to_owned(),
        (None, 1) => format!("Launchpad bug {}", &id[1..]),
        (None, _) => format!("class of {id}"),
    }
}

impl Planted {
    /// Switches on the defects of these names or catalogue ids.
    ///
    /// # Errors
    /// The first word that names none.
    pub(crate) fn from_words(registry: &Registry, words: &[String]) -> Result<Self, String> {
        let known = all(registry);
        let mut planted = Self::default();
        for word in words {
            let mut found = false;
            for defect in known.iter().filter(|d| d.name == word || d.catalogue == word) {
                found = true;
                planted.switch_on(defect);
            }
            if !found {
                return Err(word.clone());
            }
        }
        Ok(planted)
    }

    /// One defect alone.
    pub(crate) fn only(defect: &Plantable) -> Self {
        let mut planted = Self::default();
        planted.switch_on(defect);
        planted
    }

    fn switch_on(&mut self, defect: &Plantable) {
        match defect.home {
            "array" => {
                self.array.set(defect.name);
            }
            "journal" => {
                self.journal.set(defect.name);
            }
            "target" => {
                self.target.set(defect.name);
            }
            "connector" => {
                self.connector.set(defect.name);
            }
            "workflow" => {
                self.flows.set(defect.name);
            }
            "bench" => {
                self.bench.set(defect.name);
            }
            _ => self.driver.push(defect.name.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A defect without a story, a story without a defect, a catalogue entry that nobody thought of: all are errors.
    #[test]
    fn every_defect_has_its_story_or_its_reason() {
        let registry = Registry::builtin();
        let all = all(&registry);
        let switches: BTreeSet<&str> = all.iter().map(|d| d.name).collect();
        assert_eq!(switches.len(), all.len(), "two switches have one name");
        let rows: BTreeSet<&str> = directed().iter().map(|d| d.switch).collect();
        assert_eq!(rows.len(), directed().len(), "a switch stands in directed.tsv twice");
        assert!(rows.is_subset(&switches), "no such switches: {:?}", rows.difference(&switches));
        let waits = |id| waiting().iter().any(|w| w.id == id);
        let without = all.iter().filter(|d| d.directed().is_none() && !waits(d.catalogue) && !waits(d.name));
        assert_eq!(without.map(|d| d.name).collect::<Vec<_>>(), [""; 0], "neither a story nor a reason");
        for d in directed() {
            assert!(!d.stories.is_empty() && !d.by.is_empty(), "{}", d.switch);
            for story in &d.stories {
                let known = story.starts_with("probe:")
                    || registry.story(story).is_some()
                    || sanbench_protocol::Chapter::by_name(story).is_some();
                assert!(known, "{}: no story {story}", d.switch);
            }
            for id in &d.by {
                assert!(register::requirement_by_id(id).is_some(), "{}: no requirement {id}", d.switch);
            }
        }
        let shown: BTreeSet<&str> =
            all.iter().filter(|d| d.directed().is_some()).map(|d| d.catalogue).collect();
        for known in register::defects() {
            assert!(
                shown.contains(known.id) != waits(known.id),
                "{}: neither shown nor waiting, or both",
                known.id
            );
        }
        for d in &all {
            let other = rank(d.catalogue) == 2;
            assert!(
                !other || register::requirement_by_id(d.catalogue).is_some(),
                "{}: {}",
                d.name,
                d.catalogue
            );
        }
    }
}
