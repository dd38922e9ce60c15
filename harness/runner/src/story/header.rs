//! The verbs that describe the site of a story: pools, hosts, types, images, and what its array is like.

use super::verbs::{FAULT, HOST, Place, Type, Verb, key, pos};

/// Header verbs, in the order in which `explain` lists them.
pub(super) const VERBS: [Verb; 14] = [
    Verb {
        name: "story",
        place: Place::Header,
        positional: &[pos("TITLE", Type::Text, "one sentence")],
        named: &[],
        help: "Names the story; the first line.",
        example: "story \"A clone chain stops at the limit\"",
    },
    Verb {
        name: "requires",
        place: Place::Header,
        positional: &[pos("ID", Type::Requirement, "requirement ids that the story exercises")],
        named: &[],
        help: "Requirements that a failure of this story may break and its success upholds.",
        example: "requires CLN-001 CLN-002 FLT-001",
    },
    Verb {
        name: "option",
        place: Place::Header,
        positional: &[
            pos("KEY", Type::Text, "an option of the back-end section"),
            pos("VALUE", Type::Text, "its value"),
        ],
        named: &[],
        help: "Sets a back-end option before the volume service starts; `{default}` in the value is what it is without the \
               story.",
        example: "option tengling_max_clone_depth 2",
    },
    Verb {
        name: "pool",
        place: Place::Header,
        positional: &[pos("POOL", Type::Name, "pool name"), pos("SIZE", Type::Gib, "its capacity")],
        named: &[key(
            "disks",
            Type::Word(&["ssd", "sas", "nl-sas", "mix", "untold"]),
            false,
            "what disks the array says that it is made of (default ssd)",
        )],
        help: "Gives the simulated array this pool instead of the default two; an array of its own has its own pools.",
        example: "pool pool0 64GiB",
    },
    Verb {
        name: "host",
        place: Place::Header,
        positional: &[HOST],
        named: &[key("paths", Type::Count, false, "portals it uses: 1 or 2 (default 1)")],
        help: "Adds a compute host.",
        example: "host compute-1 paths=2",
    },
    Verb {
        name: "type",
        place: Place::Header,
        positional: &[pos("TYPE", Type::Name, "volume type")],
        named: &[key("", Type::Pairs, false, "extra specs as key=value")],
        help: "Adds a volume type with extra specs.",
        example: "type gold volume_backend_name=tldriver pool_name=pool1",
    },
    Verb {
        name: "image",
        place: Place::Header,
        positional: &[pos("IMAGE", Type::Name, "image name")],
        named: &[
            key(
                "kind",
                Type::Word(&[
                    "sample",
                    "raw",
                    "backing-file",
                    "data-file",
                    "truncated",
                    "absurd-size",
                    "mislabelled",
                    "iso",
                    "two-formats",
                    "foreign-extent",
                    "huge-table",
                    "short-table",
                ]),
                true,
                "what it is; hostile kinds must be refused",
            ),
            key("size", Type::Size, false, "virtual size (default 8MiB)"),
        ],
        help: "Adds an image; `sample` is what --image gives, or the one that sanbench makes.",
        example: "image small kind=sample",
    },
    Verb {
        name: "fault",
        place: Place::Header,
        positional: &[pos("POINT", Type::Text, "a fault point; a trailing * matches any ending")],
        named: FAULT,
        help: "Places a fault; the promise that must hold under it is the story's requirements. What begins with `rest.` \
               knows all answers of HTTP, `target.command.before` those of a device server, `flow.` and `job.` the crash; the first \
               three fit every point.",
        example: "fault \"rest.after:POST lun\" nth=1 do=drop-reply",
    },
    Verb {
        name: "write-cache",
        place: Place::Header,
        positional: &[pos(
            "STATE",
            Type::Word(&["on", "off"]),
            "on: acknowledged writes are volatile until flushed",
        )],
        named: &[],
        help: "Whether LUNs of the simulated array have a volatile write cache (default off).",
        example: "write-cache on",
    },
    Verb {
        name: "journal",
        place: Place::Header,
        positional: &[pos(
            "STATE",
            Type::Word(&["on", "off"]),
            "on: a power loss leaves what the array has committed",
        )],
        named: &[],
        help: "Whether the simulated array has a journal, answers only what is in it, and is made of it again behind a power \
               loss (default off).",
        example: "journal on",
    },
    Verb {
        name: "schedule",
        place: Place::Header,
        positional: &[pos(
            "ORDER",
            Type::Word(&["fifo", "random", "priorities"]),
            "first come first served; passed on by chance; by priorities that seldom change",
        )],
        named: &[],
        help: "In which order ready tasks of a simulated world run (default fifo); the seed chooses within it.",
        example: "schedule random",
    },
    Verb {
        name: "array",
        place: Place::Header,
        positional: &[],
        named: &[
            key("clones", Type::Count, false, "linked clones that it allows of one source"),
            key("chain", Type::Count, false, "linked clones that it allows one behind another"),
            key("devices", Type::Count, false, "LUNs and snapshots that it takes together"),
            key("target-name", Type::Count, false, "bytes of its longest target name, 100 to 223"),
            key(
                "product",
                Type::Text,
                false,
                "its version (default V600R003C00); others can do less or more",
            ),
        ],
        help: "Limits, names and version of the simulated array.",
        example: "array clones=2 product=V500R007C60",
    },
    Verb {
        name: "remote",
        place: Place::Header,
        positional: &[],
        named: &[],
        help: "Gives the site a second simulated array, linked to the first, for volumes that are mirrored.",
        example: "remote",
    },
    Verb {
        name: "tune",
        place: Place::Header,
        positional: &[HOST],
        named: &[
            key("interfaces", Type::Count, false, "sessions to every portal, 1 to 8 (default 1)"),
            key("events", Type::Count, false, "seconds by which device events come late (default 0)"),
            key("name-length", Type::Count, false, "characters of the host's name, up to 200"),
            key(
                "digests",
                Type::Word(&["true", "false"]),
                false,
                "prefer digests of headers and data (default false)",
            ),
            key("burst", Type::Size, false, "burst lengths that it offers, 512B to 8MiB (default: as it is)"),
            key("solicited", Type::Word(&["true", "false"]), false, "send no data unasked (default false)"),
        ],
        help: "Says what is unusual about a host.",
        example: "tune compute-1 interfaces=2 events=3",
    },
];
