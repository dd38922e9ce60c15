//! The world's history: one ordered line for each note.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

/// One line of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceLine {
    /// Position in the history, from 0.
    pub seq: u64,
    /// When, since the world's start (virtual in the simulation).
    pub at: Duration,
    /// Who noted it; `"world"` for the world itself.
    pub node: Arc<str>,
    /// What it is about.
    pub topic: &'static str,
    /// The rest.
    pub detail: Value,
}

/// Keys that every line has; a detail that uses one of them is nested instead of merged.
const OWN_KEYS: [&str; 5] = ["seq", "t", "node", "topic", "detail"];

impl TraceLine {
    /// The line as one JSON object without line end: `seq`, `t` (nanoseconds), `node`, `topic`, then the members
    /// of the detail. A detail that is no object, or that uses one of those names, stands under `detail`.
    pub fn to_json_line(&self) -> String {
        let mut line = format!(
            "{{\"seq\":{},\"t\":{},\"node\":{},\"topic\":{}",
            self.seq,
            self.at.as_nanos(),
            Value::from(&*self.node),
            Value::from(self.topic),
        );
        match &self.detail {
            Value::Null => {}
            Value::Object(members) if !OWN_KEYS.iter().any(|key| members.contains_key(*key)) => {
                for (key, value) in members {
                    let _ = write!(line, ",{}:{}", Value::from(key.as_str()), value);
                }
            }
            other => {
                let _ = write!(line, ",\"detail\":{other}");
            }
        }
        line.push('}');
        line
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_merged_unless_they_clash() {
        let mut line = TraceLine {
            seq: 3,
            at: Duration::from_millis(2),
            node: "ar\"ray".into(),
            topic: "iscsi",
            detail: json!({"event": "login", "tsih": 7}),
        };
        assert_eq!(
            line.to_json_line(),
            r#"{"seq":3,"t":2000000,"node":"ar\"ray","topic":"iscsi","event":"login","tsih":7}"#
        );
        line.detail = json!({"t": 1});
        assert!(line.to_json_line().ends_with(r#","detail":{"t":1}}"#));
        line.detail = json!([1, 2]);
        assert!(line.to_json_line().ends_with(r#","detail":[1,2]}"#));
        line.detail = Value::Null;
        assert!(line.to_json_line().ends_with(r#""topic":"iscsi"}"#));
        assert!(serde_json::from_str::<Value>(&line.to_json_line()).is_ok());
    }
}
