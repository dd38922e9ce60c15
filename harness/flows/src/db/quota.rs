//! Quota usage, reservations, and the workers table.

use rusqlite::params;

use super::{Db, int, uint};
use crate::config::QuotaLimits;
use crate::error::{Refusal, StepError};
use crate::model::QuotaView;

/// What an operation takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) volumes: u64,
    pub(crate) gigabytes: u64,
    pub(crate) snapshots: u64,
}

impl Amount {
    fn parts(self) -> [(&'static str, u64); 3] {
        [("volumes", self.volumes), ("gigabytes", self.gigabytes), ("snapshots", self.snapshots)]
    }
}

impl Db<'_> {
    pub(crate) fn quota(&self) -> rusqlite::Result<QuotaView> {
        let mut view = QuotaView::default();
        let used = self.all("SELECT resource, in_use FROM quota", [], |row| {
            Ok((row.get::<_, String>(0)?, uint(row, 1)?))
        })?;
        for (resource, in_use) in used {
            match resource.as_str() {
                "volumes" => view.volumes = in_use,
                "gigabytes" => view.gigabytes = in_use,
                _ => view.snapshots = in_use,
            }
        }
        let reserved = self.one(
            "SELECT COALESCE(SUM(volumes),0), COALESCE(SUM(gigabytes),0), COALESCE(SUM(snapshots),0) \
             FROM reservations",
            [],
            |row| Ok((uint(row, 0)?, uint(row, 1)?, uint(row, 2)?)),
        )?;
        (view.reserved_volumes, view.reserved_gigabytes, view.reserved_snapshots) =
            reserved.unwrap_or_default();
        Ok(view)
    }

    /// Reserves, or refuses without a change.
    pub(crate) fn reserve(&self, amount: Amount, limits: &QuotaLimits) -> Result<i64, StepError> {
        let now = self.quota()?;
        let checks = [
            ("volumes", now.volumes + now.reserved_volumes, amount.volumes, limits.volumes),
            ("gigabytes", now.gigabytes + now.reserved_gigabytes, amount.gigabytes, limits.gigabytes),
            ("snapshots", now.snapshots + now.reserved_snapshots, amount.snapshots, limits.snapshots),
        ];
        for (resource, in_use, asked, limit) in checks {
            if asked > 0 && in_use.saturating_add(asked) > limit {
                return Err(Refusal::Quota { resource, in_use, asked, limit }.into());
            }
        }
        self.exec(
            "INSERT INTO reservations(volumes, gigabytes, snapshots) VALUES(?1,?2,?3)",
            params![int(amount.volumes), int(amount.gigabytes), int(amount.snapshots)],
        )?;
        Ok(self.conn.last_insert_rowid())
    }

    /// Drops a reservation; none there is success.
    pub(crate) fn release(&self, reservation: i64) -> rusqlite::Result<()> {
        self.exec("DELETE FROM reservations WHERE id=?1", [reservation])?;
        Ok(())
    }

    /// Turns a reservation into usage. A second commit of the same one changes nothing.
    pub(crate) fn commit(&self, reservation: i64) -> rusqlite::Result<()> {
        let amount = self.one(
            "SELECT volumes, gigabytes, snapshots FROM reservations WHERE id=?1",
            [reservation],
            |row| Ok(Amount { volumes: uint(row, 0)?, gigabytes: uint(row, 1)?, snapshots: uint(row, 2)? }),
        )?;
        let Some(amount) = amount else { return Ok(()) };
        self.release(reservation)?;
        for (resource, n) in amount.parts() {
            if n > 0 {
                self.exec(
                    "INSERT INTO quota VALUES(?1,?2) ON CONFLICT(resource) DO UPDATE SET in_use=in_use+?2",
                    params![resource, int(n)],
                )?;
            }
        }
        Ok(())
    }

    /// Gives usage back.
    pub(crate) fn give_back(&self, amount: Amount) -> rusqlite::Result<()> {
        for (resource, n) in amount.parts() {
            if n > 0 {
                self.exec(
                    "UPDATE quota SET in_use=MAX(in_use-?2,0) WHERE resource=?1",
                    params![resource, int(n)],
                )?;
            }
        }
        Ok(())
    }

    /// Drops all reservations: at the start of the service no request is running.
    pub(crate) fn drop_reservations(&self) -> rusqlite::Result<usize> {
        self.exec("DELETE FROM reservations", [])
    }

    pub(crate) fn put_worker(&self, kind: &str, id: impl ToString, status: &str) -> rusqlite::Result<()> {
        self.exec("INSERT OR REPLACE INTO workers VALUES(?1,?2,?3)", [kind, &id.to_string(), status])?;
        Ok(())
    }

    pub(crate) fn remove_worker(&self, kind: &str, id: impl ToString) -> rusqlite::Result<()> {
        self.exec("DELETE FROM workers WHERE kind=?1 AND id=?2", [kind, &id.to_string()])?;
        Ok(())
    }

    /// Kind, id and status of every worker row.
    pub(crate) fn workers(&self) -> rusqlite::Result<Vec<(String, String, String)>> {
        self.all("SELECT kind, id, status FROM workers ORDER BY kind, id", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
    }
}
