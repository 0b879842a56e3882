//! [`Numbered`]: batches that carry their number, so that what is found after a
//! crash can be told to be all of the first n batches and nothing else. Used by the
//! suites that kill processes, cut the power and make files fail.

use crate::text::Value;
use lsm_tree::{Database, Durability, Error, Keyspace, KeyspaceOptions, Slice};
use lsm_vfs::mix64;
use std::collections::BTreeMap;

/// A batch removes what the one this far before it wrote.
const KEPT: u64 = 48;

const KEYSPACES: [&str; 3] = ["one", "two", "three"];

/// Three keyspaces into which numbered batches go.
#[derive(Debug)]
pub struct Numbered {
    database: Database,
    keyspaces: Vec<Keyspace>,
}

/// The entries of one keyspace.
type Entries = BTreeMap<Slice, Slice>;

/// How many entries batch `number` has.
const fn size(number: u64) -> u64 {
    1 + mix64(number) % 12
}

fn entry(writer: u64, number: u64, index: u64) -> (usize, Slice, Slice) {
    let len = match mix64(number ^ index << 32) % 40 {
        0 => 5_000,
        other => other as u32 * 5,
    };
    let value = Value { tag: number * 100 + index, len }.bytes();
    (index as usize % KEYSPACES.len(), Slice::from(format!("{writer}/{number:08}/{index:02}")), value)
}

fn last_key(writer: u64) -> String {
    format!("last/{writer}")
}

impl Numbered {
    /// Opens the keyspaces in `database`.
    ///
    /// # Errors
    /// The engine's.
    pub fn open(database: Database, options: &KeyspaceOptions) -> Result<Self, Error> {
        let keyspaces = KEYSPACES.map(|name| database.keyspace(name, options.clone()));
        Ok(Self { database, keyspaces: keyspaces.into_iter().collect::<Result<_, _>>()? })
    }

    /// The database below.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// The keyspaces.
    #[must_use]
    pub fn keyspaces(&self) -> &[Keyspace] {
        &self.keyspaces
    }

    /// Writes batch `number` (from 1) of `writer`; each writer counts for itself.
    ///
    /// # Errors
    /// The engine's.
    pub fn write(&self, writer: u64, number: u64, durability: Durability) -> Result<(), Error> {
        let mut batch = self.database.batch().durability(durability);
        for keyspace in &self.keyspaces {
            batch.insert(keyspace, last_key(writer), number.to_le_bytes());
        }
        for index in 0..size(number) {
            let (keyspace, key, value) = entry(writer, number, index);
            if let Some(keyspace) = self.keyspaces.get(keyspace) {
                batch.insert(keyspace, key, value);
            }
        }
        if let Some(old) = number.checked_sub(KEPT) {
            for (at, keyspace) in self.keyspaces.iter().enumerate() {
                if number.is_multiple_of(2) {
                    batch.remove_range(keyspace, format!("{writer}/{old:08}")..format!("{writer}/{old:08}~"));
                    continue;
                }
                for index in 0..size(old) {
                    let (of, key, _) = entry(writer, old, index);
                    if of == at {
                        batch.remove(keyspace, key);
                    }
                }
            }
        }
        batch.commit()?;
        Ok(())
    }

    /// The number of the last batch of each of `writers` writers (0 for none), if
    /// exactly the batches up to it are there, whole.
    ///
    /// # Errors
    /// What is torn, missing or too much; or the engine's error in words.
    pub fn check(&self, writers: u64) -> Result<Vec<u64>, String> {
        let mut found = Vec::new();
        for keyspace in &self.keyspaces {
            let entries: Result<Entries, Error> = keyspace.iter().collect();
            found.push(entries.map_err(|error| format!("cannot be read: {error:?}"))?);
        }
        let mut expected = vec![Entries::new(); KEYSPACES.len()];
        let mut lasts = Vec::new();
        for writer in 0..writers {
            let key = last_key(writer);
            let read = |entries: &Entries| {
                let bytes = entries.get(key.as_bytes())?.first_chunk::<8>().copied()?;
                Some(u64::from_le_bytes(bytes))
            };
            let seen: Vec<_> = found.iter().map(read).collect();
            let last = seen.iter().flatten().copied().max().unwrap_or(0);
            if seen.iter().any(|seen| seen.unwrap_or(0) != last) {
                return Err(format!("the last batch of writer {writer} is torn across keyspaces: {seen:?}"));
            }
            lasts.push(last);
            expect(&mut expected, writer, last);
        }
        for (name, (expected, found)) in KEYSPACES.iter().zip(expected.iter().zip(&found)) {
            compare(name, expected, found).map_err(|why| format!("{why} (last batches: {lasts:?})"))?;
        }
        Ok(lasts)
    }
}

/// Adds what is there after batch `last` of `writer`.
fn expect(expected: &mut [Entries], writer: u64, last: u64) {
    if last == 0 {
        return;
    }
    for keyspace in expected.iter_mut() {
        keyspace.insert(last_key(writer).into(), Slice::from(last.to_le_bytes()));
    }
    for number in last.saturating_sub(KEPT - 1).max(1)..=last {
        for index in 0..size(number) {
            let (keyspace, key, value) = entry(writer, number, index);
            if let Some(keyspace) = expected.get_mut(keyspace) {
                keyspace.insert(key, value);
            }
        }
    }
}

fn compare(name: &str, expected: &Entries, found: &Entries) -> Result<(), String> {
    let print = |key: &Slice| String::from_utf8_lossy(key).into_owned();
    if let Some(key) = expected.keys().find(|key| !found.contains_key(*key)) {
        return Err(format!("{} is missing from keyspace {name}", print(key)));
    }
    if let Some(key) = found.keys().find(|key| !expected.contains_key(*key)) {
        return Err(format!("{} should not be in keyspace {name}", print(key)));
    }
    match expected.iter().find(|(key, value)| found.get(*key) != Some(value)) {
        Some((key, _)) => Err(format!("{} has a wrong value in keyspace {name}", print(key))),
        None => Ok(()),
    }
}
