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
