//! What the blocks of a volume made from an image must hold, for the checker.

use std::collections::BTreeMap;

use sanbench_api::BLOCK_SIZE;
use sha2::{Digest, Sha256};

use super::{Format, ImageBytes, ImageError, Inspected, MAX_CHUNK};

/// Digests of the raw content by 512-byte block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageDigests {
    /// Bytes of raw content; the last block is zero-padded.
    pub virtual_size: u64,
    /// Byte offset of each block that is not all zeroes, and the first 16 bytes of its SHA-256.
    pub blocks: BTreeMap<u64, [u8; 16]>,
}

impl ImageDigests {
    /// The digest of one block of 512 bytes.
    pub fn of_block(block: &[u8]) -> [u8; 16] {
        let full = Sha256::digest(block);
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        short
    }

    fn add(&mut self, offset: u64, content: &[u8]) {
        let block = BLOCK_SIZE as usize;
        for (index, piece) in content.chunks(block).enumerate() {
            let at = offset + (index * block) as u64;
            if at >= self.virtual_size {
                return;
            }
            // Beyond the virtual size nothing of the image counts.
            let keep = usize::try_from((self.virtual_size - at).min(piece.len() as u64)).unwrap_or(block);
            let piece = &piece[..keep];
            if piece.iter().all(|b| *b == 0) {
                continue;
            }
            let mut whole = [0; BLOCK_SIZE as usize];
            whole[..piece.len()].copy_from_slice(piece);
            self.blocks.insert(at, Self::of_block(&whole));
        }
    }
}

/// Computes the digests of a raw or qcow2 image that passed the inspector. This pass does not use the reader of the
/// write path. It keeps about 48 bytes for each non-zero block.
pub fn digest(bytes: &ImageBytes, inspected: &Inspected) -> Result<ImageDigests, ImageError> {
    match (inspected.format, &inspected.qcow2) {
        (Format::Raw | Format::Iso, _) => {
            let mut digests = ImageDigests { virtual_size: bytes.len(), ..ImageDigests::default() };
            let mut at = 0;
            while at < bytes.len() {
                let len = usize::try_from(MAX_CHUNK.min(bytes.len() - at)).unwrap_or(0);
                digests.add(at, &bytes.slice_padded(at, len)?);
                at += len as u64;
            }
            Ok(digests)
        }
        (Format::Qcow2, Some(layout)) => {
            let mut digests = ImageDigests { virtual_size: layout.virtual_size, ..ImageDigests::default() };
            layout.for_each_data_cluster(bytes, |offset, content| digests.add(offset, content))?;
            Ok(digests)
        }
        (other, _) => Err(ImageError::Unsupported(format!("digests of {other}"))),
    }
}
