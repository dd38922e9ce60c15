//! Running many cases and saying what came of them.

mod assemble;
mod cases;
mod failures;
mod fold;
mod lines;
mod output;
mod pool;
mod shard;

pub(crate) use assemble::{Facts, assemble, hex};
pub(crate) use cases::{cases, one_case};
pub(crate) use failures::{EXAMINED, Examined, Files, Workshop, line_hashes, seen, with_plan};
pub(crate) use fold::{Fold, SCHEMA as FOLD_SCHEMA};
pub(crate) use lines::Lines;
pub(crate) use output::{Output, print, shrunk};
pub(crate) use pool::{run_all, run_each};
pub(crate) use shard::shard;

/// A case id as a folder name.
pub(crate) fn file_name(id: &str) -> String {
    sanbench_reports::write::file_stem(id)
}

/// A captured segment as the capture writer takes it, moved in time and connection number.
pub(crate) fn segment(
    s: sanbench_world::Segment,
    start: std::time::Duration,
    connections: u64,
) -> sanbench_reports::pcap::Segment {
    use sanbench_reports::pcap::{Segment, SegmentKind};
    use sanbench_world::SegmentKind as Kind;
    Segment {
        at: s.at + start,
        src: s.src,
        dst: s.dst,
        connection: s.conn + connections,
        kind: match s.kind {
            Kind::Syn => SegmentKind::Open,
            Kind::Data => SegmentKind::Data,
            Kind::Fin => SegmentKind::Close,
            Kind::Rst => SegmentKind::Reset,
        },
        bytes: s.bytes.to_vec(),
    }
}

/// How long something takes by the wall clock; no history and no verdict depends on it.
#[expect(
    clippy::disallowed_methods,
    reason = "durations of commands and the time for shrinking are the user's, judged by nobody"
)]
pub(crate) fn wall_clock() -> std::time::Instant {
    std::time::Instant::now()
}
