//! `sanbench clean`: removes what earlier runs left, from their journals, and nothing else.

use crate::cli::CleanArgs;
use crate::config::Profile;
use crate::failure::Refusal;
use crate::registry::Registry;
use crate::run::print;
use crate::safety::{Journal, Tag, clean_by};

/// Exit code 0 when nothing is left, 3 when tagged objects remain, 2 when the array cannot be reached.
pub(super) fn clean(registry: &Registry, args: &CleanArgs) -> Result<u8, Refusal> {
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path).map_err(|e| Refusal::new(format!("{}: {e}", path.display())))
    };
    let profile = match (&args.profile, &args.cinder_conf, &args.backend) {
        (Some(path), ..) => Profile::parse(&path.display().to_string(), &read(path)?)?,
        (None, Some(path), Some(section)) => {
            Profile::from_cinder_conf(&path.display().to_string(), &read(path)?, section)?
        }
        _ => return Err(Refusal::new("name a profile, or a cinder.conf and its section")),
    };
    let driver = super::lab::driver_of(registry, &profile)?;
    let mut notes = Vec::new();
    let address = super::lab::checked_options(driver, &profile, &mut notes)?;
    let state = args.state.clone().unwrap_or_else(super::state_dir);
    let open = Journal::open_tags(&state, &address).map_err(|e| Refusal::new(e.to_string()))?;
    if open.is_empty() {
        let _ = print(&format!("nothing to clean: no open journal for {address} in {}\n", state.display()));
        return Ok(0);
    }
    let tags: Vec<Tag> = open.iter().map(|(tag, _)| *tag).collect();
    let scratch =
        tempfile::tempdir().map_err(|e| Refusal::new(format!("cannot make a temporary folder: {e}")))?;
    super::runtime()?.block_on(async {
        let env = crate::compose::probe_env(scratch.path()).map_err(|e| Refusal::new(e.to_string()))?;
        let built = (driver.build)(&env, &profile.backend.options(), &[])
            .map_err(|e| Refusal::new(format!("{}: {}", e.key, e.problem)))?;
        let cleaned = match clean_by(&*built.driver, &tags).await {
            Ok(cleaned) => cleaned,
            Err(e) => {
                eprintln!("sanbench: {e}");
                return Ok(2);
            }
        };
        for object in &cleaned.removed {
            let _ = print(&format!("removed {object}\n"));
        }
        for object in &cleaned.left {
            eprintln!("sanbench: left: {object}");
        }
        let _ = print(&format!("{} removed, {} left\n", cleaned.removed.len(), cleaned.left.len()));
        if !cleaned.left.is_empty() {
            return Ok(3);
        }
        for (_, path) in &open {
            Journal::close(path).map_err(|e| Refusal::new(e.to_string()))?;
        }
        Ok(0)
    })
}
