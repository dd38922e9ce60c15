//! Mapping views: which hosts see which LUNs, and under which host LUN ids.

use std::collections::BTreeSet;

use sanbench_array::{Command, DeviceId, Lun, PartitionKind, View};
use serde_json::Value;

use crate::codes::{self, Failure, Topic};
use crate::dialect::sight::Sight;
use crate::dialect::{Call, Ground, bracketed, count, device, group, group_ref, kind, list, page};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::number;
use crate::routes::{ASSOCIATED, Field, Kind, NAMED, Route, SUBJECT, delete, get, need, post, put};

/// Most free host LUN ids that one answer lists.
const LISTED_IDS: usize = 256;

fn object(view: &View) -> Object {
    let id = |group: Option<u64>| group.map_or_else(String::new, |id| id.to_string());
    Object::new()
        .number("ID", view.id)
        .text("NAME", view.name.as_str())
        .text("TYPE", "245")
        .text("DESCRIPTION", view.description.as_str())
        .text("hostGroupId", id(view.host_group))
        .text("lunGroupId", id(view.lun_group))
        .text("portGroupId", id(view.port_group))
        .number("vstoreId", view.vstore)
}

/// LUNs and snapshots associated with a host (with their host LUN ids), a LUN group, a QoS policy or a smart cache. No such
/// object: none.
pub(crate) fn devices_of(
    sight: Sight<'_>,
    kind: u64,
    id: &str,
) -> Result<Vec<(DeviceId, Option<u16>)>, Failure> {
    let id = number(id);
    Ok(match kind {
        kind::HOST => {
            let host = id.and_then(|id| sight.host(id)).into_iter();
            let luns = host.flat_map(|host| sight.array.host_luns(host.id));
            luns.map(|(device, host_lun_id)| (device, Some(host_lun_id))).collect()
        }
        kind::LUN_GROUP => {
            let group = id.and_then(|id| sight.lun_group(id));
            group.into_iter().flat_map(|group| group.members.iter()).map(|device| (*device, None)).collect()
        }
        kind::QOS => {
            let luns = id.and_then(|id| sight.qos_policy(id)).into_iter().flat_map(|qos| qos.luns.iter());
            luns.map(|lun| (DeviceId::Lun(*lun), None)).collect()
        }
        kind::SMART_CACHE => {
            let own =
                |lun: &&Lun| id.is_some() && lun.partitions.get(&PartitionKind::SmartCache) == id.as_ref();
            sight.luns().filter(own).map(|lun| (DeviceId::Lun(lun.id), None)).collect()
        }
        _ => return Err(Failure::parameter("ASSOCIATEOBJTYPE must be 21, 230, 256 or 273")),
    })
}

/// What names the device of a mapping and its host LUN id.
const HOST_LUN: &[Field] = &[need("ASSOCIATEMETADATA", Kind::List)];

/// The calls on mapping views.
pub(crate) const ROUTES: &[Route] = &[
    get("mappingview", "Mapping views.", |ground, call| {
        let sight = ground.sight();
        let by_id = |id: &str| number(id).and_then(|id| sight.mapping_view(id));
        Ok(Reply::List(list(call, |name| sight.views_named(name), by_id, sight.views(), object)?))
    })
    .list(),
    post("mappingview", "Make a mapping view.", |ground, call| {
        let (name, description) = call.name_and_description()?;
        let id = ground.create(Command::CreateView { name, description }, Topic::Host)?;
        one(ground.sight(), id)
    })
    .takes(&[NAMED]),
    get("mappingview/count", "How many mapping views there are.", |ground, _| {
        count(ground.sight().views().count())
    }),
    get("mappingview/associate", "Mapping views of a group, host, LUN or snapshot.", |ground, call| {
        Ok(Reply::List(page(call, views_of(ground.sight(), call)?.into_iter().map(object))?))
    })
    .takes(&[ASSOCIATED])
    .list(),
    // Unlike the line before, these ask for the groups of a view.
    get("mappingview/associate/hostgroup", "The host group of a mapping view.", |ground, call| {
        let groups = group::host_groups_of(ground.sight(), call)?;
        Ok(Reply::List(page(call, groups.into_iter().map(group::host_group_object))?))
    })
    .takes(&[ASSOCIATED])
    .list(),
    get("mappingview/associate/lungroup", "The LUN group of a mapping view.", |ground, call| {
        let groups = group::lun_groups_of(ground.sight(), call)?;
        Ok(Reply::List(page(call, groups.into_iter().map(group::lun_group_object))?))
    })
    .takes(&[ASSOCIATED])
    .list(),
    get("mappingview/associate/portgroup", "The port group of a mapping view.", |ground, call| {
        let groups = group::port_groups_of(ground.sight(), call)?;
        Ok(Reply::List(page(call, groups.into_iter().map(group::port_group_object))?))
    })
    .takes(&[ASSOCIATED])
    .list(),
    put("mappingview/create_associate", "Put a group into a mapping view.", |ground, call| {
        let view = call.need_id("ID", codes::VIEW_MISSING)?;
        let (kind, id) = call.associated()?;
        let (group, topic) = group_ref(kind, &id)?;
        ground.apply(Command::AddToView { view, group }, topic)?;
        done()
    })
    .takes(&[SUBJECT, ASSOCIATED]),
    put("mappingview/remove_associate", "Take a group out of a mapping view.", |ground, call| {
        let view = call.need_id("ID", codes::VIEW_MISSING)?;
        let (kind, id) = call.associated()?;
        let (group, topic) = group_ref(kind, &id)?;
        ground.apply(Command::RemoveFromView { view, group }, topic)?;
        done()
    })
    .takes(&[SUBJECT, ASSOCIATED]),
    put("mappingview", "Change a host LUN id.", |ground, call| {
        let view = call.need_id("ID", codes::VIEW_MISSING)?;
        set_host_lun_id(ground, call, view)
    })
    .takes(&[SUBJECT, ASSOCIATED, HOST_LUN]),
    put("mappingview/{id}", "Change a host LUN id.", |ground, call| {
        let view = call.id_at(1, codes::VIEW_MISSING)?;
        set_host_lun_id(ground, call, view)
    })
    .takes(&[ASSOCIATED, HOST_LUN]),
    get("mappingview/{id}", "A mapping view with its free host LUN ids.", |ground, call| {
        one(ground.sight(), call.id_at(1, codes::VIEW_MISSING)?)
    }),
    delete("mappingview/{id}", "Delete a mapping view.", |ground, call| {
        let view = call.id_at(1, codes::VIEW_MISSING)?;
        ground.apply(Command::DeleteView { view }, Topic::Host)?;
        done()
    }),
];

fn one(sight: Sight<'_>, id: u64) -> Answer {
    let view = sight.mapping_view(id).ok_or(codes::VIEW_MISSING)?;
    let free = sight.array.available_host_lun_ids(id).into_iter().take(LISTED_IDS);
    Ok(Reply::One(object(view).text("AVAILABLEHOSTLUNIDLIST", bracketed(free.map(|id| id.to_string())))))
}

/// Views of a group, a host, a LUN or a snapshot.
fn views_of<'a>(sight: Sight<'a>, call: &Call<'_>) -> Result<Vec<&'a View>, Failure> {
    let (kind, id) = call.associated()?;
    let id = number(&id);
    let views: BTreeSet<u64> = match kind {
        kind::HOST_GROUP => {
            id.and_then(|id| sight.host_group(id)).map(|group| group.views.clone()).unwrap_or_default()
        }
        kind::LUN_GROUP => {
            id.and_then(|id| sight.lun_group(id)).map(|group| group.views.clone()).unwrap_or_default()
        }
        kind::PORT_GROUP => {
            id.and_then(|id| sight.port_group(id)).map(|group| group.views.clone()).unwrap_or_default()
        }
        kind::HOST => {
            let groups = id.and_then(|id| sight.host(id)).into_iter().flat_map(|host| host.groups.iter());
            groups
                .filter_map(|id| sight.host_group(*id))
                .flat_map(|group| group.views.iter().copied())
                .collect()
        }
        kind::LUN | kind::SNAPSHOT => {
            let groups = match kind {
                kind::LUN => id.and_then(|id| sight.lun(id)).map(|lun| &lun.groups),
                _ => id.and_then(|id| sight.snapshot(id)).map(|snapshot| &snapshot.groups),
            };
            let groups = groups.into_iter().flatten().filter_map(|id| sight.lun_group(*id));
            groups.flat_map(|group| group.views.iter().copied()).collect()
        }
        _ => return Err(Failure::parameter("ASSOCIATEOBJTYPE is not one that views know")),
    };
    Ok(views.into_iter().filter_map(|id| sight.mapping_view(id)).collect())
}

/// ASSOCIATEMETADATA `[{"LUNID": .., "hostLUNId": ..}]`, as JSON or as a string that holds it; one element.
fn set_host_lun_id(ground: &mut Ground<'_>, call: &Call<'_>, view: u64) -> Answer {
    let (kind, id) = call.associated()?;
    let object = device(kind, &id)?;
    let bad = || Failure::parameter("ASSOCIATEMETADATA is malformed");
    let parsed;
    let metadata = match call.fields.value("ASSOCIATEMETADATA") {
        Some(Value::String(text)) => {
            parsed = serde_json::from_str::<Value>(text).map_err(|_| bad())?;
            &parsed
        }
        Some(other) => other,
        None => return Err(bad()),
    };
    let wanted = metadata.as_array().filter(|list| list.len() == 1).and_then(|list| list[0].get("hostLUNId"));
    let wanted = match wanted {
        Some(Value::Number(n)) => n.as_u64(),
        Some(Value::String(text)) => number(text),
        _ => None,
    };
    let host_lun_id = wanted.and_then(|n| u16::try_from(n).ok()).ok_or_else(bad)?;
    ground.apply(Command::SetHostLunId { view, object, host_lun_id }, Topic::Lun)?;
    done()
}
