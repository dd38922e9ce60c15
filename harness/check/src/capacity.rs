//! Reported capacity against the sum of what exists.

use std::collections::BTreeMap;

use sanbench_api::{BackendStats, Capacity, PoolStats};

use crate::verdict::Finding;

const CHECKER: &str = "capacity";

/// A gibibyte is this many times a gigabyte.
const BINARY_TO_DECIMAL: f64 = 1.073_741_824;

/// What a pool should report, as far as it is known. All in GiB.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExpectedPool {
    /// Sum of the sizes of all volumes in the pool (the run's and those that were there before).
    pub provisioned_gib: f64,
    /// Total capacity, where it is known.
    pub total_gib: Option<f64>,
    /// Bytes in use as far as the model knows a lower bound, in GiB.
    pub used_at_least_gib: f64,
}

/// Judges a report. `tolerance_gib` is the declared rounding; pools that are not expected are ignored.
#[must_use]
pub fn check_stats(
    stats: &BackendStats,
    expected: &BTreeMap<String, ExpectedPool>,
    tolerance_gib: f64,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, expected) in expected {
        match stats.pools.iter().find(|pool| pool.pool_name == *name) {
            Some(pool) => check_pool(pool, expected, tolerance_gib, &mut findings),
            None => findings.push(
                Finding::new("CAP-010", CHECKER, "pool", "missing")
                    .says(format!("the report leaves out pool {name}"))
                    .compared("a report of the pool", "none"),
            ),
        }
    }
    findings
}

fn check_pool(pool: &PoolStats, expected: &ExpectedPool, tolerance: f64, findings: &mut Vec<Finding>) {
    let name = &pool.pool_name;
    let mut compare = |what: &str, wanted: f64, got: f64| {
        if (wanted - got).abs() > tolerance {
            findings.push(differs(name, what, wanted, got, tolerance));
        }
    };
    if let Some(provisioned) = pool.provisioned_capacity_gb {
        compare("provisioned", expected.provisioned_gib, provisioned);
    }
    if let (Some(wanted), Capacity::Gib(got)) = (expected.total_gib, pool.total_capacity_gb) {
        compare("total", wanted, got);
    }
    if let (Capacity::Gib(total), Capacity::Gib(free)) = (pool.total_capacity_gb, pool.free_capacity_gb) {
        let most = total - expected.used_at_least_gib;
        if free < -tolerance || free > most + tolerance {
            findings.push(
                Finding::new("CAP-001", CHECKER, "pool", "free")
                    .says(format!("pool {name} reports more or less free space than it can have"))
                    .compared(format!("0 to {most:.2} GiB"), format!("{free:.2} GiB")),
            );
        }
    }
}

/// A wrong figure; if it is off by just the factor between GB and GiB, the unit is what is wrong.
fn differs(pool: &str, what: &str, wanted: f64, got: f64, tolerance: f64) -> Finding {
    let unit = [wanted * BINARY_TO_DECIMAL, wanted / BINARY_TO_DECIMAL]
        .iter()
        .any(|other| wanted > tolerance && (other - got).abs() <= wanted * 0.001);
    let (requirement, why) = if unit { ("CAP-003", ", as if GB were GiB") } else { ("CAP-001", "") };
    Finding::new(requirement, CHECKER, "pool", what)
        .says(format!("pool {pool} reports wrong {what} capacity{why}"))
        .compared(format!("{wanted:.2} GiB"), format!("{got:.2} GiB"))
}

/// After everything that was made is deleted, free capacity is what it was at the start.
#[must_use]
pub fn check_returned(start: &BackendStats, end: &BackendStats, tolerance_gib: f64) -> Vec<Finding> {
    let mut findings = Vec::new();
    for before in &start.pools {
        let after = end.pools.iter().find(|pool| pool.pool_name == before.pool_name);
        let after = after.map(|pool| pool.free_capacity_gb);
        if let (Capacity::Gib(before_gib), Some(Capacity::Gib(after_gib))) = (before.free_capacity_gb, after)
            && (before_gib - after_gib).abs() > tolerance_gib
        {
            findings.push(
                Finding::new("CAP-002", CHECKER, "pool", "drift")
                    .says(format!("free capacity of pool {} did not come back", before.pool_name))
                    .compared(format!("{before_gib:.2} GiB"), format!("{after_gib:.2} GiB")),
            );
        }
    }
    findings
}

#[cfg(test)]
pub(crate) mod tests {
    use sanbench_api::OverSubscription;

    use super::*;

    pub(crate) fn pool(name: &str, total: f64, free: f64, provisioned: f64) -> PoolStats {
        PoolStats {
            pool_name: name.into(),
            total_capacity_gb: Capacity::Gib(total),
            free_capacity_gb: Capacity::Gib(free),
            provisioned_capacity_gb: Some(provisioned),
            reserved_percentage: 0,
            max_over_subscription_ratio: OverSubscription::Ratio(20.0),
            thin_provisioning_support: true,
            thick_provisioning_support: false,
            multiattach: false,
            online_extend_support: true,
            capabilities: BTreeMap::new(),
        }
    }

    fn stats(free: f64, provisioned: f64) -> BackendStats {
        BackendStats {
            volume_backend_name: "b".into(),
            vendor_name: "v".into(),
            driver_version: "1".into(),
            storage_protocol: "iSCSI".into(),
            pools: vec![pool("pool0", 100.0, free, provisioned)],
        }
    }

    fn fires(free: f64, provisioned: f64) -> Vec<String> {
        let expected = ExpectedPool { provisioned_gib: 40.0, total_gib: Some(100.0), used_at_least_gib: 5.0 };
        let expected = BTreeMap::from([("pool0".to_owned(), expected)]);
        check_stats(&stats(free, provisioned), &expected, 0.1).into_iter().map(|f| f.requirement).collect()
    }

    #[test]
    fn each_wrong_figure_fires_its_own() {
        assert_eq!(fires(90.0, 40.0), [""; 0]);
        assert_eq!(fires(90.0, 5.0), ["CAP-001"], "consumed told as provisioned");
        assert_eq!(fires(90.0, 40.0 * BINARY_TO_DECIMAL), ["CAP-003"]);
        assert_eq!(fires(99.0, 40.0), ["CAP-001"], "more free than total less used");
        assert_eq!(fires(-1.0, 40.0), ["CAP-001"]);
        let expected = BTreeMap::from([("pool9".to_owned(), ExpectedPool::default())]);
        assert_eq!(check_stats(&stats(1.0, 1.0), &expected, 0.1)[0].requirement, "CAP-010");
    }

    #[test]
    fn drift_fires() {
        assert_eq!(check_returned(&stats(90.0, 0.0), &stats(90.0, 0.0), 0.1), []);
        assert_eq!(check_returned(&stats(90.0, 0.0), &stats(89.0, 0.0), 0.1)[0].requirement, "CAP-002");
    }
}
