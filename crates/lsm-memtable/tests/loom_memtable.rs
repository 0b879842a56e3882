//! The memtable under every interleaving that loom finds, and with real threads in
//! ordinary builds. Readers take no lock here, so no lock hides a weak ordering.
//!
//! In models the tree has a fan-out of two: two entries fill a leaf, three a root,
//! and seven make it three levels deep.

use lsm_memtable::{Memtable, MemtableOptions};
use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_sync::{model, thread};
use lsm_types::{Cursor, InternalKey, KeySpan, RangeTombstone, SeqNo, Slice, ValueKind, key_hash};
use std::sync::Arc;

/// A memtable that holds these keys, at number 1.
fn holding(keys: &[u8]) -> Arc<Memtable> {
    let memtable = Arc::new(Memtable::new(MemtableOptions::default()));
    keys.iter().for_each(|&key| insert(&memtable, key, 1));
    memtable
}

/// Two bytes, so that keys of the same ten share a prefix, which nodes skip.
fn bytes(key: u8) -> [u8; 2] {
    [key / 10, key % 10]
}

/// The key where a cursor stands.
fn at(cursor: &impl Cursor) -> Option<u8> {
    cursor.valid().then(|| cursor.key().user_key[0] * 10 + cursor.key().user_key[1])
}

/// Inserts a key with a value that names both.
fn insert(memtable: &Memtable, key: u8, seqno: SeqNo) {
    memtable.insert(InternalKey::new(&bytes(key), seqno, ValueKind::Value), &[key, seqno as u8]);
}

/// The number of the newest entry, whose value must be its own.
fn get(memtable: &Memtable, key: u8) -> Option<SeqNo> {
    memtable.get(&bytes(key), SeqNo::MAX, |seqno, _, value| {
        assert_eq!(value.as_bytes(), [key, seqno as u8], "half an entry of {key}");
        seqno
    })
}

fn forward(memtable: &Arc<Memtable>) -> Vec<u8> {
    let mut cursor = memtable.cursor();
    let Ok(()) = cursor.seek_to_first();
    let mut keys = Vec::new();
    while cursor.valid() {
        keys.extend(at(&cursor));
        assert_eq!(Some(cursor.value()[0]), at(&cursor), "half an entry");
        let Ok(()) = cursor.next();
    }
    keys
}

fn backward(memtable: &Arc<Memtable>) -> Vec<u8> {
    let mut cursor = memtable.cursor();
    let Ok(()) = cursor.seek_to_last();
    let mut keys = Vec::new();
    while cursor.valid() {
        keys.extend(at(&cursor));
        let Ok(()) = cursor.prev();
    }
    keys.reverse();
    keys
}

/// Runs `write` beside `read`, each in a thread, over a memtable that holds `keys`.
///
/// The writer is the first thread. Loom compares an access with the last one to the
/// same atomic only, and a writer loads what it then stores; if readers ran first,
/// that load would hide theirs, and loom would not interleave the two.
fn beside(keys: &'static [u8], write: fn(&Memtable), read: fn(&Arc<Memtable>)) {
    model(move || {
        let memtable = holding(keys);
        let reader = {
            let memtable = Arc::clone(&memtable);
            thread::spawn(move || read(&memtable))
        };
        write(&memtable);
        assert!(reader.join().is_ok(), "the reader failed");
    });
}

#[test]
fn an_entry_is_seen_whole_or_not_at_all() {
    beside(
        &[],
        |memtable| insert(memtable, 5, 1),
        |memtable| assert!(matches!(get(memtable, 5), None | Some(1))),
    );
}

#[test]
fn an_entry_is_replaced_whole() {
    beside(
        &[5],
        |memtable| memtable.insert(InternalKey::new(&bytes(5), 1, ValueKind::MergeOperand), b"other"),
        |memtable| {
            let found = memtable.get(&bytes(5), 9, |_, kind, value| (kind, value.as_bytes().to_vec()));
            match found {
                Some((ValueKind::Value, value)) => assert_eq!(value, [5, 1]),
                Some((ValueKind::MergeOperand, value)) => assert_eq!(value, b"other"),
                other => panic!("an entry vanished while it was replaced: {other:?}"),
            }
        },
    );
}

#[test]
fn what_is_published_is_found() {
    // Four inserts divide a leaf and make a root; each is published after it is made.
    model(|| {
        let memtable = holding(&[]);
        let published = Arc::new(AtomicU64::new(0));
        let reader = {
            let (memtable, published) = (Arc::clone(&memtable), Arc::clone(&published));
            thread::spawn(move || {
                let count = published.load(Ordering::Acquire) as usize;
                for &key in &[4, 2, 6, 5][..count] {
                    assert_eq!(
                        get(&memtable, key),
                        Some(1),
                        "key {key} of {count} published ones is missing"
                    );
                }
            })
        };
        for key in [4, 2, 6, 5] {
            insert(&memtable, key, 1);
            published.fetch_add(1, Ordering::Release);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_divided_leaf_loses_nothing() {
    beside(
        &[2, 4],
        |memtable| insert(memtable, 3, 1),
        |memtable| {
            assert_eq!((get(memtable, 4), get(memtable, 2)), (Some(1), Some(1)));
        },
    );
}

#[test]
fn a_divided_leaf_under_a_root_loses_nothing() {
    beside(
        &[2, 4, 6, 8],
        |memtable| insert(memtable, 3, 1),
        |memtable| {
            for key in [4, 2, 8] {
                assert_eq!(get(memtable, key), Some(1), "key {key} is missing while a leaf is divided");
            }
        },
    );
}

#[test]
fn a_divided_inner_node_loses_nothing() {
    // Each insert here divides a leaf below a root that is full, or soon will be.
    beside(
        &[10, 20, 30, 40, 50, 60],
        |memtable| {
            insert(memtable, 15, 1);
            insert(memtable, 35, 1);
        },
        |memtable| {
            for key in [60, 20, 40] {
                assert_eq!(get(memtable, key), Some(1), "key {key} is missing while the root is divided");
            }
        },
    );
}

#[test]
fn a_walk_forward_beside_a_division_meets_each_entry_once() {
    beside(
        &[2, 4, 6],
        |memtable| insert(memtable, 3, 1),
        |memtable| {
            let keys = forward(memtable);
            assert!(keys == [2, 4, 6] || keys == [2, 3, 4, 6], "{keys:?}");
        },
    );
}

#[test]
fn a_walk_backward_beside_a_division_meets_each_entry_once() {
    beside(
        &[2, 4, 6],
        |memtable| insert(memtable, 3, 1),
        |memtable| {
            let keys = backward(memtable);
            assert!(keys == [2, 4, 6] || keys == [2, 3, 4, 6], "{keys:?}");
        },
    );
}

#[test]
fn a_walk_beside_appends_meets_each_entry_once() {
    beside(
        &[2, 4],
        |memtable| {
            insert(memtable, 6, 1);
            insert(memtable, 8, 1);
        },
        |memtable| {
            let keys = [backward(memtable), forward(memtable)];
            for keys in &keys {
                assert!([2, 4, 6, 8].starts_with(keys) && keys.len() >= 2, "{keys:?}");
            }
            assert!(keys[0].len() <= keys[1].len(), "an entry was seen, and then not: {keys:?}");
        },
    );
}

#[test]
fn a_full_last_leaf_made_anew_loses_nothing() {
    // 15 comes after the last leaf, which lies between two keys of one ten and was
    // made before that was known.
    beside(
        &[10, 11, 12, 13],
        |memtable| insert(memtable, 15, 1),
        |memtable| {
            assert_eq!((get(memtable, 13), get(memtable, 12)), (Some(1), Some(1)));
            let keys = [backward(memtable), forward(memtable)];
            for keys in &keys {
                assert!([10, 11, 12, 13, 15].starts_with(keys) && keys.len() >= 4, "{keys:?}");
            }
            assert!(keys[0].len() <= keys[1].len(), "an entry was seen, and then not: {keys:?}");
        },
    );
}

#[test]
fn what_one_way_shows_every_other_way_shows() {
    beside(
        &[2, 4, 6, 8],
        |memtable| insert(memtable, 3, 1),
        |memtable| {
            // From a neighbour over the chain of leaves, then from the root.
            let mut cursor = memtable.cursor();
            let Ok(()) = cursor.seek(InternalKey::before_all(&bytes(6)));
            let Ok(()) = cursor.prev();
            let Ok(()) = cursor.prev();
            let seen = at(&cursor);
            assert!(seen == Some(2) || seen == Some(3), "{seen:?}");
            if seen == Some(3) {
                assert_eq!(get(memtable, 3), Some(1), "an entry was seen, and then not");
            }
        },
    );
}

#[test]
fn a_seek_finds_the_nearest_even_when_a_farther_one_comes_later() {
    // 3 comes before 5, so nobody may be told that 5 is the first one after 2.
    beside(
        &[2, 6, 7],
        |memtable| {
            insert(memtable, 3, 1);
            insert(memtable, 5, 1);
        },
        |memtable| {
            let mut cursor = memtable.cursor();
            let Ok(()) = cursor.seek(InternalKey::after_all(&bytes(2)));
            let first = at(&cursor);
            assert!(first == Some(3) || first == Some(6), "{first:?} follows 2, past 3");
        },
    );
}

#[test]
fn a_seek_back_beside_a_division_finds_the_nearest() {
    beside(
        &[11, 14, 20, 30],
        |memtable| insert(memtable, 13, 1),
        |memtable| {
            let mut cursor = memtable.cursor();
            let Ok(()) = cursor.seek_for_prev(InternalKey::after_all(&bytes(15)));
            assert_eq!(at(&cursor), Some(14), "what precedes 15");
        },
    );
}

#[test]
fn a_step_back_finds_the_nearest_even_when_a_farther_one_comes_later() {
    beside(
        &[2, 6, 7],
        |memtable| {
            insert(memtable, 5, 1);
            insert(memtable, 3, 1);
        },
        |memtable| {
            let mut cursor = memtable.cursor();
            let Ok(()) = cursor.seek(InternalKey::before_all(&bytes(6)));
            let Ok(()) = cursor.prev();
            let last = at(&cursor);
            assert!(last == Some(5) || last == Some(2), "{last:?} precedes 6, past 5");
        },
    );
}

#[test]
fn a_cursor_in_a_replaced_leaf_meets_what_is_inserted_ahead() {
    beside(
        &[2, 6],
        |memtable| {
            insert(memtable, 4, 1);
            insert(memtable, 5, 2);
        },
        |memtable| {
            let mut cursor = memtable.cursor();
            let Ok(()) = cursor.seek_to_first();
            let found = get(memtable, 5);
            let mut met = false;
            while cursor.valid() {
                met |= at(&cursor) == Some(5);
                let Ok(()) = cursor.next();
            }
            assert!(met || found.is_none(), "a cursor before 5 passed it, though it was there");
        },
    );
}

#[test]
fn two_writers_lose_nothing_and_the_highest_number_is_kept() {
    beside(
        &[2],
        |memtable| insert(memtable, 4, 9),
        |memtable| {
            insert(memtable, 3, 7);
            assert_eq!(get(memtable, 3), Some(7));
            assert!(memtable.highest_seqno() >= Some(7));
        },
    );
    model(|| {
        let memtable = holding(&[]);
        let writer = {
            let memtable = Arc::clone(&memtable);
            thread::spawn(move || insert(&memtable, 4, 9))
        };
        insert(&memtable, 3, 7);
        writer.join().unwrap();
        assert_eq!((memtable.highest_seqno(), memtable.lowest_seqno()), (Some(9), Some(7)));
        assert_eq!((memtable.len(), forward(&memtable)), (2, vec![3, 4]));
    });
}

#[test]
fn the_highest_number_covers_every_entry_that_is_seen() {
    beside(
        &[],
        |memtable| insert(memtable, 5, 8),
        |memtable| {
            if let Some(seqno) = get(memtable, 5) {
                assert!(memtable.highest_seqno() >= Some(seqno) && memtable.lowest_seqno() <= Some(seqno));
            }
        },
    );
}

#[test]
fn a_published_range_tombstone_is_found() {
    model(|| {
        let memtable = holding(&[5]);
        let published = Arc::new(AtomicU64::new(0));
        let reader = {
            let (memtable, published) = (Arc::clone(&memtable), Arc::clone(&published));
            thread::spawn(move || {
                let seqno = published.load(Ordering::Acquire);
                let over = memtable.range_tombstone_over(&bytes(5), SeqNo::MAX);
                assert!(over.unwrap_or(0) >= seqno, "{over:?}, though {seqno} is published");
            })
        };
        for seqno in [6, 7] {
            let span = KeySpan { start: Slice::from(bytes(4)), end: Some(Slice::from(bytes(6))) };
            let too_early = lsm_sync::mutant("memtable.tombstone_published_first");
            if too_early {
                published.store(seqno, Ordering::Release);
            }
            memtable.insert_range_tombstone(RangeTombstone { span, seqno });
            if !too_early {
                published.store(seqno, Ordering::Release);
            }
        }
        reader.join().unwrap();
        assert_eq!((memtable.highest_seqno(), memtable.len()), (Some(7), 3));
    });
}

/// Who meets an entry, in whatever way, finds its key in the filter as well.
#[test]
fn the_filter_holds_each_key_that_anybody_has_met() {
    beside(
        &[1],
        |memtable| {
            insert(memtable, 2, 2);
            insert(memtable, 3, 3);
        },
        |memtable| {
            for key in forward(memtable) {
                assert!(memtable.may_hold(key_hash(&bytes(key))), "{key} was met and is not held");
            }
        },
    );
}
