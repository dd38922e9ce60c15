//! The one table of calls: which method on which path does what, and what it takes. The router runs from it, and so do the
//! names of the fault points and the description that the array serves of itself.
//!
//! Each module of the dialect has its own rows; [`find`] looks through all of them. A path is the words after the device id,
//! in lower case, with `{id}` for what the client chooses: `lun`, `lun/{id}`, `lun/associate`. Where a word and an
//! `{id}` both fit, the word wins.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::Method;

use crate::dialect::{self, Call, Ground};
use crate::envelope::Answer;

/// Carries out a call under the array's lock.
pub(crate) type Handler = fn(&mut Ground<'_>, &Call<'_>) -> Answer;

/// Who does the work of a call.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// The session table: the one call that needs no session.
    Login,
    /// The session table.
    Logout,
    /// An object of the dialect.
    Object(Handler),
}

/// On which line of products a call exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// On every product.
    Any,
    /// Only from V600R003C00 on.
    New,
}

/// What `data` of a good answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One object; of a change it may be empty.
    One,
    /// A list of objects, absent when empty.
    List,
}

/// What a field means. All travel as JSON integer, string, truth value or null alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A name that the client chooses as id (iSCSI names).
    Name,
    /// A decimal number.
    Number,
    /// The id of an object.
    Id,
    /// `true`, `false`, 0 or 1.
    Truth,
    /// A list of plain values, or a string that holds one.
    List,
    /// One of these.
    Choice(&'static [&'static str]),
}

/// A parameter of a call: in the body of POST and PUT, in the query of GET and DELETE.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Without it the call is refused.
    pub(crate) needed: bool,
}

/// A field without which the call is refused.
pub(crate) const fn need(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, needed: true }
}

/// A field that may be absent.
pub(crate) const fn may(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, needed: false }
}

/// NAME and DESCRIPTION of a new object.
pub(crate) const NAMED: &[Field] = &[need("NAME", Kind::Text), may("DESCRIPTION", Kind::Text)];
/// NAME and DESCRIPTION as a change.
pub(crate) const RENAMED: &[Field] = &[may("NAME", Kind::Text), may("DESCRIPTION", Kind::Text)];
/// The object that the call is about, where it is not in the path.
pub(crate) const SUBJECT: &[Field] = &[need("ID", Kind::Id)];
/// The other object of an association.
pub(crate) const ASSOCIATED: &[Field] =
    &[need("ASSOCIATEOBJTYPE", Kind::Number), need("ASSOCIATEOBJID", Kind::Id)];
/// The other object of an association, where it only narrows what is asked.
pub(crate) const MAYBE_ASSOCIATED: &[Field] =
    &[may("ASSOCIATEOBJTYPE", Kind::Number), may("ASSOCIATEOBJID", Kind::Id)];

/// One call.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// What it does, for the description.
    pub(crate) what: &'static str,
    pub(crate) fields: &'static [&'static [Field]],
    pub(crate) shape: Shape,
    pub(crate) line: Line,
    pub(crate) work: Work,
}

impl Route {
    const fn new(method: &'static str, path: &'static str, what: &'static str, work: Work) -> Self {
        Self { method, path, what, fields: &[], shape: Shape::One, line: Line::Any, work }
    }

    /// What the call takes; lists add `filter` and `range` by themselves.
    pub(crate) const fn takes(mut self, fields: &'static [&'static [Field]]) -> Self {
        self.fields = fields;
        self
    }

    /// The answer is a list, with filter and range.
    pub(crate) const fn list(mut self) -> Self {
        self.shape = Shape::List;
        self
    }

    /// Products before V600R003C00 do not know the call.
    pub(crate) const fn new_line(mut self) -> Self {
        self.line = Line::New;
        self
    }

    /// The first word of the path: the object's name.
    pub(crate) fn object(&self) -> &'static str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// `<METHOD> <object>` as fault points name the call: the path without ids.
    pub(crate) fn subject(&self) -> String {
        let words = self.path.split('/').filter(|word| !is_id(word)).collect::<Vec<_>>();
        format!("{} {}", self.method, words.join("/"))
    }

    /// Whether the path fits, and with how many of its words taken for ids.
    fn fits(&self, words: &[String]) -> Option<usize> {
        let mut ids = 0;
        let mut rest = words.iter();
        for part in self.path.split('/') {
            let word = rest.next()?;
            if is_id(part) {
                ids += 1;
            } else if part != word {
                return None;
            }
        }
        rest.next().is_none().then_some(ids)
    }
}

/// Whether a part of a path stands for what the client chooses.
pub(crate) fn is_id(part: &str) -> bool {
    part.starts_with('{')
}

/// A `GET`.
pub(crate) const fn get(path: &'static str, what: &'static str, run: Handler) -> Route {
    Route::new("GET", path, what, Work::Object(run))
}

/// A `POST`.
pub(crate) const fn post(path: &'static str, what: &'static str, run: Handler) -> Route {
    Route::new("POST", path, what, Work::Object(run))
}

/// A `PUT`.
pub(crate) const fn put(path: &'static str, what: &'static str, run: Handler) -> Route {
    Route::new("PUT", path, what, Work::Object(run))
}

/// A `DELETE`.
pub(crate) const fn delete(path: &'static str, what: &'static str, run: Handler) -> Route {
    Route::new("DELETE", path, what, Work::Object(run))
}

/// The rows of the session table.
const SESSIONS: &[Route] = &[
    Route::new(
        "POST",
        "sessions",
        "Log in; the device id in the path is then not known yet: xx.",
        Work::Login,
    )
    .takes(&[&[
        need("username", Kind::Text),
        need("password", Kind::Text),
        may("scope", Kind::Text),
        may("vstorename", Kind::Text),
    ]]),
    Route::new("DELETE", "sessions", "Log out.", Work::Logout),
];

/// Every row, by object and in the order of the modules.
pub(crate) fn all() -> impl Iterator<Item = &'static Route> {
    std::iter::once(&SESSIONS).chain(dialect::ROUTES).copied().flatten()
}

/// The rows by method and object.
static INDEX: LazyLock<BTreeMap<(&'static str, &'static str), Vec<&'static Route>>> = LazyLock::new(|| {
    let mut index: BTreeMap<_, Vec<&'static Route>> = BTreeMap::new();
    for route in all() {
        index.entry((route.method, route.object())).or_default().push(route);
    }
    index
});

/// The row of a call; `words` are the path segments after the device id, in lower case.
pub(crate) fn find(method: &Method, words: &[String]) -> Option<&'static Route> {
    let rows = INDEX.get(&(method.as_str(), words.first()?.as_str()))?;
    let fitting = rows.iter().filter_map(|route| Some((route.fits(words)?, *route)));
    fitting.min_by_key(|(ids, _)| *ids).map(|(_, route)| route)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn found(method: Method, path: &str) -> Option<&'static str> {
        let words: Vec<String> = path.split('/').map(str::to_owned).collect();
        find(&method, &words).map(|route| route.path)
    }

    #[test]
    fn words_win_over_ids() {
        assert_eq!(found(Method::GET, "lun"), Some("lun"));
        assert_eq!(found(Method::GET, "lun/7"), Some("lun/{id}"));
        assert_eq!(found(Method::GET, "lun/count"), Some("lun/count"));
        assert_eq!(found(Method::PUT, "lun/expand"), Some("lun/expand"));
        assert_eq!(found(Method::PUT, "ioclass/active/7"), Some("ioclass/active/{id}"));
        assert_eq!(found(Method::GET, "lun/7/x"), None);
        assert_eq!(found(Method::PATCH, "lun"), None);
        assert_eq!(find(&Method::GET, &[]).map(|route| route.path), None);
    }

    #[test]
    fn no_call_has_two_rows() {
        let mut seen = BTreeSet::new();
        for route in all() {
            let path: Vec<&str> =
                route.path.split('/').map(|part| if is_id(part) { "{}" } else { part }).collect();
            assert!(seen.insert((route.method, path.join("/"))), "{} {}", route.method, route.path);
            assert_eq!(route.path, route.path.to_ascii_lowercase());
            assert!(route.what.ends_with('.') && route.what.len() > 4, "{}", route.path);
        }
    }

    #[test]
    fn subjects_name_the_call_without_ids() {
        let subject = |method: Method, path: &str| {
            let words: Vec<String> = path.split('/').map(str::to_owned).collect();
            find(&method, &words).map(Route::subject)
        };
        assert_eq!(subject(Method::PUT, "lun/expand").unwrap(), "PUT lun/expand");
        assert_eq!(subject(Method::DELETE, "lun/17").unwrap(), "DELETE lun");
        assert_eq!(
            subject(Method::GET, "mappingview/associate/lungroup").unwrap(),
            "GET mappingview/associate/lungroup"
        );
        assert_eq!(subject(Method::PUT, "ioclass/active/7").unwrap(), "PUT ioclass/active");
    }
}
