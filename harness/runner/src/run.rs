//! One case from its first to its last step.

use sanbench_check::Finding as Found;
use sanbench_reports::{Case, Finding, Step as StepReport, StepStatus, Verdict};
use serde_json::json;

use crate::case::{CaseOutcome, CaseSpec};
use crate::execute::{Player, StepEnd};
use crate::plan::Step;
use crate::site::Site;
use crate::story::{print, print_step};

/// Plays a case on a site that stands, judges it, and clears up. The first findings end the story; what it made is
/// then removed without being judged.
pub async fn run_case(site: &mut dyn Site, spec: &CaseSpec) -> CaseOutcome {
    let mut outcome = CaseOutcome { plan_text: print(&spec.plan), ..CaseOutcome::default() };
    outcome.case.id = spec.id.clone();
    outcome.case.story = spec.story.clone();
    outcome.case.title = spec.plan.title.clone();
    outcome.case.seed = spec.seed;
    outcome.case.requirements = spec.plan.requires.clone();
    let env = site.env().clone();
    let begun = env.now();
    env.note("case", || json!({"id": spec.id, "seed": spec.seed, "title": spec.plan.title}));
    let mut player = Player::new(site, &spec.plan, spec.seed, spec.scan);
    let mut end = player.prepare().await.err();
    for (step, number) in spec.plan.steps.iter().zip(1u32..) {
        let text = print_step(step);
        let mut report = StepReport { number, text: text.clone(), ..StepReport::default() };
        if end.is_none() {
            let at = env.now();
            let before = player.site.faults_fired();
            env.note("step", || json!({"n": number, "text": text}));
            let ended = player.step(step).await;
            report.duration_us = micros(env.now().saturating_sub(at));
            report.faults = fired(&before, &player.site.faults_fired());
            (report.status, report.note) = told(&ended);
            env.note("step", || json!({"n": number, "status": report.status.word(), "note": report.note}));
            if !matches!(ended, StepEnd::Done(_) | StepEnd::Refused(_)) {
                end = Some(sign(ended, number, &mut outcome));
            }
        }
        outcome.case.steps.push(report);
    }
    if end.is_none() {
        end = match player.clear().await {
            Ok(findings) if findings.is_empty() => None,
            Ok(findings) => Some(sign(StepEnd::Findings(findings), last(&spec.plan.steps), &mut outcome)),
            Err(StepEnd::Findings(findings)) => {
                Some(sign(StepEnd::Findings(findings), last(&spec.plan.steps), &mut outcome))
            }
            Err(end) => Some(end),
        };
    }
    if end.is_some() {
        player.abandon().await;
    }
    outcome.ledger.absorb(std::mem::take(&mut player.judge.ledger));
    conclude(end, &mut outcome);
    outcome.case.duration_us = micros(env.now().saturating_sub(begun));
    outcome
}

/// Puts findings into the case, with the step that showed them.
fn sign(end: StepEnd, step: u32, outcome: &mut CaseOutcome) -> StepEnd {
    if let StepEnd::Findings(findings) = &end {
        for found in findings {
            outcome.ledger.found(found.clone());
            let told = finding(found, step, &outcome.case);
            outcome.case.findings.push(told);
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
        Some(StepEnd::Done(_) | StepEnd::Refused(_)) => case.verdict = Verdict::Passed,
    }
}

fn told(end: &StepEnd) -> (StepStatus, String) {
    match end {
        StepEnd::Done(note) => (StepStatus::Done, note.clone()),
        StepEnd::Refused(note) => (StepStatus::Refused, note.clone()),
        StepEnd::Findings(findings) => {
            (StepStatus::Failed, findings.first().map(|f| f.message.clone()).unwrap_or_default())
        }
        StepEnd::Unreachable(message) | StepEnd::Broken(message) => (StepStatus::Unknown, message.clone()),
    }
}

fn finding(found: &Found, step: u32, case: &Case) -> Finding {
    Finding {
        requirement: found.requirement.clone(),
        checker: found.checker.to_owned(),
        signature: found.signature.clone(),
        message: found.message.clone(),
        expected: found.expected.clone(),
        observed: found.observed.clone(),
        case: case.id.clone(),
        step: Some(step),
        seed: case.seed,
        ..Finding::default()
    }
}

fn fired(
    before: &std::collections::BTreeMap<String, u64>,
    after: &std::collections::BTreeMap<String, u64>,
) -> Vec<String> {
    after
        .iter()
        .filter(|(point, count)| **count > before.get(*point).copied().unwrap_or(0))
        .map(|(point, _)| point.clone())
        .collect()
}

fn last(steps: &[Step]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX)
}

fn micros(d: std::time::Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}
