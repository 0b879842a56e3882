//! [`Read`]: the reads of scripts, whom they ask ([`View`]) and how they walk
//! ([`Order`], [`Step`]), with their text forms.

use crate::op::{Op, keyspace};
use crate::text::{Bounds, Words, print_key};
use lsm_types::Slice;
use std::fmt;
use std::str::FromStr;

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
    pub(crate) fn print(&self, f: &mut fmt::Formatter<'_>, who: &str) -> fmt::Result {
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

    pub(crate) fn parse(verb: &str, words: &mut Words<'_>) -> Result<Option<Op>, String> {
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
