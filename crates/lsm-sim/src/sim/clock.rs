//! [`SimClock`]: time that passes only when somebody lets it: a sleep, a script, or,
//! by a trifle, a look at it.

use lsm_tree::Clock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// When simulated time begins, in milliseconds since the Unix epoch.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// A clock for one simulation; it survives the crashes in it.
#[derive(Debug, Default)]
pub struct SimClock {
    /// Nanoseconds since the beginning. Relaxed: one thread uses it.
    now_ns: AtomicU64,
}

impl SimClock {
    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        self.now_ns.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn unix_ms(&self) -> u64 {
        BEGIN_MS + self.now_ns.load(Ordering::Relaxed) / 1_000_000
    }

    fn monotonic_ns(&self) -> u64 {
        // A look takes a microsecond, so that a loop which waits for a moment ends.
        self.now_ns.fetch_add(1_000, Ordering::Relaxed)
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}
