//! The steps of an administrator, as they are read: what cannot be a call, and names that nothing has, are found here.

use std::collections::BTreeMap;

use super::error::StoryError;
use super::lex::Word;
use super::parse::{Args, At, Names};
use super::value::Name;
use crate::plan::Step;

/// What stands for the number of a call that is made several times.
pub(crate) const NUMBER: &str = "n";

/// Most times that one step makes a call.
const MOST_TIMES: u64 = 1_000;

/// What the management API knows.
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

/// `manage`.
pub(super) fn manage(at: &At<'_>, names: &mut Names, args: &Args) -> Result<Step, StoryError> {
    let call = args.word(0);
    let parts = call.text.split_once(' ').filter(|(method, path)| METHODS.contains(method) && is_path(path));
    if parts.is_none() {
        let hint = format!("one of {}, a space and a path, such as \"POST vstore\"", METHODS.join(", "));
        return Err(at.error(call, &format!("`{}` is no method and path", call.text), Some(hint)));
    }
    let times = args.key(at, "times", "a number")?;
    if let Some(word) = args.named.get("times")
        && times.is_none_or(|times: u64| !(1..=MOST_TIMES).contains(&times))
    {
        return Err(at.error(word, &format!("a call is made 1 to {MOST_TIMES} times"), None));
    }
    Ok(Step::Manage {
        call: call.text.clone(),
        far: args.is_far(),
        code: args.key(at, "code", "a number")?.unwrap_or(0),
        ours: args.named.contains_key("ours"),
        fields: fields(at, names, args, call)?,
        remember: remembered(at, names, args)?,
        times,
    })
}

/// `inspect`.
pub(super) fn inspect(at: &At<'_>, names: &mut Names, args: &Args) -> Result<Step, StoryError> {
    let path = args.word(0);
    if !is_path(&path.text) {
        let hint = "such as lun or lun/{web}".to_owned();
        return Err(at.error(path, &format!("`{}` is no path of objects", path.text), Some(hint)));
    }
    Ok(Step::Inspect {
        path: path.text.clone(),
        far: args.is_far(),
        count: args.key(at, "count", "a number")?,
        fields: fields(at, names, args, path)?,
        remember: remembered(at, names, args)?,
    })
}

/// Below the device id, without a way out of it.
fn is_path(path: &str) -> bool {
    let shown = path.bytes().all(|byte| byte.is_ascii_graphic());
    !path.is_empty() && shown && !path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

/// The values of the line; those and the path name only what there is.
fn fields(
    at: &At<'_>,
    names: &Names,
    args: &Args,
    path: &Word,
) -> Result<BTreeMap<String, String>, StoryError> {
    for word in args.pairs.iter().chain([path]) {
        let mut rest = word.text.as_str();
        while let Some((_, tail)) = rest.split_once('{') {
            let Some((name, tail)) = tail.split_once('}') else {
                return Err(at.error(word, "a `{` without its `}`", None));
            };
            let free = ["volume:", "snapshot:"].iter().any(|kind| name.starts_with(kind))
                || (name == NUMBER && args.named.contains_key("times"));
            let host = name.strip_prefix("host:").is_some_and(|name| names.has("host", name));
            if !free
                && !host
                && !["object", "volume", "snapshot", "host"].iter().any(|kind| names.has(kind, name))
            {
                let hint = "`as=` gives an id a name; volumes, snapshots and hosts have theirs".to_owned();
                return Err(at.error(word, &format!("nothing is called `{name}`"), Some(hint)));
            }
            rest = tail;
        }
    }
    Ok(args.pairs())
}

fn remembered(at: &At<'_>, names: &mut Names, args: &Args) -> Result<Option<Name>, StoryError> {
    let name: Option<Name> = args.key(at, "as", "a name")?;
    if let Some(name) = &name {
        names.note("object", name);
    }
    Ok(name)
}
