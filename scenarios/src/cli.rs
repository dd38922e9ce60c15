//! The command line, as values. What the words mean is in `commands`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A bench for SAN volume workflows.
#[derive(Debug, Parser)]
#[command(
    name = "sanbench",
    version,
    about = "Runs the whole life of SAN volumes against an array and judges what it sees",
    after_help = "Exit codes: 0 all required passed, 1 a requirement failed, 2 incomplete or unknown, 3 clean-up left\nobjects, 4 internal error, 64 refused before anything was created, 130 interrupted.\n\nExamples:\n  sanbench                            the default suite, in simulation\n  sanbench run clone-chain --seed 7   one story with a seed of your choice",
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// What to do; nothing means `run`.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run stories or suites and judge them
    Run(RunArgs),
    /// Run many seeds: generated plans, or stories with faults woven in
    Sweep(SweepArgs),
    /// Papers of finished runs: merge the shards of a sweep, render again
    #[command(subcommand)]
    Report(ReportCommand),
    /// List what exists: stories, suites, requirements, faults, defects, drivers
    List(ListArgs),
    /// Explain a requirement, story, suite, verb, fault point or defect
    Explain(ExplainArgs),
    /// Plant every known defect and see that it is caught
    Selftest(SelftestArgs),
    /// Run a recorded failure again
    Replay(ReplayArgs),
    /// The simulated array on its own
    #[command(subcommand)]
    Array(ArrayCommand),
    /// Remove what earlier runs left on an array, and nothing else
    Clean(CleanArgs),
    /// Say what this machine can run, what is missing and how to get it
    Doctor(DoctorArgs),
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people.
    Human,
    /// One JSON event a line.
    Json,
}

/// Options of `run`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  sanbench run --env loopback --report out\n  sanbench run my.story --image debian.qcow2 --pcap run.pcapng"
)]
pub(crate) struct RunArgs {
    /// Stories, suites, requirement ids or .story files; none means the default suite
    #[arg(value_name = "STORY|SUITE|REQUIREMENT")]
    pub(crate) targets: Vec<String>,
    /// Where to run: sim, loopback, or a profile file
    #[arg(long, default_value = "sim", value_name = "sim|loopback|PROFILE.toml")]
    pub(crate) env: String,
    /// The seed; every choice follows from it
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Cases for each story, each with its own choices
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) cases: u64,
    /// Faults woven in: none, light, default, heavy, or a profile file (stories place their own)
    #[arg(long, default_value = "none", value_name = "PROFILE")]
    pub(crate) faults: String,
    /// Plant this defect (see `list defects`); refused with a profile
    #[arg(long, value_name = "ID")]
    pub(crate) defect: Vec<String>,
    /// Use this raw or qcow2 file as the image `sample`
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
    /// Write report.json, junit.xml, report.html, report.md, failures and histories here
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// Write all iSCSI and management traffic as a capture
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
    /// Cases at once in sim and loopback (default: all cores; over loopback at least 16)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) jobs: Option<u64>,
    /// On a real clock, play also the stories of suites that take more than 5 s by their own words (in sim nothing is slow)
    #[arg(long)]
    pub(crate) slow: bool,
    /// Take only cases k with k mod N = I
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// Output on stdout
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
    /// Only failures and the verdict
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Print every step and the history of each case
    #[arg(long)]
    pub(crate) trace: bool,
    /// Seconds for shrinking the plans of failures, all together (default: 10 for people, off with --quiet or json)
    #[arg(long, value_name = "SECONDS|off")]
    pub(crate) shrink: Option<ShrinkTime>,
    /// Where journals, failures and state files live (default: $XDG_STATE_HOME/sanbench)
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// Options of `sweep`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "One of several: --shard I/N takes the seeds with (s-A) mod N = I; Slurm array tasks and Kubernetes indexed jobs\n(with SANBENCH_SHARDS) are recognised. `report merge` puts their reports together.\n\nExamples:\n  sanbench sweep --seeds 0..10000 --report out\n  sanbench sweep lifecycle clone-chain --seeds 0..1000 --faults heavy"
)]
pub(crate) struct SweepArgs {
    /// Stories or suites, `swarm` for generated plans (the default), or `exhaustive` for all short plans
    #[arg(value_name = "STORY|SUITE")]
    pub(crate) targets: Vec<String>,
    /// Seeds from A to B, B excluded
    #[arg(long, value_name = "A..B")]
    pub(crate) seeds: Option<Seeds>,
    /// Faults woven in: none, light, default, heavy, or a profile file
    #[arg(long, default_value = "default", value_name = "PROFILE")]
    pub(crate) faults: String,
    /// Plant this defect (see `list defects`)
    #[arg(long, value_name = "ID")]
    pub(crate) defect: Vec<String>,
    /// Operations of the plans of `exhaustive` (default: 3)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=4))]
    pub(crate) depth: Option<u64>,
    /// Of the plans of `exhaustive`, play only the one of this name, such as 11-lost-reply-2 or 40-crash-2-5
    #[arg(long, value_name = "NAME", conflicts_with_all = ["seeds", "depth", "shard"])]
    pub(crate) plan: Option<String>,
    /// Write the report, the first and the shortest failure of each kind, and what `report merge` needs here
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// Cases at once (default: all cores)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) jobs: Option<u64>,
    /// Take only the seeds s with (s-A) mod N = I
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// Output on stdout
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
    /// Only failures and the verdict
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Seconds for shrinking the plans of failures, all together (default: 10 for people, off with --quiet or json)
    #[arg(long, value_name = "SECONDS|off")]
    pub(crate) shrink: Option<ShrinkTime>,
    /// Where the failures of many sweeps are kept by signature (default: $XDG_STATE_HOME/sanbench)
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// `A..B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seeds {
    /// The first.
    pub(crate) from: u64,
    /// The one after the last.
    pub(crate) to: u64,
}

impl std::str::FromStr for Seeds {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match parsed {
            Some((from, to)) if from < to => Ok(Self { from, to }),
            _ => Err("write A..B with A < B, such as 0..1000; B is excluded".into()),
        }
    }
}

/// `--shrink`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShrinkTime {
    /// Plans stay as they are.
    Off,
    /// At most so long.
    Seconds(u64),
}

impl ShrinkTime {
    /// As a duration; nothing when off.
    pub(crate) fn duration(self) -> Option<std::time::Duration> {
        match self {
            Self::Off => None,
            Self::Seconds(seconds) => Some(std::time::Duration::from_secs(seconds)),
        }
    }
}

impl std::str::FromStr for ShrinkTime {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" | "0" => Ok(Self::Off),
            text => match text.parse() {
                Ok(seconds @ 1..=86_400) => Ok(Self::Seconds(seconds)),
                _ => Err("write a number of seconds up to 86400, or off".into()),
            },
        }
    }
}

/// Commands on reports.
#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// Put the shards of one sweep together: the report is that of the whole sweep
    Merge(MergeArgs),
    /// Make all renderings of a report again
    Render(RenderArgs),
    /// Print a fault profile that gives more weight to what a sweep has never met
    Steer(SteerArgs),
}

/// Options of `report steer`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sanbench report steer out > next.toml && sanbench sweep --seeds 0..10000 --faults next.toml\n  sanbench report steer out/report.json --faults heavy"
)]
pub(crate) struct SteerArgs {
    /// A report directory or a report.json of a sweep
    #[arg(value_name = "DIR|FILE")]
    pub(crate) source: PathBuf,
    /// The profile to begin with: light, default, heavy, or a profile file
    #[arg(long, default_value = "default", value_name = "PROFILE")]
    pub(crate) faults: String,
}

/// Options of `report merge`.
#[derive(Debug, Args)]
#[command(
    after_help = "A failure store that lies in the report directory of a shard, as `sweep --report out/0 --state out/0/state` puts\nit there, goes into the folder state of the merged report.\n\nExamples:\n  sanbench report merge out/0 out/1 out/2 --report out/all\n  sanbench report merge out/shard-* --report out/all"
)]
pub(crate) struct MergeArgs {
    /// Report directories of the shards
    #[arg(required = true, value_name = "DIR")]
    pub(crate) parts: Vec<PathBuf>,
    /// Where the merged report goes
    #[arg(long, value_name = "DIR")]
    pub(crate) report: PathBuf,
}

/// Options of `report render`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sanbench report render out\n  sanbench report render out/report.json --report again"
)]
pub(crate) struct RenderArgs {
    /// A report directory or a report.json
    pub(crate) source: PathBuf,
    /// Write HTML, JUnit, Markdown and JSON here
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
}

/// `I/N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Which, from 0.
    pub(crate) index: u64,
    /// Of how many.
    pub(crate) of: u64,
}

impl std::str::FromStr for Shard {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((index, of)) if index < of => Ok(Self { index, of }),
            _ => Err("write I/N with 0 <= I < N, such as 0/4".into()),
        }
    }
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sanbench list stories\n  sanbench list requirements --format json")]
pub(crate) struct ListArgs {
    /// What to list
    #[arg(value_enum)]
    pub(crate) what: Listing,
    /// Output on stdout
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// What `list` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listing {
    /// Stories.
    Stories,
    /// Suites.
    Suites,
    /// Requirements.
    Requirements,
    /// Fault points.
    Faults,
    /// Planted defects.
    Defects,
    /// Drivers.
    Drivers,
}

/// Options of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sanbench explain CLN-002\n  sanbench explain create")]
pub(crate) struct ExplainArgs {
    /// Requirement, story, suite, verb, fault point or defect
    pub(crate) id: String,
}

/// Options of `selftest`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 every defect caught, 1 a defect missed or a false alarm, 2 some defects cannot be planted yet,\n130 interrupted; the report then has what was done.\n\nExamples:\n  sanbench selftest --report out\n  sanbench selftest D17 D29 connector"
)]
pub(crate) struct SelftestArgs {
    /// Defects by switch or catalogue id, or the part that they live in; none means all
    #[arg(value_name = "DEFECT")]
    pub(crate) defects: Vec<String>,
    /// Look for each with random plans instead of its own story: for the night; goes on where it was interrupted
    #[arg(long)]
    pub(crate) swarm: bool,
    /// The seed; every choice follows from it
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Seeds that --swarm gives each defect
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) seeds: u64,
    /// Seconds for shrinking the plan that shows one defect (default: 2, with --swarm 20). A story is shrunk until it has 12
    /// steps, cases of the protocol chapters have none
    #[arg(long, value_name = "SECONDS|off")]
    pub(crate) shrink: Option<ShrinkTime>,
    /// Write report.json, report.html and the rest here
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// Runs at once (default: all cores)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) jobs: Option<u64>,
    /// Output on stdout
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
    /// Only what was missed, and the verdict
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Where --swarm keeps how far it is (default: $XDG_STATE_HOME/sanbench)
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// Options of `replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 1 the same failure again, 2 another outcome, 0 passed.\n\nExamples:\n  sanbench replay out/failures/clone-chain-0-1.json --trace\n  sanbench replay out/failures/clone-chain-0-1.json --shrink 60"
)]
pub(crate) struct ReplayArgs {
    /// A file from a report's failures folder
    pub(crate) failure: PathBuf,
    /// Where to run: sim, loopback, or a profile file (default: where it was found)
    #[arg(long)]
    pub(crate) env: Option<String>,
    /// How often to try outside sim
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) tries: u64,
    /// Tell the failing run step by step: events, calls, PDUs and blocks decoded
    #[arg(long)]
    pub(crate) trace: bool,
    /// Shrink the plan further for so many seconds, and write the file anew
    #[arg(long, value_name = "SECONDS")]
    pub(crate) shrink: Option<ShrinkTime>,
    /// Write the traffic as a capture
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
    /// Where journals and state files live
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// Commands on the simulated array.
#[derive(Debug, Subcommand)]
pub(crate) enum ArrayCommand {
    /// Serve a simulated array on real sockets until SIGINT or SIGTERM
    Serve(ServeArgs),
}

/// Options of `array serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Once ready it prints one JSON line on stdout: management URL, user, password, pools, portals, target and exports.\n\nExamples:\n  sanbench array serve --rest 127.0.0.1:8088 --iscsi 127.0.0.1:3260\n  sanbench array serve --rest 127.0.0.1:0 --iscsi 127.0.0.1:0 --export disk0=1GiB"
)]
pub(crate) struct ServeArgs {
    /// Management API address; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:0", env = "SANBENCH_ARRAY_REST")]
    pub(crate) rest: SocketAddr,
    /// iSCSI portal address; repeat for several; port 0 picks a free one
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:0", env = "SANBENCH_ARRAY_ISCSI")]
    pub(crate) iscsi: Vec<SocketAddr>,
    /// A pool (default: pool0 and pool1 of 1TiB each)
    #[arg(long, value_name = "NAME=SIZE", value_delimiter = ',', env = "SANBENCH_ARRAY_POOL")]
    pub(crate) pool: Vec<NamedSize>,
    /// A thin LUN that any initiator may use without CHAP
    #[arg(long, value_name = "NAME=SIZE", value_delimiter = ',', env = "SANBENCH_ARRAY_EXPORT")]
    pub(crate) export: Vec<NamedSize>,
    /// Keep the array in this directory, so that it outlasts the process: what is acknowledged is on the disk. Made when
    /// missing; its pools, serial number and target name stay what they are
    #[arg(long, value_name = "DIR", env = "SANBENCH_ARRAY_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// PRODUCTVERSION that the array answers
    #[arg(long, default_value = "V600R003C00", env = "SANBENCH_ARRAY_PRODUCT")]
    pub(crate) product: String,
    /// Management user
    #[arg(long, default_value = "admin", env = "SANBENCH_ARRAY_USER")]
    pub(crate) user: String,
    /// Management password (default: made up and printed in the ready line)
    #[arg(long, env = "SANBENCH_ARRAY_PASSWORD", hide_env_values = true)]
    pub(crate) password: Option<String>,
    /// Speak TLS on the management port with this certificate (PEM, chain included)
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "SANBENCH_ARRAY_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// and this private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "SANBENCH_ARRAY_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Or with a certificate made for the occasion; its authority is written to this file, for clients that check
    #[arg(long, value_name = "CA.pem", conflicts_with = "tls_cert", env = "SANBENCH_ARRAY_TLS_SELF_MADE")]
    pub(crate) tls_self_made: Option<PathBuf>,
    /// Open the /_ctl surface on the management address (loopback only)
    #[arg(long, env = "SANBENCH_ARRAY_CONTROL")]
    pub(crate) control: bool,
    /// Another array for HyperMetro and replication: its name, and where it listens for this one
    #[arg(long, value_name = "NAME=ADDR", value_delimiter = ',', env = "SANBENCH_ARRAY_REMOTE")]
    pub(crate) remote: Vec<NamedAddress>,
    /// Another array that dials this one: its name, and where to listen for it
    #[arg(long, value_name = "NAME=ADDR", value_delimiter = ',', env = "SANBENCH_ARRAY_REMOTE_LISTEN")]
    pub(crate) remote_listen: Vec<NamedAddress>,
    /// What both arrays of a link know and nobody else
    #[arg(long, value_name = "SECRET", env = "SANBENCH_ARRAY_LINK_SECRET", hide_env_values = true)]
    pub(crate) link_secret: Option<String>,
    /// Which of several arrays this is: they differ in serial number, port groups and ports
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=15), env = "SANBENCH_ARRAY_SITE")]
    pub(crate) site: u16,
    /// Seed of the array's own choices
    #[arg(long, default_value_t = 1, env = "SANBENCH_ARRAY_SEED")]
    pub(crate) seed: u64,
}

/// `NAME=ADDR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedAddress {
    /// Name.
    pub(crate) name: String,
    /// Address and port.
    pub(crate) address: SocketAddr,
}

impl std::str::FromStr for NamedAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text.split_once('=').ok_or("write NAME=ADDR, such as site-b=127.0.0.1:7000")?;
        let name: sanbench_runner::story::Name = name.parse()?;
        let address = address.parse().map_err(|_| format!("`{address}` is not an address with a port"))?;
        Ok(Self { name: name.to_string(), address })
    }
}

/// `NAME=SIZE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedSize {
    /// Name.
    pub(crate) name: String,
    /// Bytes.
    pub(crate) bytes: u64,
}

impl std::str::FromStr for NamedSize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, size) = text.split_once('=').ok_or("write NAME=SIZE, such as pool0=1TiB")?;
        let name: sanbench_runner::story::Name = name.parse()?;
        let size: sanbench_runner::story::Size = size.parse()?;
        if size.0 == 0 || !size.0.is_multiple_of(512) {
            return Err("a size is a positive multiple of 512B".into());
        }
        Ok(Self { name: name.to_string(), bytes: size.0 })
    }
}

/// Options of `clean`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sanbench clean --profile lab.toml\n  sanbench clean --cinder-conf cinder.conf --backend tldriver"
)]
pub(crate) struct CleanArgs {
    /// The profile that the runs used
    #[arg(
        long,
        value_name = "PROFILE.toml",
        required_unless_present = "cinder_conf",
        conflicts_with = "cinder_conf"
    )]
    pub(crate) profile: Option<PathBuf>,
    /// Or a cinder.conf
    #[arg(long, value_name = "FILE", requires = "backend")]
    pub(crate) cinder_conf: Option<PathBuf>,
    /// and its back-end section
    #[arg(long, value_name = "SECTION", requires = "cinder_conf")]
    pub(crate) backend: Option<String>,
    /// Where the journals are
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sanbench doctor\n  sanbench doctor --state /tmp/sanbench")]
pub(crate) struct DoctorArgs {
    /// The state folder to check
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_every_help_ends_with_examples() {
        let command = Cli::command();
        command.clone().debug_assert();
        fn examples(command: &clap::Command) {
            if command.get_subcommands().next().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                let examples = help.split("Examples:\n").last().unwrap_or_default().lines();
                let count = examples.filter(|l| l.starts_with("  sanbench ")).count();
                assert_eq!(count, 2, "the help of {} ends with two examples", command.get_name());
            }
            command.get_subcommands().for_each(examples);
        }
        examples(&command);
    }

    #[test]
    fn shards_and_sizes_are_checked() {
        assert_eq!("1/4".parse::<Shard>(), Ok(Shard { index: 1, of: 4 }));
        for bad in ["4/4", "", "1", "-1/2", "1/0", "a/b"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
        assert_eq!("disk0=1GiB".parse::<NamedSize>().map(|n| n.bytes), Ok(1 << 30));
        for bad in ["disk0", "disk0=0", "=1GiB", "disk0=100B"] {
            assert!(bad.parse::<NamedSize>().is_err(), "{bad}");
        }
    }
}
