//! CHAP as the initiator (RFC 7143 section 12.1.3, RFC 1994): answer the target's challenge, verify the target's
//! answer to ours. Nothing here prints a secret.

use sanbench_api::{ChapAuth, Secret};
use subtle::ConstantTimeEq as _;

/// Longest challenge accepted from a target, bytes (the RFC allows 1,024).
pub const MAX_CHALLENGE: usize = 1024;

/// A CHAP hash with its number in the IANA registry (`CHAP_A`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChapHash {
    /// 5: MD5, mandatory to implement.
    Md5,
    /// 6: SHA-1.
    Sha1,
    /// 7: SHA-256.
    Sha256,
    /// 8: SHA3-256.
    Sha3_256,
}

impl ChapHash {
    /// The `CHAP_A` value.
    pub fn number(self) -> u8 {
        match self {
            Self::Md5 => 5,
            Self::Sha1 => 6,
            Self::Sha256 => 7,
            Self::Sha3_256 => 8,
        }
    }

    /// The hash of a `CHAP_A` value.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha3_256].into_iter().find(|h| h.number() == number)
    }

    /// Length of a response, bytes.
    pub fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha3_256 => 32,
        }
    }

    /// The response: hash of identifier, secret and challenge.
    pub fn response(self, id: u8, secret: &Secret, challenge: &[u8]) -> Vec<u8> {
        fn digest<D: md5::Digest>(id: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
            D::new().chain_update([id]).chain_update(secret).chain_update(challenge).finalize().to_vec()
        }
        let secret = secret.reveal().as_bytes();
        match self {
            Self::Md5 => digest::<md5::Md5>(id, secret, challenge),
            Self::Sha1 => digest::<sha1::Sha1>(id, secret, challenge),
            Self::Sha256 => digest::<sha2::Sha256>(id, secret, challenge),
            Self::Sha3_256 => digest::<sha3::Sha3_256>(id, secret, challenge),
        }
    }
}

/// Identifier and challenge that the initiator sends when the target must prove itself too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnChallenge {
    /// `CHAP_I`.
    pub id: u8,
    /// `CHAP_C`.
    pub challenge: [u8; 32],
}

/// Answers the target's challenge. Refuses a challenge that is ours sent back, and secrets that serve both
/// directions, since either would let the peer use us to compute its own proof (RFC 7143 section 9.2.1).
///
/// # Errors
/// What makes the exchange unsafe.
pub fn answer(
    auth: &ChapAuth,
    own: &OwnChallenge,
    hash: ChapHash,
    id: u8,
    challenge: &[u8],
) -> Result<Vec<u8>, &'static str> {
    if challenge.is_empty() || challenge.len() > MAX_CHALLENGE {
        return Err("challenge length");
    }
    if let Some((_, secret)) = &auth.target {
        if challenge == own.challenge {
            return Err("our challenge was reflected");
        }
        if secret.reveal().as_bytes().ct_eq(auth.password.reveal().as_bytes()).into() {
            return Err("one secret for both directions");
        }
    }
    Ok(hash.response(id, &auth.password, challenge))
}

/// Verifies the target's response in constant time.
///
/// # Errors
/// Wrong name or wrong response.
pub fn verify(
    expected: &(String, Secret),
    own: &OwnChallenge,
    hash: ChapHash,
    name: &str,
    response: &[u8],
) -> Result<(), &'static str> {
    let right = hash.response(own.id, &expected.1, &own.challenge);
    let proven: bool = right.ct_eq(response).into();
    if !proven {
        return Err("wrong response");
    }
    if name != expected.0 { Err("another name") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // Computed with Python: hashlib.md5(b"\x01" + b"secret12secret" + bytes(range(16))).hexdigest() and so on.
        let secret = Secret::new("secret12secret");
        let challenge: Vec<u8> = (0..16).collect();
        let hex = |h: ChapHash| sanbench_wire::keys::encode_hex(&h.response(1, &secret, &challenge));
        assert_eq!(
            [ChapHash::Md5, ChapHash::Sha1, ChapHash::Sha256, ChapHash::Sha3_256].map(hex),
            [
                "0x29f61be97be10b4aa63f1b9db780ad69",
                "0x0155a56a398cbb9822fb82250e9d129ae2603aee",
                "0xc8a29fcca5e5132c734f1d3b3f4a42267918ceb70c232c06e9e93a5d5bd68012",
                "0x39e1af4dfb9ba7a6ae8a108ad659f02eb8a12563aa225ef7404bb4f396b2977c",
            ]
        );
    }

    fn auth() -> ChapAuth {
        ChapAuth {
            username: "host".into(),
            password: Secret::new("one-secret-123"),
            target: Some(("array".into(), Secret::new("two-secret-456"))),
        }
    }

    #[test]
    fn reflection_and_shared_secrets_are_refused() {
        let own = OwnChallenge { id: 9, challenge: [7; 32] };
        assert_eq!(answer(&auth(), &own, ChapHash::Md5, 1, &[7; 32]), Err("our challenge was reflected"));
        let shared = ChapAuth { target: Some(("array".into(), Secret::new("one-secret-123"))), ..auth() };
        assert_eq!(answer(&shared, &own, ChapHash::Md5, 1, &[1]), Err("one secret for both directions"));
        assert!(answer(&auth(), &own, ChapHash::Md5, 1, &[]).is_err());
        assert!(answer(&auth(), &own, ChapHash::Md5, 1, &[0; 1025]).is_err());
        assert!(answer(&auth(), &own, ChapHash::Md5, 1, &[0; 1024]).is_ok());
    }

    #[test]
    fn only_the_right_name_and_response_pass() {
        let own = OwnChallenge { id: 9, challenge: [7; 32] };
        let target = auth().target.unwrap();
        for hash in [ChapHash::Md5, ChapHash::Sha1, ChapHash::Sha256, ChapHash::Sha3_256] {
            let good = hash.response(9, &target.1, &own.challenge);
            assert_eq!(good.len(), hash.length());
            assert_eq!(verify(&target, &own, hash, "array", &good), Ok(()));
            assert!(verify(&target, &own, hash, "other", &good).is_err());
            let mut bad = good.clone();
            bad[0] ^= 1;
            assert!(verify(&target, &own, hash, "array", &bad).is_err());
            assert!(verify(&target, &own, hash, "array", &good[1..]).is_err());
            assert_eq!(ChapHash::from_number(hash.number()), Some(hash));
        }
    }
}
