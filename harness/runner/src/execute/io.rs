//! Data goes to attached volumes and is read back from all.

use sanbench_flows::Refusal;

use super::remote::Changed;
use super::*;

impl Player<'_> {
    pub(super) async fn write(&self, step: &Step, volume: &Name, at: u64, length: u64) -> Ended {
        let device = self.device(step, volume).await?;
        let v = self.volume(volume)?;
        self.fits(volume, v.size_gib, at, length)?;
        let stamp = self.judge().data.next_stamp(v.id, at / 512, 1);
        let begun = self.site.env().now();
        let mut done = 0;
        while done < length {
            let count = (length - done).min(WRITE_CHUNK);
            let mut buffer = vec![0; usize::try_from(count).unwrap_or(0)];
            stamp.at((at + done) / 512).fill(&mut buffer);
            let lba = (at + done) / 512;
            let following = self.begin_following(volume);
            let ticket = self.judge().data.begin_write(&stamp.at(lba), count / 512)?;
            let written = device.write(lba, Bytes::from(buffer)).await;
            let certainty = if written.is_ok() { Certainty::Done } else { Certainty::Unknown };
            self.judge().data.end_change(ticket, certainty)?;
            let changed = Changed::Written(&stamp.at(lba), count / 512);
            self.followed_afar(following.as_ref(), changed, certainty)?;
            if let Err(e) = written {
                return Err(self.write_failed(step, volume, &e));
            }
            done += count;
        }
        self.paced(volume, length.div_ceil(WRITE_CHUNK), begun)?;
        self.judge().outage.wrote(volume);
        let partial = !at.is_multiple_of(64 << 10) || !length.is_multiple_of(64 << 10);
        self.judge().expect(volume, &["DAT-001"]);
        if v.is_clone && partial {
            self.judge().expect(volume, &["CLN-009"]);
        }
        self.judge().expect_kin(volume, &["CLN-001"]);
        self.judge().changed(volume, false);
        Ok(String::new())
    }

    /// The range lies on the volume; where the story took another turn it may not.
    pub(super) fn fits(&self, volume: &Name, size_gib: u64, at: u64, length: u64) -> Result<(), StepEnd> {
        if at.saturating_add(length) <= size_gib << 30 {
            return Ok(());
        }
        let why = format!("the story goes beyond the end of {volume}");
        let drifted = self.judge().drifted || self.judge().group.is_some();
        Err(if drifted { StepEnd::Skipped(why) } else { StepEnd::Broken(why) })
    }

    pub(super) async fn unmap(&self, step: &Step, volume: &Name, at: u64, length: u64) -> Ended {
        let device = self.device(step, volume).await?;
        let v = self.volume(volume)?;
        self.fits(volume, v.size_gib, at, length)?;
        let id = v.id;
        let blocks =
            u32::try_from(length / 512).map_err(|_| StepEnd::Broken("unmap of 2 TiB or more".into()))?;
        let following = self.begin_following(volume);
        let ticket = self.judge().data.begin_unmap(id, at / 512, length / 512)?;
        let done = device.unmap(&[(at / 512, blocks)]).await;
        let certainty = if done.is_ok() { Certainty::Done } else { Certainty::Unknown };
        self.judge().data.end_change(ticket, certainty)?;
        let changed = Changed::Unmapped(at / 512, length / 512);
        self.followed_afar(following.as_ref(), changed, certainty)?;
        done.map_err(|e| self.failed(step, &e.to_string()))?;
        self.judge().expect(volume, &["SCS-007", "DAT-008"]);
        self.judge().expect_kin(volume, &["CLN-001"]);
        self.judge().changed(volume, false);
        Ok(String::new())
    }

    pub(super) async fn flush(&self, step: &Step, volume: &Name) -> Ended {
        let device = self.device(step, volume).await?;
        let id = self.volume(volume)?.id;
        let ticket = self.judge().data.begin_flush(id)?;
        if let Err(e) = device.flush().await {
            self.judge().data.cancel(ticket);
            return Err(self.failed(step, &e.to_string()));
        }
        self.judge().data.end_flush(ticket, "DUR-001")?;
        Ok(String::new())
    }

    /// Reads back every volume that something may have happened to.
    pub(super) async fn read_back(&self, step: &Step) -> Result<Vec<Finding>, StepEnd> {
        if matches!(step, Step::Depth { .. } | Step::Census | Step::Verify { .. } | Step::Scan { .. }) {
            return Ok(Vec::new());
        }
        // Volumes that no host has are all opened before the first is read and closed after the last: the control
        // host then keeps its mapping view meanwhile, as a busy one would.
        let cut_off = self.cut_off();
        let mut waiting = self.judge().waiting();
        waiting.retain(|name| {
            let judge = self.judge();
            judge.volumes.get(name).is_some_and(|v| v.hosts.is_disjoint(&cut_off))
        });
        let mut opened = Vec::new();
        let mut ended = Ok(Vec::new());
        for name in &waiting {
            let v = self.volume(name)?;
            if !v.hosts.is_empty() {
                continue;
            }
            match self.site.control().open_for_reading(v.id).await {
                Ok(local) => opened.push((name.clone(), local)),
                Err(e) => {
                    ended = Err(lost(name, &e));
                    break;
                }
            }
        }
        if ended.is_ok() {
            for name in &waiting {
                let device = opened.iter().find(|(n, _)| n == name).and_then(|(_, local)| local.device());
                let read = match self.size_of(name) {
                    Ok(since) => self.verify_on(name, (self.scan, since), device).await,
                    Err(end) => Err(end),
                };
                match read {
                    Ok(_) => {}
                    Err(StepEnd::Findings(findings)) => ended = Ok(findings),
                    Err(end) => ended = Err(end),
                }
                if !matches!(&ended, Ok(findings) if findings.is_empty()) {
                    break;
                }
            }
        }
        for (name, local) in opened {
            if let Err(e) = local.close().await
                && matches!(&ended, Ok(findings) if findings.is_empty())
            {
                ended = Err(lost(&name, &e));
            }
        }
        match ended {
            Err(StepEnd::Findings(findings)) => Ok(findings),
            other => other,
        }
    }

    /// Reads one volume back, through its host or through the control host; answers the number of blocks compared.
    pub(super) async fn verify(&self, name: &Name, scan: bool) -> Result<u64, StepEnd> {
        let (v, since) = (self.volume(name)?, self.size_of(name)?);
        if !v.hosts.is_empty() {
            return self.verify_on(name, (scan, since), None).await;
        }
        let local = self.site.control().open_for_reading(v.id).await.map_err(|e| lost(name, &e))?;
        let read = self.verify_on(name, (scan, since), local.device()).await;
        let closed = local.close().await;
        let blocks = read?;
        closed.map_err(|e| lost(name, &e))?;
        Ok(blocks)
    }

    /// Blocks of a volume as the model has it now.
    fn size_of(&self, name: &Name) -> Result<u64, StepEnd> {
        let id = self.volume(name)?.id;
        Ok(self.judge().data.blocks(id)?)
    }

    /// Reads one volume back on the given device, else on its host's; its size in blocks when that was asked for.
    pub(super) async fn verify_on(
        &self,
        name: &Name,
        (scan, since): (bool, u64),
        device: Option<Arc<dyn BlockDevice>>,
    ) -> Result<u64, StepEnd> {
        let v = self.volume(name)?;
        let device = match (device, v.hosts.first().and_then(|h| self.site.host_name(h))) {
            (Some(device), _) => device,
            (None, Some(host)) => {
                self.site.control().device(v.id, &host).await.map_err(|e| lost(name, &e))?
            }
            (None, None) => return Err(StepEnd::Broken(format!("no host has a device of {name} to read"))),
        };
        let mut dice = dice(self.seed, "holes", &format!("{name} {}", self.site.env().now().as_nanos()));
        let (verified, findings) = read::verify(&self.judge, v.id, device.as_ref(), &mut dice, (scan, since))
            .await
            .map_err(|e| self.charged_reading(name, unreadable(name, e)))?;
        let findings = self.came_late(name, findings);
        if !findings.is_empty() {
            return Err(StepEnd::Findings(findings));
        }
        let again = self.logins_failed();
        let mut judge = self.judge();
        ["ISC-015", "ISC-024"].iter().for_each(|id| judge.ledger.compared(id, u64::from(again)));
        // Beside other operations a reading proves nothing about the state that they leave.
        if judge.group.is_none() {
            judge.data.verified(v.id)?;
            let pending = match judge.volumes.get_mut(name) {
                Some(v) => std::mem::take(&mut v.pending),
                None => Default::default(),
            };
            for id in pending {
                judge.ledger.compared(id, verified.blocks);
            }
        }
        Ok(verified.blocks)
    }

    pub(super) async fn device(&self, step: &Step, volume: &Name) -> Result<Arc<dyn BlockDevice>, StepEnd> {
        let v = self.volume(volume)?;
        let Some(host) = v.hosts.first() else {
            let why = format!("the story does I/O on {volume}, which is not attached");
            let mut judge = self.judge();
            if !judge.drifted && judge.group.is_none() {
                return Err(StepEnd::Broken(why));
            }
            judge.drifted = true;
            return Err(StepEnd::Skipped(why));
        };
        let host = self.site.host_name(host).ok_or_else(|| missing("host", host))?;
        self.site.control().device(v.id, &host).await.map_err(|e| match &e {
            // A service that went away before it had found the guest's disk again.
            FlowError::Crashed | FlowError::Refused(Refusal::ServiceDown(_)) if self.is_down() => {
                StepEnd::Skipped("the volume service is down, and has to find the disk first".into())
            }
            _ => self.failed(step, &e.to_string()),
        })
    }
}
