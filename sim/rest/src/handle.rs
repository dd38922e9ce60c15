//! One request, from its bytes to the bytes of its answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use sanbench_array::pair::RemoteLun;
use sanbench_array::{Refusal, SYSTEM_VSTORE};
use sanbench_world::{Fault, Wrong};
use serde_json::{Value, json};

use crate::codes::{self, Failure};
use crate::dialect::{self, Call, Ground};
use crate::envelope::{self, Answer, Object, Reply};
use crate::query::{Fields, Query, segments};
use crate::routes::{self, Line, Route, Shape, Work};
use crate::session::Credentials;
use crate::{RestState, lock, openapi, points, status, wrong};

/// Where the management API lives.
pub(crate) const ROOT: &str = "/deviceManager/rest/";
/// Header of the session token.
pub(crate) const TOKEN: &str = "iBaseToken";

/// Marks a response (in its extensions) that must not be sent: the connection is closed instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropConnection;

/// Marks a response after which the connection takes no further request: it closes under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseAfter;

/// The address of the client, put into a request's extensions by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The management API without a network. Every path goes through one handler, since object names have no case.
pub fn router(state: RestState) -> Router {
    Router::new().fallback(handle).with_state(state)
}

/// What becomes of a call before its answer is rendered.
enum Outcome {
    Answer(Answer),
    /// The answer is spoilt so.
    Wrong(Wrong, Answer),
    Drop,
}

pub(crate) async fn handle(State(state): State<RestState>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if let Some(verb) = path.strip_prefix("/_ctl/") {
        let peer = head.extensions.get::<Peer>();
        if !state.inner().config.control || peer.is_some_and(|peer| !peer.0.ip().is_loopback()) {
            return envelope::with_status(StatusCode::NOT_FOUND, Bytes::new());
        }
        return control(&state, &head.method, verb, head.uri.query().unwrap_or(""), body).await;
    }
    if head.method == Method::GET
        && let Some(page) = status::page(&state, &head.uri, head.extensions.get::<Peer>())
    {
        return page;
    }
    if head.method == Method::GET && path == "/openapi.json" {
        return envelope::json(Bytes::from(openapi::describe(&state).to_string()));
    }
    let Some(rest) = strip_root(path) else {
        return envelope::with_status(StatusCode::NOT_FOUND, Bytes::new());
    };
    let body = match read_body(&state, body).await {
        Ok(body) => body,
        Err(failure) => {
            // The rest of the body is not worth reading: the connection ends with this answer.
            let mut response = envelope::json(envelope::render(Err(failure)).0);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
    };
    let names = match segments(rest) {
        Ok(names) => names,
        Err(failure) => return envelope::json(envelope::render(Err(failure)).0),
    };
    let words: Vec<String> = names.iter().skip(1).map(|name| name.to_ascii_lowercase()).collect();
    let route = routes::find(&head.method, &words);
    let subject = points::subject(&head.method, &words, route);
    let token = head.headers.get(TOKEN).and_then(|value| value.to_str().ok()).unwrap_or("");
    let asked = Asked {
        method: &head.method,
        path,
        query: head.uri.query().unwrap_or(""),
        names: &names,
        route,
        token,
        peer: head.extensions.get::<Peer>().map(|peer| peer.0.ip()),
    };
    let outcome = with_faults(&state, &subject, &asked, &body).await;
    let (response, code) = match outcome {
        Outcome::Answer(answer) => {
            let (body, code) = envelope::render(answer);
            if head.method == Method::GET {
                lock(&state.inner().told).keep(path, asked.query, &body, code);
            }
            (state.inner().unsent.json(body), code)
        }
        Outcome::Wrong(Wrong::Stale, answer) if head.method == Method::GET => {
            // It is behind by one look, not for good.
            let (truth, code) = envelope::render(answer);
            let mut told = lock(&state.inner().told);
            let known = told.of(path, asked.query);
            told.keep(path, asked.query, &truth, code);
            let (body, code) = known.unwrap_or((truth, code));
            (envelope::json(body), code)
        }
        Outcome::Wrong(wrong, answer) => wrong::respond(&state.inner().env, wrong, answer),
        Outcome::Drop => {
            let mut response = Response::new(Body::empty());
            response.extensions_mut().insert(DropConnection);
            (response, 0)
        }
    };
    state.inner().tally.count(code);
    let dropped = response.extensions().get::<DropConnection>().is_some();
    state.inner().env.note("rest", || {
        // Paths hold object names, ids and IQNs; secrets travel in bodies and headers, which are not noted.
        let mut note = json!({"method": head.method.as_str(), "path": names.get(1..).unwrap_or_default().join("/"), "code": code});
        if dropped {
            note["dropped"] = Value::Bool(true);
        }
        note
    });
    response
}

/// The path below the root; the root's own case does not matter either.
fn strip_root(path: &str) -> Option<&str> {
    let head = path.get(..ROOT.len())?;
    head.eq_ignore_ascii_case(ROOT).then(|| &path[ROOT.len()..])
}

/// Reads a body within its limits of size and time.
async fn read_body(state: &RestState, body: Body) -> Result<Bytes, Failure> {
    use hyper::body::Body as _;
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let config = &state.inner().config;
    let limited = Limited::new(body, config.body_limit);
    match state.inner().env.timeout(config.read_limit, limited.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(Failure::parameter("The request body is too long or broken.")),
        Err(_) => Err(Failure::parameter("The request body did not arrive in time.")),
    }
}

/// What a request asks for.
struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    /// Decoded path segments, the device id first.
    names: &'a [String],
    /// The row of the table; none when the array does not know the call.
    route: Option<&'static Route>,
    token: &'a str,
    peer: Option<IpAddr>,
}

/// Works on a call between its two fault points and the rules of the control surface.
async fn with_faults(state: &RestState, subject: &str, asked: &Asked<'_>, body: &[u8]) -> Outcome {
    let inner = state.inner();
    let ordered = {
        let mut control = lock(&inner.control);
        if control.is_quiet() { None } else { control.ask(asked.method, asked.path) }
    };
    let rule = |after_work: bool| {
        let hit = ordered.as_ref().filter(|hit| hit.after_work == after_work);
        hit.map(|hit| hit.fault.clone())
    };
    let mut spoilt = None;
    for fault in [inner.env.fault(&format!("rest.before:{subject}")), rule(false)].into_iter().flatten() {
        match undergo(state, fault).await {
            None => {}
            Some(Blow::Refuse) => return Outcome::Answer(Err(codes::BUSY.into())),
            Some(Blow::Drop) => return Outcome::Drop,
            // The call itself then finds that its session is over.
            Some(Blow::Wrong(Wrong::SessionOver)) => lock(&inner.sessions).logout(asked.token),
            // These need the true answer.
            Some(Blow::Wrong(
                wrong @ (Wrong::Truncated
                | Wrong::Mistyped
                | Wrong::Blank
                | Wrong::Overlong
                | Wrong::Newer
                | Wrong::Stale
                | Wrong::Closing),
            )) => spoilt = Some(wrong),
            Some(Blow::Wrong(wrong)) => return Outcome::Wrong(wrong, envelope::done()),
        }
    }
    let answer = work_with_peer(state, asked, body).await;
    // Whatever a call that may change something says, a refusal too, holds after a crash.
    if *asked.method != Method::GET
        && let Some(gate) = inner.array.gate()
    {
        let promised = inner.array.lock().promised();
        if gate.settled(promised).await.is_err() {
            return Outcome::Drop;
        }
    }
    for fault in [rule(true), inner.env.fault(&format!("rest.after:{subject}"))].into_iter().flatten() {
        match undergo(state, fault).await {
            None => {}
            Some(Blow::Refuse) => return Outcome::Answer(Err(codes::BUSY.into())),
            Some(Blow::Drop) => return Outcome::Drop,
            Some(Blow::Wrong(wrong)) => {
                if wrong == Wrong::SessionOver {
                    lock(&inner.sessions).logout(asked.token);
                }
                spoilt = Some(wrong);
            }
        }
    }
    match spoilt {
        Some(wrong) => Outcome::Wrong(wrong, answer),
        None => Outcome::Answer(answer),
    }
}

/// What a fault does to a call once its time has passed.
enum Blow {
    Refuse,
    Drop,
    Wrong(Wrong),
}

/// Lets a fault happen as far as it needs no answer; none when the call goes on.
async fn undergo(state: &RestState, fault: Fault) -> Option<Blow> {
    match fault {
        Fault::Fail | Fault::Message(_) => Some(Blow::Refuse),
        Fault::Delay(delay) => {
            state.inner().env.sleep(delay).await;
            None
        }
        Fault::DropReply => Some(Blow::Drop),
        Fault::CrashNode => {
            if let Some(crash) = &state.inner().config.on_crash {
                crash();
            }
            Some(Blow::Drop)
        }
        Fault::Answer(wrong) => Some(Blow::Wrong(wrong)),
    }
}

/// What another array has told of a LUN.
type Peered = Result<RemoteLun, Refusal>;

/// How long another array may take to tell of a LUN.
const PEER_LIMIT: Duration = Duration::from_secs(10);

/// The work, and again with what another array had to be asked for first.
async fn work_with_peer(state: &RestState, asked: &Asked<'_>, body: &[u8]) -> Answer {
    let answer = work(state, asked, body, None);
    let Some((remote, lun)) = answer.as_ref().err().and_then(|failure| failure.ask) else { return answer };
    let inner = state.inner();
    let mut stirs = inner.array.stirs();
    let question = inner.array.lock().ask_remote(inner.env.now(), remote, lun);
    let told = match question {
        Err(refusal) => Err(refusal),
        Ok(question) => {
            let told = inner.env.timeout(PEER_LIMIT, async {
                loop {
                    if let Some(told) = inner.array.lock().remote_answer(question) {
                        return told;
                    }
                    stirs.next().await;
                }
            });
            told.await.unwrap_or(Err(Refusal::RemoteDown))
        }
    };
    work(state, asked, body, Some(told))
}

/// The work itself: session, then the object. Synchronous, so that no lock lives across an await.
fn work(state: &RestState, asked: &Asked<'_>, body: &[u8], peer: Option<Peered>) -> Answer {
    let inner = state.inner();
    let now = inner.env.now();
    if let Some(Route { work: Work::Login, .. }) = asked.route {
        return login(state, &Fields::parse(body)?, asked.peer);
    }
    if asked.token.is_empty() {
        return Err(codes::SESSION_LOST.into());
    }
    let Some(session) = lock(&inner.sessions).touch(now, asked.token) else {
        return Err(codes::SESSION_LOST.into());
    };
    let mut array = inner.array.lock();
    let gone = session.is_some_and(|vstore| array.vstore(vstore).is_none());
    if asked.names.first().map(String::as_str) != Some(array.serial()) || gone {
        return Err(codes::SESSION_LOST.into());
    }
    let known = asked.route.filter(|route| route.line == Line::Any || dialect::is_new(&array));
    let run = match known.map(|route| route.work) {
        Some(Work::Object(run)) => run,
        Some(Work::Logout) => {
            lock(&inner.sessions).logout(asked.token);
            return envelope::done();
        }
        Some(Work::Login) | None => return Err(Failure::unsupported()),
    };
    let query = Query::parse(asked.query)?;
    if known.is_some_and(|route| route.shape == Shape::List) && inner.unsent.is_full() {
        return Err(codes::BUSY.into());
    }
    // Bodies of GET requests are sent by one client and mean nothing.
    let fields = if *asked.method == Method::GET { Fields::default() } else { Fields::parse(body)? };
    let call = Call { names: asked.names.get(1..).unwrap_or_default(), query, fields };
    array.advance(now);
    let mut ground = Ground { array: &mut array, session, vstore: session, now, peer };
    ground.vstore = dialect::confinement(&ground, &call)?;
    run(&mut ground, &call)
}

fn login(state: &RestState, fields: &Fields, peer: Option<IpAddr>) -> Answer {
    let inner = state.inner();
    let (Some(user), Some(password)) = (fields.text("username")?, fields.text("password")?) else {
        return Err(codes::WRONG_CREDENTIALS.into());
    };
    let given = Credentials { user: &user, password: &password };
    let right = Credentials { user: &inner.config.user, password: &inner.config.password };
    let mut secret = [0u8; 32];
    inner.env.entropy(&mut secret);
    let token: String = secret.iter().map(|byte| format!("{byte:02X}")).collect();
    let vstore = fields.text_any_case("vstorename")?.filter(|name| !name.is_empty());
    let (serial, vstore) = {
        let array = inner.array.lock();
        let known = vstore.as_ref().map(|name| array.vstore_by_name(name));
        (array.serial().to_owned(), known)
    };
    // The array's own vStore is the administrator's.
    let own =
        vstore.as_ref().and_then(|known| known.as_ref()).map(|v| v.id).filter(|id| *id != SYSTEM_VSTORE);
    lock(&inner.sessions).login(inner.env.now(), &given, &right, (peer, own), &token)?;
    if vstore == Some(None) {
        // Only who knows the password hears which vStores there are.
        lock(&inner.sessions).logout(&token);
        return Err(codes::VSTORE_MISSING.into());
    }
    let name = vstore.flatten().map_or_else(|| "System_vStore".to_owned(), |vstore| vstore.name);
    Ok(Reply::One(
        Object::new()
            .text("iBaseToken", token)
            .text("deviceid", serial)
            .integer("accountstate", inner.account_state.load(Ordering::Relaxed).into())
            .text("username", inner.config.user.as_str())
            .text("userscope", "0")
            .number("vstoreId", own.unwrap_or(SYSTEM_VSTORE))
            .text("vstoreName", name),
    ))
}

/// Fails or restores a controller as `{"id":0,"up":false}` says.
fn switch_controller(state: &RestState, body: &Value) -> Result<(), String> {
    let id = body.get("id").and_then(Value::as_u64).and_then(|id| u8::try_from(id).ok());
    let (Some(id), Some(up)) = (id, body.get("up").and_then(Value::as_bool)) else {
        return Err("give id (a number) and up (true or false)".to_owned());
    };
    let inner = state.inner();
    let (now, mut array) = (inner.env.now(), inner.array.lock());
    let done = if up { array.restore_controller(now, id) } else { array.fail_controller(now, id) };
    done.map_err(|refusal| refusal.to_string())
}

/// Power goes and comes back, differently each time.
fn cycle_power(state: &RestState) {
    let inner = state.inner();
    let mut array = inner.array.lock();
    let mut dice = inner.env.rng(&format!("array power {}", array.power_generation()));
    let report = array.power_loss(inner.env.now(), &mut |n| dice.below(n));
    drop(array);
    lock(&inner.sessions).expire_all();
    inner.env.note("power", || json!({"lost": report.blocks_lost, "kept": report.blocks_kept}));
}

/// The control surface; errors are HTTP 400 with a text.
async fn control(state: &RestState, method: &Method, verb: &str, query: &str, body: Body) -> Response {
    let refuse = |text: String| {
        envelope::with_status(StatusCode::BAD_REQUEST, Bytes::from(json!({"error": text}).to_string()))
    };
    let body = match read_body(state, body).await {
        Ok(body) => body,
        Err(failure) => return refuse(failure.description.into_owned()),
    };
    let body: Value = match body.is_empty() {
        true => Value::Null,
        false => match serde_json::from_slice(&body) {
            Ok(body) => body,
            Err(_) => return refuse("the body is not valid JSON".to_owned()),
        },
    };
    let inner = state.inner();
    let counts = state.counts();
    let mut control = lock(&inner.control);
    let mut since = None;
    let done = match (method, verb) {
        (&Method::GET, "state") => match Query::parse(query) {
            Ok(query) => {
                since = query.get("since").map(str::to_owned);
                Ok(())
            }
            Err(failure) => Err(failure.description.into_owned()),
        },
        (&Method::POST, "mark") => control.mark(&body, counts.clone()),
        (&Method::POST, "expire") => {
            lock(&inner.sessions).expire_all();
            Ok(())
        }
        (&Method::POST, "reset") => {
            control.reset();
            lock(&inner.sessions).unlock_all();
            Ok(())
        }
        (&Method::POST, "fault") => control.add(&body),
        (&Method::POST, "account") => match body.get("state").and_then(Value::as_u64) {
            Some(account @ 1..=4) => {
                // The range fits.
                inner.account_state.store(account as u8, Ordering::Relaxed);
                Ok(())
            }
            _ => Err("give state, a number from 1 to 4".to_owned()),
        },
        (&Method::POST, "controller") => switch_controller(state, &body),
        (&Method::POST, "power") => {
            cycle_power(state);
            Ok(())
        }
        _ => return envelope::with_status(StatusCode::NOT_FOUND, Bytes::new()),
    };
    let sessions = state.sessions();
    match done.and_then(|()| control.state(&counts, sessions, since.as_deref())) {
        Ok(answer) => envelope::json(Bytes::from(answer.to_string())),
        Err(text) => refuse(text),
    }
}
