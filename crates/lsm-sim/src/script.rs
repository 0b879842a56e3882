//! [`Script`]: operations with the seed that made them, as a file of one operation
//! a line. Failing scripts are stored in `tests/scripts/` and replayed for ever.

use std::fmt;
use std::str::FromStr;

/// A list of operations ([`Op`](crate::Op) or [`TreeOp`](crate::TreeOp)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script<O> {
    /// What made it; 0 when it was written by hand.
    pub seed: u64,
    /// The steps in order.
    pub ops: Vec<O>,
}

impl<O: fmt::Display> fmt::Display for Script<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed 0x{:016x}", self.seed)?;
        self.ops.iter().try_for_each(|op| writeln!(f, "{op}"))
    }
}

/// Reads what `Display` prints; empty lines and lines that start with `#` are skipped.
impl<O: FromStr<Err = String>> FromStr for Script<O> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut script = Self { seed: 0, ops: Vec::new() };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(seed) = line.strip_prefix("seed ") {
                script.seed = crate::random::parse_seed(seed)
                    .ok_or_else(|| format!("line {}: {seed:?} is not a seed", number + 1))?;
                continue;
            }
            script.ops.push(line.parse().map_err(|error| format!("line {}: {error}", number + 1))?);
        }
        Ok(script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Op, Profile, generate};

    #[test]
    fn a_generated_script_survives_the_round_trip_through_text() {
        for seed in 0..20 {
            let script = generate(seed, 500, &Profile::default());
            let text = script.to_string();
            let read: Script<Op> = text.parse().unwrap();
            for (was, is) in script.ops.iter().zip(&read.ops) {
                assert_eq!(was, is, "printed as {was}");
            }
            assert_eq!(read, script);
        }
    }

    #[test]
    fn a_hand_written_script_may_have_comments() {
        let script: Script<Op> = "# why\n\nput a k 1x8\n  batch sync; del a k; weak b ''\n".parse().unwrap();
        assert_eq!(script.ops.len(), 2);
        let wrong: Result<Script<Op>, _> = "put a k 1x8\nfly".parse();
        assert_eq!(wrong.unwrap_err(), "line 2: \"fly\" is not an operation");
        for bad in ["put A k 1x8", "get live a", "get live a k extra", "batch slow", "range live a k (k fwd"]
        {
            assert!(bad.parse::<Op>().is_err(), "{bad}");
        }
    }
}
