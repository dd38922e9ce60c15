//! What the scheduler remembers between decisions: the last report of each back end, and what was promised since.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sanbench_api::{BackendStats, VolumeId};

use super::{Decision, Options, PoolState, Request, choose, gib};

/// Decisions kept for the checker.
const MAX_DECISIONS: usize = 10_000;

#[derive(Debug, Clone)]
struct Service {
    zone: String,
    enabled: bool,
    up: bool,
    report: Option<(BackendStats, Duration)>,
    stale: bool,
    /// GiB promised since the report, by pool.
    consumed: BTreeMap<String, f64>,
}

/// Reports, promises, decisions.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    services: BTreeMap<String, Service>,
    /// Promises whose object a report may not show yet: they survive it (bug 1751057).
    in_flight: BTreeMap<Promise, Flying>,
    next_promise: u64,
    /// Orders the beginnings of reports and the ends of promises.
    clock: u64,
    decisions: Vec<Decision>,
}

/// A promise of capacity.
pub(crate) type Promise = (VolumeId, u64);

#[derive(Debug, Clone)]
struct Flying {
    host: String,
    size_gib: u64,
    /// When the object came into being, if it did.
    kept: Option<u64>,
}

impl Scheduler {
    pub(crate) fn add(&mut self, backend: &str, zone: &str) {
        let service = Service {
            zone: zone.to_owned(),
            enabled: true,
            up: false,
            report: None,
            stale: true,
            consumed: BTreeMap::new(),
        };
        self.services.insert(backend.to_owned(), service);
    }

    pub(crate) fn enable(&mut self, backend: &str, enabled: bool) {
        if let Some(service) = self.services.get_mut(backend) {
            service.enabled = enabled;
        }
    }

    pub(crate) fn set_up(&mut self, backend: &str, up: bool) {
        if let Some(service) = self.services.get_mut(backend) {
            service.up = up;
        }
    }

    pub(crate) fn is_up(&self, backend: &str) -> bool {
        self.services.get(backend).is_some_and(|s| s.up)
    }

    /// The next placement must ask this back end again.
    pub(crate) fn mark_stale(&mut self, backend: &str) {
        if let Some(service) = self.services.get_mut(backend) {
            service.stale = true;
        }
    }

    /// Back ends that must report before a placement.
    pub(crate) fn due(&self, now: Duration, max_age: Duration) -> BTreeSet<String> {
        let old = |s: &Service| s.stale || s.report.as_ref().is_none_or(|(_, at)| now > *at + max_age);
        self.services.iter().filter(|(_, s)| s.enabled && s.up && old(s)).map(|(n, _)| n.clone()).collect()
    }

    /// To be called before a back end is asked; the ticket goes to [`Scheduler::report`].
    pub(crate) fn begin_report(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Takes a report made at `at`; an older one than the last is ignored. Promises whose object existed when the
    /// report was asked for are in its numbers, all others are added to them.
    pub(crate) fn report(&mut self, backend: &str, stats: BackendStats, ticket: u64, at: Duration) {
        let Some(service) = self.services.get_mut(backend) else { return };
        if service.report.as_ref().is_some_and(|(_, last)| *last > at) {
            return;
        }
        service.report = Some((stats, at));
        service.stale = false;
        service.consumed.clear();
        let here = |f: &Flying| f.host.split('#').next() == Some(backend);
        self.in_flight.retain(|_, f| !here(f) || f.kept.is_none_or(|kept| kept > ticket));
        for flying in self.in_flight.values().filter(|f| here(f)) {
            *service.consumed.entry(flying.host.clone()).or_default() += gib(flying.size_gib);
        }
    }

    fn states(&self, allocated: &BTreeMap<String, u64>) -> Vec<PoolState> {
        let mut states = Vec::new();
        for (name, service) in &self.services {
            let Some((stats, _)) = &service.report else { continue };
            for pool in &stats.pools {
                let host = format!("{name}#{}", pool.pool_name);
                states.push(PoolState {
                    zone: service.zone.clone(),
                    enabled: service.enabled && service.up,
                    volume_backend_name: stats.volume_backend_name.clone(),
                    vendor_name: stats.vendor_name.clone(),
                    driver_version: stats.driver_version.clone(),
                    storage_protocol: stats.storage_protocol.clone(),
                    stats: pool.clone(),
                    consumed_gib: service.consumed.get(&host).copied().unwrap_or(0.0),
                    allocated_gib: gib(allocated.get(&host).copied().unwrap_or(0)),
                    host,
                });
            }
        }
        states
    }

    /// Decides and, if a pool was found, promises the capacity.
    pub(crate) fn place(
        &mut self,
        request: &Request,
        allocated: &BTreeMap<String, u64>,
        options: Options,
        at: Duration,
    ) -> (Decision, Option<Promise>) {
        let decision = choose(request, &self.states(allocated), options, at);
        if self.decisions.len() < MAX_DECISIONS {
            self.decisions.push(decision.clone());
        }
        let promise = decision.chosen.clone().map(|host| {
            self.consume(&host, gib(request.size_gib));
            let promise = (request.volume, self.next_promise);
            self.next_promise += 1;
            self.in_flight.insert(promise, Flying { host, size_gib: request.size_gib, kept: None });
            promise
        });
        (decision, promise)
    }

    fn consume(&mut self, host: &str, delta: f64) {
        let backend = host.split('#').next().unwrap_or(host);
        if let Some(service) = self.services.get_mut(backend) {
            let consumed = service.consumed.entry(host.to_owned()).or_default();
            *consumed = (*consumed + delta).max(0.0);
        }
    }

    /// The object exists now: reports asked for from now on show it.
    pub(crate) fn kept(&mut self, promise: Promise) {
        self.clock += 1;
        if let Some(flying) = self.in_flight.get_mut(&promise) {
            flying.kept = Some(self.clock);
        }
    }

    /// The object was not made.
    pub(crate) fn dropped(&mut self, promise: Promise) {
        if let Some(flying) = self.in_flight.remove(&promise) {
            self.consume(&flying.host, -gib(flying.size_gib));
        }
    }

    pub(crate) fn decisions(&self) -> Vec<Decision> {
        self.decisions.clone()
    }
}
