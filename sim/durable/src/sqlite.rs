//! The catalogue in SQLite. Every row has a CRC-32C over its contents; all objects together have a digest, so that a row
//! that went missing is noticed, too. (A missing node or extent is: somebody refers to it.)

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use rustix::fs::FallocateFlags;
use sanbench_array::{EXTENT_PAGES, SavedExtent, SavedNode, SavedObject};

use crate::disk::{Catalogue, CatalogueError, Commit, Contents};
use crate::keeper::digest;

/// `PRAGMA application_id`: "SANB".
const APPLICATION: i32 = 0x5341_4e42;
/// `PRAGMA user_version`: the version of the format.
const VERSION: i32 = 1;
/// Space put aside for commits on a full disk: a checkpoint of a long log has to fit.
const BALLAST_BYTES: u64 = 16 << 20;

const SCHEMA: &str = "
CREATE TABLE identity (id BLOB NOT NULL, digest INTEGER NOT NULL);
CREATE TABLE object (kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE node (number INTEGER PRIMARY KEY, level INTEGER NOT NULL, children BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE extent (number INTEGER PRIMARY KEY, counter INTEGER NOT NULL, places BLOB NOT NULL, sum INTEGER NOT NULL);
";

/// A catalogue in a file, with its ballast beside it.
pub struct SqliteCatalogue {
    conn: Connection,
    ballast: PathBuf,
}

impl std::fmt::Debug for SqliteCatalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteCatalogue").field("ballast", &self.ballast).finish_non_exhaustive()
    }
}

/// Why a file is no catalogue that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It holds nothing yet: a process ended while it made the array.
    Empty,
    /// Somebody else's.
    NotOurs,
    /// A version that is newer than this program.
    Newer(i32),
    /// Its contents are damaged.
    Damaged(String),
    /// SQLite cannot use it.
    Failed(String),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotOurs,
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged(error.to_string()),
            // SQLite is well, and a value is not what it must be.
            None => Self::Damaged(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// The checksum of a row: of its numbers and its bytes.
fn row_sum(numbers: &[u64], bytes: &[&[u8]]) -> u32 {
    let mut sum = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    numbers.iter().for_each(|number| sum.update(&number.to_le_bytes()));
    for part in bytes {
        sum.update(&(part.len() as u64).to_le_bytes());
        sum.update(part);
    }
    sum.finalize() as u32
}

impl SqliteCatalogue {
    fn connect(path: &Path) -> Result<SqliteCatalogue, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(Duration::ZERO)?;
        conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // A commit is on the disk when it returns.
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        conn.pragma_update(None, "cache_size", -16_384)?;
        conn.set_prepared_statement_cache_capacity(32);
        Ok(SqliteCatalogue { conn, ballast: path.with_extension("ballast") })
    }

    /// Makes an empty catalogue for the array with this identity. A first commit has to follow before anything is promised.
    pub(crate) fn create(path: &Path, identity: &[u8; 16]) -> Result<SqliteCatalogue, Unusable> {
        // Made here, so that nobody else may read it: CHAP secrets are in it. The log gets the same permissions.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| Unusable::Failed(error.to_string()))?;
        let mut catalogue = Self::connect(path)?;
        let tx = catalogue.conn.transaction()?;
        tx.execute_batch(SCHEMA)?;
        tx.execute("INSERT INTO identity (id, digest) VALUES (?1, 0)", params![identity])?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.pragma_update(None, "user_version", VERSION)?;
        tx.commit()?;
        catalogue.regain_ballast();
        Ok(catalogue)
    }

    /// Opens a catalogue and reads all of it, with every checksum.
    pub(crate) fn open(path: &Path) -> Result<(SqliteCatalogue, [u8; 16], Contents), Unusable> {
        // Reads its head before anything is changed: somebody else's database stays as it is.
        let look = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let pragma = |name: &str| look.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (application, version) = (pragma("application_id")?, pragma("user_version")?);
        let tables: i64 = look.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        drop(look);
        match (application, version) {
            (0, 0) if tables == 0 => return Err(Unusable::Empty),
            (APPLICATION, VERSION) => {}
            (APPLICATION, newer) if newer > VERSION => return Err(Unusable::Newer(newer)),
            _ => return Err(Unusable::NotOurs),
        }
        let mut catalogue = Self::connect(path)?;
        let check: String = catalogue.conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Err(Unusable::Damaged(check));
        }
        let (identity, contents) = catalogue.load()?;
        if contents.saved.objects.is_empty() {
            return Err(Unusable::Empty);
        }
        catalogue.regain_ballast();
        Ok((catalogue, identity, contents))
    }

    fn load(&self) -> Result<([u8; 16], Contents), Unusable> {
        let rotten = |what: String| Unusable::Damaged(format!("the checksum of {what} is wrong"));
        let mut contents = Contents::default();
        let (identity, expected) = self
            .conn
            .query_row("SELECT id, digest FROM identity", [], |row| {
                Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, i64>(1)?))
            })
            .optional()?
            .ok_or_else(|| Unusable::Damaged("it has no identity".to_owned()))?;
        let mut all = 0;
        let mut statement = self.conn.prepare("SELECT kind, key, value, sum FROM object")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (kind, key, value): (String, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if row_sum(&[], &[kind.as_bytes(), key.as_bytes(), &value]) != row.get::<_, u32>(3)? {
                return Err(rotten(format!("{kind} {key}")));
            }
            all ^= digest(&kind, &key, &value);
            contents.saved.objects.push(SavedObject { kind, key, value });
        }
        if all != expected.cast_unsigned() {
            return Err(Unusable::Damaged("objects are missing".to_owned()));
        }
        let mut statement = self.conn.prepare("SELECT number, level, children, sum FROM node")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (number, level): (i64, u8) = (row.get(0)?, row.get(1)?);
            let (number, bytes) =
                (number.cast_unsigned(), row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?);
            if row_sum(&[number, level.into()], &[bytes]) != row.get::<_, u32>(3)? {
                return Err(rotten(format!("node {number}")));
            }
            let child = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
            let children = bytes.chunks_exact(8).map(child).collect();
            contents.saved.nodes.push(SavedNode { number, level, children });
        }
        let mut statement = self.conn.prepare("SELECT number, counter, places, sum FROM extent")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (number, counter): (i64, i64) = (row.get(0)?, row.get(1)?);
            let (number, counter) = (number.cast_unsigned(), counter.cast_unsigned());
            let bytes = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            if row_sum(&[number, counter], &[bytes]) != row.get::<_, u32>(3)? {
                return Err(rotten(format!("extent {number}")));
            }
            let mut extent = SavedExtent { number, counter, places: [0; EXTENT_PAGES] };
            for (place, pair) in extent.places.iter_mut().zip(bytes.chunks_exact(8)) {
                let half = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("halves of eight"));
                *place = half(&pair[..4]);
                if *place != 0 {
                    contents.pages.push((*place, half(&pair[4..])));
                }
            }
            contents.saved.extents.push(extent);
        }
        Ok((identity, contents))
    }

    fn write(&mut self, Commit { changes, sums, digest }: Commit<'_>) -> rusqlite::Result<()> {
        let tx = self.conn.transaction()?;
        {
            let mut put = tx.prepare_cached(
                "INSERT OR REPLACE INTO object (kind, key, value, sum) VALUES (?1, ?2, ?3, ?4)",
            )?;
            let mut remove = tx.prepare_cached("DELETE FROM object WHERE kind = ?1 AND key = ?2")?;
            for object in &changes.objects {
                match &object.value {
                    Some(value) => {
                        let sum = row_sum(&[], &[object.kind.as_bytes(), object.key.as_bytes(), value]);
                        put.execute(params![object.kind, object.key, value, sum])?;
                    }
                    None => drop(remove.execute(params![object.kind, object.key])?),
                }
            }
            // What is gone first: no number comes twice.
            for (table, numbers) in [("node", &changes.nodes_gone), ("extent", &changes.extents_gone)] {
                let mut remove = tx.prepare_cached(&format!("DELETE FROM {table} WHERE number = ?1"))?;
                for number in numbers {
                    remove.execute([number.cast_signed()])?;
                }
            }
            let mut put = tx.prepare_cached(
                "INSERT OR REPLACE INTO node (number, level, children, sum) VALUES (?1, ?2, ?3, ?4)",
            )?;
            let mut bytes = Vec::new();
            for node in &changes.nodes {
                bytes.clear();
                node.children.iter().for_each(|child| bytes.extend_from_slice(&child.to_le_bytes()));
                let sum = row_sum(&[node.number, node.level.into()], &[&bytes]);
                put.execute(params![node.number.cast_signed(), node.level, bytes, sum])?;
            }
            let mut put = tx.prepare_cached(
                "INSERT OR REPLACE INTO extent (number, counter, places, sum) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for (extent, sums) in changes.extents.iter().zip(sums) {
                bytes.clear();
                let used = extent.places.iter().rposition(|place| *place != 0).map_or(0, |last| last + 1);
                for (place, sum) in extent.places.iter().zip(sums).take(used) {
                    bytes.extend_from_slice(&place.to_le_bytes());
                    bytes.extend_from_slice(&sum.to_le_bytes());
                }
                let sum = row_sum(&[extent.number, extent.counter], &[&bytes]);
                put.execute(params![extent.number.cast_signed(), extent.counter.cast_signed(), bytes, sum])?;
            }
            tx.prepare_cached("UPDATE identity SET digest = ?1")?.execute([digest.cast_signed()])?;
        }
        tx.commit()
    }
}

impl Catalogue for SqliteCatalogue {
    fn commit(&mut self, commit: Commit<'_>) -> Result<(), CatalogueError> {
        self.write(commit).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => CatalogueError::Full,
            _ => CatalogueError::Failed(error.to_string()),
        })
    }

    fn give_up_ballast(&mut self) -> bool {
        std::fs::remove_file(&self.ballast).is_ok()
    }

    fn regain_ballast(&mut self) -> bool {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&self.ballast);
        let reserve =
            |file: File| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES).is_ok();
        file.is_ok_and(reserve) || {
            // A part of it would only be in the way.
            let _ = std::fs::remove_file(&self.ballast);
            false
        }
    }
}
