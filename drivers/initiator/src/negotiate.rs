//! Operational negotiation: what we offer, and what a target's answer makes of it (RFC 7143 sections 6.2 and 13).
//!
//! Each key has one rule; an answer that does not follow it ends the login, since both sides would go on with
//! different numbers. Values are never clamped silently.

use std::collections::BTreeMap;

use sanbench_wire::Digests;
use sanbench_wire::keys::{IRRELEVANT, NOT_UNDERSTOOD, REJECT};

use crate::config::{DigestOffer, SessionConfig};
use crate::error::LoginError;

/// The parameters of a session once both sides agree. Lengths in bytes, times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Digests in the full feature phase.
    pub digests: Digests,
    /// No unsolicited Data-Out.
    pub initial_r2t: bool,
    /// Data may ride on the SCSI Command.
    pub immediate_data: bool,
    /// What the target takes in one data segment.
    pub send_data_segment: u32,
    /// What we take in one data segment.
    pub recv_data_segment: u32,
    /// Longest sequence of Data-In or solicited Data-Out.
    pub max_burst: u32,
    /// Most unsolicited data of one command.
    pub first_burst: u32,
    /// R2Ts that may be open for one task.
    pub max_outstanding_r2t: u16,
    /// Wait before a reconnection.
    pub time2wait: u16,
    /// How long the target keeps task state after that.
    pub time2retain: u16,
    /// Target portal group tag, when the target told it.
    pub portal_group: Option<u16>,
}

impl Default for Parameters {
    /// The values that hold before any negotiation (RFC 7143 section 13).
    fn default() -> Self {
        Self {
            digests: Digests::default(),
            initial_r2t: true,
            immediate_data: true,
            send_data_segment: 8192,
            recv_data_segment: 8192,
            max_burst: 262_144,
            first_burst: 65_536,
            max_outstanding_r2t: 1,
            time2wait: 2,
            time2retain: 20,
            portal_group: None,
        }
    }
}

const SEGMENT: std::ops::RangeInclusive<u32> = 512..=0x00ff_ffff;

/// Operational keys of RFC 7143 chapter 13 that both sides negotiate or declare.
const KNOWN: [&str; 18] = [
    "HeaderDigest",
    "DataDigest",
    "MaxConnections",
    "SendTargets",
    "InitialR2T",
    "ImmediateData",
    "MaxRecvDataSegmentLength",
    "MaxBurstLength",
    "FirstBurstLength",
    "DefaultTime2Wait",
    "DefaultTime2Retain",
    "MaxOutstandingR2T",
    "DataPDUInOrder",
    "DataSequenceInOrder",
    "ErrorRecoveryLevel",
    "SessionType",
    "AuthMethod",
    "InitiatorName",
];

/// Whether this initiator knows a key at all: what it does not know is answered NotUnderstood.
pub fn is_known(key: &str) -> bool {
    KNOWN.contains(&key)
}

/// A MaxRecvDataSegmentLength in its range.
pub fn segment_length(value: &str) -> Option<u32> {
    number(value).filter(|v| SEGMENT.contains(v))
}

fn yes_no(value: bool) -> String {
    if value { "Yes" } else { "No" }.to_owned()
}

fn digest(offer: DigestOffer) -> &'static str {
    match offer {
        DigestOffer::Never => "None",
        DigestOffer::Prefer => "CRC32C,None",
        DigestOffer::Allow => "None,CRC32C",
        DigestOffer::Require => "CRC32C",
    }
}

/// The operational keys and our values, in the order in which they are sent.
pub fn offers(config: &SessionConfig, discovery: bool) -> Vec<(String, String)> {
    let mut pairs = vec![
        ("HeaderDigest", digest(config.header_digest).to_owned()),
        ("DataDigest", digest(config.data_digest).to_owned()),
        ("MaxRecvDataSegmentLength", config.max_recv_data_segment.to_string()),
        ("DefaultTime2Wait", config.time2wait.to_string()),
        ("DefaultTime2Retain", config.time2retain.to_string()),
        ("ErrorRecoveryLevel", "0".to_owned()),
    ];
    if !discovery {
        pairs.extend([
            ("MaxConnections", "1".to_owned()),
            ("InitialR2T", yes_no(config.initial_r2t)),
            ("ImmediateData", yes_no(config.immediate_data)),
            ("MaxBurstLength", config.max_burst.to_string()),
            ("FirstBurstLength", config.first_burst.min(config.max_burst).to_string()),
            ("MaxOutstandingR2T", config.max_outstanding_r2t.to_string()),
            ("DataPDUInOrder", "Yes".to_owned()),
            ("DataSequenceInOrder", "Yes".to_owned()),
        ]);
    }
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// Collects a target's answers against the offers made.
#[derive(Debug)]
pub struct Negotiation {
    open: BTreeMap<String, String>,
    seen: BTreeMap<String, ()>,
    result: Parameters,
    replies: Vec<(String, String)>,
}

impl Negotiation {
    /// Begins with the offers of `config`.
    pub fn new(config: &SessionConfig, discovery: bool) -> Self {
        let result = Parameters { recv_data_segment: config.max_recv_data_segment, ..Parameters::default() };
        let open = offers(config, discovery).into_iter().collect();
        Self { open, seen: BTreeMap::new(), result, replies: Vec::new() }
    }

    /// Takes one pair from the target: the answer to an offer, a declaration, or an offer of its own.
    ///
    /// # Errors
    /// [`LoginError::Negotiation`] when the value breaks the key's rule or the key comes twice.
    pub fn take(&mut self, key: &str, value: &str) -> Result<(), LoginError> {
        let bad = |problem| LoginError::Negotiation { key: key.to_owned(), problem };
        if self.seen.insert(key.to_owned(), ()).is_some() {
            return Err(bad("the key came twice"));
        }
        // Declarations answer nothing and are answered by nothing.
        match key {
            "MaxRecvDataSegmentLength" => {
                let length = segment_length(value).ok_or(bad("out of range"))?;
                self.result.send_data_segment = length;
                self.open.remove(key);
                return Ok(());
            }
            "TargetPortalGroupTag" => {
                let tag = number(value).and_then(|v| u16::try_from(v).ok()).ok_or(bad("out of range"))?;
                self.result.portal_group = Some(tag);
                return Ok(());
            }
            "TargetAlias" | "TargetAddress" => return Ok(()),
            _ => {}
        }
        let Some(offer) = self.open.remove(key) else {
            if self.seen.len() > 64 {
                return Err(bad("too many keys"));
            }
            // A proposal of the target. Every known key that matters was offered by us: what is left does not matter in this
            // kind of session (section 6.2).
            if ![NOT_UNDERSTOOD, REJECT, IRRELEVANT].contains(&value) {
                let answer = if is_known(key) { IRRELEVANT } else { NOT_UNDERSTOOD };
                self.replies.push((key.to_owned(), answer.to_owned()));
            }
            return Ok(());
        };
        match value {
            // The default of the key stays in force; for a digest that is None.
            IRRELEVANT => return Ok(()),
            NOT_UNDERSTOOD | REJECT => {
                return if offer == "CRC32C" { Err(bad("a required digest was refused")) } else { Ok(()) };
            }
            _ => {}
        }
        let result = &mut self.result;
        match key {
            "HeaderDigest" | "DataDigest" => {
                if !offer.split(',').any(|o| o == value) {
                    return Err(bad("not one of the offered values"));
                }
                let on = value == "CRC32C";
                if key == "HeaderDigest" { result.digests.header = on } else { result.digests.data = on }
            }
            // OR function: No only when both say so.
            "InitialR2T" => {
                result.initial_r2t = or(&offer, value).ok_or(bad("not Yes or No as the rule has it"))?
            }
            "DataPDUInOrder" | "DataSequenceInOrder" => {
                or(&offer, value).ok_or(bad("must be Yes when one side wants order"))?;
            }
            // AND function: Yes only when both say so.
            "ImmediateData" => {
                result.immediate_data = and(&offer, value).ok_or(bad("not Yes or No as the rule has it"))?;
            }
            "MaxBurstLength" => {
                result.max_burst = least(&offer, value, SEGMENT).ok_or(bad("not a minimum"))?
            }
            "FirstBurstLength" => {
                result.first_burst = least(&offer, value, SEGMENT).ok_or(bad("not a minimum"))?
            }
            "MaxOutstandingR2T" => {
                let least = least(&offer, value, 1..=65_535).ok_or(bad("not a minimum"))?;
                result.max_outstanding_r2t = u16::try_from(least).unwrap_or(u16::MAX);
            }
            "MaxConnections" => {
                least(&offer, value, 1..=65_535).ok_or(bad("not a minimum"))?;
            }
            "ErrorRecoveryLevel" => {
                least(&offer, value, 0..=2).ok_or(bad("not a minimum"))?;
            }
            // Maximum function.
            "DefaultTime2Wait" => {
                let answer = number(value).filter(|v| *v <= 3600).ok_or(bad("out of range"))?;
                if number(&offer).is_some_and(|o| answer < o) {
                    return Err(bad("not a maximum"));
                }
                result.time2wait = u16::try_from(answer).unwrap_or(3600);
            }
            "DefaultTime2Retain" => {
                let least = least(&offer, value, 0..=3600).ok_or(bad("not a minimum"))?;
                result.time2retain = u16::try_from(least).unwrap_or(3600);
            }
            _ => {}
        }
        Ok(())
    }

    /// Answers to the target's own proposals, to be sent in the next request.
    pub fn take_replies(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.replies)
    }

    /// The agreed parameters.
    ///
    /// # Errors
    /// A required digest that was not answered; FirstBurstLength over MaxBurstLength (section 13.14).
    pub fn finish(mut self) -> Result<Parameters, LoginError> {
        for key in ["HeaderDigest", "DataDigest"] {
            if self.open.get(key).is_some_and(|o| o == "CRC32C") {
                return Err(LoginError::Negotiation {
                    key: key.to_owned(),
                    problem: "a required digest was not answered",
                });
            }
        }
        if self.result.first_burst > self.result.max_burst {
            let irrelevant = self.result.initial_r2t && !self.result.immediate_data;
            if self.seen.contains_key("FirstBurstLength") && !irrelevant {
                return Err(LoginError::Negotiation {
                    key: "FirstBurstLength".to_owned(),
                    problem: "over MaxBurstLength",
                });
            }
            self.result.first_burst = self.result.max_burst;
        }
        Ok(self.result)
    }
}

/// A numerical value, decimal or hexadecimal (section 6.1).
fn number(value: &str) -> Option<u32> {
    let (digits, radix) = match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (value, 10),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

fn least(offer: &str, value: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
    number(value).filter(|v| range.contains(v) && number(offer).is_some_and(|o| *v <= o))
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

fn or(offer: &str, value: &str) -> Option<bool> {
    boolean(value).filter(|v| *v || offer == "No")
}

fn and(offer: &str, value: &str) -> Option<bool> {
    boolean(value).filter(|v| !*v || offer == "Yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(config: &SessionConfig, answers: &[(&str, &str)]) -> Result<Parameters, LoginError> {
        let mut negotiation = Negotiation::new(config, false);
        for (key, value) in answers {
            negotiation.take(key, value)?;
        }
        negotiation.finish()
    }

    #[test]
    fn every_key_follows_its_rule() {
        let config = SessionConfig {
            header_digest: DigestOffer::Prefer,
            data_digest: DigestOffer::Require,
            ..SessionConfig::default()
        };
        let table: &[(&str, &[&str])] = &[
            ("HeaderDigest", &["CRC32C", "None", "MD5", "Reject", "CRC32C,None"]),
            ("DataDigest", &["CRC32C", "None", "NotUnderstood"]),
            ("InitialR2T", &["Yes", "No", "yes", ""]),
            ("ImmediateData", &["Yes", "No", "Maybe"]),
            (
                "MaxRecvDataSegmentLength",
                &["512", "511", "16777215", "16777216", "0x1000", "-1", "1e3", "4294967808"],
            ),
            ("MaxBurstLength", &["512", "1048576", "1048577", "511", "0x10000"]),
            ("FirstBurstLength", &["512", "262144", "262145", "Irrelevant"]),
            ("MaxOutstandingR2T", &["1", "4", "5", "0"]),
            ("MaxConnections", &["1", "2", "0"]),
            ("ErrorRecoveryLevel", &["0", "1"]),
            ("DefaultTime2Wait", &["2", "1", "3600", "3601"]),
            ("DefaultTime2Retain", &["0", "1"]),
            ("DataPDUInOrder", &["Yes", "No"]),
            ("DataSequenceInOrder", &["Yes", "No"]),
            ("TargetPortalGroupTag", &["1", "65535", "65536"]),
            ("X-org.example.key", &["anything"]),
        ];
        let mut lines = Vec::new();
        for (key, values) in table {
            for value in *values {
                let mut negotiation = Negotiation::new(&config, false);
                let verdict = match negotiation.take(key, value) {
                    Ok(()) => {
                        let replies = negotiation.take_replies();
                        format!("ok {}", replies.iter().map(|(k, v)| format!("{k}={v}")).collect::<String>())
                    }
                    Err(error) => error.to_string(),
                };
                lines.push(format!("{key}={value}: {}", verdict.trim_end()));
            }
        }
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn results_of_a_whole_exchange() {
        let config = SessionConfig { header_digest: DigestOffer::Prefer, ..SessionConfig::default() };
        let all = run(
            &config,
            &[
                ("TargetPortalGroupTag", "3"),
                ("HeaderDigest", "CRC32C"),
                ("DataDigest", "None"),
                ("MaxRecvDataSegmentLength", "65536"),
                ("InitialR2T", "Yes"),
                ("ImmediateData", "No"),
                ("MaxBurstLength", "131072"),
                ("FirstBurstLength", "Irrelevant"),
                ("MaxOutstandingR2T", "1"),
                ("DefaultTime2Wait", "5"),
                ("DefaultTime2Retain", "0"),
                ("ErrorRecoveryLevel", "0"),
            ],
        );
        insta::assert_debug_snapshot!(all);
        // Nothing answered: the defaults of the RFC, with our own receive length.
        insta::assert_debug_snapshot!(run(&config, &[]));
    }

    #[test]
    fn contradictions_end_the_login() {
        let config = SessionConfig::default();
        assert!(run(&config, &[("MaxBurstLength", "512"), ("FirstBurstLength", "1024")]).is_err());
        assert!(run(&config, &[("InitialR2T", "No"), ("InitialR2T", "No")]).is_err());
        let strict = SessionConfig { data_digest: DigestOffer::Require, ..config };
        assert!(run(&strict, &[]).is_err());
    }
}
