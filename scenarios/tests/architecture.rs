//! The shape of the house: which crate may import which, how long a file may be, and that nothing named is missing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;

/// What each crate may import from the workspace (README.md shows the same as a picture). `sanbench`, the composition root,
/// may import everything and is not in the table.
const ALLOWED: &[(&str, &[&str])] = &[
    ("sanbench-api", &[]),
    ("sanbench-array", &[]),
    ("sanbench-check", &["api", "wire"]),
    ("sanbench-durable", &["array"]),
    // What a vendor copies: the one driver that knows the command.
    ("sanbench-example", &["sanbench", "api", "tengling", "world"]),
    ("sanbench-flows", &["api", "world"]),
    ("sanbench-initiator", &["api", "wire", "world"]),
    ("sanbench-link", &["array", "world"]),
    ("sanbench-protocol", &["wire", "world"]),
    ("sanbench-reports", &[]),
    ("sanbench-rest", &["array", "world"]),
    ("sanbench-runner", &["api", "check", "flows", "reports", "world"]),
    ("sanbench-target", &["array", "wire", "world"]),
    ("sanbench-tengling", &["api", "world"]),
    ("sanbench-wire", &[]),
    ("sanbench-world", &[]),
];

/// Longest source file, in lines.
const LONGEST: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// One arrow: from, to, kind (`normal`, `dev` or `build`).
type Arrow = (String, String, String);

fn arrows() -> BTreeSet<Arrow> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let mut arrows = BTreeSet::new();
    for package in packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if names.contains(to) {
                let kind = dependency["kind"].as_str().unwrap_or("normal").to_owned();
                arrows.insert((package["name"].as_str().unwrap().to_owned(), to.to_owned(), kind));
            }
        }
    }
    arrows
}

#[test]
fn the_crate_graph_is_what_review_has_seen() {
    let lines: Vec<String> = arrows()
        .into_iter()
        .map(|(from, to, kind)| match kind.as_str() {
            "normal" => format!("{from} -> {to}"),
            kind => format!("{from} -> {to} ({kind})"),
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn no_crate_imports_what_it_must_not_know() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut forbidden = Vec::new();
    for (from, to, kind) in arrows() {
        if from == "sanbench" {
            continue;
        }
        let known = allowed
            .get(from.as_str())
            .unwrap_or_else(|| panic!("{from} is new: say in ALLOWED what it may import"));
        let short = to.trim_start_matches("sanbench-");
        // A test may look at both sides of the wire only from the composition root.
        if !known.contains(&short) {
            forbidden.push(format!("{from} -> {to} ({kind})"));
        }
    }
    assert!(forbidden.is_empty(), "forbidden arrows:\n{}", forbidden.join("\n"));
}

#[test]
fn drivers_and_simulation_meet_only_in_the_wire() {
    let place = |name: &str| {
        let short = name.trim_start_matches("sanbench-");
        ["drivers", "sim"].into_iter().find(|group| root().join(group).join(short).is_dir())
    };
    for (from, to, kind) in arrows() {
        if to == "sanbench-wire" {
            continue;
        }
        if let (Some(a), Some(b)) = (place(&from), place(&to)) {
            assert_eq!(
                a, b,
                "{from} -> {to} ({kind}): each side is the other's test, a shared helper is a shared mistake"
            );
        }
    }
}

/// Every Rust source file of the workspace.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open: Vec<PathBuf> =
        ["sim", "harness", "scenarios", "drivers", "reports"].iter().map(|d| root().join(d)).collect();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_none_or(|n| n != "target") {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 100, "only {} source files found", files.len());
    files
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<String> = sources()
        .iter()
        .map(|path| (shown(path), fs::read_to_string(path).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "longer than {LONGEST} lines; split along a real seam:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_to_be_done_later() {
    // Built from parts, so that this file does not find itself.
    let unfinished = Regex::new(&["to", r"do!|unimplem", r"ented!"].concat()).unwrap();
    let mut found = Vec::new();
    for path in sources() {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            if unfinished.is_match(line) {
                found.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "unfinished code:\n{}", found.join("\n"));
}

#[test]
fn every_story_file_is_registered_and_the_other_way_round() {
    let files: BTreeSet<String> = fs::read_dir(root().join("scenarios/stories"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "story"))
        .map(|p| p.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let registered: BTreeSet<String> =
        sanbench::registry::STORIES.iter().map(|s| s.name.to_owned()).collect();
    assert_eq!(files, registered, "scenarios/src/registry.rs lists the stories");
}

#[test]
fn every_requirement_id_that_the_code_names_exists() {
    let known: BTreeSet<&str> = sanbench::register::requirements().iter().map(|r| r.id).collect();
    let literal = Regex::new(r#""([A-Z]{3}-\d{3})""#).unwrap();
    let mut unknown = Vec::new();
    let mut named = 0;
    for path in sources() {
        let text = shown(&path);
        if !text.starts_with("harness/check/src") && !text.starts_with("harness/runner/src") {
            continue;
        }
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            for found in literal.captures_iter(line) {
                named += 1;
                if !known.contains(&found[1]) {
                    unknown.push(format!("{text}:{}: {}", number + 1, &found[1]));
                }
            }
        }
    }
    assert!(named > 20, "only {named} ids found: does the pattern still fit the code?");
    assert!(unknown.is_empty(), "not in scenarios/data/requirements.tsv:\n{}", unknown.join("\n"));
}

#[test]
fn every_id_of_a_list_or_a_story_exists() {
    let known: BTreeSet<&str> = sanbench::register::requirements().iter().map(|r| r.id).collect();
    let registry = sanbench::Registry::builtin();
    for suite in &registry.suites {
        for id in suite.required() {
            assert!(known.contains(id), "suite {} requires {id}, which is not in the register", suite.name);
        }
    }
    for defect in sanbench::register::defects() {
        for id in &defect.caught_by {
            assert!(
                known.contains(&id[..]),
                "defect {} is caught by {id}, which is not in the register",
                defect.id
            );
        }
    }
}
