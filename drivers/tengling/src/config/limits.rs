//! Time limits and numbers of attempts. Nothing in the driver waits without one of these.

use std::time::Duration;

/// How long things may take. The defaults suit real arrays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For TCP and TLS set-up to one address.
    pub connect: Duration,
    /// For the answer to a login.
    pub login: Duration,
    /// For the answer to one call.
    pub call: Duration,
    /// For one call with all its repetitions, relogins and endpoints.
    pub budget: Duration,
    /// First back-off on a busy answer; doubled each time, with jitter.
    pub back_off: Duration,
    /// Attempts on a busy answer, and rounds of looking after a lost one.
    pub attempts: u32,
    /// For a new LUN or snapshot to become ready.
    pub ready: Duration,
    /// For a background job of the array (flatten, copy) to end.
    pub job: Duration,
    /// Longest pause between two looks at a job.
    pub poll: Duration,
    /// Largest answer in bytes.
    pub answer_bytes: usize,
    /// Connections to one endpoint.
    pub connections: usize,
    /// Flatten jobs at a time.
    pub flattens: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            login: Duration::from_secs(32),
            call: Duration::from_secs(52),
            budget: Duration::from_secs(150),
            back_off: Duration::from_millis(500),
            attempts: 5,
            ready: Duration::from_secs(50),
            job: Duration::from_secs(6 * 3600),
            poll: Duration::from_secs(5),
            answer_bytes: 16 << 20,
            connections: 8,
            flattens: 3,
        }
    }
}
