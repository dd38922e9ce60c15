//! `sanbench report`: papers of finished runs.

use std::path::Path;

use sanbench_reports::Extras;
use sanbench_reports::store::Store;
use sanbench_reports::text::{self, Style};
use sanbench_reports::write::{read_report, write_dir};

use super::run::prepare_dir;
use super::sweep::{FOLD, LINES, finish};
use crate::cli::{MergeArgs, RenderArgs, ReportCommand, SteerArgs};
use crate::coverage::{steered, universe};
use crate::failure::Refusal;
use crate::run::{FOLD_SCHEMA, Fold, Lines, print};

/// Largest fold that is read, in bytes.
const FOLD_MAX: u64 = 256 << 20;

/// The folder in a report directory whose failure store is merged too, for sweeps with `--state` there.
const STATE: &str = "state";

/// Answers the exit code.
pub(super) fn report(command: &ReportCommand) -> Result<u8, Refusal> {
    match command {
        ReportCommand::Merge(args) => merge(args),
        ReportCommand::Render(args) => render(args),
        ReportCommand::Steer(args) => steer(args),
    }
}

/// Shards of a sweep become one report, equal to that of the whole sweep, and their failure stores one store.
fn merge(args: &MergeArgs) -> Result<u8, Refusal> {
    prepare_dir("--report", &args.report)?;
    let store = |dir: &Path| Some(Store::in_state(&dir.join(STATE))).filter(|store| store.dir().is_dir());
    let stores: Vec<Store> = args.parts.iter().filter_map(|dir| store(dir)).collect();
    if let (Some(there), false) = (store(&args.report), stores.is_empty()) {
        // What is in it may have come from these very shards: it would be counted twice.
        return Err(Refusal::new(format!("{} is there already", there.dir().display()))
            .hint("a failure store is merged into a new folder"));
    }
    let mut lines = Lines::default();
    let mut merged: Option<Fold> = None;
    for dir in &args.parts {
        if dir == &args.report {
            return Err(
                Refusal::new(format!("{} is read and written", dir.display())).hint("write elsewhere")
            );
        }
        let fold = read(&dir.join(FOLD))?;
        lines.add_file(&dir.join(LINES)).map_err(|e| named(&dir.join(LINES), &e.to_string()))?;
        match &mut merged {
            None => merged = Some(fold),
            Some(all) => all.merge(fold).map_err(|why| {
                named(dir, &format!("does not belong to the others: {why}"))
                    .hint("merge the shards of one sweep")
            })?,
        }
    }
    let Some(fold) = merged else { return Err(Refusal::new("nothing to merge")) };
    let report = finish(&fold, lines, Some(&args.report), Vec::new());
    let all = Store::in_state(&args.report.join(STATE));
    for part in &stores {
        all.merge(part).map_err(|e| Refusal::new(e.to_string()).hint("the failure store of a shard"))?;
    }
    let _ = print(&format!("{}\n", text::end_table(&report, None, Style { color: false })));
    Ok(report.exit_code())
}

fn read(path: &Path) -> Result<Fold, Refusal> {
    let length = std::fs::metadata(path).map_err(|e| named(path, &e.to_string()))?.len();
    if length > FOLD_MAX {
        return Err(named(path, "larger than 256 MiB"));
    }
    let bytes = std::fs::read(path).map_err(|e| named(path, &e.to_string()))?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| named(path, &e.to_string()))?;
    if value["schema"] != FOLD_SCHEMA {
        return Err(named(path, &format!("not of schema {FOLD_SCHEMA}")));
    }
    serde_json::from_value(value).map_err(|e| named(path, &e.to_string()))
}

/// Every rendering of a `report.json`, made again.
fn render(args: &RenderArgs) -> Result<u8, Refusal> {
    let path = if args.source.is_dir() { args.source.join("report.json") } else { args.source.clone() };
    let report = read_report(&path).map_err(|e| Refusal::new(e.to_string()))?;
    if let Some(dir) = &args.report {
        prepare_dir("--report", dir)?;
        write_dir(&report, &Extras::default(), dir).map_err(|e| Refusal::new(e.to_string()))?;
    }
    let _ = print(&format!("{}\n", text::end_table(&report, None, Style { color: false })));
    Ok(report.exit_code())
}

/// Prints the profile for the next sweep, as `--faults` reads it.
fn steer(args: &SteerArgs) -> Result<u8, Refusal> {
    let path = if args.source.is_dir() { args.source.join("report.json") } else { args.source.clone() };
    let report = read_report(&path).map_err(|e| Refusal::new(e.to_string()))?;
    let marks = &report.coverage.marks;
    // Only sweeps of generated plans list what they have not met; of another run no weight could be told.
    if !universe().iter().all(|mark| marks.contains_key(mark)) {
        return Err(Refusal::new(format!("{} does not say what was never met", path.display())).hint(
            "the report of a sweep of generated plans, such as `sanbench sweep --seeds 0..1000 --report out`",
        ));
    }
    let mut profile = steered(&super::faults(&args.faults)?, marks);
    let missed = universe().iter().filter(|mark| marks.get(*mark).copied().unwrap_or(0) == 0).count();
    profile.name = format!("{} steered", profile.name);
    let text = toml::to_string(&profile).map_err(|e| Refusal::new(e.to_string()))?;
    let _ = print(&format!(
        "# {missed} of {} marks were never hit in {} plans.\n{text}",
        universe().len(),
        report.run.plans
    ));
    Ok(0)
}

fn named(path: &Path, problem: &str) -> Refusal {
    Refusal::new(format!("{}: {problem}", path.display())).hint("a report directory of `sanbench sweep`")
}
