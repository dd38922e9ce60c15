//! A bootable image as Debian ships it goes through the whole flow, and QEMU reads the volume back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use sanbench_api::{ImageId, Inventory, VolumeDriver};
use sanbench_flows::image::{Format, ImageStore};
use sanbench_flows::{CreateRequest, Source};

use super::live::{Bench, block_on, foreign, world};
use super::qemu::{options, qemu_img};
use super::serve::{Serve, sanbench};
use super::tools::{Checked, Foreign, ensure, missing};

const STORY: &str = "story \"A bootable image, as Debian ships it\"
requires IMG-001 DAT-003
host compute-1
image disk kind=sample

create v size=1GiB image=disk
scan v
attach v compute-1
write v at=512MiB length=64KiB
snapshot s v
detach v compute-1
extend v size=2GiB
create w size=2GiB volume=v
verify w
create old size=1GiB snapshot=s
scan old
delete old
delete w
delete-snapshot s
delete v
census
";

pub(crate) fn trials(foreign: &Foreign, all: &mut Vec<Trial>) {
    let image = foreign.boot_image.clone().unwrap_or_default();
    let lacks = |programs: &[&str]| foreign.boot_image.clone().err().or_else(|| missing(programs));
    let mut add = |name: &str, programs: &[&str], test: fn(&Path) -> Checked| {
        let image: PathBuf = image.clone();
        all.push(foreign.trial_with(name, lacks(programs), foreign.require(), move || test(&image)));
    };
    add("boot_image::runs_in_sim", &["qemu-img"], |image| story(image, "sim"));
    add("boot_image::runs_on_loopback", &["qemu-img"], |image| story(image, "loopback"));
    add("boot_image::runs_through_a_profile", &["qemu-img"], profile);
    add("boot_image::is_read_back_by_qemu", &["qemu-img+iscsi"], read_back);
}

/// The image as a compressed qcow2 in a folder.
fn qcow2(dir: &Path, image: &Path) -> Result<(), Failed> {
    let bytes = std::fs::read(image)?;
    ensure_bootable(&bytes)?;
    let image = image.to_string_lossy();
    qemu_img(dir, &["convert", "-f", "raw", "-O", "qcow2", "-c", &image, "boot.qcow2"])
        .good("convert")
        .map(drop)
}

/// A boot sector, or the boot record of El Torito.
fn ensure_bootable(bytes: &[u8]) -> Checked {
    let sector = bytes.get(510..512) == Some(&[0x55, 0xaa]);
    let record = bytes.get(17 * 2048 + 7..).is_some_and(|b| b.starts_with(b"EL TORITO SPECIFICATION"));
    ensure!(sector || record, "the image is not bootable");
    Ok(())
}

fn story(image: &Path, env: &str) -> Checked {
    let dir = tempfile::tempdir()?;
    qcow2(dir.path(), image)?;
    std::fs::write(dir.path().join("boot.story"), STORY)?;
    let args = ["run", "./boot.story", "--env", env, "--image", "boot.qcow2", "--report", "out"];
    let out = sanbench(dir.path(), &args).good("sanbench run")?;
    ensure!(out.contains("CONFORMANT"), "{out}");
    Ok(())
}

fn profile(image: &Path) -> Checked {
    let dir = tempfile::tempdir()?;
    let array = Serve::start(&[])?;
    qcow2(dir.path(), image)?;
    std::fs::write(dir.path().join("boot.story"), STORY)?;
    let mut text = "name = \"served\"\n[backend]\n".to_owned();
    for (key, value) in array.options() {
        text += &format!("{key} = {value:?}\n");
    }
    std::fs::write(dir.path().join("lab.toml"), text)?;
    let args = [
        "run",
        "./boot.story",
        "--env",
        "lab.toml",
        "--image",
        "boot.qcow2",
        "--state",
        "journals",
        "--report",
        "out",
    ];
    let out = sanbench(dir.path(), &args).good("sanbench run")?;
    ensure!(out.contains("CONFORMANT"), "{out}");
    Ok(())
}

/// The volume's life, stopped where a foreign client can look: made from the image, mapped to QEMU, compared.
fn read_back(image: &Path) -> Checked {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let array = Serve::start(&[])?;
    qcow2(dir, image)?;
    let pristine = qemu_img(dir, &["info", "boot.qcow2"]).good("info")?;
    block_on(async {
        let world = world(dir);
        let images = ImageStore::new();
        let id = ImageId::from_random([7; 16]);
        images.add_file(id, "ipxe", Format::Qcow2, dir.join("boot.qcow2"));
        let bench = Bench::start(&world, &array, images).await?;
        let request = CreateRequest::raw("boot", 1).from_source(Source::Image(id));
        let volume = bench.control.create_volume(request).await?;
        let volume = bench.volume(volume)?;

        let guest = foreign("guest");
        let (portal, target, lun) = bench.map(&volume, &guest).await?;
        let name = |who: &str| format!("iqn.2026-11.org.example:{who}");
        let seen = options(&portal.to_string(), &target, lun.into(), &name("guest"));
        let boot = "driver=qcow2,file.driver=file,file.filename=boot.qcow2";
        let same = qemu_img(dir, &["compare", "--image-opts", boot, &seen]).good("compare")?;
        ensure!(same.contains("identical"), "{same}");

        // The volume is not compared with itself: a changed image differs.
        let image = image.to_string_lossy();
        qemu_img(dir, &["convert", "-f", "raw", "-O", "raw", &image, "changed.raw"]).good("convert")?;
        let mut changed = std::fs::read(dir.join("changed.raw"))?;
        let last = changed.len() - 1;
        changed[last] ^= 0x80;
        std::fs::write(dir.join("changed.raw"), &changed)?;
        let raw = "driver=raw,file.driver=file,file.filename=changed.raw";
        let differs = qemu_img(dir, &["compare", "--image-opts", raw, &seen]);
        ensure!(differs.code == Some(1), "a changed byte: exit {:?}: {}", differs.code, differs.out);

        // Nobody else may look.
        let stranger = options(&portal.to_string(), &target, lun.into(), &name("stranger"));
        let refused = qemu_img(dir, &["info", "--image-opts", &stranger]);
        ensure!(!refused.ok, "a stranger read the volume: {}", refused.out);

        let others = bench.driver.terminate_connection(&volume, Some(&guest), false).await?;
        ensure!(!others, "other attachments were left");
        let gone = qemu_img(dir, &["info", "--image-opts", &seen]);
        ensure!(!gone.ok, "the volume can be read after its mapping went: {}", gone.out);
        bench.control.delete_volume(volume.id).await?;
        let left = bench.control.leftovers()?;
        ensure!(left.is_empty(), "left: {left:?}");
        let inventory: Arc<_> = bench.driver.clone();
        let listed = Inventory::list(inventory.inventory().ok_or("no inventory")?).await?;
        ensure!(
            listed.luns.is_empty() && listed.hosts.is_empty() && listed.views.is_empty(),
            "left on the array: {listed:?}"
        );
        bench.control.stop().await?;
        Ok::<(), Failed>(())
    })?;
    let after = qemu_img(dir, &["info", "boot.qcow2"]).good("info")?;
    ensure!(pristine == after, "the image file was changed");
    Ok(())
}
