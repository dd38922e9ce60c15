//! The live make over real loopback sockets, processes and directories.

use std::io::ErrorKind;
use std::time::Duration;

use sanbench_world::{
    Command, ExecError, Fault, FaultPlan, LiveConfig, LiveWorld, SegmentKind, Stream, TaskGone,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn world(dir: &tempfile::TempDir) -> LiveWorld {
    let faults = FaultPlan::default().rule("p", 1, Fault::Fail);
    let state_dir = dir.path().join("state");
    LiveWorld::new(LiveConfig { seed: 1, trace: true, state_dir, faults, capture: true }).unwrap()
}

#[tokio::test]
async fn streams_are_tcp_and_captured_once() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(&dir);
    let (array, host) = (world.node("array", &[]), world.node("host", &[]));
    let mut listener = array.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let portal = listener.local_addr();
    let server = array.spawn(async move {
        let mut stream: Stream = listener.accept().await.unwrap();
        let mut buf = vec![0; 5];
        stream.read_exact(&mut buf).await.unwrap();
        stream.write_all(b"world").await.unwrap();
        assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
        buf
    });
    let mut stream = host.connect_from(host.addresses()[0], portal).await.unwrap();
    assert_eq!((stream.peer_addr(), stream.local_addr().ip()), (portal, portal.ip()));
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(server.await.unwrap(), b"hello");
    drop(stream);

    let capture = world.capture();
    let seen: Vec<_> = capture.iter().map(|s| (s.kind, s.dst == portal, s.bytes.as_ref())).collect();
    assert_eq!(
        seen,
        [
            (SegmentKind::Syn, true, b"".as_ref()),
            (SegmentKind::Data, true, b"hello"),
            (SegmentKind::Data, false, b"world"),
            (SegmentKind::Fin, true, b""),
        ]
    );
    // The listener went with its task. A child that another test forks at this moment holds a copy of every socket until
    // it becomes its program, so that the port may answer a little longer.
    let mut answers = 0;
    while host
        .connect(portal)
        .await
        .map_or_else(|error| error.kind() != ErrorKind::ConnectionRefused, |_| true)
    {
        answers += 1;
        assert!(answers < 500, "the listener outlives its task");
        host.sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_has_a_clock_a_directory_and_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(&dir);
    let env = world.node("compute/../1", &[]);
    let home = env.disk().directory().unwrap().to_owned();
    assert!(home.is_dir() && home.parent() == Some(dir.path().join("state").as_path()), "{home:?}");

    let before = env.now();
    env.sleep(Duration::from_millis(20)).await;
    assert!(env.now() - before >= Duration::from_millis(20));
    assert!(env.timeout(Duration::from_millis(5), std::future::pending::<()>()).await.is_err());

    assert_ne!(env.uuid_bytes(), env.uuid_bytes());
    assert_eq!(env.rng("x").u64(), world.node("compute/../1", &[]).rng("x").u64());
    assert_eq!(env.fault("p"), Some(Fault::Fail));
    assert_eq!(env.fault("p"), None);
    assert_eq!(world.points_hit()["p"], 2);
    env.note("t", || json!({"a": 1}));
    // The fault that fired is part of the history.
    assert_eq!(world.trace().len(), 2);

    assert_eq!(env.lookup("compute/../1", 5).await.unwrap(), ["127.0.0.1:5".parse().unwrap()]);
    assert!(env.lookup("localhost", 5).await.is_ok());

    let task = env.spawn(std::future::pending::<()>());
    let twins: Vec<_> = (0..100).map(|n| env.spawn(async move { n })).collect();
    for (n, twin) in twins.into_iter().enumerate() {
        assert_eq!(twin.await, Ok(n));
    }
    world.stop("compute/../1");
    assert_eq!(task.await, Err(TaskGone::NodeDown));
    let again = world.node("compute/../1", &[]);
    assert_eq!(again.spawn(async { 5 }).await, Ok(5));
}

#[tokio::test]
async fn children_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let env = world(&dir).node("host", &[]);
    let shell = |script: &str| Command::new("sh").arg("-c").arg(script);

    let output = env.exec(shell("cat; echo out; echo err >&2; exit 3")).await.unwrap();
    assert_eq!((output.status, &*output.stdout, &*output.stderr), (3, &b"out\n"[..], &b"err\n"[..]));
    assert_eq!(env.exec(shell("kill -9 $$")).await.unwrap().status, -9);

    let slow = env.exec(Command::new("sleep").arg("30").timeout(Duration::from_millis(50))).await;
    assert!(matches!(slow, Err(ExecError::TimedOut { .. })));
    let loud = env.exec(Command::new("yes").max_output(1000)).await;
    assert!(matches!(loud, Err(ExecError::TooMuchOutput { limit: 1000, .. })), "{loud:?}");
    let none = env.exec(Command::new("sanbench-no-such-program")).await;
    assert!(matches!(none, Err(ExecError::Start { source, .. }) if source.kind() == ErrorKind::NotFound));
}

#[test]
fn a_live_world_needs_a_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let config = LiveConfig {
        seed: 1,
        trace: false,
        state_dir: dir.path().to_owned(),
        faults: FaultPlan::default(),
        capture: false,
    };
    assert!(LiveWorld::new(config).is_err());
}
