//! QoS policies (`ioclass`): while active, their upper limits (MAXIOPS, MAXBANDWIDTH) act on the data path; lower limits,
//! latencies, bursts and the daily schedule are kept and told. Cache partitions and smart caches cache nothing: clients can
//! put LUNs into them, and that is all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU64;

use sanbench_array::{Command, Labels, Partition, PartitionKind, QosPolicy, TrafficLimits};

use crate::codes::{self, Failure, Topic};
use crate::dialect::{Call, Ground, bracketed, count, kind, list, page};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::{number, truth};
use crate::routes::{ASSOCIATED, Field, Kind, NAMED, Route, SUBJECT, delete, get, may, need, post, put};

/// Attributes of a policy that are kept and given back.
const ATTRIBUTES: &[&str] = &[
    "BURSTBANDWIDTH",
    "BURSTIOPS",
    "BURSTTIME",
    "CLASSTYPE",
    "CYCLESET",
    "DESCRIPTION",
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
/// Longest value of an attribute in bytes.
const VALUE_BYTES: usize = 255;

fn object(qos: &QosPolicy) -> Object {
    let luns = bracketed(qos.luns.iter().map(|lun| format!("\"{lun}\"")));
    let object = Object::new()
        .number("ID", qos.id)
        .text("NAME", qos.name.as_str())
        .text("TYPE", "230")
        .text("LUNLIST", luns)
        .text("FSLIST", "[\"\"]")
        .text("HEALTHSTATUS", "1")
        .text("RUNNINGSTATUS", if qos.active { "2" } else { "45" })
        .flag("ENABLESTATUS", qos.active)
        .number("vstoreId", qos.vstore);
    qos.labels.iter().fold(object, |object, (name, value)| object.text(name, value.as_str()))
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
        let sight = ground.sight();
        let by_id = |id: &str| number(id).and_then(|id| sight.qos_policy(id));
        Ok(Reply::List(list(call, |name| sight.qos_named(name), by_id, sight.qos(), object)?))
    })
    .list(),
    get("ioclass/count", "How many QoS policies there are.", |ground, _| count(ground.sight().qos().count())),
    post("ioclass", "Make a QoS policy, inactive.", create).takes(&[NAMED, POLICY]),
    put("ioclass/active", "Switch a QoS policy on or off.", |ground, call| {
        activate(ground, call, call.need_id("ID", codes::OBJECT_MISSING)?)
    })
    .takes(&[SUBJECT, &[need("ENABLESTATUS", Kind::Truth)]]),
    put("ioclass/active/{id}", "Switch a QoS policy on or off.", |ground, call| {
        activate(ground, call, call.id_at(2, codes::OBJECT_MISSING)?)
    })
    .takes(&[&[need("ENABLESTATUS", Kind::Truth)]]),
    get("ioclass/{id}", "A QoS policy.", |ground, call| one(ground, call.id_at(1, codes::OBJECT_MISSING)?)),
    put("ioclass/{id}", "Change the LUNs or limits of a QoS policy.", update).takes(&[POLICY]),
    delete("ioclass/{id}", "Delete an inactive QoS policy.", |ground, call| {
        let qos = call.id_at(1, codes::OBJECT_MISSING)?;
        ground.apply(Command::DeleteQos { qos }, Topic::Lun)?;
        done()
    }),
    get("cachepartition", "Cache partitions.", |ground, call| {
        let all = ground.array.partitions(PartitionKind::Cache).map(partition_object);
        Ok(Reply::List(page(call, all)?))
    })
    .list(),
    get("cachepartition/count", "How many cache partitions there are.", |ground, _| {
        count(ground.array.partitions(PartitionKind::Cache).count())
    }),
    post("cachepartition", "Make a cache partition.", |ground, call| {
        create_partition(ground, call, PartitionKind::Cache)
    })
    .takes(&[NAMED]),
    get("cachepartition/{id}", "A cache partition.", |ground, call| {
        one_partition(ground, PartitionKind::Cache, call.id_at(1, codes::OBJECT_MISSING)?)
    }),
    delete("cachepartition/{id}", "Delete a cache partition without LUNs.", |ground, call| {
        delete_partition(ground, call, PartitionKind::Cache)
    }),
    get("smartcachepartition", "Smart caches.", |ground, call| {
        let all = ground.array.partitions(PartitionKind::SmartCache).map(partition_object);
        Ok(Reply::List(page(call, all)?))
    })
    .list(),
    get("smartcachepartition/count", "How many smart caches there are.", |ground, _| {
        count(ground.array.partitions(PartitionKind::SmartCache).count())
    }),
    post("smartcachepartition", "Make a smart cache.", |ground, call| {
        create_partition(ground, call, PartitionKind::SmartCache)
    })
    .takes(&[NAMED]),
    get("smartcachepartition/{id}", "A smart cache.", |ground, call| {
        one_partition(ground, PartitionKind::SmartCache, call.id_at(1, codes::OBJECT_MISSING)?)
    }),
    delete("smartcachepartition/{id}", "Delete a smart cache without LUNs.", |ground, call| {
        delete_partition(ground, call, PartitionKind::SmartCache)
    }),
    put("smartcachepartition/create_associate", "Put a LUN into a smart cache.", |ground, call| {
        associate(ground, call, PartitionKind::SmartCache, true)
    })
    .takes(&[SUBJECT, ASSOCIATED]),
    put("smartcachepartition/remove_associate", "Take a LUN out of a smart cache.", |ground, call| {
        associate(ground, call, PartitionKind::SmartCache, false)
    })
    .takes(&[SUBJECT, ASSOCIATED]),
];

fn create(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (name, _) = call.name_and_description()?;
    let luns = luns(call)?.unwrap_or_default();
    let changes = attributes(call)?;
    let limits = limits(&Labels::new(), &changes);
    let id =
        ground.create(Command::CreateQos { name, luns, limits, labels: as_labels(changes) }, Topic::Lun)?;
    one(ground, id)
}

fn update(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let qos = call.id_at(1, codes::OBJECT_MISSING)?;
    let luns = luns(call)?;
    let changes = attributes(call)?;
    let current = ground.sight().qos_policy(qos).ok_or(codes::OBJECT_MISSING)?;
    let limits = Some(limits(&current.labels, &changes));
    ground.apply(Command::UpdateQos { qos, luns, limits, labels: as_labels(changes) }, Topic::Lun)?;
    done()
}

fn as_labels(changes: BTreeMap<&'static str, String>) -> Vec<(String, Option<String>)> {
    changes.into_iter().map(|(name, value)| (name.to_owned(), Some(value))).collect()
}

fn one(ground: &Ground<'_>, id: u64) -> Answer {
    let qos = ground.sight().qos_policy(id).ok_or(codes::OBJECT_MISSING)?;
    Ok(Reply::One(object(qos)))
}

/// LUNLIST, as ids; an empty text in it, which some clients send for none, counts for nothing.
fn luns(call: &Call<'_>) -> Result<Option<Vec<u64>>, Failure> {
    let Some(luns) = call.fields.list("LUNLIST")? else { return Ok(None) };
    let ids = luns.iter().filter(|lun| !lun.is_empty()).map(|lun| number(lun).ok_or(codes::LUN_MISSING));
    Ok(Some(ids.collect::<Result<_, _>>()?))
}

/// The limits that act, as labels with their changes say. Bandwidths are in MB (2^20 bytes) a second.
fn limits(labels: &Labels, changes: &BTreeMap<&'static str, String>) -> TrafficLimits {
    let value = |name: &str| changes.get(name).or_else(|| labels.get(name)).map(String::as_str);
    let limit = |name: &str| value(name).and_then(number);
    let kind = value("IOTYPE").unwrap_or("2");
    TrafficLimits {
        commands: limit("MAXIOPS").and_then(NonZeroU64::new),
        bytes: limit("MAXBANDWIDTH").and_then(|mb| NonZeroU64::new(mb.saturating_mul(1 << 20))),
        reads: kind != "1",
        writes: kind != "0",
    }
}

/// The attributes in a request body.
fn attributes(call: &Call<'_>) -> Result<BTreeMap<&'static str, String>, Failure> {
    let mut attributes = BTreeMap::new();
    for attribute in ATTRIBUTES {
        // CYCLESET arrives as a list or as a string.
        let value = match call.fields.value(attribute) {
            Some(value @ serde_json::Value::Array(_)) => Some(value.to_string()),
            _ => call.fields.text(attribute)?.map(Cow::into_owned),
        };
        let Some(value) = value else { continue };
        if value.len() > VALUE_BYTES {
            return Err(Failure::parameter(format!("{attribute} is too long")));
        }
        let is_limit = attribute.starts_with("MAX") || attribute.starts_with("MIN");
        if is_limit && number(&value).is_none() {
            return Err(Failure::parameter(format!("{attribute} is not a number")));
        }
        if *attribute == "IOTYPE" && !matches!(value.as_str(), "0" | "1" | "2") {
            return Err(Failure::parameter("IOTYPE must be 0, 1 or 2"));
        }
        attributes.insert(*attribute, value);
    }
    Ok(attributes)
}

fn activate(ground: &mut Ground<'_>, call: &Call<'_>, qos: u64) -> Answer {
    let active = truth("ENABLESTATUS", &call.need("ENABLESTATUS")?)?;
    ground.apply(Command::ActivateQos { qos, active }, Topic::Lun)?;
    done()
}

// ---- cache partitions

fn partition_object(partition: &Partition) -> Object {
    let object = Object::new()
        .number("ID", partition.id)
        .text("NAME", partition.name.as_str())
        .text("DESCRIPTION", partition.description.as_str())
        .text("HEALTHSTATUS", "1")
        .text("RUNNINGSTATUS", "27");
    match partition.kind {
        PartitionKind::Cache => object,
        PartitionKind::SmartCache => object.text("TYPE", "273"),
    }
}

fn create_partition(ground: &mut Ground<'_>, call: &Call<'_>, kind: PartitionKind) -> Answer {
    let (name, description) = call.name_and_description()?;
    let made = ground.apply_to_array(Command::CreatePartition { kind, name, description }, Topic::Lun)?;
    one_partition(ground, kind, made.id().ok_or(codes::BUSY)?)
}

fn delete_partition(ground: &mut Ground<'_>, call: &Call<'_>, kind: PartitionKind) -> Answer {
    let partition = call.id_at(1, codes::OBJECT_MISSING)?;
    ground.apply_to_array(Command::DeletePartition { kind, partition }, Topic::Lun)?;
    done()
}

fn one_partition(ground: &Ground<'_>, kind: PartitionKind, id: u64) -> Answer {
    let partition = ground.array.partition(kind, id).ok_or(codes::OBJECT_MISSING)?;
    Ok(Reply::One(partition_object(partition)))
}

/// Puts the LUN that a call names into a partition, or takes it out.
pub(crate) fn associate(ground: &mut Ground<'_>, call: &Call<'_>, of: PartitionKind, add: bool) -> Answer {
    let partition = call.need_id("ID", codes::OBJECT_MISSING)?;
    let (kind, id) = call.associated()?;
    let lun = number(&id).filter(|_| kind == kind::LUN).ok_or(codes::LUN_MISSING)?;
    let command = match add {
        true => Command::PutInPartition { kind: of, partition, lun },
        false => Command::TakeFromPartition { kind: of, partition, lun },
    };
    ground.apply(command, Topic::Lun)?;
    done()
}
