//! The second simulated array of a site: the link to the first, and the pairs between the two.
//!
//! | | near | far |
//! |---|---|---|
//! | what it is | the array that the driver manages | one without a driver: the bench is its administrator |
//! | link | listens | dials |
//! | a mirrored LUN | the volume's own | a LUN of the same name that is open to every initiator |
//!
//! Hosts reach the far array as they reach the near one, over iSCSI. Everything else is done to the arrays' own state, as an
//! administrator's client would have it done.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sanbench_api::{AccessMode, ConnectionInfo, TargetPath, VolumeId, async_trait};
use sanbench_array::pair::{Access, Mode, Pair, PairCommand, PairKind, PairState as State, RemoteLun, Role};
use sanbench_array::{ArrayHandle, Command, Outcome, Refusal, Secret};
use sanbench_rest::{Desk, RestConfig};
use sanbench_runner::plan::{Mirroring, SecondaryAccess};
use sanbench_runner::{PairState, Remote, SiteError};
use sanbench_world::Env;

use super::simulated::{ArrayParts, LinkEnd, LinkPart, RunningArray, start_array};

/// Serial number of the far array.
const FAR_SERIAL: &str = "21003400a30d844e";
/// What both arrays call each other, and their HyperMetro domain.
const NAME: &str = "twin";
/// The secret of the link.
const SECRET: &str = "Link-of-the-bench";
/// Pairs copy four times as fast as the array copies by itself.
const SPEED: u8 = 4;
/// Time between two points of an asynchronous pair: they are made by `sync` alone, for no story lasts so long.
const INTERVAL: Duration = Duration::from_secs(365 * 24 * 3600);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Longest that two arrays with a whole link need to hear each other, or to have heard of something.
const HEARD: Duration = Duration::from_secs(60);
/// Longest that a synchronisation may take.
const COPIED: Duration = Duration::from_secs(3600);

/// Cuts or heals the link.
pub(super) type LinkLever = Box<dyn Fn(bool) + Send + Sync>;

/// The near end of the link, for an array that has a twin.
pub(super) fn near_link(listens: SocketAddr) -> LinkPart {
    LinkPart { name: NAME.to_owned(), end: LinkEnd::Listens(listens), secret: Secret::new(SECRET) }
}

/// Starts the far array on a node of its own. `parts` are those of the near one but for what makes it another array.
///
/// # Errors
/// An address cannot be listened on; names it.
pub(super) async fn start_far(env: &Env, parts: ArrayParts, near: SocketAddr) -> io::Result<RunningArray> {
    let link = LinkPart { name: NAME.to_owned(), end: LinkEnd::Dials(near), secret: Secret::new(SECRET) };
    start_array(env, ArrayParts { serial: FAR_SERIAL.to_owned(), site: 1, links: vec![link], ..parts }).await
}

/// Both arrays, as a story uses them.
pub(super) struct Twin {
    /// The near array and its node.
    near: (ArrayHandle, Env),
    /// The far array and its node.
    far: (ArrayHandle, Env),
    /// Portals of the far array.
    portals: Vec<SocketAddr>,
    /// Target name of the far array.
    target_iqn: String,
    link: LinkLever,
    /// The story has cut the link. The arrays notice by silence alone.
    cut: AtomicBool,
}

/// An end of a pair, as a value.
#[derive(Debug, Clone, Copy)]
struct End {
    pair: u64,
    role: Role,
    state: State,
    epoch: u64,
}

impl From<&Pair> for End {
    fn from(pair: &Pair) -> Self {
        Self { pair: pair.id, role: pair.role, state: pair.state, epoch: pair.epoch }
    }
}

fn refused(refusal: Refusal) -> SiteError {
    SiteError::Internal(refusal.to_string())
}

impl Twin {
    /// Number of the remote device: each array knows one other.
    const REMOTE: u64 = 0;

    /// Two arrays that run, and what cuts and heals the link between them.
    pub(super) fn new(
        (near, near_env): (&RunningArray, &Env),
        (far, far_env): (&RunningArray, &Env),
        link: LinkLever,
    ) -> Self {
        Self {
            near: (near.handle.clone(), near_env.clone()),
            far: (far.handle.clone(), far_env.clone()),
            portals: far.portals.clone(),
            target_iqn: far.target_iqn.clone(),
            link,
            cut: AtomicBool::new(false),
        }
    }

    /// Where the far array's administrator sits.
    pub(super) fn desk(&self, env: &Env) -> Desk {
        Desk::new(env.clone(), self.far.0.clone(), &RestConfig::default())
    }

    /// What is wrong inside of the far array.
    pub(super) fn audit(&self) -> Option<String> {
        self.far.0.lock().audit().into_iter().next()
    }

    fn apply(at: &(ArrayHandle, Env), command: Command) -> Result<Outcome, SiteError> {
        let (handle, env) = at;
        handle.lock().apply(env.now(), command).map_err(refused)
    }

    fn command(at: &(ArrayHandle, Env), command: PairCommand) -> Result<Outcome, SiteError> {
        Self::apply(at, Command::Pairs(command))
    }

    /// The pair's id, by its near LUN; the far LUN has the same name.
    fn end_at(at: &(ArrayHandle, Env), lun: &str) -> Option<End> {
        let array = at.0.lock();
        let id = array.lun_by_name(lun)?.id;
        array.pair_of_lun(id).map(End::from)
    }

    fn ends(&self, lun: &str) -> (Option<End>, Option<End>) {
        (Self::end_at(&self.near, lun), Self::end_at(&self.far, lun))
    }

    /// The end that leads, and where it is. Where both believe it, the one that took over later.
    fn leader(&self, lun: &str) -> Result<(End, &(ArrayHandle, Env)), SiteError> {
        let (near, far) = self.ends(lun);
        let led = [near.map(|end| (end, &self.near)), far.map(|end| (end, &self.far))];
        let leads = led.into_iter().flatten().filter(|(end, _)| end.role == Role::Primary);
        leads.max_by_key(|(end, _)| end.epoch).ok_or_else(|| no_pair(lun))
    }

    fn follower(&self, lun: &str) -> Result<(End, &(ArrayHandle, Env)), SiteError> {
        let (leader, _) = self.leader(lun)?;
        let (near, far) = self.ends(lun);
        let all = [near.map(|end| (end, &self.near)), far.map(|end| (end, &self.far))];
        let other =
            all.into_iter().flatten().find(|(end, _)| (end.role, end.epoch) != (leader.role, leader.epoch));
        other.ok_or_else(|| no_pair(lun))
    }

    /// Whether an array hears the other one, as far as it knows.
    fn hears((handle, _): &(ArrayHandle, Env)) -> bool {
        handle.lock().remote(Self::REMOTE).is_some_and(|remote| remote.is_up)
    }

    /// Whether both arrays hear each other.
    fn is_heard(&self) -> bool {
        Self::hears(&self.near) && Self::hears(&self.far)
    }

    /// Waits until nobody believes in a link that is cut.
    async fn noticed(&self) -> Result<(), SiteError> {
        if !self.cut.load(Ordering::Relaxed) {
            return Ok(());
        }
        let silent = || !Self::hears(&self.near) && !Self::hears(&self.far);
        self.until(HEARD, "the arrays have noticed that the link is cut", silent).await
    }

    /// Looks again and again until something is so.
    async fn until(&self, limit: Duration, what: &str, is_so: impl Fn() -> bool) -> Result<(), SiteError> {
        let (_, env) = &self.near;
        let end = env.now() + limit;
        while !is_so() {
            if env.now() >= end {
                let waited = limit.as_secs();
                return Err(SiteError::Internal(format!("after {waited} s still not so: {what}")));
            }
            env.sleep(LOOK).await;
        }
        Ok(())
    }

    async fn heard(&self) -> Result<(), SiteError> {
        self.until(HEARD, "the two arrays hear each other", || self.is_heard()).await
    }

    /// What both halves of a pair are, made where it is not there yet.
    async fn kind(&self, how: Mirroring) -> Result<PairKind, SiteError> {
        let mode = match how {
            Mirroring::Sync => Mode::Sync,
            Mirroring::Async => Mode::Async,
            Mirroring::Metro => {
                let known = self.near.0.lock().domains().next().map(|domain| domain.id);
                let domain = match known {
                    Some(domain) => domain,
                    None => {
                        let (name, description) = (NAME.to_owned(), String::new());
                        let create = PairCommand::CreateDomain { name, description, remote: Self::REMOTE };
                        created(Self::command(&self.near, create)?)?
                    }
                };
                return Ok(PairKind::Metro { domain });
            }
        };
        Ok(PairKind::Replication { mode })
    }

    /// Makes the far LUN and opens it; answers what the near array must know of it.
    fn far_lun(&self, lun: &str, blocks: u64) -> Result<RemoteLun, SiteError> {
        let (name, description) = (lun.to_owned(), "second half".to_owned());
        let create = Command::CreateLun { name: name.clone(), description, pool: 0, blocks, thin: true };
        let id = created(Self::apply(&self.far, create)?)?;
        Self::apply(&self.far, Command::OpenExport { lun: id })?;
        Ok(RemoteLun { id, name, blocks, busy: false })
    }
}

fn no_pair(lun: &str) -> SiteError {
    SiteError::Internal(format!("{lun} has no second half"))
}

fn created(outcome: Outcome) -> Result<u64, SiteError> {
    match outcome {
        Outcome::Created(id) => Ok(id),
        other => Err(SiteError::Internal(format!("nothing was made: {other:?}"))),
    }
}

fn seen(state: State) -> PairState {
    match state {
        State::Paused => PairState::Paused,
        State::Interrupted => PairState::Interrupted,
        State::Syncing => PairState::Syncing,
        State::Normal => PairState::Normal,
        State::Invalid => PairState::Invalid,
    }
}

fn rests(state: State) -> bool {
    !matches!(state, State::Normal | State::Syncing)
}

#[async_trait]
impl Remote for Twin {
    async fn mirror(&self, lun: &str, how: Mirroring) -> Result<(), SiteError> {
        self.heard().await?;
        let near = self.near.0.lock().lun_by_name(lun).map(|lun| (lun.id, lun.blocks()));
        let (id, blocks) = near.ok_or_else(|| SiteError::Internal(format!("the array has no LUN {lun}")))?;
        let kind = self.kind(how).await?;
        let peer = self.far_lun(lun, blocks)?;
        let create = PairCommand::Create {
            kind,
            remote: Self::REMOTE,
            lun: id,
            peer,
            speed: SPEED,
            auto_recovery: false,
            interval: INTERVAL,
            start: false,
        };
        created(Self::command(&self.near, create)?)?;
        let known = || Self::end_at(&self.far, lun).is_some_and(|end| end.state != State::Invalid);
        self.until(HEARD, "the far array knows the pair", known).await
    }

    async fn unmirror(&self, lun: &str) -> Result<(), SiteError> {
        if let (Some(_), Some(_)) = self.ends(lun) {
            self.pause(lun).await?;
        }
        // Each end for itself: whatever state they are in.
        for at in [&self.near, &self.far] {
            if let Some(end) = Self::end_at(at, lun) {
                Self::command(at, PairCommand::Delete { pair: end.pair, local: true })?;
            }
        }
        let far = self.far.0.lock().lun_by_name(lun).map(|lun| lun.id);
        if let Some(lun) = far {
            Self::apply(&self.far, Command::CloseExport { lun })?;
            Self::apply(&self.far, Command::DeleteLun { lun })?;
        }
        Ok(())
    }

    async fn sync(&self, lun: &str) -> Result<PairState, SiteError> {
        self.heard().await?;
        let (end, at) = self.leader(lun)?;
        Self::command(at, PairCommand::Sync { unit: end.pair })?;
        let state = || Self::end_at(at, lun).map_or(State::Invalid, |end| end.state);
        self.until(COPIED, "the synchronisation has ended", || state() != State::Syncing).await?;
        let ended = state();
        if rests(ended) {
            // The next one needs a connection, which may have been what broke this one.
            self.heard().await?;
        }
        Ok(seen(ended))
    }

    async fn pause(&self, lun: &str) -> Result<(), SiteError> {
        self.noticed().await?;
        let (end, at) = self.leader(lun)?;
        Self::command(at, PairCommand::Pause { unit: end.pair })?;
        if !self.is_heard() {
            return Ok(());
        }
        let paused = || self.follower(lun).is_ok_and(|(end, _)| rests(end.state)) || !self.is_heard();
        self.until(HEARD, "the half that does not lead has paused", paused).await
    }

    async fn fail_over(&self, lun: &str) -> Result<(), SiteError> {
        self.noticed().await?;
        let (end, at) = self.follower(lun)?;
        let kind = at.0.lock().pair(end.pair).map(|pair| pair.is_metro());
        let command = match kind {
            Some(true) if !self.is_heard() => PairCommand::Force { unit: end.pair },
            _ => PairCommand::Switch { unit: end.pair },
        };
        Self::command(at, command)?;
        let leads = || Self::end_at(at, lun).is_some_and(|end| end.role == Role::Primary);
        self.until(HEARD, "the other half leads", leads).await
    }

    async fn set_access(&self, lun: &str, access: SecondaryAccess) -> Result<(), SiteError> {
        let (end, at) = self.follower(lun)?;
        let access = match access {
            SecondaryAccess::ReadOnly => Access::ReadOnly,
            SecondaryAccess::ReadWrite => Access::ReadWrite,
        };
        Self::command(at, PairCommand::SetAccess { unit: end.pair, access }).map(|_| ())
    }

    fn state(&self, lun: &str) -> Option<PairState> {
        self.leader(lun).ok().map(|(end, _)| seen(end.state))
    }

    async fn set_link(&self, up: bool) -> Result<(), SiteError> {
        (self.link)(up);
        self.cut.store(!up, Ordering::Relaxed);
        if up { self.heard().await } else { Ok(()) }
    }

    fn connection(&self, lun: &str) -> Result<ConnectionInfo, SiteError> {
        let array = self.far.0.lock();
        let id = array.lun_by_name(lun).map(|lun| lun.id).ok_or_else(|| no_pair(lun))?;
        let number = array.exports().find(|(lun, _)| *lun == id).map(|(_, number)| number);
        let number =
            number.ok_or_else(|| SiteError::Internal(format!("{lun} is not open on the far array")))?;
        let path =
            |portal: &SocketAddr| TargetPath { portal: *portal, iqn: self.target_iqn.clone(), lun: number };
        Ok(ConnectionInfo {
            driver_volume_type: "iscsi".to_owned(),
            // Nobody looks it up: no driver has made it.
            volume_id: VolumeId::from_bytes([0; 16]),
            paths: self.portals.iter().take(1).map(path).collect(),
            auth: None,
            // A half of a HyperMetro pair shows the identity of the other one, any other its own.
            wwn: None,
            access_mode: AccessMode::ReadWrite,
            discard: true,
            multipath: false,
            enforce_multipath: false,
        })
    }
}
