//! Extra specs against capabilities: the grammar of Cinder's capabilities filter.

use sanbench_api::Capability;

/// Whether a capability satisfies a requirement such as `>= 5`, `<is> True`, `<or> a <or> b` or a plain word.
pub fn satisfies(value: &Capability, requirement: &str) -> bool {
    if let Capability::List(list) = value {
        return list.iter().any(|one| satisfies(one, requirement));
    }
    let mut words = requirement.split_whitespace();
    let Some(operator) = words.next() else { return text(value).is_some_and(|t| t == requirement) };
    let operand = words.next();
    match operator {
        "=" | ">=" => compare(value, operand, |a, b| a >= b),
        "==" => compare(value, operand, |a, b| a == b),
        "!=" => compare(value, operand, |a, b| a != b),
        "<=" => compare(value, operand, |a, b| a <= b),
        "s==" => order(value, operand, |a, b| a == b),
        "s!=" => order(value, operand, |a, b| a != b),
        "s<" => order(value, operand, |a, b| a < b),
        "s<=" => order(value, operand, |a, b| a <= b),
        "s>" => order(value, operand, |a, b| a > b),
        "s>=" => order(value, operand, |a, b| a >= b),
        "<in>" => order(value, operand, |a, b| a.contains(b)),
        "<is>" => match (truth(value), operand.map(word_truth)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
        "<or>" => {
            let Some(have) = spoken(value) else { return false };
            requirement.split("<or>").map(str::trim).filter(|w| !w.is_empty()).any(|w| w == have)
        }
        // A capability that is not a text never equals a text.
        _ => text(value).is_some_and(|t| t == requirement),
    }
}

fn text(value: &Capability) -> Option<&str> {
    match value {
        Capability::Text(text) => Some(text),
        _ => None,
    }
}

/// The value as Python's `str` would spell it, which the string operators compare.
fn spoken(value: &Capability) -> Option<String> {
    match value {
        Capability::Text(text) => Some(text.clone()),
        Capability::Bool(true) => Some("True".into()),
        Capability::Bool(false) => Some("False".into()),
        Capability::Number(n) if n.fract() == 0.0 => Some(format!("{n:.0}")),
        Capability::Number(n) => Some(n.to_string()),
        Capability::List(_) | Capability::Map(_) => None,
    }
}

fn compare(value: &Capability, operand: Option<&str>, holds: fn(f64, f64) -> bool) -> bool {
    let have = match value {
        Capability::Number(n) => Some(*n),
        Capability::Text(text) => text.trim().parse().ok(),
        Capability::Bool(b) => Some(f64::from(u8::from(*b))),
        _ => None,
    };
    let want = operand.and_then(|w| w.parse().ok());
    matches!((have, want), (Some(a), Some(b)) if holds(a, b))
}

fn order(value: &Capability, operand: Option<&str>, holds: fn(&str, &str) -> bool) -> bool {
    matches!((spoken(value), operand), (Some(a), Some(b)) if holds(&a, b))
}

fn truth(value: &Capability) -> Option<bool> {
    match value {
        Capability::Bool(b) => Some(*b),
        Capability::Number(n) => Some(*n == 1.0),
        Capability::Text(text) => Some(word_truth(text)),
        _ => None,
    }
}

fn word_truth(word: &str) -> bool {
    matches!(word.trim().to_ascii_lowercase().as_str(), "1" | "t" | "true" | "on" | "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        let text = |t: &str| Capability::Text(t.into());
        let rows: &[(Capability, &str, bool)] = &[
            (text("fast"), "fast", true),
            (text("fast"), "slow", false),
            (text("very fast disk"), "very fast disk", true),
            (Capability::Number(5.0), "5", false),
            (Capability::Number(5.0), ">= 5", true),
            (Capability::Number(4.0), ">= 5", false),
            (Capability::Number(6.0), "= 5", true),
            (Capability::Number(5.0), "== 5", true),
            (Capability::Number(5.0), "!= 5", false),
            (Capability::Number(5.0), "<= 4", false),
            (text("7"), ">= 5", true),
            (text("x"), ">= 5", false),
            (text("b"), "s> a", true),
            (text("b"), "s>= b", true),
            (text("b"), "s< a", false),
            (text("b"), "s<= b", true),
            (text("b"), "s== b", true),
            (text("b"), "s!= b", false),
            (text("abcdef"), "<in> cd", true),
            (text("abcdef"), "<in> dc", false),
            (Capability::Bool(true), "<is> True", true),
            (Capability::Bool(true), "<is> false", false),
            (text("yes"), "<is> on", true),
            (text("b"), "<or> a <or> b", true),
            (text("c"), "<or> a <or> b", false),
            (Capability::Number(12.0), "<or> 11 <or> 12", true),
            (Capability::List(vec![text("iSCSI"), text("iscsi")]), "iscsi", true),
            (Capability::List(vec![]), "iscsi", false),
            (Capability::Bool(true), "True", false),
            (text("x"), ">=", false),
        ];
        for (value, requirement, want) in rows {
            assert_eq!(satisfies(value, requirement), *want, "{value:?} against {requirement:?}");
        }
    }
}
