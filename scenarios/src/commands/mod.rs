//! What each command does. Every command answers an exit code or a [`Refusal`] (64).

mod array;
mod clean;
mod doctor;
mod explain;
mod lab;
mod list;
mod replay;
mod report;
mod run;
mod selftest;
mod sweep;

use std::path::PathBuf;

use clap::Parser as _;
use sanbench_runner::generate::Profile;

use crate::cli::{ArrayCommand, Cli, Command, RunArgs};
use crate::failure::Refusal;
use crate::registry::Registry;
use crate::run::print;

/// Refused before anything was created (sysexits EX_USAGE).
pub(crate) const REFUSED: u8 = 64;

/// Parses the command line and runs it; answers the exit code.
pub(crate) fn main(registry: &Registry, words: impl IntoIterator<Item = std::ffi::OsString>) -> u8 {
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { REFUSED } else { 0 };
        }
    };
    let done = match cli.command {
        None => {
            let args = RunDefaults::try_parse_from(["sanbench"]).map(|d| d.args);
            match args {
                Ok(args) => run::run(registry, &args),
                Err(e) => Err(Refusal::new(e.to_string())),
            }
        }
        Some(Command::Run(args)) => run::run(registry, &args),
        Some(Command::List(args)) => list::list(registry, &args).map(say),
        Some(Command::Explain(args)) => explain::explain(registry, &args.id).map(say),
        Some(Command::Selftest(args)) => selftest::selftest(registry, &args),
        Some(Command::Replay(args)) => replay::replay(registry, &args),
        Some(Command::Sweep(args)) => sweep::sweep(registry, &args),
        Some(Command::Report(command)) => report::report(&command),
        Some(Command::Array(ArrayCommand::Serve(args))) => array::serve(&args),
        Some(Command::Clean(args)) => clean::clean(registry, &args),
        Some(Command::Doctor(args)) => {
            let (text, ok) = doctor::doctor(&args);
            say(text);
            Ok(if ok { 0 } else { 2 })
        }
    };
    match done {
        Ok(code) => code,
        Err(refusal) => {
            eprintln!("sanbench: {refusal}");
            REFUSED
        }
    }
}

/// The defaults of `run`, for the command without words.
#[derive(clap::Parser)]
struct RunDefaults {
    #[command(flatten)]
    args: RunArgs,
}

/// Prints text; a closed pipe is the reader's right.
fn say(text: String) -> u8 {
    let _ = print(&text);
    0
}

/// `$XDG_STATE_HOME/sanbench`, else `~/.local/state/sanbench`, else a folder beside the program's start.
pub(crate) fn state_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| PathBuf::from(".sanbench-state"))
        .join("sanbench")
}

/// A runtime for commands on real sockets.
fn runtime() -> Result<tokio::runtime::Runtime, Refusal> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Refusal::new(format!("cannot start the runtime: {e}")))
}

/// The fault profile of `--faults`: a built-in one by its name, or a file.
fn faults(word: &str) -> Result<Profile, Refusal> {
    if let Some(profile) = Profile::by_name(word) {
        return Ok(profile);
    }
    let shown: String = word.chars().filter(|c| !c.is_control()).take(120).collect();
    if !(word.contains('/') || word.ends_with(".toml")) {
        let names = Profile::NAMES.join(", ");
        return Err(Refusal::new(format!("--faults {shown}: no such profile"))
            .hint(format!("one of {names}, or a file ending in .toml")));
    }
    let text = std::fs::read_to_string(word).map_err(|e| Refusal::new(format!("--faults {shown}: {e}")))?;
    crate::config::faults::parse(&shown, &text).map_err(|e| Refusal::new(e.to_string()))
}
