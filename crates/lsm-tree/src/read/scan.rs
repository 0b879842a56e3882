//! Many keys: the sources of a view merged, made visible, and walked from either
//! end ([`Range`]) or at will ([`Cursor`]).

use super::dead::{Skip, WORTH_REPORTING};
use super::{View, unsupported_kind};
use crate::{Error, Result};
use lsm_compaction::RunParts;
use lsm_memtable::MemtableCursor;
use lsm_merge::{ConcatCursor, MergeCursor, VisibleCursor};
use lsm_sstable::{BlockStretch, ReadOptions};
use lsm_types::{
    Cursor as SortedCursor, InternalKey, KeySpan, RangeTombstone, RangeTombstoneSet, SeqNo, Slice, ValueKind,
};
use lsm_version::SuperVersion;

/// One sorted source of a merge. An enum, so that the merge's inner loop is compiled
/// for it instead of calling through a table of functions.
#[derive(Debug)]
pub(crate) enum Source {
    Memtable(MemtableCursor),
    Run(ConcatCursor<RunParts>),
}

macro_rules! each_source {
    ($self:ident, $cursor:ident => $call:expr) => {
        match $self {
            Source::Memtable($cursor) => $call,
            Source::Run($cursor) => $call,
        }
    };
}

impl SortedCursor for Source {
    type Error = Error;
    type Stretch = BlockStretch;

    #[inline]
    fn valid(&self) -> bool {
        each_source!(self, cursor => cursor.valid())
    }
    #[inline]
    fn key(&self) -> InternalKey<&[u8]> {
        each_source!(self, cursor => cursor.key())
    }
    #[inline]
    fn value(&self) -> &[u8] {
        each_source!(self, cursor => cursor.value())
    }
    fn key_slice(&self) -> Slice {
        each_source!(self, cursor => cursor.key_slice())
    }
    fn value_slice(&self) -> Slice {
        each_source!(self, cursor => cursor.value_slice())
    }
    #[inline]
    fn stretch(&self, backward: bool, fits: impl Fn(&[u8]) -> bool) -> Option<BlockStretch> {
        match self {
            Self::Memtable(_) => None,
            Self::Run(run) => run.stretch(backward, fits),
        }
    }
    #[inline]
    fn resume(&mut self, stretch: BlockStretch) {
        if let Self::Run(run) = self {
            run.resume(stretch);
        }
    }
    fn seek_to_first(&mut self) -> Result<()> {
        each_source!(self, cursor => Ok(cursor.seek_to_first()?))
    }
    fn seek_to_last(&mut self) -> Result<()> {
        each_source!(self, cursor => Ok(cursor.seek_to_last()?))
    }
    fn seek(&mut self, target: InternalKey<&[u8]>) -> Result<()> {
        each_source!(self, cursor => Ok(cursor.seek(target)?))
    }
    fn seek_for_prev(&mut self, target: InternalKey<&[u8]>) -> Result<()> {
        each_source!(self, cursor => Ok(cursor.seek_for_prev(target)?))
    }
    #[inline]
    fn is_first_of_key(&self) -> Option<bool> {
        each_source!(self, cursor => cursor.is_first_of_key())
    }
    #[inline]
    fn next(&mut self) -> Result<()> {
        each_source!(self, cursor => Ok(cursor.next()?))
    }
    #[inline]
    fn prev(&mut self) -> Result<()> {
        each_source!(self, cursor => Ok(cursor.prev()?))
    }
}

/// The sources of `version` that may hold keys of `span`, newest first, each with
/// the greatest number in it, and what `snapshot` sees of the range tombstones there.
fn sources(
    version: &SuperVersion,
    span: &KeySpan,
    snapshot: SeqNo,
) -> Result<(Vec<(Source, SeqNo)>, RangeTombstoneSet)> {
    let mut sources = Vec::new();
    let mut tombstones: Vec<RangeTombstone> = Vec::new();
    // Writes go on in the active memtable, so no number bounds it.
    let active = std::iter::once((&version.active, SeqNo::MAX));
    let sealed =
        version.sealed.iter().map(|sealed| (&sealed.memtable, sealed.memtable.highest_seqno().unwrap_or(0)));
    for (memtable, highest) in active.chain(sealed).filter(|(memtable, _)| memtable.may_show(snapshot)) {
        for set in memtable.range_tombstones() {
            tombstones.extend(set.visible_in(span, snapshot));
        }
        sources.push((Source::Memtable(memtable.cursor()), highest));
    }
    for level in version.tables.levels() {
        for run in level.runs() {
            let tables = run.overlapping(span);
            // None, or all written after an old snapshot.
            if tables.iter().all(|table| table.meta().lowest_seqno >= snapshot) {
                continue;
            }
            for table in tables.iter().filter(|table| table.meta().range_tombstones > 0) {
                tombstones.extend(table.table()?.range_tombstones().visible_in(span, snapshot));
            }
            let highest = tables.iter().map(|table| table.meta().highest_seqno).max().unwrap_or(0);
            // As a rule all of them, which the run can lend without counting each.
            let is_whole = tables.len() == run.tables().len();
            let shared = if is_whole { run.shared_tables() } else { tables.into() };
            let parts = RunParts::new(shared, ReadOptions::default());
            sources.push((Source::Run(ConcatCursor::new(parts)), highest));
        }
    }
    Ok((sources, RangeTombstoneSet::new(tombstones)))
}

type Merged = VisibleCursor<MergeCursor<Source>>;

fn open(view: &View, span: &KeySpan) -> Result<Merged> {
    let (sources, tombstones) = sources(&view.version, span, view.snapshot)?;
    let merge = MergeCursor::with_highest_seqnos(sources);
    Ok(VisibleCursor::new(merge, view.snapshot, &tombstones, view.now_ms).within(span.clone()))
}

/// Moves `cursor` to the first entry at or after `target`, but over what is known to be dead.
fn seek(cursor: &mut Merged, view: &View, target: &[u8]) -> Result<()> {
    match view.skip(target) {
        Skip::Nothing => seek_and_report(cursor, view, &KeySpan::all(), target),
        Skip::To(end) => seek_and_report(cursor, view, &KeySpan::all(), &end),
        Skip::Everything => {
            cursor.leave();
            Ok(())
        }
    }
}

/// A cursor on the first entry of `span`, which never goes back; none when all is known to
/// be dead. It does not even open what holds nothing else.
fn first_of(view: &View, span: &KeySpan) -> Result<Option<Merged>> {
    let span = match view.skip(&span.start) {
        Skip::Nothing => span.clone(),
        Skip::To(start) => KeySpan { start, end: span.end.clone() },
        Skip::Everything => return Ok(None),
    };
    if span.is_empty() {
        return Ok(None);
    }
    let mut cursor = open(view, &span)?;
    seek_and_report(&mut cursor, view, &span, &span.start)?;
    Ok(Some(cursor))
}

/// Moves `cursor`, which keeps inside of `span`, and reports a long stretch found dead.
fn seek_and_report(cursor: &mut Merged, view: &View, span: &KeySpan, target: &[u8]) -> Result<()> {
    cursor.seek(target)?;
    if let Some(dead) = &view.dead
        && cursor.hidden_for_good() >= WORTH_REPORTING
    {
        let found = cursor.valid().then(|| Slice::copy_from(cursor.key()));
        let walked = KeySpan { start: Slice::copy_from(target), end: found.or_else(|| span.end.clone()) };
        dead.report(&walked, view.snapshot, |go| view.owner.at_rest(go));
    }
    Ok(())
}

/// The entry under `cursor`, as the application sees it.
fn item(cursor: &Merged) -> Result<(Slice, Slice)> {
    match cursor.kind() {
        ValueKind::Value | ValueKind::ExpiringValue => Ok((cursor.key_slice(), cursor.value_slice())),
        other => Err(unsupported_kind(other)),
    }
}

/// The entries of a range in key order, from either end; the two ends meet.
///
/// Sees one moment, whatever is written, flushed or compacted meanwhile. Owned:
/// borrows neither the database nor the keyspace. After an error it ends.
#[derive(Debug)]
pub struct Range {
    /// Each stands on the entry that its end yielded last.
    front: Option<Merged>,
    back: Option<Merged>,
    /// Why there is no view; yielded once.
    failure: Option<Error>,
    span: KeySpan,
    /// Dropped last: it may hold the database open, which removes on closing the files
    /// that only this iterator read.
    view: Option<View>,
}

impl Range {
    pub(crate) fn new(view: Result<View>, span: KeySpan) -> Self {
        let (view, failure) = match view {
            Ok(view) if !span.is_empty() => (Some(view), None),
            Ok(_) => (None, None),
            Err(error) => (None, Some(error)),
        };
        Self { view, failure, span, front: None, back: None }
    }

    fn end(&mut self) -> Option<Result<(Slice, Slice)>> {
        self.front = None;
        self.back = None;
        self.view = None;
        None
    }

    fn step(&mut self, forward: bool) -> Result<Option<(Slice, Slice)>> {
        let Some(view) = &self.view else { return Ok(None) };
        view.check_open()?;
        let (own, other) =
            if forward { (&mut self.front, &self.back) } else { (&mut self.back, &self.front) };
        let cursor = match own {
            Some(cursor) => {
                if forward { cursor.next() } else { cursor.prev() }?;
                cursor
            }
            None if forward => match first_of(view, &self.span)? {
                Some(cursor) => own.insert(cursor),
                None => return Ok(None),
            },
            None => {
                let cursor = own.insert(open(view, &self.span)?);
                cursor.seek_to_last()?;
                cursor
            }
        };
        let met = other.as_ref().is_some_and(|other| {
            if forward { cursor.key() >= other.key() } else { cursor.key() <= other.key() }
        });
        if !cursor.valid() || met { Ok(None) } else { item(cursor).map(Some) }
    }

    fn advance(&mut self, forward: bool) -> Option<Result<(Slice, Slice)>> {
        if let Some(error) = self.failure.take() {
            return Some(Err(error));
        }
        match self.step(forward) {
            Ok(Some(item)) => Some(Ok(item)),
            Ok(None) => self.end(),
            Err(error) => {
                self.end();
                Some(Err(error))
            }
        }
    }
}

impl Iterator for Range {
    type Item = Result<(Slice, Slice)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance(true)
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.advance(false)
    }
}

impl std::iter::FusedIterator for Range {}

/// A position among the entries of a keyspace, moved at will.
///
/// Sees one moment. `key` and `value` borrow from the cursor: walking allocates
/// nothing. Stands nowhere until the first seek; past either end, and after an
/// error, it stands nowhere again.
#[derive(Debug)]
pub struct Cursor {
    merged: Option<Merged>,
    failure: Option<Error>,
    /// Dropped last, as in [`Range`].
    view: Option<View>,
}

impl Cursor {
    pub(crate) fn new(view: Result<View>) -> Self {
        let (view, failure) = match view {
            Ok(view) => (Some(view), None),
            Err(error) => (None, Some(error)),
        };
        Self { view, failure, merged: None }
    }

    fn run(&mut self, go: impl FnOnce(&mut Merged, &View) -> Result<()>) -> Result<()> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let Some(view) = &self.view else { return Ok(()) };
        let outcome = view.check_open().and_then(|()| {
            let merged = match &mut self.merged {
                Some(merged) => merged,
                None => self.merged.insert(open(view, &KeySpan::all())?),
            };
            go(merged, view)?;
            match merged.kind() {
                kind @ (ValueKind::MergeOperand | ValueKind::BlobPointer) if merged.valid() => {
                    Err(unsupported_kind(kind))
                }
                _ => Ok(()),
            }
        });
        if outcome.is_err() {
            self.merged = None;
        }
        outcome
    }

    /// Takes a step that needs nothing but memory which the cursor holds already.
    #[inline]
    fn goes_along(&mut self, step: impl FnOnce(&mut Merged) -> bool) -> bool {
        match (&mut self.merged, &self.view) {
            (Some(merged), Some(view)) => merged.is_along() && view.check_open().is_ok() && step(merged),
            _ => false,
        }
    }

    /// Whether the cursor stands on an entry.
    #[must_use]
    #[inline]
    pub fn valid(&self) -> bool {
        self.merged.as_ref().is_some_and(Merged::valid)
    }

    /// The key; empty when the cursor stands nowhere.
    #[must_use]
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.merged.as_ref().map_or(&[], Merged::key)
    }

    /// The value; empty when the cursor stands nowhere.
    #[must_use]
    #[inline]
    pub fn value(&self) -> &[u8] {
        self.merged.as_ref().map_or(&[], Merged::value)
    }

    /// Moves to the first entry.
    ///
    /// # Errors
    /// A failed or damaged read, or [`Error::Closed`].
    pub fn seek_to_first(&mut self) -> Result<()> {
        self.seek([])
    }

    /// Moves to the last entry.
    ///
    /// # Errors
    /// As [`seek_to_first`](Self::seek_to_first).
    pub fn seek_to_last(&mut self) -> Result<()> {
        self.run(|merged, _| merged.seek_to_last())
    }

    /// Moves to the first entry at or after `key`.
    ///
    /// # Errors
    /// As [`seek_to_first`](Self::seek_to_first).
    pub fn seek(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        self.run(|merged, view| seek(merged, view, key.as_ref()))
    }

    /// Moves to the last entry at or before `key`.
    ///
    /// # Errors
    /// As [`seek_to_first`](Self::seek_to_first).
    pub fn seek_for_prev(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        self.run(|merged, _| merged.seek_for_prev(key.as_ref()))
    }

    /// Moves to the next entry; without a position does nothing.
    ///
    /// # Errors
    /// As [`seek_to_first`](Self::seek_to_first).
    #[expect(clippy::should_implement_trait, reason = "a cursor's step lends, an iterator's gives away")]
    pub fn next(&mut self) -> Result<()> {
        if self.goes_along(Merged::next_along) {
            return Ok(());
        }
        self.run(|merged, _| merged.next())
    }

    /// Moves to the previous entry; without a position does nothing.
    ///
    /// # Errors
    /// As [`seek_to_first`](Self::seek_to_first).
    pub fn prev(&mut self) -> Result<()> {
        if self.goes_along(Merged::prev_along) {
            return Ok(());
        }
        self.run(|merged, _| merged.prev())
    }
}

/// How many entries `view` shows.
pub(crate) fn count(view: View) -> Result<usize> {
    let mut cursor = Cursor::new(Ok(view));
    let mut count = 0;
    cursor.seek_to_first()?;
    while cursor.valid() {
        count += 1;
        cursor.next()?;
    }
    Ok(count)
}
