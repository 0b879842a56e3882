//! [`Model`]: what the database must hold, as plain sorted maps; and the comparison
//! of the two, entry by entry in both directions.

use super::changes::Change;
use crate::escape::escaped;
use crate::failure::Failure;
use lsm_tree::Slice;
use std::collections::BTreeMap;

/// The entries of one keyspace.
pub(super) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the database must hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// One entry a character.
    pub(super) characters: Entries,
    /// One entry a batch that the writer committed.
    pub(super) journal: Entries,
}

impl Model {
    /// Does to the maps what a batch does to the database.
    pub(super) fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(key, value) => {
                    self.characters.insert(key.clone(), value.clone());
                }
                Change::Delete(key) => {
                    self.characters.remove(key);
                }
                Change::Log(key, value) => {
                    self.journal.insert(key.clone(), value.clone());
                }
            }
        }
    }
}

/// The first way in which the entries that a scan yields differ from `expected`, in
/// one sentence, or `None`.
pub(super) fn difference<'a>(
    found: impl Iterator<Item = Result<(Slice, Slice), lsm_tree::Error>>,
    expected: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>,
) -> Result<Option<String>, Failure> {
    let mut expected = expected;
    for entry in found {
        let (key, value) = entry?;
        match expected.next() {
            None => return Ok(Some(format!("'{}' is there and should not be", escaped(&key)))),
            Some((wanted, _)) if wanted.as_slice() != key.as_bytes() => {
                let what = if wanted.as_slice() < key.as_bytes() {
                    format!("'{}' is missing", escaped(wanted))
                } else {
                    format!("'{}' is there and should not be", escaped(&key))
                };
                return Ok(Some(format!("{what} (seen at '{}')", escaped(&key))));
            }
            Some((_, wanted)) if wanted.as_slice() != value.as_bytes() => {
                let (key, value, wanted) = (escaped(&key), escaped(&value), escaped(wanted));
                return Ok(Some(format!("'{key}' has the value '{value}' and should have '{wanted}'")));
            }
            Some(_) => {}
        }
    }
    Ok(expected.next().map(|(missing, _)| format!("'{}' is missing at the end", escaped(missing))))
}
