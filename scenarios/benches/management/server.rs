//! The array under measurement: a child process, and what the kernel says of it.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// Clock ticks a second of `/proc/PID/stat`; Linux has had this value on every architecture that we build for.
const TICKS: f64 = 100.0;

/// `sanbench array serve`, ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) password: String,
}

impl Server {
    /// Starts it on a free port with these options besides.
    pub(crate) fn start(options: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sanbench"))
            .args(["array", "serve", "--rest", "127.0.0.1:0", "--iscsi", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let ready: Value = serde_json::from_str(&line)?;
        let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        let address = text("rest")
            .trim_start_matches("http://")
            .split('/')
            .next()
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| io::Error::other("the ready line names no address"))?;
        Ok(Self { child, address, password: text("password") })
    }

    /// Processor time that it has used so far, in user and kernel.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name may have spaces; fields count from behind it: utime and stime are the 14th and 15th of all.
        let rest = stat.rsplit(')').next().unwrap_or_default();
        let ticks: f64 = rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
        Ok(Duration::from_secs_f64(ticks / TICKS))
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        self.status("VmRSS:")
    }

    /// Most resident memory so far in bytes.
    pub(crate) fn peak(&self) -> io::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let kib: u64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default();
        Ok(kib << 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
