//! [`TableContext`]: what all tables of a database share. A bounded cache of blocks,
//! a bounded pool of open files, and the counters of both. Never keeps a table.

use crate::Error;
use crate::cache::{Block, BlockCache, Slots};
use lsm_sync::atomic::{AtomicU64, Ordering::Relaxed};
use lsm_vfs::{File, Fs};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;
use std::sync::Arc;

/// Shared by all tables of a database, and by several databases that are to live
/// under one memory limit. `Send + Sync`; no lock of it is held over I/O.
pub struct TableContext {
    fs: Arc<dyn Fs>,
    blocks: lsm_sync::Arc<BlockCache>,
    files: Cache<u64, Arc<dyn File>, UnitWeighter, BuildHasherDefault<KeyHasher>>,
    counters: Counters,
    /// The next table's key in cache and pool. Relaxed: only uniqueness matters.
    next_table: AtomicU64,
}

/// Relaxed throughout: figures for people, which order nothing.
#[derive(Debug, Default)]
struct Counters {
    hits: HitCounter,
    misses: AtomicU64,
    blocks_read: AtomicU64,
    bytes_read: AtomicU64,
}

/// Counts hits without a shared read-modify-write: each thread adds to a cell of its
/// own. Where threads share one, a count may be lost now and then.
#[derive(Debug)]
struct HitCounter {
    cells: [HitCell; HIT_CELLS],
    /// Threads that have been given a cell.
    threads: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct HitCell(AtomicU64);

const HIT_CELLS: usize = 64;

thread_local! {
    /// Which cell is this thread's, once it has counted.
    static HIT_CELL: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Default for HitCounter {
    fn default() -> Self {
        Self { cells: std::array::from_fn(|_| HitCell::default()), threads: AtomicU64::new(0) }
    }
}

impl HitCounter {
    #[inline]
    fn add_one(&self) {
        let at = HIT_CELL.try_with(|own| own.get().unwrap_or_else(|| self.give_cell(own)));
        if let Some(HitCell(cell)) = self.cells.get(at.unwrap_or(0)) {
            cell.store(cell.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    #[cold]
    fn give_cell(&self, own: &Cell<Option<usize>>) -> usize {
        let at = self.threads.fetch_add(1, Relaxed) as usize % HIT_CELLS;
        own.set(Some(at));
        at
    }

    fn sum(&self) -> u64 {
        self.cells.iter().map(|HitCell(cell)| cell.load(Relaxed)).sum()
    }
}

/// Counters of the block cache and of what is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Look-ups that found their block.
    pub hits: u64,
    /// Look-ups that had to read.
    pub misses: u64,
    /// Blocks read from files.
    pub blocks_read: u64,
    /// Bytes of blocks read from files, as stored.
    pub bytes_read: u64,
    /// Bytes of blocks in the cache, with what it takes to keep them.
    pub cached_bytes: u64,
    /// Bytes of blocks that only handed-out slices and cursors keep alive.
    pub pinned_bytes: u64,
    /// Blocks in the cache.
    pub cached_blocks: u64,
    /// Files that are kept open.
    pub open_files: u64,
}

/// Mixes a key by multiplication: the pool of files is keyed by numbers of our own
/// making, which nobody chooses to collide.
#[derive(Clone, Copy, Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

impl TableContext {
    /// A context whose cache holds up to `cache_bytes` of blocks and whose pool keeps
    /// up to `max_open_files` files open (more while they are being read).
    #[must_use]
    pub fn new(fs: Arc<dyn Fs>, cache_bytes: u64, max_open_files: usize) -> Arc<Self> {
        Arc::new(Self {
            fs,
            blocks: BlockCache::new(cache_bytes),
            files: Cache::with(
                max_open_files,
                max_open_files as u64,
                UnitWeighter,
                BuildHasherDefault::default(),
                DefaultLifecycle::default(),
            ),
            counters: Counters::default(),
            next_table: AtomicU64::new(0),
        })
    }

    /// The file system.
    #[must_use]
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// Gives the block cache a new size, evicting what no longer fits.
    pub fn set_cache_bytes(&self, cache_bytes: u64) {
        self.blocks.set_capacity_bytes(cache_bytes);
    }

    /// The counters now; they are read one after the other.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let held = self.blocks.held();
        CacheStats {
            hits: self.counters.hits.sum(),
            misses: self.counters.misses.load(Relaxed),
            blocks_read: self.counters.blocks_read.load(Relaxed),
            bytes_read: self.counters.bytes_read.load(Relaxed),
            cached_bytes: held.cached_bytes,
            pinned_bytes: held.live_bytes.saturating_sub(held.cached_bytes),
            cached_blocks: held.cached_blocks,
            open_files: self.files.len() as u64,
        }
    }

    pub(crate) fn new_table(&self) -> u64 {
        self.next_table.fetch_add(1, Relaxed)
    }

    /// The cache of blocks.
    pub(crate) const fn blocks(&self) -> &lsm_sync::Arc<BlockCache> {
        &self.blocks
    }

    /// A block from its slot, counted as hit or miss.
    #[inline]
    pub(crate) fn cached(&self, slots: &Slots, at: usize) -> Option<Block> {
        let block = slots.get(at);
        if block.is_some() {
            self.counters.hits.add_one();
        } else {
            self.counters.misses.fetch_add(1, Relaxed);
        }
        block
    }

    pub(crate) fn count_read(&self, blocks: u64, bytes: u64) {
        self.counters.blocks_read.fetch_add(blocks, Relaxed);
        self.counters.bytes_read.fetch_add(bytes, Relaxed);
    }

    /// The open file of a table, opening it when the pool has closed it.
    pub(crate) fn file(&self, table: u64, path: &Path) -> Result<Arc<dyn File>, Error> {
        if let Some(file) = self.files.get(&table) {
            return Ok(file);
        }
        let file = self.fs.open_immutable(path)?;
        self.files.insert(table, Arc::clone(&file));
        Ok(file)
    }

    /// Closes a table's file, so that removing it frees its space.
    pub(crate) fn forget(&self, table: u64) {
        self.files.remove(&table);
    }
}

impl Drop for TableContext {
    fn drop(&mut self) {
        // No table is left, and what is cached would keep the cache.
        self.blocks.clear();
    }
}

impl fmt::Debug for TableContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableContext").field("fs", &self.fs).field("stats", &self.stats()).finish()
    }
}
