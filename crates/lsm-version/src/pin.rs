//! [`Pin`]: the newest version, borrowed for one read. Each thread keeps it in a cell of
//! its own, so that readers write to no memory that another reads. Called by point reads
//! through [`VersionHistory::pin`](crate::VersionHistory::pin); takes no lock but to fetch
//! a version that it does not have.
//!
//! 1. A cell is free, busy, or busy and to be emptied. Whoever makes it busy has it for
//!    itself.
//! 2. A reader makes its cell busy, fetches the newest version if none stands there,
//!    reads, and sets the cell free.
//! 3. An install passes over all cells behind the change: it empties the free ones and
//!    marks the busy ones, which their readers then empty. So no version but the newest
//!    stays in a cell, whether or not its thread ever reads again; and who has seen
//!    something that was published behind an install finds its cell empty.

#![expect(unsafe_code, reason = "a cell is shared by hand; see docs/unsafe.md")]

use lsm_sync::atomic::{AtomicUsize, Ordering};
use lsm_sync::cell::UnsafeCell;
use lsm_sync::{Arc, OnceLock};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

/// More threads than this share cells; who finds its cell busy clones the version instead.
const CELLS: usize = if lsm_sync::IS_MODEL { 2 } else { 64 };

const FREE: usize = 0;
const BUSY: usize = 1;
/// Busy, and emptied by who has it.
const MARKED: usize = 2;

/// The cells of one history.
pub(crate) struct Pins<V> {
    /// Made by the first reader: most keyspaces of many are read by nobody.
    cells: OnceLock<Box<[PinCell<V>]>>,
}

/// Alone on its lines, so that threads do not wait for each other's.
#[repr(align(128))]
struct PinCell<V> {
    state: AtomicUsize,
    /// Belongs to whoever made the cell busy.
    kept: UnsafeCell<Option<Arc<V>>>,
}

// SAFETY: `kept` is reached only by who has made the cell busy, one at a time; what it
// holds may be dropped on another thread than the one that put it there.
unsafe impl<V: Send + Sync> Sync for PinCell<V> {}
// SAFETY: as above.
unsafe impl<V: Send + Sync> Send for PinCell<V> {}

impl<V> PinCell<V> {
    fn new() -> Self {
        Self { state: AtomicUsize::new(FREE), kept: UnsafeCell::new(None) }
    }

    /// Makes a free cell busy.
    #[inline]
    fn try_take(&self) -> bool {
        // Pairs with the Release in `free` and `empty_and_free`.
        let order = lsm_sync::weaken("version.pin_take", Ordering::Acquire);
        self.state.compare_exchange(FREE, BUSY, order, Ordering::Relaxed).is_ok()
    }

    /// Sets a cell free that the caller made busy.
    #[inline]
    fn free(&self) {
        // Pairs with the Acquire in `try_take`.
        let order = lsm_sync::weaken("version.pin_free", Ordering::Release);
        // Failure is Relaxed: whoever marked the cell left nothing to be read.
        if self.state.compare_exchange(BUSY, FREE, order, Ordering::Relaxed).is_err() {
            self.empty_and_free();
        }
    }

    /// As [`free`](Self::free) for a marked cell.
    #[cold]
    fn empty_and_free(&self) {
        // SAFETY: the caller made the cell busy.
        let kept = self.kept.with_mut(|kept| unsafe { (*kept).take() });
        // Pairs with the Acquire in `try_take`.
        self.state.store(FREE, Ordering::Release);
        // Behind it: this may be the last holder of whole memtables.
        drop(kept);
    }

    /// Empties the cell, or has its reader do so.
    fn sweep(&self) {
        loop {
            if self.try_take() {
                return self.empty_and_free();
            }
            if lsm_sync::mutant("version.sweep_passes_busy_cells") {
                return;
            }
            // Relaxed: the mark carries nothing, and the exchange in `free` meets it.
            match self.state.compare_exchange(BUSY, MARKED, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) | Err(MARKED) => return,
                // Set free in between.
                Err(_) => {}
            }
        }
    }
}

/// The newest version at the time of the call, for as long as this is kept: for one read,
/// on the thread that asked for it.
pub struct Pin<'a, V> {
    version: NonNull<V>,
    keeper: Keeper<'a, V>,
    /// A cell is set free by the thread whose it is.
    _stays: PhantomData<*const V>,
}

enum Keeper<'a, V> {
    Cell(&'a PinCell<V>),
    /// The cell was busy: a read within a read, or a thread of the same number.
    Shared {
        _version: Arc<V>,
    },
}

impl<V> Pins<V> {
    pub(crate) fn new() -> Self {
        Self { cells: OnceLock::new() }
    }

    /// Pins the newest version: the one in the reader's cell, else the one that `fetch`
    /// finds. Readers best have different numbers.
    #[inline]
    pub(crate) fn pin(&self, reader: usize, fetch: impl FnOnce() -> Arc<V>) -> Pin<'_, V> {
        let Some(cells) = self.cells.get() else { return self.first(fetch) };
        let cell = cells.get(reader % CELLS).filter(|cell| cell.try_take());
        let Some(cell) = cell else { return Pin::shared(fetch()) };
        // In a pin from here on: it sets the cell free, whatever `fetch` does.
        let mut pin = Pin { version: NonNull::dangling(), keeper: Keeper::Cell(cell), _stays: PhantomData };
        // SAFETY: this thread made the cell busy.
        let found =
            cell.kept.with(|kept| unsafe { (*kept).as_ref().map(|version| NonNull::from(&**version)) });
        pin.version = found.unwrap_or_else(|| cell.keep(fetch()));
        pin
    }

    #[cold]
    fn first(&self, fetch: impl FnOnce() -> Arc<V>) -> Pin<'_, V> {
        // Another thread's cells are as good.
        let _mine_or_theirs = self.cells.set((0..CELLS).map(|_| PinCell::new()).collect());
        Pin::shared(fetch())
    }

    /// Has every version that was the newest before the call let go: at once, or when the
    /// read that is under way with it ends.
    pub(crate) fn sweep(&self) {
        self.cells.get().into_iter().flatten().for_each(PinCell::sweep);
    }
}

impl<V> PinCell<V> {
    /// Keeps a version in an empty cell that the caller made busy.
    #[cold]
    fn keep(&self, version: Arc<V>) -> NonNull<V> {
        let pinned = NonNull::from(&*version);
        // SAFETY: the caller made the cell busy.
        self.kept.with_mut(|kept| unsafe { *kept = Some(version) });
        pinned
    }
}

impl<V> Pin<'_, V> {
    fn shared(version: Arc<V>) -> Self {
        Self {
            version: NonNull::from(&*version),
            keeper: Keeper::Shared { _version: version },
            _stays: PhantomData,
        }
    }
}

impl<V> Deref for Pin<'_, V> {
    type Target = V;
    #[inline]
    fn deref(&self) -> &V {
        // SAFETY: it points into the `Arc` that the keeper has: nobody but this pin takes
        // one out of a busy cell, and not before it is dropped.
        unsafe { self.version.as_ref() }
    }
}

impl<V> Drop for Pin<'_, V> {
    #[inline]
    fn drop(&mut self) {
        if let Keeper::Cell(cell) = self.keeper {
            cell.free();
        }
    }
}

impl<V: fmt::Debug> fmt::Debug for Pin<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        V::fmt(self, f)
    }
}

impl<V> fmt::Debug for Pins<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pins")
    }
}

/// This thread's number: the next one at its first read.
#[cfg(not(lsm_loom))]
#[inline]
pub(crate) fn own_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        // Relaxed: only different numbers matter.
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // A thread that is ending may share a cell.
    OWN.try_with(|own| *own).unwrap_or_default()
}

/// The threads of a model are one thread; they say their numbers themselves.
#[cfg(lsm_loom)]
pub(crate) fn own_number() -> usize {
    0
}
