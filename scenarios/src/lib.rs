//! The `sanbench` command as a library: [`cli`] with a [`Registry`] is the whole program, and a vendor's own command is
//! the same call with one more driver.
//!
//! | module | what it is for |
//! |---|---|
//! | `commands` | what each command does |
//! | [`registry`] | drivers, stories, suites |
//! | [`register`] | the requirement and defect catalogues |
//! | [`conformance`] | the same as tests of `cargo test`: [`conformance_tests!`] |
//! | [`config`] | `cinder.conf` sections and profiles |
//! | [`safety`] | tag, journal, limits, clean-up on real arrays |
//! | `compose` | the composition root: puts array, hosts, driver and workflow together |
//! | `run` | many cases, one report |
//! | `coverage` | what a run has met, counted from its history |
//! | `targets`, `defects`, `faults` | from words to what they name |
//!
//! This is the only crate that knows all others. It decides no verdict and knows no protocol.

pub mod config;
pub mod conformance;
pub mod register;
pub mod registry;
pub mod safety;

mod anatomy;
mod cli;
mod commands;
mod compose;
mod coverage;
mod defects;
mod failure;
mod faults;
mod interrupt;
mod run;
mod targets;

pub use compose::tengling_entry;
pub use registry::Registry;

use std::process::ExitCode;

/// The whole command: parses the process's arguments, runs, prints, answers the exit code.
pub fn cli(registry: Registry) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SANBENCH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    // Logs go to stderr: stdout belongs to results.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    ExitCode::from(commands::main(&registry, std::env::args_os()))
}
