//! How often, and how fast, somebody tries again what never works (API-006).

use std::time::Duration;

use super::*;

/// Tries that follow each other faster than this, on average, have no pause between them. Back-off that is declared begins
/// higher: 500 ms with the driver of this bench.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

impl Player<'_> {
    /// Armed faults that say how often they may be met, against how often they were; those of a step that began then are
    /// looked at for pauses as well, unless others went on `beside` it: what several meet at once needs none.
    pub(super) fn impatient(
        &self,
        step: &Step,
        begun: Duration,
        before: &Before,
        beside: bool,
    ) -> Option<Finding> {
        let mut judge = self.judge();
        let firings = self.site.firings();
        let met = |firings: &Firings, number: u64| -> u64 {
            firings.iter().filter(|((rule, _), _)| *rule == number).map(|(_, times)| times).sum()
        };
        let took = self.site.env().now().saturating_sub(begun);
        let mut kept = 0;
        for (number, fault) in &judge.armed {
            let Some(most) = fault.most else { continue };
            let all = met(&firings, *number);
            let now = all.saturating_sub(met(&before.firings, *number));
            let pauses = u32::try_from(now.saturating_sub(1)).unwrap_or(u32::MAX);
            let (expected, observed) = if all > most {
                (format!("at most {most} times"), format!("{all} times"))
            } else if !beside && took < LEAST_PAUSE.saturating_mul(pauses) {
                let apart = format!("pauses of {} ms on average", LEAST_PAUSE.as_millis());
                (apart, format!("{now} times in {} ms", took.as_millis()))
            } else {
                kept += now.min(1);
                continue;
            };
            let finding = Finding::new("API-006", "patience", "call", "repeated")
                .says(format!("`{}` tried what never works too often", crate::story::print_step(step)))
                .compared(format!("{} {expected}", fault.point), observed);
            return Some(finding);
        }
        judge.ledger.compared("API-006", kept);
        None
    }
}
