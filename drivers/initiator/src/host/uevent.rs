//! Device events: how late udev and multipathd learn what the kernel did.

use std::collections::VecDeque;
use std::time::Duration;

use sanbench_api::Wwn;

/// How late events come. The default: at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UeventPlan {
    /// Every event is this late.
    pub delay: Duration,
    /// When not zero, events come only at multiples of this time: everything that happened since comes as one burst.
    pub burst_every: Duration,
}

impl UeventPlan {
    /// When an event of `now` is delivered.
    pub fn due(&self, now: Duration) -> Duration {
        let due = now + self.delay;
        if self.burst_every.is_zero() {
            return due;
        }
        let period = self.burst_every.as_nanos();
        let rounded = due.as_nanos().div_ceil(period) * period;
        Duration::from_nanos(u64::try_from(rounded).unwrap_or(u64::MAX))
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UeventKind {
    /// A device appeared.
    Add,
    /// Its size or identity changed.
    Change,
    /// It is gone.
    Remove,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uevent {
    /// When it is delivered.
    pub due: Duration,
    /// What happened.
    pub kind: UeventKind,
    /// Device name, such as `sda`.
    pub name: String,
    /// Identity at that time.
    pub wwn: Option<Wwn>,
}

/// Events on their way, in order: a later one never overtakes an earlier one.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(VecDeque<Uevent>);

impl Queue {
    pub(super) fn push(&mut self, event: Uevent) {
        let floor = self.0.back().map_or(Duration::ZERO, |last| last.due);
        self.0.push_back(Uevent { due: event.due.max(floor), ..event });
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.0.front().map(|e| e.due)
    }

    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Uevent> {
        self.0.front().filter(|e| e.due <= now)?;
        self.0.pop_front()
    }

    pub(super) fn mentions(&self, name: &str) -> bool {
        self.0.iter().any(|e| e.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_round_up_and_order_is_kept() {
        let ms = Duration::from_millis;
        assert_eq!(UeventPlan::default().due(ms(7)), ms(7));
        let plan = UeventPlan { delay: ms(10), burst_every: ms(500) };
        assert_eq!(plan.due(ms(0)), ms(500));
        assert_eq!(plan.due(ms(490)), ms(500));
        assert_eq!(plan.due(ms(491)), ms(1000));
        let mut queue = Queue::default();
        let event = |due| Uevent { due, kind: UeventKind::Add, name: "sda".into(), wwn: None };
        queue.push(event(ms(5)));
        queue.push(event(ms(1)));
        assert_eq!(queue.pop_due(ms(4)), None);
        assert_eq!(queue.pop_due(ms(5)).map(|e| e.due), Some(ms(5)));
        assert_eq!(queue.next_due(), Some(ms(5)));
    }
}
