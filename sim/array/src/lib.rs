//! The simulated array as a pure value.
