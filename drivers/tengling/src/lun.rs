//! LUNs: the array objects behind volumes (array-rest.md 3.1, 3.2).

use http::Method;
use sanbench_api::{DriverError, ParentLink, RefusalKind, Wwn};
use serde_json::{Value, json};

use crate::client::{Client, Repeat};
use crate::error::{CallError, refuse};
use crate::names;
use crate::settle::Made;
use crate::value::{BadAnswer, Obj, Record, quote};

/// 512-byte sectors of one GiB.
pub(crate) const SECTORS_PER_GIB: u64 = 2_097_152;

/// State of the split that makes a linked clone independent (11.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    /// Not asked for.
    Idle,
    /// Running.
    Running,
    /// Ended without success; the link stays.
    Failed,
}

/// A LUN as the array lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lun {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) wwn: Wwn,
    /// Pool name.
    pub(crate) pool: String,
    /// Capacity in 512-byte sectors.
    pub(crate) sectors: u64,
    health: String,
    running: String,
    pub(crate) parent: Option<ParentLink>,
    pub(crate) split: Split,
    /// In a LUN group or seen by an initiator; none when the array does not say.
    pub(crate) mapped: Option<bool>,
    /// Space is allocated on demand.
    pub(crate) thin: bool,
}

impl Record for Lun {
    fn read(value: &Value) -> Result<Self, BadAnswer> {
        let obj = Obj::new("lun", value)?;
        let wwn = obj.need("WWN")?.parse().map_err(|_| BadAnswer { what: "lun", key: "WWN" })?;
        let linked = obj.flag("ISCLONE").unwrap_or(false);
        let source = obj.text("CLONESOURCEID").filter(|s| !s.is_empty());
        let parent = match (linked, source) {
            (true, Some(id)) if obj.number("CLONESOURCETYPE") == Some(27) => {
                Some(ParentLink::Snapshot(id.into_owned()))
            }
            (true, Some(id)) => Some(ParentLink::Lun(id.into_owned())),
            _ => None,
        };
        let in_group = obj.flag("ISADD2LUNGROUP");
        let exposed = obj.flag("EXPOSEDTOINITIATOR");
        Ok(Self {
            id: obj.need("ID")?,
            name: obj.need("NAME")?,
            description: obj.text_or_empty("DESCRIPTION"),
            wwn,
            pool: obj.text_or_empty("PARENTNAME"),
            sectors: obj.need_number("CAPACITY")?,
            health: obj.text_or_empty("HEALTHSTATUS"),
            running: obj.text_or_empty("RUNNINGSTATUS"),
            parent,
            split: match obj.number("SPLITSTATUS") {
                Some(1) => Split::Running,
                Some(2) => Split::Failed,
                _ => Split::Idle,
            },
            mapped: match (in_group, exposed) {
                (None, None) => None,
                (a, b) => Some(a == Some(true) || b == Some(true)),
            },
            thin: obj.number("ALLOCTYPE") == Some(1),
        })
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// What to create.
pub(crate) struct NewLun<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) pool_id: &'a str,
    pub(crate) sectors: u64,
}

/// Body of the call that makes a thin LUN under this name.
fn new_lun(new: &NewLun<'_>, name: &str) -> Value {
    json!({
        "TYPE": "11",
        "NAME": name,
        "DESCRIPTION": new.description,
        "PARENTTYPE": "216",
        "PARENTID": new.pool_id,
        "ALLOCTYPE": "1",
        "CAPACITY": new.sectors,
        "MIRRORPOLICY": "1",
    })
}

impl Client {
    /// The LUN of that name.
    pub(crate) async fn lun_by_name(&self, name: &str) -> Result<Option<Lun>, CallError> {
        self.find("lun", name).await
    }

    /// The LUN of that id.
    pub(crate) async fn lun(&self, id: &str) -> Result<Option<Lun>, CallError> {
        self.get_one("lun", id).await
    }

    /// Every LUN.
    pub(crate) async fn luns(&self) -> Result<Vec<Lun>, CallError> {
        self.list("lun").await
    }

    /// Creates a thin LUN, or finds the one that has the name.
    pub(crate) async fn create_lun(&self, new: &NewLun<'_>) -> Result<Made<Lun>, DriverError> {
        if self.defects.second_create_after_lost_answer {
            return self.create_lun_blindly(new).await;
        }
        let body = new_lun(new, new.name);
        self.create("lun", &body, || self.lun_by_name(new.name)).await
    }

    /// Planted defect D01: nobody looks what became of an attempt whose answer was lost.
    async fn create_lun_blindly(&self, new: &NewLun<'_>) -> Result<Made<Lun>, DriverError> {
        let mut attempt = 0;
        loop {
            let body = new_lun(new, &names::attempt_name(new.name, attempt));
            match self.call(Method::POST, "lun", Some(body), Repeat::Never).await {
                Ok(data) => {
                    let lun = Lun::read(&data).map_err(CallError::from)?;
                    self.rename_lun(&lun.id, new.name, new.description).await?;
                    return Ok(Made::New(Lun { name: new.name.to_owned(), ..lun }));
                }
                Err(e) if e.is_doubtful() && attempt < self.limits.attempts => attempt += 1,
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Waits until the LUN is online ("27"); "53" and "0" mean not yet.
    pub(crate) async fn lun_ready(&self, lun: Lun) -> Result<Lun, DriverError> {
        let ends = self.env.now() + self.limits.ready;
        let mut at = lun;
        let mut round = 0;
        loop {
            let healthy = matches!(at.health.as_str(), "" | "0" | "1");
            match at.running.as_str() {
                "27" if healthy => return Ok(at),
                "27" | "53" | "0" | "" if healthy => {}
                state => {
                    let message = format!("LUN {} has health {:?}, state {state:?}", at.id, at.health);
                    return refuse(RefusalKind::JobFailed, message);
                }
            }
            if !self.pause(round, ends).await {
                return refuse(RefusalKind::JobFailed, format!("LUN {} did not become ready", at.id));
            }
            round += 1;
            at = match self.lun(&at.id).await? {
                Some(lun) => lun,
                None => return refuse(RefusalKind::JobFailed, format!("LUN {} vanished", at.id)),
            };
        }
    }

    /// Grows the LUN to `sectors` in all. Equal is success, also when a repetition finds the work done.
    pub(crate) async fn expand_lun(&self, lun: &Lun, sectors: u64) -> Result<(), DriverError> {
        if lun.sectors == sectors {
            return Ok(());
        }
        let body = json!({"TYPE": "11", "ID": lun.id, "CAPACITY": sectors});
        let Err(error) = self.call(Method::PUT, "lun/expand", Some(body), Repeat::Safe).await else {
            return Ok(());
        };
        // The answer of an earlier attempt may have been lost: then this one is refused because nothing grows.
        match (self.lun(&lun.id).await, error) {
            (Ok(Some(now)), _) if now.sectors == sectors => Ok(()),
            (Err(looking), error) if error.is_doubtful() => Err(crate::error::undecided(&error, &looking)),
            (_, error) => Err(error.into()),
        }
    }

    /// Gives the LUN another name and description.
    pub(crate) async fn rename_lun(&self, id: &str, name: &str, description: &str) -> Result<(), CallError> {
        let body = json!({"TYPE": "11", "ID": id, "NAME": name, "DESCRIPTION": description});
        self.call(Method::PUT, &format!("lun/{}", quote(id)), Some(body), Repeat::Safe).await.map(drop)
    }

    /// Ids and names of the LUN groups that hold the LUN.
    pub(crate) async fn groups_of_lun(&self, id: &str) -> Result<Vec<crate::mapping::Named>, CallError> {
        self.list(&format!("lungroup/associate?TYPE=256&ASSOCIATEOBJTYPE=11&ASSOCIATEOBJID={}", quote(id)))
            .await
    }

    /// True when some host may see the LUN.
    pub(crate) async fn lun_is_mapped(&self, lun: &Lun) -> Result<bool, CallError> {
        match lun.mapped {
            Some(mapped) => Ok(mapped),
            None => Ok(!self.groups_of_lun(&lun.id).await?.is_empty()),
        }
    }
}
