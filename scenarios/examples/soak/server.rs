//! The server as a process that can be killed at any moment and started again on the same addresses.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

pub const USER: &str = "admin";
pub const PASSWORD: &str = "Admin@soak1";

pub struct Server {
    program: PathBuf,
    data: PathBuf,
    exports: u64,
    pub rest: SocketAddr,
    pub portal: SocketAddr,
    child: Option<Child>,
    /// The last ready line.
    pub ready: Value,
}

/// An address that is free now. Somebody may take it before we do; then the start fails.
fn free() -> Result<SocketAddr, String> {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(|e| e.to_string())
}

impl Server {
    pub fn start(program: &Path, data: &Path, exports: u64) -> Result<Server, String> {
        let mut server = Server {
            program: program.to_owned(),
            data: data.to_owned(),
            exports,
            rest: free()?,
            portal: free()?,
            child: None,
            ready: Value::Null,
        };
        server.up()?;
        Ok(server)
    }

    /// Starts the process and waits until it is ready.
    pub fn up(&mut self) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        command.args(["array", "serve", "--control", "--user", USER, "--password", PASSWORD]);
        command.arg("--rest").arg(self.rest.to_string()).arg("--iscsi").arg(self.portal.to_string());
        command.arg("--data").arg(&self.data);
        for n in 0..self.exports {
            command.arg("--export").arg(format!("d{n}=64MiB"));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", self.program.display()))?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or("no stdout")?;
        let read = BufReader::new(out).read_line(&mut line);
        self.child = Some(child);
        let ready: Value = read
            .ok()
            .and_then(|_| serde_json::from_str(&line).ok())
            .ok_or_else(|| format!("the server did not become ready: {line:?}"))?;
        for key in ["target_iqn", "exports", "pools", "portals"] {
            if !self.ready.is_null() && self.ready[key] != ready[key] {
                return Err(format!("{key} was {}, and is {} behind a restart", self.ready[key], ready[key]));
            }
        }
        self.ready = ready;
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended by itself shows in the next start.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// LUN number of an export.
    pub fn lun(&self, n: u64) -> Result<u16, String> {
        let url = self.ready["exports"][n as usize]["url"].as_str().ok_or("no export")?;
        url.rsplit('/').next().and_then(|lun| lun.parse().ok()).ok_or_else(|| format!("no LUN in {url}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
