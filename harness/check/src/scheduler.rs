//! The scheduler's choice, computed again from the reports alone.
//!
//! Source: the filters AvailabilityZone, Capacity and Capabilities and the Capacity weigher of Cinder (workflow contract
//! 1.3 to 1.8). Written apart from the scheduler under test and in another shape: pools are ranked by what they can still
//! promise, without the normalised weights, which never change an order.

use std::collections::BTreeMap;

use sanbench_api::{Capability, Capacity, OverSubscription, PoolStats};

use crate::verdict::Finding;

const CHECKER: &str = "scheduler";

/// Two capacities closer than this are a tie: reports are rounded to two decimals.
const TIE_GIB: f64 = 0.015;

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// GiB in addition to what exists; 0 for a snapshot without accounting.
    pub size_gib: u64,
    /// Extra specs of the volume type.
    pub extra_specs: BTreeMap<String, String>,
    /// Zone, if one was asked for.
    pub availability_zone: Option<String>,
    /// `host@backend` or `host@backend#pool` where it must be (source affinity).
    pub pinned: Option<String>,
    /// An extend of a volume that is attached.
    pub online_extend: bool,
    /// Pools that failed this request before.
    pub attempted: Vec<String>,
}

/// One pool as it was known at the time.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// `host@backend#pool`.
    pub host: String,
    /// Zone of its service.
    pub zone: String,
    /// Its service is enabled and up.
    pub enabled: bool,
    /// The name that types pin to.
    pub volume_backend_name: String,
    /// Back-end-level capabilities: `vendor_name`, `driver_version`, `storage_protocol`.
    pub backend: BTreeMap<String, String>,
    /// Its report.
    pub stats: PoolStats,
    /// GiB promised since the report.
    pub consumed_gib: f64,
    /// Sum of the sizes of its volumes, for a report without provisioned capacity.
    pub allocated_gib: f64,
}

/// Options that were in force.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// `capacity_weight_multiplier`.
    pub weight_multiplier: f64,
    /// `max_over_subscription_ratio` where a pool derives none.
    pub default_ratio: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { weight_multiplier: 1.0, default_ratio: 20.0 }
    }
}

/// Why a pool cannot be chosen, with the requirement that choosing it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The requirement.
    pub requirement: &'static str,
    /// Signature word.
    pub filter: &'static str,
    /// The reason.
    pub reason: String,
}

/// What a pool can promise.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Room {
    /// GiB that it can promise at most; `None` when it does not know.
    at_most: Option<f64>,
    /// GiB that it can still promise; `None` when it does not know.
    left: Option<f64>,
    ratio: f64,
}

/// Judges a decision: the chosen pool passes every filter and no passing pool ranks above it; nothing is chosen only if
/// nothing passes. A tie may go either way.
#[must_use]
pub fn check_decision(
    request: &Request,
    pools: &[Pool],
    options: Options,
    chosen: Option<&str>,
) -> Vec<Finding> {
    let judged: Vec<(&Pool, Option<Rejection>)> =
        pools.iter().map(|pool| (pool, reject(request, pool, options))).collect();
    let passing = || judged.iter().filter(|(_, rejection)| rejection.is_none()).map(|(pool, _)| *pool);
    let finding = |requirement: &str, field: &str, message: String, expected: String, observed: &str| {
        vec![Finding::new(requirement, CHECKER, "decision", field).says(message).compared(expected, observed)]
    };
    let Some(chosen) = chosen else {
        let could: Vec<&str> = passing().map(|pool| pool.host.as_str()).collect();
        if could.is_empty() {
            return Vec::new();
        }
        let message = "no pool was chosen although some satisfy the request".to_owned();
        return finding("SCH-001", "none chosen", message, could.join(", "), "none");
    };
    let Some((pool, rejection)) = judged.iter().find(|(pool, _)| pool.host == chosen) else {
        let message = format!("{chosen} was chosen, which no service reports");
        return finding("SCH-001", "unknown pool", message, "a reported pool".to_owned(), chosen);
    };
    if let Some(rejection) = rejection {
        let message = format!("{chosen} was chosen although it must be filtered out");
        return finding(rejection.requirement, rejection.filter, message, rejection.reason.clone(), chosen);
    }
    let own = rank(request, pool, options);
    let better = passing().find(|other| rank(request, other, options) > own + TIE_GIB);
    let Some(better) = better else { return Vec::new() };
    // A pool that knows its room must win over one that does not.
    let blind = room(request, pool, options).left.is_none();
    let requirement = if blind { "SCH-004" } else { "SCH-007" };
    let message = format!("{chosen} was chosen although {} ranks above it", better.host);
    finding(requirement, "rank", message, better.host.clone(), chosen)
}

/// Why this pool cannot take the request; `None` if it can.
#[must_use]
pub fn reject(request: &Request, pool: &Pool, options: Options) -> Option<Rejection> {
    let no = |requirement, filter, reason: String| Some(Rejection { requirement, filter, reason });
    if !pool.enabled {
        return no("SCH-006", "service", "its service is disabled or down".to_owned());
    }
    if request.attempted.contains(&pool.host) {
        return no("SCH-003", "retry", "it failed this request before".to_owned());
    }
    if let Some(zone) = request.availability_zone.as_ref().filter(|zone| **zone != pool.zone) {
        return no("SCH-001", "zone", format!("zone {zone} was asked for, it is in {}", pool.zone));
    }
    let elsewhere = request.pinned.as_ref().filter(|pin| match pin.contains('#') {
        true => **pin != pool.host,
        false => pool.host.split('#').next() != Some(pin),
    });
    if let Some(pin) = elsewhere {
        return no("SCH-005", "affinity", format!("the source lives on {pin}"));
    }
    if let Some(reason) = no_room(request, pool, options) {
        return no("CAP-008", "capacity", reason);
    }
    if request.online_extend && !pool.stats.online_extend_support {
        return no("EXT-011", "online extend", "it cannot grow an attached volume".to_owned());
    }
    let unmet = request.extra_specs.iter().find(|(key, wanted)| !spec_met(pool, key, wanted))?;
    no("SCH-001", "capabilities", format!("{} is not {:?}", unmet.0, unmet.1))
}

/// All volumes of a pool together never exceed what it may promise (SCH-002).
#[must_use]
pub fn check_promised(pool: &Pool, thin: bool, options: Options, sum_of_sizes_gib: f64) -> Vec<Finding> {
    let kind = if thin { "thin" } else { "thick" };
    let extra_specs = BTreeMap::from([("provisioning:type".to_owned(), kind.to_owned())]);
    let request = Request { extra_specs, ..Request::default() };
    match room(&request, pool, options).at_most {
        Some(at_most) if sum_of_sizes_gib > at_most + TIE_GIB => vec![
            Finding::new("SCH-002", CHECKER, "pool", "over-allocated")
                .says(format!("{} was promised more than it may give", pool.host))
                .compared(format!("at most {at_most:.2} GiB"), format!("{sum_of_sizes_gib:.2} GiB")),
        ],
        _ => Vec::new(),
    }
}

fn hundredths(gib: f64) -> f64 {
    (gib * 100.0).round() / 100.0
}

fn room(request: &Request, pool: &Pool, options: Options) -> Room {
    let stats = &pool.stats;
    let (Capacity::Gib(total), Capacity::Gib(free)) = (stats.total_capacity_gb, stats.free_capacity_gb)
    else {
        return Room { at_most: None, left: None, ratio: 1.0 };
    };
    let free = free - pool.consumed_gib;
    let provisioned = match stats.provisioned_capacity_gb {
        Some(reported) => reported + pool.consumed_gib,
        None => pool.allocated_gib,
    };
    let thin = stats.thin_provisioning_support
        && request.extra_specs.get("provisioning:type").map(String::as_str) != Some("thick");
    let ratio = match stats.max_over_subscription_ratio {
        _ if !stats.thin_provisioning_support => 1.0,
        OverSubscription::Ratio(ratio) => ratio,
        OverSubscription::Auto if provisioned == 0.0 => options.default_ratio,
        OverSubscription::Auto => hundredths(1.0 + provisioned / (total - free + 1.0)),
    };
    let reserved = (total * f64::from(stats.reserved_percentage) / 100.0).floor();
    let at_most = hundredths((total - reserved) * if thin { ratio } else { 1.0 });
    let unpromised = hundredths(at_most - provisioned);
    let left = if thin { unpromised } else { hundredths(unpromised.min(free)) };
    Room { at_most: Some(at_most), left: Some(left), ratio }
}

/// The capacity filter, in the order of its decisions.
fn no_room(request: &Request, pool: &Pool, options: Options) -> Option<String> {
    let stats = &pool.stats;
    let wanted = request.size_gib as f64;
    if request.size_gib == 0 || !matches!(stats.free_capacity_gb, Capacity::Gib(_)) {
        return None;
    }
    let room = room(request, pool, options);
    let (Some(at_most), Some(left)) = (room.at_most, room.left) else {
        // Free is a number, total is not.
        return (stats.reserved_percentage > 0).then(|| "a share of an unknown total is reserved".to_owned());
    };
    if matches!(stats.total_capacity_gb, Capacity::Gib(total) if total <= 0.0) || at_most <= 0.0 {
        return Some("it has nothing to give".to_owned());
    }
    let thin = stats.thin_provisioning_support
        && request.extra_specs.get("provisioning:type").map(String::as_str) != Some("thick");
    if thin && room.ratio < 1.0 {
        return Some(format!("its over-subscription ratio {} is below 1", room.ratio));
    }
    (left < wanted).then(|| format!("{left:.2} GiB can be promised, {wanted:.0} GiB are asked for"))
}

/// What a pool is ranked by; higher is better.
fn rank(request: &Request, pool: &Pool, options: Options) -> f64 {
    let sign = if options.weight_multiplier == 0.0 { 0.0 } else { options.weight_multiplier.signum() };
    match room(request, pool, options).left {
        Some(left) => sign * left,
        None if sign > 0.0 => -1.0,
        // Turned round, not knowing counts as having most, and so still ranks last.
        None if sign < 0.0 => f64::NEG_INFINITY,
        None => 0.0,
    }
}

fn spec_met(pool: &Pool, key: &str, wanted: &str) -> bool {
    let path = match key.split_once(':') {
        Some(("capabilities", rest)) => rest,
        // Another scope is the vendor's own affair.
        Some(_) => return true,
        None => key,
    };
    if let Some(own) = pool.stats.capabilities.get(path) {
        return meets(own, wanted);
    }
    let stats = &pool.stats;
    let flag = match path {
        "multiattach" => Some(stats.multiattach),
        "thin_provisioning_support" => Some(stats.thin_provisioning_support),
        "thick_provisioning_support" => Some(stats.thick_provisioning_support),
        "online_extend_support" => Some(stats.online_extend_support),
        _ => None,
    };
    if let Some(flag) = flag {
        return meets(&Capability::Bool(flag), wanted);
    }
    match path {
        "volume_backend_name" => return meets(&Capability::Text(pool.volume_backend_name.clone()), wanted),
        "pool_name" => return meets(&Capability::Text(stats.pool_name.clone()), wanted),
        "reserved_percentage" => {
            return meets(&Capability::Number(f64::from(stats.reserved_percentage)), wanted);
        }
        _ => {}
    }
    if let Some(text) = pool.backend.get(path) {
        let text = Capability::Text(text.clone());
        // Every spelling of the protocol counts.
        let folded = path == "storage_protocol" && wanted.eq_ignore_ascii_case("iscsi");
        return meets(&text, wanted)
            || (folded && matches!(&text, Capability::Text(t) if t.eq_ignore_ascii_case(wanted)));
    }
    let mut parts = path.split(':');
    let first = parts.next().and_then(|part| stats.capabilities.get(part));
    let found = parts.try_fold(first, |at, part| match at {
        Some(Capability::Map(map)) => Ok(map.get(part)),
        _ => Err(()),
    });
    matches!(found, Ok(Some(value)) if meets(value, wanted))
}

/// The requirement grammar: an operator as the first word, or else plain equality.
fn meets(value: &Capability, wanted: &str) -> bool {
    if let Capability::List(values) = value {
        return values.iter().any(|value| meets(value, wanted));
    }
    let mut words = wanted.split_whitespace();
    let operator = words.next().unwrap_or("");
    let rest: Vec<&str> = words.collect();
    let text = match value {
        Capability::Text(text) => text.clone(),
        Capability::Number(number) => number.to_string(),
        Capability::Bool(true) => "True".to_owned(),
        Capability::Bool(false) => "False".to_owned(),
        Capability::List(_) | Capability::Map(_) => return false,
    };
    // Python counts with truth values: `float(True)` is 1.
    let have = match value {
        Capability::Bool(flag) => Some(f64::from(u8::from(*flag))),
        _ => text.trim().parse::<f64>().ok(),
    };
    let numbers = || Some((have?, rest.first()?.parse::<f64>().ok()?));
    let number = |holds: fn(f64, f64) -> bool| numbers().is_some_and(|(have, want)| holds(have, want));
    let word = |holds: fn(&str, &str) -> bool| rest.first().is_some_and(|want| holds(&text, want));
    match operator {
        "=" | ">=" => number(|have, want| have >= want),
        "==" => number(|have, want| have == want),
        "!=" => number(|have, want| have != want),
        "<=" => number(|have, want| have <= want),
        "s==" => word(|have, want| have == want),
        "s!=" => word(|have, want| have != want),
        "s<" => word(|have, want| have < want),
        "s<=" => word(|have, want| have <= want),
        "s>" => word(|have, want| have > want),
        "s>=" => word(|have, want| have >= want),
        "<in>" => word(|have, want| have.contains(want)),
        "<is>" => rest.first().is_some_and(|want| truth(&text) == truth(want)),
        "<or>" => rest.iter().any(|want| *want != "<or>" && *want == text),
        // A value that is no text never equals one.
        _ => matches!(value, Capability::Text(have) if have == wanted),
    }
}

fn truth(word: &str) -> bool {
    matches!(word.trim().to_ascii_lowercase().as_str(), "1" | "t" | "true" | "on" | "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::tests::pool as stats;

    fn pool(name: &str, total: f64, free: f64, provisioned: f64) -> Pool {
        let mut stats = stats(name, total, free, provisioned);
        stats.max_over_subscription_ratio = OverSubscription::Ratio(2.0);
        stats.capabilities.insert("tier".into(), Capability::Text("gold".into()));
        Pool {
            host: format!("h@b#{name}"),
            zone: "nova".into(),
            enabled: true,
            volume_backend_name: "b".into(),
            backend: BTreeMap::from([("storage_protocol".to_owned(), "iSCSI".to_owned())]),
            stats,
            consumed_gib: 0.0,
            allocated_gib: 0.0,
        }
    }

    fn asks(size_gib: u64) -> Request {
        Request { size_gib, ..Request::default() }
    }

    fn specs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn fires(request: &Request, pools: &[Pool], chosen: Option<&str>) -> Vec<String> {
        let findings = check_decision(request, pools, Options::default(), chosen);
        findings.into_iter().map(|f| format!("{} {}", f.requirement, f.signature)).collect()
    }

    #[test]
    fn the_roomiest_pool_is_right_and_others_fire() {
        let pools = [pool("a", 100.0, 90.0, 10.0), pool("b", 100.0, 90.0, 50.0)];
        assert_eq!(fires(&asks(5), &pools, Some("h@b#a")), [""; 0]);
        assert_eq!(fires(&asks(5), &pools, Some("h@b#b")), ["SCH-007 scheduler:decision:rank"]);
        assert_eq!(fires(&asks(5), &pools, None), ["SCH-001 scheduler:decision:none chosen"]);
        assert_eq!(fires(&asks(500), &pools, None), [""; 0]);
        assert_eq!(fires(&asks(5), &pools, Some("h@b#z")), ["SCH-001 scheduler:decision:unknown pool"]);
    }

    #[test]
    fn a_tie_may_go_either_way() {
        let pools = [pool("a", 100.0, 90.0, 10.0), pool("b", 100.0, 20.0, 10.0)];
        for chosen in ["h@b#a", "h@b#b"] {
            assert_eq!(fires(&asks(5), &pools, Some(chosen)), [""; 0], "thin room does not depend on free");
        }
    }

    #[test]
    fn each_filter_has_its_requirement() {
        let good = pool("a", 100.0, 90.0, 10.0);
        let chosen = Some("h@b#a");
        let mut off = good.clone();
        off.enabled = false;
        assert_eq!(fires(&asks(5), &[off], chosen), ["SCH-006 scheduler:decision:service"]);
        let request = Request { attempted: vec![good.host.clone()], ..asks(5) };
        assert_eq!(
            fires(&request, std::slice::from_ref(&good), chosen),
            ["SCH-003 scheduler:decision:retry"]
        );
        let request = Request { availability_zone: Some("z2".into()), ..asks(5) };
        assert_eq!(fires(&request, std::slice::from_ref(&good), chosen), ["SCH-001 scheduler:decision:zone"]);
        let request = Request { pinned: Some("h@b#other".into()), ..asks(5) };
        assert_eq!(
            fires(&request, std::slice::from_ref(&good), chosen),
            ["SCH-005 scheduler:decision:affinity"]
        );
        let request = Request { extra_specs: specs(&[("tier", "silver")]), ..asks(5) };
        assert_eq!(
            fires(&request, std::slice::from_ref(&good), chosen),
            ["SCH-001 scheduler:decision:capabilities"]
        );
        assert_eq!(
            fires(&asks(191), std::slice::from_ref(&good), chosen),
            ["CAP-008 scheduler:decision:capacity"]
        );
        assert_eq!(fires(&asks(190), std::slice::from_ref(&good), chosen), [""; 0]);
        let thick = Request { extra_specs: specs(&[("provisioning:type", "thick")]), ..asks(91) };
        assert_eq!(
            fires(&thick, std::slice::from_ref(&good), chosen),
            ["CAP-008 scheduler:decision:capacity"]
        );
    }

    #[test]
    fn promises_since_the_report_count() {
        let mut full = pool("a", 100.0, 90.0, 10.0);
        full.consumed_gib = 189.0;
        assert_eq!(fires(&asks(2), std::slice::from_ref(&full), Some("h@b#a")).len(), 1);
        assert_eq!(fires(&asks(1), &[full], Some("h@b#a")), [""; 0]);
    }

    #[test]
    fn not_knowing_ranks_last() {
        let mut blind = pool("b", 100.0, 90.0, 10.0);
        blind.stats.free_capacity_gb = Capacity::Unknown;
        let pools = [pool("a", 100.0, 90.0, 10.0), blind];
        assert_eq!(fires(&asks(1), &pools, Some("h@b#b")), ["SCH-004 scheduler:decision:rank"]);
    }

    #[test]
    fn over_allocation_fires() {
        let pool = pool("a", 100.0, 90.0, 10.0);
        assert_eq!(check_promised(&pool, true, Options::default(), 200.0), []);
        assert_eq!(check_promised(&pool, true, Options::default(), 201.0)[0].requirement, "SCH-002");
        assert_eq!(check_promised(&pool, false, Options::default(), 101.0)[0].requirement, "SCH-002");
    }

    #[test]
    fn the_requirement_grammar() {
        let text = |t: &str| Capability::Text(t.into());
        let nested = Capability::Map(BTreeMap::from([("x".to_owned(), Capability::Number(3.0))]));
        for (value, wanted, holds) in [
            (text("gold"), "gold", true),
            (text("gold"), "Gold", false),
            (Capability::Number(3.0), "3", false),
            (Capability::Number(3.0), ">= 3", true),
            (Capability::Number(3.0), "= 4", false),
            (Capability::Number(3.0), "== 3.0", true),
            (Capability::Number(3.0), "!= 3", false),
            (Capability::Number(3.0), "<= 2", false),
            (text("b"), "s> a", true),
            (text("b"), "s<= a", false),
            (text("abc"), "<in> bc", true),
            (Capability::Bool(true), "<is> True", true),
            (Capability::Bool(true), "<is> false", false),
            (Capability::Bool(true), ">= 1", true),
            (Capability::Bool(false), "== 1", false),
            (text("b"), "<or> a <or> b", true),
            (text("c"), "<or> a <or> b", false),
            (Capability::List(vec![text("a"), text("b")]), "b", true),
            (nested, "3", false),
            (text("x"), ">= 1", false),
            (text("x"), ">=", false),
        ] {
            assert_eq!(meets(&value, wanted), holds, "{value:?} {wanted:?}");
        }
    }

    #[test]
    fn keys_walk_into_maps_and_other_scopes_are_ignored() {
        let mut pool = pool("a", 100.0, 90.0, 10.0);
        let map = BTreeMap::from([("x".to_owned(), Capability::Number(3.0))]);
        pool.stats.capabilities.insert("deep".into(), Capability::Map(map));
        for (key, wanted, holds) in [
            ("capabilities:deep:x", "== 3", true),
            ("capabilities:deep:y", "== 3", false),
            ("capabilities:deep:x:z", "== 3", false),
            ("vendor:whatever", "no", true),
            ("volume_backend_name", "b", true),
            ("storage_protocol", "iscsi", true),
            ("multiattach", "<is> True", false),
            ("absent", "x", false),
        ] {
            assert_eq!(spec_met(&pool, key, wanted), holds, "{key} {wanted}");
        }
    }
}
