//! Fault points that a story may name, each with the promise that must hold under it.

use std::sync::LazyLock;

use sanbench_array::Array;
use sanbench_array::pair::Message;
use sanbench_runner::story::edit_distance;

/// A fault point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// Name, with placeholders in angle brackets.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) what: &'static str,
    /// What the system must keep.
    pub(crate) promise: &'static str,
    /// Environments in which it can be produced.
    pub(crate) environments: &'static str,
}

/// Every point that the parts ask.
pub(crate) const POINTS: &[Point] = &[
    Point {
        name: "rest.before:<METHOD> <object>",
        what: "A management call arrives; nothing has been done.",
        promise: "The call is repeated or fails cleanly; nothing is left over.",
        environments: "sim, loopback",
    },
    Point {
        name: "rest.after:<METHOD> <object>",
        what: "A management call has been carried out; its answer is not sent yet.",
        promise: "Nothing is made twice, nothing made is forgotten.",
        environments: "sim, loopback",
    },
    Point {
        name: "job.split.<percent>",
        what: "A flatten has come so far, 0 to 100 (fail: it ends here; delay: it stands still; crash: the controller that works on it fails).",
        promise: "The clone reads the same and keeps its link until all is copied; the flatten can be started again.",
        environments: "sim, loopback",
    },
    Point {
        name: "job.luncopy.<percent>",
        what: "A LUN copy has come so far (faults as for job.split).",
        promise: "The source is untouched, the target half old and half new and the task faulty; it can be started again or removed.",
        environments: "sim, loopback",
    },
    Point {
        name: "job.clonepair.<percent>",
        what: "A synchronisation of a clone pair has come so far (faults as for job.split).",
        promise: "The source is untouched, the target half old and half new and the pair faulty; it can be started again or removed.",
        environments: "sim, loopback",
    },
    Point {
        name: "job.migration.<percent>",
        what: "A LUN migration has come so far (faults as for job.split).",
        promise: "The LUN stays where it is with all that hosts have written, or moves whole; the task can be removed and made anew.",
        environments: "sim, loopback",
    },
    Point {
        name: "job.rollback.<percent>",
        what: "A rollback to a snapshot has come so far (faults as for job.split).",
        promise: "The LUN has the snapshot's content and whatever hosts have written since.",
        environments: "sim, loopback",
    },
    Point {
        name: "target.login",
        what: "An initiator logs in.",
        promise: "The login is tried again, or the connect fails and leaves the host as it was.",
        environments: "sim, loopback",
    },
    Point {
        name: "target.command.before",
        what: "A SCSI command arrives; nothing has been done.",
        promise: "It is retried or reported; no acknowledged write is lost.",
        environments: "sim, loopback",
    },
    Point {
        name: "target.command.before:<COMMAND>",
        what: "A SCSI command of this name arrives, such as WRITE, INQUIRY or SYNCHRONIZE CACHE; nothing has been done.",
        promise: "It is retried or reported; BUSY, TASK SET FULL and unit attentions only cost time.",
        environments: "sim, loopback",
    },
    Point {
        name: "target.command.after",
        what: "A SCSI command has been carried out; its status is not sent yet.",
        promise: "Its effect stays possible in both ways until a read decides.",
        environments: "sim, loopback",
    },
    Point {
        name: "link.send:<message>",
        what: "An array is about to say something to another one (garbage: what it says makes no sense).",
        promise: "What was acknowledged is on both halves or noted as different; only one half serves; nonsense ends the connection and changes nothing.",
        environments: "sim, loopback",
    },
    Point {
        name: "initiator.login",
        what: "A host begins a login.",
        promise: "The login is tried again, or the connect fails and leaves the host as it was.",
        environments: "sim, loopback, profile",
    },
    Point {
        name: "connector.connect",
        what: "A host connects a volume.",
        promise: "A failed connect leaves the host as it was.",
        environments: "sim, loopback, profile",
    },
    Point {
        name: "connector.disconnect",
        what: "A host disconnects a volume.",
        promise: "With force nothing stays; without it nothing is lost.",
        environments: "sim, loopback, profile",
    },
    Point {
        name: "flow.<flow>.<step>.before",
        what: "A step of a workflow is about to begin.",
        promise: "The steps before it are undone; nothing is left over.",
        environments: "sim, loopback, profile",
    },
    Point {
        name: "flow.<flow>.<step>.after",
        what: "A step of a workflow has been done.",
        promise: "The step and those before it are undone; nothing is left over. Do=lose leaves the work to whoever looks after \
                  it; do=twice changes nothing.",
        environments: "sim, loopback, profile",
    },
    Point {
        name: "image.read",
        what: "A part of an image is read, to be written into a volume.",
        promise: "The volume is not made, or what could not be written goes; nothing is left over.",
        environments: "sim, loopback, profile",
    },
    Point {
        name: "db.transaction",
        what: "The state database is asked for a transaction (fail: somebody else holds it).",
        promise: "It is asked again, up to eight times in a row; nothing fails.",
        environments: "sim, loopback, profile",
    },
];

/// A fault point of one management call.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Name as stories place it.
    pub(crate) name: String,
    /// What the call does, and how far it has come.
    pub(crate) what: String,
    /// What the system must keep.
    pub(crate) promise: &'static str,
}

/// Environments in which the points of management calls can be produced.
pub(crate) const MANAGED: &str = "sim, loopback";

/// Two points for each call that the simulated array knows, from the table that its router runs from.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    let mut out = Vec::new();
    for (subject, what) in sanbench_rest::endpoints() {
        let (before, after) = promises(&subject);
        out.push(Endpoint {
            name: format!("rest.before:{subject}"),
            what: format!("{what} It arrives; nothing has been done."),
            promise: before,
        });
        out.push(Endpoint {
            name: format!("rest.after:{subject}"),
            what: format!("{what} It has been done; the answer is not sent yet."),
            promise: after,
        });
    }
    out
}

/// Every point that the parts ask, written out; sorted.
pub(crate) fn written_out() -> &'static [String] {
    static ALL: LazyLock<Vec<String>> = LazyLock::new(|| {
        let plain = POINTS.iter().map(|p| p.name).filter(|name| !name.contains('<')).map(str::to_owned);
        let mut all: Vec<String> = plain.chain(endpoints().into_iter().map(|p| p.name)).collect();
        all.extend(sanbench_target::fault_points().map(str::to_owned));
        all.extend(Message::NAMES.iter().map(|name| format!("link.send:{name}")));
        for kind in Array::JOB_KINDS {
            all.extend((0..=100).map(|percent| format!("job.{kind}.{percent}")));
        }
        for flow in sanbench_flows::flow_catalogue() {
            for (step, side) in flow.steps.iter().flat_map(|s| [(s, "before"), (s, "after")]) {
                all.push(format!("flow.{}.{step}.{side}", flow.name));
            }
        }
        all.sort();
        all.dedup();
        all
    });
    &ALL
}

/// Whether a pattern means some point that the parts ask; if not, the point that is most like it.
///
/// # Errors
/// The nearest point.
pub(crate) fn meant(pattern: &str) -> Result<(), &'static str> {
    let all = written_out();
    if all.iter().any(|point| sanbench_world::covers(pattern, point)) {
        return Ok(());
    }
    let near = all.iter().min_by_key(|point| edit_distance(point, pattern));
    Err(near.map_or("", String::as_str))
}

/// What must be kept when a call goes wrong before, and after, its work.
fn promises(subject: &str) -> (&'static str, &'static str) {
    match subject.split_once(' ').unwrap_or((subject, "")) {
        ("POST", "sessions") => (
            "The log-in is tried again within limits, or the call that needed it fails as not sent.",
            "The log-in is tried again; the session that nobody knows of expires.",
        ),
        (_, "sessions") => ("The session expires by itself.", "The session is gone; nothing else is."),
        ("GET", _) => (
            "The read is repeated within limits, or fails cleanly; a job is not failed because a look at it failed.",
            "The read is repeated within limits, or fails cleanly; what cannot be understood is a typed error.",
        ),
        ("POST", _) => (
            "The object is made once, or the step fails and leaves nothing.",
            "What was made is found and kept or removed; it is not made twice.",
        ),
        ("DELETE", _) => (
            "The object is removed, or the step fails and says so.",
            "That the object is gone already counts as success.",
        ),
        _ => (
            "The change is made once, or the step fails and says so.",
            "The change is not taken back and not made twice.",
        ),
    }
}

/// What may happen at a point (`do=`), for `explain`.
pub(crate) const ACTIONS: &[(&str, &str)] = &[
    ("fail", "the point fails; a management call is refused with code 1077949006"),
    ("delay", "it takes `ms=` milliseconds longer"),
    ("drop-reply", "the connection closes without an answer"),
    ("http", "the answer is HTTP status `status=` (rest points)"),
    ("code", "the answer is error code `code=` (rest points)"),
    ("truncate", "the answer is cut in the middle (rest.after points)"),
    ("garbage", "the answer is a page for people (rest points)"),
    ("mistype", "the answer's values are of other types than promised (rest.after points)"),
    ("blank", "the answer's texts are empty (rest.after points)"),
    ("overlong", "the answer's texts are longer than any that the protocol has (rest.after points)"),
    ("oversize", "the answer does not end (rest points)"),
    ("newer", "the answer has unknown members and values besides (rest.after points)"),
    ("close", "the connection closes under the next request (rest.after points)"),
    ("expire-session", "the session ends (rest points)"),
    ("scsi-busy", "the command is answered with BUSY and does nothing (target.command.before points)"),
    (
        "task-set-full",
        "the command is answered with TASK SET FULL and does nothing (target.command.before points)",
    ),
    ("unit-attention", "the command meets unit attention 29h/00h (target.command.before points)"),
    ("lun-reset", "somebody else resets the logical unit before the command (target.command.before points)"),
    ("crash", "the volume service crashes (flow points), or the controller at work fails (job points)"),
];
