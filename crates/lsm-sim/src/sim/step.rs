//! [`SimOp`]: one step of a simulation: an operation, an option, or what the world does
//! to the database; with its text form of one line.

use crate::op::Op;
use crate::shrink::Simpler;
use crate::sim::disk::Ending;
use crate::sim::setting::Setting;
use crate::text::Words;
use lsm_vfs::Fault;
use std::fmt;
use std::io::ErrorKind;
use std::str::FromStr;

/// An ending, and before which step it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Steps of the disk that are still made.
    pub after: u32,
    /// What happens then.
    pub ending: Ending,
}

/// One step of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub enum SimOp {
    /// An operation on the database, as the oracle runs them.
    Op(Op),
    /// `set cache_size 4096`: an option, for the next opening or creation.
    Set(Setting),
    /// `wait 5000`: so many milliseconds pass.
    Wait(u64),
    /// `crash 37 power:1f 5 kill`: the life ends within an operation, and the recoveries
    /// after it as the further pairs say.
    Crash(Vec<Cut>),
    /// `stop power:1f`: the life ends between two operations.
    Stop(Ending),
    /// `fault full 12 sticky`: an operation of the disk fails.
    Fault {
        /// How.
        fault: Fault,
        /// After so many operations of the disk.
        after: u32,
        /// All later ones too.
        sticky: bool,
    },
    /// `heal`: nothing fails any more. After a full disk everything has to go on.
    Heal,
    /// `account`: every file in the directory has to be one that the database counts.
    Account,
}

const EIO: Fault = Fault::Error(ErrorKind::Other);
/// The faults of scripts, by name.
pub const FAULTS: [(&str, Fault); 4] = [
    ("eio", EIO),
    ("full", Fault::DiskFull),
    ("short", Fault::ShortWrite),
    ("failed_sync", Fault::FailedSync),
];

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerCut { seed } => write!(f, "power:{seed:x}"),
            Self::Kill => f.write_str("kill"),
        }
    }
}

impl FromStr for Ending {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        match word.strip_prefix("power:") {
            Some(seed) => u64::from_str_radix(seed, 16).map(|seed| Self::PowerCut { seed }).map_err(|_| ()),
            None if word == "kill" => Ok(Self::Kill),
            None => Err(()),
        }
    }
}

impl fmt::Display for SimOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Op(op) => write!(f, "{op}"),
            Self::Set(setting) => write!(f, "set {setting}"),
            Self::Wait(ms) => write!(f, "wait {ms}"),
            Self::Crash(cuts) => {
                f.write_str("crash")?;
                cuts.iter().try_for_each(|cut| write!(f, " {} {}", cut.after, cut.ending))
            }
            Self::Stop(ending) => write!(f, "stop {ending}"),
            Self::Fault { fault, after, sticky } => {
                let name = FAULTS.iter().find(|(_, known)| known == fault).map_or("eio", |(name, _)| name);
                write!(f, "fault {name} {after}{}", if *sticky { " sticky" } else { "" })
            }
            Self::Heal => f.write_str("heal"),
            Self::Account => f.write_str("account"),
        }
    }
}

impl FromStr for SimOp {
    type Err = String;
    fn from_str(line: &str) -> Result<Self, String> {
        let words = &mut Words::new(line);
        let op = match words.word()? {
            "set" => return Ok(Self::Set(line.trim_start().trim_start_matches("set ").parse()?)),
            "wait" => Self::Wait(words.parse()?),
            "crash" => {
                let mut cuts = Vec::new();
                while let Ok(after) = words.parse() {
                    cuts.push(Cut { after, ending: words.parse()? });
                }
                Self::Crash(cuts)
            }
            "stop" => Self::Stop(words.parse()?),
            "fault" => {
                let name = words.word()?;
                let fault = FAULTS.iter().find(|(known, _)| *known == name).map(|(_, fault)| *fault);
                let fault = fault.ok_or_else(|| format!("{name:?} is not a fault"))?;
                Self::Fault { fault, after: words.parse()?, sticky: words.next() == Some("sticky") }
            }
            "heal" => Self::Heal,
            "account" => Self::Account,
            _ => return line.parse().map(Self::Op),
        };
        words.end()?;
        Ok(op)
    }
}

impl Simpler for SimOp {
    fn simpler(&self) -> Vec<Self> {
        match self {
            Self::Op(op) => op.simpler().into_iter().map(Self::Op).collect(),
            Self::Crash(cuts) if cuts.len() > 1 => {
                let without = |left_out: usize| {
                    let kept = cuts.iter().enumerate().filter(|(at, _)| *at != left_out);
                    Self::Crash(kept.map(|(_, cut)| *cut).collect())
                };
                (0..cuts.len()).rev().map(without).collect()
            }
            Self::Crash(cuts) => cuts.first().map(|cut| Self::Stop(cut.ending)).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_survive_the_round_trip_through_text() {
        for line in [
            "set cache_size 4096",
            "wait 5000",
            "crash 37 power:1f 5 kill 0 power:0",
            "stop kill",
            "fault full 12 sticky",
            "fault failed_sync 0",
            "heal",
            "account",
            "put a k 1x8",
        ] {
            assert_eq!(line.parse::<SimOp>().unwrap().to_string(), line);
        }
        for bad in ["set colour 3", "crash 5", "fault fire 3", "stop power", "heal all", "fly"] {
            assert!(bad.parse::<SimOp>().is_err(), "{bad}");
        }
    }
}
