//! Snapshots (array-rest.md 3.3).

use http::Method;
use sanbench_api::{DriverError, RefusalKind};
use serde_json::{Value, json};

use crate::client::{Client, Repeat};
use crate::error::{CallError, after_undo, refuse};
use crate::settle::Made;
use crate::value::{BadAnswer, Obj, Record};

/// A snapshot as the array lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    /// Identity, as text.
    pub(crate) wwn: String,
    /// Id of the LUN it was taken of.
    pub(crate) parent: String,
    /// Capacity in 512-byte sectors.
    pub(crate) sectors: u64,
    health: String,
    running: String,
    pub(crate) mapped: bool,
}

impl Snapshot {
    /// Its content is frozen and readable.
    pub(crate) fn is_active(&self) -> bool {
        self.running == "43"
    }
}

impl Record for Snapshot {
    fn read(value: &Value) -> Result<Self, BadAnswer> {
        let obj = Obj::new("snapshot", value)?;
        Ok(Self {
            id: obj.need("ID")?,
            name: obj.need("NAME")?,
            description: obj.text_or_empty("DESCRIPTION"),
            wwn: obj.text_or_empty("WWN"),
            parent: obj.need("PARENTID")?,
            sectors: obj.need_number("USERCAPACITY")?,
            health: obj.text_or_empty("HEALTHSTATUS"),
            running: obj.text_or_empty("RUNNINGSTATUS"),
            mapped: obj.flag("EXPOSEDTOINITIATOR").unwrap_or(false),
        })
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Client {
    /// The snapshot of that name.
    pub(crate) async fn snapshot_by_name(&self, name: &str) -> Result<Option<Snapshot>, CallError> {
        self.find("snapshot", name).await
    }

    /// The snapshot of that id.
    pub(crate) async fn snapshot(&self, id: &str) -> Result<Option<Snapshot>, CallError> {
        self.get_one("snapshot", id).await
    }

    /// Every snapshot.
    pub(crate) async fn snapshots(&self) -> Result<Vec<Snapshot>, CallError> {
        self.list("snapshot").await
    }

    /// Takes a snapshot of a LUN and activates it. One of that name is taken for ours when description and LUN
    /// agree, else refused. A failure leaves none behind.
    pub(crate) async fn take_snapshot(
        &self,
        name: &str,
        description: &str,
        lun_id: &str,
    ) -> Result<Snapshot, DriverError> {
        let body = json!({
            "TYPE": "27", "NAME": name, "DESCRIPTION": description, "PARENTTYPE": "11", "PARENTID": lun_id,
        });
        let made = self.create("snapshot", &body, || self.snapshot_by_name(name)).await?;
        let (snapshot, new, answered) = match made {
            Made::New(s) => (s, true, true),
            Made::Likely(s) => (s, true, false),
            Made::Found(s) => (s, false, false),
        };
        if !answered && (snapshot.parent != lun_id || snapshot.description != description) {
            return refuse(RefusalKind::Exists, format!("snapshot {name} exists and is not ours"));
        }
        match self.activate(snapshot.clone()).await {
            Ok(active) => Ok(active),
            Err(error) if new => {
                let undo = self.remove_snapshot(&snapshot).await;
                Err(after_undo(error, undo))
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for "43" (active) or "45" (not active) and activates in the latter case.
    async fn activate(&self, snapshot: Snapshot) -> Result<Snapshot, DriverError> {
        let ends = self.env.now() + self.limits.ready;
        let mut at = snapshot;
        let mut round = 0;
        let mut asked = 0;
        loop {
            if !matches!(at.health.as_str(), "" | "0" | "1") {
                return refuse(RefusalKind::JobFailed, format!("snapshot {} is faulty", at.id));
            }
            match at.running.as_str() {
                "43" => return Ok(at),
                "45" => {
                    asked += 1;
                    if asked > self.limits.attempts {
                        return refuse(RefusalKind::JobFailed, format!("snapshot {} stays inactive", at.id));
                    }
                    let body = json!({"SNAPSHOTLIST": [at.id]});
                    match self.call(Method::POST, "snapshot/activate", Some(body), Repeat::Never).await {
                        Ok(_) => {}
                        // Looking at its state tells what a lost answer would have said.
                        Err(e) if e.is_doubtful() => {}
                        Err(e) => return Err(e.into()),
                    }
                }
                _ => {
                    if !self.pause(round, ends).await {
                        return refuse(
                            RefusalKind::JobFailed,
                            format!("snapshot {} did not become ready", at.id),
                        );
                    }
                    round += 1;
                }
            }
            at = match self.snapshot(&at.id).await? {
                Some(snapshot) => snapshot,
                None => return refuse(RefusalKind::JobFailed, format!("snapshot {} vanished", at.id)),
            };
        }
    }

    /// Deactivates and deletes. Callers make sure first that nothing depends on it: stopping ends its content.
    pub(crate) async fn remove_snapshot(&self, snapshot: &Snapshot) -> Result<(), DriverError> {
        let body = json!({"TYPE": "27", "ID": snapshot.id});
        match self.call(Method::PUT, "snapshot/stop", Some(body), Repeat::Safe).await {
            Ok(_) => {}
            Err(e) if e.is_missing() => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        self.delete::<Snapshot>("snapshot", &snapshot.id, &snapshot.name).await.map(drop)
    }
}
