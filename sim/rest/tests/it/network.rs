//! The server on a simulated network: bytes in, bytes out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::common::{NEW, SERIAL, array};
use sanbench_rest::{RestConfig, serve};
use sanbench_world::{Env, Fault, FaultPlan, SimConfig, SimWorld, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) const ARRAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 8088);

pub(crate) async fn world(world: &SimWorld, config: RestConfig) -> Env {
    let node = world.node("array", &[ARRAY.ip()]);
    let listener = node.listen(ARRAY).await.unwrap();
    let (env, array) = (node.clone(), array(NEW));
    // Dropping the task handle lets the server go on.
    drop(node.spawn(async move { serve(env, array, listener, config).await }));
    world.node("control", &[IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))])
}

/// Reads one answer with a Content-Length; none when the connection ends first.
pub(crate) async fn answer(stream: &mut Stream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0u8; 4096];
        let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
            });
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
    }
}

pub(crate) fn request(method: &str, path: &str, token: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: array\r\niBaseToken: {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) async fn login(stream: &mut Stream) -> String {
    let body = r#"{"username":"admin","password":"Admin@storage1","scope":"0"}"#;
    stream.write_all(request("POST", "/deviceManager/rest/xx/sessions", "", body).as_bytes()).await.unwrap();
    let text = answer(stream).await.unwrap();
    text.split("\"iBaseToken\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[test]
fn keep_alive_one_segment_and_no_date() {
    let run = |seed: u64| {
        SimWorld::run(
            SimConfig { seed, trace: true, capture: true, ..SimConfig::default() },
            |sim| async move {
                let client = world(&sim, RestConfig::default()).await;
                let mut stream = client.connect(ARRAY).await.unwrap();
                let token = login(&mut stream).await;
                for _ in 0..3 {
                    stream
                        .write_all(
                            request("GET", &format!("/deviceManager/rest/{SERIAL}/storagepool"), &token, "")
                                .as_bytes(),
                        )
                        .await
                        .unwrap();
                    let text = answer(&mut stream).await.unwrap();
                    assert!(
                        text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\"NAME\":\"pool0\""),
                        "{text}"
                    );
                    assert!(!text.to_ascii_lowercase().contains("\r\ndate:"), "{text}");
                }
                let answers: Vec<_> = sim
                    .capture()
                    .into_iter()
                    .filter(|segment| segment.src == ARRAY && !segment.bytes.is_empty())
                    .collect();
                assert_eq!(answers.len(), 4, "one segment for each answer");
                let lines: Vec<String> = sim.trace().iter().map(|line| line.to_json_line()).collect();
                (lines, answers.iter().map(|segment| segment.bytes.to_vec()).collect::<Vec<_>>())
            },
        )
    };
    assert_eq!(run(7), run(7), "same seed, same bytes");
    assert_ne!(run(7).1, run(8).1, "tokens come from the seed");
}

#[test]
fn a_dropped_reply_closes_the_connection() {
    let faults = FaultPlan::default().rule("rest.after:GET system", 1, Fault::DropReply);
    SimWorld::run(SimConfig { faults, ..SimConfig::default() }, |sim| async move {
        let client = world(&sim, RestConfig::default()).await;
        let mut stream = client.connect(ARRAY).await.unwrap();
        let token = login(&mut stream).await;
        let get = request("GET", &format!("/deviceManager/rest/{SERIAL}/system/"), &token, "");
        stream.write_all(get.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await, None);
        let mut stream = client.connect(ARRAY).await.unwrap();
        stream.write_all(get.as_bytes()).await.unwrap();
        assert!(answer(&mut stream).await.unwrap().contains("PRODUCTVERSION"));
    });
}

#[test]
fn idle_and_slow_connections_are_closed() {
    let config = RestConfig {
        connection_idle: Duration::from_secs(60),
        head_limit: Duration::from_secs(20),
        read_limit: Duration::from_secs(5),
        ..RestConfig::default()
    };
    SimWorld::run(SimConfig::default(), |sim| async move {
        let client = world(&sim, config).await;
        // Says nothing, or only half a head.
        let half = "POST /deviceManager/rest/xx/sessions HTTP/1.1\r\nHost:";
        for (half, least, most) in [("", 59, 62), (half, 19, 41)] {
            let mut stream = client.connect(ARRAY).await.unwrap();
            stream.write_all(half.as_bytes()).await.unwrap();
            let then = client.now();
            assert_eq!(answer(&mut stream).await, None);
            let waited = client.now() - then;
            assert!((Duration::from_secs(least)..Duration::from_secs(most)).contains(&waited), "{waited:?}");
        }
        // Sends a byte every five seconds: each one comes, the head never does.
        let mut stream = client.connect(ARRAY).await.unwrap();
        let then = client.now();
        while stream.write_all(b"x").await.is_ok() && client.now() - then < Duration::from_secs(300) {
            client.sleep(Duration::from_secs(5)).await;
        }
        assert!(client.now() - then < Duration::from_secs(60), "a slow head holds no connection");
        // Promises a body and never sends it.
        let mut stream = client.connect(ARRAY).await.unwrap();
        let head = "POST /deviceManager/rest/xx/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        let text = answer(&mut stream).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("50331651"), "{text}");
        assert_eq!(answer(&mut stream).await, None, "closed");
    });
}

#[test]
fn huge_heads_and_bodies_are_refused_and_the_server_lives() {
    SimWorld::run(SimConfig::default(), |sim| async move {
        let client = world(&sim, RestConfig::default()).await;
        let mut stream = client.connect(ARRAY).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(200_000));
        let _ = stream.write_all(head.as_bytes()).await;
        if let Some(text) = answer(&mut stream).await {
            assert!(text.starts_with("HTTP/1.1 4"), "{text}");
        }
        let mut stream = client.connect(ARRAY).await.unwrap();
        let head =
            "POST /deviceManager/rest/xx/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = vec![b'x'; 64 * 1024];
        while stream.write_all(&chunk).await.is_ok() {
            if client.timeout(Duration::ZERO, client.sleep(Duration::from_millis(1))).await.is_ok() {
                break;
            }
            if let Ok(text) = client.timeout(Duration::from_millis(5), answer(&mut stream)).await {
                assert!(text.is_none_or(|text| text.contains("50331651")));
                break;
            }
        }
        let mut stream = client.connect(ARRAY).await.unwrap();
        stream.write_all(b"\x16\x03\x01\x02\x00garbage\r\n\r\n").await.unwrap();
        let _ = answer(&mut stream).await;
        let mut stream = client.connect(ARRAY).await.unwrap();
        assert!(!login(&mut stream).await.is_empty());
    });
}

#[test]
fn connections_are_bounded_and_end_with_the_server() {
    let config = RestConfig { connection_limit: 2, ..RestConfig::default() };
    SimWorld::run(SimConfig::default(), |sim| async move {
        let node = sim.node("array", &[ARRAY.ip()]);
        let listener = node.listen(ARRAY).await.unwrap();
        let (env, store) = (node.clone(), array(NEW));
        let server = node.spawn(async move { serve(env, store, listener, config).await });
        let client = sim.node("control", &[IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))]);
        let mut first = client.connect(ARRAY).await.unwrap();
        let mut second = client.connect(ARRAY).await.unwrap();
        login(&mut first).await;
        login(&mut second).await;
        let mut third = client.connect(ARRAY).await.unwrap();
        assert!(
            client.timeout(Duration::from_secs(3), login(&mut third)).await.is_err(),
            "waits in the backlog"
        );
        // Meanwhile the second is used; the first has been idle longest and gives way.
        login(&mut second).await;
        assert!(answer(&mut third).await.unwrap().contains("iBaseToken"), "its turn");
        assert_eq!(answer(&mut first).await, None);
        login(&mut second).await;
        server.abort();
        assert_eq!(answer(&mut second).await, None);
        assert_eq!(answer(&mut third).await, None);
    });
}
