//! [`Campaign`]: many scripts over many configurations, from one seed; the first
//! failing one is shrunk, printed and kept. Called by the oracle tests.

use crate::script::Script;
use crate::shrink::{Simpler, shrink};
use crate::{Config, Difference};
use lsm_vfs::mix64;
use std::fmt::Display;
use std::time::Duration;

/// How long a failing script is shrunk.
const SHRINK_LIMIT: Duration = Duration::from_secs(40);

/// How often a candidate is tried while shrinking: threads make some failures rare.
const TRIES: usize = 3;

/// A run of `scripts` scripts of `ops` operations on one configuration.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// Decides everything.
    pub seed: u64,
    /// How many scripts.
    pub scripts: usize,
    /// How many operations in each.
    pub ops: usize,
}

impl Campaign {
    /// Runs scripts from `generate` through `run`; the number of operations done.
    ///
    /// # Errors
    /// A text that holds the seed, the difference and the shrunk script.
    pub fn run<O>(
        &self,
        config: &Config,
        generate: impl Fn(u64, usize) -> Script<O>,
        run: impl Fn(&Config, &[O]) -> Result<usize, Difference>,
    ) -> Result<usize, String>
    where
        O: Display + Simpler,
    {
        let mut done = 0;
        for number in 0..self.scripts {
            let name = config.name.bytes().fold(self.seed, |seed, byte| mix64(seed ^ u64::from(byte)));
            let script = generate(mix64(name.wrapping_add(number as u64)), self.ops);
            done += run(config, &script.ops).map_err(|found| self.report(config, &script, &found, &run))?;
        }
        Ok(done)
    }

    fn report<O: Display + Simpler>(
        &self,
        config: &Config,
        script: &Script<O>,
        found: &Difference,
        run: &impl Fn(&Config, &[O]) -> Result<usize, Difference>,
    ) -> String {
        let failing = script.ops.iter().take(found.at + 1).cloned().collect();
        let mut last = found.clone();
        let ops = shrink(failing, SHRINK_LIMIT, |ops| {
            (0..TRIES).any(|_| match run(config, ops) {
                Ok(_) => false,
                Err(difference) => {
                    last = difference;
                    true
                }
            })
        });
        let script = Script { seed: script.seed, ops };
        let kept = std::env::temp_dir().join(format!("lsm-sim-{:016x}.script", script.seed));
        let kept = match std::fs::write(&kept, script.to_string()) {
            Ok(()) => format!("kept in {}", kept.display()),
            Err(error) => format!("not kept: {error}"),
        };
        format!(
            "configuration {:?}, replay with LSM_SEED=0x{:x}\nfirst found: {found}\nshrunk ({kept}): {last}\n{script}",
            config.name, self.seed,
        )
    }
}

/// Runs a script that was kept as text.
///
/// # Errors
/// It cannot be read, or the difference that it shows.
pub fn replay<O>(
    text: &str,
    config: &Config,
    run: impl Fn(&Config, &[O]) -> Result<usize, Difference>,
) -> Result<usize, String>
where
    O: std::str::FromStr<Err = String>,
{
    let script: Script<O> = text.parse()?;
    run(config, &script.ops).map_err(|difference| format!("configuration {:?}: {difference}", config.name))
}
