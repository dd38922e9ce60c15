//! Generated flows: whatever fails, is lost or crashes on the way, in the end all is done or all is undone.
//!
//! The engine and the log are the real ones; only the steps are made up. What they do to the world outside is written to a
//! journal on the node's disk, which outlives its crashes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;
use sanbench_world::{Crash, FaultPlan, SimConfig, SimWorld};

use super::*;
use crate::config::FlowsConfig;
use crate::image::ImageStore;
use crate::testing::{FakeArray, FakeHost};

const MOST_STEPS: usize = 8;
const NAMES: [&str; MOST_STEPS] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];
const WORK: [StepFn<Cx>; MOST_STEPS] =
    [work::<0>, work::<1>, work::<2>, work::<3>, work::<4>, work::<5>, work::<6>, work::<7>];
const BACK: [StepFn<Cx>; MOST_STEPS] =
    [back::<0>, back::<1>, back::<2>, back::<3>, back::<4>, back::<5>, back::<6>, back::<7>];

/// The constructors of [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Run,
    Both,
    UndoOnly,
    BestEffort,
}

impl Kind {
    fn has_undo(self) -> bool {
        matches!(self, Self::Both | Self::UndoOnly)
    }
}

#[derive(Debug, Clone)]
struct Shape {
    kinds: Vec<Kind>,
    recovery: Recovery,
    on_undo_failure: OnUndoFailure,
    undo_retries: u32,
}

/// Where a step can be hit: at the engine's points, and in the middle of its own work.
#[derive(Debug, Clone, Copy)]
enum Place {
    Before,
    /// Half of the work is done.
    Within,
    After,
    /// Nothing is undone yet.
    Undo,
    /// All is undone, and nobody knows.
    Undone,
}

impl Place {
    fn point(self, step: usize) -> String {
        match self {
            Self::Before => format!("flow.generated.s{step}.before"),
            Self::Within => format!("generated.s{step}.within"),
            Self::After => format!("flow.generated.s{step}.after"),
            Self::Undo => format!("flow.generated.s{step}.undo"),
            Self::Undone => format!("generated.s{step}.undone"),
        }
    }
}

/// The nth visit to a place goes wrong.
#[derive(Debug, Clone)]
struct Trouble {
    step: usize,
    place: Place,
    nth: u64,
    fault: Fault,
}

/// What happened outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// The engine has been called, for the first time or to take the flow up again.
    Called,
    Began(usize),
    /// The step told its caller that it had failed half-way.
    Failed(usize),
    Done(usize),
    Undone(usize),
}

#[derive(Default)]
struct Journal(Mutex<Vec<Entry>>);

fn journal(env: &Env) -> Arc<Journal> {
    env.disk().cell("journal", Journal::default)
}

fn write(env: &Env, entry: Entry) {
    journal(env).0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
}

struct Cx {
    plane: Arc<Plane>,
}

impl FlowContext for Cx {
    fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    fn rebuild(plane: &Arc<Plane>, _row: &FlowRow) -> Result<Option<Self>, FlowError> {
        Ok(Some(Self { plane: Arc::clone(plane) }))
    }
}

fn work<const N: usize>(cx: &mut Cx) -> StepFuture<'_> {
    Box::pin(async move {
        let env = &cx.plane.env;
        write(env, Entry::Began(N));
        let answer = ask(env, &Place::Within.point(N)).await;
        match &answer {
            Ok(()) => write(env, Entry::Done(N)),
            Err(StepError::Failed(_)) => write(env, Entry::Failed(N)),
            Err(_) => {}
        }
        answer
    })
}

fn back<const N: usize>(cx: &mut Cx) -> StepFuture<'_> {
    Box::pin(async move {
        write(&cx.plane.env, Entry::Undone(N));
        ask(&cx.plane.env, &Place::Undone.point(N)).await
    })
}

impl Shape {
    /// A flow of the engine's own kind. Flows are static, so each leaks a few hundred bytes.
    fn flow(&self) -> &'static Flow<Cx> {
        let step = |(n, kind): (usize, &Kind)| match kind {
            Kind::Run => Step::run(NAMES[n], WORK[n]),
            Kind::Both => Step::both(NAMES[n], WORK[n], BACK[n]),
            Kind::UndoOnly => Step::undo_only(NAMES[n], BACK[n]),
            Kind::BestEffort => Step::best_effort(NAMES[n], WORK[n]),
        };
        let steps: Vec<Step<Cx>> = self.kinds.iter().enumerate().map(step).collect();
        Box::leak(Box::new(Flow {
            name: "generated",
            steps: steps.leak(),
            recovery: self.recovery,
            on_undo_failure: self.on_undo_failure,
        }))
    }
}

fn plane(env: &Env, shape: &Shape) -> Arc<Plane> {
    let host = FakeHost::new("control", &FakeArray::default());
    let config = FlowsConfig { undo_retries: shape.undo_retries, ..FlowsConfig::default() };
    Plane::new(env.clone(), Vec::new(), host, BTreeMap::new(), ImageStore::new(), config).unwrap()
}

/// What is known of a flow that has ended.
struct End {
    /// What each call of the engine answered.
    answers: Vec<Result<(), FlowError>>,
    journal: Vec<Entry>,
    hits: BTreeMap<String, u64>,
    fired: BTreeMap<String, u64>,
}

/// Runs the flow, and takes it up again until it is closed: on the same service, or after a crash on the next one.
fn play(shape: &Shape, troubles: &[Trouble]) -> Result<End, String> {
    let faults = troubles.iter().fold(FaultPlan::default(), |plan, t| {
        plan.rule(t.place.point(t.step % shape.kinds.len()), t.nth, t.fault.clone())
    });
    let flow = shape.flow();
    SimWorld::run(SimConfig { seed: 5, faults, ..SimConfig::default() }, |world| async move {
        let mut env = world.node("control", &[]);
        let mut plane = plane(&env, shape);
        write(&env, Entry::Called);
        let mut cx = Cx { plane: Arc::clone(&plane) };
        let mut answers = vec![run(flow, "x".into(), json!({}), &mut cx).await];
        loop {
            if answers.last() == Some(&Err(FlowError::Crashed)) {
                world.crash("control", Crash::Kill);
                env = world.node("control", &[]);
                plane = self::plane(&env, shape);
            }
            let Some(row) = plane.db.read(|db| db.open_flows()).unwrap().pop() else { break };
            // Every trouble comes once.
            if answers.len() > troubles.len() + 1 {
                return Err(format!("the flow stays open: {answers:?}"));
            }
            let Some(_running) = plane.claim_flow(row.id).unwrap() else {
                return Err("a flow that has answered is still claimed".into());
            };
            write(&env, Entry::Called);
            answers.push(recover(flow, &plane, &row).await);
        }
        if !plane.db.read(|db| db.flow_log(1)).unwrap().is_empty() {
            return Err("a closed flow has left lines in the log".into());
        }
        let journal = journal(&env).0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(End { answers, journal, hits: world.points_hit(), fired: world.faults_fired() })
    })
}

macro_rules! ensure {
    ($good:expr, $($what:tt)*) => { if !$good { return Err(format!($($what)*)); } };
}

impl End {
    fn has(&self, entry: Entry) -> bool {
        self.journal.contains(&entry)
    }

    fn count(counts: &BTreeMap<String, u64>, place: Place, step: usize) -> u64 {
        counts.get(&place.point(step)).copied().unwrap_or(0)
    }

    /// Begun by some call that never learnt what came of it.
    fn in_doubt(&self, step: usize) -> bool {
        let begun = self.journal.iter().filter(|e| **e == Entry::Began(step)).count();
        let told =
            self.journal.iter().filter(|e| [Entry::Done(step), Entry::Failed(step)].contains(e)).count();
        begun > told
    }

    /// All done, or all undone.
    fn judge(&self, shape: &Shape, troubles: &[Trouble]) -> Result<(), String> {
        let undone = self.journal.iter().any(|e| matches!(e, Entry::Undone(_)));
        let forward = shape.recovery == Recovery::Forward;
        match &self.answers[..] {
            [Ok(())] => self.all_done(shape),
            // What goes on after a crash has either come to its end or begun to undo.
            [.., Ok(())] if forward && !undone => self.all_done(shape),
            _ => self.all_undone(shape, troubles),
        }
    }

    fn all_done(&self, shape: &Shape) -> Result<(), String> {
        let last = self.journal.rsplit(|e| *e == Entry::Called).next().unwrap_or_default();
        let done = |step: &usize| last.contains(&Entry::Done(*step));
        let expected: Vec<Entry> = (0..shape.kinds.len())
            .filter(|step| match shape.kinds[*step] {
                Kind::Run | Kind::Both => true,
                Kind::UndoOnly => false,
                Kind::BestEffort => done(step),
            })
            .map(Entry::Done)
            .collect();
        let seen: Vec<Entry> = last.iter().copied().filter(|e| matches!(e, Entry::Done(_))).collect();
        ensure!(seen == expected, "done in the last call: {seen:?}, expected {expected:?}");
        ensure!(
            !self.journal.iter().any(|e| matches!(e, Entry::Undone(_))),
            "a finished flow has undone steps"
        );
        Ok(())
    }

    fn all_undone(&self, shape: &Shape, troubles: &[Trouble]) -> Result<(), String> {
        for (step, _) in shape.kinds.iter().enumerate().filter(|(_, kind)| kind.has_undo()) {
            let times = self.journal.iter().filter(|e| **e == Entry::Undone(step)).count() as u64;
            let wanted = match shape.kinds[step] {
                // It answers for what the steps behind it half did.
                Kind::UndoOnly => (step + 1..shape.kinds.len()).any(|later| self.has(Entry::Began(later))),
                _ => self.has(Entry::Done(step)) || self.in_doubt(step),
            };
            let asked = Self::count(&self.hits, Place::Before, step);
            let only_failed = self.has(Entry::Failed(step)) && asked == 1;
            ensure!(times > 0 || !wanted, "step {step} is not undone");
            ensure!(times == 0 || asked > 0, "step {step} is undone although it was never reached");
            ensure!(times == 0 || !only_failed || wanted, "step {step} is undone although it failed");
            // Once, and once more for each time that the news of it did not reach the log.
            let unheard = Self::count(&self.fired, Place::Undone, step);
            ensure!(times == 0 || times == 1 + unheard, "step {step} is undone {times} times");
        }
        // An undo that fails for good is made up for later, if the others need not wait for it.
        let fails = |step: usize| {
            let fail = |t: &&Trouble| t.fault == Fault::Fail && t.step % shape.kinds.len() == step;
            let undo = |t: &&Trouble| matches!(t.place, Place::Undo | Place::Undone);
            troubles.iter().filter(fail).filter(undo).count() as u64 > u64::from(shape.undo_retries)
        };
        let overtaken = (0..shape.kinds.len()).any(fails) && shape.on_undo_failure == OnUndoFailure::Continue;
        self.in_reverse(overtaken)
    }

    /// Undos run from the last step to the first, and nothing is done after the first of them. Where one may be overtaken, each
    /// call has an order of its own.
    fn in_reverse(&self, overtaken: bool) -> Result<(), String> {
        let (mut last, mut begun) = (usize::MAX, false);
        for entry in &self.journal {
            match *entry {
                Entry::Undone(step) => {
                    ensure!(step <= last, "step {step} is undone after step {last}");
                    (last, begun) = (step, true);
                }
                Entry::Called if overtaken => last = usize::MAX,
                Entry::Began(step) => ensure!(!begun, "step {step} begins although the flow is being undone"),
                _ => {}
            }
        }
        Ok(())
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let kind = prop_oneof![
        2 => Just(Kind::Run),
        4 => Just(Kind::Both),
        2 => Just(Kind::UndoOnly),
        1 => Just(Kind::BestEffort),
    ];
    let recovery = prop_oneof![Just(Recovery::Forward), Just(Recovery::Unwind)];
    let policy = prop_oneof![Just(OnUndoFailure::Continue), Just(OnUndoFailure::Stop)];
    (prop::collection::vec(kind, 1..=MOST_STEPS), recovery, policy, 0..2_u32).prop_map(
        |(kinds, recovery, on_undo_failure, undo_retries)| Shape {
            kinds,
            recovery,
            on_undo_failure,
            undo_retries,
        },
    )
}

/// Crashes and lost messages while the flow goes forward and back, and failures of steps and undos.
fn troubles() -> impl Strategy<Value = Vec<Trouble>> {
    let place = prop_oneof![
        2 => Just(Place::Before),
        2 => Just(Place::Within),
        2 => Just(Place::After),
        2 => Just(Place::Undo),
        1 => Just(Place::Undone),
    ];
    let fault = prop_oneof![
        4 => Just(Fault::Fail),
        3 => Just(Fault::CrashNode),
        1 => Just(Fault::Message(Delivery::Lost)),
    ];
    let one = (0..MOST_STEPS, place, 1..3_u64, fault).prop_map(|(step, place, nth, fault)| Trouble {
        step,
        place,
        nth,
        fault,
    });
    prop::collection::vec(one, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_flow_is_done_or_undone(shape in shapes(), troubles in troubles()) {
        let end = play(&shape, &troubles).map_err(TestCaseError::fail)?;
        end.judge(&shape, &troubles).map_err(|what| {
            TestCaseError::fail(format!("{what}\nanswers {:?}\njournal {:?}", end.answers, end.journal))
        })?;
    }
}
