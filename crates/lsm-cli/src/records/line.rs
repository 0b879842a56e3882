//! [`Lines`]: a text file line by line, with numbers; [`LineError`]: what is wrong
//! with one of them.

use crate::escape::{EscapeError, HexError};
use std::io::{BufRead, Read};

/// The longest line that is read: the longest value, and room for its key.
const MAX_LINE_BYTES: usize = lsm_types::MAX_VALUE_BYTES + (1 << 20);

/// A line that is no entry.
#[derive(Debug, thiserror::Error)]
#[error("{file}, line {line}: {problem}")]
pub(crate) struct LineError {
    /// The file's name.
    pub(crate) file: String,
    /// The line's number, from 1.
    pub(crate) line: u64,
    /// What is wrong with it.
    pub(crate) problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("it cannot be read ({0})")]
    Read(#[from] std::io::Error),
    #[error("the line is longer than any entry can be ({MAX_LINE_BYTES} bytes)")]
    TooLong,
    #[error("there is no column {wanted} among its {found} (--separator says what is between columns)")]
    NoColumn { wanted: usize, found: usize },
    #[error("the file has no column named '{0}' (--header says that the first line names them)")]
    NoSuchName(String),
    #[error("it has {found} columns where the first line has {expected}")]
    Ragged { expected: u64, found: u64 },
    #[error("{0}; --raw takes backslashes as they are")]
    Escape(#[from] EscapeError),
    #[error(transparent)]
    Hex(#[from] HexError),
    #[error("it is not a JSON object ({0})")]
    NotJson(String),
    #[error("the object has no field '{0}' (--key and --value name the fields)")]
    NoField(String),
    #[error("field '{0}' is no key: a key is a string, an integer or {{\"hex\": \"…\"}}")]
    NotAKey(String),
    #[error(transparent)]
    Limit(#[from] lsm_types::LimitError),
}

/// Lines without their ends, blank ones and the byte-order mark.
pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    line: u64,
}

impl<R: BufRead> Lines<R> {
    /// Starts before the first line.
    pub(crate) const fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), line: 0 }
    }

    /// The number of the line last read.
    pub(crate) const fn line(&self) -> u64 {
        self.line
    }

    /// The next line that is not blank, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, Problem> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let mut bounded = Read::take(&mut self.reader, MAX_LINE_BYTES as u64 + 1);
            if bounded.read_until(b'\n', &mut self.buffer)? == 0 {
                return Ok(None);
            }
            if self.buffer.len() > MAX_LINE_BYTES {
                return Err(Problem::TooLong);
            }
            if self.buffer.last() == Some(&b'\n') {
                self.buffer.pop();
            }
            if self.buffer.last() == Some(&b'\r') {
                self.buffer.pop();
            }
            if self.line == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") {
                self.buffer.drain(..3);
            }
            if !self.buffer.is_empty() {
                return Ok(Some(&self.buffer));
            }
        }
    }
}
