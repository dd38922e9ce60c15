//! Ports: Ethernet ports and the iSCSI target ports on them.

use std::net::IpAddr;

use sanbench_array::{Array, Command, Portal};

use crate::codes::{self, Failure, Topic};
use crate::dialect::sight::Sight;
use crate::dialect::{Call, count, kind, page};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::{number, truth};
use crate::routes::{ASSOCIATED, Kind, Route, SUBJECT, delete, get, may, post, put};

/// `<n>+<iqn>::<port no>:<ip>,t,0x<tpgt>`: two foreign parsers read this (array-rest section 5.7).
fn target_port_object(portal: &Portal) -> Object {
    Object::new()
        .text("ID", format!("0+{},t,0x{:04x}", portal.iqn, portal.tpgt))
        .number("ETHPORTID", portal.id)
        .number("TPGT", portal.tpgt)
        .integer("TYPE", 249)
        .number("PORT", portal.address.port())
}

/// A locally administered address.
fn mac(port: u64) -> String {
    let [.., a, b, c] = port.to_be_bytes();
    format!("02:00:00:{a:02x}:{b:02x}:{c:02x}")
}

/// The port of a failed controller is faulty and its link down; that of a disabled one is down as well.
fn eth_port_object(array: &Array, portal: &Portal) -> Object {
    let well = array.controllers().get(usize::from(portal.controller)).is_none_or(|controller| controller.up);
    let up = well && portal.enabled;
    let (v4, v6) = match portal.address.ip() {
        IpAddr::V4(ip) => (ip.to_string(), String::new()),
        IpAddr::V6(ip) => (String::new(), ip.to_string()),
    };
    Object::new()
        .number("ID", portal.id)
        .text("NAME", portal.location.rsplit('.').next().unwrap_or_default())
        .text("TYPE", "213")
        .text("LOCATION", portal.location.as_str())
        .text("LOGICTYPE", "0")
        .text("MACADDRESS", mac(portal.id))
        // Mbit/s.
        .text("SPEED", "25000")
        .text("maxSpeed", "25000")
        .text("IPV4ADDR", v4)
        .text("IPV6ADDR", v6)
        .text("HEALTHSTATUS", if well { "1" } else { "2" })
        .text("RUNNINGSTATUS", if up { "10" } else { "11" })
        .flag("ENABLED", portal.enabled)
}

/// The calls on ports. `data` of the lists is always sent, and un-ranged lists are whole.
pub(crate) const ROUTES: &[Route] = &[
    get("iscsi_tgt_port", "iSCSI target ports.", |ground, call| {
        Ok(Reply::FullList(page(call, ground.array.ports().map(target_port_object))?))
    })
    .list(),
    get("iscsi_tgt_port/count", "How many iSCSI target ports there are.", |ground, _| {
        count(ground.array.ports().count())
    }),
    get("iscsidevicename", "The iSCSI name of the array.", |ground, _| {
        Ok(Reply::FullList(
            [Object::new().text("CMO_ISCSI_DEVICE_NAME", ground.array.target_iqn())].into_iter().collect(),
        ))
    })
    .list(),
    get("eth_port", "Ethernet ports.", |ground, call| {
        let array = &*ground.array;
        Ok(Reply::FullList(page(call, array.ports().map(|portal| eth_port_object(array, portal)))?))
    })
    .list(),
    get("eth_port/count", "How many Ethernet ports there are.", |ground, _| {
        count(ground.array.ports().count())
    }),
    get("eth_port/associate", "Ethernet ports of a port group.", |ground, call| {
        let array = &*ground.array;
        let ports = of_group(ground.sight(), call)?.into_iter().map(|portal| eth_port_object(array, portal));
        Ok(Reply::List(page(call, ports)?))
    })
    .takes(&[ASSOCIATED])
    .list(),
    get("eth_port/{id}", "An Ethernet port.", |ground, call| {
        one_port(ground.array, call.id_at(1, codes::OBJECT_MISSING)?)
    }),
    put("eth_port/{id}", "Switch an Ethernet port with its portal on or off.", |ground, call| {
        let port = call.id_at(1, codes::OBJECT_MISSING)?;
        ground.array.port(port).ok_or(codes::OBJECT_MISSING)?;
        // The name ENABLED is ours: no source tells the vendor's.
        if let Some(enabled) = call.fields.text("ENABLED")? {
            let enabled = truth("ENABLED", &enabled)?;
            ground.apply_to_array(Command::SetPortEnabled { port, enabled }, Topic::Port)?;
        }
        one_port(ground.array, port)
    })
    .takes(&[&[may("ENABLED", Kind::Truth)]]),
    post("port/associate/portgroup", "Put a port into a port group.", |ground, call| {
        let (group, port) = group_and_port(call)?;
        ground.apply(Command::AddPortToGroup { group, port }, Topic::Port)?;
        done()
    })
    .takes(&[SUBJECT, ASSOCIATED]),
    delete("port/associate/portgroup", "Take a port out of a port group.", |ground, call| {
        let (group, port) = group_and_port(call)?;
        ground.apply(Command::RemovePortFromGroup { group, port }, Topic::Port)?;
        done()
    })
    .takes(&[SUBJECT, ASSOCIATED]),
];

fn one_port(array: &Array, id: u64) -> Answer {
    let port = array.port(id).ok_or(codes::OBJECT_MISSING)?;
    Ok(Reply::One(eth_port_object(array, port)))
}

fn of_group<'a>(sight: Sight<'a>, call: &Call<'_>) -> Result<Vec<&'a Portal>, Failure> {
    let (kind, id) = call.associated()?;
    if kind != kind::PORT_GROUP {
        return Err(Failure::parameter("ASSOCIATEOBJTYPE must be 257"));
    }
    let group = number(&id).and_then(|id| sight.port_group(id));
    Ok(group
        .into_iter()
        .flat_map(|group| group.ports.iter())
        .filter_map(|id| sight.array.port(*id))
        .collect())
}

/// ID is the group, ASSOCIATEOBJID the port.
fn group_and_port(call: &Call<'_>) -> Result<(u64, u64), Failure> {
    let group = call.need_id("ID", codes::PORT_GROUP_MISSING)?;
    let (kind, id) = call.associated()?;
    if kind != kind::ETH_PORT && kind != kind::FC_PORT {
        return Err(Failure::parameter("ASSOCIATEOBJTYPE must be 212 or 213"));
    }
    // There are no FC ports, so that no id names one.
    let port = number(&id).filter(|_| kind == kind::ETH_PORT).ok_or(codes::OBJECT_MISSING)?;
    Ok((group, port))
}
