//! A management client and its model: objects that it made, by kind and name.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};

use super::http::Client;
use super::soak::{Dice, Shared};

/// Most objects of one client.
const MOST: usize = 40;

/// An object, as it was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    id: String,
    description: String,
    /// A snapshot's LUN.
    parent: Option<String>,
}

type Key = (&'static str, String);

/// A call without an answer. What it left behind is looked up when the server is back.
enum Doubt {
    /// It may have made this.
    Made(Key, Known),
    /// It may have removed this.
    Removed(Key),
    /// It may have changed the description.
    Changed(Key, String),
}

pub struct Manager {
    number: u64,
    client: Client,
    dice: Dice,
    names: u64,
    objects: BTreeMap<Key, Known>,
    doubt: Option<Doubt>,
    pub mutations: u64,
    pub reads: u64,
}

impl Manager {
    pub fn new(number: u64, client: Client, seed: u64) -> Self {
        Self {
            number,
            client,
            dice: Dice::new(seed ^ ((number + 1) << 16)),
            names: 0,
            objects: BTreeMap::new(),
            doubt: None,
            mutations: 0,
            reads: 0,
        }
    }

    /// Works until told to stop; an error is a broken promise.
    pub fn run(&mut self, shared: &Shared) -> Result<(), String> {
        while shared.goes_on() {
            let done = match self.doubt.is_some() {
                true => self.clear_doubt(shared),
                false => self.step(shared),
            };
            if let Err(error) = done? {
                shared.wait_a_moment(&error)?;
            }
        }
        Ok(())
    }

    /// Looks at everything at the end; answers how many objects of each kind there are.
    pub fn verify(&mut self, shared: &Shared) -> Result<BTreeMap<&'static str, u64>, String> {
        while self.doubt.is_some() {
            if let Err(error) = self.clear_doubt(shared)? {
                shared.wait_a_moment(&error)?;
            }
        }
        let mut counts = BTreeMap::new();
        for ((kind, name), known) in self.objects.clone() {
            let found = loop {
                match self.look(kind, &name) {
                    Ok(found) => break found,
                    Err(error) => shared.wait_a_moment(&error)?,
                }
            };
            if found.as_ref() != Some(&known) {
                return Err(format!("{kind} {name}: acknowledged {known:?}, found {found:?}"));
            }
            *counts.entry(kind).or_insert(0) += 1;
        }
        Ok(counts)
    }

    /// The object of this name, as the array tells it.
    fn look(&mut self, kind: &'static str, name: &str) -> io::Result<Option<Known>> {
        self.reads += 1;
        let found = self.client.call("GET", &format!("{kind}?filter=NAME::{name}"), &Value::Null)?;
        let list = found.map_err(|code| io::Error::other(format!("listing {kind}: code {code}")))?;
        let object = list.as_array().and_then(|list| list.first()).cloned().unwrap_or(list);
        let text = |key: &str| object[key].as_str().map(str::to_owned);
        Ok(text("ID").map(|id| Known {
            id,
            description: text("DESCRIPTION").unwrap_or_default(),
            parent: text("PARENTID").filter(|_| kind == "snapshot"),
        }))
    }

    fn clear_doubt(&mut self, shared: &Shared) -> Result<io::Result<()>, String> {
        let Some(doubt) = &self.doubt else { return Ok(Ok(())) };
        let (Doubt::Made(key, _) | Doubt::Removed(key) | Doubt::Changed(key, _)) = doubt;
        let key = key.clone();
        let found = match self.look(key.0, &key.1) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let before = self.objects.get(&key).cloned();
        match (self.doubt.take(), found) {
            (Some(Doubt::Made(..)), None) => {}
            (Some(Doubt::Made(key, wanted)), Some(found)) => {
                if (&found.description, &found.parent) != (&wanted.description, &wanted.parent) {
                    return Err(format!("{key:?}: asked for {wanted:?}, found {found:?}"));
                }
                shared.new_id(&found.id, &key.1)?;
                self.objects.insert(key, found);
            }
            (Some(Doubt::Removed(key)), None) => drop(self.objects.remove(&key)),
            (Some(Doubt::Removed(key)), found) => {
                if found != before {
                    return Err(format!("{key:?}: acknowledged {before:?}, found {found:?}"));
                }
            }
            (Some(Doubt::Changed(key, new)), Some(found)) => {
                let same = before.as_ref().is_some_and(|old| {
                    old.id == found.id && (old.description == found.description || new == found.description)
                });
                if !same {
                    return Err(format!("{key:?}: acknowledged {before:?} or {new}, found {found:?}"));
                }
                self.objects.insert(key, found);
            }
            (Some(Doubt::Changed(key, _)), None) => return Err(format!("{key:?} is gone: {before:?}")),
            (None, _) => {}
        }
        Ok(Ok(()))
    }

    fn step(&mut self, shared: &Shared) -> Result<io::Result<()>, String> {
        let picked = self.objects.len().checked_sub(1).map(|last| self.dice.below(last as u64 + 1) as usize);
        let picked = picked
            .and_then(|at| self.objects.iter().nth(at))
            .map(|(key, known)| (key.clone(), known.clone()));
        let roll = self.dice.below(10);
        match picked {
            Some((key, known)) if roll < 3 || self.objects.len() >= MOST => self.remove(key, &known),
            Some((key, known)) if roll < 5 && key.0 != "lungroup" => self.change(key, &known),
            Some((key, known)) if roll < 7 => match self.look(key.0, &key.1) {
                Ok(found) if found.as_ref() == Some(&known) => Ok(Ok(())),
                Ok(found) => Err(format!("{key:?}: acknowledged {known:?}, found {found:?}")),
                Err(error) => Ok(Err(error)),
            },
            _ => self.make(shared),
        }
    }

    fn make(&mut self, shared: &Shared) -> Result<io::Result<()>, String> {
        self.names += 1;
        let name = format!("m{}-{}", self.number, self.names);
        let description = format!("made {}", self.names);
        let lun =
            self.objects.iter().find(|((kind, _), _)| *kind == "lun").map(|(_, known)| known.id.clone());
        let (kind, parent, mut body) = match (self.dice.below(6), lun) {
            (0, Some(lun)) => {
                let body = json!({"PARENTID": lun, "PARENTTYPE": 11});
                ("snapshot", Some(lun), body)
            }
            (1, _) => ("host", None, json!({"OPERATIONSYSTEM": "0"})),
            (2, _) => ("lungroup", None, json!({"APPTYPE": "0"})),
            _ => (
                "lun",
                None,
                json!({"PARENTID": "0", "ALLOCTYPE": "1", "CAPACITY": 2048 * (1 + self.dice.below(64))}),
            ),
        };
        (body["NAME"], body["DESCRIPTION"]) = (json!(name), json!(description));
        let key = (kind, name);
        let wanted = Known { id: String::new(), description, parent };
        match self.client.call("POST", kind, &body) {
            Err(error) => {
                self.doubt = Some(Doubt::Made(key, wanted));
                Ok(Err(error))
            }
            Ok(Err(code)) => Err(format!("{kind} {body}: refused with {code}")),
            Ok(Ok(made)) => {
                self.mutations += 1;
                let id = made["ID"].as_str().ok_or_else(|| format!("{made}: no id"))?.to_owned();
                shared.new_id(&id, &key.1)?;
                self.objects.insert(key, Known { id, ..wanted });
                Ok(Ok(()))
            }
        }
    }

    fn remove(&mut self, key: Key, known: &Known) -> Result<io::Result<()>, String> {
        let is_parent = self.objects.values().any(|other| other.parent.as_ref() == Some(&known.id));
        if key.0 == "lun" && is_parent {
            return Ok(Ok(()));
        }
        match self.client.call("DELETE", &format!("{}/{}", key.0, known.id), &Value::Null) {
            Err(error) => {
                self.doubt = Some(Doubt::Removed(key));
                Ok(Err(error))
            }
            Ok(Err(code)) => Err(format!("deleting {key:?} {known:?}: refused with {code}")),
            Ok(Ok(_)) => {
                self.mutations += 1;
                self.objects.remove(&key);
                Ok(Ok(()))
            }
        }
    }

    fn change(&mut self, key: Key, known: &Known) -> Result<io::Result<()>, String> {
        self.names += 1;
        let description = format!("changed {}", self.names);
        let body = json!({"NAME": key.1, "DESCRIPTION": description});
        match self.client.call("PUT", &format!("{}/{}", key.0, known.id), &body) {
            Err(error) => {
                self.doubt = Some(Doubt::Changed(key, description));
                Ok(Err(error))
            }
            Ok(Err(code)) => Err(format!("changing {key:?} {known:?}: refused with {code}")),
            Ok(Ok(_)) => {
                self.mutations += 1;
                self.objects.insert(key, Known { description, ..known.clone() });
                Ok(Ok(()))
            }
        }
    }
}
