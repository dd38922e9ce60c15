//! Which cases a run consists of.

use sanbench_runner::CaseSpec;
use sanbench_world::dice;

use crate::cli::Shard;
use crate::targets::Selection;

/// Case k of each story, keyed by (seed, story, k), so that neither `--jobs` nor other stories shift its dice.
pub(crate) fn cases(selection: &Selection, seed: u64, count: u64, shard: Option<Shard>) -> Vec<CaseSpec> {
    let mut all = Vec::new();
    for story in &selection.stories {
        for k in (0..count).filter(|k| shard.is_none_or(|s| k % s.of == s.index)) {
            all.push(CaseSpec {
                id: format!("{}/{k}", story.name),
                story: story.name.clone(),
                plan: story.plan.clone(),
                seed: dice(seed, &story.name, &format!("case {k}")).u64(),
                scan: selection.scan,
            });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use crate::targets::resolve;

    #[test]
    fn a_case_keeps_its_seed_whatever_else_runs() {
        let registry = Registry::builtin();
        let one = resolve(&registry, &["unmap".into()]).unwrap();
        let all = resolve(&registry, &[]).unwrap();
        let alone = cases(&one, 5, 3, None);
        let among = cases(&all, 5, 3, Some(Shard { index: 1, of: 3 }));
        let same = among.iter().find(|c| c.id == "unmap/1").unwrap();
        assert_eq!(alone[1].seed, same.seed);
        assert_ne!(alone[0].seed, alone[1].seed);
        assert_ne!(cases(&one, 6, 1, None)[0].seed, alone[0].seed);
        assert_eq!(among.len(), all.stories.len());
    }
}
