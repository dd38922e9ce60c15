//! The vendor's command: everything that `sanbench` does, with the vendor's driver in front.

use std::process::ExitCode;

fn main() -> ExitCode {
    sanbench::cli(sanbench_example::registry())
}
