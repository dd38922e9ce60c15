//! HTTP/1.1 over the world's streams: an ordered, bounded set of connections for each endpoint.
//!
//! A failure says whether the request can have reached the array, because only that decides if it may be sent again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use sanbench_world::{Env, Stream, Task};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::config::{Endpoint, HostAddr, Limits, TenglingConfig};
use crate::tls;

/// Most addresses tried for one name.
const MOST_ADDRESSES: usize = 8;
/// Largest response head in bytes.
const HEAD_BYTES: usize = 64 << 10;

/// One request, relative to an endpoint.
#[derive(Clone)]
pub(crate) struct Outgoing {
    /// Method.
    pub(crate) method: Method,
    /// Path and query below the endpoint's path, without a leading slash.
    pub(crate) path: String,
    /// Session token.
    pub(crate) token: Option<HeaderValue>,
    /// JSON body.
    pub(crate) body: Option<Bytes>,
}

/// Status and body.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// HTTP status.
    pub(crate) status: u16,
    /// Whole body.
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The request provably was not processed.
    NotSent(String),
    /// The request went out; its answer did not come back, or not whole. `slow` when the time limit passed.
    Lost {
        /// What happened.
        message: String,
        /// The time limit passed, so the endpoint may be a black hole.
        slow: bool,
    },
    /// The answer is larger than allowed.
    TooLarge,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: Task<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Without this a connection whose peer fell silent would live on in its task.
        self.task.abort();
    }
}

struct Pool {
    endpoint: Endpoint,
    authority: Option<HeaderValue>,
    idle: Mutex<Vec<Connection>>,
    slots: Semaphore,
}

/// Connections to all endpoints.
pub(crate) struct Transport {
    env: Env,
    pools: Vec<Pool>,
    tls: Result<Arc<ClientConfig>, String>,
    limits: Limits,
}

impl Transport {
    pub(crate) fn new(env: Env, config: &TenglingConfig) -> Self {
        let pools: Vec<Pool> = config
            .endpoints
            .iter()
            .map(|e| Pool {
                authority: HeaderValue::from_str(&format!("{}:{}", e.host, e.port)).ok(),
                endpoint: e.clone(),
                idle: Mutex::new(Vec::new()),
                slots: Semaphore::new(config.limits.connections.max(1)),
            })
            .collect();
        let tls = if config.endpoints.iter().any(|e| e.tls) {
            tls::client_config(&config.tls)
        } else {
            Err("no endpoint uses TLS".to_owned())
        };
        Self { env, pools, tls, limits: config.limits.clone() }
    }

    /// Number of endpoints.
    pub(crate) fn endpoints(&self) -> usize {
        self.pools.len()
    }

    /// Closes every idle connection.
    pub(crate) fn close(&self) {
        for pool in &self.pools {
            lock(&pool.idle).clear();
        }
    }

    /// Sends one request and takes the whole answer within `limit`.
    pub(crate) async fn send(
        &self,
        endpoint: usize,
        outgoing: &Outgoing,
        limit: Duration,
    ) -> Result<Incoming, SendError> {
        let pool = self.pools.get(endpoint).ok_or_else(|| not_sent("no such endpoint"))?;
        let ends = self.env.now() + limit;
        let _slot = match self.env.timeout(limit, pool.slots.acquire()).await {
            Ok(Ok(slot)) => slot,
            _ => return Err(not_sent("all connections are busy")),
        };
        // A kept connection may have been closed by the array meanwhile: one more attempt on a fresh one, and only
        // when nothing of the request was taken.
        let kept = lock(&pool.idle).pop();
        if let Some(connection) = kept {
            match self.exchange(pool, connection, outgoing, ends).await {
                Err(SendError::NotSent(_)) => {}
                done => return done,
            }
        }
        let connection = self.connect(pool, ends).await?;
        self.exchange(pool, connection, outgoing, ends).await
    }

    async fn connect(&self, pool: &Pool, ends: Duration) -> Result<Connection, SendError> {
        let limit = self.limits.connect.min(ends.saturating_sub(self.env.now()));
        match self.env.timeout(limit, self.connect_any(pool)).await {
            Ok(done) => done.map_err(|e| not_sent(&format!("{}: {e}", pool.endpoint))),
            Err(_) => Err(not_sent(&format!("{}: no connection within {limit:?}", pool.endpoint))),
        }
    }

    async fn connect_any(&self, pool: &Pool) -> Result<Connection, String> {
        let addresses: Vec<SocketAddr> = match &pool.endpoint.host {
            HostAddr::Ip(ip) => vec![SocketAddr::new(*ip, pool.endpoint.port)],
            HostAddr::Name(name) => {
                self.env.lookup(name, pool.endpoint.port).await.map_err(|e| e.to_string())?
            }
        };
        let mut last = "the name has no address".to_owned();
        for address in addresses.into_iter().take(MOST_ADDRESSES) {
            match self.env.connect(address).await {
                Ok(stream) => return self.open(pool, stream).await,
                Err(e) => last = e.to_string(),
            }
        }
        Err(last)
    }

    async fn open(&self, pool: &Pool, stream: Stream) -> Result<Connection, String> {
        if !pool.endpoint.tls {
            return self.handshake(TokioIo::new(stream)).await;
        }
        let config = self.tls.clone()?;
        let name = match &pool.endpoint.host {
            HostAddr::Ip(ip) => ServerName::IpAddress((*ip).into()),
            HostAddr::Name(name) => ServerName::try_from(name.clone()).map_err(|e| e.to_string())?,
        };
        let stream =
            TlsConnector::from(config).connect(name, stream).await.map_err(|e| format!("TLS: {e}"))?;
        self.handshake(TokioIo::new(stream)).await
    }

    async fn handshake<T>(&self, io: T) -> Result<Connection, String>
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, driver) =
            http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(io).await.map_err(|e| e.to_string())?;
        let task = self.env.spawn(async move {
            // Its error also reaches whoever waits for the answer.
            let _ = driver.await;
        });
        Ok(Connection { sender, task })
    }

    async fn exchange(
        &self,
        pool: &Pool,
        mut connection: Connection,
        outgoing: &Outgoing,
        ends: Duration,
    ) -> Result<Incoming, SendError> {
        let request = request(pool, outgoing)?;
        let left = |env: &Env| ends.saturating_sub(env.now());
        match self.env.timeout(left(&self.env), connection.sender.ready()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(not_sent(&e.to_string())),
            Err(_) => return Err(not_sent("connection not ready in time")),
        }
        let answer = self.env.timeout(left(&self.env), async {
            let response = match connection.sender.try_send_request(request).await {
                Ok(response) => response,
                // Hyper hands the request back when it never began to write it.
                Err(e) if e.message().is_some() => return Err(not_sent(&e.error().to_string())),
                Err(e) => return Err(lost(&e.error().to_string())),
            };
            let status = response.status().as_u16();
            let body = self.body(response.into_body()).await?;
            Ok(Incoming { status, body })
        });
        match answer.await {
            Ok(Ok(incoming)) => {
                if !connection.sender.is_closed() {
                    lock(&pool.idle).push(connection);
                }
                Ok(incoming)
            }
            Ok(Err(e)) => Err(e),
            Err(_) => Err(SendError::Lost { message: "no answer in time".to_owned(), slow: true }),
        }
    }

    async fn body(&self, mut body: hyper::body::Incoming) -> Result<Bytes, SendError> {
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| lost(&e.to_string()))?;
            if let Ok(data) = frame.into_data() {
                if all.len() + data.len() > self.limits.answer_bytes {
                    return Err(SendError::TooLarge);
                }
                all.extend_from_slice(&data);
            }
        }
        Ok(all.freeze())
    }
}

fn request(pool: &Pool, outgoing: &Outgoing) -> Result<Request<Full<Bytes>>, SendError> {
    let authority = pool.authority.clone().ok_or_else(|| not_sent("the endpoint makes no Host header"))?;
    let mut builder = Request::builder()
        .method(outgoing.method.clone())
        .uri(format!("{}{}", pool.endpoint.path, outgoing.path))
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "keep-alive")
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = &outgoing.token {
        builder = builder.header("iBaseToken", token.clone());
    }
    let body = outgoing.body.clone().unwrap_or_default();
    builder.body(Full::new(body)).map_err(|e| not_sent(&format!("request cannot be built: {e}")))
}

fn not_sent(message: &str) -> SendError {
    SendError::NotSent(message.to_owned())
}

fn lost(message: &str) -> SendError {
    SendError::Lost { message: message.to_owned(), slow: false }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
