//! Names of the fault points.
//!
//! Each call asks two points: `rest.before:<METHOD> <object>` before any work and `rest.after:<METHOD> <object>` when
//! the work is done and the answer is not yet sent. `<object>` is the object's name in lower case with its verb, and
//! without ids and query: `POST lun`, `PUT lun/expand`, `DELETE lun`, `GET lun/associate`, `POST sessions`.
//!
//! | fault | before | after |
//! |---|---|---|
//! | `Fail` | code 1077949006 (busy), nothing done | work done, code 1077949006 |
//! | `Delay` | waits, then works | waits, then answers |
//! | `DropReply` | connection closed, nothing done | work done, connection closed |
//! | `CrashNode` | the crash hook is called; connection closed, nothing done | the same, work done |
//! | `Answer` of a code, an HTTP status, garbage, an endless answer | that, nothing done | that, work done |
//! | `Answer` that alters the true one (cut, mistyped, newer, closing after it) | work done, that | the same |
//! | `Answer(SessionOver)` | the session ends, so that the call is refused with -401 | work done, session ended, -401 |

use http::Method;

use crate::routes::{self, Route};

/// Longest object name in a point; anything longer is a hostile path.
const NAME_BYTES: usize = 64;

/// `<METHOD> <object>` of a call; `words` are the path segments after the device id, in lower case. A call that the array
/// does not know is named by its first word.
pub(crate) fn subject(method: &Method, words: &[String], route: Option<&Route>) -> String {
    match (route, words.first()) {
        (Some(route), _) => route.subject(),
        (None, Some(word)) if word.len() <= NAME_BYTES => format!("{method} {word}"),
        (None, _) => method.as_str().to_owned(),
    }
}

/// Every call that the array knows, as its fault points name it, once each in the order of the table, with what it does.
pub fn endpoints() -> Vec<(String, &'static str)> {
    let mut out: Vec<(String, &'static str)> = Vec::new();
    for route in routes::all() {
        let subject = route.subject();
        // A list and one of its objects are the same point.
        if !out.iter().any(|(known, _)| *known == subject) {
            out.push((subject, route.what));
        }
    }
    out
}
