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

use http::Method;

/// Second and later path segments that are verbs or object names, not ids.
const VERBS: &[&str] = &[
    "activate",
    "active",
    "associate",
    "cachepartition",
    "cancelrollback",
    "count",
    "create_associate",
    "expand",
    "feature",
    "lungroup",
    "portgroup",
    "relation",
    "remove_associate",
    "remove_iscsi_from_host",
    "rollback",
    "start",
    "stop",
    "synchronize",
    "targetlun",
];

/// Longest object name in a point; anything longer is a hostile path.
const NAME_BYTES: usize = 64;

/// `<METHOD> <object>` of a call; `words` are the path segments after the device id, in lower case.
pub(crate) fn subject(method: &Method, words: &[String]) -> String {
    let mut out = method.as_str().to_owned();
    let mut mark = ' ';
    for (at, word) in words.iter().enumerate() {
        if word.len() <= NAME_BYTES && (at == 0 || VERBS.contains(&word.as_str())) {
            out.push(mark);
            out.push_str(word);
            mark = '/';
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_left_out() {
        let words = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(subject(&Method::PUT, &words("lun/expand")), "PUT lun/expand");
        assert_eq!(subject(&Method::DELETE, &words("lun/17")), "DELETE lun");
        assert_eq!(
            subject(&Method::GET, &words("mappingview/associate/lungroup")),
            "GET mappingview/associate/lungroup"
        );
        assert_eq!(subject(&Method::PUT, &words("ioclass/active/7")), "PUT ioclass/active");
    }
}
