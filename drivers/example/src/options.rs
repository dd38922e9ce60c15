//! The back-end section of a `cinder.conf` in this vendor's words.
//!
//! In simulation and over loopback the bench hands over the options of its own simulated array, which carry the prefix
//! `tengling_`; they are taken as they come, so that stories which set an option (a clone limit, CHAP) reach this driver too.

use std::collections::BTreeMap;

use sanbench::registry::OptionError;

/// Options that the inner driver knows by another name.
const RENAMED: &[(&str, &str)] = &[
    ("example_management_url", "tengling_sanip"),
    ("example_user", "tengling_username"),
    ("example_password", "tengling_password"),
    ("example_pools", "tengling_storagepool"),
    ("example_clone_depth", "tengling_max_clone_depth"),
    ("example_independent_volumes", "tengling_flatten_volume_from_snapshot"),
];

/// Translates a section.
///
/// # Errors
/// An `example_*` option that does not exist, or one that is given by both names. Values are never repeated: one of them is a
/// password.
pub(crate) fn translate(options: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, OptionError> {
    let mut out = BTreeMap::new();
    for (key, value) in options {
        let name = match RENAMED.iter().find(|(ours, _)| ours == key) {
            Some((_, inner)) => inner,
            None if key.starts_with("example_") => {
                let known: Vec<&str> = RENAMED.iter().map(|(ours, _)| *ours).collect();
                return Err(refused(key, format!("no such option; there are {}", known.join(", "))));
            }
            None => key.as_str(),
        };
        if out.insert(name.to_owned(), value.clone()).is_some() {
            return Err(refused(key, format!("the section has {name} as well")));
        }
    }
    Ok(out)
}

/// The key by which the user knows an option of the inner driver.
pub(crate) fn ours(inner: &str, options: &BTreeMap<String, String>) -> String {
    let renamed = RENAMED
        .iter()
        .find(|(ours, name)| *name == inner && !options.contains_key(*name) && !ours.is_empty());
    renamed.map_or(inner, |(ours, _)| *ours).to_owned()
}

fn refused(key: &str, problem: String) -> OptionError {
    OptionError { key: key.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn own_names_become_inner_names_and_others_stay() {
        let out = translate(&section(&[("example_user", "admin"), ("volume_backend_name", "gold")]))
            .unwrap_or_default();
        assert_eq!(out, section(&[("tengling_username", "admin"), ("volume_backend_name", "gold")]));
    }

    #[test]
    fn unknown_and_doubled_options_are_refused_without_their_values() {
        let unknown = translate(&section(&[("example_passwrod", "geheim")])).map_err(|e| (e.key, e.problem));
        let (key, problem) = unknown.expect_err("a misspelt option");
        assert_eq!(key, "example_passwrod");
        assert!(problem.contains("example_password") && !problem.contains("geheim"), "{problem}");
        let doubled = section(&[("example_password", "a"), ("tengling_password", "b")]);
        assert!(translate(&doubled).is_err());
    }
}
