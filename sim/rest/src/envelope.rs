//! The envelope of every answer: `{"data": ..., "error": {"code": n, "description": "..."}}`, HTTP status 200.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use hyper::body::{Frame, SizeHint};

use crate::codes::{self, Failure};

/// The attributes of one object. Every value is a JSON string, whatever it means. Kept as the JSON text that is sent, without
/// the braces: an array has lists of 65,536 objects with some forty attributes each, and a tree of them would cost ten
/// times as much.
#[derive(Debug, Default, Clone)]
pub(crate) struct Object(Vec<u8>);

impl Object {
    /// No attributes yet.
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(1024))
    }
    /// Adds a text attribute.
    pub(crate) fn text(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.key(name);
        write_text(&mut self.0, value.as_ref());
        self
    }
    /// Adds a number, written as a string.
    pub(crate) fn number(mut self, name: &str, value: impl Into<u64>) -> Self {
        self.key(name);
        // Writing to a vector cannot fail.
        let _ = write!(self.0, "\"{}\"", value.into());
        self
    }
    /// Adds a truth value, written as `"true"` or `"false"`.
    pub(crate) fn flag(self, name: &str, value: bool) -> Self {
        self.text(name, if value { "true" } else { "false" })
    }
    /// Adds one of the few attributes that are JSON integers (login state, licence values, type of a target port).
    pub(crate) fn integer(mut self, name: &str, value: u64) -> Self {
        self.key(name);
        let _ = write!(self.0, "{value}");
        self
    }

    fn key(&mut self, name: &str) {
        debug_assert!(self.value(name).is_none(), "{name} twice");
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        write_text(&mut self.0, name);
        self.0.push(b':');
    }

    /// Whether the text attribute `name` satisfies `test`.
    pub(crate) fn has(&self, name: &str, test: impl Fn(&str) -> bool) -> bool {
        let text = self.value(name).and_then(|raw| serde_json::from_slice::<Cow<'_, str>>(raw).ok());
        text.is_some_and(|text| test(&text))
    }

    /// The JSON of a text attribute, quotes included. Inside of values every quote is escaped, so that the name between
    /// its quotes, a colon and a quote can only be the attribute itself.
    fn value(&self, name: &str) -> Option<&[u8]> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            return None;
        }
        let wanted = name.len() + 4;
        let at = self.0.windows(wanted).position(|part| {
            part[0] == b'"' && part[1..].starts_with(name.as_bytes()) && part[wanted - 3..] == *b"\":\""
        })?;
        let value = &self.0[at + wanted - 1..];
        let mut escaped = false;
        let end = value.iter().skip(1).position(|byte| match byte {
            _ if std::mem::take(&mut escaped) => false,
            b'\\' => {
                escaped = true;
                false
            }
            byte => *byte == b'"',
        })?;
        value.get(..end + 2)
    }
}

/// A JSON string.
fn write_text(out: &mut Vec<u8>, text: &str) {
    // Text always has a JSON form, and writing to a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// How the body of an answer with a list begins.
const LIST: &[u8] = b"{\"data\":[";

/// Objects as the text of the answer that will carry them, up to the end of the last one: each is written once and then
/// gone.
#[derive(Debug)]
pub(crate) struct Items {
    json: Vec<u8>,
    len: usize,
}

impl Default for Items {
    fn default() -> Self {
        Self { json: LIST.to_vec(), len: 0 }
    }
}

impl Items {
    fn push(&mut self, object: &Object) {
        if self.len > 0 {
            self.json.push(b',');
        }
        self.json.push(b'{');
        self.json.extend_from_slice(&object.0);
        self.json.push(b'}');
        self.len += 1;
    }
}

impl FromIterator<Object> for Items {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        let mut items = Self::default();
        objects.into_iter().for_each(|object| items.push(&object));
        items
    }
}

/// What a call gives when it succeeds.
#[derive(Debug)]
pub(crate) enum Reply {
    /// One object; `{}` for a mutation that has nothing to say.
    One(Object),
    /// A list; `data` is omitted when it is empty, as real arrays do.
    List(Items),
    /// A list that clients read without asking whether it is there: `data` is always sent.
    FullList(Items),
}

/// The result of a call.
pub(crate) type Answer = Result<Reply, Failure>;

/// A mutation that has nothing to say.
pub(crate) fn done() -> Answer {
    Ok(Reply::One(Object::new()))
}

/// The bytes of an answer and the code that it carries.
pub(crate) fn render(answer: Answer) -> (Bytes, i64) {
    let mut body;
    let code = match answer {
        Ok(reply) => {
            body = match reply {
                Reply::One(Object(attributes)) => {
                    let mut body = Vec::with_capacity(attributes.len() + 64);
                    body.extend_from_slice(b"{\"data\":{");
                    body.extend_from_slice(&attributes);
                    body.extend_from_slice(b"},");
                    body
                }
                Reply::List(list) if list.len == 0 => b"{".to_vec(),
                Reply::List(Items { mut json, .. }) | Reply::FullList(Items { mut json, .. }) => {
                    json.extend_from_slice(b"],");
                    json
                }
            };
            body.extend_from_slice(b"\"error\":{\"code\":0,\"description\":\"0\"}}");
            0
        }
        Err(failure) => {
            body = Vec::new();
            // Clients compare this one code with a string (array-rest section 3.6); all others are integers.
            let quote = if failure.code == codes::CLONE_PAIR_MISSING { "\"" } else { "" };
            let code = failure.code;
            let _ =
                write!(body, "{{\"data\":{{}},\"error\":{{\"code\":{quote}{code}{quote},\"description\":");
            write_text(&mut body, &failure.description);
            body.extend_from_slice(b"}}");
            failure.code
        }
    };
    (Bytes::from(body), code)
}

/// Answers longer than this count while they are on their way, in bytes.
const LARGE: usize = 1 << 20;
/// How many bytes of large answers may be on their way before further un-ranged lists are put off. One more answer may
/// come on top.
const MOST_UNSENT: u64 = 256 << 20;

/// Bytes of large answers that are not sent yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unsent(Arc<AtomicU64>);

impl Unsent {
    /// Whether so much waits to be sent that nothing large should be added.
    pub(crate) fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MOST_UNSENT
    }

    /// The response with this body; a large one counts until it is sent or given up.
    pub(crate) fn json(&self, body: Bytes) -> Response {
        if body.len() < LARGE {
            return json(body);
        }
        let bytes = body.len() as u64;
        self.0.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { body, bytes, unsent: self.clone() };
        let mut response = Response::new(Body::new(held));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// A large body on its way, in pieces that share its memory; it counts whole until the last one is taken.
struct Held {
    body: Bytes,
    bytes: u64,
    unsent: Unsent,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.unsent.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.body.len().min(LARGE);
        let piece = self.body.split_to(length);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.len() as u64)
    }
}

/// An HTTP 200 response with a JSON body.
pub(crate) fn json(body: Bytes) -> Response {
    with_status(StatusCode::OK, body)
}

/// A JSON response with another status.
pub(crate) fn with_status(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(answer: Answer) -> String {
        String::from_utf8(render(answer).0.to_vec()).unwrap()
    }

    #[test]
    fn empty_lists_omit_data_unless_always_sent() {
        assert_eq!(shown(Ok(Reply::List(Items::default()))), r#"{"error":{"code":0,"description":"0"}}"#);
        assert_eq!(
            shown(Ok(Reply::FullList(Items::default()))),
            r#"{"data":[],"error":{"code":0,"description":"0"}}"#
        );
        assert_eq!(shown(done()), r#"{"data":{},"error":{"code":0,"description":"0"}}"#);
    }

    #[test]
    fn codes_are_integers_but_for_the_missing_clone_pair() {
        assert!(shown(Err(codes::SESSION_LOST.into())).contains(r#""code":-401"#));
        assert!(shown(Err(codes::CLONE_PAIR_MISSING.into())).contains(r#""code":"1073798147""#));
    }

    #[test]
    fn attributes_are_strings() {
        let object = Object::new().text("A", "x").number("B", 7u64).flag("C", true);
        assert_eq!(
            shown(Ok(Reply::One(object))),
            r#"{"data":{"A":"x","B":"7","C":"true"},"error":{"code":0,"description":"0"}}"#
        );
        let list: Items =
            [Object::new().text("A", "\u{1}\"\\\n"), Object::new().integer("B", 1)].into_iter().collect();
        assert_eq!(
            shown(Ok(Reply::List(list))),
            r#"{"data":[{"A":"\u0001\"\\\n"},{"B":1}],"error":{"code":0,"description":"0"}}"#
        );
    }

    #[test]
    fn attributes_are_found_by_name_whatever_the_values_say() {
        let hostile = r#"","NAME":"x"#;
        let object = Object::new()
            .text("DESCRIPTION", hostile)
            .text("NAME", "a\\\"b")
            .number("ID", 7u64)
            .integer("TYPE", 1);
        assert!(object.has("NAME", |value| value == "a\\\"b"));
        assert!(object.has("DESCRIPTION", |value| value == hostile));
        assert!(object.has("ID", |value| value == "7"));
        for absent in ["NAM", "AME", "name", "TYPE", "", "x\":\"", "OTHER"] {
            assert!(!object.has(absent, |_| true), "{absent}");
        }
    }
}
