//! The unmodified upstream Cinder driver for Huawei arrays at a served array: the whole life of a volume through somebody
//! else's management client, while the bench's own host attaches with the connection info that *that* driver returned,
//! writes, and reads what the driver says is a clone, a snapshot's volume, or the same volume elsewhere.
//!
//! The driver runs in Cinder's own library, in `clients/cinder_driver.py`, and is asked over JSON lines. It knows nothing of
//! port numbers: as on a real array, portals listen on 3260, each on an address of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::{Failed, Trial};
use sanbench_api::{
    AccessMode, BlockDevice, ChapAuth, ConnectionInfo, Connector, LbaState, Secret, TargetPath, VolumeId,
};
use sanbench_check::{RunTag, Stamp};
use sanbench_initiator::{HostConfig, HostConnector};
use sanbench_world::LiveWorld;
use serde_json::{Value, json};

use super::live::{HERE, block_on, world};
use super::serve::Serve;
use super::tools::{Checked, Foreign, Running, difference, ensure};

/// Blocks of a GiB.
const GIB: u64 = 1 << 21;
/// Initiators that the driver is told of: one, two, chap, paths, long.
const INITIATORS: u64 = 5;
/// Longest that one call of the driver may take; its first one loads all of Cinder.
const PATIENCE: Duration = Duration::from_secs(180);

/// Generations: name of the test, PRODUCTVERSION, what the driver is configured with.
const GENERATIONS: &[(&str, &str, &str)] = &[
    ("cinder::life_with_lun_copies", "V500R007C61", "V5"),
    ("cinder::life_with_clone_pairs", "V600R003C00", "Dorado"),
];

pub(crate) fn trials(foreign: &Foreign, all: &mut Vec<Trial>) {
    for (n, (name, product, configured)) in GENERATIONS.iter().enumerate() {
        let (python, missing) = (foreign.python.clone().unwrap_or_default(), foreign.python.clone().err());
        all.push(
            foreign
                .trial_with(name, missing, foreign.require(), move || life(&python, n, product, configured)),
        );
    }
}

/// The driver as a process.
struct Driver {
    _process: Running,
    asks: ChildStdin,
    answers: Receiver<String>,
    log: PathBuf,
}

impl Driver {
    fn start(python: &Path, dir: &Path) -> Result<Self, Failed> {
        let log = dir.join("driver.log");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/clients/cinder_driver.py");
        let errors = std::fs::File::create(&log)?;
        let mut command = Command::new(python);
        command.arg(script).current_dir(dir);
        let mut process =
            Running::start_asking(&mut command, 600, Stdio::piped(), Stdio::piped(), errors.into())?;
        let asks = process.child.stdin.take().ok_or("no stdin")?;
        let lines = BufReader::new(process.child.stdout.take().ok_or("no stdout")?).lines();
        let (send, answers) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        Ok(Self { _process: process, asks, answers, log })
    }

    /// Asks for a call; its value, or what the driver raised.
    fn attempt(&mut self, call: &str, mut with: Value) -> Result<Result<Value, String>, Failed> {
        with["call"] = call.into();
        writeln!(self.asks, "{with}")?;
        let line = self.answers.recv_timeout(PATIENCE).map_err(|_| {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            format!("the driver does not answer {with}\n{log}")
        })?;
        let answer: Value = serde_json::from_str(&line).map_err(|e| format!("{line:?}: {e}"))?;
        Ok(match answer.get("error").and_then(Value::as_str) {
            None => Ok(answer["ok"].clone()),
            Some(error) => Err(format!("{call}: {error} ({})", answer["kind"])),
        })
    }

    /// A call that must succeed.
    fn call(&mut self, call: &str, with: Value) -> Result<Value, Failed> {
        Ok(self.attempt(call, with)??)
    }
}

/// What a volume must hold: stamped pieces over zeroes, later ones on top.
#[derive(Clone, Default)]
struct Content(Vec<(u64, Bytes)>);

impl Content {
    fn read(&self, lba: u64, blocks: u64) -> Vec<u8> {
        let mut out = vec![0; (blocks * 512) as usize];
        for (at, piece) in &self.0 {
            let (from, to) = (lba.max(*at), (lba + blocks).min(at + piece.len() as u64 / 512));
            if from < to {
                let source = &piece[((from - at) * 512) as usize..((to - at) * 512) as usize];
                out[((from - lba) * 512) as usize..((to - lba) * 512) as usize].copy_from_slice(source);
            }
        }
        out
    }
}

/// The bench's host and what it has written.
struct Bench {
    driver: Driver,
    world: LiveWorld,
    sequence: u64,
}

/// A host: name in the world, and name on the array's side.
struct Who {
    name: &'static str,
    connector: HostConnector,
    multipath: bool,
}

impl Who {
    fn ask(&self, volume: &str) -> Value {
        json!({"name": volume, "host": self.name, "initiator": initiator(self.name), "multipath": self.multipath})
    }
}

fn initiator(name: &str) -> String {
    format!("iqn.2026-11.org.sanbench:{name}")
}

impl Bench {
    fn host(&self, name: &'static str, multipath: bool) -> Who {
        let mut config = HostConfig::new(name, initiator(name), HERE);
        // What is not mapped is not waited for.
        config.scan_attempts = 1;
        Who { name, connector: HostConnector::new(self.world.node(name, &[HERE]), config), multipath }
    }

    /// Connection info for a host, by the foreign driver.
    fn connect(&mut self, volume: &str, who: &Who) -> Result<ConnectionInfo, Failed> {
        connection_info(&self.driver.call("connect", who.ask(volume))?)
    }

    /// Host first, array then, as Nova detaches; nothing is left on the host.
    async fn detach(&mut self, volume: &str, who: &Who, info: &ConnectionInfo) -> Checked {
        who.connector.disconnect_volume(info, false).await?;
        self.driver.call("disconnect", who.ask(volume))?;
        ensure!(who.connector.census().is_empty(), "left on {}: {:?}", who.name, who.connector.census());
        Ok(())
    }

    /// Writes stamped blocks.
    async fn write(
        &mut self,
        device: &dyn BlockDevice,
        content: &mut Content,
        lba: u64,
        blocks: u64,
    ) -> Checked {
        self.sequence += 1;
        let volume = VolumeId::from_random([7; 16]);
        let stamp = Stamp { run: RunTag(0x00f0_4e16), volume, lba, seq: self.sequence, writer: 1 };
        let mut data = vec![0; (blocks * 512) as usize];
        stamp.fill(&mut data);
        let data = Bytes::from(data);
        device.write(lba, data.clone()).await?;
        content.0.push((lba, data));
        Ok(())
    }

    /// Attaches the volume to a host, compares every byte of it, and detaches it.
    async fn expect(&mut self, volume: &str, who: &Who, content: &Content, gib: u64) -> Checked {
        let info = self.connect(volume, who)?;
        let attached = who.connector.connect_volume(&info).await?;
        ensure!(attached.paths == info.paths.len(), "{} of {} paths", attached.paths, info.paths.len());
        compare(volume, &*attached.device, content, gib).await?;
        drop(attached);
        self.detach(volume, who, &info).await
    }
}

/// Every byte of a device: what GET LBA STATUS calls mapped and every piece are read; the rest has to be rest, and is
/// sampled at both ends of each range.
async fn compare(what: &str, device: &dyn BlockDevice, content: &Content, gib: u64) -> Checked {
    let size = device.capacity_blocks();
    ensure!(size == gib * GIB, "{what} has {size} blocks in place of {gib} GiB");
    let mut ranges: Vec<(u64, u64)> = content.0.iter().map(|(at, p)| (*at, p.len() as u64 / 512)).collect();
    let mut at = 0;
    while at < size {
        for range in device.lba_status(at).await? {
            ensure!(
                range.lba == at && range.blocks > 0,
                "{what}: a range at {} where {at} was asked",
                range.lba
            );
            match range.state {
                LbaState::Mapped => ranges.push((range.lba, range.blocks)),
                _ => ranges.extend([(range.lba, range.blocks.min(8)), (range.lba + range.blocks - 1, 1)]),
            }
            at += range.blocks;
        }
    }
    for (from, blocks) in ranges {
        let to = (from + blocks).min(size);
        for lba in (from..to).step_by(2048) {
            let some = (to - lba).min(2048);
            let read = device.read(lba, some as u32).await?;
            if let Some(at) = difference(&read, &content.read(lba, some)) {
                return Err(format!("{what}, from block {lba} on: {at}").into());
            }
        }
    }
    Ok(())
}

/// Connection info as os-brick reads it: the plural keys when there are several paths.
fn connection_info(data: &Value) -> Result<ConnectionInfo, Failed> {
    let many = |plural: &str, single: &str| match data.get(plural).and_then(Value::as_array) {
        Some(list) => list.clone(),
        None => vec![data[single].clone()],
    };
    let portals = many("target_portals", "target_portal");
    let names = many("target_iqns", "target_iqn");
    let luns = many("target_luns", "target_lun");
    ensure!(portals.len() == names.len() && names.len() == luns.len(), "lists of unequal length: {data}");
    let mut paths = Vec::new();
    for ((portal, name), lun) in portals.iter().zip(&names).zip(&luns) {
        let bad = || format!("no usable path in {data}");
        let portal: SocketAddr = portal.as_str().ok_or_else(bad)?.parse()?;
        let iqn = name.as_str().ok_or_else(bad)?.to_owned();
        paths.push(TargetPath {
            portal,
            iqn,
            lun: lun.as_u64().and_then(|n| n.try_into().ok()).ok_or_else(bad)?,
        });
    }
    let auth = data.get("auth_username").and_then(Value::as_str).map(|name| ChapAuth {
        username: name.to_owned(),
        password: Secret::new(data["auth_password"].as_str().unwrap_or_default()),
        target: None,
    });
    Ok(ConnectionInfo {
        driver_volume_type: "iscsi".to_owned(),
        volume_id: VolumeId::from_random([9; 16]),
        multipath: paths.len() > 1,
        enforce_multipath: paths.len() > 1,
        paths,
        auth,
        wwn: None,
        access_mode: AccessMode::ReadWrite,
        discard: true,
    })
}

fn life(python: &Path, generation: usize, product: &str, configured: &str) -> Checked {
    let dir = tempfile::tempdir()?;
    // Two tests at a time, and runs beside each other, keep out of each other's way.
    let net = 64 + std::process::id() % 128;
    let addresses: Vec<String> = (1..=2).map(|n| format!("127.{net}.{}.{n}", 10 + generation)).collect();
    let portals: Vec<String> = addresses.iter().map(|ip| format!("{ip}:3260")).collect();
    let portals: Vec<&str> = portals.iter().map(String::as_str).collect();
    let array = Serve::start_at(&portals, &["--product", product, "--control"])?;
    block_on(async {
        let mut bench =
            Bench { driver: Driver::start(python, dir.path())?, world: world(dir.path()), sequence: 0 };
        bench.driver.call(
            "setup",
            json!({
                "url": array.rest(), "user": "admin", "password": array.password(), "product": configured,
                "pools": ["pool0", "pool1"], "portals": addresses, "dir": dir.path(),
                "initiators": [
                    {"Name": initiator("chap"), "TargetIP": addresses[0], "CHAPinfo": "bench;Chap-secret-1234", "ALUA": "1"},
                    {"Name": initiator("paths"), "TargetIP": addresses[0], "TargetPortGroup": "pg0", "ALUA": "1"},
                ],
            }),
        )?;
        let before = bench.driver.call("control", json!({"path": "state"}))?;
        write_clone_read(&mut bench).await?;
        who_sees_what(&mut bench).await?;
        other_services(&mut bench).await?;
        faults(&mut bench)?;
        let after = bench.driver.call("control", json!({"path": "state"}))?;
        // This driver takes initiators out of their hosts and never deletes them; all else goes.
        let mut expected = before["counts"].clone();
        expected["iscsi_initiator"] = INITIATORS.into();
        ensure!(after["counts"] == expected, "left on the array: {} in place of {expected}", after["counts"]);
        Ok(())
    })
}

/// Volume `a` with `content` (2 GiB) and its snapshot `s` stay for the steps that follow.
async fn write_clone_read(bench: &mut Bench) -> Checked {
    let pools = bench.driver.call("stats", json!({}))?;
    let names: Vec<&str> =
        pools.as_array().into_iter().flatten().filter_map(|p| p["pool_name"].as_str()).collect();
    ensure!(names.contains(&"pool0") && names.contains(&"pool1"), "stats of {names:?}");
    let (one, other) = (bench.host("one", false), bench.host("two", false));

    // Created, attached, written, and extended while it is attached.
    bench.driver.call("create", json!({"name": "a", "size": 1, "pool": "pool0"}))?;
    let info = bench.connect("a", &one)?;
    let device = one.connector.connect_volume(&info).await?.device;
    let mut content = Content::default();
    for (lba, blocks) in [(0, 4096), (GIB / 2 + 3, 1500), (GIB - 100, 100)] {
        bench.write(&*device, &mut content, lba, blocks).await?;
    }
    compare("a", &*device, &content, 1).await?;
    bench.driver.call("extend", json!({"name": "a", "size": 2}))?;
    let size = one.connector.extend_volume(&info).await?;
    ensure!(size == 2 << 30, "{size} bytes after the extend");
    compare("a after its extend", &*device, &content, 2).await?;
    bench.write(&*device, &mut content, GIB - 8, 16).await?;
    bench.write(&*device, &mut content, 2 * GIB - 64, 64).await?;
    device.flush().await?;

    // What the snapshot froze stays, whatever is written afterwards.
    bench.driver.call("snapshot", json!({"name": "s", "of": "a"}))?;
    let frozen = content.clone();
    bench.write(&*device, &mut content, 1000, 2000).await?;
    bench.write(&*device, &mut content, GIB + 5000, 700).await?;
    device.flush().await?;
    bench.driver.call("from_snapshot", json!({"name": "b", "of": "s", "size": 2}))?;
    bench.driver.call("from_snapshot", json!({"name": "bigger", "of": "s", "size": 3}))?;
    bench.expect("b", &other, &frozen, 2).await?;
    bench.expect("bigger", &other, &frozen, 3).await?;
    let seen = connection_info(&bench.driver.call("connect_snapshot", other.ask("s"))?)?;
    let snapshot = other.connector.connect_volume(&seen).await?.device;
    compare("the snapshot itself", &*snapshot, &frozen, 2).await?;
    drop(snapshot);
    other.connector.disconnect_volume(&seen, false).await?;
    bench.driver.call("disconnect_snapshot", other.ask("s"))?;

    // A clone of a volume in use, byte for byte; then each goes its own way.
    bench.driver.call("clone", json!({"name": "c", "of": "a", "size": 2}))?;
    bench.driver.call("clone", json!({"name": "c3", "of": "a", "size": 3}))?;
    bench.expect("c3", &other, &content, 3).await?;
    let there = bench.connect("c", &other)?;
    let clone = other.connector.connect_volume(&there).await?.device;
    compare("the clone", &*clone, &content, 2).await?;
    let mut cloned = content.clone();
    bench.write(&*clone, &mut cloned, 0, 64).await?;
    bench.write(&*device, &mut content, 40, 64).await?;
    compare("the clone after writes to both", &*clone, &cloned, 2).await?;
    compare("the source after writes to both", &*device, &content, 2).await?;
    drop((device, clone));
    bench.detach("a", &one, &info).await?;
    bench.detach("c", &other, &there).await?;
    bench.expect("b", &one, &frozen, 2).await?;

    // Volumes moved and adopted keep their bytes.
    let moved = bench.driver.call("migrate", json!({"name": "c", "pool": "pool1"}))?;
    ensure!(moved == true, "the driver declined to migrate");
    bench.expect("c", &one, &cloned, 2).await?;
    ensure!(bench.driver.call("retype", json!({"name": "c"}))? == true, "the driver declined to retype");
    let size = bench.driver.call("adopt", json!({"name": "d", "of": "c", "pool": "pool1"}))?;
    ensure!(size == 2, "adopted with {size} GiB");
    bench.driver.call("extend", json!({"name": "d", "size": 3}))?;
    bench.expect("d", &one, &cloned, 3).await?;

    // A consistent copy of two volumes.
    bench.driver.call("group_copy", json!({"of": ["a", "d"], "names": ["ga", "gd"], "pool": "pool0"}))?;
    bench.expect("ga", &other, &content, 2).await?;
    bench.expect("gd", &other, &cloned, 3).await?;
    let gone = bench.driver.call("delete_group", json!({"names": ["ga", "gd"]}))?;
    ensure!(gone == json!(["deleted", "deleted"]), "a group deleted as {gone}");

    // Over two paths, over CHAP.
    let paths = bench.host("paths", true);
    let chap = bench.host("chap", false);
    ensure!(bench.connect("a", &paths)?.paths.len() == 2, "the port group has two portals");
    bench.expect("a", &paths, &content, 2).await?;
    ensure!(bench.connect("a", &chap)?.auth.is_some(), "no credentials for the host with CHAP");
    bench.expect("a", &chap, &content, 2).await?;

    // Sources go before their copies; the copies live.
    bench.driver.call("delete", json!({"name": "s"}))?;
    for name in ["a", "d", "c3"] {
        bench.driver.call("delete", json!({"name": name}))?;
    }
    bench.expect("b", &one, &frozen, 2).await?;
    bench.expect("bigger", &one, &frozen, 3).await?;
    for name in ["b", "bigger"] {
        bench.driver.call("delete", json!({"name": name}))?;
    }
    Ok(())
}

/// Masking: a host sees what the driver mapped to it, as long as it is mapped.
async fn who_sees_what(bench: &mut Bench) -> Checked {
    let (one, other, chap) = (bench.host("one", false), bench.host("two", false), bench.host("chap", false));
    for name in ["x", "y"] {
        bench.driver.call("create", json!({"name": name, "size": 1, "pool": "pool1"}))?;
    }
    let x = bench.connect("x", &one)?;
    ensure!(bench.connect("x", &one)? == x, "a second answer for one attachment differs");
    let y = bench.connect("y", &one)?;
    ensure!(x.paths[0].lun != y.paths[0].lun, "two volumes at LUN {}", x.paths[0].lun);
    let stranger = other.connector.connect_volume(&x).await;
    ensure!(stranger.is_err(), "a host to which nothing is mapped has {stranger:?}");
    let mine = bench.connect("y", &other)?;
    ensure!(
        other.connector.connect_volume(&mine).await.is_ok(),
        "what is mapped to the second host is not seen"
    );
    other.connector.disconnect_volume(&mine, false).await?;

    let secured = bench.connect("x", &chap)?;
    let mut wrong = secured.clone();
    wrong.auth = None;
    ensure!(
        chap.connector.connect_volume(&wrong).await.is_err(),
        "a host with CHAP gets in without its secret"
    );
    ensure!(chap.connector.connect_volume(&secured).await.is_ok(), "a host with CHAP does not get in");
    chap.connector.disconnect_volume(&secured, false).await?;

    // Terminated: the same host, the same info, no volume; the other volume stays.
    bench.driver.call("disconnect", one.ask("x"))?;
    let late = one.connector.connect_volume(&x).await;
    ensure!(late.is_err(), "after terminate_connection the host still has {late:?}");
    ensure!(one.connector.connect_volume(&y).await.is_ok(), "a disconnect took another volume with it");
    one.connector.disconnect_volume(&y, false).await?;
    bench.driver.call("disconnect", one.ask("x"))?;
    for (volume, who) in [("y", &one), ("y", &other), ("x", &chap)] {
        bench.driver.call("disconnect", who.ask(volume))?;
        ensure!(who.connector.census().is_empty(), "left on {}: {:?}", who.name, who.connector.census());
    }
    let unknown = json!({"name": "y", "host": "nobody", "initiator": initiator("nobody")});
    bench.driver.call("disconnect", unknown)?;
    let long = json!({"name": "y", "host": "a-host-whose-name-does-not-fit.into-31-characters.example.org", "initiator": initiator("long")});
    bench.driver.call("connect", long.clone())?;
    bench.driver.call("disconnect", long)?;
    for name in ["x", "y"] {
        bench.driver.call("delete", json!({"name": name}))?;
    }
    Ok(())
}

/// Policies of the array that a volume type can ask for.
async fn other_services(bench: &mut Bench) -> Checked {
    let one = bench.host("one", false);
    let limited =
        json!({"name": "q", "size": 1, "pool": "pool0", "qos_specs": {"IOType": "2", "maxIOPS": "2000"}});
    bench.driver.call("create", limited)?;
    let info = bench.connect("q", &one)?;
    let device = one.connector.connect_volume(&info).await?.device;
    let mut content = Content::default();
    bench.write(&*device, &mut content, 77, 8).await?;
    ensure!(device.read(77, 8).await? == content.read(77, 8), "a limited volume reads other bytes");
    drop(device);
    bench.detach("q", &one, &info).await?;
    bench.driver.call("delete", json!({"name": "q"}))?;

    // A mapped volume is deleted: its mapping goes with it, and the host's objects with the next detach.
    for name in ["m", "n"] {
        bench.driver.call("create", json!({"name": name, "size": 1, "pool": "pool0"}))?;
    }
    bench.connect("m", &one)?;
    bench.driver.call("delete", json!({"name": "m"}))?;
    bench.connect("n", &one)?;
    bench.driver.call("disconnect", one.ask("n"))?;
    bench.driver.call("delete", json!({"name": "n"}))?;
    Ok(())
}

/// Sessions that end and connections that break are the driver's to survive, and it does.
fn faults(bench: &mut Bench) -> Checked {
    bench.driver.call("control", json!({"path": "expire", "body": {}}))?;
    bench.driver.call("create", json!({"name": "e", "size": 1, "pool": "pool0"}))?;
    bench.driver.call("control", json!({"path": "expire", "body": {}}))?;
    bench.driver.call("delete", json!({"name": "e"}))?;
    let fault = json!({"path": "/lun$", "method": "POST", "drop": true, "count": 1});
    bench.driver.call("control", json!({"path": "fault", "body": fault}))?;
    bench.driver.call("create", json!({"name": "f", "size": 1, "pool": "pool0"}))?;
    bench.driver.call("delete", json!({"name": "f"}))?;
    let twice = bench.driver.attempt("extend", json!({"name": "f", "size": 2}))?;
    ensure!(twice.is_err(), "a volume that is gone was extended");
    Ok(())
}
