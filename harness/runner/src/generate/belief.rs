//! What there would be if every step went well.

use std::collections::BTreeMap;

use crate::plan::{ImageKind, SitePlan};
use crate::story::Name;

/// A volume as the generator sees it.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) gib: u64,
    pub(super) host: Option<Name>,
    pub(super) clone: bool,
    /// Offsets, in blocks, where something was written: where it is worth writing again.
    pub(super) written: Vec<u64>,
}

/// Everything that a plan has made so far.
#[derive(Debug, Clone)]
pub(super) struct Belief {
    pub(super) volumes: BTreeMap<Name, Volume>,
    /// Snapshots, their volumes and sizes.
    pub(super) snapshots: BTreeMap<Name, (Name, u64)>,
    pub(super) hosts: Vec<Name>,
    /// Pools, if the site names them.
    pub(super) pools: Vec<Name>,
    /// Images that are taken.
    pub(super) images: Vec<Name>,
    /// Linked clones that the array allows of one source, if few.
    pub(super) clones: Option<u64>,
    /// Names given out so far: none is used twice.
    pub(super) made: u64,
}

impl Belief {
    pub(super) fn new(site: &SitePlan) -> Self {
        Self {
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            hosts: site.hosts.iter().map(|(name, _)| name.clone()).collect(),
            pools: site.pools.iter().map(|(name, _)| name.clone()).collect(),
            images: site
                .images
                .iter()
                .filter(|(_, kind, _)| matches!(kind, ImageKind::Sample | ImageKind::Raw))
                .map(|(name, ..)| name.clone())
                .collect(),
            clones: site.clones,
            made: 0,
        }
    }

    /// Volumes for which this is so, by name.
    pub(super) fn volumes(&self, so: impl Fn(&Name, &Volume) -> bool) -> Vec<Name> {
        self.volumes.iter().filter(|(name, v)| so(name, v)).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn has_snapshots(&self, volume: &Name) -> bool {
        self.snapshots.values().any(|(of, _)| of == volume)
    }
}
