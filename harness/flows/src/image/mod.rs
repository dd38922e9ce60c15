//! Images: where they are, whether they are safe, and what bytes a volume made from one must hold.
//!
//! Order of trust: [`inspect`] reads the headers with bounds of its own before anything else touches an image;
//! [`ImageReader`] then yields the raw content for the write path (qcow2 through `imago`); [`digest`] computes what
//! the checker expects with a second, independent qcow2 walk (`qcow2.rs`), so that neither reader vouches for itself.

mod bytes_at;
pub(crate) mod cache;
mod convert;
mod counts;
mod digest;
mod inspect;
mod qcow2;
mod reader;
mod sample;
mod store;
mod vm_formats;

pub use bytes_at::ImageBytes;
pub(crate) use convert::{ImageWork, Staged};
pub use counts::check_counts;
pub use digest::{ImageDigests, digest};
pub use inspect::{Format, Inspected, inspect};
pub use reader::{Chunk, ImageReader, MAX_CHUNK};
pub use sample::{Sample, sample, sample_raw};
pub use store::{Image, ImageStore};

/// Why an image was not used, or stopped being readable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A word that is no disk format the bench knows.
    #[error("disk format {0:?} is not known")]
    UnknownFormat(String),
    /// The header says something else than the image's record (IMG-007).
    #[error("declared as {declared}, but looks like {detected}")]
    FormatMismatch {
        /// From the image record.
        declared: String,
        /// From the content.
        detected: String,
    },
    /// It looks like several formats at once (IMG-007).
    #[error("ambiguous: looks like {0}")]
    Ambiguous(String),
    /// A feature that can reach other files, or hides content (IMG-004, IMG-005, IMG-006).
    #[error("unsafe: {0}")]
    Unsafe(String),
    /// A feature that the reader does not offer, by name.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The file ends before something that its own tables point to.
    #[error("truncated or corrupt: {0}")]
    Corrupt(String),
    /// Larger than the volume or than the bound (IMG-008, IMG-009).
    #[error("virtual size of {virtual_size} bytes exceeds {limit} bytes")]
    TooBig {
        /// Bytes.
        virtual_size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The content is not what the image record promises (IMG-003).
    #[error("checksum differs from the image record")]
    Checksum,
    /// Reading failed.
    #[error("read failed: {0}")]
    Read(String),
    /// The external converter failed.
    #[error("conversion failed: {0}")]
    Convert(String),
}
