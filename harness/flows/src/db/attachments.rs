//! Attachments of instances and of the control host, instances and their block device mappings, staged files.

use rusqlite::{OptionalExtension, Row, params};
use sanbench_api::{AttachmentId, ConnectionInfo, ConnectorProperties, InstanceId, VolumeId, Wwn};

use super::{Db, bad, from_json, int, parsed, parsed_opt, to_json, uint, word};
use crate::model::{AttachmentView, BdmView, InstanceView};
use crate::status::{AttachStatus, AttachmentStatus, VolumeStatus};

/// A mapping of a volume to the control host, recorded before it is made.
#[derive(Debug, Clone)]
pub(crate) struct ControlRow {
    pub(crate) id: i64,
    pub(crate) volume: VolumeId,
    pub(crate) connector: ConnectorProperties,
    pub(crate) info: Option<ConnectionInfo>,
}

fn json_opt<T: for<'de> serde::Deserialize<'de>>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    row.get_ref(column)?.as_str_or_null()?.map(|text| from_json(column, text)).transpose()
}

fn attachment(row: &Row<'_>) -> rusqlite::Result<AttachmentView> {
    Ok(AttachmentView {
        id: parsed(row, 0)?,
        volume: parsed(row, 1)?,
        instance: parsed(row, 2)?,
        host: row.get(3)?,
        status: word(row, 4, AttachmentStatus::parse)?,
        connector: json_opt(row, 5)?,
        connection_info: json_opt(row, 6)?,
    })
}

fn control(row: &Row<'_>) -> rusqlite::Result<ControlRow> {
    Ok(ControlRow {
        id: row.get(0)?,
        volume: parsed(row, 1)?,
        connector: from_json(2, row.get_ref(2)?.as_str()?)?,
        info: json_opt(row, 3)?,
    })
}

fn bdm(row: &Row<'_>) -> rusqlite::Result<BdmView> {
    Ok(BdmView {
        instance: parsed(row, 0)?,
        volume: parsed(row, 1)?,
        attachment: parsed_opt(row, 2)?,
        device_name: row.get(3)?,
        size_gib: uint(row, 4)?,
        host_path: row.get(5)?,
    })
}

const BDM: &str = "SELECT b.instance_id, b.volume_id, b.attachment_id, b.device_name, b.size_gib, g.host_path \
    FROM bdms b LEFT JOIN guest_disks g USING(instance_id, volume_id)";

impl Db<'_> {
    pub(crate) fn insert_attachment(&self, a: &AttachmentView) -> rusqlite::Result<()> {
        self.exec(
            "INSERT INTO attachments VALUES(?1,?2,?3,?4,?5,NULL,NULL)",
            params![
                a.id.to_string(),
                a.volume.to_string(),
                a.instance.to_string(),
                a.host,
                a.status.as_str()
            ],
        )?;
        self.changed("attachment", a.id, None, Some(a.status.as_str()));
        Ok(())
    }

    pub(crate) fn attachment(&self, id: AttachmentId) -> rusqlite::Result<Option<AttachmentView>> {
        self.one("SELECT * FROM attachments WHERE id=?1", [id.to_string()], attachment)
    }

    pub(crate) fn attachments(&self) -> rusqlite::Result<Vec<AttachmentView>> {
        self.all("SELECT * FROM attachments ORDER BY id", [], attachment)
    }

    pub(crate) fn attachments_of(&self, volume: VolumeId) -> rusqlite::Result<Vec<AttachmentView>> {
        self.all("SELECT * FROM attachments WHERE volume_id=?1 ORDER BY id", [volume.to_string()], attachment)
    }

    pub(crate) fn set_attachment_connector(
        &self,
        id: AttachmentId,
        connector: &ConnectorProperties,
    ) -> rusqlite::Result<()> {
        self.exec(
            "UPDATE attachments SET connector=?2 WHERE id=?1",
            params![id.to_string(), to_json(connector)?],
        )?;
        Ok(())
    }

    pub(crate) fn set_attachment_info(
        &self,
        id: AttachmentId,
        info: &ConnectionInfo,
    ) -> rusqlite::Result<()> {
        self.exec(
            "UPDATE attachments SET connection_info=?2 WHERE id=?1",
            params![id.to_string(), to_json(info)?],
        )?;
        Ok(())
    }

    pub(crate) fn set_attachment_status(
        &self,
        id: AttachmentId,
        to: AttachmentStatus,
    ) -> rusqlite::Result<()> {
        let Some(old) = self.attachment(id)? else { return Ok(()) };
        self.exec("UPDATE attachments SET status=?2 WHERE id=?1", [id.to_string().as_str(), to.as_str()])?;
        self.changed("attachment", id, Some(old.status.as_str()), Some(to.as_str()));
        Ok(())
    }

    pub(crate) fn remove_attachment(&self, id: AttachmentId) -> rusqlite::Result<bool> {
        let Some(old) = self.attachment(id)? else { return Ok(false) };
        self.exec("DELETE FROM attachments WHERE id=?1", [id.to_string()])?;
        self.changed("attachment", id, Some(old.status.as_str()), None);
        Ok(true)
    }

    /// Recomputes status and attach status of a volume from its rows (workflow contract 6.4): the alphabetically
    /// smallest row status wins, and none is detached.
    pub(crate) fn recompute_volume(&self, id: VolumeId) -> rusqlite::Result<()> {
        let rows = self.attachments_of(id)?;
        let smallest = rows.iter().map(|r| r.status).min_by_key(|s| s.as_str());
        let (attach, status) = match smallest {
            None => (AttachStatus::Detached, VolumeStatus::Available),
            Some(AttachmentStatus::Attached) => (AttachStatus::Attached, VolumeStatus::InUse),
            Some(AttachmentStatus::Attaching) => (AttachStatus::Attaching, VolumeStatus::Attaching),
            Some(AttachmentStatus::Reserved) => (AttachStatus::Reserved, VolumeStatus::Reserved),
        };
        self.set_attach_status(id, attach)?;
        // Only the statuses that attachments govern; an error or an extend is somebody else's.
        let governed =
            [VolumeStatus::Detaching, VolumeStatus::Reserved, VolumeStatus::Attaching, VolumeStatus::InUse];
        let from: Vec<_> = governed.into_iter().filter(|s| *s != status).collect();
        self.cas_volume(id, &from, status)?;
        Ok(())
    }

    pub(crate) fn insert_control(
        &self,
        volume: VolumeId,
        connector: &ConnectorProperties,
    ) -> rusqlite::Result<i64> {
        self.exec(
            "INSERT INTO control_attachments(volume_id, connector) VALUES(?1,?2)",
            params![volume.to_string(), to_json(connector)?],
        )?;
        Ok(self.conn.last_insert_rowid())
    }

    pub(crate) fn set_control_info(&self, id: i64, info: &ConnectionInfo) -> rusqlite::Result<()> {
        self.exec(
            "UPDATE control_attachments SET connection_info=?2 WHERE id=?1",
            params![id, to_json(info)?],
        )?;
        Ok(())
    }

    pub(crate) fn control_attachments(&self) -> rusqlite::Result<Vec<ControlRow>> {
        self.all("SELECT * FROM control_attachments ORDER BY id", [], control)
    }

    pub(crate) fn control_of(&self, volume: VolumeId) -> rusqlite::Result<Vec<ControlRow>> {
        self.all(
            "SELECT * FROM control_attachments WHERE volume_id=?1 ORDER BY id",
            [volume.to_string()],
            control,
        )
    }

    pub(crate) fn remove_control(&self, id: i64) -> rusqlite::Result<()> {
        self.exec("DELETE FROM control_attachments WHERE id=?1", [id])?;
        Ok(())
    }

    pub(crate) fn insert_temp(&self, name: &str) -> rusqlite::Result<()> {
        self.exec("INSERT OR IGNORE INTO temp_files VALUES(?1)", [name])?;
        Ok(())
    }

    pub(crate) fn temps(&self) -> rusqlite::Result<Vec<String>> {
        self.all("SELECT name FROM temp_files ORDER BY name", [], |row| row.get(0))
    }

    pub(crate) fn remove_temp(&self, name: &str) -> rusqlite::Result<()> {
        self.exec("DELETE FROM temp_files WHERE name=?1", [name])?;
        Ok(())
    }

    pub(crate) fn insert_instance(&self, i: &InstanceView) -> rusqlite::Result<()> {
        self.exec("INSERT INTO instances VALUES(?1,?2)", params![i.id.to_string(), i.host])?;
        Ok(())
    }

    pub(crate) fn instance(&self, id: InstanceId) -> rusqlite::Result<Option<InstanceView>> {
        self.one("SELECT id, host FROM instances WHERE id=?1", [id.to_string()], |row| {
            Ok(InstanceView { id: parsed(row, 0)?, host: row.get(1)? })
        })
    }

    pub(crate) fn instances(&self) -> rusqlite::Result<Vec<InstanceView>> {
        self.all("SELECT id, host FROM instances ORDER BY id", [], |row| {
            Ok(InstanceView { id: parsed(row, 0)?, host: row.get(1)? })
        })
    }

    pub(crate) fn remove_instance(&self, id: InstanceId) -> rusqlite::Result<bool> {
        Ok(self.exec("DELETE FROM instances WHERE id=?1", [id.to_string()])? == 1)
    }

    /// Makes the mapping with the first free device name from `/dev/vdb` on; answers the name.
    pub(crate) fn insert_bdm(
        &self,
        instance: InstanceId,
        volume: VolumeId,
        size_gib: u64,
    ) -> rusqlite::Result<String> {
        let taken =
            self.all("SELECT device_name FROM bdms WHERE instance_id=?1", [instance.to_string()], |row| {
                row.get::<_, String>(0)
            })?;
        let name = (1u32..)
            .map(device_name)
            .find(|name| !taken.contains(name))
            .ok_or_else(|| bad(3, "no free device name"))?;
        self.exec(
            "INSERT INTO bdms VALUES(?1,?2,NULL,?3,?4)",
            params![instance.to_string(), volume.to_string(), name, int(size_gib)],
        )?;
        Ok(name)
    }

    pub(crate) fn bdm(&self, instance: InstanceId, volume: VolumeId) -> rusqlite::Result<Option<BdmView>> {
        self.one(
            &format!("{BDM} WHERE b.instance_id=?1 AND b.volume_id=?2"),
            [instance.to_string(), volume.to_string()],
            bdm,
        )
    }

    pub(crate) fn bdms(&self) -> rusqlite::Result<Vec<BdmView>> {
        self.all(&format!("{BDM} ORDER BY b.instance_id, b.device_name"), [], bdm)
    }

    pub(crate) fn set_bdm_attachment(
        &self,
        instance: InstanceId,
        volume: VolumeId,
        attachment: AttachmentId,
    ) -> rusqlite::Result<()> {
        self.exec(
            "UPDATE bdms SET attachment_id=?3 WHERE instance_id=?1 AND volume_id=?2",
            [instance.to_string(), volume.to_string(), attachment.to_string()],
        )?;
        Ok(())
    }

    pub(crate) fn set_bdm_size(
        &self,
        instance: InstanceId,
        volume: VolumeId,
        gib: u64,
    ) -> rusqlite::Result<()> {
        self.exec(
            "UPDATE bdms SET size_gib=?3 WHERE instance_id=?1 AND volume_id=?2",
            params![instance.to_string(), volume.to_string(), int(gib)],
        )?;
        Ok(())
    }

    pub(crate) fn remove_bdm(&self, instance: InstanceId, volume: VolumeId) -> rusqlite::Result<()> {
        self.exec(
            "DELETE FROM bdms WHERE instance_id=?1 AND volume_id=?2",
            [instance.to_string(), volume.to_string()],
        )?;
        Ok(())
    }

    pub(crate) fn put_guest_disk(
        &self,
        instance: InstanceId,
        volume: VolumeId,
        host_path: &str,
        wwn: Wwn,
    ) -> rusqlite::Result<()> {
        self.exec(
            "INSERT OR REPLACE INTO guest_disks VALUES(?1,?2,?3,?4)",
            params![instance.to_string(), volume.to_string(), host_path, wwn.to_string()],
        )?;
        Ok(())
    }

    /// The disk of a guest that still has it is another device of its host now.
    pub(crate) fn move_guest_disk(
        &self,
        instance: InstanceId,
        volume: VolumeId,
        host_path: &str,
    ) -> rusqlite::Result<()> {
        self.exec(
            "UPDATE guest_disks SET host_path=?3 WHERE instance_id=?1 AND volume_id=?2",
            params![instance.to_string(), volume.to_string(), host_path],
        )?;
        Ok(())
    }

    pub(crate) fn remove_guest_disk(&self, instance: InstanceId, volume: VolumeId) -> rusqlite::Result<()> {
        self.exec(
            "DELETE FROM guest_disks WHERE instance_id=?1 AND volume_id=?2",
            [instance.to_string(), volume.to_string()],
        )?;
        Ok(())
    }

    /// Disks that guests have although no block device mapping names them, as `guest volume`.
    pub(crate) fn stray_guest_disks(&self) -> rusqlite::Result<Vec<String>> {
        self.all(
            "SELECT g.instance_id, g.volume_id FROM guest_disks g LEFT JOIN bdms b USING(instance_id, volume_id) \
             WHERE b.instance_id IS NULL ORDER BY 1, 2",
            [],
            |row| Ok(format!("{} {}", row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
        )
    }

    /// True if another instance on this host has, or is getting, the volume.
    pub(crate) fn shared_on_host(
        &self,
        volume: VolumeId,
        host: &str,
        but: AttachmentId,
    ) -> rusqlite::Result<bool> {
        let mut statement = self.conn.prepare_cached(
            "SELECT 1 FROM attachments WHERE volume_id=?1 AND host=?2 AND id<>?3 AND connector IS NOT NULL",
        )?;
        let found: Option<i64> = statement
            .query_row(params![volume.to_string(), host, but.to_string()], |row| row.get(0))
            .optional()?;
        Ok(found.is_some())
    }
}

/// `/dev/vda`, `/dev/vdb`, ... `/dev/vdaa`.
fn device_name(index: u32) -> String {
    let mut letters = Vec::new();
    let mut n = index + 1;
    while n > 0 {
        n -= 1;
        letters.push(char::from(b'a' + u8::try_from(n % 26).unwrap_or(0)));
        n /= 26;
    }
    format!("/dev/vd{}", letters.into_iter().rev().collect::<String>())
}
