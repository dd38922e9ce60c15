//! Snapshots of LUNs.

use sanbench_array::{Array, Command, CopyStatus, DeviceId, Rollback, Snapshot};

use crate::codes::{self, Failure, Topic};
use crate::dialect::sight::Sight;
use crate::dialect::{Call, Ground, copy, count, list, view, wwn};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::number;
use crate::routes::{
    ASSOCIATED, Kind, MAYBE_ASSOCIATED, NAMED, RENAMED, Route, SUBJECT, delete, get, may, need, post, put,
};

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
        .number("vstoreId", snapshot.vstore)
        .text("vstoreName", array.vstore_name(snapshot.vstore))
}

/// The calls on snapshots.
pub(crate) const ROUTES: &[Route] = &[
    get("snapshot", "Snapshots.", |ground, call| {
        let sight = ground.sight();
        let by_id = |id: &str| number(id).and_then(|id| sight.snapshot(id));
        let by_name = |name: &str| sight.snapshots_named(name);
        let render = |snapshot| object(sight.array, snapshot);
        Ok(Reply::List(list(call, by_name, by_id, sight.snapshots(), render)?))
    })
    .list(),
    post("snapshot", "Make a snapshot of a LUN; old products make it inactive.", |ground, call| {
        let (name, description) = call.name_and_description()?;
        let parent = call.need_id("PARENTID", codes::LUN_MISSING)?;
        let id = ground.create(Command::CreateSnapshot { name, description, parent }, Topic::Lun)?;
        one(ground.sight(), id)
    })
    .takes(&[NAMED, &[need("PARENTID", Kind::Id)]]),
    post("snapshot/activate", "Activate snapshots, all at the same instant.", |ground, call| {
        let list = call.fields.list("SNAPSHOTLIST")?.filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| Failure::parameter("SNAPSHOTLIST is missing"))?;
        let ids =
            list.iter().map(|id| number(id).ok_or(codes::SNAPSHOT_MISSING)).collect::<Result<_, _>>()?;
        ground.apply(Command::ActivateSnapshots { ids }, Topic::Lun)?;
        done()
    })
    .takes(&[&[need("SNAPSHOTLIST", Kind::List)]]),
    put("snapshot/stop", "Deactivate a snapshot.", |ground, call| {
        let snapshot = call.need_id("ID", codes::SNAPSHOT_MISSING)?;
        ground.apply(Command::StopSnapshot { snapshot }, Topic::Lun)?;
        done()
    })
    .takes(&[SUBJECT]),
    put("snapshot/rollback", "Begin to put a LUN back to its snapshot.", |ground, call| {
        let snapshot = call.need_id("ID", codes::SNAPSHOT_MISSING)?;
        let speed = copy::speed(call, "ROLLBACKSPEED")?;
        ground.apply(Command::RollbackSnapshot { snapshot, speed }, Topic::Lun)?;
        done()
    })
    .takes(&[SUBJECT, &[may("ROLLBACKSPEED", copy::SPEED)]]),
    put("snapshot/cancelrollback", "Give up a rollback.", |ground, call| {
        let snapshot = call.need_id("ID", codes::SNAPSHOT_MISSING)?;
        ground.apply(Command::CancelRollback { snapshot }, Topic::Lun)?;
        done()
    })
    .takes(&[SUBJECT]),
    get("snapshot/count", "How many snapshots there are, or a host or LUN group has.", |ground, call| {
        match call.query.get("ASSOCIATEOBJTYPE") {
            None => count(ground.sight().snapshots().count()),
            Some(_) => count(members(ground.sight(), call)?.len()),
        }
    })
    .takes(&[MAYBE_ASSOCIATED]),
    get("snapshot/associate", "Snapshots of a host or LUN group.", |ground, call| {
        associated(ground.sight(), call)
    })
    .takes(&[ASSOCIATED])
    .list(),
    get("snapshot/{id}", "A snapshot.", |ground, call| {
        one(ground.sight(), call.id_at(1, codes::SNAPSHOT_MISSING)?)
    }),
    put("snapshot/{id}", "Rename a snapshot.", update).takes(&[RENAMED]),
    delete("snapshot/{id}", "Delete a snapshot.", |ground, call| {
        let snapshot = call.id_at(1, codes::SNAPSHOT_MISSING)?;
        ground.apply(Command::DeleteSnapshot { snapshot }, Topic::Lun)?;
        done()
    }),
];

fn one(sight: Sight<'_>, id: u64) -> Answer {
    let snapshot = sight.snapshot(id).ok_or(codes::SNAPSHOT_MISSING)?;
    Ok(Reply::One(object(sight.array, snapshot)))
}

fn update(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let id = call.id_at(1, codes::SNAPSHOT_MISSING)?;
    let current = ground.sight().snapshot(id).ok_or(codes::SNAPSHOT_MISSING)?.name.clone();
    let name = call.fields.text("NAME")?.map(|name| name.into_owned());
    let description = call.fields.text("DESCRIPTION")?.map(|text| text.into_owned());
    if name.is_some() || description.is_some() {
        let name = name.unwrap_or(current);
        ground.apply(Command::RenameSnapshot { snapshot: id, name, description }, Topic::Lun)?;
    }
    one(ground.sight(), id)
}

/// Snapshots associated with a host or a LUN group, with their host LUN ids for a host.
fn members<'a>(sight: Sight<'a>, call: &Call<'_>) -> Result<Vec<(&'a Snapshot, Option<u16>)>, Failure> {
    let (kind, id) = call.associated()?;
    let snapshot = |(device, host_lun_id): (DeviceId, Option<u16>)| match device {
        DeviceId::Snapshot(id) => sight.snapshot(id).map(|snapshot| (snapshot, host_lun_id)),
        DeviceId::Lun(_) => None,
    };
    Ok(view::devices_of(sight, kind, &id)?.into_iter().filter_map(snapshot).collect())
}

fn associated(sight: Sight<'_>, call: &Call<'_>) -> Answer {
    let members = members(sight, call)?;
    let render = |(snapshot, host_lun_id): (&Snapshot, Option<u16>)| {
        let object = object(sight.array, snapshot);
        match host_lun_id {
            Some(id) => object.text("ASSOCIATEMETADATA", format!("{{\"HostLUNID\": {id}}}")),
            None => object,
        }
    };
    let find =
        |wanted: &dyn Fn(&Snapshot) -> bool| members.iter().find(|(snapshot, _)| wanted(snapshot)).copied();
    Ok(Reply::List(list(
        call,
        |name| find(&|snapshot| snapshot.name == name).into_iter().collect(),
        |id| find(&|snapshot| number(id) == Some(snapshot.id)),
        members.iter().copied(),
        render,
    )?))
}
