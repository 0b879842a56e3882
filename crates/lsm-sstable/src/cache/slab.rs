//! [`Slab`]: where images of blocks lie. Large caches keep them side by side on huge
//! pages, small ones leave each to the allocator. Called under the lock of the cache,
//! which alone knows who still reads an image.
//!
//! ```text
//! chunk (2 MiB) := span (128 KiB) * 16
//! span          := places of one length, or free for any
//! ```
//!
//! A span is free again only when all of its places are, so a few images of each length
//! that was ever in fashion could keep many times the memory that they need. Hence there
//! is a limit to chunks, beyond which images are left to the allocator as well.

#![expect(unsafe_code, reason = "memory that is cut into parts by hand; see docs/unsafe.md")]

use super::memory::{HUGE_BYTES, Memory};
use std::ptr::NonNull;

const SPAN_BYTES: usize = 128 << 10;
const SPANS: usize = HUGE_BYTES / SPAN_BYTES;
/// Longer images are left to the allocator.
const LONGEST: usize = 32 << 10;
/// Lengths up to here are rounded up to lines, longer ones to a sixteenth.
const FINE: usize = 1 << 10;
const LINE: usize = 64;
const CLASSES: usize = FINE / LINE + 16 * (LONGEST / FINE).ilog2() as usize + 1;
/// The name of an image that the allocator keeps.
const PLAIN: u32 = u32::MAX;
const MAX_PLACES: usize = SPAN_BYTES / LINE;

/// Memory for one image: initialised bytes, of which nobody else has the pointer.
#[derive(Debug)]
pub(super) struct Place {
    start: NonNull<u8>,
    len: u32,
    span: u32,
}

// SAFETY: a place is memory that its holder has for itself, or lends by rules of its own.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    /// Memory of the allocator's.
    fn plain(len: u32) -> Self {
        let bytes = NonNull::from(Box::leak(vec![0_u8; len as usize].into_boxed_slice()));
        Self { start: bytes.cast(), len, span: PLAIN }
    }

    /// The bytes, for who only reads them from now on.
    #[inline]
    pub(super) const fn bytes(&self) -> &[u8] {
        // SAFETY: `take` or `plain` handed out so many initialised bytes, which stay until the place,
        // which is not here to be given back while it is borrowed, is given back.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }

    /// With bytes that are no image, so that a test notices who still reads them.
    #[cfg(test)]
    fn spoilt(mut self) -> Self {
        self.bytes_mut().fill(0xdd);
        self
    }

    /// The bytes, to be written.
    pub(super) const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) }
    }
}

/// Hands out places and takes them back. A place must not outlive it: each is kept with a
/// reference to the cache that has this.
#[derive(Debug)]
pub(super) struct Slab {
    /// No chunk is made beyond so many; 0: chunks are not used at all.
    max_chunks: usize,
    /// How many there are: those of `chunks` that are not empty.
    live_chunks: usize,
    chunks: Vec<Option<Chunk>>,
    spans: Vec<Span>,
    /// Spans with a free place, by class.
    with_room: Vec<Vec<u32>>,
    /// Spans of existing chunks without a class.
    free: Vec<u32>,
}

#[derive(Debug)]
struct Chunk {
    memory: Memory,
    spans_in_use: usize,
}

/// The places of one span.
#[derive(Debug, Default)]
struct Span {
    class: usize,
    /// The distance between two places.
    stride: usize,
    /// Whether the bytes were zeroed, which makes them initialised.
    is_zeroed: bool,
    used: usize,
    /// Places that were given back, by their number.
    returned: Vec<u16>,
    /// Places from here on were never handed out.
    fresh: usize,
}

impl Span {
    const fn places(&self) -> usize {
        SPAN_BYTES / self.stride
    }
}

/// The class of images of this length, and how far apart its places lie.
const fn class_of(len: usize) -> (usize, usize) {
    let len = if len == 0 { 1 } else { len };
    let (class, stride) = if len <= FINE {
        (len.div_ceil(LINE), len.next_multiple_of(LINE))
    } else {
        let power = (len - 1).ilog2();
        let sixteenths = (len - 1) >> (power - 4);
        let doublings = (power - FINE.ilog2()) as usize;
        (FINE / LINE + 16 * doublings + sixteenths - 15, (sixteenths + 1) << (power - 4))
    };
    // The first lines of blocks are the hot ones; a page apart from each other, they would
    // all compete for the same few sets of the processor's caches.
    (class, if stride.is_multiple_of(4096) { stride + LINE } else { stride })
}

impl Slab {
    /// A slab that leaves everything to the allocator until it is told otherwise.
    pub(super) fn new() -> Self {
        let with_room = (0..=CLASSES).map(|_| Vec::new()).collect();
        Self {
            max_chunks: 0,
            live_chunks: 0,
            chunks: Vec::new(),
            spans: Vec::new(),
            with_room,
            free: Vec::new(),
        }
    }

    /// Says how many bytes of images there are to be as a rule: half as much again may
    /// lie in chunks. What is empty goes back to the process.
    pub(super) fn set_capacity_bytes(&mut self, bytes: u64) {
        let chunks = bytes.saturating_add(bytes / 2).div_ceil(HUGE_BYTES as u64);
        self.max_chunks = usize::try_from(chunks).unwrap_or(usize::MAX);
        for class in 0..self.with_room.len() {
            let Some(spans) = self.with_room.get_mut(class) else { return };
            let is_empty = |&at: &u32| self.spans.get(at as usize).is_some_and(|span| span.used == 0);
            let empty: Vec<u32> = spans.extract_if(.., |at| is_empty(at)).collect();
            empty.into_iter().for_each(|at| self.free_span(at));
        }
    }

    /// Bytes that an image of this length takes up.
    pub(super) const fn bytes_for(len: usize) -> usize {
        if len <= LONGEST { class_of(len).1 } else { len }
    }

    /// A place for `len` bytes.
    pub(super) fn take(&mut self, len: u32) -> Place {
        if len as usize > LONGEST {
            return Place::plain(len);
        }
        let (class, stride) = class_of(len as usize);
        let known = self.with_room.get(class).and_then(|spans| spans.last()).copied();
        let Some(at) = known.or_else(|| self.take_span(class, stride)) else { return Place::plain(len) };
        let base = self.base(at);
        let (Some(span), Some(base)) = (self.spans.get_mut(at as usize), base) else {
            unreachable!("a span")
        };
        let number = span.returned.pop().map_or(span.fresh, usize::from);
        span.fresh = span.fresh.max(number + 1);
        span.used += 1;
        if span.used == span.places()
            && let Some(spans) = self.with_room.get_mut(class)
        {
            spans.pop();
        }
        // SAFETY: `number` is below the span's number of places, since the span had room.
        let start = unsafe { base.add(number * stride) };
        Place { start, len, span: at }
    }

    /// Takes a place back; nobody reads it any more.
    pub(super) fn give_back(&mut self, place: Place) {
        #[cfg(test)]
        let place = place.spoilt();
        if place.span == PLAIN {
            let bytes = NonNull::slice_from_raw_parts(place.start, place.len as usize);
            // SAFETY: `plain` leaked a boxed slice of this length, and a place is given back once.
            drop(unsafe { Box::from_raw(bytes.as_ptr()) });
            return;
        }
        let base = self.base(place.span);
        let (Some(span), Some(base)) = (self.spans.get_mut(place.span as usize), base) else { return };
        // Both lie within the span's memory.
        let number = (place.start.as_ptr() as usize - base.as_ptr() as usize) / span.stride;
        let was_full = span.used == span.places();
        span.returned.push(number as u16);
        span.used -= 1;
        let (class, is_empty) = (span.class, span.used == 0);
        let Some(spans) = self.with_room.get_mut(class) else { return };
        if was_full {
            spans.push(place.span);
        }
        // One empty span stays with its class, so that it is not made anew all the time.
        if is_empty && spans.len() > 1 {
            spans.retain(|&other| other != place.span);
            self.free_span(place.span);
        }
    }

    /// Where a span starts.
    fn base(&self, span: u32) -> Option<NonNull<u8>> {
        let chunk = self.chunks.get(span as usize / SPANS)?.as_ref()?;
        // SAFETY: a chunk has `SPANS` spans.
        Some(unsafe { chunk.memory.start().add(span as usize % SPANS * SPAN_BYTES) })
    }

    /// Gives a free span to a class; none when there is none and no chunk may be made.
    fn take_span(&mut self, class: usize, stride: usize) -> Option<u32> {
        if self.free.is_empty() && self.live_chunks < self.max_chunks {
            self.add_chunk();
        }
        let at = self.free.pop()?;
        let base = self.base(at);
        if let (Some(span), Some(base)) = (self.spans.get_mut(at as usize), base) {
            if !span.is_zeroed {
                // SAFETY: the span's own memory, of which nobody has a part yet.
                unsafe { base.write_bytes(0, SPAN_BYTES) }
            }
            let mut returned = std::mem::take(&mut span.returned);
            returned.clear();
            *span = Span { class, stride, is_zeroed: true, used: 0, returned, fresh: 0 };
        }
        if let Some(Some(chunk)) = self.chunks.get_mut(at as usize / SPANS) {
            chunk.spans_in_use += 1;
        }
        if let Some(spans) = self.with_room.get_mut(class) {
            spans.push(at);
        }
        Some(at)
    }

    fn add_chunk(&mut self) {
        let chunk = Chunk { memory: Memory::new(HUGE_BYTES, HUGE_BYTES), spans_in_use: 0 };
        let at = self.chunks.iter().position(Option::is_none).unwrap_or(self.chunks.len());
        if at == self.chunks.len() {
            self.chunks.push(None);
            self.spans.resize_with((at + 1) * SPANS, Span::default);
        }
        if let Some(slot) = self.chunks.get_mut(at) {
            *slot = Some(chunk);
            self.live_chunks += 1;
        }
        let first = (at * SPANS) as u32;
        for span in first..first + SPANS as u32 {
            if let Some(span) = self.spans.get_mut(span as usize) {
                *span = Span::default();
            }
            self.free.push(span);
        }
    }

    /// Takes an empty span from its class, and its chunk from the process when it was the
    /// last one in use.
    fn free_span(&mut self, at: u32) {
        self.free.push(at);
        let chunk_at = at as usize / SPANS;
        let Some(slot) = self.chunks.get_mut(chunk_at) else { return };
        let Some(chunk) = slot else { return };
        chunk.spans_in_use -= 1;
        if chunk.spans_in_use == 0 {
            *slot = None;
            self.live_chunks -= 1;
            self.free.retain(|&span| span as usize / SPANS != chunk_at);
        }
    }

    /// Bytes of chunks.
    #[cfg(test)]
    pub(super) fn chunk_bytes(&self) -> usize {
        self.live_chunks * HUGE_BYTES
    }
}

const _: () = assert!(MAX_PLACES <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_wide_enough_and_classes_do_not_mix() {
        let mut strides = vec![None; CLASSES + 1];
        for len in 0..=LONGEST {
            let (class, stride) = class_of(len);
            assert!(stride >= len && stride <= len + len / 16 + 2 * LINE, "{len} {stride}");
            assert!(stride % LINE == 0 && stride % 4096 != 0);
            assert_eq!(*strides[class].get_or_insert(stride), stride, "{len}");
        }
    }

    #[test]
    fn places_do_not_overlap_and_memory_goes_back() {
        for is_large in [false, true] {
            let mut slab = Slab::new();
            slab.set_capacity_bytes(if is_large { 1 << 30 } else { 0 });
            let mut places = Vec::new();
            let rounds = if cfg!(miri) { 300 } else { 20_000_u32 };
            let mut state = 7_u64;
            for round in 0..rounds {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let len = [0, 1, 700, 4000, 4087, 9000, 40_000][(state >> 33) as usize % 7];
                if state >> 62 == 0 && !places.is_empty() {
                    let (place, mark) = places.swap_remove((state >> 20) as usize % places.len());
                    check(&place, mark);
                    slab.give_back(place);
                }
                if places.len() < 2000 {
                    let mut place = slab.take(len);
                    place.bytes_mut().fill(round as u8);
                    places.push((place, round as u8));
                }
            }
            for (place, mark) in places.drain(..) {
                check(&place, mark);
                slab.give_back(place);
            }
            assert!(slab.chunk_bytes() <= 7 * HUGE_BYTES, "{} bytes are kept", slab.chunk_bytes());
            slab.set_capacity_bytes(0);
            assert_eq!(slab.chunk_bytes(), 0);
        }
    }

    fn check(place: &Place, mark: u8) {
        assert!(place.bytes().iter().all(|&byte| byte == mark), "overwritten");
    }
}
