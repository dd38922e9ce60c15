//! Full copies: LUN copies and, on the new line of products, clone pairs.

use sanbench_array::{ClonePair, Command, CopyStatus, DeviceId, LunCopy};

use crate::codes::{self, Failure, Topic};
use crate::dialect::{Call, Ground, count, list};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::{number, truth};
use crate::routes::{Kind, NAMED, Route, SUBJECT, delete, get, may, need, post, put};

/// LUN copy already complete.
const ALREADY_COMPLETE: i64 = 1_077_950_180;

fn copy_object(copy: &LunCopy) -> Object {
    let place = |id: u64| format!("INVALID;{id};INVALID;INVALID;INVALID");
    let (health, running) = match copy.status {
        CopyStatus::Created => ("1", "36"),
        CopyStatus::Running => ("1", "39"),
        CopyStatus::Complete => ("1", "40"),
        CopyStatus::Failed => ("2", "39"),
    };
    Object::new()
        .number("ID", copy.id)
        .text("NAME", copy.name.as_str())
        .text("TYPE", "219")
        .text("HEALTHSTATUS", health)
        .text("RUNNINGSTATUS", running)
        .number("COPYPROGRESS", copy.progress)
        .number("COPYSPEED", copy.speed)
        .text("SOURCELUN", place(copy.source.number()))
        .text("TARGETLUN", place(copy.target))
}

/// The calls on full copies.
pub(crate) const ROUTES: &[Route] = &[
    get("luncopy", "LUN copies.", |ground, call| {
        let sight = ground.sight();
        Ok(Reply::List(list(
            call,
            |name| sight.lun_copies_named(name),
            |id| number(id).and_then(|id| sight.lun_copy(id)),
            sight.lun_copies(),
            copy_object,
        )?))
    })
    .list(),
    get("luncopy/count", "How many LUN copies there are.", |ground, _| {
        count(ground.sight().lun_copies().count())
    }),
    post(
        "luncopy",
        "Make a LUN copy. Source and target are INVALID;<id>;INVALID;INVALID;INVALID.",
        create_copy,
    )
    .takes(&[
        NAMED,
        &[need("SOURCELUN", Kind::Text), need("TARGETLUN", Kind::Text), may("COPYSPEED", SPEED)],
    ]),
    put("luncopy/start", "Start a LUN copy.", |ground, call| {
        let copy = call.need_id("ID", codes::LUN_COPY_MISSING)?;
        ground.apply(Command::StartLunCopy { copy }, Topic::Lun)?;
        done()
    })
    .takes(&[SUBJECT]),
    put("luncopy/stop", "Stop a LUN copy.", |ground, call| {
        let id = call.need_id("ID", codes::LUN_COPY_MISSING)?;
        if ground.sight().lun_copy(id).is_some_and(|copy| copy.status == CopyStatus::Complete) {
            return Err(ALREADY_COMPLETE.into());
        }
        ground.apply(Command::StopLunCopy { copy: id }, Topic::Lun)?;
        done()
    })
    .takes(&[SUBJECT]),
    get("luncopy/{id}", "A LUN copy.", |ground, call| {
        one_copy(ground, call.id_at(1, codes::LUN_COPY_MISSING)?)
    }),
    delete("luncopy/{id}", "Delete a LUN copy; both LUNs stay.", |ground, call| {
        let copy = call.id_at(1, codes::LUN_COPY_MISSING)?;
        ground.apply(Command::DeleteLunCopy { copy }, Topic::Lun)?;
        done()
    }),
    get("clonepair", "Clone pairs.", |ground, call| {
        let sight = ground.sight();
        let by_id = |id: &str| number(id).and_then(|id| sight.clone_pair(id));
        Ok(Reply::List(list(call, |_| Vec::new(), by_id, sight.clone_pairs(), pair_object)?))
    })
    .list()
    .new_line(),
    get("clonepair/count", "How many clone pairs there are.", |ground, _| {
        count(ground.sight().clone_pairs().count())
    })
    .new_line(),
    post("clonepair/relation", "Make a clone pair of a LUN or snapshot and a LUN.", create_pair)
        .takes(&[&[
            need("sourceID", Kind::Id),
            need("targetID", Kind::Id),
            may("copyRate", SPEED),
            may("isNeedSynchronize", Kind::Truth),
        ]])
        .new_line(),
    put("clonepair/synchronize", "Start (0) or stop (2) the copy of a clone pair.", |ground, call| {
        let pair = call.need_id("ID", codes::CLONE_PAIR_MISSING)?;
        let command = match call.fields.text("copyAction")?.as_deref() {
            None | Some("0") => Command::SyncClonePair { pair },
            Some("2") => Command::StopClonePair { pair },
            Some(_) => return Err(Failure::parameter("copyAction must be 0 or 2")),
        };
        ground.apply(command, Topic::Lun)?;
        done()
    })
    .takes(&[SUBJECT, &[may("copyAction", Kind::Choice(&["0", "2"]))]])
    .new_line(),
    get("clonepair/{id}", "A clone pair.", |ground, call| {
        one_pair(ground, call.id_at(1, codes::CLONE_PAIR_MISSING)?)
    })
    .new_line(),
    delete("clonepair/{id}", "Delete a clone pair; both LUNs stay.", |ground, call| {
        let pair = call.id_at(1, codes::CLONE_PAIR_MISSING)?;
        if let Some(text) = call.fields.text("isDeleteDstLun")?
            && truth("isDeleteDstLun", &text)?
        {
            return Err(Failure::unsupported());
        }
        ground.apply(Command::DeleteClonePair { pair }, Topic::Lun)?;
        done()
    })
    .new_line(),
];

/// Speeds of background work: 1 to 4.
pub(super) const SPEED: Kind = Kind::Choice(&["1", "2", "3", "4"]);

fn create_copy(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let (name, _) = call.name_and_description()?;
    let source = device_of(ground, &place(call, "SOURCELUN")?)?;
    let DeviceId::Lun(target) = device_of(ground, &place(call, "TARGETLUN")?)? else {
        return Err(codes::LUN_MISSING.into());
    };
    let speed = speed(call, "COPYSPEED")?;
    let id = ground.create(Command::CreateLunCopy { name, source, target, speed }, Topic::Lun)?;
    one_copy(ground, id)
}

fn one_copy(ground: &Ground<'_>, id: u64) -> Answer {
    let copy = ground.sight().lun_copy(id).ok_or(codes::LUN_COPY_MISSING)?;
    Ok(Reply::One(copy_object(copy)))
}

/// The id in `INVALID;<id>;INVALID;INVALID;INVALID`.
fn place(call: &Call<'_>, name: &str) -> Result<String, Failure> {
    let text = call.need(name)?;
    let mut parts = text.split(';');
    match (parts.nth(1), parts.count()) {
        (Some(id), 3) => Ok(id.to_owned()),
        _ => Err(Failure::parameter(format!("{name} must have five parts"))),
    }
}

fn device_of(ground: &Ground<'_>, id: &str) -> Result<DeviceId, Failure> {
    number(id).and_then(|id| ground.sight().device_by_number(id)).ok_or_else(|| codes::LUN_MISSING.into())
}

/// A speed of 1 to 4; 2 when absent.
pub(super) fn speed(call: &Call<'_>, name: &str) -> Result<u8, Failure> {
    match call.fields.text(name)? {
        None => Ok(2),
        Some(text) => match text.as_ref() {
            "1" => Ok(1),
            "2" => Ok(2),
            "3" => Ok(3),
            "4" => Ok(4),
            _ => Err(Failure::parameter(format!("{name} must be 1 to 4"))),
        },
    }
}

fn pair_object(pair: &ClonePair) -> Object {
    let (copy, sync) = match pair.status {
        CopyStatus::Created => ("0", "0"),
        CopyStatus::Running => ("0", "1"),
        CopyStatus::Complete => ("0", "2"),
        CopyStatus::Failed => ("1", "0"),
    };
    Object::new()
        .number("ID", pair.id)
        .text("copyStatus", copy)
        .text("syncStatus", sync)
        .number("syncProgress", pair.progress)
        .number("copyRate", pair.rate)
        .number("sourceID", pair.source.number())
        .number("targetID", pair.target)
}

fn create_pair(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let source = device_of(ground, &call.need("sourceID")?)?;
    let DeviceId::Lun(target) = device_of(ground, &call.need("targetID")?)? else {
        return Err(codes::LUN_MISSING.into());
    };
    let rate = speed(call, "copyRate")?;
    let pair = ground.create(Command::CreateClonePair { source, target, rate }, Topic::Lun)?;
    if let Some(text) = call.fields.text("isNeedSynchronize")?
        && truth("isNeedSynchronize", &text).is_ok_and(|now| now)
    {
        ground.apply(Command::SyncClonePair { pair }, Topic::Lun)?;
    }
    one_pair(ground, pair)
}

fn one_pair(ground: &Ground<'_>, id: u64) -> Answer {
    let pair = ground.sight().clone_pair(id).ok_or(codes::CLONE_PAIR_MISSING)?;
    Ok(Reply::One(pair_object(pair)))
}
