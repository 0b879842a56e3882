//! [`Version`]: the tables of one keyspace at one moment, and how one follows from
//! another. Immutable; made by `open` and by `view::install` of the facade.

use crate::{Exactness, FileNumber, Level, Needed, Placement, Run, TableHandle};
use lsm_types::SeqNo;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How many levels a version has.
pub const LEVELS: usize = 7;

/// The tables of one keyspace at one moment.
///
/// Immutable, `Send + Sync`. Invariants: within a run tables are disjoint; for one
/// user key, entries in an earlier run (level by level, newest run first) are not
/// older than those in a later one.
#[derive(Debug, Clone)]
pub struct Version {
    levels: Vec<Level>,
    exact: Exactness,
    flushed_through: SeqNo,
}

/// One step from a version to the next.
#[derive(Debug, Default)]
pub struct Change {
    /// Tables that join, and where.
    pub added: Vec<(Placement, Arc<TableHandle>)>,
    /// Tables that leave.
    pub removed: Vec<FileNumber>,
    /// Tables that change place.
    pub moved: Vec<(FileNumber, Placement)>,
    /// What the job kept readable; `None` when it dropped nothing.
    pub needed: Option<Needed>,
    /// Every entry numbered below this is in a table now.
    pub flushed_through: Option<SeqNo>,
}

impl Version {
    /// A version without tables, exact for every snapshot.
    #[must_use]
    pub fn empty() -> Self {
        Self { levels: vec![Level::default(); LEVELS], exact: Exactness::everything(), flushed_through: 0 }
    }

    /// A version of recovered tables.
    ///
    /// # Errors
    /// A sentence, when a level does not exist or two tables of a run overlap.
    pub fn from_tables(
        tables: impl IntoIterator<Item = (Placement, Arc<TableHandle>)>,
        exact: Exactness,
        flushed_through: SeqNo,
    ) -> Result<Self, String> {
        let mut version = Self { exact, flushed_through, ..Self::empty() };
        version.add(tables)?;
        Ok(version)
    }

    /// Groups `tables` by place and rebuilds the runs that they join. Linear in the
    /// size of those runs.
    fn add(&mut self, tables: impl IntoIterator<Item = (Placement, Arc<TableHandle>)>) -> Result<(), String> {
        let mut by_place: BTreeMap<Placement, Vec<Arc<TableHandle>>> = BTreeMap::new();
        for (placement, table) in tables {
            by_place.entry(placement).or_default().push(table);
        }
        for (placement, mut joining) in by_place {
            let level = self
                .levels
                .get_mut(usize::from(placement.level))
                .ok_or_else(|| format!("level {} does not exist", placement.level))?;
            let mut runs = level.runs().to_vec();
            if let Some(at) = runs.iter().position(|run| run.id() == placement.run) {
                joining.extend_from_slice(runs.swap_remove(at).tables());
            }
            runs.push(Run::new(placement.run, joining)?);
            *level = Level::new(runs);
        }
        Ok(())
    }

    /// The version after `change`.
    ///
    /// # Errors
    /// A sentence, when the change removes or moves a table that is not there, or
    /// makes two tables of a run overlap. The caller must not install it.
    pub fn apply(&self, change: &Change) -> Result<Self, String> {
        let mut next = self.clone();
        let moved_to: HashMap<FileNumber, Placement> = change.moved.iter().copied().collect();
        let mut leaving: HashMap<FileNumber, Option<Arc<TableHandle>>> =
            change.removed.iter().chain(moved_to.keys()).map(|&number| (number, None)).collect();
        if !leaving.is_empty() {
            for level in &mut next.levels {
                next_level(level, &mut leaving)?;
            }
        }
        let mut joining: Vec<(Placement, Arc<TableHandle>)> = Vec::with_capacity(change.added.len());
        for (number, found) in leaving {
            let table = found.ok_or_else(|| format!("table {number} is not in the version"))?;
            if let Some(&placement) = moved_to.get(&number) {
                joining.push((placement, table));
            }
        }
        joining.extend(change.added.iter().cloned());
        next.add(joining)?;
        if let Some(needed) = &change.needed {
            next.exact = next.exact.after_job(needed);
        }
        if let Some(seqno) = change.flushed_through {
            next.flushed_through = next.flushed_through.max(seqno);
        }
        Ok(next)
    }

    /// The same tables, exact only for what is `needed` as well.
    #[must_use]
    pub fn narrowed(&self, needed: &Needed) -> Self {
        Self { exact: self.exact.after_job(needed), ..self.clone() }
    }

    /// The levels, newest data first; always [`LEVELS`] of them.
    #[must_use]
    #[inline]
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// One level; an empty one past the last.
    #[must_use]
    pub fn level(&self, index: usize) -> &Level {
        static NONE: Level = Level::NONE;
        self.levels.get(index).unwrap_or(&NONE)
    }

    /// All tables with their places.
    pub fn tables(&self) -> impl Iterator<Item = (Placement, &Arc<TableHandle>)> {
        self.levels.iter().enumerate().flat_map(|(level, runs)| {
            runs.runs().iter().flat_map(move |run| {
                let placement = Placement { level: level as u8, run: run.id() };
                run.tables().iter().map(move |table| (placement, table))
            })
        })
    }

    /// How many tables there are.
    #[must_use]
    pub fn table_count(&self) -> usize {
        self.levels.iter().map(Level::table_count).sum()
    }

    /// The sum of the file lengths.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.levels.iter().map(Level::size_bytes).sum()
    }

    /// The snapshots for which this version answers right.
    #[must_use]
    pub const fn exact(&self) -> &Exactness {
        &self.exact
    }

    /// Every entry of the keyspace numbered below this is in a table.
    #[must_use]
    pub const fn flushed_through(&self) -> SeqNo {
        self.flushed_through
    }
}

/// Takes the tables named in `leaving` out of `level`, if any are there.
fn next_level(
    level: &mut Level,
    leaving: &mut HashMap<FileNumber, Option<Arc<TableHandle>>>,
) -> Result<(), String> {
    if !level.tables().any(|table| leaving.contains_key(&table.number())) {
        return Ok(());
    }
    let mut runs = Vec::with_capacity(level.runs().len());
    for run in level.runs() {
        let mut staying = Vec::with_capacity(run.tables().len());
        for table in run.tables() {
            match leaving.get_mut(&table.number()) {
                Some(found) => *found = Some(Arc::clone(table)),
                None => staying.push(Arc::clone(table)),
            }
        }
        let untouched = staying.len() == run.tables().len();
        runs.push(if untouched { run.clone() } else { Run::new(run.id(), staying)? });
    }
    *level = Level::new(runs);
    Ok(())
}
