//! Negotiation: ranges, result functions, digests, text in full feature phase.

use bytes::Bytes;
use sanbench_wire::Pdu;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::keys;

use super::cases;
use crate::cdb;
use crate::lab::Lab;
use crate::outcome::{Checked, fail, must};
use crate::raw::{Cmd, LoginEnd};
use crate::tape::describe;

cases! {
    out_of_range "keys-out-of-range" ["ISC-003"] "Numbers outside of a key's range are rejected, not clamped";
    at_the_limits "keys-at-the-limits" ["ISC-002" "ISC-003"] "The smallest and the largest value of each range are fine";
    bad_values "keys-bad-values" ["ISC-003" "ISC-002"] "Values of the wrong kind are rejected";
    number_forms "keys-hexadecimal" ["ISC-002"] "Numbers may be written in hexadecimal";
    unknown "keys-unknown" ["ISC-002"] "Unknown keys are answered NotUnderstood";
    twice "keys-twice" ["ISC-002"] "A key that is negotiated twice ends the login";
    results "keys-results" ["ISC-002"] "Minimum and maximum functions are kept";
    booleans "keys-booleans" ["ISC-002" "ISC-004"] "InitialR2T is an OR, ImmediateData an AND";
    first_above_max "keys-first-burst-above-max" ["ISC-004"] "FirstBurstLength never exceeds MaxBurstLength";
    digest_lists "keys-digest-lists" ["ISC-002" "ISC-006"] "One value out of the list of digests is chosen; a list without a known value is rejected";
    declarations "keys-declared" ["ISC-002"] "The target declares its portal group tag";
    answered_once "keys-answered-once" ["ISC-002"] "Each offer gets exactly one answer";
    text_unknown "text-unknown-key" ["ISC-002"] "An unknown key in full feature phase is answered NotUnderstood";
    text_segment "text-segment-length" ["ISC-005" "ISC-002"] "MaxRecvDataSegmentLength may change in full feature phase";
    text_login_only "text-login-only-key" ["ISC-002"] "A key of the login cannot be negotiated in full feature phase";
    text_pieces "text-in-pieces" ["ISC-002" "ISC-019"] "A Text Request may come in pieces with the C bit";
}

/// Ranges of RFC 7143 section 13: key, smallest, largest, whether a reply is due.
const RANGES: &[(&str, u64, u64, bool, &str)] = &[
    ("MaxConnections", 1, 65_535, true, "RFC 7143 13.2"),
    ("MaxRecvDataSegmentLength", 512, 16_777_215, false, "RFC 7143 13.12"),
    ("MaxBurstLength", 512, 16_777_215, true, "RFC 7143 13.13"),
    ("FirstBurstLength", 512, 16_777_215, true, "RFC 7143 13.14"),
    ("DefaultTime2Wait", 0, 3600, true, "RFC 7143 13.15"),
    ("DefaultTime2Retain", 0, 3600, true, "RFC 7143 13.16"),
    ("MaxOutstandingR2T", 1, 65_535, true, "RFC 7143 13.17"),
    ("ErrorRecoveryLevel", 0, 2, true, "RFC 7143 13.20"),
];

async fn offer(lab: &Lab, key: &str, value: &str) -> Checked<LoginEnd> {
    let mut client = lab.connect(0, 0).await?;
    let plan = lab.plan(0, 0)?.key(key, value);
    client.login(&plan).await
}

async fn out_of_range(lab: &Lab) -> Checked {
    for &(key, low, high, _, clause) in RANGES {
        let mut bad = vec![high + 1, 1 << 33];
        if low > 0 {
            bad.push(low - 1);
        }
        for value in bad {
            let end = offer(lab, key, &value.to_string()).await?;
            if end.refused() {
                continue;
            }
            must!(
                end.value(key) == Some("Reject"),
                clause,
                format!("{key}={value} to be rejected or the login refused"),
                "{} with {key}={}",
                end.words(),
                end.value(key).unwrap_or("(no answer)")
            );
        }
    }
    Ok(())
}

async fn at_the_limits(lab: &Lab) -> Checked {
    for &(key, low, high, answered, clause) in RANGES {
        for value in [low, high] {
            let mut client = lab.connect(0, 0).await?;
            let mut plan = lab.plan(0, 0)?.key(key, &value.to_string());
            if key == "FirstBurstLength" {
                plan = plan.key("MaxBurstLength", "16777215");
            }
            if key == "MaxBurstLength" && value == 512 {
                plan = plan.key("FirstBurstLength", "512");
            }
            let end = client.login(&plan).await?;
            must!(end.full, clause, format!("a login with {key}={value}"), "{}", end.words());
            let Some(said) = end.value(key) else {
                must!(!answered, clause, format!("an answer to {key}={value}"), "none");
                continue;
            };
            let number = said.parse::<u64>().unwrap_or(u64::MAX);
            must!(
                (low..=high).contains(&number),
                clause,
                format!("a result for {key}={value} within {low} to {high}"),
                "{said}"
            );
        }
    }
    Ok(())
}

async fn bad_values(lab: &Lab) -> Checked {
    for (key, value) in [
        ("InitialR2T", "Maybe"),
        ("ImmediateData", "yes"),
        ("MaxBurstLength", "many"),
        ("MaxBurstLength", "-1"),
        ("MaxBurstLength", ""),
        ("MaxOutstandingR2T", "1,2"),
        ("DataPDUInOrder", "2"),
        ("ErrorRecoveryLevel", "0x"),
    ] {
        let end = offer(lab, key, value).await?;
        if end.refused() {
            continue;
        }
        must!(
            end.value(key) == Some("Reject"),
            "RFC 7143 6.2",
            format!("{key}={value} to be rejected or the login refused"),
            "{} with {key}={}",
            end.words(),
            end.value(key).unwrap_or("(no answer)")
        );
    }
    Ok(())
}

async fn number_forms(lab: &Lab) -> Checked {
    let end = offer(lab, "MaxBurstLength", "0x10000").await?;
    let said = end.value("MaxBurstLength").unwrap_or("(no answer)");
    let number = match said.strip_prefix("0x").or_else(|| said.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap_or(0),
        None => said.parse().unwrap_or(0),
    };
    must!(end.full, "RFC 7143 6.1", "a login with MaxBurstLength=0x10000", "{}", end.words());
    must!((512..=65_536).contains(&number), "RFC 7143 6.1", "a result up to 65536", "{said}");
    Ok(())
}

async fn unknown(lab: &Lab) -> Checked {
    for key in ["X-org.sanbench.wibble", "MaxWibbleLength"] {
        let end = offer(lab, key, "17").await?;
        must!(end.full, "RFC 7143 6.2", format!("a login in spite of {key}"), "{}", end.words());
        let said = end.value(key);
        must!(
            said == Some("NotUnderstood"),
            "RFC 7143 6.2",
            format!("{key}=NotUnderstood"),
            "{}",
            said.unwrap_or("(no answer)")
        );
    }
    Ok(())
}

async fn twice(lab: &Lab) -> Checked {
    for (key, values) in [("MaxBurstLength", ["65536", "131072"]), ("HeaderDigest", ["None", "None"])] {
        let mut client = lab.connect(0, 0).await?;
        let mut plan = lab.plan(0, 0)?;
        plan.keys.retain(|(k, _)| k != key);
        plan.keys.extend(values.map(|v| (key.to_owned(), v.to_owned())));
        let end = client.login(&plan).await?;
        must!(
            end.refused(),
            "RFC 7143 6.3",
            format!("a Login reject (initiator error) for {key} twice"),
            "{}",
            end.words()
        );
    }
    Ok(())
}

async fn results(lab: &Lab) -> Checked {
    let minimum: &[(&str, u64)] = &[
        ("MaxConnections", 4),
        ("MaxBurstLength", 8192),
        ("FirstBurstLength", 4096),
        ("DefaultTime2Retain", 7),
        ("MaxOutstandingR2T", 3),
        ("ErrorRecoveryLevel", 2),
    ];
    for &(key, value) in minimum {
        let end = offer(lab, key, &value.to_string()).await?;
        let said = end.value(key).and_then(|v| v.parse::<u64>().ok());
        must!(
            said.is_some_and(|n| n <= value),
            "RFC 7143 13",
            format!("{key} of at most {value} (minimum function)"),
            "{} with {key}={}",
            end.words(),
            end.value(key).unwrap_or("(no answer)")
        );
    }
    let end = offer(lab, "DefaultTime2Wait", "5").await?;
    let said = end.value("DefaultTime2Wait").and_then(|v| v.parse::<u64>().ok());
    must!(
        said.is_some_and(|n| n >= 5),
        "RFC 7143 13.15",
        "DefaultTime2Wait of at least 5 (maximum function)",
        "{:?}",
        end.value("DefaultTime2Wait")
    );
    Ok(())
}

async fn booleans(lab: &Lab) -> Checked {
    for (key, value, forced) in [
        ("InitialR2T", "Yes", Some("Yes")),
        ("InitialR2T", "No", None),
        ("ImmediateData", "No", Some("No")),
        ("ImmediateData", "Yes", None),
        ("DataPDUInOrder", "Yes", Some("Yes")),
        ("DataSequenceInOrder", "Yes", Some("Yes")),
    ] {
        let end = offer(lab, key, value).await?;
        let said = end.value(key);
        let right = match forced {
            Some(forced) => said == Some(forced),
            None => matches!(said, Some("Yes" | "No")),
        };
        must!(
            right,
            "RFC 7143 13",
            format!("{key}={} as answer to {value}", forced.unwrap_or("Yes or No")),
            "{}",
            said.unwrap_or("(no answer)")
        );
    }
    Ok(())
}

async fn first_above_max(lab: &Lab) -> Checked {
    let mut client = lab.connect(0, 0).await?;
    let plan = lab.plan(0, 0)?.key("MaxBurstLength", "8192").key("FirstBurstLength", "65536");
    let end = client.login(&plan).await?;
    if end.refused() {
        return Ok(());
    }
    let number = |key: &str| end.value(key).and_then(|v| v.parse::<u64>().ok());
    if end.value("FirstBurstLength") == Some("Reject") {
        return Ok(());
    }
    must!(
        number("FirstBurstLength").is_some_and(|f| number("MaxBurstLength").is_some_and(|m| f <= m)),
        "RFC 7143 13.14",
        "a FirstBurstLength not above MaxBurstLength",
        "{:?} and {:?}",
        end.value("FirstBurstLength"),
        end.value("MaxBurstLength")
    );
    Ok(())
}

async fn digest_lists(lab: &Lab) -> Checked {
    for key in ["HeaderDigest", "DataDigest"] {
        for list in ["CRC32C,None", "None,CRC32C", "None"] {
            let end = offer(lab, key, list).await?;
            let said = end.value(key).unwrap_or("(no answer)").to_owned();
            must!(
                end.full && list.split(',').any(|v| v == said),
                "RFC 7143 13.1",
                format!("one of {list} for {key}"),
                "{} with {said}",
                end.words()
            );
        }
        let end = offer(lab, key, "CRC-48,Sum").await?;
        must!(
            end.refused() || end.value(key) == Some("Reject"),
            "RFC 7143 6.2.1",
            format!("{key}=Reject, or a refusal, when nothing in the list is known"),
            "{} with {}",
            end.words(),
            end.value(key).unwrap_or("(no answer)")
        );
    }
    Ok(())
}

async fn declarations(lab: &Lab) -> Checked {
    let mut client = lab.connect(0, 0).await?;
    let end = client.login(&lab.plan(0, 0)?).await?;
    let tag = end.value("TargetPortalGroupTag").and_then(|v| v.parse::<u32>().ok());
    must!(
        tag.is_some_and(|t| t <= 65_535),
        "RFC 7143 13.9",
        "TargetPortalGroupTag in the first response of a normal session",
        "{:?}",
        end.value("TargetPortalGroupTag")
    );
    let segment = end.value("MaxRecvDataSegmentLength").map(|v| v.parse::<u32>().unwrap_or(0));
    must!(
        segment.is_none_or(|n| (512..=16_777_215).contains(&n)),
        "RFC 7143 13.12",
        "a declared segment length within 512 to 16777215",
        "{segment:?}"
    );
    client.bye().await
}

async fn answered_once(lab: &Lab) -> Checked {
    let mut client = lab.connect(0, 0).await?;
    let plan = lab.plan(0, 0)?;
    let end = client.login(&plan).await?;
    for (key, _) in &plan.keys {
        let answers = end.keys.iter().filter(|(k, _)| k == key).count();
        let due = if key == "MaxRecvDataSegmentLength" { 0..=1 } else { 1..=1 };
        must!(due.contains(&answers), "RFC 7143 6.2", format!("one answer to {key}"), "{answers}");
    }
    client.bye().await
}

async fn ask(client: &mut crate::raw::Client, pairs: &[(&str, &str)]) -> Checked<Result<String, Pdu>> {
    let itt = client.itt();
    client.text(Bytes::from(keys::encode(pairs.iter().copied())), itt, RESERVED_TAG, true).await;
    match client.next("a Text Response").await? {
        Pdu::TextResponse(p) => Ok(Ok(String::from_utf8_lossy(&p.text).replace('\0', " "))),
        other => Ok(Err(other)),
    }
}

async fn text_unknown(lab: &Lab) -> Checked {
    let mut client = lab.session().await?;
    match ask(&mut client, &[("X-org.sanbench.wibble", "1")]).await? {
        Ok(said) => must!(
            said.contains("X-org.sanbench.wibble=NotUnderstood"),
            "RFC 7143 6.2",
            "X-org.sanbench.wibble=NotUnderstood",
            "{said}"
        ),
        Err(other) => return Err(fail("RFC 7143 11.11", "a Text Response", describe(&other.emit()))),
    }
    client.alive("a text negotiation").await?;
    client.bye().await
}

async fn text_segment(lab: &Lab) -> Checked {
    let mut client = lab.session().await?;
    match ask(&mut client, &[("MaxRecvDataSegmentLength", "1024")]).await? {
        Ok(_) => {}
        Err(Pdu::Reject(_)) => {
            return Err(crate::outcome::not_claimed("the target refuses negotiation in full feature phase"));
        }
        Err(other) => return Err(fail("RFC 7143 11.11", "a Text Response", describe(&other.emit()))),
    }
    client.params.max_recv = 1024;
    client.monitor.agreed.max_recv = 1024;
    let data = client.good(&Cmd::read(cdb::read(0, 32), 16_384), "SBC-3 5.11").await?;
    must!(data.len() == 16_384, "RFC 7143 13.12", "16384 bytes in segments of 1024", "{} bytes", data.len());
    client.bye().await
}

async fn text_login_only(lab: &Lab) -> Checked {
    let mut client = lab.session().await?;
    match ask(&mut client, &[("MaxConnections", "2")]).await? {
        Ok(said) => must!(
            !said.contains("MaxConnections=") || said.contains("MaxConnections=Reject"),
            "RFC 7143 13.2",
            "MaxConnections not to be negotiated outside of the leading login",
            "{said}"
        ),
        Err(Pdu::Reject(_)) => {}
        Err(other) => return Err(fail("RFC 7143 6.4", "a refusal", describe(&other.emit()))),
    }
    Ok(())
}

async fn text_pieces(lab: &Lab) -> Checked {
    let mut client = lab.session().await?;
    let itt = client.itt();
    let text = keys::encode([("SendTargets", "")]);
    let mut ttt = RESERVED_TAG;
    for (n, piece) in text.chunks(7).enumerate() {
        let last = (n + 1) * 7 >= text.len();
        let request = sanbench_wire::pdu::TextRequest {
            immediate: false,
            last,
            continues: !last,
            lun: sanbench_wire::scsi::luns::Lun::ZERO,
            itt,
            ttt,
            cmd_sn: client.take_cmd_sn(),
            exp_stat_sn: client.exp_stat_sn(),
            text: Bytes::copy_from_slice(piece),
        };
        client.send(request).await;
        match client.next("a Text Response to each piece").await? {
            Pdu::TextResponse(p) if last => {
                let said = String::from_utf8_lossy(&p.text).replace('\0', " ");
                must!(said.contains("TargetName="), "RFC 7143 6.2", "the list of targets", "{said}");
            }
            Pdu::TextResponse(p) => {
                must!(
                    p.text.is_empty() && !p.last,
                    "RFC 7143 6.2",
                    "an empty answer without F to a request with C",
                    "{}",
                    describe(&Pdu::from(p).emit())
                );
                ttt = p.ttt;
            }
            other => return Err(fail("RFC 7143 11.11", "a Text Response", describe(&other.emit()))),
        }
    }
    client.alive("text in pieces").await?;
    client.bye().await
}
