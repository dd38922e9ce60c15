//! Error codes of the array and what they mean for a caller (array-rest.md section 8).

use sanbench_api::RefusalKind;

/// The session is gone; log in and send again.
pub(crate) const SESSION_LOST: &[i64] = &[-401, -403, 1_077_949_069];
/// The controller cannot reach its device; another endpoint may.
pub(crate) const CONTROLLER_LOST: i64 = 4_294_967_297;
/// Back off and send again; nothing was done.
pub(crate) const BUSY: &[i64] = &[1_077_949_006, 1_077_948_995];
/// The array gave up waiting for itself: the work may or may not be done.
pub(crate) const TIMED_OUT: i64 = 1_077_949_001;
/// Too many sessions at login: others may expire.
pub(crate) const TOO_MANY_SESSIONS: i64 = 1_077_949_067;
/// An object of that name exists.
pub(crate) const NAME_EXISTS: i64 = 1_077_948_993;
/// The id exists (initiators).
pub(crate) const ID_EXISTS: i64 = 1_077_948_997;
/// The source of linked clones cannot be deleted.
pub(crate) const HAS_CLONES: i64 = 1_077_936_870;

/// The LUN is in the LUN group already.
pub(crate) const LUN_ALREADY_IN_GROUP: &[i64] = &[1_077_948_997, 1_077_936_862];
/// The LUN is not in the LUN group.
pub(crate) const LUN_NOT_IN_GROUP: &[i64] = &[1_077_948_996, 1_077_936_859, 1_077_936_861];
/// The host is in the host group already.
pub(crate) const HOST_ALREADY_IN_GROUP: &[i64] = &[1_077_937_501];
/// The host is not in the host group.
pub(crate) const HOST_NOT_IN_GROUP: &[i64] = &[1_073_745_412, 1_077_937_498, 1_077_937_500, 1_077_948_996];
/// The group is in the view already.
pub(crate) const ALREADY_IN_VIEW: &[i64] = &[1_073_804_556, 1_073_804_560];
/// The group is not in the view, or there is no such view or group.
pub(crate) const NOT_IN_VIEW: &[i64] =
    &[1_073_804_552, 1_073_804_554, 1_077_951_819, 1_077_937_500, 1_077_936_861, 1_077_948_996];
/// The initiator is bound to no host.
pub(crate) const INITIATOR_NOT_BOUND: &[i64] = &[1_077_950_342, 1_077_948_996];
/// There is no split to start or wait for: the LUN is independent.
pub(crate) const NO_SPLIT: &[i64] = &[1_073_798_172, 1_073_798_176];

use RefusalKind::{Busy, Exists, InvalidInput, LimitReached, NoSpace, NotFound, Unauthorized, Unsupported};

/// Code, class, meaning. Codes that no public source names are those that the bench's array documents for itself;
/// a real array that uses others falls back to [`RefusalKind::Other`].
pub(crate) const TABLE: &[(i64, RefusalKind, &str)] = &[
    (-403, Unauthorized, "session refused"),
    (-401, Unauthorized, "session lost"),
    (50_331_651, InvalidInput, "parameter error"),
    (50_338_560, NotFound, "LUN copy does not exist"),
    (1_073_745_412, NotFound, "host is not in the host group"),
    (1_073_798_147, NotFound, "clone pair does not exist"),
    (1_073_804_552, NotFound, "host group is not in the view"),
    (1_073_804_554, NotFound, "LUN group is not in the view"),
    (1_073_804_556, Exists, "host group is in the view already"),
    (1_073_804_560, Exists, "LUN group is in the view already"),
    (1_073_804_587, NotFound, "not mapped to the host"),
    (1_077_936_859, NotFound, "LUN does not exist"),
    (1_077_936_861, NotFound, "LUN group does not exist"),
    (1_077_936_862, Exists, "LUN is in the LUN group already"),
    (1_077_936_864, Exists, "LUN is mapped to the host already"),
    (1_077_936_870, Busy, "object has linked clones"),
    (1_077_936_871, Busy, "LUN has snapshots"),
    (1_077_936_872, Busy, "LUN or snapshot is mapped"),
    (1_077_936_873, Busy, "LUN is exported"),
    (1_077_936_874, Busy, "a copy job uses the object"),
    (1_077_936_875, InvalidInput, "capacity must grow"),
    (1_077_936_876, NoSpace, "storage pool is full"),
    (1_077_936_877, LimitReached, "limit for objects of this kind reached"),
    (1_077_936_878, LimitReached, "clone chain is too long for the array"),
    (1_077_936_879, InvalidInput, "copy target does not fit its source"),
    (1_077_937_498, NotFound, "host does not exist"),
    (1_077_937_500, NotFound, "host group does not exist"),
    (1_077_937_501, Exists, "host is in the host group already"),
    (1_077_937_502, Busy, "host is in use"),
    (1_077_937_503, Busy, "host group is not empty"),
    (1_077_937_880, NotFound, "snapshot does not exist"),
    (1_077_937_891, InvalidInput, "snapshot is not activated"),
    (1_077_937_892, Busy, "snapshot is activated"),
    (1_077_939_726, NotFound, "volume does not exist"),
    (1_077_948_993, Exists, "name exists"),
    (1_077_948_995, Busy, "system busy (memory)"),
    (1_077_948_996, NotFound, "object does not exist"),
    (1_077_948_997, Exists, "id exists"),
    (1_077_949_001, Busy, "message timeout"),
    (1_077_949_006, Busy, "system busy"),
    (1_077_949_061, Unauthorized, "wrong user name or password"),
    (1_077_949_067, LimitReached, "too many sessions"),
    (1_077_949_069, Unauthorized, "user is offline"),
    (1_077_949_070, Unauthorized, "account is locked"),
    (1_077_949_071, Unauthorized, "client address is locked"),
    (1_077_949_081, Unauthorized, "wrong user name or password"),
    (1_077_950_183, NotFound, "LUN copy does not exist"),
    (1_077_950_342, NotFound, "initiator is in no host"),
    (1_077_950_343, Busy, "initiator is bound to a host"),
    (1_077_951_819, NotFound, "mapping view does not exist"),
    (1_077_951_820, Busy, "group is in a mapping view"),
    (1_077_951_821, Busy, "mapping view is in use"),
    (1_077_951_832, NotFound, "port group does not exist"),
    (1_077_987_870, Unauthorized, "wrong user name or password"),
    (1_077_987_871, Unauthorized, "account is locked"),
    (4_294_967_297, RefusalKind::Other, "device communication error"),
];

/// Licence codes: the function is not offered.
const UNLICENSED: &[i64] = &[1_073_806_606, 1_077_950_233];

/// The class of a code.
pub(crate) fn kind(code: i64) -> RefusalKind {
    if UNLICENSED.contains(&code) {
        return Unsupported;
    }
    TABLE.iter().find(|(c, ..)| *c == code).map_or(RefusalKind::Other, |(_, kind, _)| *kind)
}

/// The meaning of a code in words, when it is known.
pub(crate) fn meaning(code: i64) -> Option<&'static str> {
    TABLE.iter().find(|(c, ..)| *c == code).map(|(.., text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_free_of_duplicates() {
        assert!(TABLE.windows(2).all(|w| w[0].0 < w[1].0));
        let lines: Vec<_> =
            TABLE.iter().map(|(code, kind, text)| format!("{code} {kind:?}: {text}")).collect();
        insta::assert_snapshot!("codes", lines.join("\n"));
        assert_eq!(kind(42), RefusalKind::Other);
    }
}
