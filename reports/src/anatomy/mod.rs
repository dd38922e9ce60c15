//! How one failure came about, as values: the model of the failure page and of `replay --trace`.
//!
//! Whoever runs the plan fills it in; [`text`] and [`page`] show it. Times are microseconds on the world's clock.

pub mod page;
pub mod text;
mod timeline;

use serde::{Deserialize, Serialize};

/// The whole story of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anatomy {
    /// What is wrong, in one sentence, with the names of the story.
    pub symptom: String,
    /// The steps that were played, in their order.
    pub steps: Vec<Played>,
    /// Steps of the plan before it was shrunk; 0 when it was not.
    pub shrunk_from: u64,
    /// Who took part, from top to bottom of the time-line.
    pub lanes: Vec<Lane>,
    /// What they did, in the order of time.
    pub events: Vec<Event>,
    /// Faults and outages while they were in force.
    pub bands: Vec<Band>,
    /// Index of the first event that is not as it should be.
    pub divergence: Option<usize>,
    /// What was expected and what was there, in words.
    pub comparison: Vec<Compared>,
    /// Management calls of the failing step.
    pub exchanges: Vec<Exchange>,
    /// iSCSI PDUs of the failing step.
    pub pdus: Vec<Pdu>,
    /// Exchanges and PDUs that are not shown because there are too many.
    pub left_out: u64,
    /// Defects of the catalogue that show themselves in this way: id and what it does.
    pub defects: Vec<(String, String)>,
}

/// A step that was played.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Played {
    /// Number in the plan, from 1.
    pub number: u32,
    /// In plain words.
    pub words: String,
    /// The line of the story.
    pub line: String,
    /// When it began.
    pub at_us: u64,
    /// When it ended.
    pub until_us: u64,
    /// How it ended: a word and a note.
    pub ended: String,
    /// It showed the failure.
    pub hit: bool,
}

/// Who took part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// What it is.
    pub role: Role,
}

/// What a lane is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The plan itself.
    #[default]
    Caller,
    /// The workflow.
    Workflow,
    /// The driver's management calls.
    Driver,
    /// A host's connector.
    Connector,
    /// A path of a host to a portal.
    Path,
    /// The array or one of its controllers.
    Array,
}

/// One thing that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Index of its lane.
    pub lane: usize,
    /// When it began.
    pub at_us: u64,
    /// When it ended; the same for what takes no time.
    pub until_us: u64,
    /// In a few words.
    pub text: String,
    /// How it looks.
    pub tone: Tone,
}

/// How an event looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// As it should be.
    #[default]
    Plain,
    /// Data went one way or the other.
    Data,
    /// It did not work, as may happen.
    Refused,
    /// It is wrong.
    Wrong,
}

/// A fault or outage while it was in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Band {
    /// What it was.
    pub name: String,
    /// From when.
    pub from_us: u64,
    /// Until when; the same for what strikes once.
    pub until_us: u64,
}

/// One comparison, both sides in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// What is compared: a block, a status, a field.
    pub what: String,
    /// What belongs there.
    pub expected: String,
    /// What was there.
    pub observed: String,
    /// They differ.
    pub differs: bool,
}

/// A management call and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// When it was asked.
    pub at_us: u64,
    /// When it was answered; `None` if it never was.
    pub answered_us: Option<u64>,
    /// Method and path.
    pub call: String,
    /// Body of the request, without secrets; empty if there was none.
    pub request: String,
    /// HTTP status and error code in words.
    pub status: String,
    /// Body of the answer, without secrets, cut where it is long.
    pub answer: String,
    /// It failed.
    pub failed: bool,
}

/// An iSCSI PDU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pdu {
    /// When it was sent.
    pub at_us: u64,
    /// The path that it took.
    pub path: String,
    /// It went to the array.
    pub out: bool,
    /// Name of the PDU.
    pub opcode: String,
    /// Logical unit, where it has one.
    pub lun: String,
    /// CDB, status, sense or keys in words.
    pub what: String,
    /// What its data is: stamps in words.
    pub data: String,
    /// It is wrong, or tells of something wrong.
    pub wrong: bool,
}

impl Anatomy {
    /// The step that showed the failure.
    #[must_use]
    pub fn hit(&self) -> Option<&Played> {
        self.steps.iter().find(|step| step.hit)
    }

    /// Puts the events in the order of time and keeps the mark at its event.
    pub fn sort_events(&mut self) {
        let marked = self.divergence.and_then(|index| self.events.get(index).cloned());
        self.events.sort_by_key(|event| event.at_us);
        self.divergence = marked.and_then(|event| self.events.iter().position(|other| *other == event));
    }
}
