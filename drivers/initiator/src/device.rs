//! A logical unit over one session, and the block device that callers see.
//!
//! [`PathDevice`] runs one command with SCSI's retry rules over whatever connection its session has now. [`Disk`] puts
//! [`BlockDevice`] on top of anything that runs [`Op`]s (one path, or a multipath map): bounds, splitting, pipelining.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sanbench_api::{BLOCK_SIZE, BlockDevice, BlockError, LbaRange, Outcome, Wwn};
use sanbench_wire::pdu::TaskResponse;
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Asc;
use sanbench_wire::scsi::vpd::page;
use sanbench_world::Env;
use serde_json::json;

use crate::config::HostConfig;
use crate::join::join_all;
use crate::link::{Link, LinkError};
use crate::lock;
use crate::portal::PortalSession;
use crate::scsi::{self, DeviceLimits, Op, Verdict};
use crate::session::{Completion, Request};

/// Commands of one call in flight at once.
const PIPELINE: usize = 8;
/// Sends of one command after unit attentions, busy answers and aborts, at most.
const MAX_SENDS: u32 = 24;
/// First pause after BUSY; doubles up to [`MAX_BUSY_PAUSE`].
const BUSY_PAUSE: Duration = Duration::from_millis(50);
const MAX_BUSY_PAUSE: Duration = Duration::from_secs(2);

/// Why a path did not run a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathFault {
    /// It never left the host.
    NotSent(String),
    /// It was in flight when the connection of this generation ended.
    Lost {
        /// The generation.
        generation: u64,
        /// Why, for people.
        why: String,
    },
    /// It took too long; the target confirmed the abort.
    Aborted,
    /// The logical unit is not the volume that this device stands for.
    Stranger(Option<Wwn>),
    /// An answer, or a rule of ours.
    Block(BlockError),
}

impl From<BlockError> for PathFault {
    fn from(error: BlockError) -> Self {
        Self::Block(error)
    }
}

/// What a logical unit says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Identity, when page 83h has one.
    pub wwn: Option<Wwn>,
    /// Capacity in blocks.
    pub blocks: u64,
    /// Limits.
    pub limits: DeviceLimits,
}

/// One h:c:t:l device.
pub struct PathDevice {
    env: Env,
    config: Arc<HostConfig>,
    session: PortalSession,
    lun_number: u16,
    lun: Lun,
    facts: Mutex<Facts>,
    removed: AtomicBool,
    capacity_changed: AtomicBool,
    /// Session generation and inventory count for which the identity was read.
    verified: Mutex<(u64, u64)>,
    verifying: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for PathDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PathDevice({:?}, LUN {})", self.session, self.lun_number)
    }
}

impl PathDevice {
    /// Looks at a LUN of a session (what a narrow scan does): `None` when nothing is there.
    ///
    /// # Errors
    /// Why it could not be looked at.
    pub async fn probe(
        env: &Env,
        config: &Arc<HostConfig>,
        session: &PortalSession,
        lun_number: u16,
    ) -> Result<Option<Self>, PathFault> {
        let Some(lun) = Lun::from_number(lun_number) else {
            return Err(BlockError::Protocol { message: format!("LUN {lun_number} is over 16383") }.into());
        };
        let device = Self {
            env: env.clone(),
            config: config.clone(),
            session: session.clone(),
            lun_number,
            lun,
            facts: Mutex::new(Facts { wwn: None, blocks: 0, limits: DeviceLimits::default() }),
            removed: AtomicBool::new(false),
            capacity_changed: AtomicBool::new(false),
            verified: Mutex::new((0, 0)),
            verifying: tokio::sync::Mutex::new(()),
        };
        let generation = session.up().map_or(0, |(_, g)| g);
        let inventory = session.inventory();
        let standard = device.ask(scsi::inquiry(lun, None)).await?;
        if !scsi::parse_present(&standard)? {
            return Ok(None);
        }
        let Some(wwn) = device.read_wwn().await? else { return Ok(None) };
        let blocks = device.read_capacity().await?;
        let limits = device.optional(scsi::inquiry(lun, Some(page::BLOCK_LIMITS))).await?;
        let provisioning = device.optional(scsi::inquiry(lun, Some(page::PROVISIONING))).await?;
        let limits = DeviceLimits::from_pages(limits.as_deref(), provisioning.as_deref());
        *lock(&device.facts) = Facts { wwn: Some(wwn), blocks, limits };
        *lock(&device.verified) = (generation, inventory);
        Ok(Some(device))
    }

    /// The session below.
    pub fn session(&self) -> &PortalSession {
        &self.session
    }

    /// LUN number.
    pub fn lun(&self) -> u16 {
        self.lun_number
    }

    /// What is known of the device.
    pub fn facts(&self) -> Facts {
        *lock(&self.facts)
    }

    /// Takes over a capacity that a rescan read.
    pub fn set_capacity(&self, blocks: u64) {
        lock(&self.facts).blocks = blocks;
        self.capacity_changed.store(false, Ordering::SeqCst);
    }

    /// True after CAPACITY DATA HAS CHANGED, until the capacity is read again.
    pub fn capacity_changed(&self) -> bool {
        self.capacity_changed.load(Ordering::SeqCst)
    }

    /// The device is deleted: every later command fails.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::SeqCst);
    }

    /// True once it is deleted.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// Reads the identity from the device itself. `None`: no logical unit, or one without NAA name.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn read_wwn(&self) -> Result<Option<Wwn>, PathFault> {
        let (link, generation) = self.up()?;
        let data = self.send(&link, generation, &scsi::inquiry(self.lun, Some(page::DEVICE_ID))).await;
        match data {
            Ok(done) => Ok(scsi::parse_wwn(&scsi::joined(done.data))?),
            // ILLEGAL REQUEST: the page, or the logical unit, does not exist.
            Err(PathFault::Block(BlockError::Sense { key: 0x5, .. })) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Reads the capacity in blocks from the device.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn read_capacity(&self) -> Result<u64, PathFault> {
        match self.ask(scsi::read_capacity(self.lun, true)).await {
            Ok(data) => Ok(scsi::parse_capacity(&data, true)?),
            // INVALID COMMAND OPERATION CODE: an old device that knows the 10-byte form only.
            Err(PathFault::Block(BlockError::Sense { key: 0x5, asc: 0x20, .. })) => {
                let data = self.ask(scsi::read_capacity(self.lun, false)).await?;
                Ok(scsi::parse_capacity(&data, false)?)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Checks that the path carries data now: identity, TEST UNIT READY, and a read of the first block.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn check_readable(&self) -> Result<(), PathFault> {
        self.ask(scsi::test_unit_ready(self.lun)).await?;
        self.run_once(&Op::Read { lba: 0, blocks: 1 }).await.map(|_| ())
    }

    /// Resets the logical unit. `false`: not confirmed.
    pub async fn reset(&self) -> bool {
        match self.up() {
            Ok((link, _)) => link.reset_lun(&self.env, self.lun).await == Some(TaskResponse::COMPLETE),
            Err(_) => false,
        }
    }

    async fn ask(&self, request: Request) -> Result<Bytes, PathFault> {
        let (link, generation) = self.up()?;
        self.send(&link, generation, &request).await.map(|done| scsi::joined(done.data))
    }

    async fn optional(&self, request: Request) -> Result<Option<Bytes>, PathFault> {
        match self.ask(request).await {
            Ok(data) => Ok(Some(data)),
            Err(PathFault::Block(BlockError::Sense { .. })) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn up(&self) -> Result<(Link, u64), PathFault> {
        self.session.up().ok_or_else(|| PathFault::NotSent("the session is down".to_owned()))
    }

    /// Runs a block command over the present connection, without waiting for one to come back.
    ///
    /// # Errors
    /// [`PathFault`].
    pub async fn run_once(&self, op: &Op) -> Result<Bytes, PathFault> {
        if self.is_removed() {
            return Err(BlockError::Removed.into());
        }
        let request = op.request(self.lun, false);
        let (link, generation) = self.up()?;
        let mut attentions = 0;
        loop {
            self.verify(generation).await?;
            let inventory = self.session.inventory();
            match self.send_watched(&link, generation, &request, inventory).await? {
                Some(done) => return Ok(scsi::joined(done.data)),
                None => attentions += 1,
            }
            if attentions > MAX_SENDS {
                return Err(
                    BlockError::Protocol { message: "the inventory changes for ever".to_owned() }.into()
                );
            }
        }
    }

    /// Makes sure that the logical unit is still the volume, whenever that may have changed: after a new login and after
    /// REPORTED LUNS DATA HAS CHANGED (MPX-008).
    async fn verify(&self, generation: u64) -> Result<(), PathFault> {
        if self.config.defects.skip_wwn_check {
            return Ok(());
        }
        let now = (generation, self.session.inventory());
        if *lock(&self.verified) == now {
            return Ok(());
        }
        let _one = self.verifying.lock().await;
        if *lock(&self.verified) == now {
            return Ok(());
        }
        let found = self.read_wwn().await?;
        let expected = self.facts().wwn;
        if found != expected {
            self.env.note("initiator", || {
                json!({"what": "stranger", "lun": self.lun_number, "expected": expected.map(|w| w.to_string()),
                       "found": found.map(|w| w.to_string())})
            });
            return Err(if found.is_none() {
                scsi::not_supported().into()
            } else {
                PathFault::Stranger(found)
            });
        }
        *lock(&self.verified) = now;
        Ok(())
    }

    async fn send(&self, link: &Link, generation: u64, request: &Request) -> Result<Completion, PathFault> {
        // Commands that ask for identity and capacity themselves go on through every attention.
        for _ in 0..MAX_SENDS {
            if let Some(done) = self.send_watched(link, generation, request, u64::MAX).await? {
                return Ok(done);
            }
        }
        Err(BlockError::Protocol { message: "unit attentions without end".to_owned() }.into())
    }

    /// Sends one command until it is answered for good. `None`: the inventory changed from `inventory`, so the identity has to be
    /// read before the command is sent again.
    async fn send_watched(
        &self,
        link: &Link,
        generation: u64,
        request: &Request,
        inventory: u64,
    ) -> Result<Option<Completion>, PathFault> {
        let mut pause = BUSY_PAUSE;
        let mut last = BlockError::Status { status: 0x08 };
        for _ in 0..MAX_SENDS {
            let done = match link.run(&self.env, request.clone(), self.config.command_timeout).await {
                Ok(done) => done,
                Err(LinkError::NotSent(why)) => return Err(PathFault::NotSent(why)),
                Err(LinkError::Lost(why)) => return Err(PathFault::Lost { generation, why }),
                Err(LinkError::Aborted) => return Err(PathFault::Aborted),
                Err(LinkError::Failed(message)) => return Err(BlockError::Protocol { message }.into()),
            };
            match scsi::judge(&done) {
                Verdict::Good => return Ok(Some(done)),
                Verdict::Failed(error) => return Err(error.into()),
                Verdict::Attention(asc) => {
                    self.attention(asc);
                    if inventory != u64::MAX && self.session.inventory() != inventory {
                        return Ok(None);
                    }
                }
                Verdict::Busy => {
                    last = BlockError::Status { status: done.status.0 };
                    self.env.sleep(pause).await;
                    pause = (pause * 2).min(MAX_BUSY_PAUSE);
                }
                Verdict::Again => {
                    last = match done.sense {
                        Some(sense) => scsi::sense_error(sense),
                        None => BlockError::Status { status: done.status.0 },
                    };
                    self.env.sleep(BUSY_PAUSE).await;
                }
            }
        }
        Err(last.into())
    }

    fn attention(&self, asc: Asc) {
        match asc {
            Asc::CAPACITY_DATA_HAS_CHANGED => self.capacity_changed.store(true, Ordering::SeqCst),
            Asc::REPORTED_LUNS_DATA_HAS_CHANGED => self.session.inventory_changed(),
            _ => {}
        }
        if self.config.trace {
            self.env.note("initiator", || {
                json!({"what": "unit-attention", "lun": self.lun_number, "code": format!("{:04x}", asc.0)})
            });
        }
    }
}

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

#[async_trait]
impl Runner for PathDevice {
    /// A lost command is sent again only after the session was reinstated, which ended the old one at the target.
    async fn run(&self, op: Op) -> Result<Bytes, BlockError> {
        let deadline = self.env.now() + self.config.replacement_timeout;
        let mut doubt = Doubt::default();
        loop {
            match self.run_once(&op).await {
                Ok(data) => return Ok(data),
                Err(PathFault::Block(error)) => return Err(doubt.color(error)),
                Err(PathFault::Stranger(found)) => {
                    let message = format!("the LUN is another volume now: {found:?}");
                    return Err(doubt.color(BlockError::NoPath { message }));
                }
                Err(PathFault::Aborted) => {
                    return Err(BlockError::NoAnswer { message: "timed out and aborted".to_owned() });
                }
                Err(PathFault::NotSent(why)) => {
                    let late = self.env.now() >= deadline;
                    let waited = self.session.wait_up(deadline).await;
                    if late || waited.is_err() {
                        let message = waited.err().unwrap_or(why);
                        return Err(doubt.color(BlockError::NoPath { message }));
                    }
                }
                Err(PathFault::Lost { generation, why }) => {
                    if !self.session.wait_dead(generation, deadline).await || self.env.now() >= deadline {
                        return Err(BlockError::NoAnswer { message: why });
                    }
                    doubt.note(&op, why);
                }
            }
        }
    }

    fn capacity_blocks(&self) -> u64 {
        self.facts().blocks
    }

    fn wwn(&self) -> Wwn {
        self.facts().wwn.unwrap_or(Wwn([0; 16]))
    }

    fn limits(&self) -> DeviceLimits {
        self.facts().limits
    }
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
