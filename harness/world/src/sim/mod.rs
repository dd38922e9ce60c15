//! The simulated make: all nodes on one paused, single-threaded runtime, one virtual clock, one seeded network.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`SimWorld`]: the levers (nodes, crashes, cuts, resets) and what was recorded |
//! | `net.rs` | addresses, listeners, paths and their conditions |
//! | `link.rs` | one connection: timed segments, back-pressure, ends |
//! | `link/outage.rs` | cuts, lost power, resets and retransmission times |
//! | `shape.rs` | [`Shape`]: crumbs, coalescing, closed windows |
//! | `stream.rs`, `listener.rs` | the two ends that nodes hold |
//! | `node.rs` | connect and listen of one node |
//!
//! Time moves only when every task waits, and then jumps to the next timer; an idle hour costs nothing. The
//! runtime's timers have a resolution of one millisecond, so latencies are whole milliseconds.

mod link;
mod listener;
mod net;
mod node;
mod shape;
mod stream;

pub use link::WINDOW;
pub use node::CONNECT_TIMEOUT;
pub use shape::Shape;

pub(crate) use listener::SimListener;
pub(crate) use node::SimNode;
pub(crate) use stream::SimStream;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::capture::{Segment, SegmentTap};
use crate::dice::{Dice, dice};
use crate::disk::Disk;
use crate::env::{Env, EnvInner, Make};
use crate::fault::{Fault, FaultPlan, Firings, by_point};
use crate::lock;
use crate::recorder::Recorder;
use crate::schedule::{Schedule, Scheduler};
use crate::task::{TaskSet, Turns};
use crate::trace::TraceLine;
use net::Fabric;

/// Turns of a world by default: two hundred times what the longest of generated plans take.
const TURNS: u64 = 20_000_000;

/// A world that reaches this virtual age has nothing left to do but timers; see [`SimWorld::run`].
pub const HORIZON: Duration = Duration::from_secs(30 * 24 * 3600);

/// How to make a simulated world.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Everything random in the world comes from it.
    pub seed: u64,
    /// Keep the lines of [`Env::note`].
    pub trace: bool,
    /// Delay of each segment in whole milliseconds, end excluded. `0..2` means 0 or 1 ms; `0..1` none at all.
    pub latency: Range<u64>,
    /// Which asked points misbehave.
    pub faults: FaultPlan,
    /// Keep the payload of all streams.
    pub capture: bool,
    /// Sees them as they are sent.
    pub tap: Option<SegmentTap>,
    /// Which of the ready tasks runs next.
    pub schedule: Schedule,
    /// Turns that all tasks together may take before the world counts as stalled: tasks that wake each other for ever, or
    /// for as long as the clock goes, end nothing.
    pub turns: u64,
}

impl Default for SimConfig {
    fn default() -> SimConfig {
        SimConfig {
            seed: 0,
            trace: false,
            latency: 0..2,
            faults: FaultPlan::default(),
            capture: false,
            tap: None,
            schedule: Schedule::default(),
            turns: TURNS,
        }
    }
}

/// How a node goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Its process dies, its host goes on: peers see end of file, or a reset where data was unread; connections
    /// to it are refused.
    Kill,
    /// Its host dies: peers see silence, and a reset of old connections after the restart.
    PowerLoss,
}

/// The world could not go on: everything waited for something that will not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the world stalled: {} until {horizon:?}; tasks still waiting: {waiting:?}", if *.restless { "tasks that wake each other" } else { "nothing but timers" })]
pub struct Stalled {
    /// All turns were taken ([`SimConfig::turns`]).
    pub restless: bool,
    /// The virtual age at which the run was given up: [`HORIZON`].
    pub horizon: Duration,
    /// Pending tasks by node.
    pub waiting: BTreeMap<String, usize>,
}

/// The levers of a simulated world. Cheap to clone; every node may hold one.
#[derive(Clone)]
pub struct SimWorld(Arc<Core>);

struct Core {
    fabric: Arc<Fabric>,
    recorder: Arc<Recorder>,
    own_name: Arc<str>,
    scheduler: Option<Arc<Mutex<Scheduler>>>,
    turns: Arc<Turns>,
    nodes: Mutex<BTreeMap<String, Durable>>,
}

/// What of a node outlives its crash.
struct Durable {
    disk: Arc<Disk>,
    entropy: Arc<Mutex<Dice>>,
    /// Handle of the current or last life.
    env: Option<Env>,
}

impl SimWorld {
    /// Builds a paused single-threaded runtime, runs `body` on it to the end, then tears all nodes down and gives
    /// the output. Tasks that are still pending are dropped.
    ///
    /// # Panics
    /// When the world stalls, see [`SimWorld::try_run`]; or when `body` panics.
    pub fn run<T, F>(config: SimConfig, body: impl FnOnce(SimWorld) -> F) -> T
    where
        F: Future<Output = T>,
    {
        match SimWorld::try_run(config, body) {
            Ok(output) => output,
            Err(stalled) => panic!("{stalled}"),
        }
    }

    /// As [`SimWorld::run`], but a stall is a value.
    ///
    /// # Errors
    /// [`Stalled`] when `body` has not ended by virtual time [`HORIZON`], or after [`SimConfig::turns`] turns. A deadlocked
    /// world gets to its horizon at once, since its clock has nothing to stop at before.
    ///
    /// # Panics
    /// When called inside a runtime, or when `body` panics.
    pub fn try_run<T, F>(config: SimConfig, body: impl FnOnce(SimWorld) -> F) -> Result<T, Stalled>
    where
        F: Future<Output = T>,
    {
        // No I/O driver: a real socket cannot be opened in here by mistake.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O driver needs nothing of the system");
        let _context = runtime.enter();
        let world = SimWorld::new(config, runtime.handle().clone());
        let start = world.0.recorder.start();
        let outcome = runtime.block_on(async {
            let body = body(world.clone());
            tokio::select! {
                biased;
                output = body => Some(output),
                () = tokio::time::sleep_until(start + HORIZON) => None,
            }
        });
        let result = outcome.ok_or_else(|| Stalled {
            restless: world.0.turns.are_over(),
            horizon: HORIZON,
            waiting: world.waiting(),
        });
        world.tear_down();
        result
    }

    fn new(config: SimConfig, handle: tokio::runtime::Handle) -> SimWorld {
        let recorder = Arc::new(Recorder::new(config.trace, config.capture, config.tap, config.faults));
        let fabric = Arc::new(Fabric::new(config.seed, handle, recorder.clone(), &config.latency));
        let scheduler = Scheduler::new(config.schedule, config.seed).map(|s| Arc::new(Mutex::new(s)));
        SimWorld(Arc::new(Core {
            fabric,
            recorder,
            own_name: "world".into(),
            scheduler,
            turns: Arc::new(Turns::new(config.turns)),
            nodes: Mutex::default(),
        }))
    }

    fn waiting(&self) -> BTreeMap<String, usize> {
        let nodes = lock(&self.0.nodes);
        nodes
            .iter()
            .filter_map(|(name, node)| Some((name.clone(), node.env.as_ref()?.0.tasks.count())))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Darkens all hosts first, so that no Drop handler of one node reaches another one, then drops all tasks and
    /// disks.
    fn tear_down(&self) {
        let nodes = std::mem::take(&mut *lock(&self.0.nodes));
        for name in nodes.keys() {
            self.0.fabric.silence(name, true);
        }
        for node in nodes.values() {
            if let Some(env) = &node.env {
                env.0.tasks.kill_all();
            }
        }
        for node in nodes.values() {
            drop(node.disk.drain());
        }
    }

    fn note(&self, event: &str, detail: impl FnOnce() -> Value) {
        self.0.recorder.note(&self.0.own_name, "net", || {
            let mut line = json!({ "event": event });
            if let (Value::Object(line), Value::Object(more)) = (&mut line, detail()) {
                line.extend(more);
            }
            line
        });
    }

    /// The node called `name`. The first call makes it, with these addresses; a call after a crash restarts it
    /// with the same disk; on a running node it only adds addresses.
    ///
    /// A node without addresses reaches only itself, over loopback.
    ///
    /// # Panics
    /// When another node has one of the addresses.
    pub fn node(&self, name: &str, addrs: &[IpAddr]) -> Env {
        let shared: Arc<str> = name.into();
        self.0.fabric.power_on(&shared, addrs);
        let mut nodes = lock(&self.0.nodes);
        let durable = nodes.entry(name.to_owned()).or_insert_with(|| Durable {
            disk: Arc::new(Disk::new(None)),
            entropy: Arc::new(Mutex::new(dice(self.0.fabric.seed, name, "entropy"))),
            env: None,
        });
        if let Some(env) = durable.env.as_ref().filter(|env| !env.0.tasks.is_down()) {
            return env.clone();
        }
        let recorder = self.0.recorder.clone();
        let tasks = TaskSet::new(shared.clone(), self.0.fabric.handle.clone(), recorder.clone());
        let tasks = tasks.scheduled(self.0.scheduler.clone()).limited(self.0.turns.clone());
        let env = Env(Arc::new(EnvInner {
            name: shared.clone(),
            seed: self.0.fabric.seed,
            recorder,
            tasks: Arc::new(tasks),
            disk: durable.disk.clone(),
            make: Make::Sim {
                node: SimNode { fabric: self.0.fabric.clone(), name: shared },
                entropy: durable.entropy.clone(),
            },
        }));
        let old = durable.env.replace(env.clone());
        drop(nodes);
        drop(old);
        self.note("start", || json!({ "who": name }));
        env
    }

    /// Takes a node down: first its links fall silent or are closed, then its tasks are dropped, so that no Drop
    /// handler says good-bye. A task of the node itself may call this; it is dropped at its next yield point.
    /// A node that is unknown or already down is left as it is, except that [`Crash::PowerLoss`] always takes the
    /// power.
    pub fn crash(&self, node: &str, how: Crash) {
        let tasks = lock(&self.0.nodes).get(node).and_then(|n| n.env.as_ref()).map(|env| env.0.tasks.clone());
        let Some(tasks) = tasks else { return };
        self.note("crash", || json!({ "who": node, "how": format!("{how:?}") }));
        self.0.fabric.silence(node, how == Crash::PowerLoss);
        tasks.kill_all();
    }

    /// Makes the direction `from` -> `to` a black hole. What is on its way or sent later is parked; the sender
    /// gets `TimedOut` when it stays so for about 15 minutes.
    pub fn cut(&self, from: &str, to: &str) {
        self.note("cut", || json!({ "from": from, "to": to }));
        self.0.fabric.set_cut(from, to, true);
    }

    /// Undoes [`SimWorld::cut`]: parked segments arrive in order with the next retransmission, 200 ms, 600 ms,
    /// 1.4 s, ... after the first of them was sent.
    pub fn heal(&self, from: &str, to: &str) {
        self.note("heal", || json!({ "from": from, "to": to }));
        self.0.fabric.set_cut(from, to, false);
    }

    /// Cuts the path between two addresses, both directions; other paths of the same hosts go on.
    pub fn cut_addr(&self, a: IpAddr, b: IpAddr) {
        self.note("cut", || json!({ "from": a, "to": b, "both": true }));
        self.0.fabric.set_cut_addr(&[(a, b), (b, a)], true);
    }

    /// Undoes [`SimWorld::cut_addr`], [`SimWorld::cut_addr_one_way`], [`SimWorld::shape_addr`] and
    /// [`SimWorld::delay_addr`] between two addresses, both directions.
    pub fn heal_addr(&self, a: IpAddr, b: IpAddr) {
        self.note("heal", || json!({ "from": a, "to": b, "both": true }));
        self.0.fabric.heal_addrs(a, b);
    }

    /// Every segment from one address to another takes so many milliseconds longer.
    pub fn delay_addr(&self, from: IpAddr, to: IpAddr, ms: u64) {
        self.note("delay", || json!({ "from": from, "to": to, "ms": ms }));
        self.0.fabric.set_delay_addr(from, to, ms);
    }

    /// As [`SimWorld::half_open`], for the connections between two addresses; the first one's owner forgets.
    pub fn half_open_addr(&self, forgetful: IpAddr, other: IpAddr) -> usize {
        let conns = self.0.fabric.between_addrs(forgetful, other);
        self.note("half_open", || json!({ "who": forgetful, "other": other, "connections": conns.len() }));
        for conn in &conns {
            conn.forget(usize::from(conn.addrs[0].ip() != forgetful));
        }
        conns.len()
    }

    /// Cuts the direction `from` -> `to` between two addresses only: requests arrive and answers do not, or the
    /// other way round.
    pub fn cut_addr_one_way(&self, from: IpAddr, to: IpAddr) {
        self.note("cut", || json!({ "from": from, "to": to }));
        self.0.fabric.set_cut_addr(&[(from, to)], true);
    }

    /// Sets how the direction `from` -> `to` treats bytes, on connections that exist and later ones.
    pub fn shape(&self, from: &str, to: &str, shape: Shape) {
        self.note("shape", || json!({ "from": from, "to": to, "shape": format!("{shape:?}") }));
        self.0.fabric.set_shape(from, to, shape);
    }

    /// As [`SimWorld::shape`], for the direction between two addresses; it goes before what is set for nodes.
    pub fn shape_addr(&self, from: IpAddr, to: IpAddr, shape: Shape) {
        self.note("shape", || json!({ "from": from, "to": to, "shape": format!("{shape:?}") }));
        self.0.fabric.set_shape_addr(from, to, shape);
    }

    /// Resets every connection between two addresses, as [`SimWorld::reset`] does between nodes.
    pub fn reset_addr(&self, a: IpAddr, b: IpAddr) -> usize {
        let conns = self.0.fabric.between_addrs(a, b);
        self.note("reset", || json!({ "from": a, "to": b, "connections": conns.len() }));
        conns.iter().for_each(|conn| conn.reset());
        conns.len()
    }

    /// Undoes all cuts, shapes, and delays between addresses.
    pub fn heal_all(&self) {
        self.note("heal", || json!({ "all": true }));
        self.0.fabric.heal_all();
    }

    /// Resets every connection between two nodes: both ends see `ConnectionReset`, what was under way is lost.
    /// Gives how many there were.
    pub fn reset(&self, from: &str, to: &str) -> usize {
        let conns = self.0.fabric.between(from, to);
        self.note("reset", || json!({ "from": from, "to": to, "connections": conns.len() }));
        conns.iter().for_each(|(conn, _)| conn.reset());
        conns.len()
    }

    /// `forgetful` loses its side of every connection with `other`, without a word: its own streams fail with
    /// `ConnectionAborted`, `other` notices when it sends next and is reset. Gives how many there were.
    pub fn half_open(&self, forgetful: &str, other: &str) -> usize {
        let conns = self.0.fabric.between(forgetful, other);
        self.note("half_open", || json!({ "who": forgetful, "other": other, "connections": conns.len() }));
        conns.iter().for_each(|(conn, end)| conn.forget(*end));
        conns.len()
    }

    /// Sets the delay of all segments sent from now on, whole milliseconds, end excluded. Forgets what
    /// [`SimWorld::set_latency_between`] set.
    pub fn set_latency(&self, ms: Range<u64>) {
        self.note("latency", || json!({ "ms": [ms.start, ms.end] }));
        self.0.fabric.set_latency(&ms);
    }

    /// Sets the delay of one direction between two nodes.
    pub fn set_latency_between(&self, from: &str, to: &str, ms: Range<u64>) {
        self.note("latency", || json!({ "from": from, "to": to, "ms": [ms.start, ms.end] }));
        self.0.fabric.set_latency_between(from, to, &ms);
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        self.0.recorder.now()
    }

    /// The history so far.
    pub fn trace(&self) -> Vec<TraceLine> {
        self.0.recorder.trace()
    }

    /// The history since the last call; its lines are forgotten here.
    pub fn take_trace(&self) -> Vec<TraceLine> {
        self.0.recorder.take_trace()
    }

    /// How often each point was asked.
    pub fn points_hit(&self) -> BTreeMap<String, u64> {
        self.0.recorder.points_hit()
    }

    /// How often a fault fired at each point.
    pub fn faults_fired(&self) -> BTreeMap<String, u64> {
        by_point(self.firings())
    }

    /// How often each fault rule fired at each point.
    pub fn firings(&self) -> Firings {
        self.0.recorder.firings()
    }

    /// Adds a fault rule, which counts from now on; see [`FaultPlan::rule`]. Answers its number: those of the plan come first,
    /// from 0.
    pub fn add_fault(&self, point: impl Into<String>, nth: u64, fault: Fault) -> u64 {
        self.0.recorder.add_fault(point.into(), nth, fault)
    }

    /// Removes all fault rules.
    pub fn clear_faults(&self) {
        self.0.recorder.clear_faults();
    }

    /// The captured segments so far, in the order in which they were sent.
    pub fn capture(&self) -> Vec<Segment> {
        self.0.recorder.segments()
    }

    /// Segments that the capture did not keep because it was full.
    pub fn capture_dropped(&self) -> u64 {
        self.0.recorder.capture_dropped()
    }

    /// Tasks of a node that have not ended.
    pub fn pending_tasks(&self, node: &str) -> usize {
        lock(&self.0.nodes).get(node).and_then(|n| n.env.as_ref()).map_or(0, |env| env.0.tasks.count())
    }

    /// True when the node exists and has not crashed since its last start.
    pub fn is_up(&self, node: &str) -> bool {
        lock(&self.0.nodes).get(node).and_then(|n| n.env.as_ref()).is_some_and(|env| !env.0.tasks.is_down())
    }

    /// Names of the nodes whose tasks panicked, in order. A detached task panics in silence otherwise.
    pub fn panics(&self) -> Vec<String> {
        self.0.recorder.panics()
    }
}
