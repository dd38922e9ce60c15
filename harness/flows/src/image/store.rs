//! The image service (Glance's role): records and their bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sanbench_api::ImageId;
use sha2::{Digest, Sha256};

use super::{Format, ImageBytes, ImageError, Inspected, inspect};

#[derive(Debug, Clone)]
enum Data {
    Memory(Bytes),
    File(PathBuf),
}

/// One image record.
#[derive(Debug, Clone)]
pub struct Image {
    /// Identity.
    pub id: ImageId,
    /// Name.
    pub name: String,
    /// Disk format as declared by whoever uploaded it; judged against the content before use.
    pub disk_format: Format,
    /// Smallest volume in GiB.
    pub min_disk_gib: u64,
    /// SHA-256 of the file, when the record has one; checked before use (IMG-003).
    pub sha256: Option<[u8; 32]>,
    /// Grows with each upload; the image cache compares it.
    pub version: u64,
    data: Data,
}

impl Image {
    /// Opens the bytes.
    pub fn open(&self) -> Result<ImageBytes, ImageError> {
        match &self.data {
            Data::Memory(bytes) => Ok(ImageBytes::Memory(bytes.clone())),
            Data::File(path) => ImageBytes::open(path),
        }
    }

    /// Opens and inspects in one go, for those who only want to know the content (digests, listings).
    pub fn open_inspected(&self, limit: u64) -> Result<(ImageBytes, Inspected), ImageError> {
        let bytes = self.open()?;
        let inspected = inspect(&bytes, self.disk_format, limit)?;
        Ok((bytes, inspected))
    }
}

/// All images. Clones share the records.
#[derive(Debug, Clone, Default)]
pub struct ImageStore(Arc<Mutex<BTreeMap<ImageId, Arc<Image>>>>);

impl ImageStore {
    /// Without images.
    pub fn new() -> Self {
        Self::default()
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<ImageId, Arc<Image>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, id: ImageId, name: String, disk_format: Format, sha256: Option<[u8; 32]>, data: Data) {
        let mut records = self.records();
        let version = records.get(&id).map_or(1, |old| old.version + 1);
        let image = Image { id, name, disk_format, min_disk_gib: 0, sha256, version, data };
        records.insert(id, Arc::new(image));
    }

    /// Adds or replaces an image held in memory; its checksum goes into the record.
    pub fn add_memory(&self, id: ImageId, name: impl Into<String>, disk_format: Format, bytes: Bytes) {
        let sum: [u8; 32] = Sha256::digest(&bytes).into();
        self.put(id, name.into(), disk_format, Some(sum), Data::Memory(bytes));
    }

    /// Adds or replaces an image in a file (live environments only; it is opened at each use).
    pub fn add_file(&self, id: ImageId, name: impl Into<String>, disk_format: Format, path: PathBuf) {
        self.put(id, name.into(), disk_format, None, Data::File(path));
    }

    /// Changes a record: minimal disk size in GiB, and the checksum it promises.
    pub fn describe(&self, id: ImageId, min_disk_gib: u64, sha256: Option<[u8; 32]>) {
        let mut records = self.records();
        if let Some(record) = records.get_mut(&id) {
            let record = Arc::make_mut(record);
            record.min_disk_gib = min_disk_gib;
            record.sha256 = sha256;
        }
    }

    /// One image.
    pub fn get(&self, id: ImageId) -> Option<Arc<Image>> {
        self.records().get(&id).cloned()
    }

    /// The first image of that name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Image>> {
        self.records().values().find(|i| i.name == name).cloned()
    }

    /// All images by id.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.records().values().cloned().collect()
    }
}
