//! What of an array outlasts it: the seam between the pure value and whoever keeps it on disk.
//!
//! An array is in memory unless [`Array::keep`] gives it a journal. With one it notes what changes, and a keeper takes the
//! [`Changes`] from time to time and makes them durable **all at once**: what is on disk is always one whole state that the
//! array has been in, never a mixture. [`Array::restore`] makes an array from it again. The array never waits and knows no
//! files; what has to be durable before somebody is answered it says by counting promises ([`Array::promised`]): an answer
//! to a request that raised the number may go out when changes taken at that number or later are durable.
//!
//! What is kept:
//!
//! * *objects*: one JSON value for each, by kind and key, whole at each change;
//! * *nodes* of the extent maps and *extents*, by number, shared by reference as they are in memory, so that a snapshot
//!   costs as little on disk as it does here; they are gone when their last holder is;
//! * *pages* of content, which the [`Medium`] keeps and the extents name.
//!
//! # A new kind of object
//!
//! Keep it in a `Table` (with a name) or a [`Tracked`] (without), both fields of [`Array`], and derive `Serialize` and
//! `Deserialize`. Then `shelves` in `journal.rs` does not compile before the field stands in its list with a kind of its
//! own, and that is all. Fields added to a kind later need `#[serde(default)]`; what a restart shall forget is
//! `#[serde(skip)]`. State of the array that is no object belongs into `Core` in the same file. Content held
//! by anything but a LUN, a layer or a job has to be kept in `Array::keep_content`, too.

pub(crate) mod forms;
mod journal;
mod medium;
mod restore;
mod tracked;

pub(crate) use journal::Journal;
pub use journal::{Changes, ExtentChange, JournalDefects, NodeChange};
pub use medium::{EXTENT_PAGES, MEDIUM_PAGE, Medium, Places, Rotten};
pub use restore::{Damage, Saved, SavedExtent, SavedNode, SavedObject};
pub use tracked::ObjectChange;
pub(crate) use tracked::{Shelf, Tracked};

#[cfg(doc)]
use crate::Array;
