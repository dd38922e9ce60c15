//! Hostile input: never a 5xx, never a panic, never a change of the array.

use crate::common::{Client, GIB, NEW, Raw, with};
use proptest::prelude::*;
use serde_json::{Value, json};

/// An array with one of everything.
async fn populated(c: &mut Client) {
    let lun = c.lun("v", 1).await;
    let snap = c.make("snapshot", json!({"NAME": "s", "PARENTID": lun})).await;
    c.ok("POST", "snapshot/activate", json!({"SNAPSHOTLIST": [snap]})).await;
    c.make("lun", json!({"NAME": "c", "ISCLONE": true, "CLONESOURCEID": snap})).await;
    let host = c.make("host", json!({"NAME": "h"})).await;
    c.ok("POST", "iscsi_initiator", json!({"ID": "iqn.x:y"})).await;
    c.ok("PUT", "iscsi_initiator/iqn.x:y", json!({"PARENTID": host})).await;
    c.make("hostgroup", json!({"NAME": "hg"})).await;
    c.make("lungroup", json!({"NAME": "lg"})).await;
    c.make("mappingview", json!({"NAME": "mv"})).await;
}

/// Sends a raw body; gives the code. Anything but HTTP 200 fails.
async fn send(c: &Client, method: &str, path: &str, body: Vec<u8>) -> Value {
    let mut request = c.request(method, path, None);
    *request.body_mut() = axum::body::Body::from(body);
    match c.raw(request).await {
        Raw::Answer(status, answer) => {
            assert_eq!(status, 200, "{method} {path}");
            answer["error"]["code"].clone()
        }
        Raw::Dropped => panic!("{method} {path}: dropped"),
    }
}

const MUTATIONS: &[(&str, &str)] = &[
    ("POST", "lun"),
    ("PUT", "lun/1"),
    ("PUT", "lun/expand"),
    ("POST", "lun/associate/cachepartition"),
    ("PUT", "lunclone_split_switch"),
    ("POST", "snapshot"),
    ("POST", "snapshot/activate"),
    ("PUT", "snapshot/stop"),
    ("PUT", "snapshot/2"),
    ("PUT", "snapshot/rollback"),
    ("PUT", "snapshot/cancelrollback"),
    ("POST", "lun_migration"),
    ("DELETE", "lun_migration/1"),
    ("PUT", "ioclass/1"),
    ("PUT", "ioclass/active/1"),
    ("POST", "luncopy"),
    ("PUT", "luncopy/start"),
    ("POST", "clonepair/relation"),
    ("PUT", "clonepair/synchronize"),
    ("POST", "host"),
    ("POST", "hostgroup"),
    ("POST", "hostgroup/associate"),
    ("DELETE", "host/associate"),
    ("POST", "lungroup"),
    ("POST", "lungroup/associate"),
    ("POST", "portgroup"),
    ("POST", "port/associate/portgroup"),
    ("POST", "mappingview"),
    ("PUT", "mappingview"),
    ("PUT", "mappingview/create_associate"),
    ("POST", "iscsi_initiator"),
    ("PUT", "iscsi_initiator"),
    ("PUT", "iscsi_initiator/remove_iscsi_from_host"),
    ("POST", "ioclass"),
    ("PUT", "ioclass/active"),
    ("PUT", "smartcachepartition/create_associate"),
];

#[test]
fn broken_bodies_change_nothing() {
    with(NEW, |mut c| async move {
        populated(&mut c).await;
        let before = c.everything();
        let deep = format!("{}1{}", "{\"NAME\":".repeat(20_000), "}".repeat(20_000));
        let wide = format!("[{}]", "1,".repeat(100_000));
        let bodies: Vec<Vec<u8>> = vec![
            b"{".to_vec(),
            b"[1,2]".to_vec(),
            b"\"NAME\"".to_vec(),
            b"{\"NAME\":\"x\"".to_vec(),
            vec![0xff; 300],
            vec![b'x'; 2 << 20],
            deep.into_bytes(),
            wide.into_bytes(),
            json!({"NAME": {"a": 1}, "ID": [1], "CAPACITY": {}, "PARENTID": [], "SNAPSHOTLIST": {"x": 1}, "sourceID": []}).to_string().into_bytes(),
            json!({"NAME": "\u{0}\n", "PARENTID": "1e3", "CAPACITY": -1, "ID": -1, "ASSOCIATEOBJTYPE": 1.5}).to_string().into_bytes(),
            json!({"NAME": "x".repeat(100_000), "PARENTID": u64::MAX, "CAPACITY": u64::MAX, "ID": u64::MAX}).to_string().into_bytes(),
            json!({"NAME": "", "ISCLONE": "maybe", "CLONESOURCEID": "1"}).to_string().into_bytes(),
        ];
        for (method, path) in MUTATIONS {
            for (at, body) in bodies.iter().enumerate() {
                let code = send(&c, method, path, body.clone()).await;
                assert_ne!(code, json!(0), "{method} {path} body {at}");
                assert_eq!(c.everything(), before, "{method} {path} body {at}");
            }
        }
    });
}

#[test]
fn hostile_urls_are_answered() {
    with(NEW, |mut c| async move {
        populated(&mut c).await;
        let before = c.everything();
        let long = format!("lun/{}", "9".repeat(5000));
        let many = "a/".repeat(500);
        let query = format!("lun?filter=NAME::{}", "x".repeat(20_000));
        for path in [
            "",
            "/",
            "%00",
            "%ff%fe",
            "lun/%ff",
            "lun/..",
            "lun/-1",
            "lun/+1",
            "lun/1%20",
            "lun/18446744073709551616",
            "lun?range=%5B0-18446744073709551616%5D",
            "lun?range=[18446744073709551614-18446744073709551615]",
            "lun?filter=%ff::x",
            "lun/associate",
            "lun/associate?ASSOCIATEOBJTYPE=x",
            "lun/associate?ASSOCIATEOBJTYPE=99&ASSOCIATEOBJID=1",
            "mappingview/associate?ASSOCIATEOBJTYPE=11",
            "sessions",
            "iscsi_initiator/%E2%98%83",
            long.as_str(),
            many.as_str(),
            query.as_str(),
        ] {
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
                if path == "sessions" && method == "DELETE" {
                    continue;
                }
                send(&c, method, path, Vec::new()).await;
            }
        }
        assert_eq!(c.everything(), before);
        for path in
            ["!/x", "!/deviceManager", "!/deviceManager/rest", "!/etc/passwd", "!/_ctl/", "!/_ctl/state"]
        {
            let Raw::Answer(status, _) = c.raw(c.request("GET", path, None)).await else { panic!("dropped") };
            assert_eq!(status, 404, "{path}");
        }
    });
}

fn json_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0u64..12).prop_map(|n| json!(n)),
        (0u64..12).prop_map(|n| json!(n.to_string())),
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        "[ -~]{0,8}".prop_map(|s| json!(s)),
        Just(json!([1, "2"])),
        Just(json!({"hostLUNId": 1})),
        prop::sample::select(vec!["11", "27", "14", "21", "256", "257", "245", "213"]).prop_map(|s| json!(s)),
        Just(json!(GIB)),
    ]
}

fn body() -> impl Strategy<Value = Value> {
    let names = vec![
        "ID",
        "NAME",
        "DESCRIPTION",
        "PARENTID",
        "CAPACITY",
        "ALLOCTYPE",
        "ISCLONE",
        "CLONESOURCEID",
        "SNAPSHOTLIST",
        "SOURCELUN",
        "TARGETLUN",
        "sourceID",
        "targetID",
        "ASSOCIATEOBJTYPE",
        "ASSOCIATEOBJID",
        "ASSOCIATEMETADATA",
        "USECHAP",
        "CHAPNAME",
        "CHAPPASSWORD",
        "MULTIPATHTYPE",
        "SPLITACTION",
        "LUNLIST",
        "ENABLESTATUS",
        "DATATRANSFERPOLICY",
        "copyRate",
        "startHostLunId",
    ];
    prop::collection::btree_map(prop::sample::select(names), json_value(), 0..8).prop_map(|fields| {
        Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    })
}

fn call() -> impl Strategy<Value = (String, String, Value)> {
    let objects = vec![
        "lun",
        "snapshot",
        "luncopy",
        "clonepair",
        "host",
        "hostgroup",
        "lungroup",
        "portgroup",
        "mappingview",
        "iscsi_initiator",
        "ioclass",
        "storagepool",
        "eth_port",
        "port",
        "smartcachepartition",
        "lunclone_split_switch",
        "system",
    ];
    let tails = vec![
        "",
        "/1",
        "/2",
        "/3",
        "/7",
        "/count",
        "/associate",
        "/expand",
        "/activate",
        "/stop",
        "/start",
        "/relation",
        "/synchronize",
        "/create_associate",
        "/remove_associate",
        "/remove_iscsi_from_host",
        "/associate/portgroup",
        "/associate/lungroup",
        "/iqn.x:y",
        "/associate?ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID=4",
        "/associate?ID=1&ASSOCIATEOBJTYPE=11&ASSOCIATEOBJID=1",
        "?filter=NAME::v",
        "?range=[0-2]",
    ];
    (
        prop::sample::select(vec!["GET", "POST", "PUT", "DELETE"]),
        prop::sample::select(objects),
        prop::sample::select(tails),
        body(),
    )
        .prop_map(|(method, object, tail, body)| (method.to_owned(), format!("{object}{tail}"), body))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever comes in: HTTP 200, an envelope, a whole array; and a refused call has changed nothing.
    #[test]
    fn any_call_is_answered_and_refusals_change_nothing(calls in prop::collection::vec(call(), 1..25)) {
        with(NEW, |mut c| async move {
            populated(&mut c).await;
            for (method, path, body) in calls {
                let before = c.everything();
                let code = send(&c, &method, &path, body.to_string().into_bytes()).await;
                assert!(code.is_i64() || code.is_string(), "{method} {path}");
                let after = c.everything();
                if code != json!(0) || method == "GET" {
                    assert_eq!(after, before, "{method} {path} {body}");
                }
            }
        });
    }
}
