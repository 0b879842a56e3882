//! Look-ups beside evictions: explored by loom, and run with real threads in ordinary
//! tests. The cache has room for one block, so that loading one evicts the other and
//! takes its frame; a reader must find its own block or none.

use super::{Admission, Block, BlockCache, Draft, Slots};
use crate::block::Layout;
use crate::block_builder::BlockBuilder;
use lsm_sync::{Arc, thread};
use lsm_types::{Trailer, ValueKind};

/// A block of one entry whose value is `mark`.
fn image(mark: u8) -> Vec<u8> {
    let (mut builder, mut image) = (BlockBuilder::default(), Vec::new());
    builder.add(b"k", &[mark], Trailer::new(1, ValueKind::Value).word(), 0);
    builder.finish_into(&mut image);
    image
}

/// Loads the block `mark` into the slot `at` of `slots`.
fn load(slots: &Arc<Slots>, at: usize, mark: u8) -> Block {
    let image = image(mark);
    let mut draft = Draft::new(slots.cache(), image.len() as u32, Admission::Always);
    draft.image().copy_from_slice(&image);
    let layout = Layout::check(draft.image()).unwrap();
    draft.finish(layout, slots, at)
}

fn mark_of(block: &Block) -> u8 {
    block.view().value(0)[0]
}

/// A cache with room for `blocks` blocks, and a table of two.
fn cache_of(blocks: u64) -> (Arc<BlockCache>, Arc<Slots>) {
    let measure = BlockCache::new(u64::MAX);
    let slots = Slots::new(&measure, 1);
    drop(load(&slots, 0, 0));
    let one = measure.held().cached_bytes;
    measure.clear();
    let cache = BlockCache::new(one * blocks);
    let slots = Slots::new(&cache, 2);
    (cache, slots)
}

/// Nothing is left but what is cached, and then nothing at all.
fn check_end(cache: &BlockCache, cached_blocks: u64) {
    let held = cache.held();
    assert_eq!(held.cached_blocks, cached_blocks);
    assert_eq!(held.cached_bytes, held.live_bytes, "somebody still holds a block, or gave one back twice");
    cache.clear();
    let held = cache.held();
    assert_eq!((held.cached_blocks, held.cached_bytes, held.live_bytes), (0, 0, 0));
}

#[test]
fn a_reader_finds_its_own_block_or_none() {
    lsm_sync::model(|| {
        let (cache, slots) = cache_of(1);
        drop(load(&slots, 0, 10));
        let table = Arc::clone(&slots);
        // Takes the frame of block 10 for block 11.
        let loading = thread::spawn(move || assert_eq!(mark_of(&load(&table, 1, 11)), 11));
        if let Some(block) = slots.get(0) {
            assert_eq!(mark_of(&block), 10, "another block's frame");
        }
        loading.join().unwrap();
        assert!(slots.get(0).is_none());
        assert_eq!(slots.get(1).as_ref().map(mark_of), Some(11));
        check_end(&cache, 1);
    });
}

#[test]
fn the_last_reference_gives_a_block_back_once() {
    lsm_sync::model(|| {
        let (cache, slots) = cache_of(1);
        let held = load(&slots, 0, 10);
        let slice = held.slice(held.view().row(0).value());
        drop(held);
        let table = Arc::clone(&slots);
        let evicting = thread::spawn(move || drop(load(&table, 1, 11)));
        assert_eq!(slice, [10], "it is the slice that keeps the block");
        drop(slice.clone());
        drop(slice);
        evicting.join().unwrap();
        check_end(&cache, 1);
    });
}

#[test]
fn two_readers_beside_an_eviction() {
    lsm_sync::model_at_most(2, || {
        let (cache, slots) = cache_of(1);
        drop(load(&slots, 0, 10));
        let threads = [0, 1].map(|role| {
            let table = Arc::clone(&slots);
            thread::spawn(move || match role {
                0 => drop(load(&table, 1, 11)),
                _ => assert_eq!(table.get(0).as_ref().map_or(10, mark_of), 10),
            })
        });
        assert_eq!(slots.get(1).as_ref().map_or(11, mark_of), 11);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        check_end(&cache, 1);
    });
}

#[test]
fn a_block_that_two_threads_load_is_cached_once() {
    lsm_sync::model(|| {
        let (cache, slots) = cache_of(2);
        let table = Arc::clone(&slots);
        let loading = thread::spawn(move || assert_eq!(mark_of(&load(&table, 0, 10)), 10));
        assert_eq!(mark_of(&load(&slots, 0, 10)), 10);
        loading.join().unwrap();
        assert_eq!(slots.get(0).as_ref().map(mark_of), Some(10));
        check_end(&cache, 1);
    });
}

#[test]
fn a_block_is_evicted_only_when_it_is_all_there() {
    lsm_sync::model(|| {
        let (cache, slots) = cache_of(1);
        let table = Arc::clone(&slots);
        let loading = thread::spawn(move || drop(load(&table, 0, 10)));
        // Evicts block 10 when it is cached already, and is not cached itself when not.
        assert_eq!(mark_of(&load(&slots, 1, 11)), 11);
        loading.join().unwrap();
        check_end(&cache, 1);
    });
}
