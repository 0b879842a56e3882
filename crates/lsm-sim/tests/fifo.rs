//! FIFO drops beside snapshots, and power cuts after a full disk.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
use lsm_sim::{Call, HookFs};
use lsm_tree::*;
use lsm_vfs::MemFs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn a_snapshot_opened_while_a_fifo_drop_syncs_the_manifest_is_repeatable() {
    let syncs = Arc::new(AtomicUsize::new(usize::MAX / 2)); // syncs of the manifest left until one is held
    let (s, pause) = (syncs.clone(), || std::thread::sleep(Duration::from_millis(1)));
    let fs = HookFs::new(Arc::new(MemFs::new()), move |call, path| {
        if call == Call::Sync
            && path.to_string_lossy().contains("MANIFEST")
            && s.fetch_sub(1, Ordering::SeqCst) == 1
        {
            while s.load(Ordering::SeqCst) != 99 {
                pause();
            }
        }
        Ok(())
    });
    let mut options = Options::default();
    options.advanced().fs(Arc::new(fs));
    let db = options.open("db").unwrap();
    let fifo = KeyspaceOptions::default().compaction(Compaction::Fifo { max_bytes: 1, max_age_ms: u64::MAX });
    let ks = db.keyspace("k", fifo).unwrap();
    ks.insert("a", "1").unwrap();
    syncs.store(2, Ordering::SeqCst); // the flush's, then the drop's
    ks.flush().unwrap();
    while syncs.load(Ordering::SeqCst) != 0 {
        pause();
    }
    let snapshot = db.snapshot();
    let before = snapshot.get(&ks, "a").unwrap();
    syncs.store(99, Ordering::SeqCst);
    db.wait_idle().unwrap();
    assert_eq!(snapshot.get(&ks, "a").unwrap(), before);
}

#[test]
fn power_cut_after_disk_full() {
    use lsm_vfs::{Fault, FaultFs};
    // every write synced one by one, then full, clean reopen must work for power cuts too
    let mut bad = 0;
    for seed in 0..20 {
        let mem = MemFs::new();
        let fault = FaultFs::new(mem.clone());
        let mut o = Options::default();
        o.advanced().fs(Arc::new(fault.clone()));
        let db = o.durability(Durability::Sync).open("db").unwrap();
        let ks = db.keyspace("k", KeyspaceOptions::default()).unwrap();
        ks.insert("a", "1").unwrap();
        fault.fail_on(".log", 0, Fault::ShortWrite, false);
        assert!(ks.insert("b", "2").is_err());
        db.persist(Durability::Sync).unwrap();
        let mut o = Options::default();
        o.advanced().fs(Arc::new(mem.power_cut(seed)));
        if let Err(e) = o.open("db") {
            bad += 1;
            println!("{e}");
        }
    }
    assert_eq!(bad, 0);
}
