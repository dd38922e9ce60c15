//! Foreign programs: which are there, and how they are run.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

/// What a test says when it fails.
pub(crate) type Checked = Result<(), Failed>;

/// Fails the test with a text when the condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+).into());
        }
    };
}
pub(crate) use ensure;

/// Where the foreign programs and files are.
pub(crate) struct Foreign {
    require: bool,
    /// Debian's bootable iPXE image.
    pub(crate) boot_image: Result<PathBuf, String>,
    /// `tgtd` and `tgtadm`.
    pub(crate) tgt: Result<(PathBuf, PathBuf), String>,
    /// The Python that has the foreign management clients.
    pub(crate) python: Result<PathBuf, String>,
    /// Unpacked packages; they go with the last test.
    _unpacked: Arc<TempDir>,
}

impl Foreign {
    /// Looks for everything; with `fetch`, packages that are not installed are downloaded into a temporary folder.
    pub(crate) fn look(fetch: bool) -> Self {
        let unpacked = Arc::new(tempfile::tempdir().unwrap());
        let package = |name: &str| unpack(name, unpacked.path(), fetch);
        let boot_image = match file("/usr/lib/ipxe/ipxe.iso") {
            Some(path) => Ok(path),
            None => package("ipxe").and_then(|root| {
                let path = root.join("usr/lib/ipxe/ipxe.iso");
                file(&path).ok_or_else(|| "package ipxe has no ipxe.iso".to_owned())
            }),
        };
        let tgt = match (find("tgtd"), find("tgtadm")) {
            (Some(daemon), Some(admin)) => Ok((daemon, admin)),
            _ => package("tgt").and_then(|root| {
                let (daemon, admin) = (root.join("usr/sbin/tgtd"), root.join("usr/sbin/tgtadm"));
                // Its libraries are not unpacked with it.
                match run(Command::new(&daemon).arg("--version"), 10) {
                    done if done.ok => Ok((daemon, admin)),
                    done => Err(format!("a tgtd that starts ({})", done.err.trim())),
                }
            }),
        };
        let require = std::env::var_os("SANBENCH_INTEROP").is_some_and(|v| v == "require");
        Self { require, boot_image, tgt, python: python(), _unpacked: unpacked }
    }

    /// A test that needs foreign programs, by name.
    pub(crate) fn trial(
        &self,
        name: &str,
        programs: &[&str],
        test: impl FnOnce() -> Checked + Send + 'static,
    ) -> Trial {
        self.trial_with(name, missing(programs), self.require, test)
    }

    /// A test whose missing thing is known; `required` makes its absence a failure.
    pub(crate) fn trial_with(
        &self,
        name: &str,
        missing: Option<String>,
        required: bool,
        test: impl FnOnce() -> Checked + Send + 'static,
    ) -> Trial {
        let keep = self._unpacked.clone();
        match missing {
            None => Trial::test(name, move || {
                let _keep = keep;
                test()
            }),
            Some(what) if required => Trial::test(name, move || Err(format!("{what} is missing").into())),
            Some(what) => Trial::test(name, || Ok(()))
                .with_kind(format!("ignored, because {what} is missing"))
                .with_ignored_flag(true),
        }
    }

    /// Whether a missing program is a failure.
    pub(crate) fn require(&self) -> bool {
        self.require
    }
}

/// The first program that is not there; `qemu-img+iscsi` is a `qemu-img` with its iSCSI driver.
pub(crate) fn missing(programs: &[&str]) -> Option<String> {
    programs.iter().find_map(|program| match *program {
        "qemu-img+iscsi" => {
            let Some(path) = find("qemu-img") else { return Some("qemu-img".to_owned()) };
            let help = run(Command::new(path).arg("--help"), 10).out;
            let formats = help.split("Supported").nth(1).unwrap_or_default();
            let has = formats.split_whitespace().any(|word| word == "iscsi");
            (!has).then(|| "the iSCSI driver of qemu-img (package qemu-block-extra)".to_owned())
        }
        name => find(name).is_none().then(|| name.to_owned()),
    })
}

/// A program in the search path or where Debian keeps daemons.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Packages of the foreign management clients, with the versions that the tests were written for.
const PYTHON_PACKAGES: &str = include_str!("clients/requirements.txt");

/// The Python whose environment holds exactly [`PYTHON_PACKAGES`]: `.ci/python-clients` makes it, once for all tests and
/// checkouts, and leaves a copy of the list in it.
fn python() -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let root = cache.unwrap_or_default().join("sanbench/python-clients");
    match std::fs::read_to_string(root.join("requirements.txt")) {
        Ok(list) if list == PYTHON_PACKAGES => Ok(root.join("bin/python")),
        Ok(_) => Err("the pinned version of the Python clients (bash .ci/python-clients)".to_owned()),
        Err(_) => Err("a Python with the foreign clients (bash .ci/python-clients)".to_owned()),
    }
}

fn file(path: impl AsRef<Path>) -> Option<PathBuf> {
    path.as_ref().is_file().then(|| path.as_ref().to_owned())
}

/// Downloads a Debian package and unpacks it below `dir`; nothing is installed. Answers its root, or what is missing.
fn unpack(package: &str, dir: &Path, fetch: bool) -> Result<PathBuf, String> {
    let why = |text: &str| format!("package {package} ({text})");
    if !fetch {
        return Err(why("not looked for"));
    }
    if find("apt-get").is_none() || find("dpkg").is_none() {
        return Err(why("no apt here to fetch it"));
    }
    let got = run(Command::new("apt-get").args(["download", "-q", package]).current_dir(dir), 60);
    let deb = std::fs::read_dir(dir)
        .unwrap()
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|path| {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            name.starts_with(&format!("{package}_")) && name.ends_with(".deb")
        })
        .ok_or_else(|| why(got.err.lines().last().unwrap_or("apt-get download failed")))?;
    let root = dir.join(package);
    let done = run(Command::new("dpkg").arg("-x").arg(&deb).arg(&root), 60);
    if done.ok { Ok(root) } else { Err(why("dpkg -x failed")) }
}

/// What a program left behind.
pub(crate) struct Done {
    /// Exit code 0.
    pub(crate) ok: bool,
    /// Exit code; `None` after a signal. 124 says that the time limit was over.
    pub(crate) code: Option<i32>,
    /// Its output as text (invalid UTF-8 replaced).
    pub(crate) out: String,
    /// Its messages.
    pub(crate) err: String,
}

impl Done {
    /// The output of a program that must succeed.
    pub(crate) fn good(self, what: &str) -> Result<String, Failed> {
        if self.ok {
            return Ok(self.out);
        }
        let end =
            |text: &str| text.chars().rev().take(2000).collect::<String>().chars().rev().collect::<String>();
        Err(format!("{what}: exit {:?}\n{}\n{}", self.code, end(&self.out), end(&self.err)).into())
    }
}

/// Runs a program for at most `seconds`.
pub(crate) fn run(command: &mut Command, seconds: u64) -> Done {
    let mut running = match Running::start(command, seconds, Stdio::piped(), Stdio::piped()) {
        Ok(running) => running,
        Err(e) => return Done { ok: false, code: None, out: String::new(), err: e },
    };
    let mut err = running.child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = err.read_to_end(&mut text);
        text
    });
    let mut out = Vec::new();
    let _ = running.child.stdout.take().unwrap().read_to_end(&mut out);
    let err = reader.join().unwrap_or_default();
    let code = running.child.wait().ok().and_then(|status| status.code());
    Done {
        ok: code == Some(0),
        code,
        out: String::from_utf8_lossy(&out).into_owned(),
        err: String::from_utf8_lossy(&err).into_owned(),
    }
}

/// A child process with its own children: `timeout` ends all of them after their time, and dropping this does so at once.
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Running {
    pub(crate) fn start(command: &mut Command, seconds: u64, out: Stdio, err: Stdio) -> Result<Self, String> {
        Self::start_asking(command, seconds, Stdio::null(), out, err)
    }

    /// A child that reads its standard input.
    pub(crate) fn start_asking(
        command: &mut Command,
        seconds: u64,
        input: Stdio,
        out: Stdio,
        err: Stdio,
    ) -> Result<Self, String> {
        let mut bounded = Command::new("timeout");
        bounded
            .args(["--kill-after=2", &seconds.to_string()])
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => bounded.env(key, value),
                None => bounded.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            bounded.current_dir(dir);
        }
        let child = bounded
            .stdin(input)
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|e| format!("timeout {:?}: {e}", command.get_program()))?;
        Ok(Self { child })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let group = format!("-{}", self.child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = self.child.wait();
        }
    }
}

/// Waits until `ready` answers something, for at most ten seconds.
pub(crate) fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> Result<T, Failed> {
    for _ in 0..200 {
        if let Some(answer) = ready() {
            return Ok(answer);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("{what} did not come within ten seconds").into())
}

/// Bytes with holes in them, the same for the same seed: runs of data and of nothing, of odd lengths.
pub(crate) fn holey(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = sanbench_world::dice(seed, "interop", "holey");
    let mut bytes = vec![0; length];
    let mut at = 0;
    while at < length {
        let run = dice.range(1..300_000) as usize;
        let end = (at + run).min(length);
        if dice.chance(1, 2) {
            dice.fill(&mut bytes[at..end]);
        }
        at = end;
    }
    bytes
}

/// Where two byte strings first differ, for people.
pub(crate) fn difference(a: &[u8], b: &[u8]) -> Option<String> {
    if a.len() != b.len() {
        return Some(format!("{} bytes beside {}", a.len(), b.len()));
    }
    let at = a.iter().zip(b).position(|(a, b)| a != b)?;
    Some(format!("byte {at} is {:#04x} beside {:#04x}", a[at], b[at]))
}
