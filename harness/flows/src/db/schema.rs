//! The tables. Times are nanoseconds of the world's clock; ids are hyphenated UUIDs.
//!
//! Numbers of rows are never given out again (`AUTOINCREMENT`): what an operation undoes late must not be the row of another.

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS volumes(
    id TEXT PRIMARY KEY, name_id TEXT NOT NULL, name TEXT NOT NULL, size_gib INTEGER NOT NULL,
    status TEXT NOT NULL, attach_status TEXT NOT NULL, previous_status TEXT, host TEXT, volume_type TEXT,
    source TEXT NOT NULL, provider_id TEXT, provider_location TEXT, multiattach INTEGER NOT NULL,
    internal INTEGER NOT NULL, created_ns INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS volumes_host ON volumes(host);
CREATE TABLE IF NOT EXISTS snapshots(
    id TEXT PRIMARY KEY, volume_id TEXT NOT NULL, name TEXT NOT NULL, size_gib INTEGER NOT NULL,
    status TEXT NOT NULL, provider_id TEXT, provider_location TEXT) STRICT;
CREATE INDEX IF NOT EXISTS snapshots_volume ON snapshots(volume_id);
CREATE TABLE IF NOT EXISTS attachments(
    id TEXT PRIMARY KEY, volume_id TEXT NOT NULL, instance_id TEXT NOT NULL, host TEXT NOT NULL,
    status TEXT NOT NULL, connector TEXT, connection_info TEXT) STRICT;
CREATE INDEX IF NOT EXISTS attachments_volume ON attachments(volume_id);
CREATE TABLE IF NOT EXISTS control_attachments(
    id INTEGER PRIMARY KEY AUTOINCREMENT, volume_id TEXT NOT NULL, connector TEXT NOT NULL, connection_info TEXT) STRICT;
CREATE TABLE IF NOT EXISTS temp_files(name TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS instances(id TEXT PRIMARY KEY, host TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS bdms(
    instance_id TEXT NOT NULL, volume_id TEXT NOT NULL, attachment_id TEXT, device_name TEXT NOT NULL,
    size_gib INTEGER NOT NULL, PRIMARY KEY(instance_id, volume_id)) STRICT;
CREATE TABLE IF NOT EXISTS guest_disks(
    instance_id TEXT NOT NULL, volume_id TEXT NOT NULL, host_path TEXT NOT NULL, wwn TEXT NOT NULL,
    PRIMARY KEY(instance_id, volume_id)) STRICT;
CREATE TABLE IF NOT EXISTS image_cache(
    image_id TEXT NOT NULL, host TEXT NOT NULL, volume_id TEXT NOT NULL UNIQUE, size_gib INTEGER NOT NULL,
    image_version INTEGER NOT NULL, last_used INTEGER NOT NULL, PRIMARY KEY(image_id, host)) STRICT;
CREATE TABLE IF NOT EXISTS volume_types(name TEXT PRIMARY KEY, extra_specs TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS services(
    backend TEXT PRIMARY KEY, enabled INTEGER NOT NULL, stats TEXT, reported_ns INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS quota(resource TEXT PRIMARY KEY, in_use INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS reservations(
    id INTEGER PRIMARY KEY AUTOINCREMENT, volumes INTEGER NOT NULL, gigabytes INTEGER NOT NULL,
    snapshots INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS workers(
    kind TEXT NOT NULL, id TEXT NOT NULL, status TEXT NOT NULL, PRIMARY KEY(kind, id)) STRICT;
CREATE TABLE IF NOT EXISTS flows(
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, subject TEXT NOT NULL, params TEXT NOT NULL,
    started_ns INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS flow_log(
    flow INTEGER NOT NULL, seq INTEGER NOT NULL, step INTEGER NOT NULL, event INTEGER NOT NULL,
    PRIMARY KEY(flow, seq)) STRICT, WITHOUT ROWID;
";
