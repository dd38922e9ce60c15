//! Our own walk of qcow2 (QEMU `docs/interop/qcow2.txt`): header checks, table bounds, and a plain reader for the
//! digests. It shares no code with the reader of the write path.

use super::{ImageBytes, ImageError};

/// Bits 9 to 55 of a table entry: host offset of a cluster.
pub(super) const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
/// Largest L1 table that is read, in entries (as QEMU: 32 MiB).
const MAX_L1: u32 = 4 << 20;

/// Where one guest cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cluster {
    Zero,
    Plain(u64),
    Compressed { offset: u64, len: usize },
}

/// The checked header and L1 table.
#[derive(Debug, Clone)]
pub(crate) struct Qcow2Layout {
    pub(crate) virtual_size: u64,
    cluster_bits: u32,
    pub(super) version: u32,
    l1: Vec<u64>,
}

impl Qcow2Layout {
    /// Reads and judges the header. `limit` bounds the virtual size in bytes.
    ///
    /// `trusting` is the planted defect D52.
    pub(crate) fn read(bytes: &ImageBytes, limit: u64, trusting: bool) -> Result<Self, ImageError> {
        let mut head = [0; 112];
        let got = bytes.read_some(0, &mut head)?;
        if got < 72 {
            return Err(ImageError::Corrupt("qcow2 header is cut short".into()));
        }
        let be32 = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let be64 = |at: usize| u64::from(be32(at)) << 32 | u64::from(be32(at + 4));
        let version = be32(4);
        if !matches!(version, 2 | 3) {
            return Err(ImageError::Unsupported(format!("qcow version {version}")));
        }
        if (be64(8) != 0 || be32(16) != 0) && !trusting {
            return Err(ImageError::Unsafe("backing file".into()));
        }
        if be32(32) != 0 {
            return Err(ImageError::Unsupported("encryption".into()));
        }
        if version == 3 {
            if got < 104 || be32(100) < 104 {
                return Err(ImageError::Corrupt("qcow2 version 3 header is cut short".into()));
            }
            let compression = if be32(100) >= 105 && got > 104 { head[104] } else { 0 };
            if !trusting {
                refuse_features(be64(72), compression)?;
            }
        }
        let cluster_bits = be32(20);
        if !(9..=21).contains(&cluster_bits) {
            return Err(ImageError::Corrupt(format!("cluster size of 2^{cluster_bits} bytes")));
        }
        let virtual_size = be64(24);
        if virtual_size > limit {
            return Err(ImageError::TooBig { virtual_size, limit });
        }
        let l1_size = be32(36);
        let per_l1 = 1u64 << (2 * cluster_bits - 3);
        if u64::from(l1_size) < virtual_size.div_ceil(per_l1) || l1_size > MAX_L1 {
            return Err(ImageError::Corrupt(format!("L1 table of {l1_size} entries")));
        }
        let l1_offset = be64(40);
        if !l1_offset.is_multiple_of(1 << cluster_bits) || l1_offset == 0 {
            return Err(ImageError::Corrupt("L1 table is not aligned".into()));
        }
        // Only as many entries as the virtual size needs, so memory is bounded by `limit` too.
        let needed = usize::try_from(virtual_size.div_ceil(per_l1)).unwrap_or(0);
        if l1_offset.saturating_add(needed as u64 * 8) > bytes.len() {
            return Err(ImageError::Corrupt("L1 table lies beyond the end".into()));
        }
        let mut table = vec![0; needed * 8];
        bytes.read_exact(l1_offset, &mut table, "L1 table")?;
        let l1 = entries(&table);
        Ok(Self { virtual_size, cluster_bits, version, l1 })
    }

    pub(super) fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Entries of the first-level table, as many as the virtual size needs.
    pub(super) fn l1(&self) -> &[u64] {
        &self.l1
    }

    pub(super) fn l2_table(
        &self,
        bytes: &ImageBytes,
        l1_index: usize,
    ) -> Result<Option<Vec<u64>>, ImageError> {
        let entry = self.l1.get(l1_index).copied().unwrap_or(0);
        let offset = entry & OFFSET_MASK;
        if offset == 0 {
            return Ok(None);
        }
        if !offset.is_multiple_of(self.cluster_size()) {
            return Err(ImageError::Corrupt(format!("L2 table at {offset} is not aligned")));
        }
        let size = usize::try_from(self.cluster_size()).unwrap_or(0);
        let mut table = vec![0; size];
        bytes.read_exact(offset, &mut table, "L2 table")?;
        Ok(Some(entries(&table)))
    }

    pub(super) fn cluster(&self, entry: u64) -> Cluster {
        if entry & COMPRESSED != 0 {
            let split = 62 - (self.cluster_bits - 8);
            let offset = entry & ((1 << split) - 1);
            let sectors = (entry & !(3 << 62)) >> split;
            // Bounded by two clusters: the field has cluster_bits - 8 bits of 512-byte sectors.
            let len = usize::try_from((sectors + 1) * 512 - offset % 512).unwrap_or(0);
            return Cluster::Compressed { offset, len };
        }
        let offset = entry & OFFSET_MASK;
        if (self.version == 3 && entry & ZERO != 0) || offset == 0 {
            Cluster::Zero
        } else {
            Cluster::Plain(offset)
        }
    }

    /// Walks every entry: all clusters begin inside the file and are aligned.
    pub(crate) fn check_mappings(&self, bytes: &ImageBytes) -> Result<(), ImageError> {
        for l1_index in 0..self.l1.len() {
            let Some(table) = self.l2_table(bytes, l1_index)? else { continue };
            for entry in table {
                let (offset, aligned) = match self.cluster(entry) {
                    Cluster::Zero => continue,
                    Cluster::Plain(offset) => (offset, offset.is_multiple_of(self.cluster_size())),
                    Cluster::Compressed { offset, .. } => (offset, true),
                };
                if !aligned {
                    return Err(ImageError::Corrupt(format!("cluster at {offset} is not aligned")));
                }
                if offset >= bytes.len() {
                    return Err(ImageError::Corrupt(format!("cluster at {offset} lies beyond the end")));
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with guest offset and content of every cluster that is not zero, in order.
    pub(crate) fn for_each_data_cluster(
        &self,
        bytes: &ImageBytes,
        mut each: impl FnMut(u64, &[u8]),
    ) -> Result<(), ImageError> {
        let size = usize::try_from(self.cluster_size()).unwrap_or(0);
        let mut buf = vec![0; size];
        let per_table = self.cluster_size() / 8;
        for l1_index in 0..self.l1.len() {
            let Some(table) = self.l2_table(bytes, l1_index)? else { continue };
            for (index, entry) in table.into_iter().enumerate() {
                let guest = (l1_index as u64 * per_table + index as u64) << self.cluster_bits;
                if guest >= self.virtual_size {
                    break;
                }
                match self.cluster(entry) {
                    Cluster::Zero => continue,
                    Cluster::Plain(offset) => {
                        // The last cluster of a file may be cut at the end of the guest's data.
                        let got = bytes.read_some(offset, &mut buf)?;
                        buf[got..].fill(0);
                    }
                    Cluster::Compressed { offset, len } => inflate(bytes, offset, len, &mut buf)?,
                }
                each(guest, &buf);
            }
        }
        Ok(())
    }
}

fn entries(table: &[u8]) -> Vec<u64> {
    table
        .chunks_exact(8)
        .map(|c| u64::from_be_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]))
        .collect()
}

fn inflate(bytes: &ImageBytes, offset: u64, len: usize, out: &mut [u8]) -> Result<(), ImageError> {
    let mut packed = vec![0; len];
    let got = bytes.read_some(offset, &mut packed)?;
    let plain = miniz_oxide::inflate::decompress_to_vec_with_limit(&packed[..got], out.len());
    let plain = match plain {
        Ok(plain) => plain,
        // The cluster was full before the stream ended, or rubbish follows: what fits is what counts.
        Err(error) if error.output.len() == out.len() => error.output,
        Err(error) => {
            return Err(ImageError::Corrupt(format!("compressed cluster at {offset}: {:?}", error.status)));
        }
    };
    if plain.len() != out.len() {
        return Err(ImageError::Corrupt(format!(
            "compressed cluster at {offset} holds {} bytes",
            plain.len()
        )));
    }
    out.copy_from_slice(&plain);
    Ok(())
}

/// Incompatible features by name: a reader that does not know one must not open the image.
fn refuse_features(bits: u64, compression: u8) -> Result<(), ImageError> {
    if bits & 1 << 2 != 0 {
        return Err(ImageError::Unsafe("external data file".into()));
    }
    if bits & 1 << 3 != 0 || compression != 0 {
        let kind = match compression {
            0 => "deflate with the compression bit set".to_owned(),
            1 => "zstd compression".to_owned(),
            other => format!("compression type {other}"),
        };
        return Err(ImageError::Unsupported(kind));
    }
    let named = [(0, "dirty reference counts"), (1, "image marked corrupt"), (4, "extended L2 entries")];
    for (bit, name) in named {
        if bits & 1 << bit != 0 {
            return Err(ImageError::Unsupported(name.into()));
        }
    }
    match bits.trailing_zeros() {
        64 => Ok(()),
        bit => Err(ImageError::Unsupported(format!("incompatible feature bit {bit}"))),
    }
}
