//! `sanbench doctor`: what this machine can run, what is missing, how to get it.

use std::path::{Path, PathBuf};

use crate::cli::DoctorArgs;

/// A foreign tool that some part uses.
struct Tool {
    program: &'static str,
    argument: &'static str,
    used_for: &'static str,
    package: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        program: "qemu-img",
        argument: "--version",
        used_for: "image conversion in loopback and with profiles; image interop tests",
        package: "qemu-utils, and qemu-block-extra of the same version for iscsi:// URLs",
    },
    Tool {
        program: "iscsi-ls",
        argument: "--help",
        used_for: "interop tests with a foreign initiator",
        package: "libiscsi-bin",
    },
    Tool {
        program: "tshark",
        argument: "--version",
        used_for: "dissecting captures in tests",
        package: "tshark",
    },
    Tool {
        program: "python3",
        argument: "--version",
        used_for: "interop tests with foreign management clients, which .ci/python-clients installs",
        package: "python3-pip",
    },
];

/// What was found, as text, and whether everything needed to run is there.
pub(super) fn doctor(args: &DoctorArgs) -> (String, bool) {
    let mut out = String::from("sanbench doctor\n\n");
    let mut ok = true;
    out += "  environments\n";
    out += "    sim        ready: needs nothing but this program\n";
    match std::net::TcpListener::bind(("127.0.0.1", 0)) {
        Ok(_) => out += "    loopback   ready: 127.0.0.1 can be listened on\n",
        Err(e) => {
            ok = false;
            out += &format!("    loopback   NOT READY: cannot listen on 127.0.0.1: {e}\n");
        }
    }
    let state = args.state.clone().unwrap_or_else(super::state_dir);
    match writable(&state) {
        Ok(()) => out += &format!("    profiles   ready: journals go to {}\n", state.display()),
        Err(e) => {
            ok = false;
            out += &format!(
                "    profiles   NOT READY: {}: {e}\n               = give another folder with --state\n",
                state.display()
            );
        }
    }
    out += "\n  foreign tools (none is needed to run; interop tests report their absence)\n";
    for tool in TOOLS {
        match version(tool) {
            Some(line) => out += &format!("    {:<10} {line}\n", tool.program),
            None => {
                out += &format!(
                    "    {:<10} missing; used for {}\n               = Debian package {}\n",
                    tool.program, tool.used_for, tool.package
                );
            }
        }
    }
    (out, ok)
}

fn version(tool: &Tool) -> Option<String> {
    let output = std::process::Command::new(tool.program)
        .arg(tool.argument)
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Tools that know no version option answer their usage.
    let line = text
        .lines()
        .find(|l| l.contains(|c: char| c.is_ascii_digit()) && !l.contains("sage"))
        .unwrap_or("found");
    Some(line.chars().filter(|c| !c.is_control()).take(100).collect())
}

fn writable(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let probe: PathBuf = dir.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&probe, b"probe")?;
    std::fs::remove_file(probe)
}
