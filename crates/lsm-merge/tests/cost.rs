//! A walk over entries that nobody sees must not cost a step for each: a cursor that
//! counts its moves says what was touched.

use lsm_merge::{MergeCursor, VisibleCursor};
use lsm_types::{
    Cursor, InternalKey, KeySpan, RangeTombstone, RangeTombstoneSet, SeqNo, Slice, ValueKind, VecCursor,
};
use std::cell::Cell;
use std::rc::Rc;

struct Counting(VecCursor, Rc<Cell<usize>>);

impl Counting {
    fn count(&self) {
        self.1.set(self.1.get() + 1);
    }
}

impl Cursor for Counting {
    type Error = std::convert::Infallible;
    type Stretch = lsm_types::NoStretch;
    fn resume(&mut self, stretch: Self::Stretch) {
        match stretch {}
    }
    fn valid(&self) -> bool {
        self.0.valid()
    }
    fn key(&self) -> InternalKey<&[u8]> {
        self.0.key()
    }
    fn value(&self) -> &[u8] {
        self.0.value()
    }
    fn seek_to_first(&mut self) -> Result<(), Self::Error> {
        self.count();
        self.0.seek_to_first()
    }
    fn seek_to_last(&mut self) -> Result<(), Self::Error> {
        self.count();
        self.0.seek_to_last()
    }
    fn seek(&mut self, target: InternalKey<&[u8]>) -> Result<(), Self::Error> {
        self.count();
        self.0.seek(target)
    }
    fn seek_for_prev(&mut self, target: InternalKey<&[u8]>) -> Result<(), Self::Error> {
        self.count();
        self.0.seek_for_prev(target)
    }
    fn next(&mut self) -> Result<(), Self::Error> {
        self.count();
        self.0.next()
    }
    fn prev(&mut self) -> Result<(), Self::Error> {
        self.count();
        self.0.prev()
    }
}

fn key(number: u32) -> Slice {
    Slice::from(format!("key{number:08}"))
}

type Entry = (InternalKey<Slice>, Slice);

fn value(number: u32, seqno: SeqNo) -> Entry {
    (InternalKey::new(key(number), seqno, ValueKind::Value), Slice::from("v"))
}

fn moves(
    sources: Vec<(Vec<Entry>, SeqNo)>,
    snapshot: SeqNo,
    tombstones: &RangeTombstoneSet,
    span: KeySpan,
    walk: impl Fn(&mut VisibleCursor<MergeCursor<Counting>>),
) -> usize {
    let count = Rc::new(Cell::new(0));
    let sources = sources
        .into_iter()
        .map(|(entries, highest)| (Counting(VecCursor::new(entries), Rc::clone(&count)), highest))
        .collect();
    let merged = MergeCursor::with_highest_seqnos(sources);
    walk(&mut VisibleCursor::new(merged, snapshot, tombstones, 0).within(span));
    count.get()
}

#[test]
fn a_key_overwritten_a_hundred_thousand_times_costs_a_few_moves() {
    let mut entries: Vec<_> = (1..100_000).map(|seqno| value(1, seqno)).collect();
    entries.extend([value(0, 1), value(2, 1)]);
    for snapshot in [2, 50_000, SeqNo::MAX] {
        let none = RangeTombstoneSet::default();
        let forward = moves(vec![(entries.clone(), SeqNo::MAX)], snapshot, &none, KeySpan::all(), |cursor| {
            let Ok(()) = cursor.seek_to_first();
            for number in 0..3 {
                assert_eq!(cursor.key(), key(number).as_bytes());
                let Ok(()) = cursor.next();
            }
        });
        let backward =
            moves(vec![(entries.clone(), SeqNo::MAX)], snapshot, &none, KeySpan::all(), |cursor| {
                let Ok(()) = cursor.seek_to_last();
                for number in (0..3).rev() {
                    assert_eq!(cursor.key(), key(number).as_bytes());
                    let Ok(()) = cursor.prev();
                }
            });
        assert!(forward < 60 && backward < 60, "{forward} and {backward} moves at {snapshot}");
    }
}

#[test]
fn a_span_deleted_by_one_range_tombstone_costs_a_few_moves() {
    let old: Vec<_> = (0..100_000).map(|number| value(number, 5)).collect();
    let new = vec![value(50_000, 20)];
    let tombstones = RangeTombstoneSet::new([RangeTombstone {
        span: KeySpan { start: key(10), end: Some(key(99_990)) },
        seqno: 10,
    }]);
    let sources = || vec![(new.clone(), 20), (old.clone(), 5)];
    let expected: Vec<_> = (0..10).chain([50_000]).chain(99_990..100_000).collect();
    let forward = moves(sources(), SeqNo::MAX, &tombstones, KeySpan::all(), |cursor| {
        let Ok(()) = cursor.seek_to_first();
        for &number in &expected {
            assert_eq!(cursor.key(), key(number).as_bytes());
            let Ok(()) = cursor.next();
        }
        assert!(!cursor.valid());
    });
    let backward = moves(sources(), SeqNo::MAX, &tombstones, KeySpan::all(), |cursor| {
        let Ok(()) = cursor.seek_to_last();
        for &number in expected.iter().rev() {
            assert_eq!(cursor.key(), key(number).as_bytes());
            let Ok(()) = cursor.prev();
        }
        assert!(!cursor.valid());
    });
    assert!(forward < 150 && backward < 150, "{forward} and {backward} moves");
}

#[test]
fn a_walk_within_a_span_never_looks_past_it() {
    // A hundred thousand deleted keys lie behind the only live one of the span.
    let mut entries: Vec<_> = (1..100_000)
        .map(|number| (InternalKey::new(key(number), 7, ValueKind::Tombstone), Slice::empty()))
        .collect();
    entries.push(value(0, 1));
    let span = KeySpan { start: key(0), end: Some(key(1)) };
    let count =
        moves(vec![(entries, SeqNo::MAX)], SeqNo::MAX, &RangeTombstoneSet::default(), span, |cursor| {
            let Ok(()) = cursor.seek_to_first();
            assert!(cursor.valid());
            let Ok(()) = cursor.next();
            assert!(!cursor.valid());
        });
    assert!(count < 5, "{count} moves");
}
