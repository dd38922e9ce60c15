//! Sessions, lists, case, refusals, faults.

use std::time::Duration;

use crate::common::{Client, GIB, NEW, OLD, Raw, SERIAL, with, with_plan};
use http::StatusCode;
use sanbench_rest::RestConfig;
use sanbench_world::{Fault, FaultPlan};
use serde_json::{Value, json};

const LOST: i64 = -401;

#[test]
fn a_lost_session_is_minus_401_under_http_200() {
    with(NEW, |mut c| async move {
        let token = c.token.clone();
        assert_eq!(c.code("GET", "system/", Value::Null).await, 0);
        c.token = String::new();
        assert_eq!(c.code("GET", "system/", Value::Null).await, LOST);
        c.token = token.to_lowercase();
        assert_eq!(c.code("GET", "system/", Value::Null).await, LOST);
        c.token = token.clone();
        assert_eq!(
            c.code("GET", "!/deviceManager/rest/other/lun", Value::Null).await,
            LOST,
            "another device's session"
        );
        c.env.sleep(Duration::from_secs(1199)).await;
        assert_eq!(c.code("GET", "system/", Value::Null).await, 0);
        c.env.sleep(Duration::from_secs(1201)).await;
        assert_eq!(c.code("GET", "system/", Value::Null).await, LOST);
        c.login().await;
        c.state.expire_sessions();
        assert_eq!(c.code("POST", "lun", json!({"NAME": "x", "PARENTID": "0", "CAPACITY": 1})).await, LOST);
        assert_eq!(c.array.lock().luns().count(), 0);
        c.login().await;
        assert_eq!(c.code("DELETE", "sessions", Value::Null).await, 0);
        assert_eq!(c.code("DELETE", "sessions", Value::Null).await, LOST);
    });
}

#[test]
fn wrong_passwords_are_refused_and_lock_the_account() {
    with(NEW, |mut c| async move {
        let login = "!/deviceManager/rest/xx/sessions";
        let wrong = json!({"username": "admin", "password": "guess", "scope": "0"});
        for _ in 0..5 {
            assert_eq!(c.code("POST", login, wrong.clone()).await, 1_077_987_870);
        }
        let right = json!({"username": "admin", "password": "Admin@storage1", "scope": "0"});
        assert_eq!(c.code("POST", login, right.clone()).await, 1_077_949_070);
        assert_eq!(c.code("GET", "system/", Value::Null).await, 0, "open sessions go on");
        c.env.sleep(Duration::from_secs(901)).await;
        assert_eq!(c.code("POST", login, right).await, 0);
        for bad in
            [json!({}), json!({"username": "admin"}), json!({"username": [], "password": {}}), json!(null)]
        {
            assert_ne!(c.code("POST", login, bad).await, 0);
        }
    });
}

#[test]
fn sessions_are_bounded() {
    let config = RestConfig { session_limit: 3, ..RestConfig::default() };
    with_plan(NEW, config, FaultPlan::default(), |mut c| async move {
        let login = "!/deviceManager/rest/xx/sessions";
        let right = json!({"username": "admin", "password": "Admin@storage1"});
        assert_eq!(c.code("POST", login, right.clone()).await, 0);
        assert_eq!(c.code("POST", login, right.clone()).await, 0);
        assert_eq!(c.code("POST", login, right.clone()).await, 1_077_949_067);
        assert_eq!(c.state.sessions(), 3);
    });
}

#[test]
fn empty_lists_omit_data_but_the_named_ones_do_not() {
    with(NEW, |mut c| async move {
        for path in [
            "lun",
            "snapshot",
            "luncopy",
            "clonepair",
            "host",
            "hostgroup",
            "lungroup",
            "mappingview",
            "iscsi_initiator",
            "fc_initiator?PARENTID=1",
            "splitmirror?range=%5B0-8191%5D",
            "HyperMetroPair",
            "REPLICATIONPAIR",
            "ioclass",
            "lun/associate?ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID=1",
            "SPLITMIRRORTARGETLUN/targetLUN?TYPE=228&PARENTID=1&PARENTTYPE=220",
            "lun?filter=NAME::nothing",
        ] {
            let answer = c.whole("GET", path, Value::Null).await;
            assert!(answer.get("data").is_none(), "{path}: {answer}");
        }
        for path in
            ["storagepool?filter=NAME::nothing", "iscsi_tgt_port?range=%5B5-6%5D", "eth_port?filter=ID::x"]
        {
            assert_eq!(c.get(path).await, json!([]), "{path}");
        }
    });
}

#[test]
fn object_names_have_no_case_and_ids_have() {
    with(NEW, |mut c| async move {
        let id = c.make("LUN", json!({"NAME": "v", "PARENTID": "0", "CAPACITY": GIB})).await;
        for path in [format!("Lun/{id}"), format!("lUN/{id}/"), format!("/lun//{id}")] {
            assert_eq!(c.get(&path).await["ID"], id.as_str());
        }
        assert_eq!(c.get(&format!("!/DEVICEMANAGER/REST/{SERIAL}/Lun/COUNT")).await["COUNT"], "1");
        c.ok("POST", "ISCSI_Initiator", json!({"ID": "iqn.1994-05.com.example:Host"})).await;
        assert_eq!(c.get("iscsi_initiator/iqn.1994-05.com.example:Host").await["ISFREE"], "true");
        assert_eq!(c.get("iscsi_initiator/iqn.1994-05.com.example%3AHost").await["ISFREE"], "true");
        assert_eq!(
            c.code("GET", "iscsi_initiator/iqn.1994-05.com.example:host", Value::Null).await,
            1_077_948_996
        );
    });
}

#[test]
fn ranges_are_half_open_and_filters_exact() {
    with(NEW, |mut c| async move {
        for n in 0..250 {
            c.lun(&format!("v{n:03}"), 1).await;
        }
        let names = |list: Value| -> Vec<String> {
            let list = list.as_array().cloned().unwrap_or_default();
            list.iter().map(|object| object["NAME"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(c.get("lun").await).len(), 250, "lists without a range are whole");
        let first = names(c.get("lun?range=%5B0-100%5D").await);
        assert_eq!((first.len(), first[0].as_str(), first[99].as_str()), (100, "v000", "v099"));
        assert_eq!(names(c.get("lun?range=[200-300]").await).len(), 50);
        assert!(c.get("lun?range=[250-350]").await.is_null());
        assert_eq!(names(c.get("lun?filter=NAME::v010&range=%5B0-100%5D").await), ["v010"]);
        assert!(c.get("lun?filter=NAME::v01").await.is_null());
        assert_eq!(names(c.get("lun?filter=NAME:v01").await).len(), 10, "one colon: contains");
        let id = c.get("lun?filter=NAME::v007").await[0]["ID"].as_str().unwrap().to_owned();
        assert_eq!(names(c.get(&format!("lun?filter=ID::{id}&range=%5B0-100%5D")).await), ["v007"]);
        assert_eq!(names(c.get("lun?filter=PARENTNAME::pool0&range=[3-5]").await), ["v003", "v004"]);
        for bad in ["lun?range=x", "lun?filter=x", "lun?range=[9-1]"] {
            assert_eq!(c.code("GET", bad, Value::Null).await, 50_331_651, "{bad}");
        }
    });
}

/// One step that must be refused with its code and change nothing.
async fn refused(c: &mut Client, code: i64, method: &str, path: &str, body: Value) {
    let before = c.everything();
    assert_eq!(c.code(method, path, body).await, code, "{method} {path}");
    assert_eq!(c.everything(), before, "{method} {path}");
}

#[test]
fn refusals_have_their_codes_and_change_nothing() {
    with(NEW, |mut c| async move {
        let c = &mut c;
        let none = Value::Null;
        for (code, path) in [
            (1_077_936_859, "lun/999"),
            (1_077_936_859, "lun/abc"),
            (1_077_937_880, "snapshot/999"),
            (50_338_560, "LUNCOPY/999"),
            (1_077_937_498, "host/999"),
            (1_077_937_500, "hostgroup/999"),
            (1_077_948_996, "lungroup/999"),
            (1_077_951_832, "portgroup/999"),
            (1_077_951_819, "mappingview/999"),
            (1_077_948_996, "iscsi_initiator/iqn.x:y"),
        ] {
            refused(c, code, "GET", path, none.clone()).await;
            refused(c, code, "DELETE", path, none.clone()).await;
        }
        refused(c, 1_077_936_859, "PUT", "lun/999", json!({"NAME": "x"})).await;
        refused(c, 1_077_936_859, "PUT", "lun/expand", json!({"ID": "999", "CAPACITY": GIB})).await;
        refused(c, 1_077_937_498, "PUT", "host/999", json!({})).await;
        refused(c, 50_331_651, "POST", "lun", json!({"NAME": "x", "PARENTID": "0", "CAPACITY": "much"}))
            .await;
        refused(c, 50_331_651, "POST", "lun", json!({"NAME": "x", "PARENTID": "0", "CAPACITY": 0})).await;
        refused(c, 50_331_651, "POST", "lun", json!({"PARENTID": "0", "CAPACITY": GIB})).await;
        refused(c, 1_077_948_996, "POST", "lun", json!({"NAME": "x", "PARENTID": "7", "CAPACITY": GIB}))
            .await;
        refused(c, 1_077_936_859, "POST", "lun", json!({"NAME": "x", "ISCLONE": true, "CLONESOURCEID": "7"}))
            .await;
        refused(
            c,
            1_077_936_876,
            "POST",
            "lun",
            json!({"NAME": "x", "PARENTID": "1", "CAPACITY": 11 * GIB, "ALLOCTYPE": 0}),
        )
        .await;
        refused(c, 50_331_651, "GET", "nosuchobject", none.clone()).await;
        refused(c, 50_331_651, "GET", "nosuchobject/count", none.clone()).await;
        refused(c, 50_331_651, "PATCH", "lun", none.clone()).await;

        let lun = c.lun("v", 2).await;
        refused(c, 1_077_936_875, "PUT", "lun/expand", json!({"ID": lun, "CAPACITY": GIB})).await;
        refused(c, 1_077_948_993, "POST", "lun", json!({"NAME": "v", "PARENTID": "0", "CAPACITY": GIB}))
            .await;
        let snap = c.make("snapshot", json!({"NAME": "s", "PARENTID": lun})).await;
        refused(c, 1_077_936_871, "DELETE", &format!("lun/{lun}"), none.clone()).await;
        refused(
            c,
            1_077_937_891,
            "POST",
            "lun",
            json!({"NAME": "x", "ISCLONE": true, "CLONESOURCEID": snap}),
        )
        .await;
        c.ok("POST", "snapshot/activate", json!({"SNAPSHOTLIST": [snap]})).await;
        c.ok("POST", "snapshot/activate", json!({"SNAPSHOTLIST": [snap]})).await;
        refused(c, 1_077_937_892, "DELETE", &format!("snapshot/{snap}"), none.clone()).await;
        refused(c, 1_077_937_880, "POST", "snapshot/activate", json!({"SNAPSHOTLIST": [snap, "999"]})).await;
        let clone = c
            .make(
                "lun",
                json!({"NAME": "c", "ISCLONE": "true", "CLONESOURCEID": snap, "CLONESOURCETYPE": "27"}),
            )
            .await;
        assert_eq!(c.get(&format!("lun/{clone}")).await["CLONESOURCETYPE"], "27");
        refused(c, 1_077_936_870, "PUT", "snapshot/stop", json!({"ID": snap})).await;

        let host = c.make("host", json!({"NAME": "h"})).await;
        let other = c.make("host", json!({"NAME": "h2"})).await;
        c.ok("POST", "iscsi_initiator", json!({"ID": "iqn.x:y"})).await;
        c.ok("PUT", "iscsi_initiator/iqn.x:y", json!({"PARENTID": host})).await;
        refused(
            c,
            1_077_950_343,
            "PUT",
            "iscsi_initiator/iqn.x:y",
            json!({"PARENTID": other, "MULTIPATHTYPE": "1"}),
        )
        .await;
        refused(c, 1_077_937_502, "DELETE", &format!("host/{host}"), none.clone()).await;
        refused(c, 50_331_651, "PUT", "iscsi_initiator/iqn.x:y", json!({"USECHAP": "true"})).await;
        refused(c, 1_077_937_498, "POST", "iscsi_initiator", json!({"ID": "iqn.x:z", "PARENTID": "999"}))
            .await;
        let hosts = c.make("hostgroup", json!({"NAME": "hg"})).await;
        let luns = c.make("lungroup", json!({"NAME": "lg"})).await;
        let view = c.make("mappingview", json!({"NAME": "mv"})).await;
        c.ok(
            "POST",
            "hostgroup/associate",
            json!({"ID": hosts, "ASSOCIATEOBJTYPE": 21, "ASSOCIATEOBJID": host}),
        )
        .await;
        c.ok(
            "POST",
            "lungroup/associate",
            json!({"ID": luns, "ASSOCIATEOBJTYPE": 11, "ASSOCIATEOBJID": lun}),
        )
        .await;
        refused(
            c,
            1_077_936_862,
            "POST",
            "lungroup/associate",
            json!({"ID": luns, "ASSOCIATEOBJTYPE": 11, "ASSOCIATEOBJID": lun}),
        )
        .await;
        refused(c, 1_077_937_503, "DELETE", &format!("hostgroup/{hosts}"), none.clone()).await;
        for (kind, id) in [(14, &hosts), (256, &luns)] {
            c.ok(
                "PUT",
                "mappingview/create_associate",
                json!({"ID": view, "ASSOCIATEOBJTYPE": kind, "ASSOCIATEOBJID": id}),
            )
            .await;
        }
        refused(c, 1_077_951_820, "DELETE", &format!("lungroup/{luns}"), none.clone()).await;
        refused(c, 1_077_951_821, "DELETE", &format!("mappingview/{view}"), none.clone()).await;
        let ports = c.get("portgroup").await[0]["ID"].as_str().unwrap().to_owned();
        refused(
            c,
            1_073_804_553,
            "PUT",
            "mappingview/remove_associate",
            json!({"ID": view, "ASSOCIATEOBJTYPE": 257, "ASSOCIATEOBJID": ports}),
        )
        .await;
        let other_group = c.make("hostgroup", json!({"NAME": "hg2"})).await;
        refused(
            c,
            1_077_951_822,
            "PUT",
            "mappingview/create_associate",
            json!({"ID": view, "ASSOCIATEOBJTYPE": 14, "ASSOCIATEOBJID": other_group}),
        )
        .await;
        refused(
            c,
            1_073_804_552,
            "PUT",
            "mappingview/remove_associate",
            json!({"ID": view, "ASSOCIATEOBJTYPE": 14, "ASSOCIATEOBJID": other_group}),
        )
        .await;
        // Host LUN ids: the smallest free one, changed on demand, never doubled.
        c.ok(
            "POST",
            "lungroup/associate",
            json!({"ID": luns, "ASSOCIATEOBJTYPE": 27, "ASSOCIATEOBJID": snap}),
        )
        .await;
        let path = format!("snapshot/associate?TYPE=27&ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID={host}");
        assert_eq!(c.get(&path).await[0]["ASSOCIATEMETADATA"], "{\"HostLUNID\": 2}");
        let change = |n: u64| json!({"TYPE": 245, "ID": view, "ASSOCIATEOBJTYPE": 27, "ASSOCIATEOBJID": snap, "ASSOCIATEMETADATA": [{"LUNID": snap, "hostLUNId": n}]});
        refused(c, 1_073_804_589, "PUT", "mappingview", change(1)).await;
        c.ok("PUT", &format!("mappingview/{view}"), change(9)).await;
        assert_eq!(c.get(&path).await[0]["ASSOCIATEMETADATA"], "{\"HostLUNID\": 9}");
    });
}

#[test]
fn old_products_have_no_linked_clones() {
    with(OLD, |mut c| async move {
        let lun = c.lun("v", 1).await;
        refused(
            &mut c,
            50_331_651,
            "POST",
            "lun",
            json!({"NAME": "x", "ISCLONE": true, "CLONESOURCEID": lun}),
        )
        .await;
        refused(&mut c, 50_331_651, "PUT", "lunclone_split_switch", json!({"ID": lun, "SPLITACTION": 1}))
            .await;
        refused(&mut c, 50_331_651, "POST", "clonepair/relation", json!({"sourceID": lun, "targetID": lun}))
            .await;
        let snap = c.make("snapshot", json!({"NAME": "s", "PARENTID": lun})).await;
        assert_eq!(c.get(&format!("snapshot/{snap}")).await["RUNNINGSTATUS"], "45");
    });
    with("V600R005C30", |mut c| async move {
        let lun = c.lun("v", 1).await;
        let snap = c.make("snapshot", json!({"NAME": "s", "PARENTID": lun})).await;
        assert_eq!(c.get(&format!("snapshot/{snap}")).await["RUNNINGSTATUS"], "43", "born activated");
    });
}

#[test]
fn fault_points_fail_delay_and_drop_on_both_sides_of_the_work() {
    let plan = FaultPlan::default()
        .rule("rest.before:POST lun", 1, Fault::Fail)
        .rule("rest.after:POST lun", 1, Fault::Fail)
        .rule("rest.before:POST lun", 3, Fault::DropReply)
        .rule("rest.after:POST lun", 2, Fault::DropReply)
        .rule("rest.before:GET lun/*", 1, Fault::Delay(Duration::from_secs(7)));
    with_plan(NEW, RestConfig::default(), plan, |mut c| async move {
        let body = |name: &str| json!({"NAME": name, "PARENTID": "0", "CAPACITY": GIB});
        assert_eq!(c.code("POST", "lun", body("a")).await, 1_077_949_006);
        assert_eq!(c.array.lock().luns().count(), 0, "failed before the work");
        assert_eq!(c.code("POST", "lun", body("a")).await, 1_077_949_006);
        assert_eq!(c.array.lock().luns().count(), 1, "failed after the work");
        let request = |c: &Client, name: &str| c.request("POST", "lun", Some(body(name).to_string()));
        assert!(matches!(c.raw(request(&c, "b")).await, Raw::Dropped));
        assert_eq!(c.array.lock().luns().count(), 1, "dropped before the work");
        assert!(matches!(c.raw(request(&c, "b")).await, Raw::Dropped));
        assert_eq!(c.array.lock().luns().count(), 2, "dropped after the work");
        let then = c.env.now();
        c.get("lun/count").await;
        assert_eq!(c.env.now() - then, Duration::from_secs(7));
        let note =
            c.world.trace().into_iter().filter(|line| line.topic == "rest").map(|line| line.to_json_line());
        let notes: Vec<String> = note.collect();
        assert!(notes.iter().any(|note| note.contains("\"dropped\":true")), "{notes:?}");
        assert!(!notes.iter().any(|note| note.contains(&c.token) || note.contains("Admin@storage1")));
    });
}

#[test]
fn control_is_off_by_default() {
    with(NEW, |c| async move {
        let Raw::Answer(status, _) = c.raw(c.request("GET", "!/_ctl/state", None)).await else {
            panic!("dropped")
        };
        assert_eq!(status, StatusCode::NOT_FOUND);
    });
}

async fn ctl(c: &Client, method: &str, verb: &str, body: Value) -> (StatusCode, Value) {
    let body = (!body.is_null()).then(|| body.to_string());
    match c.raw(c.request(method, &format!("!/_ctl/{verb}"), body)).await {
        Raw::Answer(status, answer) => (status, answer),
        Raw::Dropped => panic!("dropped"),
    }
}

#[test]
fn controllers_fail_and_power_goes_over_the_control_surface() {
    let config = RestConfig { control: true, ..RestConfig::default() };
    with_plan(NEW, config, FaultPlan::default(), |mut c| async move {
        let wanted = json!({"NAME": "v", "PARENTID": "0", "CAPACITY": GIB, "OWNINGCONTROLLER": "0B"});
        let id = c.make("lun", wanted).await;
        let path = format!("lun/{id}");
        let device = sanbench_array::DeviceId::Lun(id.parse().unwrap());
        let owners = |lun: &Value| (lun["OWNINGCONTROLLER"].clone(), lun["WORKINGCONTROLLER"].clone());
        assert_eq!(owners(&c.get(&path).await), (json!("0B"), json!("0B")));
        let nobody = json!({"NAME": "w", "PARENTID": "0", "CAPACITY": GIB, "OWNINGCONTROLLER": "0C"});
        assert_ne!(c.code("POST", "lun", nobody).await, 0);
        assert_eq!(c.array.lock().luns().count(), 1, "a refused create makes nothing");

        assert_eq!(ctl(&c, "POST", "controller", json!({"id": 1, "up": false})).await.0, StatusCode::OK);
        assert_eq!(owners(&c.get(&path).await), (json!("0B"), json!("0A")));
        let controllers = c.get("controller").await;
        assert_eq!(controllers[0]["HEALTHSTATUS"], "1");
        assert_eq!(controllers[1]["HEALTHSTATUS"], "2");
        assert_eq!(controllers[1]["RUNNINGSTATUS"], "28");
        let ports = c.get("eth_port").await;
        assert_eq!((&ports[0]["RUNNINGSTATUS"], &ports[1]["RUNNINGSTATUS"]), (&json!("10"), &json!("11")));
        ctl(&c, "POST", "controller", json!({"id": 1, "up": true})).await;
        assert_eq!(owners(&c.get(&path).await), (json!("0B"), json!("0B")), "it comes home");
        c.ok("PUT", &path, json!({"OWNINGCONTROLLER": "0A"})).await;
        assert_eq!(owners(&c.get(&path).await), (json!("0A"), json!("0A")));
        for bad in [json!({}), json!({"id": 2, "up": false}), json!({"id": -1, "up": true}), json!({"id": 0})]
        {
            assert_eq!(ctl(&c, "POST", "controller", bad).await.0, StatusCode::BAD_REQUEST);
        }

        let now = c.env.now();
        c.array.lock().set_write_cache(now, device, true).unwrap();
        c.array.lock().write(now, device, 0, &[7; 512 * 64]).unwrap();
        let (status, state) = ctl(&c, "POST", "power", json!({})).await;
        assert_eq!((status, &state["sessions"]), (StatusCode::OK, &json!(0)), "sessions go with the power");
        let array = c.array.lock();
        assert_eq!((array.power_generation(), array.unsynchronised_blocks(device)), (1, 0));
        assert_eq!(array.luns().count(), 1);
    });
}

#[test]
fn control_surface() {
    let config = RestConfig { control: true, ..RestConfig::default() };
    with_plan(NEW, config, FaultPlan::default(), |mut c| async move {
        let (status, state) = ctl(&c, "GET", "state", Value::Null).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(state, json!({"counts": {"storagepool": 2, "portgroup": 1}, "sessions": 1, "faults": []}));
        assert_eq!(ctl(&c, "POST", "mark", json!("start")).await.1, state);
        c.lun("v", 1).await;
        assert_eq!(ctl(&c, "GET", "state", Value::Null).await.1["counts"]["lun"], 1);
        assert_eq!(ctl(&c, "GET", "state?since=start", Value::Null).await.1["counts"], json!({"lun": 1}));
        let rule = json!({"path": "/lun$", "method": "POST", "drop": true, "count": 1});
        let (_, state) = ctl(&c, "POST", "fault", rule).await;
        assert_eq!(
            state["faults"],
            json!([{"path": "/lun$", "method": "POST", "drop": true, "count": 1, "after": false}])
        );
        let body = json!({"NAME": "w", "PARENTID": "0", "CAPACITY": GIB}).to_string();
        assert!(matches!(c.raw(c.request("POST", "lun", Some(body.clone()))).await, Raw::Dropped));
        assert_eq!(c.array.lock().luns().count(), 1);
        ctl(&c, "POST", "fault", json!({"path": "/lun$", "method": "POST", "drop": true, "after": true}))
            .await;
        assert!(matches!(c.raw(c.request("POST", "lun", Some(body))).await, Raw::Dropped));
        assert_eq!(c.array.lock().luns().count(), 2);
        ctl(&c, "POST", "fault", json!({"path": "/system", "http": 503})).await;
        let Raw::Answer(status, _) = c.raw(c.request("GET", "system/", None)).await else {
            panic!("dropped")
        };
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        ctl(&c, "POST", "fault", json!({"code": 4_294_967_297_i64, "count": 0})).await;
        assert_eq!(c.code("GET", "system/", Value::Null).await, 4_294_967_297);
        assert_eq!(c.code("GET", "lun", Value::Null).await, 4_294_967_297);
        assert_eq!(ctl(&c, "POST", "reset", Value::Null).await.1["faults"], json!([]));
        ctl(&c, "POST", "fault", json!({"path": "system", "delay": 2.5})).await;
        let then = c.env.now();
        assert_eq!(c.code("GET", "system/", Value::Null).await, 0);
        assert_eq!(c.env.now() - then, Duration::from_millis(2500));
        assert_eq!(ctl(&c, "POST", "expire", json!({})).await.1["sessions"], 0);
        assert_eq!(c.code("GET", "system/", Value::Null).await, LOST);
        assert_eq!(ctl(&c, "POST", "fault", json!({"drop": "x"})).await.0, StatusCode::BAD_REQUEST);
        assert_eq!(ctl(&c, "POST", "nothing", Value::Null).await.0, StatusCode::NOT_FOUND);
    });
}
