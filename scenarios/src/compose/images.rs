//! Images of a story: the sample that sanbench makes or the user gives, raw ones, and hostile ones.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sanbench_api::ImageId;
use sanbench_check::ImageDigests;
use sanbench_flows::image::{self, Format, ImageBytes, ImageStore};
use sanbench_runner::SiteImage;
use sanbench_runner::plan::ImageKind;
use sanbench_runner::story::Size;
use sanbench_world::dice;

use crate::failure::Refusal;

/// Largest virtual size that the bench takes from `--image`, in bytes (64 GiB).
const VIRTUAL_MAX: u64 = 64 << 30;

/// An image that the user gave, inspected.
#[derive(Debug, Clone)]
pub(crate) struct ImageInput {
    path: PathBuf,
    format: Format,
    digests: Arc<ImageDigests>,
}

impl ImageInput {
    /// Whole GiB that a volume needs to hold it.
    pub(crate) fn gib(&self) -> u64 {
        self.digests.virtual_size.div_ceil(1 << 30).max(1)
    }
}

/// Opens and inspects `--image FILE`. Declared as whatever its content is; unsafe content is refused by name.
pub(crate) fn load_image(path: &Path) -> Result<ImageInput, Refusal> {
    let fail = |e: image::ImageError| {
        Refusal::new(format!("--image {}: {e}", path.display()))
            .hint("a raw or qcow2 file without backing file, data file, encryption, zstd or extended L2")
    };
    let path = std::fs::canonicalize(path)
        .map_err(|e| Refusal::new(format!("--image {}: {e}", path.display())).hint("name a readable file"))?;
    let bytes = ImageBytes::open(&path).map_err(fail)?;
    let mut magic = [0; 4];
    let read = bytes.read_some(0, &mut magic).map_err(fail)?;
    let format = if read == 4 && &magic == b"QFI\xfb" { Format::Qcow2 } else { Format::Raw };
    let inspected = image::inspect(&bytes, format, VIRTUAL_MAX).map_err(fail)?;
    let digests = image::digest(&bytes, &inspected).map_err(fail)?;
    if digests.virtual_size == 0 {
        return Err(Refusal::new(format!("--image {}: the image is empty", path.display())));
    }
    Ok(ImageInput { path, format, digests: Arc::new(judged(digests)) })
}

/// The digests as the checker takes them.
fn judged(digests: image::ImageDigests) -> ImageDigests {
    ImageDigests { virtual_size: digests.virtual_size, blocks: digests.blocks }
}

/// A made image: its bytes, what they are declared as, and what a volume must hold.
#[derive(Clone)]
struct Made {
    bytes: Bytes,
    declared: Format,
    digests: Option<Arc<ImageDigests>>,
    refusal: &'static str,
}

/// Adds an image to the store and says what it is.
pub(crate) fn add_image(
    store: &ImageStore,
    input: Option<&ImageInput>,
    name: &str,
    id: ImageId,
    kind: ImageKind,
    size: Size,
) -> SiteImage {
    if let (ImageKind::Sample, Some(input)) = (kind, input) {
        store.add_file(id, name, input.format, input.path.clone());
        return SiteImage { id, digests: Some(input.digests.clone()), refusal: "" };
    }
    let made = make(kind, size);
    store.add_memory(id, name, made.declared, made.bytes);
    SiteImage { id, digests: made.digests, refusal: made.refusal }
}

/// Every story makes the same images, so each is made once in a process.
fn make(kind: ImageKind, size: Size) -> Made {
    static SAMPLES: OnceLock<std::sync::Mutex<std::collections::BTreeMap<(u8, u64), Made>>> = OnceLock::new();
    let made = SAMPLES.get_or_init(Default::default);
    let mut made = made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    made.entry((kind as u8, size.0)).or_insert_with(|| build(kind, size)).clone()
}

fn build(kind: ImageKind, size: Size) -> Made {
    let mib = size.0.div_ceil(1 << 20).clamp(1, 8);
    let mut dice = dice(0, "image", "sample");
    if matches!(kind, ImageKind::Raw | ImageKind::Iso) {
        let mut raw = image::sample_raw(&mut dice, (mib * 16) as usize);
        // An odd tail proves that the last block is padded and nothing beyond it is touched.
        raw.truncate(raw.len() - 300);
        let mut declared = Format::Raw;
        if kind == ImageKind::Iso {
            declared = Format::Iso;
            mark_iso(&mut raw);
        }
        let digests = ImageDigests::of_raw(&raw);
        return Made { bytes: raw.into(), declared, digests: Some(Arc::new(digests)), refusal: "" };
    }
    if kind == ImageKind::ForeignExtent {
        return Made { bytes: flat_vmdk().into(), declared: Format::Vmdk, digests: None, refusal: "extent" };
    }
    let sample = image::sample(&mut dice, mib);
    image::check_counts(&ImageBytes::Memory(sample.bytes.clone())).expect(
        "the sample that the bench makes is whole: what `qemu-img check` asks is asked of it in every run",
    );
    let mut bytes = sample.bytes.to_vec();
    let put =
        |bytes: &mut Vec<u8>, at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let mut declared = Format::Qcow2;
    let refusal = match kind {
        ImageKind::BackingFile => {
            // Header fields backing_file_offset and backing_file_size (QEMU docs/interop/qcow2.txt).
            put(&mut bytes, 8, &1024u64.to_be_bytes());
            put(&mut bytes, 16, &11u32.to_be_bytes());
            put(&mut bytes, 1024, b"/etc/passwd");
            "backing"
        }
        ImageKind::DataFile => {
            // Incompatible feature bit 2: external data file.
            put(&mut bytes, 72, &4u64.to_be_bytes());
            "data file"
        }
        ImageKind::Truncated => {
            bytes.truncate(bytes.len() / 2);
            "truncated"
        }
        ImageKind::AbsurdSize => {
            put(&mut bytes, 24, &(1u64 << 62).to_be_bytes());
            "size"
        }
        ImageKind::HugeTable => {
            // Field l1_size: one entry more than QEMU reads.
            put(&mut bytes, 36, &((4u32 << 20) + 1).to_be_bytes());
            "L1 table"
        }
        ImageKind::ShortTable => {
            // Field l1_size: no entry at all, whatever the size.
            put(&mut bytes, 36, &0u32.to_be_bytes());
            "L1 table"
        }
        ImageKind::Mislabelled => {
            declared = Format::Raw;
            "declared"
        }
        ImageKind::TwoFormats => {
            // Inside the first cluster, of which a qcow2 header uses the beginning.
            mark_iso(&mut bytes);
            "ambiguous"
        }
        ImageKind::Sample | ImageKind::Raw | ImageKind::Iso | ImageKind::ForeignExtent => {
            let digests = image::inspect(
                &ImageBytes::Memory(sample.bytes.clone()),
                Format::Qcow2,
                VIRTUAL_MAX,
            )
            .and_then(|inspected| image::digest(&ImageBytes::Memory(sample.bytes.clone()), &inspected))
            .expect(
                "the sample that the bench makes passes the bench's inspector; a test of flows holds this",
            );
            let digests = Some(Arc::new(judged(digests)));
            return Made { bytes: sample.bytes, declared, digests, refusal: "" };
        }
    };
    Made { bytes: bytes.into(), declared, digests: None, refusal }
}

/// The primary volume descriptor of ISO 9660 begins in sector 16 of 2048 bytes: its type, then `CD001`.
fn mark_iso(bytes: &mut [u8]) {
    bytes[0x8000..0x8006].copy_from_slice(b"\x01CD001");
}

/// A VMDK whose embedded descriptor names a file of the host as its extent (CVE-2022-47951).
fn flat_vmdk() -> Vec<u8> {
    let text = "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n\
                createType=\"monolithicFlat\"\n\nRW 2048 FLAT \"/etc/passwd\" 0\n";
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(b"KDMV");
    // Sparse extent header: version, capacity, and where the descriptor is, in sectors of 512 bytes.
    for (at, value) in [(12, 2048u64), (28, 1), (36, 2)] {
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    bytes[4..8].copy_from_slice(&1u32.to_le_bytes());
    bytes[512..512 + text.len()].copy_from_slice(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_images_are_what_they_claim_to_be() {
        for kind in [
            ImageKind::BackingFile,
            ImageKind::DataFile,
            ImageKind::Truncated,
            ImageKind::AbsurdSize,
            ImageKind::HugeTable,
            ImageKind::ShortTable,
            ImageKind::ForeignExtent,
            ImageKind::TwoFormats,
            ImageKind::Mislabelled,
        ] {
            let made = build(kind, Size(1 << 20));
            let error = image::inspect(&ImageBytes::Memory(made.bytes), made.declared, 1 << 30).unwrap_err();
            assert!(
                !made.refusal.is_empty() && error.to_string().contains(made.refusal),
                "{kind:?}: {error}"
            );
        }
        for kind in [ImageKind::Sample, ImageKind::Raw, ImageKind::Iso] {
            let made = build(kind, Size(1 << 20));
            assert!(!made.digests.unwrap().blocks.is_empty(), "{kind:?}");
        }
    }
}
