//! The status machines of volumes, snapshots and attachments, as tables.
//!
//! Source: the Cinder status values and who may change them (workflow contract, section 9). Some rows of Cinder are left out
//! on purpose: *any status -> error* of a back end's failover, *any -> any* of an administrator's reset, and what only the
//! attachment calls before microversion 3.27 do (contract 6.1: they go to `attaching` without `reserved`). The bench does
//! none of it, so such a change is a fault here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::verdict::Finding;

/// Requirement of a status change that is no edge, or of a status that says what is not so.
const UNTRUE: &str = "OBS-005";

/// Requirement of an object that stays in a transitional status.
const STUCK: &str = "CON-004";

const CHECKER: &str = "lifecycle";

/// Kinds of objects that have a status machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `volume.status`.
    Volume,
    /// `volume.attach_status`.
    AttachStatus,
    /// `attachment.attach_status`.
    Attachment,
    /// `snapshot.status`.
    Snapshot,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Volume, Self::AttachStatus, Self::Attachment, Self::Snapshot];

    /// The kind's name in transitions and signatures.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::AttachStatus => "attach_status",
            Self::Attachment => "attachment",
            Self::Snapshot => "snapshot",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The machine's edges.
    #[must_use]
    pub fn edges(self) -> &'static [Edge] {
        match self {
            Self::Volume => VOLUME,
            Self::AttachStatus => ATTACH_STATUS,
            Self::Attachment => ATTACHMENT,
            Self::Snapshot => SNAPSHOT,
        }
    }

    /// Statuses in which an object must not be when nothing is running any more. `reserved` and `attaching` are among
    /// them: they promise a connection that nobody is making.
    #[must_use]
    pub fn transitional(self) -> &'static [&'static str] {
        match self {
            Self::Volume => &[
                "creating",
                "downloading",
                "reserved",
                "attaching",
                "detaching",
                "extending",
                "deleting",
                "uploading",
                "backing-up",
                "restoring-backup",
                "retyping",
                "maintenance",
                "managing",
                "unmanaging",
                "reverting",
                "error_managing_deleting",
            ],
            Self::AttachStatus => &["reserved", "attaching", "detaching"],
            Self::Attachment => &["reserved", "attaching"],
            Self::Snapshot => &["creating", "deleting", "backing-up", "restoring", "unmanaging", "updating"],
        }
    }
}

/// One legal change. The empty text stands for "no row".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// Status before.
    pub from: &'static str,
    /// Status after.
    pub to: &'static str,
    /// What causes it.
    pub event: &'static str,
}

const fn edge(from: &'static str, to: &'static str, event: &'static str) -> Edge {
    Edge { from, to, event }
}

const VOLUME: &[Edge] = &[
    edge("", "creating", "create accepted"),
    edge("creating", "available", "made"),
    edge("creating", "downloading", "image source, LUN made"),
    edge("creating", "error", "failure, or start-up clean-up"),
    edge("downloading", "available", "copied"),
    edge("downloading", "in-use", "re-imaged while attached"),
    edge("downloading", "reserved", "attachment create, or re-imaged while reserved"),
    edge("downloading", "error", "failure, or start-up clean-up"),
    edge("available", "reserved", "attachment create"),
    edge("reserved", "attaching", "attachment update"),
    edge("reserved", "in-use", "attachment complete"),
    edge("reserved", "available", "last attachment removed"),
    edge("attaching", "in-use", "attachment complete"),
    edge("attaching", "available", "last attachment removed, or unreserved"),
    edge("in-use", "reserved", "multi-attach reserve"),
    edge("in-use", "detaching", "detach begins"),
    edge("in-use", "available", "last attachment removed"),
    edge("in-use", "error", "export cannot be restored at start"),
    edge("detaching", "in-use", "detach rolled back, or others remain"),
    edge("detaching", "available", "last attachment removed"),
    edge("available", "extending", "extend"),
    edge("in-use", "extending", "extend while attached"),
    edge("extending", "available", "grown, or refused by the scheduler"),
    edge("extending", "in-use", "grown while attached, or refused by the scheduler"),
    edge("extending", "error_extending", "driver failed"),
    edge("available", "deleting", "delete"),
    edge("error", "deleting", "delete"),
    edge("error_deleting", "deleting", "delete again"),
    edge("error_extending", "deleting", "delete"),
    edge("error_restoring", "deleting", "delete"),
    edge("deleting", "", "gone"),
    edge("deleting", "available", "busy"),
    edge("deleting", "error_deleting", "failure"),
    edge("available", "unmanaging", "unmanage"),
    edge("unmanaging", "", "unmanaged"),
    edge("unmanaging", "error_unmanaging", "failure"),
    edge("", "managing", "manage"),
    edge("managing", "available", "managed"),
    edge("managing", "error_managing", "failure"),
    edge("error_managing", "error_managing_deleting", "delete"),
    edge("error_managing_deleting", "", "gone"),
    edge("available", "retyping", "retype"),
    edge("in-use", "retyping", "retype while attached"),
    edge("retyping", "available", "retyped or refused"),
    edge("retyping", "in-use", "retyped or refused while attached"),
    edge("available", "maintenance", "migrate with lock"),
    edge("maintenance", "available", "migrated or refused"),
    edge("available", "uploading", "upload to image"),
    edge("in-use", "uploading", "forced upload"),
    edge("uploading", "available", "uploaded, or start-up clean-up"),
    edge("uploading", "in-use", "uploaded while attached, or start-up clean-up"),
    edge("available", "backing-up", "backup"),
    edge("in-use", "backing-up", "forced backup"),
    edge("backing-up", "available", "backup ends"),
    edge("backing-up", "in-use", "backup ends while attached"),
    edge("creating", "error_restoring", "restore into a new volume failed"),
    edge("available", "restoring-backup", "restore"),
    edge("restoring-backup", "available", "restored"),
    edge("restoring-backup", "error_restoring", "failure"),
    edge("available", "reverting", "revert to snapshot"),
    edge("reverting", "available", "reverted"),
    edge("reverting", "error", "failure"),
    edge("available", "downloading", "re-image"),
    edge("error", "downloading", "re-image"),
    edge("reserved", "downloading", "re-image"),
    edge("available", "awaiting-transfer", "transfer"),
    edge("awaiting-transfer", "available", "accepted or withdrawn"),
];

/// To reserve an attachment more changes nothing here (contract 6.2 names only the volume's status): a volume that one host uses
/// is `attached`, whatever another one has begun. With the attached one removed by way of `detaching`, nothing leads from
/// `attached` to `reserved`.
const ATTACH_STATUS: &[Edge] = &[
    edge("", "detached", "create accepted"),
    edge("detached", "", "row deleted"),
    edge("detached", "reserved", "attachment create"),
    edge("reserved", "attaching", "attachment update"),
    edge("reserved", "attached", "attachment complete, or another one is attached"),
    edge("reserved", "detached", "last attachment removed"),
    edge("attaching", "attached", "attachment complete"),
    edge("attaching", "reserved", "the one being made was removed, a reserved one remains"),
    edge("attaching", "detached", "last attachment removed"),
    edge("attached", "attaching", "multi-attach update, or the attached one was removed"),
    edge("attached", "detaching", "detach begins"),
    edge("attached", "detached", "last attachment removed"),
    edge("detaching", "attached", "rolled back, or others remain"),
    edge("detaching", "detached", "last attachment removed"),
];

const ATTACHMENT: &[Edge] = &[
    edge("", "reserved", "create"),
    edge("reserved", "attaching", "update"),
    edge("attaching", "attached", "complete"),
    edge("attaching", "error_attaching", "driver not initialised after export, or bad mode"),
    edge("reserved", "", "delete"),
    edge("attaching", "", "delete"),
    edge("attached", "", "delete"),
    edge("error_attaching", "", "delete"),
];

const SNAPSHOT: &[Edge] = &[
    edge("", "creating", "create accepted"),
    edge("creating", "available", "taken"),
    edge("creating", "error", "failure, or start-up clean-up"),
    edge("available", "deleting", "delete"),
    edge("error", "deleting", "delete"),
    edge("error_deleting", "deleting", "delete again"),
    edge("deleting", "", "gone"),
    edge("deleting", "available", "busy"),
    edge("deleting", "error_deleting", "failure"),
    edge("available", "backing-up", "backup"),
    edge("backing-up", "available", "backup ends"),
    edge("available", "restoring", "revert"),
    edge("restoring", "available", "reverted"),
    edge("available", "unmanaging", "unmanage"),
    edge("unmanaging", "", "unmanaged"),
    edge("available", "updating", "group update"),
    edge("updating", "available", "group updated"),
];

/// The edge that a change is, or a finding. `None` is "no row".
///
/// # Errors
/// A change that is no edge breaks OBS-005.
pub fn check_transition(
    kind: Kind,
    id: &str,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<&'static Edge, Box<Finding>> {
    let (from, to) = (from.unwrap_or(""), to.unwrap_or(""));
    if let Some(edge) = kind.edges().iter().find(|edge| edge.from == from && edge.to == to) {
        return Ok(edge);
    }
    let legal: Vec<&str> =
        kind.edges().iter().filter(|edge| edge.from == from).map(|edge| named(edge.to)).collect();
    let expected = if legal.is_empty() { "no change at all".to_owned() } else { legal.join(", ") };
    let finding = Finding::new(UNTRUE, CHECKER, kind.word(), "transition")
        .says(format!("{} {id} went from {} to {}, which is no edge", kind.word(), named(from), named(to)))
        .compared(format!("from {}: {expected}", named(from)), named(to));
    Err(Box::new(finding))
}

/// A finding if an object stands in a transitional status although nothing is running.
#[must_use]
pub fn check_quiescent(kind: Kind, id: &str, status: &str) -> Option<Finding> {
    kind.transitional().contains(&status).then(|| {
        Finding::new(STUCK, CHECKER, kind.word(), "stuck")
            .says(format!("{} {id} is left in {status} with nothing running", kind.word()))
            .compared("a settled status", status)
    })
}

/// The machine as a table, for people and for review.
#[must_use]
pub fn table(kind: Kind) -> String {
    let mut out = format!("{}\n", kind.word());
    for edge in kind.edges() {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "  {:<24} -> {:<24} {}", named(edge.from), named(edge.to), edge.event);
    }
    let _ = writeln!(out, "  transitional: {}", kind.transitional().join(", "));
    out
}

fn named(status: &str) -> &str {
    if status.is_empty() { "(no row)" } else { status }
}

/// Follows every object through its changes: each must be an edge, and must begin where the one before it ended.
#[derive(Debug, Default, Clone)]
pub struct Lifecycles {
    at: BTreeMap<(Kind, String), String>,
    checked: u64,
}

impl Lifecycles {
    /// Takes one change.
    pub fn take(&mut self, kind: Kind, id: &str, from: Option<&str>, to: Option<&str>) -> Vec<Finding> {
        self.checked += 1;
        let mut findings = Vec::new();
        let key = (kind, id.to_owned());
        let before = self.at.get(&key).map_or("", String::as_str);
        if before != from.unwrap_or("") {
            findings.push(
                Finding::new(UNTRUE, CHECKER, kind.word(), "continuity")
                    .says(format!("{} {id} changed its status unseen", kind.word()))
                    .compared(named(before), named(from.unwrap_or(""))),
            );
        }
        findings.extend(check_transition(kind, id, from, to).err().map(|finding| *finding));
        match to {
            Some(to) if !to.is_empty() => self.at.insert(key, to.to_owned()),
            _ => self.at.remove(&key),
        };
        findings
    }

    /// With nothing running: no object may be in a transitional status.
    #[must_use]
    pub fn quiescent(&self) -> Vec<Finding> {
        self.at.iter().filter_map(|((kind, id), status)| check_quiescent(*kind, id, status)).collect()
    }

    /// The status of an object, if it has a row.
    #[must_use]
    pub fn status(&self, kind: Kind, id: &str) -> Option<&str> {
        self.at.get(&(kind, id.to_owned())).map(String::as_str)
    }

    /// Changes taken so far.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.checked
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_tables() {
        insta::assert_snapshot!(Kind::ALL.map(table).join("\n"));
    }

    #[test]
    fn every_status_can_be_reached_and_every_transitional_one_left() {
        for kind in Kind::ALL {
            let mut reached: BTreeSet<&str> = BTreeSet::from([""]);
            loop {
                let before = reached.len();
                for edge in kind.edges() {
                    if reached.contains(edge.from) {
                        reached.insert(edge.to);
                    }
                }
                if reached.len() == before {
                    break;
                }
            }
            for edge in kind.edges() {
                assert!(reached.contains(edge.from), "{kind:?} {}", edge.from);
            }
            for status in kind.transitional() {
                assert!(kind.edges().iter().any(|edge| edge.from == *status), "{kind:?} {status} is a trap");
            }
            let pairs: BTreeSet<_> = kind.edges().iter().map(|edge| (edge.from, edge.to)).collect();
            assert_eq!(pairs.len(), kind.edges().len(), "{kind:?} names an edge twice");
        }
    }

    #[test]
    fn a_skipped_status_fires_and_only_that() {
        let mut lifecycles = Lifecycles::default();
        let volume = |l: &mut Lifecycles, from, to| l.take(Kind::Volume, "v", from, to);
        assert_eq!(volume(&mut lifecycles, None, Some("creating")), []);
        assert_eq!(volume(&mut lifecycles, Some("creating"), Some("available")), []);
        let findings = volume(&mut lifecycles, Some("available"), Some("in-use"));
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].requirement.as_str(), findings[0].signature.as_str()),
            ("OBS-005", "lifecycle:volume:transition")
        );
        assert_eq!(volume(&mut lifecycles, Some("in-use"), Some("detaching")), []);
        let stuck = lifecycles.quiescent();
        assert_eq!((stuck.len(), stuck[0].signature.as_str()), (1, "lifecycle:volume:stuck"));
        assert_eq!(volume(&mut lifecycles, Some("detaching"), Some("available")), []);
        assert_eq!(lifecycles.quiescent(), []);
    }

    #[test]
    fn reserving_once_more_leaves_an_attached_volume_attached() {
        let mut lifecycles = Lifecycles::default();
        let attach = |l: &mut Lifecycles, from, to| l.take(Kind::AttachStatus, "v", from, to);
        let edges = [
            ("", "detached"),
            ("detached", "reserved"),
            ("reserved", "attaching"),
            ("attaching", "attached"),
        ];
        for (from, to) in edges {
            assert_eq!(attach(&mut lifecycles, Some(from), Some(to)), []);
        }
        let findings = attach(&mut lifecycles, Some("attached"), Some("reserved"));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].signature, "lifecycle:attach_status:transition");
    }

    #[test]
    fn an_unseen_change_fires() {
        let mut lifecycles = Lifecycles::default();
        lifecycles.take(Kind::Snapshot, "s", None, Some("creating"));
        let findings = lifecycles.take(Kind::Snapshot, "s", Some("available"), Some("deleting"));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].signature, "lifecycle:snapshot:continuity");
    }
}
