//! Reading JSON answers of the array. Every attribute is a string there (array-rest.md 1.2), but numbers and
//! booleans are taken as well; whatever else is malformed.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// An answer that has not the shape that it must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: attribute {key} is missing or malformed")]
pub(crate) struct BadAnswer {
    /// Object kind.
    pub(crate) what: &'static str,
    /// Attribute.
    pub(crate) key: &'static str,
}

/// One object of an answer.
#[derive(Clone, Copy)]
pub(crate) struct Obj<'a> {
    what: &'static str,
    map: &'a Map<String, Value>,
}

impl<'a> Obj<'a> {
    /// Takes an object; anything else is malformed.
    pub(crate) fn new(what: &'static str, value: &'a Value) -> Result<Self, BadAnswer> {
        value.as_object().map(|map| Self { what, map }).ok_or(BadAnswer { what, key: "data" })
    }

    /// The attribute as text; absent, null and `--` are none.
    pub(crate) fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        match self.map.get(key)? {
            Value::String(s) if s == "--" => None,
            Value::String(s) => Some(Cow::Borrowed(s)),
            Value::Number(n) => Some(Cow::Owned(n.to_string())),
            Value::Bool(b) => Some(Cow::Borrowed(if *b { "true" } else { "false" })),
            _ => None,
        }
    }

    /// The attribute as text that must be there and not be empty.
    pub(crate) fn need(&self, key: &'static str) -> Result<String, BadAnswer> {
        self.text(key)
            .filter(|t| !t.is_empty() && t.len() <= 1024)
            .map(Cow::into_owned)
            .ok_or(BadAnswer { what: self.what, key })
    }

    /// The attribute as text, empty when absent, cut at 1024 bytes' worth of characters.
    pub(crate) fn text_or_empty(&self, key: &str) -> String {
        self.text(key).map(|t| t.chars().take(1024).collect()).unwrap_or_default()
    }

    /// The attribute as a number.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.trim().parse().ok()
    }

    /// The attribute as a number that must be there.
    pub(crate) fn need_number(&self, key: &'static str) -> Result<u64, BadAnswer> {
        self.number(key).ok_or(BadAnswer { what: self.what, key })
    }

    /// The attribute as a boolean.
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        match self.text(key)?.as_ref() {
            "true" | "TRUE" | "1" => Some(true),
            "false" | "FALSE" | "0" => Some(false),
            _ => None,
        }
    }
}

/// A typed array object that can be read from an answer.
pub(crate) trait Record: Sized {
    /// Reads one object.
    fn read(value: &Value) -> Result<Self, BadAnswer>;
    /// Its name; for objects without names the id.
    fn name(&self) -> &str;
}

/// An id as text, quoted for use as one path segment or query value (RFC 3986 section 3.3). Colons, which IQNs
/// have, stay raw as the array expects.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_numbers_and_booleans_are_taken_alike() {
        let value = json!({"A": "7", "B": 7, "C": true, "D": "true", "E": "--", "F": null, "G": [1]});
        let obj = Obj::new("lun", &value).unwrap();
        assert_eq!((obj.number("A"), obj.number("B"), obj.number("E")), (Some(7), Some(7), None));
        assert_eq!((obj.flag("C"), obj.flag("D"), obj.flag("F")), (Some(true), Some(true), None));
        assert!(obj.need("G").is_err());
        assert!(Obj::new("lun", &json!([])).is_err());
    }

    #[test]
    fn quoting_leaves_no_way_out_of_a_segment() {
        assert_eq!(quote("iqn.1994-05.com:x"), "iqn.1994-05.com:x");
        assert_eq!(quote("a/../b?c&d=e f"), "a%2F..%2Fb%3Fc%26d%3De%20f");
    }
}
