//! Two arrays, the link between them, and the naive model beside them.

use std::collections::VecDeque;
use std::time::Duration;

use sanbench_array::pair::{
    Access, LinkError, Message, Mode, PairCommand, PairKind, PairState, Role, Ticket, Verdict,
};
use sanbench_array::{
    Array, ArrayConfig, Command, Defects, DeviceId, EXTENT_BLOCKS, IoError, Outcome, PoolConfig, Refusal,
};

use super::{Kind, Op};

/// Blocks of each LUN: three extents, the last one in part.
pub(super) const BLOCKS: u64 = 2 * EXTENT_BLOCKS + 40;
/// LUNs in the group.
pub(super) const LUNS: usize = 2;

/// Stamps of all blocks of all LUNs; 0 is a hole.
type State = Vec<u32>;

/// One write of a host to a HyperMetro LUN.
struct Tried {
    side: usize,
    stamp: u32,
    range: std::ops::Range<usize>,
    begun: u64,
    /// When it was acknowledged; a write that failed never was, and may still show.
    ended: Option<u64>,
    tickets: Vec<Ticket>,
    failed: bool,
}

pub(super) struct Bench {
    kind: PairKind,
    pub(super) arrays: [Array; 2],
    /// LUN ids by side.
    luns: [[u64; LUNS]; 2],
    pub(super) unit: u64,
    pub(super) pairs: [u64; LUNS],
    powered: [bool; 2],
    /// Messages under way, by sender, and whether the two ends are of one connection.
    under_way: [VecDeque<Message>; 2],
    joined: bool,
    now: Duration,
    step: u64,
    stamp: u32,
    // ---- replication
    /// States of the primary, and which side that is.
    history: Vec<State>,
    leader: usize,
    /// The secondary shows this state or a later one; none while it is not one of the history.
    least: Option<usize>,
    /// Writes by hosts of the primary: index of the state behind them, tickets.
    waiting: Vec<(usize, Vec<Ticket>)>,
    // ---- HyperMetro
    tried: Vec<Tried>,
    /// A side has acknowledged something alone since the halves were last equal.
    alone: [bool; 2],
}

fn stamped(stamp: u32, blocks: u64) -> Vec<u8> {
    let block: Vec<u8> = stamp.to_le_bytes().iter().copied().cycle().take(512).collect();
    block.repeat(blocks as usize)
}

fn remote_lun(from: &mut Array, to: &mut Array, now: Duration, lun: u64) -> sanbench_array::pair::RemoteLun {
    let ask = from.ask_remote(now, 0, lun).unwrap();
    while let Some(message) = from.poll_link(now, 0) {
        to.receive(now, 0, message).unwrap();
    }
    while let Some(message) = to.poll_link(now, 0) {
        from.receive(now, 0, message).unwrap();
    }
    from.remote_answer(ask).unwrap().unwrap()
}

impl Bench {
    pub(super) fn new(kind: Kind, defects: Defects, small: bool) -> Self {
        let array = |n: u16| {
            let mut array = Array::new(ArrayConfig {
                serial: format!("21003400a30d84{n:02x}"),
                // The second array may be too small for everything.
                pools: vec![PoolConfig::new("pool0", if small && n == 1 { 7 } else { 4096 } * EXTENT_BLOCKS)],
                copy_rate: 30,
                write_cache: n == 0,
                defects,
                ..ArrayConfig::default()
            });
            array.add_remote("other");
            array
        };
        let mut arrays = [array(0), array(1)];
        let now = Duration::ZERO;
        let mut create =
            |side: usize, command: Command| arrays[side].apply(now, command).unwrap().id().unwrap();
        let lun = |name: &str| Command::CreateLun {
            name: name.into(),
            description: String::new(),
            pool: 0,
            blocks: BLOCKS,
            thin: true,
        };
        // One LUN of the primary is a linked clone that has its content from its parent.
        let parent = create(0, lun("parent"));
        let other = create(0, lun("lun"));
        let theirs = [create(1, lun("a")), create(1, lun("b"))];
        arrays[0].write(now, DeviceId::Lun(parent), 100, &stamped(7, 60)).unwrap();
        let clone = Command::CloneLun {
            name: "clone".into(),
            source: DeviceId::Lun(parent),
            description: String::new(),
        };
        let clone = arrays[0].apply(now, clone).unwrap().id().unwrap();
        arrays[1].write(now, DeviceId::Lun(theirs[0]), 3, &stamped(8, 5)).unwrap();
        let mut bench = Self {
            kind: PairKind::Replication { mode: Mode::Sync },
            arrays,
            luns: [[clone, other], theirs],
            unit: 0,
            pairs: [0; LUNS],
            powered: [true; 2],
            under_way: Default::default(),
            joined: false,
            now,
            step: 0,
            stamp: 100,
            history: Vec::new(),
            leader: 0,
            least: None,
            waiting: Vec::new(),
            tried: Vec::new(),
            alone: [false; 2],
        };
        bench.set_up(kind);
        bench
    }

    pub(super) fn command(&mut self, side: usize, command: PairCommand) -> Result<Outcome, Refusal> {
        self.arrays[side].apply(self.now, Command::Pairs(command))
    }

    /// What a command is refused for is no matter of this test.
    fn ask(&mut self, side: usize, command: PairCommand) {
        if self.powered[side] {
            let _ = self.command(side, command);
        }
    }

    fn set_up(&mut self, kind: Kind) {
        self.connect();
        self.flow();
        self.kind = match kind {
            Kind::Metro => {
                let domain = PairCommand::CreateDomain {
                    name: "domain".into(),
                    description: String::new(),
                    remote: 0,
                };
                PairKind::Metro { domain: self.command(0, domain).unwrap().id().unwrap() }
            }
            Kind::Sync => PairKind::Replication { mode: Mode::Sync },
            Kind::Async => PairKind::Replication { mode: Mode::Async },
        };
        let interval = Duration::from_millis(700);
        let group = PairCommand::CreateGroup {
            name: "group".into(),
            description: String::new(),
            kind: self.kind,
            remote: 0,
            speed: 2,
            auto_recovery: kind != Kind::Sync,
            interval,
        };
        self.unit = self.command(0, group).unwrap().id().unwrap();
        for n in 0..LUNS {
            let (ours, theirs) = self.arrays.split_at_mut(1);
            let peer = remote_lun(&mut ours[0], &mut theirs[0], self.now, self.luns[1][n]);
            let create = PairCommand::Create {
                kind: self.kind,
                remote: 0,
                lun: self.luns[0][n],
                peer,
                speed: 2,
                auto_recovery: kind != Kind::Sync,
                interval,
                start: false,
            };
            self.pairs[n] = self.command(0, create).unwrap().id().unwrap();
            let join = PairCommand::Join { group: self.unit, pair: self.pairs[n] };
            self.command(0, join).unwrap();
        }
        self.flow();
        self.history.push(self.content(0));
        // Stamps of before, as writes that were acknowledged before everything else.
        for (at, stamp) in self.content(0).into_iter().enumerate() {
            self.tried.push(Tried {
                side: 0,
                stamp,
                range: at..at + 1,
                begun: 0,
                ended: Some(0),
                tickets: Vec::new(),
                failed: false,
            });
        }
        self.alone[0] = true;
    }

    fn connect(&mut self) {
        if self.powered != [true; 2] {
            return;
        }
        for side in 0..2 {
            self.arrays[side].link_up(self.now, 0).unwrap();
            self.under_way[side].clear();
        }
        self.joined = true;
    }

    fn pump(&mut self, side: usize, count: usize) {
        for _ in 0..count {
            match self.arrays[side].poll_link(self.now, 0) {
                Some(message) if self.joined && self.powered[side] => self.under_way[side].push_back(message),
                _ => break,
            }
        }
    }

    fn deliver(&mut self, side: usize, count: usize) -> Result<usize, String> {
        for n in 0..count {
            let Some(message) = self.under_way[side].pop_front() else { return Ok(n) };
            // An end that has given the connection up hears nothing on it any more.
            if !self.arrays[1 - side].link_is_up(0) || !self.powered[1 - side] {
                continue;
            }
            let told = format!("{message:?}");
            match self.arrays[1 - side].receive(self.now, 0, message) {
                Ok(()) => {}
                // It has just noticed how long it has heard nothing.
                Err(LinkError::NotConnected) => continue,
                Err(error) => return Err(format!("side {} does not understand {told}: {error}", 1 - side)),
            }
        }
        Ok(count)
    }

    /// Messages go to and fro for a while, as fast as they can.
    fn flow(&mut self) {
        for _ in 0..8 {
            self.now += Duration::from_millis(20);
            for side in [0, 1, 0, 1] {
                self.pump(side, 1_000);
                self.deliver(side, 1_000).unwrap();
            }
        }
    }

    pub(super) fn state(&self, side: usize) -> PairState {
        self.arrays[side].pair(self.pairs[0]).unwrap().state
    }

    pub(super) fn role(&self, side: usize) -> Role {
        self.arrays[side].pair(self.pairs[0]).unwrap().role
    }

    /// What a host would read, were it allowed to: the content of a LUN through a snapshot-free look of the test.
    fn content(&self, side: usize) -> State {
        let mut state = State::new();
        for lun in self.luns[side] {
            state.extend(
                self.arrays[side]
                    .peek(lun)
                    .chunks(512)
                    .map(|block| u32::from_le_bytes([block[0], block[1], block[2], block[3]])),
            );
        }
        state
    }

    fn is_metro(&self) -> bool {
        matches!(self.kind, PairKind::Metro { .. })
    }

    fn change(&mut self, side: usize, lun: usize, lba: u64, blocks: u64, stamp: u32) -> Result<(), String> {
        let (lba, blocks) = (lba.min(BLOCKS - 1), blocks.min(BLOCKS - lba.min(BLOCKS - 1)).max(1));
        if !self.powered[side] {
            return Ok(());
        }
        let device = DeviceId::Lun(self.luns[side][lun]);
        let array = &mut self.arrays[side];
        array.take_tickets();
        let done = match stamp {
            0 => array.unmap(self.now, device, lba, blocks),
            stamp => array.write(self.now, device, lba, &stamped(stamp, blocks)),
        };
        let tickets = array.take_tickets();
        let from = lun * BLOCKS as usize + lba as usize;
        let range = from..from + blocks as usize;
        if self.is_metro() {
            match done {
                Ok(()) => {
                    let begun = self.step;
                    self.tried.push(Tried { side, stamp, range, begun, ended: None, tickets, failed: false });
                    if self.state(side) != PairState::Normal {
                        self.alone[side] = true;
                    }
                }
                Err(IoError::Inaccessible | IoError::NoSpace) => {}
                Err(other) => return Err(format!("side {side}: a write ends with {other}")),
            }
            return Ok(());
        }
        match (done, self.role(side)) {
            (Ok(()), Role::Primary) if side == self.leader => {
                let mut next = self.history.last().cloned().unwrap();
                next[range].fill(stamp);
                self.history.push(next);
                self.waiting.push((self.history.len() - 1, tickets));
            }
            (Ok(()), _) => {
                let pair = self.arrays[side].pair(self.pairs[lun]).unwrap();
                let open = pair.access == Access::ReadWrite
                    && !matches!(pair.state, PairState::Normal | PairState::Syncing);
                if !open && pair.role == Role::Secondary {
                    return Err(format!("side {side}: a protected secondary was written"));
                }
                if side == self.leader {
                    // A primary that has given its role away, and may get it back with what was written meanwhile.
                    let mut next = self.history.last().cloned().unwrap();
                    next[range].fill(stamp);
                    self.history.push(next);
                } else {
                    // From now on it is not one of the primary's states.
                    self.least = None;
                }
            }
            (Err(IoError::ReadOnly), Role::Secondary) | (Err(IoError::NoSpace), _) => {}
            (Err(other), role) => return Err(format!("side {side}, {role:?}: a write ends with {other}")),
        }
        Ok(())
    }

    fn read(&mut self, side: usize, lun: usize) -> Result<(), String> {
        if !self.powered[side] {
            return Ok(());
        }
        let device = DeviceId::Lun(self.luns[side][lun]);
        let slices = match self.arrays[side].read(self.now, device, 0, BLOCKS as u32) {
            Ok(slices) => slices,
            Err(IoError::Inaccessible) if self.is_metro() => return Ok(()),
            Err(error) => return Err(format!("side {side}: a read ends with {error}")),
        };
        if !self.is_metro() {
            return Ok(());
        }
        let data = slices.concat();
        for (n, block) in data.chunks(512).enumerate() {
            let at = lun * BLOCKS as usize + n;
            let seen = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            self.legal(side, at, seen)?;
        }
        Ok(())
    }

    /// Whether a block may show this stamp now.
    fn legal(&self, side: usize, at: usize, seen: u32) -> Result<(), String> {
        let on = || self.tried.iter().filter(|tried| tried.range.contains(&at));
        // The latest begin of a write that was acknowledged.
        let newest = on().filter(|tried| tried.ended.is_some()).map(|tried| tried.begun).max().unwrap_or(0);
        let fits = |tried: &Tried| tried.stamp == seen && tried.ended.is_none_or(|ended| ended >= newest);
        match on().any(fits) {
            true => Ok(()),
            false => {
                let why = match on().find(|tried| tried.stamp == seen) {
                    Some(old) => format!("written at {} and overwritten at {newest}", old.begun),
                    None => "never written".to_owned(),
                };
                Err(format!("side {side}, block {at}: reads {seen}, which was {why}"))
            }
        }
    }

    /// Looks at what has been acknowledged.
    fn acknowledge(&mut self) {
        let step = self.step;
        let together = [0, 1].map(|side| self.state(side) == PairState::Normal);
        for tried in self.tried.iter_mut().filter(|tried| tried.ended.is_none() && !tried.failed) {
            if tried.tickets.iter().any(|ticket| matches!(ticket.verdict(), Some(Verdict::Failed(_)))) {
                tried.failed = true;
            } else if tried.tickets.iter().all(|ticket| ticket.verdict() == Some(Verdict::Done)) {
                tried.ended = Some(step);
                // Said to both, and acknowledged by one that has given the other up meanwhile.
                self.alone[tried.side] |= !together[tried.side];
            }
        }
        let mirrors = self.state(self.leader) == PairState::Normal && self.kind.is_synchronous();
        let mut reached = None;
        self.waiting.retain(|(index, tickets)| {
            let done = tickets.iter().all(|ticket| ticket.verdict().is_some());
            // Said while it followed, and acknowledged while it still does.
            if done && mirrors && !tickets.is_empty() {
                reached = reached.max(Some(*index));
            }
            !done
        });
        if let (Some(least), Some(reached)) = (self.least, reached) {
            self.least = Some(least.max(reached));
        }
    }

    /// What must hold at any time.
    fn check(&mut self) -> Result<(), String> {
        self.acknowledge();
        for side in (0..2).filter(|_| self.step.is_multiple_of(8)) {
            if let Some(fault) = self.arrays[side].audit().first() {
                return Err(format!("side {side}: {fault}"));
            }
        }
        let follower = 1 - self.leader;
        if self.is_metro() {
            if self.state(0) == PairState::Normal && self.state(1) == PairState::Normal {
                self.alone = [false; 2];
            }
            return Ok(());
        }
        if self.role(self.leader) != Role::Primary {
            // The roles have changed: what the new primary has is where history begins.
            if self.role(follower) == Role::Primary {
                self.leader = follower;
                self.history = vec![self.content(follower)];
                (self.least, self.waiting) = (None, Vec::new());
            }
            return Ok(());
        }
        if self.arrays[self.leader].pair(self.pairs[0]).is_some_and(|pair| pair.faulty) {
            return Ok(());
        }
        // Both ends say so: who has not heard yet that the roles were changed without it takes itself for a follower.
        let follows = self.state(self.leader) == PairState::Normal
            && self.state(follower) == PairState::Normal
            && self.role(follower) == Role::Secondary;
        let shown = self.content(follower);
        match self.least {
            Some(least) => match self.history[least..].iter().position(|state| *state == shown) {
                Some(further) => self.least = Some(least + further),
                None => return Err(self.strange(&shown, least)),
            },
            // A point has been shown, whichever it is.
            None if follows => match self.history.iter().rposition(|state| *state == shown) {
                Some(index) => self.least = Some(index),
                None => return Err(self.strange(&shown, 0)),
            },
            None => {}
        }
        Ok(())
    }

    fn strange(&self, shown: &State, least: usize) -> String {
        let older = self.history[..least].iter().any(|state| state == shown);
        let last = self.history.last().unwrap();
        let at = shown.iter().zip(last).position(|(a, b)| a != b);
        match older {
            true => "the secondary went back behind what was acknowledged".to_owned(),
            false => format!("the secondary shows a state that the primary never had (block {at:?})"),
        }
    }

    pub(super) fn settle(&mut self) -> Result<(), String> {
        if self.powered != [true; 2] {
            return Ok(());
        }
        for _ in 0..40 {
            // An end may notice only now how long it has heard nothing.
            if !self.joined || !self.arrays.iter().all(|array| array.link_is_up(0)) {
                self.connect();
            }
            self.drain(1)?;
        }
        if self.arrays.iter().any(|array| array.pair(self.pairs[0]).is_none_or(|pair| pair.faulty)) {
            return Ok(());
        }
        if self.state(0) != self.state(1) {
            return Err(format!("settled, and the ends say {:?} and {:?}", self.state(0), self.state(1)));
        }
        if self.role(0) == self.role(1) {
            return Err(format!("settled, and both ends are {:?}", self.role(0)));
        }
        if self.state(0) == PairState::Normal && self.content(0) != self.content(1) {
            return Err("settled and normal, and the halves differ".to_owned());
        }
        let hung = self.tried.iter().any(|tried| tried.ended.is_none() && !tried.failed);
        if hung || !self.waiting.is_empty() {
            return Err("settled, and a command still waits".to_owned());
        }
        Ok(())
    }

    pub(super) fn drain(&mut self, rounds: usize) -> Result<(), String> {
        for _ in 0..rounds {
            self.now += Duration::from_millis(100);
            for side in [0, 1, 0, 1] {
                self.pump(side, 10_000);
                self.deliver(side, 10_000)?;
            }
            self.step += 1;
            self.check()?;
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, op: &Op) -> Result<(), String> {
        self.step += 1;
        self.now += Duration::from_millis(1);
        let unit = self.unit;
        match *op {
            Op::Write { side, lun, lba, blocks } => {
                self.stamp += 1;
                self.change(side, lun, lba, blocks, self.stamp)?;
            }
            Op::Unmap { side, lun, lba, blocks } => self.change(side, lun, lba, blocks, 0)?,
            Op::Read { side, lun } => self.read(side, lun)?,
            Op::Pump { side, count } => self.pump(side, count),
            Op::Deliver { side, count } => {
                self.deliver(side, count)?;
            }
            Op::Settle => self.settle()?,
            Op::Lose { side } if self.powered[side] => self.arrays[side].link_down(self.now, 0),
            Op::Connect => self.connect(),
            Op::Tick { ms } => {
                self.now += Duration::from_millis(ms);
                (0..2)
                    .filter(|side| self.powered[*side])
                    .for_each(|side| self.arrays[side].advance(self.now));
            }
            Op::Sync { side } => self.ask(side, PairCommand::Sync { unit }),
            Op::Pause { side } => self.ask(side, PairCommand::Pause { unit }),
            Op::Switch { side } => self.ask(side, PairCommand::Switch { unit }),
            Op::Open { side, write } => {
                let access = if write { Access::ReadWrite } else { Access::ReadOnly };
                self.ask(side, PairCommand::SetAccess { unit, access });
            }
            Op::PowerOff { side } if self.powered[side] => {
                self.powered[side] = false;
                self.joined = false;
                let mut keep = |_| 0;
                self.arrays[side].power_loss(self.now, &mut keep);
            }
            Op::PowerOn { side, seed } if !self.powered[side] => {
                let mut dice = seed;
                let mut roll = |n: u64| {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (dice >> 33) % n
                };
                self.arrays[side].power_loss(self.now, &mut roll);
                self.powered[side] = true;
            }
            // Whoever forces a half knows that the other one is down, and that it has the newest data.
            Op::Force { side } if self.powered == [side == 0, side == 1] && !self.alone[1 - side] => {
                self.ask(side, PairCommand::Force { unit });
            }
            Op::Fail { side, controller } => self.arrays[side].fail_controller(self.now, controller).unwrap(),
            Op::Restore { side, controller } => {
                self.arrays[side].restore_controller(self.now, controller).unwrap();
            }
            _ => {}
        }
        self.check()
    }
}
