//! Two served arrays with a link between them, as a foreign client of their management APIs uses them.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::Bench;
use super::support::array::{Foreigner, Served};

/// Asks again and again until the data is as wanted.
fn until(client: &Foreigner<'_>, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut data = Value::Null;
    for _ in 0..1_200 {
        data = client.ok("GET", path, Value::Null);
        if is_so(&data) {
            return data;
        }
        // Real processes take real time.
        std::thread::park_timeout(Duration::from_millis(50));
    }
    panic!("{path} stays {data}");
}

fn id(data: &Value) -> String {
    data["ID"].as_str().unwrap_or_else(|| panic!("{data}")).to_owned()
}

fn running(client: &Foreigner<'_>, path: &str, status: &str) -> Value {
    until(client, path, |data| data["RUNNINGSTATUS"] == status)
}

#[test]
fn two_served_arrays_are_paired_and_fail_over_through_their_management() {
    let bench = Bench::new();
    let secret = ["--link-secret", "a secret of the test"];
    let a = Served::start(&bench, &[&["--remote-listen", "site-b=127.0.0.1:0"][..], &secret].concat());
    let to = format!("site-a={}", a.ready["links"][0].as_str().unwrap());
    let b = Served::start(&bench, &[&["--site", "1", "--remote", &to][..], &secret].concat());
    let (a, b) = (a.foreigner(), b.foreigner());
    let remote = until(&a, "remote_device", |data| data[0]["RUNNINGSTATUS"] == "10");
    assert_eq!(remote[0]["WWN"], b.ok("GET", "system/", Value::Null)["wwn"]);
    let device = id(&remote[0]);

    // HyperMetro: both arrays know domain and pair under one id.
    let domain = id(&a.ok("POST", "HyperMetroDomain", json!({"NAME": "domain"})));
    until(&b, "HyperMetroDomain?range=[0-32]", |data| data[0]["ID"] == domain.as_str());
    let (ours, theirs) = (id(&a.make_lun("metro")), id(&b.make_lun("metro")));
    let pair = json!({"DOMAINID": domain, "HCRESOURCETYPE": "1", "ISFIRSTSYNC": false, "LOCALOBJID": ours,
        "REMOTEOBJID": theirs, "RECOVERYPOLICY": "1", "SPEED": "2"});
    let pair = id(&a.ok("POST", "HyperMetroPair", pair));
    let path = format!("HyperMetroPair/{pair}");
    running(&a, &path, "1");
    let seen = running(&b, &path, "1");
    assert_eq!((&seen["LOCALOBJID"], &seen["ISPRIMARY"]), (&json!(theirs), &json!("false")));
    a.ok("PUT", "HyperMetroPair/disable_hcpair", json!({"ID": pair, "TYPE": "15361"}));
    running(&a, &path, "41");
    running(&b, &path, "41");
    a.ok("PUT", "HyperMetroPair/synchronize_hcpair", json!({"ID": pair}));
    running(&b, &path, "1");
    a.ok("PUT", "HyperMetroPair/disable_hcpair", json!({"ID": pair}));
    a.ok("DELETE", &path, Value::Null);
    until(&b, "HyperMetroPair/count", |data| data["COUNT"] == "0");

    // Replication: split, protection lifted, roles exchanged, synchronised the other way round.
    let (ours, theirs) = (id(&a.make_lun("replica")), id(&b.make_lun("replica")));
    let pair = json!({"LOCALRESID": ours, "LOCALRESTYPE": "11", "REMOTEDEVICEID": device, "REMOTEDEVICENAME": "site-b",
        "REMOTERESID": theirs, "REPLICATIONMODEL": "1", "RECOVERYPOLICY": "2", "SPEED": "2"});
    let pair = id(&a.ok("POST", "REPLICATIONPAIR", pair));
    let path = format!("REPLICATIONPAIR/{pair}");
    a.ok("PUT", "REPLICATIONPAIR/sync", json!({"ID": pair}));
    running(&a, &path, "1");
    assert_eq!(running(&b, &path, "1")["SECRESDATASTATUS"], "1");
    b.ok("PUT", "REPLICATIONPAIR/split", json!({"ID": pair}));
    running(&b, &path, "26");
    b.ok("PUT", &path, json!({"SECRESACCESS": "3"}));
    until(&a, &path, |data| data["SECRESACCESS"] == "3");
    b.ok("PUT", "REPLICATIONPAIR/switch", json!({"ID": pair}));
    until(&b, &path, |data| data["ISPRIMARY"] == "true");
    b.ok("PUT", &path, json!({"SECRESACCESS": "2"}));
    b.ok("PUT", "REPLICATIONPAIR/sync", json!({"ID": pair}));
    assert_eq!(running(&a, &path, "1")["ISPRIMARY"], "false");
}
