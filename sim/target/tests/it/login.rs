//! The login phase: stages, authentication, negotiation, reinstatement, discovery.

use std::fmt::Write;
use std::time::Duration;

use crate::bench::*;
use bytes::Bytes;
use sanbench_array::{Command, DeviceId};
use sanbench_target::TargetConfig;
use sanbench_wire::Pdu;
use sanbench_wire::keys;
use sanbench_wire::pdu::*;
use sanbench_world::Fault;
use sha2::Digest;

fn status(bench: &mut Bench, current: Stage, next: Option<Stage>, keys: &[(&str, &str)]) -> LoginStatus {
    bench.connect().login_step(current, next, keys).0.status
}

/// First requests and the answer: status, stage granted, text.
#[test]
fn first_requests() {
    use Stage::{FullFeature, Operational, Security};
    let mut bench = Bench::new();
    let target = bench.target();
    let name = ("InitiatorName", HOST);
    let to = ("TargetName", target.as_str());
    let portal_name = bench.parts.array.lock().portals()[1].iqn.clone();
    type Case<'a> = (&'a str, Stage, Option<Stage>, &'a [(&'a str, &'a str)]);
    let cases: &[Case<'_>] = &[
        ("straight to full feature", Operational, Some(FullFeature), &[name, to]),
        ("security first, no method", Security, Some(FullFeature), &[name, to]),
        ("AuthMethod=None", Security, Some(Operational), &[name, to, ("AuthMethod", "None")]),
        (
            "AuthMethod=CHAP,None without record",
            Security,
            Some(Operational),
            &[name, to, ("AuthMethod", "CHAP,None")],
        ),
        ("AuthMethod=CHAP without record", Security, Some(Operational), &[name, to, ("AuthMethod", "CHAP")]),
        ("AuthMethod=KRB5", Security, Some(Operational), &[name, to, ("AuthMethod", "KRB5")]),
        ("no transit", Security, None, &[name, to]),
        ("back to the same stage", Operational, Some(Operational), &[name, to]),
        ("starts in full feature", FullFeature, Some(FullFeature), &[name, to]),
        ("no InitiatorName", Operational, Some(FullFeature), &[to]),
        ("no TargetName", Operational, Some(FullFeature), &[name]),
        (
            "unknown target",
            Operational,
            Some(FullFeature),
            &[name, ("TargetName", "iqn.2000-01.org.example:nobody")],
        ),
        ("portal's own name", Operational, Some(FullFeature), &[name, ("TargetName", &portal_name)]),
        ("discovery", Operational, Some(FullFeature), &[name, ("SessionType", "Discovery")]),
        ("odd session type", Operational, Some(FullFeature), &[name, to, ("SessionType", "Other")]),
        (
            "key twice",
            Operational,
            Some(FullFeature),
            &[name, to, ("MaxConnections", "1"), ("MaxConnections", "2")],
        ),
        ("CHAP keys out of turn", Security, None, &[name, to, ("CHAP_A", "5")]),
        ("unknown initiator", Operational, Some(FullFeature), &[("InitiatorName", OTHER), to]),
        ("unknown key", Operational, Some(FullFeature), &[name, to, ("X-org.example.Q", "1")]),
    ];
    let mut table = String::new();
    for (what, current, next, keys) in cases {
        let (response, text) = bench.connect().login_step(*current, *next, keys);
        let text: Vec<String> = text.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let granted = response.stages.next.map_or("-".to_owned(), |s| format!("{s:?}"));
        let handle = if response.tsih != 0 { "tsih" } else { "" };
        let _ = writeln!(
            table,
            "{what:<36} {:04x} {granted:<12} {handle:<4} {}",
            response.status.0,
            text.join(" ")
        );
    }
    insta::assert_snapshot!("first_requests", table);
}

#[test]
fn later_requests_must_belong_together() {
    let mut bench = Bench::new();
    let target = bench.target();
    let keys = [("InitiatorName", HOST), ("TargetName", target.as_str())];
    let twists: [fn(&mut LoginRequest); 5] = [
        |r| r.isid[5] ^= 1,
        |r| r.itt += 1,
        |r| r.cid += 1,
        |r| r.tsih = 9,
        |r| r.stages.current = Stage::Security,
    ];
    for twist in twists {
        let mut conn = bench.connect();
        let (first, _) = conn.login_step(Stage::Security, Some(Stage::Operational), &keys);
        assert_eq!(first.stages.next, Some(Stage::Operational));
        let mut second = conn.login_request(Stage::Operational, Some(Stage::FullFeature), &[]);
        twist(&mut second);
        assert_eq!(conn.login_raw(second).0.status, LoginStatus::INITIATOR_ERROR);
        assert!(conn.session.closed().is_some());
    }
    // A key of the first step may not come again in the second.
    let mut conn = bench.connect();
    conn.login_step(Stage::Security, Some(Stage::Operational), &keys);
    let (again, _) = conn.login_step(Stage::Operational, Some(Stage::FullFeature), &keys);
    assert_eq!(again.status, LoginStatus::INITIATOR_ERROR);
}

#[test]
fn version_and_first_pdu() {
    let mut bench = Bench::new();
    let mut conn = bench.connect();
    let mut request = conn.login_request(Stage::Operational, Some(Stage::FullFeature), &[]);
    request.version_min = 1;
    assert_eq!(conn.login_raw(request).0.status, LoginStatus::UNSUPPORTED_VERSION);
    // Anything but a login request ends the connection without an answer.
    let mut conn = bench.connect();
    let command = conn.command(0, sanbench_wire::scsi::cdb::Cdb::TestUnitReady, 0, None);
    conn.send(command);
    assert!(conn.session.closed().is_some() && conn.rest().is_empty());
}

#[test]
fn text_over_several_requests() {
    let mut bench = Bench::new();
    let target = bench.target();
    let mut conn = bench.connect();
    let whole = keys::encode([("InitiatorName", HOST), ("TargetName", &target), ("MaxBurstLength", "4096")]);
    let (head, tail) = whole.split_at(20);
    let mut first = conn.login_request(Stage::Operational, None, &[]);
    first.stages.continues = true;
    first.text = Bytes::copy_from_slice(head);
    let (answer, text) = conn.login_raw(first);
    assert_eq!((answer.status, answer.stages.next, text.len()), (LoginStatus::SUCCESS, None, 0));
    let mut second = conn.login_request(Stage::Operational, Some(Stage::FullFeature), &[]);
    second.text = Bytes::copy_from_slice(tail);
    let (answer, text) = conn.login_raw(second);
    assert_eq!(answer.stages.next, Some(Stage::FullFeature));
    assert!(text.contains(&("MaxBurstLength".into(), "4096".into())));
    // C with T is a protocol error.
    let mut conn = bench.connect();
    let mut both =
        conn.login_request(Stage::Operational, Some(Stage::FullFeature), &[("InitiatorName", HOST)]);
    both.stages.continues = true;
    assert_eq!(conn.login_raw(both).0.status, LoginStatus::INITIATOR_ERROR);
    // Text without end is cut off.
    let mut conn = bench.connect();
    let mut endless = conn.login_request(Stage::Operational, None, &[]);
    endless.stages.continues = true;
    endless.text = Bytes::from(vec![b'a'; 8000]);
    let mut last = LoginStatus::SUCCESS;
    for _ in 0..10 {
        if conn.session.closed().is_none() {
            last = conn.login_raw(endless.clone()).0.status;
        }
    }
    assert_eq!(last, LoginStatus::INITIATOR_ERROR);
}

/// Runs a CHAP login; `twist` alters the keys of the proof. Gives the last answer.
fn chap_login(
    bench: &mut Bench,
    mutual: bool,
    twist: impl FnOnce(&mut Vec<(String, String)>, &[u8]),
) -> (LoginStatus, Vec<keys::Pair>, bool) {
    let target = bench.target();
    let mut conn = bench.connect();
    let keys = [("InitiatorName", HOST), ("TargetName", target.as_str()), ("AuthMethod", "CHAP,None")];
    let (first, text) = conn.login_step(Stage::Security, Some(Stage::Operational), &keys);
    assert_eq!(first.stages.next, None, "no way around the exchange");
    assert!(text.contains(&("AuthMethod".into(), "CHAP".into())));
    let (_, text) = conn.login_step(Stage::Security, None, &[("CHAP_A", "99,7,5")]);
    let get = |name: &str| text.iter().find(|(k, _)| k == name).unwrap().1.clone();
    assert_eq!(get("CHAP_A"), "7");
    let challenge = keys::decode_binary(&get("CHAP_C"), 1024).unwrap();
    let id: u8 = get("CHAP_I").parse().unwrap();
    let proof = sha2::Sha256::new().chain_update([id]).chain_update("wonderland-01").chain_update(&challenge);
    let mut answer = vec![
        ("CHAP_N".to_owned(), "alice".to_owned()),
        ("CHAP_R".to_owned(), keys::encode_base64(&proof.finalize())),
    ];
    if mutual {
        answer.push(("CHAP_I".to_owned(), "9".to_owned()));
        answer.push(("CHAP_C".to_owned(), "0x0102030405060708".to_owned()));
    }
    twist(&mut answer, &challenge);
    let pairs: Vec<(&str, &str)> = answer.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let (last, text) = conn.login_step(Stage::Security, Some(Stage::FullFeature), &pairs);
    (last.status, text, conn.session.is_full_feature())
}

#[test]
fn chap() {
    let mut bench = Bench::new();
    bench.chap(false);
    let failed = (LoginStatus::AUTHENTICATION_FAILURE, vec![], false);
    assert_eq!(chap_login(&mut bench, false, |_, _| ()), (LoginStatus::SUCCESS, vec![], true));
    assert_eq!(chap_login(&mut bench, false, |k, _| k[0].1 = "mallory".into()), failed);
    assert_eq!(chap_login(&mut bench, false, |k, _| k[1].1 = "0x00".into()), failed);
    assert_eq!(chap_login(&mut bench, true, |_, _| ()), failed, "no secret of the target's own");
    bench.chap(true);
    let (status, text, in_phase) = chap_login(&mut bench, true, |_, _| ());
    let proof = sha2::Sha256::new().chain_update([9]).chain_update("looking-glass");
    let proof = keys::encode_hex(&proof.chain_update([1, 2, 3, 4, 5, 6, 7, 8]).finalize());
    assert_eq!((status, in_phase), (LoginStatus::SUCCESS, true));
    assert_eq!(text, [("CHAP_N".to_owned(), "array".to_owned()), ("CHAP_R".to_owned(), proof)]);
    let reflect = |k: &mut Vec<(String, String)>, c: &[u8]| k[3].1 = keys::encode_hex(c);
    assert_eq!(chap_login(&mut bench, true, reflect), failed);
    // No secret is told to anybody.
    let notes = bench.script.notes().join("\n");
    assert!(notes.contains("login_refused") && !notes.contains("wonderland") && !notes.contains("glass"));
}

#[test]
fn chap_cannot_be_skipped() {
    use Stage::{FullFeature, Operational, Security};
    let mut bench = Bench::new();
    bench.chap(false);
    let target = bench.target();
    let keys = [("InitiatorName", HOST), ("TargetName", target.as_str())];
    let none = [keys[0], keys[1], ("AuthMethod", "None")];
    assert_eq!(
        status(&mut bench, Operational, Some(FullFeature), &keys),
        LoginStatus::AUTHENTICATION_FAILURE
    );
    assert_eq!(status(&mut bench, Security, Some(FullFeature), &keys), LoginStatus::AUTHENTICATION_FAILURE);
    assert_eq!(status(&mut bench, Security, Some(Operational), &none), LoginStatus::AUTHENTICATION_FAILURE);
    // Discovery tells only portals and stays open.
    let discovery = [keys[0], ("SessionType", "Discovery"), ("AuthMethod", "CHAP,None")];
    assert_eq!(status(&mut bench, Security, Some(FullFeature), &discovery), LoginStatus::SUCCESS);
}

#[test]
fn strangers_are_refused_when_the_owner_says_so() {
    let mut bench = Bench::with(TargetConfig { refuse_strangers: true, ..TargetConfig::default() });
    let target = bench.target();
    let keys = [("InitiatorName", OTHER), ("TargetName", target.as_str())];
    let refused = status(&mut bench, Stage::Operational, Some(Stage::FullFeature), &keys);
    assert_eq!(refused, LoginStatus::AUTHORIZATION_FAILURE);
    let lun = bench.lun("open", 128);
    bench.apply(sanbench_array::Command::OpenExport { lun });
    let let_in = status(&mut bench, Stage::Operational, Some(Stage::FullFeature), &keys);
    assert_eq!(let_in, LoginStatus::SUCCESS, "an open export is for everybody");
}

#[test]
fn reinstatement_closes_the_old_session() {
    let mut bench = Bench::new();
    let lun = bench.map(DeviceId::Lun(bench.lun("d", 128)));
    let target = bench.target();
    let mut old = bench.session();
    assert_eq!(bench.parts.array.lock().initiator(HOST).unwrap().sessions, 1);
    let mut new = bench.connect();
    new.isid = old.isid;
    let response = new.log_in(HOST, Some(&target), OPERATIONAL);
    assert_eq!(response.status, LoginStatus::SUCCESS);
    old.session.handle_events();
    assert!(old.session.closed().is_some());
    drop(old);
    assert_eq!(bench.parts.registry.len(), 1, "the old one's end leaves the new one alone");
    assert_eq!(bench.parts.array.lock().initiator(HOST).unwrap().sessions, 1);
    assert!(new.run(lun, sanbench_wire::scsi::cdb::Cdb::TestUnitReady, 0).2.is_some());
    // Another ISID is another session; the same ISID through another portal group too.
    let other = bench.session();
    let mut elsewhere = bench.connect_to(2);
    elsewhere.isid = new.isid;
    elsewhere.log_in(HOST, Some(&target), OPERATIONAL);
    new.session.handle_events();
    assert!(new.session.closed().is_none());
    assert_eq!(bench.parts.registry.len(), 3);
    drop((new, other, elsewhere));
    assert!(bench.parts.registry.is_empty());
    assert_eq!(bench.parts.array.lock().initiator(HOST).unwrap().sessions, 0);
}

#[test]
fn joining_a_session() {
    let mut bench = Bench::new();
    let target = bench.target();
    let mut first = bench.connect();
    let tsih = first.log_in(HOST, Some(&target), OPERATIONAL).tsih;
    let keys = [("InitiatorName", HOST), ("TargetName", target.as_str())];
    let mut join = |isid: [u8; 6], tsih: u16, cid: u16| {
        let mut conn = bench.connect();
        conn.isid = isid;
        let mut request = conn.login_request(Stage::Operational, Some(Stage::FullFeature), &keys);
        request.tsih = tsih;
        request.cid = cid;
        (conn.login_raw(request).0.status, conn)
    };
    assert_eq!(join(first.isid, tsih ^ 1, 1).0, LoginStatus::SESSION_DOES_NOT_EXIST);
    assert_eq!(join([0; 6], tsih, 1).0, LoginStatus::SESSION_DOES_NOT_EXIST, "somebody else's handle");
    assert_eq!(join(first.isid, tsih, 2).0, LoginStatus::TOO_MANY_CONNECTIONS);
    first.session.handle_events();
    assert!(first.session.closed().is_none(), "refused logins leave it alone");
    let (status, _conn) = join(first.isid, tsih, 1);
    assert_eq!(status, LoginStatus::SUCCESS, "same CID: the connection is reinstated");
    first.session.handle_events();
    assert!(first.session.closed().is_some());
}

#[test]
fn discovery() {
    let mut bench = Bench::new();
    let mut conn = bench.connect();
    conn.log_in(HOST, None, &[("MaxRecvDataSegmentLength", "512")]);
    let target = bench.target();
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    let all = [
        pair("TargetName", &target),
        pair("TargetAddress", "10.0.0.1:3260,1"),
        pair("TargetAddress", "10.0.0.2:3260,2"),
    ];
    assert_eq!(conn.text(&[("SendTargets", "All")]), all);
    assert_eq!(conn.text(&[("SendTargets", &target)]), all);
    let portal_name = bench.parts.array.lock().portals()[1].iqn.clone();
    let one = [pair("TargetName", &portal_name), pair("TargetAddress", "10.0.0.2:3260,2")];
    assert_eq!(conn.text(&[("SendTargets", &portal_name)]), one);
    assert_eq!(conn.text(&[("SendTargets", "iqn.2000-01.org.example:nobody")]), []);
    assert_eq!(conn.text(&[("SendTargets", "")]), [pair("SendTargets", "Reject")]);
    // SCSI has no place here.
    let command = conn.command(0, sanbench_wire::scsi::cdb::Cdb::TestUnitReady, 0, None);
    conn.send(command);
    assert!(matches!(conn.next(), Some(Pdu::Reject(_))));
    // A normal session may ask for its own target only.
    let mut conn = bench.session();
    assert_eq!(conn.text(&[("SendTargets", "All")]), [pair("SendTargets", "Reject")]);
    assert_eq!(conn.text(&[("SendTargets", "")]), all);
    let mixed = conn.text(&[("MaxRecvDataSegmentLength", "512"), ("HeaderDigest", "None"), ("X-a.b", "1")]);
    let answers: Vec<&str> = mixed.iter().map(|(_, v)| v.as_str()).collect();
    assert_eq!(answers, ["262144", "Reject", "NotUnderstood"]);
}

#[test]
fn discovery_leaves_disabled_portals_out() {
    let mut bench = Bench::new();
    let mut conn = bench.connect_to(2);
    conn.log_in(HOST, None, &[("MaxRecvDataSegmentLength", "512")]);
    let first = bench.parts.array.lock().portals()[0].clone();
    bench.apply(Command::SetPortEnabled { port: first.id, enabled: false });
    let records = conn.text(&[("SendTargets", "All")]);
    let addresses: Vec<&str> = records.iter().skip(1).map(|(_, value)| value.as_str()).collect();
    assert_eq!(addresses, ["10.0.0.2:3260,2"]);
    assert_eq!(conn.text(&[("SendTargets", &first.iqn)]), [], "the disabled portal's own name leads nowhere");
}

#[test]
fn portals_of_ipv6_are_told_in_brackets() {
    let mut bench = Bench::new();
    let portal = sanbench_array::PortalConfig {
        address: "[fd00::1]:3260".parse().unwrap(),
        port_no: 20_200,
        tpgt: 1,
        controller: 0,
    };
    bench.parts.array.lock().set_portals(vec![portal]);
    let mut conn = bench.connect();
    conn.log_in(HOST, None, &[("MaxRecvDataSegmentLength", "512")]);
    let records = conn.text(&[("SendTargets", "All")]);
    assert_eq!(records[1].1, "[fd00::1]:3260,1");
    let name = bench.parts.array.lock().portals()[0].iqn.clone();
    assert!(name.ends_with("::20200:fd00::1"), "{name}");
    let mut conn = bench.connect();
    let answer = conn.log_in(HOST, Some(&name), OPERATIONAL);
    assert_eq!(answer.status, LoginStatus::SUCCESS, "the portal's own name logs in");
}

/// Many portals: the answer goes over several responses (C bit), and joins to the same records.
#[test]
fn long_lists_continue() {
    let mut bench = Bench::new();
    let portals = (1..=60u8).map(|n| sanbench_array::PortalConfig {
        address: ([10, 0, 1, n], 3260).into(),
        port_no: u32::from(n),
        tpgt: u16::from(n),
        controller: (n - 1) % 2,
    });
    bench.parts.array.lock().set_portals(portals.collect());
    let mut conn = bench.connect();
    conn.log_in(HOST, None, &[("MaxRecvDataSegmentLength", "512")]);
    let records = conn.text(&[("SendTargets", "All")]);
    assert_eq!(records.len(), 61);
    assert_eq!(records[60].1, "10.0.1.60:3260,60");
}

#[test]
fn time_limits() {
    let config = TargetConfig::default();
    let mut bench = Bench::new();
    let mut slow = bench.connect();
    let limit = slow.session.next_timer().unwrap();
    assert_eq!(limit, NOW + config.login_timeout);
    slow.session.handle_timer(limit - Duration::from_millis(1));
    assert!(slow.session.closed().is_none());
    slow.session.handle_timer(limit);
    assert!(slow.session.closed().is_some());

    let mut idle = bench.session();
    let ping_at = idle.session.next_timer().unwrap();
    idle.session.handle_timer(ping_at);
    idle.now = ping_at;
    idle.collect();
    let Some(Pdu::NopIn(ping)) = idle.next() else { panic!("no ping") };
    assert!(ping.itt == u32::MAX && ping.ttt != u32::MAX);
    let answer = NopOut {
        immediate: true,
        lun: ping.lun,
        itt: u32::MAX,
        ttt: ping.ttt,
        cmd_sn: idle.cmd_sn,
        exp_stat_sn: 0,
        data: Bytes::new(),
    };
    idle.send(answer);
    assert!(idle.rest().is_empty(), "an answer is not answered");
    let next = idle.session.next_timer().unwrap();
    assert_eq!(next, ping_at + config.ping_interval);
    idle.session.handle_timer(next);
    let death = idle.session.next_timer().unwrap();
    assert_eq!(death, next + config.ping_timeout);
    idle.session.handle_timer(death);
    assert!(idle.session.closed().is_some(), "half-open connections end");

    // Half a PDU in the buffer is no sign of life, however often the pump looks.
    let mut half = bench.session();
    half.raw(&[0x40; 20]);
    for _ in 0..2 {
        half.now = half.session.next_timer().unwrap();
        half.session.handle_timer(half.now);
        half.raw(&[]);
    }
    assert!(half.session.closed().is_some());
}

#[test]
fn faults_at_login() {
    let mut bench = Bench::new();
    let target = bench.target();
    let keys = [("InitiatorName", HOST), ("TargetName", target.as_str())];
    bench.script.fault_once("target.login", Fault::Fail);
    let failed = status(&mut bench, Stage::Operational, Some(Stage::FullFeature), &keys);
    assert_eq!(failed, LoginStatus::SERVICE_UNAVAILABLE);
    // A lost answer: the session exists, the initiator does not know.
    bench.script.fault_once("target.login", Fault::DropReply);
    let mut conn = bench.connect();
    let request = conn.login_request(Stage::Operational, Some(Stage::FullFeature), &keys);
    conn.send(request.clone());
    assert!(conn.rest().is_empty() && conn.session.is_full_feature());
    // A late answer.
    bench.script.fault_once("target.login", Fault::Delay(Duration::from_secs(3)));
    let mut conn = bench.connect();
    conn.send(request.clone());
    assert!(conn.rest().is_empty());
    let due = conn.session.next_timer().unwrap();
    assert_eq!(due, NOW + Duration::from_secs(3));
    conn.now = due;
    conn.session.handle_timer(due);
    conn.collect();
    assert!(matches!(conn.next(), Some(Pdu::LoginResponse(_))));
    // The node crashes: silence.
    bench.script.notes();
    bench.script.fault_once("target.login", Fault::CrashNode);
    let mut conn = bench.connect();
    conn.send(request);
    assert!(conn.rest().is_empty() && conn.session.closed() == Some("crash"));
    assert_eq!(bench.script.notes(), ["crash"]);
}

/// An answer that is longer than one response goes on with the C bit; the initiator asks with empty requests.
#[test]
fn long_answers_continue() {
    let mut bench = Bench::new();
    let target = bench.target();
    let mut conn = bench.connect();
    let names: Vec<String> = (0..60).map(|n| format!("X-org.example.{n:0>40}")).collect();
    let mut keys =
        vec![("InitiatorName", HOST), ("TargetName", target.as_str()), ("MaxRecvDataSegmentLength", "512")];
    keys.extend(names.iter().map(|name| (name.as_str(), "1")));
    let request = conn.login_request(Stage::Operational, Some(Stage::FullFeature), &keys);
    let mut text = Vec::new();
    conn.send(request);
    let mut pieces = 0;
    loop {
        let Some(Pdu::LoginResponse(response)) = conn.next() else { panic!("no answer") };
        assert!(response.status == LoginStatus::SUCCESS && response.text.len() <= 512);
        text.extend_from_slice(&response.text);
        pieces += 1;
        if !response.stages.continues {
            assert_eq!(response.stages.next, Some(Stage::FullFeature));
            break;
        }
        assert!(response.stages.next.is_none() && !conn.session.is_full_feature());
        let next = conn.login_request(Stage::Operational, Some(Stage::FullFeature), &[]);
        conn.send(next);
    }
    let pairs = keys::decode(&text, keys::KeyLimits::RFC).unwrap();
    assert!(pieces > 5 && pairs.iter().filter(|(_, v)| v == "NotUnderstood").count() == 60);
    assert!(conn.session.is_full_feature());
    // Text in the middle of it is an error.
    let mut conn = bench.connect();
    conn.login_step(Stage::Operational, None, &keys[..3]);
    let mut conn = bench.connect();
    let request = conn.login_request(Stage::Operational, None, &keys);
    conn.send(request);
    conn.rest();
    let (refused, _) = conn.login_step(Stage::Operational, None, &[("MaxConnections", "1")]);
    assert_eq!(refused.status, LoginStatus::INITIATOR_ERROR);
}

#[test]
fn redirections_and_removed_targets() {
    use sanbench_target::Redirect;
    let gone = "iqn.2000-01.org.example:gone";
    let moved = |permanent| Redirect { to: ([10, 0, 0, 2], 3260).into(), permanent };
    for (permanent, expected) in
        [(false, LoginStatus::TARGET_MOVED_TEMPORARILY), (true, LoginStatus::TARGET_MOVED_PERMANENTLY)]
    {
        let config = TargetConfig {
            redirects: [(([10, 0, 0, 1], 3260).into(), moved(permanent))].into(),
            removed_targets: [gone.to_owned()].into(),
            ..TargetConfig::default()
        };
        let mut bench = Bench::with(config);
        let target = bench.target();
        let keys = [("InitiatorName", HOST), ("TargetName", target.as_str())];
        let mut conn = bench.connect();
        let (response, text) = conn.login_step(Stage::Operational, Some(Stage::FullFeature), &keys);
        assert_eq!((response.status, response.stages.next, response.tsih), (expected, None, 0));
        assert_eq!(text, [("TargetAddress".to_owned(), "10.0.0.2:3260".to_owned())]);
        assert!(conn.session.closed().is_some());
        // Discovery stays, and so does the other portal.
        assert_eq!(bench.connect().log_in(HOST, None, &[]).status, LoginStatus::SUCCESS);
        assert_eq!(bench.connect_to(2).log_in(HOST, Some(&target), &[]).status, LoginStatus::SUCCESS);
        let removed = bench.connect().log_in(HOST, Some(gone), &[]).status;
        assert_eq!(removed, LoginStatus::TARGET_REMOVED);
    }
}

#[test]
fn keys_out_of_place() {
    let mut bench = Bench::new();
    let target = bench.target();
    let names = [("InitiatorName", HOST), ("TargetName", target.as_str())];
    // Operational keys in the security stage.
    let keys = [names[0], names[1], ("AuthMethod", "None"), ("MaxBurstLength", "4096")];
    let (_, text) = bench.connect().login_step(Stage::Security, None, &keys);
    assert!(text.contains(&("MaxBurstLength".into(), "Reject".into())));
    // The first burst obeys the burst, whichever comes first.
    let keys = [names[0], names[1], ("FirstBurstLength", "65536"), ("MaxBurstLength", "4096")];
    let (_, text) = bench.connect().login_step(Stage::Operational, None, &keys);
    let answers: Vec<_> = text.iter().skip(2).map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(answers, [("FirstBurstLength", "4096"), ("MaxBurstLength", "4096")]);
    // Names belong in the first request.
    let mut conn = bench.connect();
    conn.login_step(Stage::Security, None, &names);
    let (late, _) = conn.login_step(Stage::Security, None, &[("SessionType", "Discovery")]);
    assert_eq!(late.status, LoginStatus::INITIATOR_ERROR);
    // A registered extension key with '#' is a declaration.
    let keys = [names[0], names[1], ("X#NodeArchitecture", "bench,1")];
    let (response, text) = bench.connect().login_step(Stage::Operational, Some(Stage::FullFeature), &keys);
    assert_eq!(response.status, LoginStatus::SUCCESS);
    assert!(text.iter().all(|(key, _)| key != "X#NodeArchitecture"));
    // Reserved stage.
    let mut conn = bench.connect();
    let request = conn.login_request(Stage::Operational, None, &names);
    let mut out = sanbench_wire::frame::Outbox::new();
    Pdu::from(request).push_to(&mut out, Default::default());
    let mut bytes = out.take_all().to_vec();
    bytes[1] = 0x08;
    conn.raw(&bytes);
    assert!(matches!(conn.next(), Some(Pdu::LoginResponse(r)) if r.status == LoginStatus::INITIATOR_ERROR));
    assert!(conn.session.closed().is_some());
}

/// Every challenge is fresh, also within one initiator's tries; oversized and short ones of the initiator are refused.
#[test]
fn challenges_are_fresh() {
    let mut bench = Bench::new();
    bench.chap(false);
    let target = bench.target();
    let keys = [("InitiatorName", HOST), ("TargetName", target.as_str()), ("AuthMethod", "CHAP")];
    let mut seen = std::collections::BTreeSet::new();
    for algorithm in ["5", "6", "7", "8"] {
        let mut conn = bench.connect();
        conn.login_step(Stage::Security, None, &keys);
        let (_, text) = conn.login_step(Stage::Security, None, &[("CHAP_A", algorithm)]);
        assert_eq!(text[0], ("CHAP_A".to_owned(), algorithm.to_owned()));
        assert!(seen.insert(text[2].1.clone()), "challenge used twice");
    }
    let mut conn = bench.connect();
    conn.login_step(Stage::Security, None, &keys);
    let (refused, _) = conn.login_step(Stage::Security, None, &[("CHAP_A", "9,10")]);
    assert_eq!(refused.status, LoginStatus::AUTHENTICATION_FAILURE);
}
