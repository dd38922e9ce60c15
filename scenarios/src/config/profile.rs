//! A profile: the third environment, an array of which the bench knows only addresses and credentials.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::error::{ConfigError, blank_secrets};
use super::ini::{Ini, Section};

/// A profile file (TOML).
#[derive(Debug, Clone)]
pub struct Profile {
    /// Name shown in reports.
    pub name: String,
    /// Back-end section.
    pub backend: Section,
    /// Limits that hold before the first write.
    pub limits: Limits,
    /// Consent to destructive steps.
    pub consent: Option<Consent>,
    /// Where the profile came from.
    pub file: String,
}

/// What a run may use at most on a real array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Sum of the sizes of all volumes that exist at once, in GiB.
    pub capacity_gib: u64,
    /// Array objects that exist at once.
    pub objects: u64,
    /// Wall-clock seconds for the whole run.
    pub duration_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { capacity_gib: 64, objects: 256, duration_s: 1800 }
    }
}

/// Consent to destructive steps, bound to one array.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// Serial number of the array that may be harmed.
    pub array_serial: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<String>,
    backend: Spanned<BTreeMap<String, Spanned<toml::Value>>>,
    #[serde(default)]
    limits: Limits,
    consent: Option<Consent>,
}

impl Profile {
    /// Reads the text of a profile.
    ///
    /// # Errors
    /// Not TOML, unknown keys, a back-end value that is no scalar, a limit of zero.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let at = |offset: usize, problem: String| ConfigError::at_offset(file, text, offset, problem);
        let parsed: File = toml::from_str(text)
            .map_err(|e| at(e.span().map_or(0, |s| s.start), e.message().trim_end().to_owned()))?;
        let mut options = BTreeMap::new();
        for (key, value) in parsed.backend.get_ref() {
            let start = value.span().start;
            let place = at(start, String::new());
            let text = match value.get_ref() {
                toml::Value::String(s) => s.clone(),
                toml::Value::Integer(n) => n.to_string(),
                toml::Value::Float(n) => n.to_string(),
                toml::Value::Boolean(b) => b.to_string(),
                _ => return Err(at(start, format!("`{key}` must be a text, a number or a boolean"))),
            };
            let snippet = blank_secrets(place.snippet.as_deref().unwrap_or_default());
            options.insert(key.clone(), (text, place.line, place.column, snippet));
        }
        let limits = parsed.limits;
        if limits.capacity_gib == 0 || limits.objects == 0 || limits.duration_s == 0 {
            let offset = text.find("[limits]").unwrap_or(0);
            return Err(at(offset, "a limit of zero lets nothing run".into()));
        }
        Ok(Self {
            name: parsed.name.unwrap_or_else(|| file.to_owned()),
            backend: Section::from_options(file, options),
            limits,
            consent: parsed.consent,
            file: file.to_owned(),
        })
    }

    /// A back-end section of a `cinder.conf`, as it stands, with default limits.
    ///
    /// # Errors
    /// Those of [`Ini::parse`], or no such section.
    pub fn from_cinder_conf(file: &str, text: &str, section: &str) -> Result<Self, ConfigError> {
        let ini = Ini::parse(file, text)?;
        Ok(Self {
            name: format!("{section} of {file}"),
            backend: ini.section(section)?.clone(),
            limits: Limits::default(),
            consent: None,
            file: file.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_profile_and_points_at_mistakes() {
        let good = "name = \"lab\"\n[backend]\ntengling_sanip = \"http://127.0.0.1:1/deviceManager/rest/\"\ntengling_max_clone_depth = 5\nuse_chap_auth = true\n[limits]\ncapacity_gib = 3\n";
        let profile = Profile::parse("lab.toml", good).unwrap();
        assert_eq!(profile.backend.get("tengling_max_clone_depth"), Some("5"));
        assert_eq!((profile.limits.capacity_gib, profile.limits.objects), (3, 256));
        let mut all = String::new();
        for bad in [
            "",
            "[backend",
            "[backend]\nx = [1]",
            "[backend]\npassword = [\"hunter2\"]",
            "[backend]\n[limits]\nobjects = 0",
            "[backend]\n[limits]\ncolour = 1",
        ] {
            all.push_str(&format!("{}\n\n", Profile::parse("bad.toml", bad).unwrap_err()));
        }
        assert!(!all.contains("hunter2"), "{all}");
        insta::assert_snapshot!(all);
    }
}
