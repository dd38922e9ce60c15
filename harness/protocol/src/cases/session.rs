//! Full feature phase: numbering, pings, rejects, logout, segmentation, digests.

use bytes::Bytes;
use sanbench_wire::bhs::{Bhs, Opcode, RESERVED_TAG};
use sanbench_wire::pdu::{
    DataOut, LogoutReason, LogoutRequest, LogoutResponseCode, Snack, SnackType, TaskFunction,
};
use sanbench_wire::{Pdu, RawPdu};

use super::{cases, difference, pattern};
use crate::cdb;
use crate::lab::{Lab, settle};
use crate::outcome::{Checked, fail, must, not_claimed};
use crate::raw::{Client, Cmd, End, Got};
use crate::tape::describe;

cases! {
    too_high "cmdsn-too-high" ["ISC-007"] "A CmdSN above MaxCmdSN is ignored";
    too_low "cmdsn-too-low" ["ISC-007"] "A CmdSN below ExpCmdSN is ignored";
    gap "cmdsn-gap" ["ISC-007"] "A command after a gap waits until the gap is filled";
    immediate "cmdsn-immediate" ["ISC-007"] "Immediate commands are outside of the numbering";
    wraps "cmdsn-wraps" ["ISC-007" "ISC-008"] "CmdSN wraps round";
    each_kind "statsn-each-kind" ["ISC-008"] "Every kind of response takes the next StatSN";
    deep_queue "statsn-deep-queue" ["ISC-007" "ISC-008"] "A full window of commands keeps its numbers";
    echo "nop-echo" ["ISC-011"] "A ping comes back with its data";
    echo_cut "nop-echo-segment" ["ISC-011" "ISC-005"] "The echo keeps to the declared segment length";
    no_reply "nop-without-tag" ["ISC-011"] "A NOP-Out with the reserved task tag gets no answer";
    unknown_opcode "reject-unknown-opcode" ["ISC-017"] "An unknown opcode is rejected";
    target_opcode "reject-target-opcode" ["ISC-017"] "An opcode of targets is rejected";
    stray_data "reject-stray-data-out" ["ISC-017" "ISC-009"] "Data-Out without a task does no harm";
    login_again "reject-login-again" ["ISC-017" "ISC-001"] "A Login Request in full feature phase is refused";
    snack "reject-snack" ["ISC-017"] "SNACK at error recovery level 0 is rejected";
    logout_session "logout-session" ["ISC-018"] "Logout closes the session and the connection";
    logout_connection "logout-connection" ["ISC-018"] "Logout of the only connection closes it";
    logout_reason "logout-reserved-reason" ["ISC-017" "ISC-018"] "A logout for a reserved reason ends nothing";
    logout_recovery "logout-recovery" ["ISC-018"] "Removal for recovery is answered as not supported at level 0";
    logout_cid "logout-unknown-cid" ["ISC-018"] "Logout of another CID finds none";
    logout_tasks "logout-ends-tasks" ["ISC-018" "ISC-013"] "A write that was under way at logout is not applied afterwards";
    byte_by_byte "segmentation" ["ISC-023"] "Bytes that come one at a time change nothing";
    coalesced "coalescing" ["ISC-023"] "Many PDUs in one piece change nothing";
    digests_work "digests-on" ["ISC-006"] "Header and data digests are right on every PDU";
    digest_lengths "digests-short-answers" ["ISC-006"] "Data digests cover the padding of answers of every length";
    header_flip "digest-header-flipped" ["ISC-006"] "A damaged header is never acted on, whichever byte it is";
    data_flip "digest-data-flipped" ["ISC-006"] "Damaged data are never written";
    extended_cdb "ahs-extended-cdb" ["ISC-026"] "An extended CDB is executed or refused, and the stream goes on";
    bidirectional "ahs-bidirectional" ["ISC-026"] "A bidirectional command is refused, and the stream goes on";
    odd_ahs "ahs-unknown" ["ISC-026"] "Unknown and malformed additional headers do not lose the stream";
}

fn tur() -> Cmd {
    Cmd::none(cdb::test_unit_ready())
}

async fn too_high(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let max = c.monitor.window_end().unwrap_or(c.cmd_sn);
    for beyond in [1, 5, 1000] {
        let itt = c.start(&Cmd { cmd_sn: Some(max.wrapping_add(beyond)), ..tur() }).await;
        c.quiet(lab.quiet(), "RFC 7143 4.2.2.1", "a command above MaxCmdSN to be ignored").await?;
        c.forget(itt);
    }
    c.good(&tur(), "RFC 7143 4.2.2.1").await?;
    c.bye().await
}

async fn too_low(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    c.good(&tur(), "SPC-4 6.47").await?;
    let block = 8;
    c.good(&Cmd::write(cdb::write(block, 1), vec![1; 512]), "SBC-3 5.32").await?;
    for back in [1, 2, 100] {
        let old = c.cmd_sn.wrapping_sub(back);
        let itt = c.start(&Cmd { cmd_sn: Some(old), ..Cmd::write(cdb::write(block, 1), vec![2; 512]) }).await;
        c.quiet(lab.quiet(), "RFC 7143 4.2.2.1", "a command below ExpCmdSN to be ignored").await?;
        c.forget(itt);
    }
    let data = c.good(&Cmd::read(cdb::read(block, 1), 512), "RFC 7143 4.2.2.1").await?;
    must!(
        data == vec![1; 512],
        "RFC 7143 4.2.2.1",
        "an ignored write not to be applied",
        "{:02x}..",
        data[0]
    );
    c.bye().await
}

async fn gap(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let first = c.cmd_sn;
    let late = c.start(&Cmd { cmd_sn: Some(first.wrapping_add(1)), ..tur() }).await;
    c.quiet(lab.quiet(), "RFC 7143 4.2.2.1", "a command after a gap to wait").await?;
    let filler = c.start(&Cmd { cmd_sn: Some(first), ..tur() }).await;
    c.cmd_sn = first.wrapping_add(2);
    let a = c.finish(filler).await?;
    let b = c.finish(late).await?;
    must!(a.good() && b.good(), "RFC 7143 4.2.2.1", "both commands GOOD", "{} and {}", a.words(), b.words());
    c.bye().await
}

async fn immediate(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let before = c.cmd_sn;
    for _ in 0..3 {
        c.good(&Cmd { immediate: true, ..tur() }, "RFC 7143 4.2.2.1").await?;
    }
    must!(
        c.monitor.exp_cmd_sn() == Some(before),
        "RFC 7143 4.2.2.1",
        format!("ExpCmdSN still {before} after immediate commands"),
        "{:?}",
        c.monitor.exp_cmd_sn()
    );
    c.good(&tur(), "RFC 7143 4.2.2.1").await?;
    must!(
        c.monitor.exp_cmd_sn() == Some(before.wrapping_add(1)),
        "RFC 7143 4.2.2.1",
        format!("ExpCmdSN {} after one command", before.wrapping_add(1)),
        "{:?}",
        c.monitor.exp_cmd_sn()
    );
    c.bye().await
}

async fn wraps(lab: &Lab) -> Checked {
    let mut c = lab
        .open(0, 0, |mut login| {
            login.cmd_sn = u32::MAX - 3;
            login
        })
        .await?;
    settle(&mut c).await?;
    for _ in 0..8 {
        c.good(&tur(), "RFC 7143 4.2.2.1").await?;
    }
    must!(c.cmd_sn < 32, "RFC 7143 4.2.2.1", "numbers after the wrap", "{}", c.cmd_sn);
    c.bye().await
}

async fn each_kind(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    // Between two pings each, so that a number that is off shows at once; the monitor compares.
    let kinds: [Cmd; 5] = [
        tur(),
        Cmd::read(cdb::inquiry(36), 36),
        Cmd::read(cdb::read(0, 8), 4096),
        Cmd::write(cdb::write(0, 8), vec![0; 4096]),
        Cmd::none(cdb::ten(0xff, 0, 0, 0)),
    ];
    for kind in &kinds {
        c.run(kind).await?;
        c.alive("a command").await?;
    }
    let lun = lab.lun(0)?;
    c.manage(TaskFunction::ABORT_TASK, lun, 0x7000_0000, c.cmd_sn.wrapping_sub(1)).await?;
    c.alive("a task management function").await?;
    super::login::send_targets(&mut c, "").await?;
    c.alive("a text exchange").await?;
    let answer = c.run(&Cmd::read(cdb::read(lab.blocks(), 1), 512)).await?;
    must!(answer.key(5), "SBC-3 5.11", "ILLEGAL REQUEST past the end", "{}", answer.words());
    c.alive("an error").await?;
    c.bye().await
}

async fn deep_queue(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let window = c.monitor.window_end().map_or(1, |max| max.wrapping_sub(c.cmd_sn).wrapping_add(1)).min(128);
    let mut all = Vec::new();
    for n in 0..window {
        // Good ones and refused ones in turn.
        let cmd = if n % 3 == 2 {
            Cmd::read(cdb::read(lab.blocks(), 1), 512)
        } else {
            Cmd::read(cdb::read(0, 1), 512)
        };
        all.push((n, c.start(&cmd).await));
    }
    for (n, itt) in all {
        let answer = c.finish(itt).await?;
        must!(
            answer.good() == (n % 3 != 2),
            "SAM-5 5.3",
            "the status of each command",
            "{} for command {n}",
            answer.words()
        );
    }
    c.alive("a full window").await?;
    c.bye().await
}

async fn echo(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    for (length, immediate) in [(0, true), (1, false), (3, true), (512, false), (4096, true)] {
        let data = Bytes::from(pattern(3, length));
        let itt = c.ping(data.clone(), immediate).await;
        match c.next("the answer to a NOP-Out").await? {
            Pdu::NopIn(p) => {
                must!(p.itt == itt, "RFC 7143 11.19.1", format!("itt {itt:x}"), "itt {:x}", p.itt);
                must!(p.ttt == RESERVED_TAG, "RFC 7143 11.19.1", "the reserved transfer tag", "{:x}", p.ttt);
                must!(
                    p.data == data,
                    "RFC 7143 11.19",
                    "the data of the ping",
                    "{}",
                    difference(&data, &p.data)
                );
            }
            other => return Err(fail("RFC 7143 11.19", "a NOP-In", describe(&other.emit()))),
        }
    }
    c.bye().await
}

async fn echo_cut(lab: &Lab) -> Checked {
    let mut c = lab.with_keys(&[("MaxRecvDataSegmentLength", "512")]).await?;
    let data = Bytes::from(pattern(4, 2000));
    let itt = c.ping(data.clone(), true).await;
    match c.next("the answer to a NOP-Out").await? {
        Pdu::NopIn(p) if p.itt == itt => {
            must!(
                p.data[..] == data[..512],
                "RFC 7143 11.18",
                "the first 512 bytes of the ping",
                "{} bytes",
                p.data.len()
            );
        }
        other => return Err(fail("RFC 7143 11.19", "a NOP-In", describe(&other.emit()))),
    }
    c.bye().await
}

async fn no_reply(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    c.sign_of_life().await;
    c.quiet(lab.quiet(), "RFC 7143 11.18.1", "no answer to a NOP-Out with the reserved task tag").await?;
    c.alive("a NOP-Out without a tag").await?;
    c.bye().await
}

/// Sends a PDU that no target may act on: a Reject that carries its header, or the end of the connection.
async fn rejected(c: &mut Client, raw: RawPdu, clause: &str, what: &str) -> Checked<bool> {
    let header = raw.bhs;
    c.send_raw(&raw).await;
    match c.poll(c.patience).await? {
        Got::Pdu(Pdu::Reject(p)) => {
            must!(
                p.header.get(..48) == Some(&header.0[..]),
                "RFC 7143 11.17",
                "the header of the rejected PDU",
                "{} other bytes",
                p.header.len()
            );
            Ok(true)
        }
        Got::Closed(_) => Ok(false),
        Got::Pdu(other) => Err(fail(clause, format!("a Reject of {what}"), describe(&other.emit()))),
        Got::Silence => Err(fail(clause, format!("a Reject of {what}"), "nothing (a hang)")),
    }
}

fn bare(opcode: u8, c: &mut Client) -> RawPdu {
    let mut bhs = Bhs::new(Opcode::NopOut, true, 0x80);
    bhs.0[0] = opcode | 0x40;
    let itt = c.itt();
    bhs.put_u32(16, itt);
    bhs.put_u32(20, RESERVED_TAG);
    bhs.put_u32(24, c.cmd_sn);
    bhs.put_u32(28, c.exp_stat_sn());
    RawPdu::new(bhs, Bytes::new(), Bytes::new())
}

async fn unknown_opcode(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    for opcode in [0x07, 0x0f, 0x1b] {
        let raw = bare(opcode, &mut c);
        if !rejected(&mut c, raw, "RFC 7143 11.17.1", "an unknown opcode").await? {
            return Ok(());
        }
        c.alive("a Reject").await?;
    }
    c.bye().await
}

async fn target_opcode(lab: &Lab) -> Checked {
    for opcode in [0x20, 0x21, 0x25, 0x31, 0x3f] {
        let mut c = lab.session().await?;
        let raw = bare(opcode, &mut c);
        if rejected(&mut c, raw, "RFC 7143 11.17.1", "a PDU that only targets send").await? {
            c.alive("a Reject").await?;
        }
    }
    Ok(())
}

async fn stray_data(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let out = DataOut {
        last: true,
        lun: lab.lun(0)?,
        itt: 0x0bad_0bad,
        ttt: 0x1234,
        exp_stat_sn: c.exp_stat_sn(),
        data_sn: 0,
        offset: 0,
        data: Bytes::from(vec![0xee; 512]),
    };
    c.send(out).await;
    // Discarding is allowed too: the task may have just ended.
    match c.poll(lab.quiet()).await? {
        Got::Pdu(Pdu::Reject(_)) | Got::Silence => c.alive("stray data").await?,
        Got::Closed(_) => {}
        Got::Pdu(other) => return Err(fail("RFC 7143 7.3", "a Reject, or nothing", describe(&other.emit()))),
    }
    Ok(())
}

async fn login_again(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let raw = lab
        .plan(0, 0)?
        .request(
            sanbench_wire::pdu::Stages {
                continues: false,
                current: sanbench_wire::pdu::Stage::Operational,
                next: None,
            },
            Vec::new(),
            c.exp_stat_sn(),
        )
        .emit();
    if rejected(&mut c, raw, "RFC 7143 6.3", "a Login Request in full feature phase").await? {
        c.alive("a Reject").await?;
    }
    Ok(())
}

async fn snack(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let itt = c.itt();
    let snack = Snack {
        kind: SnackType::DATA_OR_R2T,
        lun: lab.lun(0)?,
        itt,
        ttt: RESERVED_TAG,
        exp_stat_sn: c.exp_stat_sn(),
        begin: 0,
        run_length: 0,
    };
    rejected(&mut c, snack.emit(), "RFC 7143 11.16", "a SNACK at error recovery level 0").await.map(drop)
}

async fn logout_ok(lab: &Lab, reason: LogoutReason) -> Checked {
    let mut c = lab.session().await?;
    let cid = c.cid;
    let p = c.logout(reason, cid).await?;
    must!(
        p.response == LogoutResponseCode::SUCCESS,
        "RFC 7143 11.15.1",
        "closed successfully",
        "{}",
        p.response
    );
    let ended = c.until_closed().await?;
    must!(ended.is_some(), "RFC 7143 11.14", "the target to close the connection", "it stays open");
    Ok(())
}

async fn logout_session(lab: &Lab) -> Checked {
    logout_ok(lab, LogoutReason::CLOSE_SESSION).await
}

async fn logout_connection(lab: &Lab) -> Checked {
    logout_ok(lab, LogoutReason::CLOSE_CONNECTION).await
}

async fn logout_recovery(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let cid = c.cid;
    let p = c.logout(LogoutReason::RECOVERY, cid).await?;
    must!(
        p.response == LogoutResponseCode::RECOVERY_NOT_SUPPORTED,
        "RFC 7143 11.15.1",
        "connection recovery not supported",
        "{}",
        p.response
    );
    Ok(())
}

async fn logout_reason(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let request = LogoutRequest {
        immediate: true,
        reason: LogoutReason(5),
        itt: c.itt(),
        cid: c.cid,
        cmd_sn: c.cmd_sn,
        exp_stat_sn: c.exp_stat_sn(),
    };
    c.send(request).await;
    match c.next("a Reject of reason 5").await? {
        Pdu::Reject(_) => {}
        other => {
            return Err(fail("RFC 7143 11.14.1", "a Reject of reason 5", describe(&other.emit())));
        }
    }
    c.alive("a logout for a reserved reason").await?;
    c.bye().await
}

async fn logout_cid(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let p = c.logout(LogoutReason::CLOSE_CONNECTION, 4711).await?;
    must!(
        p.response == LogoutResponseCode::CID_NOT_FOUND,
        "RFC 7143 11.15.1",
        "CID not found",
        "{}",
        p.response
    );
    c.alive("a logout of another CID").await?;
    c.bye().await
}

async fn logout_tasks(lab: &Lab) -> Checked {
    let lba = 128;
    let mut c = lab.with_keys(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]).await?;
    c.good(&Cmd::write(cdb::write(lba, 8), vec![0x33; 4096]), "SBC-3 5.32").await?;
    let itt = c.start(&Cmd::write(cdb::write(lba, 8), vec![0x44; 4096]).held()).await;
    let r2t = c.r2t_of(itt).await?;
    let cid = c.cid;
    c.logout(LogoutReason::CLOSE_SESSION, cid).await?;
    c.serve(&r2t, &Bytes::from(vec![0x44; 4096]), lab.lun(0)?).await;
    let mut d = lab.session().await?;
    d.env().clone().sleep(lab.quiet()).await;
    let data = d.good(&Cmd::read(cdb::read(lba, 8), 4096), "SBC-3 5.11").await?;
    must!(
        data == vec![0x33; 4096],
        "RFC 7143 11.14",
        "the write to have ended with its session",
        "{:02x}..",
        data[0]
    );
    d.bye().await
}

async fn byte_by_byte(lab: &Lab) -> Checked {
    let mut c = lab.connect(0, 0).await?;
    c.chunk = Some(1);
    let plan = lab.plan(0, 0)?.key("HeaderDigest", "CRC32C,None").key("DataDigest", "CRC32C,None");
    let end = c.login(&plan).await?;
    must!(end.full, "RFC 7143 4.2.9", "a login byte by byte", "{}", end.words());
    settle(&mut c).await?;
    let data = pattern(9, 1536);
    c.good(&Cmd::write(cdb::write(300, 3), data.clone()), "SBC-3 5.32").await?;
    c.chunk = Some(13);
    let seen = c.good(&Cmd::read(cdb::read(300, 3), 1536), "SBC-3 5.11").await?;
    must!(seen == data, "RFC 7143 4.2.9", "the bytes that were written", "{}", difference(&data, &seen));
    c.bye().await
}

async fn coalesced(lab: &Lab) -> Checked {
    let mut c = lab.session().await?;
    let mut bytes = Vec::new();
    let mut all = Vec::new();
    for n in 0..8u64 {
        let data = pattern(n as u8, 512);
        let (command, outs) = c.compose(&Cmd::write(cdb::write(320 + n, 1), data));
        all.push(command.itt);
        for raw in
            std::iter::once(Pdu::from(command)).chain(outs.into_iter().map(Pdu::from)).map(|p| p.emit())
        {
            c.note_sent(&raw);
            bytes.extend_from_slice(&c.bytes_of(&raw));
        }
    }
    // One header is cut in the middle of the second piece.
    let (a, b) = bytes.split_at(bytes.len() / 2 + 11);
    c.send_bytes(a).await;
    c.send_bytes(b).await;
    for itt in all {
        let answer = c.finish(itt).await?;
        must!(answer.good(), "RFC 7143 4.2.9", "GOOD for every command of the batch", "{}", answer.words());
    }
    for n in 0..8u64 {
        let seen = c.good(&Cmd::read(cdb::read(320 + n, 1), 512), "SBC-3 5.11").await?;
        must!(seen == pattern(n as u8, 512), "RFC 7143 4.2.9", "each block as written", "block {n} differs");
    }
    c.bye().await
}

/// A session with digests, or why there is none.
async fn digesting(lab: &Lab, keys: &[(&str, &str)]) -> Checked<Client> {
    let mut all = vec![("HeaderDigest", "CRC32C,None"), ("DataDigest", "CRC32C,None")];
    all.extend_from_slice(keys);
    let c = lab.with_keys(&all).await?;
    if !c.params.digests.header || !c.params.digests.data {
        return Err(not_claimed("the target does not choose CRC32C for both digests"));
    }
    Ok(c)
}

async fn digests_work(lab: &Lab) -> Checked {
    let mut c = digesting(lab, &[("InitialR2T", "Yes"), ("MaxBurstLength", "4096")]).await?;
    let data = pattern(5, 24 * 512);
    c.good(&Cmd::write(cdb::write(400, 24), data.clone()), "RFC 7143 13.1").await?;
    let seen = c.good(&Cmd::read(cdb::read(400, 24), 24 * 512), "RFC 7143 13.1").await?;
    must!(seen == data, "RFC 7143 13.1", "the bytes that were written", "{}", difference(&data, &seen));
    for length in [1, 2, 3, 5] {
        c.ping(Bytes::from(pattern(1, length)), true).await;
        c.next("the answer to a NOP-Out").await?;
    }
    c.bye().await
}

async fn digest_lengths(lab: &Lab) -> Checked {
    let mut c = digesting(lab, &[]).await?;
    for length in 1..=40u16 {
        c.good(&Cmd::read(cdb::inquiry(length), u32::from(length)), "SPC-4 6.6").await?;
    }
    for length in 1..=24u8 {
        c.run(&Cmd::read(cdb::mode_sense_6(0x08, 0, length), u32::from(length))).await?;
    }
    // Sense data travels in the SCSI Response.
    c.run(&Cmd::none(cdb::ten(0xff, 0, 0, 0))).await?;
    c.bye().await
}

async fn header_flip(lab: &Lab) -> Checked {
    let lba = 440;
    let mut c = digesting(lab, &[]).await?;
    c.good(&Cmd::write(cdb::write(lba, 1), vec![0x77; 512]), "SBC-3 5.32").await?;
    for at in 0..52usize {
        let mut c = digesting(lab, &[]).await?;
        let (command, _) = c.compose(&Cmd::write(cdb::write(lba, 1), vec![0x88; 512]));
        let itt = command.itt;
        let raw = Pdu::from(command).emit();
        let mut bytes = c.bytes_of(&raw).to_vec();
        bytes[at] ^= 1 << (at % 8);
        c.note_sent(&raw);
        c.send_bytes(&bytes).await;
        let end = c.end_within(itt, lab.quiet()).await?;
        must!(
            !matches!(end, End::Answer(_)),
            "RFC 7143 7.8",
            format!("no answer to a header with byte {at} damaged"),
            "{}",
            end.words()
        );
    }
    let data = c.good(&Cmd::read(cdb::read(lba, 1), 512), "SBC-3 5.11").await?;
    must!(data == vec![0x77; 512], "RFC 7143 7.8", "no write from a damaged header", "{:02x}..", data[0]);
    c.bye().await
}

async fn data_flip(lab: &Lab) -> Checked {
    let lba = 448;
    let mut watcher = lab.session().await?;
    watcher.good(&Cmd::write(cdb::write(lba, 1), vec![0x77; 512]), "SBC-3 5.32").await?;
    for (at, immediate) in
        [(0usize, true), (511, true), (512, true), (515, true), (0, false), (300, false), (514, false)]
    {
        let yes = if immediate { "Yes" } else { "No" };
        let mut c = digesting(lab, &[("ImmediateData", yes), ("InitialR2T", "Yes")]).await?;
        let cmd = Cmd::write(cdb::write(lba, 1), vec![0x88; 512]);
        let itt = if immediate {
            let (command, _) = c.compose(&cmd);
            let (itt, raw) = (command.itt, Pdu::from(command).emit());
            let mut bytes = c.bytes_of(&raw).to_vec();
            bytes[52 + at] ^= 0x10;
            c.note_sent(&raw);
            c.send_bytes(&bytes).await;
            itt
        } else {
            let itt = c.start(&cmd.held()).await;
            let r2t = c.r2t_of(itt).await?;
            let out = DataOut {
                last: true,
                lun: c.lun,
                itt,
                ttt: r2t.ttt,
                exp_stat_sn: c.exp_stat_sn(),
                data_sn: 0,
                offset: 0,
                data: Bytes::from(vec![0x88; 512]),
            };
            let raw = out.emit();
            let mut bytes = c.bytes_of(&raw).to_vec();
            bytes[52 + at] ^= 0x10;
            c.note_sent(&raw);
            c.send_bytes(&bytes).await;
            itt
        };
        let end = c.end_of(itt).await?;
        must!(
            end.refused(),
            "RFC 7143 7.8",
            "a Reject, a CHECK CONDITION or the end of the connection for damaged data",
            "{}",
            end.words()
        );
        let data = watcher.good(&Cmd::read(cdb::read(lba, 1), 512), "SBC-3 5.11").await?;
        must!(data == vec![0x77; 512], "RFC 7143 7.8", "damaged data not to be written", "{:02x}..", data[0]);
    }
    watcher.bye().await
}

/// Sends a command with additional headers; the stream has to stay aligned or the connection to end.
async fn with_ahs(lab: &Lab, ahs: &[u8], cmd: Cmd, executed: bool) -> Checked {
    let mut c = lab.session().await?;
    let itt = c.start(&Cmd { ahs: Bytes::copy_from_slice(ahs), ..cmd }).await;
    match c.end_of(itt).await? {
        End::Answer(a) => {
            must!(executed || !a.good(), "RFC 7143 11.2.2", "a refusal", "{}", a.words());
            c.alive("additional headers").await
        }
        End::Rejected(_) => {
            // A target may end a connection whose headers it cannot follow; if it does not, it must be in step.
            if let Got::Closed(_) = c.poll(lab.quiet()).await? {
                return Ok(());
            }
            c.alive("additional headers").await
        }
        End::Closed(_) => Ok(()),
        End::Silence => {
            Err(fail("RFC 7143 11.2.2", "an answer to a command with additional headers", "nothing (a hang)"))
        }
    }
}

async fn extended_cdb(lab: &Lab) -> Checked {
    // AHSLength 17: one reserved byte and 16 more bytes of CDB (RFC 7143 section 11.2.2.3).
    let mut ahs = vec![0, 17, 1, 0];
    ahs.extend_from_slice(&[0; 16]);
    with_ahs(lab, &ahs, Cmd::none(cdb::ten(0x7f, 0, 0, 0)), false).await?;
    with_ahs(lab, &ahs, tur(), true).await
}

async fn bidirectional(lab: &Lab) -> Checked {
    let ahs = [0, 5, 2, 0, 0, 0, 2, 0];
    // XDWRITEREAD (10): the one bidirectional command that disks ever had.
    let cmd = Cmd { both: true, ..Cmd::write(cdb::ten(0x53, 0, 0, 1), vec![0x99; 512]) };
    with_ahs(lab, &ahs, cmd.clone(), false).await?;
    // Both bits without the header that says how much is to be read.
    with_ahs(lab, &[], cmd, false).await
}

async fn odd_ahs(lab: &Lab) -> Checked {
    with_ahs(lab, &[0, 5, 0x3f, 0, 1, 2, 3, 4], tur(), true).await?;
    // A length that goes past the end of the additional headers.
    with_ahs(lab, &[0x40, 0, 1, 0], tur(), true).await?;
    // A length of zero.
    with_ahs(lab, &[0, 0, 1, 0], tur(), true).await?;
    // As long as the field can say.
    with_ahs(lab, &[0; 1020], tur(), true).await
}
