//! Hosts.

use sanbench_array::{Command, Host};

use crate::codes::{self, Failure, Topic};
use crate::dialect::{Call, Ground, count, kind, list};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::number;
use crate::routes::{ASSOCIATED, MAYBE_ASSOCIATED, NAMED, RENAMED, Route, delete, get, post, put};

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

/// The calls on hosts.
pub(crate) const ROUTES: &[Route] = &[
    get("host", "Hosts.", |ground, call| {
        let array = &*ground.array;
        let by_id = |id: &str| number(id).and_then(|id| array.host(id));
        Ok(Reply::List(list(call, |name| array.host_by_name(name), by_id, array.hosts(), object)?))
    })
    .list(),
    post("host", "Make a host.", |ground, call| {
        let (name, description) = call.name_and_description()?;
        let id = ground.create(Command::CreateHost { name, description }, Topic::Host)?;
        one(ground, id)
    })
    .takes(&[NAMED]),
    get("host/count", "How many hosts there are, or a host group has.", |ground, call| {
        match call.query.get("ASSOCIATEOBJTYPE") {
            None => count(ground.array.hosts().count()),
            Some(_) => count(members(ground, call)?.len()),
        }
    })
    .takes(&[MAYBE_ASSOCIATED]),
    get("host/associate", "Hosts of a host group.", |ground, call| {
        let members = members(ground, call)?;
        let find = |wanted: &dyn Fn(&Host) -> bool| members.iter().copied().find(|host| wanted(host));
        let by_name = |name: &str| find(&|host| host.name == name);
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
        ground.apply(Command::UpdateHost { host, name, description }, Topic::Host)?;
        one(ground, host)
    })
    .takes(&[RENAMED]),
    delete("host/{id}", "Delete a host.", |ground, call| {
        let host = call.id_at(1, codes::HOST_MISSING)?;
        ground.apply(Command::DeleteHost { host }, Topic::Host)?;
        done()
    }),
];

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
