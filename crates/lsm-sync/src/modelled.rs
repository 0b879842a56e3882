//! Loom build: newtypes over loom's locks with `parking_lot`'s signatures, so that
//! the same protocol code compiles in both builds. Only reached under `--cfg lsm_loom`;
//! [`explore`] runs the models.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub use explore::{model, model_at_most};
pub use loom::sync::Arc;

mod explore;

/// Atomic integers, pointers and fences.
pub mod atomic {
    pub use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// Threads.
pub mod thread {
    pub use loom::thread::{JoinHandle, park, spawn, yield_now};

    /// A model has no time: sleeping only lets the others run.
    pub fn sleep(_: std::time::Duration) {
        yield_now();
    }

    /// Spawns a modelled thread; the name is for production builds.
    ///
    /// # Errors
    /// None in a model.
    pub fn spawn_named<F, T>(_name: String, body: F) -> std::io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Ok(spawn(body))
    }

    /// Calls one after the other: models have their own threads.
    pub fn join<A: Send, B>(beside: impl FnOnce() -> A + Send, here: impl FnOnce() -> B) -> (A, B) {
        (beside(), here())
    }

    /// A model runs as if on two processors.
    ///
    /// # Errors
    /// None in a model.
    pub fn available_parallelism() -> std::io::Result<std::num::NonZeroUsize> {
        Ok(std::num::NonZeroUsize::MIN.saturating_add(1))
    }
}

/// Hints to the processor.
pub mod hint {
    pub use loom::hint::spin_loop;
}

/// Interior mutability that loom watches.
pub mod cell {
    pub use loom::cell::UnsafeCell;
}

/// Ignores poisoning, as `parking_lot` has none.
fn ignore_poison<G>(result: Result<G, std::sync::PoisonError<G>>) -> G {
    result.unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A mutual-exclusion lock.
#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

/// Access to what a [`Mutex`] protects, until dropped.
#[derive(Debug)]
pub struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    /// Blocks until the lock is held.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(ignore_poison(self.0.lock())))
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
    }

    /// Reaches the value through an exclusive borrow; no locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        match &self.0 {
            Some(guard) => guard,
            // Only `Condvar::wait` empties the guard, and it holds `&mut` meanwhile.
            None => unreachable!("guard used while waiting"),
        }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(guard) => guard,
            None => unreachable!("guard used while waiting"),
        }
    }
}

/// A reader-writer lock.
#[derive(Debug, Default)]
pub struct RwLock<T>(loom::sync::RwLock<T>);

/// Shared access to what a [`RwLock`] protects.
pub type RwLockReadGuard<'a, T> = loom::sync::RwLockReadGuard<'a, T>;
/// Exclusive access to what a [`RwLock`] protects.
pub type RwLockWriteGuard<'a, T> = loom::sync::RwLockWriteGuard<'a, T>;

impl<T> RwLock<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(loom::sync::RwLock::new(value))
    }

    /// Blocks until shared access is granted.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        ignore_poison(self.0.read())
    }

    /// Blocks until exclusive access is granted.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        ignore_poison(self.0.write())
    }

    /// Reaches the value through an exclusive borrow; no locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A condition variable.
#[derive(Debug, Default)]
pub struct Condvar(loom::sync::Condvar);

/// Says whether a timed wait ended by time; in a model it never does.
#[derive(Debug, Clone, Copy)]
pub struct WaitTimeoutResult(());

impl WaitTimeoutResult {
    /// Always false in a model.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        false
    }
}

impl Condvar {
    /// A condition variable that nobody waits on.
    #[must_use]
    pub fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    /// Releases the lock, waits for a notification, takes the lock again.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if let Some(inner) = guard.0.take() {
            guard.0 = Some(ignore_poison(self.0.wait(inner)));
        }
    }

    /// As [`wait`](Self::wait): time does not pass in a model.
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _timeout: Duration) -> WaitTimeoutResult {
        self.wait(guard);
        WaitTimeoutResult(())
    }

    /// Wakes one waiter, if there is any.
    pub fn notify_one(&self) -> bool {
        self.0.notify_one();
        true
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) -> usize {
        self.0.notify_all();
        0
    }
}

/// A cell that is written once. Beside std's, which would let every thread see the value
/// at once, stands a flag that loom watches: who may miss the value, sometimes does.
#[derive(Debug)]
pub struct OnceLock<T> {
    /// Held by setters among themselves.
    setting: loom::sync::Mutex<()>,
    is_set: atomic::AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> OnceLock<T> {
    /// An empty cell.
    #[must_use]
    pub fn new() -> Self {
        Self {
            setting: loom::sync::Mutex::new(()),
            is_set: atomic::AtomicBool::new(false),
            value: std::sync::OnceLock::new(),
        }
    }

    /// The value, once it is set and that is visible here.
    pub fn get(&self) -> Option<&T> {
        // Pairs with the Release in `set`.
        if self.is_set.load(atomic::Ordering::Acquire) { self.value.get() } else { None }
    }

    /// The value, after it was set to what `make` makes if there was none.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if self.get().is_none() {
            // Lost when another thread was faster; the lock makes that one's be seen here.
            let _lost = self.set(make());
        }
        self.value.get().unwrap_or_else(|| unreachable!("a value that was set"))
    }

    /// Sets the value.
    ///
    /// # Errors
    /// `value` itself when there is one already.
    pub fn set(&self, value: T) -> Result<(), T> {
        let _one_setter = ignore_poison(self.setting.lock());
        let outcome = self.value.set(value);
        // Pairs with the Acquire in `get`.
        self.is_set.store(true, atomic::Ordering::Release);
        outcome
    }
}

/// Whether the environment's `LSM_MUTANT` plants the mutation `name`: a bug put in
/// on purpose, which the models must catch.
#[must_use]
pub fn mutant(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("LSM_MUTANT").ok()).as_deref() == Some(name)
}

/// `ordering`, or `Relaxed` when the mutation `name` is planted.
#[must_use]
pub fn weaken(name: &str, ordering: atomic::Ordering) -> atomic::Ordering {
    if mutant(name) { atomic::Ordering::Relaxed } else { ordering }
}

/// Whether [`model`] explores interleavings exhaustively in this build.
pub const IS_MODEL: bool = true;
