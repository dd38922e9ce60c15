//! `sanbench list`.

use std::collections::{BTreeMap, BTreeSet};

use sanbench_runner::generate::nemesis;
use serde_json::{Value, json};

use crate::cli::{Format, ListArgs, Listing};
use crate::failure::Refusal;
use crate::register;
use crate::registry::Registry;
use crate::{defects, faults, targets};

/// Prints the list; one JSON array with `--format json`.
pub(super) fn list(registry: &Registry, args: &ListArgs) -> Result<String, Refusal> {
    let rows = rows(registry, args.what)?;
    if args.format == Format::Json {
        let text = serde_json::to_string_pretty(&rows).unwrap_or_default();
        return Ok(text + "\n");
    }
    let width = rows.iter().filter_map(|r| r["id"].as_str()).map(str::len).max().unwrap_or(0);
    let marks = rows.iter().filter_map(|r| r["mark"].as_str()).map(str::len).max().unwrap_or(0).max(6);
    let mut out = String::new();
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        let mark = match text("mark") {
            "" => String::new(),
            mark => format!("{mark:<marks$} "),
        };
        out.push_str(&format!("{:width$}  {mark}{}\n", text("id"), text("title")));
    }
    Ok(out)
}

fn rows(registry: &Registry, what: Listing) -> Result<Vec<Value>, Refusal> {
    Ok(match what {
        Listing::Stories => registry
            .stories
            .iter()
            .map(|s| {
                let plan = targets::parse(&format!("{}.story", s.name), s.text)?;
                Ok(json!({"id": s.name, "title": plan.title, "requirements": plan.requires, "steps": plan.steps.len()}))
            })
            .collect::<Result<_, Refusal>>()?,
        Listing::Suites => registry
            .suites
            .iter()
            .map(|s| json!({"id": s.name, "title": s.title, "version": s.version, "stories": s.stories, "requirements": s.required()}))
            .collect(),
        Listing::Requirements => {
            let exercised = exercised(registry)?;
            register::requirements()
                .iter()
                .map(|r| {
                    let by = exercised.get(r.id).cloned().unwrap_or_default();
                    let mark = r.level.word();
                    let title = if by.is_empty() {
                        format!("{} [no story yet]", r.statement)
                    } else {
                        r.statement.to_owned()
                    };
                    json!({"id": r.id, "mark": mark, "title": title, "group": r.group, "stories": by})
                })
                .collect()
        }
        Listing::Faults => faults::POINTS
            .iter()
            .map(|p| fault(p.name, p.what, p.promise, p.environments))
            .chain(faults::endpoints().iter().map(|p| fault(&p.name, &p.what, p.promise, faults::MANAGED)))
            .chain(nemesis::KINDS.iter().map(|k| {
                json!({"id": k.name, "mark": "kind", "title": format!("Promise: {}", k.promise), "environments": k.environments})
            }))
            .collect(),
        Listing::Defects => planted(registry),
        Listing::Drivers => {
            registry.drivers.iter().map(|d| json!({"id": d.class, "title": d.title})).collect()
        }
    })
}

fn fault(name: &str, what: &str, promise: &str, environments: &str) -> Value {
    let title = format!("{what} Promise: {promise}");
    json!({"id": name, "mark": "point", "title": title, "environments": environments})
}

/// Defects that can be planted, then those that wait.
fn planted(registry: &Registry) -> Vec<Value> {
    let built = defects::all(registry).into_iter().filter(|d| d.directed().is_some()).map(|d| {
        let (stories, by) = d.directed().map(|d| (d.stories.clone(), d.by.clone())).unwrap_or_default();
        let title = format!("{} [{}; {}]", d.text, d.home, by.join(" "));
        json!({
            "id": d.name, "mark": d.catalogue, "title": title, "home": d.home, "built": true,
            "stories": stories, "requirements": by,
        })
    });
    let all = defects::all(registry);
    let waiting = defects::waiting().iter().map(|w| {
        let entry = register::defects().iter().find(|d| d.id == w.id).map(|d| (d.text, d.home));
        let switch = || all.iter().find(|d| d.name == w.id).map(|d| (d.text, d.home));
        let (text, home) = entry.or_else(switch).unwrap_or_default();
        json!({
            "id": w.id, "mark": "waits", "title": format!("{text} [waits for {}]", w.waits_for),
            "home": home, "built": false, "waits_for": w.waits_for,
        })
    });
    built.chain(waiting).collect()
}

/// Stories by the requirement that they name.
pub(super) fn exercised(registry: &Registry) -> Result<BTreeMap<String, BTreeSet<&'static str>>, Refusal> {
    let mut by: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for story in &registry.stories {
        for id in targets::parse(&format!("{}.story", story.name), story.text)?.requires {
            by.entry(id).or_default().insert(story.name);
        }
    }
    for chapter in sanbench_protocol::CHAPTERS {
        for id in chapter.requirements() {
            by.entry(id.to_owned()).or_default().insert(chapter.name);
        }
    }
    Ok(by)
}
