//! A session over simulated streams against a target that breaks the protocol in every way that the fake knows: what each one
//! costs, and that the session comes back.

use std::sync::Arc;
use std::time::Duration;

use crate::fake::*;
use bytes::Bytes;
use sanbench_api::{BlockDevice, BlockError, ChapAuth, Secret};
use sanbench_initiator::chap::ChapHash;
use sanbench_initiator::device::{PathDevice, PathFault};
use sanbench_initiator::disk::Disk;
use sanbench_initiator::portal::PortalSession;
use sanbench_initiator::{HostConfig, LoginError, SessionConfig};
use sanbench_wire::pdu::{AsyncEvent, LoginStatus, RejectReason};
use sanbench_wire::scsi::sense::{Asc, Sense, SenseKey};
use sanbench_wire::scsi::status::Status;
use sanbench_world::{SimConfig, SimWorld};

struct Bed {
    site: Site,
    config: Arc<HostConfig>,
    session: PortalSession,
    path: Arc<PathDevice>,
    disk: Disk<PathDevice>,
}

fn small() -> SessionConfig {
    // Bursts so small that eight blocks need R2Ts and several sequences.
    SessionConfig { first_burst: 512, max_burst: 2048, ..SessionConfig::default() }
}

async fn bed(world: SimWorld, session: SessionConfig) -> Bed {
    let site = Site::new(world, [1, 2]).await;
    let wwn = site.fake.volume(1, 1, 4096);
    let config = Arc::new(HostConfig { session, ..site.config() });
    let session = PortalSession::establish(&site.host, &config, at(A), IQN, None).await.unwrap();
    let path = Arc::new(PathDevice::probe(&site.host, &config, &session, 1).await.unwrap().unwrap());
    assert_eq!(path.facts().wwn, Some(wwn));
    let disk = Disk::new(path.clone(), false);
    Bed { site, config, session, path, disk }
}

fn sim<T, F: Future<Output = T>>(body: impl FnOnce(SimWorld) -> F) -> T {
    SimWorld::run(SimConfig { seed: 1, trace: true, ..SimConfig::default() }, body)
}

/// Why connections were lost, in order.
fn losses(world: &SimWorld) -> Vec<String> {
    world
        .trace()
        .iter()
        .filter(|l| l.detail["what"] == "path-loss")
        .map(|l| l.detail["why"].as_str().unwrap().to_owned())
        .collect()
}

fn told(event: AsyncEvent, parameters: [u16; 3]) -> Mischief {
    Mischief::Announce(event, parameters, Vec::new())
}

fn sense_data(sense: &Sense) -> Vec<u8> {
    [&[0, 18][..], &sense.build_fixed()].concat()
}

/// Each kind of broken rule: the command's end, the connection's end, and that the next command works.
#[test]
fn what_each_broken_rule_costs() {
    use Mischief::*;
    let both = [
        StatSnJump,
        WrongTag,
        WrongDirection,
        NoSense,
        TargetFailure,
        Opcode(0x3e),
        Opcode(0x01),
        Opcode(0x23),
        Huge,
        Ahs,
        Garbage,
        Reject(RejectReason::PROTOCOL_ERROR),
        Reject(RejectReason::NOT_SUPPORTED),
        Reject(RejectReason::WAITING_FOR_LOGOUT),
        RejectNothing,
        Unasked(0x22),
        Unasked(0x24),
        Unasked(0x26),
        told(AsyncEvent::LOGOUT_REQUESTED, [0, 0, 10]),
        told(AsyncEvent::CONNECTION_DROPPED, [0, 4, 0]),
        told(AsyncEvent::CONNECTION_DROPPED, [9, 4, 0]),
        told(AsyncEvent::SESSION_DROPPED, [0, 3, 0]),
        told(AsyncEvent::NEGOTIATION_REQUESTED, [0, 0, 5]),
        told(AsyncEvent::TASKS_TERMINATED, [0, 0, 0]),
        told(AsyncEvent::VENDOR, [1, 2, 3]),
        told(AsyncEvent(77), [1, 2, 3]),
        PingWithData,
        PingFlood,
        OldNumbers,
        Close,
        CloseInside,
    ];
    let reads = [Twice, DataSnGap, DataTwice, DataHole, DataBeyond, CheckInData, ShortGood, LongSequence];
    let writes = [R2tBeyond, R2tAgain, R2tEmpty, R2tReserved, R2tLun, R2tCrumbs, GreedyGood, WriteResidual];
    let cases = both
        .iter()
        .flat_map(|m| [(m.clone(), false), (m.clone(), true)])
        .chain(reads.into_iter().map(|m| (m, false)))
        .chain(writes.into_iter().map(|m| (m, true)));
    let mut lines = Vec::new();
    for (how, write) in cases {
        let name = format!("{} {how:?}", if write { "write" } else { "read" });
        let line = sim(|world| async move {
            let bed = bed(world.clone(), small()).await;
            let before = pattern(8, 1);
            bed.disk.write(0, before.clone()).await.unwrap();
            bed.site.fake.lock().mischief.push_back(how);
            let start = bed.site.host.now();
            let end = if write {
                bed.disk.write(0, pattern(8, 2)).await
            } else {
                bed.disk.read(0, 8).await.map(|data| assert!(data.len() == 4096))
            };
            let took = (bed.site.host.now() - start).as_secs();
            // Whatever it was: the path works again, and holds one of the two.
            let now = bed.disk.read(0, 8).await.unwrap();
            let new = now == pattern(8, 2);
            assert!(new || now == before);
            assert!(!write || end.is_err() || new, "an acknowledged write is there");
            let end = match end {
                Ok(()) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            let lost = losses(&world);
            let tolerated: Vec<_> = match bed.session.up() {
                Some((link, _)) if lost.is_empty() => {
                    link.tolerated().iter().map(|(t, n)| format!("{t:?} x{n}")).collect()
                }
                _ => Vec::new(),
            };
            format!("{end} after {took} s; lost {lost:?}; tolerated {tolerated:?}")
        });
        lines.push(format!("{name}\n    {line}"));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn news_of_a_unit_are_sorted() {
    sim(|world| async move {
        let bed = bed(world, SessionConfig::default()).await;
        let news = |key, asc| Sense::new(key, Asc(asc));
        for asc in [0x2900, 0x2907, 0x2a01, 0x2a03, 0x2a06, 0x2a09, 0x3f0e, 0x3807, 0x2f00, 0x5e00] {
            bed.site.fake.lock().attentions.push_back(news(SenseKey::UNIT_ATTENTION, asc));
        }
        let mut watch = bed.path.watch_signals();
        let inventory = bed.session.inventory();
        bed.disk.read(0, 1).await.unwrap();
        assert!(watch.has_changed().unwrap() && bed.path.capacity_changed());
        assert!(bed.session.inventory() > inventory);
        let seen = *watch.borrow_and_update();
        insta::assert_debug_snapshot!(seen);
        // A SCSI asynchronous event counts like a unit attention (RFC 7143 section 11.9.4).
        let data = sense_data(&news(SenseKey::UNIT_ATTENTION, 0x2a09));
        bed.site.fake.lock().mischief.push_back(Mischief::Announce(AsyncEvent::SCSI, [0; 3], data));
        bed.disk.read(0, 1).await.unwrap();
        assert_eq!(bed.path.signals().capacity, seen.capacity + 1);
        assert_eq!(bed.session.counters().announcements, 1);
        let counts = bed.path.counters();
        assert!(counts.attentions == 10 && counts.errors == 0 && counts.lost == 0, "{counts:?}");
        // Without end they are cut off.
        for _ in 0..100 {
            bed.site.fake.lock().attentions.push_back(news(SenseKey::UNIT_ATTENTION, 0x2a01));
        }
        assert!(matches!(bed.disk.read(0, 1).await, Err(BlockError::Protocol { .. })));
    });
}

#[test]
fn refusals_follow_the_table() {
    sim(|world| async move {
        let bed = bed(world, SessionConfig::default()).await;
        let queue = |key, asc, times: usize| {
            let mut array = bed.site.fake.lock();
            array.attentions.clear();
            array.attentions.extend(std::iter::repeat_n(Sense::new(key, Asc(asc)), times));
        };
        // What passes is waited for, also the transition, as there is no other path.
        for asc in [0x0401, 0x040a] {
            queue(SenseKey::NOT_READY, asc, 5);
            bed.disk.read(0, 1).await.unwrap();
        }
        queue(SenseKey::ABORTED_COMMAND, 0x4705, 3);
        bed.disk.write(0, pattern(1, 1)).await.unwrap();
        // What does not pass fails once and for all; what lasts too long as well.
        for (key, asc, times) in [
            (SenseKey::MEDIUM_ERROR, 0x1100, 1),
            (SenseKey::HARDWARE_ERROR, 0x4400, 1),
            (SenseKey::DATA_PROTECT, 0x2707, 1),
            (SenseKey::NOT_READY, 0x040b, 1),
            (SenseKey::ABORTED_COMMAND, 0x4400, 100),
            (SenseKey::NOT_READY, 0x0401, 1000),
            (SenseKey::NOT_READY, 0x040a, 1000),
        ] {
            queue(key, asc, times);
            let start = bed.site.host.now();
            let end = bed.disk.read(0, 1).await;
            let took = bed.site.host.now() - start;
            let Err(BlockError::Sense { key: k, .. }) = end else { panic!("{key} {asc:04x}: {end:?}") };
            assert!(k == key.0 && took < secs(70), "{key} {asc:04x} after {took:?}");
        }
        queue(SenseKey::NOT_READY, 0x040a, 100);
        let start = bed.site.host.now();
        assert!(matches!(bed.path.path_check().await, Err(PathFault::Block(BlockError::Sense { .. }))));
        assert!(bed.site.host.now() - start < secs(1), "the checker's question is answered at once");
        bed.site.fake.lock().attentions.clear();
        bed.site.fake.lock().statuses.push_back(Status::RESERVATION_CONFLICT);
        assert_eq!(bed.disk.read(0, 1).await, Err(BlockError::Status { status: 0x18 }));
        bed.site.fake.lock().statuses.extend([Status::TASK_SET_FULL, Status::BUSY]);
        bed.disk.read(0, 1).await.unwrap();
    });
}

/// Recovery begins anew after a second error, at whatever point of the login it comes (D66).
#[test]
fn a_second_error_during_relogin_is_no_end() {
    for cuts in [vec![0], vec![1], vec![0, 1, 0, 1, 1], vec![1; 12]] {
        sim(|world| async move {
            let bed = bed(world, SessionConfig::default()).await;
            {
                let mut array = bed.site.fake.lock();
                array.login_cuts.extend(cuts.iter().copied());
                array.mischief.push_back(Mischief::Close);
                array.refuse.clear();
            }
            bed.disk.write(0, pattern(4, 3)).await.unwrap();
            assert_eq!(bed.disk.read(0, 4).await.unwrap(), pattern(4, 3));
            assert_eq!(bed.session.counters().failed_logins, cuts.len() as u64);
        });
    }
    // Target errors as well as refusals are tried again; only nobody waits for a refusal.
    sim(|world| async move {
        let bed = bed(world, SessionConfig::default()).await;
        let fake = &bed.site.fake;
        fake.lock().refuse.extend([LoginStatus::SERVICE_UNAVAILABLE, LoginStatus::OUT_OF_RESOURCES]);
        fake.lock().mischief.push_back(Mischief::Close);
        bed.disk.write(0, pattern(4, 3)).await.unwrap();
        fake.lock().refuse.push_back(LoginStatus::AUTHORIZATION_FAILURE);
        fake.lock().mischief.push_back(Mischief::Close);
        let lost = bed.site.host.spawn({
            let disk = Disk::new(bed.path.clone(), false);
            async move { disk.write(0, pattern(4, 4)).await }
        });
        bed.site.host.sleep(secs(6)).await;
        let start = bed.site.host.now();
        assert!(matches!(bed.disk.read(0, 4).await, Err(BlockError::NoPath { .. })));
        assert!(bed.site.host.now() - start < secs(1), "a session that is refused is not waited for");
        // What was under way has to know its end, and the session is tried on.
        lost.await.unwrap().unwrap();
        assert_eq!(bed.disk.read(0, 4).await.unwrap(), pattern(4, 4));
    });
}

#[test]
fn reconnections_are_paced() {
    // A target that takes every login and drops it.
    sim(|world| async move {
        let bed = bed(world, SessionConfig { time2wait: 0, ..SessionConfig::default() }).await;
        bed.site.fake.lock().drop_after_login = u32::MAX;
        bed.site.fake.lock().mischief.push_back(Mischief::Close);
        assert!(bed.disk.read(0, 1).await.is_err());
        let logins = bed.site.fake.lock().logins;
        assert!((5..40).contains(&logins), "{logins} logins in 120 s");
        bed.site.fake.lock().drop_after_login = 0;
        bed.site.host.sleep(secs(15)).await;
        bed.disk.read(0, 1).await.unwrap();
    });
    // Time2Wait holds, negotiated or told.
    for told_wait in [None, Some(9)] {
        sim(|world| async move {
            let site = Site::new(world, [1, 2]).await;
            site.fake.lock().answers.push(("DefaultTime2Wait", "20"));
            site.fake.volume(1, 1, 64);
            let config = Arc::new(site.config());
            let session = PortalSession::establish(&site.host, &config, at(A), IQN, None).await.unwrap();
            let path = PathDevice::probe(&site.host, &config, &session, 1).await.unwrap().unwrap();
            site.fake.lock().mischief.push_back(match told_wait {
                None => Mischief::Close,
                Some(wait) => told(AsyncEvent::CONNECTION_DROPPED, [0, wait, 0]),
            });
            let start = site.host.now();
            // The first may have its answer before the target hangs up.
            let disk = Disk::new(Arc::new(path), false);
            disk.read(0, 1).await.unwrap();
            disk.read(0, 1).await.unwrap();
            let took = site.host.now() - start;
            let wait = u64::from(told_wait.unwrap_or(20));
            assert!(took >= secs(wait) && took < secs(wait + 2), "{told_wait:?}: {took:?}");
        });
    }
}

#[test]
fn commands_wait_as_long_as_they_are_told() {
    for (limit, back_after) in [(secs(30), secs(100)), (Duration::MAX, secs(3000))] {
        sim(|world| async move {
            let site = Site::new(world.clone(), [1, 2]).await;
            let wwn = site.fake.volume(1, 1, 64);
            let config = Arc::new(HostConfig { replacement_timeout: limit, ..site.config() });
            let session = PortalSession::establish(&site.host, &config, at(A), IQN, None).await.unwrap();
            let path = Arc::new(PathDevice::probe(&site.host, &config, &session, 1).await.unwrap().unwrap());
            assert_eq!(path.facts().wwn, Some(wwn));
            world.cut_addr(ip("10.0.0.9"), ip("10.0.0.1"));
            let disk = Disk::new(path.clone(), false);
            let start = site.host.now();
            let (host, task_world) = (site.host.clone(), world.clone());
            let healer = site.host.spawn(async move {
                host.sleep(back_after).await;
                task_world.heal_addr(ip("10.0.0.9"), ip("10.0.0.1"));
            });
            let end = disk.write(0, pattern(1, 1)).await;
            let took = site.host.now() - start;
            if limit == Duration::MAX {
                assert!(end.is_ok() && took >= back_after, "{end:?} after {took:?}");
            } else {
                // The ping finds the dead connection first; from then on the replacement time-out runs.
                assert!(
                    matches!(end, Err(BlockError::NoAnswer { .. })) && took < secs(60),
                    "{end:?} after {took:?}"
                );
                site.host.sleep(secs(15)).await;
                let start = site.host.now();
                assert!(disk.read(0, 1).await.is_err(), "down for longer than that: no more waiting");
                assert!(site.host.now() - start < secs(1));
                let _ = healer.await;
                site.host.sleep(secs(30)).await;
                disk.read(0, 1).await.unwrap();
            }
        });
    }
}

#[test]
fn an_abandoned_session_sends_nothing_more() {
    sim(|world| async move {
        // One command at a time: the second one waits.
        let bed = bed(world, SessionConfig { queue_depth: 1, ..SessionConfig::default() }).await;
        bed.disk.write(0, pattern(2, 1)).await.unwrap();
        bed.site.fake.lock().swallow = 1;
        let first = bed.site.host.spawn({
            let path = bed.path.clone();
            async move { path.write_through(0, pattern(1, 7)).await }
        });
        bed.site.host.sleep(secs(1)).await;
        let second = bed.site.host.spawn({
            let path = bed.path.clone();
            async move { path.write_through(1, pattern(1, 8)).await }
        });
        bed.site.host.sleep(secs(1)).await;
        bed.session.abandon("another path takes over").await;
        assert!(matches!(first.await.unwrap(), Err(PathFault::Lost { generation: 1, .. })));
        assert!(matches!(second.await.unwrap(), Err(PathFault::NotSent(_))));
        assert!(!bed.session.surely_dead(1), "what had left may still be applied");
        bed.site.host.sleep(secs(100)).await;
        assert!(bed.session.up().is_none());
        let array = bed.site.fake.lock();
        assert_eq!(array.logins, 1);
        assert_eq!(array.luns[&1].data[&1], pattern(2, 1)[512..].to_vec());
    });
}

#[test]
fn redirections_are_followed_and_bounded() {
    sim(|world| async move {
        let site = Site::new(world, [1, 2]).await;
        site.fake.volume(1, 1, 64);
        let config = Arc::new(site.config());
        let open = || PortalSession::establish(&site.host, &config, at(A), IQN, None);
        site.fake.lock().circle = true;
        let end = open().await;
        assert!(matches!(&end, Err(LoginError::Redirect(why)) if why.contains("circle")), "{end:?}");
        assert_eq!(site.fake.lock().logins, 2);
        site.fake.lock().circle = false;
        // For good: the next login goes there at once, and back to the portal that we were given if that fails.
        site.fake.lock().redirect = Some(B.to_owned());
        site.fake.lock().moved_for_good = true;
        let session = open().await.unwrap();
        let link = session.up().unwrap().0;
        assert_eq!((link.address(), link.moved()), (at(B), Some(at(B))));
        site.fake.lock().login_portals.clear();
        site.fake.lock().login_cuts.push_back(0);
        link.kill("test");
        site.host.sleep(secs(20)).await;
        assert_eq!(site.fake.lock().login_portals, [at(B), at(A), at(B)]);
        assert!(session.up().is_some());
        session.close().await;
        // For this login only: the next one asks the portal again.
        site.fake.lock().moved_for_good = false;
        let session = open().await.unwrap();
        site.fake.lock().login_portals.clear();
        session.up().unwrap().0.kill("test");
        site.host.sleep(secs(20)).await;
        assert_eq!(site.fake.lock().login_portals, [at(A), at(B)]);
    });
}

#[test]
fn a_target_that_cannot_do_the_long_list_gets_md5() {
    let auth = |target| ChapAuth {
        username: "host".into(),
        password: Secret::new("one-secret-123"),
        target: Some(("array".into(), Secret::new("two-secret-456"))).filter(|_| target),
    };
    for mutual in [false, true] {
        sim(|world| async move {
            let site = Site::new(world, [1, 2]).await;
            let config = Arc::new(site.config());
            site.fake.lock().chap = Some((auth(mutual), ChapHash::Md5));
            site.fake.lock().confused = true;
            let given = auth(mutual);
            let open = |config: &Arc<HostConfig>, auth: ChapAuth| {
                let (host, config) = (site.host.clone(), config.clone());
                async move { PortalSession::establish(&host, &config, at(A), IQN, Some(&auth)).await }
            };
            // It answered with MD5 itself, so the proof was refused for good.
            assert!(matches!(open(&config, given.clone()).await, Err(LoginError::Refused(_))));
            // With another choice there is a second try with MD5 alone.
            site.fake.lock().chap = Some((auth(mutual), ChapHash::Sha256));
            let before = site.fake.lock().logins;
            open(&config, given.clone()).await.unwrap().close().await;
            assert_eq!(site.fake.lock().logins, before + 2);
            // Who leaves MD5 out gets no second try.
            let strict = SessionConfig { chap_hashes: vec![ChapHash::Sha256], ..SessionConfig::default() };
            let strict = Arc::new(HostConfig { session: strict, ..site.config() });
            let before = site.fake.lock().logins;
            assert!(open(&strict, given).await.is_err());
            assert_eq!(site.fake.lock().logins, before + 1);
        });
    }
}

/// The same host comes back to a portal under the same name, and under another one elsewhere (D35).
#[test]
fn isids_are_stable() {
    sim(|world| async move {
        let bed = bed(world, SessionConfig::default()).await;
        bed.site.fake.lock().mischief.push_back(Mischief::Close);
        bed.disk.read(0, 1).await.unwrap();
        bed.session.close().await;
        let again = PortalSession::establish(&bed.site.host, &bed.config, at(A), IQN, None).await.unwrap();
        let other = PortalSession::establish(&bed.site.host, &bed.config, at(B), IQN, None).await.unwrap();
        let isids = bed.site.fake.lock().login_isids.clone();
        assert!(isids.len() == 4 && isids[0] == isids[1] && isids[1] == isids[2] && isids[2] != isids[3]);
        assert_eq!(isids[0][0], 0x80, "random format");
        again.close().await;
        other.close().await;
    });
}

#[test]
fn odd_commands_do_not_stop_the_path() {
    sim(|world| async move {
        let bed = bed(world, SessionConfig::default()).await;
        assert!(bed.path.logical_unit_reset().await);
        assert_eq!(bed.site.fake.lock().resets, 1);
        let bad = bed.path.compare_and_write(0, &[0; 512], &[0; 1024]).await;
        assert!(matches!(bad, Err(PathFault::Block(BlockError::Protocol { .. }))));
        assert!(bed.path.write_through(0, Bytes::from_static(b"odd")).await.is_err());
        bed.path.write_through(0, pattern(2, 4)).await.unwrap();
        assert_eq!(bed.path.read_through(0, 2).await.unwrap(), pattern(2, 4));
        bed.path.synchronize(0, 2).await.unwrap();
        let identity = bed.path.port_identity().await.unwrap();
        assert_eq!((identity.port, identity.group), (Some(1), None));
    });
}
