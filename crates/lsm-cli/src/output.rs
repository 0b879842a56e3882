//! How entries are printed: the formats of `get` and `scan`. Never decides what.

use crate::escape::{write_escaped, write_hex};
use std::io::{self, Write};

/// What entries look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Key, tab, value; what is not text is escaped as \xNN (`load` reads it back)
    Tsv,
    /// One JSON object a line; bytes that are not text stand as {"hex": "…"}
    Json,
    /// Key, tab, value, both in hexadecimal (`load --hex` reads it back)
    Hex,
}

/// Prints one entry and a line feed.
pub(crate) fn write_entry(out: &mut dyn Write, format: Format, key: &[u8], value: &[u8]) -> io::Result<()> {
    match format {
        Format::Tsv => {
            write_escaped(out, key)?;
            out.write_all(b"\t")?;
            write_escaped(out, value)?;
        }
        Format::Json => {
            out.write_all(b"{\"key\":")?;
            write_json(out, key)?;
            out.write_all(b",\"value\":")?;
            write_json(out, value)?;
            out.write_all(b"}")?;
        }
        Format::Hex => {
            write_hex(out, key)?;
            out.write_all(b"\t")?;
            write_hex(out, value)?;
        }
    }
    out.write_all(b"\n")
}

/// Prints one value and a line feed.
pub(crate) fn write_value(out: &mut dyn Write, format: Format, value: &[u8]) -> io::Result<()> {
    match format {
        Format::Tsv => write_escaped(out, value)?,
        Format::Json => write_json(out, value)?,
        Format::Hex => write_hex(out, value)?,
    }
    out.write_all(b"\n")
}

/// Bytes as a JSON string, or as `{"hex": "…"}` when they are not UTF-8.
fn write_json(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::to_writer(out, text).map_err(io::Error::from),
        Err(_) => {
            out.write_all(b"{\"hex\":\"")?;
            write_hex(out, bytes)?;
            out.write_all(b"\"}")
        }
    }
}

/// A table of text whose first column is left-aligned and whose others are right-aligned.
#[derive(Debug, Default)]
pub(crate) struct TextTable {
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// Adds a row.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Prints the rows, each after `indent`.
    pub(crate) fn write(&self, out: &mut dyn Write, indent: &str) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            out.write_all(indent.as_bytes())?;
            for (index, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                match index {
                    0 => write!(out, "{cell:<width$}")?,
                    _ => write!(out, "  {cell:>width$}")?,
                }
            }
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}
