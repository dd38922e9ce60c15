//! A step in plain words, for readers who do not know the story language.

use super::pair;
use crate::plan::{
    FaultAction, Forged, PlacedFault, Refused, Repeated, Side, Source, Spoiled, Starved, Step, Way,
};
use crate::story::Name;

/// The step as one sentence.
#[must_use]
pub fn plain(step: &Step) -> String {
    let (text, refused) = match step {
        Step::Create { volume, size, volume_type, source, pool, refused } => {
            let mut text = format!("Create volume {volume} of {size}");
            match source {
                Source::Blank => {}
                Source::Image(image) => text += &format!(" from image {image}"),
                Source::Snapshot(snapshot) => text += &format!(" from snapshot {snapshot}"),
                Source::Volume(from) => text += &format!(" as a clone of {from}"),
            }
            if let Some(name) = volume_type {
                text += &format!(", type {name}");
            }
            if let Some(name) = pool {
                text += &format!("; it must land in {name}");
            }
            (text, refused)
        }
        Step::Attach { volume, host, refused } => (format!("Attach {volume} to {host}"), refused),
        Step::Detach { volume, host, force, refused } => {
            let how = if *force { " by force" } else { "" };
            (format!("Detach {volume} from {host}{how}"), refused)
        }
        Step::Write { volume, at, length } => {
            (format!("Write {length} of stamped blocks at {at} of {volume}"), &None)
        }
        Step::Unmap { volume, at, length } => (format!("Unmap {length} at {at} of {volume}"), &None),
        Step::Flush { volume } => (format!("Flush {volume}"), &None),
        Step::Extend { volume, size, refused } => (format!("Extend {volume} to {size}"), refused),
        Step::Snapshot { snapshot, volume, refused } => {
            (format!("Take snapshot {snapshot} of {volume}"), refused)
        }
        Step::Flatten { volume, refused } => (format!("Flatten {volume}"), refused),
        Step::Delete { volume, refused } => (format!("Delete volume {volume}"), refused),
        Step::DeleteSnapshot { snapshot, refused } => (format!("Delete snapshot {snapshot}"), refused),
        Step::PutBack { snapshot, refused } => {
            (format!("An administrator has the array put the volume of {snapshot} back to it"), refused)
        }
        Step::Restart { options } if options.is_empty() => ("Restart the volume service".to_owned(), &None),
        Step::Restart { options } => {
            let all: Vec<String> = options.iter().map(|(k, v)| format!("{k} = {v}")).collect();
            (format!("Restart the volume service with {}", all.join(", ")), &None)
        }
        Step::Depth { volume, depth } => (format!("Look: {volume} must stand at clone depth {depth}"), &None),
        Step::Intrude { volume, host } => {
            (format!("Let {host}, which must not see {volume}, try to reach it"), &None)
        }
        Step::Verify { volume } => (format!("Read {volume} back where it was written, and around"), &None),
        Step::Scan { volume } => (format!("Read all of {volume} back"), &None),
        Step::Census => ("Compare array, database and hosts".to_owned(), &None),
        Step::Reimage { volume, image } => (format!("Write image {image} over {volume}"), &None),
        Step::Manage { call, far, code, ours, times, .. } => {
            let array = if *far { "far array" } else { "array" };
            let often = times.map(|times| format!(" {times} times")).unwrap_or_default();
            let earlier = if *ours { ", as an earlier run of the driver did" } else { "" };
            let text = format!("An administrator asks the {array}{often}{earlier}: {call}");
            (if *code == 0 { text } else { format!("{text}; this must be answered with code {code}") }, &None)
        }
        Step::Inspect { path, far, .. } => {
            let array = if *far { "far array" } else { "array" };
            (format!("An administrator looks at {path} of the {array}"), &None)
        }
        Step::Squat { volume } => {
            (format!("Somebody else makes a LUN with the name that {volume} would get"), &None)
        }
        Step::Repeat { what: Repeated::Create, volume, .. } => {
            (format!("Ask the driver once more to create {volume}, which exists"), &None)
        }
        Step::Repeat { what: Repeated::Delete, volume, .. } => {
            (format!("Ask the driver once more to delete {volume}, which is gone"), &None)
        }
        Step::Repeat { what: Repeated::Detach, volume, host } => {
            let from = host.as_ref().map(|host| format!(" from {host}")).unwrap_or_default();
            (format!("Ask the driver once more to detach {volume}{from}"), &None)
        }
        Step::Repeat { what: Repeated::Connect, volume, host } => {
            let on = host.as_ref().map(|host| format!(" {host}")).unwrap_or_default();
            (format!("Ask the host{on} once more to connect {volume}, which it has"), &None)
        }
        Step::Revoke { volume, host, everywhere } => {
            let from = if *everywhere { ", naming no host" } else { "" };
            (format!("Take the mapping of {volume} away behind the back of {host}{from}"), &None)
        }
        Step::Reserve { volume, host } => (format!("{host} reserves {volume} persistently"), &None),
        Step::Reserved { volume, host } => (format!("Look: {host} must still hold {volume}"), &None),
        Step::Unreserve { volume, host } => (format!("{host} gives its reservation of {volume} up"), &None),
        Step::Forge { volume, what: Forged::Qcow2 } => {
            (format!("The guest writes the header of a qcow2 image into {volume}"), &None)
        }
        Step::Forge { volume, what: Forged::Partitions } => {
            (format!("The guest writes a partition table into {volume}"), &None)
        }
        Step::Fill { pool, leave } => (format!("Somebody else fills pool {pool} and leaves {leave}"), &None),
        Step::OutOfSpace { what: Starved::Write, volume, at, length } => {
            (format!("Write {length} at {at} of {volume}; the full pool must refuse it"), &None)
        }
        Step::OutOfSpace { what: Starved::Unmap, volume, at, length } => {
            (format!("Unmap {length} at {at} of {volume}; the full pool must refuse it"), &None)
        }
        Step::Spoil { volume, at, how } => {
            let what = match how {
                Spoiled::Rot => "A bit flips on the array's disk",
                Spoiled::Torn => "Half a write has reached the array's disk",
                Spoiled::Misdirected => "Another page's content is on the array's disk",
            };
            (format!("{what} at {at} of {volume}; a read must say so"), &None)
        }
        Step::Drain { pool } => (format!("What filled pool {pool} is taken away"), &None),
        Step::Clean => (
            "The volume service is lost with its database, hosts lose their power, and what is left on the array is cleaned up"
                .to_owned(),
            &None,
        ),
        Step::PowerLoss => ("The array loses its power and gets it back".to_owned(), &None),
        Step::FailController { controller } => (format!("Controller {controller} of the array fails"), &None),
        Step::RestoreController { controller } => (format!("Controller {controller} comes back"), &None),
        Step::Cut { host, path, way } => {
            let way = match way {
                Way::Both => "",
                Way::ToArray => " for what the host sends",
                Way::ToHost => " for what the array sends",
            };
            match path {
                0 => (format!("All paths of {host} go dead{way}"), &None),
                path => (format!("Path {path} of {host} goes dead{way}"), &None),
            }
        }
        Step::Slow { host, path, ms, segment, loss } => {
            let crumbs = match segment {
                0 => String::new(),
                n => format!(", and what it carries comes in segments of {n} bytes"),
            };
            let losses = match loss {
                0 => String::new(),
                n => format!(", of a hundred segments {n} are lost and sent again"),
            };
            (
                format!(
                    "{} {ms} ms slower each way{crumbs}{losses}",
                    whose(host, *path, "become", "becomes")
                ),
                &None,
            )
        }
        Step::Reset { host, path } => {
            (format!("{} reset", whose(host, *path, "have their connections", "has its connection")), &None)
        }
        Step::RestartInitiator { host } => {
            (format!("The initiator of {host} is killed and started again"), &None)
        }
        Step::Reboot { host, off } => {
            (format!("{host} loses its power and starts again after {off} s"), &None)
        }
        Step::HalfOpen { host, path, side } => {
            let who = match side {
                Side::Array => "The array",
                Side::Host => "The host",
            };
            match path {
                0 => (format!("{who} forgets all connections of {host}"), &None),
                path => (format!("{who} forgets the connection over path {path} of {host}"), &None),
            }
        }
        Step::Heal { host, path: 0 } => (format!("All paths of {host} work again"), &None),
        Step::Heal { host, path } => (format!("Path {path} of {host} works again"), &None),
        Step::Limit { volume, iops: 0 } => (format!("The array no longer slows {volume} down"), &None),
        Step::Limit { volume, iops } => {
            (format!("The array lets {iops} writes a second through to {volume}"), &None)
        }
        Step::Portal { portal, enabled: false } => {
            (format!("Portal {portal} of the array is switched off"), &None)
        }
        Step::Portal { portal, enabled: true } => {
            (format!("Portal {portal} of the array is switched on again"), &None)
        }
        Step::Pair { volume, act } => pair::plain(volume, act),
        Step::Link { up: false } => ("The link between the two arrays goes dead".to_owned(), &None),
        Step::Link { up: true } => ("The link between the two arrays works again".to_owned(), &None),
        Step::Arm { fault } => (format!("From here on: {}", plain_fault(fault)), &None),
        Step::Disarm => ("Take away all faults that have not fired".to_owned(), &None),
        Step::Settle => ("Heal everything, try again what failed, and look at everything".to_owned(), &None),
        Step::Wait { seconds } => (format!("Wait {seconds} s"), &None),
    };
    match refused {
        None => text,
        Some(refused) => format!("{text}; this must be refused: {}", reason(*refused)),
    }
}

/// A placed fault as one sentence.
#[must_use]
pub fn plain_fault(fault: &PlacedFault) -> String {
    let when = match fault.nth {
        0 => "every time at".to_owned(),
        1 => "the first time at".to_owned(),
        n => format!("time {n} at"),
    };
    let what = match fault.action {
        FaultAction::Http(status) => format!("the answer is HTTP status {status}"),
        FaultAction::Code(code) => format!("the answer is error code {code}"),
        FaultAction::Delay(ms) => format!("it takes {ms} ms longer"),
        FaultAction::Crash if fault.is_of_job() => "the controller that works on it fails".to_owned(),
        plain => plain.words().map_or("", |(_, what)| what).to_owned(),
    };
    let most = match fault.most {
        None => String::new(),
        Some(most) => format!(", and nobody tries more often than {most} times, or without pauses"),
    };
    format!("{when} {}, {what}{most}", fault.point)
}

/// All paths of a host, or one, and what they do.
fn whose(host: &Name, path: u64, all: &str, one: &str) -> String {
    match path {
        0 => format!("All paths of {host} {all}"),
        path => format!("Path {path} of {host} {one}"),
    }
}

fn reason(refused: Refused) -> &'static str {
    match refused {
        Refused::Busy => "something depends on it",
        Refused::Invalid => "a parameter is out of range",
        Refused::NoSpace => "the pool is full",
        Refused::NoBackend => "no back end fits",
        Refused::UnsafeImage => "the image is unsafe",
        Refused::Quota => "the quota is used up",
        Refused::State => "its status forbids it",
        Refused::Exists => "the name is taken",
        Refused::Limit => "the array allows no more",
        Refused::Io => "the data path failed",
        Refused::Job => "the array's background work failed",
    }
}
