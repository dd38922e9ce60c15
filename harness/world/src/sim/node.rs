//! What [`crate::Env`] does on a simulated node.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::link::{self, Conn};
use super::listener::{Door, SimListener};
use super::net::{Fabric, Knock};
use super::stream::SimStream;
use crate::task::TaskSet;

/// After this time without any answer, a connection attempt fails with `TimedOut`.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(21);

/// Waits after each SYN, seconds; their sum is [`CONNECT_TIMEOUT`].
const SYN_WAITS: [u64; 3] = [3, 6, 12];

pub(crate) struct SimNode {
    pub(super) fabric: Arc<Fabric>,
    pub(super) name: Arc<str>,
}

impl SimNode {
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.fabric.addresses(&self.name)
    }

    pub(crate) fn lookup(&self, host: &str) -> Vec<IpAddr> {
        self.fabric.addresses(host)
    }

    pub(crate) fn listen(&self, tasks: &TaskSet, on: SocketAddr) -> io::Result<SimListener> {
        check_up(tasks)?;
        let door = Arc::new(Door::new());
        let addr = self.fabric.register(&self.name, on, &door)?;
        Ok(SimListener { fabric: self.fabric.clone(), node: self.name.clone(), addr, door })
    }

    pub(crate) async fn connect(
        &self,
        tasks: &TaskSet,
        from: Option<IpAddr>,
        to: SocketAddr,
    ) -> io::Result<SimStream> {
        check_up(tasks)?;
        let conn = Arc::new(self.fabric.prepare(&self.name, from, to)?);
        let start = self.fabric.recorder.start();
        // From here on a dropped attempt closes what it left on the other side.
        let stream = SimStream::new(conn.clone(), 0, start);
        let mut next_try = self.fabric.recorder.now();
        for wait in SYN_WAITS {
            next_try += Duration::from_secs(wait);
            match self.attempt(tasks, &conn).await? {
                Attempt::Connected => return Ok(stream),
                Attempt::Refused => return Err(refused(to)),
                Attempt::Lost => {}
            }
            tokio::time::sleep_until(start + next_try).await;
            check_up(tasks)?;
        }
        Err(io::Error::new(ErrorKind::TimedOut, format!("no answer from {to}")))
    }

    /// One SYN and what comes back.
    async fn attempt(&self, tasks: &TaskSet, conn: &Arc<Conn>) -> io::Result<Attempt> {
        pause(conn.draw_delay(0)).await;
        check_up(tasks)?;
        let answer = match self.fabric.knock(conn) {
            Knock::Lost => return Ok(Attempt::Lost),
            Knock::Refused => Attempt::Refused,
            Knock::Listening(door) => {
                conn.establish();
                // A refused offer is dropped, which the attempt below sees as a reset.
                door.offer(SimStream::new(conn.clone(), 1, self.fabric.recorder.start()));
                Attempt::Connected
            }
        };
        pause(conn.draw_delay(1)).await;
        check_up(tasks)?;
        match conn.error(link::other(1)) {
            Some(kind) => Err(kind.into()),
            None => Ok(answer),
        }
    }
}

enum Attempt {
    Connected,
    Refused,
    Lost,
}

async fn pause(ns: u64) {
    if ns > 0 {
        #[expect(clippy::disallowed_methods, reason = "the delay of the simulated wire itself")]
        tokio::time::sleep(Duration::from_nanos(ns)).await;
    }
}

fn check_up(tasks: &TaskSet) -> io::Result<()> {
    if tasks.is_down() {
        return Err(io::Error::new(ErrorKind::NetworkDown, "this node is down"));
    }
    Ok(())
}

fn refused(to: SocketAddr) -> io::Error {
    io::Error::new(ErrorKind::ConnectionRefused, format!("nobody listens on {to}"))
}
