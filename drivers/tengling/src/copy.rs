//! Full copies by a background job of the array: clone pair on new products, LUN copy on old ones
//! (array-rest.md 3.4, 3.5). The source is always a snapshot, so the copy shows one instant.

use std::future::Future;
use std::time::Duration;

use http::Method;
use sanbench_api::{DriverError, RefusalKind};
use serde_json::{Value, json};

use crate::client::{Client, Repeat};
use crate::error::{CallError, after_undo, refuse};
use crate::value::{BadAnswer, Obj, Record, quote};

const BLIND_LOOKS: u32 = 5;

/// A LUN copy job.
#[derive(Debug, Clone)]
pub(crate) struct LunCopy {
    pub(crate) id: String,
    pub(crate) name: String,
    health: String,
    running: String,
}

impl Record for LunCopy {
    fn read(value: &Value) -> Result<Self, BadAnswer> {
        let obj = Obj::new("luncopy", value)?;
        Ok(Self {
            id: obj.need("ID")?,
            name: obj.need("NAME")?,
            health: obj.text_or_empty("HEALTHSTATUS"),
            running: obj.text_or_empty("RUNNINGSTATUS"),
        })
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// A clone pair. It has no name, so none can be found again after a lost answer except by its target.
#[derive(Debug, Clone)]
pub(crate) struct ClonePair {
    pub(crate) id: String,
    /// The LUN that it writes.
    pub(crate) target: String,
    copy: String,
    sync: String,
}

impl ClonePair {
    /// Whether this LUN is written by the pair.
    pub(crate) fn copies_to(&self, lun_id: &str) -> bool {
        self.target == lun_id
    }
}

impl Record for ClonePair {
    fn read(value: &Value) -> Result<Self, BadAnswer> {
        let obj = Obj::new("clonepair", value)?;
        Ok(Self {
            id: obj.need("ID")?,
            target: obj.text_or_empty("targetID"),
            copy: obj.text_or_empty("copyStatus"),
            sync: obj.text_or_empty("syncStatus"),
        })
    }

    fn name(&self) -> &str {
        &self.id
    }
}

/// What a look at a job says.
enum Look {
    Running,
    Done,
    Failed(String),
}

impl Client {
    /// Copies a snapshot onto a LUN and removes the job, whatever its end.
    pub(crate) async fn copy(
        &self,
        new: bool,
        name: &str,
        snapshot: &str,
        lun: &str,
    ) -> Result<(), DriverError> {
        if new {
            let pair = self.create_pair(snapshot, lun).await?;
            let result = self.run_pair(&pair).await;
            let gone = self.remove_pair(&pair.id).await;
            finish(result, gone)
        } else {
            let job = self.create_lun_copy(name, snapshot, lun).await?;
            let result = self.run_lun_copy(&job).await;
            let gone = self.remove_lun_copy(&job).await;
            finish(result, gone)
        }
    }

    async fn create_pair(&self, snapshot: &str, lun: &str) -> Result<ClonePair, DriverError> {
        let body = json!({"copyRate": 2, "sourceID": snapshot, "targetID": lun, "isNeedSynchronize": "0"});
        let look = || async {
            let pairs = self.clone_pairs().await?;
            Ok(pairs.into_iter().find(|p| p.copies_to(lun)))
        };
        Ok(self.create("clonepair/relation", &body, look).await?.into_inner())
    }

    /// Every clone pair; none on arrays that cannot list them.
    pub(crate) async fn clone_pairs(&self) -> Result<Vec<ClonePair>, CallError> {
        listed(self.list("clonepair").await)
    }

    /// Every LUN copy; none on arrays without them.
    pub(crate) async fn lun_copies(&self) -> Result<Vec<LunCopy>, CallError> {
        listed(self.list("luncopy").await)
    }

    async fn run_pair(&self, pair: &ClonePair) -> Result<(), DriverError> {
        let body = json!({"ID": pair.id, "copyAction": 0});
        match self.call(Method::PUT, "clonepair/synchronize", Some(body), Repeat::Safe).await {
            Ok(_) => {}
            Err(e) if e.is_doubtful() => {}
            Err(e) => return Err(e.into()),
        }
        self.watch(&pair.id, || async {
            Ok(match self.get_one::<ClonePair>("clonepair", &pair.id).await? {
                None => Look::Failed("the clone pair vanished".to_owned()),
                Some(p) if p.copy != "0" => Look::Failed(format!("copyStatus {:?}", p.copy)),
                Some(p) if p.sync == "2" => Look::Done,
                Some(_) => Look::Running,
            })
        })
        .await
    }

    pub(crate) async fn remove_pair(&self, id: &str) -> Result<(), DriverError> {
        let body = json!({"ID": id, "isDeleteDstLun": false});
        let path = format!("clonepair/{}", quote(id));
        match self.call(Method::DELETE, &path, Some(body), Repeat::Safe).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_missing() => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    async fn create_lun_copy(&self, name: &str, snapshot: &str, lun: &str) -> Result<LunCopy, DriverError> {
        let body = json!({
            "TYPE": 219, "NAME": name, "DESCRIPTION": name, "COPYSPEED": "2", "LUNCOPYTYPE": "1",
            "SOURCELUN": format!("INVALID;{snapshot};INVALID;INVALID;INVALID"),
            "TARGETLUN": format!("INVALID;{lun};INVALID;INVALID;INVALID"),
        });
        let look = || async {
            let jobs = self.lun_copies().await?;
            Ok(jobs.into_iter().find(|j| j.name == name))
        };
        Ok(self.create("luncopy", &body, look).await?.into_inner())
    }

    async fn run_lun_copy(&self, job: &LunCopy) -> Result<(), DriverError> {
        let body = json!({"TYPE": "219", "ID": job.id});
        match self.call(Method::PUT, "luncopy/start", Some(body), Repeat::Safe).await {
            Ok(_) => {}
            Err(e) if e.is_doubtful() => {}
            Err(e) => return Err(e.into()),
        }
        self.watch(&job.id, || async {
            Ok(match self.get_one::<LunCopy>("luncopy", &job.id).await? {
                None => Look::Failed("the LUN copy vanished".to_owned()),
                Some(j) if j.running == "40" => Look::Done,
                Some(j) if j.health != "1" => Look::Failed(format!("HEALTHSTATUS {:?}", j.health)),
                Some(_) => Look::Running,
            })
        })
        .await
    }

    pub(crate) async fn remove_lun_copy(&self, job: &LunCopy) -> Result<(), DriverError> {
        self.delete::<LunCopy>("luncopy", &job.id, &job.name).await.map(drop)
    }

    /// Looks until the job ends, at growing intervals. A look that fails says nothing about the job (API-013).
    async fn watch<F>(&self, id: &str, look: impl Fn() -> F) -> Result<(), DriverError>
    where
        F: Future<Output = Result<Look, CallError>>,
    {
        let ends = self.env.now() + self.limits.job;
        let mut wait: Duration = self.limits.poll / 64;
        let mut blind = 0;
        loop {
            match look().await {
                Ok(Look::Done) => return Ok(()),
                Ok(Look::Failed(why)) => {
                    return refuse(RefusalKind::JobFailed, format!("copy job {id}: {why}"));
                }
                Ok(Look::Running) => blind = 0,
                Err(e) => {
                    blind += 1;
                    if blind >= BLIND_LOOKS {
                        return Err(CallError::Lost(format!("copy job {id} out of sight: {e}")).into());
                    }
                }
            }
            if self.env.now() + wait >= ends {
                return Err(CallError::Lost(format!("copy job {id} did not end in time")).into());
            }
            self.env.sleep(wait).await;
            wait = (wait * 2).min(self.limits.poll);
        }
    }
}

/// The result of a job whose removal ended in `gone`.
fn finish(result: Result<(), DriverError>, gone: Result<(), DriverError>) -> Result<(), DriverError> {
    match result {
        Ok(()) => gone,
        Err(error) => Err(after_undo(error, gone)),
    }
}

fn listed<T>(result: Result<Vec<T>, CallError>) -> Result<Vec<T>, CallError> {
    match result {
        Err(e)
            if matches!(
                e.kind(),
                Some(RefusalKind::InvalidInput | RefusalKind::Unsupported | RefusalKind::NotFound)
            ) =>
        {
            Ok(Vec::new())
        }
        other => other,
    }
}
