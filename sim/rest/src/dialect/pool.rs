//! Storage pools: listed, never changed through this API.

use sanbench_array::Pool;

use crate::codes::{self, Failure};
use crate::dialect::{Call, Ground, count, list};
use crate::envelope::{Answer, Object, Reply};
use crate::query::number;

fn object(pool: &Pool) -> Object {
    Object::new()
        .number("ID", pool.id)
        .text("NAME", pool.name.as_str())
        .text("TYPE", "216")
        .text("USAGETYPE", "1")
        .number("USERTOTALCAPACITY", pool.capacity_blocks())
        .number("USERFREECAPACITY", pool.free_blocks())
        .number("USERCONSUMEDCAPACITY", pool.used_blocks())
        .number("DATASPACE", pool.free_blocks())
        .number("LUNCONFIGEDCAPACITY", pool.provisioned_blocks())
        .number("TIER0CAPACITY", pool.capacity_blocks())
        .text("TIER1CAPACITY", "0")
        .text("TIER2CAPACITY", "0")
        .text("HEALTHSTATUS", "1")
        .text("RUNNINGSTATUS", "27")
}

/// `/storagepool`: `data` is always sent.
pub(crate) fn call(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let array = &*ground.array;
    match call.route() {
        ("GET", path) if path.is_empty() => Ok(Reply::FullList(list(
            call,
            |name| array.pool_by_name(name),
            |id| number(id).and_then(|id| array.pool(id)),
            array.pools(),
            object,
        )?)),
        ("GET", path) if path == ["count"] => count(array.pools().count()),
        ("GET", path) if path.len() == 1 => {
            let id = call.id_at(1, codes::OBJECT_MISSING)?;
            array.pool(id).map(|pool| Reply::One(object(pool))).ok_or_else(|| codes::OBJECT_MISSING.into())
        }
        _ => Err(Failure::unsupported()),
    }
}
