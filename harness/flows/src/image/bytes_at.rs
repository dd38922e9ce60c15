//! Positioned reads of an image, in memory or in a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::ImageError;

/// The bytes of an image file.
#[derive(Clone)]
pub enum ImageBytes {
    /// In memory: the only kind inside the simulation.
    Memory(Bytes),
    /// A file that was opened once; the path is for error texts and the converter.
    File {
        /// Where it is.
        path: PathBuf,
        /// The open file.
        file: Arc<File>,
        /// Its length in bytes when it was opened.
        len: u64,
    },
}

impl std::fmt::Debug for ImageBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "memory[{} bytes]", bytes.len()),
            Self::File { path, len, .. } => write!(f, "{}[{len} bytes]", path.display()),
        }
    }
}

impl ImageBytes {
    /// Opens a file read-only. Only regular files are images.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let said = |e: io::Error| ImageError::Read(format!("{}: {e}", path.display()));
        let meta = std::fs::metadata(path).map_err(said)?;
        if !meta.is_file() {
            return Err(ImageError::Read(format!("{} is not a regular file", path.display())));
        }
        let file = File::open(path).map_err(said)?;
        Ok(Self::File { path: path.to_owned(), file: Arc::new(file), len: meta.len() })
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// True without a single byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads up to `buf.len()` bytes from `offset`; fewer only at the end of the image.
    pub fn read_some(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ImageError> {
        let available = self.len().saturating_sub(offset).min(buf.len() as u64);
        let count = usize::try_from(available).unwrap_or(buf.len());
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                buf[..count].copy_from_slice(&bytes[start..start + count]);
            }
            Self::File { file, path, .. } => file
                .read_exact_at(&mut buf[..count], offset)
                .map_err(|e| ImageError::Read(format!("{} at {offset}: {e}", path.display())))?,
        }
        Ok(count)
    }

    /// Where the next byte at or after `offset` is that is not in a hole of the file; its length when there is none. What
    /// does not know holes answers `offset`.
    pub(crate) fn next_data(&self, offset: u64) -> u64 {
        let Self::File { file, len, .. } = self else { return offset };
        match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(data) => data.clamp(offset, *len),
            Err(rustix::io::Errno::NXIO) => *len,
            Err(_) => offset,
        }
    }

    /// Reads exactly `buf.len()` bytes, or says that the image is too short for `what`.
    pub fn read_exact(&self, offset: u64, buf: &mut [u8], what: &str) -> Result<(), ImageError> {
        if self.read_some(offset, buf)? < buf.len() {
            return Err(ImageError::Corrupt(format!("{what} at {offset} lies beyond the end")));
        }
        Ok(())
    }

    /// `len` bytes from `offset`, zero-padded at the end of the image; without a copy when they are in memory.
    pub(crate) fn slice_padded(&self, offset: u64, len: usize) -> Result<Bytes, ImageError> {
        if let Self::Memory(bytes) = self {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            if bytes.len() - start >= len {
                return Ok(bytes.slice(start..start + len));
            }
        }
        let mut buf = vec![0; len];
        self.read_some(offset, &mut buf)?;
        Ok(buf.into())
    }
}
