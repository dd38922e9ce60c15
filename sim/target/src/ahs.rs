//! Additional header segments (RFC 7143 section 11.2.2): found, measured, told apart. None is supported; a well-formed one
//! refuses its command, a malformed one its PDU.

use sanbench_wire::scsi::sense::Asc;

/// Rest of a CDB that is longer than sixteen bytes.
const EXTENDED_CDB: u8 = 1;
/// Expected length of the read part of a bidirectional command.
const BIDIRECTIONAL_READ: u8 = 2;

/// The types of the segments, in order; `None` when they do not fill the header exactly or have a wrong length.
pub(crate) fn walk(mut ahs: &[u8]) -> Option<Vec<u8>> {
    let mut kinds = Vec::new();
    while !ahs.is_empty() {
        let (length, rest) = ahs.split_first_chunk::<2>()?;
        // The length counts what follows the type byte, without padding (section 11.2.2.2).
        let length = usize::from(u16::from_be_bytes(*length));
        let kind = rest.first()? & 0x3f;
        if length == 0 || (kind == BIDIRECTIONAL_READ && length != 5) {
            return None;
        }
        kinds.push(kind);
        ahs = ahs.get((3 + length).next_multiple_of(4)..)?;
    }
    Some(kinds)
}

/// Why a command with these segments is refused: a long CDB by its operation code, all else by what it asks for.
pub(crate) fn refusal(kinds: &[u8]) -> Option<Asc> {
    let first = kinds.first()?;
    Some(if *first == EXTENDED_CDB { Asc::INVALID_OPERATION_CODE } else { Asc::INVALID_FIELD_IN_CDB })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_measured() {
        let long_cdb = [&[0, 17, 1, 0][..], &[7; 16]].concat();
        let read = [0, 5, 2, 0, 0, 0, 2, 0];
        assert_eq!(walk(&[]), Some(vec![]));
        assert_eq!(walk(&long_cdb), Some(vec![1]));
        assert_eq!(walk(&read), Some(vec![2]));
        assert_eq!(walk(&[&long_cdb[..], &read].concat()), Some(vec![1, 2]));
        for bad in [&[0, 0, 1, 0][..], &[0, 5, 1, 0], &[0, 4, 2, 0, 0, 0, 0, 0], &[0xff, 0xff, 1, 0]] {
            assert_eq!(walk(bad), None, "{bad:?}");
        }
        assert_eq!(refusal(&[1]), Some(Asc::INVALID_OPERATION_CODE));
        assert_eq!(refusal(&[2, 1]), Some(Asc::INVALID_FIELD_IN_CDB));
    }
}
