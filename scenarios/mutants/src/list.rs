//! What `cargo mutants` lists, and the sample drawn from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::ledger::{Ledger, Row, Verdict};

/// Where mutants are made, and how the ledger calls the place.
const HOMES: &[(&str, &str)] = &[
    ("sim/array/src/store/", "store"),
    ("sim/array/src/", "array"),
    ("sim/target/src/", "target"),
    ("drivers/tengling/src/", "driver"),
    ("drivers/initiator/src/connector/", "connector"),
    ("drivers/initiator/src/host/", "connector"),
    ("harness/flows/src/", "flows"),
];

/// Switches of planted defects, doubles for tests and words for people are no behaviour that the bench judges.
const LEFT_OUT: &[&str] = &["defects.rs", "/testing/", "/tests.rs"];

/// A place in a source file; lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct At {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// From the first character to the one behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Span {
    /// First.
    pub start: At,
    /// Behind the last.
    pub end: At,
}

/// What kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Genre {
    /// The body of a function gives way to a value.
    FnValue,
    /// Another binary operator.
    BinaryOperator,
    /// A unary operator goes.
    UnaryOperator,
    /// An arm of a match goes.
    MatchArm,
    /// A guard is always true or always false.
    MatchArmGuard,
    /// A field of a struct expression is left to its default.
    StructField,
}

/// A mutant as `cargo mutants --list --json` gives it.
#[derive(Debug, Clone, Deserialize)]
pub struct Mutant {
    /// File, from the root of the repository.
    pub file: String,
    /// Kind.
    pub genre: Genre,
    /// In words, with its place.
    pub name: String,
    /// What comes instead.
    pub replacement: String,
    /// What is replaced.
    pub span: Span,
    /// As a patch.
    pub diff: String,
    /// Its row in the ledger; set by [`find`].
    #[serde(skip)]
    pub row: usize,
}

impl Mutant {
    /// Stable while the code around it stays as it is, wherever it moves to.
    pub fn id(&self) -> String {
        let mut hasher = Sha256::new();
        self.diff.lines().filter(|l| !l.starts_with("@@")).for_each(|l| hasher.update(l.as_bytes()));
        hasher.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect()
    }

    fn home(&self) -> &'static str {
        HOMES.iter().find(|(path, _)| self.file.starts_with(path)).map_or("", |(_, home)| home)
    }
}

/// Every mutant of the six homes.
///
/// # Errors
/// `cargo mutants` is missing or fails.
pub fn all(root: &Path) -> Result<Vec<Mutant>, String> {
    let mut command = Command::new("cargo");
    command.current_dir(root).args(["mutants", "--workspace", "--list", "--json", "--diff"]);
    for (path, _) in HOMES {
        command.args(["-f", &format!("{path}**/*.rs")]);
    }
    let out = command.output().map_err(|e| format!("cargo: {e}"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        return Err(format!("`cargo mutants` failed (`cargo install cargo-mutants` gets it): {said}"));
    }
    let mut all: Vec<Mutant> = serde_json::from_slice(&out.stdout).map_err(|e| format!("its list: {e}"))?;
    all.retain(|m| !LEFT_OUT.iter().any(|part| m.file.contains(part)) && !m.name.contains("fmt::"));
    Ok(all)
}

/// Draws a sample: the same number from each home, those with the smallest keyed hashes.
pub fn sample(all: &[Mutant], seed: u64, count: usize, commit: &str) -> Ledger {
    let mut by_home: BTreeMap<&str, Vec<(Vec<u8>, &Mutant)>> = BTreeMap::new();
    for mutant in all {
        let key = Sha256::digest(format!("{seed} {}", mutant.id())).to_vec();
        by_home.entry(mutant.home()).or_default().push((key, mutant));
    }
    let homes = by_home.len().max(1);
    let mut rows = Vec::new();
    for (n, (home, mut mutants)) in by_home.into_iter().enumerate() {
        mutants.sort_by(|a, b| a.0.cmp(&b.0));
        let share = count / homes + usize::from(n < count % homes);
        let mut drawn: Vec<Row> = Vec::new();
        for (_, mutant) in mutants {
            let id = mutant.id();
            if drawn.len() == share {
                break;
            }
            if drawn.iter().any(|r| r.id == id) {
                continue;
            }
            let (home, name) = (home.to_owned(), mutant.name.clone());
            drawn.push(Row {
                id,
                home,
                verdict: Verdict::Pending,
                by: String::new(),
                name,
                remark: String::new(),
            });
        }
        drawn.sort_by(|a, b| a.name.cmp(&b.name));
        rows.extend(drawn);
    }
    Ledger { seed, seeds: 0, commit: commit.to_owned(), rows }
}

/// The mutants of the ledger's pending rows; rows whose mutant the sources no longer have become stale.
pub fn find(all: &[Mutant], ledger: &mut Ledger) -> Vec<Mutant> {
    let known: BTreeMap<String, &Mutant> = all.iter().map(|m| (m.id(), m)).collect();
    let mut found = Vec::new();
    for (n, row) in ledger.rows.iter_mut().enumerate() {
        match known.get(&row.id) {
            Some(mutant) => {
                row.name.clone_from(&mutant.name);
                if row.verdict == Verdict::Stale {
                    row.verdict = Verdict::Pending;
                }
                if row.verdict == Verdict::Pending {
                    found.push(Mutant { row: n, ..(*mutant).clone() });
                }
            }
            None if row.verdict == Verdict::Pending => row.verdict = Verdict::Stale,
            None => {}
        }
    }
    found
}
