//! QEMU writes through the served array and reads back what it wrote.

use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;

use super::serve::Serve;
use super::tools::{Checked, Done, Foreign, ensure, holey, run};

pub(crate) fn trials(foreign: &Foreign, all: &mut Vec<Trial>) {
    all.push(foreign.trial("qemu::writes_and_reads_an_export", &["qemu-img+iscsi"], write_and_read));
}

/// `qemu-img ...` in a folder.
pub(crate) fn qemu_img(dir: &Path, args: &[&str]) -> Done {
    run(Command::new("qemu-img").args(args).current_dir(dir), 120)
}

/// An export as QEMU's options name it.
pub(crate) fn options(portal: &str, target: &str, lun: u64, initiator: &str) -> String {
    format!(
        "driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={portal},file.target={target},file.lun={lun},file.initiator-name={initiator}"
    )
}

fn write_and_read() -> Checked {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let array = Serve::start(&["--export", "disk0=64MiB"])?;
    let url = array.export();
    let mut bytes = holey(2, 64 << 20);
    std::fs::write(dir.join("in.raw"), &bytes)?;
    qemu_img(dir, &["convert", "-n", "-f", "raw", "-O", "raw", "in.raw", &url])
        .good("convert to the array")?;
    let same = qemu_img(dir, &["compare", "-f", "raw", "-F", "raw", "in.raw", &url]).good("compare")?;
    ensure!(same.contains("identical"), "{same}");

    // A fresh session through the other portal copies it back, holes and all.
    let other = options(&array.portals()[1], &array.target(), 0, "iqn.2026-11.org.example:other");
    qemu_img(dir, &["convert", "--image-opts", "-O", "qcow2", &other, "back.qcow2"]).good("convert back")?;
    let same = qemu_img(dir, &["compare", "in.raw", "back.qcow2", "-f", "raw", "-F", "qcow2"]);
    same.good("compare with the copy")?;

    // And the comparison has teeth: one byte differs, qemu-img says where.
    let place = 12_345_678;
    bytes[place] ^= 1;
    std::fs::write(dir.join("in.raw"), &bytes)?;
    let differs = qemu_img(dir, &["compare", "-f", "raw", "-F", "raw", "in.raw", &url]);
    ensure!(differs.code == Some(1), "one byte differs: exit {:?}, {}", differs.code, differs.out);
    ensure!(differs.out.contains("mismatch"), "{}", differs.out);
    Ok(())
}
