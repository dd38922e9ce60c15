//! Alarms: what is wrong now (`/alarm/currentalarm`) and what has happened (`/alarm/historyalarm`).

use sanbench_array::{Event, EventKind};

use crate::dialect::{Ground, count, page};
use crate::envelope::{Object, Reply};
use crate::routes::{Route, get};

/// Name, level (2 info, 3 warning, 5 major) and text of an event.
fn words(kind: EventKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        EventKind::PoolAboveThreshold => {
            ("Storage Pool Capacity Threshold Reached", "3", "The storage pool is fuller than its threshold.")
        }
        EventKind::PoolBelowThreshold => {
            ("Storage Pool Capacity Recovered", "2", "The storage pool is below its threshold again.")
        }
        EventKind::ControllerFailed => ("Controller Fault", "5", "The controller has failed."),
        EventKind::ControllerRestored => ("Controller Recovered", "2", "The controller works again."),
        EventKind::JobFailed => ("Background Task Failed", "3", "A background task has failed."),
    }
}

fn object(event: &Event) -> Object {
    let (name, level, text) = words(event.kind);
    Object::new()
        .number("sequence", event.number)
        .text("name", name)
        .text("level", level)
        .text("description", text)
        .text("location", event.object.as_str())
        .number("startTime", event.at.as_secs())
}

/// Conditions that last: the latest event of each, unless it was the good one.
fn lasting(ground: &Ground<'_>) -> Vec<Object> {
    let array = &*ground.array;
    let is_now = |event: &&Event| match event.kind {
        EventKind::PoolAboveThreshold => {
            array.pool_by_name(&event.object).is_some_and(|pool| pool.is_above_threshold())
        }
        EventKind::ControllerFailed => {
            array.controllers().iter().any(|controller| controller.name == event.object && !controller.up)
        }
        _ => false,
    };
    let mut latest: Vec<&Event> = Vec::new();
    for event in array.events().filter(is_now) {
        latest.retain(|known| (known.kind, &known.object) != (event.kind, &event.object));
        latest.push(event);
    }
    latest.into_iter().map(object).collect()
}

/// The calls on alarms. Not for sessions of a vStore: these are the array's own affairs.
pub(crate) const ROUTES: &[Route] = &[
    get("alarm/currentalarm", "What is wrong at present.", |ground, call| {
        ground.need_administrator()?;
        Ok(Reply::List(page(call, lasting(ground).into_iter())?))
    })
    .list(),
    get("alarm/currentalarm/count", "How much is wrong at present.", |ground, _| {
        ground.need_administrator()?;
        count(lasting(ground).len())
    }),
    get("alarm/historyalarm", "The latest events, oldest first.", |ground, call| {
        ground.need_administrator()?;
        Ok(Reply::List(page(call, ground.array.events().map(object))?))
    })
    .list(),
    get("alarm/historyalarm/count", "How many events are remembered.", |ground, _| {
        ground.need_administrator()?;
        count(ground.array.events().count())
    }),
];
