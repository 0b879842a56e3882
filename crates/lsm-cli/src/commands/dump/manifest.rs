//! A manifest as text: the changes of each record.

use super::{options, shown, summary};
use crate::failure::Failure;
use crate::units::{bytes, thousands};
use lsm_sstable::TableMeta;
use lsm_types::UpperBound;
use lsm_version::{Edit, Placement, read_manifest};
use lsm_vfs::OsFs;
use std::io::Write;
use std::path::Path;

/// Prints the manifest `path`.
pub(super) fn dump(path: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let mut printed = Ok(());
    let read = read_manifest(&OsFs, path, options(), &mut |end, edits| {
        if printed.is_err() {
            return;
        }
        printed = writeln!(out, "record before byte {}:", lsm_log::SEGMENT_HEADER_BYTES + end.0)
            .and_then(|()| edits.iter().try_for_each(|edit| writeln!(out, "  {}", describe(edit))));
    });
    printed?;
    let read = read.map_err(|error| Failure::Other(error.to_string()))?;
    summary(path, &read, out)?;
    Ok(())
}

fn describe(edit: &Edit) -> String {
    match edit {
        Edit::Created { kind, uid } => format!("created: {kind:?}, uid {uid:#018x}"),
        Edit::KeyspaceCreated { id, name, options } => {
            format!("keyspace {id} created: {name:?}, options {}", shown(options))
        }
        Edit::KeyspaceDropped { id } => format!("keyspace {id} dropped"),
        Edit::TableAdded { keyspace, number, placement, meta } => {
            format!("table {number} added to keyspace {keyspace} {}: {}", place(*placement), table(meta))
        }
        Edit::TableRemoved { keyspace, number } => format!("table {number} removed from keyspace {keyspace}"),
        Edit::TableMoved { keyspace, number, placement } => {
            format!("table {number} of keyspace {keyspace} moved {}", place(*placement))
        }
        Edit::FlushedThrough { keyspace, seqno } => {
            format!("keyspace {keyspace}: every write below seqno {seqno} is in a table")
        }
        Edit::Log { first_segment, first_base, durable_through } => {
            format!(
                "log: needed from segment {first_segment}, position {first_base} on, durable through \
                 position {durable_through}"
            )
        }
        Edit::ExactFrom { keyspace, seqno } => {
            format!("keyspace {keyspace}: tables answer right for snapshots from seqno {seqno} on")
        }
        Edit::Counters { next_file, next_seqno, next_keyspace } => {
            format!("next file {next_file}, next seqno {next_seqno}, next keyspace {next_keyspace}, or later")
        }
    }
}

fn place(placement: Placement) -> String {
    format!("at level {} run {}", placement.level, placement.run)
}

fn table(meta: &TableMeta) -> String {
    let upper = match &meta.upper {
        UpperBound::Included(last) => format!("to {}", shown(last)),
        UpperBound::Excluded(end) => format!("to before {}", shown(end)),
        UpperBound::Unbounded => "to the end".to_owned(),
    };
    format!(
        "{}, {} entries, {} tombstones, {} range tombstones, from {} {upper}, seqnos {} to {}",
        bytes(meta.file_bytes),
        thousands(meta.entries),
        thousands(meta.tombstones),
        thousands(meta.range_tombstones),
        shown(&meta.smallest),
        meta.lowest_seqno,
        meta.highest_seqno,
    )
}
