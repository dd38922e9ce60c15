//! Foreign virtual machine formats: only as much as it takes to refuse what is unsafe. Their content is converted
//! by `qemu-img`, outside the simulation.

use super::{ImageBytes, ImageError};

const SECTOR: u64 = 512;
/// Longest descriptor that is read, in bytes.
const MAX_DESCRIPTOR: usize = 64 << 10;

fn le32(b: &[u8], at: usize) -> u32 {
    b.get(at..at + 4).and_then(|s| s.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn le64(b: &[u8], at: usize) -> u64 {
    b.get(at..at + 8).and_then(|s| s.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Accepts sparse extents with an embedded descriptor of one of the two safe kinds (IMG-006).
pub(super) fn vmdk_virtual_size(bytes: &ImageBytes) -> Result<u64, ImageError> {
    let mut head = [0; 512];
    bytes.read_some(0, &mut head)?;
    if &head[..4] != b"KDMV" {
        return Err(ImageError::Unsafe("vmdk descriptor that names its extents".into()));
    }
    let version = le32(&head, 4);
    if !(1..=3).contains(&version) {
        return Err(ImageError::Unsupported(format!("vmdk version {version}")));
    }
    let capacity = le64(&head, 12);
    let at = le64(&head, 28).saturating_mul(SECTOR);
    let len = le64(&head, 36).saturating_mul(SECTOR);
    if at < SECTOR || len == 0 {
        return Err(ImageError::Unsafe("vmdk without an embedded descriptor".into()));
    }
    let len = usize::try_from(len)
        .ok()
        .filter(|n| *n <= MAX_DESCRIPTOR)
        .ok_or_else(|| ImageError::Unsafe("vmdk descriptor of absurd length".into()))?;
    let mut text = vec![0; len];
    bytes.read_exact(at, &mut text, "vmdk descriptor")?;
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    check_descriptor(&String::from_utf8_lossy(&text[..end]))?;
    capacity.checked_mul(SECTOR).ok_or_else(|| ImageError::Corrupt("vmdk capacity overflows".into()))
}

fn check_descriptor(text: &str) -> Result<(), ImageError> {
    let mut create_type = None;
    let mut extents = 0;
    for line in text.lines().map(str::trim) {
        let first = line.split_whitespace().next().unwrap_or("");
        if line.is_empty() || line.starts_with('#') {
        } else if matches!(first, "RW" | "RDONLY" | "NOACCESS") {
            extents += 1;
            let name = line.split('"').nth(1).unwrap_or("");
            if line.split_whitespace().nth(2) != Some("SPARSE")
                || name.is_empty()
                || name.contains(['/', '\\'])
            {
                return Err(ImageError::Unsafe("vmdk extent outside the image".into()));
            }
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim(), value.trim().trim_matches('"'));
            match key {
                "createType" => create_type = Some(value.to_owned()),
                "parentCID" if value != "ffffffff" => {
                    return Err(ImageError::Unsafe("vmdk with a parent".into()));
                }
                "parentFileNameHint" => return Err(ImageError::Unsafe("vmdk with a parent".into())),
                "version" | "CID" | "parentCID" | "encoding" | "isNativeSnapshot" => {}
                _ if key.starts_with("ddb.") => {}
                _ => return Err(ImageError::Unsafe("unknown line in the vmdk descriptor".into())),
            }
        } else {
            return Err(ImageError::Unsafe("unknown line in the vmdk descriptor".into()));
        }
    }
    match create_type.as_deref() {
        Some("streamOptimized" | "monolithicSparse") if extents == 1 => Ok(()),
        Some(other) if extents > 0 => Err(ImageError::Unsafe(format!(
            "vmdk create type {:?}",
            other.chars().take(32).collect::<String>()
        ))),
        _ => Err(ImageError::Unsafe("vmdk descriptor without type or extent".into())),
    }
}

/// Fixed and dynamic disks; differencing disks have a parent.
pub(super) fn vhd_virtual_size(bytes: &ImageBytes) -> Result<u64, ImageError> {
    let mut foot = [0; 512];
    let mut at = bytes.len().saturating_sub(512);
    bytes.read_exact(at, &mut foot, "vhd footer")?;
    if &foot[..8] != b"conectix" {
        at = 0;
        bytes.read_exact(at, &mut foot, "vhd footer")?;
    }
    let word =
        |at: usize| -> u32 { u32::from_be_bytes([foot[at], foot[at + 1], foot[at + 2], foot[at + 3]]) };
    match word(60) {
        2 | 3 => Ok(u64::from(word(48)) << 32 | u64::from(word(52))),
        4 => Err(ImageError::Unsafe("differencing vhd has a parent".into())),
        other => Err(ImageError::Unsupported(format!("vhd disk type {other}"))),
    }
}
