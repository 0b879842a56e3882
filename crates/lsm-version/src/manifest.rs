//! [`Manifest`]: the durable log of edits, one file of the log's framing.
//!
//! Opening only makes durable what a killed process may have left in the page cache. The
//! first change after an open, and each one that finds
//! the file grown past its limit, writes a new file that starts with the whole state
//! and renames it over the old one; all others append one record and sync it.

use crate::edit::EditError;
use crate::{Edit, Error, ManifestState};
use lsm_log::{LogPosition, RecoverOptions, SegmentHeader, SegmentWriter};
use lsm_vfs::{Corruption, Fs};
use std::path::{Path, PathBuf};

/// The manifest's name in its directory.
pub const MANIFEST_NAME: &str = "MANIFEST";
/// The name under which a new manifest is written.
pub const MANIFEST_NEW_NAME: &str = "MANIFEST.new";

/// What the first bytes of a manifest say.
pub(crate) const MAGIC: [u8; 8] = *b"LSM.MAN\n";
/// The file is rewritten when it is longer than this and than twice its first record.
const REWRITE_FROM_BYTES: u64 = 1 << 20;
/// At the end of a closed manifest, so many bytes hold the mark.
const MARK_BYTES: u64 = 512;

/// The manifest of one open directory. One owner, behind a lock of the facade.
#[derive(Debug)]
pub struct Manifest {
    directory: PathBuf,
    state: ManifestState,
    /// The file that takes the next record; `None` when it must be written anew.
    writer: Option<SegmentWriter>,
    rewrite_at_bytes: u64,
    /// The file ends with a mark that vouches for all of it.
    is_closed: bool,
    /// Why nothing is written any more.
    failure: Option<String>,
}

impl Manifest {
    /// A manifest for a directory that has none; written by the first commit.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self::with_state(directory, ManifestState::default())
    }

    fn with_state(directory: &Path, state: ManifestState) -> Self {
        let directory = directory.to_path_buf();
        Self { directory, state, writer: None, rewrite_at_bytes: 0, is_closed: false, failure: None }
    }

    /// Reads the manifest of `directory`; `None` when it has none.
    ///
    /// A record that was being written when the power went is left out: it was never
    /// acknowledged. Damage anywhere before it is an error.
    ///
    /// # Errors
    /// [`Error::Corruption`] with file and offset, [`Error::Incompatible`] for a newer
    /// version, [`Error::Io`].
    pub fn open(fs: &dyn Fs, directory: &Path) -> Result<Option<Self>, Error> {
        let path = directory.join(MANIFEST_NAME);
        if !fs.exists(&path)? {
            return Ok(None);
        }
        let mut state = ManifestState::default();
        let read =
            lsm_log::read_segment(fs, &path, MAGIC, RecoverOptions::default(), &mut |position, record| {
                apply_record(&mut state, record, &path, position)
            })?;
        if state.kind.is_none() {
            let expected = "a record that creates the store";
            return Err(Corruption::new(&path, lsm_log::SEGMENT_HEADER_BYTES, expected, "none").into());
        }
        Ok(Some(Self { is_closed: read.closed_cleanly, ..Self::with_state(directory, state) }))
    }

    /// Makes durable what [`open`](Self::open) has read. A process that was killed may
    /// have written a change and not synced it, or its sync may have failed; whoever acts
    /// upon the change, by removing a file that it lets go, must not lose it to a power
    /// cut afterwards. Nor must the mark of a clean close be lost, since a log that is
    /// closed later says that it is there. Written over itself, since a sync alone does not
    /// write again what an earlier one has lost.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn make_durable(&self, fs: &dyn Fs) -> Result<(), Error> {
        write_over_itself(fs, &self.directory, self.is_closed)
    }

    /// As [`make_durable`](Self::make_durable) for the manifest of `directory` that was
    /// found closed and has not been changed since.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn make_closed_durable(fs: &dyn Fs, directory: &Path) -> Result<(), Error> {
        write_over_itself(fs, directory, true)
    }

    /// Whether the file on disk ends with a mark that vouches for all of it.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// What exists.
    #[must_use]
    pub const fn state(&self) -> &ManifestState {
        &self.state
    }

    /// Makes `edits`, which take effect together, durable, then part of the state.
    /// One write and one sync; when the file is written anew also a rename and the
    /// sync of the directory. `new_uid` gives the random number of a new file.
    ///
    /// # Errors
    /// [`Error::Contradiction`] when the edits do not fit the state: nothing was
    /// written. A full disk, and any failure before a new file has its name, leave what
    /// is durable as it was: the next call writes a new file. Every other failure
    /// latches: what stands on disk is unknown, so later calls fail with
    /// [`Error::Latched`].
    pub fn commit(
        &mut self,
        fs: &dyn Fs,
        edits: &[Edit],
        new_uid: impl FnOnce() -> u64,
    ) -> Result<(), Error> {
        if let Some(cause) = &self.failure {
            return Err(Error::Latched(cause.clone()));
        }
        self.state.check(edits).map_err(Error::Contradiction)?;
        self.is_closed = false;
        match self.writer.take() {
            Some(mut writer) if writer.end_offset() <= self.rewrite_at_bytes => {
                if let Err(error) = append(&mut writer, edits) {
                    return Err(if is_disk_full(&error) { error } else { self.latch(error) });
                }
                self.writer = Some(writer);
            }
            _ => {
                let mut writer = begin(fs, &self.directory, &self.state, new_uid())?;
                append(&mut writer, edits)?;
                put_in_place(fs, &self.directory).map_err(|error| self.latch(error))?;
                self.rewrite_at_bytes = REWRITE_FROM_BYTES.max(writer.end_offset() * 2);
                self.writer = Some(writer);
            }
        }
        self.state.apply(edits).map_err(Error::Contradiction)
    }

    fn latch(&mut self, error: Error) -> Error {
        self.failure = Some(error.to_string());
        error
    }

    /// Whether a failure left the state on disk unknown.
    #[must_use]
    pub const fn is_latched(&self) -> bool {
        self.failure.is_some()
    }

    /// Ends the file with a mark, after which damage to its last record can be told
    /// from a record that was being written.
    ///
    /// # Errors
    /// [`Error::Log`]; the state on disk is complete all the same.
    pub fn close(&mut self) -> Result<(), Error> {
        match self.writer.take() {
            Some(mut writer) if self.failure.is_none() => {
                writer.mark()?;
                self.is_closed = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Writes a complete, closed manifest of `state` into another directory: that of
    /// a checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Log`].
    pub fn write_copy(fs: &dyn Fs, directory: &Path, state: &ManifestState, uid: u64) -> Result<(), Error> {
        let mut writer = begin(fs, directory, state, uid)?;
        writer.mark()?;
        put_in_place(fs, directory)
    }
}

fn write_over_itself(fs: &dyn Fs, directory: &Path, is_closed: bool) -> Result<(), Error> {
    let file = fs.open_write(&directory.join(MANIFEST_NAME))?;
    let len = file.len()?;
    // What stands before the mark was synced before that was written.
    let from = if is_closed { len.saturating_sub(MARK_BYTES) } else { 0 };
    let mut contents = vec![0; (len - from) as usize];
    file.read_exact_at(&mut contents, from)?;
    file.write_all_at(&contents, from)?;
    file.sync_data()?;
    Ok(fs.sync_dir(directory)?)
}

/// Starts a new file with the whole of `state`. Nothing is synced yet.
fn begin(fs: &dyn Fs, directory: &Path, state: &ManifestState, uid: u64) -> Result<SegmentWriter, Error> {
    let path = directory.join(MANIFEST_NEW_NAME);
    if fs.exists(&path)? {
        fs.remove_file(&path)?;
    }
    let mut writer = SegmentWriter::create(fs, &path, SegmentHeader::single(MAGIC, uid), 0)?;
    writer.stage(&[&encode(&state.to_edits())])?;
    writer.write_staged()?;
    Ok(writer)
}

fn put_in_place(fs: &dyn Fs, directory: &Path) -> Result<(), Error> {
    fs.rename(&directory.join(MANIFEST_NEW_NAME), &directory.join(MANIFEST_NAME))?;
    Ok(fs.sync_dir(directory)?)
}

fn append(writer: &mut SegmentWriter, edits: &[Edit]) -> Result<(), Error> {
    writer.stage(&[&encode(edits)])?;
    writer.write_staged()?;
    Ok(writer.sync()?)
}

/// Whether a write found no room: then nothing of it counts. A sync that says so is
/// as unknown as any other.
fn is_disk_full(error: &Error) -> bool {
    matches!(error, Error::Log(error) if error.is_disk_full())
}

fn encode(edits: &[Edit]) -> Vec<u8> {
    let mut record = Vec::new();
    for edit in edits {
        edit.encode(&mut record);
    }
    record
}

/// `position` is where the record ends.
fn apply_record(
    state: &mut ManifestState,
    record: &[u8],
    path: &Path,
    position: LogPosition,
) -> Result<(), Error> {
    let edits = decode_record(record, path, position)?;
    state.apply(&edits).map_err(|why| {
        Corruption::new(path, offset_of(position), "a change that fits before this place", why).into()
    })
}

/// The edits of the record that ends at `position` of the manifest `path`.
pub(crate) fn decode_record(record: &[u8], path: &Path, position: LogPosition) -> Result<Vec<Edit>, Error> {
    Edit::decode_all(record).map_err(|error| match error {
        EditError::Malformed(what) => {
            let expected = format!("{what} before this place");
            Corruption::new(path, offset_of(position), expected, "other bytes").into()
        }
        EditError::UnknownTag(tag) => {
            Error::Incompatible { file: path.to_path_buf(), found: u32::from(tag), supported: Edit::MAX_TAG }
        }
    })
}

/// Where in the file a position lies: the manifest is one segment, which begins at 0.
const fn offset_of(position: LogPosition) -> u64 {
    lsm_log::SEGMENT_HEADER_BYTES.saturating_add(position.0)
}
