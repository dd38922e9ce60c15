//! Planted defects: values given at construction, never on by default.

use sanbench_initiator::ConnectorDefects;

use crate::registry::Registry;

/// A defect that can be planted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plantable {
    /// Name for `--defect`.
    pub(crate) name: &'static str,
    /// Id in the catalogue; `-` when the catalogue has none.
    pub(crate) catalogue: &'static str,
    /// Where it lives.
    pub(crate) home: &'static str,
    /// What it does.
    pub(crate) text: &'static str,
}

/// The defects of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Planted {
    /// In the simulated array.
    pub(crate) array: sanbench_array::Defects,
    /// In the target.
    pub(crate) target: sanbench_target::TargetDefects,
    /// In the workflow.
    pub(crate) flows: sanbench_flows::FlowDefects,
    /// In the connectors.
    pub(crate) connector: ConnectorDefects,
    /// In the driver, by name.
    pub(crate) driver: Vec<String>,
    /// In the bench itself: what must not depend on the process does.
    pub(crate) leak_hash_order: bool,
}

const BENCH: &[(&str, &str, &str)] =
    &[("leak_hash_order", "-", "the order of a hash map of the process gets into every history")];

const FLOWS: &[(&str, &str, &str)] = &[
    ("skip_flush_after_image", "-", "an image is reported written without SYNCHRONIZE CACHE"),
    ("sparse_over_dirty", "D49", "zero ranges of an image are skipped although the volume holds old data"),
    ("leave_control_attachment", "-", "the control host's mapping survives an image write"),
    ("wrong_status_edge", "-", "a delete removes the row without passing through deleting"),
    ("leak_temp_file", "-", "the staged image stays behind"),
];

/// Every defect of every home.
pub(crate) fn all(registry: &Registry) -> Vec<Plantable> {
    let mut all = Vec::new();
    let mut add = |home, list: &[(&'static str, &'static str, &'static str)]| {
        all.extend(list.iter().map(|(name, catalogue, text)| Plantable { name, catalogue, home, text }));
    };
    add("array", sanbench_array::Defects::ALL);
    add("target", sanbench_target::TargetDefects::ALL);
    add("workflow", FLOWS);
    add("connector", ConnectorDefects::ALL);
    add("bench", BENCH);
    for driver in &registry.drivers {
        add("driver", driver.defects);
    }
    all
}

impl Planted {
    /// Switches on the defects of these names or catalogue ids.
    ///
    /// # Errors
    /// The first word that names none.
    pub(crate) fn from_words(registry: &Registry, words: &[String]) -> Result<Self, String> {
        let known = all(registry);
        let mut planted = Self::default();
        for word in words {
            let mut found = false;
            for defect in known.iter().filter(|d| d.name == word || (d.catalogue == word && word != "-")) {
                found = true;
                planted.switch_on(defect);
            }
            if !found {
                return Err(word.clone());
            }
        }
        Ok(planted)
    }

    fn switch_on(&mut self, defect: &Plantable) {
        match defect.home {
            "array" => {
                self.array.set(defect.name);
            }
            "target" => {
                self.target.set(defect.name);
            }
            "connector" => {
                self.connector.set(defect.name);
            }
            "bench" => self.leak_hash_order = true,
            "workflow" => {
                let flag = match defect.name {
                    "skip_flush_after_image" => &mut self.flows.skip_flush_after_image,
                    "sparse_over_dirty" => &mut self.flows.sparse_over_dirty,
                    "leave_control_attachment" => &mut self.flows.leave_control_attachment,
                    "wrong_status_edge" => &mut self.flows.wrong_status_edge,
                    _ => &mut self.flows.leak_temp_file,
                };
                *flag = true;
            }
            _ => self.driver.push(defect.name.to_owned()),
        }
    }
}
