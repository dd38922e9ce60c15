//! libiscsi's tools look at an export of the served array.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Failed, Trial};
use sanbench_api::{ArrayInventory, VolumeDriver};
use sanbench_flows::image::ImageStore;

use super::live::{Bench, block_on, world};
use super::serve::Serve;
use super::tools::{Checked, Foreign, ensure, run};

const MIB: u64 = 1 << 20;

pub(crate) fn trials(foreign: &Foreign, all: &mut Vec<Trial>) {
    all.push(foreign.trial("libiscsi::ls_shows_target_portals_and_size", &["iscsi-ls"], ls));
    all.push(foreign.trial("libiscsi::inq_agrees_with_the_array", &["iscsi-inq"], inq));
    all.push(foreign.trial("libiscsi::readcapacity16_agrees", &["iscsi-readcapacity16"], capacity));
}

fn ls() -> Checked {
    let array = Serve::start(&["--export", "disk0=1GiB", "--export", "disk1=48MiB"])?;
    let portals = array.portals();
    ensure!(portals.len() == 2, "two portals were asked for: {portals:?}");
    let url = format!("iscsi://{}", portals[0]);
    let out = run(Command::new("iscsi-ls").args(["-s", &url]), 20).good("iscsi-ls")?;
    for portal in &portals {
        let line = format!("Target:{} Portal:{portal},", array.target());
        ensure!(out.contains(&line), "no line {line:?} in\n{out}");
    }
    // iscsi-ls multiplies the last LBA, not the number of blocks, and rounds down.
    for (lun, mib) in [(0, 1024), (1, 48)] {
        let line = format!("Lun:{lun}    Type:DIRECT_ACCESS (Size:{}M)", (mib * MIB - 512) / MIB);
        ensure!(out.matches(&line).count() == 2, "{line:?} is not below both portals in\n{out}");
    }
    Ok(())
}

/// What the management API says of the array.
fn inventory(array: &Serve) -> Result<ArrayInventory, Failed> {
    let dir = tempfile::tempdir()?;
    block_on(async {
        let world = world(dir.path());
        let bench = Bench::start(&world, array, ImageStore::new()).await?;
        let list = bench.driver.inventory().ok_or("no inventory")?.list().await?;
        bench.control.stop().await?;
        Ok(list)
    })
}

fn inq() -> Checked {
    let array = Serve::start(&["--export", "disk0=1GiB"])?;
    let listed = inventory(&array)?;
    let lun = listed.lun_by_name("disk0").ok_or("the export is not in the listing of the array")?;
    ensure!(lun.blocks == 2 * MIB, "{} blocks", lun.blocks);
    let url = array.export();
    let page = |code: u32| {
        let code = code.to_string();
        run(Command::new("iscsi-inq").args(["-e", "1", "-c", &code, &url]), 20).good("iscsi-inq")
    };
    let has = |what: &str, out: &str, lines: &[&str]| -> Checked {
        for line in lines {
            ensure!(out.lines().any(|l| l.trim_end() == *line), "{what}: no line {line:?} in\n{out}");
        }
        Ok(())
    };

    let standard = run(Command::new("iscsi-inq").arg(&url), 20).good("iscsi-inq")?;
    let wanted = [
        "Peripheral Qualifier:CONNECTED",
        "Peripheral Device Type:DIRECT_ACCESS",
        "Removable:0",
        "ReponseDataFormat:2",
        "CmdQue:1",
        "Version Descriptor:0960 iSCSI",
        "Version Descriptor:0460 SPC-4",
        "Version Descriptor:04c0 SBC-3",
    ];
    has("standard INQUIRY", &standard, &wanted)?;

    let pages = page(0)?;
    let codes: Vec<&str> = pages.lines().filter_map(|l| l.strip_prefix("Page:0x")?.get(..2)).collect();
    ensure!(codes == ["00", "80", "83", "86", "b0", "b1", "b2"], "supported pages: {codes:?}");

    // The serial number of a LUN is the array's, which also ends its target name, and the LUN's own.
    let serial = page(0x80)?;
    let serial = serial.trim().strip_prefix("Unit Serial Number:[").and_then(|s| s.strip_suffix(']'));
    let serial = serial.ok_or("page 80h has no serial number")?.to_owned();
    let of_array = array.target().rsplit(':').next().unwrap_or_default().to_owned();
    ensure!(
        serial.starts_with(&of_array) && serial.len() > of_array.len(),
        "serial {serial:?} of {of_array:?}"
    );

    let identity = page(0x83)?;
    has("page 83h", &identity, &["Designator Type:(3) NAA", "Designator Type:(4) RELATIVE_TARGET_PORT"])?;
    ensure!(identity.contains(&format!("{serial}]")), "no T10 designator of {serial} in\n{identity}");
    // The tool prints a binary designator only to its first zero byte, so the bytes are taken from the wire.
    let naa = [&[0x01, 0x03, 0x00, 0x10], &lun.wwn.0[..]].concat();
    let wire = overheard(&array.portals()[0], |portal| {
        let url = format!("iscsi://{portal}/{}", url.splitn(4, '/').nth(3).unwrap_or_default());
        run(Command::new("iscsi-inq").args(["-e", "1", "-c", "131", &url]), 20).good("iscsi-inq").map(drop)
    })?;
    ensure!(
        wire.windows(naa.len()).any(|w| w == naa),
        "the WWN of the management API, {}, is no NAA designator on the wire",
        lun.wwn
    );

    has("page B0h", &page(0xb0)?, &["wsnz:0", "ugavalid:1", "optimal unmap granularity:128"])?;
    has("page B1h", &page(0xb1)?, &["Medium Rotation Rate:1RPM"])?;
    let provisioning = ["lbpu:1", "lbpws:1", "lbpws10:0", "lbprz:1", "provisioning type:2"];
    has("page B2h", &page(0xb2)?, &provisioning)
}

/// What a target answers while `talk` speaks to it through a port that listens in.
fn overheard(portal: &str, talk: impl FnOnce(&str) -> Result<(), Failed>) -> Result<Vec<u8>, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = listener.local_addr()?.to_string();
    let (portal, heard) = (portal.to_owned(), Arc::new(Mutex::new(Vec::new())));
    let log = heard.clone();
    // The thread lives as long as this process; it holds nothing but one socket.
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let Ok(server) = TcpStream::connect(&portal) else { return };
            let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
            std::thread::spawn(move || copy(from, to, None));
            let log = log.clone();
            std::thread::spawn(move || copy(server, client, Some(log)));
        }
    });
    talk(&here)?;
    let bytes = heard.lock().unwrap().clone();
    Ok(bytes)
}

fn copy(mut from: TcpStream, mut to: TcpStream, log: Option<Arc<Mutex<Vec<u8>>>>) {
    let mut buffer = [0; 65536];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 || {
            if let Some(log) = &log {
                log.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
            to.write_all(&buffer[..n]).is_err()
        } {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

fn capacity() -> Checked {
    let array = Serve::start(&["--export", "disk0=3GiB"])?;
    let out =
        run(Command::new("iscsi-readcapacity16").arg(array.export()), 20).good("iscsi-readcapacity16")?;
    let blocks = (3u64 << 30) / 512;
    for line in [
        format!("RETURNED LOGICAL BLOCK ADDRESS:{}", blocks - 1),
        "LOGICAL BLOCK LENGTH IN BYTES:512".to_owned(),
        "LBPME:1 LBPRZ:1".to_owned(),
        format!("Total size:{}", blocks * 512),
    ] {
        ensure!(out.lines().any(|l| l.trim() == line), "no line {line:?} in\n{out}");
    }
    Ok(())
}
