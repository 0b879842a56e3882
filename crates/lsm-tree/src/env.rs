//! What the engine takes from the world besides files: time and randomness. Both
//! are injected, so that a whole database replays from a seed.

use lsm_sync::Mutex;
use lsm_vfs::{Fs, SplitMix64};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time and lets it pass.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since the Unix epoch.
    fn unix_ms(&self) -> u64;
    /// Nanoseconds since some moment; never goes back.
    fn monotonic_ns(&self) -> u64;
    /// Blocks the thread for about this long.
    fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    fn monotonic_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn sleep(&self, duration: Duration) {
        lsm_sync::thread::sleep(duration);
    }
}

/// Files, time and randomness of one store.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Guards the generator alone.
    random: Arc<Mutex<SplitMix64>>,
}

impl Env {
    pub(crate) fn new(fs: Arc<dyn Fs>, clock: Arc<dyn Clock>, seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(clock.unix_ms()));
        Self { fs, clock, random: Arc::new(Mutex::new(SplitMix64::new(seed))) }
    }

    /// A random number for a file's header, never 0.
    pub(crate) fn new_uid(&self) -> u64 {
        self.random.lock().next_u64().max(1)
    }

    /// [`new_uid`](Self::new_uid), to be kept by others.
    pub(crate) fn uid_source(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let random = Arc::clone(&self.random);
        move || random.lock().next_u64().max(1)
    }
}
