//! [`Op`]: one step of a script against a `Database`, and its text form of one
//! line. Says what is done, never how: the runner does it, the model knows the answer.

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

/// Whom a read asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The present.
    Live,
    /// A held snapshot, by its slot.
    Slot(u8),
}

/// In which order an iterator's ends are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All from the front.
    Forward,
    /// All from the back.
    Reverse,
    /// Bit by bit, over and over: 0 is the front.
    Alternate(u64),
}

/// A step of a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the cursor's own methods")]
pub enum Step {
    First,
    Last,
    Seek(Slice),
    SeekForPrev(Slice),
    Next,
    Prev,
}

/// How long a write or a persist has to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the engine's own")]
pub enum Durability {
    Buffered,
    Sync,
}

/// A read with the keyspace it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the engine's own methods")]
pub enum Read {
    Get(Slice),
    ContainsKey(Slice),
    MultiGet(Vec<Slice>),
    First,
    Last,
    Len,
    IsEmpty,
    Iter(Order),
    Range(Bounds, Order),
    Prefix(Slice, Order),
    Walk(Vec<Step>),
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

fn keyspace(words: &mut Words<'_>) -> Result<u8, String> {
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

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => f.write_str("live"),
            Self::Slot(slot) => write!(f, "s{slot}"),
        }
    }
}

impl FromStr for View {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        match word.strip_prefix('s') {
            Some(slot) => slot.parse().map(Self::Slot).map_err(|_| ()),
            None if word == "live" => Ok(Self::Live),
            None => Err(()),
        }
    }
}

impl Order {
    /// Whether the `nth` item comes from the back.
    #[must_use]
    pub const fn from_back(self, nth: usize) -> bool {
        match self {
            Self::Forward => false,
            Self::Reverse => true,
            Self::Alternate(bits) => bits >> (nth % 64) & 1 == 1,
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward => f.write_str("fwd"),
            Self::Reverse => f.write_str("rev"),
            Self::Alternate(bits) => write!(f, "alt:{bits:x}"),
        }
    }
}

impl FromStr for Order {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        match word.strip_prefix("alt:") {
            Some(bits) => u64::from_str_radix(bits, 16).map(Self::Alternate).map_err(|_| ()),
            None if word == "fwd" => Ok(Self::Forward),
            None if word == "rev" => Ok(Self::Reverse),
            None => Err(()),
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

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first"),
            Self::Last => f.write_str("last"),
            Self::Seek(key) => write!(f, "seek:{}", print_key(key)),
            Self::SeekForPrev(key) => write!(f, "seek_for_prev:{}", print_key(key)),
            Self::Next => f.write_str("next"),
            Self::Prev => f.write_str("prev"),
        }
    }
}

impl FromStr for Step {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word.split_once(':') {
            Some(("seek", key)) => Self::Seek(crate::text::parse_key(key)?),
            Some(("seek_for_prev", key)) => Self::SeekForPrev(crate::text::parse_key(key)?),
            _ => match word {
                "first" => Self::First,
                "last" => Self::Last,
                "next" => Self::Next,
                "prev" => Self::Prev,
                _ => return Err(format!("{word:?} is not a step of a cursor")),
            },
        })
    }
}

impl Read {
    fn print(&self, f: &mut fmt::Formatter<'_>, who: &str) -> fmt::Result {
        match self {
            Self::Get(key) => write!(f, "get {who} {}", print_key(key)),
            Self::ContainsKey(key) => write!(f, "has {who} {}", print_key(key)),
            Self::MultiGet(keys) => {
                write!(f, "mget {who}")?;
                keys.iter().try_for_each(|key| write!(f, " {}", print_key(key)))
            }
            Self::First => write!(f, "first {who}"),
            Self::Last => write!(f, "last {who}"),
            Self::Len => write!(f, "len {who}"),
            Self::IsEmpty => write!(f, "empty {who}"),
            Self::Iter(order) => write!(f, "iter {who} {order}"),
            Self::Range(bounds, order) => write!(f, "range {who} {bounds} {order}"),
            Self::Prefix(prefix, order) => write!(f, "prefix {who} {} {order}", print_key(prefix)),
            Self::Walk(steps) => {
                write!(f, "walk {who}")?;
                steps.iter().try_for_each(|step| write!(f, " {step}"))
            }
        }
    }

    fn parse(verb: &str, words: &mut Words<'_>) -> Result<Option<Op>, String> {
        const VERBS: [&str; 11] =
            ["get", "has", "mget", "first", "last", "len", "empty", "iter", "range", "prefix", "walk"];
        if !VERBS.contains(&verb) {
            return Ok(None);
        }
        let (view, keyspace) = (words.parse()?, keyspace(words)?);
        let read = match verb {
            "get" => Self::Get(words.key()?),
            "has" => Self::ContainsKey(words.key()?),
            "mget" => Self::MultiGet(words.map(crate::text::parse_key).collect::<Result<_, _>>()?),
            "first" => Self::First,
            "last" => Self::Last,
            "len" => Self::Len,
            "empty" => Self::IsEmpty,
            "iter" => Self::Iter(words.parse()?),
            "range" => Self::Range(words.bounds()?, words.parse()?),
            "prefix" => Self::Prefix(words.key()?, words.parse()?),
            _ => Self::Walk(words.map(str::parse).collect::<Result<_, _>>()?),
        };
        Ok(Some(Op::Read { view, keyspace, read }))
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
        }
    }
}

impl FromStr for Op {
    type Err = String;
    fn from_str(line: &str) -> Result<Self, String> {
        if let Some(rest) = line.strip_prefix("batch") {
            return parse_batch(rest);
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
                _ => return Err(format!("{verb:?} is not an operation")),
            }
        };
        words.end()?;
        Ok(op)
    }
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
