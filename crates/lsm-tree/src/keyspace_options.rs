//! Options of a keyspace, and their form in the manifest.

use crate::{Error, Result};
use lsm_compaction::{Fifo, Leveled, SizeTiered, Strategy};
use lsm_sstable::{Compression, WriterOptions};
use lsm_types::coding::{put_varint64, take_u8, take_varint64};
use lsm_version::LEVELS;
use std::sync::Arc;

/// How the tables of a keyspace are kept in shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compaction {
    /// One sorted run a level, each level ten times the one above: fewest bytes on
    /// disk, fastest reads.
    #[default]
    Leveled,
    /// Runs of similar size are merged: fewest bytes written, more space.
    SizeTiered,
    /// Whole tables leave, oldest first, past a size or an age; nothing is merged.
    Fifo {
        /// Bytes of tables to keep; `u64::MAX` for no limit.
        max_bytes: u64,
        /// Milliseconds that a table lives; `u64::MAX` for ever.
        max_age_ms: u64,
    },
}

/// How a keyspace stores its data. Given at creation and kept in the manifest: when
/// an existing keyspace is opened, what it was created with applies.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyspaceOptions {
    pub(crate) compaction: Compaction,
    pub(crate) compression: Compression,
    /// Where it differs from `compression`, by level.
    pub(crate) level_compression: [Option<Compression>; LEVELS],
    pub(crate) block_bytes: usize,
    pub(crate) filter_bits_per_key: f32,
    pub(crate) table_bytes: u64,
    pub(crate) level_base_bytes: u64,
}

impl Default for KeyspaceOptions {
    fn default() -> Self {
        Self {
            compaction: Compaction::Leveled,
            compression: Compression::Snappy,
            level_compression: [None; LEVELS],
            block_bytes: 4096,
            filter_bits_per_key: 10.0,
            table_bytes: 64 << 20,
            level_base_bytes: 256 << 20,
        }
    }
}

impl KeyspaceOptions {
    /// How tables are kept in shape; leveled by default.
    #[must_use]
    pub fn compaction(mut self, compaction: Compaction) -> Self {
        self.compaction = compaction;
        self
    }

    /// How blocks are compressed; LZ4 by default. Takes effect on all levels for
    /// which nothing else is set.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// How blocks of one level are compressed, from 0 (flushes) to 6 (the last, where
    /// most data lies). Levels that do not exist are ignored.
    #[must_use]
    pub fn level_compression(mut self, level: usize, compression: Compression) -> Self {
        if let Some(slot) = self.level_compression.get_mut(level) {
            *slot = Some(compression);
        }
        self
    }

    /// How blocks of the last level are compressed.
    #[must_use]
    pub fn last_level_compression(self, compression: Compression) -> Self {
        self.level_compression(LEVELS - 1, compression)
    }

    /// Bytes of a data block before compression; 4 KiB by default.
    #[must_use]
    pub fn block_size(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes.clamp(64, 1 << 20);
        self
    }

    /// Bits a key in the filters; 10 (1 % false positives) by default, 0 for no
    /// filter. Fractions count.
    #[must_use]
    pub fn filter_bits_per_key(mut self, bits: f32) -> Self {
        self.filter_bits_per_key = if bits.is_finite() { bits.clamp(0.0, 64.0) } else { 10.0 };
        self
    }

    /// Bytes at which a table file is ended; 64 MiB by default.
    #[must_use]
    pub fn table_size(mut self, bytes: u64) -> Self {
        self.table_bytes = bytes.max(1024);
        self
    }

    /// Bytes of the first level below level 0; 256 MiB by default.
    #[must_use]
    pub fn level_base_size(mut self, bytes: u64) -> Self {
        self.level_base_bytes = bytes.max(4096);
        self
    }

    /// The form in which the manifest keeps the options: tag, value, tag, value…
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |tag: u8, value: u64| {
            out.push(tag);
            put_varint64(&mut out, value);
        };
        match self.compaction {
            Compaction::Leveled => put(1, 0),
            Compaction::SizeTiered => put(1, 1),
            Compaction::Fifo { max_bytes, max_age_ms } => {
                put(1, 2);
                put(2, max_bytes);
                put(3, max_age_ms);
            }
        }
        put(4, u64::from(self.compression as u8));
        for (level, compression) in (0_u64..).zip(self.level_compression) {
            if let Some(compression) = compression {
                put(5, level << 8 | u64::from(compression as u8));
            }
        }
        put(6, self.block_bytes as u64);
        put(7, u64::from(self.filter_bits_per_key.to_bits()));
        put(8, self.table_bytes);
        put(9, self.level_base_bytes);
        out
    }

    /// Reads [`encode`](Self::encode) back; `None` when it is damaged or newer.
    pub(crate) fn decode(mut stored: &[u8]) -> Option<Self> {
        let mut options = Self::default();
        while !stored.is_empty() {
            let tag = take_u8(&mut stored)?;
            let value = take_varint64(&mut stored)?;
            match tag {
                1 => {
                    options.compaction = match value {
                        0 => Compaction::Leveled,
                        1 => Compaction::SizeTiered,
                        2 => Compaction::Fifo { max_bytes: u64::MAX, max_age_ms: u64::MAX },
                        _ => return None,
                    }
                }
                2 | 3 => {
                    let Compaction::Fifo { max_bytes, max_age_ms } = &mut options.compaction else {
                        return None;
                    };
                    *(if tag == 2 { max_bytes } else { max_age_ms }) = value;
                }
                4 => options.compression = compression_from(value)?,
                5 => {
                    let slot = options.level_compression.get_mut(usize::try_from(value >> 8).ok()?)?;
                    *slot = Some(compression_from(value & 0xff)?);
                }
                6 => options = options.block_size(usize::try_from(value).ok()?),
                7 => options.filter_bits_per_key = f32::from_bits(u32::try_from(value).ok()?),
                8 => options.table_bytes = value,
                9 => options.level_base_bytes = value,
                _ => return None,
            }
        }
        Some(options)
    }

    /// The strategy that these options describe.
    pub(crate) fn strategy(&self) -> Arc<dyn Strategy> {
        match self.compaction {
            Compaction::Leveled => Arc::new(Leveled {
                base_bytes: self.level_base_bytes,
                ..Leveled::with_table_bytes(self.table_bytes)
            }),
            Compaction::SizeTiered => {
                Arc::new(SizeTiered { table_bytes: self.table_bytes, ..SizeTiered::default() })
            }
            Compaction::Fifo { max_bytes, max_age_ms } => {
                let max_age_ms = (max_age_ms < u64::MAX).then_some(max_age_ms);
                Arc::new(Fifo { max_bytes, max_age_ms })
            }
        }
    }

    /// How tables of a level are written.
    pub(crate) fn writer(&self, level: usize) -> WriterOptions {
        let compression = self.level_compression.get(level).copied().flatten().unwrap_or(self.compression);
        let filter_bits_per_key = self.filter_bits_per_key;
        WriterOptions { block_bytes: self.block_bytes, compression, filter_bits_per_key }
    }

    /// Refuses what this build cannot write.
    pub(crate) fn validate(&self) -> Result<()> {
        for compression in self.level_compression.into_iter().flatten().chain([self.compression]) {
            if !compression.is_supported() {
                return Err(Error::invalid(format!("this build lacks {compression}: enable its feature")));
            }
        }
        Ok(())
    }
}

fn compression_from(value: u64) -> Option<Compression> {
    Compression::from_byte(u8::try_from(value).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_options_come_back() {
        let all = KeyspaceOptions::default()
            .compaction(Compaction::Fifo { max_bytes: 7, max_age_ms: 9 })
            .compression(Compression::None)
            .last_level_compression(Compression::Lz4)
            .level_compression(2, Compression::None)
            .block_size(512)
            .filter_bits_per_key(7.5)
            .table_size(1 << 20)
            .level_base_size(1 << 22);
        for options in [all, KeyspaceOptions::default()] {
            assert_eq!(KeyspaceOptions::decode(&options.encode()), Some(options));
        }
        assert_eq!(KeyspaceOptions::decode(&[200, 1]), None, "an option of a newer version");
    }
}
