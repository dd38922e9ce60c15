//! Whether the reference counts of a qcow2 are those that its own tables make (QEMU `docs/interop/qcow2.txt`, "Host cluster
//! management"), which is what `qemu-img check` asks.
//!
//! Who only reads an image needs none of them, and Cinder takes images whose counts are wrong: no reader of ours refuses one
//! over them. The bench asks this of the images that it makes itself, since others write to copies of those.

use super::qcow2::{Cluster, OFFSET_MASK, Qcow2Layout};
use super::{ImageBytes, ImageError};

/// Bit 63 of an L1 or L2 entry: the cluster has exactly one reference.
const COPIED: u64 = 1 << 63;
/// Reference counts of 2^4 = 16 bits.
const ORDER: u32 = 4;

/// Counts every reference in the image to a cluster of its file, and compares with the counts that it holds.
///
/// # Errors
/// A count is another one than there are references, or an entry's bit 63 says otherwise. What cannot be judged here is refused
/// by name: snapshots, and counts of other than 16 bits.
pub fn check_counts(bytes: &ImageBytes) -> Result<(), ImageError> {
    let layout = Qcow2Layout::read(bytes, u64::MAX, false)?;
    layout.check_mappings(bytes)?;
    let mut head = [0; 104];
    bytes.read_exact(0, &mut head, "header")?;
    let be32 = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let be64 = |at: usize| u64::from(be32(at)) << 32 | u64::from(be32(at + 4));
    // Version 2 has no field for it.
    if layout.version == 3 && be32(96) != ORDER {
        return Err(ImageError::Unsupported(format!("reference counts of 2^{} bits", be32(96))));
    }
    if be32(60) != 0 {
        return Err(ImageError::Unsupported("snapshots inside the image".into()));
    }
    let size = layout.cluster_size();
    let mut counts = Counts::new(bytes.len(), size);
    counts.refer(0, size)?;
    let (table, clusters) = (be64(48), be32(56));
    counts.refer(table, u64::from(clusters) * size)?;
    let stored = Stored::read(bytes, table, u64::from(clusters) * size, size, &mut counts)?;
    counts.refer(be64(40), u64::from(be32(36)) * 8)?;
    let mut copied = Vec::new();
    for (index, entry) in layout.l1().iter().copied().enumerate() {
        let Some(l2) = layout.l2_table(bytes, index)? else { continue };
        counts.refer(entry & OFFSET_MASK, size)?;
        copied.push(entry);
        for entry in l2 {
            match layout.cluster(entry) {
                Cluster::Compressed { offset, len } => {
                    // The length is in whole sectors, of which the last may lie behind the end of the file.
                    counts.refer(offset, (len as u64).min(bytes.len().saturating_sub(offset)))?;
                }
                // A cluster that reads zero may have its place all the same.
                Cluster::Zero if entry & OFFSET_MASK == 0 => {}
                Cluster::Zero | Cluster::Plain(_) => {
                    counts.refer(entry & OFFSET_MASK, size)?;
                    copied.push(entry);
                }
            }
        }
    }
    for (cluster, counted) in (0u64..).zip(&counts.0) {
        let held = stored.of(cluster);
        if held != *counted {
            return Err(ImageError::Corrupt(format!(
                "cluster {cluster} has {counted} references, and a reference count of {held}"
            )));
        }
    }
    for entry in copied {
        let cluster = (entry & OFFSET_MASK) / size;
        if (entry & COPIED != 0) != (stored.of(cluster) == 1) {
            return Err(ImageError::Corrupt(format!("bit 63 of the entry of cluster {cluster} is wrong")));
        }
    }
    Ok(())
}

/// References by cluster of the file.
struct Counts(Vec<u64>, u64);

impl Counts {
    /// Of a file of so many bytes in clusters of `size` bytes: at least 512 each, so it takes no more memory than a part of
    /// the file's length.
    fn new(len: u64, size: u64) -> Self {
        Self(vec![0; usize::try_from(len.div_ceil(size)).unwrap_or(0)], size)
    }

    /// One more reference to every cluster in which some of these bytes lie.
    fn refer(&mut self, offset: u64, len: u64) -> Result<(), ImageError> {
        if len == 0 {
            return Ok(());
        }
        let beyond = || ImageError::Corrupt(format!("{len} bytes at {offset} lie beyond the end"));
        let last = offset.checked_add(len - 1).ok_or_else(beyond)? / self.1;
        for cluster in offset / self.1..=last {
            let count = usize::try_from(cluster).ok().and_then(|n| self.0.get_mut(n));
            *count.ok_or_else(beyond)? += 1;
        }
        Ok(())
    }
}

/// The reference counts that the image holds.
struct Stored(Vec<u16>);

impl Stored {
    /// Reads the table of `len` bytes and its blocks, to which it refers. No more of it than the file has clusters for.
    fn read(
        bytes: &ImageBytes,
        table: u64,
        len: u64,
        size: u64,
        counts: &mut Counts,
    ) -> Result<Self, ImageError> {
        let per_block = usize::try_from(size / 2).unwrap_or(0);
        let mut held = Vec::new();
        let mut entry = [0; 8];
        let mut block = vec![0; per_block * 2];
        for at in (table..table + len).step_by(8) {
            bytes.read_exact(at, &mut entry, "reference count table")?;
            let offset = u64::from_be_bytes(entry);
            // The lowest nine bits are reserved; none is no block: nothing is in use there.
            let block_counts = match offset & !0x1ff {
                0 => vec![0; per_block],
                offset => {
                    bytes.read_exact(offset, &mut block, "reference count block")?;
                    counts.refer(offset, size)?;
                    block.chunks_exact(2).map(|c| u16::from_be_bytes([c[0], c[1]])).collect()
                }
            };
            if held.len() < counts.0.len() {
                held.extend(block_counts);
            }
        }
        Ok(Self(held))
    }

    fn of(&self, cluster: u64) -> u64 {
        usize::try_from(cluster).ok().and_then(|n| self.0.get(n)).copied().unwrap_or(0).into()
    }
}
