//! What the tests of the simulated network share.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::{IpAddr, SocketAddr};

use sanbench_world::{Env, SimConfig, SimWorld, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A literal address.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A literal socket address.
pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The server's address in [`pair`].
pub(crate) const SERVER: &str = "10.0.0.1:3260";

/// A traced and captured world with this latency in ms.
pub(crate) fn config(seed: u64, latency: std::ops::Range<u64>) -> SimConfig {
    SimConfig { seed, trace: true, capture: true, latency, ..SimConfig::default() }
}

/// The nodes "server" (10.0.0.1) and "client" (10.0.0.2).
pub(crate) fn nodes(world: &SimWorld) -> (Env, Env) {
    (world.node("server", &[ip("10.0.0.1")]), world.node("client", &[ip("10.0.0.2")]))
}

/// A connection between the two: (server end, client end).
pub(crate) async fn pair(world: &SimWorld) -> (Stream, Stream) {
    let (server, client) = nodes(world);
    connect(&server, &client).await
}

/// One connection from `client` to a listener that lives only for it.
pub(crate) async fn connect(server: &Env, client: &Env) -> (Stream, Stream) {
    let mut listener = server.listen(at(SERVER)).await.unwrap();
    let near = client.connect(at(SERVER)).await.unwrap();
    let far = listener.accept().await.unwrap();
    (far, near)
}

/// Echoes everything on every connection, in tasks of the node.
pub(crate) async fn echo(env: &Env, on: &str) {
    let mut listener = env.listen(at(on)).await.unwrap();
    let inner = env.clone();
    env.spawn(async move {
        while let Ok(mut stream) = listener.accept().await {
            inner.spawn(async move {
                let mut buf = vec![0; 8192];
                while let Ok(n) = stream.read(&mut buf).await {
                    if n == 0 || stream.write_all(&buf[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
}

/// Sends `data` and reads it back.
pub(crate) async fn ask(stream: &mut Stream, data: &[u8]) -> std::io::Result<()> {
    stream.write_all(data).await?;
    let mut back = vec![0; data.len()];
    stream.read_exact(&mut back).await?;
    assert_eq!(back, data);
    Ok(())
}
