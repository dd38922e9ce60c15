//! The verdict model of a run and everything that is rendered from it.
//!
//! What it is for: the runner fills in a [`Report`], calls [`Report::settle`] once, and hands it to the renderers.
//! What it must not know: any other crate of the workspace. It imports none, runs nothing, looks at no clock, and decides
//! nothing beyond the fixed rules of [`Report::settle`] and [`Report::exit_code`].
//!
//! Start with [`model`] and [`settle`] (the rules of the verdict); then
//! - [`write`](mod@write): the report directory (`report.json`, schema, JUnit, HTML, Markdown, failures, histories, captures), atomically;
//! - [`text`]: the terminal's start block, failure block and end table;
//! - [`event`]: the line-by-line JSON stream of `--format json`;
//! - [`html`], [`markdown`], [`junit`], [`schema`]: the single documents;
//! - [`pcap`]: captured payload as a pcapng file that Wireshark decodes;
//! - [`anatomy`]: how one failure came about, step by step, for the failure page and the trace;
//! - [`store`]: failures of many runs by signature, the earliest and the smallest of each;
//! - [`group`]: titles of the requirement groups.

pub mod anatomy;
pub mod event;
pub mod group;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod model;
pub mod pcap;
pub mod schema;
pub mod settle;
pub mod store;
pub mod text;
pub mod write;

pub use model::{
    Case, Counts, Coverage, Defect, DefectMode, Ending, Failure, Finding, Leftover, Level, Report,
    Requirement, Run, RunVerdict, Shrinking, Step, StepStatus, Verdict, Waiver, WaiverState,
};
pub use write::{Extras, write_dir};

#[cfg(test)]
pub(crate) mod sample;
