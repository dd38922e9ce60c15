//! CHAP with MD5 from the initiator's side (RFC 7143 section 12.1.3, RFC 1994).

use md5::{Digest, Md5};
use sanbench_wire::keys::{Pair, decode_binary, encode_base64, encode_hex};

use crate::outcome::{Checked, fail};

/// Longest challenge or response taken from a target, bytes.
const LONGEST: usize = 1024;

/// What an initiator knows. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// CHAP_N of the initiator.
    pub user: String,
    /// Its secret.
    pub secret: String,
    /// Name and secret of the target, for mutual authentication.
    pub target: Option<(String, String)>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.user)
    }
}

/// MD5 over identifier, secret and challenge.
pub(crate) fn response(id: u8, secret: &str, challenge: &[u8]) -> [u8; 16] {
    let mut hash = Md5::new();
    hash.update([id]);
    hash.update(secret.as_bytes());
    hash.update(challenge);
    hash.finalize().into()
}

/// The exchange of one login.
pub(crate) struct Dialogue {
    credentials: Credentials,
    answered: bool,
    none: bool,
    base64: bool,
    mine: Option<(u8, Vec<u8>)>,
}

impl Dialogue {
    pub(crate) fn new(credentials: &Credentials) -> Dialogue {
        Dialogue { credentials: credentials.clone(), answered: false, none: false, base64: false, mine: None }
    }

    /// The stage may be left.
    pub(crate) fn ready(&self) -> bool {
        self.answered || self.none
    }

    /// What to say next.
    pub(crate) fn answer(&mut self, said: &[Pair], fresh: &[u8]) -> Vec<Pair> {
        let value = |key: &str| said.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let pair = |k: &str, v: String| (k.to_owned(), v);
        if value("AuthMethod") == Some("None") {
            self.none = true;
            return Vec::new();
        }
        if value("AuthMethod") == Some("CHAP") {
            return vec![pair("CHAP_A", "5".to_owned())];
        }
        let (Some(id), Some(challenge)) = (
            value("CHAP_I").and_then(|v| v.parse::<u8>().ok()),
            value("CHAP_C").and_then(|v| decode_binary(v, LONGEST)),
        ) else {
            return Vec::new();
        };
        let digest = response(id, &self.credentials.secret, &challenge);
        let write = |bytes: &[u8]| if self.base64 { encode_base64(bytes) } else { encode_hex(bytes) };
        let mut pairs = vec![pair("CHAP_N", self.credentials.user.clone()), pair("CHAP_R", write(&digest))];
        if self.credentials.target.is_some() {
            let id = id.wrapping_add(1);
            pairs.push(pair("CHAP_I", id.to_string()));
            pairs.push(pair("CHAP_C", write(fresh)));
            self.mine = Some((id, fresh.to_vec()));
        }
        self.answered = true;
        pairs
    }

    /// The target's own response must fit, where one was asked for.
    pub(crate) fn verify(&self, said: &[Pair]) -> Checked {
        let (Some((id, challenge)), Some((name, secret))) = (&self.mine, &self.credentials.target) else {
            return Ok(());
        };
        let value = |key: &str| said.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let given = value("CHAP_R").and_then(|v| decode_binary(v, LONGEST)).unwrap_or_default();
        if given == response(*id, secret, challenge) && value("CHAP_N") == Some(name) {
            return Ok(());
        }
        Err(fail("RFC 7143 12.1.3", "the target's own right response", "another one, or none").of("ISC-021"))
    }
}
