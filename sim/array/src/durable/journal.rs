//! Taking what has changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tracked::to_json;
use super::{Medium, ObjectChange, Places, Shelf};
use crate::access::Plant;
use crate::pair::Mirror;
use crate::reach::Reach;
use crate::store::Content;
use crate::store::content::Layer;
use crate::store::map::{Leaf, Mid, Root, Slot};
use crate::store::mark::Gone;
use crate::{Array, Command, Refusal};

/// Planted defects of the journal. The default is a correct one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalDefects {
    /// A leaf of the extent map that gets an extent in place of another one is not written again.
    pub map_update_forgotten: bool,
    /// After a restart ids and WWNs go on from the highest that is in use, not from the highest ever given.
    pub counters_go_back: bool,
}

/// What an array with a journal remembers for it.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) medium: Arc<dyn Medium>,
    pub(crate) defects: JournalDefects,
    /// The array's time when this journal began: callers count from the start of their world.
    pub(crate) since: Duration,
    pub(crate) promises: u64,
    /// Numbers of nodes and extents given so far.
    pub(crate) last_number: u64,
    pub(crate) nodes_gone: Arc<Gone>,
    pub(crate) extents_gone: Arc<Gone>,
    pub(crate) layers_gone: Arc<Gone>,
    /// Layers made since the last taking.
    pub(crate) new_layers: Vec<u64>,
}

/// A node of an extent map: its children as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeChange {
    /// Its number.
    pub number: u64,
    /// 0 for leaves, whose children are extents.
    pub level: u8,
    /// Children in order: 0 for none, 1 for a hole that hides the parent (leaves only), else the number of a node or extent.
    pub children: Vec<u64>,
}

/// An extent: where its content is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtentChange {
    /// Its number.
    pub number: u64,
    /// Whose space it takes.
    pub counter: u64,
    /// Its pages on the medium.
    pub places: Places,
}

/// Everything that has changed since the changes were taken the last time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Promises that are kept once this is durable.
    pub promises: u64,
    /// Objects that are new, have changed or (without a value) are gone.
    pub objects: Vec<ObjectChange>,
    /// Nodes that are new or have changed.
    pub nodes: Vec<NodeChange>,
    /// Extents that are new or have changed.
    pub extents: Vec<ExtentChange>,
    /// Nodes that are gone. Numbers may be here that were never handed out.
    pub nodes_gone: Vec<u64>,
    /// Extents that are gone.
    pub extents_gone: Vec<u64>,
}

/// The array's state that is no object.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Core {
    pub(crate) serial: String,
    pub(crate) target_iqn: String,
    pub(crate) last_id: u64,
    pub(crate) last_wwn: u64,
    pub(crate) last_layer: u64,
    pub(crate) last_number: u64,
    pub(crate) power_generation: u64,
    pub(crate) pools: Vec<PoolForm>,
    pub(crate) plant: Plant,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PoolForm {
    pub(crate) name: String,
    pub(crate) capacity: u64,
    /// Numbers of the counters of deleted thick LUNs.
    pub(crate) orphans: Vec<u64>,
    #[serde(default)]
    pub(crate) threshold: Option<u8>,
}

/// Where content lies: that of LUN, layer and job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ContentForm {
    pub(crate) blocks: u64,
    pub(crate) root: u64,
    pub(crate) layer: Option<u64>,
}

/// Kinds of objects that are none of the shelves'.
pub(crate) const CORE: &str = "array";
/// How late it is: no reason for a commit by itself.
pub(crate) const CLOCK: &str = "clock";
pub(crate) const LUN_CONTENT: &str = "lun content";
pub(crate) const JOB_CONTENT: &str = "job content";
pub(crate) const LAYER: &str = "layer";
pub(crate) const SNAPSHOT_LAYER: &str = "snapshot layer";

impl Array {
    /// Every set of objects that is kept, by kind. The kinds are names on disk: they never change.
    pub(crate) fn shelves(&mut self) -> Vec<(&'static str, &mut dyn Shelf)> {
        // Exhaustive on purpose: whoever adds a field decides here whether it outlasts a restart.
        let Self {
            // In `Core`.
            serial: _,
            target_iqn: _,
            now: _,
            pools: _,
            plant: _,
            power_generation: _,
            last_id: _,
            last_wwn: _,
            last_layer: _,
            // From the configuration, each time.
            product: _,
            wwn_base: _,
            flatten_rate: _,
            copy_rate: _,
            port_base: _,
            defects: _,
            limits: _,
            portals: _,
            write_cache: _,
            cache_blocks: _,
            // Derived from objects, or of the moment.
            traffic: _,
            kin: _,
            path_views: _,
            events: _,
            scope: _,
            torn: _,
            job_watch: _,
            // With the content that they belong to.
            layers: _,
            luns,
            snapshots,
            lun_copies,
            clone_pairs,
            migrations,
            hosts,
            host_groups,
            lun_groups,
            port_groups,
            views,
            initiators,
            qos,
            partitions,
            vstores,
            ports_off,
            reach: Reach { exports, numbers, .. },
            jobs,
            mirror: Mirror { remotes, domains, groups, pairs, .. },
            // Itself.
            journal: _,
        } = self;
        vec![
            ("lun", luns),
            ("snapshot", snapshots),
            ("lun copy", lun_copies),
            ("clone pair", clone_pairs),
            ("migration", migrations),
            ("host", hosts),
            ("host group", host_groups),
            ("lun group", lun_groups),
            ("port group", port_groups),
            ("view", views),
            ("initiator", initiators),
            ("qos policy", qos),
            ("cache partition", partitions),
            ("vstore", vstores),
            ("port off", ports_off),
            ("export", exports),
            ("host lun ids", numbers),
            ("job", jobs),
            ("remote device", remotes),
            ("metro domain", domains),
            ("consistency group of pairs", groups),
            ("pair", pairs),
        ]
    }

    /// Gives the array a journal, before anything is written to it: content goes to the medium from now on.
    pub fn keep(&mut self, medium: Arc<dyn Medium>, defects: JournalDefects) {
        for pool in &mut self.pools {
            pool.medium = Some(Arc::clone(&medium));
        }
        self.journal = Some(Journal {
            medium,
            defects,
            since: self.now,
            promises: 0,
            last_number: 1, // 0 and 1 mean something else among a node's children
            nodes_gone: Arc::default(),
            extents_gone: Arc::default(),
            layers_gone: Arc::default(),
            new_layers: Vec::new(),
        });
        self.shelves().into_iter().for_each(|(_, shelf)| shelf.watch());
    }

    /// Promises made so far; always 0 without a journal. See [`Changes::promises`].
    pub fn promised(&self) -> u64 {
        self.journal.as_ref().map_or(0, |journal| journal.promises)
    }

    /// Takes over the time and the promises of the value that this one was made of, in the same world: there callers have
    /// counted from the start of it all along.
    pub(crate) fn go_on(&mut self, promises: u64) {
        if let Some(journal) = &mut self.journal {
            journal.since = Duration::ZERO;
            journal.promises += promises;
        }
    }

    /// Whether the array has a journal.
    pub fn is_kept(&self) -> bool {
        self.journal.is_some()
    }

    /// What happened last must be durable before it is acknowledged. The array says so by itself for commands and data; a
    /// target says it for what it changes through [`Array::reservations_mut`].
    pub fn promise(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.promises += 1;
        }
    }

    /// As [`Array::promise`] for a change that may stay volatile, unless so much is volatile already that whoever makes
    /// more has to wait.
    pub(crate) fn promise_if_congested(&mut self) {
        if let Some(journal) = &mut self.journal
            && journal.medium.is_congested()
        {
            journal.promises += 1;
        }
    }

    /// Refuses what makes an array grow whose medium is full.
    pub(crate) fn admit_change(&self, command: &Command) -> Result<(), Refusal> {
        match &self.journal {
            Some(journal) if journal.medium.room() == 0 && !command.shrinks() => Err(Refusal::PoolFull),
            _ => Ok(()),
        }
    }

    /// Takes what has changed since the last time. The keeper has to make all of it durable in one step, or nothing, and
    /// the pages that the medium was given before it as well. Without a journal there is nothing.
    pub fn take_changes(&mut self) -> Changes {
        let Some(mut journal) = self.journal.take() else { return Changes::default() };
        let mut out = Changes { promises: journal.promises, ..Changes::default() };
        self.keep_content(&mut journal, &mut out);
        let core = Core {
            serial: self.serial.clone(),
            target_iqn: self.target_iqn.clone(),
            last_id: self.last_id,
            last_wwn: self.last_wwn,
            last_layer: self.last_layer,
            last_number: journal.last_number,
            power_generation: self.power_generation,
            pools: self
                .pools
                .iter()
                .map(|pool| PoolForm {
                    name: pool.name.clone(),
                    capacity: pool.capacity,
                    orphans: pool.orphans.iter().map(|counter| counter.number).collect(),
                    threshold: pool.armed.then_some(pool.threshold),
                })
                .collect(),
            plant: self.plant.clone(),
        };
        out.objects.push(ObjectChange { kind: CORE, key: String::new(), value: Some(to_json(&core)) });
        out.objects.push(ObjectChange { kind: CLOCK, key: String::new(), value: Some(to_json(&self.now)) });
        out.nodes_gone = journal.nodes_gone.take();
        out.extents_gone = journal.extents_gone.take();
        for layer in journal.layers_gone.take() {
            out.objects.push(ObjectChange { kind: LAYER, key: layer.to_string(), value: None });
        }
        self.journal = Some(journal);
        for (kind, shelf) in self.shelves() {
            shelf.drain(kind, &mut out.objects);
        }
        out
    }

    /// Content that may have changed: that of LUNs, new layers and jobs. (A layer never changes, and its pages and nodes
    /// are kept with the LUN that they come from or with itself, whichever comes first.)
    fn keep_content(&mut self, journal: &mut Journal, out: &mut Changes) {
        let mut put = |kind, key: u64, value: Option<Vec<u8>>| {
            out.objects.push(ObjectChange { kind, key: key.to_string(), value });
        };
        let mut walk = Walk { journal, nodes: Vec::new(), extents: BTreeMap::new() };
        for id in std::mem::take(&mut walk.journal.new_layers) {
            // One that is gone already is held by nothing that is kept.
            let Some(layer) = self.layers.get(&id).and_then(std::sync::Weak::upgrade) else { continue };
            layer.mark.adopt(id, &walk.journal.layers_gone);
            put(LAYER, id, Some(to_json(&walk.content(&layer.content))));
        }
        for id in self.luns.touched() {
            let value = self.luns.get(id).map(|lun| to_json(&walk.content(&lun.content)));
            put(LUN_CONTENT, id, value);
        }
        for id in self.jobs.touched() {
            let source = self.jobs.get(id).and_then(|job| job.source());
            put(JOB_CONTENT, *id, source.map(|content| to_json(&walk.content(content))));
        }
        for id in self.snapshots.touched() {
            let layer = self.snapshots.get(id).and_then(|snapshot| snapshot.layer.as_ref());
            put(SNAPSHOT_LAYER, id, layer.map(|layer: &Arc<Layer>| to_json(&layer.id)));
        }
        out.nodes = walk.nodes;
        out.extents = walk.extents.into_values().collect();
    }
}

/// Writes down content: what of its map was touched, and where the map is.
struct Walk<'a> {
    journal: &'a mut Journal,
    nodes: Vec<NodeChange>,
    extents: BTreeMap<u64, ExtentChange>,
}

impl Walk<'_> {
    fn content(&mut self, content: &Content) -> ContentForm {
        ContentForm {
            blocks: content.blocks(),
            root: self.root(content.map().root()).0,
            layer: content.link().map(|layer| layer.id),
        }
    }

    fn root(&mut self, node: &Root) -> (u64, bool) {
        let mut changed = false;
        for at in node.take_touched() {
            if let Some(Some(child)) = node.slots.get(at) {
                changed |= self.mid(child).1;
            }
        }
        let (number, is_new) = node.mark.keep(&mut self.journal.last_number, &self.journal.nodes_gone);
        if node.take_reshaped() || changed || is_new {
            self.write(
                number,
                2,
                node.slots.iter().map(|child| child.as_ref().and_then(|c| c.mark.number())),
            );
        }
        (number, is_new)
    }

    fn mid(&mut self, node: &Mid) -> (u64, bool) {
        let mut changed = false;
        for at in node.take_touched() {
            if let Some(Some(child)) = node.slots.get(at) {
                changed |= self.leaf(child).1;
            }
        }
        let (number, is_new) = node.mark.keep(&mut self.journal.last_number, &self.journal.nodes_gone);
        if node.take_reshaped() || changed || is_new {
            self.write(
                number,
                1,
                node.slots.iter().map(|child| child.as_ref().and_then(|c| c.mark.number())),
            );
        }
        (number, is_new)
    }

    fn leaf(&mut self, node: &Leaf) -> (u64, bool) {
        for at in node.take_touched() {
            let Some(Slot::Data(extent)) = node.slots.get(at) else { continue };
            let (number, _) = extent.mark.keep(&mut self.journal.last_number, &self.journal.extents_gone);
            let places = *extent.body.places();
            self.extents
                .insert(number, ExtentChange { number, counter: extent.token.counter_number(), places });
        }
        let (number, is_new) = node.mark.keep(&mut self.journal.last_number, &self.journal.nodes_gone);
        let reshaped = node.take_reshaped() && !self.journal.defects.map_update_forgotten;
        if reshaped || is_new {
            self.write(
                number,
                0,
                node.slots.iter().map(|slot| match slot {
                    Slot::Absent => None,
                    Slot::Zero => Some(1),
                    Slot::Data(extent) => extent.mark.number(),
                }),
            );
        }
        (number, is_new)
    }

    fn write(&mut self, number: u64, level: u8, children: impl Iterator<Item = Option<u64>>) {
        let children = children.map(|child| child.unwrap_or(0)).collect();
        self.nodes.push(NodeChange { number, level, children });
    }
}
