//! What every test of the command needs: the real binary in a temporary folder of its own, bounded in time.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its own part of this module")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

pub mod array;
pub mod images;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The command under test.
pub const SANBENCH: &str = env!("CARGO_BIN_EXE_sanbench");

/// Longest that one call of the command may take; a test that needs longer is a failure.
const LIMIT: Duration = Duration::from_secs(120);

/// What a finished call left behind.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// The lines of stdout as JSON.
    pub fn events(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.out, self.err)
    }
}

/// A folder of its own for one test: working directory, home and state of every call made through it.
pub struct Bench {
    dir: tempfile::TempDir,
    outside: tempfile::TempDir,
}

impl Bench {
    /// An empty one.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), outside: tempfile::tempdir().unwrap() }
    }

    /// The working directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file into the working directory; answers its name.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The command with these words, in this folder, with nothing inherited that changes what it does.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(SANBENCH);
        command.args(words).current_dir(self.dir.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let ours = name.to_str().is_some_and(|n| {
                n.starts_with("SANBENCH_") || n.starts_with("CLICOLOR") || n == "NO_COLOR" || n == "COLUMNS"
            });
            if ours {
                command.env_remove(name);
            }
        }
        // Whatever it leaves in its home, its state or its temporary files lies under this folder.
        let outside = self.outside.path();
        command.env("HOME", outside).env("XDG_STATE_HOME", outside.join("state")).env("TMPDIR", outside);
        command
    }

    /// Runs the command with these words to its end.
    pub fn run(&self, words: &[&str]) -> Ran {
        finish(self.command(words), LIMIT)
    }

    /// Everything that exists in the working directory, home and temporary files, as sorted relative paths.
    pub fn everything(&self) -> Vec<String> {
        let mut all = listing(self.dir.path());
        all.extend(listing(self.outside.path()).into_iter().map(|p| format!("~/{p}")));
        all
    }

    /// Text with the names of this test's folders replaced.
    pub fn redact(&self, text: &str) -> String {
        let dirs = [(self.dir.path(), "[dir]"), (self.outside.path(), "[home]")];
        dirs.iter().fold(text.to_owned(), |text, (dir, word)| text.replace(&dir.display().to_string(), word))
    }
}

/// Relative paths of all files and folders below one, sorted.
pub fn listing(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path.clone());
            }
            found.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
    found.sort();
    found
}

/// Runs a command to its end; kills it and fails when it takes longer than `limit`.
pub fn finish(mut command: Command, limit: Duration) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let (out, err) = (dir.path().join("out"), dir.path().join("err"));
    command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let mut process = Process(command.spawn().unwrap());
    let code = process.wait(limit);
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    let ran = Ran { code: code.unwrap_or(-1), out: read(&out), err: read(&err) };
    assert!(code.is_some(), "{command:?} did not end within {limit:?}\n{ran}");
    ran
}

/// A child process that never outlives its test.
pub struct Process(pub Child);

impl Process {
    /// Waits for the end; `None` when it takes longer.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let mut code = None;
        wait_until(limit, || {
            code = self.0.try_wait().unwrap().map(|status| status.code().unwrap_or(-1));
            code.is_some()
        });
        code
    }

    /// Sends a signal by name, such as `INT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", "kill -s $0 $1", name, &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success(), "signal {name} could not be sent");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks again every few milliseconds until it is so; false when the limit is over.
#[expect(clippy::disallowed_methods, reason = "waits for a process of its own on the wall clock")]
pub fn wait_until(limit: Duration, mut so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if so() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A JSON file.
pub fn json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Ids of requirements with that verdict in a report.
pub fn requirements(report: &Value, verdict: &str) -> Vec<String> {
    let list = report["requirements"].as_array().unwrap();
    list.iter().filter(|r| r["verdict"] == verdict).map(|r| r["id"].as_str().unwrap().to_owned()).collect()
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Appends to a file.
pub fn append(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}
