//! The one table of verbs.

use super::{header, pair};
use crate::plan::FaultAction;

/// What an argument may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A symbolic name.
    Name,
    /// A size or offset in bytes with a binary unit.
    Size,
    /// A size that must be whole GiB (Cinder sizes volumes so).
    Gib,
    /// A whole number.
    Count,
    /// A whole number that may be negative.
    Integer,
    /// Any text; quoted when it has spaces.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A requirement id such as `CLN-002`; the last positional may repeat.
    Requirement,
    /// A repeated `key=value` (extra specs, options).
    Pairs,
}

/// One argument of a verb.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Its name: the key for named arguments, a placeholder for positional ones.
    pub name: &'static str,
    /// Its type.
    pub ty: Type,
    /// Must be given.
    pub required: bool,
    /// One line of help.
    pub help: &'static str,
}

/// Where a verb may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before the first step: describes the site and the story.
    Header,
    /// A step of the plan.
    Step,
}

/// One verb.
#[derive(Debug, Clone, Copy)]
pub struct Verb {
    /// The word that starts the line.
    pub name: &'static str,
    /// Where it may stand.
    pub place: Place,
    /// Arguments by position.
    pub positional: &'static [Param],
    /// Arguments by key.
    pub named: &'static [Param],
    /// One line of help.
    pub help: &'static str,
    /// A worked example.
    pub example: &'static str,
}

/// Refusals that a step may expect (`refused=`): the step must fail with exactly this and change nothing.
pub const REFUSALS: &[&str] = &[
    "busy",
    "invalid",
    "no-space",
    "no-backend",
    "unsafe-image",
    "quota",
    "state",
    "exists",
    "limit",
    "io",
    "job",
];

/// Actions of a placed fault.
pub const FAULTS: &[&str] = &{
    let mut words = [""; FaultAction::PLAIN.len() + FaultAction::NUMBERED.len()];
    let mut i = 0;
    while i < words.len() {
        words[i] = if i < FaultAction::PLAIN.len() {
            FaultAction::PLAIN[i].1
        } else {
            FaultAction::NUMBERED[i - FaultAction::PLAIN.len()]
        };
        i += 1;
    }
    words
};

pub(super) const fn pos(name: &'static str, ty: Type, help: &'static str) -> Param {
    Param { name, ty, required: true, help }
}

pub(super) const fn key(name: &'static str, ty: Type, required: bool, help: &'static str) -> Param {
    Param { name, ty, required, help }
}

pub(super) const REFUSED: Param =
    key("refused", Type::Word(REFUSALS), false, "the step must be refused so, and nothing may change");
pub(super) const FAULT: &[Param] = &[
    key("nth", Type::Count, false, "which occurrence, from 1 (default 1); 0 is every one"),
    key("do", Type::Word(FAULTS), true, "what happens there"),
    key("ms", Type::Count, false, "for delay: milliseconds (default 1000)"),
    key("status", Type::Count, false, "for http: the status, 300 to 599 (default 503)"),
    key("code", Type::Integer, false, "for code: the error code, not 0 (default 1077949006)"),
];
const MASKED: Param = key(
    "masked",
    Type::Word(&["yes"]),
    false,
    "yes: who meets it has to succeed all the same (default: it may fail)",
);
const MOST: Param = key(
    "most",
    Type::Count,
    false,
    "how often it may be met until it is disarmed, with pauses: more is no bounded back-off (default: not counted)",
);
/// Those of [`FAULT`], whether the fault excuses who meets it (one of the header excuses nobody), and how often it may be met.
const ARMED: &[Param] = &{
    let mut all = [MASKED; FAULT.len() + 2];
    all[FAULT.len() + 1] = MOST;
    let mut i = 0;
    while i < FAULT.len() {
        all[i] = FAULT[i];
        i += 1;
    }
    all
};
pub(super) const VOLUME: Param = pos("VOLUME", Type::Name, "a volume");
const PATH: Param = key("path", Type::Count, false, "which path, from 1 (default: all)");
const PORTAL: Param = pos("N", Type::Count, "portal, from 1; path n leads to portal n");
const ARRAY: Param =
    key("array", Type::Word(&["near", "far"]), false, "which array, where there are two (default near)");
pub(super) const HOST: Param = pos("HOST", Type::Name, "a compute host");

/// Every verb, header verbs first, in the order in which `explain` lists them.
pub const VERBS: &[Verb] = &{
    const HEAD: usize = header::VERBS.len();
    const ONE: usize = HEAD + ONE_ARRAY.len();
    let mut all = [ONE_ARRAY[0]; ONE + pair::VERBS.len()];
    let mut i = 0;
    while i < all.len() {
        all[i] = match i {
            _ if i < HEAD => header::VERBS[i],
            _ if i < ONE => ONE_ARRAY[i - HEAD],
            _ => pair::VERBS[i - ONE],
        };
        i += 1;
    }
    all
};

/// The steps that are not about two arrays.
const ONE_ARRAY: &[Verb] = &[
    Verb {
        name: "create",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[
            key("size", Type::Gib, true, "size in whole GiB"),
            key("type", Type::Name, false, "volume type"),
            key("image", Type::Name, false, "from this image"),
            key("snapshot", Type::Name, false, "from this snapshot"),
            key("volume", Type::Name, false, "as a clone of this volume"),
            key("pool", Type::Name, false, "it must land in this pool"),
            REFUSED,
        ],
        help: "Schedules and creates a volume, empty or from a source.",
        example: "create web size=2GiB image=small",
    },
    Verb {
        name: "attach",
        place: Place::Step,
        positional: &[VOLUME, HOST],
        named: &[REFUSED],
        help: "Attaches the volume to an instance on that host, over as many paths as the host has.",
        example: "attach web compute-1",
    },
    Verb {
        name: "write",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[
            key("at", Type::Size, true, "offset, a multiple of 512B"),
            key("length", Type::Size, true, "length, a multiple of 512B"),
        ],
        help: "Writes self-describing blocks through the attached host.",
        example: "write web at=1MiB length=64KiB",
    },
    Verb {
        name: "unmap",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[
            key("at", Type::Size, true, "offset, a multiple of 512B"),
            key("length", Type::Size, true, "length, a multiple of 512B"),
        ],
        help: "Tells the array that blocks are unused; they must read zero afterwards.",
        example: "unmap web at=1MiB length=4KiB",
    },
    Verb {
        name: "flush",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[],
        help: "Makes all writes durable (SYNCHRONIZE CACHE).",
        example: "flush web",
    },
    Verb {
        name: "extend",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[key("size", Type::Gib, true, "new absolute size"), REFUSED],
        help: "Extends the volume, attached or not; an attached host must learn the new size.",
        example: "extend web size=3GiB",
    },
    Verb {
        name: "snapshot",
        place: Place::Step,
        positional: &[pos("SNAPSHOT", Type::Name, "the new snapshot"), VOLUME],
        named: &[REFUSED],
        help: "Takes a snapshot.",
        example: "snapshot monday web",
    },
    Verb {
        name: "flatten",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[REFUSED],
        help: "Makes the volume independent of what it was cloned from.",
        example: "flatten web",
    },
    Verb {
        name: "detach",
        place: Place::Step,
        positional: &[VOLUME, HOST],
        named: &[
            key(
                "force",
                Type::Word(&["yes"]),
                false,
                "yes: nothing may be left on the host, whatever cannot be flushed any more",
            ),
            REFUSED,
        ],
        help: "Detaches the volume, guest first.",
        example: "detach web compute-1",
    },
    Verb {
        name: "delete",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[REFUSED],
        help: "Deletes the volume.",
        example: "delete web",
    },
    Verb {
        name: "delete-snapshot",
        place: Place::Step,
        positional: &[pos("SNAPSHOT", Type::Name, "a snapshot")],
        named: &[REFUSED],
        help: "Deletes the snapshot; volumes made from it must stay whole.",
        example: "delete-snapshot monday",
    },
    Verb {
        name: "put-back",
        place: Place::Step,
        positional: &[pos("SNAPSHOT", Type::Name, "a snapshot")],
        named: &[REFUSED],
        help: "Has the simulated array's own management put a volume back to this snapshot of it, and waits for the copying: what \
               was written since is gone, what an extend has added reads zero. Left out beside woven-in faults.",
        example: "put-back monday",
    },
    Verb {
        name: "restart",
        place: Place::Step,
        positional: &[],
        named: &[key("", Type::Pairs, false, "back-end options to change, as key=value")],
        help: "Restarts the volume service, with changed back-end options if given.",
        example: "restart tengling_max_clone_depth=1",
    },
    Verb {
        name: "depth",
        place: Place::Step,
        positional: &[VOLUME, pos("DEPTH", Type::Count, "parent links to the root")],
        named: &[],
        help: "Expects this clone depth on the array.",
        example: "depth web 0",
    },
    Verb {
        name: "intrude",
        place: Place::Step,
        positional: &[VOLUME, HOST],
        named: &[],
        help: "Lets another host try the volume's connection info; the array must not let it through.",
        example: "intrude web compute-2",
    },
    Verb {
        name: "verify",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[],
        help: "Reads back every block ever written, its neighbours, mapped ranges and a sample of holes.",
        example: "verify web",
    },
    Verb {
        name: "scan",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[],
        help: "Reads the whole volume, holes included.",
        example: "scan web",
    },
    Verb {
        name: "census",
        place: Place::Step,
        positional: &[],
        named: &[],
        help: "Compares array, database and hosts with what the model expects.",
        example: "census",
    },
    Verb {
        name: "reimage",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[key("image", Type::Name, true, "the image")],
        help: "Writes an image over the content of a detached volume; nothing old may show in its holes.",
        example: "reimage web image=small",
    },
    Verb {
        name: "clean",
        place: Place::Step,
        positional: &[],
        named: &[],
        help: "Loses the volume service with its database, and what the compute hosts have connected, for good; then removes from \
               the array what carries the tag of the run, as `sanbench clean` does. Nothing of the run may be left, and what \
               others have stays. The story goes on as at its beginning, with other names. Left out beside woven-in faults.",
        example: "clean",
    },
    Verb {
        name: "squat",
        place: Place::Step,
        positional: &[pos("VOLUME", Type::Name, "a volume that does not exist yet")],
        named: &[],
        help: "Makes an object of somebody else on the simulated array, under the name that this volume would get.",
        example: "squat web3",
    },
    Verb {
        name: "manage",
        place: Place::Step,
        positional: &[pos("CALL", Type::Text, "method and path, such as \"POST vstore\"")],
        named: &[
            ARRAY,
            key("as", Type::Name, false, "what the id in the (first) answer is called from now on"),
            key(
                "code",
                Type::Integer,
                false,
                "the error code that it must be answered with (default 0, success)",
            ),
            key(
                "ours",
                Type::Word(&["yes"]),
                false,
                "yes: it is as an earlier run of the driver left it, which uses and removes it from its next call on",
            ),
            key("times", Type::Count, false, "how often, one after another; `{n}` is then which time it is"),
            key("", Type::Pairs, false, "the body as key=value"),
        ],
        help: "Lets an administrator ask something of the simulated array, in its own dialect. In path and values `{name}` is an \
               id that got this name, or the id of that volume's or snapshot's object, or the initiator of that host; \
               `{volume:name}`, `{snapshot:name}` and `{host:name}` are what the objects must be called on the array: by the rule that all its \
               clients keep where there is one, else as the driver says. What is made so is somebody else's: it must stay as \
               it is until the administrator changes it. Left out beside woven-in faults.",
        example: "manage \"POST vstore\" NAME=tenant as=tenant",
    },
    Verb {
        name: "inspect",
        place: Place::Step,
        positional: &[pos("PATH", Type::Text, "objects, or one object, such as vstore/{tenant}")],
        named: &[
            ARRAY,
            key("as", Type::Name, false, "what the id of the first that fits is called from now on"),
            key("count", Type::Count, false, "how many must fit (default: at least one)"),
            key("", Type::Pairs, false, "what they must say, as key=value"),
        ],
        help: "Lets an administrator look whether the simulated array says what it must; names as in `manage`.",
        example: "inspect vstore/{tenant} NAME=tenant",
    },
    Verb {
        name: "repeat",
        place: Place::Step,
        positional: &[
            pos("CALL", Type::Word(&["create", "detach", "delete", "connect"]), "which call"),
            VOLUME,
        ],
        named: &[key("host", Type::Name, false, "for detach and connect: the host")],
        help: "Makes a call of the driver once more whose work is done; it must succeed and change nothing. `connect` is the \
               host's: a volume that it has is connected anew, and must show one size over all of its paths, or be refused \
               while a path of the host does not work.",
        example: "repeat create web",
    },
    Verb {
        name: "revoke",
        place: Place::Step,
        positional: &[VOLUME, HOST],
        named: &[key(
            "everywhere",
            Type::Word(&["yes"]),
            false,
            "yes: without saying from which host, from all",
        )],
        help: "Takes the volume's mapping away behind the host's back, as a user who deletes the attachment does.",
        example: "revoke web compute-1",
    },
    Verb {
        name: "reserve",
        place: Place::Step,
        positional: &[VOLUME, HOST],
        named: &[],
        help: "Lets a host register on all of its paths and take the volume's persistent reservation, with APTPL.",
        example: "reserve web compute-1",
    },
    Verb {
        name: "reserved",
        place: Place::Step,
        positional: &[VOLUME, HOST],
        named: &[],
        help: "Expects the host to hold the volume's persistent reservation, and its paths to be registered.",
        example: "reserved web compute-1",
    },
    Verb {
        name: "unreserve",
        place: Place::Step,
        positional: &[VOLUME, HOST],
        named: &[],
        help: "Lets the host give up its registrations, and the reservation with them.",
        example: "unreserve web compute-1",
    },
    Verb {
        name: "forge",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[key(
            "as",
            Type::Word(&["qcow2", "partitions"]),
            true,
            "an image header, or a partition table",
        )],
        help: "Lets the guest write content that means something to others; nobody but the guest may care.",
        example: "forge web as=qcow2",
    },
    Verb {
        name: "fill",
        place: Place::Step,
        positional: &[pos("POOL", Type::Name, "a pool")],
        named: &[key("leave", Type::Size, true, "what stays free")],
        help: "Lets somebody else fill a pool of the simulated array.",
        example: "fill pool0 leave=1MiB",
    },
    Verb {
        name: "out-of-space",
        place: Place::Step,
        positional: &[pos("CALL", Type::Word(&["write", "unmap"]), "which call"), VOLUME],
        named: &[
            key("at", Type::Size, true, "offset, a multiple of 512B"),
            key("length", Type::Size, true, "length, a multiple of 512B"),
        ],
        help: "Makes a call that needs space in a full pool: it must fail with SPACE ALLOCATION FAILED and change nothing.",
        example: "out-of-space write web at=1GiB length=1MiB",
    },
    Verb {
        name: "spoil",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[
            key("at", Type::Size, true, "offset, a multiple of 512B"),
            key(
                "how",
                Type::Word(&["rot", "torn", "misdirected"]),
                true,
                "a flipped bit, half a write, another page's content",
            ),
        ],
        help: "Has the disk of an array with a journal spoil what the attached volume has there: a read must fail with MEDIUM ERROR or give the right data. It is whole again afterwards.",
        example: "spoil web at=64KiB how=rot",
    },
    Verb {
        name: "drain",
        place: Place::Step,
        positional: &[pos("POOL", Type::Name, "a pool that was filled")],
        named: &[],
        help: "Takes away what filled a pool.",
        example: "drain pool0",
    },
    Verb {
        name: "power-loss",
        place: Place::Step,
        positional: &[],
        named: &[],
        help: "Takes the simulated array's power and gives it back; unflushed writes of a volatile cache may be gone.",
        example: "power-loss",
    },
    Verb {
        name: "fail-controller",
        place: Place::Step,
        positional: &[pos("N", Type::Count, "controller, from 0")],
        named: &[],
        help: "Fails a controller of the simulated array; its portals go, its LUNs move to another one.",
        example: "fail-controller 0",
    },
    Verb {
        name: "restore-controller",
        place: Place::Step,
        positional: &[pos("N", Type::Count, "controller, from 0")],
        named: &[],
        help: "Brings a failed controller back.",
        example: "restore-controller 0",
    },
    Verb {
        name: "limit",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[key("iops", Type::Count, true, "write commands a second, at least 1")],
        help: "Has the simulated array slow the writes of a volume down; it must not fail them, nor slow others down.",
        example: "limit web iops=4",
    },
    Verb {
        name: "unlimit",
        place: Place::Step,
        positional: &[VOLUME],
        named: &[],
        help: "Takes the limit of a volume away.",
        example: "unlimit web",
    },
    Verb {
        name: "disable-portal",
        place: Place::Step,
        positional: &[PORTAL],
        named: &[],
        help: "Switches a portal of the simulated array off: it must serve nobody, and no host may be sent there.",
        example: "disable-portal 2",
    },
    Verb {
        name: "enable-portal",
        place: Place::Step,
        positional: &[PORTAL],
        named: &[],
        help: "Switches a portal of the simulated array on again.",
        example: "enable-portal 2",
    },
    Verb {
        name: "cut",
        place: Place::Step,
        positional: &[HOST],
        named: &[
            PATH,
            key(
                "way",
                Type::Word(&["both", "to-array", "to-host"]),
                false,
                "which direction (default both): with one, requests arrive and answers do not, or the other way round",
            ),
        ],
        help: "Makes paths of a host swallow everything.",
        example: "cut compute-1 path=1 way=to-host",
    },
    Verb {
        name: "slow",
        place: Place::Step,
        positional: &[HOST],
        named: &[
            PATH,
            key("ms", Type::Count, true, "milliseconds that every segment takes longer, in each direction"),
            key(
                "segment",
                Type::Count,
                false,
                "bytes that one read gets at most (default: as many as there are)",
            ),
            key(
                "loss",
                Type::Count,
                false,
                "of a hundred segments so many are lost, 0 to 50 (default 0); each is sent again after 200 ms, then 400 ms, ...",
            ),
        ],
        help: "Makes paths of a host slow, cuts what they carry into small segments, or loses some; `heal` undoes it.",
        example: "slow compute-1 path=1 ms=200 segment=7",
    },
    Verb {
        name: "reset",
        place: Place::Step,
        positional: &[HOST],
        named: &[PATH],
        help: "Resets the connections over paths of a host: both ends see it, what was under way is lost.",
        example: "reset compute-1 path=1",
    },
    Verb {
        name: "half-open",
        place: Place::Step,
        positional: &[HOST],
        named: &[PATH, key("side", Type::Word(&["array", "host"]), false, "who forgets (default array)")],
        help: "Lets one side forget its connections over paths of a host; the other is reset when it sends next.",
        example: "half-open compute-1 path=1 side=host",
    },
    Verb {
        name: "reboot",
        place: Place::Step,
        positional: &[HOST],
        named: &[key("off", Type::Count, false, "seconds that it is off, 1 to 3600 (default 5)")],
        help: "Takes a host's power: the array hears nothing more of it. Once it is back, its guests get their disks again.",
        example: "reboot compute-1 off=60",
    },
    Verb {
        name: "restart-initiator",
        place: Place::Step,
        positional: &[HOST],
        named: &[],
        help: "Kills a host's initiator, with all sessions, and starts it again. The host lives on: the array sees connections end.",
        example: "restart-initiator compute-1",
    },
    Verb {
        name: "heal",
        place: Place::Step,
        positional: &[HOST],
        named: &[PATH],
        help: "Makes paths of a host work again, and fast; what they held arrives late.",
        example: "heal compute-1 path=1",
    },
    Verb {
        name: "wait",
        place: Place::Step,
        positional: &[pos("SECONDS", Type::Count, "seconds on the site's clock")],
        named: &[],
        help: "Lets time pass.",
        example: "wait 60",
    },
    Verb {
        name: "arm",
        place: Place::Step,
        positional: &[pos("POINT", Type::Text, "a fault point; a trailing * matches any ending")],
        named: ARMED,
        help: "Lets a fault wait for its point, counted from here. A step under which it fires may fail; it must then \
               fail as something that can be tried again.",
        example: "arm \"rest.after:DELETE lun\" do=drop-reply",
    },
    Verb {
        name: "disarm",
        place: Place::Step,
        positional: &[],
        named: &[],
        help: "Takes away all faults that have not fired, those of the header included.",
        example: "disarm",
    },
    Verb {
        name: "settle",
        place: Place::Step,
        positional: &[],
        named: &[],
        help: "Disarms, heals every outage, restarts what is down, tries again what failed, and looks at everything.",
        example: "settle",
    },
];

/// The verb of that name.
pub fn verb(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|v| v.name == name)
}

impl Verb {
    /// One-line syntax, such as `create VOLUME size=GIB [image=NAME]`.
    pub fn syntax(&self) -> String {
        let mut text = self.name.to_owned();
        for p in self.positional {
            let more = if p.ty == Type::Requirement { "..." } else { "" };
            text.push_str(&format!(" {}{more}", p.name));
        }
        for p in self.named {
            let value = match p.ty {
                Type::Pairs => "KEY=VALUE ...".to_owned(),
                Type::Word(words) => format!("{}={}", p.name, words.join("|")),
                Type::Name => format!("{}=NAME", p.name),
                Type::Size => format!("{}=SIZE", p.name),
                Type::Gib => format!("{}=GIB", p.name),
                Type::Count | Type::Integer => format!("{}=N", p.name),
                Type::Text | Type::Requirement => format!("{}=TEXT", p.name),
            };
            text.push_str(&if p.required { format!(" {value}") } else { format!(" [{value}]") });
        }
        text
    }
}

/// The whole language as a grammar in EBNF, made from the table; the committed copy is its definition for others.
pub fn grammar() -> String {
    let mut out = String::from(
        "(* The story language. One statement a line; `#` begins a comment. *)\n\
         story     = title , { header } , { [ lane ] , step } ;\n\
         lane      = \"@\" , name , space ;   (* lanes that follow each other run side by side; a step without waits *)\n\
         line      = word , { space , word } , newline ;\n\
         word      = text | key , \"=\" , text ;\n\
         text      = plain | '\"' , { character | '\\\"' | '\\\\' } , '\"' ;\n\
         name      = letter , { letter | digit | \"-\" | \"_\" } ;          (* at most 40 characters *)\n\
         size      = \"0\" | digits , ( \"B\" | \"KiB\" | \"MiB\" | \"GiB\" | \"TiB\" ) ;\n\
         gib       = size ;                                          (* whole GiB, at least one *)\n\
         count     = digits ;                                        (* at most 1000000 *)\n\
         integer   = [ \"-\" ] , digits ;                              (* at most 18 digits *)\n\
         id        = 3 * capital , \"-\" , 3 * digit ;\n\
         pair      = key , \"=\" , text ;\n\n",
    );
    for place in [Place::Header, Place::Step] {
        let (rule, title) = match place {
            Place::Header => ("header", "before the first step"),
            Place::Step => ("step", "in the order in which they are done; named arguments in any order"),
        };
        out.push_str(&format!("(* {title} *)\n"));
        let mut first = true;
        for verb in VERBS.iter().filter(|v| v.place == place) {
            let mark = if first { format!("{rule:<9} =") } else { "          |".to_owned() };
            first = false;
            let mut line = format!("{mark} \"{}\"", verb.name);
            for p in verb.positional {
                let repeat = if p.ty == Type::Requirement { " , { id }" } else { "" };
                line.push_str(&format!(" , {}{repeat}", symbol(p.ty)));
            }
            for p in verb.named {
                let value = match p.ty {
                    Type::Pairs => "{ pair }".to_owned(),
                    ty => format!("\"{}=\" , {}", p.name, symbol(ty)),
                };
                let optional = !p.required && p.ty != Type::Pairs;
                line.push_str(&if optional { format!(" , [ {value} ]") } else { format!(" , {value}") });
            }
            out.push_str(&line);
            out.push('\n');
        }
        out.push_str("          ;\n\n");
    }
    out
}

fn symbol(ty: Type) -> String {
    match ty {
        Type::Name => "name".into(),
        Type::Size => "size".into(),
        Type::Gib => "gib".into(),
        Type::Count => "count".into(),
        Type::Integer => "integer".into(),
        Type::Text => "text".into(),
        Type::Requirement => "id".into(),
        Type::Pairs => "{ pair }".into(),
        Type::Word(words) => {
            format!("( {} )", words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(" | "))
        }
    }
}
