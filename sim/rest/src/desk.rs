//! An administrator at a desk beside the array: the management API without a network, one session for each call.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use sanbench_array::ArrayHandle;
use sanbench_world::Env;
use serde_json::{Value, json};

use crate::handle::{ROOT, TOKEN, handle};
use crate::{RestConfig, RestState};

/// What is wrong with a call that got no answer of the dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(String);

/// A management plane of its own before an array, and the account to use it with. It has sessions of its own and the rules of
/// [`RestConfig::default`].
#[derive(Debug, Clone)]
pub struct Desk {
    state: RestState,
}

impl Desk {
    /// A desk for an array whose management API has this account.
    pub fn new(env: Env, array: ArrayHandle, account: &RestConfig) -> Self {
        let (user, password) = (account.user.clone(), account.password.clone());
        let config = RestConfig { user, password, ..RestConfig::default() };
        Self { state: RestState::new(env, array, config) }
    }

    /// Logs in, makes one call, and logs out: method and path below the device id, and a body for what is not read. Answers the
    /// code, 0 for success, and the data.
    ///
    /// # Errors
    /// The answer is none of the dialect.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Result<(i64, Value), NoAnswer> {
        let config = &self.state.inner().config;
        let account = json!({"username": config.user, "password": config.password, "scope": "0"});
        let (code, session) = self.send("POST", "xx/sessions", "", &account).await?;
        let said = |key: &str| session[key].as_str().map(str::to_owned);
        let (Some(token), Some(device)) = (said("iBaseToken"), said("deviceid")) else {
            return Err(NoAnswer(format!("no session: code {code}")));
        };
        let answer = self.send(method, &format!("{device}/{path}"), &token, body).await;
        self.send("DELETE", &format!("{device}/sessions"), &token, &Value::Null).await?;
        answer
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Result<(i64, Value), NoAnswer> {
        let no_call = |what: &dyn std::fmt::Display| NoAnswer(format!("{method} {path} is no call: {what}"));
        let method = Method::from_bytes(method.as_bytes()).map_err(|e| no_call(&e))?;
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method.clone()).uri(format!("{ROOT}{path}"));
        let request = request.header(TOKEN, token).body(body).map_err(|e| no_call(&e))?;
        read(handle(State(self.state.clone()), request).await)
            .await
            .ok_or_else(|| NoAnswer(format!("{method} {path} was not answered")))
    }
}

/// Code and data of an answer of the dialect.
async fn read(response: Response) -> Option<(i64, Value)> {
    if response.status() != StatusCode::OK {
        return None;
    }
    let body = response.into_body().collect().await.ok()?.to_bytes();
    let mut whole: Value = serde_json::from_slice(&body).ok()?;
    Some((whole["error"]["code"].as_i64()?, whole["data"].take()))
}
