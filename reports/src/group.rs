//! Groups of requirements, by the prefix of their id.

/// Prefix and title of every group, in the order of the tables.
pub const GROUPS: [(&str, &str); 20] = [
    ("API", "Management API and sessions"),
    ("CAP", "Pool and capacity"),
    ("CRE", "Create and delete"),
    ("SNP", "Snapshot"),
    ("CLN", "Clone and clone depth"),
    ("FLT", "Flatten"),
    ("EXT", "Extend"),
    ("IMG", "Image write"),
    ("ATT", "Attach and detach"),
    ("MPX", "Multipath and failover"),
    ("ISC", "iSCSI login, negotiation, recovery"),
    ("SCS", "SCSI commands"),
    ("DAT", "Data integrity"),
    ("DUR", "Durability and crash"),
    ("CON", "Concurrency"),
    ("SCH", "Scheduler"),
    ("QTA", "Quota and accounting"),
    ("QOS", "Quality of service"),
    ("ENC", "Encryption"),
    ("OBS", "Observability"),
];

/// Groups that concern the bench itself, after all others.
const LAST: [(&str, &str); 2] = [("CLU", "Clean-up"), ("BEN", "The bench itself")];

/// The prefix of a requirement id: everything before the first `-`.
#[must_use]
pub fn prefix(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}

/// The title of the group to which an id belongs; its prefix when the group is not known.
#[must_use]
pub fn title(id: &str) -> &str {
    let wanted = prefix(id);
    all().find(|(prefix, _)| *prefix == wanted).map_or(wanted, |(_, title)| title)
}

/// All known groups in order.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    GROUPS.into_iter().chain(LAST)
}

/// Sorts items into groups: known groups first, in their order, then unknown prefixes by name.
pub fn sorted<T>(items: &[T], id: impl Fn(&T) -> &str) -> Vec<(String, Vec<&T>)> {
    let mut rest: Vec<&T> = items.iter().collect();
    let mut groups = Vec::new();
    for (wanted, heading) in all() {
        let (inside, outside) = rest.into_iter().partition::<Vec<_>, _>(|item| prefix(id(item)) == wanted);
        if !inside.is_empty() {
            groups.push((heading.to_owned(), inside));
        }
        rest = outside;
    }
    rest.sort_by(|a, b| id(a).cmp(id(b)));
    for item in rest {
        let heading = prefix(id(item)).to_owned();
        match groups.last_mut() {
            Some((last, inside)) if *last == heading => inside.push(item),
            _ => groups.push((heading, vec![item])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_groups_come_first_and_unknown_ones_keep_their_prefix() {
        let ids = ["ZZZ-1", "CLU-001", "CRE-001", "API-002", "ZZZ-2"];
        let got: Vec<(String, usize)> =
            sorted(&ids, |id| id).into_iter().map(|(title, items)| (title, items.len())).collect();
        assert_eq!(
            got,
            [
                ("Management API and sessions".to_owned(), 1),
                ("Create and delete".to_owned(), 1),
                ("Clean-up".to_owned(), 1),
                ("ZZZ".to_owned(), 2)
            ]
        );
    }
}
