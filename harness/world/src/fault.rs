//! The fault plan: which asked points misbehave, and how.

use std::collections::BTreeMap;
use std::time::Duration;

/// What the asked point must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refuse or fail without doing the work.
    Fail,
    /// Wait this long, then go on.
    Delay(Duration),
    /// Do the work, then lose the answer.
    DropReply,
    /// The node must crash here. The world does not crash it by itself: whoever drives the run does.
    CrashNode,
    /// Give a wrong answer. Points that answer no requests fail instead.
    Answer(Wrong),
    /// Something happens to the message that carries the work on. Points between which no messages go fail instead.
    Message(Delivery),
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It never arrives.
    Lost,
    /// It arrives a second time.
    Twice,
}

/// How an answer is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// This error code of the protocol takes its place.
    Code(i64),
    /// This HTTP status takes its place.
    Http(u16),
    /// It is cut in the middle, and the connection closes.
    Truncated,
    /// Something takes its place that is no answer of the protocol: an error page for people.
    Garbage,
    /// Its values are of other types than promised.
    Mistyped,
    /// Its texts are empty.
    Blank,
    /// Its texts are longer than anything that the protocol has.
    Overlong,
    /// It goes on for longer than any reader should listen.
    Oversized,
    /// It is right, with fields and values besides that only a later version knows.
    Newer,
    /// It is what the same question got the last time.
    Stale,
    /// It is right, but the connection closes under the next request.
    Closing,
    /// The session of the request ends, and it says so.
    SessionOver,
}

/// Rules that turn points asked through [`crate::Env::fault`] into faults. The default plan has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// From 0, in the order in which rules are added.
    number: u64,
    point: String,
    nth: u64,
    fault: Fault,
    /// How often this rule's pattern has matched.
    matched: u64,
}

/// Whether a pattern, which is a name or a prefix followed by `*`, means this point.
pub fn covers(pattern: &str, point: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => point.starts_with(prefix),
        None => pattern == point,
    }
}

impl FaultPlan {
    /// Adds a rule. `point` is a name, or a prefix followed by `*`; `nth` is the 1-based occurrence of a matching
    /// point that fails, or 0 for every one. The earliest added rule that fires wins; all count.
    #[must_use]
    pub fn rule(mut self, point: impl Into<String>, nth: u64, fault: Fault) -> FaultPlan {
        let number = self.rules.len() as u64;
        self.rules.push(Rule { number, point: point.into(), nth, fault, matched: 0 });
        self
    }

    /// True when no rule exists.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// How often each rule fired at each point; rules are numbered from 0 in the order in which they were added.
pub type Firings = BTreeMap<(u64, String), u64>;

/// How often any rule fired at each point.
#[must_use]
pub fn by_point(firings: Firings) -> BTreeMap<String, u64> {
    let mut fired = BTreeMap::new();
    for ((_, point), times) in firings {
        *fired.entry(point).or_default() += times;
    }
    fired
}

/// The plan at work, with its counters.
#[derive(Debug, Default)]
pub(crate) struct FaultDesk {
    plan: FaultPlan,
    hits: BTreeMap<String, u64>,
    firings: Firings,
    /// The number of the next rule.
    next: u64,
}

impl FaultDesk {
    pub(crate) fn new(plan: FaultPlan) -> FaultDesk {
        let next = plan.rules.len() as u64;
        FaultDesk { plan, hits: BTreeMap::new(), firings: Firings::new(), next }
    }

    pub(crate) fn ask(&mut self, point: &str) -> Option<Fault> {
        match self.hits.get_mut(point) {
            Some(count) => *count += 1,
            None => {
                self.hits.insert(point.to_owned(), 1);
            }
        }
        let mut fault = None;
        for rule in self.plan.rules.iter_mut().filter(|rule| covers(&rule.point, point)) {
            rule.matched += 1;
            if fault.is_none() && (rule.nth == 0 || rule.nth == rule.matched) {
                fault = Some(rule.fault.clone());
                *self.firings.entry((rule.number, point.to_owned())).or_default() += 1;
            }
        }
        fault
    }

    /// Answers the number of the rule.
    pub(crate) fn add(&mut self, point: String, nth: u64, fault: Fault) -> u64 {
        let number = self.next;
        self.next += 1;
        self.plan.rules.push(Rule { number, point, nth, fault, matched: 0 });
        number
    }

    pub(crate) fn clear(&mut self) {
        self.plan.rules.clear();
    }

    pub(crate) fn hits(&self) -> BTreeMap<String, u64> {
        self.hits.clone()
    }

    pub(crate) fn firings(&self) -> Firings {
        self.firings.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nth_counts_matches_of_the_rule() {
        let plan = FaultPlan::default()
            .rule("rest.lun.*", 3, Fault::Fail)
            .rule("rest.lun.create", 2, Fault::DropReply)
            .rule("io.write", 0, Fault::Delay(Duration::from_secs(1)));
        let mut desk = FaultDesk::new(plan);
        assert_eq!(desk.ask("rest.lun.create"), None);
        assert_eq!(desk.ask("rest.lun.delete"), None);
        // Third match of the prefix and second of the exact name: the earlier rule wins.
        assert_eq!(desk.ask("rest.lun.create"), Some(Fault::Fail));
        assert_eq!(desk.ask("rest.lun.create"), None);
        assert_eq!(desk.ask("rest.lunatic"), None);
        for _ in 0..3 {
            assert_eq!(desk.ask("io.write"), Some(Fault::Delay(Duration::from_secs(1))));
        }
        let hits: Vec<_> = desk.hits().into_iter().collect();
        assert_eq!(
            hits,
            [
                ("io.write".to_owned(), 3),
                ("rest.lun.create".to_owned(), 3),
                ("rest.lun.delete".to_owned(), 1),
                ("rest.lunatic".to_owned(), 1)
            ]
        );
    }

    #[test]
    fn a_rule_added_later_counts_from_then_on() {
        let mut desk = FaultDesk::default();
        assert_eq!(desk.ask("p"), None);
        desk.add("p".into(), 2, Fault::CrashNode);
        assert_eq!(desk.ask("p"), None);
        assert_eq!(desk.ask("p"), Some(Fault::CrashNode));
        desk.add("*".into(), 0, Fault::Fail);
        assert_eq!(desk.ask("q"), Some(Fault::Fail));
        desk.clear();
        assert_eq!(desk.ask("q"), None);
    }

    #[test]
    fn firings_are_those_of_each_rule_also_after_others_are_gone() {
        let mut desk = FaultDesk::new(FaultPlan::default().rule("p", 1, Fault::Fail));
        assert!(desk.ask("p").is_some());
        assert_eq!(desk.add("*".into(), 2, Fault::Fail), 1);
        assert!(desk.ask("q").is_none() && desk.ask("p").is_some());
        desk.clear();
        assert_eq!(desk.add("p".into(), 0, Fault::Fail), 2);
        assert!(desk.ask("p").is_some() && desk.ask("p").is_some());
        let firings = desk.firings();
        let told = |number: u64| firings.get(&(number, "p".to_owned())).copied();
        assert_eq!((told(0), told(1), told(2), firings.len()), (Some(1), Some(1), Some(2), 3));
        assert_eq!(by_point(firings), BTreeMap::from([("p".to_owned(), 4)]));
    }
}
