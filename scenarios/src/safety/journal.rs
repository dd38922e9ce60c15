//! The journal of one run: one JSON line for each object, synced before the object is made.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::tag::Tag;

/// Something that went wrong with the journal; nothing may be created then.
#[derive(Debug, thiserror::Error)]
#[error("journal {}: {problem}", path.display())]
pub struct JournalError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "entry")]
pub enum Entry {
    /// First line: which run, against what.
    Run {
        /// The run's tag.
        tag: String,
        /// Management address, without credentials.
        array: String,
    },
    /// An object is about to be made.
    Intend {
        /// `volume`, `snapshot` or `host`.
        kind: String,
        /// Its UUID or name.
        id: String,
    },
    /// An object was removed by the workflow.
    Gone {
        /// `volume`, `snapshot` or `host`.
        kind: String,
        /// Its UUID or name.
        id: String,
    },
    /// The run ended with nothing left.
    Closed,
}

/// An open journal. Every append is synced before it returns.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    tag: Tag,
    file: Mutex<File>,
}

impl Journal {
    /// Starts the journal of a new run. The tag must not have a journal yet.
    ///
    /// # Errors
    /// The directory or file cannot be made or synced.
    pub fn create(dir: &Path, tag: Tag, array: &str) -> Result<Self, JournalError> {
        let path = dir.join(format!("run-{tag}.jsonl"));
        let fail = |problem: String| JournalError { path: path.clone(), problem };
        std::fs::create_dir_all(dir).map_err(|e| fail(e.to_string()))?;
        let file =
            OpenOptions::new().append(true).create_new(true).open(&path).map_err(|e| fail(e.to_string()))?;
        // The directory entry must be durable too, or a crash could lose the whole journal.
        File::open(dir).and_then(|d| d.sync_all()).map_err(|e| fail(e.to_string()))?;
        let journal = Self { path, tag, file: Mutex::new(file) };
        journal.append(&Entry::Run { tag: tag.to_string(), array: array.into() })?;
        Ok(journal)
    }

    /// The run's tag.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes and syncs one entry.
    ///
    /// # Errors
    /// The disk is full or gone; the caller must not go on.
    pub fn append(&self, entry: &Entry) -> Result<(), JournalError> {
        let fail = |problem: String| JournalError { path: self.path.clone(), problem };
        let mut line = serde_json::to_string(entry).map_err(|e| fail(e.to_string()))?;
        line.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).and_then(|()| file.sync_data()).map_err(|e| fail(e.to_string()))
    }

    /// Tags of all journals in the directory that are not closed, for the array of that address.
    ///
    /// # Errors
    /// A journal cannot be read. A torn last line (the bench was killed in mid-write) is no error.
    pub fn open_tags(dir: &Path, array: &str) -> Result<Vec<(Tag, PathBuf)>, JournalError> {
        let mut open = Vec::new();
        let Ok(listing) = std::fs::read_dir(dir) else { return Ok(open) };
        let mut files: Vec<PathBuf> = listing.filter_map(|e| Some(e.ok()?.path())).collect();
        files.sort();
        for path in files {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let Some(tag) = name.strip_prefix("run-").and_then(|n| n.strip_suffix(".jsonl")) else {
                continue;
            };
            let Ok(tag) = tag.parse::<Tag>() else { continue };
            let fail = |problem: String| JournalError { path: path.clone(), problem };
            let file = File::open(&path).map_err(|e| fail(e.to_string()))?;
            let (mut ours, mut closed) = (false, false);
            for line in BufReader::new(file).lines() {
                let line = line.map_err(|e| fail(e.to_string()))?;
                match serde_json::from_str::<Entry>(&line) {
                    Ok(Entry::Run { array: at, .. }) => ours = at == array,
                    Ok(Entry::Closed) => closed = true,
                    _ => {}
                }
            }
            if ours && !closed {
                open.push((tag, path));
            }
        }
        Ok(open)
    }

    /// Closes the journal of an earlier run after its objects are gone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn close(path: &Path) -> Result<(), JournalError> {
        let fail = |problem: String| JournalError { path: path.to_path_buf(), problem };
        let mut file = OpenOptions::new().append(true).open(path).map_err(|e| fail(e.to_string()))?;
        let line = serde_json::to_string(&Entry::Closed).map_err(|e| fail(e.to_string()))?;
        // A torn last line of a killed run must not swallow this one.
        file.write_all(format!("\n{line}\n").as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(|e| fail(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_journal_is_found_until_it_is_closed_even_after_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let tag: Tag = "0badcafe".parse().unwrap();
        let journal = Journal::create(dir.path(), tag, "http://a/").unwrap();
        journal.append(&Entry::Intend { kind: "volume".into(), id: "x".into() }).unwrap();
        assert!(Journal::create(dir.path(), tag, "http://a/").is_err(), "a tag is used once");
        let mut file = OpenOptions::new().append(true).open(journal.path()).unwrap();
        file.write_all(b"{\"entry\":\"inte").unwrap();
        assert_eq!(
            Journal::open_tags(dir.path(), "http://a/").unwrap(),
            [(tag, journal.path().to_path_buf())]
        );
        assert!(Journal::open_tags(dir.path(), "http://b/").unwrap().is_empty());
        Journal::close(journal.path()).unwrap();
        assert!(Journal::open_tags(dir.path(), "http://a/").unwrap().is_empty());
    }
}
