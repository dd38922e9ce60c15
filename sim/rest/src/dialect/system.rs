//! The array as a whole: identity, licences, controllers; and the objects that it does not have.

use crate::codes::Failure;
use crate::dialect::{Call, Ground, count, page};
use crate::envelope::{Answer, Object, Reply};

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
];

/// `GET /system/`.
pub(crate) fn system(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (method, path) = call.route();
    if method != "GET" || !path.is_empty() {
        return Err(Failure::unsupported());
    }
    let array = &ground.array;
    Ok(Reply::One(
        Object::new()
            .text("ID", array.serial())
            .text("NAME", "sanbench")
            .text("PRODUCTVERSION", array.product())
            .text("PRODUCTMODE", "61")
            .text("wwn", array.serial())
            .text("SECTORSIZE", "512")
            .text("HEALTHSTATUS", "1")
            .text("RUNNINGSTATUS", "1"),
    ))
}

/// `GET /license/feature`: a list of objects with one key each, whose values are integers.
pub(crate) fn license(call: &Call<'_>) -> Answer {
    match call.route() {
        ("GET", path) if path == ["feature"] => {
            Ok(Reply::List(FEATURES.iter().map(|feature| Object::new().integer(feature, 1)).collect()))
        }
        _ => Err(Failure::unsupported()),
    }
}

/// `GET /controller`. A failed one is faulty and offline.
pub(crate) fn controller(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let all = ground.array.controllers().into_iter().map(|controller| {
        let letter = controller.name.trim_start_matches('0');
        Object::new()
            .text("ID", controller.name.as_str())
            .text("NAME", letter)
            .text("LOCATION", format!("CTE0.{letter}"))
            .text("HEALTHSTATUS", if controller.up { "1" } else { "2" })
            .text("RUNNINGSTATUS", if controller.up { "27" } else { "28" })
    });
    read_only(call, all)
}

/// `GET /workload_type`.
pub(crate) fn workload_type(call: &Call<'_>) -> Answer {
    let all = [("0", "Default"), ("1", "Oracle_OLTP"), ("2", "VMware_VDI")];
    read_only(call, all.into_iter().map(|(id, name)| Object::new().text("ID", id).text("NAME", name)))
}

/// List, count and by-id of a short fixed list.
pub(crate) fn read_only(call: &Call<'_>, mut all: impl Iterator<Item = Object>) -> Answer {
    match call.route() {
        ("GET", path) if path.is_empty() => Ok(Reply::List(page(call, all)?)),
        ("GET", path) if path == ["count"] => count(all.count()),
        ("GET", path) if path.len() == 1 => {
            let id = call.names.get(1).map_or("", String::as_str);
            all.find(|object| object.has("ID", |found| found == id))
                .map(Reply::One)
                .ok_or_else(|| crate::codes::OBJECT_MISSING.into())
        }
        _ => Err(Failure::unsupported()),
    }
}

/// Kinds of objects of which there are none: empty lists, counts of zero, nothing by id, nothing to make.
pub(crate) fn none_of_these(call: &Call<'_>) -> Answer {
    match call.route() {
        ("GET", path) if path.first() == Some(&"associate") || path.first() == Some(&"targetlun") => {
            Ok(Reply::List(Vec::new()))
        }
        _ => read_only(call, std::iter::empty()),
    }
}
