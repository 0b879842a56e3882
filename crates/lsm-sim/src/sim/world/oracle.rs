//! What a simulation compares: what a recovery found with what had been promised, kept
//! checkpoints with their moment, the files in the directory with what the database counts.

use super::{DIR, HOME, World};
use crate::answer::{Answer, Entry, difference};
use crate::config::Config;
use crate::engine::{Engine, Stop};
use crate::op::Durability;
use crate::promises::NameChange;
use crate::read::{Order, Read};
use crate::runner::{KeptCheckpoint, Runner};
use crate::sim::disk::hash_bytes;
use lsm_tree::{Error, Execution, KeyspaceOptions, Options};
use lsm_types::KeySpan;
use lsm_vfs::{Fs, MemFs, mix64};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// No file of a simulation is longer.
const LONGEST_FILE: u64 = 1 << 30;

impl World {
    /// Finds the commit up to which everything is there, and nothing more; it must not
    /// lie before what was promised.
    pub(super) fn find_prefix(&mut self) -> Result<(), Stop> {
        let found = self.runner.read_all()?;
        let candidates = self.runner.promises.candidates(self.lost_power);
        let mut fitting: Vec<_> =
            candidates.iter().copied().filter(|&end| self.runner.is_as_of(end, &found)).collect();
        if fitting.is_empty()
            && let Some(writes) = self.runner.promises.unknown.take()
        {
            self.runner.model.apply(&writes);
            let end = self.runner.model.end();
            fitting.extend(Some(end).filter(|&end| self.runner.is_as_of(end, &found)));
        }
        let (Some(&newest), Some(&oldest)) = (fitting.first(), fitting.last()) else {
            return Err(Stop::Differs(self.no_prefix(&candidates, &found)));
        };
        // Several states that look the same: the last one, with doubts about its counts.
        let unsure = if oldest < newest { oldest } else { newest };
        let runner = &mut self.runner;
        runner.model.rewind(newest, unsure);
        runner.promises.found(runner.model.end());
        Ok(())
    }

    fn no_prefix(&self, candidates: &[u64], found: &BTreeMap<u8, Vec<Entry>>) -> String {
        let how = if self.lost_power { "a power cut" } else { "a kill" };
        let mut text = format!(
            "after {how}: what is found is the state after none of the {} commits that it could be",
            candidates.len()
        );
        let (newest, oldest) = (candidates.first(), candidates.last());
        for (name, end) in [("the last that was tried", newest), ("the last that was promised", oldest)] {
            let Some(&end) = end else { continue };
            let then = self.runner.model.at(end);
            for (&keyspace, got) in found {
                let expected = self.runner.model.range(&then, keyspace, &KeySpan::all());
                if *got != expected {
                    let what = difference(&Answer::Entries(expected), &Answer::Entries(got.clone()));
                    text.push_str(&format!("; against {name}, keyspace {keyspace}: {what}"));
                }
            }
        }
        text
    }

    /// Every kept checkpoint opens on a copy of `left`, and holds what it should.
    pub(super) fn check_checkpoints(&mut self, left: &MemFs) -> Result<(), Stop> {
        for kept in self.runner.kept_checkpoints.as_mut().map(std::mem::take).unwrap_or_default() {
            let at = |what: String| {
                let name = kept.config.dir().display();
                let promised = if kept.is_promised { "finished" } else { "unfinished" };
                Stop::Differs(format!("the {promised} checkpoint {name}: {what}"))
            };
            match self.checkpoint_differs(&kept, left) {
                Ok(None) => {}
                Ok(Some(what)) => return Err(at(what)),
                // Nobody was told that it is there; that it is not must be said clearly.
                Err(Stop::Failed { error: Error::Corruption { .. } | Error::InvalidArgument(_), .. })
                    if !kept.is_promised => {}
                Err(stop) => return Err(at(stop.to_string())),
            }
        }
        Ok(())
    }

    fn checkpoint_differs(&self, kept: &KeptCheckpoint, left: &MemFs) -> Result<Option<String>, Stop> {
        let disk = left.process_kill();
        let mut options = Options::default().create_if_missing(false);
        let clock = Arc::clone(&self.clock) as Arc<dyn lsm_tree::Clock>;
        let seed = mix64(self.seed ^ self.opens);
        options.advanced().seed(seed).clock(clock).execution(Execution::Deterministic { seed });
        let keyspace = KeyspaceOptions::default();
        let config = Config::on("checkpoint", Arc::new(disk), kept.config.dir(), options, keyspace.clone());
        let engine = Engine::open(&config)?;
        let names: Vec<_> = kept.entries.keys().map(|&keyspace| Engine::name(keyspace)).collect();
        if engine.keyspace_names() != names {
            return Ok(Some(format!("expected {names:?}, got {:?}", engine.keyspace_names())));
        }
        for (&number, expected) in &kept.entries {
            let handle = engine.keyspace(number, keyspace.clone())?;
            let got = handle.read(None, &Read::Iter(Order::Forward))?;
            let expected_answer = Answer::Entries(expected.clone());
            let fits = if self.runner.lossy.contains(&number) {
                got.is_within(&expected_answer, expected)
            } else {
                got == expected_answer
            };
            if !fits {
                return Ok(Some(format!("keyspace {number}: {}", difference(&expected_answer, &got))));
            }
        }
        Ok(None)
    }

    /// Waits for all work to end, and compares the files with what the database counts.
    pub(super) fn account(&mut self) -> Result<(), Stop> {
        if self.ordered.any {
            // What could not be removed or finished stays until the next opening.
            return Ok(());
        }
        self.runner.slots.clear();
        self.runner.let_go_of_iterators();
        let fs = self.fs.clone();
        self.check(|runner| {
            runner.engine()?.wait_idle()?;
            runner.engine()?.persist(Durability::Sync)?;
            runner.promises.persisted();
            files_are_counted(runner, &fs)
        })
    }

    /// A number that follows from all files, as they are and as a power cut leaves them.
    pub(super) fn image(&self) -> Result<u64, Stop> {
        let disk = self.fs.faults().inner();
        let now = image_of(disk, Path::new(HOME))?;
        Ok(mix64(now).wrapping_add(image_of(&disk.power_cut(self.seed), Path::new(HOME))?))
    }
}

fn files_are_counted(runner: &Runner, fs: &dyn Fs) -> Result<(), Stop> {
    let stats = runner.engine()?.stats();
    let entries = fs
        .read_dir(Path::new(DIR))
        .map_err(|error| Stop::Failed { call: "the listing of the directory", error: Error::from(error) })?;
    let levels = || stats.keyspaces.iter().flat_map(|keyspace| &keyspace.levels);
    let expected =
        (levels().map(|level| level.tables).sum::<usize>(), levels().map(|level| level.bytes).sum());
    let (mut tables, mut table_bytes, mut segments, mut others) = (0, 0_u64, 0, Vec::new());
    for entry in &entries {
        if entry.name.ends_with(".sst") {
            (tables, table_bytes) = (tables + 1, table_bytes + entry.len_bytes);
        } else if entry.name.ends_with(".log") {
            segments += 1;
        } else if !["MANIFEST", "LOCK", "lost"].contains(&entry.name.as_str()) {
            others.push(entry.name.clone());
        }
    }
    // One segment may have been made ahead.
    let log_fits = segments == stats.log.segments || segments == stats.log.segments + 1;
    if (tables, table_bytes) == expected && log_fits && others.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = entries.iter().map(|entry| format!("{}:{}", entry.name, entry.len_bytes)).collect();
    Err(Stop::Differs(format!("not every file is accounted for: {names:?} of\n{stats}")))
}

fn image_of(disk: &MemFs, directory: &Path) -> Result<u64, Stop> {
    let failed = |error| Stop::Failed { call: "reading the disk", error: Error::from(error) };
    let mut hash = 0;
    for entry in disk.read_dir(directory).map_err(failed)? {
        let path = directory.join(&entry.name);
        let contents = if entry.is_dir {
            image_of(disk, &path)?
        } else {
            hash_bytes(&disk.read_to_vec(&path, LONGEST_FILE).map_err(failed)?)
        };
        hash = mix64(hash ^ hash_bytes(entry.name.as_bytes()) ^ contents);
    }
    Ok(hash)
}

/// Whether a keyspace may or may not be there.
pub(super) fn is_uncertain(names: Option<NameChange>, keyspace: u8) -> bool {
    matches!(names, Some(NameChange::Create(at) | NameChange::Drop(at)) if at == keyspace)
}
