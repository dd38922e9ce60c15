//! Hosts.

use sanbench_array::{Command, Host};

use crate::codes::{self, Failure, Topic};
use crate::dialect::{Call, Ground, count, kind, list};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::number;

fn object(host: &Host) -> Object {
    Object::new()
        .number("ID", host.id)
        .text("NAME", host.name.as_str())
        .text("TYPE", "21")
        .text("DESCRIPTION", host.description.as_str())
        .text("OPERATIONSYSTEM", "0")
        .flag("ISADD2HOSTGROUP", !host.groups.is_empty())
        .text("HEALTHSTATUS", "1")
        .text("RUNNINGSTATUS", "1")
}

/// `/host`.
pub(crate) fn call(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (method, path) = call.route();
    let array = &*ground.array;
    match (method, path.as_slice()) {
        ("GET", []) => {
            let by_id = |id: &str| number(id).and_then(|id| array.host(id));
            Ok(Reply::List(list(call, |name| array.host_by_name(name), by_id, array.hosts(), object)?))
        }
        ("POST", []) => {
            let (name, description) = call.name_and_description()?;
            let id = ground.create(Command::CreateHost { name, description }, Topic::Host)?;
            one(ground, id)
        }
        ("GET", ["count"]) => match call.query.get("ASSOCIATEOBJTYPE") {
            None => count(array.hosts().count()),
            Some(_) => count(members(ground, call)?.len()),
        },
        ("GET", ["associate"]) => {
            let members = members(ground, call)?;
            let find = |wanted: &dyn Fn(&Host) -> bool| members.iter().copied().find(|host| wanted(host));
            let by_name = |name: &str| find(&|host| host.name == name);
            let by_id = |id: &str| find(&|host| number(id) == Some(host.id));
            Ok(Reply::List(list(call, by_name, by_id, members.iter().copied(), object)?))
        }
        // ID is the group here, ASSOCIATEOBJID the host.
        ("DELETE", ["associate"]) => {
            let group = call.need_id("ID", codes::HOST_GROUP_MISSING)?;
            let (kind, host) = call.associated()?;
            if kind != kind::HOST {
                return Err(Failure::parameter("ASSOCIATEOBJTYPE must be 21"));
            }
            let host = number(&host).ok_or(codes::HOST_MISSING)?;
            ground.apply(Command::RemoveHostFromGroup { group, host }, Topic::Host)?;
            done()
        }
        ("GET", [_]) => one(ground, call.id_at(1, codes::HOST_MISSING)?),
        ("PUT", [_]) => {
            let host = call.id_at(1, codes::HOST_MISSING)?;
            let name = call.fields.text("NAME")?.map(|name| name.into_owned());
            let description = call.fields.text("DESCRIPTION")?.map(|text| text.into_owned());
            ground.apply(Command::UpdateHost { host, name, description }, Topic::Host)?;
            one(ground, host)
        }
        ("DELETE", [_]) => {
            let host = call.id_at(1, codes::HOST_MISSING)?;
            ground.apply(Command::DeleteHost { host }, Topic::Host)?;
            done()
        }
        _ => Err(Failure::unsupported()),
    }
}

fn one(ground: &Ground<'_>, id: u64) -> Answer {
    let host = ground.array.host(id).ok_or(codes::HOST_MISSING)?;
    Ok(Reply::One(object(host)))
}

/// Hosts of a host group. No such group: no hosts.
fn members<'a>(ground: &'a Ground<'_>, call: &Call<'_>) -> Result<Vec<&'a Host>, Failure> {
    let (kind, id) = call.associated()?;
    if kind != kind::HOST_GROUP {
        return Err(Failure::parameter("ASSOCIATEOBJTYPE must be 14"));
    }
    let group = number(&id).and_then(|id| ground.array.host_group(id));
    let hosts = group.into_iter().flat_map(|group| group.hosts.iter());
    Ok(hosts.filter_map(|id| ground.array.host(*id)).collect())
}
