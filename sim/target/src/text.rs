//! Text requests in full feature phase: SendTargets and the few keys that may still change (RFC 7143 sections 6.2, 13.3).

use std::collections::BTreeSet;

use bytes::Bytes;
use sanbench_array::{Array, Portal};
use sanbench_wire::bhs::RESERVED_TAG;
use sanbench_wire::frame::RawPdu;
use sanbench_wire::keys::{self, KeyLimits, Pair, REJECT};
use sanbench_wire::pdu::{RejectReason, TextRequest, TextResponse};
use sanbench_wire::scsi::luns::Lun;

use crate::common::Common;
use crate::full::Full;
use crate::login::PortalContext;
use crate::negotiate::{Answer, Params, Phase, apply};

/// Longest text request, continuations included, bytes.
const MAX_TEXT: usize = 64 * 1024;

/// A text exchange that takes more than one PDU in one of its directions.
#[derive(Debug)]
pub(crate) struct TextExchange {
    itt: u32,
    ttt: u32,
    /// Received so far, while the C bit goes on.
    received: Vec<u8>,
    /// Answer not sent yet.
    rest: Bytes,
    /// Keys that were named, and their results until the exchange ends.
    seen: BTreeSet<String>,
    params: Params,
}

impl Full {
    pub(crate) fn text_request(&mut self, common: &mut Common, request: TextRequest, raw: &RawPdu) {
        let mut exchange = match self.text.take() {
            // A request without a transfer tag starts anew and resets what was there.
            Some(open) if request.ttt != RESERVED_TAG => {
                if open.ttt != request.ttt || open.itt != request.itt {
                    return common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs);
                }
                open
            }
            None if request.ttt != RESERVED_TAG => {
                return common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs);
            }
            _ => {
                let params = self.params.clone();
                let (itt, ttt) = (request.itt, RESERVED_TAG);
                TextExchange {
                    itt,
                    ttt,
                    received: Vec::new(),
                    rest: Bytes::new(),
                    seen: BTreeSet::new(),
                    params,
                }
            }
        };
        if exchange.received.len() + request.text.len() > MAX_TEXT || (request.continues && request.last) {
            return common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs);
        }
        exchange.received.extend_from_slice(&request.text);
        if request.continues {
            exchange.ttt = self.new_ttt();
            return self.answer(common, exchange, Bytes::new(), false, false);
        }
        if exchange.rest.is_empty() {
            let Ok(pairs) = keys::decode(&std::mem::take(&mut exchange.received), KeyLimits::RFC) else {
                return common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs);
            };
            for (key, _) in &pairs {
                // A key is negotiated once in an exchange; nothing of one that fails takes effect (section 7.12).
                if !exchange.seen.insert(key.clone()) {
                    return common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs);
                }
            }
            let answers = self.answers(common, &pairs, &mut exchange.params);
            exchange.rest = Bytes::from(keys::encode(answers));
        } else if !request.text.is_empty() {
            return common.reject(RejectReason::PROTOCOL_ERROR, &raw.bhs);
        }
        let chunk = exchange.rest.split_to(exchange.rest.len().min(self.params.send_segment as usize));
        let more = !exchange.rest.is_empty();
        if more {
            exchange.ttt = self.new_ttt();
        }
        // F answers F: an initiator that is not done yet keeps the exchange open.
        let last = !more && request.last;
        if !more && !last {
            exchange.ttt = self.new_ttt();
        }
        self.answer(common, exchange, chunk, last, more);
    }

    fn answer(
        &mut self,
        common: &mut Common,
        mut exchange: TextExchange,
        text: Bytes,
        last: bool,
        more: bool,
    ) {
        if last {
            exchange.ttt = RESERVED_TAG;
            self.params = exchange.params.clone();
        }
        let stat_sn = common.numbers.take_stat();
        common.numbers.open_window(common.config.queue_depth, self.outstanding());
        common.send(TextResponse {
            last,
            continues: more,
            lun: Lun::ZERO,
            itt: exchange.itt,
            ttt: exchange.ttt,
            stat_sn,
            exp_cmd_sn: common.numbers.exp_cmd_sn,
            max_cmd_sn: common.numbers.max_cmd_sn,
            text,
        });
        self.text = (!last).then_some(exchange);
    }

    fn answers(&self, common: &Common, pairs: &[Pair], params: &mut Params) -> Vec<Pair> {
        let mut answers = Vec::new();
        let discovery = self.target.is_none();
        for (key, value) in pairs {
            if key == "SendTargets" {
                let array = common.array.lock();
                let known =
                    array.initiator(&self.initiator).is_some() || !array.view(&self.initiator).is_empty();
                if common.config.refuse_strangers && !known {
                    // They could not log in either.
                    continue;
                }
                match send_targets(&array, &common.portal, self.target.as_deref(), value) {
                    Some(records) => answers.extend(records),
                    None => answers.push((key.clone(), REJECT.to_owned())),
                }
            } else if let Answer::Value(v) =
                apply(params, &common.config, discovery, Phase::FullFeature, key, value)
            {
                answers.push((key.clone(), v));
            }
        }
        answers
    }
}

/// Target records (RFC 7143 appendix C). `All` is for discovery sessions; a name gives that target, if it is there; an
/// empty value is the session's own target. `None`: the value is not allowed here.
fn send_targets(
    array: &Array,
    portal: &PortalContext,
    session_target: Option<&str>,
    value: &str,
) -> Option<Vec<Pair>> {
    let name = match (value, session_target) {
        ("All", None) => array.target_iqn(),
        ("All", Some(_)) | ("", None) => return None,
        ("", Some(own)) => own,
        (name, Some(own)) if name != own => return Some(Vec::new()),
        (name, _) if !array.accepts_target_name(name) => return Some(Vec::new()),
        (name, _) => name,
    };
    let mut records = vec![("TargetName".to_owned(), name.to_owned())];
    // A disabled portal is not told; one whose controller has failed is, for it comes back.
    let told = |known: &&Portal| known.enabled || array.defects().disabled_portal_serves;
    let own = |known: &&Portal| name == array.target_iqn() || known.iqn == name;
    let all = array.portals();
    for known in all.iter().filter(told).filter(own) {
        let mut address = known.address;
        if address.ip().is_unspecified() {
            // The array listens everywhere: name the address by which this initiator found it.
            address.set_ip(portal.local.ip());
        }
        if address.port() == 0 {
            address.set_port(portal.local.port());
        }
        records.push(("TargetAddress".to_owned(), format!("{address},{}", known.tpgt)));
    }
    if all.is_empty() {
        // An array without portals of its own, behind a listener.
        records.push(("TargetAddress".to_owned(), format!("{},{}", portal.local, portal.tpgt)));
    } else if records.len() == 1 {
        // No portal leads there at present.
        records.clear();
    }
    Some(records)
}
