//! Identifiers as newtypes, so that a snapshot id can never be passed where a volume id is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}")]
pub struct IdError {
    /// What was expected, for people.
    pub kind: &'static str,
    /// What was given (cut to 64 characters).
    pub text: String,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id of exactly these 16 bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Makes a version 4 UUID from 16 random bytes (the caller's world supplies them).
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($kind, " {}"), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| IdError { kind: $kind, text: text.chars().take(64).collect() })
            }
        }
    };
}

uuid_id!(
    /// Identity of a volume in the state database (Cinder `volume.id`).
    VolumeId,
    "volume"
);
uuid_id!(
    /// Identity of a snapshot in the state database (Cinder `snapshot.id`).
    SnapshotId,
    "snapshot"
);
uuid_id!(
    /// Identity of an attachment row (Cinder attachment API, microversion 3.27).
    AttachmentId,
    "attachment"
);
uuid_id!(
    /// Identity of an image (Glance).
    ImageId,
    "image"
);
uuid_id!(
    /// Identity of an instance (Nova).
    InstanceId,
    "instance"
);

/// World wide name of a logical unit: the 16 bytes of its NAA IEEE Registered Extended designator
/// (SPC-4 7.8.6.6.5), from VPD page 83h. Shown as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wwn(pub [u8; 16]);

impl fmt::Display for Wwn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Wwn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "naa.{self}")
    }
}

impl FromStr for Wwn {
    type Err = IdError;

    /// Takes 32 hexadecimal digits of either case, as management APIs answer them.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error =
            || IdError { kind: "WWN of 32 hexadecimal digits", text: text.chars().take(64).collect() };
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return Err(error());
        }
        let nibble = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let (high, low) = nibble(pair[0]).zip(nibble(pair[1])).ok_or_else(error)?;
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Wwn {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Wwn {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wwn_reads_both_cases_and_prints_lower_case() {
        let wwn: Wwn = "6AC0FFEE00000001000000000000002a".parse().unwrap();
        assert_eq!(wwn.to_string(), "6ac0ffee00000001000000000000002a");
        for bad in [
            "",
            "6ac0",
            "6ac0ffee00000001000000000000002",
            "zac0ffee00000001000000000000002a",
            "é".repeat(16).as_str(),
        ] {
            assert!(bad.parse::<Wwn>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn ids_keep_the_first_eight_digits_that_a_tag_needs() {
        let id = VolumeId::from_random([0xab; 16]);
        assert!(id.to_string().starts_with("abababab-"));
        assert_eq!(id.to_string().parse::<VolumeId>().unwrap(), id);
        assert!("nonsense".parse::<VolumeId>().is_err());
    }
}
