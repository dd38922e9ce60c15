//! CHAP.

use sanbench_wire::keys::{Pair, decode_binary, encode_base64, encode_hex};
use sanbench_wire::pdu::{LoginResponse, LoginStatus, Stage, Stages};

use super::cases;
use crate::chap::{Credentials, response};
use crate::lab::{Lab, settle};
use crate::outcome::{Checked, fail, must, not_claimed};
use crate::raw::{Client, Login};

cases! {
    right "chap-right" ["ISC-021"] "The right secret lets in";
    wrong "chap-wrong" ["ISC-021"] "A wrong secret is refused with 02/01";
    nobody "chap-unknown-user" ["ISC-021"] "An unknown name is refused with 02/01";
    none "chap-skipped" ["ISC-021"] "Who offers no authentication is refused";
    skip_stage "chap-stage-skipped" ["ISC-021" "ISC-001"] "Who leaves the security stage out is refused";
    base64 "chap-base64" ["ISC-021"] "A response in base64 is as good";
    short "chap-short-response" ["ISC-021"] "Responses of another length are refused";
    oversize "chap-oversize" ["ISC-021" "ISC-022"] "A response of 4 KiB is refused";
    algorithms "chap-algorithms" ["ISC-021"] "Only an offered algorithm is chosen; a list without a known one is refused";
    fresh "chap-fresh-challenge" ["ISC-021"] "Challenges do not repeat";
    replay "chap-replay" ["ISC-021"] "A response to another session's challenge is refused";
    reflection "chap-reflection" ["ISC-021"] "The target does not answer its own challenge";
    mutual "chap-mutual" ["ISC-021"] "The target answers a challenge of ours rightly";
    no_response "chap-no-response" ["ISC-021"] "A transition without a response is refused";
}

const CLAUSE: &str = "RFC 7143 12.1.3";

fn credentials(lab: &Lab) -> Checked<Credentials> {
    lab.host(0)?.chap.clone().ok_or_else(|| not_claimed("no CHAP is configured for the host"))
}

/// A login that stops where the target has sent its challenge: identifier and challenge.
async fn challenged(
    lab: &Lab,
    algorithms: &str,
) -> Checked<(Client, Login, Option<(u8, Vec<u8>)>, Option<LoginStatus>)> {
    let mut client = lab.connect(0, 0).await?;
    let plan = lab.plan(0, 0)?;
    let mut names = plan.names();
    names.push(("AuthMethod".into(), "CHAP".into()));
    let first = security(&mut client, &plan, names, false).await?;
    let Some(first) = first else { return Ok((client, plan, None, None)) };
    if first.status.class() != 0 {
        return Ok((client, plan, None, Some(first.status)));
    }
    let text = String::from_utf8_lossy(&first.text).replace('\0', "\n");
    must!(text.contains("AuthMethod=CHAP\n"), CLAUSE, "AuthMethod=CHAP", "{text}");
    let second = security(&mut client, &plan, vec![("CHAP_A".into(), algorithms.into())], false).await?;
    let Some(second) = second else { return Ok((client, plan, None, None)) };
    let pairs =
        sanbench_wire::keys::decode(&second.text, sanbench_wire::keys::KeyLimits::RFC).unwrap_or_default();
    let value = |key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    if second.status.class() != 0 {
        return Ok((client, plan, None, Some(second.status)));
    }
    let chosen = value("CHAP_A").unwrap_or("(none)").to_owned();
    must!(
        algorithms.split(',').any(|a| a == chosen),
        CLAUSE,
        format!("one of the algorithms {algorithms}"),
        "CHAP_A={chosen}"
    );
    let id = value("CHAP_I").and_then(|v| v.parse::<u8>().ok());
    let challenge = value("CHAP_C").and_then(|v| decode_binary(v, 1024));
    match (id, challenge) {
        (Some(id), Some(challenge)) => {
            must!(!challenge.is_empty(), CLAUSE, "a challenge", "an empty one");
            Ok((client, plan, Some((id, challenge)), Some(second.status)))
        }
        _ => Err(fail(CLAUSE, "CHAP_I and CHAP_C", format!("{} keys", pairs.len()))),
    }
}

async fn security(
    client: &mut Client,
    plan: &Login,
    pairs: Vec<Pair>,
    transit: bool,
) -> Checked<Option<LoginResponse>> {
    let next = transit.then_some(Stage::Operational);
    let stages = Stages { continues: false, current: Stage::Security, next };
    let request = plan.request(stages, sanbench_wire::keys::encode(pairs), client.exp_stat_sn());
    client.login_step(request).await
}

/// Answers the challenge in that way and expects a refusal.
async fn refuse(lab: &Lab, what: &str, answer: impl Fn(&Credentials, u8, &[u8]) -> Vec<Pair>) -> Checked {
    let c = credentials(lab)?;
    let (mut client, plan, challenge, status) = challenged(lab, "5").await?;
    let Some((id, challenge)) = challenge else {
        return Err(fail(CLAUSE, "a challenge", format!("status {status:?}")));
    };
    let got = security(&mut client, &plan, answer(&c, id, &challenge), true).await?;
    if let Some(p) = got {
        must!(
            p.status.class() == 2,
            CLAUSE,
            format!("a refusal of {what} (0201)"),
            "status {:04x}, transition to {:?}",
            p.status.0,
            p.stages.next
        );
    }
    Ok(())
}

fn answer(name: &str, response: String) -> Vec<Pair> {
    vec![("CHAP_N".into(), name.into()), ("CHAP_R".into(), response)]
}

async fn right(lab: &Lab) -> Checked {
    credentials(lab)?;
    let mut client = lab.open(0, 0, |login| login).await?;
    settle(&mut client).await?;
    client.bye().await
}

async fn expect_failure(lab: &Lab, c: Credentials) -> Checked {
    let mut client = lab.connect(0, 0).await?;
    let mut plan = lab.plan(0, 0)?;
    plan.chap = Some(c);
    let end = client.login(&plan).await?;
    must!(
        !end.full && end.status == Some(LoginStatus::AUTHENTICATION_FAILURE),
        "RFC 7143 11.13.5",
        "status 0201 (authentication failure)",
        "{}",
        end.words()
    );
    Ok(())
}

async fn wrong(lab: &Lab) -> Checked {
    let c = credentials(lab)?;
    expect_failure(lab, Credentials { secret: format!("{}x", c.secret), target: None, ..c }).await
}

async fn nobody(lab: &Lab) -> Checked {
    let c = credentials(lab)?;
    expect_failure(lab, Credentials { user: "nobody-of-that-name".into(), target: None, ..c }).await
}

async fn none(lab: &Lab) -> Checked {
    credentials(lab)?;
    let mut client = lab.connect(0, 0).await?;
    let mut plan = lab.plan(0, 0)?;
    plan.chap = None;
    plan.stages = vec![Stage::Security, Stage::Operational];
    let end = client.login(&plan).await?;
    must!(end.refused(), CLAUSE, "a refusal of AuthMethod=None", "{}", end.words());
    Ok(())
}

async fn skip_stage(lab: &Lab) -> Checked {
    credentials(lab)?;
    let mut client = lab.connect(0, 0).await?;
    let mut plan = lab.plan(0, 0)?;
    plan.chap = None;
    let end = client.login(&plan).await?;
    must!(end.refused(), "RFC 7143 6.3", "a refusal of a login without security stage", "{}", end.words());
    Ok(())
}

async fn base64(lab: &Lab) -> Checked {
    let c = credentials(lab)?;
    let (mut client, plan, challenge, status) = challenged(lab, "5").await?;
    let Some((id, challenge)) = challenge else {
        return Err(fail(CLAUSE, "a challenge", format!("status {status:?}")));
    };
    let digest = response(id, &c.secret, &challenge);
    let got = security(&mut client, &plan, answer(&c.user, encode_base64(&digest)), true).await?;
    let words =
        got.as_ref().map_or("the end of the connection".to_owned(), |p| format!("status {:04x}", p.status.0));
    must!(got.is_some_and(|p| p.status.class() == 0), CLAUSE, "success with a response in base64", "{words}");
    Ok(())
}

async fn short(lab: &Lab) -> Checked {
    refuse(lab, "half a response", |c, id, challenge| {
        answer(&c.user, encode_hex(&response(id, &c.secret, challenge)[..8]))
    })
    .await?;
    refuse(lab, "an empty response", |c, _, _| answer(&c.user, "0x".to_owned())).await?;
    refuse(lab, "a response that is no binary value", |c, _, _| answer(&c.user, "open sesame".to_owned()))
        .await
}

async fn oversize(lab: &Lab) -> Checked {
    refuse(lab, "a response of 2 KiB in hexadecimal", |c, _, _| answer(&c.user, encode_hex(&[7; 2048])))
        .await?;
    refuse(lab, "a response of 2 KiB in base64", |c, _, _| answer(&c.user, encode_base64(&[7; 2048]))).await
}

async fn algorithms(lab: &Lab) -> Checked {
    credentials(lab)?;
    let (_, _, challenge, _) = challenged(lab, "5").await?;
    must!(challenge.is_some(), CLAUSE, "MD5 (5), which every implementation has", "a refusal");
    let (_, _, challenge, status) = challenged(lab, "99,98").await?;
    must!(
        challenge.is_none() && status.is_none_or(|s| s.class() == 2),
        CLAUSE,
        "a refusal when no algorithm is known",
        "{status:?}"
    );
    Ok(())
}

async fn fresh(lab: &Lab) -> Checked {
    credentials(lab)?;
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for _ in 0..8 {
        let (_, _, challenge, _) = challenged(lab, "5").await?;
        let Some((_, challenge)) = challenge else { return Err(fail(CLAUSE, "a challenge", "none")) };
        must!(
            !seen.contains(&challenge),
            CLAUSE,
            "a fresh challenge each time",
            "one of the last {}",
            seen.len()
        );
        must!(
            challenge.len() >= 8,
            "RFC 7143 9.2.1",
            "a challenge that cannot be guessed",
            "{} bytes",
            challenge.len()
        );
        seen.push(challenge);
    }
    Ok(())
}

async fn replay(lab: &Lab) -> Checked {
    let c = credentials(lab)?;
    let (_, _, old, _) = challenged(lab, "5").await?;
    let Some((old_id, old)) = old else { return Err(fail(CLAUSE, "a challenge", "none")) };
    let digest = response(old_id, &c.secret, &old);
    refuse(lab, "a replayed response", |c, _, _| answer(&c.user, encode_hex(&digest))).await
}

async fn reflection(lab: &Lab) -> Checked {
    refuse(lab, "its own challenge sent back", |c, id, challenge| {
        let mut pairs = answer(&c.user, encode_hex(&response(id, &c.secret, challenge)));
        pairs.push(("CHAP_I".into(), id.to_string()));
        pairs.push(("CHAP_C".into(), encode_hex(challenge)));
        pairs
    })
    .await
}

async fn mutual(lab: &Lab) -> Checked {
    let c = credentials(lab)?;
    if c.target.is_none() {
        return Err(not_claimed("no mutual CHAP is configured"));
    }
    let mut client = lab.open(0, 0, |login| login).await?;
    settle(&mut client).await?;
    client.bye().await
}

async fn no_response(lab: &Lab) -> Checked {
    credentials(lab)?;
    let (mut client, plan, _, _) = challenged(lab, "5").await?;
    // Staying in the stage and waiting for the response is as good as a refusal.
    if let Some(p) = security(&mut client, &plan, Vec::new(), true).await? {
        must!(
            p.status.class() == 2 || p.stages.next.is_none(),
            CLAUSE,
            "no transition without a response",
            "a transition to {:?}",
            p.stages.next
        );
    }
    Ok(())
}
