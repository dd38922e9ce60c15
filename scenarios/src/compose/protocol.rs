//! The protocol cases on a site: a scratch volume made through the driver, mapped to two hosts, and removed afterwards.

use std::sync::Arc;
use std::time::Duration;

use sanbench_api::{ConnectionInfo, ConnectorProperties, DriverError, VolumeDriver, VolumeId, VolumeRef};
use sanbench_check::Finding as Found;
use sanbench_protocol::{
    Chapter, Credentials, Done, Failure, Grow, Host, Lab, Path, Setup, Verdict, run_case,
};
use sanbench_reports::{Leftover, Step, StepStatus, Verdict as Judged};
use sanbench_runner::{CaseOutcome, CaseSpec, Site};
use sanbench_world::Env;
use serde_json::json;

use super::simulated::TARGET_CHAP;
use super::site::ComposedSite;

/// Size of the scratch volume.
const GIB: u64 = 1;
/// How long an array may move an empty volume.
const MOVE_LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked whether it has.
const MOVE_PAUSE: Duration = Duration::from_millis(100);
/// RUNNINGSTATUS of a LUN migration at its end.
const MOVED: &str = "76";
/// Lines of the trace that a finding shows; the history has them all.
const SHOWN: usize = 14;

/// The chapter that a case is.
pub(super) fn chapter(spec: &CaseSpec) -> Option<&'static Chapter> {
    Chapter::by_name(&spec.story).filter(|_| spec.plan.steps.is_empty())
}

/// Plays a case: a chapter of the protocol cases when it is one, else the story.
pub(super) async fn play_case(site: &ComposedSite, spec: &CaseSpec) -> CaseOutcome {
    match chapter(spec) {
        Some(chapter) => play_chapter(site, spec, chapter).await,
        None => sanbench_runner::run_case(site, spec).await,
    }
}

/// A volume of the chapter and to whom it is mapped.
struct Scratch {
    volume: VolumeRef,
    mapped: Vec<ConnectorProperties>,
}

/// What the chapter made.
struct Ground {
    driver: Arc<dyn VolumeDriver>,
    volumes: Vec<Scratch>,
}

async fn play_chapter(site: &ComposedSite, spec: &CaseSpec, chapter: &Chapter) -> CaseOutcome {
    let mut outcome = CaseOutcome::default();
    outcome.case.id = spec.id.clone();
    outcome.case.story = spec.story.clone();
    outcome.case.title = spec.plan.title.clone();
    outcome.case.seed = spec.seed;
    outcome.case.requirements = spec.plan.requires.clone();
    let env = site.env().clone();
    let begun = env.now();
    let Some(driver) = site.drivers().values().next().cloned() else {
        outcome.broken = Some("the site has no driver".to_owned());
        return outcome;
    };
    let mut ground = Ground { driver, volumes: Vec::new() };
    match prepare(site, &mut ground).await {
        Ok(setup) => {
            let lab = Lab::new(setup);
            for (case, number) in chapter.cases.iter().zip(1u32..) {
                let done = run_case(&lab, case).await;
                record(&mut outcome, &env, number, &done);
            }
            conclude(&mut outcome);
        }
        Err(e) => {
            outcome.case.verdict = Judged::Unknown;
            outcome.case.reason = format!("no scratch volume: {e}");
            if let DriverError::Unreachable { .. } | DriverError::OutcomeUnknown { .. } = e {
                outcome.unreachable = Some(e.to_string());
            }
        }
    }
    clear(&ground, &mut outcome).await;
    outcome.case.duration_us = micros(env.now().saturating_sub(begun));
    outcome
}

/// Makes one volume for both hosts and one for the second alone.
async fn prepare(site: &ComposedSite, ground: &mut Ground) -> Result<Setup, DriverError> {
    let driver = ground.driver.clone();
    let stats = driver.get_volume_stats().await?;
    let pool = stats.pools.first().map(|p| p.pool_name.clone()).unwrap_or_default();
    let mut hosts = Vec::new();
    let mut dice = site.env().rng("protocol");
    let mut volume = || {
        let mut bytes = [0; 16];
        dice.fill(&mut bytes);
        bytes[..4].copy_from_slice(&site.run_tag().0);
        let id = VolumeId::from_random(bytes);
        VolumeRef {
            id,
            name_id: id,
            size_gib: GIB,
            pool: pool.clone(),
            extra_specs: Default::default(),
            use_quota: true,
            provider_id: None,
            provider_location: None,
        }
    };
    let (shared, hidden) = (volume(), volume());
    for volume in [shared, hidden] {
        ground.volumes.push(Scratch { volume, mapped: Vec::new() });
        let Some(scratch) = ground.volumes.last_mut() else { continue };
        let update = driver.create_volume(&scratch.volume).await?;
        scratch.volume.provider_id = update.provider_id;
        scratch.volume.provider_location = update.provider_location;
    }
    let names = site.hosts();
    for name in &names {
        let (Some(env), Some(connector)) = (site.node(name), site.connector(name)) else { continue };
        let properties = ConnectorProperties { multipath: true, ..connector.properties() };
        let Some(scratch) = ground.volumes.first_mut() else { continue };
        let info = driver.initialize_connection(&scratch.volume, &properties).await?;
        scratch.mapped.push(properties.clone());
        let mut found = host(&env, &properties, &info);
        // The simulated target can prove itself as well.
        if let Some(chap) = found.as_mut().and_then(|host| host.chap.as_mut())
            && site.portals().is_some()
        {
            chap.target = Some((TARGET_CHAP.0.to_owned(), TARGET_CHAP.1.to_owned()));
        }
        hosts.extend(found);
    }
    if let Some(scratch) = ground.volumes.get(1) {
        provision_fully(site, ground, &scratch.volume.name_id).await?;
    }
    let mut hidden = None;
    if let (Some(scratch), Some(name)) = (ground.volumes.get_mut(1), names.get(1))
        && let Some(connector) = site.connector(name)
    {
        let properties = ConnectorProperties { multipath: true, ..connector.properties() };
        let info = driver.initialize_connection(&scratch.volume, &properties).await?;
        scratch.mapped.push(properties);
        hidden = info.paths.first().map(|p| p.lun);
    }
    let grow: Option<Grow> = ground.volumes.first().map(|scratch| {
        let (driver, volume) = (driver.clone(), scratch.volume.clone());
        let grow: Grow = Arc::new(move || {
            let (driver, volume) = (driver.clone(), volume.clone());
            Box::pin(async move {
                driver.extend_volume(&volume, 2 * GIB).await.map_err(|e| e.to_string())?;
                Ok((2 * GIB) << 21)
            })
        });
        grow
    });
    Ok(Setup {
        hosts,
        grow,
        blocks: GIB << 21,
        hidden,
        window: site.window(),
        patience: Duration::from_secs(6),
        quiet: Duration::from_millis(200),
        limit: Duration::from_secs(90),
    })
}

/// An administrator moves a volume to a fully provisioned place, where there is one: the driver only makes thin ones.
async fn provision_fully(site: &ComposedSite, ground: &Ground, volume: &VolumeId) -> Result<(), DriverError> {
    let wrong = |what: String| DriverError::Fault { message: format!("no fully provisioned volume: {what}") };
    let call = async |method: &str, path: &str, fields: &[(&str, &str)]| {
        let body = fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        match site.administer(false, method, path, &body).await {
            Ok((0, data)) => Ok(data),
            Ok((code, _)) => Err(wrong(format!("{method} {path} is refused with code {code}"))),
            Err(e) => Err(wrong(e.to_string())),
        }
    };
    let Some(inventory) = ground.driver.inventory().filter(|_| site.is_administered()) else { return Ok(()) };
    let listing = inventory.list().await?;
    let Some(lun) = listing.lun_by_name(&inventory.lun_name(volume)) else {
        return Err(wrong("the array does not show it".to_owned()));
    };
    let (id, blocks) = (lun.id.as_str(), (GIB << 21).to_string());
    let place = [("NAME", "place"), ("PARENTID", "0"), ("CAPACITY", &blocks), ("ALLOCTYPE", "0")];
    let place = call("POST", "lun", &place).await?;
    let place = place["ID"].as_str().unwrap_or_default();
    call("POST", "lun_migration", &[("PARENTID", id), ("TARGETLUNID", place), ("SPEED", "4")]).await?;
    let task = format!("lun_migration/{id}");
    let until = site.env().now() + MOVE_LIMIT;
    while site.env().now() < until {
        if call("GET", &task, &[]).await?["RUNNINGSTATUS"] == MOVED {
            call("DELETE", &task, &[]).await?;
            call("DELETE", &format!("lun/{place}"), &[]).await?;
            return Ok(());
        }
        site.env().sleep(MOVE_PAUSE).await;
    }
    Err(wrong(format!("it is not moved within {MOVE_LIMIT:?}")))
}

fn host(env: &Env, properties: &ConnectorProperties, info: &ConnectionInfo) -> Option<Host> {
    let lun = info.paths.first()?.lun;
    let chap = info.auth.as_ref().map(|auth| Credentials {
        user: auth.username.clone(),
        secret: auth.password.reveal().to_owned(),
        target: auth.target.as_ref().map(|(name, secret)| (name.clone(), secret.reveal().to_owned())),
    });
    Some(Host {
        env: env.clone(),
        from: None,
        initiator: properties.initiator.clone()?,
        chap,
        paths: info
            .paths
            .iter()
            .filter(|p| p.lun == lun)
            .map(|p| Path { portal: p.portal, target: p.iqn.clone() })
            .collect(),
        lun,
    })
}

/// Removes what was made; what cannot be removed is left over.
async fn clear(ground: &Ground, outcome: &mut CaseOutcome) {
    for scratch in &ground.volumes {
        let id = scratch.volume.id.to_string();
        let mut wrong = None;
        for properties in &scratch.mapped {
            if let Err(e) = ground.driver.terminate_connection(&scratch.volume, Some(properties), false).await
            {
                wrong = Some(format!("not unmapped from {}: {e}", properties.host));
            }
        }
        if let Err(e) = ground.driver.delete_volume(&scratch.volume).await {
            wrong = Some(format!("not deleted: {e}"));
        }
        if let Some(reason) = wrong {
            outcome.leftovers.push(Leftover {
                kind: "volume".to_owned(),
                id: id.clone(),
                name: id,
                place: "array".to_owned(),
                reason,
            });
        }
    }
}

/// Writes the end of one case into step, ledger, findings and evidence.
fn record(outcome: &mut CaseOutcome, env: &Env, number: u32, done: &Done) {
    let case = done.case;
    let (status, note) = match &done.verdict {
        Verdict::Passed => (StepStatus::Done, String::new()),
        Verdict::Failed(failures) => {
            (StepStatus::Failed, failures.first().map(ToString::to_string).unwrap_or_default())
        }
        Verdict::NotApplicable(why) => (StepStatus::NotRun, format!("not applicable: {why}")),
        Verdict::Unknown(why) => (StepStatus::Unknown, why.clone()),
    };
    env.note("protocol", || {
        let trace: &[String] = match &done.verdict {
            Verdict::Failed(failures) => failures.first().map_or(&[], |f| &f.trace),
            _ => &[],
        };
        json!({"case": case.name, "status": status.word(), "note": note, "trace": trace})
    });
    let word = match &done.verdict {
        Verdict::Passed => "passed",
        Verdict::Failed(_) => "failed",
        Verdict::NotApplicable(_) => "not applicable",
        Verdict::Unknown(_) => "undecided",
    };
    for id in case.requirements {
        let line = format!("case {} {word}", case.name);
        outcome.evidence.entry((*id).to_owned()).or_default().push(line);
        match &done.verdict {
            Verdict::Passed => outcome.ledger.compared(id, 1),
            Verdict::Unknown(why) => outcome.ledger.undecided(id, &format!("{}: {why}", case.name)),
            Verdict::NotApplicable(why) => {
                let entry = outcome.not_applicable.entry((*id).to_owned());
                entry.or_insert_with(|| format!("case {}: {why}", case.name));
            }
            // The ids of a failed case that did not fail are judged by the other cases that name them.
            Verdict::Failed(_) => {}
        }
    }
    if let Verdict::Failed(failures) = &done.verdict {
        for failure in failures {
            let found = finding(case.name, case.title, failure);
            outcome.find(found, Some(number));
        }
    }
    let text = format!("{}: {}", case.name, case.title);
    let duration_us = micros(done.took);
    outcome.case.steps.push(Step { number, text, status, duration_us, note, ..Step::default() });
}

fn finding(case: &str, title: &str, failure: &Failure) -> Found {
    let mut observed = failure.observed.clone();
    let from = failure.trace.len().saturating_sub(SHOWN);
    for line in failure.trace.get(from..).unwrap_or_default() {
        observed.push('\n');
        observed.push_str(line);
    }
    Found::new(failure.requirement.unwrap_or("ISC-001"), "protocol", case, &failure.clause)
        .says(title)
        .compared(format!("{} ({})", failure.expected, failure.clause), observed)
}

fn conclude(outcome: &mut CaseOutcome) {
    let case = &mut outcome.case;
    let failed = case.steps.iter().filter(|s| s.status == StepStatus::Failed).count();
    let unknown = case.steps.iter().find(|s| s.status == StepStatus::Unknown);
    case.verdict = Judged::Passed;
    if let Some(step) = unknown {
        case.verdict = Judged::Unknown;
        case.reason = format!("{}: {}", step.text, step.note);
    }
    if failed > 0 {
        case.verdict = Judged::Failed;
        case.reason = format!("{failed} of {} cases failed", case.steps.len());
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}
