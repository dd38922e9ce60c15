//! The report directory: every document of a run, each written whole or not at all.
//!
//! | file | content |
//! |---|---|
//! | `report.json` | the [`Report`] as it stands |
//! | `report.schema.json` | its JSON Schema |
//! | `junit.xml` | cases as JUnit tests |
//! | `report.html` | one self-contained page |
//! | `report.md` | the same in short, for a merge request |
//! | `failures/<id>.json`, `.story` | a finding with the plan that shows it, a few for each requirement ([`with_files`]) |
//! | `history/<id>.jsonl` | what happened in each case |
//! | captures | as named by the caller, for example `run.pcapng` |

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::model::{FAILURE_SCHEMA, Failure, Report};
use crate::{html, junit, markdown, schema};

/// What goes into the report directory beside the report itself.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Plan of each case in the story language, by case id.
    pub plans: BTreeMap<String, String>,
    /// Shrunk plan of a finding, by finding id; used instead of the case's plan.
    pub shrunk: BTreeMap<String, String>,
    /// History of each case as JSON lines, by case id.
    pub histories: BTreeMap<String, String>,
    /// Captures as (file name, content).
    pub captures: Vec<(String, Vec<u8>)>,
}

impl Extras {
    /// The plan that shows a finding: the shrunk one, else the whole plan of its case, else nothing.
    #[must_use]
    pub fn plan_of(&self, finding: &str, case: &str) -> &str {
        self.shrunk.get(finding).or_else(|| self.plans.get(case)).map_or("", String::as_str)
    }
}

/// Failure files of one requirement: what breaks everywhere need not be shown everywhere.
const FILES_PER_REQUIREMENT: usize = 3;
/// Failure files of a run, besides the first of each requirement.
const FILES: usize = 64;

/// The findings that get a file of their own, by id: the first of each requirement, and some more. The others are in the
/// report, and in its counts, all the same.
#[must_use]
pub fn with_files(report: &Report) -> BTreeSet<&str> {
    let mut of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut chosen = BTreeSet::new();
    for (_, finding) in report.findings() {
        let files = of.entry(&finding.requirement).or_default();
        if *files == 0 || (*files < FILES_PER_REQUIREMENT && chosen.len() < FILES) {
            *files += 1;
            chosen.insert(finding.id.as_str());
        }
    }
    chosen
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
    let chosen = with_files(report);
    for (case, finding) in report.findings().filter(|(_, finding)| chosen.contains(finding.id.as_str())) {
        let plan = extras.plan_of(&finding.id, &case.id);
        let failure = Failure {
            schema: FAILURE_SCHEMA.to_owned(),
            finding: finding.clone(),
            run: report.run.clone(),
            plan: plan.to_owned(),
        };
        let stem = file_stem(&finding.id);
        out.put(&format!("failures/{stem}.json"), &json(&failure)?)?;
        if !plan.is_empty() {
            out.put(&format!("failures/{stem}.story"), plan.as_bytes())?;
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
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
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

fn json<T: serde::Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn extras() -> Extras {
        Extras {
            plans: BTreeMap::from([("lifecycle/0".to_owned(), "create vol1 1GiB\n".to_owned())]),
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
    fn what_breaks_everywhere_is_not_shown_everywhere() {
        let mut report = sample::report();
        let case = report.cases.iter_mut().find(|case| !case.findings.is_empty()).unwrap();
        let one = case.findings[0].clone();
        case.findings.clear();
        for requirement in 0..100 {
            for n in 0..10 {
                let (id, requirement) = (format!("{requirement}-{n}"), format!("REQ-{requirement:03}"));
                case.findings.push(crate::Finding { id, requirement, ..one.clone() });
            }
        }
        let chosen = with_files(&report);
        assert!((0..100).all(|n| chosen.contains(format!("{n}-0").as_str())), "each requirement has one");
        assert!(chosen.len() < 150, "{} files", chosen.len());
        assert_eq!(chosen.iter().filter(|id| id.starts_with("0-")).count(), FILES_PER_REQUIREMENT);

        let dir = tempfile::tempdir().unwrap();
        write_dir(&report, &Extras::default(), dir.path()).unwrap();
        let files = fs::read_dir(dir.path().join("failures")).unwrap().count();
        assert_eq!(files, chosen.len());
        assert_eq!(read_report(&dir.path().join("report.json")).unwrap().findings().count(), 1000);
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
