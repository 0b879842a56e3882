//! Closing beside calls that write, recovery with many keyspaces, and everything at once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
use lsm_sim::{Call, HookFs};
use lsm_tree::*;
use lsm_vfs::{Fs, MemFs, SplitMix64};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

fn options(fs: Arc<dyn Fs>) -> Options {
    let mut o = Options::default();
    o.advanced().fs(fs);
    o
}

#[test]
fn close_while_compact_range_writes() {
    let state = Arc::new(AtomicUsize::new(0));
    let s = state.clone();
    let mem = MemFs::new();
    let fs: Arc<dyn Fs> = Arc::new(HookFs::new(Arc::new(mem.clone()), move |call, path| {
        if std::thread::current().name() == Some("first")
            && call == Call::Write
            && path.to_string_lossy().ends_with(".sst")
        {
            s.fetch_max(1, Ordering::SeqCst);
            while s.load(Ordering::SeqCst) != 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }));
    let db = options(fs.clone()).open("db").unwrap();
    let ks = db.keyspace("k", KeyspaceOptions::default().table_size(1024)).unwrap();
    for j in 0..2 {
        for i in 0..2000u32 {
            ks.insert(i.to_be_bytes(), [j; 100]).unwrap();
        }
        ks.flush().unwrap();
    }
    db.wait_idle().unwrap();
    let k = ks.clone();
    let first = std::thread::Builder::new().name("first".into()).spawn(move || k.compact_range(..)).unwrap();
    while state.load(Ordering::SeqCst) != 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let closing = std::thread::spawn(move || db.close());
    std::thread::sleep(Duration::from_millis(100));
    assert!(matches!(options(fs.clone()).open("db"), Err(Error::Locked { .. })), "the call still writes");
    state.store(2, Ordering::SeqCst);
    closing.join().unwrap().unwrap();
    let again = options(fs).open("db").unwrap();
    let k2 = again.keyspace("k", KeyspaceOptions::default()).unwrap();
    println!("first: {:?}", first.join().unwrap().map_err(|e| e.to_string()));
    drop(ks);
    again.wait_idle().unwrap();
    for i in 0..20u32 {
        k2.insert(i.to_be_bytes(), "x").unwrap();
        if let Err(e) = k2.flush() {
            println!("flush {i}: {e}");
        }
    }
    let _ = again.wait_idle();
    let tables: usize = again.stats().keyspaces[0].levels.iter().map(|l| l.tables).sum();
    let files = mem.read_dir("db".as_ref()).unwrap().iter().filter(|e| e.name.ends_with(".sst")).count();
    println!("{tables} tables, {files} files; {:?}", again.stats().background_trouble);
    assert_eq!(tables, files);
}

#[test]
fn recovery_with_many_keyspaces() {
    for n in [1, 4000] {
        let mem = MemFs::new();
        let db = options(Arc::new(mem.clone())).open("db").unwrap();
        let all: Vec<_> =
            (0..n).map(|i| db.keyspace(&format!("{i}"), KeyspaceOptions::default()).unwrap()).collect();
        for i in 0..100_000u32 {
            all[0].insert(i.to_be_bytes(), "v").unwrap();
        }
        let killed = mem.process_kill();
        let t = Instant::now();
        let db2 = options(Arc::new(killed)).open("db").unwrap();
        println!("{n} keyspaces: {:?}", t.elapsed());
        drop(db2);
    }
}

#[test]
fn chaos() {
    for seed in 0..40u64 {
        let (tx, rx) = mpsc::channel();
        std::thread::spawn(move || {
            chaos_once(seed);
            let _ = tx.send(());
        });
        match rx.recv_timeout(Duration::from_secs(20)) {
            Ok(()) => {}
            Err(e) => panic!("seed {seed}: {e:?}"),
        }
    }
}

fn chaos_once(seed: u64) {
    let mem = MemFs::new();
    let mut o = options(Arc::new(mem.clone())).write_buffer_size(4 << 10).max_log_size(64 << 10);
    o.advanced().log_segment_size(8 << 10);
    let db = o.open("db").unwrap();
    let kind = move |i: u64| match i % 3 {
        0 => Compaction::Leveled,
        1 => Compaction::SizeTiered,
        _ => Compaction::Fifo { max_bytes: 20_000, max_age_ms: u64::MAX },
    };
    let opts =
        move |i: u64| KeyspaceOptions::default().compaction(kind(i)).table_size(2048).level_base_size(8192);
    let a = db.keyspace("a", opts(0)).unwrap();
    let b = db.keyspace("b", opts(1)).unwrap();
    let mut threads = Vec::new();
    for t in 0..5u64 {
        let (db, a, b) = (db.clone(), a.clone(), b.clone());
        threads.push(std::thread::spawn(move || {
            let mut r = SplitMix64::new(seed * 100 + t);
            let mut i = 0u64;
            let mut its = Vec::new();
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(400) {
                i += 1;
                let n = r.below(100);
                let key = r.below(50).to_be_bytes();
                let e: Result<()> = (|| match r.below(20) {
                    0..8 => {
                        let mut w = db.batch();
                        w.insert(&a, key, [n as u8; 50]).insert(&b, key, [n as u8; 50]);
                        w.commit()
                    }
                    8 => {
                        let mut w = db.batch();
                        w.remove(&a, key).remove(&b, key);
                        w.commit()
                    }
                    9 => {
                        let mut w = db.batch();
                        w.remove_range(&a, key..[255u8; 8]).remove_range(&b, key..[255u8; 8]);
                        w.commit()
                    }
                    10 => a.flush(),
                    11 => b.compact_range(key..),
                    12 => {
                        let name = format!("t{}", r.below(3));
                        let k = db.keyspace(&name, opts(n))?;
                        for q in 0..30u64 {
                            k.insert(q.to_be_bytes(), [1; 100])?;
                        }
                        let it = k.iter();
                        its.push(it);
                        if its.len() > 5 {
                            its.clear();
                        }
                        let _ = db.drop_keyspace(&name);
                        Ok(())
                    }
                    113 => {
                        let f = db.keyspace("f", opts(2))?;
                        let s = db.snapshot();
                        let x: Vec<_> = s.iter(&f).collect::<Result<_>>()?;
                        f.insert(key, [3; 200])?;
                        f.flush()?;
                        let y: Vec<_> = s.iter(&f).collect::<Result<_>>().unwrap_or_else(|e| {
                            if matches!(e, Error::Closed) { x.clone() } else { panic!("{e}") }
                        });
                        assert_eq!(x, y);
                        Ok(())
                    }
                    14 => {
                        db.checkpoint(format!("cp{t}-{i}"))?;
                        Ok(())
                    }
                    15 => db.wait_idle(),
                    16 => {
                        let _ = db.stats().to_string();
                        db.persist(Durability::Sync)
                    }
                    _ => {
                        let s = db.snapshot();
                        let x: Vec<_> = s.iter(&a).collect::<Result<_>>()?;
                        let mut y: Vec<_> = s.iter(&b).rev().collect::<Result<_>>()?;
                        y.reverse();
                        assert_eq!(x, y, "torn");
                        for (k, v) in &x {
                            assert_eq!(s.get(&b, k)?.as_ref(), Some(v));
                        }
                        Ok(())
                    }
                })();
                match e {
                    Ok(()) => {}
                    Err(Error::Closed) => break,
                    Err(Error::InvalidArgument(m))
                        if m.contains("dropped") || m.contains("there is no keyspace") => {}
                    Err(e) => panic!("seed {seed}: {e}"),
                }
            }
        }));
    }
    std::thread::sleep(Duration::from_millis(100 + seed * 8));
    drop((a, b));
    db.close().unwrap();
    for t in threads {
        t.join().unwrap();
    }
    let db = options(Arc::new(mem.clone())).open("db").unwrap();
    db.wait_idle().unwrap();
    let a: Vec<_> = db.keyspace("a", opts(0)).unwrap().iter().map(|i| i.unwrap()).collect();
    let b: Vec<_> = db.keyspace("b", opts(0)).unwrap().iter().map(|i| i.unwrap()).collect();
    assert_eq!(a, b);
    db.verify().unwrap();
    for dir in mem.read_dir("".as_ref()).unwrap_or_default() {
        if dir.name.starts_with("cp") {
            let Ok(c) = options(Arc::new(mem.clone())).open(&dir.name) else { continue };
            let a: Vec<_> = c.keyspace("a", opts(0)).unwrap().iter().map(|i| i.unwrap()).collect();
            let b: Vec<_> = c.keyspace("b", opts(0)).unwrap().iter().map(|i| i.unwrap()).collect();
            assert_eq!(a, b);
        }
    }
}

/// All entries of one number, in blocks along which a cursor goes by itself.
#[test]
fn a_cursor_in_the_middle_of_a_block_ends_with_its_database() {
    let db = options(Arc::new(MemFs::new())).open("db").unwrap();
    let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
    for i in 0..2000_u32 {
        ks.insert(i.to_be_bytes(), [7; 20]).unwrap();
    }
    ks.flush().unwrap();
    ks.compact_range(..).unwrap();
    let (mut forward, mut backward, mut range) = (ks.cursor(), ks.cursor(), ks.range(0_u32.to_be_bytes()..));
    forward.seek_to_first().unwrap();
    backward.seek_to_last().unwrap();
    for i in 0..30_u32 {
        assert_eq!(forward.key(), i.to_be_bytes());
        assert_eq!(backward.key(), (1999 - i).to_be_bytes());
        assert_eq!(range.next().unwrap().unwrap().0.as_ref(), i.to_be_bytes());
        forward.next().unwrap();
        backward.prev().unwrap();
    }
    db.close().unwrap();
    assert!(matches!(forward.next(), Err(Error::Closed)) && !forward.valid());
    assert!(matches!(backward.prev(), Err(Error::Closed)) && !backward.valid());
    assert!(matches!(range.next(), Some(Err(Error::Closed))) && range.next().is_none());
}
