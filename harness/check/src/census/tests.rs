//! One right picture, and one planted difference at a time: each must fire its own requirement and nothing else.

use std::collections::BTreeSet;

use sanbench_api::{
    GroupEntry, HostDevice, HostEntry, HostSession, InitiatorEntry, JobEntry, LunEntry, MultipathMap,
    ParentLink, SnapshotEntry, ViewEntry,
};
use uuid::Uuid;

use super::*;
use crate::model::world::{Parent, Row, Snapshot, Volume};

struct Names;

impl Naming for Names {
    fn lun(&self, volume: VolumeId) -> String {
        format!("lun-{}", volume.0.as_bytes()[0])
    }

    fn snapshot(&self, snapshot: SnapshotId) -> String {
        format!("snap-{}", snapshot.0.as_bytes()[0])
    }

    fn host(&self, host: &str) -> String {
        format!("array-{host}")
    }
}

fn volume(n: u8) -> VolumeId {
    VolumeId(Uuid::from_bytes([n; 16]))
}

fn snapshot(n: u8) -> SnapshotId {
    SnapshotId(Uuid::from_bytes([n; 16]))
}

fn lun(n: u8, gib: u64, parent: Option<ParentLink>) -> LunEntry {
    LunEntry {
        id: n.to_string(),
        name: format!("lun-{n}"),
        wwn: Wwn([n; 16]),
        blocks: gib * BLOCKS_PER_GIB,
        pool: "pool0".into(),
        parent,
        mapped: false,
        description: String::new(),
    }
}

fn made(size_gib: u64, parent: Option<Parent>) -> Volume {
    Volume {
        size_gib,
        host: "h@b#pool0".into(),
        parent,
        attached: BTreeSet::new(),
        row: Row::Healthy,
        lun: true,
        internal: false,
        extended: false,
        flattened: false,
    }
}

/// Volume 1 attached to `c1`; volume 2 cloned from 3, which is a silent parent; volume 4 from snapshot 9 of 1; volume 5
/// failed to be made. On the array there is a foreign LUN 77 beside them.
fn expected() -> World {
    let mut world = World::default();
    let mut first = made(2, None);
    first.attached.insert("c1".into());
    world.volumes.insert(volume(1), first);
    world.volumes.insert(volume(2), made(1, Some(Parent::Volume(volume(3)))));
    world.volumes.insert(volume(3), Volume { row: Row::Gone, ..made(1, None) });
    world.volumes.insert(volume(4), made(2, Some(Parent::Snapshot(snapshot(9)))));
    world.volumes.insert(volume(5), Volume { row: Row::Broken, lun: false, ..made(1, None) });
    let nine = Snapshot { volume: volume(1), size_gib: 2, row: Row::Healthy, made: true };
    world.snapshots.insert(snapshot(9), nine);
    world
}

fn baseline() -> ArrayInventory {
    ArrayInventory { luns: vec![lun(77, 5, None)], ..ArrayInventory::default() }
}

fn observed() -> Census {
    let group = |id: &str, member: &str| GroupEntry {
        id: id.into(),
        name: format!("group-{id}"),
        members: vec![member.into()],
        made_for: None,
    };
    let mut first = lun(1, 2, None);
    first.mapped = true;
    let silent = LunEntry { name: "kept-under-another-name".into(), ..lun(3, 1, None) };
    let array = ArrayInventory {
        luns: vec![
            first,
            lun(2, 1, Some(ParentLink::Lun("3".into()))),
            silent,
            lun(4, 2, Some(ParentLink::Snapshot("90".into()))),
            lun(77, 5, None),
        ],
        snapshots: vec![SnapshotEntry {
            id: "90".into(),
            name: "snap-9".into(),
            lun: "1".into(),
            blocks: 2 * BLOCKS_PER_GIB,
            active: true,
            description: String::new(),
        }],
        hosts: vec![HostEntry {
            id: "h1".into(),
            name: "array-c1".into(),
            initiators: vec!["iqn.c1".into()],
        }],
        initiators: vec![InitiatorEntry { iqn: "iqn.c1".into(), host: Some("h1".into()) }],
        host_groups: vec![group("hg", "h1")],
        lun_groups: vec![group("lg", "1")],
        views: vec![ViewEntry {
            id: "v".into(),
            name: "view".into(),
            host_group: Some("hg".into()),
            lun_group: Some("lg".into()),
            made_for: None,
        }],
        jobs: Vec::new(),
    };
    let row = |n: u8, status: &str, size_gib: u64| DbVolume {
        id: volume(n),
        status: status.into(),
        size_gib,
        host: Some("h@b#pool0".into()),
        internal: false,
    };
    let db = DbCensus {
        volumes: vec![
            row(1, "in-use", 2),
            row(2, "available", 1),
            row(4, "available", 2),
            row(5, "error", 1),
        ],
        snapshots: vec![DbSnapshot {
            id: snapshot(9),
            volume: volume(1),
            size_gib: 1,
            status: "available".into(),
        }],
        attachments: vec![DbAttachment {
            id: AttachmentId(Uuid::from_bytes([1; 16])),
            volume: volume(1),
            host: "c1".into(),
            status: "attached".into(),
        }],
        mappings: vec![DbMapping {
            volume: volume(1),
            attachment: Some(AttachmentId(Uuid::from_bytes([1; 16]))),
            path: Some("/dev/dm-0".into()),
            guest: InstanceId(Uuid::from_bytes([7; 16])),
            disk: "/dev/vdb".into(),
        }],
        disks: Vec::new(),
        quota: Some(Quota { volumes: 4, gigabytes: 7, snapshots: 1, reserved: 0 }),
        open: Vec::new(),
    };
    let device = |name: &str, portal: &str| HostDevice {
        hctl: "3:0:0:1".into(),
        name: name.into(),
        wwn: Some(Wwn([1; 16])),
        portal: portal.into(),
        size_bytes: 2 << 30,
    };
    let session = |portal: &str| HostSession { portal: portal.into(), iqn: "iqn.t".into(), logged_in: true };
    let attached = HostCensus {
        host: "c1".into(),
        sessions: vec![session("p1"), session("p2")],
        nodes: vec!["p1,iqn.t".into(), "p2,iqn.t".into()],
        devices: vec![device("sda", "p1"), device("sdb", "p2")],
        by_id: vec![format!("wwn-0x{} -> dm-0", Wwn([1; 16]))],
        maps: vec![MultipathMap {
            name: "dm-0".into(),
            wwid: format!("3{}", Wwn([1; 16])),
            paths: vec!["sda".into(), "sdb".into()],
            size_bytes: 2 << 30,
        }],
        violations: Vec::new(),
    };
    let idle = HostCensus { host: "control".into(), ..HostCensus::default() };
    Census { array: Some(array), db, hosts: vec![attached, idle], files: Vec::new() }
}

/// What fires when the picture is changed by `plant`.
fn fires(plant: impl FnOnce(&mut World, &mut Census)) -> Vec<String> {
    let (mut world, mut census) = (expected(), observed());
    plant(&mut world, &mut census);
    let baseline = baseline();
    let rules = Rules { names: &Names, baseline: &baseline, wwns: BTreeMap::new(), initiators_stay: false };
    compare(&world, &census, &rules)
        .into_iter()
        .map(|f| format!("{} {}", f.requirement, f.signature))
        .collect()
}

fn array(census: &mut Census) -> &mut ArrayInventory {
    census.array.as_mut().unwrap()
}

#[test]
fn the_right_picture_is_silent() {
    assert_eq!(fires(|_, _| {}), [""; 0]);
    assert_eq!(
        fires(|_, census| census.array = None).len(),
        0,
        "hosts are then judged by what was seen at attach"
    );
}

#[test]
fn luns_that_nothing_explains_or_that_are_missing() {
    assert_eq!(fires(|_, c| array(c).luns.push(lun(50, 1, None))), ["CLU-005 census:lun:left over"]);
    assert_eq!(fires(|_, c| array(c).luns.push(lun(5, 1, None))), ["CRE-009 census:lun:left over"]);
    let second_silent = |_: &mut World, c: &mut Census| array(c).luns.push(lun(3, 1, None));
    assert_eq!(
        fires(second_silent).len(),
        2,
        "a LUN under the silent parent's old name, sharing its identity"
    );
    let gone = |_: &mut World, c: &mut Census| array(c).luns.retain(|lun| lun.id != "4");
    assert_eq!(fires(gone), ["CLU-005 census:lun:missing"]);
    let twice = |_: &mut World, c: &mut Census| {
        array(c).luns.push(LunEntry { id: "20".into(), wwn: Wwn([20; 16]), ..lun(2, 1, None) });
    };
    assert_eq!(fires(twice), ["API-004 census:lun:count"]);
}

#[test]
fn a_silent_parent_that_nobody_needs_is_left_over() {
    let kept = |world: &mut World, census: &mut Census| {
        world.volumes.remove(&volume(3));
        let flattened = world.volumes.get_mut(&volume(2)).unwrap();
        flattened.parent = None;
        flattened.flattened = true;
        array(census).luns[1].parent = None;
    };
    assert_eq!(fires(kept), ["CLU-005 census:lun:left over"]);
}

#[test]
fn fields_of_luns() {
    assert_eq!(fires(|_, c| array(c).luns[1].blocks -= 1), ["CRE-001 census:lun:size"]);
    let extended = |w: &mut World, c: &mut Census| {
        w.volumes.get_mut(&volume(2)).unwrap().extended = true;
        array(c).luns[1].blocks += BLOCKS_PER_GIB;
    };
    assert_eq!(fires(extended), ["EXT-001 census:lun:size"]);
    assert_eq!(fires(|_, c| array(c).luns[1].pool = "pool1".into()), ["SCH-001 census:lun:pool"]);
    assert_eq!(fires(|_, c| array(c).luns[1].wwn = Wwn([77; 16])), ["CRE-012 census:lun:wwn"]);
    let deeper = |_: &mut World, c: &mut Census| array(c).luns[2].parent = Some(ParentLink::Lun("1".into()));
    assert_eq!(fires(deeper), ["CLN-003 census:lun:depth"]);
    let still_linked = |w: &mut World, _: &mut Census| {
        let volume = w.volumes.get_mut(&volume(4)).unwrap();
        (volume.parent, volume.flattened) = (None, true);
    };
    assert_eq!(fires(still_linked), ["FLT-003 census:lun:depth"]);
}

#[test]
fn snapshots_and_jobs() {
    assert_eq!(fires(|_, c| array(c).snapshots[0].active = false), ["SNP-001 census:snapshot:active"]);
    let helper = |_: &mut World, c: &mut Census| {
        let helper =
            SnapshotEntry { id: "91".into(), name: "helper".into(), ..array(c).snapshots[0].clone() };
        array(c).snapshots.push(helper);
    };
    assert_eq!(fires(helper), ["CLU-005 census:snapshot:left over"]);
    let job = |_: &mut World, c: &mut Census| {
        array(c).jobs.push(JobEntry { id: "1".into(), name: "copy".into(), lun: None })
    };
    assert_eq!(fires(job), ["CLU-001 census:job:left over"]);
}

#[test]
fn mappings_and_their_carriers() {
    let leaked = |_: &mut World, c: &mut Census| array(c).lun_groups[0].members.push("2".into());
    assert_eq!(fires(leaked), ["ATT-001 census:mapping:left over"]);
    let lost = |_: &mut World, c: &mut Census| array(c).lun_groups[0].members.clear();
    assert_eq!(fires(lost), ["ATT-004 census:mapping:missing"]);
    assert_eq!(fires(|_, c| array(c).luns[1].mapped = true), ["ATT-001 census:mapping:left over"]);
    let host = |_: &mut World, c: &mut Census| {
        array(c).hosts.push(HostEntry { id: "h2".into(), name: "array-c2".into(), initiators: Vec::new() });
    };
    assert_eq!(fires(host), ["CLU-001 census:host:left over"]);
    let view = |_: &mut World, c: &mut Census| {
        array(c).views.push(ViewEntry {
            id: "w".into(),
            name: "w".into(),
            host_group: None,
            lun_group: None,
            made_for: None,
        });
    };
    assert_eq!(fires(view), ["CLU-001 census:mapping view:left over"]);
    let initiator = |_: &mut World, c: &mut Census| {
        array(c).initiators.push(InitiatorEntry { iqn: "iqn.x".into(), host: None });
    };
    assert_eq!(fires(initiator), ["CLU-001 census:initiator:left over"]);
    for (role, groups) in [("host group", true), ("lun group", false)] {
        let group = |_: &mut World, c: &mut Census| {
            let empty = GroupEntry { id: "g".into(), name: "g".into(), members: Vec::new(), made_for: None };
            let array = array(c);
            if groups { array.host_groups.push(empty) } else { array.lun_groups.push(empty) }
        };
        assert_eq!(fires(group), [format!("CLU-001 census:{role}:left over")]);
    }
}

#[test]
fn foreign_objects_must_stay_as_they_are() {
    assert_eq!(fires(|_, c| array(c).luns[4].blocks += 1), ["CLU-002 census:lun:foreign"]);
    let gone = |_: &mut World, c: &mut Census| array(c).luns.retain(|lun| lun.id != "77");
    assert_eq!(fires(gone), ["CLU-002 census:lun:foreign"]);
}

#[test]
fn rows() {
    assert_eq!(
        fires(|_, c| c.db.volumes[0].status = "available".into()),
        ["OBS-005 census:volume row:status"]
    );
    assert_eq!(
        fires(|_, c| c.db.volumes[3].status = "available".into()),
        ["OBS-005 census:volume row:status"]
    );
    assert_eq!(
        fires(|_, c| c.db.snapshots[0].status = "error".into()),
        ["OBS-005 census:snapshot row:status"]
    );
    assert_eq!(
        fires(|_, c| c.db.volumes[1].host = Some("h@b#pool1".into())),
        ["SCH-001 census:volume row:host"]
    );
    let gone = |_: &mut World, c: &mut Census| {
        c.db.volumes.remove(1);
        c.db.quota = None;
    };
    assert_eq!(fires(gone), ["CLU-005 census:volume row:missing"]);
    let zombie = |_: &mut World, c: &mut Census| {
        let row = DbVolume { id: volume(60), internal: true, ..c.db.volumes[1].clone() };
        c.db.volumes.push(row);
    };
    assert_eq!(fires(zombie), ["CLU-005 census:volume row:left over"]);
    assert_eq!(
        fires(|_, c| c.db.attachments.clear()),
        ["ATT-004 census:attachment row:missing", "ATT-012 census:block device mapping:left over"]
    );
    let left = |_: &mut World, c: &mut Census| {
        let row = DbAttachment { volume: volume(2), ..c.db.attachments[0].clone() };
        c.db.attachments.push(row);
    };
    assert_eq!(fires(left), ["ATT-012 census:attachment row:left over"]);
    assert_eq!(fires(|_, c| c.db.quota.as_mut().unwrap().reserved = 1), ["QTA-001 census:quota:reserved"]);
    assert_eq!(fires(|_, c| c.db.quota.as_mut().unwrap().gigabytes = 9), ["QTA-001 census:quota:gigabytes"]);
    assert_eq!(fires(|_, c| c.db.open.push("flow 3".into())), ["CLU-001 census:flow:left over"]);
    assert_eq!(fires(|_, c| c.files.push("/tmp/x".into())), ["CLU-001 census:file:left over"]);
    assert_eq!(fires(|_, c| c.files.push("/dev/sda".into())), ["IMG-010 census:file:left over"]);
    assert_eq!(
        fires(|_, c| c.db.mappings[0].attachment = None),
        ["ATT-004 census:block device mapping:missing", "ATT-012 census:block device mapping:left over"]
    );
    assert_eq!(fires(|_, c| c.db.mappings.clear()), ["ATT-004 census:block device mapping:missing"]);
    let part = |_: &mut World, c: &mut Census| c.db.mappings[0].path = Some("/dev/dm-0p1".into());
    assert_eq!(fires(part), ["ATT-006 census:guest disk:path"]);
    assert_eq!(fires(|_, c| c.db.disks.push("a disk".into())), ["ATT-004 census:guest disk:left over"]);
    for disk in ["/dev/vda", "/dev/vd", "/dev/vd|", "/dev/sdb", ""] {
        let named = |_: &mut World, c: &mut Census| c.db.mappings[0].disk = disk.into();
        assert_eq!(fires(named), ["ATT-004 census:guest disk:name"], "{disk}");
    }
    assert_eq!(fires(|_, c| c.db.mappings[0].disk = "/dev/vdaa".into()), [""; 0]);
    let twice = |_: &mut World, c: &mut Census| c.db.mappings.push(c.db.mappings[0].clone());
    assert_eq!(fires(twice), ["ATT-004 census:guest disk:name"]);
}

#[test]
fn hosts_keep_nothing() {
    let device = HostDevice { wwn: Some(Wwn([2; 16])), ..observed().hosts[0].devices[0].clone() };
    let stale = |_: &mut World, c: &mut Census| c.hosts[0].devices.push(device);
    assert_eq!(fires(stale), ["MPX-007 census:device:left over"]);
    let map = |_: &mut World, c: &mut Census| {
        let map = MultipathMap { wwid: "3abc".into(), ..c.hosts[0].maps[0].clone() };
        c.hosts[0].maps.push(map);
    };
    assert_eq!(fires(map), ["MPX-007 census:map:left over"]);
    let link = |_: &mut World, c: &mut Census| c.hosts[1].by_id.push("wwn-0xabc -> sdz".into());
    assert_eq!(fires(link), ["MPX-007 census:by-id name:left over"]);
    let session = |_: &mut World, c: &mut Census| {
        let session = c.hosts[0].sessions[0].clone();
        c.hosts[1].sessions.push(session);
    };
    assert_eq!(fires(session), ["CLU-001 census:session:left over"]);
    let beside = |_: &mut World, c: &mut Census| c.hosts[0].sessions[0].portal = "p9".into();
    assert_eq!(fires(beside), ["CLU-006 census:session:left over"]);
    let node = |_: &mut World, c: &mut Census| c.hosts[1].nodes.push("p1,iqn.t".into());
    assert_eq!(fires(node), ["CLU-001 census:node record:left over"]);
    let lost = |_: &mut World, c: &mut Census| {
        c.hosts[0].devices.clear();
        c.hosts[0].sessions.clear();
    };
    assert_eq!(fires(lost), ["ATT-004 census:device:missing"]);
    assert_eq!(fires(|_, c| c.hosts[0].devices[1].size_bytes = 1), ["EXT-004 census:device:size"]);
    assert_eq!(fires(|_, c| c.hosts[0].maps[0].size_bytes = 1), ["EXT-004 census:map:size"]);
    for (rule, requirement) in [("INV-H1", "MPX-007"), ("INV-H9", "ATT-012"), ("table", "ATT-006")] {
        let broken = |_: &mut World, c: &mut Census| c.hosts[1].violations.push(format!("{rule}: so"));
        assert_eq!(fires(broken), [format!("{requirement} census:host:rule")]);
    }
}

#[test]
fn hostile_inventories_do_not_trap_the_checker() {
    let circle = |_: &mut World, c: &mut Census| {
        array(c).luns[2].parent = Some(ParentLink::Lun("2".into()));
    };
    assert!(fires(circle).contains(&"CLN-003 census:lun:depth".to_owned()));
    let dangling = |_: &mut World, c: &mut Census| {
        array(c).luns[1].parent = Some(ParentLink::Snapshot("404".into()));
    };
    assert!(!fires(dangling).is_empty());
}
