//! The committed table: one row a mutant, told by the hash of its diff.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What became of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Not judged yet.
    Pending,
    /// The default suite did not pass.
    Suite,
    /// The default suite passed; the sweep did not.
    Sweep,
    /// Nothing noticed.
    Survived,
    /// It does not compile.
    Unviable,
    /// The sources no longer have it.
    Stale,
}

impl Verdict {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Pending, "pending"),
        (Self::Suite, "suite"),
        (Self::Sweep, "sweep"),
        (Self::Survived, "survived"),
        (Self::Unviable, "unviable"),
        (Self::Stale, "stale"),
    ];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(v, _)| *v == self).map_or("pending", |(_, word)| word)
    }
}

/// A mutant.
#[derive(Debug, Clone)]
pub struct Row {
    /// First 12 hexadecimal digits of the SHA-256 of its diff without line numbers.
    pub id: String,
    /// Which of the six homes it is in.
    pub home: String,
    /// What became of it.
    pub verdict: Verdict,
    /// What noticed it: the first failed requirement, or how the bench ended.
    pub by: String,
    /// What it is.
    pub name: String,
    /// Why a survivor survives: `equivalent: ...`, or the story that will meet it.
    pub remark: String,
}

/// The table with its head.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Seed of the sample.
    pub seed: u64,
    /// Seeds of the sweep that judged; 0 before the first.
    pub seeds: u64,
    /// Commit that the sample was drawn from.
    pub commit: String,
    /// The mutants.
    pub rows: Vec<Row>,
}

impl Ledger {
    /// Reads the table.
    ///
    /// # Errors
    /// It cannot be read, or a line is malformed: says which.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut ledger = Self::default();
        for (line, n) in text.lines().zip(1..) {
            let wrong = |what: &str| format!("{}:{n}: {what}", path.display());
            if let Some(head) = line.strip_prefix("# sample ") {
                for word in head.split(' ') {
                    match word.split_once('=') {
                        Some(("seed", seed)) => ledger.seed = seed.parse().map_err(|_| wrong("no seed"))?,
                        Some(("sweep", seeds)) => {
                            ledger.seeds = seeds.parse().map_err(|_| wrong("no seeds"))?
                        }
                        Some(("commit", commit)) => ledger.commit = commit.to_owned(),
                        _ => {}
                    }
                }
            }
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let mut cells = line.split('\t').map(str::to_owned);
            let mut next = || cells.next().ok_or_else(|| wrong("six columns are expected"));
            let (id, home, verdict, by, name) = (next()?, next()?, next()?, next()?, next()?);
            let remark = next().unwrap_or_default();
            let verdict = Verdict::ALL.iter().find(|(_, word)| *word == verdict).map(|(v, _)| *v);
            let verdict = verdict.ok_or_else(|| wrong("no such verdict"))?;
            ledger.rows.push(Row { id, home, verdict, by, name, remark });
        }
        Ok(ledger)
    }

    /// Writes the table beside the old one, then takes its place.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let mut text = format!(
            "# sample seed={} commit={} count={} sweep={}\n# id\thome\tverdict\tby\tmutant\tremark\n",
            self.seed,
            self.commit,
            self.rows.len(),
            self.seeds
        );
        for r in &self.rows {
            let _ = writeln!(
                text,
                "{}\t{}\t{}\t{}\t{}\t{}",
                r.id,
                r.home,
                r.verdict.word(),
                r.by,
                r.name,
                r.remark
            );
        }
        let beside = path.with_extension("tsv.new");
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, path))
            .map_err(|e| format!("{}: {e}", path.display()))
    }

    fn count(&self, home: &str, verdict: Verdict) -> usize {
        self.rows.iter().filter(|r| (home.is_empty() || r.home == home) && r.verdict == verdict).count()
    }

    /// Survivors that a remark explains as equivalent do not count as viable.
    fn equivalent(&self, home: &str) -> usize {
        let one = |r: &&Row| {
            (home.is_empty() || r.home == home)
                && r.verdict == Verdict::Survived
                && r.remark.starts_with("equivalent")
        };
        self.rows.iter().filter(one).count()
    }

    /// Caught mutants as a share of those judged and viable.
    #[must_use]
    pub fn caught_share(&self) -> f64 {
        self.share("")
    }

    fn share(&self, home: &str) -> f64 {
        let caught = self.count(home, Verdict::Suite) + self.count(home, Verdict::Sweep);
        let viable = caught + self.count(home, Verdict::Survived) - self.equivalent(home);
        if viable == 0 { 0.0 } else { caught as f64 / viable as f64 }
    }

    /// The figures as text.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::from(
            "home        suite  sweep  survived  equivalent  unviable  stale  pending  caught\n",
        );
        let mut homes: Vec<&str> = self.rows.iter().map(|r| r.home.as_str()).collect();
        homes.sort_unstable();
        homes.dedup();
        for home in homes.into_iter().chain([""]) {
            let n = |verdict| self.count(home, verdict);
            let _ = writeln!(
                text,
                "{:<10} {:>6} {:>6} {:>9} {:>11} {:>9} {:>6} {:>8} {:>6.1}%",
                if home.is_empty() { "all" } else { home },
                n(Verdict::Suite),
                n(Verdict::Sweep),
                n(Verdict::Survived) - self.equivalent(home),
                self.equivalent(home),
                n(Verdict::Unviable),
                n(Verdict::Stale),
                n(Verdict::Pending),
                100.0 * self.share(home)
            );
        }
        text
    }
}
