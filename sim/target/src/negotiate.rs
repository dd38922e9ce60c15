//! Operational keys: each with its rule of RFC 7143 section 13.

use sanbench_wire::frame::Digests;
use sanbench_wire::keys::{IRRELEVANT, NONE, NOT_UNDERSTOOD, REJECT};

use crate::config::TargetConfig;

/// Digest name on the wire.
const CRC32C: &str = "CRC32C";

/// What both sides agreed on; starts with the defaults of RFC 7143 section 13.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Params {
    pub(crate) digests: Digests,
    /// Largest data segment that the initiator receives, bytes (its declaration).
    pub(crate) send_segment: u32,
    pub(crate) initial_r2t: bool,
    pub(crate) immediate_data: bool,
    /// Bytes.
    pub(crate) max_burst: u32,
    /// Bytes.
    pub(crate) first_burst: u32,
    pub(crate) max_outstanding_r2t: u16,
    /// Seconds.
    pub(crate) time2wait: u16,
    /// Seconds.
    pub(crate) time2retain: u16,
    /// 0 or 1.
    pub(crate) error_recovery_level: u8,
}

/// Where in a connection's life a key comes (the "Use" of each key in RFC 7143 section 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Login, SecurityNegotiation.
    Security,
    /// Login, LoginOperationalNegotiation.
    Operational,
    /// Full feature phase.
    FullFeature,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            digests: Digests::default(),
            send_segment: 8192,
            initial_r2t: true,
            immediate_data: true,
            max_burst: 262_144,
            first_burst: 65_536,
            max_outstanding_r2t: 1,
            time2wait: 2,
            time2retain: 20,
            error_recovery_level: 0,
        }
    }
}

/// The answer to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Send `key=value`.
    Value(String),
    /// A declaration that wants no answer.
    Silent,
}

fn yes_no(value: bool) -> Answer {
    Answer::Value(if value { "Yes" } else { "No" }.to_owned())
}

fn word(value: &str) -> Answer {
    Answer::Value(value.to_owned())
}

/// A numeric value: decimal or `0x` hexadecimal (RFC 7143 section 6.1). Values out of range have no meaning (section 6.2.2).
fn number(text: &str, range: std::ops::RangeInclusive<u32>, clamp: bool) -> Option<u32> {
    let value: u64 = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u64::from_str_radix(hex, 16).ok()?
        }
        Some(_) => return None,
        None if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
        None => return None,
    };
    let value = if clamp { value.clamp((*range.start()).into(), (*range.end()).into()) } else { value };
    u32::try_from(value).ok().filter(|value| range.contains(value))
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// Applies one key of the initiator and gives the answer.
pub(crate) fn apply(
    params: &mut Params,
    config: &TargetConfig,
    discovery: bool,
    phase: Phase,
    key: &str,
    value: &str,
) -> Answer {
    let reject = word(REJECT);
    // Declarations that may come at any time and want no answer (sections 13.7 and 13.26).
    if matches!(key, "InitiatorAlias" | "X#NodeArchitecture") {
        return Answer::Silent;
    }
    // The answer to an answer would go on for ever: these words are never an offer (section 6.2).
    if matches!(value, NOT_UNDERSTOOD | IRRELEVANT | REJECT) {
        return if is_known(key) { reject } else { Answer::Silent };
    }
    // Only this one may come in every phase; operational keys have no place before the operational stage.
    if phase != Phase::Operational && key != "MaxRecvDataSegmentLength" {
        return if is_known(key) { reject } else { word(NOT_UNDERSTOOD) };
    }
    // In a discovery session these have no meaning (RFC 7143 section 13, "Irrelevant when: SessionType=Discovery").
    let session_wide = matches!(
        key,
        "MaxConnections"
            | "InitialR2T"
            | "ImmediateData"
            | "MaxBurstLength"
            | "FirstBurstLength"
            | "MaxOutstandingR2T"
            | "DataPDUInOrder"
            | "DataSequenceInOrder"
            | "TaskReporting"
            | "iSCSIProtocolLevel"
    );
    if discovery && session_wide {
        return word(IRRELEVANT);
    }
    let number = |text: &str, range| number(text, range, config.defects.clamps_silently);
    /// min, max, AND, OR over what both sides want; a malformed value is rejected.
    macro_rules! number {
        ($range:expr, $with:expr, $ours:expr => $field:expr) => {
            match number(value, $range) {
                Some(theirs) => {
                    let result = $with(theirs, u32::from($ours));
                    $field = result.try_into().unwrap_or($field);
                    word(&result.to_string())
                }
                None => reject,
            }
        };
    }
    match key {
        "HeaderDigest" | "DataDigest" => {
            let chosen = value.split(',').find(|offer| *offer == CRC32C || *offer == NONE);
            match chosen {
                Some(chosen) if key == "HeaderDigest" => {
                    params.digests.header = chosen == CRC32C;
                    word(chosen)
                }
                Some(chosen) => {
                    params.digests.data = chosen == CRC32C;
                    word(chosen)
                }
                None => reject,
            }
        }
        "MaxRecvDataSegmentLength" => match number(value, 512..=0x00ff_ffff) {
            Some(theirs) => {
                params.send_segment = theirs;
                // Declarative: the answer is our own declaration.
                word(&config.max_recv_data_segment.to_string())
            }
            None => reject,
        },
        "MaxBurstLength" => {
            let answer = number!(512..=0x00ff_ffff, u32::min, config.max_burst => params.max_burst);
            params.first_burst = params.first_burst.min(params.max_burst);
            answer
        }
        "FirstBurstLength" => {
            let ours = config.first_burst.min(params.max_burst);
            number!(512..=0x00ff_ffff, u32::min, ours => params.first_burst)
        }
        "MaxOutstandingR2T" => {
            number!(1..=65_535, u32::min, config.max_outstanding_r2t => params.max_outstanding_r2t)
        }
        "DefaultTime2Wait" => number!(0..=3600, u32::max, config.time2wait => params.time2wait),
        "DefaultTime2Retain" => number!(0..=3600, u32::min, config.time2retain => params.time2retain),
        "MaxConnections" => match number(value, 1..=65_535) {
            Some(_) => word("1"),
            None => reject,
        },
        "ErrorRecoveryLevel" => {
            let ours = config.error_recovery_level.min(1);
            number!(0..=2, u32::min, ours => params.error_recovery_level)
        }
        // RFC 7144 section 7.1; level 1 is RFC 7143.
        "iSCSIProtocolLevel" => match number(value, 0..=31) {
            Some(theirs) => word(&theirs.min(1).to_string()),
            None => reject,
        },
        "InitialR2T" => match boolean(value) {
            Some(theirs) => {
                params.initial_r2t = theirs || config.initial_r2t;
                yes_no(params.initial_r2t)
            }
            None => reject,
        },
        "ImmediateData" => match boolean(value) {
            Some(theirs) => {
                params.immediate_data = theirs && config.immediate_data;
                yes_no(params.immediate_data)
            }
            None => reject,
        },
        // OR, and we need both in order.
        "DataPDUInOrder" | "DataSequenceInOrder" => boolean(value).map_or(reject, |_| yes_no(true)),
        // Obsolete since RFC 7143; AND, and we never want markers.
        "IFMarker" | "OFMarker" => boolean(value).map_or(reject, |_| yes_no(false)),
        // With one connection the order of the stream is the response fence (section 4.2.2.3.3).
        "TaskReporting" => {
            let chosen = value.split(',').find(|offer| matches!(*offer, "ResponseFence" | "RFC3720"));
            chosen.map_or(reject, word)
        }
        "IFMarkInt" | "OFMarkInt" => reject,
        // The target's own declarations make no sense from an initiator.
        _ if is_known(key) => reject,
        _ => word(NOT_UNDERSTOOD),
    }
}

fn is_known(key: &str) -> bool {
    matches!(
        key,
        "HeaderDigest"
            | "DataDigest"
            | "MaxConnections"
            | "InitialR2T"
            | "ImmediateData"
            | "MaxBurstLength"
            | "FirstBurstLength"
            | "MaxOutstandingR2T"
            | "DataPDUInOrder"
            | "DataSequenceInOrder"
            | "DefaultTime2Wait"
            | "DefaultTime2Retain"
            | "ErrorRecoveryLevel"
            | "InitiatorName"
            | "TargetName"
            | "InitiatorAlias"
            | "SessionType"
            | "AuthMethod"
            | "TaskReporting"
            | "IFMarker"
            | "OFMarker"
            | "IFMarkInt"
            | "OFMarkInt"
            | "iSCSIProtocolLevel"
            | "MaxRecvDataSegmentLength"
            | "SendTargets"
            | "X#NodeArchitecture"
            | "TargetAlias"
            | "TargetAddress"
            | "TargetPortalGroupTag"
    )
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// Every key with ordinary, extreme and wrong offers: the answer in a normal login, in a discovery login, in full
    /// feature phase, in the security stage.
    #[test]
    fn table() {
        let offers = [
            ("HeaderDigest", &["CRC32C,None", "None,CRC32C", "CRC32C", "None", "MD5", ""][..]),
            ("DataDigest", &["CRC32C,None", "None"]),
            (
                "MaxRecvDataSegmentLength",
                &["511", "512", "0x10000", "16777215", "16777216", "4294967808", "-1", "1 ", "Reject"],
            ),
            ("MaxBurstLength", &["16776192", "4096", "0"]),
            ("FirstBurstLength", &["16776192", "65536", "x"]),
            ("MaxOutstandingR2T", &["1", "65535", "0", "65536"]),
            ("DefaultTime2Wait", &["0", "5", "3601"]),
            ("DefaultTime2Retain", &["20", "0"]),
            ("MaxConnections", &["1", "8", "0"]),
            ("ErrorRecoveryLevel", &["0", "2", "3"]),
            ("InitialR2T", &["Yes", "No", "yes"]),
            ("ImmediateData", &["Yes", "No"]),
            ("DataPDUInOrder", &["Yes", "No"]),
            ("DataSequenceInOrder", &["Yes", "No"]),
            ("IFMarker", &["Yes", "No"]),
            ("IFMarkInt", &["2048"]),
            ("TaskReporting", &["FastAbort,RFC3720", "ResponseFence,RFC3720", "FastAbort"]),
            ("iSCSIProtocolLevel", &["0", "1", "31", "32"]),
            ("SendTargets", &["All"]),
            ("X#NodeArchitecture", &["ISP,1"]),
            ("X-org.example.Answer", &["NotUnderstood"]),
            ("InitiatorAlias", &["me"]),
            ("TargetAlias", &["you"]),
            ("X-org.example.Thing", &["1"]),
        ];
        let mut table = String::new();
        for (key, values) in offers {
            for value in values {
                let config = TargetConfig::default();
                let say = |discovery, phase| match apply(
                    &mut Params::default(),
                    &config,
                    discovery,
                    phase,
                    key,
                    value,
                ) {
                    Answer::Value(v) => v,
                    Answer::Silent => "(silent)".to_owned(),
                };
                let line = [
                    say(false, Phase::Operational),
                    say(true, Phase::Operational),
                    say(false, Phase::FullFeature),
                    say(false, Phase::Security),
                ];
                let _ = writeln!(
                    table,
                    "{:<42} {:<15} {:<15} {:<15} {}",
                    format!("{key}={value}"),
                    line[0],
                    line[1],
                    line[2],
                    line[3]
                );
            }
        }
        insta::assert_snapshot!("keys", table);
    }

    #[test]
    fn first_burst_never_exceeds_the_burst() {
        let config = TargetConfig::default();
        for order in [["FirstBurstLength", "MaxBurstLength"], ["MaxBurstLength", "FirstBurstLength"]] {
            let mut params = Params::default();
            for key in order {
                let value = if key == "MaxBurstLength" { "8192" } else { "65536" };
                apply(&mut params, &config, false, Phase::Operational, key, value);
            }
            assert!(params.first_burst <= params.max_burst);
        }
    }

    #[test]
    fn the_recovery_level_is_the_lower_one() {
        for (ours, theirs, agreed) in [(0, "1", 0), (1, "0", 0), (1, "1", 1), (1, "2", 1), (9, "2", 1)] {
            let config = TargetConfig { error_recovery_level: ours, ..TargetConfig::default() };
            let mut params = Params::default();
            apply(&mut params, &config, false, Phase::Operational, "ErrorRecoveryLevel", theirs);
            assert_eq!(params.error_recovery_level, agreed, "{ours} {theirs}");
        }
    }

    /// ISC-003: the planted defect takes what is out of range for the nearest bound.
    #[test]
    fn the_planted_clamp_is_the_only_one() {
        let mut config = TargetConfig::default();
        let say = |config: &TargetConfig| {
            apply(&mut Params::default(), config, false, Phase::Operational, "MaxBurstLength", "16777216")
        };
        assert_eq!(say(&config), word(REJECT));
        config.defects.clamps_silently = true;
        assert_eq!(say(&config), word("1048576"));
    }
}
