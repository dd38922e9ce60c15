//! Volumes that the array slows down: they are served all the same, and others as fast as before.

use std::time::Duration;

use super::*;

impl Player<'_> {
    /// The array slows a volume down from now on, or no longer with 0.
    pub(super) async fn limit(&self, volume: &Name, iops: u64) -> Ended {
        let id = self.volume(volume)?.id;
        self.site.limit(&self.lun_name(&id)?, iops).await.map_err(outages::not_possible)?;
        let mut judge = self.judge();
        if iops > 0 {
            judge.limits.insert(volume.clone(), iops);
            judge.unlimited.remove(volume);
        } else if let Some(before) = judge.limits.remove(volume) {
            judge.unlimited.insert(volume.clone(), before);
        }
        Ok(String::new())
    }

    /// The plan makes paths slow.
    fn slows(&self) -> bool {
        self.plan.steps.iter().any(|step| matches!(step.step, Step::Slow { .. }))
    }

    /// A volume was written with so many commands since `begun`: slowly if it is to be, else not as if it were.
    pub(super) fn paced(&self, volume: &Name, commands: u64, begun: Duration) -> Result<(), StepEnd> {
        let took = self.site.env().now().saturating_sub(begun);
        let mut judge = self.judge();
        let own = judge.limits.get(volume).copied();
        let former = judge.unlimited.get(volume).copied();
        // What it would be slowed down to.
        let Some(iops) = own.or(former).or(judge.limits.values().min().copied()) else { return Ok(()) };
        // The first command goes through at once.
        let slow =
            Duration::from_secs(commands.saturating_sub(1)) / u32::try_from(iops).unwrap_or(u32::MAX).max(1);
        // Too short to tell one from the other; or something else may have held it up.
        if slow < Duration::from_secs(1) || judge.group.is_some() || judge.outage.any() {
            return Ok(());
        }
        // What is woven in makes nothing quicker, but everything slower.
        let woven = self.is_tolerant()
            && (judge.upsets > 0 || judge.disarmed || !judge.armed.is_empty() || self.slows());
        if own.is_none() && woven {
            return Ok(());
        }
        let (id, says) = match (own, former) {
            (Some(_), _) => ("QOS-001", "has a limit and is served as fast as if it had none"),
            (None, Some(_)) => ("QOS-004", "has no limit any more and is served as slowly as before"),
            (None, None) => ("QOS-001", "has no limit and is slowed down by that of another volume"),
        };
        let right = if own.is_some() { took >= slow * 4 / 5 } else { took < slow / 2 };
        if right {
            judge.ledger.compared(id, commands);
            judge.ledger.compared("QOS-002", if own.is_some() { commands } else { 0 });
            return Ok(());
        }
        let wanted = if own.is_some() { slow * 4 / 5 } else { slow / 2 };
        let wanted =
            format!("{} {} ms", if own.is_some() { "at least" } else { "less than" }, wanted.as_millis());
        let finding = Finding::new(id, "limits", "volume", "time")
            .says(format!("{volume} {says}"))
            .compared(wanted, format!("{} ms", took.as_millis()));
        Err(StepEnd::Findings(vec![finding]))
    }
}
