//! CHAP, one-way and mutual (RFC 7143 section 12.1.3, RFC 1994; algorithm numbers of the IANA PPP registry).

use sanbench_array::Chap;
use sanbench_wire::keys::{Pair, decode_binary, encode_hex};
use sha2::Digest;
use subtle::ConstantTimeEq;

use crate::defects::TargetDefects;

/// Longest challenge accepted, bytes (RFC 7143 section 12.1.3).
const MAX_CHALLENGE: usize = 1024;
/// Bounds of a secret's length, bytes: 96 bits (RFC 7143 section 9.2.1), the longest text value.
const SECRET: std::ops::RangeInclusive<usize> = 12..=255;
/// Longest list of algorithms looked at, bytes.
const MAX_OFFER: usize = 255;
/// Length of our challenges, bytes. At least as long as the longest response, as RFC 1994 asks.
const CHALLENGE: usize = 32;

/// A hash algorithm of CHAP_A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha3,
}

impl Algorithm {
    const ALL: [Algorithm; 4] = [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha3];

    /// The registered number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Algorithm::Md5 => 5,
            Algorithm::Sha1 => 6,
            Algorithm::Sha256 => 7,
            Algorithm::Sha3 => 8,
        }
    }

    /// The first known algorithm of an offered list, which is in the initiator's order of preference (section 12.1.3).
    fn choose(offer: &str) -> Option<Algorithm> {
        offer.split(',').filter_map(octet).find_map(|n| Algorithm::ALL.into_iter().find(|a| a.number() == n))
    }

    /// `H(identifier || secret || challenge)`.
    pub(crate) fn response(self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        fn hash<D: Digest>(parts: [&[u8]; 3]) -> Vec<u8> {
            let mut hasher = D::new();
            for part in parts {
                hasher.update(part);
            }
            hasher.finalize().to_vec()
        }
        let parts = [&[identifier], secret, challenge];
        match self {
            Algorithm::Md5 => hash::<md5::Md5>(parts),
            Algorithm::Sha1 => hash::<sha1::Sha1>(parts),
            Algorithm::Sha256 => hash::<sha2::Sha256>(parts),
            Algorithm::Sha3 => hash::<sha3::Sha3_256>(parts),
        }
    }
}

/// A number of one octet, decimal or hexadecimal (RFC 7143 section 6.1).
fn octet(text: &str) -> Option<u8> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => u8::from_str_radix(hex, 16).ok(),
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// Why the exchange failed. Told to nobody but the log: the peer hears "authentication failure".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChapFailure {
    #[error("no common CHAP algorithm")]
    NoAlgorithm,
    #[error("a CHAP key is missing, malformed or out of turn")]
    Malformed,
    #[error("wrong CHAP name or response")]
    Wrong,
    #[error("the initiator sent our own challenge back")]
    Reflected,
    #[error("a CHAP secret of less than 96 bits or more than 255 bytes")]
    BadSecret,
    #[error("the initiator wants mutual CHAP and there is no secret for it")]
    NoMutualSecret,
}

#[derive(Debug)]
enum Step {
    Offer,
    Challenged { algorithm: Algorithm, identifier: u8, challenge: Vec<u8> },
    Done,
}

/// The authenticator's side of one exchange.
#[derive(Debug)]
pub(crate) struct Exchange {
    record: Chap,
    step: Step,
    /// Planted: our own challenge is answered when it comes back.
    answers_reflections: bool,
}

impl Exchange {
    pub(crate) fn new(record: Chap, defects: TargetDefects) -> Exchange {
        let answers_reflections = defects.chap_accepts_reflection;
        Exchange { record, step: Step::Offer, answers_reflections }
    }

    /// True once the initiator has proved itself.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.step, Step::Done)
    }

    /// Takes the CHAP keys of one request and gives the keys of the answer.
    pub(crate) fn advance(
        &mut self,
        keys: &[Pair],
        entropy: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Vec<Pair>, ChapFailure> {
        let get = |name: &str| keys.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match &self.step {
            Step::Offer => {
                if keys.len() != 1 {
                    return Err(ChapFailure::Malformed);
                }
                let offer = get("CHAP_A").filter(|offer| offer.len() <= MAX_OFFER);
                let offer = offer.ok_or(ChapFailure::Malformed)?;
                if !SECRET.contains(&self.record.initiator.secret.expose().len()) {
                    return Err(ChapFailure::BadSecret);
                }
                let algorithm = Algorithm::choose(offer).ok_or(ChapFailure::NoAlgorithm)?;
                let mut fresh = [0; CHALLENGE + 1];
                entropy(&mut fresh);
                let (identifier, challenge) = (fresh[0], fresh[1..].to_vec());
                let answer = vec![
                    pair("CHAP_A", algorithm.number().to_string()),
                    pair("CHAP_I", identifier.to_string()),
                    pair("CHAP_C", encode_hex(&challenge)),
                ];
                self.step = Step::Challenged { algorithm, identifier, challenge };
                Ok(answer)
            }
            Step::Challenged { algorithm, identifier, challenge } => {
                let name = get("CHAP_N").ok_or(ChapFailure::Malformed)?;
                let response =
                    get("CHAP_R").and_then(|r| decode_binary(r, 64)).ok_or(ChapFailure::Malformed)?;
                let initiator = &self.record.initiator;
                let expected = algorithm.response(*identifier, initiator.secret.expose(), challenge);
                // Both are always compared, so that the time does not tell which one is wrong.
                let right = expected.ct_eq(&response) & initiator.name.as_bytes().ct_eq(name.as_bytes());
                let mutual = match (get("CHAP_I"), get("CHAP_C")) {
                    (None, None) => None,
                    (Some(id), Some(theirs)) => {
                        let id = octet(id).ok_or(ChapFailure::Malformed)?;
                        let theirs = decode_binary(theirs, MAX_CHALLENGE).ok_or(ChapFailure::Malformed)?;
                        let reflected = theirs == *challenge;
                        if reflected && !self.answers_reflections {
                            return Err(ChapFailure::Reflected);
                        }
                        Some((id, theirs))
                    }
                    _ => return Err(ChapFailure::Malformed),
                };
                if !bool::from(right) {
                    return Err(ChapFailure::Wrong);
                }
                let answer = match mutual {
                    None => Vec::new(),
                    Some((id, theirs)) => {
                        // The same secret both ways would let a reflection through a second session succeed.
                        let own = self.record.mutual.as_ref().filter(|own| own.secret != initiator.secret);
                        let own = own.ok_or(ChapFailure::NoMutualSecret)?;
                        if !SECRET.contains(&own.secret.expose().len()) {
                            return Err(ChapFailure::BadSecret);
                        }
                        let proof = algorithm.response(id, own.secret.expose(), &theirs);
                        vec![pair("CHAP_N", own.name.clone()), pair("CHAP_R", encode_hex(&proof))]
                    }
                };
                self.step = Step::Done;
                Ok(answer)
            }
            Step::Done => Err(ChapFailure::Malformed),
        }
    }
}

fn pair(key: &str, value: String) -> Pair {
    (key.to_owned(), value)
}

#[cfg(test)]
mod tests {
    use sanbench_array::{ChapCredentials, Secret};

    use super::*;

    fn record(mutual: Option<&str>) -> Chap {
        let credentials =
            |name: &str, secret: &str| ChapCredentials { name: name.into(), secret: Secret::new(secret) };
        Chap {
            initiator: credentials("user", "0123456789ab"),
            mutual: mutual.map(|secret| credentials("array", secret)),
        }
    }

    fn keys(list: &[(&str, &str)]) -> Vec<Pair> {
        list.iter().map(|(k, v)| pair(k, (*v).to_owned())).collect()
    }

    /// Runs both sides; `twist` may alter the initiator's second request.
    fn run(
        offer: &str,
        mutual: Option<&str>,
        twist: impl FnOnce(&mut Vec<Pair>, &[u8]),
    ) -> Result<Vec<Pair>, ChapFailure> {
        let mut exchange = Exchange::new(record(mutual), TargetDefects::default());
        let mut entropy = |buf: &mut [u8]| buf.iter_mut().zip(1..).for_each(|(b, i)| *b = i);
        let first = exchange.advance(&keys(&[("CHAP_A", offer)]), &mut entropy)?;
        assert!(!exchange.is_done());
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|a| a.number().to_string() == first[0].1)
            .expect("known algorithm");
        let challenge = decode_binary(&first[2].1, 64).expect("hex");
        let proof = algorithm.response(first[1].1.parse().expect("identifier"), b"0123456789ab", &challenge);
        let mut second = keys(&[("CHAP_N", "user"), ("CHAP_R", &encode_hex(&proof))]);
        twist(&mut second, &challenge);
        let answer = exchange.advance(&second, &mut entropy);
        assert_eq!(exchange.is_done(), answer.is_ok());
        answer
    }

    #[test]
    fn the_first_known_algorithm_wins() {
        for (offer, chosen) in [
            ("5", Some(5)),
            ("8,7,6,5", Some(8)),
            ("99,7,5", Some(7)),
            ("6,5", Some(6)),
            ("0x8", Some(8)),
            ("+5", None),
            ("9,1", None),
            ("", None),
        ] {
            assert_eq!(Algorithm::choose(offer).map(Algorithm::number), chosen, "{offer}");
            assert_eq!(run(offer, None, |_, _| ()).is_ok(), chosen.is_some(), "{offer}");
        }
    }

    /// RFC 1994 defines MD5(id || secret || challenge); the digests are those of `md5sum` and `sha*sum`
    /// over the bytes 01 "secret" "challenge".
    #[test]
    fn responses_are_plain_hashes() {
        let md5 = encode_hex(&Algorithm::Md5.response(1, b"secret", b"challenge"));
        let sha256 = encode_hex(&Algorithm::Sha256.response(1, b"secret", b"challenge"));
        assert_eq!(md5, MD5_OF_EXAMPLE);
        assert_eq!(sha256, SHA256_OF_EXAMPLE);
    }

    const MD5_OF_EXAMPLE: &str = "0x46e47770030e2b4e26a0db72a7efec00";
    const SHA256_OF_EXAMPLE: &str = "0x2dfa0526f4764864b7c3c5bc6596bcead3d8dbd984f4fc1d9f330299f0beced4";

    #[test]
    fn wrong_proofs_fail() {
        assert_eq!(run("5", None, |k, _| k[0].1 = "other".into()), Err(ChapFailure::Wrong));
        assert_eq!(run("5", None, |k, _| k[1].1 = "0x00".into()), Err(ChapFailure::Wrong));
        assert_eq!(run("5", None, |k, _| k[1].1 = "00".into()), Err(ChapFailure::Malformed));
        assert_eq!(run("5", None, |k, _| k.truncate(1)), Err(ChapFailure::Malformed));
    }

    #[test]
    fn mutual() {
        let ask = |keys: &mut Vec<Pair>, _: &[u8]| {
            keys.push(pair("CHAP_I", "7".into()));
            keys.push(pair("CHAP_C", "0x1122".into()));
        };
        let answer = run("7", Some("ba9876543210"), ask).expect("both prove themselves");
        let proof = Algorithm::Sha256.response(7, b"ba9876543210", &[0x11, 0x22]);
        assert_eq!(answer, keys(&[("CHAP_N", "array"), ("CHAP_R", &encode_hex(&proof))]));
        assert_eq!(run("7", None, ask), Err(ChapFailure::NoMutualSecret));
        assert_eq!(
            run("7", Some("0123456789ab"), ask),
            Err(ChapFailure::NoMutualSecret),
            "one secret both ways"
        );
        let reflect = |keys: &mut Vec<Pair>, challenge: &[u8]| {
            keys.push(pair("CHAP_I", "1".into()));
            keys.push(pair("CHAP_C", encode_hex(challenge)));
        };
        assert_eq!(run("7", Some("ba9876543210"), reflect), Err(ChapFailure::Reflected));
        assert_eq!(run("7", Some("short"), ask), Err(ChapFailure::BadSecret));
        for (key, value) in [("CHAP_I", "256"), ("CHAP_I", "-1"), ("CHAP_C", "0x"), ("CHAP_C", "1122")] {
            let spoil = |keys: &mut Vec<Pair>, c: &[u8]| {
                ask(keys, c);
                keys.iter_mut().filter(|(k, _)| k == key).for_each(|(_, v)| *v = value.to_owned());
            };
            assert_eq!(run("7", Some("ba9876543210"), spoil), Err(ChapFailure::Malformed), "{key}={value}");
        }
        for (length, fits) in [(1, true), (1024, true), (1025, false)] {
            for encode in [encode_hex, sanbench_wire::keys::encode_base64] {
                let sized = |keys: &mut Vec<Pair>, c: &[u8]| {
                    ask(keys, c);
                    keys[3].1 = encode(&vec![3; length]);
                };
                assert_eq!(
                    run("7", Some("ba9876543210"), sized).is_ok(),
                    fits,
                    "challenge of {length} bytes"
                );
            }
        }
    }
}
