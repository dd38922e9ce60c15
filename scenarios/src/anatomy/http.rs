//! Management calls out of captured payload. Only as much HTTP/1.1 as the captures of this bench contain: requests and
//! answers with a length, one after the other on a connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sanbench_reports::anatomy::Exchange;
use sanbench_world::{Segment, SegmentKind};
use serde_json::Value;

use crate::config::is_secret;

/// Longest body that is kept, in bytes.
const BODY_MAX: usize = 4096;

/// One side of a connection.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    /// Where each segment ends, and when it was sent.
    marks: Vec<(usize, u64)>,
    from: usize,
}

/// A message: when its first byte was sent, its head and its body.
struct Message {
    at_us: u64,
    until_us: u64,
    head: String,
    body: Vec<u8>,
}

/// Every management call, in the order of asking.
pub(super) fn exchanges(segments: &[Segment]) -> Vec<Exchange> {
    let mut streams: BTreeMap<(u64, SocketAddr), Stream> = BTreeMap::new();
    for segment in segments.iter().filter(|s| s.kind == SegmentKind::Data) {
        let stream = streams.entry((segment.conn, segment.src)).or_default();
        stream.bytes.extend_from_slice(&segment.bytes);
        stream.marks.push((stream.bytes.len(), micros(segment)));
    }
    let mut all = Vec::new();
    let connections: std::collections::BTreeSet<u64> = streams.keys().map(|(conn, _)| *conn).collect();
    for conn in connections {
        let mut sides: Vec<Vec<Message>> = streams
            .range_mut((conn, LOWEST)..)
            .take_while(|((c, _), _)| *c == conn)
            .map(|(_, s)| messages(s))
            .collect();
        let asked = sides.iter().position(|side| side.first().is_some_and(|m| !m.head.starts_with("HTTP/")));
        let Some(asked) = asked else { continue };
        let requests = sides.swap_remove(asked);
        let mut answers = sides.into_iter().flatten();
        for request in requests {
            all.push(exchange(&request, answers.next()));
        }
    }
    all.sort_by_key(|exchange| exchange.at_us);
    all
}

const LOWEST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

fn micros(segment: &Segment) -> u64 {
    u64::try_from(segment.at.as_micros()).unwrap_or(u64::MAX)
}

fn messages(stream: &mut Stream) -> Vec<Message> {
    let mut all = Vec::new();
    while let Some(message) = next(stream) {
        all.push(message);
    }
    all
}

/// The next whole message, if the stream is HTTP.
fn next(stream: &mut Stream) -> Option<Message> {
    let rest = stream.bytes.get(stream.from..)?;
    let end = rest.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(rest.get(..end)?).ok()?.to_owned();
    let first = head.lines().next()?;
    if !(first.starts_with("HTTP/1.") || first.ends_with(" HTTP/1.1")) {
        return None;
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .unwrap_or(0);
    let body = rest.get(end..end.checked_add(length)?)?.to_vec();
    let at = |place: usize| stream.marks.iter().find(|(until, _)| *until > place).map_or(0, |(_, at)| *at);
    let (at_us, until_us) = (at(stream.from), at(stream.from + end + length - 1));
    stream.from += end + length;
    Some(Message { at_us, until_us, head, body })
}

fn exchange(request: &Message, answer: Option<Message>) -> Exchange {
    let mut words = request.head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split_once("/deviceManager/rest/").map_or(path, |(_, rest)| rest);
    let (status, failed, body) = match &answer {
        None => ("no answer".to_owned(), true, String::new()),
        Some(answer) => {
            let http = answer.head.split_whitespace().nth(1).unwrap_or("?").to_owned();
            let value: Option<Value> = serde_json::from_slice(&answer.body).ok();
            let error = value.as_ref().and_then(|v| v.get("error"));
            let code = error.and_then(|e| e.get("code")).map(|c| c.to_string().trim_matches('"').to_owned());
            let text = error.and_then(|e| e.get("description")).and_then(Value::as_str).unwrap_or_default();
            let bad = code.as_ref().is_some_and(|code| code != "0") || !http.starts_with('2');
            let status = match (&code, bad) {
                (Some(code), true) => format!("{http}, code {code}: {text}"),
                _ => http,
            };
            (status, bad, shown(&answer.body))
        }
    };
    Exchange {
        at_us: request.at_us,
        answered_us: answer.map(|a| a.until_us),
        call: format!("{method} {path}"),
        request: shown(&request.body),
        status,
        answer: body,
        failed,
    }
}

/// A body without what must not be seen, cut where it is long.
fn shown(body: &[u8]) -> String {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
        return if body.is_empty() { String::new() } else { format!("{} bytes", body.len()) };
    };
    blank(&mut value);
    let mut text = value.to_string();
    if text.len() > BODY_MAX {
        let mut end = BODY_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

/// Passwords, secrets and session tokens become asterisks.
fn blank(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let name = key.to_ascii_lowercase();
                let secret = is_secret(&name)
                    || ["token", "password", "passwd", "secret"].iter().any(|w| name.contains(w));
                match value {
                    Value::String(text) if secret => *text = "***".to_owned(),
                    other => blank(other),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(blank),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    fn segment(at_ms: u64, out: bool, text: &str) -> Segment {
        let (client, server) =
            (SocketAddr::from(([10, 0, 0, 1], 1)), SocketAddr::from(([10, 0, 0, 9], 8088)));
        let (src, dst) = if out { (client, server) } else { (server, client) };
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        Segment { at: Duration::from_millis(at_ms), src, dst, conn: 3, kind: SegmentKind::Data, bytes }
    }

    fn with_body(head: &str, body: &str) -> String {
        format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn calls_are_paired_with_their_answers_and_secrets_are_gone() {
        let login = with_body(
            "POST /deviceManager/rest/xx/sessions HTTP/1.1",
            r#"{"username":"a","password":"canary"}"#,
        );
        let token = with_body("HTTP/1.1 200 OK", r#"{"data":{"iBaseToken":"canary"},"error":{"code":0}}"#);
        let missing = with_body(
            "HTTP/1.1 200 OK",
            r#"{"data":{},"error":{"code":1077936859,"description":"missing"}}"#,
        );
        // A message may lie across segments, and two may lie in one.
        let (start, rest) = login.split_at(70);
        let all = exchanges(&[
            segment(1, true, start),
            segment(2, true, rest),
            segment(5, false, &token),
            segment(
                6,
                true,
                "GET /deviceManager/rest/1/lun/7 HTTP/1.1\r\n\r\nDELETE /deviceManager/rest/1/lun/7 HTTP/1.1\r\n\r\n",
            ),
            segment(9, false, &missing),
        ]);
        let [login, get, delete] = &all[..] else { panic!("{all:?}") };
        assert_eq!(
            (login.call.as_str(), login.at_us, login.answered_us),
            ("POST xx/sessions", 1_000, Some(5_000))
        );
        assert!(!login.failed && !format!("{login:?}").contains("canary"), "{login:?}");
        assert!(get.failed && get.status.contains("missing"), "{get:?}");
        assert_eq!((delete.status.as_str(), delete.answered_us), ("no answer", None));
    }
}
