//! [`Pages`]: the bytes of one file in 4 KiB pages, shared until they are written,
//! so that keeping an image of every file at its last sync costs little. Used by
//! the in-memory file system only.

use std::sync::Arc;

/// Bytes in a page.
const PAGE_BYTES: usize = 4096;

/// Contents of a file. A page that was never written is absent and reads as zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    pages: Vec<Option<Arc<[u8; PAGE_BYTES]>>>,
    len_bytes: u64,
}

/// The pieces of `len` bytes at `offset`, one a page: page, offset in it, range of the bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset as usize + done;
        let within = at % PAGE_BYTES;
        let take = (PAGE_BYTES - within).min(len - done);
        let piece = (at / PAGE_BYTES, within, done..done + take);
        done += take;
        (take > 0).then_some(piece)
    })
}

impl Pages {
    /// Length in bytes.
    pub(super) const fn len(&self) -> u64 {
        self.len_bytes
    }

    /// Fills `buffer` from `offset`; false when the file ends before.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> bool {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len_bytes) {
            return false;
        }
        for (page, within, range) in pieces(offset, buffer.len()) {
            let target = &mut buffer[range];
            match &self.pages[page] {
                Some(bytes) => target.copy_from_slice(&bytes[within..within + target.len()]),
                None => target.fill(0),
            }
        }
        true
    }

    /// Writes `bytes` at `offset`, growing with zeros.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        self.grow(offset + bytes.len() as u64);
        for (page, within, range) in pieces(offset, bytes.len()) {
            let source = &bytes[range];
            let page = self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[within..within + source.len()].copy_from_slice(source);
        }
    }

    /// Extends with zeros; never cuts.
    pub(super) fn grow(&mut self, len_bytes: u64) {
        if len_bytes > self.len_bytes {
            self.len_bytes = len_bytes;
            self.pages.resize(len_bytes.div_ceil(PAGE_BYTES as u64) as usize, None);
        }
    }

    /// Cuts or extends with zeros.
    pub(super) fn set_len(&mut self, len_bytes: u64) {
        self.grow(len_bytes);
        if len_bytes < self.len_bytes {
            self.len_bytes = len_bytes;
            self.pages.truncate(len_bytes.div_ceil(PAGE_BYTES as u64) as usize);
            let within = (len_bytes % PAGE_BYTES as u64) as usize;
            // What is cut must not come back when the file grows again.
            if within > 0
                && let Some(Some(last)) = self.pages.last_mut()
            {
                Arc::make_mut(last)[within..].fill(0);
            }
        }
    }

    /// Becomes equal to `newer`, from which it differs only in the bytes from `from` to
    /// `to`, without copying any. Call once a difference, in any order.
    pub(super) fn follow(&mut self, newer: &Self, from: u64, to: u64) {
        self.len_bytes = newer.len_bytes;
        self.pages.resize(newer.pages.len(), None);
        let end = (to.div_ceil(PAGE_BYTES as u64) as usize).min(newer.pages.len());
        let start = ((from / PAGE_BYTES as u64) as usize).min(end);
        self.pages[start..end].clone_from_slice(&newer.pages[start..end]);
    }
}
