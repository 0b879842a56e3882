//! Read-only and closing: who sees that the store is read-only finds the cause, and
//! whoever closes waits for the calls that write files.

use crate::calls::Calls;
use crate::latch::Latch;
use lsm_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use lsm_sync::{Arc, Condvar, Mutex, thread};

#[test]
fn who_sees_the_flag_finds_the_cause() {
    lsm_sync::model(|| {
        let latch = Arc::new(Latch::new());
        let writer = {
            let latch = Arc::clone(&latch);
            thread::spawn(move || {
                if latch.is_set() {
                    assert!(latch.cause().is_some(), "read-only, and nobody says why");
                }
            })
        };
        latch.set("the disk is gone");
        writer.join().unwrap();
        assert_eq!(latch.cause().as_deref(), Some(&"the disk is gone"));
    });
}

/// What a call and the one who closes share. Relaxed throughout, as in the store: the lock
/// of the calls orders them.
#[derive(Default)]
struct Store {
    calls: Calls,
    is_closed: AtomicBool,
    /// Calls that write files now; 100 once the directory may be another process's.
    files: AtomicU64,
}

impl Store {
    fn call(&self, entered: impl FnOnce()) {
        let check = || if self.is_closed.load(Ordering::Relaxed) { Err(()) } else { Ok(()) };
        if let Ok(_call) = self.calls.begin(check) {
            self.files.fetch_add(1, Ordering::Relaxed);
            entered();
            self.files.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.calls.wait();
        let left = self.files.swap(100, Ordering::Relaxed);
        assert_eq!(left, 0, "the directory was unlocked under a call");
    }
}

#[test]
fn no_call_begins_behind_the_back_of_closing() {
    lsm_sync::model(|| {
        let store = Arc::new(Store::default());
        let caller = {
            let store = Arc::clone(&store);
            thread::spawn(move || store.call(|| ()))
        };
        store.close();
        caller.join().unwrap();
        assert_eq!(store.files.load(Ordering::Relaxed), 100, "a call wrote files after closing");
    });
}

#[test]
fn closing_waits_for_every_call() {
    lsm_sync::model(|| {
        let store = Arc::new(Store::default());
        let entered = Arc::new((Mutex::new(0), Condvar::new()));
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let (store, entered) = (Arc::clone(&store), Arc::clone(&entered));
                thread::spawn(move || {
                    store.call(|| {
                        *entered.0.lock() += 1;
                        entered.1.notify_all();
                    });
                })
            })
            .collect();
        let mut count = entered.0.lock();
        while *count < 2 {
            entered.1.wait(&mut count);
        }
        drop(count);
        store.close();
        for caller in callers {
            caller.join().unwrap();
        }
    });
}
