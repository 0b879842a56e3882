//! The facade at work on a real directory: what an application does first.

use lsm_tree::{Database, Durability, Error, KeyspaceOptions, Options};

fn key(i: u32) -> String {
    format!("key{i:06}")
}

#[test]
fn what_is_written_is_read_after_flush_compaction_and_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Options::default().write_buffer_size(64 << 10).open(directory.path()).unwrap();
    {
        let db = open();
        let users = db.keyspace("users", KeyspaceOptions::default().table_size(32 << 10)).unwrap();
        for i in 0..20_000 {
            users.insert(key(i), format!("value {i}")).unwrap();
        }
        let before = db.snapshot();
        users.remove_range(key(100)..key(200)).unwrap();
        for i in (0..20_000).step_by(2) {
            users.remove(key(i)).unwrap();
        }
        users.flush().unwrap();
        db.wait_idle().unwrap();
        assert_eq!(users.get(key(101)).unwrap(), None);
        assert_eq!(users.get(key(301)).unwrap().unwrap(), "value 301");
        assert_eq!(users.get(key(300)).unwrap(), None);
        assert_eq!(before.get(&users, key(101)).unwrap().unwrap(), "value 101");
        assert_eq!(before.len(&users).unwrap(), 20_000);
        assert_eq!(users.len().unwrap(), 9_950);
        drop(before);
        users.compact_range(..).unwrap();
        assert_eq!(users.len().unwrap(), 9_950);
        println!("{}", db.stats());
        users.insert("unflushed", "yes").unwrap();
    }
    let db = open();
    assert_eq!(db.keyspace_names(), ["users"]);
    let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
    assert_eq!(users.len().unwrap(), 9_951);
    assert_eq!(users.get("unflushed").unwrap().unwrap(), "yes");
    let forward: Vec<_> = users.range(key(10)..=key(19)).map(|item| item.unwrap().0).collect();
    let mut backward: Vec<_> = users.range(key(10)..=key(19)).rev().map(|item| item.unwrap().0).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    assert_eq!(forward.len(), 5);
    db.persist(Durability::Sync).unwrap();
    db.verify().unwrap();
}

#[test]
fn a_second_open_is_locked_until_the_first_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path()).unwrap();
    let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
    assert!(matches!(Database::open(directory.path()), Err(Error::Locked { .. })));
    db.close().unwrap();
    assert!(matches!(users.get("k"), Err(Error::Closed)));
    Database::open(directory.path()).unwrap();
}

#[test]
fn a_hundred_keyspaces_share_a_bounded_amount_of_memory() {
    let directory = tempfile::tempdir().unwrap();
    let db = Options::default().write_buffer_size(64 << 10).open(directory.path()).unwrap();
    let keyspaces: Vec<_> =
        (0..100).map(|i| db.keyspace(&format!("k{i}"), KeyspaceOptions::default()).unwrap()).collect();
    for i in 0..20_000 {
        keyspaces[i as usize % 100].insert(key(i), [0; 100]).unwrap();
    }
    let active: usize = db.stats().keyspaces.iter().map(|keyspace| keyspace.active_memtable_bytes).sum();
    assert!(active < 5 * (64 << 10) + 100 * (16 << 10), "{active} bytes in the memtables of 100 keyspaces");
    let written: usize = keyspaces.iter().map(|keyspace| keyspace.len().unwrap()).sum();
    assert_eq!(written, 20_000);
}

#[test]
fn clear_gives_the_space_back_under_every_strategy() {
    use lsm_tree::Compaction;
    let fifo = Compaction::Fifo { max_bytes: u64::MAX, max_age_ms: u64::MAX };
    for compaction in [Compaction::Leveled, Compaction::SizeTiered, fifo] {
        let directory = tempfile::tempdir().unwrap();
        let db = Database::open(directory.path()).unwrap();
        let keyspace = db.keyspace("k", KeyspaceOptions::default().compaction(compaction)).unwrap();
        for i in 0..10_000 {
            keyspace.insert(key(i), [7; 50]).unwrap();
            if i % 2_500 == 0 {
                keyspace.flush().unwrap();
            }
        }
        keyspace.flush().unwrap();
        let snapshot = db.snapshot();
        keyspace.clear().unwrap();
        db.wait_idle().unwrap();
        assert_eq!(snapshot.len(&keyspace).unwrap(), 10_000, "{compaction:?}: a snapshot keeps what it sees");
        assert!(keyspace.is_empty().unwrap());
        drop(snapshot);
        db.wait_idle().unwrap();
        let bytes = db.stats().keyspaces[0].table_bytes();
        assert!(bytes < 16 << 10, "{compaction:?}: {bytes} bytes are left of a cleared keyspace");
        keyspace.insert("new", "1").unwrap();
        assert_eq!(keyspace.len().unwrap(), 1);
    }
}

#[test]
fn a_batch_counts_for_each_keyspace_what_it_writes_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(directory.path()).unwrap();
    let [few, much] = ["few", "much"].map(|name| db.keyspace(name, KeyspaceOptions::default()).unwrap());
    for number in 0..10_u32 {
        let mut batch = db.batch();
        batch.insert(&few, "x", "y").insert(&much, number.to_be_bytes(), [7; 96]).remove(&few, "x");
        batch.commit().unwrap();
    }
    let stats = db.stats();
    let written = |name| stats.keyspaces.iter().find(|keyspace| keyspace.name == name).unwrap().written_bytes;
    assert_eq!(written("few"), 10 * 3);
    assert_eq!(written("much"), 10 * 100);
}
