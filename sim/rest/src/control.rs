//! The `/_ctl` surface: what foreign test drivers use to look at the array and to break calls.
//!
//! `GET /_ctl/state` and `POST /_ctl/{mark,expire,reset,fault,controller,power}` each answer
//! `{"counts":{object:n,...},"sessions":n,"faults":[...]}`. `GET /_ctl/state?since=MARK` gives the counts as
//! differences to those that `POST /_ctl/mark` with body `"MARK"` (a JSON string) has remembered.
//!
//! `fault` takes an object with `method` (absent: any), `path` (regular expression over the URL's path; absent: any), one
//! of `code` (that error code under HTTP 200), `http` (that status), `delay` (seconds), `drop` (true: close the
//! connection), `do` (a word: `truncate`, `garbage`, `mistype`, `blank`, `overlong`, `oversize`, `newer`, `close`, `expire-session`), `count` (calls that it hits, 1 when absent, 0 without end) and `after`: true does the work first;
//! a number lets that many matching calls pass first. `expire` ends all sessions; `reset` forgets faults, marks and
//! account locks, and leaves sessions and objects alone.
//!
//! `POST /_ctl/controller {"id":0,"up":false}` fails a controller of the array, `true` restores it. `POST /_ctl/power {}`
//! takes the array's power away and gives it back: unsynchronised writes may vanish, management sessions do.
//! `POST /_ctl/account {"state":3}` sets the `accountstate` of log-in answers: 3 says that the password has expired, 4 that it
//! must be changed.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use regex::{Regex, RegexBuilder};
use sanbench_world::{Fault, Wrong};
use serde_json::{Map, Value};

/// Most fault rules at a time.
const RULES: usize = 64;
/// Most marks at a time.
const MARKS: usize = 256;
/// Longest mark name and regular expression in bytes.
const TEXT_BYTES: usize = 256;
/// Longest delay.
const DELAY: Duration = Duration::from_secs(3600);

/// Words for wrong answers, as stories have them.
const WRONG: &[(&str, Wrong)] = &[
    ("truncate", Wrong::Truncated),
    ("garbage", Wrong::Garbage),
    ("mistype", Wrong::Mistyped),
    ("blank", Wrong::Blank),
    ("overlong", Wrong::Overlong),
    ("oversize", Wrong::Oversized),
    ("newer", Wrong::Newer),
    ("stale", Wrong::Stale),
    ("close", Wrong::Closing),
    ("expire-session", Wrong::SessionOver),
];

/// A rule that hit: what, and whether the work is done first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hit {
    pub(crate) fault: Fault,
    pub(crate) after_work: bool,
}

#[derive(Debug)]
struct Rule {
    method: Option<Method>,
    path: Option<Regex>,
    fault: Fault,
    after_work: bool,
    /// Matching calls that still pass.
    pass: u64,
    /// Calls that it still hits; none means without end.
    left: Option<u64>,
}

/// Rules and marks.
#[derive(Debug, Default)]
pub(crate) struct Control {
    rules: Vec<Rule>,
    marks: BTreeMap<String, BTreeMap<&'static str, u64>>,
}

impl Control {
    /// Whether there are rules at all.
    pub(crate) fn is_quiet(&self) -> bool {
        self.rules.is_empty()
    }

    /// Asks the rules about a call, in the order in which they were given; the first that hits counts.
    pub(crate) fn ask(&mut self, method: &Method, path: &str) -> Option<Hit> {
        let mut hit = None;
        for rule in &mut self.rules {
            let method_fits = rule.method.as_ref().is_none_or(|wanted| wanted == method);
            if !method_fits || !rule.path.as_ref().is_none_or(|wanted| wanted.is_match(path)) {
                continue;
            }
            if rule.pass > 0 {
                rule.pass -= 1;
                continue;
            }
            if let Some(left) = &mut rule.left {
                *left -= 1;
            }
            hit = Some(Hit { fault: rule.fault.clone(), after_work: rule.after_work });
            break;
        }
        self.rules.retain(|rule| rule.left != Some(0));
        hit
    }

    /// Adds a rule; the error says what is wrong with it.
    pub(crate) fn add(&mut self, rule: &Value) -> Result<(), String> {
        if self.rules.len() >= RULES {
            return Err(format!("at most {RULES} faults at a time"));
        }
        self.rules.push(Rule::read(rule)?);
        Ok(())
    }

    /// Forgets rules and marks.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Remembers counts under a name.
    pub(crate) fn mark(&mut self, name: &Value, counts: BTreeMap<&'static str, u64>) -> Result<(), String> {
        let name = match name {
            Value::String(name) if name.len() <= TEXT_BYTES => name.clone(),
            Value::Null => String::new(),
            _ => return Err(format!("a mark is a string of at most {TEXT_BYTES} bytes")),
        };
        if !self.marks.contains_key(&name) && self.marks.len() >= MARKS {
            // Long-running clients mark every step; the first in order makes room.
            self.marks.pop_first();
        }
        self.marks.insert(name, counts);
        Ok(())
    }

    /// The answer of every control call.
    pub(crate) fn state(
        &self,
        counts: &BTreeMap<&'static str, u64>,
        sessions: usize,
        since: Option<&str>,
    ) -> Result<Value, String> {
        let mut shown = Map::new();
        match since {
            None => {
                for (object, count) in counts {
                    shown.insert((*object).to_owned(), Value::from(*count));
                }
            }
            Some(name) => {
                let then = self.marks.get(name).ok_or_else(|| "no such mark".to_owned())?;
                for object in counts.keys().chain(then.keys().filter(|object| !counts.contains_key(*object)))
                {
                    let of = |map: &BTreeMap<&'static str, u64>| {
                        map.get(object).map_or(0, |n| i64::try_from(*n).unwrap_or(i64::MAX))
                    };
                    let difference = of(counts) - of(then);
                    if difference != 0 {
                        shown.insert((*object).to_owned(), Value::from(difference));
                    }
                }
            }
        }
        let mut out = Map::new();
        out.insert("counts".to_owned(), Value::Object(shown));
        out.insert("sessions".to_owned(), Value::from(sessions));
        out.insert("faults".to_owned(), Value::Array(self.rules.iter().map(Rule::show).collect()));
        Ok(Value::Object(out))
    }
}

impl Rule {
    fn read(value: &Value) -> Result<Self, String> {
        let fields = value.as_object().ok_or("a fault is a JSON object")?;
        let mut fault = None;
        let mut set = |new: Fault| match fault.replace(new) {
            None => Ok(()),
            Some(_) => Err("give one of code, http, delay, drop, do".to_owned()),
        };
        let mut rule = Self {
            method: None,
            path: None,
            fault: Fault::DropReply,
            after_work: false,
            pass: 0,
            left: Some(1),
        };
        for (name, value) in fields {
            match name.as_str() {
                "method" => {
                    let text = value.as_str().ok_or("method is a string")?.to_ascii_uppercase();
                    rule.method = Some(
                        Method::from_bytes(text.as_bytes()).map_err(|_| "method is not an HTTP method")?,
                    );
                }
                "path" => {
                    let text = value
                        .as_str()
                        .filter(|text| text.len() <= TEXT_BYTES)
                        .ok_or("path is a short string")?;
                    let regex = RegexBuilder::new(text).size_limit(1 << 18).build();
                    rule.path = Some(regex.map_err(|error| format!("path: {error}"))?);
                }
                "code" => set(Fault::Answer(Wrong::Code(value.as_i64().ok_or("code is an integer")?)))?,
                "do" => {
                    let known = WRONG.iter().find(|(word, _)| value.as_str() == Some(word));
                    let words = || WRONG.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
                    set(Fault::Answer(known.ok_or_else(|| format!("do is one of {}", words()))?.1))?;
                }
                "http" => {
                    let status = value
                        .as_u64()
                        .and_then(|n| u16::try_from(n).ok())
                        .filter(|n| (200..=599).contains(n));
                    set(Fault::Answer(Wrong::Http(status.ok_or("http is a status from 200 to 599")?)))?;
                }
                "delay" => {
                    let seconds = value.as_f64().filter(|s| (0.0..=DELAY.as_secs_f64()).contains(s));
                    set(Fault::Delay(Duration::from_secs_f64(seconds.ok_or("delay is 0 to 3600 seconds")?)))?;
                }
                "drop" => match value {
                    Value::Bool(true) => set(Fault::DropReply)?,
                    Value::Bool(false) => {}
                    _ => return Err("drop is true or false".to_owned()),
                },
                "count" => match value.as_u64().ok_or("count is a number")? {
                    0 => rule.left = None,
                    n => rule.left = Some(n),
                },
                "after" => match value {
                    Value::Bool(after) => rule.after_work = *after,
                    other => rule.pass = other.as_u64().ok_or("after is true, false or a number")?,
                },
                other => return Err(format!("unknown field {other:?}")),
            }
        }
        rule.fault = fault.ok_or("give one of code, http, delay, drop, do")?;
        Ok(rule)
    }

    fn show(&self) -> Value {
        let mut out = Map::new();
        if let Some(method) = &self.method {
            out.insert("method".to_owned(), Value::from(method.as_str()));
        }
        if let Some(path) = &self.path {
            out.insert("path".to_owned(), Value::from(path.as_str()));
        }
        let (name, value) = match &self.fault {
            Fault::Answer(Wrong::Code(code)) => ("code", Value::from(*code)),
            Fault::Answer(Wrong::Http(status)) => ("http", Value::from(*status)),
            Fault::Answer(wrong) => (
                "do",
                WRONG
                    .iter()
                    .find(|(_, known)| known == wrong)
                    .map_or(Value::Null, |(word, _)| Value::from(*word)),
            ),
            Fault::Delay(delay) => ("delay", Value::from(delay.as_secs_f64())),
            Fault::DropReply | Fault::Fail | Fault::CrashNode | Fault::Message(_) => {
                ("drop", Value::from(true))
            }
        };
        out.insert(name.to_owned(), value);
        out.insert("count".to_owned(), Value::from(self.left.unwrap_or(0)));
        let after = if self.pass > 0 { Value::from(self.pass) } else { Value::from(self.after_work) };
        out.insert("after".to_owned(), after);
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_hits_its_calls_and_then_goes() {
        let mut control = Control::default();
        control
            .add(&json!({"method": "post", "path": "/lun$", "drop": true, "count": 2, "after": 1}))
            .unwrap();
        let mut ask = |method: &Method, path: &str| control.ask(method, path);
        assert_eq!(ask(&Method::GET, "/x/lun"), None);
        assert_eq!(ask(&Method::POST, "/x/lun/7"), None);
        assert_eq!(ask(&Method::POST, "/x/lun"), None, "the first one passes");
        let hit = Some(Hit { fault: Fault::DropReply, after_work: false });
        assert_eq!(ask(&Method::POST, "/x/lun"), hit);
        assert_eq!(ask(&Method::POST, "/x/lun"), hit);
        assert_eq!(ask(&Method::POST, "/x/lun"), None);
        assert!(control.is_quiet());
    }

    #[test]
    fn malformed_rules_are_refused() {
        let mut control = Control::default();
        for bad in [
            json!(1),
            json!({}),
            json!({"drop": 1}),
            json!({"drop": false}),
            json!({"code": 1, "http": 503}),
            json!({"code": 1, "do": "garbage"}),
            json!({"do": "nothing"}),
            json!({"do": 1}),
            json!({"http": 99}),
            json!({"delay": -1}),
            json!({"delay": 1e9}),
            json!({"drop": true, "path": "("}),
            json!({"drop": true, "method": "a b"}),
            json!({"drop": true, "count": "x"}),
            json!({"drop": true, "what": 1}),
        ] {
            assert!(control.add(&bad).is_err(), "{bad}");
        }
        assert!(control.is_quiet());
        for _ in 0..RULES {
            control.add(&json!({"drop": true})).unwrap();
        }
        assert!(control.add(&json!({"drop": true})).is_err());
    }

    #[test]
    fn rules_are_shown_as_they_were_given() {
        for (word, _) in WRONG {
            let mut control = Control::default();
            control.add(&json!({"do": word, "after": true, "count": 0})).unwrap();
            let shown = control.state(&BTreeMap::new(), 0, None).unwrap();
            assert_eq!(shown["faults"], json!([{"do": word, "after": true, "count": 0}]));
        }
    }

    #[test]
    fn state_shows_differences_since_a_mark() {
        let mut control = Control::default();
        control.mark(&json!("a"), BTreeMap::from([("lun", 2), ("host", 1)])).unwrap();
        let now = BTreeMap::from([("lun", 3)]);
        assert_eq!(
            control.state(&now, 4, Some("a")).unwrap(),
            json!({"counts": {"lun": 1, "host": -1}, "sessions": 4, "faults": []})
        );
        assert_eq!(control.state(&now, 4, None).unwrap()["counts"], json!({"lun": 3}));
        assert!(control.state(&now, 4, Some("b")).is_err());
    }
}
