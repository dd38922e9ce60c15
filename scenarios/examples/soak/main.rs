//! A soak of `sanbench array serve --data`: management clients and initiators do mixed work while the server is killed
//! (`kill -9`) and started again at random; at the end model and census must agree, and nothing that was acknowledged may
//! be lost.
//!
//! ```text
//! cargo run --release -p sanbench --example soak -- --seconds 600 --clients 20 --initiators 20
//! ```
//!
//! The server is the `sanbench` beside this program, or `--server PATH`. One JSON line at the end says what was done.
#![allow(unreachable_pub, reason = "a test shares these modules")]
#![allow(
    clippy::disallowed_methods,
    reason = "a soak lives on the wall clock, with threads and real sockets"
)]

mod http;
mod iscsi;
mod manager;
mod server;
mod soak;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;

use soak::Plan;

fn main() -> ExitCode {
    let mut plan = Plan { server: beside(), ..Plan::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_default();
        let number = || value.parse::<u64>().map_err(|_| format!("{word} {value}: not a number"));
        let set = match word.as_str() {
            "--seconds" => number().map(|n| plan.seconds = n),
            "--clients" => number().map(|n| plan.clients = n),
            "--initiators" => number().map(|n| plan.initiators = n),
            "--kill-every" => number().map(|n| plan.kill_every = n),
            "--seed" => number().map(|n| plan.seed = n),
            "--server" => {
                plan.server = PathBuf::from(&value);
                Ok(())
            }
            "--data" => {
                plan.data = Some(PathBuf::from(&value));
                Ok(())
            }
            _ => Err(format!(
                "{word} is unknown: --seconds --clients --initiators --kill-every --seed --server --data"
            )),
        };
        if let Err(why) = set {
            eprintln!("soak: {why}");
            return ExitCode::from(64);
        }
    }
    match soak::run(&plan) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("soak: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The server next to this program: `target/release/examples/soak` -> `target/release/sanbench`.
fn beside() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().and_then(|examples| examples.parent()).map_or_else(PathBuf::new, |dir| dir.join("sanbench"))
}
