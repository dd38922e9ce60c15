//! Wrong answers, over a simulated network: what leaves the array, and what the array has done.

use std::time::Duration;

use sanbench_rest::RestConfig;
use sanbench_world::{Fault, FaultPlan, SimConfig, SimWorld, Wrong};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::SERIAL;
use crate::network::{ARRAY, answer, login, request, world};

const LUN: &str = r#"{"NAME":"v","PARENTID":"0","CAPACITY":2097152,"DESCRIPTION":"d"}"#;

/// Makes a LUN under a fault; then looks whether it is there. Gives the first answer, as far as it came, and whether the
/// LUN was made.
fn under(point: &'static str, wrong: Wrong) -> (String, bool) {
    let faults = FaultPlan::default().rule(point, 1, Fault::Answer(wrong));
    let mut seen = (String::new(), false);
    let out = &mut seen;
    SimWorld::run(SimConfig { faults, ..SimConfig::default() }, |sim| async move {
        let client = world(&sim, RestConfig::default()).await;
        let mut stream = client.connect(ARRAY).await.unwrap();
        let token = login(&mut stream).await;
        let base = format!("/deviceManager/rest/{SERIAL}");
        stream.write_all(request("POST", &format!("{base}/lun"), &token, LUN).as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // What comes within a second, and no more than 4 MiB of it.
        let _ = client
            .timeout(Duration::from_secs(1), async {
                let mut chunk = vec![0; 64 << 10];
                while bytes.len() < 4 << 20 {
                    match stream.read(&mut chunk).await {
                        Ok(0) | Err(_) => break,
                        Ok(n) => bytes.extend_from_slice(&chunk[..n]),
                    }
                }
            })
            .await;
        out.0 = String::from_utf8_lossy(&bytes).into_owned();
        drop(stream);
        let mut stream = client.connect(ARRAY).await.unwrap();
        let token = login(&mut stream).await;
        let look = request("GET", &format!("{base}/lun?filter=NAME::v"), &token, "");
        stream.write_all(look.as_bytes()).await.unwrap();
        out.1 = answer(&mut stream).await.unwrap().contains("\"NAME\":\"v\"");
    });
    seen
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn codes_and_statuses_take_the_place_of_the_answer() {
    for (point, made) in [("rest.before:POST lun", false), ("rest.after:POST lun", true)] {
        let (text, done) = under(point, Wrong::Http(503));
        assert!(text.starts_with("HTTP/1.1 503 ") && done == made, "{text}");
        let (text, done) = under(point, Wrong::Code(1_077_949_006));
        assert!(text.contains(r#""code":1077949006"#) && done == made, "{text}");
        let (text, done) = under(point, Wrong::SessionOver);
        assert!(text.contains(r#""code":-401"#) && done == made, "{text}");
        let (text, done) = under(point, Wrong::Garbage);
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("<html>") && done == made, "{text}");
        let (text, done) = under(point, Wrong::Oversized);
        assert!(text.len() >= 4 << 20 && done == made, "{}", text.len());
    }
}

#[test]
fn true_answers_are_altered() {
    // Asked for before the work, they wait for the answer that they alter.
    for point in ["rest.before:POST lun", "rest.after:POST lun"] {
        let (text, done) = under(point, Wrong::Truncated);
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
        let length: usize = length.parse().unwrap();
        assert!(done && (1..length).contains(&body(&text).len()), "{text}");
        let (text, done) = under(point, Wrong::Mistyped);
        let value: serde_json::Value = serde_json::from_str(body(&text)).unwrap();
        assert!(done && value["data"]["ID"].is_array() && value["error"]["code"] == 0, "{text}");
        let (text, done) = under(point, Wrong::Blank);
        let value: serde_json::Value = serde_json::from_str(body(&text)).unwrap();
        assert!(done && value["data"]["ID"] == "" && value["error"]["code"] == 0, "{text}");
        let (text, done) = under(point, Wrong::Overlong);
        let value: serde_json::Value = serde_json::from_str(body(&text)).unwrap();
        let id = value["data"]["ID"].as_str().unwrap();
        assert!(done && id.len() == 5_000 && value["error"]["code"] == 0, "{text}");
        let (text, done) = under(point, Wrong::Newer);
        let value: serde_json::Value = serde_json::from_str(body(&text)).unwrap();
        assert!(done && value["data"]["NAME"] == "v" && value["data"]["newTree"].is_object(), "{text}");
    }
}

#[test]
fn a_connection_closes_under_the_next_request() {
    let faults = FaultPlan::default().rule("rest.after:GET system", 1, Fault::Answer(Wrong::Closing));
    SimWorld::run(SimConfig { faults, ..SimConfig::default() }, |sim| async move {
        let client = world(&sim, RestConfig::default()).await;
        let mut stream = client.connect(ARRAY).await.unwrap();
        let token = login(&mut stream).await;
        let get = request("GET", &format!("/deviceManager/rest/{SERIAL}/system/"), &token, "");
        stream.write_all(get.as_bytes()).await.unwrap();
        let text = answer(&mut stream).await.unwrap();
        assert!(text.contains("PRODUCTVERSION") && !text.to_ascii_lowercase().contains("connection: close"));
        let make = request("POST", &format!("/deviceManager/rest/{SERIAL}/lun"), &token, LUN);
        stream.write_all(make.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await, None);
        let mut stream = client.connect(ARRAY).await.unwrap();
        let look = request("GET", &format!("/deviceManager/rest/{SERIAL}/lun/count"), &token, "");
        stream.write_all(look.as_bytes()).await.unwrap();
        assert!(answer(&mut stream).await.unwrap().contains(r#""COUNT":"0""#), "nothing was done");
    });
}

#[test]
fn every_call_has_its_points() {
    let endpoints = sanbench_rest::endpoints();
    assert!(endpoints.len() > 100, "{}", endpoints.len());
    for wanted in ["POST sessions", "POST lun", "PUT lun/expand", "GET lun/associate", "DELETE mappingview"] {
        assert!(endpoints.iter().any(|(subject, _)| subject == wanted), "{wanted}");
    }
}
