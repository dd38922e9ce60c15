//! The soak itself: who works, who kills, and what is compared at the end.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::Client;
use super::manager::Manager;
use super::server::{PASSWORD, Server, USER};
use super::writer::Writer;

/// Longest time for which the server may be away.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long, how many, how often.
#[derive(Debug, Clone)]
pub struct Plan {
    pub server: PathBuf,
    /// Where the array lives; none is a temporary folder.
    pub data: Option<PathBuf>,
    pub seconds: u64,
    pub clients: u64,
    pub initiators: u64,
    /// Mean time between kills, in seconds.
    pub kill_every: u64,
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        let server = PathBuf::from("sanbench");
        Self { server, data: None, seconds: 15, clients: 20, initiators: 20, kill_every: 10, seed: 1 }
    }
}

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
}

/// What all workers share.
pub struct Shared {
    stops: AtomicBool,
    /// When the server was last seen to come up, in milliseconds since the start.
    up_since: AtomicU64,
    began: Instant,
    ids: Mutex<BTreeMap<String, String>>,
}

impl Shared {
    pub fn goes_on(&self) -> bool {
        !self.stops.load(Ordering::Relaxed)
    }

    /// The server is away; a pause. An error when it has been for too long.
    pub fn wait_a_moment(&self, error: &io::Error) -> Result<(), String> {
        let away =
            self.began.elapsed().saturating_sub(Duration::from_millis(self.up_since.load(Ordering::Relaxed)));
        if away > PATIENCE {
            return Err(format!("no way to the server: {error}"));
        }
        thread::sleep(Duration::from_millis(50));
        Ok(())
    }

    /// Every id is given once, whatever was deleted and whoever was killed meanwhile.
    pub fn new_id(&self, id: &str, name: &str) -> Result<(), String> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        match ids.insert(id.to_owned(), name.to_owned()) {
            Some(before) => Err(format!("id {id} was given to {before}, and now to {name}")),
            None => Ok(()),
        }
    }
}

/// Sums of the commits that the server tells in its metrics.
#[derive(Debug, Default)]
struct Commits(BTreeMap<&'static str, u64>);

impl Commits {
    fn add(&mut self, client: &mut Client) {
        // One that is away has nothing to tell.
        let Ok(text) = client.page("/metrics") else { return };
        for name in ["commits", "promises_kept", "pages_written", "commit_microseconds"] {
            let line = format!("sanbench_array_{name}_total ");
            let value =
                text.lines().find_map(|l| l.strip_prefix(&line)).and_then(|value| value.parse::<u64>().ok());
            *self.0.entry(name).or_default() += value.unwrap_or(0);
        }
    }
}

/// Runs a soak; answers a report, or what promise was broken.
pub fn run(plan: &Plan) -> Result<Value, String> {
    let temporary = tempfile::tempdir().map_err(|e| e.to_string())?;
    let data = plan.data.clone().unwrap_or_else(|| temporary.path().join("array"));
    let mut server = Server::start(&plan.server, &data, plan.initiators)?;
    let iqn = server.ready["target_iqn"].as_str().unwrap_or_default().to_owned();
    let client = || Client::new(server.rest, USER, PASSWORD);
    let mut managers: Vec<Manager> =
        (0..plan.clients).map(|n| Manager::new(n, client(), plan.seed)).collect();
    let mut writers = Vec::new();
    for n in 0..plan.initiators {
        writers.push(Writer::new(n, server.portal, &iqn, server.lun(n)?, plan.seed));
    }
    let mut watcher = client();
    let shared = Shared {
        stops: AtomicBool::new(false),
        up_since: AtomicU64::new(0),
        began: Instant::now(),
        ids: Mutex::default(),
    };
    let (mut kills, mut commits, mut dice) = (0_u64, Commits::default(), Dice::new(plan.seed));
    let mut longest_restart = Duration::ZERO;
    let broken = thread::scope(|scope| -> Result<(), String> {
        let shared = &shared;
        let mut workers = Vec::new();
        workers.extend(managers.iter_mut().map(|manager| scope.spawn(move || manager.run(shared))));
        workers.extend(writers.iter_mut().map(|writer| scope.spawn(move || writer.run(shared))));
        let end = Duration::from_secs(plan.seconds);
        let mut outcome = Ok(());
        while shared.began.elapsed() < end
            && outcome.is_ok()
            && !workers.iter().any(|worker| worker.is_finished())
        {
            let pause = Duration::from_millis(500 + dice.below(plan.kill_every * 2000));
            let wake = (shared.began.elapsed() + pause).min(end);
            while shared.began.elapsed() < wake && !workers.iter().any(|worker| worker.is_finished()) {
                thread::sleep(Duration::from_millis(20));
            }
            if shared.began.elapsed() < end {
                commits.add(&mut watcher);
                server.kill();
                kills += 1;
                let down = Instant::now();
                outcome = server.up();
                longest_restart = longest_restart.max(down.elapsed());
                shared.up_since.store(shared.began.elapsed().as_millis() as u64, Ordering::Relaxed);
            }
        }
        shared.stops.store(true, Ordering::Relaxed);
        let ends = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err("a worker panicked".to_owned())));
        ends.fold(outcome, |all, one| all.and(one))
    });
    broken?;
    commits.add(&mut watcher);
    // One more time through the disk, so that the end is what a restart gives.
    server.kill();
    server.up()?;
    shared.up_since.store(shared.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    let mut expected: BTreeMap<&str, u64> = BTreeMap::from([("lun", plan.initiators)]);
    for manager in &mut managers {
        for (kind, count) in manager.verify(&shared)? {
            *expected.entry(kind).or_default() += count;
        }
    }
    for writer in &mut writers {
        writer.verify(&shared)?;
    }
    let state = watcher.page("/_ctl/state").map_err(|e| e.to_string())?;
    let state: Value = serde_json::from_str(&state).map_err(|e| e.to_string())?;
    for (kind, count) in &expected {
        let found = state["counts"][kind].as_u64().unwrap_or(0);
        if found != *count {
            return Err(format!("{found} objects of the kind {kind} exist, the models know {count}"));
        }
    }
    let sum = |values: &mut dyn Iterator<Item = u64>| values.sum::<u64>();
    let (mutations, writes) =
        (sum(&mut managers.iter().map(|m| m.mutations)), sum(&mut writers.iter().map(|w| w.writes)));
    let fsyncs = commits.0.get("commits").copied().unwrap_or(0);
    Ok(json!({
        "seconds": plan.seconds,
        "clients": plan.clients,
        "initiators": plan.initiators,
        "kills": kills,
        "mutations": mutations,
        "management_reads": sum(&mut managers.iter().map(|m| m.reads)),
        "writes": writes,
        "reads": sum(&mut writers.iter().map(|w| w.reads)),
        "objects_at_the_end": expected,
        "ids_given": shared.ids.lock().unwrap_or_else(PoisonError::into_inner).len(),
        "longest_restart_ms": longest_restart.as_millis() as u64,
        "commits": commits.0,
        "promises_per_commit": commits.0.get("promises_kept").copied().unwrap_or(0) as f64 / fsyncs.max(1) as f64,
    }))
}
