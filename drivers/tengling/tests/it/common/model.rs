//! The scripted array's objects.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;
type Table = BTreeMap<u64, Object>;

/// Objects by collection and id.
pub struct State {
    tables: BTreeMap<&'static str, Table>,
    next: u64,
    pub account_state: u64,
    pub version: &'static str,
    /// Polls that a split takes.
    pub split_polls: u64,
    /// Splits never begin.
    pub split_fails: bool,
    /// Times that a mapped LUN is listed without its number.
    pub hide_lun_id: u32,
    /// (group collection, group id, member kind, member id)
    members: Vec<(String, u64, String, u64)>,
    initiators: BTreeMap<String, Object>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            tables: BTreeMap::new(),
            next: 0,
            account_state: 1,
            version: "V600R003C00",
            split_polls: 2,
            split_fails: false,
            hide_lun_id: 0,
            members: Vec::new(),
            initiators: BTreeMap::new(),
        }
    }
}

const KINDS: &[(&str, &str, &str, i64)] = &[
    ("lun", "lun", "11", 1_077_936_859),
    ("snapshot", "snapshot", "27", 1_077_937_880),
    ("host", "host", "21", 1_077_937_498),
    ("hostgroup", "hostgroup", "14", 1_077_937_500),
    ("lungroup", "lungroup", "256", 1_077_936_861),
    ("mappingview", "mappingview", "245", 1_077_951_819),
    ("luncopy", "luncopy", "219", 50_338_560),
    ("clonepair", "clonepair", "-", 1_073_798_147),
];

fn text(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn number(value: &Value) -> u64 {
    text(value).parse().unwrap_or(u64::MAX)
}

impl State {
    fn table(&mut self, name: &'static str) -> &mut Table {
        self.tables.entry(name).or_default()
    }

    /// Counts of everything that exists, by collection.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts: BTreeMap<_, _> =
            self.tables.iter().map(|(k, t)| (*k, t.len())).filter(|(_, n)| *n > 0).collect();
        if !self.initiators.is_empty() {
            counts.insert("iscsi_initiator", self.initiators.len());
        }
        counts
    }

    /// `NAME (DESCRIPTION)` of the LUNs.
    pub fn luns(&self) -> Vec<String> {
        let empty = Table::new();
        let table = self.tables.get("lun").unwrap_or(&empty);
        table.values().map(|l| format!("{} ({})", text(&l["NAME"]), text(&l["DESCRIPTION"]))).collect()
    }

    /// Plants a LUN.
    pub fn plant(&mut self, name: &str, description: &str, sectors: u64) -> u64 {
        let id = self.next();
        let object = lun(id, name, description, sectors);
        self.table("lun").insert(id, object);
        id
    }

    /// Binds an initiator to another host.
    pub fn plant_initiator(&mut self, iqn: &str, host: &str) {
        let object = json!({"ID": iqn, "ISFREE": "false", "PARENTID": host, "USECHAP": "false"});
        self.initiators.insert(iqn.to_owned(), object.as_object().unwrap().clone());
    }

    pub fn initiator(&self, iqn: &str) -> Option<Value> {
        self.initiators.get(iqn).map(|o| Value::Object(o.clone()))
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn linked(&self, kind: &str, id: u64) -> bool {
        self.tables.get("lun").is_some_and(|t| {
            t.values().any(|l| {
                l.get("ISCLONE").is_some_and(|c| c == "true")
                    && number(&l["CLONESOURCEID"]) == id
                    && l["CLONESOURCETYPE"] == kind
            })
        })
    }

    pub fn handle(&mut self, method: &Method, path: &str, body: &Value) -> (i64, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query: BTreeMap<&str, &str> = query.split('&').filter_map(|p| p.split_once('=')).collect();
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["system"]) => (0, json!({"ID": "2102350", "PRODUCTVERSION": self.version})),
            ("GET", ["storagepool"]) => (
                0,
                json!([{"ID": "0", "NAME": "pool0", "USAGETYPE": "1", "USERTOTALCAPACITY": "2097152000",
                    "USERFREECAPACITY": "2095054848", "LUNCONFIGEDCAPACITY": "2097152", "TIER0CAPACITY": "1"}]),
            ),
            ("GET", ["iscsi_tgt_port"]) => {
                let port = |n: u32| {
                    json!({"ID": format!("{n}+iqn.2006-08.com.huawei:oceanstor:21003400a30d844d::2020{n}:10.0.9.{n},t,0x{n:04}"),
                        "ETHPORTID": n.to_string(), "PORT": (4000 + n).to_string()})
                };
                (0, json!([port(1), port(2), port(3)]))
            }
            ("GET", ["eth_port"]) => {
                let port =
                    |n: u32, up: &str| json!({"ID": n.to_string(), "HEALTHSTATUS": "1", "RUNNINGSTATUS": up});
                (0, json!([port(1, "10"), port(2, "10"), port(3, "11")]))
            }
            (_, ["iscsi_initiator", ..]) => self.initiator_call(method, &parts, &query, body),
            ("PUT", ["lunclone_split_switch"]) => self.split(number(&body["ID"])),
            ("POST", ["clonepair", "relation"]) => {
                let target = text(&body["targetID"]);
                self.insert("clonepair", json!({"targetID": target, "copyStatus": "0", "syncStatus": "1"}))
            }
            ("PUT", ["clonepair", "synchronize"]) => {
                let id = number(&body["ID"]);
                self.table("clonepair").get_mut(&id).unwrap().insert("syncStatus".into(), "2".into());
                (0, json!({}))
            }
            ("PUT", ["luncopy", "start"]) => {
                let id = number(&body["ID"]);
                self.table("luncopy").get_mut(&id).unwrap().insert("RUNNINGSTATUS".into(), "40".into());
                (0, json!({}))
            }
            ("POST", ["snapshot", "activate"]) => {
                let id = number(&body["SNAPSHOTLIST"][0]);
                match self.table("snapshot").get_mut(&id) {
                    Some(s) => {
                        s.insert("RUNNINGSTATUS".into(), "43".into());
                        (0, json!({}))
                    }
                    None => (1_077_937_880, Value::Null),
                }
            }
            ("PUT", ["snapshot", "stop"]) => {
                let id = number(&body["ID"]);
                if self.linked("27", id) {
                    return (1_077_936_870, Value::Null);
                }
                match self.table("snapshot").get_mut(&id) {
                    Some(s) => {
                        s.insert("RUNNINGSTATUS".into(), "45".into());
                        (0, json!({}))
                    }
                    None => (1_077_937_880, Value::Null),
                }
            }
            ("PUT", ["lun", "expand"]) => {
                let (id, sectors) = (number(&body["ID"]), number(&body["CAPACITY"]));
                match self.table("lun").get_mut(&id) {
                    None => (1_077_936_859, Value::Null),
                    Some(l) if number(&l["CAPACITY"]) >= sectors => (1_077_936_875, Value::Null),
                    Some(l) => {
                        l.insert("CAPACITY".into(), sectors.to_string().into());
                        (0, json!({}))
                    }
                }
            }
            ("POST", ["lungroup" | "hostgroup", "associate"]) => {
                let member = (
                    parts[0].to_owned(),
                    number(&body["ID"]),
                    text(&body["ASSOCIATEOBJTYPE"]),
                    number(&body["ASSOCIATEOBJID"]),
                );
                if self.members.contains(&member) {
                    return (if parts[0] == "lungroup" { 1_077_936_862 } else { 1_077_937_501 }, Value::Null);
                }
                self.members.push(member);
                (0, json!({}))
            }
            ("DELETE", ["lungroup" | "host", "associate"]) => {
                let group = if parts[0] == "host" { "hostgroup" } else { parts[0] };
                let member = (
                    group.into(),
                    query["ID"].parse().unwrap(),
                    query["ASSOCIATEOBJTYPE"].into(),
                    query["ASSOCIATEOBJID"].parse().unwrap(),
                );
                let before = self.members.len();
                self.members.retain(|m| *m != member);
                (if self.members.len() < before { 0 } else { 1_077_948_996 }, json!({}))
            }
            ("PUT", ["mappingview", verb @ ("create_associate" | "remove_associate")]) => {
                let member = (
                    "mappingview".to_owned(),
                    number(&body["ID"]),
                    text(&body["ASSOCIATEOBJTYPE"]),
                    number(&body["ASSOCIATEOBJID"]),
                );
                match (*verb, self.members.iter().position(|m| *m == member)) {
                    ("create_associate", Some(_)) => (1_073_804_556, Value::Null),
                    ("create_associate", None) => {
                        self.members.push(member);
                        (0, json!({}))
                    }
                    (_, Some(at)) => {
                        self.members.remove(at);
                        (0, json!({}))
                    }
                    (_, None) => (1_073_804_552, Value::Null),
                }
            }
            ("GET", ["lun" | "snapshot", "count"]) => {
                let kind = if parts[0] == "lun" { "11" } else { "27" };
                let group: u64 = query["ASSOCIATEOBJID"].parse().unwrap();
                let n =
                    self.members.iter().filter(|m| m.0 == "lungroup" && m.1 == group && m.2 == kind).count();
                (0, json!({"COUNT": n.to_string()}))
            }
            ("GET", [collection, "associate"]) => self.associated(collection, &query),
            (_, [collection, rest @ ..]) => {
                let Some((name, ..)) = KINDS.iter().find(|k| k.0 == *collection) else {
                    return (50_331_651, Value::Null);
                };
                match (method.as_str(), rest) {
                    ("GET", []) => self.list(name, &query),
                    ("POST", []) => self.create(name, body),
                    (_, [id]) => self.one(method, name, id.parse().unwrap_or(u64::MAX), body),
                    _ => (50_331_651, Value::Null),
                }
            }
            _ => (50_331_651, Value::Null),
        }
    }

    fn insert(&mut self, table: &'static str, object: Value) -> (i64, Value) {
        let id = self.next();
        let mut object = object.as_object().unwrap().clone();
        object.insert("ID".into(), id.to_string().into());
        self.table(table).insert(id, object.clone());
        (0, Value::Object(object))
    }

    fn create(&mut self, name: &'static str, body: &Value) -> (i64, Value) {
        if self.table(name).values().any(|o| o["NAME"] == body["NAME"]) {
            return (1_077_948_993, Value::Null);
        }
        let (n, d) = (text(&body["NAME"]), text(&body["DESCRIPTION"]));
        match name {
            "lun" if body["ISCLONE"] == true => {
                let source = number(&body["CLONESOURCEID"]);
                let kind = text(&body["CLONESOURCETYPE"]);
                let sectors = match kind.as_str() {
                    "27" => self.table("snapshot").get(&source).map(|s| number(&s["USERCAPACITY"])),
                    _ => self.table("lun").get(&source).map(|l| number(&l["CAPACITY"])),
                };
                let Some(sectors) = sectors else { return (1_077_936_859, Value::Null) };
                let id = self.next();
                let mut object = lun(id, &n, &d, sectors);
                object.insert("ISCLONE".into(), "true".into());
                object.insert("CLONESOURCEID".into(), source.to_string().into());
                object.insert("CLONESOURCETYPE".into(), kind.into());
                self.table("lun").insert(id, object.clone());
                (0, Value::Object(object))
            }
            "lun" => {
                let id = self.next();
                let object = lun(id, &n, &d, number(&body["CAPACITY"]));
                self.table("lun").insert(id, object.clone());
                (0, Value::Object(object))
            }
            "snapshot" => {
                let parent = number(&body["PARENTID"]);
                let Some(size) = self.table("lun").get(&parent).map(|l| l["CAPACITY"].clone()) else {
                    return (1_077_936_859, Value::Null);
                };
                self.insert(
                    name,
                    json!({"NAME": n, "DESCRIPTION": d, "PARENTID": parent.to_string(), "USERCAPACITY": size,
                        "HEALTHSTATUS": "1", "RUNNINGSTATUS": "45", "WWN": format!("{:032x}", 0x5a00 + self.next)}),
                )
            }
            "luncopy" => self.insert(name, json!({"NAME": n, "HEALTHSTATUS": "1", "RUNNINGSTATUS": "36"})),
            _ => self.insert(name, json!({"NAME": n, "DESCRIPTION": d})),
        }
    }

    fn one(&mut self, method: &Method, name: &'static str, id: u64, body: &Value) -> (i64, Value) {
        let missing = KINDS.iter().find(|k| k.0 == name).unwrap().3;
        if !self.table(name).contains_key(&id) {
            return (missing, Value::Null);
        }
        match method.as_str() {
            "GET" => {
                if name == "lun" {
                    self.advance(id);
                }
                (0, self.show(name, id))
            }
            "PUT" => {
                if self.table(name).iter().any(|(i, o)| *i != id && o["NAME"] == body["NAME"]) {
                    return (1_077_948_993, Value::Null);
                }
                let object = self.table(name).get_mut(&id).unwrap();
                for key in ["NAME", "DESCRIPTION"] {
                    if let Some(value) = body.get(key) {
                        object.insert(key.into(), value.clone());
                    }
                }
                (0, json!({}))
            }
            "DELETE" => {
                let kind = KINDS.iter().find(|k| k.0 == name).unwrap().2;
                if self.linked(kind, id) && matches!(name, "lun" | "snapshot") {
                    return (1_077_936_870, Value::Null);
                }
                if name == "lun" && self.table("snapshot").values().any(|s| number(&s["PARENTID"]) == id) {
                    return (1_077_936_871, Value::Null);
                }
                let used = self.members.iter().any(|m| m.0 == name && m.1 == id || m.2 == kind && m.3 == id);
                if used || name == "host" && self.initiators.values().any(|i| number(&i["PARENTID"]) == id) {
                    return (1_077_936_872, Value::Null);
                }
                self.table(name).remove(&id);
                (0, json!({}))
            }
            _ => (50_331_651, Value::Null),
        }
    }

    fn show(&mut self, name: &'static str, id: u64) -> Value {
        let mapped = self.members.iter().any(|m| m.0 == "lungroup" && m.2 == "11" && m.3 == id);
        let mut object = self.table(name)[&id].clone();
        if name == "lun" {
            object.insert("ISADD2LUNGROUP".into(), mapped.to_string().into());
        }
        Value::Object(object)
    }

    fn list(&mut self, name: &'static str, query: &BTreeMap<&str, &str>) -> (i64, Value) {
        let mut ids: Vec<u64> = self.table(name).keys().copied().collect();
        if let Some(wanted) = query.get("filter").and_then(|f| f.strip_prefix("NAME::")) {
            let table = self.table(name).clone();
            ids.retain(|id| table[id]["NAME"] == wanted);
        }
        let all = ids.into_iter().map(|id| self.show(name, id)).collect();
        page(all, query)
    }

    fn associated(&mut self, collection: &str, query: &BTreeMap<&str, &str>) -> (i64, Value) {
        let (kind, id) = (query["ASSOCIATEOBJTYPE"], query["ASSOCIATEOBJID"].parse::<u64>().unwrap());
        let own = KINDS.iter().find(|k| k.0 == collection).unwrap();
        if collection == "lun" && kind == "21" {
            return self.luns_of_host(id, query);
        }
        // Up (the groups of an object) or down (the members of a group).
        let group = KINDS.iter().find(|k| k.2 == kind).unwrap().0;
        let ids: Vec<u64> = self
            .members
            .iter()
            .filter_map(|m| {
                if m.0 == collection && m.2 == kind && m.3 == id {
                    Some(m.1)
                } else if m.0 == group && m.1 == id && m.2 == own.2 {
                    Some(m.3)
                } else {
                    None
                }
            })
            .collect();
        let all = ids.into_iter().map(|id| self.show(own.0, id)).collect();
        page(all, query)
    }

    fn luns_of_host(&mut self, host: u64, query: &BTreeMap<&str, &str>) -> (i64, Value) {
        let find = |members: &[(String, u64, String, u64)], c: &str, k: &str, id: u64| {
            members.iter().find(|m| m.0 == c && m.2 == k && m.3 == id).map(|m| m.1)
        };
        let lun_group = find(&self.members, "hostgroup", "21", host)
            .and_then(|g| find(&self.members, "mappingview", "14", g))
            .and_then(|v| {
                self.members.iter().find(|m| m.0 == "mappingview" && m.1 == v && m.2 == "256").map(|m| m.3)
            });
        let ids: Vec<u64> = self
            .members
            .iter()
            .filter(|m| m.0 == "lungroup" && Some(m.1) == lun_group)
            .map(|m| m.3)
            .collect();
        let hide = self.hide_lun_id > 0;
        self.hide_lun_id = self.hide_lun_id.saturating_sub(1);
        let all = ids
            .into_iter()
            .map(|id| {
                let mut object = self.show("lun", id);
                if !hide {
                    object["ASSOCIATEMETADATA"] = format!("{{\"HostLUNID\": {id}}}").into();
                }
                object
            })
            .collect();
        page(all, query)
    }

    fn split(&mut self, id: u64) -> (i64, Value) {
        let (polls, fails) = (self.split_polls, self.split_fails);
        let Some(l) = self.table("lun").get_mut(&id) else { return (1_077_936_859, Value::Null) };
        if fails {
            l.insert("SPLITSTATUS".into(), "2".into());
        } else {
            l.insert("SPLITSTATUS".into(), "1".into());
            l.insert("left".into(), polls.into());
        }
        (0, json!({}))
    }

    fn advance(&mut self, id: u64) {
        let l = self.table("lun").get_mut(&id).unwrap();
        let Some(left) = l.get("left").and_then(Value::as_u64) else { return };
        if left > 0 {
            l.insert("left".into(), (left - 1).into());
            return;
        }
        for key in ["left", "CLONESOURCEID", "CLONESOURCETYPE", "SPLITSTATUS"] {
            l.remove(key);
        }
        l.insert("ISCLONE".into(), "false".into());
    }

    fn initiator_call(
        &mut self,
        method: &Method,
        parts: &[&str],
        query: &BTreeMap<&str, &str>,
        body: &Value,
    ) -> (i64, Value) {
        match (method.as_str(), &parts[1..]) {
            ("GET", []) => {
                let parent = query.get("PARENTID");
                let all = self
                    .initiators
                    .values()
                    .filter(|i| parent.is_none_or(|p| text(&i["PARENTID"]) == *p))
                    .map(|i| Value::Object(i.clone()))
                    .collect();
                page(all, query)
            }
            ("POST", []) => {
                let iqn = text(&body["ID"]);
                let object = json!({"ID": iqn, "ISFREE": "true", "PARENTID": "", "USECHAP": "false"});
                self.initiators.insert(iqn, object.as_object().unwrap().clone());
                (0, json!({}))
            }
            ("PUT", ["remove_iscsi_from_host"]) => match self.initiators.get_mut(&text(&body["ID"])) {
                None => (1_077_950_342, Value::Null),
                Some(i) => {
                    i.insert("ISFREE".into(), "true".into());
                    i.insert("PARENTID".into(), "".into());
                    (0, json!({}))
                }
            },
            (verb, [iqn]) => {
                let Some(i) = self.initiators.get_mut(*iqn) else { return (1_077_948_996, Value::Null) };
                match verb {
                    "GET" => (0, Value::Object(i.clone())),
                    "DELETE" => {
                        self.initiators.remove(*iqn);
                        (0, json!({}))
                    }
                    _ => {
                        for key in ["USECHAP", "CHAPNAME", "CHAPPASSWORD", "PARENTID"] {
                            if let Some(value) = body.get(key) {
                                i.insert(key.into(), value.clone());
                            }
                        }
                        if body.get("PARENTID").is_some() {
                            i.insert("ISFREE".into(), "false".into());
                        }
                        (0, json!({}))
                    }
                }
            }
            _ => (50_331_651, Value::Null),
        }
    }
}

fn lun(id: u64, name: &str, description: &str, sectors: u64) -> Object {
    let value = json!({
        "ID": id.to_string(), "NAME": name, "DESCRIPTION": description, "WWN": format!("6{:031x}", id),
        "PARENTID": "0", "PARENTNAME": "pool0", "HEALTHSTATUS": "1", "RUNNINGSTATUS": "27", "ALLOCTYPE": "1",
        "CAPACITY": sectors.to_string(), "ISCLONE": "false",
    });
    value.as_object().unwrap().clone()
}

fn page(all: Vec<Value>, query: &BTreeMap<&str, &str>) -> (i64, Value) {
    let range = query.get("range").and_then(|r| r.trim_matches(['[', ']']).split_once('-'));
    let (from, to) = range.map_or((0, usize::MAX), |(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
    let page: Vec<Value> = all.into_iter().skip(from).take(to - from).collect();
    (0, if page.is_empty() { Value::Null } else { Value::Array(page) })
}
