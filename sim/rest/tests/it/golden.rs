//! The shapes of the answers, as both foreign drivers read them (array-rest Appendix A).

use crate::common::{GIB, NEW, OLD, with};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

fn sorted(name: &str, value: &Value) {
    let mut settings = insta::Settings::clone_current();
    settings.set_sort_maps(true);
    settings.bind(|| assert_json_snapshot!(name, value));
}

#[test]
fn array_wide_answers() {
    with(OLD, |mut client| async move {
        for (name, path) in [
            ("system", "system/"),
            ("license_feature", "license/feature"),
            ("storagepool", "storagepool"),
            ("iscsi_tgt_port", "iscsi_tgt_port"),
            ("eth_port", "eth_port"),
            ("iscsidevicename", "iscsidevicename"),
            ("controller", "controller"),
            ("count", "splitmirror/count"),
            ("cachepartition", "SMARTCACHEPARTITION?filter=NAME::cache0"),
        ] {
            let answer = client.whole("GET", path, Value::Null).await;
            sorted(name, &answer);
        }
    });
}

#[test]
fn luns_snapshots_and_copies() {
    with(NEW, |mut client| async move {
        let volume = json!({
            "TYPE": "11", "NAME": "1d2eb4ea-19f4c4091bad3c8f1c3e64", "PARENTTYPE": "216", "PARENTID": "0",
            "DESCRIPTION": "volume-1d2eb4ea-9229-4d7d-b3a3-0201a20878be", "ALLOCTYPE": 1, "CAPACITY": GIB,
            "READCACHEPOLICY": "2", "WRITECACHEPOLICY": "5", "MIRRORPOLICY": "1",
        });
        let lun = client.whole("POST", "lun", volume).await;
        sorted("lun_created", &lun);
        let id = lun["data"]["ID"].as_str().unwrap().to_owned();
        let snapshot =
            client.whole("POST", "snapshot", json!({"NAME": "s", "PARENTID": id, "DESCRIPTION": "d"})).await;
        sorted("snapshot_created", &snapshot);
        let snapshot = snapshot["data"]["ID"].as_str().unwrap().to_owned();
        client.ok("POST", "snapshot/activate", json!({"SNAPSHOTLIST": [snapshot]})).await;
        let clone = client
            .whole("POST", "lun", json!({"NAME": "c", "ISCLONE": true, "CLONESOURCEID": snapshot}))
            .await;
        sorted("clone_created", &clone);
        let clone = clone["data"]["ID"].as_str().unwrap().to_owned();
        client
            .ok(
                "PUT",
                "lunclone_split_switch",
                json!({"ID": clone, "SPLITACTION": 1, "ISCLONE": true, "SPLITSPEED": 4}),
            )
            .await;
        client.env.sleep(std::time::Duration::from_secs(5)).await;
        let split = client.whole("GET", &format!("lun/{clone}"), Value::Null).await;
        sorted("clone_split", &split);
        let target = client.lun("t", 1).await;
        let place = |id: &str| format!("INVALID;{id};INVALID;INVALID;INVALID");
        let body = json!({"TYPE": 219, "NAME": "cp", "COPYSPEED": "2", "LUNCOPYTYPE": "1", "SOURCELUN": place(&snapshot), "TARGETLUN": place(&target)});
        let copy = client.whole("POST", "luncopy", body).await;
        sorted("luncopy_created", &copy);
        let pair = json!({"copyRate": 2, "sourceID": id, "targetID": clone, "isNeedSynchronize": "0"});
        let pair = client.whole("POST", "clonepair/relation", pair).await;
        sorted("clonepair_created", &pair);
    });
}

#[test]
fn mapping_objects() {
    with(NEW, |mut client| async move {
        let lun = client.lun("v", 1).await;
        let host = client
            .make("host", json!({"NAME": "host1", "OPERATIONSYSTEM": "0", "DESCRIPTION": "host1"}))
            .await;
        let iqn = "iqn.1994-05.com.example:Host1";
        client.ok("POST", "iscsi_initiator", json!({"ID": iqn})).await;
        client
            .ok(
                "PUT",
                &format!("iscsi_initiator/{iqn}"),
                json!({"PARENTTYPE": "21", "PARENTID": host, "MULTIPATHTYPE": "0"}),
            )
            .await;
        let initiator = client.whole("GET", &format!("iscsi_initiator/{iqn}"), Value::Null).await;
        sorted("iscsi_initiator", &initiator);
        let hosts = client.make("hostgroup", json!({"NAME": "OpenStack_HostGroup_1"})).await;
        client
            .ok(
                "POST",
                "hostgroup/associate",
                json!({"ID": hosts, "ASSOCIATEOBJTYPE": "21", "ASSOCIATEOBJID": host}),
            )
            .await;
        let luns = client.make("lungroup", json!({"NAME": "OpenStack_LunGroup_1", "APPTYPE": "0"})).await;
        client
            .ok(
                "POST",
                "lungroup/associate",
                json!({"ID": luns, "ASSOCIATEOBJTYPE": 11, "ASSOCIATEOBJID": lun}),
            )
            .await;
        let view = client.make("mappingview", json!({"NAME": "OpenStack_Mapping_View_1"})).await;
        for (kind, id) in [("14", &hosts), ("256", &luns)] {
            let body = json!({"ID": view, "ASSOCIATEOBJTYPE": kind, "ASSOCIATEOBJID": id});
            client.ok("PUT", "MAPPINGVIEW/CREATE_ASSOCIATE", body).await;
        }
        let mut seen = client.whole("GET", &format!("mappingview/{view}"), Value::Null).await;
        let free = seen["data"]["AVAILABLEHOSTLUNIDLIST"].as_str().unwrap().to_owned();
        assert!(free.starts_with("[2, 3, 4, ") && free.ends_with(']'), "{free}");
        seen["data"]["AVAILABLEHOSTLUNIDLIST"] = json!("..");
        sorted("mappingview", &seen);
        let path = format!("lun/associate?TYPE=11&ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID={host}");
        let seen = client.whole("GET", &path, Value::Null).await;
        sorted("lun_of_host", &seen);
        sorted("host", &client.whole("GET", &format!("host/{host}"), Value::Null).await);
        sorted("hostgroup", &client.whole("GET", "hostgroup?range=%5B0-8191%5D", Value::Null).await);
        sorted("lungroup", &client.whole("GET", "LUNGroup?range=%5B0-8191%5D", Value::Null).await);
        sorted("portgroup", &client.whole("GET", "PortGroup?range=%5B0-8191%5D&TYPE=257", Value::Null).await);
    });
}

#[test]
fn session_answers() {
    with(NEW, |mut client| async move {
        let body = json!({"username": "admin", "password": "Admin@storage1", "scope": "0"});
        let mut login = client.whole("POST", "!/deviceManager/rest/xx/sessions", body).await;
        login["data"]["iBaseToken"] = json!("..");
        sorted("login", &login);
        client.token = "nonsense".to_owned();
        sorted("session_lost", &client.whole("GET", "system/", Value::Null).await);
    });
}
