//! What a run found out, as data.
//!
//! The rules of the verdict live here and nowhere else: see [`Report::settle`] and [`Report::exit_code`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The schema name that every report carries.
pub const SCHEMA: &str = "sanbench.report/1";

/// The schema name of one `failures/<id>.json`.
pub const FAILURE_SCHEMA: &str = "sanbench.failure/1";

/// The requirement that missed planted defects are charged to.
const BITE: &str = "BEN-004";

/// Everything that is said about one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The answer in one word; set by [`Report::settle`].
    pub verdict: RunVerdict,
    /// Sums over the requirements; set by [`Report::settle`].
    pub counts: Counts,
    /// How the run ended, apart from what it found.
    pub ending: Ending,
    /// One entry for each requirement that was asked for or touched, ordered by id after [`Report::settle`].
    pub requirements: Vec<Requirement>,
    /// Where, with what and how long.
    pub run: Run,
    /// The stories that ran, in the order of the run.
    pub cases: Vec<Case>,
    /// Tagged objects that the bench's own clean-up could not remove.
    pub leftovers: Vec<Leftover>,
    /// Planted defects, when this was a `selftest`.
    pub defects: Vec<Defect>,
    /// Points and marks that were reached.
    pub coverage: Coverage,
    /// What the reader must know about the environment, for example "array inventory not checked".
    pub notes: Vec<String>,
    /// Waivers that were given to the run, applied or not.
    pub waivers: Vec<Waiver>,
}

/// Where, with what and how long a run was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The seed that the run started from.
    pub seed: u64,
    /// `sim`, `loopback` or the profile's name.
    pub env: String,
    /// Version of the bench.
    pub version: String,
    /// What was asked for: story, suite or requirement names.
    pub suite: String,
    /// Wall-clock start as text (RFC 3339); null in `sim`, whose reports must not differ.
    pub started: Option<String>,
    /// Duration in milliseconds, by the wall clock.
    pub duration_ms: u64,
    /// SHA-256 over the sorted lines `case-id sha256(history)`; null outside `sim`.
    pub history_sha256: Option<String>,
    /// Plans executed.
    pub plans: u64,
    /// Steps executed over all plans.
    pub steps: u64,
    /// Faults that really fired.
    pub faults_injected: u64,
    /// Fault profile (`none`, `light`, `default`, `heavy` or a file name).
    pub faults: String,
    /// The command that repeats this run.
    pub command: String,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how", content = "message")]
pub enum Ending {
    /// Every plan was executed or given up for a reason that its case names.
    #[default]
    Finished,
    /// A signal stopped the run; clean-up has been done.
    Interrupted,
    /// The array could not be reached or failed us.
    Unreachable(String),
    /// The bench itself broke; its verdict is worth nothing.
    BenchError(String),
}

/// The verdict on the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunVerdict {
    /// Everything required passed, and something was required.
    Conformant,
    /// A requirement failed.
    NotConformant,
    /// Something required did not run or stayed undecided, or clean-up left something.
    #[default]
    Incomplete,
    /// The bench broke.
    Error,
}

impl RunVerdict {
    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Conformant => "conformant",
            Self::NotConformant => "not-conformant",
            Self::Incomplete => "incomplete",
            Self::Error => "error",
        }
    }
}

/// How binding a requirement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Breaking it makes the array or driver non-conformant.
    Must,
    /// Breaking it is reported as advisory.
    Should,
    /// Binding only when the capability is declared.
    May,
}

impl Level {
    /// `MUST`, `SHOULD` or `MAY`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        }
    }
}

/// The verdict on one requirement or one case. The six are never folded into each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A checker compared something and found it right.
    Passed,
    /// A checker found it wrong.
    Failed,
    /// It ran, but no checker could decide.
    Unknown,
    /// It failed, and a valid waiver names it.
    Waived,
    /// Outside the required set: capability not declared, no inventory, not built.
    NotApplicable,
    /// It was wanted and did not run.
    #[default]
    NotRun,
}

impl Verdict {
    /// Every verdict, in the order of the tables.
    pub const ALL: [Self; 6] =
        [Self::Failed, Self::Unknown, Self::NotRun, Self::Waived, Self::Passed, Self::NotApplicable];

    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Waived => "waived",
            Self::NotApplicable => "not_applicable",
            Self::NotRun => "not_run",
        }
    }

    /// The word for people: the same without underscores.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotApplicable => "not applicable",
            Self::NotRun => "not run",
            other => other.word(),
        }
    }
}

/// One requirement and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// Id in the catalogue, for example `CLN-003`.
    pub id: String,
    /// How binding it is.
    pub level: Level,
    /// The requirement as one sentence.
    pub title: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, when the verdict is not `passed`; empty otherwise.
    pub reason: String,
    /// What the verdict rests on: case ids, checker names with counts.
    pub evidence: Vec<String>,
    /// Belongs to the required set of this run. MUSTs do by default; a suite's list may say otherwise.
    pub required: bool,
}

impl Requirement {
    /// A requirement that has not run yet; required when it is a MUST.
    #[must_use]
    pub fn new(id: impl Into<String>, level: Level, title: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            level,
            title: title.into(),
            verdict: Verdict::NotRun,
            reason: String::new(),
            evidence: Vec::new(),
            required: level == Level::Must,
        }
    }

    /// The same with a verdict and its reason.
    #[must_use]
    pub fn with(mut self, verdict: Verdict, reason: impl Into<String>) -> Self {
        self.verdict = verdict;
        self.reason = reason.into();
        self
    }
}

/// Sums over the requirements of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// `passed + failed + unknown + waived + not_run`.
    pub required: u64,
    /// Required and passed.
    pub passed: u64,
    /// Required and failed.
    pub failed: u64,
    /// Required and undecided.
    pub unknown: u64,
    /// Required, failed and waived.
    pub waived: u64,
    /// Outside the required set, with a reason.
    pub not_applicable: u64,
    /// Required and not run.
    pub not_run: u64,
    /// Not required and failed (SHOULDs).
    pub advisory_failed: u64,
}

/// One executed story, or one case of a property story.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Unique in the run, for example `lifecycle/0`.
    pub id: String,
    /// What the story shows, as a sentence.
    pub title: String,
    /// Name of the story file or suite entry.
    pub story: String,
    /// Seed of this case.
    pub seed: u64,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, when the verdict is not `passed`.
    pub reason: String,
    /// Requirements that it exercised.
    pub requirements: Vec<String>,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// Time that the case took on the world's clock, in microseconds (virtual in `sim`).
    pub duration_us: u64,
    /// What the checkers found.
    pub findings: Vec<Finding>,
    /// SHA-256 of the case's history, where there is one.
    pub history_sha256: Option<String>,
}

/// One step of a story.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Number in the plan, from 1.
    pub number: u32,
    /// The story line as written.
    pub text: String,
    /// What became of it.
    pub status: StepStatus,
    /// Time on the world's clock, in microseconds (virtual in `sim`).
    pub duration_us: u64,
    /// The answer, a refusal or an error in a few words; may be empty.
    pub note: String,
    /// Faults that fired inside it.
    pub faults: Vec<String>,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It succeeded.
    Done,
    /// It was refused, as the story expects.
    Refused,
    /// It failed, or a checker found something wrong after it.
    Failed,
    /// Its outcome is unknown (time-out, lost reply, crash).
    Unknown,
    /// It was not started.
    #[default]
    NotRun,
}

impl StepStatus {
    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::NotRun => "not run",
        }
    }
}

/// One thing that a checker found wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Unique in the run; [`Report::settle`] fills an empty one from the case's id.
    pub id: String,
    /// The requirement that is broken.
    pub requirement: String,
    /// The checker that noticed.
    pub checker: String,
    /// Checker, object role and first divergent field: equal for equal causes; never contains ids or numbers of a run.
    pub signature: String,
    /// The symptom in one sentence.
    pub message: String,
    /// What the model expects; may have several lines.
    pub expected: String,
    /// What was observed; may have several lines.
    pub observed: String,
    /// The case; [`Report::settle`] fills an empty one.
    pub case: String,
    /// The step after which it was noticed, when one can be named.
    pub step: Option<u32>,
    /// Seed of the case.
    pub seed: u64,
    /// The command that shows it again.
    pub replay: String,
}

/// A tagged object that clean-up could not remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// `lun`, `snapshot`, `host`, `mapping view`, `session`, `device`, ...
    pub kind: String,
    /// Its id where it lives.
    pub id: String,
    /// Its name, when it has one.
    pub name: String,
    /// `array`, `database` or the host's name.
    pub place: String,
    /// Why it is still there.
    pub reason: String,
}

/// A planted defect and whether it was caught.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defect {
    /// Id in the defect catalogue.
    pub id: String,
    /// A requirement failed by it.
    pub caught: bool,
    /// Requirement and checker that caught it, or empty.
    pub by: String,
    /// Directed story or swarm.
    pub mode: DefectMode,
    /// Runs that were needed, or made in vain.
    pub runs: u64,
    /// Milliseconds that they took.
    pub ms: u64,
}

/// How a planted defect was looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefectMode {
    /// By the story that is directed at it.
    #[default]
    Directed,
    /// By random plans.
    Swarm,
}

impl DefectMode {
    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Directed => "directed",
            Self::Swarm => "swarm",
        }
    }
}

/// Fault points and marks that were reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// How often each fault point was passed.
    pub points: BTreeMap<String, u64>,
    /// How often each "sometimes" mark was hit; a mark that was never hit is listed with 0.
    pub marks: BTreeMap<String, u64>,
}

/// A waiver and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// The requirement that it excuses.
    pub requirement: String,
    /// Why.
    pub reason: String,
    /// Ticket or page.
    pub link: String,
    /// Who answers for it.
    pub owner: String,
    /// Last day on which it holds, as `YYYY-MM-DD`.
    pub expires: String,
    /// What became of it.
    pub state: WaiverState,
}

/// What became of a waiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaiverState {
    /// Its requirement failed and is excused.
    Applied,
    /// Its last day is over: it excuses nothing.
    Expired,
    /// Its requirement passed: the waiver should go.
    UnexpectedPass,
    /// Its requirement was not judged in this run.
    #[default]
    Unused,
}

impl WaiverState {
    /// The words used in reports.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Expired => "expired",
            Self::UnexpectedPass => "unexpected pass",
            Self::Unused => "unused",
        }
    }
}

/// The content of one `failures/<id>.json`: enough to replay the failure without anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Always [`FAILURE_SCHEMA`].
    pub schema: String,
    /// The finding, which names requirement, signature, case, step and seed.
    pub finding: Finding,
    /// Where the failure was seen.
    pub run: Run,
    /// The plan that shows it, in the story language (shrunk when it was shrunk).
    pub plan: String,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            verdict: RunVerdict::default(),
            counts: Counts::default(),
            ending: Ending::default(),
            requirements: Vec::new(),
            run: Run::default(),
            cases: Vec::new(),
            leftovers: Vec::new(),
            defects: Vec::new(),
            coverage: Coverage::default(),
            notes: Vec::new(),
            waivers: Vec::new(),
        }
    }
}

impl Report {
    /// Brings requirements, waivers, counts and verdict into their final state. Call it once, after everything is filled
    /// in; a second call changes nothing.
    ///
    /// The rules, in this order:
    /// 1. a finding fails its requirement, whatever verdict stood there, and a requirement that nobody listed is then
    ///    listed as a MUST: nothing that a checker found can vanish from the verdict;
    /// 2. a planted defect that was missed fails `BEN-004`, and all of them caught passes it;
    /// 3. a waiver that is not expired turns `failed` into `waived`; on a requirement that passed it is an *unexpected pass*;
    /// 4. `required = passed + failed + unknown + waived + not_run` over the required set; `not_applicable` lies outside
    ///    it; failures outside it are advisory;
    /// 5. *conformant* only if the run finished, left nothing, and `failed = unknown = not_run = 0` with `required > 0`.
    pub fn settle(&mut self) {
        self.schema = SCHEMA.to_owned();
        self.name_findings();
        self.charge_findings();
        self.charge_defects();
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
        let missed: Vec<&str> = self.defects.iter().filter(|d| !d.caught).map(|d| d.id.as_str()).collect();
        if missed.is_empty() {
            if self.requirement(BITE).is_none() {
                let reason = "every planted defect was caught";
                self.requirements.push(Requirement::new(BITE, Level::Must, reason).with(Verdict::Passed, ""));
            }
        } else {
            let reason = format!("planted defects not caught: {}", missed.join(", "));
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
    use super::*;
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
