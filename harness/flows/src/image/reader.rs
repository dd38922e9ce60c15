//! The reader of the write path: raw content in chunks, holes told apart, memory bounded.

use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::qcow2::Qcow2;
use imago::storage::drivers::CommonStorageHelper;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Mapping, Storage};
use sanbench_api::BLOCK_SIZE;

use super::{Format, ImageBytes, ImageError, Inspected};

/// Longest chunk in bytes.
pub const MAX_CHUNK: u64 = 1 << 20;
/// Granule in bytes in which zero runs are looked for (as `qemu-img -S 4k`).
const GRANULE: usize = 4096;

/// A piece of the raw content. Offsets and lengths are multiples of 512 bytes; the last one is zero-padded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Reads as zeroes.
    Zero {
        /// Byte offset.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Has content.
    Data {
        /// Byte offset.
        offset: u64,
        /// At most [`MAX_CHUNK`] bytes.
        bytes: Bytes,
    },
}

enum Source {
    Raw(ImageBytes),
    Qcow2(Box<FormatAccess<Store>>),
}

/// Yields an inspected image from its first to its last byte.
pub struct ImageReader {
    source: Source,
    at: u64,
    end: u64,
    queued: std::collections::VecDeque<Chunk>,
}

impl fmt::Debug for ImageReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageReader").field("at", &self.at).field("end", &self.end).finish_non_exhaustive()
    }
}

impl ImageReader {
    /// Opens raw, iso and qcow2; everything that an image could open implicitly is denied.
    pub fn open(bytes: &ImageBytes, inspected: &Inspected) -> Result<Self, ImageError> {
        let (source, end) = match inspected.format {
            Format::Raw | Format::Iso => (Source::Raw(bytes.clone()), bytes.len()),
            Format::Qcow2 => {
                let store = Store { bytes: bytes.clone(), helper: CommonStorageHelper::default() };
                let image = Qcow2::<Store>::builder(store)
                    .write(false)
                    .backing(None)
                    .data_file(None)
                    .open(DenyImplicitOpenGate::default())
                    .map_err(|e| ImageError::Corrupt(format!("qcow2: {e}")))?;
                let access = FormatAccess::new(image);
                let end = access.size();
                (Source::Qcow2(Box::new(access)), end)
            }
            other => return Err(ImageError::Unsupported(format!("{other} without qemu-img"))),
        };
        Ok(Self { source, at: 0, end, queued: std::collections::VecDeque::new() })
    }

    /// Bytes of raw content.
    pub fn virtual_size(&self) -> u64 {
        self.end
    }

    /// The next chunk; `None` at the end.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, ImageError> {
        loop {
            if let Some(chunk) = self.queued.pop_front() {
                return Ok(Some(chunk));
            }
            if self.at >= self.end {
                return Ok(None);
            }
            self.fill_queue()?;
        }
    }

    fn fill_queue(&mut self) -> Result<(), ImageError> {
        let offset = self.at;
        let want = MAX_CHUNK.min(self.end - offset);
        let content = match &self.source {
            Source::Raw(bytes) => {
                // A hole of the file costs neither reading nor looking at.
                let data = bytes.next_data(offset).min(self.end);
                let hole = data - data % GRANULE as u64;
                if data == self.end || hole > offset {
                    let len = if data == self.end { self.end } else { hole } - offset;
                    self.at += len;
                    self.queued.push_back(Chunk::Zero { offset, len: padded(len) as u64 });
                    return Ok(());
                }
                self.at += want;
                bytes.slice_padded(offset, padded(want))?
            }
            Source::Qcow2(image) => {
                let said = |e: io::Error| ImageError::Corrupt(format!("qcow2 at {offset}: {e}"));
                // A hole may be long: it needs no memory.
                let (mapping, len) = image.get_mapping(offset, self.end - offset).map_err(said)?;
                if len == 0 {
                    return Err(ImageError::Corrupt(format!("qcow2 ends at {offset}")));
                }
                if matches!(mapping, Mapping::Zero { .. }) && len >= u64::from(BLOCK_SIZE) {
                    let len = if offset + len == self.end { len } else { len - len % u64::from(BLOCK_SIZE) };
                    self.at += len;
                    self.queued.push_back(Chunk::Zero { offset, len: padded(len) as u64 });
                    return Ok(());
                }
                let mapped = len;
                let len = padded(want.min(len.max(u64::from(BLOCK_SIZE))));
                self.at += len as u64;
                match mapping {
                    // Plain clusters lie in the file as the guest sees them: no way round through the format's reader.
                    Mapping::Raw { storage, offset: host, .. } if len as u64 <= mapped => {
                        storage.bytes.slice_padded(host, len)?
                    }
                    _ => {
                        let mut buf = vec![0; len];
                        image.read(&mut buf, offset).map_err(said)?;
                        buf.into()
                    }
                }
            }
        };
        split_zero_runs(offset, &content, &mut self.queued);
        Ok(())
    }
}

/// Length rounded up to whole blocks; at most [`MAX_CHUNK`] for data, so it fits.
fn padded(len: u64) -> usize {
    usize::try_from(len.next_multiple_of(u64::from(BLOCK_SIZE))).unwrap_or(usize::MAX)
}

fn split_zero_runs(offset: u64, content: &Bytes, out: &mut std::collections::VecDeque<Chunk>) {
    let mut start = 0;
    while start < content.len() {
        let zero = is_zero(granule(content, start));
        let mut end = start;
        while end < content.len() && is_zero(granule(content, end)) == zero {
            end += GRANULE.min(content.len() - end);
        }
        let at = offset + start as u64;
        out.push_back(if zero {
            Chunk::Zero { offset: at, len: (end - start) as u64 }
        } else {
            Chunk::Data { offset: at, bytes: content.slice(start..end) }
        });
        start = end;
    }
}

fn granule(content: &[u8], at: usize) -> &[u8] {
    &content[at..content.len().min(at + GRANULE)]
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == 0)
}

/// The image file as `imago` sees it: read-only, and with no name that could be resolved.
#[derive(Debug)]
struct Store {
    bytes: ImageBytes,
    helper: CommonStorageHelper,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.bytes)
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "images are opened read-only")
}

#[expect(
    unsafe_code,
    reason = "the trait of imago declares these methods unsafe; their bodies are plain safe code"
)]
impl Storage for Store {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len())
    }

    unsafe fn pure_readv(&self, mut bufv: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        let len = usize::try_from(bufv.len()).map_err(io::Error::other)?;
        let mut bounce = BytesMut::zeroed(len);
        self.bytes.read_some(offset, &mut bounce).map_err(io::Error::other)?;
        bufv.copy_from_slice(&bounce);
        Ok(())
    }

    unsafe fn pure_writev(&self, _bufv: IoVector<'_>, _offset: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    unsafe fn invalidate_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        &self.helper
    }
}
