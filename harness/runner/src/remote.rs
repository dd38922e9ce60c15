//! The second array of a site, as a story uses it. The composition root makes it; nobody here looks inside.

use async_trait::async_trait;
use sanbench_api::ConnectionInfo;

use crate::plan::{Mirroring, SecondaryAccess};
use crate::site::SiteError;

/// How far the two halves of a volume are with each other, as the half that leads says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairState {
    /// Somebody has paused it.
    Paused,
    /// It waits for a synchronisation: new, or the link failed.
    Interrupted,
    /// Differences are being copied.
    Syncing,
    /// The half that does not lead follows; a copy of points in time holds the last one.
    Normal,
    /// One array does not know the pair.
    Invalid,
}

impl PairState {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Interrupted => "interrupted",
            Self::Syncing => "synchronising",
            Self::Normal => "normal",
            Self::Invalid => "invalid",
        }
    }
}

/// The far array, the link to it, and the pairs between the two. Volumes go by the name of their LUN on the near array.
///
/// Every call that asks an array for something waits until it is so, or says that it will not be; none waits for ever.
#[async_trait]
pub trait Remote: Send + Sync {
    /// Makes a LUN of the same size on the far array and pairs the two; the near one leads. Nothing is copied yet, and nothing
    /// will be by itself.
    ///
    /// # Errors
    /// The arrays do not hear each other, or one refuses.
    async fn mirror(&self, lun: &str, how: Mirroring) -> Result<(), SiteError>;

    /// Takes the pair and the far LUN away, whatever state they are in.
    ///
    /// # Errors
    /// An array refuses.
    async fn unmirror(&self, lun: &str) -> Result<(), SiteError>;

    /// Copies what differs and waits for the end; answers the state that the pair is in then.
    ///
    /// # Errors
    /// The arrays do not hear each other, one refuses, or it does not end.
    async fn sync(&self, lun: &str) -> Result<PairState, SiteError>;

    /// Pauses or splits the pair.
    ///
    /// # Errors
    /// An array refuses.
    async fn pause(&self, lun: &str) -> Result<(), SiteError>;

    /// Lets the half that does not lead take the lead, with the other one's consent where it is heard.
    ///
    /// # Errors
    /// An array refuses.
    async fn fail_over(&self, lun: &str) -> Result<(), SiteError>;

    /// Protects the half that does not lead, or opens it.
    ///
    /// # Errors
    /// An array refuses.
    async fn set_access(&self, lun: &str, access: SecondaryAccess) -> Result<(), SiteError>;

    /// How far the pair is; `None` for a LUN without one.
    fn state(&self, lun: &str) -> Option<PairState>;

    /// Cuts the link between the arrays; or heals it, and waits until they hear each other.
    ///
    /// # Errors
    /// They do not hear each other again.
    async fn set_link(&self, up: bool) -> Result<(), SiteError>;

    /// How a host reaches the far half.
    ///
    /// # Errors
    /// There is none.
    fn connection(&self, lun: &str) -> Result<ConnectionInfo, SiteError>;
}
