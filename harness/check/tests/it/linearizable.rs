//! Concurrent histories of one block, judged by the model and by somebody else's linearizability tester.
//!
//! Readers and writers begin and end in any order, and each read gets any value that was ever written or was there at first.
//! - While writes succeed and do not meet each other, the two agree to the read: the model fires where the history stops
//!   being linearizable, neither sooner nor later.
//! - Where writes fail or meet, the model lets more pass (a host may have sent one of them twice; a failed one is decided
//!   by the first quiet read), but what it calls wrong is wrong.
//!
//! A write that fails may have had its effect or not, but has none later: the host has fenced it. The tester knows no such
//! write, so a history is linearizable if it is for some choice of which of those had an effect.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use sanbench_api::VolumeId;
use sanbench_check::model::data::{Certainty, DataModel};
use sanbench_check::stamp::{BLOCK, RunTag, Stamp};
use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};
use uuid::Uuid;

const VOLUME: VolumeId = VolumeId(Uuid::from_bytes([7; 16]));
const THREADS: usize = 4;

/// One line of a script: what the thread does next. What it cannot do it leaves.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Write,
    Read,
    /// The operation ends; a read with one of the values so far, a write in failure if so wanted.
    End {
        pick: usize,
        fails: bool,
    },
}

/// What happened, with values by the number of their write; 0 was there at first.
#[derive(Debug, Clone, Copy)]
enum Event {
    WriteBegins(u64),
    WriteEnds(u64),
    WriteFails(u64),
    ReadBegins(usize),
    ReadEnds(usize, u64),
}

/// Plays the script against the model; answers what happened, up to the read at which the model fired. In a plain history no
/// write fails or meets another.
fn play(script: &[(usize, Turn)], plain: bool) -> (Vec<Event>, bool) {
    let mut model = DataModel::new(RunTag(1));
    model.create(VOLUME, 1).unwrap();
    let first = model.next_stamp(VOLUME, 0, 0);
    model.write(&first, 1, Certainty::Done).unwrap();
    let mut stamps = vec![first];
    let mut under_way = [const { None }; THREADS];
    let mut events = Vec::new();
    for (thread, turn) in script {
        let thread = thread % THREADS;
        match (*turn, under_way[thread].take()) {
            (Turn::Write, None) => {
                let writing = under_way.iter().flatten().any(|(_, value)| *value != 0);
                if writing && plain {
                    continue;
                }
                let stamp: Stamp = model.next_stamp(VOLUME, 0, 0);
                let value = stamps.len() as u64;
                stamps.push(stamp);
                under_way[thread] = Some((model.begin_write(&stamp, 1).unwrap(), value));
                events.push(Event::WriteBegins(value));
            }
            (Turn::Read, None) => {
                under_way[thread] = Some((model.begin_read(VOLUME).unwrap(), 0));
                events.push(Event::ReadBegins(thread));
            }
            (Turn::End { pick, .. }, Some((ticket, 0))) => {
                let value = pick % stamps.len();
                let mut data = vec![0; BLOCK];
                stamps[value].fill(&mut data);
                events.push(Event::ReadEnds(thread, value as u64));
                if !model.end_read(ticket, 0, &data).unwrap().is_empty() {
                    return (events, true);
                }
            }
            (Turn::End { fails, .. }, Some((ticket, value))) => {
                let fails = fails && !plain;
                let certainty = if fails { Certainty::Unknown } else { Certainty::Done };
                model.end_change(ticket, certainty).unwrap();
                events.push(if fails { Event::WriteFails(value) } else { Event::WriteEnds(value) });
            }
            (_, going_on) => under_way[thread] = going_on,
        }
    }
    (events, false)
}

/// Whether some choice of the failed writes makes the history linearizable.
fn linearizable(events: &[Event]) -> bool {
    let failed: Vec<u64> =
        events.iter().filter_map(|e| if let Event::WriteFails(v) = e { Some(*v) } else { None }).collect();
    (0..1_u32 << failed.len()).any(|chosen| {
        let without =
            |value: u64| failed.iter().position(|v| *v == value).is_some_and(|n| chosen >> n & 1 == 0);
        let mut tester = LinearizabilityTester::new(Register(0));
        for event in events {
            let told = match *event {
                Event::WriteBegins(value) if without(value) => continue,
                // A thread goes on after a failed write, so each write is a thread of its own to the tester.
                Event::WriteBegins(value) => {
                    tester.on_invoke(THREADS + value as usize, RegisterOp::Write(value))
                }
                Event::WriteFails(value) if without(value) => continue,
                Event::WriteEnds(value) | Event::WriteFails(value) => {
                    tester.on_return(THREADS + value as usize, RegisterRet::WriteOk)
                }
                Event::ReadBegins(thread) => tester.on_invoke(thread, RegisterOp::Read),
                Event::ReadEnds(thread, value) => tester.on_return(thread, RegisterRet::ReadOk(value)),
            };
            told.unwrap();
        }
        tester.is_consistent()
    })
}

fn script() -> impl Strategy<Value = Vec<(usize, Turn)>> {
    let turn = prop_oneof![
        2 => Just(Turn::Write),
        3 => Just(Turn::Read),
        5 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(pick, fails)| Turn::End { pick, fails }),
    ];
    prop::collection::vec((0..THREADS, turn), 8..32)
}

/// Both judgements of a plain history; an error says how they differ.
fn agree(script: &[(usize, Turn)]) -> Result<bool, String> {
    let (events, fired) = play(script, true);
    match (fired, linearizable(&events)) {
        (true, true) => Err(format!("the model calls a linearizable history wrong: {events:?}")),
        (false, false) => Err(format!("the model lets pass what is not linearizable: {events:?}")),
        (true, false) if !linearizable(&events[..events.len() - 1]) => {
            Err(format!("the model fires too late: {events:?}"))
        }
        (fired, _) => Ok(fired),
    }
}

proptest! {
    #![proptest_config(Config { cases: 2_000, ..Config::default() })]

    #[test]
    fn on_plain_histories_the_two_agree(script in script()) {
        agree(&script).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn what_the_model_calls_wrong_is_wrong(script in script()) {
        let (events, fired) = play(&script, false);
        prop_assert!(!(fired && linearizable(&events)), "{events:?}");
    }
}

/// The histories are worth something: many are right and many are wrong.
#[test]
fn both_judgements_are_given_often() {
    let mut runner = TestRunner::deterministic();
    let drawn = 1_000;
    let wrong =
        (0..drawn).filter(|_| agree(&script().new_tree(&mut runner).unwrap().current()).unwrap()).count();
    assert!((drawn / 10..drawn * 9 / 10).contains(&wrong), "{wrong} of {drawn} histories are wrong");
}

/// Two readers on two paths: one has the new content, the other, later, the old.
#[test]
fn nobody_goes_back_to_what_another_has_seen_overwritten() {
    let end = |pick| Turn::End { pick, fails: false };
    let script = |second| {
        [(0, Turn::Write), (1, Turn::Read), (1, end(1)), (2, Turn::Read), (2, end(second)), (0, end(0))]
    };
    assert_eq!(agree(&script(1)), Ok(false));
    assert_eq!(agree(&script(0)), Ok(true));
    // A reader that began before may still have the old content.
    let early = [(0, Turn::Write), (2, Turn::Read), (1, Turn::Read), (1, end(1)), (2, end(0)), (0, end(0))];
    assert_eq!(agree(&early), Ok(false));
}
