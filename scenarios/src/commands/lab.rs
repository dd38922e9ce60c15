//! Somebody's array: its driver, its options, whether it answers, and what a run leaves there.

use sanbench_reports::Leftover;

use crate::compose::LiveSetup;
use crate::config::Profile;
use crate::failure::Refusal;
use crate::registry::{DriverEntry, Registry};
use crate::safety::{CleanError, Tag, clean_by};

/// The driver that a profile names; without `volume_driver` the only one there is.
pub(super) fn driver_of(registry: &Registry, profile: &Profile) -> Result<DriverEntry, Refusal> {
    let known = || registry.drivers.iter().map(|d| d.class).collect::<Vec<_>>().join(", ");
    match profile.backend.get("volume_driver") {
        Some(class) => registry.driver(class).copied().ok_or_else(|| {
            let error = profile.backend.error("volume_driver", format!("no driver `{class}` is built in"));
            Refusal::new(error.to_string()).hint(format!("drivers: {}", known()))
        }),
        None => registry.drivers.first().copied().ok_or_else(|| Refusal::new("no driver is built in")),
    }
}

/// Reads the options once before anything is created, so that mistakes are 64; answers the management address.
pub(super) fn checked_options(
    driver: DriverEntry,
    profile: &Profile,
    notes: &mut Vec<String>,
) -> Result<String, Refusal> {
    let scratch =
        tempfile::tempdir().map_err(|e| Refusal::new(format!("cannot make a temporary folder: {e}")))?;
    let runtime = super::runtime()?;
    let _inside = runtime.enter();
    let env = crate::compose::probe_env(scratch.path()).map_err(|e| Refusal::new(e.to_string()))?;
    let built = (driver.build)(&env, &profile.backend.options(), &[]).map_err(|e| {
        Refusal::new(profile.backend.error(&e.key, format!("{}: {}", e.key, e.problem)).to_string())
    })?;
    for warning in built.warnings {
        notes.push(format!("{}: {warning}", profile.file));
    }
    Ok(built.address)
}

/// Whether the array answers and lets us in, asked once before the first case; the error says why not.
pub(super) async fn usable(setup: &LiveSetup, profile: &Profile) -> Result<(), String> {
    let env = crate::compose::probe_env(&setup.state_dir).map_err(|e| e.to_string())?;
    let options = profile.backend.options();
    let built = (setup.driver.build)(&env, &options, &[]).map_err(|e| format!("{}: {}", e.key, e.problem))?;
    let answer = built.driver.do_setup().await.map_err(|e| e.to_string());
    built.driver.shutdown().await;
    answer
}

/// Removes what the run may have left on the array. Only tagged objects are touched.
pub(super) async fn tidy(
    setup: &LiveSetup,
    profile: &Profile,
    tag: Tag,
    notes: &mut Vec<String>,
) -> Vec<Leftover> {
    let driver = match crate::compose::probe_env(&setup.state_dir) {
        Ok(env) => (setup.driver.build)(&env, &profile.backend.options(), &[]).ok().map(|b| b.driver),
        Err(_) => None,
    };
    let Some(driver) = driver else { return Vec::new() };
    let mut left = Vec::new();
    match clean_by(&*driver, &[tag]).await {
        Err(CleanError::NoInventory) => {
            notes.push("array inventory not checked: the driver offers none".to_owned());
        }
        Err(e) => notes.push(e.to_string()),
        Ok(cleaned) => {
            if !cleaned.removed.is_empty() {
                notes.push(format!("the bench's clean-up removed {}", cleaned.removed.join(", ")));
            }
            left.extend(cleaned.left.into_iter().map(|text| Leftover {
                kind: text.split(' ').next().unwrap_or_default().to_owned(),
                name: text.clone(),
                place: "array".into(),
                reason: text,
                ..Leftover::default()
            }));
        }
    }
    left
}

/// A tag that no run has used.
pub(super) fn fresh_tag() -> Result<Tag, Refusal> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|e| Refusal::new(format!("no entropy for the run's tag: {e}")))?;
    Ok(Tag(bytes))
}
