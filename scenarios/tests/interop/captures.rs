//! Wireshark reads what `--pcap` writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::{Failed, Trial};
use sanbench_api::{AccessMode, ConnectionInfo, Connector, TargetPath, VolumeId};
use sanbench_initiator::SessionConfig;
use sanbench_initiator::config::DigestOffer;
use sanbench_reports::pcap;
use sanbench_world::{LiveWorld, SegmentKind};

use super::live::{block_on, host, world};
use super::pdus::{Counted, count, op};
use super::serve::{Serve, sanbench};
use super::tools::{Checked, Foreign, ensure, holey, run};

pub(crate) fn trials(foreign: &Foreign, all: &mut Vec<Trial>) {
    let tools = &["tshark"];
    all.push(foreign.trial("captures::a_lifecycle_in_sim_decodes", tools, || lifecycle("sim")));
    all.push(foreign.trial("captures::a_lifecycle_on_loopback_decodes", tools, || lifecycle("loopback")));
    all.push(foreign.trial("captures::chap_is_seen_and_no_secret_is", tools, chap));
    all.push(foreign.trial("captures::r2t_and_digests_decode", tools, r2t_and_digests));
}

/// tshark on a capture, told which ports speak what.
struct Dissector<'a> {
    file: &'a Path,
    ports: Vec<String>,
}

impl<'a> Dissector<'a> {
    fn new(file: &'a Path, counted: &Counted) -> Self {
        let mut ports = Vec::new();
        let iscsi = counted.iscsi_ports.iter().map(|p| (p, "iscsi"));
        for (port, protocol) in iscsi.chain(counted.other_ports.iter().map(|p| (p, "http"))) {
            ports.extend(["-d".to_owned(), format!("tcp.port=={port},{protocol}")]);
        }
        Self { file, ports }
    }

    /// Fields of the frames that a display filter lets through, one line a frame.
    fn fields(&self, filter: &str, fields: &[&str]) -> Result<String, Failed> {
        let mut tshark = Command::new("tshark");
        // A checksum that is wrong stops reassembly and so shows.
        tshark.args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]);
        tshark.args(&self.ports).arg("-r").arg(self.file).args([
            "-Y",
            filter,
            "-T",
            "fields",
            "-E",
            "occurrence=a",
        ]);
        fields.iter().for_each(|field| {
            tshark.args(["-e", field]);
        });
        run(&mut tshark, 120).good("tshark")
    }

    /// How often each value of a numeric field occurs.
    fn tally(&self, filter: &str, fields: &[&str]) -> Result<BTreeMap<u8, u64>, Failed> {
        let mut tally = BTreeMap::new();
        for word in self.fields(filter, fields)?.split([',', '\t', '\n']).filter(|w| !w.is_empty()) {
            let value = u8::from_str_radix(word.trim_start_matches("0x"), 16)?;
            *tally.entry(value).or_default() += 1;
        }
        Ok(tally)
    }

    /// Nothing is malformed, every checksum is right, and every PDU that is there was understood.
    fn clean(&self, counted: &Counted) -> Checked {
        let bad = "_ws.malformed || iscsi.opcode.invalid || iscsi.keyvalue.invalid || tcp.checksum.status == 0 || ip.checksum.status == 0 || tcp.analysis.flags";
        let frames = self.fields(bad, &["frame.number", "_ws.expert.message"])?;
        ensure!(frames.is_empty(), "frames that do not decode:\n{}", first(&frames));
        let seen = self.tally("iscsi", &["iscsi.opcode"])?;
        ensure!(seen == counted.pdus, "PDUs by opcode: tshark {seen:x?}, by our count {:x?}", counted.pdus);
        Ok(())
    }
}

fn first(text: &str) -> String {
    text.lines().take(5).collect::<Vec<_>>().join("\n")
}

fn has(counted: &Counted, opcodes: &[u8]) -> Checked {
    for opcode in opcodes {
        ensure!(counted.pdus.contains_key(opcode), "no PDU of opcode {opcode:#04x}: {:x?}", counted.pdus);
    }
    let number = |opcode| counted.pdus.get(&opcode).copied().unwrap_or_default();
    ensure!(
        number(op::COMMAND) == counted.answered,
        "{} commands, {} answers",
        number(op::COMMAND),
        counted.answered
    );
    ensure!(
        number(op::LOGOUT) == number(op::LOGOUT_RESPONSE),
        "logouts and their answers: {:x?}",
        counted.pdus
    );
    ensure!(number(op::LOGIN) == number(op::LOGIN_RESPONSE), "logins and their answers: {:x?}", counted.pdus);
    Ok(())
}

fn lifecycle(env: &str) -> Checked {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("run.pcapng");
    let done = sanbench(dir.path(), &["run", "lifecycle", "--env", env, "--pcap", "run.pcapng"]);
    ensure!(matches!(done.code, Some(0 | 2)), "sanbench: exit {:?}\n{}{}", done.code, done.out, done.err);
    let counted = count(&std::fs::read(&file)?, false)?;
    let tshark = Dissector::new(&file, &counted);
    tshark.clean(&counted)?;
    has(&counted, &[op::LOGIN, op::LOGIN_RESPONSE, op::COMMAND, op::RESPONSE, op::DATA_IN, op::LOGOUT])?;

    let commands: BTreeSet<u8> =
        tshark.tally("iscsi.opcode == 0x01", &["scsi.spc.opcode", "scsi_sbc.opcode"])?.into_keys().collect();
    ensure!(
        commands == counted.commands,
        "SCSI commands: tshark {commands:x?}, ours {:x?}",
        counted.commands
    );
    let one_of = |what: &str, codes: &[u8]| -> Checked {
        ensure!(codes.iter().any(|c| commands.contains(c)), "no {what} among {commands:x?}");
        Ok(())
    };
    one_of("INQUIRY", &[0x12])?;
    one_of("READ CAPACITY or GET LBA STATUS (SERVICE ACTION IN 16)", &[0x9e])?;
    one_of("WRITE", &[0x2a, 0x8a])?;
    one_of("READ", &[0x28, 0x88])?;
    one_of("UNMAP", &[0x42])?;
    one_of("SYNCHRONIZE CACHE", &[0x35, 0x91])?;
    one_of("REPORT LUNS or TEST UNIT READY", &[0xa0, 0x00])?;

    // The management calls decode as well: requests and answers in equal number.
    let requests = tshark.fields("http.request", &["http.request.method"])?.lines().count();
    let answers = tshark.fields("http.response", &["http.response.code"])?.lines().count();
    ensure!(requests > 10 && requests == answers, "{requests} requests, {answers} answers");
    if env == "sim" {
        // Our own writer splits only at the largest packet: whatever is shorter ends a PDU or a message.
        ensure!(counted.iscsi_ports == BTreeSet::from([3260]), "iSCSI on {:?}", counted.iscsi_ports);
        ensure!(counted.other_ports == BTreeSet::from([8088]), "HTTP on {:?}", counted.other_ports);
        let plain = format!(
            "tcp.len > 0 && tcp.len < {} && ((tcp.port == 3260 && !iscsi) || (tcp.port == 8088 && !http))",
            pcap::LARGEST_PAYLOAD
        );
        let plain = tshark.fields(&plain, &["frame.number", "tcp.len"])?;
        ensure!(plain.is_empty(), "frames that show as plain TCP:\n{}", first(&plain));
    }
    Ok(())
}

const CHAP: &str = "story \"CHAP on every session\"
requires ATT-006
option use_chap_auth True
option chap_username bench
option chap_password Secret-12-chars!
host compute-1
image small kind=sample

create v size=1GiB image=small
attach v compute-1
write v at=0 length=64KiB
verify v
detach v compute-1
delete v
census
";

fn chap() -> Checked {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("run.pcapng");
    std::fs::write(dir.path().join("chap.story"), CHAP)?;
    for env in ["sim", "loopback"] {
        let args = ["run", "./chap.story", "--env", env, "--pcap", "run.pcapng", "--report", "out"];
        sanbench(dir.path(), &args).good("sanbench run")?;
        let bytes = std::fs::read(&file)?;
        let counted = count(&bytes, false)?;
        let tshark = Dissector::new(&file, &counted);
        tshark.clean(&counted)?;
        let keys = tshark.fields("iscsi.keyvalue contains \"CHAP_\"", &["iscsi.keyvalue"])?;
        for key in ["CHAP_A=", "CHAP_I=", "CHAP_C=", "CHAP_N=bench", "CHAP_R="] {
            ensure!(keys.contains(key), "no {key} in\n{}", first(&keys));
        }
        // The story's CHAP secret, and the password of the simulated array.
        let array = sanbench_rest::RestConfig::default().password;
        for secret in ["Secret-12-chars!", &array] {
            let there = |bytes: &[u8]| bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            ensure!(!there(&bytes), "{env}: the capture holds {secret:?}");
            for entry in walk(&dir.path().join("out"))? {
                // A story file is the user's own text and must run again as it stands.
                let own = entry.extension().is_some_and(|e| e == "story");
                ensure!(
                    own || !there(&std::fs::read(&entry)?),
                    "{env}: {} holds {secret:?}",
                    entry.display()
                );
            }
        }
    }
    Ok(())
}

fn walk(dir: &Path) -> Result<Vec<std::path::PathBuf>, Failed> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(walk(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

/// Where an open LUN is.
pub(crate) fn open_lun(portal: &str, target: &str, lun: u16) -> Result<ConnectionInfo, Failed> {
    Ok(ConnectionInfo {
        driver_volume_type: "iscsi".to_owned(),
        volume_id: VolumeId::from_random([9; 16]),
        paths: vec![TargetPath { portal: portal.parse()?, iqn: target.to_owned(), lun }],
        auth: None,
        wwn: None,
        access_mode: AccessMode::ReadWrite,
        discard: true,
        multipath: false,
        enforce_multipath: false,
    })
}

/// Offers under which nothing travels unasked, and everything carries a digest.
pub(crate) fn solicited_with_digests() -> SessionConfig {
    SessionConfig {
        header_digest: DigestOffer::Require,
        data_digest: DigestOffer::Require,
        initial_r2t: true,
        immediate_data: false,
        first_burst: 8 << 10,
        max_burst: 32 << 10,
        max_recv_data_segment: 16 << 10,
        ..SessionConfig::default()
    }
}

fn r2t_and_digests() -> Checked {
    let dir = tempfile::tempdir()?;
    let array = Serve::start(&["--export", "disk0=64MiB"])?;
    let info = open_lun(&array.portals()[0], &array.target(), 0)?;
    let bytes = block_on(async {
        let world = world(dir.path());
        let host = host(&world, "compute", solicited_with_digests());
        let device = host.connect_volume(&info).await?.device;
        let data = Bytes::from(holey(3, 1 << 20));
        device.write(2048, data.clone()).await?;
        device.flush().await?;
        ensure!(device.read(2048, 2048).await? == data, "other bytes were read than written");
        device.unmap(&[(2048, 128)]).await?;
        ensure!(device.read(2048, 128).await?.iter().all(|b| *b == 0), "unmapped blocks do not read zero");
        drop(device);
        host.disconnect_volume(&info, false).await?;
        Ok::<_, Failed>(capture(&world))
    })?;
    let file = dir.path().join("digests.pcapng");
    std::fs::write(&file, &bytes)?;
    let counted = count(&bytes, true)?;
    let tshark = Dissector::new(&file, &counted);
    tshark.clean(&counted)?;
    let all = [op::LOGIN, op::COMMAND, op::R2T, op::DATA_OUT, op::DATA_IN, op::RESPONSE, op::LOGOUT];
    has(&counted, &all)?;
    let number = |opcode| counted.pdus.get(&opcode).copied().unwrap_or_default();
    // A burst of 32 KiB for each R2T: 1 MiB needs 32.
    ensure!(number(op::R2T) >= 32, "{} R2T for 1 MiB in bursts of 32 KiB", number(op::R2T));

    // Wireshark computes every digest anew and says in the tree what it thinks of it.
    let mut tree = Command::new("tshark");
    tree.args(&tshark.ports).arg("-r").arg(&file).args(["-V", "-O", "iscsi"]);
    let tree = run(&mut tree, 120).good("tshark -V")?;
    let lines = |what: &str| tree.lines().filter(|l| l.trim_start().starts_with(what)).collect::<Vec<_>>();
    let headers = lines("HeaderDigest: 0x");
    let pdus: u64 = counted
        .pdus
        .iter()
        .filter(|(o, _)| !matches!(**o, op::LOGIN | op::LOGIN_RESPONSE))
        .map(|(_, n)| n)
        .sum();
    ensure!(headers.len() as u64 == pdus, "{} header digests on {pdus} PDUs", headers.len());
    let data = lines("DataDigest: 0x");
    ensure!(!data.is_empty(), "no data digest was seen");
    for line in headers.iter().chain(&data) {
        ensure!(line.to_lowercase().contains("good"), "{line}");
    }
    Ok(())
}

/// What a live world recorded, as a capture.
fn capture(world: &LiveWorld) -> Vec<u8> {
    let segments: Vec<_> = world
        .capture()
        .into_iter()
        .map(|s| pcap::Segment {
            at: s.at.max(Duration::ZERO),
            src: s.src,
            dst: s.dst,
            connection: s.conn,
            kind: match s.kind {
                SegmentKind::Syn => pcap::SegmentKind::Open,
                SegmentKind::Data => pcap::SegmentKind::Data,
                SegmentKind::Fin => pcap::SegmentKind::Close,
                SegmentKind::Rst => pcap::SegmentKind::Reset,
            },
            bytes: s.bytes.to_vec(),
        })
        .collect();
    pcap::write(&segments)
}
