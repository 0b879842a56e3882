//! The power fails, or the process dies, before any single operation of the file
//! system; or one operation fails. Everything runs in memory and from a seed. What
//! was acknowledged as Sync is there after power loss, everything acknowledged after
//! a kill, and what is there is always a prefix of whole batches.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::sim::SimClock;
use lsm_sim::{Call, Config, HookFs, Numbered, Random, oracle_configs, seed_from_env};
use lsm_tree::{Durability, Error, Execution, Keyspace, KeyspaceOptions, Options};
use lsm_vfs::{Fault, FaultFs, Fs, MemFs, mix64};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const HOME: &str = "home";
const DIR: &str = "home/db";

/// What the application was told so far.
#[derive(Debug, Default)]
struct Told {
    acknowledged: AtomicU64,
    synced: AtomicU64,
}

impl Told {
    fn now(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::SeqCst), self.synced.load(Ordering::SeqCst))
    }
}

/// Writes numbered batches and does whatever else moves files, until `steps` steps
/// are done or something fails. The number of the last batch that was tried.
fn work(
    numbered: &Numbered,
    told: &Told,
    first: u64,
    steps: u64,
    random: &mut Random,
) -> (u64, Option<Error>) {
    let mut next = first;
    for _ in 0..steps {
        let keyspace = &numbered.keyspaces()[random.index(3)];
        let done = match random.below(100) {
            0..4 => keyspace.flush(),
            4..6 => keyspace.compact_range("0/00000010".."0/00000030"),
            6..8 => numbered.database().wait_idle(),
            8..12 => {
                let acknowledged = told.now().0;
                let done = numbered.database().persist(Durability::Sync);
                if done.is_ok() {
                    told.synced.store(acknowledged, Ordering::SeqCst);
                }
                done
            }
            _ => {
                let sync = random.chance(25);
                let durability = if sync { Durability::Sync } else { Durability::Buffered };
                let done = numbered.write(0, next, durability);
                if done.is_ok() {
                    told.acknowledged.store(next, Ordering::SeqCst);
                    if sync {
                        told.synced.store(next, Ordering::SeqCst);
                    }
                }
                next += 1;
                done
            }
        };
        if let Err(error) = done {
            return (next - 1, Some(error));
        }
    }
    (next - 1, None)
}

fn configs() -> Vec<Config> {
    let names =
        ["small memtables", "tiny memtables", "many levels of tiny tables", "small log", "size-tiered"];
    oracle_configs().into_iter().filter(|config| names.contains(&config.name)).collect()
}

/// A disk on which the directory of databases was made long ago.
fn new_disk() -> MemFs {
    let disk = MemFs::new();
    disk.create_dir_all(Path::new(HOME)).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    disk
}

fn on(config: &Config, fs: Arc<dyn Fs>, seed: u64) -> Options {
    let mut options = config.options.clone();
    options.advanced().clock(Arc::new(SimClock::default()));
    Config::on(config.name, fs, Path::new(DIR), options, config.keyspace.clone()).deterministic(seed).options
}

/// Opens what was left; the last batch that is there.
fn recover(config: &Config, fs: Arc<dyn Fs>, seed: u64) -> Result<(Numbered, u64), String> {
    let database = on(config, fs, seed).open(DIR).map_err(|error| format!("cannot be opened: {error:?}"))?;
    let numbered = Numbered::open(database, &config.keyspace).map_err(|error| format!("{error:?}"))?;
    let last = numbered.check(1)?[0];
    Ok((numbered, last))
}

/// A disk as it was found at some moment, and what had been promised by then.
struct Found {
    disk: MemFs,
    how: String,
    promised: u64,
}

/// Runs the work over `disk`, and takes what a power cut or a kill would leave
/// before some of its operations.
fn run_and_cut(config: &Config, disk: MemFs, seed: u64, random: &mut Random) -> Result<Vec<Found>, String> {
    let found: Arc<Mutex<Vec<Found>>> = Arc::default();
    let told = Arc::new(Told::default());
    let watched = {
        let (disk, found, told) = (disk.clone(), Arc::clone(&found), Arc::clone(&told));
        let chance = Mutex::new(Random::new(seed));
        HookFs::new(Arc::new(disk.clone()), move |call, path| {
            let mut chance = chance.lock().unwrap();
            if call == Call::Read || chance.below(60) != 0 {
                return Ok(());
            }
            let (acknowledged, synced) = told.now();
            let cut_seed = chance.next();
            let power = chance.chance(75);
            let (disk, promised, what) = if power {
                (disk.power_cut(cut_seed), synced, "the power failed")
            } else {
                (disk.process_kill(), acknowledged, "the process was killed")
            };
            let how = format!("{what} before {call:?} of {}", path.display());
            found.lock().unwrap().push(Found { disk, how, promised });
            Ok(())
        })
    };
    let (numbered, last) = recover(config, Arc::new(watched), seed)?;
    // What recovery found, it has made durable before it accepted writes.
    told.acknowledged.store(last, Ordering::SeqCst);
    told.synced.store(last, Ordering::SeqCst);
    let steps = 20 + random.below(180);
    let (_, error) = work(&numbered, &told, last + 1, steps, random);
    assert!(error.is_none(), "nothing failed, and yet: {error:?}");
    drop(numbered);
    Ok(std::mem::take(&mut found.lock().unwrap()))
}

#[test]
fn after_any_cut_the_promised_prefix_is_there() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} cuts at the same places again");
    let mut cuts = 0;
    for config in configs() {
        for round in 0..12_u64 {
            let seed = lsm_vfs::mix64(seed ^ round);
            let random = &mut Random::new(seed);
            let mut disk = new_disk();
            // Each life starts from a disk that an earlier one left behind.
            for life in 0..3 {
                let at = |why: String| format!("{}, round {round}, life {life}: {why}", config.name);
                let found = run_and_cut(&config, disk.clone(), seed ^ life, random);
                let found = found.unwrap_or_else(|why| panic!("{}", at(why)));
                cuts += found.len();
                for Found { disk, how, promised } in &found {
                    let (numbered, last) = recover(&config, Arc::new(disk.process_kill()), seed)
                        .unwrap_or_else(|why| panic!("{}", at(format!("{how}, then {why}"))));
                    assert!(
                        last >= *promised,
                        "{}",
                        at(format!("{how}: {promised} was promised, {last} is last"))
                    );
                    numbered.write(0, last + 1, Durability::Sync).unwrap();
                    assert_eq!(numbered.check(1), Ok(vec![last + 1]));
                }
                match found.into_iter().next_back() {
                    Some(last) => disk = last.disk,
                    None => break,
                }
            }
        }
    }
    assert!(cuts > 500, "only {cuts} cuts");
    println!("{cuts} cuts");
}

/// Runs the work with one fault, and checks what a kill and a power cut leave.
fn fail_once(config: &Config, at: u64, fault: Fault, sticky: bool, seed: u64) -> bool {
    let disk = new_disk();
    let faulty = FaultFs::new(disk.clone());
    if sticky {
        faulty.fail_from(at, fault);
    } else {
        faulty.fail_at(at, fault);
    }
    let what = format!("{}: {fault:?} at operation {at} (sticky: {sticky})", config.name);
    let told = Told::default();
    let tried = match on(config, Arc::new(faulty.clone()), seed)
        .open(DIR)
        .and_then(|database| Numbered::open(database, &config.keyspace))
    {
        Err(_) => 0,
        Ok(numbered) => {
            let (tried, error) = work(&numbered, &told, 1, 150, &mut Random::new(seed));
            if let Some(error) = error {
                let known = matches!(error, Error::Io(_) | Error::ReadOnly { .. } | Error::Corruption { .. });
                assert!(known, "{what}: {error:?}");
                // Reads go on, or say why not; they are never wrong.
                faulty.heal();
                match numbered.check(1) {
                    Ok(last) => assert!(last[0] <= tried, "{what}"),
                    Err(why) => assert!(why.starts_with("cannot be read"), "{what}: {why}"),
                }
            }
            tried
        }
    };
    let (acknowledged, synced) = told.now();
    for (how, disk, promised) in [
        ("then a kill", disk.process_kill(), acknowledged),
        ("then a power cut", disk.power_cut(seed), synced),
    ] {
        let (_, last) =
            recover(config, Arc::new(disk), seed).unwrap_or_else(|why| panic!("{what}, {how}: {why}"));
        assert!(last >= promised, "{what}, {how}: {promised} was promised, {last} is the last one");
        assert!(last <= tried, "{what}, {how}: {last} was never written");
    }
    faulty.injected() > 0
}

#[test]
fn after_any_failed_operation_nothing_promised_is_lost() {
    let seed = seed_from_env();
    println!("LSM_SEED=0x{seed:x} fails at the same places again");
    let mut injected = 0;
    let random = &mut Random::new(seed);
    for config in configs() {
        for _ in 0..120 {
            let fault = match random.below(4) {
                0 => Fault::Error(std::io::ErrorKind::Other),
                1 => Fault::DiskFull,
                2 => Fault::ShortWrite,
                _ => Fault::FailedSync,
            };
            let sticky = random.chance(40);
            injected += u64::from(fail_once(&config, random.below(900), fault, sticky, random.next()));
        }
    }
    assert!(injected > 100, "only {injected} faults came to pass");
}

#[test]
fn a_database_in_a_new_directory_survives_a_power_cut() {
    // Relative to the current directory, and several directories deep: the names on
    // the way have to be durable as well as the files.
    for path in ["db", "some/new/place"] {
        for seed in 0..20 {
            let disk = MemFs::new();
            let open = |disk: MemFs| {
                let mut options = Options::default();
                options.advanced().fs(Arc::new(disk)).seed(1);
                let database = options.open(path).unwrap();
                Numbered::open(database, &KeyspaceOptions::default()).unwrap()
            };
            let numbered = open(disk.clone());
            numbered.write(0, 1, Durability::Sync).unwrap();
            let after = open(disk.power_cut(seed));
            assert_eq!(after.check(1), Ok(vec![1]), "{path} is gone after a power cut");
        }
    }
}

#[test]
fn what_was_replayed_but_not_flushed_is_replayed_again_after_the_next_kill() {
    let disk = MemFs::new();
    let open = |disk: &MemFs, write_buffer_bytes| {
        let mut options = Options::default().write_buffer_size(write_buffer_bytes);
        options.advanced().fs(Arc::new(disk.clone())).seed(1).execution(Execution::Deterministic { seed: 1 });
        let database = options.open("db").unwrap();
        let keyspaces =
            ["one", "two"].map(|name| database.keyspace(name, KeyspaceOptions::default()).unwrap());
        (database, keyspaces)
    };
    let (database, [one, two]) = open(&disk, 1 << 20);
    for number in 0..100_u8 {
        let mut batch = database.batch();
        batch.insert(&one, [number], [number; 100]);
        batch.insert(&two, [number], [number; 100]);
        batch.commit().unwrap();
    }
    // The manifest now knows of higher numbers than the first records of the log.
    one.flush().unwrap();
    let disk = disk.process_kill();
    // The replay fills several memtables of "two"; those that are full are flushed.
    let (database, _keyspaces) = open(&disk, 4 << 10);
    database.wait_idle().unwrap();
    let disk = disk.process_kill();
    let (_database, [one, two]) = open(&disk, 4 << 10);
    assert_eq!(one.len().unwrap(), 100);
    assert_eq!(two.len().unwrap(), 100, "the second recovery skipped what the first one had not flushed");
}

/// While the manifest with a bulk load is made durable, somebody writes other keys, and
/// somebody sees those and not yet the load.
#[test]
fn an_ingestion_does_not_outlive_what_was_seen_before_it() {
    let open = |fs: Arc<dyn Fs>| {
        let mut options = Options::default();
        options.advanced().fs(fs).seed(1);
        let database = options.open(DIR).unwrap();
        let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
        (database, keyspace)
    };
    for seed in 0..20 {
        let disk = new_disk();
        let writing: Arc<Mutex<Option<(lsm_tree::Database, lsm_tree::Keyspace)>>> = Arc::default();
        let at_sync = Arc::clone(&writing);
        let fs = HookFs::new(Arc::new(disk.clone()), move |call, path| {
            let is_manifest =
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST"));
            if call == Call::Sync
                && is_manifest
                && let Some((database, other)) = at_sync.lock().unwrap().take()
            {
                other.insert("z", "seen").unwrap();
                let snapshot = database.snapshot();
                assert_eq!(snapshot.get(&other, "z").unwrap().unwrap(), "seen");
                assert_eq!(snapshot.get(&other, "a").unwrap(), None);
            }
            Ok(())
        });
        let (database, keyspace) = open(Arc::new(fs));
        let mut ingestion = keyspace.ingestion().unwrap();
        ingestion.insert("a", "ingested").unwrap();
        *writing.lock().unwrap() = Some((database.clone(), keyspace.clone()));
        ingestion.finish().unwrap();
        assert!(writing.lock().unwrap().is_none(), "the manifest was not synced");
        let left = disk.power_cut(seed);
        let (_database, keyspace) = open(Arc::new(left));
        assert_eq!(keyspace.get("a").unwrap().unwrap(), "ingested", "seed {seed}");
        let seen = keyspace.get("z").unwrap();
        assert_eq!(seen.as_deref(), Some(&b"seen"[..]), "seed {seed}: a write is gone that was there before");
    }
}

#[test]
fn a_table_of_which_a_piece_cannot_be_sent_to_the_disk_is_written_anew() {
    let disk = MemFs::new();
    let faulty = FaultFs::new(disk.clone());
    let open = |fs: Arc<dyn Fs>| {
        let mut options = Options::default();
        options.advanced().fs(fs).seed(1).execution(Execution::Deterministic { seed: 1 });
        let database = options.open("db").unwrap();
        let keyspace = database.keyspace("k", KeyspaceOptions::default()).unwrap();
        (database, keyspace)
    };
    // Nothing that could be compressed, so that the table is two megabytes long.
    let value = |number: u64| -> Vec<u8> {
        (0..125).flat_map(|at| mix64(number * 1000 + at).to_le_bytes()).collect()
    };
    let check = |keyspace: &Keyspace| {
        for number in 0..2000_u64 {
            let found = keyspace.get(number.to_be_bytes()).unwrap();
            assert_eq!(found.as_deref(), Some(value(number).as_slice()), "the entry {number}");
        }
    };
    let (database, keyspace) = open(Arc::new(faulty.clone()));
    for number in 0..2000_u64 {
        keyspace.insert(number.to_be_bytes(), value(number)).unwrap();
    }
    // The first sync that is asked for of a table is that of its first piece; it loses half.
    faulty.fail_on(".sst", 0, Fault::FailedSync, false);
    keyspace.flush().or_else(|_| keyspace.flush()).unwrap();
    assert_eq!(faulty.injected(), 1);
    check(&keyspace);
    database.wait_idle().unwrap();
    let names = disk.read_dir(Path::new("db")).unwrap();
    let tables = names.iter().filter(|entry| entry.name.ends_with(".sst")).count();
    assert_eq!(tables, 1, "what could not be sent is gone, and was written anew: {names:?}");
    let (_database, keyspace) = open(Arc::new(disk.power_cut(1)));
    check(&keyspace);
}
