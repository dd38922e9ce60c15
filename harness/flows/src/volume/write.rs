//! Writing an image's content to a volume.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use sanbench_api::{BLOCK_SIZE, BlockDevice, BlockError};
use sanbench_world::{Env, Task};

use crate::engine;
use crate::error::{Cause, StepError};
use crate::image::{Chunk, ImageError, ImageReader, MAX_CHUNK};

/// How zero ranges are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zeroes {
    /// The volume reads as zeroes there already.
    Skip,
    /// The volume may hold old data (IMG-002).
    Write,
}

type Write = Task<Result<(), BlockError>>;

/// Writes everything the reader yields, with at most `in_flight` writes outstanding. On an error it waits for those
/// that are under way, so that none lands after the volume has been given back. Fault point: `image.write`, once a
/// chunk. `holes_do_not_advance` is the planted defect D51.
pub(super) async fn write(
    env: &Env,
    device: &Arc<dyn BlockDevice>,
    reader: &mut ImageReader,
    zeroes: Zeroes,
    in_flight: usize,
    holes_do_not_advance: bool,
) -> Result<(), StepError> {
    let limit = device.capacity_blocks().saturating_mul(u64::from(BLOCK_SIZE));
    if reader.virtual_size() > limit {
        return Err(ImageError::TooBig { virtual_size: reader.virtual_size(), limit }.into());
    }
    let mut pending: VecDeque<Write> = VecDeque::new();
    let pace = (in_flight.max(1), holes_do_not_advance);
    let answer = pump(env, device, reader, zeroes, pace, &mut pending).await;
    let mut result = answer;
    while let Some(write) = pending.pop_front() {
        let landed = settle(write).await;
        if result.is_ok() {
            result = landed;
        }
    }
    result
}

async fn pump(
    env: &Env,
    device: &Arc<dyn BlockDevice>,
    reader: &mut ImageReader,
    zeroes: Zeroes,
    (in_flight, holes_do_not_advance): (usize, bool),
    pending: &mut VecDeque<Write>,
) -> Result<(), StepError> {
    // Planted defect D51: bytes of holes that were skipped and not counted.
    let mut lost = 0;
    let zero = Bytes::from(vec![0; if zeroes == Zeroes::Write { MAX_CHUNK as usize } else { 0 }]);
    while let Some(chunk) = reader.next_chunk()? {
        engine::ask(env, "image.write").await?;
        match chunk {
            Chunk::Data { offset, bytes } => {
                push(env, device, offset - lost, bytes, in_flight, pending).await?;
            }
            Chunk::Zero { len, .. } if zeroes == Zeroes::Skip => {
                lost += if holes_do_not_advance { len } else { 0 };
            }
            Chunk::Zero { mut offset, mut len } => {
                while len > 0 {
                    let piece = len.min(MAX_CHUNK);
                    let bytes = zero.slice(..usize::try_from(piece).unwrap_or(0));
                    push(env, device, offset, bytes, in_flight, pending).await?;
                    offset += piece;
                    len -= piece;
                }
            }
        }
    }
    Ok(())
}

async fn push(
    env: &Env,
    device: &Arc<dyn BlockDevice>,
    offset: u64,
    bytes: Bytes,
    in_flight: usize,
    pending: &mut VecDeque<Write>,
) -> Result<(), StepError> {
    while pending.len() >= in_flight {
        if let Some(oldest) = pending.pop_front() {
            settle(oldest).await?;
        }
    }
    let device = Arc::clone(device);
    pending.push_back(env.spawn(async move { device.write(offset / u64::from(BLOCK_SIZE), bytes).await }));
    Ok(())
}

async fn settle(write: Write) -> Result<(), StepError> {
    match write.await {
        Ok(answer) => Ok(answer?),
        Err(gone) => Err(Cause::Gone(format!("write: {gone}")).into()),
    }
}
