//! `GET /`: the state of the array for people. Long tables are cut into pages; `?lun=200` shows the LUNs from the 200th on.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use sanbench_array::{Array, DeviceId, Lun};

use super::jobs::{device, jobs, state_name};
use super::{BLOCK, faults};
use crate::query::{Query, number};
use crate::{RestState, lock};

/// Most rows of one table.
const ROWS: usize = 200;
/// Most mappings shown in the row of a host.
const MAPPINGS: usize = 16;

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

/// A share as a bar with its percentage.
fn bar(part: u64, whole: u64) -> String {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    let percent = percent.min(100);
    format!("<span class=\"bar\"><i style=\"width:{percent}%\"></i></span> {percent} %")
}

/// Good or bad, as a word in its colour.
fn state(good: bool, word: &str) -> String {
    format!("<b class=\"{}\">{word}</b>", if good { "ok" } else { "bad" })
}

/// Virtual or real time since the start.
fn ago(now: Duration, then: Duration) -> String {
    let seconds = now.saturating_sub(then).as_secs();
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3600),
    }
}

/// The page as it grows.
struct Page<'a> {
    out: String,
    query: &'a Query,
}

impl Page<'_> {
    /// A table under a heading, one page of it. Cells are HTML already; numbers stand right (`heads` that begin with `#`).
    fn table<T>(
        &mut self,
        (key, title): (&str, &str),
        heads: &[&str],
        len: usize,
        rows: impl Iterator<Item = T>,
        cells: impl Fn(T) -> Vec<String>,
    ) {
        let from = self.query.get(key).and_then(number).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        // From behind the end there is nothing to see.
        let from = if from < len { from } else { 0 };
        let out = &mut self.out;
        let _ = writeln!(out, "<section id=\"{key}\"><h2>{title} <small>{len}</small></h2>");
        if len > 0 {
            let right = |head: &str| if head.starts_with('#') { " class=\"n\"" } else { "" };
            let _ = write!(out, "<div class=\"scroll\"><table><thead><tr>");
            for head in heads {
                let _ = write!(out, "<th scope=\"col\"{}>{}</th>", right(head), head.trim_start_matches('#'));
            }
            out.push_str("</tr></thead><tbody>\n");
            for row in rows.skip(from).take(ROWS) {
                out.push_str("<tr>");
                for (head, cell) in heads.iter().zip(cells(row)) {
                    let _ = write!(out, "<td{}>{cell}</td>", right(head));
                }
                out.push_str("</tr>\n");
            }
            out.push_str("</tbody></table></div>");
        }
        if len > ROWS {
            let to = (from + ROWS).min(len);
            let _ = write!(out, "<p class=\"pages\">{} to {to} of {len}", from + 1);
            if from > 0 {
                let _ = write!(out, " <a href=\"/?{key}={}#{key}\">previous</a>", from.saturating_sub(ROWS));
            }
            if to < len {
                let _ = write!(out, " <a href=\"/?{key}={to}#{key}\">next</a>");
            }
            out.push_str("</p>");
        }
        out.push_str("</section>\n");
    }
}

/// LUNs with their clone depth, each clone behind the LUN it was made from.
fn tree(array: &Array) -> Vec<(u32, &Lun)> {
    let mut children: BTreeMap<u64, Vec<&Lun>> = BTreeMap::new();
    let mut roots = Vec::new();
    for lun in array.luns() {
        let parent = lun.origin.and_then(|origin| match origin.source {
            DeviceId::Lun(id) => Some(id),
            DeviceId::Snapshot(id) => array.snapshot(id).map(|snapshot| snapshot.parent),
        });
        match parent {
            Some(parent) => children.entry(parent).or_default().push(lun),
            None => roots.push(lun),
        }
    }
    let mut out = Vec::new();
    let mut stack: Vec<(u32, &Lun)> = roots.into_iter().rev().map(|lun| (0, lun)).collect();
    while let Some((depth, lun)) = stack.pop() {
        out.push((depth, lun));
        let below = children.remove(&lun.id).unwrap_or_default();
        stack.extend(below.into_iter().rev().map(|child| (depth + 1, child)));
    }
    out
}

const STYLE: &str = ":root{color-scheme:light dark;--ink:#1b1f24;--dim:#59636e;--line:#d8dee4;--card:#f6f8fa;--bg:#fff;\
--fill:#0969da;--good:#1a7f37;--bad:#cf222e}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9198a1;--line:#30363d;--card:#151b23;--bg:#0d1117;\
--fill:#4493f8;--good:#3fb950;--bad:#f85149}}\
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;padding:0 1.5rem;max-width:80rem;color:var(--ink);\
background:var(--bg)}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}h2 small{color:var(--dim);font-weight:400}\
header p{color:var(--dim);margin:.3rem 0 1rem}a{color:var(--fill)}\
.cards{display:flex;flex-wrap:wrap;gap:.8rem;list-style:none;margin:0;padding:0}\
.cards li{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.5rem 1rem;min-width:6rem}\
.cards b{display:block;font-size:1.4rem;font-variant-numeric:tabular-nums}.cards span{color:var(--dim)}\
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{padding:.3rem .9rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}\
th{color:var(--dim);font-weight:600;white-space:nowrap}td{overflow-wrap:anywhere}\
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
code{font-size:.9em}.pages{color:var(--dim)}.pages a{margin-left:.8rem}.ok{color:var(--good)}.bad{color:var(--bad)}\
.bar{display:inline-block;width:7rem;height:.6rem;background:var(--line);border-radius:.3rem;overflow:hidden}\
.bar i{display:block;height:100%;background:var(--fill)}.child::before{content:'\\2514\\00a0';color:var(--dim)}";

/// The whole page.
pub(super) fn html(state: &RestState, query: &Query) -> String {
    let inner = state.inner();
    let now = inner.env.now();
    let sessions = lock(&inner.sessions).list(now);
    let faults = faults(state);
    let mut array = inner.array.lock();
    array.advance(now);
    let array = &*array;
    let mut page = Page { out: String::with_capacity(64 << 10), query };
    head(&mut page.out, array, sessions.len());
    let controllers = array.controllers();
    page.table(
        ("controller", "Controllers"),
        &["Name", "State"],
        controllers.len(),
        controllers.iter(),
        |controller| {
            let word = if controller.up { "up" } else { "down" };
            vec![escape(&controller.name), self::state(controller.up, word)]
        },
    );
    page.table(
        ("pool", "Pools"),
        &["Id", "Name", "Used", "#Used", "#Free", "#Capacity", "#Provisioned"],
        array.pools().count(),
        array.pools(),
        |pool| {
            let [used, free, capacity, provisioned] =
                [pool.used_blocks(), pool.free_blocks(), pool.capacity_blocks(), pool.provisioned_blocks()]
                    .map(size);
            let share = bar(pool.used_blocks(), pool.capacity_blocks());
            vec![pool.id.to_string(), escape(&pool.name), share, used, free, capacity, provisioned]
        },
    );
    luns(&mut page, array);
    page.table(
        ("snapshot", "Snapshots"),
        &["Id", "Name", "Of LUN", "#Size", "State"],
        array.snapshots().count(),
        array.snapshots(),
        |snapshot| {
            let state = if snapshot.is_active() { "active" } else { "inactive" };
            let (id, lun) = (snapshot.id.to_string(), snapshot.parent.to_string());
            vec![id, escape(&snapshot.name), lun, size(snapshot.blocks), state.to_owned()]
        },
    );
    hosts(&mut page, array);
    page.table(
        ("portal", "Portals"),
        &["Address", "Location", "State"],
        array.portals().len(),
        array.portals().iter().enumerate(),
        |(n, portal)| {
            let up = array.portal_is_up(n);
            let state = self::state(up, if up { "up" } else { "down" });
            vec![portal.address.to_string(), escape(&portal.location), state]
        },
    );
    page.table(
        ("session", "Management sessions"),
        &["From", "Opened", "Last used"],
        sessions.len(),
        sessions.iter(),
        |session| {
            let from = session.from.map_or_else(|| "in process".to_owned(), |from| from.to_string());
            vec![from, ago(now, session.since), ago(now, session.used)]
        },
    );
    let jobs = jobs(array);
    page.table(("job", "Jobs"), &["Kind", "What", "State", "Progress"], jobs.len(), jobs.iter(), |job| {
        let (kind, what, status, progress) = job;
        let good = !matches!(status, sanbench_array::CopyStatus::Failed);
        let state = self::state(good, state_name(*status));
        vec![(*kind).to_owned(), escape(what), state, bar(u64::from(*progress), 100)]
    });
    page.table(("fault", "Injected faults"), &["Rule"], faults.len(), faults.iter(), |fault| {
        vec![format!("<code>{}</code>", escape(&fault.to_string()))]
    });
    page.out.push_str("</main></body></html>\n");
    page.out
}

/// Title and the numbers that one wants first.
fn head(out: &mut String, array: &Array, sessions: usize) {
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Simulated array {serial}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n\
         <header><h1>Simulated array {serial}</h1>\n<p>{product}, target <code>{iqn}</code>, \
         <a href=\"/metrics\">metrics</a>, <a href=\"/openapi.json\">description of the API</a></p></header>\n\
         <main><ul class=\"cards\">",
        serial = escape(array.serial()),
        product = escape(array.product()),
        iqn = escape(array.target_iqn()),
    );
    let online: u64 = array.initiators().map(|initiator| u64::from(initiator.sessions)).sum();
    let numbers = [
        ("LUNs", array.luns().count() as u64),
        ("snapshots", array.snapshots().count() as u64),
        ("hosts", array.hosts().count() as u64),
        ("mapping views", array.views().count() as u64),
        ("iSCSI sessions", online),
        ("management sessions", sessions as u64),
    ];
    for (name, n) in numbers {
        let _ = write!(out, "<li><b>{n}</b><span>{name}</span></li>");
    }
    out.push_str("</ul>\n");
}

fn luns(page: &mut Page<'_>, array: &Array) {
    let luns = tree(array);
    let heads =
        ["LUN", "Name", "Description", "Pool", "#Size", "#Own space", "#Clone depth", "Owner", "Mapped"];
    page.table(("lun", "LUNs"), &heads, luns.len(), luns.iter(), |(depth, lun)| {
        let indent = match depth {
            0 => lun.id.to_string(),
            depth => format!(
                "<span class=\"child\" style=\"padding-left:{}em\">{}</span>",
                (depth - 1).min(40),
                lun.id
            ),
        };
        let pool = array.pool(lun.pool).map_or("", |pool| pool.name.as_str());
        vec![
            indent,
            escape(&lun.name),
            escape(&lun.description),
            escape(pool),
            size(lun.blocks()),
            size(lun.allocated_blocks()),
            array.clone_depth(lun.id).to_string(),
            sanbench_array::controller_name(lun.owner),
            if array.is_mapped(DeviceId::Lun(lun.id)) { "yes" } else { "no" }.to_owned(),
        ]
    });
}

fn hosts(page: &mut Page<'_>, array: &Array) {
    let mut by_host: BTreeMap<u64, Vec<&sanbench_array::Initiator>> = BTreeMap::new();
    for initiator in array.initiators() {
        if let Some(host) = initiator.host {
            by_host.entry(host).or_default().push(initiator);
        }
    }
    let heads = ["Id", "Name", "Initiators", "#Mapped", "Host LUN id: object"];
    page.table(("host", "Hosts and mappings"), &heads, array.hosts().count(), array.hosts(), |host| {
        let initiators: Vec<String> = by_host
            .get(&host.id)
            .into_iter()
            .flatten()
            .map(|initiator| {
                let chap = if initiator.use_chap() { ", CHAP" } else { "" };
                format!("<code>{}</code>, {} sessions{chap}", escape(&initiator.iqn), initiator.sessions)
            })
            .collect();
        let n = array.host_luns(host.id).count();
        let mut seen: Vec<String> = array
            .host_luns(host.id)
            .take(MAPPINGS)
            .map(|(id, lun)| format!("{lun}: {}", device(id)))
            .collect();
        if n > MAPPINGS {
            seen.push(format!("and {} more", n - MAPPINGS));
        }
        vec![
            host.id.to_string(),
            escape(&host.name),
            initiators.join("<br>"),
            n.to_string(),
            seen.join("<br>"),
        ]
    });
}
