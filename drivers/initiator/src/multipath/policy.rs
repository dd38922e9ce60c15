//! Which path carries the next command: a pure value, fed by the checker and by the commands' fates.
//!
//! Paths of equal priority form a group, as with dm-multipath's `group_by_prio`. The best group carries all commands in
//! turn; a worse one only while the best has no usable path. When the best comes back, [`Failback`] says when the
//! load returns to it. Time is always handed in.

use std::time::Duration;

use super::alua::Access;

/// A path of the map; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathId(pub u32);

/// When commands return to a better group that is usable again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    /// At once.
    Immediate,
    /// After it has been usable for this long without a break.
    After(Duration),
    /// Only when the present group has no usable path left.
    Manual,
}

/// What happens to a command for which there is no usable path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPath {
    /// It fails at once (dm-multipath `no_path_retry fail`).
    Fail,
    /// It waits: `commands` of a map at most, each for `time` at most.
    Queue {
        /// Commands that may wait in one map.
        commands: usize,
        /// How long each may wait.
        time: Duration,
    },
}

/// What is known of a path besides its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not looked at since it appeared or came back: not used.
    Unchecked,
    /// The checker found it ready.
    Good,
    /// The checker found it broken; it may recover.
    Faulty,
    /// It shows fewer blocks than the map: not used until a rescan made them equal (D45).
    Short,
    /// It shows another volume, or none: never used again (MPX-008).
    Expelled,
}

/// One path as the policy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathState {
    /// Who it is.
    pub id: PathId,
    /// Its session is logged in.
    pub connected: bool,
    /// What the checker and the commands found.
    pub health: Health,
    /// ALUA state of its target port group; `None` without ALUA.
    pub access: Option<Access>,
    /// PREF bit of its target port group.
    pub preferred: bool,
    /// Since when it is transitioning.
    transition: Option<Duration>,
}

/// Whom to send the next command to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This path.
    Path(PathId),
    /// Nobody now, but a path is in transition: the answer is known by that time at the latest.
    Transition(Duration),
    /// Nobody.
    None,
}

/// Priority without ALUA and of active/optimized.
const OPTIMIZED: u8 = 50;

impl PathState {
    /// Priority of a usable path; `None`: not usable. The numbers are those of multipathd's ALUA prioritizer, except that PREF
    /// only orders non-optimized groups.
    pub fn priority(&self) -> Option<u8> {
        if !self.connected || self.health != Health::Good {
            return None;
        }
        match self.access {
            None | Some(Access::ActiveOptimized) => Some(OPTIMIZED),
            Some(Access::ActiveNonOptimized) => Some(if self.preferred { 20 } else { 10 }),
            Some(Access::LbaDependent) => Some(5),
            // Standby, unavailable and offline refuse media access; a transition answers 04h/0Ah.
            Some(_) => None,
        }
    }
}

/// The state machine of one map.
#[derive(Clone, Debug)]
pub struct Policy {
    failback: Failback,
    no_path: NoPath,
    transition_limit: Duration,
    paths: Vec<PathState>,
    /// Priority of the group in use.
    current: Option<u8>,
    /// Since when a better group than the current one is usable.
    better_since: Option<Duration>,
    /// The usable paths of the current group, by id.
    active: Vec<PathId>,
    turn: usize,
    failovers: u64,
}

impl Policy {
    /// A map without paths. `transition_limit` bounds how long a transitioning path is waited for.
    pub fn new(failback: Failback, no_path: NoPath, transition_limit: Duration) -> Self {
        Self {
            failback,
            no_path,
            transition_limit,
            paths: Vec::new(),
            current: None,
            better_since: None,
            active: Vec::new(),
            turn: 0,
            failovers: 0,
        }
    }

    /// Adds a path; one of that id is replaced. It is not used before it was [`checked`](Self::checked).
    pub fn add(&mut self, now: Duration, id: PathId, connected: bool) {
        self.paths.retain(|p| p.id != id);
        self.paths.push(PathState {
            id,
            connected,
            health: Health::Unchecked,
            access: None,
            preferred: false,
            transition: None,
        });
        self.paths.sort_by_key(|p| p.id);
        self.regroup(now);
    }

    /// Takes a path out.
    pub fn remove(&mut self, now: Duration, id: PathId) {
        self.paths.retain(|p| p.id != id);
        self.regroup(now);
    }

    /// All paths, by id.
    pub fn paths(&self) -> &[PathState] {
        &self.paths
    }

    /// One path.
    pub fn path(&self, id: PathId) -> Option<&PathState> {
        self.paths.iter().find(|p| p.id == id)
    }

    fn update(&mut self, now: Duration, id: PathId, change: impl FnOnce(&mut PathState)) {
        let Some(path) = self.paths.iter_mut().find(|p| p.id == id) else { return };
        let before = *path;
        change(path);
        if *path != before {
            self.regroup(now);
        }
    }

    /// The session of a path went down or came up. A path that came back must be checked before it is used: it may lead
    /// to another volume now.
    pub fn set_connected(&mut self, now: Duration, id: PathId, connected: bool) {
        self.update(now, id, |path| {
            if path.connected != connected {
                path.connected = connected;
                if path.health != Health::Expelled {
                    path.health = Health::Unchecked;
                }
            }
        });
    }

    /// What the checker found. An expelled path stays expelled.
    pub fn checked(&mut self, now: Duration, id: PathId, health: Health) {
        self.update(now, id, |path| {
            if path.health != Health::Expelled {
                path.health = health;
            }
        });
    }

    /// What REPORT TARGET PORT GROUPS said, or a refusal of a command. `None`: the unit has no ALUA.
    pub fn set_access(&mut self, now: Duration, id: PathId, access: Option<Access>, preferred: bool) {
        self.update(now, id, |path| {
            path.access = access;
            path.preferred = preferred;
            path.transition = match access {
                Some(Access::Transitioning) => path.transition.or(Some(now)),
                _ => None,
            };
        });
    }

    /// Paths that could carry a command now, whatever their group.
    pub fn usable(&self) -> usize {
        self.paths.iter().filter(|p| p.priority().is_some()).count()
    }

    /// Changes of the group in use because the former one had no path left.
    pub fn failovers(&self) -> u64 {
        self.failovers
    }

    /// Priority of the group in use.
    pub fn group(&self) -> Option<u8> {
        self.current
    }

    fn regroup(&mut self, now: Duration) {
        let best = self.paths.iter().filter_map(PathState::priority).max();
        let held = self.current.filter(|c| self.paths.iter().any(|p| p.priority() == Some(*c)));
        self.current = match (held, best) {
            (_, None) => {
                self.better_since = None;
                // The next group that appears is taken at once.
                None
            }
            (None, Some(best)) => {
                if self.current.is_some() {
                    self.failovers += 1;
                }
                self.better_since = None;
                Some(best)
            }
            (Some(held), Some(best)) if best <= held => {
                self.better_since = None;
                Some(held)
            }
            (Some(held), Some(best)) => {
                let since = *self.better_since.get_or_insert(now);
                let back = match self.failback {
                    Failback::Immediate => true,
                    Failback::After(time) => now >= since.saturating_add(time),
                    Failback::Manual => false,
                };
                if back {
                    self.better_since = None;
                    Some(best)
                } else {
                    Some(held)
                }
            }
        };
        let current = self.current;
        self.active.clear();
        self.active
            .extend(self.paths.iter().filter(|p| current.is_some() && p.priority() == current).map(|p| p.id));
    }

    /// Time passed: the load may return to a better group.
    pub fn tick(&mut self, now: Duration) {
        if self.better_since.is_some() {
            self.regroup(now);
        }
    }

    /// The path for the next command: round robin in the group in use.
    pub fn pick(&mut self, now: Duration) -> Pick {
        self.tick(now);
        if !self.active.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            if let Some(id) = self.active.get(self.turn % self.active.len()) {
                return Pick::Path(*id);
            }
        }
        let ends = self
            .paths
            .iter()
            .filter(|p| p.connected && p.health == Health::Good)
            .filter_map(|p| p.transition)
            .map(|since| since.saturating_add(self.transition_limit))
            .filter(|end| *end > now)
            .max();
        ends.map_or(Pick::None, Pick::Transition)
    }

    /// Until when a command that found no path at `since` may wait, when `waiting` others wait already. `None`: it fails now.
    pub fn may_wait(&self, since: Duration, waiting: usize, pick: Pick) -> Option<Duration> {
        match (self.no_path, pick) {
            (_, Pick::Path(_)) => Some(since),
            (NoPath::Queue { commands, time }, _) => (waiting < commands).then(|| since.saturating_add(time)),
            // A transition is no loss of paths; it has a bound of its own.
            (NoPath::Fail, Pick::Transition(end)) => Some(end),
            (NoPath::Fail, Pick::None) => None,
        }
    }

    /// When the value changes by itself: the load returns to a better group.
    pub fn next_timeout(&self) -> Option<Duration> {
        match (self.failback, self.better_since) {
            (Failback::After(time), Some(since)) => Some(since.saturating_add(time)),
            _ => None,
        }
    }

    /// A path is in transition, so the states are worth reading again soon.
    pub fn is_transitioning(&self) -> bool {
        self.paths.iter().any(|p| p.transition.is_some())
    }
}
