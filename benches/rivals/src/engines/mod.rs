//! The engines that are measured, each behind [`Engine`](crate::engine::Engine).
//!
//! Each is configured as its own documentation advises, with the cache, the write
//! buffer and the durability that the harness gives to all. [`CONFIGURATIONS`] says in
//! words what the code does; it is printed before a run and stands in the document.

pub(crate) mod fjall;
pub(crate) mod lmdb;
pub(crate) mod ours;
pub(crate) mod redb;
#[cfg(feature = "rocksdb")]
pub(crate) mod rocks;

/// The engines by name, with the version that the lockfile names and their settings.
pub(crate) const CONFIGURATIONS: &[(&str, &str)] = &[
    (
        "ours",
        "this repository: `Options::default()` with the cache size of the workload and tables read \
         through mapped memory (`MappedFs`, not the default); cursors for scans",
    ),
    #[cfg(feature = "rocksdb")]
    (
        "rocksdb",
        "crate `rocksdb`: `increase_parallelism(cores)`, bloom filter of 10 bits, LZ4, LRU block cache, \
         dynamic level sizes, `bytes_per_sync` 1 MiB, format version 5, filters and indexes outside of \
         the cache and blocks of 4 KiB (its defaults, both faster here than what its tuning guide \
         advises for large data), pinned gets, raw iterators, log on",
    ),
    (
        "fjall",
        "crate `fjall`: defaults (bloom filters, LZ4) with the workload's cache and memtable size; \
         Sync by a batch with `PersistMode::SyncData`",
    ),
    (
        "lmdb",
        "crate `heed`: `WRITE_MAP`, and `NO_SYNC` for Buffered; a transaction for each call; no \
         cache of its own, so the cache size means nothing to it; no compression, no checksums",
    ),
    (
        "redb",
        "crate `redb`: the workload's cache; for Buffered `Durability::None` with every 10,000th commit \
         `Immediate`, so that pages are given back: a killed process loses up to so many; for Sync \
         `Immediate`; no compression",
    ),
];

/// Calls `$body` with the type `$engine` bound to the engine called `$name`.
macro_rules! with_engine {
    ($name:expr, $engine:ident => $body:expr) => {
        match $name {
            "ours" => {
                type $engine = $crate::engines::ours::Ours;
                $body
            }
            #[cfg(feature = "rocksdb")]
            "rocksdb" => {
                type $engine = $crate::engines::rocks::Rocks;
                $body
            }
            "fjall" => {
                type $engine = $crate::engines::fjall::Fjall;
                $body
            }
            "lmdb" => {
                type $engine = $crate::engines::lmdb::Lmdb;
                $body
            }
            "redb" => {
                type $engine = $crate::engines::redb::Redb;
                $body
            }
            other => Err(format!("no engine is called {other:?}").into()),
        }
    };
}
pub(crate) use with_engine;
