//! What the operations do when all goes well, and what they refuse.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use sanbench_api::{ConnectorError, DriverError, ImageId, RefusalKind, VolumeId};
use sanbench_flows::image::{Format, ImageDigests, ImageError, digest};
use sanbench_flows::testing::Rig;
use sanbench_flows::{
    AttachOptions, CacheLimits, Cause, CreateRequest, DetachOptions, FlowDefects, FlowError, FlowsConfig,
    QuotaLimits, Refusal, Source, VolumeStatus,
};
use sanbench_world::{Fault, SimConfig, SimWorld};

fn id(n: u8) -> VolumeId {
    VolumeId::from_random([n; 16])
}

fn raw(n: u8, gib: u64) -> CreateRequest {
    CreateRequest::raw(format!("v{n}"), gib).with_id(id(n))
}

fn with_rig<F: Future<Output = ()>>(config: FlowsConfig, body: impl FnOnce(SimWorld, Rig) -> F) {
    SimWorld::run(SimConfig { seed: 3, ..SimConfig::default() }, |world| async move {
        let env = world.node("control", &[IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9))]);
        let rig = Rig::new(&env, config).expect("a rig");
        rig.plane.start().await.expect("a start");
        body(world, rig).await;
    });
}

fn refused(answer: Result<impl std::fmt::Debug, FlowError>) -> Refusal {
    match answer {
        Err(FlowError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn cause(answer: Result<impl std::fmt::Debug, FlowError>) -> Cause {
    match answer {
        Err(FlowError::Failed(failure)) => failure.cause,
        other => panic!("not failed: {other:?}"),
    }
}

/// Statuses of one object in order.
fn walk(rig: &Rig, kind: &str, id: impl ToString) -> Vec<String> {
    let id = id.to_string();
    rig.plane
        .take_transitions()
        .into_iter()
        .filter(|t| t.kind == kind && t.id == id)
        .map(|t| t.to.unwrap_or("-").to_owned())
        .collect()
}

fn assert_image(rig: &Rig, volume: VolumeId, digests: &ImageDigests) {
    let disk = rig.array.disk(volume).expect("a LUN");
    let disk = disk.lock().expect("no panic");
    assert_eq!(disk.unflushed(), 0, "everything was flushed");
    for at in (0..digests.virtual_size).step_by(512) {
        let block = disk.block(at / 512);
        let have = block.iter().any(|b| *b != 0).then(|| ImageDigests::of_block(&block));
        assert_eq!(have, digests.blocks.get(&at).copied(), "byte {at}");
    }
}

fn digests(rig: &Rig) -> ImageDigests {
    let image = rig.plane.images().get(rig.image).expect("the sample");
    let (bytes, inspected) = image.open_inspected(1 << 30).expect("a good image");
    digest(&bytes, &inspected).expect("digests")
}

#[test]
fn a_whole_life() {
    with_rig(FlowsConfig::default(), |_, rig| async move {
        let plane = &rig.plane;
        let volume = plane.create_volume(raw(1, 2).from_source(Source::Image(rig.image))).await.unwrap();
        assert_eq!(walk(&rig, "volume", volume), ["creating", "downloading", "available"]);
        assert_image(&rig, volume, &digests(&rig));
        assert!(rig.array.mapped_to(volume).is_empty());

        let instance = plane.create_instance("compute-1", None).unwrap();
        let options = AttachOptions { multipath: true, enforce_multipath: false };
        let attachment = plane.attach(volume, instance, options).await.unwrap();
        let transitions = plane.take_transitions();
        let steps: Vec<_> =
            transitions.iter().map(|t| format!("{} {}", t.kind, t.to.unwrap_or("-"))).collect();
        assert_eq!(
            steps,
            [
                "volume reserved",
                "attach_status reserved",
                "attachment reserved",
                "attachment attaching",
                "volume attaching",
                "attach_status attaching",
                "attachment attached",
                "volume in-use",
                "attach_status attached"
            ]
        );
        let row = plane.attachments().unwrap().remove(0);
        assert_eq!((row.id, row.connector.map(|c| c.multipath)), (attachment, Some(true)));
        let device = plane.device(volume, "compute-1").await.unwrap();
        device.write(4096, Bytes::from(vec![5; 512])).await.unwrap();

        let snapshot = plane.create_snapshot(volume, "s", None).await.unwrap();
        device.write(4096, Bytes::from(vec![6; 512])).await.unwrap();
        let report = plane.extend_volume(volume, 4).await.unwrap();
        assert_eq!(report.hosts, BTreeMap::from([("compute-1".to_owned(), Ok(4 << 30))]));
        assert_eq!(plane.block_device_mappings().unwrap()[0].size_gib, 4);

        let clone = plane.create_volume(raw(2, 3).from_source(Source::Snapshot(snapshot))).await.unwrap();
        let read = plane
            .control_host_read(clone, |device| async move {
                assert!(device.write(0, Bytes::from(vec![0; 512])).await.is_err(), "read-only");
                Ok(device.read(4096, 1).await.map(|b| b[0]))
            })
            .await
            .unwrap();
        assert_eq!(read, Ok(5));
        assert_eq!(rig.array.parent(clone), Some(volume));
        plane.flatten_volume(clone).await.unwrap();
        assert_eq!(rig.array.parent(clone), None);
        assert_eq!(rig.array.pool(clone), rig.array.pool(volume));

        plane.detach(volume, instance, DetachOptions::default()).await.unwrap();
        assert!(plane.attachments().unwrap().is_empty());
        assert_eq!(device.read(0, 1).await, Err(sanbench_api::BlockError::Removed));
        assert_eq!(plane.quota().unwrap().gigabytes, 4 + 3 + 2);
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

#[test]
fn refusals_change_nothing() {
    let quota = QuotaLimits { volumes: 3, gigabytes: 12, snapshots: 1, per_volume_gigabytes: 10 };
    with_rig(FlowsConfig { quota, ..FlowsConfig::default() }, |_, rig| async move {
        let plane = &rig.plane;
        plane.create_volume(raw(1, 4)).await.unwrap();
        let instance = plane.create_instance("compute-1", None).unwrap();
        let before = rig.array.objects();
        plane.take_transitions();
        let missing = || Refusal::NotFound { kind: "volume", id: id(9).to_string() };
        assert!(matches!(refused(plane.create_volume(raw(2, 0)).await), Refusal::Size { .. }));
        assert!(matches!(refused(plane.create_volume(raw(2, 11)).await), Refusal::Size { .. }));
        assert!(matches!(
            refused(plane.create_volume(raw(2, 9)).await),
            Refusal::Quota { resource: "gigabytes", .. }
        ));
        assert!(matches!(refused(plane.create_volume(raw(1, 1)).await), Refusal::Exists { .. }));
        let smaller = raw(2, 3).from_source(Source::Volume(id(1)));
        assert!(matches!(refused(plane.create_volume(smaller).await), Refusal::Size { .. }));
        let typed = raw(2, 1).of_type("no such");
        assert!(matches!(
            refused(plane.create_volume(typed).await),
            Refusal::NotFound { kind: "volume type", .. }
        ));
        assert!(matches!(refused(plane.extend_volume(id(1), 4).await), Refusal::Size { .. }));
        assert!(matches!(refused(plane.extend_volume(id(1), 3).await), Refusal::Size { .. }));
        assert_eq!(refused(plane.delete_volume(id(9)).await), missing());
        assert_eq!(refused(plane.flatten_volume(id(9)).await), missing());
        assert_eq!(refused(plane.attach(id(9), instance, AttachOptions::default()).await), missing());
        assert!(matches!(
            refused(plane.detach(id(1), instance, DetachOptions::default()).await),
            Refusal::NotAttached { .. }
        ));
        assert!(matches!(
            refused(plane.create_instance("nowhere", None)),
            Refusal::NotFound { kind: "host", .. }
        ));
        assert_eq!(rig.array.objects(), before);
        assert_eq!(plane.take_transitions(), []);
        assert!(plane.leftovers().unwrap().is_empty());
        assert_eq!(plane.quota().unwrap().gigabytes, 4);
    });
}

#[test]
fn an_attached_volume_is_neither_deleted_nor_attached_again() {
    with_rig(FlowsConfig::default(), |_, rig| async move {
        let plane = &rig.plane;
        plane.create_volume(raw(1, 1)).await.unwrap();
        let (a, b) = (
            plane.create_instance("compute-1", None).unwrap(),
            plane.create_instance("compute-2", None).unwrap(),
        );
        plane.attach(id(1), a, AttachOptions::default()).await.unwrap();
        assert!(matches!(refused(plane.delete_volume(id(1)).await), Refusal::Conflict { .. }));
        for instance in [a, b] {
            assert!(matches!(
                refused(plane.attach(id(1), instance, AttachOptions::default()).await),
                Refusal::AlreadyAttached { .. }
            ));
        }
        plane.create_snapshot(id(1), "s", None).await.unwrap();
        plane.delete_instance(a).await.unwrap();
        assert!(matches!(refused(plane.delete_volume(id(1)).await), Refusal::HasSnapshots { count: 1, .. }));
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

#[test]
fn multiattach_keeps_what_the_others_need() {
    with_rig(FlowsConfig::default(), |_, rig| async move {
        let plane = &rig.plane;
        let specs = BTreeMap::from([("multiattach".to_owned(), "<is> True".to_owned())]);
        plane.create_type("shared", specs).unwrap();
        plane.create_volume(raw(1, 1).of_type("shared")).await.unwrap();
        let hosts = ["compute-1", "compute-1", "compute-2"];
        let instances: Vec<_> = hosts.iter().map(|h| plane.create_instance(h, None).unwrap()).collect();
        for instance in &instances {
            plane.attach(id(1), *instance, AttachOptions::default()).await.unwrap();
        }
        assert_eq!(rig.array.mapped_to(id(1)), ["compute-1", "compute-2"]);
        plane.detach(id(1), instances[0], DetachOptions::default()).await.unwrap();
        assert_eq!(
            rig.array.mapped_to(id(1)),
            ["compute-1", "compute-2"],
            "another instance is on that host"
        );
        assert!(plane.device(id(1), "compute-1").await.unwrap().read(0, 1).await.is_ok());
        plane.detach(id(1), instances[1], DetachOptions::default()).await.unwrap();
        assert_eq!(rig.array.mapped_to(id(1)), ["compute-2"]);
        assert_eq!(plane.volume(id(1)).unwrap().unwrap().status, VolumeStatus::InUse);
        plane.detach(id(1), instances[2], DetachOptions::default()).await.unwrap();
        assert_eq!(plane.volume(id(1)).unwrap().unwrap().status, VolumeStatus::Available);
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

fn full() -> DriverError {
    DriverError::refused(RefusalKind::NoSpace, "pool is full")
}

#[test]
fn a_failed_create_goes_to_another_pool_and_leaves_no_parts() {
    with_rig(FlowsConfig::default(), |_, rig| async move {
        let plane = &rig.plane;
        // The work was done, but the answer was lost: the LUN exists on the first pool.
        let lost = DriverError::OutcomeUnknown { message: "lost".into() };
        rig.array.fail_next("create_volume", lost, true);
        plane.create_volume(raw(1, 3)).await.unwrap();
        let chosen: Vec<_> = plane.decisions().into_iter().filter_map(|d| d.chosen).collect();
        assert_eq!(chosen.len(), 2);
        assert_ne!(chosen[0], chosen[1]);
        let row = plane.volume(id(1)).unwrap().unwrap();
        assert_eq!(row.host.as_deref(), Some(chosen[1].as_str()));
        assert_eq!(rig.array.pool(id(1)).as_deref(), row.pool());
        assert_eq!(walk(&rig, "volume", id(1)), ["creating", "available"]);

        for _ in 0..3 {
            rig.array.fail_next("create_volume", full(), false);
        }
        assert_eq!(cause(plane.create_volume(raw(2, 3)).await), Cause::Driver(full()));
        assert_eq!(walk(&rig, "volume", id(2)), ["creating", "error"]);
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

#[test]
fn parts_that_cannot_be_deleted_keep_their_volume() {
    with_rig(FlowsConfig::default(), |_, rig| async move {
        let lost = DriverError::OutcomeUnknown { message: "lost".into() };
        rig.array.fail_next("create_volume", lost.clone(), true);
        rig.array.fail_next("delete_volume", lost, false);
        assert!(rig.plane.create_volume(raw(1, 3)).await.is_err());
        let row = rig.plane.volume(id(1)).unwrap().unwrap();
        assert_eq!(row.status, VolumeStatus::Error);
        assert!(row.host.is_some(), "so that a delete finds the LUN");
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

#[test]
fn the_last_space_is_given_once() {
    with_rig(FlowsConfig::default(), |_, rig| async move {
        // Pools of 100, 50, 80 and 40 GiB: two of 75 fit, and only one in each of the larger pools.
        let (a, b, c) = tokio::join!(
            rig.plane.create_volume(raw(1, 75)),
            rig.plane.create_volume(raw(2, 75)),
            rig.plane.create_volume(raw(3, 75))
        );
        let made = [a.is_ok(), b.is_ok(), c.is_ok()].into_iter().filter(|ok| *ok).count();
        assert_eq!(made, 2);
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

#[test]
fn types_and_disabled_back_ends_steer_placement() {
    with_rig(FlowsConfig::default(), |_, rig| async move {
        let plane = &rig.plane;
        let specs = BTreeMap::from([("volume_backend_name".to_owned(), "beta".to_owned())]);
        plane.create_type("on-beta", specs).unwrap();
        plane.create_volume(raw(1, 1).of_type("on-beta")).await.unwrap();
        assert_eq!(plane.volume(id(1)).unwrap().unwrap().host.as_deref(), Some("control@beta#b0"));
        plane.enable_backend("control@beta", false).unwrap();
        assert!(matches!(
            cause(plane.create_volume(raw(2, 1).of_type("on-beta")).await),
            Cause::NoValidBackend(_)
        ));
        plane.create_volume(raw(3, 1)).await.unwrap();
        assert_eq!(plane.volume(id(3)).unwrap().unwrap().host.as_deref(), Some("control@alpha#a0"));
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

#[test]
fn an_extend_that_does_not_fit_restores_the_status() {
    with_rig(FlowsConfig::default(), |_, rig| async move {
        let plane = &rig.plane;
        plane.create_volume(raw(1, 1)).await.unwrap();
        plane.take_transitions();
        assert!(matches!(cause(plane.extend_volume(id(1), 500).await), Cause::NoValidBackend(_)));
        assert_eq!(walk(&rig, "volume", id(1)), ["extending", "available"]);
        rig.array.fail_next("extend_volume", full(), false);
        assert_eq!(cause(plane.extend_volume(id(1), 5).await), Cause::Driver(full()));
        assert_eq!(walk(&rig, "volume", id(1)), ["extending", "error_extending"]);
        assert_eq!(plane.quota().unwrap().gigabytes, 1);
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

#[test]
fn busy_deletes_go_back_and_failed_ones_can_be_repeated() {
    with_rig(FlowsConfig::default(), |_, rig| async move {
        let plane = &rig.plane;
        plane.create_volume(raw(1, 1)).await.unwrap();
        let busy = DriverError::refused(RefusalKind::Busy, "dependents");
        rig.array.fail_next("delete_volume", busy, false);
        assert!(plane.delete_volume(id(1)).await.is_err());
        rig.array.fail_next("delete_volume", full(), false);
        assert!(plane.delete_volume(id(1)).await.is_err());
        plane.delete_volume(id(1)).await.unwrap();
        assert_eq!(
            walk(&rig, "volume", id(1)),
            ["creating", "available", "deleting", "available", "deleting", "error_deleting", "deleting", "-"]
        );
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

#[test]
fn a_guest_that_keeps_its_disk_keeps_the_volume_mapped() {
    with_rig(FlowsConfig::default(), |world, rig| async move {
        let plane = &rig.plane;
        plane.create_volume(raw(1, 1)).await.unwrap();
        let instance = plane.create_instance("compute-1", None).unwrap();
        plane.attach(id(1), instance, AttachOptions::default()).await.unwrap();
        world.add_fault("guest.unplug", 1, Fault::Fail);
        assert_eq!(cause(plane.detach(id(1), instance, DetachOptions::default()).await), Cause::Injected);
        assert_eq!(plane.volume(id(1)).unwrap().unwrap().status, VolumeStatus::InUse);
        assert_eq!(rig.array.mapped_to(id(1)), ["compute-1"]);
        assert!(plane.device(id(1), "compute-1").await.unwrap().read(0, 1).await.is_ok());
        let lost = ConnectorError::FlushFailed(sanbench_api::BlockError::NoPath { message: "cut".into() });
        rig.computes["compute-1"].fail_next("disconnect_volume", lost);
        assert!(plane.detach(id(1), instance, DetachOptions::default()).await.is_err());
        assert_eq!(
            rig.array.mapped_to(id(1)),
            ["compute-1"],
            "not unmapped under a device that is still there"
        );
        plane.detach(id(1), instance, DetachOptions::default()).await.unwrap();
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

#[test]
fn the_cache_serves_the_second_request_and_stays_within_its_limits() {
    let limits = CacheLimits { max_gib: 0, max_count: 1 };
    with_rig(FlowsConfig { image_cache: Some(limits), ..FlowsConfig::default() }, |_, rig| async move {
        let plane = &rig.plane;
        let specs = BTreeMap::from([("volume_backend_name".to_owned(), "alpha".to_owned())]);
        plane.create_type("alpha", specs).unwrap();
        let want = digests(&rig);
        let request = |n| raw(n, 4).of_type("alpha").from_source(Source::Image(rig.image));
        plane.create_volume(request(1)).await.unwrap();
        assert_image(&rig, id(1), &want);
        assert_eq!(rig.array.size_gib(id(1)), Some(4), "grown back");
        assert_eq!(plane.volume(id(1)).unwrap().unwrap().size_gib, 4);
        let entry = plane.cache_entries().unwrap().remove(0);
        assert_eq!((entry.size_gib, rig.array.size_gib(entry.volume)), (1, Some(1)));
        plane.take_transitions();
        plane.create_volume(request(2)).await.unwrap();
        assert_image(&rig, id(2), &want);
        assert_eq!(walk(&rig, "volume", id(2)), ["creating", "available"], "no download");
        assert_eq!(rig.array.parent(id(2)), Some(entry.volume));

        // Another image pushes it out; a new version of the first makes its entry stale.
        let other = ImageId::from_random([8; 16]);
        plane.images().add_memory(other, "other", Format::Raw, vec![3; 2048].into());
        plane.create_volume(raw(3, 1).of_type("alpha").from_source(Source::Image(other))).await.unwrap();
        let entries = plane.cache_entries().unwrap();
        assert_eq!((entries.len(), entries[0].image), (1, other));
        plane.images().add_memory(other, "other", Format::Raw, vec![4; 2048].into());
        plane.create_volume(raw(4, 1).of_type("alpha").from_source(Source::Image(other))).await.unwrap();
        assert_eq!(plane.cache_entries().unwrap()[0].image_version, 2);
        assert_eq!(rig.array.disk(id(4)).unwrap().lock().unwrap().block(0), [4; 512]);

        // An entry that cannot be cloned any more is replaced.
        let limit = DriverError::refused(RefusalKind::LimitReached, "too many clones");
        rig.array.fail_next("create_cloned_volume", limit, false);
        plane.create_volume(raw(5, 1).of_type("alpha").from_source(Source::Image(other))).await.unwrap();
        assert_eq!(rig.array.disk(id(5)).unwrap().lock().unwrap().block(0), [4; 512]);
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

#[test]
fn bad_images_end_in_error_and_are_named() {
    with_rig(FlowsConfig::default(), |world, rig| async move {
        let plane = &rig.plane;
        let image = ImageId::from_random([9; 16]);
        let mut n = 10;
        let mut create = || {
            n += 1;
            plane.create_volume(raw(n, 1).from_source(Source::Image(image)))
        };
        plane.images().add_memory(image, "liar", Format::Raw, rig.sample.bytes.clone());
        assert!(matches!(cause(create().await), Cause::Image(ImageError::FormatMismatch { .. })));
        let mut backed = rig.sample.bytes.to_vec();
        backed[15] = 1;
        plane.images().add_memory(image, "backed", Format::Qcow2, backed.into());
        assert_eq!(cause(create().await), Cause::Image(ImageError::Unsafe("backing file".into())));
        plane.images().add_memory(image, "big", Format::Raw, vec![1; 4096].into());
        plane.images().describe(image, 5, None);
        assert!(matches!(refused(create().await), Refusal::Size { .. }));
        plane.images().describe(image, 0, Some([0; 32]));
        assert_eq!(cause(create().await), Cause::Image(ImageError::Checksum));
        plane.images().add_memory(image, "cut", Format::Qcow2, rig.sample.bytes.clone());
        world.add_fault("image.read", 1, Fault::DropReply);
        assert_eq!(cause(create().await), Cause::Image(ImageError::Checksum));
        for row in plane.volumes().unwrap() {
            assert_eq!(row.status, VolumeStatus::Error);
        }
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

#[test]
fn a_write_that_fails_or_crashes_midway_leaves_an_error_and_nothing_mapped() {
    for (fault, nth) in [(Fault::Fail, 1), (Fault::Fail, 3), (Fault::CrashNode, 2)] {
        let point = [("image.write", nth, fault.clone())];
        let outcome = sanbench_flows::testing::run_with(&FlowsConfig::default(), &point, |rig| {
            Box::pin(async move {
                let request = raw(1, 1).from_source(Source::Image(rig.image));
                rig.plane.create_volume(request).await.map(drop)
            })
        });
        assert!(outcome.answer.is_err() && outcome.hit, "{fault:?}");
        assert_eq!(outcome.left, Vec::<String>::new(), "{fault:?}");
        let words: Vec<_> =
            outcome.transitions.iter().filter(|t| t.kind == "volume").map(|t| t.to.unwrap_or("-")).collect();
        assert_eq!(words, ["creating", "downloading", "error", "deleting", "-"], "{fault:?}");
    }
}

async fn dirty_then_reimage(rig: &Rig) -> Result<(), FlowError> {
    let plane = &rig.plane;
    plane.create_volume(raw(1, 1)).await?;
    let instance = plane.create_instance("compute-1", None)?;
    plane.attach(id(1), instance, AttachOptions::default()).await?;
    let device = plane.device(id(1), "compute-1").await?;
    device.write(0, Bytes::from(vec![0xee; 2 << 20])).await.expect("a write");
    device.flush().await.expect("a flush");
    plane.detach(id(1), instance, DetachOptions::default()).await?;
    plane.take_transitions();
    plane.reimage_volume(id(1), rig.image).await?;
    assert_eq!(walk(rig, "volume", id(1)), ["downloading", "available"]);
    Ok(())
}

#[test]
fn reimaging_overwrites_the_holes_too() {
    with_rig(FlowsConfig::default(), |_, rig| async move {
        dirty_then_reimage(&rig).await.unwrap();
        assert_image(&rig, id(1), &digests(&rig));
        assert_eq!(rig.clear().await, Vec::<String>::new());
    });
}

fn with_defect(defects: FlowDefects) -> FlowsConfig {
    FlowsConfig { defects, ..FlowsConfig::default() }
}

/// Each planted defect does what it says.
#[test]
fn defects_bite() {
    with_rig(
        with_defect(FlowDefects { sparse_over_dirty: true, ..FlowDefects::default() }),
        |_, rig| async move {
            dirty_then_reimage(&rig).await.unwrap();
            let want = digests(&rig);
            let disk = rig.array.disk(id(1)).unwrap();
            let disk = disk.lock().unwrap();
            let stale = (0..2048)
                .filter(|lba| !want.blocks.contains_key(&(lba * 512)) && disk.block(*lba)[0] == 0xee);
            assert!(stale.count() > 0);
        },
    );
    with_rig(
        with_defect(FlowDefects { skip_flush_after_image: true, ..FlowDefects::default() }),
        |_, rig| async move {
            rig.plane.create_volume(raw(1, 1).from_source(Source::Image(rig.image))).await.unwrap();
            assert!(rig.array.disk(id(1)).unwrap().lock().unwrap().unflushed() > 0);
        },
    );
    let leaky =
        FlowDefects { leave_control_attachment: true, leak_temp_file: true, ..FlowDefects::default() };
    with_rig(with_defect(leaky), |_, rig| async move {
        rig.plane.create_volume(raw(1, 1).from_source(Source::Image(rig.image))).await.unwrap();
        assert_eq!(rig.array.mapped_to(id(1)), ["control"]);
        assert_eq!(rig.plane.leftovers().unwrap().temp_files.len(), 1);
    });
    with_rig(
        with_defect(FlowDefects { wrong_status_edge: true, ..FlowDefects::default() }),
        |_, rig| async move {
            rig.plane.create_volume(raw(1, 1)).await.unwrap();
            rig.plane.delete_volume(id(1)).await.unwrap();
            assert_eq!(walk(&rig, "volume", id(1)), ["creating", "available", "-"]);
        },
    );
}

/// Two runs of one seed leave the same trace.
#[test]
fn runs_repeat_exactly() {
    let run = || {
        let config = SimConfig { seed: 11, trace: true, ..SimConfig::default() };
        SimWorld::run(config, |world| async move {
            let env = world.node("control", &[IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9))]);
            let rig = Rig::new(&env, FlowsConfig::default()).expect("a rig");
            rig.plane.start().await.expect("a start");
            let made = CreateRequest::raw("x", 1).from_source(Source::Image(rig.image));
            let (a, b) = tokio::join!(rig.plane.create_volume(made.clone()), rig.plane.create_volume(made));
            assert!(a.is_ok() && b.is_ok());
            assert_eq!(rig.clear().await, Vec::<String>::new());
            world.trace().iter().map(|l| l.to_json_line()).collect::<Vec<_>>()
        })
    };
    assert_eq!(run(), run());
}
