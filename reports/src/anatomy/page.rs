//! A failure step by step, for the page.

use maud::{Markup, html};

use super::text::clock;
use super::{Anatomy, timeline};
use crate::text::duration;

/// Rows of a table that are shown without asking.
const FEW: usize = 12;

/// The sections of the failure page that the anatomy fills.
pub(crate) fn render(anatomy: &Anatomy) -> Markup {
    html! {
        (plan(anatomy))
        (comparison(anatomy))
        h4 { "Time-line" }
        p.soft.small {
            "Steps from left to right, each with its virtual time; hover for details. "
            span.key.plain {} " call or command  " span.key.data {} " data  " span.key.refused {} " refused  "
            span.key.wrong {} " wrong  " span.key.band {} " fault in force"
            @if anatomy.divergence.is_some() { "  ▲ first divergent event" }
        }
        (timeline::render(anatomy))
        (divergence(anatomy))
        (exchanges(anatomy))
        (pdus(anatomy))
        @if anatomy.left_out > 0 {
            p.soft.small { (anatomy.left_out) " more are not shown; a capture has them all." }
        }
        @if !anatomy.defects.is_empty() {
            h4 { "Known bugs that look like this" }
            ul.defects { @for (id, text) in &anatomy.defects { li { code { (id) } " " (text) } } }
        }
    }
}

fn plan(anatomy: &Anatomy) -> Markup {
    let shown = anatomy.steps.len();
    html! {
        h4 {
            "How to get there: " (shown) @if shown == 1 { " step" } @else { " steps" }
            @if anatomy.shrunk_from > shown as u64 { span.soft { ", shrunk from " (anatomy.shrunk_from) } }
        }
        ol.plan {
            @for step in &anatomy.steps {
                li class={ @if step.hit { "hit" } } value=(step.number) {
                    span.words { (step.words) }
                    code.line { (step.line) }
                    span.soft.small {
                        (duration(step.until_us.saturating_sub(step.at_us)))
                        @if !step.ended.is_empty() { " · " (step.ended) }
                    }
                    @for band in anatomy.bands.iter().filter(|b| b.from_us >= step.at_us && b.from_us < step.until_us.max(step.at_us + 1)) {
                        " " span.tag.unknown { (band.name) }
                    }
                }
            }
        }
    }
}

fn comparison(anatomy: &Anatomy) -> Markup {
    html! {
        @if !anatomy.comparison.is_empty() {
            h4 { "Expected and observed" }
            div.wide { table.compare {
                thead { tr { th { "" } th { "expected" } th { "observed" } } }
                tbody { @for one in &anatomy.comparison {
                    tr class={ @if one.differs { "hit" } } {
                        th scope="row" { (one.what) }
                        td { (one.expected) }
                        td { @if one.differs { span.sign { "≠ " } } (one.observed) }
                    }
                } }
            } }
        }
    }
}

fn divergence(anatomy: &Anatomy) -> Markup {
    html! {
        @if let Some(event) = anatomy.divergence.and_then(|index| anatomy.events.get(index)) {
            p.first {
                strong { "First divergent event" } " at " (clock(event.at_us)) ", "
                (anatomy.lanes.get(event.lane).map_or("", |lane| lane.name.as_str())) ": " (event.text)
            }
        }
    }
}

fn exchanges(anatomy: &Anatomy) -> Markup {
    html! {
        @if !anatomy.exchanges.is_empty() {
            details open[anatomy.exchanges.len() <= FEW] {
                summary { "Management calls of the failing step (" (anatomy.exchanges.len()) ")" }
                div.wide { table {
                    thead { tr { th.n { "at" } th { "call" } th { "answer" } th.n { "took" } } }
                    tbody { @for one in &anatomy.exchanges {
                        tr class={ @if one.failed { "hit" } } {
                            td.n { (clock(one.at_us)) }
                            td { code { (one.call) } @if !one.request.is_empty() { pre.body { (one.request) } } }
                            td { (one.status) @if !one.answer.is_empty() { details { summary.small { "body" } pre.body { (one.answer) } } } }
                            td.n { @match one.answered_us { Some(t) => (duration(t.saturating_sub(one.at_us))), None => "never" } }
                        }
                    } }
                } }
            }
        }
    }
}

fn pdus(anatomy: &Anatomy) -> Markup {
    html! {
        @if !anatomy.pdus.is_empty() {
            details open[anatomy.pdus.len() <= FEW] {
                summary { "iSCSI PDUs of the failing step (" (anatomy.pdus.len()) ")" }
                div.wide { table {
                    thead { tr { th.n { "at" } th { "path" } th { "" } th { "PDU" } th.n { "LUN" } th { "content" } } }
                    tbody { @for one in &anatomy.pdus {
                        tr class={ @if one.wrong { "hit" } } {
                            td.n { (clock(one.at_us)) }
                            td { (one.path) }
                            td { @if one.out { "→" } @else { "←" } }
                            td { (one.opcode) }
                            td.n { (one.lun) }
                            td { (one.what) @if !one.data.is_empty() { br; span.soft { (one.data) } } }
                        }
                    } }
                } }
            }
        }
    }
}
