//! Which event is the first that is not as it should be, and what was compared, in words.

use sanbench_check::stamp::BLOCK;
use sanbench_reports::Finding;
use sanbench_reports::anatomy::{Anatomy, Compared, Event, Exchange, Lane, Role, Tone};

use super::Recorded;
use super::pdu::{self, Seen};

/// Blocks shown before and after the one that is wrong.
const AROUND: u64 = 2;

/// Both sides of the finding, and for a wrong block its neighbours.
pub(super) fn compare(recorded: &Recorded<'_>, finding: &Finding, pdus: &[Seen], anatomy: &mut Anatomy) {
    let names = volumes(recorded);
    anatomy.symptom = named(&names, &finding.message);
    for step in &mut anatomy.steps {
        step.ended = named(&names, &step.ended);
    }
    let readable = |text: &str| named(&names, text);
    let what = match lba(finding) {
        Some(lba) => format!("LBA {lba}"),
        None => finding.signature.replace(':', ", "),
    };
    let wrong = Compared {
        what,
        expected: readable(&finding.expected),
        observed: readable(&finding.observed),
        differs: true,
    };
    let Some((lba, read)) = lba(finding).and_then(|lba| Some((lba, reading(lba, pdus)?))) else {
        anatomy.comparison.push(wrong);
        return;
    };
    let first = read.lba.unwrap_or(lba);
    let last = first + (read.payload.len() / BLOCK) as u64;
    let beside = |at: u64| {
        let block = usize::try_from(at - first).ok().and_then(|n| read.payload.chunks(BLOCK).nth(n));
        let observed = readable(&block.map(|b| pdu::words(b, at)).unwrap_or_default());
        // Only the wrong block was said to be wrong; of its neighbours it is told what they hold.
        Compared { what: format!("LBA {at}, beside it"), observed, ..Compared::default() }
    };
    anatomy.comparison.extend((lba.saturating_sub(AROUND).max(first)..lba).map(beside));
    anatomy.comparison.push(wrong);
    anatomy.comparison.extend((lba + 1..(lba + 1 + AROUND).min(last)).map(beside));
}

/// The text with names of the story in place of ids.
fn named(names: &[(String, String)], text: &str) -> String {
    names.iter().fold(text.to_owned(), |text, (id, name)| text.replace(id, name))
}

/// Marks the first event that is wrong: the data that brought the wrong block, else the last call or command of the
/// failing step that failed, else the end of the step.
pub(super) fn diverge(
    finding: &Finding,
    calls: &[Exchange],
    pdus: &[Seen],
    lanes: &[Lane],
    anatomy: &mut Anatomy,
) {
    let lane = |name: &str| lanes.iter().position(|lane| lane.name == name);
    let data = lba(finding).and_then(|lba| reading(lba, pdus));
    let failed_pdu = || pdus.iter().rev().find(|seen| seen.pdu.wrong);
    let failed_call = || calls.iter().rev().find(|call| call.failed);
    let (at_us, wanted) = if let Some(seen) = data {
        (seen.pdu.at_us, lane(&seen.pdu.path))
    } else if finding.checker == "operation"
        && let Some(call) = failed_call()
    {
        (call.at_us, lanes.iter().position(|lane| lane.role == Role::Driver))
    } else if finding.checker == "operation"
        && let Some(seen) = failed_pdu()
    {
        (seen.pdu.at_us, lane(&seen.pdu.path))
    } else {
        // Seen by comparing inventories or states once the step was over.
        let Some(step) = anatomy.hit().cloned() else { return };
        let text =
            format!("{}: expected {}, observed {}", finding.message, finding.expected, finding.observed);
        anatomy.events.push(Event {
            lane: 0,
            at_us: step.until_us,
            until_us: step.until_us,
            text,
            tone: Tone::Wrong,
        });
        anatomy.divergence = Some(anatomy.events.len() - 1);
        return;
    };
    let found = anatomy.events.iter().position(|event| event.at_us == at_us && Some(event.lane) == wanted);
    if let Some(index) = found {
        if let Some(event) = anatomy.events.get_mut(index) {
            event.tone = Tone::Wrong;
            if let Some(seen) = data {
                event.text = format!("{} {}: {}", seen.pdu.opcode, seen.pdu.what, finding.observed);
            }
        }
        anatomy.divergence = Some(index);
    }
}

/// The data that brought a block to the host, the last time.
fn reading(lba: u64, pdus: &[Seen]) -> Option<&Seen> {
    pdus.iter().rev().find(|seen| {
        !seen.pdu.out
            && seen.lba.is_some_and(|first| lba >= first && lba < first + (seen.payload.len() / BLOCK) as u64)
    })
}

/// The block address that a finding of the data checker names.
fn lba(finding: &Finding) -> Option<u64> {
    if finding.checker != "data" {
        return None;
    }
    let rest = finding.message.split_once("at LBA ")?.1;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Ids of the story's volumes by what the history says of their creation, in the order of the plan.
fn volumes(recorded: &Recorded<'_>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut name = None;
    for line in recorded.outcome.history.lines() {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        match value["topic"].as_str() {
            Some("step") => {
                name = value["text"].as_str().and_then(|text| {
                    let (before, rest) = text.split_once("create ")?;
                    // A lane may stand before the verb.
                    (before.is_empty() || before.starts_with('@'))
                        .then(|| rest.split_whitespace().next().unwrap_or_default().to_owned())
                });
            }
            Some("flow") if value["flow"] == "create_volume" && value["event"] == "begin" => {
                if let (Some(name), Some(id)) = (name.take(), value["subject"].as_str()) {
                    all.push((id.to_owned(), name));
                }
            }
            _ => {}
        }
    }
    all
}
