//! Options of a database and of a tree. Defaults need no tuning; what a normal user
//! never sees lies under `advanced()`.

use crate::env::{Clock, SystemClock};
use crate::keyspace_options::KeyspaceOptions;
use crate::{Database, Result, Tree};
use lsm_log::RecoveryMode;
use lsm_vfs::{Fs, OsFs};
use std::path::Path;
use std::sync::Arc;

/// What has happened to a write when the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It is in the operating system's hands: survives a killed process, not a
    /// power cut.
    #[default]
    Buffered,
    /// It is on stable storage (`fdatasync`).
    Sync,
}

/// A preset for the sizes that matter most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// 64 MiB write buffer, 128 MiB cache.
    #[default]
    Balanced,
    /// 32 MiB write buffer, 512 MiB cache.
    ReadHeavy,
    /// 128 MiB write buffer, 64 MiB cache.
    WriteHeavy,
    /// 4 MiB write buffer, 8 MiB cache, few open files.
    SmallMemory,
}

/// Who runs background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// This many threads; at least two, so that a flush never waits behind a
    /// compaction.
    Threads(usize),
    /// Nobody: a call that would wait runs queued work itself, and some calls run a
    /// piece on the way, chosen by the seed. One thread must do all calls. For
    /// simulation.
    Deterministic {
        /// Chooses what runs when.
        seed: u64,
    },
}

/// How a database is opened. See [`Database::open`] for the defaults.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) cache_bytes: u64,
    pub(crate) write_buffer_bytes: usize,
    pub(crate) durability: Durability,
    pub(crate) max_open_files: usize,
    pub(crate) max_log_bytes: u64,
    pub(crate) recovery_mode: RecoveryMode,
    pub(crate) create_if_missing: bool,
    pub(crate) advanced: Advanced,
}

/// What only tests, simulations and unusual machines need to set.
#[derive(Debug, Clone)]
pub struct Advanced {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) seed: Option<u64>,
    pub(crate) execution: Execution,
    pub(crate) log_segment_bytes: u64,
    pub(crate) max_sealed_memtables: usize,
}

impl Default for Advanced {
    fn default() -> Self {
        let threads = lsm_sync::thread::available_parallelism().map_or(2, usize::from);
        Self {
            fs: Arc::new(OsFs),
            clock: Arc::new(SystemClock::default()),
            seed: None,
            execution: Execution::Threads(threads.clamp(2, 8)),
            log_segment_bytes: 32 << 20,
            max_sealed_memtables: 3,
        }
    }
}

impl Advanced {
    /// Where the files live.
    pub fn fs(&mut self, fs: Arc<dyn Fs>) -> &mut Self {
        self.fs = fs;
        self
    }

    /// What tells the time.
    pub fn clock(&mut self, clock: Arc<dyn Clock>) -> &mut Self {
        self.clock = clock;
        self
    }

    /// Seeds the random numbers in file headers; from the system by default.
    pub fn seed(&mut self, seed: u64) -> &mut Self {
        self.seed = Some(seed);
        self
    }

    /// Who runs background work; a thread for each core, 2 to 8, by default.
    pub fn execution(&mut self, execution: Execution) -> &mut Self {
        self.execution = execution;
        self
    }

    /// Length of a log segment in bytes; 32 MiB by default.
    pub fn log_segment_size(&mut self, bytes: u64) -> &mut Self {
        self.log_segment_bytes = bytes.max(4096);
        self
    }

    /// How many sealed memtables a keyspace may hold before its writers wait; 3 by
    /// default. A bound for many small ones: what fills a write buffer is slowed before.
    pub fn max_sealed_memtables(&mut self, count: usize) -> &mut Self {
        self.max_sealed_memtables = count.max(1);
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 128 << 20,
            write_buffer_bytes: 64 << 20,
            durability: Durability::Buffered,
            max_open_files: 512,
            max_log_bytes: 512 << 20,
            recovery_mode: RecoveryMode::TornTail,
            create_if_missing: true,
            advanced: Advanced::default(),
        }
    }
}

impl Options {
    /// Sets write buffer, cache and open files to a preset.
    #[must_use]
    pub fn profile(self, profile: Profile) -> Self {
        let (write_buffer, cache, files) = match profile {
            Profile::Balanced => (64, 128, 512),
            Profile::ReadHeavy => (32, 512, 1024),
            Profile::WriteHeavy => (128, 64, 512),
            Profile::SmallMemory => (4, 8, 64),
        };
        self.write_buffer_size(write_buffer << 20).cache_size(cache << 20).max_open_files(files)
    }

    /// Bytes of uncompressed blocks kept in memory; 128 MiB by default, 0 for none.
    #[must_use]
    pub fn cache_size(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Bytes that the writes of a keyspace may take up in memory until they are flushed; 64
    /// MiB by default. Three eighths of it fill before a flush begins, and the rest meanwhile;
    /// writers that leave a flush behind are slowed from three quarters of it on, and almost
    /// stopped at one and a half.
    #[must_use]
    pub fn write_buffer_size(mut self, bytes: usize) -> Self {
        self.write_buffer_bytes = bytes.max(1024);
        self
    }

    /// Durability of writes that do not say otherwise; `Buffered` by default.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How many table files may be open at once; 512 by default.
    #[must_use]
    pub fn max_open_files(mut self, count: usize) -> Self {
        self.max_open_files = count.max(4);
        self
    }

    /// Bytes that the log may reach: past it, the keyspace that holds the oldest
    /// record is flushed. 512 MiB by default.
    #[must_use]
    pub fn max_log_size(mut self, bytes: u64) -> Self {
        self.max_log_bytes = bytes;
        self
    }

    /// What to do with a log that ends in the middle of a record or is damaged;
    /// [`RecoveryMode::TornTail`] by default.
    #[must_use]
    pub fn recovery_mode(mut self, mode: RecoveryMode) -> Self {
        self.recovery_mode = mode;
        self
    }

    /// Whether a directory without a database becomes one; true by default.
    #[must_use]
    pub fn create_if_missing(mut self, create: bool) -> Self {
        self.create_if_missing = create;
        self
    }

    /// What only tests, simulations and unusual machines need to set.
    pub fn advanced(&mut self) -> &mut Advanced {
        &mut self.advanced
    }

    /// Opens the database in the directory `path`, or creates it there.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Database> {
        Database::open_with(path.as_ref(), self)
    }
}

/// How a [`Tree`] is opened.
#[derive(Debug, Clone, Default)]
pub struct TreeOptions {
    pub(crate) store: Options,
    pub(crate) keyspace: KeyspaceOptions,
}

impl TreeOptions {
    /// Bytes of uncompressed blocks kept in memory; 128 MiB by default.
    #[must_use]
    pub fn cache_size(mut self, bytes: u64) -> Self {
        self.store = self.store.cache_size(bytes);
        self
    }

    /// How many table files may be open at once; 512 by default.
    #[must_use]
    pub fn max_open_files(mut self, count: usize) -> Self {
        self.store = self.store.max_open_files(count);
        self
    }

    /// How tables are written.
    #[must_use]
    pub fn tables(mut self, options: KeyspaceOptions) -> Self {
        self.keyspace = options;
        self
    }

    /// What only tests, simulations and unusual machines need to set.
    pub fn advanced(&mut self) -> &mut Advanced {
        self.store.advanced()
    }

    /// Opens the tree in the directory `path`, or creates it there.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Tree> {
        Tree::open_with(path.as_ref(), self)
    }
}
