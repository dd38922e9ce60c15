//! The `sanbench` binary: one call of the library with what it carries.

use std::process::ExitCode;

/// The simulated array keeps many blocks of two sizes for long; this allocator keeps sizes apart, which saves cache misses.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sanbench::cli(sanbench::Registry::builtin())
}
