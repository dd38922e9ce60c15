//! Configuration: `cinder.conf` back-end sections and profiles, with errors that show file, line and column.

mod error;
pub(crate) mod faults;
mod ini;
mod profile;

pub use error::ConfigError;
pub(crate) use error::is_secret;
pub use ini::{Ini, Section};
pub use profile::{Consent, Limits, Profile};
