//! The management session and one call on it: login, renewal, endpoint failover, back-off, time limits.
//!
//! Nouns (`lun.rs` and so on) say what to call and whether a repetition is harmless; only this file decides when a
//! request is sent again. Nothing here knows volumes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use sanbench_world::{Dice, Env};
use serde_json::{Value, json};

use crate::codes;
use crate::config::{Limits, TenglingConfig};
use crate::defects::DriverDefects;
use crate::error::CallError;
use crate::transport::{Incoming, Outgoing, SendError, Transport};
use crate::value::Obj;

/// What a second execution of a call would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Nothing new: it may be sent again after a lost answer.
    Safe,
    /// Something new: after a lost answer the caller must look first.
    Never,
}

/// Time that a log-out at shutdown may take for one session.
const LOGOUT: Duration = Duration::from_secs(5);
/// Sessions on unreachable controllers that are remembered for log-out.
const MOST_STALE: usize = 16;
/// What the planted defect `no_call_limit` puts in place of every limit.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

struct Session {
    endpoint: usize,
    serial: u64,
    token: HeaderValue,
    device: String,
}

#[derive(Default)]
struct Sessions {
    current: Option<Arc<Session>>,
    /// Endpoint to try first at the next login.
    first: usize,
    serial: u64,
    stale: Vec<Arc<Session>>,
}

/// How a session was lost.
enum Loss {
    /// The array no longer knows it.
    Gone,
    /// Its endpoint does not serve; the session may live on there.
    Endpoint,
}

/// A client of one array.
pub(crate) struct Client {
    pub(crate) env: Env,
    pub(crate) limits: Limits,
    pub(crate) defects: DriverDefects,
    transport: Transport,
    username: String,
    password: sanbench_api::Secret,
    sessions: tokio::sync::Mutex<Sessions>,
    dice: Mutex<Dice>,
}

impl Client {
    pub(crate) fn new(env: Env, config: &TenglingConfig, defects: DriverDefects) -> Self {
        Self {
            defects,
            transport: Transport::new(env.clone(), config),
            limits: config.limits.clone(),
            username: config.username.clone(),
            password: config.password.clone(),
            sessions: tokio::sync::Mutex::default(),
            dice: Mutex::new(env.rng("tengling back-off")),
            env,
        }
    }

    /// One call on the session: `path` is relative to the device, without a leading slash. Answers `data`, null when
    /// the array left it out. Logs in by itself; renews the session once; backs off while the array is busy; goes to
    /// the next endpoint when one does not serve. Ends within [`Limits::budget`].
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        repeat: Repeat,
    ) -> Result<Value, CallError> {
        let ends = self.env.now() + self.budget();
        let what = format!("{method} {path}");
        let body = body.map(|b| Bytes::from(b.to_string()));
        let (mut renewals, mut pauses, mut failures) = (0, 0, 0);
        let most_failures = self.limits.attempts.max(2) as usize + self.transport.endpoints();
        loop {
            let session = self.session(ends).await?;
            let outgoing = Outgoing {
                method: method.clone(),
                path: format!("{}/{path}", session.device),
                token: Some(session.token.clone()),
                body: body.clone(),
            };
            let limit = self.call_limit().min(ends.saturating_sub(self.env.now()));
            let sent = self.transport.send(session.endpoint, &outgoing, limit).await;
            self.note(&method, path, &sent);
            let error = match sent {
                Ok(answer) if answer.status == 200 => match envelope(&what, &answer) {
                    Ok(Envelope { code: 0, data, .. }) => return Ok(data),
                    Ok(Envelope { code, message, .. }) => {
                        let error = CallError::Refused { what: what.clone(), code, message };
                        if codes::SESSION_LOST.contains(&code) && renewals == 0 {
                            renewals += 1;
                            self.lose(&session, Loss::Gone).await;
                            continue;
                        }
                        if code == codes::CONTROLLER_LOST && renewals <= self.transport.endpoints() {
                            renewals += 1;
                            self.lose(&session, Loss::Endpoint).await;
                            if repeat == Repeat::Never {
                                return Err(CallError::Lost(error.to_string()));
                            }
                            continue;
                        }
                        if !codes::BUSY.contains(&code) {
                            return Err(error);
                        }
                        error
                    }
                    // An answer was given, but what it says is not known. A gateway's page is gone the next time; an
                    // answer that stays so is an error of its own kind.
                    Err(e) if repeat == Repeat::Safe => e,
                    Err(e) => return Err(e),
                },
                Ok(answer) => {
                    let error = CallError::Http { what: what.clone(), status: answer.status };
                    match answer.status {
                        401 | 403 if renewals == 0 => {
                            renewals += 1;
                            self.lose(&session, Loss::Gone).await;
                            continue;
                        }
                        429 => error,
                        500..=599 if repeat == Repeat::Safe => error,
                        500..=599 => return Err(CallError::Lost(error.to_string())),
                        _ => return Err(error),
                    }
                }
                Err(SendError::NotSent(message)) => {
                    failures += 1;
                    self.lose(&session, Loss::Endpoint).await;
                    let error = CallError::NotSent(format!("{what}: {message}"));
                    if failures >= most_failures {
                        return Err(error);
                    }
                    error
                }
                Err(SendError::Lost { message, slow }) => {
                    failures += 1;
                    if slow {
                        self.lose(&session, Loss::Endpoint).await;
                    }
                    let error = CallError::Lost(format!("{what}: {message}"));
                    if repeat == Repeat::Never || failures >= most_failures {
                        return Err(error);
                    }
                    error
                }
                Err(SendError::TooLarge) => {
                    let error = CallError::Malformed(format!("{what}: the answer is too large"));
                    if repeat != Repeat::Safe {
                        return Err(error);
                    }
                    error
                }
            };
            pauses += 1;
            if pauses > self.limits.attempts || !self.pause(pauses - 1, ends).await {
                return Err(error);
            }
        }
    }

    fn call_limit(&self) -> Duration {
        if self.defects.no_call_limit { FOREVER } else { self.limits.call }
    }

    /// Time that one call may take with all its repetitions.
    fn budget(&self) -> Duration {
        self.limits.budget.max(if self.defects.no_call_limit { FOREVER } else { Duration::ZERO })
    }

    /// `GET`: always repeatable.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, CallError> {
        self.call(Method::GET, path, None, Repeat::Safe).await
    }

    /// A change whose repetition changes nothing; `done` are the codes that say that it was made before.
    pub(crate) async fn ensure(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        done: &[i64],
    ) -> Result<(), CallError> {
        match self.call(method, path, body, Repeat::Safe).await {
            Ok(_) => Ok(()),
            Err(e) if e.code().is_some_and(|c| done.contains(&c)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Waits the `n`-th back-off, with seeded jitter; false when that would pass `ends`.
    pub(crate) async fn pause(&self, n: u32, ends: Duration) -> bool {
        let base = self.limits.back_off.saturating_mul(1 << n.min(6));
        let jitter = {
            let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
            dice.below(u64::try_from(base.as_millis()).unwrap_or(u64::MAX).max(2) / 2)
        };
        let wait = base + Duration::from_millis(jitter);
        if self.env.now() + wait >= ends {
            return false;
        }
        self.env.sleep(wait).await;
        true
    }

    /// The current session, logging in when there is none.
    async fn session(&self, ends: Duration) -> Result<Arc<Session>, CallError> {
        let left = ends.saturating_sub(self.env.now());
        match self.env.timeout(left, self.session_or_login(ends)).await {
            Ok(done) => done,
            Err(_) => Err(CallError::NotSent("no session in time".to_owned())),
        }
    }

    async fn session_or_login(&self, ends: Duration) -> Result<Arc<Session>, CallError> {
        let mut sessions = self.sessions.lock().await;
        if let Some(current) = &sessions.current {
            return Ok(current.clone());
        }
        let mut pauses = 0;
        loop {
            let error = match self.login_anywhere(&mut sessions).await {
                Ok(session) => return Ok(session),
                Err(e) => e,
            };
            let again = match &error {
                CallError::Refused { code, .. } => {
                    codes::BUSY.contains(code) || *code == codes::TOO_MANY_SESSIONS
                }
                CallError::Http { status, .. } => *status == 429 || *status >= 500,
                CallError::NotSent(_) | CallError::Lost(_) => true,
                CallError::Malformed(_) => false,
            };
            pauses += 1;
            if !again || pauses > self.limits.attempts || !self.pause(pauses - 1, ends).await {
                // A login is nothing that the caller asked for: its own request was not sent.
                return Err(match error {
                    CallError::Lost(m) | CallError::Malformed(m) => CallError::NotSent(m),
                    e => e,
                });
            }
        }
    }

    /// Tries each endpoint once, the preferred one first. A refusal ends it: another controller has the same accounts,
    /// and more attempts would only lock ours.
    async fn login_anywhere(&self, sessions: &mut Sessions) -> Result<Arc<Session>, CallError> {
        let count = self.transport.endpoints();
        let mut last = CallError::NotSent("no endpoint configured".to_owned());
        for step in 0..count {
            let endpoint = (sessions.first + step) % count;
            match self.login(endpoint, sessions.serial + 1).await {
                Ok(session) => {
                    let session = Arc::new(session);
                    if sessions.serial > 0 {
                        self.env.note("driver", || json!({"event": "session-renewed"}));
                    }
                    sessions.serial += 1;
                    sessions.first = endpoint;
                    sessions.current = Some(session.clone());
                    return Ok(session);
                }
                Err(e @ (CallError::NotSent(_) | CallError::Lost(_) | CallError::Http { .. })) => last = e,
                Err(e) if e.code() == Some(codes::CONTROLLER_LOST) => last = e,
                Err(e) => return Err(e),
            }
        }
        Err(last)
    }

    async fn login(&self, endpoint: usize, serial: u64) -> Result<Session, CallError> {
        let body = json!({"username": self.username, "password": self.password.reveal(), "scope": "0"});
        if self.defects.secrets_in_trace {
            self.env.note("rest-client", || json!({"method": "POST", "path": "xx/sessions", "body": body}));
        }
        let outgoing = Outgoing {
            method: Method::POST,
            path: "xx/sessions".to_owned(),
            token: None,
            body: Some(Bytes::from(body.to_string())),
        };
        let what = "POST xx/sessions";
        let sent = self.transport.send(endpoint, &outgoing, self.limits.login).await;
        self.note(&Method::POST, "xx/sessions", &sent);
        let answer = match sent {
            Ok(answer) => answer,
            Err(SendError::NotSent(m)) => return Err(CallError::NotSent(format!("{what}: {m}"))),
            Err(SendError::Lost { message, .. }) => {
                return Err(CallError::Lost(format!("{what}: {message}")));
            }
            Err(SendError::TooLarge) => {
                return Err(CallError::Malformed(format!("{what}: answer too large")));
            }
        };
        if answer.status != 200 {
            return Err(CallError::Http { what: what.to_owned(), status: answer.status });
        }
        let Envelope { code, data, message } = envelope(what, &answer)?;
        if code != 0 {
            return Err(CallError::Refused { what: what.to_owned(), code, message });
        }
        let data = Obj::new("session", &data)?;
        let bad = |key: &str| CallError::Malformed(format!("{what}: attribute {key} cannot be used"));
        let mut token = HeaderValue::from_str(&data.need("iBaseToken")?).map_err(|_| bad("iBaseToken"))?;
        token.set_sensitive(true);
        let device = data.need("deviceid")?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if device.len() > 128 || !device.bytes().all(plain) {
            return Err(bad("deviceid"));
        }
        let session = Session { endpoint, serial, token, device };
        if matches!(data.number("accountstate"), Some(3 | 4)) {
            self.logout(&session, endpoint).await;
            return Err(CallError::Http {
                what: "login: the password has expired or must be changed".to_owned(),
                status: 403,
            });
        }
        Ok(session)
    }

    async fn lose(&self, session: &Arc<Session>, how: Loss) {
        let mut sessions = self.sessions.lock().await;
        // Another task may have renewed it already.
        if sessions.current.as_ref().is_none_or(|c| c.serial != session.serial) {
            return;
        }
        sessions.current = None;
        if let Loss::Endpoint = how {
            sessions.first = (session.endpoint + 1) % self.transport.endpoints().max(1);
            if sessions.stale.len() < MOST_STALE {
                sessions.stale.push(session.clone());
            }
        }
    }

    /// Logs out of every session that this client ever left open; best effort.
    pub(crate) async fn logout_all(&self) {
        let (current, stale) = {
            let mut sessions = self.sessions.lock().await;
            (sessions.current.take(), std::mem::take(&mut sessions.stale))
        };
        for session in stale {
            if !self.logout(&session, session.endpoint).await
                && let Some(current) = &current
            {
                self.logout(&session, current.endpoint).await;
            }
        }
        if let Some(session) = current {
            for _ in 0..2 {
                if self.logout(&session, session.endpoint).await {
                    break;
                }
            }
        }
        self.transport.close();
    }

    async fn logout(&self, session: &Session, endpoint: usize) -> bool {
        let outgoing = Outgoing {
            method: Method::DELETE,
            path: format!("{}/sessions", session.device),
            token: Some(session.token.clone()),
            body: None,
        };
        let sent = self.transport.send(endpoint, &outgoing, LOGOUT).await;
        self.note(&Method::DELETE, "sessions", &sent);
        sent.is_ok()
    }

    /// One line of the trace: method, path and outcome; no bodies, no tokens.
    fn note(&self, method: &Method, path: &str, sent: &Result<Incoming, SendError>) {
        self.env.note("rest-client", || {
            let code = match sent {
                Ok(answer) if answer.status != 200 => json!(format!("HTTP {}", answer.status)),
                Ok(answer) => match envelope("", answer) {
                    Ok(e) => json!(e.code),
                    Err(_) => json!("malformed"),
                },
                Err(SendError::NotSent(_)) => json!("not sent"),
                Err(SendError::Lost { .. }) => json!("lost"),
                Err(SendError::TooLarge) => json!("too large"),
            };
            json!({"method": method.as_str(), "path": path, "code": code})
        });
    }
}

struct Envelope {
    code: i64,
    message: String,
    data: Value,
}

/// Takes `{"data": .., "error": {"code": .., "description": ..}}` apart (array-rest.md 1.2).
fn envelope(what: &str, answer: &Incoming) -> Result<Envelope, CallError> {
    let malformed = |text: &str| CallError::Malformed(format!("{what}: {text}"));
    let value: Value =
        serde_json::from_slice(&answer.body).map_err(|_| malformed("the answer is not JSON"))?;
    let Value::Object(mut map) = value else { return Err(malformed("the answer is not an object")) };
    let error = map
        .get("error")
        .and_then(Value::as_object)
        .ok_or_else(|| malformed("the answer has no error object"))?;
    let code = match error.get("code") {
        Some(Value::Number(n)) => n.as_i64(),
        Some(Value::String(s)) => s.parse().ok(),
        _ => None,
    };
    let code = code.ok_or_else(|| malformed("the answer has no error code"))?;
    let text = error.get("description").and_then(Value::as_str).unwrap_or_default();
    let message = text.chars().filter(|c| !c.is_control()).take(300).collect();
    Ok(Envelope { code, message, data: map.remove("data").unwrap_or(Value::Null) })
}
