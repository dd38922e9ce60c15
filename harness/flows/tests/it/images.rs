//! The image corpus: what is refused, by name, and that two readers agree on what is accepted.

use bytes::Bytes;
use proptest::prelude::*;
use sanbench_flows::image::{
    Chunk, Format, ImageBytes, ImageDigests, ImageError, ImageReader, Inspected, MAX_CHUNK, Sample,
    check_counts, digest, inspect, sample,
};
use sanbench_world::dice;
use sha2::{Digest, Sha256};

const GIB: u64 = 1 << 30;

fn a_sample(seed: u64, mib: u64) -> Sample {
    sample(&mut dice(seed, "test", "image"), mib)
}

fn memory(bytes: impl Into<Bytes>) -> ImageBytes {
    ImageBytes::Memory(bytes.into())
}

fn judge(bytes: impl Into<Bytes>, declared: Format) -> Result<Inspected, ImageError> {
    inspect(&memory(bytes), declared, GIB)
}

fn raw_of(bytes: &ImageBytes, inspected: &Inspected) -> Result<Vec<u8>, ImageError> {
    let mut reader = ImageReader::open(bytes, inspected)?;
    let mut raw = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        match chunk {
            Chunk::Zero { offset, len } => {
                assert_eq!(offset, raw.len() as u64, "chunks are contiguous");
                raw.resize(raw.len() + usize::try_from(len).unwrap_or(0), 0);
            }
            Chunk::Data { offset, bytes } => {
                assert_eq!(offset, raw.len() as u64, "chunks are contiguous");
                assert!(bytes.len() as u64 <= MAX_CHUNK);
                raw.extend_from_slice(&bytes);
            }
        }
    }
    Ok(raw)
}

/// The sample with bytes of its header changed.
fn with(changes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = a_sample(1, 1).bytes.to_vec();
    for (at, bytes) in changes {
        file[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    file
}

#[test]
fn the_sample_is_what_it_says_and_both_readers_agree() {
    for (seed, mib) in [(1, 1), (2, 3), (3, 8)] {
        let made = a_sample(seed, mib);
        let bytes = memory(made.bytes.clone());
        let inspected = inspect(&bytes, Format::Qcow2, GIB).unwrap();
        assert_eq!(inspected.virtual_size, Some(mib << 20));
        let raw = raw_of(&bytes, &inspected).unwrap();
        assert_eq!(raw.len() as u64, made.virtual_size);
        assert_eq!(Sha256::digest(&raw)[..], made.raw_sha256);
        // The digests come from the other walk.
        let digests = digest(&bytes, &inspected).unwrap();
        for (index, block) in raw.chunks(512).enumerate() {
            let want = block.iter().any(|b| *b != 0).then(|| ImageDigests::of_block(block));
            assert_eq!(digests.blocks.get(&(index as u64 * 512)).copied(), want, "block {index}");
        }
    }
}

#[test]
fn the_sample_counts_its_references_right_and_one_that_does_not_is_found() {
    for (seed, mib) in [(1, 1), (2, 3), (3, 8)] {
        assert_eq!(check_counts(&memory(a_sample(seed, mib).bytes)), Ok(()));
    }
    const CLUSTER: usize = 64 << 10;
    let wrong =
        |at: usize, bytes: &[u8]| check_counts(&memory(with(&[(at, bytes)]))).unwrap_err().to_string();
    // Counts are in the third cluster, two bytes each: one that is too low, then one that is too high.
    for (count, said) in [([0, 0], 0), ([0, 2], 2)] {
        let want =
            format!("truncated or corrupt: cluster 3 has 1 references, and a reference count of {said}");
        assert_eq!(wrong(2 * CLUSTER + 6, &count), want);
    }
    assert_eq!(
        wrong(3 * CLUSTER, &(4 * CLUSTER as u64).to_be_bytes()),
        "truncated or corrupt: bit 63 of the entry of cluster 4 is wrong"
    );
    assert_eq!(
        wrong(CLUSTER, &[0; 8]),
        "truncated or corrupt: cluster 0 has 1 references, and a reference count of 0"
    );
    assert_eq!(wrong(96, &5u32.to_be_bytes()), "not supported: reference counts of 2^5 bits");
    assert!(wrong(56, &u32::MAX.to_be_bytes()).contains("beyond the end"));
}

#[test]
fn the_same_seed_makes_the_same_sample() {
    assert_eq!(a_sample(9, 2).bytes, a_sample(9, 2).bytes);
    assert_ne!(a_sample(9, 2).bytes, a_sample(10, 2).bytes);
}

#[test]
fn hostile_qcow2_is_refused_by_name() {
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("unsafe: backing file", with(&[(8, &4096u64.to_be_bytes()), (16, &11u32.to_be_bytes())])),
        ("unsafe: external data file", with(&[(72, &(1u64 << 2).to_be_bytes())])),
        ("not supported: encryption", with(&[(32, &2u32.to_be_bytes())])),
        (
            "not supported: zstd compression",
            with(&[(72, &(1u64 << 3).to_be_bytes()), (100, &112u32.to_be_bytes()), (104, &[1])]),
        ),
        ("not supported: extended L2 entries", with(&[(72, &(1u64 << 4).to_be_bytes())])),
        ("not supported: image marked corrupt", with(&[(72, &(1u64 << 1).to_be_bytes())])),
        ("not supported: incompatible feature bit 40", with(&[(72, &(1u64 << 40).to_be_bytes())])),
        ("not supported: qcow version 4", with(&[(4, &4u32.to_be_bytes())])),
        (
            "virtual size of 9223372036854775807 bytes exceeds 1073741824 bytes",
            with(&[(24, &i64::MAX.to_be_bytes())]),
        ),
        (
            "virtual size of 1073742336 bytes exceeds 1073741824 bytes",
            with(&[(24, &(GIB + 512).to_be_bytes())]),
        ),
        ("truncated or corrupt: virtual size is zero", with(&[(24, &0u64.to_be_bytes())])),
        ("truncated or corrupt: cluster size of 2^63 bytes", with(&[(20, &63u32.to_be_bytes())])),
        ("truncated or corrupt: L1 table of 4294967295 entries", with(&[(36, &u32::MAX.to_be_bytes())])),
        ("truncated or corrupt: L1 table lies beyond the end", with(&[(40, &(1u64 << 40).to_be_bytes())])),
        ("truncated or corrupt: L1 table is not aligned", with(&[(40, &77u64.to_be_bytes())])),
    ];
    for (want, file) in cases {
        assert_eq!(judge(file, Format::Qcow2).unwrap_err().to_string(), want);
    }
}

#[test]
fn an_image_cut_short_anywhere_is_refused() {
    let file = a_sample(4, 2).bytes;
    // Whole clusters at the end may be padding of the last compressed one, so the cut begins before that.
    for at in (1..file.len() - (64 << 10)).step_by(4999) {
        let cut = file.slice(..at);
        let answer = inspect(&memory(cut.clone()), Format::Qcow2, GIB).and_then(|found| {
            // A cut inside the last mapped cluster is the checksum's business; content before it must be right.
            raw_of(&memory(cut), &found).map(drop)
        });
        if at < 5 * (64 << 10) {
            assert!(answer.is_err(), "cut at {at}");
        }
    }
}

#[test]
fn declared_and_detected_format_must_agree() {
    let mut guest = vec![0; 4096];
    guest[..4].copy_from_slice(b"QFI\xfb");
    let text = |r: Result<Inspected, ImageError>| r.unwrap_err().to_string();
    assert_eq!(text(judge(guest.clone(), Format::Raw)), "declared as raw, but looks like qcow2");
    assert_eq!(text(judge(vec![1; 4096], Format::Qcow2)), "declared as qcow2, but looks like raw");
    let mut iso = vec![0; 0x9000];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    assert!(judge(iso.clone(), Format::Iso).is_ok());
    assert!(judge(iso.clone(), Format::Raw).is_ok());
    iso[..4].copy_from_slice(b"QFI\xfb");
    assert_eq!(text(judge(iso, Format::Qcow2)), "ambiguous: looks like qcow2 and iso");
    let mut luks = vec![0; 4096];
    luks[..6].copy_from_slice(b"LUKS\xba\xbe");
    assert_eq!(text(judge(luks.clone(), Format::Raw)), "declared as raw, but looks like luks");
    assert_eq!(text(judge(luks, Format::Luks)), "not supported: encrypted image (luks)");
    let mut qed = vec![0; 4096];
    qed[..4].copy_from_slice(b"QED\0");
    assert_eq!(text(judge(qed, Format::Qed)), "unsafe: qed images are never accepted");
    assert_eq!(text(judge(Vec::new(), Format::Raw)), "truncated or corrupt: the image is empty");
    assert_eq!("ova".parse::<Format>().unwrap_err().to_string(), "disk format \"ova\" is not known");
}

fn vmdk(descriptor: &str) -> Vec<u8> {
    let mut file = vec![0; 4096];
    file[..4].copy_from_slice(b"KDMV");
    file[4..8].copy_from_slice(&1u32.to_le_bytes());
    file[12..20].copy_from_slice(&2048u64.to_le_bytes());
    file[28..36].copy_from_slice(&1u64.to_le_bytes());
    file[36..44].copy_from_slice(&2u64.to_le_bytes());
    file[512..512 + descriptor.len()].copy_from_slice(descriptor.as_bytes());
    file
}

#[test]
fn vmdk_may_not_name_foreign_extents() {
    let head =
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n";
    let good = format!("{head}RW 2048 SPARSE \"disk.vmdk\"\nddb.adapterType = \"ide\"\n");
    assert_eq!(judge(vmdk(&good), Format::Vmdk).unwrap().virtual_size, Some(1 << 20));
    for bad in [
        format!("{head}RW 2048 FLAT \"/etc/passwd\" 0\n"),
        format!("{head}RW 2048 SPARSE \"/etc/passwd\"\n"),
        format!("{head}RW 2048 SPARSE \"../x\"\nRW 1 SPARSE \"y\"\n"),
        format!("{good}parentFileNameHint=\"/etc/passwd\"\n"),
        format!("{good}surprise\n"),
        head.replace("monolithicSparse", "monolithicFlat") + "RW 2048 SPARSE \"d\"\n",
        head.to_owned(),
        String::new(),
    ] {
        let error = judge(vmdk(&bad), Format::Vmdk).unwrap_err();
        assert!(matches!(error, ImageError::Unsafe(_)), "{bad}: {error}");
    }
    let flat = b"# Disk DescriptorFile\nRW 1 FLAT \"/etc/passwd\" 0\n".to_vec();
    assert!(matches!(judge(flat, Format::Vmdk), Err(ImageError::Unsafe(_))));
}

#[test]
fn vhd_with_a_parent_is_refused() {
    let disk = |kind: u32| {
        let mut file = vec![0; 4096];
        let foot = 4096 - 512;
        file[foot..foot + 8].copy_from_slice(b"conectix");
        file[foot + 48..foot + 56].copy_from_slice(&(1u64 << 20).to_be_bytes());
        file[foot + 60..foot + 64].copy_from_slice(&kind.to_be_bytes());
        file
    };
    assert_eq!(judge(disk(2), Format::Vhd).unwrap().virtual_size, Some(1 << 20));
    assert!(matches!(judge(disk(4), Format::Vhd), Err(ImageError::Unsafe(_))));
    assert!(matches!(judge(disk(9), Format::Vhd), Err(ImageError::Unsupported(_))));
    assert!(judge(disk(2), Format::Raw).is_err());
}

#[test]
fn raw_is_read_as_it_is_with_holes() {
    let mut content = vec![0; (3 << 20) + 100];
    content[1 << 20..(1 << 20) + 4096].fill(7);
    content[3 << 20..].fill(9);
    let bytes = memory(content.clone());
    let inspected = inspect(&bytes, Format::Raw, GIB).unwrap();
    let raw = raw_of(&bytes, &inspected).unwrap();
    // Padded to whole blocks.
    content.resize((3 << 20) + 512, 0);
    assert_eq!(raw, content);
    let digests = digest(&bytes, &inspected).unwrap();
    assert_eq!(digests.virtual_size, (3 << 20) + 100);
    assert_eq!(digests.blocks.len(), 8 + 1);
}

#[test]
fn holes_of_a_raw_file_are_found_without_reading_them() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.raw");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len((64 << 20) + 700).unwrap();
    // In the middle of a granule, over the end of a chunk, and right at the end.
    let places: [(u64, &[u8]); 3] =
        [(5 << 20 | 5_000, &[1; 10]), ((8 << 20) - 3, &[2; 9_000]), ((64 << 20) + 690, &[3; 10])];
    let mut content = vec![0; (64 << 20) + 1_024];
    for (at, bytes) in places {
        file.write_all_at(bytes, at).unwrap();
        content[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }
    let bytes = ImageBytes::open(&path).unwrap();
    let inspected = inspect(&bytes, Format::Raw, GIB).unwrap();
    assert!(raw_of(&bytes, &inspected).unwrap() == content);
    let chunks = {
        let mut reader = ImageReader::open(&bytes, &inspected).unwrap();
        std::iter::from_fn(move || reader.next_chunk().unwrap()).count()
    };
    // Where the file system knows holes, a long one is a single chunk.
    assert!(chunks <= 12 || !std::path::Path::new("/proc/self").exists(), "{chunks} chunks");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever is done to an image, inspector and readers answer, within bounds, and never panic.
    #[test]
    fn spoiled_images_never_panic(
        changes in prop::collection::vec((0usize..(6 << 16), any::<u8>()), 1..24),
        header in prop::collection::vec((0usize..112, any::<u8>()), 0..6),
    ) {
        let mut file = a_sample(8, 1).bytes.to_vec();
        for (at, value) in changes.into_iter().chain(header) {
            if at < file.len() {
                file[at] = value;
            }
        }
        let bytes = memory(file);
        for format in [Format::Qcow2, Format::Raw] {
            if let Ok(inspected) = inspect(&bytes, format, 64 << 20) {
                let _ = raw_of(&bytes, &inspected);
                let _ = digest(&bytes, &inspected);
            }
        }
    }
}
