//! Host groups, LUN groups, port groups.

use sanbench_array::{Command, DeviceId, HostGroup, LunGroup, PortGroup, View};

use crate::codes::{self, Failure, Topic};
use crate::dialect::sight::Sight;
use crate::dialect::{Call, Ground, count, device, kind, list};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::number;
use crate::routes::{ASSOCIATED, NAMED, Route, SUBJECT, delete, get, post};

fn object((id, vstore): (u64, u64), name: &str, description: &str, kind: &str, in_view: bool) -> Object {
    Object::new()
        .number("ID", id)
        .number("vstoreId", vstore)
        .text("NAME", name)
        .text("DESCRIPTION", description)
        .text("TYPE", kind)
        .flag("ISADD2MAPPINGVIEW", in_view)
}

/// Answer for a host group.
pub(crate) fn host_group_object(group: &HostGroup) -> Object {
    object((group.id, group.vstore), &group.name, &group.description, "14", !group.views.is_empty())
        .number("hostNumber", group.hosts.len() as u64)
}

/// Answer for a LUN group.
pub(crate) fn lun_group_object(group: &LunGroup) -> Object {
    object((group.id, group.vstore), &group.name, &group.description, "256", !group.views.is_empty())
        .text("APPTYPE", "0")
        .text("GROUPTYPE", "0")
}

/// Answer for a port group.
pub(crate) fn port_group_object(group: &PortGroup) -> Object {
    object((group.id, group.vstore), &group.name, &group.description, "257", !group.views.is_empty())
}

/// The view that an association query names, if it exists.
fn view_of<'a>(sight: Sight<'a>, id: &str) -> Option<&'a View> {
    number(id).and_then(|id| sight.mapping_view(id))
}

/// A list of groups found by association.
fn found<T>(call: &Call<'_>, groups: Vec<T>, mut render: impl FnMut(&T) -> Object) -> Answer {
    Ok(Reply::List(crate::dialect::page(call, groups.iter().map(&mut render))?))
}

/// The calls on groups.
pub(crate) const ROUTES: &[Route] = &[
    get("hostgroup", "Host groups.", |ground, call| {
        let sight = ground.sight();
        let by_id = |id: &str| number(id).and_then(|id| sight.host_group(id));
        let by_name = |name: &str| sight.host_groups_named(name);
        Ok(Reply::List(list(call, by_name, by_id, sight.host_groups(), host_group_object)?))
    })
    .list(),
    post("hostgroup", "Make a host group.", |ground, call| {
        let (name, description) = call.name_and_description()?;
        let id = ground.create(Command::CreateHostGroup { name, description }, Topic::Host)?;
        one_host_group(ground, id)
    })
    .takes(&[NAMED]),
    get("hostgroup/count", "How many host groups there are.", |ground, _| {
        count(ground.sight().host_groups().count())
    }),
    get("hostgroup/associate", "Host groups of a host or mapping view.", |ground, call| {
        found(call, host_groups_of(ground.sight(), call)?, |group| host_group_object(group))
    })
    .takes(&[ASSOCIATED])
    .list(),
    post("hostgroup/associate", "Put a host into a host group.", |ground, call| {
        let (group, host) = group_and_host(call)?;
        ground.apply(Command::AddHostToGroup { group, host }, Topic::Host)?;
        done()
    })
    .takes(&[SUBJECT, ASSOCIATED]),
    delete("hostgroup/associate", "Take a host out of a host group.", remove_host)
        .takes(&[SUBJECT, ASSOCIATED]),
    // The same again under the host's name; ID is the group in both, ASSOCIATEOBJID the host.
    delete("host/associate", "Take a host out of a host group.", remove_host).takes(&[SUBJECT, ASSOCIATED]),
    get("hostgroup/{id}", "A host group.", |ground, call| {
        one_host_group(ground, call.id_at(1, codes::HOST_GROUP_MISSING)?)
    }),
    delete("hostgroup/{id}", "Delete a host group.", |ground, call| {
        let group = call.id_at(1, codes::HOST_GROUP_MISSING)?;
        ground.apply(Command::DeleteHostGroup { group }, Topic::Host)?;
        done()
    }),
    get("lungroup", "LUN groups.", |ground, call| {
        let sight = ground.sight();
        let by_id = |id: &str| number(id).and_then(|id| sight.lun_group(id));
        let by_name = |name: &str| sight.lun_groups_named(name);
        Ok(Reply::List(list(call, by_name, by_id, sight.lun_groups(), lun_group_object)?))
    })
    .list(),
    post("lungroup", "Make a LUN group.", |ground, call| {
        let (name, description) = call.name_and_description()?;
        let id = ground.create(Command::CreateLunGroup { name, description }, Topic::Lun)?;
        one_lun_group(ground, id)
    })
    .takes(&[NAMED]),
    get("lungroup/count", "How many LUN groups there are.", |ground, _| {
        count(ground.sight().lun_groups().count())
    }),
    get("lungroup/associate", "LUN groups of a LUN, snapshot or mapping view.", |ground, call| {
        found(call, lun_groups_of(ground.sight(), call)?, |group| lun_group_object(group))
    })
    .takes(&[ASSOCIATED])
    .list(),
    post("lungroup/associate", "Put a LUN or snapshot into a LUN group.", |ground, call| {
        let (group, object) = group_and_device(call)?;
        ground.apply(Command::AddToLunGroup { group, object }, Topic::Lun)?;
        done()
    })
    .takes(&[SUBJECT, ASSOCIATED]),
    delete("lungroup/associate", "Take a LUN or snapshot out of a LUN group.", |ground, call| {
        let (group, object) = group_and_device(call)?;
        ground.apply(Command::RemoveFromLunGroup { group, object }, Topic::Lun)?;
        done()
    })
    .takes(&[SUBJECT, ASSOCIATED]),
    get("lungroup/{id}", "A LUN group.", |ground, call| {
        one_lun_group(ground, call.id_at(1, codes::OBJECT_MISSING)?)
    }),
    delete("lungroup/{id}", "Delete a LUN group.", |ground, call| {
        let group = call.id_at(1, codes::OBJECT_MISSING)?;
        ground.apply(Command::DeleteLunGroup { group }, Topic::Lun)?;
        done()
    }),
    get("portgroup", "Port groups.", |ground, call| {
        let sight = ground.sight();
        let by_id = |id: &str| number(id).and_then(|id| sight.port_group(id));
        let by_name = |name: &str| sight.port_groups_named(name);
        Ok(Reply::List(list(call, by_name, by_id, sight.port_groups(), port_group_object)?))
    })
    .list(),
    post("portgroup", "Make a port group.", |ground, call| {
        let (name, description) = call.name_and_description()?;
        let id = ground.create(Command::CreatePortGroup { name, description }, Topic::Port)?;
        one_port_group(ground, id)
    })
    .takes(&[NAMED]),
    get("portgroup/count", "How many port groups there are.", |ground, _| {
        count(ground.sight().port_groups().count())
    }),
    get("portgroup/associate", "Port groups of an Ethernet port or mapping view.", |ground, call| {
        found(call, port_groups_of(ground.sight(), call)?, |group| port_group_object(group))
    })
    .takes(&[ASSOCIATED])
    .list(),
    get("portgroup/{id}", "A port group.", |ground, call| {
        one_port_group(ground, call.id_at(1, codes::PORT_GROUP_MISSING)?)
    }),
    delete("portgroup/{id}", "Delete a port group.", |ground, call| {
        let group = call.id_at(1, codes::PORT_GROUP_MISSING)?;
        ground.apply(Command::DeletePortGroup { group }, Topic::Port)?;
        done()
    }),
];

/// ID is the group, ASSOCIATEOBJID the host.
fn group_and_host(call: &Call<'_>) -> Result<(u64, u64), Failure> {
    let group = call.need_id("ID", codes::HOST_GROUP_MISSING)?;
    let (kind, host) = call.associated()?;
    if kind != kind::HOST {
        return Err(Failure::parameter("ASSOCIATEOBJTYPE must be 21"));
    }
    Ok((group, number(&host).ok_or(codes::HOST_MISSING)?))
}

fn remove_host(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (group, host) = group_and_host(call)?;
    ground.apply(Command::RemoveHostFromGroup { group, host }, Topic::Host)?;
    done()
}

/// ID is the group, ASSOCIATEOBJID the LUN or snapshot.
fn group_and_device(call: &Call<'_>) -> Result<(u64, DeviceId), Failure> {
    let group = call.need_id("ID", codes::OBJECT_MISSING)?;
    let (kind, id) = call.associated()?;
    Ok((group, device(kind, &id)?))
}

fn one_host_group(ground: &Ground<'_>, id: u64) -> Answer {
    let group = ground.sight().host_group(id).ok_or(codes::HOST_GROUP_MISSING)?;
    Ok(Reply::One(host_group_object(group)))
}

/// Host groups of a view or of a host.
pub(crate) fn host_groups_of<'a>(sight: Sight<'a>, call: &Call<'_>) -> Result<Vec<&'a HostGroup>, Failure> {
    let (kind, id) = call.associated()?;
    Ok(match kind {
        kind::VIEW => view_of(sight, &id)
            .and_then(|view| view.host_group)
            .and_then(|id| sight.host_group(id))
            .into_iter()
            .collect(),
        kind::HOST => {
            let host = number(&id).and_then(|id| sight.host(id));
            host.into_iter()
                .flat_map(|host| host.groups.iter())
                .filter_map(|id| sight.host_group(*id))
                .collect()
        }
        _ => return Err(Failure::parameter("ASSOCIATEOBJTYPE must be 21 or 245")),
    })
}

fn one_lun_group(ground: &Ground<'_>, id: u64) -> Answer {
    let group = ground.sight().lun_group(id).ok_or(codes::OBJECT_MISSING)?;
    Ok(Reply::One(lun_group_object(group)))
}

/// LUN groups of a view, a LUN or a snapshot.
pub(crate) fn lun_groups_of<'a>(sight: Sight<'a>, call: &Call<'_>) -> Result<Vec<&'a LunGroup>, Failure> {
    let (kind, id) = call.associated()?;
    let id_number = number(&id);
    let groups = match kind {
        kind::VIEW => {
            return Ok(view_of(sight, &id)
                .and_then(|view| view.lun_group)
                .and_then(|id| sight.lun_group(id))
                .into_iter()
                .collect());
        }
        kind::LUN => id_number.and_then(|id| sight.lun(id)).map(|lun| &lun.groups),
        kind::SNAPSHOT => id_number.and_then(|id| sight.snapshot(id)).map(|snapshot| &snapshot.groups),
        _ => return Err(Failure::parameter("ASSOCIATEOBJTYPE must be 11, 27 or 245")),
    };
    Ok(groups.into_iter().flatten().filter_map(|id| sight.lun_group(*id)).collect())
}

fn one_port_group(ground: &Ground<'_>, id: u64) -> Answer {
    let group = ground.sight().port_group(id).ok_or(codes::PORT_GROUP_MISSING)?;
    Ok(Reply::One(port_group_object(group)))
}

/// Port groups of a view or of an Ethernet port.
pub(crate) fn port_groups_of<'a>(sight: Sight<'a>, call: &Call<'_>) -> Result<Vec<&'a PortGroup>, Failure> {
    let (kind, id) = call.associated()?;
    Ok(match kind {
        kind::VIEW => view_of(sight, &id)
            .and_then(|view| view.port_group)
            .and_then(|id| sight.port_group(id))
            .into_iter()
            .collect(),
        kind::ETH_PORT => {
            let port = number(&id);
            sight.port_groups().filter(|group| port.is_some_and(|port| group.ports.contains(&port))).collect()
        }
        kind::FC_PORT => Vec::new(),
        _ => return Err(Failure::parameter("ASSOCIATEOBJTYPE must be 213 or 245")),
    })
}
