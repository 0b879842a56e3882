//! Processes that are killed while they write, and what must be left. Called by
//! `tests/kill.rs` with a bounded number of kills and by the example `kill` with as
//! many as one likes (`cargo xtask kill`).
//!
//! A [`Kind`] is a choice of options and writers that a seed makes. The child opens the
//! database, checks it, and writes numbered batches and single entries from several
//! threads, saying so on its standard error after each call has returned. The parent
//! kills it, opens what is left and compares it with what was said.

use crate::{Numbered, Random};
use lsm_tree::{Compaction, Compression, Durability, Error, Keyspace, KeyspaceOptions, Options, Slice};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What tables are compressed with.
const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Snappy];

/// Single entries of a writer that are there at a time.
const SINGLES: u64 = 60;

/// What the child does when the file system fails under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Says so: nothing fails when only the process is killed.
    Tell,
    /// Ends: the disk is gone, which is the point.
    End,
}

/// How one kind of child writes; a number tells which.
#[derive(Clone, Debug)]
pub struct Kind {
    /// What made it.
    pub seed: u64,
    /// Threads that write, each its own numbers.
    pub writers: u64,
    /// Every so many writes are Sync; the others Buffered.
    pub sync_every: u64,
    /// Whether one more thread flushes and compacts.
    pub churns: bool,
    /// Of the keyspaces; the first life decides.
    pub keyspace: KeyspaceOptions,
}

impl Kind {
    /// The kind that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let unbounded = Compaction::Fifo { max_bytes: u64::MAX, max_age_ms: u64::MAX };
        let styles = [Compaction::Leveled, Compaction::Leveled, Compaction::SizeTiered, unbounded];
        let keyspace = KeyspaceOptions::default()
            .compaction(*random.pick(&styles).unwrap_or(&Compaction::Leveled))
            .compression(*random.pick(&COMPRESSIONS).unwrap_or(&Compression::None))
            .last_level_compression(*random.pick(&COMPRESSIONS).unwrap_or(&Compression::None))
            .table_size(1 << (12 + random.below(10)))
            .level_base_size(1 << (13 + random.below(9)))
            .block_size(64 << random.below(8))
            .filter_bits_per_key(random.below(15) as f32);
        Self {
            seed,
            writers: 1 + random.below(4),
            sync_every: *random.pick(&[1, 2, 7, 20, u64::MAX]).unwrap_or(&7),
            churns: random.chance(40),
            keyspace,
        }
    }

    /// How the database is opened in life number `life`: not always the same way.
    #[must_use]
    pub fn options(&self, life: u64) -> Options {
        let random = &mut Random::new(self.seed ^ life << 32);
        if random.chance(10) {
            return Options::default();
        }
        let mut options = Options::default()
            .write_buffer_size(1 << (11 + random.below(10)))
            .cache_size(if random.chance(20) { 0 } else { 1 << (14 + random.below(8)) })
            .max_open_files(4 + random.index(60))
            .max_log_size(1 << (14 + random.below(12)));
        let advanced = options.advanced();
        advanced.log_segment_size(4096 << random.below(10)).max_sealed_memtables(1 + random.index(4));
        options
    }

    /// How write `number` is to last.
    const fn durability(&self, number: u64) -> Durability {
        if number.is_multiple_of(self.sync_every) { Durability::Sync } else { Durability::Buffered }
    }
}

/// What a database holds, or what was said of it: for each writer the last batch and
/// the last single entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lasts {
    /// Of batches.
    pub batches: Vec<u64>,
    /// Of single entries.
    pub singles: Vec<u64>,
}

impl Lasts {
    /// Nothing, of so many writers.
    #[must_use]
    pub fn none(writers: u64) -> Self {
        Self { batches: vec![0; writers as usize], singles: vec![0; writers as usize] }
    }

    /// Takes over what is greater in `other`.
    pub fn raise(&mut self, other: &Self) {
        for (mine, theirs) in [(&mut self.batches, &other.batches), (&mut self.singles, &other.singles)] {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
        }
    }

    /// Whether nothing in `promised` is above this.
    #[must_use]
    pub fn holds(&self, promised: &Self) -> bool {
        let mut raised = self.clone();
        raised.raise(promised);
        raised == *self
    }

    /// All writes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.batches.iter().chain(&self.singles).sum()
    }
}

/// An open database under test.
#[derive(Debug)]
pub struct Killable {
    numbered: Numbered,
    singles: Keyspace,
}

fn single(writer: u64, number: u64) -> (String, [u8; 8]) {
    (format!("{writer}/{:03}", number % SINGLES), number.to_le_bytes())
}

impl Killable {
    /// Opens the database of `kind` in `dir` as in life number `life`.
    ///
    /// # Errors
    /// The engine's.
    pub fn open(kind: &Kind, dir: &Path, life: u64) -> Result<Self, Error> {
        let database = kind.options(life).open(dir)?;
        let singles = database.keyspace("singles", kind.keyspace.clone())?;
        Ok(Self { numbered: Numbered::open(database, &kind.keyspace)?, singles })
    }

    /// What is there, if it is all of the first writes of each writer and nothing else.
    ///
    /// # Errors
    /// What is torn, missing or too much, in words.
    pub fn check(&self, writers: u64) -> Result<Lasts, String> {
        let batches = self.numbered.check(writers)?;
        let entries: Result<BTreeMap<Slice, Slice>, Error> = self.singles.iter().collect();
        let entries = entries.map_err(|error| format!("single entries cannot be read: {error:?}"))?;
        let mut singles = Vec::new();
        let mut expected = BTreeMap::new();
        for writer in 0..writers {
            let of_writer =
                entries.range(Slice::from(format!("{writer}/"))..Slice::from(format!("{writer}0")));
            let number = |value: &Slice| value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            let last = of_writer.map(|(_, value)| number(value)).max().unwrap_or(0);
            for number in last.saturating_sub(SINGLES - 1).max(1)..=last {
                let (key, value) = single(writer, number);
                expected.insert(Slice::from(key), Slice::from(value));
            }
            singles.push(last);
        }
        if expected != entries {
            return Err(format!("single entries up to {singles:?} are not what is there: {entries:?}"));
        }
        Ok(Lasts { batches, singles })
    }

    /// Writes until the process is killed, or, as `on_error` says, until a call fails.
    pub fn write_for_ever(&self, kind: &Kind, from: &Lasts, on_error: OnError) {
        let tell = |line: String| {
            // One write(2) a line; no buffer that could die with the process.
            let _ = std::io::stderr().write_all(line.as_bytes());
        };
        let failed = |error: Error| {
            if on_error == OnError::Tell {
                tell(format!("failed: {error:?}\n"));
            }
        };
        std::thread::scope(|scope| {
            for (writer, (&batch, &entry)) in (0..).zip(from.batches.iter().zip(&from.singles)) {
                scope.spawn(move || {
                    for step in 1.. {
                        let (number, entry) = (batch + step, entry + step);
                        if let Err(error) = self.numbered.write(writer, number, kind.durability(number)) {
                            return failed(error);
                        }
                        tell(format!("ack {writer} batch {number} {:?}\n", kind.durability(number)));
                        if let Err(error) = self.write_single(writer, entry, kind.durability(entry)) {
                            return failed(error);
                        }
                        tell(format!("ack {writer} single {entry} {:?}\n", kind.durability(entry)));
                    }
                });
            }
            if kind.churns {
                scope.spawn(move || self.churn().unwrap_or_else(failed));
            }
        });
    }

    /// Buffered by the plain call, Sync by a batch of one.
    fn write_single(&self, writer: u64, number: u64, durability: Durability) -> Result<(), Error> {
        let (key, value) = single(writer, number);
        if durability == Durability::Buffered {
            return self.singles.insert(key, value);
        }
        let mut batch = self.numbered.database().batch().durability(durability);
        batch.insert(&self.singles, key, value);
        batch.commit().map(|_| ())
    }

    fn churn(&self) -> Result<(), Error> {
        for round in 0_usize.. {
            let keyspaces = self.numbered.keyspaces();
            let Some(keyspace) = keyspaces.get(round % keyspaces.len()) else { return Ok(()) };
            keyspace.flush()?;
            let held = self.numbered.database().snapshot();
            if round % 3 == 0 {
                keyspace.compact_range(..)?;
            }
            self.singles.flush()?;
            if round % 7 == 0 {
                self.numbered.database().persist(Durability::Sync)?;
            }
            drop(held);
        }
        Ok(())
    }
}

/// What a child said before it died.
#[derive(Clone, Debug)]
pub struct Said {
    /// Writes that had returned.
    pub acknowledged: Lasts,
    /// Those of them that were Sync.
    pub synced: Lasts,
    /// Anything else: complaints.
    pub other: Vec<String>,
}

/// A child that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    listener: std::thread::JoinHandle<Said>,
}

impl Running {
    /// Starts `command`, which must come to [`Killable::write_for_ever`].
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command, writers: u64) -> Result<Self, String> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("the child cannot be started: {error}"))?;
        let stderr = child.stderr.take().ok_or("the child has no standard error")?;
        let listener = std::thread::spawn(move || listen(BufReader::new(stderr), writers));
        Ok(Self { child, listener })
    }

    /// Lets it live for a while longer, then kills it.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill_after(mut self, life: Duration) -> Result<Said, String> {
        std::thread::sleep(life);
        self.child.kill().map_err(|error| format!("the child cannot be killed: {error}"))?;
        self.child.wait().map_err(|error| format!("the child does not end: {error}"))?;
        self.listener.join().map_err(|_| "the listener panicked".to_owned())
    }
}

fn listen(lines: impl BufRead, writers: u64) -> Said {
    let mut said =
        Said { acknowledged: Lasts::none(writers), synced: Lasts::none(writers), other: Vec::new() };
    for line in lines.lines().map_while(Result::ok) {
        if note(&mut said, &line).is_none() {
            said.other.push(line);
        }
    }
    said
}

fn note(said: &mut Said, line: &str) -> Option<()> {
    let mut words = line.strip_prefix("ack ")?.split(' ');
    let writer: usize = words.next()?.parse().ok()?;
    let is_batch = words.next()? == "batch";
    let number = words.next()?.parse().ok()?;
    let is_sync = words.next()? == "Sync";
    for lasts in
        [Some(&mut said.acknowledged), Some(&mut said.synced).filter(|_| is_sync)].into_iter().flatten()
    {
        let list = if is_batch { &mut lasts.batches } else { &mut lasts.singles };
        *list.get_mut(writer)? = number;
    }
    Some(())
}

/// Kills children of one kind again and again; all that was written in the end.
///
/// `command` makes the command that starts a child in life number so-and-so.
///
/// # Errors
/// What was lost or torn, and in which life.
pub fn kill_again_and_again(
    kind: &Kind,
    dir: &Path,
    kills: u64,
    random: &mut Random,
    mut command: impl FnMut(u64) -> Command,
) -> Result<u64, String> {
    let mut known = Lasts::none(kind.writers);
    for life in 0..kills {
        // Some die while they open the database, some when they have written a lot.
        let millis = if random.chance(20) { random.below(15) } else { random.below(220) };
        let said =
            Running::start(&mut command(life), kind.writers)?.kill_after(Duration::from_millis(millis))?;
        let context =
            |why: String| format!("kind 0x{:x}, life {life} of {millis} ms: {why}\n{kind:?}", kind.seed);
        if !said.other.is_empty() {
            return Err(context(format!("the child said: {}", said.other.join("\n"))));
        }
        known.raise(&said.acknowledged);
        let survived = Killable::open(kind, dir, life).map_err(|error| context(format!("{error:?}")))?;
        let found = survived.check(kind.writers).map_err(context)?;
        if !found.holds(&known) {
            return Err(context(format!("promised {known:?}, found {found:?}")));
        }
        known = found;
        if random.chance(20) {
            survived
                .numbered
                .database()
                .clone()
                .close()
                .map_err(|error| context(format!("close: {error:?}")))?;
        }
    }
    Ok(known.total())
}
