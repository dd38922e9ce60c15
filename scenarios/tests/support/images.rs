//! Images written byte by byte (QEMU `docs/interop/qcow2.txt`), so that every test says itself what is wrong with one.

/// Cluster size of everything that is written here.
const CLUSTER: usize = 1 << 16;

/// A qcow2 image with one data cluster, and what shall be odd about it.
#[derive(Debug, Clone, Copy)]
pub struct Qcow2 {
    /// Virtual size in bytes.
    pub size: u64,
    /// Incompatible feature bits.
    pub incompatible: u64,
    /// Compression type byte: 0 deflate, 1 zstd.
    pub compression: u8,
    /// A backing file is named.
    pub backing: bool,
    /// Entries of the L1 table in the header.
    pub l1_entries: u32,
}

impl Default for Qcow2 {
    fn default() -> Self {
        Self { size: 1 << 20, incompatible: 0, compression: 0, backing: false, l1_entries: 1 }
    }
}

impl Qcow2 {
    /// Header, reference counts, L1, L2 and one cluster of data.
    pub fn bytes(self) -> Vec<u8> {
        let mut image = vec![0; 6 * CLUSTER];
        let mut put = |at: usize, value: &[u8]| image[at..at + value.len()].copy_from_slice(value);
        let cluster = |n: usize| ((n * CLUSTER) as u64).to_be_bytes();
        put(0, b"QFI\xfb");
        put(4, &3u32.to_be_bytes());
        if self.backing {
            let name = b"/etc/passwd";
            put(8, &1024u64.to_be_bytes());
            put(16, &(name.len() as u32).to_be_bytes());
            put(1024, name);
        }
        put(20, &16u32.to_be_bytes());
        put(24, &self.size.to_be_bytes());
        put(36, &self.l1_entries.to_be_bytes());
        put(40, &cluster(3));
        put(48, &cluster(1));
        put(56, &1u32.to_be_bytes());
        put(72, &self.incompatible.to_be_bytes());
        put(96, &4u32.to_be_bytes());
        put(100, &112u32.to_be_bytes());
        put(104, &[self.compression]);
        // Reference count table and one block: clusters 0 to 5 are used once.
        put(CLUSTER, &cluster(2));
        for n in 0..6 {
            put(2 * CLUSTER + 2 * n, &1u16.to_be_bytes());
        }
        let copied = 1u64 << 63;
        put(3 * CLUSTER, &(copied | (4 * CLUSTER) as u64).to_be_bytes());
        put(4 * CLUSTER, &(copied | (5 * CLUSTER) as u64).to_be_bytes());
        let data: Vec<u8> = (0..CLUSTER).map(|n| (n % 251) as u8 + 1).collect();
        put(5 * CLUSTER, &data);
        image
    }
}
