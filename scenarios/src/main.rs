//! The `sanbench` binary: one call of the library with what it carries.

use std::process::ExitCode;

fn main() -> ExitCode {
    sanbench::cli(sanbench::Registry::builtin())
}
