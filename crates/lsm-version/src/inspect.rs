//! [`read_manifest`]: the edits of a manifest one record at a time, for tools that
//! show or check it. Never used to open a database, and changes nothing.

use crate::manifest::{MAGIC, decode_record};
use crate::{Edit, Error};
use lsm_log::{LogPosition, ReadSegment, RecoverOptions};
use lsm_vfs::Fs;
use std::path::Path;

/// The first eight bytes of a manifest.
pub const MANIFEST_MAGIC: [u8; 8] = MAGIC;

/// Hands the edits of each record of the file `path` to `on_record`, with the position
/// after the record, in the order of writing. Whether the edits fit each other is not
/// checked. Memory is bounded by the longest record.
///
/// # Errors
/// [`Error::Corruption`] as `options.mode` has it, and for a record that is no list of
/// edits in any mode; [`Error::Incompatible`], [`Error::Io`].
pub fn read_manifest(
    fs: &dyn Fs,
    path: &Path,
    options: RecoverOptions,
    on_record: &mut dyn FnMut(LogPosition, Vec<Edit>),
) -> Result<ReadSegment, Error> {
    lsm_log::read_segment(fs, path, MAGIC, options, &mut |position, record| {
        on_record(position, decode_record(record, path, position)?);
        Ok(())
    })
}
