//! hyper's HTTP/1 server and client run over simulated streams, with axum's router between them.

use std::time::Duration;

use crate::common::{at, config, nodes};
use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use sanbench_world::{Crash, Env, SegmentKind, SimWorld};
use tower::ServiceExt;

const REST: &str = "10.0.0.1:8088";

async fn serve(env: &Env, router: Router) {
    let mut listener = env.listen(at(REST)).await.unwrap();
    let inner = env.clone();
    env.spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let router = router.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                router.clone().oneshot(request.map(Body::new))
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service);
            inner.spawn(connection);
        }
    });
}

fn history(seed: u64) -> (Vec<Bytes>, Duration) {
    SimWorld::run(config(seed, 0..5), |world| async move {
        let (server, client) = nodes(&world);
        let router = Router::new()
            .route("/lun", get(|| async { "lun 7" }))
            .route("/echo", post(|body: Bytes| async move { body }));
        serve(&server, router).await;

        let stream = client.connect(at(REST)).await.unwrap();
        let (mut send, connection) =
            hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.unwrap();
        client.spawn(connection);

        let request = Request::get("/lun").header("host", "array").body(Full::default()).unwrap();
        let response = send.send_request(request).await.unwrap();
        assert!(!response.headers().contains_key("date"), "the wall clock would be on the wire");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "lun 7");

        let body = Bytes::from(vec![b'x'; 300_000]);
        let request = Request::post("/echo").header("host", "array").body(Full::new(body.clone())).unwrap();
        send.ready().await.unwrap();
        let response = send.send_request(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);

        world.crash("server", Crash::Kill);
        assert_eq!(world.pending_tasks("server"), 0, "hyper's connection died with its node");
        let request = Request::get("/lun").header("host", "array").body(Full::default()).unwrap();
        assert!(send.send_request(request).await.is_err());

        let capture = world.capture();
        let data = capture.into_iter().filter(|s| s.kind == SegmentKind::Data).map(|s| s.bytes).collect();
        (data, world.now())
    })
}

#[test]
fn requests_and_answers_are_the_same_for_one_seed() {
    let first = history(1);
    assert_eq!(first, history(1));
    assert_ne!(first.1, history(2).1);
}
