//! Runs of one story with a fault at every step of a flow in turn.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;

use sanbench_api::{Connector, ImageId};
use sanbench_world::{Crash, Env, Fault, FaultPlan, SimConfig, SimWorld, dice};

use super::{FakeArray, FakeDriver, FakeHost};
use crate::compute::DetachOptions;
use crate::config::{Backend, FlowsConfig};
use crate::control::{ControlPlane, HeldBefore};
use crate::engine::flow_catalogue;
use crate::error::FlowError;
use crate::image::{Format, ImageStore, Sample, sample};
use crate::model::Transition;

/// A control plane with two fake back ends of two pools each, a control host and two compute hosts, and one sample
/// image.
#[derive(Clone, Debug)]
pub struct Rig {
    /// Under test.
    pub plane: ControlPlane,
    /// Behind both back ends.
    pub array: FakeArray,
    /// The control host.
    pub control: Arc<FakeHost>,
    /// `compute-1` and `compute-2`.
    pub computes: BTreeMap<String, Arc<FakeHost>>,
    /// A qcow2 of 1 MiB.
    pub image: ImageId,
    /// What it holds.
    pub sample: Sample,
}

impl Rig {
    /// Builds it on a node; nothing is started.
    pub fn new(env: &Env, config: FlowsConfig) -> Result<Self, FlowError> {
        let array = FakeArray::default();
        let control = FakeHost::new("control", &array);
        let computes = ["compute-1", "compute-2"].map(|n| (n.to_owned(), FakeHost::new(n, &array)));
        let image = ImageId::from_random([7; 16]);
        let sample = sample(&mut dice(1, "testing", "image"), 1);
        let rig = Self {
            plane: plane(env, &array, &control, &computes.clone().into(), ImageStore::new(), config)?,
            array,
            control,
            computes: computes.into(),
            image,
            sample,
        };
        rig.plane.images().add_memory(image, "sample", Format::Qcow2, rig.sample.bytes.clone());
        Ok(rig)
    }

    /// A new control plane on a restarted node, with everything else as it was.
    pub fn restarted(&self, env: &Env, config: FlowsConfig) -> Result<Self, FlowError> {
        let images = self.plane.images().clone();
        let plane = plane(env, &self.array, &self.control, &self.computes, images, config)?;
        Ok(Self { plane, ..self.clone() })
    }

    /// Deletes everything through the API, as a user would, and answers what cannot be deleted or is left.
    pub async fn clear(&self) -> Vec<String> {
        match self.try_clear().await {
            Ok(left) => left,
            Err(error) => vec![format!("clearing failed: {error}")],
        }
    }

    async fn try_clear(&self) -> Result<Vec<String>, FlowError> {
        let plane = &self.plane;
        plane.reconcile().await?;
        let mut left = Vec::new();
        let mut note = |what: String, answer: Result<(), FlowError>| {
            if let Err(error) = answer {
                left.push(format!("{what}: {error}"));
            }
        };
        for row in plane.attachments()? {
            let answer = plane.detach(row.volume, row.instance, DetachOptions { force: true }).await;
            note(format!("attachment {} ({})", row.id, row.status), answer);
        }
        for row in plane.instances()? {
            note(format!("instance {}", row.id), plane.delete_instance(row.id).await);
        }
        for row in plane.snapshots()? {
            note(format!("snapshot {} ({})", row.id, row.status), plane.delete_snapshot(row.id).await);
        }
        note("image cache".into(), plane.purge_image_cache().await);
        for row in plane.volumes()? {
            note(format!("volume {} ({})", row.id, row.status), plane.delete_volume(row.id).await);
        }
        left.extend(self.array.objects());
        for host in self.computes.values().chain([&self.control]) {
            let census = host.census();
            left.extend(census.devices.iter().map(|d| format!("{} on {}", d.name, census.host)));
        }
        let found = plane.leftovers()?;
        if !found.is_empty() {
            left.push(format!("{found:?}"));
        }
        left.extend(plane.block_device_mappings()?.iter().map(|b| format!("{b:?}")));
        left.extend(plane.cache_entries()?.iter().map(|e| format!("{e:?}")));
        let quota = plane.quota()?;
        if quota != crate::model::QuotaView::default() {
            left.push(format!("{quota:?}"));
        }
        Ok(left)
    }
}

fn plane(
    env: &Env,
    array: &FakeArray,
    control: &Arc<FakeHost>,
    computes: &BTreeMap<String, Arc<FakeHost>>,
    images: ImageStore,
    config: FlowsConfig,
) -> Result<ControlPlane, FlowError> {
    let backend = |name: &str, pools: &[(&str, f64)]| {
        Backend::new(format!("control@{name}"), Arc::new(FakeDriver::new(array, name, pools)))
    };
    let backends = vec![
        backend("alpha", &[("a0", 100.0), ("a1", 50.0)]),
        backend("beta", &[("b0", 80.0), ("b1", 40.0)]),
    ];
    let computes = computes.iter().map(|(n, h)| (n.clone(), Arc::clone(h) as Arc<dyn Connector>)).collect();
    ControlPlane::new(
        env.clone(),
        backends,
        Arc::clone(control) as Arc<dyn Connector>,
        computes,
        images,
        config,
    )
}

/// What a story does with a rig; it ends at its first error.
pub type Story = fn(Rig) -> Pin<Box<dyn Future<Output = Result<(), FlowError>> + Send>>;

/// What came of one run.
#[derive(Debug)]
pub struct Outcome {
    /// The fault point, empty without one.
    pub point: String,
    /// The point was passed.
    pub hit: bool,
    /// What the story answered.
    pub answer: Result<(), FlowError>,
    /// What was left after everything had been deleted through the API.
    pub left: Vec<String>,
    /// Status changes from beginning to end.
    pub transitions: Vec<Transition>,
    /// What a restart said it recovered.
    pub recovered: Vec<String>,
    /// Locks that were asked for while others were held.
    pub lock_order: Vec<HeldBefore>,
}

/// Runs a story once, with the fault (if any) at the nth time its point is passed, and clears up. After a
/// [`Fault::CrashNode`] the node is crashed and restarted before the clearing.
pub fn run_once(config: &FlowsConfig, fault: Option<(&str, u64, Fault)>, story: Story) -> Outcome {
    run_with(config, fault.as_slice(), story)
}

/// As [`run_once`] with several faults; the outcome tells about the last one's point.
pub fn run_with(config: &FlowsConfig, faults: &[(&str, u64, Fault)], story: Story) -> Outcome {
    let point = faults.last().map(|(point, _, _)| (*point).to_owned()).unwrap_or_default();
    let faults = faults
        .iter()
        .fold(FaultPlan::default(), |plan, (point, nth, fault)| plan.rule(*point, *nth, fault.clone()));
    let sim = SimConfig { seed: 5, faults, ..SimConfig::default() };
    SimWorld::run(sim, |world| async move {
        let at = [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9))];
        let env = world.node("control", &at);
        let broken = |error: FlowError, point: &str| Outcome {
            point: point.to_owned(),
            hit: false,
            left: vec![format!("no rig: {error}")],
            answer: Err(error),
            transitions: Vec::new(),
            recovered: Vec::new(),
            lock_order: Vec::new(),
        };
        let mut rig = match Rig::new(&env, config.clone()) {
            Ok(rig) => rig,
            Err(error) => return broken(error, &point),
        };
        if let Err(error) = rig.plane.start().await {
            return broken(error, &point);
        }
        let answer = story(rig.clone()).await;
        let mut recovered = Vec::new();
        if answer == Err(FlowError::Crashed) {
            world.crash("control", Crash::Kill);
            let env = world.node("control", &at);
            rig = match rig.restarted(&env, config.clone()) {
                Ok(rig) => rig,
                Err(error) => return broken(error, &point),
            };
            match rig.plane.start().await {
                Ok(report) => recovered = report.recovered,
                Err(error) => return broken(error, &point),
            }
        }
        let left = rig.clear().await;
        let hit = point.is_empty() || world.points_hit().contains_key(&point);
        Outcome {
            point,
            hit,
            answer,
            left,
            transitions: rig.plane.take_transitions(),
            recovered,
            lock_order: rig.plane.take_lock_order(),
        }
    })
}

fn each_point(flow: &str) -> Vec<(String, bool)> {
    let mut points = Vec::new();
    for info in flow_catalogue().into_iter().filter(|f| f.name == flow) {
        for step in &info.steps {
            let soft = info.best_effort.contains(step);
            points.push((format!("flow.{flow}.{step}.before"), soft));
            points.push((format!("flow.{flow}.{step}.after"), soft));
        }
    }
    points
}

/// Fails the flow before and after each of its steps, one run each. Every run must have passed the point, must
/// fail there (best-effort steps must not), and must leave nothing. Answers the runs; `Err` lists what was wrong.
pub fn fail_each_step(flow: &str, config: &FlowsConfig, story: Story) -> Result<Vec<Outcome>, Vec<String>> {
    each_step(flow, config, story, &Fault::Fail, |outcome, soft| match (&outcome.answer, soft) {
        (Err(FlowError::Failed(f)), false) if f.undo_failures.is_empty() => None,
        (Ok(()), true) => None,
        (other, _) => Some(format!("answered {other:?}")),
    })
}

/// Crashes the node before and after each step of the flow, one run each, and restarts it.
pub fn crash_each_step(flow: &str, config: &FlowsConfig, story: Story) -> Result<Vec<Outcome>, Vec<String>> {
    each_step(flow, config, story, &Fault::CrashNode, |outcome, _| match &outcome.answer {
        Err(FlowError::Crashed) => None,
        other => Some(format!("answered {other:?}")),
    })
}

fn each_step(
    flow: &str,
    config: &FlowsConfig,
    story: Story,
    fault: &Fault,
    judge: fn(&Outcome, bool) -> Option<String>,
) -> Result<Vec<Outcome>, Vec<String>> {
    let points = each_point(flow);
    let mut wrong = Vec::new();
    if points.is_empty() {
        wrong.push(format!("no flow is called {flow}"));
    }
    let mut outcomes = Vec::new();
    for (point, soft) in points {
        let outcome = run_once(config, Some((&point, 1, fault.clone())), story);
        if !outcome.hit {
            wrong.push(format!("{point}: not passed; answered {:?}", outcome.answer));
        } else if let Some(what) = judge(&outcome, soft) {
            wrong.push(format!("{point}: {what}"));
        }
        if !outcome.left.is_empty() {
            wrong.push(format!("{point}: left {:#?}", outcome.left));
        }
        outcomes.push(outcome);
    }
    if wrong.is_empty() { Ok(outcomes) } else { Err(wrong) }
}
