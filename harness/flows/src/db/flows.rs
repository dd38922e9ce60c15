//! The intent log.

use std::time::Duration;

use rusqlite::params;

use super::{Db, bad, uint};
use crate::engine::StepEvent;

/// A flow that has not been closed.
#[derive(Debug, Clone)]
pub(crate) struct FlowRow {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) params: serde_json::Value,
}

/// One line of a flow's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub(crate) step: usize,
    pub(crate) event: StepEvent,
}

impl Db<'_> {
    pub(crate) fn open_flow(
        &self,
        kind: &str,
        subject: &str,
        params: &serde_json::Value,
        at: Duration,
    ) -> rusqlite::Result<i64> {
        self.exec(
            "INSERT INTO flows(kind, subject, params, started_ns) VALUES(?1,?2,?3,?4)",
            params![kind, subject, params.to_string(), i64::try_from(at.as_nanos()).unwrap_or(i64::MAX)],
        )?;
        Ok(self.conn.last_insert_rowid())
    }

    pub(crate) fn log_step(
        &self,
        flow: i64,
        seq: u32,
        step: usize,
        event: StepEvent,
    ) -> rusqlite::Result<()> {
        self.exec(
            "INSERT INTO flow_log VALUES(?1,?2,?3,?4)",
            params![flow, seq, i64::try_from(step).unwrap_or(i64::MAX), event.code()],
        )?;
        Ok(())
    }

    pub(crate) fn close_flow(&self, flow: i64) -> rusqlite::Result<()> {
        self.exec("DELETE FROM flow_log WHERE flow=?1", [flow])?;
        self.exec("DELETE FROM flows WHERE id=?1", [flow])?;
        Ok(())
    }

    pub(crate) fn open_flows(&self) -> rusqlite::Result<Vec<FlowRow>> {
        self.all("SELECT id, kind, subject, params FROM flows ORDER BY id", [], |row| {
            let text = row.get_ref(3)?.as_str()?;
            Ok(FlowRow {
                id: row.get(0)?,
                kind: row.get(1)?,
                subject: row.get(2)?,
                params: serde_json::from_str(text).map_err(|e| bad(3, e))?,
            })
        })
    }

    pub(crate) fn flow_log(&self, flow: i64) -> rusqlite::Result<Vec<LogLine>> {
        self.all("SELECT step, event FROM flow_log WHERE flow=?1 ORDER BY seq", [flow], |row| {
            let event = StepEvent::from_code(row.get(1)?).ok_or_else(|| bad(1, "unknown event"))?;
            Ok(LogLine { step: usize::try_from(uint(row, 0)?).unwrap_or(usize::MAX), event })
        })
    }
}
