//! Tests of how much memory the cache keeps, beyond what it counts: chunks of huge pages
//! when the lengths of blocks change, when it is made smaller, and when it is emptied.

use super::{Block, BlockCache, Draft, Slots};
use crate::block::Layout;
use crate::block_builder::BlockBuilder;
use lsm_sync::Arc;
use lsm_types::{Trailer, ValueKind};

/// Loads a block of one entry of so many bytes.
fn load(slots: &Arc<Slots>, at: usize, value_bytes: usize) -> Block {
    let (mut builder, mut image) = (BlockBuilder::default(), Vec::new());
    builder.add(b"k", &vec![at as u8; value_bytes], Trailer::new(1, ValueKind::Value).word(), 0);
    builder.finish_into(&mut image);
    let mut draft = Draft::new(slots.cache(), image.len() as u32, true);
    draft.image().copy_from_slice(&image);
    let layout = Layout::check(draft.image()).unwrap();
    draft.finish(layout, slots, at)
}

#[test]
fn a_few_hot_blocks_of_each_length_do_not_keep_the_memory_of_all() {
    const CAPACITY: u64 = 16 << 20;
    let cache = BlockCache::new(CAPACITY);
    let slots = Slots::new(&cache, 1 << 20);
    let mut next = 0;
    let mut hot: Vec<usize> = Vec::new();
    let mut worst = 0;
    for phase in 0..40 {
        let value_bytes = 3000 + 500 * phase;
        let count = CAPACITY as usize / value_bytes;
        for number in 0..count {
            drop(load(&slots, next, value_bytes));
            // About one in each span.
            if number % ((128 << 10) / (value_bytes + 300)) == 0 {
                hot.push(next);
            }
            if number % 16 == 0 {
                hot.iter().for_each(|&at| drop(slots.get(at)));
            }
            next += 1;
        }
        hot.retain(|&at| slots.get(at).is_some());
        worst = worst.max(cache.chunk_bytes());
    }
    assert!(worst <= 3 * CAPACITY as usize / 2, "{} MiB of chunks for 16 MiB of blocks", worst >> 20);
}

#[test]
fn an_emptied_cache_keeps_no_chunks() {
    let cache = BlockCache::new(64 << 20);
    let slots = Slots::new(&cache, 1 << 20);
    let mut next = 0;
    for round in 0..400 {
        for number in 0..40 {
            drop(load(&slots, next, 100 + (number * 813 + round * 77) % 32_000));
            next += 1;
        }
    }
    assert!(cache.chunk_bytes() > 0);
    cache.set_capacity_bytes(0);
    assert_eq!(cache.held().live_bytes, 0);
    assert_eq!(cache.chunk_bytes(), 0, "bytes are kept of nothing");
}
