//! Directories: what is made, found again and refused, on a real file system.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sanbench_array::{ArrayHandle, Command, DeviceId, Gate, PoolConfig};
use sanbench_durable::{Committer, Defects, Folder, OpenError, Opened};

use crate::config;

fn open(path: &Path) -> Result<Opened, OpenError> {
    Folder::open(path, |_| config(), Defects::default())
}

/// Makes an array with a LUN that holds something, through the committer as the server does.
fn fill(path: &Path) -> DeviceId {
    let opened = open(path).unwrap();
    let gate = Arc::new(Gate::default());
    let array = ArrayHandle::with_gate(opened.array, Arc::clone(&gate));
    let committer = Committer::start(array.clone(), Arc::clone(&gate), opened.keeper, opened.folder).unwrap();
    let create = Command::CreateLun {
        name: "l".into(),
        description: String::new(),
        pool: 0,
        blocks: 4096,
        thin: true,
    };
    let lun = DeviceId::Lun(array.lock().apply(Duration::ZERO, create).unwrap().id().unwrap());
    array.lock().write_through(Duration::ZERO, lun, 100, &[5; 65_536]).unwrap();
    let promised = array.lock().promised();
    gate.want(promised);
    drop(committer);
    assert_eq!(gate.durable(), promised);
    assert_eq!(gate.why_lost(), None);
    lun
}

#[test]
fn what_was_acknowledged_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/below");
    let lun = fill(&path);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "CHAP secrets are in it");
    for name in ["catalogue.sqlite", "pages"] {
        assert_eq!(fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o077, 0, "{name}");
    }
    let mut opened = open(&path).unwrap();
    assert!(!opened.is_new);
    assert_eq!(opened.array.read(Duration::ZERO, lun, 100, 128).unwrap().concat(), [5; 65_536]);
    assert_eq!(opened.array.audit(), Vec::<String>::new());
}

#[test]
fn two_servers_never_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::InUse(_))));
    drop(first);
    assert!(open(dir.path()).is_ok());
}

#[test]
fn what_is_not_ours_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("holiday.txt"), "photos").unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::NotOurs(_))));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was added");
    // Somebody else's database, and something that is none.
    for bytes in [None, Some(b"no database at all, but long enough to look like one".repeat(100))] {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("catalogue.sqlite");
        match bytes {
            Some(bytes) => fs::write(&name, bytes).unwrap(),
            None => {
                let other = rusqlite::Connection::open(&name).unwrap();
                other.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1);").unwrap();
            }
        }
        let before = fs::read(&name).unwrap();
        let refused = open(dir.path());
        assert!(matches!(refused, Err(OpenError::NotOurs(_))), "{refused:?}");
        assert_eq!(fs::read(&name).unwrap(), before);
    }
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let newer = rusqlite::Connection::open(dir.path().join("catalogue.sqlite")).unwrap();
    newer.pragma_update(None, "user_version", 7).unwrap();
    drop(newer);
    assert!(matches!(open(dir.path()), Err(OpenError::Newer { version: 7, .. })));
}

#[test]
fn damage_is_named_and_never_served() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 6] = [
        ("checksum of lun", |path| sql_of(path, "UPDATE object SET value = zeroblob(9) WHERE kind = 'lun'")),
        ("objects are missing", |path| sql_of(path, "DELETE FROM object WHERE kind = 'lun'")),
        ("extent", |path| sql_of(path, "DELETE FROM extent")),
        ("checksum of extent", |path| sql_of(path, "UPDATE extent SET places = zeroblob(8)")),
        ("pages are missing", |path| fs::remove_file(path.join("pages")).unwrap()),
        ("head of its pages", |path| {
            let file = fs::OpenOptions::new().write(true).open(path.join("pages")).unwrap();
            file.write_all_at(&[0xff], 20).unwrap();
        }),
    ];
    for (named, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path());
        harm(dir.path());
        match open(dir.path()) {
            Err(OpenError::Damaged { what, .. }) => assert!(what.contains(named), "{named}: {what}"),
            other => panic!("{named}: {other:?}"),
        }
    }
}

fn sql_of(path: &Path, what: &str) {
    let conn = rusqlite::Connection::open(path.join("catalogue.sqlite")).unwrap();
    conn.execute_batch(what).unwrap();
}

#[test]
fn pools_stay_may_grow_and_may_be_added_to() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let with = |pools: Vec<PoolConfig>| {
        Folder::open(dir.path(), |_| sanbench_array::ArrayConfig { pools, ..config() }, Defects::default())
    };
    let none = with(Vec::new()).unwrap();
    assert_eq!(none.array.pools().count(), 2, "none given: as they were");
    drop(none);
    let (same, small) = (config().pools, PoolConfig::new("pool0", 128));
    assert!(matches!(with(vec![small, same[1].clone()]), Err(OpenError::Misfit { .. })));
    assert!(matches!(with(vec![same[1].clone(), same[0].clone()]), Err(OpenError::Misfit { .. })));
    assert!(matches!(with(vec![same[0].clone()]), Err(OpenError::Misfit { .. })));
    let larger = vec![PoolConfig::new("pool0", 200_000 * 128), same[1].clone(), PoolConfig::new("new", 1280)];
    let opened = with(larger).unwrap();
    assert_eq!(opened.array.pool(0).unwrap().capacity_blocks(), 200_000 * 128);
    assert_eq!(opened.array.pool_by_name("new").unwrap().id, 2);
}
