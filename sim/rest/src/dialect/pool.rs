//! Storage pools: listed; only the threshold of their alarm can be changed.

use sanbench_array::{Command, Pool};

use crate::codes::{self, Failure, Topic};
use crate::dialect::{count, list};
use crate::envelope::{Object, Reply};
use crate::query::number;
use crate::routes::{Kind, Route, get, may, put};

fn object(pool: &Pool) -> Object {
    let object = Object::new()
        .number("ID", pool.id)
        .text("NAME", pool.name.as_str())
        .text("TYPE", "216")
        .text("USAGETYPE", "1")
        .number("USERTOTALCAPACITY", pool.capacity_blocks())
        .number("USERFREECAPACITY", pool.free_blocks())
        .number("USERCONSUMEDCAPACITY", pool.used_blocks())
        .number("DATASPACE", pool.free_blocks())
        .number("LUNCONFIGEDCAPACITY", pool.provisioned_blocks())
        .number("USERCONSUMEDCAPACITYPERCENTAGE", pool.used_blocks() * 100 / pool.capacity_blocks().max(1))
        .number("USERCONSUMEDCAPACITYTHRESHOLD", pool.threshold());
    let object = match pool.disks.tiers(pool.capacity_blocks()) {
        Some([ssd, sas, nl_sas]) => {
            object.number("TIER0CAPACITY", ssd).number("TIER1CAPACITY", sas).number("TIER2CAPACITY", nl_sas)
        }
        None => object,
    };
    object.text("HEALTHSTATUS", "1").text("RUNNINGSTATUS", "27")
}

/// The calls on pools. `data` of the list is always sent.
pub(crate) const ROUTES: &[Route] = &[
    get("storagepool", "Storage pools.", |ground, call| {
        let array = &*ground.array;
        let by_id = |id: &str| number(id).and_then(|id| array.pool(id));
        let by_name = |name: &str| array.pool_by_name(name).into_iter().collect();
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
    put("storagepool/{id}", "Change how full a pool may become before there is an alarm.", |ground, call| {
        let id = call.id_at(1, codes::OBJECT_MISSING)?;
        if let Some(percent) = call.fields.text("USERCONSUMEDCAPACITYTHRESHOLD")? {
            let percent = number(&percent).and_then(|n| u8::try_from(n).ok());
            let percent =
                percent.ok_or_else(|| Failure::parameter("USERCONSUMEDCAPACITYTHRESHOLD must be 1 to 99"))?;
            ground.apply_to_array(Command::SetPoolThreshold { pool: id, percent }, Topic::Host)?;
        }
        let pool = ground.array.pool(id).ok_or(codes::OBJECT_MISSING)?;
        Ok(Reply::One(object(pool)))
    })
    .takes(&[&[may("USERCONSUMEDCAPACITYTHRESHOLD", Kind::Number)]]),
];
