//! [`SegmentPreparer`]: makes the file of the next segment, and the room that will be
//! written next, ready ahead of time, so that no commit waits for that. Called by a
//! background job, and by the writer when no file is ready; it never writes a header,
//! which only the writer can know.

use crate::segment_writer::reserve;
use crate::{Error, Recovered, segment_path};
use lsm_sync::Mutex;
use lsm_vfs::{File, Fs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What makes a new segment's file unlike all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentId {
    /// The number in its name: above all numbers given out before.
    pub number: u64,
    /// Random.
    pub uid: u64,
}

/// Gives out the numbers and uids of new segments.
pub type SegmentIds = Arc<dyn Fn() -> SegmentId + Send + Sync>;

/// An empty file whose name is durable.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) id: SegmentId,
    pub(crate) file: Arc<dyn File>,
}

/// Makes the files of segments. Clones share the one that is ready. Thread-safe.
#[derive(Clone)]
pub struct SegmentPreparer {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    segment_bytes: u64,
    ids: SegmentIds,
    /// Guards what is ready and what is wished for; no I/O happens under it.
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The file that is ready.
    ready: Option<Prepared>,
    /// Whether the writer will need one soon.
    wants_file: bool,
    /// The file being written, and the offset from which its room should be made ready.
    wants_room: Option<(Arc<dyn File>, u64)>,
    /// Files that are full, and keep room ready that nobody will write to.
    full: Vec<Arc<dyn File>>,
    /// What was recovered, whose old segments reserve room that nobody will write to.
    has_room: Option<Recovered>,
}

impl std::fmt::Debug for SegmentPreparer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SegmentPreparer").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl SegmentPreparer {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: PathBuf, segment_bytes: u64, ids: SegmentIds) -> Self {
        Self { fs, dir, segment_bytes, ids, shared: Arc::default() }
    }

    pub(crate) fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a file is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shared.lock().ready.is_some()
    }

    /// Asks for a file, to be made by [`prepare_wished`](Self::prepare_wished).
    pub(crate) fn wish_for_file(&self) {
        self.shared.lock().wants_file = true;
    }

    /// Asks for the room of `file` from `offset` on.
    pub(crate) fn wish_for_room(&self, file: &Arc<dyn File>, offset: u64) {
        self.shared.lock().wants_room = Some((Arc::clone(file), offset));
    }

    /// Says that `file` is full.
    pub(crate) fn note_full(&self, file: &Arc<dyn File>) {
        self.shared.lock().full.push(Arc::clone(file));
    }

    /// Asks for the room that old segments reserve to be given back.
    pub(crate) fn wish_for_less(&self, recovered: Recovered) {
        self.shared.lock().has_room = Some(recovered);
    }

    /// Does what the writer has asked for. Waits for the disk.
    ///
    /// # Errors
    /// [`Error::Io`]; the log itself is unharmed.
    pub fn prepare_wished(&self) -> Result<(), Error> {
        let Shared { wants_file, wants_room, full, has_room, .. } = {
            let mut shared = self.shared.lock();
            let ready = shared.ready.take();
            std::mem::replace(&mut *shared, Shared { ready, ..Shared::default() })
        };
        // First what the writer may be about to need.
        if let Some((file, offset)) = wants_room {
            file.make_ready(offset);
        }
        full.iter().for_each(|file| file.expect_no_writes());
        if let Some(recovered) = has_room
            && let Err(error) = recovered.give_back_room(self.fs(), &self.dir)
        {
            tracing::debug!(%error, "room that old log segments reserve is not given back");
        }
        if wants_file { self.prepare() } else { Ok(()) }
    }

    /// Makes a file ready unless one is. Waits for the disk.
    ///
    /// # Errors
    /// [`Error::Io`]; the log itself is unharmed.
    pub fn prepare(&self) -> Result<(), Error> {
        if self.is_ready() {
            return Ok(());
        }
        let made = self.make()?;
        made.file.make_ready(0);
        let surplus = {
            let ready = &mut self.shared.lock().ready;
            if ready.is_none() {
                *ready = Some(made);
                None
            } else {
                Some(made)
            }
        };
        if let Some(surplus) = surplus {
            self.remove(&surplus);
        }
        Ok(())
    }

    /// The file that is ready, else a new one, with a number above `highest`.
    pub(crate) fn take(&self, highest: u64) -> Result<Prepared, Error> {
        let ready = self.shared.lock().ready.take();
        match ready {
            Some(prepared) if prepared.id.number > highest => Ok(prepared),
            stale => {
                // It was begun before the current segment and got ready after it.
                if let Some(stale) = stale {
                    self.remove(&stale);
                }
                let made = self.make()?;
                let number = made.id.number;
                if number > highest {
                    Ok(made)
                } else {
                    self.remove(&made);
                    Err(Error::NumberNotAscending { number, highest })
                }
            }
        }
    }

    fn make(&self) -> Result<Prepared, Error> {
        let id = (self.ids)();
        let file = self.fs.create_new(&segment_path(&self.dir, id.number))?;
        let prepared = Prepared { id, file };
        let outcome = reserve(&*prepared.file, self.segment_bytes)
            .map(|()| prepared.file.expect_small_writes())
            // A sync of the log never syncs the directory: the name must be durable before.
            .and_then(|()| self.fs.sync_dir(&self.dir));
        if let Err(cause) = outcome {
            self.remove(&prepared);
            return Err(cause.into());
        }
        Ok(prepared)
    }

    /// Removes a file that will not be used. Failing is harmless: recovery passes over it.
    pub(crate) fn remove(&self, unused: &Prepared) {
        let path = segment_path(&self.dir, unused.id.number);
        if let Err(error) = self.fs.remove_file(&path) {
            tracing::debug!(%error, "an unused log segment stays behind");
        }
    }

    /// Removes the file that is ready, when the log is closed.
    pub(crate) fn clear(&self) {
        let ready = self.shared.lock().ready.take();
        if let Some(unused) = ready {
            self.remove(&unused);
        }
    }
}
