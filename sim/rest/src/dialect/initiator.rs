//! iSCSI initiators: registered by name, bound to a host, with or without CHAP. Secrets are never read back.

use sanbench_array::{Array, Chap, ChapCredentials, ChapUpdate, Command, Initiator, InitiatorPaths, Secret};

use crate::codes::{self, Failure, Topic};
use crate::dialect::sight::Sight;
use crate::dialect::{Call, Ground, count, list};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::{number, truth};
use crate::routes::{Field, Kind, Route, delete, get, may, need, post, put};

/// Longest CHAP name and secret in bytes (RFC 7143 section 13.12 allows 255 for a text value).
const CHAP_BYTES: usize = 255;

fn object(array: &Array, initiator: &Initiator) -> Object {
    let mut object = Object::new()
        .text("ID", initiator.iqn.as_str())
        .text("TYPE", "222")
        .flag("ISFREE", initiator.host.is_none())
        .flag("USECHAP", initiator.use_chap())
        .number("MULTIPATHTYPE", initiator.multipath)
        .number("FAILOVERMODE", initiator.paths.failover_mode)
        .number("SPECIALMODETYPE", initiator.paths.special_mode)
        .text("PATHTYPE", if initiator.paths.preferred { "0" } else { "1" })
        .text("RUNNINGSTATUS", if initiator.sessions > 0 { "27" } else { "28" })
        .text("HEALTHSTATUS", "1")
        .number("vstoreId", initiator.vstore);
    if let Some(name) = initiator.chap_name() {
        object = object.text("CHAPNAME", name);
    }
    if let Some(own) = initiator.mutual_chap() {
        object = object.text("TARGETCHAPNAME", own.name.as_str());
    }
    if let Some(host) = initiator.host {
        let name = array.host(host).map_or("", |host| host.name.as_str());
        object = object.text("PARENTTYPE", "21").number("PARENTID", host).text("PARENTNAME", name);
    }
    object
}

/// Which initiator, where its name is not in the path.
const INITIATOR: &[Field] = &[need("ID", Kind::Name)];
/// What may be set of an initiator.
const SETTINGS: &[Field] = &[
    may("PARENTTYPE", Kind::Choice(&["21"])),
    may("PARENTID", Kind::Id),
    may("USECHAP", Kind::Truth),
    may("CHAPNAME", Kind::Text),
    may("CHAPPASSWORD", Kind::Text),
    may("TARGETCHAPNAME", Kind::Text),
    may("TARGETCHAPPASSWORD", Kind::Text),
    may("MULTIPATHTYPE", Kind::Choice(&["0", "1"])),
    may("FAILOVERMODE", Kind::Choice(&["0", "1", "2", "3"])),
    may("SPECIALMODETYPE", Kind::Choice(&["0", "1", "2", "3"])),
    may("PATHTYPE", Kind::Choice(&["0", "1"])),
];

/// The calls on initiators.
pub(crate) const ROUTES: &[Route] = &[
    get("iscsi_initiator", "Initiators; all, the free ones, or those of a host.", |ground, call| {
        listed(ground.sight(), call)
    })
    .takes(&[&[may("PARENTID", Kind::Id), may("ISFREE", Kind::Truth)]])
    .list(),
    post("iscsi_initiator", "Register an initiator by its iSCSI name.", add).takes(&[INITIATOR, SETTINGS]),
    get("iscsi_initiator/count", "How many initiators there are.", |ground, _| {
        count(ground.sight().initiators().count())
    }),
    put("iscsi_initiator", "Change an initiator.", |ground, call| {
        let iqn = call.need("ID")?.into_owned();
        update(ground, call, iqn)
    })
    .takes(&[INITIATOR, SETTINGS]),
    put("iscsi_initiator/remove_iscsi_from_host", "Unbind an initiator from its host.", |ground, call| {
        let iqn = call.need("ID")?.into_owned();
        ground.apply(Command::UnbindInitiator { iqn }, Topic::Host)?;
        done()
    })
    .takes(&[INITIATOR]),
    get("iscsi_initiator/{id}", "An initiator.", |ground, call| one(ground.sight(), &call.names[1])),
    put("iscsi_initiator/{id}", "Change an initiator.", |ground, call| {
        update(ground, call, call.names[1].clone())
    })
    .takes(&[SETTINGS]),
    delete("iscsi_initiator/{id}", "Forget an initiator that is bound to no host.", |ground, call| {
        ground.apply(Command::DeleteInitiator { iqn: call.names[1].clone() }, Topic::Host)?;
        done()
    }),
];

fn one(sight: Sight<'_>, iqn: &str) -> Answer {
    let initiator = sight.initiator(iqn).ok_or(codes::OBJECT_MISSING)?;
    Ok(Reply::One(object(sight.array, initiator)))
}

fn listed(sight: Sight<'_>, call: &Call<'_>) -> Answer {
    let parent = call.query.get("PARENTID");
    let free = call.query.get("ISFREE").map(|text| truth("ISFREE", text)).transpose()?;
    let wanted = |initiator: &&Initiator| {
        // A host id that is no number is no host's.
        parent.is_none_or(|parent| initiator.host.is_some() && initiator.host == number(parent))
            && free.is_none_or(|free| initiator.host.is_none() == free)
    };
    Ok(Reply::List(list(
        call,
        |_| Vec::new(),
        |iqn| sight.initiator(iqn).filter(&wanted),
        sight.initiators().filter(&wanted),
        |initiator| object(sight.array, initiator),
    )?))
}

fn add(ground: &mut Ground<'_>, call: &Call<'_>) -> Answer {
    let iqn = call.need("ID")?.into_owned();
    let wanted = Wanted::read(call, None)?;
    ground.apply(Command::AddInitiator { iqn: iqn.clone() }, Topic::Host)?;
    let rest = change(ground, &iqn, wanted);
    if let Err(failure) = rest {
        // Nothing stays of a call that was refused; a fresh unbound initiator can always be deleted.
        ground.apply(Command::DeleteInitiator { iqn }, Topic::Host)?;
        return Err(failure);
    }
    one(ground.sight(), &iqn)
}

fn update(ground: &mut Ground<'_>, call: &Call<'_>, iqn: String) -> Answer {
    let current = ground.sight().initiator(&iqn).ok_or(codes::OBJECT_MISSING)?;
    let wanted = Wanted::read(call, Some(current))?;
    change(ground, &iqn, wanted)?;
    one(ground.sight(), &iqn)
}

/// What a call wants of an initiator.
struct Wanted {
    host: Option<u64>,
    chap: ChapUpdate,
    multipath: Option<u8>,
    paths: Option<InitiatorPaths>,
}

impl Wanted {
    fn read(call: &Call<'_>, current: Option<&Initiator>) -> Result<Self, Failure> {
        Ok(Self {
            host: parent(call)?,
            chap: chap(call, current)?,
            multipath: multipath(call)?,
            paths: paths(call, current)?,
        })
    }
}

/// Binding first: it alone can be refused, so that a refused call changes nothing.
fn change(ground: &mut Ground<'_>, iqn: &str, wanted: Wanted) -> Result<(), Failure> {
    let Wanted { host, chap, multipath, paths } = wanted;
    if let Some(host) = host {
        ground.apply(Command::BindInitiator { iqn: iqn.to_owned(), host }, Topic::Host)?;
    }
    if chap != ChapUpdate::Keep || multipath.is_some() {
        ground.apply(Command::UpdateInitiator { iqn: iqn.to_owned(), chap, multipath }, Topic::Host)?;
    }
    if let Some(paths) = paths {
        ground.apply(Command::SetInitiatorPaths { iqn: iqn.to_owned(), paths }, Topic::Host)?;
    }
    Ok(())
}

fn parent(call: &Call<'_>) -> Result<Option<u64>, Failure> {
    match call.fields.text("PARENTID")? {
        Some(id) if !id.is_empty() => Ok(Some(number(&id).ok_or(codes::HOST_MISSING)?)),
        _ => Ok(None),
    }
}

/// FAILOVERMODE, SPECIALMODETYPE and PATHTYPE; what is absent stays.
fn paths(call: &Call<'_>, current: Option<&Initiator>) -> Result<Option<InitiatorPaths>, Failure> {
    let digit = |name: &str, most: u8| match call.fields.text(name)? {
        None => Ok(None),
        Some(text) => match number(&text).and_then(|n| u8::try_from(n).ok()).filter(|n| *n <= most) {
            Some(n) => Ok(Some(n)),
            None => Err(Failure::parameter(format!("{name} must be 0 to {most}"))),
        },
    };
    let (failover, special, path) =
        (digit("FAILOVERMODE", 3)?, digit("SPECIALMODETYPE", 3)?, digit("PATHTYPE", 1)?);
    if failover.is_none() && special.is_none() && path.is_none() {
        return Ok(None);
    }
    let before = current.map(|initiator| initiator.paths).unwrap_or_default();
    Ok(Some(InitiatorPaths {
        failover_mode: failover.unwrap_or(before.failover_mode),
        special_mode: special.unwrap_or(before.special_mode),
        preferred: path.map_or(before.preferred, |path| path == 0),
    }))
}

fn multipath(call: &Call<'_>) -> Result<Option<u8>, Failure> {
    match call.fields.text("MULTIPATHTYPE")?.as_deref() {
        None => Ok(None),
        Some("0") => Ok(Some(0)),
        Some("1") => Ok(Some(1)),
        Some(_) => Err(Failure::parameter("MULTIPATHTYPE must be 0 or 1")),
    }
}

/// USECHAP, CHAPNAME, CHAPPASSWORD. Switching CHAP on needs both, unless it is on already. TARGETCHAPNAME and
/// TARGETCHAPPASSWORD (names of ours: no source tells the vendor's) make it mutual.
fn chap(call: &Call<'_>, current: Option<&Initiator>) -> Result<ChapUpdate, Failure> {
    let Some(wanted) = call.fields.text("USECHAP")? else { return Ok(ChapUpdate::Keep) };
    if !truth("USECHAP", &wanted)? {
        return Ok(ChapUpdate::Disable);
    }
    let name = call.fields.text("CHAPNAME")?;
    let secret = call.fields.text("CHAPPASSWORD")?;
    match (name, secret) {
        (Some(name), Some(secret)) => {
            if [&name, &secret].iter().any(|text| text.is_empty() || text.len() > CHAP_BYTES) {
                return Err(Failure::parameter("CHAPNAME and CHAPPASSWORD must have 1 to 255 bytes"));
            }
            let initiator =
                ChapCredentials { name: name.into_owned(), secret: Secret::new(secret.as_bytes()) };
            Ok(ChapUpdate::Enable(Chap { initiator, mutual: mutual(call)? }))
        }
        (None, None) if current.is_some_and(Initiator::use_chap) => Ok(ChapUpdate::Keep),
        _ => Err(Failure::parameter("CHAPNAME and CHAPPASSWORD are missing")),
    }
}

/// What the target proves in return.
fn mutual(call: &Call<'_>) -> Result<Option<ChapCredentials>, Failure> {
    match (call.fields.text("TARGETCHAPNAME")?, call.fields.text("TARGETCHAPPASSWORD")?) {
        (None, None) => Ok(None),
        (Some(name), Some(secret))
            if [&name, &secret].iter().all(|text| (1..=CHAP_BYTES).contains(&text.len())) =>
        {
            Ok(Some(ChapCredentials { name: name.into_owned(), secret: Secret::new(secret.as_bytes()) }))
        }
        _ => Err(Failure::parameter("TARGETCHAPNAME and TARGETCHAPPASSWORD must both have 1 to 255 bytes")),
    }
}
