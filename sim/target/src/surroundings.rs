//! What a session machine needs from its surroundings besides bytes and time: secrets, faults, history lines.

use std::sync::Arc;

use sanbench_world::{Env, Fault};
use serde_json::Value;

/// The side inputs of a session. The pump gives the node's [`Env`]; tests give their own.
pub trait Surroundings: Send {
    /// Fills `buf` with bytes that nobody can guess (CHAP challenges, session handles).
    fn entropy(&mut self, buf: &mut [u8]);
    /// Asks whether a named point must misbehave now.
    fn fault(&mut self, point: &'static str) -> Option<Fault>;
    /// Adds a line to the history.
    fn note(&mut self, topic: &'static str, detail: &dyn Fn() -> Value);
    /// The node must crash now; called at most once for a session, which says nothing afterwards.
    fn crash(&mut self);
}

/// The node's [`Env`] as surroundings.
pub(crate) struct NodeSurroundings {
    pub(crate) env: Env,
    pub(crate) on_crash: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Surroundings for NodeSurroundings {
    fn entropy(&mut self, buf: &mut [u8]) {
        self.env.entropy(buf);
    }

    fn fault(&mut self, point: &'static str) -> Option<Fault> {
        self.env.fault(point)
    }

    fn note(&mut self, topic: &'static str, detail: &dyn Fn() -> Value) {
        self.env.note(topic, detail);
    }

    fn crash(&mut self) {
        if let Some(crash) = &self.on_crash {
            crash();
        }
    }
}
