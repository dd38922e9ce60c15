//! Which part of a sweep this process takes: an option, or what an array-job environment says.

use crate::cli::Shard;
use crate::failure::Refusal;

/// The shard: the option if it is given, else that of a Slurm array task or a Kubernetes indexed job, else the whole.
///
/// # Errors
/// The environment says that this is one of several tasks and does not say which or of how many.
pub(crate) fn shard(option: Option<Shard>, env: impl Fn(&str) -> Option<String>) -> Result<Shard, Refusal> {
    if let Some(shard) = option {
        return Ok(shard);
    }
    let number = |name: &str| -> Result<Option<u64>, Refusal> {
        let Some(text) = env(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
            Refusal::new(format!("{name}={shown} is not a number")).hint("name the shard with --shard I/N")
        })
    };
    let missing = |has: &str, name: &str| {
        Refusal::new(format!("{has} is set and {name} is not"))
            .hint("this looks like one task of several; set it, or name the shard with --shard I/N")
    };
    let of = |index: u64, of: u64, what: &str| match index < of {
        true => Ok(Shard { index, of }),
        false => Err(Refusal::new(format!("{what}: task {index} of {of}"))
            .hint("tasks are counted from 0; name the shard with --shard I/N")),
    };
    if let Some(id) = number("SLURM_ARRAY_TASK_ID")? {
        let need = |name| number(name)?.ok_or_else(|| missing("SLURM_ARRAY_TASK_ID", name));
        let (least, step) = (need("SLURM_ARRAY_TASK_MIN")?, need("SLURM_ARRAY_TASK_STEP")?);
        let count = need("SLURM_ARRAY_TASK_COUNT")?;
        let offset = id.checked_sub(least).filter(|_| step > 0).filter(|offset| offset.is_multiple_of(step));
        let Some(offset) = offset else {
            return Err(Refusal::new(format!("Slurm: task {id} does not lie on {least} + n * {step}"))
                .hint("name the shard with --shard I/N"));
        };
        return of(offset / step, count, "Slurm");
    }
    if let Some(index) = number("JOB_COMPLETION_INDEX")? {
        let count =
            number("SANBENCH_SHARDS")?.ok_or_else(|| missing("JOB_COMPLETION_INDEX", "SANBENCH_SHARDS"))?;
        return of(index, count, "Kubernetes");
    }
    Ok(Shard { index: 0, of: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn ask(option: Option<&str>, vars: &[(&str, &str)]) -> Result<(u64, u64), String> {
        let vars: BTreeMap<&str, &str> = vars.iter().copied().collect();
        let option = option.map(|text| text.parse().unwrap());
        shard(option, |name| vars.get(name).map(|v| (*v).to_owned()))
            .map(|s| (s.index, s.of))
            .map_err(|e| e.problem)
    }

    #[test]
    fn the_environment_says_which_part_this_is() {
        let slurm = |id, min, step, count| {
            [
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_MIN", min),
                ("SLURM_ARRAY_TASK_STEP", step),
                ("SLURM_ARRAY_TASK_COUNT", count),
            ]
        };
        assert_eq!(ask(None, &[]), Ok((0, 1)));
        assert_eq!(ask(None, &slurm("0", "0", "1", "8")), Ok((0, 8)));
        assert_eq!(ask(None, &slurm("15", "1", "2", "8")), Ok((7, 8)));
        assert_eq!(ask(Some("1/4"), &slurm("15", "1", "2", "8")), Ok((1, 4)));
        assert_eq!(ask(None, &[("JOB_COMPLETION_INDEX", "3"), ("SANBENCH_SHARDS", "4")]), Ok((3, 4)));
        for bad in [
            &slurm("4", "1", "2", "8")[..],
            &slurm("0", "1", "1", "8"),
            &slurm("9", "0", "1", "8"),
            &slurm("x", "0", "1", "8"),
            &slurm("1", "0", "1", "8")[..3],
            &[("JOB_COMPLETION_INDEX", "3")],
            &[("JOB_COMPLETION_INDEX", "4"), ("SANBENCH_SHARDS", "4")],
            &[("JOB_COMPLETION_INDEX", "0"), ("SANBENCH_SHARDS", "0")],
        ] {
            assert!(ask(None, bad).is_err(), "{bad:?}");
        }
    }
}
