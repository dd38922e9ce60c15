//! From a run that was recorded whole to the story of its failure: what the failure page and `replay --trace` show.
//!
//! | module | what it is for |
//! |---|---|
//! | `history` | steps, lanes, events and outages out of the history |
//! | `http` | management calls out of captured payload |
//! | `pdu` | iSCSI PDUs out of captured payload, with CDBs, sense and block stamps in words |
//! | `alike` | defects of the catalogue that show themselves like this |
//! | `look` | which event is the first that is not as it should be, and what was compared |
//!
//! Everything here is told from outside, by what the history and the wire say; the models have judged already.

mod alike;
mod history;
mod http;
mod look;
mod pdu;

use std::collections::BTreeMap;
use std::net::IpAddr;

use sanbench_reports::anatomy::{Anatomy, Event, Lane, Role, Tone};
use sanbench_runner::CaseOutcome;
use sanbench_runner::plan::Plan;
use sanbench_world::Segment;

use crate::registry::Registry;

/// Exchanges and PDUs that are kept of a failing step, from its end.
const SHOWN: usize = 80;

/// Everything that is known of a run.
pub(crate) struct Recorded<'a> {
    /// The plan that was played.
    pub(crate) plan: &'a Plan,
    /// What came of it, with its history.
    pub(crate) outcome: &'a CaseOutcome,
    /// All payload.
    pub(crate) segments: &'a [Segment],
    /// Which of the findings to tell of.
    pub(crate) finding: usize,
    /// Whose address is whose.
    pub(crate) names: &'a BTreeMap<IpAddr, String>,
}

/// Lanes by name, made as they are needed.
struct Lanes(Vec<Lane>);

impl Lanes {
    fn of(&mut self, name: &str, role: Role) -> usize {
        match self.0.iter().position(|lane| lane.name == name) {
            Some(index) => index,
            None => {
                self.0.push(Lane { name: name.to_owned(), role });
                self.0.len() - 1
            }
        }
    }
}

/// Tells how the failure came about.
pub(crate) fn tell(registry: &Registry, recorded: &Recorded<'_>) -> Anatomy {
    let finding = recorded.outcome.case.findings.get(recorded.finding);
    let mut lanes = Lanes(Vec::new());
    lanes.of("plan", Role::Caller);
    let mut anatomy = Anatomy::default();
    history::read(recorded, finding.and_then(|f| f.step), &mut lanes, &mut anatomy);
    let hit = anatomy.hit().map_or((0, u64::MAX), |step| (step.at_us, step.until_us));
    let calls = http::exchanges(recorded.segments);
    let pdus = pdu::all(recorded.segments, recorded.names);
    for call in &calls {
        let lane = lanes.of("driver", Role::Driver);
        anatomy.events.push(Event {
            lane,
            at_us: call.at_us,
            until_us: call.answered_us.unwrap_or(call.at_us),
            text: format!("{} -> {}", call.call, call.status),
            tone: if call.failed { Tone::Refused } else { Tone::Plain },
        });
    }
    for seen in &pdus {
        let lane = lanes.of(&seen.pdu.path, Role::Path);
        let tone = match (seen.pdu.wrong, seen.payload.is_empty()) {
            (true, _) => Tone::Refused,
            (false, false) => Tone::Data,
            (false, true) => Tone::Plain,
        };
        let text = format!("{} {}", seen.pdu.opcode, seen.pdu.what);
        anatomy.events.push(Event { lane, at_us: seen.pdu.at_us, until_us: seen.pdu.at_us, text, tone });
    }
    let inside = |at: u64| at >= hit.0 && at <= hit.1;
    let calls: Vec<_> = calls.into_iter().filter(|call| inside(call.at_us)).collect();
    let pdus: Vec<_> = pdus.into_iter().filter(|seen| inside(seen.pdu.at_us)).collect();
    if let Some(finding) = finding {
        look::compare(recorded, finding, &pdus, &mut anatomy);
        look::diverge(finding, &calls, &pdus, &lanes.0, &mut anatomy);
        anatomy.defects = alike::alike(registry, &finding.requirement);
    }
    let (calls_left, pdus_left) = (calls.len().saturating_sub(SHOWN), pdus.len().saturating_sub(SHOWN));
    anatomy.left_out = (calls_left + pdus_left) as u64;
    anatomy.exchanges = calls.into_iter().skip(calls_left).collect();
    anatomy.pdus = pdus.into_iter().skip(pdus_left).map(|seen| seen.pdu).collect();
    order(lanes, &mut anatomy);
    anatomy
}

/// Lanes from the caller to the array, events in the order of time.
fn order(lanes: Lanes, anatomy: &mut Anatomy) {
    let mut sorted: Vec<(usize, Lane)> = lanes.0.into_iter().enumerate().collect();
    sorted.sort_by(|(_, a), (_, b)| (a.role, &a.name).cmp(&(b.role, &b.name)));
    for event in &mut anatomy.events {
        event.lane = sorted.iter().position(|(old, _)| *old == event.lane).unwrap_or(0);
    }
    anatomy.lanes = sorted.into_iter().map(|(_, lane)| lane).collect();
    anatomy.sort_events();
}
