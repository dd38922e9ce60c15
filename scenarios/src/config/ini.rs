//! The `cinder.conf` dialect (oslo.config): sections, `key = value`, comments, continuation lines.

use std::collections::BTreeMap;

use super::error::{ConfigError, blank_secrets};

/// A parsed file.
#[derive(Debug, Clone)]
pub struct Ini {
    file: String,
    sections: BTreeMap<String, Section>,
}

/// One section.
#[derive(Clone, Default)]
pub struct Section {
    file: String,
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone)]
struct Entry {
    value: String,
    line: usize,
    column: usize,
    snippet: String,
}

impl std::fmt::Debug for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

/// Largest file, in bytes.
const FILE_MAX: usize = 1 << 20;

impl Ini {
    /// Reads the text of `file`.
    ///
    /// # Errors
    /// A line that is neither section, option, comment nor continuation; a key given twice in a section; a file that is
    /// too large or has control characters.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        if text.len() > FILE_MAX {
            return Err(ConfigError::whole(file, "configuration is larger than 1 MiB"));
        }
        let mut ini = Self { file: file.into(), sections: BTreeMap::new() };
        let mut section: Option<String> = None;
        let mut last: Option<String> = None;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
            let fail = |problem: &str, hint: &str| ConfigError {
                file: file.into(),
                line: number,
                column,
                problem: problem.into(),
                hint: Some(hint.into()),
                snippet: Some(blank_secrets(line)),
            };
            let body = line.trim();
            if body.is_empty() || body.starts_with(['#', ';']) {
                last = None;
                continue;
            }
            if body.chars().any(|c| c.is_control() && c != '\t') {
                return Err(fail("control characters in a line", "configuration is plain text"));
            }
            if column > 1
                && let (Some(section), Some(key)) = (&section, &last)
            {
                if let Some(entry) = ini.sections.get_mut(section).and_then(|s| s.entries.get_mut(key)) {
                    entry.value.push('\n');
                    entry.value.push_str(body);
                }
                continue;
            }
            if let Some(rest) = body.strip_prefix('[') {
                let Some(name) = rest.strip_suffix(']').map(str::trim).filter(|n| !n.is_empty()) else {
                    return Err(fail("section header is not closed", "write [section]"));
                };
                ini.sections
                    .entry(name.to_owned())
                    .or_insert_with(|| Section { file: file.into(), ..Section::default() });
                section = Some(name.to_owned());
                last = None;
                continue;
            }
            let Some((key, value)) = body.split_once(['=', ':']) else {
                return Err(fail("neither a section, an option nor a comment", "write key = value"));
            };
            let key = key.trim().to_owned();
            let Some(open) = &section else {
                return Err(fail(
                    "option before the first section",
                    "put it under [DEFAULT] or a back-end section",
                ));
            };
            let entries = &mut ini.sections.entry(open.clone()).or_default().entries;
            if key.is_empty() || entries.contains_key(&key) {
                return Err(fail("option is empty or given twice in its section", "keep one of them"));
            }
            let entry =
                Entry { value: value.trim().to_owned(), line: number, column, snippet: blank_secrets(line) };
            entries.insert(key.clone(), entry);
            last = Some(key);
        }
        Ok(ini)
    }

    /// The section of that name.
    ///
    /// # Errors
    /// Names the sections that exist.
    pub fn section(&self, name: &str) -> Result<&Section, ConfigError> {
        self.sections.get(name).ok_or_else(|| {
            let known = self.sections.keys().cloned().collect::<Vec<_>>().join(", ");
            ConfigError::whole(&self.file, format!("no section [{name}]")).hint(format!("sections: {known}"))
        })
    }
}

impl Section {
    /// A section that does not come from a file's text, such as a profile's table.
    pub fn from_options(file: &str, options: BTreeMap<String, (String, usize, usize, String)>) -> Self {
        let entry = |(value, line, column, snippet)| Entry { value, line, column, snippet };
        Self { file: file.into(), entries: options.into_iter().map(|(k, v)| (k, entry(v))).collect() }
    }

    /// Values by key.
    pub fn options(&self) -> BTreeMap<String, String> {
        self.entries.iter().map(|(k, e)| (k.clone(), e.value.clone())).collect()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(|e| e.value.as_str())
    }

    /// An error at the place where the key stands.
    pub fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        match self.entries.get(key) {
            Some(e) => ConfigError {
                file: self.file.clone(),
                line: e.line,
                column: e.column,
                problem: problem.into(),
                hint: None,
                snippet: Some(e.snippet.clone()),
            },
            None => ConfigError::whole(&self.file, problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "# comment\n[tldriver]\nvolume_backend_name = tldriver\ntengling_sanip = 192.0.2.10\ntengling_password=a=b\nlist = one\n  two\n[other]\nkey: v\n";

    #[test]
    fn reads_sections_continuations_and_equals_signs_in_values() {
        let ini = Ini::parse("cinder.conf", CONF).unwrap();
        let section = ini.section("tldriver").unwrap();
        assert_eq!(section.get("tengling_password"), Some("a=b"));
        assert_eq!(section.get("list"), Some("one\ntwo"));
        assert_eq!(ini.section("other").unwrap().get("key"), Some("v"));
        assert!(!format!("{ini:?}").contains("a=b"), "secrets must not be shown");
    }

    #[test]
    fn errors_show_the_place_and_never_a_secret() {
        let ini = Ini::parse("cinder.conf", CONF).unwrap();
        let mut all = String::new();
        for bad in [
            "key = 1",
            "[x",
            "[x]\nnonsense",
            "[x]\na = 1\na = 2",
            "[x]\na = \u{1}",
            "[x]\n  password = hunter2 \u{1}",
        ] {
            all.push_str(&format!("{}\n\n", Ini::parse("bad.conf", bad).unwrap_err()));
        }
        all.push_str(&format!("{}\n\n", ini.section("nope").unwrap_err()));
        all.push_str(&ini.section("tldriver").unwrap().error("tengling_password", "too short").to_string());
        assert!(!all.contains("hunter2") && !all.contains("a=b"), "{all}");
        insta::assert_snapshot!(all);
    }
}
