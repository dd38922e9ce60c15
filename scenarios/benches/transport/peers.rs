//! Other programs that are measured beside us when they are installed, and the clocks that measure them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::raw::Url;

/// Seconds of real time since the first call.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn clock() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Sleeps for real.
#[expect(clippy::disallowed_methods, reason = "a benchmark waits in real time")]
pub(crate) fn pause(seconds: f64) {
    std::thread::sleep(Duration::from_secs_f64(seconds));
}

/// Processor seconds (user and system, in ticks of 10 ms) that a process has used so far; zero when the system does not tell.
/// One clock for everybody: of children that have ended nothing finer is told.
pub(crate) fn processor(pid: u32) -> f64 {
    ticks(&pid.to_string(), [11, 12])
}

/// The same of the children of this process that have ended.
pub(crate) fn ended_children() -> f64 {
    ticks("self", [13, 14])
}

/// Two fields of a process's `stat`, counted from the one after the name.
fn ticks(process: &str, fields: [usize; 2]) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let all: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    fields.iter().filter_map(|at| all.get(*at)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Resident memory of a process, bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// A program by name in the search path, or by path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// A command that stays on one processor, when `taskset` is there and the machine has more than one.
pub(crate) fn pinned(cpu: usize, program: &Path) -> Command {
    let several = std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
    match find("taskset").filter(|_| several) {
        Some(taskset) => {
            let mut command = Command::new(taskset);
            command.arg("-c").arg(cpu.to_string()).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// A target in a process of its own. It ends with this value.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    child: Child,
    pub(crate) url: Url,
    image: Option<PathBuf>,
}

impl Target {
    pub(crate) fn new(name: &'static str, child: Child, url: Url) -> Target {
        Target { name, child, url, image: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(image) = &self.image {
            let _ = fs::remove_file(image);
        }
    }
}

/// Starts tgt with one LUN in a file in memory. `Err` says why there is none.
pub(crate) fn tgt(mebibytes: u64) -> Result<Target, String> {
    const IQN: &str = "iqn.2020-01.example.bench:tgt";
    let program = std::env::var("SANBENCH_TGTD").unwrap_or_else(|_| "tgtd".to_owned());
    let tgtd = find(&program).ok_or("tgtd is not installed (or name it in SANBENCH_TGTD)")?;
    let beside = tgtd.with_file_name("tgtadm");
    let tgtadm =
        find(&beside.to_string_lossy()).or_else(|| find("tgtadm")).ok_or("tgtadm is not installed")?;
    let fail = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
    let folder = if Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
    let image = folder.join(format!("sanbench-tgt-{}.img", std::process::id()));
    // Real pages behind every block, as an array in use has them.
    fs::write(&image, vec![0x5a; (mebibytes << 20) as usize]).map_err(fail("the image file"))?;
    let port = free_port().map_err(fail("a port"))?;
    // Its control port is a small number.
    let control = (port % 30_000 + 1).to_string();
    let child = pinned(0, &tgtd)
        .args(["-f", "-C", &control, "--iscsi", &format!("portal=127.0.0.1:{port}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(fail("tgtd"))?;
    let address = ([127, 0, 0, 1], port).into();
    let url = Url { address, iqn: IQN.to_owned(), lun: 1 };
    let target = Target { name: "tgt", child, url, image: Some(image.clone()) };
    let admin = |arguments: &[&str]| {
        let mut command = Command::new(&tgtadm);
        command.args(["-C", &control, "--lld", "iscsi"]).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    let up = (0..50).any(|_| {
        admin(&["--mode", "sys", "--op", "show"]) || {
            pause(0.1);
            false
        }
    });
    let image = image.to_string_lossy();
    let ready = up
        && admin(&["--mode", "target", "--op", "new", "--tid", "1", "-T", IQN])
        && admin(&["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "-b", &image])
        && admin(&["--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL"]);
    if ready { Ok(target) } else { Err("tgtd does not serve (it needs root)".to_owned()) }
}

/// A port of 127.0.0.1 that nobody used a moment ago; tgtd cannot pick one itself.
fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// `iscsi-perf` of libiscsi, random 4 KiB reads: commands a second and its own processor seconds per million.
pub(crate) fn libiscsi(url: &Url, depth: usize) -> Result<(f64, f64), String> {
    let perf = find("iscsi-perf").ok_or("iscsi-perf of libiscsi is not installed")?;
    let before = ended_children();
    let (blocks, depth) = ("8", depth.to_string());
    let out = pinned(1, &perf)
        .args(["-b", blocks, "-m", &depth, "-r", "-t", "2", &url.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("iscsi-perf: {e}"))?;
    let spent = ended_children() - before;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let rate = average(&text).ok_or_else(|| format!("iscsi-perf says nothing to be understood: {text}"))?;
    Ok((rate, spent / (rate * 2.0) * 1e6))
}

/// The last "iops average N" of its output.
fn average(text: &str) -> Option<f64> {
    let at = text.rfind("iops average")?;
    text[at + "iops average".len()..].split_whitespace().next()?.parse().ok()
}
