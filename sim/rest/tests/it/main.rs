//! The management API as its clients meet it: through the router, and over a simulated network.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;
mod foreign;
mod golden;
mod hostile;
mod jobs;
mod network;
mod openapi;
mod rules;
mod services;
mod tenants;
mod tls;
mod wrong;
