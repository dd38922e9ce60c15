//! A small qcow2 that the bench makes itself, so that image stories need no download and no tool.

use bytes::Bytes;
use sanbench_world::Dice;
use sha2::{Digest, Sha256};

const CLUSTER: usize = 64 << 10;
/// L2 entries in one cluster.
const PER_TABLE: usize = CLUSTER / 8;

/// A sample image and what its raw content hashes to.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The file.
    pub bytes: Bytes,
    /// Bytes of raw content.
    pub virtual_size: u64,
    /// SHA-256 of the raw content.
    pub raw_sha256: [u8; 32],
}

/// Raw content with holes: about a quarter of the 64 KiB clusters have data, some of it compressible text, some
/// noise; the first and last cluster always have.
pub fn sample_raw(dice: &mut Dice, clusters: usize) -> Vec<u8> {
    let mut raw = vec![0; clusters * CLUSTER];
    for (index, cluster) in raw.chunks_mut(CLUSTER).enumerate() {
        let edge = index == 0 || index + 1 == clusters;
        match dice.below(8) {
            0 => dice.fill(cluster),
            1 => text(dice, cluster),
            // A few blocks only: holes inside a cluster.
            2 => dice.fill(&mut cluster[8192..12_288]),
            _ if edge => text(dice, cluster),
            _ => {}
        }
    }
    // A guest's boot sector, so that nothing mistakes the content for another format.
    raw[..4].copy_from_slice(&[0xeb, 0x63, 0x90, 0x00]);
    raw
}

fn text(dice: &mut Dice, cluster: &mut [u8]) {
    let words: [&[u8]; 8] =
        [b"volume ", b"snapshot ", b"clone ", b"flatten ", b"attach ", b"target ", b"portal ", b"pool\n"];
    let mut at = 0;
    while at < cluster.len() {
        let word = words[usize::try_from(dice.below(8)).unwrap_or(0)];
        let n = word.len().min(cluster.len() - at);
        cluster[at..at + n].copy_from_slice(&word[..n]);
        at += n;
    }
}

/// Makes a version 3 qcow2 of `mib` MiB virtual size (1 to 8) with plain and deflate-compressed clusters, clusters
/// marked zero, and holes.
pub fn sample(dice: &mut Dice, mib: u64) -> Sample {
    let clusters = usize::try_from(mib.clamp(1, 8)).unwrap_or(1) * (1 << 20) / CLUSTER;
    let raw = sample_raw(dice, clusters);
    let mut writer = Writer { file: vec![0; 5 * CLUSTER], l2: vec![0; PER_TABLE], refs: vec![1; 5] };
    for (index, cluster) in raw.chunks(CLUSTER).enumerate() {
        writer.l2[index] = if cluster.iter().all(|b| *b == 0) {
            // Half of the holes are marked as zero, the others are not allocated.
            dice.below(2)
        } else if dice.chance(1, 2) {
            writer.compressed(cluster)
        } else {
            writer.plain(cluster)
        };
    }
    let virtual_size = raw.len() as u64;
    Sample {
        bytes: writer.finish(virtual_size).into(),
        virtual_size,
        raw_sha256: Sha256::digest(&raw).into(),
    }
}

/// Clusters of the file: 0 header, 1 refcount table, 2 refcount block, 3 L1, 4 L2, then data.
struct Writer {
    file: Vec<u8>,
    l2: Vec<u64>,
    refs: Vec<u16>,
}

impl Writer {
    fn claim(&mut self, start: usize, end: usize) {
        for cluster in start / CLUSTER..=(end - 1) / CLUSTER {
            if self.refs.len() <= cluster {
                self.refs.resize(cluster + 1, 0);
            }
            self.refs[cluster] += 1;
        }
    }

    fn plain(&mut self, content: &[u8]) -> u64 {
        let start = self.file.len().next_multiple_of(CLUSTER);
        self.file.resize(start, 0);
        self.file.extend_from_slice(content);
        self.claim(start, self.file.len());
        start as u64 | 1 << 63
    }

    fn compressed(&mut self, content: &[u8]) -> u64 {
        let packed = miniz_oxide::deflate::compress_to_vec(content, 6);
        if packed.len() >= CLUSTER {
            return self.plain(content);
        }
        let start = self.file.len();
        self.file.extend_from_slice(&packed);
        self.claim(start, self.file.len());
        // Bits 0..54: host offset; bits 54..62: additional 512-byte sectors; bit 62: compressed.
        let sectors = (self.file.len() - 1) / 512 - start / 512;
        start as u64 | (sectors as u64) << 54 | 1 << 62
    }

    fn finish(mut self, virtual_size: u64) -> Vec<u8> {
        let end = self.file.len().next_multiple_of(CLUSTER);
        self.file.resize(end, 0);
        let be32 = |file: &mut Vec<u8>, at: usize, v: u32| file[at..at + 4].copy_from_slice(&v.to_be_bytes());
        let be64 = |file: &mut Vec<u8>, at: usize, v: u64| file[at..at + 8].copy_from_slice(&v.to_be_bytes());
        let file = &mut self.file;
        file[..4].copy_from_slice(b"QFI\xfb");
        be32(file, 4, 3);
        be32(file, 20, 16);
        be64(file, 24, virtual_size);
        be32(file, 36, 1);
        be64(file, 40, 3 * CLUSTER as u64);
        be64(file, 48, CLUSTER as u64);
        be32(file, 56, 1);
        be32(file, 96, 4);
        be32(file, 100, 104);
        be64(file, CLUSTER, 2 * CLUSTER as u64);
        for (index, count) in self.refs.iter().enumerate() {
            let at = 2 * CLUSTER + index * 2;
            file[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        be64(file, 3 * CLUSTER, (4 * CLUSTER as u64) | (1 << 63));
        for (index, entry) in self.l2.iter().enumerate() {
            be64(file, 4 * CLUSTER + index * 8, *entry);
        }
        self.file
    }
}
