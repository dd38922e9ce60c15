//! Replays the corpora of the fuzz targets: what fuzzing once found stays found.

use std::fs;
use std::path::Path;

use crate::fuzz;

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
fn logins() {
    replay("login", fuzz::login);
}

#[test]
fn authentication() {
    replay("chap", fuzz::chap);
}

#[test]
fn scsi_commands() {
    replay("commands", fuzz::commands);
}

#[test]
fn half_valid_streams() {
    replay("stream", fuzz::stream);
}
