//! What a run has met, counted from its history: operation x fault, operation beside operation, operation during an outage,
//! answers of the target, negotiated keys, and "sometimes" marks, each of which a large sweep must hit at least once.
//!
//! Nothing is instrumented for it: the history tells which steps were under way when a fault fired, what a target answered,
//! what hosts and flows noticed. What a sweep has never met raises the weights of the next one ([`steered`]).
//!
//! Cinder's back-end section has no option for what hosts negotiate: digests, bursts and unasked data are drawn with the hosts of
//! a plan (`tune`), as an administrator sets them in `iscsid.conf`.
//!
//! | module | what it is for |
//! |---|---|
//! | `tables` | what generated plans can meet, and what they cannot, with the reason |
//! | `observer` | counts marks while a history goes by |

mod observer;
mod tables;

use std::collections::{BTreeMap, BTreeSet};

use sanbench_runner::generate::{OPERATIONS, Profile, nemesis};

pub(crate) use observer::Observer;
use tables::{ANSWERS, KEYS, NOT_BESIDE, SOMETIMES, faults, never, operations, outages};

/// From so many generated plans on, a mark that was never hit makes a sweep incomplete.
pub(crate) const NIGHTLY: u64 = 100_000;

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
    let mut all: BTreeSet<String> = SOMETIMES.iter().map(|mark| format!("sometimes {}", mark.name)).collect();
    all.extend(ANSWERS.iter().map(|answer| format!("answer {answer}")));
    all.extend(KEYS.iter().map(|key| format!("key {key}")));
    for operation in operations() {
        let possible = faults().filter(|kind| never(operation, kind).is_none());
        all.extend(possible.map(|kind| fault_cell(operation, kind)));
        all.extend(outages().map(|outage| outage_cell(outage, operation)));
        if NOT_BESIDE.contains(&operation) {
            continue;
        }
        for other in operations().filter(|other| !NOT_BESIDE.contains(other)) {
            all.insert(beside_cell(operation, other));
        }
    }
    all
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

    use sanbench_world::TraceLine;
    use serde_json::{Value, json};

    use super::tables::NEVER;
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
            ("fault", json!({"point": "target.command.before", "what": "Answer(Code(8))"})),
            ("scsi", json!({"status": "GOOD"})),
            ("scsi", json!({"status": "BUSY"})),
            ("scsi", json!({"status": "CHECK CONDITION", "sense": "6/2a/05"})),
            ("step", json!({"n": 3, "lane": "b", "status": "done"})),
            ("step", json!({"n": 2, "lane": "a", "status": "done"})),
            ("step", json!({"n": 4, "text": "settle"})),
            ("step", json!({"n": 5, "text": "flush v1"})),
        ]);
        let expected = [
            "answer BUSY",
            "answer CHECK CONDITION 6/2a/05",
            "beside clone + write",
            "during path-cut: clone",
            "during path-cut: write",
            "fault clone x busy",
            // A write calls nobody: the answer that is lost is that of the clone.
            "fault clone x reply-lost",
            "fault write x busy",
            "sometimes a registration is pre-empted",
        ];
        assert_eq!(hits.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn faults_that_look_alike_are_told_apart() {
        let (login, arm) =
            (json!({"point": "target.login", "what": "Fail"}), "arm target.login nth=1 do=fail");
        let hits = seen(vec![
            ("step", json!({"n": 1, "text": format!("{arm} masked=yes")})),
            ("step", json!({"n": 2, "text": "attach v1 h1"})),
            ("fault", login.clone()),
            ("fault", json!({"point": "rest.before:POST host", "what": "Delay(1000s)"})),
            ("step", json!({"n": 2, "status": "done"})),
            ("step", json!({"n": 3, "text": arm})),
            ("step", json!({"n": 4, "text": "detach v1 h1"})),
            ("step", json!({"n": 4, "status": "done"})),
            ("step", json!({"n": 5, "text": "attach v1 h1"})),
            ("fault", login),
            ("fault", json!({"point": "rest.before:POST host", "what": "Delay(2.5s)"})),
        ]);
        let expected = [
            "fault attach x call-hangs",
            "fault attach x call-slow",
            "fault attach x login-busy",
            "fault attach x login-fails",
        ];
        assert_eq!(hits.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_fault_that_is_a_step_hits_what_is_under_way_or_comes_next() {
        let hits = seen(vec![
            ("step", json!({"n": 1, "text": "power-loss"})),
            ("step", json!({"n": 1, "status": "done"})),
            ("step", json!({"n": 2, "lane": "a", "text": "write v1 at=0 length=4KiB"})),
            ("step", json!({"n": 3, "lane": "n", "text": "reset h1"})),
            ("step", json!({"n": 3, "lane": "n", "status": "done"})),
            ("step", json!({"n": 2, "lane": "a", "status": "done"})),
            ("step", json!({"n": 4, "text": "flush v1"})),
        ]);
        assert_eq!(
            hits.into_keys().collect::<Vec<_>>(),
            ["fault write x connection-reset", "fault write x power-loss"]
        );
    }

    #[test]
    fn what_shows_a_mark_is_a_word_or_a_number() {
        let hits = seen(vec![
            ("power", json!({"lost": 0})),
            ("model", json!({"worlds": 1})),
            ("model", json!({"worlds": 2})),
            ("driver", json!({"event": "adopted"})),
            ("flow", json!({"event": "adopted"})),
        ]);
        let all: BTreeMap<String, u64> = [
            ("sometimes an object is adopted after a lost answer".to_owned(), 1),
            ("sometimes what must be is in doubt: several worlds are possible".to_owned(), 1),
        ]
        .into();
        assert_eq!(hits, all);
    }

    #[test]
    fn every_cell_names_an_operation_or_a_kind_that_exists() {
        let cell =
            |cell: &&String| ["fault ", "beside ", "during "].iter().any(|grid| cell.starts_with(grid));
        for cell in universe().iter().filter(cell) {
            let known = |word: &str| {
                OPERATIONS.contains(&word) || nemesis::KINDS.iter().any(|kind| kind.name == word)
            };
            let words: Vec<&str> = cell.split(' ').map(|word| word.trim_end_matches(':')).collect();
            assert_eq!(words.iter().filter(|word| known(word)).count(), 2, "{cell}");
        }
    }

    #[test]
    fn every_kind_of_fault_has_a_cell_for_each_operation_or_the_reason_why_not() {
        let all = universe();
        for kind in nemesis::KINDS {
            let mut cells = 0;
            for operation in operations() {
                let cell = match kind.is_outage() {
                    true => outage_cell(kind.name, operation),
                    false => fault_cell(operation, kind.name),
                };
                let reason = never(operation, kind.name);
                assert_eq!(all.contains(&cell), reason.is_none(), "{cell}");
                assert!(reason.is_none_or(|why| why.len() > 20), "{cell}: {reason:?}");
                cells += u64::from(reason.is_none());
            }
            assert!(cells > 0, "{} is never counted", kind.name);
        }
        let known = |kind: &&str| nemesis::KINDS.iter().any(|known| known.name == *kind);
        for never in NEVER {
            assert!(
                never
                    .operations
                    .names()
                    .iter()
                    .all(|operation| operations().any(|known| known == *operation))
            );
            assert!(never.kinds.iter().all(known), "{:?}", never.kinds);
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
