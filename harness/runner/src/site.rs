//! What a story stands on. The composition root makes it; the runner only uses it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use sanbench_api::{Connector, ImageId, VolumeDriver};
use sanbench_check::census::Naming;
use sanbench_check::{Finding, ImageDigests};
use sanbench_flows::ControlPlane;
use sanbench_world::{Env, Firings, by_point};

use crate::plan::{PlacedFault, Side, Spoiled, Way};
use crate::remote::Remote;
use crate::story::Name;

/// What the back end promises, as far as the model must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// `max_clone_depth` in force; `None` when the driver promises no limit; 0 or less means full copies.
    pub max_clone_depth: Option<i64>,
    /// Volumes made from snapshots are independent when the call returns.
    pub flatten_from_snapshot: bool,
}

/// An image of the site.
#[derive(Debug, Clone)]
pub struct SiteImage {
    /// Its identity in the image service.
    pub id: ImageId,
    /// What a volume made from it must hold; `None` for images that must be refused.
    pub digests: Option<Arc<ImageDigests>>,
    /// What the refusal of an image that must be refused says in any case; empty for others.
    pub refusal: &'static str,
}

/// Something that keeps the site from working; not a finding about what is judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// The array cannot be reached or refused the set-up.
    #[error("{0}")]
    Unreachable(String),
    /// An option of the story is refused by the driver.
    #[error("{0}")]
    BadOption(String),
    /// The array does not come back from a loss of power by what its journal holds (DUR-010).
    #[error("{0}")]
    NotRestored(String),
    /// The bench itself is broken.
    #[error("{0}")]
    Internal(String),
}

/// What a clean-up by the array's inventory did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// Objects removed, as `kind name`.
    pub removed: Vec<String>,
    /// Objects that could not be removed, as `kind name: why`.
    pub left: Vec<String>,
}

/// How a path carries bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    /// As it should.
    Up,
    /// Not at all in this direction.
    Cut(Way),
    /// Late, and in small segments.
    Slow {
        /// Milliseconds that every segment takes longer, in each direction.
        ms: u64,
        /// Bytes that one read gets at most; 0 is as many as there are.
        segment: u64,
        /// Of a hundred segments so many are lost and sent again.
        loss: u64,
    },
}

/// How connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severed {
    /// Both ends see a reset.
    Reset,
    /// This side forgets; the other is reset when it sends next.
    HalfOpen(Side),
}

/// Where a story is played: a volume service, a control host, compute hosts and an array, whatever they are made of.
#[async_trait]
pub trait Site: Send + Sync {
    /// The bench's own node: its clock stamps the history.
    fn env(&self) -> &Env;

    /// The run's tag; every UUID that the run makes begins with these four bytes.
    fn tag(&self) -> [u8; 4];

    /// The volume service.
    fn control(&self) -> ControlPlane;

    /// Drivers by back end (`host@backend`).
    fn drivers(&self) -> Arc<BTreeMap<String, Arc<dyn VolumeDriver>>>;

    /// Names of the compute hosts in the story.
    fn hosts(&self) -> Vec<Name>;

    /// The connector of a compute host, by its name in the story.
    fn connector(&self, host: &Name) -> Option<Arc<dyn Connector>>;

    /// A second connector with the identity of a compute host that looks once and does not wait: for attempts that must
    /// fail.
    fn intruder(&self, host: &Name) -> Option<Arc<dyn Connector>>;

    /// The name that the host of this story name really has.
    fn host_name(&self, host: &Name) -> Option<String>;

    /// How all clients of the array name what they make on it, where that is laid down: found without asking the driver. None:
    /// the driver names things as it likes.
    fn naming(&self) -> Option<&'static (dyn Naming + Sync)> {
        None
    }

    /// The control host's connector.
    fn control_connector(&self) -> Arc<dyn Connector>;

    /// The image of that name.
    fn image(&self, name: &Name) -> Option<SiteImage>;

    /// What the back end promises now.
    fn promise(&self) -> Promise;

    /// Stops the volume service and starts it again with some back-end options changed.
    async fn restart(&self, options: &BTreeMap<String, String>) -> Result<(), SiteError>;

    /// What monitors of calls found since the last time.
    fn take_findings(&self) -> Vec<Finding> {
        Vec::new()
    }

    /// Takes the array's power and gives it back.
    ///
    /// # Errors
    /// The site cannot do it.
    async fn power_loss(&self) -> Result<(), SiteError> {
        Err(not_here("cut the array's power"))
    }

    /// Fails a controller of the array, or brings it back.
    ///
    /// # Errors
    /// The site cannot do it, or the array refuses.
    async fn set_controller(&self, _controller: u64, _up: bool) -> Result<(), SiteError> {
        Err(not_here("fail a controller"))
    }

    /// Lets so many write commands a second through to the LUN of this name; 0 for as many as come.
    ///
    /// # Errors
    /// The site cannot do it, or the array refuses.
    async fn limit(&self, _lun: &str, _iops: u64) -> Result<(), SiteError> {
        Err(not_here("limit a volume"))
    }

    /// Switches a portal of the array, from 1, off or on.
    ///
    /// # Errors
    /// The site cannot do it, or the array refuses.
    async fn set_portal(&self, _portal: u64, _enabled: bool) -> Result<(), SiteError> {
        Err(not_here("switch a portal"))
    }

    /// All portals of the array in their order, whether they work or not, where the site knows.
    fn every_portal(&self) -> Vec<std::net::SocketAddr> {
        Vec::new()
    }

    /// Changes how a path of a host, from 1, or all with 0, carries bytes.
    ///
    /// # Errors
    /// The site cannot do it.
    async fn set_path(&self, _host: &Name, _path: u64, _state: PathState) -> Result<(), SiteError> {
        Err(not_here("cut a path"))
    }

    /// Ends the connections over a path of a host, from 1, or all with 0.
    ///
    /// # Errors
    /// The site cannot do it.
    async fn sever(&self, _host: &Name, _path: u64, _how: Severed) -> Result<(), SiteError> {
        Err(not_here("reset connections"))
    }

    /// Takes the power of a compute host, gives it back after so many seconds, and lets the host connect again what was
    /// attached to it, where the volume service is up.
    ///
    /// # Errors
    /// The site cannot do it; or ([`SiteError::Unreachable`]) not every volume could be connected again.
    async fn reboot(&self, _host: &Name, _off: u64) -> Result<(), SiteError> {
        Err(not_here("take a host's power"))
    }

    /// Kills the initiator of a compute host, starts it again, and lets it connect what was attached to the host, where the
    /// volume service is up.
    ///
    /// # Errors
    /// As [`Site::reboot`].
    async fn restart_initiator(&self, _host: &Name) -> Result<(), SiteError> {
        Err(not_here("kill a host's initiator"))
    }

    /// The volume service is lost with its database, compute hosts lose their power; then the array is cleaned by the tag of the
    /// run, as the command for that does it, and the service begins anew. The control host is taken to have nothing connected.
    ///
    /// # Errors
    /// The site cannot do it; or ([`SiteError::Unreachable`]) the array could not be listed, or the service does not start.
    async fn clean(&self) -> Result<Cleaned, SiteError> {
        Err(not_here("lose the volume service for good"))
    }

    /// Makes a LUN of somebody else under this name, 1 GiB.
    ///
    /// # Errors
    /// The site cannot do it, or the array refuses.
    async fn squat(&self, _name: &str) -> Result<(), SiteError> {
        Err(not_here("make objects behind the driver's back"))
    }

    /// Asks the near array, or the far one, something as an administrator does: method and path below the device id, and a body
    /// for what is not read. Answers the array's code, 0 for success, and its data.
    ///
    /// # Errors
    /// The site cannot do it, or the array's management does not answer.
    async fn administer(
        &self,
        _far: bool,
        _method: &str,
        _path: &str,
        _body: &BTreeMap<String, String>,
    ) -> Result<(i64, serde_json::Value), SiteError> {
        Err(not_here("administer the array"))
    }

    /// Portals of the array that work now, where the site knows.
    fn portals(&self) -> Option<Vec<std::net::SocketAddr>> {
        None
    }

    /// Lets somebody else fill a pool but for so many bytes; answers the name of the LUN that does.
    ///
    /// # Errors
    /// The site cannot do it, or the array refuses.
    async fn fill(&self, _pool: &Name, _leave: u64) -> Result<String, SiteError> {
        Err(not_here("fill a pool"))
    }

    /// Has the page on the array's disk from which a block of the LUN of this name is read hold what was not written to it; false
    /// if no data are on disk there (yet).
    ///
    /// # Errors
    /// The site cannot do it.
    fn spoil(&self, _lun: &str, _lba: u64, _how: Spoiled) -> Result<bool, SiteError> {
        Err(not_here("spoil the array's disk"))
    }

    /// Has pages that were spoilt hold again what was written to them.
    ///
    /// # Errors
    /// The site cannot do it.
    fn mend(&self) -> Result<(), SiteError> {
        Ok(())
    }

    /// Takes away what filled a pool; answers the name of the LUN that did.
    ///
    /// # Errors
    /// The site cannot do it, or the array refuses.
    async fn drain(&self, _pool: &Name) -> Result<String, SiteError> {
        Err(not_here("drain a pool"))
    }

    /// The second array, where there is one.
    fn remote(&self) -> Option<Arc<dyn Remote>> {
        None
    }

    /// A further connector of a compute host, with the same identity and sessions of its own: for the second array. It keeps
    /// what it has connected.
    fn far_connector(&self, _host: &Name) -> Option<Arc<dyn Connector>> {
        None
    }

    /// Lets a fault wait for its point, counted from now. Answers the number under which [`Site::firings`] tells of it; those of the
    /// story's header have the first, from 0 in their order.
    ///
    /// # Errors
    /// The site cannot do it.
    fn arm(&self, _fault: &PlacedFault) -> Result<u64, SiteError> {
        Err(not_here("place faults"))
    }

    /// Takes away all faults that have not fired.
    ///
    /// # Errors
    /// The site cannot do it.
    fn disarm(&self) -> Result<(), SiteError> {
        Ok(())
    }

    /// Heals whatever was broken through this site and is not healed yet: paths, controllers, shapes of the network.
    ///
    /// # Errors
    /// The site cannot do it.
    async fn heal(&self) -> Result<(), SiteError> {
        Ok(())
    }

    /// Whether the user wants an end: no further step begins, and what the case made is removed.
    fn stopped(&self) -> bool {
        false
    }

    /// How often each fault fired so far at each point.
    fn firings(&self) -> Firings;

    /// Faults that fired so far, by point.
    fn faults_fired(&self) -> BTreeMap<String, u64> {
        by_point(self.firings())
    }
}

fn not_here(what: &str) -> SiteError {
    SiteError::Internal(format!("this site cannot {what}"))
}
