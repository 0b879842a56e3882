//! Power cuts and kills before every single operation of the file system, in lives with
//! several keyspaces: some idle, some created or dropped between, batches that span them,
//! checkpoints, and log segments so small that they are removed all the time, as a rule
//! before anything has synced them. What is there afterwards is the state after some whole
//! batch, the same one in all keyspaces, and not before the last one that was promised.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::sim::SimClock;
use lsm_sim::{Call, HookFs, Random, seed_from_env};
use lsm_tree::{Database, Durability, Error, Execution, Keyspace, KeyspaceOptions, Options, RecoveryMode};
use lsm_vfs::{Fs, MemFs};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

const DIR: &str = "home/db";

/// One entry of a batch, in the keyspace that was created as this one.
#[derive(Clone, Debug)]
enum Step {
    Put(usize, String, Vec<u8>),
    Remove(usize, String),
    RemoveRange(usize, String, String),
}

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// Names of keyspaces, each with the number of its creation.
type Keyspaces = BTreeSet<(String, usize)>;

/// What the application has done and was told.
#[derive(Clone, Debug, Default)]
struct Told {
    /// All batches tried, in their order.
    batches: Vec<Vec<Step>>,
    acknowledged: usize,
    synced: usize,
    live: Keyspaces,
    /// Being created or dropped.
    in_doubt: Option<(String, usize)>,
    created: usize,
    /// The checkpoints that are done, and the batches in each.
    checkpoints: Vec<(String, usize, Keyspaces)>,
}

impl Told {
    fn fresh() -> Arc<Mutex<Self>> {
        Arc::default()
    }
}

fn apply(state: &mut BTreeMap<usize, Contents>, batch: &[Step]) {
    for step in batch {
        match step {
            Step::Put(of, key, value) => {
                state.entry(*of).or_default().insert(key.clone().into(), value.clone());
            }
            Step::Remove(of, key) => {
                state.entry(*of).or_default().remove(key.as_bytes());
            }
            Step::RemoveRange(of, start, end) => {
                let hit = |key: &[u8]| start.as_bytes() <= key && key < end.as_bytes();
                state.entry(*of).or_default().retain(|key, _| !hit(key));
            }
        }
    }
}

fn keyspace_options(created: usize) -> KeyspaceOptions {
    let options = KeyspaceOptions::default().table_size(2 << 10).level_base_size(8 << 10).block_size(256);
    match created % 3 {
        0 => options.compaction(lsm_tree::Compaction::SizeTiered),
        1 => options,
        _ => options.compaction(lsm_tree::Compaction::Fifo { max_bytes: u64::MAX, max_age_ms: u64::MAX }),
    }
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    mode: RecoveryMode,
    threads: bool,
    write_buffer: usize,
    max_log: u64,
    seed: u64,
}

fn options(plan: Plan, fs: Arc<dyn Fs>) -> Options {
    let mut options = Options::default()
        .write_buffer_size(plan.write_buffer)
        .cache_size(16 << 10)
        .max_log_size(plan.max_log)
        .recovery_mode(plan.mode);
    let advanced = options.advanced().fs(fs).seed(plan.seed).log_segment_size(4096).max_sealed_memtables(2);
    if !plan.threads {
        advanced.clock(Arc::new(SimClock::default())).execution(Execution::Deterministic { seed: plan.seed });
    }
    options
}

/// A disk as it was found, and what had been promised by then.
struct Found {
    disk: MemFs,
    how: String,
    promised: usize,
    before: Told,
    after: Told,
}

impl Found {
    fn allowed(&self) -> Keyspaces {
        let (before, after) = (&self.before, &self.after);
        let all = before.live.iter().chain(&after.live).chain(&before.in_doubt).chain(&after.in_doubt);
        all.cloned().collect()
    }

    fn required(&self) -> Keyspaces {
        let doubtful: Vec<_> = self.before.in_doubt.iter().chain(&self.after.in_doubt).collect();
        let both = self.before.live.intersection(&self.after.live);
        both.filter(|keyspace| !doubtful.contains(keyspace)).cloned().collect()
    }

    /// After which batch the state is `found`.
    fn judge(&self, found: &BTreeMap<String, Contents>) -> Result<usize, String> {
        let allowed = self.allowed();
        for (name, _) in self.required() {
            if !found.contains_key(&name) {
                return Err(format!("keyspace {name} is gone"));
            }
        }
        let mut state = BTreeMap::new();
        let mut last = None;
        let mut why = String::new();
        for done in 0..=self.after.batches.len() {
            if done > 0 {
                apply(&mut state, &self.after.batches[done - 1]);
            }
            if done < self.promised {
                continue;
            }
            let empty = Contents::new();
            let wrong = found.iter().find(|(name, contents)| {
                !allowed.iter().any(|(allowed, created)| {
                    allowed == *name && state.get(created).unwrap_or(&empty) == *contents
                })
            });
            match wrong {
                None => last = Some(done),
                Some((name, contents)) => {
                    let expected: Vec<_> = allowed
                        .iter()
                        .filter(|(allowed, _)| allowed == name)
                        .map(|(_, created)| differences(state.get(created).unwrap_or(&empty), contents))
                        .collect();
                    why.push_str(&format!("\n  not after {done} batches: {name}: {expected:?}"));
                }
            }
        }
        last.ok_or_else(|| {
            format!("no state of batches {} to {}: {why}", self.promised, self.after.batches.len())
        })
    }
}

fn differences(expected: &Contents, found: &Contents) -> String {
    let show = |keys: Vec<&Vec<u8>>| {
        keys.iter().take(4).map(|key| String::from_utf8_lossy(key).into_owned()).collect::<Vec<_>>().join(",")
    };
    let missing = show(expected.keys().filter(|key| !found.contains_key(*key)).collect());
    let extra = show(found.keys().filter(|key| !expected.contains_key(*key)).collect());
    let other =
        show(expected.iter().filter(|(k, v)| found.get(*k).is_some_and(|f| f != *v)).map(|x| x.0).collect());
    format!("missing {missing}; extra {extra}; other {other}")
}

fn read(database: &Database) -> Result<BTreeMap<String, Contents>, Error> {
    let mut found = BTreeMap::new();
    for name in database.keyspace_names() {
        let keyspace = database.keyspace(&name, KeyspaceOptions::default())?;
        let mut contents = Contents::new();
        for entry in keyspace.iter() {
            let (key, value) = entry?;
            contents.insert(key.to_vec(), value.to_vec());
        }
        found.insert(name, contents);
    }
    Ok(found)
}

/// A life of the database.
struct Life {
    plan: Plan,
    fs: Arc<dyn Fs>,
    told: Arc<Mutex<Told>>,
    random: Random,
    database: Option<Database>,
    keyspaces: BTreeMap<(String, usize), Keyspace>,
}

impl Life {
    fn open(plan: Plan, fs: Arc<dyn Fs>, told: Arc<Mutex<Told>>) -> Result<Self, Error> {
        let random = Random::new(plan.seed);
        let mut life = Self { plan, fs, told, random, database: None, keyspaces: BTreeMap::new() };
        life.reopen()?;
        Ok(life)
    }

    fn database(&self) -> &Database {
        self.database.as_ref().unwrap()
    }

    fn reopen(&mut self) -> Result<(), Error> {
        self.keyspaces.clear();
        if let Some(database) = self.database.take() {
            if self.random.chance(50) { database.close()? } else { drop(database) }
        }
        let database = options(self.plan, Arc::clone(&self.fs)).open(DIR)?;
        for (name, created) in self.told.lock().unwrap().live.clone() {
            let keyspace = database.keyspace(&name, keyspace_options(created))?;
            self.keyspaces.insert((name, created), keyspace);
        }
        self.database = Some(database);
        let mut told = self.told.lock().unwrap();
        told.synced = told.acknowledged;
        drop(told);
        Ok(())
    }

    fn create(&mut self) -> Result<(), Error> {
        let slot = format!("k{}", self.random.below(5));
        if self.keyspaces.keys().any(|(name, _)| *name == slot) {
            return Ok(());
        }
        let created = {
            let mut told = self.told.lock().unwrap();
            told.created += 1;
            let created = told.created;
            told.in_doubt = Some((slot.clone(), created));
            created
        };
        let keyspace = self.database().keyspace(&slot, keyspace_options(created))?;
        let mut told = self.told.lock().unwrap();
        told.in_doubt = None;
        told.live.insert((slot.clone(), created));
        self.keyspaces.insert((slot, created), keyspace);
        Ok(())
    }

    fn drop_one(&mut self) -> Result<(), Error> {
        let Some(which) = self.pick() else { return Ok(()) };
        self.told.lock().unwrap().in_doubt = Some(which.clone());
        self.database().drop_keyspace(&which.0)?;
        let mut told = self.told.lock().unwrap();
        told.live.remove(&which);
        told.in_doubt = None;
        self.keyspaces.remove(&which);
        Ok(())
    }

    fn pick(&mut self) -> Option<(String, usize)> {
        let count = self.keyspaces.len();
        if count == 0 {
            return None;
        }
        // Some are written to far more often than others.
        let index = self.random.index(count).min(self.random.index(count));
        self.keyspaces.keys().nth(index).cloned()
    }

    fn write(&mut self) -> Result<(), Error> {
        let mut steps = Vec::new();
        for _ in 0..1 + self.random.below(5) {
            let Some((_, of)) = self.pick() else { return Ok(()) };
            let key = |random: &mut Random| format!("{:03}", random.below(60));
            steps.push(match self.random.below(20) {
                0..3 => Step::Remove(of, key(&mut self.random)),
                3 => {
                    let (a, b) = (key(&mut self.random), key(&mut self.random));
                    Step::RemoveRange(of, a.clone().min(b.clone()), a.max(b))
                }
                _ => {
                    let len = if self.random.chance(3) { 3000 } else { self.random.index(200) };
                    let byte = self.random.below(256) as u8;
                    let mut value = vec![byte; len];
                    value.extend_from_slice(&self.random.next().to_le_bytes());
                    Step::Put(of, key(&mut self.random), value)
                }
            });
        }
        let clears = self.random.chance(2);
        let sync = !clears && self.random.chance(8);
        if clears {
            let Some((_, of)) = self.pick() else { return Ok(()) };
            steps = vec![Step::RemoveRange(of, String::new(), "~".to_owned())];
        }
        let mut batch = self.database().batch();
        if sync {
            batch = batch.durability(Durability::Sync);
        }
        let by_number: BTreeMap<_, _> =
            self.keyspaces.iter().map(|((_, created), keyspace)| (*created, keyspace)).collect();
        for step in &steps {
            match step {
                Step::Put(of, key, value) => batch.insert(by_number[of], key, value),
                Step::Remove(of, key) => batch.remove(by_number[of], key),
                Step::RemoveRange(of, a, b) => {
                    batch.remove_range(by_number[of], a.as_bytes().to_vec()..b.as_bytes().to_vec())
                }
            };
        }
        self.told.lock().unwrap().batches.push(steps.clone());
        let done = match steps.first() {
            Some(Step::RemoveRange(of, ..)) if clears => by_number[of].clear(),
            _ => batch.commit(),
        };
        let mut told = self.told.lock().unwrap();
        match done {
            Ok(()) => {
                told.acknowledged = told.batches.len();
                if sync {
                    told.synced = told.acknowledged;
                }
                Ok(())
            }
            // Refused by a full disk: it must never be seen.
            Err(error) if error.is_disk_full() && !sync && !clears => {
                told.batches.pop();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn checkpoint(&mut self) -> Result<(), Error> {
        let number = self.random.next();
        let path = format!("home/copy{number:x}");
        self.database().checkpoint(&path)?;
        let mut told = self.told.lock().unwrap();
        let copy = (path, told.acknowledged, told.live.clone());
        told.checkpoints.push(copy);
        Ok(())
    }

    fn step(&mut self) -> Result<(), Error> {
        match self.random.below(200) {
            0..4 => self.create(),
            4..6 => self.drop_one(),
            6..16 => match self.pick() {
                Some(which) => self.keyspaces[&which].flush(),
                None => self.create(),
            },
            16..20 => match self.pick() {
                Some(which) => self.keyspaces[&which].compact_range(..),
                None => Ok(()),
            },
            20..23 => self.database().wait_idle(),
            23..28 => {
                let acknowledged = self.told.lock().unwrap().acknowledged;
                self.database().persist(Durability::Sync)?;
                self.told.lock().unwrap().synced = acknowledged;
                Ok(())
            }
            28..30 => self.checkpoint(),
            30..32 => self.reopen(),
            _ => self.write(),
        }
    }
}

/// Watches every operation that changes something, and keeps what a cut before it leaves.
fn watch(
    disk: &MemFs,
    told: &Arc<Mutex<Told>>,
    one_in: u64,
    seed: u64,
) -> (Arc<dyn Fs>, Arc<Mutex<Vec<Found>>>) {
    let found: Arc<Mutex<Vec<Found>>> = Arc::default();
    let (disk, told, kept) = (disk.clone(), Arc::clone(told), Arc::clone(&found));
    let chance = Mutex::new(Random::new(seed));
    let fs = HookFs::new(Arc::new(disk.clone()), move |call, path| {
        let (cut_seed, power) = {
            let mut chance = chance.lock().unwrap();
            if call == Call::Read || chance.below(one_in) != 0 {
                return Ok(());
            }
            (chance.next(), chance.chance(80))
        };
        let before = told.lock().unwrap().clone();
        let (disk, promised, what) = match power {
            true => (disk.power_cut(cut_seed), before.synced, "the power failed"),
            false => (disk.process_kill(), before.acknowledged, "the process was killed"),
        };
        let after = told.lock().unwrap().clone();
        let how = format!("{what} before {call:?} of {}", path.display());
        kept.lock().unwrap().push(Found { disk, how, promised, before, after });
        Ok(())
    });
    (Arc::new(fs), found)
}

fn new_disk() -> MemFs {
    let disk = MemFs::new();
    disk.create_dir_all(Path::new("home")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    disk
}

/// Opens what was left and says after which batch that is. On the way, the power may fail
/// again before any operation of the recovery.
fn check(found: &Found, plan: Plan, deeper: bool) -> Result<Told, String> {
    let mode = RecoveryMode::TornTail;
    let plan = Plan { mode, threads: false, ..plan };
    let told = Arc::new(Mutex::new(Told { acknowledged: usize::MAX, ..found.after.clone() }));
    let disk = found.disk.process_kill();
    let (fs, again) = watch(&disk, &told, if deeper { 2 } else { u64::MAX }, plan.seed);
    let database = options(plan, fs).open(DIR).map_err(|error| format!("cannot be opened: {error:?}"))?;
    let state = read(&database).map_err(|error| format!("cannot be read: {error:?}"))?;
    let last = found.judge(&state)?;
    drop(database);
    for again in again.lock().unwrap().drain(..) {
        // What a killed process had written and nobody has synced yet may go now.
        let promised = if again.promised == usize::MAX { found.promised } else { found.before.synced };
        let again = Found {
            disk: again.disk,
            how: again.how,
            promised,
            before: found.before.clone(),
            after: found.after.clone(),
        };
        check(&again, plan, false).map_err(|why| format!("then {}: {why}", again.how))?;
    }
    // A copy that was finished is there for good.
    for (path, batches, live) in &found.before.checkpoints {
        let database = options(plan, Arc::new(found.disk.process_kill())).open(path);
        let database = database.map_err(|error| format!("copy {path} cannot be opened: {error:?}"))?;
        let state = read(&database).map_err(|error| format!("copy: {error:?}"))?;
        let mut then = found.after.clone();
        then.batches.truncate(*batches);
        then.live.clone_from(live);
        then.in_doubt = None;
        let copy = Found {
            disk: disk.clone(),
            how: String::new(),
            promised: *batches,
            before: then.clone(),
            after: then,
        };
        copy.judge(&state).map_err(|why| format!("the copy {path}: {why}"))?;
    }
    // Strict recovery may refuse, and whoever accepts must be right.
    let strict = Plan { mode: RecoveryMode::Strict, ..plan };
    match options(strict, Arc::new(found.disk.process_kill())).open(DIR) {
        Ok(database) => {
            let state = read(&database).map_err(|error| format!("strict: {error:?}"))?;
            found.judge(&state).map_err(|why| format!("strict: {why}"))?;
        }
        Err(Error::Corruption { .. }) => {}
        Err(error) => return Err(format!("strict: {error:?}")),
    }
    let salvage = Plan { mode: RecoveryMode::Salvage, ..plan };
    if deeper {
        let salvaged = found.disk.process_kill();
        let database = options(salvage, Arc::new(salvaged.clone())).open(DIR);
        let database = database.map_err(|error| format!("salvage refused: {error:?}"))?;
        let first = read(&database).map_err(|error| format!("salvage: {error:?}"))?;
        drop(database);
        let database = options(plan, Arc::new(salvaged.process_kill())).open(DIR);
        let database = database.map_err(|error| format!("after salvage: {error:?}"))?;
        let second = read(&database).map_err(|error| format!("after salvage: {error:?}"))?;
        if first != second {
            return Err("salvaged, and then something else".to_owned());
        }
    }
    let mut told = found.after.clone();
    told.batches.truncate(last);
    // A copy may hold batches that the power took from the database itself.
    told.checkpoints.retain(|(_, batches, _)| *batches <= last);
    // What a killed process has left is durable once it was recovered.
    (told.acknowledged, told.synced) = (last, found.before.synced);
    // Only what is on the disk lives on.
    let allowed = found.allowed();
    let names: BTreeSet<_> = state.keys().cloned().collect();
    told.live = allowed.into_iter().filter(|(name, _)| names.contains(name)).collect();
    told.in_doubt = None;
    Ok(told)
}

fn run(plan: Plan, lives: usize, steps: u64, one_in: u64) -> Result<usize, String> {
    let mut disk = new_disk();
    let mut told = Told::fresh();
    let mut random = Random::new(plan.seed);
    let mut cuts = 0;
    for life in 0..lives {
        let plan = Plan { seed: random.next(), ..plan };
        let (fs, found) = watch(&disk, &told, one_in, plan.seed);
        let mut running = Life::open(plan, fs, Arc::clone(&told)).map_err(|error| format!("{error:?}"))?;
        for step in 0..steps {
            running.step().map_err(|error| format!("life {life}, step {step}: {error:?}"))?;
        }
        drop(running);
        let found = std::mem::take(&mut *found.lock().unwrap());
        cuts += found.len();
        let next = random.index(found.len().max(1));
        let mut goes_on = None;
        for (index, found) in found.into_iter().enumerate() {
            let deeper = random.chance(15);
            let after =
                check(&found, plan, deeper).map_err(|why| format!("life {life}: {}: {why}", found.how))?;
            let names: BTreeSet<_> = after.live.iter().map(|(name, _)| name).collect();
            if (index >= next && goes_on.is_none()) && names.len() == after.live.len() {
                goes_on = Some((found.disk, after));
            }
        }
        let Some((next, after)) = goes_on else { break };
        disk = next;
        told = Arc::new(Mutex::new(after));
    }
    Ok(cuts)
}

fn rounds() -> u64 {
    std::env::var("LSM_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2)
}

#[test]
fn at_any_cut_all_keyspaces_stand_at_the_same_batch() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} cuts at the same places again");
    let mut cuts = 0;
    for round in 0..rounds() {
        let seed = lsm_vfs::mix64(seed ^ round);
        let mut random = Random::new(seed);
        let plan = Plan {
            mode: RecoveryMode::TornTail,
            threads: false,
            write_buffer: [600, 2 << 10, 6 << 10][random.index(3)],
            max_log: [8 << 10, 64 << 10][random.index(2)],
            seed,
        };
        cuts +=
            run(plan, 4, 120, 6).unwrap_or_else(|why| panic!("round {round} of 0x{seed:x}, {plan:?}: {why}"));
    }
    println!("{cuts} cuts");
}

#[test]
fn with_threads_all_keyspaces_stand_at_the_same_batch() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} begins in the same way again");
    let mut cuts = 0;
    for round in 0..rounds() {
        let seed = lsm_vfs::mix64(seed ^ round);
        let plan = Plan {
            mode: RecoveryMode::TornTail,
            threads: true,
            write_buffer: 1 << 10,
            max_log: 16 << 10,
            seed,
        };
        cuts += run(plan, 3, 120, 6).unwrap_or_else(|why| panic!("round {round} of 0x{seed:x}: {why}"));
    }
    println!("{cuts} cuts");
}
