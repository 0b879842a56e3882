//! [`Config`]: where and with which options a script runs, and the list of them
//! that the oracle tests go through.

use crate::engine::Stop;
use crate::op::Durability;
use lsm_tree::{Compaction, Error, Execution, KeyspaceOptions, Options};
use lsm_vfs::{Fs, MemFs, OsFs};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Options, a file system and a directory on it.
#[derive(Clone, Debug)]
pub struct Config {
    /// What a failing test calls it.
    pub name: &'static str,
    /// Of the database; the file system is put in when it is opened.
    pub options: Options,
    /// Of every keyspace that has none of its own.
    pub keyspace: KeyspaceOptions,
    /// Of single keyspaces.
    pub keyspaces: BTreeMap<u8, KeyspaceOptions>,
    /// What the options say of writes that do not say otherwise.
    pub durability: Durability,
    /// Keyspaces whose options let them drop what is old.
    pub forgetful: BTreeSet<u8>,
    fs: Arc<dyn Fs>,
    dir: PathBuf,
}

impl Config {
    /// In memory: the files are gone with the last clone.
    #[must_use]
    pub fn in_memory(name: &'static str, options: Options, keyspace: KeyspaceOptions) -> Self {
        Self::on(name, Arc::new(MemFs::new()), Path::new("db"), options, keyspace)
    }

    /// In the directory `dir` of `fs`.
    #[must_use]
    pub fn on(
        name: &'static str,
        fs: Arc<dyn Fs>,
        dir: &Path,
        mut options: Options,
        keyspace: KeyspaceOptions,
    ) -> Self {
        options.advanced().fs(Arc::clone(&fs));
        let (keyspaces, forgetful) = Default::default();
        let durability = Durability::Buffered;
        Self { name, options, keyspace, keyspaces, durability, forgetful, fs, dir: dir.to_path_buf() }
    }

    /// The same below the directory `dir` of the real file system.
    #[must_use]
    pub fn on_disk(mut self, dir: &Path) -> Self {
        self.fs = Arc::new(OsFs);
        self.options.advanced().fs(Arc::clone(&self.fs));
        self.dir = dir.join("db");
        self
    }

    /// The same with background work that a seed replays.
    #[must_use]
    pub fn deterministic(mut self, seed: u64) -> Self {
        self.options.advanced().seed(seed).execution(Execution::Deterministic { seed });
        self
    }

    /// The options of one keyspace.
    #[must_use]
    pub fn options_of(&self, keyspace: u8) -> &KeyspaceOptions {
        self.keyspaces.get(&keyspace).unwrap_or(&self.keyspace)
    }

    /// The directory of the database.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file system that it lies on.
    #[must_use]
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// The same in another directory beside this one.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        Self { dir: self.dir.with_file_name(name), ..self.clone() }
    }

    /// Removes what an earlier run left.
    ///
    /// # Errors
    /// The file system's.
    pub fn start_afresh(&self) -> Result<(), Stop> {
        let failed = |error| Stop::Failed { call: "looking for an old run", error: Error::from(error) };
        if self.fs.exists(&self.dir).map_err(failed)? { self.remove() } else { Ok(()) }
    }

    /// Removes the files of the database; the directory stays.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(&self) -> Result<(), Stop> {
        let failed = |error| Stop::Failed { call: "removing an old run", error: Error::from(error) };
        let files = self.fs.read_dir(&self.dir).map_err(failed)?;
        for file in files.iter().filter(|file| !file.is_dir) {
            self.fs.remove_file(&self.dir.join(&file.name)).map_err(failed)?;
        }
        Ok(())
    }
}

/// The configurations of the oracle: each makes another part of the engine do the
/// most work.
#[must_use]
pub fn oracle_configs() -> Vec<Config> {
    use lsm_tree::Compression;
    let small = || Options::default().write_buffer_size(32 << 10).cache_size(256 << 10);
    let tiny = || Options::default().write_buffer_size(2 << 10).cache_size(64 << 10);
    let shallow = || KeyspaceOptions::default().table_size(16 << 10).level_base_size(64 << 10);
    let deep = || KeyspaceOptions::default().table_size(1 << 10).level_base_size(4 << 10).block_size(256);
    let mut small_log = tiny().max_log_size(16 << 10);
    small_log.advanced().log_segment_size(4 << 10).max_sealed_memtables(1);
    let fifo = Compaction::Fifo { max_bytes: u64::MAX, max_age_ms: u64::MAX };
    let mem = Config::in_memory;
    let mut configs = vec![
        mem("defaults", Options::default(), KeyspaceOptions::default()),
        mem("small memtables", small(), shallow()),
        mem("tiny memtables", tiny(), shallow()),
        mem("tiny blocks", small(), shallow().block_size(64)),
        mem("uncompressed", small(), shallow().compression(Compression::None)),
        mem("size-tiered", tiny(), shallow().compaction(Compaction::SizeTiered)),
        mem("fifo without a limit", small(), shallow().compaction(fifo)),
        mem("no filter, no cache", small().cache_size(0), shallow().filter_bits_per_key(0.0)),
        mem("many levels of tiny tables", tiny(), deep()),
        mem("small log", small_log, shallow()),
        mem("large tables, one level", tiny(), KeyspaceOptions::default()),
    ];
    if cfg!(feature = "zstd") {
        configs.push(mem("zstd", small(), shallow().compression(Compression::Zstd)));
    }
    configs
}
