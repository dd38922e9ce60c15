//! Sessions, devices, by-id names and multipath maps of the hosts.

use std::collections::{BTreeMap, BTreeSet};

use sanbench_api::{HostCensus, VolumeId, Wwn};

use super::{Census, Rules, differs, leftover, missing};
use crate::model::world::{Row, Volume, World};
use crate::verdict::Finding;

pub(super) fn compare(world: &World, observed: &Census, rules: &Rules<'_>, out: &mut Vec<Finding>) {
    let wwn = |id: VolumeId| {
        let name = rules.names.lun(id);
        let lun = observed.array.as_ref().and_then(|array| array.lun_by_name(&name));
        lun.map(|lun| lun.wwn).or_else(|| rules.wwns.get(&id).copied())
    };
    for host in &observed.hosts {
        let attached: Vec<(VolumeId, &Volume, Option<Wwn>)> = (world.volumes.iter())
            .filter(|(_, volume)| volume.attached.contains(&host.host))
            .map(|(id, volume)| (*id, volume, wwn(*id)))
            .collect();
        one(host, &attached, out);
        broken(host, out);
        disks(host, &attached, observed, out);
    }
}

/// What a guest was given is the whole device of its volume: a path device or a map, and no part of one.
fn disks(
    host: &HostCensus,
    attached: &[(VolumeId, &Volume, Option<Wwn>)],
    observed: &Census,
    out: &mut Vec<Finding>,
) {
    for (id, _, wwn) in attached {
        let Some(wwn) = wwn else { continue };
        let row = observed.db.attachments.iter().find(|row| row.volume == *id && row.host == host.host);
        let Some(row) = row else { continue };
        let mapping = observed.db.mappings.iter().find(|mapping| mapping.attachment == Some(row.id));
        let Some(path) = mapping.and_then(|mapping| mapping.path.as_deref()) else { continue };
        let device = host.devices.iter().filter(|device| device.wwn == Some(*wwn)).map(|device| &device.name);
        let map = host.maps.iter().filter(|map| map.wwid.to_ascii_lowercase().contains(&wwn.to_string()));
        let whole: Vec<String> =
            device.chain(map.map(|map| &map.name)).map(|name| format!("/dev/{name}")).collect();
        if !whole.iter().any(|name| name == path) {
            let message = format!("the guest on {} was not given the device of volume {id}", host.host);
            out.push(differs("ATT-006", "guest disk", "path", message, whole.join(" or "), path));
        }
    }
}

/// Rules that the host itself says it broke: each stands for a requirement.
fn broken(host: &HostCensus, out: &mut Vec<Finding>) {
    for violation in &host.violations {
        let (rule, text) = violation.split_once(": ").unwrap_or(("", violation));
        let requirement = match rule {
            // Devices, maps, by-id names; sessions and node records.
            "INV-H1" | "INV-H3" => "MPX-007",
            "INV-H2" | "INV-H12" => "CLU-006",
            // Flush before removal; a failed flush keeps the volume, a forced disconnect does not.
            "INV-H4" => "ATT-007",
            "INV-H5" => "ATT-008",
            "INV-H6" => "ATT-019",
            // A failed connect leaves the host as it was; a connect ends in time.
            "INV-H7" | "INV-H9" => "ATT-012",
            "INV-H8" => "EXT-004",
            _ => "ATT-006",
        };
        let message = format!("{} breaks a rule of hosts: {text}", host.host);
        out.push(differs(requirement, "host", "rule", message, "none", violation));
    }
}

fn one(host: &HostCensus, attached: &[(VolumeId, &Volume, Option<Wwn>)], out: &mut Vec<Finding>) {
    let name = &host.host;
    // Without an identity nothing can be told apart; then only an empty host is judged.
    let blind = attached.iter().any(|(_, _, wwn)| wwn.is_none());
    let wanted: BTreeMap<Wwn, (VolumeId, &Volume)> =
        attached.iter().filter_map(|(id, volume, wwn)| wwn.map(|wwn| (wwn, (*id, *volume)))).collect();
    let belongs = |text: &str| {
        let text = text.to_ascii_lowercase();
        blind || wanted.keys().any(|wwn| text.contains(&wwn.to_string()))
    };

    for device in &host.devices {
        match device.wwn.and_then(|wwn| wanted.get(&wwn)) {
            Some((id, volume)) => size(name, "device", &device.name, *id, volume, device.size_bytes, out),
            None if blind => {}
            None => {
                let message = format!("device {} ({}) is left on {name}", device.name, device.hctl);
                out.push(leftover("MPX-007", "device", message));
            }
        }
    }
    for map in &host.maps {
        let owner = wanted.iter().find(|(wwn, _)| map.wwid.to_ascii_lowercase().contains(&wwn.to_string()));
        match owner {
            Some((_, (id, volume))) => size(name, "map", &map.name, *id, volume, map.size_bytes, out),
            None if blind => {}
            None => {
                out.push(leftover("MPX-007", "map", format!("multipath map {} is left on {name}", map.name)))
            }
        }
    }
    for link in &host.by_id {
        if !belongs(link) {
            out.push(leftover("MPX-007", "by-id name", format!("by-id name {link} is left on {name}")));
        }
    }
    for (wwn, (id, _)) in &wanted {
        if !host.devices.iter().any(|device| device.wwn == Some(*wwn)) {
            out.push(missing("ATT-004", "device", format!("volume {id} has no device on {name}")));
        }
    }
    sessions(host, attached.is_empty(), out);
}

fn size(
    host: &str,
    role: &str,
    device: &str,
    id: VolumeId,
    volume: &Volume,
    observed: u64,
    out: &mut Vec<Finding>,
) {
    let expected = volume.size_gib.saturating_mul(1 << 30);
    // A size that is in doubt is judged on the array.
    if observed != expected && volume.row == Row::Healthy {
        let message = format!("{role} {device} on {host} shows the wrong size of volume {id}");
        out.push(differs("EXT-004", role, "size", message, expected, observed));
    }
}

fn sessions(host: &HostCensus, idle: bool, out: &mut Vec<Finding>) {
    let name = &host.host;
    // On an idle host a session is a leak; beside others it is only untidy.
    let requirement = if idle { "CLU-001" } else { "CLU-006" };
    let used: BTreeSet<&str> = host.devices.iter().map(|device| device.portal.as_str()).collect();
    for session in &host.sessions {
        if idle || (session.logged_in && !used.contains(session.portal.as_str())) {
            let message = format!("a session to {} is left on {name}", session.portal);
            out.push(leftover(requirement, "session", message));
        }
    }
    if idle {
        for node in &host.nodes {
            out.push(leftover(requirement, "node record", format!("node record {node} is left on {name}")));
        }
    }
}
