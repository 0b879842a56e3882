//! The only door to locks, atomics, [`Arc`] and threads.
//!
//! Every crate of the workspace takes its synchronisation from here, so that one
//! source is compiled twice: against `parking_lot` and `std` in production, and
//! against [loom](https://docs.rs/loom) under `--cfg lsm_loom`, where a model
//! explores every interleaving that the C11 memory model allows.
//!
//! ```
//! use lsm_sync::{Arc, atomic::{AtomicU64, Ordering}, thread};
//!
//! // Runs under loom when built with `--cfg lsm_loom`, with real threads otherwise.
//! lsm_sync::model(|| {
//!     let highest = Arc::new(AtomicU64::new(0));
//!     let other = Arc::clone(&highest);
//!     let writer = thread::spawn(move || other.fetch_max(7, Ordering::AcqRel));
//!     highest.fetch_max(5, Ordering::AcqRel);
//!     writer.join().unwrap();
//!     assert_eq!(highest.load(Ordering::Acquire), 7);
//! });
//! ```
//!
//! The cfg is `lsm_loom` and not `loom`, because third-party crates react to the
//! latter. What loom lacks is absent here too: no `Weak`, no unsized coercion of
//! [`Arc`] (trait objects use `std::sync::Arc`), no `const fn new`, and a timed
//! wait that never times out.
//!
//! This crate never contains a protocol: those live in the crate that owns them.

#[cfg(not(lsm_loom))]
mod real;
#[cfg(not(lsm_loom))]
pub use real::*;

#[cfg(lsm_loom)]
mod modelled;
#[cfg(lsm_loom)]
pub use modelled::*;
