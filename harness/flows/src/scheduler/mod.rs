//! The scheduler: filters AvailabilityZone, Capacity and Capabilities, weigher Capacity.
//!
//! [`choose`] is a pure function of a request and the reported states. Its [`Decision`] holds both beside the
//! verdict on every candidate, so that a checker can compute it again from the record alone (SCH-007).

mod capability;
mod capacity;
mod state;

use std::collections::BTreeMap;
use std::time::Duration;

use sanbench_api::{Capability, PoolStats, VolumeId};
use serde::Serialize;

pub use capability::satisfies;
pub use capacity::{Factors, factors, fits};
pub(crate) use state::Scheduler;

/// What is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A new volume.
    CreateVolume,
    /// A snapshot beside its volume.
    CreateSnapshot,
    /// Growth of a volume where it is.
    ExtendVolume,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// Operation.
    pub operation: Operation,
    /// The volume.
    pub volume: VolumeId,
    /// GiB asked for in addition.
    pub size_gib: u64,
    /// Extra specs of its type.
    pub extra_specs: BTreeMap<String, String>,
    /// Zone asked for.
    pub availability_zone: Option<String>,
    /// `host@backend` or `host@backend#pool` that it must be on.
    pub pinned: Option<String>,
    /// The volume is attached.
    pub attached: bool,
    /// Pools that failed this request before.
    pub attempted: Vec<String>,
}

impl Request {
    fn wants_thin(&self) -> bool {
        self.extra_specs.get("provisioning:type").is_none_or(|t| t != "thick")
    }
}

/// One pool as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolState {
    /// `host@backend#pool`.
    pub host: String,
    /// Zone of the service.
    pub zone: String,
    /// Enabled and up.
    pub enabled: bool,
    /// The name that types pin to.
    pub volume_backend_name: String,
    /// Vendor.
    pub vendor_name: String,
    /// Driver version.
    pub driver_version: String,
    /// Protocol.
    pub storage_protocol: String,
    /// The pool's report.
    pub stats: PoolStats,
    /// GiB promised since that report.
    pub consumed_gib: f64,
    /// Sum of the sizes of its volumes in GiB.
    pub allocated_gib: f64,
}

/// The verdict on one pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// `host@backend#pool`.
    pub host: String,
    /// Filter that rejected it and why, as `Filter: reason`.
    pub rejected: Option<String>,
    /// Raw weight: what can still be promised, in GiB; -1 when not known.
    pub raw_weight: f64,
    /// Normalised weight times multiplier.
    pub weight: f64,
}

/// A decision with all it was made from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// When.
    pub at: Duration,
    /// Request.
    pub request: Request,
    /// States at that time, in order of host.
    pub states: Vec<PoolState>,
    /// Verdicts, in the same order.
    pub candidates: Vec<Candidate>,
    /// Options in force.
    pub options: Options,
    /// The pool, if there is one.
    pub chosen: Option<String>,
}

impl Decision {
    /// Why nothing was found, for people.
    pub fn reasons(&self) -> String {
        if self.candidates.is_empty() {
            return "no back end reports".into();
        }
        let all: Vec<_> = self
            .candidates
            .iter()
            .map(|c| format!("{} ({})", c.host, c.rejected.as_deref().unwrap_or("not pinned")))
            .collect();
        all.join(", ")
    }
}

/// Options of the weigher and the filters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Options {
    /// `capacity_weight_multiplier`.
    pub multiplier: f64,
    /// `max_over_subscription_ratio` for pools without one.
    pub default_ratio: f64,
}

/// Chooses a pool. States are judged in the given order; a tie goes to the first.
pub fn choose(request: &Request, states: &[PoolState], options: Options, at: Duration) -> Decision {
    let mut candidates: Vec<Candidate> = states
        .iter()
        .map(|state| {
            let f = factors(
                &state.stats,
                state.consumed_gib,
                state.allocated_gib,
                request.wants_thin(),
                options.default_ratio,
            );
            Candidate {
                host: state.host.clone(),
                rejected: filter(request, state, &f).err(),
                raw_weight: raw_weight(&f, options.multiplier),
                weight: 0.0,
            }
        })
        .collect();
    weigh(&mut candidates, options.multiplier);
    // Pinning deletes candidates after weighing; the pinned pool still had to pass the filters.
    let mut best: Option<&Candidate> = None;
    for candidate in candidates.iter().filter(|c| c.rejected.is_none() && pinned_here(request, &c.host)) {
        if best.is_none_or(|b| candidate.weight > b.weight) {
            best = Some(candidate);
        }
    }
    let chosen = best.map(|c| c.host.clone());
    Decision { at, request: request.clone(), states: states.to_vec(), candidates, options, chosen }
}

fn pinned_here(request: &Request, host: &str) -> bool {
    match &request.pinned {
        None => true,
        Some(pin) if pin.contains('#') => pin == host,
        Some(pin) => host.split('#').next() == Some(pin),
    }
}

fn filter(request: &Request, state: &PoolState, f: &Factors) -> Result<(), String> {
    if !state.enabled {
        return Err("Service: disabled or down".into());
    }
    if request.attempted.contains(&state.host) {
        return Err("Retry: failed before".into());
    }
    if request.availability_zone.as_ref().is_some_and(|zone| *zone != state.zone) {
        return Err(format!("AvailabilityZone: {}", state.zone));
    }
    fits(&state.stats, f, gib(request.size_gib)).map_err(|why| format!("Capacity: {why}"))?;
    if request.operation == Operation::ExtendVolume && request.attached && !state.stats.online_extend_support
    {
        return Err("Capabilities: no extend while attached".into());
    }
    for (key, requirement) in &request.extra_specs {
        let key = match key.split_once(':') {
            Some(("capabilities", rest)) => rest,
            Some(_) => continue,
            None => key,
        };
        let held = capability(state, key).is_some_and(|value| satisfies(&value, requirement));
        if !held {
            return Err(format!("Capabilities: {key} is not {requirement:?}"));
        }
    }
    Ok(())
}

/// GiB as the report's unit; exact up to 2^53.
pub(crate) fn gib(value: u64) -> f64 {
    u32::try_from(value).map_or(f64::from(u32::MAX), f64::from)
}

/// The capability under a colon-separated key; protocol spellings all match (bug 1966103).
fn capability(state: &PoolState, key: &str) -> Option<Capability> {
    let known = match key {
        "volume_backend_name" => Some(Capability::Text(state.volume_backend_name.clone())),
        "vendor_name" => Some(Capability::Text(state.vendor_name.clone())),
        "driver_version" => Some(Capability::Text(state.driver_version.clone())),
        "pool_name" => Some(Capability::Text(state.stats.pool_name.clone())),
        "storage_protocol" => Some(protocol(&state.storage_protocol)),
        "multiattach" => Some(Capability::Bool(state.stats.multiattach)),
        "thin_provisioning_support" => Some(Capability::Bool(state.stats.thin_provisioning_support)),
        "thick_provisioning_support" => Some(Capability::Bool(state.stats.thick_provisioning_support)),
        "online_extend_support" => Some(Capability::Bool(state.stats.online_extend_support)),
        "reserved_percentage" => Some(Capability::Number(f64::from(state.stats.reserved_percentage))),
        _ => None,
    };
    if let Some(own) = state.stats.capabilities.get(key) {
        return Some(own.clone());
    }
    if known.is_some() {
        return known;
    }
    let mut parts = key.split(':');
    let mut at = state.stats.capabilities.get(parts.next()?)?;
    for part in parts {
        let Capability::Map(map) = at else { return None };
        at = map.get(part)?;
    }
    Some(at.clone())
}

fn protocol(word: &str) -> Capability {
    if word.eq_ignore_ascii_case("iscsi") {
        return Capability::List(vec![Capability::Text("iSCSI".into()), Capability::Text("iscsi".into())]);
    }
    Capability::Text(word.to_owned())
}

fn raw_weight(f: &Factors, multiplier: f64) -> f64 {
    match (f.total, f.free) {
        (Some(_), Some(_)) => f.virtual_free,
        // Unknown and infinite rank last, whichever way the multiplier turns (SCH-004).
        _ if multiplier > 0.0 => -1.0,
        _ => f64::INFINITY,
    }
}

fn weigh(candidates: &mut [Candidate], multiplier: f64) {
    let finite = || candidates.iter().filter(|c| c.rejected.is_none()).map(|c| c.raw_weight);
    let (low, high) = finite()
        .filter(|w| w.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), w| (low.min(w), high.max(w)));
    let (low, high) = if low.is_finite() { (low, high) } else { (0.0, 0.0) };
    let beyond = if high > low { high + 100.0 * (high - low) } else { high + 10_000.0 };
    let top = if finite().any(f64::is_infinite) { beyond } else { high };
    for candidate in candidates.iter_mut().filter(|c| c.rejected.is_none()) {
        if candidate.raw_weight.is_infinite() {
            candidate.raw_weight = beyond;
        }
        let spread = top - low;
        let normal = if spread > 0.0 { (candidate.raw_weight - low) / spread } else { 0.0 };
        candidate.weight = multiplier * normal;
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
