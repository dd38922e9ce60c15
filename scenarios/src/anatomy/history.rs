//! Steps, lanes, events and outages out of the history.

use sanbench_reports::anatomy::{Anatomy, Band, Event, Played, Role, Tone};
use sanbench_runner::story::{plain, print_step};
use serde_json::Value;

use super::{Lanes, Recorded};

/// Reads the history into steps, events and bands. `hit` is the number of the step that showed the failure.
pub(super) fn read(recorded: &Recorded<'_>, hit: Option<u32>, lanes: &mut Lanes, anatomy: &mut Anatomy) {
    let mut open: Vec<(String, u64)> = Vec::new();
    let mut last = 0;
    for line in recorded.outcome.history.lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        let at = value["t"].as_u64().unwrap_or(0) / 1000;
        last = last.max(at);
        match (text(&value, "topic"), text(&value, "node")) {
            ("step", _) => step(recorded, hit, &value, at, anatomy),
            ("net", _) => outage(&value, at, &mut open, anatomy),
            ("fault", _) => anatomy.bands.push(Band {
                name: format!("{}: {}", text(&value, "point"), text(&value, "what")),
                from_us: at,
                until_us: at,
            }),
            ("flow" | "status" | "schedule", _) => {
                let lane = lanes.of("workflow", Role::Workflow);
                anatomy.events.push(Event {
                    lane,
                    at_us: at,
                    until_us: at,
                    text: words(&value),
                    tone: tone(&value),
                });
            }
            ("initiator", node) => {
                let lane = lanes.of(&format!("{node} connector"), Role::Connector);
                anatomy.events.push(Event {
                    lane,
                    at_us: at,
                    until_us: at,
                    text: words(&value),
                    tone: tone(&value),
                });
            }
            ("iscsi" | "scsi" | "power" | "array", node) => {
                let lane = lanes.of(&place(node, &value), Role::Array);
                anatomy.events.push(Event {
                    lane,
                    at_us: at,
                    until_us: at,
                    text: words(&value),
                    tone: tone(&value),
                });
            }
            _ => {}
        }
    }
    for (name, from_us) in open {
        anatomy.bands.push(Band { name, from_us, until_us: last });
    }
    // Without a history the steps are known by their durations alone.
    if anatomy.steps.is_empty() {
        let mut at = 0;
        for step in &recorded.outcome.case.steps {
            if step.status == sanbench_reports::StepStatus::NotRun {
                continue;
            }
            anatomy.steps.push(Played {
                number: step.number,
                words: step.text.clone(),
                line: step.text.clone(),
                at_us: at,
                until_us: at + step.duration_us,
                ended: step.status.word().to_owned(),
                hit: hit == Some(step.number),
            });
            at += step.duration_us;
        }
    }
    // A failure that showed at the clean-up belongs to what came after the last step.
    if hit.is_some()
        && !anatomy.steps.iter().any(|s| s.hit)
        && let Some(step) = anatomy.steps.last_mut()
    {
        step.hit = true;
        step.until_us = step.until_us.max(last);
    }
}

/// The begin or the end of a step.
fn step(recorded: &Recorded<'_>, hit: Option<u32>, value: &Value, at: u64, anatomy: &mut Anatomy) {
    let number = value["n"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    if value.get("status").is_some() {
        let note = text(value, "note");
        let status = text(value, "status");
        if let Some(step) = anatomy.steps.iter_mut().rev().find(|s| s.number == number) {
            step.until_us = at;
            step.ended = if note.is_empty() { status.to_owned() } else { format!("{status}: {note}") };
            let tone = match status {
                "failed" => Tone::Wrong,
                "unknown" => Tone::Refused,
                _ => Tone::Plain,
            };
            let event = Event { lane: 0, at_us: step.at_us, until_us: at, text: step.words.clone(), tone };
            anatomy.events.push(event);
        }
        return;
    }
    let planned = usize::try_from(number).ok().and_then(|n| recorded.plan.steps.get(n.checked_sub(1)?));
    let line = text(value, "text").to_owned();
    anatomy.steps.push(Played {
        number,
        words: planned.map_or_else(|| line.clone(), |step| plain(step)),
        line: planned.map_or(line, |step| print_step(step)),
        at_us: at,
        until_us: at,
        ended: "not finished".to_owned(),
        hit: hit == Some(number),
    });
}

/// Outages have a beginning and an end.
fn outage(value: &Value, at: u64, open: &mut Vec<(String, u64)>, anatomy: &mut Anatomy) {
    let between = || format!("{} / {}", text(value, "from"), text(value, "to"));
    match text(value, "event") {
        "cut" => open.push((format!("cut {}", between()), at)),
        "heal" => {
            let (from, to) = (text(value, "from"), text(value, "to"));
            let all = value["all"] == true;
            let ended = |name: &str| all || (name.contains(from) && name.contains(to));
            for (name, from_us) in std::mem::take(open) {
                if ended(&name) {
                    anatomy.bands.push(Band { name, from_us, until_us: at });
                } else {
                    open.push((name, from_us));
                }
            }
        }
        "crash" => {
            let name = format!("{} crashes ({})", text(value, "who"), text(value, "how"));
            anatomy.bands.push(Band { name, from_us: at, until_us: at });
        }
        event @ ("reset" | "half_open" | "latency" | "shape") => {
            anatomy.bands.push(Band { name: format!("{event} {}", between()), from_us: at, until_us: at });
        }
        _ => {}
    }
}

/// The controller that an event of the array belongs to, where it says so.
fn place(node: &str, value: &Value) -> String {
    match value.get("controller") {
        Some(controller) => format!("{node} controller {controller}"),
        None => node.to_owned(),
    }
}

fn tone(value: &Value) -> Tone {
    let said = [text(value, "event"), text(value, "what")];
    let bad = |word: &&str| {
        ["fail", "error", "stale", "timeout", "lost", "violation", "warning"].iter().any(|b| word.contains(b))
    };
    if said.iter().any(bad) || value.get("error").is_some() || value.get("why").is_some() {
        Tone::Refused
    } else {
        Tone::Plain
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What a line says, without what every line has.
fn words(value: &Value) -> String {
    let Value::Object(members) = value else { return String::new() };
    let topic = text(value, "topic");
    let mut out = match (text(value, "event"), text(value, "what")) {
        ("", "") => topic.to_owned(),
        ("", what) => what.to_owned(),
        (event, _) if topic == "flow" => format!("{} {event}", text(value, "flow")),
        (event, _) => event.to_owned(),
    };
    let mut add = |key: &str, value: &Value| match value {
        Value::Null => {}
        Value::String(text) => out += &format!(" {key}={text}"),
        other => out += &format!(" {key}={other}"),
    };
    for (key, value) in members {
        match key.as_str() {
            "seq" | "t" | "node" | "topic" | "event" | "what" | "flow" => {}
            "detail" => {
                let inner = value.get("detail").unwrap_or(value);
                if let Value::Object(members) = inner {
                    members.iter().filter(|(key, _)| *key != "what").for_each(|(key, value)| add(key, value));
                }
            }
            key => add(key, value),
        }
    }
    // The word of a nested detail names the event better than its topic.
    match value["detail"].get("what").and_then(Value::as_str) {
        Some(what) if out.starts_with(topic) => format!("{what}{}", &out[topic.len()..]),
        _ => out,
    }
}
