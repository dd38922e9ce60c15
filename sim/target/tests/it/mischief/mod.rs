//! Hostile initiators and one honest neighbour, over real streams: in the simulated world or on loopback, whichever the
//! [`Env`] is of. The neighbour writes and reads back all the time; whatever the others do, it must not notice.
#![allow(unreachable_pub, dead_code, reason = "the test and the example use different parts")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sanbench_wire::Pdu;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::{Decoded, Digests, FrameLimits, decode};
use sanbench_wire::keys;
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Width};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::sense::{Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_world::{Dice, Env, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::talker::{Choices, Phase, Talker, plain};

/// What is attacked, and for how long.
#[derive(Clone)]
pub struct Plan {
    /// Portal.
    pub portal: SocketAddr,
    /// Target name.
    pub target: String,
    /// Unit of the neighbour; nobody else touches it.
    pub neighbour: u16,
    /// Unit that the hostile ones abuse.
    pub victim: u16,
    /// Hostile connections at a time.
    pub hostiles: u32,
    /// When to stop, on the clock of the environment.
    pub until: Duration,
    /// Longest time that a command of the neighbour may take.
    pub bound: Duration,
    /// Time in which the target must end a connection that says nothing sensible.
    pub patience: Duration,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Verified writes and reads of the neighbour.
    pub verified: u64,
    /// Slowest command of the neighbour.
    pub slowest: Duration,
    /// Hostile conversations by kind.
    pub conversations: BTreeMap<&'static str, u64>,
    /// PDUs that hostile initiators sent.
    pub sent: u64,
    /// PDUs that the target answered them with.
    pub heard: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// What must not be.
    pub wrong: Vec<String>,
}

/// A report that all share.
pub type Shared = Arc<Mutex<Report>>;

/// Runs everything to its end; the neighbour logs out last.
pub async fn run(env: &Env, neighbour: &Env, plan: &Plan, report: &Shared) {
    let honest = neighbour.spawn(honest(neighbour.clone(), plan.clone(), Arc::clone(report)));
    let hostile: Vec<_> = (0..plan.hostiles)
        .map(|n| env.spawn(hostile(env.clone(), plan.clone(), n, Arc::clone(report))))
        .collect();
    for task in hostile {
        if task.await.is_err() {
            note(report, |r| r.wrong.push("a hostile task was lost".to_owned()));
        }
    }
    if honest.await.is_err() {
        note(report, |r| r.wrong.push("the neighbour was lost".to_owned()));
    }
}

/// Changes the report.
pub fn note<T>(report: &Shared, change: impl FnOnce(&mut Report) -> T) -> T {
    change(&mut report.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Bytes of a chosen pattern.
fn pattern(dice: &mut Dice, blocks: u32) -> Bytes {
    let mut seed = [0; 509];
    dice.fill(&mut seed);
    seed.iter().copied().cycle().take(blocks as usize * 512).collect::<Vec<u8>>().into()
}

// The honest neighbour -----------------------------------------------------------------------------------------------

struct Honest {
    stream: Stream,
    input: BytesMut,
    sn: u32,
}

impl Honest {
    async fn send(&mut self, pdu: impl Into<Pdu>) -> Result<(), String> {
        self.stream.write_all_buf(&mut plain([pdu.into()])).await.map_err(|e| e.to_string())
    }

    async fn next(&mut self) -> Result<Pdu, String> {
        let limits = FrameLimits { max_data_segment: 1 << 18, max_ahs: 0 };
        loop {
            match decode(&mut self.input, limits, Digests::default()).map_err(|e| e.to_string())? {
                Decoded::Pdu(raw) => return Pdu::parse(&raw).map_err(|e| e.to_string()),
                Decoded::NeedMore(_) => {}
            }
            if self.stream.read_buf(&mut self.input).await.map_err(|e| e.to_string())? == 0 {
                return Err("the target closed the connection".to_owned());
            }
        }
    }

    async fn log_in(env: &Env, plan: &Plan) -> Result<Honest, String> {
        let stream = env.connect(plan.portal).await.map_err(|e| e.to_string())?;
        let mut own = Honest { stream, input: BytesMut::new(), sn: 1 };
        let pairs = [
            ("InitiatorName", "iqn.2026-01.org.example:neighbour"),
            ("TargetName", &plan.target),
            ("InitialR2T", "Yes"),
            ("ImmediateData", "Yes"),
            ("MaxRecvDataSegmentLength", "65536"),
            ("FirstBurstLength", "8192"),
        ];
        let text = keys::encode(pairs).into();
        let stages = Stages { continues: false, current: Stage::Operational, next: Some(Stage::FullFeature) };
        let isid = [0x80, 0, 0, 0, 0, 0xee];
        own.send(LoginRequest {
            stages,
            version_max: 0,
            version_min: 0,
            isid,
            tsih: 0,
            itt: 0,
            cid: 0,
            cmd_sn: 1,
            exp_stat_sn: 0,
            text,
        })
        .await?;
        match own.next().await? {
            Pdu::LoginResponse(r) if r.status == LoginStatus::SUCCESS => Ok(own),
            other => Err(format!("login of the neighbour: {other:?}")),
        }
    }

    /// One command to its end: status, sense, data.
    async fn command(
        &mut self,
        lun: u16,
        cdb: Cdb,
        read: u32,
        data: Bytes,
    ) -> Result<(Status, Option<Sense>, Vec<u8>), String> {
        let itt = self.sn;
        self.sn = self.sn.wrapping_add(1);
        self.send(ScsiCommand {
            immediate: false,
            last: true,
            read: read > 0,
            write: !data.is_empty(),
            attribute: TaskAttribute::SIMPLE,
            lun: Lun::from_number(lun).ok_or("no such LUN")?,
            itt,
            expected_length: read.max(data.len() as u32),
            cmd_sn: itt,
            exp_stat_sn: 0,
            cdb: cdb.build().map_err(|e| e.to_string())?,
            ahs: Bytes::new(),
            data: data.slice(..data.len().min(8192)),
        })
        .await?;
        let mut received = Vec::new();
        loop {
            match self.next().await? {
                Pdu::DataIn(p) if p.itt == itt && p.offset as usize == received.len() => {
                    received.extend_from_slice(&p.data);
                    if let Some(status) = p.status {
                        return Ok((status.status, None, received));
                    }
                }
                Pdu::ScsiResponse(p) if p.itt == itt => {
                    return Ok((p.status, Sense::parse(&p.sense), received));
                }
                Pdu::R2t(r2t) if r2t.itt == itt => {
                    let part = data.get(r2t.offset as usize..(r2t.offset + r2t.length) as usize);
                    self.send(DataOut {
                        last: true,
                        lun: r2t.lun,
                        itt,
                        ttt: r2t.ttt,
                        exp_stat_sn: 0,
                        data_sn: 0,
                        offset: r2t.offset,
                        data: Bytes::copy_from_slice(part.ok_or("an R2T beyond the data")?),
                    })
                    .await?;
                }
                Pdu::NopIn(ping) => {
                    self.send(NopOut {
                        immediate: true,
                        lun: ping.lun,
                        itt: RESERVED_TAG,
                        ttt: ping.ttt,
                        cmd_sn: self.sn,
                        exp_stat_sn: 0,
                        data: Bytes::new(),
                    })
                    .await?;
                }
                other => return Err(format!("unexpected {other:?}")),
            }
        }
    }
}

async fn honest(env: Env, plan: Plan, report: Shared) {
    if let Err(why) = verify(&env, &plan, &report).await {
        note(&report, |r| r.wrong.push(format!("neighbour: {why}")));
    }
}

async fn verify(env: &Env, plan: &Plan, report: &Shared) -> Result<(), String> {
    let mut dice = env.rng("neighbour");
    let mut own = Honest::log_in(env, plan).await?;
    // The attention of power on comes once.
    let (status, sense, _) = own.command(plan.neighbour, Cdb::TestUnitReady, 0, Bytes::new()).await?;
    if status != Status::GOOD && sense.is_none_or(|s| s.key != SenseKey::UNIT_ATTENTION) {
        return Err(format!("the unit is not ready: {status:?} {sense:?}"));
    }
    while env.now() < plan.until {
        let blocks = 1 + dice.below(64) as u32;
        let lba = dice.below(1024 - u64::from(blocks));
        let data = pattern(&mut dice, blocks);
        let transfer = Transfer::new(Width::Ten, lba, blocks);
        for (cdb, read, out) in
            [(Cdb::Write(transfer), 0, data.clone()), (Cdb::Read(transfer), blocks * 512, Bytes::new())]
        {
            let begun = env.now();
            let limited = env.timeout(plan.bound, own.command(plan.neighbour, cdb, read, out)).await;
            let took = env.now() - begun;
            let (status, sense, received) =
                limited.map_err(|_| format!("no answer within {took:?} to {cdb:?}"))??;
            if status != Status::GOOD {
                return Err(format!("{cdb:?}: {status:?} {sense:?}"));
            }
            if read > 0 && received != data {
                return Err(format!("{cdb:?} read other data than was written"));
            }
            note(report, |r| {
                r.slowest = r.slowest.max(took);
                r.verified += 1;
            });
        }
        // A breath, so that the others have their chance on one processor and virtual time passes.
        env.sleep(Duration::from_millis(dice.below(4))).await;
    }
    Ok(())
}

// The hostile ones ---------------------------------------------------------------------------------------------------

/// Kinds of conversation, and how many of 64 are of each kind.
const KINDS: &[(&str, u64)] = &[
    ("talk", 28),
    ("talk without reading", 8),
    ("flood of pings", 4),
    ("flood of reads", 4),
    ("silence before login", 2),
    ("one byte at a time", 2),
    ("login without an end", 4),
    ("half a PDU, then silence", 2),
    ("garbage", 6),
    ("connect and leave", 4),
];

async fn hostile(env: Env, plan: Plan, number: u32, report: Shared) {
    let mut dice = env.rng(&format!("hostile {number}"));
    while env.now() < plan.until {
        let mut roll = dice.below(64);
        let kind = KINDS.iter().find(|(_, share)| {
            let hit = roll < *share;
            roll = roll.saturating_sub(*share);
            hit
        });
        let kind = kind.map_or("talk", |(name, _)| *name);
        let Ok(stream) = env.connect(plan.portal).await else {
            note(&report, |r| r.refused += 1);
            env.sleep(Duration::from_millis(100)).await;
            continue;
        };
        let name = format!("iqn.2026-01.org.example:hostile-{number}");
        let mut talker =
            Talker::new(&name, &plan.target, [0x80, 0, 0, 0, 0, dice.below(2) as u8], plan.victim);
        talker.spares = true;
        let mut one = Hostile { env: &env, plan: &plan, stream, talker, dice: &mut dice, sent: 0 };
        let verdict = one.converse(kind).await;
        let (sent, heard) = (one.sent, one.talker.heard);
        note(&report, |r| {
            *r.conversations.entry(kind).or_default() += 1;
            r.sent += sent;
            r.heard += heard;
            if let Err(why) = verdict {
                r.wrong.push(format!("{kind}: {why}"));
            }
        });
    }
}

struct Hostile<'a> {
    env: &'a Env,
    plan: &'a Plan,
    stream: Stream,
    talker: Talker,
    dice: &'a mut Dice,
    sent: u64,
}

impl Hostile<'_> {
    /// What the target did wrong, if anything.
    async fn converse(&mut self, kind: &str) -> Result<(), String> {
        match kind {
            "silence before login" => self.must_end().await,
            "one byte at a time" => {
                let login = self.talker.log_in(&mut Choices(&[0]));
                for byte in login {
                    if !self.write(&[byte]).await {
                        return Ok(());
                    }
                    if self.env.timeout(Duration::from_secs(1), self.read()).await.is_ok_and(|n| n == 0) {
                        return Ok(());
                    }
                }
                Err("a login at one byte a second was waited for".to_owned())
            }
            "login without an end" => {
                let text = Bytes::from(vec![b'a'; 8192]);
                let stages = Stages { continues: true, current: Stage::Operational, next: None };
                for _ in 0..256 {
                    let request = LoginRequest {
                        stages,
                        version_max: 0,
                        version_min: 0,
                        isid: [0; 6],
                        tsih: 0,
                        itt: 0,
                        cid: 0,
                        cmd_sn: 1,
                        exp_stat_sn: 0,
                        text: text.clone(),
                    };
                    self.sent += 1;
                    if !self.write(&plain([request.into()])).await || self.read().await == 0 {
                        return Ok(());
                    }
                }
                Err("two megabytes of login text were taken".to_owned())
            }
            "garbage" => {
                let mut noise = vec![0; 64 << self.dice.below(8)];
                self.dice.fill(&mut noise);
                // No Login Request by chance, which would be waited for.
                noise[0] = 0x01;
                self.write(&noise).await;
                if self.dice.chance(1, 4) { self.must_end().await } else { Ok(()) }
            }
            "connect and leave" => Ok(()),
            _ => self.after_login(kind).await,
        }
    }

    async fn after_login(&mut self, kind: &str) -> Result<(), String> {
        let choices = [self.dice.u64() as u8];
        let login = self.talker.log_in(&mut Choices(&choices));
        self.write(&login).await;
        while self.talker.phase == Phase::Login {
            if self.listen(self.plan.patience).await? == 0 {
                return Ok(());
            }
        }
        match kind {
            "half a PDU, then silence" => {
                let mut choices = vec![0; 64];
                self.dice.fill(&mut choices);
                let whole = self.talker.say(&mut Choices(&choices));
                self.write(&whole[..whole.len().min(20)]).await;
                self.must_end().await
            }
            "flood of pings" | "flood of reads" => {
                // Honest PDUs, as fast as they go; pings that are answered or reads of 20 KiB.
                let quiet = if kind == "flood of pings" {
                    [44, 0, 255, 9, 9, 9, 9, 9, 9]
                } else {
                    [0, 60, 1, 0, 40, 9, 0, 0, 0]
                };
                for _ in 0..self.dice.below(64) {
                    let mut batch = Vec::new();
                    for _ in 0..64 {
                        batch.extend_from_slice(&self.talker.say(&mut Choices(&quiet)));
                        self.sent += 1;
                    }
                    if !self.write(&batch).await || self.listen(Duration::from_millis(1)).await? == 0 {
                        return Ok(());
                    }
                }
                Ok(())
            }
            _ => self.talk(kind == "talk").await,
        }
    }

    async fn talk(&mut self, listens: bool) -> Result<(), String> {
        let length = self.dice.below(200);
        for _ in 0..length {
            let mut choices = [0; 192];
            self.dice.fill(&mut choices);
            // Rarely something bent: else the conversation would be over soon.
            let mut c = Choices(&choices);
            let said = self.talker.say(&mut c);
            self.sent += 1;
            if !self.write(&said).await {
                return Ok(());
            }
            if listens && self.dice.chance(1, 2) && self.listen(Duration::from_millis(2)).await? == 0 {
                return Ok(());
            }
        }
        if !listens {
            self.env.sleep(Duration::from_millis(self.dice.below(4000))).await;
        }
        Ok(())
    }

    /// False when the connection is gone, or the target takes nothing for a while.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        let limit = Duration::from_secs(2);
        matches!(self.env.timeout(limit, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Reads once; 0 at the end.
    async fn read(&mut self) -> usize {
        let mut room = BytesMut::with_capacity(4096);
        self.stream.read_buf(&mut room).await.unwrap_or(0)
    }

    /// Listens for at most `limit`: 0 when the connection ended, an error when the target does not speak iSCSI.
    async fn listen(&mut self, limit: Duration) -> Result<usize, String> {
        let mut room = BytesMut::with_capacity(65_536);
        match self.env.timeout(limit, self.stream.read_buf(&mut room)).await {
            Ok(Ok(0) | Err(_)) => Ok(0),
            Ok(Ok(_)) if !self.talker.hear(&room) => Err("the target does not speak iSCSI".to_owned()),
            Ok(Ok(count)) => Ok(count),
            Err(_) => Ok(1),
        }
    }

    /// The target must end this connection in time.
    async fn must_end(&mut self) -> Result<(), String> {
        let patience = self.plan.patience;
        let ended = self.env.timeout(patience, async { while self.read().await > 0 {} }).await;
        ended.map_err(|_| format!("the connection was still there after {patience:?}"))
    }
}
