//! A case on real sockets: against a simulated array in this process (`loopback`) or against an array of which only
//! addresses and credentials are known (a profile).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use sanbench_api::{VolumeDriver, async_trait};
use sanbench_durable::Spoil;
use sanbench_rest::RestConfig;
use sanbench_runner::plan::{PlacedFault, Plan, Side, Way};
use sanbench_runner::story::Name;
use sanbench_runner::{CaseOutcome, CaseSpec, PathState, Remote, Severed, SiteError};
use sanbench_world::{Env, Fault, LiveConfig, LiveEnd, LiveWorld, Segment};

use super::driver::BACK_OFF_MS;
use super::images::ImageInput;
use super::protocol::play_case;
use super::redact::Secrets;
use super::remote::{Twin, near_link, start_far};
use super::sim::{backend_options, broken, fault_plan};
use super::simulated::{ArrayParts, RunningArray, start_array};
use super::site::{ComposedSite, HostEnd, Levers, SiteParts, Wrap, percent};
use super::wire::Wire;
use crate::config::{Limits, Profile};
use crate::coverage::Observer;
use crate::defects::Planted;
use crate::registry::DriverEntry;
use crate::safety::{Counts, GuardedDriver, Journal, Tag, beyond};

/// Against what.
#[derive(Clone)]
pub(crate) enum Target {
    /// A simulated array in this process.
    Loopback,
    /// Whatever the profile names.
    Profile {
        /// The profile.
        profile: Arc<Profile>,
        /// The run's journal.
        journal: Arc<Journal>,
        /// Limits in force.
        limits: Limits,
    },
}

/// What all live cases of a run share.
pub(crate) struct LiveSetup {
    /// The driver.
    pub(crate) driver: DriverEntry,
    /// Planted defects (never with a profile).
    pub(crate) planted: Planted,
    /// The user's image.
    pub(crate) image: Option<ImageInput>,
    /// Keep the history.
    pub(crate) trace: bool,
    /// Record all payload.
    pub(crate) capture: bool,
    /// Where databases and temporary files go.
    pub(crate) state_dir: PathBuf,
    /// Against what.
    pub(crate) target: Target,
    /// The run's tag.
    pub(crate) tag: Tag,
}

/// Node of the second array.
const REMOTE: &str = "remote";
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Runs one case on real sockets.
pub(crate) async fn run_live_case(setup: &LiveSetup, spec: &CaseSpec) -> (CaseOutcome, Vec<Segment>) {
    let impossible = match &setup.target {
        Target::Profile { limits, .. } => {
            needs_simulated_array(&spec.plan).or_else(|| beyond(&spec.plan, *limits))
        }
        Target::Loopback => None,
    };
    if let Some(reason) = impossible {
        let mut outcome = broken(spec, reason);
        outcome.broken = None;
        outcome.case.verdict = sanbench_reports::Verdict::NotRun;
        return (outcome, Vec::new());
    }
    let dir = setup.state_dir.join(crate::run::file_name(&spec.id));
    let config = LiveConfig {
        seed: spec.seed,
        trace: setup.trace,
        state_dir: dir.clone(),
        faults: fault_plan(&spec.plan),
        capture: setup.capture,
    };
    let wire = Wire::default();
    let world = match LiveWorld::with_tap(config, wire.tap(spec)) {
        Ok(world) => world,
        Err(e) => return (broken(spec, format!("{}: {e}", dir.display())), Vec::new()),
    };
    let mut outcome = match play(setup, spec, &world).await {
        Ok(outcome) => outcome,
        Err(SiteError::Unreachable(message)) => unreached(spec, message),
        Err(e) => broken(spec, e.to_string()),
    };
    wire.judge(spec, &mut outcome);
    if let Some(panic) = world.panics().first() {
        outcome.broken = Some(format!("a task panicked: {panic}"));
    }
    let mut observer = Observer::default();
    for line in world.take_trace() {
        observer.line(&line);
        outcome.history += &(line.to_json_line() + "\n");
    }
    outcome.marks = observer.hits();
    outcome.points = world.points_hit();
    outcome.faults = world.faults_fired().values().sum();
    let mut segments = world.capture();
    let base = match &setup.target {
        Target::Loopback => {
            BTreeMap::from([("tengling_password".to_owned(), RestConfig::default().password)])
        }
        Target::Profile { profile, .. } => profile.backend.options(),
    };
    Secrets::of(&base, &spec.plan).blank(&mut segments);
    for node in ["array", REMOTE, "control", "bench"] {
        world.stop(node);
    }
    spec.plan.site.hosts.iter().for_each(|(host, _)| world.stop(host.as_str()));
    // Databases and temporary files of a finished case are of no further use; its history is in the report.
    let _ = std::fs::remove_dir_all(&dir);
    (outcome, segments)
}

/// The outcome of a case that could not begin because the array could not be used.
pub(crate) fn unreached(spec: &CaseSpec, message: String) -> CaseOutcome {
    let mut outcome = broken(spec, message.clone());
    outcome.broken = None;
    outcome.unreachable = Some(message);
    outcome
}

/// Why a story cannot be played on an array that is not ours.
pub(crate) fn needs_simulated_array(plan: &Plan) -> Option<String> {
    if !plan.site.pools.is_empty() {
        return Some("the story needs pools of its own sizes, which only a simulated array has".into());
    }
    if plan.site.product.is_some() {
        return Some("the story needs an array of another version than this one".into());
    }
    if plan.site.target_name.is_some() {
        return Some("the story needs a target with a name of its own length".into());
    }
    if plan.site.clones.is_some() || plan.site.chain.is_some() || plan.site.devices.is_some() {
        return Some(
            "the story needs an array with limits of its own, which only a simulated one has".into(),
        );
    }
    if plan.site.remote {
        return Some(
            "the story needs a second array, linked to the first, which only simulated ones have".into(),
        );
    }
    if plan.site.journal {
        return Some(
            "the story needs an array with a journal that it can cut off, which only a simulated one has"
                .into(),
        );
    }
    if plan.steps.iter().any(|step| step.needs_simulation()) || plan.site.write_cache {
        return Some(
            "the story breaks power, controllers or paths, which only a simulated array lets it".into(),
        );
    }
    const INSIDE: [&str; 4] = ["rest.", "target.", "job.", "link."];
    let inside = |fault: &&PlacedFault| INSIDE.iter().any(|part| fault.point.starts_with(part));
    let fault = plan.placed_faults().find(inside)?;
    Some(format!("fault point {} is inside the simulated array", fault.point))
}

/// What an array of the case is made of, over loopback.
fn array_parts(setup: &LiveSetup, spec: &CaseSpec) -> ArrayParts {
    let any = SocketAddr::new(LOCALHOST, 0);
    ArrayParts::of_case(spec, &setup.planted, any, vec![any, any])
}

async fn play(setup: &LiveSetup, spec: &CaseSpec, world: &LiveWorld) -> Result<CaseOutcome, SiteError> {
    let mut wrap: Option<Wrap> = None;
    let mut levers: Option<Arc<dyn Levers>> = None;
    let mut remote: Option<Arc<dyn Remote>> = None;
    let bench = world.node("bench", &[LOCALHOST]);
    let mut desks = Vec::new();
    let options: BTreeMap<String, String> = match &setup.target {
        Target::Loopback => {
            let failed = |e: std::io::Error| SiteError::Internal(e.to_string());
            let mut parts = array_parts(setup, spec);
            let (user, password) = (parts.rest_config.user.clone(), parts.rest_config.password.clone());
            if spec.plan.site.remote {
                parts.links.push(near_link(SocketAddr::new(LOCALHOST, 0)));
            }
            let env = world.node("array", &[LOCALHOST]);
            let array = start_array(&env, parts).await.map_err(failed)?;
            desks.push(array.desk(&bench));
            if let Some(link) = array.link_listeners.first().copied() {
                let far_env = world.node(REMOTE, &[LOCALHOST]);
                let far = start_far(&far_env, array_parts(setup, spec), link).await.map_err(failed)?;
                let lever = world.clone();
                // The far array dials: the way is cut at its end.
                let way = Box::new(move |up: bool| match up {
                    true => lever.heal_addr(REMOTE, link),
                    false => lever.cut_addr(REMOTE, link),
                });
                let twin = Twin::new((&array, &env), (&far, &far_env), way);
                desks.push(twin.desk(&bench));
                remote = Some(Arc::new(twin));
            }
            let mut options = backend_options(array.rest, &user, &password, &spec.plan);
            options.insert(BACK_OFF_MS.to_owned(), "10".to_owned());
            levers = Some(Arc::new(LiveLevers { world: world.clone(), array }));
            options
        }
        Target::Profile { profile, journal, limits } => {
            let (journal, limits, counts) = (journal.clone(), *limits, Counts::default());
            wrap = Some(Arc::new(move |driver: Arc<dyn VolumeDriver>| {
                Arc::new(GuardedDriver::new(driver, journal.clone(), limits, counts.clone()))
                    as Arc<dyn VolumeDriver>
            }));
            profile.backend.options()
        }
    };
    let counter = world.clone();
    let hosts = spec
        .plan
        .site
        .hosts
        .iter()
        .map(|(name, _)| (name.clone(), world.node(name.as_str(), &[LOCALHOST])))
        .collect();
    let parts = SiteParts {
        bench,
        control: world.node("control", &[LOCALHOST]),
        hosts,
        driver: setup.driver,
        options,
        planted: setup.planted.driver.clone(),
        flow_defects: setup.planted.flows,
        connector_defects: setup.planted.connector,
        tag: setup.tag,
        image: setup.image.clone(),
        wrap,
        // A run over loopback is over when this machine is; only arrays that outlast it are worth the syncs.
        power_safe: !matches!(setup.target, Target::Loopback),
        found: Default::default(),
        firings: Arc::new(move || counter.firings()),
        levers,
        remote,
        desks,
    };
    let site = ComposedSite::start(parts, &spec.plan).await?;
    let outcome = play_case(&site, spec).await;
    site.stop().await;
    Ok(outcome)
}

/// What can be broken over real sockets.
struct LiveLevers {
    world: LiveWorld,
    array: RunningArray,
}

impl LiveLevers {
    /// Where a path of any host ends: path n leads to portal n. All hosts share one address, so that only the host's node and
    /// the portal's port tell paths apart.
    fn portal(&self, path: u64) -> Result<SocketAddr, SiteError> {
        let index = usize::try_from(path).ok().and_then(|n| n.checked_sub(1));
        let portal = index.and_then(|n| self.array.portals.get(n)).copied();
        portal.ok_or_else(|| SiteError::Internal(format!("a host has no path {path}")))
    }
}

#[async_trait]
impl Levers for LiveLevers {
    async fn power_loss(&self) -> Result<(), SiteError> {
        self.array.settle().await;
        self.world.stop("array");
        self.array.power_returns(&self.world.node("array", &[LOCALHOST])).await
    }

    fn set_controller(&self, controller: u64, up: bool) -> Result<(), SiteError> {
        self.array.set_controller(self.world.node("array", &[]).now(), controller, up)
    }

    fn limit(&self, lun: &str, iops: u64) -> Result<(), SiteError> {
        self.array.limit(self.world.node("array", &[]).now(), lun, iops)
    }

    fn set_portal(&self, portal: u64, enabled: bool) -> Result<(), SiteError> {
        self.array.set_portal(self.world.node("array", &[]).now(), portal, enabled)
    }

    fn every_portal(&self) -> Vec<SocketAddr> {
        self.array.portals.clone()
    }

    fn set_path(&self, host: &Name, path: u64, state: PathState) -> Result<(), SiteError> {
        let (node, portal) = (host.as_str(), self.portal(path)?);
        match state {
            PathState::Up => self.world.heal_addr(node, portal),
            PathState::Cut(Way::Both) => self.world.cut_addr(node, portal),
            PathState::Cut(Way::ToArray) => self.world.cut_addr_one_way(node, portal, LiveEnd::Peer),
            PathState::Cut(Way::ToHost) => self.world.cut_addr_one_way(node, portal, LiveEnd::Node),
            PathState::Slow { ms, segment, loss } => {
                let segment = usize::try_from(segment).unwrap_or(0);
                for towards in [LiveEnd::Node, LiveEnd::Peer] {
                    self.world.delay_addr(node, portal, towards, ms);
                    self.world.segment_addr(node, portal, towards, segment);
                    self.world.lose_addr(node, portal, towards, percent(loss));
                }
            }
        }
        Ok(())
    }

    fn sever(&self, host: &Name, path: u64, how: Severed) -> Result<(), SiteError> {
        let (node, portal) = (host.as_str(), self.portal(path)?);
        match how {
            Severed::Reset => self.world.reset_addr(node, portal),
            Severed::HalfOpen(Side::Array) => self.world.half_open_addr(node, portal, LiveEnd::Peer),
            Severed::HalfOpen(Side::Host) => self.world.half_open_addr(node, portal, LiveEnd::Node),
        };
        Ok(())
    }

    fn host_off(&self, host: &Name, how: HostEnd) -> Result<(), SiteError> {
        if how == HostEnd::Power {
            // First the host forgets, so that the array hears no good-bye when its tasks end.
            for portal in &self.array.portals {
                self.world.half_open_addr(host.as_str(), *portal, LiveEnd::Node);
            }
        }
        self.world.stop(host.as_str());
        Ok(())
    }

    fn host_on(&self, host: &Name) -> Result<Env, SiteError> {
        Ok(self.world.node(host.as_str(), &[LOCALHOST]))
    }

    fn squat(&self, name: &str) -> Result<(), SiteError> {
        self.array.squat(self.world.node("array", &[]).now(), name)
    }

    fn portals(&self) -> Vec<SocketAddr> {
        self.array.working_portals()
    }

    fn fill(&self, pool: &str, leave: u64) -> Result<String, SiteError> {
        self.array.fill(self.world.node("array", &[]).now(), pool, leave)
    }

    fn spoil(&self, lun: &str, lba: u64, how: Spoil) -> Result<bool, SiteError> {
        self.array.spoil(lun, lba, how)
    }

    fn mend(&self) -> Result<(), SiteError> {
        self.array.mend()
    }

    fn drain(&self, pool: &str) -> Result<String, SiteError> {
        self.array.drain(self.world.node("array", &[]).now(), pool)
    }

    fn arm(&self, point: &str, nth: u64, fault: Fault) -> u64 {
        self.world.add_fault(point, nth, fault)
    }

    fn disarm(&self) {
        self.world.clear_faults();
    }

    fn heal(&self) {
        self.world.heal_all();
    }
}

/// A node that only builds drivers, for commands that need no site. Call inside a runtime.
pub(crate) fn probe_env(state_dir: &std::path::Path) -> std::io::Result<sanbench_world::Env> {
    let config = LiveConfig {
        seed: 0,
        trace: false,
        state_dir: state_dir.to_path_buf(),
        faults: Default::default(),
        capture: false,
    };
    Ok(LiveWorld::new(config)?.node("probe", &[LOCALHOST]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_simulated_array_has_is_not_asked_of_another() {
        let why = |lines: &str| {
            let text = format!("story \"x\"\nhost h\n{lines}\ncreate v size=1GiB\n");
            needs_simulated_array(&sanbench_runner::story::parse(&text).expect(lines))
        };
        assert_eq!(why("option tengling_max_clone_depth 3"), None);
        for header in [
            "pool pool0 16GiB",
            "array product=V500R007C60",
            "array clones=2",
            "array chain=3",
            "array devices=3",
            "array target-name=223",
            "remote",
            "journal on",
            "write-cache on",
            "fault \"rest.before:POST lun\" do=fail",
            "fault \"job.split.50\" do=fail",
            "host g\narm \"rest.before:POST lun\" do=fail",
        ] {
            assert!(why(header).is_some(), "{header}");
        }
        assert_eq!(why("fault \"flow.build_volume.make.after\" do=fail"), None);
    }
}
