//! A small scripted target on wire types, for this crate's tests only. One task for each connection, commands one after the
//! other. It shares nothing with the simulated array: both are checked against the standard separately.

#![allow(dead_code, reason = "each test binary uses a part")]

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
    /// Data commands (READ and WRITE) that are swallowed without any answer.
    pub(crate) swallow: u32,
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
        self.fake.lock().logins += 1;
        let mut discovery = false;
        let mut own: Option<(u8, Vec<u8>)> = None;
        loop {
            let Pdu::LoginRequest(request) = self.pdu().await? else { return Err(gone()) };
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
                    status = LoginStatus::TARGET_MOVED_TEMPORARILY;
                    answer = vec![("TargetAddress".into(), to)];
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
                        } else if pairs.contains_key("CHAP_A") {
                            let challenge = vec![0x5a; 24];
                            answer.push(("CHAP_A".into(), hash.number().to_string()));
                            answer.push(("CHAP_I".into(), "77".into()));
                            answer.push(("CHAP_C".into(), keys::encode_base64(&challenge)));
                            own = Some((77, challenge));
                            next = None;
                        } else if let Some(proof) = pairs.get("CHAP_R") {
                            let (id, challenge) = own.clone().unwrap();
                            let right = hash.response(id, &auth.password, &challenge);
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
                Pdu::NopOut(_) => {}
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
        let data = if command.write { self.receive(&command).await? } else { Vec::new() };
        let cdb = Cdb::parse(&command.cdb);
        if matches!(cdb, Cdb::Read(_) | Cdb::Write(_)) {
            let mut array = self.fake.lock();
            if array.swallow > 0 {
                array.swallow -= 1;
                return Ok(());
            }
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

    fn execute(&self, lun: u16, cdb: Cdb, data: &[u8]) -> Result<Vec<u8>, (Status, Option<Sense>)> {
        let mut guard = self.fake.lock();
        let array = &mut *guard;
        let check = |key, asc| Err((Status::CHECK_CONDITION, Some(Sense::new(key, asc))));
        let visible = !array.hidden.contains(&(self.portal, lun));
        if let Cdb::Inquiry { evpd: false, .. } = cdb {
            let there = visible && array.luns.contains_key(&lun);
            let peripheral = if there { Peripheral::DISK } else { Peripheral::NONE };
            return Ok(StandardInquiry {
                peripheral,
                version: 6,
                hierarchical: false,
                tpgs: 0,
                third_party_copy: false,
                protect: false,
                command_queue: true,
                vendor: "FAKE".into(),
                product: "DISK".into(),
                revision: "1".into(),
                version_descriptors: vec![],
            }
            .build());
        }
        if !matches!(cdb, Cdb::Inquiry { .. } | Cdb::ReportLuns { .. })
            && let Some(sense) = array.attentions.pop_front()
        {
            return Err((Status::CHECK_CONDITION, Some(sense)));
        }
        let numbers: Vec<u16> = array.luns.keys().copied().collect();
        if matches!(cdb, Cdb::ReportLuns { .. }) {
            return Ok(luns::build(
                &numbers.iter().map(|n| Lun::from_number(*n).unwrap()).collect::<Vec<_>>(),
            ));
        }
        let Some(volume) = array.luns.get_mut(&lun).filter(|_| visible) else {
            return check(SenseKey::ILLEGAL_REQUEST, Asc::LOGICAL_UNIT_NOT_SUPPORTED);
        };
        if matches!(cdb, Cdb::Read(_) | Cdb::Write(_))
            && let Some(status) = array.statuses.pop_front()
        {
            return Err((status, None));
        }
        match cdb {
            Cdb::Inquiry { page, .. } => {
                let page = match page {
                    vpd::page::DEVICE_ID => Vpd::DeviceId(vec![
                        Designator {
                            association: Association::TargetPort,
                            protocol: Some(5),
                            id: Identifier::RelativePort(1),
                        },
                        Designator {
                            association: Association::LogicalUnit,
                            protocol: None,
                            id: Identifier::Naa(volume.wwn.0.to_vec()),
                        },
                    ]),
                    vpd::page::BLOCK_LIMITS => Vpd::BlockLimits(vpd::BlockLimits {
                        write_same_non_zero: false,
                        max_compare_and_write: 0,
                        optimal_granularity: 0,
                        max_transfer: 64,
                        optimal_transfer: 0,
                        max_prefetch: 0,
                        max_unmap_blocks: 100,
                        max_unmap_descriptors: 2,
                        unmap_granularity: 0,
                        unmap_alignment: None,
                        max_write_same: 0,
                    }),
                    vpd::page::PROVISIONING => Vpd::Provisioning(vpd::Provisioning {
                        threshold_exponent: 0,
                        unmap: true,
                        write_same_16: false,
                        write_same_10: false,
                        unmapped_reads_zero: true,
                        anchor: false,
                        kind: 2,
                    }),
                    _ => return check(SenseKey::ILLEGAL_REQUEST, Asc::INVALID_FIELD_IN_CDB),
                };
                Ok(page.build(Peripheral::DISK))
            }
            Cdb::TestUnitReady => Ok(vec![]),
            Cdb::ReadCapacity16 { .. } => Ok(Capacity16 {
                last_lba: volume.blocks - 1,
                block_length: 512,
                protection: false,
                protection_type: 0,
                physical_exponent: 0,
                thin: true,
                unmapped_reads_zero: true,
                lowest_aligned: 0,
            }
            .build()
            .to_vec()),
            Cdb::Read(t) => {
                assert!(t.blocks <= 64, "the block limits are obeyed");
                if t.lba + u64::from(t.blocks) > volume.blocks {
                    return check(SenseKey::ILLEGAL_REQUEST, Asc::LBA_OUT_OF_RANGE);
                }
                Ok((t.lba..t.lba + u64::from(t.blocks))
                    .flat_map(|lba| volume.data.get(&lba).cloned().unwrap_or_else(|| vec![0; 512]))
                    .collect())
            }
            Cdb::Write(t) => {
                if t.lba + u64::from(t.blocks) > volume.blocks {
                    return check(SenseKey::ILLEGAL_REQUEST, Asc::LBA_OUT_OF_RANGE);
                }
                for (lba, block) in (t.lba..).zip(data.chunks(512)) {
                    volume.data.insert(lba, block.to_vec());
                }
                Ok(vec![])
            }
            Cdb::SynchronizeCache { .. } => {
                array.flushes += 1;
                match array.flush_sense {
                    Some(sense) => Err((Status::CHECK_CONDITION, Some(sense))),
                    None => Ok(vec![]),
                }
            }
            Cdb::Unmap { .. } => {
                let ranges = unmap::parse(data).unwrap();
                assert!(ranges.len() <= 2 && ranges.iter().map(|r| r.blocks).sum::<u32>() <= 100);
                for range in ranges {
                    volume
                        .data
                        .retain(|lba, _| *lba < range.lba || *lba >= range.lba + u64::from(range.blocks));
                }
                Ok(vec![])
            }
            Cdb::GetLbaStatus { lba, .. } => {
                let mapped = volume.data.contains_key(&lba);
                let status = if mapped { LbaProvisioning::MAPPED } else { LbaProvisioning::DEALLOCATED };
                Ok(lba_status::build(&[LbaStatus { lba, blocks: 1, status }]))
            }
            other => panic!("unexpected {other:?}"),
        }
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
