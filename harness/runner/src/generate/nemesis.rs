//! The one table of fault kinds; `points` places them, `weave` puts them between the steps of a plan.
//!
//! A kind is what is broken, the promise that must hold all the same, and how it is mended. What may fail under it is
//! decided when it fires: `execute/tolerance.rs` looks at the points that fired and at the outages in force.

mod points;
mod weave;

use sanbench_world::Dice;

use crate::plan::{FaultAction, PlacedFault, Plan, Side, Source, Step, Way};
use crate::story::{Name, Size};
use points::{
    DATABASE, any_host, arm, arrival, copies, fault, flow, looks, message, one, refusals, several_paths,
};

pub(super) use points::{OUTLASTS, relapsing};
pub(super) use weave::drawn;
pub use weave::weave;

/// Where a kind can be produced.
pub const SIM: &str = "sim";
/// Where a kind can be produced.
pub const SIM_LOOPBACK: &str = "sim, loopback";
/// Where a kind can be produced.
pub const EVERYWHERE: &str = "sim, loopback, profile";

/// A kind of fault.
#[derive(Debug, Clone, Copy)]
pub struct FaultKind {
    /// Its name, for profiles.
    pub name: &'static str,
    /// What the system must keep under it.
    pub promise: &'static str,
    /// Environments in which it can be produced.
    pub environments: &'static str,
    /// Operations under it must succeed all the same; otherwise they may fail and be tried again.
    pub masked: bool,
    /// How it begins: the steps for a place before `next`; none when it is not possible there.
    pub begin: fn(&mut Dice, &Plan, &Step) -> Vec<Step>,
    /// How it ends, some steps later; nothing for faults that are over by themselves.
    pub end: fn(&[Step]) -> Vec<Step>,
}

/// Milliseconds that a call takes which is never answered.
pub const HANGS: u64 = 1_000_000;

/// The kind that ends sessions of the management API.
const SESSION_OVER: &str = "session-over";

/// Every kind. Outages are those whose `end` mends something.
pub const KINDS: &[FaultKind] = &[
    FaultKind {
        name: "call-refused",
        promise: "A management call that the array cannot take now is repeated, or fails and leaves nothing.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, _, next| refusals(d, next),
        end: over,
    },
    FaultKind {
        name: "reply-lost",
        promise: "After a lost answer nothing is made twice and nothing made is forgotten.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, _, next| arm(d, "rest.after:", next, FaultAction::DropReply),
        end: over,
    },
    FaultKind {
        name: "call-slow",
        promise: "A slow answer only costs time.",
        environments: SIM_LOOPBACK,
        masked: true,
        begin: |d, _, next| {
            let ms = 50 + d.below(3000);
            arm(d, "rest.before:", next, FaultAction::Delay(ms))
        },
        end: over,
    },
    FaultKind {
        name: "answer-broken",
        promise: "An answer that is cut, no answer, of other types, empty or too long, of a later version, or a server's error, is never \
                  believed; what was done behind it is found.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, _, next| {
            use FaultAction::*;
            let all =
                [Truncate, Garbage, Mistype, Blank, Overlong, Oversize, Newer, Close, Http(500), Http(503)];
            let action = all[d.below(all.len() as u64) as usize];
            arm(d, "rest.after:", next, action)
        },
        end: over,
    },
    FaultKind {
        name: "answer-stale",
        promise: "A lookup that is behind the truth costs at most the operation: nothing is given away, lost or left over by it.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, _, next| {
            let looks = looks(next);
            match looks.len() as u64 {
                0 => Vec::new(),
                n => {
                    let point = format!("rest.after:{}", looks[d.below(n) as usize]);
                    fault(&point, 1 + d.below(2), FaultAction::Stale)
                }
            }
        },
        end: over,
    },
    FaultKind {
        name: SESSION_OVER,
        promise: "A session of the management API that ends under a call is made anew, and the call is carried out once.",
        environments: SIM_LOOPBACK,
        masked: true,
        begin: |d, _, next| arm(d, "rest.before:", next, FaultAction::ExpireSession),
        end: over,
    },
    FaultKind {
        name: "step-fails",
        promise: "A flow that fails at any of its steps undoes those before; nothing is left over.",
        environments: EVERYWHERE,
        masked: false,
        begin: |d, _, next| flow(d, next, FaultAction::Fail),
        end: over,
    },
    FaultKind {
        name: "message-lost",
        promise: "A workflow whose next message is lost stands still; it is finished or undone as soon as somebody looks.",
        environments: EVERYWHERE,
        masked: false,
        begin: |d, _, next| message(d, next, FaultAction::Lose),
        end: over,
    },
    FaultKind {
        name: "message-twice",
        promise: "A message that arrives twice is carried out once.",
        environments: EVERYWHERE,
        masked: true,
        begin: |d, _, next| message(d, next, FaultAction::Twice),
        end: over,
    },
    FaultKind {
        name: "database-busy",
        promise: "A state database that somebody else holds for a moment is asked again; nothing fails.",
        environments: EVERYWHERE,
        masked: true,
        begin: |d, _, _| {
            let (first, many) = (1 + d.below(40), 1 + d.below(2));
            (first..first + many).flat_map(|nth| fault(DATABASE, nth, FaultAction::Fail)).collect()
        },
        end: over,
    },
    FaultKind {
        name: "job-slow",
        promise: "Background work that takes its time is waited for.",
        environments: SIM_LOOPBACK,
        masked: true,
        begin: |d, _, next| {
            let ms = 500 + d.below(3000);
            if copies(next) { one(d, &["job.*"], FaultAction::Delay(ms), 6) } else { Vec::new() }
        },
        end: over,
    },
    FaultKind {
        name: "job-fails",
        promise: "Background work that fails leaves its source whole and nothing over; it can be begun again.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, _, next| if copies(next) { one(d, &["job.*"], FaultAction::Fail, 6) } else { Vec::new() },
        end: over,
    },
    FaultKind {
        name: "login-fails",
        promise: "A failed login is tried again, or the connect fails and leaves the host as it was.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, _, _| one(d, &["target.login", "initiator.login"], FaultAction::Fail, 2),
        end: over,
    },
    FaultKind {
        name: "connect-fails",
        promise: "A failed connect leaves the host as it was; a failed disconnect can be repeated.",
        environments: EVERYWHERE,
        masked: false,
        begin: |d, _, _| one(d, &["connector.connect", "connector.disconnect"], FaultAction::Fail, 1),
        end: over,
    },
    FaultKind {
        name: "status-lost",
        promise: "A command whose status is lost may have taken effect or not, until a read decides.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, _, _| one(d, &["target.command.after"], FaultAction::DropReply, 6),
        end: over,
    },
    FaultKind {
        name: "command-fails",
        promise: "A command that fails is retried or reported; no acknowledged write is lost.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, _, _| one(d, &["target.command.after"], FaultAction::Fail, 6),
        end: over,
    },
    FaultKind {
        name: "command-slow",
        promise: "A slow command only costs time.",
        environments: SIM_LOOPBACK,
        masked: true,
        begin: |d, _, _| {
            let ms = 10 + d.below(2000);
            one(d, &["target.command.before", "target.command.after"], FaultAction::Delay(ms), 6)
        },
        end: over,
    },
    FaultKind {
        name: "busy",
        promise: "BUSY and TASK SET FULL are waited out; the command is carried out once and nothing fails.",
        environments: SIM_LOOPBACK,
        masked: true,
        begin: |d, _, _| {
            let action = if d.chance(1, 2) { FaultAction::ScsiBusy } else { FaultAction::TaskSetFull };
            // One refusal, or several commands in a row: also the second try is refused.
            let (first, many) = (1 + d.below(6), 1 + d.below(3));
            let point = arrival(d);
            (first..first + many).flat_map(|nth| fault(point, nth, action)).collect()
        },
        end: over,
    },
    FaultKind {
        name: "reservation-conflict",
        promise: "A command that meets somebody else's reservation has done nothing; whoever sent it is told.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, _, _| {
            let point = arrival(d);
            fault(point, 1 + d.below(6), FaultAction::ReservationConflict)
        },
        end: over,
    },
    FaultKind {
        name: "lun-not-ready",
        promise: "A logical unit that is offline for a moment, over one path or all, loses nothing that it acknowledged.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, _, _| {
            let (first, many) = (1 + d.below(6), 1 + d.below(4));
            let point = arrival(d);
            (first..first + many).flat_map(|nth| fault(point, nth, FaultAction::NotReady)).collect()
        },
        end: over,
    },
    FaultKind {
        name: "unit-attention",
        promise: "A unit attention is news, not a failure: the command is sent again and is carried out once.",
        environments: SIM_LOOPBACK,
        masked: true,
        begin: |d, _, _| {
            let point = arrival(d);
            fault(point, 1 + d.below(6), FaultAction::UnitAttention)
        },
        end: over,
    },
    FaultKind {
        name: "lun-reset",
        promise: "A logical unit that somebody else resets loses its tasks, not its data: what was under way is sent again.",
        environments: SIM_LOOPBACK,
        masked: true,
        begin: |d, _, _| {
            let point = arrival(d);
            fault(point, 1 + d.below(6), FaultAction::LunReset)
        },
        end: over,
    },
    FaultKind {
        name: "path-cut",
        promise: "While one path is left, I/O goes on; a path that returns is used again.",
        environments: SIM,
        masked: true,
        begin: |d, plan, _| {
            let hosts: Vec<&Name> =
                plan.site.hosts.iter().filter(|(_, paths)| *paths > 1).map(|(name, _)| name).collect();
            match hosts.len() as u64 {
                0 => Vec::new(),
                n => {
                    let host = hosts[d.below(n) as usize].clone();
                    vec![Step::Cut { host, path: 1 + d.below(2), way: Way::Both }]
                }
            }
        },
        end: mend,
    },
    FaultKind {
        name: "path-one-way",
        promise: "A path that carries requests and no answers, or answers and no requests, counts as lost; I/O goes on.",
        environments: SIM,
        masked: true,
        begin: |d, plan, _| match several_paths(d, plan) {
            None => Vec::new(),
            Some(host) => {
                let way = if d.chance(1, 2) { Way::ToArray } else { Way::ToHost };
                vec![Step::Cut { host, path: 1 + d.below(2), way }]
            }
        },
        end: mend,
    },
    FaultKind {
        name: "path-slow",
        promise: "A slow path, also one of tiny segments, only costs time.",
        environments: SIM,
        masked: true,
        begin: |d, plan, _| match any_host(d, plan) {
            None => Vec::new(),
            Some(host) => {
                let segment = [0, 0, 7, 48, 512][d.below(5) as usize];
                vec![Step::Slow { host, path: d.below(3), ms: 1 + d.below(300), segment, loss: 0 }]
            }
        },
        end: mend,
    },
    FaultKind {
        name: "connection-reset",
        promise: "A connection that is reset is made anew and its session reinstated; what was under way is sent again.",
        environments: SIM,
        masked: true,
        begin: |d, plan, _| match any_host(d, plan) {
            None => Vec::new(),
            Some(host) => vec![Step::Reset { host, path: d.below(3) }],
        },
        end: over,
    },
    FaultKind {
        name: "half-open",
        promise: "A connection of which one side knows nothing is found and made anew; no acknowledged write is lost.",
        environments: SIM,
        masked: true,
        begin: |d, plan, _| match any_host(d, plan) {
            None => Vec::new(),
            Some(host) => {
                let side = if d.chance(1, 2) { Side::Array } else { Side::Host };
                vec![Step::HalfOpen { host, path: d.below(3), side }]
            }
        },
        end: over,
    },
    FaultKind {
        name: "host-cut-off",
        promise: "Without any path I/O waits or fails; once a path is back everything works again.",
        environments: SIM,
        masked: false,
        begin: |d, plan, _| match plan.site.hosts.len() as u64 {
            0 => Vec::new(),
            n => {
                let host = plan.site.hosts[d.below(n) as usize].0.clone();
                vec![Step::Cut { host, path: 0, way: Way::Both }]
            }
        },
        end: mend,
    },
    FaultKind {
        name: "host-reboot",
        promise: "A host that loses its power has its volumes again once it is back; nothing of it is in the way of anybody.",
        environments: SIM,
        masked: true,
        begin: |d, plan, _| match any_host(d, plan) {
            None => Vec::new(),
            Some(host) => vec![Step::Reboot { host, off: [1, 30, 120][d.below(3) as usize] }],
        },
        end: over,
    },
    FaultKind {
        name: "controller-fails",
        promise: "The other controller serves; nothing that was acknowledged is lost.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, _, _| vec![Step::FailController { controller: d.below(2) }],
        end: mend,
    },
    FaultKind {
        name: "pool-full",
        promise: "What needs space that is not there is refused and changes nothing; with space it works again.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, plan, _| match plan.site.pools.len() as u64 {
            0 => Vec::new(),
            n => {
                let pool = plan.site.pools[d.below(n) as usize].0.clone();
                vec![Step::Fill { pool, leave: Size(d.below(4) << 30) }]
            }
        },
        end: mend,
    },
    FaultKind {
        name: "power-loss",
        promise: "What a flush acknowledged survives; what was not flushed is old or new, block by block.",
        environments: SIM_LOOPBACK,
        masked: true,
        begin: |_, _, _| vec![Step::PowerLoss],
        end: over,
    },
    FaultKind {
        name: "service-restart",
        promise: "A volume service that is restarted goes on where it was.",
        environments: EVERYWHERE,
        masked: true,
        begin: |_, _, _| vec![Step::Restart { options: Default::default() }],
        end: over,
    },
    FaultKind {
        name: "image-cut",
        promise: "An image whose stream breaks off is not taken for whole.",
        environments: EVERYWHERE,
        masked: false,
        begin: |_, _, next| match next {
            Step::Create { source: Source::Image(_), .. } | Step::Reimage { .. } => {
                fault("image.read", 1, FaultAction::DropReply)
            }
            _ => Vec::new(),
        },
        end: over,
    },
    FaultKind {
        name: "call-hangs",
        promise: "A management call that is not answered is given up in time.",
        environments: SIM,
        masked: false,
        begin: |d, _, next| arm(d, "rest.before:", next, FaultAction::Delay(HANGS)),
        end: over,
    },
    FaultKind {
        name: "login-busy",
        promise: "A login that the target cannot serve just then is tried again, and succeeds.",
        environments: SIM_LOOPBACK,
        masked: true,
        begin: |_, _, _| {
            let busy = |nth| PlacedFault {
                point: "target.login".to_owned(),
                nth,
                action: FaultAction::Fail,
                masked: true,
                most: None,
            };
            (1..3).map(|nth| Step::Arm { fault: busy(nth) }).collect()
        },
        end: over,
    },
    FaultKind {
        name: "service-crash",
        promise: "A volume service that crashes at any step of a flow finishes or undoes it once it is back.",
        environments: SIM_LOOPBACK,
        masked: false,
        begin: |d, _, next| flow(d, next, FaultAction::Crash),
        end: come_back,
    },
    FaultKind {
        name: "path-lossy",
        promise: "A path that loses segments, which TCP sends again, only costs time.",
        environments: SIM_LOOPBACK,
        masked: true,
        begin: |d, plan, _| match any_host(d, plan) {
            None => Vec::new(),
            Some(host) => {
                let loss = [1, 5, 10, 20][d.below(4) as usize];
                vec![Step::Slow { host, path: d.below(3), ms: 1 + d.below(20), segment: 0, loss }]
            }
        },
        end: mend,
    },
    FaultKind {
        name: "initiator-restart",
        promise: "A host whose initiator is killed has its volumes again once it is back; nothing of it is in the way of anybody.",
        environments: SIM,
        masked: true,
        begin: |d, plan, _| match any_host(d, plan) {
            None => Vec::new(),
            Some(host) => vec![Step::RestartInitiator { host }],
        },
        end: over,
    },
];

/// The kind mends itself.
fn over(_: &[Step]) -> Vec<Step> {
    Vec::new()
}

/// What has crashed is started again.
fn come_back(begun: &[Step]) -> Vec<Step> {
    if begun.is_empty() { Vec::new() } else { vec![Step::Restart { options: Default::default() }] }
}

/// The counterparts of outages.
fn mend(begun: &[Step]) -> Vec<Step> {
    begun
        .iter()
        .filter_map(|step| match step {
            Step::Cut { host, path, .. } | Step::Slow { host, path, .. } => {
                Some(Step::Heal { host: host.clone(), path: *path })
            }
            Step::Fill { pool, .. } => Some(Step::Drain { pool: pool.clone() }),
            Step::FailController { controller } => Some(Step::RestoreController { controller: *controller }),
            _ => None,
        })
        .collect()
}

impl FaultKind {
    /// It lasts until it is mended.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        std::ptr::fn_addr_eq(self.end, mend as fn(&[Step]) -> Vec<Step>)
    }
}
