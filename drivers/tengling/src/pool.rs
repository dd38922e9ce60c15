//! Storage pools and the capability report (array-rest.md 2.2, 2.4).

use std::collections::BTreeMap;

use sanbench_api::{BackendStats, Capability, Capacity, DriverError, PoolStats, RefusalKind};
use serde_json::Value;

use crate::client::Client;
use crate::config::TenglingConfig;
use crate::error::{CallError, refuse};
use crate::lun::SECTORS_PER_GIB;
use crate::settle::records;
use crate::value::{BadAnswer, Obj, Record};

/// First product that has linked clones and clone pairs; the comparison is by text, as everywhere in this dialect.
const FIRST_NEW: &str = "V600R003C00";

/// A storage pool; capacities in 512-byte sectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) id: String,
    name: String,
    /// A file-system pool cannot hold LUNs.
    for_files: bool,
    total: u64,
    free: u64,
    provisioned: Option<u64>,
    disk_type: &'static str,
}

impl Record for Pool {
    fn read(value: &Value) -> Result<Self, BadAnswer> {
        let obj = Obj::new("storagepool", value)?;
        let tier = |key| obj.text(key).is_some_and(|c| c != "0" && !c.is_empty());
        let disk_type = match (tier("TIER0CAPACITY"), tier("TIER1CAPACITY"), tier("TIER2CAPACITY")) {
            (true, false, false) => "ssd",
            (false, true, false) => "sas",
            (false, false, true) => "nl_sas",
            (false, false, false) => "unknown",
            _ => "mix",
        };
        Ok(Self {
            id: obj.need("ID")?,
            name: obj.need("NAME")?,
            for_files: obj.number("USAGETYPE") == Some(2),
            total: obj.number("USERTOTALCAPACITY").unwrap_or(0),
            free: match obj.number("DATASPACE") {
                Some(free) => free,
                None => obj.need_number("USERFREECAPACITY")?,
            },
            provisioned: obj.number("totalSizeWithoutSnap").or_else(|| obj.number("LUNCONFIGEDCAPACITY")),
            disk_type,
        })
    }

    fn name(&self) -> &str {
        &self.name
    }
}

#[expect(clippy::cast_precision_loss, reason = "capacities are far below 2^53 sectors")]
fn gib(sectors: u64) -> f64 {
    sectors as f64 / SECTORS_PER_GIB as f64
}

impl Client {
    /// Every pool that can hold LUNs.
    async fn pools(&self) -> Result<Vec<Pool>, CallError> {
        let mut pools = records::<Pool>(&self.get("storagepool").await?)?;
        pools.retain(|p| !p.for_files);
        Ok(pools)
    }

    /// The pool of that name.
    pub(crate) async fn pool(&self, name: &str) -> Result<Pool, DriverError> {
        match self.pools().await?.into_iter().find(|p| p.name == name) {
            Some(pool) => Ok(pool),
            None => refuse(RefusalKind::InvalidInput, format!("the array has no pool {name} for LUNs")),
        }
    }

    /// Refuses when a configured pool is missing.
    pub(crate) async fn check_pools(&self, config: &TenglingConfig) -> Result<(), DriverError> {
        let found = self.pools().await?;
        match config.pools.iter().find(|name| !found.iter().any(|p| p.name == **name)) {
            None => Ok(()),
            Some(name) => refuse(RefusalKind::InvalidInput, format!("the array has no pool {name} for LUNs")),
        }
    }

    /// Whether the array has linked clones and clone pairs.
    pub(crate) async fn asks_new_product(&self) -> Result<bool, DriverError> {
        let data = self.get("system/").await?;
        let obj = Obj::new("system", &data).map_err(CallError::from)?;
        Ok(obj.need("PRODUCTVERSION").map_err(CallError::from)?.as_str() >= FIRST_NEW)
    }

    /// The capability report. A configured pool that is missing now has no capacity, so nothing is scheduled to it.
    pub(crate) async fn stats(&self, config: &TenglingConfig) -> Result<BackendStats, DriverError> {
        let found = self.pools().await?;
        let consumed = self.defects.consumed_as_provisioned;
        let pools = config
            .pools
            .iter()
            .map(|name| pool_stats(config, name, found.iter().find(|p| p.name == *name), consumed))
            .collect();
        Ok(BackendStats {
            volume_backend_name: config.backend_name.clone(),
            vendor_name: "Tengling".to_owned(),
            driver_version: env!("CARGO_PKG_VERSION").to_owned(),
            storage_protocol: "iSCSI".to_owned(),
            pools,
        })
    }
}

fn pool_stats(config: &TenglingConfig, name: &str, pool: Option<&Pool>, consumed: bool) -> PoolStats {
    let mut capabilities = BTreeMap::new();
    if let Some(pool) = pool {
        capabilities.insert("disk_type".to_owned(), Capability::Text(pool.disk_type.to_owned()));
    }
    capabilities.insert("QoS_support".to_owned(), Capability::Bool(false));
    capabilities.insert("consistent_group_snapshot_enabled".to_owned(), Capability::Bool(false));
    PoolStats {
        pool_name: name.to_owned(),
        total_capacity_gb: Capacity::Gib(pool.map_or(0.0, |p| gib(p.total))),
        free_capacity_gb: Capacity::Gib(pool.map_or(0.0, |p| gib(p.free))),
        provisioned_capacity_gb: pool
            .and_then(|p| if consumed { Some(p.total - p.free) } else { p.provisioned })
            .map(gib),
        reserved_percentage: config.reserved_percentage,
        max_over_subscription_ratio: config.over_subscription,
        thin_provisioning_support: true,
        thick_provisioning_support: false,
        multiattach: true,
        online_extend_support: true,
        capabilities,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn capacities_are_sectors_and_data_space_wins() {
        let pool = Pool::read(&json!({"ID": "0", "NAME": "pool0", "USAGETYPE": "1",
            "USERTOTALCAPACITY": "2097152000", "USERFREECAPACITY": "1", "DATASPACE": "2095054848",
            "LUNCONFIGEDCAPACITY": "2097152", "TIER0CAPACITY": "9", "TIER1CAPACITY": "0"}))
        .unwrap();
        assert_eq!((gib(pool.total), gib(pool.free), pool.disk_type), (1000.0, 999.0, "ssd"));
        assert_eq!(pool.provisioned.map(gib), Some(1.0));
        assert!(Pool::read(&json!({"ID": "0", "NAME": "p"})).is_err());
    }
}
