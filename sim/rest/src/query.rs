//! What a request says: path segments, query, filter, range, and the loosely typed body.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::codes::{self, Failure};

/// Longest query string in bytes that is looked at.
const QUERY_BYTES: usize = 8 * 1024;
/// Most pairs in a query string.
const QUERY_PAIRS: usize = 64;
/// Most path segments.
const SEGMENTS: usize = 8;
/// Longest decoded path segment in bytes (an iSCSI name has at most 223).
const SEGMENT_BYTES: usize = 512;

/// Takes the backslash away that some clients put before a colon inside of a value.
fn unescaped(text: String) -> String {
    if text.contains("\\:") { text.replace("\\:", ":") } else { text }
}

/// Decodes percent signs; refuses what is not UTF-8 then.
fn decode(text: &str) -> Result<String, Failure> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    percent_decode_str(text)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| Failure::parameter("the URL is not UTF-8"))
}

/// The decoded segments of a path; empty ones (double or trailing slashes) are skipped.
pub(crate) fn segments(path: &str) -> Result<Vec<String>, Failure> {
    let mut out = Vec::with_capacity(4);
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if out.len() == SEGMENTS {
            return Err(Failure::parameter("the path has too many segments"));
        }
        let part = unescaped(decode(part)?);
        if part.len() > SEGMENT_BYTES {
            return Err(Failure::parameter("a path segment is too long"));
        }
        out.push(part);
    }
    Ok(out)
}

/// A decoded query string.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// `filter=NAME::value` (exact) or `filter=NAME:value` (contains).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter<'a> {
    /// Attribute name as written.
    pub(crate) attribute: &'a str,
    /// Value looked for.
    pub(crate) value: &'a str,
    /// Equal, or only contained.
    pub(crate) exact: bool,
}

impl Filter<'_> {
    /// Whether an attribute's value passes.
    pub(crate) fn accepts(&self, found: &str) -> bool {
        if self.exact { found == self.value } else { found.contains(self.value) }
    }
}

/// A half-open window of a list: `[a-b]` has the items a to b-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Items skipped.
    pub(crate) skip: usize,
    /// Most items given.
    pub(crate) take: usize,
}

impl Window {
    /// The whole list; lists without a range are never truncated.
    pub(crate) const ALL: Self = Self { skip: 0, take: usize::MAX };
}

impl Query {
    /// Decodes a raw query string.
    pub(crate) fn parse(raw: &str) -> Result<Self, Failure> {
        if raw.len() > QUERY_BYTES {
            return Err(Failure::parameter("the query is too long"));
        }
        let mut pairs = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == QUERY_PAIRS {
                return Err(Failure::parameter("the query has too many parts"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name)?, unescaped(decode(value)?)));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter, its name compared without case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The filter, if there is one.
    pub(crate) fn filter(&self) -> Result<Option<Filter<'_>>, Failure> {
        let Some(text) = self.get("filter") else { return Ok(None) };
        let (attribute, rest) = text.split_once(':').ok_or_else(|| Failure::parameter("malformed filter"))?;
        if attribute.is_empty() {
            return Err(Failure::parameter("malformed filter"));
        }
        Ok(Some(match rest.strip_prefix(':') {
            Some(value) => Filter { attribute, value, exact: true },
            None => Filter { attribute, value: rest, exact: false },
        }))
    }

    /// The window, or the whole list.
    pub(crate) fn window(&self) -> Result<Window, Failure> {
        let Some(text) = self.get("range") else { return Ok(Window::ALL) };
        let bounds = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .and_then(|text| text.split_once('-'))
            .and_then(|(from, to)| Some((number(from)?, number(to)?)));
        match bounds {
            Some((from, to)) if from <= to => Ok(Window {
                skip: usize::try_from(from).unwrap_or(usize::MAX),
                take: usize::try_from(to - from).unwrap_or(usize::MAX),
            }),
            _ => Err(Failure::parameter("malformed range")),
        }
    }
}

/// A plain decimal number: digits only.
pub(crate) fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// The fields of a request body. Clients send the same field as integer, string, truth value or null.
#[derive(Debug, Default)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body: nothing at all, or one JSON object. The parser itself bounds the nesting.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Failure> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Failure::parameter("the body is not a JSON object")),
            Err(_) => Err(Failure::parameter("the body is not valid JSON")),
        }
    }

    /// Whether the field is there, null included.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The raw value.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The field as text; null counts as absent. Lists and objects are refused.
    pub(crate) fn text(&self, name: &str) -> Result<Option<Cow<'_, str>>, Failure> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(Cow::Borrowed(text))),
            Some(Value::Bool(true)) => Ok(Some(Cow::Borrowed("true"))),
            Some(Value::Bool(false)) => Ok(Some(Cow::Borrowed("false"))),
            Some(Value::Number(number)) => Ok(Some(Cow::Owned(number.to_string()))),
            Some(Value::Array(_) | Value::Object(_)) => {
                Err(Failure::parameter(format!("{name} must be a plain value")))
            }
        }
    }

    /// As [`Fields::text`], for the few names that clients write in several ways.
    pub(crate) fn text_any_case(&self, name: &str) -> Result<Option<Cow<'_, str>>, Failure> {
        match self.0.keys().find(|key| key.eq_ignore_ascii_case(name)) {
            Some(key) => self.text(key),
            None => Ok(None),
        }
    }

    /// A list of plain values as text: a JSON list, or a string that holds one.
    pub(crate) fn list(&self, name: &str) -> Result<Option<Vec<String>>, Failure> {
        let bad = || Failure::parameter(format!("{name} must be a list"));
        let plain = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(bad()),
        };
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(items)) => items.iter().map(plain).collect::<Result<_, _>>().map(Some),
            Some(Value::String(text)) => match serde_json::from_str(text) {
                Ok(Value::Array(items)) => items.iter().map(plain).collect::<Result<_, _>>().map(Some),
                _ => Err(bad()),
            },
            Some(_) => Err(bad()),
        }
    }
}

/// Reads "true", "1", "false", "0" in any case.
pub(crate) fn truth(name: &str, text: &str) -> Result<bool, Failure> {
    match text {
        _ if text.eq_ignore_ascii_case("true") || text == "1" => Ok(true),
        _ if text.eq_ignore_ascii_case("false") || text == "0" => Ok(false),
        _ => Err(Failure::new(codes::PARAMETER, format!("{name} must be true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_arrive_encoded_and_colons_raw() {
        let query = Query::parse("filter=NAME::a%20b&range=%5B0-100%5D").unwrap();
        assert_eq!(query.filter().unwrap(), Some(Filter { attribute: "NAME", value: "a b", exact: true }));
        assert_eq!(query.window().unwrap(), Window { skip: 0, take: 100 });
        assert_eq!(
            Query::parse("range=[100-200]").unwrap().window().unwrap(),
            Window { skip: 100, take: 100 }
        );
        assert_eq!(Query::parse("").unwrap().window().unwrap(), Window::ALL);
    }

    #[test]
    fn malformed_ranges_and_filters_are_refused() {
        for bad in [
            "range=",
            "range=[5-1]",
            "range=[a-b]",
            "range=0-5",
            "range=[-1-5]",
            "range=[1]",
            "range=[0-99999999999999999999]",
        ] {
            assert!(Query::parse(bad).unwrap().window().is_err(), "{bad}");
        }
        for bad in ["filter=", "filter=NAME", "filter=::x"] {
            assert!(Query::parse(bad).unwrap().filter().is_err(), "{bad}");
        }
        assert!(Query::parse("a=%ff").is_err());
        assert!(Query::parse(&"a&".repeat(65)).is_err());
        assert!(Query::parse(&"a".repeat(9000)).is_err());
    }

    #[test]
    fn fields_are_loosely_typed() {
        let fields = Fields::parse(br#"{"A":1,"B":"1","C":true,"D":null,"E":[1],"F":"[\"2\",3]"}"#).unwrap();
        assert_eq!(fields.text("A").unwrap().unwrap(), "1");
        assert_eq!(fields.text("B").unwrap().unwrap(), "1");
        assert_eq!(fields.text("C").unwrap().unwrap(), "true");
        assert!(fields.text("D").unwrap().is_none());
        assert!(fields.text("E").is_err());
        assert_eq!(fields.list("E").unwrap().unwrap(), ["1"]);
        assert_eq!(fields.list("F").unwrap().unwrap(), ["2", "3"]);
        assert!(fields.list("A").is_err());
    }

    #[test]
    fn bodies_that_are_no_object_are_refused() {
        assert!(Fields::parse(b"").is_ok());
        assert!(Fields::parse(b" \n").is_ok());
        for bad in ["[]", "1", "\"x\"", "{", "{\"a\":}", "\u{0}"] {
            assert!(Fields::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
        assert!(Fields::parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn segments_decode_and_skip_empty_ones() {
        assert_eq!(segments("/a//b%3Ac/").unwrap(), ["a", "b:c"]);
        assert_eq!(segments("/iscsi_initiator/iqn.x\\:y").unwrap(), ["iscsi_initiator", "iqn.x:y"]);
        assert!(segments(&"/a".repeat(9)).is_err());
        assert!(segments(&format!("/{}", "a".repeat(600))).is_err());
    }
}
