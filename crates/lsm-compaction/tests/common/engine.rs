//! A tree without memtable, log or threads: flushes and compactions of real tables on
//! a disk in memory, each change applied to a version at once.

#![allow(dead_code, reason = "each test file uses a part of what they share")]

use lsm_compaction::{
    Busy, GcRules, GcStream, InputRun, OlderTables, OutputOptions, PickView, Plan, Strategy, merge_runs,
    range_tombstones_of, write_tables,
};
use lsm_merge::VisibleCursor;
use lsm_sstable::{Compression, Error, ReadOptions, TableContext, TableMeta, TableWriter, WriterOptions};
use lsm_types::{Cursor, InternalKey, RangeTombstone, RangeTombstoneSet, SeqNo, Slice, VecCursor};
use lsm_version::{Change, FileNumber, Graveyard, Placement, TableHandle, Version, table_file_name};
use lsm_vfs::{Fs, MemFs};
use std::path::Path;
use std::sync::Arc;

pub(crate) struct Engine {
    fs: MemFs,
    pub(crate) context: Arc<TableContext>,
    graveyard: Arc<Graveyard>,
    pub(crate) version: Version,
    pub(crate) busy: Busy,
    pub(crate) rules: GcRules,
    next_number: FileNumber,
    next_run: u64,
    pub(crate) table_bytes: u64,
    pub(crate) flushed_bytes: u64,
    pub(crate) compacted_bytes: u64,
    pub(crate) moved_tables: usize,
    pub(crate) merges: usize,
}

impl Engine {
    pub(crate) fn new(table_bytes: u64) -> Self {
        let fs = MemFs::new();
        let context = TableContext::new(Arc::new(fs.clone()) as Arc<dyn Fs>, 8 << 20, 10_000);
        Self {
            fs,
            context,
            graveyard: Arc::new(Graveyard::new()),
            version: Version::empty(),
            busy: Busy::new(),
            rules: GcRules { published: SeqNo::MAX, ..GcRules::default() },
            next_number: 1,
            next_run: 1,
            table_bytes,
            flushed_bytes: 0,
            compacted_bytes: 0,
            moved_tables: 0,
            merges: 0,
        }
    }

    pub(crate) fn handle(&self, number: FileNumber, meta: TableMeta) -> Arc<TableHandle> {
        let (context, graveyard) = (Arc::clone(&self.context), Arc::clone(&self.graveyard));
        Arc::new(TableHandle::new(Path::new(""), number, meta, context, graveyard))
    }

    fn apply(&mut self, change: &Change) {
        for &number in &change.removed {
            if let Some((_, table)) = self.version.tables().find(|(_, table)| table.number() == number) {
                table.mark_obsolete();
            }
        }
        self.version = self.version.apply(change).expect("the change contradicts the version");
        for path in self.graveyard.take() {
            self.fs.remove_file(&path).expect("an obsolete table can be removed");
        }
    }

    fn write<C, O>(&mut self, stream: &mut GcStream<C, O>, options: &OutputOptions) -> Vec<Arc<TableHandle>>
    where
        C: Cursor,
        O: lsm_compaction::OlderData,
        lsm_compaction::Error: From<C::Error>,
    {
        let fs = self.fs.clone();
        let mut number = self.next_number;
        let mut sink = || -> Result<(FileNumber, TableWriter), Error> {
            number += 1;
            let writer_options = WriterOptions { compression: Compression::None, ..WriterOptions::default() };
            let name = table_file_name(number);
            Ok((number, TableWriter::create(&fs, Path::new(&name), number, &writer_options)?))
        };
        let written = write_tables(stream, &mut sink, options, &|| false).expect("a disk in memory works");
        self.next_number = number;
        written.into_iter().map(|(number, meta)| self.handle(number, meta)).collect()
    }

    /// Flushes a memtable of these entries as the newest run of level 0.
    pub(crate) fn flush(
        &mut self,
        entries: Vec<(InternalKey<Slice>, Slice)>,
        tombstones: Vec<RangeTombstone>,
    ) {
        let older = OlderTables::all(&self.version);
        let set = RangeTombstoneSet::new(tombstones);
        let mut stream = GcStream::new(VecCursor::new(entries), set, &self.rules, older);
        let outputs = self.write(&mut stream, &OutputOptions::new(self.table_bytes, self.rules.now_ms));
        let placement = Placement { level: 0, run: self.next_run };
        self.next_run += 1;
        self.flushed_bytes += outputs.iter().map(|table| table.size_bytes()).sum::<u64>();
        let added = outputs.into_iter().map(|table| (placement, table)).collect();
        self.apply(&Change { added, ..Change::default() });
    }

    pub(crate) fn pick(&self, strategy: &dyn Strategy) -> Option<Plan> {
        strategy.pick(&PickView::new(&self.version, &self.busy, &self.rules))
    }

    /// Does what the plan says, which was picked from the given version.
    pub(crate) fn carry_out(&mut self, plan: &Plan, picked_from: &Version) {
        let outputs = match plan {
            Plan::Merge(merge) => {
                self.merges += 1;
                let cursor = merge.cursor(ReadOptions::default());
                let tombstones = merge.range_tombstones().expect("tables open");
                let mut stream = GcStream::new(cursor, tombstones, &self.rules, merge.older(picked_from));
                self.write(&mut stream, &merge.output_options(picked_from, self.rules.now_ms))
            }
            Plan::Move { tables, .. } => {
                self.moved_tables += tables.len();
                Vec::new()
            }
            Plan::Drop { .. } => Vec::new(),
        };
        self.compacted_bytes += outputs.iter().map(|table| table.size_bytes()).sum::<u64>();
        self.apply(&plan.change(outputs));
    }

    /// Compacts until there is nothing left to do; answers how many plans that took.
    pub(crate) fn settle(&mut self, strategy: &dyn Strategy) -> usize {
        for count in 0..10_000 {
            let Some(plan) = self.pick(strategy) else { return count };
            let version = self.version.clone();
            self.carry_out(&plan, &version);
        }
        panic!("{strategy:?} never comes to rest on {:?}", self.shape());
    }

    /// Runs and bytes of each level.
    pub(crate) fn shape(&self) -> Vec<(usize, usize, u64)> {
        let of = |level: &lsm_version::Level| (level.runs().len(), level.table_count(), level.size_bytes());
        self.version.levels().iter().map(of).collect()
    }

    pub(crate) fn sum(&self, of: impl Fn(&TableMeta) -> u64) -> u64 {
        self.version.tables().map(|(_, table)| of(table.meta())).sum()
    }

    /// What a snapshot sees.
    pub(crate) fn scan(&self, snapshot: SeqNo) -> VisibleCursor<impl Cursor<Error = Error> + use<>> {
        let mut runs = Vec::new();
        for (level, content) in self.version.levels().iter().enumerate() {
            runs.extend(content.runs().iter().map(|run| InputRun {
                placement: Placement { level: level as u8, run: run.id() },
                tables: run.tables().to_vec(),
            }));
        }
        let tables = runs.iter().flat_map(|run| &run.tables);
        let tombstones = range_tombstones_of(tables).expect("tables open");
        VisibleCursor::new(
            merge_runs(&runs, ReadOptions::default()),
            snapshot,
            &tombstones,
            self.rules.now_ms,
        )
    }
}
