//! What an administrator does to an array beside the driver, and what the array then says of itself.

use std::collections::BTreeMap;

use sanbench_api::{ArrayInventory, SnapshotId, VolumeId};
use sanbench_check::census::{DriverNames, Naming};
use serde_json::Value;

use super::*;
use crate::story::NUMBER;

/// What is charged where the story names no requirement.
const KEPT: &str = "DUR-005";
/// Code of the simulated array: the pool has no space left.
const POOL_FULL: i64 = 1_077_936_876;
/// Code of the simulated array: something is being copied from, to or behind the object.
const IN_COPY: i64 = 1_077_936_874;
/// RUNNINGSTATUS of a snapshot to which its LUN is being put back.
const ROLLING_BACK: &str = "44";
/// Time between two looks at how far that is.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

impl Player<'_> {
    /// A call of an administrator, or several one after another. Whatever it makes or changes is not the run's, and must stay so
    /// from now on, unless it stands for what an earlier run left: then only until the driver has work to do. Only one of several
    /// has a number.
    pub(super) async fn manage(
        &self,
        step: &Step,
        (call, far): (&str, bool),
        (code, ours): (i64, bool),
        times: Option<u64>,
        remember: Option<&Name>,
        fields: &BTreeMap<String, String>,
    ) -> Ended {
        self.alone()?;
        let Some((method, path)) = call.split_once(' ') else {
            return Err(StepEnd::Broken(format!("`{call}` is no method and path")));
        };
        let before = self.objects().await?;
        let mut first = None;
        let mut answered = code;
        for number in 1..=times.unwrap_or(1) {
            let numbered = |text: &str| match times {
                None => text.to_owned(),
                Some(_) => text.replace(&format!("{{{NUMBER}}}"), &number.to_string()),
            };
            let path = self.filled_in(&numbered(path), &before)?;
            let fields = fields.iter().map(|(key, text)| (key.clone(), numbered(text))).collect();
            let fields = self.all_filled_in(&fields, &before)?;
            let asked = self.site.administer(far, method, &path, &fields).await;
            let (got, data) = asked.map_err(outages::not_possible)?;
            answered = got;
            first.get_or_insert(data);
            if answered != code {
                break;
            }
        }
        let after = self.objects().await?;
        follow(&mut self.judge().baseline, &before, &after);
        if ours {
            follow(&mut self.judge().earlier, &before, &after);
        }
        if answered != code {
            return Err(self.contradicted(step, format!("code {code}"), format!("code {answered}")));
        }
        self.uphold_story();
        self.remember(remember, &first.unwrap_or_default())
    }

    /// What an earlier run left is this run's now: the driver uses it, and removes it when nothing needs it any more.
    pub(super) fn hand_over(&self) {
        let mut judge = self.judge();
        let earlier = std::mem::take(&mut judge.earlier);
        let baseline = &mut judge.baseline;
        // By id: another call may have changed one since.
        baseline.luns.retain(|o| earlier.luns.iter().all(|e| e.id != o.id));
        baseline.snapshots.retain(|o| earlier.snapshots.iter().all(|e| e.id != o.id));
        baseline.hosts.retain(|o| earlier.hosts.iter().all(|e| e.id != o.id));
        baseline.initiators.retain(|o| earlier.initiators.iter().all(|e| e.iqn != o.iqn));
        baseline.host_groups.retain(|o| earlier.host_groups.iter().all(|e| e.id != o.id));
        baseline.lun_groups.retain(|o| earlier.lun_groups.iter().all(|e| e.id != o.id));
        baseline.views.retain(|o| earlier.views.iter().all(|e| e.id != o.id));
        baseline.jobs.retain(|o| earlier.jobs.iter().all(|e| (&e.id, &e.name) != (&o.id, &o.name)));
    }

    /// Objects of an array must say of themselves what the story expects.
    pub(super) async fn inspect(
        &self,
        step: &Step,
        (path, far): (&str, bool),
        count: Option<u64>,
        remember: Option<&Name>,
        fields: &BTreeMap<String, String>,
    ) -> Ended {
        self.alone()?;
        let listing = self.objects().await?;
        let path = self.filled_in(path, &listing)?;
        let fields = self.all_filled_in(fields, &listing)?;
        let asked = self.site.administer(far, "GET", &path, &BTreeMap::new()).await;
        let (code, data) = asked.map_err(outages::not_possible)?;
        let objects = match (code, data) {
            (0, Value::Array(objects)) => objects,
            (0, Value::Null) => Vec::new(),
            (0, object) => vec![object],
            (code, _) => return Err(self.contradicted(step, "an answer", format!("code {code}"))),
        };
        let fits = |object: &&Value| fields.iter().all(|(key, value)| text(&object[key]) == *value);
        let fitting: Vec<&Value> = objects.iter().filter(fits).collect();
        let enough = match count {
            Some(count) => fitting.len() as u64 == count,
            None => !fitting.is_empty(),
        };
        if !enough {
            let wanted = count.map_or_else(|| "at least 1".to_owned(), |count| count.to_string());
            return Err(self.contradicted(step, format!("{wanted} such"), seen(&objects, &fields)));
        }
        self.uphold_story();
        self.remember(remember, fitting.first().copied().unwrap_or(&Value::Null))
    }

    /// The array's own management puts a volume back to a snapshot: hosts see at once what it has frozen, or (when the array
    /// cannot hold that) what they had, all of it.
    pub(super) async fn put_back(&self, step: &Step, name: &Name) -> Ended {
        self.alone()?;
        let snapshot = self.snapshot_of(name)?;
        let volume = self.volume(&snapshot.volume)?;
        let listing = self.objects().await?;
        let named = self.named(|names| names.snapshot(snapshot.id));
        let object = listing.snapshots.iter().find(|s| Some(&s.name) == named.as_ref());
        let id = &object.ok_or_else(|| StepEnd::Broken(format!("the array does not list {name}")))?.id;
        let body = [("ID", id.as_str()), ("ROLLBACKSPEED", "4")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let asked = self.site.administer(false, "PUT", "snapshot/rollback", &body.into()).await;
        let (code, _) = asked.map_err(outages::not_possible)?;
        // Done or refused, it is looked at.
        self.judge().expect(&snapshot.volume, &["SNP-008"]);
        let class = match code {
            0 => None,
            POOL_FULL => Some(Refused::NoSpace),
            IN_COPY => Some(Refused::Busy),
            _ => Some(Refused::State),
        };
        match (class, refused(step)) {
            (None, _) => {}
            (Some(class), Some(wanted)) if class == wanted => {
                return Err(StepEnd::Refused(format!("code {code}")));
            }
            (Some(_), Some(wanted)) => return Err(self.not_refused(step, wanted, &format!("code {code}"))),
            (Some(_), None) => return Err(self.failed(step, &format!("code {code}"))),
        }
        self.judge().data.put_back(volume.id, snapshot.id)?;
        self.judge().changed(&snapshot.volume, false);
        let path = format!("snapshot/{id}");
        loop {
            let looked = self.site.administer(false, "GET", &path, &BTreeMap::new()).await;
            let (code, object) = looked.map_err(outages::not_possible)?;
            match (code, text(&object["RUNNINGSTATUS"]).as_str(), text(&object["ROLLBACKRATE"]).as_str()) {
                (0, ROLLING_BACK, _) => self.site.env().sleep(LOOK).await,
                (0, _, "100") => return Ok(String::new()),
                (0, _, rate) => return Err(self.failed(step, &format!("it was given up at {rate} %"))),
                (code, ..) => return Err(self.failed(step, &format!("code {code}"))),
            }
        }
    }

    /// Beside faults that nobody has thought of, an administrator's calls fail as well, and what follows means nothing.
    fn alone(&self) -> Result<(), StepEnd> {
        match self.is_tolerant() {
            true => Err(StepEnd::Skipped("no administrator works beside woven-in faults".into())),
            false => Ok(()),
        }
    }

    async fn objects(&self) -> Result<ArrayInventory, StepEnd> {
        let listing = audit::inventory(self.site).await.map_err(|e| StepEnd::Unreachable(e.to_string()))?;
        Ok(listing.unwrap_or_default())
    }

    /// Ids in the places of their names.
    fn filled_in(&self, text: &str, listing: &ArrayInventory) -> Result<String, StepEnd> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((head, tail)) = rest.split_once('{') {
            let Some((name, tail)) = tail.split_once('}') else { break };
            let known = match name.split_once(':') {
                Some((kind, name)) => name.parse().ok().and_then(|name| self.name_of(kind, &name)),
                None => name.parse().ok().and_then(|name| self.known(&name, listing)),
            };
            let known = known.ok_or_else(|| StepEnd::Broken(format!("nothing is called {name} here")))?;
            out.push_str(head);
            out.push_str(&known);
            rest = tail;
        }
        Ok(out + rest)
    }

    fn all_filled_in(
        &self,
        fields: &BTreeMap<String, String>,
        listing: &ArrayInventory,
    ) -> Result<BTreeMap<String, String>, StepEnd> {
        fields.iter().map(|(key, text)| Ok((key.clone(), self.filled_in(text, listing)?))).collect()
    }

    /// The id that has this name: one of an administrator's, of a volume's or snapshot's object, or the initiator of a host.
    fn known(&self, name: &Name, listing: &ArrayInventory) -> Option<String> {
        let judge = self.judge();
        if let Some(id) = judge.remembered.get(name) {
            return Some(id.clone());
        }
        let drivers = self.site.drivers();
        let inventory = drivers.values().find_map(|driver| driver.inventory());
        if let (Some(volume), Some(inventory)) = (judge.volumes.get(name), inventory) {
            return Some(listing.lun_by_name(&inventory.lun_name(&volume.id))?.id.clone());
        }
        if let (Some(snapshot), Some(inventory)) = (judge.snapshots.get(name), inventory) {
            let name = inventory.snapshot_name(&snapshot.id);
            return listing.snapshots.iter().find(|s| s.name == name).map(|s| s.id.clone());
        }
        self.site.connector(name)?.properties().initiator
    }

    /// The name that the object of a volume, snapshot or host must have on the array, whether it exists or not.
    fn name_of(&self, kind: &str, name: &Name) -> Option<String> {
        let id = self.id_bytes(kind, name);
        match kind {
            "volume" => self.named(|names| names.lun(VolumeId::from_random(id))),
            "snapshot" => self.named(|names| names.snapshot(SnapshotId::from_random(id))),
            "host" => {
                let host = self.site.host_name(name)?;
                self.named(|names| names.host(&host))
            }
            _ => None,
        }
    }

    /// A name on the array: by the rule that its clients keep, where there is one, so that a driver which has left it is found
    /// out; else as the driver says.
    pub(super) fn named(&self, name: impl Fn(&dyn Naming) -> String) -> Option<String> {
        if let Some(rule) = self.site.naming() {
            return Some(name(rule));
        }
        let drivers = self.site.drivers();
        let inventory = drivers.values().find_map(|driver| driver.inventory())?;
        Some(name(&DriverNames(inventory)))
    }

    fn remember(&self, name: Option<&Name>, object: &Value) -> Ended {
        let Some(name) = name else { return Ok(String::new()) };
        match text(&object["ID"]) {
            id if id.is_empty() => Err(StepEnd::Broken(format!("nothing has an id to call {name}"))),
            id => {
                self.judge().remembered.insert(name.clone(), id.clone());
                Ok(id)
            }
        }
    }

    /// What such a step is about is for the story to say.
    fn story_id(&self) -> &str {
        self.plan.requires.first().map_or(KEPT, String::as_str)
    }

    fn uphold_story(&self) {
        self.judge().ledger.compared(self.story_id(), 1);
    }

    /// The array says something else than it must.
    fn contradicted(&self, step: &Step, expected: impl ToString, observed: impl ToString) -> StepEnd {
        let finding = Finding::new(self.story_id(), "operation", "administrator", "answer")
            .says(format!("`{}`", crate::story::print_step(step)))
            .compared(expected, observed);
        StepEnd::Findings(vec![finding])
    }
}

/// A value as a story writes it; absent ones are empty.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What objects say where the story expects something of them.
fn seen(objects: &[Value], fields: &BTreeMap<String, String>) -> String {
    let shown = objects.iter().take(5).map(|object| {
        let values: Vec<String> = fields.keys().map(|key| format!("{key}={}", text(&object[key]))).collect();
        values.join(" ")
    });
    format!("{} objects: {}", objects.len(), shown.collect::<Vec<_>>().join("; "))
}

/// Takes over what a call of somebody else has made, changed or removed: it is his. What the run has made stays its own.
fn follow(baseline: &mut ArrayInventory, before: &ArrayInventory, after: &ArrayInventory) {
    kind(&mut baseline.luns, &before.luns, &after.luns, |o| &o.id);
    kind(&mut baseline.snapshots, &before.snapshots, &after.snapshots, |o| &o.id);
    kind(&mut baseline.hosts, &before.hosts, &after.hosts, |o| &o.id);
    kind(&mut baseline.initiators, &before.initiators, &after.initiators, |o| &o.iqn);
    kind(&mut baseline.host_groups, &before.host_groups, &after.host_groups, |o| &o.id);
    kind(&mut baseline.lun_groups, &before.lun_groups, &after.lun_groups, |o| &o.id);
    kind(&mut baseline.views, &before.views, &after.views, |o| &o.id);
    kind(&mut baseline.jobs, &before.jobs, &after.jobs, |o| &o.id);
}

fn kind<T: Clone + PartialEq>(baseline: &mut Vec<T>, before: &[T], after: &[T], id: impl Fn(&T) -> &String) {
    let made = after.iter().filter(|object| !before.iter().any(|known| id(known) == id(object)));
    let changed = after.iter().filter(|object| {
        let was = before.iter().find(|known| id(known) == id(object));
        was.is_some_and(|was| was != *object && baseline.contains(was))
    });
    let new: Vec<T> = made.chain(changed).cloned().collect();
    baseline.retain(|object| after.contains(object) || !before.contains(object));
    baseline.extend(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_made_or_had_is_taken_over() {
        let of = |all: &[(&str, u8)]| -> Vec<(String, u8)> {
            all.iter().map(|(id, state)| ((*id).to_owned(), *state)).collect()
        };
        // b is the run's; a and c are not.
        let mut baseline = of(&[("a", 1), ("c", 1)]);
        let before = of(&[("a", 1), ("b", 1), ("c", 1)]);
        let after = of(&[("a", 2), ("b", 2), ("d", 1)]);
        kind(&mut baseline, &before, &after, |o| &o.0);
        assert_eq!(baseline, of(&[("d", 1), ("a", 2)]));
    }
}
