//! History, reference models, invariants, verdicts.
