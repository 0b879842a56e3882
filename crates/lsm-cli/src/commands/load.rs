//! `lsm load`: entries from a file or the standard input, in batches.

use crate::database::{Target, close};
use crate::failure::{Failure, Outcome};
use crate::progress::Progress;
use crate::records::{
    Column, Columns, CsvRecords, JsonRecords, LineError, Records, Spelling, TsvRecords, read_checked,
};
use crate::units::{bytes, count, duration, rate};
use lsm_tree::{Batch, Database, Durability, Keyspace};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A batch is committed early when it holds so many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// Load entries from a file of columns or of JSON lines
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// The file; - for the standard input
    file: PathBuf,
    /// What the file holds [default: by its name's ending; tsv]
    #[arg(long, value_enum)]
    format: Option<InputFormat>,
    /// What stands between columns, one byte [default: a tab, or a comma for csv]
    #[arg(long, short, value_name = "C")]
    separator: Option<String>,
    /// The column of the key, a number from 1 or a name in the header
    #[arg(long, value_name = "COLUMN", default_value = "1")]
    key_column: Column,
    /// The columns of the value, as in 2,3 [default: all others]
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    value_columns: Vec<Column>,
    /// The first line names the columns
    #[arg(long)]
    header: bool,
    /// The field of the key in JSON lines [default: key]
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// The field of the value in JSON lines [default: the whole line]
    #[arg(long, value_name = "FIELD")]
    value: Option<String>,
    /// Columns are in hexadecimal, as scan --format hex prints them (tsv)
    #[arg(long, conflicts_with = "raw")]
    hex: bool,
    /// Take backslashes as they are, not as escapes (tsv)
    #[arg(long)]
    raw: bool,
    /// Wait for stable storage after each batch
    #[arg(long)]
    sync: bool,
    /// Entries a batch; a batch is there whole or not at all
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: u32,
}

/// What an input file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum InputFormat {
    /// Columns without quotes; our own escapes are understood
    Tsv,
    /// Columns with quotes, as in RFC 4180
    Csv,
    /// One JSON object a line
    Jsonl,
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let name =
        if args.file == Path::new("-") { "standard input".into() } else { args.file.to_string_lossy() };
    let (reader, total_bytes) = open_input(&args.file)?;
    let progress = Progress::start(total_bytes);
    let mut records = records(args, progress.watch(reader))?;
    let (db, keyspace) = args.target.open_or_create()?;
    let durability = if args.sync { Durability::Sync } else { Durability::Buffered };
    let mut loader = Loader {
        db: &db,
        keyspace: &keyspace,
        durability,
        batch_entries: args.batch as usize,
        entries: 0,
        bytes: 0,
    };
    let started = Instant::now();
    let loaded = loader.load(records.as_mut(), &name, &progress);
    let (entries, loaded_bytes) = (loader.entries, loader.bytes);
    let complaint = loaded.map_err(|failure| Failure::Load(Box::new(failure), entries))?;
    drop(progress);
    close(db)?;
    if let Some(error) = complaint {
        return Err(Failure::Line(error, entries));
    }
    let elapsed = started.elapsed();
    writeln!(
        out,
        "loaded {}, {}, in {}: {} entries/s",
        count(entries, "entry", "entries"),
        bytes(loaded_bytes),
        duration(elapsed),
        rate(entries, elapsed),
    )?;
    Ok(Outcome::Done)
}

/// The input and its length where it has one.
fn open_input(path: &Path) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(std::io::stdin().lock()), None));
    }
    let file = File::open(path).map_err(Failure::read(path))?;
    let metadata = file.metadata().map_err(Failure::read(path))?;
    let total = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), total))
}

/// The reader that the arguments and the file's name ask for.
fn records(args: &Args, input: impl Read + 'static) -> Result<Box<dyn Records>, Failure> {
    let format = args.format.unwrap_or_else(|| guess(args));
    let columns =
        Columns { key: args.key_column.clone(), values: args.value_columns.clone(), header: args.header };
    let separator = match args.separator.as_deref().map(str::as_bytes) {
        None if format == InputFormat::Csv => b',',
        None | Some(b"\\t") => b'\t',
        Some(&[byte]) => byte,
        Some(_) => {
            return Err(Failure::Other("a separator is one byte; give one, as in --separator ';'".into()));
        }
    };
    let spelling = match (args.hex, args.raw) {
        (true, _) => Spelling::Hex,
        (_, true) => Spelling::Raw,
        _ => Spelling::Escaped,
    };
    let reader = BufReader::with_capacity(256 << 10, input);
    Ok(match format {
        InputFormat::Tsv => Box::new(TsvRecords::new(reader, separator, spelling, columns)),
        InputFormat::Csv => Box::new(CsvRecords::new(reader, separator, columns)),
        InputFormat::Jsonl => {
            let key = args.key.clone().unwrap_or_else(|| "key".to_owned());
            Box::new(JsonRecords::new(reader, key, args.value.clone()))
        }
    })
}

fn guess(args: &Args) -> InputFormat {
    let ending = args.file.extension().unwrap_or_default().to_ascii_lowercase();
    if args.key.is_some() || args.value.is_some() || ending == "jsonl" || ending == "ndjson" {
        InputFormat::Jsonl
    } else if ending == "csv" {
        InputFormat::Csv
    } else {
        InputFormat::Tsv
    }
}

/// Fills batches and commits them.
struct Loader<'a> {
    db: &'a Database,
    keyspace: &'a Keyspace,
    durability: Durability,
    batch_entries: usize,
    /// Entries and bytes committed so far.
    entries: u64,
    bytes: u64,
}

impl Loader<'_> {
    /// Loads all of `records`. A line that is no entry ends it after the entries
    /// before it are committed, and is handed back.
    fn load(
        &mut self,
        records: &mut dyn Records,
        name: &str,
        progress: &Progress,
    ) -> Result<Option<LineError>, Failure> {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        loop {
            let mut batch = self.db.batch();
            let (mut entries, mut batch_bytes) = (0, 0);
            let end = loop {
                match read_checked(records, name, &mut key, &mut value) {
                    Ok(true) => {
                        batch.insert(self.keyspace, &key, &value);
                        entries += 1;
                        batch_bytes += key.len() + value.len();
                        if entries == self.batch_entries || batch_bytes >= BATCH_BYTES {
                            break None;
                        }
                    }
                    Ok(false) => break Some(None),
                    Err(error) => break Some(Some(error)),
                }
            };
            self.commit(batch, entries, batch_bytes)?;
            progress.entries(self.entries);
            if let Some(complaint) = end {
                return Ok(complaint);
            }
        }
    }

    fn commit(&mut self, batch: Batch, entries: usize, batch_bytes: usize) -> Result<(), Failure> {
        if entries > 0 {
            batch.durability(self.durability).commit()?;
            self.entries += entries as u64;
            self.bytes += batch_bytes as u64;
        }
        Ok(())
    }
}
