//! `sanbench explain`.

use sanbench_runner::story::verbs::{self, Type};

use super::list::exercised;
use crate::failure::Refusal;
use crate::register;
use crate::registry::Registry;
use crate::{defects, faults, targets};

/// Everything that goes by that name.
pub(super) fn explain(registry: &Registry, id: &str) -> Result<String, Refusal> {
    let mut parts = Vec::new();
    if let Some(r) = register::requirement_by_id(id) {
        let by = exercised(registry)?.remove(id).unwrap_or_default();
        let stories =
            if by.is_empty() { "none yet".into() } else { by.into_iter().collect::<Vec<_>>().join(", ") };
        let mut text = format!("{} ({}, {})\n  {}\n", r.id, r.level.word(), r.group, r.statement);
        text += &format!("  source:   {}\n  check:    {}\n  tier:     {}\n", r.source, r.check, r.tier);
        text += &format!("  stories:  {stories}\n");
        for d in register::defects().iter().filter(|d| d.caught_by.contains(&r.id)) {
            text += &format!("  defect:   {} ({}) {}\n", d.id, d.home, d.text);
        }
        parts.push(text);
    }
    if let Some(s) = registry.story(id) {
        let plan = targets::parse(&format!("{}.story", s.name), s.text)?;
        parts.push(format!("story {}: {}\n\n{}", s.name, plan.title, s.text));
    }
    if let Some(s) = registry.suite(id) {
        let required = s.required().join(" ");
        parts.push(format!(
            "suite {} (version {}): {}\n  stories:  {}\n  requires: {}\n",
            s.name,
            s.version,
            s.title,
            s.stories.join(", "),
            if required.is_empty() { "what its stories name" } else { &required }
        ));
    }
    if let Some(v) = verbs::verb(id) {
        let mut text =
            format!("verb {}\n  {}\n  usage:    {}\n  example:  {}\n", v.name, v.help, v.syntax(), v.example);
        for p in v.positional.iter().chain(v.named) {
            let name = if p.ty == Type::Pairs { "KEY=VALUE" } else { p.name };
            text += &format!("  {name:<9} {}\n", p.help);
        }
        parts.push(text);
    }
    if let Some(p) = faults::POINTS.iter().find(|p| p.name == id) {
        parts.push(format!(
            "fault point {}\n  {}\n  promise:  {}\n  where:    {}\n",
            p.name, p.what, p.promise, p.environments
        ));
    }
    for d in defects::all(registry).iter().filter(|d| d.name == id || d.catalogue == id) {
        parts.push(format!(
            "planted defect {} ({}, {})\n  {}\n  plant it: sanbench run --defect {}\n",
            d.name, d.catalogue, d.home, d.text, d.name
        ));
    }
    if let Some(d) = register::defects().iter().find(|d| d.id == id) {
        parts.push(format!(
            "catalogue defect {} ({})\n  {}\n  caught by: {}\n",
            d.id,
            d.home,
            d.text,
            d.caught_by.join(", ")
        ));
    }
    if parts.is_empty() {
        let shown: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
        return Err(Refusal::new(format!("nothing is called `{shown}`"))
            .hint("a requirement, story, suite, verb, fault point or defect; see `sanbench list`"));
    }
    Ok(parts.join("\n"))
}
