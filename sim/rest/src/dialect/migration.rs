//! LUN migrations. The id of a task is that of the LUN that moves, since clients address it by either.

use sanbench_array::{Command, CopyStatus, Migration};

use crate::codes::{self, Topic};
use crate::dialect::{Ground, copy, count, list};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::number;
use crate::routes::{Kind, Route, delete, get, may, need, post};

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

/// The calls on LUN migrations.
pub(crate) const ROUTES: &[Route] = &[
    get("lun_migration", "LUN migrations.", |ground, call| {
        let sight = ground.sight();
        let by_id = |id: &str| number(id).and_then(|id| sight.migration(id));
        Ok(Reply::List(list(call, |_| Vec::new(), by_id, sight.migrations(), object)?))
    })
    .list(),
    get("lun_migration/count", "How many LUN migrations there are.", |ground, _| {
        count(ground.sight().migrations().count())
    }),
    post("lun_migration", "Begin to move a LUN to the place of another.", |ground, call| {
        let lun = call.need_id("PARENTID", codes::LUN_MISSING)?;
        let target = call.need_id("TARGETLUNID", codes::LUN_MISSING)?;
        let speed = copy::speed(call, "SPEED")?;
        let id = ground.create(Command::CreateMigration { lun, target, speed }, Topic::Lun)?;
        one(ground, id)
    })
    .takes(&[&[need("PARENTID", Kind::Id), need("TARGETLUNID", Kind::Id), may("SPEED", copy::SPEED)]]),
    get("lun_migration/{id}", "The migration of a LUN.", |ground, call| {
        one(ground, call.id_at(1, codes::MIGRATION_MISSING)?)
    }),
    delete("lun_migration/{id}", "Delete a migration, giving it up while it runs.", |ground, call| {
        let lun = call.id_at(1, codes::MIGRATION_MISSING)?;
        ground.apply(Command::DeleteMigration { lun }, Topic::Lun)?;
        done()
    }),
];

fn one(ground: &Ground<'_>, id: u64) -> Answer {
    let task = ground.sight().migration(id).ok_or(codes::MIGRATION_MISSING)?;
    Ok(Reply::One(object(task)))
}
