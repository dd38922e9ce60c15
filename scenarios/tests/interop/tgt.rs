//! Our initiator at somebody else's target: Debian's `tgt`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::{Failed, Trial};
use sanbench_api::{ChapAuth, ConnectionInfo, Connector, Secret};
use sanbench_initiator::SessionConfig;
use sanbench_initiator::chap::ChapHash;
use sanbench_protocol::{CHAPTERS, Case, Host, Lab, Setup, Verdict, run_case};

use super::captures::{open_lun, solicited_with_digests};
use super::live::{HERE, block_on, host, world};
use super::tools::{Checked, Foreign, Running, difference, ensure, holey, run, wait_for};

const IQN: &str = "iqn.2026-11.org.example:tgt";
const SIZE: u64 = 64 << 20;

pub(crate) fn trials(foreign: &Foreign, all: &mut Vec<Trial>) {
    let (daemon, admin) = foreign.tgt.clone().unwrap_or_default();
    let mut add = |name: &str, test: fn(&Target) -> Checked| {
        let (daemon, admin) = (daemon.clone(), admin.clone());
        let missing = foreign.tgt.clone().err();
        // tgt is not among the tools that every change needs: where apt cannot fetch it, nothing fails.
        all.push(foreign.trial_with(name, missing, false, move || {
            let dir = tempfile::tempdir()?;
            let target = Target::start(&daemon, &admin, dir.path())?;
            test(&target).map_err(|e| {
                let log = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
                format!("{}\n{log}", e.message().unwrap_or_default()).into()
            })
        }));
    };
    add("tgt::read_write_verify", |target| exercise(target, SessionConfig::default()));
    add("tgt::with_digests_and_solicited_data", |target| {
        // tgt offers digests only when told to.
        for key in ["HeaderDigest", "DataDigest"] {
            target.admin(&[
                "--mode", "target", "--op", "update", "--tid", "1", "--name", key, "--value", "CRC32C",
            ])?;
        }
        // tgt sends all Data-In of a command as one sequence, whatever MaxBurstLength says (RFC 7143 section 13.13); our
        // initiator drops a connection that does so. With a burst as long as its longest read both can live.
        exercise(target, SessionConfig { max_burst: 256 << 10, ..solicited_with_digests() })
    });
    add("tgt::chap", chap);
    let missing = foreign.tgt.clone().err();
    all.push(
        foreign.trial_with("tgt::protocol_cases", missing, false, move || protocol_cases(&daemon, &admin)),
    );
}

/// A running `tgtd` with one LUN.
struct Target {
    _daemon: Running,
    admin: PathBuf,
    dir: PathBuf,
    portal: String,
}

impl Target {
    fn start(daemon: &Path, admin: &Path, dir: &Path) -> Result<Self, Failed> {
        std::fs::File::create(dir.join("disk"))?.set_len(SIZE)?;
        let mut last = Failed::without_message();
        // Between choosing a free port and using it somebody else may take it.
        for _ in 0..3 {
            let portal = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
            let mut tgtd = Command::new(daemon);
            tgtd.args(["-f", "--iscsi", &format!("portal={portal}")]).env("TGT_IPC_SOCKET", dir.join("s"));
            let log = std::fs::File::create(dir.join("log"))?;
            let daemon = Running::start(&mut tgtd, 120, log.try_clone()?.into(), log.into())?;
            let target = Self { _daemon: daemon, admin: admin.to_owned(), dir: dir.to_owned(), portal };
            match target.set_up() {
                Ok(()) => return Ok(target),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn set_up(&self) -> Checked {
        let show = ["--mode", "sys", "--op", "show"];
        wait_for("tgtd", || self.admin(&show).ok())?;
        let disk = self.dir.join("disk");
        self.admin(&["--mode", "target", "--op", "new", "--tid", "1", "--targetname", IQN])?;
        let lun = ["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "--backing-store"];
        self.admin(&[&lun[..], &[&disk.to_string_lossy()]].concat())?;
        self.admin(&["--mode", "target", "--op", "bind", "--tid", "1", "--initiator-address", "ALL"])?;
        let listening = || std::net::TcpStream::connect(&self.portal).ok();
        wait_for("the portal of tgtd", listening).map(drop)
    }

    fn admin(&self, args: &[&str]) -> Result<String, Failed> {
        let mut tgtadm = Command::new(&self.admin);
        tgtadm.args(["--lld", "iscsi"]).args(args).env("TGT_IPC_SOCKET", self.dir.join("s"));
        run(&mut tgtadm, 10).good(&format!("tgtadm {args:?}"))
    }

    fn info(&self) -> Result<ConnectionInfo, Failed> {
        open_lun(&self.portal, IQN, 1)
    }
}

/// Cases that tgt does not pass, one a line with the reason; a line that no longer fails has to go.
const DIFFERENCES: &str = include_str!("tgt-differences.txt");

/// Our protocol cases against tgt: everything passes but what the reviewed list names. Some cases end tgtd; it is then
/// started anew for the next one.
fn protocol_cases(daemon: &Path, admin: &Path) -> Checked {
    let known: BTreeMap<&str, &str> = DIFFERENCES
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty())
        .filter_map(|l| l.split_once(' '))
        .collect();
    let dir = tempfile::tempdir()?;
    let mut target = Target::start(daemon, admin, dir.path())?;
    let mut wrong = Vec::new();
    let cases: Vec<&'static Case> = CHAPTERS.iter().filter(|c| !c.chap).flat_map(|c| c.cases).collect();
    for case in &cases {
        if std::net::TcpStream::connect(&target.portal).is_err() {
            target = Target::start(daemon, admin, dir.path())?;
        }
        let verdict = block_on(one_case(&target, case))?;
        match (verdict, known.get(case.name)) {
            (Verdict::Failed(_) | Verdict::Unknown(_), Some(_)) => {}
            (Verdict::Passed | Verdict::NotApplicable(_), None) => {}
            (Verdict::Failed(failures), None) => {
                let first = failures.first().map(ToString::to_string).unwrap_or_default();
                wrong.push(format!("{} fails: {first}", case.name));
            }
            (Verdict::Unknown(why), None) => wrong.push(format!("{} is undecided: {why}", case.name)),
            (Verdict::Passed | Verdict::NotApplicable(_), Some(_)) => {
                wrong.push(format!("{} does not fail any more: take its line out", case.name));
            }
        }
    }
    let names: BTreeSet<&str> = cases.iter().map(|c| c.name).collect();
    wrong.extend(known.keys().filter(|n| !names.contains(*n)).map(|name| format!("{name}: no such case")));
    ensure!(wrong.is_empty(), "{} lines:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

async fn one_case(target: &Target, case: &'static Case) -> Result<Verdict, Failed> {
    let world = world(&target.dir);
    let portal = target.portal.parse()?;
    let host = |name: &str| Host {
        env: world.node(name, &[HERE]),
        from: None,
        initiator: format!("iqn.2026-11.org.sanbench:{name}"),
        chap: None,
        paths: vec![sanbench_protocol::Path { portal, target: IQN.to_owned() }],
        lun: 1,
    };
    let lab = Lab::new(Setup {
        hosts: vec![host("one"), host("two")],
        blocks: SIZE / 512,
        hidden: None,
        window: None,
        grow: None,
        patience: Duration::from_millis(1500),
        quiet: Duration::from_millis(100),
        limit: Duration::from_secs(20),
    });
    Ok(run_case(&lab, case).await.verdict)
}

fn exercise(target: &Target, session: SessionConfig) -> Checked {
    let info = target.info()?;
    block_on(async {
        let world = world(&target.dir);
        let host = host(&world, "compute", session);
        let device = host.connect_volume(&info).await?.device;
        ensure!(device.capacity_blocks() == SIZE / 512, "{} blocks", device.capacity_blocks());

        // Ours writes, the file behind tgt has it; neighbours stay.
        let data = Bytes::from(holey(11, 3 << 20));
        let (at, tail) = (4096 * 512 + 512, 512);
        device.write(at / 512, data.clone()).await?;
        device.write(SIZE / 512 - 1, data.slice(..512)).await?;
        device.flush().await?;
        let file = std::fs::OpenOptions::new().read(true).write(true).open(target.dir.join("disk"))?;
        let read = |at: u64, length: usize| -> Result<Vec<u8>, Failed> {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes)
        };
        if let Some(at) = difference(&read(at, data.len())?, &data) {
            return Err(format!("in the file behind tgt: {at}").into());
        }
        ensure!(read(at - 512, 512)? == [0; 512], "the block before was written");
        ensure!(read(at + data.len() as u64, 512)? == [0; 512], "the block after was written");
        ensure!(read(SIZE - tail, 512)? == data[..512], "the last block is missing");

        // Somebody else writes into the file, ours reads it.
        let other = holey(12, 1 << 20);
        file.write_all_at(&other, 16 << 20)?;
        let seen = device.read((16 << 20) / 512, 2048).await?;
        if let Some(at) = difference(&seen, &other) {
            return Err(format!("read through tgt: {at}").into());
        }
        let past = device.read(SIZE / 512, 1).await;
        ensure!(past.is_err(), "a read past the end answered {past:?}");
        drop(device);
        host.disconnect_volume(&info, false).await?;
        let census = host.census();
        ensure!(census.is_empty(), "left on the host: {census:?}");
        Ok(())
    })
}

fn chap(target: &Target) -> Checked {
    let secret = "Chap-secret-1234";
    target.admin(&["--mode", "account", "--op", "new", "--user", "bench", "--password", secret])?;
    target.admin(&["--mode", "account", "--op", "bind", "--tid", "1", "--user", "bench"])?;
    let auth = |password: &str| {
        Some(ChapAuth { username: "bench".to_owned(), password: Secret::new(password), target: None })
    };
    let info = target.info()?;
    let mut right = info.clone();
    right.auth = auth(secret);
    let mut wrong = info.clone();
    wrong.auth = auth("Chap-secret-4321");
    block_on(async {
        let world = world(&target.dir);
        // tgt takes algorithm 7 for SHA-1, which is SHA-256 by the registry (RFC 7143 section 14.2 has 6 for SHA-1), so only
        // MD5 works with it.
        let session = SessionConfig { chap_hashes: vec![ChapHash::Md5], ..SessionConfig::default() };
        let host = host(&world, "compute", session);
        for (what, info) in [("no", &info), ("a wrong", &wrong)] {
            let refused = host.connect_volume(info).await;
            ensure!(refused.is_err(), "tgt let us in with {what} secret");
            ensure!(host.census().is_empty(), "left after {what} secret: {:?}", host.census());
        }
        let device = host.connect_volume(&right).await?.device;
        let data = Bytes::from(vec![0x5a; 4096]);
        device.write(0, data.clone()).await?;
        ensure!(device.read(0, 8).await? == data, "other bytes were read than written");
        drop(device);
        host.disconnect_volume(&right, false).await?;
        Ok(())
    })
}
