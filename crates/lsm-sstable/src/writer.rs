//! [`TableWriter`]: writes one table from entries in order. Called by flushes and
//! compactions; never reads, never syncs the directory.
//!
//! 1. Entries gather in a block; before its image would exceed the wanted size it is
//!    compressed, sealed with its checksum and appended to a large buffer.
//! 2. The index gets a separator for it, the filter the hashes of its keys.
//! 3. A full buffer goes to the file in one write.
//! 4. `finish` appends filter, index, range tombstones, properties and footer, and
//!    syncs the contents.

use crate::block_builder::BlockBuilder;
use crate::filter::{Filter, Hashes};
use crate::format::{BLOCK_TRAILER_BYTES, FOOTER_BYTES, Footer, HEADER_BYTES, Header, Sections, seal_block};
use crate::hash::{fingerprint, key_hash};
use crate::index::IndexBuilder;
use crate::{Admission, BuiltBlocks, Compression, Error, TableContext, TableMeta, WrittenBlocks, tombstones};
use lsm_types::{InternalKey, MAX_SEQNO, RangeTombstone, Trailer, UpperBound, ValueKind};
use lsm_types::{check_key, check_value};
use lsm_vfs::{File, Fs};
use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// How a table is written.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// A block is cut before it would take more than this many bytes uncompressed; an
    /// entry that is larger gets a block of its own. At most 16 MiB.
    pub block_bytes: usize,
    /// How blocks are compressed.
    pub compression: Compression,
    /// Bits of the filter for each user key, fractions included; 0 means no filter.
    pub filter_bits_per_key: f32,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { block_bytes: 4096, compression: Compression::Snappy, filter_bits_per_key: 10.0 }
    }
}

/// So many bytes are gathered before they are written.
const BUFFER_BYTES: usize = 512 << 10;
/// Tables are on their way to the disk up to a multiple of this: the largest page there is on
/// common machines.
const WRITEBACK_STEP_BYTES: u64 = 64 << 10;
pub(crate) const MAX_BLOCK_BYTES: usize = 16 << 20;
/// Offsets of separators are 32 bits wide; past this the table must end.
const MAX_INDEX_BYTES: usize = 1 << 31;

/// Writes one table. After an error, or when dropped unfinished, the file is garbage
/// that the caller removes.
#[derive(Debug)]
pub struct TableWriter {
    file: Arc<dyn File>,
    options: WriterOptions,
    meta: TableMeta,
    block: BlockBuilder,
    /// Memory for the image of a block or section.
    image: Vec<u8>,
    /// What is not yet in the file, and where in the file it belongs.
    buffer: Vec<u8>,
    buffer_at: u64,
    /// The system was told to write all before this to the disk.
    on_its_way: u64,
    index: IndexBuilder,
    /// Of distinct user keys.
    hashes: Hashes,
    last_key: Vec<u8>,
    last_trailer: Trailer,
    last_hash: u64,
    tombstones: Vec<RangeTombstone>,
    tombstone_bytes: usize,
    kept: WrittenBlocks,
}

impl TableWriter {
    /// Creates the file `path`, which must not exist. `uid` is a random number that
    /// no other file has.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::UnsupportedCompression`] before anything is created.
    pub fn create(fs: &dyn Fs, path: &Path, uid: u64, options: &WriterOptions) -> Result<Self, Error> {
        let compression = options.compression;
        if !compression.is_supported() {
            return Err(Error::UnsupportedCompression { file: path.to_path_buf(), compression });
        }
        let file = fs.create_new(path)?;
        let mut options = options.clone();
        options.block_bytes = options.block_bytes.min(MAX_BLOCK_BYTES);
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + 2 * options.block_bytes);
        buffer.extend_from_slice(Header::new(uid).as_bytes());
        Ok(Self {
            file,
            options,
            meta: TableMeta { uid, compression, ..TableMeta::empty() },
            block: BlockBuilder::default(),
            image: Vec::new(),
            buffer,
            buffer_at: 0,
            on_its_way: 0,
            index: IndexBuilder::default(),
            hashes: Hashes::default(),
            last_key: Vec::new(),
            last_trailer: Trailer::new(MAX_SEQNO, ValueKind::Value),
            last_hash: 0,
            tombstones: Vec::new(),
            tombstone_bytes: 0,
            kept: WrittenBlocks::default(),
        })
    }

    /// Keeps blocks that are written from now on in the cache of `context`, where the
    /// table is going to be opened: for [`finish_with_blocks`](Self::finish_with_blocks).
    pub fn keep_blocks(&mut self, context: &TableContext, admission: Admission) {
        self.kept = WrittenBlocks::new(context.blocks(), admission);
    }

    /// Adds an entry. Entries come in the order of [`InternalKey`], each one once.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`], [`Error::Limit`] and [`Error::NotAPointEntry`] leave the
    /// writer as it was; [`Error::Io`] does not.
    pub fn add(&mut self, key: InternalKey<&[u8]>, value: &[u8]) -> Result<(), Error> {
        let InternalKey { user_key, trailer } = key;
        check_key(user_key)?;
        check_value(value)?;
        if trailer.kind() == ValueKind::RangeTombstone {
            return Err(Error::NotAPointEntry { file: self.file.path().to_path_buf() });
        }
        let is_first = self.meta.entries == 0;
        let order = self.last_key.as_slice().cmp(user_key);
        let is_new_key = is_first || order == Ordering::Less;
        if !is_new_key && (order == Ordering::Greater || self.last_trailer.seqno() <= trailer.seqno()) {
            return Err(Error::OutOfOrder { file: self.file.path().to_path_buf() });
        }
        let room = self.options.block_bytes.saturating_sub(BLOCK_TRAILER_BYTES);
        if !self.block.is_empty()
            && (self.block.is_full()
                || self.block.image_bytes_with(user_key.len(), value.len(), trailer.word()) > room)
        {
            self.finish_block(Some(user_key))?;
        }
        if is_new_key {
            self.last_hash = key_hash(user_key);
            self.meta.user_keys += 1;
            if self.options.filter_bits_per_key > 0.0 {
                self.hashes.push(self.last_hash);
            }
            if is_first {
                self.meta.smallest = user_key.into();
            }
            self.last_key.clear();
            self.last_key.extend_from_slice(user_key);
        }
        self.last_trailer = trailer;
        self.block.add(user_key, value, trailer.word(), fingerprint(self.last_hash));
        self.meta.entries += 1;
        self.meta.tombstones += u64::from(trailer.kind().is_tombstone());
        self.meta.raw_key_bytes += user_key.len() as u64;
        self.meta.raw_value_bytes += value.len() as u64;
        self.meta.lowest_seqno = self.meta.lowest_seqno.min(trailer.seqno());
        self.meta.highest_seqno = self.meta.highest_seqno.max(trailer.seqno());
        Ok(())
    }

    /// Appends a block of values that were laid out elsewhere, by an assembler with the same
    /// options, and says whether there was one at this place. All its keys come after those
    /// added so far.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`] leaves the writer as it was; [`Error::Io`] does not.
    pub fn append(&mut self, built: &BuiltBlocks, at: usize) -> Result<bool, Error> {
        let Some(block) = built.get(at) else { return Ok(false) };
        if self.meta.entries > 0 && block.first_key <= self.last_key.as_slice() {
            return Err(Error::OutOfOrder { file: self.file.path().to_path_buf() });
        }
        if !self.block.is_empty() {
            self.finish_block(Some(block.first_key))?;
        }
        if self.meta.entries == 0 {
            self.meta.smallest = block.first_key.into();
        }
        self.hashes.extend(block.hashes);
        self.last_key.clear();
        self.last_key.extend_from_slice(block.last_key);
        self.last_trailer = Trailer::new(0, ValueKind::Value);
        self.meta.entries += block.entries;
        self.meta.user_keys += block.entries;
        self.meta.raw_key_bytes += block.raw_key_bytes;
        self.meta.raw_value_bytes += block.raw_value_bytes;
        self.meta.lowest_seqno = 0;
        self.put_block(block.image, block.payload, block.next_key)?;
        Ok(true)
    }

    /// Adds a range tombstone, at any time before the end and in any order; an empty
    /// one is ignored.
    ///
    /// # Errors
    /// [`Error::Limit`] for bounds that are too long.
    pub fn add_range_tombstone(&mut self, tombstone: &RangeTombstone) -> Result<(), Error> {
        if tombstone.span.is_empty() {
            return Ok(());
        }
        // The end may be the successor of the longest key, one byte longer than it.
        let end = tombstone.span.end.as_deref().unwrap_or_default();
        check_key(end.strip_suffix(&[0]).unwrap_or(end))?;
        check_key(tombstone.span.start.strip_suffix(&[0]).unwrap_or(&tombstone.span.start))?;
        let seqno = tombstone.seqno.min(MAX_SEQNO);
        self.tombstone_bytes += tombstone.span.start.len() + end.len() + 16;
        self.tombstones.push(RangeTombstone { span: tombstone.span.clone(), seqno });
        self.meta.lowest_seqno = self.meta.lowest_seqno.min(seqno);
        self.meta.highest_seqno = self.meta.highest_seqno.max(seqno);
        Ok(())
    }

    /// Bytes that the file would have if it were finished now, nearly: the block under
    /// way counts uncompressed.
    #[must_use]
    pub fn estimated_bytes(&self) -> u64 {
        let filter_bytes =
            (self.hashes.len() as f64 * f64::from(self.options.filter_bits_per_key) / 8.0) as u64;
        self.written_bytes()
            + self.block.row_bytes() as u64
            + filter_bytes
            + (self.index.estimated_bytes() + self.tombstone_bytes) as u64
            + FOOTER_BYTES
    }

    /// Point entries so far.
    #[must_use]
    pub const fn entry_count(&self) -> u64 {
        self.meta.entries
    }

    /// Range tombstones so far.
    #[must_use]
    pub const fn range_tombstone_count(&self) -> u64 {
        self.tombstones.len() as u64
    }

    /// Whether neither an entry nor a range tombstone was added: then
    /// [`finish`](Self::finish) would fail.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.meta.entries == 0 && self.tombstones.is_empty()
    }

    /// Where the file will be found.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Writes what is left and makes the contents durable. The name becomes durable
    /// when the caller syncs the directory.
    ///
    /// # Errors
    /// [`Error::Empty`]; [`Error::Io`], after which the file must not be used.
    pub fn finish(self, created_ms: u64) -> Result<TableMeta, Error> {
        self.finish_with_blocks(created_ms).map(|(meta, _)| meta)
    }

    /// As [`finish`](Self::finish); also returns the blocks that were kept, for
    /// [`Table::adopt`](crate::Table::adopt).
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_with_blocks(mut self, created_ms: u64) -> Result<(TableMeta, WrittenBlocks), Error> {
        if self.is_empty() {
            return Err(Error::Empty { file: self.file.path().to_path_buf() });
        }
        if !self.block.is_empty() {
            self.finish_block(None)?;
        }
        self.meta.data_bytes = self.written_bytes() - HEADER_BYTES;
        self.meta.blocks = self.index.len() as u64;
        self.meta.created_ms = created_ms;
        self.finish_bounds();
        let sections = self.finish_sections()?;
        self.flush()?;
        self.file.sync_data()?;
        debug_assert_eq!(sections.footer_at + FOOTER_BYTES, self.meta.file_bytes);
        Ok((self.meta, self.kept))
    }

    /// Filter, index, range tombstones, properties and footer.
    fn finish_sections(&mut self) -> Result<Sections, Error> {
        let mut image = std::mem::take(&mut self.image);
        let filter_at = self.written_bytes();
        let hashes = std::mem::take(&mut self.hashes);
        if let Some(filter) = Filter::build(&hashes, self.options.filter_bits_per_key) {
            drop(hashes);
            image.clear();
            filter.encode(&mut image);
            drop(filter);
            self.put_section(&mut image)?;
        }
        let index_at = self.written_bytes();
        image.clear();
        self.index.encode(&mut image);
        self.put_section(&mut image)?;

        let tombstones_at = self.written_bytes();
        if !self.tombstones.is_empty() {
            image.clear();
            tombstones::encode(&self.tombstones, &mut image);
            self.put_section(&mut image)?;
        }
        let properties_at = self.written_bytes();
        image.clear();
        self.meta.encode(&mut image);
        let footer_at = properties_at + (image.len() + BLOCK_TRAILER_BYTES) as u64;
        self.meta.file_bytes = footer_at + FOOTER_BYTES;
        // The properties hold the length of the file, which does not change theirs.
        image.clear();
        self.meta.encode(&mut image);
        self.put_section(&mut image)?;

        let sections = Sections { filter_at, index_at, tombstones_at, properties_at, footer_at };
        self.buffer.extend_from_slice(Footer::new(self.meta.uid, &sections).as_bytes());
        Ok(sections)
    }

    /// The hull of entries and range tombstones.
    fn finish_bounds(&mut self) {
        self.tombstones.sort_by(|a, b| a.span.start.cmp(&b.span.start).then_with(|| b.seqno.cmp(&a.seqno)));
        self.meta.range_tombstones = self.tombstones.len() as u64;
        let last_key = || UpperBound::Included(self.last_key.as_slice().into());
        let mut upper = (self.meta.entries > 0).then(last_key);
        for tombstone in &self.tombstones {
            let end = tombstone.span.end.clone().map_or(UpperBound::Unbounded, UpperBound::Excluded);
            upper = Some(match upper {
                Some(upper) => upper.max(end),
                None => end,
            });
        }
        self.meta.upper = upper.unwrap_or(UpperBound::Unbounded);
        if let Some(first) = self.tombstones.first()
            && (self.meta.entries == 0 || first.span.start < self.meta.smallest)
        {
            self.meta.smallest = first.span.start.clone();
        }
    }

    /// Where in the file the next byte goes.
    const fn written_bytes(&self) -> u64 {
        self.buffer_at + self.buffer.len() as u64
    }

    /// Appends the block under way, `next_key` being the user key that comes after it.
    fn finish_block(&mut self, next_key: Option<&[u8]>) -> Result<(), Error> {
        if let Some(image) = self.block.finish_alone() {
            let put = self.put_block(&image, None, next_key);
            self.block.reuse(image);
            return put;
        }
        let mut image = std::mem::take(&mut self.image);
        image.clear();
        self.block.finish_into(&mut image);
        let put = self.put_block(&image, None, next_key);
        self.image = image;
        put
    }

    /// Appends a block whose last entry is the last one added; `payload` is its image as
    /// stored, if somebody has compressed it already.
    fn put_block(
        &mut self,
        image: &[u8],
        payload: Option<(&[u8], Compression)>,
        next_key: Option<&[u8]>,
    ) -> Result<(), Error> {
        let (offset, start) = (self.written_bytes(), self.buffer.len());
        let mut compression = self.options.compression;
        if let Some((payload, stored)) = payload {
            compression = stored;
            self.buffer.extend_from_slice(payload);
        } else if !compression.compress(image, &mut self.buffer) {
            compression = Compression::None;
            self.buffer.extend_from_slice(image);
        }
        seal_block(&mut self.buffer, start, self.meta.uid, offset, compression, image.len());
        self.kept.add(self.index.len(), image);
        self.index.add(self.written_bytes(), &self.last_key, self.last_trailer.seqno(), next_key);
        if self.index.estimated_bytes() > MAX_INDEX_BYTES {
            let full = std::io::Error::from(std::io::ErrorKind::FileTooLarge);
            return Err(lsm_vfs::IoError::new("extend the index of", self.file.path(), full).into());
        }
        self.flush_if_full()
    }

    /// Appends a section, uncompressed: filters and separators hardly shrink. A long one
    /// goes to the file from where it is, so that it is not there twice.
    fn put_section(&mut self, image: &mut Vec<u8>) -> Result<(), Error> {
        let (offset, image_bytes) = (self.written_bytes(), image.len());
        seal_block(image, 0, self.meta.uid, offset, Compression::None, image_bytes);
        if self.buffer.len() + image.len() <= self.buffer.capacity() {
            self.buffer.extend_from_slice(image);
            return self.flush_if_full();
        }
        self.flush()?;
        self.file.write_all_at(image, self.buffer_at)?;
        self.buffer_at += image.len() as u64;
        self.send()
    }

    fn flush_if_full(&mut self) -> Result<(), Error> {
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.flush()?;
        self.send()
    }

    /// Has the system begin to write to the disk what the file has. For all but the last of it,
    /// which the sync sends as well.
    fn send(&mut self) -> Result<(), Error> {
        // Not the end, whose page the next write is going to change.
        let through = self.buffer_at - self.buffer_at % WRITEBACK_STEP_BYTES;
        if through > self.on_its_way {
            self.file.start_writeback(self.on_its_way, through - self.on_its_way)?;
            self.on_its_way = through;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.file.write_all_at(&self.buffer, self.buffer_at)?;
        self.buffer_at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! A table is on its way to the disk while it is written: piece by piece, nothing twice and
    //! nothing that is not there yet; the sync at the end says when all has arrived.

    use super::*;
    use lsm_sync::Mutex;
    use lsm_vfs::{Fault, FaultFs, IoError, MemFs};

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Call {
        /// The end of what was written.
        Write(u64),
        /// From where to where.
        Start(u64, u64),
        Sync,
    }

    /// Remembers what is asked of it.
    #[derive(Debug)]
    struct Recorded {
        inner: Arc<dyn File>,
        calls: Arc<Mutex<Vec<Call>>>,
    }

    impl File for Recorded {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
            self.inner.read_exact_at(buffer, offset)
        }
        fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), IoError> {
            self.calls.lock().push(Call::Write(offset + bytes.len() as u64));
            self.inner.write_all_at(bytes, offset)
        }
        fn sync_data(&self) -> Result<(), IoError> {
            self.calls.lock().push(Call::Sync);
            self.inner.sync_data()
        }
        fn start_writeback(&self, offset: u64, len_bytes: u64) -> Result<(), IoError> {
            self.calls.lock().push(Call::Start(offset, offset + len_bytes));
            self.inner.start_writeback(offset, len_bytes)
        }
        fn preallocate(&self, len_bytes: u64) -> Result<(), IoError> {
            self.inner.preallocate(len_bytes)
        }
        fn set_len(&self, len_bytes: u64) -> Result<(), IoError> {
            self.inner.set_len(len_bytes)
        }
        fn len(&self) -> Result<u64, IoError> {
            self.inner.len()
        }
        fn path(&self) -> &Path {
            self.inner.path()
        }
    }

    /// Some three megabytes.
    fn write(fs: &dyn Fs, calls: &Arc<Mutex<Vec<Call>>>) -> Result<u64, Error> {
        let options = WriterOptions { compression: Compression::None, ..WriterOptions::default() };
        let mut writer = TableWriter::create(fs, Path::new("table"), 1, &options)?;
        let inner = Arc::clone(&writer.file);
        writer.file = Arc::new(Recorded { inner, calls: Arc::clone(calls) });
        for number in 0..3000_u32 {
            let key = number.to_be_bytes();
            writer.add(InternalKey::new(key.as_slice(), 7, ValueKind::Value), &[number as u8; 1000])?;
        }
        Ok(writer.finish(0)?.file_bytes)
    }

    #[test]
    fn all_but_the_end_is_on_its_way_before_the_sync() {
        let calls = Arc::default();
        let file_bytes = write(&MemFs::new(), &calls).unwrap();
        let calls = calls.lock();
        let (mut written, mut begun, mut most_at_once) = (0, 0, 0);
        for call in &*calls {
            match *call {
                Call::Write(end) => written = end,
                Call::Start(from, through) => {
                    assert_eq!(from, begun, "nothing is left out or sent twice");
                    assert!(through <= written, "nothing is sent that is not there");
                    most_at_once = most_at_once.max(through - from);
                    begun = through;
                }
                // The last buffer and the sections behind it are left to the sync.
                Call::Sync => assert!(begun + (600 << 10) > file_bytes && begun <= file_bytes),
            }
        }
        assert_eq!(calls.last(), Some(&Call::Sync));
        assert!(most_at_once < 1 << 20, "in small steps, and not {most_at_once} bytes at once");
    }

    #[test]
    fn a_piece_that_cannot_be_sent_is_an_error_of_the_table() {
        let fs = FaultFs::new(MemFs::new());
        write(&fs, &Arc::default()).unwrap();
        fs.remove_file(Path::new("table")).unwrap();
        // The first sync that is asked for is that of the first piece.
        fs.fail_at(fs.operations(), Fault::FailedSync);
        let failed = write(&fs, &Arc::default()).unwrap_err();
        assert!(failed.to_string().contains("begin to sync"), "{failed}");
    }
}
