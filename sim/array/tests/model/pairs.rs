//! Two arrays and a link between them under random commands, losses of all kinds and failovers, against a naive model.
//!
//! The model of replication is a list: every state that the primary has ever had. What the secondary shows is one of them, not
//! older than what was acknowledged while it followed, for all LUNs of the group at once. The model of HyperMetro is a
//! register for each block with the intervals of its writes: a read over either array must not return what an acknowledged
//! write has overwritten.

mod bench;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use sanbench_array::Defects;
use sanbench_array::pair::{PairCommand, PairState, Role};

use bench::{BLOCKS, Bench, LUNS};

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write {
        side: usize,
        lun: usize,
        lba: u64,
        blocks: u64,
    },
    Unmap {
        side: usize,
        lun: usize,
        lba: u64,
        blocks: u64,
    },
    Read {
        side: usize,
        lun: usize,
    },
    /// So many messages leave an array.
    Pump {
        side: usize,
        count: usize,
    },
    /// So many messages of an array arrive.
    Deliver {
        side: usize,
        count: usize,
    },
    /// Everything that can happen by itself happens.
    Settle,
    /// One end notices that the connection is gone.
    Lose {
        side: usize,
    },
    Connect,
    Tick {
        ms: u64,
    },
    Sync {
        side: usize,
    },
    Pause {
        side: usize,
    },
    Switch {
        side: usize,
    },
    Open {
        side: usize,
        write: bool,
    },
    PowerOff {
        side: usize,
    },
    PowerOn {
        side: usize,
        seed: u64,
    },
    Force {
        side: usize,
    },
    Fail {
        side: usize,
        controller: u8,
    },
    Restore {
        side: usize,
        controller: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Metro,
    Sync,
    Async,
}

fn run(kind: Kind, ops: &[Op], defects: Defects, small: bool) -> Result<(), String> {
    let mut bench = Bench::new(kind, defects, small);
    for (n, op) in ops.iter().enumerate() {
        bench.apply(op).map_err(|seen| format!("{op:?} (number {n}): {seen}"))?;
    }
    // In the end everything is mended, and both sides hold the same.
    for side in 0..2 {
        bench.apply(&Op::PowerOn { side, seed: 5 })?;
    }
    bench.settle().map_err(|seen| format!("at the end: {seen}"))?;
    let leader = usize::from(bench.role(0) == Role::Secondary);
    if bench.command(leader, PairCommand::Sync { unit: bench.unit }).is_ok() {
        bench.settle().map_err(|seen| format!("at the end, synchronised: {seen}"))?;
        bench.drain(20)?;
        let faulty = bench.arrays.iter().any(|array| array.pair(bench.pairs[0]).unwrap().faulty);
        if bench.state(0) != PairState::Normal && !faulty {
            return Err(format!("at the end: {:?} after a synchronisation", bench.state(0)));
        }
    }
    Ok(())
}

fn op() -> impl Strategy<Value = Op> {
    let side = || 0..2_usize;
    let lun = || 0..LUNS;
    let lba = || prop_oneof![3 => 0..12_u64, 2 => 96..140_u64, 1 => 0..BLOCKS];
    let blocks = || prop_oneof![6 => 1..6_u64, 1 => 1..200_u64];
    let count = || prop_oneof![3 => 1..4_usize, 1 => Just(1_000)];
    prop_oneof![
        14 => (side(), lun(), lba(), blocks()).prop_map(|(side, lun, lba, blocks)| Op::Write { side, lun, lba, blocks }),
        3 => (side(), lun(), lba(), blocks()).prop_map(|(side, lun, lba, blocks)| Op::Unmap { side, lun, lba, blocks }),
        6 => (side(), lun()).prop_map(|(side, lun)| Op::Read { side, lun }),
        10 => (side(), count()).prop_map(|(side, count)| Op::Pump { side, count }),
        10 => (side(), count()).prop_map(|(side, count)| Op::Deliver { side, count }),
        4 => Just(Op::Settle),
        3 => side().prop_map(|side| Op::Lose { side }),
        2 => Just(Op::Connect),
        4 => prop_oneof![0..60_u64, 0..4_000_u64].prop_map(|ms| Op::Tick { ms }),
        4 => side().prop_map(|side| Op::Sync { side }),
        2 => side().prop_map(|side| Op::Pause { side }),
        1 => side().prop_map(|side| Op::Switch { side }),
        2 => (side(), any::<bool>()).prop_map(|(side, write)| Op::Open { side, write }),
        1 => side().prop_map(|side| Op::PowerOff { side }),
        2 => (side(), any::<u64>()).prop_map(|(side, seed)| Op::PowerOn { side, seed }),
        2 => side().prop_map(|side| Op::Force { side }),
        1 => (side(), 0..2_u8).prop_map(|(side, controller)| Op::Fail { side, controller }),
        1 => (side(), 0..2_u8).prop_map(|(side, controller)| Op::Restore { side, controller }),
    ]
}

/// Mostly runs that begin with a pair that follows.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    (prop::bool::weighted(0.8), prop::collection::vec(op(), 1..70)).prop_map(|(follows, ops)| {
        let begin: &[Op] = if follows { &[Op::Sync { side: 0 }, Op::Settle] } else { &[] };
        begin.iter().cloned().chain(ops).collect()
    })
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]

    #[test]
    fn hyper_metro_never_shows_what_was_overwritten(ops in ops(), small: bool) {
        run(Kind::Metro, &ops, Defects::default(), small).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_synchronous_secondary_is_never_behind_an_acknowledgement(ops in ops(), small: bool) {
        run(Kind::Sync, &ops, Defects::default(), small).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn an_asynchronous_secondary_is_always_a_state_that_was(ops in ops(), small: bool) {
        run(Kind::Async, &ops, Defects::default(), small).map_err(TestCaseError::fail)?;
    }
}

/// What is seen of each planted defect of pairs, over all kinds.
pub(crate) fn caught(defect: &str) -> String {
    let mut defects = Defects::default();
    assert!(defects.set(defect), "{defect}");
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..400 {
        let ops = ops().new_tree(&mut runner).unwrap().current();
        for (name, kind) in [("metro", Kind::Metro), ("sync", Kind::Sync), ("async", Kind::Async)] {
            *seen.entry(name).or_default() += 1;
            run(kind, &ops, Defects::default(), false).unwrap();
            if let Err(what) = run(kind, &ops, defects, false) {
                return what;
            }
        }
    }
    panic!("{defect}: {seen:?} sequences did not show it");
}
