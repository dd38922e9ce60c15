//! What a disk spoils below the array: nobody gets it as good data (DAT-006).

use std::time::Duration;

use sanbench_api::BlockError;

use super::*;
use crate::plan::Spoiled;

/// How often, and how long, it is waited for what was written to be on disk.
const LOOKS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);
/// How long a read may take until the disk is whole again.
const PATIENCE: Duration = Duration::from_secs(2);

impl Player<'_> {
    /// A page that the volume has at a block is spoilt on disk and read; then it is made whole again.
    pub(super) async fn spoil(&self, step: &Step, volume: &Name, lba: u64, how: Spoiled) -> Ended {
        let device = self.device(step, volume).await?;
        let v = self.volume(volume)?;
        self.fits(volume, v.size_gib, lba * 512, 512)?;
        self.flush(step, volume).await?;
        let right = device.read(lba, 1).await.map_err(|e| self.failed(step, &e.to_string()))?;
        let lun = self.lun_name(&v.id)?;
        let mut spoilt = false;
        for _ in 0..LOOKS {
            spoilt = self.site.spoil(&lun, lba, how).map_err(outages::not_possible)?;
            if spoilt {
                break;
            }
            self.site.env().sleep(PAUSE).await;
        }
        if !spoilt {
            return Err(StepEnd::Skipped(format!(
                "nothing is on disk at block {lba} of {volume}, or it is being copied"
            )));
        }
        // Not for long: background work of the array would meet it as well.
        let seen = self.site.env().timeout(PATIENCE, device.read(lba, 1)).await;
        self.site.mend().map_err(outages::not_possible)?;
        let Ok(seen) = seen else {
            return Err(StepEnd::Skipped(format!("{volume} does not answer while its disk is spoilt")));
        };
        match seen {
            Ok(data) if data != right => {
                let finding = Finding::new("DAT-006", "spoilt", "read", "data")
                    .says(format!("{volume} gives out what its disk spoilt at block {lba}"))
                    .compared("MEDIUM ERROR, or what was written", "other data, as good");
                return Err(StepEnd::Findings(vec![finding]));
            }
            // MEDIUM ERROR or HARDWARE ERROR (SPC-4 table 43).
            Ok(_) | Err(BlockError::Sense { key: 0x3 | 0x4, .. }) => {}
            Err(other) => return Err(self.failed(step, &other.to_string())),
        }
        let again = device.read(lba, 1).await.map_err(|e| self.failed(step, &e.to_string()))?;
        if again != right {
            let finding = Finding::new("DAT-006", "spoilt", "read", "whole")
                .says(format!(
                    "{volume} has other data at block {lba} since its disk was spoilt and mended there"
                ))
                .compared("what was written", "other data");
            return Err(StepEnd::Findings(vec![finding]));
        }
        self.judge().ledger.compared("DAT-006", 1);
        Ok(String::new())
    }
}
