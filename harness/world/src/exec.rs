//! Child processes, bounded in time and output. Live only: nothing foreign runs inside the simulation.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What to run. Arguments go to the program as they are; no shell is involved. Standard input is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Program name, looked up in `PATH`, or a path.
    pub program: String,
    /// Arguments.
    pub args: Vec<OsString>,
    /// The child is killed when it runs longer.
    pub timeout: Duration,
    /// Bytes accepted from each of standard output and standard error; more is an error and kills the child.
    pub max_output: usize,
}

impl Command {
    /// A command without arguments: one minute, one MiB.
    pub fn new(program: impl Into<String>) -> Command {
        Command {
            program: program.into(),
            args: Vec::new(),
            timeout: Duration::from_secs(60),
            max_output: 1 << 20,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Command {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Command {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets the time limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Command {
        self.timeout = timeout;
        self
    }

    /// Sets the bound on output, bytes for each of the two pipes.
    #[must_use]
    pub fn max_output(mut self, bytes: usize) -> Command {
        self.max_output = bytes;
        self
    }
}

/// What a child left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit status; the negative signal number when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// Why a command has no output.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The simulation runs no foreign programs.
    #[error("no child process may run inside the simulation")]
    NotInSim,
    /// It could not be started; `NotFound` when the program is not installed.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The time limit passed; the child was killed.
    #[error("{program} did not end within {limit:?}")]
    TimedOut {
        /// The program.
        program: String,
        /// The limit that passed.
        limit: Duration,
    },
    /// It wrote more than allowed; the child was killed.
    #[error("{program} wrote more than {limit} bytes")]
    TooMuchOutput {
        /// The program.
        program: String,
        /// Bytes allowed for each pipe.
        limit: usize,
    },
    /// Reading its output or its status failed.
    #[error("lost contact with {program}: {source}")]
    Io {
        /// The program.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
}

enum Trouble {
    TooMuch,
    Io(io::Error),
}

#[expect(clippy::disallowed_methods, reason = "the time limit of a real process is real time")]
pub(crate) async fn run(command: Command) -> Result<Output, ExecError> {
    let Command { program, args, timeout, max_output } = command;
    let mut child = tokio::process::Command::new(&program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ExecError::Start { program: program.clone(), source })?;
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let work = async {
        // A child that wrote too much is killed at once, whatever its other pipe does.
        let (stdout, stderr) = tokio::try_join!(drain(stdout, max_output), drain(stderr, max_output))?;
        let status = child.wait().await.map_err(Trouble::Io)?;
        Ok((status, stdout, stderr))
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(Ok((status, stdout, stderr))) => Ok(Output { status: code(status), stdout, stderr }),
        Ok(Err(Trouble::TooMuch)) => Err(ExecError::TooMuchOutput { program, limit: max_output }),
        Ok(Err(Trouble::Io(source))) => Err(ExecError::Io { program, source }),
        Err(_) => Err(ExecError::TimedOut { program, limit: timeout }),
    }
}

async fn drain(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        pipe.take(bound).read_to_end(&mut bytes).await.map_err(Trouble::Io)?;
    }
    if bytes.len() > limit { Err(Trouble::TooMuch) } else { Ok(bytes) }
}

#[cfg(unix)]
fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap_or(-1)
}

#[cfg(not(unix))]
fn code(status: std::process::ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}
