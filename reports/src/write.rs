//! The report directory: every document of a run, each written whole or not at all.
//!
//! | file | content |
//! |---|---|
//! | `report.json` | the [`Report`] as it stands |
//! | `report.schema.json` | its JSON Schema |
//! | `junit.xml` | cases as JUnit tests |
//! | `report.html` | one self-contained page |
//! | `report.md` | the same in short, for a merge request |
//! | `failures/<id>.json`, `.story` | a finding with the plan that shows it; the caller chooses which |
//! | `history/<id>.jsonl` | what happened in each case |
//! | captures | as named by the caller, for example `run.pcapng` |

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::anatomy::Anatomy;
use crate::model::{FAILURE_SCHEMA, Failure, Report};
use crate::{html, junit, markdown, schema};

/// What goes into the report directory beside the report itself.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Plan of each case in the story language, by case id.
    pub plans: BTreeMap<String, String>,
    /// Failures as they are to be written, by finding id; other findings have none of their own.
    pub failures: BTreeMap<String, Failure>,
    /// How a finding came about, by finding id; its plan is the shrunk one.
    pub anatomies: BTreeMap<String, Anatomy>,
    /// History of each case as JSON lines, by case id.
    pub histories: BTreeMap<String, String>,
    /// Captures as (file name, content).
    pub captures: Vec<(String, Vec<u8>)>,
}

impl Extras {
    /// The plan that shows a finding: the shrunk one, else the whole plan of its case, else nothing.
    #[must_use]
    pub fn plan_of(&self, finding: &str, case: &str) -> &str {
        let own = self.failures.get(finding).map(|f| &f.plan);
        own.or_else(|| self.plans.get(case)).map_or("", String::as_str)
    }
}

/// Writes the report directory, creating it when it is missing; answers the files in the order of writing. `report.json`
/// comes last, so that its presence says that the directory is complete. Files of an earlier run with other names stay.
///
/// # Errors
/// The first file that could not be written, by name; every file is either as before or complete.
pub fn write_dir(report: &Report, extras: &Extras, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut out = Writer { dir, written: Vec::new() };
    for (id, history) in &extras.histories {
        out.put(&format!("history/{}.jsonl", file_stem(id)), history.as_bytes())?;
    }
    for (id, failure) in &extras.failures {
        let stem = file_stem(id);
        let failure =
            Failure { schema: FAILURE_SCHEMA.to_owned(), run: report.run.clone(), ..failure.clone() };
        out.put(&format!("failures/{stem}.json"), &json(&failure)?)?;
        if !failure.plan.is_empty() {
            out.put(&format!("failures/{stem}.story"), failure.plan.as_bytes())?;
        }
    }
    for (name, content) in &extras.captures {
        out.put(&file_stem(name), content)?;
    }
    out.put("junit.xml", junit::render(report).map_err(io::Error::other)?.as_bytes())?;
    out.put("report.md", markdown::render(report).as_bytes())?;
    out.put("report.html", html::render(report, extras).as_bytes())?;
    out.put("report.schema.json", &json(&schema::report())?)?;
    out.put("report.json", &json(report)?)?;
    Ok(out.written)
}

/// Reads `report.json` back, for `report render`, `diff` and `--baseline`.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn read_report(path: &Path) -> io::Result<Report> {
    let text = fs::read(path).map_err(|error| named(path, &error))?;
    serde_json::from_slice(&text)
        .map_err(|error| named(path, &io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// Writes one failure file and the story beside it.
///
/// # Errors
/// Names the file; each is either as before or complete.
pub fn write_failure(failure: &Failure, path: &Path) -> io::Result<()> {
    let story = path.with_extension("story");
    replace(&story, failure.plan.as_bytes()).map_err(|error| named(&story, &error))?;
    replace(path, &json(failure)?).map_err(|error| named(path, &error))
}

/// Reads one `failures/<id>.json`, for `replay`.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn read_failure(path: &Path) -> io::Result<Failure> {
    let text = fs::read(path).map_err(|error| named(path, &error))?;
    let failure: Failure = serde_json::from_slice(&text)
        .map_err(|error| named(path, &io::Error::new(io::ErrorKind::InvalidData, error)))?;
    if failure.schema == FAILURE_SCHEMA {
        Ok(failure)
    } else {
        let message = format!("schema is {:?}, wanted {FAILURE_SCHEMA:?}", failure.schema);
        Err(named(path, &io::Error::new(io::ErrorKind::InvalidData, message)))
    }
}

/// An id as a file name: letters, digits, `.`, `_` and `-` stay, all else becomes `-`. An id that is changed by this, or
/// is too long, gets eight hexadecimal digits of its own, so that two ids never share a file.
#[must_use]
pub fn file_stem(id: &str) -> String {
    const LONGEST: usize = 100;
    let plain: String = id
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .take(LONGEST)
        .collect();
    // `/` is the usual separator in case ids and is not worth a suffix.
    let harmless = plain == id.replace('/', "-") && !plain.starts_with('.') && !plain.is_empty();
    if harmless {
        return plain;
    }
    // FNV-1a, 32 bits.
    let digest =
        id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{}-{digest:08x}", plain.trim_start_matches('.'))
}

struct Writer<'a> {
    dir: &'a Path,
    written: Vec<PathBuf>,
}

impl Writer<'_> {
    fn put(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let path = self.dir.join(name);
        replace(&path, content).map_err(|error| named(&path, &error))?;
        self.written.push(path);
        Ok(())
    }
}

/// Writes beside the target and renames: a reader sees the old file or the new one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    let temporary = PathBuf::from(temporary);
    let result = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The first error is the one worth telling.
        let _ = fs::remove_file(&temporary);
    }
    result
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

pub(crate) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn extras() -> Extras {
        Extras {
            plans: BTreeMap::from([("lifecycle/0".to_owned(), "create vol1 1GiB\n".to_owned())]),
            failures: BTreeMap::from([(
                "lifecycle-0-1".to_owned(),
                Failure {
                    finding: sample::report().cases[0].findings[0].clone(),
                    plan: "create vol1 1GiB\n".to_owned(),
                    ..Failure::default()
                },
            )]),
            histories: BTreeMap::from([("lifecycle/0".to_owned(), "{\"t\":0}\n".to_owned())]),
            captures: vec![("run.pcapng".to_owned(), vec![1, 2, 3])],
            ..Extras::default()
        }
    }

    #[test]
    fn the_directory_has_every_document_and_nothing_half_written() {
        let dir = tempfile::tempdir().unwrap();
        let report = sample::report();
        let written = write_dir(&report, &extras(), dir.path()).unwrap();
        let names: Vec<String> =
            written.iter().map(|path| path.strip_prefix(dir.path()).unwrap().display().to_string()).collect();
        assert_eq!(
            names,
            [
                "history/lifecycle-0.jsonl",
                "failures/lifecycle-0-1.json",
                "failures/lifecycle-0-1.story",
                "run.pcapng",
                "junit.xml",
                "report.md",
                "report.html",
                "report.schema.json",
                "report.json",
            ]
        );
        assert!(written.iter().all(|path| path.is_file()));
        assert_eq!(read_report(&dir.path().join("report.json")).unwrap(), report);
        let failure = read_failure(&dir.path().join("failures/lifecycle-0-1.json")).unwrap();
        assert_eq!((failure.plan.as_str(), failure.finding.seed), ("create vol1 1GiB\n", 42));
        // A second time over the same directory.
        write_dir(&report, &extras(), dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 8);
    }

    #[test]
    fn an_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("junit.xml")).unwrap();
        let error = write_dir(&sample::report(), &Extras::default(), dir.path()).unwrap_err().to_string();
        assert!(error.contains("junit.xml"), "{error}");
        assert!(!dir.path().join("junit.xml.part").exists());
        assert!(!dir.path().join("report.json").exists(), "report.json comes last");
        let missing = read_failure(&dir.path().join("nothing.json")).unwrap_err().to_string();
        assert!(missing.contains("nothing.json"), "{missing}");
    }

    #[test]
    fn hostile_ids_stay_inside_the_directory_and_apart() {
        assert_eq!(file_stem("lifecycle/0"), "lifecycle-0");
        for id in ["../../etc/passwd", "", ".hidden", "a b", "a\0b", &"x".repeat(500)] {
            let stem = file_stem(id);
            assert!(
                !stem.contains('/') && !stem.starts_with('.') && !stem.is_empty() && stem.len() < 120,
                "{stem}"
            );
        }
        assert_ne!(file_stem("a b"), file_stem("a\tb"));
    }
}
