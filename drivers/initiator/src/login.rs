//! The login phase as the initiator runs it: a value that makes requests and takes responses
//! (RFC 7143 sections 6.3, 11.12, 11.13).
//!
//! Order of calls: [`Login::poll_request`] until it gives nothing, send it, [`Login::handle_response`] with what came.
//! The machine sends one request and waits for one response, as the RFC demands.

use bytes::{Bytes, BytesMut};
use sanbench_api::ChapAuth;
use sanbench_wire::keys::{self, KeyLimits};
use sanbench_wire::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage, Stages};

use crate::chap::{self, ChapHash, OwnChallenge};
use crate::config::SessionConfig;
use crate::error::LoginError;
use crate::negotiate::{Negotiation, Parameters, offers};

/// Requests of one login at most; an honest target needs about five.
const MAX_EXCHANGES: u32 = 32;
/// Text that one response may spread over several PDUs, bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Text of one request PDU at most, bytes: the MaxRecvDataSegmentLength of a target that has not told its own.
const MAX_REQUEST: usize = 8192;

/// What a login wants.
#[derive(Clone, Debug)]
pub struct LoginPlan {
    /// iSCSI name of this initiator.
    pub initiator: String,
    /// iSCSI name of the target; `None` makes a discovery session.
    pub target: Option<String>,
    /// Initiator part of the session identifier; the same one again reinstates the session (section 6.3.5).
    pub isid: [u8; 6],
    /// Credentials.
    pub auth: Option<ChapAuth>,
    /// Random bytes for mutual CHAP.
    pub own_challenge: OwnChallenge,
}

/// The result of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// Agreed parameters.
    pub parameters: Parameters,
    /// Target session handle, not 0.
    pub tsih: u16,
    /// CmdSN of the first command.
    pub cmd_sn: u32,
    /// Next StatSN.
    pub exp_stat_sn: u32,
    /// Last CmdSN that the target takes now.
    pub max_cmd_sn: u32,
}

/// What a response led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginStep {
    /// Another request is ready.
    Continue,
    /// Full feature phase.
    Done(Box<LoggedIn>),
    /// Log in at `address` (`host[:port][,tag]`) instead (status class 1).
    Redirect {
        /// As the target wrote it.
        address: String,
        /// For good (detail 02h), else for this login only.
        permanent: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The answer to AuthMethod.
    Method,
    /// CHAP_A, CHAP_I and CHAP_C.
    Challenge,
    /// The verdict on our proof and, if mutual, the target's own.
    Proof(ChapHash),
    /// A step to the operational stage without authentication.
    Step,
    /// Answers of the operational stage.
    Operational,
}

/// One login.
pub struct Login {
    config: SessionConfig,
    plan: LoginPlan,
    expect: Expect,
    outgoing: Option<LoginRequest>,
    /// Stages of the last request, to judge the response.
    asked: Stages,
    text: BytesMut,
    /// Text of the present request that did not fit one PDU.
    rest: Bytes,
    negotiation: Option<Negotiation>,
    exchanges: u32,
    tsih: u16,
    exp_stat_sn: Option<u32>,
}

const CMD_SN: u32 = 1;
const ITT: u32 = 0x6c6f_6769;

impl Login {
    /// Begins a login with its first request.
    pub fn new(config: SessionConfig, plan: LoginPlan) -> Self {
        let mut text = vec![("InitiatorName".to_owned(), plan.initiator.clone())];
        match &plan.target {
            Some(target) => {
                text.push(("TargetName".to_owned(), target.clone()));
                text.push(("SessionType".to_owned(), "Normal".to_owned()));
            }
            None => text.push(("SessionType".to_owned(), "Discovery".to_owned())),
        }
        let methods = match &plan.auth {
            None => "None",
            // Taking None would let an impostor skip its proof.
            Some(auth) if auth.target.is_some() || !config.offer_none_with_chap => "CHAP",
            Some(_) => "CHAP,None",
        };
        text.push(("AuthMethod".to_owned(), methods.to_owned()));
        let (expect, next) = match plan.auth {
            None => (Expect::Step, Some(Stage::Operational)),
            Some(_) => (Expect::Method, None),
        };
        let negotiation = Negotiation::new(&config, plan.target.is_none());
        let mut login = Self {
            config,
            plan,
            expect,
            outgoing: None,
            asked: Stages { continues: false, current: Stage::Security, next },
            text: BytesMut::new(),
            rest: Bytes::new(),
            negotiation: Some(negotiation),
            exchanges: 0,
            tsih: 0,
            exp_stat_sn: None,
        };
        login.ask(Stage::Security, next, text);
        login
    }

    /// The request to send now, if any.
    pub fn poll_request(&mut self) -> Option<LoginRequest> {
        self.outgoing.take()
    }

    fn ask(&mut self, current: Stage, next: Option<Stage>, pairs: Vec<(String, String)>) {
        self.asked = Stages { continues: false, current, next };
        self.rest = Bytes::from(keys::encode(pairs));
        self.ask_rest();
    }

    /// Sends what is left of the text of this request: with the C bit and without a transition while there is more than
    /// a target takes in one PDU before it has said otherwise (section 13.12).
    fn ask_rest(&mut self) {
        let text = self.rest.split_to(self.rest.len().min(MAX_REQUEST));
        let continues = !self.rest.is_empty();
        let next = if continues { None } else { self.asked.next };
        self.request(Stages { continues, current: self.asked.current, next }, text);
    }

    fn request(&mut self, stages: Stages, text: Bytes) {
        self.outgoing = Some(LoginRequest {
            stages,
            version_max: 0,
            version_min: 0,
            isid: self.plan.isid,
            tsih: self.tsih,
            itt: ITT,
            cid: 0,
            cmd_sn: CMD_SN,
            exp_stat_sn: self.exp_stat_sn.unwrap_or(0),
            text,
        });
    }

    /// Whether a login that ended with `error` is worth another try with MD5 as the only CHAP algorithm. tgt 1.0 takes
    /// algorithm 7 for another one than SHA-256 and then refuses our proof; other targets close the connection on a list
    /// that they do not know. MD5 must be on our own list, so nothing weaker is accepted than the caller allows; who wants no
    /// fall-back leaves it out. A target that failed to prove itself gets no second chance.
    pub fn try_md5_after(&self, error: &LoginError) -> bool {
        let chap = match self.expect {
            Expect::Challenge => true,
            Expect::Proof(hash) => hash != ChapHash::Md5,
            _ => false,
        };
        let curable = match error {
            LoginError::Refused(_) | LoginError::Io(_) => true,
            LoginError::Negotiation { key, .. } => key == "CHAP_A",
            _ => false,
        };
        let hashes = &self.config.chap_hashes;
        chap && curable && hashes.len() > 1 && hashes.contains(&ChapHash::Md5)
    }

    /// Takes one Login Response.
    ///
    /// # Errors
    /// Refusals by their status class, broken rules, failed authentication of the target.
    pub fn handle_response(&mut self, response: &LoginResponse) -> Result<LoginStep, LoginError> {
        let protocol = |what: &str| LoginError::Protocol(what.to_owned());
        if self.outgoing.is_some() {
            return Err(protocol("a response without a request"));
        }
        self.exchanges += 1;
        if self.exchanges > MAX_EXCHANGES {
            return Err(protocol("too many login exchanges"));
        }
        if response.itt != ITT {
            return Err(protocol("login response with another task tag"));
        }
        match response.status.class() {
            0 if response.status == LoginStatus::SUCCESS => {}
            1 => return self.redirect(response),
            2 => return Err(LoginError::Refused(response.status)),
            3 => return Err(LoginError::TargetError(response.status)),
            _ => return Err(protocol("unknown login status class")),
        }
        if response.isid != self.plan.isid {
            return Err(protocol("login response with another ISID"));
        }
        if response.version_active != 0 {
            return Err(protocol("unknown protocol version"));
        }
        if self.exp_stat_sn.is_some_and(|e| e != response.stat_sn) {
            return Err(protocol("login response out of StatSN order"));
        }
        self.exp_stat_sn = Some(response.stat_sn.wrapping_add(1));
        if response.stages.current != self.asked.current {
            return Err(protocol("login response of another stage"));
        }
        if self.text.len() + response.text.len() > MAX_TEXT {
            return Err(protocol("login text too long"));
        }
        self.text.extend_from_slice(&response.text);
        if !self.rest.is_empty() {
            // A request in pieces is answered by empty responses until its last piece (section 6.2).
            if response.stages.continues || response.stages.next.is_some() || !self.text.is_empty() {
                return Err(protocol("an answer to a text that was not whole yet"));
            }
            self.ask_rest();
            return Ok(LoginStep::Continue);
        }
        if response.stages.continues {
            if response.stages.next.is_some() {
                return Err(protocol("T and C bit at once"));
            }
            // The transition that was asked for stays pending until the text is whole.
            self.request(Stages { continues: false, current: self.asked.current, next: None }, Bytes::new());
            return Ok(LoginStep::Continue);
        }
        if response.stages.next.is_some() && response.stages.next != self.asked.next {
            return Err(protocol("a stage transition that was not asked for"));
        }
        let pairs = keys::decode(&self.text.split(), KeyLimits { max_value: 16 * 1024, ..KeyLimits::RFC })
            .map_err(|e| LoginError::Protocol(e.to_string()))?;
        let moved = response.stages.next.is_some();
        match self.expect {
            Expect::Operational => self.operational(response, pairs),
            _ => self.security(moved, pairs),
        }
    }

    fn redirect(&self, response: &LoginResponse) -> Result<LoginStep, LoginError> {
        let pairs =
            keys::decode(&response.text, KeyLimits::RFC).map_err(|e| LoginError::Redirect(e.to_string()))?;
        match pairs.into_iter().find(|(key, _)| key == "TargetAddress") {
            Some((_, address)) => {
                let permanent = response.status == LoginStatus::TARGET_MOVED_PERMANENTLY;
                Ok(LoginStep::Redirect { address, permanent })
            }
            None => Err(LoginError::Redirect("without TargetAddress".to_owned())),
        }
    }

    fn security(&mut self, moved: bool, pairs: Vec<(String, String)>) -> Result<LoginStep, LoginError> {
        let mut chap = Chap::default();
        let mut method = None;
        for (key, value) in pairs {
            let slot = match key.as_str() {
                "AuthMethod" => &mut method,
                "CHAP_A" => &mut chap.algorithm,
                "CHAP_I" => &mut chap.id,
                "CHAP_C" => &mut chap.challenge,
                "CHAP_N" => &mut chap.name,
                "CHAP_R" => &mut chap.response,
                _ => {
                    if let Some(negotiation) = &mut self.negotiation {
                        negotiation.take(&key, &value)?;
                    }
                    continue;
                }
            };
            if slot.replace(value).is_some() {
                return Err(LoginError::Negotiation { key, problem: "the key came twice" });
            }
        }
        match self.expect {
            Expect::Step => {
                if method.as_deref().is_some_and(|m| m != "None") {
                    return Err(LoginError::Negotiation {
                        key: "AuthMethod".to_owned(),
                        problem: "the target wants an authentication that was not offered",
                    });
                }
                self.enter_operational(moved)
            }
            Expect::Method => match method.as_deref() {
                Some("CHAP") => {
                    let list: Vec<String> =
                        self.config.chap_hashes.iter().map(|h| h.number().to_string()).collect();
                    self.expect = Expect::Challenge;
                    self.ask(Stage::Security, None, vec![("CHAP_A".to_owned(), list.join(","))]);
                    Ok(LoginStep::Continue)
                }
                Some("None") if self.none_allowed() => {
                    self.expect = Expect::Step;
                    self.ask(Stage::Security, Some(Stage::Operational), Vec::new());
                    Ok(LoginStep::Continue)
                }
                _ => Err(LoginError::Negotiation {
                    key: "AuthMethod".to_owned(),
                    problem: "not one of the offered values",
                }),
            },
            Expect::Challenge => self.prove(chap),
            Expect::Proof(hash) => {
                self.verify(hash, &chap)?;
                self.enter_operational(moved)
            }
            Expect::Operational => Err(LoginError::Protocol("security response out of place".to_owned())),
        }
    }

    fn none_allowed(&self) -> bool {
        self.config.offer_none_with_chap && self.plan.auth.as_ref().is_none_or(|a| a.target.is_none())
    }

    fn prove(&mut self, chap: Chap) -> Result<LoginStep, LoginError> {
        let bad = |key: &str, problem| LoginError::Negotiation { key: key.to_owned(), problem };
        let auth = self.plan.auth.clone().ok_or(LoginError::Authentication("no credentials"))?;
        let hash = chap
            .algorithm
            .and_then(|a| a.parse().ok())
            .and_then(ChapHash::from_number)
            .filter(|h| self.config.chap_hashes.contains(h))
            .ok_or(bad("CHAP_A", "not one of the offered values"))?;
        let id = chap.id.and_then(|i| i.parse::<u8>().ok()).ok_or(bad("CHAP_I", "not 0 to 255"))?;
        let challenge = chap
            .challenge
            .and_then(|c| keys::decode_binary(&c, chap::MAX_CHALLENGE))
            .ok_or(bad("CHAP_C", "not a binary value of 1 to 1024 bytes"))?;
        let proof = chap::answer(&auth, &self.plan.own_challenge, hash, id, &challenge)
            .map_err(LoginError::Authentication)?;
        let mut pairs =
            vec![("CHAP_N".to_owned(), auth.username), ("CHAP_R".to_owned(), keys::encode_hex(&proof))];
        if auth.target.is_some() {
            pairs.push(("CHAP_I".to_owned(), self.plan.own_challenge.id.to_string()));
            pairs.push(("CHAP_C".to_owned(), keys::encode_hex(&self.plan.own_challenge.challenge)));
        }
        self.expect = Expect::Proof(hash);
        self.ask(Stage::Security, Some(Stage::Operational), pairs);
        Ok(LoginStep::Continue)
    }

    fn verify(&self, hash: ChapHash, chap: &Chap) -> Result<(), LoginError> {
        let Some(expected) = self.plan.auth.as_ref().and_then(|a| a.target.as_ref()) else {
            return Ok(());
        };
        let (Some(name), Some(response)) = (&chap.name, &chap.response) else {
            return Err(LoginError::Authentication("no proof"));
        };
        let response = keys::decode_binary(response, hash.length())
            .ok_or(LoginError::Authentication("malformed response"))?;
        chap::verify(expected, &self.plan.own_challenge, hash, name, &response)
            .map_err(LoginError::Authentication)
    }

    fn enter_operational(&mut self, moved: bool) -> Result<LoginStep, LoginError> {
        if !moved {
            // The target has more to say in this stage; ask again, within the bound on exchanges.
            self.expect = Expect::Step;
            self.ask(Stage::Security, Some(Stage::Operational), Vec::new());
            return Ok(LoginStep::Continue);
        }
        let mut pairs = offers(&self.config, self.plan.target.is_none());
        if let Some(negotiation) = &mut self.negotiation {
            pairs.extend(negotiation.take_replies());
        }
        self.expect = Expect::Operational;
        self.ask(Stage::Operational, Some(Stage::FullFeature), pairs);
        Ok(LoginStep::Continue)
    }

    fn operational(
        &mut self,
        response: &LoginResponse,
        pairs: Vec<(String, String)>,
    ) -> Result<LoginStep, LoginError> {
        let Some(negotiation) = &mut self.negotiation else {
            return Err(LoginError::Protocol("the login is over".to_owned()));
        };
        for (key, value) in &pairs {
            negotiation.take(key, value)?;
        }
        if response.stages.next != Some(Stage::FullFeature) {
            let replies = negotiation.take_replies();
            self.ask(Stage::Operational, Some(Stage::FullFeature), replies);
            return Ok(LoginStep::Continue);
        }
        if response.tsih == 0 {
            return Err(LoginError::Protocol("login ended without a session handle".to_owned()));
        }
        let parameters = match self.negotiation.take() {
            Some(negotiation) => negotiation.finish()?,
            None => return Err(LoginError::Protocol("the login is over".to_owned())),
        };
        Ok(LoginStep::Done(Box::new(LoggedIn {
            parameters,
            tsih: response.tsih,
            cmd_sn: CMD_SN,
            exp_stat_sn: response.stat_sn.wrapping_add(1),
            max_cmd_sn: response.max_cmd_sn,
        })))
    }
}

#[derive(Default)]
struct Chap {
    algorithm: Option<String>,
    id: Option<String>,
    challenge: Option<String>,
    name: Option<String>,
    response: Option<String>,
}
