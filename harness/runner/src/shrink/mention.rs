//! Which objects a step names.

use crate::plan::{Source, Step};
use crate::story::Name;

/// The objects that a step names, whatever it does with them.
#[derive(Debug, Default)]
pub(super) struct Mentions<'a> {
    pub(super) volumes: Vec<&'a Name>,
    pub(super) snapshots: Vec<&'a Name>,
    pub(super) host: Option<&'a Name>,
    pub(super) image: Option<&'a Name>,
    pub(super) volume_type: Option<&'a Name>,
    pub(super) pool: Option<&'a Name>,
}

/// What the step names.
pub(super) fn of(step: &Step) -> Mentions<'_> {
    let volume = |volume| Mentions { volumes: vec![volume], ..Mentions::default() };
    let meeting = |volume, host| Mentions { volumes: vec![volume], host: Some(host), ..Mentions::default() };
    match step {
        Step::Create { volume: made, volume_type, source, pool, .. } => {
            let mut all = volume(made);
            (all.volume_type, all.pool) = (volume_type.as_ref(), pool.as_ref());
            match source {
                Source::Blank => {}
                Source::Image(image) => all.image = Some(image),
                Source::Snapshot(snapshot) => all.snapshots.push(snapshot),
                Source::Volume(volume) => all.volumes.push(volume),
            }
            all
        }
        Step::Attach { volume, host, .. }
        | Step::Detach { volume, host, .. }
        | Step::Intrude { volume, host }
        | Step::Revoke { volume, host, .. }
        | Step::Reserve { volume, host }
        | Step::Reserved { volume, host }
        | Step::Unreserve { volume, host } => meeting(volume, host),
        Step::Repeat { volume: v, host, .. } => Mentions { host: host.as_ref(), ..volume(v) },
        Step::Write { volume: v, .. }
        | Step::Unmap { volume: v, .. }
        | Step::Flush { volume: v }
        | Step::Extend { volume: v, .. }
        | Step::Flatten { volume: v, .. }
        | Step::Delete { volume: v, .. }
        | Step::Depth { volume: v, .. }
        | Step::Verify { volume: v }
        | Step::Scan { volume: v }
        | Step::Forge { volume: v, .. }
        | Step::OutOfSpace { volume: v, .. }
        | Step::Spoil { volume: v, .. }
        | Step::Pair { volume: v, .. }
        | Step::Limit { volume: v, .. }
        | Step::Squat { volume: v } => volume(v),
        Step::Snapshot { snapshot, volume: v, .. } => Mentions { snapshots: vec![snapshot], ..volume(v) },
        Step::DeleteSnapshot { snapshot, .. } | Step::PutBack { snapshot, .. } => {
            Mentions { snapshots: vec![snapshot], ..Mentions::default() }
        }
        Step::Reimage { volume: v, image } => Mentions { image: Some(image), ..volume(v) },
        Step::Cut { host, .. }
        | Step::Slow { host, .. }
        | Step::Reset { host, .. }
        | Step::HalfOpen { host, .. }
        | Step::Reboot { host, .. }
        | Step::RestartInitiator { host }
        | Step::Heal { host, .. } => Mentions { host: Some(host), ..Mentions::default() },
        Step::Fill { pool, .. } | Step::Drain { pool } => {
            Mentions { pool: Some(pool), ..Mentions::default() }
        }
        Step::Restart { .. }
        | Step::Manage { .. }
        | Step::Inspect { .. }
        | Step::Census
        | Step::Clean
        | Step::PowerLoss
        | Step::FailController { .. }
        | Step::RestoreController { .. }
        | Step::Arm { .. }
        | Step::Disarm
        | Step::Settle
        | Step::Link { .. }
        | Step::Portal { .. }
        | Step::Wait { .. } => Mentions::default(),
    }
}
