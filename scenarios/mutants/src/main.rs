//! How many defects that nobody told the bench about does it find?
//!
//! `cargo mutants` lists mutants of the simulated array, its store, the target, the Tengling driver, the connector and the
//! flows. A seeded sample of them is judged **only** by the bench itself: the default suite, then a short sweep. No unit test
//! is asked. Verdicts go to a ledger that is committed; a run goes on where the last one stopped.
//!
//! Building each mutant by itself would take most of the time. So all mutants of the sample are *woven* into one copy of
//! the sources, each behind a switch that an environment variable throws, and the copy is built once. What cannot be woven
//! (a constant, an operand that borrows in another way) is built by itself.
//!
//! | module | what it does |
//! |---|---|
//! | `list` | what `cargo mutants` says, and the sample |
//! | `weave` | puts mutants behind switches |
//! | `build` | the copy of the sources, compilers, errors told to mutants |
//! | `judge` | default suite, then sweep |
//! | `ledger` | the committed table |

mod build;
mod judge;
mod ledger;
mod list;
mod weave;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::build::Tree;
use crate::ledger::{Ledger, Verdict};

/// Judges the bench by mutants of what it judges.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  cargo run --release -- sample --seed 1 --count 300\n  \
    cargo run --release -- judge --work target/woven --minutes 60")]
struct Cli {
    /// The committed ledger.
    #[arg(long, default_value = "ledger.tsv", global = true)]
    ledger: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Draw a sample and begin a new ledger. Needs `cargo install cargo-mutants`.
    Sample {
        /// Seed of the sample.
        #[arg(long)]
        seed: u64,
        /// Mutants to draw, spread evenly over the six homes.
        #[arg(long, default_value_t = 300)]
        count: usize,
    },
    /// Judge every mutant of the ledger that has no verdict yet.
    Judge {
        /// Folder for the copy of the sources and its build; kept between calls.
        #[arg(long)]
        work: PathBuf,
        /// Begin no further mutant after so many minutes.
        #[arg(long, default_value_t = 600)]
        minutes: u64,
        /// Seconds of sweep for a mutant that the default suite lets pass.
        #[arg(long, default_value_t = 20)]
        sweep: u64,
        /// Only the default suite judges; what it lets pass stays pending.
        #[arg(long)]
        suite_only: bool,
        /// Judge survivors again, after stories or checkers have changed.
        #[arg(long)]
        again: bool,
    },
    /// Sort out pending mutants that do not compile, by checks of single crates.
    Check {
        /// Folder for the copy of the sources and its build; kept between calls.
        #[arg(long)]
        work: PathBuf,
    },
    /// Figures of the ledger. Exits with 1 below 85 % caught.
    Summary,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(64)
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, String> {
    match cli.command {
        Command::Sample { seed, count } => {
            let root = build::repository()?;
            let ledger = list::sample(&list::all(&root)?, seed, count, &build::commit(&root)?);
            ledger.save(&cli.ledger)?;
            println!("{} mutants, ledger {}", ledger.rows.len(), cli.ledger.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Judge { work, minutes, sweep, suite_only, again } => {
            let root = build::repository()?;
            let mut ledger = Ledger::load(&cli.ledger)?;
            if again {
                ledger
                    .rows
                    .iter_mut()
                    .filter(|r| r.verdict == Verdict::Survived)
                    .for_each(|r| r.verdict = Verdict::Pending);
            }
            let mutants = list::find(&list::all(&root)?, &mut ledger);
            ledger.save(&cli.ledger)?;
            let tree = Tree::new(&root, &work)?;
            let limits =
                judge::Limits { minutes: Duration::from_secs(minutes * 60), sweep_s: sweep, suite_only };
            judge::judge(&tree, &mutants, &mut ledger, &cli.ledger, limits)?;
            print!("{}", ledger.summary());
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { work } => {
            let root = build::repository()?;
            let mut ledger = Ledger::load(&cli.ledger)?;
            let mutants = list::find(&list::all(&root)?, &mut ledger);
            judge::check(&Tree::new(&root, &work)?, &mutants, &mut ledger, &cli.ledger)?;
            print!("{}", ledger.summary());
            Ok(ExitCode::SUCCESS)
        }
        Command::Summary => {
            let ledger = Ledger::load(&cli.ledger)?;
            print!("{}", ledger.summary());
            Ok(if ledger.caught_share() >= 0.85 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
