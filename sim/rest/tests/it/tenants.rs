//! vStores: what a session of one sees and may touch; ports that are switched off.

use sanbench_array::DeviceId;
use serde_json::{Value, json};

use crate::common::{Client, GIB, NEW, with};

/// Logs in; into a vStore when one is named.
async fn enter(c: &mut Client, vstore: Option<&str>) -> Value {
    let mut body = json!({"username": "admin", "password": "Admin@storage1", "scope": "0"});
    if let Some(vstore) = vstore {
        body["vstorename"] = json!(vstore);
    }
    let data = c.ok("POST", "!/deviceManager/rest/xx/sessions", body).await;
    c.token = data["iBaseToken"].as_str().unwrap().to_owned();
    data
}

/// One object of each kind, with equal names in every vStore; paths of the objects.
async fn furnish(c: &mut Client, iqn: &str) -> Vec<String> {
    let named = json!({"NAME": "same"});
    let lun = c.lun("same", 1).await;
    let target = c.lun("target", 1).await;
    let snapshot = c.make("snapshot", json!({"NAME": "same", "PARENTID": lun})).await;
    let host = c.make("host", named.clone()).await;
    let host_group = c.make("hostgroup", named.clone()).await;
    let lun_group = c.make("lungroup", named.clone()).await;
    let port_group = c.make("portgroup", named.clone()).await;
    let view = c.make("mappingview", named).await;
    c.ok("POST", "iscsi_initiator", json!({"ID": iqn, "PARENTID": host})).await;
    let group = |kind: u64, id: &str| json!({"ID": view, "ASSOCIATEOBJTYPE": kind, "ASSOCIATEOBJID": id});
    let member = json!({"ID": host_group, "ASSOCIATEOBJTYPE": 21, "ASSOCIATEOBJID": host});
    c.ok("POST", "hostgroup/associate", member).await;
    let member = json!({"ID": lun_group, "ASSOCIATEOBJTYPE": 11, "ASSOCIATEOBJID": lun});
    c.ok("POST", "lungroup/associate", member).await;
    for (kind, id) in [(14, &host_group), (256, &lun_group), (257, &port_group)] {
        c.ok("PUT", "mappingview/create_associate", group(kind, id)).await;
    }
    let place = |id: &str| format!("INVALID;{id};INVALID;INVALID;INVALID");
    let copy = json!({"NAME": "same", "SOURCELUN": place(&lun), "TARGETLUN": place(&target)});
    let copy = c.make("luncopy", copy).await;
    let pair = c.make("clonepair/relation", json!({"sourceID": lun, "targetID": target})).await;
    let qos = c.make("ioclass", json!({"NAME": "same", "LUNLIST": [lun], "MAXIOPS": "5"})).await;
    vec![
        format!("lun/{lun}"),
        format!("snapshot/{snapshot}"),
        format!("host/{host}"),
        format!("hostgroup/{host_group}"),
        format!("lungroup/{lun_group}"),
        format!("portgroup/{port_group}"),
        format!("mappingview/{view}"),
        format!("iscsi_initiator/{iqn}"),
        format!("luncopy/{copy}"),
        format!("clonepair/{pair}"),
        format!("ioclass/{qos}"),
    ]
}

#[test]
fn a_session_of_a_vstore_never_sees_nor_touches_anothers_objects() {
    with(NEW, |mut c| async move {
        let one = c.make("vstore", json!({"NAME": "one"})).await;
        c.make("vstore", json!({"NAME": "two", "DESCRIPTION": "d"})).await;
        assert_eq!(c.code("POST", "vstore", json!({"NAME": "two"})).await, 1_077_948_993);
        let own = furnish(&mut c, "iqn.2026-01.example:own").await;
        let data = enter(&mut c, Some("one")).await;
        assert_eq!((&data["vstoreId"], &data["vstoreName"]), (&json!(one), &json!("one")));
        let first = furnish(&mut c, "iqn.2026-01.example:one").await;
        enter(&mut c, Some("two")).await;
        let second = furnish(&mut c, "iqn.2026-01.example:two").await;
        let before = c.everything();
        for path in own.iter().chain(&first) {
            let (object, id) = path.split_once('/').unwrap();
            assert_ne!(c.code("GET", path, Value::Null).await, 0, "GET {path}");
            assert_ne!(c.code("DELETE", path, Value::Null).await, 0, "DELETE {path}");
            assert_ne!(c.code("PUT", path, json!({"ID": id, "NAME": "mine"})).await, 0, "PUT {path}");
            let listed = c.get(object).await;
            assert!(listed.as_array().unwrap().iter().all(|found| found["ID"] != json!(id)), "{object}");
            assert!(c.get(&format!("{object}?filter=ID::{id}")).await.is_null(), "{path}");
        }
        for path in &second {
            let (object, id) = path.split_once('/').unwrap();
            assert_eq!(c.get(path).await["ID"], json!(id));
            if !matches!(object, "iscsi_initiator" | "clonepair") {
                let found = c.get(&format!("{object}?filter=NAME::same")).await;
                assert_eq!(found.as_array().unwrap().len(), 1, "{object}");
                assert_eq!(found[0]["ID"], json!(id), "{object}");
            }
            let count = if object == "lun" { "2" } else { "1" };
            assert_eq!(c.get(&format!("{object}/count")).await["COUNT"], count, "{object}");
        }
        // Foreign objects as ingredients of one's own.
        let id = |paths: &[String], at: usize| paths[at].split_once('/').unwrap().1.to_owned();
        let (lun, host, lun_group) = (id(&first, 0), id(&first, 2), id(&second, 4));
        for (path, body) in [
            ("lun", json!({"NAME": "c", "ISCLONE": true, "CLONESOURCEID": lun})),
            ("snapshot", json!({"NAME": "s2", "PARENTID": lun})),
            ("lungroup/associate", json!({"ID": lun_group, "ASSOCIATEOBJTYPE": 11, "ASSOCIATEOBJID": lun})),
            (
                "hostgroup/associate",
                json!({"ID": id(&second, 3), "ASSOCIATEOBJTYPE": 21, "ASSOCIATEOBJID": host}),
            ),
            ("clonepair/relation", json!({"sourceID": lun, "targetID": id(&second, 0)})),
            ("ioclass", json!({"NAME": "q2", "LUNLIST": [lun]})),
            ("lun_migration", json!({"PARENTID": lun, "TARGETLUNID": id(&second, 0)})),
            ("snapshot/activate", json!({"SNAPSHOTLIST": [id(&first, 1)]})),
            (
                "lun/associate/cachepartition",
                json!({"ID": "0", "ASSOCIATEOBJTYPE": 11, "ASSOCIATEOBJID": lun}),
            ),
            ("iscsi_initiator", json!({"ID": "iqn.2026-01.example:one"})),
            ("vstore", json!({"NAME": "three"})),
            ("host", json!({"NAME": "h2", "vstoreId": one})),
        ] {
            assert_ne!(c.code("POST", path, body).await, 0, "POST {path}");
        }
        let bind = json!({"PARENTTYPE": 21, "PARENTID": host});
        assert_ne!(c.code("PUT", "iscsi_initiator/iqn.2026-01.example:two", bind).await, 0);
        assert_ne!(c.code("PUT", "eth_port/139264", json!({"ENABLED": false})).await, 0);
        for path in ["lun/associate?ASSOCIATEOBJTYPE=21", "mappingview/associate?ASSOCIATEOBJTYPE=21"] {
            assert!(c.get(&format!("{path}&ASSOCIATEOBJID={host}")).await.is_null(), "{path}");
        }
        assert_eq!(c.everything(), before, "a refused call has changed something");
        // Data: each initiator sees the LUN of its own vStore.
        let seen = |who: &str| c.array.lock().view(&format!("iqn.2026-01.example:{who}"));
        let lun_of = |paths: &[String]| DeviceId::Lun(id(paths, 0).parse().unwrap());
        for (who, paths) in [("own", &own), ("one", &first), ("two", &second)] {
            assert_eq!(seen(who), [(1, lun_of(paths))], "{who}");
        }
    });
}

#[test]
fn the_administrator_sees_all_vstores_one_at_a_time() {
    with(NEW, |mut c| async move {
        let one = c.make("vstore", json!({"NAME": "one"})).await;
        let own = c.lun("same", 1).await;
        let body = json!({"NAME": "same", "PARENTID": "0", "CAPACITY": GIB, "vstoreId": one});
        let lun = c.make("lun", body).await;
        let seen = c.get(&format!("lun/{lun}")).await;
        assert_eq!((&seen["vstoreId"], &seen["vstoreName"]), (&json!(one), &json!("one")));
        let same = c.get("lun?filter=NAME::same").await;
        assert_eq!(
            (&same[0]["ID"], &same[1]["ID"]),
            (&json!(own), &json!(lun)),
            "the array's own comes first"
        );
        let only = c.get(&format!("lun?filter=NAME::same&vstoreId={one}")).await;
        assert_eq!(only.as_array().unwrap().len(), 1);
        assert_eq!(c.get("lun?vstoreId=0").await[0]["ID"], json!(own));
        // What is made of a vStore's object belongs to the vStore.
        let snapshot = c.make("snapshot", json!({"NAME": "s", "PARENTID": lun})).await;
        assert_eq!(c.get(&format!("snapshot/{snapshot}")).await["vstoreId"], json!(one));
        let group = c.make("lungroup", json!({"NAME": "g"})).await;
        let body = json!({"ID": group, "ASSOCIATEOBJTYPE": 11, "ASSOCIATEOBJID": lun});
        assert_eq!(c.code("POST", "lungroup/associate", body).await, 1_077_951_842);
        assert_eq!(c.code("DELETE", &format!("vstore/{one}"), Value::Null).await, 1_077_951_841);
        for path in [format!("snapshot/{snapshot}"), format!("lun/{lun}"), format!("vstore/{one}")] {
            c.ok("DELETE", &path, Value::Null).await;
        }
        assert_eq!(c.get("vstore").await.as_array().unwrap().len(), 1, "only the array's own");
        let body = json!({"username": "admin", "password": "Admin@storage1", "vstorename": "one"});
        let sessions = c.state.sessions();
        assert_ne!(c.code("POST", "!/deviceManager/rest/xx/sessions", body).await, 0);
        assert_eq!(c.state.sessions(), sessions, "a refused log-in leaves no session");
        assert_ne!(c.code("GET", "lun?vstoreId=99", Value::Null).await, 0);
    });
}

#[test]
fn the_sessions_of_a_deleted_vstore_are_lost() {
    with(NEW, |mut c| async move {
        let one = c.make("vstore", json!({"NAME": "one"})).await;
        let administrator = c.token.clone();
        enter(&mut c, Some("one")).await;
        assert_eq!(c.get("vstore").await.as_array().unwrap().len(), 1);
        let tenant = std::mem::replace(&mut c.token, administrator);
        c.ok("PUT", &format!("vstore/{one}"), json!({"NAME": "uno"})).await;
        c.ok("DELETE", &format!("vstore/{one}"), Value::Null).await;
        c.token = tenant;
        assert_eq!(c.code("GET", "lun", Value::Null).await, -401);
    });
}

#[test]
fn a_disabled_port_shows_its_link_down() {
    with(NEW, |mut c| async move {
        let port = c.get("eth_port").await[0]["ID"].as_str().unwrap().to_owned();
        let off = c.ok("PUT", &format!("eth_port/{port}"), json!({"ENABLED": "false"})).await;
        assert_eq!((&off["RUNNINGSTATUS"], &off["HEALTHSTATUS"]), (&json!("11"), &json!("1")));
        let group = c.get("portgroup?filter=NAME::pg0").await[0]["ID"].as_str().unwrap().to_owned();
        let path = format!("eth_port/associate?TYPE=213&ASSOCIATEOBJTYPE=257&ASSOCIATEOBJID={group}");
        let states = c.get(&path).await;
        assert_eq!((&states[0]["RUNNINGSTATUS"], &states[1]["RUNNINGSTATUS"]), (&json!("11"), &json!("10")));
        assert!(!c.array.lock().portal_is_up(0) && c.array.lock().portal_is_up(1));
        let on = c.ok("PUT", &format!("eth_port/{port}"), json!({"ENABLED": true})).await;
        assert_eq!(on["RUNNINGSTATUS"], "10");
        assert_ne!(c.code("PUT", "eth_port/7", json!({"ENABLED": true})).await, 0);
    });
}

#[test]
fn cache_partitions_are_objects() {
    with(NEW, |mut c| async move {
        let lun = c.lun("v", 1).await;
        let cache = c.make("SMARTCACHEPARTITION", json!({"NAME": "gold"})).await;
        assert_eq!(c.code("POST", "smartcachepartition", json!({"NAME": "gold"})).await, 1_077_948_993);
        let body = json!({"ID": cache, "ASSOCIATEOBJTYPE": 11, "ASSOCIATEOBJID": lun});
        c.ok("PUT", "smartcachepartition/create_associate", body.clone()).await;
        let members = c.get(&format!("lun/associate?ASSOCIATEOBJTYPE=273&ASSOCIATEOBJID={cache}")).await;
        assert_eq!(members[0]["SMARTCACHEPARTITIONID"], json!(cache));
        assert_ne!(c.code("DELETE", &format!("smartcachepartition/{cache}"), Value::Null).await, 0);
        c.ok("PUT", "smartcachepartition/remove_associate", body).await;
        c.ok("DELETE", &format!("smartcachepartition/{cache}"), Value::Null).await;
        assert_ne!(c.code("GET", &format!("smartcachepartition/{cache}"), Value::Null).await, 0);
        assert_eq!(c.get("cachepartition/count").await["COUNT"], "1");
    });
}
