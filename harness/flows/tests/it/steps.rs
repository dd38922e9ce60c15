//! Every step of every flow fails, crashes, or is done twice, and nothing is ever left behind.

use std::collections::BTreeSet;

use sanbench_api::VolumeId;
use sanbench_flows::testing::{Outcome, Rig, Story, crash_each_step, fail_each_step, run_once};
use sanbench_flows::{
    AttachOptions, CacheLimits, CreateRequest, DetachOptions, FlowError, FlowsConfig, LockKind, Repeat,
    Source, flow_catalogue,
};

fn id(n: u8) -> VolumeId {
    VolumeId::from_random([n; 16])
}

fn raw(n: u8) -> CreateRequest {
    CreateRequest::raw(format!("v{n}"), 2).with_id(id(n))
}

async fn create_raw(rig: Rig) -> Result<(), FlowError> {
    rig.plane.create_volume(raw(1)).await.map(drop)
}

async fn clone_and_flatten(rig: Rig) -> Result<(), FlowError> {
    rig.plane.create_volume(raw(1)).await?;
    let clone = raw(2).from_source(Source::Volume(id(1)));
    rig.plane.create_volume(clone).await?;
    rig.plane.flatten_volume(id(2)).await
}

async fn from_image(rig: Rig) -> Result<(), FlowError> {
    let request = raw(1).from_source(Source::Image(rig.image));
    rig.plane.create_volume(request).await.map(drop)
}

async fn reimage(rig: Rig) -> Result<(), FlowError> {
    rig.plane.create_volume(raw(1)).await?;
    rig.plane.reimage_volume(id(1), rig.image).await
}

async fn delete(rig: Rig) -> Result<(), FlowError> {
    rig.plane.create_volume(raw(1)).await?;
    rig.plane.delete_volume(id(1)).await
}

async fn extend_attached(rig: Rig) -> Result<(), FlowError> {
    rig.plane.create_volume(raw(1)).await?;
    let instance = rig.plane.create_instance("compute-1", None)?;
    rig.plane.attach(id(1), instance, AttachOptions::default()).await?;
    rig.plane.extend_volume(id(1), 5).await.map(drop)
}

async fn extend(rig: Rig) -> Result<(), FlowError> {
    rig.plane.create_volume(raw(1)).await?;
    rig.plane.extend_volume(id(1), 5).await.map(drop)
}

async fn snapshot(rig: Rig) -> Result<(), FlowError> {
    rig.plane.create_volume(raw(1)).await?;
    let snapshot = rig.plane.create_snapshot(id(1), "s", None).await?;
    let clone = raw(2).from_source(Source::Snapshot(snapshot));
    rig.plane.create_volume(clone).await?;
    rig.plane.delete_snapshot(snapshot).await
}

async fn attach_and_detach(rig: Rig) -> Result<(), FlowError> {
    rig.plane.create_volume(raw(1)).await?;
    let instance = rig.plane.create_instance("compute-1", None)?;
    rig.plane.attach(id(1), instance, AttachOptions { multipath: true, enforce_multipath: false }).await?;
    rig.plane.device(id(1), "compute-1").await?;
    rig.plane.detach(id(1), instance, DetachOptions::default()).await
}

/// One story for each flow, and whether it wants the image cache.
const STORIES: &[(&str, Story, bool)] = &[
    ("create_volume", |rig| Box::pin(create_raw(rig)), false),
    ("build_volume", |rig| Box::pin(create_raw(rig)), false),
    ("build_volume", |rig| Box::pin(clone_and_flatten(rig)), false),
    ("build_volume_from_image", |rig| Box::pin(from_image(rig)), false),
    ("build_volume_from_image", |rig| Box::pin(from_image(rig)), true),
    ("cache_image", |rig| Box::pin(from_image(rig)), true),
    ("reimage_volume", |rig| Box::pin(reimage(rig)), false),
    ("delete_volume", |rig| Box::pin(delete(rig)), false),
    ("extend_volume", |rig| Box::pin(extend(rig)), false),
    ("extend_volume", |rig| Box::pin(extend_attached(rig)), false),
    ("create_snapshot", |rig| Box::pin(snapshot(rig)), false),
    ("delete_snapshot", |rig| Box::pin(snapshot(rig)), false),
    ("flatten_volume", |rig| Box::pin(clone_and_flatten(rig)), false),
    ("attach_volume", |rig| Box::pin(attach_and_detach(rig)), false),
    ("detach_volume", |rig| Box::pin(attach_and_detach(rig)), false),
];

fn config(cached: bool) -> FlowsConfig {
    FlowsConfig {
        // No second pool: a failed attempt is the end.
        scheduler_max_attempts: 1,
        image_cache: cached.then_some(CacheLimits { max_gib: 0, max_count: 0 }),
        ..FlowsConfig::default()
    }
}

#[test]
fn every_flow_has_a_story() {
    let told: BTreeSet<_> = STORIES.iter().map(|(flow, _, _)| *flow).collect();
    let known: BTreeSet<_> = flow_catalogue().iter().map(|f| f.name).collect();
    assert_eq!(told, known);
}

#[test]
fn every_story_succeeds_and_can_be_cleared() {
    for (flow, story, cached) in STORIES {
        let outcome = run_once(&config(*cached), None, *story);
        assert_eq!(outcome.answer, Ok(()), "{flow}");
        assert_eq!(outcome.left, Vec::<String>::new(), "{flow}");
    }
}

/// Whatever runs beside what, nobody waits for somebody who waits for him.
#[test]
fn locks_are_taken_in_the_order_of_their_kinds() {
    let mut seen = BTreeSet::new();
    for (flow, story, cached) in STORIES {
        for held in run_once(&config(*cached), None, *story).lock_order {
            assert!(held.held.kind < held.asked.kind, "{flow}: {held:?}");
            seen.insert((held.held.kind, held.asked.kind));
        }
    }
    use LockKind::{Control, DeleteVolume, Image};
    assert_eq!(seen, BTreeSet::from([(Image, DeleteVolume), (Image, Control), (DeleteVolume, Control)]));
}

#[test]
fn a_failure_at_any_step_leaves_nothing() {
    let mut wrong = Vec::new();
    for (flow, story, cached) in STORIES {
        // A cache that cannot be filled does not fail the volume.
        if *flow != "cache_image" {
            wrong.extend(fail_each_step(flow, &config(*cached), *story).err().unwrap_or_default());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_cache_entry_that_fails_does_not_fail_the_volume() {
    let (_, story, _) = STORIES[5];
    let info = flow_catalogue().into_iter().find(|f| f.name == "cache_image").unwrap();
    for step in info.steps {
        for side in ["before", "after"] {
            let point = format!("flow.cache_image.{step}.{side}");
            let outcome = run_once(&config(true), Some((&point, 1, sanbench_world::Fault::Fail)), story);
            assert!(outcome.hit, "{point}");
            assert_eq!((outcome.answer, outcome.left), (Ok(()), Vec::new()), "{point}");
        }
    }
}

#[test]
fn a_failure_with_undos_done_twice_leaves_nothing() {
    let mut wrong = Vec::new();
    for (flow, story, cached) in STORIES {
        let config = FlowsConfig { repeat: Repeat::Undos, ..config(*cached) };
        if *flow != "cache_image" {
            wrong.extend(fail_each_step(flow, &config, *story).err().unwrap_or_default());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn steps_may_be_done_twice() {
    for (flow, story, cached) in STORIES {
        let config = FlowsConfig { repeat: Repeat::Steps, ..config(*cached) };
        let outcome = run_once(&config, None, *story);
        assert_eq!((outcome.answer, outcome.left), (Ok(()), Vec::new()), "{flow}");
    }
}

/// The same status changes, whether the control plane fails an undo twice first or not.
#[test]
fn a_failed_undo_is_tried_again() {
    let info = flow_catalogue().into_iter().find(|f| f.name == "attach_volume").unwrap();
    let story: Story = |rig| Box::pin(attach_and_detach(rig));
    for undo in info.undos {
        let point = format!("flow.attach_volume.{undo}.undo");
        let outcome = twice(&point, story);
        assert!(outcome.left.is_empty(), "{point}: {:?}", outcome.left);
        let Err(FlowError::Failed(failure)) = &outcome.answer else { panic!("{:?}", outcome.answer) };
        assert!(failure.undo_failures.is_empty(), "{failure:?}");
    }
}

fn twice(point: &str, story: Story) -> Outcome {
    // `complete` fails, so that everything is undone; the point fails at its first try.
    use sanbench_world::Fault;
    let both: (&str, u64, Fault) = (point, 1, Fault::Fail);
    let config = FlowsConfig { undo_retries: 1, ..config(false) };
    sanbench_flows::testing::run_with(
        &config,
        &[("flow.attach_volume.complete.after", 1, Fault::Fail), both],
        story,
    )
}

/// The step that fails when the flow is taken up had been done before the crash: it is undone as well.
#[test]
fn a_step_that_is_done_and_then_fails_is_undone() {
    use sanbench_world::Fault;
    let faults = [
        ("flow.extend_volume.schedule.before", 1, Fault::CrashNode),
        ("flow.extend_volume.begin.before", 2, Fault::Fail),
    ];
    let outcome = sanbench_flows::testing::run_with(&config(false), &faults, |rig| Box::pin(extend(rig)));
    assert_eq!((outcome.answer, outcome.left), (Err(FlowError::Crashed), Vec::new()));
    assert!(
        outcome.recovered.iter().any(|said| said.contains("failed at step begin")),
        "{:?}",
        outcome.recovered
    );
}

const SETTLED: [&str; 8] = [
    "available",
    "in-use",
    "error",
    "error_extending",
    "error_deleting",
    "attached",
    "deleting",
    "detaching",
];

#[test]
fn a_crash_at_any_step_recovers_to_a_documented_state() {
    let mut wrong = Vec::new();
    for (flow, story, cached) in STORIES {
        match crash_each_step(flow, &config(*cached), *story) {
            Err(what) => wrong.extend(what),
            Ok(outcomes) => {
                for outcome in outcomes {
                    let last = outcome.transitions.iter().rev().find(|t| t.to.is_some());
                    let word = last.and_then(|t| t.to).unwrap_or("available");
                    if !SETTLED.contains(&word) {
                        wrong.push(format!("{}: last status {word}", outcome.point));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
