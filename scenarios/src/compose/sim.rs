//! A case in the simulation: every node, the array and the network in one virtual world.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use sanbench_api::async_trait;
use sanbench_check::Finding;
use sanbench_durable::Spoil;
use sanbench_runner::plan::{FaultAction, Plan, Schedule as Order, Side, Way};
use sanbench_runner::story::Name;
use sanbench_runner::{CaseOutcome, CaseSpec, PathState, Remote, Severed, SiteError};
use sanbench_world::sim::{Shape, WINDOW};
use sanbench_world::{
    Crash, Delivery, Env, Fault, FaultPlan, Schedule, Segment, SimConfig, SimWorld, Wrong, dice,
};
use sha2::{Digest, Sha256};

use super::images::ImageInput;
use super::protocol::play_case;
use super::redact::Secrets;
use super::remote::{Twin, near_link, start_far};
use super::simulated::{ArrayParts, RunningArray, start_array};
use super::site::{ComposedSite, HostEnd, Levers, SiteParts, percent};
use super::wire::Wire;
use crate::coverage::Observer;
use crate::defects::Planted;
use crate::registry::DriverEntry;
use crate::safety::Tag;

/// What all simulated cases of a run share.
#[derive(Clone)]
pub(crate) struct SimSetup {
    /// The driver.
    pub(crate) driver: DriverEntry,
    /// Planted defects.
    pub(crate) planted: Planted,
    /// The user's image.
    pub(crate) image: Option<ImageInput>,
    /// Keep the text of each history, not only its hash.
    pub(crate) keep_history: bool,
    /// Record all payload.
    pub(crate) capture: bool,
}

const ARRAY: &str = "array";
const REMOTE: &str = "remote";
const CONTROL: &str = "control";
/// Where the first array listens for the second.
const LINK_PORT: u16 = 3261;

/// Two portals on two subnets, the management address on a third.
fn array_addresses() -> [IpAddr; 3] {
    [[10, 0, 0, 10], [10, 0, 1, 10], [10, 0, 2, 10]].map(|a| IpAddr::V4(Ipv4Addr::from(a)))
}

/// The same of the second array, where there is one.
fn remote_addresses() -> [IpAddr; 3] {
    [[10, 0, 0, 20], [10, 0, 1, 20], [10, 0, 2, 20]].map(|a| IpAddr::V4(Ipv4Addr::from(a)))
}

/// The two ends of the link between the arrays, on a subnet of their own.
fn link_addresses() -> [IpAddr; 2] {
    [[10, 0, 3, 10], [10, 0, 3, 20]].map(|a| IpAddr::V4(Ipv4Addr::from(a)))
}

fn host_addresses(n: u8) -> [IpAddr; 3] {
    [[10, 0, 0, 100 + n], [10, 0, 1, 100 + n], [10, 0, 2, 100 + n]].map(|a| IpAddr::V4(Ipv4Addr::from(a)))
}

/// Whose address is whose in a simulated case of this plan; portals by the path that leads to them.
pub(crate) fn sim_addresses(plan: &Plan) -> BTreeMap<IpAddr, String> {
    let hosts = plan.site.hosts.iter().zip(1u8..).map(|((name, _), n)| (name.to_string(), n));
    let nodes = hosts.chain([(CONTROL.to_owned(), 0)]);
    let mut all: BTreeMap<IpAddr, String> =
        nodes.flat_map(|(name, n)| host_addresses(n).map(|a| (a, name.clone()))).collect();
    all.extend(array_addresses().into_iter().zip(["management", "portal 1", "portal 2"].map(str::to_owned)));
    if plan.site.remote {
        let names = ["remote management", "remote portal 1", "remote portal 2"].map(str::to_owned);
        all.extend(remote_addresses().into_iter().zip(names));
        all.extend(link_addresses().into_iter().zip(["link", "remote link"].map(str::to_owned)));
    }
    all
}

/// Faults of the story as the world takes them.
pub(super) fn fault_plan(plan: &Plan) -> FaultPlan {
    plan.site
        .faults
        .iter()
        .fold(FaultPlan::default(), |all, f| all.rule(f.point.clone(), f.nth, world_fault(f.action)))
}

/// A fault as the world takes it.
pub(super) fn world_fault(action: FaultAction) -> Fault {
    match action {
        FaultAction::Fail => Fault::Fail,
        FaultAction::Delay(ms) => Fault::Delay(Duration::from_millis(ms)),
        FaultAction::DropReply => Fault::DropReply,
        FaultAction::Http(status) => Fault::Answer(Wrong::Http(status)),
        FaultAction::Code(code) => Fault::Answer(Wrong::Code(code)),
        FaultAction::Truncate => Fault::Answer(Wrong::Truncated),
        FaultAction::Garbage => Fault::Answer(Wrong::Garbage),
        FaultAction::Mistype => Fault::Answer(Wrong::Mistyped),
        FaultAction::Blank => Fault::Answer(Wrong::Blank),
        FaultAction::Overlong => Fault::Answer(Wrong::Overlong),
        FaultAction::Oversize => Fault::Answer(Wrong::Oversized),
        FaultAction::Newer => Fault::Answer(Wrong::Newer),
        FaultAction::Stale => Fault::Answer(Wrong::Stale),
        FaultAction::Close => Fault::Answer(Wrong::Closing),
        FaultAction::ExpireSession => Fault::Answer(Wrong::SessionOver),
        FaultAction::ScsiBusy => Fault::Answer(Wrong::Code(sanbench_target::upset::BUSY)),
        FaultAction::TaskSetFull => Fault::Answer(Wrong::Code(sanbench_target::upset::TASK_SET_FULL)),
        FaultAction::ReservationConflict => {
            Fault::Answer(Wrong::Code(sanbench_target::upset::RESERVATION_CONFLICT))
        }
        FaultAction::NotReady => Fault::Answer(Wrong::Code(sanbench_target::upset::NOT_READY)),
        FaultAction::UnitAttention => Fault::Answer(Wrong::Code(sanbench_target::upset::POWER_ON_RESET)),
        FaultAction::LunReset => Fault::Answer(Wrong::Code(sanbench_target::upset::LUN_RESET)),
        FaultAction::Lose => Fault::Message(Delivery::Lost),
        FaultAction::Twice => Fault::Message(Delivery::Twice),
        FaultAction::Crash => Fault::CrashNode,
    }
}

/// Pools of the story, else the default two.
pub(super) fn pools(plan: &Plan) -> Vec<(String, u64)> {
    if plan.site.pools.is_empty() {
        return vec![("pool0".into(), 512 << 30), ("pool1".into(), 1 << 40)];
    }
    plan.site.pools.iter().map(|(name, size)| (name.to_string(), size.0)).collect()
}

/// Back-end options for an array that serves at this address.
pub(super) fn backend_options(
    rest: SocketAddr,
    user: &str,
    password: &str,
    plan: &Plan,
) -> BTreeMap<String, String> {
    let pools = pools(plan).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(";");
    [
        ("volume_backend_name", "tldriver".to_owned()),
        ("tengling_sanip", format!("http://{rest}/deviceManager/rest/")),
        ("tengling_username", user.to_owned()),
        ("tengling_password", password.to_owned()),
        ("tengling_storagepool", pools),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// Runs one case in a world of its own. Panics and stalls of what is judged become a broken case, never a crash of
/// the bench.
pub(crate) fn run_sim_case(setup: &SimSetup, spec: &CaseSpec) -> (CaseOutcome, Vec<Segment>) {
    let wire = Wire::default();
    let config = SimConfig {
        seed: spec.seed,
        trace: true,
        faults: fault_plan(&spec.plan),
        capture: setup.capture,
        tap: wire.tap(spec),
        schedule: match spec.plan.site.schedule {
            Order::Fifo => Schedule::Fifo,
            Order::Random => Schedule::Random,
            Order::Priorities => Schedule::Priorities,
        },
        ..SimConfig::default()
    };
    let ran = catch_unwind(AssertUnwindSafe(|| {
        SimWorld::try_run(config, |world| async move { body(setup, spec, world).await })
    }));
    match ran {
        Ok(Ok((mut outcome, segments))) => {
            wire.judge(spec, &mut outcome);
            (outcome, segments)
        }
        Ok(Err(stalled)) if stalled.restless => (restless(spec, &stalled.to_string()), Vec::new()),
        Ok(Err(stalled)) => (broken(spec, stalled.to_string()), Vec::new()),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_else(|| "panic without a text".to_owned());
            (broken(spec, format!("panic: {text}")), Vec::new())
        }
    }
}

/// The outcome of a case that has no end, since parts of what is judged keep each other busy.
fn restless(spec: &CaseSpec, message: &str) -> CaseOutcome {
    let mut outcome = CaseOutcome { broken: None, ..broken(spec, message.to_owned()) };
    let finding = Finding::new("CON-004", "liveness", "world", "restless")
        .says("the case does not come to its end")
        .compared("an end, or tasks that wait", message);
    outcome.find_at_end(finding);
    outcome
}

/// The outcome of a case that could not be carried through.
pub(super) fn broken(spec: &CaseSpec, message: String) -> CaseOutcome {
    let mut outcome = CaseOutcome { broken: Some(message.clone()), ..CaseOutcome::default() };
    outcome.case.id = spec.id.clone();
    outcome.case.story = spec.story.clone();
    outcome.case.title = spec.plan.title.clone();
    outcome.case.seed = spec.seed;
    outcome.case.verdict = sanbench_reports::Verdict::Unknown;
    outcome.case.reason = message;
    outcome
}

async fn body(setup: &SimSetup, spec: &CaseSpec, world: SimWorld) -> (CaseOutcome, Vec<Segment>) {
    let array_env = world.node(ARRAY, &array_addresses());
    let [link, _] = link_addresses().map(|address| SocketAddr::new(address, LINK_PORT));
    let mut parts = array_parts(setup, spec, &world, ARRAY, array_addresses());
    if spec.plan.site.remote {
        world.node(ARRAY, &[link.ip()]);
        parts.links.push(near_link(link));
    }
    let (user, password) = (parts.rest_config.user.clone(), parts.rest_config.password.clone());
    let array = match start_array(&array_env, parts).await {
        Ok(array) => array,
        Err(e) => return (broken(spec, e.to_string()), Vec::new()),
    };
    let twin = match start_twin(setup, spec, &world, (&array, &array_env)).await {
        Ok(twin) => twin,
        Err(e) => return (broken(spec, e.to_string()), Vec::new()),
    };
    let mut hosts = BTreeMap::new();
    for (n, (name, _)) in (1u8..).zip(&spec.plan.site.hosts) {
        hosts.insert(name.clone(), world.node(name.as_str(), &host_addresses(n)));
    }
    let array = Arc::new(array);
    let levers = SimLevers {
        world: world.clone(),
        array: array.clone(),
        hosts: spec.plan.site.hosts.iter().zip(1u8..).map(|((name, _), n)| (name.clone(), n)).collect(),
    };
    if setup.planted.bench.leak_hash_order {
        leak(&array_env);
    }
    let counter = world.clone();
    let tag = tag(spec.seed);
    let options = backend_options(array.rest, &user, &password, &spec.plan);
    let secrets = Secrets::of(&options, &spec.plan);
    let bench = world.node("bench", &[IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))]);
    let desks = [Some(array.desk(&bench)), twin.as_ref().map(|twin| twin.desk(&bench))];
    let site_parts = SiteParts {
        bench,
        control: world.node(CONTROL, &host_addresses(0)),
        hosts,
        driver: setup.driver,
        options,
        planted: setup.planted.driver.clone(),
        flow_defects: setup.planted.flows,
        connector_defects: setup.planted.connector,
        tag,
        image: setup.image.clone(),
        wrap: None,
        power_safe: true,
        found: Default::default(),
        firings: Arc::new(move || counter.firings()),
        levers: Some(Arc::new(levers)),
        remote: twin.clone().map(|twin| twin as Arc<dyn Remote>),
        desks: desks.into_iter().flatten().collect(),
    };
    let mut outcome = match ComposedSite::start(site_parts, &spec.plan).await {
        Ok(site) => {
            let outcome = play_case(&site, spec).await;
            site.stop().await;
            outcome
        }
        Err(e) => broken(spec, e.to_string()),
    };
    // In the simulation the inside of the array may be looked at in addition.
    let copy_ups = array.copy_ups();
    array_env.note("array", || serde_json::json!({"event": "copied up", "writes": copy_ups}));
    let audit = array.audit();
    let audit = audit.or_else(|| twin.as_deref().and_then(Twin::audit));
    if let Some(first) = audit
        && outcome.case.findings.is_empty()
    {
        outcome.broken = Some(format!("the simulated array is inconsistent: {first}"));
    }
    if let Some(panic) = world.panics().first() {
        outcome.broken = Some(format!("a task panicked: {panic}"));
    }
    let mut hasher = Sha256::new();
    let mut told = false;
    let mut observer = Observer::default();
    for line in world.take_trace() {
        observer.line(&line);
        let line = line.to_json_line() + "\n";
        told |= secrets.are_in(&line);
        hasher.update(line.as_bytes());
        if setup.keep_history {
            outcome.history.push_str(&line);
        }
    }
    secrets.judge(told, &mut outcome);
    super::sessions::judge(array.sessions(), &spec.plan, &mut outcome);
    outcome.case.history_sha256 = Some(crate::run::hex(&hasher.finalize()));
    outcome.marks = observer.hits();
    outcome.points = world.points_hit();
    outcome.faults = world.faults_fired().values().sum();
    let mut segments = world.capture();
    secrets.blank(&mut segments);
    (outcome, segments)
}

/// What an array of the case is made of.
fn array_parts(
    setup: &SimSetup,
    spec: &CaseSpec,
    world: &SimWorld,
    node: &'static str,
    [management, a, b]: [IpAddr; 3],
) -> ArrayParts {
    let crasher = world.clone();
    let rest = SocketAddr::new(management, 8088);
    let portals = vec![SocketAddr::new(a, 3260), SocketAddr::new(b, 3260)];
    ArrayParts {
        on_crash: Some(Arc::new(move || crasher.crash(node, Crash::PowerLoss))),
        ..ArrayParts::of_case(spec, &setup.planted, rest, portals)
    }
}

/// The second array, where the story wants one.
async fn start_twin(
    setup: &SimSetup,
    spec: &CaseSpec,
    world: &SimWorld,
    (near, near_env): (&RunningArray, &Env),
) -> std::io::Result<Option<Arc<Twin>>> {
    if !spec.plan.site.remote {
        return Ok(None);
    }
    let [theirs, ours] = link_addresses();
    let addresses: Vec<IpAddr> = remote_addresses().into_iter().chain([ours]).collect();
    let env = world.node(REMOTE, &addresses);
    let parts = array_parts(setup, spec, world, REMOTE, remote_addresses());
    let far = start_far(&env, parts, SocketAddr::new(theirs, LINK_PORT)).await?;
    let lever = world.clone();
    let link = Box::new(move |up: bool| {
        for (from, to) in [(ARRAY, REMOTE), (REMOTE, ARRAY)] {
            if up { lever.heal(from, to) } else { lever.cut(from, to) }
        }
    });
    Ok(Some(Arc::new(Twin::new((near, near_env), (&far, &env), link))))
}

/// The planted defect of the bench: an order that each process draws anew gets into the history.
#[expect(clippy::disallowed_types, reason = "planted: the determinism check must find it")]
fn leak(env: &sanbench_world::Env) {
    let names: std::collections::HashSet<u32> = (0..16).collect();
    names.into_iter().for_each(|n| env.note("leak", || serde_json::json!({ "n": n })));
}

/// What a simulated world can break.
struct SimLevers {
    world: SimWorld,
    array: Arc<RunningArray>,
    hosts: BTreeMap<Name, u8>,
}

impl SimLevers {
    /// The addresses of a host and of the array between which a path runs.
    fn ends(&self, host: &Name, path: u64) -> Result<(IpAddr, IpAddr), SiteError> {
        let n = self.hosts.get(host).copied();
        let n = n.ok_or_else(|| SiteError::Internal(format!("the site has no host {host}")))?;
        // The first address of the array is that of the management interface.
        let index = usize::try_from(path).unwrap_or(usize::MAX);
        match (host_addresses(n).get(index), array_addresses().get(index)) {
            (Some(ours), Some(theirs)) => Ok((*ours, *theirs)),
            _ => Err(SiteError::Internal(format!("a host has no path {path}"))),
        }
    }
}

#[async_trait]
impl Levers for SimLevers {
    async fn power_loss(&self) -> Result<(), SiteError> {
        self.array.settle().await;
        self.world.crash(ARRAY, Crash::PowerLoss);
        self.array.power_returns(&self.world.node(ARRAY, &[])).await
    }

    fn set_controller(&self, controller: u64, up: bool) -> Result<(), SiteError> {
        self.array.set_controller(self.world.now(), controller, up)
    }

    fn limit(&self, lun: &str, iops: u64) -> Result<(), SiteError> {
        self.array.limit(self.world.now(), lun, iops)
    }

    fn set_portal(&self, portal: u64, enabled: bool) -> Result<(), SiteError> {
        self.array.set_portal(self.world.now(), portal, enabled)
    }

    fn every_portal(&self) -> Vec<SocketAddr> {
        self.array.portals.clone()
    }

    fn set_path(&self, host: &Name, path: u64, state: PathState) -> Result<(), SiteError> {
        let (ours, theirs) = self.ends(host, path)?;
        match state {
            PathState::Up => self.world.heal_addr(ours, theirs),
            PathState::Cut(Way::Both) => self.world.cut_addr(ours, theirs),
            PathState::Cut(Way::ToArray) => self.world.cut_addr_one_way(ours, theirs),
            PathState::Cut(Way::ToHost) => self.world.cut_addr_one_way(theirs, ours),
            PathState::Slow { ms, segment, loss } => {
                let loss = percent(loss);
                let segment = usize::try_from(segment).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
                for (from, to) in [(ours, theirs), (theirs, ours)] {
                    self.world.delay_addr(from, to, ms);
                    self.world.shape_addr(from, to, Shape { segment, loss, ..Shape::default() });
                }
            }
        }
        Ok(())
    }

    fn host_off(&self, host: &Name, how: HostEnd) -> Result<(), SiteError> {
        let how = match how {
            HostEnd::Power => Crash::PowerLoss,
            HostEnd::Killed => Crash::Kill,
        };
        self.world.crash(host.as_str(), how);
        Ok(())
    }

    fn host_on(&self, host: &Name) -> Result<Env, SiteError> {
        Ok(self.world.node(host.as_str(), &[]))
    }

    fn sever(&self, host: &Name, path: u64, how: Severed) -> Result<(), SiteError> {
        let (ours, theirs) = self.ends(host, path)?;
        match how {
            Severed::Reset => self.world.reset_addr(ours, theirs),
            Severed::HalfOpen(Side::Array) => self.world.half_open_addr(theirs, ours),
            Severed::HalfOpen(Side::Host) => self.world.half_open_addr(ours, theirs),
        };
        Ok(())
    }

    fn squat(&self, name: &str) -> Result<(), SiteError> {
        self.array.squat(self.world.now(), name)
    }

    fn portals(&self) -> Vec<SocketAddr> {
        self.array.working_portals()
    }

    fn fill(&self, pool: &str, leave: u64) -> Result<String, SiteError> {
        self.array.fill(self.world.now(), pool, leave)
    }

    fn spoil(&self, lun: &str, lba: u64, how: Spoil) -> Result<bool, SiteError> {
        self.array.spoil(lun, lba, how)
    }

    fn mend(&self) -> Result<(), SiteError> {
        self.array.mend()
    }

    fn drain(&self, pool: &str) -> Result<String, SiteError> {
        self.array.drain(self.world.now(), pool)
    }

    fn arm(&self, point: &str, nth: u64, fault: Fault) -> u64 {
        self.world.add_fault(point, nth, fault)
    }

    fn disarm(&self) {
        self.world.clear_faults();
    }

    fn window(&self) -> Option<usize> {
        Some(WINDOW)
    }

    fn heal(&self) {
        self.world.heal_all();
    }
}

/// The tag of a simulated case.
fn tag(seed: u64) -> Tag {
    let mut bytes = [0; 4];
    dice(seed, "bench", "tag").fill(&mut bytes);
    Tag(bytes)
}
