//! Many openers of one directory at once, threads and processes: one has it at a time,
//! the others are told `Locked` at once, and a killed holder leaves no lock behind. The
//! children are this test binary itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_tree::{Database, Error, KeyspaceOptions, Options};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const DIR: &str = "LSM_SIM_OPENER_DIR";
const WHAT: &str = "LSM_SIM_OPENER";

fn small() -> Options {
    Options::default().write_buffer_size(64 << 10).cache_size(64 << 10)
}

/// The count that every holder raises by one; a second holder at the same time would
/// make some of it vanish.
fn count(database: &Database) -> u64 {
    let keyspace = database.keyspace("count", KeyspaceOptions::default()).unwrap();
    let old = keyspace.get("n").unwrap().map_or(0, |bytes| u64::from_le_bytes(*bytes.first_chunk().unwrap()));
    thread::sleep(Duration::from_millis(old % 3));
    keyspace.insert("n", (old + 1).to_le_bytes()).unwrap();
    old + 1
}

/// Not a test of its own: what the other processes do.
#[test]
fn child_that_opens() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let tell = |line: String| std::io::stderr().write_all(line.as_bytes()).unwrap();
    match std::env::var(WHAT).unwrap().as_str() {
        // Opens and counts as often as it gets the directory within its tries.
        "count" => {
            for _ in 0..40 {
                match small().open(&dir) {
                    Ok(database) => {
                        count(&database);
                        tell("counted\n".into());
                    }
                    Err(Error::Locked { .. }) => tell("locked\n".into()),
                    Err(error) => tell(format!("failed {error:?}\n")),
                }
                thread::sleep(Duration::from_micros(300));
            }
        }
        // Has it until it is killed.
        _ => {
            let database = small().open(&dir).unwrap();
            let number = count(&database);
            tell(format!("holding {number}\n"));
            thread::sleep(Duration::from_secs(600));
        }
    }
}

fn child(dir: &Path, what: &str) -> (Child, BufReader<ChildStderr>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_that_opens", "--exact", "--nocapture"])
        .env(DIR, dir)
        .env(WHAT, what)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    (child, stderr)
}

#[test]
fn of_many_threads_one_has_the_directory_at_a_time() {
    const THREADS: usize = 12;
    let dir = tempfile::tempdir().unwrap();
    // A directory that does not exist yet: whoever is first makes it.
    let dir = dir.path().join("new/place");
    let (inside, opened) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..60 {
                    match small().open(&dir) {
                        Ok(database) => {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two have it at once");
                            count(&database);
                            opened.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                        Err(Error::Locked { path }) => assert_eq!(path, dir),
                        Err(error) => panic!("neither opened nor locked: {error:?}"),
                    }
                }
            });
        }
    });
    let opened = opened.load(Ordering::SeqCst) as u64;
    assert!(opened > 0, "nobody ever got it");
    assert_eq!(count(&small().open(&dir).unwrap()), opened + 1, "somebody's count was lost");
}

#[test]
fn of_many_processes_one_has_the_directory_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new/place");
    let children: Vec<_> = (0..6).map(|_| child(&dir, "count")).collect();
    let (mut counted, mut locked) = (0, 0);
    for (mut child, stderr) in children {
        for line in stderr.lines().map_while(Result::ok) {
            match line.as_str() {
                "counted" => counted += 1,
                "locked" => locked += 1,
                other => panic!("a process said: {other}"),
            }
        }
        assert!(child.wait().unwrap().success());
    }
    println!("opened {counted} times, refused {locked} times");
    assert!(counted > 0, "nobody ever got it");
    assert_eq!(count(&small().open(&dir).unwrap()), counted + 1, "somebody's count was lost");
}

#[test]
fn a_killed_holder_leaves_no_lock_behind() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=12 {
        let (mut holder, mut stderr) = child(dir.path(), "hold");
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert_eq!(line, format!("holding {round}\n"));
        for _ in 0..3 {
            let refused = small().open(dir.path());
            assert!(matches!(refused, Err(Error::Locked { .. })), "beside a living holder: {refused:?}");
        }
        holder.kill().unwrap();
        holder.wait().unwrap();
        // The lock goes with the process: the next holder, here or there, gets it at once.
        if round % 2 == 0 {
            drop(small().open(dir.path()).unwrap());
        }
    }
}

#[test]
fn create_if_missing_and_not_race_on_a_new_directory() {
    for round in 0..30 {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("db");
        let start = Barrier::new(4);
        let created = AtomicUsize::new(0);
        thread::scope(|scope| {
            for opener in 0..4 {
                let (dir, start, created) = (&dir, &start, &created);
                scope.spawn(move || {
                    let creates = opener % 2 == 0;
                    start.wait();
                    match small().create_if_missing(creates).open(dir) {
                        Ok(database) => {
                            count(&database);
                            created.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(Error::Locked { .. }) => {}
                        // There was no database yet, and this one may not make it.
                        Err(Error::InvalidArgument(_) | Error::Io(_)) if !creates => {}
                        Err(error) => panic!("round {round}, creates: {creates}: {error:?}"),
                    }
                });
            }
        });
        let created = created.load(Ordering::SeqCst) as u64;
        assert!(created > 0, "round {round}: nobody made it");
        assert_eq!(count(&small().create_if_missing(false).open(&dir).unwrap()), created + 1);
    }
}
