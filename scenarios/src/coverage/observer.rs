//! Counts marks while a history goes by.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sanbench_runner::generate::{OPERATIONS, nemesis};
use sanbench_target::upset;
use sanbench_world::{Fault, TraceLine};
use serde_json::Value;

use super::tables::{BENCH, OF_STEPS, SOMETIMES, never};
use super::{beside_cell, fault_cell, outage_cell};

/// Counts marks while a history goes by.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    hits: BTreeMap<String, u64>,
    /// Steps that have begun and not ended: number, lane, operation.
    under_way: BTreeMap<u64, (String, &'static str)>,
    outages: BTreeSet<&'static str>,
    /// Faults that were steps, for what comes next.
    fresh: Vec<&'static str>,
    /// The last fault that was armed for logins hits them as often as they are tried again.
    logins_busy: bool,
    /// What the text of a step that begins is about to change, until it is done.
    changes: BTreeMap<u64, String>,
}

impl Observer {
    /// The next line.
    pub(crate) fn line(&mut self, line: &TraceLine) {
        let text = |key: &str| line.detail.get(key).and_then(Value::as_str);
        for mark in SOMETIMES.iter().filter(|mark| mark.shows(line.topic, &line.detail)) {
            self.hit(format!("sometimes {}", mark.name));
        }
        match line.topic {
            "step" => {
                let Some(number) = line.detail.get("n").and_then(Value::as_u64) else { return };
                match (text("text"), text("status")) {
                    (Some(step), _) => self.begins(number, text("lane").unwrap_or_default(), step),
                    (None, Some(status)) => self.ends(number, status),
                    _ => {}
                }
            }
            "fault" => {
                let (Some(point), Some(what)) = (text("point"), text("what")) else { return };
                let Some(kind) = kind_of(point, what) else { return };
                let busy = self.logins_busy && point == "target.login" && kind == "login-fails";
                self.meets(if busy { "login-busy" } else { kind });
            }
            "scsi" => {
                if let Some(status) = text("status").filter(|status| *status != "GOOD") {
                    let sense = text("sense").map(|sense| format!(" {sense}")).unwrap_or_default();
                    self.hit(format!("answer {status}{sense}"));
                }
            }
            "iscsi" => {
                for (key, value) in line.detail.get("keys").and_then(Value::as_object).into_iter().flatten() {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    self.hit(format!("key {key}={value}"));
                }
            }
            _ => {}
        }
    }

    /// What was met, how often.
    pub(crate) fn hits(self) -> BTreeMap<String, u64> {
        self.hits
    }

    fn hit(&mut self, mark: String) {
        *self.hits.entry(mark).or_default() += 1;
    }

    /// A fault hits everything that is under way.
    fn meets(&mut self, kind: &str) {
        let met: Vec<&str> = self.under_way.values().map(|(_, operation)| *operation).collect();
        met.into_iter().for_each(|operation| self.strikes(kind, operation));
    }

    /// A fault hits an operation; not one that has nothing that it could hit and is only beside another.
    fn strikes(&mut self, kind: &str, operation: &str) {
        if never(operation, kind).is_none() {
            self.hit(fault_cell(operation, kind));
        }
    }

    fn begins(&mut self, number: u64, lane: &str, step: &str) {
        let Some(operation) = operation_of(step) else {
            self.changes.insert(number, step.to_owned());
            if step == "settle" {
                self.outages.clear();
                self.fresh.clear();
            }
            if step.starts_with("arm target.login ") {
                self.logins_busy = step.ends_with(" masked=yes");
            }
            return;
        };
        self.fresh.clone().into_iter().for_each(|kind| self.strikes(kind, operation));
        let beside: Vec<&str> =
            self.under_way.values().filter(|(other, _)| other != lane).map(|(_, o)| *o).collect();
        beside.into_iter().for_each(|other| self.hit(beside_cell(operation, other)));
        let outages: Vec<&str> = self.outages.iter().copied().collect();
        outages.into_iter().for_each(|outage| self.hit(outage_cell(outage, operation)));
        self.under_way.insert(number, (lane.to_owned(), operation));
    }

    fn ends(&mut self, number: u64, status: &str) {
        if self.under_way.remove(&number).is_some() {
            self.fresh.clear();
        }
        let Some(step) = self.changes.remove(&number).filter(|_| status == "done") else { return };
        let mut words = step.split(' ');
        let verb = words.next().unwrap_or_default();
        if let Some((_, kind)) = OF_STEPS.iter().find(|(known, _)| *known == verb) {
            self.meets(kind);
            self.fresh.push(kind);
        }
        match verb {
            "cut" if step.contains(" way=") => self.outages.insert("path-one-way"),
            // A host that has lost all its paths, or one of them.
            "cut" if !step.contains(" path=") => self.outages.insert("host-cut-off"),
            "cut" => self.outages.insert("path-cut"),
            "slow" if step.contains(" loss=") => self.outages.insert("path-lossy"),
            "slow" => self.outages.insert("path-slow"),
            "fail-controller" => self.outages.insert("controller-fails"),
            "restore-controller" => self.outages.remove("controller-fails"),
            "fill" => self.outages.insert("pool-full"),
            "drain" => self.outages.remove("pool-full"),
            "heal" => {
                self.outages.retain(|outage| matches!(*outage, "controller-fails" | "pool-full"));
                false
            }
            _ => false,
        };
    }
}

/// The operation that a step's text asks for, in the generator's words.
fn operation_of(step: &str) -> Option<&'static str> {
    let mut words = step.split(' ');
    let verb = words.next()?;
    let from = |prefix: &str| step.split(' ').any(|word| word.starts_with(prefix));
    let word = match verb {
        "create" if from("image=") => "from-image",
        "create" if from("snapshot=") => "from-snapshot",
        "create" if from("volume=") => "clone",
        "scan" => "verify",
        other => other,
    };
    OPERATIONS.iter().copied().find(|known| *known == word).filter(|o| !BENCH.contains(o))
}

/// The kind of fault that fires so at a point.
fn kind_of(point: &str, what: &str) -> Option<&'static str> {
    let area = point.split(['.', ':']).next().unwrap_or_default();
    let name = match (area, what.split('(').next().unwrap_or_default()) {
        ("rest", "Fail") => "call-refused",
        ("rest", "DropReply") => "reply-lost",
        ("rest", "Delay") if what == hangs() => "call-hangs",
        ("rest", "Delay") => "call-slow",
        ("rest", "Answer") if what.contains("SessionOver") => "session-over",
        ("rest", "Answer") if what.contains("Stale") => "answer-stale",
        ("rest", "Answer") => "answer-broken",
        ("flow", "Fail") => "step-fails",
        ("flow", "CrashNode") => "service-crash",
        ("flow", "Message") if what.contains("Lost") => "message-lost",
        ("flow", "Message") => "message-twice",
        ("db", _) => "database-busy",
        ("job", "Delay") => "job-slow",
        ("job", "Fail") => "job-fails",
        (_, "Fail") if point.ends_with(".login") => "login-fails",
        ("connector", "Fail") => "connect-fails",
        ("image", "DropReply") => "image-cut",
        ("target", "DropReply") => "status-lost",
        ("target", "Fail") => "command-fails",
        ("target", "Delay") => "command-slow",
        ("target", "Answer") => match code(what)? {
            upset::BUSY | upset::TASK_SET_FULL => "busy",
            upset::RESERVATION_CONFLICT => "reservation-conflict",
            upset::NOT_READY => "lun-not-ready",
            upset::POWER_ON_RESET => "unit-attention",
            upset::LUN_RESET => "lun-reset",
            _ => return None,
        },
        _ => return None,
    };
    nemesis::KINDS.iter().map(|kind| kind.name).find(|known| *known == name)
}

/// The number in `Answer(Code(8))`.
fn code(what: &str) -> Option<i64> {
    what.strip_prefix("Answer(Code(")?.split(')').next()?.parse().ok()
}

/// How the history tells a call that is never answered.
fn hangs() -> String {
    format!("{:?}", Fault::Delay(Duration::from_millis(nemesis::HANGS)))
}
