//! Jobs that fail half-way, stand still, lose their controller: what clients see, and that they can go on.

use std::time::Duration;

use sanbench_array::{DeviceId, JobFault};
use serde_json::{Value, json};

use crate::common::{Client, GIB, NEW, OLD, with};

/// One fault waits at a point.
fn order(c: &Client, at: &'static str, fault: JobFault) {
    let mut waiting = true;
    c.array.lock().watch_jobs(move |point| (point == at && std::mem::take(&mut waiting)).then_some(fault));
}

fn fill(c: &Client, lun: &str, byte: u8) {
    let id = DeviceId::Lun(lun.parse().unwrap());
    c.array.lock().write(c.env.now(), id, 0, &[byte; 65_536 * 8]).unwrap();
}

fn bytes(c: &Client, lun: &str) -> Vec<u8> {
    let id = DeviceId::Lun(lun.parse().unwrap());
    c.array.lock().read(c.env.now(), id, 0, 8 * 128).unwrap().concat()
}

fn place(id: &str) -> String {
    format!("INVALID;{id};INVALID;INVALID;INVALID")
}

#[test]
fn a_lun_copy_that_fails_leaves_its_source_and_can_be_started_again() {
    with(OLD, |mut c| async move {
        let (source, target) = (c.lun("v", 1).await, c.lun("w", 1).await);
        fill(&c, &source, 1);
        fill(&c, &target, 2);
        let body = json!({"NAME": "c", "SOURCELUN": place(&source), "TARGETLUN": place(&target)});
        let copy = c.make("luncopy", body).await;
        // 8 of 16384 extents are in use: the copy skips the rest, so that only 0 and 100 are reached before the end.
        order(&c, "job.luncopy.100", JobFault::Fail);
        c.ok("PUT", "luncopy/start", json!({"ID": copy})).await;
        c.env.sleep(Duration::from_secs(1)).await;
        let seen = c.get(&format!("luncopy/{copy}")).await;
        assert_eq!(seen["HEALTHSTATUS"], "2");
        assert_ne!(seen["RUNNINGSTATUS"], "40");
        assert!(bytes(&c, &source).iter().all(|byte| *byte == 1));
        let alarms = c.get("alarm/historyalarm").await;
        assert_eq!(alarms[0]["name"], "Background Task Failed");
        c.ok("PUT", "luncopy/start", json!({"ID": copy})).await;
        c.env.sleep(Duration::from_secs(1)).await;
        assert_eq!(c.get(&format!("luncopy/{copy}")).await["RUNNINGSTATUS"], "40");
        assert!(bytes(&c, &target).iter().all(|byte| *byte == 1));
    });
}

#[test]
fn a_clone_pair_that_fails_at_once_says_so_and_can_be_removed() {
    with(NEW, |mut c| async move {
        let (source, target) = (c.lun("v", 1).await, c.lun("w", 1).await);
        fill(&c, &source, 1);
        fill(&c, &target, 2);
        let pair = c.make("clonepair/relation", json!({"sourceID": source, "targetID": target})).await;
        order(&c, "job.clonepair.0", JobFault::Fail);
        c.ok("PUT", "clonepair/synchronize", json!({"ID": pair, "copyAction": 0})).await;
        let seen = c.get(&format!("clonepair/{pair}")).await;
        assert_eq!((&seen["copyStatus"], &seen["syncStatus"]), (&json!("1"), &json!("0")));
        assert!(bytes(&c, &target).iter().all(|byte| *byte == 2), "failed before the first extent");
        c.ok("DELETE", &format!("clonepair/{pair}"), Value::Null).await;
        for lun in [source, target] {
            c.ok("DELETE", &format!("lun/{lun}"), Value::Null).await;
        }
    });
}

#[test]
fn a_split_that_fails_keeps_its_link() {
    with(NEW, |mut c| async move {
        let source = c.lun("v", 1).await;
        fill(&c, &source, 1);
        let clone = json!({"NAME": "c", "ISCLONE": true, "CLONESOURCEID": source});
        let clone = c.make("lun", clone).await;
        let split = json!({"ID": clone, "SPLITACTION": 1});
        order(&c, "job.split.100", JobFault::Fail);
        c.ok("PUT", "lunclone_split_switch", split.clone()).await;
        c.env.sleep(Duration::from_secs(1)).await;
        let seen = c.get(&format!("lun/{clone}")).await;
        assert_eq!((&seen["SPLITSTATUS"], &seen["ISCLONE"]), (&json!("2"), &json!("true")));
        assert!(bytes(&c, &clone).iter().all(|byte| *byte == 1));
        c.ok("PUT", "lunclone_split_switch", split).await;
        c.env.sleep(Duration::from_secs(1)).await;
        assert_eq!(c.get(&format!("lun/{clone}")).await["ISCLONE"], "false");
        assert!(bytes(&c, &clone).iter().all(|byte| *byte == 1));
    });
}

#[test]
fn a_migration_that_fails_at_the_last_moment_leaves_the_lun_where_it_is() {
    with(NEW, |mut c| async move {
        let lun = c.lun("v", 1).await;
        fill(&c, &lun, 1);
        let body = json!({"NAME": "t", "PARENTID": "1", "CAPACITY": GIB});
        let target = c.make("lun", body).await;
        let body = json!({"PARENTID": lun, "TARGETLUNID": target, "SPEED": 2});
        order(&c, "job.migration.100", JobFault::Fail);
        c.make("lun_migration", body.clone()).await;
        for id in [&lun, &target] {
            let resources = c.get(&format!("lun/{id}")).await["HASRSSOBJECT"].as_str().unwrap().to_owned();
            assert!(resources.contains("\"LunMigration\":\"TRUE\""), "{resources}");
        }
        c.env.sleep(Duration::from_secs(1)).await;
        let seen = c.get(&format!("lun_migration/{lun}")).await;
        assert_eq!((&seen["RUNNINGSTATUS"], &seen["HEALTHSTATUS"]), (&json!("74"), &json!("2")));
        assert_eq!(c.get(&format!("lun/{lun}")).await["PARENTID"], "0");
        assert!(bytes(&c, &lun).iter().all(|byte| *byte == 1));
        c.ok("DELETE", &format!("lun_migration/{lun}"), Value::Null).await;
        c.make("lun_migration", body).await;
        c.env.sleep(Duration::from_secs(1)).await;
        assert_eq!(c.get(&format!("lun/{lun}")).await["PARENTID"], "1");
    });
}

#[test]
fn jobs_stand_still_and_survive_their_controller() {
    with(NEW, |mut c| async move {
        let (source, target) = (c.lun("v", 1).await, c.lun("w", 1).await);
        fill(&c, &source, 1);
        let pair = c.make("clonepair/relation", json!({"sourceID": source, "targetID": target})).await;
        let (sync, path) = (json!({"ID": pair, "copyAction": 0}), format!("clonepair/{pair}"));
        order(&c, "job.clonepair.0", JobFault::Stall(Duration::from_secs(3600)));
        c.ok("PUT", "clonepair/synchronize", sync.clone()).await;
        c.env.sleep(Duration::from_secs(3599)).await;
        c.login().await;
        assert_eq!(c.get(&path).await["syncStatus"], "1", "it stands still");
        c.env.sleep(Duration::from_secs(2)).await;
        assert_eq!(c.get(&path).await["syncStatus"], "2");
        order(&c, "job.clonepair.100", JobFault::ControllerFails);
        fill(&c, &source, 3);
        c.ok("PUT", "clonepair/synchronize", sync.clone()).await;
        c.env.sleep(Duration::from_secs(1)).await;
        assert_eq!(c.get(&path).await["syncStatus"], "2", "the other controller went on");
        assert!(bytes(&c, &target).iter().all(|byte| *byte == 3));
        let controllers = c.get("controller").await;
        let down = controllers.as_array().unwrap().iter().filter(|c| c["RUNNINGSTATUS"] == "28").count();
        assert_eq!(down, 1);
        let alarm = c.get("alarm/currentalarm").await;
        assert_eq!(alarm[0]["name"], "Controller Fault");
        // With no controller left nothing moves, and the time does not count.
        for id in 0..2 {
            let now = c.env.now();
            c.array.lock().fail_controller(now, id).unwrap();
        }
        fill(&c, &source, 4);
        c.ok("PUT", "clonepair/synchronize", sync).await;
        c.env.sleep(Duration::from_secs(600)).await;
        assert_eq!(c.get(&path).await["syncStatus"], "1");
        let now = c.env.now();
        c.array.lock().restore_controller(now, 0).unwrap();
        c.env.sleep(Duration::from_secs(1)).await;
        assert_eq!(c.get(&path).await["syncStatus"], "2");
    });
}

#[test]
fn snapshots_of_a_group_are_of_one_instant() {
    with(NEW, |mut c| async move {
        let (one, two) = (c.lun("v", 1).await, c.lun("w", 1).await);
        fill(&c, &one, 1);
        fill(&c, &two, 1);
        let first = c.make("snapshot", json!({"NAME": "s1", "PARENTID": one})).await;
        let second = c.make("snapshot", json!({"NAME": "s2", "PARENTID": two})).await;
        // One member that does not exist: none is activated.
        let wrong = json!({"SNAPSHOTLIST": [first, "999999"]});
        assert_eq!(c.code("POST", "snapshot/activate", wrong).await, 1_077_937_880);
        assert_eq!(c.get(&format!("snapshot/{first}")).await["RUNNINGSTATUS"], "45");
        c.ok("POST", "snapshot/activate", json!({"SNAPSHOTLIST": [first, second]})).await;
        fill(&c, &one, 2);
        fill(&c, &two, 2);
        for id in [first, second] {
            let device = DeviceId::Snapshot(id.parse().unwrap());
            let seen = c.array.lock().read(c.env.now(), device, 0, 128).unwrap().concat();
            assert!(seen.iter().all(|byte| *byte == 1), "snapshot {id}");
        }
    });
}

#[test]
fn a_pool_above_its_threshold_is_an_alarm() {
    with(NEW, |mut c| async move {
        let lun = c.lun("v", 20).await;
        let pool = c.get("storagepool/0").await;
        assert_eq!(pool["USERCONSUMEDCAPACITYTHRESHOLD"], "80");
        c.ok("PUT", "storagepool/0", json!({"USERCONSUMEDCAPACITYTHRESHOLD": "1"})).await;
        for bad in ["0", "100", "x"] {
            let body = json!({"USERCONSUMEDCAPACITYTHRESHOLD": bad});
            assert_ne!(c.code("PUT", "storagepool/0", body).await, 0, "{bad}");
        }
        assert_eq!(c.get("alarm/currentalarm/count").await["COUNT"], "0");
        // A thick LUN takes its space at once.
        let body = json!({"NAME": "thick", "PARENTID": "0", "CAPACITY": 20 * GIB, "ALLOCTYPE": 0});
        let thick = c.make("lun", body).await;
        let alarm = c.get("alarm/currentalarm").await;
        assert_eq!(alarm[0]["location"], "pool0");
        c.ok("DELETE", &format!("lun/{thick}"), Value::Null).await;
        assert_eq!(c.get("alarm/currentalarm/count").await["COUNT"], "0");
        assert_eq!(c.get("alarm/historyalarm/count").await["COUNT"], "2");
        c.ok("DELETE", &format!("lun/{lun}"), Value::Null).await;
    });
}

#[test]
fn initiators_keep_their_path_settings_and_mutual_chap() {
    with(NEW, |mut c| async move {
        let host =
            c.make("host", json!({"NAME": "h", "accessMode": "1", "hyperMetroPathOptimized": "0"})).await;
        let seen = c.get(&format!("host/{host}")).await;
        assert_eq!((&seen["accessMode"], &seen["hyperMetroPathOptimized"]), (&json!("1"), &json!("0")));
        let body = json!({"ID": "iqn.2026-01.example:h", "MULTIPATHTYPE": "1", "FAILOVERMODE": 2, "PATHTYPE": "1",
            "USECHAP": "true", "CHAPNAME": "u", "CHAPPASSWORD": "secret-secret",
            "TARGETCHAPNAME": "array", "TARGETCHAPPASSWORD": "other-secret"});
        let seen = c.ok("POST", "iscsi_initiator", body).await;
        assert_eq!((&seen["FAILOVERMODE"], &seen["PATHTYPE"]), (&json!("2"), &json!("1")));
        assert_eq!(seen["TARGETCHAPNAME"], "array");
        assert!(!seen.to_string().contains("secret"), "secrets are never read back");
        // One client escapes colons, in the path and in a filter.
        let path = "iscsi_initiator/iqn.2026-01.example%5C:h";
        assert_eq!(c.get(path).await["ID"], "iqn.2026-01.example:h");
        let found = c.get("iscsi_initiator?filter=ID::iqn.2026-01.example%5C:h").await;
        assert_eq!(found.as_array().unwrap().len(), 1);
        // A change of CHAP on a bound initiator counts from the next log-in on.
        c.ok("PUT", path, json!({"PARENTTYPE": 21, "PARENTID": host})).await;
        c.ok("PUT", path, json!({"USECHAP": true, "CHAPNAME": "n", "CHAPPASSWORD": "new-secret-1"})).await;
        let chap = c.array.lock().initiator("iqn.2026-01.example:h").unwrap().chap.clone().unwrap();
        assert_eq!((chap.initiator.name.as_str(), chap.mutual), ("n", None));
        for bad in [
            json!({"FAILOVERMODE": 4}),
            json!({"PATHTYPE": 2}),
            json!({"TARGETCHAPNAME": "x", "USECHAP": true, "CHAPNAME": "a", "CHAPPASSWORD": "b"}),
        ] {
            assert_eq!(c.code("PUT", path, bad.clone()).await, 50_331_651, "{bad}");
        }
    });
}
