//! The description that the array serves of itself: whole, and true.

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use crate::common::{Client, NEW, OLD, SERIAL, with};

async fn description(c: &Client) -> Value {
    let request = Request::builder().uri("/openapi.json").body(Body::empty()).unwrap();
    let response = c.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

/// Every operation: method, path, what is said of it.
fn operations(description: &Value) -> Vec<(String, String, Value)> {
    let mut out = Vec::new();
    for (path, entry) in description["paths"].as_object().unwrap() {
        for (method, operation) in entry.as_object().unwrap() {
            out.push((method.to_ascii_uppercase(), path.clone(), operation.clone()));
        }
    }
    out
}

/// A value that fits a schema, and that names nothing that exists.
fn sample(schema: &Value) -> Value {
    if let Some(words) = schema["enum"].as_array() {
        return words[0].clone();
    }
    match schema["type"].as_array().map_or(schema["type"].as_str(), |types| types[0].as_str()) {
        Some("array") => json!(["999999"]),
        _ => json!("999999"),
    }
}

#[test]
fn it_needs_no_session_and_names_every_call_of_the_product_once() {
    let count = |product: &'static str| {
        let mut n = 0;
        with(product, |mut c| {
            c.token.clear();
            let n = &mut n;
            async move {
                let description = description(&c).await;
                assert_eq!(description["openapi"], "3.1.0");
                let operations = operations(&description);
                let mut ids: Vec<_> =
                    operations.iter().map(|(_, _, o)| o["operationId"].to_string()).collect();
                ids.sort();
                ids.dedup();
                assert_eq!(ids.len(), operations.len(), "operation ids are unique");
                let text = description.to_string();
                assert!(!text.contains("Admin@storage1"));
                *n = operations.len();
            }
        });
        n
    };
    let (old, new) = (count(OLD), count(NEW));
    assert!(old > 90 && new > old, "{old} {new}");
}

#[test]
fn what_it_calls_needed_is_needed_and_a_refused_call_changes_nothing() {
    with(NEW, |mut c| async move {
        let description = description(&c).await;
        let before = c.everything();
        for (method, path, operation) in operations(&description) {
            let url = path.replace("{deviceid}", SERIAL).replace("{id}", "999999");
            let no_fields = Vec::new();
            let parameters = operation["parameters"].as_array().unwrap_or(&no_fields);
            let query: Vec<(String, String)> = parameters
                .iter()
                .filter(|p| p["in"] == "query" && p["required"] == true)
                .map(|p| {
                    (
                        p["name"].as_str().unwrap().to_owned(),
                        sample(&p["schema"]).as_str().unwrap().to_owned(),
                    )
                })
                .collect();
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let needed: Vec<String> = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|name| name.as_str().unwrap().to_owned())
                .collect();
            let login = url.contains("/xx/");
            for left_out in needed.iter().chain(query.iter().map(|(name, _)| name)) {
                let pairs: Vec<String> = query
                    .iter()
                    .filter(|(name, _)| name != left_out)
                    .map(|(n, v)| format!("{n}={v}"))
                    .collect();
                let body: Map<String, Value> = needed
                    .iter()
                    .filter(|name| *name != left_out)
                    .map(|name| (name.clone(), sample(&schema["properties"][name])))
                    .collect();
                let url = format!("!{url}?{}", pairs.join("&"));
                let body = if method == "GET" { Value::Null } else { Value::Object(body) };
                let code = c.code(&method, &url, body).await;
                assert_ne!(code, 0, "{method} {url} without {left_out}");
                assert_ne!(code, -401, "{method} {url}: {login}");
            }
        }
        assert_eq!(c.everything(), before);
    });
}

#[test]
fn every_described_call_is_known_to_the_router() {
    for product in [OLD, NEW] {
        with(product, |mut c| async move {
            let description = description(&c).await;
            for (method, path, _) in operations(&description) {
                if path.contains("/sessions") {
                    continue;
                }
                let url = format!("!{}", path.replace("{deviceid}", SERIAL).replace("{id}", "999999"));
                let answer =
                    c.whole(&method, &url, if method == "GET" { Value::Null } else { json!({}) }).await;
                let text = answer["error"]["description"].as_str().unwrap();
                assert!(!text.contains("not supported"), "{method} {path}: {text}");
            }
        });
    }
}
