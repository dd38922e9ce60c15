//! Options of a back end that the workflow reads, as Cinder names them.
//!
//! The driver reads its own and has refused what cannot be understood before anything here is asked.

use std::collections::BTreeMap;

use sanbench_flows::{CacheLimits, FlowsConfig, QuotaLimits};

type Options = BTreeMap<String, String>;

/// Stands in a story for the value that an option has without the story.
const DEFAULT: &str = "{default}";

/// Options of a story, with what they are without it in the places that say so.
pub(super) fn filled_in(without: &Options, options: &Options) -> Options {
    let value = |key: &str, text: &str| text.replace(DEFAULT, without.get(key).map_or("", String::as_str));
    options.iter().map(|(key, text)| (key.clone(), value(key, text))).collect()
}

/// The workflow's configuration that these options ask for.
pub(super) fn workflow(options: &Options) -> FlowsConfig {
    FlowsConfig {
        quota: quota(options),
        image_cache: truth(options.get("image_volume_cache_enabled")).then(|| CacheLimits {
            max_gib: number(options.get("image_volume_cache_max_size_gb")),
            max_count: number(options.get("image_volume_cache_max_count")),
        }),
        multipath_for_image_xfer: truth(options.get("use_multipath_for_image_xfer")),
        enforce_multipath_for_image_xfer: truth(options.get("enforce_multipath_for_image_xfer")),
        ..FlowsConfig::default()
    }
}

/// What the tenant may have (`quota_volumes` and its neighbours; -1 stands for no limit).
fn quota(options: &Options) -> QuotaLimits {
    let built_in = QuotaLimits::default();
    let limit = |key: &str, otherwise: u64| match options.get(key).map(|text| text.trim().parse::<i64>()) {
        Some(Ok(limit)) => u64::try_from(limit).unwrap_or(u64::MAX),
        _ => otherwise,
    };
    QuotaLimits {
        volumes: limit("quota_volumes", built_in.volumes),
        gigabytes: limit("quota_gigabytes", built_in.gigabytes),
        snapshots: limit("quota_snapshots", built_in.snapshots),
        per_volume_gigabytes: limit("per_volume_size_limit", built_in.per_volume_gigabytes),
    }
}

fn truth(value: Option<&String>) -> bool {
    value.is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on"))
}

fn number(value: Option<&String>) -> u64 {
    value.and_then(|v| v.parse().ok()).unwrap_or(0)
}
