//! A small scripted target on wire types, for this crate's tests only. One task for each connection, commands one after the
//! other. It shares nothing with the simulated array: both are checked against the standard separately.

#![allow(dead_code, reason = "each test binary uses a part")]

mod mischief;
mod unit;

pub(crate) use mischief::Mischief;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sanbench_api::{AccessMode, ChapAuth, ConnectionInfo, TargetPath, VolumeId, Wwn};
use sanbench_initiator::chap::{ChapHash, OwnChallenge};
use sanbench_initiator::{HostConfig, HostConnector};
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::{self, Decoded, FrameLimits};
use sanbench_wire::keys::{self, KeyLimits};
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::alua;
use sanbench_wire::scsi::capacity::Capacity16;
use sanbench_wire::scsi::cdb::Cdb;
use sanbench_wire::scsi::inquiry::{Peripheral, StandardInquiry};
use sanbench_wire::scsi::lba_status::{self, LbaStatus, Provisioning as LbaProvisioning};
use sanbench_wire::scsi::luns::{self, Lun};
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_wire::scsi::unmap;
use sanbench_wire::scsi::vpd::{self, Association, Designator, Identifier, Vpd};
use sanbench_wire::{Digests, Outbox};
use sanbench_world::{Env, SimWorld, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

pub(crate) const IQN: &str = "iqn.2026-01.example:array";
pub(crate) const HOST_IQN: &str = "iqn.2026-01.example:host";

pub(crate) struct Volume {
    pub(crate) wwn: Wwn,
    pub(crate) blocks: u64,
    pub(crate) data: BTreeMap<u64, Vec<u8>>,
}

#[derive(Default)]
pub(crate) struct Array {
    pub(crate) luns: BTreeMap<u16, Volume>,
    /// LUNs hidden behind one portal.
    pub(crate) hidden: Vec<(SocketAddr, u16)>,
    /// Sense to be given to the next commands that are not INQUIRY, REPORT LUNS or capacity.
    pub(crate) attentions: VecDeque<Sense>,
    /// Statuses to be given to the next data commands.
    pub(crate) statuses: VecDeque<Status>,
    /// All flushes fail with this.
    pub(crate) flush_sense: Option<Sense>,
    pub(crate) flushes: u32,
    /// Blocks that a volume has once its capacity has been read the next time.
    pub(crate) growth: Option<u64>,
    /// Data commands (READ and WRITE) that are swallowed without any answer.
    pub(crate) swallow: u32,
    /// No INQUIRY is answered.
    pub(crate) anonymous: bool,
    /// Aborts are answered as complete.
    pub(crate) abort_works: bool,
    pub(crate) aborts: u32,
    pub(crate) resets: u32,
    /// (initiator secret, target secret) of CHAP.
    pub(crate) chap: Option<(ChapAuth, ChapHash)>,
    /// Wrong proof in mutual CHAP.
    pub(crate) impostor: bool,
    pub(crate) answers: Vec<(&'static str, &'static str)>,
    pub(crate) refuse: VecDeque<LoginStatus>,
    pub(crate) redirect: Option<String>,
    pub(crate) logins: u32,
    pub(crate) logouts: u32,
    pub(crate) window: u32,
    /// Answers of pings are withheld.
    pub(crate) deaf: bool,
    /// Data-In segment size.
    pub(crate) data_in: usize,
    pub(crate) max_in_flight: u32,
    /// What the next READs and WRITEs meet.
    pub(crate) mischief: VecDeque<Mischief>,
    /// For each coming login: the request (from 0) at which the connection is closed without an answer.
    pub(crate) login_cuts: VecDeque<u32>,
    /// Connections that are closed right after their login.
    pub(crate) drop_after_login: u32,
    /// Two portals redirect to each other.
    pub(crate) circle: bool,
    /// The redirection is for good.
    pub(crate) moved_for_good: bool,
    /// Takes CHAP algorithm 7 for another one, like tgt; with 5 alone it is right.
    pub(crate) confused: bool,
    /// Portals of the logins seen.
    pub(crate) login_portals: Vec<SocketAddr>,
    /// The ISID of each login.
    pub(crate) login_isids: Vec<[u8; 6]>,
    /// ALUA: access state (four bits) by target port group; empty: the units have no ALUA.
    pub(crate) alua: BTreeMap<u16, u8>,
    /// Data commands executed, by portal.
    pub(crate) served: BTreeMap<SocketAddr, u32>,
    /// Identities that one portal shows in place of the right ones.
    pub(crate) strangers: BTreeMap<(SocketAddr, u16), Wwn>,
    /// Capacities that one portal shows in place of the right ones.
    pub(crate) short: BTreeMap<(SocketAddr, u16), u64>,
    /// UNMAP is not offered (LBPU is 0); how many came all the same.
    pub(crate) no_unmap: bool,
    pub(crate) unmaps: u32,
    sessions: BTreeMap<([u8; 6], u16), Arc<Notify>>,
}

#[derive(Clone)]
pub(crate) struct Fake(pub(crate) Arc<Mutex<Array>>);

impl Fake {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Array { window: 32, data_in: 4096, abort_works: true, ..Array::default() })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Array> {
        self.0.lock().unwrap()
    }

    /// Aborts, resets and logins seen.
    pub(crate) fn ladder(&self) -> (u32, u32, u32) {
        let array = self.lock();
        (array.aborts, array.resets, array.logins)
    }

    pub(crate) fn volume(&self, lun: u16, n: u8, blocks: u64) -> Wwn {
        let mut wwn = [0x11; 16];
        wwn[0] = 0x6f;
        wwn[15] = n;
        self.lock().luns.insert(lun, Volume { wwn: Wwn(wwn), blocks, data: BTreeMap::new() });
        Wwn(wwn)
    }

    /// Listens on an address of `env`; `tag` is the portal group.
    pub(crate) async fn serve(&self, env: &Env, on: SocketAddr, tag: u16) {
        let mut listener = env.listen(on).await.unwrap();
        let (fake, env2) = (self.clone(), env.clone());
        env.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                let (fake, env) = (fake.clone(), env2.clone());
                env2.spawn(async move {
                    let _ = Connection::run(fake, env, stream, on, tag).await;
                });
            }
        });
    }
}

struct Connection {
    fake: Fake,
    stream: Stream,
    input: BytesMut,
    out: Outbox,
    portal: SocketAddr,
    tag: u16,
    digests: Digests,
    stat_sn: u32,
    exp_cmd_sn: u32,
    initial_r2t: bool,
    first_burst: u32,
    max_burst: u32,
    peer_segment: usize,
    /// PDUs that came while a write waited for its data.
    stash: VecDeque<Pdu>,
}

type Io<T> = std::io::Result<T>;

fn gone() -> std::io::Error {
    std::io::ErrorKind::ConnectionAborted.into()
}

impl Connection {
    async fn run(fake: Fake, _env: Env, stream: Stream, portal: SocketAddr, tag: u16) -> Io<()> {
        let mut c = Self {
            fake,
            stream,
            input: BytesMut::new(),
            out: Outbox::new(),
            portal,
            tag,
            digests: Digests::default(),
            stat_sn: 7,
            exp_cmd_sn: 1,
            initial_r2t: true,
            first_burst: 65_536,
            max_burst: 262_144,
            peer_segment: 8192,
            stash: VecDeque::new(),
        };
        let (isid, discovery) = c.login().await?;
        {
            let mut array = c.fake.lock();
            if array.drop_after_login > 0 {
                array.drop_after_login -= 1;
                return Ok(());
            }
        }
        let kill = Arc::new(Notify::new());
        if !discovery && let Some(old) = c.fake.lock().sessions.insert((isid, tag), kill.clone()) {
            old.notify_one();
        }
        tokio::select! {
            biased;
            () = kill.notified() => Ok(()),
            r = c.full() => r,
        }
    }

    async fn pdu(&mut self) -> Io<Pdu> {
        loop {
            let limits = FrameLimits { max_data_segment: 1 << 20, max_ahs: 0 };
            match frame::decode(&mut self.input, limits, self.digests).map_err(|_| gone())? {
                Decoded::Pdu(raw) => {
                    assert!(raw.data_digest_ok, "the initiator's digests are right");
                    return Ok(Pdu::parse(&raw).unwrap());
                }
                Decoded::NeedMore(_) => {
                    if self.stream.read_buf(&mut self.input).await? == 0 {
                        return Err(gone());
                    }
                }
            }
        }
    }

    async fn send(&mut self, pdu: impl Into<Pdu>) -> Io<()> {
        pdu.into().push_to(&mut self.out, self.digests);
        self.stream.write_all_buf(&mut self.out).await
    }

    fn max_cmd_sn(&self) -> u32 {
        self.exp_cmd_sn.wrapping_add(self.fake.lock().window).wrapping_sub(1)
    }

    fn next_stat(&mut self) -> u32 {
        self.stat_sn += 1;
        self.stat_sn - 1
    }

    async fn login(&mut self) -> Io<([u8; 6], bool)> {
        let cut = {
            let mut array = self.fake.lock();
            array.logins += 1;
            array.login_portals.push(self.portal);
            array.login_cuts.pop_front()
        };
        let mut requests = 0;
        let mut list = String::new();
        let mut discovery = false;
        let mut own: Option<(u8, Vec<u8>)> = None;
        loop {
            let Pdu::LoginRequest(request) = self.pdu().await? else { return Err(gone()) };
            if cut == Some(requests) {
                return Err(gone());
            }
            if requests == 0 {
                self.fake.lock().login_isids.push(request.isid);
            }
            requests += 1;
            let pairs: BTreeMap<String, String> =
                keys::decode(&request.text, KeyLimits::RFC).unwrap().into_iter().collect();
            let mut answer: Vec<(String, String)> = Vec::new();
            let mut next = request.stages.next;
            let mut status = LoginStatus::SUCCESS;
            if pairs.get("SessionType").is_some_and(|t| t == "Discovery") {
                discovery = true;
            }
            if pairs.contains_key("InitiatorName") {
                answer.push(("TargetPortalGroupTag".into(), self.tag.to_string()));
                let mut array = self.fake.lock();
                if let Some(refused) = array.refuse.pop_front() {
                    status = refused;
                }
                if let Some(to) = array.redirect.clone().filter(|to| *to != self.portal.to_string()) {
                    status = if array.moved_for_good {
                        LoginStatus::TARGET_MOVED_PERMANENTLY
                    } else {
                        LoginStatus::TARGET_MOVED_TEMPORARILY
                    };
                    answer = vec![("TargetAddress".into(), to)];
                }
                if array.circle {
                    let to = if self.portal == at(A) { B } else { A };
                    status = LoginStatus::TARGET_MOVED_TEMPORARILY;
                    answer = vec![("TargetAddress".into(), to.into())];
                }
            }
            let chap = self.fake.lock().chap.clone();
            if request.stages.current == Stage::Security {
                match chap {
                    None => {
                        if pairs.contains_key("AuthMethod") {
                            answer.push(("AuthMethod".into(), "None".into()));
                        }
                    }
                    Some((auth, hash)) => {
                        if let Some(methods) = pairs.get("AuthMethod") {
                            if methods.contains("CHAP") {
                                answer.push(("AuthMethod".into(), "CHAP".into()));
                            } else {
                                status = LoginStatus::AUTHENTICATION_FAILURE;
                            }
                            next = None;
                        } else if let Some(offered) = pairs.get("CHAP_A") {
                            list = offered.clone();
                            let hash =
                                if self.fake.lock().confused && list == "5" { ChapHash::Md5 } else { hash };
                            let challenge = vec![0x5a; 24];
                            answer.push(("CHAP_A".into(), hash.number().to_string()));
                            answer.push(("CHAP_I".into(), "77".into()));
                            answer.push(("CHAP_C".into(), keys::encode_base64(&challenge)));
                            own = Some((77, challenge));
                            next = None;
                        } else if let Some(proof) = pairs.get("CHAP_R") {
                            let (id, challenge) = own.clone().unwrap();
                            let hash =
                                if self.fake.lock().confused && list == "5" { ChapHash::Md5 } else { hash };
                            let used =
                                if self.fake.lock().confused && list != "5" { ChapHash::Sha1 } else { hash };
                            let right = used.response(id, &auth.password, &challenge);
                            if keys::decode_binary(proof, 64).unwrap() != right
                                || pairs.get("CHAP_N") != Some(&auth.username)
                            {
                                status = LoginStatus::AUTHENTICATION_FAILURE;
                            }
                            if let (Some((name, secret)), Some(id)) = (&auth.target, pairs.get("CHAP_I")) {
                                let theirs = keys::decode_binary(&pairs["CHAP_C"], 1024).unwrap();
                                let mut proof = hash.response(id.parse().unwrap(), secret, &theirs);
                                if self.fake.lock().impostor {
                                    proof[0] ^= 1;
                                }
                                answer.push(("CHAP_N".into(), name.clone()));
                                answer.push(("CHAP_R".into(), keys::encode_hex(&proof)));
                            }
                        }
                    }
                }
            } else {
                let overrides: BTreeMap<&str, &str> = self.fake.lock().answers.iter().copied().collect();
                for (key, value) in &pairs {
                    let ours = overrides.get(key.as_str()).map_or_else(|| value.clone(), ToString::to_string);
                    let ours = ours.split(',').next().unwrap().to_owned();
                    match key.as_str() {
                        "HeaderDigest" => self.digests.header = ours == "CRC32C",
                        "DataDigest" => self.digests.data = ours == "CRC32C",
                        "InitialR2T" => self.initial_r2t = ours == "Yes",
                        "MaxBurstLength" => self.max_burst = ours.parse().unwrap(),
                        "FirstBurstLength" => self.first_burst = ours.parse().unwrap(),
                        "MaxRecvDataSegmentLength" => {
                            self.peer_segment = value.parse().unwrap();
                            let own = overrides.get(key.as_str()).copied().unwrap_or("65536");
                            answer.push((key.clone(), own.to_owned()));
                            continue;
                        }
                        _ => {}
                    }
                    answer.push((key.clone(), ours));
                }
            }
            let done = next == Some(Stage::FullFeature);
            let response = LoginResponse {
                stages: Stages { continues: false, current: request.stages.current, next },
                version_max: 0,
                version_active: 0,
                isid: request.isid,
                tsih: if done { 9 } else { 0 },
                itt: request.itt,
                stat_sn: self.next_stat(),
                exp_cmd_sn: request.cmd_sn,
                max_cmd_sn: request.cmd_sn + self.fake.lock().window - 1,
                status,
                text: keys::encode(answer).into(),
            };
            // Digests begin after the last login response.
            let digests = std::mem::take(&mut self.digests);
            self.send(response).await?;
            self.digests = digests;
            if status != LoginStatus::SUCCESS {
                return Err(gone());
            }
            if done {
                return Ok((request.isid, discovery));
            }
            if self.digests != Digests::default() {
                self.digests = digests;
            }
        }
    }

    async fn full(&mut self) -> Io<()> {
        loop {
            match self.next().await? {
                Pdu::ScsiCommand(command) => {
                    if !command.immediate {
                        assert_eq!(command.cmd_sn, self.exp_cmd_sn, "CmdSN runs without gaps");
                        self.exp_cmd_sn = self.exp_cmd_sn.wrapping_add(1);
                    }
                    self.command(command).await?;
                }
                Pdu::NopOut(p) if p.itt != RESERVED_TAG => {
                    if self.fake.lock().deaf {
                        continue;
                    }
                    let pong = NopIn {
                        lun: Lun::ZERO,
                        itt: p.itt,
                        ttt: RESERVED_TAG,
                        stat_sn: self.next_stat(),
                        exp_cmd_sn: self.exp_cmd_sn,
                        max_cmd_sn: self.max_cmd_sn(),
                        data: p.data,
                    };
                    self.send(pong).await?;
                }
                Pdu::NopOut(_) | Pdu::DataOut(_) => {}
                Pdu::TaskManagementRequest(p) => {
                    let response = {
                        let mut array = self.fake.lock();
                        match p.function {
                            TaskFunction::ABORT_TASK => array.aborts += 1,
                            _ => array.resets += 1,
                        }
                        if array.abort_works { TaskResponse::COMPLETE } else { TaskResponse::NOT_SUPPORTED }
                    };
                    let answer = TaskManagementResponse {
                        response,
                        itt: p.itt,
                        stat_sn: self.next_stat(),
                        exp_cmd_sn: self.exp_cmd_sn,
                        max_cmd_sn: self.max_cmd_sn(),
                    };
                    self.send(answer).await?;
                }
                Pdu::TextRequest(p) => {
                    let text = keys::encode([
                        ("TargetName".to_owned(), IQN.to_owned()),
                        ("TargetAddress".to_owned(), format!("{},{}", self.portal, self.tag)),
                    ]);
                    // In two pieces, to be continued by an empty request.
                    let half = text.len() / 2;
                    let (first, rest) = if p.ttt == RESERVED_TAG {
                        (text[..half].to_vec(), true)
                    } else {
                        (text[half..].to_vec(), false)
                    };
                    let answer = TextResponse {
                        last: !rest,
                        continues: rest,
                        lun: Lun::ZERO,
                        itt: p.itt,
                        ttt: if rest { 5 } else { RESERVED_TAG },
                        stat_sn: self.next_stat(),
                        exp_cmd_sn: self.exp_cmd_sn,
                        max_cmd_sn: self.max_cmd_sn(),
                        text: first.into(),
                    };
                    self.send(answer).await?;
                }
                Pdu::LogoutRequest(p) => {
                    self.fake.lock().logouts += 1;
                    let answer = LogoutResponse {
                        response: LogoutResponseCode::SUCCESS,
                        itt: p.itt,
                        stat_sn: self.next_stat(),
                        exp_cmd_sn: self.exp_cmd_sn,
                        max_cmd_sn: self.max_cmd_sn(),
                        time2wait: 0,
                        time2retain: 0,
                    };
                    self.send(answer).await?;
                    return Ok(());
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The next PDU that is no Data-Out, stashed ones first.
    async fn next(&mut self) -> Io<Pdu> {
        match self.stash.iter().position(|p| !matches!(p, Pdu::DataOut(_))) {
            Some(at) => Ok(self.stash.remove(at).unwrap()),
            None => self.pdu().await,
        }
    }

    /// The next Data-Out of a task; everything else is stashed.
    async fn data_out(&mut self, itt: u32) -> Io<DataOut> {
        let stashed = self.stash.iter().position(|p| matches!(p, Pdu::DataOut(d) if d.itt == itt));
        if let Some(Pdu::DataOut(found)) = stashed.and_then(|at| self.stash.remove(at)) {
            return Ok(found);
        }
        loop {
            match self.pdu().await? {
                Pdu::DataOut(found) if found.itt == itt => return Ok(found),
                other => self.stash.push_back(other),
            }
        }
    }

    async fn receive(&mut self, command: &ScsiCommand) -> Io<Vec<u8>> {
        let total = command.expected_length as usize;
        let mut data = command.data.to_vec();
        if !command.last {
            assert!(!self.initial_r2t, "unsolicited data against the negotiation");
            loop {
                let p = self.data_out(command.itt).await?;
                assert_eq!((p.ttt, p.itt, p.offset as usize), (RESERVED_TAG, command.itt, data.len()));
                data.extend_from_slice(&p.data);
                if p.last {
                    break;
                }
            }
        }
        assert!(data.len() <= self.first_burst as usize, "more unsolicited data than FirstBurstLength");
        let mut r2t_sn = 0;
        while data.len() < total {
            let length = (total - data.len()).min(self.max_burst as usize);
            let r2t = R2t {
                lun: command.lun,
                itt: command.itt,
                ttt: 40 + r2t_sn,
                stat_sn: self.stat_sn,
                exp_cmd_sn: self.exp_cmd_sn,
                max_cmd_sn: self.max_cmd_sn(),
                r2t_sn,
                offset: data.len() as u32,
                length: length as u32,
            };
            self.send(r2t).await?;
            let mut data_sn = 0;
            loop {
                let p = self.data_out(command.itt).await?;
                assert_eq!((p.ttt, p.offset as usize, p.data_sn), (40 + r2t_sn, data.len(), data_sn));
                assert!(p.data.len() <= 65_536);
                data.extend_from_slice(&p.data);
                data_sn += 1;
                if p.last {
                    break;
                }
            }
            r2t_sn += 1;
        }
        assert_eq!(data.len(), total);
        Ok(data)
    }

    async fn command(&mut self, command: ScsiCommand) -> Io<()> {
        if matches!(Cdb::parse(&command.cdb), Cdb::Read(_) | Cdb::Write(_)) {
            let how = self.fake.lock().mischief.pop_front();
            if let Some(how) = how
                && !self.misbehave(how, &command).await?
            {
                return Ok(());
            }
        }
        let data = if command.write { self.receive(&command).await? } else { Vec::new() };
        let cdb = Cdb::parse(&command.cdb);
        if matches!(cdb, Cdb::Read(_) | Cdb::Write(_)) {
            let mut array = self.fake.lock();
            if array.swallow > 0 {
                array.swallow -= 1;
                return Ok(());
            }
        }
        if matches!(cdb, Cdb::Inquiry { .. }) && self.fake.lock().anonymous {
            return Ok(());
        }
        let lun = command.lun.number().unwrap();
        let result = self.execute(lun, cdb, &data);
        match result {
            Ok(data) => {
                let wanted = data.len();
                let data: Vec<u8> = data.into_iter().take(command.expected_length as usize).collect();
                if command.read && !data.is_empty() {
                    let piece = self.fake.lock().data_in.min(self.peer_segment);
                    let pieces: Vec<&[u8]> = data.chunks(piece).collect();
                    let mut burst = 0;
                    for (sn, part) in pieces.iter().enumerate() {
                        let end = sn + 1 == pieces.len();
                        burst += part.len();
                        let next = pieces.get(sn + 1).map_or(0, |p| p.len());
                        let last = end || burst + next > self.max_burst as usize;
                        if last {
                            burst = 0;
                        }
                        let status = if end {
                            Some(DataInStatus {
                                status: Status::GOOD,
                                stat_sn: self.next_stat(),
                                residual: Residual::between(command.expected_length, wanted as u64),
                            })
                        } else {
                            None
                        };
                        let pdu = DataIn {
                            last,
                            acknowledge: false,
                            status,
                            lun: Lun::ZERO,
                            itt: command.itt,
                            ttt: RESERVED_TAG,
                            exp_cmd_sn: self.exp_cmd_sn,
                            max_cmd_sn: self.max_cmd_sn(),
                            data_sn: sn as u32,
                            offset: (sn * piece) as u32,
                            data: Bytes::copy_from_slice(part),
                        };
                        Pdu::from(pdu).push_to(&mut self.out, self.digests);
                    }
                    return self.stream.write_all_buf(&mut self.out).await;
                }
                self.respond(&command, Status::GOOD, None).await
            }
            Err((status, sense)) => self.respond(&command, status, sense).await,
        }
    }

    async fn respond(&mut self, command: &ScsiCommand, status: Status, sense: Option<Sense>) -> Io<()> {
        let response = ScsiResponse {
            response: ResponseCode::COMPLETED,
            status,
            residual: if command.read && status == Status::GOOD {
                Residual::between(command.expected_length, 0)
            } else {
                Residual::None
            },
            itt: command.itt,
            snack_tag: 0,
            stat_sn: self.next_stat(),
            exp_cmd_sn: self.exp_cmd_sn,
            max_cmd_sn: self.max_cmd_sn(),
            exp_data_sn: 0,
            sense: sense.map_or_else(Bytes::new, |s| Bytes::copy_from_slice(&s.build_fixed())),
            response_data: Bytes::new(),
        };
        self.send(response).await
    }
}

// ---- a world with a host and a target

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) const A: &str = "10.0.0.1:3260";
pub(crate) const B: &str = "10.0.1.1:3260";

pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) struct Site {
    pub(crate) world: SimWorld,
    pub(crate) fake: Fake,
    pub(crate) array: Env,
    pub(crate) host: Env,
}

impl Site {
    /// An array with portals A and B (`tags` are their portal groups) and a host.
    pub(crate) async fn new(world: SimWorld, tags: [u16; 2]) -> Self {
        let fake = Fake::new();
        let array = world.node("array", &[ip("10.0.0.1"), ip("10.0.1.1")]);
        fake.serve(&array, at(A), tags[0]).await;
        fake.serve(&array, at(B), tags[1]).await;
        let host = world.node("host", &[ip("10.0.0.9"), ip("10.0.1.9")]);
        Self { world, fake, array, host }
    }

    pub(crate) fn config(&self) -> HostConfig {
        HostConfig { multipath: true, ..HostConfig::new("host", HOST_IQN, ip("10.0.0.9")) }
    }

    pub(crate) fn connector(&self) -> HostConnector {
        HostConnector::new(self.host.clone(), self.config())
    }
}

pub(crate) fn info(portals: &[&str], lun: u16, wwn: Wwn) -> ConnectionInfo {
    ConnectionInfo {
        driver_volume_type: "iscsi".into(),
        volume_id: VolumeId::from_random([lun as u8; 16]),
        paths: portals.iter().map(|p| TargetPath { portal: at(p), iqn: IQN.into(), lun }).collect(),
        auth: None,
        wwn: Some(wwn),
        access_mode: AccessMode::ReadWrite,
        discard: true,
        multipath: portals.len() > 1,
        enforce_multipath: false,
    }
}

pub(crate) fn pattern(blocks: usize, n: u8) -> Bytes {
    (0..blocks * 512).map(|i| (i as u8).wrapping_mul(3).wrapping_add(n)).collect::<Vec<_>>().into()
}

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn challenge() -> OwnChallenge {
    OwnChallenge { id: 3, challenge: [9; 32] }
}
