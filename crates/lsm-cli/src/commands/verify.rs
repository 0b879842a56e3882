//! `lsm verify`: reads every file of a database without opening it, checks every byte,
//! and says what was checked. Changes nothing; works on a damaged database too, where
//! it names each damaged file and the first damage in it.

use crate::database::require_database;
use crate::failure::{Failure, Outcome, complain};
use crate::units::{bytes, count, duration};
use lsm_log::{Cut, LogPosition, RecoverOptions, SEGMENT_HEADER_BYTES, segment_number, segment_path};
use lsm_sstable::{Table, TableContext, TableMeta};
use lsm_types::batch::BatchReader;
use lsm_version::{
    FileNumber, MANIFEST_NAME, MANIFEST_NEW_NAME, Manifest, ManifestState, read_manifest, table_file_name,
};
use lsm_vfs::{Corruption, Fs, IoError, OsFs};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Read every byte of a database and check it; exit code 1 when something is damaged
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the database
    #[arg(value_name = "DB")]
    db: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    require_database(&args.db)?;
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    // Under the lock no file appears or goes while it is read.
    let Some(_lock) = fs.try_lock(&args.db.join("LOCK"))? else {
        return Err(lsm_tree::Error::Locked { path: args.db.clone() }.into());
    };
    let started = Instant::now();
    let mut check = Check::new(&args.db, fs, out);
    let state = check.manifest()?;
    check.tables(state.as_ref())?;
    check.log(state.as_ref())?;
    check.strangers()?;
    let Check { files, read_bytes, damage, .. } = check;
    let read = format!("{}, {}", count(files, "file", "files"), bytes(read_bytes));
    match damage.first() {
        None => {
            writeln!(out, "sound: {read}, every byte read and checked in {}", duration(started.elapsed()))?;
            Ok(Outcome::Done)
        }
        Some(first) => {
            writeln!(out, "DAMAGED: {} of {read}", damage.len())?;
            complain(&format!("{first}; bring the data back from a checkpoint, or open it in salvage mode"));
            Ok(Outcome::Negative)
        }
    }
}

/// Why a file is not sound.
enum Fault {
    /// Its bytes are not what was written.
    Damage(Corruption),
    /// It could not be checked at all.
    Unchecked(Failure),
}

impl From<Corruption> for Fault {
    fn from(damage: Corruption) -> Self {
        Self::Damage(damage)
    }
}

impl From<IoError> for Fault {
    fn from(error: IoError) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => {
                Self::Damage(Corruption::new(&error.path, 0, "a file", "no such file"))
            }
            io::ErrorKind::UnexpectedEof => {
                Self::Damage(Corruption::new(&error.path, 0, "a longer file", "its end"))
            }
            _ => Self::Unchecked(error.into()),
        }
    }
}

impl From<lsm_sstable::Error> for Fault {
    fn from(error: lsm_sstable::Error) -> Self {
        match error {
            lsm_sstable::Error::Corruption(damage) => damage.into(),
            lsm_sstable::Error::Io(error) => error.into(),
            other => Self::Unchecked(Failure::Other(other.to_string())),
        }
    }
}

impl From<lsm_log::Error> for Fault {
    fn from(error: lsm_log::Error) -> Self {
        match error {
            lsm_log::Error::Corruption(damage) => damage.into(),
            other => Self::Unchecked(Failure::Other(other.to_string())),
        }
    }
}

impl From<lsm_version::Error> for Fault {
    fn from(error: lsm_version::Error) -> Self {
        match error {
            lsm_version::Error::Corruption(damage) => damage.into(),
            lsm_version::Error::Io(error) => error.into(),
            lsm_version::Error::Log(error) => error.into(),
            lsm_version::Error::Table(error) => error.into(),
            other => Self::Unchecked(Failure::Other(other.to_string())),
        }
    }
}

/// One verification: what was read so far and what was wrong.
struct Check<'a> {
    dir: &'a Path,
    fs: Arc<dyn Fs>,
    context: Arc<TableContext>,
    out: &'a mut dyn Write,
    files: u64,
    read_bytes: u64,
    /// The first damage of each damaged file.
    damage: Vec<Corruption>,
}

impl<'a> Check<'a> {
    fn new(dir: &'a Path, fs: Arc<dyn Fs>, out: &'a mut dyn Write) -> Self {
        // Nothing is read twice, so there is nothing to cache.
        let context = TableContext::new(Arc::clone(&fs), 0, 4);
        Self { dir, fs, context, out, files: 0, read_bytes: 0, damage: Vec::new() }
    }

    /// Prints a line about the file `name`, and notes the damage if there is some.
    fn note(&mut self, name: &str, len_bytes: u64, found: Result<String, Fault>) -> Result<(), Failure> {
        self.files += 1;
        self.read_bytes += len_bytes;
        let text = match found {
            Ok(text) => text,
            Err(Fault::Unchecked(failure)) => return Err(failure),
            Err(Fault::Damage(damage)) => {
                let Corruption { offset, expected, got, .. } = &damage;
                let text = format!("DAMAGED at byte {offset}: expected {expected}, got {got}");
                self.damage.push(damage);
                text
            }
        };
        writeln!(self.out, "{name:<24}  {:>10}  {text}", bytes(len_bytes))?;
        self.out.flush()?;
        Ok(())
    }

    /// Names in the directory that `number` understands, with their lengths.
    fn names(&self, number: impl Fn(&str) -> Option<u64>) -> Result<BTreeMap<u64, u64>, Failure> {
        let entries = self.fs.read_dir(self.dir)?;
        Ok(entries.iter().filter_map(|entry| Some((number(&entry.name)?, entry.len_bytes))).collect())
    }

    /// Checks the manifest; what it says is worth nothing when it is damaged.
    fn manifest(&mut self) -> Result<Option<ManifestState>, Failure> {
        let path = self.dir.join(MANIFEST_NAME);
        let len_bytes = self.fs.open_read(&path)?.len()?;
        let read = self.read_manifest(&path);
        let (state, found) = match read {
            Ok((state, text)) => (Some(state), Ok(text)),
            Err(fault) => (None, Err(fault)),
        };
        self.note(MANIFEST_NAME, len_bytes, found)?;
        Ok(state)
    }

    fn read_manifest(&self, path: &Path) -> Result<(ManifestState, String), Fault> {
        let Some(manifest) = Manifest::open(self.fs.as_ref(), self.dir)? else {
            return Err(Corruption::new(path, 0, "a manifest", "none").into());
        };
        let read = read_manifest(self.fs.as_ref(), path, RecoverOptions::default(), &mut |_, _| {})?;
        let state = manifest.state().clone();
        let tables: usize = state.keyspaces.values().map(|keyspace| keyspace.tables.len()).sum();
        let end = how_it_ends(read.cut.as_ref(), read.closed_cleanly);
        let keyspaces = count(state.keyspaces.len() as u64, "keyspace", "keyspaces");
        let text = format!("{keyspaces}, {}; {end}", count(tables as u64, "table", "tables"));
        Ok((state, text))
    }

    /// Checks the tables that the manifest names, or, without one, all that are there.
    fn tables(&mut self, state: Option<&ManifestState>) -> Result<(), Failure> {
        let mut present = self.names(table_number)?;
        for keyspace in state.iter().flat_map(|state| state.keyspaces.values()) {
            for (&number, (placement, meta)) in &keyspace.tables {
                let len_bytes = present.remove(&number).unwrap_or(0);
                let place = format!("{}, level {}", keyspace.name, placement.level);
                let found = self.table(number, Some(meta)).map(|text| format!("{place}: {text}"));
                self.note(&table_file_name(number), len_bytes, found)?;
            }
        }
        for (number, len_bytes) in present {
            let found = match state {
                Some(_) => Ok("left over; the next open removes it".to_owned()),
                None => self.table(number, None),
            };
            self.note(&table_file_name(number), len_bytes, found)?;
        }
        Ok(())
    }

    /// Reads a table whole; `expected` is what the manifest knows of it.
    fn table(&self, number: FileNumber, expected: Option<&TableMeta>) -> Result<String, Fault> {
        let path = self.dir.join(table_file_name(number));
        let own;
        let meta = match expected {
            Some(meta) => meta,
            None => {
                own = Table::read_meta(&self.context, &path)?;
                &own
            }
        };
        let report = Table::open(&self.context, path, number, meta)?.verify()?;
        let entries = count(report.entries, "entry", "entries");
        let mut text = format!("{entries} in {}", count(report.blocks, "block", "blocks"));
        if report.range_tombstones > 0 {
            let deletions = count(report.range_tombstones, "range deletion", "range deletions");
            text.push_str(&format!(", {deletions}"));
        }
        Ok(text)
    }

    /// Checks the log as recovery reads it: all segments as one sequence.
    fn log(&mut self, state: Option<&ManifestState>) -> Result<(), Failure> {
        let (first, base, durable) = state.map_or((0, 0, 0), |state| {
            (state.first_segment, state.log_first_base, state.log_durable_through)
        });
        let mut present = self.names(segment_number)?;
        let needed = present.split_off(&first);
        for (number, len_bytes) in present {
            self.note(&log_name(number), len_bytes, Ok("left over; the next open removes it".to_owned()))?;
        }
        if needed.is_empty() {
            return Ok(());
        }
        let numbers: Vec<u64> = needed.keys().copied().collect();
        let options = RecoverOptions {
            durable_through: LogPosition(durable),
            oldest_needed: first,
            needed_from: LogPosition(base),
            ..RecoverOptions::default()
        };
        let mut tally = Tally::default();
        let read = lsm_log::recover::<lsm_log::Error>(
            self.fs.as_ref(),
            self.dir,
            &numbers,
            options,
            &mut |end, record| {
                tally.record(end, record);
                Ok(())
            },
        );
        let mut verdict = match read {
            Ok(recovered) => match tally.damage(self.dir, &recovered.segments) {
                Some(damage) => Err(Fault::Damage(damage)),
                None => Ok(tally.describe(&recovered)),
            },
            Err(error) => Err(error.into()),
        };
        // The verdict on the whole sequence stands beside the segment it is about.
        let last = numbers.last().copied().unwrap_or(0);
        let about = match &verdict {
            Err(Fault::Damage(damage)) => {
                numbers.iter().copied().find(|&number| segment_path(self.dir, number) == damage.file)
            }
            _ => None,
        };
        for (&number, &len_bytes) in &needed {
            let found = if number == about.unwrap_or(last) {
                std::mem::replace(&mut verdict, Ok(String::new()))
            } else {
                Ok("log".to_owned())
            };
            self.note(&log_name(number), len_bytes, found)?;
        }
        Ok(())
    }

    /// Names what is not ours, so that nobody takes it for checked.
    fn strangers(&mut self) -> Result<(), Failure> {
        for entry in self.fs.read_dir(self.dir)? {
            let name = entry.name.as_str();
            let known = [MANIFEST_NAME, MANIFEST_NEW_NAME, "LOCK"].contains(&name)
                || table_number(name).is_some()
                || segment_number(name).is_some();
            if name == "lost" {
                writeln!(self.out, "{name:<24}  {:>10}  kept by a salvage, not read", "")?;
            } else if !known {
                writeln!(self.out, "{name:<24}  {:>10}  not ours, not read", "")?;
            }
        }
        Ok(())
    }
}

fn log_name(number: u64) -> String {
    segment_path(Path::new(""), number).display().to_string()
}

fn table_number(name: &str) -> Option<FileNumber> {
    let number = name.strip_suffix(".sst")?.parse().ok()?;
    (table_file_name(number) == name).then_some(number)
}

/// What the records of the log hold.
#[derive(Default)]
struct Tally {
    batches: u64,
    entries: u64,
    /// The end of the first record that is no batch, and why it is none.
    fault: Option<(LogPosition, String)>,
}

impl Tally {
    fn record(&mut self, end: LogPosition, record: &[u8]) {
        let entries = BatchReader::new(record)
            .and_then(|batch| batch.iter().try_fold(0, |count, entry| entry.map(|_| count + 1)));
        match entries {
            Ok(count) => {
                self.batches += 1;
                self.entries += count;
            }
            Err(error) => {
                self.fault.get_or_insert((end, error.to_string()));
            }
        }
    }

    /// The record that is no batch, as a place in a file.
    fn damage(&self, dir: &Path, segments: &[lsm_log::SegmentInfo]) -> Option<Corruption> {
        let (end, why) = self.fault.as_ref()?;
        let segment = segments.iter().find(|segment| segment.base < *end && *end <= segment.end)?;
        let offset = SEGMENT_HEADER_BYTES + end.0.saturating_sub(segment.base.0);
        let expected = "a batch before this place";
        Some(Corruption::new(&segment_path(dir, segment.number), offset, expected, why.as_str()))
    }

    fn describe(&self, recovered: &lsm_log::Recovered) -> String {
        let end = how_it_ends(recovered.cut.as_ref(), recovered.closed_cleanly);
        let batches = count(self.batches, "batch", "batches");
        format!("log: {batches} with {}; {end}", count(self.entries, "entry", "entries"))
    }
}

/// How log and manifest end: not damage, but worth knowing.
fn how_it_ends(cut: Option<&Cut>, closed_cleanly: bool) -> String {
    match cut {
        Some(cut) => format!(
            "its last {} are a write cut short, which was never acknowledged",
            count(cut.discarded_bytes, "byte", "bytes")
        ),
        None if closed_cleanly => "closed cleanly".to_owned(),
        None => "not closed, as after a kill".to_owned(),
    }
}
