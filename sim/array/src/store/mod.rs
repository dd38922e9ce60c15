//! The thin copy-on-write store: what is behind a LUN or snapshot, without names, mapping or time.
//!
//! * [`map`]: extent number -> slot, a radix tree with shared nodes, so that freezing it costs one reference count.
//! * [`extent`]: 64 KiB of content in 4 KiB pages, and the token by which it counts against a pool.
//! * [`kept`]: the same content on the medium of an array with a journal; [`mark`]: what of all this is kept there.
//! * [`content`]: a map, its size and its link to a frozen parent: read, write, unmap, copy up.
//!
//! Slots have three states. *Absent* falls through to the parent, and reads zero where that has nothing; *zero* hides the
//! parent; *data* is an extent. Physical space is the number of extents alive, each counted once however many
//! maps share it.
//!
//! What it costs in memory, without a journal: an extent its written pages and about 120 bytes (one written in parts 600),
//! its place in a leaf 16 bytes more; a LUN or a snapshot about 1.5 KiB with its names, and nothing for content that it shares.
//! With a journal the pages are on the medium: then an extent is about 250 bytes, whatever it holds.

pub(crate) mod content;
pub(crate) mod extent;
pub(crate) mod kept;
pub(crate) mod map;
pub(crate) mod mark;

pub(crate) use content::{Content, Layer};
pub(crate) use extent::{Counter, Quota, Space};

/// Bytes in a block (the only block size of this array).
pub const BLOCK_BYTES: u64 = 512;
/// Blocks in an extent, the unit of space and of copying.
pub const EXTENT_BLOCKS: u64 = 128;
/// Bytes in an extent.
pub(crate) const EXTENT_BYTES: usize = 65_536;
/// Bytes in a page, the unit of content inside an extent.
pub(crate) const PAGE_BYTES: usize = 4_096;
/// Pages in an extent.
pub(crate) const PAGES: usize = EXTENT_BYTES / PAGE_BYTES;
