//! Linked clones, their depth, and the split that ends the link (array-rest.md 3.6, 11.6, 11.7).

use std::collections::BTreeSet;

use http::Method;
use sanbench_api::{DriverError, ParentLink, RefusalKind};
use serde_json::json;

use crate::client::{Client, Repeat};
use crate::codes;
use crate::error::{CallError, refuse};
use crate::lun::{Lun, Split};
use crate::names;
use crate::settle::Made;

/// Longest chain that is followed.
const MOST_LINKS: usize = 4096;
/// Looks at a running job that may fail in a row before the job counts as lost from sight.
const BLIND_LOOKS: u32 = 5;

impl Client {
    /// Clones a LUN or snapshot as a linked clone, or finds the LUN that has the name. No helper snapshot: the array
    /// links the clone to its source itself.
    pub(crate) async fn clone_lun(
        &self,
        name: &str,
        description: &str,
        source: &ParentLink,
    ) -> Result<Made<Lun>, DriverError> {
        let (id, kind) = match source {
            ParentLink::Lun(id) => (id, "11"),
            ParentLink::Snapshot(id) => (id, "27"),
        };
        let body = json!({
            "NAME": name, "DESCRIPTION": description, "ISCLONE": true, "CLONESOURCEID": id, "CLONESOURCETYPE": kind,
        });
        self.create("lun", &body, || self.lun_by_name(name)).await
    }

    /// Parent links from this LUN to its root as the array has them now, snapshot-made links and silent parents
    /// included.
    pub(crate) async fn depth(&self, lun: &Lun) -> Result<u32, DriverError> {
        // A parent may be flattened or go away while its chain is walked: then it is walked again.
        'walk: for _ in 0..self.limits.attempts.max(1) {
            let mut at = match self.lun(&lun.id).await? {
                Some(lun) => lun,
                None => return refuse(RefusalKind::NotFound, format!("LUN {} vanished", lun.id)),
            };
            let mut seen = BTreeSet::new();
            let mut depth = 0;
            while let Some(parent) = at.parent.clone() {
                if !(self.defects.silent_parents_not_counted && names::is_silent(&at.name, &at.description)) {
                    depth += 1;
                }
                if !seen.insert(at.id.clone()) || seen.len() > MOST_LINKS {
                    return Err(DriverError::Fault {
                        message: format!("clone chain of LUN {} is a circle", lun.id),
                    });
                }
                let id = match parent {
                    ParentLink::Lun(id) => id,
                    ParentLink::Snapshot(id) => match self.snapshot(&id).await? {
                        Some(snapshot) => snapshot.parent,
                        None => continue 'walk,
                    },
                };
                at = match self.lun(&id).await? {
                    Some(lun) => lun,
                    None => continue 'walk,
                };
            }
            return Ok(depth);
        }
        Err(DriverError::Fault { message: format!("clone chain of LUN {} leads nowhere", lun.id) })
    }

    /// Starts the split and waits for its end; the LUN is independent afterwards. Without a link this does nothing.
    pub(crate) async fn split(&self, lun: &Lun) -> Result<(), DriverError> {
        let ends = self.env.now() + self.limits.job;
        let id = lun.id.as_str();
        let mut started = false;
        let mut failures = 0;
        let mut blind = 0;
        let mut wait = self.limits.poll / 64;
        loop {
            match self.lun(id).await {
                Ok(None) => return refuse(RefusalKind::NotFound, format!("LUN {id} vanished")),
                Ok(Some(now)) if now.parent.is_none() => return Ok(()),
                Ok(Some(now)) => {
                    blind = 0;
                    // What failed before this call asked says nothing about this attempt.
                    if now.split == Split::Failed && started {
                        failures += 1;
                        if failures >= 2 {
                            return refuse(RefusalKind::JobFailed, format!("the split of LUN {id} failed"));
                        }
                        self.env.note("driver", || json!({"event": "split-again", "name": lun.name}));
                        started = false;
                    }
                    if now.split == Split::Running {
                        started = true;
                    } else if !started {
                        started = self.start_split(id).await?;
                    }
                }
                Err(e) if self.defects.poll_error_is_failure => {
                    return refuse(RefusalKind::JobFailed, format!("the split of LUN {id} failed: {e}"));
                }
                // Not seeing a job does not mean that it failed (API-013).
                Err(e) => {
                    blind += 1;
                    if blind >= BLIND_LOOKS {
                        return Err(CallError::Lost(format!("split of LUN {id} out of sight: {e}")).into());
                    }
                }
            }
            if self.env.now() + wait >= ends {
                return Err(CallError::Lost(format!("split of LUN {id} did not end in time")).into());
            }
            self.env.sleep(wait).await;
            wait = (wait * 2).min(self.limits.poll);
        }
    }

    async fn start_split(&self, id: &str) -> Result<bool, DriverError> {
        let body = json!({"ID": id, "SPLITACTION": 1, "ISCLONE": true, "SPLITSPEED": 4});
        match self.call(Method::PUT, "lunclone_split_switch", Some(body), Repeat::Safe).await {
            Ok(_) => Ok(true),
            Err(e) if e.code().is_some_and(|c| codes::NO_SPLIT.contains(&c)) => Ok(true),
            Err(e) if e.is_doubtful() => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

/// The LUNs among `luns` that are linked to this parent.
pub(crate) fn children<'a>(luns: &'a [Lun], parent: &ParentLink) -> Vec<&'a Lun> {
    luns.iter().filter(|l| l.parent.as_ref() == Some(parent)).collect()
}
