//! Traffic policies (QoS): upper limits of commands and bytes per second for sets of LUNs.
//!
//! The target asks [`Array::admit`] for each command that moves data, and lets its answer wait as long as it is told. Each
//! limit is a token bucket in the form of a clock: the time up to which its capacity is sold. A command may run ahead of that
//! clock by [`BURST`]. The LUNs of one policy share its limits.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::time::Duration;

use crate::Array;
use crate::object::DeviceId;

/// How far a limit may be overdrawn: commands within it do not wait.
const BURST: Duration = Duration::from_millis(50);
/// Longest wait that one command is told.
const LONGEST: Duration = Duration::from_secs(3600);

/// Upper limits for the LUNs of one policy together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// LUNs that it limits.
    pub luns: BTreeSet<u64>,
    /// Commands a second.
    pub commands: Option<NonZeroU64>,
    /// Bytes a second.
    pub bytes: Option<NonZeroU64>,
    /// Counts reads.
    pub reads: bool,
    /// Counts writes.
    pub writes: bool,
}

/// A limit and the time up to which it is sold.
#[derive(Debug)]
struct Bucket {
    rate: NonZeroU64,
    sold: Duration,
}

impl Bucket {
    fn new(rate: NonZeroU64) -> Self {
        Self { rate, sold: Duration::ZERO }
    }

    /// Sells `n` units; answers how long the buyer has to wait.
    fn take(&mut self, now: Duration, n: u64) -> Duration {
        let nanos = u128::from(n) * 1_000_000_000 / u128::from(self.rate.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(LONGEST);
        let ahead = self.sold.max(now) - now;
        let wait = ahead.saturating_sub(BURST);
        if ahead < LONGEST {
            self.sold = now + ahead + cost;
        }
        wait
    }
}

#[derive(Debug)]
struct Limiter {
    policy: TrafficPolicy,
    commands: Option<Bucket>,
    bytes: Option<Bucket>,
}

/// The policies in force.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    limiters: BTreeMap<u64, Limiter>,
    /// LUN -> its policies.
    by_lun: BTreeMap<u64, Vec<u64>>,
}

impl Array {
    /// Puts a traffic policy in force under a number of the caller's, in place of the one that was; none takes it away.
    pub fn set_traffic_policy(&mut self, number: u64, policy: Option<TrafficPolicy>) {
        let traffic = &mut self.traffic;
        let same = traffic.limiters.get(&number).map(|limiter| &limiter.policy) == policy.as_ref();
        if same {
            return; // What is sold stays sold.
        }
        traffic.limiters.remove(&number);
        if let Some(policy) = policy {
            let commands = policy.commands.map(Bucket::new);
            let bytes = policy.bytes.map(Bucket::new);
            traffic.limiters.insert(number, Limiter { policy, commands, bytes });
        }
        traffic.by_lun.clear();
        for (number, limiter) in &traffic.limiters {
            for lun in &limiter.policy.luns {
                traffic.by_lun.entry(*lun).or_default().push(*number);
            }
        }
    }

    /// Planted: the policies of the other LUNs that the hosts of this one see.
    fn policies_of_hosts(&self, lun: u64) -> Vec<u64> {
        let device = DeviceId::Lun(lun);
        let hosts = self.hosts.iter().filter(|host| self.host_lun_id(host.id, device).is_some());
        let others = hosts.flat_map(|host| self.host_luns(host.id)).filter(|(other, _)| *other != device);
        let policies = others.filter_map(|(other, _)| self.traffic.by_lun.get(&other.number()));
        policies.flatten().copied().collect()
    }

    /// Whether any policy is in force; without one there is no need to ask [`Array::admit`].
    #[inline]
    pub fn limits_traffic(&self) -> bool {
        !self.traffic.limiters.is_empty()
    }

    /// Counts a command that moves `bytes` bytes against the limits of its LUN: none when it may be answered at once,
    /// else how long its answer has to wait. To be asked once for each command.
    pub fn admit(&mut self, now: Duration, device: DeviceId, bytes: u64, is_write: bool) -> Option<Duration> {
        let DeviceId::Lun(lun) = device else { return None };
        let of_host = if self.defects.qos_per_host { self.policies_of_hosts(lun) } else { Vec::new() };
        let Traffic { limiters, by_lun } = &mut self.traffic;
        let mut wait = Duration::ZERO;
        let own = by_lun.get(&lun).into_iter().flatten();
        for number in own.chain(&of_host) {
            let Some(limiter) = limiters.get_mut(number) else { continue };
            if !(if is_write { limiter.policy.writes } else { limiter.policy.reads }) {
                continue;
            }
            if let Some(bucket) = &mut limiter.commands {
                wait = wait.max(bucket.take(now, 1));
            }
            if let Some(bucket) = &mut limiter.bytes {
                wait = wait.max(bucket.take(now, bytes));
            }
        }
        (!wait.is_zero()).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ArrayConfig;

    fn policy(commands: u64, bytes: u64) -> TrafficPolicy {
        TrafficPolicy {
            luns: BTreeSet::from([1, 2]),
            commands: NonZeroU64::new(commands),
            bytes: NonZeroU64::new(bytes),
            reads: true,
            writes: true,
        }
    }

    /// Commands that a client with `depth` commands in flight gets through within ten seconds.
    fn through(array: &mut Array, depth: usize, bytes: u64) -> u64 {
        let mut in_flight = vec![Duration::ZERO; depth];
        let mut done = 0;
        loop {
            in_flight.sort();
            let now = in_flight[0];
            if now >= Duration::from_secs(10) {
                return done;
            }
            let wait = array.admit(now, DeviceId::Lun(1), bytes, true).unwrap_or_default();
            // The work itself takes 10 microseconds.
            in_flight[0] = now + wait + Duration::from_micros(10);
            done += 1;
        }
    }

    #[test]
    fn limits_hold_whatever_the_queue_depth() {
        for depth in [1, 8, 64] {
            let mut array = Array::new(ArrayConfig::default());
            array.set_traffic_policy(7, Some(policy(1000, 0)));
            let done = through(&mut array, depth, 4096);
            assert!((9_900..=10_200).contains(&done), "depth {depth}: {done} commands in 10 s");
            let mut array = Array::new(ArrayConfig::default());
            array.set_traffic_policy(7, Some(policy(0, 1 << 20)));
            let done = through(&mut array, depth, 65_536);
            assert!((158..=240).contains(&done), "depth {depth}: {done} times 64 KiB in 10 s");
        }
    }

    #[test]
    fn only_what_the_policy_names_is_limited() {
        let mut array = Array::new(ArrayConfig::default());
        assert!(!array.limits_traffic());
        array.set_traffic_policy(7, Some(TrafficPolicy { reads: false, ..policy(1, 0) }));
        assert!(array.limits_traffic());
        let now = Duration::from_secs(5);
        let mut ask = |lun, is_write| array.admit(now, lun, 512, is_write);
        assert_eq!(ask(DeviceId::Lun(1), true), None);
        assert_eq!(ask(DeviceId::Lun(2), true), Some(Duration::from_millis(950)), "the LUNs share the limit");
        for _ in 0..100 {
            assert_eq!(ask(DeviceId::Lun(1), false), None, "reads are free");
            assert_eq!(ask(DeviceId::Lun(3), true), None, "another LUN");
            assert_eq!(ask(DeviceId::Snapshot(1), true), None);
        }
        array.set_traffic_policy(7, None);
        assert!(!array.limits_traffic());
        assert_eq!(array.admit(now, DeviceId::Lun(1), 512, true), None);
    }

    #[test]
    fn setting_the_same_policy_again_gives_no_new_burst() {
        let mut array = Array::new(ArrayConfig::default());
        array.set_traffic_policy(7, Some(policy(1, 0)));
        let now = Duration::from_secs(5);
        assert_eq!(array.admit(now, DeviceId::Lun(1), 512, true), None);
        array.set_traffic_policy(7, Some(policy(1, 0)));
        assert!(array.admit(now, DeviceId::Lun(1), 512, true).is_some());
    }
}
