//! Lines of columns between single separators, without quoting. What `scan` prints
//! as tsv or hex is read back byte for byte.

use super::column::Picked;
use super::{Columns, Lines, Problem, Records};
use crate::escape::{unescape_into, unhex};
use std::io::BufRead;

/// How the bytes of a column are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// With the escapes of our own output.
    Escaped,
    /// As they stand.
    Raw,
    /// In hexadecimal.
    Hex,
}

/// Reads a TSV file.
pub(crate) struct TsvRecords<R> {
    lines: Lines<R>,
    separator: u8,
    spelling: Spelling,
    columns: Columns,
    picked: Option<Picked>,
}

impl<R: BufRead> TsvRecords<R> {
    /// Reads entries from `reader`.
    pub(crate) const fn new(reader: R, separator: u8, spelling: Spelling, columns: Columns) -> Self {
        Self { lines: Lines::new(reader), separator, spelling, columns, picked: None }
    }
}

impl<R: BufRead> Records for TsvRecords<R> {
    fn read(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<bool, Problem> {
        key.clear();
        value.clear();
        let separator = self.separator;
        let Some(mut line) = self.lines.next()? else { return Ok(false) };
        let picked = match &self.picked {
            Some(picked) => picked,
            None => {
                let picked = self.columns.pick(line.split(|&byte| byte == separator))?;
                if self.columns.header {
                    let Some(next) = self.lines.next()? else { return Ok(false) };
                    line = next;
                }
                self.picked.insert(picked)
            }
        };
        let fields: Vec<&[u8]> = line.split(|&byte| byte == separator).collect();
        let mut values = Vec::with_capacity(fields.len());
        picked.values(&fields, &mut values)?;
        spell(picked.key(&fields)?, self.spelling, key)?;
        for (index, field) in values.into_iter().enumerate() {
            if index > 0 {
                value.push(separator);
            }
            spell(field, self.spelling, value)?;
        }
        Ok(true)
    }

    fn line(&self) -> u64 {
        self.lines.line()
    }
}

fn spell(field: &[u8], spelling: Spelling, out: &mut Vec<u8>) -> Result<(), Problem> {
    match spelling {
        Spelling::Escaped => unescape_into(field, out)?,
        Spelling::Raw => out.extend_from_slice(field),
        Spelling::Hex => out.append(&mut unhex(field)?),
    }
    Ok(())
}
