//! What a session sees of the array: everything, or the objects of one vStore.

use sanbench_array::{
    Array, ClonePair, DeviceId, Host, HostGroup, Initiator, Lun, LunCopy, LunGroup, Migration, PortGroup,
    QosPolicy, Snapshot, View,
};

/// The array through the eyes of a session. Every look-up of an object of a vStore goes through here.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) array: &'a Array,
    /// The vStore; none for the administrator, who sees all of them.
    pub(crate) vstore: Option<u64>,
}

macro_rules! looks {
    ($($all:ident, $one:ident, $named:ident: $t:ty;)*) => { impl<'a> Sight<'a> { $(
        pub(crate) fn $all(self) -> impl Iterator<Item = &'a $t> {
            self.array.$all().filter(move |row| self.sees(row.vstore))
        }
        pub(crate) fn $one(self, id: u64) -> Option<&'a $t> {
            self.array.$one(id).filter(|row| self.sees(row.vstore))
        }
        pub(crate) fn $named(self, name: &str) -> Vec<&'a $t> {
            self.array.$named(name).filter(|row| self.sees(row.vstore)).collect()
        }
    )* } };
}
looks! {
    luns, lun, luns_named: Lun;
    snapshots, snapshot, snapshots_named: Snapshot;
    lun_copies, lun_copy, lun_copies_named: LunCopy;
    hosts, host, hosts_named: Host;
    host_groups, host_group, host_groups_named: HostGroup;
    lun_groups, lun_group, lun_groups_named: LunGroup;
    port_groups, port_group, port_groups_named: PortGroup;
    views, mapping_view, views_named: View;
    qos, qos_policy, qos_named: QosPolicy;
}

impl<'a> Sight<'a> {
    /// Whether what belongs to this vStore is seen.
    pub(crate) fn sees(self, vstore: u64) -> bool {
        self.array.is_of(self.vstore, vstore)
    }

    pub(crate) fn clone_pairs(self) -> impl Iterator<Item = &'a ClonePair> {
        self.array.clone_pairs().filter(move |row| self.sees(row.vstore))
    }
    pub(crate) fn clone_pair(self, id: u64) -> Option<&'a ClonePair> {
        self.array.clone_pair(id).filter(|row| self.sees(row.vstore))
    }
    pub(crate) fn migrations(self) -> impl Iterator<Item = &'a Migration> {
        self.array.migrations().filter(move |row| self.sees(row.vstore))
    }
    pub(crate) fn migration(self, lun: u64) -> Option<&'a Migration> {
        self.array.migration(lun).filter(|row| self.sees(row.vstore))
    }
    pub(crate) fn initiators(self) -> impl Iterator<Item = &'a Initiator> {
        self.array.initiators().filter(move |row| self.sees(row.vstore))
    }
    pub(crate) fn initiator(self, iqn: &str) -> Option<&'a Initiator> {
        self.array.initiator(iqn).filter(|row| self.sees(row.vstore))
    }

    /// The LUN or snapshot with this number.
    pub(crate) fn device_by_number(self, id: u64) -> Option<DeviceId> {
        self.array.device_by_number(id).filter(|device| self.array.is_visible(self.vstore, (*device).into()))
    }
}
