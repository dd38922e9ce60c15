//! What a run has met, counted from its history: operation x fault, operation beside operation, operation during an outage,
//! and "sometimes" marks, each of which a large sweep must hit at least once.
//!
//! Nothing is instrumented for it: the history tells which steps were under way when a fault fired, what a target answered,
//! what hosts and flows noticed. What a sweep has never met raises the weights of the next one ([`steered`]).

use std::collections::{BTreeMap, BTreeSet};

use sanbench_reports::StepStatus;
use sanbench_runner::generate::{OPERATIONS, Profile, nemesis};
use sanbench_world::TraceLine;
use serde_json::Value;

/// From so many generated plans on, a mark that was never hit makes a sweep incomplete.
pub(crate) const NIGHTLY: u64 = 100_000;

/// Something that a sweep of generated plans must have met now and then: a name, and the line of the history that shows it.
struct Sometimes {
    name: &'static str,
    topic: &'static str,
    /// Member of the line and its value; several lines may show the same.
    shown: &'static [(&'static str, &'static str)],
}

/// Every "sometimes" mark.
const SOMETIMES: &[Sometimes] = &[
    sometimes("a host logs in again after it lost its session", "initiator", &[("what", "relogin")]),
    sometimes("a new login fails and is tried again", "initiator", &[("what", "relogin-failed")]),
    sometimes("a path fails under I/O", "initiator", &[("what", "path-loss")]),
    sometimes("a host expels a path", "initiator", &[("what", "path-expelled")]),
    sometimes("a write in doubt is fenced", "initiator", &[("what", "fenced")]),
    sometimes("a command times out", "initiator", &[("what", "command-timeout")]),
    sometimes("a host hears a unit attention", "iscsi", &[("event", "unit_attention")]),
    sometimes("a login is refused", "iscsi", &[("event", "login_refused")]),
    sometimes("a host manages tasks", "iscsi", &[("event", "task_management")]),
    sometimes("a connection ends without logout", "iscsi", &[("why", "connection lost")]),
    sometimes("a flow is taken up again after a crash", "flow", &[("event", "recover")]),
    sometimes("a flow fails half-way", "flow", &[("event", "failed")]),
    sometimes("an operation is refused as it must be", "step", &[("status", StepStatus::Refused.word())]),
    sometimes(
        "a step is passed over because what it needs is in doubt",
        "step",
        &[("status", StepStatus::NotRun.word())],
    ),
];

const fn sometimes(
    name: &'static str,
    topic: &'static str,
    shown: &'static [(&'static str, &'static str)],
) -> Sometimes {
    Sometimes { name, topic, shown }
}

/// Kinds of faults by what they hit; the words are those of [`nemesis::KINDS`].
const OF_CALLS: &[&str] = &["call-refused", "reply-lost", "call-slow", "answer-broken", "session-over"];
const OF_FLOWS: &[&str] = &["step-fails", "service-crash"];
const OF_COMMANDS: &[&str] =
    &["status-lost", "command-fails", "command-slow", "busy", "unit-attention", "lun-reset"];

/// Operations that send SCSI commands whatever else is there.
const SENDS_COMMANDS: &[&str] = &["from-image", "attach", "write", "flush", "verify", "extend"];
/// Operations of the data path alone.
const DATA_ONLY: &[&str] = &["write", "unmap", "flush", "verify"];
/// Operations that are never in a lane, and steps of the bench itself.
const NOT_BESIDE: &[&str] = &["reimage", "intrude", "census", "restart"];

/// Outages, by the kind of fault that makes them.
const OUTAGES: &[&str] =
    &["path-cut", "path-one-way", "path-slow", "host-cut-off", "controller-fails", "pool-full"];

fn fault_cell(operation: &str, kind: &str) -> String {
    format!("fault {operation} x {kind}")
}

fn beside_cell(a: &str, b: &str) -> String {
    let (a, b) = if a <= b { (a, b) } else { (b, a) };
    format!("beside {a} + {b}")
}

fn outage_cell(outage: &str, operation: &str) -> String {
    format!("during {outage}: {operation}")
}

/// Every cell of the grids and every mark that generated plans can hit.
pub(crate) fn universe() -> BTreeSet<String> {
    let operations = || OPERATIONS.iter().copied().filter(|o| !["intrude", "census", "restart"].contains(o));
    let mut all: BTreeSet<String> = SOMETIMES.iter().map(|mark| format!("sometimes {}", mark.name)).collect();
    for operation in operations() {
        if !DATA_ONLY.contains(&operation) {
            all.extend(OF_CALLS.iter().map(|kind| fault_cell(operation, kind)));
            all.extend(OF_FLOWS.iter().map(|kind| fault_cell(operation, kind)));
        }
        if SENDS_COMMANDS.contains(&operation) {
            all.extend(OF_COMMANDS.iter().map(|kind| fault_cell(operation, kind)));
        }
        all.extend(OUTAGES.iter().map(|outage| outage_cell(outage, operation)));
        if NOT_BESIDE.contains(&operation) {
            continue;
        }
        for other in operations().filter(|other| !NOT_BESIDE.contains(other)) {
            all.insert(beside_cell(operation, other));
        }
    }
    all
}

/// Counts marks while a history goes by.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    hits: BTreeMap<String, u64>,
    /// Steps that have begun and not ended: number, lane, operation.
    under_way: BTreeMap<u64, (String, &'static str)>,
    outages: BTreeSet<&'static str>,
    /// What the text of a step that begins is about to change, until it is done.
    changes: BTreeMap<u64, String>,
}

impl Observer {
    /// The next line.
    pub(crate) fn line(&mut self, line: &TraceLine) {
        let text = |key: &str| line.detail.get(key).and_then(Value::as_str);
        for mark in SOMETIMES.iter().filter(|mark| mark.topic == line.topic) {
            if mark.shown.iter().any(|(key, value)| text(key) == Some(value)) {
                self.hit(format!("sometimes {}", mark.name));
            }
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
                let met: Vec<&str> = self.under_way.values().map(|(_, operation)| *operation).collect();
                met.into_iter().for_each(|operation| self.hit(fault_cell(operation, kind)));
            }
            "scsi" => {
                if let Some(result) = text("result").filter(|result| *result != "GOOD") {
                    self.hit(format!("answer {result}"));
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

    fn begins(&mut self, number: u64, lane: &str, step: &str) {
        let Some(operation) = operation_of(step) else {
            self.changes.insert(number, step.to_owned());
            if step == "settle" {
                self.outages.clear();
            }
            return;
        };
        let beside: Vec<&str> =
            self.under_way.values().filter(|(other, _)| other != lane).map(|(_, o)| *o).collect();
        beside.into_iter().for_each(|other| self.hit(beside_cell(operation, other)));
        let outages: Vec<&str> = self.outages.iter().copied().collect();
        outages.into_iter().for_each(|outage| self.hit(outage_cell(outage, operation)));
        self.under_way.insert(number, (lane.to_owned(), operation));
    }

    fn ends(&mut self, number: u64, status: &str) {
        self.under_way.remove(&number);
        let Some(step) = self.changes.remove(&number).filter(|_| status == "done") else { return };
        let mut words = step.split(' ');
        let verb = words.next().unwrap_or_default();
        match verb {
            "cut" if step.contains(" way=") => self.outages.insert("path-one-way"),
            // A host that has lost all its paths, or one of them.
            "cut" if !step.contains(" path=") => self.outages.insert("host-cut-off"),
            "cut" => self.outages.insert("path-cut"),
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
    OPERATIONS.iter().copied().find(|known| *known == word).filter(|o| !["census", "restart"].contains(o))
}

/// The kind of fault that fires so at a point.
fn kind_of(point: &str, what: &str) -> Option<&'static str> {
    let area = point.split(['.', ':']).next().unwrap_or_default();
    let name = match (area, what.split('(').next().unwrap_or_default()) {
        ("rest", "Fail") => "call-refused",
        ("rest", "DropReply") => "reply-lost",
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
        ("target", "DropReply") => "status-lost",
        ("target", "Fail") => "command-fails",
        ("target", "Delay") => "command-slow",
        ("target", "Answer") => match code(what)? {
            sanbench_target::upset::BUSY | sanbench_target::upset::TASK_SET_FULL => "busy",
            sanbench_target::upset::RESERVATION_CONFLICT => "reservation-conflict",
            sanbench_target::upset::NOT_READY => "lun-not-ready",
            sanbench_target::upset::POWER_ON_RESET => "unit-attention",
            sanbench_target::upset::LUN_RESET => "lun-reset",
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

/// A profile that gives more weight to what `marks` has never met: operations and kinds of faults of cells that stand at 0. The
/// weight of each grows with its cells, up to fourfold.
pub(crate) fn steered(profile: &Profile, marks: &BTreeMap<String, u64>) -> Profile {
    let mut operations: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for cell in universe() {
        let missed = u64::from(marks.get(&cell).copied().unwrap_or(0) == 0);
        for word in cell.split(' ').map(|word| word.trim_end_matches(':')) {
            let counts = if OPERATIONS.contains(&word) {
                OPERATIONS.iter().find(|o| **o == word).map(|o| operations.entry(o).or_default())
            } else {
                nemesis::KINDS.iter().find(|k| k.name == word).map(|k| kinds.entry(k.name).or_default())
            };
            if let Some((of, all)) = counts {
                *of += missed;
                *all += 1;
            }
        }
    }
    let weight = |(missed, all): (u64, u64)| if missed == 0 { 1 } else { 2 + 2 * missed / all.max(1) };
    let mut out = profile.clone();
    for (operation, counts) in operations.into_iter().filter(|(_, (missed, _))| *missed > 0) {
        out.operations.insert(operation.to_owned(), weight(counts));
    }
    for (kind, counts) in kinds.into_iter().filter(|(_, (missed, _))| *missed > 0) {
        let asked = profile.kinds.get(kind).copied().unwrap_or(1);
        out.kinds.insert(kind.to_owned(), asked * weight(counts));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn seen(lines: Vec<(&'static str, Value)>) -> BTreeMap<String, u64> {
        let mut observer = Observer::default();
        for (seq, (topic, detail)) in (0..).zip(lines) {
            observer.line(&TraceLine { seq, at: Duration::ZERO, node: "bench".into(), topic, detail });
        }
        observer.hits()
    }

    #[test]
    fn cells_are_hit_by_what_is_under_way() {
        let hits = seen(vec![
            ("step", json!({"n": 1, "text": "cut h1 path=2"})),
            ("step", json!({"n": 1, "status": "done"})),
            ("step", json!({"n": 2, "lane": "a", "text": "create v2 size=1GiB volume=v1"})),
            ("step", json!({"n": 3, "lane": "b", "text": "write v1 at=0 length=4KiB"})),
            ("fault", json!({"point": "rest.after:POST lun", "what": "DropReply"})),
            ("step", json!({"n": 3, "lane": "b", "status": "done"})),
            ("fault", json!({"point": "target.command.before", "what": "Answer(Code(8))"})),
            ("scsi", json!({"result": "BUSY"})),
            ("step", json!({"n": 2, "lane": "a", "status": "done"})),
            ("step", json!({"n": 4, "text": "settle"})),
            ("step", json!({"n": 5, "text": "flush v1"})),
        ]);
        let expected = [
            "answer BUSY",
            "beside clone + write",
            "during path-cut: clone",
            "during path-cut: write",
            "fault clone x busy",
            "fault clone x reply-lost",
            "fault write x reply-lost",
        ];
        assert_eq!(hits.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_cell_names_an_operation_or_a_kind_that_exists() {
        for cell in universe().iter().filter(|cell| !cell.starts_with("sometimes ")) {
            let known = |word: &str| {
                OPERATIONS.contains(&word) || nemesis::KINDS.iter().any(|kind| kind.name == word)
            };
            let words: Vec<&str> = cell.split(' ').map(|word| word.trim_end_matches(':')).collect();
            assert_eq!(words.iter().filter(|word| known(word)).count(), 2, "{cell}");
        }
    }

    #[test]
    fn what_was_never_met_gets_more_weight_and_what_was_met_keeps_its_own() {
        let mut marks: BTreeMap<String, u64> = universe().into_iter().map(|cell| (cell, 7)).collect();
        let same = steered(&Profile::default(), &marks);
        assert_eq!(same, Profile::default());
        marks.insert(fault_cell("flatten", "reply-lost"), 0);
        let steered = steered(&Profile::default(), &marks);
        assert_eq!(steered.operations.keys().collect::<Vec<_>>(), ["flatten"]);
        assert_eq!(steered.kinds.keys().collect::<Vec<_>>(), ["reply-lost"]);
    }
}
