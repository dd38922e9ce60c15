//! Certificate policy on real loopback sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::common::{Peer, options};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use sanbench_api::{DriverError, VolumeDriver};
use sanbench_tengling::{TenglingConfig, TenglingDriver};
use sanbench_world::{Env, FaultPlan, LiveConfig, LiveWorld};
use tokio_rustls::TlsAcceptor;

async fn serve(env: &Env, names: &[&str]) -> (SocketAddr, String) {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut listener = env.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr();
    let (peer, env2) = (Peer::default(), env.clone());
    drop(env.spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let (acceptor, peer, env3) = (acceptor.clone(), peer.clone(), env2.clone());
            drop(env2.spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    peer.connection(env3, stream).await;
                }
            }));
        }
    }));
    (address, made.cert.pem())
}

async fn setup(env: &Env, sanip: &str, extra: &[(&str, &str)]) -> Result<(), DriverError> {
    let mut all = vec![("tengling_sanip", sanip)];
    all.extend_from_slice(extra);
    let (mut config, _) = TenglingConfig::from_options(&options(&all)).unwrap();
    // A refused certificate stays refused: do not spend the test's time on repetitions.
    config.limits.attempts = 1;
    let driver = TenglingDriver::new(env.clone(), config);
    let done = driver.do_setup().await;
    driver.shutdown().await;
    done
}

#[test]
fn certificates_are_checked_exactly_when_configured() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let world = LiveWorld::new(LiveConfig {
            seed: 1,
            trace: false,
            state_dir: dir.path().to_owned(),
            faults: FaultPlan::default(),
            capture: false,
        })
        .unwrap();
        let env = world.node("control", &[]);
        let (address, pem) = serve(&env, &["127.0.0.1"]).await;
        let (other, other_pem) = serve(&env, &["san.example"]).await;
        let (url, other) = (address.to_string(), other.to_string());
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, pem + &other_pem).unwrap();
        // A directory may hold other things as well, but it must hold a certificate.
        let broken = "-----BEGIN CERTIFICATE-----\nno base64 at all!\n-----END CERTIFICATE-----\n";
        let [mixed, other_things] = ["mixed", "other"].map(|name| dir.path().join(name));
        for place in [&mixed, &other_things] {
            std::fs::create_dir(place).unwrap();
            std::fs::write(place.join("a.pem"), broken).unwrap();
            std::fs::write(place.join("README"), "Certificates.\n").unwrap();
        }
        std::fs::copy(&ca, mixed.join("ca.pem")).unwrap();
        let [mixed, other_things] = [&mixed, &other_things].map(|p| p.to_str().unwrap());
        let ca = ca.to_str().unwrap();
        let on = [("driver_ssl_cert_verify", "True")];
        let with_ca = [on[0], ("driver_ssl_cert_path", ca)];

        setup(&env, &url, &[]).await.unwrap();
        for refused in [
            setup(&env, &url, &on).await,
            setup(&env, &url, &[on[0], ("driver_ssl_cert_path", "/nonexistent")]).await,
            setup(&env, &url, &[on[0], ("driver_ssl_cert_path", other_things)]).await,
            // The certificate is trusted, but it names another host.
            setup(&env, &other, &with_ca).await,
        ] {
            assert!(matches!(refused, Err(DriverError::Unreachable { .. })), "{refused:?}");
        }
        setup(&env, &url, &with_ca).await.unwrap();
        setup(&env, &url, &[on[0], ("driver_ssl_cert_path", mixed)]).await.unwrap();
    });
}
