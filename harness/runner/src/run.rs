//! One case from its first to its last step.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use sanbench_check::Finding as Found;
use sanbench_reports::{Step as StepReport, StepStatus, Verdict};
use sanbench_world::{Env, covers};
use serde_json::json;

use crate::case::{CaseOutcome, CaseSpec};
use crate::execute::{Played, Player, StepEnd};
use crate::plan::{Plan, PlanStep};
use crate::site::Site;
use crate::story::{print, print_step};

/// Plays a case on a site that stands, judges it, and clears up. The first findings end the story; what it made is
/// then removed without being judged.
pub async fn run_case(site: &dyn Site, spec: &CaseSpec) -> CaseOutcome {
    let mut outcome = CaseOutcome { plan_text: print(&spec.plan), ..CaseOutcome::default() };
    outcome.case.id = spec.id.clone();
    outcome.case.story = spec.story.clone();
    outcome.case.title = spec.plan.title.clone();
    outcome.case.seed = spec.seed;
    outcome.case.requirements = spec.plan.requires.clone();
    let env = site.env().clone();
    let begun = env.now();
    env.note("case", || json!({"id": spec.id, "seed": spec.seed, "title": spec.plan.title}));
    let player = Player::new(site, &spec.plan, spec.seed, spec.scan);
    outcome.case.steps =
        spec.plan.steps.iter().zip(1u32..).map(|(step, number)| not_run(step, number)).collect();
    let mut end = player.prepare().await.err();
    let mut interrupted = false;
    for group in spec.plan.groups() {
        interrupted |= player.site.stopped();
        if end.is_some() || interrupted {
            break;
        }
        end = play(&player, &env, &spec.plan.steps[group.clone()], group.start, &mut outcome).await;
    }
    if end.is_none() && !interrupted {
        end = match within(&env, player.clear()).await {
            None => Some(deadlock("clear")),
            Some(Ok(findings)) if findings.is_empty() => None,
            Some(Ok(findings)) => Some(StepEnd::Findings(findings)),
            Some(Err(end)) => Some(end.found()),
        };
        end = end.map(|end| sign(end, last(&spec.plan.steps), &mut outcome));
    }
    if end.is_some() || interrupted {
        // What hangs once may hang again.
        let _ = within(&env, player.abandon()).await;
    }
    if spec.directed && end.is_none() && !interrupted {
        let fired = site.faults_fired();
        let never = |point| format!("{}: no fault at \"{point}\" ever fired", spec.story);
        outcome.notes.extend(silent(&spec.plan, &fired).into_iter().map(never));
    }
    let worlds = player.judge().control.widest();
    env.note("model", || json!({"worlds": worlds}));
    outcome.ledger.absorb(std::mem::take(&mut player.judge().ledger));
    let whole = !interrupted || end.is_some();
    conclude(end, &mut outcome);
    if !whole {
        outcome.case.verdict = Verdict::Unknown;
        outcome.case.reason = "interrupted".to_owned();
    }
    outcome.case.duration_us = micros(env.now().saturating_sub(begun));
    outcome
}

/// Points of faults of a plan at which none ever fired. Where one did, others may be there for whoever is patient longer.
fn silent<'p>(plan: &'p Plan, fired: &BTreeMap<String, u64>) -> BTreeSet<&'p str> {
    let points = plan.placed_faults().map(|fault| fault.point.as_str());
    points.filter(|point| !fired.keys().any(|at| covers(point, at))).collect()
}

/// Longest that a step or a group may take, in virtual time: whatever it meets, nothing may hang for ever (CON-004).
const LONGEST_STEP: Duration = Duration::from_secs(4 * 3600);

async fn within<T>(env: &Env, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut limit = std::pin::pin!(env.sleep(LONGEST_STEP));
    std::future::poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        limit.as_mut().poll(context).map(|()| None)
    })
    .await
}

fn deadlock(text: &str) -> StepEnd {
    let finding = Found::new("CON-004", "liveness", "step", "hangs")
        .says(format!("`{text}` does not end"))
        .compared(format!("an end within {} h", LONGEST_STEP.as_secs() / 3600), "it still waits");
    StepEnd::Findings(vec![finding])
}

/// Plays a step alone or a group; answers what ends the case.
async fn play(
    player: &Player<'_>,
    env: &Env,
    steps: &[PlanStep],
    start: usize,
    outcome: &mut CaseOutcome,
) -> Option<StepEnd> {
    let number = |index: usize| u32::try_from(start + index).map_or(u32::MAX, |n| n.saturating_add(1));
    if let [step] = steps
        && step.lane.is_none()
    {
        let report = &mut outcome.case.steps[start];
        let (number, text) = (report.number, report.text.clone());
        let at = env.now();
        let before = player.site.faults_fired();
        env.note("step", || json!({"n": number, "text": text}));
        let ended = within(env, player.step(step)).await.unwrap_or_else(|| deadlock(&text));
        report.duration_us = micros(env.now().saturating_sub(at));
        report.faults = fired(&before, &player.site.faults_fired());
        (report.status, report.note) = told(&ended);
        env.note("step", || json!({"n": number, "status": report.status.word(), "note": report.note}));
        return (!ended.goes_on()).then(|| sign(ended.found(), number, outcome));
    }
    let Some((played, after)) = within(env, player.group(steps, number(0))).await else {
        return Some(sign(deadlock(&outcome.case.steps[start].text), number(0), outcome));
    };
    let mut end = None;
    for Played { index, time: (begun, ended), faults, end: ended_as } in played {
        let report = &mut outcome.case.steps[start + index];
        report.duration_us = micros(ended.saturating_sub(begun));
        report.faults = faults;
        (report.status, report.note) = told(&ended_as);
        if !ended_as.goes_on() && end.is_none() {
            end = Some(sign(ended_as.found(), number(index), outcome));
        }
    }
    end.or_else(|| after.map(|after| sign(after.found(), number(steps.len() - 1), outcome)))
}

fn not_run(step: &PlanStep, number: u32) -> StepReport {
    let text = match &step.lane {
        Some(lane) => format!("@{lane} {}", print_step(step)),
        None => print_step(step),
    };
    StepReport { number, text, ..StepReport::default() }
}

/// Puts findings into the case, with the step that showed them.
fn sign(end: StepEnd, step: u32, outcome: &mut CaseOutcome) -> StepEnd {
    if let StepEnd::Findings(findings) = &end {
        for found in findings {
            outcome.find(found.clone(), Some(step));
        }
    }
    end
}

fn conclude(end: Option<StepEnd>, outcome: &mut CaseOutcome) {
    let case = &mut outcome.case;
    match end {
        None => case.verdict = Verdict::Passed,
        Some(StepEnd::Findings(_)) => {
            case.verdict = Verdict::Failed;
            case.reason = case.findings.first().map(|f| f.message.clone()).unwrap_or_default();
        }
        Some(StepEnd::Unreachable(message)) => {
            case.verdict = Verdict::Unknown;
            case.reason = format!("array not reached: {message}");
            outcome.unreachable = Some(message);
        }
        Some(StepEnd::Broken(message)) => {
            case.verdict = Verdict::Unknown;
            case.reason.clone_from(&message);
            outcome.broken = Some(message);
        }
        Some(end) => case.verdict = if end.goes_on() { Verdict::Passed } else { Verdict::Unknown },
    }
}

pub(crate) fn told(end: &StepEnd) -> (StepStatus, String) {
    match end {
        StepEnd::Done(note) => (StepStatus::Done, note.clone()),
        StepEnd::Refused(note) => (StepStatus::Refused, note.clone()),
        StepEnd::Tolerated(note) => (StepStatus::Unknown, note.clone()),
        StepEnd::Skipped(note) => (StepStatus::NotRun, note.clone()),
        StepEnd::Failed(failed) => (StepStatus::Failed, failed.message()),
        StepEnd::Findings(findings) => {
            (StepStatus::Failed, findings.first().map(|f| f.message.clone()).unwrap_or_default())
        }
        StepEnd::Unreachable(message) | StepEnd::Broken(message) => (StepStatus::Unknown, message.clone()),
    }
}

pub(crate) fn fired(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    after
        .iter()
        .filter(|(point, count)| **count > before.get(*point).copied().unwrap_or(0))
        .map(|(point, _)| point.clone())
        .collect()
}

fn last(steps: &[PlanStep]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX)
}

fn micros(d: std::time::Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}
