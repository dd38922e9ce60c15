//! LUNs: create, linked clone, expand, split, delete, and who is associated with what.

use std::collections::BTreeSet;

use sanbench_array::{Array, Command, DeviceId, Lun, SplitStatus, controller_name};

use crate::codes::{self, Failure, Topic};
use crate::dialect::{Call, Ground, bracketed, count, is_new, kind, list, view, wwn};
use crate::envelope::{Answer, Object, Reply, done};
use crate::extras::{Extras, LUN_ATTRIBUTES, read_attributes};
use crate::query::{number, truth};
use crate::routes::{
    ASSOCIATED, Field, Kind, MAYBE_ASSOCIATED, NAMED, RENAMED, Route, SUBJECT, delete, get, may, need, post,
    put,
};

/// What a LUN's answer says about other objects, gathered once for a call.
struct Facts<'a> {
    array: &'a Array,
    extras: &'a Extras,
    with_snapshots: BTreeSet<u64>,
}

impl<'a> Facts<'a> {
    fn gather(array: &'a Array, extras: &'a Extras) -> Self {
        Self { array, extras, with_snapshots: array.snapshots().map(|snapshot| snapshot.parent).collect() }
    }

    fn object(&self, lun: &Lun) -> Object {
        let Self { array, extras, with_snapshots } = self;
        let pool = array.pool(lun.pool).map_or("", |pool| pool.name.as_str());
        let copies = || {
            array.lun_copies().filter(|copy| copy.target == lun.id || copy.source == DeviceId::Lun(lun.id))
        };
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
            .text("IOCLASSID", extras.qos_of(lun.id).map_or_else(String::new, |id| id.to_string()))
            .text(
                "SMARTCACHEPARTITIONID",
                extras.lun_attribute(lun.id, "SMARTCACHEPARTITIONID").unwrap_or(""),
            )
            .text("CACHEPARTITIONID", extras.lun_attribute(lun.id, "CACHEPARTITIONID").unwrap_or(""))
            .text("LUNCOPYIDS", bracketed(copies().map(|copy| format!("\"{}\"", copy.id))))
            .text("REMOTEREPLICATIONIDS", "[]")
            .text(
                "HASRSSOBJECT",
                resources(
                    with_snapshots.contains(&lun.id),
                    copies().next().is_some(),
                    array.migration(lun.id).is_some(),
                ),
            );
        for (name, default) in LUN_ATTRIBUTES {
            // Arrays of the new line deduplicate and compress by themselves.
            let default = match *name {
                "ENABLECOMPRESSION" | "ENABLESMARTDEDUP" => {
                    Some(if is_new(array) { "true" } else { "false" })
                }
                _ => *default,
            };
            if let Some(value) = extras.lun_attribute(lun.id, name).or(default) {
                object = object.text(name, value);
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
fn resources(snapshots: bool, copies: bool, migration: bool) -> String {
    let word = |is: bool| if is { "TRUE" } else { "FALSE" };
    format!(
        "{{\"SnapShot\":\"{}\",\"LunCopy\":\"{}\",\"RemoteReplication\":\"FALSE\",\"SplitMirror\":\"FALSE\",\
         \"LUNMirror\":\"FALSE\",\"LunMigration\":\"{}\",\"HyperMetro\":\"FALSE\"}}",
        word(snapshots),
        word(copies),
        word(migration)
    )
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
        ground.extras.forget_lun(lun, ground.array);
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
    let array = &*ground.array;
    let facts = Facts::gather(array, ground.extras);
    let by_id = |id: &str| number(id).and_then(|id| array.lun(id));
    let by_name = |name: &str| array.lun_by_name(name);
    Ok(Reply::List(list(call, by_name, by_id, array.luns(), |lun| facts.object(lun))?))
}

fn one(ground: &Ground<'_>, id: u64) -> Answer {
    let lun = ground.array.lun(id).ok_or(codes::LUN_MISSING)?;
    Ok(Reply::One(Facts::gather(ground.array, ground.extras).object(lun)))
}

fn create(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (name, description) = call.name_and_description()?;
    let attributes = read_attributes(&call.fields)?;
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
        let source = number(&id).and_then(|id| ground.array.device_by_number(id));
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
    ground.extras.set_lun_attributes(id, attributes);
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
    match owner {
        Some(owner) => {
            let done = ground.array.set_home(ground.now, lun, owner);
            done.map_err(|refusal| codes::failure(refusal, Topic::Lun))
        }
        None => Ok(()),
    }
}

fn update(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let id = call.id_at(1, codes::LUN_MISSING)?;
    let current = ground.array.lun(id).ok_or(codes::LUN_MISSING)?.name.clone();
    let name = call.fields.text("NAME")?.map(|name| name.into_owned());
    let description = call.fields.text("DESCRIPTION")?.map(|text| text.into_owned());
    let attributes = read_attributes(&call.fields)?;
    let owner = owning_controller(ground, call)?;
    if name.is_some() || description.is_some() {
        let name = name.unwrap_or(current);
        ground.apply(Command::RenameLun { lun: id, name, description }, Topic::Lun)?;
    }
    ground.extras.set_lun_attributes(id, attributes);
    set_owning_controller(ground, id, owner)?;
    one(ground, id)
}

fn counted(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    if call.query.get("ASSOCIATEOBJTYPE").is_none() {
        return count(ground.array.luns().count());
    }
    let (kind, id) = call.associated()?;
    count(members(ground.array, kind, &id)?.len())
}

/// LUNs associated with a host or a LUN group, with their host LUN ids for a host. No such object: no LUNs.
fn members<'a>(array: &'a Array, kind: u64, id: &str) -> Result<Vec<(&'a Lun, Option<u16>)>, Failure> {
    let devices = view::devices_of(array, kind, id)?;
    let lun = |(device, host_lun_id): (DeviceId, Option<u16>)| match device {
        DeviceId::Lun(id) => array.lun(id).map(|lun| (lun, host_lun_id)),
        DeviceId::Snapshot(_) => None,
    };
    Ok(devices.into_iter().filter_map(lun).collect())
}

fn associated(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (kind, id) = call.associated()?;
    let members = members(ground.array, kind, &id)?;
    let facts = Facts::gather(ground.array, ground.extras);
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
        |name| find(&|lun| lun.name == name),
        |id| find(&|lun| number(id) == Some(lun.id)),
        members.iter().copied(),
        render,
    )?))
}

fn cache_partition(ground: &mut Ground<'_>, call: &Call<'_>, add: bool) -> Answer {
    let partition = call.need("ID")?.into_owned();
    let (kind, id) = call.associated()?;
    let lun = number(&id)
        .filter(|id| kind == kind::LUN && ground.array.lun(*id).is_some())
        .ok_or(codes::LUN_MISSING)?;
    if partition != "0" {
        return Err(codes::OBJECT_MISSING.into());
    }
    ground.extras.set_lun_attribute(lun, "CACHEPARTITIONID", add.then_some(partition));
    done()
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
