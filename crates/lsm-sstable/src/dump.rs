//! [`Table::dump`]: a table as text, for people. Called by tools; its form is not
//! meant to be parsed and may change.

use crate::{Error, Table};
use lsm_types::Slice;
use lsm_vfs::IoError;
use std::fmt::{self, Write};

impl Table {
    /// Writes what the table is made of: sections, meta, range tombstones, blocks, and
    /// with `entries` each entry.
    ///
    /// # Errors
    /// Those of reading blocks; [`Error::Io`] when `out` refuses.
    pub fn dump(&self, entries: bool, out: &mut dyn Write) -> Result<(), Error> {
        let refused = |_: fmt::Error| {
            IoError::new("write the dump of", self.path(), std::io::ErrorKind::WriteZero.into())
        };
        self.dump_head(out).map_err(refused)?;
        for at in 0..self.index.len() {
            let (start, end) = self.extent(at)?;
            let block = self.block(at, false)?;
            let block = block.view();
            let separator = [self.index.prefix(), self.index.separator(at)].concat();
            writeln!(
                out,
                "block {at} at {start}: {} bytes, {} uncompressed, {} entries up to {:?}",
                end - start,
                block.image().len(),
                block.count(),
                Slice::from(separator),
            )
            .map_err(refused)?;
            for entry in (0..block.count()).take_while(|_| entries) {
                let key = block.key(entry);
                let user_key = Slice::copy_from(key.user_key);
                let value = Slice::copy_from(block.value(entry));
                writeln!(out, "  {user_key:?} @{} {:?} {value:?}", key.seqno(), key.kind())
                    .map_err(refused)?;
            }
        }
        Ok(())
    }

    fn dump_head(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "{}", self.path().display())?;
        writeln!(out, "{:#?}", self.sections)?;
        writeln!(out, "{:#?}", self.meta())?;
        for tombstone in self.range_tombstones().iter() {
            let span = &tombstone.span;
            writeln!(out, "range tombstone @{} from {:?} to {:?}", tombstone.seqno, span.start, span.end)?;
        }
        Ok(())
    }
}
