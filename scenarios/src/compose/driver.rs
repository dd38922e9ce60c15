//! The Tengling driver as a registry entry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sanbench_tengling::{CLASS, DriverDefects, TenglingConfig, TenglingDriver};
use sanbench_world::Env;

use super::naming::OceanStorNames;
use crate::registry::{Built, DriverEntry, OptionError};

/// The bench's own option: the driver's first pause after a busy answer, milliseconds. On real sockets pauses cost real
/// time, and the bench's own array does not need them.
pub(crate) const BACK_OFF_MS: &str = "sanbench_back_off_ms";

/// The Tengling driver.
pub fn tengling_entry() -> DriverEntry {
    DriverEntry {
        class: CLASS,
        title: "Tengling IP SAN (OceanStor-dialect REST, iSCSI)",
        defects: DriverDefects::ALL,
        build,
        naming: Some(&OceanStorNames),
    }
}

fn build(env: &Env, options: &BTreeMap<String, String>, planted: &[String]) -> Result<Built, OptionError> {
    let mut options = options.clone();
    let back_off = options.remove(BACK_OFF_MS);
    let (mut config, warnings) =
        TenglingConfig::from_options(&options).map_err(|e| OptionError { key: e.key, problem: e.problem })?;
    if let Some(ms) = back_off {
        let bad = |_| OptionError { key: BACK_OFF_MS.into(), problem: "not a number of milliseconds".into() };
        config.limits.back_off = Duration::from_millis(ms.parse().map_err(bad)?);
    }
    let mut defects = DriverDefects::default();
    for name in planted {
        defects.set(name);
    }
    Ok(Built {
        address: options.get("tengling_sanip").cloned().unwrap_or_default(),
        warnings: warnings.into_iter().map(|w| format!("{}: {}", w.key, w.message)).collect(),
        max_clone_depth: Some(config.max_clone_depth),
        flatten_from_snapshot: config.flatten_volume_from_snapshot,
        driver: Arc::new(TenglingDriver::with_defects(env.clone(), config, defects)),
    })
}
