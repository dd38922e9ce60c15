//! QoS policies (`ioclass`): while active, their upper limits (MAXIOPS, MAXBANDWIDTH) act on the data path. The cache
//! partition `part0` and the smart cache `cache0` cache nothing: clients can put LUNs into them, and that is all.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use sanbench_array::TrafficPolicy;

use crate::codes::{self, Failure};
use crate::dialect::system::{by_id, listed};
use crate::dialect::{Call, Ground, bracketed, count, kind, list};
use crate::envelope::{Answer, Object, Reply, done};
use crate::extras::{QOS_LIMIT, Qos, short};
use crate::query::{number, truth};
use crate::routes::{ASSOCIATED, Field, Kind, NAMED, Route, SUBJECT, delete, get, may, need, post, put};

/// Attributes of a policy that are kept and given back.
const ATTRIBUTES: &[&str] = &[
    "BURSTBANDWIDTH",
    "BURSTIOPS",
    "BURSTTIME",
    "CLASSTYPE",
    "CYCLESET",
    "DURATION",
    "IOTYPE",
    "LATENCY",
    "MAXBANDWIDTH",
    "MAXIOPS",
    "MINBANDWIDTH",
    "MINIOPS",
    "SCHEDULEPOLICY",
    "SCHEDULESTARTTIME",
    "STARTTIME",
];
/// Most LUNs of a policy, and longest name in bytes.
const LUNS: usize = 1024;
const NAME_BYTES: usize = 255;

fn object(id: u64, qos: &Qos) -> Object {
    let luns = bracketed(qos.luns.iter().map(|lun| format!("\"{lun}\"")));
    let object = Object::new()
        .number("ID", id)
        .text("NAME", qos.name.as_str())
        .text("TYPE", "230")
        .text("LUNLIST", luns)
        .text("FSLIST", "[\"\"]")
        .text("HEALTHSTATUS", "1")
        .text("RUNNINGSTATUS", if qos.active { "2" } else { "45" })
        .flag("ENABLESTATUS", qos.active);
    qos.attributes.iter().fold(object, |object, (name, value)| object.text(name, value.as_str()))
}

/// What a policy is made of; kept and given back.
const POLICY: &[Field] = &[
    may("LUNLIST", Kind::List),
    may("IOTYPE", Kind::Choice(&["0", "1", "2"])),
    may("MAXIOPS", Kind::Number),
    may("MINIOPS", Kind::Number),
    may("MAXBANDWIDTH", Kind::Number),
    may("MINBANDWIDTH", Kind::Number),
    may("LATENCY", Kind::Text),
    may("BURSTIOPS", Kind::Text),
    may("BURSTBANDWIDTH", Kind::Text),
    may("BURSTTIME", Kind::Text),
    may("CLASSTYPE", Kind::Text),
    may("SCHEDULEPOLICY", Kind::Text),
    may("SCHEDULESTARTTIME", Kind::Text),
    may("STARTTIME", Kind::Text),
    may("DURATION", Kind::Text),
    may("CYCLESET", Kind::List),
];

/// The calls on QoS policies, cache partitions and smart caches.
pub(crate) const ROUTES: &[Route] = &[
    get("ioclass", "QoS policies.", |ground, call| {
        let all = &ground.extras.qos;
        Ok(Reply::List(list(
            call,
            |name| all.iter().find(|(_, qos)| qos.name == name),
            |id| number(id).and_then(|id| all.get_key_value(&id)),
            all.iter(),
            |(id, qos)| object(*id, qos),
        )?))
    })
    .list(),
    get("ioclass/count", "How many QoS policies there are.", |ground, _| count(ground.extras.qos.len())),
    post("ioclass", "Make a QoS policy, inactive.", create).takes(&[NAMED, POLICY]),
    put("ioclass/active", "Switch a QoS policy on or off.", |ground, call| {
        activate(ground, call, call.need_id("ID", codes::OBJECT_MISSING)?)
    })
    .takes(&[SUBJECT, &[need("ENABLESTATUS", Kind::Truth)]]),
    put("ioclass/active/{id}", "Switch a QoS policy on or off.", |ground, call| {
        activate(ground, call, call.id_at(2, codes::OBJECT_MISSING)?)
    })
    .takes(&[&[need("ENABLESTATUS", Kind::Truth)]]),
    get("ioclass/{id}", "A QoS policy.", |ground, call| {
        let id = call.id_at(1, codes::OBJECT_MISSING)?;
        let qos = ground.extras.qos.get(&id).ok_or(codes::OBJECT_MISSING)?;
        Ok(Reply::One(object(id, qos)))
    }),
    put("ioclass/{id}", "Change the LUNs or limits of a QoS policy.", |ground, call| {
        let id = call.id_at(1, codes::OBJECT_MISSING)?;
        let luns = luns(ground, call)?;
        let attributes = attributes(call)?;
        let qos = ground.extras.qos.get_mut(&id).ok_or(codes::OBJECT_MISSING)?;
        if let Some(luns) = luns {
            qos.luns = luns;
        }
        qos.attributes.extend(attributes);
        enforce(ground, id);
        done()
    })
    .takes(&[POLICY]),
    delete("ioclass/{id}", "Delete an inactive QoS policy.", |ground, call| {
        let id = call.id_at(1, codes::OBJECT_MISSING)?;
        if ground.extras.qos.get(&id).ok_or(codes::OBJECT_MISSING)?.active {
            return Err(codes::QOS_ACTIVE.into());
        }
        ground.extras.qos.remove(&id);
        enforce(ground, id);
        done()
    }),
    get("cachepartition", "Cache partitions.", |_, call| listed(call, partition("part0"))).list(),
    get("cachepartition/count", "How many cache partitions there are.", |_, _| count(1)),
    get("cachepartition/{id}", "A cache partition.", |_, call| by_id(call, partition("part0"))),
    get("smartcachepartition", "Smart caches.", |_, call| listed(call, partition("cache0"))).list(),
    get("smartcachepartition/count", "How many smart caches there are.", |_, _| count(1)),
    get("smartcachepartition/{id}", "A smart cache.", |_, call| by_id(call, partition("cache0"))),
    put("smartcachepartition/create_associate", "Put a LUN into a smart cache.", |ground, call| {
        smart_cache(ground, call, true)
    })
    .takes(&[SUBJECT, ASSOCIATED]),
    put("smartcachepartition/remove_associate", "Take a LUN out of a smart cache.", |ground, call| {
        smart_cache(ground, call, false)
    })
    .takes(&[SUBJECT, ASSOCIATED]),
];

/// LUNLIST; each must exist.
fn luns(ground: &Ground<'_>, call: &Call<'_>) -> Result<Option<Vec<String>>, Failure> {
    let Some(luns) = call.fields.list("LUNLIST")? else { return Ok(None) };
    if luns.len() > LUNS {
        return Err(codes::LIMIT.into());
    }
    if luns.iter().any(|lun| number(lun).and_then(|lun| ground.array.lun(lun)).is_none()) {
        return Err(codes::LUN_MISSING.into());
    }
    Ok(Some(luns))
}

/// Makes the array act as the policy says. Lower limits, latencies, bursts and the daily schedule are kept and told, no
/// more.
fn enforce(ground: &mut Ground<'_>, id: u64) {
    let policy = ground.extras.qos.get(&id).filter(|qos| qos.active).map(|qos| {
        let limit = |name: &str| qos.attributes.get(name).and_then(|text| number(text));
        let kind = qos.attributes.get("IOTYPE").map_or("2", String::as_str);
        TrafficPolicy {
            luns: qos.luns.iter().filter_map(|lun| number(lun)).collect(),
            commands: limit("MAXIOPS").and_then(NonZeroU64::new),
            bytes: limit("MAXBANDWIDTH").and_then(|mb| NonZeroU64::new(mb.saturating_mul(1 << 20))),
            reads: kind != "1",
            writes: kind != "0",
        }
    });
    ground.array.set_traffic_policy(id, policy);
}

/// The attributes in a request body.
fn attributes(call: &Call<'_>) -> Result<BTreeMap<&'static str, String>, Failure> {
    let mut attributes = BTreeMap::new();
    for attribute in ATTRIBUTES {
        // CYCLESET arrives as a list or as a string.
        let value = match call.fields.value(attribute) {
            Some(value @ serde_json::Value::Array(_)) => Some(value.to_string()),
            _ => call.fields.text(attribute)?.map(|value| value.into_owned()),
        };
        if let Some(value) = short(attribute, value)? {
            let is_limit = attribute.starts_with("MAX") || attribute.starts_with("MIN");
            if is_limit && number(&value).is_none() {
                return Err(Failure::parameter(format!("{attribute} is not a number")));
            }
            if *attribute == "IOTYPE" && !matches!(value.as_str(), "0" | "1" | "2") {
                return Err(Failure::parameter("IOTYPE must be 0, 1 or 2"));
            }
            attributes.insert(*attribute, value);
        }
    }
    Ok(attributes)
}

fn create(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (name, _) = call.name_and_description()?;
    if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
        return Err(Failure::parameter("NAME must have 1 to 255 bytes, none of them a control character"));
    }
    let luns = luns(ground, call)?.unwrap_or_default();
    let attributes = attributes(call)?;
    let extras = &mut *ground.extras;
    if extras.qos.len() >= QOS_LIMIT {
        return Err(codes::LIMIT.into());
    }
    if extras.qos.values().any(|qos| qos.name == name) {
        return Err(codes::NAME_EXISTS.into());
    }
    extras.last_qos += 1;
    let id = extras.last_qos;
    let qos = Qos { name, luns, active: false, attributes };
    let answer = object(id, &qos);
    extras.qos.insert(id, qos);
    Ok(Reply::One(answer))
}

fn activate(ground: &mut Ground<'_>, call: &Call<'_>, id: u64) -> Answer {
    let active = truth("ENABLESTATUS", &call.need("ENABLESTATUS")?)?;
    ground.extras.qos.get_mut(&id).ok_or(codes::OBJECT_MISSING)?.active = active;
    enforce(ground, id);
    done()
}

fn partition(name: &str) -> std::iter::Once<Object> {
    std::iter::once(
        Object::new()
            .text("ID", "0")
            .text("NAME", name)
            .text("HEALTHSTATUS", "1")
            .text("RUNNINGSTATUS", "27"),
    )
}

fn smart_cache(ground: &mut Ground<'_>, call: &Call<'_>, add: bool) -> Answer {
    let cache = call.need("ID")?.into_owned();
    let (kind, id) = call.associated()?;
    let lun = number(&id).filter(|id| kind == kind::LUN && ground.array.lun(*id).is_some());
    let lun = lun.ok_or(codes::LUN_MISSING)?;
    if cache != "0" {
        return Err(codes::OBJECT_MISSING.into());
    }
    ground.extras.set_lun_attribute(lun, "SMARTCACHEPARTITIONID", add.then_some(cache));
    done()
}
