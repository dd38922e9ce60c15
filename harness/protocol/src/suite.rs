//! Chapters, cases, and running them.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::cases;
use crate::lab::Lab;
use crate::outcome::{Checked, Failure, Stop, Verdict};

pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Checked> + Send + 'a>>;

/// One named case.
#[derive(Clone, Copy)]
pub struct Case {
    /// Name, unique over all chapters.
    pub name: &'static str,
    /// One sentence.
    pub title: &'static str,
    /// Requirements that it exercises; a breach is one of the first unless it says otherwise.
    pub requirements: &'static [&'static str],
    pub(crate) run: for<'a> fn(&'a Lab) -> Running<'a>,
}

/// Cases that share a scratch unit.
#[derive(Clone, Copy)]
pub struct Chapter {
    /// Name.
    pub name: &'static str,
    /// One sentence.
    pub title: &'static str,
    /// The cases, in order.
    pub cases: &'static [Case],
    /// Its hosts have to authenticate.
    pub chap: bool,
}

/// All chapters.
pub const CHAPTERS: &[Chapter] = &[
    Chapter {
        name: "protocol-login",
        title: "iSCSI login: stages, keys, sessions, discovery",
        cases: cases::login::CASES,
        chap: false,
    },
    Chapter {
        name: "protocol-keys",
        title: "iSCSI negotiation: ranges, results, digests, text in full feature phase",
        cases: cases::keys::CASES,
        chap: false,
    },
    Chapter { name: "protocol-chap", title: "CHAP", cases: cases::auth::CASES, chap: true },
    Chapter {
        name: "protocol-session",
        title: "iSCSI full feature phase: numbering, pings, rejects, logout, digests",
        cases: cases::session::CASES,
        chap: false,
    },
    Chapter {
        name: "protocol-tasks",
        title: "Task management and what becomes of the tasks",
        cases: cases::tasks::CASES,
        chap: false,
    },
    Chapter {
        name: "protocol-recovery",
        title: "iSCSI error recovery level 1: sending again, asking again",
        cases: cases::recovery::CASES,
        chap: false,
    },
    Chapter {
        name: "protocol-data",
        title: "iSCSI data transfer: bursts, numbering, residuals",
        cases: cases::data::CASES,
        chap: false,
    },
    Chapter {
        name: "protocol-scsi",
        title: "SCSI: what the unit says about itself",
        cases: cases::truth::CASES,
        chap: false,
    },
    Chapter {
        name: "protocol-modes",
        title: "SCSI: mode pages, sense data, target port groups",
        cases: cases::modes::CASES,
        chap: false,
    },
    Chapter {
        name: "protocol-blocks",
        title: "SCSI: reading, writing, comparing",
        cases: cases::blocks::CASES,
        chap: false,
    },
    Chapter {
        name: "protocol-provisioning",
        title: "SCSI: unmapping, repeating, provisioning status",
        cases: cases::provisioning::CASES,
        chap: false,
    },
    Chapter {
        name: "protocol-offload",
        title: "SCSI: copies by the unit itself, sanitizing, log pages",
        cases: cases::offload::CASES,
        chap: false,
    },
    Chapter {
        name: "protocol-nexus",
        title: "SCSI between nexuses: reservations, unit attentions, paths",
        cases: cases::nexus::CASES,
        chap: false,
    },
    Chapter {
        name: "protocol-random-blocks",
        title: "SCSI: random commands against a model of the bytes",
        cases: cases::random_blocks::CASES,
        chap: false,
    },
    Chapter {
        name: "protocol-random-reservations",
        title: "SCSI: random reservations against a model of SPC-4",
        cases: cases::random_reservations::CASES,
        chap: false,
    },
];

impl Chapter {
    /// The chapter of that name.
    pub fn by_name(name: &str) -> Option<&'static Chapter> {
        CHAPTERS.iter().find(|c| c.name == name)
    }

    /// Requirements of all its cases, in order, each once.
    pub fn requirements(&self) -> Vec<&'static str> {
        let mut all = Vec::new();
        for id in self.cases.iter().flat_map(|c| c.requirements) {
            if !all.contains(id) {
                all.push(*id);
            }
        }
        all
    }
}

/// The end of one case, with how long it took.
pub struct Done {
    /// The case.
    pub case: &'static Case,
    /// Its end.
    pub verdict: Verdict,
    /// Time on the clock of the first host's node.
    pub took: Duration,
}

/// Runs one case. It ends in bounded time whatever the target does.
pub async fn run_case(lab: &Lab, case: &'static Case) -> Done {
    lab.tape.clear();
    let Some(host) = lab.setup.hosts.first() else {
        return Done { case, verdict: Verdict::Unknown("no host".to_owned()), took: Duration::ZERO };
    };
    let env = host.env.clone();
    let start = env.now();
    let ended = env.timeout(lab.setup.limit, (case.run)(lab)).await;
    let mut failures = lab.tape.take_breaches();
    let mut verdict = None;
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(Stop::Failed(failure))) => {
            failures.insert(0, Failure { trace: lab.tape.lines(), ..*failure });
        }
        Ok(Err(Stop::NotApplicable(why))) => verdict = Some(Verdict::NotApplicable(why)),
        Ok(Err(Stop::Unknown(why))) => verdict = Some(Verdict::Unknown(why)),
        Err(_) => failures.insert(
            0,
            Failure {
                requirement: None,
                clause: "RFC 7143 7".to_owned(),
                expected: format!("the end of the case within {:?}", lab.setup.limit),
                observed: "the target kept it waiting".to_owned(),
                trace: lab.tape.lines(),
            },
        ),
    }
    for failure in &mut failures {
        failure.requirement = failure.requirement.or(case.requirements.first().copied());
    }
    let verdict = match (failures.is_empty(), verdict) {
        (false, _) => Verdict::Failed(failures),
        (true, Some(verdict)) => verdict,
        (true, None) => Verdict::Passed,
    };
    let took = env.now().saturating_sub(start);
    if !matches!(verdict, Verdict::Passed) {
        lab.restore().await;
    }
    Done { case, verdict, took }
}
