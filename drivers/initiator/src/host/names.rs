//! Names as Linux gives them.

use sanbench_api::Wwn;

/// Name of the `index`-th SCSI disk: `sda` to `sdz`, then `sdaa`.
pub fn sd_name(index: u32) -> String {
    let mut letters = Vec::new();
    let mut rest = index;
    loop {
        letters.push(b'a' + u8::try_from(rest % 26).unwrap_or(0));
        if rest < 26 {
            break;
        }
        rest = rest / 26 - 1;
    }
    let mut name = "sd".to_owned();
    name.extend(letters.iter().rev().map(|l| char::from(*l)));
    name
}

/// Name of the map with this minor number.
pub fn dm_name(minor: u32) -> String {
    format!("dm-{minor}")
}

/// WWID of a map over devices with this name: `3` (NAA) and the hexadecimal digits.
pub fn map_wwid(wwn: &Wwn) -> String {
    format!("3{wwn}")
}

/// The names below `/dev/disk/by-id` that udev makes for a device.
pub fn by_id_names(wwn: &Wwn) -> [String; 2] {
    [format!("/dev/disk/by-id/wwn-0x{wwn}"), format!("/dev/disk/by-id/scsi-3{wwn}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_names_count_like_the_kernel() {
        let names: Vec<String> = [0, 1, 25, 26, 27, 51, 52, 701, 702, 703].map(sd_name).into();
        assert_eq!(names, ["sda", "sdb", "sdz", "sdaa", "sdab", "sdaz", "sdba", "sdzz", "sdaaa", "sdaab"]);
    }
}
