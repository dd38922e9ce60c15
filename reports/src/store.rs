//! Failures of many runs, by what they are: for each signature the earliest and the smallest plan, and how often it was
//! seen.
//!
//! ```text
//! failures/<requirement and signature>/
//!     seen.json                      how often, by which versions, since when
//!     earliest.json, earliest.story  the failure of the lowest seed
//!     smallest.json, smallest.story  the one with the fewest steps
//!     best.json                      what an unfinished shrinking has reached
//! ```
//!
//! Names follow from the failure alone, so that stores of several shards merge file by file. Every file is written whole or
//! not at all, and a lock in the folder of the signature keeps processes that share a store apart.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{FAILURE_SCHEMA, Failure};
use crate::write::{file_stem, json, named, read_failure, replace};

/// The schema name of `seen.json`.
pub const SCHEMA: &str = "sanbench.seen/1";

/// How often a failure was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The broken requirement.
    pub requirement: String,
    /// Checker, object role and first divergent field.
    pub signature: String,
    /// The symptom in one sentence, of the earliest.
    pub message: String,
    /// How often, by version of the bench.
    pub counts: BTreeMap<String, u64>,
    /// Lowest seed of a run that showed it.
    pub earliest_seed: u64,
    /// Fewest steps that show it.
    pub fewest_steps: u64,
}

impl Seen {
    /// How often by all versions.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// What an unfinished shrinking has reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Best {
    /// The plan that it began with, in the story language.
    pub original: String,
    /// Seed of the case.
    pub seed: u64,
    /// Defects planted meanwhile.
    pub planted: Vec<String>,
    /// Version of the bench.
    pub version: String,
    /// The simplest plan so far.
    pub plan: String,
    /// Plans tried so far.
    pub runs: u64,
    /// Milliseconds spent so far.
    pub ms: u64,
    /// Nothing simpler will be found.
    pub complete: bool,
}

/// A folder of failures.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store in a state folder; made when the first failure is put into it.
    #[must_use]
    pub fn in_state(state: &Path) -> Self {
        Self { dir: state.join("failures") }
    }

    /// The folder itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a failure of this requirement and signature lies.
    #[must_use]
    pub fn place(&self, requirement: &str, signature: &str) -> PathBuf {
        self.dir.join(file_stem(&format!("{requirement}-{}", signature.replace([':', ' '], "-"))))
    }

    /// Takes a failure in that was seen `count` times; answers what is known of it now.
    ///
    /// # Errors
    /// A file cannot be read or written; it is named.
    pub fn put(&self, failure: &Failure, count: u64) -> io::Result<Seen> {
        self.update(failure, count, &failure.run.version)
    }

    /// Takes everything of another store in.
    ///
    /// # Errors
    /// A file of either cannot be read or written; it is named.
    pub fn merge(&self, other: &Self) -> io::Result<()> {
        for seen in other.list()? {
            let from = other.place(&seen.requirement, &seen.signature);
            for name in ["earliest.json", "smallest.json"] {
                let failure = read_failure(&from.join(name))?;
                self.update(&failure, 0, &failure.run.version)?;
            }
            let to = self.place(&seen.requirement, &seen.signature);
            let _lock = lock(&to)?;
            let mut ours = read_seen(&to)?.unwrap_or_default();
            for (version, count) in &seen.counts {
                *ours.counts.entry(version.clone()).or_default() += count;
            }
            write(&to.join("seen.json"), &ours)?;
        }
        Ok(())
    }

    /// Everything that was seen, by requirement and signature.
    ///
    /// # Errors
    /// The folder or a file in it cannot be read; a store that was never written to is empty.
    pub fn list(&self) -> io::Result<Vec<Seen>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(named(&self.dir, &e)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| named(&self.dir, &e))?.path();
            all.extend(read_seen(&path)?);
        }
        all.sort_by(|a, b| (&a.requirement, &a.signature).cmp(&(&b.requirement, &b.signature)));
        Ok(all)
    }

    /// What an earlier shrinking of the same plan by the same version has reached.
    #[must_use]
    pub fn best(&self, requirement: &str, signature: &str, wanted: &Best) -> Option<Best> {
        let text = fs::read(self.place(requirement, signature).join("best.json")).ok()?;
        let best: Best = serde_json::from_slice(&text).ok()?;
        let same = best.original == wanted.original
            && best.seed == wanted.seed
            && best.planted == wanted.planted
            && best.version == wanted.version;
        same.then_some(best)
    }

    /// Keeps what a shrinking has reached.
    ///
    /// # Errors
    /// The file cannot be written; it is named.
    pub fn keep_best(&self, requirement: &str, signature: &str, best: &Best) -> io::Result<()> {
        write(&self.place(requirement, signature).join("best.json"), best)
    }

    fn update(&self, failure: &Failure, count: u64, version: &str) -> io::Result<Seen> {
        let finding = &failure.finding;
        let dir = self.place(&finding.requirement, &finding.signature);
        let _lock = lock(&dir)?;
        let known = read_seen(&dir)?;
        let size = steps_in(&failure.plan);
        let (earlier, smaller) = match &known {
            None => (true, true),
            Some(known) => {
                // A tie in steps goes to the shorter text, then to the lower seed: the order of arrival must not matter.
                let other = read_failure(&dir.join("smallest.json")).unwrap_or_default();
                let rank = |f: &Failure| (steps_in(&f.plan), f.plan.len(), f.run.seed, f.plan.clone());
                let earliest = read_failure(&dir.join("earliest.json")).unwrap_or_default();
                let age = |f: &Failure| (f.run.seed, f.finding.seed, f.finding.case.clone(), rank(f));
                (
                    failure.run.seed <= known.earliest_seed && age(failure) < age(&earliest),
                    rank(failure) < rank(&other),
                )
            }
        };
        let mut seen = known.unwrap_or_else(|| Seen {
            schema: SCHEMA.to_owned(),
            requirement: finding.requirement.clone(),
            signature: finding.signature.clone(),
            earliest_seed: failure.run.seed,
            fewest_steps: size,
            ..Seen::default()
        });
        if count > 0 {
            *seen.counts.entry(version.to_owned()).or_default() += count;
        }
        for (wanted, name) in [(earlier, "earliest"), (smaller, "smallest")] {
            if wanted {
                let whole = Failure { schema: FAILURE_SCHEMA.to_owned(), ..failure.clone() };
                replace(&dir.join(format!("{name}.story")), failure.plan.as_bytes())
                    .map_err(|e| named(&dir, &e))?;
                write(&dir.join(format!("{name}.json")), &whole)?;
            }
        }
        if earlier {
            seen.earliest_seed = failure.run.seed;
            seen.message.clone_from(&finding.message);
        }
        if smaller {
            seen.fewest_steps = size;
        }
        write(&dir.join("seen.json"), &seen)?;
        Ok(seen)
    }
}

/// Lines of a story that are steps: all but its head. The head's verbs are few and known.
#[must_use]
pub fn steps_in(plan: &str) -> u64 {
    const HEAD: [&str; 14] = [
        "story",
        "requires",
        "option",
        "pool",
        "host",
        "type",
        "image",
        "fault",
        "write-cache",
        "journal",
        "schedule",
        "array",
        "remote",
        "tune",
    ];
    let steps = plan.lines().filter(|line| {
        let word = line.split_whitespace().next().unwrap_or("#");
        !word.starts_with('#') && !HEAD.contains(&word)
    });
    steps.count() as u64
}

fn lock(dir: &Path) -> io::Result<File> {
    fs::create_dir_all(dir).map_err(|e| named(dir, &e))?;
    let path = dir.join(".lock");
    let file = File::create(&path).map_err(|e| named(&path, &e))?;
    file.lock().map_err(|e| named(&path, &e))?;
    Ok(file)
}

fn read_seen(dir: &Path) -> io::Result<Option<Seen>> {
    let path = dir.join("seen.json");
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| named(&path, &io::Error::new(io::ErrorKind::InvalidData, e))),
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.kind() == io::ErrorKind::NotADirectory => Ok(None),
        Err(e) => Err(named(&path, &e)),
    }
}

fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    replace(path, &json(value)?).map_err(|e| named(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Finding, Run};

    fn failure(seed: u64, plan: &str) -> Failure {
        Failure {
            schema: FAILURE_SCHEMA.to_owned(),
            finding: Finding {
                requirement: "CLN-001".into(),
                signature: "data:volume:zeroed".into(),
                message: format!("seen with seed {seed}"),
                ..Finding::default()
            },
            run: Run { seed, version: "0.1.0".into(), ..Run::default() },
            plan: plan.to_owned(),
            ..Failure::default()
        }
    }

    #[test]
    fn the_earliest_and_the_smallest_are_kept_in_whatever_order_they_come() {
        let all = [
            failure(7, "story \"x\"\ncreate a size=1GiB\ncreate b size=1GiB volume=a\n"),
            failure(3, "story \"x\"\ncreate a size=1GiB\ncreate b size=1GiB volume=a\ncensus\n"),
            failure(9, "story \"x\"\nhost h\ncreate a size=1GiB\n"),
        ];
        let orders = [[0, 1, 2], [2, 1, 0], [1, 2, 0]];
        for order in orders {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::in_state(dir.path());
            for n in order {
                store.put(&all[n], 1).unwrap();
            }
            let [seen] = &store.list().unwrap()[..] else { panic!("one signature") };
            assert_eq!((seen.count(), seen.earliest_seed, seen.fewest_steps), (3, 3, 1));
            assert_eq!(seen.message, "seen with seed 3");
            let place = store.place("CLN-001", "data:volume:zeroed");
            assert!(place.ends_with("failures/CLN-001-data-volume-zeroed"), "{}", place.display());
            assert_eq!(read_failure(&place.join("earliest.json")).unwrap().run.seed, 3);
            assert_eq!(read_failure(&place.join("smallest.json")).unwrap().run.seed, 9);
            assert!(place.join("smallest.story").is_file());
        }
    }

    #[test]
    fn stores_of_shards_merge_to_what_one_run_would_have_kept() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, two, all] = [0, 1, 2].map(|n| Store::in_state(dirs[n].path()));
        let failures = [failure(4, "create a size=1GiB\n"), failure(2, "create a size=1GiB\ncensus\n")];
        one.put(&failures[0], 1).unwrap();
        two.put(&failures[1], 1).unwrap();
        failures.iter().for_each(|f| drop(all.put(f, 1).unwrap()));
        one.merge(&two).unwrap();
        assert_eq!(one.list().unwrap(), all.list().unwrap());
        assert_eq!(one.list().unwrap()[0].count(), 2);
    }

    #[test]
    fn a_shrinking_goes_on_only_from_its_own_plan() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::in_state(dir.path());
        let best = Best { original: "long".into(), seed: 5, plan: "short".into(), ..Best::default() };
        store.keep_best("A-1", "a:b:c", &best).unwrap();
        let wanted = Best { original: "long".into(), seed: 5, ..Best::default() };
        assert_eq!(store.best("A-1", "a:b:c", &wanted).unwrap().plan, "short");
        assert_eq!(store.best("A-1", "a:b:c", &Best { seed: 6, ..wanted }), None);
    }
}
