//! CSV as in RFC 4180: quoted fields, quotes doubled, line feeds inside quotes.

use super::column::Picked;
use super::{Columns, Problem, Records};
use std::io::Read;

/// Reads a CSV file.
pub(crate) struct CsvRecords<R> {
    reader: csv::Reader<R>,
    record: csv::ByteRecord,
    separator: u8,
    columns: Columns,
    picked: Option<Picked>,
    line: u64,
}

impl<R: Read> CsvRecords<R> {
    /// Reads entries from `reader`.
    pub(crate) fn new(reader: R, separator: u8, columns: Columns) -> Self {
        let reader = csv::ReaderBuilder::new().delimiter(separator).has_headers(false).from_reader(reader);
        Self { reader, record: csv::ByteRecord::new(), separator, columns, picked: None, line: 0 }
    }

    fn advance(&mut self) -> Result<bool, Problem> {
        self.line = self.reader.position().line();
        let more = self.reader.read_byte_record(&mut self.record).map_err(problem)?;
        if let Some(position) = self.record.position() {
            self.line = position.line();
        }
        Ok(more)
    }
}

impl<R: Read> Records for CsvRecords<R> {
    fn read(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<bool, Problem> {
        key.clear();
        value.clear();
        if !self.advance()? {
            return Ok(false);
        }
        if self.picked.is_none() {
            self.picked = Some(self.columns.pick(self.record.iter())?);
            if self.columns.header && !self.advance()? {
                return Ok(false);
            }
        }
        let Some(picked) = &self.picked else { return Ok(false) };
        let fields: Vec<&[u8]> = self.record.iter().collect();
        let mut values = Vec::with_capacity(fields.len());
        picked.values(&fields, &mut values)?;
        key.extend_from_slice(picked.key(&fields)?);
        match values.as_slice() {
            [single] => value.extend_from_slice(single),
            several => join(several, self.separator, value),
        }
        Ok(true)
    }

    fn line(&self) -> u64 {
        self.line
    }
}

/// Several fields as a CSV record again, so that none of their borders is lost.
fn join(fields: &[&[u8]], separator: u8, out: &mut Vec<u8>) {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push(separator);
        }
        if field.iter().any(|byte| [separator, b'"', b'\n', b'\r'].contains(byte)) {
            out.push(b'"');
            for &byte in *field {
                out.push(byte);
                if byte == b'"' {
                    out.push(b'"');
                }
            }
            out.push(b'"');
        } else {
            out.extend_from_slice(field);
        }
    }
}

fn problem(error: csv::Error) -> Problem {
    match error.into_kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            Problem::Ragged { expected: expected_len, found: len }
        }
        csv::ErrorKind::Io(error) => Problem::Read(error),
        other => Problem::Read(std::io::Error::other(format!("{other:?}"))),
    }
}
