//! The in-process image reader beside `qemu-img`: the same bytes for every image that both accept, and a refusal by name
//! for what ours does not read.

use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use sanbench_flows::image::{Chunk, Format, ImageBytes, ImageDigests, ImageReader, digest, inspect};

use super::qemu::qemu_img;
use super::serve::sanbench;
use super::tools::{Checked, Foreign, difference, ensure, holey, run};

/// Bytes of the test image: no multiple of any cluster size.
const LENGTH: usize = (9 << 20) + 3 * 512;

/// Name, options of `qemu-img convert` and commands of `qemu-io` afterwards.
type Variant = (&'static str, &'static [&'static str], &'static [&'static str]);

const VARIANTS: &[Variant] = &[
    ("raw", &["-O", "raw"], &[]),
    ("v3", &["-O", "qcow2"], &[]),
    ("v3_without_holes", &["-O", "qcow2", "-S", "0"], &[]),
    ("v3_compressed", &["-O", "qcow2", "-c"], &[]),
    ("v3_4k", &["-O", "qcow2", "-o", "cluster_size=4k"], &[]),
    ("v3_4k_compressed", &["-O", "qcow2", "-c", "-o", "cluster_size=4k"], &[]),
    ("v3_2M", &["-O", "qcow2", "-o", "cluster_size=2M"], &[]),
    ("v3_2M_compressed", &["-O", "qcow2", "-c", "-o", "cluster_size=2M"], &[]),
    ("v3_512", &["-O", "qcow2", "-o", "cluster_size=512"], &[]),
    ("v3_preallocated", &["-O", "qcow2", "-o", "preallocation=metadata"], &[]),
    ("v3_lazy_refcounts", &["-O", "qcow2", "-o", "lazy_refcounts=on"], &[]),
    ("v3_wide_refcounts", &["-O", "qcow2", "-o", "refcount_bits=64"], &[]),
    ("v2", &["-O", "qcow2", "-o", "compat=0.10"], &[]),
    ("v2_compressed", &["-O", "qcow2", "-c", "-o", "compat=0.10"], &[]),
    ("v2_4k", &["-O", "qcow2", "-o", "compat=0.10,cluster_size=4k"], &[]),
    (
        "v3_zero_clusters",
        &["-O", "qcow2"],
        &["write -z 64k 1M", "write -z -u 3M 192k", "write -P 0x5a 4000k 96k"],
    ),
    ("v3_discarded", &["-O", "qcow2"], &["discard 2M 1M", "write -z 5M 8k"]),
    (
        "v3_compressed_then_written",
        &["-O", "qcow2", "-c"],
        &["write -P 0xa5 1000k 70k", "write -z 6M 64k", "write -P 0x11 8M 512"],
    ),
];

/// Name, options of `qemu-img create`, and what the refusal must say.
const REFUSED: &[(&str, &[&str], &str)] = &[
    ("zstd", &["-o", "compression_type=zstd"], "zstd"),
    ("extended_l2", &["-o", "extended_l2=on"], "extended L2"),
    ("backing_file", &["-b", "base.raw", "-F", "raw"], "backing file"),
    ("data_file", &["-o", "data_file=data.raw"], "data file"),
    ("raw_data_file", &["-o", "data_file=data.raw,data_file_raw=on"], "data file"),
];

pub(crate) fn trials(foreign: &Foreign, all: &mut Vec<Trial>) {
    for variant in VARIANTS {
        let programs: &[&str] = if variant.2.is_empty() { &["qemu-img"] } else { &["qemu-img", "qemu-io"] };
        all.push(foreign.trial(&format!("readers::agree::{}", variant.0), programs, || agree(variant)));
    }
    for (name, options, says) in REFUSED {
        let test = || refuse(options, says);
        all.push(foreign.trial(&format!("readers::refuse::{name}"), &["qemu-img"], test));
    }
}

fn agree((_, options, commands): &Variant) -> Checked {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let source = holey(5, LENGTH);
    std::fs::write(dir.join("source.raw"), &source)?;
    let mut args = vec!["convert", "-f", "raw"];
    args.extend(*options);
    args.extend(["source.raw", "image"]);
    qemu_img(dir, &args).good("convert")?;
    for command in *commands {
        let mut io = Command::new("qemu-io");
        run(io.args(["-f", "qcow2", "-c", command, "image"]).current_dir(dir), 60).good(command)?;
    }
    let format = if options.contains(&"qcow2") { Format::Qcow2 } else { Format::Raw };
    qemu_img(dir, &["convert", "-f", format.as_str(), "-O", "raw", "image", "theirs.raw"])
        .good("convert to raw")?;
    let theirs = std::fs::read(dir.join("theirs.raw"))?;
    ensure!(theirs.len() == LENGTH, "qemu-img reads {} bytes", theirs.len());
    ensure!(!commands.is_empty() || theirs == source, "qemu-img changed the content");

    let (ours, digests) = read(&dir.join("image"), format)?;
    if let Some(at) = difference(&ours, &theirs) {
        return Err(format!("reader and qemu-img differ: {at}").into());
    }
    // The checker's expectation comes from a second reader of ours; it must agree too.
    ensure!(digests.virtual_size == LENGTH as u64, "{} bytes expected", digests.virtual_size);
    let wanted = theirs.chunks(512).enumerate().filter(|(_, block)| block.iter().any(|b| *b != 0));
    let mut wanted = wanted.map(|(n, block)| (n as u64 * 512, ImageDigests::of_block(block)));
    let mut found = digests.blocks.into_iter();
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return Ok(()),
            (a, b) => ensure!(a == b, "digests differ: {a:?} beside {b:?}"),
        }
    }
}

/// Everything that our readers yield.
fn read(path: &Path, format: Format) -> Result<(Vec<u8>, ImageDigests), Failed> {
    let bytes = ImageBytes::open(path)?;
    let inspected = inspect(&bytes, format, 1 << 30)?;
    let mut reader = ImageReader::open(&bytes, &inspected)?;
    let size = usize::try_from(reader.virtual_size())?;
    let mut content = vec![0xee; size.next_multiple_of(512)];
    let mut next = 0;
    while let Some(chunk) = reader.next_chunk()? {
        let (at, length) = match &chunk {
            Chunk::Zero { offset, len } => (*offset, *len),
            Chunk::Data { offset, bytes } => (*offset, bytes.len() as u64),
        };
        ensure_next(at == next, at, next)?;
        next = at + length;
        let place = content.get_mut(at as usize..next as usize).ok_or("a chunk beyond the end")?;
        match chunk {
            Chunk::Zero { .. } => place.fill(0),
            Chunk::Data { bytes, .. } => place.copy_from_slice(&bytes),
        }
    }
    ensure_next(next == content.len() as u64, next, content.len() as u64)?;
    content.truncate(size);
    Ok((content, digest(&bytes, &inspected)?))
}

fn ensure_next(right: bool, at: u64, wanted: u64) -> Checked {
    ensure!(right, "a chunk at {at} where {wanted} is next");
    Ok(())
}

fn refuse(options: &[&str], says: &str) -> Checked {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    std::fs::write(dir.join("base.raw"), holey(6, 2 << 20))?;
    let mut args = vec!["create", "-f", "qcow2"];
    args.extend(options);
    args.push("image.qcow2");
    if !options.contains(&"-b") {
        args.push("2M");
    }
    qemu_img(dir, &args).good("create")?;
    let bytes = ImageBytes::open(&dir.join("image.qcow2"))?;
    let refusal = match inspect(&bytes, Format::Qcow2, 1 << 30) {
        Ok(_) => return Err("the inspector accepted it".into()),
        Err(e) => e.to_string(),
    };
    ensure!(refusal.contains(says), "the refusal does not name {says:?}: {refusal}");
    let done = sanbench(dir, &["run", "images", "--image", "image.qcow2"]);
    ensure!(done.code == Some(64), "exit {:?}: {}", done.code, done.err);
    ensure!(done.err.contains(says), "the message does not name {says:?}: {}", done.err);
    Ok(())
}
