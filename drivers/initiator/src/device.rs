//! A logical unit over one session.
//!
//! [`PathDevice`] runs one command with SCSI's retry rules over whatever connection its session has now, and knows which
//! volume it stands for. [`crate::disk`] makes a block device of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sanbench_api::{BlockError, Wwn};
use sanbench_wire::pdu::{Residual, TaskResponse};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::{Asc, Sense};
use sanbench_wire::scsi::vpd::page;
use sanbench_world::Env;
use sanbench_world::watch;
use serde_json::json;
use tokio::sync::Notify;

use crate::config::HostConfig;
use crate::disk::{Doubt, Runner};
use crate::link::{Link, LinkError};
use crate::lock;
use crate::portal::PortalSession;
use crate::retry::{self, Patience, Verdict, Wait};
use crate::scsi::{self, DeviceLimits, Op};
use crate::session::{Completion, Request};
use crate::signals::{Attentions, PathCounters, PathCounts, PathSignals, bump};

/// Changes of the inventory during one command at most.
const MAX_CHANGES: u32 = 24;

/// Pause before a command that the connection did not take is given to it again.
const NOT_SENT_PAUSE: Duration = Duration::from_millis(10);

/// Which refusals that pass by themselves a command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    /// All of them.
    Always,
    /// Not for an access state in transition: another path may serve.
    UnlessTransition,
    /// None: the question is whether the path works now.
    Never,
}

/// How an attempt at a command ended.
enum Ended {
    Done(Completion),
    /// The inventory changed: the identity has to be read before the command is sent again.
    Changed,
    Failed(BlockError, Option<Sense>),
}

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
    news: Arc<Attentions>,
    counters: PathCounters,
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
        let news = Arc::new(Attentions::new());
        session.listen(lun, &news);
        Ok(Self {
            env: env.clone(),
            config: config.clone(),
            session: session.clone(),
            lun_number,
            lun,
            facts: Mutex::new(Facts { wwn: None, blocks: 0, limits: DeviceLimits::default() }),
            removed: AtomicBool::new(false),
            news,
            counters: PathCounters::default(),
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
        self.news.signals().access
    }

    /// Wakes `who` for every such unit attention.
    pub fn watch_access(&self, who: Arc<Notify>) {
        self.news.watch_access(who);
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    /// News of the logical unit on this path, by kind.
    pub fn signals(&self) -> PathSignals {
        self.news.signals()
    }

    /// Changes of [`PathDevice::signals`]: unit attentions and asynchronous events.
    pub fn watch_signals(&self) -> watch::Receiver<PathSignals> {
        self.news.watch()
    }

    /// What the path did so far.
    pub fn counters(&self) -> PathCounts {
        self.counters.read()
    }

    /// What is known of the device.
    pub fn facts(&self) -> Facts {
        *lock(&self.facts)
    }

    /// Takes over a capacity that a rescan read.
    pub fn set_capacity(&self, blocks: u64) {
        lock(&self.facts).blocks = blocks;
        self.news.capacity_read();
    }

    /// True after CAPACITY DATA HAS CHANGED, until the capacity is read again.
    pub fn capacity_changed(&self) -> bool {
        self.news.capacity_changed()
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

    /// TEST UNIT READY: the path checker's question. It is answered at once, also while the unit becomes ready or its access
    /// state is in transition.
    ///
    /// # Errors
    /// Why the unit is not ready on this path.
    pub async fn path_check(&self) -> Result<(), PathFault> {
        let (link, generation) = self.up()?;
        let request = scsi::test_unit_ready(self.lun);
        match self.attempt(&link, generation, &request, None, Stay::Never).await? {
            Ended::Failed(error, _) => Err(error.into()),
            Ended::Done(_) | Ended::Changed => Ok(()),
        }
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

    /// Runs one request and gives its data, or the sense data with which it failed.
    pub(crate) async fn ask_sense(&self, request: Request) -> Result<Result<Bytes, Sense>, PathFault> {
        let (link, generation) = self.up()?;
        match self.attempt(&link, generation, &request, None, Stay::Always).await? {
            Ended::Done(done) => Ok(Ok(scsi::joined(done.data))),
            Ended::Failed(_, Some(sense)) => Ok(Err(sense)),
            Ended::Failed(error, None) => Err(error.into()),
            Ended::Changed => Err(no_end()),
        }
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

    /// After a command that the path could not carry: whether its session is back before `deadline` on the world's clock.
    pub(crate) async fn comes_back(&self, deadline: Duration) -> bool {
        if self.env.now() >= deadline {
            return false;
        }
        // The end of a connection is noticed a moment after its commands are lost.
        self.env.sleep(NOT_SENT_PAUSE).await;
        self.session.wait_up(deadline).await.is_ok()
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
        for _ in 0..MAX_CHANGES {
            self.verify(generation).await?;
            let inventory = self.session.inventory();
            match self.attempt(&link, generation, &request, Some(inventory), Stay::UnlessTransition).await? {
                Ended::Done(done) => {
                    if !op.changes().is_empty() && done.residual != Residual::None {
                        // GOOD, but less or more than the whole: what has been written nobody knows.
                        let message = format!("a write left a residual: {:?}", done.residual);
                        return Err(BlockError::Protocol { message }.into());
                    }
                    return Ok(scsi::joined(done.data));
                }
                Ended::Failed(error, _) => return Err(error.into()),
                Ended::Changed => {}
            }
        }
        Err(no_end())
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
        match self.attempt(link, generation, request, None, Stay::Always).await? {
            Ended::Done(done) => Ok(done),
            Ended::Failed(error, _) => Err(error.into()),
            Ended::Changed => Err(no_end()),
        }
    }

    /// Sends one command until it is answered for good (see [`crate::retry`]), or until the inventory is another one than
    /// `inventory`.
    async fn attempt(
        &self,
        link: &Link,
        generation: u64,
        request: &Request,
        inventory: Option<u64>,
        stay: Stay,
    ) -> Result<Ended, PathFault> {
        let mut patience = Patience::default();
        loop {
            bump(&self.counters.commands);
            let done = match link.run(&self.env, request.clone(), self.config.command_timeout).await {
                Ok(done) => done,
                Err(error) => return Err(self.fault(error, generation)),
            };
            let (error, pause) = match retry::judge(&done) {
                Verdict::Good => return Ok(Ended::Done(done)),
                Verdict::Failed(error) => (error, None),
                Verdict::Attention(asc) => {
                    self.attention(asc);
                    if self.config.defects.attention_is_failure && inventory.is_some() {
                        let error = done
                            .sense
                            .map_or(BlockError::Status { status: done.status.0 }, scsi::sense_error);
                        return Ok(Ended::Failed(error, done.sense));
                    }
                    if inventory.is_some_and(|i| i != self.session.inventory()) {
                        return Ok(Ended::Changed);
                    }
                    if patience.attention() {
                        continue;
                    }
                    return Err(no_end());
                }
                Verdict::Again(Wait::Busy | Wait::Full, error) if self.config.defects.busy_is_failure => {
                    (error, None)
                }
                Verdict::Again(wait, error) => {
                    let stays = match stay {
                        Stay::Always => true,
                        Stay::UnlessTransition => wait != Wait::Transition,
                        Stay::Never => !matches!(wait, Wait::Transition | Wait::BecomingReady),
                    };
                    (error, if stays { patience.pause(wait, self.env.now()) } else { None })
                }
            };
            let Some(pause) = pause else {
                bump(&self.counters.errors);
                return Ok(Ended::Failed(error, done.sense));
            };
            bump(&self.counters.retries);
            self.env.sleep(pause).await;
        }
    }

    fn fault(&self, error: LinkError, generation: u64) -> PathFault {
        match error {
            LinkError::NotSent(why) => {
                bump(&self.counters.not_sent);
                PathFault::NotSent(why)
            }
            LinkError::Lost(why) => {
                bump(&self.counters.lost);
                PathFault::Lost { generation, why }
            }
            LinkError::Aborted => {
                bump(&self.counters.aborted);
                PathFault::Aborted
            }
            LinkError::Failed(message) => {
                bump(&self.counters.errors);
                BlockError::Protocol { message }.into()
            }
        }
    }

    fn attention(&self, asc: Asc) {
        bump(&self.counters.attentions);
        // INQUIRY DATA HAS CHANGED (3Fh/03h) may mean another identity, as another inventory may.
        if matches!(asc, Asc::REPORTED_LUNS_DATA_HAS_CHANGED | Asc(0x3f03)) {
            self.session.inventory_changed();
        }
        self.news.note(asc);
        if self.config.trace {
            self.env.note("initiator", || {
                json!({"what": "unit-attention", "lun": self.lun_number, "code": format!("{:04x}", asc.0)})
            });
        }
    }
}

fn no_end() -> PathFault {
    BlockError::Protocol { message: "unit attentions without end".to_owned() }.into()
}

#[async_trait]
impl Runner for PathDevice {
    /// A lost command is sent again only after the session was reinstated, which ended the old one at the target.
    async fn run(&self, op: Op) -> Result<Bytes, BlockError> {
        let deadline = self.session.replacement_deadline();
        let mut doubt = Doubt::default();
        let mut patience = Patience::default();
        let mut aborts = 0;
        loop {
            match self.run_once(&op).await {
                Ok(data) => return Ok(data),
                // There is no other path: the transition has to be waited for here.
                Err(PathFault::Block(error @ BlockError::Sense { key: 0x2, asc: 0x04, ascq: 0x0a, .. })) => {
                    match patience.pause(Wait::Transition, self.env.now()) {
                        Some(pause) => self.env.sleep(pause).await,
                        None => return Err(doubt.color(error)),
                    }
                }
                Err(PathFault::Block(error)) => return Err(doubt.color(error)),
                Err(PathFault::Stranger(found)) => {
                    let message = format!("the LUN is another volume now: {found:?}");
                    return Err(doubt.color(BlockError::NoPath { message }));
                }
                Err(PathFault::Aborted) => {
                    aborts += 1;
                    if retry::gives_up(aborts, self.env.now() >= deadline) {
                        return Err(BlockError::NoAnswer { message: "timed out and aborted".to_owned() });
                    }
                    doubt.note(&op, "timed out and aborted".to_owned());
                }
                Err(PathFault::NotSent(why)) => {
                    let late = self.env.now() >= deadline;
                    let waited = self.session.wait_up(deadline).await;
                    if late || waited.is_err() {
                        let message = waited.err().unwrap_or(why);
                        return Err(doubt.color(BlockError::NoPath { message }));
                    }
                    // A session that is about to log out is still up, and takes nothing.
                    self.env.sleep(NOT_SENT_PAUSE).await;
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
