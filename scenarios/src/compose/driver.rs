//! The Tengling driver as a registry entry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sanbench_tengling::{CLASS, DriverDefects, TenglingConfig, TenglingDriver};
use sanbench_world::Env;

use crate::registry::{Built, DriverEntry, OptionError};

const DEFECTS: &[(&str, &str, &str)] = &[
    (
        "lun_left_after_failed_create",
        "D01",
        "a create or clone that fails after its LUN was made leaves the LUN",
    ),
    ("no_depth_limit", "D16", "clones are never flattened for depth"),
    ("adopt_foreign", "D02", "a LUN of the wanted name is adopted without asking whose it is"),
];

/// The bench's own option: the driver's first pause after a busy answer, milliseconds. On real sockets pauses cost real
/// time, and the bench's own array does not need them.
pub(crate) const BACK_OFF_MS: &str = "sanbench_back_off_ms";

/// The Tengling driver.
pub fn tengling_entry() -> DriverEntry {
    DriverEntry {
        class: CLASS,
        title: "Tengling IP SAN (OceanStor-dialect REST, iSCSI)",
        defects: DEFECTS,
        build,
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
    let defects = DriverDefects {
        lun_left_after_failed_create: planted.iter().any(|d| d == "lun_left_after_failed_create"),
        no_depth_limit: planted.iter().any(|d| d == "no_depth_limit"),
        adopt_foreign: planted.iter().any(|d| d == "adopt_foreign"),
    };
    Ok(Built {
        address: options.get("tengling_sanip").cloned().unwrap_or_default(),
        warnings: warnings.into_iter().map(|w| format!("{}: {}", w.key, w.message)).collect(),
        max_clone_depth: Some(config.max_clone_depth),
        flatten_from_snapshot: config.flatten_volume_from_snapshot,
        driver: Arc::new(TenglingDriver::with_defects(env.clone(), config, defects)),
    })
}
