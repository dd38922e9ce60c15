//! What is done to array and model.

/// Operations with picks instead of ids: a pick counts round the objects that there are.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create {
        blocks: u64,
        thin: bool,
    },
    CloneLun {
        pick: usize,
    },
    CloneSnapshot {
        pick: usize,
    },
    Expand {
        pick: usize,
        by: u64,
    },
    DeleteLun {
        pick: usize,
    },
    StartSplit {
        pick: usize,
    },
    StopSplit {
        pick: usize,
    },
    Snapshot {
        pick: usize,
    },
    Activate {
        pick: usize,
    },
    Stop {
        pick: usize,
    },
    DeleteSnapshot {
        pick: usize,
    },
    Write {
        pick: usize,
        lba: u64,
        blocks: u64,
        fill: u8,
    },
    Unmap {
        pick: usize,
        lba: u64,
        blocks: u64,
    },
    Copy {
        from: usize,
        to: usize,
        pair: bool,
    },
    Map {
        pick: usize,
        host: usize,
    },
    Unmask {
        pick: usize,
        host: usize,
    },
    Tick {
        ms: u64,
    },
    Fua {
        pick: usize,
        lba: u64,
        blocks: u64,
        fill: u8,
    },
    Flush {
        pick: usize,
        lba: u64,
        blocks: u64,
    },
    SwitchCache {
        pick: usize,
        on: bool,
    },
    /// `wrong`: this block is expected to hold something else.
    CompareWrite {
        pick: usize,
        lba: u64,
        blocks: u64,
        fill: u8,
        wrong: Option<u64>,
        fua: bool,
    },
    OrWrite {
        pick: usize,
        lba: u64,
        blocks: u64,
        fill: u8,
        fua: bool,
    },
    CopyBlocks {
        from: usize,
        from_lba: u64,
        to: usize,
        to_lba: u64,
        blocks: u64,
    },
    Sanitize {
        pick: usize,
        pattern: Option<u8>,
    },
    Register {
        pick: usize,
        persist: bool,
    },
    PowerLoss {
        seed: u64,
    },
    Fail {
        controller: u8,
    },
    Restore {
        controller: u8,
    },
    Own {
        pick: usize,
        controller: u8,
    },
    SetState {
        pick: usize,
        group: u16,
        state: usize,
    },
    /// A session of another vStore touches a device; `what` picks the command.
    Intrude {
        pick: usize,
        what: usize,
    },
    SwitchPortal {
        portal: usize,
        enabled: bool,
    },
    /// Makes a copy task and starts it.
    StartCopy {
        from: usize,
        to: usize,
        pair: bool,
        speed: u8,
    },
    AgainCopy {
        pick: usize,
    },
    StopCopy {
        pick: usize,
    },
    EndCopy {
        pick: usize,
    },
    /// A fault waits for the next job of a kind that reaches the point.
    FaultJob {
        kind: usize,
        percent: u8,
        what: usize,
    },
    ActivateMany {
        mask: u8,
    },
    Limit {
        pick: usize,
        on: bool,
    },
}
