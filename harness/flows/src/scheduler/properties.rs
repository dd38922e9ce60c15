//! Capacity sums against whole numbers: hundredths of a GiB, percents and hundredths of a ratio, where nothing is rounded.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use sanbench_api::{BackendStats, Capacity, OverSubscription, PoolStats};

use super::tests::request;
use super::*;

/// A report in hundredths.
#[derive(Debug, Clone)]
struct Report {
    total: i128,
    free: i128,
    provisioned: Option<i128>,
    reserved_percentage: u32,
    /// None: derived from what is provisioned.
    ratio: Option<i128>,
    thin: bool,
}

/// What the scheduler knows besides, in whole GiB.
#[derive(Debug, Clone)]
struct Known {
    consumed: u32,
    allocated: u32,
    wants_thin: bool,
}

const DEFAULT_RATIO: i128 = 2_000;

fn hundredths(value: i128) -> f64 {
    value as f64 / 100.0
}

impl Report {
    fn stats(&self) -> PoolStats {
        PoolStats {
            pool_name: "p".into(),
            total_capacity_gb: Capacity::Gib(hundredths(self.total)),
            free_capacity_gb: Capacity::Gib(hundredths(self.free)),
            provisioned_capacity_gb: self.provisioned.map(hundredths),
            reserved_percentage: self.reserved_percentage,
            max_over_subscription_ratio: match self.ratio {
                Some(ratio) => OverSubscription::Ratio(hundredths(ratio)),
                None => OverSubscription::Auto,
            },
            thin_provisioning_support: self.thin,
            thick_provisioning_support: true,
            multiattach: true,
            online_extend_support: true,
            capabilities: BTreeMap::new(),
        }
    }

    fn factors(&self, known: &Known) -> Factors {
        factors(
            &self.stats(),
            f64::from(known.consumed),
            f64::from(known.allocated),
            known.wants_thin,
            hundredths(DEFAULT_RATIO),
        )
    }

    fn provisioned(&self, known: &Known) -> i128 {
        match self.provisioned {
            Some(reported) => reported + i128::from(known.consumed) * 100,
            None => i128::from(known.allocated) * 100,
        }
    }

    /// What may be promised at most and what is left of that, in ten-thousandths; `ratio` in hundredths.
    fn room(&self, known: &Known, ratio: i128) -> (i128, i128) {
        // Cinder reserves whole GiB.
        let reserved = self.total * i128::from(self.reserved_percentage) / 10_000 * 100;
        let at_most = (self.total - reserved) * if self.thin && known.wants_thin { ratio } else { 100 };
        let left = at_most - self.provisioned(known) * 100;
        match self.thin && known.wants_thin {
            true => (at_most, left),
            false => (at_most, left.min((self.free - i128::from(known.consumed) * 100) * 100)),
        }
    }
}

/// Half a hundredth up or down, which is what rounding may do, in ten-thousandths.
const HALF: f64 = 50.000_1;

fn is_rounded(value: f64, exact: i128) -> bool {
    (value * 10_000.0 - exact as f64).abs() <= HALF
}

fn reports() -> impl Strategy<Value = Report> {
    let amount = || prop_oneof![2 => 0..10_000_i128, 2 => (0..500_i128).prop_map(|gib| gib * 100), 1 => 0..100_000_000_i128];
    let ratio = prop_oneof![2 => Just(100), 1 => Just(50), 4 => 100..3_000_i128];
    (
        amount(),
        amount(),
        prop::option::weighted(0.8, amount()),
        prop_oneof![1 => Just(0), 2 => 0..101_u32],
        prop::option::weighted(0.8, ratio),
        prop::bool::weighted(0.7),
    )
        .prop_map(|(total, used, provisioned, reserved_percentage, ratio, thin)| Report {
            total,
            free: (total - used).max(0),
            provisioned,
            reserved_percentage,
            ratio,
            thin,
        })
}

fn known() -> impl Strategy<Value = Known> {
    (0..200_u32, 0..2_000_u32, prop::bool::weighted(0.7))
        .prop_map(|(consumed, allocated, wants_thin)| Known { consumed, allocated, wants_thin })
}

/// What a scheduler, a back end and its volumes go through.
#[derive(Debug, Clone)]
enum Turn {
    Place {
        gib: u64,
    },
    /// The volume of a promise comes into being, or does not.
    Keep {
        pick: usize,
    },
    Drop {
        pick: usize,
    },
    /// The back end is asked; it looks at its volumes now.
    Ask,
    /// Its answer arrives, perhaps much later.
    Answer,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        3 => (1..30_u64).prop_map(|gib| Turn::Place { gib }),
        2 => any::<usize>().prop_map(|pick| Turn::Keep { pick }),
        1 => any::<usize>().prop_map(|pick| Turn::Drop { pick }),
        1 => Just(Turn::Ask),
        1 => Just(Turn::Answer),
    ];
    prop::collection::vec(turn, 1..60)
}

/// A pool of 100 GiB that can be promised once, with volumes of this size in it.
fn report_of(gib: u64) -> BackendStats {
    let exact = Report {
        total: 10_000,
        free: 10_000,
        provisioned: Some(i128::from(gib) * 100),
        reserved_percentage: 0,
        ratio: Some(100),
        thin: true,
    };
    BackendStats {
        volume_backend_name: "a".into(),
        vendor_name: "v".into(),
        driver_version: "1".into(),
        storage_protocol: "iSCSI".into(),
        pools: vec![exact.stats()],
    }
}

fn place(scheduler: &mut Scheduler, size_gib: u64) -> Option<super::state::Promise> {
    let options = Options { multiplier: 1.0, default_ratio: 20.0 };
    scheduler.place(&request(size_gib), &BTreeMap::new(), options, Duration::ZERO).1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Reserved share, ratio, what can be promised and what is left of it are the exact values, rounded once.
    #[test]
    fn factors_are_the_exact_values_rounded(report in reports(), known in known()) {
        let f = report.factors(&known);
        let reserved = report.total * i128::from(report.reserved_percentage) / 10_000;
        prop_assert_eq!(f.reserved, reserved as f64);
        let ratio = (f.ratio * 100.0).round() as i128;
        let provisioned = report.provisioned(&known);
        match report.ratio {
            _ if !report.thin => prop_assert_eq!(ratio, 100),
            Some(reported) => prop_assert_eq!(ratio, reported),
            None if provisioned == 0 => prop_assert_eq!(ratio, DEFAULT_RATIO),
            None => {
                // 1 + provisioned / (used + 1), multiplied out: within half a hundredth.
                let used = report.total - report.free + i128::from(known.consumed) * 100 + 100;
                let off = (ratio - 100) * used - provisioned * 100;
                prop_assert!(off.abs() * 2 <= used, "ratio {} for {provisioned} in {used}", f.ratio);
            }
        }
        let (at_most, left) = report.room(&known, ratio);
        prop_assert!(is_rounded(f.total_available, at_most), "{} is not {at_most}", f.total_available);
        prop_assert!(is_rounded(f.virtual_free, left), "{} is not {left}", f.virtual_free);
    }

    /// A request is let through exactly if it fits into what is left, to half a hundredth of a GiB.
    #[test]
    fn the_filter_lets_through_what_fits(report in reports(), known in known(), near in -2..3_i128, any in 1..2_000_i128) {
        let f = report.factors(&known);
        let ratio = (f.ratio * 100.0).round() as i128;
        let (at_most, left) = report.room(&known, ratio);
        // At the bound, and anywhere.
        for requested in [left.div_euclid(10_000) + near, any].into_iter().filter(|gib| (1..=1 << 40).contains(gib)) {
            let spare = left - requested * 10_000;
            let refused = report.total == 0 || (f.thin && (ratio < 100 || at_most == 0));
            let verdict = fits(&report.stats(), &f, requested as f64);
            match spare {
                // Rounding may go either way.
                -50 => {}
                _ => prop_assert_eq!(verdict.is_ok(), spare > -50 && !refused, "{}: {:?}", requested, verdict),
            }
        }
    }

    /// Who asks for less, where less is promised, is not refused what more would get.
    #[test]
    fn less_fits_where_more_fits(report in reports(), known in known(), gib in 1..500_u32, less in 0..500_u32) {
        let fit = |known: &Known, gib: u32| fits(&report.stats(), &report.factors(known), f64::from(gib)).is_ok();
        if fit(&known, gib) {
            prop_assert!(fit(&known, gib.saturating_sub(less)));
            // A derived ratio grows with what is promised, as Cinder's does.
            if report.ratio.is_some() {
                let known = Known { consumed: known.consumed.saturating_sub(less), ..known };
                prop_assert!(fit(&known, gib));
            }
        }
    }

    /// However reports, placements and their ends meet: promises and volumes together never exceed the pool, and when all is
    /// told, just what the volumes leave can be placed.
    #[test]
    fn promises_and_volumes_fit_into_the_pool(turns in turns()) {
        let mut scheduler = Scheduler::default();
        scheduler.add("h@a", "nova");
        scheduler.set_up("h@a", true);
        let ticket = scheduler.begin_report();
        scheduler.report("h@a", report_of(0), ticket, Duration::ZERO);
        let (mut open, mut volumes, mut asked) = (Vec::new(), 0, Vec::new());
        for (at, turn) in (1..).map(Duration::from_secs).zip(&turns) {
            match *turn {
                Turn::Place { gib } => open.extend(place(&mut scheduler, gib).map(|promise| (promise, gib))),
                Turn::Keep { pick } if !open.is_empty() => {
                    let (promise, gib) = open.swap_remove(pick % open.len());
                    scheduler.kept(promise);
                    volumes += gib;
                }
                Turn::Drop { pick } if !open.is_empty() => {
                    scheduler.dropped(open.swap_remove(pick % open.len()).0);
                }
                Turn::Ask => asked.push((scheduler.begin_report(), report_of(volumes), at)),
                // The last one asked for may be the first to answer.
                Turn::Answer => {
                    if let Some((ticket, stats, at)) = asked.pop() {
                        scheduler.report("h@a", stats, ticket, at);
                    }
                }
                Turn::Keep { .. } | Turn::Drop { .. } => {}
            }
            let promised: u64 = open.iter().map(|(_, gib)| gib).sum();
            prop_assert!(volumes + promised <= 100, "{volumes} GiB in volumes, {promised} promised");
        }
        for (promise, _) in open {
            scheduler.dropped(promise);
        }
        let ticket = scheduler.begin_report();
        scheduler.report("h@a", report_of(volumes), ticket, Duration::from_secs(1_000));
        let left = 100 - volumes;
        prop_assert_eq!(place(&mut scheduler, left + 1), None);
        prop_assert!(left == 0 || place(&mut scheduler, left).is_some(), "{left} GiB are left");
    }
}
