//! Host groups, LUN groups and mapping views: one set for each host, with the names of array-rest.md section 4.

use http::Method;
use sanbench_api::DriverError;
use serde_json::{Value, json};

use crate::client::Client;
use crate::codes;
use crate::error::CallError;
use crate::host::Host;
use crate::names;
use crate::value::{BadAnswer, Obj, Record, quote};

/// An object of which only id and name matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Record for Named {
    fn read(value: &Value) -> Result<Self, BadAnswer> {
        let obj = Obj::new("group", value)?;
        Ok(Self { id: obj.need("ID")?, name: obj.need("NAME")? })
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// The objects that map LUNs to one host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mapping {
    pub(crate) host_group: Option<Named>,
    pub(crate) lun_group: Option<Named>,
    pub(crate) view: Option<Named>,
}

/// An element of `lun/associate` to a host: the LUN id and what the association says about it.
struct MappedLun {
    id: String,
    metadata: String,
}

impl Record for MappedLun {
    fn read(value: &Value) -> Result<Self, BadAnswer> {
        let obj = Obj::new("lun", value)?;
        Ok(Self { id: obj.need("ID")?, metadata: obj.text_or_empty("ASSOCIATEMETADATA") })
    }

    fn name(&self) -> &str {
        &self.id
    }
}

const HOST_GROUP: u32 = 14;
const LUN_GROUP: u32 = 256;

impl Client {
    /// The mapping objects of a host as far as they exist.
    pub(crate) async fn mapping(&self, host_id: &str) -> Result<Mapping, CallError> {
        Ok(Mapping {
            host_group: self.find("hostgroup", &names::host_group_name(host_id)).await?,
            // One that is overlooked would let a teardown take the mappings of its LUNs away.
            lun_group: self.find_surely("lungroup", &names::lun_group_name(host_id)).await?,
            view: self.find("mappingview", &names::view_name(host_id)).await?,
        })
    }

    async fn ensure_named(&self, collection: &str, body: Value, name: &str) -> Result<Named, DriverError> {
        if let Some(found) = self.find(collection, name).await? {
            return Ok(found);
        }
        Ok(self.create(collection, &body, || self.find(collection, name)).await?.into_inner())
    }

    /// The host in its host group, creating the group when needed.
    pub(crate) async fn ensure_host_group(&self, host: &Host) -> Result<Named, DriverError> {
        let name = names::host_group_name(&host.id);
        let group = self.ensure_named("hostgroup", json!({"TYPE": "14", "NAME": name}), &name).await?;
        let body = json!({"TYPE": "14", "ID": group.id, "ASSOCIATEOBJTYPE": "21", "ASSOCIATEOBJID": host.id});
        self.ensure(Method::POST, "hostgroup/associate", Some(body), codes::HOST_ALREADY_IN_GROUP).await?;
        Ok(group)
    }

    /// The host's LUN group.
    pub(crate) async fn ensure_lun_group(&self, host: &Host) -> Result<Named, DriverError> {
        let name = names::lun_group_name(&host.id);
        let body = json!({"NAME": name, "APPTYPE": "0", "GROUPTYPE": "0"});
        self.ensure_named("lungroup", body, &name).await
    }

    /// Puts the LUN into the LUN group; repeatable.
    pub(crate) async fn add_lun(&self, group: &Named, lun_id: &str) -> Result<(), DriverError> {
        let body = json!({"ID": group.id, "ASSOCIATEOBJTYPE": "11", "ASSOCIATEOBJID": lun_id});
        self.ensure(Method::POST, "lungroup/associate", Some(body), codes::LUN_ALREADY_IN_GROUP).await?;
        Ok(())
    }

    /// Takes a LUN ("11") or snapshot ("27") out of the LUN group; not being there is success.
    pub(crate) async fn remove_from_lun_group(
        &self,
        group_id: &str,
        kind: u32,
        id: &str,
    ) -> Result<(), DriverError> {
        let path = format!(
            "lungroup/associate?ID={}&ASSOCIATEOBJTYPE={kind}&ASSOCIATEOBJID={}",
            quote(group_id),
            quote(id)
        );
        self.ensure(Method::DELETE, &path, None, codes::LUN_NOT_IN_GROUP).await?;
        Ok(())
    }

    /// The view that joins both groups.
    pub(crate) async fn ensure_view(
        &self,
        host: &Host,
        host_group: &Named,
        lun_group: &Named,
    ) -> Result<Named, DriverError> {
        let name = names::view_name(&host.id);
        let view = self.ensure_named("mappingview", json!({"TYPE": "245", "NAME": name}), &name).await?;
        for (kind, id) in [(HOST_GROUP, &host_group.id), (LUN_GROUP, &lun_group.id)] {
            let body = json!({
                "TYPE": "245", "ID": view.id, "ASSOCIATEOBJTYPE": kind.to_string(), "ASSOCIATEOBJID": id,
            });
            let path = "mappingview/create_associate";
            self.ensure(Method::PUT, path, Some(body), codes::ALREADY_IN_VIEW).await?;
        }
        Ok(view)
    }

    /// Takes a group out of a view; not being there is success.
    pub(crate) async fn remove_from_view(
        &self,
        view_id: &str,
        kind: u32,
        group_id: &str,
    ) -> Result<(), DriverError> {
        let body = json!({
            "TYPE": "245", "ID": view_id, "ASSOCIATEOBJTYPE": kind.to_string(), "ASSOCIATEOBJID": group_id,
        });
        self.ensure(Method::PUT, "mappingview/remove_associate", Some(body), codes::NOT_IN_VIEW).await?;
        Ok(())
    }

    /// Takes the host out of the host group; not being there is success.
    pub(crate) async fn remove_host_from_group(
        &self,
        group_id: &str,
        host_id: &str,
    ) -> Result<(), DriverError> {
        let path = format!(
            "host/associate?TYPE=14&ID={}&ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID={}",
            quote(group_id),
            quote(host_id)
        );
        self.ensure(Method::DELETE, &path, None, codes::HOST_NOT_IN_GROUP).await?;
        Ok(())
    }

    /// LUNs and snapshots in a LUN group.
    async fn members(&self, group_id: &str) -> Result<u64, CallError> {
        let of = format!("ASSOCIATEOBJTYPE=256&ASSOCIATEOBJID={}", quote(group_id));
        let luns = self.count(&format!("lun/count?TYPE=11&{of}")).await?;
        Ok(luns + self.count(&format!("snapshot/count?TYPE=27&{of}")).await?)
    }

    /// Number of LUNs that the host can see through whatever view.
    async fn luns_of_host(&self, host_id: &str) -> Result<Vec<MappedLun>, CallError> {
        self.list(&format!("lun/associate?TYPE=11&ASSOCIATEOBJTYPE=21&ASSOCIATEOBJID={}", quote(host_id)))
            .await
    }

    /// The LUN number under which the host sees this LUN. None when the answer does not have it: there is no default,
    /// a guessed number would be another volume.
    pub(crate) async fn host_lun_id(&self, host_id: &str, lun_id: &str) -> Result<Option<u16>, CallError> {
        let all = self.luns_of_host(host_id).await?;
        let Some(mine) = all.into_iter().find(|l| l.id == lun_id) else { return Ok(None) };
        let metadata: Value = serde_json::from_str(&mine.metadata).unwrap_or_default();
        let number = match metadata.get("HostLUNID") {
            Some(Value::Number(n)) => n.as_u64(),
            Some(Value::String(s)) => s.trim().parse().ok(),
            _ => None,
        };
        // Flat and peripheral addressing (SAM-5 4.7) end at 16383.
        Ok(number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n < 16_384))
    }

    /// Removes the mapping objects, initiators and the host object when the host's LUN group is empty or missing.
    /// Each step may find its work done. Objects that others use (another view on the host) stay.
    pub(crate) async fn tear_down_if_unused(&self, host: &Host) -> Result<(), DriverError> {
        let Mapping { host_group, lun_group, view } = self.mapping(&host.id).await?;
        if let Some(group) = &lun_group {
            match self.members(&group.id).await {
                Ok(0) => {}
                Ok(_) if self.defects.last_detach_for_all => {}
                Ok(_) => return Ok(()),
                Err(e) if e.is_missing() => {}
                Err(e) => return Err(e.into()),
            }
            if let Some(view) = &view {
                self.remove_from_view(&view.id, LUN_GROUP, &group.id).await?;
            }
            self.delete::<Named>("lungroup", &group.id, &group.name).await?;
        }
        if let Some(group) = &host_group {
            if let Some(view) = &view {
                self.remove_from_view(&view.id, HOST_GROUP, &group.id).await?;
            }
            self.remove_host_from_group(&group.id, &host.id).await?;
            self.delete::<Named>("hostgroup", &group.id, &group.name).await?;
        }
        if let Some(view) = &view {
            self.delete::<Named>("mappingview", &view.id, &view.name).await?;
        }
        match self.luns_of_host(&host.id).await {
            Ok(luns) if luns.is_empty() => {}
            Ok(_) => return Ok(()),
            Err(e) if e.is_missing() => {}
            Err(e) => return Err(e.into()),
        }
        for initiator in self.initiators_of(&host.id).await? {
            self.remove_initiator(&initiator).await?;
        }
        self.delete::<Host>("host", &host.id, &host.name).await?;
        Ok(())
    }
}
