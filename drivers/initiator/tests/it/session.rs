//! The full feature phase, driven by hand with wire PDUs; no world.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sanbench_initiator::error::ProtocolError;
use sanbench_initiator::login::LoggedIn;
use sanbench_initiator::negotiate::Parameters;
use sanbench_initiator::session::{Announcement, CommandEnd, Event, Limits, Request, Session, Transfer};
use sanbench_initiator::tolerance::Tolerance;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::{self, Decoded, FrameLimits};
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_wire::{Digests, Outbox};

mod properties;

const NOW: Duration = Duration::from_secs(1);

fn session_with(parameters: Parameters, window: u32) -> Session {
    let login = LoggedIn { parameters, tsih: 1, cmd_sn: 1, exp_stat_sn: 10, max_cmd_sn: window };
    let limits = Limits {
        queue_depth: 64,
        ping_interval: Duration::from_secs(5),
        ping_timeout: Duration::from_secs(5),
    };
    Session::new(login, limits, NOW)
}

fn session() -> Session {
    session_with(Parameters::default(), 32)
}

/// What the session sends now.
fn sent(session: &mut Session) -> Vec<Pdu> {
    let digests = session.parameters().digests;
    let mut bytes = BytesMut::from(&session.outbox().take_all()[..]);
    let limits = FrameLimits { max_data_segment: 1 << 24, max_ahs: 0 };
    let mut pdus = Vec::new();
    while let Decoded::Pdu(raw) = frame::decode(&mut bytes, limits, digests).unwrap() {
        pdus.push(Pdu::parse(&raw).unwrap());
    }
    assert!(bytes.is_empty());
    pdus
}

fn give(session: &mut Session, pdu: impl Into<Pdu>) -> Result<(), ProtocolError> {
    let digests = session.parameters().digests;
    let mut out = Outbox::new();
    pdu.into().push_to(&mut out, digests);
    session.handle_input(NOW, &mut BytesMut::from(&out.take_all()[..]))
}

fn read(length: u32) -> Request {
    Request { lun: Lun::ZERO, cdb: [0x28; 16], data: Transfer::In(length) }
}

fn write(length: usize) -> Request {
    let data: Vec<u8> = (0..length).map(|i| i as u8).collect();
    Request { lun: Lun::ZERO, cdb: [0x2a; 16], data: Transfer::Out(data.into()) }
}

fn itt(pdus: &[Pdu]) -> u32 {
    match &pdus[0] {
        Pdu::ScsiCommand(c) => c.itt,
        other => panic!("a command was expected, not {other:?}"),
    }
}

fn data_in(itt: u32, data_sn: u32, offset: u32, data: &[u8]) -> DataIn {
    DataIn {
        last: false,
        acknowledge: false,
        status: None,
        lun: Lun::ZERO,
        itt,
        ttt: RESERVED_TAG,
        exp_cmd_sn: 2,
        max_cmd_sn: 33,
        data_sn,
        offset,
        data: Bytes::copy_from_slice(data),
    }
}

fn good(itt: u32, stat_sn: u32) -> ScsiResponse {
    ScsiResponse {
        response: ResponseCode::COMPLETED,
        status: Status::GOOD,
        residual: Residual::None,
        itt,
        snack_tag: 0,
        stat_sn,
        exp_cmd_sn: 2,
        max_cmd_sn: 33,
        exp_data_sn: 0,
        sense: Bytes::new(),
        response_data: Bytes::new(),
    }
}

fn r2t(itt: u32, r2t_sn: u32, offset: u32, length: u32) -> R2t {
    R2t { lun: Lun::ZERO, itt, ttt: 7, stat_sn: 10, exp_cmd_sn: 2, max_cmd_sn: 33, r2t_sn, offset, length }
}

#[test]
fn a_read_is_put_together() {
    let mut s = session();
    s.submit(5, read(8));
    let itt = itt(&sent(&mut s));
    give(&mut s, data_in(itt, 0, 0, b"abcd")).unwrap();
    let mut last = data_in(itt, 1, 4, b"efgh");
    last.last = true;
    last.status = Some(DataInStatus { status: Status::GOOD, stat_sn: 10, residual: Residual::None });
    give(&mut s, last).unwrap();
    let Some(Event::Command(5, CommandEnd::Completed(done))) = s.poll_event() else { panic!() };
    assert_eq!(done.data.concat(), b"abcdefgh");
    assert_eq!(s.busy(), 0);
}

#[test]
fn a_write_follows_r2ts() {
    let p = Parameters {
        immediate_data: true,
        initial_r2t: false,
        first_burst: 1024,
        send_data_segment: 512,
        max_burst: 2048,
        max_outstanding_r2t: 2,
        ..Parameters::default()
    };
    let mut s = session_with(p, 32);
    s.submit(1, write(3000));
    let first = sent(&mut s);
    let tag = itt(&first);
    let show = |pdus: &[Pdu]| {
        pdus.iter()
            .map(|p| match p {
                Pdu::ScsiCommand(c) => format!("command F={} immediate {}", c.last, c.data.len()),
                Pdu::DataOut(d) => {
                    format!(
                        "data-out F={} ttt={:x} sn={} at {} len {}",
                        d.last,
                        d.ttt,
                        d.data_sn,
                        d.offset,
                        d.data.len()
                    )
                }
                other => format!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        show(&first),
        ["command F=false immediate 512", "data-out F=true ttt=ffffffff sn=0 at 512 len 512"]
    );
    give(&mut s, r2t(tag, 0, 1024, 1000)).unwrap();
    give(&mut s, r2t(tag, 1, 2024, 976)).unwrap();
    assert_eq!(
        show(&sent(&mut s)),
        [
            "data-out F=false ttt=7 sn=0 at 1024 len 512",
            "data-out F=true ttt=7 sn=1 at 1536 len 488",
            "data-out F=false ttt=7 sn=0 at 2024 len 512",
            "data-out F=true ttt=7 sn=1 at 2536 len 464"
        ]
    );
    give(&mut s, good(tag, 10)).unwrap();
    assert!(matches!(s.poll_event(), Some(Event::Command(1, CommandEnd::Completed(_)))));
}

#[test]
fn the_window_holds_commands_back() {
    let mut s = session_with(Parameters::default(), 2);
    for ticket in 0..5 {
        s.submit(ticket, read(0));
    }
    let first = sent(&mut s);
    assert_eq!(first.len(), 2);
    let tag = itt(&first);
    // MaxCmdSN that goes back, or that contradicts ExpCmdSN, changes nothing.
    let pong = |exp_cmd_sn, max_cmd_sn| NopIn {
        lun: Lun::ZERO,
        itt: RESERVED_TAG,
        ttt: RESERVED_TAG,
        stat_sn: 10,
        exp_cmd_sn,
        max_cmd_sn,
        data: Bytes::new(),
    };
    give(&mut s, pong(1, 1)).unwrap();
    give(&mut s, pong(9, 3)).unwrap();
    assert_eq!(sent(&mut s).len(), 0);
    give(&mut s, pong(3, 4)).unwrap();
    assert_eq!(sent(&mut s).len(), 2);
    assert!(s.withdraw(4) && !s.withdraw(0));
    assert_eq!(s.poll_event(), Some(Event::Command(4, CommandEnd::Withdrawn)));
    let mut done = good(tag, 10);
    done.max_cmd_sn = 200;
    give(&mut s, done).unwrap();
    s.submit(9, read(0));
    assert_eq!(sent(&mut s).len(), 1);
}

#[test]
fn pings_both_ways() {
    let mut s = session();
    let ask = NopIn {
        lun: Lun::ZERO,
        itt: RESERVED_TAG,
        ttt: 77,
        stat_sn: 10,
        exp_cmd_sn: 1,
        max_cmd_sn: 32,
        data: Bytes::from_static(b"echo"),
    };
    give(&mut s, ask).unwrap();
    let Pdu::NopOut(answer) = &sent(&mut s)[0] else { panic!() };
    assert_eq!((answer.itt, answer.ttt, &answer.data[..]), (RESERVED_TAG, 77, &b"echo"[..]));
    s.handle_timeout(NOW + Duration::from_secs(4)).unwrap();
    assert!(sent(&mut s).is_empty());
    let at = s.next_timeout();
    s.handle_timeout(at).unwrap();
    let Pdu::NopOut(ping) = &sent(&mut s)[0] else { panic!() };
    assert!(ping.immediate && ping.itt != RESERVED_TAG && ping.ttt == RESERVED_TAG);
    let pong = NopIn {
        lun: Lun::ZERO,
        itt: ping.itt,
        ttt: RESERVED_TAG,
        stat_sn: 10,
        exp_cmd_sn: 1,
        max_cmd_sn: 32,
        data: Bytes::new(),
    };
    give(&mut s, pong.clone()).unwrap();
    let at = s.next_timeout();
    s.handle_timeout(at).unwrap();
    assert_eq!(s.handle_timeout(s.next_timeout()), Err(ProtocolError::PingTimeout));
    // The same answer twice names a task that is not open.
    assert!(matches!(give(&mut s, NopIn { stat_sn: 11, ..pong }), Err(ProtocolError::UnknownTask(_))));
}

#[test]
fn residuals_must_be_exact() {
    let table = [
        (Residual::None, 8, true),
        (Residual::None, 7, false),
        (Residual::Underflow(1), 7, true),
        (Residual::Underflow(2), 7, false),
        (Residual::Underflow(9), 0, false),
        (Residual::Overflow(5), 8, true),
        (Residual::Overflow(5), 4, false),
    ];
    for (residual, received, right) in table {
        let mut s = session();
        s.submit(1, read(8));
        let tag = itt(&sent(&mut s));
        let mut data = data_in(tag, 0, 0, &[1; 8][..received]);
        data.last = true;
        give(&mut s, data).unwrap();
        give(&mut s, ScsiResponse { residual, ..good(tag, 10) }).unwrap();
        let event = s.poll_event().unwrap();
        assert_eq!(
            matches!(event, Event::Command(1, CommandEnd::Completed(_))),
            right,
            "{residual:?} {received}: {event:?}"
        );
    }
}

#[test]
fn sense_is_read() {
    let mut s = session();
    s.submit(1, write(4));
    let tag = itt(&sent(&mut s));
    let sense = Sense::new(SenseKey::UNIT_ATTENTION, Asc::POWER_ON_RESET);
    let answer = ScsiResponse {
        status: Status::CHECK_CONDITION,
        sense: Bytes::copy_from_slice(&sense.build_fixed()),
        ..good(tag, 10)
    };
    give(&mut s, answer).unwrap();
    let Some(Event::Command(1, CommandEnd::Completed(done))) = s.poll_event() else { panic!() };
    assert_eq!(done.sense, Some(sense));
}

/// Every break of the rules ends the session with its own error.
#[test]
fn broken_rules() {
    type Break = fn(&mut Session, u32) -> Result<(), ProtocolError>;
    let cases: &[(&str, Break)] = &[
        ("StatSN skipped", |s, t| give(s, good(t, 11))),
        ("StatSN repeated", |s, t| give(s, good(t, 9))),
        ("unknown task", |s, t| give(s, good(t + 9, 10))),
        ("DataSN skipped", |s, t| give(s, data_in(t, 1, 0, b"x"))),
        ("offset skipped", |s, t| give(s, data_in(t, 0, 1, b"x"))),
        ("too much data", |s, t| give(s, data_in(t, 0, 0, &[0; 9]))),
        ("R2T for a read", |s, t| give(s, r2t(t, 0, 0, 1))),
        ("Data-In PDUs missing", |s, t| give(s, ScsiResponse { exp_data_sn: 1, ..good(t, 10) })),
        ("status without F", |s, t| {
            let status = Some(DataInStatus { status: Status::GOOD, stat_sn: 10, residual: Residual::None });
            give(s, DataIn { status, ..data_in(t, 0, 0, &[0; 8]) })
        }),
        ("CHECK CONDITION in Data-In", |s, t| {
            let status =
                Some(DataInStatus { status: Status::CHECK_CONDITION, stat_sn: 10, residual: Residual::None });
            give(s, DataIn { status, last: true, ..data_in(t, 0, 0, &[0; 8]) })
        }),
        ("SCSI Command from a target", |s, _| {
            let mut out = session();
            out.submit(1, read(1));
            let bytes = out.outbox().take_all();
            s.handle_input(NOW, &mut BytesMut::from(&bytes[..]))
        }),
        ("login response", |s, t| {
            let stages = Stages { continues: false, current: Stage::Operational, next: None };
            let status = LoginStatus::SUCCESS;
            let text = Bytes::new();
            give(
                s,
                LoginResponse {
                    stages,
                    version_max: 0,
                    version_active: 0,
                    isid: [0; 6],
                    tsih: 0,
                    itt: t,
                    stat_sn: 10,
                    exp_cmd_sn: 1,
                    max_cmd_sn: 1,
                    status,
                    text,
                },
            )
        }),
        ("task management response for a command", |s, t| {
            let response = TaskResponse::COMPLETE;
            give(s, TaskManagementResponse { response, itt: t, stat_sn: 10, exp_cmd_sn: 1, max_cmd_sn: 32 })
        }),
        ("reject of nothing", |s, _| {
            let reason = RejectReason::PROTOCOL_ERROR;
            let header = Bytes::new();
            give(s, Reject { reason, stat_sn: 10, exp_cmd_sn: 1, max_cmd_sn: 32, data_sn: 0, header })
        }),
        ("unknown opcode", |s, _| {
            let mut header = [0; 48];
            header[0] = 0x3e;
            s.handle_input(NOW, &mut BytesMut::from(&header[..]))
        }),
        ("long data segment", |s, _| {
            let mut header = [0; 48];
            header[0] = 0x20;
            header[5..8].copy_from_slice(&[0xff; 3]);
            s.handle_input(NOW, &mut BytesMut::from(&header[..]))
        }),
    ];
    let mut lines = Vec::new();
    for (name, act) in cases {
        let mut s = session();
        s.submit(1, read(8));
        let tag = itt(&sent(&mut s));
        let error = act(&mut s, tag).expect_err(name);
        lines.push(format!("{name}: {error}"));
        // Found by fuzzing: the task that a wrong PDU named was forgotten, and nobody heard of its end.
        s.end();
        let ends =
            std::iter::from_fn(|| s.poll_event()).filter(|e| matches!(e, Event::Command(1, _))).count();
        assert_eq!(ends, 1, "after: {name}");
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn digests_are_verified() {
    let digests = Digests { header: true, data: true };
    let mut good_ones = 0;
    let mut out = Outbox::new();
    Pdu::from(data_in(1, 0, 0, b"abcde")).push_to(&mut out, digests);
    let whole = out.take_all();
    for flip in 0..=whole.len() {
        let mut s = session_with(Parameters { digests, ..Parameters::default() }, 32);
        s.submit(1, read(8));
        assert_eq!(itt(&sent(&mut s)), 1);
        let mut bytes = BytesMut::from(&whole[..]);
        if let Some(byte) = bytes.get_mut(flip) {
            *byte ^= 0x40;
        }
        match s.handle_input(NOW, &mut bytes) {
            Ok(()) => good_ones += 1,
            Err(error) => {
                assert!(
                    matches!(error, ProtocolError::DataDigest | ProtocolError::Stream(_)),
                    "byte {flip}: {error}"
                );
            }
        }
    }
    assert_eq!(good_ones, 1, "only the untouched PDU passes, padding included");
}

#[test]
fn task_management_ends_the_right_tasks() {
    let mut s = session();
    s.submit(1, read(8));
    s.submit(2, read(8));
    s.submit(3, Request { lun: Lun::from_number(5).unwrap(), ..read(8) });
    let tags: Vec<u32> = sent(&mut s).iter().map(|p| itt(std::slice::from_ref(p))).collect();
    assert!(s.abort(50, 1) && !s.abort(51, 9));
    let Pdu::TaskManagementRequest(abort) = &sent(&mut s)[0] else { panic!() };
    assert_eq!((abort.referenced_itt, abort.ref_cmd_sn, abort.cmd_sn), (tags[0], 1, 4));
    let answer = |itt, stat_sn, response| TaskManagementResponse {
        response,
        itt,
        stat_sn,
        exp_cmd_sn: 4,
        max_cmd_sn: 40,
    };
    give(&mut s, answer(abort.itt, 10, TaskResponse::COMPLETE)).unwrap();
    assert_eq!(s.poll_event(), Some(Event::Command(1, CommandEnd::Aborted)));
    assert_eq!(s.poll_event(), Some(Event::Managed(50, TaskResponse::COMPLETE)));
    s.reset_lun(60, Lun::ZERO);
    let Pdu::TaskManagementRequest(reset) = &sent(&mut s)[0] else { panic!() };
    give(&mut s, answer(reset.itt, 11, TaskResponse::COMPLETE)).unwrap();
    assert_eq!(s.poll_event(), Some(Event::Command(2, CommandEnd::Aborted)));
    assert_eq!(s.poll_event(), Some(Event::Managed(60, TaskResponse::COMPLETE)));
    assert_eq!(s.poll_event(), None, "the task of another LUN goes on");
    assert_eq!(s.busy(), 1);
    // An abort that is answered with "no such task" leaves the command open.
    assert!(s.abort(70, 3));
    let Pdu::TaskManagementRequest(abort) = &sent(&mut s)[0] else { panic!() };
    give(&mut s, answer(abort.itt, 12, TaskResponse::NO_SUCH_TASK)).unwrap();
    assert_eq!(s.poll_event(), Some(Event::Managed(70, TaskResponse::NO_SUCH_TASK)));
    assert_eq!(s.busy(), 1);
}

#[test]
fn rejects_logout_and_announcements() {
    let mut s = session();
    s.submit(1, read(8));
    let command = sent(&mut s).remove(0);
    let header = Bytes::copy_from_slice(&command.emit().bhs.0);
    let reject = |reason, stat_sn| Reject {
        reason,
        stat_sn,
        exp_cmd_sn: 2,
        max_cmd_sn: 33,
        data_sn: 0,
        header: header.clone(),
    };
    give(&mut s, reject(RejectReason::DATA_DIGEST, 10)).unwrap();
    assert_eq!(s.poll_event(), None);
    give(&mut s, reject(RejectReason::NOT_SUPPORTED, 11)).unwrap();
    assert!(matches!(s.poll_event(), Some(Event::Command(1, CommandEnd::Failed(_)))));
    let note = AsyncMessage {
        lun: Lun::ZERO,
        stat_sn: 12,
        exp_cmd_sn: 2,
        max_cmd_sn: 33,
        event: AsyncEvent::LOGOUT_REQUESTED,
        vendor_code: 0,
        parameters: [0, 0, 5],
        data: Bytes::new(),
    };
    give(&mut s, note).unwrap();
    assert_eq!(s.poll_event(), Some(Event::Announced(Announcement::LogoutRequested)));
    s.logout();
    s.logout();
    s.submit(2, read(8));
    let out = sent(&mut s);
    assert_eq!(out.len(), 1, "one logout, and nothing after it");
    assert_eq!(s.poll_event(), Some(Event::Command(2, CommandEnd::Withdrawn)));
    let Pdu::LogoutRequest(logout) = &out[0] else { panic!() };
    let answer = LogoutResponse {
        response: LogoutResponseCode::SUCCESS,
        itt: logout.itt,
        stat_sn: 13,
        exp_cmd_sn: 2,
        max_cmd_sn: 33,
        time2wait: 0,
        time2retain: 0,
    };
    give(&mut s, answer).unwrap();
    assert_eq!(
        s.poll_event(),
        Some(Event::LoggedOut { response: LogoutResponseCode::SUCCESS, wait: Duration::ZERO })
    );
    assert!(matches!(
        give(&mut s, reject(RejectReason::PROTOCOL_ERROR, 14)),
        Err(ProtocolError::Rejected(_))
    ));
}

#[test]
fn text_goes_on_within_bounds() {
    let mut s = session();
    s.text(3, Bytes::from_static(b"SendTargets=All\0"));
    let Pdu::TextRequest(ask) = sent(&mut s).remove(0) else { panic!() };
    let answer = |stat_sn, last: bool, text: Vec<u8>| TextResponse {
        last,
        continues: !last,
        lun: Lun::ZERO,
        itt: ask.itt,
        ttt: if last { RESERVED_TAG } else { 4 },
        stat_sn,
        exp_cmd_sn: 1,
        max_cmd_sn: 32,
        text: text.into(),
    };
    give(&mut s, answer(10, false, b"TargetName=".to_vec())).unwrap();
    let Pdu::TextRequest(more) = sent(&mut s).remove(0) else { panic!() };
    assert_eq!((more.ttt, more.itt, more.text.len()), (4, ask.itt, 0));
    give(&mut s, answer(11, true, b"x\0".to_vec())).unwrap();
    assert_eq!(s.poll_event(), Some(Event::Text(3, Bytes::from_static(b"TargetName=x\0"))));
    // Without end it is cut off.
    let mut s = session();
    s.text(3, Bytes::new());
    let mut result = Ok(());
    for n in 0..10_000 {
        result = give(&mut s, answer(10 + n, false, vec![b'x'; 8192]));
        if result.is_err() {
            break;
        }
    }
    assert!(matches!(result, Err(ProtocolError::Limit(_))));
}

/// Reads on into 13.17 only what is certain: an R2T is outstanding as long as no byte of its answer can have arrived.
#[test]
fn outstanding_r2ts_are_counted() {
    let p = Parameters {
        initial_r2t: true,
        immediate_data: false,
        max_outstanding_r2t: 1,
        ..Parameters::default()
    };
    let mut s = session_with(p.clone(), 32);
    s.submit(1, write(3000));
    let tag = itt(&sent(&mut s));
    give(&mut s, r2t(tag, 0, 0, 1000)).unwrap();
    assert_eq!(sent(&mut s).len(), 1);
    give(&mut s, r2t(tag, 1, 1000, 1000)).unwrap();
    let error = give(&mut s, r2t(tag, 2, 2000, 1000)).unwrap_err();
    assert_eq!(error.section(), "13.17");
}

#[test]
fn long_sequences_are_tolerated_and_counted() {
    let mut s = session_with(Parameters { max_burst: 512, ..Parameters::default() }, 32);
    s.submit(1, read(2048));
    let tag = itt(&sent(&mut s));
    for n in 0..4 {
        let acknowledge = n == 0;
        give(&mut s, DataIn { acknowledge, ..data_in(tag, n, n * 512, &[7; 512]) }).unwrap();
    }
    give(&mut s, good(tag, 10)).unwrap();
    assert!(matches!(s.poll_event(), Some(Event::Command(1, CommandEnd::Completed(_)))));
    assert_eq!(s.tolerated().count(Tolerance::LongDataIn), 3);
    assert_eq!(s.tolerated().iter().map(|(t, _)| t.section()).collect::<Vec<_>>(), ["13.13", "11.7.2"]);
}

#[test]
fn late_answers_of_aborted_tasks_are_dropped() {
    let mut s = session();
    s.submit(1, read(8));
    let tag = itt(&sent(&mut s));
    assert!(s.abort(2, 1));
    let Pdu::TaskManagementRequest(abort) = sent(&mut s).remove(0) else { panic!() };
    let response = TaskResponse::COMPLETE;
    give(
        &mut s,
        TaskManagementResponse { response, itt: abort.itt, stat_sn: 10, exp_cmd_sn: 2, max_cmd_sn: 33 },
    )
    .unwrap();
    assert_eq!(s.poll_event(), Some(Event::Command(1, CommandEnd::Aborted)));
    assert_eq!(s.poll_event(), Some(Event::Managed(2, TaskResponse::COMPLETE)));
    // The next command gets another tag; what still comes for the old one meets nobody.
    s.submit(3, read(8));
    assert_ne!(itt(&sent(&mut s)), tag);
    give(&mut s, data_in(tag, 0, 0, b"stale")).unwrap();
    give(&mut s, r2t(tag, 0, 0, 8)).unwrap();
    give(&mut s, good(tag, 11)).unwrap();
    assert_eq!((s.poll_event(), s.busy()), (None, 1));
    assert_eq!(s.tolerated().count(Tolerance::LateAnswer), 3);
    // A tag that was never used is another matter.
    assert!(matches!(give(&mut s, good(tag + 40, 12)), Err(ProtocolError::UnknownTask(_))));
}

/// What the end of the connection means for a command depends on whether any byte of it has left.
#[test]
fn commands_that_never_left_are_withdrawn() {
    let mut s = session_with(Parameters::default(), 3);
    for ticket in 1..=5 {
        s.submit(ticket, write(1000));
    }
    let whole = s.outbox().len();
    // The first has left, the second in part.
    bytes::Buf::advance(s.outbox(), whole / 3 + 1);
    s.end();
    let mut ends = std::collections::BTreeMap::new();
    while let Some(Event::Command(ticket, end)) = s.poll_event() {
        ends.insert(ticket, end);
    }
    use CommandEnd::{Lost, Withdrawn};
    assert_eq!(ends.into_values().collect::<Vec<_>>(), [Lost, Lost, Withdrawn, Withdrawn, Withdrawn]);
    s.submit(6, read(1));
    assert_eq!(s.poll_event(), Some(Event::Command(6, Withdrawn)));
}

#[test]
fn task_set_full_lowers_the_depth_and_success_raises_it() {
    let mut s = session_with(Parameters::default(), 1000);
    for ticket in 0..64 {
        s.submit(ticket, write(1));
    }
    let tags: Vec<u32> = sent(&mut s).iter().map(|p| itt(std::slice::from_ref(p))).collect();
    assert_eq!((tags.len(), s.depth()), (64, 64));
    let full = ScsiResponse { status: Status::TASK_SET_FULL, ..good(tags[0], 10) };
    give(&mut s, full).unwrap();
    assert_eq!(s.depth(), 32);
    s.submit(100, write(1));
    assert!(sent(&mut s).is_empty(), "62 are open, 32 may be");
    for (n, tag) in (11..).zip(&tags[1..]) {
        give(&mut s, good(*tag, n)).unwrap();
    }
    assert_eq!(sent(&mut s).len(), 1);
    assert_eq!(s.depth(), 33);
}

#[test]
fn a_logout_that_was_asked_for_waits_for_open_commands_but_not_for_ever() {
    let ask = AsyncMessage {
        lun: Lun::ZERO,
        stat_sn: 10,
        exp_cmd_sn: 2,
        max_cmd_sn: 1,
        event: AsyncEvent::LOGOUT_REQUESTED,
        vendor_code: 0,
        parameters: [0, 0, 4],
        data: Bytes::new(),
    };
    for answered in [true, false] {
        let mut s = session_with(Parameters::default(), 1);
        s.submit(1, read(0));
        s.submit(2, read(0));
        let tag = itt(&sent(&mut s));
        give(&mut s, ask.clone()).unwrap();
        assert_eq!(s.poll_event(), Some(Event::Command(2, CommandEnd::Withdrawn)));
        assert_eq!(s.poll_event(), Some(Event::Announced(Announcement::LogoutRequested)));
        assert!(sent(&mut s).is_empty());
        if answered {
            give(&mut s, good(tag, 11)).unwrap();
        } else {
            assert_eq!(s.next_timeout(), NOW + Duration::from_secs(3));
            s.handle_timeout(NOW + Duration::from_secs(3)).unwrap();
        }
        assert!(matches!(sent(&mut s)[..], [Pdu::LogoutRequest(_)]), "answered {answered}");
    }
}

#[test]
fn parameters_can_be_told_anew() {
    let mut s = session();
    let ask = AsyncMessage {
        lun: Lun::ZERO,
        stat_sn: 10,
        exp_cmd_sn: 1,
        max_cmd_sn: 32,
        event: AsyncEvent::NEGOTIATION_REQUESTED,
        vendor_code: 0,
        parameters: [0, 0, 3],
        data: Bytes::new(),
    };
    give(&mut s, ask.clone()).unwrap();
    give(&mut s, AsyncMessage { stat_sn: 11, ..ask }).unwrap();
    let out = sent(&mut s);
    let [Pdu::TextRequest(request)] = &out[..] else { panic!("one negotiation at a time, not {out:?}") };
    let answer = |stat_sn, last, text: &'static [u8]| TextResponse {
        last,
        continues: false,
        lun: Lun::ZERO,
        itt: request.itt,
        ttt: if last { RESERVED_TAG } else { 9 },
        stat_sn,
        exp_cmd_sn: 1,
        max_cmd_sn: 32,
        text: Bytes::from_static(text),
    };
    give(&mut s, answer(12, false, b"MaxRecvDataSegmentLength=1024\0MaxBurstLength=512\0X-new=1\0")).unwrap();
    let Pdu::TextRequest(more) = sent(&mut s).remove(0) else { panic!() };
    assert_eq!(&more.text[..], b"MaxBurstLength=Reject\0X-new=NotUnderstood\0");
    give(&mut s, answer(13, true, b"")).unwrap();
    assert_eq!(s.parameters().send_data_segment, 1024);
    for bad in [&b"MaxRecvDataSegmentLength=1\0"[..], b"MaxRecvDataSegmentLength"] {
        let mut s = session();
        let event = AsyncEvent::NEGOTIATION_REQUESTED;
        let (vendor_code, parameters, data) = (0, [0; 3], Bytes::new());
        let (lun, stat_sn, exp_cmd_sn, max_cmd_sn) = (Lun::ZERO, 10, 1, 32);
        give(
            &mut s,
            AsyncMessage { lun, stat_sn, exp_cmd_sn, max_cmd_sn, event, vendor_code, parameters, data },
        )
        .unwrap();
        let Pdu::TextRequest(r) = sent(&mut s).remove(0) else { panic!() };
        let text = Bytes::copy_from_slice(bad);
        assert!(give(&mut s, TextResponse { itt: r.itt, text, ..answer(11, true, b"") }).is_err());
    }
}

#[test]
fn ended_tasks_are_acknowledged() {
    let mut s = session();
    let lun = Lun::from_number(5).unwrap();
    s.submit(1, Request { lun, ..read(8) });
    s.submit(2, read(8));
    let _ = sent(&mut s);
    let event = AsyncEvent::TASKS_TERMINATED;
    let (vendor_code, parameters, data) = (0, [0; 3], Bytes::new());
    give(
        &mut s,
        AsyncMessage {
            lun,
            stat_sn: 10,
            exp_cmd_sn: 3,
            max_cmd_sn: 33,
            event,
            vendor_code,
            parameters,
            data,
        },
    )
    .unwrap();
    assert_eq!(s.poll_event(), Some(Event::Command(1, CommandEnd::Aborted)));
    let out = sent(&mut s);
    let [Pdu::NopOut(nop)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((nop.itt, nop.ttt, nop.lun, nop.exp_stat_sn), (RESERVED_TAG, RESERVED_TAG, lun, 11));
    assert_eq!(s.busy(), 1);
}
