//! A configuration error with the place it stands at.

use std::fmt;

/// What is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// File as the user named it.
    pub file: String,
    /// 1-based line; 0 when the whole file is meant.
    pub line: usize,
    /// 1-based column.
    pub column: usize,
    /// What is wrong; never carries a secret's value.
    pub problem: String,
    /// What to do.
    pub hint: Option<String>,
    /// The source line, values of secret keys blanked.
    pub snippet: Option<String>,
}

impl ConfigError {
    /// An error about the file as a whole.
    pub fn whole(file: &str, problem: impl Into<String>) -> Self {
        Self { file: file.into(), line: 0, column: 0, problem: problem.into(), hint: None, snippet: None }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error at a byte offset of the text.
    pub fn at_offset(file: &str, text: &str, offset: usize, problem: impl Into<String>) -> Self {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let column = text[start..end].chars().count() + 1;
        Self {
            file: file.into(),
            line,
            column,
            problem: problem.into(),
            hint: None,
            snippet: text[start..].lines().next().map(blank_secrets),
        }
    }
}

/// The line with the value of a key that smells of a secret replaced.
pub(super) fn blank_secrets(line: &str) -> String {
    let shown: String = line.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
    match shown.split_once(['=', ':']) {
        Some((key, _)) if is_secret(key) => format!("{}= ***", key.trim_end().to_owned() + " "),
        Some(_) => shown,
        // Without a separator it is not known where the value begins.
        None if is_secret(&shown) => {
            let key: String = shown.split_inclusive(char::is_whitespace).take(1).collect();
            format!("{} ***", key.trim_end())
        }
        None => shown,
    }
}

/// Whether values of this key must not be shown.
pub(crate) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.contains("password") || key.contains("secret")
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.problem)?,
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.problem)?,
        }
        if let Some(snippet) = &self.snippet {
            let number = self.line.to_string();
            let pad = " ".repeat(number.len());
            write!(
                f,
                "\n  {number} | {snippet}\n  {pad} | {}^",
                " ".repeat(self.column.saturating_sub(1).min(200))
            )?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  = {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}
