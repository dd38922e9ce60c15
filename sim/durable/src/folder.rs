//! A directory of ours: whose it is, who uses it, what is in it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sanbench_array::{Array, ArrayConfig, Damage, Medium};
use thiserror::Error;

use crate::Defects;
use crate::disk::{Contents, PageFile};
use crate::file::{FilePages, Foreign};
use crate::keeper::{CommitError, Keeper};
use crate::pages::Pages;
use crate::sqlite::{SqliteCatalogue, Unusable};

const LOCK: &str = "lock";
const CATALOGUE: &str = "catalogue.sqlite";
const PAGES: &str = "pages";

/// Why a directory cannot be used. Nothing in it has been changed.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0} is in use by another array")]
    InUse(PathBuf),
    /// It holds something else.
    #[error("{0} is not empty and holds no array")]
    NotOurs(PathBuf),
    /// A newer program has written it.
    #[error("{path} has version {version} of the format, and this program knows version 1")]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// It was an array.
    #[error("the array in {path} is damaged: {what}")]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The configuration does not fit the array that is there.
    #[error("the array in {path} does not fit: {what}")]
    Misfit {
        /// The directory.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The system says no.
    #[error("cannot use {path}: {error}")]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The first state of a new array could not be written.
    #[error("cannot make an array in {path}: {error}")]
    First {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: CommitError,
    },
}

/// A directory that is ours, and nobody else's as long as this lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

/// An array and its keeper, from a directory.
#[derive(Debug)]
pub struct Opened {
    /// The array, with a journal.
    pub array: Array,
    /// Who commits it.
    pub keeper: Keeper,
    /// The lock on the directory.
    pub folder: Folder,
    /// Whether it was made just now.
    pub is_new: bool,
}

impl Folder {
    /// Opens the array in a directory, or makes one there if the directory is missing or empty; `config` is told which. Serial
    /// number and pools of an array that is there win over the configuration's; see [`Array::restore`].
    ///
    /// # Errors
    /// The directory is in use, foreign, newer or damaged, or the system says no.
    pub fn open(
        path: &Path,
        config: impl FnOnce(bool) -> ArrayConfig,
        defects: Defects,
    ) -> Result<Opened, OpenError> {
        let io = |error| OpenError::Io { path: path.to_owned(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        // Nothing is put into a directory before it is known to be empty or ours.
        let names: Result<Vec<_>, _> =
            path.read_dir().map_err(io)?.map(|entry| entry.map(|e| e.file_name())).collect();
        let names = names.map_err(io)?;
        let has = |name: &str| names.iter().any(|have| have == name);
        if !has(CATALOGUE)
            && names.iter().any(|name| ![LOCK, PAGES, "lost+found"].iter().any(|own| name == own))
        {
            return Err(OpenError::NotOurs(path.to_owned()));
        }
        let folder = Folder::lock(path)?;
        if has(CATALOGUE) {
            match SqliteCatalogue::open(&path.join(CATALOGUE)) {
                Ok((catalogue, identity, contents)) => {
                    return folder.restore(catalogue, &identity, contents, config(false), defects);
                }
                Err(Unusable::Empty) => {}
                Err(Unusable::NotOurs) => return Err(OpenError::NotOurs(path.to_owned())),
                Err(Unusable::Newer(version)) => {
                    return Err(OpenError::Newer {
                        path: path.to_owned(),
                        version: version.unsigned_abs().into(),
                    });
                }
                Err(Unusable::Damaged(what)) => {
                    return Err(OpenError::Damaged { path: path.to_owned(), what });
                }
                Err(Unusable::Failed(what)) => return Err(io(io::Error::other(what))),
            }
        }
        folder.create(config(true), defects)
    }

    fn lock(path: &Path) -> Result<Folder, OpenError> {
        let name = path.join(LOCK);
        let io = |error| OpenError::Io { path: name.clone(), error };
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&name)
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Folder { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(io(error)),
        }
    }

    /// Makes an array. A directory in which a process was killed while it did is as good as empty: nothing was promised.
    fn create(self, config: ArrayConfig, defects: Defects) -> Result<Opened, OpenError> {
        let io = |error| OpenError::Io { path: self.path.clone(), error };
        let name = self.path.join(PAGES);
        match FilePages::open(&name).map_err(io)? {
            Ok(_) | Err(Foreign::Nothing | Foreign::Broken) => {}
            Err(Foreign::NotOurs | Foreign::Newer(_)) => return Err(OpenError::NotOurs(self.path)),
        }
        let mut identity = [0; 16];
        getrandom::fill(&mut identity).map_err(|error| io(io::Error::other(error)))?;
        let file: Arc<dyn PageFile> = Arc::new(FilePages::create(&name, &identity).map_err(io)?);
        for leftover in ["catalogue.sqlite", "catalogue.sqlite-wal", "catalogue.sqlite-shm"] {
            match std::fs::remove_file(self.path.join(leftover)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                _ => {}
            }
        }
        let catalogue = SqliteCatalogue::create(&self.path.join(CATALOGUE), &identity)
            .map_err(|error| io(io::Error::other(format!("{error:?}"))))?;
        let pages = Arc::new(Pages::new(Arc::clone(&file), &[], defects));
        pages.sweep();
        let mut array = Array::new(config);
        array.keep(Arc::clone(&pages) as Arc<dyn Medium>, defects.journal);
        let mut keeper = Keeper::new(file, pages, Box::new(catalogue), &[], defects);
        let first = keeper.collect(&mut array);
        keeper.commit(first).map_err(|error| OpenError::First { path: self.path.clone(), error })?;
        // The names, too.
        File::open(&self.path).and_then(|directory| directory.sync_all()).map_err(io)?;
        Ok(Opened { array, keeper, folder: self, is_new: true })
    }

    fn restore(
        self,
        catalogue: SqliteCatalogue,
        identity: &[u8; 16],
        contents: Contents,
        config: ArrayConfig,
        defects: Defects,
    ) -> Result<Opened, OpenError> {
        let damaged = |what: &str| OpenError::Damaged { path: self.path.clone(), what: what.to_owned() };
        let io = |error| OpenError::Io { path: self.path.clone(), error };
        let file = match FilePages::open(&self.path.join(PAGES)).map_err(io)? {
            Ok((file, owner)) if owner == *identity => file,
            Ok(_) => return Err(damaged("its pages are another array's")),
            Err(Foreign::Nothing) => return Err(damaged("its pages are missing")),
            Err(Foreign::NotOurs | Foreign::Broken) => {
                return Err(damaged("the head of its pages is broken"));
            }
            Err(Foreign::Newer(version)) => {
                return Err(OpenError::Newer { path: self.path.clone(), version: version.into() });
            }
        };
        let (array, keeper) = revive(Arc::new(file), Box::new(catalogue), contents, config, defects)
            .map_err(|what| match what {
                Damage::Pools(what) => OpenError::Misfit { path: self.path.clone(), what },
                Damage::UnknownKind(kind) => {
                    damaged(&format!("it holds {kind} objects, which this version does not know"))
                }
                what => damaged(&what.to_string()),
            })?;
        Ok(Opened { array, keeper, folder: self, is_new: false })
    }
}

/// An array and its keeper from what a page file and a catalogue hold.
///
/// # Errors
/// No array can be made of it.
pub fn revive(
    file: Arc<dyn PageFile>,
    catalogue: Box<dyn crate::Catalogue>,
    contents: Contents,
    config: ArrayConfig,
    defects: Defects,
) -> Result<(Array, Keeper), Damage> {
    if let Some((place, _)) = contents.pages.iter().find(|(place, _)| *place >= file.pages()) {
        return Err(Damage::Missing { what: "page", number: (*place).into() });
    }
    let pages = Arc::new(Pages::new(Arc::clone(&file), &contents.pages, defects));
    let keeper = Keeper::new(file, Arc::clone(&pages), catalogue, &contents.saved.objects, defects);
    let array =
        Array::restore(config, Arc::clone(&pages) as Arc<dyn Medium>, defects.journal, contents.saved)?;
    pages.sweep();
    Ok((array, keeper))
}
