//! What a `sanbench` command knows: drivers, stories, suites, planted defects. A vendor's command is ours with one
//! more driver.

use std::collections::BTreeMap;
use std::sync::Arc;

use sanbench_api::VolumeDriver;
pub use sanbench_check::census::Naming;
use sanbench_world::Env;

/// Builds a driver from the options of a back-end section.
///
/// Arguments: the node that the driver runs on, the options by key, the names of defects to plant in it.
pub type BuildDriver = fn(&Env, &BTreeMap<String, String>, &[String]) -> Result<Built, OptionError>;

/// A driver that was built, and what its options gave reason to warn about.
pub struct Built {
    /// The driver.
    pub driver: Arc<dyn VolumeDriver>,
    /// Management address for journal and report, without credentials.
    pub address: String,
    /// Warnings about options, such as unknown keys.
    pub warnings: Vec<String>,
    /// `max_clone_depth` in force, for the model; `None` when the driver promises no limit.
    pub max_clone_depth: Option<i64>,
    /// Volumes made from snapshots are flattened at once.
    pub flatten_from_snapshot: bool,
}

/// An option that the driver refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionError {
    /// The key.
    pub key: String,
    /// What is wrong, without the value of a secret.
    pub problem: String,
}

/// A driver.
#[derive(Clone, Copy)]
pub struct DriverEntry {
    /// The class that `volume_driver` names.
    pub class: &'static str,
    /// One line for `list drivers`.
    pub title: &'static str,
    /// Names of defects that may be planted in it, with catalogue id and description.
    pub defects: &'static [(&'static str, &'static str, &'static str)],
    /// Its constructor.
    pub build: BuildDriver,
    /// How all clients of its array name what they make there, where that is laid down: stories that need such a name do not ask the
    /// driver, which must keep the rule to find again what another version of it has made. None: it names things as it likes.
    pub naming: Option<&'static (dyn Naming + Sync)>,
}

/// A story that is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoryEntry {
    /// Name.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// A suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuiteEntry {
    /// Name.
    pub name: &'static str,
    /// One line.
    pub title: &'static str,
    /// Version of its requirement list.
    pub version: &'static str,
    /// Stories, and chapters of the protocol cases, in their order.
    pub stories: &'static [&'static str],
    /// The published list of required ids, one a line.
    pub requirements: &'static str,
    /// Every verification reads whole volumes.
    pub scan: bool,
}

/// Everything that a command knows.
#[derive(Clone)]
pub struct Registry {
    /// Drivers.
    pub drivers: Vec<DriverEntry>,
    /// Stories.
    pub stories: Vec<StoryEntry>,
    /// Suites.
    pub suites: Vec<SuiteEntry>,
}

macro_rules! stories {
    ($($name:literal),* $(,)?) => {
        &[$(StoryEntry { name: $name, text: include_str!(concat!("../stories/", $name, ".story")) }),*]
    };
}

/// The stories that sanbench carries, in the order of the default suite.
pub const STORIES: &[StoryEntry] = stories![
    "lifecycle",
    "images",
    "image-cache",
    "image-locks",
    "hostile-images",
    "scheduling",
    "masking",
    "chap",
    "two-paths",
    "extend",
    "unmap",
    "snapshots",
    "clone-chain",
    "snapshot-chain",
    "flatten-from-snapshot",
    "lower-limit",
    "silent-parents",
    "refusals",
    "lost-replies",
    "session-loss",
    "busy-array",
    "broken-answers",
    "newer-array",
    "blind-polls",
    "failed-creates",
    "forced-disconnect",
    "power-cut",
    "write-through",
    "journal-restart",
    "rotten-pages",
    "journal-write-through",
    "controller-failover",
    "path-loss",
    "patience",
    "paged-lists",
    "cleaned-up",
    "cleaned-up-copies",
    "cleaned-up-pairs",
    "one-way-paths",
    "broken-connections",
    "host-reboots",
    "initiator-restarts",
    "slow-paths",
    "lossy-paths",
    "busy-target",
    "unit-attentions",
    "service-crashes",
    "lun-reuse",
    "reimage",
    "foreign-name",
    "flatten-after-writes",
    "flatten-nothing",
    "flatten-unseen",
    "snapshot-series",
    "snapshot-restart",
    "clone-snapshot",
    "copy-of-clone",
    "small-writes",
    "dead-portals",
    "deleted-middle",
    "thin-accounting",
    "refused-extend",
    "attach-undone",
    "detach-undone",
    "partial-attach",
    "login-busy",
    "relogin",
    "image-flush",
    "image-cut",
    "slow-management",
    "allocated-after-failure",
    "half-deleted",
    "aborted-look",
    "refused-beside-others",
    "forgotten-probe",
    "quota-beside",
    "late-tidying",
    "twice-stopped",
    "clone-limit",
    "flatten-beside",
    "full-pool",
    "guest-header",
    "image-device-gone",
    "images-beside",
    "interfaces",
    "late-events",
    "long-names",
    "multi-attach",
    "offered-portals",
    "partitions",
    "queued-write",
    "repetitions",
    "reservation",
    "stale-device",
    "replica-after-link-loss",
    "slow-replica",
    "split-brain",
    "protected-secondary",
    "consistent-points",
    "mirrored-clone",
    "failed-flatten",
    "flatten-failover",
    "disabled-portal",
    "volume-limits",
    "messages",
    "busy-database",
    "stale-lists",
    "refused-commands",
    "type-words",
    "rescheduled",
    "disk-types",
    "management-addresses",
    "blind-copies",
    "array-beside",
    "old-product",
    "newer-product",
    "lost-activations",
    "moved-volume",
    "put-back",
    "sets-of-pairs",
    "failed-flush",
    "image-paths",
    "vanished",
    "blank-answers",
    "chain-limit",
    "large-volume",
    "journal-pools",
    "relogin-beside",
    "detached-everywhere",
    "live-device",
    "reservation-paths",
    "quotas",
    "reserved-part",
    "type-sizes",
    "words-that-hold",
    "cache-limits",
    "cache-eviction",
    "cache-off",
    "snapshot-before-extend",
    "clones-hold",
    "lost-requests",
    "guarded-teardown",
    "ended-everywhere",
    "busy-look",
    "map-of-one-path",
    "census-while-healing",
    "missing-pool",
    "alarms",
    "controller-that-works",
    "background-work",
    "metro-domain",
    "crossed-failure",
    "device-limit",
    "failed-attach-unreachable",
    "kinds-of-disks",
    "earlier-client",
    "target-names",
    "one-size",
    "forced-detach",
    "journal-pace",
    "put-back-grown",
    "nonsense-between-arrays",
    "lost-sets",
];

/// Chapters of the protocol cases. They are no stories: nobody writes them in the story language.
const PROTOCOL: &[&str] = &{
    let mut names = [""; sanbench_protocol::CHAPTERS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = sanbench_protocol::CHAPTERS[i].name;
        i += 1;
    }
    names
};

/// What the default suite plays: every story, then every chapter of the protocol cases.
const ALL: &[&str] = &{
    let mut names = [""; STORIES.len() + PROTOCOL.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = if i < STORIES.len() { STORIES[i].name } else { PROTOCOL[i - STORIES.len()] };
        i += 1;
    }
    names
};

const DEFAULT_LIST: &str = include_str!("../data/suite-default-5.txt");

impl Registry {
    /// What sanbench carries: the Tengling driver, the stories, the suites `default`, `extended` and `smoke`.
    pub fn builtin() -> Self {
        let suite = |name, title, stories, scan| SuiteEntry {
            name,
            title,
            version: "5",
            stories,
            requirements: if name == "smoke" { "" } else { DEFAULT_LIST },
            scan,
        };
        Self {
            drivers: vec![crate::compose::tengling_entry()],
            stories: STORIES.to_vec(),
            suites: vec![
                suite(
                    "default",
                    "Every story and every protocol case; what `run` does without a name",
                    ALL,
                    false,
                ),
                suite("extended", "The default suite with whole-volume scans", ALL, true),
                suite("smoke", "The main job alone", &["lifecycle"], false),
                SuiteEntry {
                    name: "protocol",
                    title: "iSCSI and SCSI conformance, PDU by PDU, with a raw client",
                    version: "1",
                    stories: PROTOCOL,
                    requirements: include_str!("../data/suite-protocol-1.txt"),
                    scan: false,
                },
            ],
        }
    }

    /// Adds a driver and makes it the one that is judged where no profile names another: in simulation and over loopback.
    #[must_use]
    pub fn with_default_driver(mut self, driver: DriverEntry) -> Self {
        self.drivers.insert(0, driver);
        self
    }

    /// Adds a driver.
    #[must_use]
    pub fn with_driver(mut self, driver: DriverEntry) -> Self {
        self.drivers.push(driver);
        self
    }

    /// Adds a story.
    #[must_use]
    pub fn with_story(mut self, story: StoryEntry) -> Self {
        self.stories.push(story);
        self
    }

    /// Adds a suite.
    #[must_use]
    pub fn with_suite(mut self, suite: SuiteEntry) -> Self {
        self.suites.push(suite);
        self
    }

    /// The driver that is judged in simulation and over loopback: the first, or the one in which these defects can be planted.
    pub(crate) fn judged(&self, planted: &[String]) -> Option<DriverEntry> {
        let can =
            |d: &&DriverEntry| planted.iter().any(|word| d.defects.iter().any(|(name, ..)| name == word));
        self.drivers.iter().find(can).or_else(|| self.drivers.first()).copied()
    }

    /// The driver of that class.
    pub fn driver(&self, class: &str) -> Option<&DriverEntry> {
        self.drivers.iter().find(|d| d.class == class)
    }

    /// The story of that name.
    pub fn story(&self, name: &str) -> Option<&StoryEntry> {
        self.stories.iter().find(|s| s.name == name)
    }

    /// The suite of that name.
    pub fn suite(&self, name: &str) -> Option<&SuiteEntry> {
        self.suites.iter().find(|s| s.name == name)
    }
}

impl SuiteEntry {
    /// The published list; empty means the union of what its stories name.
    pub fn required(&self) -> Vec<&'static str> {
        self.requirements.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect()
    }
}
