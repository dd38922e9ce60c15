//! Replays the corpora of the fuzz targets: what fuzzing once found stays found.

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::Path;

/// Runs every input of a corpus; how many there were.
fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() > 10, "{} inputs in {}", inputs.len(), folder.display());
    for input in inputs {
        // Shown only when the input fails.
        println!("{}", input.display());
        body(&fs::read(input).unwrap());
    }
}

#[test]
fn frames() {
    replay("frame", fuzz::frame);
}

#[test]
fn text_keys() {
    replay("keys", fuzz::keys);
}

#[test]
fn scsi_data() {
    replay("scsi", fuzz::scsi);
}
