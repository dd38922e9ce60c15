//! The login phase of one connection (RFC 7143 sections 6.3 and 11.12): stages, authentication, negotiation.
//!
//! [`Login::handle`] takes each Login Request and gives the Login Response; once a response says "full feature phase",
//! [`Login::finish`] tells what was agreed.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;
use sanbench_array::{Array, Chap};
use sanbench_wire::keys::{self, KeyLimits, NONE, Pair, REJECT};
use sanbench_wire::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage, Stages};

use crate::chap::Exchange;
use crate::config::{Redirect, TargetConfig};
use crate::negotiate::{Answer, Params, Phase, apply};

/// Longest text of one negotiation step, continuations included, bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Login Requests of one connection at most.
const MAX_REQUESTS: u32 = 64;
/// Data segment of a Login Response at most, bytes: the default of `MaxRecvDataSegmentLength` (section 13.12).
const RESPONSE_SEGMENT: usize = 8192;

/// Where a connection came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalContext {
    /// Address on which the connection was accepted.
    pub local: SocketAddr,
    /// Target portal group tag of the portal.
    pub tpgt: u16,
    /// Relative target port identifier, from 1.
    pub relative_port: u16,
}

/// What a successful login agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Agreed {
    pub(crate) initiator: String,
    /// None in a discovery session.
    pub(crate) target: Option<String>,
    pub(crate) isid: [u8; 6],
    pub(crate) cid: u16,
    /// TSIH that the initiator sent: 0 for a new session.
    pub(crate) tsih: u16,
    pub(crate) params: Params,
}

/// A login that is going on.
#[derive(Debug)]
pub(crate) struct Login {
    portal: PortalContext,
    first: Option<LoginRequest>,
    stage: Stage,
    text: Vec<u8>,
    requests: u32,
    initiator: String,
    target: Option<String>,
    discovery: bool,
    auth: Auth,
    seen: BTreeSet<String>,
    params: Params,
    /// Text that did not fit in the last response, and the stages that its last piece carries.
    rest: Option<(Bytes, Stages)>,
    /// Where the portal sends its initiators at present.
    pub(crate) redirect: Option<Redirect>,
}

#[derive(Debug)]
enum Auth {
    /// The initiator has not said how.
    Open,
    Exchange(Box<Exchange>),
    Passed,
}

/// A refused login: what the initiator hears, and what the log hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: LoginStatus,
    pub(crate) why: String,
    /// Text of the response: the address of a redirection.
    pub(crate) text: Bytes,
}

impl Refused {
    pub(crate) fn new(status: LoginStatus, why: impl Into<String>) -> Refused {
        Refused { status, why: why.into(), text: Bytes::new() }
    }

    fn elsewhere(redirect: &Redirect) -> Refused {
        let status = match redirect.permanent {
            true => LoginStatus::TARGET_MOVED_PERMANENTLY,
            false => LoginStatus::TARGET_MOVED_TEMPORARILY,
        };
        let text = keys::encode([("TargetAddress", redirect.to.to_string())]);
        Refused { text: text.into(), ..Refused::new(status, "redirected") }
    }
}

fn refuse<T>(status: LoginStatus, why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::new(status, why))
}

/// One step of a login, before the sequence numbers are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) stages: Stages,
    pub(crate) text: Bytes,
}

impl Login {
    pub(crate) fn new(portal: PortalContext) -> Login {
        Login {
            portal,
            first: None,
            stage: Stage::Security,
            text: Vec::new(),
            requests: 0,
            initiator: String::new(),
            target: None,
            discovery: false,
            auth: Auth::Open,
            seen: BTreeSet::new(),
            params: Params::default(),
            rest: None,
            redirect: None,
        }
    }

    /// The initiator's name, once it is known.
    pub(crate) fn initiator(&self) -> &str {
        &self.initiator
    }

    /// What was agreed, after a step into full feature phase.
    pub(crate) fn finish(&self) -> Option<Agreed> {
        let first = self.first.as_ref()?;
        Some(Agreed {
            initiator: self.initiator.clone(),
            target: self.target.clone(),
            isid: first.isid,
            cid: first.cid,
            tsih: first.tsih,
            params: self.params.clone(),
        })
    }

    /// Takes one Login Request.
    pub(crate) fn handle(
        &mut self,
        request: &LoginRequest,
        array: &Array,
        config: &TargetConfig,
        entropy: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Step, Refused> {
        self.requests += 1;
        if self.requests > MAX_REQUESTS {
            return refuse(LoginStatus::INITIATOR_ERROR, "too many login requests");
        }
        self.check_header(request)?;
        if let Some((rest, stages)) = self.rest.take() {
            // The initiator asks for the rest with an empty request (section 6.2).
            if !request.text.is_empty() || request.stages.continues {
                return refuse(LoginStatus::INITIATOR_ERROR, "text in the middle of the target's answer");
            }
            return Ok(self.deliver(rest, stages));
        }
        if self.text.len() + request.text.len() > MAX_TEXT {
            return refuse(LoginStatus::INITIATOR_ERROR, "login text is too long");
        }
        self.text.extend_from_slice(&request.text);
        if request.stages.continues {
            if request.stages.next.is_some() {
                return refuse(LoginStatus::INITIATOR_ERROR, "T and C bits together");
            }
            let stages = Stages { continues: false, current: self.stage, next: None };
            return Ok(Step { stages, text: Bytes::new() });
        }
        let text = std::mem::take(&mut self.text);
        let pairs = match keys::decode(&text, KeyLimits::RFC) {
            Ok(pairs) => pairs,
            Err(error) => return refuse(LoginStatus::INITIATOR_ERROR, error.to_string()),
        };
        for (key, _) in &pairs {
            // RFC 7143 section 6.3: a key is negotiated at most once in a login.
            if !self.seen.insert(key.clone()) {
                return refuse(LoginStatus::INITIATOR_ERROR, format!("{key} is negotiated twice"));
            }
            if self.first.is_some() && matches!(key.as_str(), "InitiatorName" | "TargetName" | "SessionType")
            {
                return refuse(LoginStatus::INITIATOR_ERROR, format!("{key} belongs in the first request"));
            }
        }
        let mut answers: Vec<Pair> = Vec::new();
        if self.first.is_none() {
            self.identify(&pairs, array, config)?;
            if !self.discovery {
                answers.push(pair("TargetPortalGroupTag", self.portal.tpgt.to_string()));
                if !config.alias.is_empty() {
                    answers.push(pair("TargetAlias", config.alias.clone()));
                }
            }
            self.first = Some(request.clone());
        }
        self.authenticate(&pairs, &mut answers, array, config, entropy)?;
        self.negotiate(&pairs, &mut answers, config);
        let next = self.next_stage(request, array, config)?;
        let stages = Stages { continues: false, current: self.stage, next };
        Ok(self.deliver(Bytes::from(keys::encode(answers)), stages))
    }

    /// The operational keys of one step.
    fn negotiate(&mut self, pairs: &[Pair], answers: &mut Vec<Pair>, config: &TargetConfig) {
        let phase = match self.stage {
            Stage::Security => Phase::Security,
            Stage::Operational | Stage::FullFeature => Phase::Operational,
        };
        let place = answers.len();
        // FirstBurstLength is bounded by the result of MaxBurstLength (section 13.14), whichever is named first.
        let later = |key: &str| key == "FirstBurstLength";
        let order = pairs.iter().enumerate().filter(|(_, (key, _))| !is_security_key(key));
        let mut order: Vec<(usize, &Pair)> = order.collect();
        order.sort_by_key(|(at, (key, _))| (later(key), *at));
        let mut answered: Vec<(usize, Pair)> = Vec::new();
        for (at, (key, value)) in order {
            if let Answer::Value(v) = apply(&mut self.params, config, self.discovery, phase, key, value) {
                answered.push((at, pair(key, v)));
            }
        }
        answered.sort_by_key(|(at, _)| *at);
        answers.splice(place.., answered.into_iter().map(|(_, answer)| answer));
    }

    /// As much of an answer as one response takes; its last piece carries the stages.
    fn deliver(&mut self, mut text: Bytes, stages: Stages) -> Step {
        let room = RESPONSE_SEGMENT.min(self.params.send_segment as usize);
        if text.len() > room {
            let piece = text.split_to(room);
            self.rest = Some((text, stages));
            return Step { stages: Stages { continues: true, current: self.stage, next: None }, text: piece };
        }
        if let Some(next) = stages.next {
            self.stage = next;
        }
        Step { stages, text }
    }

    fn check_header(&mut self, request: &LoginRequest) -> Result<(), Refused> {
        if request.version_min > 0 {
            return refuse(LoginStatus::UNSUPPORTED_VERSION, "only version 0 is supported");
        }
        if let Some(first) = &self.first {
            let same = first.isid == request.isid
                && first.itt == request.itt
                && first.cid == request.cid
                && first.tsih == request.tsih;
            if !same {
                return refuse(LoginStatus::INITIATOR_ERROR, "login requests do not belong together");
            }
        } else if request.stages.current != Stage::FullFeature {
            // The first request chooses where the login begins.
            self.stage = request.stages.current;
        }
        if request.stages.current != self.stage || self.stage == Stage::FullFeature {
            return refuse(LoginStatus::INITIATOR_ERROR, "wrong current stage");
        }
        if request.stages.next.is_some_and(|next| next <= self.stage) {
            return refuse(LoginStatus::INITIATOR_ERROR, "next stage does not lie ahead");
        }
        Ok(())
    }

    /// Names of the first request.
    fn identify(&mut self, pairs: &[Pair], array: &Array, config: &TargetConfig) -> Result<(), Refused> {
        let get = |name: &str| find(pairs, name);
        match get("InitiatorName") {
            Some(name) if !name.is_empty() && name.len() <= 223 => self.initiator = name.to_owned(),
            _ => return refuse(LoginStatus::MISSING_PARAMETER, "InitiatorName is missing"),
        }
        self.discovery = match get("SessionType") {
            None | Some("Normal") => false,
            Some("Discovery") => true,
            Some(_) => return refuse(LoginStatus::SESSION_TYPE_NOT_SUPPORTED, "unknown session type"),
        };
        match get("TargetName") {
            None if self.discovery => {}
            None => return refuse(LoginStatus::MISSING_PARAMETER, "TargetName is missing"),
            Some(name) if array.accepts_target_name(name) => self.target = Some(name.to_owned()),
            Some(name) if config.removed_targets.contains(name) => {
                return refuse(LoginStatus::TARGET_REMOVED, "the target was removed");
            }
            Some(_) => return refuse(LoginStatus::NOT_FOUND, "no such target"),
        }
        if self.discovery {
            self.target = None;
        }
        if let Some(redirect) = self.redirect.as_ref().or(config.redirects.get(&self.portal.local))
            && !self.discovery
        {
            return Err(Refused::elsewhere(redirect));
        }
        let stranger = array.initiator(&self.initiator).is_none() && array.view(&self.initiator).is_empty();
        if stranger && config.refuse_strangers && !self.discovery {
            return refuse(LoginStatus::AUTHORIZATION_FAILURE, "the array does not know this initiator");
        }
        Ok(())
    }

    /// What this initiator must prove, if anything. Looked up anew at each use: the record may change between requests.
    fn record(&self, array: &Array, config: &TargetConfig) -> Option<Chap> {
        let mut record = match array.initiator(&self.initiator) {
            Some(known) => known.chap.clone().or_else(|| config.default_chap.clone()),
            None => config.default_chap.clone(),
        }?;
        record.mutual = record.mutual.or_else(|| config.own_chap.clone());
        Some(record)
    }

    fn authenticate(
        &mut self,
        pairs: &[Pair],
        answers: &mut Vec<Pair>,
        array: &Array,
        config: &TargetConfig,
        entropy: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), Refused> {
        if let Some(offer) = find(pairs, "AuthMethod") {
            if self.stage != Stage::Security {
                return refuse(LoginStatus::INITIATOR_ERROR, "AuthMethod outside the security stage");
            }
            let offers = |method: &str| offer.split(',').any(|o| o == method);
            let record = self.record(array, config);
            // Discovery tells nothing but portals; an initiator that has a record may still prove itself there.
            let needed = record.is_some() && !(self.discovery && offers(NONE));
            match record {
                Some(record) if needed => {
                    if !offers("CHAP") {
                        return refuse(LoginStatus::AUTHENTICATION_FAILURE, "CHAP is required");
                    }
                    answers.push(pair("AuthMethod", "CHAP".to_owned()));
                    self.auth = Auth::Exchange(Box::new(Exchange::new(record, config.defects)));
                }
                _ if offers(NONE) => {
                    answers.push(pair("AuthMethod", NONE.to_owned()));
                    self.auth = Auth::Passed;
                }
                _ => {
                    answers.push(pair("AuthMethod", REJECT.to_owned()));
                    return refuse(LoginStatus::AUTHENTICATION_FAILURE, "no common authentication method");
                }
            }
        }
        let chap: Vec<Pair> = pairs.iter().filter(|(key, _)| key.starts_with("CHAP_")).cloned().collect();
        if chap.is_empty() {
            return Ok(());
        }
        // Initiators may send CHAP_A in two steps with keys of the same names; a name seen twice is checked per step.
        for (key, _) in &chap {
            self.seen.remove(key);
        }
        match &mut self.auth {
            Auth::Exchange(exchange) => match exchange.advance(&chap, entropy) {
                Ok(more) => answers.extend(more),
                Err(failure) => return refuse(LoginStatus::AUTHENTICATION_FAILURE, failure.to_string()),
            },
            Auth::Open | Auth::Passed => {
                return refuse(LoginStatus::INITIATOR_ERROR, "CHAP keys without AuthMethod=CHAP");
            }
        }
        if matches!(&self.auth, Auth::Exchange(exchange) if exchange.is_done()) {
            self.auth = Auth::Passed;
        }
        Ok(())
    }

    /// The stage that the answer moves to, when the initiator asked for one and nothing stands against it.
    fn next_stage(
        &self,
        request: &LoginRequest,
        array: &Array,
        config: &TargetConfig,
    ) -> Result<Option<Stage>, Refused> {
        let Some(next) = request.stages.next else { return Ok(None) };
        match &self.auth {
            Auth::Passed => Ok(Some(next)),
            // In the middle of the exchange the target simply does not agree to move on yet.
            Auth::Exchange(_) => Ok(None),
            Auth::Open if self.record(array, config).is_some() && !self.discovery => {
                refuse(LoginStatus::AUTHENTICATION_FAILURE, "authentication was skipped")
            }
            Auth::Open => Ok(Some(next)),
        }
    }
}

/// A response to `request` with sequence numbers of zero, for the session to fill in.
pub(crate) fn response(request: &LoginRequest, step: Step) -> LoginResponse {
    LoginResponse {
        stages: step.stages,
        version_max: 0,
        version_active: 0,
        isid: request.isid,
        tsih: request.tsih,
        itt: request.itt,
        stat_sn: 0,
        exp_cmd_sn: 0,
        max_cmd_sn: 0,
        status: LoginStatus::SUCCESS,
        text: step.text,
    }
}

/// The response that ends a refused login: T bit clear.
pub(crate) fn refusal(request: &LoginRequest, refused: &Refused) -> LoginResponse {
    let stages = Stages { continues: false, current: request.stages.current, next: None };
    let status = refused.status;
    LoginResponse { status, ..response(request, Step { stages, text: refused.text.clone() }) }
}

fn is_security_key(key: &str) -> bool {
    matches!(key, "InitiatorName" | "TargetName" | "SessionType" | "AuthMethod") || key.starts_with("CHAP_")
}

fn find<'a>(pairs: &'a [Pair], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn pair(key: &str, value: String) -> Pair {
    (key.to_owned(), value)
}
