//! Names of objects on the array (array-rest.md section 4): at most 31 characters, the same on every node.

use md5::{Digest, Md5};
use uuid::Uuid;

/// The longest name that the array takes.
pub(crate) const LIMIT: usize = 31;

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

/// `p` + first (31 - len(p)) digits of MD5 over the text form of `id`, where `p` is its first eight digits and a
/// dash. MD5 spreads names here; it protects nothing.
pub(crate) fn object_name(id: &Uuid) -> String {
    let text = id.hyphenated().to_string();
    let mut name = text[..8].to_owned();
    name.push('-');
    name.push_str(&md5_hex(&text)[..LIMIT - 9]);
    name
}

/// A derived name: the object name with its tail replaced by `suffix` (at most 8 ASCII characters).
fn derived(id: &Uuid, suffix: &str) -> String {
    let mut name = object_name(id);
    name.truncate(LIMIT - suffix.len().min(8));
    name.push_str(suffix);
    name
}

/// Name of a deleted volume that stays as the silent parent of linked clones; `attempt` tells apart the rare
/// second one of the same volume id. The letter is no hexadecimal digit, so no volume can have that name.
pub(crate) fn silent_name(id: &Uuid, attempt: u32) -> String {
    match attempt {
        0 => derived(id, "p"),
        n => derived(id, &format!("p{}", n % 10)),
    }
}

/// Name under which the planted defect `second_create_after_lost_answer` makes a LUN first.
pub(crate) fn attempt_name(name: &str, attempt: u32) -> String {
    let kept: String = name.chars().take(LIMIT - 2).collect();
    format!("{kept}x{}", attempt % 10)
}

/// Name of the short-lived snapshot from which a full copy of `id` is made.
pub(crate) fn helper_name(id: &Uuid) -> String {
    derived(id, "s")
}

/// Name of a host object: the host name when it fits, else 31 digits of its MD5. Truncation would make hosts
/// with a long common prefix equal.
pub(crate) fn host_name(host: &str) -> String {
    if !host.is_empty() && host.len() <= LIMIT { host.to_owned() } else { md5_hex(host)[..LIMIT].to_owned() }
}

const HOST_GROUP: &str = "OpenStack_HostGroup_";
const LUN_GROUP: &str = "OpenStack_LunGroup_";
const VIEW: &str = "OpenStack_Mapping_View_";

/// Name of the host group of a host object.
pub(crate) fn host_group_name(host_id: &str) -> String {
    format!("{HOST_GROUP}{host_id}")
}

/// Name of the LUN group of a host object.
pub(crate) fn lun_group_name(host_id: &str) -> String {
    format!("{LUN_GROUP}{host_id}")
}

/// Name of the mapping view of a host object.
pub(crate) fn view_name(host_id: &str) -> String {
    format!("{VIEW}{host_id}")
}

/// The host id in the name of a mapping object of ours: host group, LUN group or mapping view.
pub(crate) fn host_of_mapping_object(name: &str) -> Option<&str> {
    [HOST_GROUP, LUN_GROUP, VIEW]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .filter(|id| !id.is_empty())
}

/// The host id in a LUN group name of ours.
pub(crate) fn host_of_lun_group(name: &str) -> Option<&str> {
    name.strip_prefix(LUN_GROUP).filter(|id| !id.is_empty())
}

const SILENT: &str = "silent parent, was ";
const HELPER: &str = "helper of ";
const COPYING: &str = " (copying)";

/// DESCRIPTION of a volume's LUN: `volume-<uuid>`, and for a linked clone or copy where its content came from.
pub(crate) fn volume_description(id: &Uuid, origin: Option<&str>) -> String {
    match origin {
        None => format!("volume-{}", id.hyphenated()),
        Some(origin) => format!("volume-{} from {origin}", id.hyphenated()),
    }
}

/// DESCRIPTION while a full copy still runs. Such a LUN is never adopted: its content is half.
pub(crate) fn copying_description(description: &str) -> String {
    format!("{description}{COPYING}")
}

/// True for a LUN whose full copy did not end.
pub(crate) fn is_copying(description: &str) -> bool {
    description.ends_with(COPYING)
}

/// True when this DESCRIPTION says that the LUN holds volume `id`.
pub(crate) fn describes_volume(description: &str, id: &Uuid) -> bool {
    description
        .strip_prefix(&volume_description(id, None))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// DESCRIPTION of a silent parent.
pub(crate) fn silent_description(id: &Uuid) -> String {
    format!("{SILENT}volume-{}", id.hyphenated())
}

/// True for a silent parent of ours: the name's shape and the description both say so.
pub(crate) fn is_silent(name: &str, description: &str) -> bool {
    let Some(id) = description.strip_prefix(SILENT).and_then(|d| d.strip_prefix("volume-")) else {
        return false;
    };
    let Ok(id) = Uuid::parse_str(id) else { return false };
    (0..10).any(|attempt| silent_name(&id, attempt) == name)
}

/// DESCRIPTION of a helper snapshot.
pub(crate) fn helper_description(id: &Uuid) -> String {
    format!("{HELPER}volume-{}", id.hyphenated())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_example_holds_and_all_names_fit() {
        let id = Uuid::parse_str("1d2eb4ea-9229-4d7d-b3a3-0201a20878be").unwrap();
        assert_eq!(object_name(&id), "1d2eb4ea-19f4c4091bad3c8f1c3e64");
        assert_eq!(silent_name(&id, 0), "1d2eb4ea-19f4c4091bad3c8f1c3e6p");
        assert_eq!(silent_name(&id, 3), "1d2eb4ea-19f4c4091bad3c8f1c3ep3");
        assert_eq!(helper_name(&id), "1d2eb4ea-19f4c4091bad3c8f1c3e6s");
        assert!(is_silent(&silent_name(&id, 3), &silent_description(&id)));
        assert!(!is_silent(&object_name(&id), &silent_description(&id)));
        assert!(!is_silent(&silent_name(&id, 0), &volume_description(&id, None)));
    }

    #[test]
    fn long_host_names_with_a_common_prefix_stay_apart() {
        let (a, b) = (format!("{}-a", "compute".repeat(6)), format!("{}-b", "compute".repeat(6)));
        assert_ne!(host_name(&a), host_name(&b));
        assert_eq!(host_name(&a).len(), LIMIT);
        assert_eq!(host_name("compute-1"), "compute-1");
    }

    #[test]
    fn a_description_names_exactly_one_volume() {
        let id = Uuid::from_u128(7);
        let plain = volume_description(&id, None);
        assert!(describes_volume(&plain, &id));
        assert!(describes_volume(&copying_description(&volume_description(&id, Some("x"))), &id));
        assert!(!describes_volume(&format!("{plain}0"), &id));
        assert!(!describes_volume(&silent_description(&id), &id));
    }
}
