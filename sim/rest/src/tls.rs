//! TLS of the management port: rustls with ring, TLS 1.2 and 1.3, a certificate that is given or made here.

use std::fmt;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Most certificates of a chain.
const CHAIN: usize = 16;

/// Certificate and key that the management port shows.
#[derive(Clone)]
pub struct TlsIdentity(pub(crate) Arc<ServerConfig>);

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity(..)")
    }
}

/// Why there is no identity. Never repeats anything of the key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file is not what it should be.
    #[error("the certificate: {0}")]
    Certificate(String),
    /// The key file is not what it should be.
    #[error("the key holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)")]
    Key,
    /// Certificate and key do not belong together, or use an algorithm that TLS here does not.
    #[error("certificate and key cannot be used: {0}")]
    Pair(#[from] rustls::Error),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Making(#[from] rcgen::Error),
}

impl TlsIdentity {
    /// From PEM: the certificate first, then the chain that signed it, if any; and its private key.
    ///
    /// # Errors
    /// [`TlsError`] says which of the two is wrong.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
            .take(CHAIN + 1)
            .collect::<Result<_, _>>()
            .map_err(|e| TlsError::Certificate(e.to_string()))?;
        if chain.is_empty() || chain.len() > CHAIN {
            return Err(TlsError::Certificate(format!("1 to {CHAIN} certificates in PEM are needed")));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
        Self::new(chain, key)
    }

    /// Makes a certificate for these host names and addresses, and an authority of its own that signs it and whose key is
    /// then forgotten. Also gives the authority's certificate in PEM, for clients that check.
    ///
    /// # Errors
    /// A name that is neither a host name nor an address; [`TlsError::Making`].
    pub fn self_made(names: Vec<String>) -> Result<(Self, String), TlsError> {
        // Fixed dates: the certificate lives as long as its process, and clocks of test machines are wrong at times. The
        // year 2049 is the last that every date format of X.509 can say.
        let (from, to) = (date_time_ymd(2020, 1, 1), date_time_ymd(2049, 12, 31));
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "sanbench simulated array, authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (authority.not_before, authority.not_after) = (from, to);
        let authority_key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "sanbench simulated array");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (from, to);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((Self::new(vec![certificate.der().clone()], key)?, authority_certificate.pem()))
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}
