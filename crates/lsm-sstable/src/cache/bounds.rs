//! Tests of how much memory the cache keeps, beyond what it counts: chunks of huge pages
//! when the lengths of blocks change, when it is made smaller, and when it is emptied; and
//! of what remains when threads load, read, hold, resize and drop tables as they like.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails should stop there")]

use super::{Admission, Block, BlockCache, Draft, Slots};
use crate::block::Layout;
use crate::block_builder::BlockBuilder;
use lsm_sync::{Arc, Mutex, thread};
use lsm_types::{Slice, Trailer, ValueKind};
use lsm_vfs::SplitMix64;

fn image(mark: u8, value_bytes: usize) -> Vec<u8> {
    let (mut builder, mut image) = (BlockBuilder::default(), Vec::new());
    builder.add(b"k", &vec![mark; value_bytes], Trailer::new(1, ValueKind::Value).word(), 0);
    builder.finish_into(&mut image);
    image
}

/// Loads a block of one entry of so many bytes.
fn load(slots: &Arc<Slots>, at: usize, value_bytes: usize) -> Block {
    let image = image(at as u8, value_bytes);
    let mut draft = Draft::new(slots.cache(), image.len() as u32, Admission::Always);
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
    // What is cached keeps the cache.
    cache.clear();
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

const TABLES: usize = 4;
const BLOCKS: u64 = 300;
const CAPACITIES: [u64; 6] = [20 << 20, 17 << 20, 300_000, 5_000, 1, 0];

/// Tables that threads share, and each of which is dropped now and then for a new one of
/// the same number, whose blocks have another mark.
struct Shared {
    cache: Arc<BlockCache>,
    /// With the mark of its blocks. Guards which table there is.
    tables: [Mutex<(Arc<Slots>, u8)>; TABLES],
}

impl Shared {
    fn act(&self, random: &mut SplitMix64, held: &mut Vec<(Slice, u8)>) {
        let Some(table) = self.tables.get(random.below(TABLES as u64) as usize) else { return };
        match random.below(2_000) {
            0 => {
                let mut table = table.lock();
                table.0.retire();
                *table = (Slots::new(&self.cache, BLOCKS as usize), random.below(200) as u8);
            }
            1..6 => self.cache.set_capacity_bytes(CAPACITIES[random.below(6) as usize]),
            // Damage is found in what was read.
            6..30 => {
                let slots = Arc::clone(&table.lock().0);
                drop(Draft::of_missed(&slots, random.below(BLOCKS) as usize, 4_000, random.below(2) == 0));
            }
            30..80 => held.clear(),
            _ => {
                let (slots, mark) = table.lock().clone();
                let at = random.below(BLOCKS);
                let block = slots.get(at as usize).unwrap_or_else(|| {
                    let image = image(mark, 50 + (at as usize * 997) % 36_000);
                    let bytes = image.len() as u32;
                    let mut draft = match random.below(8) {
                        0 => Draft::new(&self.cache, bytes, Admission::Always),
                        _ => Draft::of_missed(&slots, at as usize, bytes, !at.is_multiple_of(9)),
                    };
                    draft.image().copy_from_slice(&image);
                    let layout = Layout::check(draft.image()).unwrap();
                    draft.finish(layout, &slots, at as usize)
                });
                let value = block.view().row(0).value();
                assert_eq!(value.len(), 50 + (at as usize * 997) % 36_000, "another block");
                held.push((block.into_slice(value), mark));
                held.truncate(60);
            }
        }
        held.iter().rev().take(2).for_each(|(value, mark)| check(value, *mark));
    }
}

fn check(value: &[u8], mark: u8) {
    assert!(value.iter().all(|&byte| byte == mark), "the image of another block");
}

#[test]
fn whatever_threads_do_images_stay_and_all_goes_back() {
    let cache = BlockCache::new(20 << 20);
    let table = |_| Mutex::new((Slots::new(&cache, BLOCKS as usize), 1));
    let shared = Arc::new(Shared { cache: Arc::clone(&cache), tables: std::array::from_fn(table) });
    let threads = (0..4_u64).map(|seed| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let (mut random, mut held) = (SplitMix64::new(seed), Vec::new());
            let rounds = if cfg!(miri) { 300 } else { 20_000 };
            (0..rounds).for_each(|_| shared.act(&mut random, &mut held));
            held.iter().for_each(|(value, mark)| check(value, *mark));
            held
        })
    });
    let threads: Vec<_> = threads.collect();
    let held: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    cache.clear();
    held.iter().flatten().for_each(|(value, mark)| check(value, *mark));
    assert_eq!(cache.held().cached_bytes, 0);
    drop(held);
    cache.set_capacity_bytes(0);
    let left = cache.held();
    assert_eq!((left.cached_blocks, left.cached_bytes, left.live_bytes), (0, 0, 0));
    assert_eq!(cache.chunk_bytes(), 0);
    drop(shared);
    assert_eq!(Arc::strong_count(&cache), 1, "a frame still keeps the cache");
}
