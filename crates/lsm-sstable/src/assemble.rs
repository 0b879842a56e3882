//! [`BlockAssembler`]: the front half of writing a table, for values in ascending order that
//! have no number yet. It lays entries out as blocks and gathers these in [`BuiltBlocks`],
//! which [`TableWriter::append`](crate::TableWriter::append) compresses and writes, on
//! another thread if the caller likes. Called by bulk ingestion; never touches a file.
//!
//! Every entry is a value with the number 0, so that each block has its trailer once, in its
//! header: the table can be given another number as a whole
//! ([`TableMeta::renumbered`](crate::TableMeta::renumbered)).

use crate::block_builder::BlockBuilder;
use crate::format::BLOCK_TRAILER_BYTES;
use crate::hash::{fingerprint, key_hash};
use crate::writer::MAX_BLOCK_BYTES;
use crate::{Compression, NotAdded, WriterOptions};
use lsm_types::{Trailer, ValueKind, check_key, check_value};

/// The trailer of every entry.
const UNNUMBERED: u64 = Trailer::new(0, ValueKind::Value).word();

/// Once images come to this, they are worth handing over: enough that waking a thread for
/// them costs nothing, little enough that two threads share the cache of the processor.
const LOAD_BYTES: usize = 64 << 10;

/// Blocks that are laid out and neither compressed nor placed yet. Empty by default; reused
/// by [`BlockAssembler::take`].
#[derive(Debug, Default)]
pub struct BuiltBlocks {
    /// The images, one behind the other.
    images: Vec<u8>,
    /// For each block its first and its last key, and the first one of the next block.
    keys: Vec<u8>,
    /// Of all keys, in order; empty when there is to be no filter.
    hashes: Vec<u64>,
    blocks: Vec<Built>,
    /// What is stored of the images, one behind the other, once they are compressed.
    payloads: Vec<u8>,
    /// For each block that is compressed where its payload ends, and how it was.
    payload_ends: Vec<(usize, Compression)>,
}

/// Where the parts of one block end, and how much is in it.
#[derive(Clone, Copy, Debug, Default)]
struct Built {
    image_end: usize,
    first_key_end: usize,
    last_key_end: usize,
    next_key_end: usize,
    has_next: bool,
    hashes_end: usize,
    entries: u64,
    raw_key_bytes: u64,
    raw_value_bytes: u64,
}

/// One of the blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuiltBlock<'a> {
    pub(crate) image: &'a [u8],
    /// What is stored of the image, if it is compressed already.
    pub(crate) payload: Option<(&'a [u8], Compression)>,
    pub(crate) first_key: &'a [u8],
    pub(crate) last_key: &'a [u8],
    pub(crate) next_key: Option<&'a [u8]>,
    /// Empty when there is to be no filter.
    pub(crate) hashes: &'a [u64],
    pub(crate) entries: u64,
    pub(crate) raw_key_bytes: u64,
    pub(crate) raw_value_bytes: u64,
}

impl BuiltBlocks {
    /// How many blocks there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Whether they are worth handing over to another thread.
    #[must_use]
    #[inline]
    pub const fn is_load(&self) -> bool {
        self.images.len() >= LOAD_BYTES
    }

    /// The memory that they take, with what is kept of it for the next ones.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        let of_blocks = self.blocks.capacity() * size_of::<Built>()
            + self.payload_ends.capacity() * size_of::<(usize, Compression)>();
        self.images.capacity()
            + self.payloads.capacity()
            + self.keys.capacity()
            + self.hashes.capacity() * size_of::<u64>()
            + of_blocks
    }

    /// Does what [`append`](crate::TableWriter::append) would else do with them, as far as it
    /// does not depend on their place. `compression` is that of the table.
    pub fn compress(&mut self, compression: Compression) {
        let mut payloads = std::mem::take(&mut self.payloads);
        for at in self.payload_ends.len()..self.blocks.len() {
            let image = self.image(at).unwrap_or_default();
            let is_smaller = compression.compress(image, &mut payloads);
            if !is_smaller {
                payloads.extend_from_slice(image);
            }
            let stored = if is_smaller { compression } else { Compression::None };
            self.payload_ends.push((payloads.len(), stored));
        }
        self.payloads = payloads;
    }

    fn image(&self, at: usize) -> Option<&[u8]> {
        let start = at.checked_sub(1).and_then(|before| self.blocks.get(before));
        self.images.get(start.map_or(0, |before| before.image_end)..self.blocks.get(at)?.image_end)
    }

    fn payload(&self, at: usize) -> Option<(&[u8], Compression)> {
        let start = at.checked_sub(1).and_then(|before| self.payload_ends.get(before));
        let &(end, compression) = self.payload_ends.get(at)?;
        Some((self.payloads.get(start.map_or(0, |(end, _)| *end)..end)?, compression))
    }

    /// One of them.
    pub(crate) fn get(&self, at: usize) -> Option<BuiltBlock<'_>> {
        let before = at.checked_sub(1).and_then(|before| self.blocks.get(before)).copied();
        let before = before.unwrap_or_default();
        let built = self.blocks.get(at)?;
        let key = |from: usize, to: usize| self.keys.get(from..to).unwrap_or_default();
        Some(BuiltBlock {
            image: self.image(at)?,
            payload: self.payload(at),
            first_key: key(before.next_key_end, built.first_key_end),
            last_key: key(built.first_key_end, built.last_key_end),
            next_key: built.has_next.then(|| key(built.last_key_end, built.next_key_end)),
            hashes: self.hashes.get(before.hashes_end..built.hashes_end).unwrap_or_default(),
            entries: built.entries,
            raw_key_bytes: built.raw_key_bytes,
            raw_value_bytes: built.raw_value_bytes,
        })
    }

    fn clear(&mut self) {
        self.images.clear();
        self.keys.clear();
        self.hashes.clear();
        self.blocks.clear();
        self.payloads.clear();
        self.payload_ends.clear();
    }
}

/// Lays values in ascending order out as blocks.
#[derive(Debug)]
pub struct BlockAssembler {
    room: usize,
    wants_hashes: bool,
    block: BlockBuilder,
    built: BuiltBlocks,
    /// Of the block under way.
    under_way: Built,
    /// Where in `built.keys` its first key starts.
    first_key_at: usize,
    last_key: Vec<u8>,
    is_empty: bool,
}

impl BlockAssembler {
    /// One whose blocks are cut as a table with these options has them.
    #[must_use]
    pub fn new(options: &WriterOptions) -> Self {
        Self {
            room: options.block_bytes.min(MAX_BLOCK_BYTES).saturating_sub(BLOCK_TRAILER_BYTES),
            wants_hashes: options.filter_bits_per_key > 0.0,
            block: BlockBuilder::default(),
            built: BuiltBlocks::default(),
            under_way: Built::default(),
            first_key_at: 0,
            last_key: Vec::new(),
            is_empty: true,
        }
    }

    /// Adds an entry, whose key is greater than the one before.
    ///
    /// # Errors
    /// [`NotAdded`]: the key does not sort behind the last one, or something is too long.
    #[inline]
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), NotAdded> {
        check_key(key)?;
        check_value(value)?;
        if key <= self.last_key.as_slice() && !self.is_empty {
            return Err(NotAdded::Order);
        }
        if self.block.is_empty() {
            self.begin_block(key);
        } else if self.block.is_full()
            || self.block.image_bytes_with(key.len(), value.len(), UNNUMBERED) > self.room
        {
            self.finish_block(Some(key));
            self.begin_block(key);
        }
        let hash = key_hash(key);
        if self.wants_hashes {
            self.built.hashes.push(hash);
        }
        self.block.add(key, value, UNNUMBERED, fingerprint(hash));
        self.under_way.entries += 1;
        self.under_way.raw_key_bytes += key.len() as u64;
        self.under_way.raw_value_bytes += value.len() as u64;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    /// The greatest key so far.
    #[must_use]
    pub fn last_key(&self) -> Option<&[u8]> {
        (!self.is_empty).then_some(&self.last_key)
    }

    /// Whether the finished blocks are worth handing over.
    #[must_use]
    #[inline]
    pub const fn has_load(&self) -> bool {
        self.built.is_load()
    }

    /// The finished blocks; `spare` gives its memory for the next ones. The block under way
    /// stays.
    #[must_use]
    pub fn take(&mut self, mut spare: BuiltBlocks) -> BuiltBlocks {
        spare.clear();
        // What belongs to the block under way goes over.
        let finished = self.built.blocks.last().map_or(0, |block| block.hashes_end);
        if let Some(hashes) = self.built.hashes.get(finished..) {
            spare.hashes.extend_from_slice(hashes);
        }
        if let Some(first_key) = self.built.keys.get(self.first_key_at..) {
            spare.keys.extend_from_slice(first_key);
        }
        self.built.hashes.truncate(finished);
        self.built.keys.truncate(self.first_key_at);
        self.first_key_at = 0;
        std::mem::replace(&mut self.built, spare)
    }

    /// Finishes the block under way: there is no more to come.
    #[must_use]
    pub fn finish(mut self) -> BuiltBlocks {
        if !self.block.is_empty() {
            self.finish_block(None);
        }
        self.built
    }

    fn begin_block(&mut self, first_key: &[u8]) {
        self.is_empty = false;
        self.under_way = Built::default();
        self.first_key_at = self.built.keys.len();
        self.built.keys.extend_from_slice(first_key);
    }

    fn finish_block(&mut self, next_key: Option<&[u8]>) {
        let built = &mut self.built;
        self.block.finish_into(&mut built.images);
        self.under_way.image_end = built.images.len();
        self.under_way.first_key_end = built.keys.len();
        built.keys.extend_from_slice(&self.last_key);
        self.under_way.last_key_end = built.keys.len();
        built.keys.extend_from_slice(next_key.unwrap_or_default());
        self.under_way.next_key_end = built.keys.len();
        self.under_way.has_next = next_key.is_some();
        self.under_way.hashes_end = built.hashes.len();
        built.blocks.push(self.under_way);
        self.first_key_at = built.keys.len();
    }
}
