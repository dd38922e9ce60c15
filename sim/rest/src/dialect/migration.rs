//! LUN migrations. The id of a task is that of the LUN that moves, since clients address it by either.

use sanbench_array::{Command, CopyStatus, Migration};

use crate::codes::{self, Failure, Topic};
use crate::dialect::{Call, Ground, copy, count, list};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::number;

fn object(task: &Migration) -> Object {
    let (health, running) = match task.status {
        CopyStatus::Created => ("1", "37"),
        CopyStatus::Running => ("1", "75"),
        CopyStatus::Complete => ("1", "76"),
        CopyStatus::Failed => ("2", "74"),
    };
    Object::new()
        .number("ID", task.id)
        .text("TYPE", "253")
        .number("PARENTID", task.id)
        .text("PARENTTYPE", "11")
        .number("TARGETLUNID", task.target)
        .text("HEALTHSTATUS", health)
        .text("RUNNINGSTATUS", running)
        .number("PROGRESS", task.progress)
        .number("SPEED", task.speed)
        .text("WORKMODE", "0")
}

/// `/lun_migration`.
pub(crate) fn call(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (method, path) = call.route();
    let array = &*ground.array;
    match (method, path.as_slice()) {
        ("GET", []) => Ok(Reply::List(list(
            call,
            |_| None,
            |id| number(id).and_then(|id| array.migration(id)),
            array.migrations(),
            object,
        )?)),
        ("GET", ["count"]) => count(array.migrations().count()),
        ("POST", []) => {
            let lun = call.need_id("PARENTID", codes::LUN_MISSING)?;
            let target = call.need_id("TARGETLUNID", codes::LUN_MISSING)?;
            let speed = copy::speed(call, "SPEED")?;
            let id = ground.create(Command::CreateMigration { lun, target, speed }, Topic::Lun)?;
            one(ground, id)
        }
        ("GET", [_]) => one(ground, call.id_at(1, codes::MIGRATION_MISSING)?),
        ("DELETE", [_]) => {
            let lun = call.id_at(1, codes::MIGRATION_MISSING)?;
            ground.apply(Command::DeleteMigration { lun }, Topic::Lun)?;
            done()
        }
        _ => Err(Failure::unsupported()),
    }
}

fn one(ground: &Ground<'_>, id: u64) -> Answer {
    let task = ground.array.migration(id).ok_or(codes::MIGRATION_MISSING)?;
    Ok(Reply::One(object(task)))
}
