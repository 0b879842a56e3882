//! Waits that must end: full disks, panicking jobs, failing compactions, copying checkpoints; and greatest keys and names.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
use lsm_sim::{Call, HookFs};
use lsm_tree::*;
use lsm_vfs::{Fault, FaultFs, Fs, MemFs};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

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
fn a_sync_write_on_a_full_disk_and_a_kill() {
    let mem = MemFs::new();
    let fault = FaultFs::new(mem.clone());
    let db = options(Arc::new(fault.clone())).durability(Durability::Sync).open("db").unwrap();
    let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    ks.insert("a", "1").unwrap();
    fault.fail_on(".log", 0, Fault::DiskFull, false);
    let r = ks.insert("b", "2");
    println!("{r:?}");
    assert!(r.is_err());
    let after = mem.process_kill();
    let db = options(Arc::new(after)).open("db").unwrap();
    assert_eq!(db.keyspace("k", KeyspaceOptions::default()).unwrap().get("a").unwrap().unwrap(), "1");
}

#[test]
fn panicking_job() {
    let armed = Arc::new(AtomicBool::new(false));
    let a = armed.clone();
    let fs = HookFs::new(Arc::new(MemFs::new()), move |call, path| {
        if call == Call::Name && path.to_string_lossy().ends_with(".sst") && a.swap(false, Ordering::SeqCst) {
            panic!("a bug in a job")
        }
        Ok(())
    });
    let db = options(Arc::new(fs)).open("db").unwrap();
    let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    ks.insert("a", "1").unwrap();
    armed.store(true, Ordering::SeqCst);
    let r = within(10, move || (ks.flush(), db.wait_idle()));
    println!("{r:?}");
    assert!(r.is_some(), "flush or wait_idle never returned");
}

#[test]
fn second_compact_range_waits_forever() {
    // the first caller's merge fails while the second waits for it
    let state = Arc::new(AtomicUsize::new(0));
    let s = state.clone();
    let fs = HookFs::new(Arc::new(MemFs::new()), move |call, path| {
        let user = std::thread::current().name() == Some("first");
        if user && call == Call::Name && path.to_string_lossy().ends_with(".sst") {
            s.store(1, Ordering::SeqCst);
            while s.load(Ordering::SeqCst) != 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
            return Err(std::io::Error::other("no"));
        }
        Ok(())
    });
    let db = options(Arc::new(fs)).open("db").unwrap();
    let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    for i in 0..5000 {
        ks.insert(format!("{i}"), format!("{}", i * 7919)).unwrap();
    }
    ks.compact_range(..).unwrap();
    // Too little to be merged with all that lies below only because the database rests.
    ks.insert("2500", "new").unwrap();
    ks.flush().unwrap();
    db.wait_idle().unwrap();
    let k1 = ks.clone();
    let first = std::thread::Builder::new().name("first".into()).spawn(move || k1.compact_range(..)).unwrap();
    while state.load(Ordering::SeqCst) != 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (k2, s2) = (ks.clone(), state.clone());
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        s2.store(2, Ordering::SeqCst);
    });
    let second = within(10, move || k2.compact_range(..));
    println!("first {:?}", first.join().unwrap());
    release.join().unwrap();
    println!("{second:?}");
    assert!(second.is_some(), "the second compact_range waits for ever");
}

#[test]
fn a_checkpoint_that_copies_stalls_writers() {
    let hold = Arc::new(AtomicBool::new(false));
    let h = hold.clone();
    let fs = HookFs::new(Arc::new(MemFs::new()), move |_, path| {
        if path.to_string_lossy().contains("backup/") {
            while h.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    });
    let mut o = options(Arc::new(fs)).write_buffer_size(64 << 10);
    o.advanced().log_segment_size(16 << 10);
    let db = o.open("db").unwrap();
    let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    ks.insert("a", "1").unwrap();
    ks.flush().unwrap();
    db.wait_idle().unwrap();
    hold.store(true, Ordering::SeqCst);
    let d = db.clone();
    let cp = std::thread::spawn(move || d.checkpoint("backup"));
    std::thread::sleep(Duration::from_millis(300));
    let k = ks.clone();
    let r = within(10, move || {
        for i in 0..4000u32 {
            k.insert(i.to_be_bytes(), [7u8; 400]).unwrap();
        }
    });
    println!("{}", db.stats());
    hold.store(false, Ordering::SeqCst);
    cp.join().unwrap().unwrap();
    assert!(r.is_some(), "writers waited for the checkpoint");
}

#[test]
fn the_log_cap() {
    let mut o = options(Arc::new(MemFs::new())).max_log_size(256 << 10).write_buffer_size(64 << 10);
    o.advanced().log_segment_size(32 << 10);
    let db = o.open("db").unwrap();
    for i in 0..100 {
        db.keyspace(&format!("idle{i}"), KeyspaceOptions::default()).unwrap().insert("a", "1").unwrap();
    }
    let ks = db.keyspace("busy", KeyspaceOptions::default()).unwrap();
    let mut most = 0;
    for i in 0..20_000u32 {
        ks.insert(i.to_be_bytes(), [7u8; 400]).unwrap();
        if i % 50 == 0 {
            most = most.max(db.stats().log.bytes);
        }
    }
    println!("cap {} most {most}", 256 << 10);
    assert!(most <= 2 * (256 << 10) + 3 * (32 << 10), "the log reached {most}");
}

#[test]
fn greatest_table_name() {
    for name in ["18446744073709551615.sst", "18446744073709551614.sst"] {
        let mem = MemFs::new();
        let db = options(Arc::new(mem.clone())).open("db").unwrap();
        let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
        ks.insert("a", "1").unwrap();
        ks.flush().unwrap();
        db.close().unwrap();
        drop(ks);
        mem.create_new(std::path::Path::new("db").join(name).as_path())
            .unwrap()
            .write_all_at(b"hello there, no table", 0)
            .unwrap();
        let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let db = options(Arc::new(mem.clone())).open("db")?;
            let ks = db.keyspace("k", KeyspaceOptions::default())?;
            for i in 0..3 {
                ks.insert("a", format!("{i}"))?;
                ks.flush()?;
            }
            let v = ks.get("a")?;
            db.close()?;
            let db = options(Arc::new(mem.clone())).open("db")?;
            let ks = db.keyspace("k", KeyspaceOptions::default())?;
            Ok::<_, Error>((v, ks.get("a")?))
        }));
        println!("{name}: {r:?}");
    }
}

#[test]
fn greatest_keys() {
    let mem = MemFs::new();
    let max = vec![0xffu8; 65_535];
    let db = options(Arc::new(mem.clone())).open("db").unwrap();
    let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    let keys: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0xff; 65_534], max.clone(), {
        let mut k = vec![0xfeu8; 65_535];
        k[65_534] = 0;
        k
    }];
    let long = vec![0xffu8; 70_000];
    let longer = vec![0xffu8; 65_536];
    for round in 0..3 {
        for k in &keys {
            ks.insert(k, b"v").unwrap();
        }
        let all = |ks: &Keyspace| ks.iter().map(|i| i.unwrap().0.to_vec()).collect::<Vec<_>>();
        let check = |ks: &Keyspace| {
            let mut sorted = keys.clone();
            sorted.sort();
            assert_eq!(all(ks), sorted);
            for k in &keys {
                assert!(ks.get(k).unwrap().is_some());
            }
            for l in [&long, &longer] {
                assert_eq!(ks.get(l).unwrap(), None);
                assert_eq!(ks.range(l..).count(), 0);
                assert_eq!(ks.range(..l).count(), keys.len());
                assert_eq!(ks.range(..=l).rev().count(), keys.len());
                assert_eq!(ks.prefix(l).count(), 0);
                let mut c = ks.cursor();
                c.seek(l).unwrap();
                assert!(!c.valid());
                c.seek_for_prev(l).unwrap();
                assert_eq!(c.key(), max.as_slice());
                let mid = vec![0xfeu8; 70_000];
                c.seek(&mid).unwrap();
                assert_eq!(c.key().len(), 65_534);
                c.seek_for_prev(&mid).unwrap();
                assert_eq!(c.key(), keys[4].as_slice());
            }
            assert_eq!(ks.range(&max..=&max).count(), 1);
            assert_eq!(
                ks.range((std::ops::Bound::Excluded(&max), std::ops::Bound::<&Vec<u8>>::Unbounded)).count(),
                0
            );
        };
        check(&ks);
        ks.flush().unwrap();
        check(&ks);
        ks.compact_range(..).unwrap();
        check(&ks);
        let snap = db.snapshot();
        match round {
            0 => ks.remove_range(&max..=&max).unwrap(),
            1 => ks
                .remove_range((std::ops::Bound::Excluded(&keys[2]), std::ops::Bound::Included(&max)))
                .unwrap(),
            _ => ks
                .remove_range((std::ops::Bound::Excluded(&keys[4]), std::ops::Bound::Included(&max)))
                .unwrap(),
        }
        let gone = |ks: &Keyspace| {
            assert_eq!(ks.get(&max).unwrap(), None);
            assert!(!all(ks).contains(&max));
        };
        gone(&ks);
        ks.flush().unwrap();
        gone(&ks);
        db.wait_idle().unwrap();
        gone(&ks);
        ks.compact_range(&max..=&max).unwrap();
        gone(&ks);
        assert!(snap.get(&ks, &max).unwrap().is_some());
        assert_eq!(snap.len(&ks).unwrap(), keys.len());
        drop(snap);
        ks.compact_range(..).unwrap();
        gone(&ks);
        assert!(ks.remove_range(&longer..).is_err());
        assert!(ks.insert(&longer, "").is_err());
        let mut b = db.batch();
        b.remove_range(&ks, ..&longer);
        assert!(b.commit().is_err());
        ks.remove_range(&max..=&max).unwrap();
    }
    ks.remove_range(&max..=&max).unwrap();
    let copy = options(Arc::new(mem.process_kill())).open("db").unwrap();
    let k2 = copy.keyspace("k", KeyspaceOptions::default()).unwrap();
    assert_eq!(k2.get(&max).unwrap(), None);
    assert!(k2.get(&keys[3 - 3]).unwrap().is_some());
}

#[test]
fn crash_loop() {
    let mut mem = MemFs::new();
    for _ in 0..40 {
        let db = options(Arc::new(mem.clone())).open("db").unwrap();
        db.keyspace("k", KeyspaceOptions::default()).unwrap().insert("a", "1").unwrap();
        let next = mem.process_kill();
        drop(db);
        mem = next;
    }
    let files = mem.read_dir("db".as_ref()).unwrap();
    let logs: Vec<u64> = files.iter().filter(|e| e.name.ends_with(".log")).map(|e| e.len_bytes).collect();
    println!("{} segments, {} bytes", logs.len(), logs.iter().sum::<u64>());
}
static _U: AtomicU64 = AtomicU64::new(0);
