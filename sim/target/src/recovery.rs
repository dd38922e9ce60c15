//! What a session of error recovery level 1 keeps so that it can send it again: answers until their StatSN is
//! acknowledged, read data until it is acknowledged or the answer is (RFC 7143 sections 7.2 and 11.16). Bounded: the
//! oldest goes first, and what is gone is refused.

use std::collections::VecDeque;

use bytes::Bytes;
use sanbench_wire::Bhs;
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::RawPdu;
use sanbench_wire::pdu::{RejectReason, Snack, SnackType};

use crate::common::{Common, serial_less};
use crate::full::Full;

/// PDUs kept at most, however small.
const MAX_KEPT: usize = 4096;

/// A Data-In that may be asked for again.
#[derive(Debug)]
pub(crate) struct KeptData {
    /// The StatSN that its command got; acknowledging it acknowledges the data.
    pub(crate) stat_sn: u32,
    pub(crate) header: Bhs,
    pub(crate) parts: Vec<Bytes>,
}

impl KeptData {
    fn size(&self) -> usize {
        size_of::<KeptData>() + self.parts.iter().map(Bytes::len).sum::<usize>()
    }

    fn data_sn(&self) -> u32 {
        self.header.u32(36)
    }
}

/// Answers and data that were not acknowledged yet.
#[derive(Debug)]
pub(crate) struct Replay {
    limit: usize,
    held: usize,
    answers: VecDeque<RawPdu>,
    data: VecDeque<KeptData>,
    /// The last acknowledgement, so that the same one again costs nothing.
    acknowledged: Option<u32>,
}

impl Replay {
    /// Keeps at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Replay {
        Replay { limit, held: 0, answers: VecDeque::new(), data: VecDeque::new(), acknowledged: None }
    }

    pub(crate) fn keep_answer(&mut self, raw: &RawPdu) {
        self.held += answer_size(raw);
        self.answers.push_back(raw.clone());
        self.shrink();
    }

    pub(crate) fn keep_data(&mut self, kept: KeptData) {
        self.held += kept.size();
        self.data.push_back(kept);
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.held > self.limit || self.answers.len() + self.data.len() > MAX_KEPT {
            if let Some(old) = self.data.pop_front() {
                self.held -= old.size();
            } else if let Some(old) = self.answers.pop_front() {
                self.held -= answer_size(&old);
            } else {
                return;
            }
        }
    }

    /// The initiator expects `exp_stat_sn` next: everything before has arrived.
    pub(crate) fn acknowledge(&mut self, exp_stat_sn: u32) {
        if self.acknowledged.replace(exp_stat_sn) == Some(exp_stat_sn) {
            return;
        }
        while let Some(old) = self.answers.front()
            && serial_less(old.bhs.u32(24), exp_stat_sn)
        {
            self.held -= answer_size(old);
            self.answers.pop_front();
        }
        self.forget_data(|kept| serial_less(kept.stat_sn, exp_stat_sn));
    }

    fn forget_data(&mut self, gone: impl Fn(&KeptData) -> bool) {
        let mut freed = 0;
        self.data.retain(|kept| {
            let gone = gone(kept);
            freed += if gone { kept.size() } else { 0 };
            !gone
        });
        self.held -= freed;
    }

    /// Answers from StatSN `begin` on, `run` of them (0: all). `None` when one of them is not here.
    fn answers(&self, begin: u32, run: u32, next_stat: u32) -> Option<Vec<RawPdu>> {
        let end = if run == 0 { next_stat } else { begin.wrapping_add(run) };
        let found: Vec<RawPdu> =
            self.answers.iter().filter(|raw| within(raw.bhs.u32(24), begin, end)).cloned().collect();
        (found.len() == end.wrapping_sub(begin) as usize).then_some(found)
    }

    /// Data of a command from DataSN `begin` on, `run` PDUs (0: all). `None` when one of them is not here.
    fn data(&self, itt: u32, begin: u32, run: u32) -> Option<Vec<(Bhs, Vec<Bytes>)>> {
        let of_task = self.data.iter().filter(|kept| kept.header.itt() == itt);
        let end = match run {
            0 => of_task.clone().map(|kept| kept.data_sn().wrapping_add(1)).next_back()?,
            _ => begin.wrapping_add(run),
        };
        let found: Vec<_> = of_task
            .filter(|kept| within(kept.data_sn(), begin, end))
            .map(|kept| (kept.header, kept.parts.clone()))
            .collect();
        (!found.is_empty() && found.len() == end.wrapping_sub(begin) as usize).then_some(found)
    }
}

fn answer_size(raw: &RawPdu) -> usize {
    size_of::<RawPdu>() + raw.data.len()
}

fn within(sn: u32, begin: u32, end: u32) -> bool {
    !serial_less(sn, begin) && serial_less(sn, end)
}

impl Full {
    /// SNACK Request (RFC 7143 section 11.16). What cannot be given again is rejected.
    pub(crate) fn snack(&mut self, common: &mut Common, snack: &Snack, raw: &RawPdu) {
        let asked = self.asked_again(common, snack).filter(|_| snack.kind == SnackType::DATA_OR_R2T);
        let Some(replay) = &mut common.replay else { return common.reject(RejectReason::SNACK, &raw.bhs) };
        match snack.kind {
            SnackType::STATUS => {
                let next = common.numbers.stat_sn;
                match replay.answers(snack.begin, snack.run_length, next) {
                    Some(answers) => answers.into_iter().for_each(|raw| common.send_again(raw)),
                    // Acknowledged long ago, never sent, or fallen out of the buffer (section 11.16.1).
                    None => common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs),
                }
            }
            SnackType::DATA_OR_R2T => {
                if let Some(asked) = asked {
                    if asked.is_empty() {
                        return common.reject(RejectReason::SNACK, &raw.bhs);
                    }
                    return asked.into_iter().for_each(|r2t| common.send(r2t));
                }
                match replay.data(snack.itt, snack.begin, snack.run_length) {
                    Some(data) => {
                        for (mut header, parts) in data {
                            header.put_u32(28, common.numbers.exp_cmd_sn);
                            header.put_u32(32, common.numbers.max_cmd_sn);
                            common.put(header, &parts);
                        }
                    }
                    None => common.reject(RejectReason::SNACK, &raw.bhs),
                }
            }
            SnackType::DATA_ACK => {
                let asked = replay.data.iter().find(|kept| kept.header.u32(20) == snack.ttt);
                let Some(itt) = asked.filter(|_| snack.ttt != RESERVED_TAG).map(|kept| kept.header.itt())
                else {
                    return common.reject(RejectReason::INVALID_DATA_ACK, &raw.bhs);
                };
                let begin = snack.begin;
                replay.forget_data(|kept| kept.header.itt() == itt && serial_less(kept.data_sn(), begin));
            }
            // R-Data wants the data in other pieces, which follows only a change of the segment length that we did not see.
            _ => common.reject(RejectReason::SNACK, &raw.bhs),
        }
    }
}
