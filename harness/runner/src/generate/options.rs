//! What one run is made of: a mask of features, weights, and a site with tiny limits.

use std::collections::BTreeMap;

use sanbench_world::{Dice, dice};

use super::Profile;
use super::nemesis::FaultKind;
use super::rare::{self, Rarity};
use super::workload::Kind;
use crate::plan::{ImageKind, Schedule, SitePlan};
use crate::story::{Name, Size};

/// One run's choices.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// Steps, groups counted by their members.
    pub(super) steps: u64,
    /// Weight of each kind of operation; kinds left out are not in it.
    pub(super) weights: BTreeMap<Kind, u64>,
    /// Lanes side by side.
    pub(super) lanes: bool,
    /// Steps that must be refused.
    pub(super) illegal: bool,
    /// Volumes at once.
    pub(super) volumes_max: usize,
    /// Largest volume.
    pub(super) gib_max: u64,
    /// Features that few runs have.
    pub(super) rarities: Vec<Rarity>,
    /// Nothing may be broken.
    pub(super) quiet: bool,
    seed: u64,
    hosts: u64,
    paths: Vec<u64>,
    images: bool,
    /// Volumes may come of cached images, as clones.
    pub(super) image_cache: bool,
    write_cache: bool,
    journal: bool,
    chap: bool,
    clone_limit: Option<u64>,
    flatten_from_snapshot: bool,
    pools: Pools,
    schedule: Schedule,
}

#[derive(Debug, Clone, Copy)]
enum Pools {
    Default,
    Tiny(u64),
    One(u64),
}

/// A name that is one by its making.
pub(super) fn name(text: &str) -> Name {
    text.parse().expect("generated names are a letter and digits")
}

impl Options {
    pub(super) fn draw(seed: u64, profile: &Profile) -> Self {
        let mut d = dice(seed, "swarm", "options");
        let half = |d: &mut Dice| d.chance(1, 2);
        let images = half(&mut d);
        let mut weights = BTreeMap::new();
        for kind in Kind::ALL {
            let weight = 1 + d.below(8);
            let on = half(&mut d);
            // Without these nothing would happen at all.
            let needed = matches!(kind, Kind::Create | Kind::Attach | Kind::Write);
            let asked = profile.operations.get(kind.word()).copied().unwrap_or(1);
            let weight = weight * if needed { asked.max(1) } else { asked };
            if weight > 0
                && (on || needed)
                && (images || !matches!(kind, Kind::CreateFromImage | Kind::Reimage))
            {
                weights.insert(*kind, weight);
            }
        }
        let hosts = 1 + d.below(3);
        let steps = match d.below(10) {
            0 => 40,
            1 | 2 => 24,
            n => 6 + n,
        };
        Self {
            steps,
            weights,
            lanes: half(&mut d),
            illegal: half(&mut d),
            volumes_max: [2, 3, 4, 6][d.below(4) as usize],
            gib_max: [1, 2, 3, 4][d.below(4) as usize],
            hosts,
            paths: (0..hosts).map(|_| 1 + d.below(2)).collect(),
            images,
            image_cache: images && d.chance(1, 4),
            write_cache: half(&mut d),
            chap: d.chance(1, 4),
            clone_limit: half(&mut d).then(|| [0, 1, 1, 2, 2, 3, 4][d.below(7) as usize]),
            flatten_from_snapshot: d.chance(1, 4),
            pools: match d.below(4) {
                0 => Pools::Tiny(2 + d.below(6)),
                1 => Pools::One(8 + d.below(56)),
                _ => Pools::Default,
            },
            schedule: [Schedule::Fifo, Schedule::Fifo, Schedule::Random, Schedule::Priorities]
                [d.below(4) as usize],
            journal: half(&mut d),
            rarities: rare::draw(seed, profile),
            quiet: profile.is_quiet(),
            seed,
        }
    }

    /// Images are not in both: the cache is filled behind the back of whoever runs beside it.
    pub(super) fn lanes_may_use_images(&self) -> bool {
        self.images && !self.image_cache
    }

    /// Everything that the site's lines do not tell: sizes, weights of operations, and those of the kinds of faults that are
    /// not left out.
    pub(super) fn title(&self, profile: &Profile, kinds: &[(&FaultKind, u64)]) -> String {
        let on = self.weights.iter().map(|(kind, weight)| format!("{}:{weight}", kind.word()));
        let extra = [("lanes", self.lanes), ("refusals", self.illegal)];
        let extra = extra.iter().filter(|(_, on)| *on).map(|(word, _)| *word);
        let extra = extra.chain(self.rarities.iter().map(|rarity| rarity.word())).map(str::to_owned);
        let words = on.chain(extra).collect::<Vec<_>>().join(" ");
        let kinds: Vec<String> =
            kinds.iter().map(|(kind, weight)| format!("{}:{weight}", kind.name)).collect();
        let kinds = if kinds.is_empty() { "none".to_owned() } else { kinds.join(" ") };
        let Self { steps, volumes_max, gib_max, .. } = self;
        let sizes = format!("steps {steps}, volumes {volumes_max}, GiB {gib_max}");
        format!("swarm, {sizes}, faults {}: {words}; kinds {kinds}", profile.name)
    }

    pub(super) fn site(&self) -> SitePlan {
        let mut site = SitePlan {
            write_cache: self.write_cache,
            journal: self.journal,
            schedule: self.schedule,
            ..SitePlan::default()
        };
        let mut option = |key: &str, value: String| {
            site.options.insert(key.to_owned(), value);
        };
        if let Some(limit) = self.clone_limit {
            option("tengling_max_clone_depth", limit.to_string());
        }
        if self.flatten_from_snapshot {
            option("tengling_flatten_volume_from_snapshot", "True".into());
        }
        if self.chap {
            option("use_chap_auth", "True".into());
            option("chap_username", "bench".into());
            option("chap_password", "Secret-12-chars!".into());
        }
        if self.image_cache {
            option("image_volume_cache_enabled", "True".into());
            option("image_volume_cache_max_count", "2".into());
        }
        match self.pools {
            Pools::Default => {}
            Pools::Tiny(gib) => {
                site.pools = vec![(name("pool0"), Size(gib << 30)), (name("pool1"), Size((gib + 1) << 30))];
            }
            Pools::One(gib) => site.pools = vec![(name("pool0"), Size(gib << 30))],
        }
        site.hosts =
            (1..=self.hosts).zip(&self.paths).map(|(n, paths)| (name(&format!("h{n}")), *paths)).collect();
        if self.images {
            site.images = vec![
                (name("small"), ImageKind::Sample, Size(1 << 20)),
                (name("plain"), ImageKind::Raw, Size(1 << 20)),
            ];
        }
        rare::furnish(self.seed, &self.rarities, &mut site);
        offers(self.seed, &mut site);
        site
    }
}

/// Hosts whose sessions are negotiated otherwise than by default: Cinder has no such options, an administrator sets them on the
/// host (`iscsid.conf`). Dice of their own, so that nothing else of a plan depends on them.
fn offers(seed: u64, site: &mut SitePlan) {
    let mut d = dice(seed, "swarm", "session keys");
    if !d.chance(1, 3) {
        return;
    }
    for (host, _) in &site.hosts {
        let (digests, solicited) = (d.chance(1, 2), d.chance(1, 3));
        let burst = [0, 0, 8 << 10, 64 << 10][d.below(4) as usize];
        if digests || solicited || burst > 0 {
            let tune = site.tunes.entry(host.clone()).or_default();
            (tune.digests, tune.solicited, tune.burst) = (digests, solicited, burst);
        }
    }
}
