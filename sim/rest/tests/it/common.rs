//! A client that talks to the router without a network, in a paused world.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use sanbench_array::{Array, ArrayConfig, ArrayHandle, PoolConfig, PortalConfig};
use sanbench_rest::{DropConnection, RestConfig, RestState, router};
use sanbench_world::{Env, FaultPlan, SimConfig, SimWorld};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const SERIAL: &str = "21003400a30d844d";
pub(crate) const OLD: &str = "V500R007C61";
pub(crate) const NEW: &str = "V600R003C00";
pub(crate) const GIB: u64 = 2_097_152;

/// An array with two pools of 1000 and 10 GiB, two portals, port group pg0 on both.
pub(crate) fn array(product: &str) -> ArrayHandle {
    let portal = |last: u8, port_no: u32, tpgt: u16| PortalConfig {
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 3260),
        port_no,
        tpgt,
        controller: (tpgt as u8 - 1) % 2,
    };
    let mut array = Array::new(ArrayConfig {
        product: product.to_owned(),
        serial: SERIAL.to_owned(),
        pools: vec![PoolConfig::new("pool0", 1000 * GIB), PoolConfig::new("pool1", 10 * GIB)],
        portals: vec![portal(1, 20200, 1), portal(2, 20201, 2)],
        ..ArrayConfig::default()
    });
    let zero = Duration::ZERO;
    let group =
        sanbench_array::Command::CreatePortGroup { name: "pg0".to_owned(), description: String::new() };
    let group = array.apply(zero, group).unwrap().id().unwrap();
    let ports: Vec<u64> = array.ports().map(|port| port.id).collect();
    for port in ports {
        array.apply(zero, sanbench_array::Command::AddPortToGroup { group, port }).unwrap();
    }
    array.into()
}

pub(crate) struct Client {
    pub(crate) env: Env,
    pub(crate) world: SimWorld,
    pub(crate) state: RestState,
    pub(crate) array: ArrayHandle,
    pub(crate) router: Router,
    pub(crate) token: String,
    /// Calls and their codes, for request-list snapshots.
    pub(crate) log: Vec<String>,
}

/// What came back of a raw request.
pub(crate) enum Raw {
    Answer(StatusCode, Value),
    Dropped,
}

impl Client {
    pub(crate) async fn raw(&self, request: Request<Body>) -> Raw {
        let response = self.router.clone().oneshot(request).await.unwrap();
        if response.extensions().get::<DropConnection>().is_some() {
            return Raw::Dropped;
        }
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Raw::Answer(
            status,
            if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() },
        )
    }

    pub(crate) fn request(&self, method: &str, path: &str, body: Option<String>) -> Request<Body> {
        let url = match path.strip_prefix("!") {
            Some(whole) => whole.to_owned(),
            None => format!("/deviceManager/rest/{SERIAL}/{path}"),
        };
        Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(url)
            .header("iBaseToken", &self.token)
            .header("Content-Type", "application/json")
            .body(body.map_or_else(Body::empty, Body::from))
            .unwrap()
    }

    /// The whole answer of a call that must come back under HTTP 200.
    pub(crate) async fn whole(&mut self, method: &str, path: &str, body: Value) -> Value {
        let text = (!body.is_null()).then(|| body.to_string());
        let Raw::Answer(status, answer) = self.raw(self.request(method, path, text)).await else {
            panic!("{method} {path}: dropped");
        };
        assert_eq!(status, StatusCode::OK, "{method} {path}");
        let code = &answer["error"]["code"];
        self.log.push(format!("{method} {path} -> {code}"));
        answer
    }

    pub(crate) async fn code(&mut self, method: &str, path: &str, body: Value) -> i64 {
        let answer = self.whole(method, path, body).await;
        let code = &answer["error"]["code"];
        code.as_i64().unwrap_or_else(|| code.as_str().unwrap().parse().unwrap())
    }

    /// `data` of a call that must succeed; null when it is absent.
    pub(crate) async fn ok(&mut self, method: &str, path: &str, body: Value) -> Value {
        let mut answer = self.whole(method, path, body).await;
        assert_eq!(answer["error"]["code"], json!(0), "{method} {path}: {answer}");
        answer["data"].take()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Value {
        self.ok("GET", path, Value::Null).await
    }

    /// Creates something and gives its ID.
    pub(crate) async fn make(&mut self, path: &str, body: Value) -> String {
        let data = self.ok("POST", path, body).await;
        data["ID"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn login(&mut self) {
        let body = json!({"username": "admin", "password": "Admin@storage1", "scope": "0"});
        let data = self.ok("POST", "!/deviceManager/rest/xx/sessions", body).await;
        self.token = data["iBaseToken"].as_str().unwrap().to_owned();
        assert_eq!(data["deviceid"], SERIAL);
    }

    pub(crate) async fn lun(&mut self, name: &str, gib: u64) -> String {
        self.make("lun", json!({"NAME": name, "PARENTID": "0", "CAPACITY": gib * GIB, "ALLOCTYPE": 1})).await
    }

    /// Everything that exists, for "nothing has changed".
    pub(crate) fn everything(&self) -> String {
        let counts = self.state.counts();
        let array = self.array.lock();
        assert_eq!(array.audit(), Vec::<String>::new());
        format!("{:?} {counts:?}", array.census())
    }
}

pub(crate) fn with_plan<F>(
    product: &str,
    config: RestConfig,
    faults: FaultPlan,
    body: impl FnOnce(Client) -> F,
) where
    F: Future<Output = ()>,
{
    SimWorld::run(SimConfig { trace: true, faults, ..SimConfig::default() }, |world| async move {
        let env = world.node("array", &[IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))]);
        let array = array(product);
        let state = RestState::new(env.clone(), array.clone(), config);
        let router = router(state.clone());
        let mut client =
            Client { env, world: world.clone(), state, array, router, token: String::new(), log: Vec::new() };
        client.login().await;
        client.log.clear();
        body(client).await;
    });
}

pub(crate) fn with<F>(product: &str, body: impl FnOnce(Client) -> F)
where
    F: Future<Output = ()>,
{
    with_plan(product, RestConfig::default(), FaultPlan::default(), body);
}
