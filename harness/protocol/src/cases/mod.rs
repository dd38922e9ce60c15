//! The cases, one module a chapter.

pub(crate) mod access;
pub(crate) mod auth;
pub(crate) mod blocks;
pub(crate) mod data;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod modes;
pub(crate) mod moves;
pub(crate) mod nexus;
pub(crate) mod offload;
pub(crate) mod provisioning;
pub(crate) mod random_blocks;
pub(crate) mod random_reservations;
pub(crate) mod recovery;
pub(crate) mod session;
pub(crate) mod tasks;
pub(crate) mod truth;

/// The table of a chapter.
macro_rules! cases {
    ($($f:ident $name:literal [$($id:literal)+] $title:literal;)*) => {
        pub(crate) const CASES: &[$crate::suite::Case] = &[
            $($crate::suite::Case {
                name: $name,
                title: $title,
                requirements: &[$($id),+],
                run: |lab| Box::pin($f(lab)),
            }),*
        ];
    };
}
pub(crate) use cases;

/// Bytes that tell their place and their writer.
pub(crate) fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i as u8).wrapping_mul(31) ^ (i >> 8) as u8 ^ (i >> 9) as u8 ^ seed).collect()
}

/// Where two buffers differ first, in words.
pub(crate) fn difference(expected: &[u8], got: &[u8]) -> String {
    if expected.len() != got.len() {
        return format!("{} bytes instead of {}", got.len(), expected.len());
    }
    match expected.iter().zip(got).position(|(a, b)| a != b) {
        Some(at) => format!("byte {at} is {:02x} instead of {:02x}", got[at], expected[at]),
        None => "the same".to_owned(),
    }
}
