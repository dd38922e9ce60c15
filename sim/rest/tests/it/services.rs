//! Migration, rollback and QoS as clients see them; the status page and the metrics.

use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use sanbench_array::DeviceId;
use sanbench_rest::Peer;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::common::{Client, GIB, NEW, OLD, with};

#[test]
fn a_migration_is_found_by_its_source_and_exchanges_pools() {
    for product in [OLD, NEW] {
        with(product, |mut c| async move {
            let source = c.lun("v", 1).await;
            let body = json!({"NAME": "t", "PARENTID": "1", "CAPACITY": GIB.to_string(), "ALLOCTYPE": "0"});
            let target = c.make("lun", body).await;
            let id: u64 = source.parse().unwrap();
            c.array.lock().write(c.env.now(), DeviceId::Lun(id), 0, &[7; 65_536 * 2]).unwrap();
            let wwn = c.get(&format!("lun/{source}")).await["WWN"].clone();
            let body =
                json!({"TYPE": "253", "PARENTID": source, "TARGETLUNID": target, "SPEED": 2, "WORKMODE": 0});
            assert_eq!(c.make("LUN_MIGRATION", body).await, source, "the task has the LUN's id");
            let all = c.get("LUN_MIGRATION?range=%5B0-256%5D").await;
            assert_eq!(all[0]["PARENTID"], json!(source));
            assert_eq!(all[0]["TARGETLUNID"], json!(target));
            assert_eq!(all[0]["RUNNINGSTATUS"], "75");
            let lun = c.get(&format!("lun/{source}")).await;
            assert!(lun["HASRSSOBJECT"].as_str().unwrap().contains("\"LunMigration\":\"TRUE\""));
            c.env.sleep(Duration::from_secs(1)).await;
            assert_eq!(c.get(&format!("lun_migration/{source}")).await["RUNNINGSTATUS"], "76");
            c.ok("DELETE", &format!("LUN_MIGRATION/{source}"), Value::Null).await;
            assert_eq!(
                c.code("DELETE", &format!("LUN_MIGRATION/{source}"), Value::Null).await,
                1_073_806_607
            );
            let lun = c.get(&format!("lun/{source}")).await;
            assert_eq!((&lun["PARENTID"], &lun["ALLOCTYPE"], &lun["WWN"]), (&json!("1"), &json!("0"), &wwn));
            assert_eq!(c.get(&format!("lun/{target}")).await["PARENTID"], "0");
            c.ok("DELETE", &format!("lun/{target}"), Value::Null).await;
            let back = c.array.lock().read(c.env.now(), DeviceId::Lun(id), 0, 256).unwrap().concat();
            assert!(back.iter().all(|byte| *byte == 7));
        });
    }
}

#[test]
fn a_rollback_tells_its_state() {
    with(NEW, |mut c| async move {
        let lun = c.lun("v", 1).await;
        let id = DeviceId::Lun(lun.parse().unwrap());
        c.array.lock().write(c.env.now(), id, 0, &[1; 512]).unwrap();
        let snapshot = c.make("snapshot", json!({"NAME": "s", "PARENTID": lun})).await;
        let path = format!("snapshot/{snapshot}");
        assert_eq!(c.code("PUT", "snapshot/rollback", json!({"ID": snapshot})).await, 1_077_937_891);
        c.ok("POST", "snapshot/activate", json!({"SNAPSHOTLIST": [snapshot]})).await;
        c.array.lock().write(c.env.now(), id, 0, &[2; 512]).unwrap();
        assert_eq!(c.get(&path).await["ROLLBACKENDTIME"], "-1");
        c.ok("PUT", "snapshot/rollback", json!({"ID": snapshot, "ROLLBACKSPEED": 3})).await;
        assert_eq!(c.get(&path).await["RUNNINGSTATUS"], "44");
        c.env.sleep(Duration::from_secs(1)).await;
        let after = c.get(&path).await;
        assert_eq!((&after["RUNNINGSTATUS"], &after["ROLLBACKRATE"]), (&json!("43"), &json!("100")));
        assert_ne!(after["ROLLBACKENDTIME"], "-1");
        assert_eq!(c.array.lock().read(c.env.now(), id, 0, 1).unwrap().concat(), [1; 512]);
        assert_eq!(c.code("PUT", "snapshot/cancelrollback", json!({"ID": snapshot})).await, 1_077_937_893);
    });
}

#[test]
fn a_policy_acts_while_it_is_active() {
    with(OLD, |mut c| async move {
        let (lun, other) = (c.lun("v", 1).await, c.lun("w", 1).await);
        let waits = |c: &Client, lun: &str, is_write: bool| {
            let (now, lun) = (c.env.now(), DeviceId::Lun(lun.parse().unwrap()));
            let mut array = c.array.lock();
            (0..3).filter_map(|_| array.admit(now, lun, 512, is_write)).max()
        };
        let body = json!({"NAME": "q", "LUNLIST": [lun], "IOTYPE": "1", "MAXIOPS": "10"});
        let id = c.make("ioclass", body).await;
        assert_eq!(waits(&c, &lun, true), None, "not yet active");
        c.ok("PUT", &format!("ioclass/active/{id}"), json!({"ID": id, "ENABLESTATUS": true})).await;
        assert_eq!(waits(&c, &lun, true), Some(Duration::from_millis(150)));
        assert_eq!(waits(&c, &lun, false), None, "IOTYPE 1 is writes");
        assert_eq!(waits(&c, &other, true), None);
        c.ok("PUT", &format!("ioclass/{id}"), json!({"LUNLIST": [other]})).await;
        assert_eq!(waits(&c, &lun, true), None);
        assert!(waits(&c, &other, true).is_some());
        c.ok("PUT", "ioclass/active", json!({"ID": id, "ENABLESTATUS": "false"})).await;
        assert!(!c.array.lock().limits_traffic());
        for bad in [json!({"MAXIOPS": "many"}), json!({"IOTYPE": 3}), json!({"MAXBANDWIDTH": -1})] {
            let mut body = json!({"NAME": "bad", "LUNLIST": []});
            body.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
            assert_eq!(c.code("POST", "ioclass", body).await, 50_331_651);
        }
    });
}

async fn text(c: &Client, path: &str, peer: Option<[u8; 4]>) -> (StatusCode, String, String) {
    let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
    if let Some(peer) = peer {
        request.extensions_mut().insert(Peer((peer, 40_000).into()));
    }
    let response = c.router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let kind =
        response.headers().get(header::CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn people_and_monitoring_see_the_state_and_no_secrets() {
    with(NEW, |mut c| async move {
        let lun = c.make("lun", json!({"NAME": "<b>&\"v", "PARENTID": "0", "CAPACITY": GIB})).await;
        let clone = json!({"NAME": "child", "ISCLONE": true, "CLONESOURCEID": lun});
        let child = c.make("lun", clone).await;
        c.make("lun", json!({"NAME": "grandchild", "ISCLONE": true, "CLONESOURCEID": child})).await;
        let chap = json!({"ID": "iqn.2026-01.example:h", "USECHAP": "true", "CHAPNAME": "u", "CHAPPASSWORD": "topsecret99"});
        c.ok("POST", "iscsi_initiator", chap).await;
        let (status, kind, page) = text(&c, "/", Some([127, 0, 0, 1])).await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/html; charset=utf-8"));
        assert!(page.contains("&lt;b&gt;&amp;&quot;v") && !page.contains("<b>&"), "names are escaped");
        let (parent, below) = (page.find("&lt;b").unwrap(), page.find("grandchild").unwrap());
        assert!(
            parent < below && page[below..].contains("<td class=\"n\">2</td>"),
            "the tree shows clone depths"
        );
        let (status, kind, numbers) = text(&c, "/metrics", None).await;
        assert_eq!((status, kind.starts_with("text/plain; version=0.0.4")), (StatusCode::OK, true));
        assert!(numbers.contains("sanbench_array_objects{kind=\"lun\"} 3\n"), "{numbers}");
        assert!(numbers.contains("sanbench_array_pool_provisioned_bytes{pool=\"pool0\"} 3221225472\n"));
        for line in numbers.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.rsplit_once(' ').unwrap().1.parse::<u64>().is_ok(), "{line}");
        }
        for secret in ["topsecret99", "Admin@storage1", c.token.as_str()] {
            assert!(!page.contains(secret) && !numbers.contains(secret));
        }
        let (_, _, other) = text(&c, "/?lun=999&host=x&snapshot=%ff", None).await;
        assert!(other.contains("grandchild"), "an offset behind the end shows the beginning");
        for path in ["/", "/metrics"] {
            assert_eq!(
                text(&c, path, Some([192, 0, 2, 9])).await.0,
                StatusCode::NOT_FOUND,
                "only for loopback"
            );
        }
        assert_eq!(text(&c, "/other", None).await.0, StatusCode::NOT_FOUND);
    });
}

#[test]
fn copies_can_be_stopped_and_started_again() {
    with(NEW, |mut c| async move {
        let (source, target) = (c.lun("v", 1).await, c.lun("w", 1).await);
        let id = DeviceId::Lun(source.parse().unwrap());
        c.array.lock().write(c.env.now(), id, 0, &[1; 65_536 * 8]).unwrap();
        let place = |id: &str| format!("INVALID;{id};INVALID;INVALID;INVALID");
        let body =
            json!({"NAME": "c", "COPYSPEED": 2, "SOURCELUN": place(&source), "TARGETLUN": place(&target)});
        let copy = c.make("luncopy", body).await;
        let (path, which) = (format!("luncopy/{copy}"), json!({"ID": copy}));
        assert_eq!(c.code("PUT", "luncopy/stop", which.clone()).await, 1_077_950_178);
        c.ok("PUT", "luncopy/start", which.clone()).await;
        assert_eq!(c.get(&path).await["RUNNINGSTATUS"], "39");
        c.ok("PUT", "luncopy/stop", which.clone()).await;
        c.env.sleep(Duration::from_secs(1)).await;
        let stopped = c.get(&path).await;
        assert_eq!((&stopped["RUNNINGSTATUS"], &stopped["HEALTHSTATUS"]), (&json!("36"), &json!("1")));
        c.ok("PUT", "luncopy/start", which.clone()).await;
        c.env.sleep(Duration::from_secs(1)).await;
        assert_eq!(c.get(&path).await["RUNNINGSTATUS"], "40");
        assert_eq!(c.code("PUT", "luncopy/stop", which).await, 1_077_950_180);
        c.ok("DELETE", &path, Value::Null).await;
        let body = json!({"sourceID": source, "targetID": target, "copyRate": 2, "isNeedSynchronize": "0"});
        let pair = c.make("clonepair/relation", body).await;
        c.array.lock().write(c.env.now(), id, 0, &[2; 65_536 * 8]).unwrap();
        c.ok("PUT", "clonepair/synchronize", json!({"ID": pair, "copyAction": 0})).await;
        c.ok("PUT", "clonepair/synchronize", json!({"ID": pair, "copyAction": 2})).await;
        c.env.sleep(Duration::from_secs(1)).await;
        let stopped = c.get(&format!("clonepair/{pair}")).await;
        assert_eq!((&stopped["copyStatus"], &stopped["syncStatus"]), (&json!("0"), &json!("0")));
        assert_eq!(
            c.code("PUT", "clonepair/synchronize", json!({"ID": pair, "copyAction": 2})).await,
            1_077_950_178
        );
    });
}
