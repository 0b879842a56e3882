//! Production build: re-exports of `parking_lot` and `std`, and thin wrappers
//! where loom's signature differs. Called by every other crate; never by a model.

pub use parking_lot::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, WaitTimeoutResult,
};
pub use std::sync::{Arc, OnceLock};

/// Atomic integers, pointers and fences.
pub mod atomic {
    pub use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// Threads.
pub mod thread {
    pub use std::thread::{JoinHandle, park, sleep, spawn, yield_now};

    /// How many threads can run at once. Asked once: the answer takes a dozen system calls.
    ///
    /// # Errors
    /// The operating system's when it cannot tell.
    pub fn available_parallelism() -> std::io::Result<std::num::NonZeroUsize> {
        static KNOWN: std::sync::OnceLock<std::num::NonZeroUsize> = std::sync::OnceLock::new();
        if let Some(known) = KNOWN.get() {
            return Ok(*known);
        }
        let found = std::thread::available_parallelism()?;
        Ok(*KNOWN.get_or_init(|| found))
    }

    /// Spawns a thread that shows up in debuggers and profilers as `name`.
    ///
    /// # Errors
    /// The operating system's error when it cannot start another thread.
    pub fn spawn_named<F, T>(name: String, body: F) -> std::io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        std::thread::Builder::new().name(name).spawn(body)
    }

    /// Calls `beside` in a thread of its own while `here` runs in this one; after it when no
    /// thread can be started. A panic in either is one here.
    pub fn join<A: Send, B>(beside: impl FnOnce() -> A + Send, here: impl FnOnce() -> B) -> (A, B) {
        // Taken by whoever runs it: a closure that a failed start was given is gone.
        let beside = super::Mutex::new(Some(beside));
        let run = || beside.lock().take().map(|beside| beside());
        let (first, second) = std::thread::scope(|scope| {
            let started = std::thread::Builder::new().spawn_scoped(scope, run);
            let second = here();
            let first = started.ok().and_then(|thread| match thread.join() {
                Ok(first) => first,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            (first, second)
        });
        let Some(first) = first.or_else(run) else { unreachable!("one of them ran it") };
        (first, second)
    }
}

/// Hints to the processor.
pub mod hint {
    pub use std::hint::spin_loop;
}

/// Interior mutability that loom can watch.
pub mod cell {
    /// `std::cell::UnsafeCell` behind closures, so that loom sees each access.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Wraps `value`.
        pub const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Runs `read` with a pointer to the value, for reading only.
        #[inline(always)]
        pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        /// Runs `write` with a pointer to the value.
        #[inline(always)]
        pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }

        /// Takes the value out.
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }
}

/// How often [`model`] repeats its body with real threads.
const REAL_THREAD_RUNS: usize = 64;

/// Runs a protocol test: under loom every interleaving once, here `body` many
/// times with real threads.
pub fn model<F>(body: F)
where
    F: Fn() + Sync + Send + 'static,
{
    for _ in 0..REAL_THREAD_RUNS {
        body();
    }
}

/// As [`model`]; the bound is for loom.
pub fn model_at_most<F>(_preemptions: usize, body: F)
where
    F: Fn() + Sync + Send + 'static,
{
    model(body);
}

/// Whether the mutation `name` is planted: never in this build.
#[inline(always)]
#[must_use]
pub const fn mutant(_name: &str) -> bool {
    false
}

/// `ordering`, or `Relaxed` when the mutation `name` is planted: never in this build.
#[inline(always)]
#[must_use]
pub const fn weaken(_name: &str, ordering: atomic::Ordering) -> atomic::Ordering {
    ordering
}

/// Whether [`model`] explores interleavings exhaustively in this build.
pub const IS_MODEL: bool = false;
