//! [`RowCache`]: single entries in memory, for gets without locality. Where the block cache
//! is full, a get that had to read a block keeps the one entry it came for instead of the
//! block: a thirtieth of the memory, and nothing is evicted for neighbours that nobody asks
//! for. Called by tables; a part of the cache's bound, never more than a quarter of it.
//!
//! 1. A row is the newest entry of its key *in its table*, and a table never changes, so a
//!    row is right for ever, for each snapshot that it is old enough for.
//! 2. A block that is read twice within a thousand such reads has locality after all, and is
//!    cached whole.
//!
//! RocksDB's row cache is keyed by table as well. Here it needs no choice by the user.

use crate::cache::BlockCache;
use lsm_sync::atomic::{AtomicU64, Ordering::Relaxed};
use lsm_types::{SeqNo, Trailer};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, OnceLock};

/// The part of the whole cache that rows may take up: one in so many bytes.
const SHARE: u64 = 4;
/// Longer entries come with their blocks, as they would fill blocks of usual size alone.
pub(crate) const MAX_ROW_BYTES: usize = 2 << 10;
/// What a row costs beside its bytes: the allocation's counts, and the table of rows.
const OVERHEAD_BYTES: u64 = 112;
/// A typical row, for the first size of the table of rows.
const USUAL_ROW_BYTES: u64 = 256;
/// Fixed, so that a simulation is the same on every machine.
const SHARDS: usize = 16;
/// Reads of blocks that are remembered.
const RECENT: usize = 1 << 10;
/// Blocks give way to rows in steps of one in so many of what rows may take up.
const STEPS: u64 = 64;

/// The cached rows of all tables of a context. `Send + Sync`; its locks are those of
/// `quick_cache`, held for a look-up.
pub(crate) struct RowCache {
    /// Made by the first row: where blocks suffice there is none.
    rows: OnceLock<Rows>,
    /// Relaxed: whoever sees the old bound a moment longer keeps within that one.
    limit_bytes: AtomicU64,
    /// Bytes of all rows that were ever added, up to the limit: what blocks have to leave
    /// free. Relaxed: a sum, which orders nothing.
    added_bytes: AtomicU64,
    /// Blocks that were read lately, each in the place that its number gives it. Relaxed: a
    /// hint, whose loss costs a read.
    recent: Box<[AtomicU64]>,
    /// Relaxed: a figure for people.
    hits: AtomicU64,
}

type Rows = Cache<RowKey, Row, RowWeighter, BuildHasherDefault<RowHasher>>;

/// Which entry of which table. Different keys may share a hash: the row has the whole key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct RowKey {
    table: u64,
    hash: u64,
}

/// An entry, as it lies in its block: key, then value.
#[derive(Clone)]
struct Row {
    bytes: Arc<[u8]>,
    key_bytes: u16,
    trailer: Trailer,
}

impl Row {
    const fn weight(len: usize) -> u64 {
        len as u64 + OVERHEAD_BYTES
    }
}

#[derive(Clone)]
struct RowWeighter;

impl Weighter<RowKey, Row> for RowWeighter {
    fn weight(&self, _: &RowKey, row: &Row) -> u64 {
        Row::weight(row.bytes.len())
    }
}

/// Mixes the table's number into the key's hash, which is well mixed already.
#[derive(Clone, Copy, Debug, Default)]
struct RowHasher(u64);

impl Hasher for RowHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) ^ word;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Rows, their bytes and the look-ups that found one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowStats {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) hits: u64,
}

impl RowCache {
    /// Rows within their share of a cache of `cache_bytes`.
    pub(crate) fn new(cache_bytes: u64) -> Self {
        Self {
            rows: OnceLock::new(),
            limit_bytes: AtomicU64::new(cache_bytes / SHARE),
            added_bytes: AtomicU64::new(0),
            recent: (0..RECENT).map(|_| AtomicU64::new(0)).collect(),
            hits: AtomicU64::new(0),
        }
    }

    /// Gives the whole cache another size. What blocks have to leave free of it.
    pub(crate) fn set_cache_bytes(&self, cache_bytes: u64) -> u64 {
        let limit = cache_bytes / SHARE;
        self.limit_bytes.store(limit, Relaxed);
        if let Some(rows) = self.rows.get() {
            rows.set_capacity(limit);
        }
        self.added_bytes.fetch_min(limit, Relaxed).min(limit)
    }

    pub(crate) fn stats(&self) -> RowStats {
        let (rows, bytes) = self.rows.get().map_or((0, 0), |rows| (rows.len() as u64, rows.weight()));
        RowStats { rows, bytes, hits: self.hits.load(Relaxed) }
    }

    /// The newest entry of `user_key` in `table`, if it is cached and a reader at `snapshot`
    /// may see it. If not, an older one may still be visible.
    #[inline]
    pub(crate) fn get(
        &self,
        table: u64,
        hash: u64,
        user_key: &[u8],
        snapshot: SeqNo,
    ) -> Option<(Trailer, CachedValue)> {
        let row = self.rows.get()?.get(&RowKey { table, hash })?;
        let is_it = row.bytes.get(..usize::from(row.key_bytes)) == Some(user_key);
        if !is_it || row.trailer.seqno() >= snapshot {
            return None;
        }
        self.hits.fetch_add(1, Relaxed);
        Some((row.trailer, CachedValue(row)))
    }

    /// Keeps the newest entry of a key in `table`: its key and value, which lie side by side.
    /// Blocks leave it room. False if it is too long to be kept.
    pub(crate) fn insert(
        &self,
        (table, hash): (u64, u64),
        bytes: &[u8],
        key_bytes: u16,
        trailer: Trailer,
        blocks: &BlockCache,
    ) -> bool {
        let limit = self.limit_bytes.load(Relaxed);
        let weight = Row::weight(bytes.len());
        if bytes.len() > MAX_ROW_BYTES || weight > limit {
            return false;
        }
        let added = self.added_bytes.load(Relaxed);
        if added < limit {
            // Two threads at once may count one row only, and the next row mends it.
            let now = (added + weight).min(limit);
            self.added_bytes.store(now, Relaxed);
            let step = (limit / STEPS).max(1);
            if now / step != added / step || now == limit {
                // A step ahead, so that rows and blocks stay within the bound together.
                blocks.leave_free((now + step).min(limit));
            }
        }
        let rows = self.rows.get_or_init(|| new_rows(limit));
        rows.insert(RowKey { table, hash }, Row { bytes: bytes.into(), key_bytes, trailer });
        true
    }

    /// Whether the block `at` of `table`, which is about to be read, was read lately.
    pub(crate) fn is_back(&self, table: u64, at: usize) -> bool {
        let name = ((table << 32) ^ at as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = (name >> 32) as usize % RECENT;
        self.recent.get(place).is_some_and(|place| {
            place.load(Relaxed) == name || {
                place.store(name, Relaxed);
                false
            }
        })
    }
}

fn new_rows(limit_bytes: u64) -> Rows {
    let options = OptionsBuilder::new()
        .shards(SHARDS)
        .estimated_items_capacity((limit_bytes / USUAL_ROW_BYTES) as usize)
        .weight_capacity(limit_bytes)
        .build();
    let lifecycle = DefaultLifecycle::default();
    match options {
        Ok(options) => Cache::with_options(options, RowWeighter, BuildHasherDefault::default(), lifecycle),
        Err(_) => Cache::with(0, limit_bytes, RowWeighter, BuildHasherDefault::default(), lifecycle),
    }
}

/// The value of a cached row.
pub(crate) struct CachedValue(Row);

impl CachedValue {
    /// The value.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.bytes.get(usize::from(self.0.key_bytes)..).unwrap_or_default()
    }
}
