//! The copy of the sources, with mutants woven in, and the compilers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::list::Mutant;
use crate::weave::{SWITCH, weave};

/// Root of the repository that the current folder is in.
///
/// # Errors
/// It is in none.
pub fn repository() -> Result<PathBuf, String> {
    git(Path::new("."), &["rev-parse", "--show-toplevel"]).map(PathBuf::from)
}

/// The commit that is checked out.
///
/// # Errors
/// There is none.
pub fn commit(root: &Path) -> Result<String, String> {
    git(root, &["rev-parse", "--short=12", "HEAD"])
}

fn git(dir: &Path, args: &[&str]) -> Result<String, String> {
    let out = Command::new("git").current_dir(dir).args(args).output().map_err(|e| format!("git: {e}"))?;
    if !out.status.success() {
        return Err(format!("git {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr)));
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// A copy of the sources beside its build.
pub struct Tree {
    /// The copy.
    sources: PathBuf,
    /// Where it is built.
    target: PathBuf,
    root: PathBuf,
    files: Vec<String>,
}

impl Tree {
    /// Copies every tracked file as it stands in the working tree. Files that are the same already keep their time, so that
    /// a second build is short.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn new(root: &Path, work: &Path) -> Result<Self, String> {
        let files: Vec<String> = git(root, &["ls-files"])?.lines().map(str::to_owned).collect();
        let tree =
            Self { sources: work.join("sources"), target: work.join("target"), root: root.to_owned(), files };
        tree.restore()?;
        Ok(tree)
    }

    /// Puts every file back as it is in the repository.
    fn restore(&self) -> Result<(), String> {
        for file in &self.files {
            let bytes = match fs::read(self.root.join(file)) {
                Ok(bytes) => bytes,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(format!("{file}: {e}")),
            };
            self.put(file, &bytes)?;
        }
        Ok(())
    }

    fn put(&self, file: &str, bytes: &[u8]) -> Result<(), String> {
        let to = self.sources.join(file);
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        let made = to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&to, bytes));
        made.map_err(|e| format!("{}: {e}", to.display()))
    }

    fn cargo(&self, verb: &str) -> Command {
        let mut command = Command::new("cargo");
        command
            .current_dir(&self.sources)
            .args([verb, "--release", "--locked", "-p", "sanbench", "--bin", "sanbench"])
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "2")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "32")
            .env("RUSTFLAGS", "-Awarnings");
        command
    }

    /// The program as it was built last.
    pub fn program(&self) -> PathBuf {
        self.target.join("release/sanbench")
    }

    /// Weaves all mutants into one build; answers the places of those that are in it. The number of a mutant is its place.
    ///
    /// # Errors
    /// The build fails for a reason that no mutant explains.
    pub fn weave(&self, mutants: &[Mutant]) -> Result<BTreeSet<usize>, String> {
        let mut left: BTreeSet<usize> = (0..mutants.len()).collect();
        for round in 1..=12 {
            let places = self.write_woven(mutants, &mut left)?;
            eprintln!("round {round}: {} of {} mutants woven, checking", left.len(), mutants.len());
            let errors = self.errors()?;
            if errors.is_empty() {
                let built =
                    self.cargo("build").stdout(Stdio::null()).status().map_err(|e| format!("cargo: {e}"))?;
                return if built.success() {
                    Ok(left)
                } else {
                    Err("the woven sources do not link".to_owned())
                };
            }
            let before = left.len();
            for (file, first, last) in &errors {
                let near = |slack: usize| {
                    let hit = |line: &usize| (first.saturating_sub(slack)..=last + slack).contains(line);
                    let of_file = places.get(file.as_str()).into_iter().flatten();
                    of_file.filter(move |(line, _)| hit(line)).map(|(_, n)| *n).collect::<Vec<_>>()
                };
                let guilty =
                    [0, 3, 20].into_iter().map(near).find(|found| !found.is_empty()).unwrap_or_default();
                guilty.iter().for_each(|n| {
                    left.remove(n);
                });
            }
            if left.len() == before {
                return Err(format!("errors that no mutant explains: {errors:?}"));
            }
        }
        Err("the woven sources still do not compile".to_owned())
    }

    /// Writes the sources with the mutants of `left`; takes out of it those that find no place. Answers their lines by file.
    fn write_woven(
        &self,
        mutants: &[Mutant],
        left: &mut BTreeSet<usize>,
    ) -> Result<BTreeMap<String, Vec<(usize, usize)>>, String> {
        self.restore_unwoven(mutants, left)?;
        let mut by_file: BTreeMap<&str, Vec<(u32, &Mutant)>> = BTreeMap::new();
        for n in left.iter() {
            let number = u32::try_from(*n).map_err(|_| "too many mutants".to_owned())?;
            by_file.entry(&mutants[*n].file).or_default().push((number, &mutants[*n]));
        }
        let mut places: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
        let mut crates = BTreeSet::new();
        let mut placed = BTreeSet::new();
        for (file, of_file) in by_file {
            let source = fs::read_to_string(self.root.join(file)).map_err(|e| format!("{file}: {e}"))?;
            let (text, woven) = weave(&source, &of_file).map_err(|e| format!("{file}: {e}"))?;
            for number in woven {
                let n = number as usize;
                placed.insert(n);
                let marker = format!("on({number})");
                let lines =
                    text.lines().zip(1..).filter(|(line, _)| line.contains(&marker)).map(|(_, at)| at);
                places.entry(file.to_owned()).or_default().extend(lines.map(|line| (line, n)));
            }
            self.put(file, text.as_bytes())?;
            crates.insert(file.split("/src/").next().unwrap_or_default().to_owned());
        }
        for room in crates {
            let lib = format!("{room}/src/lib.rs");
            let mut text = fs::read_to_string(self.sources.join(&lib)).map_err(|e| format!("{lib}: {e}"))?;
            if !text.contains("mod sanbench_mutant") {
                text.push_str(SWITCH);
            }
            self.put(&lib, text.as_bytes())?;
        }
        left.retain(|n| placed.contains(n));
        Ok(places)
    }

    /// Files that have no mutant any more as they are in the repository, and roots of crates, which get the switch anew. The
    /// others are written by the caller, so that files which come out the same keep their time.
    fn restore_unwoven(&self, mutants: &[Mutant], left: &BTreeSet<usize>) -> Result<(), String> {
        let woven: BTreeSet<&str> = left.iter().map(|n| mutants[*n].file.as_str()).collect();
        let touched: BTreeSet<&str> = mutants.iter().map(|m| m.file.as_str()).collect();
        for file in touched.into_iter().filter(|f| f.ends_with("/lib.rs") || !woven.contains(f)) {
            let source = fs::read(self.root.join(file)).map_err(|e| format!("{file}: {e}"))?;
            self.put(file, &source)?;
        }
        Ok(())
    }

    /// Places of the compiler's errors: file, first and last line.
    fn errors(&self) -> Result<Vec<(String, usize, usize)>, String> {
        let out = self
            .cargo("check")
            .args(["--message-format=json", "--keep-going"])
            .stderr(Stdio::null())
            .output()
            .map_err(|e| format!("cargo: {e}"))?;
        let mut places = Vec::new();
        for line in out.stdout.split(|b| *b == b'\n') {
            let Ok(said) = serde_json::from_slice::<Value>(line) else { continue };
            if said["reason"] != "compiler-message" || said["message"]["level"] != "error" {
                continue;
            }
            let spans = said["message"]["spans"].as_array().cloned().unwrap_or_default();
            for span in spans.iter().filter(|s| s["is_primary"] == true) {
                let number =
                    |key: &str| span[key].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                let file = span["file_name"].as_str().unwrap_or_default().to_owned();
                places.push((file, number("line_start"), number("line_end")));
            }
        }
        if !out.status.success() && places.is_empty() {
            return Err("`cargo check` fails without naming a place".to_owned());
        }
        Ok(places)
    }

    /// Whether a mutant compiles by itself, by a check of nothing but its own crate.
    ///
    /// # Errors
    /// The sources cannot be written.
    pub fn compiles_alone(&self, mutant: &Mutant) -> Result<bool, String> {
        self.write_alone(mutant)?;
        let room = mutant.file.split("/src/").next().unwrap_or_default();
        let mut command = Command::new("cargo");
        command
            .current_dir(self.sources.join(room))
            .args(["check", "--locked", "--lib"])
            .env("CARGO_TARGET_DIR", self.target.with_file_name("checked"))
            .env("RUSTFLAGS", "-Awarnings");
        let checked = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        checked.map(|status| status.success()).map_err(|e| format!("cargo: {e}"))
    }

    /// Builds one mutant by itself. `false` when it does not compile.
    ///
    /// # Errors
    /// The sources cannot be written.
    pub fn build_alone(&self, mutant: &Mutant) -> Result<bool, String> {
        self.write_alone(mutant)?;
        let built = self.cargo("build").stdout(Stdio::null()).stderr(Stdio::null()).status();
        built.map(|status| status.success()).map_err(|e| format!("cargo: {e}"))
    }

    fn write_alone(&self, mutant: &Mutant) -> Result<(), String> {
        self.restore()?;
        let file = &mutant.file;
        let source = fs::read_to_string(self.root.join(file)).map_err(|e| format!("{file}: {e}"))?;
        let starts: Vec<usize> = std::iter::once(0)
            .chain(source.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1))
            .collect();
        let byte = |at: crate::list::At| {
            let start = starts[at.line - 1];
            let rest = &source[start..];
            start + rest.char_indices().nth(at.column - 1).map_or(rest.len(), |(at, _)| at)
        };
        let (from, to) = (byte(mutant.span.start), byte(mutant.span.end));
        let text = format!("{}{}{}", &source[..from], mutant.replacement, &source[to..]);
        self.put(file, text.as_bytes())
    }
}
