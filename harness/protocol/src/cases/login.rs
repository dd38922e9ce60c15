//! Login stages, names, sessions, discovery.

use bytes::Bytes;
use sanbench_wire::bhs::{Bhs, Opcode, RESERVED_TAG};
use sanbench_wire::keys;
use sanbench_wire::pdu::{LoginStatus, ScsiCommand, Stage, Stages, TaskAttribute};
use sanbench_wire::{Pdu, RawPdu};

use super::cases;
use crate::cdb;
use crate::lab::{Lab, settle};
use crate::outcome::{Checked, fail, must, not_claimed};
use crate::raw::{Client, Cmd, End, Got, Login, LoginEnd, SessionType};
use crate::tape::describe;

cases! {
    direct "login-operational" ["ISC-001" "ISC-008"] "Operational negotiation alone leads to full feature phase";
    both_stages "login-two-stages" ["ISC-001"] "Security, then operational negotiation, then full feature phase";
    security_only "login-security-only" ["ISC-001"] "Security negotiation may lead straight to full feature phase";
    hesitant "login-several-steps" ["ISC-001" "ISC-008"] "A stage may take several requests; T is not answered before it is asked";
    reserved_stage "login-reserved-stage" ["ISC-001"] "A current stage of 2 is refused";
    backwards "login-backwards" ["ISC-001"] "A stage that was left cannot be entered again";
    same_stage "login-transition-to-itself" ["ISC-001"] "A transition from a stage to itself or to an earlier one is refused";
    versions "login-version" ["ISC-001"] "Only version 0 exists; a range without it is refused with 02/05";
    no_initiator "login-no-initiator-name" ["ISC-002"] "A first request without InitiatorName is refused with 02/07";
    no_target "login-no-target-name" ["ISC-002"] "A normal session without TargetName is refused with 02/07";
    unknown_target "login-unknown-target" ["ISC-002"] "A target that does not exist is refused with 02/03";
    bad_session_type "login-session-type" ["ISC-002" "ISC-003"] "A SessionType that does not exist is refused";
    unknown_tsih "login-unknown-tsih" ["ISC-001"] "A TSIH of no session is refused with 02/0A";
    fresh_tsih "login-tsih" ["ISC-001"] "New sessions get a TSIH that is not 0 and not another's";
    second_connection "login-second-connection" ["ISC-001"] "A connection beyond MaxConnections is refused";
    not_a_login "login-comes-first" ["ISC-001" "ISC-017"] "Anything but a Login Request on a new connection gets no service";
    command_in_login "login-no-commands" ["ISC-001"] "A SCSI command before full feature phase is not executed";
    continued "login-text-in-pieces" ["ISC-002"] "Login text may be cut anywhere with the C bit";
    long_text "login-long-text" ["ISC-002"] "Login text of thousands of bytes is taken, in pieces of any length";
    c_and_t "login-c-and-t" ["ISC-001"] "C and T in one request are refused";
    endless "login-endless-text" ["ISC-022"] "Login text without end is refused in bounded memory";
    chatter "login-without-end" ["ISC-022"] "A login that never gets anywhere is ended";
    reinstate "login-reinstatement" ["ISC-014"] "The same ISID again ends the old session, and the new one works";
    reinstate_tasks "login-reinstatement-tasks" ["ISC-014" "ISC-013"] "A write of a reinstated session is never applied";
    other_isid "login-parallel-sessions" ["ISC-014"] "Another ISID is another session; both live";
    discovery "discovery-send-targets" ["ISC-019"] "A discovery session lists the target with its portals";
    discovery_pieces "discovery-in-pieces" ["ISC-019" "ISC-005"] "A long list comes in pieces no longer than the declared segment length";
    discovery_only_text "discovery-no-scsi" ["ISC-019"] "A discovery session executes no SCSI command";
    own_target "send-targets-in-session" ["ISC-019"] "In a normal session SendTargets tells of this target only";
}

async fn attempt(lab: &Lab, change: impl FnOnce(Login) -> Login) -> Checked<(Client, LoginEnd)> {
    let mut client = lab.connect(0, 0).await?;
    let plan = change(lab.plan(0, 0)?);
    let end = client.login(&plan).await?;
    Ok((client, end))
}

fn refused(end: &LoginEnd, wanted: &[LoginStatus], clause: &str) -> Checked {
    let named = wanted.iter().map(|s| format!("{:04x}", s.0)).collect::<Vec<_>>().join(" or ");
    must!(!end.full, clause, format!("a refusal ({named})"), "{}", end.words());
    must!(
        end.status.is_some_and(|s| wanted.contains(&s)),
        clause,
        format!("a Login Response with status {named}"),
        "{}",
        end.words()
    );
    Ok(())
}

async fn full(lab: &Lab, stages: Vec<Stage>) -> Checked {
    let (mut client, end) = attempt(lab, |mut login| {
        login.stages = stages;
        login
    })
    .await?;
    must!(end.full, "RFC 7143 6.3", "full feature phase", "{}", end.words());
    must!(end.tsih != 0, "RFC 7143 11.13.1", "a TSIH other than 0 in the final response", "0");
    must!(end.version == 0, "RFC 7143 11.13.2", "version-active 0", "{}", end.version);
    settle(&mut client).await?;
    client.bye().await
}

async fn direct(lab: &Lab) -> Checked {
    full(lab, vec![Stage::Operational]).await
}

async fn both_stages(lab: &Lab) -> Checked {
    full(lab, vec![Stage::Security, Stage::Operational]).await
}

async fn security_only(lab: &Lab) -> Checked {
    let (mut client, end) = attempt(lab, |mut login| {
        login.stages = vec![Stage::Security];
        login.keys.clear();
        login
    })
    .await?;
    must!(end.full, "RFC 7143 6.3", "full feature phase", "{}", end.words());
    settle(&mut client).await?;
    client.bye().await
}

async fn hesitant(lab: &Lab) -> Checked {
    let mut client = lab.connect(0, 0).await?;
    let plan = lab.plan(0, 0)?;
    let (mut said, mut done) = (Vec::new(), false);
    let texts = [
        keys::encode(plan.names()),
        keys::encode([("HeaderDigest", "None"), ("DataDigest", "None")]),
        keys::encode([("MaxBurstLength", "65536")]),
        Vec::new(),
    ];
    for (n, text) in texts.into_iter().enumerate() {
        let next = (n == 3).then_some(Stage::FullFeature);
        let stages = Stages { continues: false, current: Stage::Operational, next };
        let Some(p) = client.login_step(plan.request(stages, text, client.exp_stat_sn())).await? else {
            return Err(fail("RFC 7143 6.3", "an answer to each Login Request", "the connection ended"));
        };
        must!(p.status.class() == 0, "RFC 7143 6.3", "success", "status {:04x}", p.status.0);
        said.extend_from_slice(&p.text);
        done = p.stages.next == Some(Stage::FullFeature);
        must!(
            done == (n == 3),
            "RFC 7143 6.3",
            "the transition when it is asked for",
            "T={done} in response {n}"
        );
    }
    let said = String::from_utf8_lossy(&said).replace('\0', " ");
    for key in ["HeaderDigest=None", "MaxBurstLength="] {
        must!(said.contains(key), "RFC 7143 6.2", format!("an answer to {key}"), "{said}");
    }
    must!(done, "RFC 7143 6.3", "full feature phase", "none");
    Ok(())
}

/// Sends login requests by hand and expects a refusal of the last one.
async fn refuse_steps(lab: &Lab, steps: &[(u8, &str)], clause: &str) -> Checked {
    let mut client = lab.connect(0, 0).await?;
    let plan = lab.plan(0, 0)?;
    for (n, (flags, what)) in steps.iter().enumerate() {
        let stages = Stages { continues: false, current: Stage::Operational, next: None };
        let text = if n == 0 { keys::encode(plan.names()) } else { Vec::new() };
        let mut raw = plan.request(stages, text, client.exp_stat_sn()).emit();
        raw.bhs.0[1] = *flags;
        client.send_raw(&raw).await;
        let last = n + 1 == steps.len();
        match client.poll(lab.setup.patience).await? {
            Got::Pdu(Pdu::LoginResponse(p)) if !last => {
                must!(
                    p.status.class() == 0,
                    "RFC 7143 6.3",
                    format!("success for {what}"),
                    "status {:04x}",
                    p.status.0
                );
            }
            Got::Pdu(Pdu::LoginResponse(p)) => {
                must!(
                    p.status.class() == 2,
                    clause,
                    format!("an initiator error for {what}"),
                    "status {:04x}",
                    p.status.0
                );
            }
            Got::Pdu(Pdu::Reject(_)) | Got::Closed(_) if last => {}
            Got::Pdu(other) => {
                return Err(fail(clause, format!("a refusal of {what}"), describe(&other.emit())));
            }
            Got::Closed(why) => return Err(fail(clause, format!("success for {what}"), why)),
            Got::Silence => return Err(fail(clause, format!("a refusal of {what}"), "nothing (a hang)")),
        }
    }
    Ok(())
}

async fn reserved_stage(lab: &Lab) -> Checked {
    refuse_steps(lab, &[(0x08, "current stage 2")], "RFC 7143 11.12.3").await?;
    refuse_steps(lab, &[(0x86, "next stage 2")], "RFC 7143 11.12.3").await
}

async fn backwards(lab: &Lab) -> Checked {
    refuse_steps(
        lab,
        &[(0x04, "the operational stage"), (0x00, "the security stage after it")],
        "RFC 7143 6.3",
    )
    .await
}

async fn same_stage(lab: &Lab) -> Checked {
    refuse_steps(lab, &[(0x85, "a transition from stage 1 to stage 1")], "RFC 7143 11.12.3").await?;
    refuse_steps(lab, &[(0x84, "a transition from stage 1 to stage 0")], "RFC 7143 11.12.3").await
}

async fn versions(lab: &Lab) -> Checked {
    let (_, end) = attempt(lab, |mut login| {
        login.versions = (0, 7);
        login
    })
    .await?;
    must!(end.full && end.version == 0, "RFC 7143 11.12.4", "version 0 out of 0 to 7", "{}", end.words());
    let (_, end) = attempt(lab, |mut login| {
        login.versions = (1, 7);
        login
    })
    .await?;
    refused(&end, &[LoginStatus::UNSUPPORTED_VERSION], "RFC 7143 11.13.5")
}

async fn no_initiator(lab: &Lab) -> Checked {
    let (_, end) = attempt(lab, |mut login| {
        login.initiator = None;
        login
    })
    .await?;
    refused(&end, &[LoginStatus::MISSING_PARAMETER, LoginStatus::INITIATOR_ERROR], "RFC 7143 6.3")
}

async fn no_target(lab: &Lab) -> Checked {
    let (_, end) = attempt(lab, |mut login| {
        login.target = None;
        login
    })
    .await?;
    refused(&end, &[LoginStatus::MISSING_PARAMETER, LoginStatus::INITIATOR_ERROR], "RFC 7143 6.3")
}

async fn unknown_target(lab: &Lab) -> Checked {
    let (_, end) = attempt(lab, |mut login| {
        login.target = Some("iqn.2026-11.org.sanbench:nobody-has-this-name".to_owned());
        login
    })
    .await?;
    refused(&end, &[LoginStatus::NOT_FOUND], "RFC 7143 11.13.5")
}

async fn bad_session_type(lab: &Lab) -> Checked {
    let mut client = lab.connect(0, 0).await?;
    let plan = lab.plan(0, 0)?;
    let mut names = plan.names();
    for pair in names.iter_mut().filter(|(k, _)| k == "SessionType") {
        pair.1 = "Sightseeing".to_owned();
    }
    let stages = Stages { continues: false, current: Stage::Operational, next: Some(Stage::FullFeature) };
    let answer = client.login_step(plan.request(stages, keys::encode(names), 0)).await?;
    if let Some(p) = answer {
        must!(
            p.status.class() == 2,
            "RFC 7143 13.21",
            "a refusal (0209 or another initiator error)",
            "status {:04x}, transition to {:?}",
            p.status.0,
            p.stages.next
        );
    }
    Ok(())
}

async fn unknown_tsih(lab: &Lab) -> Checked {
    let (_, end) = attempt(lab, |mut login| {
        login.tsih = 0x7e57;
        login
    })
    .await?;
    refused(&end, &[LoginStatus::SESSION_DOES_NOT_EXIST], "RFC 7143 6.3.1")
}

async fn fresh_tsih(lab: &Lab) -> Checked {
    let a = lab.session().await?;
    let b = lab.session().await?;
    must!(
        a.tsih != 0 && b.tsih != 0,
        "RFC 7143 11.13.1",
        "a TSIH other than 0",
        "{:#x} and {:#x}",
        a.tsih,
        b.tsih
    );
    must!(
        a.tsih != b.tsih,
        "RFC 7143 4.4.1",
        "different TSIHs of one initiator's sessions",
        "{:#x} twice",
        a.tsih
    );
    a.bye().await?;
    b.bye().await
}

async fn second_connection(lab: &Lab) -> Checked {
    let isid = lab.isid();
    let first = lab
        .open(0, 0, |mut login| {
            login.isid = isid;
            login
        })
        .await?;
    let tsih = first.tsih;
    let (_, end) = attempt(lab, |mut login| {
        (login.isid, login.tsih, login.cid) = (isid, tsih, 2);
        login
    })
    .await?;
    must!(end.refused(), "RFC 7143 13.2", "a refusal: one connection was agreed on", "{}", end.words());
    let mut first = first;
    first.alive("a refused second connection").await?;
    first.bye().await
}

async fn not_a_login(lab: &Lab) -> Checked {
    for opcode in [Opcode::NopOut, Opcode::ScsiCommand, Opcode::TextRequest] {
        let mut client = lab.connect(0, 0).await?;
        let mut bhs = Bhs::new(opcode, false, 0x80);
        bhs.put_u32(16, 1);
        bhs.put_u32(20, RESERVED_TAG);
        client.send_raw(&RawPdu::new(bhs, Bytes::new(), Bytes::new())).await;
        match client.until_closed().await? {
            Some(seen) => {
                let served = seen.iter().find(|p| !matches!(p, Pdu::Reject(_) | Pdu::LoginResponse(_)));
                must!(served.is_none(), "RFC 7143 6.3", "no service before login", "{served:?}");
            }
            None => {
                return Err(fail(
                    "RFC 7143 6.3",
                    format!("the end of a connection that begins with {opcode:?}"),
                    "it stays open",
                ));
            }
        }
    }
    Ok(())
}

async fn command_in_login(lab: &Lab) -> Checked {
    let mut client = lab.connect(0, 0).await?;
    let plan = lab.plan(0, 0)?;
    let stages = Stages { continues: false, current: Stage::Operational, next: None };
    client.login_step(plan.request(stages, keys::encode(plan.names()), 0)).await?;
    let command = ScsiCommand {
        immediate: false,
        last: true,
        read: false,
        write: false,
        attribute: TaskAttribute::SIMPLE,
        lun: lab.lun(0)?,
        itt: 77,
        expected_length: 0,
        cmd_sn: 1,
        exp_stat_sn: client.exp_stat_sn(),
        cdb: [0; 16],
        ahs: Bytes::new(),
        data: Bytes::new(),
    };
    client.send(command).await;
    let ended = client.until_closed().await?;
    let seen = ended.as_deref().unwrap_or_default();
    let served = seen.iter().find(|p| !matches!(p, Pdu::Reject(_) | Pdu::LoginResponse(_)));
    must!(served.is_none(), "RFC 7143 6.3", "no execution before full feature phase", "{served:?}");
    must!(ended.is_some(), "RFC 7143 6.3", "the end of the connection", "it stays open");
    Ok(())
}

async fn continued(lab: &Lab) -> Checked {
    let mut client = lab.connect(0, 0).await?;
    let plan = lab.plan(0, 0)?;
    let text = keys::encode(plan.names().into_iter().chain(plan.keys.clone()));
    let said = in_pieces(&mut client, &plan, &text, 37).await?;
    must!(said.contains("MaxBurstLength="), "RFC 7143 6.2", "answers to keys that were cut in two", "{said}");
    Ok(())
}

/// Both ends take at least 8,192 bytes of keys and values in one negotiation (RFC 7143 section 6.1).
async fn long_text(lab: &Lab) -> Checked {
    for piece in [700, 4096] {
        let mut client = lab.connect(0, 0).await?;
        let plan = lab.plan(0, 0)?;
        let mut text = keys::encode(plan.names());
        // No target knows these; a value may have 255 bytes (RFC 7143 section 6.1).
        for n in 0..25 {
            text.extend_from_slice(format!("X-org.sanbench.{n}={}\0", "v".repeat(250)).as_bytes());
        }
        text.extend_from_slice(&keys::encode(plan.keys.clone()));
        if text.len() > 8192 {
            return Err(not_claimed("the names of this target leave no room for so many keys"));
        }
        let said = in_pieces(&mut client, &plan, &text, piece).await?;
        must!(
            said.contains("MaxBurstLength="),
            "RFC 7143 6.1",
            format!("an answer to the last of {} bytes of keys", text.len()),
            "{said}"
        );
    }
    Ok(())
}

/// A login whose text is cut into pieces; what the target says in its last answer, which has to begin the full feature phase.
async fn in_pieces(client: &mut Client, plan: &Login, text: &[u8], length: usize) -> Checked<String> {
    let pieces: Vec<&[u8]> = text.chunks(length).collect();
    let mut end = None;
    for (n, piece) in pieces.iter().enumerate() {
        let last = n + 1 == pieces.len();
        let stages = Stages {
            continues: !last,
            current: Stage::Operational,
            next: last.then_some(Stage::FullFeature),
        };
        let Some(p) = client.login_step(plan.request(stages, piece.to_vec(), client.exp_stat_sn())).await?
        else {
            return Err(fail(
                "RFC 7143 6.2",
                format!("an answer to piece {n} of the text"),
                "the connection ended",
            ));
        };
        must!(p.status.class() == 0, "RFC 7143 6.2", "success", "status {:04x} at piece {n}", p.status.0);
        end = Some(p);
    }
    let (full, text) = end.map(|p| (p.stages.next, p.text)).unwrap_or_default();
    must!(full == Some(Stage::FullFeature), "RFC 7143 6.3", "full feature phase", "{full:?}");
    Ok(String::from_utf8_lossy(&text).replace('\0', " "))
}

async fn c_and_t(lab: &Lab) -> Checked {
    refuse_steps(lab, &[(0xc7, "C together with T")], "RFC 7143 11.12.2").await
}

async fn endless(lab: &Lab) -> Checked {
    let mut client = lab.connect(0, 0).await?;
    let plan = lab.plan(0, 0)?;
    let mut text = keys::encode(plan.names());
    text.extend_from_slice(b"X-org.sanbench.long=");
    for n in 0..1024 {
        let piece = if n == 0 { text.clone() } else { vec![b'a'; 4096] };
        let stages = Stages { continues: true, current: Stage::Operational, next: None };
        match client.login_step(plan.request(stages, piece, client.exp_stat_sn())).await? {
            None => return Ok(()),
            Some(p) if p.status.class() != 0 => return Ok(()),
            Some(_) => {}
        }
    }
    Err(fail("RFC 7143 6.2", "a refusal of 4 MiB of login text", "the target takes it all"))
}

async fn chatter(lab: &Lab) -> Checked {
    let mut client = lab.connect(0, 0).await?;
    let plan = lab.plan(0, 0)?;
    for n in 0..2000 {
        let text = if n == 0 { keys::encode(plan.names()) } else { Vec::new() };
        let stages = Stages { continues: false, current: Stage::Operational, next: None };
        match client.login_step(plan.request(stages, text, client.exp_stat_sn())).await? {
            None => return Ok(()),
            Some(p) if p.status.class() != 0 => return Ok(()),
            Some(_) => {}
        }
    }
    Err(fail("RFC 7143 9", "an end of a login of 2,000 empty requests", "the target goes on"))
}

async fn reinstate(lab: &Lab) -> Checked {
    let isid = lab.isid();
    let same = |mut login: Login| {
        login.isid = isid;
        login
    };
    let mut old = lab.open(0, 0, same).await?;
    settle(&mut old).await?;
    let mut new = lab.open(0, 0, same).await?;
    settle(&mut new).await?;
    let ended = old.until_closed().await?;
    must!(ended.is_some(), "RFC 7143 6.3.5", "the end of the old session's connection", "it stays open");
    new.alive("the reinstatement").await?;
    new.bye().await
}

async fn reinstate_tasks(lab: &Lab) -> Checked {
    let isid = lab.isid();
    let same = |mut login: Login| {
        login.isid = isid;
        login.key("InitialR2T", "Yes").key("ImmediateData", "No")
    };
    let mut old = lab.open(0, 0, same).await?;
    settle(&mut old).await?;
    let lba = 64;
    old.good(&Cmd::write(cdb::write(lba, 8), vec![0x11; 4096]), "SBC-3 5.32").await?;
    let itt = old.start(&Cmd::write(cdb::write(lba, 8), vec![0x22; 4096]).held()).await;
    let r2t = old.r2t_of(itt).await?;
    let mut new = lab.open(0, 0, same).await?;
    settle(&mut new).await?;
    // The old connection's data come late, if they can come at all.
    old.serve(&r2t, &Bytes::from(vec![0x22; 4096]), lab.lun(0)?).await;
    lab.host(0)?.env.sleep(lab.quiet()).await;
    let now = new.good(&Cmd::read(cdb::read(lba, 8), 4096), "SBC-3 5.11").await?;
    must!(
        now == vec![0x11; 4096],
        "RFC 7143 6.3.5",
        "the old session's write to be gone with its session",
        "block {lba} begins with {:02x}",
        now.first().copied().unwrap_or(0)
    );
    let ended = old.until_closed().await?;
    must!(ended.is_some(), "RFC 7143 6.3.5", "the end of the old session's connection", "it stays open");
    new.bye().await
}

async fn other_isid(lab: &Lab) -> Checked {
    let mut a = lab.session().await?;
    let mut b = lab.session().await?;
    a.alive("another session of the same initiator").await?;
    b.alive("another session of the same initiator").await?;
    a.bye().await?;
    b.bye().await
}

/// A discovery session with that segment length.
async fn discover(lab: &Lab, segment: &str) -> Checked<Client> {
    lab.open(0, 0, |mut login| {
        login.session = SessionType::Discovery;
        login.target = None;
        login.only(&[
            ("HeaderDigest", "None"),
            ("DataDigest", "None"),
            ("MaxRecvDataSegmentLength", segment),
            ("ErrorRecoveryLevel", "0"),
        ])
    })
    .await
}

/// SendTargets to its end: the text, and in how many PDUs it came.
pub(super) async fn send_targets(client: &mut Client, which: &str) -> Checked<(String, usize)> {
    let itt = client.itt();
    let (mut text, mut pieces) = (Vec::new(), 0);
    let mut ttt = RESERVED_TAG;
    let mut request = keys::encode([("SendTargets", which)]);
    loop {
        client.text(Bytes::from(std::mem::take(&mut request)), itt, ttt, true).await;
        let Pdu::TextResponse(p) = client.next("a Text Response to SendTargets").await? else {
            return Err(fail("RFC 7143 11.11", "a Text Response to SendTargets", "another PDU"));
        };
        must!(p.itt == itt, "RFC 7143 11.11.3", format!("itt {itt:x}"), "itt {:x}", p.itt);
        must!(!(p.last && p.continues), "RFC 7143 11.11.2", "C and F not both set", "F=1 and C=1");
        must!(
            p.last == (p.ttt == RESERVED_TAG),
            "RFC 7143 11.11.4",
            "a transfer tag exactly while there is more to come",
            "F={} ttt={:x}",
            p.last,
            p.ttt
        );
        text.extend_from_slice(&p.text);
        pieces += 1;
        if p.last {
            break;
        }
        must!(pieces < 1000, "RFC 7143 13.3", "an end of the list", "1,000 pieces");
        ttt = p.ttt;
    }
    let pairs = keys::decode(&text, keys::KeyLimits::RFC)
        .map_err(|e| fail("RFC 7143 6.1", "well-formed text", e.to_string()))?;
    Ok((pairs.into_iter().map(|(k, v)| format!("{k}={v}\n")).collect(), pieces))
}

fn lists(lab: &Lab, text: &str) -> Checked {
    let path = lab.path(0, 0)?;
    // Arrays of the OceanStor kind also answer to a name for each portal, `NAME::PORT:ADDRESS`, and list NAME.
    let short = path.target.split_once("::").map_or(path.target.as_str(), |(short, _)| short);
    must!(
        text.contains(&format!("TargetName={}\n", path.target))
            || text.contains(&format!("TargetName={short}\n")),
        "RFC 7143 appendix C",
        format!("TargetName={}", path.target),
        "{text}"
    );
    let exact = text.contains(&format!("TargetName={}\n", path.target));
    let base = |name: &str| name.split_once("::").map_or(name, |(short, _)| short).to_owned();
    for other in &lab.host(0)?.paths {
        if other.target == path.target || (!exact && base(&other.target) == short) {
            must!(
                text.contains(&format!("TargetAddress={},", other.portal)),
                "RFC 7143 appendix C",
                format!("TargetAddress={} with its portal group", other.portal),
                "{text}"
            );
        }
    }
    Ok(())
}

async fn discovery(lab: &Lab) -> Checked {
    let mut client = discover(lab, "8192").await?;
    let (text, _) = send_targets(&mut client, "All").await?;
    lists(lab, &text)?;
    let target = lab.path(0, 0)?.target.clone();
    let (text, _) = send_targets(&mut client, &target).await?;
    lists(lab, &text)?;
    let (text, _) = send_targets(&mut client, "iqn.2026-11.org.sanbench:nobody-has-this-name").await?;
    must!(!text.contains("TargetName="), "RFC 7143 appendix C", "nothing about an unknown target", "{text}");
    client.bye().await
}

async fn discovery_pieces(lab: &Lab) -> Checked {
    let mut client = discover(lab, "512").await?;
    // The monitor watches the length of each piece.
    let (text, _) = send_targets(&mut client, "All").await?;
    lists(lab, &text)?;
    client.bye().await
}

async fn discovery_only_text(lab: &Lab) -> Checked {
    let mut client = discover(lab, "8192").await?;
    let itt = client.start(&Cmd::read(cdb::inquiry(36), 36)).await;
    let end = client.end_of(itt).await?;
    must!(
        matches!(end, End::Rejected(_) | End::Closed(_)),
        "RFC 7143 4.3",
        "a Reject or the end of the connection",
        "{}",
        end.words()
    );
    Ok(())
}

async fn own_target(lab: &Lab) -> Checked {
    let mut client = lab.session().await?;
    let (text, _) = send_targets(&mut client, "").await?;
    lists(lab, &text)?;
    let names = text.matches("TargetName=").count();
    must!(names == 1, "RFC 7143 appendix C", "this target only", "{names} targets");
    client.sign_of_life().await;
    client.alive("SendTargets").await?;
    client.bye().await
}
