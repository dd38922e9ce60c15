//! Snapshots of LUNs.

use sanbench_array::{Array, Command, CopyStatus, DeviceId, Rollback, Snapshot};

use crate::codes::{self, Failure, Topic};
use crate::dialect::{Call, Ground, copy, count, list, view, wwn};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::number;

fn object(array: &Array, snapshot: &Snapshot) -> Object {
    let rollback = snapshot.rollback;
    let ended = rollback.and_then(|rollback| rollback.ended);
    Object::new()
        .number("ID", snapshot.id)
        .text("NAME", snapshot.name.as_str())
        .text("TYPE", "27")
        .text("DESCRIPTION", snapshot.description.as_str())
        .text("WWN", wwn(&snapshot.wwn))
        .number("PARENTID", snapshot.parent)
        .text("PARENTNAME", array.lun(snapshot.parent).map_or("", |lun| lun.name.as_str()))
        .text("PARENTTYPE", "11")
        .number("USERCAPACITY", snapshot.blocks)
        .text("HEALTHSTATUS", "1")
        .text(
            "RUNNINGSTATUS",
            match (snapshot.is_active(), rollback) {
                (_, Some(Rollback { status: CopyStatus::Running, .. })) => "44",
                (true, _) => "43",
                (false, _) => "45",
            },
        )
        .flag("EXPOSEDTOINITIATOR", array.is_mapped(DeviceId::Snapshot(snapshot.id)))
        .number("ROLLBACKRATE", rollback.map_or(0, |rollback| rollback.progress))
        .text("ROLLBACKENDTIME", ended.map_or_else(|| "-1".to_owned(), |at| at.as_secs().to_string()))
        .text("SUBTYPE", "0")
}

/// `/snapshot`.
pub(crate) fn call(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (method, path) = call.route();
    match (method, path.as_slice()) {
        ("GET", []) => {
            let array = &*ground.array;
            let by_id = |id: &str| number(id).and_then(|id| array.snapshot(id));
            let render = |snapshot| object(array, snapshot);
            Ok(Reply::List(list(
                call,
                |name| array.snapshot_by_name(name),
                by_id,
                array.snapshots(),
                render,
            )?))
        }
        ("POST", []) => {
            let (name, description) = call.name_and_description()?;
            let parent = call.need_id("PARENTID", codes::LUN_MISSING)?;
            let id = ground.create(Command::CreateSnapshot { name, description, parent }, Topic::Lun)?;
            one(ground.array, id)
        }
        ("POST", ["activate"]) => {
            let list = call.fields.list("SNAPSHOTLIST")?.filter(|list| !list.is_empty());
            let list = list.ok_or_else(|| Failure::parameter("SNAPSHOTLIST is missing"))?;
            let ids =
                list.iter().map(|id| number(id).ok_or(codes::SNAPSHOT_MISSING)).collect::<Result<_, _>>()?;
            ground.apply(Command::ActivateSnapshots { ids }, Topic::Lun)?;
            done()
        }
        ("PUT", ["stop"]) => {
            let snapshot = call.need_id("ID", codes::SNAPSHOT_MISSING)?;
            ground.apply(Command::StopSnapshot { snapshot }, Topic::Lun)?;
            done()
        }
        ("PUT", ["rollback"]) => {
            let snapshot = call.need_id("ID", codes::SNAPSHOT_MISSING)?;
            let speed = copy::speed(call, "ROLLBACKSPEED")?;
            ground.apply(Command::RollbackSnapshot { snapshot, speed }, Topic::Lun)?;
            done()
        }
        ("PUT", ["cancelrollback"]) => {
            let snapshot = call.need_id("ID", codes::SNAPSHOT_MISSING)?;
            ground.apply(Command::CancelRollback { snapshot }, Topic::Lun)?;
            done()
        }
        ("GET", ["count"]) => {
            if call.query.get("ASSOCIATEOBJTYPE").is_none() {
                return count(ground.array.snapshots().count());
            }
            count(members(ground.array, call)?.len())
        }
        ("GET", ["associate"]) => associated(ground.array, call),
        ("GET", [_]) => one(ground.array, call.id_at(1, codes::SNAPSHOT_MISSING)?),
        ("PUT", [verb]) if number(verb).is_some() => update(ground, call),
        ("DELETE", [_]) => {
            let snapshot = call.id_at(1, codes::SNAPSHOT_MISSING)?;
            ground.apply(Command::DeleteSnapshot { snapshot }, Topic::Lun)?;
            done()
        }
        _ => Err(Failure::unsupported()),
    }
}

fn one(array: &Array, id: u64) -> Answer {
    let snapshot = array.snapshot(id).ok_or(codes::SNAPSHOT_MISSING)?;
    Ok(Reply::One(object(array, snapshot)))
}

fn update(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let id = call.id_at(1, codes::SNAPSHOT_MISSING)?;
    let current = ground.array.snapshot(id).ok_or(codes::SNAPSHOT_MISSING)?.name.clone();
    let name = call.fields.text("NAME")?.map(|name| name.into_owned());
    let description = call.fields.text("DESCRIPTION")?.map(|text| text.into_owned());
    if name.is_some() || description.is_some() {
        let name = name.unwrap_or(current);
        ground.apply(Command::RenameSnapshot { snapshot: id, name, description }, Topic::Lun)?;
    }
    one(ground.array, id)
}

/// Snapshots associated with a host or a LUN group, with their host LUN ids for a host.
fn members<'a>(array: &'a Array, call: &Call<'_>) -> Result<Vec<(&'a Snapshot, Option<u16>)>, Failure> {
    let (kind, id) = call.associated()?;
    let snapshot = |(device, host_lun_id): (DeviceId, Option<u16>)| match device {
        DeviceId::Snapshot(id) => array.snapshot(id).map(|snapshot| (snapshot, host_lun_id)),
        DeviceId::Lun(_) => None,
    };
    Ok(view::devices_of(array, kind, &id)?.into_iter().filter_map(snapshot).collect())
}

fn associated(array: &Array, call: &Call<'_>) -> Answer {
    let members = members(array, call)?;
    let render = |(snapshot, host_lun_id): (&Snapshot, Option<u16>)| {
        let object = object(array, snapshot);
        match host_lun_id {
            Some(id) => object.text("ASSOCIATEMETADATA", format!("{{\"HostLUNID\": {id}}}")),
            None => object,
        }
    };
    let find =
        |wanted: &dyn Fn(&Snapshot) -> bool| members.iter().find(|(snapshot, _)| wanted(snapshot)).copied();
    Ok(Reply::List(list(
        call,
        |name| find(&|snapshot| snapshot.name == name),
        |id| find(&|snapshot| number(id) == Some(snapshot.id)),
        members.iter().copied(),
        render,
    )?))
}
