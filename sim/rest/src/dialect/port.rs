//! Ports: Ethernet ports and the iSCSI target ports on them.

use std::net::IpAddr;

use sanbench_array::{Array, Command, Portal};

use crate::codes::{self, Failure, Topic};
use crate::dialect::{Call, Ground, count, kind, page};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::number;

/// `<n>+<iqn>::<port no>:<ip>,t,0x<tpgt>`: two foreign parsers read this (array-rest section 5.7).
fn target_port_object(portal: &Portal) -> Object {
    Object::new()
        .text("ID", format!("0+{},t,0x{:04x}", portal.iqn, portal.tpgt))
        .number("ETHPORTID", portal.id)
        .number("TPGT", portal.tpgt)
        .integer("TYPE", 249)
        .number("PORT", portal.address.port())
}

/// The port of a failed controller is faulty and its link down.
fn eth_port_object(array: &Array, portal: &Portal) -> Object {
    let up = array.controllers().get(usize::from(portal.controller)).is_none_or(|controller| controller.up);
    let (v4, v6) = match portal.address.ip() {
        IpAddr::V4(ip) => (ip.to_string(), String::new()),
        IpAddr::V6(ip) => (String::new(), ip.to_string()),
    };
    Object::new()
        .number("ID", portal.id)
        .text("NAME", portal.location.rsplit('.').next().unwrap_or_default())
        .text("TYPE", "213")
        .text("LOCATION", portal.location.as_str())
        .text("IPV4ADDR", v4)
        .text("IPV6ADDR", v6)
        .text("HEALTHSTATUS", if up { "1" } else { "2" })
        .text("RUNNINGSTATUS", if up { "10" } else { "11" })
}

/// `/iscsi_tgt_port`: `data` is always sent, un-ranged lists are whole.
pub(crate) fn iscsi_target_port(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    match call.route() {
        ("GET", path) if path.is_empty() => {
            Ok(Reply::FullList(page(call, ground.array.ports().map(target_port_object))?))
        }
        ("GET", path) if path == ["count"] => count(ground.array.ports().count()),
        _ => Err(Failure::unsupported()),
    }
}

/// `/iscsidevicename`.
pub(crate) fn device_name(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    match call.route() {
        ("GET", path) if path.is_empty() => {
            Ok(Reply::FullList(vec![Object::new().text("CMO_ISCSI_DEVICE_NAME", ground.array.target_iqn())]))
        }
        _ => Err(Failure::unsupported()),
    }
}

/// `/eth_port`.
pub(crate) fn eth_port(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (method, path) = call.route();
    let array = &*ground.array;
    match (method, path.as_slice()) {
        ("GET", []) => {
            Ok(Reply::FullList(page(call, array.ports().map(|portal| eth_port_object(array, portal)))?))
        }
        ("GET", ["count"]) => count(array.ports().count()),
        ("GET", ["associate"]) => Ok(Reply::List(page(
            call,
            of_group(array, call)?.into_iter().map(|portal| eth_port_object(array, portal)),
        )?)),
        ("GET", [_]) => {
            let id = call.id_at(1, codes::OBJECT_MISSING)?;
            array
                .port(id)
                .map(|port| Reply::One(eth_port_object(array, port)))
                .ok_or_else(|| codes::OBJECT_MISSING.into())
        }
        _ => Err(Failure::unsupported()),
    }
}

fn of_group<'a>(array: &'a Array, call: &Call<'_>) -> Result<Vec<&'a Portal>, Failure> {
    let (kind, id) = call.associated()?;
    if kind != kind::PORT_GROUP {
        return Err(Failure::parameter("ASSOCIATEOBJTYPE must be 257"));
    }
    let group = number(&id).and_then(|id| array.port_group(id));
    Ok(group.into_iter().flat_map(|group| group.ports.iter()).filter_map(|id| array.port(*id)).collect())
}

/// `POST` and `DELETE /port/associate/portgroup`: ID is the group, ASSOCIATEOBJID the port.
pub(crate) fn in_group(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (method, path) = call.route();
    if path != ["associate", "portgroup"] {
        return Err(Failure::unsupported());
    }
    let group = call.need_id("ID", codes::PORT_GROUP_MISSING)?;
    let (kind, id) = call.associated()?;
    if kind != kind::ETH_PORT && kind != kind::FC_PORT {
        return Err(Failure::parameter("ASSOCIATEOBJTYPE must be 212 or 213"));
    }
    // There are no FC ports, so that no id names one.
    let port = number(&id).filter(|_| kind == kind::ETH_PORT).ok_or(codes::OBJECT_MISSING)?;
    let command = match method {
        "POST" => Command::AddPortToGroup { group, port },
        "DELETE" => Command::RemovePortFromGroup { group, port },
        _ => return Err(Failure::unsupported()),
    };
    ground.apply(command, Topic::Port)?;
    done()
}
