//! From the words of the command line to what is to be run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sanbench_protocol::{CHAPTERS, Chapter};
use sanbench_runner::generate::{REQUIRES, SWARM};
use sanbench_runner::plan::{FaultAction, Plan, Step};
use sanbench_runner::story;

use crate::failure::Refusal;
use crate::faults;
use crate::register;
use crate::registry::Registry;

/// What a run is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Name for the report.
    pub(crate) name: String,
    /// Stories in order, each once.
    pub(crate) stories: Vec<Selected>,
    /// Requirement ids that must be judged.
    pub(crate) required: BTreeSet<String>,
    /// Every verification reads whole volumes.
    pub(crate) scan: bool,
    /// Slow stories that the short form leaves out.
    pub(crate) left_out: Vec<Selected>,
}

impl Selection {
    /// The short form: slow stories are left out unless they, or a requirement that they exercise, were asked for by name.
    pub(crate) fn shorten(&mut self) {
        let all = std::mem::take(&mut self.stories);
        let (left_out, stories) = all.into_iter().partition(|story| !story.named && is_slow(&story.plan));
        self.stories = stories;
        self.left_out = left_out;
    }
}

/// Seconds that a story may let pass by its own words before it is slow.
pub(crate) const SLOW_AFTER: u64 = 5;
/// Seconds that a `settle` rests when something is in doubt (`harness/runner/src/execute/settle.rs`).
const SETTLE: u64 = 60;
/// Seconds after which everybody has given up waiting for an answer that a fault holds back.
const PATIENCE: u64 = 60;

/// Seconds until two arrays have noticed that their link is cut, and the lease of the one that does not lead has run out.
const SILENCE: u64 = 6;

/// Seconds that a portal which was switched off is given to send its hosts away
/// (`harness/runner/src/execute/outages.rs`).
const DISMISSAL: u64 = 3;

/// Seconds that writes take at least while a volume is slowed down, so that it can be told from chance.
const LIMITED: u64 = 3;

/// Whether a story takes so long that it is no pleasure on a real clock.
pub(crate) fn is_slow(plan: &Plan) -> bool {
    lets_pass(plan) > SLOW_AFTER
}

/// Seconds that a plan lets pass by its own words: its `wait` steps, hosts that are off, the rests of `settle`, answers that faults hold back,
/// device events that come late. Of lanes side by side the longest counts.
fn lets_pass(plan: &Plan) -> u64 {
    let held = |action: FaultAction| match action {
        FaultAction::Delay(ms) => (ms / 1000).min(PATIENCE),
        _ => 0,
    };
    let of = |step: &Step| match step {
        Step::Wait { seconds } | Step::Reboot { off: seconds, .. } => *seconds,
        Step::Settle => SETTLE,
        Step::Link { up: false } => SILENCE,
        Step::Portal { enabled: false, .. } => DISMISSAL,
        Step::Limit { iops: 1.., .. } => LIMITED,
        Step::Arm { fault } => held(fault.action),
        Step::Attach { host, .. } | Step::Detach { host, .. } => {
            plan.site.tunes.get(host).map_or(0, |tune| tune.events)
        }
        _ => 0,
    };
    let mut total = plan.site.faults.iter().fold(0u64, |sum, fault| sum.saturating_add(held(fault.action)));
    let mut group: BTreeMap<&str, u64> = BTreeMap::new();
    for step in &plan.steps {
        let seconds = of(&step.step);
        match &step.lane {
            Some(lane) => {
                let sum = group.entry(lane.as_str()).or_default();
                *sum = sum.saturating_add(seconds);
            }
            None => {
                let longest = std::mem::take(&mut group).into_values().max().unwrap_or(0);
                total = total.saturating_add(longest).saturating_add(seconds);
            }
        }
    }
    total.saturating_add(group.into_values().max().unwrap_or(0))
}

/// One story to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Name, or the file's stem.
    pub(crate) name: String,
    /// The plan.
    pub(crate) plan: Plan,
    /// Asked for by itself or by a requirement, not only as part of a suite.
    pub(crate) named: bool,
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
    let mut selection = Selection { name: words.join(" "), ..Selection::default() };
    for word in words {
        let named = registry.suite(word).is_none();
        let add = |name: &str, plan: Plan, required: bool, selection: &mut Selection| {
            if required {
                selection.required.extend(musts(&plan.requires));
            }
            match selection.stories.iter_mut().find(|story| story.name == name) {
                Some(story) => story.named |= named,
                None => selection.stories.push(Selected { name: name.to_owned(), plan, named }),
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

/// Parses and checks that every requirement id and every fault point exists.
pub(crate) fn parse(file: &str, text: &str) -> Result<Plan, Refusal> {
    let plan = story::parse(text).map_err(|e| Refusal::new(e.render(file).trim_end().to_owned()))?;
    if let Some(id) = plan.requires.iter().find(|id| register::requirement_by_id(id).is_none()) {
        let problem = format!("unknown requirement {id}");
        return Err(mistake(
            file,
            text,
            "",
            id,
            problem,
            "`sanbench list requirements` lists them".to_owned(),
        ));
    }
    for fault in plan.placed_faults() {
        if let Err(near) = faults::meant(&fault.point) {
            let shown: String = fault.point.chars().filter(|c| !c.is_control()).take(80).collect();
            let problem = format!("nothing asks fault point `{shown}`: it would never fire");
            let hint = format!("did you mean `{near}`? `sanbench list faults` lists them");
            return Err(mistake(file, text, "fault arm", &fault.point, problem, hint));
        }
    }
    Ok(plan)
}

/// An error about the first place of a word, on a line that has one of these verbs if there are any.
fn mistake(file: &str, text: &str, verbs: &str, word: &str, problem: String, hint: String) -> Refusal {
    let of_verb = |line: &str| {
        verbs.is_empty() || line.split_whitespace().take(2).any(|w| verbs.split(' ').any(|verb| verb == w))
    };
    let mut lines = text.lines().zip(1..).filter(|(line, _)| of_verb(line));
    let place = lines.find_map(|(line, number)| Some((line, number, line.find(word)?)));
    let (source, line, before) = place.unwrap_or(("", 1, 0));
    let error = story::StoryError {
        line,
        column: source.get(..before).map_or(0, |b| b.chars().count()) + 1,
        width: word.chars().count(),
        problem,
        hint: Some(hint),
        snippet: source.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
    };
    Refusal::new(error.render(file).trim_end().to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(steps: &str) -> Plan {
        parse("t.story", &format!("story \"t\"\nhost compute-1\n{steps}")).unwrap()
    }

    #[test]
    fn a_fault_at_a_point_that_nothing_asks_is_refused_where_it_stands() {
        let refused = |line: &str| {
            let text = format!("story \"t\"\nhost h\n# GET lum\n{line}\ncensus\n");
            parse("t.story", &text).unwrap_err().problem
        };
        let told = refused("fault \"rest.before:GET lum\" do=fail");
        assert!(told.starts_with("t.story:4:8: nothing asks fault point `rest.before:GET lum`"), "{told}");
        assert!(told.contains("did you mean `rest.before:GET lun`?"), "{told}");
        for point in [
            "target.command.after:INQUIRY",
            "job.split.101",
            "flow.build_volume.*.before",
            "image.write",
            "x*",
        ] {
            let told = refused(&format!("arm \"{point}\" do=fail"));
            assert!(told.starts_with("t.story:4:6: nothing asks"), "{told}");
        }
        for point in
            ["rest.*", "*", "job.split.*", "flow.build_volume.make.after", "link.send:Op", "image.read"]
        {
            parsed(&format!("arm \"{point}\" do=fail\n"));
        }
    }

    #[test]
    fn lanes_wait_side_by_side() {
        assert_eq!(lets_pass(&parsed("census\n")), 0);
        assert_eq!(lets_pass(&parsed("wait 2\nwait 3\n")), 5);
        assert_eq!(lets_pass(&parsed("wait 2\n@a wait 3\n@b wait 4\n@a wait 2\ncensus\n@a wait 1\n")), 8);
        assert_eq!(lets_pass(&parsed("settle\n")), SETTLE);
        let cut = parse("t.story", "story \"t\"\nremote\ncut-link\nheal-link\n").unwrap();
        assert_eq!(lets_pass(&cut), SILENCE);
        let held = "fault \"rest.before:GET lun\" nth=1 do=delay ms=7000\ncensus\n";
        assert_eq!(lets_pass(&parsed(held)), 7);
        let late = "tune compute-1 events=3\ncreate v size=1GiB\nattach v compute-1\ndetach v compute-1\n";
        assert_eq!(lets_pass(&parsed(late)), 6);
        assert!(!is_slow(&parsed("wait 5\n")) && is_slow(&parsed("wait 6\n")));
    }

    #[test]
    fn the_short_form_leaves_out_what_is_slow_and_was_not_named() {
        let registry = Registry::builtin();
        let names = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let mut selection = resolve(&registry, &words).unwrap();
            let before = selection.stories.len();
            selection.shorten();
            assert_eq!(selection.stories.len() + selection.left_out.len(), before);
            selection.left_out.into_iter().map(|story| story.name).collect::<Vec<_>>()
        };
        let left_out = names(&[]);
        assert!(left_out.contains(&"path-loss".to_owned()), "{left_out:?}");
        // A host that is off lets time pass as well.
        assert!(left_out.contains(&"host-reboots".to_owned()), "{left_out:?}");
        assert!(!left_out.contains(&"lifecycle".to_owned()), "{left_out:?}");
        assert!(names(&["path-loss"]).is_empty());
        assert!(names(&["MPX-006"]).is_empty());
        assert_eq!(names(&["default", "path-loss"]).len(), left_out.len() - 1);
    }
}
