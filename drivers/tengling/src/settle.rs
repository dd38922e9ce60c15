//! Calls that must not be executed twice: after a lost answer the array is asked what happened.

use std::future::Future;

use http::Method;
use sanbench_api::DriverError;
use serde_json::{Value, json};

use crate::client::{Client, Repeat};
use crate::error::{CallError, undecided};
use crate::value::{Obj, Record, quote};

/// Objects asked for with one list call.
const PAGE: usize = 100;
/// Most objects of one kind that a listing takes.
const MOST_OBJECTS: usize = 200_000;
/// How often a listing starts over because objects came and went between its pages.
const RESTARTS: u32 = 8;

/// An object after a create call.
#[derive(Debug)]
pub(crate) enum Made<T> {
    /// The array answered that it made it.
    New(T),
    /// The answer was lost; an object of that name was found afterwards. Probably ours, which its description says.
    Likely(T),
    /// It was there before.
    Found(T),
}

impl<T> Made<T> {
    /// The object, however it came about.
    pub(crate) fn into_inner(self) -> T {
        match self {
            Self::New(t) | Self::Likely(t) | Self::Found(t) => t,
        }
    }
}

impl Client {
    /// Creates an object whose name is unique on the array. A taken name and a lost answer both end in `look`.
    /// Whether a found object is the wanted one is for the caller to judge.
    pub(crate) async fn create<T, F>(
        &self,
        path: &str,
        body: &Value,
        look: impl Fn() -> F,
    ) -> Result<Made<T>, DriverError>
    where
        T: Record,
        F: Future<Output = Result<Option<T>, CallError>>,
    {
        let ends = self.env.now() + self.limits.budget;
        let mut lost: Option<CallError> = None;
        let mut round = 0;
        loop {
            let answer = self.call(Method::POST, path, Some(body.clone()), Repeat::Never).await;
            let error = match answer.and_then(|data| Ok(T::read(&data)?)) {
                Ok(made) => return Ok(Made::New(made)),
                Err(e) => e,
            };
            if error.is_taken() {
                match look().await {
                    Ok(Some(found)) if lost.is_some() => return Ok(self.likely(path, found)),
                    Ok(Some(found)) => return Ok(Made::Found(found)),
                    // It vanished between the two calls: make it now.
                    Ok(None) => {}
                    Err(looking) => {
                        return Err(lost.map_or(looking.clone().into(), |l| undecided(&l, &looking)));
                    }
                }
            } else if error.is_doubtful() {
                match look().await {
                    Ok(Some(found)) => return Ok(self.likely(path, found)),
                    Ok(None) => {}
                    Err(looking) => return Err(undecided(&error, &looking)),
                }
                lost = Some(error.clone());
            } else {
                // After a lost request an unreachable array leaves the first one undecided.
                return Err(match (&error, &lost) {
                    (CallError::NotSent(_), Some(lost)) => undecided(lost, &error),
                    _ => error.into(),
                });
            }
            round += 1;
            if round >= self.limits.attempts || !self.pause(round, ends).await {
                return Err(match lost {
                    Some(lost) => CallError::Lost(lost.to_string()).into(),
                    None => error.into(),
                });
            }
        }
    }

    /// What is found after a lost answer is taken for what the call has made.
    fn likely<T: Record>(&self, path: &str, found: T) -> Made<T> {
        self.env.note("driver", || json!({"event": "adopted", "path": path, "name": found.name()}));
        Made::Likely(found)
    }

    /// Deletes `collection/id`. Missing is success (false). After a lost answer the id is looked at: array ids are
    /// used again, so it must still carry `name` before the call is repeated.
    pub(crate) async fn delete<T: Record>(
        &self,
        collection: &str,
        id: &str,
        name: &str,
    ) -> Result<bool, DriverError> {
        let path = format!("{collection}/{}", quote(id));
        let ends = self.env.now() + self.limits.budget;
        let mut round = 0;
        loop {
            let error = match self.call(Method::DELETE, &path, None, Repeat::Never).await {
                Ok(_) => return Ok(true),
                Err(e) if e.is_missing() => return Ok(false),
                Err(e) if e.is_doubtful() => e,
                Err(e) => return Err(e.into()),
            };
            match self.get_one::<T>(collection, id).await {
                Ok(None) => return Ok(true),
                Ok(Some(other)) if other.name() != name => return Ok(true),
                Ok(Some(_)) => {}
                Err(looking) => return Err(undecided(&error, &looking)),
            }
            round += 1;
            if round >= self.limits.attempts || !self.pause(round, ends).await {
                return Err(CallError::Lost(error.to_string()).into());
            }
        }
    }

    /// The object with that id.
    pub(crate) async fn get_one<T: Record>(
        &self,
        collection: &str,
        id: &str,
    ) -> Result<Option<T>, CallError> {
        match self.get(&format!("{collection}/{}", quote(id))).await {
            Ok(Value::Null) => Ok(None),
            Ok(data) if data.as_object().is_some_and(serde_json::Map::is_empty) => Ok(None),
            Ok(data) => Ok(Some(T::read(&data)?)),
            Err(e) if e.is_missing() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The object with that name (exact match, array-rest.md 1.4).
    pub(crate) async fn find<T: Record>(&self, collection: &str, name: &str) -> Result<Option<T>, CallError> {
        let data = self.get(&format!("{collection}?filter=NAME::{}&range=%5B0-100%5D", quote(name))).await?;
        // An array that ignores the filter must not make us take a neighbour.
        Ok(records::<T>(&data)?.into_iter().find(|r| r.name() == name))
    }

    /// As [`Self::find`], for whoever takes "not there" for "done": lists of an array may be behind the truth for a moment, so
    /// absence is believed when it is seen twice.
    pub(crate) async fn find_surely<T: Record>(
        &self,
        collection: &str,
        name: &str,
    ) -> Result<Option<T>, CallError> {
        let found = self.find(collection, name).await?;
        if found.is_some() || self.defects.first_absence_believed {
            return Ok(found);
        }
        self.find(collection, name).await
    }

    /// All objects, page by page. Neighbouring pages overlap by one object: when that object differs, something came
    /// or went in front of it, and the listing starts over. So no object that lived throughout is missed.
    pub(crate) async fn list<T: Record>(&self, path: &str) -> Result<Vec<T>, CallError> {
        let joint = if path.contains('?') { '&' } else { '?' };
        for _ in 0..RESTARTS {
            let mut all: Vec<T> = Vec::new();
            let mut last: Option<String> = None;
            loop {
                let from = all.len().saturating_sub(1);
                let data = self.get(&format!("{path}{joint}range=%5B{from}-{}%5D", from + PAGE)).await?;
                let page: Vec<T> = records(&data)?;
                let objects = data.as_array().map_or(&[][..], Vec::as_slice);
                if last.is_some() && id_of(objects.first())? != last {
                    break;
                }
                let whole = page.len() != PAGE;
                all.extend(page.into_iter().skip(usize::from(last.is_some())));
                if whole {
                    return Ok(all);
                }
                if all.len() > MOST_OBJECTS {
                    return Err(CallError::Malformed(format!("GET {path}: the list does not end")));
                }
                last = id_of(objects.last())?;
            }
        }
        Err(CallError::Malformed(format!("GET {path}: the list kept changing")))
    }

    /// Number of objects that `path` counts.
    pub(crate) async fn count(&self, path: &str) -> Result<u64, CallError> {
        let data = self.get(path).await?;
        Ok(Obj::new("count", &data)?.need_number("COUNT")?)
    }
}

/// The array's id of an object of a list.
fn id_of(object: Option<&Value>) -> Result<Option<String>, CallError> {
    Ok(object.map(|object| Obj::new("object", object)?.need("ID")).transpose()?)
}

/// The objects of a list answer; an empty list may be left out altogether.
pub(crate) fn records<T: Record>(data: &Value) -> Result<Vec<T>, CallError> {
    match data {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => Ok(items.iter().map(T::read).collect::<Result<_, _>>()?),
        Value::Object(map) if map.is_empty() => Ok(Vec::new()),
        _ => Err(CallError::Malformed("a list was expected".to_owned())),
    }
}
