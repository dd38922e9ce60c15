//! Being written.
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::Report;

/// What goes into the report directory beside the report itself.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Plan of each case in the story language, by case id.
    pub plans: BTreeMap<String, String>,
    /// Shrunk plan of a finding, by finding id; used instead of the case's plan.
    pub shrunk: BTreeMap<String, String>,
    /// History of each case as JSON lines, by case id.
    pub histories: BTreeMap<String, String>,
    /// Captures as (file name, content).
    pub captures: Vec<(String, Vec<u8>)>,
}

/// Writes the report directory; answers the files in the order of writing.
///
/// # Errors
/// Names the file that could not be written.
pub fn write_dir(report: &Report, extras: &Extras, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let _ = extras;
    std::fs::create_dir_all(dir)?;
    let path = dir.join("report.json");
    std::fs::write(&path, serde_json::to_vec_pretty(report)?)?;
    Ok(vec![path])
}
