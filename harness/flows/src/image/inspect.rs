//! The safety inspector: what an image is, judged from its own bytes with our own bounds, before any reader or
//! converter sees it (the rules that Cinder and Nova adopted after CVE-2022-47951 and CVE-2024-32498).

use std::fmt;
use std::str::FromStr;

use super::qcow2::Qcow2Layout;
use super::vm_formats;
use super::{ImageBytes, ImageError};

/// Disk formats that the inspector can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Bytes as they are; partition tables and ISO 9660 included.
    Raw,
    /// ISO 9660, content used as it is.
    Iso,
    /// QEMU copy-on-write, version 2 or 3.
    Qcow2,
    /// VMware sparse extent.
    Vmdk,
    /// Virtual PC.
    Vhd,
    /// Hyper-V.
    Vhdx,
    /// QEMU enhanced disk; never accepted.
    Qed,
    /// VirtualBox; never accepted.
    Vdi,
    /// Encrypted container; never accepted as another format.
    Luks,
}

impl Format {
    /// The word that image records use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Iso => "iso",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Qed => "qed",
            Self::Vdi => "vdi",
            Self::Luks => "luks",
        }
    }

    /// The word that `qemu-img -f` wants.
    pub(crate) fn qemu_name(self) -> &'static str {
        match self {
            Self::Raw | Self::Iso => "raw",
            Self::Vhd => "vpc",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = ImageError;

    fn from_str(word: &str) -> Result<Self, ImageError> {
        [
            Self::Raw,
            Self::Iso,
            Self::Qcow2,
            Self::Vmdk,
            Self::Vhd,
            Self::Vhdx,
            Self::Qed,
            Self::Vdi,
            Self::Luks,
        ]
        .into_iter()
        .find(|f| f.as_str() == word)
        .ok_or_else(|| ImageError::UnknownFormat(word.chars().take(32).collect()))
    }
}

/// An image that passed.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// What it is.
    pub format: Format,
    /// Bytes that a guest would see; `None` when only a converter can tell (vhdx).
    pub virtual_size: Option<u64>,
    pub(crate) qcow2: Option<Qcow2Layout>,
}

/// Judges an image.
///
/// `declared` is the disk format of the image record; `limit` bounds the virtual size in bytes. For qcow2 every
/// table entry is walked, so that an image that is cut short is refused here and not read as zeroes later.
pub fn inspect(bytes: &ImageBytes, declared: Format, limit: u64) -> Result<Inspected, ImageError> {
    inspect_with(bytes, declared, limit, false)
}

/// The same; `trusting` is the planted defect D52: other files that the header names, and a content of another format than
/// declared, are no reason to refuse.
pub(super) fn inspect_with(
    bytes: &ImageBytes,
    declared: Format,
    limit: u64,
    trusting: bool,
) -> Result<Inspected, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Corrupt("the image is empty".into()));
    }
    let found = detect(bytes)?;
    let detected = match found.as_slice() {
        [] => Format::Raw,
        [one] => *one,
        // A hybrid ISO carries a partition table too; both mean "as it is", so GPT is not even in the list.
        several => {
            let names: Vec<_> = several.iter().map(|f| f.as_str()).collect();
            return Err(ImageError::Ambiguous(names.join(" and ")));
        }
    };
    let agree = detected == declared || (declared == Format::Raw && detected == Format::Iso);
    if !agree && !trusting {
        return Err(ImageError::FormatMismatch {
            declared: declared.to_string(),
            detected: detected.to_string(),
        });
    }
    let mut qcow2 = None;
    let virtual_size = match detected {
        Format::Raw | Format::Iso => Some(bytes.len()),
        Format::Qcow2 => {
            let layout = Qcow2Layout::read(bytes, limit, trusting)?;
            layout.check_mappings(bytes)?;
            let size = layout.virtual_size;
            qcow2 = Some(layout);
            Some(size)
        }
        Format::Vmdk => Some(vm_formats::vmdk_virtual_size(bytes)?),
        Format::Vhd => Some(vm_formats::vhd_virtual_size(bytes)?),
        Format::Vhdx => None,
        Format::Qed => return Err(ImageError::Unsafe("qed images are never accepted".into())),
        Format::Vdi => return Err(ImageError::Unsupported("vdi".into())),
        Format::Luks => return Err(ImageError::Unsupported("encrypted image (luks)".into())),
    };
    if let Some(size) = virtual_size {
        if size == 0 {
            return Err(ImageError::Corrupt("virtual size is zero".into()));
        }
        if size > limit {
            return Err(ImageError::TooBig { virtual_size: size, limit });
        }
    }
    Ok(Inspected { format: detected, virtual_size, qcow2 })
}

/// All formats whose mark the content carries (raw has none).
fn detect(bytes: &ImageBytes) -> Result<Vec<Format>, ImageError> {
    let mut head = [0; 512];
    let head_len = bytes.read_some(0, &mut head)?;
    let head = &head[..head_len];
    let mut tail = [0; 512];
    let tail_at = bytes.len().saturating_sub(512);
    let tail_len = bytes.read_some(tail_at, &mut tail)?;
    let mut iso = [0; 5];
    let iso_len = bytes.read_some(0x8001, &mut iso)?;

    let mut found = Vec::new();
    let mut mark = |format: Format, present: bool| {
        if present {
            found.push(format);
        }
    };
    mark(Format::Qcow2, head.starts_with(b"QFI\xfb"));
    mark(
        Format::Vmdk,
        head.starts_with(b"KDMV") || head.starts_with(b"COWD") || head.starts_with(b"# Disk DescriptorFile"),
    );
    mark(Format::Vhd, head.starts_with(b"conectix") || tail[..tail_len].starts_with(b"conectix"));
    mark(Format::Vhdx, head.starts_with(b"vhdxfile"));
    mark(Format::Qed, head.starts_with(b"QED\0"));
    mark(Format::Vdi, head.get(0x40..0x44) == Some(&[0x7f, 0x10, 0xda, 0xbe]));
    mark(Format::Luks, head.starts_with(b"LUKS\xba\xbe"));
    mark(Format::Iso, iso_len == 5 && &iso == b"CD001");
    Ok(found)
}
