//! Group sync: whoever is told that a position is durable can rely on it, whoever the
//! leader was; a failure reaches everyone; a roll loses no segment.

use lsm_log::{Error, GroupSync, LogPosition};
use lsm_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use lsm_sync::{Arc, thread};
use lsm_vfs::{File, IoError};
use std::path::Path;

/// A file that is only a length: how much is written and how much durable. Nothing here
/// orders anything, so that only the protocol does.
#[derive(Debug)]
struct Disk {
    written: AtomicU64,
    durable: AtomicU64,
    fails_once: AtomicBool,
    failed: AtomicBool,
}

impl Disk {
    fn new(fails_once: bool) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            fails_once: AtomicBool::new(fails_once),
            failed: AtomicBool::new(false),
        })
    }

    fn durable(&self) -> u64 {
        self.durable.load(Ordering::Relaxed)
    }
}

impl File for Disk {
    fn sync_data(&self) -> Result<(), IoError> {
        let covered = self.written.load(Ordering::Relaxed);
        if self.fails_once.swap(false, Ordering::Relaxed) {
            self.failed.store(true, Ordering::Relaxed);
            return Err(IoError::new("sync", self.path(), std::io::ErrorKind::Other.into()));
        }
        // What a failed sync has lost, a later one does not bring back.
        if !self.failed.load(Ordering::Relaxed) {
            self.durable.fetch_max(covered, Ordering::Relaxed);
        }
        Ok(())
    }

    fn path(&self) -> &Path {
        Path::new("log")
    }

    fn read_exact_at(&self, _: &mut [u8], _: u64) -> Result<(), IoError> {
        unreachable!("nobody reads")
    }

    fn write_all_at(&self, _: &[u8], end: u64) -> Result<(), IoError> {
        self.written.store(end, Ordering::Relaxed);
        Ok(())
    }

    fn preallocate(&self, _: u64) -> Result<(), IoError> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> Result<(), IoError> {
        Ok(())
    }

    fn len(&self) -> Result<u64, IoError> {
        Ok(0)
    }
}

#[test]
fn what_is_reported_durable_is() {
    lsm_sync::model(|| {
        let disk = Disk::new(false);
        let sync = Arc::new(GroupSync::new(disk.clone(), LogPosition::ZERO));
        disk.write_all_at(b"", 1).unwrap();
        sync.wrote(LogPosition(1));
        let follower = {
            let (sync, disk) = (Arc::clone(&sync), disk.clone());
            thread::spawn(move || {
                sync.sync_through(LogPosition(1)).unwrap();
                assert!(disk.durable() >= 1, "a commit was acknowledged and is not on disk");
            })
        };
        disk.write_all_at(b"", 2).unwrap();
        sync.wrote(LogPosition(2));
        sync.sync_through(LogPosition(2)).unwrap();
        assert!(disk.durable() >= 2, "a commit was acknowledged and is not on disk");
        follower.join().unwrap();
        assert_eq!(sync.synced_through(), LogPosition(2));
    });
}

#[test]
fn a_mark_never_promises_too_much() {
    lsm_sync::model(|| {
        let disk = Disk::new(false);
        let sync = Arc::new(GroupSync::new(disk.clone(), LogPosition::ZERO));
        let leader = {
            let sync = Arc::clone(&sync);
            thread::spawn(move || sync.sync_through(LogPosition(2)))
        };
        for end in 1..=2 {
            disk.write_all_at(b"", end).unwrap();
            sync.wrote(LogPosition(end));
            let mark = sync.synced_through();
            assert!(disk.durable() >= mark.0, "a mark of {mark} went into a record too early");
        }
        leader.join().unwrap().unwrap();
    });
}

#[test]
fn a_failed_sync_reaches_everyone_and_is_never_retried() {
    lsm_sync::model(|| {
        let disk = Disk::new(true);
        let sync = Arc::new(GroupSync::new(disk.clone(), LogPosition::ZERO));
        disk.write_all_at(b"", 1).unwrap();
        sync.wrote(LogPosition(1));
        let other = {
            let sync = Arc::clone(&sync);
            thread::spawn(move || sync.sync_through(LogPosition(1)))
        };
        let outcomes = [sync.sync_through(LogPosition(1)), other.join().unwrap()];
        for outcome in outcomes {
            assert!(matches!(outcome, Err(Error::Failed(_))), "a commit was acknowledged and is lost");
        }
        assert!(matches!(sync.check(), Err(Error::Failed(_))), "the log still takes writes");
        assert_eq!(disk.durable(), 0);
    });
}

#[test]
fn a_failed_write_wakes_those_who_wait() {
    lsm_sync::model(|| {
        let disk = Disk::new(false);
        let sync = Arc::new(GroupSync::new(disk.clone(), LogPosition::ZERO));
        disk.write_all_at(b"", 1).unwrap();
        sync.wrote(LogPosition(1));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let (sync, disk) = (Arc::clone(&sync), disk.clone());
                thread::spawn(move || match sync.sync_through(LogPosition(1)) {
                    Ok(()) => assert_eq!(disk.durable(), 1),
                    Err(error) => assert!(matches!(error, Error::Failed(_))),
                })
            })
            .collect();
        sync.fail(std::sync::Arc::new(IoError::new("write", disk.path(), std::io::ErrorKind::Other.into())));
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(sync.check().is_err());
    });
}

#[test]
fn a_sync_covers_every_segment_before() {
    lsm_sync::model(|| {
        let (old, new) = (Disk::new(false), Disk::new(false));
        let sync = Arc::new(GroupSync::new(old.clone(), LogPosition::ZERO));
        let syncer = {
            let (sync, old, new) = (Arc::clone(&sync), old.clone(), new.clone());
            thread::spawn(move || {
                sync.sync_through(LogPosition(2)).unwrap();
                let through = sync.synced_through().0;
                assert!(old.durable() >= through.min(1) && new.durable() >= through.saturating_sub(1));
                sync.sync_begun().unwrap();
            })
        };
        old.write_all_at(b"", 1).unwrap();
        sync.wrote(LogPosition(1));
        sync.add_segment(new.clone(), LogPosition(1));
        new.write_all_at(b"", 1).unwrap();
        sync.wrote(LogPosition(2));
        sync.sync_through(LogPosition(2)).unwrap();
        assert_eq!((old.durable(), new.durable()), (1, 1), "a segment was left out of the sync");
        assert_eq!(sync.begun_durably(), LogPosition(1));
        syncer.join().unwrap();
    });
}
