//! Verification: every byte of every table is read and checked.

use crate::Result;
use crate::engine::Engine;

/// What a verification read and found sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Tables.
    pub tables: u64,
    /// Their data blocks.
    pub blocks: u64,
    /// Their entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Engine {
    pub(crate) fn verify(&self) -> Result<VerifyReport> {
        let _call = self.begin_call()?;
        let mut report = VerifyReport::default();
        for core in self.cores() {
            let view = core.history.latest();
            for (_, table) in view.tables.tables() {
                let checked = table.table()?.verify()?;
                report.tables += 1;
                report.blocks += checked.blocks;
                report.entries += checked.entries;
                report.bytes += checked.file_bytes;
            }
        }
        Ok(report)
    }
}
