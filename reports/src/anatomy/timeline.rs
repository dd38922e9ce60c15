//! The time-line as a picture: a lane for each who took part, steps side by side, faults as bands.
//!
//! Virtual time jumps from microseconds to minutes, so each step gets room by the logarithm of what it took; inside a step
//! time is linear.

use maud::{Markup, PreEscaped, html};
use std::fmt::Write as _;

use super::{Anatomy, Event, Tone};
use crate::text::duration;

/// Width of the names at the left, of the picture, and height of a lane, in pixels.
const NAMES: f64 = 190.0;
const WIDTH: f64 = 1100.0;
const LANE: f64 = 30.0;
const HEAD: f64 = 34.0;
/// Narrowest event that can be seen and pointed at.
const NARROW: f64 = 3.0;
/// Events of a lane beyond this are not drawn; the tables have them.
const DRAWN: usize = 400;

/// Where times lie on the page.
struct Scale {
    /// Step bounds: time from, time until, place from, place until.
    pieces: Vec<(u64, u64, f64, f64)>,
}

impl Scale {
    fn of(anatomy: &Anatomy) -> Self {
        let weight =
            |from: u64, until: u64| 1.0 + ((until.saturating_sub(from)) as f64 / 1000.0 + 1.0).log10();
        let weights: Vec<f64> = anatomy
            .steps
            .iter()
            // The failing step is what one looks at.
            .map(|s| weight(s.at_us, s.until_us) * if s.hit { 3.0 } else { 1.0 })
            .collect();
        let all: f64 = weights.iter().sum::<f64>().max(1.0);
        let mut at = NAMES;
        let mut pieces = Vec::new();
        for (step, weight) in anatomy.steps.iter().zip(weights) {
            let width = weight / all * (WIDTH - NAMES - 8.0);
            pieces.push((step.at_us, step.until_us.max(step.at_us + 1), at, at + width));
            at += width;
        }
        Self { pieces }
    }

    fn x(&self, us: u64) -> f64 {
        for (from, until, left, right) in &self.pieces {
            if us < *from {
                return *left;
            }
            if us <= *until {
                let part = (us - from) as f64 / (until - from) as f64;
                return left + part * (right - left);
            }
        }
        self.pieces.last().map_or(NAMES, |(.., right)| *right)
    }
}

/// The picture; nothing without steps.
pub(super) fn render(anatomy: &Anatomy) -> Markup {
    if anatomy.steps.is_empty() {
        return html! {};
    }
    let scale = Scale::of(anatomy);
    let height = HEAD + LANE * anatomy.lanes.len() as f64 + 18.0;
    let mut svg = String::new();
    let label =
        escape("Time-line of the failure: a lane for each part, steps from left to right, faults as bands");
    let _ = write!(
        svg,
        "<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\" xmlns=\"http://www.w3.org/2000/svg\">"
    );
    lanes(&mut svg, anatomy, height);
    bands(&mut svg, anatomy, &scale, height);
    steps(&mut svg, anatomy, &scale, height);
    for lane in 0..anatomy.lanes.len() {
        for event in anatomy.events.iter().filter(|e| e.lane == lane).take(DRAWN) {
            mark(&mut svg, event, &scale);
        }
    }
    if let Some(event) = anatomy.divergence.and_then(|index| anatomy.events.get(index)) {
        let (x, y) = (scale.x(event.at_us), HEAD + LANE * event.lane as f64);
        let _ = write!(
            svg,
            "<g class=\"first\"><line x1=\"{x:.1}\" y1=\"{HEAD}\" x2=\"{x:.1}\" y2=\"{:.1}\"/><path d=\"M{x:.1} {:.1}l-6 9h12z\"/><title>first divergent event: {}</title></g>",
            height - 18.0,
            y + LANE - 7.0,
            escape(&event.text)
        );
    }
    svg.push_str("</svg>");
    html! { div.wide { (PreEscaped(svg)) } }
}

fn lanes(svg: &mut String, anatomy: &Anatomy, height: f64) {
    for (n, lane) in anatomy.lanes.iter().enumerate() {
        let y = HEAD + LANE * n as f64;
        let _ = write!(
            svg,
            "<rect class=\"lane{}\" x=\"0\" y=\"{y}\" width=\"{WIDTH}\" height=\"{LANE}\"/><text class=\"who\" x=\"8\" y=\"{}\">{}</text>",
            n % 2,
            y + LANE / 2.0 + 5.0,
            escape(&lane.name)
        );
    }
    let _ = write!(
        svg,
        "<line class=\"edge\" x1=\"{NAMES}\" y1=\"{HEAD}\" x2=\"{NAMES}\" y2=\"{}\"/>",
        height - 18.0
    );
}

fn bands(svg: &mut String, anatomy: &Anatomy, scale: &Scale, height: f64) {
    for band in &anatomy.bands {
        let left = scale.x(band.from_us);
        let width = (scale.x(band.until_us) - left).max(5.0);
        let _ = write!(
            svg,
            "<g class=\"band\"><rect x=\"{left:.1}\" y=\"{HEAD}\" width=\"{width:.1}\" height=\"{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text><title>{}</title></g>",
            height - HEAD - 18.0,
            (left + 2.0).min(WIDTH - 160.0),
            height - 5.0,
            escape(&band.name),
            escape(&format!("{} from {} us to {} us", band.name, band.from_us, band.until_us))
        );
    }
}

fn steps(svg: &mut String, anatomy: &Anatomy, scale: &Scale, height: f64) {
    for (step, (.., left, right)) in anatomy.steps.iter().zip(&scale.pieces) {
        let class = if step.hit { "step hit" } else { "step" };
        let took = duration(step.until_us.saturating_sub(step.at_us));
        let middle = (left + right) / 2.0;
        let _ = write!(
            svg,
            "<g class=\"{class}\"><line x1=\"{left:.1}\" y1=\"{HEAD}\" x2=\"{left:.1}\" y2=\"{:.1}\"/><text x=\"{middle:.1}\" y=\"14\">{}</text><text class=\"took\" x=\"{middle:.1}\" y=\"28\">{}</text><title>{}</title></g>",
            height - 18.0,
            step.number,
            if right - left > 44.0 { took.as_str() } else { "" },
            escape(&step.words)
        );
    }
}

fn mark(svg: &mut String, event: &Event, scale: &Scale) {
    let left = scale.x(event.at_us);
    let width = (scale.x(event.until_us) - left).max(NARROW);
    let class = match event.tone {
        Tone::Plain => "plain",
        Tone::Data => "data",
        Tone::Refused => "refused",
        Tone::Wrong => "wrong",
    };
    let y = HEAD + LANE * event.lane as f64 + 7.0;
    let _ = write!(
        svg,
        "<rect class=\"ev {class}\" x=\"{left:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" rx=\"2\"><title>{}</title></rect>",
        LANE - 14.0,
        escape(&format!("{} us: {}", event.at_us, event.text))
    );
}

/// Text inside an element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
