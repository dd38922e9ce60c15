//! The JSON Schema of `report.json`, written by hand beside the model: a change of the format is a change here.

use serde_json::{Value, json};

/// JSON Schema (draft 2020-12) of a [`Report`](crate::model::Report).
#[must_use]
pub fn report() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:sanbench:report:1",
        "title": "sanbench report",
        "description": "What one run of sanbench found out. New members may be added under the same version.",
        "type": "object",
        "required": ["schema", "verdict", "counts", "ending", "requirements", "run", "cases", "leftovers", "defects",
                     "coverage", "notes", "waivers"],
        "properties": {
            "schema": {"const": crate::model::SCHEMA},
            "verdict": {"enum": ["conformant", "not-conformant", "incomplete", "error"]},
            "counts": counts(),
            "ending": ending(),
            "requirements": array_of("requirement"),
            "run": reference("run"),
            "cases": array_of("case"),
            "leftovers": array_of("leftover"),
            "defects": array_of("defect"),
            "coverage": object(&[("points", count_map()), ("marks", count_map())]),
            "notes": strings(),
            "waivers": array_of("waiver"),
        },
        "$defs": {
            "verdict": {"enum": ["passed", "failed", "unknown", "waived", "not_applicable", "not_run"]},
            "requirement": requirement(),
            "run": run(),
            "case": case(),
            "step": step(),
            "finding": finding(),
            "leftover": object(&[("kind", text()), ("id", text()), ("name", text()), ("place", text()),
                                 ("reason", text())]),
            "defect": object(&[("id", text()), ("switch", text()), ("home", text()),
                               ("caught", json!({"type": "boolean"})), ("by", text()), ("expected", strings()),
                               ("mode", json!({"enum": ["directed", "swarm"]})), ("runs", count()), ("ms", count()),
                               ("story", text()), ("steps", json!({"type": ["integer", "null"], "minimum": 0})),
                               ("waits_for", text()), ("note", text())]),
            "waiver": object(&[("requirement", text()), ("reason", text()), ("link", text()), ("owner", text()),
                               ("expires", text()),
                               ("state", json!({"enum": ["applied", "expired", "unexpected_pass", "unused"]}))]),
        },
    })
}

fn counts() -> Value {
    let members =
        ["required", "passed", "failed", "unknown", "waived", "not_applicable", "not_run", "advisory_failed"];
    object(&members.map(|name| (name, count())))
}

fn ending() -> Value {
    json!({
        "type": "object",
        "required": ["how"],
        "properties": {
            "how": {"enum": ["finished", "interrupted", "unreachable", "bench_error"]},
            "message": text(),
        },
    })
}

fn requirement() -> Value {
    object(&[
        ("id", json!({"type": "string", "minLength": 1})),
        ("level", json!({"enum": ["MUST", "SHOULD", "MAY"]})),
        ("title", text()),
        ("verdict", reference("verdict")),
        ("reason", text()),
        ("evidence", strings()),
        ("required", json!({"type": "boolean"})),
    ])
}

fn run() -> Value {
    object(&[
        ("seed", count()),
        ("env", text()),
        ("version", text()),
        ("suite", text()),
        ("started", json!({"type": ["string", "null"]})),
        ("duration_ms", count()),
        ("history_sha256", hash()),
        ("plans", count()),
        ("steps", count()),
        ("faults_injected", count()),
        ("faults", text()),
        ("planted", strings()),
        ("left_out", strings()),
        ("command", text()),
    ])
}

fn case() -> Value {
    object(&[
        ("id", json!({"type": "string", "minLength": 1})),
        ("title", text()),
        ("story", text()),
        ("seed", count()),
        ("verdict", reference("verdict")),
        ("reason", text()),
        ("requirements", strings()),
        ("steps", array_of("step")),
        ("duration_us", count()),
        ("findings", array_of("finding")),
        ("history_sha256", hash()),
    ])
}

fn step() -> Value {
    object(&[
        ("number", count()),
        ("text", text()),
        ("status", json!({"enum": ["done", "refused", "failed", "unknown", "not_run"]})),
        ("duration_us", count()),
        ("note", text()),
        ("faults", strings()),
    ])
}

fn finding() -> Value {
    object(&[
        ("id", text()),
        ("requirement", text()),
        ("checker", text()),
        ("signature", text()),
        ("message", text()),
        ("expected", text()),
        ("observed", text()),
        ("case", text()),
        ("step", json!({"type": ["integer", "null"], "minimum": 0})),
        ("seed", count()),
        ("replay", text()),
    ])
}

/// An object whose members are all required; others are allowed, so that a later minor version still validates.
fn object(members: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let properties: serde_json::Map<String, Value> =
        members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn array_of(name: &str) -> Value {
    json!({"type": "array", "items": reference(name)})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn strings() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn count_map() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}})
}

fn hash() -> Value {
    json!({"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Defect, Ending, Leftover, Report};
    use crate::sample;

    fn errors(report: &Value) -> Vec<String> {
        let validator = jsonschema::validator_for(&super::report()).unwrap();
        validator.iter_errors(report).map(|error| error.to_string()).collect()
    }

    #[test]
    fn reports_are_valid() {
        let mut report = sample::report();
        report.leftovers.push(Leftover::default());
        report.defects.push(Defect::default());
        report.ending = Ending::Unreachable("no route".into());
        report.settle();
        for report in [sample::report(), Report::default(), report] {
            assert_eq!(errors(&serde_json::to_value(&report).unwrap()), Vec::<String>::new());
        }
    }

    #[test]
    fn changed_reports_are_not() {
        for (pointer, value) in [
            ("/verdict", json!("fine")),
            ("/counts/passed", json!(-1)),
            ("/requirements/0/verdict", json!("skipped")),
            ("/requirements/0/level", json!("must")),
            ("/run/history_sha256", json!("short")),
            ("/cases/0/steps/0/status", json!("ok")),
            ("/schema", json!("sanbench.report/2")),
        ] {
            let mut report = serde_json::to_value(sample::report()).unwrap();
            *report.pointer_mut(pointer).unwrap() = value;
            assert_eq!(errors(&report).len(), 1, "{pointer}");
        }
    }

    /// Every member that the model writes is described: a forgotten one would be invisible to readers of the schema.
    #[test]
    fn the_schema_names_every_member() {
        fn names(value: &Value, out: &mut std::collections::BTreeSet<String>) {
            match value {
                Value::Object(map) => {
                    for (name, inner) in map {
                        if name != "points" && name != "marks" {
                            names(inner, out);
                        }
                        out.insert(name.clone());
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| names(item, out)),
                _ => {}
            }
        }
        let (mut written, mut described) = Default::default();
        names(&serde_json::to_value(sample::report()).unwrap(), &mut written);
        names(&super::report(), &mut described);
        assert_eq!(written.difference(&described).collect::<Vec<_>>(), Vec::<&String>::new());
    }

    #[test]
    fn the_document() {
        insta::assert_json_snapshot!(super::report());
    }

    #[test]
    fn the_report() {
        insta::assert_json_snapshot!(sample::report());
    }
}
