//! [`Table::verify`]: reads a table from its file, past the cache, and checks every
//! byte and every promise that one part of it makes about another.

use crate::block::View;
use crate::format::{FOOTER_BYTES, Footer, HEADER_BYTES, Header, open_stored};
use crate::hash::{fingerprint, key_hash};
use crate::{Error, Table, TableMeta};
use lsm_types::{InternalKey, Slice, UpperBound};

/// What a verification read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Data blocks.
    pub blocks: u64,
    /// Point entries.
    pub entries: u64,
    /// Range tombstones as they were added.
    pub range_tombstones: u64,
    /// Bytes of the file, all of them checked.
    pub file_bytes: u64,
}

/// What the data blocks and range tombstones turn out to hold.
struct Tally {
    meta: TableMeta,
    last: Option<InternalKey<Slice>>,
}

impl Table {
    /// Reads the whole file and checks: every checksum, the order of all entries,
    /// fingerprints, filter, separators, and the counts and bounds of the meta.
    /// O(file), and does not touch the cache.
    ///
    /// # Errors
    /// [`Error::Corruption`] for the first fault found, [`Error::Io`].
    pub fn verify(&self) -> Result<VerifyReport, Error> {
        let source = &self.source;
        Header::check(&source.read(0, HEADER_BYTES)?, &source.path)?;
        let footer_at = self.sections.footer_at;
        let footer = source.read(footer_at, footer_at + FOOTER_BYTES)?;
        Footer::check(&footer, source.uid, footer_at, &source.path)?;
        for (start, end) in [
            (self.sections.filter_at, self.sections.index_at),
            (self.sections.index_at, self.sections.tombstones_at),
            (self.sections.properties_at, footer_at),
        ] {
            source.section(&source.read(start, end)?, start)?;
        }

        let mut tally = Tally { meta: TableMeta::empty(), last: None };
        for at in 0..self.index.len() {
            self.verify_block(at, &mut tally)?;
        }
        let tombstones = source.raw_tombstones(&self.sections)?;
        for tombstone in &tombstones {
            tally.widen(&tombstone.span.start, tombstone.seqno);
            let end = tombstone.span.end.clone().map_or(UpperBound::Unbounded, UpperBound::Excluded);
            tally.meta.upper = tally.meta.upper.max(end);
        }
        tally.meta.range_tombstones = tombstones.len() as u64;
        self.verify_meta(&tally.meta)?;
        Ok(VerifyReport {
            blocks: self.index.len() as u64,
            entries: tally.meta.entries,
            range_tombstones: tally.meta.range_tombstones,
            file_bytes: source.file_bytes,
        })
    }

    fn verify_block(&self, at: usize, tally: &mut Tally) -> Result<(), Error> {
        let source = &self.source;
        let (start, end) = self.extent(at)?;
        let image = open_stored(source.read(start, end)?, source.uid, start, &source.path)?;
        let layout = self.layout_of(&image, start)?;
        let block = View::new(&image, &layout);
        for entry in 0..block.count() {
            let key = block.key(entry);
            let damage = |expected: &str| {
                let got = format!("{:?} at {}", Slice::copy_from(key.user_key), key.seqno());
                source.damage(start, expected, got)
            };
            let is_new_key = tally.last.as_ref().is_none_or(|last| last.user_key != key.user_key);
            if tally.last.as_ref().is_some_and(|last| last.as_borrowed() >= key) {
                return Err(damage("entries in order"));
            }
            let hash = key_hash(key.user_key);
            if block.fingerprint(entry) != fingerprint(hash) {
                return Err(damage("the fingerprint of its key"));
            }
            if !self.may_contain(hash) {
                return Err(damage("a filter that knows its key"));
            }
            if self.index.find(key.user_key, key.seqno()) != Some(at) {
                return Err(damage("an index that leads to it"));
            }
            tally.add(block, entry, is_new_key);
        }
        tally.meta.blocks += 1;
        tally.meta.data_bytes += end - start;
        Ok(())
    }

    /// Whether the meta says what the entries say.
    fn verify_meta(&self, found: &TableMeta) -> Result<(), Error> {
        let meta = self.meta();
        // These four cannot be told from the entries.
        let found = TableMeta {
            uid: meta.uid,
            file_bytes: meta.file_bytes,
            created_ms: meta.created_ms,
            compression: meta.compression,
            ..found.clone()
        };
        if found == *meta {
            return Ok(());
        }
        let at = self.sections.properties_at;
        Err(self.source.damage(at, format!("{found:?}"), format!("{meta:?}")))
    }
}

impl Tally {
    fn add(&mut self, block: View<'_>, entry: usize, is_new_key: bool) {
        let key = block.key(entry);
        self.widen(key.user_key, key.seqno());
        self.meta.entries += 1;
        self.meta.user_keys += u64::from(is_new_key);
        self.meta.tombstones += u64::from(key.kind().is_tombstone());
        self.meta.raw_key_bytes += key.user_key.len() as u64;
        self.meta.raw_value_bytes += block.value(entry).len() as u64;
        self.meta.upper = UpperBound::Included(Slice::copy_from(key.user_key));
        self.last = Some(key.to_owned_key());
    }

    /// Takes a key into the lower bound and a number into the range of numbers.
    fn widen(&mut self, key: &[u8], seqno: u64) {
        let is_first = self.meta.lowest_seqno > self.meta.highest_seqno;
        if is_first {
            self.meta.upper = UpperBound::Excluded(Slice::empty());
        }
        if is_first || key < self.meta.smallest.as_bytes() {
            self.meta.smallest = Slice::copy_from(key);
        }
        self.meta.lowest_seqno = self.meta.lowest_seqno.min(seqno);
        self.meta.highest_seqno = self.meta.highest_seqno.max(seqno);
    }
}
