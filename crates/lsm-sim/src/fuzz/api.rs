//! The body for the public API: bytes as the choices from which the script generator
//! makes a script, or a script as text; run against the model as an oracle run is.

use super::{Note, note};
use crate::generate::generate_from;
use crate::{Config, Op, Profile, Random, Script, oracle_configs, run_script};

/// Operations of one input.
const MAX_OPS: usize = 250;

/// `input := configuration u8 | seed u8 | choices`, or the text of a script.
pub(super) fn body(bytes: &[u8]) -> Result<Note, String> {
    let (config, script) = read(bytes)?;
    run_script(&config, &script.ops)
        .map_err(|difference| format!("{}: {difference}\n{script}", config.name))?;
    let mut verbs: Vec<String> = script.ops.iter().map(verb).collect();
    verbs.sort_unstable();
    verbs.dedup();
    verbs.push(config.name.to_owned());
    Ok(note(&verbs.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// What an input says to do.
fn read(bytes: &[u8]) -> Result<(Config, Script<Op>), String> {
    let mut configs = oracle_configs();
    let (which, seed, choices) = match bytes {
        [which, seed, choices @ ..] => (usize::from(*which), u64::from(*seed), choices),
        _ => (0, 0, bytes),
    };
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.starts_with("seed "));
    if let Some(script) = text.and_then(|text| text.parse::<Script<Op>>().ok()) {
        return Ok((configs.swap_remove(1).deterministic(script.seed), script));
    }
    let config = configs.swap_remove(which % configs.len()).deterministic(seed);
    let profile = Profile { keys: 40, value_bytes: 60, reopens: 200, drops: true };
    Ok((config, generate_from(Random::from_choices(choices), MAX_OPS, &profile)))
}

fn verb(op: &Op) -> String {
    op.to_string().split(' ').next().unwrap_or_default().to_owned()
}
