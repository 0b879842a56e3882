//! [`Op`]: one step of a script against a `Database`, and its text form of one
//! line. Says what is done, never how: the runner does it, the model knows the answer.

use crate::read::{Order, Read, View};
use crate::text::{Bounds, Value, Words, print_key};
use lsm_types::Slice;
use std::fmt;
use std::str::FromStr;

/// A write, alone or within a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named after what they hold")]
pub enum Write {
    /// `put a key value`
    Insert { keyspace: u8, key: Slice, value: Value },
    /// `shared a key value`: the same without a copy.
    InsertShared { keyspace: u8, key: Slice, value: Value },
    /// `del a key`
    Remove { keyspace: u8, key: Slice },
    /// `weak a key`; skipped when the key was written more than once.
    RemoveWeak { keyspace: u8, key: Slice },
    /// `delrange a [from to)`
    RemoveRange { keyspace: u8, bounds: Bounds },
}

/// How long a write or a persist has to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the engine's own")]
pub enum Durability {
    Buffered,
    Sync,
}

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are explained, the fields named after what they hold")]
pub enum Op {
    /// One write by its own call.
    Write(Write),
    /// `batch sync; put a k 1x8; del b k`: writes committed together.
    Batch { durability: Option<Durability>, writes: Vec<Write> },
    /// `clear a`
    Clear { keyspace: u8 },
    /// `ingest a finish; k1 1x8; k2 2x9`: sorted entries beside the log; `drop` instead of
    /// `finish` lets go of them.
    Ingest { keyspace: u8, is_finished: bool, entries: Vec<(Slice, Value)> },
    /// `get live a k`, `range s1 a [k1 k9) fwd`, …
    Read { view: View, keyspace: u8, read: Read },
    /// `snap 1`: takes a snapshot into a slot, letting go of what it held.
    Snapshot { slot: u8 },
    /// `unsnap 1`
    DropSnapshot { slot: u8 },
    /// `hold 1 live a [k1 k9)`: opens an iterator into a slot.
    Hold { slot: u8, view: View, keyspace: u8, bounds: Bounds },
    /// `take 1 5 rev`: takes some of it.
    Take { slot: u8, count: u32, order: Order },
    /// `flush a`
    Flush { keyspace: u8 },
    /// `compact a - -`
    Compact { keyspace: u8, bounds: Bounds },
    /// `idle`: waits until background work has settled.
    WaitIdle,
    /// `persist sync`
    Persist(Durability),
    /// `reopen close` or `reopen drop`
    Reopen { close: bool },
    /// `checkpoint`: makes one, opens it, compares everything.
    Checkpoint,
    /// `drop a`: the keyspace.
    DropKeyspace { keyspace: u8 },
    /// `create a`
    CreateKeyspace { keyspace: u8 },
    /// `verify`: compares everything that can be read.
    Verify,
    /// `check`: has the engine read and check all of its tables.
    Check,
    /// `stats`: asks for all that the database says about itself.
    Stats,
}

impl Write {
    /// The keyspace it goes to.
    #[must_use]
    pub const fn keyspace(&self) -> u8 {
        match self {
            Self::Insert { keyspace, .. }
            | Self::InsertShared { keyspace, .. }
            | Self::Remove { keyspace, .. }
            | Self::RemoveWeak { keyspace, .. }
            | Self::RemoveRange { keyspace, .. } => *keyspace,
        }
    }

    /// Whether it deletes a range in which no key can lie.
    pub(crate) fn is_of_nothing(&self) -> bool {
        matches!(self, Self::RemoveRange { bounds, .. } if bounds.span().is_empty())
    }

    fn parse(verb: &str, words: &mut Words<'_>) -> Result<Option<Self>, String> {
        Ok(Some(match verb {
            "put" => Self::Insert { keyspace: keyspace(words)?, key: words.key()?, value: words.parse()? },
            "shared" => {
                Self::InsertShared { keyspace: keyspace(words)?, key: words.key()?, value: words.parse()? }
            }
            "del" => Self::Remove { keyspace: keyspace(words)?, key: words.key()? },
            "weak" => Self::RemoveWeak { keyspace: keyspace(words)?, key: words.key()? },
            "delrange" => Self::RemoveRange { keyspace: keyspace(words)?, bounds: words.bounds()? },
            _ => return Ok(None),
        }))
    }
}

/// The letter of a keyspace: `a` is 0.
fn letter(keyspace: u8) -> char {
    (b'a' + keyspace % 26) as char
}

pub(crate) fn keyspace(words: &mut Words<'_>) -> Result<u8, String> {
    match words.word()?.as_bytes() {
        [letter @ b'a'..=b'z'] => Ok(letter - b'a'),
        other => Err(format!("{:?} is not the letter of a keyspace", String::from_utf8_lossy(other))),
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = letter(self.keyspace());
        match self {
            Self::Insert { key, value, .. } => write!(f, "put {at} {} {value}", print_key(key)),
            Self::InsertShared { key, value, .. } => write!(f, "shared {at} {} {value}", print_key(key)),
            Self::Remove { key, .. } => write!(f, "del {at} {}", print_key(key)),
            Self::RemoveWeak { key, .. } => write!(f, "weak {at} {}", print_key(key)),
            Self::RemoveRange { bounds, .. } => write!(f, "delrange {at} {bounds}"),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Buffered => "buffered",
            Self::Sync => "sync",
        })
    }
}

impl FromStr for Durability {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "buffered" => Ok(Self::Buffered),
            "sync" => Ok(Self::Sync),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(write) => write!(f, "{write}"),
            Self::Batch { durability, writes } => {
                f.write_str("batch")?;
                if let Some(durability) = durability {
                    write!(f, " {durability}")?;
                }
                writes.iter().try_for_each(|write| write!(f, "; {write}"))
            }
            Self::Clear { keyspace } => write!(f, "clear {}", letter(*keyspace)),
            Self::Ingest { keyspace, is_finished, entries } => {
                let end = if *is_finished { "finish" } else { "drop" };
                write!(f, "ingest {} {end}", letter(*keyspace))?;
                entries.iter().try_for_each(|(key, value)| write!(f, "; {} {value}", print_key(key)))
            }
            Self::Read { view, keyspace, read } => read.print(f, &format!("{view} {}", letter(*keyspace))),
            Self::Snapshot { slot } => write!(f, "snap {slot}"),
            Self::DropSnapshot { slot } => write!(f, "unsnap {slot}"),
            Self::Hold { slot, view, keyspace, bounds } => {
                write!(f, "hold {slot} {view} {} {bounds}", letter(*keyspace))
            }
            Self::Take { slot, count, order } => write!(f, "take {slot} {count} {order}"),
            Self::Flush { keyspace } => write!(f, "flush {}", letter(*keyspace)),
            Self::Compact { keyspace, bounds } => write!(f, "compact {} {bounds}", letter(*keyspace)),
            Self::WaitIdle => f.write_str("idle"),
            Self::Persist(durability) => write!(f, "persist {durability}"),
            Self::Reopen { close: true } => f.write_str("reopen close"),
            Self::Reopen { close: false } => f.write_str("reopen drop"),
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::DropKeyspace { keyspace } => write!(f, "drop {}", letter(*keyspace)),
            Self::CreateKeyspace { keyspace } => write!(f, "create {}", letter(*keyspace)),
            Self::Verify => f.write_str("verify"),
            Self::Check => f.write_str("check"),
            Self::Stats => f.write_str("stats"),
        }
    }
}

impl FromStr for Op {
    type Err = String;
    fn from_str(line: &str) -> Result<Self, String> {
        if let Some(rest) = line.strip_prefix("batch") {
            return parse_batch(rest);
        }
        if let Some(rest) = line.strip_prefix("ingest ") {
            return parse_ingest(rest);
        }
        let words = &mut Words::new(line);
        let verb = words.word()?;
        let op = if let Some(write) = Write::parse(verb, words)? {
            Self::Write(write)
        } else if let Some(read) = Read::parse(verb, words)? {
            read
        } else {
            match verb {
                "clear" => Self::Clear { keyspace: keyspace(words)? },
                "snap" => Self::Snapshot { slot: words.parse()? },
                "unsnap" => Self::DropSnapshot { slot: words.parse()? },
                "hold" => Self::Hold {
                    slot: words.parse()?,
                    view: words.parse()?,
                    keyspace: keyspace(words)?,
                    bounds: words.bounds()?,
                },
                "take" => Self::Take { slot: words.parse()?, count: words.parse()?, order: words.parse()? },
                "flush" => Self::Flush { keyspace: keyspace(words)? },
                "compact" => Self::Compact { keyspace: keyspace(words)?, bounds: words.bounds()? },
                "idle" => Self::WaitIdle,
                "persist" => Self::Persist(words.parse()?),
                "reopen" => Self::Reopen { close: words.word()? == "close" },
                "checkpoint" => Self::Checkpoint,
                "drop" => Self::DropKeyspace { keyspace: keyspace(words)? },
                "create" => Self::CreateKeyspace { keyspace: keyspace(words)? },
                "verify" => Self::Verify,
                "check" => Self::Check,
                "stats" => Self::Stats,
                _ => return Err(format!("{verb:?} is not an operation")),
            }
        };
        words.end()?;
        Ok(op)
    }
}

fn parse_ingest(rest: &str) -> Result<Op, String> {
    let mut parts = rest.split(';');
    let head = &mut Words::new(parts.next().unwrap_or_default());
    let keyspace = keyspace(head)?;
    let is_finished = match head.word()? {
        "finish" => true,
        "drop" => false,
        other => return Err(format!("{other:?} is no end of an ingestion")),
    };
    head.end()?;
    let entries = parts.map(|part| {
        let words = &mut Words::new(part);
        let entry = (words.key()?, words.parse()?);
        words.end()?;
        Ok(entry)
    });
    Ok(Op::Ingest { keyspace, is_finished, entries: entries.collect::<Result<_, String>>()? })
}

fn parse_batch(rest: &str) -> Result<Op, String> {
    let mut parts = rest.split(';');
    let head = parts.next().unwrap_or_default().trim();
    let durability = if head.is_empty() {
        None
    } else {
        Some(head.parse().map_err(|()| format!("{head:?} is not a durability"))?)
    };
    let writes = parts.map(|part| {
        let words = &mut Words::new(part);
        let write = Write::parse(words.word()?, words)?.ok_or_else(|| format!("{part:?} is not a write"))?;
        words.end()?;
        Ok(write)
    });
    Ok(Op::Batch { durability, writes: writes.collect::<Result<_, String>>()? })
}
