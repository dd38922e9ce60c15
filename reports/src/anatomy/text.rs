//! A failure step by step, for the terminal.

use std::fmt::Write as _;

use super::{Anatomy, Exchange, Pdu, Tone};
use crate::text::{Style, duration};

/// Longest body that is shown, in characters.
const BODY: usize = 600;

/// The anatomy as text.
#[must_use]
pub fn render(anatomy: &Anatomy, style: Style) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", style.bold("step by step (virtual time)"));
    for step in &anatomy.steps {
        let mark = if step.hit { style.red("=>") } else { "  ".to_owned() };
        let took = duration(step.until_us.saturating_sub(step.at_us));
        let _ = writeln!(out, "{mark} {:>12}  {:>3}  {}", clock(step.at_us), step.number, clean(&step.words));
        let _ = writeln!(
            out,
            "                     {}",
            style.dim(&format!("{}  [{took}]  {}", clean(&step.line), clean(&step.ended)))
        );
        for band in anatomy
            .bands
            .iter()
            .filter(|b| b.from_us >= step.at_us && b.from_us <= step.until_us.max(step.at_us + 1))
        {
            let until = if band.until_us > band.from_us {
                format!(" until {}", clock(band.until_us))
            } else {
                String::new()
            };
            let _ = writeln!(
                out,
                "      {:>9}  {}",
                clock(band.from_us),
                style.yellow(&format!("|| {}{until}", clean(&band.name)))
            );
        }
        if step.hit {
            events(&mut out, anatomy, step.at_us, step.until_us, style);
        }
    }
    if !anatomy.comparison.is_empty() {
        let _ = writeln!(out, "{}", style.bold("expected and observed"));
        for one in &anatomy.comparison {
            let mark = if one.differs { style.red("!=") } else { "==".to_owned() };
            let _ = writeln!(out, "  {mark} {}", clean(&one.what));
            let _ = writeln!(out, "       expected  {}", clean(&one.expected));
            let _ = writeln!(out, "       observed  {}", clean(&one.observed));
        }
    }
    if !anatomy.exchanges.is_empty() {
        let _ = writeln!(out, "{}", style.bold("management calls of the failing step"));
        anatomy.exchanges.iter().for_each(|exchange| call(&mut out, exchange, style));
    }
    if !anatomy.pdus.is_empty() {
        let _ = writeln!(out, "{}", style.bold("iSCSI PDUs of the failing step"));
        anatomy.pdus.iter().for_each(|one| pdu(&mut out, one, style));
    }
    if anatomy.left_out > 0 {
        let _ = writeln!(out, "  ... and {} more; a capture has them all", anatomy.left_out);
    }
    if !anatomy.defects.is_empty() {
        let _ = writeln!(out, "{}", style.bold("defects of the catalogue that break the same requirement"));
        for (id, text) in &anatomy.defects {
            let _ = writeln!(out, "  {id:<6} {}", clean(text));
        }
    }
    out
}

fn events(out: &mut String, anatomy: &Anatomy, from: u64, until: u64, style: Style) {
    for (index, event) in anatomy.events.iter().enumerate() {
        let inside = event.at_us >= from && event.at_us <= until;
        let first = anatomy.divergence == Some(index);
        // The caller's lane is what the list of steps says already.
        if !first && (!inside || event.lane == 0) {
            continue;
        }
        let lane = anatomy.lanes.get(event.lane).map_or("", |lane| lane.name.as_str());
        let text = clean(&event.text);
        let text = match event.tone {
            _ if first => style.red(&format!("{text}   <-- first divergent event")),
            Tone::Wrong => style.red(&text),
            Tone::Refused => style.yellow(&text),
            Tone::Plain | Tone::Data => text,
        };
        let _ = writeln!(out, "      {:>12}  {:<22} {text}", clock(event.at_us), clean(lane));
    }
}

fn call(out: &mut String, exchange: &Exchange, style: Style) {
    let took =
        exchange.answered_us.map_or("no answer".to_owned(), |t| duration(t.saturating_sub(exchange.at_us)));
    let status = if exchange.failed { style.red(&exchange.status) } else { exchange.status.clone() };
    let _ =
        writeln!(out, "  {:>12}  {}  -> {status}  [{took}]", clock(exchange.at_us), clean(&exchange.call));
    for (sign, body) in [('>', &exchange.request), ('<', &exchange.answer)] {
        if !body.is_empty() {
            let shown: String = clean(body).chars().take(BODY).collect();
            let more = if body.chars().count() > BODY { " ..." } else { "" };
            let _ = writeln!(out, "                {}", style.dim(&format!("{sign} {shown}{more}")));
        }
    }
}

fn pdu(out: &mut String, pdu: &Pdu, style: Style) {
    let arrow = if pdu.out { "->" } else { "<-" };
    let lun = if pdu.lun.is_empty() { String::new() } else { format!("LUN {} ", pdu.lun) };
    let line = format!("{arrow} {} {lun}{}", pdu.opcode, clean(&pdu.what));
    let line = if pdu.wrong { style.red(&line) } else { line };
    let _ = writeln!(out, "  {:>12}  {:<22} {}", clock(pdu.at_us), clean(&pdu.path), line.trim_end());
    if !pdu.data.is_empty() {
        let _ = writeln!(out, "                {}", style.dim(&clean(&pdu.data)));
    }
}

/// Microseconds as seconds with six digits.
#[must_use]
pub(super) fn clock(us: u64) -> String {
    format!("{}.{:06} s", us / 1_000_000, us % 1_000_000)
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
