//! Words of one line with their columns. Knows quotes and comments, nothing of verbs.

use super::error::StoryError;

/// A word, or the `key` and `value` of a `key=value` word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// The key before `=`, when the word has one.
    pub(super) key: Option<String>,
    /// The text, quotes removed.
    pub(super) text: String,
    /// 1-based column of the first character.
    pub(super) column: usize,
    /// Width in characters.
    pub(super) width: usize,
}

/// Longest line in characters, so that hostile input stays cheap.
const LINE_MAX: usize = 2000;

/// Splits one line. `number` is 1-based.
pub(super) fn words(number: usize, line: &str) -> Result<Vec<Word>, StoryError> {
    let chars: Vec<char> = line.chars().collect();
    let fail = |column: usize, width: usize, problem: &str, hint: &str| StoryError {
        line: number,
        column,
        width,
        problem: problem.to_owned(),
        hint: Some(hint.to_owned()),
        snippet: snippet(line),
    };
    if chars.len() > LINE_MAX {
        return Err(fail(1, 1, "line is too long", "a line has at most 2000 characters"));
    }
    let mut words = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        match chars[at] {
            c if c.is_whitespace() => at += 1,
            '#' => break,
            _ => {
                let start = at;
                let mut text = String::new();
                let mut key = None;
                while at < chars.len() && !chars[at].is_whitespace() && chars[at] != '#' {
                    match chars[at] {
                        '"' => {
                            let open = at;
                            at += 1;
                            loop {
                                match chars.get(at) {
                                    None => {
                                        return Err(fail(
                                            open + 1,
                                            chars.len() - open,
                                            "quote is not closed",
                                            "add the closing `\"` on the same line",
                                        ));
                                    }
                                    Some('"') => break,
                                    Some('\\') if matches!(chars.get(at + 1), Some('"' | '\\')) => {
                                        text.push(chars[at + 1]);
                                        at += 2;
                                    }
                                    Some(c) => {
                                        text.push(*c);
                                        at += 1;
                                    }
                                }
                            }
                            at += 1;
                        }
                        '=' if key.is_none() && is_key(&text) => {
                            key = Some(std::mem::take(&mut text));
                            at += 1;
                        }
                        c => {
                            text.push(c);
                            at += 1;
                        }
                    }
                }
                words.push(Word { key, text, column: start + 1, width: at - start });
            }
        }
    }
    Ok(words)
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':' | '.'))
}

/// The line as it may be shown on a terminal.
pub(super) fn snippet(line: &str) -> String {
    line.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
