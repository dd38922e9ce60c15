//! `sanbench explain`.

use sanbench_runner::generate::nemesis;
use sanbench_runner::story::verbs::{self, Type};

use sanbench_protocol::CHAPTERS;

use super::list::exercised;
use crate::defects::Plantable;
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
        for case in CHAPTERS.iter().flat_map(|c| c.cases).filter(|c| c.requirements.contains(&r.id)) {
            text += &format!("  case:     {}: {}\n", case.name, case.title);
        }
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
    for c in CHAPTERS.iter().filter(|c| c.name == id) {
        let mut text = format!("protocol chapter {}: {}\n", c.name, c.title);
        for case in c.cases {
            text += &format!("  {:<26} {} [{}]\n", case.name, case.title, case.requirements.join(" "));
        }
        parts.push(text);
    }
    for (chapter, case) in CHAPTERS.iter().flat_map(|c| c.cases.iter().map(move |case| (c, case))) {
        if case.name == id {
            parts.push(format!(
                "protocol case {}: {}\n  requires: {}\n  run it:   sanbench run {}\n",
                case.name,
                case.title,
                case.requirements.join(" "),
                chapter.name
            ));
        }
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
        parts.push(point(p.name, p.what, p.promise, p.environments));
    }
    if let Some(p) = faults::endpoints().iter().find(|p| p.name == id) {
        parts.push(point(&p.name, &p.what, p.promise, faults::MANAGED));
    }
    if let Some(k) = nemesis::KINDS.iter().find(|k| k.name == id) {
        let under = if k.masked { "operations under it succeed" } else { "operations under it may fail" };
        parts.push(format!(
            "fault kind {}\n  promise:  {}\n  under it: {under}\n  where:    {}\n  weight:   [kinds] {} = N in a profile file\n",
            k.name, k.promise, k.environments, k.name
        ));
    }
    parts.extend(catalogue_defect(registry, id));
    for d in defects::all(registry).iter().filter(|d| d.name == id || d.catalogue == id) {
        parts.push(planted_defect(d));
    }
    if parts.is_empty() {
        let shown: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
        return Err(Refusal::new(format!("nothing is called `{shown}`"))
            .hint("a requirement, story, suite, verb, fault point or defect; see `sanbench list`"));
    }
    Ok(parts.join("\n"))
}

fn point(name: &str, what: &str, promise: &str, environments: &str) -> String {
    let mut text =
        format!("fault point {name}\n  {what}\n  promise:  {promise}\n  where:    {environments}\n  do=\n");
    for (action, what) in faults::ACTIONS {
        text += &format!("    {action:<15} {what}\n");
    }
    text
}

/// An entry of the defect catalogue.
fn catalogue_defect(registry: &Registry, id: &str) -> Option<String> {
    let d = register::defects().iter().find(|d| d.id == id)?;
    let subtle = if d.subtle { ", subtle: a happy-path run passes and reports success" } else { "" };
    let mut text = format!("catalogue defect {} ({}{subtle})\n  {}\n", d.id, d.home, d.text);
    text += &format!("  seen in:   {}\n  workload:  {}\n", d.reference, d.workload);
    text += &format!("  caught by: {}\n", d.caught_by.join(", "));
    let built: Vec<&str> =
        defects::all(registry).iter().filter(|p| p.catalogue == id).map(|p| p.name).collect();
    match defects::waiting().iter().find(|w| w.id == id) {
        Some(waiting) => text += &format!("  waits for: {}\n", waiting.waits_for),
        None => text += &format!("  planted:   {}\n", built.join(", ")),
    }
    Some(text)
}

/// A switch.
fn planted_defect(d: &Plantable) -> String {
    let mut text = format!("planted defect {} ({}, in the {})\n  {}\n", d.name, d.catalogue, d.home, d.text);
    text += &format!("  seen in:   {}\n", d.reference());
    if let Some(directed) = d.directed() {
        text += &format!("  stories:   {}\n", directed.stories.join(", "));
        text += &format!("  must fail: {}\n", directed.by.join(" or "));
        let story = directed.stories.first().copied().unwrap_or_default();
        text += &format!("  plant it:  sanbench run {story} --defect {}\n", d.name);
    }
    if let Some(waiting) = defects::waiting().iter().find(|w| w.id == d.name) {
        return text + &format!("  waits for: {}\n", waiting.waits_for);
    }
    text + &format!("  prove it:  sanbench selftest {}\n", d.name)
}
