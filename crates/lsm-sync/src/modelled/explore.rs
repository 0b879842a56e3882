//! Runs a model under loom, and sees to it that a pass means something: that it has
//! explored more than one interleaving, and that nothing ended it before its time.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Preemptions of one execution when `LOOM_MAX_PREEMPTIONS` is not set.
const PREEMPTIONS: usize = 2;
/// Steps of one execution when `LOOM_MAX_BRANCHES` is not set; more are an endless loop.
const BRANCHES: usize = 5_000;
/// How long a model may take when `LSM_LOOM_MAX_SECONDS` is not set.
const MAX_SECONDS: u64 = 600;
/// With one of these set, loom stops early and calls it a pass, or skips executions.
const SILENT_LIMITS: [&str; 3] = ["LOOM_MAX_DURATION", "LOOM_MAX_PERMUTATIONS", "LOOM_CHECKPOINT_FILE"];

/// Explores every interleaving of `body` within the bounds of the environment:
/// `LOOM_MAX_PREEMPTIONS` (none set: two) and `LOOM_MAX_BRANCHES`.
///
/// Prints how many there were, for `cargo xtask loom`.
///
/// # Panics
/// When `body` does in some interleaving; when there is only one, since a model that
/// explores nothing proves nothing; when the time of `LSM_LOOM_MAX_SECONDS` is over; and
/// when the environment sets a limit at which loom would end as if all were explored.
pub fn model<F>(body: F)
where
    F: Fn() + Sync + Send + 'static,
{
    model_at_most(usize::MAX, body);
}

/// As [`model`], with no more than `preemptions` whatever the environment says: for
/// models of four threads, whose number of interleavings would explode.
///
/// # Panics
/// As [`model`].
pub fn model_at_most<F>(preemptions: usize, body: F)
where
    F: Fn() + Sync + Send + 'static,
{
    for name in SILENT_LIMITS {
        assert!(env::var_os(name).is_none(), "{name} would end or skip the exploration without a word");
    }
    let mut builder = loom::model::Builder::new();
    let asked = builder.preemption_bound.unwrap_or(PREEMPTIONS);
    builder.preemption_bound = Some(asked.min(preemptions));
    if env::var_os("LOOM_MAX_BRANCHES").is_none() {
        builder.max_branches = BRANCHES;
    }
    let given = env::var("LSM_LOOM_MAX_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let limit = Duration::from_secs(given.unwrap_or(MAX_SECONDS));

    // std's: the count belongs to no execution.
    let executions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&executions);
    let start = Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        assert!(start.elapsed() < limit, "not explored within {limit:?}; see LSM_LOOM_MAX_SECONDS");
        body();
    });
    let executions = executions.load(Ordering::Relaxed);
    println!("explored {executions} executions at {} preemptions", asked.min(preemptions));
    // A planted bug may make a model short; it is caught only if it fails.
    let is_mutated = env::var_os("LSM_MUTANT").is_some();
    assert!(
        executions > 1 || is_mutated,
        "one execution was all: loom saw nothing to interleave, so the model proves nothing \
         (a writer that loads what it stores must be the first thread)"
    );
}
