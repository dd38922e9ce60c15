//! The fixed report that every rendering is snapshotted with.

use std::collections::BTreeMap;

use crate::model::*;

/// One requirement of each verdict, one failing case, one waiver, one leftover-free run.
pub(crate) fn report() -> Report {
    let requirements = vec![
        Requirement::new("CRE-001", Level::Must, "Create returns a volume of at least the requested size.")
            .with(Verdict::Passed, ""),
        Requirement::new(
            "DAT-002",
            Level::Must,
            "No read returns another volume's or an older generation's data.",
        )
        .with(Verdict::Passed, ""),
        Requirement::new("FLT-004", Level::Must, "Interrupted flatten is resumable without loss.")
            .with(Verdict::NotRun, "no story of this run interrupts a flatten"),
        Requirement::new("MPX-001", Level::Must, "Loss of one path causes no I/O error.")
            .with(Verdict::Unknown, "the checker ran out of time"),
        Requirement::new("CLN-002", Level::Must, "Chain depth never exceeds the limit.")
            .with(Verdict::Failed, "depth 6"),
        Requirement::new("SCS-022", Level::May, "EXTENDED COPY content and limits.")
            .with(Verdict::NotApplicable, "capability not declared"),
        Requirement::new("CLU-006", Level::Should, "Host has no stale device after detach.")
            .with(Verdict::Failed, "one by-id link left"),
    ];
    let finding = Finding {
        requirement: "DAT-002".into(),
        checker: "block model".into(),
        signature: "data:volume:stale".into(),
        message: "volume vol1 returned an older write of its own at LBA 128 <after extend>".into(),
        expected: "seq 7 by compute-1\nLBA 128".into(),
        observed: "seq 3 by compute-1\nLBA 128".into(),
        step: Some(3),
        replay: "sanbench replay failures/lifecycle-0-1.json".into(),
        ..Finding::default()
    };
    let steps = vec![
        Step {
            number: 1,
            text: "create vol1 1GiB".into(),
            status: StepStatus::Done,
            duration_us: 12_000,
            ..Step::default()
        },
        Step {
            number: 2,
            text: "extend vol1 2GiB".into(),
            status: StepStatus::Unknown,
            duration_us: 30_000_000,
            note: "time-out".into(),
            faults: vec!["drop-reply management 3".into()],
        },
        Step {
            number: 3,
            text: "verify vol1".into(),
            status: StepStatus::Failed,
            duration_us: 1_500,
            note: "1 finding".into(),
            ..Step::default()
        },
        Step { number: 4, text: "delete vol1".into(), ..Step::default() },
    ];
    let cases = vec![
        Case {
            id: "lifecycle/0".into(),
            title: "The whole life of a volume".into(),
            story: "lifecycle".into(),
            seed: 42,
            verdict: Verdict::Failed,
            reason: "1 finding".into(),
            requirements: vec!["CRE-001".into(), "DAT-002".into()],
            steps,
            duration_us: 30_013_500,
            findings: vec![finding],
            history_sha256: Some("aa".repeat(32)),
        },
        Case {
            id: "schedule/0".into(),
            title: "A type finds its back end".into(),
            story: "schedule".into(),
            seed: 42,
            verdict: Verdict::Passed,
            requirements: vec!["CRE-001".into()],
            steps: vec![Step {
                number: 1,
                text: "create vol2 1GiB type gold".into(),
                status: StepStatus::Done,
                duration_us: 9_000,
                ..Step::default()
            }],
            duration_us: 9_000,
            ..Case::default()
        },
        Case {
            id: "failover/0".into(),
            title: "A controller goes".into(),
            story: "failover".into(),
            seed: 42,
            verdict: Verdict::NotRun,
            reason: "environment cannot kill a controller".into(),
            ..Case::default()
        },
    ];
    let mut report = Report {
        requirements,
        run: Run {
            seed: 42,
            env: "sim".into(),
            version: "0.1.0".into(),
            suite: "default".into(),
            started: None,
            duration_ms: 1_234,
            history_sha256: Some("0123456789abcdef".repeat(4)),
            plans: 3,
            steps: 5,
            faults_injected: 1,
            faults: "none".into(),
            planted: Vec::new(),
            left_out: vec!["path-loss".into(), "relogin".into()],
            command: "sanbench run default --seed 42".into(),
        },
        cases,
        coverage: Coverage {
            points: BTreeMap::from([("driver.create.after".to_owned(), 2), ("target.login".to_owned(), 9)]),
            marks: BTreeMap::from([
                ("clone at depth limit".to_owned(), 1),
                ("redirected login".to_owned(), 0),
            ]),
        },
        notes: vec!["array inventory not checked".into()],
        waivers: vec![Waiver {
            requirement: "CLN-002".into(),
            reason: "fixed in firmware 7".into(),
            link: "https://bugs.example/17".into(),
            owner: "storage team".into(),
            expires: "2027-01-31".into(),
            state: WaiverState::Unused,
        }],
        ..Report::default()
    };
    report.settle();
    report
}
