//! What people and monitoring look at: `GET /` is a page of the array's state, `GET /metrics` the same in numbers
//! (Prometheus text exposition format 0.0.4). Both read only, without a log-in, and for peers on the loopback interface only,
//! since names of objects are nobody else's business. Secrets are on neither.

mod jobs;
mod metrics;
mod page;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, Uri, header};
use serde_json::Value;

use crate::handle::Peer;
use crate::query::Query;
use crate::{RestState, lock};

/// Bytes of a block.
const BLOCK: u64 = 512;

/// Calls answered since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    calls: AtomicU64,
    refused: AtomicU64,
    handshakes_failed: AtomicU64,
}

impl Tally {
    /// Counts an answer by its code.
    pub(crate) fn count(&self, code: i64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if code != 0 {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a TLS handshake that came to nothing.
    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// The page at this address, if it is one of these and the peer may see it.
pub(crate) fn page(state: &RestState, uri: &Uri, peer: Option<&Peer>) -> Option<Response> {
    if peer.is_some_and(|peer| !peer.0.ip().is_loopback()) {
        return None;
    }
    let (kind, body) = match uri.path() {
        "/" => {
            // A query that makes no sense shows the beginning.
            let query = Query::parse(uri.query().unwrap_or("")).unwrap_or_default();
            ("text/html; charset=utf-8", page::html(state, &query))
        }
        "/metrics" => ("text/plain; version=0.0.4; charset=utf-8", metrics::metrics(state)),
        _ => return None,
    };
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    Some(response)
}

/// The fault rules of the control surface.
fn faults(state: &RestState) -> Vec<Value> {
    let shown = lock(&state.inner().control).state(&BTreeMap::new(), 0, None);
    shown.ok().and_then(|shown| shown.get("faults").and_then(Value::as_array).cloned()).unwrap_or_default()
}
