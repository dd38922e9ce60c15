//! A logical unit over one session.
//!
//! [`PathDevice`] runs one command with SCSI's retry rules over whatever connection its session has now, and knows which
//! volume it stands for. [`crate::disk`] makes a block device of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sanbench_api::{BlockError, Wwn};
use sanbench_wire::pdu::TaskResponse;
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::Asc;
use sanbench_wire::scsi::vpd::page;
use sanbench_world::Env;
use serde_json::json;
use tokio::sync::Notify;

use crate::config::HostConfig;
use crate::disk::{Doubt, Runner};
use crate::link::{Link, LinkError};
use crate::lock;
use crate::portal::PortalSession;
use crate::scsi::{self, DeviceLimits, Op, Verdict};
use crate::session::{Completion, Request};

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
    /// Counts ASYMMETRIC ACCESS STATE CHANGED, and whom to wake for it.
    access_changes: AtomicU64,
    access_watch: Mutex<Option<Arc<Notify>>>,
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
    /// A device about which nothing is known yet.
    fn bare(
        env: &Env,
        config: &Arc<HostConfig>,
        session: &PortalSession,
        lun_number: u16,
    ) -> Result<Self, PathFault> {
        let Some(lun) = Lun::from_number(lun_number) else {
            return Err(BlockError::Protocol { message: format!("LUN {lun_number} is over 16383") }.into());
        };
        Ok(Self {
            env: env.clone(),
            config: config.clone(),
            session: session.clone(),
            lun_number,
            lun,
            facts: Mutex::new(Facts { wwn: None, blocks: 0, limits: DeviceLimits::default() }),
            removed: AtomicBool::new(false),
            capacity_changed: AtomicBool::new(false),
            access_changes: AtomicU64::new(0),
            access_watch: Mutex::new(None),
            verified: Mutex::new((0, 0)),
            verifying: tokio::sync::Mutex::new(()),
        })
    }

    /// The LUNs that the target shows in a session (REPORT LUNS).
    ///
    /// # Errors
    /// Why they could not be read.
    pub async fn report_luns(
        env: &Env,
        config: &Arc<HostConfig>,
        session: &PortalSession,
    ) -> Result<Vec<u16>, PathFault> {
        let data = Self::bare(env, config, session, 0)?.ask(scsi::report_luns()).await?;
        Ok(scsi::parse_luns(&data)?)
    }

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
        let device = Self::bare(env, config, session, lun_number)?;
        let lun = device.lun;
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
        let mut limits = DeviceLimits::from_pages(limits.as_deref(), provisioning.as_deref());
        if config.defects.assume_unmap && limits.max_unmap_blocks == 0 {
            (limits.max_unmap_blocks, limits.max_unmap_descriptors) = (u32::MAX, 1);
        }
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

    /// LUN as commands carry it.
    pub(crate) fn scsi_lun(&self) -> Lun {
        self.lun
    }

    /// Counts unit attentions that told of other access states (2Ah/06h).
    pub fn access_changes(&self) -> u64 {
        self.access_changes.load(Ordering::SeqCst)
    }

    /// Wakes `who` for every such unit attention.
    pub fn watch_access(&self, who: Arc<Notify>) {
        *lock(&self.access_watch) = Some(who);
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

    /// Makes sure that the path still leads to the volume, when that may have changed since it was last read.
    ///
    /// # Errors
    /// [`PathFault::Stranger`]; why it could not be read.
    pub async fn confirm(&self) -> Result<(), PathFault> {
        let (_, generation) = self.up()?;
        self.verify(generation).await
    }

    /// TEST UNIT READY: the path checker's question.
    ///
    /// # Errors
    /// Why the unit is not ready on this path.
    pub async fn path_check(&self) -> Result<(), PathFault> {
        self.ask(scsi::test_unit_ready(self.lun)).await.map(|_| ())
    }

    /// Resets the logical unit. `false`: not confirmed.
    pub async fn reset(&self) -> bool {
        match self.up() {
            Ok((link, _)) => link.reset_lun(&self.env, self.lun).await == Some(TaskResponse::COMPLETE),
            Err(_) => false,
        }
    }

    /// Runs one request and gives its data.
    pub(crate) async fn ask(&self, request: Request) -> Result<Bytes, PathFault> {
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
            // ASYMMETRIC ACCESS STATE CHANGED and IMPLICIT ASYMMETRIC ACCESS STATE TRANSITION FAILED.
            Asc(0x2a06 | 0x2a07) => {
                self.access_changes.fetch_add(1, Ordering::SeqCst);
                if let Some(who) = &*lock(&self.access_watch) {
                    who.notify_one();
                }
            }
            _ => {}
        }
        if self.config.trace {
            self.env.note("initiator", || {
                json!({"what": "unit-attention", "lun": self.lun_number, "code": format!("{:04x}", asc.0)})
            });
        }
    }
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
