//! [`Answer`]: what a read gave, from the engine or from the model, so that the two
//! can be compared and told apart in words.

use crate::read::{Order, Read, Step};
use lsm_types::{KeyRange, KeySpan, Slice};
use std::collections::VecDeque;
use std::fmt;

/// A key and its value.
pub type Entry = (Slice, Slice);

/// The result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of `get`.
    Value(Option<Slice>),
    /// Of `multi_get`.
    Values(Vec<Option<Slice>>),
    /// Of `first_key_value` and `last_key_value`.
    Entry(Option<Entry>),
    /// Of `len`.
    Count(u64),
    /// Of `contains_key` and `is_empty`.
    Flag(bool),
    /// Of iterators, in the order taken.
    Entries(Vec<Entry>),
    /// Of a cursor, after each step.
    Positions(Vec<Option<Entry>>),
}

impl Answer {
    /// The answer to `read` over a keyspace that holds exactly `entries`.
    #[must_use]
    pub fn expected(entries: &[Entry], read: &Read) -> Self {
        let get = |key: &Slice| {
            let at = entries.binary_search_by(|(other, _)| other.cmp(key)).ok();
            at.and_then(|at| entries.get(at)).map(|(_, value)| value.clone())
        };
        let within = |span: &KeySpan, order| {
            let inside = entries.iter().filter(|(key, _)| span.contains(key)).cloned();
            Self::Entries(take(&mut inside.collect(), usize::MAX, order))
        };
        match read {
            Read::Get(key) => Self::Value(get(key)),
            Read::ContainsKey(key) => Self::Flag(get(key).is_some()),
            Read::MultiGet(keys) => Self::Values(keys.iter().map(get).collect()),
            Read::First => Self::Entry(entries.first().cloned()),
            Read::Last => Self::Entry(entries.last().cloned()),
            Read::Len => Self::Count(entries.len() as u64),
            Read::IsEmpty => Self::Flag(entries.is_empty()),
            Read::Iter(order) => within(&KeySpan::all(), *order),
            Read::Range(bounds, order) => within(&bounds.span(), *order),
            Read::Prefix(prefix, order) => within(&KeySpan::prefix(prefix), *order),
            Read::Walk(steps) => Self::Positions(walk(entries, steps)),
        }
    }

    /// Whether this is what `expected` says of a keyspace that may have forgotten any of
    /// its keys, as those do that drop what is old: nothing else than what was written.
    #[must_use]
    pub fn is_within(&self, expected: &Self, entries: &[Entry]) -> bool {
        let known = |entry: &Entry| {
            let at = entries.binary_search_by(|(key, _)| key.cmp(&entry.0)).ok();
            at.and_then(|at| entries.get(at)).is_some_and(|(_, value)| *value == entry.1)
        };
        let one = |got: &Option<Slice>, expected: &Option<Slice>| got.is_none() || got == expected;
        match (self, expected) {
            (Self::Value(got), Self::Value(expected)) => one(got, expected),
            (Self::Values(got), Self::Values(expected)) => {
                got.len() == expected.len() && got.iter().zip(expected).all(|(got, is)| one(got, is))
            }
            (Self::Entry(got), Self::Entry(_)) => got.as_ref().is_none_or(known),
            (Self::Count(got), Self::Count(expected)) => got <= expected,
            // A key that is gone, or a keyspace that has run empty.
            (Self::Flag(_), Self::Flag(_)) => true,
            (Self::Entries(got), Self::Entries(_)) => got.iter().all(known),
            (Self::Positions(got), Self::Positions(_)) => got.iter().flatten().all(known),
            _ => false,
        }
    }

    /// The part of the keyspace that the answer to `read` depends on.
    #[must_use]
    pub fn needed_span(read: &Read) -> KeySpan {
        match read {
            Read::Get(key) | Read::ContainsKey(key) => (key..=key).to_span(),
            Read::Range(bounds, _) => bounds.span(),
            Read::Prefix(prefix, _) => KeySpan::prefix(prefix),
            _ => KeySpan::all(),
        }
    }
}

/// Takes up to `count` entries from the ends that `order` says.
pub(crate) fn take(entries: &mut VecDeque<Entry>, count: usize, order: Order) -> Vec<Entry> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let back = order.from_back(taken.len());
        let Some(entry) = (if back { entries.pop_back() } else { entries.pop_front() }) else { break };
        taken.push(entry);
    }
    taken
}

fn walk(entries: &[Entry], steps: &[Step]) -> Vec<Option<Entry>> {
    let mut at: Option<usize> = None;
    let place = |at: Option<usize>| at.filter(|&at| at < entries.len());
    let positions = steps.iter().map(|step| {
        at = place(match step {
            Step::First => Some(0),
            Step::Last => entries.len().checked_sub(1),
            Step::Seek(key) => Some(entries.partition_point(|(other, _)| other < key)),
            Step::SeekForPrev(key) => entries.partition_point(|(other, _)| other <= key).checked_sub(1),
            Step::Next => at.map(|at| at + 1),
            Step::Prev => at.and_then(|at| at.checked_sub(1)),
        });
        at.and_then(|at| entries.get(at).cloned())
    });
    positions.collect()
}

/// Short: keys as in scripts, values by their first bytes.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => f.write_str(&short(value.as_ref())),
            Self::Values(values) => {
                let values: Vec<_> = values.iter().map(|value| short(value.as_ref())).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Self::Entry(entry) => f.write_str(&short_entry(entry.as_ref())),
            Self::Count(count) => write!(f, "{count}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Entries(entries) => {
                let entries: Vec<_> = entries.iter().map(|entry| short_entry(Some(entry))).collect();
                write!(f, "{} entries [{}]", entries.len(), entries.join(", "))
            }
            Self::Positions(entries) => {
                let entries: Vec<_> = entries.iter().map(|entry| short_entry(entry.as_ref())).collect();
                write!(f, "[{}]", entries.join(", "))
            }
        }
    }
}

/// A value in a few characters: its tag and length, as scripts name it.
fn short(value: Option<&Slice>) -> String {
    let Some(value) = value else { return "none".into() };
    match value.first_chunk::<8>() {
        Some(tag) => format!("{}x{}", u64::from_le_bytes(*tag), value.len()),
        None => format!("{value:?}"),
    }
}

fn short_entry(entry: Option<&Entry>) -> String {
    entry.map_or("nowhere".into(), |(key, value)| {
        format!("{}={}", crate::text::print_key(key), short(Some(value)))
    })
}

/// Says in one line where two answers part.
#[must_use]
pub(crate) fn difference(expected: &Answer, got: &Answer) -> String {
    if let (Answer::Entries(expected), Answer::Entries(got)) = (expected, got) {
        let same = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
        return format!(
            "expected {} entries, got {}; they part at number {same}: expected {}, got {}",
            expected.len(),
            got.len(),
            short_entry(expected.get(same)),
            short_entry(got.get(same)),
        );
    }
    format!("expected {expected}, got {got}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        ["a", "c", "e"].map(|key| (Slice::from(key), Slice::from(key))).to_vec()
    }

    #[test]
    fn a_cursor_walks_as_documented() {
        let steps = "next first prev prev seek:b next next next seek_for_prev:b last";
        let steps: Vec<Step> = steps.split(' ').map(|step| step.parse().unwrap()).collect();
        let keys: Vec<String> =
            walk(&entries(), &steps).iter().map(|entry| short_entry(entry.as_ref())).collect();
        let keys: Vec<&str> = keys.iter().map(|key| key.split('=').next().unwrap()).collect();
        assert_eq!(keys.join(" "), "nowhere a nowhere nowhere c e nowhere nowhere a e");
    }

    #[test]
    fn both_ends_meet_in_the_middle() {
        let read = Read::Iter(Order::Alternate(0b01));
        let Answer::Entries(taken) = Answer::expected(&entries(), &read) else { panic!() };
        assert_eq!(taken.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), ["e", "a", "c"]);
    }
}
