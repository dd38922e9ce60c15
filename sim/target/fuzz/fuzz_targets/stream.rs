//! `cargo fuzz run stream`; what is done with an input is in src/lib.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sanbench_target_fuzz::stream(data));
