//! Volumes and snapshots come, grow, are flattened and go.

use std::collections::BTreeSet;

use super::*;

/// A volume that was made.
struct Made<'a> {
    begun: u64,
    id: VolumeId,
    gib: u64,
    host: &'a str,
    model_source: ModelSource,
    /// Its content, where it has a source.
    copy: Option<Ticket>,
}

impl Player<'_> {
    pub(super) async fn create(
        &self,
        step: &Step,
        volume: &Name,
        gib: u64,
        volume_type: Option<&Name>,
        source: &Source,
        pool: Option<&Name>,
    ) -> Ended {
        let id = VolumeId::from_random(self.id_bytes("volume", volume));
        let mut image = None;
        let flow_source = match source {
            Source::Blank => FlowSource::Raw,
            Source::Image(name) => {
                let site_image = self.site.image(name).ok_or_else(|| missing("image", name))?;
                image = Some(site_image.clone());
                FlowSource::Image(site_image.id)
            }
            Source::Snapshot(name) => FlowSource::Snapshot(self.snapshot_of(name)?.id),
            Source::Volume(name) => FlowSource::Volume(self.volume(name)?.id),
        };
        let mut request = CreateRequest::raw(volume.as_str(), gib).with_id(id).from_source(flow_source);
        request.volume_type = volume_type.map(|t| t.to_string());
        let cached = self.site.control().cache_entries().map_err(broken)?;
        let known = |e: &CacheEntryView| self.judge().internal.contains(&e.volume);
        if let Some(image) = &image
            && cached.iter().any(|e| e.image == image.id && !known(e))
        {
            // A create that failed, or one under way in another lane, has filled the cache: what it holds is not known yet.
            let mut judge = self.judge();
            judge.drifted |= judge.group.is_some() || self.is_tolerant();
            drop(judge);
            return Err(StepEnd::Skipped("what the image cache holds is in doubt".to_owned()));
        }
        let begun = self.begin();
        let copy = match source {
            Source::Blank | Source::Image(_) => None,
            Source::Snapshot(name) => {
                let from = self.snapshot_of(name)?.id;
                Some(self.judge().data.begin_copy(from)?)
            }
            Source::Volume(name) => {
                let from = self.volume(name)?.id;
                Some(self.judge().data.begin_copy(from)?)
            }
        };
        let model_source = match source {
            Source::Snapshot(name) => ModelSource::Snapshot(self.snapshot_of(name)?.id),
            Source::Volume(name) => ModelSource::Volume(self.volume(name)?.id),
            Source::Blank | Source::Image(_) => ModelSource::Blank,
        };
        let (allocated, earlier) = (self.allocated()?, self.decided(id));
        let answer = self.site.control().create_volume(request).await;
        self.placed_by(id, allocated, earlier)?;
        let host = self.site.control().volume(id).ok().flatten().and_then(|v| v.host).unwrap_or_default();
        if let Err(error) = answer {
            if let Some(copy) = copy {
                self.judge().data.cancel(copy);
            }
            let operation =
                Operation::CreateVolume { id, size_gib: gib, host, source: model_source, internal: false };
            // A create that failed leaves a row in `error`, as in Cinder; the user deletes it.
            let ended = self.refused_or_failed(step, begun, &operation, &error);
            if matches!(ended, StepEnd::Refused(_)) && self.site.control().volume(id).ok().flatten().is_some()
            {
                let begun = self.begin();
                self.site.control().delete_volume(id).await.map_err(|e| self.failed(step, &e.to_string()))?;
                self.complete(begun, &Operation::DeleteVolume { id }, Answer::Done);
            }
            if let StepEnd::Refused(why) = &ended
                && let Some(finding) = self.refused_for(step, image.as_ref(), why)
            {
                return Err(StepEnd::Findings(vec![finding]));
            }
            return Err(ended);
        }
        // Entries are of one pool, as in Cinder: a volume that was scheduled anew into another pool does not meet them.
        let mut entry =
            image.as_ref().and_then(|i| cached.iter().find(|e| e.image == i.id && e.host == host));
        // A clone of the cached volume that fails is made up for by the image itself, and a service that was started again
        // without the cache leaves alone what it holds.
        if let Some(met) = entry
            && !self.used_since(met)?
        {
            entry = None;
        }
        let made = Made { begun, id, gib, host: &host, model_source, copy };
        self.created(volume, made, source, image.as_ref(), entry)?;
        if let Some(pool) = pool
            && host.split('#').nth(1) != Some(pool.as_str())
        {
            let finding = Finding::new("SCH-001", "placement", "volume", "pool")
                .says(format!("volume {volume} was placed where the story does not allow it"))
                .compared(pool, &host);
            return Err(StepEnd::Findings(vec![finding]));
        }
        Ok(host)
    }

    /// An image is refused for what is wrong with it, and the refusal says so: one that is refused for something else shows
    /// nothing about what it is made for. A stream that a fault cuts is another matter.
    fn refused_for(&self, step: &Step, image: Option<&crate::site::SiteImage>, why: &str) -> Option<Finding> {
        let refusal = image?.refusal;
        if why.contains(refusal) || self.site.faults_fired().contains_key("image.read") {
            return None;
        }
        let ids = blame::must_be_refused(step, Refused::UnsafeImage, self.image_kind(step));
        let finding = Finding::new(ids.first()?, "operation", "image", "refusal")
            .says(format!("`{}` was refused for another reason", crate::story::print_step(step)))
            .compared(format!("a refusal that says {refusal:?}"), why);
        Some(finding)
    }

    /// Somebody has made a clone of this cached volume since.
    fn used_since(&self, entry: &CacheEntryView) -> Result<bool, StepEnd> {
        let now = self.site.control().cache_entries().map_err(broken)?;
        Ok(now.iter().any(|e| e.volume == entry.volume && e.last_used > entry.last_used))
    }

    /// Tells the model of cached volumes that had to go for a new entry: they were deleted as any other volume is.
    fn evicted(&self, entries: &[CacheEntryView]) -> Result<Vec<Finding>, StepEnd> {
        let cached: BTreeSet<VolumeId> = entries.iter().map(|e| e.volume).collect();
        let gone: Vec<VolumeId> = self.judge().internal.difference(&cached).copied().collect();
        let mut findings = Vec::new();
        for id in gone {
            // One that could not be deleted has its row still; who looks at the rows finds it.
            if self.site.control().volume(id).map_err(broken)?.is_some() {
                continue;
            }
            findings.extend(self.complete(self.begin(), &Operation::DeleteVolume { id }, Answer::Done));
            self.judge().internal.remove(&id);
        }
        Ok(findings)
    }

    /// Tells the models about a volume that was made.
    fn created(
        &self,
        volume: &Name,
        made: Made<'_>,
        source: &Source,
        image: Option<&crate::site::SiteImage>,
        entry: Option<&CacheEntryView>,
    ) -> Result<(), StepEnd> {
        let Made { begun, id, gib, host, model_source, copy } = made;
        let blocks = gib << 21;
        let limit = self.judge().control.backend(host).clone_depth_limit;
        let end_clone = || -> Result<(), StepEnd> {
            match copy {
                Some(copy) => Ok(self.judge().data.end_clone(copy, id, blocks)?),
                None => Ok(()),
            }
        };
        let mut pending: Vec<&'static str> = Vec::new();
        let mut kin = Vec::new();
        let operation = |size_gib, source, internal, id| Operation::CreateVolume {
            id,
            size_gib,
            host: host.to_owned(),
            source,
            internal,
        };
        let mut findings = Vec::new();
        match (source, image, entry) {
            (Source::Image(_), Some(_), Some(entry)) => {
                // The image cache had it: the volume is a clone of the cached one.
                let from = ModelSource::Volume(entry.volume);
                findings.extend(self.complete(begun, &operation(gib, from, false, id), Answer::Done));
                self.judge().data.clone_from(id, entry.volume, blocks)?;
                pending.extend(["IMG-001", "CLN-001"]);
            }
            (Source::Image(_), Some(image), None) => {
                let entries = self.site.control().cache_entries().map_err(broken)?;
                findings.extend(self.evicted(&entries)?);
                let known = self.judge().internal.clone();
                let new = entries.into_iter().filter(|e| e.image == image.id && !known.contains(&e.volume));
                // An entry in another pool came of a try that failed later and was scheduled anew: what it hangs from is not
                // known, and `settle` has the cache begin anew.
                let (made, elsewhere): (Vec<_>, Vec<_>) =
                    new.partition(|e| e.host == host || !self.is_tolerant());
                self.judge().unsettled |= !elsewhere.is_empty();
                // With a cache entry due, the volume was made at minimal size, cloned into the cache, then extended.
                let first = made.first().map_or(gib, |e| e.size_gib.min(gib));
                findings.extend(self.complete(
                    begun,
                    &operation(first, model_source, false, id),
                    Answer::Done,
                ));
                self.judge().data.create(id, first << 21)?;
                if let Some(digests) = &image.digests {
                    self.judge().data.write_image(id, digests, Certainty::Done)?;
                    self.judge().data.flush(id, "IMG-011")?;
                }
                for entry in made {
                    let from = ModelSource::Volume(id);
                    let op = operation(entry.size_gib, from, true, entry.volume);
                    findings.extend(self.complete(self.begin(), &op, Answer::Done));
                    self.judge().data.clone_from(entry.volume, id, entry.size_gib << 21)?;
                    self.judge().internal.insert(entry.volume);
                    self.note_made(entry.volume, limit);
                }
                if first < gib {
                    let op = Operation::Extend { id, size_gib: gib };
                    findings.extend(self.complete(self.begin(), &op, Answer::Done));
                    self.judge().data.extend(id, blocks)?;
                    pending.push("EXT-001");
                }
                pending.push("IMG-001");
            }
            (Source::Snapshot(name), ..) => {
                findings.extend(self.complete(begun, &operation(gib, model_source, false, id), Answer::Done));
                end_clone()?;
                let snapshot = match self.snapshot_of(name) {
                    Ok(snapshot) => snapshot,
                    // Another lane has deleted it since.
                    Err(_) => Snapshot::gone(volume),
                };
                pending.extend(["SNP-001", "SNP-006", "DAT-004"]);
                if self.judge().data.blocks(snapshot.id).is_ok_and(|source| blocks > source) {
                    pending.push("CLN-005");
                }
                let parent = self.judge().volumes.get(&snapshot.volume).map(|v| v.id);
                let depth = parent.and_then(|id| self.judge().control.expected_depth(id));
                if depth.is_some_and(|d| sanbench_check::depth::must_flatten(d, limit)) {
                    pending.extend(["CLN-003", "FLT-001", "FLT-003"]);
                }
                if snapshot.changed_after {
                    pending.push("SNP-002");
                }
                if snapshot.extended_after {
                    pending.push("EXT-005");
                }
                if self.site.promise().flatten_from_snapshot {
                    pending.extend(["FLT-001", "FLT-003"]);
                }
                kin.push(snapshot.volume.clone());
                if let Some(s) = self.judge().snapshots.get_mut(name) {
                    s.children.insert(volume.clone());
                }
            }
            (Source::Volume(name), ..) => {
                end_clone()?;
                let from = self.judge().volumes.get(name).cloned();
                let depth = from.as_ref().and_then(|from| self.judge().control.expected_depth(from.id));
                findings.extend(self.complete(begun, &operation(gib, model_source, false, id), Answer::Done));
                pending.extend(["CLN-001", "DAT-004"]);
                if from.is_some_and(|from| gib > from.size_gib) {
                    pending.push("CLN-005");
                }
                if depth.is_some_and(|d| sanbench_check::depth::must_flatten(d, limit)) {
                    pending.extend(["CLN-003", "FLT-001", "FLT-003"]);
                }
                kin.push(name.clone());
            }
            _ => {
                findings.extend(self.complete(begun, &operation(gib, model_source, false, id), Answer::Done));
                self.judge().data.create(id, blocks)?;
                if self.judge().something_deleted {
                    pending.push("CRE-006");
                }
            }
        }
        self.note_made(id, limit);
        let made = Volume {
            id,
            size_gib: gib,
            hosts: Default::default(),
            kin: Default::default(),
            is_clone: !kin.is_empty(),
            pending: pending.into_iter().collect(),
        };
        self.judge().volumes.insert(volume.clone(), made);
        for other in kin {
            self.judge().relate(volume, &other);
            self.judge().expect(&other, &["CLN-001"]);
        }
        if findings.is_empty() { Ok(()) } else { Err(StepEnd::Findings(findings)) }
    }

    /// A new LUN must respect the limit from now on.
    pub(super) fn note_made(&self, id: VolumeId, limit: i64) {
        let drivers = self.site.drivers();
        let names: Vec<String> =
            drivers.values().filter_map(|d| d.inventory().map(|i| i.lun_name(&id))).collect();
        for name in names {
            self.judge().depths.made(&name, limit);
        }
    }

    pub(super) async fn extend(&self, step: &Step, volume: &Name, gib: u64) -> Ended {
        let v = self.volume(volume)?;
        let operation = Operation::Extend { id: v.id, size_gib: gib };
        let begun = self.begin();
        self.judge().extending.push(v.id);
        let answer = self.site.control().extend_volume(v.id, gib).await;
        // Who reads beside one that failed may see either size until the group is over; then it is in doubt.
        if answer.is_ok() || self.judge().group.is_none() {
            // Another lane may still be at it.
            let mut judge = self.judge();
            if let Some(at) = judge.extending.iter().position(|id| *id == v.id) {
                judge.extending.swap_remove(at);
            }
        }
        let report = match answer {
            Ok(report) => report,
            Err(error) => return Err(self.refused_or_failed(step, begun, &operation, &error)),
        };
        let findings = self.complete(begun, &operation, Answer::Done);
        // Another lane may have deleted it since.
        let _ = self.judge().data.extend(v.id, gib << 21);
        if let Some(v) = self.judge().volumes.get_mut(volume) {
            v.size_gib = v.size_gib.max(gib);
        }
        self.judge().expect(volume, &["EXT-001"]);
        if v.is_clone {
            self.judge().expect(volume, &["EXT-006"]);
        }
        self.judge().changed(volume, true);
        let mut blind = None;
        for (host, seen) in &report.hosts {
            match seen {
                // Another lane may have extended it further already.
                Ok(bytes) if *bytes == gib << 30 || (self.judge().group.is_some() && *bytes > gib << 30) => {
                    self.judge().ledger.compared("EXT-004", 1)
                }
                other => {
                    let observed = match other {
                        Ok(bytes) => format!("{bytes} bytes"),
                        Err(e) => e.to_string(),
                    };
                    blind.get_or_insert((host.clone(), observed));
                }
            }
        }
        if self.judge().group.is_none()
            && findings.is_empty()
            && let Some(finding) = self.all_told(volume, &v, &report).into_iter().next()
        {
            // A fault in the middle of telling them excuses it; `settle` looks whether they see it then.
            let failed = Failed { finding, refused: None, clean: false, raced: false };
            return Err(StepEnd::Failed(Box::new(failed)));
        }
        let told = |h: &Name| self.site.host_name(h).is_some_and(|h| report.hosts.contains_key(&h));
        if let Some(host) = v.hosts.iter().find(|h| !told(h)) {
            // Another lane may be about to detach it, which is no failure.
            if self.judge().group.is_some() {
                self.judge().untold.insert(volume.clone());
            } else {
                blind.get_or_insert((host.to_string(), "it was not told".to_owned()));
            }
        }
        if let Some((host, observed)) = blind.filter(|_| findings.is_empty()) {
            let finding = Finding::new("EXT-004", "capacity", "host", "bytes")
                .says(format!("host {host} does not see the new size of {volume}"))
                .compared(format!("{} bytes", gib << 30), observed);
            return Err(StepEnd::Failed(Box::new(Failed {
                finding,
                refused: None,
                clean: false,
                raced: false,
            })));
        }
        if findings.is_empty() { Ok(String::new()) } else { Err(StepEnd::Findings(findings)) }
    }

    pub(super) async fn snapshot(&self, step: &Step, snapshot: &Name, volume: &Name) -> Ended {
        if self.is_tolerant() && refused(step) == Some(Refused::Exists) {
            // See `manage`: whoever was to take the name has not.
            return Err(StepEnd::Skipped("nobody has taken the name".into()));
        }
        let v = self.volume(volume)?;
        let id = SnapshotId::from_random(self.id_bytes("snapshot", snapshot));
        let operation = Operation::CreateSnapshot { id, volume: v.id };
        let begun = self.begin();
        let copy = self.judge().data.begin_copy(v.id)?;
        if let Err(error) = self.site.control().create_snapshot(v.id, snapshot.as_str(), Some(id)).await {
            self.judge().data.cancel(copy);
            let end = self.refused_or_failed(step, begun, &operation, &error);
            if let StepEnd::Refused(_) = end {
                // What is left of it in the database is in its user's way, who takes it away.
                let _ = self.site.control().delete_snapshot(id).await;
            }
            return Err(end);
        }
        let findings = self.complete(begun, &operation, Answer::Done);
        self.judge().data.end_snapshot(copy, id)?;
        let taken = Snapshot {
            id,
            volume: volume.clone(),
            changed_after: false,
            extended_after: false,
            children: Default::default(),
        };
        self.judge().snapshots.insert(snapshot.clone(), taken);
        self.judge().expect(volume, &["DAT-004"]);
        if findings.is_empty() { Ok(String::new()) } else { Err(StepEnd::Findings(findings)) }
    }

    pub(super) async fn flatten(&self, step: &Step, volume: &Name) -> Ended {
        let id = self.volume(volume)?.id;
        let operation = Operation::Flatten { id };
        let (begun, upsets) = (self.begin(), self.judge().upsets);
        if let Err(error) = self.site.control().flatten_volume(id).await {
            if blame::refusal_class(&error) == Some(Refused::Job) {
                // It has copied a part, which must show nowhere.
                let _ = self.judge().data.flatten(id);
                self.judge().expect(volume, &["FLT-004"]);
            }
            return Err(self.refused_or_failed(step, begun, &operation, &error));
        }
        let findings = self.complete(begun, &operation, Answer::Done);
        // Another lane may have deleted it since.
        let _ = self.judge().data.flatten(id);
        self.judge().expect(volume, &["FLT-001", "DAT-004"]);
        if self.judge().upsets != upsets {
            // An outage began or ended under it.
            self.judge().expect(volume, &["FLT-004", "API-014"]);
        }
        if findings.is_empty() { Ok(String::new()) } else { Err(StepEnd::Findings(findings)) }
    }

    pub(super) async fn delete(&self, step: &Step, volume: &Name) -> Ended {
        let v = self.volume(volume)?;
        let operation = Operation::DeleteVolume { id: v.id };
        let begun = self.begin();
        if let Err(error) = self.site.control().delete_volume(v.id).await {
            return Err(self.refused_or_failed(step, begun, &operation, &error));
        }
        let findings = self.complete(begun, &operation, Answer::Done);
        self.judge().data.delete(v.id)?;
        self.judge().something_deleted = true;
        self.judge().volumes.remove(volume);
        self.judge().wwns.remove(&v.id);
        for name in v.kin {
            self.judge().expect(&name, &["CLN-006"]);
        }
        if findings.is_empty() { Ok(String::new()) } else { Err(StepEnd::Findings(findings)) }
    }

    pub(super) async fn delete_snapshot(&self, step: &Step, snapshot: &Name) -> Ended {
        let taken = self.snapshot_of(snapshot)?;
        let operation = Operation::DeleteSnapshot { id: taken.id };
        let begun = self.begin();
        if let Err(error) = self.site.control().delete_snapshot(taken.id).await {
            return Err(self.refused_or_failed(step, begun, &operation, &error));
        }
        let findings = self.complete(begun, &operation, Answer::Done);
        self.judge().data.delete(taken.id)?;
        self.judge().snapshots.remove(snapshot);
        for name in taken.children.iter().chain([&taken.volume]) {
            self.judge().expect(name, &["CLN-006", "DAT-004"]);
        }
        if findings.is_empty() { Ok(String::new()) } else { Err(StepEnd::Findings(findings)) }
    }
}
