//! What a seek says of the keys that it passed: whether they stay hidden for good.

use lsm_merge::VisibleCursor;
use lsm_types::{InternalKey, RangeTombstoneSet, SeqNo, Slice, ValueKind, VecCursor};

const NOW_MS: u64 = 1_000;

/// Newest version first, as they are numbered: the last has number 0.
fn versions(key: &str, kinds: &[ValueKind]) -> Vec<(InternalKey<Slice>, Slice)> {
    let numbers = (0..kinds.len() as SeqNo).rev();
    let entry = |(seqno, kind): (SeqNo, &ValueKind)| {
        // An expiring value begins with the moment of its expiry.
        (InternalKey::new(Slice::from(key.to_owned()), seqno, *kind), Slice::copy_from(&[0; 9]))
    };
    numbers.zip(kinds).map(entry).collect()
}

/// What is said after a walk over a key of these versions, between two deleted ones.
fn hidden_for_good(kinds: &[ValueKind]) -> u32 {
    use ValueKind::{Tombstone, Value};
    let mut entries = versions("a", &[Tombstone, Value, Value]);
    entries.extend(versions("b", kinds));
    entries.extend(versions("c", &[Tombstone]));
    entries.extend(versions("d", &[Value]));
    let mut cursor =
        VisibleCursor::new(VecCursor::new(entries), SeqNo::MAX, &RangeTombstoneSet::default(), NOW_MS);
    let Ok(()) = cursor.seek(b"a");
    assert_eq!(cursor.key(), b"d");
    cursor.hidden_for_good()
}

#[test]
fn what_may_come_back_by_itself_is_not_hidden_for_good() {
    use ValueKind::{ExpiringValue, Tombstone, Value, WeakTombstone};
    for kinds in [
        &[Tombstone][..],
        &[Tombstone, Value, Value, Value],
        &[WeakTombstone],
        &[WeakTombstone, Value],
        &[WeakTombstone, Value, Tombstone, Value, Value],
        &[WeakTombstone, Tombstone, Value, Value],
        &[WeakTombstone, WeakTombstone, Value],
    ] {
        assert_eq!(hidden_for_good(kinds), 3, "{kinds:?}");
    }
    let long: Vec<ValueKind> = std::iter::once(WeakTombstone).chain([Value; 40]).collect();
    for kinds in [
        &[WeakTombstone, Value, Value][..],
        &[WeakTombstone, Value, Value, Tombstone],
        &[WeakTombstone, WeakTombstone, Value, Value],
        &[ExpiringValue],
        &long,
    ] {
        assert_eq!(hidden_for_good(kinds), 0, "{kinds:?}");
    }
}

#[test]
fn a_seek_counts_anew() {
    let entries =
        [versions("a", &[ValueKind::Tombstone]), versions("b", &[ValueKind::ExpiringValue])].concat();
    let mut cursor =
        VisibleCursor::new(VecCursor::new(entries), SeqNo::MAX, &RangeTombstoneSet::default(), NOW_MS);
    let Ok(()) = cursor.seek(b"b");
    assert_eq!(cursor.hidden_for_good(), 0);
    let Ok(()) = cursor.seek(b"c");
    assert_eq!(cursor.hidden_for_good(), 0, "nothing was passed");
    let Ok(()) = cursor.seek_to_first();
    assert_eq!(cursor.hidden_for_good(), 0, "one that has expired was passed");
}
