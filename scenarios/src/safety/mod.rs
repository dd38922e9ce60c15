//! What keeps a real array safe: the run's tag, a journal that is synced before anything is made, and limits.
//!
//! Only objects that carry a tag from our own journal are ever removed (design rule "safety on real arrays").

mod clean;
mod guard;
mod journal;
mod needs;
mod tag;

pub(crate) use clean::{CleanError, clean_by, clean_with};
pub use clean::{Cleaned, clean};
pub use guard::{Counts, GuardedDriver};
pub use journal::{Entry, Journal, JournalError};
pub(crate) use needs::beyond;
pub use tag::Tag;
