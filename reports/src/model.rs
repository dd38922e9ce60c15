//! What a run found out, as data.
//!
//! Values only; the rules of the verdict are in [`crate::settle`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The schema name that every report carries.
pub const SCHEMA: &str = "sanbench.report/1";

/// The schema name of one `failures/<id>.json`.
pub const FAILURE_SCHEMA: &str = "sanbench.failure/1";

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
    /// Names of the defects that were planted; empty for an honest run.
    #[serde(default)]
    pub planted: Vec<String>,
    /// Slow stories that the short form left out; what only they show is not required. Empty when everything was played.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// The command that repeats this run.
    pub command: String,
}

impl Run {
    /// What a verdict must say when slow stories were left out.
    #[must_use]
    pub fn short_form(&self) -> Option<String> {
        match self.left_out.len() {
            0 => None,
            1 => Some("short form: 1 slow story left out, see --slow".to_owned()),
            n => Some(format!("short form: {n} slow stories left out, see --slow")),
        }
    }
}

impl Report {
    /// The verdict in words, with what restricts it.
    #[must_use]
    pub fn verdict_words(&self) -> String {
        let word = self.verdict.word();
        self.run.short_form().map_or_else(|| word.to_owned(), |short| format!("{word} ({short})"))
    }
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
    pub const fn word(self) -> &'static str {
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
    /// Id in the defect catalogue; several switches may share one. What the catalogue does not have goes by its own id.
    pub id: String,
    /// Name of the switch that plants it; empty while nothing can.
    #[serde(default)]
    pub switch: String,
    /// Part that it was planted in.
    #[serde(default)]
    pub home: String,
    /// A requirement that names it failed.
    pub caught: bool,
    /// Requirement and checker that caught it, or empty.
    pub by: String,
    /// Requirements of which one had to fail.
    #[serde(default)]
    pub expected: Vec<String>,
    /// Directed story or swarm.
    pub mode: DefectMode,
    /// Runs that were needed, or made in vain.
    pub runs: u64,
    /// Milliseconds that they took.
    pub ms: u64,
    /// The story that shows it.
    #[serde(default)]
    pub story: String,
    /// Steps of the shortest plan that shows it, where it was shrunk.
    #[serde(default)]
    pub steps: Option<u64>,
    /// What has to be built before it can be planted; empty for one that was.
    #[serde(default)]
    pub waits_for: String,
    /// What else there is to say: what failed instead, why nothing could be run.
    #[serde(default)]
    pub note: String,
}

impl Defect {
    /// It was planted, and no requirement that names it failed.
    #[must_use]
    pub fn missed(&self) -> bool {
        !self.caught && self.waits_for.is_empty()
    }
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
    /// The same plan as data.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub steps: serde_json::Value,
    /// Every verification read whole volumes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scan: bool,
    /// Seen elsewhere and shown again in the simulation, where the plan was then shrunk; it replays there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transferred: bool,
    /// What shrinking did; missing when the plan is the one that was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<Shrinking>,
    /// The first eight hexadecimal digits of the SHA-256 of each line of the history, one after the other; empty outside
    /// `sim`. A replay that goes another way is told where.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub history: String,
}

impl Failure {
    /// Requirement and signature: what makes two failures the same.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} {}", self.finding.requirement, self.finding.signature)
    }
}

/// What shrinking did to a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrinking {
    /// Steps of the plan that was run.
    pub from: u64,
    /// Steps that are left.
    pub to: u64,
    /// Plans that were tried.
    pub runs: u64,
    /// Wall-clock milliseconds.
    pub ms: u64,
    /// Nothing simpler was found; false when the time was over before.
    pub complete: bool,
    /// The plan that was run, in the story language.
    pub original: String,
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
