//! The array as a whole: identity, licences, controllers; and the objects that it does not have.

use sanbench_array::{Array, Pool};

use crate::codes;
use crate::dialect::{Call, count, page};
use crate::envelope::{Answer, Items, Object, Reply};
use crate::routes::{Route, get};

/// Features that are licensed.
const FEATURES: &[&str] = &[
    "SmartThin",
    "SmartQoS",
    "SmartPartition",
    "SmartCache",
    "SmartTier",
    "SmartMigration",
    "HyperSnap",
    "HyperCopy",
    "HyperClone",
    "HyperMetro",
    "HyperReplication",
];

/// The calls on the array as a whole, and on what it never has.
pub(crate) const ROUTES: &[Route] = &[
    get("system", "The array.", |ground, _| Ok(Reply::One(system(ground.array)))),
    // A list of objects with one key each, whose values are integers.
    get("license/feature", "Licensed features.", |_, _| {
        Ok(Reply::List(FEATURES.iter().map(|feature| Object::new().integer(feature, 1)).collect()))
    })
    .list(),
    get("controller", "Controllers.", |ground, call| listed(call, controllers(ground.array))).list(),
    get("controller/count", "How many controllers there are.", |ground, _| {
        count(ground.array.controllers().len())
    }),
    get("controller/{id}", "A controller.", |ground, call| by_id(call, controllers(ground.array))),
    get("workload_type", "Workload types.", |_, call| listed(call, workload_types())).list(),
    get("workload_type/count", "How many workload types there are.", |_, _| count(workload_types().count())),
    get("workload_type/{id}", "A workload type.", |_, call| by_id(call, workload_types())),
    none("fc_initiator"),
    none_counted("fc_initiator/count"),
    none_by_id("fc_initiator/{id}"),
    none("fc_port"),
    none("fc_port/associate"),
    none_counted("fc_port/count"),
    none_by_id("fc_port/{id}"),
    none("host_link"),
    none_counted("host_link/count"),
    none("splitmirror"),
    none_counted("splitmirror/count"),
    none_by_id("splitmirror/{id}"),
    none("splitmirrortargetlun/targetlun"),
    none("smartcachepool"),
    none_counted("smartcachepool/count"),
    none_by_id("smartcachepool/{id}"),
];

/// The list of a kind of objects of which there are none.
pub(super) const fn none(path: &'static str) -> Route {
    get(path, "An empty list: this array has none.", |_, _| Ok(Reply::List(Items::default()))).list()
}

pub(super) const fn none_counted(path: &'static str) -> Route {
    get(path, "Zero: this array has none.", |_, _| count(0))
}

pub(super) const fn none_by_id(path: &'static str) -> Route {
    get(path, "Nothing: this array has none.", |_, _| Err(codes::OBJECT_MISSING.into()))
}

fn system(array: &Array) -> Object {
    let total = |of: fn(&Pool) -> u64| array.pools().map(of).sum::<u64>();
    Object::new()
        .text("ID", array.serial())
        .text("NAME", "sanbench")
        .text("PRODUCTVERSION", array.product())
        .text("PRODUCTMODE", "61")
        .text("wwn", array.serial())
        .text("SECTORSIZE", "512")
        .text("LOCATION", "")
        .number("TOTALCAPACITY", total(Pool::capacity_blocks))
        .number("USEDCAPACITY", total(Pool::used_blocks))
        .number("userFreeCapacity", total(Pool::free_blocks))
        .number("MEMBERDISKSCAPACITY", total(Pool::capacity_blocks))
        .number("STORAGEPOOLCAPACITY", total(Pool::capacity_blocks))
        .number("STORAGEPOOLUSEDCAPACITY", total(Pool::used_blocks))
        .number("STORAGEPOOLFREECAPACITY", total(Pool::free_blocks))
        .text("HEALTHSTATUS", "1")
        .text("RUNNINGSTATUS", "1")
}

/// A failed controller is faulty and offline.
fn controllers(array: &Array) -> impl Iterator<Item = Object> {
    let version = array.product().to_owned();
    array.controllers().into_iter().map(move |controller| {
        let letter = controller.name.trim_start_matches('0');
        Object::new()
            .text("ID", controller.name.as_str())
            .text("NAME", letter)
            .text("TYPE", "207")
            .text("LOCATION", format!("CTE0.{letter}"))
            .text("SOFTVER", version.as_str())
            .text("CPUINFO", "simulated")
            // MiB; the simulated controller has no memory of its own.
            .text("MEMORYSIZE", "0")
            .text("HEALTHSTATUS", if controller.up { "1" } else { "2" })
            .text("RUNNINGSTATUS", if controller.up { "27" } else { "28" })
    })
}

fn workload_types() -> impl Iterator<Item = Object> {
    let all = [("0", "Default"), ("1", "Oracle_OLTP"), ("2", "VMware_VDI")];
    all.into_iter().map(|(id, name)| Object::new().text("ID", id).text("NAME", name))
}

/// A short fixed list.
pub(super) fn listed(call: &Call<'_>, all: impl Iterator<Item = Object>) -> Answer {
    Ok(Reply::List(page(call, all)?))
}

/// One of a short fixed list.
pub(super) fn by_id(call: &Call<'_>, mut all: impl Iterator<Item = Object>) -> Answer {
    let id = call.names.get(1).map_or("", String::as_str);
    let found = all.find(|object| object.has("ID", |found| found == id));
    found.map(Reply::One).ok_or_else(|| codes::OBJECT_MISSING.into())
}
