//! [`Table`]: an open table. Its index, filter and range tombstones are in memory;
//! blocks come from the cache or the file. Called by reads, and by compactions for
//! their inputs; never writes.

use crate::block::Layout;
use crate::cache::{Block, Draft, Slots};
use crate::filter::Filter;
use crate::format::{FOOTER_BYTES, Footer, HEADER_BYTES, Header, Sections, StoredBlock};
use crate::hash::fingerprint;
use crate::index::Index;
use crate::source::Source;
use crate::{Error, ReadOptions, TableContext, TableCursor, TableMeta, WrittenBlocks, tombstones};
use lsm_types::{RangeTombstone, RangeTombstoneSet, SeqNo, Slice, Trailer, ValueKind};
use lsm_vfs::Corruption;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open table. Immutable, `Send + Sync`, shared as `Arc<Table>`.
#[derive(Debug)]
pub struct Table {
    pub(crate) source: Source,
    number: u64,
    meta: TableMeta,
    /// What all entries have in the place of the number 0 that their blocks say.
    renumbered: Option<Trailer>,
    pub(crate) sections: Sections,
    pub(crate) index: Index,
    pub(crate) filter: Option<Filter>,
    /// Where in the cache its blocks are.
    slots: lsm_sync::Arc<Slots>,
    tombstones: RangeTombstoneSet,
    tombstone_bytes: usize,
}

/// The newest visible version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The number of the write.
    pub seqno: SeqNo,
    /// What it says.
    pub kind: ValueKind,
    /// Its value, sharing the memory of its block.
    pub value: Slice,
}

impl Found {
    fn new(trailer: Trailer, value: Slice) -> Self {
        Self { seqno: trailer.seqno(), kind: trailer.kind(), value }
    }
}

/// What the tail of a file says, before it is used.
struct Tail {
    sections: Sections,
    filter: Option<Vec<u8>>,
    index: Vec<u8>,
    tombstones: Option<Vec<u8>>,
    meta: TableMeta,
}

impl Table {
    /// Opens the table `path` and reads all but its data blocks. `number` is the
    /// caller's name for it, `expected` what [`finish`](crate::TableWriter::finish)
    /// returned, or that [`renumbered`](TableMeta::renumbered).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corruption`] when the file is damaged, or whole but not
    /// the expected one; [`Error::Incompatible`]; [`Error::UnsupportedCompression`].
    pub fn open(
        context: &Arc<TableContext>,
        path: PathBuf,
        number: u64,
        expected: &TableMeta,
    ) -> Result<Self, Error> {
        let source = Source::open(context, path)?;
        if source.file_bytes != expected.file_bytes {
            let (want, got) = (expected.file_bytes, source.file_bytes);
            return Err(source.damage(got.min(want), format!("{want} bytes"), format!("{got} bytes")));
        }
        if source.uid != expected.uid {
            let (want, got) = (expected.uid, source.uid);
            return Err(source.damage(0, format!("uid {want:#x}"), format!("uid {got:#x}")));
        }
        let mut tail = Tail::read(&source)?;
        let mut renumbered = None;
        if tail.meta != *expected {
            if tail.meta.renumbered(expected.highest_seqno).as_ref() != Some(expected) {
                let at = tail.sections.properties_at;
                return Err(source.damage(at, format!("{expected:?}"), format!("{:?}", tail.meta)));
            }
            renumbered = Some(Trailer::new(expected.highest_seqno, ValueKind::Value));
            tail.meta = expected.clone();
        }
        Self::from_tail(source, number, tail, renumbered)
    }

    /// What the table `path` says of itself: for tools, and to rebuild a manifest.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read_meta(context: &Arc<TableContext>, path: &Path) -> Result<TableMeta, Error> {
        Tail::read(&Source::open(context, path.to_path_buf())?).map(|tail| tail.meta)
    }

    fn from_tail(
        source: Source,
        number: u64,
        tail: Tail,
        renumbered: Option<Trailer>,
    ) -> Result<Self, Error> {
        let Tail { sections, filter, index, tombstones, meta } = tail;
        let index = Index::decode(&index, sections.filter_at)
            .map_err(|got| source.damage(sections.index_at, "an index", got))?;
        if index.len() as u64 != meta.blocks {
            let expected = format!("{} blocks", meta.blocks);
            return Err(source.damage(sections.index_at, expected, format!("{} blocks", index.len())));
        }
        let filter = filter
            .map(|image| Filter::decode(&image))
            .transpose()
            .map_err(|got| source.damage(sections.filter_at, "a filter", got))?;
        let tombstones = match tombstones {
            Some(image) => tombstones::decode(&image)
                .map_err(|got| source.damage(sections.tombstones_at, "range tombstones", got))?,
            None => Vec::new(),
        };
        if tombstones.len() as u64 != meta.range_tombstones {
            let expected = format!("{} range tombstones", meta.range_tombstones);
            return Err(source.damage(sections.tombstones_at, expected, tombstones.len().to_string()));
        }
        let tombstones = RangeTombstoneSet::new(tombstones);
        let tombstone_bytes = tombstones
            .fragments()
            .iter()
            .map(|fragment| size_of_val(fragment) + 2 * fragment.span.start.len() + 8 * fragment.seqnos.len())
            .sum();
        let slots = Slots::new(source.context.blocks(), index.len());
        Ok(Self {
            source,
            number,
            meta,
            renumbered,
            sections,
            index,
            filter,
            slots,
            tombstones,
            tombstone_bytes,
        })
    }

    /// The number given when it was opened.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// What is known of it without reading blocks.
    #[must_use]
    pub const fn meta(&self) -> &TableMeta {
        &self.meta
    }

    /// The range tombstones.
    #[must_use]
    pub const fn range_tombstones(&self) -> &RangeTombstoneSet {
        &self.tombstones
    }

    /// Bytes of index, filter, slots and range tombstones in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let filter = self.filter.as_ref().map_or(0, Filter::memory_bytes);
        size_of::<Self>()
            + filter
            + self.slots.memory_bytes()
            + self.index.memory_bytes()
            + self.tombstone_bytes
    }

    /// Whether a user key with this [`key_hash`](crate::key_hash) may be inside: always
    /// when it is, seldom when not. One cache line, about 10 ns.
    #[must_use]
    #[inline]
    pub fn may_contain(&self, hash: u64) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_contain(hash))
    }

    /// Has the line fetched that [`may_contain`](Self::may_contain) is about to look at.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(filter) = &self.filter {
            filter.prefetch(hash);
        }
    }

    /// The newest point entry of `user_key` visible at `snapshot`, tombstones
    /// included; range tombstones are not applied. `hash` is the key's
    /// [`key_hash`](crate::key_hash).
    ///
    /// Asks the filter, then touches exactly one block. Costs one reference count of
    /// that block, which goes out with the value; allocates only to read the block.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Corruption`] when the block had to be read.
    #[inline]
    pub fn get(&self, user_key: &[u8], hash: u64, snapshot: SeqNo) -> Result<Option<Found>, Error> {
        if self.may_contain(hash) { self.get_past_filter(user_key, hash, snapshot) } else { Ok(None) }
    }

    /// As [`get`](Self::get) for a caller who has asked
    /// [`may_contain`](Self::may_contain) already.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_past_filter(
        &self,
        user_key: &[u8],
        hash: u64,
        snapshot: SeqNo,
    ) -> Result<Option<Found>, Error> {
        let Some(newest) = snapshot.checked_sub(1) else { return Ok(None) };
        let Some(at) = self.index.find(user_key, newest) else { return Ok(None) };
        let block = self.block(at, true)?;
        let view = block.view();
        let Some(entry) = view.find(user_key, fingerprint(hash), snapshot) else { return Ok(None) };
        let trailer = view.trailer(entry);
        let value = view.row(entry).value();
        Ok(Some(Found::new(trailer, block.into_slice(value))))
    }

    /// Takes over the blocks that were kept while this very table was written, so that its
    /// first readers find them. Those of another cache go.
    pub fn adopt(&self, mut written: WrittenBlocks) {
        for (at, draft, mut layout) in written.take() {
            let is_same = draft.is_of(self.slots.cache()) && at < self.index.len();
            let is_numbered = self.renumbered.is_none_or(|trailer| layout.renumber(trailer).is_ok());
            if is_same && is_numbered {
                draft.finish(layout, &self.slots, at);
            }
        }
    }

    /// Of some of its blocks, spread evenly: how many are cached, and how many these are.
    /// Costs a few microseconds.
    #[must_use]
    pub fn sample_cached(&self) -> (usize, usize) {
        self.slots.sample()
    }

    /// A cursor over the point entries, without a position.
    #[must_use]
    pub fn cursor(self: &Arc<Self>, options: ReadOptions) -> TableCursor {
        TableCursor::new(Arc::clone(self), options)
    }

    /// About how many bytes of the file lie before `user_key`: from the index alone,
    /// exact to a block.
    #[must_use]
    pub fn approximate_offset(&self, user_key: &[u8]) -> u64 {
        let block = self.index.find(user_key, lsm_types::MAX_SEQNO);
        let extent = block.and_then(|block| self.index.extent(block));
        extent.map_or(self.sections.filter_at, |(start, _)| start)
    }

    /// A data block from the cache or the file.
    #[inline]
    pub(crate) fn block(&self, at: usize, fill_cache: bool) -> Result<Block, Error> {
        match self.cached_block(at) {
            Some(block) => Ok(block),
            None => self.read_block(at, fill_cache),
        }
    }

    #[inline]
    pub(crate) fn cached_block(&self, at: usize) -> Option<Block> {
        self.source.context.cached(&self.slots, at)
    }

    /// Has the first lines fetched of a block that will be asked for soon, if it is cached.
    #[inline]
    pub(crate) fn prefetch_block(&self, at: usize) {
        self.slots.prefetch(at);
    }

    /// As [`prefetch_block`](Self::prefetch_block), for a walk backward past a block whose image
    /// has so many bytes: that of the one before has about as many.
    #[inline]
    pub(crate) fn prefetch_block_end(&self, at: usize, image_bytes: usize) {
        self.slots.prefetch_end(at, image_bytes);
    }

    #[cold]
    pub(crate) fn read_block(&self, at: usize, fill_cache: bool) -> Result<Block, Error> {
        let (start, end) = self.extent(at)?;
        let outcome = self.source.with_stored(start, end, |stored| {
            self.source.context.count_read(1, end - start);
            self.block_from(at, stored, fill_cache)
        });
        outcome?
    }

    /// A data block from bytes that were read.
    pub(crate) fn block_from(&self, at: usize, stored: &[u8], fill_cache: bool) -> Result<Block, Error> {
        let (start, _) = self.extent(at)?;
        let (uid, path) = (self.source.uid, &self.source.path);
        let stored = StoredBlock::check(stored, uid, start, path)?;
        let mut draft = Draft::of_missed(&self.slots, at, stored.image_bytes(path, start)?, fill_cache);
        stored.decompress_into(draft.image(), start, path)?;
        let layout = self.layout_of(draft.image(), start)?;
        Ok(draft.finish(layout, &self.slots, at))
    }

    /// Checks the image of the data block at `start`.
    pub(crate) fn layout_of(&self, image: &[u8], start: u64) -> Result<Layout, Error> {
        let renumber = |mut layout: Layout| match self.renumbered {
            Some(trailer) => layout.renumber(trailer).map(|()| layout),
            None => Ok(layout),
        };
        let checked = Layout::check(image).and_then(renumber);
        checked.map_err(|got| self.source.damage(start, "a data block", got))
    }

    /// Where a block lies.
    pub(crate) fn extent(&self, at: usize) -> Result<(u64, u64), Error> {
        self.index.extent(at).ok_or_else(|| {
            let expected = format!("block {at}");
            self.source.damage(self.sections.index_at, expected, format!("{} blocks", self.index.len()))
        })
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.slots.retire();
    }
}

impl Source {
    /// Opens the file and checks its header.
    fn open(context: &Arc<TableContext>, path: PathBuf) -> Result<Self, Error> {
        let id = context.new_table();
        let mut source = Self { context: Arc::clone(context), path, id, uid: 0, file_bytes: 0 };
        source.file_bytes = context.file(id, &source.path)?.len()?;
        if source.file_bytes < HEADER_BYTES + FOOTER_BYTES {
            let expected = format!("at least {} bytes", HEADER_BYTES + FOOTER_BYTES);
            return Err(source.damage(source.file_bytes, expected, format!("{} bytes", source.file_bytes)));
        }
        source.uid = Header::check(&source.read(0, HEADER_BYTES)?, &source.path)?;
        Ok(source)
    }

    /// The range tombstones as they were added.
    pub(crate) fn raw_tombstones(&self, sections: &Sections) -> Result<Vec<RangeTombstone>, Error> {
        let (start, end) = (sections.tombstones_at, sections.properties_at);
        let Some(image) = self.section(&self.read(start, end)?, start)? else { return Ok(Vec::new()) };
        tombstones::decode(&image).map_err(|got| self.damage(start, "range tombstones", got))
    }
}

impl Tail {
    /// Reads and checks all after the data blocks, in two reads.
    fn read(source: &Source) -> Result<Self, Error> {
        let footer_at = source.file_bytes - FOOTER_BYTES;
        let footer = source.read(footer_at, source.file_bytes)?;
        let sections = Footer::check(&footer, source.uid, footer_at, &source.path)?;
        let bytes = source.read(sections.filter_at, footer_at)?;
        let section = |start: u64, end: u64| {
            let (from, to) = ((start - sections.filter_at) as usize, (end - sections.filter_at) as usize);
            source.section(bytes.get(from..to).unwrap_or_default(), start)
        };
        let missing = |at: u64, what: &str| Error::from(Corruption::new(&source.path, at, what, "nothing"));
        let Sections { filter_at, index_at, tombstones_at, properties_at, .. } = sections;
        let properties =
            section(properties_at, footer_at)?.ok_or_else(|| missing(properties_at, "properties"))?;
        let mut input = properties.as_slice();
        let meta = TableMeta::decode(&mut input)
            .filter(|_| input.is_empty())
            .ok_or_else(|| source.damage(properties_at, "properties", "something else"))?;
        Ok(Self {
            sections,
            filter: section(filter_at, index_at)?,
            index: section(index_at, tombstones_at)?.ok_or_else(|| missing(index_at, "an index"))?,
            tombstones: section(tombstones_at, properties_at)?,
            meta,
        })
    }
}
