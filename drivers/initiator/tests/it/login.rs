//! The login phase, driven by hand with wire PDUs.

use bytes::Bytes;
use proptest::prelude::*;
use sanbench_api::{ChapAuth, Secret};
use sanbench_initiator::chap::OwnChallenge;
use sanbench_initiator::login::{Login, LoginPlan, LoginStep};
use sanbench_initiator::{LoginError, SessionConfig};
use sanbench_wire::keys::{self, KeyLimits};
use sanbench_wire::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage, Stages};

fn plan(auth: Option<ChapAuth>) -> LoginPlan {
    LoginPlan {
        initiator: "iqn.host".into(),
        target: Some("iqn.array".into()),
        isid: [0x80, 1, 2, 3, 0, 0],
        auth,
        own_challenge: OwnChallenge { id: 3, challenge: [9; 32] },
    }
}

fn login(auth: Option<ChapAuth>) -> Login {
    Login::new(SessionConfig::default(), plan(auth))
}

fn mutual() -> ChapAuth {
    ChapAuth {
        username: "host".into(),
        password: Secret::new("host-secret"),
        target: Some(("array".into(), Secret::new("array-secret"))),
    }
}

fn one_way() -> ChapAuth {
    ChapAuth { target: None, ..mutual() }
}

fn reply(request: &LoginRequest, stat_sn: u32, next: Option<Stage>, pairs: &[(&str, &str)]) -> LoginResponse {
    LoginResponse {
        stages: Stages { continues: false, current: request.stages.current, next },
        version_max: 0,
        version_active: 0,
        isid: request.isid,
        tsih: 5,
        itt: request.itt,
        stat_sn,
        exp_cmd_sn: 1,
        max_cmd_sn: 16,
        status: LoginStatus::SUCCESS,
        text: Bytes::from(keys::encode(pairs.iter().copied())),
    }
}

fn show(request: &LoginRequest) -> String {
    let pairs = keys::decode(&request.text, KeyLimits::RFC).unwrap();
    let text: Vec<String> = pairs.iter().map(|(k, v)| format!("  {k}={v}")).collect();
    format!("{:?} -> {:?}\n{}", request.stages.current, request.stages.next, text.join("\n"))
}

#[test]
fn requests_of_a_login_without_and_with_chap() {
    let mut shown = Vec::new();
    for auth in [None, Some(one_way()), Some(mutual())] {
        let mut l = login(auth.clone());
        let mut r = l.poll_request().unwrap();
        shown.push(show(&r));
        let mut stat_sn = 0;
        if auth.is_some() {
            l.handle_response(&reply(&r, 0, None, &[("AuthMethod", "CHAP")])).unwrap();
            r = l.poll_request().unwrap();
            shown.push(show(&r));
            let pairs = [("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0x0102030405060708090a")];
            l.handle_response(&reply(&r, 1, None, &pairs)).unwrap();
            r = l.poll_request().unwrap();
            shown.push(show(&r));
            stat_sn = 2;
        }
        let mut pairs = vec![("TargetPortalGroupTag", "1")];
        let proof =
            sanbench_initiator::chap::ChapHash::Md5.response(3, &Secret::new("array-secret"), &[9; 32]);
        let proof = keys::encode_hex(&proof);
        if auth.is_some_and(|a| a.target.is_some()) {
            pairs.extend([("CHAP_N", "array"), ("CHAP_R", &proof)]);
        }
        l.handle_response(&reply(&r, stat_sn, Some(Stage::Operational), &pairs)).unwrap();
        let r = l.poll_request().unwrap();
        shown.push(show(&r));
        let done = l.handle_response(&reply(&r, stat_sn + 1, Some(Stage::FullFeature), &[])).unwrap();
        let LoginStep::Done(done) = done else { panic!("{done:?}") };
        assert_eq!((done.tsih, done.cmd_sn, done.exp_stat_sn, done.max_cmd_sn), (5, 1, stat_sn + 2, 16));
        shown.push("done".into());
    }
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn an_attacker_gets_no_session() {
    let mut lines = Vec::new();
    let reflected = keys::encode_hex(&[9; 32]);
    let long = keys::encode_hex(&[1; 1025]);
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("our challenge reflected", vec![("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", &reflected)]),
        ("algorithm not offered", vec![("CHAP_A", "1"), ("CHAP_I", "1"), ("CHAP_C", "0x01")]),
        ("identifier out of range", vec![("CHAP_A", "5"), ("CHAP_I", "256"), ("CHAP_C", "0x01")]),
        ("challenge empty", vec![("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0x")]),
        ("challenge too long", vec![("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", &long)]),
        ("challenge not binary", vec![("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "hello")]),
        ("challenge missing", vec![("CHAP_A", "5"), ("CHAP_I", "1")]),
        ("key twice", vec![("CHAP_A", "5"), ("CHAP_A", "7")]),
    ];
    for (name, pairs) in cases {
        let mut l = login(Some(mutual()));
        let r = l.poll_request().unwrap();
        l.handle_response(&reply(&r, 0, None, &[("AuthMethod", "CHAP")])).unwrap();
        let r = l.poll_request().unwrap();
        lines.push(format!("{name}: {}", l.handle_response(&reply(&r, 1, None, &pairs)).unwrap_err()));
    }
    for (name, pairs) in [
        ("no proof", vec![]),
        ("wrong proof", vec![("CHAP_N", "array"), ("CHAP_R", "0x00112233445566778899aabbccddeeff")]),
        ("long proof", vec![("CHAP_N", "array"), ("CHAP_R", "0x00112233445566778899aabbccddeeff00")]),
    ] {
        let mut l = login(Some(mutual()));
        let r = l.poll_request().unwrap();
        l.handle_response(&reply(&r, 0, None, &[("AuthMethod", "CHAP")])).unwrap();
        let r = l.poll_request().unwrap();
        let challenge = [("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0x0102")];
        l.handle_response(&reply(&r, 1, None, &challenge)).unwrap();
        let r = l.poll_request().unwrap();
        let error = l.handle_response(&reply(&r, 2, Some(Stage::Operational), &pairs)).unwrap_err();
        assert!(matches!(error, LoginError::Authentication(_)));
        lines.push(format!("{name}: {error}"));
    }
    let mut l = login(Some(mutual()));
    let r = l.poll_request().unwrap();
    let error = l.handle_response(&reply(&r, 0, None, &[("AuthMethod", "None")])).unwrap_err();
    lines.push(format!("None instead of mutual CHAP: {error}"));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn stages_and_numbers_are_checked() {
    type Change = fn(&mut LoginResponse);
    let cases: &[(&str, Change)] = &[
        ("other task tag", |r| r.itt ^= 1),
        ("other ISID", |r| r.isid[5] ^= 1),
        ("version", |r| r.version_active = 1),
        ("another current stage", |r| r.stages.current = Stage::Operational),
        ("unasked transition", |r| r.stages.next = Some(Stage::FullFeature)),
        ("T and C", |r| r.stages.continues = true),
        ("text without NUL", |r| r.text = Bytes::from_static(b"A=b")),
        ("refused", |r| r.status = LoginStatus::AUTHORIZATION_FAILURE),
        ("target error", |r| r.status = LoginStatus::SERVICE_UNAVAILABLE),
        ("unknown class", |r| r.status = LoginStatus(0x0900)),
        ("class 0, unknown detail", |r| r.status = LoginStatus(0x0001)),
        ("redirection to nowhere", |r| r.status = LoginStatus::TARGET_MOVED_TEMPORARILY),
        ("CHAP was not offered", |r| r.text = Bytes::from_static(b"AuthMethod=CHAP\0")),
    ];
    let mut lines = Vec::new();
    for (name, change) in cases {
        let mut l = login(None);
        let request = l.poll_request().unwrap();
        let mut response = reply(&request, 0, Some(Stage::Operational), &[]);
        change(&mut response);
        let error = l.handle_response(&response).unwrap_err();
        lines.push(format!("{name}: {error} (retry {})", error.may_retry()));
    }
    insta::assert_snapshot!(lines.join("\n"));
    let mut l = login(None);
    let request = l.poll_request().unwrap();
    let mut response = reply(&request, 0, None, &[("TargetAddress", "[fd00::1]:3261,1")]);
    response.status = LoginStatus::TARGET_MOVED_PERMANENTLY;
    assert_eq!(
        l.handle_response(&response),
        Ok(LoginStep::Redirect { address: "[fd00::1]:3261,1".to_owned(), permanent: true })
    );
}

#[test]
fn text_in_pieces_and_endless_negotiation() {
    let mut l = login(None);
    let r = l.poll_request().unwrap();
    l.handle_response(&reply(&r, 0, Some(Stage::Operational), &[])).unwrap();
    let r = l.poll_request().unwrap();
    let mut part = reply(&r, 1, None, &[]);
    part.stages.continues = true;
    part.text = Bytes::from_static(b"MaxBurst");
    assert_eq!(l.handle_response(&part), Ok(LoginStep::Continue));
    let r = l.poll_request().unwrap();
    assert_eq!((r.text.len(), r.stages.next), (0, None));
    let mut rest = reply(&r, 2, None, &[]);
    rest.text = Bytes::from_static(b"Length=65536\0X-vendor=1\0");
    assert_eq!(l.handle_response(&rest), Ok(LoginStep::Continue));
    let r = l.poll_request().unwrap();
    assert_eq!(&r.text[..], b"X-vendor=NotUnderstood\0");
    let LoginStep::Done(done) = l.handle_response(&reply(&r, 3, Some(Stage::FullFeature), &[])).unwrap()
    else {
        panic!()
    };
    assert_eq!(done.parameters.max_burst, 65_536);

    let mut l = login(None);
    let mut result = Ok(LoginStep::Continue);
    for n in 0..1000 {
        let Some(r) = l.poll_request() else { break };
        result = l.handle_response(&reply(&r, n, None, &[]));
    }
    assert!(matches!(result, Err(LoginError::Protocol(_))), "{result:?}");
}

/// Text that does not fit one request goes in pieces with the C bit, and the transition waits for the last one.
#[test]
fn a_long_text_goes_in_pieces() {
    let auth = ChapAuth { username: "u".repeat(12_000), ..one_way() };
    let mut l = login(Some(auth));
    let r = l.poll_request().unwrap();
    l.handle_response(&reply(&r, 0, None, &[("AuthMethod", "CHAP")])).unwrap();
    let r = l.poll_request().unwrap();
    let pairs = [("CHAP_A", "8"), ("CHAP_I", "1"), ("CHAP_C", "0x0102")];
    l.handle_response(&reply(&r, 1, None, &pairs)).unwrap();
    let first = l.poll_request().unwrap();
    assert_eq!((first.text.len(), first.stages.continues, first.stages.next), (8192, true, None));
    assert_eq!(l.handle_response(&reply(&first, 2, None, &[])), Ok(LoginStep::Continue));
    let rest = l.poll_request().unwrap();
    assert!(!rest.stages.continues && rest.stages.next == Some(Stage::Operational));
    let whole = [&first.text[..], &rest.text[..]].concat();
    assert_eq!(keys::decode(&whole, KeyLimits { max_value: 16_384, ..KeyLimits::RFC }).unwrap().len(), 2);
    l.handle_response(&reply(&rest, 3, Some(Stage::Operational), &[])).unwrap();
    // A target that answers before the text is whole breaks the rule.
    let mut l = login(Some(ChapAuth { username: "u".repeat(12_000), ..one_way() }));
    for (n, pairs) in [&[("AuthMethod", "CHAP")][..], &pairs].into_iter().enumerate() {
        let r = l.poll_request().unwrap();
        l.handle_response(&reply(&r, n as u32, None, pairs)).unwrap();
    }
    let first = l.poll_request().unwrap();
    assert!(l.handle_response(&reply(&first, 2, None, &[("X-early", "1")])).is_err());
}

#[test]
fn md5_alone_is_tried_only_where_it_can_help() {
    let refused = LoginError::Refused(LoginStatus::AUTHENTICATION_FAILURE);
    let proved = |algorithm| {
        let mut l = login(Some(mutual()));
        let r = l.poll_request().unwrap();
        assert!(!l.try_md5_after(&refused), "before any list was sent");
        l.handle_response(&reply(&r, 0, None, &[("AuthMethod", "CHAP")])).unwrap();
        let r = l.poll_request().unwrap();
        assert!(l.try_md5_after(&LoginError::Io("closed".into())));
        l.handle_response(&reply(&r, 1, None, &[("CHAP_A", algorithm), ("CHAP_I", "1"), ("CHAP_C", "0x01")]))
            .unwrap();
        l
    };
    assert!(proved("7").try_md5_after(&refused));
    assert!(!proved("5").try_md5_after(&refused));
    assert!(!proved("7").try_md5_after(&LoginError::Authentication("wrong response")));
    assert!(!proved("7").try_md5_after(&LoginError::TargetError(LoginStatus::TARGET_ERROR)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_and_flags_end_the_login(
        answers in proptest::collection::vec(
            (0u8..4, proptest::bool::ANY, proptest::bool::ANY, "([A-Za-z0-9_]{0,20}=[ -~]{0,20}\0){0,4}", 0u16..3),
            1..40,
        ),
        auth in 0..3,
    ) {
        let auth = match auth { 0 => None, 1 => Some(one_way()), _ => Some(mutual()) };
        let mut l = login(auth);
        for (n, (stage, continues, moves, text, class)) in answers.into_iter().enumerate() {
            let Some(request) = l.poll_request() else { break };
            let stage = [Stage::Security, Stage::Operational, Stage::FullFeature, request.stages.current]
                [usize::from(stage)];
            let response = LoginResponse {
                stages: Stages { continues, current: stage, next: request.stages.next.filter(|_| moves) },
                status: LoginStatus(class << 8),
                text: Bytes::from(text.into_bytes()),
                ..reply(&request, n as u32, None, &[])
            };
            if l.handle_response(&response).is_err() {
                break;
            }
        }
    }
}
