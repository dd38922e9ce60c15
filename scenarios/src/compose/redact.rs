//! Captures without secrets: people attach them to bug reports.
//!
//! CHAP sends digests, but the management API carries passwords and CHAP secrets as JSON strings, in clear text where
//! the array speaks plain HTTP. They are overwritten with asterisks of the same length, so that every length on the
//! wire stays right and the capture still decodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use sanbench_runner::CaseOutcome;
use sanbench_runner::plan::{Plan, Step};
use sanbench_world::{Segment, SegmentKind};

use crate::config::is_secret;

/// Shorter values are words that texts hold anyway.
const SHORTEST: usize = 8;

/// What must not be seen, each as the JSON string that would carry it, quotes included.
pub(super) struct Secrets(BTreeSet<Vec<u8>>);

impl Secrets {
    /// The secrets among the back-end options, the story's own and those it restarts the service with.
    pub(super) fn of(options: &BTreeMap<String, String>, plan: &Plan) -> Self {
        let restarts = plan.steps.iter().filter_map(|step| match &step.step {
            Step::Restart { options } => Some(options),
            _ => None,
        });
        let all = [options, &plan.site.options].into_iter().chain(restarts).flatten();
        let values = all.filter(|(key, value)| is_secret(key) && !value.is_empty());
        Self(
            values
                .map(|(_, value)| serde_json::Value::from(value.as_str()).to_string().into_bytes())
                .collect(),
        )
    }

    /// Whether one of them stands in a text.
    pub(super) fn are_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| {
            let bare = secret.get(1..secret.len().saturating_sub(1)).unwrap_or_default();
            bare.len() >= SHORTEST && text.as_bytes().windows(bare.len()).any(|part| part == bare)
        })
    }

    /// Judges what is shown to people: histories, answers, findings (API-008).
    pub(super) fn judge(&self, in_history: bool, outcome: &mut CaseOutcome) {
        let case = &mut outcome.case;
        let shown = case.steps.iter().map(|s| &s.note).chain(case.findings.iter().map(|f| &f.observed));
        let place = match in_history {
            true => "the history",
            false if shown.into_iter().any(|text| self.are_in(text)) => "the report",
            false => {
                outcome.ledger.compared("API-008", 1);
                return;
            }
        };
        let found = sanbench_check::Finding::new("API-008", "secrets", "output", "secret")
            .says(format!("a secret stands in {place}"))
            .compared("no secret in any output", "a password or CHAP secret in clear text");
        outcome.find_at_end(found);
    }

    /// Overwrites them in every management connection, also where a secret lies across two segments.
    pub(super) fn blank(&self, segments: &mut [Segment]) {
        let mut streams: BTreeMap<(u64, SocketAddr), Vec<usize>> = BTreeMap::new();
        for (n, segment) in segments.iter().enumerate() {
            if segment.kind == SegmentKind::Data {
                streams.entry((segment.conn, segment.src)).or_default().push(n);
            }
        }
        for parts in streams.values() {
            let of = |n: &usize| segments.get(*n).map(|s| &s.bytes[..]).unwrap_or_default();
            if !is_http(parts.first().map(of).unwrap_or_default()) {
                continue;
            }
            let mut stream: Vec<u8> = parts.iter().flat_map(of).copied().collect();
            if !self.blank_bytes(&mut stream) {
                continue;
            }
            let mut rest = Bytes::from(stream);
            for n in parts {
                if let Some(segment) = segments.get_mut(*n) {
                    let length = segment.bytes.len().min(rest.len());
                    segment.bytes = rest.split_to(length);
                }
            }
        }
    }

    fn blank_bytes(&self, stream: &mut [u8]) -> bool {
        let mut found = false;
        for secret in &self.0 {
            let mut at = 0;
            while let Some(place) =
                stream.get(at..).and_then(|rest| rest.windows(secret.len()).position(|w| w == secret))
            {
                let end = at + place + secret.len();
                if let Some(inside) = stream.get_mut(at + place + 1..end - 1) {
                    inside.fill(b'*');
                }
                found = true;
                at = end;
            }
        }
        found
    }
}

/// Whether a stream that begins so is HTTP/1: request or answer. (An iSCSI login begins with the byte 43h or 03h.)
fn is_http(start: &[u8]) -> bool {
    ["GET ", "POST ", "PUT ", "DELETE ", "HTTP/"].iter().any(|word| start.starts_with(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn segment(conn: u64, bytes: &[u8]) -> Segment {
        let end = SocketAddr::from(([10, 0, 0, 1], 1));
        let bytes = Bytes::copy_from_slice(bytes);
        Segment { at: Duration::ZERO, src: end, dst: end, conn, kind: SegmentKind::Data, bytes }
    }

    #[test]
    fn secrets_are_blanked_across_segments_and_lengths_stay() {
        let options = [("tengling_password", "se\"cret"), ("chap_username", "bench"), ("x_secret", "")];
        let options = options.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
        let secrets = Secrets::of(&options, &Plan::default());
        let mut segments = vec![
            segment(1, b"POST /x HTTP/1.1\r\n\r\n{\"u\":\"bench\",\"p\":\"se\\\"c"),
            segment(2, b"C\0\0 \"se\\\"cret\" in block data"),
            segment(1, b"ret\",\"q\":\"se\\\"cret\"} se\\\"cret of another kind"),
        ];
        let before: Vec<usize> = segments.iter().map(|s| s.bytes.len()).collect();
        secrets.blank(&mut segments);
        assert_eq!(before, segments.iter().map(|s| s.bytes.len()).collect::<Vec<_>>());
        assert!(segments[0].bytes.ends_with(b"{\"u\":\"bench\",\"p\":\"*****"));
        assert_eq!(&segments[2].bytes[..], b"***\",\"q\":\"********\"} se\\\"cret of another kind");
        assert!(segments[1].bytes.ends_with(b"\"se\\\"cret\" in block data"), "data is never touched");
    }
}
