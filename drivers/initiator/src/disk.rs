//! [`BlockDevice`] on top of anything that runs [`Op`]s (one path, or a multipath map): bounds, splitting, pipelining.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use sanbench_api::{BLOCK_SIZE, BlockDevice, BlockError, LbaRange, Outcome, Wwn};

use crate::join::join_all;
use crate::lock;
use crate::scsi::{self, DeviceLimits, Op};

/// Commands of one call in flight at once.
const PIPELINE: usize = 8;
/// UNMAP commands that one call may fall apart into.
const MOST_UNMAPS: u64 = 65_536;

/// Whether an earlier try of the same command may have taken effect.
#[derive(Debug, Default)]
pub(crate) struct Doubt(Option<String>);

impl Doubt {
    /// Notes that a try was lost in flight.
    pub(crate) fn note(&mut self, op: &Op, why: String) {
        if !op.changes().is_empty() {
            self.0 = Some(why);
        }
    }

    /// "Not done" is not the truth once an earlier try was lost.
    pub(crate) fn color(&self, error: BlockError) -> BlockError {
        match &self.0 {
            Some(why) if error.outcome() == Outcome::NotDone => {
                BlockError::NoAnswer { message: format!("{why}; then {error}") }
            }
            _ => error,
        }
    }
}

/// Something that runs block commands: a path or a map.
#[async_trait]
pub trait Runner: Send + Sync + 'static {
    /// Runs one command to its end, waiting for paths as configured.
    async fn run(&self, op: Op) -> Result<Bytes, BlockError>;
    /// Capacity in blocks.
    fn capacity_blocks(&self) -> u64;
    /// Identity.
    fn wwn(&self) -> Wwn;
    /// Limits for splitting.
    fn limits(&self) -> DeviceLimits;
}

/// The block device of one attachment.
pub struct Disk<R: ?Sized> {
    runner: Arc<R>,
    read_only: bool,
}

impl<R: Runner + ?Sized> Disk<R> {
    /// A device over `runner`; writes are refused when it is read-only.
    pub fn new(runner: Arc<R>, read_only: bool) -> Self {
        Self { runner, read_only }
    }

    fn check(&self, lba: u64, blocks: u64) -> Result<(), BlockError> {
        let capacity = self.runner.capacity_blocks();
        match lba.checked_add(blocks) {
            Some(end) if end <= capacity => Ok(()),
            _ => Err(BlockError::OutOfRange { lba, blocks, capacity }),
        }
    }

    fn check_write(&self) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::Sense {
                key: 0x7,
                asc: 0x27,
                ascq: 0,
                text: "attached read-only".to_owned(),
            });
        }
        Ok(())
    }

    /// Runs commands with at most [`PIPELINE`] in flight; answers in order. After a failure no new command starts.
    async fn run_all(&self, ops: Vec<Op>) -> Result<Vec<Bytes>, BlockError> {
        if ops.len() == 1 {
            let mut ops = ops;
            return match ops.pop() {
                Some(op) => Ok(vec![self.runner.run(op).await?]),
                None => Ok(Vec::new()),
            };
        }
        let changing = ops.iter().any(|op| !op.changes().is_empty());
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let results: Vec<Mutex<Option<Result<Bytes, BlockError>>>> =
            ops.iter().map(|_| Mutex::new(None)).collect();
        let workers = (0..PIPELINE.min(ops.len())).map(|_| async {
            while !failed.load(Ordering::SeqCst) {
                let index = next.fetch_add(1, Ordering::SeqCst);
                let Some(op) = ops.get(index) else { return };
                let result = self.runner.run(op.clone()).await;
                if result.is_err() {
                    failed.store(true, Ordering::SeqCst);
                }
                if let Some(slot) = results.get(index) {
                    *lock(slot) = Some(result);
                }
            }
        });
        join_all(workers).await;
        let mut all = Vec::with_capacity(results.len());
        let mut failures: Vec<BlockError> = Vec::new();
        for slot in results {
            match slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
                Some(Ok(data)) => all.push(data),
                Some(Err(error)) => failures.push(error),
                None => {}
            }
        }
        // Doubt is worse than a refusal: it decides what the caller must believe.
        let worst = failures.iter().position(|e| e.outcome() == Outcome::Unknown).unwrap_or(0);
        match failures.into_iter().nth(worst) {
            None => Ok(all),
            Some(error) if changing && !all.is_empty() && error.outcome() == Outcome::NotDone => {
                Err(BlockError::NoAnswer { message: format!("a part took effect, another did not: {error}") })
            }
            Some(error) => Err(error),
        }
    }
}

#[async_trait]
impl<R: Runner + ?Sized> BlockDevice for Disk<R> {
    fn capacity_blocks(&self) -> u64 {
        self.runner.capacity_blocks()
    }

    fn wwn(&self) -> Wwn {
        self.runner.wwn()
    }

    async fn read(&self, lba: u64, blocks: u32) -> Result<Bytes, BlockError> {
        self.check(lba, u64::from(blocks))?;
        if blocks == 0 {
            return Ok(Bytes::new());
        }
        let step = self.runner.limits().max_transfer.max(1);
        let ops: Vec<Op> = (0..blocks)
            .step_by(step as usize)
            .map(|at| Op::Read { lba: lba + u64::from(at), blocks: step.min(blocks - at) })
            .collect();
        let wanted: Vec<usize> =
            ops.iter()
                .map(|op| {
                    if let Op::Read { blocks, .. } = op { *blocks as usize * BLOCK_SIZE as usize } else { 0 }
                })
                .collect();
        let parts = self.run_all(ops).await?;
        if parts.iter().map(Bytes::len).ne(wanted) {
            return Err(BlockError::Protocol { message: "a read gave less data than asked for".to_owned() });
        }
        Ok(scsi::joined(parts))
    }

    async fn write(&self, lba: u64, data: Bytes) -> Result<(), BlockError> {
        self.check_write()?;
        let size = BLOCK_SIZE as usize;
        let blocks = data.len().div_ceil(size) as u64;
        if !data.len().is_multiple_of(size) {
            return Err(BlockError::OutOfRange { lba, blocks, capacity: self.capacity_blocks() });
        }
        self.check(lba, blocks)?;
        if data.is_empty() {
            return Ok(());
        }
        let step = self.runner.limits().max_transfer.max(1) as usize * size;
        let ops = (0..data.len())
            .step_by(step)
            .map(|at| Op::Write {
                lba: lba + (at / size) as u64,
                data: data.slice(at..data.len().min(at + step)),
            })
            .collect();
        self.run_all(ops).await.map(|_| ())
    }

    async fn flush(&self) -> Result<(), BlockError> {
        self.runner.run(Op::Flush).await.map(|_| ())
    }

    async fn unmap(&self, ranges: &[(u64, u32)]) -> Result<(), BlockError> {
        self.check_write()?;
        for (lba, blocks) in ranges {
            self.check(*lba, u64::from(*blocks))?;
        }
        let limits = self.runner.limits();
        if limits.max_unmap_blocks == 0 || limits.max_unmap_descriptors == 0 {
            return Err(BlockError::Sense {
                key: 0x5,
                asc: 0x20,
                ascq: 0,
                text: "the device does not support UNMAP".to_owned(),
            });
        }
        // A device decides into how many commands a range falls apart, and must not make that the host's whole memory.
        let pieces = |blocks: u32| u64::from(blocks.div_ceil(limits.max_unmap_blocks));
        if ranges.iter().map(|(_, blocks)| pieces(*blocks)).sum::<u64>() > MOST_UNMAPS {
            return Err(BlockError::Protocol {
                message: format!(
                    "the device takes no more than {} blocks in an UNMAP",
                    limits.max_unmap_blocks
                ),
            });
        }
        let ops: Vec<Op> = limits.split_unmap(ranges).into_iter().map(Op::Unmap).collect();
        if ops.is_empty() {
            return Ok(());
        }
        self.run_all(ops).await.map(|_| ())
    }

    async fn lba_status(&self, lba: u64) -> Result<Vec<LbaRange>, BlockError> {
        self.check(lba, 1)?;
        let data = self.runner.run(Op::LbaStatus { lba }).await?;
        scsi::parse_lba_status(&data, lba)
    }
}
