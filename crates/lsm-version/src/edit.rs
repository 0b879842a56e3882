//! [`Edit`]: one change of what exists, and its form in a record of the manifest.
//!
//! A record holds one or more edits that take effect together:
//! `edit := tag u8 | len varint | body`. An unknown tag is an error, not skipped: an
//! edit that is not understood cannot be left out.

use crate::{FileNumber, Placement};
use lsm_sstable::TableMeta;
use lsm_types::SeqNo;
use lsm_types::batch::KeyspaceId;
use lsm_types::coding::{
    put_bytes, put_varint32, put_varint64, take_bytes, take_u8, take_varint32, take_varint64,
};

/// What kind of store a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StoreKind {
    /// A database with a write-ahead log.
    Database = 1,
    /// A tree with explicit sequence numbers and no log.
    Tree = 2,
}

/// One change of what exists.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// The first edit of every manifest.
    Created {
        /// What the directory holds.
        kind: StoreKind,
        /// Random; tells databases apart.
        uid: u64,
    },
    /// A keyspace exists from now on. Ids are never reused.
    KeyspaceCreated {
        /// Its number.
        id: KeyspaceId,
        /// Its name.
        name: String,
        /// Its persistent options, opaque to this crate.
        options: Vec<u8>,
    },
    /// A keyspace and all its tables are gone.
    KeyspaceDropped {
        /// Its number.
        id: KeyspaceId,
    },
    /// A table joins a version.
    TableAdded {
        /// Whose version.
        keyspace: KeyspaceId,
        /// The file.
        number: FileNumber,
        /// Where.
        placement: Placement,
        /// What the table is.
        meta: TableMeta,
    },
    /// A table leaves a version.
    TableRemoved {
        /// Whose version.
        keyspace: KeyspaceId,
        /// The file.
        number: FileNumber,
    },
    /// A table changes its place.
    TableMoved {
        /// Whose version.
        keyspace: KeyspaceId,
        /// The file.
        number: FileNumber,
        /// Where to.
        placement: Placement,
    },
    /// Every entry of the keyspace numbered below this is in a table.
    FlushedThrough {
        /// Whose entries.
        keyspace: KeyspaceId,
        /// The exclusive bound.
        seqno: SeqNo,
    },
    /// The tables of the keyspace answer right for snapshots from this one on.
    ExactFrom {
        /// Whose tables.
        keyspace: KeyspaceId,
        /// The first such snapshot.
        seqno: SeqNo,
    },
    /// Numbers that must not be given out again.
    Counters {
        /// The next file.
        next_file: FileNumber,
        /// The next sequence number.
        next_seqno: SeqNo,
        /// The next keyspace.
        next_keyspace: KeyspaceId,
    },
    /// What the log must hold at the next start.
    Log {
        /// The oldest segment that is still needed.
        first_segment: u64,
        /// The position of its first record. All before it is in tables, durable or not.
        first_base: u64,
        /// The position up to which the log was durable.
        durable_through: u64,
    },
}

/// Why a record is not a list of edits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EditError {
    /// It ends early or a body is not what its tag says.
    Malformed(&'static str),
    /// Written by a newer version.
    UnknownTag(u8),
}

impl Edit {
    /// The greatest tag that this version knows.
    pub(crate) const MAX_TAG: u32 = 10;

    const fn tag(&self) -> u8 {
        match self {
            Self::Created { .. } => 1,
            Self::KeyspaceCreated { .. } => 2,
            Self::KeyspaceDropped { .. } => 3,
            Self::TableAdded { .. } => 4,
            Self::TableRemoved { .. } => 5,
            Self::TableMoved { .. } => 6,
            Self::FlushedThrough { .. } => 7,
            Self::Counters { .. } => 8,
            Self::Log { .. } => 9,
            Self::ExactFrom { .. } => 10,
        }
    }

    /// Appends the edit to a record.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        match self {
            Self::Created { kind, uid } => {
                body.push(*kind as u8);
                put_varint64(&mut body, *uid);
            }
            Self::KeyspaceCreated { id, name, options } => {
                put_varint32(&mut body, *id);
                put_bytes(&mut body, name.as_bytes());
                put_bytes(&mut body, options);
            }
            Self::KeyspaceDropped { id } => put_varint32(&mut body, *id),
            Self::TableAdded { keyspace, number, placement, meta } => {
                put_varint32(&mut body, *keyspace);
                put_varint64(&mut body, *number);
                put_placement(&mut body, *placement);
                meta.encode(&mut body);
            }
            Self::TableRemoved { keyspace, number } => {
                put_varint32(&mut body, *keyspace);
                put_varint64(&mut body, *number);
            }
            Self::TableMoved { keyspace, number, placement } => {
                put_varint32(&mut body, *keyspace);
                put_varint64(&mut body, *number);
                put_placement(&mut body, *placement);
            }
            Self::FlushedThrough { keyspace, seqno } | Self::ExactFrom { keyspace, seqno } => {
                put_varint32(&mut body, *keyspace);
                put_varint64(&mut body, *seqno);
            }
            Self::Counters { next_file, next_seqno, next_keyspace } => {
                put_varint64(&mut body, *next_file);
                put_varint64(&mut body, *next_seqno);
                put_varint32(&mut body, *next_keyspace);
            }
            Self::Log { first_segment, first_base, durable_through } => {
                put_varint64(&mut body, *first_segment);
                put_varint64(&mut body, *first_base);
                put_varint64(&mut body, *durable_through);
            }
        }
        out.push(self.tag());
        put_bytes(out, &body);
    }

    /// Reads all edits of a record.
    pub(crate) fn decode_all(mut record: &[u8]) -> Result<Vec<Self>, EditError> {
        let mut edits = Vec::new();
        while !record.is_empty() {
            let tag = take_u8(&mut record).ok_or(EditError::Malformed("a tag"))?;
            let mut body = take_bytes(&mut record).ok_or(EditError::Malformed("an edit's length"))?;
            let edit = Self::decode_body(tag, &mut body)?;
            if !body.is_empty() {
                return Err(EditError::Malformed("the end of an edit"));
            }
            edits.push(edit);
        }
        Ok(edits)
    }

    fn decode_body(tag: u8, body: &mut &[u8]) -> Result<Self, EditError> {
        let edit = match tag {
            1 => decode_created(body),
            2 => decode_keyspace(body),
            3 => take_varint32(body).map(|id| Self::KeyspaceDropped { id }),
            4 => decode_added(body),
            5 => decode_removed(body),
            6 => decode_moved(body),
            7 => decode_flushed(body),
            8 => decode_counters(body),
            9 => decode_log(body),
            10 => decode_exact(body),
            unknown => return Err(EditError::UnknownTag(unknown)),
        };
        edit.ok_or(EditError::Malformed("the body of an edit"))
    }
}

fn put_placement(out: &mut Vec<u8>, placement: Placement) {
    out.push(placement.level);
    put_varint64(out, placement.run);
}

fn take_placement(body: &mut &[u8]) -> Option<Placement> {
    Some(Placement { level: take_u8(body)?, run: take_varint64(body)? })
}

fn decode_created(body: &mut &[u8]) -> Option<Edit> {
    let kind = match take_u8(body)? {
        1 => StoreKind::Database,
        2 => StoreKind::Tree,
        _ => return None,
    };
    Some(Edit::Created { kind, uid: take_varint64(body)? })
}

fn decode_keyspace(body: &mut &[u8]) -> Option<Edit> {
    let id = take_varint32(body)?;
    let name = String::from_utf8(take_bytes(body)?.to_vec()).ok()?;
    Some(Edit::KeyspaceCreated { id, name, options: take_bytes(body)?.to_vec() })
}

fn decode_added(body: &mut &[u8]) -> Option<Edit> {
    let keyspace = take_varint32(body)?;
    let number = take_varint64(body)?;
    let placement = take_placement(body)?;
    Some(Edit::TableAdded { keyspace, number, placement, meta: TableMeta::decode(body)? })
}

fn decode_removed(body: &mut &[u8]) -> Option<Edit> {
    Some(Edit::TableRemoved { keyspace: take_varint32(body)?, number: take_varint64(body)? })
}

fn decode_moved(body: &mut &[u8]) -> Option<Edit> {
    let keyspace = take_varint32(body)?;
    let number = take_varint64(body)?;
    Some(Edit::TableMoved { keyspace, number, placement: take_placement(body)? })
}

fn decode_flushed(body: &mut &[u8]) -> Option<Edit> {
    Some(Edit::FlushedThrough { keyspace: take_varint32(body)?, seqno: take_varint64(body)? })
}

fn decode_exact(body: &mut &[u8]) -> Option<Edit> {
    Some(Edit::ExactFrom { keyspace: take_varint32(body)?, seqno: take_varint64(body)? })
}

fn decode_counters(body: &mut &[u8]) -> Option<Edit> {
    let next_file = take_varint64(body)?;
    let next_seqno = take_varint64(body)?;
    Some(Edit::Counters { next_file, next_seqno, next_keyspace: take_varint32(body)? })
}

fn decode_log(body: &mut &[u8]) -> Option<Edit> {
    let first_segment = take_varint64(body)?;
    let first_base = take_varint64(body)?;
    Some(Edit::Log { first_segment, first_base, durable_through: take_varint64(body)? })
}
