//! How fast an image becomes a volume: `cargo bench -p sanbench --bench image_write`.
//!
//! The image is a qcow2 file of 2 GiB with 600 MiB of random data in extents of 64 KiB to 2 MiB, kept in memory. "Image
//! write" is the whole flow: schedule, create through the driver, map, log in, write what is allocated, flush, detach. The
//! array and its target run in this process, over loopback TCP. Beside it, in the same run: `qemu-img convert` to a raw file
//! in memory, and to an iSCSI LUN of at least 2 GiB when `SANBENCH_PEER_URL` names one (tgt, for example). Prints a table,
//! decides nothing: machines differ.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;

use sanbench_api::{ImageId, VolumeDriver};
use sanbench_array::{Array, ArrayConfig, ArrayHandle, PoolConfig, PortalConfig};
use sanbench_flows::image::{Format, ImageStore};
use sanbench_flows::{Backend, ControlPlane, Converter, CreateRequest, FlowsConfig, Source};
use sanbench_initiator::{HostConfig, HostConnector};
use sanbench_rest::RestConfig;
use sanbench_target::TargetConfig;
use sanbench_tengling::{TenglingConfig, TenglingDriver};
use sanbench_world::{LiveConfig, LiveWorld, dice};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MIB: u64 = 1 << 20;
const VIRTUAL: u64 = 2048 * MIB;
const ALLOCATED: u64 = 600 * MIB;
const GRANULE: u64 = 64 << 10;
/// Measurements of each kind, taken in turn; the median is told.
const ROUNDS: usize = 5;

type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Fallible<()> {
    if !Command::new("qemu-img").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success()) {
        return Err("qemu-img is missing: it makes the image and is the peer (Debian: qemu-utils)".into());
    }
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let image = dir.path().join("image.qcow2");
    make_image(dir.path(), &image)?;
    let peer = std::env::var("SANBENCH_PEER_URL").ok();
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let bench = Bench::start(dir.path(), &image)?;
    for round in 0..=ROUNDS {
        let local = dir.path().join("local.raw");
        let _ = std::fs::remove_file(&local);
        let mut rows = vec![
            (
                "0 qemu-img convert to a raw file in memory",
                convert(&[], &image, &local.display().to_string())?,
            ),
            ("1 image write, in-process reader", bench.write(Converter::WhenNeeded)?),
            (
                "2 image write, staged by qemu-img (the default where there is one)",
                bench.write(Converter::WhenPresent)?,
            ),
        ];
        if let Some(url) = &peer {
            let best = [&["-n", "--target-is-zero"][..], &["-n", "--target-is-zero", "-W", "-m", "8"]]
                .into_iter()
                .map(|options| convert(options, &image, url))
                .collect::<Fallible<Vec<f64>>>()?;
            rows.push((
                "3 qemu-img convert into the peer, best of two modes",
                best.into_iter().fold(f64::MAX, f64::min),
            ));
        }
        // The first round touches memory and fills caches.
        if round > 0 {
            rows.into_iter().for_each(|(name, seconds)| times.entry(name).or_default().push(seconds));
        }
    }
    let medians: Vec<(&str, f64)> = times
        .into_iter()
        .map(|(name, mut seconds)| {
            seconds.sort_by(f64::total_cmp);
            (name, seconds[seconds.len() / 2])
        })
        .collect();
    let local = medians.first().map_or(f64::NAN, |(_, seconds)| *seconds);
    println!("{:<70} {:>8} {:>8} {:>9}", "2 GiB virtual, 600 MiB allocated", "seconds", "MB/s", "x local");
    for (name, seconds) in medians {
        let rate = ALLOCATED as f64 / seconds / 1e6;
        println!("{:<70} {seconds:>8.3} {rate:>8.0} {:>9.2}", &name[2..], seconds / local);
    }
    if peer.is_none() {
        println!(
            "no peer: set SANBENCH_PEER_URL=iscsi://HOST:PORT/IQN/LUN to convert into another target as well"
        );
    }
    Ok(())
}

/// Random extents of random lengths; the same for ever.
fn make_image(dir: &Path, image: &Path) -> Fallible<()> {
    let raw = dir.join("image.raw");
    let file = File::create(&raw)?;
    file.set_len(VIRTUAL)?;
    let (mut places, mut content) = (dice(7, "image", "places"), dice(7, "image", "content"));
    let mut used = vec![false; (VIRTUAL / GRANULE) as usize];
    let mut left = ALLOCATED / GRANULE;
    let mut granule = vec![0; GRANULE as usize];
    while left > 0 {
        let run = places.range(1..33).min(left);
        let start = places.below(used.len() as u64 - run);
        for at in start..start + run {
            if !std::mem::replace(&mut used[at as usize], true) {
                content.fill(&mut granule);
                file.write_all_at(&granule, at * GRANULE)?;
                left -= 1;
            }
        }
    }
    let status = Command::new("qemu-img").args(["convert", "-O", "qcow2"]).arg(&raw).arg(image).status()?;
    std::fs::remove_file(&raw)?;
    if status.success() { Ok(()) } else { Err("qemu-img cannot make the image".into()) }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the wall clock")]
fn convert(options: &[&str], image: &Path, to: &str) -> Fallible<f64> {
    let begun = Instant::now();
    let status = Command::new("qemu-img")
        .args(["convert", "-f", "qcow2", "-O", "raw"])
        .args(options)
        .arg(image)
        .arg(to)
        .status()?;
    if !status.success() {
        return Err(format!("qemu-img cannot convert to {to}").into());
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// An array, a driver and a connector over loopback.
struct Bench {
    runtime: tokio::runtime::Runtime,
    world: LiveWorld,
    image: std::path::PathBuf,
    rest: SocketAddr,
}

impl Bench {
    fn start(dir: &Path, image: &Path) -> Fallible<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let _inside = runtime.enter();
        let world = LiveWorld::new(LiveConfig {
            seed: 1,
            trace: false,
            state_dir: dir.join("state"),
            faults: Default::default(),
            capture: false,
        })?;
        let env = world.node("array", &[LOCALHOST]);
        let any = SocketAddr::new(LOCALHOST, 0);
        let rest = runtime.block_on(async {
            let (rest, portal) = (env.listen(any).await?, env.listen(any).await?);
            let address = rest.local_addr();
            let config = ArrayConfig {
                pools: vec![PoolConfig::new("pool0", 64 << 21)],
                portals: vec![PortalConfig {
                    address: portal.local_addr(),
                    port_no: 20200,
                    tpgt: 1,
                    controller: 0,
                }],
                ..ArrayConfig::default()
            };
            let array = ArrayHandle::new(Array::new(config));
            env.spawn(sanbench_rest::serve(env.clone(), array.clone(), rest, RestConfig::default()));
            env.spawn(sanbench_target::serve(env.clone(), array, vec![portal], TargetConfig::default()));
            std::io::Result::Ok(address)
        })?;
        Ok(Self { world, image: image.to_owned(), rest, runtime })
    }

    /// One volume from the image, from the request until it is available; it is deleted afterwards.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures the wall clock")]
    fn write(&self, converter: Converter) -> Fallible<f64> {
        self.runtime.block_on(async {
            let account = RestConfig::default();
            let options = BTreeMap::from(
                [
                    ("tengling_sanip", format!("http://{}/deviceManager/rest/", self.rest)),
                    ("tengling_username", account.user),
                    ("tengling_password", account.password),
                    ("tengling_storagepool", "pool0".to_owned()),
                ]
                .map(|(key, value)| (key.to_owned(), value)),
            );
            let env = self.world.node("control", &[LOCALHOST]);
            let (config, _) = TenglingConfig::from_options(&options)?;
            let driver: Arc<dyn VolumeDriver> = Arc::new(TenglingDriver::new(env.clone(), config));
            let host = HostConfig::new("bench", "iqn.2026-11.org.sanbench:bench", LOCALHOST);
            let connector = Arc::new(HostConnector::new(env.clone(), host));
            let images = ImageStore::new();
            let id = ImageId::from_random([7; 16]);
            images.add_file(id, "image", Format::Qcow2, self.image.clone());
            let plane = ControlPlane::new(
                env,
                vec![Backend::new("control@bench", driver)],
                connector,
                BTreeMap::new(),
                images,
                FlowsConfig { converter, ..FlowsConfig::default() },
            )?;
            plane.start().await?;
            let request = CreateRequest::raw("image", 2).from_source(Source::Image(id));
            let begun = Instant::now();
            let volume = plane.create_volume(request).await?;
            let seconds = begun.elapsed().as_secs_f64();
            let status = plane.volume(volume)?.map(|v| v.status);
            if status != Some(sanbench_flows::VolumeStatus::Available) {
                return Err(format!("the volume is {status:?}").into());
            }
            plane.delete_volume(volume).await?;
            plane.stop().await?;
            Ok(seconds)
        })
    }
}
