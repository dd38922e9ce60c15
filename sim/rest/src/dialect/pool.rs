//! Storage pools: listed, never changed through this API.

use sanbench_array::Pool;

use crate::codes;
use crate::dialect::{count, list};
use crate::envelope::{Object, Reply};
use crate::query::number;
use crate::routes::{Route, get};

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

/// The calls on pools. `data` of the list is always sent.
pub(crate) const ROUTES: &[Route] = &[
    get("storagepool", "Storage pools.", |ground, call| {
        let array = &*ground.array;
        let by_id = |id: &str| number(id).and_then(|id| array.pool(id));
        let by_name = |name: &str| array.pool_by_name(name);
        Ok(Reply::FullList(list(call, by_name, by_id, array.pools(), object)?))
    })
    .list(),
    get("storagepool/count", "How many storage pools there are.", |ground, _| {
        count(ground.array.pools().count())
    }),
    get("storagepool/{id}", "A storage pool.", |ground, call| {
        let id = call.id_at(1, codes::OBJECT_MISSING)?;
        let pool = ground.array.pool(id).ok_or(codes::OBJECT_MISSING)?;
        Ok(Reply::One(object(pool)))
    }),
];
