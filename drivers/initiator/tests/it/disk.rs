//! The block device over a path that takes note of what it is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use sanbench_api::{BlockDevice, BlockError, Wwn, async_trait};
use sanbench_initiator::disk::{Disk, Runner};
use sanbench_initiator::scsi::{DeviceLimits, Op};

/// A device of 2^32 blocks that takes `unmap` blocks in an UNMAP, and counts its commands.
struct Path {
    unmap: u32,
    commands: AtomicUsize,
}

#[async_trait]
impl Runner for Path {
    async fn run(&self, _: Op) -> Result<Bytes, BlockError> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        Ok(Bytes::new())
    }
    fn capacity_blocks(&self) -> u64 {
        1 << 32
    }
    fn wwn(&self) -> Wwn {
        Wwn([6; 16])
    }
    fn limits(&self) -> DeviceLimits {
        DeviceLimits { max_unmap_blocks: self.unmap, max_unmap_descriptors: 1, ..DeviceLimits::default() }
    }
}

#[tokio::test]
async fn a_device_cannot_blow_one_unmap_up_into_endless_commands() {
    let of = |unmap| Arc::new(Path { unmap, commands: AtomicUsize::new(0) });
    // MAXIMUM UNMAP LBA COUNT 1: the whole range would be four thousand million commands.
    let mean = of(1);
    let answer = Disk::new(Arc::clone(&mean), false).unmap(&[(0, u32::MAX)]).await;
    assert!(matches!(answer, Err(BlockError::Protocol { .. })), "{answer:?}");
    assert_eq!(mean.commands.load(Ordering::Relaxed), 0);
    // A modest one is obeyed, command by command.
    let modest = of(1 << 20);
    let answer = Disk::new(Arc::clone(&modest), false).unmap(&[(0, u32::MAX)]).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(modest.commands.load(Ordering::Relaxed), 4096);
}
