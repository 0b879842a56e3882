//! Entries out of text files: [`Records`] and its three readers. Called by `load`;
//! knows nothing of databases. Memory is bounded by one line.

mod column;
mod csv;
mod jsonl;
mod line;
mod tsv;

pub(crate) use column::{Column, Columns};
pub(crate) use csv::CsvRecords;
pub(crate) use jsonl::JsonRecords;
pub(crate) use line::{LineError, Lines, Problem};
pub(crate) use tsv::{Spelling, TsvRecords};

/// A source of entries.
pub(crate) trait Records {
    /// Reads the next entry into the two buffers, replacing what they hold; `false`
    /// at the end.
    fn read(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<bool, Problem>;

    /// The number of the line last read, from 1.
    fn line(&self) -> u64;
}

/// Reads the next entry of `records` and checks its lengths; errors name `file`
/// and the line.
pub(crate) fn read_checked(
    records: &mut dyn Records,
    file: &str,
    key: &mut Vec<u8>,
    value: &mut Vec<u8>,
) -> Result<bool, LineError> {
    let outcome = records.read(key, value).and_then(|more| {
        lsm_types::check_key(key)?;
        lsm_types::check_value(value)?;
        Ok(more)
    });
    outcome.map_err(|problem| LineError { file: file.to_owned(), line: records.line(), problem })
}
