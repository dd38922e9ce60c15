//! The tag of a run: eight hexadecimal digits that begin every UUID the run makes.

use std::fmt;
use std::str::FromStr;

/// Eight lower-case hexadecimal digits. Array object names keep a UUID's first eight digits (the naming rule of
/// OceanStor drivers), so the tag survives into every name on the array.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(pub [u8; 4]);

impl Tag {
    /// Name of the `n`-th host of the run.
    pub fn host(self, n: usize) -> String {
        format!("sb-{self}-{n}")
    }

    /// iSCSI name of the `n`-th host of the run.
    pub fn iqn(self, n: usize) -> String {
        format!("iqn.2026-11.org.sanbench:sb-{self}-{n}")
    }

    /// Whether an array object's name begins with the tag, or is one of our hosts, or ends as our IQNs do.
    pub fn owns(self, name: &str) -> bool {
        let tag = self.to_string();
        name.starts_with(&format!("{tag}-"))
            || name.starts_with(&format!("sb-{tag}-"))
            || name.contains(&format!(":sb-{tag}-"))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Tag {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let ok = text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = u32::from_str_radix(text, 16).map_err(|_| ())?;
        if ok { Ok(Self(number.to_be_bytes())) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owns_only_what_carries_the_tag() {
        let tag: Tag = "00c0ffee".parse().unwrap();
        assert!(
            tag.owns("00c0ffee-0123456789abcdef012345") && tag.owns(&tag.host(1)) && tag.owns(&tag.iqn(2))
        );
        for foreign in
            ["00c0ffe-1", "x00c0ffee-1", "sb-00c0ffe-1", "iqn.1994-05.com.example:sb-00c0ffef-1", ""]
        {
            assert!(!tag.owns(foreign), "{foreign}");
        }
        for bad in ["", "00C0FFEE", "00c0ffe", "00c0ffeeg", "+0c0ffee"] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }
}
