//! [`write_tables`]: a stream becomes tables. Called by flushes and compactions;
//! never names or registers a file, which is the sink's and the caller's work.
//!
//! Cuts lie between user keys. A range tombstone is clipped at each cut, so that the
//! tables of one job never overlap and each carries all that covers its own keys.

use crate::{Error, GcStream, OlderData};
use lsm_sstable::{TableMeta, TableWriter, WrittenBlocks};
use lsm_types::{Cursor, InternalKey, KeySpan, RangeTombstone, Slice, ValueKind};
use lsm_version::FileNumber;

/// Makes the files of a job.
pub trait TableSink {
    /// A writer for a new file, and the file's number.
    ///
    /// # Errors
    /// Those of creating a file.
    fn create(&mut self) -> Result<(FileNumber, TableWriter), lsm_sstable::Error>;

    /// Takes the blocks that the writer of a file that is finished now has kept.
    fn keep(&mut self, number: FileNumber, blocks: WrittenBlocks) {
        let (_, _) = (number, blocks);
    }
}

impl<F: FnMut() -> Result<(FileNumber, TableWriter), lsm_sstable::Error>> TableSink for F {
    fn create(&mut self) -> Result<(FileNumber, TableWriter), lsm_sstable::Error> {
        self()
    }
}

/// Where tables end.
#[derive(Clone, Debug)]
pub struct OutputOptions {
    /// A table is cut when its file has about this length.
    pub target_table_bytes: u64,
    /// Bounds and lengths of the tables in the next deeper level, in key order; the
    /// outputs are cut so that none overlaps too many of them.
    pub grandparents: Vec<(KeySpan, u64)>,
    /// How many bytes of `grandparents` one output may overlap.
    pub max_grandparent_bytes: u64,
    /// Milliseconds since the Unix epoch, written into each table.
    pub created_ms: u64,
}

impl OutputOptions {
    /// Tables of about `target_table_bytes`, whatever lies below.
    #[must_use]
    pub const fn new(target_table_bytes: u64, created_ms: u64) -> Self {
        Self { target_table_bytes, grandparents: Vec::new(), max_grandparent_bytes: u64::MAX, created_ms }
    }
}

/// How many user keys are written between two looks at `cancelled`.
const KEYS_BETWEEN_CHECKS: u32 = 1024;

/// Writes all that `stream` yields, and its range tombstones, into as few tables as
/// the options allow; none when nothing survives. The tables are synced, their
/// directory is not.
///
/// # Errors
/// Those of the inputs and of the files; [`Error::Cancelled`] soon after `cancelled`
/// answers true. The caller removes the files that the sink made.
pub fn write_tables<C, O>(
    stream: &mut GcStream<C, O>,
    sink: &mut dyn TableSink,
    options: &OutputOptions,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<(FileNumber, TableMeta)>, Error>
where
    C: Cursor,
    O: OlderData,
    Error: From<C::Error>,
{
    let mut output = Output::new(stream.range_tombstones().to_vec(), options.created_ms);
    let mut cutter = Cutter::new(options);
    let mut user_key: Option<Vec<u8>> = None;
    let mut keys = 0_u32;
    while stream.advance()? {
        let key = stream.key();
        if user_key.as_deref() != Some(key.user_key) {
            if keys.is_multiple_of(KEYS_BETWEEN_CHECKS) && cancelled() {
                return Err(Error::Cancelled);
            }
            keys = keys.wrapping_add(1);
            let written = output.open.as_ref().map(|(_, writer)| writer.estimated_bytes());
            if cutter.cuts_before(key, written) {
                output.finish(Some(key.user_key), sink)?;
            }
            let last = user_key.get_or_insert_default();
            last.clear();
            last.extend_from_slice(key.user_key);
        }
        cutter.count(key.kind());
        output.writer(sink)?.add(key, stream.value())?;
    }
    if cancelled() {
        return Err(Error::Cancelled);
    }
    output.finish(None, sink)?;
    Ok(output.finished)
}

/// The table being written and those that are done.
struct Output {
    open: Option<(FileNumber, TableWriter)>,
    /// The last cut: tombstones from here on belong to the open table.
    start: Slice,
    /// All that survive, sorted, with disjoint or equal spans.
    tombstones: Vec<RangeTombstone>,
    /// The first tombstone that does not end at or before the last cut.
    next_tombstone: usize,
    created_ms: u64,
    finished: Vec<(FileNumber, TableMeta)>,
}

impl Output {
    fn new(tombstones: Vec<RangeTombstone>, created_ms: u64) -> Self {
        let (open, start) = (None, Slice::empty());
        Self { open, start, tombstones, next_tombstone: 0, created_ms, finished: Vec::new() }
    }

    fn writer(&mut self, sink: &mut dyn TableSink) -> Result<&mut TableWriter, Error> {
        let open = match self.open.take() {
            Some(open) => open,
            None => sink.create()?,
        };
        Ok(&mut self.open.insert(open).1)
    }

    /// Ends the part of the keys from the last cut to `end`: its range tombstones join
    /// its entries, and the table is finished, if there are any.
    fn finish(&mut self, end: Option<&[u8]>, sink: &mut dyn TableSink) -> Result<(), Error> {
        let end = end.map(Slice::copy_from);
        let part = KeySpan { start: std::mem::take(&mut self.start), end: end.clone() };
        let mut at = self.next_tombstone;
        while let Some(tombstone) = self.tombstones.get(at)
            && !part.is_past_end(&tombstone.span.start)
        {
            if let Some(clipped) = tombstone.clip(&part) {
                self.writer(sink)?.add_range_tombstone(&clipped)?;
            }
            at += 1;
        }
        if let Some((number, writer)) = self.open.take() {
            let (meta, blocks) = writer.finish_with_blocks(self.created_ms)?;
            sink.keep(number, blocks);
            self.finished.push((number, meta));
        }
        if let Some(end) = end {
            let is_done = |t: &RangeTombstone| t.span.is_past_end(&end);
            while self.tombstones.get(self.next_tombstone).is_some_and(is_done) {
                self.next_tombstone += 1;
            }
            self.start = end;
        }
        Ok(())
    }
}

/// After so many tombstones in a row the next other entry starts a new table.
const TOMBSTONE_STRETCH: u64 = 1024;

/// Decides where to cut.
struct Cutter<'a> {
    options: &'a OutputOptions,
    /// The first grandparent that does not end before the last key.
    grandparent: usize,
    /// Bytes of the grandparents that the open table has passed.
    overlapped_bytes: u64,
    /// Entries of the open table since the last one that is no tombstone.
    tombstones_in_a_row: u64,
}

impl<'a> Cutter<'a> {
    const fn new(options: &'a OutputOptions) -> Self {
        Self { options, grandparent: 0, overlapped_bytes: 0, tombstones_in_a_row: 0 }
    }

    const fn count(&mut self, kind: ValueKind) {
        self.tombstones_in_a_row = if kind.is_tombstone() { self.tombstones_in_a_row + 1 } else { 0 };
    }

    /// Whether a new table starts with `key`; `written` is the length of the open one,
    /// if one is open.
    fn cuts_before(&mut self, key: InternalKey<&[u8]>, written: Option<u64>) -> bool {
        let mut has_passed_one = false;
        while let Some((span, bytes)) = self.options.grandparents.get(self.grandparent)
            && span.is_past_end(key.user_key)
        {
            self.overlapped_bytes = self.overlapped_bytes.saturating_add(*bytes);
            self.grandparent += 1;
            has_passed_one = true;
        }
        let Some(written) = written else {
            self.begin_table();
            return false;
        };
        // The head of a queue: its tombstones get a table of their own, which can be
        // merged with what they delete without touching the live tail.
        let leaves_tombstones = self.tombstones_in_a_row >= TOMBSTONE_STRETCH && !key.kind().is_tombstone();
        let target = self.options.target_table_bytes;
        let cuts = written >= target
            // An edge shared with the level below saves rewriting half-covered tables.
            || (has_passed_one && written >= target / 2)
            || self.overlapped_bytes > self.options.max_grandparent_bytes
            || leaves_tombstones;
        if cuts {
            self.begin_table();
        }
        cuts
    }

    const fn begin_table(&mut self) {
        (self.overlapped_bytes, self.tombstones_in_a_row) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Vec<u8> {
        format!("{number:06}").into_bytes()
    }

    /// The keys before which a stream of `count` keys of 100 bytes each is cut.
    fn cuts(options: &OutputOptions, count: u32, kind_of: impl Fn(u32) -> ValueKind) -> Vec<u32> {
        let mut cutter = Cutter::new(options);
        let (mut cuts, mut written) = (Vec::new(), None);
        for number in 0..count {
            let user_key = key(number);
            let kind = kind_of(number);
            if cutter.cuts_before(InternalKey::new(user_key.as_slice(), 1, kind), written) {
                cuts.push(number);
                written = None;
            }
            cutter.count(kind);
            written = Some(written.unwrap_or(0) + 100);
        }
        cuts
    }

    #[test]
    fn tables_end_at_their_size_or_at_an_edge_below() {
        let mut options = OutputOptions::new(1000, 0);
        assert_eq!(cuts(&options, 25, |_| ValueKind::Value), [10, 20]);
        let grandparent = |a, b| (KeySpan { start: key(a).into(), end: Some(key(b).into()) }, 500);
        options.grandparents = vec![grandparent(0, 3), grandparent(3, 7), grandparent(7, 30)];
        assert_eq!(cuts(&options, 25, |_| ValueKind::Value), [7, 17], "3 is too early for an edge");
        options.max_grandparent_bytes = 400;
        assert_eq!(cuts(&options, 25, |_| ValueKind::Value), [3, 7, 17], "no output overlaps too much");
    }

    #[test]
    fn the_deleted_head_of_a_queue_is_cut_from_its_tail() {
        let options = OutputOptions::new(u64::MAX, 0);
        let head = |number| if number < 5000 { ValueKind::Tombstone } else { ValueKind::Value };
        assert_eq!(cuts(&options, 10_000, head), [5000]);
        let mixed = |number| if number % 100 != 0 { ValueKind::Tombstone } else { ValueKind::Value };
        assert_eq!(cuts(&options, 10_000, mixed), []);
    }
}
