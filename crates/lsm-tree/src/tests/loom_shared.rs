//! The active memtable of a `Tree`: writers who bring their own numbers, beside a rotation
//! and whoever asks how far the tree is.

use crate::write::shared::SharedActive;
use lsm_sync::atomic::{AtomicU64, Ordering};
use lsm_sync::{Arc, Mutex, thread};
use lsm_types::SeqNo;

/// Slot i is 1 once entry i is inserted.
type Memtable = Arc<[AtomicU64; 3]>;

fn new_memtable() -> Memtable {
    Arc::new(std::array::from_fn(|_| AtomicU64::new(0)))
}

/// Relaxed on purpose: it is the protocol's own steps that must carry the inserts.
fn insert(memtable: &Memtable, seqno: SeqNo) {
    memtable[seqno as usize].store(1, Ordering::Relaxed);
}

fn numbers(memtable: &Memtable) -> Vec<SeqNo> {
    (0..3).filter(|&seqno| memtable[seqno as usize].load(Ordering::Relaxed) == 1).collect()
}

#[test]
fn no_insert_lands_in_a_sealed_memtable() {
    lsm_sync::model(|| {
        let active = Arc::new(SharedActive::new(new_memtable(), 0));
        // What a flush would write: read when it is sealed, and never again.
        let flushed = Arc::new(Mutex::new(Vec::new()));
        let writer = {
            let active = Arc::clone(&active);
            thread::spawn(move || active.insert(1, |memtable| insert(memtable, 1)).is_ok())
        };
        assert_eq!(active.insert(2, |memtable| insert(memtable, 2)), Ok(()));
        active.seal(
            |memtable| {
                let highest = numbers(memtable).last().copied();
                flushed.lock().extend(numbers(memtable));
                highest
            },
            new_memtable,
            |_, highest| assert_eq!(highest, 2),
        );
        let was_taken = writer.join().unwrap();
        let expected = if was_taken { vec![1, 2] } else { vec![2] };
        assert_eq!(*flushed.lock(), expected, "an entry landed in a sealed memtable, or a refused one did");
        assert_eq!(active.highest_seqno(), Some(2));
    });
}

#[test]
fn the_highest_number_is_that_of_the_last_of_two_writers() {
    lsm_sync::model(|| {
        let active = Arc::new(SharedActive::new(new_memtable(), 0));
        let other = {
            let active = Arc::clone(&active);
            thread::spawn(move || active.insert(2, |memtable| insert(memtable, 2)))
        };
        active.insert(1, |memtable| insert(memtable, 1)).unwrap();
        other.join().unwrap().unwrap();
        assert_eq!(active.highest_seqno(), Some(2), "the greater of two numbers was lost");
    });
}

#[test]
fn who_sees_the_highest_number_sees_its_entry() {
    lsm_sync::model(|| {
        let memtable = new_memtable();
        let active = Arc::new(SharedActive::new(Arc::clone(&memtable), 0));
        let reader = {
            // No lock on this path.
            let active = Arc::clone(&active);
            thread::spawn(move || {
                if let Some(highest) = active.highest_seqno() {
                    assert!(numbers(&memtable).contains(&highest), "{highest} is the highest, and not there");
                }
            })
        };
        active.insert(1, |memtable| insert(memtable, 1)).unwrap();
        active.insert(2, |memtable| insert(memtable, 2)).unwrap();
        reader.join().unwrap();
    });
}
