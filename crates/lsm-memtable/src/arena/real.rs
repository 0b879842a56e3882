//! The arena of production builds: records laid one after another in chunks. Holds
//! most of the crate's `unsafe`; `docs/unsafe.md` has the argument.
//!
//! ```text
//! record := trailer u64 LE | key_len u16 LE | value_len u16 LE | key | value
//! value  := value_len bytes, or the number of a shared slice, u32 LE, when value_len is 65535
//! ```
//!
//! Records are aligned to four bytes, and named by their place in units of four
//! bytes. Chunk k is `FIRST_CHUNK << k` bytes long and starts where chunk k - 1
//! ended, so that a name is found with one look into a table of 22 entries.

#![expect(unsafe_code, reason = "bytes are written beside bytes that others read; see docs/unsafe.md")]

use super::chunk::{Chunk, FIRST_CHUNK, Spare};
use super::shared::{SharedValues, SharedValuesWriter};
use super::{MAX_INLINE_BYTES, RecordRef};
use crate::ValueRef;
use crate::index::NewValue;
use lsm_types::{InternalKey, MAX_KEY_BYTES, Slice, Trailer, ValueKind};
use std::alloc::{Layout, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

const UNIT: usize = 4;
const HEADER_BYTES: usize = 12;
/// As many as the names of 32 bits reach: 16 GiB.
const CHUNKS: usize = 22;
/// The length that stands for a shared value.
const SHARED: u16 = u16::MAX;

const _: () = assert!(MAX_INLINE_BYTES < SHARED as usize);
const _: () = assert!(((FIRST_CHUNK << CHUNKS) - FIRST_CHUNK).div_ceil(UNIT) <= u32::MAX as usize);

#[derive(Debug)]
struct Chunks {
    /// Made by the writer, each once, before the first name of a record in it.
    chunks: [OnceLock<Chunk>; CHUNKS],
    shared: Arc<SharedValues>,
    spare: Arc<Spare>,
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.chunks.iter_mut().filter_map(OnceLock::take).for_each(|chunk| self.spare.give(chunk));
    }
}

/// Reads records. Cheap to share: any number of threads may read while the writer
/// adds. What a record lends is valid for as long as the arena lives.
#[derive(Debug)]
pub(crate) struct Arena(Arc<Chunks>);

/// The right to add records: there is one for each arena, and adding takes it
/// exclusively.
#[derive(Debug)]
pub(crate) struct ArenaWriter {
    chunks: Arc<Chunks>,
    shared: SharedValuesWriter,
    /// The chunk that is filled.
    chunk: usize,
    /// The first free byte of that chunk.
    at: usize,
    /// Bytes of all records and of the shared values.
    bytes: usize,
}

/// An empty arena and the one writer it will ever have.
pub(crate) fn new(spare: &Arc<Spare>) -> (Arena, ArenaWriter) {
    let chunks = [const { OnceLock::new() }; CHUNKS];
    let chunks = Arc::new(Chunks { chunks, shared: Arc::default(), spare: Arc::clone(spare) });
    let shared = SharedValuesWriter::new(Arc::clone(&chunks.shared));
    (Arena(Arc::clone(&chunks)), ArenaWriter { chunks, shared, chunk: 0, at: 0, bytes: 0 })
}

/// The place of a chunk's first byte.
const fn chunk_start(chunk: usize) -> usize {
    (FIRST_CHUNK << chunk) - FIRST_CHUNK
}

impl ArenaWriter {
    /// Copies the entry in and returns its name. A key of more than
    /// [`MAX_KEY_BYTES`] is cut: the facade admits none.
    pub(crate) fn push(&mut self, key: InternalKey<&[u8]>, value: NewValue<'_>) -> RecordRef {
        match value {
            NewValue::Copied(bytes) if bytes.len() <= MAX_INLINE_BYTES => {
                self.push_record(key, bytes.len() as u16, bytes)
            }
            NewValue::Copied(bytes) => self.push_shared(key, Slice::copy_from(bytes)),
            NewValue::Shared(slice) => self.push_shared(key, slice),
        }
    }

    fn push_shared(&mut self, key: InternalKey<&[u8]>, value: Slice) -> RecordRef {
        self.bytes += value.len() + SharedValuesWriter::SLICE_BYTES;
        let number = self.shared.push(value);
        self.push_record(key, SHARED, &number.to_le_bytes())
    }

    fn push_record(&mut self, key: InternalKey<&[u8]>, value_len: u16, value: &[u8]) -> RecordRef {
        let user_key = key.user_key.get(..MAX_KEY_BYTES).unwrap_or(key.user_key);
        let len = HEADER_BYTES + user_key.len() + value.len();
        let (start, place) = self.reserve(len);
        let parts: [&[u8]; 5] = [
            &key.trailer.word().to_le_bytes(),
            &(user_key.len() as u16).to_le_bytes(),
            &value_len.to_le_bytes(),
            user_key,
            value,
        ];
        let mut at = start.as_ptr();
        for part in parts {
            // SAFETY: `reserve` returned `len` bytes of a live chunk that no record
            // has and no other thread writes, since `self` is exclusive; the parts
            // are `len` bytes together. They lie outside of those bytes, because no
            // one was lent these bytes yet.
            unsafe {
                at.copy_from_nonoverlapping(part.as_ptr(), part.len());
                at = at.add(part.len());
            }
        }
        RecordRef((place / UNIT) as u32)
    }

    /// Takes `len` bytes, at most a few more than the longest record has, and returns
    /// where they start, in memory and as a place.
    fn reserve(&mut self, len: usize) -> (NonNull<u8>, usize) {
        let padded = len.next_multiple_of(UNIT);
        while self.at + padded > FIRST_CHUNK << self.chunk {
            // What is left over was never touched, so it costs no more than a page.
            self.chunk += 1;
            self.at = 0;
        }
        let Some(cell) = self.chunks.chunks.get(self.chunk) else {
            // 16 GiB in one memtable: whoever gets here does not rotate, and has run
            // out of what can be addressed.
            handle_alloc_error(Layout::new::<[u8; FIRST_CHUNK]>())
        };
        let chunk = cell.get_or_init(|| self.chunks.spare.take(FIRST_CHUNK << self.chunk));
        // SAFETY: `at + padded` is within the chunk, which is `FIRST_CHUNK << chunk`
        // bytes long.
        let start = unsafe { chunk.start().add(self.at) };
        let place = chunk_start(self.chunk) + self.at;
        self.at += padded;
        self.bytes += padded;
        (start, place)
    }

    /// Bytes of all records and of the shared values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Arena {
    /// The key of a record.
    ///
    /// # Safety
    /// `record` must have been made by this arena's writer, and come to this thread
    /// through a [`RecordSlot`](super::RecordSlot) or something else that synchronises.
    #[inline]
    pub(crate) unsafe fn key(&self, record: RecordRef) -> InternalKey<&[u8]> {
        // SAFETY: the caller's promise is the one `parts` asks for.
        let (trailer, key, _) = unsafe { self.parts(record) };
        InternalKey { user_key: key, trailer }
    }

    /// The value of a record.
    ///
    /// # Safety
    /// As for [`key`](Self::key).
    #[inline]
    pub(crate) unsafe fn value(&self, record: RecordRef) -> ValueRef<'_> {
        // SAFETY: the caller's promise is the one `parts` asks for.
        match unsafe { self.parts(record) }.2 {
            Ok(value) => ValueRef::Inline(value),
            Err(number) => ValueRef::Shared(self.0.shared.get(number)),
        }
    }

    /// Has the processor fetch the beginning of a record, without waiting for it.
    #[inline]
    pub(crate) fn bring_in(&self, RecordRef(name): RecordRef) {
        const LINE_BYTES: usize = 64;
        let place = name as usize * UNIT;
        let chunk = (place / FIRST_CHUNK + 1).ilog2() as usize;
        if let Some(memory) = self.0.chunks.get(chunk).and_then(OnceLock::get) {
            let at = memory.start().as_ptr().wrapping_add(place - chunk_start(chunk));
            prefetch(at);
            prefetch(at.wrapping_add(LINE_BYTES));
        }
    }

    /// Trailer, key, and the value or its number.
    ///
    /// # Safety
    /// As for [`key`](Self::key).
    #[inline]
    unsafe fn parts(&self, RecordRef(name): RecordRef) -> (Trailer, &[u8], Result<&[u8], u32>) {
        let place = name as usize * UNIT;
        let chunk = (place / FIRST_CHUNK + 1).ilog2() as usize;
        let Some(memory) = self.0.chunks[chunk].get() else {
            unreachable!("a record's chunk is made before the record")
        };
        // SAFETY: the record was made by this arena's writer (the caller's promise), so
        // `place` is where `reserve` put it, in this chunk, with its header and as many
        // bytes behind it as the header says. All were written before the name was
        // returned, that happened before this call (again the caller's promise), and
        // nobody writes them afterwards. The chunk lives as long as `self.0`.
        unsafe {
            let at = memory.start().as_ptr().add(place - chunk_start(chunk)).cast_const();
            let header = &*at.cast::<[u8; HEADER_BYTES]>();
            let [t0, t1, t2, t3, t4, t5, t6, t7, k0, k1, v0, v1] = *header;
            let trailer = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
            let key_len = usize::from(u16::from_le_bytes([k0, k1]));
            let value_len = u16::from_le_bytes([v0, v1]);
            let key_at = at.add(HEADER_BYTES);
            let key = std::slice::from_raw_parts(key_at, key_len);
            let value_at = key_at.add(key_len);
            let value = if value_len == SHARED {
                Err(u32::from_le_bytes(*value_at.cast::<[u8; 4]>()))
            } else {
                Ok(std::slice::from_raw_parts(value_at, usize::from(value_len)))
            };
            (Trailer::from_word(trailer).unwrap_or(Trailer::new(0, ValueKind::Value)), key, value)
        }
    }
}

/// Asks for the cache line at an address.
#[inline]
fn prefetch(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch touches no memory that the program can see, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Miri is thorough, and slow.
    const RECORDS: u64 = if cfg!(miri) { 100 } else { 3000 };

    #[test]
    fn records_come_back_over_many_chunks() {
        let (arena, mut writer) = new(&Arc::new(Spare::new(true)));
        let mut pushed = Vec::new();
        let mut key_bytes = 0;
        for number in 0..RECORDS {
            let key = vec![number as u8; (number as usize * 37) % 700];
            let value = vec![!number as u8; (number as usize * 101) % (MAX_INLINE_BYTES + 500)];
            let record = if number % 5 == 0 {
                writer.push(
                    InternalKey::new(&key, number, ValueKind::Value),
                    NewValue::Shared(value.clone().into()),
                )
            } else {
                writer.push(InternalKey::new(&key, number, ValueKind::Tombstone), NewValue::Copied(&value))
            };
            key_bytes += key.len() + value.len();
            pushed.push((record, number, key, value));
        }
        for (record, number, key, value) in &pushed {
            // SAFETY: the records were made by this arena's writer, on this thread.
            let (found, found_value) = unsafe { (arena.key(*record), arena.value(*record)) };
            assert_eq!((found.user_key, found.seqno()), (key.as_slice(), *number));
            assert_eq!(found.kind() == ValueKind::Value, number % 5 == 0);
            assert_eq!(found_value.as_bytes(), value);
            let is_shared = number % 5 == 0 || value.len() > MAX_INLINE_BYTES;
            assert_eq!(matches!(found_value, ValueRef::Shared(_)), is_shared);
        }
        assert!(
            writer.bytes() >= key_bytes && writer.bytes() < key_bytes + RECORDS as usize * 120,
            "{}",
            writer.bytes()
        );
    }

    #[test]
    fn the_longest_key_fits() {
        let (arena, mut writer) = new(&Arc::new(Spare::new(true)));
        let key = vec![7; MAX_KEY_BYTES];
        let record = writer.push(InternalKey::new(&key, 1, ValueKind::Value), NewValue::Copied(&[1; 4096]));
        // SAFETY: the record was made by this arena's writer, on this thread.
        let found = unsafe { arena.key(record) };
        assert_eq!(found.user_key, key);
    }
}
