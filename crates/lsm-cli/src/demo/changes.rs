//! What batch number n of a seed changes. The writer that is killed and the process
//! that judges it both derive it from here, so nothing but numbers passes between them.

use super::dataset;
use lsm_vfs::SplitMix64;

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A character gets a value.
    Put(Vec<u8>, Vec<u8>),
    /// A character is deleted.
    Delete(Vec<u8>),
    /// The batch leaves its mark in the journal.
    Log(Vec<u8>, Vec<u8>),
}

/// Changes of a character in each batch.
const CHANGES: u64 = 20;

/// Makes the batches of one seed.
#[derive(Debug)]
pub(super) struct Batches {
    seed: u64,
    keys: Vec<&'static str>,
}

impl Batches {
    /// Writes in each batch.
    pub(super) const WRITES: u64 = CHANGES + 1;

    /// The batches of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, keys: dataset::entries().map(|(key, _)| key).collect() }
    }

    /// Batch `number`: changes of characters, and one entry in the journal.
    pub(super) fn batch(&self, number: u64) -> Vec<Change> {
        let mut random = SplitMix64::new(lsm_vfs::mix64(self.seed) ^ lsm_vfs::mix64(number));
        let mut changes = Vec::with_capacity(CHANGES as usize + 1);
        for index in 0..CHANGES {
            let Some(key) = self.keys.get(random.below(self.keys.len() as u64) as usize) else { continue };
            let key = key.as_bytes().to_vec();
            if random.one_in(4) {
                changes.push(Change::Delete(key));
            } else {
                let padding = ".".repeat(random.below(100) as usize);
                let value = format!("change {index} of batch {number} {padding}");
                changes.push(Change::Put(key, value.into_bytes()));
            }
        }
        let journal = format!("{} changes", changes.len());
        changes.push(Change::Log(journal_key(number), journal.into_bytes()));
        changes
    }
}

/// The key under which batch `number` stands in the journal.
pub(super) fn journal_key(number: u64) -> Vec<u8> {
    format!("{number:012}").into_bytes()
}

/// The batch that a journal's key belongs to.
pub(super) fn journal_number(key: &[u8]) -> Option<u64> {
    std::str::from_utf8(key).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_follows_from_seed_and_number() {
        let batches = Batches::new(7);
        assert_eq!(batches.batch(12), Batches::new(7).batch(12));
        assert_ne!(batches.batch(12), batches.batch(13));
        assert_ne!(batches.batch(12), Batches::new(8).batch(12));
        assert_eq!(journal_number(&journal_key(12)), Some(12));
    }
}
