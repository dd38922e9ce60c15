//! Replays the corpora of the fuzz targets: what fuzzing once found stays found.

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::Path;

use sanbench_world::dice;

/// Runs every input of a corpus; how many there were.
fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() > 10, "{} inputs in {}", inputs.len(), folder.display());
    for input in inputs {
        // Shown only when the input fails.
        println!("{}", input.display());
        body(&fs::read(input).unwrap());
    }
}

#[test]
fn login_answers() {
    replay("initiator_login", fuzz::login);
}

#[test]
fn full_feature_answers() {
    replay("session", fuzz::session);
}

#[test]
fn answer_data() {
    replay("answers", fuzz::answers);
}

/// A hostile target, seeded: many short answers and long conversations, every one of them somewhere between right and wrong.
#[test]
fn hostile_targets() {
    for seed in 0..3000 {
        let mut dice = dice(seed, "target", "hostile");
        let mut choices = vec![0; 64 << dice.below(6)];
        dice.fill(&mut choices);
        // Most bytes small: most choices are the honest ones.
        if seed % 2 == 0 {
            choices.iter_mut().skip(1).step_by(3).for_each(|byte| *byte &= 0x3f);
        }
        fuzz::session(&choices);
        fuzz::login(&choices);
        fuzz::answers(&choices);
    }
}
