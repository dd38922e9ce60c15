//! Plan to text, in the table's argument order. What the shrinker writes and `run` reads.

use std::fmt::Write as _;

use super::pair;
use super::value::Size;
use crate::plan::{FaultAction, PlacedFault, Plan, Schedule, Source, Step, Tune, Way};

/// The whole story as text; [`super::parse`] reads it back to an equal plan.
pub fn print(plan: &Plan) -> String {
    let mut out = format!("story {}\n", quoted(&plan.title, true));
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    for ids in plan.requires.chunks(10) {
        line(format!("requires {}", ids.join(" ")));
    }
    for (key, value) in &plan.site.options {
        line(format!("option {} {}", quoted(key, false), quoted(value, false)));
    }
    for (name, size) in &plan.site.pools {
        let disks = plan.site.disks.get(name).map(|disks| format!(" disks={}", word(disks)));
        line(format!("pool {name} {size}{}", disks.unwrap_or_default()));
    }
    if plan.site.write_cache {
        line("write-cache on".to_owned());
    }
    if plan.site.journal {
        line("journal on".to_owned());
    }
    if let Some(clones) = plan.site.clones {
        line(format!("array clones={clones}"));
    }
    if let Some(chain) = plan.site.chain {
        line(format!("array chain={chain}"));
    }
    if let Some(devices) = plan.site.devices {
        line(format!("array devices={devices}"));
    }
    if let Some(bytes) = plan.site.target_name {
        line(format!("array target-name={bytes}"));
    }
    if let Some(product) = &plan.site.product {
        line(format!("array product={}", quoted(product, false)));
    }
    if plan.site.remote {
        line("remote".to_owned());
    }
    if plan.site.schedule != Schedule::Fifo {
        line(format!("schedule {}", word(&plan.site.schedule)));
    }
    for (name, paths) in &plan.site.hosts {
        line(if *paths == 1 { format!("host {name}") } else { format!("host {name} paths={paths}") });
    }
    for (name, tune) in &plan.site.tunes {
        let Tune { interfaces, events, name_length, digests, burst, solicited } = tune;
        let mut text =
            format!("tune {name} interfaces={interfaces} events={events} name-length={name_length}");
        for (key, _) in [("digests", digests), ("solicited", solicited)].into_iter().filter(|(_, on)| **on) {
            text += &format!(" {key}=true");
        }
        if *burst > 0 {
            text += &format!(" burst={}", Size(*burst));
        }
        line(text);
    }
    for (name, specs) in &plan.site.types {
        line(format!("type {name}{}", pairs(specs)));
    }
    for (name, kind, size) in &plan.site.images {
        line(format!("image {name} kind={} size={size}", word(kind)));
    }
    for fault in &plan.site.faults {
        line(format!("fault {}", placed(fault)));
    }
    for step in &plan.steps {
        line(match &step.lane {
            Some(lane) => format!("@{lane} {}", print_step(step)),
            None => print_step(step),
        });
    }
    out
}

fn placed(fault: &PlacedFault) -> String {
    let action = match fault.action {
        FaultAction::Delay(ms) => format!("do=delay ms={ms}"),
        FaultAction::Http(status) => format!("do=http status={status}"),
        FaultAction::Code(code) => format!("do=code code={code}"),
        plain => format!("do={}", plain.words().map_or("fail", |(word, _)| word)),
    };
    let masked = if fault.masked { " masked=yes" } else { "" };
    let most = fault.most.map(|most| format!(" most={most}")).unwrap_or_default();
    format!("{} nth={} {action}{masked}{most}", quoted(&fault.point, false), fault.nth)
}

/// One step as a line without its end.
pub fn print_step(step: &Step) -> String {
    let (mut text, refused) = match step {
        Step::Create { volume, size, volume_type, source, pool, refused } => {
            let mut text = format!("create {volume} size={size}");
            if let Some(name) = volume_type {
                let _ = write!(text, " type={name}");
            }
            let _ = match source {
                Source::Blank => Ok(()),
                Source::Image(name) => write!(text, " image={name}"),
                Source::Snapshot(name) => write!(text, " snapshot={name}"),
                Source::Volume(name) => write!(text, " volume={name}"),
            };
            if let Some(name) = pool {
                let _ = write!(text, " pool={name}");
            }
            (text, refused)
        }
        Step::Attach { volume, host, refused } => (format!("attach {volume} {host}"), refused),
        Step::Write { volume, at, length } => (format!("write {volume} at={at} length={length}"), &None),
        Step::Unmap { volume, at, length } => (format!("unmap {volume} at={at} length={length}"), &None),
        Step::Flush { volume } => (format!("flush {volume}"), &None),
        Step::Extend { volume, size, refused } => (format!("extend {volume} size={size}"), refused),
        Step::Snapshot { snapshot, volume, refused } => (format!("snapshot {snapshot} {volume}"), refused),
        Step::Flatten { volume, refused } => (format!("flatten {volume}"), refused),
        Step::Detach { volume, host, force, refused } => {
            let force = if *force { " force=yes" } else { "" };
            (format!("detach {volume} {host}{force}"), refused)
        }
        Step::Delete { volume, refused } => (format!("delete {volume}"), refused),
        Step::DeleteSnapshot { snapshot, refused } => (format!("delete-snapshot {snapshot}"), refused),
        Step::PutBack { snapshot, refused } => (format!("put-back {snapshot}"), refused),
        Step::Restart { options } => (format!("restart{}", pairs(options)), &None),
        Step::Depth { volume, depth } => (format!("depth {volume} {depth}"), &None),
        Step::Intrude { volume, host } => (format!("intrude {volume} {host}"), &None),
        Step::Verify { volume } => (format!("verify {volume}"), &None),
        Step::Scan { volume } => (format!("scan {volume}"), &None),
        Step::Census => ("census".to_owned(), &None),
        Step::Reimage { volume, image } => (format!("reimage {volume} image={image}"), &None),
        Step::Repeat { what, volume, host } => {
            let host = host.as_ref().map(|h| format!(" host={h}")).unwrap_or_default();
            (format!("repeat {} {volume}{host}", word(what)), &None)
        }
        Step::Revoke { volume, host, everywhere } => {
            let everywhere = if *everywhere { " everywhere=yes" } else { "" };
            (format!("revoke {volume} {host}{everywhere}"), &None)
        }
        Step::Reserve { volume, host } => (format!("reserve {volume} {host}"), &None),
        Step::Reserved { volume, host } => (format!("reserved {volume} {host}"), &None),
        Step::Unreserve { volume, host } => (format!("unreserve {volume} {host}"), &None),
        Step::Forge { volume, what } => (format!("forge {volume} as={}", word(what)), &None),
        Step::Fill { pool, leave } => (format!("fill {pool} leave={leave}"), &None),
        Step::OutOfSpace { what, volume, at, length } => {
            (format!("out-of-space {} {volume} at={at} length={length}", word(what)), &None)
        }
        Step::Spoil { volume, at, how } => (format!("spoil {volume} at={at} how={}", word(how)), &None),
        Step::Drain { pool } => (format!("drain {pool}"), &None),
        Step::Manage { call, far, code, ours, remember, times, fields } => {
            let mut text = format!("manage {}{}", quoted(call, false), whose(*far, remember.as_ref()));
            if *code != 0 {
                let _ = write!(text, " code={code}");
            }
            if *ours {
                text += " ours=yes";
            }
            if let Some(times) = times {
                let _ = write!(text, " times={times}");
            }
            (text + &pairs(fields), &None)
        }
        Step::Inspect { path, far, count, remember, fields } => {
            let mut text = format!("inspect {}{}", quoted(path, false), whose(*far, remember.as_ref()));
            if let Some(count) = count {
                let _ = write!(text, " count={count}");
            }
            (text + &pairs(fields), &None)
        }
        Step::Squat { volume } => (format!("squat {volume}"), &None),
        Step::Clean => ("clean".to_owned(), &None),
        Step::PowerLoss => ("power-loss".to_owned(), &None),
        Step::FailController { controller } => (format!("fail-controller {controller}"), &None),
        Step::RestoreController { controller } => (format!("restore-controller {controller}"), &None),
        Step::Cut { host, path, way: Way::Both } => (format!("cut {host}{}", of_path(*path)), &None),
        Step::Cut { host, path, way } => (format!("cut {host}{} way={}", of_path(*path), word(way)), &None),
        Step::Slow { host, path, ms, segment, loss } => {
            let mut text = format!("slow {host}{} ms={ms}", of_path(*path));
            for (key, value) in [("segment", segment), ("loss", loss)] {
                if *value > 0 {
                    let _ = write!(text, " {key}={value}");
                }
            }
            (text, &None)
        }
        Step::Reboot { host, off } => (format!("reboot {host} off={off}"), &None),
        Step::RestartInitiator { host } => (format!("restart-initiator {host}"), &None),
        Step::Reset { host, path } => (format!("reset {host}{}", of_path(*path)), &None),
        Step::HalfOpen { host, path, side } => {
            (format!("half-open {host}{} side={}", of_path(*path), word(side)), &None)
        }
        Step::Heal { host, path } => (format!("heal {host}{}", of_path(*path)), &None),
        Step::Limit { volume, iops: 0 } => (format!("unlimit {volume}"), &None),
        Step::Limit { volume, iops } => (format!("limit {volume} iops={iops}"), &None),
        Step::Portal { portal, enabled: false } => (format!("disable-portal {portal}"), &None),
        Step::Portal { portal, enabled: true } => (format!("enable-portal {portal}"), &None),
        Step::Pair { volume, act } => pair::print(volume, act),
        Step::Link { up: false } => ("cut-link".to_owned(), &None),
        Step::Link { up: true } => ("heal-link".to_owned(), &None),
        Step::Wait { seconds } => (format!("wait {seconds}"), &None),
        Step::Arm { fault } => (format!("arm {}", placed(fault)), &None),
        Step::Disarm => ("disarm".to_owned(), &None),
        Step::Settle => ("settle".to_owned(), &None),
    };
    if let Some(refused) = refused {
        let _ = write!(text, " refused={}", word(refused));
    }
    text
}

/// Which array, and what the id is called.
fn whose(far: bool, remember: Option<&super::value::Name>) -> String {
    let array = if far { " array=far" } else { "" };
    remember.map_or_else(|| array.to_owned(), |name| format!("{array} as={name}"))
}

fn of_path(path: u64) -> String {
    if path == 0 { String::new() } else { format!(" path={path}") }
}

/// The kebab-case word of an enum value.
pub(super) fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn pairs(map: &std::collections::BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!(" {key}={}", quoted(value, false))).collect()
}

/// The text in quotes where the tokenizer needs them.
fn quoted(text: &str, always: bool) -> String {
    let plain = !always
        && !text.is_empty()
        && text.chars().all(|c| !c.is_whitespace() && !matches!(c, '"' | '\\' | '#' | '='));
    if plain {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
