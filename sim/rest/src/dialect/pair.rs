//! HyperMetro and remote replication: remote devices, domains, pairs and their consistency groups (array-rest section 9).
//! All of it is the administrator's: for sessions of vStores there is none.

use std::time::Duration;

use sanbench_array::pair::{
    Access, Domain, Mode, Pair, PairCommand, PairGroup, PairKind, PairState, RemoteDevice, Role,
};
use sanbench_array::{Array, Command, Outcome, Refusal};

use crate::codes::{self, Failure, Topic};
use crate::dialect::{Call, Ground, copy, count, list, page};
use crate::envelope::{Answer, Object, Reply, done};
use crate::query::{number, truth};
use crate::routes::{Field, Kind, NAMED, Route, SUBJECT, delete, get, may, need, post, put};

/// Time between two points of an asynchronous pair when the client names none, seconds.
const INTERVAL: u64 = 3_600;

/// Which of the two families a call is about: they differ in codes and in little else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Metro,
    Replication,
}

impl Family {
    fn of(kind: PairKind) -> Self {
        match kind {
            PairKind::Metro { .. } => Self::Metro,
            PairKind::Replication { .. } => Self::Replication,
        }
    }
    fn pair_missing(self) -> i64 {
        match self {
            Self::Metro => codes::METRO_PAIR_MISSING,
            Self::Replication => codes::REPLICATION_PAIR_MISSING,
        }
    }
    fn group_missing(self) -> i64 {
        match self {
            Self::Metro => codes::METRO_GROUP_MISSING,
            Self::Replication => codes::REPLICATION_GROUP_MISSING,
        }
    }
    fn failure(self, refusal: Refusal) -> Failure {
        let code = match (self, refusal) {
            (_, Refusal::NoSuchPair) => self.pair_missing(),
            (_, Refusal::NoSuchPairGroup) => self.group_missing(),
            (Self::Metro, Refusal::Paired) => codes::METRO_PAIR_EXISTS,
            (Self::Metro, Refusal::NotInGroup) => codes::METRO_PAIR_NOT_IN_GROUP,
            (Self::Metro, Refusal::AlreadyInGroup) => codes::METRO_PAIR_IN_GROUP,
            (Self::Metro, Refusal::GroupEmpty) => codes::METRO_GROUP_EMPTY,
            (Self::Replication, Refusal::NotInGroup) => codes::REPLICATION_PAIR_NOT_IN_GROUP,
            (Self::Replication, Refusal::GroupEmpty) => codes::REPLICATION_GROUP_EMPTY,
            _ => return codes::failure(refusal, Topic::Lun),
        };
        code.into()
    }
    fn pairs(self, array: &Array) -> impl Iterator<Item = &Pair> {
        array.pairs().filter(move |pair| Self::of(pair.kind) == self)
    }
    fn groups(self, array: &Array) -> impl Iterator<Item = &PairGroup> {
        array.pair_groups().filter(move |group| Self::of(group.kind) == self)
    }
    fn pair(self, array: &Array, id: u64) -> Option<&Pair> {
        array.pair(id).filter(|pair| Self::of(pair.kind) == self)
    }
    fn group(self, array: &Array, id: u64) -> Option<&PairGroup> {
        array.pair_group(id).filter(|group| Self::of(group.kind) == self)
    }
}

const SPEED: &[Field] = &[may("SPEED", copy::SPEED), may("RECOVERYPOLICY", Kind::Choice(&["1", "2"]))];
const TIMES: &[Field] = &[may("TIMINGVAL", Kind::Number), may("SYNCHRONIZETYPE", Kind::Number)];
const MIRRORS: &[Field] = &[need("ID", Kind::Id), need("RMLIST", Kind::List)];
const ACCESS: &[Field] = &[may("SECRESACCESS", Kind::Choice(&["2", "3"]))];
const LOCAL: &[Field] = &[may("ISLOCALDELETE", Kind::Truth)];

/// The calls.
pub(crate) const ROUTES: &[Route] = &[
    get("remote_device", "Arrays at the other ends of links.", |ground, call| {
        Ok(Reply::List(page(
            call,
            ground.array.remotes().filter(|_| ground.session.is_none()).map(remote_device),
        )?))
    })
    .list(),
    get("remote_device/count", "How many remote devices are known.", |ground, _| {
        count(ground.array.remotes().filter(|_| ground.session.is_none()).count())
    }),
    get("remote_device/{id}", "A remote device.", |ground, call| {
        ground.need_administrator()?;
        let id = call.id_at(1, codes::OBJECT_MISSING)?;
        let device = ground.array.remote(id).ok_or(codes::OBJECT_MISSING)?;
        Ok(Reply::One(remote_device(device)))
    }),
    // ---- HyperMetro
    get("hypermetrodomain", "HyperMetro domains.", |ground, call| {
        let array = &*ground.array;
        Ok(Reply::List(page(
            call,
            array.domains().filter(|_| ground.session.is_none()).map(|domain| domain_object(array, domain)),
        )?))
    })
    .list(),
    get("hypermetrodomain/count", "How many HyperMetro domains there are.", |ground, _| {
        count(ground.array.domains().filter(|_| ground.session.is_none()).count())
    }),
    get("hypermetrodomain/{id}", "A HyperMetro domain.", |ground, call| {
        ground.need_administrator()?;
        let domain = ground.array.domain(call.id_at(1, codes::OBJECT_MISSING)?);
        Ok(Reply::One(domain_object(ground.array, domain.ok_or(codes::OBJECT_MISSING)?)))
    }),
    post(
        "hypermetrodomain",
        "Make a HyperMetro domain with a remote device, on both arrays.",
        |ground, call| {
            let (name, description) = call.name_and_description()?;
            let remote = remote_of(ground, call)?;
            let id = create(ground, Family::Metro, PairCommand::CreateDomain { name, description, remote })?;
            let domain = ground.array.domain(id).ok_or(codes::OBJECT_MISSING)?;
            Ok(Reply::One(domain_object(ground.array, domain)))
        },
    )
    .takes(&[NAMED, &[may("REMOTEDEVICEID", Kind::Id)]]),
    delete("hypermetrodomain/{id}", "Delete a HyperMetro domain without pairs.", |ground, call| {
        let domain = call.id_at(1, codes::OBJECT_MISSING)?;
        run(ground, Family::Metro, PairCommand::DeleteDomain { domain })
    }),
    get("hypermetropair", "HyperMetro pairs.", |ground, call| pairs(ground, call, Family::Metro)).list(),
    get("hypermetropair/count", "How many HyperMetro pairs there are.", |ground, _| {
        count(Family::Metro.pairs(ground.array).filter(|_| ground.session.is_none()).count())
    }),
    get("hypermetropair/{id}", "A HyperMetro pair.", |ground, call| {
        let id = call.id_at(1, codes::METRO_PAIR_MISSING)?;
        one_pair(ground, Family::Metro, id)
    }),
    post("hypermetropair", "Pair a LUN with one of the other array of a domain.", |ground, call| {
        let domain = call.need_id("DOMAINID", codes::OBJECT_MISSING)?;
        let known = ground.array.domain(domain).ok_or(codes::OBJECT_MISSING)?;
        let place = (PairKind::Metro { domain }, known.remote);
        let lun = call.need_id("LOCALOBJID", codes::LUN_MISSING)?;
        let peer = call.need_id("REMOTEOBJID", codes::LUN_MISSING)?;
        // Without a first synchronisation asked for, the little that there is to copy is copied at once.
        let first = call.fields.text("ISFIRSTSYNC")?;
        let start = !first.map(|text| truth("ISFIRSTSYNC", &text)).transpose()?.unwrap_or(false);
        create_pair(ground, call, place, (lun, peer), start)
    })
    .takes(&[
        &[
            need("DOMAINID", Kind::Id),
            need("LOCALOBJID", Kind::Id),
            need("REMOTEOBJID", Kind::Id),
            may("HCRESOURCETYPE", Kind::Number),
            may("ISFIRSTSYNC", Kind::Truth),
        ],
        SPEED,
    ]),
    put("hypermetropair/disable_hcpair", "Pause a HyperMetro pair.", |ground, call| {
        on_pair(ground, call, Family::Metro, |unit| PairCommand::Pause { unit })
    })
    .takes(&[SUBJECT]),
    put("hypermetropair/synchronize_hcpair", "Synchronise a HyperMetro pair.", |ground, call| {
        on_pair(ground, call, Family::Metro, |unit| PairCommand::Sync { unit })
    })
    .takes(&[SUBJECT]),
    put("hypermetropair/swap_hcpair", "Make the other array the preferred one of a pair.", |ground, call| {
        on_pair(ground, call, Family::Metro, |unit| PairCommand::Switch { unit })
    })
    .takes(&[SUBJECT]),
    put(
        "hypermetropair/force_start",
        "Have this half go on although the other one is down.",
        |ground, call| on_pair(ground, call, Family::Metro, |unit| PairCommand::Force { unit }),
    )
    .takes(&[SUBJECT]),
    delete("hypermetropair/{id}", "Delete a paused HyperMetro pair; both LUNs stay.", |ground, call| {
        delete_pair(ground, call, Family::Metro)
    })
    .takes(&[LOCAL]),
    get("hypermetro_consistentgroup", "Consistency groups of HyperMetro pairs.", |ground, call| {
        groups(ground, call, Family::Metro)
    })
    .list(),
    get("hypermetro_consistentgroup/count", "How many HyperMetro groups there are.", |ground, _| {
        count(Family::Metro.groups(ground.array).filter(|_| ground.session.is_none()).count())
    }),
    get("hypermetro_consistentgroup/{id}", "A consistency group of HyperMetro pairs.", |ground, call| {
        one_group(ground, Family::Metro, call.id_at(1, codes::METRO_GROUP_MISSING)?)
    }),
    post("hypermetro_consistentgroup", "Make a consistency group in a domain.", |ground, call| {
        let domain = call.need_id("DOMAINID", codes::OBJECT_MISSING)?;
        let remote = ground.array.domain(domain).ok_or(codes::OBJECT_MISSING)?.remote;
        create_group(ground, call, (PairKind::Metro { domain }, remote))
    })
    .takes(&[NAMED, &[need("DOMAINID", Kind::Id)], SPEED]),
    put("hypermetro_consistentgroup/stop", "Pause a group.", |ground, call| {
        on_group(ground, call, Family::Metro, |unit| PairCommand::Pause { unit })
    })
    .takes(&[SUBJECT]),
    put("hypermetro_consistentgroup/sync", "Synchronise a group.", |ground, call| {
        on_group(ground, call, Family::Metro, |unit| PairCommand::Sync { unit })
    })
    .takes(&[SUBJECT]),
    put(
        "hypermetro_consistentgroup/switch",
        "Make the other array the preferred one of a group.",
        |ground, call| on_group(ground, call, Family::Metro, |unit| PairCommand::Switch { unit }),
    )
    .takes(&[SUBJECT]),
    delete("hypermetro_consistentgroup/{id}", "Delete an empty group.", |ground, call| {
        let group = group_at(ground, call, Family::Metro)?;
        run(ground, Family::Metro, PairCommand::DeleteGroup { group })
    }),
    post("hypermetro/associate/pair", "Put a paused pair into a group.", |ground, call| {
        associate(ground, call, true)
    })
    .takes(&[SUBJECT, &[need("ASSOCIATEOBJID", Kind::Id), may("ASSOCIATEOBJTYPE", Kind::Number)]]),
    delete("hypermetro/associate/pair", "Take a paused pair out of a group.", |ground, call| {
        associate(ground, call, false)
    })
    .takes(&[SUBJECT, &[need("ASSOCIATEOBJID", Kind::Id), may("ASSOCIATEOBJTYPE", Kind::Number)]]),
    // ---- replication
    get("replicationpair", "Replication pairs.", |ground, call| pairs(ground, call, Family::Replication))
        .list(),
    get("replicationpair/count", "How many replication pairs there are.", |ground, _| {
        count(Family::Replication.pairs(ground.array).filter(|_| ground.session.is_none()).count())
    }),
    get("replicationpair/{id}", "A replication pair.", |ground, call| {
        one_pair(ground, Family::Replication, call.id_at(1, codes::REPLICATION_PAIR_MISSING)?)
    }),
    post("replicationpair", "Pair a LUN with a LUN of a remote device, split at first.", |ground, call| {
        let remote = call.need_id("REMOTEDEVICEID", codes::OBJECT_MISSING)?;
        let lun = call.need_id("LOCALRESID", codes::LUN_MISSING)?;
        let peer = call.need_id("REMOTERESID", codes::LUN_MISSING)?;
        create_pair(ground, call, (replication(call)?, remote), (lun, peer), false)
    })
    .takes(&[
        &[
            need("LOCALRESID", Kind::Id),
            need("REMOTERESID", Kind::Id),
            need("REMOTEDEVICEID", Kind::Id),
            may("REMOTEDEVICENAME", Kind::Text),
            may("LOCALRESTYPE", Kind::Number),
            may("REPLICATIONMODEL", Kind::Choice(&["1", "2"])),
        ],
        SPEED,
        TIMES,
    ]),
    put("replicationpair/sync", "Synchronise a replication pair.", |ground, call| {
        on_pair(ground, call, Family::Replication, |unit| PairCommand::Sync { unit })
    })
    .takes(&[SUBJECT]),
    put("replicationpair/split", "Split a replication pair.", |ground, call| {
        on_pair(ground, call, Family::Replication, |unit| PairCommand::Pause { unit })
    })
    .takes(&[SUBJECT]),
    put("replicationpair/switch", "Exchange primary and secondary.", |ground, call| {
        on_pair(ground, call, Family::Replication, |unit| PairCommand::Switch { unit })
    })
    .takes(&[SUBJECT]),
    put("replicationpair/{id}", "Change the secondary protection, speed or times.", |ground, call| {
        let id = call.id_at(1, codes::REPLICATION_PAIR_MISSING)?;
        Family::Replication.pair(ground.array, id).ok_or(codes::REPLICATION_PAIR_MISSING)?;
        update(ground, call, id)
    })
    .takes(&[ACCESS, SPEED, TIMES]),
    delete("replicationpair/{id}", "Delete a split replication pair; both LUNs stay.", |ground, call| {
        delete_pair(ground, call, Family::Replication)
    })
    .takes(&[LOCAL]),
    get("consistentgroup", "Consistency groups of replication pairs.", |ground, call| {
        groups(ground, call, Family::Replication)
    })
    .list(),
    get("consistentgroup/count", "How many replication groups there are.", |ground, _| {
        count(Family::Replication.groups(ground.array).filter(|_| ground.session.is_none()).count())
    }),
    get("consistentgroup/{id}", "A consistency group of replication pairs.", |ground, call| {
        one_group(ground, Family::Replication, call.id_at(1, codes::REPLICATION_GROUP_MISSING)?)
    }),
    post("consistentgroup", "Make a consistency group.", |ground, call| {
        let remote = remote_of(ground, call)?;
        create_group(ground, call, (replication(call)?, remote))
    })
    .takes(&[
        NAMED,
        &[may("REPLICATIONMODEL", Kind::Choice(&["1", "2"])), may("REMOTEDEVICEID", Kind::Id)],
        SPEED,
        TIMES,
    ]),
    put("consistentgroup/{id}", "Change the secondary protection, speed or times.", |ground, call| {
        let id = group_at(ground, call, Family::Replication)?;
        update(ground, call, id)
    })
    .takes(&[ACCESS, SPEED, TIMES]),
    delete("consistentgroup/{id}", "Delete an empty group.", |ground, call| {
        let group = group_at(ground, call, Family::Replication)?;
        run(ground, Family::Replication, PairCommand::DeleteGroup { group })
    }),
    put("add_mirror", "Put split pairs into a group.", |ground, call| mirrors(ground, call, true))
        .takes(&[MIRRORS]),
    put("del_mirror", "Take split pairs out of a group.", |ground, call| mirrors(ground, call, false))
        .takes(&[MIRRORS]),
    put("split_consistency_group", "Split a group.", |ground, call| {
        on_group(ground, call, Family::Replication, |unit| PairCommand::Pause { unit })
    })
    .takes(&[SUBJECT]),
    put("synchronize_consistency_group", "Synchronise a group.", |ground, call| {
        on_group(ground, call, Family::Replication, |unit| PairCommand::Sync { unit })
    })
    .takes(&[SUBJECT]),
    put("switch_group_role", "Exchange primary and secondary of a group.", |ground, call| {
        on_group(ground, call, Family::Replication, |unit| PairCommand::Switch { unit })
    })
    .takes(&[SUBJECT]),
];

// ---- objects

fn remote_device(device: &RemoteDevice) -> Object {
    Object::new()
        .number("ID", device.id)
        .text("TYPE", "224")
        .text("NAME", device.name.as_str())
        .text("WWN", device.serial.as_deref().unwrap_or(""))
        .text("SN", device.serial.as_deref().unwrap_or(""))
        .text("ARRAYTYPE", "1")
        .text("HEALTHSTATUS", if device.is_up { "1" } else { "2" })
        .text("RUNNINGSTATUS", if device.is_up { "10" } else { "11" })
}

fn domain_object(array: &Array, domain: &Domain) -> Object {
    let up = array.remote(domain.remote).is_some_and(|remote| remote.is_up);
    Object::new()
        .number("ID", domain.id)
        .text("TYPE", "15362")
        .text("NAME", domain.name.as_str())
        .text("DESCRIPTION", domain.description.as_str())
        .number("REMOTEDEVICEID", domain.remote)
        // Who goes on in a split is decided by static priority: there is no quorum server.
        .text("CPTYPE", "1")
        .text("RUNNINGSTATUS", if up { "1" } else { "0" })
}

/// RUNNINGSTATUS (array-rest section 1.6).
fn running(kind: PairKind, state: PairState, initial: bool) -> &'static str {
    match (Family::of(kind), state) {
        (_, PairState::Normal) => "1",
        (_, PairState::Invalid) => "35",
        (Family::Metro, PairState::Paused) => "41",
        (Family::Metro, PairState::Interrupted) => "100",
        (Family::Metro, PairState::Syncing) => "23",
        (Family::Replication, PairState::Paused) => "26",
        (Family::Replication, PairState::Interrupted) => "34",
        (Family::Replication, PairState::Syncing) if initial => "21",
        (Family::Replication, PairState::Syncing) => "23",
    }
}

fn health(pair: &Pair) -> &'static str {
    if pair.faulty || pair.state == PairState::Invalid { "2" } else { "1" }
}

fn pair_object(array: &Array, pair: &Pair) -> Object {
    let name = array.lun(pair.lun).map_or("", |lun| lun.name.as_str());
    let remote = array.remote(pair.remote);
    let up = remote.is_some_and(|remote| remote.is_up);
    let object = Object::new()
        .number("ID", pair.id)
        .text("HEALTHSTATUS", health(pair))
        .text("RUNNINGSTATUS", running(pair.kind, pair.state, !pair.complete))
        .flag("ISPRIMARY", pair.role == Role::Primary)
        .text("LINKSTATUS", if up { "1" } else { "2" })
        .number("SPEED", pair.speed)
        .text("RECOVERYPOLICY", if pair.auto_recovery { "1" } else { "2" })
        .flag("ISINCG", pair.group.is_some())
        .text("CGID", pair.group.map(|group| group.to_string()).unwrap_or_default())
        .text("CGNAME", pair.group.and_then(|id| array.pair_group(id)).map_or("", |group| &group.name));
    match pair.kind {
        PairKind::Metro { domain } => object
            .text("TYPE", "15361")
            .text("HCRESOURCETYPE", "1")
            .number("DOMAINID", domain)
            .text("DOMAINNAME", array.domain(domain).map_or("", |domain| &domain.name))
            .number("LOCALOBJID", pair.lun)
            .text("LOCALOBJNAME", name)
            .number("REMOTEOBJID", pair.remote_lun)
            .text("REMOTEOBJNAME", pair.remote_lun_name.as_str())
            .number("SYNCPROGRESS", pair.progress),
        PairKind::Replication { mode } => {
            let follows = pair.state == PairState::Normal;
            object
                .text("TYPE", "263")
                .text("REPLICATIONMODEL", if mode == Mode::Sync { "1" } else { "2" })
                .number("LOCALRESID", pair.lun)
                .text("LOCALRESNAME", name)
                .text("LOCALRESTYPE", "11")
                .number("REMOTERESID", pair.remote_lun)
                .text("REMOTERESNAME", pair.remote_lun_name.as_str())
                .number("REMOTEDEVICEID", pair.remote)
                .text("REMOTEDEVICENAME", remote.map_or("", |remote| &remote.name))
                .text("SECRESACCESS", if pair.access == Access::ReadOnly { "2" } else { "3" })
                .text(
                    "SECRESDATASTATUS",
                    if follows {
                        "1"
                    } else if pair.complete {
                        "2"
                    } else {
                        "3"
                    },
                )
                .text("PRIRESDATASTATUS", "1")
                .flag("ISDATASYNC", follows && mode == Mode::Sync)
                .number("TIMINGVAL", pair.interval.as_secs())
                .text("SYNCHRONIZETYPE", "2")
                .number("REPLICATIONPROGRESS", pair.progress)
        }
    }
}

fn group_object(array: &Array, group: &PairGroup) -> Object {
    let members = || array.pairs_of_group(group.id);
    let first = members().next();
    let object = Object::new()
        .number("ID", group.id)
        .text("NAME", group.name.as_str())
        .text("DESCRIPTION", group.description.as_str())
        .text("HEALTHSTATUS", if members().all(|pair| health(pair) == "1") { "1" } else { "2" })
        .text(
            "RUNNINGSTATUS",
            first.map_or(running(group.kind, PairState::Paused, false), |pair| {
                running(group.kind, pair.state, !pair.complete)
            }),
        )
        .flag("ISPRIMARY", first.is_none_or(|pair| pair.role == Role::Primary))
        .flag("ISEMPTY", first.is_none())
        .number("SPEED", group.speed)
        .text("RECOVERYPOLICY", if group.auto_recovery { "1" } else { "2" });
    match group.kind {
        PairKind::Metro { domain } => object.text("TYPE", "15364").number("DOMAINID", domain),
        PairKind::Replication { mode } => object
            .text("TYPE", "222")
            .text("REPLICATIONMODEL", if mode == Mode::Sync { "1" } else { "2" })
            .text(
                "SECRESACCESS",
                if first.is_none_or(|pair| pair.access == Access::ReadOnly) { "2" } else { "3" },
            )
            .number("TIMINGVAL", group.interval.as_secs()),
    }
}

fn pairs(ground: &Ground<'_>, call: &Call<'_>, family: Family) -> Answer {
    let array = &*ground.array;
    let by_id = |id: &str| number(id).and_then(|id| family.pair(array, id));
    let render = |pair| pair_object(array, pair);
    if ground.session.is_some() {
        return Ok(Reply::List(Default::default()));
    }
    Ok(Reply::List(list(call, |_| Vec::new(), by_id, family.pairs(array), render)?))
}

fn groups(ground: &Ground<'_>, call: &Call<'_>, family: Family) -> Answer {
    let array = &*ground.array;
    let by_id = |id: &str| number(id).and_then(|id| family.group(array, id));
    if ground.session.is_some() {
        return Ok(Reply::List(Default::default()));
    }
    let by_name = |name: &str| family.groups(array).filter(|group| group.name == name).collect();
    let render = |group| group_object(array, group);
    Ok(Reply::List(list(call, by_name, by_id, family.groups(array), render)?))
}

fn one_pair(ground: &Ground<'_>, family: Family, id: u64) -> Answer {
    ground.need_administrator()?;
    let pair = family.pair(ground.array, id).ok_or(family.pair_missing())?;
    Ok(Reply::One(pair_object(ground.array, pair)))
}

fn one_group(ground: &Ground<'_>, family: Family, id: u64) -> Answer {
    ground.need_administrator()?;
    let group = family.group(ground.array, id).ok_or(family.group_missing())?;
    Ok(Reply::One(group_object(ground.array, group)))
}

// ---- changes

fn command(ground: &mut Ground<'_>, family: Family, command: PairCommand) -> Result<Outcome, Failure> {
    ground.need_administrator()?;
    let done = ground.array.apply(ground.now, Command::Pairs(command));
    done.map_err(|refusal| family.failure(refusal))
}

fn run(ground: &mut Ground<'_>, family: Family, what: PairCommand) -> Answer {
    command(ground, family, what)?;
    done()
}

fn create(ground: &mut Ground<'_>, family: Family, what: PairCommand) -> Result<u64, Failure> {
    command(ground, family, what)?.id().ok_or_else(|| codes::BUSY.into())
}

/// REMOTEDEVICEID, or the one array that is known.
fn remote_of(ground: &Ground<'_>, call: &Call<'_>) -> Result<u64, Failure> {
    match call.fields.text("REMOTEDEVICEID")? {
        Some(id) => number(&id).ok_or_else(|| codes::OBJECT_MISSING.into()),
        None => {
            let first = ground.array.remotes().next().map(|remote| remote.id);
            first.ok_or_else(|| codes::OBJECT_MISSING.into())
        }
    }
}

fn replication(call: &Call<'_>) -> Result<PairKind, Failure> {
    let mode = match call.fields.text("REPLICATIONMODEL")?.as_deref() {
        None | Some("1") => Mode::Sync,
        Some("2") => Mode::Async,
        Some(_) => return Err(Failure::parameter("REPLICATIONMODEL must be 1 or 2")),
    };
    Ok(PairKind::Replication { mode })
}

/// SPEED, RECOVERYPOLICY and TIMINGVAL, where they are given.
type Manner = (Option<u8>, Option<bool>, Option<Duration>);

fn manner(call: &Call<'_>) -> Result<Manner, Failure> {
    let speed = match call.fields.text("SPEED")? {
        Some(_) => Some(copy::speed(call, "SPEED")?),
        None => None,
    };
    let auto = match call.fields.text("RECOVERYPOLICY")?.as_deref() {
        None => None,
        Some("1") => Some(true),
        Some("2") => Some(false),
        Some(_) => return Err(Failure::parameter("RECOVERYPOLICY must be 1 or 2")),
    };
    let seconds = match call.fields.text("TIMINGVAL")? {
        None => None,
        Some(text) => Some(number(&text).ok_or_else(|| Failure::parameter("TIMINGVAL is not a number"))?),
    };
    Ok((speed, auto, seconds.map(Duration::from_secs)))
}

fn create_pair(
    ground: &mut Ground<'_>,
    call: &Call<'_>,
    (kind, remote): (PairKind, u64),
    (lun, peer): (u64, u64),
    start: bool,
) -> Answer {
    ground.need_administrator()?;
    let family = Family::of(kind);
    let (speed, auto, interval) = manner(call)?;
    if ground.array.lun(lun).is_none() {
        return Err(codes::LUN_MISSING.into());
    }
    // The other array is asked first; the call comes again with its answer.
    let peer = match ground.peer.take() {
        None => return Err(Failure::ask(remote, peer)),
        Some(answer) => answer.map_err(|refusal| family.failure(refusal))?,
    };
    let new = PairCommand::Create {
        kind,
        remote,
        lun,
        peer,
        speed: speed.unwrap_or(2),
        auto_recovery: auto.unwrap_or(true),
        interval: interval.unwrap_or(Duration::from_secs(INTERVAL)),
        start,
    };
    let id = create(ground, family, new)?;
    one_pair(ground, family, id)
}

fn create_group(ground: &mut Ground<'_>, call: &Call<'_>, (kind, remote): (PairKind, u64)) -> Answer {
    let family = Family::of(kind);
    let (name, description) = call.name_and_description()?;
    let (speed, auto, interval) = manner(call)?;
    let group = PairCommand::CreateGroup {
        name,
        description,
        kind,
        remote,
        speed: speed.unwrap_or(2),
        auto_recovery: auto.unwrap_or(true),
        interval: interval.unwrap_or(Duration::from_secs(INTERVAL)),
    };
    let id = create(ground, family, group)?;
    one_group(ground, family, id)
}

fn on_pair(
    ground: &mut Ground<'_>,
    call: &Call<'_>,
    family: Family,
    what: impl FnOnce(u64) -> PairCommand,
) -> Answer {
    let id = call.need_id("ID", family.pair_missing())?;
    family.pair(ground.array, id).ok_or(family.pair_missing())?;
    run(ground, family, what(id))
}

fn on_group(
    ground: &mut Ground<'_>,
    call: &Call<'_>,
    family: Family,
    what: impl FnOnce(u64) -> PairCommand,
) -> Answer {
    let id = call.need_id("ID", family.group_missing())?;
    family.group(ground.array, id).ok_or(family.group_missing())?;
    run(ground, family, what(id))
}

fn group_at(ground: &Ground<'_>, call: &Call<'_>, family: Family) -> Result<u64, Failure> {
    let id = call.id_at(1, family.group_missing())?;
    family.group(ground.array, id).map(|group| group.id).ok_or_else(|| family.group_missing().into())
}

fn delete_pair(ground: &mut Ground<'_>, call: &Call<'_>, family: Family) -> Answer {
    let id = call.id_at(1, family.pair_missing())?;
    family.pair(ground.array, id).ok_or(family.pair_missing())?;
    let local = call.argument("ISLOCALDELETE")?.map(|text| truth("ISLOCALDELETE", &text)).transpose()?;
    run(ground, family, PairCommand::Delete { pair: id, local: local.unwrap_or(false) })
}

fn update(ground: &mut Ground<'_>, call: &Call<'_>, unit: u64) -> Answer {
    let family = Family::Replication;
    let access = match call.fields.text("SECRESACCESS")?.as_deref() {
        None => None,
        Some("2") => Some(Access::ReadOnly),
        Some("3") => Some(Access::ReadWrite),
        Some(_) => return Err(Failure::parameter("SECRESACCESS must be 2 or 3")),
    };
    let (speed, auto_recovery, interval) = manner(call)?;
    if let Some(access) = access {
        command(ground, family, PairCommand::SetAccess { unit, access })?;
    }
    run(ground, family, PairCommand::Update { unit, speed, auto_recovery, interval })
}

fn associate(ground: &mut Ground<'_>, call: &Call<'_>, join: bool) -> Answer {
    let family = Family::Metro;
    let group = call.need_id("ID", family.group_missing())?;
    let pair = call.need_id("ASSOCIATEOBJID", family.pair_missing())?;
    family.group(ground.array, group).ok_or(family.group_missing())?;
    run(
        ground,
        family,
        if join { PairCommand::Join { group, pair } } else { PairCommand::Leave { group, pair } },
    )
}

fn mirrors(ground: &mut Ground<'_>, call: &Call<'_>, join: bool) -> Answer {
    let family = Family::Replication;
    let group = call.need_id("ID", family.group_missing())?;
    family.group(ground.array, group).ok_or(family.group_missing())?;
    for id in call.fields.list("RMLIST")?.unwrap_or_default() {
        let pair = number(&id).ok_or(family.pair_missing())?;
        let what = if join { PairCommand::Join { group, pair } } else { PairCommand::Leave { group, pair } };
        command(ground, family, what)?;
    }
    done()
}
