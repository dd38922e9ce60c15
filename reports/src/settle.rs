//! The rules of the verdict: [`Report::settle`] and [`Report::exit_code`]. They stand here and nowhere else.

use std::collections::BTreeMap;

use crate::model::{
    Case, Counts, Defect, Ending, Finding, Level, Report, Requirement, RunVerdict, SCHEMA, Verdict,
    WaiverState,
};

/// The requirement that missed planted defects are charged to.
const BITE: &str = "BEN-004";

impl Report {
    /// Brings requirements, waivers, counts and verdict into their final state. Call it once, after everything is filled
    /// in; a second call changes nothing.
    ///
    /// The rules, in this order:
    /// 1. a finding fails its requirement, whatever verdict stood there, and a requirement that nobody listed is then
    ///    listed as a MUST: nothing that a checker found can vanish from the verdict; a MUST that failed is required, whether
    ///    or not a suite's list names it;
    /// 2. a planted defect that was missed fails `BEN-004`, one that cannot be planted yet leaves it not run, and all of
    ///    them caught passes it;
    /// 3. a waiver that is not expired turns `failed` into `waived`; on a requirement that passed it is an *unexpected pass*;
    /// 4. `required = passed + failed + unknown + waived + not_run` over the required set; `not_applicable` lies outside
    ///    it; failed SHOULDs are advisory;
    /// 5. *conformant* only if the run finished, left nothing, and `failed = unknown = not_run = 0` with `required > 0`.
    pub fn settle(&mut self) {
        self.schema = SCHEMA.to_owned();
        self.name_findings();
        self.charge_findings();
        self.charge_defects();
        for entry in &mut self.requirements {
            entry.required |= entry.level == Level::Must && entry.verdict == Verdict::Failed;
        }
        self.requirements.sort_by(|a, b| a.id.cmp(&b.id));
        self.apply_waivers();
        self.counts = self.count();
        self.verdict = match self.exit_code() {
            0 => RunVerdict::Conformant,
            1 => RunVerdict::NotConformant,
            4 => RunVerdict::Error,
            _ => RunVerdict::Incomplete,
        };
    }

    /// The process's exit code by the first rule that applies: 4 the bench broke, 130 interrupted, 1 a requirement
    /// failed, 3 clean-up left objects, 2 incomplete or unknown, 0 everything required passed. (64, a refused command
    /// line, never has a report.) Valid after [`Report::settle`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let counts = &self.counts;
        match self.ending {
            Ending::BenchError(_) => 4,
            Ending::Interrupted => 130,
            _ if counts.failed > 0 => 1,
            _ if !self.leftovers.is_empty() => 3,
            Ending::Unreachable(_) => 2,
            Ending::Finished if counts.unknown > 0 || counts.not_run > 0 || counts.required == 0 => 2,
            Ending::Finished => 0,
        }
    }

    /// Every finding with its case, in the order of the run.
    pub fn findings(&self) -> impl Iterator<Item = (&Case, &Finding)> {
        self.cases.iter().flat_map(|case| case.findings.iter().map(move |finding| (case, finding)))
    }

    /// The requirement of that id.
    #[must_use]
    pub fn requirement(&self, id: &str) -> Option<&Requirement> {
        self.requirements.iter().find(|requirement| requirement.id == id)
    }

    fn name_findings(&mut self) {
        for case in &mut self.cases {
            for (index, finding) in case.findings.iter_mut().enumerate() {
                if finding.case.is_empty() {
                    finding.case.clone_from(&case.id);
                    finding.seed = case.seed;
                }
                if finding.id.is_empty() {
                    finding.id = format!("{}-{}", case.id.replace('/', "-"), index + 1);
                }
            }
        }
    }

    fn charge_findings(&mut self) {
        let mut charges: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
        for (case, finding) in self.findings() {
            let (reason, cases) = charges
                .entry(finding.requirement.clone())
                .or_insert_with(|| (finding.message.clone(), Vec::new()));
            if reason.is_empty() {
                reason.clone_from(&finding.checker);
            }
            if cases.last() != Some(&case.id) {
                cases.push(case.id.clone());
            }
        }
        for (id, (reason, cases)) in charges {
            self.fail_requirement(&id, &reason, cases);
        }
    }

    fn charge_defects(&mut self) {
        if self.defects.is_empty() {
            return;
        }
        let named = |which: fn(&Defect) -> bool| {
            let mut ids: Vec<&str> =
                self.defects.iter().filter(|d| which(d)).map(|d| d.id.as_str()).collect();
            ids.dedup();
            ids.join(", ")
        };
        let (missed, waiting) = (named(Defect::missed), named(|d| !d.waits_for.is_empty()));
        if missed.is_empty() {
            if self.requirement(BITE).is_none() {
                let entry = Requirement::new(BITE, Level::Must, "every planted defect is caught");
                let entry = match waiting.is_empty() {
                    true => entry.with(Verdict::Passed, ""),
                    false => entry.with(Verdict::NotRun, format!("cannot be planted yet: {waiting}")),
                };
                self.requirements.push(entry);
            }
        } else {
            let reason = format!("planted defects not caught: {missed}");
            self.fail_requirement(BITE, &reason, Vec::new());
        }
    }

    fn fail_requirement(&mut self, id: &str, reason: &str, evidence: Vec<String>) {
        let position = self.requirements.iter().position(|requirement| requirement.id == id);
        let index = position.unwrap_or_else(|| {
            self.requirements.push(Requirement::new(id, Level::Must, ""));
            self.requirements.len() - 1
        });
        let entry = &mut self.requirements[index];
        if !matches!(entry.verdict, Verdict::Failed | Verdict::Waived) {
            entry.verdict = Verdict::Failed;
            entry.reason = reason.to_owned();
        }
        for line in evidence {
            if !entry.evidence.contains(&line) {
                entry.evidence.push(line);
            }
        }
    }

    fn apply_waivers(&mut self) {
        for waiver in self.waivers.iter_mut().filter(|waiver| waiver.state != WaiverState::Expired) {
            let Some(entry) = self.requirements.iter_mut().find(|entry| entry.id == waiver.requirement)
            else {
                waiver.state = WaiverState::Unused;
                continue;
            };
            waiver.state = match entry.verdict {
                Verdict::Failed => {
                    entry.verdict = Verdict::Waived;
                    WaiverState::Applied
                }
                Verdict::Waived => WaiverState::Applied,
                Verdict::Passed => WaiverState::UnexpectedPass,
                Verdict::Unknown | Verdict::NotApplicable | Verdict::NotRun => WaiverState::Unused,
            };
        }
    }

    fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in &self.requirements {
            if entry.verdict == Verdict::NotApplicable {
                counts.not_applicable += 1;
                continue;
            }
            if !entry.required {
                counts.advisory_failed += u64::from(entry.verdict == Verdict::Failed);
                continue;
            }
            counts.required += 1;
            match entry.verdict {
                Verdict::Passed => counts.passed += 1,
                Verdict::Failed => counts.failed += 1,
                Verdict::Unknown => counts.unknown += 1,
                Verdict::Waived => counts.waived += 1,
                Verdict::NotRun | Verdict::NotApplicable => counts.not_run += 1,
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::BITE;
    use crate::model::*;
    use crate::sample;

    fn finished(entries: Vec<Requirement>) -> Report {
        let mut report = Report { requirements: entries, ..Report::default() };
        report.settle();
        report
    }

    fn must(id: &str, verdict: Verdict) -> Requirement {
        Requirement::new(id, Level::Must, "t").with(verdict, "r")
    }

    #[test]
    fn an_empty_run_is_incomplete() {
        let report = finished(Vec::new());
        assert_eq!((report.verdict, report.exit_code()), (RunVerdict::Incomplete, 2));
    }

    #[test]
    fn only_passes_are_conformant() {
        let report = finished(vec![must("A-1", Verdict::Passed), must("A-2", Verdict::NotApplicable)]);
        assert_eq!((report.verdict, report.exit_code()), (RunVerdict::Conformant, 0));
        for verdict in [Verdict::Unknown, Verdict::NotRun] {
            let report = finished(vec![must("A-1", Verdict::Passed), must("A-2", verdict)]);
            assert_eq!((report.verdict, report.exit_code()), (RunVerdict::Incomplete, 2), "{verdict:?}");
        }
    }

    #[test]
    fn nothing_but_not_applicable_is_incomplete() {
        assert_eq!(finished(vec![must("A-1", Verdict::NotApplicable)]).exit_code(), 2);
    }

    #[test]
    fn a_failed_should_is_advisory() {
        let should = Requirement::new("A-2", Level::Should, "t").with(Verdict::Failed, "r");
        let report = finished(vec![must("A-1", Verdict::Passed), should]);
        assert_eq!((report.counts.advisory_failed, report.exit_code()), (1, 0));
    }

    #[test]
    fn a_failed_must_counts_although_no_list_names_it() {
        let mut unlisted = must("A-2", Verdict::Failed);
        unlisted.required = false;
        let mut unjudged = must("A-3", Verdict::NotRun);
        unjudged.required = false;
        let report = finished(vec![must("A-1", Verdict::Passed), unlisted, unjudged]);
        assert_eq!((report.counts.failed, report.counts.required, report.exit_code()), (1, 2, 1));
    }

    #[test]
    fn leftovers_beat_incomplete_and_lose_to_failed() {
        let mut report = finished(vec![must("A-1", Verdict::Passed), must("A-2", Verdict::NotRun)]);
        report.leftovers.push(Leftover::default());
        report.settle();
        assert_eq!((report.verdict, report.exit_code()), (RunVerdict::Incomplete, 3));
        report.requirements[0].verdict = Verdict::Failed;
        report.settle();
        assert_eq!((report.verdict, report.exit_code()), (RunVerdict::NotConformant, 1));
        report.ending = Ending::Interrupted;
        report.settle();
        assert_eq!((report.verdict, report.exit_code()), (RunVerdict::Incomplete, 130));
        report.ending = Ending::BenchError("x".into());
        report.settle();
        assert_eq!((report.verdict, report.exit_code()), (RunVerdict::Error, 4));
    }

    #[test]
    fn a_finding_fails_its_requirement_even_if_nobody_listed_it() {
        let finding =
            Finding { requirement: "DAT-002".into(), message: "stale".into(), ..Finding::default() };
        let case = Case { id: "s/0".into(), findings: vec![finding], ..Case::default() };
        let mut report = Report { cases: vec![case], ..Report::default() };
        report.settle();
        assert_eq!(report.exit_code(), 1);
        assert_eq!(report.requirements[0].evidence, ["s/0"]);
        assert_eq!(report.cases[0].findings[0].id, "s-0-1");
    }

    #[test]
    fn a_missed_defect_fails_the_selftest() {
        let mut report = finished(Vec::new());
        report.defects.push(Defect { id: "D16".into(), caught: true, ..Defect::default() });
        report.settle();
        assert_eq!(report.exit_code(), 0);
        report.defects.push(Defect { id: "D05".into(), waits_for: "vStores".into(), ..Defect::default() });
        report.requirements.clear();
        report.settle();
        assert_eq!(report.exit_code(), 2);
        assert_eq!(report.requirement(BITE).map(|r| r.reason.as_str()), Some("cannot be planted yet: D05"));
        report.defects.push(Defect { id: "D17".into(), ..Defect::default() });
        report.settle();
        assert_eq!(report.exit_code(), 1);
    }

    #[test]
    fn waivers_excuse_expire_and_go_stale() {
        let mut report = finished(vec![
            must("A-1", Verdict::Failed),
            must("A-2", Verdict::Failed),
            must("A-3", Verdict::Passed),
        ]);
        for (id, state) in [
            ("A-1", WaiverState::Unused),
            ("A-2", WaiverState::Expired),
            ("A-3", WaiverState::Unused),
            ("A-4", WaiverState::Unused),
        ] {
            report.waivers.push(Waiver { requirement: id.into(), state, ..Waiver::default() });
        }
        report.settle();
        let states: Vec<WaiverState> = report.waivers.iter().map(|waiver| waiver.state).collect();
        assert_eq!(
            states,
            [WaiverState::Applied, WaiverState::Expired, WaiverState::UnexpectedPass, WaiverState::Unused]
        );
        assert_eq!((report.counts.waived, report.counts.failed), (1, 1));
    }

    #[test]
    fn settling_twice_changes_nothing() {
        let mut report = sample::report();
        let once = report.clone();
        report.settle();
        assert_eq!(report, once);
        let counts = &report.counts;
        assert_eq!(
            counts.required,
            counts.passed + counts.failed + counts.unknown + counts.waived + counts.not_run
        );
    }
}
