//! Verdict model and its renderings.
