//! [`MergeCursor`]: many overlapping sorted sources as one. Used by every scan and
//! every compaction; it never copies a value nor allocates for an entry.
//!
//! The sources that stand on an entry form a binary heap whose top is the entry
//! shown. A step moves the top source and puts it back in place:
//!
//! 1. Each node keeps the first eight bytes of its user key, so that most
//!    comparisons touch no key.
//! 2. The place of the runner-up is remembered: as long as the moved source stays
//!    ahead of it, one comparison is the whole step.
//! 3. Sources that stand on the very entry shown (equal user key and number) are
//!    moved past it at once, the newest source first; so no other source ever
//!    stands on the entry shown.
//! 4. A change of direction seeks all sources but the top to the other side of the
//!    entry shown.

use lsm_types::{Cursor, InternalKey, KeySpan, SeqNo, Slice, ValueKind};
use std::cmp::Ordering;

/// A source that stands on an entry.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The first eight bytes of the user key, zero-padded: a smaller prefix is a
    /// smaller key, an equal one says nothing.
    prefix: u64,
    /// Index of the source; a smaller one is newer.
    source: u32,
}

#[derive(Debug)]
struct Source<C> {
    cursor: C,
    /// No entry of the source has a greater number.
    highest_seqno: SeqNo,
}

/// A cursor over the union of its sources, which are given newest first. Of entries
/// with equal user key and number only that of the newest source is shown.
///
/// With n sources a seek costs n seeks, a step O(log n) comparisons, or one while
/// the same source stays ahead.
#[derive(Debug)]
pub struct MergeCursor<C> {
    sources: Vec<Source<C>>,
    /// A heap with the entry shown on top; empty when the cursor stands nowhere.
    heap: Vec<Node>,
    /// The place in the heap of the entry after the top; 0 when there is none.
    runner_up: usize,
    backward: bool,
    /// The user key from which a change of direction seeks.
    scratch: Vec<u8>,
}

/// The first eight bytes of `key`, zero-padded.
#[inline]
fn prefix_of(key: &[u8]) -> u64 {
    if let Some(head) = key.first_chunk() {
        return u64::from_be_bytes(*head);
    }
    key.iter()
        .zip([56, 48, 40, 32, 24, 16, 8])
        .fold(0, |prefix, (&byte, shift)| prefix | u64::from(byte) << shift)
}

impl<C: Cursor> MergeCursor<C> {
    /// Merges `sources`, newest first, and stands nowhere.
    #[must_use]
    pub fn new(sources: Vec<C>) -> Self {
        Self::with_highest_seqnos(sources.into_iter().map(|cursor| (cursor, SeqNo::MAX)).collect())
    }

    /// As [`new`](Self::new), where each source comes with a number that none of its
    /// entries exceeds: stretches that a range tombstone covers whole are then passed
    /// over by one seek.
    #[must_use]
    pub fn with_highest_seqnos(sources: Vec<(C, SeqNo)>) -> Self {
        let sources: Vec<_> =
            sources.into_iter().map(|(cursor, highest_seqno)| Source { cursor, highest_seqno }).collect();
        let heap = Vec::with_capacity(sources.len());
        Self { sources, heap, runner_up: 0, backward: false, scratch: Vec::new() }
    }

    #[inline]
    fn cursor(&self, node: Node) -> &C {
        &self.sources[node.source as usize].cursor
    }

    #[inline]
    fn top(&self) -> Option<&C> {
        self.heap.first().map(|&node| self.cursor(node))
    }

    /// The order of two entries in the direction of the walk.
    #[inline]
    fn order(&self, a: Node, b: Node) -> Ordering {
        let order = match a.prefix.cmp(&b.prefix) {
            Ordering::Equal => self.cursor(a).key().cmp(&self.cursor(b).key()),
            order => order,
        };
        if self.backward { order.reverse() } else { order }
    }

    /// Whether `a` is shown before `b`; of equal entries the newer source's is.
    #[inline]
    fn is_before(&self, a: Node, b: Node) -> bool {
        self.order(a, b).then(a.source.cmp(&b.source)) == Ordering::Less
    }

    /// Moves the node at `at` down to where it belongs.
    fn sift_down(&mut self, mut at: usize) {
        let Some(&node) = self.heap.get(at) else { return };
        loop {
            let left = 2 * at + 1;
            let Some(&left_node) = self.heap.get(left) else { break };
            let (child, child_node) = match self.heap.get(left + 1) {
                Some(&right_node) if self.is_before(right_node, left_node) => (left + 1, right_node),
                _ => (left, left_node),
            };
            if !self.is_before(child_node, node) {
                break;
            }
            self.heap[at] = child_node;
            at = child;
        }
        self.heap[at] = node;
    }

    /// Gives the node at `at`, whose source has moved, its new prefix and place, or
    /// takes it out when its source came to an end.
    fn replace(&mut self, at: usize) {
        let cursor = self.cursor(self.heap[at]);
        if cursor.valid() {
            self.heap[at].prefix = prefix_of(cursor.key().user_key);
        } else {
            self.heap.swap_remove(at);
        }
        self.sift_down(at);
    }

    /// Finds the runner-up, and moves past the entry shown every other source that
    /// stands on it.
    fn settle(&mut self) -> Result<(), C::Error> {
        loop {
            self.runner_up = match *self.heap {
                [] | [_] => 0,
                [_, left, right, ..] if self.is_before(right, left) => 2,
                _ => 1,
            };
            if self.runner_up == 0 || self.order(self.heap[0], self.heap[self.runner_up]) != Ordering::Equal {
                return Ok(());
            }
            let hidden = &mut self.sources[self.heap[self.runner_up].source as usize].cursor;
            if self.backward {
                hidden.prev()?
            } else {
                hidden.next()?
            }
            self.replace(self.runner_up);
        }
    }

    /// Builds the heap anew from the sources that `keep` selects.
    fn rebuild(&mut self, keep: impl Fn(usize) -> bool) -> Result<(), C::Error> {
        self.heap.clear();
        for (index, source) in self.sources.iter().enumerate() {
            if source.cursor.valid() && keep(index) {
                let prefix = prefix_of(source.cursor.key().user_key);
                self.heap.push(Node { prefix, source: index as u32 });
            }
        }
        for at in (0..self.heap.len() / 2).rev() {
            self.sift_down(at);
        }
        self.settle()
    }

    /// Puts every source where `seek` moves it; the walk goes on in that direction.
    fn seek_all(
        &mut self,
        backward: bool,
        seek: impl Fn(&mut C) -> Result<(), C::Error>,
    ) -> Result<(), C::Error> {
        self.backward = backward;
        self.guard(|this| {
            for source in &mut this.sources {
                seek(&mut source.cursor)?;
            }
            this.rebuild(|_| true)
        })
    }

    /// Runs a move; after an error the cursor has no position.
    #[inline]
    fn guard<T>(&mut self, go: impl FnOnce(&mut Self) -> Result<T, C::Error>) -> Result<T, C::Error> {
        let outcome = go(self);
        if outcome.is_err() {
            self.heap.clear();
        }
        outcome
    }

    /// Moves the top source one entry on and shows what then comes first.
    #[inline]
    fn advance(&mut self) -> Result<(), C::Error> {
        let top = &mut self.sources[self.heap[0].source as usize].cursor;
        if self.backward {
            top.prev()?
        } else {
            top.next()?
        }
        if top.valid() {
            self.heap[0].prefix = prefix_of(top.key().user_key);
            let is_ahead =
                self.runner_up == 0 || self.order(self.heap[0], self.heap[self.runner_up]) == Ordering::Less;
            if is_ahead {
                return Ok(());
            }
        }
        self.replace(0);
        self.settle()
    }

    /// Turns the walk around: the top stays, all other sources go to the nearest
    /// entry on the other side of it.
    fn turn(&mut self) -> Result<(), C::Error> {
        self.backward = !self.backward;
        let shown = self.heap[0].source as usize;
        let mut user_key = std::mem::take(&mut self.scratch);
        let shown_key = self.sources[shown].cursor.key();
        user_key.clear();
        user_key.extend_from_slice(shown_key.user_key);
        let key = InternalKey { user_key: user_key.as_slice(), trailer: shown_key.trailer };
        for (index, source) in self.sources.iter_mut().enumerate() {
            let cursor = &mut source.cursor;
            if index == shown {
                continue;
            }
            if self.backward {
                cursor.seek_for_prev(key)?;
                if cursor.valid() && cursor.key() == key {
                    cursor.prev()?;
                }
            } else {
                cursor.seek(key)?;
                if cursor.valid() && cursor.key() == key {
                    cursor.next()?;
                }
            }
        }
        self.scratch = user_key;
        self.rebuild(|_| true)
    }
}

impl<C: Cursor> Cursor for MergeCursor<C> {
    type Error = C::Error;
    type Stretch = C::Stretch;

    #[inline]
    fn valid(&self) -> bool {
        !self.heap.is_empty()
    }

    #[inline]
    fn key(&self) -> InternalKey<&[u8]> {
        match self.top() {
            Some(cursor) => cursor.key(),
            None => InternalKey::new(&[], 0, ValueKind::Value),
        }
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.top().map_or(&[], Cursor::value)
    }

    fn key_slice(&self) -> Slice {
        self.top().map(Cursor::key_slice).unwrap_or_default()
    }

    fn value_slice(&self) -> Slice {
        self.top().map(Cursor::value_slice).unwrap_or_default()
    }

    fn seek_to_first(&mut self) -> Result<(), C::Error> {
        self.seek_all(false, Cursor::seek_to_first)
    }

    fn seek_to_last(&mut self) -> Result<(), C::Error> {
        self.seek_all(true, Cursor::seek_to_last)
    }

    fn seek(&mut self, target: InternalKey<&[u8]>) -> Result<(), C::Error> {
        self.seek_all(false, |cursor| cursor.seek(target))
    }

    fn seek_for_prev(&mut self, target: InternalKey<&[u8]>) -> Result<(), C::Error> {
        self.seek_all(true, |cursor| cursor.seek_for_prev(target))
    }

    #[inline]
    fn next(&mut self) -> Result<(), C::Error> {
        if self.heap.is_empty() {
            return Ok(());
        }
        self.guard(|this| {
            if this.backward {
                this.turn()?;
            }
            this.advance()
        })
    }

    #[inline]
    fn prev(&mut self) -> Result<(), C::Error> {
        if self.heap.is_empty() {
            return Ok(());
        }
        self.guard(|this| {
            if !this.backward {
                this.turn()?;
            }
            this.advance()
        })
    }

    /// Told while walking backward, when the runner-up stands on what comes before.
    #[inline]
    fn is_first_of_key(&self) -> Option<bool> {
        let &top = self.heap.first()?;
        let is_first = self.cursor(top).is_first_of_key()?;
        if !is_first || self.sources.len() == 1 {
            return Some(is_first);
        }
        if !self.backward {
            return None;
        }
        let is_alone = match self.heap.get(self.runner_up).filter(|_| self.runner_up > 0) {
            None => true,
            Some(&next) => {
                next.prefix != top.prefix
                    || self.cursor(next).key().user_key != self.cursor(top).key().user_key
            }
        };
        Some(is_alone)
    }

    /// What the top source gives out, as far as the runner-up, hence every other source, stands
    /// beyond.
    #[inline]
    fn stretch(&self, backward: bool, fits: impl Fn(&[u8]) -> bool) -> Option<C::Stretch> {
        let &top = self.heap.first().filter(|_| backward == self.backward)?;
        let beyond = self.heap.get(self.runner_up).filter(|_| self.runner_up > 0);
        let is_alone = |last: &[u8]| {
            beyond.is_none_or(|&next| match self.cursor(next).key().user_key.cmp(last) {
                Ordering::Greater => !backward,
                Ordering::Less => backward,
                Ordering::Equal => false,
            })
        };
        self.cursor(top).stretch(backward, |last| is_alone(last) && fits(last))
    }

    #[inline]
    fn resume(&mut self, stretch: C::Stretch) {
        let Some(top) = self.heap.first_mut() else { return };
        let cursor = &mut self.sources[top.source as usize].cursor;
        cursor.resume(stretch);
        top.prefix = prefix_of(cursor.key().user_key);
    }

    /// Seeks each source whose entries are all numbered below `below` to the far end
    /// of the span.
    fn skip_covered(&mut self, span: &KeySpan, below: SeqNo) -> Result<bool, C::Error> {
        let is_covered = |this: &Self, node: Node| {
            this.sources[node.source as usize].highest_seqno < below
                && span.contains(this.cursor(node).key().user_key)
        };
        let covered: Vec<Node> = self.heap.iter().copied().filter(|&node| is_covered(self, node)).collect();
        if covered.is_empty() {
            return Ok(false);
        }
        let mut stays: Vec<bool> = vec![false; self.sources.len()];
        for node in &self.heap {
            stays[node.source as usize] = true;
        }
        self.guard(|this| {
            for node in covered {
                let cursor = &mut this.sources[node.source as usize].cursor;
                match (&span.end, this.backward) {
                    (_, true) => cursor.seek_for_prev(InternalKey::before_all(&span.start))?,
                    (Some(end), false) => cursor.seek(InternalKey::before_all(end))?,
                    // Nothing lies past the end: the source is out until the next seek.
                    (None, false) => stays[node.source as usize] = false,
                }
            }
            this.rebuild(|index| stays[index])
        })?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_prefix_is_a_smaller_key() {
        let keys: [&[u8]; 8] =
            [b"", b"\0", b"a", b"a\0", b"abcdefgh", b"abcdefghi", b"b", b"\xff\xff\xff\xff\xff\xff\xff\xff"];
        for (a, b) in keys.iter().zip(&keys[1..]) {
            assert!(prefix_of(a) <= prefix_of(b), "{a:?} and {b:?}");
        }
        assert_eq!(prefix_of(b"abc"), u64::from_be_bytes(*b"abc\0\0\0\0\0"));
    }
}
