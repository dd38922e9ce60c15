//! Blocks that describe themselves, so that a wrong read is named instead of merely noticed.
//!
//! A stamped block is 512 bytes, all integers big-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `SANBENCH` |
//! | 8..12 | run tag |
//! | 12..28 | volume id |
//! | 28..36 | LBA |
//! | 36..44 | sequence number of the write |
//! | 44..48 | writer |
//! | 48..52 | CRC-32C of bytes 0..48 |
//! | 52..508 | filler: 57 eight-byte words computed from the head |
//! | 508..512 | CRC-32C of bytes 0..508 |
//!
//! The head has a checksum of its own, so that a torn block still says what it was going to be.

use std::fmt;

use crc_fast::CrcAlgorithm;
use sanbench_api::VolumeId;
use serde::Serialize;
use uuid::Uuid;

/// Bytes of a block.
pub const BLOCK: usize = 512;

const MAGIC: &[u8; 8] = b"SANBENCH";
const HEAD: usize = 48;
const BODY: usize = 52;
const END: usize = 508;

/// Tag of a run: eight hexadecimal digits that every UUID of the run begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RunTag(pub u32);

impl fmt::Display for RunTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What a stamped block says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Stamp {
    /// The run that wrote it.
    pub run: RunTag,
    /// The volume that it was written to.
    pub volume: VolumeId,
    /// The block address that it was written to.
    pub lba: u64,
    /// Sequence number of the write, rising over the whole run.
    pub seq: u64,
    /// Who wrote it.
    pub writer: u32,
}

impl Stamp {
    /// The same write's stamp at another block of its range.
    #[must_use]
    pub fn at(self, lba: u64) -> Self {
        Self { lba, ..self }
    }

    /// The block as bytes.
    #[must_use]
    pub fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(MAGIC);
        block[8..12].copy_from_slice(&self.run.0.to_be_bytes());
        block[12..28].copy_from_slice(self.volume.0.as_bytes());
        block[28..36].copy_from_slice(&self.lba.to_be_bytes());
        block[36..44].copy_from_slice(&self.seq.to_be_bytes());
        block[44..48].copy_from_slice(&self.writer.to_be_bytes());
        let head = crc(&block[..HEAD]);
        block[HEAD..BODY].copy_from_slice(&head.to_be_bytes());
        let seed = filler_seed(head, self.seq);
        for (index, word) in block[BODY..END].chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&filler_word(seed, index).to_be_bytes());
        }
        let whole = crc(&block[..END]);
        block[END..].copy_from_slice(&whole.to_be_bytes());
        block
    }

    /// Fills a buffer of whole blocks with this write's stamps, the first at `self.lba`. A rest shorter than a block is
    /// left alone.
    pub fn fill(&self, buffer: &mut [u8]) {
        for (index, block) in buffer.chunks_exact_mut(BLOCK).enumerate() {
            block.copy_from_slice(&self.at(self.lba + index as u64).block());
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, volume, lba, seq, writer } = self;
        write!(f, "run {run}, volume {volume}, LBA {lba}, write {seq} by writer {writer}")
    }
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// All zeroes.
    Zero,
    /// An intact stamp.
    Stamp(Stamp),
    /// A stamp whose head is intact and whose rest is not.
    Torn {
        /// What it was going to be.
        head: Stamp,
        /// Bytes that are right before the first wrong one.
        intact: usize,
    },
    /// Anything else.
    Other,
}

/// Reads a block. A slice of another length than [`BLOCK`] is [`Decoded::Other`].
#[must_use]
pub fn decode(block: &[u8]) -> Decoded {
    let Ok(block) = <&[u8; BLOCK]>::try_from(block) else {
        return Decoded::Other;
    };
    if is_zero(block) {
        return Decoded::Zero;
    }
    let head_crc = u32::from_be_bytes(field(block, HEAD));
    if &block[..8] != MAGIC || crc(&block[..HEAD]) != head_crc {
        return Decoded::Other;
    }
    let stamp = Stamp {
        run: RunTag(u32::from_be_bytes(field(block, 8))),
        volume: VolumeId(Uuid::from_bytes(field(block, 12))),
        lba: u64::from_be_bytes(field(block, 28)),
        seq: u64::from_be_bytes(field(block, 36)),
        writer: u32::from_be_bytes(field(block, 44)),
    };
    let wanted = stamp.block();
    match wanted.iter().zip(block).position(|(wanted, got)| wanted != got) {
        None => Decoded::Stamp(stamp),
        Some(intact) => Decoded::Torn { head: stamp, intact },
    }
}

/// True if every byte is zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

fn field<const N: usize>(block: &[u8; BLOCK], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&block[at..at + N]);
    out
}

fn crc(bytes: &[u8]) -> u32 {
    // CRC-32C fills the low half.
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn filler_seed(head: u32, seq: u64) -> u64 {
    (u64::from(head) << 32 | u64::from(!head)) ^ seq.rotate_left(17)
}

/// A word that differs at every place of every block: a shifted or exchanged piece does not fit.
fn filler_word(seed: u64, index: usize) -> u64 {
    let mut word = seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^ (word >> 27)
}

/// What the volume named in an observed stamp is to the volume that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The volume itself (or the volume that a snapshot was taken of).
    Own,
    /// What it was cloned from, at any distance.
    Source,
    /// Cloned from it, at any distance.
    Clone,
    /// Deleted before.
    Deleted,
    /// Nothing to do with it.
    Stranger,
}

/// What one block must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Zeroes.
    Zero,
    /// This stamp.
    Stamp(Stamp),
    /// A block of an image, by the first 16 bytes of its SHA-256.
    Image([u8; 16]),
    /// One of several: the outcome of a write is unknown.
    AnyOf(Vec<Expected>),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("zeroes"),
            Self::Stamp(stamp) => stamp.fmt(f),
            Self::Image(digest) => {
                f.write_str("image block with SHA-256 ")?;
                digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("...")
            }
            Self::AnyOf(several) => {
                for (index, one) in several.iter().enumerate() {
                    if index > 0 {
                        f.write_str(" or ")?;
                    }
                    one.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

/// How a block is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An older write of the same volume, or the content of its source that was overwritten.
    Stale,
    /// A newer write than this volume or snapshot may show.
    Later,
    /// Part of one write and part of something else.
    Torn,
    /// A block written to another address.
    Misdirected,
    /// Another volume's or another run's data, or bytes that nobody wrote.
    Foreign,
    /// Zeroes where data belongs.
    Zeroed,
    /// Data where zeroes belong: unmapped, never written, or of a deleted volume.
    Resurrected,
}

impl Kind {
    /// The word used in messages and signatures.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Later => "later",
            Self::Torn => "torn",
            Self::Misdirected => "misdirected",
            Self::Foreign => "foreign",
            Self::Zeroed => "zeroed",
            Self::Resurrected => "resurrected",
        }
    }
}

/// What is wrong with a block, in a word and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// How it is wrong.
    pub kind: Kind,
    /// The same for people.
    pub sentence: String,
    /// The stamp found, if there was one.
    pub stamp: Option<Stamp>,
    /// What the volume in the stamp is to the volume that was read.
    pub relation: Option<Relation>,
}

/// Names what is wrong with a block that does not match. `lba` is where it was read, `run` is this run, `relation` tells
/// what a volume is to the one that was read. The caller has already found `observed` different from `expected`.
#[must_use]
pub fn diagnose(
    expected: &Expected,
    observed: &[u8],
    lba: u64,
    run: RunTag,
    relation: impl Fn(VolumeId) -> Relation,
) -> Diagnosis {
    let say = |kind, stamp, relation, sentence: String| Diagnosis { kind, sentence, stamp, relation };
    match decode(observed) {
        Decoded::Zero => say(Kind::Zeroed, None, None, "zeroes where data belongs".to_owned()),
        Decoded::Other => {
            let sentence = match expected {
                Expected::Zero => "bytes that no write of this run explains, where zeroes belong",
                _ => "bytes that no write of this run explains",
            };
            say(Kind::Foreign, None, None, sentence.to_owned())
        }
        Decoded::Torn { head, intact } => {
            let sentence = format!("torn after {intact} of {BLOCK} bytes; it began as {head}");
            say(Kind::Torn, Some(head), Some(relation(head.volume)), sentence)
        }
        Decoded::Stamp(stamp) => {
            let relation = relation(stamp.volume);
            let (kind, sentence) = name_stamp(expected, &stamp, lba, run, relation);
            say(kind, Some(stamp), Some(relation), sentence)
        }
    }
}

fn name_stamp(
    expected: &Expected,
    stamp: &Stamp,
    lba: u64,
    run: RunTag,
    relation: Relation,
) -> (Kind, String) {
    if stamp.run != run {
        return (Kind::Foreign, format!("data of another run: {stamp}"));
    }
    match relation {
        Relation::Stranger => return (Kind::Foreign, format!("data of an unrelated volume: {stamp}")),
        Relation::Deleted if !matches!(expected, Expected::Stamp(e) if e.volume == stamp.volume) => {
            return (Kind::Resurrected, format!("data of a deleted volume: {stamp}"));
        }
        Relation::Clone => return (Kind::Later, format!("a write to its clone shows through: {stamp}")),
        _ => {}
    }
    if stamp.lba != lba {
        return (Kind::Misdirected, format!("a block written to LBA {} is at LBA {lba}: {stamp}", stamp.lba));
    }
    let newest = match expected {
        Expected::Zero => return (Kind::Resurrected, format!("data where zeroes belong: {stamp}")),
        Expected::Image(_) => return (Kind::Stale, format!("what stood there before the image: {stamp}")),
        Expected::Stamp(one) => Some(one.seq),
        Expected::AnyOf(several) => several
            .iter()
            .filter_map(|one| if let Expected::Stamp(s) = one { Some(s.seq) } else { None })
            .max(),
    };
    match newest {
        Some(newest) if stamp.seq > newest => {
            (Kind::Later, format!("a write newer than it may show: {stamp}"))
        }
        _ => (Kind::Stale, format!("an older write that was overwritten: {stamp}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: RunTag = RunTag(0xabad_cafe);

    fn stamp(volume: u8, lba: u64, seq: u64) -> Stamp {
        Stamp { run: RUN, volume: VolumeId(Uuid::from_bytes([volume; 16])), lba, seq, writer: 3 }
    }

    fn name(expected: Expected, observed: &[u8], relation: Relation) -> Kind {
        diagnose(&expected, observed, 8, RUN, |_| relation).kind
    }

    #[test]
    fn a_block_tells_what_it_is() {
        let one = stamp(1, 8, 5);
        assert_eq!(decode(&one.block()), Decoded::Stamp(one));
        assert_eq!(decode(&[0; BLOCK]), Decoded::Zero);
        assert_eq!(decode(&[0; 100]), Decoded::Other);
        assert_eq!(decode(&[7; BLOCK]), Decoded::Other);
        let mut buffer = vec![0xff; 3 * BLOCK + 9];
        one.fill(&mut buffer);
        assert_eq!(decode(&buffer[2 * BLOCK..3 * BLOCK]), Decoded::Stamp(one.at(10)));
        assert_eq!(buffer[3 * BLOCK..], [0xff; 9]);
    }

    #[test]
    fn no_changed_bit_is_overlooked() {
        let block = stamp(1, 8, 5).block();
        for bit in 0..BLOCK * 8 {
            let mut changed = block;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(decode(&changed), Decoded::Stamp(_) | Decoded::Zero), "bit {bit}");
        }
    }

    #[test]
    fn a_torn_block_says_where() {
        let (new, old) = (stamp(1, 8, 6), stamp(1, 8, 5));
        let mut torn = new.block();
        torn[256..].copy_from_slice(&old.block()[256..]);
        let Decoded::Torn { head, intact } = decode(&torn) else { panic!("not torn") };
        assert_eq!(head, new);
        assert!((256..264).contains(&intact), "{intact}");
    }

    #[test]
    fn every_kind_has_its_name() {
        let want = || Expected::Stamp(stamp(1, 8, 5));
        let image = || Expected::Image([0; 16]);
        let mut torn = stamp(1, 8, 5).block();
        torn[400] ^= 1;
        let other_run = Stamp { run: RunTag(1), ..stamp(1, 8, 5) };
        for (kind, expected, observed, relation) in [
            (Kind::Stale, want(), stamp(1, 8, 4).block(), Relation::Own),
            (Kind::Stale, want(), stamp(2, 8, 2).block(), Relation::Source),
            (Kind::Stale, image(), stamp(1, 8, 4).block(), Relation::Own),
            (Kind::Later, want(), stamp(1, 8, 6).block(), Relation::Own),
            (Kind::Later, want(), stamp(2, 8, 6).block(), Relation::Clone),
            (Kind::Torn, want(), torn, Relation::Own),
            (Kind::Misdirected, want(), stamp(1, 9, 5).block(), Relation::Own),
            (Kind::Foreign, want(), stamp(2, 8, 5).block(), Relation::Stranger),
            (Kind::Foreign, want(), other_run.block(), Relation::Own),
            (Kind::Foreign, want(), [9; BLOCK], Relation::Own),
            (Kind::Zeroed, want(), [0; BLOCK], Relation::Own),
            (Kind::Zeroed, image(), [0; BLOCK], Relation::Own),
            (Kind::Resurrected, Expected::Zero, stamp(1, 8, 5).block(), Relation::Own),
            (Kind::Resurrected, want(), stamp(2, 8, 1).block(), Relation::Deleted),
        ] {
            assert_eq!(name(expected.clone(), &observed, relation), kind, "{expected} {relation:?}");
        }
    }
}
