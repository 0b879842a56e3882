//! [`BlockCache`]: the blocks in memory, within a bound. Called by tables; never reads a
//! file, and knows of a table only its [`Slots`].
//!
//! 1. Each open table has a slot for each of its blocks, each cached block a frame with a
//!    count of references. A slot is empty or points to a frame.
//! 2. A reader loads the slot, adds one to the frame's count unless it is zero, and looks
//!    at the slot again: if it still points there, the reference is to the right block.
//!    If not, the frame has been given to another block meanwhile, and the reader gives
//!    its reference back. So frames must stay frames; they are never freed before the
//!    cache.
//! 3. Who loads a block takes memory for it under the lock, fills it, and shows it in the
//!    slot if the cache takes it in. It does so where there is room, and else if the block
//!    was missed a while ago already, of which its slot has a note. So what is asked for
//!    once, by a scan or at random, neither pushes out what is used nor pays for that. One in
//!    sixteen is taken in all the same. The first is the rule of 2Q (Johnson and Shasha,
//!    1994), the second that of bimodal insertion (Qureshi and others, 2007).
//! 4. Eviction walks over the frames like the hand of a clock: each look-up gives a block
//!    up to three more passes. It empties the slot and gives up the cache's reference;
//!    the last reference, whoever has it, gives frame and image back.

mod frame;
mod memory;
mod slab;
mod slots;
mod store;

#[cfg(all(test, not(lsm_loom)))]
mod admission;
#[cfg(all(test, not(lsm_loom)))]
mod bounds;
#[cfg(test)]
mod loom_cache;

pub(crate) use frame::Block;
pub(crate) use memory::prefetch;
pub(crate) use slots::Slots;
pub use store::Admission;
pub(crate) use store::{BlockCache, Draft};
