//! Volumes, snapshots, types, services and the image cache.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Row, params};
use sanbench_api::{BackendStats, ImageId, ModelUpdate, SnapshotId, VolumeId};

use super::{Db, from_json, int, parsed, to_json, uint, word};
use crate::model::{CacheEntryView, SnapshotView, VolumeView};
use crate::status::{AttachStatus, SnapshotStatus, VolumeStatus};

const VOLUME: &str = "id, name_id, name, size_gib, status, attach_status, previous_status, host, volume_type, \
    source, provider_id, provider_location, multiattach, internal, created_ns";

fn volume(row: &Row<'_>) -> rusqlite::Result<VolumeView> {
    let previous: Option<String> = row.get(6)?;
    Ok(VolumeView {
        id: parsed(row, 0)?,
        name_id: parsed(row, 1)?,
        name: row.get(2)?,
        size_gib: uint(row, 3)?,
        status: word(row, 4, VolumeStatus::parse)?,
        attach_status: word(row, 5, AttachStatus::parse)?,
        previous_status: previous.as_deref().and_then(VolumeStatus::parse),
        host: row.get(7)?,
        volume_type: row.get(8)?,
        source: from_json(9, row.get_ref(9)?.as_str()?)?,
        provider_id: row.get(10)?,
        provider_location: row.get(11)?,
        multiattach: row.get(12)?,
        internal: row.get(13)?,
        created_at: Duration::from_nanos(uint(row, 14)?),
    })
}

fn snapshot(row: &Row<'_>) -> rusqlite::Result<SnapshotView> {
    Ok(SnapshotView {
        id: parsed(row, 0)?,
        volume: parsed(row, 1)?,
        name: row.get(2)?,
        size_gib: uint(row, 3)?,
        status: word(row, 4, SnapshotStatus::parse)?,
        provider_id: row.get(5)?,
        provider_location: row.get(6)?,
    })
}

fn cache_entry(row: &Row<'_>) -> rusqlite::Result<CacheEntryView> {
    Ok(CacheEntryView {
        image: parsed(row, 0)?,
        host: row.get(1)?,
        volume: parsed(row, 2)?,
        size_gib: uint(row, 3)?,
        image_version: uint(row, 4)?,
        last_used: uint(row, 5)?,
    })
}

const CACHE: &str = "image_id, host, volume_id, size_gib, image_version, last_used";

impl Db<'_> {
    pub(crate) fn insert_volume(&self, v: &VolumeView) -> rusqlite::Result<()> {
        self.exec(
            "INSERT INTO volumes VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)",
            params![
                v.id.to_string(),
                v.name_id.to_string(),
                v.name,
                int(v.size_gib),
                v.status.as_str(),
                v.attach_status.as_str(),
                v.previous_status.map(VolumeStatus::as_str),
                v.host,
                v.volume_type,
                to_json(&v.source)?,
                v.provider_id,
                v.provider_location,
                v.multiattach,
                v.internal,
                i64::try_from(v.created_at.as_nanos()).unwrap_or(i64::MAX),
            ],
        )?;
        self.changed("volume", v.id, None, Some(v.status.as_str()));
        self.changed("attach_status", v.id, None, Some(v.attach_status.as_str()));
        Ok(())
    }

    pub(crate) fn volume(&self, id: VolumeId) -> rusqlite::Result<Option<VolumeView>> {
        self.one(&format!("SELECT {VOLUME} FROM volumes WHERE id=?1"), [id.to_string()], volume)
    }

    pub(crate) fn volumes(&self) -> rusqlite::Result<Vec<VolumeView>> {
        self.all(&format!("SELECT {VOLUME} FROM volumes ORDER BY created_ns, id"), [], volume)
    }

    /// Compare and swap: to `to` if the status is one of `from`. Answers the status before, `None` if it did not
    /// match (or there is no row).
    pub(crate) fn cas_volume(
        &self,
        id: VolumeId,
        from: &[VolumeStatus],
        to: VolumeStatus,
    ) -> rusqlite::Result<Option<VolumeStatus>> {
        let text = id.to_string();
        for old in from {
            let done = self.exec(
                "UPDATE volumes SET status=?3, previous_status=NULL WHERE id=?1 AND status=?2",
                params![text, old.as_str(), to.as_str()],
            )?;
            if done == 1 {
                self.changed("volume", id, Some(old.as_str()), Some(to.as_str()));
                return Ok(Some(*old));
            }
        }
        Ok(None)
    }

    pub(crate) fn set_previous(&self, id: VolumeId, previous: Option<VolumeStatus>) -> rusqlite::Result<()> {
        self.exec(
            "UPDATE volumes SET previous_status=?2 WHERE id=?1",
            params![id.to_string(), previous.map(VolumeStatus::as_str)],
        )?;
        Ok(())
    }

    pub(crate) fn set_attach_status(&self, id: VolumeId, to: AttachStatus) -> rusqlite::Result<()> {
        let text = id.to_string();
        let old = self.one("SELECT attach_status FROM volumes WHERE id=?1", [&text], |row| {
            word(row, 0, AttachStatus::parse)
        })?;
        if let Some(old) = old.filter(|old| *old != to) {
            self.exec("UPDATE volumes SET attach_status=?2 WHERE id=?1", [text.as_str(), to.as_str()])?;
            self.changed("attach_status", id, Some(old.as_str()), Some(to.as_str()));
        }
        Ok(())
    }

    pub(crate) fn set_host(&self, id: VolumeId, host: Option<&str>) -> rusqlite::Result<()> {
        self.exec("UPDATE volumes SET host=?2 WHERE id=?1", params![id.to_string(), host])?;
        Ok(())
    }

    pub(crate) fn set_size(&self, id: VolumeId, size_gib: u64) -> rusqlite::Result<()> {
        self.exec("UPDATE volumes SET size_gib=?2 WHERE id=?1", params![id.to_string(), int(size_gib)])?;
        Ok(())
    }

    pub(crate) fn set_provider(&self, id: VolumeId, update: &ModelUpdate) -> rusqlite::Result<()> {
        self.exec(
            "UPDATE volumes SET provider_id=COALESCE(?2, provider_id), \
             provider_location=COALESCE(?3, provider_location) WHERE id=?1",
            params![id.to_string(), update.provider_id, update.provider_location],
        )?;
        Ok(())
    }

    pub(crate) fn forget_provider(&self, id: VolumeId) -> rusqlite::Result<()> {
        self.exec(
            "UPDATE volumes SET provider_id=NULL, provider_location=NULL WHERE id=?1",
            [id.to_string()],
        )?;
        Ok(())
    }

    /// Removes the row and everything that belongs to it alone; no row is success.
    pub(crate) fn remove_volume(&self, id: VolumeId) -> rusqlite::Result<bool> {
        let text = id.to_string();
        let Some(old) = self.volume(id)? else { return Ok(false) };
        self.exec("DELETE FROM volumes WHERE id=?1", [&text])?;
        self.exec("DELETE FROM image_cache WHERE volume_id=?1", [&text])?;
        self.changed("volume", id, Some(old.status.as_str()), None);
        self.changed("attach_status", id, Some(old.attach_status.as_str()), None);
        Ok(true)
    }

    /// Removes a row that never became available, over the statuses that lead to that.
    pub(crate) fn abandon_volume(&self, id: VolumeId) -> rusqlite::Result<bool> {
        self.cas_volume(id, &[VolumeStatus::Creating], VolumeStatus::Error)?;
        self.cas_volume(id, &[VolumeStatus::Error, VolumeStatus::Available], VolumeStatus::Deleting)?;
        self.remove_volume(id)
    }

    /// Sum of the sizes of all volumes of the pool, whatever their status (`allocated_capacity_gb`).
    ///
    /// `careless` is the planted defect D11: only volumes that are available or in use count.
    pub(crate) fn allocated_gib(&self, careless: bool) -> rusqlite::Result<BTreeMap<String, u64>> {
        let rows = self.all(
            "SELECT host, SUM(size_gib) FROM volumes WHERE host IS NOT NULL \
             AND (NOT ?1 OR status IN ('available', 'in-use')) GROUP BY host",
            [careless],
            |row| Ok((row.get(0)?, uint(row, 1)?)),
        )?;
        Ok(rows.into_iter().collect())
    }

    pub(crate) fn insert_snapshot(&self, s: &SnapshotView) -> rusqlite::Result<()> {
        self.exec(
            "INSERT INTO snapshots VALUES(?1,?2,?3,?4,?5,?6,?7)",
            params![
                s.id.to_string(),
                s.volume.to_string(),
                s.name,
                int(s.size_gib),
                s.status.as_str(),
                s.provider_id,
                s.provider_location
            ],
        )?;
        self.changed("snapshot", s.id, None, Some(s.status.as_str()));
        Ok(())
    }

    pub(crate) fn snapshot(&self, id: SnapshotId) -> rusqlite::Result<Option<SnapshotView>> {
        self.one("SELECT * FROM snapshots WHERE id=?1", [id.to_string()], snapshot)
    }

    pub(crate) fn snapshots(&self) -> rusqlite::Result<Vec<SnapshotView>> {
        self.all("SELECT * FROM snapshots ORDER BY id", [], snapshot)
    }

    /// A snapshot of the volume that is being taken, if there is one.
    pub(crate) fn snapshot_under_way(&self, volume: VolumeId) -> rusqlite::Result<Option<String>> {
        self.one(
            "SELECT id FROM snapshots WHERE volume_id=?1 AND status='creating' ORDER BY id LIMIT 1",
            [volume.to_string()],
            |row| row.get(0),
        )
    }

    pub(crate) fn snapshot_count(&self, volume: VolumeId) -> rusqlite::Result<u64> {
        let count =
            self.one("SELECT COUNT(*) FROM snapshots WHERE volume_id=?1", [volume.to_string()], |row| {
                uint(row, 0)
            })?;
        Ok(count.unwrap_or(0))
    }

    /// As [`Db::cas_volume`].
    pub(crate) fn cas_snapshot(
        &self,
        id: SnapshotId,
        from: &[SnapshotStatus],
        to: SnapshotStatus,
    ) -> rusqlite::Result<Option<SnapshotStatus>> {
        let text = id.to_string();
        for old in from {
            let done = self.exec(
                "UPDATE snapshots SET status=?3 WHERE id=?1 AND status=?2",
                params![text, old.as_str(), to.as_str()],
            )?;
            if done == 1 {
                self.changed("snapshot", id, Some(old.as_str()), Some(to.as_str()));
                return Ok(Some(*old));
            }
        }
        Ok(None)
    }

    pub(crate) fn set_snapshot_provider(&self, id: SnapshotId, update: &ModelUpdate) -> rusqlite::Result<()> {
        self.exec(
            "UPDATE snapshots SET provider_id=COALESCE(?2, provider_id), \
             provider_location=COALESCE(?3, provider_location) WHERE id=?1",
            params![id.to_string(), update.provider_id, update.provider_location],
        )?;
        Ok(())
    }

    pub(crate) fn remove_snapshot(&self, id: SnapshotId) -> rusqlite::Result<bool> {
        let Some(old) = self.snapshot(id)? else { return Ok(false) };
        self.exec("DELETE FROM snapshots WHERE id=?1", [id.to_string()])?;
        self.changed("snapshot", id, Some(old.status.as_str()), None);
        Ok(true)
    }

    pub(crate) fn put_type(&self, name: &str, specs: &BTreeMap<String, String>) -> rusqlite::Result<()> {
        self.exec(
            "INSERT INTO volume_types VALUES(?1,?2) ON CONFLICT(name) DO UPDATE SET extra_specs=?2",
            params![name, to_json(specs)?],
        )?;
        Ok(())
    }

    pub(crate) fn types(&self) -> rusqlite::Result<BTreeMap<String, BTreeMap<String, String>>> {
        let rows = self.all("SELECT name, extra_specs FROM volume_types", [], |row| {
            Ok((row.get(0)?, from_json(1, row.get_ref(1)?.as_str()?)?))
        })?;
        Ok(rows.into_iter().collect())
    }

    pub(crate) fn put_service(&self, backend: &str) -> rusqlite::Result<()> {
        self.exec("INSERT OR IGNORE INTO services VALUES(?1, 1, NULL, NULL)", [backend])?;
        Ok(())
    }

    pub(crate) fn enable_service(&self, backend: &str, enabled: bool) -> rusqlite::Result<bool> {
        Ok(self.exec("UPDATE services SET enabled=?2 WHERE backend=?1", params![backend, enabled])? == 1)
    }

    pub(crate) fn disabled_services(&self) -> rusqlite::Result<Vec<String>> {
        self.all("SELECT backend FROM services WHERE enabled=0", [], |row| row.get(0))
    }

    pub(crate) fn put_stats(
        &self,
        backend: &str,
        stats: &BackendStats,
        at: Duration,
    ) -> rusqlite::Result<()> {
        self.exec(
            "UPDATE services SET stats=?2, reported_ns=?3 WHERE backend=?1",
            params![backend, to_json(stats)?, i64::try_from(at.as_nanos()).unwrap_or(i64::MAX)],
        )?;
        Ok(())
    }

    pub(crate) fn cache_entry(&self, image: ImageId, host: &str) -> rusqlite::Result<Option<CacheEntryView>> {
        self.one(
            &format!("SELECT {CACHE} FROM image_cache WHERE image_id=?1 AND host=?2"),
            params![image.to_string(), host],
            cache_entry,
        )
    }

    /// All entries, least recently used first.
    pub(crate) fn cache_entries(&self) -> rusqlite::Result<Vec<CacheEntryView>> {
        self.all(&format!("SELECT {CACHE} FROM image_cache ORDER BY last_used, volume_id"), [], cache_entry)
    }

    pub(crate) fn put_cache_entry(&self, e: &CacheEntryView) -> rusqlite::Result<()> {
        self.exec(
            "INSERT OR REPLACE INTO image_cache SELECT ?1,?2,?3,?4,?5, COALESCE(MAX(last_used),0)+1 \
             FROM image_cache",
            params![e.image.to_string(), e.host, e.volume.to_string(), int(e.size_gib), int(e.image_version)],
        )?;
        Ok(())
    }

    pub(crate) fn touch_cache_entry(&self, volume: VolumeId) -> rusqlite::Result<()> {
        self.exec(
            "UPDATE image_cache SET last_used=(SELECT MAX(last_used)+1 FROM image_cache) WHERE volume_id=?1",
            [volume.to_string()],
        )?;
        Ok(())
    }
}
