//! Capacity maths of Cinder's capacity filter and weigher.

use sanbench_api::{Capacity, OverSubscription, PoolStats};

/// What a decision about one pool is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// Total, if it is a number.
    pub total: Option<f64>,
    /// Free as reported, less what was promised since.
    pub free: Option<f64>,
    /// Provisioned, promises included.
    pub provisioned: f64,
    /// Reserved share of the total, whole GiB.
    pub reserved: f64,
    /// The request counts as thin here.
    pub thin: bool,
    /// Over-subscription ratio in force.
    pub ratio: f64,
    /// What can be promised at most.
    pub total_available: f64,
    /// What can still be promised.
    pub virtual_free: f64,
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn number(capacity: Capacity) -> Option<f64> {
    match capacity {
        Capacity::Gib(value) => Some(value),
        Capacity::Infinite | Capacity::Unknown => None,
    }
}

/// Computes them. `consumed` is what was promised in this pool since its report, `allocated` the sum of the sizes of
/// its volumes (the default for a pool that does not report what is provisioned), `default_ratio` the
/// over-subscription for `Auto` pools that have nothing to derive it from.
pub fn factors(
    stats: &PoolStats,
    consumed: f64,
    allocated: f64,
    wants_thin: bool,
    default_ratio: f64,
) -> Factors {
    let total = number(stats.total_capacity_gb);
    let free = number(stats.free_capacity_gb).map(|free| free - consumed);
    let provisioned = stats.provisioned_capacity_gb.map_or(allocated, |reported| reported + consumed);
    let reserved = (total.unwrap_or(0.0) * f64::from(stats.reserved_percentage) / 100.0).floor();
    let thin = wants_thin && stats.thin_provisioning_support;
    let ratio = ratio(stats, total, free, provisioned, default_ratio);
    let base = total.unwrap_or(0.0) - reserved;
    let total_available = rounded(if thin { base * ratio } else { base });
    let calculated_free = rounded(total_available - provisioned);
    let virtual_free = match (thin, free) {
        (true, _) | (false, None) => calculated_free,
        // The reserved share is not taken off the reported free value.
        (false, Some(free)) => rounded(free.min(calculated_free)),
    };
    Factors { total, free, provisioned, reserved, thin, ratio, total_available, virtual_free }
}

fn ratio(
    stats: &PoolStats,
    total: Option<f64>,
    free: Option<f64>,
    provisioned: f64,
    default_ratio: f64,
) -> f64 {
    let (Some(total), Some(free)) = (total, free) else { return 1.0 };
    if !stats.thin_provisioning_support {
        return 1.0;
    }
    match stats.max_over_subscription_ratio {
        OverSubscription::Ratio(ratio) => ratio,
        OverSubscription::Auto if provisioned == 0.0 => default_ratio,
        OverSubscription::Auto => rounded(1.0 + provisioned / (total - free + 1.0)),
    }
}

/// The capacity filter: `Err` says why the pool cannot take `requested` GiB.
pub fn fits(stats: &PoolStats, f: &Factors, requested: f64) -> Result<(), String> {
    if requested == 0.0 || f.free.is_none() {
        return Ok(());
    }
    let Some(total) = f.total else {
        return match stats.reserved_percentage {
            0 => Ok(()),
            _ => Err("total capacity is not known, but a share of it is reserved".into()),
        };
    };
    if total <= 0.0 {
        return Err("total capacity is zero".into());
    }
    if f.thin {
        if f.ratio < 1.0 {
            return Err(format!("over-subscription ratio {} is below 1", f.ratio));
        }
        if f.total_available <= 0.0 {
            return Err("everything is reserved".into());
        }
        let provisioned_ratio = (f.provisioned + requested) / f.total_available;
        if provisioned_ratio > f.ratio {
            return Err(format!("provisioned ratio {provisioned_ratio:.2} exceeds {}", f.ratio));
        }
    }
    if f.virtual_free >= requested {
        Ok(())
    } else {
        Err(format!("{} GiB can be promised, {requested} asked", f.virtual_free))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn pool(total: Capacity, free: Capacity) -> PoolStats {
        PoolStats {
            pool_name: "p".into(),
            total_capacity_gb: total,
            free_capacity_gb: free,
            provisioned_capacity_gb: Some(0.0),
            reserved_percentage: 0,
            max_over_subscription_ratio: OverSubscription::Ratio(2.0),
            thin_provisioning_support: true,
            thick_provisioning_support: true,
            multiattach: true,
            online_extend_support: true,
            capabilities: BTreeMap::new(),
        }
    }

    fn verdict(stats: &PoolStats, thin: bool, requested: f64) -> bool {
        fits(stats, &factors(stats, 0.0, 0.0, thin, 20.0), requested).is_ok()
    }

    #[test]
    fn thin_promises_up_to_ratio_times_unreserved() {
        let mut p = pool(Capacity::Gib(100.0), Capacity::Gib(1.0));
        p.reserved_percentage = 10;
        p.provisioned_capacity_gb = Some(100.0);
        let f = factors(&p, 0.0, 0.0, true, 20.0);
        assert_eq!((f.reserved, f.total_available, f.virtual_free), (10.0, 180.0, 80.0));
        assert!(verdict(&p, true, 80.0));
        assert!(!verdict(&p, true, 81.0));
    }

    #[test]
    fn thick_is_bound_by_reported_free_and_by_what_is_provisioned() {
        let mut p = pool(Capacity::Gib(100.0), Capacity::Gib(50.0));
        assert!(verdict(&p, false, 50.0));
        assert!(!verdict(&p, false, 51.0));
        p.provisioned_capacity_gb = Some(80.0);
        assert!(verdict(&p, false, 20.0));
        assert!(!verdict(&p, false, 21.0));
    }

    #[test]
    fn odd_reports() {
        let rows: [(Capacity, Capacity, u32, bool); 7] = [
            (Capacity::Infinite, Capacity::Infinite, 0, true),
            (Capacity::Unknown, Capacity::Unknown, 10, true),
            (Capacity::Infinite, Capacity::Gib(5.0), 0, true),
            (Capacity::Infinite, Capacity::Gib(5.0), 1, false),
            (Capacity::Gib(0.0), Capacity::Gib(0.0), 0, false),
            (Capacity::Gib(10.0), Capacity::Gib(10.0), 100, false),
            (Capacity::Gib(10.0), Capacity::Gib(10.0), 0, true),
        ];
        for (total, free, reserved, want) in rows {
            let mut p = pool(total, free);
            p.reserved_percentage = reserved;
            assert_eq!(verdict(&p, true, 7.0), want, "{total:?} {free:?} {reserved}");
        }
        let mut low = pool(Capacity::Gib(10.0), Capacity::Gib(10.0));
        low.max_over_subscription_ratio = OverSubscription::Ratio(0.5);
        assert!(!verdict(&low, true, 1.0));
    }

    #[test]
    fn auto_ratio() {
        let mut p = pool(Capacity::Gib(100.0), Capacity::Gib(61.0));
        p.max_over_subscription_ratio = OverSubscription::Auto;
        assert_eq!(factors(&p, 0.0, 0.0, true, 20.0).ratio, 20.0);
        p.provisioned_capacity_gb = Some(80.0);
        assert_eq!(factors(&p, 0.0, 0.0, true, 20.0).ratio, 3.0);
    }

    #[test]
    fn promises_since_the_report_count() {
        let p = pool(Capacity::Gib(10.0), Capacity::Gib(10.0));
        let f = factors(&p, 15.0, 0.0, true, 20.0);
        assert_eq!((f.provisioned, f.virtual_free), (15.0, 5.0));
        let mut silent = p;
        silent.provisioned_capacity_gb = None;
        assert_eq!(factors(&silent, 15.0, 18.0, true, 20.0).provisioned, 18.0);
    }
}
