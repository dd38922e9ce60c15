//! The grammar of the intent log: what may happen to a step, as one total function.

use crate::db::LogLine;

/// What is known of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepStatus {
    /// Not begun.
    Never,
    /// Begun; after a crash its effect is in doubt.
    Running,
    /// Done.
    Done,
    /// Ended in failure; what it half did is the business of an undo placed before it.
    Failed,
    /// Undo begun.
    Undoing,
    /// Undone.
    Undone,
    /// Undo failed; it may be tried again.
    UndoFailed,
}

/// What the log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepEvent {
    /// Written before the effect. It implies that all steps before have succeeded; undo-only steps among them, which
    /// have no line of their own.
    Started,
    /// Implied by the next `Started`, or by the end of the flow.
    Succeeded,
    /// The step answered an error.
    Failed,
    /// Written before the undo.
    UndoStarted,
    /// The undo ended well.
    UndoFinished,
    /// The undo answered an error.
    UndoFailed,
}

impl StepEvent {
    const ALL: [Self; 6] = [
        Self::Started,
        Self::Succeeded,
        Self::Failed,
        Self::UndoStarted,
        Self::UndoFinished,
        Self::UndoFailed,
    ];

    pub(crate) fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.code() == code)
    }
}

/// A history that cannot have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot follow {status:?}")]
pub struct IllegalEvent {
    /// Status before.
    pub status: StepStatus,
    /// The event.
    pub event: StepEvent,
}

/// The grammar. `Started` may follow `Running` and `Done`, because a flow that is resumed forward begins again.
pub fn next_status(status: StepStatus, event: StepEvent) -> Result<StepStatus, IllegalEvent> {
    use StepEvent as E;
    use StepStatus as S;
    match (status, event) {
        (S::Never | S::Running | S::Done, E::Started) => Ok(S::Running),
        (S::Running, E::Succeeded) => Ok(S::Done),
        (S::Running, E::Failed) => Ok(S::Failed),
        // In doubt after a crash, done, failed once before, or interrupted while it was being undone.
        (S::Running | S::Done | S::UndoFailed | S::Undoing, E::UndoStarted) => Ok(S::Undoing),
        (S::Undoing, E::UndoFinished) => Ok(S::Undone),
        (S::Undoing, E::UndoFailed) => Ok(S::UndoFailed),
        (status, event) => Err(IllegalEvent { status, event }),
    }
}

/// A folded log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folded {
    pub(crate) steps: Vec<StepStatus>,
    /// The flow had begun to fail, so it can only go backward.
    pub(crate) unwinding: bool,
}

/// Folds the lines of one flow of `len` steps; a corrupt history is refused.
pub(crate) fn fold(len: usize, lines: &[LogLine]) -> Result<Folded, String> {
    let mut steps = vec![StepStatus::Never; len];
    let mut unwinding = false;
    let mut apply = |steps: &mut Vec<StepStatus>, step: usize, event: StepEvent| -> Result<(), String> {
        let slot = steps.get_mut(step).ok_or_else(|| format!("the flow has no step {step}"))?;
        *slot = next_status(*slot, event).map_err(|e| format!("step {step}: {e}"))?;
        unwinding |= !matches!(event, StepEvent::Started | StepEvent::Succeeded);
        Ok(())
    };
    for line in lines {
        if line.event == StepEvent::Started {
            for before in 0..line.step.min(len) {
                if steps[before] == StepStatus::Never {
                    apply(&mut steps, before, StepEvent::Started)?;
                }
                if steps[before] == StepStatus::Running {
                    apply(&mut steps, before, StepEvent::Succeeded)?;
                }
            }
        }
        apply(&mut steps, line.step, line.event)?;
    }
    Ok(Folded { steps, unwinding })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUSES: [StepStatus; 7] = [
        StepStatus::Never,
        StepStatus::Running,
        StepStatus::Done,
        StepStatus::Failed,
        StepStatus::Undoing,
        StepStatus::Undone,
        StepStatus::UndoFailed,
    ];

    #[test]
    fn the_grammar_is_this_table() {
        let mut table = String::new();
        for status in STATUSES {
            for event in StepEvent::ALL {
                if let Ok(next) = next_status(status, event) {
                    table.push_str(&format!("{status:?} + {event:?} -> {next:?}\n"));
                }
            }
        }
        insta::assert_snapshot!(table, @r"
        Never + Started -> Running
        Running + Started -> Running
        Running + Succeeded -> Done
        Running + Failed -> Failed
        Running + UndoStarted -> Undoing
        Done + Started -> Running
        Done + UndoStarted -> Undoing
        Undoing + UndoStarted -> Undoing
        Undoing + UndoFinished -> Undone
        Undoing + UndoFailed -> UndoFailed
        UndoFailed + UndoStarted -> Undoing
        ");
    }

    fn line(step: usize, event: StepEvent) -> LogLine {
        LogLine { step, event }
    }

    #[test]
    fn a_started_step_vouches_for_those_before() {
        // Step 1 is undo-only: it has no line.
        let folded = fold(4, &[line(0, StepEvent::Started), line(2, StepEvent::Started)]).unwrap();
        assert_eq!(
            folded.steps,
            [StepStatus::Done, StepStatus::Done, StepStatus::Running, StepStatus::Never]
        );
        assert!(!folded.unwinding);
    }

    #[test]
    fn corrupt_histories_are_refused() {
        assert!(fold(1, &[line(1, StepEvent::Started)]).is_err());
        assert!(fold(1, &[line(0, StepEvent::UndoFinished)]).is_err());
        assert!(
            fold(2, &[line(0, StepEvent::Started), line(0, StepEvent::Failed), line(0, StepEvent::Started)])
                .is_err()
        );
    }
}
