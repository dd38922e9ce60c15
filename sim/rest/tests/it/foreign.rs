//! The call sequences of the two foreign drivers (array-rest section 6): create, map, unmap, delete, copies.

use std::time::Duration;

use crate::common::{Client, GIB, NEW, OLD, with};
use serde_json::{Value, json};

const IQN: &str = "iqn.1994-05.com.example:host1";

async fn up_create(client: &mut Client, name: &str) -> String {
    client.get("storagepool").await;
    let body = json!({"TYPE": "11", "NAME": name, "PARENTTYPE": "216", "PARENTID": "0", "DESCRIPTION": "volume-x", "ALLOCTYPE": 1,
        "CAPACITY": GIB, "READCACHEPOLICY": "2", "WRITECACHEPOLICY": "5", "MIRRORPOLICY": "1"});
    client.make("lun", body).await
}

/// UP: everything of one volume, group look-ups on the client's side, TYPE in every query.
#[test]
fn upstream_lifecycle() {
    with(OLD, |mut c| async move {
        let c = &mut c;
        let before = c.everything();
        c.get("system/").await;
        for object in ["SMARTCACHEPARTITION", "smartcachepool", "ioclass", "splitmirror", "luncopy"] {
            assert!(c.get(&format!("{object}/count")).await["COUNT"].is_string());
        }
        let lun = up_create(c, "v1").await;
        assert_eq!(c.get("lun?filter=NAME::v1").await[0]["ID"], lun.as_str());
        c.ok("PUT", "lun/expand", json!({"TYPE": 11, "ID": lun, "CAPACITY": 2 * GIB})).await;

        // attach
        c.get("iscsi_tgt_port").await;
        assert!(c.get("host?filter=NAME::host1").await.is_null());
        let body = json!({"TYPE": "21", "NAME": "host1", "OPERATIONSYSTEM": "0", "DESCRIPTION": "host1"});
        let host = c.make("host", body).await;
        assert!(c.get("iscsi_initiator?range=%5B0-256%5D").await.is_null());
        c.ok("POST", "iscsi_initiator", json!({"TYPE": "222", "ID": IQN, "USECHAP": "false"})).await;
        assert_eq!(c.get("iscsi_initiator?range=%5B0-256%5D").await[0]["ISFREE"], "true");
        let body = json!({"TYPE": "222", "ID": IQN, "USECHAP": "true", "CHAPNAME": "chapuser", "CHAPPASSWORD": "chappassword12",
            "PARENTTYPE": "21", "PARENTID": host});
        let bound = c.ok("PUT", &format!("iscsi_initiator/{IQN}"), body).await;
        assert_eq!((&bound["USECHAP"], &bound["PARENTNAME"]), (&json!("true"), &json!("host1")));
        assert!(!bound.to_string().contains("chappassword12"));
        c.ok("PUT", "iscsi_initiator", json!({"ID": IQN, "MULTIPATHTYPE": "1"})).await;
        assert!(c.get("hostgroup?range=%5B0-8191%5D").await.is_null());
        let hosts = c.make("hostgroup", json!({"TYPE": "14", "NAME": "OpenStack_HostGroup_1"})).await;
        assert!(
            c.get(&format!("host/associate?TYPE=21&ASSOCIATEOBJTYPE=14&ASSOCIATEOBJID={hosts}"))
                .await
                .is_null()
        );
        let body = json!({"TYPE": "14", "ID": hosts, "ASSOCIATEOBJTYPE": "21", "ASSOCIATEOBJID": host});
        c.ok("POST", "hostgroup/associate", body).await;
        assert!(c.get("lungroup?range=%5B0-8191%5D").await.is_null());
        assert!(c.get("mappingview?range=%5B0-8191%5D").await.is_null());
        let body =
            json!({"NAME": "OpenStack_LunGroup_1", "DESCRIPTION": "", "APPTYPE": "0", "GROUPTYPE": "0"});
        let luns = c.make("lungroup", body).await;
        assert!(
            c.get(&format!("lun/associate?TYPE=11&ASSOCIATEOBJTYPE=256&ASSOCIATEOBJID={luns}"))
                .await
                .is_null()
        );
        c.ok(
            "POST",
            "lungroup/associate",
            json!({"ID": luns, "ASSOCIATEOBJTYPE": "11", "ASSOCIATEOBJID": lun}),
        )
        .await;
        let view = c.make("mappingview", json!({"NAME": "OpenStack_Mapping_View_1", "TYPE": "245"})).await;
        let ports =
            c.get("portgroup?range=%5B0-8191%5D&TYPE=257").await[0]["ID"].as_str().unwrap().to_owned();
        let eth =
            c.get(&format!("eth_port/associate?TYPE=213&ASSOCIATEOBJTYPE=257&ASSOCIATEOBJID={ports}")).await;
        assert_eq!(eth.as_array().unwrap().len(), 2);
        for (kind, id) in [("14", &hosts), ("256", &luns), ("257", &ports)] {
            let asked = format!("mappingview/associate?TYPE=245&ASSOCIATEOBJTYPE={kind}&ASSOCIATEOBJID={id}");
            assert!(c.get(&asked).await.is_null());
            let body = json!({"ID": view, "TYPE": "245", "ASSOCIATEOBJTYPE": kind, "ASSOCIATEOBJID": id});
            c.ok("PUT", "MAPPINGVIEW/CREATE_ASSOCIATE", body).await;
            assert_eq!(c.get(&asked).await[0]["ID"], view.as_str());
        }
        let mapped = c.get(&format!("lun/associate?TYPE=11&ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID={host}")).await;
        assert_eq!(mapped[0]["ASSOCIATEMETADATA"], "{\"HostLUNID\": 1}");
        assert_eq!(c.get(&format!("lun/{lun}")).await["EXPOSEDTOINITIATOR"], "true");

        // detach
        let asked =
            format!("mappingview/associate/lungroup?TYPE=256&ASSOCIATEOBJTYPE=245&ASSOCIATEOBJID={view}");
        assert_eq!(c.get(&asked).await[0]["ID"], luns.as_str());
        let asked = format!("lungroup/associate?TYPE=256&ASSOCIATEOBJTYPE=11&ASSOCIATEOBJID={lun}");
        assert_eq!(c.get(&asked).await[0]["ID"], luns.as_str());
        let path = format!("lungroup/associate?ID={luns}&ASSOCIATEOBJTYPE=11&ASSOCIATEOBJID={lun}");
        c.ok("DELETE", &path, Value::Null).await;
        for kind in ["lun", "snapshot"] {
            let kind_code = if kind == "lun" { 11 } else { 27 };
            let left = c
                .get(&format!("{kind}/count?TYPE={kind_code}&ASSOCIATEOBJTYPE=256&ASSOCIATEOBJID={luns}"))
                .await;
            assert_eq!(left["COUNT"], "0");
        }
        c.ok(
            "PUT",
            "mappingview/REMOVE_ASSOCIATE",
            json!({"ID": view, "TYPE": "245", "ASSOCIATEOBJTYPE": "257", "ASSOCIATEOBJID": ports}),
        )
        .await;
        c.ok("PUT", "iscsi_initiator", json!({"USECHAP": "false", "MULTIPATHTYPE": "0", "ID": IQN})).await;
        c.ok(
            "PUT",
            "mappingview/REMOVE_ASSOCIATE",
            json!({"ID": view, "TYPE": "245", "ASSOCIATEOBJTYPE": "256", "ASSOCIATEOBJID": luns}),
        )
        .await;
        c.ok("DELETE", &format!("LUNGroup/{luns}"), Value::Null).await;
        c.get("iscsi_initiator?range=%5B0-256%5D").await;
        c.ok("PUT", "iscsi_initiator/remove_iscsi_from_host", json!({"TYPE": "222", "ID": IQN})).await;
        c.ok(
            "PUT",
            "mappingview/REMOVE_ASSOCIATE",
            json!({"ID": view, "TYPE": "245", "ASSOCIATEOBJTYPE": "14", "ASSOCIATEOBJID": hosts}),
        )
        .await;
        let path = format!("host/associate?TYPE=14&ID={hosts}&ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID={host}");
        c.ok("DELETE", &path, Value::Null).await;
        c.ok("DELETE", &format!("hostgroup/{hosts}"), Value::Null).await;
        c.ok("DELETE", &format!("host/{host}"), Value::Null).await;
        c.ok("DELETE", &format!("mappingview/{view}"), Value::Null).await;

        // delete; the initiator object survives with this driver
        assert_eq!(c.get(&format!("lun/{lun}")).await["IOCLASSID"], "");
        c.ok("DELETE", &format!("lun/{lun}"), json!({"TYPE": "11", "ID": lun})).await;
        c.ok("DELETE", &format!("iscsi_initiator/{IQN}"), Value::Null).await;
        assert_eq!(c.everything(), before);
        insta::assert_snapshot!("upstream_lifecycle", c.log.join("\n"));
    });
}

/// UP on an old array: snapshot, volume from snapshot by LUN copy, everything deleted.
#[test]
fn upstream_copy_by_luncopy() {
    with(OLD, |mut c| async move {
        let c = &mut c;
        let before = c.everything();
        let source = up_create(c, "v1").await;
        let snap = c.make("snapshot", json!({"TYPE": "27", "NAME": "s1", "PARENTTYPE": "11", "DESCRIPTION": "u", "PARENTID": source})).await;
        c.ok("POST", "snapshot/activate", json!({"SNAPSHOTLIST": [snap]})).await;
        assert_eq!(c.get(&format!("snapshot/{snap}")).await["RUNNINGSTATUS"], "43");
        let target = up_create(c, "v2").await;
        let place = |id: &str| format!("INVALID;{id};INVALID;INVALID;INVALID");
        let body = json!({"TYPE": 219, "NAME": "v2", "DESCRIPTION": "v2", "COPYSPEED": "2", "LUNCOPYTYPE": "1",
            "SOURCELUN": place(&snap), "TARGETLUN": place(&target)});
        let copy = c.make("luncopy", body).await;
        c.ok("PUT", "LUNCOPY/start", json!({"TYPE": "219", "ID": copy})).await;
        let mut polls = 0;
        while c.get("LUNCOPY?range=%5B0-1023%5D").await[0]["RUNNINGSTATUS"] != "40" {
            polls += 1;
            assert!(polls < 100);
            c.env.sleep(Duration::from_secs(5)).await;
        }
        c.ok("DELETE", &format!("LUNCOPY/{copy}"), Value::Null).await;
        c.ok("PUT", "snapshot/stop", json!({"ID": snap})).await;
        c.ok("DELETE", &format!("snapshot/{snap}"), json!({"TYPE": "27", "ID": snap})).await;
        for lun in [source, target] {
            c.ok("DELETE", &format!("lun/{lun}"), json!({"TYPE": "11", "ID": lun})).await;
        }
        assert_eq!(c.everything(), before);
    });
}

/// VEN: creates first and adopts on 1077948993, no TYPE in queries, PUT bind on every attach.
#[test]
fn vendor_lifecycle() {
    with(NEW, |mut c| async move {
        let c = &mut c;
        let before = c.everything();
        c.get("storagepool").await;
        c.get("license/feature").await;
        assert_eq!(c.get("LUN_MIGRATION/count").await["COUNT"], "0");
        assert_eq!(c.get("storagepool?filter=NAME::pool0").await.as_array().unwrap().len(), 1);
        let body = json!({"NAME": "v1", "PARENTID": "0", "DESCRIPTION": "volume-x", "ALLOCTYPE": "1", "CAPACITY": GIB,
            "MIRRORPOLICY": "1", "ENABLECOMPRESSION": false});
        let lun = c.make("lun", body.clone()).await;
        assert_eq!(c.code("POST", "lun", body).await, 1_077_948_993);
        assert_eq!(c.get(&format!("lun/{lun}")).await["ENABLECOMPRESSION"], "false");

        // attach, twice: the second one meets everything already there
        let mut ids = Vec::new();
        for round in 0..2 {
            let body =
                json!({"NAME": "host1", "OPERATIONSYSTEM": "0", "DESCRIPTION": "host1", "accessMode": "0"});
            let host = match c.get("host?filter=NAME::host1&range=%5B0-100%5D").await {
                Value::Null => c.make("host", body).await,
                found => {
                    let id = found[0]["ID"].as_str().unwrap().to_owned();
                    c.ok("PUT", &format!("host/{id}"), json!({})).await;
                    id
                }
            };
            c.get("iscsi_tgt_port").await;
            let expected = if round == 0 { 0 } else { 1_077_948_997 };
            assert_eq!(c.code("POST", "iscsi_initiator", json!({"ID": IQN})).await, expected);
            let body = json!({"PARENTTYPE": "21", "PARENTID": host, "MULTIPATHTYPE": "0"});
            c.ok("PUT", &format!("iscsi_initiator/{IQN}"), body).await;
            assert_eq!(c.get(&format!("iscsi_initiator/{IQN}")).await["USECHAP"], "false");
            let mut group = Vec::new();
            for (path, name) in [("hostgroup", "OpenStack_HostGroup_1"), ("lungroup", "OpenStack_LunGroup_1")]
            {
                let body = json!({"NAME": name, "APPTYPE": "0"});
                group.push(if round == 0 {
                    c.make(path, body).await
                } else {
                    assert_eq!(c.code("POST", path, body).await, 1_077_948_993);
                    c.get(&format!("{path}?filter=NAME::{name}")).await[0]["ID"].as_str().unwrap().to_owned()
                });
            }
            let body = json!({"ID": group[0], "ASSOCIATEOBJTYPE": "21", "ASSOCIATEOBJID": host});
            assert_eq!(
                c.code("POST", "hostgroup/associate", body).await,
                if round == 0 { 0 } else { 1_077_937_501 }
            );
            c.get(&format!("mappingview/associate?ASSOCIATEOBJTYPE=256&ASSOCIATEOBJID={}", group[1])).await;
            let body =
                json!({"ID": group[1], "ASSOCIATEOBJTYPE": "11", "ASSOCIATEOBJID": lun, "startHostLunId": 1});
            assert_eq!(
                c.code("POST", "lungroup/associate", body).await,
                if round == 0 { 0 } else { 1_077_936_862 }
            );
            let body = json!({"NAME": "OpenStack_Mapping_View_1"});
            let view = if round == 0 {
                c.make("mappingview", body).await
            } else {
                assert_eq!(c.code("POST", "mappingview", body).await, 1_077_948_993);
                c.get("mappingview?filter=NAME::OpenStack_Mapping_View_1&range=%5B0-100%5D").await[0]["ID"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            };
            for (kind, id, again) in [("14", &group[0], 1_073_804_556), ("256", &group[1], 1_073_804_560)] {
                let body = json!({"ID": view, "ASSOCIATEOBJTYPE": kind, "ASSOCIATEOBJID": id});
                assert_eq!(
                    c.code("PUT", "mappingview/create_associate", body).await,
                    if round == 0 { 0 } else { again }
                );
            }
            let path = format!(
                "lun/associate?ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID={host}&filter=NAME::v1&selectFields=ID,NAME,ASSOCIATEMETADATA"
            );
            assert_eq!(c.get(&path).await[0]["ASSOCIATEMETADATA"], "{\"HostLUNID\": 1}");
            assert!(c.get(&format!("mappingview/{view}")).await["AVAILABLEHOSTLUNIDLIST"].is_string());
            ids = vec![host, group[0].clone(), group[1].clone(), view];
        }
        let [host, hosts, luns, view] = ids.as_slice() else { panic!("four ids") };

        // detach
        for (path, id) in [("lungroup", luns), ("hostgroup", hosts)] {
            let found = c.get(&format!("{path}/associate?ASSOCIATEOBJTYPE=245&ASSOCIATEOBJID={view}")).await;
            assert_eq!(found[0]["ID"], id.as_str());
        }
        assert!(
            c.get(&format!("portgroup/associate?ASSOCIATEOBJTYPE=245&ASSOCIATEOBJID={view}")).await.is_null()
        );
        let path = format!("lungroup/associate?ID={luns}&ASSOCIATEOBJTYPE=11&ASSOCIATEOBJID={lun}");
        c.ok("DELETE", &path, Value::Null).await;
        assert_eq!(c.code("DELETE", &path, Value::Null).await, 1_077_948_996);
        assert_eq!(
            c.get(&format!("lun/count?ASSOCIATEOBJTYPE=256&ASSOCIATEOBJID={luns}")).await["COUNT"],
            "0"
        );
        c.ok("PUT", &format!("iscsi_initiator/{IQN}"), json!({"USECHAP": "false", "MULTIPATHTYPE": "0"}))
            .await;
        c.ok(
            "PUT",
            "mappingview/remove_associate",
            json!({"ID": view, "ASSOCIATEOBJTYPE": "256", "ASSOCIATEOBJID": luns}),
        )
        .await;
        c.ok("DELETE", &format!("lungroup/{luns}"), Value::Null).await;
        c.ok(
            "PUT",
            "mappingview/remove_associate",
            json!({"ID": view, "ASSOCIATEOBJTYPE": "14", "ASSOCIATEOBJID": hosts}),
        )
        .await;
        c.ok(
            "DELETE",
            &format!("host/associate?ID={hosts}&ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID={host}"),
            Value::Null,
        )
        .await;
        c.ok("DELETE", &format!("hostgroup/{hosts}"), Value::Null).await;
        c.ok("DELETE", &format!("mappingview/{view}"), Value::Null).await;
        assert!(c.get(&format!("lun/associate?ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID={host}")).await.is_null());
        let initiators = c.get(&format!("iscsi_initiator?PARENTID={host}")).await;
        assert_eq!(initiators[0]["ID"], IQN);
        c.ok("PUT", "iscsi_initiator/remove_iscsi_from_host", json!({"ID": IQN})).await;
        assert_eq!(
            c.code("PUT", "iscsi_initiator/remove_iscsi_from_host", json!({"ID": IQN})).await,
            1_077_950_342
        );
        assert!(c.get(&format!("fc_initiator?PARENTID={host}")).await.is_null());
        c.ok("DELETE", &format!("host/{host}"), Value::Null).await;
        c.ok("DELETE", &format!("lun/{lun}"), Value::Null).await;
        assert_eq!(c.code("DELETE", &format!("lun/{lun}"), Value::Null).await, 1_077_936_859);
        c.ok("DELETE", &format!("iscsi_initiator/{IQN}"), Value::Null).await;
        assert_eq!(c.everything(), before);
        insta::assert_snapshot!("vendor_lifecycle", c.log.join("\n"));
    });
}

/// VEN on a new array: clone pair on the LUN itself, and the fast clone with expand before the split.
#[test]
fn vendor_clones() {
    with(NEW, |mut c| async move {
        let c = &mut c;
        let before = c.everything();
        let source = c.lun("src", 1).await;
        let target = c.lun("dst", 1).await;
        let pair = json!({"copyRate": 2, "sourceID": source, "targetID": target, "isNeedSynchronize": "0"});
        let pair = c.make("clonepair/relation", pair).await;
        c.ok("PUT", "clonepair/synchronize", json!({"ID": pair, "copyAction": 0})).await;
        c.env.sleep(Duration::from_secs(5)).await;
        let seen = c.get(&format!("clonepair/{pair}")).await;
        assert_eq!((&seen["copyStatus"], &seen["syncStatus"]), (&json!("0"), &json!("2")));
        c.ok("DELETE", &format!("clonepair/{pair}"), json!({"ID": pair, "isDeleteDstLun": false})).await;
        let again = c.whole("DELETE", &format!("clonepair/{pair}"), Value::Null).await;
        assert_eq!(again["error"]["code"], "1073798147", "both drivers compare this one with a string");

        let fast = c.make("lun", json!({"CLONESOURCEID": source, "ISCLONE": true, "NAME": "fast"})).await;
        c.ok("PUT", "lun/expand", json!({"ID": fast, "CAPACITY": 2 * GIB})).await;
        assert_eq!(c.code("DELETE", &format!("lun/{source}"), Value::Null).await, 1_077_936_870);
        let split = json!({"ID": fast, "SPLITACTION": 1, "ISCLONE": true, "SPLITSPEED": 4});
        c.ok("PUT", "lunclone_split_switch", split.clone()).await;
        c.env.sleep(Duration::from_secs(60)).await;
        let seen = c.get(&format!("lun/{fast}")).await;
        assert_eq!((&seen["ISCLONE"], &seen["SPLITSTATUS"]), (&json!("false"), &json!("0")));
        assert!(seen.get("CLONESOURCEID").is_none() && seen.get("CLONESOURCETYPE").is_none());
        assert_eq!(c.code("PUT", "lunclone_split_switch", split).await, 1_073_798_172);
        for lun in [source, target, fast] {
            c.ok("DELETE", &format!("lun/{lun}"), Value::Null).await;
        }
        assert_eq!(c.everything(), before);
    });
}

/// QoS policy, cache partition and smart cache of both drivers.
#[test]
fn extended_services() {
    with(OLD, |mut c| async move {
        let c = &mut c;
        let before = c.everything();
        let lun = c.lun("vq", 1).await;
        let body = json!({"TYPE": "230", "NAME": "OpenStack_1", "LUNLIST": [lun], "CLASSTYPE": "1", "SCHEDULEPOLICY": "2",
            "SCHEDULESTARTTIME": "1410969600", "STARTTIME": "08:00", "DURATION": "86400", "CYCLESET": "[1,2,3,4,5,6,0]",
            "IOTYPE": "2", "MAXIOPS": "1000"});
        let qos = c.make("ioclass", body).await;
        c.ok("PUT", &format!("ioclass/active/{qos}"), json!({"TYPE": 230, "ID": qos, "ENABLESTATUS": true}))
            .await;
        let seen = c.get(&format!("ioclass/{qos}")).await;
        assert_eq!((&seen["RUNNINGSTATUS"], &seen["MAXIOPS"]), (&json!("2"), &json!("1000")));
        assert_eq!(seen["LUNLIST"], format!("[\"{lun}\"]"));
        assert_eq!(c.get(&format!("lun/{lun}")).await["IOCLASSID"], qos.as_str());
        assert_ne!(c.code("DELETE", &format!("ioclass/{qos}"), Value::Null).await, 0);
        c.ok("PUT", "ioclass/active", json!({"ID": qos, "ENABLESTATUS": false})).await;
        c.ok("DELETE", &format!("ioclass/{qos}"), json!({"TYPE": "230", "ID": qos})).await;

        let partition =
            c.get("cachepartition?filter=NAME::part0").await[0]["ID"].as_str().unwrap().to_owned();
        c.ok(
            "POST",
            "lun/associate/cachepartition",
            json!({"ID": partition, "ASSOCIATEOBJTYPE": 11, "ASSOCIATEOBJID": lun}),
        )
        .await;
        let cache = c.get("SMARTCACHEPARTITION").await[0]["ID"].as_str().unwrap().to_owned();
        let body = json!({"ID": cache, "ASSOCIATEOBJTYPE": 11, "ASSOCIATEOBJID": lun, "TYPE": 273});
        c.ok("PUT", "SMARTCACHEPARTITION/CREATE_ASSOCIATE", body.clone()).await;
        let seen = c.get(&format!("lun/{lun}")).await;
        assert_eq!((&seen["CACHEPARTITIONID"], &seen["SMARTCACHEPARTITIONID"]), (&json!("0"), &json!("0")));
        // One driver sends a body with this GET, which means nothing.
        c.ok("GET", &format!("SMARTCACHEPARTITION/{cache}"), json!({"TYPE": 273})).await;
        c.ok("PUT", "smartcachepartition/REMOVE_ASSOCIATE", body).await;
        let path =
            format!("lun/associate/cachepartition?ID={partition}&ASSOCIATEOBJTYPE=11&ASSOCIATEOBJID={lun}");
        c.ok("DELETE", &path, Value::Null).await;
        let seen = c.get(&format!("lun/{lun}")).await;
        assert_eq!((&seen["CACHEPARTITIONID"], &seen["SMARTCACHEPARTITIONID"]), (&json!(""), &json!("")));

        // tier policy: set, then taken back with null
        assert_eq!(
            c.ok("PUT", &format!("lun/{lun}"), json!({"DATATRANSFERPOLICY": "1"})).await["DATATRANSFERPOLICY"],
            "1"
        );
        assert_eq!(
            c.ok("PUT", &format!("lun/{lun}"), json!({"DATATRANSFERPOLICY": null})).await["DATATRANSFERPOLICY"],
            "0"
        );
        c.ok("DELETE", &format!("lun/{lun}"), Value::Null).await;
        assert_eq!(c.everything(), before);
    });
}
