//! Answers that are wrong on purpose, as the fault points order them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use hyper::body::{Frame, SizeHint};
use sanbench_world::{Env, Wrong};
use serde_json::{Value, json};

use crate::envelope::{self, Answer};
use crate::handle::CloseAfter;

/// Pause before a cut answer ends, so that what was written leaves first.
const PAUSE: Duration = Duration::from_millis(1);
/// Bytes of an oversized answer, sent in pieces.
const OVERSIZE: u64 = 1 << 32;
/// Bytes of one piece.
const PIECE: usize = 64 << 10;
/// Bytes of a text that is too long.
const OVERLONG: usize = 5_000;
/// What a gateway in front of the array might say.
const PAGE: &str = "<html><head><title>502 Bad Gateway</title></head>\
                    <body><h1>Bad Gateway</h1><p>&quot;code&quot;:0</p></body></html>";

/// The response in place of the right one, and the code that it carries.
pub(crate) fn respond(env: &Env, wrong: Wrong, answer: Answer) -> (Response, i64) {
    match wrong {
        Wrong::Code(code) => right(Err(code.into())),
        Wrong::SessionOver => right(Err(crate::codes::SESSION_LOST.into())),
        Wrong::Http(status) => {
            let known = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (envelope::with_status(known, Bytes::new()), i64::from(status))
        }
        Wrong::Garbage => {
            let mut response = envelope::json(Bytes::from_static(PAGE.as_bytes()));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            (response, 0)
        }
        Wrong::Truncated => {
            let (whole, code) = envelope::render(answer);
            (body(Cut::new(env, &whole)), code)
        }
        Wrong::Oversized => (body(Endless { left: OVERSIZE, begun: false }), 0),
        Wrong::Mistyped => altered(answer, |whole| retype(&mut whole["data"])),
        Wrong::Blank => altered(answer, |whole| retell(whole, &String::clear)),
        Wrong::Overlong => altered(answer, |whole| {
            retell(whole, &|text| {
                // The beginning is as it was: a reader that cuts finds something that looks right.
                let filling = "~".repeat(OVERLONG.saturating_sub(text.len()));
                text.push_str(&filling);
            });
        }),
        Wrong::Newer => altered(answer, renew),
        // Only reads are remembered: anything else is answered rightly.
        Wrong::Stale => right(answer),
        Wrong::Closing => {
            let (mut response, code) = right(answer);
            response.extensions_mut().insert(CloseAfter);
            (response, code)
        }
    }
}

/// Questions that are remembered.
const QUESTIONS: usize = 64;
/// Longest question and answer that are remembered, in bytes.
const REMEMBERED: usize = 16 << 10;

/// What reads were told the last time, for answers that are behind the truth: the latest questions, each once.
#[derive(Debug, Default)]
pub(crate) struct Told {
    answers: VecDeque<(String, Bytes, i64)>,
}

impl Told {
    fn question(path: &str, query: &str) -> String {
        format!("{path}?{query}")
    }

    /// Remembers an answer; a long one is not worth it.
    pub(crate) fn keep(&mut self, path: &str, query: &str, body: &Bytes, code: i64) {
        if path.len() + query.len() + body.len() > REMEMBERED {
            return;
        }
        let question = Self::question(path, query);
        self.answers.retain(|(known, _, _)| *known != question);
        if self.answers.len() == QUESTIONS {
            self.answers.pop_front();
        }
        self.answers.push_back((question, body.clone(), code));
    }

    /// What the question got the last time.
    pub(crate) fn of(&self, path: &str, query: &str) -> Option<(Bytes, i64)> {
        let question = Self::question(path, query);
        let known = self.answers.iter().find(|(known, _, _)| *known == question);
        known.map(|(_, body, code)| (body.clone(), *code))
    }
}

fn right(answer: Answer) -> (Response, i64) {
    let (body, code) = envelope::render(answer);
    (envelope::json(body), code)
}

fn altered(answer: Answer, alter: impl FnOnce(&mut Value)) -> (Response, i64) {
    let (body, code) = envelope::render(answer);
    let mut whole: Value = serde_json::from_slice(&body).unwrap_or_default();
    alter(&mut whole);
    (envelope::json(Bytes::from(whole.to_string())), code)
}

/// Changes every text of the data; an answer without data stays as it is.
fn retell(whole: &mut Value, change: &impl Fn(&mut String)) {
    fn all(value: &mut Value, change: &impl Fn(&mut String)) {
        match value {
            Value::Object(fields) => fields.values_mut().for_each(|field| all(field, change)),
            Value::Array(items) => items.iter_mut().for_each(|item| all(item, change)),
            Value::String(text) => change(text),
            _ => {}
        }
    }
    if let Some(data) = whole.get_mut("data") {
        all(data, change);
    }
}

/// Every text becomes a list, an absent value a number.
fn retype(value: &mut Value) {
    match value {
        Value::Object(fields) if !fields.is_empty() => fields.values_mut().for_each(retype),
        Value::Array(items) => items.iter_mut().for_each(retype),
        Value::String(text) => *value = json!([std::mem::take(text)]),
        other => *other = json!(7),
    }
}

/// Unknown members everywhere, and unknown values where nobody has a reason to decide by them.
fn renew(whole: &mut Value) {
    fn object(value: &mut Value) {
        if let Some(fields) = value.as_object_mut() {
            for name in ["SUBTYPE", "WRITEPOLICY", "MIRRORPOLICY", "OPERATIONSYSTEM", "APPTYPE"] {
                if let Some(value) = fields.get_mut(name) {
                    *value = json!("9999");
                }
            }
            fields.insert("NEWFLAG".to_owned(), json!(true));
            fields.insert("NEWTEXT".to_owned(), json!("of a later version"));
            fields.insert("newTree".to_owned(), json!({"list": [1, null, {"deep": []}], "ID": "0"}));
        }
    }
    match &mut whole["data"] {
        Value::Array(items) => items.iter_mut().for_each(object),
        Value::Null => {
            // Indexing has made the member; an absent list stays absent.
            if let Some(fields) = whole.as_object_mut() {
                fields.remove("data");
            }
        }
        other => object(other),
    }
    whole["error"]["suggestion"] = json!("none");
    whole["meta"] = json!({"apiVersion": "99", "error": {"code": 5}});
}

fn body<B>(body: B) -> Response
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The answer breaks off.
#[derive(Debug, thiserror::Error)]
#[error("the answer is cut by a fault")]
struct Broken;

/// The first half of a body whose whole length was announced.
struct Cut {
    half: Option<Bytes>,
    length: u64,
    pause: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Cut {
    fn new(env: &Env, whole: &Bytes) -> Self {
        let env = env.clone();
        Self {
            half: Some(whole.slice(..whole.len() / 2)),
            length: whole.len() as u64,
            pause: Box::pin(async move { env.sleep(PAUSE).await }),
        }
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cut").field("length", &self.length).finish_non_exhaustive()
    }
}

impl hyper::body::Body for Cut {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(half) = self.half.take() {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        // While this waits, what was written is flushed.
        self.pause.as_mut().poll(cx).map(|()| Some(Err(Broken)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// A text attribute that goes on and on.
#[derive(Debug)]
struct Endless {
    left: u64,
    begun: bool,
}

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !std::mem::replace(&mut self.begun, true) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"{\"data\":{\"ID\":\"")))));
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left = self.left.saturating_sub(PIECE as u64);
        static PIECES: [u8; PIECE] = [b'7'; PIECE];
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECES)))))
    }
}
