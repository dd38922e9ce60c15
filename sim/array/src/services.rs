//! What the array does for LUNs beside storing them: labels that it keeps for clients, cache partitions, QoS policies.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::durable::Tracked;
use crate::{Array, Outcome, Refusal, TrafficPolicy};

/// Attributes that the array keeps for its clients without acting on them.
pub type Labels = BTreeMap<String, String>;

/// What a partition divides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PartitionKind {
    /// The memory cache.
    Cache,
    /// The flash cache (smart cache).
    SmartCache,
}

/// A partition of a cache. This array has no cache to divide: LUNs are put into it, and that is all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Id, from 0 for each kind.
    pub id: u64,
    /// What it divides.
    pub kind: PartitionKind,
    /// Name, unique among the partitions of its kind.
    pub name: String,
    /// Free text.
    pub description: String,
}

/// Limits of a QoS policy; they hold for its LUNs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficLimits {
    /// Commands a second.
    pub commands: Option<NonZeroU64>,
    /// Bytes a second.
    pub bytes: Option<NonZeroU64>,
    /// Counts reads.
    pub reads: bool,
    /// Counts writes.
    pub writes: bool,
}

/// A QoS policy. It acts while it is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QosPolicy {
    /// Id.
    pub id: u64,
    /// vStore that it belongs to.
    #[serde(default)]
    pub vstore: u64,
    /// Name, unique among the QoS policies of its vStore.
    pub name: String,
    /// LUNs that it limits, in the order in which they were named.
    pub luns: Vec<u64>,
    /// What acts.
    pub limits: TrafficLimits,
    /// Whether it acts.
    pub active: bool,
    /// What clients have set beside that.
    #[serde(default)]
    pub labels: Labels,
}

/// Most labels of one object, longest name and value in bytes.
const LABELS: usize = 32;
const LABEL_BYTES: usize = 256;
/// Most LUNs of one QoS policy.
const POLICY_LUNS: usize = 1024;
/// Most partitions of a kind.
const PARTITIONS: usize = 64;

/// The partitions that every array begins with.
pub(crate) fn first_partitions() -> Tracked<String, Partition> {
    let mut all = Tracked::default();
    for (kind, name) in [(PartitionKind::Cache, "part0"), (PartitionKind::SmartCache, "cache0")] {
        let partition = Partition { id: 0, kind, name: name.to_owned(), description: String::new() };
        all.insert(partition_key(kind, 0), partition);
    }
    all
}

/// Where a partition is kept.
fn partition_key(kind: PartitionKind, id: u64) -> String {
    match kind {
        PartitionKind::Cache => format!("cache {id:020}"),
        PartitionKind::SmartCache => format!("smart {id:020}"),
    }
}

/// `labels` with changes; none takes one away.
fn changed(labels: &Labels, changes: Vec<(String, Option<String>)>) -> Result<Labels, Refusal> {
    let mut labels = labels.clone();
    for (name, value) in changes {
        if name.is_empty()
            || name.len() > LABEL_BYTES
            || value.as_ref().is_some_and(|v| v.len() > LABEL_BYTES)
        {
            return Err(Refusal::BadParameter);
        }
        match value {
            Some(value) => labels.insert(name, value),
            None => labels.remove(&name),
        };
    }
    if labels.len() > LABELS { Err(Refusal::LimitReached) } else { Ok(labels) }
}

impl Array {
    pub(crate) fn set_lun_labels(
        &mut self,
        lun: u64,
        changes: Vec<(String, Option<String>)>,
    ) -> Result<Outcome, Refusal> {
        let lun = self.luns.get_mut(lun).ok_or(Refusal::NoSuchLun)?;
        lun.labels = changed(&lun.labels, changes)?;
        Ok(Outcome::Done)
    }

    // ---- cache partitions

    pub(crate) fn create_partition(
        &mut self,
        kind: PartitionKind,
        name: String,
        description: String,
    ) -> Result<Outcome, Refusal> {
        self.check_text(&name, &description)?;
        if self.partitions(kind).any(|partition| partition.name == name) {
            return Err(Refusal::NameExists);
        }
        if self.partitions(kind).count() >= PARTITIONS {
            return Err(Refusal::LimitReached);
        }
        let id = self.new_id();
        self.partitions.insert(partition_key(kind, id), Partition { id, kind, name, description });
        Ok(Outcome::Created(id))
    }

    pub(crate) fn delete_partition(&mut self, kind: PartitionKind, id: u64) -> Result<Outcome, Refusal> {
        if !self.partitions.contains_key(&partition_key(kind, id)) {
            return Err(Refusal::NoSuchPartition);
        }
        if self.luns.iter().any(|lun| lun.partitions.get(&kind) == Some(&id)) {
            return Err(Refusal::GroupNotEmpty);
        }
        self.partitions.remove(&partition_key(kind, id));
        Ok(Outcome::Done)
    }

    pub(crate) fn put_in_partition(
        &mut self,
        kind: PartitionKind,
        id: u64,
        lun: u64,
    ) -> Result<Outcome, Refusal> {
        let lun = self.luns.get_mut(lun).ok_or(Refusal::NoSuchLun)?;
        if !self.partitions.contains_key(&partition_key(kind, id)) {
            return Err(Refusal::NoSuchPartition);
        }
        lun.partitions.insert(kind, id);
        Ok(Outcome::Done)
    }

    pub(crate) fn take_from_partition(
        &mut self,
        kind: PartitionKind,
        id: u64,
        lun: u64,
    ) -> Result<Outcome, Refusal> {
        let lun = self.luns.get_mut(lun).ok_or(Refusal::NoSuchLun)?;
        if !self.partitions.contains_key(&partition_key(kind, id)) {
            return Err(Refusal::NoSuchPartition);
        }
        if lun.partitions.get(&kind) == Some(&id) {
            lun.partitions.remove(&kind);
        }
        Ok(Outcome::Done)
    }

    /// All partitions of a kind, ordered by id.
    pub fn partitions(&self, kind: PartitionKind) -> impl Iterator<Item = &Partition> {
        self.partitions.values().filter(move |partition| partition.kind == kind)
    }

    /// A partition.
    pub fn partition(&self, kind: PartitionKind, id: u64) -> Option<&Partition> {
        self.partitions.get(&partition_key(kind, id))
    }

    // ---- QoS policies

    /// LUNs of a policy: each exists, each once.
    fn check_policy_luns(&self, luns: Vec<u64>) -> Result<Vec<u64>, Refusal> {
        if luns.len() > POLICY_LUNS {
            return Err(Refusal::LimitReached);
        }
        let mut out = Vec::with_capacity(luns.len());
        for lun in luns {
            if !self.luns.contains(lun) {
                return Err(Refusal::NoSuchLun);
            }
            if !out.contains(&lun) {
                out.push(lun);
            }
        }
        Ok(out)
    }

    pub(crate) fn create_qos(
        &mut self,
        name: String,
        luns: Vec<u64>,
        limits: TrafficLimits,
        labels: Vec<(String, Option<String>)>,
    ) -> Result<Outcome, Refusal> {
        self.check_text(&name, "")?;
        self.qos.admits(self.scope, &name, self.limits.objects)?;
        let luns = self.check_policy_luns(luns)?;
        let labels = changed(&Labels::new(), labels)?;
        let id = self.new_id();
        let vstore = self.scope;
        self.qos.insert(QosPolicy { id, vstore, name, luns, limits, active: false, labels });
        Ok(Outcome::Created(id))
    }

    pub(crate) fn update_qos(
        &mut self,
        id: u64,
        luns: Option<Vec<u64>>,
        limits: Option<TrafficLimits>,
        labels: Vec<(String, Option<String>)>,
    ) -> Result<Outcome, Refusal> {
        let policy = self.qos.get(id).ok_or(Refusal::NoSuchQos)?;
        let labels = changed(&policy.labels, labels)?;
        let luns = luns.map(|luns| self.check_policy_luns(luns)).transpose()?;
        if let Some(policy) = self.qos.get_mut(id) {
            policy.labels = labels;
            policy.luns = luns.unwrap_or_else(|| std::mem::take(&mut policy.luns));
            policy.limits = limits.unwrap_or(policy.limits);
        }
        self.enforce(id);
        Ok(Outcome::Done)
    }

    pub(crate) fn activate_qos(&mut self, id: u64, active: bool) -> Result<Outcome, Refusal> {
        self.qos.get_mut(id).ok_or(Refusal::NoSuchQos)?.active = active;
        self.enforce(id);
        Ok(Outcome::Done)
    }

    pub(crate) fn delete_qos(&mut self, id: u64) -> Result<Outcome, Refusal> {
        if self.qos.get(id).ok_or(Refusal::NoSuchQos)?.active {
            return Err(Refusal::QosActive);
        }
        self.qos.remove(id);
        Ok(Outcome::Done)
    }

    /// A deleted LUN leaves its policies.
    pub(crate) fn forget_in_policies(&mut self, lun: u64) {
        let held: Vec<u64> =
            self.qos.iter().filter(|policy| policy.luns.contains(&lun)).map(|policy| policy.id).collect();
        for id in held {
            if let Some(policy) = self.qos.get_mut(id) {
                policy.luns.retain(|member| *member != lun);
            }
            self.enforce(id);
        }
    }

    /// Makes the data path do what a policy says.
    pub(crate) fn enforce(&mut self, id: u64) {
        let policy = self.qos.get(id).filter(|policy| policy.active).map(|policy| TrafficPolicy {
            luns: policy.luns.iter().copied().collect(),
            commands: policy.limits.commands,
            bytes: policy.limits.bytes,
            reads: policy.limits.reads,
            writes: policy.limits.writes,
        });
        self.set_traffic_policy(id, policy);
    }

    /// The QoS policy of a LUN; the oldest when there are several.
    pub fn qos_of(&self, lun: u64) -> Option<&QosPolicy> {
        self.qos.iter().find(|policy| policy.luns.contains(&lun))
    }
}
