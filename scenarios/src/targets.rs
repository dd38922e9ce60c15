//! From the words of the command line to what is to be run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sanbench_protocol::{CHAPTERS, Chapter};
use sanbench_runner::generate::{REQUIRES, SWARM};
use sanbench_runner::plan::Plan;
use sanbench_runner::story;

use crate::failure::Refusal;
use crate::register;
use crate::registry::Registry;

/// What a run is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Name for the report.
    pub(crate) name: String,
    /// Stories in order, each once.
    pub(crate) stories: Vec<Selected>,
    /// Requirement ids that must be judged.
    pub(crate) required: BTreeSet<String>,
    /// Every verification reads whole volumes.
    pub(crate) scan: bool,
}

/// One story to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Name, or the file's stem.
    pub(crate) name: String,
    /// The plan.
    pub(crate) plan: Plan,
}

/// Longest story file, in bytes.
const STORY_MAX: u64 = 4 << 20;

/// Resolves the words; none means the suite `default`.
///
/// # Errors
/// Unknown or ambiguous names, unreadable files, malformed stories, unknown requirement ids.
pub(crate) fn resolve(registry: &Registry, words: &[String]) -> Result<Selection, Refusal> {
    let default = ["default".to_owned()];
    let words = if words.is_empty() { &default[..] } else { words };
    let mut selection =
        Selection { name: words.join(" "), stories: Vec::new(), required: BTreeSet::new(), scan: false };
    let mut seen = BTreeMap::new();
    for word in words {
        let mut add = |name: &str, plan: Plan, required: bool, selection: &mut Selection| {
            if required {
                selection.required.extend(musts(&plan.requires));
            }
            if seen.insert(name.to_owned(), ()).is_none() {
                selection.stories.push(Selected { name: name.to_owned(), plan });
            }
        };
        if word.contains('/') || word.ends_with(".story") {
            let plan = read(word)?;
            let stem = Path::new(word).file_stem().and_then(|s| s.to_str()).unwrap_or("story");
            add(stem, plan, true, &mut selection);
            continue;
        }
        let requirement = register::requirement_by_id(word);
        let (suite, one) = (registry.suite(word), registry.story(word));
        match (requirement, suite, one) {
            (Some(_), None, None) => {
                let mut found = false;
                for entry in &registry.stories {
                    let plan = builtin(entry.name, entry.text)?;
                    if plan.requires.iter().any(|r| r == word) {
                        found = true;
                        add(entry.name, plan, false, &mut selection);
                    }
                }
                for chapter in CHAPTERS.iter().filter(|c| c.requirements().contains(&word.as_str())) {
                    found = true;
                    add(chapter.name, chapter_plan(chapter), false, &mut selection);
                }
                if !found {
                    return Err(Refusal::new(format!("no story of this version exercises {word}"))
                        .hint("`sanbench list requirements` shows which are exercised"));
                }
                selection.required.insert(word.clone());
            }
            (None, Some(suite), None) => {
                selection.scan |= suite.scan;
                let published = suite.required();
                selection.required.extend(published.iter().map(|id| (*id).to_owned()));
                for name in suite.stories {
                    if let Some(chapter) = Chapter::by_name(name) {
                        add(name, chapter_plan(chapter), published.is_empty(), &mut selection);
                        continue;
                    }
                    let entry = registry.story(name).ok_or_else(|| {
                        Refusal::new(format!("suite {word} names story {name}, which is not registered"))
                    })?;
                    add(name, builtin(name, entry.text)?, published.is_empty(), &mut selection);
                }
            }
            (None, None, Some(entry)) => {
                add(entry.name, builtin(entry.name, entry.text)?, true, &mut selection)
            }
            (None, None, None) if word == SWARM => add(word, swarm_plan(), true, &mut selection),
            (None, None, None) if Chapter::by_name(word).is_some() => {
                if let Some(chapter) = Chapter::by_name(word) {
                    add(chapter.name, chapter_plan(chapter), true, &mut selection);
                }
            }
            (None, None, None) => return Err(unknown(registry, word)),
            _ => {
                return Err(Refusal::new(format!(
                    "`{word}` is ambiguous: a suite and a story have that name"
                ))
                .hint("name the story by its file instead"));
            }
        }
    }
    Ok(selection)
}

/// What all generated plans have in common; each case makes its own.
fn swarm_plan() -> Plan {
    Plan {
        title: "Generated plans".to_owned(),
        requires: REQUIRES.iter().map(|id| (*id).to_owned()).collect(),
        ..Plan::default()
    }
}

/// A chapter of the protocol cases as a plan without steps: its site and what it is about.
pub(crate) fn chapter_plan(chapter: &Chapter) -> Plan {
    let mut plan = Plan {
        title: chapter.title.to_owned(),
        requires: chapter.requirements().into_iter().map(str::to_owned).collect(),
        ..Plan::default()
    };
    plan.site.hosts = HOSTS.iter().filter_map(|name| Some((name.parse().ok()?, 2))).collect();
    if chapter.chap {
        let options =
            [("use_chap_auth", "True"), ("chap_username", "bench"), ("chap_password", "Secret-12-chars!")];
        plan.site.options = options.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    }
    plan
}

/// Hosts that the protocol cases run on.
const HOSTS: [&str; 2] = ["compute-1", "compute-2"];

/// The ids among these that are MUSTs.
fn musts(ids: &[String]) -> impl Iterator<Item = String> + '_ {
    ids.iter()
        .filter(|id| {
            register::requirement_by_id(id).is_some_and(|r| r.level == sanbench_reports::Level::Must)
        })
        .cloned()
}

fn read(path: &str) -> Result<Plan, Refusal> {
    let fail = |e: std::io::Error| Refusal::new(format!("{path}: {e}")).hint("name a readable .story file");
    let length = std::fs::metadata(path).map_err(fail)?.len();
    if length > STORY_MAX {
        return Err(Refusal::new(format!("{path}: larger than 4 MiB")).hint("a story is a short text file"));
    }
    let bytes = std::fs::read(path).map_err(fail)?;
    let text = String::from_utf8(bytes)
        .map_err(|e| Refusal::new(format!("{path}: not UTF-8 at byte {}", e.utf8_error().valid_up_to())))?;
    parse(path, &text)
}

fn builtin(name: &str, text: &str) -> Result<Plan, Refusal> {
    parse(&format!("{name}.story"), text)
}

/// Parses and checks that every requirement id exists.
pub(crate) fn parse(file: &str, text: &str) -> Result<Plan, Refusal> {
    let plan = story::parse(text).map_err(|e| Refusal::new(e.render(file).trim_end().to_owned()))?;
    for id in &plan.requires {
        if register::requirement_by_id(id).is_none() {
            let place = text.lines().zip(1..).find_map(|(l, n)| Some((l, n, l.find(id.as_str())?)));
            let (source, line, before) = place.unwrap_or(("", 1, 0));
            let error = story::StoryError {
                line,
                column: source.get(..before).map_or(0, |b| b.chars().count()) + 1,
                width: id.chars().count(),
                problem: format!("unknown requirement {id}"),
                hint: Some("`sanbench list requirements` lists them".to_owned()),
                snippet: source.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
            };
            return Err(Refusal::new(error.render(file).trim_end().to_owned()));
        }
    }
    Ok(plan)
}

fn unknown(registry: &Registry, word: &str) -> Refusal {
    let names = registry.stories.iter().map(|s| s.name).chain(registry.suites.iter().map(|s| s.name));
    let names = names.chain(CHAPTERS.iter().map(|c| c.name));
    let near = names.min_by_key(|n| edit_distance(n, word)).filter(|n| edit_distance(n, word) <= 3);
    let shown: String = word.chars().filter(|c| !c.is_control()).take(80).collect();
    Refusal::new(format!("no story, suite or requirement is called `{shown}`")).hint(match near {
        Some(name) => format!("did you mean `{name}`? `sanbench list stories` lists all"),
        None => "see `sanbench list stories`, `list suites`, `list requirements`".to_owned(),
    })
}

use sanbench_runner::story::edit_distance;
