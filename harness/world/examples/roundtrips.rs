//! How fast the simulated network is: 4 KiB answers to 48-byte requests, one at a time, and bulk writes.
//!
//! `cargo run --release -p sanbench-world --example roundtrips`

use std::time::Instant;

use sanbench_world::{SimConfig, SimWorld};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ROUNDS: u32 = 200_000;
const BULK: u32 = 20_000;

fn main() {
    for (label, latency) in [("no latency", 0..1), ("1 ms", 1..2), ("0 or 1 ms", 0..2)] {
        let (seconds, age) = timed(|| round_trips(latency.clone()));
        println!("{label:>10}: {:>9.0} round trips/s ({age:?} of virtual time)", f64::from(ROUNDS) / seconds);
        let (seconds, age) = timed(|| bulk(latency.clone()));
        println!(
            "{label:>10}: {:>9.1} GB/s in 64 KiB writes ({age:?} of virtual time)",
            f64::from(BULK) * 65536.0 / seconds / 1e9
        );
    }
    let (seconds, _) = timed(|| worlds(2000));
    println!("{:>10}: {:>9.0} worlds/s with 5 nodes and one connection each", "set-up", 2000.0 / seconds);
}

#[expect(clippy::disallowed_methods, reason = "this measures real speed")]
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begin = Instant::now();
    let output = work();
    (begin.elapsed().as_secs_f64(), output)
}

fn round_trips(latency: std::ops::Range<u64>) -> std::time::Duration {
    SimWorld::run(SimConfig { latency, ..SimConfig::default() }, |world| async move {
        let server = world.node("server", &["10.0.0.1".parse().expect("a literal")]);
        let client = world.node("client", &["10.0.0.2".parse().expect("a literal")]);
        let portal = "10.0.0.1:3260".parse().expect("a literal");
        let mut listener = server.listen(portal).await.expect("the address is free");
        server.spawn(async move {
            let mut stream = listener.accept().await.expect("the node is up");
            let (mut request, answer) = ([0; 48], [7; 4096]);
            while stream.read_exact(&mut request).await.is_ok() {
                if stream.write_all(&answer).await.is_err() {
                    break;
                }
            }
        });
        let mut stream = client.connect(portal).await.expect("it listens");
        let mut answer = [0; 4096];
        for _ in 0..ROUNDS {
            stream.write_all(&[1; 48]).await.expect("the peer is there");
            stream.read_exact(&mut answer).await.expect("the peer answers");
        }
        world.now()
    })
}

fn bulk(latency: std::ops::Range<u64>) -> std::time::Duration {
    SimWorld::run(SimConfig { latency, ..SimConfig::default() }, |world| async move {
        let server = world.node("server", &["10.0.0.1".parse().expect("a literal")]);
        let client = world.node("client", &["10.0.0.2".parse().expect("a literal")]);
        let portal = "10.0.0.1:3260".parse().expect("a literal");
        let mut listener = server.listen(portal).await.expect("the address is free");
        let reader = server.spawn(async move {
            let mut stream = listener.accept().await.expect("the node is up");
            let mut buf = vec![0; 65536];
            while stream.read(&mut buf).await.is_ok_and(|n| n > 0) {}
        });
        let mut stream = client.connect(portal).await.expect("it listens");
        let chunk = vec![3; 65536];
        for _ in 0..BULK {
            stream.write_all(&chunk).await.expect("the peer is there");
        }
        drop(stream);
        reader.await.expect("the reader reaches the end");
        world.now()
    })
}

fn worlds(count: u64) {
    for seed in 0..count {
        SimWorld::run(SimConfig { seed, ..SimConfig::default() }, |world| async move {
            let portal = "10.0.0.1:3260".parse().expect("a literal");
            let server = world.node("server", &["10.0.0.1".parse().expect("a literal")]);
            let mut listener = server.listen(portal).await.expect("the address is free");
            for n in 2..6u8 {
                let host = world.node(&format!("host-{n}"), &[[10, 0, 0, n].into()]);
                let mut near = host.connect(portal).await.expect("it listens");
                let mut far = listener.accept().await.expect("the node is up");
                near.write_all(b"ping").await.expect("the peer is there");
                far.read_exact(&mut [0; 4]).await.expect("it was sent");
            }
        });
    }
}
