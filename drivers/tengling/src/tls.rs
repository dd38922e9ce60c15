//! TLS of the management connection: rustls with the ring provider, certificate checking as configured.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::config::TlsPolicy;

/// Most certificates read from a directory or file.
const MOST_CERTS: usize = 10_000;

/// Builds the client side. With checking on, an empty or unreadable set of trusted certificates is an error: the
/// check fails closed (API-009).
pub(crate) fn client_config(policy: &TlsPolicy) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS set-up: {e}"))?;
    if !policy.verify {
        let verifier = Arc::new(AnyCertificate(provider));
        return Ok(Arc::new(
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth(),
        ));
    }
    let mut roots = RootCertStore::empty();
    let mut problem = None;
    match &policy.ca {
        Some(path) => problem = add_path(&mut roots, path),
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        let none = || "driver_ssl_cert_verify is on, but no trusted certificate was found".to_owned();
        return Err(problem.unwrap_or_else(none));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| format!("trusted certificates: {e}"))?;
    Ok(Arc::new(builder.with_webpki_verifier(verifier).with_no_client_auth()))
}

/// Adds every certificate of the file, or of the files of the directory, and says what was wrong first, if anything. What is no
/// certificate is passed over: there may be other files, and other things in them. Fewer certificates never let more through,
/// and with none at all the caller refuses.
fn add_path(roots: &mut RootCertStore, path: &Path) -> Option<String> {
    let mut problem = None;
    let mut wrong = |e: &dyn Display| {
        problem.get_or_insert_with(|| format!("driver_ssl_cert_path {}: {e}", path.display()));
    };
    let mut files = Vec::new();
    if path.is_dir() {
        match std::fs::read_dir(path) {
            Ok(entries) => files.extend(entries.filter_map(Result::ok).map(|e| e.path())),
            Err(e) => wrong(&e),
        }
        files.retain(|p| p.is_file());
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    for file in files.iter().take(MOST_CERTS) {
        match CertificateDer::pem_file_iter(file) {
            Ok(certs) => {
                for cert in certs.take(MOST_CERTS) {
                    match cert {
                        Ok(cert) => {
                            roots.add_parsable_certificates([cert]);
                        }
                        Err(e) => {
                            wrong(&e);
                            break;
                        }
                    }
                }
            }
            Err(e) => wrong(&e),
        }
    }
    problem
}

/// Takes any certificate, as Cinder drivers do by default; signatures of the handshake are still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
