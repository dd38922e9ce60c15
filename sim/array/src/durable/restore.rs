//! An array from what was kept of one.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use thiserror::Error;

use super::journal::{CLOCK, CORE, ContentForm, Core, JOB_CONTENT, LAYER, LUN_CONTENT, SNAPSHOT_LAYER};
use super::tracked::from_json;
use super::{JournalDefects, Medium, Places};
use crate::array::wwn_base;
use crate::config::PoolConfig;
use crate::store::Layer;
use crate::store::extent::{Body, Extent, SpaceToken};
use crate::store::kept::Kept;
use crate::store::map::{Leaf, Map, Mid, Slot};
use crate::store::mark::{Gone, Mark, Node};
use crate::store::{Content, Counter, EXTENT_BLOCKS};
use crate::{Array, ArrayConfig, Reservations};

/// An object as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedObject {
    /// Kind.
    pub kind: String,
    /// Key within the kind.
    pub key: String,
    /// JSON.
    pub value: Vec<u8>,
}

/// A node as it was kept; see [`super::NodeChange`].
pub type SavedNode = super::NodeChange;
/// An extent as it was kept.
pub type SavedExtent = super::ExtentChange;

/// Everything that was kept of an array: the sum of all [`super::Changes`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Objects in any order.
    pub objects: Vec<SavedObject>,
    /// Nodes in any order.
    pub nodes: Vec<SavedNode>,
    /// Extents in any order.
    pub extents: Vec<SavedExtent>,
}

/// Why no array can be made of what was kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    /// A kind of objects that this version does not know: a newer one has written it.
    #[error("objects of the kind {0:?} are unknown to this version")]
    UnknownKind(String),
    /// An object that cannot be read.
    #[error("{kind} {key:?}: {why}")]
    Object {
        /// Kind.
        kind: String,
        /// Key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// Something is referred to and not there.
    #[error("{what} {number} is missing")]
    Missing {
        /// What it is.
        what: &'static str,
        /// Its number.
        number: u64,
    },
    /// The pools of the configuration are not those that were kept.
    #[error("{0}")]
    Pools(String),
    /// The array made of it breaks its own rules.
    #[error("{0}")]
    Audit(String),
}

fn missing(what: &'static str) -> impl Fn(u64) -> Damage {
    move |number| Damage::Missing { what, number }
}

/// Forms by key.
fn by_number<T: serde::de::DeserializeOwned>(
    objects: &[SavedObject],
    kind: &'static str,
) -> Result<BTreeMap<u64, T>, Damage> {
    objects
        .iter()
        .filter(|object| object.kind == kind)
        .map(|object| {
            let broken = |why: String| Damage::Object { kind: kind.to_owned(), key: object.key.clone(), why };
            let number = object.key.parse().map_err(|_| broken("the key is no number".to_owned()))?;
            Ok((number, from_json(&object.value).map_err(broken)?))
        })
        .collect()
}

impl Array {
    /// Makes the array again that was kept, with a journal, and as it is behind a loss of power: sessions, volatile
    /// reservations and alerts are gone. Serial number, target name and pools are those that were kept (pools may grow, and
    /// be added to; no pools at all in the configuration take them as they are); everything else of the configuration counts.
    ///
    /// # Errors
    /// What was kept is damaged, or the pools do not fit.
    pub fn restore(
        mut config: ArrayConfig,
        medium: Arc<dyn Medium>,
        defects: JournalDefects,
        saved: Saved,
    ) -> Result<Array, Damage> {
        let core = saved
            .objects
            .iter()
            .find(|object| object.kind == CORE)
            .ok_or(missing("state of the array")(0))?;
        let core: Core = from_json(&core.value).map_err(|why| Damage::Object {
            kind: CORE.to_owned(),
            key: String::new(),
            why,
        })?;
        fit_pools(&mut config, &core)?;
        (config.serial, config.target_iqn) = (core.serial.clone(), core.target_iqn.clone());
        let mut array = Array::new(config);
        let clock = saved.objects.iter().find(|object| object.kind == CLOCK);
        array.now = clock.and_then(|clock| from_json(&clock.value).ok()).unwrap_or_default();
        array.keep(Arc::clone(&medium), defects);
        // Those that every array begins with are kept like all others.
        array.partitions.retain(|_, _| false);
        array.load_objects(&saved.objects)?;
        array.wwn_base = wwn_base(&array.serial);
        (array.last_id, array.last_wwn, array.last_layer) = (core.last_id, core.last_wwn, core.last_layer);
        array.power_generation = core.power_generation + 1;
        if defects.counters_go_back {
            array.last_id = array.luns.iter().map(|lun| lun.id).max().unwrap_or(0);
            array.last_wwn = array.luns.len() as u64;
        }
        if let Some(journal) = &mut array.journal {
            journal.last_number = core.last_number;
        }
        array.load_content(&core, &saved, &medium)?;
        array.plant.restore(core.plant);
        array.derive_again();
        array.pairs_restored();
        array.refresh_sights();
        for lun in array.luns.iter_mut() {
            if array.defects.aptpl_forgotten {
                lun.reservations = Reservations::default();
            }
            lun.reservations.power_loss();
        }
        for snapshot in array.snapshots.iter_mut() {
            snapshot.reservations.power_loss();
        }
        match array.audit() {
            faults if faults.is_empty() => Ok(array),
            faults => Err(Damage::Audit(faults.join("; "))),
        }
    }

    /// What follows from the objects.
    fn derive_again(&mut self) {
        self.rebuild_kin();
        self.refresh_path_views();
        self.obey_ports_off();
        self.note_pools();
        let policies: Vec<u64> = self.qos.iter().map(|policy| policy.id).collect();
        policies.into_iter().for_each(|policy| self.enforce(policy));
    }

    fn load_objects(&mut self, objects: &[SavedObject]) -> Result<(), Damage> {
        for object in objects {
            if [CORE, CLOCK, LUN_CONTENT, JOB_CONTENT, LAYER, SNAPSHOT_LAYER].contains(&object.kind.as_str())
            {
                continue;
            }
            let mut shelves = self.shelves();
            let shelf = shelves.iter_mut().find(|(kind, _)| *kind == object.kind);
            let (kind, shelf) = shelf.ok_or_else(|| Damage::UnknownKind(object.kind.clone()))?;
            shelf.load(&object.key, &object.value).map_err(|why| Damage::Object {
                kind: (*kind).to_owned(),
                key: object.key.clone(),
                why,
            })?;
        }
        Ok(())
    }

    fn load_content(&mut self, core: &Core, saved: &Saved, medium: &Arc<dyn Medium>) -> Result<(), Damage> {
        let counters = self.load_counters(core)?;
        let Some(journal) = &self.journal else { return Ok(()) };
        let graph = Graph::build(saved, medium, &counters, [&journal.nodes_gone, &journal.extents_gone])?;
        let layers_gone = Arc::clone(&journal.layers_gone);
        // Layers link to older ones only.
        let mut layers: BTreeMap<u64, Arc<Layer>> = BTreeMap::new();
        for (id, form) in by_number::<ContentForm>(&saved.objects, LAYER)? {
            let content = graph.content(&form, &layers)?;
            let layer = Arc::new(Layer { id, content, mark: Mark::default() });
            layer.mark.adopt(id, &layers_gone);
            self.layers.insert(id, Arc::downgrade(&layer));
            layers.insert(id, layer);
        }
        let mut contents = by_number::<ContentForm>(&saved.objects, LUN_CONTENT)?;
        for lun in self.luns.iter_mut() {
            let form = contents.remove(&lun.id).ok_or(missing("content of LUN")(lun.id))?;
            lun.content = graph.content(&form, &layers)?;
            let Some(pool) = self.pools.get_mut(lun.pool as usize) else {
                return Err(missing("pool")(lun.pool));
            };
            pool.provisioned += lun.content.blocks();
            pool.reserved += lun.quota.as_ref().map_or(0, |quota| quota.extents);
        }
        for (id, layer) in by_number::<u64>(&saved.objects, SNAPSHOT_LAYER)? {
            let layer = layers.get(&layer).ok_or(missing("layer")(layer))?;
            let snapshot = self.snapshots.get_mut(id).ok_or(missing("snapshot")(id))?;
            snapshot.layer = Some(Arc::clone(layer));
        }
        let mut sources = by_number::<ContentForm>(&saved.objects, JOB_CONTENT)?;
        let jobs: Vec<u64> = self.jobs.keys().copied().collect();
        for id in jobs {
            if let Some(source) = self.jobs.get_mut(&id).and_then(|job| job.source_mut()) {
                let form = sources.remove(&id).ok_or(missing("source of job")(id))?;
                *source = graph.content(&form, &layers)?;
            }
        }
        self.layers.retain(|id, _| layers.contains_key(id));
        drop(layers);
        self.layers.retain(|_, layer: &mut Weak<Layer>| layer.strong_count() > 0);
        Ok(())
    }

    /// The counters that extents claim on, by number.
    fn load_counters(&mut self, core: &Core) -> Result<BTreeMap<u64, Arc<Counter>>, Damage> {
        for (pool, form) in self.pools.iter_mut().zip(&core.pools) {
            pool.armed = form.threshold.is_some();
            pool.threshold = form.threshold.unwrap_or(pool.threshold);
            pool.orphans = form.orphans.iter().map(|number| Counter::new(*number)).collect();
        }
        let pools = self.pools.iter().flat_map(|pool| std::iter::once(&pool.used).chain(&pool.orphans));
        let quotas = self.luns.iter().filter_map(|lun| lun.quota.as_ref()).map(|quota| &quota.used);
        Ok(pools.chain(quotas).map(|counter| (counter.number, Arc::clone(counter))).collect())
    }
}

/// The pools that the array has from now on.
fn fit_pools(config: &mut ArrayConfig, core: &Core) -> Result<(), Damage> {
    let kept =
        |form: &super::journal::PoolForm| PoolConfig::new(form.name.clone(), form.capacity * EXTENT_BLOCKS);
    if config.pools.is_empty() {
        config.pools = core.pools.iter().map(kept).collect();
    }
    for (at, form) in core.pools.iter().enumerate() {
        match config.pools.get(at) {
            Some(pool) if pool.name == form.name && pool.capacity_blocks / EXTENT_BLOCKS >= form.capacity => {
            }
            Some(pool) if pool.name == form.name => {
                return Err(Damage::Pools(format!("pool {} cannot become smaller", pool.name)));
            }
            _ => return Err(Damage::Pools(format!("pool {at} is {}, and stays it", form.name))),
        }
    }
    Ok(())
}

/// Roots of extent maps, made from nodes and extents that refer to each other by number.
struct Graph {
    roots: BTreeMap<u64, Map>,
}

impl Graph {
    fn build(
        saved: &Saved,
        medium: &Arc<dyn Medium>,
        counters: &BTreeMap<u64, Arc<Counter>>,
        [nodes_gone, extents_gone]: [&Arc<Gone>; 2],
    ) -> Result<Graph, Damage> {
        let mut extents: BTreeMap<u64, Arc<Extent>> = BTreeMap::new();
        for SavedExtent { number, counter, places } in &saved.extents {
            let counter = counters.get(counter).ok_or(missing("counter")(*counter))?;
            let extent = Extent::new(SpaceToken::take(counter), body(medium, places));
            extent.mark.adopt(*number, extents_gone);
            extents.insert(*number, Arc::new(extent));
        }
        let mut leaves: BTreeMap<u64, Arc<Leaf>> = BTreeMap::new();
        for node in saved.nodes.iter().filter(|node| node.level == 0) {
            let slots: Result<Vec<Slot>, Damage> = node
                .children
                .iter()
                .map(|child| match child {
                    0 => Ok(Slot::Absent),
                    1 => Ok(Slot::Zero),
                    number => extents.get(number).cloned().map(Slot::Data).ok_or(missing("extent")(*number)),
                })
                .collect();
            leaves.insert(node.number, Arc::new(Node::adopted(slots?, node.number, nodes_gone)));
        }
        let mids: BTreeMap<u64, Arc<Mid>> = inner(&saved.nodes, 1, &leaves, nodes_gone)?;
        let roots = inner(&saved.nodes, 2, &mids, nodes_gone)?;
        Ok(Graph { roots: roots.into_iter().map(|(number, root)| (number, Map::adopted(root))).collect() })
    }

    fn content(&self, form: &ContentForm, layers: &BTreeMap<u64, Arc<Layer>>) -> Result<Content, Damage> {
        let map = self.roots.get(&form.root).cloned().ok_or(missing("map")(form.root))?;
        let layer = |id| layers.get(&id).cloned().ok_or(missing("layer")(id));
        let link = form.layer.map(layer).transpose()?;
        Ok(Content::adopted(map, link, form.blocks))
    }
}

fn body(medium: &Arc<dyn Medium>, places: &Places) -> Body {
    Body::Kept(Kept::adopted(medium, *places))
}

/// Inner nodes over nodes of a kind, by number.
type Level<T> = BTreeMap<u64, Arc<Node<Option<Arc<Node<T>>>>>>;

/// Inner nodes of a level over their children.
fn inner<T>(
    nodes: &[SavedNode],
    level: u8,
    children: &BTreeMap<u64, Arc<Node<T>>>,
    gone: &Arc<Gone>,
) -> Result<Level<T>, Damage> {
    let child = |number: &u64| match number {
        0 => Ok(None),
        number => children.get(number).cloned().map(Some).ok_or(missing("node")(*number)),
    };
    nodes
        .iter()
        .filter(|node| node.level == level)
        .map(|node| {
            let slots: Result<Vec<_>, Damage> = node.children.iter().map(child).collect();
            Ok((node.number, Arc::new(Node::adopted(slots?, node.number, gone))))
        })
        .collect()
}
