//! One seed, one history.

use crate::common::{ask, at, config, echo, ip};
use sanbench_world::{Env, Segment, SimWorld};
use serde_json::json;

fn workload(seed: u64) -> (Vec<String>, Vec<Segment>) {
    SimWorld::run(config(seed, 0..8), |world| async move {
        let array = world.node("array", &[ip("10.0.0.1")]);
        echo(&array, "10.0.0.1:80").await;
        let tasks: Vec<_> = (0..3)
            .map(|n| {
                let host: Env = world.node(&format!("host-{n}"), &[ip(&format!("10.0.1.{n}"))]);
                let inner = host.clone();
                host.spawn(async move {
                    let mut dice = inner.rng("sizes");
                    let mut stream = inner.connect(at("10.0.0.1:80")).await.unwrap();
                    for round in 0..20 {
                        let mut data = vec![0; dice.range(1..9000) as usize];
                        inner.entropy(&mut data);
                        ask(&mut stream, &data).await.unwrap();
                        inner.note("round", || json!({ "n": n, "round": round, "bytes": data.len() }));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        (world.trace().iter().map(|line| line.to_json_line()).collect(), world.capture())
    })
}

#[test]
fn the_same_seed_gives_the_same_bytes_at_the_same_times() {
    let (first, second, other) = (workload(1), workload(1), workload(2));
    assert!(first.0.len() > 60 && first.1.len() > 100);
    assert_eq!(first, second);
    assert_ne!(first.0, other.0);
    assert_ne!(first.1, other.1);
}
