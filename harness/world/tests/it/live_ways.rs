//! Ways of a live world that are cut, slow, reset or half open. Real sockets and a real clock: nothing here asks how long
//! something took, only what cannot happen before something else.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use sanbench_world::sim::WINDOW;
use sanbench_world::{Env, FaultPlan, Listener, LiveConfig, LiveEnd, LiveWorld, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Long enough for what is local to arrive, if it arrives at all.
const MOMENT: Duration = Duration::from_millis(100);
/// Nothing takes so long.
const LIMIT: Duration = Duration::from_secs(30);

struct Site {
    world: LiveWorld,
    host: Env,
    listener: Listener,
    portal: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Site {
    async fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let (state_dir, faults) = (dir.path().join("state"), FaultPlan::default());
        let world =
            LiveWorld::new(LiveConfig { seed: 1, trace: true, state_dir, faults, capture: true }).unwrap();
        let (array, host) = (world.node("array", &[]), world.node("host", &[]));
        let listener = array.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let portal = listener.local_addr();
        Site { world, host, listener, portal, _dir: dir }
    }

    /// Both ends of a new connection: the host's, the array's.
    async fn pair(&mut self) -> (Stream, Stream) {
        let near = self.host.connect(self.portal).await.unwrap();
        (near, self.listener.accept().await.unwrap())
    }

    /// Nothing arrives at this end now.
    async fn silent(&self, stream: &mut Stream) {
        let got = self.host.timeout(MOMENT, stream.read(&mut [0; 64])).await;
        assert!(got.is_err(), "{got:?}");
    }

    async fn gets(&self, stream: &mut Stream, wanted: &[u8]) {
        let mut got = vec![0; wanted.len()];
        self.host.timeout(LIMIT, stream.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(got, wanted);
    }

    async fn breaks(&self, stream: &mut Stream) -> ErrorKind {
        let got = self.host.timeout(LIMIT, stream.read(&mut [0; 64])).await.unwrap();
        got.unwrap_err().kind()
    }
}

#[tokio::test]
async fn a_cut_way_keeps_what_is_sent_and_gives_it_when_it_is_healed() {
    let mut site = Site::new().await;
    let (mut near, mut far) = site.pair().await;
    let other = site.world.node("other", &[]);
    let mut beside = other.connect(site.portal).await.unwrap();
    let mut far_beside = site.listener.accept().await.unwrap();

    site.world.cut_addr("host", site.portal);
    near.write_all(b"ask").await.unwrap();
    far.write_all(b"tell").await.unwrap();
    site.silent(&mut far).await;
    site.silent(&mut near).await;
    // Another host's way to the same portal is another way.
    beside.write_all(b"beside").await.unwrap();
    site.gets(&mut far_beside, b"beside").await;
    // A new connection waits as well.
    let (host, portal) = (site.host.clone(), site.portal);
    let attempt = site.host.spawn(async move { host.connect(portal).await });
    site.host.sleep(MOMENT).await;
    assert!(!attempt.is_finished());

    site.world.heal_addr("host", site.portal);
    site.gets(&mut far, b"ask").await;
    site.gets(&mut near, b"tell").await;
    let mut second = attempt.await.unwrap().unwrap();
    let mut far_second = site.listener.accept().await.unwrap();
    second.write_all(b"again").await.unwrap();
    near.write_all(b"more").await.unwrap();
    site.gets(&mut far_second, b"again").await;
    site.gets(&mut far, b"more").await;
    let events: Vec<_> = site.world.trace().iter().map(|line| line.detail["event"].clone()).collect();
    assert_eq!(events, ["cut", "heal"]);
}

#[tokio::test]
async fn a_reader_that_waits_already_is_cut_off_and_woken() {
    let mut site = Site::new().await;
    let (mut near, mut far) = site.pair().await;
    let reader = site.host.spawn(async move {
        let mut got = [0; 4];
        near.read_exact(&mut got).await.map(|_| got)
    });
    site.host.sleep(MOMENT).await;
    site.world.cut_addr_one_way("host", site.portal, LiveEnd::Node);
    far.write_all(b"late").await.unwrap();
    site.host.sleep(MOMENT).await;
    assert!(!reader.is_finished());
    site.world.heal_all();
    assert_eq!(site.host.timeout(LIMIT, reader).await.unwrap().unwrap().unwrap(), *b"late");
}

#[tokio::test]
async fn one_direction_is_cut_alone() {
    let mut site = Site::new().await;
    let (mut near, mut far) = site.pair().await;
    site.world.cut_addr_one_way("host", site.portal, LiveEnd::Node);
    near.write_all(b"ask").await.unwrap();
    site.gets(&mut far, b"ask").await;
    far.write_all(b"answer").await.unwrap();
    site.silent(&mut near).await;
    site.world.heal_all();
    site.gets(&mut near, b"answer").await;
    site.world.cut_addr_one_way("host", site.portal, LiveEnd::Peer);
    far.write_all(b"news").await.unwrap();
    site.gets(&mut near, b"news").await;
    near.write_all(b"lost?").await.unwrap();
    site.silent(&mut far).await;
    site.world.heal_addr("host", site.portal);
    site.gets(&mut far, b"lost?").await;
}

#[tokio::test]
async fn what_a_cut_way_keeps_is_bounded_and_stays_in_order() {
    let mut site = Site::new().await;
    let (mut near, mut far) = site.pair().await;
    site.world.cut_addr("host", site.portal);
    let data: Vec<u8> = (0..WINDOW + 1000).map(|n| (n % 251) as u8).collect();
    near.write_all(&data[..WINDOW]).await.unwrap();
    let rest = data[WINDOW..].to_vec();
    let writer = site.host.spawn(async move { near.write_all(&rest).await.map(|()| near) });
    site.host.sleep(MOMENT).await;
    assert!(!writer.is_finished(), "more was taken than a window");
    site.world.heal_addr("host", site.portal);
    site.gets(&mut far, &data).await;
    writer.await.unwrap().unwrap();
}

#[tokio::test]
async fn nobody_hears_over_a_cut_way_that_its_owner_has_gone() {
    let mut site = Site::new().await;
    let (mut near, mut far) = site.pair().await;
    let (quiet, mut far_quiet) = site.pair().await;
    site.world.cut_addr("host", site.portal);
    near.write_all(b"last words").await.unwrap();
    near.shutdown().await.unwrap();
    drop((near, quiet));
    site.silent(&mut far).await;
    site.silent(&mut far_quiet).await;
    site.world.heal_addr("host", site.portal);
    site.gets(&mut far, b"last words").await;
    for stream in [&mut far, &mut far_quiet] {
        assert_eq!(site.host.timeout(LIMIT, stream.read(&mut [0; 4])).await.unwrap().unwrap(), 0);
    }
}

#[tokio::test]
async fn a_slow_way_is_late_in_both_directions_and_in_small_segments() {
    let mut site = Site::new().await;
    let (mut near, mut far) = site.pair().await;
    for towards in [LiveEnd::Node, LiveEnd::Peer] {
        site.world.delay_addr("host", site.portal, towards, 150);
        site.world.segment_addr("host", site.portal, towards, 2);
    }
    let begun = site.host.now();
    near.write_all(b"ask").await.unwrap();
    site.gets(&mut far, b"ask").await;
    far.write_all(b"answer").await.unwrap();
    let mut buf = [0; 64];
    assert_eq!(near.read(&mut buf).await.unwrap(), 2);
    assert!(site.host.now() - begun >= Duration::from_millis(300));
    site.gets(&mut near, b"swer").await;
    far.shutdown().await.unwrap();
    assert_eq!(near.read(&mut buf).await.unwrap(), 0, "the end comes behind what was sent");
    site.world.heal_addr("host", site.portal);
    near.write_all(b"thanks").await.unwrap();
    site.gets(&mut far, b"thanks").await;
    assert_eq!(near.read(&mut buf).await.unwrap(), 0);
}

#[tokio::test]
async fn what_a_way_loses_comes_late_and_in_order() {
    let mut site = Site::new().await;
    let (mut near, mut far) = site.pair().await;
    for towards in [LiveEnd::Node, LiveEnd::Peer] {
        site.world.lose_addr("host", site.portal, towards, 50);
    }
    let mut late = 0;
    for n in 0..12u8 {
        let begun = site.host.now();
        near.write_all(&[n; 3]).await.unwrap();
        site.gets(&mut far, &[n; 3]).await;
        far.write_all(&[n; 3]).await.unwrap();
        site.gets(&mut near, &[n; 3]).await;
        late += u32::from(site.host.now() - begun >= Duration::from_millis(200));
        if late == 2 {
            break;
        }
    }
    assert_eq!(late, 2, "of two dozen pieces half are lost");
    near.write_all(b"one ").await.unwrap();
    near.write_all(b"two").await.unwrap();
    site.gets(&mut far, b"one two").await;
    site.world.heal_addr("host", site.portal);
    near.write_all(b"thanks").await.unwrap();
    site.gets(&mut far, b"thanks").await;
}

#[tokio::test]
async fn a_reset_ends_both_ends_of_every_connection_of_that_way() {
    let mut site = Site::new().await;
    let (mut near, mut far) = site.pair().await;
    let (mut second, mut far_second) = site.pair().await;
    let waiting = site.host.spawn(async move { second.read(&mut [0; 4]).await });
    site.host.sleep(MOMENT).await;
    assert_eq!(site.world.reset_addr("other", site.portal), 0);
    assert_eq!(site.world.reset_addr("host", site.portal), 2);
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(site.breaks(&mut near).await, ErrorKind::ConnectionReset);
    assert_eq!(site.breaks(&mut far).await, ErrorKind::ConnectionReset);
    assert_eq!(site.breaks(&mut far_second).await, ErrorKind::ConnectionReset);
    near.shutdown().await.unwrap();
    let (mut near, mut far) = site.pair().await;
    near.write_all(b"new").await.unwrap();
    site.gets(&mut far, b"new").await;
}

#[tokio::test]
async fn an_end_that_forgets_says_nothing_until_it_is_spoken_to() {
    for forgetful in [LiveEnd::Node, LiveEnd::Peer] {
        let mut site = Site::new().await;
        let (near, far) = site.pair().await;
        assert_eq!(site.world.half_open_addr("host", site.portal, forgetful), 1);
        let (mut forgetful, mut other) = if forgetful == LiveEnd::Node { (near, far) } else { (far, near) };
        assert_eq!(site.breaks(&mut forgetful).await, ErrorKind::ConnectionAborted);
        drop(forgetful);
        site.silent(&mut other).await;
        other.write_all(b"hello?").await.unwrap();
        assert_eq!(site.breaks(&mut other).await, ErrorKind::ConnectionReset);
    }
}
