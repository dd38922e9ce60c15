//! Lost segments, as the two ends of a TCP connection notice them: by the time that passes until they are sent again.

use crate::Dice;

/// How long a sender waits before it sends a segment again, nanoseconds: the least that Linux waits (`TCP_RTO_MIN`).
pub(crate) const RTO: u64 = 200_000_000;
/// The same before the path is known, for the handshake: RFC 6298 section 2.1.
pub(crate) const FIRST_RTO: u64 = 1_000_000_000;
/// How often a segment is lost at most: the attempt after that arrives. The time-out doubles each time (RFC 6298 section
/// 5.5), which makes 12.6 s at most on a path that is known.
const LOSSES: u32 = 6;

/// How much later a segment arrives on a path that loses `percent` of a hundred, nanoseconds. There is no fast retransmission:
/// every loss costs its time-out.
pub(crate) fn retransmissions(dice: &mut Dice, percent: u8, rto: u64) -> u64 {
    let lost = (0..LOSSES).take_while(|_| dice.chance(u64::from(percent), 100)).count();
    rto.saturating_mul((1 << lost) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_further_loss_of_a_segment_costs_twice_the_time() {
        let mut dice = crate::dice(1, "path", "loss");
        let mut all = std::collections::BTreeMap::new();
        for _ in 0..4000 {
            *all.entry(retransmissions(&mut dice, 50, RTO) / 1_000_000).or_insert(0) += 1;
        }
        assert_eq!(all.keys().copied().collect::<Vec<u64>>(), [0, 200, 600, 1400, 3000, 6200, 12_600]);
        assert!((1800..2200).contains(&all[&0]) && (900..1100).contains(&all[&200]), "{all:?}");
        assert_eq!(retransmissions(&mut dice, 0, RTO), 0);
        assert_eq!(retransmissions(&mut dice, 100, FIRST_RTO), 63_000_000_000);
    }
}
