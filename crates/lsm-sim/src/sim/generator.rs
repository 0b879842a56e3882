//! [`generate_sim`]: a random simulation from a seed: any options, any operations, and
//! crashes and faults in between.

use crate::generate::{KEYSPACES, Profile, generate};
use crate::random::Random;
use crate::script::Script;
use crate::sim::disk::Ending;
use crate::sim::setting::Setting;
use crate::sim::step::{Cut, FAULTS, SimOp};
use lsm_vfs::Fault;

/// What a simulation is made of.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Operations on the database.
    pub ops: usize,
    /// Crashes, in a hundred operations.
    pub crashes: u64,
    /// Scripts with faults, in a hundred.
    pub faulty: u64,
}

impl Default for Mix {
    fn default() -> Self {
        Self { ops: 240, crashes: 5, faulty: 25 }
    }
}

/// The simulation that belongs to `seed`.
#[must_use]
pub fn generate_sim(seed: u64, mix: &Mix) -> Script<SimOp> {
    let random = &mut Random::new(seed);
    let mut ops = settings(random);
    let profile = Profile {
        keys: [8, 40, 150][random.index(3)],
        value_bytes: [20, 100, 400][random.index(3)],
        reopens: 250,
        drops: true,
    };
    let is_faulty = random.chance(mix.faulty);
    let len = mix.ops / 2 + random.index(mix.ops);
    for op in generate(random.next(), len, &profile).ops {
        match random.below(1000) {
            at if at < mix.crashes * 10 => ops.push(random_end(random)),
            900..908 => ops.push(SimOp::Wait(random_wait(random))),
            908..914 => ops.push(SimOp::Set(Setting::random(random, KEYSPACES))),
            914..917 => ops.push(SimOp::Account),
            920..940 if is_faulty => ops.push(random_fault(random)),
            940..955 if is_faulty => ops.push(SimOp::Heal),
            _ => {}
        }
        ops.push(SimOp::Op(op));
    }
    Script { seed, ops }
}

/// Mostly small sizes, so that everything happens often.
fn settings(random: &mut Random) -> Vec<SimOp> {
    let mut settings = Vec::new();
    if random.chance(85) {
        settings.push(Setting::WriteBufferSize(1024 << random.below(4)));
        settings.push(Setting::LogSegmentSize(4096 << random.below(3)));
        for keyspace in 0..KEYSPACES {
            settings.push(Setting::TableSize(keyspace, 1024 << random.below(4)));
            settings.push(Setting::LevelBaseSize(keyspace, 4096 << random.below(3)));
            settings.push(Setting::BlockSize(keyspace, 64 << random.below(5)));
        }
    }
    for _ in 0..random.below(12) {
        settings.push(Setting::random(random, KEYSPACES));
    }
    settings.into_iter().map(SimOp::Set).collect()
}

fn random_ending(random: &mut Random) -> Ending {
    if random.chance(70) { Ending::PowerCut { seed: random.next() >> 40 } } else { Ending::Kill }
}

fn random_end(random: &mut Random) -> SimOp {
    if random.chance(15) {
        return SimOp::Stop(random_ending(random));
    }
    let mut cuts = vec![Cut { after: random_count(random, 8), ending: random_ending(random) }];
    while random.chance(35) && cuts.len() < 5 {
        // Few steps: most of the time it still recovers.
        cuts.push(Cut { after: random_count(random, 6), ending: random_ending(random) });
    }
    SimOp::Crash(cuts)
}

/// Below 2 to the power of a random number below `bits`: small ones are frequent.
fn random_count(random: &mut Random, bits: u64) -> u32 {
    let limit = 1 << random.below(bits);
    random.below(limit) as u32
}

fn random_wait(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => random.below(20),
        1 => random.below(2_000),
        _ => random.below(200_000),
    }
}

fn random_fault(random: &mut Random) -> SimOp {
    let fault = FAULTS.get(random.index(FAULTS.len())).map_or(Fault::DiskFull, |(_, fault)| *fault);
    SimOp::Fault { fault, after: random_count(random, 9), sticky: random.chance(30) }
}
