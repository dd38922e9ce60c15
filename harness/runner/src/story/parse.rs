//! Text to plan.

use std::collections::{BTreeMap, BTreeSet};

use super::error::StoryError;
use super::lex::{self, Word};
use super::pair;
use super::value::{Name, Size};
use super::verbs::{self, Param, Place, Type, Verb};
use crate::plan::{
    FaultAction, Forged, ImageKind, MOST_LOSS, PlacedFault, Plan, PlanStep, Refused, Repeated, Source,
    Spoiled, Starved, Step, Tune,
};

/// Most lines that a story may have.
const LINES_MAX: usize = 20_000;
/// Bytes that a story may make the longest target name of an array have: as it comes it has less than 100, and RFC 7143 section
/// 4.2.7.1 allows 223.
const TARGET_NAME: std::ops::RangeInclusive<u64> = 100..=223;

/// Reads a story. The first error ends it.
///
/// # Errors
/// [`StoryError`] with line, column, snippet and hint: an unknown verb or key, a missing or repeated argument, a value
/// of the wrong type, a header line after the first step, a name used before it is made or made twice.
pub fn parse(text: &str) -> Result<Plan, StoryError> {
    let mut plan = Plan::default();
    let mut names = Names::default();
    let mut titled = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let words = lex::words(number, line)?;
        let at = At { number, line };
        let (lane, words) = lane(&at, &words)?;
        let Some((head, rest)) = words.split_first() else { continue };
        if number > LINES_MAX {
            return Err(at.error(head, "story is too long", Some(format!("at most {LINES_MAX} lines"))));
        }
        let verb = match (&head.key, verbs::verb(&head.text)) {
            (None, Some(verb)) => verb,
            _ => {
                return Err(at.error(
                    head,
                    &format!("unknown verb `{}`", head.text),
                    Some(nearest_verb(&head.text)),
                ));
            }
        };
        if !titled && verb.name != "story" {
            return Err(at.error(
                head,
                "a story starts with its title",
                Some("story \"One sentence\"".into()),
            ));
        }
        if verb.place == Place::Header && lane.is_some() {
            let problem = format!("`{}` describes the site and has no lane", verb.name);
            return Err(at.error(head, &problem, Some("remove the `@` word".into())));
        }
        if verb.place == Place::Header && !plan.steps.is_empty() {
            let hint =
                "move it above the first step; `restart KEY=VALUE` changes options in mid-story".into();
            return Err(at.error(
                head,
                &format!("`{}` describes the site and comes before all steps", verb.name),
                Some(hint),
            ));
        }
        if verb.name == "story" && titled {
            return Err(at.error(head, "a story has one title", Some("remove this line".into())));
        }
        titled = true;
        let args = Args::collect(&at, head, verb, rest)?;
        match verb.place {
            Place::Header => header(&at, &mut plan, &mut names, verb, &args)?,
            Place::Step => {
                let step = step(&at, &mut names, verb, &args)?;
                pair::check(&at, head, plan.site.remote, &step)?;
                if matches!(step, Step::Spoil { .. }) && !plan.site.journal {
                    let problem = format!("`{}` needs an array that keeps its content on a disk", head.text);
                    return Err(at.error(
                        head,
                        &problem,
                        Some("write `journal on` above the first step".into()),
                    ));
                }
                if lane.is_some() && step.runs_alone() {
                    let problem = format!("`{}` runs alone", head.text);
                    return Err(at.error(head, &problem, Some("remove the `@` word".into())));
                }
                plan.steps.push(PlanStep { lane, step });
            }
        }
    }
    if !titled {
        return Err(StoryError {
            line: 1,
            column: 1,
            width: 1,
            problem: "the story is empty".into(),
            hint: Some("story \"One sentence\"".into()),
            snippet: lex::snippet(text.lines().next().unwrap_or_default()),
        });
    }
    Ok(plan)
}

/// The lane that the line begins with, and the words behind it.
fn lane<'w>(at: &At<'_>, words: &'w [Word]) -> Result<(Option<Name>, &'w [Word]), StoryError> {
    let Some((first, rest)) = words.split_first() else { return Ok((None, words)) };
    let Some(name) = first.text.strip_prefix('@').filter(|_| first.key.is_none()) else {
        return Ok((None, words));
    };
    let lane = name.parse().map_err(|hint| at.error(first, &format!("`@{name}` is no lane"), Some(hint)))?;
    if rest.is_empty() {
        return Err(at.error(first, "a lane without a step", Some("write the step behind it".into())));
    }
    Ok((Some(lane), rest))
}

/// Where we are, for errors.
pub(super) struct At<'a> {
    number: usize,
    line: &'a str,
}

impl At<'_> {
    pub(super) fn error(&self, word: &Word, problem: &str, hint: Option<String>) -> StoryError {
        StoryError {
            line: self.number,
            column: word.column,
            width: word.width,
            // Words are quoted in problems, and words are the user's: nothing may steer a terminal.
            problem: problem.chars().filter(|c| !c.is_control()).collect(),
            hint,
            snippet: lex::snippet(self.line),
        }
    }
}

/// The arguments of one line, each with the word that gave it.
pub(super) struct Args {
    positional: Vec<Word>,
    pub(super) named: BTreeMap<&'static str, Word>,
    pub(super) pairs: Vec<Word>,
    head: Word,
}

impl Args {
    fn collect(at: &At<'_>, head: &Word, verb: &'static Verb, words: &[Word]) -> Result<Self, StoryError> {
        let usage = || Some(format!("usage: {}", verb.syntax()));
        let mut args =
            Self { positional: Vec::new(), named: BTreeMap::new(), pairs: Vec::new(), head: head.clone() };
        let repeats = verb.positional.last().is_some_and(|p| p.ty == Type::Requirement);
        let pairs = verb.named.iter().any(|p| p.ty == Type::Pairs);
        for word in words {
            match &word.key {
                Some(key) => match verb.named.iter().find(|p| p.name == key && p.ty != Type::Pairs) {
                    Some(param) => {
                        check(at, word, param)?;
                        if args.named.insert(param.name, word.clone()).is_some() {
                            return Err(at.error(word, &format!("`{key}` is given twice"), usage()));
                        }
                    }
                    None if pairs => {
                        if args.pairs.iter().any(|w| w.key.as_deref() == Some(key)) {
                            return Err(at.error(word, &format!("`{key}` is given twice"), usage()));
                        }
                        args.pairs.push(word.clone());
                    }
                    None => return Err(at.error(word, &format!("`{}` has no `{key}`", verb.name), usage())),
                },
                None => {
                    let index = args.positional.len();
                    let param = match verb.positional.get(index) {
                        Some(param) => param,
                        None if repeats => &verb.positional[verb.positional.len() - 1],
                        None => {
                            let problem = format!("`{}` takes no further word", verb.name);
                            return Err(at.error(word, &problem, usage()));
                        }
                    };
                    check(at, word, param)?;
                    args.positional.push(word.clone());
                }
            }
        }
        if let Some(missing) = verb.positional.get(args.positional.len()) {
            return Err(at.error(head, &format!("`{}` needs {}", verb.name, missing.name), usage()));
        }
        if let Some(missing) = verb.named.iter().find(|p| p.required && !args.named.contains_key(p.name)) {
            return Err(at.error(head, &format!("`{}` needs {}=", verb.name, missing.name), usage()));
        }
        Ok(args)
    }

    /// A positional word; the verb where there is none.
    pub(super) fn word(&self, index: usize) -> &Word {
        self.positional.get(index).unwrap_or(&self.head)
    }

    fn text(&self, index: usize) -> &str {
        self.positional.get(index).map_or("", |w| &w.text)
    }

    fn value<T: std::str::FromStr>(
        &self,
        at: &At<'_>,
        word: Option<&Word>,
        what: &str,
    ) -> Result<T, StoryError> {
        let word = word.unwrap_or(&self.head);
        word.text.parse().map_err(|_| at.error(word, &format!("`{}` is not {what}", word.text), None))
    }

    fn pos<T: std::str::FromStr>(&self, at: &At<'_>, index: usize, what: &str) -> Result<T, StoryError> {
        self.value(at, self.positional.get(index), what)
    }

    pub(super) fn key<T: std::str::FromStr>(
        &self,
        at: &At<'_>,
        key: &str,
        what: &str,
    ) -> Result<Option<T>, StoryError> {
        self.named.get(key).map(|w| self.value(at, Some(w), what)).transpose()
    }

    fn size(&self, at: &At<'_>, key: &str) -> Result<Size, StoryError> {
        self.value(at, self.named.get(key), "a size")
    }

    /// An offset or length in whole blocks.
    pub(super) fn blocks(&self, at: &At<'_>, key: &str, least: u64) -> Result<Size, StoryError> {
        let size = self.size(at, key)?;
        let word = self.named.get(key).unwrap_or(&self.head);
        if !size.0.is_multiple_of(512) || size.0 < least {
            let hint = "offsets and lengths are whole blocks of 512B, lengths at least one".to_owned();
            return Err(at.error(
                word,
                &format!("`{}` is not a whole number of blocks", word.text),
                Some(hint),
            ));
        }
        Ok(size)
    }

    pub(super) fn pairs(&self) -> BTreeMap<String, String> {
        self.pairs.iter().filter_map(|w| Some((w.key.clone()?, w.text.clone()))).collect()
    }

    /// Whether the line is about the far array.
    pub(super) fn is_far(&self) -> bool {
        self.named.get("array").is_some_and(|w| w.text == "far")
    }

    pub(super) fn refused(&self) -> Option<Refused> {
        self.named.get("refused").and_then(|w| from_word(&w.text))
    }
}

/// An enum value by its kebab-case word; the table has checked that the word is one of them.
pub(super) fn from_word<T: serde::de::DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
}

fn check(at: &At<'_>, word: &Word, param: &Param) -> Result<(), StoryError> {
    let shown = |problem: String, hint: Option<String>| Err(at.error(word, &problem, hint));
    match param.ty {
        Type::Name => match word.text.parse::<Name>() {
            Ok(_) => Ok(()),
            Err(hint) => shown(format!("`{}` is not a name", word.text), Some(hint)),
        },
        Type::Size | Type::Gib => match word.text.parse::<Size>() {
            Err(hint) => shown(format!("`{}` is not a size", word.text), Some(hint)),
            Ok(size) if param.ty == Type::Gib && size.whole_gib().is_none() => shown(
                format!("`{}` is not whole GiB", word.text),
                Some("volumes and pools are sized in whole GiB, as Cinder does; write 1GiB or more".into()),
            ),
            Ok(_) => Ok(()),
        },
        Type::Count => match word.text.parse::<u64>() {
            Ok(n) if n <= 1_000_000 => Ok(()),
            _ => shown(format!("`{}` is not a whole number up to 1000000", word.text), None),
        },
        Type::Integer => match word.text.parse::<i64>() {
            Ok(n) if n.unsigned_abs() < 1_000_000_000_000_000_000 => Ok(()),
            _ => shown(format!("`{}` is not a whole number of at most 18 digits", word.text), None),
        },
        Type::Word(words) if words.contains(&word.text.as_str()) => Ok(()),
        Type::Word(words) => {
            shown(format!("`{}` is not known here", word.text), Some(format!("one of: {}", words.join(", "))))
        }
        Type::Requirement => {
            let mut parts = word.text.splitn(2, '-');
            let (group, number) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let ok = group.len() == 3
                && group.chars().all(|c| c.is_ascii_uppercase())
                && number.len() == 3
                && number.chars().all(|c| c.is_ascii_digit());
            if ok {
                Ok(())
            } else {
                shown(
                    format!("`{}` is not a requirement id", word.text),
                    Some("such as CLN-002; see `sanbench list requirements`".into()),
                )
            }
        }
        Type::Text if word.text.is_empty() || word.text.chars().any(char::is_control) => {
            shown("text is empty or has control characters".into(), None)
        }
        Type::Text | Type::Pairs => Ok(()),
    }
}

/// Names made so far, so that a misspelt reference is found before anything runs.
#[derive(Default)]
pub(super) struct Names {
    made: BTreeMap<&'static str, BTreeSet<Name>>,
}

impl Names {
    /// A name that may be given again; the last one counts.
    pub(super) fn note(&mut self, kind: &'static str, name: &Name) {
        self.made.entry(kind).or_default().insert(name.clone());
    }

    pub(super) fn has(&self, kind: &str, name: &str) -> bool {
        self.made.get(kind).is_some_and(|made| made.iter().any(|known| known.as_str() == name))
    }

    fn make(&mut self, at: &At<'_>, kind: &'static str, word: &Word) -> Result<Name, StoryError> {
        let name: Name = word.text.parse().map_err(|hint| at.error(word, "not a name", Some(hint)))?;
        if !self.made.entry(kind).or_default().insert(name.clone()) {
            return Err(at.error(
                word,
                &format!("{kind} `{name}` exists already"),
                Some("choose another name".into()),
            ));
        }
        Ok(name)
    }

    fn known(&self, at: &At<'_>, kind: &'static str, word: &Word) -> Result<Name, StoryError> {
        let name: Name = word.text.parse().map_err(|hint| at.error(word, "not a name", Some(hint)))?;
        let empty = BTreeSet::new();
        let made = self.made.get(kind).unwrap_or(&empty);
        if made.contains(&name) {
            return Ok(name);
        }
        let known = made.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        let hint =
            if known.is_empty() { format!("no {kind} was made above") } else { format!("known: {known}") };
        Err(at.error(word, &format!("unknown {kind} `{name}`"), Some(hint)))
    }
}

fn header(
    at: &At<'_>,
    plan: &mut Plan,
    names: &mut Names,
    verb: &Verb,
    args: &Args,
) -> Result<(), StoryError> {
    let first = args.positional.first().unwrap_or(&args.head);
    let site = &mut plan.site;
    match verb.name {
        "story" => plan.title = args.text(0).to_owned(),
        "requires" => {
            for word in &args.positional {
                if plan.requires.contains(&word.text) {
                    return Err(at.error(word, &format!("{} is named twice", word.text), None));
                }
                plan.requires.push(word.text.clone());
            }
        }
        "option" => {
            let key = args.text(0).to_owned();
            if site.options.insert(key.clone(), args.text(1).to_owned()).is_some() {
                return Err(at.error(first, &format!("option `{key}` is set twice"), None));
            }
        }
        "pool" => {
            let name = names.make(at, "pool", first)?;
            if let Some(disks) = args.named.get("disks").and_then(|w| from_word(&w.text)) {
                site.disks.insert(name.clone(), disks);
            }
            site.pools.push((name, args.pos(at, 1, "a size")?));
        }
        "host" => {
            let paths = args.key(at, "paths", "a number")?.unwrap_or(1);
            if !(1..=2).contains(&paths) {
                let word = args.named.get("paths").unwrap_or(first);
                return Err(at.error(word, "a host has 1 or 2 paths", None));
            }
            site.hosts.push((names.make(at, "host", first)?, paths));
        }
        "schedule" => site.schedule = from_word(args.text(0)).unwrap_or_default(),
        "write-cache" => site.write_cache = args.text(0) == "on",
        "journal" => site.journal = args.text(0) == "on",
        "remote" => site.remote = true,
        "array" => {
            site.clones = args.key(at, "clones", "a number")?.or(site.clones);
            site.chain = args.key(at, "chain", "a number")?.or(site.chain);
            site.devices = args.key(at, "devices", "a number")?.or(site.devices);
            site.target_name = args.key(at, "target-name", "a number")?.or(site.target_name);
            if site.target_name.is_some_and(|bytes| !TARGET_NAME.contains(&bytes)) {
                return Err(at.error(first, "a target name has 100 to 223 bytes", None));
            }
            site.product = args.key(at, "product", "a version")?.or(site.product.take());
        }
        "tune" => {
            let tune = Tune {
                interfaces: args.key(at, "interfaces", "a number")?.unwrap_or(0),
                events: args.key(at, "events", "a number")?.unwrap_or(0),
                name_length: args.key(at, "name-length", "a number")?.unwrap_or(0),
                digests: args.key(at, "digests", "true or false")?.unwrap_or(false),
                burst: args.key(at, "burst", "a size")?.unwrap_or(Size(0)).0,
                solicited: args.key(at, "solicited", "true or false")?.unwrap_or(false),
            };
            if tune.burst > 0 && !(512..=8 << 20).contains(&tune.burst) {
                return Err(at.error(first, "a burst is of 512B to 8MiB", None));
            }
            if tune.interfaces > 8 || tune.name_length > 200 {
                return Err(at.error(first, "at most 8 interfaces and 200 characters", None));
            }
            site.tunes.insert(names.known(at, "host", first)?, tune);
        }
        "type" => site.types.push((names.make(at, "type", first)?, args.pairs())),
        "image" => {
            let kind = args
                .named
                .get("kind")
                .and_then(|w| from_word::<ImageKind>(&w.text))
                .unwrap_or(ImageKind::Sample);
            let size = args.key(at, "size", "a size")?.unwrap_or(Size(8 << 20));
            site.images.push((names.make(at, "image", first)?, kind, size));
        }
        _ => site.faults.push(fault(at, args)?),
    }
    Ok(())
}

fn fault(at: &At<'_>, args: &Args) -> Result<PlacedFault, StoryError> {
    let action = fault_action(at, args)?;
    let nth = args.key(at, "nth", "a number")?.unwrap_or(1);
    let masked = args.named.contains_key("masked");
    let most = args.key(at, "most", "a number")?;
    if let Some(word) = args.named.get("most")
        && (nth != 0 || most == Some(0))
    {
        let hint = "`nth=0` is every time; at least one is met".to_owned();
        return Err(at.error(word, "only what fails every time can be tried too often", Some(hint)));
    }
    Ok(PlacedFault { point: args.text(0).to_owned(), nth, action, masked, most })
}

/// What a placed fault does, and whether its point can do it.
fn fault_action(at: &At<'_>, args: &Args) -> Result<FaultAction, StoryError> {
    let head = &args.head;
    let wanted = args.named.get("do").unwrap_or(head);
    for (key, owner) in [("ms", "delay"), ("status", "http"), ("code", "code")] {
        if let Some(word) = args.named.get(key)
            && wanted.text != owner
        {
            return Err(at.error(word, &format!("`{key}` belongs to do={owner}"), None));
        }
    }
    let action = match wanted.text.as_str() {
        "delay" => FaultAction::Delay(args.key(at, "ms", "a number")?.unwrap_or(1000)),
        "http" => match args.key(at, "status", "an HTTP status")?.unwrap_or(503) {
            status @ 300..=599 => FaultAction::Http(status),
            status => {
                let word = args.named.get("status").unwrap_or(head);
                return Err(at.error(
                    word,
                    &format!("HTTP status {status} is no failure"),
                    Some("300 to 599".into()),
                ));
            }
        },
        "code" => match args.key(at, "code", "an error code")?.unwrap_or(1_077_949_006) {
            0 => {
                let word = args.named.get("code").unwrap_or(head);
                return Err(at.error(word, "code 0 is success", Some("any other number".into())));
            }
            code => FaultAction::Code(code),
        },
        plain => FaultAction::plain(plain).unwrap_or(FaultAction::Fail),
    };
    let point = args.text(0);
    for (is, whose, where_) in [
        (action.is_scsi(), "is done to a SCSI command", "target.command.before"),
        (action.is_of_message(), "happens between two steps of a workflow", "flow."),
        (action == FaultAction::Crash, "is for the volume service or a controller at work", "flow. or job."),
    ] {
        if is && !where_.split(" or ").any(|prefix| point.starts_with(prefix)) {
            let problem = format!("do={} {whose}: place it at {where_}", wanted.text);
            return Err(at.error(wanted, &problem, None));
        }
    }
    // What one array says to another may make no sense as well.
    let is_said = action == FaultAction::Garbage && point.starts_with("link.send:");
    if action.is_answer() && !point.starts_with("rest.") && !is_said {
        let hint = Some("fail, delay and drop-reply fit every point".to_owned());
        return Err(at.error(wanted, &format!("`{point}` gives no answer that could be wrong"), hint));
    }
    if action.alters_answer() && !point.starts_with("rest.after:") {
        let hint = Some("such as \"rest.after:GET lun\"".to_owned());
        return Err(at.error(
            wanted,
            &format!("do={} alters an answer: place it at rest.after:", wanted.text),
            hint,
        ));
    }
    Ok(action)
}

fn step(at: &At<'_>, names: &mut Names, verb: &Verb, args: &Args) -> Result<Step, StoryError> {
    let word = |index: usize| args.positional.get(index).unwrap_or(&args.head);
    let refused = args.refused();
    Ok(match verb.name {
        "create" => {
            let given = ["image", "snapshot", "volume"].map(|key| args.named.get(key));
            if let [.., Some(extra)] | [_, Some(extra), _] = given
                && given.iter().flatten().count() > 1
            {
                return Err(at.error(
                    extra,
                    "a volume has one source",
                    Some("image, snapshot or volume".into()),
                ));
            }
            let source = match given {
                [Some(image), ..] => Source::Image(names.known(at, "image", image)?),
                [_, Some(snapshot), _] => Source::Snapshot(names.known(at, "snapshot", snapshot)?),
                [.., Some(volume)] => Source::Volume(names.known(at, "volume", volume)?),
                _ => Source::Blank,
            };
            let volume_type = args.named.get("type").map(|w| names.known(at, "type", w)).transpose()?;
            let pool = args.key(at, "pool", "a name")?;
            // A volume whose creation is refused does not exist, so its name stays free.
            let volume = match refused {
                Some(_) => args.pos(at, 0, "a name")?,
                None => names.make(at, "volume", word(0))?,
            };
            Step::Create { volume, size: args.size(at, "size")?, volume_type, source, pool, refused }
        }
        "snapshot" => {
            let volume = names.known(at, "volume", word(1))?;
            let snapshot = match refused {
                Some(_) => args.pos(at, 0, "a name")?,
                None => names.make(at, "snapshot", word(0))?,
            };
            Step::Snapshot { snapshot, volume, refused }
        }
        "delete-snapshot" => {
            Step::DeleteSnapshot { snapshot: names.known(at, "snapshot", word(0))?, refused }
        }
        "put-back" => Step::PutBack { snapshot: names.known(at, "snapshot", word(0))?, refused },
        "restart" => Step::Restart { options: args.pairs() },
        "census" => Step::Census,
        "arm" => Step::Arm { fault: fault(at, args)? },
        "disarm" => Step::Disarm,
        "settle" => Step::Settle,
        "clean" => Step::Clean,
        "power-loss" => Step::PowerLoss,
        "fail-controller" => Step::FailController { controller: args.pos(at, 0, "a number")? },
        "restore-controller" => Step::RestoreController { controller: args.pos(at, 0, "a number")? },
        "reboot" => {
            let off = args.key(at, "off", "a number")?.unwrap_or(5);
            if !(1..=3600).contains(&off) {
                let word = args.named.get("off").unwrap_or(word(0));
                return Err(at.error(word, "a host is off for 1 to 3600 seconds", None));
            }
            Step::Reboot { host: names.known(at, "host", word(0))?, off }
        }
        "restart-initiator" => Step::RestartInitiator { host: names.known(at, "host", word(0))? },
        "disable-portal" => Step::Portal { portal: args.pos(at, 0, "a number")?, enabled: false },
        "enable-portal" => Step::Portal { portal: args.pos(at, 0, "a number")?, enabled: true },
        "wait" => Step::Wait { seconds: args.pos(at, 0, "a number")? },
        "cut-link" => Step::Link { up: false },
        "heal-link" => Step::Link { up: true },
        "fill" => Step::Fill { pool: args.pos(at, 0, "a name")?, leave: args.blocks(at, "leave", 0)? },
        "drain" => Step::Drain { pool: args.pos(at, 0, "a name")? },
        "spoil" => Step::Spoil {
            volume: names.known(at, "volume", word(0))?,
            at: args.blocks(at, "at", 0)?,
            how: args.named.get("how").and_then(|w| from_word(&w.text)).unwrap_or(Spoiled::Rot),
        },
        "out-of-space" => Step::OutOfSpace {
            what: from_word(args.text(0)).unwrap_or(Starved::Write),
            volume: names.known(at, "volume", word(1))?,
            at: args.blocks(at, "at", 0)?,
            length: args.blocks(at, "length", 512)?,
        },
        "repeat" => {
            let what = from_word::<Repeated>(args.text(0)).unwrap_or(Repeated::Create);
            let host = args.named.get("host").map(|w| names.known(at, "host", w)).transpose()?;
            if matches!(what, Repeated::Detach | Repeated::Connect) != host.is_some() {
                let why = "`repeat detach` and `repeat connect` need host=, the others take none";
                return Err(at.error(word(0), why, None));
            }
            Step::Repeat { what, volume: names.known(at, "volume", word(1))?, host }
        }
        "manage" => super::administer::manage(at, names, args)?,
        "inspect" => super::administer::inspect(at, names, args)?,
        // The name stays free: the volume is still to be made.
        "squat" => Step::Squat { volume: args.pos(at, 0, "a name")? },
        "cut" | "heal" | "slow" | "reset" | "half-open" => {
            let host = names.known(at, "host", word(0))?;
            let path = args.key(at, "path", "a number")?.unwrap_or(0);
            if path > 2 {
                return Err(at.error(
                    args.named.get("path").unwrap_or(word(0)),
                    "a host has 1 or 2 paths",
                    None,
                ));
            }
            let said = |key: &str| args.named.get(key).map_or("", |w| w.text.as_str());
            match verb.name {
                "cut" => Step::Cut { host, path, way: from_word(said("way")).unwrap_or_default() },
                "slow" => {
                    let loss = args.key(at, "loss", "a number")?.unwrap_or(0);
                    if loss > MOST_LOSS {
                        let word = args.named.get("loss").unwrap_or(word(0));
                        let why =
                            format!("at most {MOST_LOSS} of a hundred segments are lost; `cut` loses all");
                        return Err(at.error(word, &why, None));
                    }
                    Step::Slow {
                        host,
                        path,
                        ms: args.key(at, "ms", "a number")?.unwrap_or(0),
                        segment: args.key(at, "segment", "a number")?.unwrap_or(0),
                        loss,
                    }
                }
                "reset" => Step::Reset { host, path },
                "half-open" => {
                    Step::HalfOpen { host, path, side: from_word(said("side")).unwrap_or_default() }
                }
                _ => Step::Heal { host, path },
            }
        }
        _ => {
            let volume = names.known(at, "volume", word(0))?;
            let host = || names.known(at, "host", word(1));
            match verb.name {
                "attach" => Step::Attach { volume, host: host()?, refused },
                "detach" => {
                    Step::Detach { volume, host: host()?, force: args.named.contains_key("force"), refused }
                }
                "intrude" => Step::Intrude { volume, host: host()? },
                "revoke" => {
                    Step::Revoke { volume, host: host()?, everywhere: args.named.contains_key("everywhere") }
                }
                "reserve" => Step::Reserve { volume, host: host()? },
                "reserved" => Step::Reserved { volume, host: host()? },
                "unreserve" => Step::Unreserve { volume, host: host()? },
                "forge" => Step::Forge {
                    volume,
                    what: args.named.get("as").and_then(|w| from_word(&w.text)).unwrap_or(Forged::Qcow2),
                },
                "write" => Step::Write {
                    volume,
                    at: args.blocks(at, "at", 0)?,
                    length: args.blocks(at, "length", 512)?,
                },
                "unmap" => Step::Unmap {
                    volume,
                    at: args.blocks(at, "at", 0)?,
                    length: args.blocks(at, "length", 512)?,
                },
                "flush" => Step::Flush { volume },
                "reimage" => Step::Reimage {
                    volume,
                    image: names.known(at, "image", args.named.get("image").unwrap_or(&args.head))?,
                },
                "extend" => Step::Extend { volume, size: args.size(at, "size")?, refused },
                "flatten" => Step::Flatten { volume, refused },
                "delete" => Step::Delete { volume, refused },
                "depth" => Step::Depth { volume, depth: args.pos(at, 1, "a number")? },
                "scan" => Step::Scan { volume },
                "unlimit" => Step::Limit { volume, iops: 0 },
                "limit" => match args.key(at, "iops", "a number")?.unwrap_or(0) {
                    0 => {
                        let word = args.named.get("iops").unwrap_or(&args.head);
                        let hint = Some("`unlimit` takes a limit away".to_owned());
                        return Err(at.error(word, "a limit of 0 lets nothing through", hint));
                    }
                    iops => Step::Limit { volume, iops },
                },
                "verify" => Step::Verify { volume },
                _ => Step::Pair { volume, act: pair::act(at, verb, args)? },
            }
        }
    })
}

/// The verb that differs least, for "did you mean".
fn nearest_verb(word: &str) -> String {
    let word: String = word.chars().take(40).collect();
    let nearest = verbs::VERBS.iter().min_by_key(|v| edit_distance(&word, v.name));
    match nearest {
        Some(verb) if edit_distance(&word, verb.name) <= 2 => {
            format!("did you mean `{}`? usage: {}", verb.name, verb.syntax())
        }
        _ => format!("verbs: {}", verbs::VERBS.iter().map(|v| v.name).collect::<Vec<_>>().join(", ")),
    }
}

/// Edit distance in characters (Levenshtein), for "did you mean".
pub fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let next = (diagonal + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}
