//! [`ValueKind`]: what an entry means. Its numbers are part of the disk format.

/// What an entry says about its key. The discriminants are stored on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ValueKind {
    /// The key has this value.
    Value = 1,
    /// As [`Value`](Self::Value), until a time: the value starts with the expiry
    /// in milliseconds since the Unix epoch as a little-endian `u64`.
    ExpiringValue = 2,
    /// The key is deleted.
    Tombstone = 3,
    /// The key, which was written once since its last deletion, is deleted; the
    /// pair vanishes as soon as the two meet.
    WeakTombstone = 4,
    /// An operand for the keyspace's merge operator.
    MergeOperand = 5,
    /// All keys from this one to the end stored in the value are deleted.
    RangeTombstone = 6,
    /// The value lies in a blob file; the stored bytes say where.
    BlobPointer = 7,
}

/// A byte that names no kind of value: damage, or a newer format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of value {0}; the file is damaged or was written by a newer version")]
pub struct UnknownKind(pub u8);

impl ValueKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Value,
        Self::ExpiringValue,
        Self::Tombstone,
        Self::WeakTombstone,
        Self::MergeOperand,
        Self::RangeTombstone,
        Self::BlobPointer,
    ];

    /// Whether an entry of this kind hides older versions and shows nothing itself.
    #[must_use]
    #[inline]
    pub const fn is_tombstone(self) -> bool {
        matches!(self, Self::Tombstone | Self::WeakTombstone)
    }
}

impl TryFrom<u8> for ValueKind {
    type Error = UnknownKind;

    #[inline]
    fn try_from(byte: u8) -> Result<Self, UnknownKind> {
        Ok(match byte {
            1 => Self::Value,
            2 => Self::ExpiringValue,
            3 => Self::Tombstone,
            4 => Self::WeakTombstone,
            5 => Self::MergeOperand,
            6 => Self::RangeTombstone,
            7 => Self::BlobPointer,
            _ => return Err(UnknownKind(byte)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_kind_or_an_error() {
        for byte in 0..=u8::MAX {
            match ValueKind::try_from(byte) {
                Ok(kind) => assert_eq!(kind as u8, byte),
                Err(UnknownKind(bad)) => assert_eq!(bad, byte),
            }
        }
        assert_eq!(ValueKind::ALL.len(), (0..=u8::MAX).filter_map(|b| ValueKind::try_from(b).ok()).count());
    }
}
