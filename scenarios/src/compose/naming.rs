//! How the clients of an array of the OceanStor dialect name what they make there (array-rest.md section 4). Volumes and hosts that
//! one version of a driver made are found again by the next under these names only. This says the rule once more, without a
//! line of the driver that is judged by it.

use md5::{Digest, Md5};
use sanbench_api::{SnapshotId, VolumeId};

use crate::registry::Naming;

/// Names have at most so many characters.
const LONGEST: usize = 31;

/// The rule of the dialect.
#[derive(Debug, Clone, Copy)]
pub(super) struct OceanStorNames;

impl Naming for OceanStorNames {
    fn lun(&self, volume: VolumeId) -> String {
        of_uuid(&volume.to_string())
    }

    fn snapshot(&self, snapshot: SnapshotId) -> String {
        of_uuid(&snapshot.to_string())
    }

    /// As it is where it fits, else the digest alone.
    fn host(&self, host: &str) -> String {
        match host.len() {
            1..=LONGEST => host.to_owned(),
            _ => digest(host).take(LONGEST).collect(),
        }
    }
}

/// What stands before the first dash, the dash, and as much of the digest of the whole as there is room for.
fn of_uuid(uuid: &str) -> String {
    let first = uuid.split('-').take(1).flat_map(str::chars);
    first.chain(['-']).chain(digest(uuid)).take(LONGEST).collect()
}

/// Hexadecimal digits of the MD5 digest. It spreads names, and protects nothing.
fn digest(text: &str) -> impl Iterator<Item = char> {
    let bytes = Md5::digest(text.as_bytes());
    let nibbles: Vec<u8> = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
    nibbles.into_iter().filter_map(|nibble| char::from_digit(nibble.into(), 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_example() {
        let id: VolumeId = "1d2eb4ea-9229-4d7d-b3a3-0201a20878be".parse().unwrap();
        assert_eq!(OceanStorNames.lun(id), "1d2eb4ea-19f4c4091bad3c8f1c3e64");
        assert_eq!(OceanStorNames.host("compute-1"), "compute-1");
        // The digest is the one of RFC 1321, appendix A.5.
        let letters: String = ('a'..='z').collect();
        assert_eq!(OceanStorNames.host(&letters), letters);
        let all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        assert_eq!(OceanStorNames.host(all), "d174ab98d277d9f5a5611c2c9f419d9");
    }
}
