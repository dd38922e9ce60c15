//! A small scripted management API for the driver's tests: it answers in the shapes of array-rest.md Appendix A, keeps
//! just enough state to refuse what an array refuses, and can be told to fail the n-th call that matches.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sanbench_api::{SnapshotId, SnapshotRef, VolumeId, VolumeRef};
use sanbench_tengling::{DriverDefects, TenglingConfig, TenglingDriver};
use sanbench_world::{Env, SimConfig, SimWorld};
use serde_json::{Map, Value, json};
use uuid::Uuid;

mod model;
pub use model::State;

/// What a scripted fault does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers this error code, does nothing.
    Code(i64),
    /// Answers this HTTP status, does nothing.
    Http(u16),
    /// Answers this body with status 200, does nothing.
    Body(&'static str),
    /// Closes the connection, does nothing.
    DropBefore,
    /// Does the work, closes the connection.
    DropAfter,
    /// Waits, then does the work and answers.
    Delay(Duration),
}

#[derive(Clone, Debug)]
struct Fault {
    needle: &'static str,
    skip: u32,
    times: u32,
    act: Act,
}

/// The peer's shared part.
#[derive(Clone, Default)]
pub struct Peer(Arc<Mutex<Inner>>);

#[derive(Default)]
pub struct Inner {
    pub state: State,
    faults: Vec<Fault>,
    log: Vec<String>,
    sessions: BTreeSet<String>,
    logins: u64,
}

impl Peer {
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// The calls number `skip`.. (`times` of them) whose `METHOD path` begins with `needle` do `act`.
    pub fn fault(&self, needle: &'static str, skip: u32, times: u32, act: Act) {
        self.lock().faults.push(Fault { needle, skip, times, act });
    }

    pub fn sessions(&self) -> usize {
        self.lock().sessions.len()
    }

    pub fn logins(&self) -> u64 {
        self.lock().logins
    }

    /// Forgets every session.
    pub fn expire(&self) {
        self.lock().sessions.clear();
    }

    /// `METHOD path` of the calls since the last time, sessions left out.
    pub fn take_log(&self) -> Vec<String> {
        let mut log = std::mem::take(&mut self.lock().log);
        log.retain(|l| !l.contains("sessions"));
        log
    }

    pub fn count(&self, needle: &str) -> usize {
        self.lock().log.iter().filter(|l| l.starts_with(needle)).count()
    }

    /// Serves plain HTTP at `on` until the world ends.
    pub async fn serve(&self, env: &Env, on: SocketAddr) {
        let mut listener = env.listen(on).await.unwrap();
        let (peer, env2) = (self.clone(), env.clone());
        drop(env.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                let task = peer.clone().connection(env2.clone(), stream);
                drop(env2.spawn(task));
            }
        }));
    }

    /// Serves one connection.
    pub async fn connection<S>(self, env: Env, stream: S)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| {
            let (peer, env) = (self.clone(), env.clone());
            async move { peer.answer(&env, request).await }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn answer(
        &self,
        env: &Env,
        request: Request<hyper::body::Incoming>,
    ) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let path = parts.uri.path_and_query().unwrap().as_str();
        let path = path.strip_prefix("/deviceManager/rest/").unwrap_or(path);
        let path = path.split_once('/').map_or("", |(_, p)| p).replace("%5B", "[").replace("%5D", "]");
        let line = format!("{} {path}", parts.method);
        let token =
            parts.headers.get("iBaseToken").and_then(|t| t.to_str().ok()).unwrap_or_default().to_owned();
        let act = {
            let mut inner = self.lock();
            inner.log.push(line.clone());
            inner.act(&line)
        };
        let gone = || Err(std::io::Error::other("scripted"));
        match act {
            Some(Act::Code(code)) => return Ok(reply(code, Value::Null)),
            Some(Act::Http(status)) => {
                let mut response = Response::new(Full::new(Bytes::from_static(b"<html>no</html>")));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                return Ok(response);
            }
            Some(Act::Body(body)) => {
                return Ok(Response::new(Full::new(Bytes::from_static(body.as_bytes()))));
            }
            Some(Act::DropBefore) => return gone(),
            Some(Act::Delay(d)) => env.sleep(d).await,
            Some(Act::DropAfter) | None => {}
        }
        let (code, data) = self.lock().handle(&parts.method, &path, &body, &token);
        match act {
            Some(Act::DropAfter) => gone(),
            _ => Ok(reply(code, data)),
        }
    }
}

fn reply(code: i64, data: Value) -> Response<Full<Bytes>> {
    let mut answer = Map::new();
    if !data.is_null() {
        answer.insert("data".to_owned(), data);
    }
    answer.insert("error".to_owned(), json!({"code": code, "description": "text"}));
    Response::new(Full::new(Bytes::from(Value::Object(answer).to_string())))
}

impl Inner {
    fn act(&mut self, line: &str) -> Option<Act> {
        for fault in &mut self.faults {
            if !line.starts_with(fault.needle) || fault.times == 0 {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.times -= 1;
            return Some(fault.act.clone());
        }
        None
    }

    fn handle(&mut self, method: &Method, path: &str, body: &[u8], token: &str) -> (i64, Value) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if path == "sessions" && *method == Method::POST {
            if body["password"] != "canary-secret" {
                return (1_077_987_870, Value::Null);
            }
            self.logins += 1;
            let token = format!("token-{}", self.logins);
            self.sessions.insert(token.clone());
            let state = self.state.account_state;
            return (0, json!({"iBaseToken": token, "deviceid": "2102350", "accountstate": state}));
        }
        if !self.sessions.contains(token) {
            return (-401, json!({}));
        }
        if path == "sessions" {
            self.sessions.remove(token);
            return (0, json!({}));
        }
        self.state.handle(method, path, &body)
    }
}

/// Address of the scripted array in the simulated network.
pub const ARRAY: &str = "10.0.0.1";

/// A back-end section for it.
pub fn options(extra: &[(&str, &str)]) -> BTreeMap<String, String> {
    let base = [
        ("tengling_sanip", "http://10.0.0.1:8080/deviceManager/rest/"),
        ("tengling_username", "admin"),
        ("tengling_password", "canary-secret"),
        ("tengling_storagepool", "pool0"),
    ];
    base.iter().chain(extra).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// Runs `body` in a simulated world with a scripted array and a driver on another node.
pub fn with_driver<T, F>(
    extra: &[(&str, &str)],
    defects: DriverDefects,
    body: impl FnOnce(SimWorld, Peer, Arc<TenglingDriver>) -> F,
) -> T
where
    F: Future<Output = T>,
{
    let (config, _) = TenglingConfig::from_options(&options(extra)).unwrap();
    SimWorld::run(SimConfig { trace: true, ..SimConfig::default() }, |world| async move {
        let ip: IpAddr = ARRAY.parse().unwrap();
        let array = world.node("array", &[ip, "10.0.1.1".parse().unwrap()]);
        let control = world.node("control", &["10.0.0.2".parse().unwrap()]);
        let peer = Peer::default();
        peer.serve(&array, SocketAddr::new(ip, 8080)).await;
        peer.serve(&array, "10.0.1.1:8080".parse().unwrap()).await;
        let driver = Arc::new(TenglingDriver::with_defects(control, config, defects));
        let result = body(world.clone(), peer.clone(), driver).await;
        let trace: String = world.trace().iter().map(|l| l.to_json_line()).collect();
        assert!(!trace.contains("canary-secret"), "the trace shows the password");
        result
    })
}

/// A volume whose ids all begin with the same digits.
pub fn volume(n: u128, size_gib: u64) -> VolumeRef {
    let id = VolumeId(Uuid::from_u128(0x5b5b_5b5b_0000_4000_8000_0000_0000_0000 + (n << 96) + n));
    VolumeRef {
        id,
        name_id: id,
        size_gib,
        pool: "pool0".to_owned(),
        extra_specs: BTreeMap::new(),
        use_quota: true,
        provider_id: None,
        provider_location: None,
    }
}

/// A snapshot of a volume.
pub fn snapshot(n: u128, of: &VolumeRef) -> SnapshotRef {
    SnapshotRef {
        id: SnapshotId(Uuid::from_u128(0x5a5a_5a5a_0000_4000_8000_0000_0000_0000 + (n << 96) + n)),
        volume: of.clone(),
        volume_size_gib: of.size_gib,
        provider_id: None,
        provider_location: None,
    }
}
