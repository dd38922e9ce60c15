//! How initiators see access states: as they are, or as their multipath settings ask for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::access::{AccessState, TargetPortGroup};
use crate::object::DeviceId;
use crate::{Array, Outcome, Refusal};

/// How an initiator with third-party multipathing sees its paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitiatorPaths {
    /// 0 early ALUA, 1 common ALUA, 2 no ALUA, 3 ALUA of a special kind.
    pub failover_mode: u8,
    /// The special kind, 0..=3.
    pub special_mode: u8,
    /// Whether the paths to this array are the preferred ones.
    pub preferred: bool,
}

impl Default for InitiatorPaths {
    fn default() -> Self {
        Self { failover_mode: 1, special_mode: 0, preferred: true }
    }
}

/// How the initiators of a host see their paths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostAccess {
    /// As the initiators say themselves.
    #[default]
    Unset,
    /// All paths alike, through whichever controller.
    Balanced,
    /// The owner's paths are the better ones; none of them is when the host prefers another array.
    Asymmetric {
        /// Whether this array's paths are the preferred ones.
        preferred: bool,
    },
}

/// The view of one initiator. Groups that do not serve at all show that to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathView {
    /// As the states are.
    AsIs,
    /// All serving groups are optimized.
    Balanced,
    /// No group is optimized: the initiator prefers another array.
    Detour,
    /// All serving groups are alike, and nothing is said about access states.
    Flat,
}

impl PathView {
    fn of(self, state: AccessState) -> AccessState {
        match (self, state) {
            (Self::Balanced | Self::Flat, AccessState::ActiveNonOptimized) => AccessState::ActiveOptimized,
            (Self::Detour, AccessState::ActiveOptimized) => AccessState::ActiveNonOptimized,
            (_, state) => state,
        }
    }
}

impl Array {
    /// How an initiator sees access states.
    pub fn path_view(&self, iqn: &str) -> PathView {
        if self.path_views.is_empty() {
            return PathView::AsIs;
        }
        self.path_views.get(iqn).copied().unwrap_or(PathView::AsIs)
    }

    /// [`Array::access_state`] as an initiator sees it.
    pub fn access_state_for(&self, iqn: &str, id: DeviceId, tpgt: u16) -> AccessState {
        self.path_view(iqn).of(self.access_state(id, tpgt))
    }

    /// [`Array::target_port_groups`] as an initiator sees them.
    pub fn target_port_groups_for(&self, iqn: &str, id: DeviceId) -> Vec<(TargetPortGroup, AccessState)> {
        let view = self.path_view(iqn);
        let groups = self.target_port_groups(id).into_iter();
        groups.map(|(group, state)| (group, view.of(state))).collect()
    }

    pub(crate) fn set_initiator_paths(
        &mut self,
        iqn: &str,
        paths: InitiatorPaths,
    ) -> Result<Outcome, Refusal> {
        if paths.failover_mode > 3 || paths.special_mode > 3 {
            return Err(Refusal::BadParameter);
        }
        self.initiators.get_mut(iqn).ok_or(Refusal::NoSuchInitiator)?.paths = paths;
        self.refresh_path_views();
        Ok(Outcome::Done)
    }

    pub(crate) fn set_host_access(&mut self, host: u64, access: HostAccess) -> Result<Outcome, Refusal> {
        self.hosts.get_mut(host).ok_or(Refusal::NoSuchHost)?.access = access;
        self.refresh_path_views();
        Ok(Outcome::Done)
    }

    /// Derives the views from what hosts and initiators have set.
    pub(crate) fn refresh_path_views(&mut self) {
        let mut views = BTreeMap::new();
        for initiator in self.initiators.values() {
            let host = initiator.host.and_then(|host| self.hosts.get(host));
            let view = match host.map(|host| host.access).unwrap_or_default() {
                HostAccess::Balanced => PathView::Balanced,
                HostAccess::Asymmetric { preferred: true } => PathView::AsIs,
                HostAccess::Asymmetric { preferred: false } => PathView::Detour,
                HostAccess::Unset if initiator.multipath == 0 => PathView::AsIs,
                HostAccess::Unset if initiator.paths.failover_mode == 2 => PathView::Flat,
                HostAccess::Unset if !initiator.paths.preferred => PathView::Detour,
                HostAccess::Unset => PathView::AsIs,
            };
            if view != PathView::AsIs {
                views.insert(initiator.iqn.clone(), view);
            }
        }
        if views != self.path_views {
            self.path_views = views;
            self.plant.touch();
        }
    }
}
