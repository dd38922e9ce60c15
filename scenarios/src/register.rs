//! The requirement register and the defect catalogue: data of the project, read once, never judged here.

use std::sync::OnceLock;

use sanbench_reports::Level;

/// One requirement of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Id, such as `CLN-002`.
    pub id: &'static str,
    /// MUST, SHOULD or MAY.
    pub level: Level,
    /// Group, such as "Clone and clone depth".
    pub group: &'static str,
    /// The statement.
    pub statement: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// How it is checked.
    pub check: &'static str,
    /// `both`, `sim` or `real`.
    pub tier: &'static str,
    /// Catalogue defects that break it.
    pub defects: Vec<&'static str>,
}

/// One defect of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueDefect {
    /// Id, such as `D17`.
    pub id: &'static str,
    /// Home: driver, workflow, connector, ...
    pub home: &'static str,
    /// The defect and its symptom.
    pub text: &'static str,
    /// Public bugs that show it.
    pub reference: &'static str,
    /// The smallest workload that shows it.
    pub workload: &'static str,
    /// Requirements that should catch it.
    pub caught_by: Vec<&'static str>,
    /// It passes a happy-path run and reports success meanwhile.
    pub subtle: bool,
}

/// Every requirement, ordered by group as in the catalogue.
pub fn requirements() -> &'static [Requirement] {
    static ALL: OnceLock<Vec<Requirement>> = OnceLock::new();
    ALL.get_or_init(|| rows(include_str!("../data/requirements.tsv")).filter_map(requirement).collect())
}

/// The requirement of that id.
pub fn requirement_by_id(id: &str) -> Option<&'static Requirement> {
    requirements().iter().find(|r| r.id == id)
}

/// Every defect of the catalogue.
pub fn defects() -> &'static [CatalogueDefect] {
    static ALL: OnceLock<Vec<CatalogueDefect>> = OnceLock::new();
    ALL.get_or_init(|| rows(include_str!("../data/defects.tsv")).filter_map(defect).collect())
}

/// Rows of a table with tabs between its cells; lines that begin with `#` are comments.
pub(crate) fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).map(|l| l.split('\t').collect())
}

fn ids(text: &'static str) -> Vec<&'static str> {
    text.split(", ").filter(|t| !t.is_empty()).collect()
}

fn requirement(cells: Vec<&'static str>) -> Option<Requirement> {
    let [id, level, group, statement, source, check, tier, defects] = cells[..] else { return None };
    let level = match level {
        "MUST" => Level::Must,
        "SHOULD" => Level::Should,
        "MAY" => Level::May,
        _ => return None,
    };
    Some(Requirement { id, level, group, statement, source, check, tier, defects: ids(defects) })
}

fn defect(cells: Vec<&'static str>) -> Option<CatalogueDefect> {
    let [id, home, text, reference, workload, caught_by, subtle] = cells[..] else { return None };
    let (caught_by, subtle) = (ids(caught_by), !subtle.is_empty());
    Some(CatalogueDefect { id, home, text, reference, workload, caught_by, subtle })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_whole() {
        assert_eq!(requirements().len(), 264);
        assert_eq!(requirements().iter().filter(|r| r.level == Level::Must).count(), 217);
        assert_eq!(defects().len(), 80);
        for d in defects() {
            assert!(!d.caught_by.is_empty(), "{} has no requirement", d.id);
            for id in &d.caught_by {
                assert!(requirement_by_id(id).is_some(), "{} names unknown {id}", d.id);
            }
        }
    }
}
