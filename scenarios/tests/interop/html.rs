//! A browser opens the report.

use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use super::serve::sanbench;
use super::tools::{Checked, Foreign, ensure, missing, run};

pub(crate) fn trials(foreign: &Foreign, all: &mut Vec<Trial>) {
    // A browser is not among the tools that every change needs: its absence is never a failure.
    let mut add = |name: &str, test: fn() -> Checked| {
        all.push(foreign.trial_with(name, missing(&["chromium"]), false, test));
    };
    add("html::a_passing_report_opens_in_a_browser", passing);
    add("html::a_failing_report_opens_in_a_browser", failing);
}

fn passing() -> Checked {
    let dom = look("passing", &["extend", "two-paths"], 0)?;
    ensure!(dom.contains("<h1>conformant</h1>"), "the verdict is not on the page");
    Ok(())
}

fn failing() -> Checked {
    let dom =
        look("failing", &["flatten-from-snapshot", "clone-chain", "--defect", "flatten_skips_hole"], 1)?;
    ensure!(dom.contains("<h1>not-conformant</h1>"), "the verdict is not on the page");
    ensure!(dom.contains("FLT-00"), "no requirement of flatten is on the page");
    Ok(())
}

/// Runs, opens the report, answers what the browser made of it. `SANBENCH_SHOTS=DIR` keeps the pictures.
fn look(name: &str, args: &[&str], code: i32) -> Result<String, Failed> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let done = sanbench(dir, &[&["run"], args, &["--report", "out"]].concat());
    ensure!(done.code == Some(code), "sanbench: exit {:?}\n{}{}", done.code, done.out, done.err);
    let picture = dir.join("page.png");
    let report = format!("file://{}", dir.join("out/report.html").display());
    browse(dir, &["--window-size=1280,2000", &format!("--screenshot={}", picture.display())], &report)?;
    let png = std::fs::read(&picture)?;
    ensure!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "no picture came out");
    let number = |at: usize| png.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    ensure!(number(16) == Some(1280), "the picture is {:?} wide", number(16));
    // An empty page of this size compresses to far less.
    ensure!(png.len() > 40_000, "the picture has {} bytes: an empty page?", png.len());
    if let Some(keep) = std::env::var_os("SANBENCH_SHOTS") {
        std::fs::create_dir_all(&keep)?;
        std::fs::copy(&picture, Path::new(&keep).join(format!("{name}.png")))?;
    }
    browse(dir, &["--dump-dom"], &report)
}

/// Opens a page; what the browser prints.
pub(crate) fn browse(dir: &Path, args: &[&str], url: &str) -> Result<String, Failed> {
    let mut chromium = Command::new("chromium");
    chromium
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", dir.join("browser").display()))
        .args(args)
        .arg(url);
    run(&mut chromium, 90).good("chromium")
}
