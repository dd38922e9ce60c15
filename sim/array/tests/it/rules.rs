//! The referential rules of the management plane, host LUN ids and generations, exports, CHAP records, bounds.

use std::net::SocketAddr;
use std::time::Duration;

use sanbench_array::{
    Array, ArrayConfig, Chap, ChapCredentials, ChapUpdate, Command, CopyStatus, DeviceId, GroupRef, Limits,
    PoolConfig, PortalConfig, Refusal, Secret,
};

const NOW: Duration = Duration::from_secs(1);
const IQN: &str = "iqn.2026-01.example:one";

fn array() -> Array {
    let portal = |port| PortalConfig {
        address: SocketAddr::from(([192, 0, 2, 1], port)),
        port_no: 20_200,
        tpgt: 1,
        controller: 0,
    };
    Array::new(ArrayConfig { portals: vec![portal(3260), portal(3261)], ..ArrayConfig::default() })
}

/// Applies, audits, and gives the new id (0 for commands that make nothing).
fn ask(array: &mut Array, command: Command) -> Result<u64, Refusal> {
    let answer = array.apply(NOW, command).map(|outcome| outcome.id().unwrap_or(0));
    assert_eq!(array.audit(), Vec::<String>::new());
    answer
}

fn ok(array: &mut Array, command: Command) -> u64 {
    let shown = format!("{command:?}");
    ask(array, command).unwrap_or_else(|refusal| panic!("{shown}: {refusal}"))
}

fn refused(array: &mut Array, command: Command, refusal: Refusal) {
    let shown = format!("{command:?}");
    assert_eq!(ask(array, command), Err(refusal), "{shown}");
}

fn lun(array: &mut Array, name: &str) -> u64 {
    let name = name.to_owned();
    ok(array, Command::CreateLun { name, description: String::new(), pool: 0, blocks: 256, thin: true })
}

fn snapshot(array: &mut Array, name: &str, parent: u64) -> u64 {
    ok(array, Command::CreateSnapshot { name: name.to_owned(), description: String::new(), parent })
}

fn clone_of(array: &mut Array, name: &str, source: DeviceId) -> u64 {
    ok(array, Command::CloneLun { name: name.to_owned(), source, description: String::new() })
}

/// Host, host group, LUN group and view, joined, with the initiator bound.
struct Mapping {
    host: u64,
    host_group: u64,
    lun_group: u64,
    view: u64,
}

fn mapping(array: &mut Array, name: &str, iqn: &str) -> Mapping {
    let (name, description) = (|| name.to_owned(), String::new);
    let host = ok(array, Command::CreateHost { name: name(), description: description() });
    let host_group = ok(array, Command::CreateHostGroup { name: name(), description: description() });
    let lun_group = ok(array, Command::CreateLunGroup { name: name(), description: description() });
    let view = ok(array, Command::CreateView { name: name(), description: description() });
    ok(array, Command::AddInitiator { iqn: iqn.to_owned() });
    ok(array, Command::BindInitiator { iqn: iqn.to_owned(), host });
    ok(array, Command::AddHostToGroup { group: host_group, host });
    ok(array, Command::AddToView { view, group: GroupRef::Host(host_group) });
    ok(array, Command::AddToView { view, group: GroupRef::Lun(lun_group) });
    Mapping { host, host_group, lun_group, view }
}

#[test]
fn names_are_unique_for_each_kind_and_bounded() {
    let mut a = array();
    let id = lun(&mut a, "one");
    let again = |name: &str| Command::CreateLun {
        name: name.to_owned(),
        description: String::new(),
        pool: 0,
        blocks: 1,
        thin: true,
    };
    refused(&mut a, again("one"), Refusal::NameExists);
    refused(&mut a, again(""), Refusal::BadName);
    refused(&mut a, again("a\nb"), Refusal::BadName);
    refused(&mut a, again(&"x".repeat(256)), Refusal::BadName);
    snapshot(&mut a, "one", id);
    let other = lun(&mut a, "two");
    let rename = |lun, name: &str| Command::RenameLun { lun, name: name.to_owned(), description: None };
    refused(&mut a, rename(other, "one"), Refusal::NameExists);
    ok(&mut a, rename(other, "two"));
    ok(&mut a, rename(id, "three"));
    ok(&mut a, rename(other, "one"));
    assert_eq!(a.lun_by_name("one").map(|lun| lun.id), Some(other));
    assert!(a.lun_by_name("two").is_none());
}

#[test]
fn sizes_only_grow_and_generations_follow() {
    let mut a = array();
    let id = lun(&mut a, "one");
    let generation = |a: &Array| a.geometry(DeviceId::Lun(id)).unwrap().size_generation;
    let before = generation(&a);
    for blocks in [0, 255, 256] {
        refused(&mut a, Command::ExpandLun { lun: id, blocks }, Refusal::MustGrow);
    }
    refused(&mut a, Command::ExpandLun { lun: id, blocks: u64::MAX }, Refusal::BadParameter);
    assert_eq!(generation(&a), before);
    ok(&mut a, Command::ExpandLun { lun: id, blocks: 257 });
    assert!(generation(&a) > before);
    assert_eq!(a.device(DeviceId::Lun(id)).unwrap().blocks, 257);
}

#[test]
fn a_source_stays_while_something_needs_it() {
    let mut a = array();
    let root = lun(&mut a, "root");
    let snap = snapshot(&mut a, "snap", root);
    let from_inactive = Command::CloneLun {
        name: "x".to_owned(),
        source: DeviceId::Snapshot(snap),
        description: String::new(),
    };
    refused(&mut a, from_inactive, Refusal::NotActivated);
    ok(&mut a, Command::ActivateSnapshots { ids: vec![snap] });
    ok(&mut a, Command::ActivateSnapshots { ids: vec![snap] });
    refused(&mut a, Command::ActivateSnapshots { ids: vec![snap, 999] }, Refusal::NoSuchSnapshot);
    let child = clone_of(&mut a, "child", DeviceId::Snapshot(snap));
    let grandchild = clone_of(&mut a, "grandchild", DeviceId::Lun(child));
    assert_eq!([root, child, grandchild].map(|id| a.clone_depth(id)), [0, 1, 2]);
    refused(&mut a, Command::DeleteLun { lun: root }, Refusal::HasSnapshots);
    refused(&mut a, Command::DeleteLun { lun: child }, Refusal::HasClones);
    refused(&mut a, Command::StopSnapshot { snapshot: snap }, Refusal::HasClones);
    refused(&mut a, Command::DeleteSnapshot { snapshot: snap }, Refusal::HasClones);
    refused(&mut a, Command::StartSplit { lun: root }, Refusal::NotAClone);
    ok(&mut a, Command::StartSplit { lun: child });
    assert_eq!([root, child, grandchild].map(|id| a.clone_depth(id)), [0, 0, 1]);
    refused(&mut a, Command::DeleteSnapshot { snapshot: snap }, Refusal::Activated);
    ok(&mut a, Command::StopSnapshot { snapshot: snap });
    ok(&mut a, Command::StopSnapshot { snapshot: snap });
    ok(&mut a, Command::DeleteSnapshot { snapshot: snap });
    refused(&mut a, Command::DeleteSnapshot { snapshot: snap }, Refusal::NoSuchSnapshot);
    ok(&mut a, Command::DeleteLun { lun: root });
    refused(&mut a, Command::DeleteLun { lun: root }, Refusal::NoSuchLun);
    ok(&mut a, Command::DeleteLun { lun: grandchild });
    ok(&mut a, Command::DeleteLun { lun: child });
    assert_eq!(a.census().internal_layers, 0);
}

#[test]
fn products_differ_in_how_snapshots_are_born() {
    for (product, born) in
        [("V500R007C61", false), ("V600R003C00", false), ("V600R005C30", true), ("6.1.5", false)]
    {
        let mut a = Array::new(ArrayConfig { product: product.to_owned(), ..ArrayConfig::default() });
        let id = lun(&mut a, "one");
        let snap = snapshot(&mut a, "snap", id);
        assert_eq!(a.snapshot(snap).unwrap().is_active(), born, "{product}");
    }
}

#[test]
fn older_products_take_shorter_names() {
    for (product, longest) in [("V300R006C50", 31), ("V500R007C61", 31), ("V600R003C00", 255), ("6.1.5", 255)]
    {
        let mut a = Array::new(ArrayConfig { product: product.to_owned(), ..ArrayConfig::default() });
        let id = lun(&mut a, &"n".repeat(longest));
        let name = "n".repeat(longest + 1);
        refused(&mut a, Command::RenameLun { lun: id, name, description: None }, Refusal::BadName);
    }
}

#[test]
fn chains_are_bounded() {
    let limits = Limits { chain: 3, ..Limits::default() };
    let mut a = Array::new(ArrayConfig { limits, ..ArrayConfig::default() });
    let mut source = lun(&mut a, "0");
    for n in 1..=3 {
        source = clone_of(&mut a, &n.to_string(), DeviceId::Lun(source));
    }
    assert_eq!(a.clone_depth(source), 3);
    let next =
        Command::CloneLun { name: "4".to_owned(), source: DeviceId::Lun(source), description: String::new() };
    refused(&mut a, next, Refusal::TooDeep);
}

#[test]
fn mapping_objects_hold_each_other() {
    let mut a = array();
    let m = mapping(&mut a, "m", IQN);
    let id = lun(&mut a, "one");
    let object = DeviceId::Lun(id);
    ok(&mut a, Command::AddToLunGroup { group: m.lun_group, object });
    refused(&mut a, Command::AddToLunGroup { group: m.lun_group, object }, Refusal::AlreadyInGroup);
    refused(&mut a, Command::AddHostToGroup { group: m.host_group, host: m.host }, Refusal::AlreadyInGroup);
    refused(
        &mut a,
        Command::AddToView { view: m.view, group: GroupRef::Lun(m.lun_group) },
        Refusal::AlreadyInView,
    );
    let second = ok(&mut a, Command::CreateLunGroup { name: "m2".to_owned(), description: String::new() });
    refused(&mut a, Command::AddToView { view: m.view, group: GroupRef::Lun(second) }, Refusal::ViewOccupied);
    refused(
        &mut a,
        Command::RemoveFromView { view: m.view, group: GroupRef::Lun(second) },
        Refusal::NotInView,
    );
    refused(&mut a, Command::RemoveFromLunGroup { group: second, object }, Refusal::NotInGroup);
    refused(&mut a, Command::DeleteLun { lun: id }, Refusal::InLunGroup);
    refused(&mut a, Command::DeleteHost { host: m.host }, Refusal::HostBusy);
    refused(&mut a, Command::DeleteHostGroup { group: m.host_group }, Refusal::GroupInView);
    refused(&mut a, Command::DeleteLunGroup { group: m.lun_group }, Refusal::GroupInView);
    refused(&mut a, Command::DeleteView { view: m.view }, Refusal::ViewBusy);
    refused(&mut a, Command::DeleteInitiator { iqn: IQN.to_owned() }, Refusal::InitiatorBound);

    ok(&mut a, Command::RemoveFromView { view: m.view, group: GroupRef::Host(m.host_group) });
    assert_eq!(a.host_lun_id(m.host, object), None);
    refused(&mut a, Command::DeleteView { view: m.view }, Refusal::ViewBusy);
    ok(&mut a, Command::RemoveFromView { view: m.view, group: GroupRef::Lun(m.lun_group) });
    ok(&mut a, Command::DeleteView { view: m.view });
    refused(&mut a, Command::DeleteHostGroup { group: m.host_group }, Refusal::GroupNotEmpty);
    ok(&mut a, Command::RemoveHostFromGroup { group: m.host_group, host: m.host });
    ok(&mut a, Command::DeleteHostGroup { group: m.host_group });
    refused(&mut a, Command::DeleteHost { host: m.host }, Refusal::HostBusy);
    ok(&mut a, Command::UnbindInitiator { iqn: IQN.to_owned() });
    refused(&mut a, Command::UnbindInitiator { iqn: IQN.to_owned() }, Refusal::InitiatorNotBound);
    ok(&mut a, Command::DeleteHost { host: m.host });
    ok(&mut a, Command::DeleteLunGroup { group: m.lun_group });
    ok(&mut a, Command::DeleteLun { lun: id });
    ok(&mut a, Command::DeleteInitiator { iqn: IQN.to_owned() });
}

#[test]
fn port_groups_hold_ports_and_leave_with_their_view() {
    let mut a = array();
    let port = a.ports().next().unwrap().id;
    let group = ok(&mut a, Command::CreatePortGroup { name: "pg0".to_owned(), description: String::new() });
    let view = ok(&mut a, Command::CreateView { name: "v".to_owned(), description: String::new() });
    ok(&mut a, Command::AddPortToGroup { group, port });
    refused(&mut a, Command::AddPortToGroup { group, port }, Refusal::AlreadyInGroup);
    refused(&mut a, Command::AddPortToGroup { group, port: 1 }, Refusal::NoSuchPort);
    ok(&mut a, Command::AddToView { view, group: GroupRef::Port(group) });
    refused(&mut a, Command::DeletePortGroup { group }, Refusal::GroupInView);
    ok(&mut a, Command::DeleteView { view });
    ok(&mut a, Command::RemovePortFromGroup { group, port });
    ok(&mut a, Command::DeletePortGroup { group });
}

#[test]
fn host_lun_ids_are_the_smallest_free_and_stay() {
    let mut a = array();
    let m = mapping(&mut a, "m", IQN);
    let luns: Vec<u64> = (0..3).map(|n| lun(&mut a, &n.to_string())).collect();
    let object = |n: usize| DeviceId::Lun(luns[n]);
    let mut generation = a.view_generation(IQN);
    let mut changed =
        |a: &Array| std::mem::replace(&mut generation, a.view_generation(IQN)) != a.view_generation(IQN);
    for n in [2, 0, 1] {
        ok(&mut a, Command::AddToLunGroup { group: m.lun_group, object: object(n) });
        assert!(changed(&a));
    }
    assert_eq!(a.view(IQN), [(1, object(2)), (2, object(0)), (3, object(1))]);
    ok(&mut a, Command::RemoveFromLunGroup { group: m.lun_group, object: object(0) });
    assert!(changed(&a));
    assert_eq!(a.view(IQN), [(1, object(2)), (3, object(1))]);
    let snap = snapshot(&mut a, "snap", luns[0]);
    let mapped = Command::AddToLunGroup { group: m.lun_group, object: DeviceId::Snapshot(snap) };
    refused(&mut a, mapped.clone(), Refusal::NotActivated);
    ok(&mut a, Command::ActivateSnapshots { ids: vec![snap] });
    assert!(!changed(&a));
    ok(&mut a, mapped);
    assert!(changed(&a));
    assert_eq!(a.resolve(IQN, 2), Some(DeviceId::Snapshot(snap)));
    refused(&mut a, Command::StopSnapshot { snapshot: snap }, Refusal::InLunGroup);

    let renumber = |number| Command::SetHostLunId {
        view: m.view,
        object: DeviceId::Snapshot(snap),
        host_lun_id: number,
    };
    refused(&mut a, renumber(3), Refusal::HostLunIdTaken);
    refused(&mut a, renumber(9_999), Refusal::BadParameter);
    assert!(a.available_host_lun_ids(m.view).starts_with(&[4, 5]));
    ok(&mut a, renumber(7));
    assert!(changed(&a));
    ok(&mut a, renumber(7));
    assert!(!changed(&a));
    assert_eq!((a.resolve(IQN, 2), a.host_lun_id(m.host, DeviceId::Snapshot(snap))), (None, Some(7)));
    ok(&mut a, Command::ExpandLun { lun: luns[1], blocks: 999 });
    assert!(!changed(&a));
}

#[test]
fn a_host_without_a_free_number_refuses_and_takes_nothing() {
    let limits = Limits { host_lun_id: 2, ..Limits::default() };
    let mut a = Array::new(ArrayConfig { limits, ..ArrayConfig::default() });
    let m = mapping(&mut a, "m", IQN);
    let luns: Vec<u64> = (0..3).map(|n| lun(&mut a, &n.to_string())).collect();
    let add = |n: usize| Command::AddToLunGroup { group: m.lun_group, object: DeviceId::Lun(luns[n]) };
    ok(&mut a, add(0));
    ok(&mut a, add(1));
    refused(&mut a, add(2), Refusal::HostLunIdTaken);
    assert!(a.lun(luns[2]).unwrap().groups.is_empty());
    assert_eq!(a.view(IQN).len(), 2);
}

#[test]
fn exports_are_seen_by_all_and_clash_with_nothing() {
    let mut a = array();
    let luns: Vec<u64> = (0..4).map(|n| lun(&mut a, &n.to_string())).collect();
    ok(&mut a, Command::OpenExport { lun: luns[0] });
    ok(&mut a, Command::OpenExport { lun: luns[1] });
    ok(&mut a, Command::OpenExport { lun: luns[1] });
    let m = mapping(&mut a, "m", IQN);
    ok(&mut a, Command::AddToLunGroup { group: m.lun_group, object: DeviceId::Lun(luns[2]) });
    ok(&mut a, Command::OpenExport { lun: luns[3] });
    assert_eq!(a.exports().collect::<Vec<_>>(), [(luns[0], 0), (luns[1], 1), (luns[3], 3)]);
    assert_eq!(a.host_lun_id(m.host, DeviceId::Lun(luns[2])), Some(2));
    assert_eq!(a.view(IQN).len(), 4);
    let stranger = "iqn.2026-01.example:stranger";
    assert_eq!((a.resolve(stranger, 3), a.resolve(stranger, 2)), (Some(DeviceId::Lun(luns[3])), None));
    refused(&mut a, Command::DeleteLun { lun: luns[0] }, Refusal::Exported);
    let before = a.view_generation(stranger);
    ok(&mut a, Command::CloseExport { lun: luns[0] });
    assert_ne!(a.view_generation(stranger), before);
    ok(&mut a, Command::DeleteLun { lun: luns[0] });
}

#[test]
fn initiators_are_bound_to_one_host_and_keep_their_secret() {
    let mut a = array();
    let m = mapping(&mut a, "m", IQN);
    let other = ok(&mut a, Command::CreateHost { name: "other".to_owned(), description: String::new() });
    let bind = |host| Command::BindInitiator { iqn: IQN.to_owned(), host };
    ok(&mut a, bind(m.host));
    refused(&mut a, bind(other), Refusal::InitiatorBound);
    refused(&mut a, bind(999), Refusal::NoSuchHost);
    refused(&mut a, Command::AddInitiator { iqn: IQN.to_owned() }, Refusal::InitiatorExists);
    refused(&mut a, Command::AddInitiator { iqn: "x".repeat(224) }, Refusal::BadParameter);
    let update = |secret: &str| Command::UpdateInitiator {
        iqn: IQN.to_owned(),
        chap: ChapUpdate::Enable(Chap {
            initiator: ChapCredentials { name: "user".to_owned(), secret: Secret::new(secret) },
            mutual: None,
        }),
        multipath: Some(1),
    };
    refused(&mut a, update(""), Refusal::BadParameter);
    ok(&mut a, update("open sesame"));
    let initiator = a.initiator(IQN).unwrap();
    assert_eq!((initiator.chap_name(), initiator.multipath), (Some("user"), 1));
    assert_eq!(initiator.chap_secret().unwrap().expose(), b"open sesame");
    assert!(!format!("{initiator:?} {:?}", update("open sesame")).contains("sesame"));
    ok(&mut a, Command::UpdateInitiator { iqn: IQN.to_owned(), chap: ChapUpdate::Keep, multipath: None });
    assert!(a.initiator(IQN).unwrap().use_chap());
    ok(
        &mut a,
        Command::UpdateInitiator { iqn: IQN.to_owned(), chap: ChapUpdate::Disable, multipath: Some(0) },
    );
    assert!(!a.initiator(IQN).unwrap().use_chap());
    a.count_session(IQN, true);
    assert_eq!(a.initiator(IQN).unwrap().sessions, 1);
}

#[test]
fn copy_tasks_hold_their_ends() {
    let mut a = array();
    let (source, target) = (lun(&mut a, "source"), lun(&mut a, "target"));
    let copy = |source, target| Command::CreateLunCopy { name: "c".to_owned(), source, target, speed: 2 };
    refused(&mut a, copy(DeviceId::Lun(source), source), Refusal::BadCopyTarget);
    let id = ok(&mut a, copy(DeviceId::Lun(source), target));
    refused(&mut a, Command::DeleteLun { lun: source }, Refusal::InCopy);
    refused(&mut a, Command::DeleteLun { lun: target }, Refusal::InCopy);
    ok(&mut a, Command::StartLunCopy { copy: id });
    assert_eq!(a.lun_copy(id).unwrap().status, CopyStatus::Complete);
    refused(&mut a, Command::StartLunCopy { copy: id }, Refusal::CopyStarted);
    ok(&mut a, Command::DeleteLunCopy { copy: id });
    refused(&mut a, Command::DeleteLunCopy { copy: id }, Refusal::NoSuchLunCopy);
    ok(&mut a, Command::ExpandLun { lun: source, blocks: 300 });
    let pair = Command::CreateClonePair { source: DeviceId::Lun(source), target, rate: 4 };
    refused(&mut a, pair, Refusal::BadCopyTarget);
}

#[test]
fn identities_are_naa_6_and_never_come_back() {
    let mut a = array();
    let mut last = [0; 16];
    for n in 0..50 {
        let id = lun(&mut a, &n.to_string());
        let wwn = a.device(DeviceId::Lun(id)).unwrap().wwn;
        assert!(wwn[0] >> 4 == 6 && wwn > last);
        last = wwn;
        ok(&mut a, Command::DeleteLun { lun: id });
    }
}

#[test]
fn portals_answer_to_both_names() {
    let a = array();
    let portal = &a.portals()[0];
    assert_eq!(portal.iqn, "iqn.2006-08.com.huawei:oceanstor:21003400a30d844d::20200:192.0.2.1");
    assert!(a.accepts_target_name(&portal.iqn) && a.accepts_target_name(a.target_iqn()));
    assert!(!a.accepts_target_name("iqn.2026-01.example:other"));
}

#[test]
fn commands_cannot_make_the_array_grow_without_bound() {
    let limits = Limits { devices: 2, objects: 1, ..Limits::default() };
    let pools = vec![PoolConfig::new("p", 1 << 20)];
    let mut a = Array::new(ArrayConfig { limits, pools, ..ArrayConfig::default() });
    let id = lun(&mut a, "one");
    snapshot(&mut a, "snap", id);
    let clone =
        Command::CloneLun { name: "x".to_owned(), source: DeviceId::Lun(id), description: String::new() };
    refused(&mut a, clone, Refusal::LimitReached);
    ok(&mut a, Command::AddInitiator { iqn: IQN.to_owned() });
    refused(&mut a, Command::AddInitiator { iqn: "iqn.2".to_owned() }, Refusal::LimitReached);
}
