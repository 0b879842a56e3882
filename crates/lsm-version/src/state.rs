//! [`ManifestState`]: what the manifest says exists, as plain data. Edits are
//! checked against it before they are written and when they are read back.

use crate::{Edit, FileNumber, Placement, StoreKind};
use lsm_sstable::TableMeta;
use lsm_types::SeqNo;
use lsm_types::batch::KeyspaceId;
use std::collections::{BTreeMap, BTreeSet};

/// One keyspace as the manifest knows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KeyspaceState {
    /// Its name.
    pub name: String,
    /// Its persistent options, opaque to this crate.
    pub options: Vec<u8>,
    /// Its tables by number.
    pub tables: BTreeMap<FileNumber, (Placement, TableMeta)>,
    /// Every entry numbered below this is in a table.
    pub flushed_through: SeqNo,
    /// Its tables answer right for snapshots from this one on.
    pub exact_from: SeqNo,
}

/// What exists, according to all edits so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ManifestState {
    /// What the directory holds; `None` before the first edit.
    pub kind: Option<StoreKind>,
    /// Random; tells databases apart.
    pub uid: u64,
    /// The keyspaces by id.
    pub keyspaces: BTreeMap<KeyspaceId, KeyspaceState>,
    /// The next file number to give out.
    pub next_file: FileNumber,
    /// The next sequence number known to be free; the log may know better.
    pub next_seqno: SeqNo,
    /// The next keyspace id to give out.
    pub next_keyspace: KeyspaceId,
    /// The oldest log segment that is still needed.
    pub first_segment: u64,
    /// The log position of its first record; what lies before is in tables.
    pub log_first_base: u64,
    /// The log position that was durable when last told.
    pub log_durable_through: u64,
}

impl ManifestState {
    /// Applies `edits`, which take effect together.
    ///
    /// # Errors
    /// A sentence, when an edit contradicts what exists. The state is then
    /// unchanged.
    pub fn apply(&mut self, edits: &[Edit]) -> Result<(), String> {
        self.check(edits)?;
        for edit in edits {
            self.apply_checked(edit);
        }
        Ok(())
    }

    /// Says whether [`apply`](Self::apply) would succeed. O(edits · log n): what the
    /// edits change is tracked beside the state, which is not copied.
    pub(crate) fn check(&self, edits: &[Edit]) -> Result<(), String> {
        let mut created = BTreeSet::new();
        let mut dropped = BTreeSet::new();
        let mut names_created = BTreeSet::new();
        let mut names_freed = BTreeSet::new();
        let mut tables_added = BTreeSet::new();
        let mut tables_removed = BTreeSet::new();
        for edit in edits {
            let exists = |id: KeyspaceId| {
                !dropped.contains(&id) && (created.contains(&id) || self.keyspaces.contains_key(&id))
            };
            match edit {
                Edit::Created { .. } if self.kind.is_some() => {
                    return Err("the store was created before".to_owned());
                }
                Edit::KeyspaceCreated { id, name, .. } => {
                    let taken = self.keyspaces.values().any(|keyspace| &keyspace.name == name)
                        && !names_freed.contains(name.as_str());
                    if exists(*id) || dropped.contains(id) || taken || names_created.contains(name.as_str()) {
                        return Err(format!("keyspace {id} ({name:?}) exists already"));
                    }
                    names_created.insert(name.as_str());
                    created.insert(*id);
                }
                Edit::KeyspaceDropped { id } => {
                    if !exists(*id) {
                        return Err(format!("keyspace {id} does not exist"));
                    }
                    if let Some(keyspace) = self.keyspaces.get(id) {
                        names_freed.insert(keyspace.name.as_str());
                    }
                    dropped.insert(*id);
                }
                Edit::TableAdded { keyspace, number, placement, .. } => {
                    // A file belongs to one keyspace. One with a new number is known to none.
                    let known = *number < self.next_file
                        && self.keyspaces.values().any(|k| k.tables.contains_key(number));
                    if !exists(*keyspace) || known || !tables_added.insert(*number) {
                        return Err(format!("table {number} cannot join keyspace {keyspace}"));
                    }
                    check_level(*placement)?;
                }
                Edit::TableRemoved { keyspace, number } | Edit::TableMoved { keyspace, number, .. } => {
                    let known = tables_added.contains(number)
                        || self.keyspaces.get(keyspace).is_some_and(|k| k.tables.contains_key(number));
                    if !exists(*keyspace) || !known || tables_removed.contains(number) {
                        return Err(format!("table {number} is not in keyspace {keyspace}"));
                    }
                    if let Edit::TableMoved { placement, .. } = edit {
                        check_level(*placement)?;
                    } else {
                        tables_removed.insert(*number);
                    }
                }
                Edit::FlushedThrough { keyspace, .. } | Edit::ExactFrom { keyspace, .. }
                    if !exists(*keyspace) =>
                {
                    return Err(format!("keyspace {keyspace} does not exist"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn apply_checked(&mut self, edit: &Edit) {
        match edit {
            Edit::Created { kind, uid } => {
                self.kind = Some(*kind);
                self.uid = *uid;
            }
            Edit::KeyspaceCreated { id, name, options } => {
                let keyspace = KeyspaceState {
                    name: name.clone(),
                    options: options.clone(),
                    ..KeyspaceState::default()
                };
                self.keyspaces.insert(*id, keyspace);
                self.next_keyspace = self.next_keyspace.max(id.saturating_add(1));
            }
            Edit::KeyspaceDropped { id } => {
                self.keyspaces.remove(id);
            }
            Edit::TableAdded { keyspace, number, placement, meta } => {
                if let Some(keyspace) = self.keyspaces.get_mut(keyspace) {
                    keyspace.tables.insert(*number, (*placement, meta.clone()));
                }
                self.next_file = self.next_file.max(number.saturating_add(1));
            }
            Edit::TableRemoved { keyspace, number } => {
                if let Some(keyspace) = self.keyspaces.get_mut(keyspace) {
                    keyspace.tables.remove(number);
                }
            }
            Edit::TableMoved { keyspace, number, placement } => {
                let table = self.keyspaces.get_mut(keyspace).and_then(|k| k.tables.get_mut(number));
                if let Some(table) = table {
                    table.0 = *placement;
                }
            }
            Edit::FlushedThrough { keyspace, seqno } => {
                if let Some(keyspace) = self.keyspaces.get_mut(keyspace) {
                    keyspace.flushed_through = keyspace.flushed_through.max(*seqno);
                }
            }
            Edit::ExactFrom { keyspace, seqno } => {
                if let Some(keyspace) = self.keyspaces.get_mut(keyspace) {
                    keyspace.exact_from = keyspace.exact_from.max(*seqno);
                }
            }
            Edit::Counters { next_file, next_seqno, next_keyspace } => {
                self.next_file = self.next_file.max(*next_file);
                self.next_seqno = self.next_seqno.max(*next_seqno);
                self.next_keyspace = self.next_keyspace.max(*next_keyspace);
            }
            Edit::Log { first_segment, first_base, durable_through } => {
                self.first_segment = self.first_segment.max(*first_segment);
                self.log_first_base = self.log_first_base.max(*first_base);
                self.log_durable_through = self.log_durable_through.max(*durable_through);
            }
        }
    }

    /// The edits that make this state from nothing: how a manifest starts.
    #[must_use]
    pub fn to_edits(&self) -> Vec<Edit> {
        let mut edits = Vec::new();
        if let Some(kind) = self.kind {
            edits.push(Edit::Created { kind, uid: self.uid });
        }
        for (&id, keyspace) in &self.keyspaces {
            let (name, options) = (keyspace.name.clone(), keyspace.options.clone());
            edits.push(Edit::KeyspaceCreated { id, name, options });
            edits.push(Edit::FlushedThrough { keyspace: id, seqno: keyspace.flushed_through });
            edits.push(Edit::ExactFrom { keyspace: id, seqno: keyspace.exact_from });
            edits.extend(keyspace.tables.iter().map(|(&number, (placement, meta))| Edit::TableAdded {
                keyspace: id,
                number,
                placement: *placement,
                meta: meta.clone(),
            }));
        }
        edits.push(Edit::Counters {
            next_file: self.next_file,
            next_seqno: self.next_seqno,
            next_keyspace: self.next_keyspace,
        });
        edits.push(Edit::Log {
            first_segment: self.first_segment,
            first_base: self.log_first_base,
            durable_through: self.log_durable_through,
        });
        edits
    }
}

fn check_level(placement: Placement) -> Result<(), String> {
    if usize::from(placement.level) < crate::LEVELS {
        Ok(())
    } else {
        Err(format!("level {} does not exist", placement.level))
    }
}
