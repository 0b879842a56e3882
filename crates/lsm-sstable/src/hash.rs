//! Fingerprints: one byte of the hash of a user key. Part of the disk format.

pub use lsm_types::key_hash;

/// The byte of the hash by which a block tells its keys apart.
#[inline]
pub(crate) const fn fingerprint(hash: u64) -> u8 {
    hash as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_part_of_the_format() {
        assert_eq!(fingerprint(0x1234), 0x34);
    }
}
