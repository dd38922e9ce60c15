//! What generated plans can meet, and what they cannot, with the reason.

use sanbench_reports::StepStatus;
use sanbench_runner::generate::{OPERATIONS, nemesis};
use serde_json::Value;

/// Something that a sweep of generated plans must have met now and then: a name, and the line of the history that shows it.
pub(super) struct Sometimes {
    pub(super) name: &'static str,
    topic: &'static str,
    /// Several lines may show the same.
    shown: &'static [Shown],
}

/// What a line of the history shows it by.
enum Shown {
    /// This member has this value.
    Is(&'static str, &'static str),
    /// This member is more than that.
    Over(&'static str, u64),
}

use Shown::{Is, Over};

impl Sometimes {
    /// Whether this line shows it.
    pub(super) fn shows(&self, topic: &str, detail: &Value) -> bool {
        self.topic == topic
            && self.shown.iter().any(|shown| match shown {
                Is(key, value) => detail.get(key).and_then(Value::as_str) == Some(value),
                Over(key, least) => detail.get(key).and_then(Value::as_u64).is_some_and(|n| n > *least),
            })
    }
}

const fn sometimes(name: &'static str, topic: &'static str, shown: &'static [Shown]) -> Sometimes {
    Sometimes { name, topic, shown }
}

/// Every "sometimes" mark.
pub(super) const SOMETIMES: &[Sometimes] = &[
    sometimes("a host logs in again after it lost its session", "initiator", &[Is("what", "relogin")]),
    sometimes("a new login fails and is tried again", "initiator", &[Is("what", "relogin-failed")]),
    sometimes("a path fails under I/O", "initiator", &[Is("what", "path-loss")]),
    sometimes("a host expels a path", "initiator", &[Is("what", "path-expelled")]),
    sometimes("a path joins a map that was there", "initiator", &[Is("what", "path-joined")]),
    sometimes("a write in doubt is fenced", "initiator", &[Is("what", "fenced")]),
    sometimes("a command times out", "initiator", &[Is("what", "command-timeout")]),
    sometimes("a connect fails", "initiator", &[Is("what", "connect-failed")]),
    sometimes("a flush fails at a disconnect", "initiator", &[Is("what", "flush-failed")]),
    sometimes("a stale device is thrown away", "initiator", &[Is("what", "stale-device")]),
    sometimes("another volume answers where one was", "initiator", &[Is("what", "stranger")]),
    sometimes("a host hears a unit attention", "iscsi", &[Is("event", "unit_attention")]),
    sometimes("a registration is pre-empted", "scsi", &[Is("sense", "6/2a/05")]),
    sometimes("a login is refused", "iscsi", &[Is("event", "login_refused")]),
    sometimes("a host manages tasks", "iscsi", &[Is("event", "task_management")]),
    sometimes("a connection ends without logout", "iscsi", &[Is("why", "connection lost")]),
    sometimes("the array comes back from its journal", "power", &[Is("journal", "restored")]),
    sometimes("the power goes while writes are in the cache", "power", &[Over("lost", 0)]),
    sometimes("a linked clone copies up under a write", "array", &[Over("writes", 0)]),
    sometimes("a management session is made anew", "driver", &[Is("event", "session-renewed")]),
    sometimes("an object is adopted after a lost answer", "driver", &[Is("event", "adopted")]),
    sometimes("a clone stands too deep and is flattened", "driver", &[Is("event", "too-deep")]),
    sometimes("a flatten that failed is begun again", "driver", &[Is("event", "split-again")]),
    sometimes("a deleted parent goes on in silence", "driver", &[Is("event", "silent-parent")]),
    sometimes("a silent parent goes with its last clone", "driver", &[Is("event", "reaped")]),
    sometimes("a flow is taken up again after a crash", "flow", &[Is("event", "recover")]),
    sometimes("a flow is finished after a crash", "flow", &[Is("way", "forward")]),
    sometimes("a flow is undone after a crash", "flow", &[Is("way", "back")]),
    sometimes("a flow fails half-way", "flow", &[Is("event", "failed")]),
    sometimes("a step of a flow is undone", "flow", &[Is("event", "undone")]),
    sometimes("a step of a flow fails and nothing depends on it", "flow", &[Is("event", "ignored")]),
    sometimes("what must be is in doubt: several worlds are possible", "model", &[Over("worlds", 1)]),
    sometimes("the priority of a task changes", "turns", &[Is("event", "priority")]),
    sometimes("an operation is refused as it must be", "step", &[Is("status", StepStatus::Refused.word())]),
    sometimes(
        "a step is passed over because what it needs is in doubt",
        "step",
        &[Is("status", StepStatus::NotRun.word())],
    ),
];

/// Steps of the bench that look and change nothing.
pub(super) const BENCH: &[&str] = &["intrude", "census", "restart"];
/// Operations that are never in a lane.
pub(super) const NOT_BESIDE: &[&str] = &["reimage"];
/// Faults that are steps of the plan: they hit what is under way, or else what comes next.
pub(super) const OF_STEPS: &[(&str, &str)] = &[
    ("reset", "connection-reset"),
    ("half-open", "half-open"),
    ("reboot", "host-reboot"),
    ("restart-initiator", "initiator-restart"),
    ("power-loss", "power-loss"),
    ("restart", "service-restart"),
];

/// Answers of the target that are not GOOD: status, and sense key, ASC and ASCQ. Each was met at least 4 times by 1,900 plans.
pub(super) const ANSWERS: &[&str] = &[
    "BUSY",
    "TASK SET FULL",
    "RESERVATION CONFLICT",
    // Offline for a moment; a portal that is disabled.
    "CHECK CONDITION 2/04/03",
    "CHECK CONDITION 2/04/0c",
    // An injected failure.
    "CHECK CONDITION 4/44/00",
    // What a unit does not support, and one that is not there.
    "CHECK CONDITION 5/24/00",
    "CHECK CONDITION 5/25/00",
    // Power on, another start, a reset by somebody else, a session lost.
    "CHECK CONDITION 6/29/00",
    "CHECK CONDITION 6/29/01",
    "CHECK CONDITION 6/29/03",
    "CHECK CONDITION 6/29/07",
    // Pre-empted; access states, capacity and the list of units changed.
    "CHECK CONDITION 6/2a/05",
    "CHECK CONDITION 6/2a/06",
    "CHECK CONDITION 6/2a/09",
    "CHECK CONDITION 6/3f/0e",
    // Write protected, and no space left.
    "CHECK CONDITION 7/27/00",
    "CHECK CONDITION 7/27/07",
];

/// Negotiated keys. What no host offers otherwise than the others is not among them: one connection, recovery level 0, four R2Ts.
pub(super) const KEYS: &[&str] = &[
    "HeaderDigest=None",
    "HeaderDigest=CRC32C",
    "DataDigest=None",
    "DataDigest=CRC32C",
    "InitialR2T=No",
    "InitialR2T=Yes",
    "ImmediateData=Yes",
    "ImmediateData=No",
    "MaxBurstLength=1048576",
    "MaxBurstLength=65536",
    "MaxBurstLength=8192",
    "FirstBurstLength=262144",
    "FirstBurstLength=65536",
    "FirstBurstLength=8192",
];

/// Some of the operations.
pub(super) enum Of {
    These(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

impl Of {
    fn contains(&self, operation: &str) -> bool {
        match self {
            Self::These(some) => some.contains(&operation),
            Self::AllBut(others) => !others.contains(&operation),
        }
    }

    /// The names that it is told by.
    #[cfg(test)]
    pub(super) fn names(&self) -> &'static [&'static str] {
        match self {
            Self::These(names) | Self::AllBut(names) => names,
        }
    }
}

/// Cells of operation x fault that mean nothing: the fault cannot hit the operation, only what is beside it.
pub(super) struct Never {
    pub(super) operations: Of,
    pub(super) kinds: &'static [&'static str],
    /// Why not.
    pub(super) why: &'static str,
}

/// All of them. What is not here was met by 1,900 plans, or is as likely as neighbours that were: logins and commands hit every
/// operation, since hosts look after their paths and sessions whatever else goes on.
pub(super) const NEVER: &[Never] = &[
    Never {
        operations: Of::These(&["write", "unmap", "flush"]),
        kinds: &[
            "call-refused",
            "reply-lost",
            "call-slow",
            "answer-broken",
            "answer-stale",
            "session-over",
            "call-hangs",
            "database-busy",
        ],
        why: "the data path makes no management call: one that is hit is the service's own look at its pools, or of another lane",
    },
    Never {
        operations: Of::These(&["write", "unmap", "flush", "verify"]),
        kinds: &["step-fails", "service-crash", "message-lost", "message-twice"],
        why: "I/O runs no flow: one that is hit is of another lane",
    },
    Never {
        operations: Of::AllBut(&["from-snapshot", "clone", "delete-snapshot", "flatten"]),
        kinds: &["job-slow", "job-fails"],
        why: "it begins no background work: a job that is hit is of another lane, or was begun before",
    },
    Never {
        operations: Of::AllBut(&["from-image", "reimage"]),
        kinds: &["image-cut"],
        why: "it reads no image: one that is cut is of another lane",
    },
];

/// The operations of the grids.
pub(super) fn operations() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().copied().filter(|operation| !BENCH.contains(operation))
}

/// Faults that come once; the others are outages, which have a grid of their own.
pub(super) fn faults() -> impl Iterator<Item = &'static str> {
    nemesis::KINDS.iter().filter(|kind| !kind.is_outage()).map(|kind| kind.name)
}

/// Faults that last until they are mended.
pub(super) fn outages() -> impl Iterator<Item = &'static str> {
    nemesis::KINDS.iter().filter(|kind| kind.is_outage()).map(|kind| kind.name)
}

/// Why no plan lets this fault hit this operation; nothing where one can.
pub(super) fn never(operation: &str, kind: &str) -> Option<&'static str> {
    let never = |n: &&Never| n.operations.contains(operation) && n.kinds.contains(&kind);
    NEVER.iter().find(never).map(|never| never.why)
}
