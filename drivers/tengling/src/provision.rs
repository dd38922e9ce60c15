//! Volumes come into being: empty, as linked clones, as full copies.
//!
//! A clone of a volume is linked to the source LUN itself, by the array; no helper snapshot is left. Deleting such a
//! source keeps it as a silent parent (see `retire.rs`). The depth rule is 11.7's: the new volume is made first, its
//! depth is read from the array, and when it stands beyond the limit it is flattened before success. So only a new
//! volume can ever stand at limit + 1, and only while the call runs.

use sanbench_api::{DriverError, ModelUpdate, ParentLink, RefusalKind, SnapshotRef, VolumeRef};
use serde_json::json;

use crate::TenglingDriver;
use crate::error::{after_undo, refuse};
use crate::lun::{Lun, NewLun, SECTORS_PER_GIB};
use crate::names;
use crate::settle::Made;
use crate::snapshot::Snapshot;

/// What a new volume gets its content from.
struct Source {
    link: ParentLink,
    /// For the description of the new LUN: kind and WWN, because array ids are used again.
    origin: String,
    sectors: u64,
    pool: Option<String>,
}

/// GiB as sectors; zero and what overflows are refused before anything is allocated (CRE-004).
pub(crate) fn sectors(gib: u64) -> Result<u64, DriverError> {
    match gib.checked_mul(SECTORS_PER_GIB) {
        Some(sectors) if gib > 0 && i64::try_from(sectors).is_ok() => Ok(sectors),
        _ => refuse(RefusalKind::InvalidInput, format!("{gib} GiB is no possible size")),
    }
}

/// What the workflow stores about a LUN.
pub(crate) fn model(lun: &Lun) -> ModelUpdate {
    let location = json!({"lun_id": lun.id, "lun_wwn": lun.wwn.to_string()});
    ModelUpdate {
        provider_id: Some(lun.id.clone()),
        provider_location: Some(location.to_string()),
        ..ModelUpdate::default()
    }
}

impl TenglingDriver {
    pub(crate) async fn create(&self, volume: &VolumeRef) -> Result<ModelUpdate, DriverError> {
        let wanted = sectors(volume.size_gib)?;
        let pool = self.client.pool(self.pool_name(volume)).await?;
        let name = names::object_name(&volume.name_id.0);
        let description = names::volume_description(&volume.name_id.0, None);
        let new = NewLun { name: &name, description: &description, pool_id: &pool.id, sectors: wanted };
        let mut made = self.client.create_lun(&new).await?;
        if let Made::Found(old) = &made
            && self.defects.recreate_existing
        {
            self.client.delete::<Lun>("lun", &old.id, &old.name).await?;
            made = self.client.create_lun(&new).await?;
        }
        let (lun, mine) = self.accept(made, &description, |l| l.sectors == wanted).await?;
        match self.client.lun_ready(lun.clone()).await {
            Ok(lun) => Ok(model(&lun)),
            Err(error) => Err(self.undo_create(mine, &lun, error).await),
        }
    }

    pub(crate) async fn create_from_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: &SnapshotRef,
    ) -> Result<ModelUpdate, DriverError> {
        let Some(found) = self.find_snapshot(snapshot).await? else {
            return refuse(RefusalKind::NotFound, format!("snapshot {} is not on the array", snapshot.id));
        };
        if !found.is_active() {
            return refuse(RefusalKind::InvalidInput, format!("snapshot {} is not active", snapshot.id));
        }
        let source = Source {
            origin: format!("snapshot {}", found.wwn),
            sectors: found.sectors,
            link: ParentLink::Snapshot(found.id),
            pool: self.client.lun(&found.parent).await?.map(|l| l.pool),
        };
        // Temporary volumes (migration targets) are read once; making them independent first would be wasted.
        let flatten = self.config.flatten_volume_from_snapshot && volume.use_quota;
        self.derive(volume, source, flatten).await
    }

    pub(crate) async fn create_clone(
        &self,
        volume: &VolumeRef,
        source: &VolumeRef,
    ) -> Result<ModelUpdate, DriverError> {
        let lun = self.need_lun(source).await?;
        let source = Source {
            origin: format!("lun {}", lun.wwn),
            sectors: lun.sectors,
            link: ParentLink::Lun(lun.id),
            pool: Some(lun.pool),
        };
        self.derive(volume, source, false).await
    }

    async fn derive(
        &self,
        volume: &VolumeRef,
        source: Source,
        flatten: bool,
    ) -> Result<ModelUpdate, DriverError> {
        let wanted = sectors(volume.size_gib)?;
        if wanted < source.sectors && !self.defects.smaller_accepted {
            let message = format!("{} GiB is smaller than the source", volume.size_gib);
            return refuse(RefusalKind::InvalidInput, message);
        }
        let new_product = self.new_product().await?;
        // A linked clone lives in the pool of its source.
        let elsewhere = source.pool.as_deref().is_some_and(|p| !p.is_empty() && p != self.pool_name(volume));
        if self.config.max_clone_depth <= 0 || !new_product || elsewhere {
            return self.full_copy(volume, source, wanted, new_product).await;
        }
        let name = names::object_name(&volume.name_id.0);
        let description = names::volume_description(&volume.name_id.0, Some(&source.origin));
        let made = match self.client.clone_lun(&name, &description, &source.link).await {
            Err(e) if e.kind() == Some(RefusalKind::LimitReached) => {
                if self.defects.limit_clone_is_done {
                    return Ok(ModelUpdate::default());
                }
                if self.defects.limit_error_wrong_class {
                    return refuse(RefusalKind::Other, e.to_string());
                }
                return Err(e);
            }
            made => made?,
        };
        let fits = |l: &Lun| l.sectors <= wanted || self.defects.smaller_accepted;
        let (lun, mine) = self.accept(made, &description, fits).await?;
        match self.finish_clone(lun.clone(), &source.link, wanted, flatten).await {
            Ok(lun) => Ok(model(&lun)),
            Err(error) => Err(self.undo_create(mine, &lun, error).await),
        }
    }

    async fn finish_clone(
        &self,
        lun: Lun,
        link: &ParentLink,
        wanted: u64,
        flatten: bool,
    ) -> Result<Lun, DriverError> {
        let lun = self.client.lun_ready(lun).await?;
        // An array that takes LUN and snapshot ids from two ranges could have cloned the wrong one.
        if lun.parent.as_ref().is_some_and(|p| p != link) {
            return Err(DriverError::Fault {
                message: format!("LUN {} was cloned from {:?}", lun.id, lun.parent),
            });
        }
        // The source was looked at before the call; it may have been extended since.
        if lun.sectors > wanted && !self.defects.smaller_accepted {
            let message = format!("the source has grown meanwhile: {} sectors, {wanted} wanted", lun.sectors);
            return refuse(RefusalKind::InvalidInput, message);
        }
        if wanted > lun.sectors && !self.defects.larger_size_ignored {
            self.client.expand_lun(&lun, wanted).await?;
        }
        if lun.parent.is_some() && (flatten || self.too_deep(&lun).await?) {
            self.make_independent(&lun).await?;
        }
        Ok(lun)
    }

    async fn too_deep(&self, lun: &Lun) -> Result<bool, DriverError> {
        if self.defects.no_depth_limit {
            return Ok(false);
        }
        let depth = self.client.depth(lun).await?;
        let deep = i64::from(depth) > self.config.max_clone_depth;
        if deep {
            self.client.env.note("driver", || json!({"event": "too-deep", "name": lun.name, "depth": depth}));
        }
        Ok(deep)
    }

    /// A copy without link. While it runs the LUN's description says so, and such a LUN is never adopted: after a
    /// crash its content is half.
    async fn full_copy(
        &self,
        volume: &VolumeRef,
        source: Source,
        wanted: u64,
        new_product: bool,
    ) -> Result<ModelUpdate, DriverError> {
        let helper = match &source.link {
            ParentLink::Snapshot(_) => None,
            ParentLink::Lun(lun) => Some(self.take_helper(volume, lun).await?),
        };
        let result = self.copy_to_new(volume, &source, helper.as_ref(), wanted, new_product).await;
        let Some(helper) = helper else { return result.map(|lun| model(&lun)) };
        match (result, self.client.remove_snapshot(&helper).await) {
            (Ok(lun), Ok(())) => Ok(model(&lun)),
            (Ok(lun), Err(error)) => {
                let message = format!("helper snapshot {} stays: {error}", helper.name);
                Err(self.undo_create(true, &lun, DriverError::OutcomeUnknown { message }).await)
            }
            (Err(error), tidy) => Err(after_undo(error, tidy)),
        }
    }

    /// The snapshot that fixes the instant of a copy. One that a crashed attempt left is too old.
    async fn take_helper(&self, volume: &VolumeRef, lun_id: &str) -> Result<Snapshot, DriverError> {
        self.remove_helper(volume).await?;
        let name = names::helper_name(&volume.name_id.0);
        self.client.take_snapshot(&name, &names::helper_description(&volume.name_id.0), lun_id).await
    }

    /// Removes the helper snapshot of a copy to this volume, if there is one.
    pub(crate) async fn remove_helper(&self, volume: &VolumeRef) -> Result<(), DriverError> {
        let id = &volume.name_id.0;
        match self.client.snapshot_by_name(&names::helper_name(id)).await? {
            Some(old) if old.description == names::helper_description(id) => {
                self.client.remove_snapshot(&old).await
            }
            _ => Ok(()),
        }
    }

    async fn copy_to_new(
        &self,
        volume: &VolumeRef,
        source: &Source,
        helper: Option<&Snapshot>,
        wanted: u64,
        new_product: bool,
    ) -> Result<Lun, DriverError> {
        let pool = self.client.pool(self.pool_name(volume)).await?;
        let name = names::object_name(&volume.name_id.0);
        let description = names::volume_description(&volume.name_id.0, Some(&source.origin));
        let copying = names::copying_description(&description);
        // A clone pair wants equal sizes; a LUN copy takes a larger target.
        let sectors = if new_product { source.sectors } else { wanted };
        let new = NewLun { name: &name, description: &copying, pool_id: &pool.id, sectors };
        let made = match self.client.create_lun(&new).await? {
            Made::Found(old) if names::describes_volume(&old.description, &volume.name_id.0) => {
                if !names::is_copying(&old.description)
                    && old.description == description
                    && old.sectors == wanted
                {
                    return Ok(old);
                }
                if !names::is_copying(&old.description) {
                    return refuse(RefusalKind::Exists, format!("LUN {name} exists with other content"));
                }
                self.remove_jobs(&old).await?;
                self.discard(&old).await?;
                self.client.create_lun(&new).await?
            }
            made => made,
        };
        let (lun, mine) = self.accept(made, &copying, |l| l.sectors == sectors).await?;
        let from = match (&source.link, helper) {
            (_, Some(helper)) => &helper.id,
            (ParentLink::Snapshot(id) | ParentLink::Lun(id), None) => id,
        };
        match self.fill(lun.clone(), &name, from, wanted, &description, new_product).await {
            Ok(lun) => Ok(lun),
            Err(error) => Err(self.undo_create(mine, &lun, error).await),
        }
    }

    async fn fill(
        &self,
        lun: Lun,
        name: &str,
        snapshot: &str,
        wanted: u64,
        description: &str,
        new_product: bool,
    ) -> Result<Lun, DriverError> {
        let lun = self.client.lun_ready(lun).await?;
        self.client.copy(new_product, name, snapshot, &lun.id).await?;
        self.client.expand_lun(&lun, wanted).await?;
        self.client.rename_lun(&lun.id, name, description).await?;
        Ok(lun)
    }

    /// Judges an object after a create call: made by it, ours from an earlier attempt, or somebody else's. The second
    /// part says that a failure from here on must remove it again.
    async fn accept(
        &self,
        made: Made<Lun>,
        description: &str,
        fits: impl Fn(&Lun) -> bool,
    ) -> Result<(Lun, bool), DriverError> {
        let (lun, mine) = match made {
            Made::New(lun) => {
                // An array that does not store the text with the create call gets it afterwards.
                if lun.description != description
                    && let Err(e) = self.client.rename_lun(&lun.id, &lun.name, description).await
                {
                    return Err(self.undo_create(true, &lun, e.into()).await);
                }
                return Ok((lun, true));
            }
            Made::Likely(lun) => (lun, true),
            Made::Found(lun) => (lun, false),
        };
        if self.defects.adopt_foreign || lun.description == description && fits(&lun) {
            return Ok((lun, mine));
        }
        refuse(RefusalKind::Exists, format!("LUN {} exists and is not what was asked for", lun.name))
    }

    async fn undo_create(&self, mine: bool, lun: &Lun, error: DriverError) -> DriverError {
        if !mine || self.defects.lun_left_after_failed_create {
            return error;
        }
        let undo = match self.remove_jobs(lun).await {
            Ok(()) => self.discard(lun).await,
            Err(e) => Err(e),
        };
        after_undo(error, undo)
    }

    /// Removes copy jobs onto this LUN that a failure or crash left.
    pub(crate) async fn remove_jobs(&self, lun: &Lun) -> Result<(), DriverError> {
        if !names::is_copying(&lun.description) {
            return Ok(());
        }
        for job in self.client.lun_copies().await? {
            if job.name == lun.name {
                self.client.remove_lun_copy(&job).await?;
            }
        }
        for pair in self.client.clone_pairs().await? {
            if pair.copies_to(&lun.id) {
                self.client.remove_pair(&pair.id).await?;
            }
        }
        Ok(())
    }
}
