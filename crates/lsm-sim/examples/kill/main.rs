//! The campaign of `cargo xtask kill`: kills writing processes on the real file system
//! as often as asked, over options that a seed chooses; or cuts the power of a small
//! file system of its own under them.
//!
//! ```text
//! kill [--kills N] [--seed S] [--power]
//! ```
#![allow(clippy::unwrap_used, reason = "a program for developers may stop with a panic")]

mod power;

use lsm_sim::kill::{Killable, Kind, OnError, kill_again_and_again};
use lsm_sim::{Random, parse_seed, seed_from_env};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Lives of one kind of child.
const KILLS_PER_KIND: u64 = 20;

struct Arguments {
    kills: u64,
    seed: u64,
    power: bool,
    child: Option<(String, u64, u64)>,
}

fn arguments() -> Result<Arguments, String> {
    let mut read = Arguments { kills: 1_000, seed: seed_from_env(), power: false, child: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| parse_seed(&text).ok_or_else(|| format!("{text} is not a number"));
        match word.as_str() {
            "--kills" => read.kills = number(value()?)?,
            "--seed" => read.seed = number(value()?)?,
            "--power" => read.power = true,
            "--child" => read.child = Some((value()?, number(value()?)?, number(value()?)?)),
            _ => return Err(format!("{word} is not an option")),
        }
    }
    Ok(read)
}

/// The command that starts this program as a child.
fn child(dir: &Path, kind: &Kind, life: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--child").arg(dir).arg(kind.seed.to_string()).arg(life.to_string());
    command
}

fn be_child(dir: &str, kind: u64, life: u64, on_error: OnError) -> Result<(), String> {
    let kind = Kind::new(kind);
    let killable = match Killable::open(&kind, dir.as_ref(), life) {
        Ok(killable) => killable,
        Err(_) if on_error == OnError::End => return Ok(()),
        Err(error) => return Err(format!("cannot be opened: {error:?}")),
    };
    match killable.check(kind.writers) {
        Ok(from) => killable.write_for_ever(&kind, &from, on_error),
        Err(_) if on_error == OnError::End => {}
        Err(why) => return Err(why),
    }
    Ok(())
}

fn campaign(kills: u64, seed: u64) -> Result<(), String> {
    let start = Instant::now();
    println!("seed 0x{seed:x}");
    let kinds = kills.div_ceil(KILLS_PER_KIND);
    let halves: Vec<_> = (0..2)
        .map(|half| {
            std::thread::spawn(move || -> Result<u64, String> {
                let mut writes = 0;
                for number in (0..kinds).filter(|kind| kind % 2 == half) {
                    let kind = Kind::new(lsm_vfs::mix64(seed.wrapping_add(number)));
                    let lives = KILLS_PER_KIND.min(kills - number * KILLS_PER_KIND);
                    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
                    let dir = dir.path().join("db");
                    let random = &mut Random::new(!kind.seed);
                    writes +=
                        kill_again_and_again(&kind, &dir, lives, random, |life| child(&dir, &kind, life))?;
                }
                Ok(writes)
            })
        })
        .collect();
    let mut writes = 0;
    for half in halves {
        writes += half.join().map_err(|_| "a half of the campaign panicked")??;
    }
    println!("{kills} kills of {kinds} kinds of process, {writes} writes survived, {:.1?}", start.elapsed());
    Ok(())
}

fn main() -> ExitCode {
    let outcome = arguments().and_then(|arguments| match (arguments.child, arguments.power) {
        (Some((dir, kind, life)), power) => {
            be_child(&dir, kind, life, if power { OnError::End } else { OnError::Tell })
        }
        (None, true) => power::campaign(arguments.kills, arguments.seed),
        (None, false) => campaign(arguments.kills, arguments.seed),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
