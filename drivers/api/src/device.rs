//! The data plane of one attached volume.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Outcome, Wwn};

/// Logical block size in bytes. The bench supports 512-byte logical blocks, as OceanStor-like arrays present.
pub const BLOCK_SIZE: u32 = 512;

/// Why a block command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The device server answered CHECK CONDITION that retrying did not cure.
    #[error("sense key {key:#x}, ASC/ASCQ {asc:02x}h/{ascq:02x}h ({text})")]
    Sense {
        /// Sense key.
        key: u8,
        /// Additional sense code.
        asc: u8,
        /// Additional sense code qualifier.
        ascq: u8,
        /// Meaning in words.
        text: String,
    },
    /// Another status (BUSY, TASK SET FULL, RESERVATION CONFLICT) that retrying did not cure.
    #[error("SCSI status {status:#04x}")]
    Status {
        /// SAM-5 status code.
        status: u8,
    },
    /// The range reaches beyond the capacity known to the host, or lengths do not match whole blocks.
    #[error("LBA {lba} + {blocks} blocks is outside the device of {capacity} blocks")]
    OutOfRange {
        /// First block.
        lba: u64,
        /// Number of blocks.
        blocks: u64,
        /// Capacity in blocks.
        capacity: u64,
    },
    /// No answer within the time limit, or every path was lost with the command in flight.
    #[error("no answer: {message}")]
    NoAnswer {
        /// What was lost.
        message: String,
    },
    /// No path works; the command was not sent.
    #[error("no path: {message}")]
    NoPath {
        /// Why.
        message: String,
    },
    /// The device was removed from the host.
    #[error("device removed")]
    Removed,
    /// The peer broke the protocol.
    #[error("protocol error: {message}")]
    Protocol {
        /// What was wrong.
        message: String,
    },
}

impl BlockError {
    /// Whether a write that failed so may have reached the medium.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoAnswer { .. } | Self::Protocol { .. } => Outcome::Unknown,
            // MEDIUM ERROR, HARDWARE ERROR and ABORTED COMMAND may follow a partial transfer (SAM-5 5.3).
            Self::Sense { key: 0x3 | 0x4 | 0xb, .. } => Outcome::Unknown,
            _ => Outcome::NotDone,
        }
    }
}

/// State of a range as GET LBA STATUS reports it (SBC-3 5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LbaState {
    /// Backed by storage.
    Mapped,
    /// Not backed; reads as zeroes when LBPRZ is set.
    Deallocated,
    /// Anchored, or a state that the bench does not know.
    Other(u8),
}

/// One descriptor of GET LBA STATUS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LbaRange {
    /// First block.
    pub lba: u64,
    /// Number of blocks, at least 1.
    pub blocks: u64,
    /// State of all of them.
    pub state: LbaState,
}

/// A block device on a host. Any length is accepted; the implementation splits by the device's limits.
#[async_trait]
pub trait BlockDevice: Send + Sync {
    /// Capacity in blocks of [`BLOCK_SIZE`] bytes, as the host knows it now.
    fn capacity_blocks(&self) -> u64;

    /// Identity from VPD page 83h.
    fn wwn(&self) -> Wwn;

    /// Reads `blocks` blocks from `lba`. Zero blocks answer empty.
    async fn read(&self, lba: u64, blocks: u32) -> Result<Bytes, BlockError>;

    /// Writes whole blocks at `lba`. Durable only after [`BlockDevice::flush`].
    async fn write(&self, lba: u64, data: Bytes) -> Result<(), BlockError>;

    /// Makes all completed writes durable (SYNCHRONIZE CACHE, SBC-3 5.18).
    async fn flush(&self) -> Result<(), BlockError>;

    /// Tells the device that blocks are unused (UNMAP, SBC-3 5.28). They read as zeroes afterwards when the device
    /// says LBPRZ; partial provisioning granules may keep storage but not content.
    async fn unmap(&self, ranges: &[(u64, u32)]) -> Result<(), BlockError>;

    /// Descriptors of GET LBA STATUS from `lba` on: contiguous, at least one, perhaps not up to the end.
    async fn lba_status(&self, lba: u64) -> Result<Vec<LbaRange>, BlockError>;
}
