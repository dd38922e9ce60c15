//! Looking at everything at a quiet moment: array, database and hosts against the control model.

use std::cell::RefCell;
use std::collections::BTreeMap;

use sanbench_api::{ArrayInventory, Capability, Capacity, DriverError, HostCensus};
use sanbench_check::Finding;
use sanbench_check::access::{PathView, check_paths};
use sanbench_check::capacity::{ExpectedPool, check_stats};
use sanbench_check::census::{
    Census, DbAttachment, DbCensus, DbMapping, DbSnapshot, DbVolume, DriverNames, Quota, Rules, came_or_went,
    listed,
};
use sanbench_check::locks::Lock;
use sanbench_check::scheduler::{self, check_decision};
use sanbench_flows::scheduler::{Decision, Operation, Options, choose};
use sanbench_flows::{ControlPlane, FlowError, LockName};

use crate::judge::Judge;
use crate::site::Site;

/// Why an audit could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    /// The array's listing failed.
    #[error("the array cannot be listed: {0}")]
    Array(#[from] DriverError),
    /// The state database failed.
    #[error(transparent)]
    Flow(#[from] FlowError),
}

/// GiB by which a report may be rounded.
const ROUNDING_GIB: f64 = 0.011;

/// Times that something is looked at anew because a fault met the look.
const LOOKS: u32 = 4;

/// What the bench itself reads is the truth that others are compared with: a look that a fault of the plan met, and which failed
/// or may be behind, is taken again.
async fn look<T>(site: &dyn Site, at: impl AsyncFn() -> Result<T, DriverError>) -> Result<T, DriverError> {
    let met = |points: &[&str]| {
        let fired = site.faults_fired().into_iter();
        fired.filter(|(point, _)| points.iter().any(|p| point.starts_with(p))).collect::<Vec<_>>()
    };
    // What is refused before it is looked up is behind nothing.
    const ANY: &[&str] = &["rest.after:GET ", "rest.before:GET "];
    let behind = &ANY[..1];
    let mut before = (met(behind), met(ANY));
    let mut seen = at().await;
    for _ in 1..LOOKS {
        let after = (met(behind), met(ANY));
        let again = if seen.is_ok() { after.0 != before.0 } else { after.1 != before.1 };
        if !again {
            break;
        }
        before = after;
        seen = at().await;
    }
    seen
}

/// The listing of the one back end, if its driver offers one.
pub(crate) async fn inventory(site: &dyn Site) -> Result<Option<ArrayInventory>, DriverError> {
    for driver in site.drivers().values() {
        if let Some(inventory) = driver.inventory() {
            return Ok(Some(look(site, async || inventory.list().await).await?));
        }
    }
    Ok(None)
}

/// Every device that a host was given is the volume's own LUN by the array's listing.
fn identities(site: &dyn Site, judge: &mut Judge, array: &ArrayInventory) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut compared = 0;
    for (name, volume) in judge.volumes.iter().filter(|(_, v)| !v.hosts.is_empty()) {
        let Some(seen) = judge.wwns.get(&volume.id) else { continue };
        let drivers = site.drivers();
        let names = drivers.values().filter_map(|d| d.inventory().map(|i| i.lun_name(&volume.id)));
        let lun = names.filter_map(|name| array.lun_by_name(&name)).next();
        match lun {
            Some(lun) if lun.wwn == *seen => compared += 1,
            Some(lun) => findings.push(
                Finding::new("ATT-006", "identity", "device", "wwn")
                    .says(format!("the device that the host was given for {name} is another one"))
                    .compared(format!("{:?}", lun.wwn), format!("{seen:?}")),
            ),
            None => findings.push(
                Finding::new("CLU-005", "identity", "lun", "missing")
                    .says(format!("the array lists no LUN for {name}"))
                    .compared("one LUN", "none"),
            ),
        }
    }
    judge.ledger.compared("ATT-006", compared);
    findings
}

/// Compares everything. Findings of the earliest kind come first.
pub(crate) fn audit(
    site: &dyn Site,
    judge: &mut Judge,
    array: Option<ArrayInventory>,
) -> Result<Vec<Finding>, FlowError> {
    let mut findings = judge.transitions(&site.control().take_transitions());
    judge.ledger.compared("OBS-005", u64::from(findings.is_empty()));
    findings.extend(judge.lifecycles.quiescent());
    findings.extend(lock_order(&site.control(), judge));
    findings.extend(decisions(&site.control(), judge));
    if !findings.is_empty() {
        return Ok(findings);
    }
    if let Some(array) = &array {
        judge.identities.retain(|id| array.luns.iter().any(|l| id == format!("LUN {}", l.id)));
        for lun in &array.luns {
            findings.extend(judge.identities.take(&format!("LUN {}", lun.id), lun.wwn));
        }
        judge.ledger.compared("CRE-012", array.luns.len() as u64);
        findings.extend(judge.depths.check(array));
        findings.extend(identities(site, judge, array));
        if !findings.is_empty() {
            return Ok(findings);
        }
        credit_depths(judge, array);
    }
    let observed = census(site, array)?;
    let drivers = site.drivers();
    let names = drivers.values().find_map(|d| d.inventory());
    if let Some(names) = names {
        let rules = Rules {
            names: &DriverNames(names),
            baseline: &judge.baseline,
            wwns: judge.wwns.clone(),
            initiators_stay: false,
        };
        findings.extend(judge.control.judge(&observed, &rules));
        findings.extend(paths(site, judge, &observed.hosts));
        if findings.is_empty() {
            credit(judge, &observed);
        }
    }
    Ok(findings)
}

/// Requirements that a clean comparison of inventories upholds.
fn credit(judge: &mut Judge, observed: &Census) {
    let luns = observed.array.as_ref().map_or(0, |a| a.luns.len() as u64);
    let rows = (observed.db.volumes.len() + observed.db.snapshots.len()) as u64;
    judge.ledger.compared("CLU-005", 1 + luns + rows);
    judge.ledger.compared("CRE-001", luns);
    judge.ledger.compared("QTA-001", rows);
    let hosts = observed.hosts.iter().filter(|h| h.is_empty()).count() as u64;
    judge.ledger.compared("CLU-006", hosts);
    judge.ledger.compared("SNP-011", observed.array.as_ref().map_or(0, |a| a.snapshots.len() as u64));
    let internal = observed.db.volumes.iter().filter(|v| v.internal).count() as u64;
    judge.ledger.compared("QTA-005", internal);
}

fn credit_depths(judge: &mut Judge, array: &ArrayInventory) {
    let linked = array.luns.iter().filter(|l| l.parent.is_some()).count() as u64;
    judge.ledger.compared("CLN-002", judge.depths.compared().min(linked));
    judge.ledger.compared("CLN-004", linked);
    judge.ledger.compared("CLN-010", linked);
    judge.ledger.compared("CLN-011", linked);
}

/// Everything that can be seen now.
fn census(site: &dyn Site, array: Option<ArrayInventory>) -> Result<Census, FlowError> {
    let control = site.control();
    let left = control.leftovers()?;
    let quota = control.quota()?;
    let mut open = left.open_flows;
    open.extend(left.workers);
    open.extend(left.control_attachments.iter().map(|v| format!("control host attachment of {v}")));
    let volumes = control.volumes()?;
    Ok(Census {
        array,
        db: DbCensus {
            volumes: volumes
                .iter()
                .map(|v| DbVolume {
                    id: v.id,
                    status: v.status.as_str().to_owned(),
                    size_gib: v.size_gib,
                    host: v.host.clone(),
                    internal: v.internal,
                })
                .collect(),
            snapshots: control
                .snapshots()?
                .iter()
                .map(|s| DbSnapshot {
                    id: s.id,
                    volume: s.volume,
                    size_gib: s.size_gib,
                    status: s.status.as_str().to_owned(),
                })
                .collect(),
            attachments: control
                .attachments()?
                .iter()
                .map(|a| DbAttachment {
                    id: a.id,
                    volume: a.volume,
                    host: a.host.clone(),
                    status: a.status.as_str().to_owned(),
                })
                .collect(),
            mappings: control
                .block_device_mappings()?
                .into_iter()
                .map(|b| DbMapping {
                    volume: b.volume,
                    attachment: b.attachment,
                    path: b.host_path,
                    guest: b.instance,
                    disk: b.device_name,
                })
                .collect(),
            quota: Some(Quota {
                volumes: quota.volumes,
                gigabytes: quota.gigabytes,
                snapshots: quota.snapshots,
                reserved: quota.reserved_volumes + quota.reserved_gigabytes + quota.reserved_snapshots,
            }),
            open,
            disks: left.guest_disks.iter().map(|disk| format!("disk {disk}")).collect(),
        },
        hosts: hosts(site),
        files: left.temp_files,
    })
}

/// The inventory of every host, the control host included.
pub(crate) fn hosts(site: &dyn Site) -> Vec<HostCensus> {
    let mut all = vec![site.control_connector().census()];
    all.extend(site.hosts().iter().filter_map(|h| site.connector(h)).map(|c| c.census()));
    all
}

/// Every path of every attached volume shows one identity and the size that the model expects.
fn paths(site: &dyn Site, judge: &mut Judge, hosts: &[HostCensus]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut compared = 0;
    for (name, volume) in &judge.volumes {
        let Some(wwn) = judge.wwns.get(&volume.id).copied() else { continue };
        for host in volume.hosts.iter().filter_map(|h| site.host_name(h)) {
            let Some(census) = hosts.iter().find(|c| c.host == host) else { continue };
            let views: Vec<PathView> = census
                .devices
                .iter()
                .filter(|d| d.wwn == Some(wwn))
                .map(|d| PathView {
                    path: format!("{} {}", d.portal, d.hctl),
                    wwn,
                    blocks: d.size_bytes / 512,
                })
                .collect();
            compared += views.len() as u64;
            findings.extend(check_paths(name.as_str(), wwn, volume.size_gib << 21, true, &views));
        }
    }
    judge.ledger.compared("MPX-003", compared);
    findings
}

/// Judges the locks that operations took since the last audit. An order that fits is not counted for CON-004: it says that nobody
/// can have waited for ever, not that everything has come to its end.
fn lock_order(control: &ControlPlane, judge: &mut Judge) -> Vec<Finding> {
    let lock = |name: &LockName| Lock { kind: name.kind.word(), of: name.of.clone() };
    let order = control.take_lock_order();
    order.iter().filter_map(|seen| judge.locks.take(&lock(&seen.held), &lock(&seen.asked))).collect()
}

/// Judges every placement since the last audit with an independent calculator.
fn decisions(control: &ControlPlane, judge: &mut Judge) -> Vec<Finding> {
    let all = control.decisions();
    // A restart begins a new list.
    let from = if judge.decisions_judged > all.len() { 0 } else { judge.decisions_judged };
    let mut findings = Vec::new();
    for decision in &all[from..] {
        for judged in std::iter::once(decision.clone()).chain(what_if(decision)) {
            let (request, pools, options) = recorded(&judged);
            findings.extend(check_decision(&request, &pools, options, judged.chosen.as_deref()));
        }
        if choose(&decision.request, &decision.states, decision.options, decision.at) != *decision {
            let finding = Finding::new("SCH-007", "scheduler", "decision", "repeated")
                .says("a decision comes out otherwise when it is made again from what was recorded")
                .compared(format!("{:?}", decision.chosen), "another decision");
            findings.push(finding);
        }
        judge.ledger.compared("SCH-004", u64::from(decision.states.len() > 1));
        judge.ledger.compared("SCH-001", 1);
        judge.ledger.compared("SCH-007", 1);
        judge.ledger.compared("CAP-008", 1);
        // What the pool that failed keeps, the listing shows.
        let placed_anew = decision.chosen.is_some() && !decision.request.attempted.is_empty();
        judge.ledger.compared("SCH-003", u64::from(placed_anew));
        judge.ledger.compared("SCH-005", u64::from(decision.request.pinned.is_some()));
    }
    judge.decisions_judged = all.len();
    findings
}

/// The decision as it would have been in states that this array never reports: a pool that does not know its room, which ranks
/// last whichever way the weigher is turned (SCH-004), and a capability that is no whole number.
fn what_if(d: &Decision) -> Vec<Decision> {
    let mut asked = Vec::new();
    for multiplier in [1.0, -1.0] {
        let options = Options { multiplier, ..d.options };
        let blind =
            d.states.iter().map(|s| s.host.as_str()).filter(|host| d.chosen.as_deref() == Some(*host));
        for host in blind {
            let mut states = d.states.clone();
            let of_host = states.iter_mut().filter(|s| s.host == host);
            of_host.for_each(|s| s.stats.free_capacity_gb = Capacity::Unknown);
            asked.push(choose(&d.request, &states, options, d.at));
        }
    }
    let mut states = d.states.clone();
    states.iter_mut().for_each(|s| {
        s.stats.capabilities.insert("latency_ms".to_owned(), Capability::Number(0.5));
    });
    let mut request = d.request.clone();
    request.extra_specs.insert("latency_ms".to_owned(), "<or> 0.25 <or> 0.5".to_owned());
    asked.push(choose(&request, &states, d.options, d.at));
    asked
}

fn recorded(d: &Decision) -> (scheduler::Request, Vec<scheduler::Pool>, scheduler::Options) {
    let request = scheduler::Request {
        size_gib: d.request.size_gib,
        extra_specs: d.request.extra_specs.clone(),
        availability_zone: d.request.availability_zone.clone(),
        pinned: d.request.pinned.clone(),
        online_extend: d.request.operation == Operation::ExtendVolume && d.request.attached,
        attempted: d.request.attempted.clone(),
    };
    let pools = d
        .states
        .iter()
        .map(|s| scheduler::Pool {
            host: s.host.clone(),
            zone: s.zone.clone(),
            enabled: s.enabled,
            volume_backend_name: s.volume_backend_name.clone(),
            backend: BTreeMap::from([
                ("vendor_name".to_owned(), s.vendor_name.clone()),
                ("driver_version".to_owned(), s.driver_version.clone()),
                ("storage_protocol".to_owned(), s.storage_protocol.clone()),
            ]),
            stats: s.stats.clone(),
            consumed_gib: s.consumed_gib,
            allocated_gib: s.allocated_gib,
        })
        .collect();
    let options = scheduler::Options {
        weight_multiplier: d.options.multiplier,
        default_ratio: d.options.default_ratio,
    };
    (request, pools, options)
}

/// Judges fresh capability reports against what the listing shows.
pub(crate) async fn capacity(site: &dyn Site, judge: &RefCell<Judge>) -> Result<Vec<Finding>, AuditError> {
    let mut findings = Vec::new();
    for driver in site.drivers().values() {
        let Some(inventory) = driver.inventory() else { continue };
        let both = async || Ok((driver.get_volume_stats().await?, inventory.list().await?));
        // What others have is known without this listing, also what somebody takes away or makes meanwhile.
        let before = judge.borrow().baseline.clone();
        let (stats, listing) = look(site, both).await?;
        let mut missed = listed(&listing, &before, &judge.borrow().baseline);
        if !missed.is_empty() {
            // On an array that others use as well, somebody may have removed what was his.
            let again = look(site, async || inventory.list().await).await?;
            missed = listed(&listing, &before, &again);
        }
        let moved = missed.is_empty() && came_or_went(&before, &judge.borrow().baseline);
        judge.borrow_mut().ledger.compared("API-012", u64::from(moved));
        findings.extend(missed);
        let expected = stats
            .pools
            .iter()
            .map(|pool| {
                let blocks: u64 =
                    listing.luns.iter().filter(|l| l.pool == pool.pool_name).map(|l| l.blocks).sum();
                let provisioned_gib = blocks as f64 / (1u64 << 21) as f64;
                (pool.pool_name.clone(), ExpectedPool { provisioned_gib, ..ExpectedPool::default() })
            })
            .collect();
        findings.extend(check_stats(&stats, &expected, ROUNDING_GIB));
        judge.borrow_mut().ledger.compared("CAP-001", stats.pools.len() as u64);
    }
    Ok(findings)
}
