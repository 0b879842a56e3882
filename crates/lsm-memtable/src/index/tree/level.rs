//! [`Level`]: the memory of many nodes side by side, on huge pages where they are many.
//! Used by `nodes`, which decides what a node is for and when.

#![expect(unsafe_code, reason = "nodes are made in memory that is used again; see docs/unsafe.md")]

use super::nodes::Node;
use crate::arena::{Chunk, Spare};
use std::marker::PhantomData;
use std::sync::Arc;

/// So many nodes, each with whatever it had in a memtable that is gone, or with zeros.
#[derive(Debug)]
pub(super) struct Level<T> {
    /// `None` only while it is dropped.
    memory: Option<Chunk>,
    count: usize,
    spare: Arc<Spare>,
    nodes: PhantomData<T>,
}

impl<T: Node> Level<T> {
    const FITS: () = assert!(align_of::<T>() <= Chunk::ALIGN && !std::mem::needs_drop::<T>());

    pub(super) fn new(count: usize, spare: &Arc<Spare>) -> Self {
        let () = Self::FITS;
        let memory = Some(spare.take(count * size_of::<T>()));
        Self { memory, count, spare: Arc::clone(spare), nodes: PhantomData }
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        let memory = self.memory.as_ref().filter(|_| at < self.count)?;
        // SAFETY: the chunk is `count` nodes long, at least, and aligned for them. All its
        // bytes were written, and any bytes are nodes (`Node` asks for `FromBytes`). Nobody
        // has anything but shared references to them while this value has the chunk, and
        // nodes change through their atomics alone. The chunk lives as long as `self`.
        Some(unsafe { memory.start().cast::<T>().add(at).as_ref() })
    }
}

impl<T> Drop for Level<T> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.spare.give(memory);
        }
    }
}
