//! `key=value` text (RFC 7143 section 6.1) and binary values (section 6.1, "large binary values").
//!
//! Pairs end with a NUL byte. A text negotiation may be cut anywhere between PDUs (C bit); join the pieces before
//! decoding. This module knows the syntax only: which keys exist and how they are negotiated is the peers' business.

/// A key that was answered with "I do not know this key".
pub const NOT_UNDERSTOOD: &str = "NotUnderstood";
/// A key whose value does not matter because of another key's value.
pub const IRRELEVANT: &str = "Irrelevant";
/// A value that was refused.
pub const REJECT: &str = "Reject";
/// "No authentication", "no digest".
pub const NONE: &str = "None";

/// Bounds on text that comes from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// Largest number of pairs.
    pub max_pairs: usize,
    /// Longest key name in bytes (the RFC allows 63).
    pub max_key: usize,
    /// Longest value in bytes (the RFC allows 255 for simple and 65,536 for binary values).
    pub max_value: usize,
}

impl KeyLimits {
    /// The bounds of RFC 7143 section 6.1 (63-byte keys; values up to what one binary value may take) and 256 pairs.
    pub const RFC: KeyLimits = KeyLimits { max_pairs: 256, max_key: 63, max_value: 8192 };
}

/// Why text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A pair without `=`.
    #[error("a text pair has no '='")]
    NoEquals,
    /// The key is empty, too long, or has bytes outside the permitted set.
    #[error("a key name is empty, too long or has a forbidden byte")]
    BadKey,
    /// The value is longer than the limit.
    #[error("a value is longer than {limit} bytes")]
    ValueTooLong {
        /// The caller's limit, bytes.
        limit: usize,
    },
    /// The value is not UTF-8 or has control characters.
    #[error("a value is not printable UTF-8")]
    BadValue,
    /// More pairs than the limit.
    #[error("more than {limit} pairs")]
    TooMany {
        /// The caller's limit.
        limit: usize,
    },
    /// The last pair does not end with NUL.
    #[error("the last pair does not end with NUL")]
    Unterminated,
}

/// One `key=value` pair.
pub type Pair = (String, String);

/// Splits text into its pairs, in order, duplicates kept. Empty text has no pairs.
pub fn decode(text: &[u8], limits: KeyLimits) -> Result<Vec<Pair>, KeyError> {
    let mut pairs = Vec::new();
    if text.is_empty() {
        return Ok(pairs);
    }
    // Some peers pad with NULs beyond the last pair; those give empty pieces and are ignored.
    let Some(body) = text.strip_suffix(&[0]) else {
        return Err(KeyError::Unterminated);
    };
    for piece in body.split(|b| *b == 0).filter(|p| !p.is_empty()) {
        if pairs.len() == limits.max_pairs {
            return Err(KeyError::TooMany { limit: limits.max_pairs });
        }
        let at = piece.iter().position(|b| *b == b'=').ok_or(KeyError::NoEquals)?;
        let (key, value) = (&piece[..at], &piece[at + 1..]);
        if key.is_empty() || key.len() > limits.max_key || !key.iter().all(|b| is_key_byte(*b)) {
            return Err(KeyError::BadKey);
        }
        if value.len() > limits.max_value {
            return Err(KeyError::ValueTooLong { limit: limits.max_value });
        }
        let value = std::str::from_utf8(value).map_err(|_| KeyError::BadValue)?;
        if value.chars().any(char::is_control) {
            return Err(KeyError::BadValue);
        }
        let key = std::str::from_utf8(key).map_err(|_| KeyError::BadKey)?;
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

/// Standard-label bytes: letters, digits, `.-+@_` (RFC 7143 section 6.1), and the `#` of registered extension keys
/// (`X#NodeArchitecture`, section 13.26).
fn is_key_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'@' | b'_' | b'#')
}

/// Joins pairs into NUL-terminated text.
pub fn encode<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in pairs {
        text.extend_from_slice(key.as_ref().as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_ref().as_bytes());
        text.push(0);
    }
    text
}

/// A binary value in hexadecimal, `0x` and two digits for each byte.
pub fn encode_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("0x");
    for b in bytes {
        text.push(char::from(HEX[usize::from(b >> 4)]));
        text.push(char::from(HEX[usize::from(b & 15)]));
    }
    text
}

/// A binary value in base64, `0b` and padded groups.
pub fn encode_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + bytes.len().div_ceil(3) * 4);
    text.push_str("0b");
    for group in bytes.chunks(3) {
        let word = group.iter().enumerate().fold(0u32, |w, (i, b)| w | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            text.push(match i <= group.len() {
                true => char::from(BASE64[(word >> (18 - 6 * i) & 63) as usize]),
                false => '=',
            });
        }
    }
    text
}

/// Reads a binary value of either form, at most `max` bytes long. `None` when the text is malformed or too long.
///
/// Hexadecimal with an odd number of digits has an implied leading zero, as a number would.
pub fn decode_binary(text: &str, max: usize) -> Option<Vec<u8>> {
    let (prefix, digits) = text.split_at_checked(2)?;
    match prefix {
        "0x" | "0X" => decode_hex(digits.as_bytes(), max),
        "0b" | "0B" => decode_base64(digits.as_bytes(), max),
        _ => None,
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn decode_hex(digits: &[u8], max: usize) -> Option<Vec<u8>> {
    if digits.is_empty() || digits.len().div_ceil(2) > max {
        return None;
    }
    let nibble = |d: u8| char::from(d).to_digit(16).map(|v| v as u8);
    let (first, rest) = digits.split_at(digits.len() % 2);
    let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
    if let [d] = first {
        bytes.push(nibble(*d)?);
    }
    for pair in rest.chunks_exact(2) {
        bytes.push(nibble(pair[0])? << 4 | nibble(pair[1])?);
    }
    Some(bytes)
}

fn decode_base64(digits: &[u8], max: usize) -> Option<Vec<u8>> {
    if digits.is_empty() || !digits.len().is_multiple_of(4) || digits.len() / 4 * 3 > max + 2 {
        return None;
    }
    let body = digits.strip_suffix(b"==").or_else(|| digits.strip_suffix(b"=")).unwrap_or(digits);
    let mut bytes = Vec::with_capacity(body.len() * 3 / 4);
    for group in body.chunks(4) {
        let mut word = 0u32;
        for (i, d) in group.iter().enumerate() {
            word |= (BASE64.iter().position(|c| c == d)? as u32) << (18 - 6 * i);
        }
        let count = group.len() * 6 / 8;
        let all = word.to_be_bytes();
        // Bits beyond the last whole byte must be zero, so that each value has one spelling.
        if all[1 + count..].iter().any(|b| *b != 0) {
            return None;
        }
        bytes.extend_from_slice(&all[1..1 + count]);
    }
    (bytes.len() <= max).then_some(bytes)
}
