//! A fault profile in a file: how often what is broken, and what generated plans do.

use sanbench_runner::generate::{OPERATIONS, Profile, RARITIES, nemesis};
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;

/// Reads the text of a fault profile.
///
/// # Errors
/// Not TOML, unknown keys, a kind or an operation that does not exist, more than 100 faults for each hundred steps.
pub(crate) fn parse(file: &str, text: &str) -> Result<Profile, ConfigError> {
    let broken = |e: toml::de::Error| {
        ConfigError::at_offset(file, text, e.span().map_or(0, |s| s.start), e.message().trim_end())
    };
    let table = DeTable::parse(text).map_err(broken)?;
    let profile: Profile = toml::from_str(text).map_err(broken)?;
    // Where a key stands, in a table of the file or at its top.
    let at = |section: Option<&str>, key: &str, problem: String| {
        let inner = section.and_then(|name| match table.get_ref().get(name)?.get_ref() {
            DeValue::Table(inner) => Some(inner),
            _ => None,
        });
        let found = inner.unwrap_or(table.get_ref()).keys().find(|k| k.get_ref() == key);
        ConfigError::at_offset(file, text, found.map_or(0, |k| k.span().start), problem)
    };
    if let Some(operation) = profile.unknown_operation() {
        let known = [OPERATIONS, RARITIES].concat().join(", ");
        return Err(at(Some("operations"), operation, format!("no operation is called `{operation}`"))
            .hint(format!("operations: {known}")));
    }
    if let Some(kind) = profile.unknown_kind() {
        let known = nemesis::KINDS.iter().map(|k| k.name).collect::<Vec<_>>().join(", ");
        return Err(at(Some("kinds"), kind, format!("no kind of fault is called `{kind}`"))
            .hint(format!("kinds: {known}")));
    }
    for (key, value) in [("faults", profile.faults), ("outages", profile.outages)] {
        if value > 100 {
            return Err(at(None, key, format!("`{key}` is for each hundred steps: 0 to 100")));
        }
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_fault_profile_and_points_at_mistakes() {
        let good = "faults = 60\n[kinds]\npower-loss = 5\n[operations]\nextend = 0\n";
        let profile = parse("f.toml", good).unwrap();
        assert_eq!((profile.faults, profile.outages), (60, Profile::default().outages));
        assert_eq!((profile.kinds["power-loss"], profile.operations["extend"]), (5, 0));
        for (bad, line, column, problem) in [
            ("faults = [", 1, 11, "unclosed"),
            ("faults = -1", 1, 10, "invalid value"),
            ("\noperations = [\"create\"]", 2, 14, "invalid type"),
            ("frequency = 3", 1, 1, "unknown field `frequency`"),
            ("[kinds]\npower-loss = 1\n gremlins = 1", 3, 2, "no kind of fault is called `gremlins`"),
            ("operations.extend = 1\noperations.fly = 1", 2, 12, "no operation is called `fly`"),
            ("outages = 6\nfaults = 101", 2, 1, "`faults` is for each hundred steps"),
        ] {
            let error = parse("f.toml", bad).unwrap_err();
            assert!(error.problem.contains(problem), "{bad}: {error}");
            assert_eq!((error.line, error.column), (line, column), "{error}");
            assert!(error.to_string().starts_with(&format!("f.toml:{line}:{column}: ")), "{error}");
        }
    }
}
