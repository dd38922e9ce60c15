//! TLS on the management port, over a simulated network.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sanbench_rest::{RestConfig, TlsError, TlsIdentity};
use sanbench_world::{SimConfig, SimWorld};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::network::{ARRAY, request, world};

fn client_config(ca: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[test]
fn a_client_that_checks_logs_in_and_strangers_are_sent_away() {
    let (identity, ca) = TlsIdentity::self_made(vec![ARRAY.ip().to_string(), "array".to_owned()]).unwrap();
    let config = RestConfig {
        tls: Some(identity),
        handshake_limit: Duration::from_secs(10),
        connection_limit: 4,
        ..RestConfig::default()
    };
    SimWorld::run(SimConfig::default(), |sim| async move {
        let client = world(&sim, config).await;
        // Plain HTTP, noise, and silence.
        for hello in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &[0xff; 600], &[0x16, 3, 1, 0, 200, 1], b""]
        {
            let mut stream = client.connect(ARRAY).await.unwrap();
            stream.write_all(hello).await.unwrap();
            let then = client.now();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert!(client.now() - then <= Duration::from_secs(11), "sent away in time");
            assert!(rest.len() < 64, "at most an alert");
        }
        for (name, good) in [("array", true), ("10.0.0.1", true), ("other", false)] {
            let stream = client.connect(ARRAY).await.unwrap();
            let name = ServerName::try_from(name).unwrap();
            let connected = TlsConnector::from(client_config(&ca)).connect(name, stream).await;
            assert_eq!(connected.is_ok(), good);
            let Ok(mut stream) = connected else { continue };
            let body = r#"{"username":"admin","password":"Admin@storage1","scope":"0"}"#;
            let login = request("POST", "/deviceManager/rest/xx/sessions", "", body);
            stream.write_all(login.as_bytes()).await.unwrap();
            let mut answer = vec![0; 4096];
            let n = stream.read(&mut answer).await.unwrap();
            assert!(String::from_utf8_lossy(&answer[..n]).contains("iBaseToken"));
        }
    });
}

#[test]
fn certificates_and_keys_that_do_not_fit_are_named() {
    let made = |name: &str| {
        let pair = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    };
    let ((cert, key), (_, other)) = (made("a"), made("b"));
    assert!(TlsIdentity::from_pem(cert.as_bytes(), key.as_bytes()).is_ok());
    let error = |cert: &str, key: &str| TlsIdentity::from_pem(cert.as_bytes(), key.as_bytes()).unwrap_err();
    assert!(matches!(error("", &key), TlsError::Certificate(_)));
    assert!(matches!(error("junk", &key), TlsError::Certificate(_)));
    assert!(matches!(error(&cert, ""), TlsError::Key));
    assert!(matches!(error(&cert, &cert), TlsError::Key));
    assert!(matches!(error(&cert, &other), TlsError::Pair(_)));
    for text in [error("", &key).to_string(), error(&cert, &other).to_string()] {
        assert!(!text.contains("PRIVATE") && !text.contains(&key[60..90]), "{text}");
    }
}
