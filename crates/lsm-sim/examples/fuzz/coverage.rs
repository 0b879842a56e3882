//! Which edges of the code an input reached, where the compiler was told to count them
//! (`cargo xtask fuzz` does, with flags of a stable compiler); else always nothing new.
#![allow(unsafe_code, reason = "the compiler's counters are raw memory; see docs/unsafe.md")]

use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering};

static START: AtomicPtr<AtomicU8> = AtomicPtr::new(std::ptr::null_mut());
static LEN: AtomicUsize = AtomicUsize::new(0);

/// Called before `main` by code that the compiler adds, with the counters of all crates.
///
/// # Safety
/// `start..stop` is the section of counters, which lives as long as the program.
// SAFETY: the name is the one that the compiler's code calls, and nobody else defines it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(
    start: *mut AtomicU8,
    stop: *mut AtomicU8,
) {
    START.store(start, Ordering::Relaxed);
    LEN.store(stop as usize - start as usize, Ordering::Relaxed);
}

fn counters() -> &'static [AtomicU8] {
    let (start, len) = (START.load(Ordering::Relaxed), LEN.load(Ordering::Relaxed));
    if start.is_null() {
        return &[];
    }
    // SAFETY: the section lives as long as the program, and its bytes are only counted
    // up by instructions that the compiler adds; reading them as atomics is sound.
    unsafe { std::slice::from_raw_parts(start, len) }
}

/// What all inputs so far have reached.
pub(crate) struct Coverage {
    seen: Vec<u8>,
}

impl Coverage {
    pub(crate) fn new() -> Self {
        Self { seen: vec![0; counters().len()] }
    }

    /// Forgets the counts of the input before.
    pub(crate) fn reset(&self) {
        counters().iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
    }

    /// Whether the last input reached an edge for the first time, or of another
    /// magnitude of times.
    pub(crate) fn has_news(&mut self) -> bool {
        let mut news = false;
        for (seen, counter) in self.seen.iter_mut().zip(counters()) {
            let count = counter.load(Ordering::Relaxed);
            if count != 0 {
                let magnitude = 1 << count.ilog2();
                news |= *seen & magnitude == 0;
                *seen |= magnitude;
            }
        }
        news
    }

    /// Edges reached so far, and edges that there are.
    pub(crate) fn edges(&self) -> (usize, usize) {
        (self.seen.iter().filter(|seen| **seen != 0).count(), self.seen.len())
    }
}
