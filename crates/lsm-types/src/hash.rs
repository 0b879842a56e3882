//! The one hash of user keys: memtables, filters and block fingerprints all use it, so a
//! look-up hashes its key once. Its result is part of the disk format.

/// The hash of a user key: XXH3, 64 bits, seed 0. Costs about 6 ns for 16 bytes.
#[must_use]
#[inline]
pub fn key_hash(user_key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(user_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_part_of_the_format() {
        assert_eq!(key_hash(b""), 0x2d06_8005_38d3_94c2);
    }
}
