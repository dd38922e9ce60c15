//! The bytes of a link. No I/O, no time, no randomness.
//!
//! ```text
//! hello   magic "sanlink" 0, version u32, nonce 32 bytes                 both ends, at once
//! proof   HMAC(secret, "proof" role both-nonces), 32 bytes               both ends, when the other's hello is there
//! frame   length u32 of what follows, tag 16 bytes, message (postcard)   ever after
//! ```
//!
//! Numbers are little-endian. The tag is HMAC-SHA-256 over direction, frame number, and message, cut to 16 bytes, with a key
//! that both nonces make unique to the connection. The message's form is that of its type in `sanbench_array::pair` in
//! this [`VERSION`].

use std::fmt;

use bytes::{Buf, BufMut, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use sanbench_array::Secret;
use sanbench_array::pair::{MESSAGE_DATA, Message};
use sha2::Sha256;

/// Version of hello and messages. Two versions do not talk to each other.
pub const VERSION: u32 = 1;
/// Longest frame behind its length, bytes: the longest data and what goes around it, or the greeting of many pairs.
pub const FRAME_MAX: usize = MESSAGE_DATA + (256 << 10);
/// Bytes of a hello.
pub const HELLO_BYTES: usize = 8 + 4 + 32;
/// Bytes of a proof.
pub const PROOF_BYTES: usize = 32;

const MAGIC: &[u8; 8] = b"sanlink\0";
const TAG: usize = 16;

type Digest = Hmac<Sha256>;

/// Why the other end is not listened to any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No link of ours.
    #[error("this is no link of an array")]
    NotALink,
    /// Another version.
    #[error("the other array speaks version {0} of the link")]
    Version(u32),
    /// It does not know the secret.
    #[error("the other array does not know the secret of the link")]
    Secret,
    /// Longer than any frame.
    #[error("a frame is too long")]
    TooLong,
    /// Changed, repeated, left out or put in.
    #[error("a frame is not what was sent")]
    Tag,
    /// The tag is right and the message is not.
    #[error("a frame holds no message")]
    Message,
}

/// The first thing that both ends say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Random bytes of this connection.
    pub nonce: [u8; 32],
}

impl Hello {
    /// Its bytes.
    pub fn emit(&self) -> [u8; HELLO_BYTES] {
        let mut out = [0; HELLO_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..].copy_from_slice(&self.nonce);
        out
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is none, or of another version.
    pub fn parse(bytes: &[u8; HELLO_BYTES]) -> Result<Self, FrameError> {
        let mut rest = &bytes[..];
        if !rest.starts_with(MAGIC) {
            return Err(FrameError::NotALink);
        }
        rest.advance(MAGIC.len());
        let version = rest.get_u32_le();
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let mut nonce = [0; 32];
        rest.copy_to_slice(&mut nonce);
        Ok(Self { nonce })
    }
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut digest = Digest::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| digest.update(part));
    digest
}

/// One end of a connection after the hellos: proofs, then frames out and in.
pub struct Codec {
    dials: bool,
    secret: Secret,
    /// Nonces of the one who dials and the one who listens.
    nonces: [[u8; 32]; 2],
    key: [u8; 32],
    sent: u64,
    received: u64,
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("sent", &self.sent)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

impl Codec {
    /// The end that has said `own` and heard `other`. `dials` tells which end it is.
    pub fn new(secret: &Secret, dials: bool, own: Hello, other: Hello) -> Self {
        let nonces = if dials { [own.nonce, other.nonce] } else { [other.nonce, own.nonce] };
        let key = keyed(secret.expose(), &[b"frames", &nonces[0], &nonces[1]]).finalize().into_bytes().into();
        Self { dials, secret: secret.clone(), nonces, key, sent: 0, received: 0 }
    }

    fn proof_of(&self, dials: bool) -> Digest {
        let role: &[u8] = if dials { b"proof dials" } else { b"proof listens" };
        keyed(self.secret.expose(), &[role, &self.nonces[0], &self.nonces[1]])
    }

    /// That this end knows the secret.
    pub fn proof(&self) -> [u8; PROOF_BYTES] {
        self.proof_of(self.dials).finalize().into_bytes().into()
    }

    /// Checks that the other end knows it, in constant time.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, proof: &[u8; PROOF_BYTES]) -> Result<(), FrameError> {
        self.proof_of(!self.dials).verify_slice(proof).map_err(|_| FrameError::Secret)
    }

    fn tag(&self, dials: bool, number: u64, body: &[u8]) -> Digest {
        keyed(&self.key, &[&[u8::from(dials)], &number.to_le_bytes(), body])
    }

    /// Appends a message as a frame.
    ///
    /// # Errors
    /// It is longer than any frame may be.
    pub fn encode(&mut self, message: &Message, out: &mut BytesMut) -> Result<(), FrameError> {
        let body = postcard::to_allocvec(message).map_err(|_| FrameError::Message)?;
        if body.len() > FRAME_MAX - TAG {
            return Err(FrameError::TooLong);
        }
        let tag = self.tag(self.dials, self.sent, &body).finalize().into_bytes();
        self.sent += 1;
        out.put_u32_le((TAG + body.len()) as u32);
        out.put_slice(&tag[..TAG]);
        out.put_slice(&body);
        Ok(())
    }

    /// Takes the first whole frame out of the input; none when there is none yet.
    ///
    /// # Errors
    /// The connection must end.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        let Some(length) = input.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > FRAME_MAX {
            return Err(FrameError::TooLong);
        }
        if length < TAG {
            return Err(FrameError::Tag);
        }
        if input.len() < 4 + length {
            return Ok(None);
        }
        input.advance(4);
        let frame = input.split_to(length);
        let (tag, body) = frame.split_at(TAG);
        let expected = self.tag(!self.dials, self.received, body);
        expected.verify_truncated_left(tag).map_err(|_| FrameError::Tag)?;
        self.received += 1;
        match postcard::take_from_bytes(body) {
            Ok((message, [])) => Ok(Some(message)),
            _ => Err(FrameError::Message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;
    use sanbench_array::pair::Change;

    use super::*;

    fn ends(secrets: [&str; 2]) -> [Codec; 2] {
        let hello = |n| Hello { nonce: [n; 32] };
        let secret = |n: usize| Secret::new(secrets[n]);
        [Codec::new(&secret(0), true, hello(1), hello(2)), Codec::new(&secret(1), false, hello(2), hello(1))]
    }

    fn some() -> Vec<Message> {
        let data = Bytes::from(vec![7; 1024]);
        vec![
            Message::Ping { stamp: Duration::from_millis(3) },
            Message::Op { pair: 5, seq: 1, change: Change::Write { lba: 9, data } },
            Message::Differences { unit: 1, run: 2, pair: 3, runs: vec![0..4, 9..u64::MAX], more: false },
            Message::Greeting { serial: "21003400a30d844d".into(), pairs: Vec::new() },
        ]
    }

    fn frames(codec: &mut Codec) -> Vec<BytesMut> {
        let mut encode = |message: &Message| {
            let mut out = BytesMut::new();
            codec.encode(message, &mut out).unwrap();
            out
        };
        some().iter().map(&mut encode).collect()
    }

    #[test]
    fn both_ends_must_know_the_secret() {
        let [a, b] = ends(["one", "one"]);
        assert_eq!((a.check(&b.proof()), b.check(&a.proof())), (Ok(()), Ok(())));
        // Nobody proves anything by saying back what it heard.
        assert_eq!(a.check(&a.proof()), Err(FrameError::Secret));
        let [a, b] = ends(["one", "two"]);
        assert_eq!(
            (a.check(&b.proof()), b.check(&a.proof())),
            (Err(FrameError::Secret), Err(FrameError::Secret))
        );
    }

    #[test]
    fn what_was_repeated_left_out_or_said_by_oneself_is_noticed() {
        let [mut a, mut b] = ends(["one", "one"]);
        let sent = frames(&mut a);
        assert_eq!(b.decode(&mut sent[0].clone()), Ok(some().into_iter().next()));
        assert_eq!(b.decode(&mut sent[0].clone()), Err(FrameError::Tag));
        assert_eq!(b.decode(&mut sent[2].clone()), Err(FrameError::Tag));
        assert_eq!(a.decode(&mut sent[0].clone()), Err(FrameError::Tag));
        assert_eq!(b.decode(&mut BytesMut::from(&[0xff; 64][..])), Err(FrameError::TooLong));
        let hello = Hello { nonce: [3; 32] }.emit();
        assert_eq!(Hello::parse(&hello), Ok(Hello { nonce: [3; 32] }));
        let mut newer = hello;
        newer[8] += 1;
        assert_eq!(Hello::parse(&newer), Err(FrameError::Version(2)));
        newer[0] ^= 1;
        assert_eq!(Hello::parse(&newer), Err(FrameError::NotALink));
    }

    proptest! {
        #[test]
        fn a_stream_in_any_pieces_is_the_messages_and_a_changed_byte_is_noticed(cut in 1..300_usize, at in 0..1400_usize, bit in 0..8_u8) {
            let [mut a, mut b] = ends(["one", "one"]);
            let stream = frames(&mut a).concat();
            let (mut input, mut seen) = (BytesMut::new(), Vec::new());
            for piece in stream.chunks(cut) {
                input.extend_from_slice(piece);
                while let Some(message) = b.decode(&mut input).unwrap() {
                    seen.push(message);
                }
            }
            prop_assert_eq!(seen, some());
            let [_, mut b] = ends(["one", "one"]);
            let mut broken = BytesMut::from(&stream[..]);
            let at = at % broken.len();
            broken[at] ^= 1u8 << bit;
            let mut heard = 0;
            let end = loop {
                match b.decode(&mut broken) {
                    Ok(Some(_)) => heard += 1,
                    other => break other,
                }
            };
            prop_assert!(heard < some().len());
            // A length that has grown waits for what never comes; everything else is refused.
            prop_assert!(end != Ok(None) || !broken.is_empty());
        }

        #[test]
        fn no_bytes_of_a_stranger_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let [_, mut b] = ends(["one", "one"]);
            prop_assert!(!matches!(b.decode(&mut BytesMut::from(&bytes[..])), Ok(Some(_))));
            // Behind the tag stands a parser that takes anything without a panic too.
            let _ = postcard::take_from_bytes::<Message>(&bytes);
        }
    }
}
