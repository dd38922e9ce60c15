//! Crashes, cuts, resets: what each end sees, and what is left of a node.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{SERVER, ask, at, config, connect, echo, ip, nodes};
use sanbench_world::{Command, Crash, Env, ExecError, Fault, FaultPlan, SimConfig, SimWorld, TaskGone};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SECOND: Duration = Duration::from_secs(1);

/// Counts how often it was dropped.
struct Dropped(Arc<AtomicU32>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_killed_process_says_end_of_file_and_its_host_refuses() {
    SimWorld::run(config(1, 0..2), |world| async move {
        let (server, client) = nodes(&world);
        echo(&server, SERVER).await;
        let mut stream = client.connect(at(SERVER)).await.unwrap();
        ask(&mut stream, b"hello").await.unwrap();
        world.crash("server", Crash::Kill);
        assert!(!world.is_up("server"));
        assert_eq!(stream.read(&mut [0; 4]).await.unwrap(), 0);
        stream.write_all(b"anybody?").await.unwrap();
        client.sleep(SECOND).await;
        assert_eq!(stream.write(b"?").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(client.connect(at(SERVER)).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);

        // The old handle is dead, the new one works.
        assert_eq!(server.listen(at(SERVER)).await.unwrap_err().kind(), ErrorKind::NetworkDown);
        assert_eq!(server.connect(at("10.0.0.2:1")).await.unwrap_err().kind(), ErrorKind::NetworkDown);
        assert_eq!(server.spawn(async {}).await, Err(TaskGone::NodeDown));
        let server = world.node("server", &[]);
        assert_eq!(server.addresses(), [ip("10.0.0.1")]);
        echo(&server, SERVER).await;
        ask(&mut client.connect(at(SERVER)).await.unwrap(), b"again").await.unwrap();
    });
}

#[test]
fn a_power_loss_is_silence_and_a_reset_after_the_restart() {
    SimWorld::run(config(2, 0..2), |world| async move {
        let (server, client) = nodes(&world);
        echo(&server, SERVER).await;
        let mut busy = client.connect(at(SERVER)).await.unwrap();
        let mut idle = client.connect(at(SERVER)).await.unwrap();
        ask(&mut busy, b"hello").await.unwrap();
        ask(&mut idle, b"hello").await.unwrap();
        world.crash("server", Crash::PowerLoss);
        assert_eq!(world.pending_tasks("server"), 0);

        busy.write_all(b"anybody?").await.unwrap();
        assert!(
            client.timeout(60 * SECOND, busy.read(&mut [0; 4])).await.is_err(),
            "no Drop handler said FIN"
        );
        world.node("server", &[]);
        let restarted = world.now();
        assert_eq!(busy.read(&mut [0; 4]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        // Sent at about 0, retransmitted at 0.2, 0.6, ... 51 and 102.2 s.
        assert!((42..43).contains(&(world.now() - restarted).as_secs()), "{:?}", world.now());

        // Nothing was under way here, so nothing tells it before it sends.
        assert!(client.timeout(60 * SECOND, idle.read(&mut [0; 4])).await.is_err());
        idle.write_all(b"x").await.unwrap();
        assert_eq!(idle.read(&mut [0; 4]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_dead_host_ends_in_a_time_out() {
    SimWorld::run(config(3, 0..1), |world| async move {
        let (server, client) = nodes(&world);
        let (_far, mut near) = connect(&server, &client).await;
        world.crash("server", Crash::PowerLoss);
        near.write_all(b"x").await.unwrap();
        assert_eq!(near.read(&mut [0; 4]).await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(world.now(), Duration::from_millis(924_600));
        assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_crash_ends_all_tasks_at_once_and_for_good() {
    SimWorld::run(config(4, 0..1), |world| async move {
        let (server, _client) = nodes(&world);
        let drops = Arc::new(AtomicU32::new(0));
        let polls = Arc::new(AtomicU32::new(0));
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let guard = Dropped(drops.clone());
                let (env, polls) = (server.clone(), polls.clone());
                server.spawn(async move {
                    let _guard = guard;
                    let inner = env.clone();
                    env.spawn(async move {
                        loop {
                            inner.sleep(SECOND).await;
                            polls.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                    std::future::pending::<()>().await
                })
            })
            .collect();
        world.node("client", &[]).sleep(3 * SECOND + SECOND / 2).await;
        assert_eq!(world.pending_tasks("server"), 10);
        assert_eq!(polls.load(Ordering::Relaxed), 15);
        world.crash("server", Crash::Kill);
        assert_eq!(drops.load(Ordering::Relaxed), 5, "dropped before crash() returns");
        assert_eq!(world.pending_tasks("server"), 0);
        for task in tasks {
            assert_eq!(task.await, Err(TaskGone::NodeDown));
        }
        world.node("client", &[]).sleep(10 * SECOND).await;
        assert_eq!(polls.load(Ordering::Relaxed), 15);
    });
}

#[test]
fn a_task_may_crash_its_own_node() {
    SimWorld::run(config(5, 0..1), |world| async move {
        let (server, client) = nodes(&world);
        let drops = Arc::new(AtomicU32::new(0));
        let reached = Arc::new(AtomicU32::new(0));
        let (lever, env, guard, seen) =
            (world.clone(), server.clone(), Dropped(drops.clone()), reached.clone());
        let task = server.spawn(async move {
            let guard = guard;
            lever.crash("server", Crash::PowerLoss);
            seen.store(1, Ordering::Relaxed);
            env.sleep(SECOND).await;
            seen.store(2, Ordering::Relaxed);
            drop(guard);
        });
        assert_eq!(task.await, Err(TaskGone::NodeDown));
        client.sleep(5 * SECOND).await;
        assert_eq!(reached.load(Ordering::Relaxed), 1, "it stopped at its next yield point");
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn drop_handlers_may_reach_for_everything() {
    struct Rude(Env, SimWorld);
    impl Drop for Rude {
        fn drop(&mut self) {
            self.0.note("rude", || json!({}));
            self.0.fault("rude");
            self.0.disk().cell("rude", || 1u8);
            self.0.spawn(async {});
            self.1.crash(self.0.node(), Crash::Kill);
            self.1.node("bystander", &[]);
            self.1.cut("client", "server");
        }
    }
    for ended_by_crash in [true, false] {
        SimWorld::run(config(6, 0..1), |world| async move {
            let (server, client) = nodes(&world);
            for env in [&server, &client] {
                let rude = Rude(env.clone(), world.clone());
                let inner = env.clone();
                env.spawn(async move {
                    let _rude = rude;
                    let _listener = inner.listen(at("0.0.0.0:99")).await;
                    std::future::pending::<()>().await
                });
            }
            client.sleep(SECOND).await;
            if ended_by_crash {
                world.crash("server", Crash::Kill);
                assert_eq!(world.pending_tasks("server"), 0);
                assert_eq!(world.points_hit()["rude"], 1);
            }
        });
    }
}

#[test]
fn a_reset_breaks_both_ends_and_loses_what_was_under_way() {
    SimWorld::run(config(7, 50..51), |world| async move {
        let (server, client) = nodes(&world);
        let (mut far, mut near) = connect(&server, &client).await;
        near.write_all(b"lost").await.unwrap();
        assert_eq!(world.reset("server", "client"), 1);
        for stream in [&mut far, &mut near] {
            assert_eq!(stream.read(&mut [0; 4]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        drop((far, near));
        assert_eq!(world.reset("server", "client"), 0);
    });
}

#[test]
fn a_half_open_connection_is_reset_by_the_next_send() {
    SimWorld::run(config(8, 0..2), |world| async move {
        let (server, client) = nodes(&world);
        let (mut far, mut near) = connect(&server, &client).await;
        assert_eq!(world.half_open("server", "client"), 1);
        assert_eq!(far.read(&mut [0; 4]).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        assert!(client.timeout(100 * SECOND, near.read(&mut [0; 4])).await.is_err());
        near.write_all(b"hello?").await.unwrap();
        assert_eq!(near.read(&mut [0; 4]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_one_way_cut_parks_and_a_heal_delivers_in_order() {
    SimWorld::run(config(9, 0..2), |world| async move {
        let (server, client) = nodes(&world);
        let (mut far, mut near) = connect(&server, &client).await;
        let begin = world.now();
        world.cut("client", "server");
        for n in 0u32..100 {
            near.write_all(&n.to_be_bytes()).await.unwrap();
        }
        // The other direction works.
        far.write_all(b"still here").await.unwrap();
        near.read_exact(&mut [0; 10]).await.unwrap();
        assert!(server.timeout(2 * SECOND, far.read(&mut [0; 4])).await.is_err());
        world.heal("client", "server");
        near.write_all(&100u32.to_be_bytes()).await.unwrap();
        for n in 0u32..=100 {
            assert_eq!(far.read_u32().await.unwrap(), n);
        }
        // 0.2, 0.6, 1.4, 3.0: the first retransmission after the heal at about 2 s.
        let took = world.now() - begin;
        assert!((3000..=3004).contains(&took.as_millis()), "{took:?}");
        // Later segments are quick again.
        near.write_all(b"x").await.unwrap();
        far.read_u8().await.unwrap();
        assert!(world.now() - begin - took <= Duration::from_millis(1));
        // And the sender does not time out later for what was delivered.
        server.sleep(3600 * SECOND).await;
        near.write_all(b"y").await.unwrap();
        far.read_u8().await.unwrap();
    });
}

#[test]
fn what_is_on_the_wire_when_the_path_is_cut_is_sent_again() {
    SimWorld::run(config(10, 100..101), |world| async move {
        let (server, client) = nodes(&world);
        let (mut far, mut near) = connect(&server, &client).await;
        near.write_all(b"a").await.unwrap();
        client.sleep(Duration::from_millis(150)).await;
        near.write_all(b"b").await.unwrap();
        near.shutdown().await.unwrap();
        client.sleep(Duration::from_millis(50)).await;
        world.cut("client", "server");
        client.sleep(SECOND).await;
        assert_eq!(far.read_u8().await.unwrap(), b'a', "it had arrived");
        assert!(server.timeout(SECOND, far.read_u8()).await.is_err());
        world.heal("client", "server");
        assert_eq!(far.read_u8().await.unwrap(), b'b');
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
    });
}

#[test]
fn a_cut_that_lasts_ends_in_a_time_out_for_who_sent() {
    SimWorld::run(config(11, 0..1), |world| async move {
        let (server, client) = nodes(&world);
        for (from, to) in [("client", "server"), ("server", "client")] {
            // Lost data and lost acknowledgements look alike to the sender.
            let (mut far, mut near) = connect(&server, &client).await;
            world.cut(from, to);
            let begin = world.now();
            near.write_all(b"x").await.unwrap();
            assert_eq!(near.read(&mut [0; 4]).await.unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(world.now() - begin, Duration::from_millis(924_600));
            world.heal(from, to);
            // The other end waits and learns of it when it sends.
            if from == "server" {
                assert_eq!(far.read_u8().await.unwrap(), b'x');
            }
            assert!(server.timeout(SECOND, far.read_u8()).await.is_err());
            far.write_all(b"y").await.unwrap();
            assert_eq!(far.read(&mut [0; 4]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn a_blocked_writer_is_released_by_every_end() {
    for how in ["kill", "reset", "forget", "drop", "timeout"] {
        SimWorld::run(config(12, 5..6), |world| async move {
            let (server, client) = nodes(&world);
            let (far, mut near) = connect(&server, &client).await;
            let writer = client.spawn(async move {
                let chunk = vec![0; 64 * 1024];
                loop {
                    if let Err(error) = near.write_all(&chunk).await {
                        break error.kind();
                    }
                }
            });
            client.sleep(SECOND).await;
            assert!(!writer.is_finished());
            let mut far = Some(far);
            match how {
                "kill" => world.crash("server", Crash::Kill),
                "reset" => assert_eq!(world.reset("client", "server"), 1),
                "forget" => assert_eq!(world.half_open("server", "client"), 1),
                "drop" => drop(far.take()),
                _ => world.crash("server", Crash::PowerLoss),
            }
            let kind = client.timeout(1000 * SECOND, writer).await.unwrap().unwrap();
            match how {
                "timeout" => assert_eq!(kind, ErrorKind::TimedOut),
                _ => assert_eq!(kind, ErrorKind::ConnectionReset, "{how}"),
            }
        });
    }
}

#[test]
fn one_of_several_paths_can_be_cut() {
    SimWorld::run(config(13, 0..1), |world| async move {
        let server = world.node("server", &[ip("10.0.1.1"), ip("10.0.2.1")]);
        let client = world.node("client", &[ip("10.0.1.2"), ip("10.0.2.2")]);
        for portal in ["10.0.1.1:3260", "10.0.2.1:3260"] {
            echo(&server, portal).await;
        }
        let mut first = client.connect(at("10.0.1.1:3260")).await.unwrap();
        let mut second = client.connect(at("10.0.2.1:3260")).await.unwrap();
        assert_eq!(second.local_addr().ip(), ip("10.0.2.2"), "the address of the same subnet");
        let crossed = client.connect_from(ip("10.0.1.2"), at("10.0.2.1:3260")).await.unwrap();
        assert_eq!(crossed.local_addr().ip(), ip("10.0.1.2"));

        world.cut_addr(ip("10.0.1.2"), ip("10.0.1.1"));
        assert!(client.timeout(5 * SECOND, ask(&mut first, b"one")).await.is_err());
        ask(&mut second, b"two").await.unwrap();
        let blocked = client.connect(at("10.0.1.1:3260")).await.unwrap_err();
        assert_eq!(blocked.kind(), ErrorKind::TimedOut);
        world.heal_addr(ip("10.0.1.2"), ip("10.0.1.1"));
        first.read_exact(&mut [0; 3]).await.unwrap();
        ask(&mut first, b"one").await.unwrap();
    });
}

#[test]
fn the_disk_survives_and_the_entropy_goes_on() {
    SimWorld::run(config(14, 0..1), |world| async move {
        let env = world.node("control", &[ip("10.0.0.1")]);
        let db = env.disk().cell("db", || Mutex::new(Vec::new()));
        db.lock().unwrap().push(1);
        let (id, roll) = (env.uuid_bytes(), env.rng("plan").u64());
        world.crash("control", Crash::PowerLoss);
        let env = world.node("control", &[]);
        env.disk().cell("db", || Mutex::new(Vec::new())).lock().unwrap().push(2);
        assert_eq!(*db.lock().unwrap(), [1, 2]);
        assert_ne!(env.uuid_bytes(), id, "no secret comes twice");
        assert_eq!(env.rng("plan").u64(), roll, "a keyed stream is the same in every life");
        assert_eq!(id[6] >> 4, 4);
        assert_eq!(env.disk().directory(), None);
        assert!(matches!(env.exec(Command::new("true")).await, Err(ExecError::NotInSim)));
    });
}

#[test]
fn asked_points_follow_the_plan() {
    let faults = FaultPlan::default().rule("rest.*", 2, Fault::DropReply).rule("io.write", 0, Fault::Fail);
    SimWorld::run(SimConfig { faults, ..SimConfig::default() }, |world| async move {
        let env = world.node("array", &[]);
        assert_eq!(env.fault("rest.create"), None);
        assert_eq!(env.fault("rest.delete"), Some(Fault::DropReply));
        assert_eq!(env.fault("rest.delete"), None);
        assert_eq!(env.fault("io.write"), Some(Fault::Fail));
        world.clear_faults();
        assert_eq!(env.fault("io.write"), None);
        world.add_fault("io.write", 1, Fault::CrashNode);
        assert_eq!(env.fault("io.write"), Some(Fault::CrashNode));
        let hits: Vec<_> = world.points_hit().into_iter().collect();
        assert_eq!(hits, [("io.write".into(), 3), ("rest.create".into(), 1), ("rest.delete".into(), 2)]);
    });
}

#[test]
fn latency_can_change_under_way() {
    SimWorld::run(config(15, 0..1), |world| async move {
        let (server, client) = nodes(&world);
        echo(&server, SERVER).await;
        let mut stream = client.connect(at(SERVER)).await.unwrap();
        world.set_latency(5..6);
        ask(&mut stream, b"x").await.unwrap();
        assert_eq!(world.now(), Duration::from_millis(10));
        world.set_latency_between("server", "client", 100..101);
        ask(&mut stream, b"x").await.unwrap();
        assert_eq!(world.now(), Duration::from_millis(115));
    });
}

#[test]
fn a_stalled_world_is_reported_and_a_panic_is_seen() {
    let stalled = SimWorld::try_run(config(16, 0..1), |world| async move {
        let env = world.node("stuck", &[]);
        env.spawn(std::future::pending::<()>());
        std::future::pending::<()>().await;
    })
    .unwrap_err();
    assert!(!stalled.restless, "{stalled}");
    assert_eq!(stalled.waiting.into_iter().collect::<Vec<_>>(), [("stuck".to_owned(), 1)]);

    // The clock would never go on.
    let few = SimConfig { turns: 1000, ..config(16, 0..1) };
    let stalled = SimWorld::try_run(few, |world| async move {
        let env = world.node("restless", &[]);
        env.spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        std::future::pending::<()>().await;
    })
    .unwrap_err();
    assert!(stalled.restless, "{stalled}");
    assert_eq!(stalled.waiting.into_iter().collect::<Vec<_>>(), [("restless".to_owned(), 1)]);

    SimWorld::run(config(17, 0..1), |world| async move {
        let env = world.node("clumsy", &[]);
        let task = env.spawn(async { assert_eq!(1, 2, "a planted panic") });
        assert_eq!(task.await, Err(TaskGone::Panicked));
        let task = env.spawn(std::future::pending::<()>());
        task.abort();
        assert_eq!(task.await, Err(TaskGone::Aborted));
        assert_eq!(world.panics(), ["clumsy"]);
        assert_eq!(world.pending_tasks("clumsy"), 0);
    });
}

#[test]
fn notes_are_lines_only_when_tracing() {
    SimWorld::run(SimConfig::default(), |world| async move {
        let env = world.node("quiet", &[]);
        assert!(!env.is_tracing());
        env.note("never", || unreachable!("the detail is not built"));
        assert!(world.trace().is_empty());
    });
    SimWorld::run(config(18, 0..1), |world| async move {
        let env = world.node("array", &[]);
        env.sleep(Duration::from_micros(1500)).await;
        env.note("iscsi", || json!({"event": "login"}));
        let lines: Vec<_> = world.take_trace().iter().map(|line| line.to_json_line()).collect();
        assert_eq!(lines[1], r#"{"seq":1,"t":2000000,"node":"array","topic":"iscsi","event":"login"}"#);
        assert!(world.trace().is_empty());
        env.note("iscsi", || json!({}));
        assert_eq!(world.trace()[0].seq, 2);
    });
}
