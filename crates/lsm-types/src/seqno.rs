//! Sequence numbers: the order of all writes. Allocation lives in `lsm-version`.

/// The position of a write in the order of all writes.
///
/// An entry is visible at snapshot `S` when its own number is below `S`
/// (an exclusive bound), so a snapshot at 0 sees nothing.
pub type SeqNo = u64;

/// The greatest number that can be stored: 2^56 - 1, so that number and kind fit
/// one word. A snapshot bound may be greater ([`SeqNo::MAX`] sees everything).
pub const MAX_SEQNO: SeqNo = (1 << 56) - 1;
