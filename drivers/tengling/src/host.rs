//! Host objects and iSCSI initiators (array-rest.md 5.1, 5.6).

use http::Method;
use sanbench_api::{DriverError, RefusalKind};
use serde_json::{Value, json};

use crate::client::{Client, Repeat};
use crate::codes;
use crate::config::ChapCredentials;
use crate::error::{CallError, after_undo, refuse};
use crate::names;
use crate::settle::Made;
use crate::value::{BadAnswer, Obj, Record, quote};

/// A host object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Record for Host {
    fn read(value: &Value) -> Result<Self, BadAnswer> {
        let obj = Obj::new("host", value)?;
        Ok(Self { id: obj.need("ID")?, name: obj.need("NAME")? })
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// An initiator object; its id is its IQN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Initiator {
    pub(crate) iqn: String,
    /// Id of the host it is bound to.
    pub(crate) host: Option<String>,
    uses_chap: bool,
    chap_name: Option<String>,
}

impl Record for Initiator {
    fn read(value: &Value) -> Result<Self, BadAnswer> {
        let obj = Obj::new("iscsi_initiator", value)?;
        let bound = obj.flag("ISFREE") != Some(true);
        Ok(Self {
            iqn: obj.need("ID")?,
            host: obj.text("PARENTID").filter(|p| bound && !p.is_empty()).map(|p| p.into_owned()),
            uses_chap: obj.flag("USECHAP").unwrap_or(false),
            chap_name: obj.text("CHAPNAME").filter(|n| !n.is_empty()).map(|n| n.into_owned()),
        })
    }

    fn name(&self) -> &str {
        &self.iqn
    }
}

impl Client {
    /// The host object of a host name.
    pub(crate) async fn host_by_name(&self, name: &str) -> Result<Option<Host>, CallError> {
        self.find("host", name).await
    }

    /// Name of the host object of a host.
    pub(crate) fn host_name(&self, host: &str) -> String {
        match self.defects.host_names_truncated {
            true => host.chars().take(names::LIMIT).collect(),
            false => names::host_name(host),
        }
    }

    /// Finds or creates the host object of a host.
    pub(crate) async fn ensure_host(&self, host: &str) -> Result<Host, DriverError> {
        let name = self.host_name(host);
        if let Some(found) = self.host_by_name(&name).await? {
            return Ok(found);
        }
        let description: String = host.chars().take(200).collect();
        let body = json!({"TYPE": "21", "NAME": name, "OPERATIONSYSTEM": "0", "DESCRIPTION": description});
        Ok(self.create("host", &body, || self.host_by_name(&name)).await?.into_inner())
    }

    /// Registers the initiator and binds it to the host. Bound to another host it is refused, never taken over.
    /// `set_chap` asks to send the CHAP secret even if the array's state looks right: it cannot be read back.
    pub(crate) async fn ensure_initiator(
        &self,
        iqn: &str,
        host: &Host,
        chap: Option<&ChapCredentials>,
        set_chap: bool,
    ) -> Result<(), DriverError> {
        let look = || self.get_one::<Initiator>("iscsi_initiator", iqn);
        let (initiator, mine) = match look().await? {
            Some(found) => (found, false),
            None => {
                let body = json!({"TYPE": "222", "ID": iqn, "USECHAP": "false"});
                match self.create("iscsi_initiator", &body, look).await? {
                    Made::New(made) | Made::Likely(made) => (made, true),
                    Made::Found(found) => (found, false),
                }
            }
        };
        if let Some(other) = initiator.host.as_ref().filter(|h| **h != host.id) {
            let message = format!("initiator {iqn} is bound to the other host {other}");
            return refuse(RefusalKind::Busy, message);
        }
        let right = initiator.uses_chap == chap.is_some()
            && chap
                .is_none_or(|c| !set_chap && initiator.chap_name.as_ref().is_none_or(|n| *n == c.username));
        if initiator.host.is_some() && right {
            return Ok(());
        }
        let mut body = json!({
            "TYPE": "222", "ID": iqn, "PARENTTYPE": "21", "PARENTID": host.id, "MULTIPATHTYPE": "0",
            "USECHAP": if chap.is_some() { "true" } else { "false" },
        });
        if let (Some(chap), Some(map)) = (chap, body.as_object_mut()) {
            map.insert("CHAPNAME".to_owned(), chap.username.as_str().into());
            map.insert("CHAPPASSWORD".to_owned(), chap.password.reveal().into());
        }
        let path = format!("iscsi_initiator/{}", quote(iqn));
        let Err(error) = self.call(Method::PUT, &path, Some(body), Repeat::Safe).await else { return Ok(()) };
        if !mine {
            return Err(error.into());
        }
        // Bound after all, it goes with the host; free, nobody else would ever remove it.
        let undo = match look().await {
            Ok(Some(free)) if free.host.is_none() => self.remove_initiator(&free).await,
            Ok(_) => Ok(()),
            Err(e) => Err(e.into()),
        };
        Err(after_undo(error.into(), undo))
    }

    /// Initiators bound to a host.
    pub(crate) async fn initiators_of(&self, host_id: &str) -> Result<Vec<Initiator>, CallError> {
        let path = format!("iscsi_initiator?PARENTTYPE=21&PARENTID={}", quote(host_id));
        let mut found: Vec<Initiator> = self.list(&path).await?;
        // An array that ignores the parent must not make us unbind a neighbour.
        found.retain(|i| i.host.as_deref() == Some(host_id));
        Ok(found)
    }

    /// Takes CHAP off, unbinds and deletes an initiator object. Missing is success. An array without that DELETE
    /// keeps the free object, which the inventory then lists.
    pub(crate) async fn remove_initiator(&self, initiator: &Initiator) -> Result<(), DriverError> {
        let iqn = &initiator.iqn;
        let path = format!("iscsi_initiator/{}", quote(iqn));
        if initiator.uses_chap {
            let body = json!({"TYPE": "222", "ID": iqn, "USECHAP": "false", "MULTIPATHTYPE": "0"});
            match self.call(Method::PUT, &path, Some(body), Repeat::Safe).await {
                Ok(_) => {}
                Err(e) if e.is_missing() => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
        if initiator.host.is_some() {
            let body = json!({"TYPE": "222", "ID": iqn});
            let path = "iscsi_initiator/remove_iscsi_from_host";
            self.ensure(Method::PUT, path, Some(body), codes::INITIATOR_NOT_BOUND).await?;
        }
        match self.call(Method::DELETE, &path, None, Repeat::Safe).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_missing() => Ok(()),
            Err(e) if matches!(e.kind(), Some(RefusalKind::InvalidInput | RefusalKind::Unsupported)) => {
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }
}
