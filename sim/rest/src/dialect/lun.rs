//! LUNs: create, linked clone, expand, split, delete, and who is associated with what.

use std::collections::{BTreeMap, BTreeSet};

use sanbench_array::{Command, DeviceId, Lun, PartitionKind, SplitStatus, controller_name};

use crate::codes::{self, Failure, Topic};
use crate::dialect::sight::Sight;
use crate::dialect::{Call, Ground, bracketed, count, is_new, list, qos, view, wwn};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::{Fields, number, truth};
use crate::routes::{
    ASSOCIATED, Field, Kind, MAYBE_ASSOCIATED, NAMED, RENAMED, Route, SUBJECT, delete, get, may, need, post,
    put,
};

/// Attributes of a LUN that the array keeps as labels, with their defaults. No default: absent until set.
const ATTRIBUTES: &[(&str, Option<&str>)] = &[
    ("WRITEPOLICY", Some("1")),
    ("PREFETCHPOLICY", Some("3")),
    ("PREFETCHVALUE", Some("0")),
    ("DATATRANSFERPOLICY", Some("0")),
    ("READCACHEPOLICY", Some("2")),
    ("WRITECACHEPOLICY", Some("5")),
    ("MIRRORPOLICY", Some("1")),
    ("IOPRIORITY", None),
    ("ENABLECOMPRESSION", None),
    ("ENABLESMARTDEDUP", None),
    ("WORKLOADTYPEID", None),
];
/// Longest value of such an attribute in bytes.
const VALUE_BYTES: usize = 64;

/// What a LUN's answer says about other objects, gathered once for a call.
struct Facts<'a> {
    sight: Sight<'a>,
    /// LUN -> its LUN copies.
    copies: BTreeMap<u64, Vec<u64>>,
    /// LUNs of clone pairs, and of migrations.
    paired: BTreeSet<u64>,
    moving: BTreeSet<u64>,
    /// LUN -> its QoS policy, the oldest of several.
    policies: BTreeMap<u64, u64>,
}

impl<'a> Facts<'a> {
    fn gather(sight: Sight<'a>) -> Self {
        let array = sight.array;
        let mut copies: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for copy in array.lun_copies() {
            for device in [copy.source, DeviceId::Lun(copy.target)] {
                if let DeviceId::Lun(lun) = device {
                    copies.entry(lun).or_default().push(copy.id);
                }
            }
        }
        let mut policies = BTreeMap::new();
        for policy in array.qos() {
            for lun in &policy.luns {
                policies.entry(*lun).or_insert(policy.id);
            }
        }
        // Snapshots among the sources do no harm: no LUN has their number.
        let paired = array.clone_pairs().flat_map(|pair| [pair.source.number(), pair.target]).collect();
        let moving = array.migrations().flat_map(|task| [task.id, task.target]).collect();
        Self { sight, copies, paired, moving, policies }
    }

    fn object(&self, lun: &Lun) -> Object {
        let array = self.sight.array;
        let pool = array.pool(lun.pool).map_or("", |pool| pool.name.as_str());
        let copies = self.copies.get(&lun.id).map_or(&[][..], Vec::as_slice);
        let linked = lun.is_clone() || array.clones_of(DeviceId::Lun(lun.id)).next().is_some();
        let partition = |kind| lun.partitions.get(&kind).map_or_else(String::new, |id: &u64| id.to_string());
        let pair = array.pair_of_lun(lun.id);
        let mut object = Object::new()
            .number("ID", lun.id)
            .text("NAME", lun.name.as_str())
            .text("TYPE", "11")
            .text("DESCRIPTION", lun.description.as_str())
            .text("WWN", wwn(&lun.wwn))
            .number("PARENTID", lun.pool)
            .text("PARENTNAME", pool)
            .text("HEALTHSTATUS", "1")
            .text("RUNNINGSTATUS", "27")
            .text("ALLOCTYPE", if lun.thin { "1" } else { "0" })
            .text(
                "OWNINGCONTROLLER",
                array.home(DeviceId::Lun(lun.id)).map_or_else(String::new, controller_name),
            )
            .text("WORKINGCONTROLLER", controller_name(lun.owner))
            .number("CAPACITY", lun.blocks())
            .number("ALLOCCAPACITY", lun.allocated_blocks())
            .text("SECTORSIZE", "512")
            .text("MIRRORTYPE", "0")
            .text("SUBTYPE", "0")
            .flag("EXPOSEDTOINITIATOR", array.is_mapped(DeviceId::Lun(lun.id)))
            .flag("ISADD2LUNGROUP", !lun.groups.is_empty())
            .text("IOCLASSID", self.policies.get(&lun.id).map_or_else(String::new, u64::to_string))
            .text("SMARTCACHEPARTITIONID", partition(PartitionKind::SmartCache))
            .text("CACHEPARTITIONID", partition(PartitionKind::Cache))
            .number("vstoreId", lun.vstore)
            .text("vstoreName", array.vstore_name(lun.vstore))
            .text("LUNCOPYIDS", bracketed(copies.iter().map(|copy| format!("\"{copy}\""))))
            .text(
                "REMOTEREPLICATIONIDS",
                bracketed(pair.iter().filter(|pair| !pair.is_metro()).map(|pair| format!("\"{}\"", pair.id))),
            )
            .text(
                "HASRSSOBJECT",
                resources(&[
                    ("SnapShot", array.snapshots_of(lun.id).next().is_some()),
                    ("LunCopy", !copies.is_empty()),
                    ("LUNClone", linked || self.paired.contains(&lun.id)),
                    ("RemoteReplication", pair.is_some_and(|pair| !pair.is_metro())),
                    ("SplitMirror", false),
                    ("LUNMirror", false),
                    ("LunMigration", self.moving.contains(&lun.id)),
                    ("HyperMetro", pair.is_some_and(|pair| pair.is_metro())),
                ]),
            );
        for (name, default) in ATTRIBUTES {
            // Arrays of the new line deduplicate and compress by themselves.
            let default = match *name {
                "ENABLECOMPRESSION" | "ENABLESMARTDEDUP" => {
                    Some(if is_new(array) { "true" } else { "false" })
                }
                _ => *default,
            };
            if let Some(value) = lun.labels.get(*name).map(String::as_str).or(default) {
                object = object.text(name, value);
                // The switch has one name where it is set and another where monitors look.
                if *name == "ENABLESMARTDEDUP" {
                    object = object.text("ENABLEDEDUP", value);
                }
            }
        }
        object = object
            .flag("ISCLONE", lun.is_clone())
            .text(
                "SPLITSTATUS",
                match lun.split {
                    SplitStatus::None => "0",
                    SplitStatus::Running => "1",
                    SplitStatus::Failed => "2",
                },
            )
            .number("SPLITPROGRESS", lun.split_progress);
        match lun.origin.map(|origin| origin.source) {
            None => object,
            Some(DeviceId::Lun(id)) => object.number("CLONESOURCEID", id).text("CLONESOURCETYPE", "11"),
            Some(DeviceId::Snapshot(id)) => object.number("CLONESOURCEID", id).text("CLONESOURCETYPE", "27"),
        }
    }
}

/// The value of HASRSSOBJECT: a string that holds a JSON object.
fn resources(all: &[(&str, bool)]) -> String {
    let words: Vec<String> = all
        .iter()
        .map(|(name, is)| format!("\"{name}\":\"{}\"", if *is { "TRUE" } else { "FALSE" }))
        .collect();
    format!("{{{}}}", words.join(","))
}

/// The settable attributes in a request body as changes of labels; null and the default take one away.
fn attributes(fields: &Fields) -> Result<Vec<(String, Option<String>)>, Failure> {
    let mut out = Vec::new();
    for (name, default) in ATTRIBUTES.iter().filter(|(name, _)| fields.has(name)) {
        let value = fields.text(name)?;
        if value.as_ref().is_some_and(|value| value.len() > VALUE_BYTES) {
            return Err(Failure::parameter(format!("{name} is too long")));
        }
        let value = value.filter(|value| *default != Some(value.as_ref()));
        out.push(((*name).to_owned(), value.map(|value| value.into_owned())));
    }
    Ok(out)
}

/// The calls on LUNs.
pub(crate) const ROUTES: &[Route] = &[
    get("lun", "LUNs.", listed).list(),
    post("lun", "Make a LUN, or with ISCLONE a linked clone of a LUN or snapshot.", create).takes(&[
        NAMED,
        &[
            may("PARENTID", Kind::Id),
            may("CAPACITY", Kind::Number),
            may("ALLOCTYPE", Kind::Choice(&["0", "1"])),
            may("ISCLONE", Kind::Truth),
            may("CLONESOURCEID", Kind::Id),
            may("CLONESOURCETYPE", Kind::Choice(&["11", "27"])),
        ],
        POLICIES,
    ]),
    get("lun/count", "How many LUNs there are, or a host or LUN group has.", counted)
        .takes(&[MAYBE_ASSOCIATED]),
    get("lun/associate", "LUNs of a host or LUN group.", associated).takes(&[ASSOCIATED]).list(),
    post("lun/associate/cachepartition", "Put a LUN into a cache partition.", |ground, call| {
        cache_partition(ground, call, true)
    })
    .takes(&[SUBJECT, ASSOCIATED]),
    delete("lun/associate/cachepartition", "Take a LUN out of a cache partition.", |ground, call| {
        cache_partition(ground, call, false)
    })
    .takes(&[SUBJECT, ASSOCIATED]),
    put("lun/expand", "Grow a LUN to a capacity in sectors.", |ground, call| {
        let lun = call.need_id("ID", codes::LUN_MISSING)?;
        let blocks = call.need_number("CAPACITY")?;
        ground.apply(Command::ExpandLun { lun, blocks }, Topic::Lun)?;
        one(ground, lun)
    })
    .takes(&[SUBJECT, &[need("CAPACITY", Kind::Number)]]),
    get("lun/{id}", "A LUN.", |ground, call| one(ground, call.id_at(1, codes::LUN_MISSING)?)),
    put("lun/{id}", "Rename a LUN or change its policies.", update).takes(&[RENAMED, POLICIES]),
    delete("lun/{id}", "Delete a LUN.", |ground, call| {
        let lun = call.id_at(1, codes::LUN_MISSING)?;
        ground.apply(Command::DeleteLun { lun }, Topic::Lun)?;
        done()
    }),
    put("lunclone_split_switch", "Start (1) or give up (2) the split of a linked clone.", split)
        .takes(&[SUBJECT, &[need("SPLITACTION", Kind::Choice(&["1", "2"])), may("SPLITSPEED", Kind::Number)]])
        .new_line(),
];

/// Attributes that may be set and are given back.
const POLICIES: &[Field] = &[
    may("OWNINGCONTROLLER", Kind::Text),
    may("WRITEPOLICY", Kind::Text),
    may("PREFETCHPOLICY", Kind::Text),
    may("PREFETCHVALUE", Kind::Text),
    may("DATATRANSFERPOLICY", Kind::Text),
    may("READCACHEPOLICY", Kind::Text),
    may("WRITECACHEPOLICY", Kind::Text),
    may("MIRRORPOLICY", Kind::Text),
    may("IOPRIORITY", Kind::Text),
    may("ENABLECOMPRESSION", Kind::Truth),
    may("ENABLESMARTDEDUP", Kind::Truth),
    may("WORKLOADTYPEID", Kind::Id),
];

fn listed(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let sight = ground.sight();
    let facts = Facts::gather(sight);
    let by_id = |id: &str| number(id).and_then(|id| sight.lun(id));
    let by_name = |name: &str| sight.luns_named(name);
    Ok(Reply::List(list(call, by_name, by_id, sight.luns(), |lun| facts.object(lun))?))
}

fn one(ground: &Ground<'_>, id: u64) -> Answer {
    let lun = ground.sight().lun(id).ok_or(codes::LUN_MISSING)?;
    Ok(Reply::One(Facts::gather(ground.sight()).object(lun)))
}

fn create(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (name, description) = call.name_and_description()?;
    let attributes = attributes(&call.fields)?;
    let is_clone = match call.fields.text("ISCLONE")? {
        Some(text) => truth("ISCLONE", &text)?,
        None => false,
    };
    let command = if is_clone {
        if !is_new(ground.array) {
            return Err(Failure::unsupported());
        }
        let id = call
            .fields
            .text("CLONESOURCEID")?
            .ok_or_else(|| Failure::parameter("CLONESOURCEID is missing"))?;
        // LUNs and snapshots share one number space; the type, when given, must agree.
        let source = number(&id).and_then(|id| ground.sight().device_by_number(id));
        let source = match (call.fields.text("CLONESOURCETYPE")?.as_deref(), source) {
            (None, Some(source))
            | (Some("11"), Some(source @ DeviceId::Lun(_)))
            | (Some("27"), Some(source @ DeviceId::Snapshot(_))) => source,
            (Some("27"), _) => return Err(codes::SNAPSHOT_MISSING.into()),
            (None | Some("11"), _) => return Err(codes::LUN_MISSING.into()),
            (Some(_), _) => return Err(Failure::parameter("CLONESOURCETYPE must be 11 or 27")),
        };
        Command::CloneLun { name, source, description }
    } else {
        let pool = call.fields.text("PARENTID")?.ok_or_else(|| Failure::parameter("PARENTID is missing"))?;
        let pool = number(&pool).ok_or(codes::OBJECT_MISSING)?;
        let blocks = call.fields.text("CAPACITY")?.and_then(|text| number(&text));
        let blocks = blocks.ok_or_else(|| Failure::parameter("CAPACITY is not a number of sectors"))?;
        let thin = match call.fields.text("ALLOCTYPE")?.as_deref() {
            None | Some("1") => true,
            Some("0") => false,
            Some(_) => return Err(Failure::parameter("ALLOCTYPE must be 0 or 1")),
        };
        Command::CreateLun { name, description, pool, blocks, thin }
    };
    let owner = owning_controller(ground, call)?;
    let id = ground.create(command, Topic::Lun)?;
    set_labels(ground, id, attributes)?;
    set_owning_controller(ground, id, owner)?;
    one(ground, id)
}

/// The controller that OWNINGCONTROLLER asks for; none when it is absent, empty or the dialect's "--".
fn owning_controller(ground: &Ground<'_>, call: &Call<'_>) -> Result<Option<u8>, Failure> {
    let wanted = call.fields.text("OWNINGCONTROLLER")?;
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty() && *wanted != "--") else { return Ok(None) };
    let known = ground.array.controllers().into_iter().find(|known| known.name.eq_ignore_ascii_case(&wanted));
    known
        .map(|known| Some(known.id))
        .ok_or_else(|| Failure::parameter("OWNINGCONTROLLER names no controller"))
}

/// OWNINGCONTROLLER is the LUN's home, WORKINGCONTROLLER who serves it now.
fn set_owning_controller(ground: &mut Ground<'_>, lun: u64, owner: Option<u8>) -> Result<(), Failure> {
    if let Some(controller) = owner {
        ground.apply(Command::SetHome { lun, controller }, Topic::Lun)?;
    }
    Ok(())
}

fn set_labels(
    ground: &mut Ground<'_>,
    lun: u64,
    changes: Vec<(String, Option<String>)>,
) -> Result<(), Failure> {
    if !changes.is_empty() {
        ground.apply(Command::SetLunLabels { lun, changes }, Topic::Lun)?;
    }
    Ok(())
}

fn update(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let id = call.id_at(1, codes::LUN_MISSING)?;
    let current = ground.sight().lun(id).ok_or(codes::LUN_MISSING)?.name.clone();
    let name = call.fields.text("NAME")?.map(|name| name.into_owned());
    let description = call.fields.text("DESCRIPTION")?.map(|text| text.into_owned());
    let attributes = attributes(&call.fields)?;
    let owner = owning_controller(ground, call)?;
    if name.is_some() || description.is_some() {
        let name = name.unwrap_or(current);
        ground.apply(Command::RenameLun { lun: id, name, description }, Topic::Lun)?;
    }
    set_labels(ground, id, attributes)?;
    set_owning_controller(ground, id, owner)?;
    one(ground, id)
}

fn counted(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    if call.query.get("ASSOCIATEOBJTYPE").is_none() {
        return count(ground.sight().luns().count());
    }
    let (kind, id) = call.associated()?;
    count(members(ground.sight(), kind, &id)?.len())
}

/// LUNs associated with a host or a LUN group, with their host LUN ids for a host. No such object: no LUNs.
fn members<'a>(sight: Sight<'a>, kind: u64, id: &str) -> Result<Vec<(&'a Lun, Option<u16>)>, Failure> {
    let devices = view::devices_of(sight, kind, id)?;
    let lun = |(device, host_lun_id): (DeviceId, Option<u16>)| match device {
        DeviceId::Lun(id) => sight.lun(id).map(|lun| (lun, host_lun_id)),
        DeviceId::Snapshot(_) => None,
    };
    Ok(devices.into_iter().filter_map(lun).collect())
}

fn associated(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (kind, id) = call.associated()?;
    let members = members(ground.sight(), kind, &id)?;
    let facts = Facts::gather(ground.sight());
    let render = |(lun, host_lun_id): (&Lun, Option<u16>)| {
        let object = facts.object(lun);
        match host_lun_id {
            Some(id) => object.text("ASSOCIATEMETADATA", format!("{{\"HostLUNID\": {id}}}")),
            None => object,
        }
    };
    let find = |wanted: &dyn Fn(&Lun) -> bool| members.iter().find(|(lun, _)| wanted(lun)).copied();
    Ok(Reply::List(list(
        call,
        |name| find(&|lun| lun.name == name).into_iter().collect(),
        |id| find(&|lun| number(id) == Some(lun.id)),
        members.iter().copied(),
        render,
    )?))
}

fn cache_partition(ground: &mut Ground<'_>, call: &Call<'_>, add: bool) -> Answer {
    qos::associate(ground, call, PartitionKind::Cache, add)
}

/// `PUT /lunclone_split_switch`: SPLITACTION 1 starts the split of a linked clone, 2 gives it up.
fn split(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let lun = call.need_id("ID", codes::LUN_MISSING)?;
    let command = match &*call.need("SPLITACTION")? {
        "1" => Command::StartSplit { lun },
        "2" => Command::StopSplit { lun },
        _ => return Err(Failure::parameter("SPLITACTION must be 1 or 2")),
    };
    ground.apply(command, Topic::Lun)?;
    done()
}
