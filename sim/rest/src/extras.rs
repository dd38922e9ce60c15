//! What clients may set and read back although the array itself has no use for it: cache and tier policies of LUNs, cache
//! partitions, QoS policies. Kept beside the array by id; array ids are never reused, so that a left-over
//! entry can do no harm, and entries of vanished LUNs are swept away.

use std::collections::BTreeMap;

use sanbench_array::Array;

use crate::codes::Failure;
use crate::query::Fields;

/// Longest value of an attribute in bytes.
const VALUE_BYTES: usize = 64;
/// Most QoS policies.
pub(crate) const QOS_LIMIT: usize = 4096;

/// Attributes of a LUN that may be set, with their defaults. No default: absent until set.
pub(crate) const LUN_ATTRIBUTES: &[(&str, Option<&str>)] = &[
    ("WRITEPOLICY", Some("1")),
    ("PREFETCHPOLICY", Some("3")),
    ("PREFETCHVALUE", Some("0")),
    ("DATATRANSFERPOLICY", Some("0")),
    ("READCACHEPOLICY", Some("2")),
    ("WRITECACHEPOLICY", Some("5")),
    ("MIRRORPOLICY", Some("1")),
    ("IOPRIORITY", None),
    ("ENABLECOMPRESSION", None),
    ("ENABLESMARTDEDUP", None),
    ("WORKLOADTYPEID", None),
];

/// A QoS policy (`ioclass`).
#[derive(Debug, Clone)]
pub(crate) struct Qos {
    pub(crate) name: String,
    /// Ids of its LUNs as text.
    pub(crate) luns: Vec<String>,
    pub(crate) active: bool,
    /// Limits and schedule as given.
    pub(crate) attributes: BTreeMap<&'static str, String>,
}

/// Everything that lives beside the array.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    luns: BTreeMap<u64, BTreeMap<&'static str, String>>,
    pub(crate) qos: BTreeMap<u64, Qos>,
    pub(crate) last_qos: u64,
}

impl Extras {
    /// The value of an attribute of a LUN, if it was set.
    pub(crate) fn lun_attribute(&self, lun: u64, name: &str) -> Option<&str> {
        self.luns.get(&lun)?.get(name).map(String::as_str)
    }

    /// Sets (or with none clears) an attribute of a LUN.
    pub(crate) fn set_lun_attribute(&mut self, lun: u64, name: &'static str, value: Option<String>) {
        match value {
            Some(value) => {
                self.luns.entry(lun).or_default().insert(name, value);
            }
            None => {
                if let Some(attributes) = self.luns.get_mut(&lun) {
                    attributes.remove(name);
                }
            }
        }
    }

    /// Applies what [`read_attributes`] has read.
    pub(crate) fn set_lun_attributes(&mut self, lun: u64, changes: Vec<(&'static str, Option<String>)>) {
        for (name, value) in changes {
            let default =
                LUN_ATTRIBUTES.iter().find(|(known, _)| *known == name).and_then(|(_, default)| *default);
            self.set_lun_attribute(lun, name, value.filter(|value| default != Some(value)));
        }
    }

    /// The policy of a LUN.
    pub(crate) fn qos_of(&self, lun: u64) -> Option<u64> {
        if self.qos.is_empty() {
            return None;
        }
        let lun = lun.to_string();
        self.qos.iter().find(|(_, qos)| qos.luns.contains(&lun)).map(|(id, _)| *id)
    }

    /// Forgets a deleted LUN, and any other that went without saying so.
    pub(crate) fn forget_lun(&mut self, lun: u64, array: &Array) {
        self.luns.remove(&lun);
        self.luns.retain(|lun, _| array.lun(*lun).is_some());
        let lun = lun.to_string();
        for qos in self.qos.values_mut() {
            qos.luns.retain(|member| *member != lun);
        }
    }
}

/// The settable LUN attributes in a request body; null clears one.
pub(crate) fn read_attributes(fields: &Fields) -> Result<Vec<(&'static str, Option<String>)>, Failure> {
    let mut out = Vec::new();
    for (name, _) in LUN_ATTRIBUTES {
        if fields.has(name) {
            out.push((*name, short(name, fields.text(name)?.map(|value| value.into_owned()))?));
        }
    }
    Ok(out)
}

/// Bounds a value that is only kept and given back.
pub(crate) fn short(name: &str, value: Option<String>) -> Result<Option<String>, Failure> {
    match value {
        Some(value) if value.len() > VALUE_BYTES => Err(Failure::parameter(format!("{name} is too long"))),
        other => Ok(other),
    }
}
