//! Edges of calls that overlap: writers beside manual compactions, snapshots beside sweeps, closing twice, greatest numbers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
use lsm_sim::{Call, HookFs};
use lsm_tree::*;
use lsm_vfs::{Fault, FaultFs, Fs, MemFs};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

fn within<T: Send + 'static>(s: u64, f: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = tx.send(f());
    });
    rx.recv_timeout(Duration::from_secs(s)).ok()
}
fn options(fs: Arc<dyn Fs>) -> Options {
    let mut o = Options::default();
    o.advanced().fs(fs);
    o
}

#[test]
fn writers_go_on_after_compact_range() {
    let state = Arc::new(AtomicUsize::new(0));
    let s = state.clone();
    let fs = HookFs::new(Arc::new(MemFs::new()), move |call, path| {
        if std::thread::current().name() == Some("first")
            && call == Call::Name
            && path.to_string_lossy().ends_with(".sst")
        {
            s.fetch_max(1, Ordering::SeqCst);
            while s.load(Ordering::SeqCst) != 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
            return Err(std::io::Error::other("no"));
        }
        Ok(())
    });
    let db = options(Arc::new(fs)).open("db").unwrap();
    let k =
        KeyspaceOptions::default().table_size(1024).compression(Compression::None).level_base_size(1 << 30);
    let ks = db.keyspace("k", k).unwrap();
    let run = |prefix: &str| {
        for i in 0..30 {
            ks.insert(format!("{prefix}{i:03}"), [7u8; 1024]).unwrap();
        }
        ks.flush().unwrap();
    };
    run("a");
    run("a");
    db.wait_idle().unwrap();
    let k1 = ks.clone();
    let first =
        std::thread::Builder::new().name("first".into()).spawn(move || k1.compact_range("a".."b")).unwrap();
    while state.load(Ordering::SeqCst) != 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    while db.stats().keyspaces[0].levels[0].runs < 32 {
        run("m");
    }
    let k2 = ks.clone();
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = tx.send(k2.insert("z", "z"));
    });
    std::thread::sleep(Duration::from_millis(500));
    state.store(2, Ordering::SeqCst);
    first.join().unwrap().unwrap_err();
    let r = rx.recv_timeout(Duration::from_secs(10));
    println!("{r:?}\n{}", db.stats());
    assert!(r.is_ok(), "the writer waits although nothing runs");
}

#[test]
fn compact_range_ends_under_writes() {
    let fs = HookFs::new(Arc::new(MemFs::new()), move |call, path| {
        if std::thread::current().name() == Some("first")
            && call == Call::Name
            && path.to_string_lossy().ends_with(".sst")
        {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    });
    let db = options(Arc::new(fs)).open("db").unwrap();
    let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    ks.insert("a", "1").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (k, s) = (ks.clone(), stop.clone());
    std::thread::spawn(move || {
        while !s.load(Ordering::SeqCst) {
            k.insert("a", "2").unwrap();
            k.flush().unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let (tx, rx) = mpsc::channel();
    std::thread::Builder::new().name("first".into()).spawn(move || tx.send(ks.compact_range(..))).unwrap();
    let r = rx.recv_timeout(Duration::from_secs(10));
    println!("{r:?}\n{}", db.stats());
    stop.store(true, Ordering::SeqCst);
    assert!(r.is_ok(), "compact_range merges what is written since, again and again");
}

#[test]
fn a_snapshot_survives_a_sweep() {
    let db = options(Arc::new(MemFs::new())).open("db").unwrap();
    let idle: Vec<_> =
        (0..3000).map(|i| db.keyspace(&format!("idle{i}"), KeyspaceOptions::default()).unwrap()).collect();
    let ks = db
        .keyspace(
            "zzz",
            KeyspaceOptions::default().compaction(Compaction::Fifo { max_bytes: 1, max_age_ms: u64::MAX }),
        )
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (d, s) = (db.clone(), stop.clone());
    let t = std::thread::spawn(move || {
        while !s.load(Ordering::SeqCst) {
            drop(d.snapshot());
        }
    });
    let start = Instant::now();
    let mut bad = None;
    for round in 0u64.. {
        if start.elapsed() > Duration::from_secs(20) {
            break;
        }
        ks.insert("k", round.to_be_bytes()).unwrap();
        let snap = db.snapshot();
        ks.flush().unwrap();
        let until = Instant::now() + Duration::from_millis(5);
        while Instant::now() < until {
            match snap.get(&ks, "k") {
                Ok(Some(v)) if *v == round.to_be_bytes() => {}
                other => {
                    bad = Some((round, format!("{other:?}")));
                    break;
                }
            }
        }
        if bad.is_some() {
            break;
        }
    }
    stop.store(true, Ordering::SeqCst);
    t.join().unwrap();
    drop(idle);
    assert!(bad.is_none(), "{bad:?} after {:?}", start.elapsed());
}

#[derive(Debug)]
struct Recording {
    longest_ns: AtomicU64,
}
impl Clock for Recording {
    fn unix_ms(&self) -> u64 {
        1
    }
    fn monotonic_ns(&self) -> u64 {
        1
    }
    fn sleep(&self, d: Duration) {
        self.longest_ns.fetch_max(d.as_nanos() as u64, Ordering::SeqCst);
    }
}

#[test]
fn a_writer_is_not_put_to_sleep_for_minutes() {
    let hold = Arc::new(AtomicBool::new(true));
    let h = hold.clone();
    let fs = HookFs::new(Arc::new(MemFs::new()), move |call, path| {
        while call == Call::Read && path.to_string_lossy().ends_with(".sst") && h.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    });
    let clock = Arc::new(Recording { longest_ns: AtomicU64::new(0) });
    let mut o = options(Arc::new(fs));
    o.advanced().clock(clock.clone());
    let db = o.open("db").unwrap();
    let ks = db
        .keyspace("k", KeyspaceOptions::default().level_base_size(4096).compression(Compression::None))
        .unwrap();
    for i in 0..5u32 {
        ks.insert(i.to_be_bytes(), vec![7u8; 100_000]).unwrap();
        ks.insert("zz", "").unwrap();
        ks.flush().unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    ks.insert("big", vec![7u8; 256 << 20]).unwrap();
    hold.store(false, Ordering::SeqCst);
    println!("slept {} s", clock.longest_ns.load(Ordering::SeqCst) / 1_000_000_000);
    assert!(clock.longest_ns.load(Ordering::SeqCst) < 10_000_000_000);
}

#[test]
fn dropping_a_keyspace_releases_the_log() {
    let mut o = options(Arc::new(MemFs::new()));
    o.advanced().log_segment_size(32 << 10);
    let db = o.open("db").unwrap();
    let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    for i in 0..5_000u32 {
        ks.insert(i.to_be_bytes(), [7u8; 400]).unwrap();
    }
    db.drop_keyspace("k").unwrap();
    db.wait_idle().unwrap();
    println!("log {:?}", db.stats().log);
    assert!(db.stats().log.segments <= 2);
}

#[test]
fn greatest_seqno_backward() {
    let mut o = TreeOptions::default();
    o.advanced().fs(Arc::new(MemFs::new()));
    let tree = o.open("t").unwrap();
    for s in 0..20 {
        tree.insert("k", format!("{s}"), s).unwrap();
    }
    tree.insert("k", "last", (1 << 56) - 1).unwrap();
    tree.insert("j", "1", (1 << 56) - 1).unwrap();
    let back: Vec<_> = tree.iter(SeqNo::MAX).rev().map(|i| i.unwrap()).collect();
    println!("{back:?}");
    assert_eq!(back.len(), 2);
}

#[test]
fn disk_full_at_the_manifest_goes_away() {
    let fault = FaultFs::new(MemFs::new());
    let db = options(Arc::new(fault.clone())).open("db").unwrap();
    let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    ks.insert("a", "1").unwrap();
    fault.fail_on("MANIFEST", 0, Fault::DiskFull, false);
    println!("{:?}", ks.flush());
    println!("{:?}", ks.insert("b", "2"));
    ks.insert("b", "2").unwrap();
}

#[test]
fn second_close_waits() {
    let hold = Arc::new(AtomicBool::new(false));
    let h = hold.clone();
    let mem = MemFs::new();
    let fs = HookFs::new(Arc::new(mem), move |call, _| {
        while call == Call::Sync && h.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    });
    let fs: Arc<dyn Fs> = Arc::new(fs);
    let db = options(fs.clone()).open("db").unwrap();
    db.keyspace("k", KeyspaceOptions::default()).unwrap().insert("a", "1").unwrap();
    hold.store(true, Ordering::SeqCst);
    let d = db.clone();
    let t = std::thread::spawn(move || d.close());
    std::thread::sleep(Duration::from_millis(200));
    let second = within(1, move || db.close());
    let again = options(fs).open("db").map(|_| ());
    hold.store(false, Ordering::SeqCst);
    t.join().unwrap().unwrap();
    println!("second close {second:?}, open: {again:?}");
    assert!(second.is_none());
}

#[test]
fn two_gets_of_an_old_iterator_after_close_leak_nothing() {
    let mem = MemFs::new();
    let db = options(Arc::new(mem.clone())).open("db").unwrap();
    let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    for i in 0..2u32 {
        for j in 0..10u32 {
            ks.insert(j.to_be_bytes(), i.to_be_bytes()).unwrap();
        }
        ks.flush().unwrap();
    }
    db.wait_idle().unwrap();
    let mut it = ks.iter();
    it.next();
    ks.compact_range(..).unwrap();
    drop(ks);
    drop(db);
    drop(it);
    let n = mem.read_dir("db".as_ref()).unwrap().iter().filter(|e| e.name.ends_with(".sst")).count();
    assert_eq!(n, 1);
}

#[test]
fn batch_of_tombstones_and_overflowing_names() {
    // A keyspace dropped while a snapshot reads it, then the sweep.
    let db = options(Arc::new(MemFs::new())).open("db").unwrap();
    let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    ks.insert("a", "1").unwrap();
    let snap = db.snapshot();
    db.drop_keyspace("k").unwrap();
    drop(db.snapshot());
    db.wait_idle().unwrap();
    assert_eq!(snap.get(&ks, "a").unwrap().unwrap(), "1");
    let mut it = snap.iter(&ks);
    assert!(it.next().is_some());
    assert!(ks.get("a").is_err());
    let again = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    assert_eq!(again.get("a").unwrap(), None);
    assert_eq!(snap.get(&again, "a").unwrap(), None);
}

#[test]
fn tree_equal_numbers() {
    for compact in [false, true] {
        let mut o = TreeOptions::default();
        o.advanced().fs(Arc::new(MemFs::new()));
        let tree = o.open("t").unwrap();
        tree.insert("k", "old", 5).unwrap();
        tree.rotate();
        tree.insert("k", "new", 5).unwrap();
        tree.insert("j", "x", 5).unwrap();
        tree.rotate();
        tree.remove("k", 5).unwrap();
        tree.remove_range("a".."k", 5).unwrap();
        tree.flush(0).unwrap();
        tree.insert("k", "newest", 5).unwrap();
        if compact {
            tree.flush(0).unwrap();
            tree.major_compact(0).unwrap();
        }
        let f: Vec<_> = tree.iter(6).map(|i| i.unwrap()).collect();
        let mut b: Vec<_> = tree.iter(6).rev().map(|i| i.unwrap()).collect();
        b.reverse();
        println!("{f:?}");
        assert_eq!(f, b);
        assert_eq!(tree.get("k", 6).unwrap().unwrap(), "newest");
        assert_eq!(tree.len(6).unwrap(), 2);
        assert_eq!(tree.len(5).unwrap(), 0);
    }
}
