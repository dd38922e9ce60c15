//! Login with whatever keys, stages and numbers a case wants.

use bytes::Bytes;
use sanbench_wire::Pdu;
use sanbench_wire::keys::{self, KeyLimits, Pair};
use sanbench_wire::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage, Stages};

use super::{Client, Got, Params};
use crate::chap;
use crate::outcome::{Checked, fail};
use crate::tape::describe;

/// Most requests of one login.
const ROUNDS: usize = 12;

/// Kind of session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionType {
    /// For SCSI.
    Normal,
    /// For SendTargets.
    Discovery,
}

/// How to log in.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// InitiatorName; `None`: the key is left out.
    pub(crate) initiator: Option<String>,
    /// TargetName.
    pub(crate) target: Option<String>,
    /// SessionType.
    pub(crate) session: SessionType,
    /// ISID.
    pub(crate) isid: [u8; 6],
    /// TSIH; 0 for a new session.
    pub(crate) tsih: u16,
    /// CID.
    pub(crate) cid: u16,
    /// First CmdSN.
    pub(crate) cmd_sn: u32,
    /// Lowest and highest version offered.
    pub(crate) versions: (u8, u8),
    /// Operational keys, in order.
    pub(crate) keys: Vec<Pair>,
    /// Stages to go through; the last one leads to full feature phase.
    pub(crate) stages: Vec<Stage>,
    /// Credentials.
    pub(crate) chap: Option<chap::Credentials>,
}

/// What a login ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoginEnd {
    /// Status of the last response; `None` when the connection ended without one.
    pub(crate) status: Option<LoginStatus>,
    /// Full feature phase was reached.
    pub(crate) full: bool,
    /// TSIH of the last response.
    pub(crate) tsih: u16,
    /// Everything that the target said, in order.
    pub(crate) keys: Vec<Pair>,
    /// Version-active of the last response.
    pub(crate) version: u8,
}

impl LoginEnd {
    /// The target's value for a key.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.keys.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// In words.
    pub(crate) fn words(&self) -> String {
        match (self.full, self.status) {
            (true, _) => "full feature phase".to_owned(),
            (false, Some(s)) => format!("status {:04x} ({s})", s.0),
            (false, None) => "the connection ended without a status".to_owned(),
        }
    }

    /// Refused with an initiator error (class 2) or by ending the connection.
    pub(crate) fn refused(&self) -> bool {
        !self.full && self.status.is_none_or(|s| s.class() == 2)
    }
}

/// The operational keys of a plain session, each with its value.
pub(crate) fn plain_keys() -> Vec<Pair> {
    [
        ("HeaderDigest", "None"),
        ("DataDigest", "None"),
        ("MaxConnections", "1"),
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("MaxRecvDataSegmentLength", "262144"),
        ("MaxBurstLength", "262144"),
        ("FirstBurstLength", "65536"),
        ("DefaultTime2Wait", "2"),
        ("DefaultTime2Retain", "0"),
        ("MaxOutstandingR2T", "1"),
        ("ErrorRecoveryLevel", "0"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .to_vec()
}

impl Login {
    /// Sets a key, in its place or at the end.
    pub(crate) fn key(mut self, key: &str, value: &str) -> Login {
        match self.keys.iter_mut().find(|(k, _)| k == key) {
            Some(slot) => slot.1 = value.to_owned(),
            None => self.keys.push((key.to_owned(), value.to_owned())),
        }
        self
    }

    /// Only these keys.
    pub(crate) fn only(mut self, keys: &[(&str, &str)]) -> Login {
        self.keys = keys.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self
    }

    /// Names that open the first request.
    pub(crate) fn names(&self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        if let Some(name) = &self.initiator {
            pairs.push(("InitiatorName".to_owned(), name.clone()));
        }
        if self.session == SessionType::Discovery {
            pairs.push(("SessionType".to_owned(), "Discovery".to_owned()));
        } else {
            pairs.push(("SessionType".to_owned(), "Normal".to_owned()));
        }
        if let Some(name) = &self.target {
            pairs.push(("TargetName".to_owned(), name.clone()));
        }
        pairs
    }

    /// A request of this login.
    pub(crate) fn request(&self, stages: Stages, text: Vec<u8>, exp_stat_sn: u32) -> LoginRequest {
        LoginRequest {
            stages,
            version_min: self.versions.0,
            version_max: self.versions.1,
            isid: self.isid,
            tsih: self.tsih,
            itt: 0x7fff_0001,
            cid: self.cid,
            cmd_sn: self.cmd_sn,
            exp_stat_sn,
            text: Bytes::from(text),
        }
    }
}

impl Client {
    /// Sends one Login Request and takes its answer; `None` when the connection ended.
    pub(crate) async fn login_step(&mut self, request: LoginRequest) -> Checked<Option<LoginResponse>> {
        let itt = request.itt;
        let (sent, continues) = (request.stages, request.stages.continues);
        self.send(request).await;
        match self.poll(self.patience).await? {
            Got::Closed(_) => Ok(None),
            Got::Silence => Err(fail(
                "RFC 7143 6.3",
                "a Login Response",
                format!("no answer within {:?} (a hang)", self.patience),
            )),
            Got::Pdu(Pdu::LoginResponse(p)) => {
                if p.status.class() == 0 {
                    if p.itt != itt {
                        return Err(fail(
                            "RFC 7143 11.13",
                            format!("itt {itt:x}"),
                            format!("itt {:x}", p.itt),
                        ));
                    }
                    if p.stages.current != sent.current {
                        return Err(fail(
                            "RFC 7143 11.13.3",
                            format!("the stage of the request, {:?}", sent.current),
                            format!("{:?}", p.stages.current),
                        ));
                    }
                    if p.stages.next.is_some() && p.stages.next != sent.next {
                        return Err(fail(
                            "RFC 7143 11.13.3",
                            format!("no transition, or the one asked for ({:?})", sent.next),
                            format!("{:?}", p.stages.next),
                        ));
                    }
                    if continues && (p.stages.next.is_some() || !p.text.is_empty()) {
                        return Err(fail(
                            "RFC 7143 6.2",
                            "an empty answer without T to a request with C",
                            describe(&Pdu::from(p).emit()),
                        ));
                    }
                    if p.stages.continues && p.stages.next.is_some() {
                        return Err(fail("RFC 7143 11.13.2", "C and T not both set", "C=1 and T=1"));
                    }
                }
                Ok(Some(p))
            }
            Got::Pdu(Pdu::Reject(_)) => Ok(None),
            Got::Pdu(other) => Err(fail("RFC 7143 6.3", "a Login Response", describe(&other.emit()))),
        }
    }

    /// Logs in; whatever the target answers is given back.
    pub(crate) async fn login(&mut self, plan: &Login) -> Checked<LoginEnd> {
        self.cid = plan.cid;
        self.cmd_sn = plan.cmd_sn;
        let mut end = LoginEnd { status: None, full: false, tsih: 0, keys: Vec::new(), version: 0 };
        let mut dialogue = plan.chap.as_ref().map(chap::Dialogue::new);
        let mut stages = plan.stages.clone();
        if dialogue.is_some() && !stages.contains(&Stage::Security) {
            stages.insert(0, Stage::Security);
        }
        let mut stage = 0;
        let mut pairs = plan.names();
        let (mut asked_auth, mut sent_keys) = (false, false);
        let mut mine: Vec<String> = Vec::new();
        let mut rest = Vec::new();
        for _ in 0..ROUNDS {
            let Some(&current) = stages.get(stage) else { break };
            let next = stages.get(stage + 1).copied().unwrap_or(Stage::FullFeature);
            if current == Stage::Security && !asked_auth {
                asked_auth = true;
                let method = if dialogue.is_some() { "CHAP,None" } else { "None" };
                pairs.push(("AuthMethod".to_owned(), method.to_owned()));
            }
            let single_security = stages.len() == 1 && current == Stage::Security;
            if (current == Stage::Operational || single_security) && !sent_keys {
                sent_keys = true;
                pairs.extend(plan.keys.clone());
            }
            let wants_next =
                dialogue.as_ref().is_none_or(chap::Dialogue::ready) || current != Stage::Security;
            mine.extend(pairs.iter().map(|(k, _)| k.clone()));
            let text = keys::encode(std::mem::take(&mut pairs));
            let request = plan.request(
                Stages { continues: false, current, next: wants_next.then_some(next) },
                text,
                self.exp_stat_sn(),
            );
            let Some(p) = self.login_step(request).await? else { return Ok(end) };
            end.status = Some(p.status);
            end.tsih = p.tsih;
            end.version = p.version_active;
            if p.status.class() != 0 {
                return Ok(end);
            }
            rest.extend_from_slice(&p.text);
            if p.stages.continues {
                continue;
            }
            let said = keys::decode(&std::mem::take(&mut rest), KeyLimits::RFC)
                .map_err(|e| fail("RFC 7143 6.1", "well-formed text", e.to_string()))?;
            for (key, value) in &said {
                if current == Stage::Operational && !mine.contains(key) && !declared_only(key) {
                    // An offer of the target; a single value is accepted as it stands.
                    pairs.push((key.clone(), value.split(',').next().unwrap_or(value).to_owned()));
                    mine.push(key.clone());
                }
            }
            if let (Some(dialogue), Stage::Security) = (&mut dialogue, current) {
                let mut challenge = [0; 16];
                self.env.entropy(&mut challenge);
                pairs.extend(dialogue.answer(&said, &challenge));
            }
            end.keys.extend(said);
            if p.stages.next.is_some() {
                if p.stages.next == Some(Stage::FullFeature) {
                    end.full = true;
                    break;
                }
                stage += 1;
            }
        }
        if end.full {
            if let Some(dialogue) = &dialogue {
                dialogue.verify(&end.keys)?;
            }
            self.tsih = end.tsih;
            self.params = agree(&plan.keys, &end.keys);
            self.enter_full_feature();
        }
        Ok(end)
    }
}

/// Keys that a target states without expecting an answer.
fn declared_only(key: &str) -> bool {
    matches!(
        key,
        "TargetAlias" | "TargetPortalGroupTag" | "MaxRecvDataSegmentLength" | "TargetAddress" | "TargetName"
    ) || key.starts_with("CHAP_")
        || key == "AuthMethod"
}

/// The results of a negotiation: the target's word where it gave one, else the default.
fn agree(offered: &[Pair], said: &[Pair]) -> Params {
    let mut p = Params::default();
    let number = |pairs: &[Pair], key: &str| {
        pairs.iter().find(|(k, _)| k == key).and_then(|(_, v)| v.parse::<u32>().ok())
    };
    let word = |key: &str| said.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    p.max_recv = number(offered, "MaxRecvDataSegmentLength").unwrap_or(p.max_recv);
    p.target_max_recv = number(said, "MaxRecvDataSegmentLength").unwrap_or(p.target_max_recv);
    p.max_burst = number(said, "MaxBurstLength").unwrap_or(p.max_burst);
    p.first_burst = number(said, "FirstBurstLength").unwrap_or(p.first_burst).min(p.max_burst);
    p.max_r2t = number(said, "MaxOutstandingR2T").unwrap_or(p.max_r2t);
    p.initial_r2t = word("InitialR2T").is_none_or(|v| v != "No");
    p.immediate_data = word("ImmediateData").is_none_or(|v| v != "No");
    p.digests.header = word("HeaderDigest") == Some("CRC32C");
    p.digests.data = word("DataDigest") == Some("CRC32C");
    p
}
