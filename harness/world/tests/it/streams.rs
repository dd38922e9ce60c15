//! Bytes over simulated streams: order, back-pressure, ends, and the poll contract.

use crate::common;
use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::time::Duration;

use crate::common::{SERVER, at, config, connect, echo, ip, nodes, pair};
use proptest::prelude::*;
use sanbench_world::sim::{CONNECT_TIMEOUT, WINDOW};
use sanbench_world::{Crash, SegmentKind, SimWorld};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_test::{assert_pending, assert_ready, task};

#[test]
fn order_holds_under_random_delay() {
    for seed in 0..10 {
        SimWorld::run(config(seed, 0..50), |world| async move {
            let (mut far, mut near) = pair(&world).await;
            let sender = world.node("client", &[]).spawn(async move {
                for n in 0u32..5000 {
                    near.write_all(&n.to_be_bytes()).await.unwrap();
                }
            });
            for n in 0u32..5000 {
                assert_eq!(far.read_u32().await.unwrap(), n);
            }
            assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
            sender.await.unwrap();
        });
    }
}

#[test]
fn connections_overtake_each_other_but_keep_their_own_dice() {
    // Arrival times of one connection's segments, with or without another connection between other hosts.
    let times = |crowd: bool| {
        SimWorld::run(config(5, 0..100), |world| async move {
            let (server, client) = nodes(&world);
            let crowd = match crowd {
                true => {
                    let other = world.node("other", &[ip("10.0.0.3")]);
                    echo(&server, "10.0.0.1:7").await;
                    let mut stream = other.connect(at("10.0.0.1:7")).await.unwrap();
                    Some(other.spawn(async move {
                        for _ in 0..30 {
                            common::ask(&mut stream, b"noise").await.unwrap();
                        }
                    }))
                }
                false => None,
            };
            let begin = world.now();
            let (mut far, mut near) = connect(&server, &client).await;
            let mut times = vec![world.now() - begin];
            for _ in 0..20 {
                near.write_all(b"x").await.unwrap();
                far.read_u8().await.unwrap();
                times.push(world.now() - begin);
            }
            drop(crowd);
            times
        })
    };
    let alone = times(false);
    assert_eq!(alone, times(true));
    assert!(alone.last().unwrap() > &Duration::from_millis(200));
}

#[test]
fn no_latency_takes_no_time() {
    SimWorld::run(config(1, 0..1), |world| async move {
        let (mut far, mut near) = pair(&world).await;
        for _ in 0..1000 {
            near.write_all(b"ping").await.unwrap();
            far.read_exact(&mut [0; 4]).await.unwrap();
        }
        assert_eq!(world.now(), Duration::ZERO);
    });
}

#[test]
fn a_full_window_blocks_the_writer_until_half_is_read() {
    SimWorld::run(config(1, 0..1), |world| async move {
        let (mut far, mut near) = pair(&world).await;
        let chunk = vec![7u8; 64 * 1024];
        let mut sent = 0;
        loop {
            let mut write = task::spawn(near.write(&chunk));
            match write.poll() {
                std::task::Poll::Ready(n) => sent += n.unwrap(),
                std::task::Poll::Pending => break,
            }
        }
        assert_eq!(sent, WINDOW);

        let mut write = task::spawn(near.write(&chunk));
        assert_pending!(write.poll());
        far.read_exact(&mut vec![0; WINDOW / 2 - 1]).await.unwrap();
        assert!(!write.is_woken());
        far.read_exact(&mut [0; 1]).await.unwrap();
        assert!(write.is_woken());
        assert_eq!(assert_ready!(write.poll()).unwrap(), chunk.len());
    });
}

#[test]
fn the_end_comes_through_behind_a_full_window() {
    for latency in [0..1, 1..2, 0..10] {
        SimWorld::run(config(2, latency), |world| async move {
            let (mut far, mut near) = pair(&world).await;
            let sender = world.node("client", &[]).spawn(async move {
                let chunk = vec![9u8; 64 * 1024];
                for _ in 0..512 {
                    near.write_all(&chunk).await.unwrap();
                }
                near.shutdown().await.unwrap();
                // The other direction goes on.
                near.read_u8().await.unwrap()
            });
            let mut total = 0;
            let mut buf = vec![0; 100_000];
            loop {
                match far.read(&mut buf).await.unwrap() {
                    0 => break,
                    n => total += n,
                }
            }
            assert_eq!(total, 512 * 64 * 1024);
            far.write_all(b"!").await.unwrap();
            assert_eq!(sender.await.unwrap(), b'!');
        });
    }
}

#[test]
fn a_reader_waits_for_arrival_and_is_woken_once_due() {
    SimWorld::run(config(3, 10..11), |world| async move {
        let (mut far, mut near) = pair(&world).await;
        let mut bytes = [0; 8];
        let mut buf = ReadBuf::new(&mut bytes);
        let mut read = task::spawn(std::future::poll_fn(|cx| {
            tokio::io::AsyncRead::poll_read(Pin::new(&mut far), cx, &mut buf)
        }));
        assert_pending!(read.poll());
        near.write_all(b"abc").await.unwrap();
        assert!(read.is_woken());
        assert_pending!(read.poll());
        let env = world.node("client", &[]);
        env.sleep(Duration::from_millis(9)).await;
        assert!(!read.is_woken());
        env.sleep(Duration::from_millis(1)).await;
        assert!(read.is_woken());
        assert_ready!(read.poll()).unwrap();
        drop(read);
        assert_eq!(buf.filled(), b"abc");
    });
}

#[test]
fn vectored_writes_are_one_segment() {
    SimWorld::run(config(4, 0..1), |world| async move {
        let (mut far, mut near) = pair(&world).await;
        assert!(near.is_write_vectored());
        let slices = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b"data"), IoSlice::new(b"pad")];
        assert_eq!(near.write_vectored(&slices).await.unwrap(), 11);
        far.read_exact(&mut [0; 11]).await.unwrap();
        assert_eq!(near.write(b"").await.unwrap(), 0);
        drop(near);
        assert_eq!(far.read(&mut [0; 4]).await.unwrap(), 0);
        let capture = world.capture();
        let kinds: Vec<_> = capture.iter().map(|s| (s.kind, s.bytes.as_ref())).collect();
        assert_eq!(
            kinds,
            [(SegmentKind::Syn, b"".as_ref()), (SegmentKind::Data, b"headdatapad"), (SegmentKind::Fin, b"")]
        );
        assert_eq!(capture[1].dst, at(SERVER));
        assert!(capture.iter().all(|s| s.conn == capture[0].conn && s.src == capture[0].src));
    });
}

#[test]
fn closing_with_unread_bytes_is_a_reset_and_writing_to_a_closed_peer_breaks() {
    SimWorld::run(config(6, 1..2), |world| async move {
        let (server, client) = nodes(&world);
        let (mut far, mut near) = connect(&server, &client).await;
        near.write_all(b"never read").await.unwrap();
        far.write_all(b"parting words").await.unwrap();
        client.sleep(Duration::from_millis(5)).await;
        drop(far);
        near.read_exact(&mut [0; 13]).await.unwrap();
        assert_eq!(near.read(&mut [0; 4]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);

        let (far, mut near) = connect(&server, &client).await;
        drop(far);
        assert_eq!(near.read(&mut [0; 4]).await.unwrap(), 0);
        near.write_all(b"the first write goes out").await.unwrap();
        client.sleep(Duration::from_millis(5)).await;
        assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);

        let (_far, mut near) = connect(&server, &client).await;
        near.shutdown().await.unwrap();
        assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn both_halves_of_a_split_stream_work_at_once() {
    SimWorld::run(config(7, 0..3), |world| async move {
        let (server, client) = nodes(&world);
        echo(&server, SERVER).await;
        let (mut read, mut write) = tokio::io::split(client.connect(at(SERVER)).await.unwrap());
        let sender = client.spawn(async move {
            for n in 0u64..100_000 {
                write.write_u64(n).await.unwrap();
            }
            write
        });
        for n in 0u64..100_000 {
            assert_eq!(read.read_u64().await.unwrap(), n);
        }
        drop(sender.await.unwrap());
    });
}

#[test]
fn connecting_is_refused_or_times_out() {
    SimWorld::run(config(8, 0..2), |world| async move {
        let (_server, client) = nodes(&world);
        let refused = client.connect(at(SERVER)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(world.now() <= Duration::from_millis(2));

        for (from, to) in [("client", "server"), ("server", "client")] {
            world.cut(from, to);
            let begin = world.now();
            assert_eq!(client.connect(at(SERVER)).await.unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(world.now() - begin, CONNECT_TIMEOUT);
            world.heal(from, to);
        }

        let begin = world.now();
        assert_eq!(client.connect(at("192.0.2.1:1")).await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(world.now() - begin, CONNECT_TIMEOUT);

        world.crash("server", Crash::Kill);
        assert_eq!(client.connect(at(SERVER)).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        world.crash("server", Crash::PowerLoss);
        assert_eq!(client.connect(at(SERVER)).await.unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_later_syn_finds_the_healed_path() {
    SimWorld::run(config(8, 0..1), |world| async move {
        let (server, client) = nodes(&world);
        echo(&server, SERVER).await;
        world.cut("client", "server");
        let lever = world.clone();
        let healer = client.clone();
        client.spawn(async move {
            healer.sleep(Duration::from_secs(4)).await;
            lever.heal("client", "server");
        });
        let mut stream = client.connect(at(SERVER)).await.unwrap();
        assert_eq!(world.now(), Duration::from_secs(9));
        common::ask(&mut stream, b"hello").await.unwrap();
    });
}

#[test]
fn addresses_are_owned_and_ports_are_taken_once() {
    SimWorld::run(config(9, 0..1), |world| async move {
        let (server, client) = nodes(&world);
        let listener = server.listen(at(SERVER)).await.unwrap();
        assert_eq!(listener.local_addr(), at(SERVER));
        for taken in [SERVER, "0.0.0.0:3260"] {
            assert_eq!(server.listen(at(taken)).await.unwrap_err().kind(), ErrorKind::AddrInUse);
        }
        drop(listener);
        let wildcard = server.listen(at("0.0.0.0:3260")).await.unwrap();
        assert!(client.connect(at(SERVER)).await.is_ok());
        drop(wildcard);
        assert!(server.listen(at(SERVER)).await.is_ok());

        assert_eq!(client.listen(at(SERVER)).await.unwrap_err().kind(), ErrorKind::AddrNotAvailable);
        let foreign = client.connect_from(ip("10.0.0.9"), at(SERVER)).await.unwrap_err();
        assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);

        let (first, second) = (
            server.listen(at("10.0.0.1:0")).await.unwrap().local_addr().port(),
            server.listen(at("10.0.0.1:0")).await.unwrap().local_addr().port(),
        );
        assert!(first >= 49152 && second > first);

        // Loopback is the node's own.
        echo(&server, "127.0.0.1:80").await;
        echo(&client, "127.0.0.1:80").await;
        let mut own = client.connect(at("127.0.0.1:80")).await.unwrap();
        common::ask(&mut own, b"me").await.unwrap();

        assert_eq!(client.lookup("server", 80).await.unwrap(), [at("10.0.0.1:80")]);
        assert_eq!(client.lookup("[fd00::1]", 80).await.unwrap(), [at("[fd00::1]:80")]);
        assert_eq!(client.lookup("nowhere.example", 80).await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn an_abandoned_connect_closes_what_it_opened() {
    SimWorld::run(config(10, 10..11), |world| async move {
        let (server, client) = nodes(&world);
        let mut listener = server.listen(at(SERVER)).await.unwrap();
        let attempt = client.timeout(Duration::from_millis(15), client.connect(at(SERVER))).await;
        assert!(attempt.is_err());
        let mut far = listener.accept().await.unwrap();
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
    });
}

#[test]
fn a_full_backlog_drops_the_syn() {
    SimWorld::run(config(11, 0..1), |world| async move {
        let (server, client) = nodes(&world);
        let mut listener = server.listen(at(SERVER)).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..1024 {
            held.push(client.connect(at(SERVER)).await.unwrap());
        }
        let inner = client.clone();
        let late = client.spawn(async move { inner.connect(at(SERVER)).await });
        client.sleep(Duration::from_secs(1)).await;
        assert!(!late.is_finished());
        drop(listener.accept().await.unwrap());
        assert!(late.await.unwrap().is_ok());
        assert_eq!(world.now(), Duration::from_secs(3));
        // Those never accepted are reset with the listener.
        drop(listener);
        let error = held.last_mut().unwrap().read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever the sizes of writes and reads and the delays, the bytes are the same.
    #[test]
    fn bytes_arrive_as_sent(
        seed in any::<u64>(),
        jitter in 1u64..20,
        writes in proptest::collection::vec(1usize..200_000, 1..30),
        reads in proptest::collection::vec(1usize..150_000, 1..8),
    ) {
        SimWorld::run(config(seed, 0..jitter), |world| async move {
            let (mut far, mut near) = pair(&world).await;
            let total: usize = writes.iter().sum();
            let byte = |n: usize| (n.wrapping_mul(2_654_435_761) >> 7) as u8;
            let sender = world.node("client", &[]).spawn(async move {
                let mut n = 0;
                for len in writes {
                    let data: Vec<u8> = (n..n + len).map(byte).collect();
                    near.write_all(&data).await.unwrap();
                    n += len;
                }
            });
            let mut got = 0;
            for len in reads.iter().cycle() {
                let mut buf = vec![0; *len];
                let n = far.read(&mut buf).await.unwrap();
                if n == 0 {
                    break;
                }
                assert!(buf[..n].iter().enumerate().all(|(i, b)| *b == byte(got + i)));
                got += n;
            }
            assert_eq!(got, total);
            sender.await.unwrap();
        });
    }
}
