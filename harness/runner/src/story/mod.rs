//! The story language: one verb a line, `#` comments, symbolic names.
//!
//! One [table of verbs](verbs::VERBS) drives everything: the tokenizer's expectations, the errors (line, column,
//! snippet, hint), the printer, `sanbench explain` and the help. [`parse`] and [`print`](fn@print) are inverses on plans:
//! `parse(print(plan)) == plan`, which a property test holds.

mod administer;
mod error;
mod header;
mod lex;
mod pair;
mod parse;
mod plain;
mod print;
mod value;
pub mod verbs;

pub(crate) use administer::NUMBER;
pub use error::StoryError;
pub use parse::{edit_distance, parse};
pub use plain::{plain, plain_fault};
pub use print::{print, print_step};
pub use value::{Name, Size};

#[cfg(test)]
mod tests;
