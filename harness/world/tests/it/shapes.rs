//! Paths that deliver in crumbs or in lumps, and receivers that do not read.

use std::io::ErrorKind;
use std::time::Duration;

use crate::common::{config, ip, pair};
use sanbench_world::SimWorld;
use sanbench_world::sim::{Shape, WINDOW};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn crumbs_give_one_byte_a_read_and_lose_none() {
    SimWorld::run(config(1, 0..2), |world| async move {
        let (mut far, mut near) = pair(&world).await;
        world.shape("client", "server", Shape::crumbs());
        near.write_all(b"crumbs").await.unwrap();
        far.write_all(b"whole").await.unwrap();
        let mut got = Vec::new();
        let mut buf = [0; 16];
        while got.len() < 6 {
            assert_eq!(far.read(&mut buf).await.unwrap(), 1);
            got.push(buf[0]);
        }
        assert_eq!(got, b"crumbs");
        assert_eq!(near.read(&mut buf).await.unwrap(), 5, "the other direction is as before");
        world.heal_all();
        near.write_all(b"crumbs").await.unwrap();
        assert_eq!(far.read(&mut buf).await.unwrap(), 6);
    });
}

#[test]
fn coalesced_segments_arrive_together() {
    SimWorld::run(config(2, 0..1), |world| async move {
        let (mut far, mut near) = pair(&world).await;
        world.shape_addr(ip("10.0.0.2"), ip("10.0.0.1"), Shape::coalesced(Duration::from_millis(50)));
        let client = world.node("client", &[]);
        // Off the grid: what is sent right at a tick arrives with it.
        client.sleep(Duration::from_millis(1)).await;
        let started = world.now();
        for _ in 0..4 {
            near.write_all(b"1234").await.unwrap();
            client.sleep(Duration::from_millis(5)).await;
        }
        let mut buf = [0; 64];
        assert_eq!(far.read(&mut buf).await.unwrap(), 16);
        assert!((20..=50).contains(&(world.now() - started).as_millis()), "{:?}", world.now() - started);
    });
}

#[test]
fn a_stalled_reader_closes_the_window_and_the_connection_lives() {
    SimWorld::run(config(3, 0..1), |world| async move {
        let (mut far, mut near) = pair(&world).await;
        world.shape("client", "server", Shape::stall());
        let client = world.node("client", &[]);
        near.write_all(&vec![7; WINDOW]).await.unwrap();
        // Longer than a sender waits for acknowledgements that do not come at all.
        assert!(client.timeout(2000 * SECOND, near.write_all(b"more")).await.is_err());
        assert!(client.timeout(SECOND, far.read(&mut [0; 4])).await.is_err());
        world.shape("client", "server", Shape::default());
        let mut all = vec![0; WINDOW];
        far.read_exact(&mut all).await.unwrap();
        near.write_all(b"more").await.unwrap();
        let mut more = [0; 4];
        far.read_exact(&mut more).await.unwrap();
        assert_eq!((&more, all.iter().all(|b| *b == 7)), (b"more", true));
    });
}

#[test]
fn a_small_window_passes_everything_in_order() {
    SimWorld::run(config(4, 0..3), |world| async move {
        let (mut far, mut near) = pair(&world).await;
        world.shape("client", "server", Shape { window: 10, segment: 3, ..Shape::default() });
        let data: Vec<u8> = (0..=255).collect();
        let sent = data.clone();
        let client = world.node("client", &[]);
        let writer = client.spawn(async move { near.write_all(&sent).await.map(|()| near) });
        let mut got = vec![0; 256];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(got, data);
        writer.await.unwrap().unwrap();
    });
}

#[test]
fn one_direction_of_one_path_is_cut_and_one_path_is_reset() {
    SimWorld::run(config(5, 0..1), |world| async move {
        let (mut far, mut near) = pair(&world).await;
        let (server, client) = (ip("10.0.0.1"), ip("10.0.0.2"));
        world.cut_addr_one_way(server, client);
        let env = world.node("client", &[]);
        near.write_all(b"ask").await.unwrap();
        let mut buf = [0; 8];
        assert_eq!(far.read(&mut buf).await.unwrap(), 3);
        far.write_all(b"answer").await.unwrap();
        assert!(env.timeout(SECOND, near.read(&mut buf)).await.is_err());
        world.heal_all();
        assert_eq!(near.read(&mut buf).await.unwrap(), 6);
        assert_eq!(world.reset_addr(client, ip("10.0.9.9")), 0);
        assert_eq!(world.reset_addr(client, server), 1);
        assert_eq!(near.read(&mut buf).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(far.read(&mut buf).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn one_path_is_slow_until_it_is_healed_and_one_side_of_it_forgets() {
    SimWorld::run(config(6, 0..1), |world| async move {
        let (mut far, mut near) = pair(&world).await;
        let (server, client) = (ip("10.0.0.1"), ip("10.0.0.2"));
        world.delay_addr(client, server, 250);
        world.shape_addr(client, server, Shape { segment: 2, ..Shape::default() });
        let begun = world.now();
        near.write_all(b"ask").await.unwrap();
        let mut buf = [0; 8];
        assert_eq!(far.read(&mut buf).await.unwrap(), 2);
        assert_eq!(world.now() - begun, Duration::from_millis(250));
        assert_eq!(far.read(&mut buf).await.unwrap(), 1);
        // The other direction is as fast as ever, and so is this one once it is healed.
        world.heal_addr(server, client);
        let begun = world.now();
        far.write_all(b"answer").await.unwrap();
        assert_eq!(near.read(&mut buf).await.unwrap(), 6);
        near.write_all(b"thanks").await.unwrap();
        assert_eq!(far.read(&mut buf).await.unwrap(), 6);
        assert_eq!(world.now(), begun);
        assert_eq!(world.half_open_addr(client, ip("10.0.9.9")), 0);
        assert_eq!(world.half_open_addr(client, server), 1);
        assert_eq!(near.read(&mut buf).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        far.write_all(b"hello?").await.unwrap();
        assert_eq!(far.read(&mut buf).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn what_is_lost_arrives_with_a_retransmission_and_in_order() {
    let run = |seed| {
        SimWorld::run(config(seed, 0..1), |world| async move {
            let (mut far, mut near) = pair(&world).await;
            world.shape("client", "server", Shape { loss: 40, ..Shape::default() });
            let (mut waits, mut byte) = (Vec::new(), [0]);
            for n in 0..60 {
                let begun = world.now();
                near.write_all(&[n]).await.unwrap();
                far.read_exact(&mut byte).await.unwrap();
                assert_eq!(byte, [n]);
                waits.push((world.now() - begun).as_millis());
            }
            // What follows a lost segment waits for it.
            let begun = world.now();
            near.write_all(&[0; 400]).await.unwrap();
            near.write_all(&[1; 400]).await.unwrap();
            let mut all = [7; 800];
            far.read_exact(&mut all).await.unwrap();
            assert!(all[..400].iter().all(|b| *b == 0) && all[400..].iter().all(|b| *b == 1));
            // The other direction loses nothing.
            let back = world.now();
            far.write_all(b"back").await.unwrap();
            near.read_exact(&mut [0; 4]).await.unwrap();
            assert_eq!(world.now(), back);
            (waits, back - begun)
        })
    };
    let (waits, _) = run(7);
    let lost = waits.iter().filter(|ms| **ms > 0).count();
    assert!((12..36).contains(&lost), "{waits:?}");
    assert!(waits.iter().all(|ms| [0, 200, 600, 1400, 3000, 6200, 12_600].contains(ms)), "{waits:?}");
    assert!(waits.iter().any(|ms| *ms > 200), "{waits:?}");
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}
