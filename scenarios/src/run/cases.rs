//! Which cases a run consists of.

use sanbench_runner::CaseSpec;
use sanbench_runner::generate::{Profile, SWARM, generate, with_faults};
use sanbench_world::dice;

use crate::cli::Shard;
use crate::targets::{Selected, Selection};

/// Case k of each story, keyed by (seed, story, k), so that neither `--jobs` nor other stories shift its dice.
pub(crate) fn cases(
    selection: &Selection,
    seed: u64,
    count: u64,
    shard: Option<Shard>,
    faults: &Profile,
) -> Vec<CaseSpec> {
    let mut all = Vec::new();
    for story in &selection.stories {
        for k in (0..count).filter(|k| shard.is_none_or(|s| k % s.of == s.index)) {
            let spec = one_case(story, seed, k, faults, selection.scan);
            all.push(CaseSpec { id: format!("{}/{k}", story.name), ..spec });
        }
    }
    all
}

/// Case k of one story, faults woven in; its id is still empty.
pub(crate) fn one_case(story: &Selected, seed: u64, k: u64, faults: &Profile, scan: bool) -> CaseSpec {
    let seed = dice(seed, &story.name, &format!("case {k}")).u64();
    let plan = match story.name == SWARM {
        true => generate(seed, faults),
        // Chapters of protocol cases have no steps between which anything could happen.
        false if faults.is_quiet() || story.plan.steps.is_empty() => story.plan.clone(),
        false => with_faults(&story.plan, seed, faults),
    };
    let directed = faults.is_quiet() && story.name != SWARM;
    CaseSpec { id: String::new(), story: story.name.clone(), plan, seed, scan, directed }
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
        let quiet = Profile::by_name("none").unwrap();
        let alone = cases(&one, 5, 3, None, &quiet);
        let among = cases(&all, 5, 3, Some(Shard { index: 1, of: 3 }), &quiet);
        let same = among.iter().find(|c| c.id == "unmap/1").unwrap();
        assert_eq!(alone[1].seed, same.seed);
        assert_ne!(alone[0].seed, alone[1].seed);
        assert_ne!(cases(&one, 6, 1, None, &quiet)[0].seed, alone[0].seed);
        assert_eq!(among.len(), all.stories.len());
    }
}
