//! The pump on the simulated network: real streams, real tasks, virtual time.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::bench::{Bench, HOST, OPERATIONAL, pattern};
use bytes::BytesMut;
use sanbench_array::{Command, DeviceId};
use sanbench_target::{Target, TargetConfig};
use sanbench_wire::Pdu;
use sanbench_wire::frame::{Decoded, Digests, FrameLimits, Outbox, decode};
use sanbench_wire::keys;
use sanbench_wire::pdu::*;
use sanbench_wire::scsi::cdb::{Cdb, Transfer, Width};
use sanbench_wire::scsi::luns::Lun;
use sanbench_wire::scsi::status::Status;
use sanbench_world::{Crash, Env, SimConfig, SimWorld, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORTAL: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 3260);

struct Client {
    stream: Stream,
    input: BytesMut,
    cmd_sn: u32,
}

impl Client {
    async fn connect(env: &Env) -> Client {
        Client { stream: env.connect(PORTAL).await.unwrap(), input: BytesMut::new(), cmd_sn: 1 }
    }

    async fn send(&mut self, pdus: impl IntoIterator<Item = Pdu>) {
        let mut out = Outbox::new();
        for pdu in pdus {
            pdu.push_to(&mut out, Digests::default());
        }
        self.stream.write_all_buf(&mut out).await.unwrap();
    }

    /// The next PDU, or `None` when the connection ended.
    async fn next(&mut self) -> Option<Pdu> {
        let limits = FrameLimits { max_data_segment: 1 << 20, max_ahs: 0 };
        loop {
            if let Decoded::Pdu(raw) = decode(&mut self.input, limits, Digests::default()).unwrap() {
                return Some(Pdu::parse(&raw).unwrap());
            }
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn log_in(&mut self, target: &str) {
        let mut pairs = vec![("InitiatorName", HOST), ("TargetName", target)];
        pairs.extend(OPERATIONAL);
        let request = LoginRequest {
            stages: Stages { continues: false, current: Stage::Operational, next: Some(Stage::FullFeature) },
            version_max: 0,
            version_min: 0,
            isid: [0x80, 0, 0, 0, 0, 1],
            tsih: 0,
            itt: 1,
            cid: 0,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: 0,
            text: keys::encode(pairs).into(),
        };
        self.send([request.into()]).await;
        let Some(Pdu::LoginResponse(response)) = self.next().await else { panic!("no answer") };
        assert_eq!(response.status, LoginStatus::SUCCESS);
    }

    fn command(&mut self, lun: u16, cdb: Cdb, read: u32, data: &[u8]) -> Pdu {
        self.cmd_sn += 1;
        ScsiCommand {
            immediate: false,
            last: true,
            read: read > 0,
            write: !data.is_empty(),
            attribute: TaskAttribute::SIMPLE,
            lun: Lun::from_number(lun).unwrap(),
            itt: self.cmd_sn,
            expected_length: read.max(data.len() as u32),
            cmd_sn: self.cmd_sn - 1,
            exp_stat_sn: 0,
            cdb: cdb.build().unwrap(),
            ahs: bytes::Bytes::new(),
            data: bytes::Bytes::copy_from_slice(data),
        }
        .into()
    }
}

fn world<T, F: Future<Output = T>>(
    config: TargetConfig,
    body: impl FnOnce(SimWorld, Target, Bench, u16) -> F,
) -> T {
    SimWorld::run(SimConfig { seed: 5, trace: true, ..SimConfig::default() }, |world| async move {
        let bench = Bench::new();
        let lun = bench.map(DeviceId::Lun(bench.lun("d", 4096)));
        let node = world.node("array", &[PORTAL.ip()]);
        let target = Target::new(bench.parts.array.clone(), config);
        let listener = node.listen(PORTAL).await.unwrap();
        target.spawn(&node, vec![listener]);
        body(world, target, bench, lun).await
    })
}

fn host(world: &SimWorld) -> Env {
    world.node("host", &["10.0.0.9".parse().unwrap()])
}

#[test]
fn a_session_over_the_network() {
    let trace = world(TargetConfig::default(), |world, target, bench, lun| async move {
        let env = host(&world);
        let mut client = Client::connect(&env).await;
        client.log_in(&bench.target()).await;
        assert_eq!((target.sessions(), target.connections()), (1, 1));
        // A batch of commands leaves together and is answered in order.
        let data = pattern(4, 1);
        let batch = [
            client.command(lun, Cdb::TestUnitReady, 0, &[]),
            client.command(lun, Cdb::Write(Transfer::new(Width::Ten, 0, 4)), 0, &data),
            client.command(lun, Cdb::Read(Transfer::new(Width::Ten, 0, 4)), 2048, &[]),
        ];
        client.send(batch).await;
        let Some(Pdu::ScsiResponse(attention)) = client.next().await else { panic!() };
        assert_eq!(attention.status, Status::CHECK_CONDITION);
        let Some(Pdu::ScsiResponse(written)) = client.next().await else { panic!() };
        assert_eq!(written.status, Status::GOOD);
        let Some(Pdu::DataIn(read)) = client.next().await else { panic!() };
        assert!(read.data == data && read.status.is_some());
        // Logout is answered, then the target closes.
        let logout = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CLOSE_SESSION,
            itt: 99,
            cid: 0,
            cmd_sn: client.cmd_sn,
            exp_stat_sn: 0,
        };
        client.send([logout.into()]).await;
        assert!(matches!(client.next().await, Some(Pdu::LogoutResponse(_))));
        assert!(client.next().await.is_none());
        env.sleep(Duration::from_millis(50)).await;
        assert_eq!((target.sessions(), target.connections()), (0, 0));
        world.trace()
    });
    let events: Vec<_> = trace
        .iter()
        .filter(|line| line.topic == "iscsi")
        .map(|line| line.detail["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(events, ["login", "unit_attention", "logout", "closed"]);
}

#[test]
fn silence_ends_a_login_and_a_dead_peer_ends_a_session() {
    world(TargetConfig::default(), |world, target, bench, _| async move {
        let config = TargetConfig::default();
        let env = host(&world);
        let mut silent = Client::connect(&env).await;
        let started = env.now();
        assert!(silent.next().await.is_none());
        assert!(env.now() - started >= config.login_timeout);
        let mut client = Client::connect(&env).await;
        client.log_in(&bench.target()).await;
        world.crash("host", Crash::PowerLoss);
        let observer = world.node("observer", &["10.0.0.8".parse().unwrap()]);
        observer.sleep(config.ping_interval + config.ping_timeout + Duration::from_secs(10)).await;
        assert_eq!((target.sessions(), target.connections()), (0, 0));
    });
}

#[test]
fn connections_are_bounded_and_owners_can_drop_sessions() {
    let config = TargetConfig { max_connections: 2, ..TargetConfig::default() };
    world(config, |world, target, bench, _| async move {
        let env = host(&world);
        let mut first = Client::connect(&env).await;
        first.log_in(&bench.target()).await;
        let _second = Client::connect(&env).await;
        let mut third = Client::connect(&env).await;
        assert!(third.next().await.is_none(), "over the limit");
        target.drop_sessions();
        assert!(first.next().await.is_none());
        env.sleep(Duration::from_millis(50)).await;
        assert_eq!((target.sessions(), target.connections()), (0, 1));
    });
}

fn parameters(pdu: Option<Pdu>) -> (AsyncEvent, [u16; 3]) {
    match pdu {
        Some(Pdu::AsyncMessage(m)) => (m.event, m.parameters),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_owner_can_ask_for_logout_and_drop_connections() {
    world(TargetConfig::default(), |world, target, bench, lun| async move {
        let env = host(&world);
        // Asked to go, and stays: told that the session is dropped, then dropped.
        let mut client = Client::connect(&env).await;
        client.log_in(&bench.target()).await;
        assert_eq!(target.request_logout(Some(([10, 9, 9, 9], 3260).into()), Duration::from_secs(5)), 0);
        assert_eq!(target.request_logout(Some(PORTAL), Duration::from_secs(5)), 1);
        assert_eq!(parameters(client.next().await), (AsyncEvent::LOGOUT_REQUESTED, [0, 0, 5]));
        let asked = env.now();
        assert_eq!(parameters(client.next().await), (AsyncEvent::SESSION_DROPPED, [0, 2, 20]));
        assert!(env.now() - asked >= Duration::from_secs(4));
        assert!(client.next().await.is_none());
        for (session, event) in [(false, AsyncEvent::CONNECTION_DROPPED), (true, AsyncEvent::SESSION_DROPPED)]
        {
            let mut client = Client::connect(&env).await;
            client.log_in(&bench.target()).await;
            assert_eq!(target.drop_connections(None, session), 1);
            assert_eq!(parameters(client.next().await).0, event);
            assert!(client.next().await.is_none());
        }
        let mut client = Client::connect(&env).await;
        client.log_in(&bench.target()).await;
        target.request_negotiation(None, Duration::from_secs(9));
        assert_eq!(parameters(client.next().await), (AsyncEvent::NEGOTIATION_REQUESTED, [0, 0, 9]));
        let device = bench.parts.array.lock().resolve(HOST, lun).unwrap();
        target.announce(device, sanbench_wire::scsi::sense::Asc::CAPACITY_DATA_HAS_CHANGED);
        let Some(Pdu::AsyncMessage(told)) = client.next().await else { panic!() };
        let sense = sanbench_wire::scsi::sense::Sense::parse(&told.data[2..]).unwrap();
        assert_eq!((told.event, told.lun.number()), (AsyncEvent::SCSI, Some(lun)));
        assert_eq!(sense.asc, sanbench_wire::scsi::sense::Asc::CAPACITY_DATA_HAS_CHANGED);
    });
}

#[test]
fn portals_go_down_and_move() {
    world(TargetConfig::default(), |world, target, bench, _| async move {
        let env = host(&world);
        let mut client = Client::connect(&env).await;
        client.log_in(&bench.target()).await;
        let controller = bench.parts.array.lock().portals()[0].controller;
        bench.parts.array.lock().fail_controller(env.now(), controller).unwrap();
        // Nobody sends anything: the watch ends the session.
        assert!(client.next().await.is_none());
        let mut refused = Client::connect(&env).await;
        let started = env.now();
        assert!(refused.next().await.is_none());
        assert!(env.now() - started < Duration::from_secs(1));
        bench.parts.array.lock().restore_controller(env.now(), controller).unwrap();
        let mut client = Client::connect(&env).await;
        client.log_in(&bench.target()).await;
        bench.parts.array.lock().power_loss(env.now(), &mut |_| 0);
        assert!(client.next().await.is_none());
        let to = ([10, 0, 0, 2], 3260).into();
        target.set_redirect(PORTAL, Some(sanbench_target::Redirect { to, permanent: false }));
        let mut client = Client::connect(&env).await;
        let pairs = [("InitiatorName", HOST), ("TargetName", &bench.target())];
        client.send([client_login(&pairs)]).await;
        let Some(Pdu::LoginResponse(moved)) = client.next().await else { panic!() };
        assert_eq!(moved.status, LoginStatus::TARGET_MOVED_TEMPORARILY);
        target.set_redirect(PORTAL, None);
        Client::connect(&env).await.log_in(&bench.target()).await;
    });
}

#[test]
fn a_disabled_portal_says_farewell_and_takes_nobody() {
    world(TargetConfig::default(), |world, _target, bench, _| async move {
        let env = host(&world);
        let mut client = Client::connect(&env).await;
        client.log_in(&bench.target()).await;
        let port = bench.parts.array.lock().portals()[0].id;
        bench.apply(Command::SetPortEnabled { port, enabled: false });
        // Nobody sends anything: the watch ends the session, and says so first.
        let (event, _) = parameters(client.next().await);
        assert_eq!(event, AsyncEvent::SESSION_DROPPED);
        assert!(client.next().await.is_none());
        assert!(Client::connect(&env).await.next().await.is_none(), "no login on a disabled portal");
        bench.apply(Command::SetPortEnabled { port, enabled: true });
        let mut client = Client::connect(&env).await;
        client.log_in(&bench.target()).await;
        // Whoever sends a command before the watch comes round hears the same.
        bench.apply(Command::SetPortEnabled { port, enabled: false });
        let command = client.command(0, Cdb::TestUnitReady, 0, &[]);
        client.send([command]).await;
        let (event, _) = parameters(client.next().await);
        assert_eq!(event, AsyncEvent::SESSION_DROPPED);
        assert!(client.next().await.is_none());
    });
}

fn client_login(pairs: &[(&str, &str)]) -> Pdu {
    LoginRequest {
        stages: Stages { continues: false, current: Stage::Operational, next: Some(Stage::FullFeature) },
        version_max: 0,
        version_min: 0,
        isid: [0x80, 0, 0, 0, 0, 2],
        tsih: 0,
        itt: 1,
        cid: 0,
        cmd_sn: 1,
        exp_stat_sn: 0,
        text: keys::encode(pairs.iter().copied()).into(),
    }
    .into()
}

/// A peer that takes nothing holds nobody up, and is dropped when its time is over.
#[test]
fn a_stalled_reader_is_dropped_and_holds_nobody_up() {
    let config = TargetConfig { stall_timeout: Duration::from_secs(20), ..TargetConfig::default() };
    world(config, |world, target, bench, lun| async move {
        let env = host(&world);
        let mut stalled = Client::connect(&env).await;
        stalled.log_in(&bench.target()).await;
        // Megabytes of answers that nobody reads.
        let reads: Vec<Pdu> = (0..40)
            .map(|_| stalled.command(lun, Cdb::Read(Transfer::new(Width::Ten, 0, 1024)), 512 * 1024, &[]))
            .collect();
        stalled.send(reads).await;
        let other_host = world.node("other", &["10.0.0.8".parse().unwrap()]);
        let mut other = Client::connect(&other_host).await;
        let pairs = [("InitiatorName", HOST), ("TargetName", &bench.target())];
        other.send([client_login(&pairs)]).await;
        assert!(matches!(other.next().await, Some(Pdu::LoginResponse(_))));
        let started = env.now();
        let ask = other.command(lun, Cdb::TestUnitReady, 0, &[]);
        other.send([ask]).await;
        other.cmd_sn = 1;
        env.sleep(Duration::from_secs(10)).await;
        assert_eq!(target.sessions(), 2);
        env.sleep(Duration::from_secs(15)).await;
        assert_eq!(target.sessions(), 1, "dropped {:?} after it stopped reading", env.now() - started);
    });
}

#[test]
fn logins_cannot_take_every_place() {
    let config = TargetConfig { max_logins: 2, max_connections: 10, ..TargetConfig::default() };
    world(config, |world, target, bench, _| async move {
        let env = host(&world);
        let mut first = Client::connect(&env).await;
        first.log_in(&bench.target()).await;
        let _idle = (Client::connect(&env).await, Client::connect(&env).await);
        let mut third = Client::connect(&env).await;
        assert!(third.next().await.is_none());
        // Their time is over; others may try.
        env.sleep(TargetConfig::default().login_timeout + Duration::from_secs(6)).await;
        assert_eq!((target.sessions(), target.connections()), (1, 1));
        let mut again = Client::connect(&env).await;
        again.send([client_login(&[("InitiatorName", HOST), ("TargetName", &bench.target())])]).await;
        assert!(matches!(again.next().await, Some(Pdu::LoginResponse(_))));
    });
}
