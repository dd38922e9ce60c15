//! Forms on disk that no derive gives.

/// Secrets as hexadecimal digits. The journal alone writes them; `Secret` itself has no serialised form, so that none gets
/// into an answer or a report by a derive.
pub(crate) mod secret {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::Secret;

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        let digits: String = secret.expose().iter().map(|byte| format!("{byte:02x}")).collect();
        to.serialize_str(&digits)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        let digits = String::deserialize(from)?;
        let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
        bytes.map(Secret::new).ok_or_else(|| D::Error::custom("not hexadecimal digits"))
    }
}

/// The reservation of a thick LUN: how much, and the number of its counter. What it counts is counted anew.
pub(crate) mod quota {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::store::{Counter, Quota};

    #[derive(Serialize, Deserialize)]
    struct Form {
        extents: u64,
        counter: u64,
    }

    impl Serialize for Quota {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            Form { extents: self.extents, counter: self.used.number }.serialize(to)
        }
    }

    impl<'de> Deserialize<'de> for Quota {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Quota, D::Error> {
            let Form { extents, counter } = Form::deserialize(from)?;
            Ok(Quota { extents, used: Counter::new(counter) })
        }
    }
}

/// The write cache: whether it is on. What is in it is content by the time that it is written.
pub(crate) mod cache {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::cache::Cache;

    impl Serialize for Cache {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            self.is_on().serialize(to)
        }
    }

    impl<'de> Deserialize<'de> for Cache {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Cache, D::Error> {
            bool::deserialize(from).map(Cache::new)
        }
    }
}
