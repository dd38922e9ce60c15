//! The page file on a file system.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::FallocateFlags;
use sanbench_array::MEDIUM_PAGE;

use crate::disk::PageFile;

/// First bytes of page 0.
const MAGIC: &[u8; 8] = b"SANBPAGE";
/// Version of the format.
const VERSION: u32 = 1;

/// A preallocated file of pages. Page 0 holds magic, version, the identity of the array and their checksum.
#[derive(Debug)]
pub struct FilePages {
    file: File,
    len: AtomicU32,
}

/// Why a file is no page file of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// No such file, or one without a header.
    Nothing,
    /// Somebody else's.
    NotOurs,
    /// A version that is newer than this program.
    Newer(u32),
    /// The header's checksum is wrong.
    Broken,
}

impl FilePages {
    /// Makes an empty file that belongs to the array with this identity, durably.
    pub(crate) fn create(path: &Path, identity: &[u8; 16]) -> io::Result<FilePages> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut head = vec![0; MEDIUM_PAGE];
        head[..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        head[12..28].copy_from_slice(identity);
        let sum = crc_fast::crc32_iscsi(&head[..28]);
        head[28..32].copy_from_slice(&sum.to_le_bytes());
        let pages = FilePages { file, len: AtomicU32::new(1) };
        pages.write(0, &head)?;
        pages.file.sync_all()?;
        Ok(pages)
    }

    /// Opens a file, and tells whose it is.
    pub(crate) fn open(path: &Path) -> io::Result<Result<(FilePages, [u8; 16]), Foreign>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(Foreign::Nothing)),
            Err(error) => return Err(error),
        };
        let bytes = file.metadata()?.len();
        let mut head = [0; 32];
        match file.read_exact_at(&mut head, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Err(Foreign::Nothing)),
            Err(error) => return Err(error),
        }
        let [magic, version, identity, sum] = [&head[..8], &head[8..12], &head[12..28], &head[28..]];
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        if magic != MAGIC {
            return Ok(Err(Foreign::NotOurs));
        }
        if number(version) > VERSION {
            return Ok(Err(Foreign::Newer(number(version))));
        }
        if number(sum) != crc_fast::crc32_iscsi(&head[..28]) {
            return Ok(Err(Foreign::Broken));
        }
        let identity = identity.try_into().expect("sixteen bytes");
        let len = u32::try_from(bytes / MEDIUM_PAGE as u64).unwrap_or(u32::MAX);
        Ok(Ok((FilePages { file, len: AtomicU32::new(len) }, identity)))
    }
}

fn offset(page: u32) -> u64 {
    u64::from(page) * MEDIUM_PAGE as u64
}

impl PageFile for FilePages {
    fn pages(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    fn grow(&self, pages: u32) -> io::Result<()> {
        let now = self.pages();
        if pages > now {
            rustix::fs::fallocate(
                &self.file,
                FallocateFlags::empty(),
                offset(now),
                offset(pages) - offset(now),
            )?;
            self.len.fetch_max(pages, Ordering::Relaxed);
        }
        Ok(())
    }

    fn write(&self, first: u32, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset(first))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn read(&self, first: u32, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset(first))
    }
}
