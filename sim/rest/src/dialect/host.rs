//! Hosts.

use sanbench_array::{Command, Host, HostAccess};

use crate::codes::{self, Failure, Topic};
use crate::dialect::{Call, Ground, count, kind, list};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::{number, truth};
use crate::routes::{
    ASSOCIATED, Field, Kind, MAYBE_ASSOCIATED, NAMED, RENAMED, Route, delete, get, may, post, put,
};

fn object(host: &Host) -> Object {
    let (mode, preferred) = match host.access {
        HostAccess::Unset | HostAccess::Balanced => ("0", true),
        HostAccess::Asymmetric { preferred } => ("1", preferred),
    };
    Object::new()
        .number("ID", host.id)
        .text("NAME", host.name.as_str())
        .text("TYPE", "21")
        .text("DESCRIPTION", host.description.as_str())
        .text("OPERATIONSYSTEM", "0")
        .text("IP", "")
        .flag("ISADD2HOSTGROUP", !host.groups.is_empty())
        .text("HEALTHSTATUS", "1")
        .text("RUNNINGSTATUS", "1")
        .number("vstoreId", host.vstore)
        .text("accessMode", mode)
        .text("hyperMetroPathOptimized", if preferred { "1" } else { "0" })
}

/// How its initiators see their paths; from V600R003C00 on.
const ACCESS: &[Field] =
    &[may("accessMode", Kind::Choice(&["0", "1"])), may("hyperMetroPathOptimized", Kind::Truth)];

/// The calls on hosts.
pub(crate) const ROUTES: &[Route] = &[
    get("host", "Hosts.", |ground, call| {
        let sight = ground.sight();
        let by_id = |id: &str| number(id).and_then(|id| sight.host(id));
        Ok(Reply::List(list(call, |name| sight.hosts_named(name), by_id, sight.hosts(), object)?))
    })
    .list(),
    post("host", "Make a host.", |ground, call| {
        let (name, description) = call.name_and_description()?;
        let access = access(call, None)?;
        let id = ground.create(Command::CreateHost { name, description }, Topic::Host)?;
        set_access(ground, id, access)?;
        one(ground, id)
    })
    .takes(&[NAMED, ACCESS]),
    get("host/count", "How many hosts there are, or a host group has.", |ground, call| {
        match call.query.get("ASSOCIATEOBJTYPE") {
            None => count(ground.sight().hosts().count()),
            Some(_) => count(members(ground, call)?.len()),
        }
    })
    .takes(&[MAYBE_ASSOCIATED]),
    get("host/associate", "Hosts of a host group.", |ground, call| {
        let members = members(ground, call)?;
        let find = |wanted: &dyn Fn(&Host) -> bool| members.iter().copied().find(|host| wanted(host));
        let by_name = |name: &str| find(&|host| host.name == name).into_iter().collect();
        let by_id = |id: &str| find(&|host| number(id) == Some(host.id));
        Ok(Reply::List(list(call, by_name, by_id, members.iter().copied(), object)?))
    })
    .takes(&[ASSOCIATED])
    .list(),
    get("host/{id}", "A host.", |ground, call| one(ground, call.id_at(1, codes::HOST_MISSING)?)),
    put("host/{id}", "Rename a host.", |ground, call| {
        let host = call.id_at(1, codes::HOST_MISSING)?;
        let name = call.fields.text("NAME")?.map(|name| name.into_owned());
        let description = call.fields.text("DESCRIPTION")?.map(|text| text.into_owned());
        let access = access(call, ground.sight().host(host))?;
        ground.apply(Command::UpdateHost { host, name, description }, Topic::Host)?;
        set_access(ground, host, access)?;
        one(ground, host)
    })
    .takes(&[RENAMED, ACCESS]),
    delete("host/{id}", "Delete a host.", |ground, call| {
        let host = call.id_at(1, codes::HOST_MISSING)?;
        ground.apply(Command::DeleteHost { host }, Topic::Host)?;
        done()
    }),
];

/// accessMode (0 balanced, 1 asymmetric) and hyperMetroPathOptimized (1 when this array's paths are preferred) of the new
/// line of products; what is absent stays.
fn access(call: &Call<'_>, current: Option<&Host>) -> Result<Option<HostAccess>, Failure> {
    let mode = call.fields.text_any_case("accessMode")?.filter(|text| !text.is_empty());
    let preferred = call.fields.text_any_case("hyperMetroPathOptimized")?.filter(|text| !text.is_empty());
    if mode.is_none() && preferred.is_none() {
        return Ok(None);
    }
    let before = current.map(|host| host.access).unwrap_or_default();
    let asymmetric = match mode.as_deref() {
        Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(Failure::parameter("accessMode must be 0 or 1")),
        None => matches!(before, HostAccess::Asymmetric { .. }),
    };
    let preferred = match preferred {
        Some(text) => truth("hyperMetroPathOptimized", &text)?,
        None => before != HostAccess::Asymmetric { preferred: false },
    };
    Ok(Some(if asymmetric { HostAccess::Asymmetric { preferred } } else { HostAccess::Balanced }))
}

fn set_access(ground: &mut Ground<'_>, host: u64, access: Option<HostAccess>) -> Result<(), Failure> {
    if let Some(access) = access {
        ground.apply(Command::SetHostAccess { host, access }, Topic::Host)?;
    }
    Ok(())
}

fn one(ground: &Ground<'_>, id: u64) -> Answer {
    let host = ground.sight().host(id).ok_or(codes::HOST_MISSING)?;
    Ok(Reply::One(object(host)))
}

/// Hosts of a host group. No such group: no hosts.
fn members<'a>(ground: &'a Ground<'_>, call: &Call<'_>) -> Result<Vec<&'a Host>, Failure> {
    let (kind, id) = call.associated()?;
    if kind != kind::HOST_GROUP {
        return Err(Failure::parameter("ASSOCIATEOBJTYPE must be 14"));
    }
    let group = number(&id).and_then(|id| ground.sight().host_group(id));
    let hosts = group.into_iter().flat_map(|group| group.hosts.iter());
    Ok(hosts.filter_map(|id| ground.sight().host(*id)).collect())
}
