//! What a case ends with.

use std::fmt;

/// The end of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was compared was right.
    Passed,
    /// The target broke a rule; the first breach comes first.
    Failed(Vec<Failure>),
    /// The target does not claim what the case is about; says what is missing.
    NotApplicable(String),
    /// The case could not decide; says why.
    Unknown(String),
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Requirement id; `None` in the middle of a case means the first that the case names.
    pub requirement: Option<&'static str>,
    /// RFC 7143 section or T10 clause.
    pub clause: String,
    /// What had to come.
    pub expected: String,
    /// What came.
    pub observed: String,
    /// The last PDUs of the case, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}; observed {} [{}]", self.expected, self.observed, self.clause)
    }
}

/// Why a case stops early.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stop {
    /// A rule is broken.
    #[error("{0}")]
    Failed(Box<Failure>),
    /// There is nothing to judge.
    #[error("not applicable: {0}")]
    NotApplicable(String),
    /// No decision is possible.
    #[error("undecided: {0}")]
    Unknown(String),
}

/// A step of a case.
pub type Checked<T = ()> = Result<T, Stop>;

/// A breach as an error.
pub(crate) fn fail(
    clause: impl Into<String>,
    expected: impl Into<String>,
    observed: impl Into<String>,
) -> Stop {
    Stop::Failed(Box::new(Failure {
        requirement: None,
        clause: clause.into(),
        expected: expected.into(),
        observed: observed.into(),
        trace: Vec::new(),
    }))
}

/// "The target does not claim it."
pub(crate) fn not_claimed(what: impl Into<String>) -> Stop {
    Stop::NotApplicable(what.into())
}

impl Stop {
    /// The same breach, as one of that requirement.
    pub(crate) fn of(mut self, requirement: &'static str) -> Stop {
        if let Stop::Failed(failure) = &mut self {
            failure.requirement.get_or_insert(requirement);
        }
        self
    }
}

/// Fails with clause, expectation and observation unless the condition holds.
macro_rules! must {
    ($cond:expr, $clause:expr, $expected:expr, $($observed:tt)+) => {
        if !$cond {
            return Err($crate::outcome::fail($clause, $expected, format!($($observed)+)));
        }
    };
}
pub(crate) use must;
