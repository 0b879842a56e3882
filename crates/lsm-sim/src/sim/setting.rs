//! [`Setting`]: one option of the engine with a value, as a line of a script. All
//! options of the public API are here; a test compares the list with the engine's source.

use crate::random::Random;
use crate::text::Words;
use lsm_tree::{Compaction, Compression, Durability, KeyspaceOptions, Options, Profile, RecoveryMode};
use std::fmt;
use std::str::FromStr;

/// One option. Those of the database hold from the next opening on, those of a keyspace
/// when it is next created.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "named as the engine's own setters")]
pub enum Setting {
    Profile(Profile),
    CacheSize(u64),
    WriteBufferSize(usize),
    Durability(Durability),
    MaxOpenFiles(usize),
    MaxLogSize(u64),
    RecoveryMode(RecoveryMode),
    CreateIfMissing(bool),
    LogSegmentSize(u64),
    MaxSealedMemtables(usize),
    Compaction(u8, Compaction),
    Compression(u8, Compression),
    LevelCompression(u8, usize, Compression),
    LastLevelCompression(u8, Compression),
    BlockSize(u8, usize),
    FilterBitsPerKey(u8, u32),
    TableSize(u8, u64),
    LevelBaseSize(u8, u64),
}

/// The setters that the generator uses, by type: what the test of the surface counts.
pub const SETTERS: &[(&str, &str)] = &[
    ("Options", "profile"),
    ("Options", "cache_size"),
    ("Options", "write_buffer_size"),
    ("Options", "durability"),
    ("Options", "max_open_files"),
    ("Options", "max_log_size"),
    ("Options", "recovery_mode"),
    ("Options", "create_if_missing"),
    ("Advanced", "log_segment_size"),
    ("Advanced", "max_sealed_memtables"),
    ("KeyspaceOptions", "compaction"),
    ("KeyspaceOptions", "compression"),
    ("KeyspaceOptions", "level_compression"),
    ("KeyspaceOptions", "last_level_compression"),
    ("KeyspaceOptions", "block_size"),
    ("KeyspaceOptions", "filter_bits_per_key"),
    ("KeyspaceOptions", "table_size"),
    ("KeyspaceOptions", "level_base_size"),
];

/// How many kinds of settings there are.
const KINDS: u64 = SETTERS.len() as u64;

impl Setting {
    /// Any option with any value that a keyspace below `keyspaces` can have.
    pub fn random(random: &mut Random, keyspaces: u8) -> Self {
        let kind = random.below(KINDS);
        let at = random.below(u64::from(keyspaces)) as u8;
        let mut pick = |values: &[u64]| random.pick(values).copied().unwrap_or(0);
        match kind {
            0 => Self::Profile(
                [Profile::Balanced, Profile::ReadHeavy, Profile::WriteHeavy, Profile::SmallMemory]
                    .into_iter()
                    .nth(pick(&[0, 1, 2, 3]) as usize)
                    .unwrap_or_default(),
            ),
            1 => Self::CacheSize(pick(&[0, 4 << 10, 64 << 10, 1 << 20])),
            2 => Self::WriteBufferSize(pick(&[0, 1 << 10, 2 << 10, 4 << 10, 16 << 10, 1 << 20]) as usize),
            3 => Self::Durability([Durability::Buffered, Durability::Sync][pick(&[0, 1]) as usize % 2]),
            4 => Self::MaxOpenFiles(pick(&[0, 4, 5, 9, 64]) as usize),
            5 => Self::MaxLogSize(pick(&[0, 4 << 10, 16 << 10, 64 << 10, u64::MAX])),
            6 => Self::RecoveryMode(match pick(&[0, 1, 2]) {
                0 => RecoveryMode::Strict,
                1 => RecoveryMode::Salvage,
                _ => RecoveryMode::TornTail,
            }),
            7 => Self::CreateIfMissing(pick(&[0, 1]) == 1),
            8 => Self::LogSegmentSize(pick(&[0, 4 << 10, 6000, 16 << 10, 1 << 20])),
            9 => Self::MaxSealedMemtables(pick(&[0, 1, 2, 3, 8]) as usize),
            10 => Self::Compaction(at, random_compaction(random)),
            11 => Self::Compression(at, random_compression(random)),
            12 => Self::LevelCompression(at, random.index(9), random_compression(random)),
            13 => Self::LastLevelCompression(at, random_compression(random)),
            14 => Self::BlockSize(at, pick(&[0, 64, 100, 256, 1024, 4096, 1 << 21]) as usize),
            15 => Self::FilterBitsPerKey(at, pick(&[0, 10, 25, 73, 100, 160, 900]) as u32),
            16 => Self::TableSize(at, pick(&[0, 1 << 10, 3000, 16 << 10, 64 << 20])),
            _ => Self::LevelBaseSize(at, pick(&[0, 4 << 10, 10_000, 64 << 10, 256 << 20])),
        }
    }

    /// Applies an option of the database; those of keyspaces change nothing.
    #[must_use]
    pub fn of_database(self, options: Options) -> Options {
        let mut options = options;
        match self {
            Self::Profile(profile) => options.profile(profile),
            Self::CacheSize(bytes) => options.cache_size(bytes),
            Self::WriteBufferSize(bytes) => options.write_buffer_size(bytes),
            Self::Durability(durability) => options.durability(durability),
            Self::MaxOpenFiles(count) => options.max_open_files(count),
            Self::MaxLogSize(bytes) => options.max_log_size(bytes),
            Self::RecoveryMode(mode) => options.recovery_mode(mode),
            Self::CreateIfMissing(create) => options.create_if_missing(create),
            Self::LogSegmentSize(bytes) => {
                options.advanced().log_segment_size(bytes);
                options
            }
            Self::MaxSealedMemtables(count) => {
                options.advanced().max_sealed_memtables(count);
                options
            }
            _ => options,
        }
    }

    /// Applies an option of keyspace `of`; all others change nothing.
    #[must_use]
    pub fn of_keyspace(self, of: u8, options: KeyspaceOptions) -> KeyspaceOptions {
        match self {
            Self::Compaction(at, compaction) if at == of => options.compaction(compaction),
            Self::Compression(at, compression) if at == of => options.compression(compression),
            Self::LevelCompression(at, level, compression) if at == of => {
                options.level_compression(level, compression)
            }
            Self::LastLevelCompression(at, compression) if at == of => {
                options.last_level_compression(compression)
            }
            Self::BlockSize(at, bytes) if at == of => options.block_size(bytes),
            Self::FilterBitsPerKey(at, tenths) if at == of => {
                options.filter_bits_per_key(tenths as f32 / 10.0)
            }
            Self::TableSize(at, bytes) if at == of => options.table_size(bytes),
            Self::LevelBaseSize(at, bytes) if at == of => options.level_base_size(bytes),
            _ => options,
        }
    }

    /// Whether keyspace `of` drops what is old; `None` when this says nothing about it.
    #[must_use]
    pub const fn forgets(self, of: u8) -> Option<bool> {
        match self {
            Self::Compaction(at, Compaction::Fifo { max_bytes, max_age_ms }) if at == of => {
                Some(max_bytes < u64::MAX || max_age_ms < u64::MAX)
            }
            Self::Compaction(at, _) if at == of => Some(false),
            _ => None,
        }
    }
}

fn random_compaction(random: &mut Random) -> Compaction {
    match random.below(10) {
        0..4 => Compaction::Leveled,
        4..7 => Compaction::SizeTiered,
        7 => Compaction::Fifo { max_bytes: u64::MAX, max_age_ms: u64::MAX },
        8 => Compaction::Fifo { max_bytes: random.below(20_000), max_age_ms: u64::MAX },
        _ => Compaction::Fifo { max_bytes: u64::MAX, max_age_ms: random.below(200_000) },
    }
}

fn random_compression(random: &mut Random) -> Compression {
    let chosen = random.pick(&Compression::ALL).copied().filter(|chosen| chosen.is_supported());
    chosen.unwrap_or_default()
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(profile) => write!(f, "profile {profile:?}"),
            Self::CacheSize(bytes) => write!(f, "cache_size {bytes}"),
            Self::WriteBufferSize(bytes) => write!(f, "write_buffer_size {bytes}"),
            Self::Durability(durability) => write!(f, "durability {durability:?}"),
            Self::MaxOpenFiles(count) => write!(f, "max_open_files {count}"),
            Self::MaxLogSize(bytes) => write!(f, "max_log_size {bytes}"),
            Self::RecoveryMode(mode) => write!(f, "recovery_mode {mode:?}"),
            Self::CreateIfMissing(create) => write!(f, "create_if_missing {create}"),
            Self::LogSegmentSize(bytes) => write!(f, "log_segment_size {bytes}"),
            Self::MaxSealedMemtables(count) => write!(f, "max_sealed_memtables {count}"),
            Self::Compaction(at, Compaction::Fifo { max_bytes, max_age_ms }) => {
                write!(f, "compaction {at} Fifo {max_bytes} {max_age_ms}")
            }
            Self::Compaction(at, compaction) => write!(f, "compaction {at} {compaction:?}"),
            Self::Compression(at, compression) => write!(f, "compression {at} {compression:?}"),
            Self::LevelCompression(at, level, compression) => {
                write!(f, "level_compression {at} {level} {compression:?}")
            }
            Self::LastLevelCompression(at, compression) => {
                write!(f, "last_level_compression {at} {compression:?}")
            }
            Self::BlockSize(at, bytes) => write!(f, "block_size {at} {bytes}"),
            Self::FilterBitsPerKey(at, tenths) => {
                write!(f, "filter_bits_per_key {at} {}.{}", tenths / 10, tenths % 10)
            }
            Self::TableSize(at, bytes) => write!(f, "table_size {at} {bytes}"),
            Self::LevelBaseSize(at, bytes) => write!(f, "level_base_size {at} {bytes}"),
        }
    }
}

/// One of `values`, by the name that `Debug` gives it.
fn named<T: fmt::Debug + Copy>(word: &str, values: &[T]) -> Result<T, String> {
    let found = values.iter().copied().find(|value| format!("{value:?}") == word);
    found.ok_or_else(|| format!("{word:?} is none of {values:?}"))
}

fn compression(words: &mut Words<'_>) -> Result<Compression, String> {
    named(words.word()?, &Compression::ALL)
}

fn compaction(words: &mut Words<'_>) -> Result<Compaction, String> {
    Ok(match words.word()? {
        "Fifo" => Compaction::Fifo { max_bytes: words.parse()?, max_age_ms: words.parse()? },
        other => named(other, &[Compaction::Leveled, Compaction::SizeTiered])?,
    })
}

fn tenths(words: &mut Words<'_>) -> Result<u32, String> {
    let bits: f64 = words.parse()?;
    Ok((bits * 10.0).round() as u32)
}

impl FromStr for Setting {
    type Err = String;
    fn from_str(line: &str) -> Result<Self, String> {
        use lsm_tree::Durability::{Buffered, Sync};
        use lsm_tree::Profile::{Balanced, ReadHeavy, SmallMemory, WriteHeavy};
        use lsm_tree::RecoveryMode::{Salvage, Strict, TornTail};
        let words = &mut Words::new(line);
        let setting = match words.word()? {
            "profile" => {
                Self::Profile(named(words.word()?, &[Balanced, ReadHeavy, WriteHeavy, SmallMemory])?)
            }
            "cache_size" => Self::CacheSize(words.parse()?),
            "write_buffer_size" => Self::WriteBufferSize(words.parse()?),
            "durability" => Self::Durability(named(words.word()?, &[Buffered, Sync])?),
            "max_open_files" => Self::MaxOpenFiles(words.parse()?),
            "max_log_size" => Self::MaxLogSize(words.parse()?),
            "recovery_mode" => Self::RecoveryMode(named(words.word()?, &[Strict, TornTail, Salvage])?),
            "create_if_missing" => Self::CreateIfMissing(words.parse()?),
            "log_segment_size" => Self::LogSegmentSize(words.parse()?),
            "max_sealed_memtables" => Self::MaxSealedMemtables(words.parse()?),
            "compaction" => Self::Compaction(words.parse()?, compaction(words)?),
            "compression" => Self::Compression(words.parse()?, compression(words)?),
            "level_compression" => {
                Self::LevelCompression(words.parse()?, words.parse()?, compression(words)?)
            }
            "last_level_compression" => Self::LastLevelCompression(words.parse()?, compression(words)?),
            "block_size" => Self::BlockSize(words.parse()?, words.parse()?),
            "filter_bits_per_key" => Self::FilterBitsPerKey(words.parse()?, tenths(words)?),
            "table_size" => Self::TableSize(words.parse()?, words.parse()?),
            "level_base_size" => Self::LevelBaseSize(words.parse()?, words.parse()?),
            other => return Err(format!("{other:?} is not an option")),
        };
        words.end()?;
        Ok(setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_option_comes_up_and_survives_the_round_trip_through_text() {
        let mut random = Random::new(11);
        let mut seen = BTreeSet::new();
        for _ in 0..3000 {
            let setting = Setting::random(&mut random, 3);
            let text = setting.to_string();
            assert_eq!(text.parse(), Ok(setting), "{text}");
            seen.insert(text.split(' ').next().unwrap().to_owned());
        }
        let all: BTreeSet<String> = SETTERS.iter().map(|(_, name)| (*name).to_owned()).collect();
        assert_eq!(seen, all);
    }
}
