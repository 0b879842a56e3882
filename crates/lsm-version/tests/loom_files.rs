//! The life of files: versions come and go while readers and checkpoints hold some, and a
//! file is removed when the last holder is gone: not earlier, and not never.
//!
//! The directory is a row of flags. A version is a list of files.

use lsm_sync::atomic::{AtomicBool, Ordering};
use lsm_sync::{Arc, Condvar, Mutex, thread};
use lsm_types::SeqNo;
use lsm_version::{FileLife, Graveyard, Readable, VersionHistory};
use std::path::{Path, PathBuf};

struct Files(Vec<Arc<FileLife>>);

impl Readable for Files {
    fn is_exact_for(&self, _: SeqNo) -> bool {
        true
    }
    fn seqno(&self) -> SeqNo {
        0
    }
}

/// Which of the files 0 and 1 are there. Relaxed: the protocol alone must order.
#[derive(Default)]
struct Directory([AtomicBool; 2]);

impl Directory {
    fn file(&self, path: &Path) -> &AtomicBool {
        &self.0[usize::from(path == Path::new("1"))]
    }

    fn has(&self, path: &Path) -> bool {
        self.file(path).load(Ordering::Relaxed)
    }
}

/// Whether somebody asked for a sweep.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

struct Store {
    history: VersionHistory<Files>,
    directory: Directory,
    graveyard: std::sync::Arc<Graveyard>,
    bell: std::sync::Arc<Bell>,
}

impl Store {
    /// A store whose version is of file 0.
    fn new() -> Arc<Self> {
        let graveyard = std::sync::Arc::new(Graveyard::new());
        let bell = std::sync::Arc::new(Bell::default());
        graveyard.on_burial(Box::new({
            let bell = std::sync::Arc::clone(&bell);
            move || {
                *bell.rung.lock() = true;
                bell.changed.notify_all();
            }
        }));
        let directory = Directory::default();
        directory.file(Path::new("0")).store(true, Ordering::Relaxed);
        let first = Arc::new(FileLife::new(PathBuf::from("0"), std::sync::Arc::clone(&graveyard)));
        let history = VersionHistory::new(Files(vec![first]));
        Arc::new(Self { history, directory, graveyard, bell })
    }

    /// Puts file 1 in the place of file 0, as `view::install` does after a compaction.
    fn compact(&self) {
        let before = self.history.latest();
        self.directory.file(Path::new("1")).store(true, Ordering::Relaxed);
        let output = Arc::new(FileLife::new(PathBuf::from("1"), std::sync::Arc::clone(&self.graveyard)));
        self.history.upgrade(Vec::new, |_| Files(vec![output]));
        for file in &before.0 {
            file.mark_obsolete();
        }
    }

    fn sweep(&self) {
        for path in self.graveyard.take() {
            let was_there = self.directory.file(&path).swap(false, Ordering::Relaxed);
            assert!(was_there, "{} was removed twice", path.display());
        }
    }

    /// The background: sweeps once, when it is asked to.
    fn sweep_when_asked(&self) {
        let mut rung = self.bell.rung.lock();
        while !*rung {
            self.bell.changed.wait(&mut rung);
        }
        *rung = false;
        drop(rung);
        self.sweep();
    }

    /// A reader: whatever the version that it holds names is there.
    fn read(&self, view: Arc<Files>) {
        for _ in 0..2 {
            for file in &view.0 {
                assert!(self.directory.has(file.path()), "a file was removed under its reader");
            }
        }
    }

    /// A checkpoint: gives each file of one version a second name, and holds the version
    /// while it does.
    fn checkpoint(&self, moment: Arc<Files>) {
        let paths: Vec<_> = moment.0.iter().map(|file| file.path().to_path_buf()).collect();
        let _moment = (!lsm_sync::mutant("version.checkpoint_lets_go_before_it_links")).then_some(moment);
        for path in paths {
            assert!(self.directory.has(&path), "a checkpoint found a file gone");
        }
    }

    fn check_end(&self) {
        assert!(!self.directory.has(Path::new("0")), "a file that nobody needs stays");
        assert!(self.directory.has(Path::new("1")), "a file of the newest version is gone");
    }
}

fn beside(store: &Arc<Store>, body: fn(&Store)) -> thread::JoinHandle<()> {
    let store = Arc::clone(store);
    thread::spawn(move || body(&store))
}

#[test]
fn a_file_stays_while_a_reader_holds_it_and_goes_with_the_last() {
    lsm_sync::model(|| {
        let store = Store::new();
        let view = store.history.latest();
        let (compaction, sweeper) = (beside(&store, Store::compact), beside(&store, Store::sweep_when_asked));
        store.read(view);
        compaction.join().unwrap();
        // Ends only if the burial, whoever it was by, asked for the sweep.
        sweeper.join().unwrap();
        store.check_end();
    });
}

#[test]
fn a_reader_that_comes_while_a_version_is_replaced_finds_its_files() {
    lsm_sync::model(|| {
        let store = Store::new();
        let reader = beside(&store, |store| store.read(store.history.latest()));
        let sweeper = beside(&store, Store::sweep_when_asked);
        store.compact();
        reader.join().unwrap();
        sweeper.join().unwrap();
        store.check_end();
    });
}

#[test]
fn a_checkpoint_links_what_a_compaction_replaces() {
    lsm_sync::model(|| {
        let store = Store::new();
        let moment = store.history.latest();
        let (compaction, sweeper) = (beside(&store, Store::compact), beside(&store, Store::sweep_when_asked));
        store.checkpoint(moment);
        compaction.join().unwrap();
        sweeper.join().unwrap();
        store.check_end();
    });
}

#[test]
fn two_sweeps_remove_a_file_once() {
    lsm_sync::model(|| {
        let store = Store::new();
        let sweeper = beside(&store, Store::sweep);
        store.compact();
        store.sweep();
        sweeper.join().unwrap();
        store.sweep();
        store.check_end();
    });
}
