//! Attachments: one host object, host group, LUN group and mapping view for each host; a LUN in the group is mapped.
//!
//! All changes to one host's mapping happen under that host's lock, because the last detach tears down what a
//! concurrent attach would build on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use sanbench_api::{
    AccessMode, ChapAuth, ConnectionInfo, ConnectorProperties, DriverError, RefusalKind, TargetPath,
    VolumeRef,
};

use crate::TenglingDriver;
use crate::error::{after_undo, refuse};
use crate::host::Host;
use crate::lun::Lun;
use crate::names;
use crate::port::Portal;

/// Looks for the host LUN id after mapping; the array may take a moment.
const LUN_ID_LOOKS: u32 = 4;

/// What is remembered for one host object; the lock guards its mapping.
#[derive(Debug, Default)]
pub(crate) struct HostState {
    /// Initiators whose CHAP secret this process has sent: it cannot be read back.
    chap_sent: BTreeSet<String>,
}

/// One lock for each host object name.
#[derive(Debug, Default)]
pub(crate) struct HostLocks(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<HostState>>>>);

impl HostLocks {
    /// The lock of a host; one for each call with the planted defect `no_host_lock`.
    fn of(&self, name: &str, apart: bool) -> Arc<tokio::sync::Mutex<HostState>> {
        if apart {
            return Arc::default();
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(name.to_owned()).or_default().clone()
    }
}

impl TenglingDriver {
    pub(crate) async fn attach(
        &self,
        volume: &VolumeRef,
        connector: &ConnectorProperties,
    ) -> Result<ConnectionInfo, DriverError> {
        let Some(iqn) = connector.initiator.as_deref().filter(|i| !i.is_empty() && i.len() <= 223) else {
            return refuse(RefusalKind::InvalidConnector, "connector has no usable initiator name");
        };
        if connector.host.is_empty() {
            return refuse(RefusalKind::InvalidConnector, "connector has no host name");
        }
        let lun = self.need_lun(volume).await?;
        let portals = self.client.portals().await?;
        let lock = self.hosts.of(&self.client.host_name(&connector.host), self.defects.no_host_lock);
        let mut state = lock.lock().await;
        let host = self.client.ensure_host(&connector.host).await?;
        // Whether a failure must take this LUN out again, or would break an attachment that worked before.
        let before = match self.is_member(&lun, &host).await {
            Ok(before) => before,
            Err(error) => return Err(after_undo(error, self.client.tear_down_if_unused(&host).await)),
        };
        match self.map(&lun, &host, iqn, &mut state).await {
            Ok(number) => Ok(self.connection_info(volume, connector, &lun, number, portals)),
            Err(error) if before => Err(error),
            Err(error) => {
                let undo = match self.defects.undo_takes_lock_again {
                    true => self.detach_host(Some(&lun), &connector.host).await,
                    false => self.unmap(&lun.id, &host, &mut state).await,
                };
                Err(after_undo(error, undo))
            }
        }
    }

    /// The LUN is in the host's LUN group already.
    async fn is_member(&self, lun: &Lun, host: &Host) -> Result<bool, DriverError> {
        let name = names::lun_group_name(&host.id);
        Ok(self.client.groups_of_lun(&lun.id).await?.iter().any(|g| g.name == name))
    }

    async fn map(
        &self,
        lun: &Lun,
        host: &Host,
        iqn: &str,
        state: &mut HostState,
    ) -> Result<u16, DriverError> {
        let chap = self.config.chap.as_ref();
        self.client.ensure_initiator(iqn, host, chap, !state.chap_sent.contains(iqn)).await?;
        if chap.is_some() {
            state.chap_sent.insert(iqn.to_owned());
        }
        let host_group = self.client.ensure_host_group(host).await?;
        let lun_group = self.client.ensure_lun_group(host).await?;
        self.client.add_lun(&lun_group, &lun.id).await?;
        self.client.ensure_view(host, &host_group, &lun_group).await?;
        let ends = self.client.env.now() + self.client.limits.ready;
        for look in 0..LUN_ID_LOOKS {
            if let Some(number) = self.client.host_lun_id(&host.id, &lun.id).await? {
                return Ok(number);
            }
            if !self.client.pause(look, ends).await {
                break;
            }
        }
        let message = format!("the array names no host LUN id for LUN {} on host {}", lun.id, host.id);
        refuse(RefusalKind::Other, message)
    }

    fn connection_info(
        &self,
        volume: &VolumeRef,
        connector: &ConnectorProperties,
        lun: &Lun,
        number: u16,
        portals: Vec<Portal>,
    ) -> ConnectionInfo {
        let most = if self.defects.first_portal_only { 1 } else { usize::MAX };
        let path = |p: Portal| TargetPath { portal: p.address, iqn: p.iqn, lun: number };
        ConnectionInfo {
            driver_volume_type: "iscsi".to_owned(),
            volume_id: volume.id,
            paths: portals.into_iter().map(path).take(most).collect(),
            auth: self.config.chap.as_ref().map(|c| ChapAuth {
                username: c.username.clone(),
                password: c.password.clone(),
                target: None,
            }),
            wwn: Some(lun.wwn),
            access_mode: AccessMode::ReadWrite,
            discard: lun.thin,
            multipath: connector.multipath,
            enforce_multipath: connector.enforce_multipath,
        }
    }

    /// Takes the LUN out of the host's group, and tears the host's mapping down when that was the last one.
    async fn unmap(&self, lun_id: &str, host: &Host, state: &mut HostState) -> Result<(), DriverError> {
        let name = names::lun_group_name(&host.id);
        let mut groups = self.client.groups_of_lun(lun_id).await?;
        if groups.iter().all(|g| g.name != name) && !self.defects.first_absence_believed {
            // Absence is believed when it is seen twice.
            groups = self.client.groups_of_lun(lun_id).await?;
        }
        for group in groups.iter().filter(|g| g.name == name) {
            self.client.remove_from_lun_group(&group.id, 11, lun_id).await?;
        }
        self.client.tear_down_if_unused(host).await?;
        // Its initiators may be gone, and their secrets with them.
        state.chap_sent.clear();
        Ok(())
    }

    pub(crate) async fn detach(
        &self,
        volume: &VolumeRef,
        connector: Option<&ConnectorProperties>,
    ) -> Result<bool, DriverError> {
        let lun = self.find_lun(volume).await?;
        match (connector, &lun) {
            (Some(connector), _) => self.detach_host(lun.as_ref(), &connector.host).await?,
            (None, Some(lun)) => self.detach_all(lun).await?,
            (None, None) => return Ok(false),
        }
        match lun {
            Some(lun) => Ok(!self.client.groups_of_lun(&lun.id).await?.is_empty()),
            None => Ok(false),
        }
    }

    /// A volume or host that is gone has no mapping; what is left of the host's objects still goes.
    async fn detach_host(&self, lun: Option<&Lun>, host: &str) -> Result<(), DriverError> {
        let name = self.client.host_name(host);
        let lock = self.hosts.of(&name, self.defects.no_host_lock);
        let mut state = lock.lock().await;
        let host = self.client.find_surely::<Host>("host", &name).await?;
        let Some(host) = host else { return self.nothing_to_detach() };
        if let Some(lun) = lun
            && self.defects.unmapped_detach_fails
            && !self.is_member(lun, &host).await?
        {
            return self.nothing_to_detach();
        }
        match lun {
            Some(lun) => self.unmap(&lun.id, &host, &mut state).await,
            None => self.client.tear_down_if_unused(&host).await,
        }
    }

    /// What is not there needs no detach (ATT-003).
    fn nothing_to_detach(&self) -> Result<(), DriverError> {
        match self.defects.unmapped_detach_fails {
            true => refuse(RefusalKind::NotFound, "the volume is not mapped to the host"),
            false => Ok(()),
        }
    }

    async fn detach_all(&self, lun: &Lun) -> Result<(), DriverError> {
        let mut foreign = Vec::new();
        for group in self.client.groups_of_lun(&lun.id).await? {
            let Some(host_id) = names::host_of_lun_group(&group.name) else {
                foreign.push(group.name);
                continue;
            };
            match self.client.get_one::<Host>("host", host_id).await? {
                Some(host) => {
                    let lock = self.hosts.of(&host.name, self.defects.no_host_lock);
                    let mut state = lock.lock().await;
                    self.unmap(&lun.id, &host, &mut state).await?;
                }
                // The host object went without its group.
                None => self.client.remove_from_lun_group(&group.id, 11, &lun.id).await?,
            }
        }
        match foreign.is_empty() {
            true => Ok(()),
            false => {
                let message = format!("LUN {} is in LUN groups of others: {}", lun.id, foreign.join(", "));
                refuse(RefusalKind::Busy, message)
            }
        }
    }
}
