//! The objects of the dialect: which call does what. One module for each kind of object, with its rows of the table of
//! calls; each row is a function from a call to an answer, under the array's lock, without waiting for anything.

mod alarm;
mod copy;
mod group;
mod hardware;
mod host;
mod initiator;
mod lun;
mod migration;
mod pair;
mod pool;
mod port;
mod qos;
mod sight;
mod snapshot;
mod system;
mod view;
mod vstore;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use sanbench_array::pair::RemoteLun;
use sanbench_array::{Array, Command, DeviceId, GroupRef, Outcome, Refusal, SYSTEM_VSTORE};

use crate::codes::{self, Failure, Topic};
use crate::envelope::{Answer, Items, Object, Reply};
use crate::query::{Fields, Query, number};
use crate::routes::Route;
use sight::Sight;

/// One call: what the client asks for.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// Path segments after the device id as sent: ids are case-sensitive.
    pub(crate) names: &'a [String],
    pub(crate) query: Query,
    pub(crate) fields: Fields,
}

/// Where calls take effect.
pub(crate) struct Ground<'a> {
    pub(crate) array: &'a mut Array,
    /// The vStore that the session belongs to; none for the administrator's.
    pub(crate) session: Option<u64>,
    /// The vStore that the call is confined to: the session's, or the one that an administrator's call names.
    pub(crate) vstore: Option<u64>,
    /// Time since the world's start.
    pub(crate) now: Duration,
    /// What another array has told of a LUN that the call is about, when the call has asked.
    pub(crate) peer: Option<Result<RemoteLun, Refusal>>,
}

impl Ground<'_> {
    /// Carries out a command; a refusal becomes its code.
    fn apply(&mut self, command: Command, topic: Topic) -> Result<Outcome, Failure> {
        let command = match self.vstore {
            None => command,
            Some(vstore) => Command::Within { vstore, command: Box::new(command) },
        };
        self.array.apply(self.now, command).map_err(|refusal| codes::failure(refusal, topic))
    }

    /// Carries out a command on the array itself, which sessions of vStores may not.
    fn apply_to_array(&mut self, command: Command, topic: Topic) -> Result<Outcome, Failure> {
        self.need_administrator()?;
        self.array.apply(self.now, command).map_err(|refusal| codes::failure(refusal, topic))
    }

    fn need_administrator(&self) -> Result<(), Failure> {
        if self.session.is_some() { Err(codes::NOT_FOR_VSTORES.into()) } else { Ok(()) }
    }

    /// What the call may see.
    fn sight(&self) -> Sight<'_> {
        Sight { array: self.array, vstore: self.vstore }
    }

    /// As [`Ground::apply`], for commands that make an object; gives its id.
    fn create(&mut self, command: Command, topic: Topic) -> Result<u64, Failure> {
        self.apply(command, topic)?.id().ok_or_else(|| Failure::from(codes::BUSY))
    }
}

impl Call<'_> {
    /// A parameter from the query or, else, the body: clients use both places for the same thing.
    fn argument(&self, name: &str) -> Result<Option<Cow<'_, str>>, Failure> {
        match self.query.get(name) {
            Some(value) => Ok(Some(Cow::Borrowed(value))),
            None => self.fields.text(name),
        }
    }

    /// A parameter that must be there.
    fn need(&self, name: &str) -> Result<Cow<'_, str>, Failure> {
        self.argument(name)?.ok_or_else(|| Failure::parameter(format!("{name} is missing")))
    }

    /// A parameter that is a number.
    fn need_number(&self, name: &str) -> Result<u64, Failure> {
        number(&self.need(name)?).ok_or_else(|| Failure::parameter(format!("{name} is not a number")))
    }

    /// A parameter that is an object's id; an id that cannot be one names a missing object.
    fn need_id(&self, name: &str, missing: i64) -> Result<u64, Failure> {
        number(&self.need(name)?).ok_or_else(|| missing.into())
    }

    /// The id in a path segment (0 is the object's name).
    fn id_at(&self, at: usize, missing: i64) -> Result<u64, Failure> {
        self.names.get(at).and_then(|text| number(text)).ok_or_else(|| missing.into())
    }

    /// NAME and DESCRIPTION of a new object.
    fn name_and_description(&self) -> Result<(String, String), Failure> {
        let name = self.fields.text("NAME")?.ok_or_else(|| Failure::parameter("NAME is missing"))?;
        let description = self.fields.text("DESCRIPTION")?.unwrap_or_default();
        Ok((name.into_owned(), description.into_owned()))
    }

    /// ASSOCIATEOBJTYPE and ASSOCIATEOBJID. The caller's own TYPE is optional everywhere and says nothing new.
    fn associated(&self) -> Result<(u64, Cow<'_, str>), Failure> {
        Ok((self.need_number("ASSOCIATEOBJTYPE")?, self.need("ASSOCIATEOBJID")?))
    }
}

/// Type codes (array-rest section 1.5).
pub(crate) mod kind {
    pub(crate) const LUN: u64 = 11;
    pub(crate) const HOST_GROUP: u64 = 14;
    pub(crate) const HOST: u64 = 21;
    pub(crate) const SNAPSHOT: u64 = 27;
    pub(crate) const FC_PORT: u64 = 212;
    pub(crate) const ETH_PORT: u64 = 213;
    pub(crate) const QOS: u64 = 230;
    pub(crate) const VIEW: u64 = 245;
    pub(crate) const LUN_GROUP: u64 = 256;
    pub(crate) const PORT_GROUP: u64 = 257;
    pub(crate) const SMART_CACHE: u64 = 273;
}

/// The LUN or snapshot that a type code and an id name.
fn device(kind: u64, id: &str) -> Result<DeviceId, Failure> {
    match kind {
        kind::LUN => number(id).map(DeviceId::Lun).ok_or_else(|| codes::LUN_MISSING.into()),
        kind::SNAPSHOT => number(id).map(DeviceId::Snapshot).ok_or_else(|| codes::SNAPSHOT_MISSING.into()),
        _ => Err(Failure::parameter("ASSOCIATEOBJTYPE must be 11 or 27")),
    }
}

/// The group that a type code and an id name, and whose codes speak of it.
fn group_ref(kind: u64, id: &str) -> Result<(GroupRef, Topic), Failure> {
    let id = number(id);
    match kind {
        kind::HOST_GROUP => Ok((GroupRef::Host(id.ok_or(codes::HOST_GROUP_MISSING)?), Topic::Host)),
        kind::LUN_GROUP => Ok((GroupRef::Lun(id.ok_or(codes::OBJECT_MISSING)?), Topic::Lun)),
        kind::PORT_GROUP => Ok((GroupRef::Port(id.ok_or(codes::PORT_GROUP_MISSING)?), Topic::Port)),
        _ => Err(Failure::parameter("ASSOCIATEOBJTYPE must be 14, 256 or 257")),
    }
}

/// A list with filter and window. Exact look-ups by NAME and ID go through the array's indices and render one object only.
fn list<T>(
    call: &Call<'_>,
    by_name: impl FnOnce(&str) -> Vec<T>,
    by_id: impl FnOnce(&str) -> Option<T>,
    all: impl Iterator<Item = T>,
    render: impl FnMut(T) -> Object,
) -> Result<Items, Failure> {
    let window = call.query.window()?;
    Ok(match call.query.filter()? {
        None => all.skip(window.skip).take(window.take).map(render).collect(),
        Some(filter) if filter.exact && filter.attribute == "NAME" => {
            let found = by_name(filter.value);
            found.into_iter().skip(window.skip).take(window.take).map(render).collect()
        }
        Some(filter) if filter.exact && filter.attribute == "ID" => {
            by_id(filter.value).into_iter().skip(window.skip).take(window.take).map(render).collect()
        }
        Some(filter) => all
            .map(render)
            .filter(|object| object.has(filter.attribute, |value| filter.accepts(value)))
            .skip(window.skip)
            .take(window.take)
            .collect(),
    })
}

/// A short list that is rendered already, with filter and window.
fn page(call: &Call<'_>, all: impl Iterator<Item = Object>) -> Result<Items, Failure> {
    let window = call.query.window()?;
    let filter = call.query.filter()?;
    Ok(all
        .filter(|object| {
            filter.as_ref().is_none_or(|filter| object.has(filter.attribute, |value| filter.accepts(value)))
        })
        .skip(window.skip)
        .take(window.take)
        .collect())
}

/// The answer of `GET <object>/count`.
fn count(n: usize) -> Answer {
    Ok(Reply::One(Object::new().number("COUNT", n as u64)))
}

/// Text of a list of numbers, as the dialect puts lists into strings: `[1, 2]`.
fn bracketed(items: impl Iterator<Item = String>) -> String {
    let mut out = String::from("[");
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        out.push_str(&item);
    }
    out.push(']');
    out
}

/// 32 hexadecimal digits of an NAA identifier.
fn wwn(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

/// Whether the product has linked clones, split and clone pairs: plain string comparison, as clients do it.
pub(crate) fn is_new(array: &Array) -> bool {
    array.product() >= "V600R003C00"
}

/// The vStore that a call is confined to: that of its session, or `vstoreId` of an administrator's call.
pub(crate) fn confinement(ground: &Ground<'_>, call: &Call<'_>) -> Result<Option<u64>, Failure> {
    let named = match call.query.get("vstoreId") {
        Some(id) => Some(id.to_owned()),
        None => call.fields.text_any_case("vstoreId")?.map(Cow::into_owned),
    };
    let named = match named.filter(|id| !id.is_empty()) {
        None => None,
        Some(id) => Some(number(&id).ok_or(codes::VSTORE_MISSING)?),
    };
    match (ground.session, named) {
        (Some(own), Some(other)) if own != other => Err(codes::VSTORE_MISSING.into()),
        (Some(own), _) => Ok(Some(own)),
        (None, Some(id)) if id != SYSTEM_VSTORE && ground.array.vstore(id).is_none() => {
            Err(codes::VSTORE_MISSING.into())
        }
        (None, named) => Ok(named),
    }
}

/// The calls of all objects.
pub(crate) const ROUTES: &[&[Route]] = &[
    system::ROUTES,
    hardware::ROUTES,
    pool::ROUTES,
    lun::ROUTES,
    snapshot::ROUTES,
    copy::ROUTES,
    migration::ROUTES,
    pair::ROUTES,
    host::ROUTES,
    group::ROUTES,
    view::ROUTES,
    initiator::ROUTES,
    port::ROUTES,
    qos::ROUTES,
    vstore::ROUTES,
    alarm::ROUTES,
];

/// How many objects of each kind exist, by REST names; kinds without objects are left out.
pub(crate) fn counts(array: &Array) -> BTreeMap<&'static str, u64> {
    let all = [
        ("clonepair", array.clone_pairs().count()),
        ("host", array.hosts().count()),
        ("hostgroup", array.host_groups().count()),
        ("ioclass", array.qos().count()),
        ("iscsi_initiator", array.initiators().count()),
        ("lun", array.luns().count()),
        ("lun_migration", array.migrations().count()),
        ("luncopy", array.lun_copies().count()),
        ("lungroup", array.lun_groups().count()),
        ("mappingview", array.views().count()),
        ("portgroup", array.port_groups().count()),
        ("hypermetropair", array.pairs().filter(|pair| pair.is_metro()).count()),
        ("hypermetrodomain", array.domains().count()),
        ("replicationpair", array.pairs().filter(|pair| !pair.is_metro()).count()),
        ("consistentgroup", array.pair_groups().count()),
        ("snapshot", array.snapshots().count()),
        ("storagepool", array.pools().count()),
        ("vstore", array.vstores().count()),
    ];
    all.into_iter().filter(|(_, n)| *n > 0).map(|(object, n)| (object, n as u64)).collect()
}
