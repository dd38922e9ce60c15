//! What people and monitoring look at: `GET /` is a page of the array's state, `GET /metrics` the same in numbers
//! (Prometheus text exposition format 0.0.4). Both read only, without a log-in, and for peers on the loopback interface only,
//! since names of objects are nobody else's business. Secrets are on neither.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};
use sanbench_array::{Array, CopyStatus, DeviceId, Lun, SplitStatus};
use serde_json::Value;

use crate::handle::Peer;
use crate::{RestState, lock};

/// Most rows of one table of the page.
const ROWS: usize = 1000;
/// Bytes of a block.
const BLOCK: u64 = 512;

/// Calls answered since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    calls: AtomicU64,
    refused: AtomicU64,
}

impl Tally {
    /// Counts an answer by its code.
    pub(crate) fn count(&self, code: i64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if code != 0 {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The page at this path, if it is one of these and the peer may see it.
pub(crate) fn page(state: &RestState, path: &str, peer: Option<&Peer>) -> Option<Response> {
    if peer.is_some_and(|peer| !peer.0.ip().is_loopback()) {
        return None;
    }
    let (kind, body) = match path {
        "/" => ("text/html; charset=utf-8", html(state)),
        "/metrics" => ("text/plain; version=0.0.4; charset=utf-8", metrics(state)),
        _ => return None,
    };
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    Some(response)
}

/// Background work: what, on which object, its state, its progress in percent.
fn jobs(array: &Array) -> Vec<(&'static str, String, CopyStatus, u8)> {
    let mut out = Vec::new();
    for copy in array.lun_copies() {
        let what = format!("{} to LUN {}", device(copy.source), copy.target);
        out.push(("LUN copy", what, copy.status, copy.progress));
    }
    for pair in array.clone_pairs() {
        let what = format!("{} to LUN {}", device(pair.source), pair.target);
        out.push(("clone pair", what, pair.status, pair.progress));
    }
    for task in array.migrations() {
        let what = format!("LUN {} to the place of LUN {}", task.id, task.target);
        out.push(("migration", what, task.status, task.progress));
    }
    for lun in array.luns() {
        let status = match lun.split {
            SplitStatus::None => continue,
            SplitStatus::Running => CopyStatus::Running,
            SplitStatus::Failed => CopyStatus::Failed,
        };
        out.push(("split", format!("LUN {}", lun.id), status, lun.split_progress));
    }
    for snapshot in array.snapshots() {
        if let Some(rollback) = snapshot.rollback {
            let what = format!("LUN {} to snapshot {}", snapshot.parent, snapshot.id);
            out.push(("rollback", what, rollback.status, rollback.progress));
        }
    }
    out
}

fn device(id: DeviceId) -> String {
    match id {
        DeviceId::Lun(id) => format!("LUN {id}"),
        DeviceId::Snapshot(id) => format!("snapshot {id}"),
    }
}

fn state_name(status: CopyStatus) -> &'static str {
    match status {
        CopyStatus::Created => "created",
        CopyStatus::Running => "running",
        CopyStatus::Complete => "complete",
        CopyStatus::Failed => "failed",
    }
}

// ---- metrics

/// A family of samples: name, help and type once, then each sample.
fn family(out: &mut String, name: &str, kind: &str, help: &str, samples: &[(String, u64)]) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP sanbench_array_{name} {help}\n# TYPE sanbench_array_{name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(out, "sanbench_array_{name}{labels} {value}");
    }
}

/// A label in braces, its value escaped as the format asks.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{{name}=\"{value}\"}}")
}

fn metrics(state: &RestState) -> String {
    let inner = state.inner();
    let mut out = String::new();
    let one = |value: u64| vec![(String::new(), value)];
    let counts = state.counts().into_iter().map(|(kind, n)| (label("kind", kind), n)).collect::<Vec<_>>();
    family(&mut out, "objects", "gauge", "Objects by kind.", &counts);
    let sessions = one(state.sessions() as u64);
    family(&mut out, "management_sessions", "gauge", "Open sessions of the management API.", &sessions);
    let tally = &inner.tally;
    let calls = one(tally.calls.load(Ordering::Relaxed));
    family(&mut out, "management_calls_total", "counter", "Management calls answered.", &calls);
    let refused = one(tally.refused.load(Ordering::Relaxed));
    family(&mut out, "management_refusals_total", "counter", "Calls answered with an error code.", &refused);
    let faults = one(faults(state).len() as u64);
    family(&mut out, "injected_faults", "gauge", "Fault rules in force.", &faults);

    if let Some(gate) = inner.array.gate() {
        let stats = gate.stats();
        let micros = |time: std::time::Duration| one(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let commits = one(stats.commits);
        family(&mut out, "commits_total", "counter", "Commits to the directory of the array.", &commits);
        let help = "Changes that these commits have made durable; divided by them: how many share one.";
        family(&mut out, "promises_kept_total", "counter", help, &one(stats.promises));
        let help = "Pages of 4 KiB written by commits.";
        family(&mut out, "pages_written_total", "counter", help, &one(stats.pages));
        let busy = micros(stats.busy);
        family(&mut out, "commit_microseconds_total", "counter", "Time that commits took.", &busy);
        let longest = micros(stats.longest);
        family(&mut out, "longest_commit_microseconds", "gauge", "The longest commit.", &longest);
    }
    let mut array = inner.array.lock();
    array.advance(inner.env.now());
    let pools = |blocks: &dyn Fn(&sanbench_array::Pool) -> u64| -> Vec<(String, u64)> {
        array.pools().map(|pool| (label("pool", &pool.name), blocks(pool) * BLOCK)).collect()
    };
    let capacity = pools(&|pool| pool.capacity_blocks());
    family(&mut out, "pool_capacity_bytes", "gauge", "Physical capacity.", &capacity);
    let used = pools(&|pool| pool.used_blocks());
    family(&mut out, "pool_used_bytes", "gauge", "Physical space in use, shared extents once.", &used);
    let provisioned = pools(&|pool| pool.provisioned_blocks());
    family(&mut out, "pool_provisioned_bytes", "gauge", "Sum of the sizes of all LUNs.", &provisioned);
    let up: Vec<_> = array
        .controllers()
        .iter()
        .map(|controller| (label("controller", &controller.name), u64::from(controller.up)))
        .collect();
    family(&mut out, "controller_up", "gauge", "1 while the controller works.", &up);
    let online = one(array.initiators().map(|initiator| u64::from(initiator.sessions)).sum());
    family(&mut out, "initiator_sessions", "gauge", "iSCSI sessions of registered initiators.", &online);
    let mut by_state: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, _, status, _) in jobs(&array) {
        *by_state.entry(state_name(status)).or_default() += 1;
    }
    let by_state: Vec<_> = by_state.into_iter().map(|(state, n)| (label("state", state), n)).collect();
    family(&mut out, "jobs", "gauge", "Copies, splits, migrations and rollbacks by state.", &by_state);
    let power = one(array.power_generation());
    family(&mut out, "power_losses_total", "counter", "Times that power was lost.", &power);
    out
}

/// The fault rules of the control surface.
fn faults(state: &RestState) -> Vec<Value> {
    let shown = lock(&state.inner().control).state(&BTreeMap::new(), 0, None);
    shown.ok().and_then(|shown| shown.get("faults").and_then(Value::as_array).cloned()).unwrap_or_default()
}

// ---- the page

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Blocks as a size for people.
fn size(blocks: u64) -> String {
    let bytes = blocks.saturating_mul(BLOCK);
    let units = ["TiB", "GiB", "MiB", "KiB"];
    for (unit, shift) in units.into_iter().zip([40, 30, 20, 10]) {
        if bytes >= 1 << shift {
            let tenths = u128::from(bytes) * 10 / (1 << shift);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// A table under a heading. Cells are HTML already.
fn table(out: &mut String, title: &str, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut shown = String::new();
    let mut n = 0;
    for row in rows {
        n += 1;
        if n <= ROWS {
            let cells: String = row.iter().map(|cell| format!("<td>{cell}</td>")).collect();
            let _ = writeln!(shown, "<tr>{cells}</tr>");
        }
    }
    let _ = writeln!(out, "<h2>{title} ({n})</h2>");
    if n == 0 {
        return;
    }
    let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    let _ = writeln!(out, "<table><thead><tr>{heads}</tr></thead><tbody>{shown}</tbody></table>");
    if n > ROWS {
        let _ = writeln!(out, "<p>The first {ROWS} of {n}.</p>");
    }
}

/// LUNs with their depth, each clone behind the LUN it was made from.
fn tree(array: &Array) -> Vec<(u32, &Lun)> {
    let mut children: BTreeMap<Option<u64>, Vec<&Lun>> = BTreeMap::new();
    for lun in array.luns() {
        let parent = lun.origin.and_then(|origin| match origin.source {
            DeviceId::Lun(id) => Some(id),
            DeviceId::Snapshot(id) => array.snapshot(id).map(|snapshot| snapshot.parent),
        });
        children.entry(parent).or_default().push(lun);
    }
    let mut out = Vec::new();
    let mut stack: Vec<(u32, &Lun)> = children.remove(&None).into_iter().flatten().map(|l| (0, l)).collect();
    stack.reverse();
    while let Some((depth, lun)) = stack.pop() {
        out.push((depth, lun));
        let below = children.remove(&Some(lun.id)).unwrap_or_default();
        stack.extend(below.into_iter().rev().map(|child| (depth + 1, child)));
    }
    out
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem;max-width:75rem;color:#1b1f24;background:#fff}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}table{border-collapse:collapse}\
th,td{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top;border-bottom:1px solid #d8dee4}\
code{font-size:.9em}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}}";

fn html(state: &RestState) -> String {
    let inner = state.inner();
    let sessions = state.sessions();
    let faults = faults(state);
    let mut array = inner.array.lock();
    array.advance(inner.env.now());
    let array = &*array;
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Simulated array {serial}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n\
         <h1>Simulated array {serial}</h1>\n<p>{product}, target <code>{iqn}</code>, {sessions} management sessions, \
         <a href=\"/metrics\">metrics</a></p>\n",
        serial = escape(array.serial()),
        product = escape(array.product()),
        iqn = escape(array.target_iqn()),
    );
    let controllers = array.controllers();
    table(
        &mut out,
        "Controllers",
        &["Name", "State"],
        controllers.iter().map(|controller| {
            vec![escape(&controller.name), if controller.up { "up" } else { "down" }.to_owned()]
        }),
    );
    table(
        &mut out,
        "Pools",
        &["Id", "Name", "Capacity", "Used", "Free", "Provisioned"],
        array.pools().map(|pool| {
            let [capacity, used, free, provisioned] =
                [pool.capacity_blocks(), pool.used_blocks(), pool.free_blocks(), pool.provisioned_blocks()]
                    .map(size);
            vec![pool.id.to_string(), escape(&pool.name), capacity, used, free, provisioned]
        }),
    );
    let luns = tree(array);
    let heads = ["LUN", "Name", "Description", "Pool", "Size", "Own space", "Clone depth", "Owner", "Mapped"];
    table(
        &mut out,
        "LUNs",
        &heads,
        luns.into_iter().map(|(depth, lun)| {
            let indent = format!("<span style=\"padding-left:{}em\">{}</span>", depth.min(40), lun.id);
            let pool = array.pool(lun.pool).map_or("", |pool| pool.name.as_str());
            vec![
                indent,
                escape(&lun.name),
                escape(&lun.description),
                escape(pool),
                size(lun.blocks()),
                size(lun.allocated_blocks()),
                depth.to_string(),
                sanbench_array::controller_name(lun.owner),
                if array.is_mapped(DeviceId::Lun(lun.id)) { "yes" } else { "no" }.to_owned(),
            ]
        }),
    );
    table(
        &mut out,
        "Snapshots",
        &["Id", "Name", "Of LUN", "Size", "State"],
        array.snapshots().map(|snapshot| {
            let state = if snapshot.is_active() { "active" } else { "inactive" };
            let (id, lun) = (snapshot.id.to_string(), snapshot.parent.to_string());
            vec![id, escape(&snapshot.name), lun, size(snapshot.blocks), state.to_owned()]
        }),
    );
    table(
        &mut out,
        "Hosts",
        &["Id", "Name", "Initiators", "Sees (host LUN id: object)"],
        array.hosts().map(|host| {
            let initiators: Vec<String> = array
                .initiators()
                .filter(|initiator| initiator.host == Some(host.id))
                .map(|initiator| {
                    let sessions = initiator.sessions;
                    format!("<code>{}</code>, {sessions} sessions", escape(&initiator.iqn))
                })
                .collect();
            let seen: Vec<String> =
                array.host_luns(host.id).take(64).map(|(id, lun)| format!("{lun}: {}", device(id))).collect();
            vec![host.id.to_string(), escape(&host.name), initiators.join("<br>"), seen.join("<br>")]
        }),
    );
    table(
        &mut out,
        "Portals",
        &["Address", "Location", "Up"],
        array.portals().iter().enumerate().map(|(n, portal)| {
            let up = if array.portal_is_up(n) { "yes" } else { "no" };
            vec![portal.address.to_string(), escape(&portal.location), up.to_owned()]
        }),
    );
    table(
        &mut out,
        "Jobs",
        &["Kind", "What", "State", "Progress"],
        jobs(array).into_iter().map(|job| {
            let (kind, what, status, progress) = job;
            vec![kind.to_owned(), escape(&what), state_name(status).to_owned(), format!("{progress} %")]
        }),
    );
    let faults = faults.iter().map(|fault| vec![format!("<code>{}</code>", escape(&fault.to_string()))]);
    table(&mut out, "Injected faults", &["Rule"], faults);
    out.push_str("</body></html>\n");
    out
}
