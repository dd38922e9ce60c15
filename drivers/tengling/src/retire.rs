//! Volumes and snapshots go away, and links between them end.
//!
//! A volume with linked clones is renamed to a *silent parent*, as the RBD driver does (array-rest.md 11.4): its
//! content stays for the clones, its name is free. Whenever a link ends, the parent is looked at: a silent one whose
//! last child went is removed, and then its own parent is looked at. A crash between these two leaves an orphan that
//! the next start, or the repeated delete, sweeps away.

use sanbench_api::{DriverError, ParentLink, RefusalKind, SnapshotRef, VolumeRef};
use serde_json::json;

use crate::TenglingDriver;
use crate::clone::children;
use crate::codes;
use crate::error::{CallError, refuse};
use crate::lun::Lun;
use crate::names;
use crate::snapshot::Snapshot;

/// Rounds of "look, then act" before a moving target counts as busy.
const ROUNDS: u32 = 4;

impl TenglingDriver {
    /// The LUN of a volume, if the array has it. A LUN of that name with another identity or description is not it.
    pub(crate) async fn find_lun(&self, volume: &VolumeRef) -> Result<Option<Lun>, DriverError> {
        let name = names::object_name(&volume.name_id.0);
        let Some(lun) = self.client.find_surely::<Lun>("lun", &name).await? else { return Ok(None) };
        let recorded = volume.provider_location.as_deref().and_then(recorded_wwn);
        let ours = match recorded {
            Some(wwn) => wwn == lun.wwn.to_string(),
            None => names::describes_volume(&lun.description, &volume.name_id.0),
        };
        Ok((ours || self.defects.adopt_foreign).then_some(lun))
    }

    /// The LUN of a volume that must be there.
    pub(crate) async fn need_lun(&self, volume: &VolumeRef) -> Result<Lun, DriverError> {
        match self.find_lun(volume).await? {
            Some(lun) => Ok(lun),
            None => refuse(RefusalKind::NotFound, format!("volume {} is not on the array", volume.id)),
        }
    }

    /// The snapshot, if the array has it and it is ours.
    pub(crate) async fn find_snapshot(
        &self,
        snapshot: &SnapshotRef,
    ) -> Result<Option<Snapshot>, DriverError> {
        let name = names::object_name(&snapshot.id.0);
        let found = self.client.find_surely::<Snapshot>("snapshot", &name).await?;
        let id = snapshot.id.to_string();
        Ok(found.filter(|s| s.description == id || self.defects.adopt_foreign))
    }

    pub(crate) async fn delete(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        let Some(first) = self.find_lun(volume).await? else {
            self.remove_helper(volume).await?;
            self.sweep().await;
            return Ok(());
        };
        if names::is_copying(&first.description) {
            self.remove_jobs(&first).await?;
            self.remove_helper(volume).await?;
        }
        let mut last = String::new();
        for _ in 0..ROUNDS {
            let Some(lun) = self.client.lun(&first.id).await?.filter(|l| l.wwn == first.wwn) else {
                return Ok(());
            };
            // All questions first: a refused delete must have changed nothing.
            if self.client.lun_is_mapped(&lun).await? {
                return refuse(RefusalKind::Busy, format!("volume {} is mapped", volume.id));
            }
            if self.client.snapshots().await?.iter().any(|s| s.parent == lun.id) {
                return refuse(RefusalKind::Busy, format!("volume {} has snapshots", volume.id));
            }
            if !children(&self.client.luns().await?, &ParentLink::Lun(lun.id.clone())).is_empty() {
                return self.keep_silent(volume, &lun).await;
            }
            match self.client.delete::<Lun>("lun", &lun.id, &lun.name).await {
                Ok(_) => return self.reap(lun.parent).await,
                // A clone was made in between.
                Err(DriverError::Refused { code: Some(codes::HAS_CLONES), message, .. }) => last = message,
                Err(e) => return Err(e),
            }
        }
        refuse(RefusalKind::Busy, last)
    }

    /// Renames the LUN to a silent parent. Its last child may go while this happens and then not see a silent parent
    /// yet, so the children are looked at again afterwards.
    async fn keep_silent(&self, volume: &VolumeRef, lun: &Lun) -> Result<(), DriverError> {
        let id = &volume.name_id.0;
        let description = names::silent_description(id);
        let mut renamed = Ok(());
        for attempt in 0..10 {
            let name = names::silent_name(id, attempt);
            renamed = self.client.rename_lun(&lun.id, &name, &description).await;
            match &renamed {
                Err(e) if e.is_taken() => {}
                _ => break,
            }
        }
        renamed?;
        self.client.env.note("driver", || json!({"event": "silent-parent", "name": lun.name}));
        self.reap(Some(ParentLink::Lun(lun.id.clone()))).await
    }

    /// Removes a LUN of ours that nobody has seen yet.
    pub(crate) async fn discard(&self, lun: &Lun) -> Result<(), DriverError> {
        // The link may have appeared or ended since `lun` was read.
        let Some(now) = self.client.lun(&lun.id).await?.filter(|l| l.wwn == lun.wwn) else { return Ok(()) };
        self.client.delete::<Lun>("lun", &now.id, &now.name).await?;
        self.reap(now.parent).await
    }

    /// Called when a link to `parent` ended: removes it if it is a silent parent without children, and so on upwards.
    pub(crate) async fn reap(&self, parent: Option<ParentLink>) -> Result<(), DriverError> {
        self.reap_chain(parent).await.map_err(|e| match e {
            // The caller's own work is done; only the tidying is open, and a repetition finishes it.
            DriverError::Refused { message, .. } | DriverError::Unreachable { message } => {
                DriverError::OutcomeUnknown { message: format!("a silent parent may be left: {message}") }
            }
            other => other,
        })
    }

    async fn reap_chain(&self, mut parent: Option<ParentLink>) -> Result<(), DriverError> {
        while let Some(ParentLink::Lun(id)) = parent {
            let Some(lun) = self.client.lun(&id).await? else { return Ok(()) };
            if !names::is_silent(&lun.name, &lun.description) {
                return Ok(());
            }
            if !children(&self.client.luns().await?, &ParentLink::Lun(id)).is_empty() {
                return Ok(());
            }
            match self.client.delete::<Lun>("lun", &lun.id, &lun.name).await {
                Ok(_) => {
                    self.client.env.note("driver", || json!({"event": "reaped", "name": lun.name}));
                    parent = lun.parent;
                }
                // Somebody uses it again. An array that has no time says nothing of the kind.
                Err(DriverError::Refused { kind: RefusalKind::Busy, code: Some(code), .. })
                    if !codes::BUSY.contains(&code) && code != codes::TIMED_OUT =>
                {
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Removes every silent parent without children, for what a crash between delete and reap left. Best effort: what
    /// fails now is tried at the next start.
    pub(crate) async fn sweep(&self) {
        if self.defects.sweep_takes_user_snapshots {
            for snapshot in self.client.snapshots().await.unwrap_or_default() {
                let _ = self.client.remove_snapshot(&snapshot).await;
            }
        }
        let Ok(luns) = self.client.luns().await else { return };
        let orphans = luns.iter().filter(|l| {
            names::is_silent(&l.name, &l.description)
                && children(&luns, &ParentLink::Lun(l.id.clone())).is_empty()
        });
        for orphan in orphans {
            if let Err(error) = self.reap(Some(ParentLink::Lun(orphan.id.clone()))).await {
                tracing::warn!(lun = %orphan.id, %error, "silent parent stays");
            }
        }
    }

    /// Ends the link of a LUN to its parent; at most [`crate::Limits::flattens`] at a time.
    pub(crate) async fn make_independent(&self, lun: &Lun) -> Result<(), DriverError> {
        let Ok(_permit) = self.flattening.acquire().await else {
            return Err(DriverError::Fault { message: "the flatten queue is closed".to_owned() });
        };
        self.client.split(lun).await?;
        self.reap(lun.parent.clone()).await
    }

    pub(crate) async fn flatten(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        let lun = self.need_lun(volume).await?;
        match lun.parent {
            Some(_) => self.make_independent(&lun).await,
            // It may be that all but the tidying was done before.
            None => {
                self.sweep().await;
                Ok(())
            }
        }
    }

    pub(crate) async fn drop_snapshot(&self, snapshot: &SnapshotRef) -> Result<(), DriverError> {
        match self.try_drop_snapshot(snapshot).await {
            // Busy means to the workflow that the snapshot is as it was. One that was stopped, now or by a call before, has lost
            // its content.
            Err(busy) if busy.kind() == Some(RefusalKind::Busy) => match self.find_snapshot(snapshot).await {
                Ok(Some(now)) if now.is_active() => Err(busy),
                _ => Err(CallError::Lost(format!("snapshot {} may be stopped: {busy}", snapshot.id)).into()),
            },
            other => other,
        }
    }

    async fn try_drop_snapshot(&self, snapshot: &SnapshotRef) -> Result<(), DriverError> {
        let Some(found) = self.find_snapshot(snapshot).await? else { return Ok(()) };
        if found.mapped {
            return refuse(RefusalKind::Busy, format!("snapshot {} is mapped", snapshot.id));
        }
        let link = ParentLink::Snapshot(found.id.clone());
        let mut last = None;
        for _ in 0..ROUNDS {
            let luns = self.client.luns().await?;
            // RBD's rule (11.5): children become independent first. Their content does not change.
            for child in children(&luns, &link) {
                match self.make_independent(child).await {
                    Ok(()) => {}
                    Err(e) if e.kind() == Some(RefusalKind::NotFound) => {}
                    Err(e) => return Err(e),
                }
            }
            match self.client.remove_snapshot(&found).await {
                Ok(()) => return Ok(()),
                Err(DriverError::Refused { code: Some(codes::HAS_CLONES), message, .. }) => {
                    last = Some(message)
                }
                Err(e) => return Err(e),
            }
        }
        refuse(RefusalKind::Busy, last.unwrap_or_default())
    }
}

/// The identity that this driver recorded for a volume.
fn recorded_wwn(location: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(location).ok()?;
    value.get("lun_wwn")?.as_str().map(str::to_ascii_lowercase)
}
