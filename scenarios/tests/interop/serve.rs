//! `sanbench` as a process of its own: one run, or an array that serves.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::Value;

use super::tools::{Done, Running, run};

/// The command under test, without settings from outside.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sanbench"));
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("SANBENCH_ARRAY_") {
            command.env_remove(key);
        }
    }
    command
}

/// `sanbench ...` in a folder.
pub(crate) fn sanbench(dir: &Path, args: &[&str]) -> Done {
    run(command().args(args).current_dir(dir).env("XDG_STATE_HOME", dir.join("state")), 300)
}

/// A served array.
pub(crate) struct Serve {
    _process: Running,
    ready: Value,
}

impl Serve {
    /// Serves on free ports with two portals.
    pub(crate) fn start(more: &[&str]) -> Result<Self, Failed> {
        Self::start_at(&["127.0.0.1:0", "127.0.0.1:0"], more)
    }

    /// Serves with these portals.
    pub(crate) fn start_at(portals: &[&str], more: &[&str]) -> Result<Self, Failed> {
        let mut serve = command();
        serve.args(["array", "serve", "--rest", "127.0.0.1:0"]).args(more);
        for portal in portals {
            serve.args(["--iscsi", portal]);
        }
        let mut process = Running::start(&mut serve, 300, Stdio::piped(), Stdio::null())?;
        let stdout = process.child.stdout.take().ok_or("no stdout")?;
        let (send, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut first = String::new();
            let _ = BufReader::new(stdout).read_line(&mut first);
            let _ = send.send(first);
        });
        let line =
            line.recv_timeout(Duration::from_secs(20)).map_err(|_| "array serve did not become ready")?;
        let ready = serde_json::from_str(&line).map_err(|e| format!("ready line {line:?}: {e}"))?;
        Ok(Self { _process: process, ready })
    }

    fn text(&self, pointer: &str) -> String {
        self.ready.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Management URL.
    pub(crate) fn rest(&self) -> String {
        self.text("/rest")
    }

    /// Management password.
    pub(crate) fn password(&self) -> String {
        self.text("/password")
    }

    /// Portals as `address:port`.
    pub(crate) fn portals(&self) -> Vec<String> {
        let list = self.ready["portals"].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|p| p.as_str().map(str::to_owned)).collect()
    }

    /// Name of the target.
    pub(crate) fn target(&self) -> String {
        self.text("/target_iqn")
    }

    /// URL of the first export.
    pub(crate) fn export(&self) -> String {
        self.text("/exports/0/url")
    }

    /// Back-end section that reaches this array, as option and value.
    pub(crate) fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("volume_backend_name", "served".to_owned()),
            ("tengling_sanip", self.rest()),
            ("tengling_username", "admin".to_owned()),
            ("tengling_password", self.password()),
            ("tengling_storagepool", "pool0;pool1".to_owned()),
        ]
    }
}
