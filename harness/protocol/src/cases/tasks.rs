//! Task management.

use std::time::Duration;

use bytes::Bytes;
use sanbench_wire::Pdu;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::pdu::{TaskFunction, TaskResponse};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::status::Status;

use super::{cases, pattern};
use crate::cdb;
use crate::lab::{Lab, settle};
use crate::outcome::{Checked, fail, must, not_claimed};
use crate::raw::{Client, Cmd, End};

cases! {
    unknown_task "abort-unknown-task" ["ISC-012"] "ABORT TASK of a task that is not there says so";
    ended_task "abort-ended-task" ["ISC-012"] "ABORT TASK of a task that has ended says so and changes nothing";
    in_flight "abort-write" ["ISC-013" "ISC-012"] "An aborted write is not applied when its data come late";
    rewrite "abort-then-rewrite" ["ISC-013"] "An aborted write never overtakes a later one";
    not_others "abort-only-one" ["ISC-012"] "ABORT TASK leaves other tasks alone";
    late_commands "abort-before-arrival" ["ISC-012" "ISC-007"] "Commands aborted before they came use up their numbers and nothing else";
    task_set "abort-task-set" ["ISC-012" "ISC-013"] "ABORT TASK SET ends all tasks of the nexus and no others";
    clear_set "clear-task-set" ["ISC-012"] "CLEAR TASK SET ends the tasks of all nexuses and tells them";
    unit_reset "lun-reset" ["ISC-012" "MPX-011"] "LOGICAL UNIT RESET ends the tasks of all nexuses, and each hears of it once";
    unit_reset_queue "lun-reset-deep-queue" ["MPX-011" "ISC-008"] "Numbers stay right when a reset meets a full queue";
    unknown_lun "lun-reset-unknown" ["ISC-012"] "A function on a LUN that does not exist says so";
    reassign "task-reassign" ["ISC-012"] "TASK REASSIGN is not supported at error recovery level 0";
    clear_aca "clear-aca" ["ISC-012"] "CLEAR ACA is answered";
    unknown_function "function-unknown" ["ISC-012" "ISC-017"] "An unknown function is refused";
    unread "unread-answers" ["ISC-024"] "A peer that takes no answers, but goes on talking, keeps nobody out for ever";
    warm_reset "target-warm-reset" ["ISC-012"] "TARGET WARM RESET is done or refused, and the session lives";
}

const KEYS: [(&str, &str); 2] = [("InitialR2T", "Yes"), ("ImmediateData", "No")];
const AT: u64 = 7000;
/// Within this time a target must have given a peer up that takes nothing.
const GIVEN_UP: Duration = Duration::from_secs(80);
/// How often that peer says something.
const PAUSE: Duration = Duration::from_secs(5);

async fn waiting(c: &mut Client, lba: u64, fill: u8) -> Checked<(u32, u32, sanbench_wire::pdu::R2t)> {
    let sn = c.cmd_sn;
    let itt = c.start(&Cmd::write(cdb::write(lba, 8), vec![fill; 4096]).held()).await;
    let r2t = c.r2t_of(itt).await?;
    Ok((itt, sn, r2t))
}

async fn fill(c: &mut Client, lba: u64, with: u8) -> Checked {
    c.good(&Cmd::write(cdb::write(lba, 8), vec![with; 4096]), "SBC-3 5.32").await.map(drop)
}

async fn holds(c: &mut Client, lba: u64, with: u8, clause: &str, what: &str) -> Checked {
    let seen = c.good(&Cmd::read(cdb::read(lba, 8), 4096), "SBC-3 5.11").await?;
    let other = seen.iter().find(|b| **b != with);
    must!(other.is_none(), clause, what, "{:02x} instead of {with:02x}", other.copied().unwrap_or(0));
    Ok(())
}

async fn unknown_task(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let (lun, sn) = (lab.lun(0)?, c.cmd_sn.wrapping_sub(1));
    let p = c.manage(TaskFunction::ABORT_TASK, lun, 0x0123_4567, sn).await?;
    must!(
        matches!(p.response, TaskResponse::NO_SUCH_TASK | TaskResponse::COMPLETE),
        "RFC 7143 11.6.1",
        "task does not exist",
        "{}",
        p.response
    );
    c.bye().await
}

async fn ended_task(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let sn = c.cmd_sn;
    let cmd = Cmd::write(cdb::write(AT, 8), vec![0x61; 4096]);
    let itt = c.start(&cmd).await;
    let answer = c.finish(itt).await?;
    must!(answer.good(), "SBC-3 5.32", "GOOD", "{}", answer.words());
    let p = c.manage(TaskFunction::ABORT_TASK, c.lun, itt, sn).await?;
    must!(
        p.response == TaskResponse::NO_SUCH_TASK,
        "RFC 7143 11.6.1",
        "task does not exist",
        "{}",
        p.response
    );
    holds(&mut c, AT, 0x61, "SAM-5 7.2", "the write that had ended to stay").await?;
    c.bye().await
}

async fn in_flight(lab: &Lab) -> Checked {
    let mut c = lab.with_keys(&KEYS).await?;
    fill(&mut c, AT, 0x62).await?;
    let (itt, sn, r2t) = waiting(&mut c, AT, 0x63).await?;
    let p = c.manage(TaskFunction::ABORT_TASK, c.lun, itt, sn).await?;
    must!(p.response == TaskResponse::COMPLETE, "RFC 7143 11.6.1", "function complete", "{}", p.response);
    let lun = c.lun;
    c.serve(&r2t, &Bytes::from(vec![0x63; 4096]), lun).await;
    // A Reject of the late data is fine, an answer to the aborted write is not.
    let end = c.end_within(itt, lab.quiet()).await?;
    must!(
        !matches!(&end, End::Answer(a) if a.good()),
        "SAM-5 7.2",
        "no response to an aborted write",
        "{}",
        end.words()
    );
    let mut d = lab.session().await?;
    holds(&mut d, AT, 0x62, "RFC 7143 4.2.3.3", "the aborted write not to be applied").await?;
    d.bye().await
}

async fn rewrite(lab: &Lab) -> Checked {
    let mut c = lab.with_keys(&KEYS).await?;
    let mut d = lab.session().await?;
    fill(&mut c, AT, 0x64).await?;
    let (itt, sn, r2t) = waiting(&mut c, AT, 0x65).await?;
    c.manage(TaskFunction::ABORT_TASK, c.lun, itt, sn).await?;
    fill(&mut d, AT, 0x66).await?;
    let lun = c.lun;
    c.serve(&r2t, &Bytes::from(vec![0x65; 4096]), lun).await;
    lab.host(0)?.env.sleep(lab.quiet()).await;
    holds(&mut d, AT, 0x66, "RFC 7143 4.2.3.3", "the later write to stay").await?;
    d.bye().await
}

async fn not_others(lab: &Lab) -> Checked {
    let mut c = lab.with_keys(&KEYS).await?;
    fill(&mut c, AT, 0).await?;
    fill(&mut c, AT + 8, 0).await?;
    let (one, sn, _) = waiting(&mut c, AT, 0x67).await?;
    let (two, _, r2t) = waiting(&mut c, AT + 8, 0x68).await?;
    c.manage(TaskFunction::ABORT_TASK, c.lun, one, sn).await?;
    c.forget(one);
    let lun = c.lun;
    c.serve(&r2t, &Bytes::from(vec![0x68; 4096]), lun).await;
    let answer = c.finish(two).await?;
    must!(answer.good(), "SAM-5 7.2", "GOOD for the other write", "{}", answer.words());
    holds(&mut c, AT, 0, "SAM-5 7.2", "the aborted write not to be applied").await?;
    holds(&mut c, AT + 8, 0x68, "SAM-5 7.2", "the other write to be applied").await?;
    c.bye().await
}

/// A write of host 0 and one of host 1 (or a second session) wait for data; a function is called by the former.
async fn two_waiting(lab: &Lab, function: TaskFunction, others_end: bool) -> Checked {
    let mut c = lab.with_keys(&KEYS).await?;
    let mut d = lab.open(1, 0, |l| KEYS.iter().fold(l, |l, (k, v)| l.key(k, v))).await?;
    settle(&mut d).await?;
    fill(&mut c, AT, 0x70).await?;
    fill(&mut c, AT + 8, 0x70).await?;
    let (mine, _, r2t) = waiting(&mut c, AT, 0x71).await?;
    let (theirs, _, other) = waiting(&mut d, AT + 8, 0x72).await?;
    let p = c.manage(function, c.lun, RESERVED_TAG, 0).await?;
    if p.response == TaskResponse::NOT_SUPPORTED {
        return Err(crate::outcome::not_claimed(format!("{function} is not supported")));
    }
    must!(p.response == TaskResponse::COMPLETE, "RFC 7143 11.6.1", "function complete", "{}", p.response);
    let (lun, lun1) = (c.lun, d.lun);
    c.serve(&r2t, &Bytes::from(vec![0x71; 4096]), lun).await;
    c.end_within(mine, lab.quiet()).await?;
    d.serve(&other, &Bytes::from(vec![0x72; 4096]), lun1).await;
    let end = d.end_within(theirs, lab.quiet()).await?;
    if !others_end {
        must!(
            matches!(&end, End::Answer(a) if a.good()),
            "SAM-5 7.3",
            "the other nexus's write to go on",
            "{}",
            end.words()
        );
    } else {
        must!(
            !matches!(&end, End::Answer(a) if a.good()),
            "SAM-5 7.4",
            "the other nexus's write to have ended",
            "{}",
            end.words()
        );
    }
    let mut e = lab.session().await?;
    holds(&mut e, AT, 0x70, "SAM-5 7.3", "the caller's write not to be applied").await?;
    let wanted = if others_end { 0x70 } else { 0x72 };
    holds(&mut e, AT + 8, wanted, "SAM-5 7.3", "the fate of the other nexus's write to be right").await?;
    if others_end && d.is_open() {
        // The other nexus is told once.
        let first = d.run(&Cmd::none(cdb::test_unit_ready())).await?;
        must!(
            first.key(6) || first.good(),
            "SAM-5 5.14",
            "a unit attention for the other nexus",
            "{}",
            first.words()
        );
        settle(&mut d).await?;
    }
    Ok(())
}

async fn task_set(lab: &Lab) -> Checked {
    two_waiting(lab, TaskFunction::ABORT_TASK_SET, false).await
}

async fn clear_set(lab: &Lab) -> Checked {
    two_waiting(lab, TaskFunction::CLEAR_TASK_SET, true).await
}

async fn unit_reset(lab: &Lab) -> Checked {
    two_waiting(lab, TaskFunction::LOGICAL_UNIT_RESET, true).await?;
    let mut c = lab.session().await?;
    let mut d = lab.session_of(1, 0).await?;
    let p = c.manage(TaskFunction::LOGICAL_UNIT_RESET, c.lun, RESERVED_TAG, 0).await?;
    must!(p.response == TaskResponse::COMPLETE, "RFC 7143 11.6.1", "function complete", "{}", p.response);
    let first = d.run(&Cmd::none(cdb::test_unit_ready())).await?;
    must!(
        first.key(6) && first.sense.is_some_and(|s| s.asc.code() == 0x29),
        "SAM-5 6.3.3",
        "a unit attention 29h for the other nexus",
        "{}",
        first.words()
    );
    let second = d.run(&Cmd::none(cdb::test_unit_ready())).await?;
    must!(second.good(), "SAM-5 5.14", "the unit attention once", "{}", second.words());
    settle(&mut c).await?;
    c.bye().await?;
    d.bye().await
}

async fn unit_reset_queue(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let window = c.monitor.window_end().map_or(1, |max| max.wrapping_sub(c.cmd_sn).wrapping_add(1)).min(64);
    for n in 0..window {
        let data = pattern(n as u8, 512);
        c.start(&Cmd::write(cdb::write(AT + 64 + u64::from(n), 1), data)).await;
    }
    let p = c.manage(TaskFunction::LOGICAL_UNIT_RESET, c.lun, RESERVED_TAG, 0).await?;
    must!(p.response == TaskResponse::COMPLETE, "RFC 7143 11.6.1", "function complete", "{}", p.response);
    settle(&mut c).await?;
    c.alive("a reset with a full queue").await?;
    c.bye().await
}

async fn unknown_lun(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let lun = Lun::from_number(201).unwrap_or(Lun::ZERO);
    let p = c.manage(TaskFunction::LOGICAL_UNIT_RESET, lun, RESERVED_TAG, 0).await?;
    must!(p.response == TaskResponse::NO_SUCH_LUN, "RFC 7143 11.6.1", "LUN does not exist", "{}", p.response);
    c.good(&Cmd::none(cdb::test_unit_ready()), "SAM-5 6.3.3").await?;
    c.bye().await
}

async fn reassign(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let p = c.manage(TaskFunction::TASK_REASSIGN, c.lun, 0x0123_4567, 0).await?;
    must!(
        matches!(
            p.response,
            TaskResponse::REASSIGNMENT_NOT_SUPPORTED
                | TaskResponse::NOT_SUPPORTED
                | TaskResponse::NO_SUCH_TASK
        ),
        "RFC 7143 11.6.1",
        "task allegiance reassignment not supported",
        "{}",
        p.response
    );
    c.bye().await
}

async fn clear_aca(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let p = c.manage(TaskFunction::CLEAR_ACA, c.lun, RESERVED_TAG, 0).await?;
    must!(
        matches!(p.response, TaskResponse::COMPLETE | TaskResponse::NOT_SUPPORTED | TaskResponse::REJECTED),
        "RFC 7143 11.6.1",
        "complete, not supported or rejected",
        "{}",
        p.response
    );
    c.alive("CLEAR ACA").await?;
    c.bye().await
}

async fn unknown_function(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    c.ask_to_manage(TaskFunction(0x55), c.lun, RESERVED_TAG, 0).await;
    match c.next("a refusal of function 55h").await? {
        Pdu::TaskManagementResponse(p) => must!(
            matches!(p.response, TaskResponse::REJECTED | TaskResponse::NOT_SUPPORTED),
            "RFC 7143 11.6.1",
            "function rejected or not supported",
            "{}",
            p.response
        ),
        sanbench_wire::Pdu::Reject(_) => {}
        other => {
            let seen = crate::tape::describe(&other.emit());
            return Err(crate::outcome::fail("RFC 7143 11.6", "a refusal of function 55h", seen));
        }
    }
    c.alive("an unknown function").await?;
    c.bye().await
}

/// The process hangs, its host does not: nothing is read, and somebody goes on sending. What the nexus has reserved must not stay
/// with it, which others can see (SPC-2 clause 5.5.1: RESERVE ends with the nexus).
async fn unread(lab: &Lab) -> Checked {
    /// Bytes of one answer.
    const PART: usize = 256 << 10;
    let Some(window) = lab.setup.window else {
        return Err(not_claimed("how much a connection holds is not known here"));
    };
    let mut b = lab.session_of(1, 0).await?;
    let mut a = lab.session().await?;
    let r = a.run(&Cmd::none([0x16, 0, 0, 0, 0, 0])).await?;
    if r.unsupported() {
        return Err(not_claimed("RESERVE (6) is not offered"));
    }
    must!(r.good(), "SPC-2 7.21", "GOOD", "{}", r.words());
    // More than the connection holds, and less than the target may queue without hearing its peer any more.
    for _ in 0..window.div_ceil(PART) + 1 {
        a.start(&Cmd::read(cdb::read(0, (PART / 512) as u32), PART as u32)).await;
    }
    let tur = Cmd::none(cdb::test_unit_ready());
    let mut answer = b.run(&tur).await?;
    must!(
        answer.status == Status::RESERVATION_CONFLICT,
        "SPC-2 5.5.1",
        "RESERVATION CONFLICT while the holder is there",
        "{}",
        answer.words()
    );
    let env = &lab.host(0)?.env;
    let pauses = GIVEN_UP.as_secs() / PAUSE.as_secs();
    for _ in 0..pauses {
        env.sleep(PAUSE).await;
        a.sign_of_life().await;
        answer = b.run(&tur).await?;
        if answer.status != Status::RESERVATION_CONFLICT {
            settle(&mut b).await?;
            return b.bye().await;
        }
    }
    Err(fail("RFC 7143 7", format!("the end of that session within {GIVEN_UP:?}"), answer.words()))
}

async fn warm_reset(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let p = c.manage(TaskFunction::TARGET_WARM_RESET, Lun::ZERO, RESERVED_TAG, 0).await?;
    must!(
        matches!(
            p.response,
            TaskResponse::COMPLETE
                | TaskResponse::NOT_SUPPORTED
                | TaskResponse::NOT_AUTHORIZED
                | TaskResponse::REJECTED
        ),
        "RFC 7143 11.6.1",
        "complete, or a refusal",
        "{}",
        p.response
    );
    settle(&mut c).await?;
    c.bye().await
}

async fn late_commands(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    fill(&mut c, AT, 0x71).await?;
    // Two numbers whose commands are still on their way when the abort passes them.
    let (first, second) = (c.take_cmd_sn(), c.take_cmd_sn());
    c.ask_to_manage(TaskFunction::ABORT_TASK_SET, c.lun, RESERVED_TAG, 0).await;
    let mut late = Vec::new();
    for sn in [first, second] {
        let write = Cmd::write(cdb::write(AT, 8), vec![0x72; 4096]);
        late.push(c.start(&Cmd { cmd_sn: Some(sn), ..write }).await);
    }
    match c.next("the answer to ABORT TASK SET").await? {
        Pdu::TaskManagementResponse(p) => {
            must!(
                p.response == TaskResponse::COMPLETE,
                "RFC 7143 11.6.1",
                "function complete",
                "{}",
                p.response
            );
        }
        other => {
            let wanted = "the answer to ABORT TASK SET and none to what it aborted";
            return Err(crate::outcome::fail(
                "RFC 7143 4.2.3.3",
                wanted,
                crate::tape::describe(&other.emit()),
            ));
        }
    }
    late.into_iter().for_each(|itt| c.forget(itt));
    // The next number is served: those of the aborted commands count as received.
    c.good(&Cmd::none(cdb::test_unit_ready()), "RFC 7143 4.2.3.3").await?;
    holds(&mut c, AT, 0x71, "RFC 7143 4.2.3.3", "commands aborted before they came not to be applied")
        .await?;
    c.bye().await
}
