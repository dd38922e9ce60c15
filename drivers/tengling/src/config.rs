//! The back-end section: the six `tengling_*` options and the options of Cinder that this driver honours.

mod endpoint;
mod limits;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use sanbench_api::{OverSubscription, Secret};

pub use endpoint::{Endpoint, HostAddr};
pub use limits::Limits;

/// Something in the section that is accepted but deserves a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The option.
    pub key: String,
    /// What about it. Carries no value, so no secret.
    pub message: String,
}

/// An option that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The option.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

impl ConfigError {
    fn new(key: &str, problem: impl Into<String>) -> Self {
        Self { key: key.to_owned(), problem: problem.into() }
    }
}

/// CHAP credentials that the array demands of every initiator (RFC 7143 section 12.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChapCredentials {
    /// Name that the initiator sends.
    pub username: String,
    /// Secret of the initiator.
    pub password: Secret,
}

/// Certificate policy of the management connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsPolicy {
    /// Check certificate chain and host name. Off by default, as in Cinder.
    pub verify: bool,
    /// File or directory of PEM certificates to trust instead of the system's.
    pub ca: Option<PathBuf>,
}

/// Everything that the driver was told.
#[derive(Clone, PartialEq)]
pub struct TenglingConfig {
    /// Management endpoints in order of preference; at least one.
    pub endpoints: Vec<Endpoint>,
    /// Account.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// Pools to offer, at least one.
    pub pools: Vec<String>,
    /// Most parent links that a volume may have; 0 or less means full copies instead of linked clones.
    pub max_clone_depth: i64,
    /// Make volumes from snapshots independent before they are handed out.
    pub flatten_volume_from_snapshot: bool,
    /// CHAP, when demanded.
    pub chap: Option<ChapCredentials>,
    /// Certificate policy.
    pub tls: TlsPolicy,
    /// Percent of each pool that the scheduler must leave free (0 to 100).
    pub reserved_percentage: u32,
    /// Over-subscription of thin volumes.
    pub over_subscription: OverSubscription,
    /// Name that volume types pin to.
    pub backend_name: String,
    /// Cinder's `use_multipath_for_image_xfer`: control-host attachments want several paths.
    pub use_multipath_for_image_xfer: bool,
    /// Cinder's `enforce_multipath_for_image_xfer`.
    pub enforce_multipath_for_image_xfer: bool,
    /// Time limits and attempts.
    pub limits: Limits,
}

impl fmt::Debug for TenglingConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenglingConfig")
            .field("endpoints", &self.endpoints)
            .field("username", &self.username)
            .field("password", &self.password)
            .field("pools", &self.pools)
            .field("max_clone_depth", &self.max_clone_depth)
            .field("flatten_volume_from_snapshot", &self.flatten_volume_from_snapshot)
            .field("chap", &self.chap)
            .field("tls", &self.tls)
            .field("backend_name", &self.backend_name)
            .finish_non_exhaustive()
    }
}

/// Options of Cinder that other parts of the system read; known here so that they raise no warning.
const ELSEWHERE: &[&str] = &[
    "backend_host",
    "image_volume_cache_enabled",
    "image_volume_cache_max_count",
    "image_volume_cache_max_size_gb",
    "volume_driver",
];

/// What a tenant may have: options of Cinder that the workflow reads; known and checked here for the same reason.
const TENANT: &[&str] = &["per_volume_size_limit", "quota_gigabytes", "quota_snapshots", "quota_volumes"];

impl TenglingConfig {
    /// Reads a back-end section (`key = value` pairs of a `cinder.conf`).
    ///
    /// # Errors
    /// A missing required option, an unknown `tengling_*` option, or a value that cannot be understood. The message
    /// never repeats a password.
    pub fn from_options(
        options: &BTreeMap<String, String>,
    ) -> Result<(TenglingConfig, Vec<Warning>), ConfigError> {
        let mut section = Section { options, warnings: Vec::new() };
        section.check_keys()?;
        let verify = section.flag("driver_ssl_cert_verify", false)?;
        let ca = section.text("driver_ssl_cert_path").map(PathBuf::from);
        if ca.is_some() && !verify {
            section.warn("driver_ssl_cert_path", "has no effect while driver_ssl_cert_verify is off");
        }
        let config = TenglingConfig {
            endpoints: endpoint::parse_list(section.need("tengling_sanip")?)
                .map_err(|problem| ConfigError::new("tengling_sanip", problem))?,
            username: section.need("tengling_username")?.to_owned(),
            password: Secret::new(section.need("tengling_password")?),
            pools: section.pools()?,
            max_clone_depth: section.number("tengling_max_clone_depth", 5)?,
            flatten_volume_from_snapshot: section.flag("tengling_flatten_volume_from_snapshot", false)?,
            chap: section.chap()?,
            tls: TlsPolicy { verify, ca },
            reserved_percentage: section.percentage("reserved_percentage")?,
            over_subscription: section.over_subscription()?,
            backend_name: section.text("volume_backend_name").unwrap_or("TenglingISCSIDriver").to_owned(),
            use_multipath_for_image_xfer: section.flag("use_multipath_for_image_xfer", false)?,
            enforce_multipath_for_image_xfer: section.flag("enforce_multipath_for_image_xfer", false)?,
            limits: Limits::default(),
        };
        section.flag("image_volume_cache_enabled", false)?;
        section.number("image_volume_cache_max_size_gb", 0)?;
        section.number("image_volume_cache_max_count", 0)?;
        TENANT.iter().try_for_each(|key| section.check_limit(key))?;
        if config.endpoints.iter().any(|e| !e.tls) {
            section.warn("tengling_sanip", "plain http carries the password unprotected");
        }
        Ok((config, section.warnings))
    }
}

struct Section<'a> {
    options: &'a BTreeMap<String, String>,
    warnings: Vec<Warning>,
}

impl<'a> Section<'a> {
    const OWN: &'static [&'static str] = &[
        "tengling_flatten_volume_from_snapshot",
        "tengling_max_clone_depth",
        "tengling_password",
        "tengling_sanip",
        "tengling_storagepool",
        "tengling_username",
    ];
    const CINDER: &'static [&'static str] = &[
        "chap_password",
        "chap_username",
        "driver_ssl_cert_path",
        "driver_ssl_cert_verify",
        "enforce_multipath_for_image_xfer",
        "max_over_subscription_ratio",
        "reserved_percentage",
        "use_chap_auth",
        "use_multipath_for_image_xfer",
        "volume_backend_name",
    ];

    fn check_keys(&mut self) -> Result<(), ConfigError> {
        for key in self.options.keys() {
            let key = key.as_str();
            let known = [Self::OWN, Self::CINDER, ELSEWHERE, TENANT];
            if known.iter().any(|keys| keys.contains(&key)) {
                continue;
            }
            if key.starts_with("tengling_") {
                return Err(ConfigError::new(
                    key,
                    format!("unknown option; known are {}", Self::OWN.join(", ")),
                ));
            }
            self.warnings
                .push(Warning { key: key.to_owned(), message: "not used by this driver".to_owned() });
        }
        Ok(())
    }

    fn warn(&mut self, key: &str, message: &str) {
        self.warnings.push(Warning { key: key.to_owned(), message: message.to_owned() });
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.options.get(key).map(|v| v.trim()).filter(|v| !v.is_empty())
    }

    fn need(&self, key: &str) -> Result<&'a str, ConfigError> {
        self.text(key).ok_or_else(|| ConfigError::new(key, "must be given"))
    }

    /// The boolean words of oslo.config.
    fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(text) = self.text(key) else { return Ok(default) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(ConfigError::new(key, "not one of true, false, 1, 0, yes, no, on, off")),
        }
    }

    fn number(&self, key: &str, default: i64) -> Result<i64, ConfigError> {
        match self.text(key) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| ConfigError::new(key, "not a whole number")),
        }
    }

    /// A limit of a tenant as Cinder writes it: -1 stands for none.
    fn check_limit(&self, key: &str) -> Result<(), ConfigError> {
        match self.number(key, -1)? {
            -1.. => Ok(()),
            _ => Err(ConfigError::new(key, "neither a number from 0 up nor -1 for no limit")),
        }
    }

    fn percentage(&self, key: &str) -> Result<u32, ConfigError> {
        u32::try_from(self.number(key, 0)?)
            .ok()
            .filter(|p| *p <= 100)
            .ok_or_else(|| ConfigError::new(key, "not between 0 and 100"))
    }

    fn over_subscription(&self) -> Result<OverSubscription, ConfigError> {
        let key = "max_over_subscription_ratio";
        match self.text(key) {
            None => Ok(OverSubscription::Ratio(20.0)),
            Some("auto") => Ok(OverSubscription::Auto),
            Some(text) => match text.parse::<f64>() {
                Ok(ratio) if ratio.is_finite() && ratio >= 1.0 => Ok(OverSubscription::Ratio(ratio)),
                _ => Err(ConfigError::new(key, "neither auto nor a number of at least 1")),
            },
        }
    }

    fn pools(&self) -> Result<Vec<String>, ConfigError> {
        let key = "tengling_storagepool";
        let mut pools: Vec<String> = Vec::new();
        for name in self.need(key)?.split(';').map(str::trim).filter(|p| !p.is_empty()) {
            if pools.iter().any(|p| p == name) {
                return Err(ConfigError::new(key, format!("pool {name} is named twice")));
            }
            pools.push(name.to_owned());
        }
        if pools.is_empty() {
            return Err(ConfigError::new(key, "must name at least one pool"));
        }
        Ok(pools)
    }

    fn chap(&mut self) -> Result<Option<ChapCredentials>, ConfigError> {
        if !self.flag("use_chap_auth", false)? {
            return Ok(None);
        }
        let username = self.need("chap_username")?.to_owned();
        let password = self.need("chap_password")?;
        if password.len() < 12 {
            // RFC 7143 section 12.1.3: secrets under 96 bits need another protection of the connection.
            self.warn("chap_password", "shorter than 12 characters; many initiators refuse it");
        }
        Ok(Some(ChapCredentials { username, password: Secret::new(password) }))
    }
}

#[cfg(test)]
mod tests;
