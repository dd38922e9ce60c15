//! Errors in story files: what happened, where, and what to do.

use std::fmt;

/// A story line that cannot be understood. Shown as `file:line:column: problem`, the line, a caret, a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryError {
    /// 1-based line.
    pub line: usize,
    /// 1-based column, counted in characters.
    pub column: usize,
    /// Characters that the caret underlines, at least 1.
    pub width: usize,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub hint: Option<String>,
    /// The source line, cut to 200 characters, control characters replaced.
    pub snippet: String,
}

impl StoryError {
    /// The whole message with the file's name in front.
    pub fn render(&self, file: &str) -> String {
        let mut text = format!("{file}:{}:{}: {}\n", self.line, self.column, self.problem);
        let number = self.line.to_string();
        text.push_str(&format!("  {number} | {}\n", self.snippet));
        text.push_str(&format!(
            "  {} | {}{}\n",
            " ".repeat(number.len()),
            " ".repeat(self.column.saturating_sub(1)),
            "^".repeat(self.width.clamp(1, 80))
        ));
        if let Some(hint) = &self.hint {
            text.push_str(&format!("  {} = {hint}\n", " ".repeat(number.len())));
        }
        text
    }
}

impl fmt::Display for StoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} column {}: {}", self.line, self.column, self.problem)
    }
}

impl std::error::Error for StoryError {}
