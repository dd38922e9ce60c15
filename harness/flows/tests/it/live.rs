//! Outside the simulation: a state database in a file, staged images in a folder, `qemu-img` where it is installed.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use sanbench_api::{ImageId, VolumeId};
use sanbench_flows::image::Format;
use sanbench_flows::testing::Rig;
use sanbench_flows::{Cause, CreateRequest, FlowError, FlowsConfig, Source, VolumeStatus};
use sanbench_world::{Fault, FaultPlan, LiveConfig, LiveWorld};
use sha2::{Digest, Sha256};

fn world(folder: &Path, faults: FaultPlan) -> LiveWorld {
    let config =
        LiveConfig { seed: 1, trace: false, state_dir: folder.to_path_buf(), faults, capture: false };
    LiveWorld::new(config).expect("a live world")
}

fn rig(world: &LiveWorld) -> Rig {
    let env = world.node("control", &[IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    Rig::new(&env, FlowsConfig::default()).expect("a rig")
}

fn id(n: u8) -> VolumeId {
    VolumeId::from_random([n; 16])
}

fn has_qemu_img() -> bool {
    Command::new("qemu-img").arg("--version").output().is_ok_and(|out| out.status.success())
}

/// Files below the conversion folder of any node.
fn staged(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains("image_download") {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

fn sha_of(rig: &Rig, volume: VolumeId, len: u64) -> Vec<u8> {
    let disk = rig.array.disk(volume).expect("a LUN");
    let disk = disk.lock().expect("no panic");
    let mut hash = Sha256::new();
    for lba in 0..len / 512 {
        hash.update(disk.block(lba));
    }
    hash.finalize().to_vec()
}

#[tokio::test]
async fn images_of_every_format_arrive_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(&world(folder.path(), FaultPlan::default()));
    rig.plane.start().await.unwrap();
    let len = rig.sample.virtual_size;
    let mut images = vec![rig.image];
    let file = folder.path().join("sample.qcow2");
    std::fs::write(&file, &rig.sample.bytes).unwrap();
    let mut add = |n: u8, format, path: &Path| {
        let image = ImageId::from_random([n; 16]);
        rig.plane.images().add_file(image, "file", format, path.to_path_buf());
        images.push(image);
    };
    add(20, Format::Qcow2, &file);
    if has_qemu_img() {
        let formats =
            [("raw", Format::Raw), ("vmdk", Format::Vmdk), ("vpc", Format::Vhd), ("vhdx", Format::Vhdx)];
        for (n, (name, format)) in (21..).zip(formats) {
            let target = folder.path().join(format!("image.{name}"));
            let mut command = Command::new("qemu-img");
            command.args(["convert", "-f", "qcow2", "-O", name]);
            if name == "vpc" {
                // Without it the geometry rounds the size.
                command.args(["-o", "force_size=on"]);
            }
            assert!(command.arg(&file).arg(&target).status().unwrap().success(), "{name}");
            add(n, format, &target);
        }
    } else {
        // The formats that only the converter reads have no say then; where foreign tools are demanded that is a failure.
        let demanded = std::env::var("SANBENCH_INTEROP").is_ok_and(|v| v == "require");
        assert!(!demanded, "qemu-img is not installed");
    }
    for (n, image) in (1..).zip(images) {
        let request = CreateRequest::raw("x", 1).with_id(id(n)).from_source(Source::Image(image));
        rig.plane.create_volume(request).await.unwrap();
        assert_eq!(sha_of(&rig, id(n), len), rig.sample.raw_sha256, "image {n}");
        assert_eq!(staged(folder.path()), Vec::<String>::new(), "image {n}");
    }
    assert_eq!(rig.clear().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_state_outlives_the_process_and_a_crash_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let crash = FaultPlan::default().rule("flow.build_volume_from_image.write.after", 1, Fault::CrashNode);
    let first = rig(&world(folder.path(), crash));
    first.plane.start().await.unwrap();
    first.plane.create_volume(CreateRequest::raw("kept", 2).with_id(id(1))).await.unwrap();
    let request = CreateRequest::raw("lost", 1).with_id(id(2)).from_source(Source::Image(first.image));
    assert_eq!(first.plane.create_volume(request).await, Err(FlowError::Crashed));
    assert_eq!(first.array.mapped_to(id(2)), ["control"]);
    if has_qemu_img() {
        assert!(!staged(folder.path()).is_empty(), "the crash came while the image was staged");
    }

    // Another world on the same folder: only the file tells.
    let again = world(folder.path(), FaultPlan::default());
    let env = again.node("control", &[IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    let second = first.restarted(&env, FlowsConfig::default()).unwrap();
    let report = second.plane.start().await.unwrap();
    assert!(!report.recovered.is_empty());
    let status = |n| second.plane.volume(id(n)).unwrap().map(|v| v.status);
    assert_eq!((status(1), status(2)), (Some(VolumeStatus::Available), Some(VolumeStatus::Error)));
    assert!(second.array.mapped_to(id(2)).is_empty());
    assert_eq!(staged(folder.path()), Vec::<String>::new());
    assert_eq!(second.clear().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_file_fails_the_create_alone() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(&world(folder.path(), FaultPlan::default()));
    rig.plane.start().await.unwrap();
    let image = ImageId::from_random([3; 16]);
    rig.plane.images().add_file(image, "gone", Format::Raw, folder.path().join("no such file"));
    let request = CreateRequest::raw("x", 1).from_source(Source::Image(image));
    match rig.plane.create_volume(request).await {
        Err(FlowError::Failed(failure)) => assert!(matches!(failure.cause, Cause::Image(_))),
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.clear().await, Vec::<String>::new());
}
