//! The state database. Every access is one short transaction; no transaction is held across a wait.
//!
//! Status changes are compare-and-swap updates whose WHERE clause is the legality test, and each one is recorded
//! in the list of transitions at commit.

mod attachments;
mod flows;
mod quota;
mod schema;
mod volumes;

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Row};
use sanbench_world::{Env, Fault};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::FlowError;
use crate::model::Transition;

pub(crate) use attachments::ControlRow;
pub(crate) use flows::{FlowRow, LogLine};
pub(crate) use quota::Amount;

/// What outlives a crash of the service: the connection (its file, elsewhere than in `sim`) and the transitions.
#[derive(Default)]
struct Durable {
    conn: Mutex<Option<Connection>>,
    transitions: Mutex<Transitions>,
}

#[derive(Default)]
struct Transitions {
    next: u64,
    list: Vec<Transition>,
}

/// The database of one node.
#[derive(Clone)]
pub(crate) struct StateDb {
    env: Env,
    durable: Arc<Durable>,
    /// A busy database is not asked again.
    try_once: bool,
}

/// How often a database that is busy is asked before the transaction fails.
const TRIES: u32 = 8;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StateDb {
    /// Opens the node's database: in memory where the node has no directory, else a file with WAL, and with full syncs where
    /// it must outlast the power of this machine.
    pub(crate) fn open(env: &Env, power_safe: bool, try_once: bool) -> Result<Self, FlowError> {
        let durable = env.disk().cell("state-db", Durable::default);
        {
            let mut slot = lock(&durable.conn);
            if slot.is_none() {
                let conn = match env.disk().directory() {
                    None => Connection::open_in_memory()?,
                    Some(directory) => {
                        std::fs::create_dir_all(directory)
                            .map_err(|e| FlowError::Internal(format!("{}: {e}", directory.display())))?;
                        let conn = Connection::open(directory.join("state.sqlite"))?;
                        conn.pragma_update(None, "journal_mode", "WAL")?;
                        conn.pragma_update(None, "synchronous", if power_safe { "FULL" } else { "OFF" })?;
                        conn
                    }
                };
                conn.set_prepared_statement_cache_capacity(128);
                // One plan for each statement, whatever its parameters: nothing is prepared twice.
                conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
                conn.execute_batch(schema::SCHEMA)?;
                *slot = Some(conn);
            }
        }
        Ok(Self { env: env.clone(), durable, try_once })
    }

    /// Forgets every row and every change, as if the disk had been lost and another one put in.
    pub(crate) fn lose(&self) -> Result<(), FlowError> {
        let slot = lock(&self.durable.conn);
        let conn = slot.as_ref().ok_or(rusqlite::Error::InvalidQuery)?;
        let tables: Vec<String> = conn
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for table in tables {
            conn.execute(&format!("DELETE FROM {table}"), [])?;
        }
        lock(&self.durable.transitions).list.clear();
        Ok(())
    }

    /// Asks the fault plan at `db.transaction`: whatever it says there but a delay means that somebody else holds the database
    /// (SQLITE_BUSY). It is asked for again a few times, as Cinder does with transactions that meet a deadlock.
    fn begin(&self) -> rusqlite::Result<()> {
        let tries = if self.try_once { 1 } else { TRIES };
        for _ in 0..tries {
            match self.env.fault("db.transaction") {
                None | Some(Fault::Delay(_)) => return Ok(()),
                Some(_) => {}
            }
        }
        Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None))
    }

    /// Runs `body` as one transaction; an error rolls everything back. It begins with the first write: reads before
    /// it are consistent anyway, because the connection is locked throughout.
    pub(crate) fn tx<T, E>(&self, body: impl FnOnce(&Db<'_>) -> Result<T, E>) -> Result<T, E>
    where
        E: From<rusqlite::Error>,
    {
        self.begin()?;
        let slot = lock(&self.durable.conn);
        let conn = slot.as_ref().ok_or(rusqlite::Error::InvalidQuery)?;
        let db = Db { conn, begun: Cell::new(false), single: false, changes: RefCell::default() };
        let answer = body(&db);
        let ended = match (&answer, db.begun.get()) {
            (_, false) => Ok(()),
            (Ok(_), true) => conn.prepare_cached("COMMIT").and_then(|mut s| s.execute([])).map(drop),
            (Err(_), true) => conn.prepare_cached("ROLLBACK").and_then(|mut s| s.execute([])).map(drop),
        };
        if ended.is_err() && !conn.is_autocommit() {
            // A commit that failed may leave the transaction open.
            conn.execute_batch("ROLLBACK")?;
        }
        let value = answer?;
        ended?;
        let changes = db.changes;
        let changes = changes.into_inner();
        if !changes.is_empty() {
            let at = self.env.now();
            let mut transitions = lock(&self.durable.transitions);
            for (kind, id, from, to) in changes {
                self.env.note("status", || json!({"kind": kind, "id": id, "from": from, "to": to}));
                let seq = transitions.next;
                transitions.next += 1;
                transitions.list.push(Transition { seq, at, kind, id, from, to });
            }
        }
        Ok(value)
    }

    /// One statement, which is a transaction of its own.
    pub(crate) fn single<T>(
        &self,
        body: impl FnOnce(&Db<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, FlowError> {
        self.begin()?;
        let slot = lock(&self.durable.conn);
        let conn = slot.as_ref().ok_or(rusqlite::Error::InvalidQuery)?;
        Ok(body(&Db { conn, begun: Cell::new(false), single: true, changes: RefCell::default() })?)
    }

    /// A transaction that cannot fail in any other way than the database.
    pub(crate) fn read<T>(&self, body: impl FnOnce(&Db<'_>) -> rusqlite::Result<T>) -> Result<T, FlowError> {
        self.tx::<T, rusqlite::Error>(body).map_err(FlowError::from)
    }

    pub(crate) fn take_transitions(&self) -> Vec<Transition> {
        std::mem::take(&mut lock(&self.durable.transitions).list)
    }
}

type Change = (&'static str, String, Option<&'static str>, Option<&'static str>);

/// One open transaction.
pub(crate) struct Db<'a> {
    conn: &'a Connection,
    begun: Cell<bool>,
    /// The caller runs exactly one statement and changes no status.
    single: bool,
    changes: RefCell<Vec<Change>>,
}

impl Db<'_> {
    fn exec(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
        if !self.single && !self.begun.get() {
            self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.begun.set(true);
        }
        self.conn.prepare_cached(sql)?.execute(params)
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        rows.next()?.map(map).transpose()
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        map: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(map(row)?);
        }
        Ok(found)
    }

    fn changed(
        &self,
        kind: &'static str,
        id: impl ToString,
        from: Option<&'static str>,
        to: Option<&'static str>,
    ) {
        if from != to {
            self.changes.borrow_mut().push((kind, id.to_string(), from, to));
        }
    }
}

/// A value of the database that the code does not understand.
fn bad(column: usize, what: impl std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.to_string().into())
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    row.get_ref(column)?.as_str()?.parse().map_err(|e| bad(column, e))
}

fn parsed_opt<T: std::str::FromStr<Err: std::fmt::Display>>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)?.as_str_or_null()? {
        Some(text) => text.parse().map(Some).map_err(|e| bad(column, e)),
        None => Ok(None),
    }
}

fn word<T>(row: &Row<'_>, column: usize, parse: fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    parse(text).ok_or_else(|| bad(column, text))
}

fn from_json<T: for<'de> Deserialize<'de>>(column: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|e| bad(column, e))
}

fn to_json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

/// SQLite integers are signed; sizes and counts of the bench fit.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn uint(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}
