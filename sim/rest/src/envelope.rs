//! The envelope of every answer: `{"data": ..., "error": {"code": n, "description": "..."}}`, HTTP status 200.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use crate::codes::{self, Failure};

/// The attributes of one object. Every value is a JSON string, whatever it means.
#[derive(Debug, Default, Clone)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// No attributes yet.
    pub(crate) fn new() -> Self {
        Self(Map::new())
    }
    /// Adds a text attribute.
    pub(crate) fn text(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), Value::String(value.into()));
        self
    }
    /// Adds a number, written as a string.
    pub(crate) fn number(self, name: &str, value: impl Into<u64>) -> Self {
        self.text(name, value.into().to_string())
    }
    /// Adds a truth value, written as `"true"` or `"false"`.
    pub(crate) fn flag(self, name: &str, value: bool) -> Self {
        self.text(name, if value { "true" } else { "false" })
    }
    /// Adds one of the few attributes that are JSON integers (login state, licence values, type of a target port).
    pub(crate) fn integer(mut self, name: &str, value: u64) -> Self {
        self.0.insert(name.to_owned(), Value::from(value));
        self
    }
    /// Whether the attribute `name` satisfies `test`.
    pub(crate) fn has(&self, name: &str, test: impl Fn(&str) -> bool) -> bool {
        self.0.get(name).and_then(Value::as_str).is_some_and(test)
    }
}

/// What a call gives when it succeeds.
#[derive(Debug)]
pub(crate) enum Reply {
    /// One object; `{}` for a mutation that has nothing to say.
    One(Object),
    /// A list; `data` is omitted when it is empty, as real arrays do.
    List(Vec<Object>),
    /// A list that clients read without asking whether it is there: `data` is always sent.
    FullList(Vec<Object>),
}

/// The result of a call.
pub(crate) type Answer = Result<Reply, Failure>;

/// A mutation that has nothing to say.
pub(crate) fn done() -> Answer {
    Ok(Reply::One(Object::new()))
}

/// The bytes of an answer and the code that it carries.
pub(crate) fn render(answer: Answer) -> (Bytes, i64) {
    let mut body = Map::new();
    let mut error = Map::new();
    let code = match answer {
        Ok(reply) => {
            match reply {
                Reply::One(object) => {
                    body.insert("data".to_owned(), Value::Object(object.0));
                }
                Reply::List(list) if list.is_empty() => {}
                Reply::List(list) | Reply::FullList(list) => {
                    let items = list.into_iter().map(|object| Value::Object(object.0)).collect();
                    body.insert("data".to_owned(), Value::Array(items));
                }
            }
            error.insert("code".to_owned(), Value::from(0));
            error.insert("description".to_owned(), Value::from("0"));
            0
        }
        Err(failure) => {
            body.insert("data".to_owned(), Value::Object(Map::new()));
            // Clients compare this one code with a string (array-rest section 3.6); all others are integers.
            let code = if failure.code == codes::CLONE_PAIR_MISSING {
                Value::String(failure.code.to_string())
            } else {
                Value::from(failure.code)
            };
            error.insert("code".to_owned(), code);
            error.insert("description".to_owned(), Value::String(failure.description.into_owned()));
            failure.code
        }
    };
    body.insert("error".to_owned(), Value::Object(error));
    (Bytes::from(Value::Object(body).to_string()), code)
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
        assert_eq!(shown(Ok(Reply::List(vec![]))), r#"{"error":{"code":0,"description":"0"}}"#);
        assert_eq!(shown(Ok(Reply::FullList(vec![]))), r#"{"data":[],"error":{"code":0,"description":"0"}}"#);
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
    }
}
