//! [`TableCursor`]: walks the point entries of one table in both directions. Called
//! by scans and compactions; keeps alive the one block it stands in.

#![deny(clippy::indexing_slicing)]

use crate::block::Row;
use crate::cache::Block;
use crate::hash::{fingerprint, key_hash};
use crate::{Error, Table};
use lsm_types::{Cursor, InternalKey, Slice, Stretch, Trailer, ValueKind};
use std::cmp::Ordering;
use std::sync::Arc;

/// How a cursor reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Whether blocks that had to be read are put into the cache.
    pub fill_cache: bool,
    /// How much a walk reads in one go at most; 0: block by block. It starts
    /// small and doubles, so that a short scan reads little.
    pub readahead_bytes: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { fill_cache: true, readahead_bytes: 128 << 10 }
    }
}

/// How many entries ahead a walk backward, or one that begins, has rows fetched.
const FETCHED_AHEAD: usize = 8;

/// With no more entries than this left in a block, a walk that begins soon needs the next.
const FEW_LEFT: usize = 16;

/// The first reading ahead of a walk.
const FIRST_READAHEAD_BYTES: u64 = 16 << 10;

/// A cursor over the point entries of one table. `Send`; keeps its table open.
#[derive(Debug)]
pub struct TableCursor {
    table: Arc<Table>,
    options: ReadOptions,
    /// The block stood in; `None` when the cursor stands nowhere.
    block: Option<Block>,
    block_at: usize,
    entry: usize,
    row: Row,
    trailer: Trailer,
    ahead: Ahead,
}

/// Bytes of contiguous blocks that a walk has read and not yet used.
#[derive(Debug, Default)]
struct Ahead {
    bytes: Vec<u8>,
    /// Where in the file `bytes` starts.
    start: u64,
    /// How much the next read may take.
    window: u64,
}

impl TableCursor {
    pub(crate) fn new(table: Arc<Table>, options: ReadOptions) -> Self {
        Self {
            table,
            options,
            block: None,
            block_at: 0,
            entry: 0,
            row: Row::default(),
            trailer: Trailer::new(0, ValueKind::Value),
            ahead: Ahead::default(),
        }
    }

    /// Stands on an entry of the current block.
    #[inline]
    fn stand(&mut self, entry: usize) {
        if let Some(block) = &self.block {
            let view = block.view();
            self.entry = entry;
            self.row = view.row(entry);
            self.trailer = view.trailer(entry);
        }
    }

    /// Makes a block the current one; past either end leaves the cursor nowhere.
    fn enter(&mut self, at: Option<usize>, sequential: bool) -> Result<Option<&Block>, Error> {
        let current = self.block.take();
        let Some(at) = at.filter(|&at| at < self.table.index.len()) else { return Ok(None) };
        let block = match current {
            Some(block) if at == self.block_at => block,
            _ if sequential && self.options.readahead_bytes > 0 => self.neighbour(at)?,
            _ => {
                self.ahead.window = 0;
                self.table.block(at, self.options.fill_cache)?
            }
        };
        self.block_at = at;
        Ok(Some(self.block.insert(block)))
    }

    /// The block after or before the current one: from what was read ahead, the cache, or
    /// a read of it and some that lie in the same direction.
    fn neighbour(&mut self, at: usize) -> Result<Block, Error> {
        let (start, end) = self.table.extent(at)?;
        if let Some(stored) = self.ahead.get(start, end) {
            return self.table.block_from(at, stored, self.options.fill_cache);
        }
        if let Some(block) = self.table.cached_block(at) {
            return Ok(block);
        }
        let limit = self.options.readahead_bytes as u64;
        self.ahead.window = (self.ahead.window * 2).max(FIRST_READAHEAD_BYTES).min(limit);
        let is_forward = at > self.block_at;
        let (mut farthest, mut read_start, mut read_end) = (at, start, end);
        loop {
            let next = if is_forward { farthest.checked_add(1) } else { farthest.checked_sub(1) };
            let Some((next, (next_start, next_end))) =
                next.and_then(|next| Some((next, self.table.index.extent(next)?)))
            else {
                break;
            };
            if read_end.max(next_end) - read_start.min(next_start) > self.ahead.window {
                break;
            }
            (farthest, read_start, read_end) = (next, read_start.min(next_start), read_end.max(next_end));
        }
        if farthest == at {
            return self.table.read_block(at, self.options.fill_cache);
        }
        self.ahead.start = read_start;
        let outcome = self.table.source.read_into(read_start, read_end, &mut self.ahead.bytes);
        if outcome.is_err() {
            self.ahead.bytes.clear();
        }
        outcome?;
        self.table.source.context.count_read((farthest.abs_diff(at) + 1) as u64, read_end - read_start);
        let stored = self.ahead.get(start, end).unwrap_or_default();
        self.table.block_from(at, stored, self.options.fill_cache)
    }

    /// Enters a block and stands on its first entry.
    fn enter_first(&mut self, at: Option<usize>, sequential: bool) -> Result<(), Error> {
        if self.enter(at, sequential)?.is_some() {
            self.stand(0);
            if sequential {
                self.table.prefetch_block(self.block_at + 1);
            }
        }
        Ok(())
    }

    /// Enters a block and stands on its last entry.
    fn enter_last(&mut self, at: Option<usize>, sequential: bool) -> Result<(), Error> {
        if let Some(view) = self.enter(at, sequential)?.map(Block::view) {
            let (last, image_bytes) = (view.count() - 1, view.image().len());
            view.fetch_rows(last.saturating_sub(FETCHED_AHEAD)..=last);
            self.stand(last);
            if sequential && let Some(before) = self.block_at.checked_sub(1) {
                self.table.prefetch_block_end(before, image_bytes);
            }
        }
        Ok(())
    }
}

impl Ahead {
    fn get(&self, start: u64, end: u64) -> Option<&[u8]> {
        let from = usize::try_from(start.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add((end - start) as usize)?)
    }
}

/// With fewer steps than this, a stretch that something cuts short is not worth its cost.
const FEWEST_STEPS: usize = 16;

/// The most steps, up to `most`, for which `fits_after` holds, which it does for all before; none
/// if they are fewer than [`FEWEST_STEPS`] and than `most`. O(log steps). Looks near before it
/// looks far: rows far away are in no cache of the processor yet.
#[inline]
fn farthest(most: usize, fits_after: impl Fn(usize) -> bool) -> Option<usize> {
    let mut fits = most.min(FEWEST_STEPS);
    if fits == 0 || !fits_after(fits) {
        return None;
    }
    let mut too_far = most + 1;
    while fits < most && too_far > most {
        let next = (2 * fits).min(most);
        if fits_after(next) { fits = next } else { too_far = next }
    }
    while too_far - fits > 1 {
        let middle = fits.midpoint(too_far);
        if fits_after(middle) { fits = middle } else { too_far = middle }
    }
    Some(fits)
}

/// The entries of one block from one on, in one direction.
#[derive(Debug)]
pub struct BlockStretch {
    block: Block,
    entry: usize,
    row: Row,
    last: usize,
    trailer: Trailer,
}

impl Stretch for BlockStretch {
    #[inline]
    fn key(&self) -> &[u8] {
        self.block.view().image().get(self.row.key()).unwrap_or_default()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.block.view().image().get(self.row.value()).unwrap_or_default()
    }

    fn key_slice(&self) -> Slice {
        self.block.slice(self.row.key())
    }

    fn value_slice(&self) -> Slice {
        self.block.slice(self.row.value())
    }

    #[inline]
    fn trailer(&self) -> Trailer {
        self.trailer
    }

    #[inline]
    fn advance(&mut self) -> bool {
        let view = self.block.view();
        match self.entry.cmp(&self.last) {
            Ordering::Less => self.entry += 1,
            Ordering::Equal => return false,
            Ordering::Greater => {
                self.entry -= 1;
                // The processor foresees a walk forward, but not this one.
                if let Some(ahead) = self.entry.checked_sub(FETCHED_AHEAD) {
                    view.fetch_rows(ahead..=ahead);
                }
            }
        }
        self.row = view.row(self.entry);
        true
    }
}

impl Cursor for TableCursor {
    type Error = Error;
    type Stretch = BlockStretch;

    #[inline]
    fn valid(&self) -> bool {
        self.block.is_some()
    }

    #[inline]
    fn key(&self) -> InternalKey<&[u8]> {
        let user_key = match &self.block {
            Some(block) => block.view().image().get(self.row.key()).unwrap_or_default(),
            None => &[],
        };
        InternalKey { user_key, trailer: self.trailer }
    }

    #[inline]
    fn value(&self) -> &[u8] {
        match &self.block {
            Some(block) => block.view().image().get(self.row.value()).unwrap_or_default(),
            None => &[],
        }
    }

    fn key_slice(&self) -> Slice {
        self.block.as_ref().map_or_else(Slice::empty, |block| block.slice(self.row.key()))
    }

    fn value_slice(&self) -> Slice {
        self.block.as_ref().map_or_else(Slice::empty, |block| block.slice(self.row.value()))
    }

    #[inline]
    fn is_first_of_key(&self) -> Option<bool> {
        let view = self.block.as_ref()?.view();
        let before = self.entry.checked_sub(1)?;
        Some(view.image().get(self.row.key()) != Some(view.user_key(before)))
    }

    /// What follows in a block whose entries are all values of one number.
    fn stretch(&self, backward: bool, fits: impl Fn(&[u8]) -> bool) -> Option<BlockStretch> {
        let block = self.block.as_ref()?;
        let (view, from, row) = (block.view(), self.entry, self.row);
        let trailer = view.shared_trailer().filter(|trailer| trailer.kind() == ValueKind::Value)?;
        // The first of the block may be an older version of the key before.
        let most = if backward { from.checked_sub(1)? } else { view.count() - 1 - from };
        let entry_after = |steps| if backward { from - steps } else { from + steps };
        let steps = farthest(most, |steps| fits(view.user_key(entry_after(steps))))?;
        Some(BlockStretch { block: block.clone(), entry: from, row, last: entry_after(steps), trailer })
    }

    fn resume(&mut self, stretch: BlockStretch) {
        debug_assert!(
            self.block
                .as_ref()
                .is_some_and(|own| std::ptr::eq(own.view().image(), stretch.block.view().image())),
            "a stretch of another block"
        );
        self.stand(stretch.entry);
    }

    fn seek_to_first(&mut self) -> Result<(), Error> {
        self.enter_first(Some(0), false)
    }

    fn seek_to_last(&mut self) -> Result<(), Error> {
        self.enter_last(self.table.index.len().checked_sub(1), false)
    }

    fn seek(&mut self, target: InternalKey<&[u8]>) -> Result<(), Error> {
        let at = self.table.index.find(target.user_key, target.seqno());
        let Some(block) = self.enter(at, false)? else { return Ok(()) };
        // Most targets are keys that exist: a fingerprint finds those without the cache
        // misses of a binary search through the rows.
        let byte = fingerprint(key_hash(target.user_key));
        let view = block.view();
        let exact = view.find(target.user_key, byte, target.seqno() + 1);
        let (entry, count) = (exact.unwrap_or_else(|| view.lower_bound(target)), view.count());
        if entry < count {
            view.fetch_rows(entry + 1..(entry + 1 + FETCHED_AHEAD).min(count));
            self.stand(entry);
            if count - entry <= FEW_LEFT {
                self.table.prefetch_block(self.block_at + 1);
            }
            return Ok(());
        }
        // The target lies between the block's last entry and its separator.
        self.enter_first(self.block_at.checked_add(1), true)
    }

    fn seek_for_prev(&mut self, target: InternalKey<&[u8]>) -> Result<(), Error> {
        let Some(at) = self.table.index.find(target.user_key, target.seqno()) else {
            return self.seek_to_last();
        };
        let Some(block) = self.enter(Some(at), false)? else { return Ok(()) };
        match block.view().upper_bound(target).checked_sub(1) {
            Some(entry) => {
                self.stand(entry);
                Ok(())
            }
            None => self.enter_last(at.checked_sub(1), true),
        }
    }

    #[inline]
    fn next(&mut self) -> Result<(), Error> {
        let Some(block) = &self.block else { return Ok(()) };
        let entry = self.entry + 1;
        if entry < block.view().count() {
            self.stand(entry);
            return Ok(());
        }
        self.enter_first(self.block_at.checked_add(1), true)
    }

    #[inline]
    fn prev(&mut self) -> Result<(), Error> {
        if self.block.is_none() {
            return Ok(());
        }
        match self.entry.checked_sub(1) {
            Some(entry) => {
                // The processor foresees a walk forward, but not this one.
                if let Some(ahead) = entry.checked_sub(FETCHED_AHEAD)
                    && let Some(block) = &self.block
                {
                    block.view().fetch_rows(ahead..=ahead);
                }
                self.stand(entry);
                Ok(())
            }
            None => self.enter_last(self.block_at.checked_sub(1), true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farthest_step_that_fits_is_found_unless_it_is_near() {
        for most in 0..200 {
            for fit in 0..=most {
                let found = farthest(most, |steps| {
                    assert!(steps > 0 && steps <= most, "only steps that can be taken are asked about");
                    steps <= fit
                });
                let is_worth_it = fit > 0 && (fit == most || fit >= FEWEST_STEPS);
                assert_eq!(found, is_worth_it.then_some(fit), "{fit} of {most}");
            }
        }
    }
}
