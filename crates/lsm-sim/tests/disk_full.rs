//! A disk that runs full: a real one, a tmpfs of limited size. Writes fail with a clear
//! error, reads go on, everything resumes by itself when room returns, and nothing that
//! was acknowledged is lost. Mounting needs rights; where they are missing a line says
//! so, and the same runs on `MemFs` alone, as it always does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_tree::{Compression, Database, Error, Keyspace, KeyspaceOptions, Options};
use lsm_vfs::{Fs, MemFs, OsFs, mix64};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DISK_BYTES: u64 = 6 << 20;
/// Far longer than healing by itself takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A small disk whose room can be taken and given back.
enum Disk {
    /// A tmpfs; what takes the room is a file beside the database.
    Real { mount: tempfile::TempDir },
    /// In memory.
    Model { fs: MemFs },
}

impl Disk {
    fn real() -> Option<Self> {
        let mount = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "tmpfs"])
            .arg(mount.path())
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self::Real { mount })
    }

    fn model() -> Self {
        let fs = MemFs::new();
        fs.set_capacity(DISK_BYTES);
        Self::Model { fs }
    }

    fn dir(&self) -> PathBuf {
        match self {
            Self::Real { mount } => mount.path().join("db"),
            Self::Model { .. } => PathBuf::from("db"),
        }
    }

    fn options(&self) -> Options {
        let mut options =
            Options::default().write_buffer_size(128 << 10).cache_size(256 << 10).max_log_size(1 << 20);
        let fs: Arc<dyn Fs> = match self {
            Self::Real { .. } => Arc::new(OsFs),
            Self::Model { fs } => Arc::new(fs.clone()),
        };
        options.advanced().fs(fs).log_segment_size(128 << 10);
        options
    }

    /// Takes all room but about `left` bytes.
    fn fill(&self, left: u64) {
        match self {
            Self::Real { mount } => {
                let path = mount.path().join("ballast");
                std::fs::write(&path, []).unwrap();
                let file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
                while std::io::Write::write(&mut &file, &[7; 4096]).is_ok_and(|written| written > 0) {}
                let len = file.metadata().unwrap().len();
                file.set_len(len.saturating_sub(left)).unwrap();
            }
            Self::Model { fs } => fs.set_capacity(fs.used_bytes() + left),
        }
    }

    fn make_room(&self) {
        match self {
            Self::Real { mount } => std::fs::remove_file(mount.path().join("ballast")).unwrap(),
            Self::Model { fs } => fs.set_capacity(u64::MAX),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Real { mount } = self {
            let unmounted = Command::new("umount").arg(mount.path()).status();
            assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
        }
    }
}

/// Runs the story on the disk in memory, and on a real one where one can be made.
fn on_each_disk(story: fn(&Disk)) {
    story(&Disk::model());
    match Disk::real() {
        Some(disk) => story(&disk),
        None => println!("disk_full: the real disk was skipped, a tmpfs cannot be mounted here"),
    }
}

/// A database under writes, and what of them was acknowledged.
struct World {
    database: Database,
    keyspace: Keyspace,
    written: u64,
}

fn uncompressed() -> KeyspaceOptions {
    KeyspaceOptions::default().compression(Compression::None).table_size(64 << 10).level_base_size(256 << 10)
}

fn key(number: u64) -> [u8; 8] {
    mix64(number).to_be_bytes()
}

fn value(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(64)
}

impl World {
    fn open(disk: &Disk, written: u64) -> Self {
        let database = disk.options().open(disk.dir()).unwrap();
        let keyspace = database.keyspace("k", uncompressed()).unwrap();
        Self { database, keyspace, written }
    }

    fn write(&mut self) -> Result<(), Error> {
        self.keyspace.insert(key(self.written), value(self.written))?;
        self.written += 1;
        Ok(())
    }

    /// Writes until the disk is full; the error.
    fn write_until_full(&mut self) -> Error {
        for _ in 0..200_000 {
            if let Err(error) = self.write() {
                return error;
            }
        }
        panic!("a small disk took everything");
    }

    fn expect_all_there(&self, when: &str) {
        for number in 0..self.written {
            let found = self.keyspace.get(key(number)).unwrap();
            assert_eq!(
                found.as_deref(),
                Some(&value(number)[..]),
                "write {number} of {} {when}",
                self.written
            );
        }
        assert_eq!(self.keyspace.len().unwrap() as u64, self.written, "{when}");
    }

    /// Nobody does anything but try again.
    fn expect_healed(&mut self) {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = self.write() {
            assert!(error.is_disk_full(), "{error:?}");
            assert!(Instant::now() < end, "there is room again, and writes still fail: {error}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn expect_full(error: &Error) {
    assert!(error.is_disk_full(), "the error does not say that the disk is full: {error:?}");
    assert!(!matches!(error, Error::ReadOnly { .. }), "a full disk made the database read-only: {error:?}");
}

#[test]
fn writing_to_a_full_disk() {
    on_each_disk(|disk| {
        let mut world = World::open(disk, 0);
        for _ in 0..600 {
            world.write().unwrap();
        }
        disk.fill(200 << 10);
        expect_full(&world.write_until_full());
        world.expect_all_there("while the disk is full");
        expect_full(&world.write_until_full());
        disk.make_room();
        world.expect_healed();
        for _ in 0..500 {
            world.write().unwrap();
        }
        world.database.wait_idle().unwrap();
        world.expect_all_there("when there was room again");
        let written = world.written;
        drop(world);
        World::open(disk, written).expect_all_there("after opening again");
    });
}

#[test]
fn compacting_on_a_full_disk() {
    on_each_disk(|disk| {
        let mut world = World::open(disk, 0);
        for _ in 0..2_500 {
            world.write().unwrap();
        }
        world.keyspace.flush().unwrap();
        disk.fill(40 << 10);
        let refused = world.keyspace.compact_range(..);
        if let Err(error) = &refused {
            expect_full(error);
        }
        world.expect_all_there("after a compaction without room");
        let removed = world.keyspace.remove_range(&key(world.written)[..]..);
        assert!(removed.is_ok() || removed.is_err_and(|error| error.is_disk_full()));
        disk.make_room();
        world.expect_healed();
        let gone = world.written;
        world.keyspace.compact_range(..).unwrap();
        world.database.wait_idle().unwrap();
        assert!(world.keyspace.len().unwrap() as u64 <= gone);
        world.keyspace.clear().unwrap();
        world.database.wait_idle().unwrap();
        assert_eq!(world.keyspace.len().unwrap(), 0);
    });
}

#[test]
fn closing_and_opening_on_a_full_disk() {
    on_each_disk(|disk| {
        let mut world = World::open(disk, 0);
        for _ in 0..1_500 {
            world.write().unwrap();
        }
        disk.fill(0);
        let written = world.written;
        // Closing has no room for marks or tables; whatever it says, nothing is lost.
        match world.database.clone().close() {
            Ok(()) => {}
            Err(error) => expect_full(&error),
        }
        drop(world);
        // Opening needs a little room for a new segment of the log: it says so.
        for _ in 0..3 {
            match disk.options().open(disk.dir()) {
                Ok(database) => {
                    let keyspace = database.keyspace("k", uncompressed()).unwrap();
                    World { database, keyspace, written }.expect_all_there("opened on a full disk");
                }
                Err(error) => expect_full(&error),
            }
        }
        disk.make_room();
        let mut world = World::open(disk, written);
        world.expect_all_there("when there was room again");
        world.write().unwrap();
        world.keyspace.flush().unwrap();
        world.expect_all_there("and it goes on");
    });
}

#[test]
fn a_sync_write_on_a_full_disk_fails_and_leaves_the_database_usable() {
    on_each_disk(|disk| {
        let mut world = World::open(disk, 0);
        for _ in 0..300 {
            world.write().unwrap();
        }
        disk.fill(0);
        let mut refused = 0;
        for number in 0..2_000 {
            let mut batch = world.database.batch().durability(lsm_tree::Durability::Sync);
            batch.insert(&world.keyspace, key(world.written), value(world.written));
            match batch.commit() {
                Ok(_) => world.written += 1,
                Err(error) => {
                    assert!(error.is_disk_full(), "write {number}: {error:?}");
                    refused += 1;
                }
            }
            if refused > 20 {
                break;
            }
        }
        assert!(refused > 0, "a disk without room took two thousand sync writes");
        world.expect_all_there("while the disk is full");
        disk.make_room();
        world.expect_healed();
        let written = world.written;
        drop(world);
        World::open(disk, written).expect_all_there("after opening again");
    });
}
