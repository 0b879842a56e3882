//! The simulator from the command line; `cargo xtask sim` builds and calls it.
//!
//! `sim crash SEED CRASHES SECONDS` runs simulations until so many crashes were recovered
//! from (or, if SECONDS is not 0, so much time has passed), `sim hash SEED RUNS` prints what
//! follows from all they did, `sim faults STRIDE` makes every operation fail in turn, and
//! `sim replay FILE` runs one script.

use lsm_sim::sim::{FaultSweep, Outcome, SimCampaign, SimOp, run_sim};
use lsm_sim::{Script, parse_seed};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["crash", seed, crashes, seconds] => crash(seed, crashes, seconds),
        ["hash", seed, runs] => hash(seed, runs),
        ["faults", stride] => faults(stride),
        ["replay", file] => replay(file),
        _ => {
            Err("usage: sim crash SEED CRASHES SECONDS | hash SEED RUNS | faults STRIDE | replay FILE".into())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    parse_seed(text).ok_or_else(|| format!("{text:?} is not a number"))
}

fn crash(seed: &str, crashes: &str, seconds: &str) -> Result<(), String> {
    let mut campaign = SimCampaign::new(number(seed)?, number(crashes)?);
    campaign.limit = Some(Duration::from_secs(number(seconds)?)).filter(|limit| !limit.is_zero());
    let start = Instant::now();
    let (runs, sum) = campaign.run().map_err(|failure| {
        let kept = std::env::temp_dir().join(format!("lsm-sim-{:016x}.script", failure.script.seed));
        let kept = match std::fs::write(&kept, failure.script.to_string()) {
            Ok(()) => format!("kept in {}", kept.display()),
            Err(error) => format!("not kept: {error}"),
        };
        format!("seed 0x{:x}, {kept}\n{failure}", campaign.seed)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "crash: {runs} simulations, {} crashes and recoveries ({} within a recovery), {} faults, {} operations, \
         {} steps of the disk, {} simulated hours in {seconds:.1} s: {:.0} crashes a second",
        sum.crashes,
        sum.in_recovery,
        sum.faults,
        sum.ops,
        sum.steps,
        sum.ended_ns / 3_600_000_000_000,
        sum.crashes as f64 / seconds,
    );
    Ok(())
}

fn hash(seed: &str, runs: &str) -> Result<(), String> {
    let campaign = SimCampaign::new(number(seed)?, 0);
    let mut sum = Outcome::default();
    for at in 0..number(runs)? {
        let outcome = run_sim(&campaign.script(at), None).map_err(|found| format!("run {at}: {found}"))?;
        sum.add(&outcome);
    }
    println!("{:016x} {:016x} {} {} {}", sum.trace, sum.image, sum.crashes, sum.steps, sum.ended_ns);
    Ok(())
}

fn faults(stride: &str) -> Result<(), String> {
    let sweep = FaultSweep { stride: number(stride)?, threads: 2 };
    let start = Instant::now();
    let (count, ways, sum) = sweep.run().map_err(|failure| {
        let kept = std::env::temp_dir().join("lsm-sim-faults.script");
        let kept = match std::fs::write(&kept, failure.script.to_string()) {
            Ok(()) => format!("kept in {}", kept.display()),
            Err(error) => format!("not kept: {error}"),
        };
        format!("{kept}\n{failure}")
    })?;
    println!(
        "faults: {count} operations of the disk failed first in {ways} ways, {} failed in all, {} recoveries, in {:.1} s",
        sum.faults,
        sum.crashes,
        start.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn replay(file: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let script: Script<SimOp> = text.parse()?;
    run_sim(&script, None).map(drop).map_err(|found| found.to_string())
}
