//! Where cases work: hosts, portals, a scratch unit, and how to open sessions.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sanbench_wire::pdu::Stage;
use sanbench_wire::scsi::luns::Lun;
use sanbench_world::Env;

use crate::cdb;
use crate::chap::Credentials;
use crate::outcome::{Checked, Stop, fail, not_claimed};
use crate::raw::{Client, Cmd, Login, SessionType, plain_keys};
use crate::tape::Tape;

/// A way to the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Portal.
    pub portal: SocketAddr,
    /// Target name.
    pub target: String,
}

/// An initiator that may use the scratch unit.
#[derive(Clone)]
pub struct Host {
    /// Its node.
    pub env: Env,
    /// Local address to connect from; `None` leaves the choice to the node.
    pub from: Option<IpAddr>,
    /// Its iSCSI name.
    pub initiator: String,
    /// What it authenticates with.
    pub chap: Option<Credentials>,
    /// Paths to the unit, at least one.
    pub paths: Vec<Path>,
    /// LUN of the scratch unit as this host sees it.
    pub lun: u16,
}

/// See [`Setup::grow`].
pub type Grow = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<u64, String>> + Send>> + Send + Sync>;

/// What a suite runs on. Everything behind `lun` may be overwritten: the caller made it for this purpose.
#[derive(Clone)]
pub struct Setup {
    /// Hosts; the second and later ones are for cases about several nexuses.
    pub hosts: Vec<Host>,
    /// Size of the scratch unit in blocks of 512 bytes, as its maker asked for.
    pub blocks: u64,
    /// LUN of a second unit of that size that only the second host may use. Where that can be had it is fully provisioned.
    pub hidden: Option<u16>,
    /// Bytes that a connection holds before their receiver must read some, where that is known.
    pub window: Option<usize>,
    /// Makes the scratch unit larger and gives its new number of blocks; the last case of a chapter may ask for it.
    pub grow: Option<Grow>,
    /// Longest wait for an answer that has to come.
    pub patience: Duration,
    /// How long nothing must come where nothing may come.
    pub quiet: Duration,
    /// Longest time for one case.
    pub limit: Duration,
}

/// The setup with its trace, at work.
pub struct Lab {
    pub(crate) setup: Setup,
    pub(crate) tape: Tape,
    isids: AtomicU32,
}

impl Lab {
    /// A laboratory on that setup.
    pub fn new(setup: Setup) -> Lab {
        Lab { setup, tape: Tape::default(), isids: AtomicU32::new(1) }
    }

    /// Blocks of the scratch unit.
    pub(crate) fn blocks(&self) -> u64 {
        self.setup.blocks
    }

    /// How long nothing must come.
    pub(crate) fn quiet(&self) -> Duration {
        self.setup.quiet
    }

    pub(crate) fn host(&self, n: usize) -> Checked<&Host> {
        self.setup.hosts.get(n).ok_or_else(|| not_claimed("this needs one more host that may use the unit"))
    }

    pub(crate) fn path(&self, host: usize, path: usize) -> Checked<&Path> {
        let host = self.host(host)?;
        host.paths.get(path).ok_or_else(|| not_claimed("this needs one more path to the unit"))
    }

    /// An ISID that no other session of this laboratory has (qualifier type "random", RFC 7143 section 11.12.5).
    pub(crate) fn isid(&self) -> [u8; 6] {
        let n = self.isids.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        [0x80, 0x5a, 0xbe, n[1], n[2], n[3]]
    }

    /// The scratch unit as that host addresses it.
    pub(crate) fn lun(&self, host: usize) -> Checked<Lun> {
        let number = self.host(host)?.lun;
        Lun::from_number(number)
            .ok_or_else(|| Stop::Unknown(format!("LUN {number} has no single-level form")))
    }

    /// A connection without login.
    pub(crate) async fn connect(&self, host: usize, path: usize) -> Checked<Client> {
        let h = self.host(host)?;
        let to = self.path(host, path)?.portal;
        let label = format!("h{host}p{path}");
        Client::connect(&h.env, h.from, to, self.lun(host)?, label, &self.tape, self.setup.patience).await
    }

    /// A plain login of that host over that path.
    pub(crate) fn plan(&self, host: usize, path: usize) -> Checked<Login> {
        let h = self.host(host)?;
        Ok(Login {
            initiator: Some(h.initiator.clone()),
            target: Some(self.path(host, path)?.target.clone()),
            session: SessionType::Normal,
            isid: self.isid(),
            tsih: 0,
            cid: 1,
            cmd_sn: 1,
            versions: (0, 0),
            keys: plain_keys(),
            stages: vec![Stage::Operational],
            chap: h.chap.clone(),
        })
    }

    /// A session over that path with a changed login.
    pub(crate) async fn open(
        &self,
        host: usize,
        path: usize,
        change: impl FnOnce(Login) -> Login + Send,
    ) -> Checked<Client> {
        let mut client = self.connect(host, path).await?;
        let plan = change(self.plan(host, path)?);
        let end = client.login(&plan).await?;
        if !end.full {
            return Err(
                fail("RFC 7143 6.3", "a login that reaches full feature phase", end.words()).of("ISC-001")
            );
        }
        Ok(client)
    }

    /// A session of that host over that path whose unit attentions are behind it.
    pub(crate) async fn session_of(&self, host: usize, path: usize) -> Checked<Client> {
        let mut client = self.open(host, path, |login| login).await?;
        settle(&mut client).await?;
        Ok(client)
    }

    /// A session of the first host over the first path.
    pub(crate) async fn session(&self) -> Checked<Client> {
        self.session_of(0, 0).await
    }

    /// Sessions for every unit of the setup, each with its unit as the one that commands go to.
    pub(crate) async fn units(&self) -> Checked<Vec<Client>> {
        let mut all = vec![self.session().await?];
        if let Some(unit) = self.setup.hidden.and_then(Lun::from_number) {
            let mut client = self.session_of(1, 0).await?;
            client.lun = unit;
            settle(&mut client).await?;
            all.push(client);
        }
        Ok(all)
    }

    /// A session of the first host with changed keys, unit attentions behind it.
    pub(crate) async fn with_keys(&self, keys: &[(&str, &str)]) -> Checked<Client> {
        let mut client =
            self.open(0, 0, |login| keys.iter().fold(login, |login, (k, v)| login.key(k, v))).await?;
        settle(&mut client).await?;
        Ok(client)
    }

    /// Puts the unit back into a plain state after a case that broke off. Best effort.
    pub(crate) async fn restore(&self) {
        let _ = self.try_restore().await;
    }

    async fn try_restore(&self) -> Checked {
        let mut c = self.session().await?;
        const KEY: u64 = 0x7e57_0000_0000_0001;
        let register = Cmd::write(cdb::pr_out(6, 0, 0), cdb::pr_out_data(0, KEY, false));
        if c.run(&register).await?.good() {
            c.run(&Cmd::write(cdb::pr_out(3, 0, 0), cdb::pr_out_data(KEY, 0, false))).await?;
        }
        settle(&mut c).await?;
        c.bye().await
    }
}

/// Takes the unit attentions that a new session finds.
pub(crate) async fn settle(client: &mut Client) -> Checked {
    let unit = client.lun;
    settle_at(client, unit).await
}

/// Takes those of one unit.
pub(crate) async fn settle_at(client: &mut Client, unit: Lun) -> Checked {
    let mut last = String::new();
    for _ in 0..16 {
        let answer = client.run(&Cmd::none(cdb::test_unit_ready()).to(unit)).await?;
        if answer.good() {
            return Ok(());
        }
        last = answer.words();
        // A reservation of somebody else is no reason to wait.
        if !answer.key(6) {
            break;
        }
    }
    Err(fail("SAM-5 5.14", "TEST UNIT READY to end GOOD once unit attentions were reported", last)
        .of("SCS-015"))
}
