//! The verbs about two arrays: their table, and how they are read, printed and told.

use super::error::StoryError;
use super::parse::{Args, At, from_word};
use super::print::word;
use super::value::Name;
use super::verbs::{Param, Place, REFUSED, Type, VOLUME, Verb, key};
use crate::plan::{Mirroring, PairAct, Refused, SecondaryAccess, Step, SyncEnd};

const AT: Param = key("at", Type::Size, true, "offset, a multiple of 512B");
const LENGTH: Param = key("length", Type::Size, true, "length, a multiple of 512B");

const fn verb(
    name: &'static str,
    positional: &'static [Param],
    named: &'static [Param],
    help: &'static str,
    example: &'static str,
) -> Verb {
    Verb { name, place: Place::Step, positional, named, help, example }
}

/// Steps about two arrays, in the order in which `explain` lists them.
pub(super) const VERBS: [Verb; 11] = [
    verb(
        "mirror",
        &[VOLUME],
        &[key(
            "as",
            Type::Word(&["metro", "sync", "async"]),
            true,
            "one volume on both arrays; a copy of every write; a copy of points in time",
        )],
        "Gives the volume a second half on the remote array; `sync` copies to it. It does not recover by itself: only `sync` \
         copies.",
        "mirror web as=sync",
    ),
    verb(
        "sync",
        &[VOLUME],
        &[key(
            "ends",
            Type::Word(&["normal", "interrupted"]),
            false,
            "how it must end (default normal): interrupted when a fault of the story breaks the link meanwhile",
        )],
        "Copies what differs from the half that leads to the other one, and waits for the end.",
        "sync web",
    ),
    verb(
        "pause",
        &[VOLUME],
        &[],
        "Ends the copying to the other half until the next `sync`: pauses or splits the pair.",
        "pause web",
    ),
    verb(
        "fail-over",
        &[VOLUME],
        &[],
        "Lets the half that does not lead take the lead; with the link cut it takes over.",
        "fail-over web",
    ),
    verb(
        "secondary",
        &[VOLUME],
        &[key(
            "access",
            Type::Word(&["read-only", "read-write"]),
            true,
            "protected, or opened for hosts while nothing is copied",
        )],
        "Lifts the protection of the half that does not lead, or puts it back.",
        "secondary web access=read-write",
    ),
    verb(
        "write-remote",
        &[VOLUME],
        &[AT, LENGTH, REFUSED],
        "Writes self-describing blocks to the half on the remote array, over iSCSI.",
        "write-remote web at=1MiB length=64KiB refused=io",
    ),
    verb(
        "verify-remote",
        &[VOLUME],
        &[],
        "Reads the half on the remote array back: it must hold all that reached it, or the last complete point, and nothing else.",
        "verify-remote web",
    ),
    verb(
        "alike",
        &[VOLUME],
        &[],
        "Reads both halves, which claim to be equal, and compares them with each other.",
        "alike web",
    ),
    verb("unmirror", &[VOLUME], &[], "Takes the half on the remote array away.", "unmirror web"),
    verb("cut-link", &[], &[], "Lets the link between the two arrays swallow everything.", "cut-link"),
    verb(
        "heal-link",
        &[],
        &[],
        "Lets the link between the two arrays work again, and waits until they hear each other.",
        "heal-link",
    ),
];

/// The step of one of these verbs that names a volume.
pub(super) fn act(at: &At<'_>, verb: &Verb, args: &Args) -> Result<PairAct, StoryError> {
    let said = |key: &str| args.named.get(key).map_or("", |w| w.text.as_str());
    Ok(match verb.name {
        "mirror" => PairAct::Mirror { how: from_word(said("as")).unwrap_or(Mirroring::Sync) },
        "sync" => PairAct::Sync { ends: from_word(said("ends")).unwrap_or_default() },
        "pause" => PairAct::Pause,
        "fail-over" => PairAct::FailOver,
        "secondary" => {
            PairAct::Secondary { access: from_word(said("access")).unwrap_or(SecondaryAccess::ReadOnly) }
        }
        "write-remote" => PairAct::WriteRemote {
            at: args.blocks(at, "at", 0)?,
            length: args.blocks(at, "length", 512)?,
            refused: args.refused(),
        },
        "verify-remote" => PairAct::VerifyRemote,
        "alike" => PairAct::Alike,
        _ => PairAct::Unmirror,
    })
}

/// Some steps need the other array.
pub(super) fn check(
    at: &At<'_>,
    head: &super::lex::Word,
    remote: bool,
    step: &Step,
) -> Result<(), StoryError> {
    if !step.is_of_two_arrays() || remote {
        return Ok(());
    }
    let problem = format!("`{}` needs a second array", head.text);
    Err(at.error(head, &problem, Some("write `remote` above the first step".into())))
}

/// The line of a step, and the refusal that it expects.
pub(super) fn print<'s>(volume: &Name, act: &'s PairAct) -> (String, &'s Option<Refused>) {
    let text = match act {
        PairAct::Mirror { how } => format!("mirror {volume} as={}", word(how)),
        PairAct::Sync { ends: SyncEnd::Normal } => format!("sync {volume}"),
        PairAct::Sync { ends } => format!("sync {volume} ends={}", word(ends)),
        PairAct::Pause => format!("pause {volume}"),
        PairAct::FailOver => format!("fail-over {volume}"),
        PairAct::Secondary { access } => format!("secondary {volume} access={}", word(access)),
        PairAct::WriteRemote { at, length, refused } => {
            return (format!("write-remote {volume} at={at} length={length}"), refused);
        }
        PairAct::VerifyRemote => format!("verify-remote {volume}"),
        PairAct::Alike => format!("alike {volume}"),
        PairAct::Unmirror => format!("unmirror {volume}"),
    };
    (text, &None)
}

/// The step as a sentence, and the refusal that it expects.
pub(super) fn plain<'s>(volume: &Name, act: &'s PairAct) -> (String, &'s Option<Refused>) {
    let text = match act {
        PairAct::Mirror { how: Mirroring::Metro } => {
            format!("Make {volume} one volume on both arrays (HyperMetro)")
        }
        PairAct::Mirror { how: Mirroring::Sync } => {
            format!("Give {volume} a copy on the other array that has every write")
        }
        PairAct::Mirror { how: Mirroring::Async } => {
            format!("Give {volume} a copy on the other array that has points in time")
        }
        PairAct::Sync { ends: SyncEnd::Normal } => format!("Copy what differs of {volume} to its other half"),
        PairAct::Sync { ends: SyncEnd::Interrupted } => {
            format!("Copy what differs of {volume} to its other half; the link breaks meanwhile")
        }
        PairAct::Pause => format!("Pause the copying of {volume} to its other half"),
        PairAct::FailOver => format!("Let the other half of {volume} take the lead"),
        PairAct::Secondary { access: SecondaryAccess::ReadOnly } => {
            format!("Protect the half of {volume} that does not lead")
        }
        PairAct::Secondary { access: SecondaryAccess::ReadWrite } => {
            format!("Open the half of {volume} that does not lead for hosts")
        }
        PairAct::WriteRemote { at, length, refused } => {
            let text = format!("Write {length} of stamped blocks at {at} of the remote half of {volume}");
            return (text, refused);
        }
        PairAct::VerifyRemote => format!("Read the remote half of {volume} back"),
        PairAct::Alike => format!("Read both halves of {volume} and compare them"),
        PairAct::Unmirror => format!("Take the remote half of {volume} away"),
    };
    (text, &None)
}
